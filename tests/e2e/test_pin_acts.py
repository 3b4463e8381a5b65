"""A pin makes Argo CD act, or says why it will not and what to do; `--wait` ends with the truth.

- auto-sync on and free: the controller does it, no operation is written; auto-sync off: one of our
  own, and none with `--no-sync`;
- a window that blocks: a warning and no operation; one that lets manual syncs through: an operation,
  which passes although its first look may say "blocked";
- an app whose auto-sync of this source failed before: ordered, since auto-sync will not try again;
- a version that looks wrong is questioned; one that was never deployed is noted;
- a branch is pinned to its commit; of several sources the right one is pinned;
- `--wait` ends with 1 where the version breaks for good or does not exist, with 6 when the time is up;
- a controller or repo-server that is dead is said, with what to do.
"""

from __future__ import annotations

import functools
import json
import time

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import CONTROLLER, REPO_SERVER, ArgoCD
from tests.testbed.incident import BROKEN, FIXED, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import Scene, dead, deny, edits, looked_again


def _start_alone(scene: Scene, **fields: object) -> Scene:
    """Start a scene whose app nobody owns: its root is taken away once it is there."""
    for name, value in fields.items():
        setattr(scene, name, value)
    scene.argocd.control_plane.namespace(scene.target)
    scene.argocd.apply(scene.project_object())
    scene.argocd.apply(scene.app_object())
    if scene.policy == {}:
        scene.argocd.until(lambda: scene.live()["status"]["sync"]["status"] == "OutOfSync", 120, "compared")
        scene.argocd.api.patch("application", scene.app, scene.argocd.namespace, {"operation": {"sync": {}}})
    scene.argocd.until_idle(scene.app)
    return scene


def _operations(argocd: ArgoCD, since: int) -> list[JSON]:
    """Return the operations that the plugin wrote since an audit mark, and the server took."""
    return [
        op["value"]
        for e in edits(argocd.control_plane, since)
        for op in e.body or ()
        if e.code < 300 and op.get("path") == "/operation" and op.get("op") == "add"
    ]


def test_auto_sync_does_it(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene)
    mark = argocd.control_plane.audit_mark()
    done = plugin("pin", scene.app, "2.4.0", "--wait", check=True)
    assert scene.is_serving("2.4.0"), "--wait ended before the truth"
    assert f"{scene.app} pinned" in done.stdout
    assert not _operations(argocd, mark)
    state = scene.live()["status"]["operationState"]
    assert state["operation"]["initiatedBy"]["automated"] is True

    # The same again changes nothing and says so.
    mark = argocd.control_plane.audit_mark()
    again = plugin("pin", scene.app, "2.4.0", check=True)
    assert "unchanged" in again.stdout
    assert not edits(argocd.control_plane, mark)


@pytest.mark.core
def test_with_auto_sync_off_a_sync_is_ordered(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene, policy={})
    mark = argocd.control_plane.audit_mark()
    plugin("pin", scene.app, "2.4.0", "--no-sync", check=True)
    looked_again(argocd, scene.app)
    assert scene.revision() == "2.4.0" and scene.chart_version() == GOOD
    assert not _operations(argocd, mark)

    mark = argocd.control_plane.audit_mark()
    plugin("pin", scene.app, FIXED, "--wait", "--reason", "INC-1", check=True)
    assert scene.is_serving(FIXED)
    (operation,) = _operations(argocd, mark)
    ran = scene.live()["status"]["operationState"]
    assert ran["phase"] == "Succeeded" and ran["operation"]["info"] == operation["info"]
    assert not ran["operation"]["initiatedBy"].get("automated")


def test_sync_runs_what_the_spec_says(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene, policy={})
    argocd.api.patch(
        "application", scene.app, argocd.namespace, {"spec": {"source": {"targetRevision": FIXED}}}
    )
    plugin("sync", scene.app, "--wait", check=True)
    assert scene.is_serving(FIXED)


