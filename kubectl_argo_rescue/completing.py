"""What comes next on a command line: verbs, flags, applications, versions, entries, contexts.

kubectl's own mechanism: it runs `kubectl_complete-argo_rescue` with the words so far, the last one
possibly empty, and takes a choice per line (help after a tab) and a directive. Verbs need click
alone; whatever asks the cluster is silent and gone within a second.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .cli import VERBS, root

if TYPE_CHECKING:
    from .cluster import Cluster

NO_FILES = ":4"
"""cobra's directive: do not offer file names."""

PATIENCE_SECONDS = 0.9
"""Completion that takes longer is worse than none."""

APP_VERBS = (
    "status",
    "rescue",
    "pause",
    "unblock",
    "pin",
    "sync",
    "rollback",
    "terminate",
    "watch",
    "windows",
)
ENTRY_VERBS = ("undo", "show", "report")


def complete(words: Sequence[str]) -> list[str]:
    """Return the choices for the last of `words`; those before it are whole."""
    *before, last = list(words) or [""]
    verb, given = _parse(before)
    if last.startswith("-") and "=" not in last:
        return _matching(_flags(verb), last)
    option = _option_before(verb, before)
    if option is not None:
        return _matching(_values(option, before), last)
    if verb is None:
        return _matching([f"{name}\t{short}" for name, (_, short) in VERBS.items()], last)
    return _matching(_arguments(verb, given, before), last)


def _matching(choices: Sequence[str], prefix: str) -> list[str]:
    return [c for c in choices if c.startswith(prefix)]


def _command(verb: str | None) -> click.Command:
    if verb is None:
        return root
    return root.get_command(click.Context(root), verb) or root


def _options(verb: str | None) -> list[click.Option]:
    return [p for p in _command(verb).params if isinstance(p, click.Option) and not p.hidden]


def _parse(before: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the verb, where there is one yet, and its positional words; options' values are no words."""
    verb: str | None = None
    given: list[str] = []
    skip = False
    for word in before:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = "=" not in word and _takes_value(verb, word)
        elif verb is None and word in VERBS:
            verb = word
        else:
            given.append(word)
    return verb, given


def _takes_value(verb: str | None, word: str) -> bool:
    return any(word in o.opts and not o.is_flag and not o.count for o in _options(verb))


def _option_before(verb: str | None, before: Sequence[str]) -> click.Option | None:
    if not before or not before[-1].startswith("-") or "=" in before[-1]:
        return None
    return next((o for o in _options(verb) if before[-1] in o.opts and not o.is_flag), None)


def _flags(verb: str | None) -> list[str]:
    return [f"{opt}\t{o.help or ''}" for o in _options(verb) for opt in o.opts if opt.startswith("--")]


def _values(option: click.Option, before: Sequence[str]) -> list[str]:
    if isinstance(option.type, click.Choice):
        return [str(c) for c in option.type.choices]
    if option.name == "context":
        return within(PATIENCE_SECONDS, _contexts)
    return []


def _contexts() -> list[str]:
    import subprocess  # lazy: not for verbs and flags

    kubectl = os.environ.get("KUBECTL_PATH") or "kubectl"
    ran = subprocess.run(
        [kubectl, "config", "get-contexts", "-o", "name"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return ran.stdout.split()


def _arguments(verb: str, given: Sequence[str], before: Sequence[str]) -> list[str]:
    if verb in ENTRY_VERBS:
        return [*_entries(), *(within(PATIENCE_SECONDS, lambda: _apps(before)) if verb == "undo" else [])]
    if verb in ("pin", "rescue") and len(given) == 1:
        return within(PATIENCE_SECONDS, lambda: _versions(before, given[0]))
    if verb in APP_VERBS and (not given or verb in ("pause", "status", "windows")):
        return [a for a in within(PATIENCE_SECONDS, lambda: _apps(before)) if a.split("\t")[0] not in given]
    return []


def within(seconds: float, find: Callable[[], list[str]]) -> list[str]:
    """Return what `find` finds in time, nothing where it fails or takes longer."""
    found: list[str] = []

    def run() -> None:
        try:
            found.extend(find())
        except Exception:
            found.clear()  # completion never speaks of errors

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return list(found) if not thread.is_alive() else []


@contextmanager
def _cluster(before: Sequence[str]) -> Iterator[tuple[Cluster, str]]:
    """Open the cluster that the words so far ask for, beside the namespace of the applications."""
    from .cluster import Cluster  # lazy: not for verbs and flags
    from .flags import CONNECTION, PLACE, Common, combine
    from .transports.choose import open_transport

    command = click.Command("complete")
    for option in (*PLACE, *CONNECTION):
        command = option(command)
    command.ignore_unknown_options = True
    command.allow_extra_args = True
    ctx = command.make_context("complete", list(before), resilient_parsing=True)
    common = combine(Common(), dict(ctx.params))
    with Cluster(open_transport(common.connection), request_timeout=PATIENCE_SECONDS) as cluster:
        yield cluster, common.namespace or common.argocd_namespace or "argocd"


def _apps(before: Sequence[str]) -> list[str]:
    from .model import APPLICATION

    with _cluster(before) as (cluster, namespace):
        apps = cluster.list(APPLICATION, namespace)
    return [
        f"{a['metadata']['name']}\t{((a.get('status') or {}).get('sync') or {}).get('status', '')}"
        for a in apps
    ]


def _versions(before: Sequence[str], app: str) -> list[str]:
    from . import applications
    from .model import APPLICATION

    left, slash, right = app.partition("/")
    with _cluster(before) as (cluster, namespace):
        obj = cluster.get(APPLICATION, left if slash else namespace, right if slash else left)
    return list(dict.fromkeys(r for d in reversed(applications.history(obj)) for r in d.revisions if r))


def _entries() -> list[str]:
    """Return the entries that this machine knows, of any cluster: asking none is fastest."""
    from .journal import LocalHome, state_home
    from .records import fold

    base = state_home(os.environ)
    try:
        folders = [f for f in base.iterdir() if f.is_dir()]
    except OSError:
        return []
    found = []
    for id, lines in LocalHome(folders or [base]).read().items():
        entry = fold(lines)
        if entry is not None and entry.is_open:
            found.append(f"{id}\t{entry.begin.verb} by {entry.begin.actor}")
    return found


def main(words: Sequence[str]) -> None:
    """Print the choices for kubectl, and leave at once: a thread may still wait for a cluster."""
    sys.stderr = open(os.devnull, "w")  # nothing may be written into somebody's command line
    try:
        choices = complete(words)
    except Exception:
        choices = []
    sys.stdout.write("".join(f"{c}\n" for c in choices) + NO_FILES + "\n")
    sys.stdout.flush()
    os._exit(0)
