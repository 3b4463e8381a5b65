"""One application with its app-of-apps, project, chart and git folder: many fit on one Argo CD.

A test takes a scene of its own, so none has to put back what another changed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.testbed.api import JSON
from tests.testbed.argocd import APPLICATIONSETS, CONTROLLER, REFRESH, REPO_SERVER, ArgoCD
from tests.testbed.control_plane import AuditEntry, ControlPlane
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.sources import application, manifest, project
from tests.testbed.spoke import address

JOURNAL = "app.kubernetes.io/managed-by=kubectl-argo-rescue"
"""Selects the journal's ConfigMaps."""


@contextlib.contextmanager
def dead(argocd: ArgoCD, part: str) -> Iterator[None]:
    """Stop a part, its process and the pods that stand for it; both are back afterwards."""
    kind, name = _WORKLOADS[part]
    argocd.stop(part)
    argocd.api.patch(kind, name, argocd.namespace, {"spec": {"replicas": 0}})
    argocd.until(lambda: not argocd.get(kind, name)["status"].get("readyReplicas"), 120, f"{name} is down")
    try:
        yield
    finally:
        argocd.api.patch(kind, name, argocd.namespace, {"spec": {"replicas": 1}})
        argocd.start(part)
        argocd.until(lambda: argocd.get(kind, name)["status"].get("readyReplicas"), 120, f"{name} is up")


_WORKLOADS = {
    APPLICATIONSETS: ("deployment", "argocd-applicationset-controller"),
    CONTROLLER: ("statefulset", "argocd-application-controller"),
    REPO_SERVER: ("deployment", "argocd-repo-server"),
}


def text_of(value: JSON) -> str:
    """Return a value as the API server wrote it, key order included: equal texts are equal bytes."""
    return json.dumps(value)


def normal(spec: JSON) -> JSON:
    """Return an Application's spec as Argo CD normalises it: an empty syncPolicy goes."""
    return {name: value for name, value in spec.items() if name != "syncPolicy" or value}


def automated(app: JSON) -> JSON:
    """Return an Application's `automated` block, None where there is none."""
    return app["spec"].get("syncPolicy", {}).get("automated")


def is_auto_sync_on(app: JSON) -> bool:
    """Whether the controller syncs it by itself."""
    block = automated(app)
    return block is not None and block.get("enabled", True) is not False


def writes(control_plane: ControlPlane, since: int, user: str = "admin") -> list[AuditEntry]:
    """Return what a user wrote since an audit mark, reviews of the own rights and dry runs left out."""
    return [
        e
        for e in control_plane.audit(since)
        if e.user == user
        and e.verb in ("create", "update", "patch", "delete", "deletecollection")
        and "/authorization.k8s.io/" not in e.uri
        and "/authentication.k8s.io/" not in e.uri
        and "dryRun=All" not in e.uri
    ]


def edits(control_plane: ControlPlane, since: int, user: str = "admin") -> list[AuditEntry]:
    """Return a user's writes but for the journal's, refresh annotations and Events."""
    return [
        e
        for e in writes(control_plane, since, user)
        if "/configmaps" not in e.uri and "/events" not in e.uri and not _is_refresh(e.body)
    ]


def edited(control_plane: ControlPlane, since: int, user: str = "admin") -> list[str]:
    """Name the objects that a user edited, in order.

    What the server turned down is none: an operation is locked by the resourceVersion, so that it is
    tried again where Argo CD wrote its status in between.
    """
    return [
        e.uri.partition("?")[0].rpartition("/")[2] for e in edits(control_plane, since, user) if e.code < 300
    ]


def without_repeats(names: Sequence[str]) -> list[str]:
    """Leave out each that is the same as the one before."""
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


def _is_refresh(body: JSON) -> bool:
    """Whether a JSON Patch does nothing but set or remove the refresh annotation."""
    changes = [op for op in body or () if isinstance(op, dict) and op.get("op") != "test"]
    return bool(changes) and all(
        op["path"].endswith("/argocd.argoproj.io~1refresh")
        or (op["path"] == "/metadata/annotations" and set(op.get("value") or ()) == {REFRESH})
        for op in changes
    )


