"""Fixtures of the pure lane."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from .harness import Run


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
