"""Fixtures of the e2e lane: a scene of its own for each test, a journal without the tests before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.testbed.argocd import ArgoCD

from .scene import JOURNAL, Scene

_numbers = itertools.count(1)


@pytest.fixture
def scene(argocd: ArgoCD) -> Iterator[Scene]:
    """An app with its app-of-apps, not started yet."""
    made = Scene(argocd, f"app{next(_numbers)}")
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _fresh_journal(request: pytest.FixtureRequest) -> None:
    """Forget the entries of earlier tests on the same bed: a bare `undo` is about all that is open."""
    if "argocd" in request.fixturenames:
        argocd: ArgoCD = request.getfixturevalue("argocd")
        for obj in argocd.api.list("configmap", argocd.namespace, JOURNAL):
            argocd.api.delete("configmap", obj["metadata"]["name"], argocd.namespace)
