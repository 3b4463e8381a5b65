"""The sets' controller starts last, and what it would delete is known before it may.

Aspects: a generator that lost an element while it was frozen; refused, it is frozen again and, once no pod
is left, the set as it was; let go by name, the set deletes; nothing lost, nothing asked; a set that may not be
kept from deleting is named; no mark stays behind; what a set does not give is not made anew into its
hands.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.cluster.probe import PROBE
from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, APPPROJECT, CONFIGMAP

from ..harness import Run
from ..scenes import Scene, played
from .test_freeze import SETS, entry_of, pod, replicas


@pytest.fixture
def scene(run: Run) -> Scene:
    made = played("set", run)

    def apart(live: Any) -> None:
        live["spec"]["template"]["spec"]["destination"]["namespace"] = "{{name}}"

    made.incident.api.edit(APPLICATIONSET, "argocd", "shops", apart)
    made.incident.argocd.run(200, every=2)
    assert run(made.incident.api, "freeze").code == 0
    return made


def lose(scene: Scene) -> None:
    """Have the generator lose an element while nobody looks."""

    def fewer(live: Any) -> None:
        live["spec"]["generators"][0]["list"]["elements"] = [{"name": "shop-test"}]

    scene.incident.api.edit(APPLICATIONSET, "argocd", "shops", fewer)


def marks(scene: Scene) -> set[str]:
    """All that the Applications are annotated with."""
    found = scene.incident.api.objects(APPLICATION, "argocd")
    return {name for app in found for name in app["metadata"].get("annotations") or {}}


def test_what_is_lost_is_known_and_asked(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    lose(scene)
    entry = entry_of(run, scene.incident)
    before = api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    refused = run(api, "undo", entry)
    assert refused.code == 5, refused.err
    assert "do not give shop-prod any more" in refused.err
    assert "shop-test" not in refused.err
    assert replicas(scene.incident) == (0, 0)
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"] == before
    assert not any(_is_ours(p) for p in api.objects(APPPROJECT, "argocd"))
    assert PROBE not in marks(scene)
    assert api.find(APPLICATION, "argocd", "shop-prod")

    assert run(api, "undo", entry, "--yes").code == 5
    agreed = run(api, "undo", entry, "--yes", "--let-delete", "shop-prod")
    assert agreed.code == 0, agreed.err
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"] == before
    scene.incident.argocd.run(10)
    live = api.find(APPLICATION, "argocd", "shop-prod")
    assert live is None or live["metadata"].get("deletionTimestamp")
    assert run(api, "log", "--open", "-o", "name").out == ""


@pytest.mark.parametrize("how", ["its pod does not end", "pods may not be listed"])
def test_nothing_is_let_go_of_while_a_controller_may_still_act(run: Run, scene: Scene, how: str) -> None:
    api = scene.incident.api
    lose(scene)
    entry = entry_of(run, scene.incident)
    if how == "its pod does not end":
        # The workload counts 0 by now, as it does of pods that are being stopped.
        api.create(pod("argocd-applicationset-controller-x", SETS))
    else:
        api.deny("list", "pods")
    refused = run(api, "undo", entry, "--timeout", "30s")
    assert refused.code == 5, refused.err
    assert replicas(scene.incident) == (0, 0)
    assert (
        api.get(APPLICATIONSET, "argocd", "shops")["spec"]["syncPolicy"]["applicationsSync"]
        == "create-update"
    )
    assert all(_is_ours(p) for p in api.objects(APPPROJECT, "argocd"))
    assert f"go on with it: kubectl argo-rescue undo {entry}" in refused.err
    wanted = "has not ended" if how == "its pod does not end" else "is not known"
    assert wanted in refused.err

    def mended(live: Any) -> None:
        live["spec"]["generators"][0]["list"]["elements"] = [{"name": "shop-test"}, {"name": "shop-prod"}]

    api.edit(APPLICATIONSET, "argocd", "shops", mended)
    thawed = run(api, "undo", entry)
    assert thawed.code == 0, thawed.err
    assert "syncPolicy" not in api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    assert not any(_is_ours(p) for p in api.objects(APPPROJECT, "argocd"))


def _is_ours(project: Any) -> bool:
    return any(w["applications"] == ["*"] for w in project["spec"].get("syncWindows") or ())


def test_where_nothing_is_lost_nothing_is_asked(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    before = api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    thawed = run(api, "undo", entry_of(run, scene.incident))
    assert thawed.code == 0, thawed.err
    assert replicas(scene.incident) == (1, 1)
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"] == before
    assert PROBE not in marks(scene)


def test_a_set_that_cannot_be_kept_from_it_is_named(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    api.edit(
        CONFIGMAP,
        "argocd",
        "argocd-cmd-params-cm",
        lambda live: live.update(data={"applicationsetcontroller.policy": "sync"}),
    )
    refused = run(api, "undo", entry_of(run, scene.incident))
    assert refused.code == 5
    assert "ApplicationSet shops may delete Applications" in refused.err


def test_what_a_set_does_not_give_is_not_made_anew_into_its_hands(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    lose(scene)
    freeze = entry_of(run, scene.incident)
    api.edit(
        APPLICATION,
        "argocd",
        "shop-prod",
        lambda live: live["metadata"].update(finalizers=["resources-finalizer.argocd.argoproj.io"]),
    )
    api.delete(APPLICATION, "argocd", "shop-prod")
    assert run(api, "orphan", "shop-prod", "--yes").code == 0
    orphan = entry_of(run, scene.incident)
    assert run(api, "undo", freeze, "--yes").code == 0
    scene.incident.argocd.run(10)
    refused = run(api, "undo", orphan, "--yes")
    assert refused.code == 5, refused.err
    assert "ApplicationSet shops has not made it anew, and deletes what it does not give" in refused.err
    assert api.find(APPLICATION, "argocd", "shop-prod") is None
    assert run(api, "pause", "appset/shops").code == 0
    anew = run(api, "undo", orphan, "--yes")
    assert anew.code == 0, anew.err
    assert api.find(APPLICATION, "argocd", "shop-prod")
