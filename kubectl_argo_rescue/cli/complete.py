"""What comes next on a command line: verbs, flags and their values, applications, versions, entries.

kubectl's own mechanism: it runs `kubectl_complete-argo_rescue` with the words so far, the last one
possibly empty, and takes a choice per line (help after a tab) and cobra's directive. Verbs and flags
need click alone; whatever asks the cluster is silent, asks nobody for a password and is gone within
a second.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import click

from ..model.errors import RescueError
from ..show.outlet import outlet
from . import pflag
from .root import HELP, VERBS, root

if TYPE_CHECKING:
    from ..cluster.transport import Connection
    from .candidates import Place

PATIENCE_SECONDS = 0.6
"""Completion that takes longer is worse than none; kubectl and Python have begun before."""

VARIABLE = "ARGO_RESCUE_COMPLETION_SECONDS"
"""Environment variable with another patience, for clusters that are far away."""

NO_FILES = 4
"""cobra's directives: offer no file names,"""
FILES = 0
"""do offer them,"""
FOLDERS = 16
"""folders alone,"""
IN_ORDER = 32
"""and do not sort."""

ONE_APP = ("rescue", "unblock", "pin", "sync", "rollback", "terminate", "watch")
MANY_APPS = ("status", "pause", "orphan", "windows")
MANY_ENTRIES = ("undo", "report")

FILE_OPTIONS = ("kubeconfig", "certificate_authority", "client_certificate", "client_key")
FOLDER_OPTIONS = ("cache_dir", "folder")
CONFIGURED = {
    "context": "contexts",
    "destination_context": "contexts",
    "contexts": "contexts",
    "cluster": "clusters",
    "user": "users",
}


class Offer(NamedTuple):
    """The choices for one word, and what the shell does with them."""

    choices: Sequence[str] = ()
    directive: int = NO_FILES

    def starting_with(self, prefix: str) -> Offer:
        """Leave out what does not go on from what is typed."""
        return Offer([c for c in self.choices if c.startswith(prefix)], self.directive)


class Line(NamedTuple):
    """The whole words so far, told apart."""

    verb: str
    """Empty where there is none yet."""
    options: list[click.Option]
    given: list[str]
    """The words that are no flags, after the verb."""
    values: dict[str, list[str]]
    """What flags were given, by the names of their parameters."""
    waiting: click.Option | None
    """The flag whose value comes next."""
    is_ended: bool
    """A `--` was there: no flag comes any more."""

    def value(self, name: str) -> str:
        """Return the last value of a flag."""
        return self.values.get(name, [""])[-1]

    def connection(self) -> Connection:
        """Return the cluster that is asked for."""
        from ..act.options import Common
        from .flags import combine  # lazy: not for verbs and flags

        multiple = {o.name for o in self.options if o.multiple}
        switches = {o.name for o in self.options if o.is_flag}
        ours = ("request_timeout", "verbosity")
        given = {
            name: tuple(values) if name in multiple else True if name in switches else values[-1]
            for name, values in self.values.items()
            if name not in ours
        }
        return combine(Common(), given).connection


def complete(words: Sequence[str]) -> Offer:
    """Return the choices for the last of `words`; those before it are whole."""
    *before, last = list(words) or [""]
    line = read(before)
    if line.waiting is not None:
        return _values(line, line.waiting, last).starting_with(last)
    if last.startswith("-") and not line.is_ended:
        name, equals, prefix = last.partition("=")
        if not equals:
            return Offer(_flags(line)).starting_with(last)
        option = next((o for o in line.options if name in o.opts), None)
        return _values(line, option, prefix).starting_with(prefix) if option else Offer()
    if not line.verb or (line.verb == HELP and not line.given):
        verbs = [f"{name}\t{short}" for name, (_, short) in VERBS.items()]
        return Offer(verbs if not line.given and not line.is_ended else [], NO_FILES).starting_with(last)
    return _arguments(line, last).starting_with(last)


def read(before: Sequence[str]) -> Line:
    """Tell verb, arguments and flags apart, wherever the flags stand."""
    options = _options(root)
    words = [part for part in pflag.scan(before, options) if isinstance(part, str)]
    verb = words[0] if words and (words[0] in VERBS or words[0] == HELP) else ""
    if verb in VERBS:
        options = _options(_command(verb))
    given: list[str] = []
    values: dict[str, list[str]] = {}
    waiting = None
    is_ended = False
    for part in pflag.scan(before, options):
        if isinstance(part, str):
            is_ended = is_ended or part == "--"
            given += [part] if part != "--" else []
        elif part.option is not None and part.option.name:
            if part.value is None:
                waiting = part.option
            else:
                values.setdefault(part.option.name, []).append(part.value)
    if verb:
        given.remove(verb)
    return Line(verb, options, given, values, waiting, is_ended)


def _command(verb: str) -> click.Command:
    return root.get_command(click.Context(root), verb) or root


def _options(command: click.Command) -> list[click.Option]:
    return [o for o in pflag.options_of(command, click.Context(command)) if not o.hidden]


def _flags(line: Line) -> list[str]:
    """Give every flag that may still come, the long form first."""
    offered = [o for o in line.options if o.multiple or o.name not in line.values]
    opts = [
        (opt, o) for o in offered for opt in sorted(o.opts, key=lambda opt: opt.startswith("--") is False)
    ]
    return [f"{opt}\t{o.help or ''}" for opt, o in opts if opt != "--v"]


