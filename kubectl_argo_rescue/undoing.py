"""Puts saved originals back: three-way per field, folded over entries, and handed back to git.

The order is the way in, reversed: windows, the children's auto-sync, version fields, then the
owners, grandparents last. Versions have their own rules (version_undo), workloads theirs
(workload_undo).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from . import applications, handback, merge, outlook, owners, patches, refresh
from .durations import ago, human
from .entries import lost, one_line, same_place, settlements
from .errors import ConflictError, ExitStatus, NotFound, RefusedError, RescueError
from .handback import Evidence, Handback
from .merge import Conflict, Fold, Tag
from .model import (
    APPLICATION,
    BY_KIND,
    JSON,
    Edit,
    EditResult,
    Key,
    Result,
    Role,
    Snapshot,
    Verdict,
    ref_of,
)
from .objects import look
from .options import Writing
from .outlook import COMMAND, display_name
from .output import STATUS_WORDS
from .patches import shown
from .pieces import Piece, left_over, pieces_of, relied_on
from .plans import Plan
from .procedure import Procedure
from .records import LEFT, Content, Entry, Record, Reopened, Settled, Witness, neighbours, side
from .send import Run
from .session import Session
from .version_undo import Versions
from .workload_undo import RolledBack

RESTORED: dict[Role, str] = {
    Role.PAUSE: "auto-sync restored",
    Role.WINDOW: "sync windows restored",
    Role.VERSION: "version restored",
    Role.RULE: "rule taken away",
    Role.WORKLOAD: "handed back",
}

NOT_BACK: dict[Role, str] = {
    Role.PAUSE: "auto-sync",
    Role.WINDOW: "sync windows",
    Role.VERSION: "the version",
    Role.RULE: "the rule",
}
"""What an undo was about, for those who interrupt it."""

MENDING_SECONDS = 60.0
"""How long an owner may take to bring an ApplicationSet what git says."""

SETTLE_SECONDS = 1.0
"""How long a write of ours may be on its way into Argo CD's own picture of the cluster."""

POLL_SECONDS = 10.0
"""How often `--when-safe` asks Argo CD to look at git."""


FIRST_WORD_SECONDS, MOST_SILENT_SECONDS = 60.0, 600.0
"""How soon and how rarely `--when-safe` says that it still waits."""

MAX_LOOKS = 4
"""How often what is said to stand already is read before the API server's answers are not believed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an undo is to go."""

    on_conflict: str = "stop"
    redeploy: bool = False
    when_safe: bool = False
    timeout: float | None = None


