"""Everything that is printed: results as text, names, JSON or YAML; plans as readable diffs; talk.

stdout is data, stderr is talk. Text that comes from the cluster loses its control characters here, newlines
too, so that no annotation can move somebody's cursor or forge a line of ours. What was printed and does not
arrive stops nothing; an outcome that stdout does not take is said on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TextIO

from msgspec import Struct

from ..model.text import (
    COMMAND,
    Paragraph,
    Span,
    escaped,
    folded,
    plain,
    plain_but_colours,
    resource_name,
    wrapped,
)
from ..model.values import Plan, Ref, Result, StepResult, StepStatus
from .outlet import outlet
from .steps import edit_line, envelope, step_lines

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2", "cyan": "36"}


def wants_colour(stream: TextIO, environ: os._Environ[str] | dict[str, str]) -> bool:
    """kubectl's rule (cli-runtime printers/terminal.go): a terminal, not dumb, NO_COLOR not present."""
    if "NO_COLOR" in environ or environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    return sys.platform != "win32" or "WT_SESSION" in environ


class Streams(Struct):
    """Where to read and write; tests put their own in."""

    out: TextIO
    err: TextIO
    in_: TextIO
    environ: os._Environ[str] | dict[str, str]

    @property
    def is_interactive(self) -> bool:
        """Whether a person can be asked: both the question and the answer go through a terminal."""
        return self.in_.isatty() and self.err.isatty()


def standard_streams() -> Streams:
    """The process's own."""
    return Streams(sys.stdout, sys.stderr, sys.stdin, os.environ)


