"""The incident of the story: traefik 2.4.1 runs, git brings the broken 2.5.1, a change freeze follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .api import JSON
from .argocd import ArgoCD
from .sources import BROKEN_VERSION, application, manifest, project

GOOD, BROKEN, FIXED = "2.4.1", BROKEN_VERSION, "2.6.0"
ROOT, APP, OTHER, PROJECT = "root", "traefik", "web", "cluster"
TARGET = "kube-system"
"""The namespace that traefik runs in."""

FREEZE: Sequence[Mapping[str, object]] = (
    {
        "kind": "deny",
        "schedule": "* * * * *",
        "duration": "24h",
        "applications": [APP, OTHER],
        "manualSync": False,
        "timeZone": "UTC",
    },
    {
        "kind": "deny",
        "schedule": "0 0 * * *",
        "duration": "24h",
        "applications": [APP],
        "manualSync": False,
        "timeZone": "UTC",
    },
)
"""The change freeze: nothing syncs, neither by itself nor by hand."""


class Incident:
    """Plays the story's steps on one Argo CD, each up to the point where the cluster shows it."""

    def __init__(self, argocd: ArgoCD) -> None:
        self.argocd, self.namespace = argocd, argocd.namespace

    # -- steps

    def day0(self) -> None:
        """Lay out git with traefik 2.4.1, apply `root`, wait for the rollout."""
        self.argocd.git(
            ("apps/project.yaml", manifest(self._project())),
            ("apps/traefik.yaml", manifest(self._traefik(GOOD))),
            ("apps/web.yaml", manifest(self._web())),
            ("web/page.yaml", manifest(_PAGE)),
            message="traefik 2.4.1",
        )
        self.argocd.apply(self.root())
        self.argocd.until(lambda: self.is_serving(GOOD), 180, f"traefik {GOOD} serves")
        for app in (ROOT, APP, OTHER):
            self.argocd.until_synced(app)
            self.argocd.until_idle(app)

    def upgrade(self, version: str = BROKEN) -> None:
        """Bring another version by git and wait until its pods are there."""
        self.set_version(version)
        self.argocd.until(lambda: self.chart_version() == version, 120, f"traefik {version} is deployed")
        replicas = self.deployment()["spec"]["replicas"]
        self.argocd.until(
            lambda: {v: n for v, n in self.pods().items() if n} == {version: replicas},
            120,
            f"all pods are of {version}",
        )
        for app in (ROOT, APP):  # its history has the version then
            self.argocd.until_idle(app)

    def freeze(self, windows: Sequence[Mapping[str, object]] = FREEZE) -> None:
        """Bring sync windows by git and wait until the project has them."""
        self.argocd.git(("apps/project.yaml", manifest(self._project(windows))), message="sync windows")
        self.argocd.follow_git(ROOT)
        self.argocd.until(
            lambda: self.argocd.get("appproject", PROJECT)["spec"].get("syncWindows", []) == list(windows),
            120,
            "the project has git's sync windows",
        )
        self.argocd.until_idle(ROOT)

    def happen(self) -> None:
        """Play all of it: day 0, the broken upgrade, the freeze."""
        self.day0()
        self.upgrade()
        self.freeze()

    def set_version(self, version: str) -> None:
        """Set traefik's version in git, as the pull request does, and let `root` see it."""
        file = "apps/traefik.yaml"
        self.argocd.git((file, manifest(self._traefik(version))), message=f"traefik {version}")
        self.argocd.follow_git(ROOT)

    # -- objects

    def root(self, *, automated: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return the app-of-apps."""
        source = {"repoURL": self.argocd.repository.url, "path": "apps", "targetRevision": "main"}
        return application(
            ROOT, source, namespace=self.namespace, destination=self.namespace, automated=automated
        )

    def _project(self, windows: Sequence[Mapping[str, object]] = ()) -> dict[str, object]:
        return project(
            PROJECT, namespace=self.namespace, windows=windows, description="cluster-wide services"
        )

    def _traefik(self, version: str) -> dict[str, object]:
        source = {
            "repoURL": self.argocd.charts.url,
            "chart": "traefik",
            "targetRevision": version,
            "helm": {"releaseName": "traefik"},
        }
        return application(APP, source, namespace=self.namespace, project=PROJECT, destination=TARGET)

    def _web(self) -> dict[str, object]:
        source = {"repoURL": self.argocd.repository.url, "path": "web", "targetRevision": "main"}
        return application(OTHER, source, namespace=self.namespace, project=PROJECT)

    # -- what the cluster says

    def deployment(self) -> JSON:
        """Read traefik's Deployment."""
        return self.argocd.get("deployment", "traefik", TARGET)

    def chart_version(self) -> str:
        """Return the version whose Deployment is there."""
        version: str = self.deployment()["metadata"]["labels"]["chart-version"]
        return version

    def is_serving(self, version: str) -> bool:
        """Whether every replica of this version, and of no other, is available."""
        live = self.deployment()
        status, wanted = live.get("status", {}), live["spec"]["replicas"]
        counts = [status.get(f"{name}Replicas", 0) for name in ("updated", "available")]
        return (
            live["metadata"]["labels"]["chart-version"] == version
            and status.get("observedGeneration") == live["metadata"]["generation"]
            and [*counts, status.get("replicas", 0)] == [wanted] * 3
        )

    def revision(self, app: str = APP) -> str:
        """Return the targetRevision of an app."""
        revision: str = self.argocd.app(app)["spec"]["source"]["targetRevision"]
        return revision

    def pods(self) -> Mapping[str, int]:
        """Return how many pods traefik's ReplicaSets want, for each version that was ever deployed."""
        sets = self.argocd.api.list("replicaset", TARGET, "release=traefik")
        return {rs["metadata"]["labels"]["chart-version"]: rs["spec"]["replicas"] for rs in sets}


_PAGE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "web"},
    "data": {"page": "hello"},
}
