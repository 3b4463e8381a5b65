"""Writes docs/cli-reference.md from the verbs' own help, and reads commands out of the documents.

python -m tests.docs    (or: make docs)
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from kubectl_argo_rescue import cli

CHECKOUT = Path(__file__).resolve().parents[1]
REFERENCE = CHECKOUT / "docs" / "cli-reference.md"

_HEAD = """\
# Command reference

What `kubectl argo-rescue VERB --help` says; written by `make docs`, compared by a test.
kubectl's connection flags are the same for every verb and stand [at the end](#connection-flags).
"""


def documents() -> list[Path]:
    """Return every document of the project, README first."""
    top = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "krew" / "README.md"]


# -- the reference


def help_of(*words: str) -> str:
    """Return the help of a verb, or of the whole plugin, as 100 columns show it."""
    runner = CliRunner()
    context = {"prog_name": cli.PROG, "terminal_width": 100, "max_content_width": 100}
    done = runner.invoke(cli.root, [*words, "--help"], **context)  # type: ignore[arg-type]
    if done.exit_code:
        raise RuntimeError(f"{' '.join(words)} --help ended with {done.exit_code}: {done.output}")
    return done.output.rstrip() + "\n"


def reference() -> str:
    """Return the whole reference."""
    parts = [_HEAD]
    connection = ""
    for verb in cli.VERBS:
        text, _, connection = help_of(verb).partition("\nConnection, as kubectl's:\n")
        parts.append(f"## {verb}\n\n```text\n{text.rstrip()}\n```\n")
    parts.append(f"## Connection flags\n\n```text\n{connection.rstrip()}\n```\n")
    return "\n".join(parts)


# -- commands in documents


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of the plugin in a document."""

    file: Path
    line: int
    words: tuple[str, ...]
    """What follows `kubectl argo-rescue`."""

    def __str__(self) -> str:
        """Say where it is and what it says."""
        return f"{self.file.name}:{self.line}: {shlex.join(self.words)}"


_FENCE = re.compile(r"^\s*```(\w*)\s*$")


def commands(file: Path) -> Iterator[Command]:
    """Yield the commands of the plugin in the fenced `console` and `sh` blocks of a document."""
    language = ""
    is_open = False
    for number, text in enumerate(file.read_text().splitlines(), 1):
        if fence := _FENCE.match(text):
            is_open, language = not is_open, fence[1]
            continue
        if not is_open or language not in ("console", "sh"):
            continue
        line = text.strip()
        if language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        if line.startswith("kubectl argo-rescue"):
            words = shlex.split(line, comments=True)
            for end in ("|", ">", ">>", "&&", ";"):
                if end in words:
                    words = words[: words.index(end)]
            yield Command(file, number, tuple(words[2:]))


def parse(words: tuple[str, ...]) -> str:
    """Return why click would not take these words, empty where it would; nothing is run."""
    try:
        with cli.root.make_context(cli.PROG, list(words)) as context:
            rest = [*context._protected_args, *context.args]
            _, verb, arguments = cli.root.resolve_command(context, rest)
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
    page = (CHECKOUT / "docs" / "rbac.md").read_text()
    return page.partition("```yaml\n")[2].partition("```")[0]


def main() -> int:
    """Write the reference."""
    REFERENCE.write_text(reference())
    print(REFERENCE.relative_to(CHECKOUT), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
