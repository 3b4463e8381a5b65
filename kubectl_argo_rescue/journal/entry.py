"""An entry as the fold of its records: what was meant, what came of it, what stands of it now. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum

from msgspec import Struct

from ..model import merge, patches
from ..model.errors import NotFound, UsageError
from ..model.merge import Standing
from ..model.text import one_line
from ..model.times import ago, human
from ..model.values import (
    ABSENT,
    JSON,
    POD,
    Change,
    Edit,
    Key,
    MemberChange,
    Order,
    PlanStep,
    Ref,
    Reliance,
    Role,
    Witness,
    WorkloadRollback,
    whole_kind,
)
from .records import Begin, Context, Intent, Outcome, Record, Reopened, Settled

Live = Mapping[Key, JSON]

THAW = "thaw"
"""The verb of the entry that keeps the windows of a thaw: they are owed until it is done."""

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
    return name if key.kind == "Application" else f"{whole_kind(key.kind)} {name}"


def objects_of(entry: Entry) -> list[Key]:
    """Return the objects of an entry, those that were named first; not the pods that were stopped with them."""
    steps = [step for _, step in sorted(entry.intents.items()) if step.ref.kind != POD.kind]
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


def described(entry: Entry, now: datetime) -> str:
    """Say which entry it is: what was done, by whom, when and why."""
    b = entry.begin
    who = f"{b.actor or 'somebody'} on {b.host or 'an unknown machine'}"
    because = f", because: {b.reason}" if b.reason else ""
    return one_line(f"entry {entry.id}: {b.verb} by {who}, {ago(now - b.started)}{because}")


def whose(entry: Entry, me: str, now: datetime) -> str:
    """Return what must be asked about an entry that is not known to be `me`'s; empty where it is."""
    if me and entry.begin.actor == me:
        return ""
    known = (
        "it is not yours"
        if me
        else "the API server does not say who you are, so it is not known whether it is yours"
    )
    return f"{described(entry, now)}; {known}"


def what_others_wrote(entry: Entry) -> str:
    """Say which records of an entry this machine's own file of it lacks; empty where it has all."""
    if not entry.foreign:
        return ""
    written = [r.content.what for r in entry.foreign if isinstance(r.content, Intent)]
    fields = [
        f"{step.ref} {patches.show_path(change.path)}"
        for step in written
        for change in (step.changes if isinstance(step, Edit) else ())
    ]
    fields += [str(step.ref) for step in written if not isinstance(step, Edit)]
    fields = list(dict.fromkeys(fields))
    more = f" and {len(fields) - 4} more" if len(fields) > 4 else ""
    about = f", about {', '.join(fields[:4])}{more}" if fields else ""
    count = len(entry.foreign)
    return one_line(
        f"{count} record{'s' * (count > 1)} of entry {entry.id}{about} "
        f"{'are' if count > 1 else 'is'} not in this machine's own file of it: somebody else wrote "
        f"{'them' if count > 1 else 'it'}"
    )


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


class Settlement(Struct, frozen=True):
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


def object_now(ref: Ref, live: Live) -> Now | None:
    """Say what keeps an object's fields from being compared; None where nothing does."""
    if ref.key not in live:
        return Now.UNREADABLE
    obj = live[ref.key]
    if obj is None:
        return Now.GONE
    return Now.RECREATED if obj["metadata"].get("uid") != ref.uid else None


def change_now(ref: Ref, change: Change, live: Live) -> Now:
    """Say what stands of one change."""
    return object_now(ref, live) or _NOW[merge.standing_of(change, live[ref.key])]


def edit_now(edit: Edit, live: Live) -> Now:
    """Say what stands of an edit as a whole."""
    found = {change_now(edit.ref, change, live) for change in edit.changes}
    if len(found) == 1:
        return found.pop()
    if not found:
        return object_now(edit.ref, live) or Now.STANDS
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


LEFT = "left"


# -- folding


