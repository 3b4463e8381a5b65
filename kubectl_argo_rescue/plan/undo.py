"""What an undo puts back: originals three-way per field, folded over entries, and in which order. Pure.

The order is the way in, reversed: windows, the children's auto-sync, version fields, then the
owners, grandparents last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import Enum

from msgspec import Struct

from ..argocd import application, handback, operation, ownership
from ..argocd.handback import Evidence, Handback
from ..journal.encoding import side
from ..journal.entry import LEFT, Entry, last_time, neighbours, older_neighbours, same_place
from ..journal.owed import Piece, left_over, pieces_of, relied_on
from ..journal.records import HOLD
from ..model import merge, patches
from ..model.discretion import is_whole, told, without_values
from ..model.errors import ConflictError
from ..model.merge import Conflict, Fold, Standing, Tag
from ..model.patches import shown
from ..model.text import display_name
from ..model.values import (
    JSON,
    Edit,
    FieldChange,
    Key,
    Plan,
    PlanStep,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    Witness,
    WorkloadRollback,
    ref_of,
)
from .on_conflict import OnConflict

RESTORED: dict[Role, str] = {
    Role.PAUSE: "auto-sync restored",
    Role.WINDOW: "sync windows restored",
    Role.VERSION: "version restored",
    Role.RULE: "rule taken away",
    Role.WORKLOAD: "handed back",
    Role.SCALE: "started",
    Role.ORPHAN: "put back",
}

NOT_BACK: dict[Role, str] = {
    Role.PAUSE: "auto-sync",
    Role.WINDOW: "sync windows",
    Role.VERSION: "the version",
    Role.RULE: "the rule",
}
"""What an undo was about, for those who interrupt it."""


SETTLED_SECONDS = 60.0
"""After this what was written or deployed is in Argo CD's own picture of the cluster for certain."""


class Fate(Enum):
    """What became of one change, as the journal words it."""

    RESTORED = "restored"
    ALREADY = "already"
    """The original stood there before we came."""
    GIT = "git"
    """git is the master of the field again."""
    GONE = "gone"
    """There is nothing any more that it could be put back into."""
    HANDED_BACK = "handed-back"
    LEFT = LEFT
    """It stays while another entry needs it."""


class Options(Struct, frozen=True):
    """How an undo is to go."""

    on_conflict: OnConflict = OnConflict.STOP
    redeploy: bool = False
    when_safe: bool = False
    timeout: float | None = None
    let_delete: tuple[str, ...] = ()
    """Applications that may go with their workloads."""


