"""Runs commands and says how long they took and how much memory they held at most."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Command = Sequence[str]


class CommandFailed(Exception):
    """A command that is measured must do its work: the figures of a failure say nothing."""


@dataclass(frozen=True, slots=True)
class Peak:
    """Megabytes that a command held at most."""

    own: float
    """Its own process alone."""
    all: float
    """With its children, at the same time; pages that they share count more than once."""


@dataclass(frozen=True, slots=True)
class Case:
    """One command line with the environment of its shell."""

    words: Command
    environment: Mapping[str, str]
    stdin: str = ""

    def run(self) -> float:
        """Run it to its end and return the seconds that it took."""
        return _run(self)[0]

    def peak(self) -> Peak:
        """Run it and see how much memory it holds."""
        return _run(self, looking=True)[1]


def _run(case: Case, looking: bool = False) -> tuple[float, Peak]:
    began = time.perf_counter()
    # A pipe that nobody reads while it is looked at would stop a command with much to say.
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(
            case.words,
            env=case.environment,
            stdin=subprocess.PIPE if case.stdin else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
        ) as process,
    ):
        own = together = 0.0
        while looking and process.poll() is None:
            held = [_held(pid) for pid in (process.pid, *_children(process.pid))]
            own, together = max(own, held[0]), max(together, sum(held))
            time.sleep(0.002)
        process.communicate(case.stdin.encode() if case.stdin else None)
        seconds = time.perf_counter() - began
        words.seek(0)
        said = words.read()
    if process.returncode:
        text = said.decode("utf-8", "replace").strip()
        raise CommandFailed(f"{' '.join(case.words)} ended with {process.returncode}: {text[-2000:]}")
    return seconds, Peak(own, together)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _held(pid: int) -> float:
    """Return the megabytes that a process holds, 0 where it is gone."""
    with contextlib.suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours beside the other way, in seconds, from one interleaved series."""

    what: str
    other: str
    ours: tuple[float, ...] = field(repr=False)
    theirs: tuple[float, ...] = field(repr=False)
    goal: str
    goal_ratio: float | None = None
    """At most this many times the other way's time; None where the goal is no such ratio."""

    @property
    def our_time(self) -> float:
        """Our median."""
        return statistics.median(self.ours)

    @property
    def their_time(self) -> float:
        """The other way's median."""
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """Our time over the other way's, of the medians."""
        return self.our_time / self.their_time

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none to compare with."""
        return None if self.goal_ratio is None else self.ratio <= self.goal_ratio


def interleaved(
    ours: Callable[[int], float], theirs: Callable[[int], float], n: int, *, warm_up: int = 2
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time two ways in turns, A B B A, after a warm-up that is not counted; each gets the turn's number."""
    a: list[float] = []
    b: list[float] = []
    for turn in range(warm_up + n):
        order = ((ours, a), (theirs, b))
        for way, times in order if turn % 2 == 0 else reversed(order):
            seconds = way(turn)
            if turn >= warm_up:
                times.append(seconds)
    return tuple(a), tuple(b)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Say on stderr what is measured now, and how long that took."""
    began = time.perf_counter()
    print(f"{what} …", end=" ", file=sys.stderr, flush=True)
    yield
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def shell_environment(path: Sequence[Path | str], home: Path, kubeconfig: Path) -> dict[str, str]:
    """Return the environment of a user's shell; none of the developer's own settings reach it."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PATH": os.pathsep.join([*map(str, path), os.defpath]),
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "KUBECONFIG": str(kubeconfig),
    }
