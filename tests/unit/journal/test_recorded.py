"""Entries of the version before: shown and undone by this one as that one did.

recorded.json holds what commands of the version before left in a cluster and on a machine, and what its
own `log`, `show` and `undo` made of that. Where this version means to do something else, its line says
so; before the form of entries changes, it is recorded anew, by the code as it is before the change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ..harness import Run
from .recording import TOLD, record, then

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


@pytest.mark.parametrize("name", TOLD)
def test_an_entry_of_the_version_before(run: Run, name: str) -> None:
    assert then(name, RECORDED[name], run) == RECORDED[name]["then"]


def test_what_is_recorded_now_says_and_comes_to_the_same(run: Run) -> None:
    """So that the recorder works on the day when it is needed again."""
    assert _without_ids(record("cut off", run)) == _without_ids(RECORDED["cut off"])


def _without_ids(recording: Any) -> Any:
    return {**recording["then"], "entries": list(recording["then"]["entries"].values())}
