"""What a journal entry says and what stands of it now: words and JSON values. Pure.

The live objects come in as a mapping: None for an object that is not there, no key at all for one
that could not be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from ..argocd import application, rollouts
from ..argocd.operation import STARTING, has_landed, operation, own_id
from ..argocd.workloads import NUMBERS
from ..journal.encoding import side
from ..journal.entry import (
    Entry,
    Live,
    Now,
    Settlement,
    change_now,
    deadline,
    edit_now,
    is_expired,
    lost,
    object_now,
    outcome_times,
    overwritten_by,
    settlements,
    undone_by,
    where_kept,
)
from ..model import patches
from ..model.discretion import told, without_values
from ..model.text import one_line, time_json, time_text
from ..model.values import (
    JSON,
    Change,
    Creation,
    Edit,
    FieldChange,
    Order,
    PlanStep,
    Ref,
    Removal,
    Takeback,
    WorkloadRollback,
)


def _order_now(order: Order, live: Live) -> Now:
    state = object_now(order.ref, live)
    if state is not None:
        return state
    return Now.STANDS if has_landed(order, live[order.ref.key]) else Now.RESTORED


def order_fate(order: Order, live: Live) -> str:
    """Say what became of an operation that was ordered, or ended."""
    state = object_now(order.ref, live)
    if state is not None:
        return state.value
    app = live[order.ref.key]
    found = operation(app)
    if order.kind not in STARTING:
        return found.describe() if found.in_progress else "no operation is in progress"
    if own_id(app.get("operation")) == order.id:
        return found.describe()
    running = (app.get("status") or {}).get("operationState") or {}
    if own_id(running.get("operation")) == order.id:
        message = one_line(str(running.get("message") or ""))
        at = application.parse_time(running.get("finishedAt"))
        text = str(running.get("phase") or "no phase")
        text += f" at {time_text(at)}" if at else ""
        return f"{text}: {message}" if message else text
    if found.present or found.phase:
        return "no trace of it; a later operation is there"
    return "no trace of it"


def doubt(entry: Entry, live: Live) -> str:
    """Settle an entry's intents without outcome by looking; empty where there are none."""
    found: list[str] = []
    for number, step in sorted(entry.intents.items()):
        if not entry.is_in_doubt(number) or _is_settled(entry, number):
            continue
        found.append(_step_now(step, live))
    return _together(found)


def _step_now(step: PlanStep, live: Live) -> str:
    if isinstance(step, WorkloadRollback):
        return rollout_now(step, live)
    if isinstance(step, Removal | Creation):
        return "is there" if live.get(step.ref.key) else "is not there"
    now = edit_now(step, live) if isinstance(step, Edit) else _order_now(step, live)
    return now.value


def rollout_now(step: WorkloadRollback, live: Live) -> str:
    """Say where a workload that was taken back is now, as far as it tells itself.

    Going back gives the old revision a new number, so a number alone does not say what runs.
    """
    if step.destination:
        return f"not looked at: it is on {step.destination}"
    state = object_now(step.ref, live)
    if state is not None:
        return state.value
    obj = live[step.ref.key]
    update = (obj.get("status") or {}).get("updateRevision")
    if step.ref.kind == "StatefulSet" and update:
        now = Now.STANDS if update == step.revision else Now.CHANGED
        return now.value
    number = (obj["metadata"].get("annotations") or {}).get(NUMBERS.get(step.ref.kind, ""))
    if step.how is not Takeback.TEMPLATE:
        now = Now.STANDS if rollouts.stands(obj, step.how) else Now.CHANGED
        return now.value
    if number is None:
        return "is there"
    return str(Now.RESTORED.value) if number == str(step.from_revision) else f"is at revision {number}"


def _is_settled(entry: Entry, number: int) -> bool:
    step = entry.intents[number]
    if isinstance(step, WorkloadRollback):
        return (number, 0) in entry.settled
    return isinstance(step, Edit) and all((number, i) in entry.settled for i in range(len(step.changes)))


def standing(entry: Entry, live: Live) -> str:
    """Say what stands of the applied changes that nobody has undone; empty where all of them do."""
    found = [
        change_now(edit.ref, change, live).value
        for number, _, edit, change in entry.unsettled()
        if not entry.is_in_doubt(number)
    ]
    text = _together(found)
    return "" if text == Now.STANDS.value else text


def _together(found: Sequence[str]) -> str:
    counts = {text: found.count(text) for text in dict.fromkeys(found)}
    if len(counts) < 2:
        return next(iter(counts), "")
    return ", ".join(f"{n} {text}" for text, n in counts.items())


def state_text(entry: Entry, live: Live, now: datetime) -> str:
    """Say how an entry is in a list: `open`, `in doubt: stands`, `open (changed by somebody), EXPIRED`."""
    state = entry.state.replace("-", " ")
    in_doubt = doubt(entry, live)
    if in_doubt:
        state = f"in doubt: {in_doubt}" if state == "in doubt" else f"{state}, in doubt: {in_doubt}"
    if entry.is_open and (other := standing(entry, live)):
        state += f" ({other})"
    if lost(entry):
        state += f", {lost(entry)} of its records lost"
    notes = [text for text in (deadline(entry, now), where_kept(entry)) if text]
    return ", ".join([state, *notes])


