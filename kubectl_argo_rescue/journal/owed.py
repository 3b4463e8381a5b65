"""What entries of the journal still owe: the changes that an undo takes back, one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..model import patches
from ..model.merge import Tag
from ..model.values import Change, Key, MemberChange, Ref, Role
from .entry import THAW, Entry
from .records import HOLD


class Piece(Struct, frozen=True):
    """One change that is to be taken back."""

    tag: Tag
    ref: Ref
    role: Role
    change: Change


def pieces_of(entries: Iterable[Entry], only: Sequence[Key] = ()) -> list[Piece]:
    """Return what the entries still owe, newest first; with `only`, what is about these Applications.

    That is all of an entry that was made for them alone, the pauses of their owners included.
    """
    found: list[Piece] = []
    for entry in sorted(entries, key=lambda e: (e.begin.started, e.id), reverse=True):
        whole = not only or _is_for(entry, only)
        names = {k.name for k in only if _may_mean(entry, k)}
        for number, index, edit, change in reversed(entry.unsettled()):
            about = edit.ref.key in only or (edit.role is Role.WINDOW and _names_item(change, names))
            if not (whole or about):
                continue
            found.append(Piece(Tag(entry.id, number, index), edit.ref, edit.role, change))
    return found


def _is_for(entry: Entry, apps: Sequence[Key]) -> bool:
    """Whether an entry was made for these Applications, and owes nothing any more for others that it names."""
    names = {k.name for k in apps if _may_mean(entry, k)}
    still = {(number, index) for number, index, _, _ in entry.unsettled()}
    ours, others = False, any(r.app not in apps for _, r in entry.unsettled_rollouts())
    for number, edit in entry.edits():
        for index, change in enumerate(edit.changes):
            if edit.role is Role.WINDOW and isinstance(change, MemberChange):
                is_ours = _names_item(change, names)
            elif edit.named and edit.ref.kind == "Application":
                is_ours = edit.ref.key in apps
            else:
                continue
            ours |= is_ours
            others |= not is_ours and (number, index) in still
    ordered = {order.ref.key for _, order in entry.orders()}
    return (ours or not ordered.isdisjoint(apps)) and not others and ordered.issubset(apps)


def rest_of(entries: Iterable[Entry], apps: Sequence[Key]) -> list[Piece]:
    """Return what is in the way of, or open to, others, and stays where these Applications alone are undone."""
    entries = list(entries)
    taken = {piece.tag for piece in pieces_of(entries, apps)}
    named = {
        (e.id, n) for e in entries for n, edit in e.edits() if edit.named and edit.role is not Role.WINDOW
    }
    return [
        piece
        for piece in pieces_of(entries)
        if piece.tag not in taken
        and (piece.tag.entry, piece.tag.edit) not in named
        and not (piece.role is Role.WINDOW and isinstance(piece.change, MemberChange))
    ]


def owes(entry: Entry, app: Key) -> bool:
    """Whether something of an entry is still to be taken back that is about this Application."""
    return bool(pieces_of([entry], [app])) or any(r.app == app for _, r in entry.unsettled_rollouts())


def is_about(entry: Entry, app: Key) -> bool:
    """Whether an entry touched the Application or a window for it, or was made for it, undone or not."""
    words = {str(app).partition(" ")[2]} | (
        {app.name} if app.namespace == entry.begin.argocd_namespace else set()
    )
    # The words of an undo are the ids of entries as well.
    is_undo = bool(entry.begin.undoes) or entry.begin.verb in (THAW, HOLD)
    return touches(entry, app) or (not is_undo and not words.isdisjoint(entry.begin.argv))


def touches(entry: Entry, app: Key) -> bool:
    """Whether an entry changed the Application, its workloads, or its place in a window, undone or not."""
    names = {app.name} if _may_mean(entry, app) else set()
    return (
        any(step.ref.key == app for step in entry.intents.values())
        or any(rollout.app == app for _, rollout in entry.rollouts())
        or any(e.role is Role.WINDOW and _names_item(c, names) for _, e in entry.edits() for c in e.changes)
    )


def _may_mean(entry: Entry, app: Key) -> bool:
    """Whether a name in a window of this entry may be that Application: windows know no namespaces."""
    begin = entry.begin
    if app.namespace == begin.argocd_namespace or any(e.ref.key == app for _, e in entry.edits()):
        return True
    return any(app.namespace in (word, *word.replace("=", "/").split("/")) for word in begin.argv)


def _names_item(change: Change, names: set[str]) -> bool:
    item = getattr(change, "item", None)
    if isinstance(item, dict):
        listed = set(item.get("applications") or ())
        return bool(listed) and listed <= names
    return item in names


def relied_on(piece: Piece, others: Iterable[Entry]) -> Entry | None:
    """Return another open entry that needs this pause or window to stay."""
    if piece.role is Role.VERSION:
        return None
    where = patches.show_path(piece.change.path)
    for entry in others:
        for r in entry.relies:
            needed = patches.show_path(r.change.path)
            if r.key == piece.ref.key and (where == needed or where.startswith(needed + "/")):
                return entry
    return None


def left_over(others: Sequence[Entry], undone: Sequence[Entry]) -> list[Piece]:
    """Return what an earlier undo left in place for the entries that are undone now.

    Those entries were wanted back but for pauses and windows that somebody still needed; once nobody
    does, they go back as well, or they would stay for ever.
    """
    found: list[Piece] = []
    for entry in others:
        remaining = [e for e in others if e.id != entry.id]
        found += [
            p
            for p in pieces_of([entry])
            if (p.tag.edit, p.tag.change) in entry.left
            and relied_on(p, undone)
            and not relied_on(p, remaining)
        ]
    return found


def taken_back(entries: Iterable[Entry], ref: Ref) -> dict[str, str]:
    """Return the revisions that open entries took a workload back to, with the entry of each."""
    return {
        rollout.revision: entry.id
        for entry in entries
        if not entry.begin.undoes
        for _, rollout in entry.unsettled_rollouts()
        if rollout.ref == ref
    }
