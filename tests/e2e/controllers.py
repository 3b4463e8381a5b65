"""What Argo CD does that hand-back rests on, as cases that run on its controllers and on the simulation.

Each takes a scene that has not been started, and fails where the controllers behave otherwise. They are run
by test_controllers.py and, on the simulation, by tests/unit/simulation/test_controllers.py. "Moved" is the
workload's generation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests.testbed.api import JSON
from tests.testbed.incident import BROKEN, FIXED, GOOD
from tests.testbed.sources import manifest

from .scene import Scene, deny, is_auto_sync_on, looked_again

OLD = "2.4.0"


# -- what is done


def edit(scene: Scene, kind: str, name: str, body: JSON) -> None:
    scene.argocd.api.patch(kind, name, scene.argocd.namespace, body)


def has_enabled(scene: Scene) -> bool:
    """Whether this Argo CD knows `automated.enabled`."""
    return tuple(map(int, scene.argocd.version.split("."))) >= (3, 1)


def pause(scene: Scene, name: str) -> None:
    """Switch auto-sync off, by the added key where there is one."""
    off: JSON = {"enabled": False} if has_enabled(scene) else None
    edit(scene, "application", name, {"spec": {"syncPolicy": {"automated": off}}})


def let_go(scene: Scene, name: str) -> None:
    edit(scene, "application", name, {"spec": {"syncPolicy": {"automated": {"enabled": None}}}})


def ask_for(scene: Scene, version: str) -> None:
    """Write a version into the app."""
    edit(scene, "application", scene.app, {"spec": {"source": {"targetRevision": version}}})


def close_windows(scene: Scene, *windows: Mapping[str, object]) -> None:
    found = list(windows) or [deny(scene.app)]
    edit(scene, "appproject", scene.project, {"spec": {"syncWindows": found}})


def open_windows(scene: Scene) -> None:
    edit(scene, "appproject", scene.project, {"spec": {"syncWindows": None}})


def order(scene: Scene, name: str, sync: JSON, **operation: JSON) -> None:
    """Write an operation as the API server does."""
    body = {"initiatedBy": {"username": "carol"}, "sync": sync, **operation}
    edit(scene, "application", name, {"operation": body, "status": {"operationState": None}})


def apply_only(scene: Scene, name: str) -> None:
    """Have the root sync this one Application, and wait until it has."""
    one = {"group": "argoproj.io", "kind": "Application", "name": name, "namespace": scene.argocd.namespace}
    order(scene, scene.root, {"resources": [one]})
    scene.argocd.until(lambda: is_done(scene, scene.root), 60, f"{scene.root} has applied {name}")


def is_done(scene: Scene, name: str) -> bool:
    live = scene.argocd.app(name)
    return "operation" not in live and bool(live["status"].get("operationState", {}).get("finishedAt"))


def state(scene: Scene) -> JSON:
    return scene.live()["status"].get("operationState", {})


def rounds(scene: Scene, *names: str) -> None:
    """Two whole refresh rounds of each: one alone may not know of what was written just before."""
    for name in [*names, *names]:
        looked_again(scene.argocd, name)


def listed(scene: Scene, name: str = "") -> str:
    """What the root says of one of its objects."""
    found = scene.live_root()["status"]["resources"]
    return next(str(r["status"]) for r in found if r["name"] == (name or scene.app))


def own_word(scene: Scene) -> str:
    return str(scene.live()["status"]["sync"]["status"])


def generation(scene: Scene) -> int:
    return int(scene.deployment()["metadata"]["generation"])


def until_deployed(scene: Scene, version: str) -> None:
    scene.argocd.until(lambda: scene.chart_version() == version, 60, f"{version} is deployed")


def pinned(scene: Scene) -> int:
    """Bring the scene to where git is bad, the root paused and the app pinned; return the generation."""
    scene.start().upgrade(BROKEN)
    pause(scene, scene.root)
    ask_for(scene, GOOD)
    until_deployed(scene, GOOD)
    scene.argocd.until_idle(scene.app)
    return generation(scene)


# -- comparing while held


def a_held_app_may_be_compared_with_anything(scene: Scene) -> None:
    """With a deny window nothing moves, whatever is asked for; the comparison says what it was made with."""
    moved = pinned(scene)
    close_windows(scene)
    rounds(scene, scene.app)
    ask_for(scene, BROKEN)
    rounds(scene, scene.root, scene.app)
    live = scene.live()
    assert live["status"]["sync"]["comparedTo"]["source"] == live["spec"]["source"]
    assert (own_word(scene), listed(scene)) == ("OutOfSync", "Synced")
    ask_for(scene, GOOD)
    rounds(scene, scene.root, scene.app)
    assert (own_word(scene), listed(scene)) == ("Synced", "OutOfSync")
    assert generation(scene) == moved
    scene.commit(version=GOOD)
    rounds(scene, scene.root, scene.app)
    assert (own_word(scene), listed(scene)) == ("Synced", "Synced")


def auto_sync_off_holds_too(scene: Scene) -> None:
    """`enabled: false` is an added key: no drift. A block that is gone is drift for ever, mended or not."""
    moved = pinned(scene)
    pause(scene, scene.app)
    ask_for(scene, BROKEN)
    rounds(scene, scene.root, scene.app)
    assert own_word(scene) == "OutOfSync" and generation(scene) == moved
    assert listed(scene) == ("Synced" if has_enabled(scene) else "OutOfSync")
    ask_for(scene, GOOD)
    scene.commit(version=GOOD)
    rounds(scene, scene.root, scene.app)
    assert own_word(scene) == "Synced" and generation(scene) == moved
    assert listed(scene) == ("Synced" if has_enabled(scene) else "OutOfSync")


def a_selective_operation_brings_what_git_says_and_leaves_holds_and_pause(scene: Scene) -> None:
    moved = pinned(scene)
    close_windows(scene)
    if has_enabled(scene):
        pause(scene, scene.app)
    scene.commit(version=FIXED)
    rounds(scene, scene.root)
    apply_only(scene, scene.app)
    assert scene.revision() == FIXED
    assert is_auto_sync_on(scene.live()) is not has_enabled(scene)
    assert scene.live_windows() == [deny(scene.app)], "what else differs stays as it is"
    assert not is_auto_sync_on(scene.live_root())
    rounds(scene, scene.app)
    assert own_word(scene) == "OutOfSync" and generation(scene) == moved


# -- holds that are lost


def replace_takes_the_added_key_away_and_a_window_holds(scene: Scene) -> None:
    """Asked for by the owner's options, or by the object itself in git."""
    moved = pinned(scene)
    close_windows(scene)
    for by_owner in (True, False):
        pause(scene, scene.app)
        if not by_owner:
            app = scene.app_object()
            app["metadata"]["annotations"] = {"argocd.argoproj.io/sync-options": "Prune=false,Replace=true"}  # type: ignore[index]
            scene.argocd.git((f"{scene.name}/app.yaml", manifest(app)))
        rounds(scene, scene.root)
        one = {"group": "argoproj.io", "kind": "Application", "name": scene.app}
        options = {"syncOptions": ["Replace=true"]} if by_owner else {}
        order(scene, scene.root, {"resources": [one], **options})
        scene.argocd.until(lambda: is_done(scene, scene.root), 60, "the root has applied it")
        assert is_auto_sync_on(scene.live()) and scene.revision() == BROKEN
        rounds(scene, scene.app)
        assert own_word(scene) == "OutOfSync" and generation(scene) == moved
    open_windows(scene)
    looked_again(scene.argocd, scene.app)
    until_deployed(scene, BROKEN)


