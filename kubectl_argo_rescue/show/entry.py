"""One journal entry told to a person: the lines of `show`. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

from ..journal.entry import (
    Entry,
    Live,
    Now,
    Settlement,
    change_now,
    deadline,
    edit_now,
    lost,
    outcome_times,
    overwritten_by,
    settlements,
    undone_by,
    value_now,
    what,
    what_others_wrote,
    who,
)
from ..model.patches import shown
from ..model.text import COMMAND, one_line, time_text
from ..model.times import ago
from ..model.values import Change, Creation, Edit, FieldChange, Order, Ref, Removal, WorkloadRollback
from .entries import order_fate, rollout_now, state_text
from .steps import change_lines, step_lines

HOW = {
    "restored": "restored",
    "already": "was restored already",
    "git": "left to git, which agrees",
    "kept": "kept",
    "gone": "closed, as it is gone",
    "handed-back": "handed back to Argo CD",
}
"""How a change was settled, in words (records.Settled)."""


def entry_lines(
    entry: Entry, entries: Sequence[Entry], live: Live, now: datetime, *, values: bool = False
) -> Iterator[str]:
    """Tell all of an entry: head, edits, orders, what it relies on, what git said.

    Parameters and values of sources are said by their length, unless `values`.
    """
    yield f"Entry {entry.id}: {what(entry)}"
    for name, text in _head(entry, entries, live, now):
        if text:
            yield f"  {name + ':':<12}{text}"
    edits, orders = entry.edits(), entry.orders()
    if edits:
        yield ""
        yield "Edits:"
        for number, edit in edits:
            yield from _edit_lines(entry, number, edit, entries, live, values)
    if orders:
        yield ""
        yield "Orders:"
        for number, order in orders:
            yield from _order_lines(entry, number, order, live, values)
    for word, kind in (("Deleted", Removal), ("Made anew", Creation)):
        if refs := [str(step.ref) for step in entry.intents.values() if isinstance(step, kind)]:
            yield ""
            yield f"{word}: {', '.join(refs)}"
    if entry.rollouts():
        yield ""
        yield "Workloads taken back:"
        for number, rollout in entry.rollouts():
            yield from rollout_lines(entry, number, rollout, live)
    if entry.relies:
        yield ""
        yield "Found in place and relied on:"
        for reliance in entry.relies:
            yield f"  {reliance.key}"
            yield from (f"      {one_line(line)}" for line in change_lines(reliance.change))
    if entry.witnesses:
        yield ""
        yield "What git said then:"
        for w in entry.witnesses:
            yield f"  {w.owner}: {w.repo_url} {w.path} at {w.target_revision or 'HEAD'}, {w.revision or 'not resolved'}"


def _head(entry: Entry, entries: Sequence[Entry], live: Live, now: datetime) -> Iterator[tuple[str, str]]:
    b = entry.begin
    yield "State", state_text(entry, live, now)
    yield "Who", who(entry)
    yield "When", f"{time_text(b.started)}, {ago(now - b.started)}"
    yield "Why", one_line(b.reason) or "no reason was given"
    yield "Command", one_line(f"{COMMAND} {shlex.join(b.argv)}")
    if entry.ended:
        at = f" at {time_text(entry.ended_at)}" if entry.ended_at else ""
        yield "Ended", f"{one_line(entry.ended)}{at}"
    else:
        yield "Ended", "it was cut off, or it still runs"
    yield "Details", "; ".join(one_line(text) for text in entry.details)
    if b.expires:
        yield "Deadline", time_text(b.expires) + (f", {text}" if (text := deadline(entry, now)) else "")
    yield "Undoes", ", ".join(b.undoes)
    yield "Undone by", ", ".join(undone_by(entry, entries))
    yield "Argo CD", f"{b.argocd_version or 'of unknown version'} in {b.argocd_namespace}"
    homes = {"local": "on this machine", "cluster": "in the cluster"}
    yield "Kept", " and ".join(homes.get(h, h) for h in sorted(entry.homes, reverse=True))
    if others := what_others_wrote(entry):
        yield "Others", others
    if lost(entry):
        yield "Lost", f"{lost(entry)} of {b.total} steps were read from neither home of the journal"


def outcome_text(entry: Entry, number: int, now: str) -> str:
    """Say what became of a step: its outcome, and where that is not known what is seen now."""
    outcome = entry.outcomes.get(number)
    return outcome.replace("-", " ") if outcome else f"in doubt: {now}"


def _edit_lines(
    entry: Entry, number: int, edit: Edit, entries: Sequence[Entry], live: Live, values: bool
) -> Iterator[str]:
    mark = "+" if edit.named else "*"
    at = outcome_times(entry).get(number)
    outcome = outcome_text(entry, number, edit_now(edit, live).value)
    when = f" at {time_text(at)}" if at else ""
    yield f"  {mark} {edit.ref}  {one_line(edit.reason)}"
    yield f"      {outcome}{when}"
    settled = settlements(entry)
    for i, change in enumerate(edit.changes):
        yield from (f"      {line}" for line in change_lines(change, values=values))
        yield f"        {change_text(entry, edit.ref, change, settled.get((number, i)), entries, live)}"


def change_text(
    entry: Entry,
    ref: Ref,
    change: Change,
    settled: Settlement | None,
    entries: Sequence[Entry],
    live: Live,
) -> str:
    """Say what stands of a change now, and how it was settled before."""
    now = change_now(ref, change, live)
    text = f"now: {now.value}"
    other = ""
    if now in (Now.CHANGED, Now.RESTORED):
        other = overwritten_by(entry, ref, change, entries, live)
        text += f", by entry {other}" if other and now is Now.RESTORED else ""
    if now is Now.CHANGED:
        text = f"now: changed by entry {other}" if other else text
        if isinstance(change, FieldChange):
            text += f" to {shown(value_now(ref, change, live))}"
    if settled is None:
        return text
    how = HOW.get(settled.how, one_line(settled.how))
    how += f" by entry {settled.by}" if settled.by else ""
    how += f" at {time_text(settled.at)}" if settled.at else ""
    is_back = settled.how in ("restored", "already")
    if is_back and now is Now.RESTORED:
        return how
    return f"{how}; {'the same stands again' if is_back and now is Now.STANDS else text}"


def rollout_lines(entry: Entry, number: int, rollout: WorkloadRollback, live: Live) -> Iterator[str]:
    """Tell of one workload: why, what became of it, from and to which revision, where it is now."""
    at = outcome_times(entry).get(number)
    now = rollout_now(rollout, live)
    yield f"  + {rollout.ref}  {one_line(rollout.reason)}"
    yield f"      {outcome_text(entry, number, now)}" + (f" at {time_text(at)}" if at else "")
    yield from (f"      {line}" for line in step_lines(rollout))
    settled = settlements(entry).get((number, 0))
    text = f"        now: {now}"
    if settled:
        text += f"; {HOW.get(settled.how, settled.how)}" + (f" by entry {settled.by}" if settled.by else "")
    yield text


def _order_lines(entry: Entry, number: int, order: Order, live: Live, values: bool) -> Iterator[str]:
    fate = order_fate(order, live)
    at = outcome_times(entry).get(number)
    yield f"  + {order.ref}  {one_line(order.reason)}"
    outcome = entry.outcomes.get(number)
    yield f"      {outcome or 'in doubt'}" + (f" at {time_text(at)}" if at else "")
    yield from (f"      {line}" for line in step_lines(order, values=values))
    yield f"        now: {fate}"
