"""Holds an Application, puts back what git may ask for, has Argo CD compare, and lets go or pins again.

What is tried and what counts is said by `plan/handback`. Each step is in the journal before it is
done: a hold has an entry of its own, which any undo takes back first, the pin before the holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct, field
from msgspec.structs import replace

from ..argocd import application, ownership
from ..argocd.handback import Evidence, Handback, auto_sync_says
from ..argocd.operation import operation
from ..cluster import refresh
from ..cluster.objects import look
from ..cluster.probe import not_generated
from ..journal.entry import Entry
from ..journal.journal import Writer
from ..journal.owed import Piece
from ..journal.records import HOLD, Intent, Settled
from ..model import merge, patches
from ..model.discretion import is_whole
from ..model.errors import Code, NotFound, RefusedError, RescueError
from ..model.merge import Tag
from ..model.text import COMMAND, some
from ..model.values import (
    ABSENT,
    APPLICATION,
    CONFIGMAP,
    JSON,
    Change,
    Edit,
    FieldChange,
    Key,
    MemberChange,
    Order,
    OrderKind,
    Plan,
    Ref,
    Role,
    StepResult,
    StepStatus,
    ref_of,
)
from ..plan import handback as rule
from ..plan.handback import Candidate, Hold
from ..plan.operations import plan_terminate
from ..plan.undo import RESTORED, UndoWork
from .engine import Engine
from .git_check import SETTLE_SECONDS, GitCheck
from .options import Writing
from .procedure import GRACE_SECONDS, follow, is_idle
from .session import Session, new_order_id

ROUNDS = 3
"""Comparisons after our last write before an owner's word counts.

After one whole round it was stale in 11 of 15 tries, after two in none of 8; one of ours may be swallowed by
another that was under way.
"""

MAX_ROUNDS = 6
"""After this many a comparison that is not with what was written is no answer."""

SET_SECONDS = 20.0
"""How long an ApplicationSet may take to write what it generates."""

OPERATION_SECONDS = 60.0
"""How long a paused owner may take to write one Application."""


class Held(Struct):
    """One Application that is held, and what was tried on it."""

    hold: Hold
    before: JSON
    """The Application before anything was written to it."""
    stood: JSON
    """The same with the holds."""
    writer: Writer
    candidate: Candidate | None = None
    """What stands in it now and has been agreed to."""
    data: dict[str, JSON] = field(default_factory=dict)
    is_claimed: bool = False
    rolls: str = ""
    """What its release rolls, because that was asked for; empty where nothing."""
    lifted: Edit | None = None
    """What took the rule away that keeps its ApplicationSet from writing the version."""
    given: list[Piece] = field(default_factory=list)
    """What was owed of its version before that was agreed to."""
    is_led: bool = False
    """Whether its owners are let go: it is git's from here on, and a pin would not stand."""

    @property
    def key(self) -> Key:
        """The Application."""
        return self.hold.key


