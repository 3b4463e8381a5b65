"""What a journal entry says and what stands of it now: words and JSON values. Pure.

The live objects come in as a mapping: None for an object that is not there, no key at all for one
that could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from . import application, history, merge, patches
from .durations import human
from .errors import NotFound, UsageError
from .merge import Standing
from .model import (
    ABSENT,
    JSON,
    Change,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Order,
    PlanStep,
    Ref,
    Role,
    WorkloadRollback,
    ref_of,
)
from .operation import STARTING, has_landed, operation, own_id
from .records import Entry, Outcome, Reopened, Settled, side
from .text import one_line, time_json, time_text

Live = Mapping[Key, JSON]

LONGEST = 8
"""Entries that a message names before it says how many more there are."""


def find_entry(entries: Sequence[Entry], text: str) -> Entry:
    """Return the entry that `text` names: its id, or the beginning of only one id.

    `entry/7f3a1c`, as this tool prints it, is understood as well. Raises UsageError where several
    begin so, NotFound where none does.
    """
    wanted = text.removeprefix("entry/").lower()
    exact = [e for e in entries if e.id == wanted]
    if exact:
        return exact[0]
    found = [e for e in entries if wanted and e.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    newest = sorted(found or entries, key=lambda e: (e.begin.started, e.id), reverse=True)
    named = "; ".join(f"{e.id} is {what(e)}" for e in newest[:LONGEST])
    if len(newest) > LONGEST:
        named += f"; and {len(newest) - LONGEST} more"
    if found:
        raise UsageError(f"{text!r} could be {len(found)} entries", named)
    raise NotFound(
        f"there is no entry {text!r}",
        f"there are: {named}" if named else "the log is empty",
        status=404,
        reason="NotFound",
    )


def newest_first(entries: Sequence[Entry]) -> list[Entry]:
    """Order entries as lists show them."""
    return sorted(entries, key=lambda e: (e.begin.started, e.id), reverse=True)


# -- words


def name_of(key: Key, argocd_namespace: str) -> str:
    """Name an object as briefly as it is clear: `traefik`, `team/shop`, `AppProject cluster`."""
    name = key.name if key.namespace in ("", argocd_namespace) else f"{key.namespace}/{key.name}"
    return name if key.kind == "Application" else f"{key.kind} {name}"


def objects_of(entry: Entry) -> list[Key]:
    """Return the objects of an entry, those that were named first."""
    steps = [step for _, step in sorted(entry.intents.items())]
    return list(dict.fromkeys(s.ref.key for s in sorted(steps, key=lambda s: not s.named)))


def what(entry: Entry) -> str:
    """Say verb and objects: `pin traefik`, `undo 7f3a1c: traefik, AppProject cluster`."""
    names = [name_of(key, entry.begin.argocd_namespace) for key in objects_of(entry)]
    text = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    if entry.begin.undoes:
        return f"{entry.begin.verb} {', '.join(entry.begin.undoes)}: {text}"
    return one_line(f"{entry.begin.verb} {text}")


def who(entry: Entry) -> str:
    """Say who wrote it, and from where if that is known."""
    actor = one_line(entry.begin.actor) or "(unknown)"
    return f"{actor} on {one_line(entry.begin.host)}" if entry.begin.host else actor


def lost(entry: Entry) -> int:
    """Count the intents that the entry began with and that were read from neither home.

    One that was never written whole is none: nothing is done before it is recorded.
    """
    return 0 if entry.is_cut_off else max(entry.begin.total - len(entry.intents), 0)


def is_of(entry: Entry, argocd_namespace: str) -> bool:
    """Whether an entry is about that Argo CD: this machine's record is of all of a cluster."""
    return "cluster" in entry.homes or entry.begin.argocd_namespace in ("", argocd_namespace)


def elsewhere(entries: Iterable[Entry], argocd_namespace: str) -> list[str]:
    """Say how many open entries are about other Argo CDs of the cluster, one line for each."""
    others = [e.begin.argocd_namespace for e in entries if e.is_open and not is_of(e, argocd_namespace)]
    return [
        one_line(
            f"{others.count(ns)} open {'entry' if others.count(ns) == 1 else 'entries'} of Argo CD in {ns}: "
            f"--argocd-namespace {ns}"
        )
        for ns in dict.fromkeys(others)
    ]


