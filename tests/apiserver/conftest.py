"""The lane on a real API server: what the fault proxy's matrix tried, said at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Figures:
    """What was tried, over all verbs."""

    points: int = 0
    tried: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, points: int, tried: int, wrong: Sequence[str]) -> None:
        """Add what one verb came to."""
        self.points += points
        self.tried += tried
        self.wrong += wrong

    def __str__(self) -> str:
        lost, doubled = (sum(word in text for text in self.wrong) for word in ("LOST", "DOUBLED"))
        return (
            f"fault proxy: {self.tried} of {self.points} faults at requests tried, "
            f"{len(self.wrong)} went wrong, {lost} lost, {doubled} doubled"
        )


FIGURES = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where the matrix says what it tried."""
    return FIGURES


@pytest.fixture(scope="session")
def sample(is_full_size: bool) -> int:
    """How many faults of each verb are tried; 0 is all of them."""
    wanted = os.environ.get("ARGO_RESCUE_FAULT_SAMPLE", "all" if is_full_size else "4")
    return 0 if wanted == "all" else int(wanted)


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["figures"] = (FIGURES.points, FIGURES.tried, FIGURES.wrong)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    FIGURES.note(*getattr(node, "workeroutput", {}).get("figures", (0, 0, ())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES.tried:
        terminalreporter.write_line(str(FIGURES))
