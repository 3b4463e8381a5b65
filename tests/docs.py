"""Writes what the program says of itself into the documents, and reads commands out of them.

python -m tests.docs    (or: make docs)
"""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from kubectl_argo_rescue.cli import root

CHECKOUT = Path(__file__).resolve().parents[1]
REFERENCE = CHECKOUT / "docs" / "cli-reference.md"
MAINTAINERS = CHECKOUT / "docs" / "maintainers.md"

_HEAD = """\
# Command reference

What `kubectl argo-rescue VERB --help` says; written by `make docs`, compared by a test.
kubectl's connection flags are the same for every verb and stand [at the end](#connection-flags).
"""


def documents() -> list[Path]:
    """Return every document of the project, README first."""
    top = [
        CHECKOUT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md")
    ]
    forge = sorted((CHECKOUT / ".github").glob("*.md"))
    return [*top, *sorted((CHECKOUT / "docs").rglob("*.md")), CHECKOUT / "krew" / "README.md", *forge]


def name(file: Path) -> str:
    """Name a document in the id of a test."""
    return str(file.relative_to(CHECKOUT))


# -- the reference


def help_of(*words: str) -> str:
    """Return the help of a verb, or of the whole plugin, as 100 columns show it."""
    runner = CliRunner()
    context = {"prog_name": root.PROG, "terminal_width": 100, "max_content_width": 100}
    done = runner.invoke(root.root, [*words, "--help"], **context)  # type: ignore[arg-type]
    if done.exit_code:
        raise RuntimeError(f"{' '.join(words)} --help ended with {done.exit_code}: {done.output}")
    return done.output.rstrip() + "\n"


def reference() -> str:
    """Return the whole reference."""
    parts = [_HEAD]
    connection = help_of().partition("\nConnection, as kubectl's:\n")[2]
    parts += [f"## {verb}\n\n```text\n{help_of(verb).rstrip()}\n```\n" for verb in root.VERBS]
    parts.append(f"## Connection flags\n\n```text\n{connection.rstrip()}\n```\n")
    return "\n".join(parts)


# -- the layout


def layout() -> str:
    """Return the rooms from top to bottom, each with its modules and what their docstrings say."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    lines: list[str] = []
    for room in config["importlinter:contract:layers"]["layers"].replace("|", " ").split():
        folder = CHECKOUT / "kubectl_argo_rescue" / room
        lines += [f"### {room}", "", _said(folder / "__init__.py"), "", "| module | for |", "|---|---|"]
        modules = {f.stem: f for f in folder.glob("*.py") if f.stem != "__init__"}
        modules |= {f.parent.name: f for f in folder.glob("*/__init__.py")}
        lines += [f"| `{name}` | {_purpose(f)} |" for name, f in sorted(modules.items())]
        lines.append("")
    return "\n".join(lines)


def _said(file: Path) -> str:
    return " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split())


def _purpose(file: Path) -> str:
    first = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0].replace("\n", " ")
    return first.removesuffix(" Pure.").removesuffix(".").replace("|", "\\|")


def with_layout(page: str) -> str:
    """Return a page with the table of modules between its two marks."""
    head, begin, rest = page.partition("<!-- layout, by make docs -->\n")
    _, end, tail = rest.partition("<!-- end -->\n")
    if not begin or not end:
        raise ValueError(f"{MAINTAINERS.name} has lost the marks of its layout")
    return f"{head}{begin}{layout()}{end}{tail}"


# -- commands in documents


@dataclass(frozen=True, slots=True)
class Command:
    """A command line in a document."""

    file: Path
    line: int
    text: str
    """As it stands there."""
    exits: int = 0
    """What its block says that it ends with."""
    before: str = ""
    """The comment above it."""
    shown: str | None = None
    """What a console block shows below it; None in other blocks, which show nothing."""

    @property
    def parts(self) -> list[list[str]]:
        """Its words, one list for each command that `|`, `&&` and the like join; no redirections."""
        parts: list[list[str]] = [[]]
        skips = False
        for word in shlex.split(self.text, comments=True):
            if word in ("|", "&&", ";"):
                parts.append([])
            elif word in (">", ">>", "<"):
                skips = True
            elif skips:
                skips = False
            else:
                parts[-1].append(word)
        return parts

    @property
    def words(self) -> tuple[str, ...]:
        """What follows `kubectl argo-rescue`; empty where it is another program."""
        first = self.parts[0]
        return tuple(first[2:]) if first[:2] == PLUGIN else ()

    def __str__(self) -> str:
        """Say where it is and what it says."""
        return f"{self.file.name}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block with commands, and the scene that they are run in."""

    file: Path
    line: int
    scene: str
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        """Say where it is."""
        return f"{self.file.name}:{self.line}"


PLUGIN = ["kubectl", "argo-rescue"]

_FENCE = re.compile(r"^\s*```(\w*)\s*$")
_DIRECTIVE = re.compile(r"^<!-- run:((?: \w+=[\w,-]+)+) -->$")