class HandBack:
    """What one undo holds, tries and lets go of."""

    def __init__(self, session: Session, work: UndoWork, check: GitCheck, writing: Writing) -> None:
        """Hold nothing yet."""
        self.session = session
        self.work = work
        self.check = check
        self.writing = writing
        self.held: dict[Key, Held] = {}
        self.tried: dict[Key, Handback] = {}
        """What came of each Application that was tried."""
        self.holds: list[dict[str, JSON]] = []
        """What was held, for `data.holds`."""
        self.left: list[str] = []
        """Holds that could not be taken away."""
        self.brought: set[str] = set()
        """What owners have written beside a version, and that is git's now."""
        self.before_holding: Callable[[], None] = lambda: None
        """What must be done before the first write."""
        self._asked: dict[Key, JSON] = {}
        """What the owners were at when each was tried."""

    # -- trying

    def ask(self, key: Key, *, whatever_rolls: bool = False) -> Handback | None:
        """Try what may be put back; what Argo CD said last, None where nothing could be tried.

        Where it agrees the Application stays held with what it agrees to, until `let_go`. Else all
        is as it was before. With `whatever_rolls` its owner writes what it says now, and that stays,
        held, also where it would roll something: what is said of it is what it would roll.
        """
        work = self.work
        self.before_holding()
        hold = rule.plan_hold(work.snapshot, key, may_edit_project=self._may_edit_project(key))
        if hold.edits and not self._is_told:
            hold = Hold(
                key,
                why_not="the journal may not be kept in the cluster, so that nobody else would know of a hold",
            )
        if not hold.edits:
            self.tried[key] = Handback(key, Evidence.NONE, hold.why_not)
            return self.tried[key]
        candidates = [c for c in self._candidates(key) if hold.allows(c)]
        if whatever_rolls:
            candidates = [c for c in candidates if c is Candidate.OWNER]
        if not candidates:
            return None
        held = self._place(hold)
        if held is None:
            return None
        verdict: Handback | None = None
        try:
            for candidate in candidates:
                verdict = self._try(held, candidate) or verdict
                if verdict is not None and (
                    verdict.evidence is Evidence.AGREES
                    or (whatever_rolls and verdict.evidence is Evidence.DISAGREES)
                ):
                    held.candidate = candidate
                    held.rolls = "" if verdict.evidence is Evidence.AGREES else verdict.why
                    held.given = work.leave_to_owner(key)
                    work.fold_again()
                    held.data["agreed"] = candidate.name.lower()
                    return verdict
                # A key that git does not have would stay, and be no drift: its owner writes over what has none.
                if candidate is candidates[-1] or not self._adds(key):
                    self._pin_again(held)
        finally:
            if held.candidate is None:
                self.let_go(held)
        return verdict

    def _adds(self, key: Key) -> bool:
        """Whether the pin has a field that was not there at first."""
        fold = self.work.folds.get((key, Role.VERSION))
        changes = fold.changes if fold is not None else ()
        return any(isinstance(c, FieldChange) and c.after is ABSENT for c in changes)

    def is_worth_asking(self, verdict: Handback) -> bool:
        """Whether trying may tell more than what is known: once for each state of owners and git.

        A branch or a range may mean something else by now, though no owner has moved.
        """
        work, key = self.work, verdict.key
        if verdict.owner in work.silent:
            return False
        owners = ownership.ancestors(work.snapshot, [key])
        sets = [k for k in ownership.owning_applications(work.snapshot, key) if k.kind == "ApplicationSet"]
        if not sets and any(
            k.kind == "Application" and application.is_auto_sync_on(work.snapshot.objects[k]) for k in owners
        ):
            return False
        state = [
            (str(k), application.synced_revisions(o), _asks(o))
            for k in owners
            if (o := work.snapshot.objects[k])
        ]
        fold = work.folds.get((key, Role.VERSION))
        is_moving = fold is not None and any(
            application.is_moving(s.kind, s.revision) for s in application.sources(fold.target)
        )
        if key in self._asked and self._asked[key] == state and not is_moving:
            return False
        if verdict.evidence is Evidence.UNMOVED and not is_moving and not work.options.redeploy:
            return False
        self._asked[key] = state
        return True

    @cached_property
    def _is_told(self) -> bool:
        """Whether a hold would be in the cluster's journal: else who finds it after a death does not know it."""
        try:
            return self.session.cluster.review_access("create", CONFIGMAP, self.work.argocd.namespace)
        except RescueError:
            return True

    def _candidates(self, key: Key) -> list[Candidate]:
        fold = self.work.folds.get((key, Role.VERSION))
        found = [Candidate.ORIGINAL] if fold is not None and fold.changes else []
        owner, _ = rule.who_may_write(self.work.snapshot, key)
        return [*found, Candidate.OWNER] if owner is not None else found

    def _may_edit_project(self, key: Key) -> bool:
        place = application.project_key(self.work.snapshot, self.work.snapshot.objects[key])
        if place not in self.work.snapshot.objects:
            return False
        wanted = ("patch", place.kind, place.namespace, place.name)
        return not self.session.checks.missing([wanted], Plan(HOLD, ()))

    def _place(self, hold: Hold) -> Held | None:
        """Place the holds and see that they stand and that nothing began before them."""
        work, key = self.work, hold.key
        begin = self.session.begin(HOLD, self.writing)
        before = work.snapshot.objects[key]
        if hold.window is not None:
            text = f"for some seconds: AppProject {hold.window.ref.name} stops syncs of {work.name(key)} …"
        else:
            text = f"for some seconds: auto-sync of {work.name(key)} is off …"
        self.session.printer.say(self.session.printer.paint(text, "dim"))
        run = self._engine().execute(Plan(HOLD, hold.edits), work.snapshot, replace(begin, total=0))
        assert run.writer is not None
        held = Held(hold, before, run.objects[key], run.writer, data=_described(hold, run.entry))
        self.held[key] = held
        if hold.window is not None:
            work.held_projects.add(hold.window.ref.key)
        self.holds.append(held.data)
        work.snapshot = replace(work.snapshot, objects=run.objects)
        self._claim(held)
        is_placed = all(r.stands for r in run.results)
        if run.interrupted:
            self.let_go(held)
            raise KeyboardInterrupt
        if is_placed and self._look([key], rounds=1) and self._is_idle(key) and self._stands(held):
            return held
        self.let_go(held)
        return None

    def _claim(self, held: Held) -> None:
        """Show that this undo lives: others leave alone what it holds."""
        home = self.session.journal.in_cluster
        if home is None:
            return
        try:
            home.claim(held.writer.entry, self.session.reading.actor or "somebody", self.session.now())
            held.is_claimed = True
        except RescueError:
            return  # the entry is on this machine alone

    def _is_idle(self, key: Key) -> bool:
        """Wait for an operation that began before the hold: a retry takes its source from the spec of that moment."""
        if not operation(self.work.snapshot.objects[key]).in_progress:
            return True
        app = follow(self.session.cluster, key, is_idle, GRACE_SECONDS)
        self.check.reread([key])
        return app is not None

    def _stands(self, held: Held) -> bool:
        window = held.hold.window
        self.check.reread([held.key, *([window.ref.key] if window is not None else [])])
        return rule.is_held(self.work.snapshot, held.hold)

    def _try(self, held: Held, candidate: Candidate) -> Handback | None:
        """Put one candidate into a held Application and have it compared; None where that could not be done."""
        work, key = self.work, held.key
        fold = work.folds.get((key, Role.VERSION))
        changes: Sequence[Change] = fold.changes if fold is not None else ()
        if candidate is Candidate.ORIGINAL:
            edit = Edit(ref_of(held.before), tuple(changes), rule.WHY, Role.VERSION, named=False)
            done = self._write(held, [edit])
        else:
            done = self._have_owner_write(held)
        if not done:
            return None
        if not self._look([key, *self._paused_owners(key)], rounds=ROUNDS) or not self._stands(held):
            return Handback(key, Evidence.NONE, "Argo CD did not compare it in time")
        pause = work.folds.get((key, Role.PAUSE))
        block = application.automated(pause.target if pause is not None else held.before)
        rollouts = [r for _, r in work.rollouts.get(key, ())]
        if held.lifted is not None:  # its set has written what it says
            verdict = auto_sync_says(work.snapshot, key, block=block, rollouts=rollouts)
        else:
            verdict = rule.agreement(work.snapshot, key, changes, block=block, rollouts=rollouts)
        self.tried[key] = verdict
        return verdict

    def _have_owner_write(self, held: Held) -> bool:
        """Have the paused owner write the held Application, and nothing else."""
        work, key = self.work, held.key
        owner, _ = rule.who_may_write(work.snapshot, key)
        if owner is None:
            return False
        self._note(held)
        if owner.kind == "ApplicationSet":
            return self._have_set_write(held, owner)
        return self._order(held, owner)

    def _note(self, held: Held) -> None:
        # What git says is not known yet: an undo of this entry takes back whatever stands there then.
        number = 1 + max(r.content.number for r in held.writer.records if isinstance(r.content, Intent))
        ref, policy = ref_of(held.before), patches.read(rule.POLICY, held.stood)
        noted = [
            Edit(ref, rule.noted(held.before), rule.WHY, Role.VERSION, named=False),
            Edit(ref, (FieldChange(rule.POLICY, policy, policy),), rule.WHY, Role.PAUSE, named=False),
        ]
        held.writer.write([Intent(n, edit) for n, edit in enumerate(noted, number)])

    def _have_set_write(self, held: Held, owner: Key) -> bool:
        """Take away what keeps its set from writing the version, and see that it has written."""
        work, cluster = self.work, self.session.cluster
        live = work.snapshot.objects[owner]
        held.lifted = Edit(
            ref_of(live), rule.rule_lifted(live, held.before), rule.WHY, Role.RULE, named=False
        )
        if not self._write(held, [held.lifted]):
            return False
        is_silent = not_generated(cluster, [held.before], SET_SECONDS)
        self.check.reread([held.key, owner])
        return not is_silent

    def _order(self, held: Held, owner: Key) -> bool:
        """Order a paused owner to write the held Application."""
        work, key = self.work, held.key
        order = rule.selective_sync(
            work.snapshot,
            work.snapshot.objects[owner],
            key,
            id=new_order_id(),
            actor=self.session.reading.actor,
        )
        if not self._write(held, [order]):
            return False

        def is_over(app: JSON) -> bool:
            return is_idle(app) and not app.get("operation")

        done = follow(self.session.cluster, owner, is_over, OPERATION_SECONDS)
        self.check.reread([key, owner])
        # To auto-sync of the owner it would count as the sync of that whole commit.
        self._write(held, [replace(order, operation=None, kind=OrderKind.FORGET)])
        phase = ((done or {}).get("status") or {}).get("operationState", {}).get("phase")
        return bool(phase == "Succeeded")

    def _paused_owners(self, key: Key) -> list[Key]:
        objects = self.work.snapshot.objects
        return [
            k
            for k in ownership.ancestors(self.work.snapshot, [key])
            if k.kind == "Application" and not application.is_auto_sync_on(objects[k])
        ]

    def _look(self, keys: Sequence[Key], *, rounds: int) -> bool:
        """Have these compared so many times, the first until it is with its spec; False where that does not come."""
        cluster, work = self.session.cluster, self.work
        for number in range(1, MAX_ROUNDS + 1):
            if number > 1:
                cluster.sleep(SETTLE_SECONDS)
            answers = cluster.gather(
                *[lambda k=k: refresh.refresh(cluster, k, timeout=refresh.REFRESH_SECONDS) for k in keys]
            )
            if any(app is None for app in answers):
                return False
            fresh = dict(zip(keys, answers, strict=True))
            work.snapshot = replace(
                work.snapshot, objects={**work.snapshot.objects, **fresh}, now=self.session.now()
            )
            if number >= rounds and application.is_compared(fresh[keys[0]]):
                return True
        return False

    # -- writing

    def _engine(self) -> Engine:
        return Engine(self.session.cluster, self.session.journal, now=self.session.now, is_told=False)

    def _write(self, held: Held, steps: Sequence[Edit | Order]) -> bool:
        begin = self.session.begin(HOLD, self.writing)
        run = self._engine().execute(Plan(HOLD, tuple(steps)), self.work.snapshot, begin, writer=held.writer)
        self.work.snapshot = replace(self.work.snapshot, objects=run.objects)
        if run.interrupted:
            raise KeyboardInterrupt
        return all(r.stands for r in run.results)

    def _pin_again(self, held: Held) -> None:
        """Give a held Application the source back that it had, and see that Argo CD has compared with it.

        Whoever began to compare before has the other version in hand: it must be done before the
        holds go.
        """
        if held.lifted is not None:
            self._take_away(held, held.lifted)
        for _ in range(ROUNDS if held.lifted is not None else 1):
            # A set needs a moment to see its rule.
            if not self._write_pin(held):
                return
            if held.lifted is not None:
                self.session.cluster.sleep(SETTLE_SECONDS)

    def _write_pin(self, held: Held) -> bool:
        """Write what is not as it was; whether there was any."""
        work, key = self.work, held.key
        self.check.reread([key])
        ref, live = ref_of(held.before), work.snapshot.objects[key]
        back = [
            Edit(ref, changes, "as it was", role, named=False)
            for role, changes in (
                (Role.VERSION, rule.taken_back(held.before, live)),
                (Role.PAUSE, rule.held_again(held.stood, live)),
            )
            if changes
        ]
        if back:
            self._take_back(held.writer.entry, back)
            self._look([key], rounds=1)
        return bool(back)

    def _take_away(self, held: Held, edit: Edit) -> bool:
        """Take back what of an edit of the hold still stands."""
        self.check.reread([edit.ref.key])
        live = self.work.snapshot.objects[edit.ref.key]
        back = merge.fold(live, [(Tag(held.writer.entry, 0, i), c) for i, c in enumerate(edit.changes)])
        return not back.changes or self._take_back(
            held.writer.entry, [replace(edit, changes=back.changes, reason="the hold is taken away")]
        )

    def let_go(self, held: Held) -> bool:
        """Take the holds away, the window last; what was agreed to stays."""
        work, key = self.work, held.key
        if held.candidate is None:
            self._pin_again(held)
        ended = end_what_waits(self.session, self.writing, key, is_blocked=held.hold.window is not None)
        self.check.reread([key])
        live = work.snapshot.objects[key]
        if held.candidate is None:
            self.brought.update({f"{name} of {work.name(key)}" for name in rule.brought(held.before, live)})
        if not ended or (held.candidate is None and not rule.is_as_before(held.before, live)):
            self.left.append(
                f"{work.name(key)} stays held, its operation, sources or place are not as they were: look, then go on "
                f"with: {COMMAND} undo {held.writer.entry}"
            )
            self.held.pop(key, None)
            return False
        edits = [*held.hold.edits]
        if held.lifted is not None and held.candidate is not None:
            rest = tuple(c for c in held.lifted.changes if isinstance(c, MemberChange) and c.present)
            edits.append(replace(held.lifted, changes=rest))
        for edit in reversed(edits):
            if not self._take_away(held, edit):
                self.left.append(
                    f"{edit.ref} still holds {work.name(key)}: go on with: {COMMAND} undo {held.writer.entry}"
                )
                return False
        changes = {(number, i): "restored" for number, i, _, _ in held.writer.changes()}
        held.writer.write([Settled(changes, held.writer.entry, self.session.now())])
        held.data["released"] = True
        if held.is_claimed and self.session.journal.in_cluster is not None:
            self.session.journal.in_cluster.release(held.writer.entry)
        self.held.pop(key, None)
        if held.rolls:
            refresh.wake(self.session.cluster, key)  # Argo CD does not notice by itself that a window went
        return True

    def _take_back(self, entry: str, edits: Sequence[Edit]) -> bool:
        begin = self.session.begin("undo", self.writing, undoes=[entry])
        run = self._engine().execute(Plan("undo", tuple(edits)), self.work.snapshot, begin)
        self.work.snapshot = replace(self.work.snapshot, objects=run.objects)
        if run.interrupted:
            raise KeyboardInterrupt
        return all(r.stands for r in run.results)

    def leave_to_git(self) -> list[Piece]:
        """Note, before owners are let go, that what was agreed to stays whatever happens; return what that settles."""
        given: list[Piece] = []
        for held in self.held.values():
            pinned = {
                (number, i): "restored"
                for number, i, edit, change in held.writer.changes()
                if _is_pin(edit, change)
            }
            held.writer.write([Settled(pinned, held.writer.entry, self.session.now())])
            held.is_led = True
            given += held.given
        return given

    def give_up(self, keys: Iterable[Key] = ()) -> None:
        """Pin again and let go of what is held still, or of these."""
        for key in list(keys) or list(self.held):
            if held := self.held.get(key):
                if not held.is_led:
                    held.candidate = None
                    held.data["agreed"] = ""
                    self.work.take_over(held.given)
                self._give_up(held)
                self.work.fold_again()

    def _give_up(self, held: Held) -> None:
        try:
            self.let_go(held)
        except RescueError as e:
            name = self.work.name(held.key)
            self.left.append(
                f"{name} is still held ({e.message}): go on with: {COMMAND} undo {held.writer.entry}"
            )
            self.held.pop(held.key, None)

    def still_agrees(self, key: Key) -> bool:
        """Whether Argo CD says, with the owners back, that it would change nothing of a held Application."""
        held, work = self.held[key], self.work
        if held.rolls:
            return True
        pause = work.folds.get((key, Role.PAUSE))
        block = application.automated(pause.target if pause is not None else held.before)
        for _ in range(ROUNDS):
            if self._look([key], rounds=1) and self._is_idle(key):
                said = auto_sync_says(
                    work.snapshot, key, block=block, rollouts=[r for _, r in work.rollouts.get(key, ())]
                )
                self.tried[key] = said
                if said.evidence is Evidence.AGREES:
                    return True
        return False

    def lead_again(self, key: Key) -> list[Piece]:
        """Pin again what an owner was let go for, now that it is paused once more; return what is owed of it again."""
        held = self.held[key]
        self._is_idle(key)
        held.is_led = False
        given = list(held.given)
        self.give_up([key])
        return given

    def given_back(self, key: Key, held: Held) -> list[StepResult]:
        """Say what became of the version of an Application that was held."""
        app, candidate = self.work.snapshot.objects[key], held.candidate
        if held.rolls:
            detail = f"left to its owner: {held.rolls}"
            return [StepResult(ref_of(app), StepStatus.UNCHANGED, RESTORED[Role.VERSION], detail=detail)]
        if candidate is Candidate.ORIGINAL:
            detail = "git agrees: nothing moves"
            return [StepResult(ref_of(app), StepStatus.APPLIED, RESTORED[Role.VERSION], detail=detail)]
        asked = ", ".join(s.revision or "HEAD" for s in application.sources(app))
        detail = f"its version is what git says ({asked}): nothing moves"
        return [StepResult(ref_of(app), StepStatus.UNCHANGED, RESTORED[Role.VERSION], detail=detail)]

    def what_rolls(self) -> list[tuple[str, str]]:
        """Say what the release of what is held rolls, because that was asked for, and which version that is."""
        said = []
        for key, held in self.held.items():
            if held.rolls:
                owner, _ = next(iter(ownership.owners_of(self.work.snapshot, held.before)), (None, ""))
                who = self.work.name(owner) if owner is not None else "Argo CD"
                asked = application.sources(self.work.snapshot.objects[key])
                version = next((s.revision for s in asked if s.yields_manifests), "") or "HEAD"
                said.append(
                    (f"this lets {who} deploy {self.work.name(key)} {version}: {held.rolls}", version)
                )
        return said

    # -- words

    def as_before(self) -> str:
        """Say what was changed by an undo that refuses."""
        if not self.brought:
            return "everything is as it was before" if self.holds else "nothing was changed"
        return f"everything else is as it was before; {self.what_was_brought()}"

    def what_was_brought(self) -> str:
        """Say what stands as git has it now, though the version does not."""
        return f"as git says now: {some(sorted(self.brought))}"


