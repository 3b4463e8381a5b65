"""Fixtures of the pure lane."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_argo_rescue.simulation.incident import Incident

from .harness import Run
from .played import traefik_incident


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No test of this lane cuts the power: what is written waits for no disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: None)
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run whole command lines against an in-memory API: `run(api, "pause", "root")`."""
    return Run(monkeypatch, tmp_path / "homes")


@pytest.fixture
def incident() -> Incident:
    """The incident in memory, in which time passes and Argo CD acts while a watch waits."""
    made = traefik_incident()
    made.api.idle = lambda: made.argocd.tick(0.5)
    return made
