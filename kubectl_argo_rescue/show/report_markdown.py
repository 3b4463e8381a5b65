"""The report as Markdown, for a post-mortem and a pull request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..journal.entry import Entry, change_now, deadline, edit_now, settlements, what, who
from ..model.text import COMMAND, one_line, time_text, with_short_hashes
from ..model.times import ago
from ..model.values import Change, Edit
from .entry import change_text, outcome_text
from .report import Owed, Report, mitigation_text, subject
from .steps import change_lines

# -- for people


def _md(text: str) -> str:
    """Keep text from elsewhere from being markup."""
    return re.sub(r"([\\`|<\[])", r"\\\1", with_short_hashes(one_line(text)))


def _code(text: str) -> str:
    """Show a text as it is, between as many backticks as it takes."""
    text = one_line(text)
    ticks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{ticks}{text}{ticks}" if len(ticks) == 1 else f"{ticks} {text} {ticks}"


def _fence(lines: Sequence[str], language: str = "diff") -> list[str]:
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *lines, fence]


def markdown(report: Report, where: str) -> Iterator[str]:
    """Lay the report out as Markdown; `where` names the cluster."""
    yield f"# Rescue of {_md(subject(report)) or 'nothing'}"
    yield ""
    yield f"- Cluster: {_md(where)}"
    people = dict.fromkeys(who(e) for e in report.entries)
    yield f"- Who: {_md(', '.join(people))}"
    yield f"- Entries: {', '.join(e.id for e in report.entries)}"
    if report.first_write:
        yield f"- First write: {time_text(report.first_write)}"
    yield f"- Time to mitigation: {_md(mitigation_text(report))}"
    yield f"- As of: {time_text(report.now)}"
    yield ""
    yield "## Timeline"
    yield ""
    yield "| When (UTC) | Who | What | Result | Entry |"
    yield "|---|---|---|---|---|"
    for e in report.timeline:
        when = time_text(e.at).removesuffix(" UTC")
        yield f"| {when} | {_md(e.who)} | {_md(e.what)} | {_md(e.result)} | {e.entry} |"
    yield ""
    yield "## Edits"
    for entry in report.entries:
        yield ""
        yield f"### {entry.id}: {_md(what(entry))}"
        yield ""
        reason = f": {_md(entry.begin.reason)}" if entry.begin.reason else ""
        yield f"{_md(who(entry))}, {time_text(entry.begin.started)}{reason}"
        for number, edit in entry.edits():
            yield ""
            yield from _fence(_edit_lines(report, entry, number, edit))
        for number, order in entry.orders():
            yield ""
            outcome = outcome_text(entry, number, "not known")
            yield f"{_md(str(order.ref))}: {order.kind.value}, {_md(order.reason)} ({outcome})"
        for number, rollout in entry.rollouts():
            yield ""
            outcome = outcome_text(entry, number, "not known")
            yield f"{_md(str(rollout.ref))}: {rollout.how.value}, {_md(rollout.reason)} ({outcome})"
    yield ""
    yield "## Pending git change"
    yield ""
    yield from _owed_lines(report)
    yield ""
    yield "## Still open"
    yield ""
    yield from _open_lines(report)


def _edit_lines(report: Report, entry: Entry, number: int, edit: Edit) -> list[str]:
    outcome = outcome_text(entry, number, edit_now(edit, report.live).value)
    lines = [f"# {edit.ref}: {one_line(edit.reason)} ({outcome})"]
    settled = settlements(entry)
    for i, change in enumerate(edit.changes):
        lines += change_lines(change)
        state = change_text(
            entry, edit.ref, change, settled.get((number, i)), report.all_entries, report.live
        )
        lines.append(f"#   {state}")
    return lines


def _owed_lines(report: Report) -> Iterator[str]:
    if not report.owed:
        yield "Nothing: no version that was written here differs from git, as far as the cluster tells."
    groups: dict[tuple[str, str, str], list[Owed]] = {}
    for one in report.owed:
        groups.setdefault((one.repo_url, one.path, one.revision), []).append(one)
    for i, ((repo, path, revision), owed) in enumerate(groups.items()):
        if i:
            yield ""
        if repo:
            yield f"Repository {_md(repo)}, path {_md(path) or '(root)'}, revision {_md(revision)}:"
        else:
            yield "Repository not known:"
        for one in owed:
            yield ""
            through = f", through {one.owner}" if one.owner else ""
            by = f"{'pinned' if one.patch else 'held'} by {', '.join(one.entries)}"
            yield f"- {_md(str(one.key))}{_md(through)}: {_md(one.why)} ({by})"
            if one.owner and one.owner.kind == "ApplicationSet":
                yield f"  It is generated: the change belongs into the template or the parameters of {_md(str(one.owner))}."
            if one.patch:
                yield ""
                yield from _fence(one.patch)
    if report.settled_in_git:
        yield ""
    for key in report.settled_in_git:
        yield f"- {_md(str(key))}: git agrees with what is live."


def _open_lines(report: Report) -> Iterator[str]:
    if not report.open:
        yield "Nothing."
    for entry in report.open:
        late = deadline(entry, report.now)
        age = ago(report.now - entry.begin.started)
        yield (
            f"- {entry.id}: {_md(what(entry))}, {_md(who(entry))}, {age}{f', {late}' if late else ''}; "
            f"undo with `{COMMAND} undo {entry.id}`"
        )
        for _, _, edit, change in entry.unsettled():
            now = change_now(edit.ref, change, report.live)
            yield f"  - {_md(str(edit.ref))}: {_code(_brief(change))} {now.value}"
        for _, rollout in entry.unsettled_rollouts():
            yield f"  - {_md(str(rollout.ref))}: {_md(rollout.reason)}; not handed back to Argo CD yet"


def _brief(change: Change) -> str:
    return "; ".join(one_line(line) for line in change_lines(change))
