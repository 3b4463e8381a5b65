"""The scenes that the documents' commands are run in: the incident in memory, at different moments.

`incident`         Friday evening: traefik is broken, two windows freeze it, `root` would revert edits
`free`             no window is in force
`rescued`          `rescue traefik` was run
`reported`         the rescue, and a pause of `web` by somebody else
`fixed`            the rescue, and git was set to 2.4.1 since
`overruled`        the rescue, and somebody set another version since
`stuck`            the application's operation waits for ever
`set`              an ApplicationSet generates shop-prod
`frozen`           Argo CD's controllers are scaled to 0
`sources`          the application shop has two sources
`spoke`            the incident, with traefik in another cluster; contexts hub and edge lead to the two
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kubectl_argo_rescue.cluster.transport import Target
from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, APPPROJECT, BY_KIND, JSON
from kubectl_argo_rescue.simulation import incident as simulated
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, Incident, traefik_incident
from tests.testbed.incident import FREEZE, TARGET

from .harness import Run


@dataclass
class Scene:
    """A played incident, and the entries that the log has by then."""

    incident: Incident
    entries: list[str] = field(default_factory=list)


def played(name: str, run: Run, version: tuple[int, int] = (3, 6)) -> Scene:
    """Play the incident up to the moment of a scene, on an Argo CD of this version."""
    windows: list[JSON] = []

    def apps(version: str, **changes: JSON) -> list[JSON]:
        """What git says, with the windows and the namespace of the test bed's incident."""
        project, traefik, web = simulated.apps_in_git(version, **changes)
        if name == "spoke":
            traefik["spec"]["destination"]["server"] = EDGE
        traefik["spec"]["destination"]["namespace"] = TARGET
        traefik["metadata"]["labels"] = {"tier": "edge"}
        project["spec"]["syncWindows"] = list(windows)
        return [project, traefik, web]

    api, edge = InMemoryApi(SteppedClock()), None
    if name == "spoke":
        edge = InMemoryApi(api.clock)
        edge.where = Target("edge", EDGE, "")
        run.contexts.update(hub=api, edge=edge)
    clusters = {EDGE: edge} if edge is not None else None
    incident = traefik_incident(api, version=version, patch=1, apps=apps, clusters=clusters)
    windows.extend(dict(window) for window in FREEZE)
    incident.push(BAD)
    incident.argocd.run(RESYNC, every=5)
    for cluster in filter(None, (api, edge)):
        cluster.idle = lambda: incident.argocd.tick(0.5)
    api.where = Target("prod", "https://k8s.example.com:6443", "")
    scene = Scene(incident)
    _MOMENTS[name](scene, run)
    return scene


def hide_version(api: InMemoryApi) -> None:
    """Give Argo CD an image that does not tell its version."""

    def by_digest(live: Any) -> None:
        live["spec"]["template"]["spec"]["containers"][0]["image"] = f"argocd@sha256:{'0' * 64}"

    for resource in (BY_KIND["Deployment"], BY_KIND["StatefulSet"]):
        for obj in api.objects(resource, "argocd"):
            api.edit(resource, "argocd", obj["metadata"]["name"], by_digest)


def _free(scene: Scene, run: Run) -> None:
    del run

    def without(live: Any) -> None:
        del live["spec"]["syncWindows"]

    scene.incident.api.edit(APPPROJECT, "argocd", "cluster", without)
    scene.incident.api.edit(APPLICATION, "argocd", "root", _paused)


def _paused(app: Any) -> None:
    app["spec"]["syncPolicy"]["automated"]["enabled"] = False


def _friday(scene: Scene, run: Run) -> None:
    del scene, run


def _does(scene: Scene, run: Run, *words: str, user: str = "") -> None:
    ran = run(scene.incident.api, *words, "--yes", user=user)
    assert ran.code == 0, ran.err
    scene.incident.clock.advance(1)
    listed = run(scene.incident.api, "log", "-o", "name").out.split()
    scene.entries.append(listed[0])


def _rescued(scene: Scene, run: Run) -> None:
    _does(scene, run, "rescue", "traefik", "--reason", "INC-4711")


