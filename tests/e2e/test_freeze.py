"""The other incident on real controllers that end with their pods: freeze, look, thaw.

- frozen, nothing heals, syncs or is deleted, and both processes have ended; a bare undo never thaws;
- a dying application keeps the thaw from starting (5), whatever `--yes`; let go by name it is deleted;
- nothing is synced before everything was compared: an operation that would go on is ended, the
  windows are gone afterwards, and what lived at the freeze has the uid that it had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import APPLICATIONSETS, CONTROLLER, ArgoCD
from tests.testbed.obedience import obeying
from tests.testbed.plugin import Plugin

from .scene import Scene

FINALIZER = "resources-finalizer.argocd.argoproj.io"


@pytest.fixture(autouse=True, scope="module")
def obedient(argocd: ArgoCD) -> Iterator[None]:
    with obeying(argocd):
        yield


def are_running(argocd: ArgoCD) -> set[str]:
    """Which of both controllers have a process."""
    running = argocd.processes.running()
    return {part for part in (CONTROLLER, APPLICATIONSETS) if argocd.process_name(part) in running}


def entry_of(plugin: Plugin) -> str:
    """The newest entry."""
    return plugin("log", "-o", "name", check=True).stdout.split()[0].removeprefix("entry/")


def uids(argocd: ArgoCD, *namespaces: str) -> dict[str, str]:
    """What lives in some namespaces."""
    return {
        f"{kind} {namespace}/{o['metadata']['name']}": o["metadata"]["uid"]
        for namespace in namespaces
        for kind in ("deployment", "service", "configmap", "replicaset")
        for o in argocd.api.list(kind, namespace)
        if "deletionTimestamp" not in o["metadata"] and o["metadata"]["name"] != "kube-root-ca.crt"
    }


def test_it_stands_still_and_thaws(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    other = Scene(argocd, f"{scene.name}-b").start()
    alive = uids(argocd, scene.target)

    frozen = plugin("freeze", "--reason", "INC-1", "-o", "json")
    assert frozen.returncode == 0, frozen.stderr
    assert are_running(argocd) == set()
    assert json.loads(frozen.stdout)["data"]["frozen"] is True
    entry = entry_of(plugin)

    # Nothing heals and nothing is deleted while it is frozen.
    argocd.api.patch("application", other.app, argocd.namespace, {"metadata": {"finalizers": [FINALIZER]}})
    argocd.api.delete("application", other.app, argocd.namespace)
    replicas: JSON = {"spec": {"replicas": 1}}
    argocd.api.patch("deployment", "traefik", scene.target, replicas)
    told = plugin("status", check=True)
    assert entry in told.stdout and "FROZEN" in told.stdout
    assert scene.deployment()["spec"]["replicas"] == 1

    bare = plugin("undo", "--yes")
    assert bare.returncode == 5 and entry in bare.stderr
    refused = plugin("undo", entry, "--yes")
    assert refused.returncode == 5 and other.app in refused.stderr
    assert are_running(argocd) == set()
    assert other.deployment()

    thawed = plugin("undo", entry, "--yes", "--let-delete", other.app)
    assert thawed.returncode == 0, thawed.stderr
    assert are_running(argocd) == {CONTROLLER, APPLICATIONSETS}
    assert plugin("log", "--open", "-o", "name").stdout == ""
    for project in argocd.api.list("appproject", argocd.namespace):
        assert "syncWindows" not in project["spec"]
    # It heals again, and nothing that lived was made anew.
    argocd.until(lambda: scene.deployment()["spec"]["replicas"] == 2, 60, "it heals again")
    argocd.until_idle(scene.app)
    now = uids(argocd, scene.target)
    assert {name: now.get(name) for name in alive} == alive
