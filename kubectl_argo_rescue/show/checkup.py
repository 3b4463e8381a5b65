"""What `doctor` found, as lines for people and values for tools. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from ..model.text import one_line
from ..model.values import JSON


class Finding(Enum):
    """How one thing that a rescue needs is."""

    FINE = "fine"
    WARNING = "warning"
    """A rescue works; something of it is missing."""
    BROKEN = "broken"
    """No rescue works until this is put right."""


class Check(Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    finding: Finding
    text: str
    fix: str = ""
    """What to do about it; empty where there is nothing to do."""


_MARKS: Final[Mapping[Finding, tuple[str, str]]] = {
    Finding.FINE: ("✓", "green"),
    Finding.WARNING: ("!", "yellow"),
    Finding.BROKEN: ("✗", "red"),
}


def is_able(checks: Sequence[Check]) -> bool:
    """Whether a rescue would work."""
    return all(check.finding is not Finding.BROKEN for check in checks)


def verdict(checks: Sequence[Check]) -> tuple[str, str]:
    """Say in one line what it comes to, and its colour."""
    broken = sum(check.finding is Finding.BROKEN for check in checks)
    warnings = sum(check.finding is Finding.WARNING for check in checks)
    if broken:
        return (
            f"A rescue would not work from here: put right what is marked {_MARKS[Finding.BROKEN][0]}.",
            "red",
        )
    if warnings:
        return "A rescue would work from here, with less than it could have: see what is marked !.", "yellow"
    return "A rescue would work from here.", "green"


def lines(checks: Sequence[Check], width: int) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield a line of (text, colour) for each check, broken at the width, and below it what to do."""
    room = max(len(check.name) for check in checks) + 2
    for check in checks:
        mark, colour = _MARKS[check.finding]
        lead = f"{mark} {check.name.ljust(room)}"
        for i, text in enumerate(_broken(check.text, width - len(lead))):
            yield ((lead if i == 0 else " " * len(lead), colour), (text, ""))
        if check.fix and check.finding is not Finding.FINE:
            for i, text in enumerate(_broken(check.fix, width - len(lead) - 5)):
                yield ((" " * len(lead) + ("fix: " if i == 0 else "     "), "dim"), (text, "cyan"))


def _broken(text: str, width: int) -> list[str]:
    plain = one_line(text)
    return textwrap.wrap(plain, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]


def checks_json(checks: Sequence[Check], missing: Mapping[str, Sequence[str]]) -> dict[str, JSON]:
    """Return the same for tools; `missing` is what a verb may not do, by verb."""
    return {
        "canRescue": is_able(checks),
        "checks": [
            {"name": c.name, "finding": c.finding.value, "text": c.text, "fix": c.fix} for c in checks
        ],
        "missingRights": {verb: list(rights) for verb, rights in missing.items()},
    }
