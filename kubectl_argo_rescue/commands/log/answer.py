"""The entries as they are told, and those that go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from ...act.options import Common
from ...act.reading import parse_target
from ...act.session import Invocation, Session
from ...journal.entry import (
    Entry,
    Live,
    elsewhere,
    is_expired,
    is_of,
    last_time,
    lost,
    newest_first,
    objects_of,
    what,
)
from ...journal.journal import JournalReading
from ...journal.owed import is_about
from ...model.errors import Cancelled, Code, ExitStatus, RefusedError, RescueError
from ...model.text import columns, one_line, time_text
from ...model.times import human
from ...model.values import Result
from ...show.entries import entry_json, is_worth_a_look, state_text
from ...show.steps import STATUS_WORDS


class Which(NamedTuple):
    """What is listed."""

    name: str = ""
    """About this Application alone."""
    is_open: bool = False
    """Only what is in effect, or may be."""
    is_expired: bool = False
    """Only what is past its deadline."""


def answer(common: Common, which: Which, *, tell_by_code: bool = False) -> int:
    """List the entries; with `tell_by_code` the exit code says whether there are any."""
    with Invocation(common) as call:
        result = _list(call, which)
        if tell_by_code and result.data["entries"]:
            # The status stays "done": it was listed as asked.
            result = replace(result, exit_status=ExitStatus.PARTIAL)
        return call.finish(result)


def prune(common: Common, seconds: float, *, yes: bool, dry_run: bool) -> int:
    """Delete closed entries of this age."""
    with Invocation(common) as call:
        return call.finish(_prune(call.read([]), timedelta(seconds=seconds), yes=yes, dry_run=dry_run))


def _list(call: Invocation, which: Which) -> Result:
    printer, home = call.printer, call.common.namespace
    name, only_open = which.name, which.is_open or which.is_expired
    if name:
        parse_target(name, home)
    session, reading = call.read_journal()
    place = session.reading.snapshot.argocd.namespace if session else ""
    shown = [
        e
        for e in newest_first(reading.entries)
        if (not only_open or (e.is_open and (not place or is_of(e, place))))
        and (not which.is_expired or is_expired(e, call.now()))
        and (not name or is_about(e, parse_target(name, home or e.begin.argocd_namespace)))
    ]
    for text in elsewhere(reading.entries, place) if only_open and place else ():
        printer.say(text)
    if printer.form == "name":
        for entry in shown:
            printer.line(entry.id)
    live, unread = call.look(
        () if printer.form == "name" else
        [key for entry in shown if is_worth_a_look(entry) for key in objects_of(entry)],
    )  # fmt: skip
    warnings = (*call.reader.warnings, *reading.warnings, *unread)
    for text in warnings:
        printer.warn(text)
    now = call.now()
    if printer.form == "human":
        for text in _table(shown, live, now):
            printer.line(text)
        if not shown:
            printer.say(_why_empty(reading, which))
    entries = [entry_json(e, reading.entries, live, now) for e in shown]
    return Result("log", warnings=warnings, data={"entries": entries})


def _table(entries: Sequence[Entry], live: Live, now: datetime) -> list[str]:
    rows = [
        (
            entry.id,
            human(now - entry.begin.started),
            state_text(entry, live, now),
            one_line(entry.begin.actor) or "(unknown)",
            what(entry),
            one_line(entry.begin.reason),
        )
        for entry in entries
    ]
    return columns(rows, ("ENTRY", "AGE", "STATE", "WHO", "WHAT", "REASON")) if rows else []


def _why_empty(reading: JournalReading, which: Which) -> str:
    name = which.name
    if reading.unusable:
        return "nothing else is known"
    if which.is_expired and reading.entries:
        return "nothing is past its time"
    if which.is_open and reading.entries:
        return "nothing is open"
    return f"nothing in the log is about {name}" if name and reading.entries else "the log is empty"


def _prune(session: Session, age: timedelta, *, yes: bool, dry_run: bool) -> Result:
    printer = session.printer
    journal = session.journal
    if journal.in_cluster is not None:
        # What only the cluster knows, an entry reopened by a colleague, must be known here.
        journal.in_cluster.read()
    reading = journal.read()
    for text in reading.warnings:
        printer.warn(text)

    def is_closed(entry: Entry) -> bool:
        damaged = lost(entry) or entry.id in reading.damaged
        in_doubt = any(entry.is_in_doubt(n) for n in entry.intents)
        return not (entry.is_open or in_doubt or damaged)

    old = [e for e in reading.entries if session.now() - last_time(e) > age and is_closed(e)]
    if not old:
        printer.say(f"no closed entry is older than {human(age)}")
    elif not (yes or dry_run):
        _agree(session, old, age)
    gone: list[str] = []
    failed: dict[str, str] = {}
    for entry in old:
        try:
            if not dry_run:
                # This machine's copy last: while the cluster refuses, the entry stays listed here.
                if entry.is_orphaning:
                    from ...act.orphan import saved_home  # lazy: few entries have saved whole objects

                    saved_home(session).remove(entry.id)
                if journal.in_cluster is not None:
                    journal.in_cluster.remove(entry.id)
                journal.local.remove(entry.id)
                if journal.local.has(entry.id):
                    raise RescueError("its file on this machine cannot be deleted")
        except RescueError as e:
            failed[entry.id] = e.message
            printer.say(f"{printer.paint('error:', 'red')} entry {entry.id}: {failed[entry.id]}")
            continue
        gone.append(entry.id)
        if printer.form == "human":
            printer.line(f"entry/{entry.id} pruned" + (" (dry run)" if dry_run else ""))
        elif printer.form == "name":
            printer.line(f"entry/{entry.id}")
    status = ExitStatus.OK
    if failed:
        status = ExitStatus.PARTIAL if gone else ExitStatus.ERROR
    warnings = (*session.reader.warnings, *reading.warnings, *(f"entry {i}: {m}" for i, m in failed.items()))
    return Result(
        "log", warnings=warnings, data={"pruned": [] if dry_run else gone, "planned": gone if dry_run else []},
        exit_status=status, status="planned" if dry_run and not failed else STATUS_WORDS[status],
    )  # fmt: skip


def _agree(session: Session, old: list[Entry], age: timedelta) -> None:
    count = f"{len(old)} closed {'entry' if len(old) == 1 else 'entries'} older than {human(age)}"
    if not session.streams.is_interactive:
        raise RefusedError(
            f"confirmation needed: {count} would be deleted from the log",
            "add --yes to agree, or --dry-run to see them; nothing was deleted",
            code=Code.NEEDS_YES,
        )
    for entry in newest_first(old):
        session.printer.say(f"  {entry.id}  {time_text(entry.begin.started)}  {what(entry)}")
    if not session.printer.ask(f"Delete {count} from the log for everybody?"):
        raise Cancelled("Cancelled. Nothing was deleted.")