class Entry(Struct, frozen=True):
    """What one command did: the fold of its records."""

    id: str
    begin: Begin
    intents: Mapping[int, PlanStep]
    outcomes: Mapping[int, str]
    settled: Mapping[tuple[int, int], str]
    relies: tuple[Reliance, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    ended: str = ""
    ended_at: datetime | None = None
    homes: frozenset[str] = frozenset()
    details: tuple[str, ...] = ()
    settled_at: datetime | None = None
    records: tuple[Record, ...] = ()
    left: frozenset[tuple[int, int]] = frozenset()
    """Changes that were wanted back, but that another entry still needed."""
    is_cut_off: bool = False
    """Its command died while it wrote down what it was going to do: what is not there was never done."""
    foreign: tuple[Record, ...] = ()
    """Records in the cluster that this machine's file of the entry lacks: others wrote them."""
    is_unproven: bool = False
    """It may be of another cluster, which this machine cannot tell from this one."""

    def edits(self) -> list[tuple[int, Edit]]:
        """The edits with their numbers, in the order of applying."""
        return [(n, e) for n, e in sorted(self.intents.items()) if isinstance(e, Edit)]

    def orders(self) -> list[tuple[int, Order]]:
        """The orders with their numbers."""
        return [(n, o) for n, o in sorted(self.intents.items()) if isinstance(o, Order)]

    def rollouts(self) -> list[tuple[int, WorkloadRollback]]:
        """The rollouts with their numbers."""
        return [(n, r) for n, r in sorted(self.intents.items()) if isinstance(r, WorkloadRollback)]

    def unsettled_rollouts(self) -> list[tuple[int, WorkloadRollback]]:
        """The rollouts that are not handed back to Argo CD yet."""
        return [
            (n, r)
            for n, r in self.rollouts()
            if self.outcomes.get(n) not in ("not-applied", "conflict") and (n, 0) not in self.settled
        ]

    @property
    def is_freeze(self) -> bool:
        """Whether it scaled Argo CD's own controllers: its undo is a thaw."""
        return any(edit.role is Role.SCALE for _, edit in self.edits())

    @property
    def is_orphaning(self) -> bool:
        """Whether it let Applications go without their workloads: its undo makes them anew."""
        return any(edit.role is Role.ORPHAN for _, edit in self.edits()) and not self.begin.undoes

    def is_in_doubt(self, number: int) -> bool:
        """Whether nothing is known of an intent: the live object decides."""
        return number not in self.outcomes

    def unsettled(self) -> list[tuple[int, int, Edit, Change]]:
        """The changes that an undo still has to look at: (edit, change, the edit, the change)."""
        return [
            (n, i, edit, change)
            for n, edit in self.edits()
            if self.outcomes.get(n) not in ("not-applied", "conflict")
            for i, change in enumerate(edit.changes)
            if (n, i) not in self.settled
        ]

    @property
    def is_open(self) -> bool:
        """Whether something of it stands or may stand; an undo's own edits are no debt."""
        return not self.begin.undoes and bool(self.unsettled() or self.unsettled_rollouts())

    @property
    def state(self) -> str:
        """One word for lists: open, in-doubt, partly-undone, undone, done."""
        if self.begin.undoes:
            return "in-doubt" if any(self.is_in_doubt(n) for n in self.intents) else "done"
        left = [*(n for n, _, _, _ in self.unsettled()), *(n for n, _ in self.unsettled_rollouts())]
        if not left:
            return "undone" if self.settled else "done"
        if self.settled:
            return "partly-undone"
        return "in-doubt" if any(self.is_in_doubt(n) for n in left) else "open"


def fold(records: Iterable[Record], homes: Iterable[str] = ()) -> Entry | None:
    """Fold the records of one entry, in any order and with repeats; None where the first is missing."""
    by_id: dict[str, Record] = {}
    for record in records:
        by_id.setdefault(record.id, record)
    begin: Begin | None = None
    intents: dict[int, PlanStep] = {}
    outcomes: dict[int, str] = {}
    settled: dict[tuple[int, int], str] = {}
    left: set[tuple[int, int]] = set()
    relies: list[Reliance] = []
    witnesses: list[Witness] = []
    ended, ended_at, settled_at = "", None, None
    details: list[str] = []
    entry_id = ""
    ordered = [by_id[id] for id in sorted(by_id)]
    for record in ordered:
        entry_id, c = record.entry, record.content
        if isinstance(c, Begin):
            begin = begin or c
        elif isinstance(c, Intent):
            # A conflict is planned again under the same number: the newest intent is what was sent.
            intents[c.number] = c.what
            outcomes.pop(c.number, None)
        elif isinstance(c, Outcome):
            outcomes.update(c.of)
            if c.detail:
                details.append(c.detail)
        elif isinstance(c, Settled):
            settled.update({change: how for change, how in c.changes.items() if how != LEFT})
            left |= {change for change, how in c.changes.items() if how == LEFT}
            settled_at = c.at or settled_at
        elif isinstance(c, Reopened):
            for change in c.changes:
                settled.pop(change, None)
        elif isinstance(c, Context):
            relies += c.relies
            witnesses += c.witnesses
        else:
            ended, ended_at = c.status, c.at
    if begin is None:
        return None
    return Entry(
        entry_id,
        begin,
        intents,
        outcomes,
        settled,
        tuple(relies),
        tuple(witnesses),
        ended,
        ended_at,
        frozenset(homes),
        tuple(details),
        settled_at,
        tuple(ordered),
        frozenset(left - settled.keys()),
    )


def next_number(seen: Sequence[Record]) -> int:
    """Return the number of an entry's next record: after all that were seen."""
    return 1 + max((int(r.id[:5]) for r in seen), default=0)


def record_id(number: int, writer: str) -> str:
    """Name a record: ordered by its number, unique by its writer (6 hex digits)."""
    return f"{number:05d}-{writer}"


def neighbours(entries: Iterable[Entry], ref: Ref, undone: Iterable[str]) -> list[merge.Neighbour]:
    """Return what entries other than those being undone did to one object, for `merge.fold`."""
    ids = set(undone)
    return [
        merge.Neighbour(change, stands=(n, i) not in entry.settled)
        for entry in sorted(entries, key=lambda e: (e.begin.started, e.id))
        if entry.id not in ids and not entry.begin.undoes
        for n, edit in entry.edits()
        if edit.ref == ref and entry.outcomes.get(n) not in ("not-applied", "conflict")
        for i, change in enumerate(edit.changes)
    ]


def older_neighbours(entries: Iterable[Entry], ref: Ref, undone: Iterable[str]) -> dict[str, int]:
    """Return how many of the `neighbours` came before each entry that is undone."""
    ids = set(undone)
    known = sorted(entries, key=lambda e: (e.begin.started, e.id))
    return {
        entry.id: len(neighbours(known[:place], ref, ids))
        for place, entry in enumerate(known)
        if entry.id in ids
    }
