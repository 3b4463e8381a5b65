"""The other incident on real controllers that end with their pods: freeze, look, thaw.

- frozen, nothing heals, syncs or is deleted, and both processes have ended; a bare undo never thaws;
- a dying application keeps the thaw from starting (5), whatever `--yes`; let go by name it is deleted;
- nothing is synced before everything was compared; the windows are gone afterwards;
- mass deletion by a parent, by a set's generator and by a deleted set, frozen in the middle: what is
  dying is let go, Argo CD thaws, git is mended, the orphans are made anew or found, and every object
  that lived at the freeze has the uid that it had;
- what a set would delete is known before it may, and refused it is frozen as before;
- where an operator makes the controllers they are switched off and on at its resource, and a scale is
  never what holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import APPLICATIONSETS, CONTROLLER, ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.obedience import obeying
from tests.testbed.operated import NAME, operated
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import Scene, settle
from .test_applicationsets import Fleet

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
    both = {CONTROLLER, APPLICATIONSETS}
    argocd.until(lambda: are_running(argocd) == both, 60, "both run again")
    assert plugin("log", "--open", "-o", "name").stdout == ""
    for project in argocd.api.list("appproject", argocd.namespace):
        assert "syncWindows" not in project["spec"]
    # It heals again, and nothing that lived was made anew.
    argocd.until(lambda: scene.deployment()["spec"]["replicas"] == 2, 60, "it heals again")
    argocd.until_idle(scene.app)
    now = uids(argocd, scene.target)
    assert {name: now.get(name) for name in alive} == alive


def is_dying(argocd: ArgoCD, app: str) -> bool:
    """Whether an application is there and has a deletion time."""
    live = argocd.api.find("application", app, argocd.namespace)
    return live is not None and "deletionTimestamp" in live["metadata"]


def hold(argocd: ArgoCD, namespace: str, *finalizers: str) -> None:
    """Have somebody else keep a Deployment from its end, or not any more."""
    body: JSON = {"metadata": {"finalizers": list(finalizers) or None}}
    argocd.api.patch("deployment", "traefik", namespace, body)


def child(scene: Scene, name: str, wave: int) -> JSON:
    """An application of the fleet, as git has it."""
    scene.argocd.control_plane.namespace(name)
    made = scene.app_object()
    made["metadata"] = {
        "name": name,
        "namespace": scene.argocd.namespace,
        "finalizers": [FINALIZER],
        "annotations": {"argocd.argoproj.io/sync-wave": str(wave)},
    }
    made["spec"]["destination"]["namespace"] = name  # type: ignore[index]
    made["spec"]["project"] = "default"  # type: ignore[index]
    return made


def test_a_parent_takes_its_fleet_along_and_is_stopped_in_the_middle(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    one, two, three = (f"{scene.name}-{n}" for n in ("one", "two", "three"))
    files = [
        (f"{scene.name}/{name}.yaml", manifest(child(scene, name, wave)))
        for name, wave in ((one, 1), (two, 0), (three, 0))
    ]
    argocd.git(*files, message="the fleet")
    root = scene.root_object()
    root["metadata"]["finalizers"] = [FINALIZER]  # type: ignore[index]
    argocd.apply(root)
    for name in (one, two, three):
        argocd.until(lambda name=name: argocd.api.find("application", name, argocd.namespace), 60, name)  # type: ignore[misc]
        argocd.until_synced(name)
    argocd.until_idle(scene.root)
    hold(argocd, one, "test.invalid/hold")

    argocd.api.delete("application", scene.root, argocd.namespace)
    argocd.until(
        lambda: "deletionTimestamp" in argocd.get("deployment", "traefik", one)["metadata"],
        60,
        "it has begun",
    )
    frozen = plugin("freeze", "--reason", "INC-2", "-o", "json")
    assert frozen.returncode == 0, frozen.stderr
    entry = entry_of(plugin)
    alive = uids(argocd, one, two, three)
    assert any(name.startswith(f"deployment {two}") for name in alive)
    argocd.api.delete("application", two, argocd.namespace)  # whoever deletes goes on
    told = plugin("status", check=True).stdout
    for name in (scene.root, one, two):
        assert name in told
    assert "with workloads, as soon as Argo CD runs" in told
    assert plugin("undo", entry, "--yes").returncode == 5

    let_go = plugin("orphan", "--all-dying", "--yes")
    assert let_go.returncode == 0, let_go.stderr
    orphan = entry_of(plugin)
    for name in (scene.root, one, two):
        assert argocd.api.find("application", name, argocd.namespace) is None
    thawed = plugin("undo", entry, "--yes")
    assert thawed.returncode == 0, thawed.stderr
    settle(argocd, three)
    now = uids(argocd, one, two, three)
    assert {name: now.get(name) for name in alive} == alive

    # Made anew: what runs as git says is given back, what was lost waits for a sync.
    hold(argocd, one)
    argocd.until(lambda: not argocd.api.find("deployment", "traefik", one), 60, "what had begun has ended")
    halfway = plugin("undo", orphan, "--yes")
    assert halfway.returncode == 5 and one in halfway.stderr, halfway.stderr
    assert argocd.app(two)["metadata"]["finalizers"] == [FINALIZER]
    assert "finalizers" not in argocd.app(one)["metadata"]
    plugin("sync", one, "--wait", check=True)
    undone = plugin("undo", orphan, "--yes")
    assert undone.returncode == 0, undone.stderr
    for name in (one, two, three):
        assert argocd.app(name)["spec"]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
        argocd.until_idle(name)
    argocd.until_idle(scene.root)
    now = uids(argocd, one, two, three)
    assert {name: now.get(name) for name in alive} == alive
    for name in (scene.root, one, two, three):
        argocd.api.patch("application", name, argocd.namespace, {"metadata": {"finalizers": None}})
        argocd.api.delete("application", name, argocd.namespace)


@pytest.mark.parametrize("how", ["a lost generator", "a deleted set"])
def test_a_set_deletes_what_it_does_not_give_any_more(argocd: ArgoCD, plugin: Plugin, how: str) -> None:
    name = "lost" if how == "a lost generator" else "gone"
    fleet = Fleet(argocd, name)
    source = fleet.chart(GOOD)
    fleet.start(source)
    alive = uids(argocd, fleet.a, fleet.b)

    # The controller that would delete their workloads is busy for a moment: the middle of it.
    argocd.stop(CONTROLLER)
    if how == "a lost generator":
        argocd.apply(fleet.manifest(source, generators=[{"list": {"elements": []}}]))
    else:
        argocd.api.delete("applicationset", name, argocd.namespace)
    for app in (fleet.a, fleet.b):
        argocd.until(lambda app=app: is_dying(argocd, app), 60, f"{app} is being deleted")  # type: ignore[misc]
    frozen = plugin("freeze")
    assert frozen.returncode == 0, frozen.stderr
    entry = entry_of(plugin)
    let_go = plugin("orphan", "--all-dying", "--yes")
    assert let_go.returncode == 0, let_go.stderr
    orphan = entry_of(plugin)
    thawed = plugin("undo", entry, "--yes")
    assert thawed.returncode == 0, thawed.stderr
    assert uids(argocd, fleet.a, fleet.b) == alive

    # Mended, the set makes them anew and adopts.
    argocd.apply(fleet.manifest(source))
    for app in (fleet.a, fleet.b):
        argocd.until(lambda app=app: argocd.api.find("application", app, argocd.namespace), 60, app)  # type: ignore[misc]
        argocd.until_idle(app)
    undone = plugin("undo", orphan, "--yes")
    assert undone.returncode == 0, undone.stderr
    assert "is there again" in undone.stderr
    assert plugin("log", "--open", "-o", "name").stdout == ""
    assert uids(argocd, fleet.a, fleet.b) == alive


def test_what_a_set_would_delete_is_known_before_it_may(argocd: ArgoCD, plugin: Plugin) -> None:
    fleet = Fleet(argocd, "asked")
    source = fleet.chart(GOOD)
    fleet.start(source)
    alive = uids(argocd, fleet.a, fleet.b)
    spec = fleet.live()["spec"]
    frozen = plugin("freeze")
    assert frozen.returncode == 0, frozen.stderr
    entry = entry_of(plugin)
    argocd.apply(fleet.manifest(source, generators=[{"list": {"elements": [{"app": fleet.b}]}}]))

    refused = plugin("undo", entry)
    assert refused.returncode == 5, refused.stderr
    assert f"do not give {fleet.a} any more" in refused.stderr, refused.stderr
    argocd.until(lambda: not are_running(argocd), 60, "it is frozen again")
    assert uids(argocd, fleet.a, fleet.b) == alive
    assert "syncPolicy" not in fleet.live()["spec"]

    argocd.apply(fleet.manifest(source))
    thawed = plugin("undo", entry, "--yes")
    assert thawed.returncode == 0, thawed.stderr
    fleet.reconcile()
    assert fleet.live()["spec"] == spec
    assert uids(argocd, fleet.a, fleet.b) == alive
    for app in (fleet.a, fleet.b):
        assert not is_dying(argocd, app)
        assert "argo-rescue/generated" not in argocd.app(app)["metadata"].get("annotations", {})
    argocd.api.delete("applicationset", fleet.name, argocd.namespace)


def test_an_operator_is_told_and_puts_nothing_back(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    alive = uids(argocd, scene.target)
    with operated(argocd) as operator:
        argocd.api.patch("statefulset", f"argocd-{CONTROLLER}", argocd.namespace, {"spec": {"replicas": 0}})
        argocd.until(lambda: f"scaled argocd-{CONTROLLER}" in operator.acts, 60, "a scale is put back")
        argocd.until(lambda: CONTROLLER in are_running(argocd), 60, "it runs again")

        frozen = plugin("freeze", "--reason", "INC-3")
        assert frozen.returncode == 0, frozen.stderr
        assert are_running(argocd) == set()
        entry = entry_of(plugin)
        for kind, part in (("statefulset", CONTROLLER), ("deployment", APPLICATIONSETS)):
            assert argocd.api.find(kind, f"argocd-{part}", argocd.namespace) is None
        told = plugin("status", check=True).stdout
        assert "FROZEN" in told and entry in told
        again = plugin("freeze")
        assert again.returncode == 0 and "is off already" in again.stdout, again.stderr

        # Applications are not the operator's: an edit of one stays.
        argocd.api.patch(
            "application", scene.app, argocd.namespace, {"metadata": {"finalizers": [FINALIZER]}}
        )
        argocd.api.delete("application", scene.app, argocd.namespace)
        assert plugin("undo", entry, "--yes").returncode == 5
        assert plugin("orphan", scene.app, "--yes").returncode == 0
        assert uids(argocd, scene.target) == alive

        thawed = plugin("undo", entry, "--yes")
        assert thawed.returncode == 0, thawed.stderr
        argocd.until(lambda: len(are_running(argocd)) == 2, 60, "both run again")
        assert argocd.get("argocds", NAME)["spec"] == {"controller": {}, "applicationSet": {}}
        argocd.until(lambda: argocd.api.find("application", scene.app, argocd.namespace), 60, scene.app)
        settle(argocd, scene.app)
        assert uids(argocd, scene.target) == alive
    assert {"deleted", "created"} <= {act.partition(" ")[0] for act in operator.acts}


def test_a_paused_set_is_asked_what_it_would_delete(argocd: ArgoCD, plugin: Plugin) -> None:
    fleet = Fleet(argocd, "paused")
    source = fleet.chart(GOOD)
    fleet.start(source)
    alive, spec = uids(argocd, fleet.a, fleet.b), fleet.live()["spec"]
    versions = [argocd.app(app)["spec"]["source"] for app in (fleet.a, fleet.b)]
    assert plugin("pause", f"appset/{fleet.name}").returncode == 0
    entry = entry_of(plugin)
    # Its generator loses an element, and its template moves to what does not run.
    argocd.apply(fleet.manifest(fleet.chart(BROKEN), generators=[{"list": {"elements": [{"app": fleet.b}]}}]))
    refused = plugin("undo", entry, "--yes")
    assert refused.returncode == 5, refused.stderr
    assert f"does not give {fleet.a} any more, and would delete it" in refused.stderr, refused.stderr
    assert fleet.live()["spec"]["syncPolicy"] == {"applicationsSync": "create-only"}
    assert "ignoreApplicationDifferences" not in fleet.live()["spec"]
    assert [argocd.app(app)["spec"]["source"] for app in (fleet.a, fleet.b)] == versions
    assert uids(argocd, fleet.a, fleet.b) == alive

    argocd.apply(fleet.manifest(source))
    undone = plugin("undo", entry, "--yes")
    assert undone.returncode == 0, undone.stderr
    fleet.reconcile()
    assert fleet.live()["spec"] == spec
    assert uids(argocd, fleet.a, fleet.b) == alive
    for app in (fleet.a, fleet.b):
        assert "argo-rescue/generated" not in argocd.app(app)["metadata"].get("annotations", {})
    assert plugin("log", "--open", "-o", "name").stdout == ""
    argocd.api.delete("applicationset", fleet.name, argocd.namespace)