class Printer:
    """Prints one command's result and its talk."""

    def __init__(self, streams: Streams, form: str = "human") -> None:
        """`form` is human, name, json or yaml."""
        self.streams = streams
        self.is_exact = False
        """Whether plans are shown field by field."""
        self.out, self.err = outlet(streams.out), outlet(streams.err)
        self.form = form
        self._colour = wants_colour(streams.err, streams.environ)
        self._colour_of_data = wants_colour(streams.out, streams.environ)
        self._said: set[str] = set()
        self._named: set[Ref] = set()
        """-o name lists each object once, whatever was done to it."""

    @property
    def width(self) -> int:
        """Columns of the screen that stdout is; of what is none, as many as a line may have."""
        return self._columns(self.streams.out)

    def _columns(self, stream: TextIO) -> int:
        if not stream.isatty():
            return 100
        said = self.streams.environ.get("COLUMNS", "")
        if said.isdigit() and int(said):
            return int(said)
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    # -- talk

    def paint(self, text: str, colour: str) -> str:
        """Colour text for stderr, where a terminal takes it."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colour else text

    def say(self, text: str = "", *, hang: int = 4) -> None:
        """Say one line of talk, broken where the terminal is too narrow for it.

        Further lines begin further in than any line of ours does, so that no text from the cluster forges one.
        """
        line = plain_but_colours(text) if self._colour else plain(text)
        self._talk(
            wrapped(line, self._columns(self.streams.err), hang) if self.streams.err.isatty() else [line]
        )

    def _talk(self, lines: Iterable[str]) -> None:
        # In one piece: several requests at once may speak under -v.
        self.err.write("".join(f"{line}\n" for line in lines))
        self.err.flush()

    def warn(self, text: str) -> None:
        """Say a warning, each only once."""
        if text not in self._said:
            self._said.add(text)
            self.say(f"{self.paint('warning:', 'yellow')} {plain(text)}")

    def server_warning(self, text: str) -> None:
        """Say what the API server warns of, as kubectl says it; each only once."""
        if text not in self._said:
            self._said.add(text)
            label = "\x1b[33;1mWarning:\x1b[0m" if self._colour else "Warning:"
            self.say(f"{label} {plain(text)}")

    def request_log(self, verbosity: int) -> Callable[[str], None] | None:
        """Return what -v does with an exchange: its first line from 6 on, all of it from 8 on."""
        if verbosity < 6:
            return None
        lines = None if verbosity >= 8 else 1
        return lambda text: self._talk(plain(line) for line in text.split("\n")[:lines])

    def note(self, text: str) -> None:
        """Say something worth knowing, only once."""
        if text not in self._said:
            self._said.add(text)
            self.say(f"{self.paint('note:', 'cyan')} {plain(text)}")

    def plan_talk(self, warnings: Iterable[str], notes: Iterable[str]) -> None:
        """Say what a plan has to say."""
        for text in notes:
            self.note(text)
        for text in warnings:
            self.warn(text)

    def ask(self, question: str) -> bool:
        """Ask for a yes on the terminal; anything else is a no, and so is a question that nobody sees."""
        return self.typed(f"{question} [y/N]").lower() in ("y", "yes")

    def typed(self, question: str) -> str:
        """Return what is typed on the terminal as an answer; nothing where nobody sees the question."""
        *before, last = wrapped(plain(question), self._columns(self.streams.err), 4)
        self._talk(before)
        self.err.write(f"{last} ")
        self.err.flush()
        if self.err.failure is not None:
            return ""
        try:
            return self.streams.in_.readline().strip()
        except (OSError, UnicodeError):  # a terminal that was lost; what is no text
            return ""

    # -- data

    def line(self, text: str = "") -> None:
        """Print one line of data."""
        self._data(plain(text))

    def _data(self, line: str) -> None:
        self.out.write(f"{line}\n")
        self.out.flush()

    def spans(self, spans: Sequence[Span] | Paragraph) -> None:
        """Print one line of data made of (text, colour) pieces, coloured where stdout is a terminal."""
        if isinstance(spans, Paragraph):
            clean = spans._replace(spans=[(plain(text), colour) for text, colour in spans.spans])
            for line in folded(clean, self.width):
                self.spans(line)
            return
        last = len(spans) - 1
        parts = [plain(text).rstrip() if i == last else plain(text) for i, (text, _) in enumerate(spans)]
        if self._colour_of_data:
            parts = [
                f"\x1b[{_COLOURS[colour]}m{part}\x1b[0m" if colour and part else part
                for part, (_, colour) in zip(parts, spans, strict=True)
            ]
        self._data("".join(parts))

    def progress(self, result: StepResult, *, suffix: str = "") -> None:
        """Print an edit's outcome as kubectl does: `kind.group/name verbed`; failures go to stderr."""
        if result.status in (StepStatus.APPLIED, StepStatus.UNCHANGED, StepStatus.PLANNED):
            if self.form == "human":
                self.line(edit_line(result) + suffix)
            elif self.form == "name" and result.ref not in self._named:
                self._named.add(result.ref)
                self.line(resource_name(result.ref))
            if self.out.failure is not None:
                self.note(f"stdout cannot be written ({self.out.why}); what is done is said here")
                self.say(edit_line(result) + suffix)
            return
        if result.status is StepStatus.SKIPPED:
            self.say(f"{self.paint('skipped:', 'yellow')} {plain(str(result.ref))}: not {result.action}")
            return
        what = {"conflict": "conflict:", "denied": "forbidden:"}.get(result.status.value, "error:")
        self.say(f"{self.paint(what, 'red')} {plain(str(result.ref))}: {plain(result.detail)}")

    def result(self, result: Result) -> None:
        """Print the envelope, where JSON or YAML was asked for."""
        if self.form == "json":
            # Piece by piece: the status of thousands of applications is long.
            encoder = json.JSONEncoder(indent=2, ensure_ascii=not self.out.takes_all)
            pieces = encoder.iterencode(envelope(result))
            while part := "".join(islice(pieces, 5000)):
                self.out.write(escaped(part))
            self.out.write("\n")
        elif self.form == "yaml":
            import yaml  # lazy: only -o yaml needs it

            # Beyond ASCII it is escaped: PyYAML would let characters through that turn text around.
            text = yaml.safe_dump(envelope(result), sort_keys=False)
            self.out.write(text)

        else:
            return
        self.out.flush()
        if self.out.failure is not None and result.entry:
            self.note(
                f"stdout cannot be written ({self.out.why}); see {COMMAND} show {result.entry} -o {self.form}"
            )

    def plan(self, plan: Plan) -> None:
        """Show a plan on stderr: each object, what changes of it, and why; exactly with -v."""
        from .plans import plan_lines, summary  # lazy: most commands ask nothing

        for lead, text, mark in plan_lines(plan):
            colour = {"-": "red", "+": "green", "~": "cyan"}.get(mark, "dim")
            self.say(self.paint(lead, colour) + plain(text), hang=len(lead))
        if self.is_exact:
            for step in plan.steps:
                self.say(f"  {self.paint(plain(str(step.ref)), 'bold')}")
                for text in step_lines(step):
                    colour = {"-": "red", "+": "green"}.get(text[:1], "dim")
                    self.say(f"      {self.paint(plain(text), colour)}")
        if plan.steps:
            self.say(summary(plan))
