"""`show`: one entry of the log, whole."""

from __future__ import annotations

import click

from ..entries import entry_json, find_entry, objects_of
from ..flags import Verb, common_options
from ..model import Result
from ..narration import entry_lines
from ..options import Common
from ..outlook import COMMAND
from ..session import Session


@click.command("show", cls=Verb)
@click.argument("entry_id", metavar="ENTRY")
@common_options
def command(common: Common, entry_id: str) -> int:
    r"""Show one entry of the log with every edit and what stands of it now.

    ENTRY is an id as `log` lists it; its first characters do where they are of one entry only. Each
    edit is compared with the live object: it stands, does not stand, or was changed by somebody.

    \b
    Examples:
      kubectl argo-rescue show 7f3a1c
      kubectl argo-rescue show 7f -o yaml
    """
    with Session(common) as session:
        reading = session.read_journal()
        for text in reading.warnings:
            session.printer.warn(text)
        entry = find_entry(reading.entries, entry_id)
        live, unread = session.look(objects_of(entry))
        for text in unread:
            session.printer.warn(text)
        now = session.now()
        if session.printer.form == "human":
            for line in entry_lines(entry, reading.entries, live, now):
                session.printer.line(line)
            if entry.is_open:
                session.printer.say(f"undo with: {COMMAND} undo {entry.id}")
        elif session.printer.form == "name":
            session.printer.line(entry.id)
        warnings = (*session.reader.warnings, *reading.warnings, *unread)
        data = {"entry": entry_json(entry, reading.entries, live, now)}
        return session.finish(Result("show", entry.id, warnings=warnings, data=data))