class Watch:
    """Every state of the Deployments in a namespace, or of what `path` lists, as the API server tells them."""

    def __init__(self, control_plane: ControlPlane, namespace: str, path: str = "") -> None:
        self.states: list[JSON] = []
        pki = control_plane.folder / "pki"
        context = ssl.create_default_context(cafile=str(control_plane.authority.certificate))
        context.load_cert_chain(pki / "user-admin.crt", pki / "user-admin.key")
        path = path or f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._control_plane, self._path = control_plane, path
        now = control_plane.api.request("GET", path)
        self.states += now["items"]
        query = {"watch": "1", "resourceVersion": now["metadata"]["resourceVersion"], "timeoutSeconds": "600"}
        self._connection = http.client.HTTPSConnection("127.0.0.1", control_plane.port, context=context)
        self._connection.request(
            "GET", f"{path}?{urlencode(query)}", headers={"User-Agent": "argo-rescue-testbed"}
        )
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            for line in self._response:
                self.states.append(json.loads(line)["object"])

    def catch_up(self) -> None:
        """Wait until it has told all that is there now."""

        def is_told() -> bool:
            told = {state["metadata"]["resourceVersion"] for state in list(self.states)}
            now = self._control_plane.api.request("GET", self._path)["items"]
            return all(obj["metadata"]["resourceVersion"] in told for obj in now)

        self._control_plane.until(is_told, 60, "the watch has told all")

    def close(self) -> None:
        """End it once it has told all that is there now."""
        self.catch_up()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._response.close()
        self._connection.close()

    @property
    def versions(self) -> list[str]:
        """The chart versions in the order in which they were deployed."""
        found: list[str] = []
        for state in self.states:
            version = state["spec"]["template"]["metadata"]["labels"]["chart-version"]
            if not found or found[-1] != version:
                found.append(version)
        return found


@contextlib.contextmanager
def watched(argocd: ArgoCD, namespace: str) -> Iterator[Watch]:
    """Watch the Deployments of a namespace."""
    watch = Watch(argocd.control_plane, namespace)
    try:
        yield watch
    finally:
        watch.close()


def footprint(argocd: ArgoCD, namespace: str) -> JSON:
    """Return what any rollout would move: generations, and what each ReplicaSet wants."""
    return {
        kind: {
            o["metadata"]["name"]: (o["metadata"]["generation"], o["spec"]["replicas"], o["metadata"]["uid"])
            for o in argocd.api.list(kind, namespace)
        }
        for kind in ("deployment", "replicaset")
    }


@contextlib.contextmanager
def unmoved(argocd: ArgoCD, namespace: str, settle: Callable[[], object]) -> Iterator[None]:
    """Show that no workload of a namespace moves, until `settle` says that Argo CD is done."""
    before = footprint(argocd, namespace)
    with watched(argocd, namespace) as watch:
        yield
        settle()
        assert footprint(argocd, namespace) == before
    assert len(watch.versions) == 1, watch.versions


def settle(argocd: ArgoCD, *apps: str) -> None:
    """Have apps compared anew, and wait until each is idle: what Argo CD would do by itself is done."""
    for app in apps:
        looked_again(argocd, app)
    for app in apps:
        argocd.until(lambda app=app: _is_at_rest(argocd.app(app)), 120, f"{app} is at rest")  # type: ignore[misc]


def _is_at_rest(app: JSON) -> bool:
    state = app["status"].get("operationState", {})
    return "operation" not in app and state.get("phase") in ("Succeeded", "Failed", "Error", None)


