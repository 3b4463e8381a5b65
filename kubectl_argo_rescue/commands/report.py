"""`report`: the facts for the post-mortem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from ..act.options import Common
from ..cli.flags import Verb, common_options_and

if TYPE_CHECKING:
    from ..show.report import Report


@click.command("report", cls=Verb)
@click.argument("entry_ids", nargs=-1, metavar="[ENTRY]...")
@common_options_and("html", "slack")
def command(common: Common, entry_ids: tuple[str, ...]) -> int:
    r"""Report who did what and when, how soon it helped, and what git still owes.

    Written from the journal and the cluster: the timeline with the time to mitigation, every edit as
    a diff, the change for the pull request per repository and path, and what is still open. Markdown
    for people, JSON for tools; `-o html` is one page with the timeline drawn, `-o slack` a message for a
    webhook. Without ENTRY, what is open and what happened in the last 24 hours.

    \b
    Examples:
      kubectl argo-rescue report > post-mortem.md
      kubectl argo-rescue report 7f3a1c 81d0aa
      kubectl argo-rescue report -o html > post-mortem.html
      kubectl argo-rescue report -o slack
      kubectl argo-rescue report -o json
    """
    # lazy: not for --help
    from ..act.session import Invocation
    from ..journal.entry import find_entry
    from ..model.values import Result
    from ..show import report

    with Invocation(common) as call:
        printer, reader = call.printer, call.reader
        session, journal = call.read_journal()
        entries, now = journal.entries, call.now()
        if entry_ids:
            chosen = report.with_undos([find_entry(entries, text) for text in entry_ids], entries)
        else:
            chosen = report.choose(entries, now)
        argocd = session.reading.snapshot.argocd if session else report.recorded_argocd(entries)
        live, unread = call.look(report.wanted_objects(chosen, entries))
        reader.objects.update({key: obj for key, obj in live.items() if obj is not None})
        reader.missing.update(key for key, obj in live.items() if obj is None)
        reader.follow(argocd, [key for key in report.pinned(chosen) if live.get(key) is not None])
        facts = report.build(chosen, entries, reader.snapshot(argocd), live, now)
        warnings = (*dict.fromkeys((*reader.warnings, *journal.warnings, *unread)),)
        for text in warnings:
            printer.warn(text)
        if printer.form in ("human", "html", "slack") and chosen:
            target = call.cluster.target()
            version = argocd.version.text if argocd.version else "of unknown version"
            where = f"{target.context or '(no context)'} ({target.server}), Argo CD {version} in {argocd.namespace}"
            for line in _pages(printer.form)(facts, where):
                printer.line(line)
        elif printer.form == "name":
            for entry in facts.entries:
                printer.line(entry.id)
        if not chosen:
            printer.say("nothing to report: nothing is open, and nothing was done in the last 24 hours")
        return call.finish(Result("report", warnings=warnings, data=report.report_json(facts)))


def _pages(form: str) -> Callable[[Report, str], Iterable[str]]:
    """Return what lays the report out in this form."""
    if form == "html":
        from ..show.report_html import html

        return html
    if form == "slack":
        from ..show.report_slack import slack

        return slack
    from ..show.report_markdown import markdown

    return markdown
