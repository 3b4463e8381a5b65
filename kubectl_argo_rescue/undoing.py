"""Puts saved originals back: three-way per field, folded over entries, and handed back to git.

The order is the way in, reversed: windows, the children's auto-sync, version fields, then the
owners, grandparents last. A version field of an object that git owns is written only where nobody
else will, since a plain restore of 2.5.1 after git was fixed rolls the broken version out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import applications, handback, merge, outlook, patches, probing
from .durations import human
from .engine import Engine, Run
from .errors import ConflictError, ExitStatus, NotFound, RefusedError, RescueError, TimedOut
from .flags import Writing
from .handback import Evidence, Handback
from .journal import Writer
from .looking import look
from .merge import Conflict, Fold, Tag
from .model import (
    JSON,
    Change,
    Edit,
    EditResult,
    Key,
    Ref,
    Result,
    Role,
    Snapshot,
    Verdict,
    ref_of,
)
from .outlook import COMMAND, display_name
from .output import STATUS_WORDS
from .patches import shown
from .plans import Plan
from .records import LEFT, Content, Entry, Record, Reopened, Settled, Witness, neighbours
from .session import Session
from .workload_undo import RolledBack

RESTORED: dict[Role, str] = {
    Role.PAUSE: "auto-sync restored",
    Role.WINDOW: "sync windows restored",
    Role.VERSION: "version restored",
    Role.RULE: "rule taken away",
    Role.WORKLOAD: "handed back",
}

MAX_REFRESHED = 20
"""Applications that are compared anew before their auto-sync goes back on."""

POLL_SECONDS = 10.0
"""How often `--when-safe` asks Argo CD to look at git."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an undo is to go."""

    on_conflict: str = "stop"
    redeploy: bool = False
    when_safe: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One change that is to be taken back."""

    tag: Tag
    ref: Ref
    role: Role
    change: Change


@dataclass(slots=True)
class Work:
    """What an undo has found out and done so far."""

    entries: tuple[Entry, ...]
    pieces: list[Piece]
    folds: dict[tuple[Key, Role], Fold] = field(default_factory=dict)
    settled: dict[Tag, str] = field(default_factory=dict)
    conflicts: list[tuple[Piece, Conflict]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What stays on purpose, one line each."""
    results: list[EditResult] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    owed: list[JSON] = field(default_factory=list)
    writer: Writer | None = None
    status: ExitStatus = ExitStatus.OK


def pieces_of(entries: Iterable[Entry], only: Sequence[Key] = ()) -> list[Piece]:
    """Return what the entries still owe, newest first; with `only`, what is about these Applications.

    That is all of an entry that was made for them alone, the pauses of their owners included.
    """
    found: list[Piece] = []
    names = {k.name for k in only}
    for entry in sorted(entries, key=lambda e: (e.begin.started, e.id), reverse=True):
        whole = not only or _is_for(entry, only)
        for number, index, edit, change in reversed(entry.unsettled()):
            about = edit.ref.key in only or (edit.role is Role.WINDOW and _names_item(change, names))
            if not (whole or about):
                continue
            found.append(Piece(Tag(entry.id, number, index), edit.ref, edit.role, change))
    return found


def _is_for(entry: Entry, apps: Sequence[Key]) -> bool:
    """Whether no other Application than these was named when the entry was made."""
    named = {edit.ref.key for _, edit in entry.edits() if edit.named and edit.ref.kind == "Application"}
    named |= {order.ref.key for _, order in entry.orders()}
    return bool(named) and named.issubset(apps)


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


