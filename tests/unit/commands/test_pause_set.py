"""`pause appset/NAME`: a set that writes and deletes none of its Applications, and its undo.

Aspects: by every type that kubectl takes; elements that are lost delete nothing; nothing is updated;
undo asks the set, which moves nothing meanwhile, what it would delete, and gives it its own will back
where nothing is lost or that was let go by name; a set that cannot be asked; a controller that forbids
it is named; what is not there.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.cluster.probe import PROBE
from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, CONFIGMAP

from ..harness import Run
from ..scenes import Scene, played
from .test_thaw_sets import marks


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
    paused = api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    refused = run(api, "undo", "--yes")
    assert refused.code == 5, refused.err
    assert "does not give shop-prod any more, and would delete it" in refused.err
    assert "shop-test" not in refused.err
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"] == paused
    scene.incident.argocd.run(10)
    assert api.find(APPLICATION, "argocd", "shop-prod")
    assert PROBE not in marks(scene)

    undone = run(api, "undo", "--yes", "--let-delete", "shop-prod")
    assert undone.code == 0, undone.err
    assert "syncPolicy" not in api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    scene.incident.argocd.run(10)
    live = api.find(APPLICATION, "argocd", "shop-prod")
    assert live is None or live["metadata"].get("deletionTimestamp")
    assert run(api, "log", "--open", "-o", "name").out == ""


def test_what_came_back_is_asked_and_nothing_stays_of_it(run: Run, scene: Scene) -> None:
    api = scene.incident.api
    before = api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    assert run(api, "pause", "appset/shops").code == 0
    versions = {a["metadata"]["name"]: a["spec"]["source"] for a in api.objects(APPLICATION, "argocd")}

    def newer(live: Any) -> None:
        live["spec"]["template"]["spec"]["source"]["targetRevision"] = "9.9.9"

    api.edit(APPLICATIONSET, "argocd", "shops", newer)
    seen: list[Any] = []

    def look(*_call: Any) -> None:
        live = api.find(APPLICATIONSET, "argocd", "shops")["spec"]
        if "syncPolicy" in live:
            seen.extend(a["spec"]["source"] for a in api.objects(APPLICATION, "argocd"))

    api.after.append(look)
    undone = run(api, "undo", "--yes")
    api.after.remove(look)
    assert undone.code == 0, undone.err
    assert all(source in versions.values() for source in seen), "while it is asked it writes no version"
    newer(after := {"spec": before})
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"] == after["spec"]
    assert PROBE not in marks(scene)
    assert run(api, "log", "--open", "-o", "name").out == ""


def test_a_set_that_cannot_be_asked_needs_a_yes(run: Run, scene: Scene) -> None:
    api = scene.incident.api

    def rolling(live: Any) -> None:
        live["spec"]["strategy"] = {"type": "RollingSync"}
        row = {
            "application": "shop-prod",
            "message": "",
            "status": "Healthy",
            "step": "1",
            "targetRevisions": [],
        }
        live.setdefault("status", {})["applicationStatus"] = [row]

    assert run(api, "pause", "appset/shops").code == 0
    api.edit(APPLICATIONSET, "argocd", "shops", rolling)
    refused = run(api, "undo")
    assert refused.code == 5, refused.err
    assert "it cannot be asked" in refused.err
    assert api.get(APPLICATIONSET, "argocd", "shops")["spec"]["syncPolicy"]
    assert run(api, "undo", "--yes").code == 0
    assert "syncPolicy" not in api.get(APPLICATIONSET, "argocd", "shops")["spec"]


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
