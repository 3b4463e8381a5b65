"""The report as a message that a Slack webhook takes, in the words of the Markdown one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from ..journal.entry import what, who
from ..model.text import COMMAND, one_line, plain, time_text, with_short_hashes
from ..model.times import ago
from ..model.values import JSON
from .report import Report, mitigation_text, subject

_HEADER: Final = 150
_SECTION: Final = 3000
_FIELDS: Final = 10
"""Slack's own limits: characters of a header and of a section, fields of a section."""

_LINES: Final = 15
"""Lines of a list: a channel is no place for more, and `report` has them all."""


def slack(report: Report, where: str) -> Iterator[str]:
    """Yield the JSON that is posted; `where` names the cluster."""
    title = f"Rescue of {subject(report) or 'nothing'}"
    facts = [
        ("Cluster", where),
        ("Who", ", ".join(dict.fromkeys(who(e) for e in report.entries))),
        ("First write", time_text(report.first_write) if report.first_write else "none"),
        ("Time to mitigation", mitigation_text(report)),
    ]
    blocks: list[JSON] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(plain(one_line(title)), _HEADER)}},
        {
            "type": "section",
            "fields": [_text(f"*{name}*\n{_mrkdwn(text)}", 2000) for name, text in facts[:_FIELDS]],
        },
    ]
    for heading, lines in (
        ("Timeline (UTC)", list(_timeline(report))),
        ("Pending git change", list(_owed(report))),
        ("Open", list(_open(report))),
    ):
        if lines:
            blocks.append(
                {"type": "section", "text": _text("\n".join([f"*{heading}*", *_few(lines)]), _SECTION)}
            )
    yield json.dumps({"text": _cut(plain(one_line(title)), _SECTION), "blocks": blocks}, ensure_ascii=False)


def _timeline(report: Report) -> Iterator[str]:
    for e in report.timeline:
        yield f"• {e.at:%H:%M:%S} {_mrkdwn(e.who)}: {_mrkdwn(with_short_hashes(e.what))} ({_mrkdwn(e.result)})"


def _owed(report: Report) -> Iterator[str]:
    for one in report.owed:
        place = f"{one.repo_url or 'repository not known'}, {one.path or '(root)'} at {one.revision or '?'}"
        yield f"• {_mrkdwn(str(one.key))}: {_mrkdwn(place)}"
        yield from (f"    `{_mrkdwn(line)}`" for line in one.patch if line[:1] in "+-")


def _open(report: Report) -> Iterator[str]:
    for entry in report.open:
        age = ago(report.now - entry.begin.started)
        yield f"• {entry.id}: {_mrkdwn(what(entry))}, {_mrkdwn(who(entry))}, {age}; undo with `{COMMAND} undo {entry.id}`"


def _few(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _LINES
    return [*lines[:_LINES], *([f"… and {rest} more: {COMMAND} report"] if rest > 0 else [])]


def _text(text: str, limit: int) -> JSON:
    return {"type": "mrkdwn", "text": _cut(text, limit)}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _mrkdwn(text: str) -> str:
    """Keep text from elsewhere from being markup, a mention or a link (Slack: escaping of &, < and >)."""
    text = plain(one_line(text)).replace("`", "'")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
