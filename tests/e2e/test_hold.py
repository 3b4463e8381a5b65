"""What an undo must never do, each with every state of the workload watched: let a version roll unasked.

- after a `rollback`, and after a Deployment that was rolled back by hand under `--pause-only`, Argo CD is
  asked what auto-sync would do: neither `--yes` nor `--when-safe` brings back what broke, `--redeploy`
  does; once git asks for what runs, nothing moves.
"""

from __future__ import annotations

import json
import subprocess

from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import BROKEN, FIXED, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import Scene, edits, is_auto_sync_on, text_of


def _refused(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    """Show that git's version does not come back by any yes but one, and that the reason is said."""
    mark = argocd.control_plane.audit_mark()
    with scene.unmoved():
        refused = plugin("undo", "--yes")
        assert refused.returncode == 5, refused.stdout + refused.stderr
        assert f"git asks for {BROKEN}" in refused.stderr
        assert "which would change Deployment traefik" in refused.stderr
        late = plugin("undo", "--when-safe", "--yes", "--timeout", "2s")
        assert late.returncode == 6, late.stdout + late.stderr
    assert not edits(argocd.control_plane, mark)
    assert not is_auto_sync_on(scene.live())


def test_after_a_rollback_what_broke_does_not_come_back(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    plugin("rollback", scene.app, "--to", GOOD, "--wait", check=True)
    _refused(argocd, plugin, scene)
    with scene.unmoved():
        waiting = plugin.start("undo", "--when-safe", "--yes", "--timeout", "110s")
        assert waiting.stderr is not None
        for line in waiting.stderr:
            if "waiting for git" in line:
                break
        scene.commit(version=GOOD)
        argocd.follow_git(scene.root)
        _, rest = waiting.communicate(timeout=120)
        assert waiting.returncode == 0, rest
    assert is_auto_sync_on(scene.live()) and scene.revision() == GOOD


def test_after_a_rollout_by_hand_what_broke_does_not_come_back(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start().upgrade(BROKEN)
    plugin("rescue", scene.app, "--pause-only", "--yes", check=True)
    subprocess.run(
        [
            str(argocd.control_plane.bin / "kubectl"),
            *("-n", scene.target, "rollout", "undo", "deployment/traefik"),
        ],
        env=plugin.environment(),
        check=True,
        capture_output=True,
    )
    argocd.until(lambda: scene.is_serving(GOOD), 60, f"{GOOD} serves")
    _refused(argocd, plugin, scene)
    with scene.watched() as seen:
        plugin("undo", "--redeploy", check=True)
        argocd.until(lambda: scene.chart_version() == BROKEN, 60, f"{BROKEN} is deployed")
    assert seen.versions == [GOOD, BROKEN]


def _at_rest(scene: Scene) -> None:
    """Nothing of a hold is left: no window of ours, no open hold, and both are idle."""
    assert not scene.live_windows(), "the window of the hold is gone"
    assert "operation" not in scene.live() and "operation" not in scene.live_root()


class _Branch(Scene):
    """An app whose source is a folder of git that tracks main, with a Deployment in it."""

    def manifests(self, version: str) -> str:
        labels = {"app": "traefik"}
        return manifest(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "traefik"},
                "spec": {
                    "replicas": 2,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": {**labels, "chart-version": version}},
                        "spec": {
                            "terminationGracePeriodSeconds": 0,
                            "containers": [{"name": "main", "image": f"registry.invalid/traefik:{version}"}],
                        },
                    },
                },
            }
        )

    def push(self, version: str) -> str:
        """Bring a version to main and return the commit."""
        return self.argocd.git((f"{self.name}-main/all.yaml", self.manifests(version)), message=version)


def _branch(argocd: ArgoCD, scene: Scene) -> tuple[_Branch, str]:
    """Lay out an app on main, broken now; return it with the good commit."""
    source = {"repoURL": argocd.repository.url, "path": f"{scene.name}-main", "targetRevision": "main"}
    branch = _Branch(argocd, scene.name, source=source)
    good = branch.push(GOOD)
    branch.start()
    branch.push(BROKEN)
    argocd.follow_git(branch.app)
    argocd.until(lambda: branch.chart_version() == BROKEN, 60, "the broken commit is deployed")
    argocd.until_idle(branch.app)
    return branch, good


def test_a_branch_is_put_back_where_it_says_what_runs(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    """Tracked by main, pinned to a commit: held, main is put back and Argo CD says what that would do."""
    branch, good = _branch(argocd, scene)
    plugin("pause", branch.root, check=True)
    plugin("pin", branch.app, good, "--wait", check=True)
    assert branch.is_serving(GOOD)
    before = text_of(branch.specs())
    with branch.unmoved():
        refused = plugin("undo", "-o", "json")
        assert refused.returncode == 5, refused.stderr
        assert "git asks for main" in refused.stderr and "change Deployment traefik" in refused.stderr
        assert "its pin stays" in refused.stderr
        (held,) = json.loads(refused.stdout)["data"]["holds"]
        assert held["released"] and held["project"] == branch.project
        assert text_of(branch.specs()) == before
        _at_rest(branch)

        # A kill while main stands in it: it stays held, also against who presses Sync.
        dying = plugin.start("undo")
        argocd.until(lambda: branch.revision() == "main", 60, "main is put back")
        dying.kill()
        dying.communicate()
        said = plugin("status", branch.app, check=True).stdout.splitlines()[0]
        assert "held since" in said and branch.app in said and "undo" in said
        pressed = {"operation": {"initiatedBy": {"username": "somebody"}, "sync": {"revision": ""}}}
        argocd.api.patch("application", branch.app, argocd.namespace, pressed)
        argocd.until(
            lambda: "blocked" in branch.live()["status"].get("operationState", {}).get("message", ""),
            60,
            "the window stops it",
        )
        again = plugin("undo")
        assert again.returncode == 5, again.stderr
        assert "is pinned again" in again.stderr and "somebody began meanwhile is ended" in again.stderr
        assert text_of(branch.specs()) == before
        _at_rest(branch)

        branch.push(GOOD)
        plugin("undo", check=True)
        assert branch.revision() == "main" and is_auto_sync_on(branch.live_root())
        _at_rest(branch)
    assert plugin("log", "--open", "-o", "name").stdout == ""
    branch.push(FIXED)
    argocd.follow_git(branch.app)
    argocd.until(lambda: branch.is_serving(FIXED), 60, "git leads again")


def test_what_its_owner_says_now_is_asked_of_it(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    """A range that means what runs is git's way to say it; a third version is named, and rolls when asked."""
    scene.start().upgrade(BROKEN)
    plugin("pause", scene.root, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    before = text_of(scene.specs())
    scene.commit(version=FIXED)
    with scene.unmoved():
        refused = plugin("undo")
        assert refused.returncode == 5, refused.stderr
        assert f"git asks for {FIXED}" in refused.stderr and "change Deployment traefik" in refused.stderr
        assert text_of(scene.specs()) == before
        _at_rest(scene)
        scene.commit(version="~2.4.0")
        plugin("undo", check=True)
        assert scene.revision() == "~2.4.0" and is_auto_sync_on(scene.live_root())
        _at_rest(scene)
    plugin("pause", scene.root, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    scene.commit(version=FIXED)
    with scene.watched() as seen:
        forced = plugin("undo", "--redeploy", check=True)
        assert f"this lets {scene.root} deploy {scene.app} {FIXED}" in forced.stderr
        argocd.until(lambda: scene.is_serving(FIXED), 60, f"{FIXED} serves")
    assert seen.versions == [GOOD, FIXED], "no detour over what broke"
    scene.settle()
    _at_rest(scene)
