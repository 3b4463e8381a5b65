"""`rescue` on real controllers: everything between a broken app and a good version that stays.

- the incident in one command, without VERSION and with it: nothing before the yes, nothing in a dry
  run, then root paused, pin, windows, rollout watched to its end; it holds, and is handed back to a
  fixed git without the workload moving;
- the last good version after a fight, `--pause-only`, `--no-wait`;
- what may not be done is refused before the first write; a step that fails stops it, and what stands
  is said and undone;
- two levels of owners; operations of the bad version that run or retry, the owner's and its own;
- windows that others share are opened for a manual sync, closed again, and those freed are named;
  windows by namespace, cluster, AND; windows of a global project.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import ArgoCD
from tests.testbed.control_plane import BROKEN as CRASHES
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, manifest, project

from .scene import (
    Scene,
    deny,
    edited,
    is_auto_sync_on,
    looked_again,
    settle,
    text_of,
    without_repeats,
    writes,
)

SERVER = "https://kubernetes.default.svc"


def _written(argocd: ArgoCD, mark: int, user: str = "admin") -> list[str]:
    """Name the objects that were edited, in order, one after the other."""
    return without_repeats(edited(argocd.control_plane, mark, user))


def _holds(scene: Scene, *owners: str) -> None:
    """Have the owners look several times, with a commit between."""
    before = text_of(scene.specs())
    for look in range(3):
        if look == 1:
            scene.unrelated_commit()
        for owner in owners or (scene.root,):
            looked_again(scene.argocd, owner)
    assert text_of(scene.specs()) == before
    assert scene.is_serving(GOOD)


@pytest.mark.core
@pytest.mark.parametrize("version", [None, GOOD], ids=["last good", "named"])
def test_the_incident_in_one_command(
    argocd: ArgoCD, plugin: Plugin, scene: Scene, version: str | None
) -> None:
    named = [version] if version else []
    scene.start().upgrade(BROKEN).freeze(deny(scene.app, "other"), deny(scene.app))
    mark = argocd.control_plane.audit_mark()
    before = scene.specs()

    refused = plugin("rescue", scene.app, *named)
    assert refused.returncode == 5
    assert scene.root in refused.stderr and "within seconds" in refused.stderr and "--yes" in refused.stderr
    for how in ("client", "server"):
        planned = plugin("rescue", scene.app, *named, f"--dry-run={how}", "-o", "json", check=True)
        result = json.loads(planned.stdout)
        assert result["entry"] == "" and result["status"] == "planned"
        touched = [e["name"] for e in result["edits"]]
        assert touched == [scene.root, scene.app, scene.project]
    assert all("dryRun=All" in e.uri for e in writes(argocd.control_plane, mark))
    assert text_of(scene.specs()) == text_of(before)

    mark = argocd.control_plane.audit_mark()
    with scene.watched() as seen:
        done = plugin("rescue", scene.app, *named, "--yes", check=True)
        assert scene.is_serving(GOOD), "it ended before the truth"
    assert seen.versions == [BROKEN, GOOD]
    assert f"synced to {GOOD} and healthy" in done.stdout
    assert _written(argocd, mark) == [scene.root, scene.app, scene.project]
    assert scene.revision() == GOOD and is_auto_sync_on(scene.live())
    assert not is_auto_sync_on(scene.live_root())
    assert scene.live_windows() == [deny("other")]
    assert ("last good: 2.4.1" in done.stderr) == (version is None)
    _holds(scene)

    assert plugin("undo").returncode == 5, "git still asks for what broke"
    scene.commit(version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    after = {**before, "app": before["app"] | {"source": before["app"]["source"] | {"targetRevision": GOOD}}}
    assert scene.specs() == after
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""


def test_last_good_after_a_fight_and_no_wait(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).upgrade(GOOD).upgrade(BROKEN)
    past = scene.live()["status"]["history"]
    # Argo CD may sync the same twice where its own cache lags behind.
    assert without_repeats([h["revision"] for h in past]) == [GOOD, BROKEN, GOOD, BROKEN]
    good = [h["id"] for h in past if h["revision"] == GOOD][-1]
    started = plugin("rescue", scene.app, "--yes", "--no-wait", "-o", "json", check=True)
    result = json.loads(started.stdout)
    assert result["data"]["version"] == GOOD and "state" not in result["data"]
    assert f"last good: 2.4.1 (history id {good} " in started.stderr
    plugin("watch", scene.app, check=True)
    assert scene.is_serving(GOOD)
    # The entry before the last is now the good one, and what runs is not what fails any more.
    again = plugin("rescue", scene.app, GOOD, "--yes", check=True)
    assert "already" in again.stdout


def test_what_a_watch_saw_failing_is_not_proposed_again(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).upgrade("2.6.0")
    first = plugin("rescue", scene.app, "--yes", "--timeout", "20s")
    assert first.returncode != 0 and scene.revision() == BROKEN
    assert "next candidate: 2.4.1 (history id " in first.stderr
    argocd.until_idle(scene.app)
    plugin("rescue", scene.app, "--yes", check=True)
    assert scene.revision() == GOOD and scene.is_serving(GOOD)


def test_where_only_a_value_changed_the_whole_source_goes_back(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start()
    good = scene.live()["spec"]["source"]
    parameters = [{"name": "replicas", "value": "0"}]
    scene.commit(source={**good, "helm": {**good["helm"], "parameters": parameters}})
    argocd.follow_git(scene.root)
    argocd.until(lambda: len(scene.live()["status"]["history"]) > 1, 120, "the new value is deployed")
    for app in (scene.root, scene.app):
        argocd.until_idle(app)
    plugin("rescue", scene.app, "--yes", check=True)
    assert scene.live()["spec"]["source"] == good and scene.is_serving(GOOD)


def test_one_typo_is_no_dead_end(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    plugin("rescue", scene.app, "--yes", check=True)
    pinned = plugin("pin", scene.app, "2.4.9", "--yes", "-o", "json", check=True)
    entry = json.loads(pinned.stdout)["entry"]
    for verb in ("rescue", "rollback"):
        planned = plugin(verb, scene.app, "--dry-run", check=True)
        assert GOOD in planned.stdout + planned.stderr
    with scene.unmoved():
        plugin("undo", entry, "--yes", check=True)
    assert scene.revision() == GOOD
    again = plugin("rescue", scene.app, "--yes", check=True)
    assert f"already at {GOOD}" in again.stdout


@pytest.mark.core
def test_pause_only_lets_a_human_work_with_kubectl(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    plugin("rescue", scene.app, "--pause-only", "--yes", check=True)  # before 3.1 its root is paused too
    assert not is_auto_sync_on(scene.live()) and scene.revision() == BROKEN
    template = {"spec": {"template": {"metadata": {"labels": {CRASHES: None, "chart-version": GOOD}}}}}
    argocd.api.patch("deployment", "traefik", scene.target, template)
    argocd.until(lambda: scene.is_serving(GOOD), 120, "what the human did serves")
    scene.unrelated_commit()
    for _ in range(2):
        settle(argocd, scene.root, scene.app)
    assert scene.is_serving(GOOD), "nobody put it back"
    assert plugin("rescue", scene.app, GOOD, "--pause-only").returncode == 2


def test_what_may_not_be_done_is_refused_before_the_first_write(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start().upgrade(BROKEN).freeze()
    plane = argocd.control_plane
    read = {"verbs": ["get", "list", "watch"]}
    plane.allow(
        "alice",
        [
            {"apiGroups": ["argoproj.io"], "resources": ["*"], **read},
            {"apiGroups": ["apps"], "resources": ["*"], **read},
            {"apiGroups": [""], "resources": ["namespaces"], **read},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
            {"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["patch"]},
        ],
    )
    mark = plane.audit_mark()
    refused = plugin("rescue", scene.app, "--yes", user="alice")
    assert refused.returncode == 1
    assert f"patch AppProject argocd/{scene.project}" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert not writes(plane, mark, "alice")


@pytest.fixture
def frozen_projects(argocd: ArgoCD) -> Iterator[None]:
    """Let an admission policy refuse that bob writes AppProjects, though RBAC lets him."""
    name, api = "no-project-by-bob", "admissionregistration.k8s.io/v1"
    argocd.apply(
        {
            "apiVersion": api,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": ["argoproj.io"],
                            "apiVersions": ["*"],
                            "operations": ["UPDATE"],
                            "resources": ["appprojects"],
                        }
                    ]
                },
                "validations": [
                    {"expression": "request.userInfo.username != 'bob'", "message": "a change board says no"}
                ],
            },
        },
        {
            "apiVersion": api,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    )
    yield
    for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
        argocd.api.delete(kind, name, "")


@pytest.mark.usefixtures("frozen_projects")
def test_a_step_that_fails_stops_it_and_says_what_stands(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start().upgrade(BROKEN).freeze()
    before = text_of(scene.specs())
    plane = argocd.control_plane
    plane.allow("bob", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])

    def refused() -> bool:
        patch = ("patch", "appproject", scene.project, "-n", "argocd", "--type=merge", "--dry-run=server")
        return (
            "change board"
            in plane.kubectl(
                *patch, "-p", '{"metadata":{"labels":{"x":"y"}}}', user="bob", check=False
            ).stderr
        )

    argocd.until(refused, 120, "the policy is in force")
    failed = plugin("rescue", scene.app, "--yes", user="bob")
    assert failed.returncode == 1
    assert "a change board says no" in failed.stderr + failed.stdout
    assert "what was done stands" in failed.stderr and "undo with" in failed.stderr
    assert not is_auto_sync_on(scene.live_root()) and scene.revision() == GOOD
    assert scene.chart_version() == BROKEN and scene.live_windows() == [deny(scene.app)]
    plugin("undo", "--redeploy", "--yes", user="bob", check=True)
    # The version is left to root, which writes what git says.
    argocd.until(lambda: text_of(scene.specs()) == before, 120, "all is as git says")


@pytest.mark.core
def test_two_levels_of_owners(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    top = f"{scene.name}-top"
    # Self-heal of the top would take `enabled: false` back: its git has the key.
    has_key = {"enabled": True} if argocd.version != "2.14" else {}
    policy = {"prune": True, "selfHeal": True, **has_key}
    argocd.git((f"{top}/root.yaml", manifest(scene.root_object(automated=policy))))
    source = {"repoURL": argocd.repository.url, "path": top, "targetRevision": "main"}
    argocd.control_plane.namespace(scene.target)
    scene.commit()
    argocd.apply(scene.project_object())  # an app that is seen before its project waits for the next resync
    argocd.apply(application(top, source, destination=argocd.namespace))
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    argocd.until_idle(top)
    scene.upgrade(BROKEN).freeze()
    before = scene.specs()
    try:
        mark = argocd.control_plane.audit_mark()
        plugin("rescue", scene.app, "--yes", check=True)
        assert _written(argocd, mark) == [top, scene.root, scene.app, scene.project]
        _holds(scene, top, scene.root)
        scene.commit(version=GOOD)
        with scene.unmoved():
            plugin("undo", check=True)
            settle(argocd, top)
        assert is_auto_sync_on(argocd.app(top))
        assert scene.specs()["root"] == before["root"] and scene.specs()["project"] == before["project"]
    finally:
        argocd.api.delete("application", top, argocd.namespace)


_RETRY = {"retry": {"limit": 50, "backoff": {"duration": "2s", "factor": 1, "maxDuration": "2s"}}}
_AUTOMATED = {"automated": {"prune": True, "selfHeal": True}}

_LOST = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "lost", "namespace": "there-is-no-such-namespace"},
}


@pytest.mark.core
def test_the_retries_of_an_owner_do_not_put_it_back(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start(root={"syncPolicy": {**_AUTOMATED, **_RETRY}}).upgrade(BROKEN)
    # One object that cannot be applied: the root's operation fails and retries, with 2.5.1 each time.
    scene.commit((f"{scene.name}/lost.yaml", manifest(_LOST)))
    looked_again(argocd, scene.root)
    state = argocd.until(
        lambda: (
            s
            if (s := scene.live_root()["status"]["operationState"]).get("retryCount", 0) > 0
            and s["phase"] == "Running"
            else None
        ),
        120,
        "the root retries",
    )
    assert state["phase"] == "Running"
    done = plugin("rescue", scene.app, "--yes", check=True)
    assert f"waiting for the operation of {scene.root} to end" in done.stderr
    assert scene.live_root()["status"]["operationState"]["phase"] == "Failed"
    assert "operation" not in scene.live_root()
    _holds(scene)


def _workload(version: str, *, wave: bool = False) -> str:
    """Return a git folder's file with a Deployment; with a wave, one that what is sick holds up."""
    labels: Mapping[str, str] = {
        "app": "traefik",
        "chart-version": version,
        **({CRASHES: "true"} if version == BROKEN else {}),
    }
    deployment: JSON = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "traefik"},
        "spec": {
            "replicas": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}},
            "selector": {"matchLabels": {"app": "traefik"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "traefik", "image": f"registry.invalid/traefik:{version}"}]},
            },
        },
    }
    late = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "late",
            "annotations": {"argocd.argoproj.io/sync-wave": "1"},
        },
        "data": {"version": version},
    }
    return manifest(deployment, *([late] if wave else []))