def looked_again(argocd: ArgoCD, app: str, namespace: str = "") -> JSON:
    """Have an app compared anew and return it: the controller takes the annotation away when it has."""
    where = namespace or argocd.namespace
    asked = 0.0

    def looked() -> JSON | None:
        nonlocal asked
        live = argocd.get("application", app, where)
        if asked and REFRESH not in live["metadata"].get("annotations", {}):
            return live
        if time.monotonic() - asked > 2:  # a request that falls into a running comparison is lost
            asked = time.monotonic()
            body = {"metadata": {"annotations": {REFRESH: f"normal{asked}"}}}
            argocd.api.patch("application", app, where, body)
        return None

    return argocd.until(looked, 120, f"{app} was compared anew")


@dataclass
class Scene:
    """An app (chart traefik) in its project, both kept in git and applied by a root app."""

    argocd: ArgoCD
    name: str
    windows: Sequence[Mapping[str, object]] = ()
    version: str | None = GOOD
    """In git; None where git says no targetRevision."""
    spec: dict[str, object] = field(default_factory=dict)
    """Further fields of the app's spec in git."""
    policy: Mapping[str, object] | None = None
    """The app's `automated` in git: prune and self-heal by default, empty for none."""
    source: Mapping[str, object] | Sequence[Mapping[str, object]] | None = None
    """In place of the chart."""
    spoke: ControlPlane | None = None
    """Another cluster, into which the app deploys."""
    finalizers: Sequence[str] = ()
    """Of the app, in git."""

    @property
    def root(self) -> str:
        """The name of the app-of-apps."""
        return f"{self.name}-root"

    @property
    def app(self) -> str:
        """The name of the app."""
        return self.name

    @property
    def project(self) -> str:
        """The name of the project."""
        return f"{self.name}-project"

    @property
    def target(self) -> str:
        """The namespace that the app deploys into."""
        return f"{self.name}-target"

    # -- git

    def project_object(self) -> dict[str, object]:
        """Return the AppProject as git has it."""
        return project(
            self.project, namespace=self.argocd.namespace, windows=self.windows, sourceNamespaces=["*"]
        )

    def app_object(self) -> dict[str, object]:
        """Return the app as git has it."""
        source = self.source or {
            "repoURL": self.argocd.charts.url,
            "chart": "traefik",
            **({} if self.version is None else {"targetRevision": self.version}),
            "helm": {"releaseName": "traefik"},
        }
        to: dict[str, object] = {}
        if self.spoke is not None:
            to["destination"] = {"server": address(self.spoke), "namespace": self.target}
        app = application(
            self.app,
            source,
            namespace=self.argocd.namespace,
            project=self.project,
            destination=self.target,
            automated=self.policy,
            **self.spec,  # type: ignore[arg-type]
        )
        meta = {"finalizers": list(self.finalizers)} if self.finalizers else {}
        return {
            **app,
            "metadata": {**app["metadata"], **meta},  # type: ignore[dict-item]
            "spec": {**app["spec"], **to},  # type: ignore[dict-item]
        }

    def root_object(self, **spec: object) -> dict[str, object]:
        """Return the app-of-apps."""
        source = {"repoURL": self.argocd.repository.url, "path": self.name, "targetRevision": "main"}
        return application(
            self.root,
            source,
            namespace=self.argocd.namespace,
            destination=self.argocd.namespace,
            **spec,  # type: ignore[arg-type]
        )

    def commit(self, *more: tuple[str, str], **fields: object) -> str:
        """Change fields of this scene, and bring it to git; Argo CD is not told."""
        for name, value in fields.items():
            setattr(self, name, value)
        return self.argocd.git(
            (f"{self.name}/project.yaml", manifest(self.project_object())),
            (f"{self.name}/app.yaml", manifest(self.app_object())),
            *more,
            message=f"{self.name} {fields}",
        )

    def unrelated_commit(self) -> str:
        """Move git without any change of what this scene deploys."""
        return self.argocd.git(("README.md", f"{time.monotonic()}\n"), message="unrelated")

    # -- steps

    def start(
        self, *more: tuple[str, str], root: Mapping[str, object] | None = None, wait: bool = True
    ) -> Scene:
        """Lay it out and wait until the version of git serves."""
        (self.spoke or self.argocd.control_plane).namespace(self.target)
        self.commit(*more)
        # The project first: an app that is seen before its project waits for the next resync.
        self.argocd.apply(self.project_object())
        self.argocd.apply(self.root_object(**(root or {})))
        if wait:
            self.argocd.until(lambda: self.is_serving(str(self.version)), 120, f"{self.version} serves")
            for app in (self.root, self.app):
                self.argocd.until_idle(app)
        return self

    def upgrade(self, version: str = BROKEN) -> Scene:
        """Bring another version by git and wait until it is deployed."""
        self.commit(version=version)
        self.argocd.follow_git(self.root)
        self.argocd.until(lambda: self.chart_version() == version, 120, f"{version} is deployed")
        for app in (self.root, self.app):
            self.argocd.until_idle(app)
        return self

    def freeze(self, *windows: Mapping[str, object]) -> Scene:
        """Bring sync windows by git; a deny of this app for the whole day where none is given."""
        self.commit(windows=windows or (deny(self.app),))
        self.argocd.follow_git(self.root)
        self.argocd.until(
            lambda: self.live_windows() == list(self.windows), 120, "the project has its windows"
        )
        self.argocd.until_idle(self.root)
        return self

    def settle(self) -> None:
        """Have root and app compared anew and wait until they are at rest."""
        settle(self.argocd, self.root, self.app)

    def remove(self) -> None:
        """Take it away, so that Argo CD has less to do in the next test; its workload stays."""
        for app in (self.root, self.app):
            live = self.argocd.api.find("application", app, self.argocd.namespace)
            if live is not None and live["metadata"].get("finalizers"):
                body = {"metadata": {"finalizers": None}}
                self.argocd.api.patch("application", app, self.argocd.namespace, body)
            self.argocd.api.delete("application", app, self.argocd.namespace)

    # -- what the cluster says

    def live(self) -> JSON:
        """Read the app."""
        return self.argocd.app(self.app)

    def live_root(self) -> JSON:
        """Read the app-of-apps."""
        return self.argocd.app(self.root)

    def live_windows(self) -> JSON:
        """Read the project's windows."""
        return self.argocd.get("appproject", self.project)["spec"].get("syncWindows", [])

    def revision(self) -> str:
        """Read the app's targetRevision."""
        found: str = self.live()["spec"]["source"].get("targetRevision", "")
        return found

    def specs(self) -> dict[str, JSON]:
        """Read all that a rescue edits."""
        return {
            "root": normal(self.live_root()["spec"]),
            "app": normal(self.live()["spec"]),
            "project": self.argocd.get("appproject", self.project)["spec"],
        }

    def deployment(self) -> JSON:
        """Read the Deployment."""
        return (self.spoke or self.argocd).get("deployment", "traefik", self.target)

    def chart_version(self) -> str:
        """Return the version that the Deployment asks for."""
        found: str = self.deployment()["spec"]["template"]["metadata"]["labels"]["chart-version"]
        return found

    def is_serving(self, version: str) -> bool:
        """Whether every replica is of this version and available."""
        live = self.deployment()
        status, wanted = live.get("status", {}), live["spec"]["replicas"]
        return (
            self.chart_version() == version
            and status.get("observedGeneration") == live["metadata"]["generation"]
            and [status.get(f"{n}Replicas", 0) for n in ("updated", "available")] == [wanted] * 2
            and status.get("replicas", 0) == wanted
        )

    def unmoved(self) -> contextlib.AbstractContextManager[None]:
        """Show that the workload does not move."""
        return unmoved(self.argocd, self.target, self.settle)

    def watched(self) -> contextlib.AbstractContextManager[Watch]:
        """Watch the Deployment."""
        return watched(self.argocd, self.target)


def deny(*apps: str, manual: bool = False, **fields: object) -> dict[str, object]:
    """Return a deny window that is always active."""
    return {
        "kind": "deny",
        "schedule": "* * * * *",
        "duration": "24h",
        "applications": list(apps),
        "manualSync": manual,
        "timeZone": "UTC",
        **fields,
    }
