"""The fault lane: how much it tries, and what it says at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ..unit.harness import Run

TRIED: dict[str, int] = {}
"""Fault points tried, by scenario."""

LOST: list[str] = []
"""States that were lost, by name of the point."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run whole command lines against an in-memory API."""
    return Run(monkeypatch, tmp_path / "homes")


@pytest.fixture(scope="session")
def sample(is_full_size: bool) -> int:
    """How many points of each scenario are tried; 0 is all of them."""
    wanted = os.environ.get("ARGO_RESCUE_FAULT_SAMPLE", "all" if is_full_size else "12")
    return 0 if wanted == "all" else int(wanted)


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["fault points"] = (TRIED, LOST)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    tried, lost = getattr(node, "workeroutput", {}).get("fault points", ({}, []))
    TRIED.update(tried)
    LOST.extend(lost)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        terminalreporter.write_line(f"fault points: {sum(TRIED.values())} tried, {len(LOST)} lost")