def git_may_take_the_added_key_away_and_a_window_holds(scene: Scene) -> None:
    """By naming `enabled`, and by not naming it any more."""
    scene.policy = {"prune": True, "selfHeal": True, "enabled": False}
    scene.start(wait=False)
    scene.argocd.until(lambda: scene.revision() == GOOD, 60, "the app is there")
    order(scene, scene.app, {})
    until_deployed(scene, GOOD)
    scene.argocd.until(lambda: is_done(scene, scene.app), 60, "it is deployed")
    scene.argocd.until_idle(scene.root)
    moved = generation(scene)
    close_windows(scene)
    pause(scene, scene.root)
    on: JSON = {"prune": True, "selfHeal": True}
    for policy in (on, {**on, "enabled": True}):
        scene.commit(policy=policy, version=FIXED)
        rounds(scene, scene.root)
        apply_only(scene, scene.app)
        assert is_auto_sync_on(scene.live()) and scene.revision() == FIXED
        rounds(scene, scene.app)
        assert own_word(scene) == "OutOfSync" and generation(scene) == moved
        pause(scene, scene.app)
    let_go(scene, scene.app)
    open_windows(scene)
    looked_again(scene.argocd, scene.app)
    until_deployed(scene, FIXED)


# -- operations


def a_blocked_operation_keeps_the_source_of_its_first_pass(scene: Scene) -> None:
    """Once the window is gone it deploys what was asked for when it was ordered, not what is asked for now."""
    pinned(scene)
    pause(scene, scene.app)
    close_windows(scene)
    ask_for(scene, BROKEN)
    order(scene, scene.app, {})
    scene.argocd.until(
        lambda: "blocked by sync window" in state(scene).get("message", ""), 60, "the window holds it"
    )
    ask_for(scene, GOOD)
    rounds(scene, scene.app)
    assert state(scene)["phase"] == "Running" and scene.chart_version() == GOOD
    open_windows(scene)
    looked_again(scene.argocd, scene.app)
    until_deployed(scene, BROKEN)


