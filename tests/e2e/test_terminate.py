"""`terminate` on real controllers: the operation ends, nothing of it is applied, and that is the truth.

- one whose hook never ends, one that waits for its retry: Failed "Operation terminated";
- one that a sync window holds: Terminating first, then (Argo CD before 3.6) the window opened, and put
  back with the owner's auto-sync; later versions end it by themselves and no window is touched;
- one that nobody runs any more is cleared, one that nobody has picked up is taken back, and where
  the controller is dead `--force` clears it, after a yes;
- nothing in progress is no failure.
"""

from __future__ import annotations

import json

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import CONTROLLER, ArgoCD
from tests.testbed.incident import GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import (
    Scene,
    deny,
    edited,
    edits,
    is_auto_sync_on,
    looked_again,
    settle,
    text_of,
    writes,
)

_NEVER_ENDS: JSON = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "never-ends", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "wait", "image": "registry.invalid/wait:1"}],
            }
        }
    },
}
"""Nothing on the bed runs Jobs, so this hook stays as it is for ever."""

_PAGE: JSON = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"page": "1"}}


def _order(scene: Scene, **sync: object) -> None:
    """Write an operation as a person does with kubectl: with the old state taken away."""
    body = {
        "operation": {"initiatedBy": {"username": "a person"}, "sync": {"syncStrategy": {"hook": {}}, **sync}}
    }
    scene.argocd.api.patch(
        "application", scene.app, scene.argocd.namespace, {**body, "status": {"operationState": None}}
    )


def _state(scene: Scene) -> JSON:
    return scene.live()["status"].get("operationState", {})


def _page(scene: Scene) -> JSON:
    return scene.argocd.api.find("configmap", "page", scene.target)


@pytest.fixture
def hooked(argocd: ArgoCD, scene: Scene) -> Scene:
    """An app whose hook never ends, without auto-sync, its operation running."""
    folder = f"{scene.name}-src"
    scene.source = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"}
    scene.policy = {}
    scene.start((f"{folder}/all.yaml", manifest(_NEVER_ENDS, _PAGE)), wait=False)
    argocd.until(lambda: scene.live()["status"]["sync"]["status"] == "OutOfSync", 120, "it was compared")
    _order(scene)
    argocd.until(lambda: "never-ends" in _state(scene)["message"], 120, "it waits for its hook")
    return scene


def _ended(scene: Scene, message: str) -> None:
    live = scene.live()
    assert "operation" not in live
    state = live["status"]["operationState"]
    assert (state["phase"], state["message"]) == ("Failed", message)
    assert state["finishedAt"]


@pytest.mark.core
def test_a_hook_that_never_ends(argocd: ArgoCD, plugin: Plugin, hooked: Scene) -> None:
    mark = argocd.control_plane.audit_mark()
    for how in ("client", "server"):
        plugin("terminate", hooked.app, f"--dry-run={how}", check=True)
    assert all("dryRun=All" in e.uri for e in writes(argocd.control_plane, mark))
    assert _state(hooked)["phase"] == "Running"

    done = plugin("terminate", hooked.app, check=True)
    assert "has ended: Failed: Operation terminated" in done.stderr
    _ended(hooked, "Operation terminated")
    argocd.until(
        lambda: argocd.api.find("job", "never-ends", hooked.target) is None, 120, "its hook is taken away"
    )
    looked_again(argocd, hooked.app)
    assert _page(hooked) is None, "nothing of it was applied"

    mark = argocd.control_plane.audit_mark()
    again = plugin("terminate", hooked.app, check=True)
    assert "no operation is in progress" in again.stdout
    assert not edits(argocd.control_plane, mark)


