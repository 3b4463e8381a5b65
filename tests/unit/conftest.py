"""Fixtures of the pure lane."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run whole command lines against an in-memory API: `run(api, "pause", "root")`."""
    return Run(monkeypatch, tmp_path / "homes")