@pytest.mark.core
def test_a_window_that_blocks_is_said(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene, windows=())
    scene.windows = (deny(scene.app),)
    argocd.apply(scene.project_object())
    looked_again(argocd, scene.app)  # the controller has heard of the window
    mark = argocd.control_plane.audit_mark()
    done = plugin("pin", scene.app, "2.4.0", check=True)
    assert "will not roll out" in done.stderr and f"unblock {scene.app}" in done.stderr
    assert not _operations(argocd, mark)
    looked_again(argocd, scene.app)
    assert scene.chart_version() == GOOD, "it was true"
    late = plugin("watch", scene.app, "--timeout", "2s")
    assert late.returncode == 6 and f"unblock {scene.app}" in late.stdout + late.stderr
    refused = plugin("sync", scene.app)
    assert refused.returncode == 5 and f"unblock {scene.app}" in refused.stderr
    # What it said to do helps.
    plugin("unblock", scene.app, check=True)
    plugin("watch", scene.app, "--timeout", "150s", check=True)
    assert scene.is_serving("2.4.0")


def test_a_window_that_lets_manual_syncs_through(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene)
    scene.windows = (deny("*", manual=True),)
    argocd.apply(scene.project_object())
    looked_again(argocd, scene.app)  # the controller has heard of the window
    mark = argocd.control_plane.audit_mark()
    plugin("pin", scene.app, "2.4.0", "--wait", "--timeout", "150s", check=True)
    assert len(_operations(argocd, mark)) == 1
    assert scene.is_serving("2.4.0")


def test_a_source_that_auto_sync_gave_up_is_ordered(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    # A Deployment that cannot be applied: its selector may not change. Auto-sync tries it once.
    def page(port: str) -> str:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "page"},
            "spec": {"ports": [{"port": 80, "targetPort": port}], "clusterIP": "None"},
        }
        return manifest(service)

    folder = scene.name
    good = argocd.git((f"{folder}/page.yaml", page("http")), message="good")
    bad = argocd.git((f"{folder}/page.yaml", page("not a port!")), message="bad")
    source = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": good}
    _start_alone(
        scene,
        source=source,
        spec={"syncPolicy": {"automated": {}, "retry": {"limit": 1, "backoff": {"duration": "1s"}}}},
    )
    argocd.api.patch(
        "application", scene.app, argocd.namespace, {"spec": {"source": {"targetRevision": bad}}}
    )
    argocd.until(
        lambda: scene.live()["status"]["operationState"]["phase"] == "Failed", 120, "the bad commit failed"
    )
    failed = plugin("watch", scene.app)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    mark = argocd.control_plane.audit_mark()
    again = plugin("pin", scene.app, bad, check=True)  # the same again is an order: auto-sync gave up
    assert len(_operations(argocd, mark)) == 1, again.stderr
    argocd.until(
        lambda: (
            "operation" not in scene.live() and scene.live()["status"]["operationState"]["phase"] == "Failed"
        ),
        120,
        "it failed again",
    )
    plugin("pin", scene.app, good, "--wait", check=True)
    assert scene.live()["status"]["sync"] | {} and scene.live()["status"]["sync"]["status"] == "Synced"


def test_versions_are_questioned(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene)
    mark = argocd.control_plane.audit_mark()
    typo = plugin("pin", scene.app, "2.4.l")
    assert typo.returncode == 5 and "2.4.l" in typo.stderr and GOOD in typo.stderr
    assert not edits(argocd.control_plane, mark)
    noted = plugin("pin", scene.app, "9.9.9", "--wait", "--timeout", "150s")
    assert "never deployed" in noted.stderr
    assert noted.returncode == 1, noted.stdout + noted.stderr  # no such version in the repository
    assert "9.9.9" in noted.stderr
    assert scene.is_serving(GOOD)
    plugin("undo", "--redeploy", check=True)
    argocd.until_synced(scene.app)
    assert scene.revision() == GOOD


