"""What each verb loads: no module comes along that nobody wanted.

Covered: the modules of the package, before the first request and after it, are those that
modules.txt lists; a verb loads nothing of the standard library that is dear to load.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import loading


def test_each_verb_loads_what_is_listed_for_it(tmp_path: Path) -> None:
    assert loading.text(loading.loaded(tmp_path)) == loading.FILE.read_text(), (
        "wanted? python -m tests.unit.project.loading"
    )


DEAR = {
    "asyncio", "dataclasses", "difflib", "email", "hashlib", "hmac", "http.client", "kubernetes", "queue",
    "random", "rich", "secrets", "shutil", "ssl", "tempfile", "yaml", "zoneinfo",
}  # fmt: skip


@pytest.mark.parametrize("verb", ["pause", "pin"])
def test_what_is_dear_is_loaded_by_no_verb_that_does_without(verb: str) -> None:
    command = ["pause", "root"] if verb == "pause" else ["pin", "traefik", "2.4.1"]
    assert not loading.before_the_first_request(command) & DEAR
