"""Speaks with the bed's API server directly: a poll costs a few milliseconds and starts no program."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

JSON: TypeAlias = Any

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server said no; `status` is the HTTP status, `body` its Status object or text."""

    def __init__(self, what: str, status: int, body: JSON) -> None:
        text = body.get("message", body) if isinstance(body, dict) else body
        super().__init__(f"{what}: {status} {text}")
        self.status, self.body = status, body


class NotFound(ApiError):
    """The object, or its kind, is not there."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as discovery describes it."""

    group_version: str
    kind: str
    plural: str
    names: frozenset[str]
    """All that kubectl would take for it, in lower case."""
    namespaced: bool

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of its collection or of one object."""
        root = "/api/v1" if self.group_version == "v1" else f"/apis/{self.group_version}"
        place = ["namespaces", namespace] if self.namespaced and namespace else []
        return "/".join(filter(None, [root, *place, self.plural, name, subresource]))


class Api:
    """One user's way to the API server; usable from several threads."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self.context = port, context
        self._local = threading.local()
        self._kinds: Sequence[Kind] = ()

    # -- requests

    def request(
        self,
        method: str,
        path: str,
        body: JSON = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> JSON:
        """Send one request and return the JSON (or text) of the answer."""
        status, data = self._send(
            method,
            path + (f"?{urlencode(query)}" if query else ""),
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": content_type, "Accept": accept, "User-Agent": "argo-rescue-testbed"},
        )
        text = data.decode()
        try:
            answer: JSON = json.loads(text)
        except ValueError:
            answer = text
        if status >= 400:
            raise (NotFound if status == 404 else ApiError)(f"{method} {path}", status, answer)
        return answer

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        for attempt in (1, 2):
            connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
            reused = connection is not None
            if connection is None:
                connection = http.client.HTTPSConnection(
                    "127.0.0.1", self._port, context=self.context, timeout=30
                )
                self._local.connection = connection
            try:
                connection.request(method, path, body, dict(headers))
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                # Only a kept connection that the server closed meanwhile is tried again.
                if not reused or attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close this thread's connection."""
        if connection := getattr(self._local, "connection", None):
            connection.close()
            self._local.connection = None

    # -- kinds

    def kind(self, name: str, api_version: str = "") -> Kind:
        """Find a kind by any name that kubectl takes: `app`, `deployments`, `AppProject`."""
        for fresh in (False, True):  # a CRD may have come since the last look
            if fresh or not self._kinds:
                self._kinds = self._discover()
            for kind in self._kinds:
                if name.lower() in kind.names and api_version in ("", kind.group_version):
                    return kind
        raise NotFound("discovery", 404, f"no kind {api_version} {name}")

    def _discover(self) -> Sequence[Kind]:
        found = []
        for root in ("/api", "/apis"):
            answer = self.request(
                "GET", root, accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            )
            for group in answer["items"]:
                group_name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    prefix = f"{group_name}/" if group_name else ""
                    found += [
                        _kind(prefix + version["version"], resource)
                        for resource in version.get("resources", [])
                    ]
        return found

    # -- objects

    def get(self, kind: str, name: str, namespace: str = "") -> JSON:
        """Read one object."""
        return self.request("GET", self.kind(kind).path(namespace, name))

    def find(self, kind: str, name: str, namespace: str = "") -> JSON | None:
        """Read one object that may be absent."""
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def list(self, kind: str, namespace: str = "", selector: str = "") -> Sequence[JSON]:
        """Read all objects of a kind, in one namespace or in all."""
        query = {"labelSelector": selector} if selector else None
        items: Sequence[JSON] = self.request("GET", self.kind(kind).path(namespace), query=query)["items"]
        return items

    def apply(self, *objects: JSON) -> Sequence[JSON]:
        """Apply objects server-side, overruling other field managers."""
        query = {"fieldManager": "kubectl", "force": "true"}  # as `kubectl apply --server-side` is
        answers = []
        for obj in objects:
            meta = obj["metadata"]
            kind = self.kind(obj["kind"], obj["apiVersion"])
            path = kind.path(meta.get("namespace", "default"), meta["name"])
            answers.append(self.request("PATCH", path, obj, content_type=APPLY_PATCH, query=query))
        return answers

    def create(self, obj: JSON) -> JSON:
        """Create one object, status included where its kind allows that."""
        kind = self.kind(obj["kind"], obj["apiVersion"])
        return self.request("POST", kind.path(obj["metadata"].get("namespace", "default")), obj)

    def patch(
        self, kind: str, name: str, namespace: str, body: JSON, content_type: str = MERGE_PATCH
    ) -> JSON:
        """Patch one object: a merge patch, or JSON Patch operations with `JSON_PATCH`."""
        return self.request("PATCH", self.kind(kind).path(namespace, name), body, content_type=content_type)

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete one object; one that is not there is no error."""
        try:
            self.request("DELETE", self.kind(kind).path(namespace, name))
        except NotFound:
            return


def _kind(group_version: str, resource: JSON) -> Kind:
    kind = resource["responseKind"]["kind"] if resource.get("responseKind") else ""
    names = [kind, resource["resource"], resource.get("singularResource"), *resource.get("shortNames", [])]
    return Kind(
        group_version,
        kind,
        resource["resource"],
        frozenset(name.lower() for name in names if name),
        resource["scope"] == "Namespaced",
    )
