"""Undo hands back to git and can never cause the second outage: design.md §7 on real controllers.

Every case with the workload watched: each state of the Deployment is seen, so "never deployed"
means never, not even for a second.

- git agrees: nothing moves, neither generation nor ReplicaSets;
- git unmoved: 5 before any write; `--redeploy` rolls the original out because that was asked for;
- git moved elsewhere: windows and the child's auto-sync are back, the pin and the owner's pause
  stay and are named, a second undo after the fix completes;
- git fixed to a third version: refused, `--redeploy` goes there without a detour over what broke;
- `--when-safe` waits until git is fixed, and times out with 6;
- several entries are folded: no version between is deployed;
- no evidence: a field that git does not have, `ignoreDifferences`, a controller that is dead (its
  refresh annotation is taken away again, the rest goes back);
- a colleague undoes from the ConfigMaps alone, after a yes; of two at once one wins, the other gets 3;
- what else a resumed owner would change or prune is asked about first;
- what another open entry relies on stays.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.testbed.argocd import CONTROLLER, REFRESH, ArgoCD
from tests.testbed.incident import BROKEN, FIXED, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import JOURNAL, Scene, dead, deny, edited, edits, is_auto_sync_on, looked_again, text_of, writes

SRE = (
    {"apiGroups": ["argoproj.io"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "patch", "delete"]},
    {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
)
"""What a person on duty may do in Argo CD's namespace."""


def _rescue(plugin: Plugin, scene: Scene, version: str = GOOD, *, user: str = "admin") -> None:
    """Pause the root and pin: the app is at `version` when this returns."""
    plugin("pause", scene.root, user=user, check=True)
    plugin("pin", scene.app, version, user=user, check=True)
    scene.argocd.until(lambda: scene.is_serving(version), 60, f"{version} serves")
    scene.argocd.until_idle(scene.app)