def _values(line: Line, option: click.Option, prefix: str) -> Offer:
    name = option.name or ""
    if isinstance(option.type, click.Choice):
        return Offer([str(c) for c in option.type.choices])
    if option.is_flag:
        return Offer(["true", "false"])
    if name in FILE_OPTIONS:
        return Offer(directive=FILES)
    if name in FOLDER_OPTIONS:
        return Offer(directive=FOLDERS)
    if name in CONFIGURED:
        return Offer(within(lambda: _configured(CONFIGURED[name], line)))
    if name in ("namespace", "argocd_namespace"):
        return Offer(_asked(line, lambda place: place.namespaces()))
    if name == "project":
        return Offer(_asked(line, lambda place: place.projects()))
    if name == "to" and line.given:
        return Offer(_asked(line, lambda place: place.versions(line.given[0])), NO_FILES | IN_ORDER)
    return Offer()


def _arguments(line: Line, last: str) -> Offer:
    verb, given = line.verb, line.given
    if verb in MANY_ENTRIES or (verb == "show" and not given):
        return Offer(_entries(line), NO_FILES | IN_ORDER)
    if verb in ("pin", "rescue") and len(given) == 1:
        return Offer(_asked(line, lambda place: place.versions(given[0])), NO_FILES | IN_ORDER)
    if verb in MANY_APPS or (verb in ONE_APP and not given):
        if {"all_namespaces", "everywhere", "everything", "selector", "project"} & {*line.values}:
            return Offer()
        found = _asked(line, lambda place: place.applications(last))
        return Offer([a for a in found if a.split("\t")[0] not in given])
    # What a verb's own argument says: a choice, or its `shell_complete`.
    command = _command(verb)
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    if len(given) >= len(arguments):
        return Offer()
    return Offer([i.value for i in arguments[len(given)].shell_complete(click.Context(command), last)])


# -- what only others know


def patience() -> float:
    """Return how many seconds the user waits for a cluster."""
    try:
        seconds = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return PATIENCE_SECONDS
    return seconds if 0 < seconds <= threading.TIMEOUT_MAX else PATIENCE_SECONDS


def within(find: Callable[[], Iterable[str]], seconds: float | None = None) -> list[str]:
    """Return what `find` finds in time; nothing more where it fails or takes longer."""
    found: list[str] = []

    def run() -> None:
        with suppress(Exception):  # completion never speaks of errors
            found.extend(choice.replace("\n", " ") for choice in find())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience() if seconds is None else seconds)
    return list(found)


@contextmanager
def _place(line: Line) -> Iterator[Place]:
    """Open the cluster that the words so far ask for, and end it, whoever still waits for it."""
    from ..cluster.connect import open_transport
    from .candidates import Place  # lazy: not for verbs and flags

    transport = open_transport(line.connection())
    try:
        yield Place(transport, patience(), line.value("namespace"), line.value("argocd_namespace"))
    finally:
        transport.close()


def _asked(line: Line, ask: Callable[[Place], Iterable[str]]) -> list[str]:
    with suppress(RescueError), _place(line) as place:
        return within(lambda: ask(place))
    return []


def _configured(kind: str, line: Line) -> list[str]:
    from .candidates import configured

    return configured(kind, line.connection(), patience())


def _entries(line: Line) -> list[str]:
    """Return the entries of this cluster; where it is away those of this machine, of any cluster."""
    from ..journal.entry import Entry
    from ..journal.local import state_home
    from .candidates import applications_of, entry_words, local_entries

    found: list[Entry] = []

    def read_journal(place: Place) -> Iterator[str]:
        found.extend(place.journal())
        yield "read"

    known = found if _asked(line, read_journal) else local_entries(state_home(os.environ))
    words = entry_words(known, only_open=line.verb == "undo")
    if line.verb == "undo":
        words += applications_of(known, line.value("namespace"))
    return [w for w in words if w.split("\t")[0] not in line.given]


# -- the process


def main(words: Sequence[str]) -> None:
    """Print the choices for kubectl, and leave at once: a thread may still wait for a cluster."""
    _detach()
    try:
        offer = complete(words)
    except Exception:
        offer = Offer()
    out = outlet(sys.stdout)
    out.write("".join(f"{c}\n" for c in _one_line_each(offer.choices)) + f":{offer.directive}\n")
    out.flush()
    _leave()


def _one_line_each(choices: Iterable[str]) -> Iterator[str]:
    """Leave out what is no word, and a description that is no line: a name in the cluster may hold anything."""
    for choice in choices:
        word, tab, about = choice.partition("\t")
        if word.isprintable():
            yield f"{word}{tab}{about}" if about.isprintable() else word


def _detach() -> None:
    """Let nothing that we start speak on the terminal or read from it: exec plugins would ask there."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 2)
    with suppress(OSError, AttributeError):  # a leader of a group already; Windows
        os.setsid()


def _leave() -> None:
    with suppress(OSError, AttributeError):
        if os.getsid(0) == os.getpid():
            # A plugin that waits for somebody to log in would outlive us.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
    os._exit(0)
