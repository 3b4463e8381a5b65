"""What the journal knows of an Application's versions: pinned by us, rescued from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from ..argocd import application, history
from ..argocd.history import Rescued, Version
from ..journal.entry import Entry, Now, edit_now, fold
from ..journal.records import Outcome
from ..model.text import one_line
from ..model.values import JSON, FieldChange, Key, Match, OrderKind, Role, ref_of


def known_of(app: JSON, entries: Iterable[Entry]) -> history.KnownVersions:
    """Say what the journal knows of an Application's versions.

    A version is bad when a rescue left it or a watch saw it failing, not because a pin came later.
    Anybody's ConfigMap can say so: of an entry of this machine only its own records count, and where
    an entry of others decides that is said.
    """
    entries = [_own(entry) for entry in entries]
    known, key = _known_of(app, entries), ref_of(app).key
    told = [e for e in entries if "local" not in e.homes]
    alone = _known_of(app, [e for e in entries if "local" in e.homes]) if told else known
    if (alone.rescues, alone.failed) == (known.rescues, known.failed):
        return known
    ids = [f"entry {e.id} of {e.begin.actor or 'somebody'}" for e in told if _is_about(e, key)]
    return replace(known, alone=alone, others=one_line(", ".join(ids)))


def _own(entry: Entry) -> Entry:
    """Return an entry without what others added to it."""
    if not entry.foreign:
        return entry
    others = {record.id for record in entry.foreign}
    own = fold([r for r in entry.records if r.id not in others], entry.homes)
    return own or entry


def _known_of(app: JSON, entries: Sequence[Entry]) -> history.KnownVersions:
    key = ref_of(app).key
    kinds = [s.kind for s in application.sources(app)]
    return history.KnownVersions(
        is_pinned(app, entries),
        tuple(
            _rescued(entry, key, kinds)
            for entry in entries
            if entry.begin.verb == "rescue" and not entry.begin.undoes
        ),
        tuple(seen for entry in entries if _is_about(entry, key) for seen in _seen_failing(entry)),
        frozenset(
            order.id
            for entry in entries
            for _, order in entry.orders()
            if order.ref.key == key and order.kind is OrderKind.ROLLBACK
        ),
    )


def _rescued(entry: Entry, key: Key, kinds: Sequence[application.SourceKind]) -> Rescued:
    changes = list(_versions(entry, key))
    left = [
        version
        for number, i, change in changes
        if entry.settled.get((number, i)) != "restored"
        for version in _version_of(change, change.before)
        # A branch means something else by now, and the good commits were of it as well.
        if version.index < len(kinds) and not application.is_moving(kinds[version.index], version.name)
    ]
    wrote = [
        version
        for number, i, change in changes
        if entry.settled.get((number, i)) != "restored"
        for version in _version_of(change, change.after)
    ]
    return Rescued(entry.begin.started, tuple(left), tuple(wrote), entry.is_open)


def _versions(entry: Entry, key: Key) -> Iterator[tuple[int, int, FieldChange]]:
    """Yield what an entry changed of the version of an Application: (edit, change, the change)."""
    for number, edit in entry.edits():
        if edit.ref.key == key and edit.role is Role.VERSION:
            if entry.outcomes.get(number) not in ("not-applied", "conflict"):
                for i, change in enumerate(edit.changes):
                    if isinstance(change, FieldChange):
                        yield number, i, change


def _version_of(change: FieldChange, value: JSON) -> Iterator[Version]:
    """Yield what a side of a change says of a source."""
    is_source = isinstance(value, dict)
    name = value.get("targetRevision") if is_source else value
    step = change.path[-1] if is_source else change.path[-2]
    if isinstance(name, str) and name:
        index = step.index if isinstance(step, Match) else 0
        yield Version(index, name, history.values_of(value) if is_source else None)


def _is_about(entry: Entry, key: Key) -> bool:
    edits = (edit.ref.key == key and edit.role is Role.VERSION for _, edit in entry.edits())
    return any(edits) or any(order.ref.key == key for _, order in entry.orders())


def _seen_failing(entry: Entry) -> Iterator[tuple[str, datetime, bool]]:
    for record in entry.records:
        if isinstance(record.content, Outcome) and record.content.failed and record.content.at:
            yield record.content.failed, record.content.at, record.content.is_late


def is_pinned(app: JSON, entries: Iterable[Entry]) -> bool:
    """Whether an open entry has pinned what this Application asks for now: nobody has put it back."""
    live = {ref_of(app).key: app}
    return any(
        edit.ref.key in live and edit.role is Role.VERSION and edit_now(edit, live) is Now.STANDS
        for entry in entries
        if entry.is_open
        for _, _, edit, _ in entry.unsettled()
    )