def _asks(owner: JSON) -> JSON:
    spec = owner.get("spec") or {}
    return {k: v for k, v in spec.items() if k != "syncPolicy"}


def _described(hold: Hold, entry: str) -> dict[str, JSON]:
    return {
        "app": hold.key.name,
        "namespace": hold.key.namespace,
        "project": hold.window.ref.name if hold.window is not None else "",
        "autoSync": hold.off is not None,
        "entry": entry,
        "agreed": "",
        "released": False,
    }


# -- after an undo that died


def end_what_waits(session: Session, writing: Writing, key: Key, *, is_blocked: bool) -> bool:
    """End an operation that somebody began while we held; False where it cannot be ended.

    Behind our window it has taken the source of its first pass, and would run once the window is gone.
    Up to Argo CD 3.5 none ends while a window blocks it, so that its end is written by hand.
    """
    for _ in range(ROUNDS):
        try:
            app = session.cluster.get(APPLICATION, key.namespace, key.name)
        except NotFound:
            return True
        snapshot = replace(
            session.reading.snapshot,
            objects={**session.reading.snapshot.objects, key: app},
            now=session.now(),
        )
        if not operation(app).in_progress:
            return True
        session.printer.warn(
            f"an operation that somebody began meanwhile is ended: {operation(app).describe()}"
        )
        plan = plan_terminate(snapshot, key, order_id=new_order_id(), force=is_blocked)
        engine = Engine(session.cluster, session.journal, now=session.now, is_told=False)
        engine.execute(plan, snapshot, session.begin("terminate", writing))
        refresh.refresh(session.cluster, key, timeout=refresh.REFRESH_SECONDS)
    return False


