"""`undo`: every saved original back, without a second outage."""

from __future__ import annotations

import click

from ..entries import find_entry
from ..errors import NotFound, UsageError
from ..flags import Common, Duration, Verb, Writing, common_options, writing_options
from ..model import Key, Result
from ..records import ENTRY_ID, Entry
from ..session import Session
from ..situation import parse_target
from ..undoing import Options, Undo, pieces_of


@click.command("undo", cls=Verb)
@click.argument("what", nargs=-1, metavar="[ENTRY|APP]...")
@click.option(
    "--on-conflict",
    type=click.Choice(["stop", "skip", "overwrite"]),
    default="stop",
    show_default=True,
    help="What to do with fields that somebody else changed since.",
)
@click.option("--redeploy", is_flag=True, help="Put versions back though git does not agree: they roll out.")
@click.option("--when-safe", is_flag=True, help="Wait until git agrees with what is deployed.")
@click.option(
    "--timeout",
    type=Duration(),
    default=None,
    metavar="DURATION",
    help="How long --when-safe waits; for ever by default.",
)
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    what: tuple[str, ...],
    on_conflict: str,
    redeploy: bool,
    when_safe: bool,
    timeout: float | None,
) -> int:
    r"""Put the saved originals back: all open entries, or those named by entry id or application.

    A version that git owns is not written back: git must agree with what is deployed first, and
    then nothing moves at all. While git still asks for what broke, undo refuses.

    \b
    Examples:
      kubectl argo-rescue undo
      kubectl argo-rescue undo 7f3a1c --dry-run=client
      kubectl argo-rescue undo traefik
      kubectl argo-rescue undo --when-safe --timeout 30m
    """
    if redeploy and when_safe:
        raise UsageError("--redeploy and --when-safe contradict each other", "say one of them")
    with Session(common) as session:
        session.read([])
        reading = session.journal.read()
        for text in reading.warnings:
            session.printer.warn(text)
        chosen, keys = choose(reading.entries, what, session)
        if not chosen:
            session.printer.say("nothing to undo")
            return session.finish(Result("undo", data={"undoes": [], "owed": []}))
        ids = {e.id for e in chosen}
        others = [e for e in reading.entries if e.is_open and e.id not in ids]
        undo = Undo(
            session,
            chosen,
            Options(on_conflict, redeploy, when_safe, timeout),
            writing,
            reading.entries,
        )
        return session.finish(undo.run(others, keys))


def choose(
    entries: tuple[Entry, ...], what: tuple[str, ...], session: Session
) -> tuple[list[Entry], list[Key]]:
    """Return the entries that are meant, and the Applications where only those are."""
    if not what:
        return [e for e in entries if e.is_open], []
    assert session.reading is not None
    argocd = session.reading.snapshot.argocd
    home = session.common.namespace or argocd.namespace
    chosen: dict[str, Entry] = {}
    keys: list[Key] = []
    for word in what:
        if ENTRY_ID.fullmatch(word) or any(e.id.startswith(word) for e in entries):
            entry = find_entry(entries, word)
            chosen[entry.id] = entry
            continue
        key = parse_target(word, home)
        found = [e for e in entries if e.is_open and _is_about(e, key)]
        if not found:
            if any(_is_about(e, key) for e in entries):
                session.printer.say(f"nothing of {key} is left to undo")
                continue
            raise NotFound(f"no entry is about {word!r}", "see them all: kubectl argo-rescue log", status=404)
        keys.append(key)
        chosen.update((e.id, e) for e in found)
    if keys and len(keys) < len(what):
        raise UsageError("entries and applications cannot be undone in one call", "name one kind of them")
    return list(chosen.values()), keys


def _is_about(entry: Entry, key: Key) -> bool:
    """Whether the entry touched the Application, or a window for it."""
    return (
        bool(pieces_of([entry], [key]))
        or any(edit.ref.key == key for _, edit in entry.edits())
        or any(order.ref.key == key for _, order in entry.orders())
        or any(rollout.app == key for _, rollout in entry.rollouts())
    )
