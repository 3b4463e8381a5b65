"""`pause appset/NAME`: a set that writes and deletes none of its Applications, and its undo.

Aspects: by every type that kubectl takes; elements that are lost delete nothing; nothing is updated;
undo gives the set its own will back; a controller that forbids it is named; what is not there.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, CONFIGMAP

from ..harness import Run
from ..scenes import Scene, played


@pytest.fixture
def scene(run: Run) -> Scene:
    return played("set", run)


def lose(scene: Scene) -> None:
    """Have the generator lose an element."""

    def fewer(live: Any) -> None:
        live["spec"]["generators"][0]["list"]["elements"] = [{"name": "shop-test"}]

    scene.incident.api.edit(APPLICATIONSET, "argocd", "shops", fewer)
    scene.incident.argocd.run(10)


def test_it_deletes_nothing_until_undo(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    ran = run(api, "pause", "appset/shops")
    assert ran.code == 0, ran.err
    assert "deletes ApplicationSet shops itself" in ran.err
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"]["syncPolicy"] == {
        "applicationsSync": "create-only"
    }
    lose(scene)
    assert api.find(APPLICATION, "argocd", "shop-prod")
    assert "unchanged (already create-only)" in run(api, "pause", "applicationsets.argoproj.io/shops").out
    undone = run(api, "undo", "--yes")
    assert undone.code == 0, undone.err
    assert "syncPolicy" not in api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    scene.incident.argocd.run(10)
    live = api.find(APPLICATION, "argocd", "shop-prod")
    assert live is None or live["metadata"].get("deletionTimestamp")


def test_create_delete_is_not_enough(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    api.edit(
        APPLICATIONSET,
        "argocd",
        "shops",
        lambda live: live["spec"].update(syncPolicy={"applicationsSync": "create-delete"}),
    )
    assert run(api, "pause", "applicationset/shops").code == 0
    lose(scene)
    assert api.find(APPLICATION, "argocd", "shop-prod")


def test_a_controller_that_forbids_it_is_named(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    api.edit(
        CONFIGMAP,
        "argocd",
        "argocd-cmd-params-cm",
        lambda live: live.update(data={"applicationsetcontroller.policy": "sync"}),
    )
    ran = run(api, "pause", "appset/shops")
    assert "sync counts, whatever is written" in ran.err and "freeze" in ran.err


def test_one_that_is_not_there(run: Run, scene: Scene) -> None:
    ran = run(scene.incident.api, "pause", "appset/none")
    assert ran.code == 1 and "ApplicationSet argocd/none does not exist" in ran.err


def test_with_applications_in_one_entry(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    ran = run(api, "pause", "root", "appset/shops")
    assert ran.code == 0, ran.err
    assert "root paused" in ran.out and "applicationset.argoproj.io/shops" in ran.out
    assert run(api, "undo", "--yes").code == 0