def recover(session: Session, entry: Entry, writing: Writing, *, redeploy: bool) -> None:
    """Pin again what an undo that died has left held, and take its holds away, the window last.

    Whatever version stands there by now, the one of before goes back over it: it is what runs. Where
    owners were let go already, it is asked whether that still holds.
    Raises ConflictError where the undo that holds it lives, RescueError where it cannot be done.
    """
    home = session.journal.in_cluster if "cluster" in entry.homes else None
    if home is not None:
        home.claim(entry.id, session.reading.actor or "somebody", session.now())
    try:
        _recover(session, session.journal.completed(entry), writing, redeploy=redeploy)
    finally:
        if home is not None:
            home.release(entry.id)


def _recover(session: Session, entry: Entry, writing: Writing, *, redeploy: bool) -> None:
    pins: dict[tuple[Ref, Role], list[tuple[Tag, Change]]] = {}
    holds: list[tuple[Ref, Role, Tag, Change]] = []
    for number, index, edit, change in reversed(entry.unsettled()):
        tag = Tag(entry.id, number, index)
        if _is_pin(edit, change):
            pins.setdefault((edit.ref, edit.role), []).append((tag, change))
        else:
            holds.append((edit.ref, edit.role, tag, change))
    _pin(session, entry, writing, pins)
    led = {
        edit.ref.key
        for number, edit in entry.edits()
        for index, change in enumerate(edit.changes)
        if _is_pin(edit, change) and (number, index) in entry.settled
    }
    pinned = {ref.key for ref, _ in pins}
    held = {key for key in ({ref.key for ref, *_ in holds} | pinned | led) if key.kind == "Application"}
    if not redeploy:
        for key in sorted(held & led - pinned):
            _refuse_what_would_roll(session, key)
    for key in sorted(held):
        if not end_what_waits(session, writing, key, is_blocked=True):
            raise RescueError(
                f"{key} is held, and an operation that waits there cannot be ended",
                f"look: {COMMAND} status {key.name}",
            )
    for ref, role, tag, change in sorted(holds, key=lambda hold: hold[1] is Role.WINDOW):
        if _back(session, entry, writing, ref, role, [(tag, change)], overwrite=False):
            session.printer.say(f"{ref}: the hold of an undo that died is taken away")
    done = {(n, i): "restored" for n, i, _, _ in entry.unsettled()}
    session.journal.reopen(entry).write([Settled(done, entry.id, session.now())])