def is_worth_a_look(entry: Entry) -> bool:
    """Whether the live objects tell more of an entry than its records."""
    return entry.is_open or any(entry.is_in_doubt(n) for n in entry.intents)


# -- JSON


def _change_json(change: Change, values: bool) -> dict[str, JSON]:
    path = patches.show_path(change.path)
    if isinstance(change, FieldChange) and not values:
        before, after = without_values(change.before), without_values(change.after, change.before)
        change = replace(change, before=before, after=after)
    if isinstance(change, FieldChange):
        return {"path": path, **side("before", told(change.before)), **side("after", told(change.after))}
    return {"path": f"{path}/{change.index}", "item": change.item, "present": change.present}


def entry_json(
    entry: Entry, entries: Sequence[Entry], live: Live, now: datetime, *, values: bool = False
) -> dict[str, JSON]:
    """Return an entry as plain JSON values; a field that was or is absent is a key that is not there.

    Parameters and values of sources are said by their length, unless `values`.
    """
    b = entry.begin
    return {
        "id": entry.id,
        "verb": b.verb,
        "state": entry.state,
        "open": entry.is_open,
        "inDoubt": doubt(entry, live) or None,
        "actor": b.actor,
        "host": b.host,
        "started": time_json(b.started),
        "ended": time_json(entry.ended_at),
        "result": entry.ended or None,
        "reason": b.reason,
        "argv": list(b.argv),
        "argocd": {"namespace": b.argocd_namespace, "version": b.argocd_version},
        "homes": sorted(entry.homes),
        "expires": time_json(b.expires),
        "expired": is_expired(entry, now),
        "undoes": list(b.undoes),
        "undoneBy": undone_by(entry, entries),
        "lostRecords": lost(entry),
        "details": list(entry.details),
        **_steps_json(entry, entries, live, values),
        "relies": [
            {
                "kind": r.key.kind,
                "namespace": r.key.namespace,
                "name": r.key.name,
                **_change_json(r.change, values),
            }
            for r in entry.relies
        ],
        "witnesses": [
            {
                "owner": {"kind": w.owner.kind, "namespace": w.owner.namespace, "name": w.owner.name},
                "repoURL": w.repo_url,
                "path": w.path,
                "targetRevision": w.target_revision,
                "revision": w.revision,
            }
            for w in entry.witnesses
        ],
    }


def _steps_json(entry: Entry, entries: Sequence[Entry], live: Live, values: bool) -> dict[str, list[JSON]]:
    settled = {place: _settlement_json(how) for place, how in settlements(entry).items()}
    at = outcome_times(entry)
    found: dict[str, list[JSON]] = {
        "edits": [],
        "orders": [],
        "rollouts": [],
        "removals": [],
        "creations": [],
    }
    for number, step in sorted(entry.intents.items()):
        common: dict[str, JSON] = {
            "number": number,
            "kind": step.ref.kind,
            "namespace": step.ref.namespace,
            "name": step.ref.name,
            "uid": step.ref.uid,
            "reason": step.reason,
            "named": step.named,
            "outcome": entry.outcomes.get(number, "in-doubt"),
            "at": time_json(at.get(number)),
        }
        is_known = step.ref.key in live
        if isinstance(step, Order):
            fate = order_fate(step, live) if is_known else None
            what_for = {
                "id": step.id,
                "order": step.kind.name.lower(),
                "operation": told(step.operation if values else without_values(step.operation)),
            }
            found["orders"].append({**common, **what_for, "fate": fate})
        elif isinstance(step, Removal | Creation):
            found["removals" if isinstance(step, Removal) else "creations"].append(common)
        elif isinstance(step, WorkloadRollback):
            place = {
                "app": {"namespace": step.app.namespace, "name": step.app.name},
                "from": step.from_revision,
                "to": step.to_revision,
                "revision": step.revision,
                "destination": step.destination or None,
                "now": rollout_now(step, live) if is_known else None,
                "settled": settled.get((number, 0)),
            }
            found["rollouts"].append({**common, **place})
        else:
            changes = [
                {
                    **_change_json(change, values),
                    **_now_json(entry, step.ref, change, entries, live),
                    "settled": settled.get((number, i)),
                }
                for i, change in enumerate(step.changes)
            ]
            found["edits"].append({**common, "role": step.role.value, "changes": changes})
    return found


def _settlement_json(how: Settlement) -> JSON:
    return {"how": how.how, "by": how.by, "at": time_json(how.at)}


def _now_json(
    entry: Entry, ref: Ref, change: Change, entries: Sequence[Entry], live: Live
) -> dict[str, JSON]:
    """Say how a change is now, and who overwrote it; null where its object was not read."""
    if ref.key not in live:
        return {"now": None, "overwrittenBy": ""}
    now = change_now(ref, change, live)
    is_theirs = now in (Now.CHANGED, Now.RESTORED)
    by = overwritten_by(entry, ref, change, entries, live) if is_theirs else ""
    return {"now": now.value, "overwrittenBy": by}
