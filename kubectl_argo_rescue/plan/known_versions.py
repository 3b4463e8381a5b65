"""What the journal knows of an Application's versions: pinned by us, rescued from. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..argocd import application, history
from ..journal.entry import Entry, Now, edit_now
from ..model.values import JSON, FieldChange, Match, Role, ref_of


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