def _pin(
    session: Session,
    entry: Entry,
    writing: Writing,
    pins: Mapping[tuple[Ref, Role], Sequence[tuple[Tag, Change]]],
) -> None:
    """Write again what an undo that died had taken away, the rule of a set first: it needs a moment to see it."""
    is_of_set = any(role is Role.RULE for _, role in pins)
    for number in range(ROUNDS if is_of_set else 1):
        if number:
            session.cluster.sleep(SETTLE_SECONDS)
        for (ref, role), changes in sorted(pins.items(), key=lambda pin: pin[0][1] is not Role.RULE):
            if not _back(session, entry, writing, ref, role, changes, overwrite=True):
                continue
            session.printer.say(f"{ref} is pinned again: an undo that died had something else in it")
            if ref.kind == "Application":
                refresh.refresh(session.cluster, ref.key, timeout=refresh.REFRESH_SECONDS)


def _refuse_what_would_roll(session: Session, key: Key) -> None:
    """Raise RefusedError where auto-sync of a held Application would change something, its owners being back."""
    app: JSON | None = None
    for _ in range(ROUNDS):
        app = refresh.refresh(session.cluster, key, timeout=refresh.REFRESH_SECONDS)
        session.cluster.sleep(SETTLE_SECONDS)
    old = session.reading.snapshot
    snapshot = replace(old, objects={**old.objects, key: app or {}}, now=session.now())
    verdict = auto_sync_says(snapshot, key, block=application.automated(app)) if app is not None else None
    if verdict is None or verdict.evidence is not Evidence.AGREES:
        why = verdict.why if verdict is not None else "Argo CD does not compare it"
        raise RefusedError(
            f"{key} stays held by an undo that died: {why}",
            f"mend git and undo then; or let that roll out: {COMMAND} undo --redeploy",
            code=Code.GIT_DIFFERS,
        )


