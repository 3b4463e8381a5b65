"""The drill's wipe-out on real controllers that end with their pods, and look at git every ten minutes.

- its solution passes: nothing that Argo CD would have pruned is ever deleted;
- done without a freeze, the fleet is gone once Argo CD looks, and the drill says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testbed.argocd import ArgoCD, running
from tests.testbed.obedience import obeying
from tests.testbed.plugin import Plugin

from .test_drill import solve, staged


@pytest.fixture(scope="module")
def argocd(argo_version: str) -> Iterator[ArgoCD]:
    with running(argo_version, app_resync=600) as argocd, obeying(argocd):
        yield argocd


def test_the_solution_passes(argocd: ArgoCD, plugin: Plugin) -> None:
    with staged(argocd, plugin, "wipe-out") as stage:
        solve(stage)


def test_who_only_looks_loses_it(argocd: ArgoCD, plugin: Plugin) -> None:
    with staged(argocd, plugin, "wipe-out") as stage:
        stage.type("status")
        argocd.follow_git(stage.names.root)
        argocd.until(lambda: stage.was_deleted, 60, "its workload is deleted")
        stage.type("git fix")
        argocd.follow_git(stage.names.root)
        argocd.until(
            lambda: argocd.api.find("application", stage.names.app, argocd.namespace), 60, "it is back"
        )
        assert [why for text, why in stage.judge().items() if "was never deleted" in text and why]