@pytest.mark.core
def test_its_own_running_operation_is_ended_first(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    # A git app of two waves: the sick Deployment of the first one keeps the operation running for ever.
    folder = f"{scene.name}-src"
    scene.source = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"}
    scene.spec = {"syncPolicy": {**_AUTOMATED, **_RETRY}}
    scene.start((f"{folder}/all.yaml", _workload(GOOD, wave=True)))
    good = scene.live()["status"]["history"][-1]["revision"]
    argocd.git((f"{folder}/all.yaml", _workload(BROKEN, wave=True)))
    looked_again(argocd, scene.app)
    argocd.until(
        lambda: (
            scene.chart_version() == BROKEN
            and "waiting for healthy state" in scene.live()["status"]["operationState"]["message"]
        ),
        120,
        "the operation waits for what never gets healthy",
    )
    with scene.watched() as seen:
        done = plugin("rescue", scene.app, "--yes", check=True)
    assert "an operation of" in done.stderr and "ended first" in done.stderr
    assert seen.versions == [BROKEN, GOOD]
    assert scene.is_serving(GOOD) and scene.revision() == good
    late = argocd.get("configmap", "late", scene.target)
    assert late["data"] == {"version": GOOD}, "nothing more of the bad version was applied"
    _holds(scene)


def test_its_own_retries_are_ended_first(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    folder = f"{scene.name}-src"
    scene.source = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"}
    scene.spec = {"syncPolicy": {**_AUTOMATED, **_RETRY}}
    scene.start((f"{folder}/all.yaml", _workload(GOOD)))
    good = scene.live()["status"]["history"][-1]["revision"]
    argocd.git((f"{folder}/all.yaml", _workload(BROKEN)), (f"{folder}/lost.yaml", manifest(_LOST)))
    looked_again(argocd, scene.app)
    argocd.until(lambda: scene.live()["status"]["operationState"].get("retryCount", 0) > 0, 120, "it retries")
    plugin("rescue", scene.app, "--yes", check=True)
    assert scene.is_serving(GOOD) and scene.revision() == good
    argocd.until_idle(scene.app)
    _holds(scene)


@pytest.mark.core
def test_windows_that_others_share(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    has_and = argocd.version != "2.14"
    windows = [
        deny("*"),
        deny(namespaces=[scene.target]),
        deny(clusters=[SERVER]),
        # Before 3.0 nothing joins what a window lists by AND.
        deny(scene.app, namespaces=[scene.target], andOperator=True) if has_and else deny(scene.app),
    ]
    scene.freeze(*windows)
    other = f"{scene.name}-other"
    chart = {"repoURL": argocd.charts.url, "chart": "traefik", "targetRevision": GOOD}
    argocd.apply(application(other, chart, project=scene.project, destination=scene.target))
    refused = plugin("rescue", scene.app)
    assert refused.returncode == 5
    assert f"also frees {other}" in refused.stderr

    mark = argocd.control_plane.audit_mark()
    with scene.watched() as seen:
        plugin("rescue", scene.app, "--yes", check=True)
    assert seen.versions == [BROKEN, GOOD]
    assert scene.is_serving(GOOD)
    assert scene.live_windows() == windows[:3], "closed again; the one of this app alone is gone"
    assert _written(argocd, mark) == [scene.root, scene.app, scene.project, scene.app, scene.project]
    state = scene.live()["status"]["operationState"]
    assert (
        state["phase"] == "Succeeded" and state["operation"]["initiatedBy"]["username"] == "argo-rescue:admin"
    )
    blocked = argocd.app(other)
    assert "operationState" not in blocked.get("status", {}), "the other one stayed frozen"
    argocd.api.delete("application", other, argocd.namespace)
    _holds(scene)

    scene.commit(version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    assert scene.live_windows() == windows
    assert is_auto_sync_on(scene.live_root())


def test_interrupted_it_closes_the_windows_that_others_share(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start()
    windows = [deny("*")]
    scene.freeze(*windows)
    running = plugin.start("rescue", scene.app, BROKEN, "--yes")
    assert running.stdout
    for line in running.stdout:  # it watches once it tells what it sees of the rollout
        if line.startswith("sync: "):
            break
    # The operation ends well, the rollout never does: there is something to watch for ever.
    argocd.until(
        lambda: (
            scene.chart_version() == BROKEN
            and scene.live()["status"]["operationState"]["phase"] == "Succeeded"
        ),
        120,
        "it is synced",
    )
    assert scene.live_windows() == [{**deny("*"), "manualSync": True}]
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert f"not watched any more; go on with: kubectl argo-rescue watch {scene.app}" in err
    assert "stays open" not in err
    assert scene.live_windows() == windows
    assert scene.revision() == BROKEN


def test_the_windows_of_a_global_project(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    everywhere = f"{scene.name}-everywhere"
    selector = {"matchExpressions": [{"key": "scene", "operator": "In", "values": [scene.name]}]}
    text = json.dumps([{"projectName": everywhere, "labelSelector": selector}])
    argocd.api.patch("configmap", "argocd-cm", argocd.namespace, {"data": {"globalProjects": text}})
    try:
        argocd.apply(project(everywhere))
        scene.start().upgrade(BROKEN)
        labels = {"metadata": {"labels": {"scene": scene.name}}}
        argocd.api.patch("appproject", scene.project, argocd.namespace, labels)
        argocd.apply(project(everywhere, windows=[deny(scene.app, "other")]))
        done = plugin("rescue", scene.app, "--yes", check=True)
        assert everywhere in done.stdout
        assert scene.is_serving(GOOD)
        assert argocd.get("appproject", everywhere)["spec"]["syncWindows"] == [deny("other")]
        _holds(scene)
    finally:
        argocd.api.patch("configmap", "argocd-cm", argocd.namespace, {"data": {"globalProjects": None}})
        argocd.api.delete("appproject", everywhere, argocd.namespace)
