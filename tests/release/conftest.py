"""Fixtures of the release lane."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.harness import Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Whole command lines on the in-memory API."""
    return Run(monkeypatch, tmp_path / "homes")