@dataclass(slots=True)
class Work:
    """What an undo is about, and what becomes of it."""

    entries: tuple[Entry, ...]
    pieces: list[Piece]
    folds: dict[tuple[Key, Role], Fold] = field(default_factory=dict)
    settled: dict[Tag, str] = field(default_factory=dict)
    conflicts: list[tuple[Piece, Conflict]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What stays on purpose, one line each."""
    owed: list[JSON] = field(default_factory=list)
    """The changes of git that are still to be made."""


class Undo(Procedure):
    """One undo of some entries, from reading to the last record."""

    def __init__(
        self,
        session: Session,
        entries: Sequence[Entry],
        options: Options,
        writing: Writing,
        known: Sequence[Entry] = (),
    ) -> None:
        """Take the entries to undo, and all that are known; `session` has read the installation."""
        self.is_redo = all(e.begin.undoes for e in entries)
        super().__init__(
            session,
            "undo",
            writing,
            undoes=[e.id for e in entries],
            actions={} if self.is_redo else RESTORED,  # what an undo took back is done again
        )
        self.known = tuple(known)
        self.options = options
        self.work = Work(tuple(entries), [])
        self.argocd = self.snapshot.argocd
        self.witnesses: tuple[Witness, ...] = tuple(w for e in entries for w in e.witnesses)
        self.owners: frozenset[Key] = frozenset()
        self.versions = Versions(self)
        self.rolled = RolledBack(self)
        self.questions: tuple[str, ...] = ()
        self._waiting: dict[str, tuple[float, float]] = {}
        """What was waited for: since when, and when to say so again."""
        self._is_asked_again = False
        self.overwritten: list[tuple[Piece, Conflict]] = []
        """What somebody else wrote and the saved original will take the place of."""
        self.out_of_reach: set[Tag] = set()
        """Conflicts of which not even the place is there any more."""
        self._folded: dict[Key, JSON] = {}
        """The objects as they were judged: one that was not read again is not judged again."""
        self.late: list[tuple[Piece, Conflict]] = []
        """What somebody else wrote while we did."""
        self.hiding: set[Key] = set()
        """Owners of which our own edits may hide what git wants."""
        self.resumed_already: set[Key] = set()
        """Owners that were let go before the others."""
        self.silent: set[Key] = set()
        """Owners that Argo CD did not compare in time: they are not waited for twice."""

    # -- the whole way

    def run(self, others: Sequence[Entry], only: Sequence[Key]) -> Result:
        """Undo, or refuse before any write. `others` are the open entries that stay."""
        self.work.pieces = pieces_of(self.work.entries, only)
        if len(self.work.pieces) == len(pieces_of(self.work.entries)):
            self._take_what_was_left(others)
        self.rolled.collect(self.work.entries, others, only)
        self._leave_what_others_need(others)
        self._read_objects()
        self._fold()
        self._prove_what_stands()
        self._say_what_was_taken_away()
        self._judge_conflicts()
        try:
            self._look_and_ask()
        except (RefusedError, ConflictError):
            self._refuse_what_others_undo()
            raise
        if self.writing.dry_run != "none":
            return self._dry_run()
        claimed = self._claim()
        try:
            self._write()
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        finally:
            self._settle()
            for entry in claimed:
                assert self.session.journal.in_cluster is not None
                self.session.journal.in_cluster.release(entry)
        return self._result()

    # -- finding out

    def _look_and_ask(self) -> None:
        """Find out what git says, and get the yes that is needed. Raises RefusedError, ConflictError."""
        try:
            self.versions.first_look()
            self.rolled.first_look()
            self._refuse_what_was_met()
        except KeyboardInterrupt:
            self.printer.say(f"interrupted: nothing was changed; {self._how_to_go_on()}")
            raise
        self._check_permissions()
        self._confirm()

    def _refuse_what_others_undo(self) -> None:
        """Raise ConflictError where somebody else undoes the same: what we saw was their undo, halfway."""
        home = self.session.journal.in_cluster
        ids = [e.id for e in self.work.entries if "cluster" in e.homes]
        if home is None or not ids:
            return
        try:
            for id in ids:
                home.left_claim(id, self.session.now())
            self._refuse_what_moved(home.read(ids))
        except ConflictError:
            raise
        except RescueError:
            return  # the refusal stands, whatever the journal says

    def _take_what_was_left(self, others: Sequence[Entry]) -> None:
        pieces = left_over(others, self.work.entries)
        ids = {p.tag.entry for p in pieces}
        for entry in others:
            if entry.id in ids:
                self.printer.note(
                    f"entry {entry.id} was undone but for what this one needed: that goes back now"
                )
        self.work.entries += tuple(e for e in others if e.id in ids)
        self.undoes = tuple(e.id for e in self.work.entries)
        self.work.pieces += pieces

    def _leave_what_others_need(self, others: Sequence[Entry]) -> None:
        kept: list[Piece] = []
        for piece in self.work.pieces:
            needed_by = relied_on(piece, others)
            if needed_by is None:
                kept.append(piece)
                continue
            self.work.settled[piece.tag] = LEFT
            name = display_name(piece.ref.key, self.argocd)
            self.leave(
                f"{piece.ref.kind} {name} stays {'paused' if piece.role is Role.PAUSE else 'as it is'}: "
                f"entry {needed_by.id} still needs it"
            )
        self.work.pieces = kept

    def leave(self, text: str) -> None:
        """Say once what stays on purpose."""
        if text not in self.work.left:
            self.work.left.append(text)
            self.printer.warn(text)

    def owe(self, verdict: Handback) -> None:
        """Note a change that git still owes."""
        self.work.owed.append(
            {
                "app": display_name(verdict.key, self.argocd),
                "where": verdict.where,
                "why": verdict.why,
                "evidence": verdict.evidence.value,
            }
        )

    def tell(self, result: EditResult) -> None:
        """Show and keep what became of something that is not written."""
        self.results.append(result)
        self.printer.progress(result)

    def _read_objects(self) -> None:
        keys = list(dict.fromkeys([*(p.ref.key for p in self.work.pieces), *self.rolled.keys]))
        reader = self.session.reader
        reader.follow(self.argocd, keys)
        self.snapshot = reader.snapshot(self.argocd)
        for key in keys:
            if key not in self.snapshot.objects and key not in self.snapshot.missing:
                why = next((text for text in reader.warnings if text.startswith(str(key))), "")
                raise RescueError(
                    why or f"{key} cannot be read, so what stands of it is not known",
                    "nothing was changed; try again, ask for the right to read it, or name the entries "
                    f"of other objects: {COMMAND} log --open",
                )
        self.rolled.drop_missing()
        self.owners = self._owners_of_touched(keys)
        for text in reader.warnings:
            self.printer.warn(text)

    def _live(self, key: Key) -> JSON | None:
        return self.snapshot.objects.get(key)

    def _fold(self) -> None:
        groups: dict[tuple[Key, Role], list[Piece]] = {}
        for piece in self.work.pieces:
            live = self._live(piece.ref.key)
            if live is None:
                self.work.settled[piece.tag] = "gone"
                self.printer.warn(f"{piece.ref} does not exist any more: there is nothing to restore")
            elif live["metadata"].get("uid") != piece.ref.uid:
                self.work.settled[piece.tag] = "gone"
                self.printer.warn(f"{piece.ref} was deleted and created anew since: it is left alone")
            else:
                groups.setdefault((piece.ref.key, piece.role), []).append(piece)
        for (key, role), pieces in groups.items():
            fold = self._merged(pieces, overwrite=self._overwrites)
            self.work.folds[key, role] = fold
            self._folded[key] = self._live(key)
            by_tag = {p.tag: p for p in pieces}
            self.work.conflicts += [(by_tag[tag], conflict) for tag, conflict in fold.conflicts]
            if self._overwrites:
                foreign = self._merged(pieces, overwrite=False).conflicts
                self.overwritten += [(by_tag[tag], c) for tag, c in foreign if tag in fold.restored]
            for tag in fold.already:
                self.work.settled[tag] = "already"
            if not fold.changes:
                for tag in fold.restored:
                    self.work.settled[tag] = "already"

    def _prove_what_stands(self) -> None:
        """See that what was read as restored already is so: an entry is closed by it, and no guard follows.

        Raises RescueError where the API server keeps giving old answers.
        """
        cluster = self.session.cluster
        moved: list[Key] = []
        for _ in range(MAX_LOOKS):
            already = (p.ref.key for p in self.work.pieces if self.work.settled.get(p.tag) == "already")
            keys = list(dict.fromkeys(already))
            if not keys or self.writing.dry_run != "none":
                return
            current = cluster.gather(
                *[partial(cluster.is_current, BY_KIND[k.kind], self.snapshot.objects[k]) for k in keys]
            )
            moved = [key for key, so in zip(keys, current, strict=True) if not so]
            if not moved:
                return
            self.reread(moved)
            self.work.settled = {t: how for t, how in self.work.settled.items() if how == LEFT}
            self.work.folds.clear()
            self.work.conflicts.clear()
            self.overwritten.clear()
            self._fold()
        raise RescueError(
            f"the API server gives old answers about {', '.join(map(str, moved))}",
            "nothing was changed; run it again",
        )

    @property
    def _overwrites(self) -> bool:
        return self.options.on_conflict == "overwrite"

    def _merged(self, pieces: Sequence[Piece], *, overwrite: bool) -> merge.Fold:
        """Fold pieces of one role over their object as it was read last."""
        live = self._live(pieces[0].ref.key)
        assert live is not None
        around = neighbours(self.known, ref_of(live), [e.id for e in self.work.entries])
        return merge.fold(live, [(p.tag, p.change) for p in pieces], neighbours=around, overwrite=overwrite)

    @staticmethod
    def _new_in(
        fold: merge.Fold, before: merge.Fold, pieces: Sequence[Piece]
    ) -> list[tuple[Piece, Conflict]]:
        """Return the conflicts of a fold that an earlier one of the same pieces did not have."""
        by_tag, known = {p.tag: p for p in pieces}, {tag for tag, _ in before.conflicts}
        return [(by_tag[tag], c) for tag, c in fold.conflicts if tag not in known]

    def _say_what_is_overwritten(self) -> None:
        """Name what somebody else wrote and --on-conflict=overwrite will take away, with all three values."""
        for piece, c in self.overwritten:
            if self._will_be_overwritten(piece):
                self.printer.warn(_three_values(piece, c, " and is overwritten"))

    def _will_be_overwritten(self, piece: Piece) -> bool:
        return piece.role is not Role.VERSION or self.versions.will_go_back(piece.ref.key)

    def _judge_conflicts(self) -> None:
        self.out_of_reach = self._out_of_reach()
        for piece, c in self.work.conflicts:
            self.printer.say(f"{self.printer.paint('conflict:', 'red')} {_three_values(piece, c)}")
            if self.options.on_conflict == "overwrite":
                self.leave(
                    f"{piece.ref} {patches.show_path(c.path)} cannot be overwritten, what it was in is gone: "
                    "put that back by hand and undo again, or close it as it is with --on-conflict=skip"
                )
        if self.work.conflicts and self.options.on_conflict == "stop":
            closes = ", which closes what has no place any more" if self.out_of_reach else ""
            raise ConflictError(
                f"{len(self.work.conflicts)} field(s) were changed by somebody else since; nothing was written",
                f"say --on-conflict=skip to leave them as they are{closes}, or --on-conflict=overwrite",
            )

    def _out_of_reach(self) -> set[Tag]:
        """Return the conflicts that nothing can be put back for: the list item that they were in is gone."""
        found: set[Tag] = set()
        for key, role in dict.fromkeys((p.ref.key, p.role) for p, _ in self.work.conflicts):
            pieces = [
                p
                for p in self.work.pieces
                if p.ref.key == key and p.role is role and self.work.settled.get(p.tag) != "gone"
            ]
            found.update(tag for tag, _ in self._merged(pieces, overwrite=True).conflicts)
        return found

    def _close_what_has_no_place(self) -> None:
        """Close, where it is left as it is, what can never be put back: it would stay open for ever.

        Not while an owner is kept from writing over it: the next undo must know of it.
        """
        for piece, c in self.work.conflicts:
            held = self.versions.blocked.intersection(handback.ancestors(self.snapshot, [piece.ref.key]))
            if piece.tag in self.out_of_reach and self.options.on_conflict == "skip" and not held:
                self.work.settled[piece.tag] = "gone"
                self.leave(
                    f"{piece.ref} {patches.show_path(c.path)} is left as it is and closed: what it was in is gone"
                )

    def _say_what_was_taken_away(self) -> None:
        """Name what looks restored only because somebody took away all that it was in."""
        for piece in self.work.pieces:
            live = self._live(piece.ref.key)
            if self.work.settled.get(piece.tag) != "already" or not merge.was_taken_away(piece.change, live):
                continue
            text = (
                f"{piece.ref} {patches.show_path(piece.change.path[:-1])} was taken away by somebody else since: "
                "nothing of it is put back"
            )
            if piece.role is Role.PAUSE and piece.ref.kind == "Application":
                text += ", and auto-sync stays off"
            self.warnings.append(text)
            self.printer.warn(text)

    def deadline(self) -> float | None:
        """Return until when `--when-safe` waits from now on; None is for ever."""
        return None if self.options.timeout is None else self.session.cluster.clock() + self.options.timeout

    def is_over(self, deadline: float | None) -> bool:
        """Whether that time has come."""
        return deadline is not None and self.session.cluster.clock() >= deadline

    def tell_waiting(self, text: str, deadline: float | None) -> None:
        """Say what `--when-safe` waits for and until when: at once, then ever more rarely."""
        clock = self.session.cluster.clock()
        until = ""
        if deadline is not None:
            until = f"; until {self.session.now() + timedelta(seconds=deadline - clock):%H:%M:%S} UTC"
        if text not in self._waiting:
            began, _ = next(iter(self._waiting.values()), (clock, 0.0))
            self._waiting[text] = (began, clock + FIRST_WORD_SECONDS)
            self.printer.warn(f"waiting for git: {text}{until}")
            return
        began, due = self._waiting[text]
        if clock >= due:
            waited = clock - began
            self._waiting[text] = (began, clock + min(waited, MOST_SILENT_SECONDS))
            age = human(timedelta(seconds=waited))
            self.printer.say(self.printer.paint(f"waiting for git for {age} now{until} …", "dim"))

    def pause_between_looks(self, deadline: float | None) -> None:
        """Wait before Argo CD is asked again, no longer than until `deadline`."""
        self._is_asked_again = True
        left = POLL_SECONDS if deadline is None else max(0.0, deadline - self.session.cluster.clock())
        self.session.cluster.sleep(min(POLL_SECONDS, left))

    def compare_anew(self, keys: Sequence[Key]) -> None:
        """Have paused owners compared anew; one that does not answer has nothing to say."""
        asked = [
            k
            for k in keys
            if k.kind == "Application" and not applications.is_auto_sync_on(self.snapshot.objects[k])
        ]
        if not asked:
            return
        objects = dict(self.snapshot.objects)
        objects.update({k: _without_evidence(objects[k]) for k in asked if k in self.silent})
        asked = [k for k in asked if k not in self.silent]
        if asked:
            names = ", ".join(display_name(k, self.argocd) for k in asked)
            if not self._is_asked_again:
                self.printer.say(self.printer.paint(f"asking Argo CD to compare {names} with git …", "dim"))
        self._is_asked_again = False
        cluster = self.session.cluster
        is_down = outlook.is_part_down(self.snapshot, "application-controller")
        timeout = refresh.DOWN_SECONDS if is_down else refresh.REFRESH_SECONDS
        answers = cluster.gather(*[lambda k=k: refresh.refresh(cluster, k, timeout=timeout) for k in asked])
        for key, app in zip(asked, answers, strict=True):
            if app is None:
                self.printer.warn(
                    f"Argo CD did not compare {display_name(key, self.argocd)} in time: is its controller alive?"
                )
                self.silent.add(key)
                objects[key] = _without_evidence(objects[key])
            else:
                objects[key] = app
        self.snapshot = replace(self.snapshot, objects=objects, now=self.session.now())

    def compare_settled(self, keys: Sequence[Key]) -> None:
        """Have owners compared once more, a little later.

        Argo CD compares with what its own watch has told it: our last write may not be in it yet.
        """
        self.session.cluster.sleep(SETTLE_SECONDS)
        self._is_asked_again = True
        self.compare_anew(keys)

    def has_written(self, key: Key) -> bool:
        """Whether this undo has written to an object."""
        return any(r.ref.key == key and r.status is Verdict.APPLIED for r in self.results)

    # -- checking and asking

    def edits(self, roles: Sequence[Role], keys: Callable[[Key], bool] = lambda key: True) -> list[Edit]:
        """Return what is still to be written of some roles, for the objects that `keys` says."""
        edits: list[Edit] = []
        for (key, role), fold in self.work.folds.items():
            if role in roles and fold.changes and keys(key):
                live = self._live(key)
                assert live is not None
                edits.append(Edit(ref_of(live), fold.changes, "the saved original", role))
        return edits

    def _check_permissions(self) -> None:
        steps = self.edits(list(Role))
        if steps:
            if self.writing.dry_run == "none":
                self.session.header()
            self.session.checks.require_rights(Plan("undo", tuple(steps)))

    def _confirm(self) -> None:
        """Show whose entries these are and what will happen, and get a yes where one is needed."""
        self._say_what_is_overwritten()
        me = self.session.reading.actor
        questions: list[str] = []
        for entry in self.work.entries:
            b = entry.begin
            age = self.session.now() - b.started
            who = f"{b.actor or 'somebody'} on {b.host or 'an unknown machine'}"
            text = one_line(
                f"entry {entry.id}: {b.verb} by {who}, {ago(age)}"
                + (f", because: {b.reason}" if b.reason else "")
            )
            if (b.actor or me) and b.actor != me:
                questions.append(f"{text}; it is not yours")
            elif "local" not in entry.homes:
                if entry.id in self._whose_version_goes_back():
                    # That it is ours is what the ConfigMap says of itself.
                    questions.append(f"{text}; this machine has no record of it, and a version changes")
                else:
                    self.printer.say(text)
        judged = self._judged()
        held = self.versions.will_hold()
        for key in self.resumed():
            if key in held:
                continue
            drifting = self._drifting(key) - judged
            if drifting:
                self.hiding.add(key)
            if what := self._will_change(key, judged | drifting):
                questions.append(what)
        steps = self.edits([r for r in Role if r is not Role.VERSION])
        steps += self.versions.going_back()
        rolls = [
            display_name(k, self.argocd)
            for k, v in self.versions.verdicts.items()
            if v.evidence is Evidence.FREE
        ]
        if self.session.streams.is_interactive and rolls and not self.is_redo:
            questions.append(f"the saved version of {', '.join(rolls)} goes back and rolls out")
        self.questions = tuple(questions)
        plan = Plan("undo", tuple(steps), questions=self.questions)
        if self.writing.dry_run == "none":
            self.session.checks.confirm(plan, self.writing)

    def _whose_version_goes_back(self) -> set[str]:
        """Return the entries of which we write a version field back."""
        return {
            tag.entry
            for edit in self.versions.going_back()
            for tag in self.work.folds[edit.ref.key, Role.VERSION].restored
        }

    def _will_change(self, owner: Key, explained: Collection[Key]) -> str:
        """Say what an Application will do of its own once its auto-sync is back, empty where nothing."""
        app = self._live(owner)
        assert app is not None
        name = display_name(owner, self.argocd)
        if owner in self.silent or applications.conditions(app, "ComparisonError"):
            if owner in self.versions.verdicts:
                return ""  # its pin stays, whatever git says
            why = (
                "Argo CD does not answer"
                if owner in self.silent
                else "Argo CD cannot compare it with git now"
            )
            return f"what auto-sync of {name} will change is not known: {why}"
        block = applications.automated(self.work.folds[owner, Role.PAUSE].target)
        others = handback.others_to_change(app, block, explained)
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        return f"auto-sync of {name} will also {', '.join(others[:8])}{more}" if others else ""

    def _judged(self) -> set[Key]:
        """Return what hand-back judges: its difference is no news."""
        return {*self.versions.verdicts, *self.rolled.keys, *self.rolled.workloads}

    def skipped_versions(self) -> dict[Key, list[Conflict]]:
        """Return the version fields that somebody else wrote since and that are left as they are."""
        found: dict[Key, list[Conflict]] = {}
        for piece, conflict in self.work.conflicts:
            if piece.role is Role.VERSION and self.options.on_conflict == "skip":
                found.setdefault(piece.ref.key, []).append(conflict)
        return found

    def _drifting(self, owner: Key) -> set[Key]:
        """Return what an Application shows as OutOfSync as long as our edits stand: they may hide git's wish."""
        app = self._live(owner)
        return {key for key in handback.out_of_sync(app) if self.is_drift(owner, key)}

    def is_drift(self, owner_key: Key, key: Key) -> bool:
        """Whether an Application shows an object as OutOfSync because of what we wrote to it."""
        owner, live = self._live(owner_key), self._live(key)
        return live is not None and any(
            owners.is_drift(owner, live, patches.inverse(change))
            for role in Role
            if (fold := self.work.folds.get((key, role))) is not None
            and not all(tag in self.work.settled for tag in fold.restored)
            for change in fold.changes
        )

    def _ask_what_drift_hid(self, edits: Sequence[Edit]) -> set[Key]:
        """Return the owners that stay paused for want of a yes to what git wants of the objects put back.

        While our own edits stood, nobody could tell; now that they are gone, what still differs is
        git's wish. The owners of such an owner stay paused with it.
        """
        asking = [e.ref.key for e in edits if e.role is Role.PAUSE and e.ref.key in self.hiding]
        self.compare_anew([key for key in asking if key not in self.versions.compared])
        judged = self._judged()
        held: set[Key] = set()
        for key in asking:
            what = self._will_change(key, judged | self._drifting(key))
            for _ in range(MAX_LOOKS):
                if not what or key in self.silent:
                    break
                self.compare_settled([key])
                what = self._will_change(key, judged | self._drifting(key))
            if not what or self.writing.yes:
                if what:
                    self.printer.warn(what)
                continue
            if self.session.streams.is_interactive and self.printer.ask(f"{what}. Go on?"):
                continue
            held |= {key, *handback.ancestors(self.snapshot, [key])}
            self.leave(f"Application {display_name(key, self.argocd)} stays paused: {what}")
            self.status = ExitStatus.REFUSED
            self.printer.say(
                f"{self.printer.paint('refused:', 'yellow')} the rest is back; look at git, then agree: "
                f"{COMMAND} undo --yes"
            )
        return held

    def resumed(self) -> list[Key]:
        """Return the Applications whose auto-sync goes back on."""
        found = []
        for (key, role), fold in self.work.folds.items():
            if role is Role.PAUSE and fold.changes and applications.is_auto_sync_on(fold.target):
                found.append(key)
        return found

    def _dry_run(self) -> Result:
        """Say what an undo would do, by what Argo CD said of git last: to have it look again is a write."""
        said, held, is_refused = self.versions.foretell()
        if self.is_redo:
            steps = self._redo_edits()
        elif is_refused:
            steps = []
        else:
            steps = self._ordered(
                self.edits([Role.WINDOW]),
                self.edits([Role.PAUSE], lambda k: k not in self.owners),
                self.versions.going_back(),
                [e for e in self.owner_edits() if e.ref.key not in held],
            )
        plan = Plan("undo", tuple(steps), warnings=said, questions=self.questions)
        result = self.dry_run(plan, self._data())
        return replace(result, warnings=(*result.warnings, *self.work.left))

    def _claim(self) -> list[str]:
        """Take the entries; the loser of two undoing at once is told. Raises ConflictError."""
        home = self.session.journal.in_cluster
        if home is None:
            return []
        who = self.session.reading.actor or "somebody"
        taken: list[str] = []
        try:
            for entry in self.work.entries:
                if "cluster" not in entry.homes:
                    continue
                try:
                    home.claim(entry.id, who, self.session.now())
                    taken.append(entry.id)
                except NotFound:
                    continue
                except ConflictError:
                    raise
                except RescueError as e:
                    self.printer.warn(
                        f"entry {entry.id} cannot be claimed ({e.message}): make sure that nobody else is undoing it"
                    )
            if taken:
                self._refuse_what_moved(home.read(taken))
        except RescueError:
            for id in taken:
                home.release(id)
            raise
        return taken

    def _refuse_what_moved(self, found: Mapping[str, Sequence[Record]]) -> None:
        """Raise ConflictError where an entry got new records after it was read and before it was claimed.

        Somebody else came first then and is done; what we planned is about a state that is gone.
        """
        for entry in self.work.entries:
            known = {r.id for r in entry.records}
            news = [r.content for r in found.get(entry.id, ()) if r.id not in known]
            if news:
                by = next((c.by for c in news if isinstance(c, Settled) and c.by), "")
                raise ConflictError(
                    f"entry {entry.id} was undone just now{f' by entry {by}' if by else ''}"
                    if any(isinstance(c, Settled) for c in news)
                    else f"entry {entry.id} was written to by somebody else just now",
                    f"nothing was changed; look: {COMMAND} show {entry.id}",
                )

    # -- writing

    def _owners_of_touched(self, keys: Sequence[Key]) -> frozenset[Key]:
        """Return all that owns others of this undo, themselves touched or not: they go back last."""
        found: set[Key] = set()
        for key in keys:
            found.update(k for k in handback.ancestors(self.snapshot, [key]) if k != key)
        return frozenset(found)

    def owner_edits(self) -> list[Edit]:
        """Return what gives owners back their own will, grandparents last."""
        owners = self.owners
        edits = self.edits([Role.RULE])
        edits += self.edits([Role.PAUSE], lambda k: k in owners and k not in self.resumed_already)
        depth = {e.ref: len(handback.ancestors(self.snapshot, [e.ref.key])) for e in edits}
        # Nearest first, grandparents last: who has fewer owners above stands higher.
        return sorted(edits, key=lambda e: -depth[e.ref])

    @staticmethod
    def _ordered(*groups: Sequence[Edit]) -> list[Edit]:
        return [edit for group in groups for edit in group]

    def _redo_edits(self) -> list[Edit]:
        """Return what does again what an undo took back, in the order of the way in."""
        return self._ordered(
            list(reversed(self.owner_edits())),
            self.edits([Role.PAUSE], lambda k: k not in self.owners),
            self.edits([Role.VERSION]),
            self.edits([Role.WINDOW]),
        )

    def _write(self) -> None:
        if self.is_redo:
            self._restore(self._redo_edits())
            return
        owners = self.owners
        before = self._ordered(
            self.edits([Role.WINDOW]),
            self.edits([Role.PAUSE], lambda k: k not in owners and k not in self.rolled.held),
        )
        if not self._restore(before):
            return
        self.versions.second_look()
        self.versions.let_sets_be_mended()
        versions = self.versions.going_back()
        self.versions.leave_the_rest()
        self.versions.hold_for_skipped()
        self._close_what_has_no_place()
        if not self._restore(versions):
            return
        kept = {*self.versions.blocked, *self.rolled.second_look(), *self.rolled.held}
        kept |= self._ask_what_drift_hid([e for e in self.owner_edits() if e.ref.key not in kept])
        resumed = [e for e in self.owner_edits() if e.ref.key not in kept]
        if self._restore(resumed):
            self.rolled.after_owners()
            self.rolled.finish()
        self.versions.say_what_stands()
        self.versions.say_what_follows(versions)

    def resume_first(self, owner: Key, made: Key, child: Key) -> bool:
        """Give an owner its auto-sync back and wait until it has brought `made` what git says."""
        edits = self.edits([Role.PAUSE], lambda k: k == owner)
        if self._ask_what_drift_hid(edits) or not self._restore(edits):
            return False
        self.resumed_already.add(owner)
        app = self._live(owner)
        assert app is not None
        self.session.cluster.follow(
            APPLICATION, app, lambda a: made not in handback.out_of_sync(a), MENDING_SECONDS
        )
        self.reread([owner, made, child])
        return True

    def carry_out_pause(self, key: Key) -> bool:
        """Give one Application its auto-sync back."""
        return self._restore(self.edits([Role.PAUSE], lambda k: k == key))

    def reread(self, keys: Sequence[Key]) -> None:
        """Read objects again that somebody else has written meanwhile."""
        found, _ = look(self.session.cluster, keys)
        fresh = {k: o for k, o in found.items() if o is not None}
        self.snapshot = replace(
            self.snapshot, objects={**self.snapshot.objects, **fresh}, now=self.session.now()
        )

    def _restore(self, edits: Sequence[Edit]) -> bool:
        """Write some edits as a part of this undo's entry; False where it went wrong and must stop."""
        if met := self._meet(edits):
            self.printer.say(f"{self.printer.paint('conflict:', 'red')} {_three_values(*met[0])}")
            self.status = ExitStatus.CONFLICT
            return False
        # One in the way of another are only an owner and what it owns.
        apart = not any(e.ref.key in self.owners for e in edits) and len(edits) > 1
        plan = Plan("undo", tuple(edits), independent_from=0 if apart else None)
        return self.carry_out(plan, replan=self._replan)

    def _meet(self, edits: Sequence[Edit]) -> list[tuple[Piece, Conflict]]:
        """Return what somebody wrote since it was judged: guards are made of what was read last."""
        found: list[tuple[Piece, Conflict]] = []
        pieces: dict[tuple[Key, Role], list[Piece]] = {}
        for piece in self.work.pieces:
            if self.work.settled.get(piece.tag) != "gone":
                pieces.setdefault((piece.ref.key, piece.role), []).append(piece)
        for edit in edits:
            place = edit.ref.key, edit.role
            if self._live(edit.ref.key) is self._folded[edit.ref.key]:
                continue
            fold = self._merged(pieces[place], overwrite=self._overwrites)
            found += self._new_in(fold, self.work.folds[place], pieces[place])
        self.late += found
        return found

    def _refuse_what_was_met(self) -> None:
        """Raise ConflictError where somebody wrote a field while Argo CD was asked."""
        if met := self._meet(self.edits(list(Role))):
            raise ConflictError(_three_values(*met[0]), "nothing was changed; run it again")

    def note(self, plan: Plan, run: Run) -> None:
        """Settle what is restored, also where the part was interrupted after it."""
        well = {
            (r.ref.key, r.action) for r in run.results if r.status in (Verdict.APPLIED, Verdict.UNCHANGED)
        }
        for step in plan.steps:
            if isinstance(step, Edit) and (step.ref.key, self.actions[step.role]) in well:
                for tag in self.work.folds[step.ref.key, step.role].restored:
                    self.work.settled[tag] = "restored"

    def _replan(self, snapshot: Snapshot) -> Plan:
        """Fold again over objects that moved. Raises ConflictError where somebody wrote our fields."""
        self.snapshot = snapshot
        edits: list[Edit] = []
        for (key, role), old in list(self.work.folds.items()):
            live = self._live(key)
            if live is None:
                continue
            pieces = [p for p in self.work.pieces if p.ref.key == key and p.role is role]
            fold = self._merged(pieces, overwrite=self._overwrites)
            if len(fold.conflicts) > len(old.conflicts):
                c = fold.conflicts[0][1]
                self.late += self._new_in(fold, old, pieces)
                raise ConflictError(
                    f"{patches.show_path(c.path)} was changed by somebody else just now: {shown(c.ours)}"
                )
            if fold.changes:
                edits.append(Edit(ref_of(live), fold.changes, "the saved original", role))
        return Plan("undo", tuple(edits))

    # -- the end

    def _settle(self) -> None:
        """Write into the undone entries what became of them."""
        by = self.entry
        now = self.session.now()
        for entry in self.work.entries:
            changes = {(t.edit, t.change): how for t, how in self.work.settled.items() if t.entry == entry.id}
            contents: list[Content] = [Settled(changes, by, now)] if changes else []
            if contents:
                self._append(entry, contents)
        if self.is_redo and self.work.settled:
            self._reopen_what_was_undone(by)

    def _append(self, entry: Entry, contents: Sequence[Content]) -> None:
        try:
            self.session.journal.reopen(entry).write(contents)
        except RescueError as e:
            self.printer.warn(f"entry {entry.id} could not be closed: {e.message}")

    def _reopen_what_was_undone(self, by: str) -> None:
        undone = {e.id for e in self.work.entries}
        skipped = [
            (edit.ref, change)
            for e in self.work.entries
            for n, i, edit, change in e.unsettled()
            if self.work.settled.get(Tag(e.id, n, i)) not in ("restored", "already")
        ]

        def is_skipped(entry: Entry, number: int, index: int) -> bool:
            step = entry.intents[number]
            return isinstance(step, Edit) and any(
                ref == step.ref and same_place(change, step.changes[index]) for ref, change in skipped
            )

        for entry in self.session.journal.read().entries:
            again = tuple(
                change
                for change, settlement in settlements(entry).items()
                if settlement.by in undone and settlement.how in ("restored", "handed-back")
                if not is_skipped(entry, *change)
            )
            if again:
                self._append(entry, [Reopened(again, by)])

    def _say_what_was_interrupted(self) -> None:
        """Say what is not back yet, and how to go on."""
        left = [
            f"{what} of {key.kind} {display_name(key, self.argocd)}"
            for (key, role), fold in self.work.folds.items()
            if fold.changes and (what := NOT_BACK.get(role))
            if not all(tag in self.work.settled for tag in fold.restored)
        ]
        for verdict in self.versions.verdicts.values():
            if verdict.evidence not in (Evidence.FREE, Evidence.AGREES):
                self.owe(verdict)
        done = "what is listed as restored is back" if self.results else "nothing is back yet"
        self.leave(f"interrupted: {done}; not back: {', '.join(left) or 'nothing'}; {self._how_to_go_on()}")

    def _how_to_go_on(self) -> str:
        return f"go on with: {COMMAND} undo {' '.join(self.undoes)}"

    def _data(self) -> dict[str, JSON]:
        return {
            "undoes": list(self.undoes),
            "owed": self.work.owed,
            "conflicts": self.conflicts_json(),
        }

    def conflicts_json(self) -> list[JSON]:
        """Return the fields that somebody else wrote, as plain JSON; an absent value is a key that is not there."""
        taken = [(p, c) for p, c in self.overwritten if self._will_be_overwritten(p)]
        found = [(p, c, False) for p, c in (*self.work.conflicts, *self.late)]
        return [
            {
                "kind": piece.ref.kind,
                "namespace": piece.ref.namespace,
                "name": piece.ref.name,
                "path": patches.show_path(c.path),
                "entry": piece.tag.entry,
                **side("base", c.base),
                **side("ours", c.ours),
                **side("theirs", c.theirs),
                "overwritten": is_overwritten,
            }
            for piece, c, is_overwritten in [*found, *((p, c, True) for p, c in taken)]
        ]

    def _result(self) -> Result:
        status = self.status
        if status is ExitStatus.INTERRUPTED:
            self._say_what_was_interrupted()
        if status is ExitStatus.OK and (
            self.work.conflicts  # skipped, or beyond what can be overwritten
            or (self.work.left and not self.work.owed)
        ):
            status = ExitStatus.PARTIAL
        if not self.results and status is ExitStatus.OK and not any(map(lost, self.work.entries)):
            self.printer.say("all of it stands as it was already: nothing was written")
        if self.is_redo and self.entry:
            self.printer.say(f"undo with: {COMMAND} undo {self.entry}")
        return Result(
            "undo",
            self.entry,
            tuple(self.results),
            (*self.warnings, *self.work.left),
            self._data(),
            status,
            STATUS_WORDS[status],
        )


def _three_values(piece: Piece, c: Conflict, then: str = "") -> str:
    """Say a conflict in one line: what is there, what we wrote, what was there first."""
    what = c.what if c.what.startswith(":") else f" {c.what}"
    return (
        f"{piece.ref} {patches.show_path(c.path)}{what} by somebody else{then}: now {shown(c.ours)}, "
        f"we wrote {shown(c.base)}, originally {shown(c.theirs)}"
    )


def _without_evidence(app: JSON) -> JSON:
    """Forget what a controller that does not answer said before: it may be long untrue."""
    status = dict(app.get("status") or {})
    status["sync"] = {**(status.get("sync") or {}), "status": "Unknown"}
    return {**app, "status": status}