def blocks(file: Path) -> list[Block]:
    """Return the `console` and `sh` blocks of a document.

    A comment on the line before a block says what it is run in and how its commands end:
    `<!-- run: scene=rescued exits=0,5 -->`; without one the scene is `incident` and all end with 0.
    """
    found: list[Block] = []
    language, start, lines = "", 0, list[str]()
    options: dict[str, str] = {}
    for number, text in enumerate(file.read_text().splitlines(), 1):
        if directive := _DIRECTIVE.match(text):
            options = dict(option.split("=") for option in directive[1].split())
        elif (fence := _FENCE.match(text)) and not start:
            language, start, lines = fence[1], number, []
        elif fence:
            if language in ("console", "sh"):
                found.append(_block(file, start, language, lines, options))
            start, options = 0, {}
        elif start:
            lines.append(text.strip() if language == "sh" else text)
    return found


def _block(file: Path, start: int, language: str, lines: list[str], options: dict[str, str]) -> Block:
    if not set(options) <= {"scene", "exits"}:
        raise ValueError(f"{file.name}:{start}: run: takes scene and exits, not {', '.join(options)}")
    found: list[tuple[int, str, str, str | None]] = []
    comment = ""
    for number, text in enumerate(lines, start + 1):
        if language == "sh" and text.startswith("#"):
            comment = text
        elif language == "sh" and text:
            found.append((number, text, comment, None))
            comment = ""
        elif language == "console" and text.startswith("$ "):
            found.append((number, text[2:], "", ""))
        elif language == "console" and found:
            found[-1] = (*found[-1][:3], f"{found[-1][3]}{text}\n")
    exits = [int(code) for code in options.get("exits", "").split(",") if code] or [0] * len(found)
    if len(exits) != len(found):
        raise ValueError(f"{file.name}:{start}: {len(found)} commands, {len(exits)} exits")
    commands = (
        Command(file, line, text, code, before, shown)
        for (line, text, before, shown), code in zip(found, exits, strict=True)
    )
    return Block(file, start, options.get("scene", "incident"), tuple(commands))


def examples() -> Iterator[Command]:
    """Yield the examples of the plugin's --help and of every verb's."""
    for verb in ("", *root.VERBS):
        for number, line in enumerate(help_of(*verb.split()).splitlines(), 1):
            if re.match(r" +kubectl argo-rescue ", line):
                yield Command(Path(verb or "kubectl argo-rescue"), number, line.strip())


# -- what a document shows, and what is really printed

PLACEHOLDERS = {
    "target": r"context \S+ \(https://\S+\) as [\w.-]+",
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?",
    "commit": r"\b[0-9a-f]{40}\b",
    "entry": r"\b(?=\d*[a-f])[0-9a-f]{6}\b|(?<=undo )[0-9a-f]{6}\b|(?<=show )[0-9a-f]{6}\b|(?<=report )[0-9a-f]{6}\b",
    "address": r"https?://[^\s,;)]+",
    "age": r"(?<![\w\"-])(?<!\* for )\d+[smhd](?:\d+[smh])?(?![\w-])",
}
"""What differs from run to run, by name; all else in a document must be what is printed."""


def normal(text: str) -> str:
    """Return a screen with a name in place of what differs from run to run, and single spaces."""
    for name, pattern in PLACEHOLDERS.items():
        text = re.sub(pattern, f"<{name}>", text)
    text = re.sub(r" \(AR\d{4}\)$", "", text, flags=re.MULTILINE)  # test_codes.py looks at them
    lines = (re.sub(r"(?<=\S)  +", " ", line).rstrip() for line in text.splitlines())
    return "\n".join(lines).strip("\n")


def parse(words: tuple[str, ...]) -> str:
    """Return why click would not take these words, empty where it would; nothing is run."""
    try:
        with root.root.make_context(root.PROG, list(words)) as context:
            first = "protected_args" if "protected_args" in vars(context) else "_protected_args"  # click 8.1
            rest = [*vars(context)[first], *context.args]
            _, verb, arguments = root.root.resolve_command(context, rest)
            if verb is None:
                return "no verb"
            with verb.make_context(verb.name, list(arguments), parent=context):
                return ""
    except click.exceptions.Exit:
        return ""  # --help
    except click.ClickException as error:
        return error.format_message()


def documented_roles() -> str:
    """Return the ClusterRole and the Role that docs/rbac.md shows, as YAML."""
    return _rules(0)


def documented_freeze_role() -> str:
    """Return the ClusterRole of the further rights to freeze that docs/rbac.md shows, as YAML."""
    return _rules(1)


def _rules(number: int) -> str:
    page = (CHECKOUT / "docs" / "rbac.md").read_text()
    return page.split("```yaml\n")[1 + number].partition("```")[0]


def main() -> int:
    """Write the reference and the layout."""
    REFERENCE.write_text(reference())
    MAINTAINERS.write_text(with_layout(MAINTAINERS.read_text()))
    for file in (REFERENCE, MAINTAINERS):
        print(name(file), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