def _is_pin(edit: Edit, change: Change) -> bool:
    """Whether a hold's entry has this change to say what runs, not to hold it."""
    is_note = isinstance(change, FieldChange) and change.before == change.after
    is_rule = isinstance(change, MemberChange) and not change.present  # that kept its set from writing it
    return edit.role is Role.VERSION or is_note or is_rule


def _back(
    session: Session,
    entry: Entry,
    writing: Writing,
    ref: Ref,
    role: Role,
    changes: Sequence[tuple[Tag, Change]],
    *,
    overwrite: bool,
) -> bool:
    """Take some changes of one object back; False where nothing of them stands any more."""
    found, _ = look(session.cluster, [ref.key], json.loads)
    live = found.get(ref.key)
    if live is None or live["metadata"].get("uid") != ref.uid:
        return False
    fold = merge.fold(live, changes, overwrite=overwrite)
    if not fold.changes:
        return False
    if not all(is_whole(c.after) for c in fold.changes if isinstance(c, FieldChange)):
        raise RescueError(
            f"{ref} is held by an undo that died, and its parameters and values are kept by "
            f"{entry.begin.actor or 'somebody'} on {entry.begin.host} alone",
            f"nothing was changed; undo there: {COMMAND} undo {entry.id}",
            code=Code.SAVED_ELSEWHERE,
        )
    engine = Engine(session.cluster, session.journal, now=session.now, is_told=False)
    begin = session.begin("undo", writing, undoes=[entry.id])
    snapshot = replace(session.reading.snapshot, objects={ref.key: live}, now=session.now())
    run = engine.execute(
        Plan("undo", (Edit(ref, fold.changes, "as it was", role, named=False),)), snapshot, begin
    )
    bad = [r for r in run.results if not r.stands]
    if run.interrupted:
        raise KeyboardInterrupt
    if bad:
        raise RescueError(
            f"{ref} is held by an undo that died, and that cannot be taken back: {bad[0].detail or bad[0].status.value}",
            f"nothing more was changed; look: {COMMAND} show {entry.id}",
        )
    return True
