"""The cases that tests/e2e/test_controllers.py runs on real controllers, on the simulation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.controllers import CASES, WITH_ENABLED, ask_for, close_windows, listed, pinned
from tests.e2e.scene import Scene, looked_again

from .bed import SimulatedBed

VERSIONS = ("2.14", "3.2", "3.6")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_simulation_does_so(version: str, case: Callable[[Scene], None]) -> None:
    if version != "2.14" or case not in WITH_ENABLED:
        case(Scene(SimulatedBed(version), "app"))


def test_the_first_round_after_a_write_does_not_know_of_it() -> None:
    """11 of 15 times on real controllers; here always, so that nobody relies on it."""
    scene = Scene(SimulatedBed("3.6"), "app")
    pinned(scene)
    close_windows(scene)
    ask_for(scene, "2.5.1")
    looked_again(scene.argocd, scene.root)
    assert listed(scene) == "OutOfSync", "as it was pinned"
    looked_again(scene.argocd, scene.root)
    assert listed(scene) == "Synced"
