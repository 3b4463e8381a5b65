"""A thaw: what a controller that starts would destroy is settled first, then it goes in steps that look.

The order: dying Applications, operations that would go on, a deny window on every AppProject, the
application-controller, a comparison of everything, a yes, the windows back, the sets' controller last.
Each step is told by the cluster, so that a thaw that was killed goes on with the same command.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application, controllers, deletion, ownership
from ..argocd.controllers import APPLICATIONS, SETS, Controller
from ..argocd.deletion import Doomed
from ..cluster.objects import look
from ..cluster.probe import not_generated
from ..cluster.refresh import wake
from ..journal.entry import THAW, Entry, what_others_wrote, whose
from ..journal.journal import Writer
from ..journal.records import Settled
from ..model import merge
from ..model.errors import (
    Code,
    ConflictError,
    ExitStatus,
    Forbidden,
    NotFound,
    NotServed,
    RefusedError,
    RescueError,
    TimedOut,
)
from ..model.patches import inverse
from ..model.text import COMMAND, display_name, some
from ..model.values import (
    APPLICATIONSET,
    APPPROJECT,
    BY_KIND,
    JSON,
    Edit,
    Key,
    Plan,
    Ref,
    Result,
    Role,
    Snapshot,
    StepStatus,
    ref_of,
)
from ..plan import operations, thaw
from ..plan.on_conflict import OnConflict
from ..plan.set_deletions import generated_by, not_let_go
from ..plan.undo import RESTORED
from ..show.steps import STATUS_WORDS
from .freeze import find_controllers, not_ended, pods_of
from .options import Writing
from .procedure import Procedure
from .session import Session, new_order_id
from .undo import Claims

LOOK_SECONDS = 1.0
"""How long somebody else has to take a window away again."""

COMPARE_SECONDS = 5.0
"""How long one Application is waited for before all are looked at again."""

SETTLE_SECONDS = 3.0
"""How long Argo CD has to take back what was edited while it stood still."""

PATIENCE = 600.0
"""How long each step may take by default."""


HELD_BACK = {Role.WINDOW: "closed for a moment", Role.RULE: "kept from deleting for a moment"}


class ThawOptions(Struct, frozen=True):
    """How a thaw is to go."""

    let_delete: tuple[str, ...] = ()
    """Dying Applications that may take their workloads along."""
    keep_operation: tuple[str, ...] = ()
    """Applications whose operation may go on."""
    on_conflict: OnConflict = OnConflict.STOP
    timeout: float | None = None


class Thaw(Procedure):
    """One thaw of some freezes."""

    def __init__(
        self,
        session: Session,
        entries: Sequence[Entry],
        options: ThawOptions,
        writing: Writing,
        known: Sequence[Entry],
    ) -> None:
        """Take the freezes, and all entries that are known."""
        super().__init__(session, "undo", writing, undoes=[e.id for e in entries], actions=RESTORED)
        self.entries = tuple(entries)
        self.options = options
        self.known = tuple(known)
        self.pauses = [e for e in known if e.is_open and not e.is_freeze and e.begin.verb != THAW]
        self.writers: dict[str, Writer] = {}
        """Of entries that are written to: each goes on after what it wrote."""
        self.held: list[tuple[Entry, Edit]] = []
        """What other entries wrote and still stood before the thaw."""
        self.windows = [e for e in known if e.is_open and e.begin.verb == THAW]
        """Entries of a thaw that was killed: the windows that it placed."""
        self.apps: list[JSON] = []
        self.back = thaw.ScalesBack()
        self.found: list[Controller] = []

    @property
    def _patience(self) -> float:
        return self.options.timeout or PATIENCE

    # -- the whole way

    def run(self) -> Result:
        """Thaw, or refuse before any write. Raises RefusedError, ConflictError, Forbidden."""
        self._read()
        self._judge()
        self._refuse_what_would_be_destroyed()
        plan = self._plan()
        if self.writing.is_dry_run:
            return self.dry_run(plan, self._data())
        self.printer.plan_talk(plan.warnings, plan.notes)
        self.session.header()
        self.session.checks.require_rights(plan)
        self.session.checks.confirm(plan, self.writing)
        claims = Claims(self.session, self.entries)
        claims.take()
        try:
            self._write(claims.renew)
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        finally:
            claims.release()
        return self._result()

    def _write(self, meanwhile: Callable[[], None]) -> None:
        """Each step, unless one before it went wrong."""
        if not (self._end_operations() and self._hold_back()):
            return
        started = self.session.now().replace(microsecond=0)
        if not self._start(APPLICATIONS):
            return
        meanwhile()
        silent = self._compare(started)
        if not self._ask(silent) or not (self._start_sets() and self._ask_sets()):
            self._freeze_again()
            return
        if not (self._put_back(Role.WINDOW) and self._put_back(Role.RULE)):
            return
        self._wake()
        self._settle_freezes()
        self._see_that_pauses_hold()

    # -- finding out

    def _read(self) -> None:
        session, argocd = self.session, self.snapshot.argocd
        cluster = session.cluster
        self.snapshot, unreadable = find_controllers(session, self.snapshot, anew=True)
        for text in unreadable:
            self.printer.warn(text)
        self.found = controllers.controllers_of(self.snapshot)
        keys = list(dict.fromkeys(edit.ref.key for e in self.entries for _, edit in e.edits()))
        if any(key.namespace != argocd.namespace for key in keys):
            raise RefusedError(
                f"entry {self.entries[0].id} names controllers outside of {argocd.namespace}",
                "nothing was changed; a freeze never does that",
            )
        roles = (Role.PAUSE, Role.RULE, Role.VERSION)
        others = [(e, edit) for e in self.pauses for _, _, edit, _ in e.unsettled() if edit.role in roles]
        objects, unreadable = look(cluster, [*keys, *(edit.ref.key for _, edit in others)])
        if unreadable:
            raise RescueError(unreadable[0], "nothing was changed")
        got = cluster.gather(
            lambda: session.reader.all_applications(argocd),
            lambda: cluster.list(APPPROJECT, argocd.namespace),
            lambda: self._sets(),
        )
        self.apps = got[0]
        read = [*self.apps, *got[1], *got[2]]
        objects = {k: o for k, o in objects.items() if o is not None}
        self.held = [(e, edit) for e, edit in others if _stands(edit, objects.get(edit.ref.key))]
        self.snapshot = replace(
            self.snapshot,
            objects={**self.snapshot.objects, **{ref_of(o).key: o for o in read}, **objects},
            now=session.now(),
        )

    def _sets(self) -> list[JSON]:
        argocd = self.snapshot.argocd
        place = "" if argocd.application_namespaces else argocd.namespace
        try:
            return self.session.cluster.list(APPLICATIONSET, place)
        except NotServed:
            return []  # a core install has none

    def _of(self, kind: str) -> list[JSON]:
        return [o for k, o in self.snapshot.objects.items() if k.kind == kind]

    def _judge(self) -> None:
        """See what stands of the freezes. Raises ConflictError where somebody else scaled a controller."""
        self.back = thaw.scales_back(self.snapshot, self.entries, self.known)
        for ref in self.back.gone:
            self.printer.warn(f"{ref} was created anew or taken away since: nothing of it is put back")
        if self.back.conflicts and self.options.on_conflict is OnConflict.STOP:
            ref, conflict = self.back.conflicts[0]
            raise ConflictError(
                f"{ref} was scaled to {conflict.ours} by somebody else since; nothing was written",
                "use --on-conflict=skip to leave it as it is",
            )

    def _refuse_what_would_be_destroyed(self) -> None:
        """Raise RefusedError where a dying Application would take its workloads along: no yes answers that."""
        found = self._waiting()
        if not found.dying:
            return
        one = found.dying[0].name
        every = ",".join(d.name for d in found.dying[:8])
        raise RefusedError(
            f"{_count(found.dying)} would be deleted with their workloads as soon as Argo CD runs: "
            f"{_names(found.dying)}",
            f"nothing was changed; keep the workloads: {COMMAND} orphan {one}; or let them go by name: "
            f"{COMMAND} undo {self.entries[0].id} --let-delete {every}",
            code=Code.DELETION,
        )

    def _waiting(self) -> thaw.Waiting:
        return thaw.waiting(
            self.apps,
            self.snapshot.argocd,
            let_go=self.options.let_delete,
            keep=self.options.keep_operation,
        )

    def _plan(self) -> Plan:
        """Say all that this thaw writes whatever the comparison tells, and ask what is to be asked now."""
        ending = self._ending()
        me, now = self.session.reading.actor, self.session.now()
        questions = [text for entry in self.entries if (text := whose(entry, me, now))]
        questions += [text for entry in self.entries if (text := what_others_wrote(entry))]
        questions += [text for plan in ending for text in plan.questions]
        let = thaw.waiting(self.apps, self.snapshot.argocd, let_go=(), keep=()).dying
        notes = [f"let go with their workloads, as you said: {_names(let)}"] if let else []
        steps = [step for plan in ending for step in plan.steps]
        return Plan(
            "undo",
            (*steps, *self._holding(self.snapshot), *self.back.edits),
            notes=tuple(notes),
            questions=tuple(questions),
        )

    # -- step by step

    def _ending(self) -> list[Plan]:
        """Plan the end of each operation that would go on: nobody runs that could end it."""
        return [
            operations.plan_terminate(self.snapshot, d.key, order_id=new_order_id(), force=True)
            for d in self._waiting().operations
        ]

    def _end_operations(self) -> bool:
        for doomed in self._waiting().operations:
            replan = partial(operations.plan_terminate, key=doomed.key, order_id=new_order_id(), force=True)
            self.printer.note(f"ended: the operation of {doomed.name} ({doomed.operation})")
            if not self.carry_out(replan(self.snapshot), replan=replan):
                return False
        return True

    def _hold_back(self) -> bool:
        """Have no sync start and no set delete meanwhile, by an entry of its own: it is owed until the thaw is done."""
        part = Procedure(self.session, THAW, self.writing, actions=HELD_BACK)
        part.snapshot = self.snapshot

        def replan(snapshot: Snapshot) -> Plan:
            return Plan(THAW, tuple(self._holding(snapshot)), independent_from=0)

        went_well = part.carry_out(replan(self.snapshot), replan=replan)
        self.results += part.results
        self.warnings += part.warnings
        self.snapshot = part.snapshot
        self.status = part.status or self.status
        if part.entry:
            self.windows += [e for e in self.session.journal.read().entries if e.id == part.entry]
        return went_well and self._sees_that_it_holds()

    def _sees_that_it_holds(self) -> bool:
        """See that nobody takes the windows away: whoever does that runs, and is another than this Argo CD."""
        cluster = self.session.cluster
        cluster.sleep(LOOK_SECONDS)
        self.snapshot = replace(
            self.snapshot,
            objects={
                **self.snapshot.objects,
                **{ref_of(p).key: p for p in cluster.list(APPPROJECT, self.snapshot.argocd.namespace)},
            },
        )
        left = thaw.window_edits(self.snapshot, self._of(APPPROJECT.kind))
        for edit in left:
            self.warnings.append(
                f"somebody takes the window of {edit.ref} away: nothing would hold its syncs back"
            )
            self.printer.warn(self.warnings[-1])
        if left:
            self.status = ExitStatus.REFUSED
            self.printer.say(f"not thawed; stop that first, then go on: {self._go_on()}")
        return not left

    def _holding(self, snapshot: Snapshot) -> list[Edit]:
        projects = [o for k, o in snapshot.objects.items() if k.kind == APPPROJECT.kind]
        sets = [o for k, o in snapshot.objects.items() if k.kind == APPLICATIONSET.kind]
        edits = thaw.window_edits(snapshot, projects)
        return [*edits, *thaw.set_edits(snapshot, sets)] if self._sets_will_start() else edits

    def _start(self, part: str) -> bool:
        """Scale a controller back and wait until its pods are ready."""
        edits = tuple(e for e in self.back.edits if thaw.is_of_part(e, part, self.found))
        if edits and not self.carry_out(Plan("undo", edits, independent_from=0), replan=self._replan):
            return False
        for controller in self._made(part):
            key = controller.key
            if not self._follow(key, _is_ready):
                raise TimedOut(
                    f"{key} has no ready pod yet",
                    f"see why: kubectl describe {key.kind.lower()} -n {key.namespace} {key.name}; then go on: "
                    f"{self._go_on()}",
                )
        return True

    def _made(self, part: str) -> list[Controller]:
        """Return the workloads of a part, once an operator has made them that is told to."""
        cluster = self.session.cluster
        deadline = cluster.clock() + self._patience
        while True:
            found = [c for c in self.found if c.part == part]
            makers = controllers.switched_on(self.snapshot, part)
            if found or not makers:
                return found
            if cluster.clock() >= deadline:
                raise TimedOut(
                    f"the operator of {ref_of(makers[0])} makes no {part} yet",
                    f"see whether it runs; then go on: {self._go_on()}",
                )
            cluster.sleep(LOOK_SECONDS)
            self.snapshot, _ = find_controllers(self.session, self.snapshot, anew=True)
            self.found = controllers.controllers_of(self.snapshot)

    def _follow(self, key: Key, wanted: Callable[[JSON], bool], timeout: float = 0.0) -> bool:
        """Wait until an object is as wanted; False where it is not in time."""
        cluster, resource = self.session.cluster, BY_KIND[key.kind]
        obj = cluster.get(resource, key.namespace, key.name)
        return cluster.follow(resource, obj, wanted, timeout or self._patience)[1]

    def _replan(self, snapshot: Snapshot) -> Plan:
        back = thaw.scales_back(snapshot, self.entries, self.known)
        return Plan("undo", tuple(back.edits))

    def _compare(self, started: datetime) -> list[str]:
        """Have every Application compared with git; return the names of those that were not in time."""
        cluster, argocd = self.session.cluster, self.snapshot.argocd
        keys = [ref_of(a).key for a in self.apps if self._is_compared_at_all(a)]
        self.printer.say(
            f"comparing {len(keys)} application{'s' if len(keys) != 1 else ''} with git; no sync starts"
        )
        deadline = cluster.clock() + self._patience
        late = set(keys)
        asked = 0.0
        while late:
            if not asked or cluster.clock() - asked > 30:
                asked = cluster.clock()
                cluster.gather_outcomes(*[partial(wake, cluster, key) for key in sorted(late)])
            self.apps = self.session.reader.all_applications(argocd)
            late = {ref_of(a).key for a in self.apps if self._is_late(a, started)} & set(keys)
            if cluster.clock() >= deadline:
                break
            if late:
                with contextlib.suppress(NotFound):
                    self._follow(min(late), lambda a: not self._is_late(a, started), COMPARE_SECONDS)
        self.snapshot = replace(
            self.snapshot, objects={**self.snapshot.objects, **{ref_of(a).key: a for a in self.apps}}
        )
        return [display_name(key, argocd) for key in sorted(late)]

    def _is_compared_at_all(self, app: JSON) -> bool:
        """Whether this Argo CD will compare an Application that lives."""
        argocd = self.snapshot.argocd
        is_ours = ownership.serving(app, argocd) is argocd
        return is_ours and not application.is_skipping_reconcile(app) and not deletion.is_dying(app)

    @staticmethod
    def _is_late(app: JSON, started: datetime) -> bool:
        at = application.reconciled_at(app)
        # Of an invalid one nothing is compared (Argo CD: appcontroller.go refreshAppConditions).
        is_invalid = bool(application.conditions(app, "InvalidSpecError"))
        return not is_invalid and (at is None or at < started)

    def _ask(self, silent: Sequence[str]) -> bool:
        """Show what auto-sync would do, and what sets may delete; whether that is wanted."""
        ours = [ref_of(p).key for p in self._of(APPPROJECT.kind)]
        argocd = self.snapshot.argocd
        questions = [f"auto-sync will act on {t}" for t in thaw.what_follows(self.apps, argocd, ours)]
        if silent:
            questions.append(f"what Argo CD will do with {some(silent)} is not known: not compared in time")
        free = [o for o in self._of(APPLICATIONSET.kind) if ref_of(o) not in self._held_sets()]
        if self._sets_will_start() and (sets := thaw.sets_that_delete(self.snapshot, free)):
            questions.append(
                f"ApplicationSet {some(sets)} may delete Applications that its generators do not give any more; "
                f"to be safe first: {COMMAND} pause appset/{sets[0]}"
            )
        return not questions or self._agreed(questions)

    def _held_sets(self) -> list[Ref]:
        """Return the sets that a thaw keeps from deleting."""
        return [edit.ref for e in self.windows for _, _, edit, _ in e.unsettled() if edit.role is Role.RULE]

    def _ask_sets(self) -> bool:
        """Find out what the sets would delete, now that they run and may not, and ask."""
        apps = generated_by(self._held_sets(), self.session.reader.all_applications(self.snapshot.argocd))
        if not apps:
            return True
        self.printer.say(f"seeing which of {len(apps)} generated applications their sets still give")
        argocd = self.snapshot.argocd
        lost = not_let_go(not_generated(self.session.cluster, apps), argocd, self.options.let_delete)
        if not lost:
            return True
        text = f"ApplicationSets do not give {some(lost)} any more, and would delete them with what they deployed"
        self.warnings.append(text)
        self.status = ExitStatus.REFUSED
        self.printer.say(
            f"{self.printer.paint('refused:', 'yellow')} {text}; bring them back to git, or let them go by name: "
            f"{self._go_on()} --let-delete {','.join(lost[:8])}"
        )
        return False

    def _agreed(self, questions: Sequence[str]) -> bool:
        try:
            self.session.checks.confirm(Plan("undo", questions=tuple(questions)), self.writing)
        except RefusedError as e:
            self.warnings += questions
            self.status = ExitStatus.REFUSED
            self.printer.say(f"{self.printer.paint('refused:', 'yellow')} {e.message}")
            return False
        return True

    def _sets_will_start(self) -> bool:
        return any(thaw.is_of_part(e, SETS, self.found) for e in self.back.edits)

    def _freeze_again(self) -> None:
        """Stop what was started again before any window is touched, then take the windows away."""
        well = {r.ref for r in self.results if r.status is StepStatus.APPLIED and r.role is Role.SCALE}
        again = [
            Edit(e.ref, tuple(map(inverse, e.changes)), "frozen again", Role.SCALE)
            for e in self.back.edits
            if e.ref in well
        ]
        self.actions = {**self.actions, Role.SCALE: "stopped again"}
        if self.execute(Plan("undo", tuple(again), independent_from=0), None) is not ExitStatus.OK:
            return
        if not self._see_that_they_ended():
            self.printer.warn(f"what holds syncs and sets back stays; go on with it: {self._go_on()}")
            return
        self._put_back(Role.RULE)
        self._put_back(Role.WINDOW)
        self.printer.say(f"frozen as before; mend git, then go on: {self._go_on()}")

    def _see_that_they_ended(self) -> bool:
        """Wait until no process is left that could still act once nothing holds it back."""
        cluster = self.session.cluster
        deadline = cluster.clock() + self._patience
        try:
            while left := pods_of(cluster, self.found):
                if cluster.clock() >= deadline:
                    for pod in left:
                        self.printer.warn(not_ended(pod))
                    return False
                cluster.sleep(LOOK_SECONDS)
        except Forbidden as e:
            self.printer.warn(f"whether they have ended is not known: {e.message}")
            return False
        return True

    def _put_back(self, role: Role) -> bool:
        """Take away what held syncs and sets back, one object after the other."""
        went_well = True
        for entry in self.windows:
            changes: dict[tuple[int, int], str] = {}
            for number, index, edit, change in entry.unsettled():
                if edit.role is not role:
                    continue
                live = self._read_again(edit.ref.key)
                if live is None or live["metadata"].get("uid") != edit.ref.uid:
                    changes[number, index] = "gone"
                    continue
                fold = merge.fold(live, [(merge.Tag(entry.id, number, index), change)])
                if fold.changes:
                    back = Edit(edit.ref, fold.changes, "it was for the thaw alone", role, named=False)
                    if not self.carry_out(Plan("undo", (back,))):
                        went_well = False
                        continue
                changes[number, index] = "restored" if fold.changes else "already"
            self._append(entry, changes)
        return went_well

    def _read_again(self, key: Key) -> JSON | None:
        try:
            live = self.session.cluster.get(BY_KIND[key.kind], key.namespace, key.name)
        except NotFound:
            return None
        self.snapshot = replace(self.snapshot, objects={**self.snapshot.objects, key: live})
        return live

    def _wake(self) -> None:
        """Argo CD does not notice by itself that a window opened."""
        cluster = self.session.cluster
        keys = [ref_of(a).key for a in self.apps if application.is_auto_sync_on(a)]
        cluster.gather_outcomes(*[partial(wake, cluster, key) for key in keys])

    def _start_sets(self) -> bool:
        """Start the sets' controller, once no dying Application of a set would take its workloads along."""
        if not self._sets_will_start():
            return self._start(SETS)
        argocd = self.snapshot.argocd
        for key in thaw.dying_of_sets(self.apps):
            try:
                self._follow(key, lambda a: not deletion.is_cascading(a))
            except NotFound:
                continue
        self.apps = self.session.reader.all_applications(argocd)
        if still := [display_name(key, argocd) for key in thaw.dying_of_sets(self.apps)]:
            raise TimedOut(
                f"{some(still)} are still being deleted, so the ApplicationSet controller stays at 0",
                f"look: {COMMAND} status; then go on: {self._go_on()}",
            )
        return self._start(SETS)

    def _settle_freezes(self) -> None:
        """Close the freezes: what they stopped runs again."""
        well = {r.ref for r in self.results if r.stands}
        settled = dict(self.back.done)
        for ref, tags in self.back.restores:
            if ref in well:
                settled.update(dict.fromkeys(tags, "restored"))
        for entry in self.entries:
            self._append(
                entry, {(t.edit, t.change): how for t, how in settled.items() if t.entry == entry.id}
            )

    def _append(self, entry: Entry, changes: dict[tuple[int, int], str]) -> None:
        if not changes:
            return
        try:
            if entry.id not in self.writers:
                self.writers[entry.id] = self.session.journal.reopen(entry)
            self.writers[entry.id].write([Settled(changes, self.entry, self.session.now())])
        except RescueError as e:
            self.printer.warn(f"entry {entry.id} could not be closed: {e.message}")

    def _see_that_pauses_hold(self) -> None:
        """See that what was edited while nobody reconciled stays: that it held until now proves nothing."""
        if not self.held:
            return
        cluster = self.session.cluster
        cluster.sleep(SETTLE_SECONDS)
        live, _ = look(cluster, [edit.ref.key for _, edit in self.held])
        for entry, edit in self.held:
            if not _stands(edit, live.get(edit.ref.key)):
                self.warnings.append(
                    f"{edit.ref}: what entry {entry.id} wrote does not stand any more since Argo CD runs; look: "
                    f"{COMMAND} show {entry.id}"
                )
                self.printer.warn(self.warnings[-1])
                self.status = self.status or ExitStatus.PARTIAL

    # -- the end

    def _go_on(self) -> str:
        return f"{COMMAND} undo {' '.join(self.undoes)}"

    def _data(self) -> dict[str, JSON]:
        return {"undoes": list(self.undoes), "owed": [], "conflicts": []}

    def _result(self) -> Result:
        status = self.status
        if status is ExitStatus.INTERRUPTED:
            self.printer.say(f"interrupted; go on with: {self._go_on()}")
        elif status is ExitStatus.OK:
            self.printer.say(f"{self.printer.paint('thawed:', 'green')} Argo CD runs again")
        return Result(
            "undo", self.entry, tuple(self.results), tuple(self.warnings), self._data(), status,
            STATUS_WORDS[status],
        )  # fmt: skip


def _stands(edit: Edit, obj: JSON) -> bool:
    return bool(obj) and all(merge.standing_of(c, obj) is merge.Standing.OURS for c in edit.changes)


def _is_ready(workload: JSON) -> bool:
    wanted: int = (workload.get("spec") or {}).get("replicas", 1)
    status = workload.get("status") or {}
    ready: int = status.get("readyReplicas") or 0
    # What is counted of the generation before may be pods that have ended since.
    generation = workload["metadata"].get("generation", 0)
    return bool(status.get("observedGeneration", generation) >= generation and ready >= wanted)


def _names(found: Sequence[Doomed]) -> str:
    return some([d.name for d in found])


def _count(found: Sequence[Doomed]) -> str:
    return f"{len(found)} application{'' if len(found) == 1 else 's'}"
