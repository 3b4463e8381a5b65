"""The incident of the story, played until Friday evening: ingress broken, everything frozen.

Application `root` (app-of-apps) manages AppProject `cluster` and the Applications `traefik` and
`web`. traefik went from 2.4.1 to 2.5.1, whose pods never become ready; since then two deny windows
that name it are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from msgspec import Struct

from ..model.values import APPLICATION, JSON
from . import schemas
from .api import InMemoryApi
from .argocd import SimulatedArgoCD
from .clock import SteppedClock
from .sources import ChartRepository, GitRepository, Sources
from .wire import copied

GIT = "https://git.invalid/cluster.git"
CHARTS = "https://charts.invalid"
GOOD = "2.4.1"
BAD = "2.5.1"
INSTALLED = datetime(2026, 11, 27, 14, 0, tzinfo=timezone.utc)
"""A Friday."""
NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
"""Both windows are in force since an hour."""


class Incident(Struct):
    """The played incident with all that a test may want to move."""

    api: InMemoryApi
    clock: SteppedClock
    git: GitRepository
    charts: ChartRepository
    argocd: SimulatedArgoCD
    good_commit: str
    bad_commit: str
    apps: Callable[..., list[JSON]]
    """What git says of a traefik version."""

    def push(self, version: str, **changes: JSON) -> str:
        """Commit another traefik version, and other changes of its Application's spec.

        Seen by Argo CD at the next refresh of root.
        """
        return self.git.commit({"apps": self.apps(version, **changes)})


def traefik_incident(
    api: InMemoryApi | None = None,
    version: tuple[int, int] = (3, 2),
    *,
    patch: int = 11,
    apps: Callable[..., list[JSON]] | None = None,
    clusters: Mapping[str, InMemoryApi] | None = None,
) -> Incident:
    """Play the incident on an API whose clock is a SteppedClock; without one, on a new API.

    `version` is Argo CD's, `patch` the last part of the controller's image tag; `apps` says what git
    has instead of `apps_in_git`, `clusters` which others it may deploy into.
    """
    apps = apps or apps_in_git
    clock = api.clock if api is not None else SteppedClock()
    if not isinstance(clock, SteppedClock):
        raise TypeError("the incident sets the time, so its API needs a SteppedClock")
    clock.now = INSTALLED
    api = api or new_api(clock, version)
    git = GitRepository()
    charts = ChartRepository()
    for chart_version in (GOOD, BAD):
        charts.publish("traefik", chart_version, traefik_chart(chart_version))
    charts.publish("web", "1.0.0", [deployment("web", "web:1.0.0")])
    sources = Sources({GIT: git}, {CHARTS: charts})
    argocd = SimulatedArgoCD(api, sources, clock, version, clusters=clusters)
    argocd.workloads.broken_images.add(f"traefik:{BAD}")
    good_commit = git.commit({"apps": apps(GOOD)})
    for obj in installation(f"v{version[0]}.{version[1]}.{patch}"):
        api.create(obj)
    api.create(root_application())
    argocd.run(10)
    clock.advance(3600)
    bad_commit = git.commit({"apps": apps(BAD)})
    argocd.run(10)
    clock.now = NOW
    argocd.settle()
    return Incident(api, clock, git, charts, argocd, good_commit, bad_commit, apps)


def new_api(clock: SteppedClock, version: tuple[int, int]) -> InMemoryApi:
    """An API with the fields that this version of Argo CD knows, as far as that matters here."""
    if version >= (3, 1):
        return InMemoryApi(clock)
    older = schemas.without(schemas.of(APPLICATION), "spec", "syncPolicy", "automated", "enabled")
    return InMemoryApi(clock, replaced_schemas={APPLICATION: older})


def root_application() -> JSON:
    """The app-of-apps."""
    return application(
        "root",
        project="default",
        source={"repoURL": GIT, "path": "apps", "targetRevision": "main"},
        namespace="argocd",
    )


def apps_in_git(version: str, **changes: JSON) -> list[JSON]:
    """What root deploys, with traefik at a version; `changes` go into traefik's spec."""
    traefik = application(
        "traefik",
        project="cluster",
        source={"repoURL": CHARTS, "chart": "traefik", "targetRevision": version},
        namespace="traefik",
    )
    traefik["spec"].update(copied(changes))
    web = application(
        "web",
        project="cluster",
        source={"repoURL": CHARTS, "chart": "web", "targetRevision": "1.0.0"},
        namespace="web",
    )
    return [cluster_project(), traefik, web]


def application(name: str, *, project: str, source: JSON, namespace: str) -> JSON:
    """An Application with auto-sync, pruning and self-heal."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "project": project,
            "source": source,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
        },
    }


def cluster_project() -> JSON:
    """The AppProject with the two deny windows that name traefik."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "cluster", "namespace": "argocd"},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "syncWindows": [
                {
                    "kind": "deny",
                    "schedule": "0 16 * * 5",
                    "duration": "64h",
                    "applications": ["traefik", "web"],
                },
                {
                    "kind": "deny",
                    "schedule": "0 16 * * *",
                    "duration": "14h",
                    "applications": ["traefik"],
                },
            ],
        },
    }


def traefik_chart(version: str) -> list[JSON]:
    """What one version of the traefik chart renders to."""
    return [
        deployment("traefik", f"traefik:{version}", replicas=2),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "traefik"},
            "spec": {"selector": {"app.kubernetes.io/name": "traefik"}, "ports": [{"port": 443}]},
        },
    ]


def deployment(
    name: str, image: str, *, replicas: int = 1, namespace: str = "", labels: Mapping[str, str] | None = None
) -> JSON:
    """A Deployment of one container."""
    selector = {"app.kubernetes.io/name": name}
    meta: dict[str, JSON] = {"name": name, "labels": {**selector, **(labels or {})}}
    if namespace:
        meta["namespace"] = namespace
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": selector},
                "spec": {"containers": [{"name": name, "image": image}]},
            },
        },
    }


def installation(tag: str) -> Sequence[JSON]:
    """Argo CD's own ConfigMaps, workloads, Service and default project in namespace argocd."""
    image = f"argoproj/argocd:{tag}"
    controller = deployment(
        "argocd-application-controller",
        image,
        namespace="argocd",
        labels=_part_of("application-controller"),
    )
    controller["kind"] = "StatefulSet"
    controller["spec"]["serviceName"] = "argocd-application-controller"
    found: list[JSON] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "argocd", "labels": _part_of(name)},
            "data": data,
        }
        for name, data in (
            ("argocd-cm", {"url": "https://argocd.invalid"}),
            ("argocd-cmd-params-cm", {}),
            ("argocd-rbac-cm", {}),
        )
    ]
    found.append(controller)
    for name, component in (
        ("argocd-applicationset-controller", "applicationset-controller"),
        ("argocd-redis", "redis"),
        ("argocd-repo-server", "repo-server"),
        ("argocd-server", "server"),
    ):
        found.append(deployment(name, image, namespace="argocd", labels=_part_of(component)))
    found += _server_address()
    found.append(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "default", "namespace": "argocd"},
            "spec": {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}]},
        }
    )
    return found


def _part_of(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/component": component, "app.kubernetes.io/part-of": "argocd"}


def _server_address() -> list[JSON]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "argocd-server", "namespace": "argocd", "labels": _part_of("server")},
            "spec": {
                "selector": {"app.kubernetes.io/name": "argocd-server"},
                "ports": [{"name": "https", "port": 443, "targetPort": 8080}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "argocd-server-1",
                "namespace": "argocd",
                "labels": {"kubernetes.io/service-name": "argocd-server"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": 8080}],
        },
    ]