class UndoWork:
    """What an undo is about, over the objects as they were read last, and what becomes of it."""

    def __init__(
        self, entries: Sequence[Entry], known: Sequence[Entry], options: Options, snapshot: Snapshot
    ) -> None:
        """Take the entries to undo, all that are known, and what was read so far."""
        self.entries = tuple(entries)
        self.known = tuple(known)
        self.options = options
        self.snapshot = snapshot
        self.argocd = snapshot.argocd
        self.is_redo = all(e.begin.undoes for e in entries)
        self.witnesses: tuple[Witness, ...] = tuple(w for e in entries for w in e.witnesses)
        self.pieces: list[Piece] = []
        self.rollouts: dict[Key, list[tuple[Tag, WorkloadRollback]]] = {}
        """The workloads that were taken back, by Application."""
        self.needed: set[Key] = set()
        """What entries that stay have paused: their undo may lift that later."""
        self.owners: frozenset[Key] = frozenset()
        """What owns others of this undo, themselves touched or not: they go back last."""
        self.folds: dict[tuple[Key, Role], Fold] = {}
        self._folded: dict[Key, JSON] = {}
        """The objects as they were judged: one that was not read again is not judged again."""
        self.settled: dict[Tag, Fate] = {}
        self.written: set[Key] = set()
        """The objects that this undo has written to."""
        self.conflicts: list[tuple[Piece, Conflict]] = []
        self.out_of_reach: set[Tag] = set()
        """Conflicts of which not even the place is there any more."""
        self.overwritten: list[tuple[Piece, Conflict]] = []
        """What somebody else wrote and the saved original will take the place of."""
        self.late: list[tuple[Piece, Conflict]] = []
        """What somebody else wrote while we did."""
        self.verdicts: dict[Key, Handback] = {}
        """What git says of the versions."""
        self.silent: set[Key] = set()
        """Owners that Argo CD did not compare in time: they are not waited for twice."""
        self.hiding: set[Key] = set()
        """Owners of which our own edits may hide what git wants."""
        self.held_projects: set[Key] = set()
        """AppProjects that have, or had a moment ago, a window of ours for as long as something is tried."""
        self.resumed_already: set[Key] = set()
        """Owners that were let go before the others."""
        self.left: list[str] = []
        """What stays on purpose, one line each."""
        self.elsewhere: set[str] = set()
        """Entries that may be of another cluster."""
        self.owed: list[JSON] = []
        """The changes of git that are still to be made."""

    # -- what is owed

    def take(self, others: Sequence[Entry], only: Sequence[Key]) -> list[Entry]:
        """Find what is to be taken back; return the entries that are done along with those named.

        `others` are the open entries that stay: what an earlier undo left in place for ours goes back
        now. With `only`, what is about these Applications.
        """
        along: list[Entry] = []
        self.pieces = pieces_of(self.entries, only)
        if len(self.pieces) == len(pieces_of(self.entries)):
            pieces = left_over(others, self.entries)
            ids = {p.tag.entry for p in pieces}
            along = [e for e in others if e.id in ids]
            self.entries += tuple(along)
            self.pieces += pieces
        for entry in self.entries:
            for number, rollout in entry.unsettled_rollouts() if not entry.begin.undoes else ():
                if not only or rollout.app in only:
                    self.rollouts.setdefault(rollout.app, []).append((Tag(entry.id, number, 0), rollout))
        self.needed = {
            edit.ref.key for e in others for _, _, edit, _ in e.unsettled() if edit.role is Role.PAUSE
        }
        return along

    def leave_what_others_need(self, others: Sequence[Entry]) -> list[str]:
        """Leave out what another open entry relies on, and say so."""
        kept: list[Piece] = []
        said: list[str] = []
        for piece in self.pieces:
            needed_by = relied_on(piece, others)
            if needed_by is None:
                kept.append(piece)
                continue
            self.settled[piece.tag] = Fate.LEFT
            stays = "paused" if piece.role is Role.PAUSE else "as it is"
            said.append(
                f"{piece.ref.kind} {self.name(piece.ref.key)} stays {stays}: entry {needed_by.id} still needs it"
            )
        self.pieces = kept
        return said

    def keys(self) -> list[Key]:
        """Return the objects that this undo is about."""
        return list(dict.fromkeys([*(p.ref.key for p in self.pieces), *self.rollouts]))

    def find_owners(self, keys: Sequence[Key]) -> None:
        """Note what owns others of these objects."""
        found: set[Key] = set()
        for key in keys:
            found.update(k for k in ownership.ancestors(self.snapshot, [key]) if k != key)
        self.owners = frozenset(found)

    def name(self, key: Key) -> str:
        """Name an object as the user would."""
        return display_name(key, self.argocd)

    def live(self, key: Key) -> JSON | None:
        """Return an object as it was read last."""
        return self.snapshot.objects.get(key)

    def leave(self, texts: Iterable[str]) -> list[str]:
        """Note what stays on purpose; return what was not noted before."""
        new = [text for text in dict.fromkeys(texts) if text not in self.left]
        self.left += new
        return new

    def owe(self, verdict: Handback) -> None:
        """Note a change that git still owes."""
        self.owed.append(
            {
                "app": self.name(verdict.key),
                "where": verdict.where,
                "why": verdict.why,
                "evidence": verdict.evidence.value,
            }
        )

    # -- what stands of it

    def drop_missing_rollouts(self) -> list[str]:
        """Settle the workloads of Applications that do not exist any more, and name these."""
        said = []
        for key in [k for k in self.rollouts if k not in self.snapshot.objects]:
            for tag, _ in self.rollouts.pop(key):
                self.settled[tag] = Fate.GONE
            said.append(f"{key} does not exist any more: nothing rolls its workloads")
        return said

    def fold(self) -> list[str]:
        """Judge every change over what is there now; return what is worth a warning."""
        self.folds.clear()
        self.conflicts.clear()
        self.overwritten.clear()
        said: list[str] = []
        groups: dict[tuple[Key, Role], list[Piece]] = {}
        for piece in self.pieces:
            live = self.live(piece.ref.key)
            if piece.tag.entry in self.elsewhere:
                continue
            if live is None:
                self.settled[piece.tag] = Fate.GONE
                said.append(f"{piece.ref} does not exist any more: there is nothing to restore")
            elif live["metadata"].get("uid") != piece.ref.uid:
                said += self._of_created_anew(piece, live)
            else:
                groups.setdefault((piece.ref.key, piece.role), []).append(piece)
        for (key, role), pieces in groups.items():
            fold = self._merged(pieces, overwrite=self._overwrites)
            self.folds[key, role] = fold
            self._folded[key] = self.live(key)
            by_tag = {p.tag: p for p in pieces}
            self.conflicts += [(by_tag[tag], conflict) for tag, conflict in fold.conflicts]
            if self._overwrites:
                foreign = self._merged(pieces, overwrite=False).conflicts
                self.overwritten += [(by_tag[tag], c) for tag, c in foreign if tag in fold.restored]
            back = fold.already if fold.changes else (*fold.already, *fold.restored)
            self.settled.update(dict.fromkeys(back, Fate.ALREADY))
        return said

    def _of_created_anew(self, piece: Piece, live: JSON) -> list[str]:
        """Judge a change of an object that another one has taken the place of: nothing is written to that."""
        what = f"{piece.ref} was deleted and created anew since: it is left alone"
        is_ours = merge.standing_of(piece.change, live) is merge.Standing.OURS
        if not is_ours or self.options.on_conflict is OnConflict.SKIP:
            self.settled[piece.tag] = Fate.GONE
            return [what]
        return self.leave(
            [
                f"{what}, though {patches.show_change(piece.change)} stands in it as well: put that back by "
                "hand and undo again, or close it as it is with --on-conflict=skip"
            ]
        )

    def leave_what_may_be_elsewhere(self) -> list[str]:
        """Leave entries of this machine alone that may be of another cluster, and say so.

        None of their objects is here: that they are gone would be said of the wrong cluster.
        """
        here = {live["metadata"].get("uid") for live in self.snapshot.objects.values()}
        for entry in self.entries:
            if entry.is_unproven and not any(s.ref.uid in here for s in entry.intents.values()):
                self.elsewhere.add(entry.id)
        here_alone = {
            key: [(tag, r) for tag, r in found if tag.entry not in self.elsewhere]
            for key, found in self.rollouts.items()
        }
        self.rollouts = {key: found for key, found in here_alone.items() if found}
        return self.leave(
            f"entry {id} may be of another cluster, none of its objects is in this one: it stays open"
            for id in sorted(self.elsewhere)
        )

    def fold_again(self) -> list[str]:
        """Judge all of it once more, over objects that were read again."""
        self.settled = {tag: fate for tag, fate in self.settled.items() if fate in (Fate.LEFT, Fate.GIT)}
        return self.fold()

    def is_on_top(self, key: Key) -> bool:
        """Whether the version goes back to what another open entry has pinned, under what that has paused.

        git has no say in it: it is asked when that one is undone. Not where this undo lets somebody go
        who would write it.
        """
        mine = {entry.id for entry in self.entries}
        let_go = {
            k for (k, role), fold in self.folds.items() if role in (Role.PAUSE, Role.RULE) and fold.changes
        }
        if let_go.intersection(ownership.ancestors(self.snapshot, [key])):
            return False
        target = self.folds[key, Role.VERSION].target
        pinned = [
            change
            for entry in self.known
            if entry.id not in mine and entry.is_open and entry.begin.verb != HOLD
            for _, _, edit, change in entry.unsettled()
            if edit.ref == ref_of(target) and edit.role is Role.VERSION
        ]
        return bool(pinned) and all(
            any(
                same_place(change, theirs) and merge.standing_of(theirs, target) is Standing.OURS
                for theirs in pinned
            )
            for change in self.folds[key, Role.VERSION].changes
        )

    def leave_to_owner(self, key: Key) -> list[Piece]:
        """Settle the version of an Application as git's, which stands there now; return what was owed of it."""
        given = [p for p in self.pieces if p.ref.key == key and p.role is Role.VERSION]
        self.pieces = [p for p in self.pieces if p not in given]
        self.settled.update({p.tag: Fate.GIT for p in given})
        return given

    def take_over(self, pieces: Sequence[Piece]) -> None:
        """Owe again what was left to an owner."""
        self.pieces += pieces
        for piece in pieces:
            self.settled.pop(piece.tag, None)

    def already_back(self) -> list[Key]:
        """Return the objects of which something stands as it was, by what was read."""
        already = (p.ref.key for p in self.pieces if self.settled.get(p.tag) is Fate.ALREADY)
        return list(dict.fromkeys(already))

    def taken_away(self) -> list[str]:
        """Name what looks restored only because somebody took away all that it was in."""
        said = []
        for piece in self.pieces:
            live = self.live(piece.ref.key)
            if self.settled.get(piece.tag) is not Fate.ALREADY or not merge.was_taken_away(
                piece.change, live
            ):
                continue
            text = (
                f"{piece.ref} {patches.show_path(piece.change.path[:-1])} was taken away by somebody else since: "
                "nothing of it is put back"
            )
            if piece.role is Role.PAUSE and piece.ref.kind == "Application":
                text += ", and auto-sync stays off"
            said.append(text)
        return said

    @property
    def _overwrites(self) -> bool:
        return self.options.on_conflict is OnConflict.OVERWRITE

    def _merged(self, pieces: Sequence[Piece], *, overwrite: bool) -> Fold:
        """Fold pieces of one role over their object as it was read last."""
        live = self.live(pieces[0].ref.key)
        assert live is not None
        undone, ref = [e.id for e in self.entries], ref_of(live)
        return merge.fold(
            live,
            [(p.tag, p.change) for p in pieces],
            neighbours=neighbours(self.known, ref, undone),
            older=older_neighbours(self.known, ref, undone),
            overwrite=overwrite,
        )

    # -- conflicts

    def find_out_of_reach(self) -> None:
        """Note the conflicts that nothing can be put back for: the list item that they were in is gone."""
        for key, role in dict.fromkeys((p.ref.key, p.role) for p, _ in self.conflicts):
            pieces = [
                p
                for p in self.pieces
                if p.ref.key == key and p.role is role and self.settled.get(p.tag) is not Fate.GONE
            ]
            self.out_of_reach.update(tag for tag, _ in self._merged(pieces, overwrite=True).conflicts)

    def close_what_has_no_place(self, blocked: Collection[Key]) -> list[str]:
        """Close, where it is left as it is, what can never be put back: it would stay open for ever.

        Not while an owner is kept from writing over it: the next undo must know of it.
        """
        said = []
        for piece, c in self.conflicts:
            held = set(blocked).intersection(ownership.ancestors(self.snapshot, [piece.ref.key]))
            if piece.tag in self.out_of_reach and self.options.on_conflict is OnConflict.SKIP and not held:
                self.settled[piece.tag] = Fate.GONE
                said.append(
                    f"{piece.ref} {patches.show_path(c.path)} is left as it is and closed: what it was in is gone"
                )
        return said

    def skipped_versions(self) -> dict[Key, list[Conflict]]:
        """Return the version fields that somebody else wrote since and that are left as they are."""
        found: dict[Key, list[Conflict]] = {}
        for piece, conflict in self.conflicts:
            if piece.role is Role.VERSION and self.options.on_conflict is OnConflict.SKIP:
                found.setdefault(piece.ref.key, []).append(conflict)
        return found

    def taken_over(self) -> list[tuple[Piece, Conflict]]:
        """Return what somebody else wrote and this undo takes away, as far as is known."""
        return [
            (piece, c)
            for piece, c in self.overwritten
            if piece.role is not Role.VERSION or self.will_go_back(piece.ref.key)
        ]

    def meet(self, edits: Sequence[Edit]) -> list[tuple[Piece, Conflict]]:
        """Return what somebody wrote since it was judged: guards are made of what was read last."""
        found: list[tuple[Piece, Conflict]] = []
        pieces: dict[tuple[Key, Role], list[Piece]] = {}
        for piece in self.pieces:
            if self.settled.get(piece.tag) is not Fate.GONE:
                pieces.setdefault((piece.ref.key, piece.role), []).append(piece)
        for edit in edits:
            place = edit.ref.key, edit.role
            if self.live(edit.ref.key) is self._folded[edit.ref.key]:
                continue
            fold = self._merged(pieces[place], overwrite=self._overwrites)
            found += _new_in(fold, self.folds[place], pieces[place])
        self.late += found
        return found

    def replan(self, snapshot: Snapshot) -> Plan:
        """Fold again over objects that moved. Raises ConflictError where somebody wrote our fields."""
        self.snapshot = snapshot
        edits: list[Edit] = []
        for (key, role), old in list(self.folds.items()):
            live = self.live(key)
            if live is None:
                continue
            pieces = [p for p in self.pieces if p.ref.key == key and p.role is role]
            fold = self._merged(pieces, overwrite=self._overwrites)
            if len(fold.conflicts) > len(old.conflicts):
                c = fold.conflicts[0][1]
                self.late += _new_in(fold, old, pieces)
                raise ConflictError(
                    f"{patches.show_path(c.path)} was changed by somebody else just now: {shown(c.ours)}"
                )
            if fold.changes:
                edits.append(Edit(ref_of(live), fold.changes, "the saved original", role))
        return Plan("undo", tuple(edits))

    def conflicts_json(self) -> list[JSON]:
        """Return the fields that somebody else wrote, as plain JSON; an absent value is a key that is not there."""
        found = [(p, c, False) for p, c in (*self.conflicts, *self.late)]
        return [
            {
                "kind": piece.ref.kind,
                "namespace": piece.ref.namespace,
                "name": piece.ref.name,
                "path": patches.show_path(c.path),
                "entry": piece.tag.entry,
                **side("base", told(without_values(c.base))),
                **side("ours", told(without_values(c.ours))),
                **side("theirs", told(without_values(c.theirs))),
                "overwritten": is_overwritten,
            }
            for piece, c, is_overwritten in [*found, *((p, c, True) for p, c in self.taken_over())]
        ]

    # -- what is to be written, and in which order

    def edits(self, roles: Sequence[Role], keys: Callable[[Key], bool] = lambda key: True) -> list[Edit]:
        """Return what is still to be written of some roles, for the objects that `keys` says."""
        edits: list[Edit] = []
        for (key, role), fold in self.folds.items():
            if role in roles and fold.changes and keys(key):
                live = self.live(key)
                assert live is not None
                edits.append(Edit(ref_of(live), fold.changes, "the saved original", role))
        return edits

    def owner_edits(self) -> list[Edit]:
        """Return what gives owners back their own will, grandparents last."""
        edits = self.edits([Role.RULE])
        edits += self.edits([Role.PAUSE], lambda k: k in self.owners and k not in self.resumed_already)
        depth = {e.ref: len(ownership.ancestors(self.snapshot, [e.ref.key])) for e in edits}
        # Nearest first, grandparents last: who has fewer owners above stands higher.
        return sorted(edits, key=lambda e: -depth[e.ref])

    def opening_edits(self, held: Collection[Key] = ()) -> list[Edit]:
        """Return what goes back first: windows and the children's auto-sync, but of those `held`."""
        return [
            *self.edits([Role.WINDOW]),
            *self.edits([Role.PAUSE], lambda k: k not in self.owners and k not in held),
        ]

    def redo_edits(self) -> list[Edit]:
        """Return what does again what an undo took back, in the order of the way in."""
        return [
            *reversed(self.owner_edits()),
            *self.edits([Role.PAUSE], lambda k: k not in self.owners),
            *self.edits([Role.VERSION]),
            *self.edits([Role.WINDOW]),
        ]

    def resumed(self) -> list[Key]:
        """Return the Applications whose auto-sync goes back on."""
        return [
            key
            for (key, role), fold in self.folds.items()
            if role is Role.PAUSE and fold.changes and application.is_auto_sync_on(fold.target)
        ]

    def _named(self, verbs: Collection[str] = ()) -> set[Key]:
        """Return the Applications that entries paused because they were named, of some verbs or of any."""
        by_id = {entry.id: entry for entry in self.entries}
        return {
            piece.ref.key
            for piece in self.pieces
            if piece.role is Role.PAUSE
            and by_id[piece.tag.entry].intents[piece.tag.edit].named
            and (not verbs or by_id[piece.tag.entry].begin.verb in verbs)
        }

    def rescued(self) -> set[Key]:
        """Return the Applications that run something else than they ask for: whatever would change is that."""
        return {*self._named(("rollback", "rescue")), *self.rollouts}

    def given_back(self) -> set[Key]:
        """Return what these entries were about and owe nothing of any more: what changes it is no news either."""
        done = {edit.ref.key for e in self.entries for _, edit in e.edits()}
        return done - {key for key, _ in self.folds} - set(self.rollouts)

    def at_stake(self) -> list[Key]:
        """Return the Applications that may act by themselves again through this undo, and roll something."""
        if self.is_redo:
            return []
        resumed, named = self.resumed(), self._named()
        acting = {*resumed, *self.needed}
        asked = [*self.rollouts, *(key for key in resumed if key in named)]
        return [
            key
            for key in dict.fromkeys(asked)
            if not application.is_auto_sync_on(self.snapshot.objects[key])
            and key in acting
            and not self.will_go_back(key)
        ]

    def moved_lately(self, key: Key) -> bool:
        """Whether what Argo CD compares an Application with may not know yet what it deployed last."""
        since = self.snapshot.now - timedelta(seconds=SETTLED_SECONDS)
        if key in self.rescued():
            return True  # by hand, nobody knows when
        moved = [operation.operation(self.snapshot.objects[key]).finished]
        moved += [e.ended_at for e in self.entries if any(r.app == key for _, r in e.rollouts())]
        return any(at is not None and at > since for at in moved)

    def was_pinned_lately(self, key: Key) -> bool:
        """Whether an owner's comparison may not know yet what was written to its Application."""
        since = self.snapshot.now - timedelta(seconds=SETTLED_SECONDS)
        return key in self.written or any(
            last_time(e) > since for e in self.entries if any(edit.ref.key == key for _, edit in e.edits())
        )

    def is_for_the_owner(self, verdict: Handback) -> bool:
        """Whether git has moved and the owner will act: the saved original would only be a detour."""
        if verdict.owner is not None and verdict.owner.kind == "ApplicationSet":
            # It writes what it says as soon as its rule is away, which is never the original for a moment.
            rule = self.folds.get((verdict.owner, Role.RULE))
            return rule is not None and bool(rule.changes) and verdict.evidence is not Evidence.AGREES
        acts = verdict.owner is not None and (
            verdict.owner in self.resumed()
            or application.is_auto_sync_on(self.snapshot.objects[verdict.owner])
        )
        # A broken original on the way to what git says is a second outage.
        is_unlike = verdict.evidence in (Evidence.DISAGREES, Evidence.UNMOVED)
        return is_unlike and acts and self._heals(verdict.owner)

    def _heals(self, owner: Key | None) -> bool:
        """Whether an owner writes by itself what differs, once its auto-sync is back."""
        if owner is None or owner.kind != "Application":
            return owner is not None
        fold = self.folds.get((owner, Role.PAUSE))
        block = application.automated(fold.target if fold is not None else self.snapshot.objects[owner])
        return isinstance(block, dict) and block.get("selfHeal") is True

    def goes_back(self, verdict: Handback) -> bool:
        """Whether we write this version field ourselves."""
        if verdict.evidence is Evidence.FREE:
            return True
        if not self.options.redeploy or verdict.evidence is Evidence.AGREES:
            return False
        return not self.is_for_the_owner(verdict)

    def will_go_back(self, key: Key) -> bool:
        """Whether we write the version fields of an object ourselves, as far as is known."""
        return key in self.verdicts and self.goes_back(self.verdicts[key])

    def versions_going_back(self) -> list[Edit]:
        """Return the edits that write versions as they were."""
        return [e for e in self.edits([Role.VERSION]) if self.will_go_back(e.ref.key)]

    @staticmethod
    def lacking(edits: Iterable[Edit]) -> list[str]:
        """Name the fields of edits of which the original is not here, but kept elsewhere."""
        return [
            f"{edit.ref} {patches.show_path(change.path)}"
            for edit in edits
            for change in edit.changes
            if isinstance(change, FieldChange) and not is_whole(change.after)
        ]

    def whose_version_goes_back(self) -> set[str]:
        """Return the entries of which we write a version field back."""
        return {
            tag.entry
            for edit in self.versions_going_back()
            for tag in self.folds[edit.ref.key, Role.VERSION].restored
        }

    # -- what owners will do of their own

    def judged(self) -> set[Key]:
        """Return what hand-back judges: its difference is no news."""
        workloads = [rollout.ref.key for rollouts in self.rollouts.values() for _, rollout in rollouts]
        return {*self.verdicts, *self.rollouts, *workloads, *self.held_projects}

    def is_drift(self, owner_key: Key, key: Key) -> bool:
        """Whether an Application shows an object as OutOfSync because of what we wrote to it."""
        owner, live = self.live(owner_key), self.live(key)
        return live is not None and any(
            ownership.is_drift(owner, live, patches.inverse(change))
            for role in Role
            if (fold := self.folds.get((key, role))) is not None
            and not all(tag in self.settled for tag in fold.restored)
            for change in fold.changes
        )

    def _drifting(self, owner: Key) -> set[Key]:
        """Return what an Application shows as OutOfSync as long as our edits stand: they may hide git's wish."""
        return {key for key in handback.out_of_sync(self.live(owner)) if self.is_drift(owner, key)}

    def will_change(self, owner: Key) -> str:
        """Say what an Application will do of its own once its auto-sync is back, empty where nothing."""
        app = self.live(owner)
        assert app is not None
        name = self.name(owner)
        if owner in self.silent or application.conditions(app, "ComparisonError"):
            if owner in self.verdicts:
                return ""  # its pin stays, whatever git says
            why = (
                "Argo CD does not answer"
                if owner in self.silent
                else "Argo CD cannot compare it with git now"
            )
            return f"what auto-sync of {name} will change is not known: {why}"
        block = application.automated(self.folds[owner, Role.PAUSE].target)
        others = handback.others_to_change(
            app,
            block,
            self.judged() | self._drifting(owner),
            is_agreed=lambda line: self._is_to_roll(owner, line),
        )
        more = f" and {len(others) - handback.MOST_NAMED} more" if len(others) > handback.MOST_NAMED else ""
        return (
            f"auto-sync of {name} will also {', '.join(others[: handback.MOST_NAMED])}{more}"
            if others
            else ""
        )

    def _is_to_roll(self, key: Key, line: JSON) -> bool:
        """Whether it was asked for that auto-sync of an Application changes a resource."""
        return (
            self.options.redeploy
            and key in self._named()
            and (key in self.rescued() or handback.runs_pods(line))
        )

    def what_follows(self, held: Collection[Key]) -> list[str]:
        """Say what the Applications whose auto-sync goes back on will change, but for those `held`."""
        said = []
        judged = self.judged()
        for key in self.resumed():
            if key in held:
                continue
            if self._drifting(key) - judged:
                self.hiding.add(key)
            if what := self.will_change(key):
                said.append(what)
        return said

    # -- what came of it

    def note(self, steps: Sequence[PlanStep], results: Sequence[StepResult]) -> None:
        """Settle what is restored of a part that was written."""
        self.written |= {r.ref.key for r in results if r.status is StepStatus.APPLIED}
        well = {(r.ref.key, r.role) for r in results if r.stands}
        for step in steps:
            if isinstance(step, Edit) and (step.ref.key, step.role) in well:
                restored = self.folds[step.ref.key, step.role].restored
                self.settled.update(dict.fromkeys(restored, Fate.RESTORED))

    def fates(self, entry: Entry) -> Mapping[tuple[int, int], str]:
        """Return what became of the changes of one entry, as its journal keeps it."""
        return {(t.edit, t.change): fate.value for t, fate in self.settled.items() if t.entry == entry.id}

    def not_back(self) -> list[str]:
        """Name what is not as it was yet."""
        return [
            f"{what} of {key.kind} {self.name(key)}"
            for (key, role), fold in self.folds.items()
            if fold.changes and (what := NOT_BACK.get(role))
            if not all(tag in self.settled for tag in fold.restored)
        ]


def _new_in(fold: Fold, before: Fold, pieces: Sequence[Piece]) -> list[tuple[Piece, Conflict]]:
    """Return the conflicts of a fold that an earlier one of the same pieces did not have."""
    by_tag, known = {p.tag: p for p in pieces}, {tag for tag, _ in before.conflicts}
    return [(by_tag[tag], c) for tag, c in fold.conflicts if tag not in known]


def three_values(piece: Piece, c: Conflict, then: str = "") -> str:
    """Say a conflict in one line: what is there, what we wrote, what was there first."""
    what = c.what if c.what.startswith(":") else f" {c.what}"
    return (
        f"{piece.ref} {patches.show_path(c.path)}{what} by somebody else{then}: now {shown(c.ours)}, "
        f"we wrote {shown(c.base)}, originally {shown(c.theirs)}"
    )
