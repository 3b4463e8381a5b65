"""What may stand at a place of a command line, as the cluster and this machine know it.

For completion: light requests, names alone and from the API server's cache where that is possible.
Each function yields what it finds as it finds it, so that late answers lose nothing that came before.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ..argocd import application, history
from ..cluster.answers import api_error
from ..cluster.client import Cluster, object_path
from ..cluster.transport import Connection, Transport
from ..journal import entry
from ..journal.configmaps import ClusterHome
from ..journal.entry import Entry, fold
from ..journal.journal import Journal
from ..journal.local import LocalHome, state_home
from ..model import text
from ..model.errors import RescueError
from ..model.values import APPLICATION, APPPROJECT, CONFIGMAP, JSON, NAMESPACE, Resource

_TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_METADATA: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
_USUAL: Final = "argocd"


class Place(NamedTuple):
    """Where to look, as the words so far say it; empty where they do not."""

    transport: Transport
    seconds: float
    """For one request."""
    namespace: str = ""
    argocd_namespace: str = ""

    def home(self) -> str:
        """Return Argo CD's namespace."""
        return self.argocd_namespace or self._installation()[0]

    def _installation(self) -> tuple[str, str]:
        """Return the namespace and the uid of Argo CD's ConfigMap."""
        query = [("fieldSelector", "metadata.name=argocd-cm")]
        try:
            found = {
                m["namespace"]: m.get("uid", "")
                for m in self._metadata(CONFIGMAP, self.argocd_namespace, query)
            }
        except RescueError:
            found = {}
        home = self.argocd_namespace or (_USUAL if _USUAL in found or len(found) != 1 else next(iter(found)))
        return home, str(found.get(home, ""))

    def _metadata(
        self, resource: Resource, namespace: str = "", query: Iterable[tuple[str, str]] = ()
    ) -> Iterator[JSON]:
        for item in self._list(resource, namespace, _METADATA, query).get("items") or ():
            yield item["metadata"]

    def _list(
        self, resource: Resource, namespace: str, accept: str, query: Iterable[tuple[str, str]]
    ) -> JSON:
        # Version 0 is what the API server has in memory: quick, and new enough for names.
        asked = [("resourceVersion", "0"), *query]
        path = object_path(resource, namespace)
        answer = self.transport.request("GET", path, asked, {"Accept": accept}, None, self.seconds)
        if answer.status != 200:
            raise api_error(answer, resource.plural, "GET")
        found: JSON = json.loads(answer.body)
        return found

    # -- names

    def namespaces(self) -> Iterator[str]:
        """Yield the namespaces of the cluster."""
        for meta in self._metadata(NAMESPACE):
            yield meta["name"]

    def projects(self) -> Iterator[str]:
        """Yield the AppProjects of this Argo CD."""
        for meta in self._metadata(APPPROJECT, self.home()):
            yield meta["name"]

    def applications(self, prefix: str) -> Iterator[str]:
        """Yield the Applications as APP may name them, each with its sync and health after a tab."""
        left, slash, _ = prefix.partition("/")
        if slash:
            for _, name, state in self._rows(left):
                yield f"{left}/{name}\t{state}"
            return
        home = self.namespace or self.home()
        for _, name, state in self._rows(home):
            yield f"{name}\t{state}"
        if not self.namespace:
            for namespace, name, state in self._rows(""):
                if namespace != home:
                    yield f"{namespace}/{name}\t{state}"

    def _rows(self, namespace: str) -> Iterator[tuple[str, str, str]]:
        """Yield namespace, name and state; asked for as a table, of which only the columns come."""
        query = [("includeObject", "None" if namespace else "Metadata")]
        found = self._list(APPLICATION, namespace, _TABLE, query)
        if found.get("kind") != "Table":
            for app in found.get("items") or ():
                status = app.get("status") or {}
                words = [str((status.get(part) or {}).get("status") or "") for part in ("sync", "health")]
                yield app["metadata"]["namespace"], app["metadata"]["name"], ", ".join(filter(None, words))
            return
        names = [str(c["name"]).lower() for c in found["columnDefinitions"]]
        columns = [names.index(n) for n in ("sync status", "health status") if n in names]
        for row in found.get("rows") or ():
            cells, meta = row["cells"], (row.get("object") or {}).get("metadata") or {}
            state = ", ".join(str(cells[i]) for i in columns if cells[i])
            yield meta.get("namespace") or namespace, meta.get("name") or cells[names.index("name")], state

    def versions(self, app: str) -> Iterator[str]:
        """Yield the versions of an application's history, newest first, each with its date after a tab."""
        left, slash, right = app.partition("/")
        namespace = left if slash else self.namespace or self.home()
        found = Cluster(self.transport, request_timeout=self.seconds).get(
            APPLICATION, namespace, right if slash else app
        )
        seen: set[str] = set()
        for deployment in reversed(history.deployments(found)):
            when = f", {deployment.deployed:%Y-%m-%d %H:%M} UTC" if deployment.deployed else ""
            for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
                if revision and revision not in seen:
                    seen.add(revision)
                    # Nobody knows a digest by heart.
                    asked = (
                        f"{body.get('targetRevision')}, " if application.is_digest_prefix(revision) else ""
                    )
                    yield f"{revision}\t{asked}history id {deployment.id}{when}"

    # -- the log

    def journal(self) -> list[Entry]:
        """Return this cluster's entries, of both homes, newest first."""
        cluster = Cluster(self.transport, request_timeout=self.seconds)
        home, argocd_uid = self._installation()
        (uid,) = cluster.gather(lambda: cluster.get(NAMESPACE, "", "kube-system")["metadata"]["uid"])
        folders = [state_home(os.environ) / str(u) for u in (uid, argocd_uid) if u]
        return entry.newest_first(Journal(LocalHome(folders), ClusterHome(cluster, home)).read().entries)


def local_entries(base: Path) -> list[Entry]:
    """Return the entries that this machine knows, of any cluster, newest first."""
    folders = [f for f in base.iterdir() if f.is_dir()] if base.is_dir() else []
    folded = [fold(lines) for lines in LocalHome(folders).read().values()] if folders else []
    return entry.newest_first([e for e in folded if e is not None])


def entry_words(found: Iterable[Entry], *, only_open: bool) -> list[str]:
    """Give the ids of entries, each with what it did after a tab."""
    return [
        f"{e.id}\t{entry.what(e)}, by {text.one_line(e.begin.actor) or '(unknown)'}"
        for e in found
        if e.is_open or not only_open
    ]


def applications_of(found: Iterable[Entry], namespace: str) -> list[str]:
    """Give the applications of which something stands, as APP names them."""
    keys = [(k, e.begin.argocd_namespace) for e in found if e.is_open for k in entry.objects_of(e)]
    return list(
        dict.fromkeys(entry.name_of(k, namespace or home) for k, home in keys if k.kind == "Application")
    )


def configured(kind: str, connection: Connection, seconds: float) -> list[str]:
    """Give the names of contexts, clusters or users of the user's kubeconfig, as kubectl merges it."""
    kubectl = os.environ.get("KUBECTL_PATH") or "kubectl"
    files = [f"--kubeconfig={connection.kubeconfig}"] if connection.kubeconfig else []
    view = subprocess.run(
        [kubectl, *files, "config", "view", "--output=json"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True,
    )  # fmt: skip
    return [str(entry["name"]) for entry in json.loads(view.stdout).get(kind) or ()]
