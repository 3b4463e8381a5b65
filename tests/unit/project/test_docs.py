"""The documents say what is true of the program.

- every command line that they show is run: the plugin's by test_docs_run.py, others by a test that is
  named here, or there is a reason why not;
- README names every verb, and its exit codes are those of `errors.ExitStatus`;
- the reference is what `--help` says now;
- links inside the repository, and to headings, lead somewhere; others are https, to hosts on a list;
- a decision has its three parts and is in the index;
- each line of the threat model names a test that exists, or says that there is none;
- nothing names a place of one machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kubectl_argo_rescue import __version__
from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.model.errors import ExitStatus
from kubectl_argo_rescue.model.values import Result
from kubectl_argo_rescue.show.steps import envelope
from tests import docs
from tests.testbed import programs

README = docs.CHECKOUT / "README.md"
DOCUMENTS = docs.documents()
COMMANDS = [c for file in DOCUMENTS for block in docs.blocks(file) for c in block.commands]
BINDS = "tests/apiserver/test_documented_rights.py::test_the_documented_bindings_give_the_rights"


def _text(file: Path) -> str:
    return file.read_text()


def test_there_are_commands_to_check() -> None:
    """What a block of a document is run in is said beside it; test_docs_run.py runs it."""
    assert len([command for command in COMMANDS if command.words]) > 30
    assert any(command.file == README for command in COMMANDS)


_INSTALLS = "tests/e2e/test_krew.py::test_installed_from_the_archive_and_used"
_INDEX = "tests/e2e/test_krew.py::test_a_custom_index_installs_upgrades_and_uninstalls"


def test_help_lists_each_verb_once() -> None:
    assert sorted(name for names in root.GROUPS.values() for name in names) == sorted(root.VERBS)


_CLEAN = "tests/release/test_clean_machine.py::"
_BY_HAND = f"{_CLEAN}test_by_hand_with_checksum_and_signature"
_FROM_A_CLONE = f"{_CLEAN}test_from_a_clone_without_pipx"

RUN_BY: dict[str, str] = {
    "openssl dgst -sha256 -verify ": _BY_HAND,
    "sha256sum --check ": _BY_HAND,
    "mkdir -p ~/.local/bin ~/.local/share/argo-rescue && tar ": _BY_HAND,
    "ln -s ~/.local/share/argo-rescue/": _BY_HAND,
    "python3 -m venv ": _FROM_A_CLONE,
    "~/.local/share/argo-rescue/bin/pip install .": _FROM_A_CLONE,
    "mkdir -p ~/.local/bin && ln -s ": _FROM_A_CLONE,
    "pipx install .": "tests/apiserver/test_pipx.py::test_pipx_installs_it_and_kubectl_finds_it",
    "kubectl krew install --manifest=": _INSTALLS,
    "kubectl krew index add rescue ": _INDEX,
    "kubectl krew install rescue/argo-rescue": _INDEX,
    "kubectl create clusterrolebinding ": BINDS,
    "kubectl -n argocd create rolebinding ": BINDS,
}
"""The beginning of a command of another program, and the test that runs it."""

NOT_RUN: dict[str, str] = {
    "python3 krew/release_notes.py v0.1.0": "names a section that the changelog gets with the release;"
    " tests/unit/project/test_release_notes.py runs it on another",
}
"""The beginning of a command that no test runs, and why not."""


def test_every_command_of_another_program_is_run_or_has_a_reason() -> None:
    others = [command for command in COMMANDS if not command.words]
    known = {**RUN_BY, **NOT_RUN}
    targets = re.findall(r"^([a-z][a-z0-9-]*):", _text(docs.CHECKOUT / "Makefile"), re.MULTILINE)
    unknown = []
    for command in others:
        if command.parts[0][0] == "make":
            unknown += [
                str(command) for word in command.parts[0][1:] if "=" not in word and word not in targets
            ]
        elif not command.text.startswith(tuple(known)):
            unknown.append(str(command))
    assert not unknown
    stale = [start for start in known if not any(c.text.startswith(start) for c in others)]
    assert not stale
    for path, _, name in (where.partition("::") for where in RUN_BY.values()):
        assert f"def {name}(" in (docs.CHECKOUT / path).read_text(), f"{path}::{name}"
    assert all(NOT_RUN.values())


def _inline(file: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", _prose(file))


@pytest.mark.parametrize("file", DOCUMENTS, ids=docs.name)
def test_commands_in_sentences_are_known(file: Path) -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", _text(docs.CHECKOUT / "Makefile"), re.MULTILINE)
    wrong = []
    for text in _inline(file):
        words = text.split()
        if words[0] == "make":
            wrong += (
                [text] if not {w for w in words[1:] if not re.search("[=A-Z]", w)} <= set(targets) else []
            )
        elif words[:2] == docs.PLUGIN and words[2:] and "VERB" not in words and "…" not in text:
            wrong += [f"{text}: {docs.parse(tuple(words[2:]))}"] if docs.parse(tuple(words[2:])) else []
        elif re.fullmatch(r"(?:tests|docs|krew|kubectl_argo_rescue|commands)/[a-z_\d./-]+", text):
            roots = (docs.CHECKOUT, docs.CHECKOUT / "kubectl_argo_rescue")
            wrong += [text] if not any((root / text).exists() for root in roots) else []
    assert not wrong


def test_flags_in_sentences_are_flags_of_a_verb() -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", docs.reference()))
    others = {"--policy", "--older"}  # Argo CD's own
    found = {
        flag
        for file in DOCUMENTS
        for text in _inline(file)
        for flag in re.findall(r"(?<!\w)--[a-z][a-z-]+", text)
        if text.startswith("--")
    }
    assert not found - known - others


def test_messages_that_troubleshooting_quotes_are_messages_of_the_program() -> None:
    page = _text(docs.CHECKOUT / "docs" / "troubleshooting.md")
    quoted = re.findall(r'^## "(.+?)(?: …)?"$', page, re.MULTILINE)
    source = "\n".join(file.read_text() for file in (docs.CHECKOUT / "kubectl_argo_rescue").rglob("*.py"))
    assert len(quoted) > 1
    assert not [text for text in quoted if text not in source]


def test_readme_names_every_verb_with_its_purpose() -> None:
    rows = dict(re.findall(r"^\| `(\w+)[^`]*` \| (.+) \|$", _text(README), re.MULTILINE))
    assert set(rows) == set(root.VERBS)
    assert all(rows[verb].strip() for verb in root.VERBS)


def test_the_exit_codes_are_those_of_the_program() -> None:
    section = _text(README).partition("## Exit codes")[2].partition("\n## ")[0]
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert codes == [int(status) for status in ExitStatus]


def test_the_versions_in_readme_are_those_that_are_tested() -> None:
    of = {
        runs: [r.version for r in programs.RELEASES.values() if r.runs == runs]
        for runs in ("all", "core", "")
    }
    run, core = " and ".join(of["all"]), " and ".join(of["core"])
    assert f"Run on Argo CD {run}, in its core on {core}, on Linux." in _text(README)
    validated = f"{', '.join(of[''][:-1])} and {of[''][-1]}"
    assert f"validated against the CRDs of {validated}, which were not run." in _text(README)
    named = re.findall(r"kubectl-argo_rescue_([\d.]+)_linux", "".join(map(_text, DOCUMENTS)))
    assert set(named) == {__version__}


def test_the_envelope_in_readme_has_the_keys_of_the_program() -> None:
    section = _text(README).partition("## Output")[2].partition("\n## ")[0]
    shown = json.loads(section.partition("```json\n")[2].partition("```")[0])
    assert list(shown) == list(envelope(Result("pause")))


def test_the_reference_is_current() -> None:
    assert _text(docs.REFERENCE) == docs.reference(), "run: make docs"


def test_the_layout_is_current() -> None:
    page = _text(docs.MAINTAINERS)
    assert page == docs.with_layout(page), "run: make docs"


def test_the_dependencies_have_their_reason() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(docs.CHECKOUT / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    names = {re.split(r"[^\w-]", line)[0] for text in lists for line in text.split("\n") if line}
    notes = _text(docs.CHECKOUT / "docs" / "design-notes.md")
    assert not [name for name in sorted(names) if f"**{name}**" not in notes]


# -- links

HOSTS = {
    "keepachangelog.com",
    "krew.sigs.k8s.io",
    "semver.org",
}
"""Where documents may send people; no test goes there."""


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.replace(" ", "-")


def _prose(file: Path) -> str:
    return re.sub(r"^```.*?^```", "", _text(file), flags=re.MULTILINE | re.DOTALL)


def _anchors(file: Path) -> set[str]:
    return {_slug(title) for title in re.findall(r"^#+ (.+)$", _prose(file), re.MULTILINE)}


def _links(file: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", _prose(file))


def broken(file: Path, links: list[str]) -> list[str]:
    """Return the links that lead nowhere, or where no document should send people."""
    found = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            url = urlsplit(link)
            if url.scheme != "https" or url.hostname not in HOSTS or url.username or url.port:
                found.append(link)
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("file", DOCUMENTS, ids=docs.name)
def test_links_lead_somewhere(file: Path) -> None:
    assert broken(file, _links(file)) == []


def test_the_check_of_links_sees_mistakes() -> None:
    good = ["docs/rbac.md#with-less", "#verbs", "LICENSE", "https://krew.sigs.k8s.io/docs"]
    bad = ["docs/no.md", "#no", "docs/rbac.md#no", "http://semver.org", "https://example.com", "mailto:a@b.c"]
    assert broken(README, good + bad) == bad
    found = {urlsplit(link).hostname for file in DOCUMENTS for link in _links(file)}
    assert found >= HOSTS, "a host that nobody links to any more"


def test_every_page_is_reached_from_readme() -> None:
    reached: set[Path] = set()
    found = [README]
    while found:
        file = found.pop()
        if file in reached or file.suffix != ".md":
            continue
        reached.add(file)
        found += [
            (file.parent / link.partition("#")[0]).resolve() for link in _links(file) if "://" not in link
        ]
    assert not [str(file) for file in DOCUMENTS if file not in reached and ".github" not in file.parts]


def test_pictures_are_shown_and_load_nothing() -> None:
    shown = set(re.findall(r"!\[.+\]\((\S+)\)", _text(README)))
    pictures = sorted((docs.CHECKOUT / "docs" / "captures").glob("*.svg"))
    assert shown >= {f"docs/captures/{picture.name}" for picture in pictures}
    assert pictures
    post_mortem = _text(docs.CHECKOUT / "docs" / "forgotten-rescues.md")
    assert "](captures/report.png)" in post_mortem and (docs.CHECKOUT / "docs/captures/report.png").is_file()
    for picture in pictures:
        text = picture.read_text()
        assert not re.findall(r"href|@import|@font-face|<script", text)
        assert "127.0.0.1" not in text


# -- decisions

DECISIONS = sorted((docs.CHECKOUT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("file", DECISIONS, ids=docs.name)
def test_a_decision_is_short_and_has_its_parts(file: Path) -> None:
    text = _text(file)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 25
    number = int(file.name[:4])
    assert text.startswith(f"# {number}. ")
    title = text.splitlines()[0].partition(". ")[2]
    row = f"| {number} | [{title}](decisions/{file.name}) |"
    assert row in _text(docs.CHECKOUT / "docs" / "design-notes.md")


def test_decisions_are_numbered() -> None:
    assert [int(file.name[:4]) for file in DECISIONS] == list(range(1, len(DECISIONS) + 1))


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


@pytest.mark.parametrize("file", DOCUMENTS, ids=docs.name)
def test_no_place_of_one_machine_is_named(file: Path) -> None:
    found = re.findall(r"/tmp/\S+|/home/\w+\S*", _text(file))
    assert not found
