"""The documents say what is true of the program.

- every command line that they show is one that the program takes;
- README names every verb, and its exit codes are those of `errors.ExitStatus`;
- the reference is what `--help` says now;
- links inside the repository, and to headings, lead somewhere;
- each line of the threat model names a test that exists, or says that there is none;
- nothing names a place of one machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kubectl_argo_rescue import cli
from kubectl_argo_rescue.errors import ExitStatus
from kubectl_argo_rescue.model import Result
from kubectl_argo_rescue.output import envelope
from tests import docs

README = docs.CHECKOUT / "README.md"
DOCUMENTS = docs.documents()
COMMANDS = [command for file in DOCUMENTS for command in docs.commands(file)]


def _text(file: Path) -> str:
    return file.read_text()


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_in_a_document_is_one_that_the_program_takes(command: docs.Command) -> None:
    assert docs.parse(command.words) == ""


def test_the_check_of_commands_sees_mistakes() -> None:
    assert "paus" in docs.parse(("paus", "root"))
    assert "--yess" in docs.parse(("pause", "root", "--yess"))
    assert docs.parse(("pin", "traefik")) != ""
    assert docs.parse(("--context", "prod", "undo", "--on-conflict=skip")) == ""
    assert len(COMMANDS) > 30
    assert any(command.file == README for command in COMMANDS)


def test_readme_names_every_verb_with_its_purpose() -> None:
    rows = dict(re.findall(r"^\| `(\w+)[^`]*` \| (.+) \|$", _text(README), re.MULTILINE))
    assert set(rows) >= set(cli.VERBS)
    assert all(rows[verb].strip() for verb in cli.VERBS)


def test_the_exit_codes_are_those_of_the_program() -> None:
    section = _text(README).partition("## Exit codes")[2].partition("\n## ")[0]
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert codes == [int(status) for status in ExitStatus]


def test_the_envelope_in_readme_has_the_keys_of_the_program() -> None:
    section = _text(README).partition("## Output")[2].partition("\n## ")[0]
    shown = json.loads(section.partition("```json\n")[2].partition("```")[0])
    assert list(shown) == list(envelope(Result("pause")))


def test_the_reference_is_current() -> None:
    assert _text(docs.REFERENCE) == docs.reference(), "run: make docs"


def test_the_dependencies_have_their_reason() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(docs.CHECKOUT / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    names = {re.split(r"[^\w-]", line)[0] for text in lists for line in text.split("\n") if line}
    notes = _text(docs.CHECKOUT / "docs" / "design-notes.md")
    assert not [name for name in sorted(names) if f"**{name}**" not in notes]


# -- links


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.replace(" ", "-")


def _anchors(file: Path) -> set[str]:
    return {_slug(title) for title in re.findall(r"^#+ (.+)$", _text(file), re.MULTILINE)}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_inside_the_repository_lead_somewhere(file: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", _text(file), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_reached_from_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", _text(README)))
    pages = {f"docs/{page.name}" for page in (docs.CHECKOUT / "docs").glob("*.md")}
    assert pages <= linked


# -- what is claimed


def test_the_threat_model_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| \d+ \|.*\| (.+) \|$", _text(docs.CHECKOUT / "docs" / "security.md"), re.MULTILINE)
    assert rows
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named or "not yet tested" in row, row
        for path, test in named:
            file = docs.CHECKOUT / path
            assert file.exists(), path
            assert not test or f"def {test}(" in file.read_text(), f"{path}::{test}"


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_no_place_of_one_machine_is_named(file: Path) -> None:
    found = re.findall(r"/tmp/\S+|/home/\w+\S*", _text(file))
    assert not found
