"""The API server of the few kinds that an incident involves, in memory.

The unit lane and `drill` speak to it through the same Transport as to a real one. What it answers
(status, reason, causes, wording) is kube-apiserver's; the contract lane holds it to that.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from .. import model
from ..errors import TransportError
from ..model import JSON, Resource
from ..transports import Response, Target
from . import schemas
from .jsonpatch_go import (
    MAX_OPERATIONS,
    MalformedPatch,
    PatchNotApplied,
    ServerPanic,
    apply_merge_patch,
    apply_patch,
    go_json,
    operations_of,
    strict_errors,
)
from .kinds import BUILT_IN_GROUPS, Kind, definition, kinds
from .schemas import FieldError, JSONSchema
from .selectors import Selector, field_selector, label_selector
from .status import (
    StatusError,
    already_exists,
    bad_request,
    conflict,
    details_of,
    expired,
    forbidden,
    internal,
    invalid,
    invalid_patch,
    method_not_allowed,
    no_such_resource,
    not_found,
    patch_not_applied,
    too_large,
    too_many_requests,
    unsupported_media,
)
from .store import Change, Store, etcd_key
from .validation import configmap_errors, metadata_errors

MAX_BODY = 3 * 1024 * 1024
"""apiserver: server/config.go MaxRequestBodyBytes."""
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Request(NamedTuple):
    """One request as it was sent; `api.requests` keeps them all."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | None = None

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, empty where it is not given."""
        return next((value for key, value in self.query if key == name), "")

    @property
    def json(self) -> JSON:
        """The body as JSON."""
        return json.loads(self.body or b"null")

    @property
    def is_write(self) -> bool:
        """Whether it would change something; access reviews and dry runs do not."""
        if self.method in ("GET", "HEAD") or self.parameter("dryRun"):
            return False
        return "/selfsubject" not in self.path


Before: TypeAlias = Callable[[Request], "Response | None"]
"""Called before a request is looked at; may raise, edit objects, or return another answer."""
After: TypeAlias = Callable[[Request, Response], "Response | None"]
"""Called when the answer is ready; may raise (the answer is lost), or return another answer."""


@dataclass(frozen=True, slots=True)
class Denied:
    """What the user may not do; `*` stands for anything."""

    verb: str = "*"
    resource: str = "*"
    """The plural, with `/subresource` where one is meant."""
    namespace: str = "*"
    name: str = "*"

    def covers(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Whether this rule forbids it."""
        asked = (verb, resource, namespace, name)
        rule = (self.verb, self.resource, self.namespace, self.name)
        return all(mine in ("*", theirs) for mine, theirs in zip(rule, asked, strict=True))


@dataclass(slots=True)
class _Call:
    """A request as the server understands it (apiserver: endpoints/request/requestinfo.go)."""

    request: Request
    kind: Kind
    namespace: str
    name: str
    subresource: str
    user: str
    warnings: list[str] = field(default_factory=list)

    @property
    def resource(self) -> Resource:
        return self.kind.resource

    @property
    def dry_run(self) -> bool:
        return bool(self.request.parameter("dryRun"))

    @property
    def validation(self) -> str:
        return self.request.parameter("fieldValidation") or "Warn"


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it, whole seconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


_GO_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def _encode(value: JSON) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.translate(_GO_HTML).encode() + b"\n"


def _whole(text: str) -> JSON:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _normal(value: JSON) -> JSON:
    """Numbers as they come back out of storage: 1.0 is 1."""
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def copied(value: JSON) -> JSON:
    """A deep copy of a JSON value, several times as fast as the general one."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def answer(status: int, body: JSON, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as the server sends it, for hooks that replace one."""
    return Response(status, {"content-type": "application/json", **(headers or {})}, _encode(body))


def failure(error: StatusError) -> Response:
    """The answer to a failed request, for hooks that replace one."""
    seconds = (error.details or {}).get("retryAfterSeconds")
    return answer(error.code, error.body, {"retry-after": str(seconds)} if seconds else None)


def overloaded(retry_after: int = 1) -> Response:
    """429 with Retry-After."""
    return failure(too_many_requests(retry_after))


def broken(message: str = "etcdserver: request timed out") -> Response:
    """500."""
    return failure(internal(message))