@pytest.mark.core
@pytest.mark.parametrize("shared", [False, True], ids=["its own window", "a shared window"])
def test_held_by_a_window(argocd: ArgoCD, plugin: Plugin, scene: Scene, shared: bool) -> None:
    scene.start().freeze(*([deny("*")] if shared else []), deny(scene.app, "other"), deny(scene.app))
    before = text_of(scene.specs())
    with scene.watched() as seen:
        _order(scene, revision="2.4.0")
        argocd.until(lambda: "blocked by sync window" in _state(scene)["message"], 120, "the window holds it")
        asks = argocd.version != "3.6"
        if asks:
            refused = plugin("terminate", scene.app)
            assert refused.returncode == 5 and scene.root in refused.stderr, "it may have to pause the root"
        assert _state(scene)["phase"] == "Running"

        mark = argocd.control_plane.audit_mark()
        agreed = ["--yes"] if asks else []
        done = plugin("terminate", scene.app, *agreed, "-o", "json", check=True)
        _ended(scene, "Operation terminated")
        written = edited(argocd.control_plane, mark)
        around = [scene.root, scene.project, scene.project, scene.root] if asks else []
        assert written[0] == scene.app, "Terminating first"
        assert [name for name in written if name != scene.app] == around, "all of it is put back"
        assert text_of(scene.specs()) == before
        settle(argocd, scene.root)
        looked_again(argocd, scene.app)
        _ended(scene, "Operation terminated")
        assert scene.is_serving(GOOD)
    assert seen.versions == [GOOD], "nothing of it was ever applied"
    assert json.loads(done.stdout)["status"] == "done"
    assert plugin("log", "--open", "-o", "name", check=True).stdout == "", "nothing is owed"


@pytest.mark.core
def test_one_that_waits_for_its_retry(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    folder = f"{scene.name}-src"
    scene.source = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"}
    scene.spec = {
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "retry": {"limit": 5, "backoff": {"duration": "30m", "factor": 1, "maxDuration": "30m"}},
        }
    }
    lost = {**_PAGE, "metadata": {"name": "page", "namespace": "there-is-no-such-namespace"}}
    scene.start((f"{folder}/all.yaml", manifest(lost)), wait=False)
    argocd.until(lambda: "Retrying attempt" in _state(scene)["message"], 120, "it waits for its retry")
    assert _state(scene)["phase"] == "Running" and _state(scene)["finishedAt"]
    plugin("terminate", scene.app, check=True)
    looked_again(argocd, scene.app)
    live = scene.live()
    assert "operation" not in live and live["status"]["operationState"]["phase"] == "Failed"


def test_one_that_nobody_runs_any_more(argocd: ArgoCD, plugin: Plugin, hooked: Scene) -> None:
    remove = {"operation": None}
    argocd.api.patch("application", hooked.app, argocd.namespace, remove)
    looked_again(argocd, hooked.app)
    assert _state(hooked)["phase"] == "Running", "it looks as if it ran, and would for ever"
    plugin("terminate", hooked.app, check=True)
    looked_again(argocd, hooked.app)
    _ended(hooked, "aborted by argo-rescue")
    # A new one is run, which a stale state would have swallowed.
    plugin("sync", hooked.app, check=True)
    argocd.until(lambda: "never-ends" in _state(hooked)["message"], 120, "a new one runs")
    plugin("terminate", hooked.app, check=True)


def test_where_the_controller_is_dead(argocd: ArgoCD, plugin: Plugin, hooked: Scene) -> None:
    argocd.stop(CONTROLLER)
    try:
        asked = plugin("terminate", hooked.app, "--timeout", "2s")
        assert asked.returncode == 6
        assert f"terminate {hooked.app} --force" in asked.stderr
        assert _state(hooked)["phase"] == "Terminating"
        refused = plugin("terminate", hooked.app, "--force")
        assert refused.returncode == 5 and "hooks that run are left running" in refused.stderr
        plugin("terminate", hooked.app, "--force", "--yes", check=True)
        _ended(hooked, "aborted by argo-rescue")

        # Nobody has picked this one up.
        _order(hooked)
        withdrawn = plugin("terminate", hooked.app, check=True)
        assert "never picked up" in withdrawn.stderr
        live = hooked.live()
        assert "operation" not in live and "operationState" not in live["status"]
    finally:
        argocd.start(CONTROLLER)
    looked_again(argocd, hooked.app)
    assert "operationState" not in hooked.live()["status"], "nothing was resumed"
    assert _page(hooked) is None
    assert not is_auto_sync_on(hooked.live())