def a_retry_without_a_source_takes_the_spec_of_its_moment(scene: Scene) -> None:
    """Also of an app whose auto-sync is off."""
    pinned(scene)
    pause(scene, scene.app)
    ask_for(scene, "9.9.9")
    retry = {"limit": 50, "backoff": {"duration": "2s", "factor": 1, "maxDuration": "2s"}}
    order(scene, scene.app, {}, retry=retry)
    scene.argocd.until(lambda: state(scene).get("retryCount"), 60, "it is retried")
    ask_for(scene, BROKEN)
    until_deployed(scene, BROKEN)


def a_selective_operation_counts_as_the_sync_of_its_revision(scene: Scene) -> None:
    """An owner without self-heal never brings the rest of that commit: nothing says so."""
    scene.start(root={"automated": {"prune": True}})
    pause(scene, scene.root)
    windows = [deny("other")]
    scene.commit(version=FIXED, windows=windows)
    rounds(scene, scene.root)
    apply_only(scene, scene.app)
    let_go(scene, scene.root) if has_enabled(scene) else _switch_on(scene)
    rounds(scene, scene.root)
    assert listed(scene, scene.project) == "OutOfSync" and not scene.live_windows()
    assert scene.live_root()["status"].get("conditions", []) == []
    scene.argocd.git((f"{scene.name}/more.yaml", manifest(_config_map(scene))))
    rounds(scene, scene.root)
    scene.argocd.until(lambda: scene.live_windows() == windows, 60, "the next commit brings it")


def _switch_on(scene: Scene) -> None:
    edit(scene, "application", scene.root, {"spec": {"syncPolicy": {"automated": {}}}})


def _config_map(scene: Scene) -> JSON:
    meta = {"name": f"{scene.name}-more", "namespace": scene.argocd.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "b"}}


# -- words that are too weak or too strong


def what_is_left_over_without_prune_is_out_of_sync_for_ever(scene: Scene) -> None:
    more = f"{scene.name}/more.yaml"
    scene.start((more, manifest(_config_map(scene))), root={"automated": {"selfHeal": True}})
    before = scene.live_root()["status"]["operationState"]["finishedAt"]
    scene.argocd.git((more, ""))
    rounds(scene, scene.root)
    live = scene.live_root()["status"]
    assert live["sync"]["status"] == "OutOfSync" and live["operationState"]["finishedAt"] == before
    rest = [r for r in live["resources"] if r["status"] != "Synced"]
    assert [(r["name"], r.get("requiresPruning")) for r in rest] == [(f"{scene.name}-more", True)]


def a_rule_of_the_app_hides_what_the_next_drift_rolls(scene: Scene) -> None:
    """Synced by a rule over the field; the sync that other drift starts writes the field too."""
    rule = {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/template"]}
    scene.spec["ignoreDifferences"] = [rule]
    scene.start().upgrade(BROKEN)
    old = {"metadata": {"labels": {"chart-version": GOOD}}}
    scene.argocd.api.patch("deployment", "traefik", scene.target, {"spec": {"template": old}})
    rounds(scene, scene.app)
    assert own_word(scene) == "Synced" and scene.chart_version() == GOOD
    scene.argocd.api.patch("deployment", "traefik", scene.target, {"spec": {"replicas": 1}})
    until_deployed(scene, BROKEN)


def a_written_app_is_known_to_its_owner_after_two_rounds(scene: Scene) -> None:
    """The first may have been made without it."""
    pinned(scene)
    close_windows(scene)
    for version, word in ((OLD, "OutOfSync"), (BROKEN, "Synced"), (GOOD, "OutOfSync")):
        ask_for(scene, version)
        rounds(scene, scene.root)
        assert listed(scene) == word, version


CASES: Sequence[Callable[[Scene], None]] = (
    a_held_app_may_be_compared_with_anything,
    auto_sync_off_holds_too,
    a_selective_operation_brings_what_git_says_and_leaves_holds_and_pause,
    replace_takes_the_added_key_away_and_a_window_holds,
    git_may_take_the_added_key_away_and_a_window_holds,
    a_blocked_operation_keeps_the_source_of_its_first_pass,
    a_retry_without_a_source_takes_the_spec_of_its_moment,
    a_selective_operation_counts_as_the_sync_of_its_revision,
    what_is_left_over_without_prune_is_out_of_sync_for_ever,
    a_rule_of_the_app_hides_what_the_next_drift_rolls,
    a_written_app_is_known_to_its_owner_after_two_rounds,
)

WITH_ENABLED = (
    replace_takes_the_added_key_away_and_a_window_holds,
    git_may_take_the_added_key_away_and_a_window_holds,
)
"""Of an Argo CD that knows `automated.enabled`."""