def is_expired(entry: Entry, now: datetime) -> bool:
    """Whether something stands past its deadline."""
    return entry.is_open and entry.begin.expires is not None and entry.begin.expires <= now


def deadline(entry: Entry, now: datetime) -> str:
    """Say how its deadline is, empty where there is none or nothing is left to do."""
    if not entry.is_open or entry.begin.expires is None:
        return ""
    if entry.begin.expires <= now:
        return f"EXPIRED {human(now - entry.begin.expires)} ago"
    return f"expires in {human(entry.begin.expires - now)}"


def where_kept(entry: Entry) -> str:
    """Say that only one home has it, empty where both have."""
    if len(entry.homes) != 1:
        return ""
    return f"{next(iter(entry.homes))} only"


# -- what happened later


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one change came to need no undo, by which entry and when."""

    how: str
    by: str
    at: datetime | None


def settlements(entry: Entry) -> dict[tuple[int, int], Settlement]:
    """Return how each settled change (edit, change) was settled."""
    found: dict[tuple[int, int], Settlement] = {}
    for record in entry.records:
        c = record.content
        if isinstance(c, Settled):
            found.update({change: Settlement(how, c.by, c.at) for change, how in c.changes.items()})
        elif isinstance(c, Reopened):
            for change in c.changes:
                found.pop(change, None)
    return found


def undone_by(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Return the entries that undid it, or parts of it, oldest first."""
    ids = [e.id for e in entries if entry.id in e.begin.undoes]
    return list(dict.fromkeys([*ids, *(s.by for s in settlements(entry).values() if s.by)]))


def outcome_times(entry: Entry) -> dict[int, datetime]:
    """Return when the outcome of each intent was recorded."""
    found: dict[int, datetime] = {}
    for record in entry.records:
        if isinstance(record.content, Outcome) and record.content.at:
            found.update(dict.fromkeys(record.content.of, record.content.at))
    return found


def last_time(entry: Entry) -> datetime:
    """Return when anything last happened to an entry, as far as its records say."""
    times = [entry.begin.started, entry.ended_at, entry.settled_at, *outcome_times(entry).values()]
    return max(at for at in times if at is not None)


# -- what stands now


class Now(Enum):
    """What the live object says of something that we wrote, in the words that are shown."""

    STANDS = "stands"
    PARTLY = "stands in part"
    RESTORED = "does not stand"
    CHANGED = "changed by somebody"
    RECREATED = "the object was deleted and created anew"
    GONE = "the object is gone"
    UNREADABLE = "cannot be read"


_NOW = {
    Standing.OURS: Now.STANDS,
    Standing.ORIGINAL: Now.RESTORED,
    Standing.FOREIGN: Now.CHANGED,
}


def _object_now(ref: Ref, live: Live) -> Now | None:
    if ref.key not in live:
        return Now.UNREADABLE
    obj = live[ref.key]
    if obj is None:
        return Now.GONE
    return Now.RECREATED if obj["metadata"].get("uid") != ref.uid else None


def change_now(ref: Ref, change: Change, live: Live) -> Now:
    """Say what stands of one change."""
    return _object_now(ref, live) or _NOW[merge.standing_of(change, live[ref.key])]


def edit_now(edit: Edit, live: Live) -> Now:
    """Say what stands of an edit as a whole."""
    found = {change_now(edit.ref, change, live) for change in edit.changes}
    if len(found) == 1:
        return found.pop()
    if not found:
        return _object_now(edit.ref, live) or Now.STANDS
    return Now.CHANGED if Now.CHANGED in found else Now.PARTLY


def value_now(ref: Ref, change: Change, live: Live) -> JSON:
    """Return what is at a change's place now; ABSENT also where that cannot be told."""
    obj = live.get(ref.key)
    if obj is None or obj["metadata"].get("uid") != ref.uid:
        return ABSENT
    return merge.conflict(change, obj).ours


def overwritten_by(entry: Entry, ref: Ref, change: Change, entries: Sequence[Entry], live: Live) -> str:
    """Return the later entry of ours that wrote where this change was and whose change stands, else nothing."""
    for other in newest_first(entries):
        if (other.begin.started, other.id) <= (entry.begin.started, entry.id):
            return ""
        for number, edit in other.edits():
            if edit.ref != ref or other.outcomes.get(number) in ("not-applied", "conflict"):
                continue
            for theirs in edit.changes:
                if same_place(change, theirs) and change_now(ref, theirs, live) is Now.STANDS:
                    return other.id
    return ""


