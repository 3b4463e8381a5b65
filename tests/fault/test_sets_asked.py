"""Death between any two writes of an undo that asks an ApplicationSet what it would delete.

Wherever it dies, for an hour to come: nothing is deleted and no version is written. The next undo, also
a colleague's, refuses for the same reason; with the generator mended it gives the set back as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_argo_rescue.cluster.probe import PROBE
from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, NAMESPACE

from ..unit.harness import Run
from ..unit.scenes import Scene, played
from .conftest import LOST, TRIED
from .test_fault_points import Faults, Killed

UNDO = ("undo", "--yes")


def give(scene: Scene, *names: str) -> None:
    def write(live: Any) -> None:
        live["spec"]["generators"][0]["list"]["elements"] = [{"name": name} for name in names]

    scene.incident.api.edit(APPLICATIONSET, "argocd", "shops", write)


def paused(run: Run) -> tuple[Scene, Path, Any]:
    """A set that was paused, whose generator and template have moved since, and what it was."""
    scene = played("set", run)
    api = scene.incident.api
    assert run(api, "pause", "appset/shops").code == 0
    give(scene, "shop-test")
    cluster = str(api.get(NAMESPACE, "", "kube-system")["metadata"]["uid"])
    return scene, run.state_home() / "kubectl-argo-rescue" / cluster, versions(scene)


def versions(scene: Scene) -> dict[str, Any]:
    return {
        a["metadata"]["name"]: a["spec"]["source"] for a in scene.incident.api.objects(APPLICATION, "argocd")
    }


def check(run: Run, scene: Scene, before: dict[str, Any], laptop: str) -> None:
    api = scene.incident.api
    scene.incident.argocd.run(3600, every=30)
    assert versions(scene) == before, "something was deleted or written"
    refused = run(api, *UNDO, laptop=laptop)
    assert refused.code == 5, refused.err
    assert "does not give shop-prod any more" in refused.err
    give(scene, "shop-test", "shop-prod")
    undone = run(api, *UNDO, laptop=laptop)
    assert undone.code == 0, undone.err
    live = api.get(APPLICATIONSET, "argocd", "shops")["spec"]
    assert not {"syncPolicy", "ignoreApplicationDifferences"} & set(live), live
    scene.incident.argocd.run(60)
    assert versions(scene) == before
    assert not [
        a for a in api.objects(APPLICATION, "argocd") if PROBE in (a["metadata"].get("annotations") or {})
    ]
    assert run(api, "log", "--open", "-o", "name", laptop=laptop).out == ""


def test_death_while_a_set_is_asked(
    run: Run, sample: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run.homes = tmp_path / "alive"
    scene, folder, before = paused(run)
    faults = Faults(folder)
    with faults.installed(scene.incident, monkeypatch):
        assert run(scene.incident.api, *UNDO).code == 5
    check(run, scene, before, "laptop")
    writes = [i for i, point in enumerate(faults.names) if " PATCH " in point or " POST " in point]
    lost = []
    for die_at in writes[:: max(1, len(writes) // sample)] if sample else writes:
        where = f"it dies at {die_at} ({faults.names[die_at]})"
        run.homes = tmp_path / f"homes-{die_at}"
        scene, folder, before = paused(run)
        with Faults(folder, die_at).installed(scene.incident, monkeypatch), pytest.raises(Killed):
            run(scene.incident.api, *UNDO)
        TRIED["sets asked"] = TRIED.get("sets asked", 0) + 1
        try:
            check(run, scene, before, "laptop" if die_at % 2 else "another")
        except AssertionError as error:
            LOST.append(where)
            lost.append(f"{where}: {error}")
    assert not lost, "\n".join(lost)