def _reported(scene: Scene, run: Run) -> None:
    _rescued(scene, run)
    _does(scene, run, "pause", "web", user="bob")


def _fixed(scene: Scene, run: Run) -> None:
    _rescued(scene, run)
    scene.incident.push(GOOD)


def _overruled(scene: Scene, run: Run) -> None:
    _rescued(scene, run)
    _edit(scene, "traefik", lambda app: app["spec"]["source"].update(targetRevision="2.4.0"))


def _stuck(scene: Scene, run: Run) -> None:
    del run
    _edit(scene, "traefik", lambda app: app.update(operation={"sync": {}}))
    scene.incident.argocd.run(5)


def _edit(scene: Scene, name: str, change: Callable[[Any], Any]) -> None:
    def changed(app: Any) -> None:
        change(app)

    scene.incident.api.edit(APPLICATION, "argocd", name, changed)


def _set(scene: Scene, run: Run) -> None:
    del run
    incident = scene.incident
    for version in ("1.4.2", "1.5.0"):
        incident.charts.publish("shop", version, [simulated.deployment("shop", f"shop:{version}")])
    source = {"repoURL": simulated.CHARTS, "chart": "shop", "targetRevision": "1.4.2"}
    shop = simulated.application("{{name}}", project="default", source=source, namespace="shop")
    incident.api.create(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": "shops", "namespace": "argocd"},
            "spec": {
                "generators": [{"list": {"elements": [{"name": "shop-prod"}, {"name": "shop-test"}]}}],
                "template": {"metadata": {"name": "{{name}}"}, "spec": shop["spec"]},
            },
        }
    )
    incident.argocd.run(10)

    def upgrade(live: Any) -> None:
        live["spec"]["template"]["spec"]["source"]["targetRevision"] = "1.5.0"

    incident.argocd.workloads.broken_images.add("shop:1.5.0")
    incident.api.edit(APPLICATIONSET, "argocd", "shops", upgrade)
    incident.argocd.run(10)


def _frozen(scene: Scene, run: Run) -> None:
    _does(scene, run, "freeze", "--reason", "INC-4711")
    scene.incident.api.idle = lambda: scene.incident.argocd.tick(0.5)


def _sources(scene: Scene, run: Run) -> None:
    del run
    incident = scene.incident
    incident.charts.publish("shop", "1.4.2", [simulated.deployment("shop", "shop:1.4.2")])
    incident.git.commit({"shop": [simulated.deployment("values", "values:1")]})
    shop = simulated.application("shop", project="default", source={}, namespace="shop")
    del shop["spec"]["source"]
    shop["spec"]["sources"] = [
        {"repoURL": simulated.CHARTS, "chart": "shop", "targetRevision": "1.4.2"},
        {"repoURL": simulated.GIT, "path": "shop", "targetRevision": "main"},
    ]
    incident.api.create(shop)
    incident.argocd.run(10)


_MOMENTS: dict[str, Callable[[Scene, Run], None]] = {
    "incident": _friday,
    "free": _free,
    "rescued": _rescued,
    "reported": _reported,
    "fixed": _fixed,
    "overruled": _overruled,
    "stuck": _stuck,
    "set": _set,
    "frozen": _frozen,
    "sources": _sources,
    "spoke": _friday,
}

EDGE = "https://edge.example.com:6443"

RESYNC = 125
"""Seconds after which Argo CD has looked at git again by itself."""

EVENTS: dict[str, Callable[[Scene], object]] = {
    "# a pull request sets git to 2.4.1": lambda scene: scene.incident.push(GOOD),
}
"""Comments in a document's commands that say what happens meanwhile."""

PLACES = ("7f3a1c", "81d0aa")
"""Stand for the first and second entry in the documents; `7f` is a part of the first."""


def words_of(scene: Scene, words: tuple[str, ...]) -> list[str]:
    """Put the scene's entries where the documents have their placeholders."""
    found = []
    for word in words:
        for place, entry in zip(PLACES, scene.entries, strict=False):
            if re.fullmatch("[0-9a-f]{2,6}", word) and place.startswith(word):
                word = entry[: len(word)] if len(word) == len(place) else entry[:5]
        found.append(word)
    return found
