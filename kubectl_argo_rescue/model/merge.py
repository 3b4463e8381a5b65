"""The three-way rule of undo: what stands of our change, and what going back would take.

Base is what we wrote, theirs is the saved original, ours is the object as it is now. The same
trivial merge as jj's `operation revert`, per field and per list item.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from . import patches
from .values import ABSENT, JSON, Change, FieldChange, Match, MemberChange, Path


class Standing(Enum):
    """What the live object says of one change that we made."""

    OURS = "ours"
    """Live equals what we wrote: the original can go back."""
    ORIGINAL = "original"
    """Live equals the original: somebody restored it already."""
    FOREIGN = "foreign"
    """Neither: somebody else wrote here since."""


class Conflict(Struct, frozen=True):
    """A field that both sides moved, with all three values."""

    path: Path
    base: JSON
    """What we wrote."""
    ours: JSON
    """What is there now."""
    theirs: JSON
    """The saved original."""
    what: str = "was changed"
    """What happened to it, or to the list item that it was in."""


def standing_of(change: Change, live: JSON) -> Standing:
    """Say what stands of `change` in `live`."""
    try:
        now = patches.read(change.path, live)
    except patches.Unresolved:
        return Standing.FOREIGN
    if isinstance(change, MemberChange):
        there = patches.position(now, change.item, change.index) >= 0
        if change.present and not there and _altered(now, change.item):
            return Standing.FOREIGN
        return Standing.OURS if there == change.present else Standing.ORIGINAL
    if patches.equal(now, change.after):
        return Standing.OURS
    is_original = patches.equal(now, change.before) and _moved_away(change, live) is None
    return Standing.ORIGINAL if is_original else Standing.FOREIGN


def _moved_away(change: Change, live: JSON) -> Change | None:
    """Return our change as one of a twin item: the twin has what we wrote, the item at our place the original.

    Of two sources of one repository and chart nothing but their order tells which is which.
    """
    if not isinstance(change, FieldChange) or not _reachable(change, live):
        return None
    for at, step in enumerate(change.path):
        items = _read(change.path[:at], live) if isinstance(step, Match) and step.content else None
        if not isinstance(step, Match) or not isinstance(items, list):
            continue
        for index, item in enumerate(items):
            if index != patches.find(items, step) and patches.holds(item, step):
                path = (*change.path[:at], Match(step.content, index), *change.path[at + 1 :])
                if patches.equal(_read(path, live), change.after):
                    return replace(change, path=path)
    return None


def _altered(items: JSON, ours: JSON) -> tuple[int, JSON] | None:
    """Return a rule that we added and that somebody has put more into since, with its index."""
    if not isinstance(items, list) or not isinstance(ours, dict) or not ours.get("name"):
        return None
    wanted = set(ours.get("jsonPointers") or ())
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get("name") == ours["name"] and item != ours:
            if wanted and wanted <= set(item.get("jsonPointers") or ()):
                return index, item
    return None


def was_taken_away(change: Change, live: JSON) -> bool:
    """Whether an original that was absent stands only because all that it was in is gone as well."""
    return (
        isinstance(change, FieldChange)
        and change.before is ABSENT
        and patches.equal(_read(change.path[:-1], live), ABSENT)
    )


def _read(path: Path, obj: JSON) -> JSON:
    try:
        return patches.read(path, obj)
    except patches.Unresolved:
        return ABSENT


def conflict(change: Change, live: JSON) -> Conflict:
    """Describe a FOREIGN change with its three values."""
    now = _read(change.path, live)
    if isinstance(change, FieldChange) and patches.equal(now, change.before):
        what = ": one of several alike items, of which another has what we wrote, was moved"
        return Conflict(change.path, change.after, now, change.before, what)
    window = _window_of(change)
    if window is not None and not _reachable(change, live):
        name = str(change.path[-1])
        edited = _in_edited(change, live)
        theirs = [change.item] if isinstance(change, MemberChange) else change.before
        return Conflict(
            change.path,
            base=window,
            ours=ABSENT if edited is None else _read(edited.path[:-1], live),
            theirs=window if theirs is ABSENT else {**window, name: theirs},
            what=": the window it was in was " + ("removed" if edited is None else "changed"),
        )
    if isinstance(change, MemberChange):
        there, gone = change.item, ABSENT
        found = _altered(now, change.item)
        now = found[1] if found else now
        return Conflict(
            change.path,
            base=there if change.present else gone,
            ours=now,
            theirs=gone if change.present else there,
        )
    what = "was changed" if _reachable(change, live) else ": the source it was in was removed or made another"
    return Conflict(change.path, base=change.after, ours=now, theirs=change.before, what=what)


class Tag(Struct, frozen=True):
    """Names one change in the journal: entry id, number of the edit, number of the change in it."""

    entry: str
    edit: int
    change: int


class Neighbour(Struct, frozen=True):
    """What another entry did to the same object: an item that it took may hold what ours was in."""

    change: Change
    stands: bool
    """False where it was undone already."""


class Fold(Struct, frozen=True):
    """What undoing several changes of one object comes to, from live to the oldest original."""

    changes: tuple[Change, ...]
    """The net changes: one per field or list item, straight to the oldest original."""
    restored: tuple[Tag, ...]
    already: tuple[Tag, ...]
    conflicts: tuple[tuple[Tag, Conflict], ...]
    target: JSON
    """The object as it will be."""


def fold(
    live: JSON,
    undone: Sequence[tuple[Tag, Change]],
    *,
    neighbours: Sequence[Neighbour] = (),
    older: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> Fold:
    """Undo changes of one object, given newest first, on a copy of `live`.

    No intermediate value ever reaches the cluster: what counts is the first state and the last.
    `neighbours` are the changes that all other entries made to the object, oldest first; `older` is
    how many of them are older than each entry that is undone. `overwrite` takes the
    original also where somebody else wrote since.
    """
    found = _folded(live, undone, neighbours, older, overwrite=overwrite, ours_first=False)
    if found.conflicts:
        # Of entries of one second nobody knows the order: a chain that leads to what is there is the one.
        chained = _folded(live, undone, neighbours, older, overwrite=overwrite, ours_first=True)
        return found if chained.conflicts else chained
    return found


def _folded(
    live: JSON,
    undone: Sequence[tuple[Tag, Change]],
    neighbours: Sequence[Neighbour],
    older: Mapping[str, int] | None,
    *,
    overwrite: bool,
    ours_first: bool,
) -> Fold:
    draft = copy.deepcopy(live)
    restored: list[Tag] = []
    already: list[Tag] = []
    conflicts: list[tuple[Tag, Conflict]] = []
    touched: list[Change] = []
    # Judged entry by entry against the state that undoing the newer ones leaves, all changes of
    # an entry before any is taken back: two equal items taken out together both go back.
    groups = [list(group) for _, group in itertools.groupby(undone, key=lambda u: u[0].entry)]
    while groups:
        # Which entry is the newer one is told by clocks, and clocks jump: one that fits what is
        # there comes first.
        fitting = [g for g in groups if all(_fits(change, draft, neighbours) for _, change in g)]
        if ours_first:
            fitting.sort(key=lambda g: not all(standing_of(c, draft) is Standing.OURS for _, c in g))
        group = next(iter(fitting), groups[0])
        groups.remove(group)
        since = (older or {}).get(group[0][0].entry)
        back: list[Change] = []
        remade: dict[int, tuple[MemberChange, list[MemberChange]]] = {}
        made_up: dict[str, MemberChange] = {}
        for tag, change in group:
            holder = _removed_holder(change, draft, neighbours)
            if overwrite and holder is None and not _reachable(change, draft):
                change = _in_edited(change, draft) or change
                holder = _holder_anew(change, draft, made_up)
            standing = standing_of(change, draft)
            if overwrite and standing is Standing.FOREIGN and (moved := _moved_away(change, draft)):
                if patches.equal(_read(change.path, draft), getattr(change, "before", ABSENT)):
                    change, standing = moved, Standing.OURS
            if standing is Standing.ORIGINAL:
                already.append(tag)
            elif holder is not None and isinstance(change, MemberChange):
                remade.setdefault(id(holder), (holder, []))[1].append(change)
                restored.append(tag)
            elif standing is Standing.OURS or (overwrite and _reachable(change, draft)):
                change = _to_the_first(change, group)
                back += _back_to_original(change, draft, neighbours, since)
                restored.append(tag)
            else:
                conflicts.append((tag, conflict(change, draft)))
        back += [_with_members(holder, members) for holder, members in remade.values()]
        for change in patches.in_order(back):
            touched.append(_at_its_place(change, draft))
            draft = patches.applied(draft, (change,))
    return Fold(_net(live, draft, touched), tuple(restored), tuple(already), tuple(conflicts), draft)


def _to_the_first(change: Change, group: Sequence[tuple[Tag, Change]]) -> Change:
    """Let a change lead back to before the first that its entry made there: windows are opened and closed again."""
    if not isinstance(change, FieldChange):
        return change
    there = [c for _, c in group if isinstance(c, FieldChange) and c.path == change.path]
    return replace(change, before=there[-1].before) if len(there) > 1 else change


def _fits(change: Change, draft: JSON, neighbours: Sequence[Neighbour]) -> bool:
    return (
        standing_of(change, draft) is not Standing.FOREIGN
        or _removed_holder(change, draft, neighbours) is not None
    )


def _reachable(change: Change, live: JSON) -> bool:
    try:
        patches.resolve(change.path, live)
    except patches.Unresolved:
        return False
    return True


def _window_of(change: Change) -> dict[str, JSON] | None:
    """Return the sync window that a change is in, as far as its path tells."""
    match = change.path[-2] if len(change.path) > 2 else None
    if not isinstance(match, Match) or "schedule" not in dict(match.content):
        return None
    return {name: value for name, value in match.content if value is not ABSENT}


def _in_edited(change: Change, live: JSON) -> Change | None:
    """Return the same change in the window that somebody made of the one it was in: same kind and schedule."""
    window = _window_of(change)
    *outer, match, name = change.path
    items = _read(tuple(outer), live)
    if window is None or not isinstance(match, Match) or not isinstance(items, list):
        return None

    def likeness(index: int) -> tuple[int, bool]:
        item = items[index]
        return sum(patches.equal(item.get(n, ABSENT), v) for n, v in match.content), index == match.index

    same = [
        index
        for index, item in enumerate(items)
        if isinstance(item, dict) and all(item.get(n) == window.get(n) for n in ("kind", "schedule"))
    ]
    if not same:
        return None
    index = max(same, key=likeness)
    content = tuple((n, items[index].get(n, ABSENT)) for n, _ in match.content)
    return replace(change, path=(*outer, Match(content, index), name))


def _holder_anew(change: Change, live: JSON, made_up: dict[str, MemberChange]) -> MemberChange | None:
    """Return the removal of a window that is not there any more, to put it back with what we took out of it."""
    window, place = _window_of(change), _member_place(change)
    if window is None or place is None or _reachable(change, live) or getattr(change, "present", True):
        return None
    outer, match, _ = place
    # The members of one window come back in one window.
    return made_up.setdefault(
        f"{outer}{match.content}", MemberChange(outer, window, match.index, present=False)
    )


def _back_to_original(
    change: Change, live: JSON, neighbours: Sequence[Neighbour], since: int | None
) -> list[Change]:
    undo = patches.inverse(change)
    if isinstance(undo, MemberChange):
        undo = _among_neighbours(undo, live, neighbours, since)
    if isinstance(undo, FieldChange):
        return [FieldChange(undo.path, patches.read(undo.path, live), undo.after)]
    if (
        isinstance(change, MemberChange)
        and change.present
        and (found := _altered(_read(change.path, live), change.item))
    ):
        index, item = found
        return [MemberChange(change.path, item, index, False, undo.sole)]
    return _into_remade(undo, live, neighbours) or [undo]


def _among_neighbours(
    undo: MemberChange, live: JSON, neighbours: Sequence[Neighbour], since: int | None
) -> MemberChange:
    """Give a member the place that it had before all entries, in whichever order they are undone.

    Each index was true of the list as the entries before had left it.
    """
    theirs = [
        (number, n, n.change)
        for number, n in enumerate(neighbours)
        if isinstance(n.change, MemberChange) and _list_of(n.change) == _list_of(undo)
    ]
    if not undo.present:
        # Who made the list anew has been undone: the last takes it away.
        is_last = any(c.present and c.sole and not n.stands for _, n, c in theirs)
        return replace(undo, sole=undo.sole or is_last)
    items = _read(undo.path, live)
    taken = [one for one in theirs if not one[2].present]
    if since is None or not taken or not isinstance(items, list):
        return undo
    # The list as it was once all had taken theirs, then the last to take is the first to give back.
    order: list[object] = list(range(len(items)))
    events: list[tuple[bool, MemberChange, object]] = []
    for number, n, c in taken:
        mark: object = c
        if not n.stands:
            there = (i for i in order if isinstance(i, int) and patches.equal(items[i], c.item))
            mark = next(there, None)
            if mark is None:
                continue
            order.remove(mark)
        events.append((number < since, c, mark))
    older = [(c, mark) for is_older, c, mark in events if is_older]
    newer = [(c, mark) for is_older, c, mark in events if not is_older]
    for c, mark in [*reversed(newer), (undo, undo), *reversed(older)]:
        order.insert(min(c.index, len(order)), mark)
    mine = next(at for at, mark in enumerate(order) if mark is undo)
    return replace(undo, index=sum(isinstance(mark, int) for mark in order[:mine]))


# Two entries on one window: the first takes `traefik` out of [traefik, web], the second the whole
# window [web]. Undoing the first alone makes the window anew for [traefik]; undoing the second
# then puts `web` into that one, instead of a second window beside it.


def _member_place(change: Change) -> tuple[Path, Match, str] | None:
    """Split the path of a member of a list in a list item: (outer list, the item, the list's name)."""
    if isinstance(change, MemberChange) and len(change.path) > 2:
        *outer, match, name = change.path
        if isinstance(match, Match) and isinstance(name, str):
            return tuple(outer), match, name
    return None


def _took_whole(change: Change, outer: Path, match: Match) -> bool:
    return (
        isinstance(change, MemberChange)
        and not change.present
        and change.path == outer
        and patches.holds(change.item, match)
    )


def _removed_holder(change: Change, live: JSON, neighbours: Sequence[Neighbour]) -> MemberChange | None:
    """Return the neighbour's change that took away, as a whole, the item out of which we took."""
    place = _member_place(change)
    if place is None or _reachable(change, live):
        return None
    outer, match, _ = place
    whole = [
        n.change
        for n in neighbours
        if n.stands and isinstance(n.change, MemberChange) and _took_whole(n.change, outer, match)
    ]
    return min(whole, key=lambda w: w.index != match.index, default=None)


def _with_members(removal: MemberChange, members: Sequence[MemberChange]) -> MemberChange:
    """Put an item back with only these members in its list: the others are not ours to restore."""
    item = {
        **removal.item,
        str(members[0].path[-1]): [m.item for m in sorted(members, key=lambda m: m.index)],
    }
    return MemberChange(removal.path, item, removal.index, present=True, sole=removal.sole)


def _into_remade(undo: MemberChange, live: JSON, neighbours: Sequence[Neighbour]) -> list[Change]:
    """Put the members of a whole item into the one that the undo of a neighbour made anew, if any."""
    items = patches.read(undo.path, live)
    if not undo.present or not isinstance(items, list):
        return []
    for n in neighbours:
        place = _member_place(n.change)
        if n.stands or place is None or not _took_whole(patches.inverse(undo), place[0], place[1]):
            continue
        _, match, name = place
        try:
            index = patches.find(items, match)
        except patches.Unresolved:
            continue
        listed = items[index].get(name)
        if {**items[index], name: None} != {**undo.item, name: None} or not listed:
            continue
        # Made anew by us: it has nothing but what neighbours had taken out of it.
        taken = [
            m.change.item
            for m in neighbours
            if isinstance(m.change, MemberChange) and _member_place(m.change) == place
        ]
        if all(item in taken for item in listed):
            where = (*undo.path, Match(match.content, index), name)
            missing = [item for item in undo.item.get(name) or () if item not in listed]
            return [
                MemberChange(where, item, len(listed) + i, present=True) for i, item in enumerate(missing)
            ]
    return []


def _net(live: JSON, target: JSON, touched: Sequence[Change]) -> tuple[Change, ...]:
    """Reduce changes to those that lead from `live` to `target` in one step each."""
    fields: dict[str, FieldChange] = {}
    members: list[MemberChange] = []
    for change in touched:
        if isinstance(change, FieldChange):
            fields[patches.show_path(change.path)] = change
        else:
            opposite = next((m for m in members if _cancels(m, change)), None)
            if opposite is None:
                members = [*_moved(members, change), change]
            else:
                members = _moved([m for m in members if m is not opposite], change)
    net: list[Change] = []
    for where, change in fields.items():
        if any(where.startswith(f"{outer}/") for outer in fields):
            continue  # the field around it goes to its target as a whole
        # What is not there now is inside an item that another change puts back first.
        now, after = _read(change.path, live), _read(change.path, target)
        if not patches.equal(now, after):
            net.append(FieldChange(change.path, now, after))
    return (*net, *members)


def _at_its_place(change: Change, live: JSON) -> Change:
    """Say the index that a change of a member really has."""
    if isinstance(change, FieldChange):
        return change
    items = _read(change.path, live)
    count = len(items) if isinstance(items, list) else 0
    index = min(change.index, count) if change.present else patches.position(items, change.item, change.index)
    return replace(change, index=max(index, 0))


def _moved(members: Sequence[MemberChange], by: MemberChange) -> list[MemberChange]:
    """Give members put in earlier the place that they have after one more change of their list."""
    step = 1 if by.present else -1
    return [
        replace(m, index=m.index + step)
        if m.present and m.index >= by.index and m.index + step >= 0 and _list_of(m) == _list_of(by)
        else m
        for m in members
    ]


def _list_of(change: MemberChange) -> list[JSON]:
    """Name the list of a member, wherever the items around it have moved to."""
    return [s if isinstance(s, str) else dict(s.content) for s in change.path]


def _cancels(one: MemberChange, other: MemberChange) -> bool:
    return (
        one.present is not other.present
        and patches.equal(one.item, other.item)
        and _list_of(one) == _list_of(other)
    )
