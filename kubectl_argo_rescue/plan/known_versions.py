"""What the journal knows of an Application's versions: pinned by us, rescued from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ..argocd import application, history
from ..journal.entry import Entry, Now, edit_now
from ..journal.records import Outcome
from ..model.values import JSON, FieldChange, Key, Match, OrderKind, Role, ref_of


def known_of(app: JSON, entries: Iterable[Entry]) -> history.KnownVersions:
    """Say what the journal knows of an Application's versions.

    A version is bad when a rescue left it or a watch saw it failing, not because a pin came later.
    """
    entries = list(entries)
    key = ref_of(app).key
    rescues = [e for e in entries if e.begin.verb == "rescue" and not e.begin.undoes]
    left = [
        (index, version, entry.begin.started)
        for entry in rescues
        for number, i, change in _versions(entry, key)
        if entry.settled.get((number, i)) != "restored"
        for index, version in _version_of(change, change.before)
    ]
    kinds = [s.kind for s in application.sources(app)]
    return history.KnownVersions(
        is_pinned(app, entries),
        tuple(
            (index, version, when)
            for index, version, when in left
            # A branch means something else by now, and the good commits were of it as well.
            if index < len(kinds) and not application.is_moving(kinds[index], version)
        ),
        tuple(seen for entry in entries if _is_about(entry, key) for seen in _seen_failing(entry)),
        tuple(
            wrote
            for entry in rescues
            if (
                wrote := tuple(
                    at
                    for number, i, change in _versions(entry, key)
                    if (number, i) not in entry.settled
                    for at in _version_of(change, change.after)
                )
            )
        ),
        frozenset(
            order.id
            for entry in entries
            for _, order in entry.orders()
            if order.ref.key == key and order.kind is OrderKind.ROLLBACK
        ),
    )


def _versions(entry: Entry, key: Key) -> Iterator[tuple[int, int, FieldChange]]:
    """Yield what an entry changed of the version of an Application: (edit, change, the change)."""
    for number, edit in entry.edits():
        if edit.ref.key == key and edit.role is Role.VERSION:
            if entry.outcomes.get(number) not in ("not-applied", "conflict"):
                for i, change in enumerate(edit.changes):
                    if isinstance(change, FieldChange):
                        yield number, i, change


def _version_of(change: FieldChange, value: JSON) -> Iterator[tuple[int, str]]:
    """Yield the version that a side of a change says, with the index of its source."""
    is_source = isinstance(value, dict)
    version = value.get("targetRevision") if is_source else value
    step = change.path[-1] if is_source else change.path[-2]
    if isinstance(version, str) and version:
        yield step.index if isinstance(step, Match) else 0, version


def _is_about(entry: Entry, key: Key) -> bool:
    return any(step.ref.key == key and step.role is not Role.PAUSE for step in entry.intents.values())


def _seen_failing(entry: Entry) -> Iterator[tuple[str, datetime]]:
    for record in entry.records:
        if isinstance(record.content, Outcome) and record.content.failed and record.content.at:
            yield record.content.failed, record.content.at


def is_pinned(app: JSON, entries: Iterable[Entry]) -> bool:
    """Whether an open entry has pinned what this Application asks for now: nobody has put it back."""
    live = {ref_of(app).key: app}
    return any(
        edit.ref.key in live and edit.role is Role.VERSION and edit_now(edit, live) is Now.STANDS
        for entry in entries
        if entry.is_open
        for _, _, edit, _ in entry.unsettled()
    )