@pytest.mark.core
def test_git_agrees_and_nothing_moves(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).freeze(deny(scene.app, "other"), deny(scene.app))
    original = scene.specs()
    plugin("pause", scene.root, check=True)
    plugin("unblock", scene.app, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    assert scene.is_serving(GOOD)

    scene.commit(version=GOOD)
    with scene.unmoved():
        start = time.monotonic()
        undone = plugin("undo", "-o", "json", check=True)
        print(f"Argo CD {argocd.version}: git agrees, undo {time.monotonic() - start:.1f} s")
    original["app"]["source"]["targetRevision"] = GOOD
    assert text_of(scene.specs()) == text_of(original)
    argocd.until_idle(scene.root)
    result = json.loads(undone.stdout)
    assert result["status"] == "done" and result["data"]["owed"] == []
    assert plugin("log", "--open", "-o", "name").stdout == ""
    # git leads again: what comes next is deployed.
    scene.commit(version=FIXED, windows=())
    argocd.follow_git(scene.root)
    argocd.until(lambda: not scene.live_windows() and scene.revision() == FIXED, 60, "git is applied")
    looked_again(argocd, scene.app)  # Argo CD does not notice by itself that a window opened
    argocd.until(lambda: scene.is_serving(FIXED), 60, f"{FIXED} serves")


def test_git_unmoved_is_refused_before_any_write(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    _rescue(plugin, scene)
    before = text_of(scene.specs())
    mark = argocd.control_plane.audit_mark()
    with scene.unmoved():
        refused = plugin("undo", "-o", "json")
    assert refused.returncode == 5
    assert not edits(argocd.control_plane, mark)
    assert not [e for e in writes(argocd.control_plane, mark) if "/configmaps" in e.uri]
    assert text_of(scene.specs()) == before
    result = json.loads(refused.stdout)
    assert result["status"] == "refused" and result["verb"] == "undo"
    for words in (GOOD, BROKEN, argocd.repository.url, scene.name, "main"):
        assert words in refused.stderr + refused.stdout

    # The outage again, because somebody asks for it.
    with scene.watched() as seen:
        plugin("undo", "--redeploy", check=True)
        argocd.until(lambda: scene.chart_version() == BROKEN, 60, "the original is deployed")
        scene.settle()
    assert seen.versions == [GOOD, BROKEN]
    assert is_auto_sync_on(scene.live_root())
    assert plugin("log", "--open", "-o", "name").stdout == ""


@pytest.mark.core
def test_git_moved_elsewhere_stops_halfway_and_a_second_undo_completes(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start().upgrade(BROKEN).freeze(deny(scene.app, "other"))
    original = scene.specs()
    plugin("pause", scene.root, scene.app, check=True)
    plugin("unblock", scene.app, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    assert scene.is_serving(GOOD)

    scene.unrelated_commit()
    with scene.unmoved():
        halfway = plugin("undo", "-o", "json")
    assert halfway.returncode == 5, halfway.stderr
    assert is_auto_sync_on(scene.live()), "the child's auto-sync is back"
    assert scene.live_windows() == [deny(scene.app, "other")], "the windows are back"
    assert not is_auto_sync_on(scene.live_root()), "the owner stays paused"
    assert scene.revision() == GOOD
    result = json.loads(halfway.stdout)
    assert [o["app"] for o in result["data"]["owed"]] == [scene.app]
    said = " ".join(result["warnings"])
    assert "pin stays" in said and f"{scene.root} stays paused" in said

    # The same again changes nothing more: what is asked of Argo CD under a hold is taken back.
    before = text_of(scene.specs())
    with scene.unmoved():
        again = plugin("undo")
    assert again.returncode == 5 and f"git asks for {BROKEN}" in again.stderr
    assert text_of(scene.specs()) == before

    scene.commit(version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    original["app"]["source"]["targetRevision"] = GOOD
    assert text_of(scene.specs()) == text_of(original)
    assert plugin("log", "--open", "-o", "name").stdout == ""


@pytest.mark.core
def test_git_fixed_to_a_third_version(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    _rescue(plugin, scene)
    scene.commit(version=FIXED)
    with scene.unmoved():
        refused = plugin("undo")
    assert refused.returncode == 5
    with scene.watched() as seen:
        plugin("undo", "--redeploy", check=True)
        argocd.until(lambda: scene.is_serving(FIXED), 60, f"{FIXED} serves")
        scene.settle()
    assert seen.versions == [GOOD, FIXED], "no detour over what broke"
    assert is_auto_sync_on(scene.live_root())
    assert plugin("log", "--open", "-o", "name").stdout == ""


def test_when_safe_waits_for_git(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    _rescue(plugin, scene)
    mark = argocd.control_plane.audit_mark()
    late = plugin("undo", "--when-safe", "--timeout", "2s")
    assert late.returncode == 6, late.stderr
    assert not edits(argocd.control_plane, mark)
    with scene.unmoved():
        waiting = plugin.start("undo", "--when-safe", "--timeout", "110s")
        assert waiting.stderr is not None
        for line in waiting.stderr:
            if "waiting for git" in line:
                break
        scene.commit(version=GOOD)
        _, rest = waiting.communicate(timeout=120)
        assert waiting.returncode == 0, rest
    assert is_auto_sync_on(scene.live_root())


def test_several_pins_are_folded(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    _rescue(plugin, scene, "2.4.0")
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    with scene.watched() as seen:
        plugin("undo", "--redeploy", check=True)
        argocd.until(lambda: scene.chart_version() == BROKEN, 60, "the original is deployed")
        scene.settle()
    assert seen.versions == [GOOD, BROKEN], "2.4.0 was between, and is not deployed again"
    assert plugin("log", "--open", "-o", "name").stdout == ""


def test_a_field_that_git_does_not_have_is_no_evidence(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    # A git source without targetRevision: HEAD of the repository's branch.
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"page": "good"}}
    folder = f"{scene.name}-pages"
    scene.source = {"repoURL": argocd.repository.url, "path": folder}
    good = argocd.git((f"{folder}/page.yaml", manifest(page)))
    scene.start(wait=False)
    argocd.until_synced(scene.app)
    argocd.git((f"{folder}/page.yaml", "good", "bad"))
    argocd.follow_git(scene.app)
    argocd.until_idle(scene.app)
    argocd.until_idle(scene.root)
    original = scene.specs()

    def text() -> str:
        found: str = argocd.api.get("configmap", "page", scene.target)["data"]["page"]
        return found

    assert text() == "bad"
    plugin("pause", scene.root, check=True)
    plugin("pin", scene.app, good, "--wait", check=True)
    assert text() == "good"
    # The owner is Synced before and after: it says nothing of an added key. So it is taken away, held.
    undone = plugin("undo")
    assert undone.returncode == 5
    assert "git asks for HEAD" in undone.stderr and "change ConfigMap page" in undone.stderr
    assert scene.revision() == good and not is_auto_sync_on(scene.live_root())
    assert text() == "good"
    argocd.git((f"{folder}/page.yaml", "bad", "good"))
    plugin("undo", check=True)
    scene.settle()
    assert text_of(scene.specs()) == text_of(original)
    assert text() == "good"


def test_ignored_differences_are_no_evidence(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    ignored = {
        "group": "argoproj.io",
        "kind": "Application",
        "jsonPointers": ["/spec/source/targetRevision"],
    }
    scene.start(root={"ignoreDifferences": [ignored]})
    scene.commit(version=BROKEN)
    argocd.follow_git(scene.root)
    argocd.api.patch(
        "application", scene.app, argocd.namespace, {"spec": {"source": {"targetRevision": BROKEN}}}
    )
    argocd.until(lambda: scene.chart_version() == BROKEN, 60, f"{BROKEN} is deployed")
    argocd.until_idle(scene.app)
    plugin("pause", scene.root, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    scene.unrelated_commit()
    with scene.unmoved():
        undone = plugin("undo")
    assert undone.returncode == 5
    assert "ignoreDifferences" in undone.stderr
    assert scene.revision() == GOOD
    plugin("undo", "--redeploy", check=True)
    assert scene.revision() == BROKEN
    assert is_auto_sync_on(scene.live_root())


def test_what_git_wants_of_an_app_of_the_same_undo_is_asked(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    """Somebody merged the broken version during a freeze: its end does not roll it out unasked."""
    scene.start()
    plugin("pause", scene.root, scene.app, check=True)
    scene.commit(version=BROKEN)
    with scene.unmoved():
        asked = plugin("undo")
        assert asked.returncode == 5, asked.stderr
        assert f"git asks for {BROKEN}" in asked.stderr and "change Deployment traefik" in asked.stderr
        assert not is_auto_sync_on(scene.live_root())
    scene.commit(version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    assert is_auto_sync_on(scene.live_root())


def test_a_dead_controller_is_no_evidence(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).freeze(deny(scene.app, "other"))
    plugin("pause", scene.root, scene.app, check=True)
    plugin("unblock", scene.app, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    scene.commit(version=GOOD)
    with dead(argocd, CONTROLLER):
        start = time.monotonic()
        undone = plugin("undo")
        print(f"Argo CD {argocd.version}: controller dead, undo {time.monotonic() - start:.1f} s")
        assert undone.returncode == 5, undone.stderr
        assert "is its controller alive?" in undone.stderr
        for app in (scene.live_root(), scene.live()):
            assert REFRESH not in app["metadata"].get("annotations", {})
        assert not is_auto_sync_on(scene.live()), "nobody knows what it would do"
        assert scene.live_windows() == [deny(scene.app, "other")], "the rest is back"
        assert scene.revision() == GOOD and not is_auto_sync_on(scene.live_root())
    with scene.unmoved():
        plugin("undo", check=True)
    assert is_auto_sync_on(scene.live_root())


def test_a_colleague_undoes_from_the_cluster_alone(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    argocd.control_plane.namespace(scene.target)
    for user in ("alice", "bob"):
        argocd.control_plane.allow(user, SRE, namespace=argocd.namespace)
        argocd.control_plane.allow(user, SRE[2:3], namespace=scene.target)
    scene.start().upgrade(BROKEN)
    plugin("pause", scene.root, "--reason", "INC-4711", user="alice", check=True)
    plugin("pin", scene.app, GOOD, user="alice", check=True)
    argocd.until(lambda: scene.is_serving(GOOD), 60, f"{GOOD} serves")
    scene.commit(version=GOOD)

    mark = argocd.control_plane.audit_mark()
    refused = plugin("undo", user="bob")
    assert refused.returncode == 5
    assert "alice" in refused.stderr and "INC-4711" in refused.stderr and "not yours" in refused.stderr
    assert not edits(argocd.control_plane, mark, "bob")
    with scene.unmoved():
        plugin("undo", "--yes", user="bob", check=True)
    assert is_auto_sync_on(scene.live_root())
    # Alice's own laptop learns of it.
    assert plugin("log", "--open", "-o", "name", user="alice", check=True).stdout == ""
    mark = argocd.control_plane.audit_mark()
    plugin("undo", user="alice", check=True)
    assert not writes(argocd.control_plane, mark, "alice")


def test_of_two_at_once_one_wins(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).freeze(deny(scene.app, "other"))
    plugin("pause", scene.root, scene.app, check=True)
    plugin("unblock", scene.app, check=True)
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    scene.commit(version=GOOD)
    mark = argocd.control_plane.audit_mark()
    with scene.unmoved():
        both = [plugin.start("undo", laptop=laptop) for laptop in ("one", "two")]
        ends = [(*p.communicate(timeout=120), p.returncode) for p in both]
    codes = sorted(code for _, _, code in ends)
    # The second may come so late that nothing is left: 0 then, and it wrote nothing.
    assert codes in ([0, 3], [0, 0]), ends
    if codes == [0, 3]:
        (told,) = (err for _, err, code in ends if code == 3)
        # While the first is at it, or after it was done but before the second had asked for it.
        assert "is being undone by admin" in told or "was undone just now" in told, ends
    written = edited(argocd.control_plane, mark)
    assert sorted(written) == sorted([scene.project, scene.app, scene.root]), written
    assert is_auto_sync_on(scene.live_root())
    assert plugin("log", "--open", "-o", "name").stdout == ""


def test_what_else_a_resumed_owner_would_do_is_asked(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    def page(text: str) -> str:
        obj = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{scene.name}-page"},
            "data": {"page": text},
        }
        return manifest(obj)

    def left() -> str:
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{scene.name}-left"}}
        return manifest(obj)

    folder = scene.name
    scene.start((f"{folder}/page.yaml", page("1")), (f"{folder}/left.yaml", left())).upgrade(BROKEN)
    _rescue(plugin, scene)
    scene.commit((f"{folder}/page.yaml", page("2")), (f"{folder}/left.yaml", ""), version=GOOD)
    mark = argocd.control_plane.audit_mark()
    refused = plugin("undo")
    assert refused.returncode == 5
    assert f"change ConfigMap {scene.name}-page" in refused.stderr
    assert f"prune ConfigMap {scene.name}-left" in refused.stderr
    assert not edits(argocd.control_plane, mark)
    with scene.unmoved():
        plugin("undo", "--yes", check=True)
    argocd.until(
        lambda: argocd.api.find("configmap", f"{scene.name}-left", argocd.namespace) is None,
        60,
        "it pruned, as was said",
    )


def test_what_another_open_entry_relies_on_stays(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    paused = json.loads(plugin("pause", scene.root, "-o", "json", check=True).stdout)["entry"]
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    with scene.unmoved():
        kept = plugin("undo", paused)
    assert kept.returncode == 4, kept.stderr
    assert "still needs it" in kept.stderr
    assert not is_auto_sync_on(scene.live_root())
    scene.commit(version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    assert is_auto_sync_on(scene.live_root())
    assert plugin("log", "--open", "-o", "name").stdout == ""


@pytest.mark.parametrize("how", ["stop", "skip", "overwrite"])
def test_a_field_that_somebody_else_changed(argocd: ArgoCD, plugin: Plugin, scene: Scene, how: str) -> None:
    # No owner is in play: root and its mark are gone, so the saved original is what undo is about.
    scene.start()
    argocd.api.delete("application", scene.root, argocd.namespace)
    unmarked = {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": None}}}
    argocd.api.patch("application", scene.app, argocd.namespace, unmarked)
    plugin("pin", scene.app, "2.4.0", "--wait", check=True)
    argocd.api.patch(
        "application", scene.app, argocd.namespace, {"spec": {"source": {"targetRevision": FIXED}}}
    )
    argocd.until(lambda: scene.is_serving(FIXED), 60, f"{FIXED} serves")
    undone = plugin("undo", f"--on-conflict={how}", "--redeploy")
    assert undone.returncode == {"stop": 3, "skip": 4, "overwrite": 0}[how], undone.stderr
    for version in (FIXED, "2.4.0", GOOD):
        assert version in undone.stderr
    assert scene.revision() == (GOOD if how == "overwrite" else FIXED)


def test_the_journal_holds_no_whole_specs(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    plugin("pin", scene.app, GOOD, "--yes", check=True)
    (kept,) = argocd.api.list("configmap", argocd.namespace, JOURNAL)
    assert "releaseName" not in json.dumps(kept["data"])