class Undo:
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
        self.session = session
        self.known = tuple(known)
        self.printer = session.printer
        self.options = options
        self.writing = writing
        self.work = Work(tuple(entries), [])
        assert session.reading is not None
        self.snapshot: Snapshot = session.reading.snapshot
        self.argocd = self.snapshot.argocd
        self.witnesses: tuple[Witness, ...] = tuple(w for e in entries for w in e.witnesses)
        self.owners: frozenset[Key] = frozenset()
        self.is_redo = all(e.begin.undoes for e in entries)
        self.rolled = RolledBack(self)
        self.silent: set[Key] = set()
        """Owners that Argo CD did not compare in time: they are not waited for twice."""

    # -- the whole way

    def run(self, others: Sequence[Entry], only: Sequence[Key]) -> Result:
        """Undo, or refuse before any write. `others` are the open entries that stay."""
        self.work.pieces = pieces_of(self.work.entries, only)
        if not only:
            self._take_what_was_left(others)
        self.rolled.collect(self.work.entries, others, only)
        self._leave_what_others_need(others)
        self._read_objects()
        self._fold()
        self._judge_conflicts()
        verdicts = self._first_look()
        self.rolled.first_look()
        self._check_permissions()
        self._confirm(verdicts)
        if self.writing.dry_run != "none":
            return self._dry_run(verdicts)
        claimed = self._claim()
        try:
            self._write(verdicts)
        except KeyboardInterrupt:
            self.work.status = ExitStatus.INTERRUPTED
        finally:
            self._settle()
            for entry in claimed:
                assert self.session.journal.in_cluster is not None
                self.session.journal.in_cluster.release(entry)
        return self._result()

    # -- finding out

    def _take_what_was_left(self, others: Sequence[Entry]) -> None:
        pieces = left_over(others, self.work.entries)
        ids = {p.tag.entry for p in pieces}
        for entry in others:
            if entry.id in ids:
                self.printer.note(
                    f"entry {entry.id} was undone but for what this one needed: that goes back now"
                )
        self.work.entries += tuple(e for e in others if e.id in ids)
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

    def _read_objects(self) -> None:
        keys = list(dict.fromkeys([*(p.ref.key for p in self.work.pieces), *self.rolled.keys]))
        reader = self.session.reader
        reader.follow(self.argocd, keys)
        self.snapshot = reader.snapshot(self.argocd)
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
            fold = merge.fold(
                self._live(key),
                [(p.tag, p.change) for p in pieces],
                neighbours=self._neighbours(pieces[0].ref),
                overwrite=self.options.on_conflict == "overwrite",
            )
            self.work.folds[key, role] = fold
            by_tag = {p.tag: p for p in pieces}
            self.work.conflicts += [(by_tag[tag], conflict) for tag, conflict in fold.conflicts]
            if self.options.on_conflict == "overwrite":
                self._say_what_is_overwritten(self._live(key), pieces)
            for tag in fold.already:
                self.work.settled[tag] = "already"
            if not fold.changes:
                for tag in fold.restored:
                    self.work.settled[tag] = "already"

    def _neighbours(self, ref: Ref) -> list[merge.Neighbour]:
        return neighbours(self.known, ref, [e.id for e in self.work.entries])

    def _say_what_is_overwritten(self, live: JSON, pieces: Sequence[Piece]) -> None:
        """Name what somebody else wrote and --on-conflict=overwrite will take away, with all three values."""
        for _, c in merge.fold(
            live, [(p.tag, p.change) for p in pieces], neighbours=self._neighbours(pieces[0].ref)
        ).conflicts:
            self.printer.warn(
                f"{pieces[0].ref} {patches.show_path(c.path)} was changed by somebody else and is overwritten: "
                f"now {shown(c.ours)}, we wrote {shown(c.base)}, originally {shown(c.theirs)}"
            )

    def _judge_conflicts(self) -> None:
        for piece, c in self.work.conflicts:
            self.printer.say(
                f"{self.printer.paint('conflict:', 'red')} {piece.ref} {patches.show_path(c.path)} was changed by "
                f"somebody else: now {shown(c.ours)}, we wrote {shown(c.base)}, originally {shown(c.theirs)}"
            )
        if self.work.conflicts and self.options.on_conflict == "stop":
            raise ConflictError(
                f"{len(self.work.conflicts)} field(s) were changed by somebody else since; nothing was written",
                "say --on-conflict=skip to leave them as they are, or --on-conflict=overwrite",
            )

    def _version_keys(self) -> list[Key]:
        return [key for (key, role), fold in self.work.folds.items() if role is Role.VERSION and fold.changes]

    def _first_look(self) -> dict[Key, Handback]:
        """Ask the owners to look at git, judge, and refuse before any write where git has not moved."""
        keys = self._version_keys()
        if self.is_redo:
            return {key: Handback(key, Evidence.FREE) for key in keys}
        if self.writing.dry_run == "none":
            asked = handback.ancestors(self.snapshot, keys) if keys else []
            # Before auto-sync goes back on we want to know what it will do; of a freeze of thousands
            # that would be a load of its own.
            resumed = [k for k in self._resumed() if k not in asked]
            self.refresh([*asked, *(resumed if len(resumed) <= MAX_REFRESHED else ())])
        verdicts = self._judge(keys)
        if self.writing.dry_run != "none" or self.options.redeploy:
            return verdicts
        if self.options.when_safe:
            return self._wait_until_moved(keys, verdicts)
        for verdict in verdicts.values():
            if verdict.evidence is Evidence.UNMOVED:
                raise RefusedError(
                    self._disagreement(verdict),
                    f"merge the change in git ({verdict.where}) and undo then; --when-safe waits for it, "
                    "--redeploy rolls it out now; nothing was changed",
                )
        return verdicts

    def _wait_until_moved(self, keys: Sequence[Key], verdicts: dict[Key, Handback]) -> dict[Key, Handback]:
        deadline = (
            None if self.options.timeout is None else self.session.cluster.clock() + self.options.timeout
        )
        while any(v.evidence is Evidence.UNMOVED for v in verdicts.values()):
            waiting = next(v for v in verdicts.values() if v.evidence is Evidence.UNMOVED)
            self.printer.warn(f"waiting for git: {self._disagreement(waiting)}")
            if deadline is not None and self.session.cluster.clock() >= deadline:
                raise TimedOut(
                    f"git did not change in time: {self._disagreement(waiting)}", "nothing was changed"
                )
            self.pause_between_looks(deadline)
            self.refresh(handback.ancestors(self.snapshot, keys))
            verdicts = self._judge(keys)
        return verdicts

    def pause_between_looks(self, deadline: float | None) -> None:
        """Wait before Argo CD is asked again, no longer than until `deadline`."""
        left = POLL_SECONDS if deadline is None else max(0.0, deadline - self.session.cluster.clock())
        self.session.cluster.sleep(min(POLL_SECONDS, left))

    def _disagreement(self, verdict: Handback) -> str:
        fold = self.work.folds[verdict.key, Role.VERSION]
        live = self._live(verdict.key)
        parts = []
        for change in fold.changes:
            before = patches.read(change.path, live)
            after = patches.read(change.path, fold.target)
            parts.append(
                f"{patches.show_path(change.path)} is {shown(before)} and would go back to {shown(after)}"
            )
        name = display_name(verdict.key, self.argocd)
        return f"{name}: {'; '.join(parts)}, which rolls it out: {verdict.why}"

    def _judge(self, keys: Sequence[Key]) -> dict[Key, Handback]:
        return {
            key: handback.judge(
                self.snapshot, key, self.work.folds[key, Role.VERSION].changes, self.witnesses
            )
            for key in keys
        }

    def refresh(self, keys: Sequence[Key]) -> None:
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
            self.printer.say(self.printer.paint(f"asking Argo CD to compare {names} with git …", "dim"))
        cluster = self.session.cluster
        is_down = outlook.is_part_down(self.snapshot, "application-controller")
        timeout = probing.DOWN_SECONDS if is_down else probing.REFRESH_SECONDS
        answers = cluster.gather(*[lambda k=k: probing.refresh(cluster, k, timeout=timeout) for k in asked])
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

    # -- checking and asking

    def _edits(self, roles: Sequence[Role], keys: Callable[[Key], bool] = lambda key: True) -> list[Edit]:
        edits: list[Edit] = []
        for (key, role), fold in self.work.folds.items():
            if role in roles and fold.changes and keys(key):
                live = self._live(key)
                assert live is not None
                edits.append(Edit(ref_of(live), fold.changes, "the saved original", role))
        return edits

    def _check_permissions(self) -> None:
        steps = self._edits(list(Role))
        if steps:
            self.session.header()
            self.session.check_permissions(Plan("undo", tuple(steps)))

    def _confirm(self, verdicts: dict[Key, Handback]) -> None:
        """Show whose entries these are and what will happen, and get a yes where one is needed."""
        assert self.session.reading is not None
        me = self.session.reading.actor
        questions: list[str] = []
        for entry in self.work.entries:
            b = entry.begin
            age = self.session.now() - b.started
            who = f"{b.actor or 'somebody'} on {b.host or 'an unknown machine'}"
            text = f"entry {entry.id}: {b.verb} by {who}, {human(age)} ago" + (
                f", because: {b.reason}" if b.reason else ""
            )
            if (b.actor or me) and b.actor != me:
                questions.append(f"{text}; it is not yours")
            elif "local" not in entry.homes:
                self.printer.say(text)
        for key in self._resumed():
            app = self._live(key)
            assert app is not None
            others = handback.others_to_change(app, self._touched())
            if others:
                questions.append(
                    f"auto-sync of {display_name(key, self.argocd)} will also {', '.join(others[:8])}"
                    + (f" and {len(others) - 8} more" if len(others) > 8 else "")
                )
        steps = self._edits([r for r in Role if r is not Role.VERSION])
        steps += [e for e in self._edits([Role.VERSION]) if self._goes_back(verdicts[e.ref.key])]
        if (
            self.streams_are_interactive
            and any(v.evidence is Evidence.FREE for k, v in verdicts.items())
            and not self.is_redo
        ):
            rolls = [display_name(k, self.argocd) for k, v in verdicts.items() if v.evidence is Evidence.FREE]
            questions.append(f"the saved version of {', '.join(rolls)} goes back and rolls out")
        plan = Plan("undo", tuple(steps), questions=tuple(questions))
        if self.writing.dry_run == "none":
            self.session.confirm(plan, self.writing)

    @property
    def streams_are_interactive(self) -> bool:
        """Whether a person can be asked."""
        return self.session.streams.is_interactive

    def _touched(self) -> list[Key]:
        return [*(key for key, _ in self.work.folds), *self.rolled.workloads]

    def _resumed(self) -> list[Key]:
        """Return the Applications whose auto-sync goes back on."""
        found = []
        for (key, role), fold in self.work.folds.items():
            if role is Role.PAUSE and fold.changes and applications.is_auto_sync_on(fold.target):
                found.append(key)
        return found

    def _goes_back(self, verdict: Handback) -> bool:
        """Whether we write this version field ourselves."""
        if verdict.evidence is Evidence.FREE:
            return True
        if not self.options.redeploy or verdict.evidence is Evidence.AGREES:
            return False
        # git has moved and its owner will act: the saved original would only be a detour over what broke.
        acts = verdict.owner is not None and (
            verdict.owner in self._resumed()
            or applications.is_auto_sync_on(self.snapshot.objects[verdict.owner])
        )
        return not (verdict.evidence is Evidence.DISAGREES and acts)

    def _dry_run(self, verdicts: dict[Key, Handback]) -> Result:
        for verdict in verdicts.values():
            if verdict.evidence is not Evidence.FREE:
                self.printer.warn(
                    f"the version of {display_name(verdict.key, self.argocd)} is git's to say: {verdict.why}; "
                    "a real undo asks Argo CD to compare first"
                )
        engine_plan = self._ordered(
            self._edits([Role.WINDOW]),
            self._edits([Role.PAUSE], lambda k: k not in self.owners),
            [e for e in self._edits([Role.VERSION]) if self._goes_back(verdicts[e.ref.key])],
            self._owner_edits(),
        )
        plan = Plan("undo", tuple(engine_plan))
        self.session.reading = (
            replace(self.session.reading, snapshot=self.snapshot) if self.session.reading else None
        )
        _, result = self.session.carry_out(lambda s: plan, self.writing, actions=RESTORED)
        return replace(result, warnings=(*result.warnings, *self.work.left))

    def _claim(self) -> list[str]:
        """Take the entries; the loser of two undoing at once is told. Raises ConflictError."""
        home = self.session.journal.in_cluster
        if home is None:
            return []
        assert self.session.reading is not None
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

    def _owner_edits(self) -> list[Edit]:
        owners = self.owners
        edits = self._edits([Role.RULE]) + self._edits([Role.PAUSE], lambda k: k in owners)
        depth = {e.ref: len(handback.ancestors(self.snapshot, [e.ref.key])) for e in edits}
        # Nearest first, grandparents last: who has fewer owners above stands higher.
        return sorted(edits, key=lambda e: -depth[e.ref])

    @staticmethod
    def _ordered(*groups: Sequence[Edit]) -> list[Edit]:
        return [edit for group in groups for edit in group]

    def _write(self, verdicts: dict[Key, Handback]) -> None:
        if self.is_redo:
            redo = self._ordered(
                list(reversed(self._owner_edits())),
                self._edits([Role.PAUSE], lambda k: k not in self.owners),
                self._edits([Role.VERSION]),
                self._edits([Role.WINDOW]),
            )
            self._carry_out(redo)
            return
        owners = self.owners
        before = self._ordered(
            self._edits([Role.WINDOW]),
            self._edits([Role.PAUSE], lambda k: k not in owners and k not in self.rolled.held),
        )
        if not self._carry_out(before):
            return
        if verdicts and any(v.evidence is not Evidence.FREE for v in verdicts.values()):
            verdicts = self._second_look(verdicts)
        stuck: list[Handback] = []
        versions: list[Edit] = []
        for edit in self._edits([Role.VERSION]):
            verdict = verdicts[edit.ref.key]
            if self._goes_back(verdict):
                versions.append(edit)
            elif verdict.evidence is Evidence.AGREES or self.options.redeploy:
                self._keep_version(edit, verdict)
            else:
                stuck.append(verdict)
        if not self._carry_out(versions):
            return
        blocked = {o for v in stuck for o in handback.ancestors(self.snapshot, [v.key])}
        kept = {*blocked, *self.rolled.second_look(), *self.rolled.held}
        resumed = [e for e in self._owner_edits() if e.ref.key not in kept]
        if self._carry_out(resumed):
            self.rolled.after_owners()
            self.rolled.finish()
        if stuck:
            self._say_what_stands(stuck, blocked)

    def _second_look(self, verdicts: dict[Key, Handback]) -> dict[Key, Handback]:
        """With windows and the children's auto-sync back, what still differs is the version."""
        keys = list(verdicts)
        deadline = (
            None if self.options.timeout is None else self.session.cluster.clock() + self.options.timeout
        )
        while True:
            self.refresh(handback.ancestors(self.snapshot, keys))
            verdicts = self._judge(keys)
            waiting = [v for v in verdicts.values() if v.evidence in (Evidence.DISAGREES, Evidence.UNMOVED)]
            if not self.options.when_safe or not waiting:
                return verdicts
            if deadline is not None and self.session.cluster.clock() >= deadline:
                return verdicts
            self.printer.warn(f"waiting for git: {self._disagreement(waiting[0])}")
            self.pause_between_looks(deadline)

    def _keep_version(self, edit: Edit, verdict: Handback) -> None:
        """git is the master again: the field stays as it is, nothing rolls out by our hand."""
        fold = self.work.folds[edit.ref.key, Role.VERSION]
        for tag in fold.restored:
            self.work.settled[tag] = "git"
        detail = (
            f"its version stays: {verdict.why}"
            if verdict.evidence is Evidence.AGREES
            else f"its version is left to its owner: {verdict.why}"
        )
        result = EditResult(edit.ref, Verdict.UNCHANGED, RESTORED[Role.VERSION], detail=detail)
        self.work.results.append(result)
        self.printer.progress(result)

    def _say_what_stands(self, stuck: Sequence[Handback], blocked: set[Key]) -> None:
        for verdict in stuck:
            name = display_name(verdict.key, self.argocd)
            self.leave(f"{self._disagreement(verdict)}; its pin stays")
            self.work.owed.append(
                {"app": name, "where": verdict.where, "why": verdict.why, "evidence": verdict.evidence.value}
            )
        for edit in self._owner_edits():
            if edit.ref.key in blocked:
                self.leave(
                    f"{edit.ref.kind} {display_name(edit.ref.key, self.argocd)} stays paused until then"
                )
        self.printer.say(
            f"{self.printer.paint('refused:', 'yellow')} the rest is back; fix git and run {COMMAND} undo again, "
            "or roll the originals out now with --redeploy"
        )
        self.work.status = ExitStatus.REFUSED

    def carry_out_pause(self, key: Key) -> bool:
        """Give one Application its auto-sync back."""
        return self._carry_out(self._edits([Role.PAUSE], lambda k: k == key))

    def reread(self, keys: Sequence[Key]) -> None:
        """Read objects again that somebody else has written meanwhile."""
        found, _ = look(self.session.cluster, keys)
        fresh = {k: o for k, o in found.items() if o is not None}
        self.snapshot = replace(
            self.snapshot, objects={**self.snapshot.objects, **fresh}, now=self.session.now()
        )

    def _carry_out(self, edits: Sequence[Edit]) -> bool:
        """Write some edits as a part of this undo's entry; False where it went wrong and must stop."""
        if not edits:
            return True
        engine = Engine(
            self.session.cluster,
            self.session.journal,
            now=self.session.now,
            report=self.printer.progress,
            actions=RESTORED,
        )
        begin = self.session.begin("undo", self.writing, undoes=[e.id for e in self.work.entries])
        # One in the way of another are only an owner and what it owns.
        apart = not any(e.ref.key in self.owners for e in edits) and len(edits) > 1
        run = engine.execute(
            Plan("undo", tuple(edits), independent_from=0 if apart else None),
            self.snapshot,
            begin,
            replan=self._replan,
            writer=self.work.writer,
        )
        self.work.writer = run.writer
        self.work.results += run.results
        self.work.warnings += run.warnings
        for text in run.warnings:
            self.printer.warn(text)
        self.snapshot = replace(self.snapshot, objects=run.objects)
        self._note_restored(edits, run)
        status = run.exit_status(independent=apart)
        if status is not ExitStatus.OK:
            self.work.status = status
        return status is ExitStatus.OK

    def _note_restored(self, edits: Sequence[Edit], run: Run) -> None:
        well = {
            (r.ref.key, r.action) for r in run.results if r.status in (Verdict.APPLIED, Verdict.UNCHANGED)
        }
        for edit in edits:
            if (edit.ref.key, RESTORED[edit.role]) in well:
                for tag in self.work.folds[edit.ref.key, edit.role].restored:
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
            fold = merge.fold(
                live,
                [(p.tag, p.change) for p in pieces],
                neighbours=self._neighbours(ref_of(live)),
                overwrite=self.options.on_conflict == "overwrite",
            )
            if len(fold.conflicts) > len(old.conflicts):
                c = fold.conflicts[0][1]
                raise ConflictError(
                    f"{patches.show_path(c.path)} was changed by somebody else just now: {shown(c.ours)}"
                )
            if fold.changes:
                edits.append(Edit(ref_of(live), fold.changes, "the saved original", role))
        return Plan("undo", tuple(edits))

    # -- the end

    def _settle(self) -> None:
        """Write into the undone entries what became of them."""
        by = self.work.writer.entry if self.work.writer else ""
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
        for entry in self.session.journal.read().entries:
            again = tuple(
                change
                for r in entry.records
                if isinstance(r.content, Settled) and r.content.by in undone
                for change, how in r.content.changes.items()
                if how in ("restored", "handed-back")
            )
            if again:
                self._append(entry, [Reopened(again, by)])

    def _result(self) -> Result:
        status = self.work.status
        if status is ExitStatus.OK and (
            (self.work.conflicts and self.options.on_conflict == "skip")
            or (self.work.left and not self.work.owed)
        ):
            status = ExitStatus.PARTIAL
        entry = self.work.writer.entry if self.work.writer else ""
        if not self.work.results and status is ExitStatus.OK:
            self.printer.say("all of it stands as it was already: nothing was written")
        return Result(
            "undo",
            entry,
            tuple(self.work.results),
            (*self.work.warnings, *self.work.left),
            {"undoes": [e.id for e in self.work.entries], "owed": self.work.owed},
            status,
            STATUS_WORDS[status],
        )


def _without_evidence(app: JSON) -> JSON:
    """Forget what a controller that does not answer said before: it may be long untrue."""
    status = dict(app.get("status") or {})
    status["sync"] = {**(status.get("sync") or {}), "status": "Unknown"}
    return {**app, "status": status}