def test_a_version_that_breaks_is_never_called_good(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene)
    broken = plugin("pin", scene.app, BROKEN, "--wait", "--timeout", "8s")
    assert broken.returncode == 6, broken.stdout + broken.stderr
    argocd.until_idle(scene.app)
    argocd.until(lambda: not scene.deployment()["status"].get("availableReplicas"), 120, "the good pods went")
    still = plugin("watch", scene.app, "--timeout", "8s")
    assert still.returncode == 6, still.stdout + still.stderr
    assert "0 of 2 available" in still.stdout + still.stderr
    assert not scene.is_serving(BROKEN)
    # A Deployment that gave up is a failure at once. The bed's Deployments give up after 10 minutes.
    argocd.api.patch("deployment", "traefik", scene.target, {"spec": {"progressDeadlineSeconds": 1}})
    gave_up = plugin("watch", scene.app, "--timeout", "150s")
    assert gave_up.returncode == 1, gave_up.stdout + gave_up.stderr
    assert "progress deadline" in gave_up.stdout + gave_up.stderr


def test_a_branch_is_pinned_to_its_commit(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"page": "one"}}
    folder = f"{scene.name}-pages"
    one = argocd.git((f"{folder}/page.yaml", manifest(page)))
    _start_alone(scene, source={"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"})
    two = argocd.git((f"{folder}/page.yaml", "one", "two"))
    argocd.follow_git(scene.app)
    argocd.until_idle(scene.app)
    done = plugin("pin", scene.app, "main", check=True)
    assert scene.revision() == two and two in done.stderr
    argocd.git((f"{folder}/page.yaml", "two", "three"))
    looked_again(argocd, scene.app)
    argocd.until_idle(scene.app)
    assert argocd.api.get("configmap", "page", scene.target)["data"] == {"page": "two"}, "it does not move"
    plugin("pin", scene.app, one[:10], "--wait", check=True)
    assert argocd.api.get("configmap", "page", scene.target)["data"] == {"page": "one"}


def test_one_of_several_sources(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}}
    folder = f"{scene.name}-pages"
    argocd.git((f"{folder}/page.yaml", manifest(page)))
    git = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"}
    chart = {
        "repoURL": argocd.charts.url,
        "chart": "traefik",
        "targetRevision": GOOD,
        "helm": {"releaseName": "traefik"},
    }
    _start_alone(scene, source=[git, chart])
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    plugin("pin", scene.app, "2.4.0", "--wait", check=True)
    assert scene.is_serving("2.4.0")
    assert [s["targetRevision"] for s in scene.live()["spec"]["sources"]] == ["main", "2.4.0"]
    assert argocd.api.find("configmap", "page", scene.target), "the other source's objects are still there"
    wrong = plugin("pin", scene.app, "2.4.0", "--source", "7")
    assert wrong.returncode == 2 and "1 is helm chart traefik" in wrong.stderr
    plugin("undo", check=True)
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves again")


def test_dead_parts_are_said(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _start_alone(scene)
    for part, version in ((CONTROLLER, "2.4.0"), (REPO_SERVER, FIXED)):
        with dead(argocd, part):
            start = time.monotonic()
            done = plugin("pin", scene.app, version, "-o", "json", check=True)
            assert time.monotonic() - start < 40, "no wait for a comparison"
            said = " ".join(json.loads(done.stdout)["warnings"])
            assert part in said and "kubectl get pods -n argocd" in said
            late = plugin("watch", scene.app, "--timeout", "3s")
            # Without a repo-server the controller reports an error, or none for three minutes.
            assert late.returncode in ((6,) if part == CONTROLLER else (1, 6)), late.stdout + late.stderr
            assert not scene.is_serving(version)
        looked_again(argocd, scene.app)
        argocd.until(functools.partial(scene.is_serving, version), 120, f"{version} serves after all")
