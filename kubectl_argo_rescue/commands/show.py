"""`show`: one entry of the log, whole."""

from __future__ import annotations

import click

from ..act.options import Common
from ..cli.flags import Verb, common_options


@click.command("show", cls=Verb)
@click.argument("entry_id", metavar="ENTRY")
@click.option("--values", is_flag=True, help="Show parameters and values of sources, which may be secret.")
@common_options
def command(common: Common, entry_id: str, values: bool) -> int:
    r"""Show one entry of the log with every edit and what stands of it now.

    ENTRY is an id as `log` lists it; its first characters do where they are of one entry only. Each
    edit is compared with the live object: it stands, does not stand, or was changed by somebody.

    \b
    Examples:
      kubectl argo-rescue show 7f3a1c
      kubectl argo-rescue show 7f -o yaml
    """
    # lazy: not for --help
    from ..act.session import Invocation
    from ..journal.entry import find_entry, objects_of
    from ..model.text import COMMAND
    from ..model.values import Result
    from ..show.entries import entry_json
    from ..show.entry import entry_lines

    with Invocation(common) as call:
        session, journal = call.read_journal()
        for text in journal.warnings:
            call.printer.warn(text)
        entry = find_entry(journal.entries, entry_id)
        if values and session is not None:
            entry = session.journal.completed(entry)
        live, unread = call.look(objects_of(entry))
        for text in unread:
            call.printer.warn(text)
        now = call.now()
        if call.printer.form == "human":
            for line in entry_lines(entry, journal.entries, live, now, values=values):
                call.printer.line(line)
            if entry.is_open:
                call.printer.say(f"undo with: {COMMAND} undo {entry.id}")
        elif call.printer.form == "name":
            call.printer.line(entry.id)
        warnings = (*call.reader.warnings, *journal.warnings, *unread)
        data = {"entry": entry_json(entry, journal.entries, live, now, values=values)}
        return call.finish(Result("show", entry.id, warnings=warnings, data=data))
