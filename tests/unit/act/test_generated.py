"""Edits of Applications that an ApplicationSet generates: they stay, or the command says that they do not.

Covered: each verb that edits one, with a set that heeds its rule and one that does not (as of a faulty version);
a pause of many holds one of each set, not each of them.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.model.values import APPLICATION

from ..harness import Run
from ..scenes import Scene, played


@pytest.fixture
def scene(run: Run) -> Scene:
    """A set of two shops; the controllers act while something waits."""
    made = played("set", run)
    made.incident.api.idle = lambda: made.incident.argocd.tick(0.5)
    return made


VERBS = [
    ("pin", "shop-prod", "1.4.2"),
    ("pause", "shop-prod"),
    ("rescue", "shop-prod", "1.4.2", "--no-wait"),
    ("rescue", "shop-prod", "--pause-only"),
    ("rollback", "shop-prod", "--to", "0"),
]


@pytest.mark.parametrize("words", VERBS, ids=lambda w: " ".join(w[:1]))
@pytest.mark.parametrize("heeds", [True, False])
def test_what_a_set_reverts_is_no_success(
    run: Run, scene: Scene, words: tuple[str, ...], heeds: bool
) -> None:
    scene.incident.argocd.application_sets.heeds_rules = heeds
    before = scene.incident.api.get(APPLICATION, "argocd", "shop-prod")["spec"]
    ran = run(scene.incident.api, *words, "--yes")
    scene.incident.argocd.run(10)
    now = scene.incident.api.get(APPLICATION, "argocd", "shop-prod")["spec"]
    assert ran.code == (0 if heeds else 3), ran
    assert (now == before) is not heeds
    assert ("an ApplicationSet keeps taking it back" in ran.err) is not heeds


def test_a_pause_of_a_whole_set_holds_one(run: Run, scene: Scene) -> None:
    began = scene.incident.clock()
    assert run(scene.incident.api, "pause", "shop-prod", "shop-test", "--yes").code == 0
    assert (scene.incident.clock() - began).total_seconds() < 6