def same_place(one: Change, other: Change) -> bool:
    """Whether two changes of one object write the same field, or one of them what the other is in."""
    mine, theirs = f"{patches.show_path(one.path)}/", f"{patches.show_path(other.path)}/"
    if isinstance(one, MemberChange) and isinstance(other, MemberChange) and mine == theirs:
        return patches.equal(one.item, other.item)
    return mine.startswith(theirs) or theirs.startswith(mine)


def _order_now(order: Order, live: Live) -> Now:
    state = _object_now(order.ref, live)
    if state is not None:
        return state
    return Now.STANDS if has_landed(order, live[order.ref.key]) else Now.RESTORED


def order_fate(order: Order, live: Live) -> str:
    """Say what became of an operation that was ordered, or ended."""
    state = _object_now(order.ref, live)
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
    now = edit_now(step, live) if isinstance(step, Edit) else _order_now(step, live)
    return now.value


NUMBER = "deployment.kubernetes.io/revision"


def rollout_now(step: WorkloadRollback, live: Live) -> str:
    """Say where a workload that was taken back is now, as far as it tells itself.

    Going back gives the old revision a new number, so a number alone does not say what runs.
    """
    if step.destination:
        return f"not looked at: it is on {step.destination}"
    state = _object_now(step.ref, live)
    if state is not None:
        return state.value
    obj = live[step.ref.key]
    update = (obj.get("status") or {}).get("updateRevision")
    if step.ref.kind == "StatefulSet" and update:
        now = Now.STANDS if update == step.revision else Now.CHANGED
        return now.value
    number = (obj["metadata"].get("annotations") or {}).get(NUMBER)
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


def _change_json(change: Change) -> dict[str, JSON]:
    path = patches.show_path(change.path)
    if isinstance(change, FieldChange):
        return {"path": path, **side("before", change.before), **side("after", change.after)}
    return {"path": f"{path}/{change.index}", "item": change.item, "present": change.present}


def entry_json(entry: Entry, entries: Sequence[Entry], live: Live, now: datetime) -> dict[str, JSON]:
    """Return an entry as plain JSON values; a field that was or is absent is a key that is not there."""
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
        **_steps_json(entry, entries, live),
        "relies": [
            {
                "kind": r.key.kind,
                "namespace": r.key.namespace,
                "name": r.key.name,
                **_change_json(r.change),
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


def _steps_json(entry: Entry, entries: Sequence[Entry], live: Live) -> dict[str, list[JSON]]:
    settled = {place: _settlement_json(how) for place, how in settlements(entry).items()}
    at = outcome_times(entry)
    found: dict[str, list[JSON]] = {"edits": [], "orders": [], "rollouts": []}
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
            what_for = {"id": step.id, "order": step.kind.name.lower(), "operation": step.operation}
            found["orders"].append({**common, **what_for, "fate": fate})
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
                    **_change_json(change),
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


def known_of(app: JSON, entries: Iterable[Entry]) -> history.KnownVersions:
    """Say what the journal knows of an Application's versions."""
    entries = list(entries)
    key = ref_of(app).key
    left = [
        (step.index if isinstance(step, Match) else 0, change.before, entry.begin.started)
        for entry in entries
        if not entry.begin.undoes
        for number, edit in entry.edits()
        if edit.ref.key == key and edit.role is Role.VERSION
        if entry.outcomes.get(number) not in ("not-applied", "conflict")
        for i, change in enumerate(edit.changes)
        if isinstance(change, FieldChange) and isinstance(change.before, str)
        if entry.settled.get((number, i)) != "restored"
        for step in change.path[-2:-1]
    ]
    kinds = [s.kind for s in application.sources(app)]
    return history.KnownVersions(
        is_pinned(app, entries),
        tuple(
            (index, version, when)
            for index, version, when in left
            # A branch means something else by now, and the good commits were of it as well.
            if index < len(kinds) and version and not application.is_moving(kinds[index], version)
        ),
    )


def is_pinned(app: JSON, entries: Iterable[Entry]) -> bool:
    """Whether an open entry has pinned what this Application asks for now: nobody has put it back."""
    live = {ref_of(app).key: app}
    return any(
        edit.ref.key in live and edit.role is Role.VERSION and edit_now(edit, live) is Now.STANDS
        for entry in entries
        if entry.is_open
        for _, _, edit, _ in entry.unsettled()
    )