class InMemoryApi:
    """A Transport whose server is this object.

    `before` and `after` are hooks for faults and races. `idle` is called while a watch has nothing
    to say: it may let time pass and the world move, so that no thread is needed. All methods may
    be called from several threads.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = _utc_now,
        *,
        user: str = "alice",
        groups: Sequence[str] = ("system:masters", "system:authenticated"),
        history: int = 10_000,
        absent: Collection[Resource] = (),
        replaced_schemas: Mapping[Resource, JSONSchema] | None = None,
        version: str = "v1.36.3",
    ) -> None:
        """Start with the namespaces of a new cluster and Argo CD's CRDs; `absent` leaves kinds out."""
        self.clock = clock
        self.user = user
        self.groups = tuple(groups)
        self.version = version
        self.before: list[Before] = []
        self.after: list[After] = []
        self.idle: Callable[[], object] | None = None
        self.denied: list[Denied] = []
        self.requests: list[Request] = []
        self.has_subject_reviews = True
        """False as on servers before 1.28."""
        self.where = Target("in-memory", "https://in-memory.invalid", "")
        self._kinds = {k: v for k, v in kinds(replaced_schemas or {}).items() if k not in absent}
        self._absent = frozenset(absent)
        self._store = Store(history)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._idling = threading.RLock()
        self._created = 0
        self._cuts = 0
        for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
            self._namespace(name)
        for kind in self._kinds.values():
            if kind.custom:
                self.create(definition(kind, timestamp(clock())))

    # Transport

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Answer one request; raises TransportError only where a hook does, or a watch is cut."""
        asked = self._logged(method, path, query, headers, body)
        response = self._hooked(asked) or self._answered(asked)
        if isinstance(response, _Watch):
            lines = b"".join(self._events(response, timeout))
            response = Response(200, {"content-type": "application/json"}, lines)
        return self._after(asked, response)

    @contextmanager
    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Answer a GET line by line; a watch waits by calling `idle`, else for another thread."""
        asked = self._logged("GET", path, query, headers, None)
        response = self._hooked(asked) or self._answered(asked)
        if isinstance(response, _Watch):
            head = self._after(asked, Response(200, {"content-type": "application/json"}, b""))
            yield head, self._events(response, timeout) if head.status == 200 else iter(())
            return
        response = self._after(asked, response)
        if response.status == 200:
            yield Response(200, response.headers, b""), iter(response.body.splitlines(keepends=True))
        else:
            yield response, iter(())

    def target(self) -> Target:
        """Name the simulated cluster."""
        return self.where

    def close(self) -> None:
        """Nothing was started."""

    def _logged(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> Request:
        lowered = {key.lower(): value for key, value in (headers or {}).items()}
        asked = Request(method, path, tuple(query), lowered, body)
        with self._lock:
            self.requests.append(asked)
        return asked

    def _hooked(self, asked: Request) -> Response | None:
        for hook in tuple(self.before):
            response = hook(asked)
            if response is not None:
                return response
        return None

    def _after(self, asked: Request, response: Response) -> Response:
        for hook in tuple(self.after):
            response = hook(asked, response) or response
        return response

    def _answered(self, asked: Request) -> Response | _Watch:
        try:
            with self._lock:
                return self._dispatch(asked)
        except StatusError as error:
            return failure(error)
        except ServerPanic:
            message = "This request caused apiserver to panic. Look in the logs for details.\n"
            return Response(500, {"content-type": "text/plain; charset=utf-8"}, message.encode())

    # For tests and for the simulated controllers

    def deny(self, verb: str = "*", resource: str = "*", namespace: str = "*", name: str = "*") -> None:
        """Take a right away from the user; simulated controllers are not bound by it."""
        self.denied.append(Denied(verb, resource, namespace, name))

    def find(self, resource: Resource, namespace: str, name: str) -> JSON:
        """A copy of the live object, None where there is none."""
        with self._lock:
            return copied(self._store.get(resource, namespace, name))

    def get(self, resource: Resource, namespace: str, name: str) -> JSON:
        """A copy of the live object, which must be there."""
        found = self.find(resource, namespace, name)
        if found is None:
            raise KeyError(f"{resource.kind} {namespace}/{name}")
        return found

    def objects(self, resource: Resource, namespace: str = "") -> list[JSON]:
        """Copies of all live objects of a kind, in order."""
        with self._lock:
            return [copied(obj) for obj in self._store.objects(resource, namespace)]

    def peek(self, resource: Resource, namespace: str = "") -> list[JSON]:
        """The live objects themselves, in order, without the cost of a copy: not to be changed."""
        with self._lock:
            return self._store.objects(resource, namespace)

    def resources(self) -> tuple[Resource, ...]:
        """All resources that are served."""
        return tuple(self._kinds)

    def resource_of(self, obj: JSON) -> Resource:
        """The resource that serves an object of this apiVersion and kind."""
        group, _, _ = obj["apiVersion"].rpartition("/")
        for resource in self._kinds:
            if (resource.group, resource.kind) == (group, obj["kind"]):
                return resource
        raise KeyError(f"{obj['apiVersion']} {obj['kind']} is not served")

    def create(self, obj: JSON) -> JSON:
        """Put an object in as a controller would; makes its namespace, keeps a given status."""
        with self._lock:
            resource = self.resource_of(obj)
            new = copied(obj)
            namespace = new["metadata"].get("namespace", "")
            if namespace:
                self._namespace(namespace)
            if self._store.get(resource, namespace, new["metadata"]["name"]) is not None:
                raise KeyError(f"{resource.kind} {namespace}/{new['metadata']['name']} is there already")
            self._checked(self._kinds[resource], new)
            return copied(self._stored(resource, self._born(self._kinds[resource], new)))

    def edit(
        self, resource: Resource, namespace: str, name: str, change: Callable[[JSON], JSON | None]
    ) -> JSON:
        """Change an object as a controller would, status included; what does not change is no write.

        `change` may alter the copy that it gets, or return another object.
        """
        with self._lock:
            current = self._store.get(resource, namespace, name)
            if current is None:
                raise KeyError(f"{resource.kind} {namespace}/{name}")
            new = copied(current)
            new = change(new) or new
            if new == current:
                return new
            kind = self._kinds[resource]
            if kind.schema is not None:
                new, _ = _pruned(kind, new)
            self._checked(kind, new)
            return copied(self._written(kind, current, _normal(new)))

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Take an object away at once, whatever its finalizers."""
        with self._lock:
            self._store.remove(resource, namespace, name)
            self._changed.notify_all()

    def compact(self, keep: int = 0) -> None:
        """Forget history, so that watches and continue tokens of before are expired."""
        with self._lock:
            self._store.compact(keep)
            self._changed.notify_all()

    def cut_streams(self) -> None:
        """Cut every watch that is open now, as a lost connection does."""
        with self._lock:
            self._cuts += 1
            self._changed.notify_all()

    def changes(self, after: int) -> list[Change] | None:
        """What was written after that revision; None where history no longer reaches so far."""
        with self._lock:
            if after < self._store.compacted:
                return None
            return list(self._store.since(after))

    @property
    def revision(self) -> int:
        """The newest resourceVersion; a no-op leaves it."""
        with self._lock:
            return self._store.revision

    def writes(self) -> list[Request]:
        """The logged requests that would have changed something."""
        with self._lock:
            return [request for request in self.requests if request.is_write]

    def _namespace(self, name: str) -> None:
        if self._store.get(model.NAMESPACE, "", name) is None:
            self.create({"apiVersion": "v1", "kind": "Namespace", **_new_namespace({"name": name})})

    def _checked(self, kind: Kind, obj: JSON) -> None:
        """A controller that writes what the server would not take is a bug of the simulation."""
        if kind.schema is None:
            return
        _, unknown = _pruned(kind, obj)
        errors = list(schemas.check(obj, kind.schema))
        if unknown or errors:
            raise AssertionError(f"{kind.resource.kind} is invalid: unknown {unknown}, {errors}")

    # Requests

    def _dispatch(self, asked: Request) -> Response | _Watch:
        path = [unquote(part) for part in asked.path.strip("/").split("/")]
        if path == ["version"]:
            major, minor = self.version.lstrip("v").split(".")[:2]
            return answer(200, {"major": major, "minor": minor, "gitVersion": self.version})
        if path in (["readyz"], ["livez"], ["healthz"]):
            return Response(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")
        if path[:1] == ["api"] and len(path) >= 3:
            group, version, rest = "", path[1], path[2:]
        elif path[:1] == ["apis"] and len(path) >= 4:
            group, version, rest = path[1], path[2], path[3:]
        else:
            return _PAGE_NOT_FOUND
        user = asked.headers.get("impersonate-user", self.user)
        if group in ("authorization.k8s.io", "authentication.k8s.io"):
            return self._review(asked, group, rest, user)
        return self._resourceful(asked, group, version, rest, user)

    def _resourceful(
        self, asked: Request, group: str, version: str, rest: list[str], user: str
    ) -> Response | _Watch:
        namespace = ""
        if (
            rest[0] == "namespaces"
            and len(rest) > 2
            and not (len(rest) == 3 and rest[2] in ("status", "finalize"))
        ):
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (rest + ["", ""])[:3]
        found = next(
            (r for r in self._kinds if (r.group, r.version, r.plural) == (group, version, plural)), None
        )
        resource = found or Resource(group, version, plural, "", namespaced=bool(namespace))
        kind = self._kinds.get(resource, Kind(resource))
        watching = asked.parameter("watch") in ("1", "true")
        wanted = name
        if not name and asked.method == "GET":
            _, wanted = field_selector(asked.parameter("fieldSelector"), kind.resource.kind)
        verb = self._verb(asked.method, name, watching)
        # Of a namespace the name counts as its namespace too (requestinfo.go).
        within = name if resource == model.NAMESPACE else namespace
        self._authorize(resource, verb, user, within, wanted, subresource)
        misplaced = bool(namespace) != resource.namespaced and bool(namespace or name)
        if found is None or len(rest) > 3 or misplaced:
            if group in BUILT_IN_GROUPS:
                raise no_such_resource()
            return _PAGE_NOT_FOUND
        if subresource and not (subresource == "status" and kind.has_status):
            raise not_found(resource, name) if kind.custom else no_such_resource()
        call = _Call(asked, kind, namespace, name, subresource, user)
        return self._perform(call, watching)

    @staticmethod
    def _verb(method: str, name: str, watching: bool) -> str:
        if method in ("GET", "HEAD"):
            return "get" if name else "watch" if watching else "list"
        verbs = {"POST": "create", "PUT": "update", "PATCH": "patch"}
        if method == "DELETE":
            return "delete" if name else "deletecollection"
        return verbs.get(method, "")

    def _perform(self, call: _Call, watching: bool) -> Response | _Watch:
        method = call.request.method
        if method == "GET":
            if call.name:
                return self._shown(call, 200, self._existing(call))
            return self._watch(call) if watching else self._list(call)
        if call.request.body is not None and len(call.request.body) > MAX_BODY:
            raise too_large(f"limit is {MAX_BODY}")
        if method == "POST" and not call.name:
            return self._post(call)
        if method == "PATCH" and call.name:
            return self._patch(call)
        if method == "PUT" and call.name:
            return self._put(call)
        if method == "DELETE" and call.name and not call.subresource:
            return self._delete(call)
        raise method_not_allowed()

    def _authorize(
        self, resource: Resource, verb: str, user: str, namespace: str, name: str, subresource: str
    ) -> None:
        shown = f"{resource.plural}/{subresource}" if subresource else resource.plural
        if self._is_denied(verb, shown, namespace, name):
            raise forbidden(resource, verb, user, namespace, name, subresource)

    def _is_denied(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        return any(rule.covers(verb, resource, namespace, name) for rule in self.denied)

    def _review(self, asked: Request, group: str, rest: list[str], user: str) -> Response:
        """SelfSubjectAccessReview and SelfSubjectReview: questions, nothing is stored."""
        known = {"authorization.k8s.io": "selfsubjectaccessreviews"}
        if self.has_subject_reviews:
            known["authentication.k8s.io"] = "selfsubjectreviews"
        if rest != [known.get(group, "")]:
            raise no_such_resource()
        if asked.method != "POST":
            raise method_not_allowed()
        kind = "SelfSubjectAccessReview" if group == "authorization.k8s.io" else "SelfSubjectReview"
        body = {"apiVersion": f"{group}/v1", "kind": kind, **_decoded(asked.body)[0]}
        if group == "authentication.k8s.io":
            groups = self.groups if user == self.user else ("system:authenticated",)
            info = {"username": user, "groups": list(groups)}
            body = {**body, "status": {"userInfo": info}}
            return answer(201, {"metadata": {"creationTimestamp": timestamp(self.clock())}, **body})
        spec = body.get("spec") or {}
        wanted = spec.get("resourceAttributes")
        if not isinstance(wanted, dict):
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            errors = [
                FieldError("FieldValueInvalid", "spec.resourceAttributes", f"Invalid value: null: {why}")
            ]
            raise invalid(group, "", "", errors)
        plural = wanted.get("resource", "")
        if wanted.get("subresource"):
            plural += f"/{wanted['subresource']}"
        denied = self._is_denied(
            wanted.get("verb", ""), plural, wanted.get("namespace", ""), wanted.get("name", "")
        )
        return answer(201, {"metadata": {}, **body, "status": {"allowed": not denied}})

    # Reading

    def _existing(self, call: _Call) -> JSON:
        found = self._store.get(call.resource, call.namespace, call.name)
        if found is None:
            raise not_found(call.resource, call.name)
        return found

    def _shown(self, call: _Call, status: int, obj: JSON) -> Response:
        headers = {}
        if call.warnings:
            texts = (json.dumps(text, ensure_ascii=False) for text in call.warnings)
            headers["warning"] = ", ".join(f"299 - {text}" for text in texts)
        return answer(status, _partial(call, obj), headers)

    def _selector(self, call: _Call) -> Selector:
        labels = call.request.parameter("labelSelector")
        fields = call.request.parameter("fieldSelector")
        by_label = label_selector(labels)
        by_field, _ = field_selector(fields, call.resource.kind)
        return lambda obj: by_label(obj) and by_field(obj)

    def _list(self, call: _Call) -> Response:
        selected = self._selector(call)
        limit = _number(call.request.parameter("limit"))
        token = call.request.parameter("continue")
        revision, start = self._store.revision, ""
        objects: list[JSON] | None
        if token:
            revision, start = _read_token(token)
            if revision < 0:
                revision = self._store.revision
            objects = self._store.objects_at(call.resource, call.namespace, revision)
            if objects is None:
                raise expired(
                    "The provided continue parameter is too old to display a consistent list result. "
                    "You can start a new list without the continue parameter, or use the continue "
                    "token in this response to retrieve the remainder of the results. Continuing with "
                    "the provided token results in an inconsistent list - objects that were created, "
                    "modified, or deleted between the time the first chunk was returned and now may "
                    "show up in the list.",
                    _write_token(-1, start),
                )
        else:
            self._not_too_new(call.request.parameter("resourceVersion"))
            objects = self._store.objects(call.resource, call.namespace)
        objects = [obj for obj in objects if not start or _key(obj) + "\0" > start]
        if start:
            objects = [obj for obj in objects if _key(obj) >= start]
        chosen = [obj for obj in objects if selected(obj)]
        meta: dict[str, JSON] = {"resourceVersion": str(revision)}
        if call.kind.custom and not _wants_metadata(call):
            meta["continue"] = ""
        if 0 < limit < len(chosen):
            last = _key(chosen[limit - 1])
            meta["continue"] = _write_token(revision, last + "\0")
            if not call.request.parameter("labelSelector") and not call.request.parameter("fieldSelector"):
                meta["remainingItemCount"] = len(chosen) - limit
            chosen = chosen[:limit]
        items = [_partial(call, obj) for obj in chosen]
        version = f"{call.resource.group}/{call.resource.version}".lstrip("/")
        found: dict[str, JSON] = {
            "apiVersion": version,
            "kind": f"{call.resource.kind}List",
            "metadata": meta,
            "items": items,
        }
        if _wants_metadata(call):
            found |= {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList"}
        elif not call.kind.custom:
            # Items of built-in kinds go without their type (apimachinery: typed lists).
            found["items"] = [
                {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
                for item in items
            ]
        return answer(200, found)

    def _not_too_new(self, version: str) -> None:
        if _revision(version) > self._store.revision:
            message = f"Timeout: Too large resource version: {version}, current: {self._store.revision}"
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            raise StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})

    def _watch(self, call: _Call) -> _Watch:
        version = call.request.parameter("resourceVersion")
        at = _revision(version, watching=True)
        selected = self._selector(call)
        first: list[JSON] = []
        if at == 0:
            at = self._store.revision
            first = [o for o in self._store.objects(call.resource, call.namespace) if selected(o)]
        seconds = _number(call.request.parameter("timeoutSeconds")) or 1800
        bookmarks = call.request.parameter("allowWatchBookmarks") in ("1", "true")
        return _Watch(call, at, selected, first, seconds, bookmarks, self._cuts)

    def _events(self, watch: _Watch, timeout: float | None) -> Iterator[bytes]:
        """The lines of a watch, until its time is over or its history gone."""
        for obj in watch.first:
            yield _event(watch, "ADDED", obj)
        opened = heard = marked = self.clock()
        while True:
            with self._lock:
                if watch.cuts != self._cuts:
                    raise TransportError("the connection was cut while watching")
                lines, lost = self._news(watch)
            yield from lines
            if lost:
                return
            now = self.clock()
            if lines:
                heard = now
                continue
            if (now - opened).total_seconds() >= watch.seconds:
                if watch.bookmarks:
                    yield self._bookmark(watch)
                return
            if timeout is not None and (now - heard).total_seconds() >= timeout:
                raise TransportError(f"no answer within {timeout:g} s while watching")
            if watch.bookmarks and (now - marked).total_seconds() >= 60:
                heard = marked = now
                yield self._bookmark(watch)
                continue
            if not self._waited(watch, timeout):
                if timeout is not None and timeout < watch.seconds:
                    raise TransportError(f"no answer within {timeout:g} s while watching")
                if watch.bookmarks:
                    yield self._bookmark(watch)
                return

    def _waited(self, watch: _Watch, timeout: float | None) -> bool:
        """Let the world go on; False where nothing will come in the time that is left."""
        if self.idle is not None:
            before = (self.clock(), self.revision)
            with self._idling:
                self.idle()
            return (self.clock(), self.revision) != before
        with self._changed:
            if self._store.revision > watch.at or watch.cuts != self._cuts:
                return True
            return self._changed.wait(min(watch.seconds, timeout or watch.seconds))

    def _news(self, watch: _Watch) -> tuple[list[bytes], bool]:
        if watch.at < self._store.compacted:
            error = expired(f"too old resource version: {watch.at} ({self._store.compacted})")
            return [_encode({"type": "ERROR", "object": error.body})], True
        lines = []
        for change in self._store.since(watch.at):
            watch.at = change.revision
            seen = _seen(watch, change)
            if seen:
                lines.append(_event(watch, seen, change.object))
        return lines, False

    def _bookmark(self, watch: _Watch) -> bytes:
        resource = watch.call.resource
        meta: dict[str, JSON] = {"resourceVersion": str(max(watch.at, self.revision))}
        if not watch.call.kind.custom:
            meta["creationTimestamp"] = None
        version = f"{resource.group}/{resource.version}".lstrip("/")
        obj = {"apiVersion": version, "kind": resource.kind, "metadata": meta}
        return _encode({"type": "BOOKMARK", "object": obj})

    # Writing

    def _post(self, call: _Call) -> Response:
        self._check_options(call, "CreateOptions")
        obj, duplicates = _decoded(call.request.body)
        version = f"{call.resource.group}/{call.resource.version}".lstrip("/")
        given = (obj.get("apiVersion", ""), obj.get("kind", ""))
        if call.kind.custom and not given[1]:
            raise bad_request(f"Object 'Kind' is missing in '{go_json(obj)}'")
        if given[1] not in ("", call.resource.kind):
            raise bad_request(
                f'{given[1]} in version "{given[0].rpartition("/")[2]}" cannot be handled as a '
                f'{call.resource.kind}: no kind "{given[1]}" is registered for version "{given[0]}"'
            )
        if given[0] not in ("", version):
            raise bad_request(
                f"the API version in the data ({given[0]}) does not match "
                f"the expected API version ({version})"
            )
        obj |= {"apiVersion": version, "kind": call.resource.kind}
        unknown = [f'duplicate field "{name}"' for name in duplicates]
        if call.kind.schema is not None:
            obj, paths = _pruned(call.kind, obj)
            unknown += [f'unknown field "{path}"' for path in paths]
        if unknown and call.validation == "Strict":
            raise bad_request(
                f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
                f"{call.resource.kind}: strict decoding error: {', '.join(unknown)}"
            )
        if call.validation == "Warn":
            call.warnings += unknown
        self._check_types(call, obj)
        meta = obj.setdefault("metadata", {})
        for name in (
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
            "managedFields",
        ):
            meta.pop(name, None)
        if call.resource.namespaced:
            if not call.namespace:
                raise method_not_allowed()
            if meta.setdefault("namespace", call.namespace) != call.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if self._store.get(model.NAMESPACE, "", call.namespace) is None:
                raise not_found(model.NAMESPACE, call.namespace)
        if meta.pop("resourceVersion", ""):
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        if call.kind.has_status:
            obj.pop("status", None)
        if call.resource == model.NAMESPACE:
            obj |= _new_namespace(meta)
        self._validate(call, obj)
        if self._store.get(call.resource, call.namespace, meta["name"]) is not None:
            raise already_exists(call.resource, meta["name"])
        born = self._born(call.kind, _normal(obj))
        if not call.dry_run:
            born = self._stored(call.resource, born)
        return self._shown(call, 201, born)

    @staticmethod
    def _check_types(call: _Call, obj: JSON) -> None:
        """What Go's decoder refuses before anything is validated."""
        malformed = list(schemas.check(obj.get("metadata", {}), schemas.METADATA, "metadata"))
        if not call.kind.custom and call.kind.schema is not None:
            malformed += schemas.check(obj, call.kind.schema)
        if malformed:
            raise bad_request(
                f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
                f"{call.resource.kind}: json: cannot unmarshal into Go struct field {malformed[0].field}"
            )

    def _born(self, kind: Kind, obj: JSON) -> JSON:
        self._created += 1
        uid = uuid.uuid5(uuid.NAMESPACE_OID, f"{kind.resource.plural}/{self._created}")
        meta: dict[str, JSON] = {"uid": str(uid), "creationTimestamp": timestamp(self.clock())}
        if kind.counts_generation:
            meta["generation"] = 1
        return {**obj, "metadata": {**meta, **obj["metadata"]}}

    def _stored(self, resource: Resource, obj: JSON) -> JSON:
        stored = self._store.put(resource, obj)
        self._changed.notify_all()
        return stored

    def _put(self, call: _Call) -> Response:
        self._check_options(call, "UpdateOptions")
        obj, _ = _decoded(call.request.body)
        current = self._existing(call)
        if call.kind.schema is not None:
            obj, paths = _pruned(call.kind, obj)
            if paths and call.validation == "Strict":
                unknown = ", ".join(f'unknown field "{path}"' for path in paths)
                raise bad_request(
                    f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
                    f"{call.resource.kind}: strict decoding error: {unknown}"
                )
        return self._updated(call, current, obj)

    def _patch(self, call: _Call) -> Response:
        media = call.request.headers.get("content-type", "").partition(";")[0].strip()
        accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
        if not call.kind.custom:
            accepted.insert(2, STRATEGIC_PATCH)
        if media not in accepted:
            raise unsupported_media(accepted)
        if media not in (JSON_PATCH, MERGE_PATCH):
            raise NotImplementedError(f"the in-memory API does not do {media}")
        self._check_options(call, "PatchOptions")
        current = self._existing(call)
        body = call.request.body or b""
        unknown: list[str] = []
        try:
            if media == JSON_PATCH:
                if call.validation != "Ignore":
                    unknown += strict_errors(body)
                if len(operations_of(body)) > MAX_OPERATIONS:
                    raise too_large(
                        f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
                        f"got {len(operations_of(body))}"
                    )
                new = apply_patch(current, body)
            else:
                new = apply_merge_patch(current, body)
        except MalformedPatch as error:
            raise bad_request(f"error decoding patch: {error}") from error
        except PatchNotApplied as error:
            raise patch_not_applied() from error
        new = self._read_patched(call, current, _normal(new), unknown)
        return self._updated(call, current, new)

    def _read_patched(self, call: _Call, current: JSON, new: JSON, unknown: list[str]) -> JSON:
        """Decode the patched document (apiserver: patch.go applyPatchToCurrentObject)."""
        whole = new
        if not isinstance(new, dict) or not isinstance(new.get("metadata", {}), dict):
            raise invalid_patch(whole, "json: cannot unmarshal into Go value")
        if not new.get("kind"):
            raise invalid_patch(whole, f"Object 'Kind' is missing in '{go_json(whole)}'")
        new = {**new, "metadata": _texts(new.get("metadata", {}))}
        malformed = list(schemas.check(new["metadata"], schemas.METADATA, "metadata"))
        if malformed:
            raise invalid_patch(whole, f"json: cannot unmarshal into Go struct field {malformed[0].field}")
        if call.kind.schema is not None:
            new, paths = _pruned(call.kind, new)
            unknown = unknown + [f'unknown field "{path}"' for path in paths]
            if not call.kind.custom and list(schemas.check(new, call.kind.schema)):
                raise invalid_patch(whole, f"json: cannot unmarshal into Go struct {call.resource.kind}")
        if unknown and call.validation == "Strict":
            raise invalid_patch(whole, f"strict decoding error: {', '.join(sorted(unknown))}")
        if call.validation == "Warn":
            call.warnings += sorted(unknown)
        return new

    def _updated(self, call: _Call, current: JSON, new: JSON) -> Response:
        """Checks in the order of apiserver: registry/generic/registry/store.go Update."""
        meta = new.setdefault("metadata", {})
        if not meta.get("name"):
            raise bad_request(
                f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
            )
        if meta["name"] != call.name:
            raise bad_request(
                f"the name of the object ({meta.get('name', '')}) does not match "
                f"the name on the URL ({call.name})"
            )
        version = meta.get("resourceVersion", "")
        if not re.fullmatch(r"[0-9]*", version):
            raise StatusError(500, "", f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if version in ("", "0"):
            if call.kind.custom:
                why = "Invalid value: 0: must be specified for an update"
                error = FieldError("FieldValueInvalid", "metadata.resourceVersion", why)
                raise invalid(call.resource.group, call.resource.plural, call.name, [error])
        elif version != current["metadata"]["resourceVersion"]:
            raise conflict(call.resource, call.name)
        if meta.get("namespace", call.namespace) != call.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        new = self._prepared(call, current, new)
        self._validate(call, new, current)
        if call.dry_run:
            return self._shown(call, 200, self._bumped(call.kind, current, new))
        return self._shown(call, 200, self._written(call.kind, current, new))

    @staticmethod
    def _prepared(call: _Call, current: JSON, new: JSON) -> JSON:
        """What a client cannot change is put back (apiserver: registry/rest/update.go BeforeUpdate)."""
        old = current["metadata"]
        if call.subresource == "status":
            return {**current, "status": new.get("status", {})}
        new = dict(new)
        if call.kind.has_status:
            new.pop("status", None)
            if "status" in current:
                new["status"] = current["status"]
        meta = dict(new["metadata"])
        for name in ("generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            if name in old:
                meta[name] = old[name]
            elif name == "generation":
                meta.pop(name, None)
        meta["uid"] = meta.get("uid") or old["uid"]
        meta["resourceVersion"] = old["resourceVersion"]
        if call.namespace:
            meta["namespace"] = call.namespace
        for name in ("labels", "annotations", "finalizers", "ownerReferences"):
            if not meta.get(name):
                meta.pop(name, None)
        return {**new, "metadata": meta}

    def _bumped(self, kind: Kind, current: JSON, new: JSON) -> JSON:
        """Count the generation: of custom kinds without /status on any change but metadata."""
        if not kind.counts_generation:
            return new
        ignored = {"metadata", "status"} if kind.has_status else {"metadata"}

        def content(obj: JSON) -> JSON:
            return {key: value for key, value in obj.items() if key not in ignored}

        if content(current) == content(new):
            return new
        generation = current["metadata"].get("generation", 0) + 1
        return {**new, "metadata": {**new["metadata"], "generation": generation}}

    def _written(self, kind: Kind, current: JSON, new: JSON) -> JSON:
        """Store the new state; nothing is written where nothing changed."""
        if new == current:
            return current
        new = self._bumped(kind, current, new)
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self._store.remove(kind.resource, meta.get("namespace", ""), meta["name"])
            self._changed.notify_all()
            return new
        return self._stored(kind.resource, new)

    def _delete(self, call: _Call) -> Response:
        current = self._existing(call)
        meta = current["metadata"]
        options = _decoded(call.request.body)[0] if call.request.body else {}
        wanted = options.get("preconditions") or {}
        for name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            if wanted.get(name) and wanted[name] != meta[name]:
                why = (
                    f"the {label} in the precondition ({wanted[name]}) does not match the {label} in record "
                    f"({meta[name]}). The object might have been deleted and then recreated"
                )
                raise conflict(call.resource, call.name, why, by_kind=True)
        if meta.get("finalizers"):
            gone = {"deletionTimestamp": timestamp(self.clock()), "deletionGracePeriodSeconds": 0}
            generation = {"generation": meta["generation"] + 1} if "generation" in meta else {}
            dying = {**current, "metadata": {**gone, **meta, **generation}}
            if not call.dry_run and "deletionTimestamp" not in meta:
                dying = self._stored(call.resource, dying)
            return self._shown(call, 200, dying)
        if not call.dry_run:
            self._store.remove(call.resource, call.namespace, call.name)
            self._changed.notify_all()
        details = {**details_of(call.resource, call.name), "uid": meta["uid"]}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return answer(200, done)

    # Validation

    @staticmethod
    def _check_options(call: _Call, kind: str) -> None:
        """apimachinery: pkg/apis/meta/v1/validation ValidatePatchOptions and its like."""
        errors = []
        manager = call.request.parameter("fieldManager")
        if len(manager.encode()) > 128:
            body = "Too long: may not be more than 128 bytes"
            errors.append(FieldError("FieldValueTooLong", "fieldManager", body))
        if any(key == "dryRun" and value != "All" for key, value in call.request.query):
            value = json.dumps([value for key, value in call.request.query if key == "dryRun"])
            body = f'Unsupported value: {value}: supported values: "All"'
            errors.append(FieldError("FieldValueNotSupported", "dryRun", body))
        validation = call.request.parameter("fieldValidation")
        if validation not in ("", "Ignore", "Warn", "Strict"):
            body = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
            errors.append(FieldError("FieldValueNotSupported", "fieldValidation", body))
        if kind == "PatchOptions" and call.request.parameter("force"):
            body = "Forbidden: may not be specified for non-apply patch"
            errors.append(FieldError("FieldValueForbidden", "force", body))
        if errors:
            raise invalid("meta.k8s.io", kind, "", errors)

    def _validate(self, call: _Call, obj: JSON, current: JSON | None = None) -> None:
        errors = list(metadata_errors(obj["metadata"], current["metadata"] if current else None))
        if current is not None:
            # registry/rest/update.go validates metadata, and each strategy does it once more.
            errors += errors
            for name, wanted in (("kind", current["kind"]), ("apiVersion", current["apiVersion"])):
                if obj[name] != wanted:
                    body = f'Invalid value: "{obj[name]}": must be {wanted}'
                    errors.append(FieldError("FieldValueInvalid", name, body))
        if call.kind.custom and call.kind.schema is not None:
            errors += schemas.check(obj, call.kind.schema)
        if call.resource == model.CONFIGMAP:
            errors += configmap_errors(obj, current)
        if errors:
            name = obj["metadata"].get("name", "")
            raise invalid(call.resource.group, obj["kind"], name, errors)


@dataclass(slots=True)
class _Watch:
    """One open watch and how far it has come."""

    call: _Call
    at: int
    selected: Selector
    first: list[JSON]
    seconds: int
    bookmarks: bool
    cuts: int


def _new_namespace(meta: JSON) -> dict[str, JSON]:
    """What the API server gives a namespace (kubernetes: pkg/registry/core/namespace/strategy.go)."""
    labels = {**meta.get("labels", {}), "kubernetes.io/metadata.name": meta.get("name", "")}
    return {
        "metadata": {**meta, "labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


_PAGE_NOT_FOUND = Response(404, {"content-type": "text/plain; charset=utf-8"}, b"404 page not found\n")


def _seen(watch: _Watch, change: Change) -> str:
    """The type under which this watch sees a change: a label taken away is a deletion to it."""
    call = watch.call
    if change.resource != call.resource or (call.namespace and change.namespace != call.namespace):
        return ""
    was = change.previous is not None and watch.selected(change.previous)
    now = change.type != "DELETED" and watch.selected(change.object)
    if was and now:
        return "MODIFIED"
    return "ADDED" if now else "DELETED" if was else ""


def _event(watch: _Watch, change: str, obj: JSON) -> bytes:
    return _encode({"type": change, "object": _partial(watch.call, obj)})


def _wants_metadata(call: _Call) -> bool:
    return "as=PartialObjectMetadata" in call.request.headers.get("accept", "").replace(" ", "")


def _partial(call: _Call, obj: JSON) -> JSON:
    if not _wants_metadata(call):
        return obj
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": obj["metadata"]}


def _texts(meta: JSON) -> JSON:
    """In Go's map[string]string null is the empty string."""
    found = dict(meta)
    for name in ("labels", "annotations"):
        if isinstance(found.get(name), dict):
            found[name] = {key: "" if text is None else text for key, text in found[name].items()}
    return found


def _key(obj: JSON) -> str:
    return etcd_key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _write_token(revision: int, start: str) -> str:
    body = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        body = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(body["rv"]), str(body["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error


def _number(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"-?[0-9]+", text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _revision(text: str, watching: bool = False) -> int:
    if re.fullmatch(r"[0-9]*", text):
        return int(text or 0)
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise StatusError(500, "", why) if watching else bad_request(f"invalid resource version: {why}")


_UNRECOGNIZED = "the object provided is unrecognized: couldn't get version/kind; json parse error"


def _decoded(body: bytes | None) -> tuple[dict[str, JSON], list[str]]:
    """A JSON object and the keys that stand in it twice."""
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, JSON]]) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        for key, value in items:
            if key in found:
                duplicates.append(key)
            found[key] = value
        return found

    try:
        obj = json.loads(body or b"", object_pairs_hook=pairs, parse_float=_whole)
    except ValueError as error:
        raise bad_request(f"{_UNRECOGNIZED}: {error}") from error
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata", {}) or {}, dict):
        raise bad_request(f"{_UNRECOGNIZED}: cannot unmarshal into Go value")
    return obj, duplicates


def _pruned(kind: Kind, obj: JSON) -> tuple[JSON, list[str]]:
    """Without unknown fields; those of metadata go by metadata's own schema."""
    assert kind.schema is not None
    kept, unknown = schemas.prune(obj, kind.schema)
    if isinstance(kept.get("metadata"), dict):
        kept["metadata"], more = schemas.prune(kept["metadata"], schemas.METADATA, "metadata")
        unknown = more + unknown
    return kept, unknown
