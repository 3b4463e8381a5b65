"""Notes of a release: the section of its tag, no other; none is an error; the workflow uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from krew import release_notes
from krew.build import CHECKOUT

TEXT = """\
# Changelog

## [Unreleased]

- later

## [0.2.0] - 2026-12-01

### Added

- two

## [0.2.0-rc.1] - 2026-11-30

- candidate

## [0.1.0] - 2026-11-24

- one
"""


@pytest.mark.parametrize(
    ("tag", "notes"),
    [
        ("v0.2.0", "### Added\n\n- two"),
        ("0.2.0", "### Added\n\n- two"),
        ("v0.2.0-rc.1", "- candidate"),
        ("v0.1.0", "- one"),
        ("v0.2", ""),
        ("v0.3.0", ""),
    ],
)
def test_the_section_of_a_tag(tag: str, notes: str) -> None:
    assert release_notes.section(TEXT, tag) == notes


def test_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(TEXT)
    monkeypatch.setattr(release_notes, "CHANGELOG", changelog)
    assert release_notes.main(["v0.1.0"]) == 0
    assert capsys.readouterr().out == "- one\n"
    assert release_notes.main(["v9"]) == 1
    assert "nothing under ## [9]" in capsys.readouterr().err
    assert release_notes.main([]) == 2


def test_what_is_not_released_is_in_the_real_one() -> None:
    assert release_notes.section(release_notes.CHANGELOG.read_text(encoding="utf-8"), "Unreleased")


def test_the_workflow_publishes_them() -> None:
    workflow = (CHECKOUT / ".github" / "workflows" / "release.yml").read_text()
    assert 'python3 krew/release_notes.py "$GITHUB_REF_NAME" > notes.md' in workflow
    assert "--notes-file notes.md" in workflow
