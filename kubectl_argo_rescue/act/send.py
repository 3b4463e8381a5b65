"""Sends one step of a plan until it stands or certainly does not, and knows what came of it.

A guard that fails means that somebody else wrote: the object is read again and the planner asked
again, at most three times. An answer that got lost is settled by looking, never by sending again
blindly.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from ..argocd.operation import STARTING, has_landed, operation, order_ops
from ..cluster.answers import Read
from ..cluster.client import Cluster
from ..journal.journal import Writer
from ..journal.records import Intent
from ..model import merge, patches
from ..model.discretion import is_value
from ..model.errors import (
    ApiError,
    ConflictError,
    ExitStatus,
    Expired,
    Forbidden,
    GuardFailed,
    Invalid,
    NotFound,
    Overloaded,
    RescueError,
    StaleWrite,
    TransportError,
    may_have_landed,
)
from ..model.text import CREATED, DELETED
from ..model.values import (
    ABSENT,
    BY_KIND,
    JSON,
    Change,
    Creation,
    Edit,
    FieldChange,
    Key,
    Order,
    OrderKind,
    Plan,
    PlanStep,
    Removal,
    Resource,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    WorkloadRollback,
)

MAX_REPLANS = 3
MAX_ORDER_TRIES = 8
"""For `.operation` the resourceVersion is locked, which the controller's own status writes move."""

Step = Edit | Order
"""What is written to an object of Argo CD; workloads have their own way (workload_writes.roll_back)."""

ACTIONS: Mapping[Role, str] = {
    Role.PAUSE: "paused",
    Role.WINDOW: "unblocked",
    Role.VERSION: "pinned",
    Role.RULE: "ruled",
    Role.WORKLOAD: "rolled back",
    Role.SCALE: "stopped",
    Role.ORPHAN: "let go",
}


class Run(Struct):
    """What came of carrying out a plan."""

    entry: str = ""
    results: list[StepResult] = field(default_factory=list)
    objects: dict[Key, JSON] = field(default_factory=dict)
    """The objects as the server returned them."""
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    writer: Writer | None = None
    """Keeps the entry: a further part of the same command goes on with it."""
    doubtful: set[int] = field(default_factory=set)
    """Steps that may have landed without our knowing: only the live object tells what became of them."""
    begun: set[int] = field(default_factory=set)
    noted: set[int] = field(default_factory=set)
    """Of the steps that were begun those whose end is known here: others were in the air at an interruption."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """What the journal is told of each step by its number."""

    def exit_status(self, *, independent: bool) -> ExitStatus:
        """Derive the exit code: conflicts before errors; partly done where objects are independent."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        verdicts = {r.status for r in self.results}
        bad = verdicts & {StepStatus.CONFLICT, StepStatus.DENIED, StepStatus.FAILED, StepStatus.UNKNOWN}
        if not bad:
            return ExitStatus.OK
        if independent and verdicts & {StepStatus.APPLIED, StepStatus.UNCHANGED}:
            return ExitStatus.PARTIAL
        return ExitStatus.CONFLICT if bad == {StepStatus.CONFLICT} else ExitStatus.ERROR

    def note(self, number: int, result: StepResult) -> None:
        """Keep what is known; of an UNKNOWN step nothing is, and it stays in doubt."""
        self.noted.add(number)
        if number in self.outcomes:
            return  # a part of it stands
        if result.status is StepStatus.APPLIED:
            self.outcomes[number] = "applied"
        elif number in self.doubtful:
            return
        elif result.status is StepStatus.CONFLICT:
            self.outcomes[number] = "conflict"
        elif result.status is not StepStatus.UNKNOWN:
            self.outcomes[number] = "not-applied"


class Batch(Struct, frozen=True):
    """What the steps of one plan need while they are sent."""

    snapshot: Snapshot
    run: Run
    writer: Writer
    replan: Callable[[Snapshot], Plan] | None
    """The planner again, for a snapshot with the object that moved."""
    actions: Mapping[Role, str]
    read: Read = json.loads
    """How answers with Applications are read."""


def action_of(step: PlanStep, actions: Mapping[Role, str] = ACTIONS) -> str:
    """Return the past participle that is printed for a step."""
    if isinstance(step, WorkloadRollback):
        return step.how.value
    if isinstance(step, Removal):
        return DELETED
    if isinstance(step, Creation):
        return CREATED
    return step.kind.value if isinstance(step, Order) else actions[step.role]


def result_of(
    step: PlanStep, status: StepStatus, action: str, *, ops: Sequence[JSON] = (), detail: str = ""
) -> StepResult:
    """Say what came of a step; whoever prints it names the object."""
    role = step.role if isinstance(step, Edit) else None
    detail = detail.removeprefix(f"{step.ref}: ")
    return StepResult(step.ref, status, action, tuple(ops), step.reason, detail, role)


def not_done(step: Step, live: JSON, answer: JSON) -> str:
    """Say what of a step the server's answer to its patch lacks; empty where all of it stands.

    The answer is the object as this very write left it: what differs was changed on its way, by an
    admission webhook or policy, or dropped by the server.
    """
    if isinstance(step, Order):
        lacks = _not_ordered(step, answer)
    else:
        others = [c for c in step.changes if merge.standing_of(c, answer) is not merge.Standing.OURS]
        # One of two equal items that was taken out does not look so in what was wanted either.
        wanted = patches.applied(live, step.changes) if others else live
        lacks = [_lacking(c, answer) for c in others if merge.standing_of(c, wanted) is merge.Standing.OURS]
    return f"{NOT_DONE}: {'; '.join(lacks)}" if lacks else ""


TAKEN_BACK = (
    "an ApplicationSet keeps taking it back, whatever its rule says: scale its applicationset-controller down, or "
    "change what it generates"
)

NOT_DONE = (
    "the API server took the write and did something else, as where an admission webhook or policy changes it"
)


def _not_ordered(order: Order, answer: JSON) -> list[str]:
    if order.kind not in STARTING:
        running = operation(answer)
        return [] if has_landed(order, answer) else [f"the operation goes on: {running.describe()}"]
    missing = patches.first_missing(order.operation, answer.get("operation") or ABSENT, "/operation")
    if missing is None:
        return []
    where, wanted, there = missing
    if is_value(where):
        return [f"{where} is not as it was ordered"]
    return [f"{where} should be {patches.shown(wanted)} and is {patches.shown(there)}"]


def _lacking(change: Change, answer: JSON) -> str:
    path = patches.show_path(change.path)
    now = merge.conflict(change, answer).ours
    if isinstance(change, FieldChange):
        return f"{path} should be {patches.shown(change.after)} and is {patches.shown(now)}"
    should = "should have" if change.present else "should no more have"
    return f"{path} {should} {patches.shown(change.item)} and is {patches.shown(now)}"


def _as_it_came(step: Edit, answer: JSON) -> Edit:
    """Return the edit that the answer shows to have been made: what an undo has to take back."""
    made = [c for c in step.changes if merge.standing_of(c, answer) is not merge.Standing.ORIGINAL]
    return replace(step, changes=tuple(_as_written(c, answer) for c in made))


def _as_written(change: Change, answer: JSON) -> Change:
    try:
        now = patches.read(change.path, answer)
    except patches.Unresolved:
        return change
    if not isinstance(change, FieldChange) or patches.equal(now, change.before):
        return change
    return replace(change, after=now)


def ops_of(live: JSON, step: Step) -> list[patches.Op]:
    """Build the guarded patch of a step. Raises patches.Unresolved."""
    if isinstance(step, Order):
        return order_ops(live, step)
    return patches.guarded_ops(live, step.ref, step.changes)


class Sender(ABC):
    """Sends one step; keeps how far that is.

    `prepare` looks and builds the patch; each of the handlers gives the step's result, or None where
    it is to be prepared and sent once more.
    """

    def __init__(self, cluster: Cluster, *, dry_run: bool = False, read: Read = json.loads) -> None:
        """Take the cluster of what is written, and how its answers are read."""
        self.cluster = cluster
        self.dry_run = dry_run
        self.read = read
        self.tries = 0
        self.ops: list[patches.Op] = []

    def send(self) -> StepResult:
        """Go on until the step stands or certainly does not."""
        while True:
            self.tries += 1
            result = self.prepare()
            if result is None and self.ops:
                result = self._patch()
            if result is not None:
                return result

    def _patch(self) -> StepResult | None:
        ref = self.step.ref
        try:
            answer = self.cluster.patch(
                self.resource, ref.namespace, ref.name, self.ops, dry_run=self.dry_run, read=self.read
            )
            return self.answered(answer)
        except (GuardFailed, StaleWrite) as e:
            return self.guard_failed(e)
        except (TransportError, Overloaded) as e:
            if may_have_landed(e):
                self.doubt()
            return self.answer_lost(e)
        except (Forbidden, NotFound, Invalid) as e:
            return self.refused(e)

    @property
    def resource(self) -> Resource:
        """What the patch goes to."""
        return BY_KIND[self.step.ref.kind]

    @property
    @abstractmethod
    def step(self) -> PlanStep:
        """What is sent."""

    @abstractmethod
    def doubt(self) -> None:
        """Note that the step may have landed, so that nobody takes it for not done."""

    @abstractmethod
    def prepare(self) -> StepResult | None:
        """Build the patch; a result where nothing can or need be sent, no patch where to look again."""

    @abstractmethod
    def answered(self, answer: JSON) -> StepResult | None:
        """Take the object that the server gave for the patch."""

    @abstractmethod
    def guard_failed(self, error: ApiError) -> StepResult | None:
        """See who moved what the patch tests."""

    @abstractmethod
    def answer_lost(self, error: RescueError) -> StepResult | None:
        """See whether the patch landed."""

    def refused(self, error: ApiError) -> StepResult | None:
        """Tell why the server will not have it."""
        status = StepStatus.DENIED if isinstance(error, Forbidden) else StepStatus.FAILED
        return self.result(status, error.message, ops=self.ops)

    @abstractmethod
    def result(self, status: StepStatus, detail: str = "", *, ops: Sequence[JSON] = ()) -> StepResult:
        """Say what came of the step."""


class ObjectSender(Sender):
    """Sends a step to an object of Argo CD."""

    def __init__(self, cluster: Cluster, batch: Batch, number: int, step: Step) -> None:
        """Begin with the object as the run last saw it."""
        read = batch.read if step.ref.kind == "Application" else json.loads
        super().__init__(cluster, read=read)
        self._batch = batch
        self._number = number
        self._step = step
        self._live: JSON | None = batch.run.objects.get(step.ref.key)
        self._replans = 0

    @property
    def step(self) -> Step:
        """What is sent; planning again may have changed it."""
        return self._step

    def doubt(self) -> None:
        """Leave the step's fate to a look at the live object."""
        self._batch.run.doubtful.add(self._number)

    def result(self, status: StepStatus, detail: str = "", *, ops: Sequence[JSON] = ()) -> StepResult:
        """Say what came of the step."""
        action = action_of(self._step, self._batch.actions)
        return result_of(self._step, status, action, ops=ops, detail=detail)

    def prepare(self) -> StepResult | None:
        """Build the patch for the object as it was last seen."""
        step = self._step
        if self._live is None:
            self._live = self._read()
        is_end = isinstance(step, Order) and step.kind not in (*STARTING, OrderKind.FORGET)
        if is_end and not operation(self._live).in_progress:
            return self.result(StepStatus.UNCHANGED, "no operation is in progress any more")
        try:
            self.ops = ops_of(self._live, step)
        except patches.Unresolved as e:
            return self.result(StepStatus.CONFLICT, f"what it edits is gone: {e}")
        return None if self.ops else self._nothing_to_write(self._live)

    def _nothing_to_write(self, live: JSON) -> StepResult | None:
        if self._is_doubtful:
            return self.result(StepStatus.APPLIED)
        if self.cluster.is_current(BY_KIND[self._step.ref.kind], live):
            return self.result(StepStatus.UNCHANGED, "already so")
        if self.tries > MAX_REPLANS:
            return self.result(StepStatus.FAILED, "the API server gives old answers; run it again")
        self._live = None
        return None

    def answered(self, answer: JSON) -> StepResult | None:
        """Keep the object, and see that an edit stays where it might not."""
        step = self._step
        self._batch.run.objects[step.ref.key] = answer
        if lacks := not_done(step, self._live, answer):
            return self._done_otherwise(answer, lacks)
        if isinstance(step, Edit) and step.hold:
            self.doubt()
            taken_back = self._hold(step)
            if taken_back:
                return self.result(StepStatus.CONFLICT, taken_back, ops=self.ops)
        return self.result(StepStatus.APPLIED, ops=self.ops)

    def _done_otherwise(self, answer: JSON, lacks: str) -> StepResult:
        """Have the journal know what came of a step that was not done as it was meant."""
        step = self._step
        if isinstance(step, Edit):
            made = _as_it_came(step, answer)
            if made.changes:
                self.doubt()  # until it is recorded
                self._take(made)
                self._batch.run.outcomes[self._number] = "applied"
                lacks += "; what is there now goes back with undo"
        elif step.kind in STARTING and answer.get("operation"):
            self.doubt()  # it is another than was ordered, and it will be carried out
            lacks += "; that operation will run"
        return self.result(StepStatus.FAILED, lacks, ops=self.ops)

    def guard_failed(self, error: ApiError) -> StepResult | None:
        """Plan again with what somebody else wrote, unless that settles it."""
        ref = self._step.ref
        try:
            fresh = self._read()
        except NotFound:
            return StepResult(ref, StepStatus.CONFLICT, "changed", detail=f"{ref} was deleted meanwhile")
        if self._is_doubtful and self._shows(fresh):
            # It landed after we had looked.
            self._batch.run.objects[ref.key] = fresh
            return self.result(StepStatus.APPLIED, ops=self.ops)
        again = self._replan if isinstance(self._step, Edit) else self._replan_order
        result = self._why_refused(fresh, error) or again(fresh)
        self._live = fresh
        return result

    def answer_lost(self, error: RescueError) -> StepResult | None:
        """Look whether it landed; send it again a few times where it certainly did not."""
        settled = self._settle(error)
        if settled is not None:
            return settled
        if self.tries >= MAX_REPLANS or getattr(error, "status", 0) == 429:
            next_ = error.hint or "it was not applied: run it again when the API server answers"
            return self.result(StepStatus.FAILED, f"{error.message}; {next_}", ops=self.ops)
        self.cluster.sleep(self.cluster.backoff(self.tries))
        self._live = None
        return None

    def refused(self, error: ApiError) -> StepResult | None:
        """Tell why, unless the same can be had by other means."""
        plain = self._without_enabled(error) if isinstance(error, Invalid) else None
        if plain is None:
            return super().refused(error)
        self._take(plain)
        return None

    @property
    def _is_doubtful(self) -> bool:
        return self._number in self._batch.run.doubtful

    def _read(self) -> JSON:
        ref = self._step.ref
        return self.cluster.get(BY_KIND[ref.kind], ref.namespace, ref.name)

    def _shows(self, obj: JSON) -> bool:
        """Whether an object shows what the step writes."""
        step = self._step
        return has_landed(step, obj) if isinstance(step, Order) else _stands(step, obj)

    def _take(self, step: Step) -> None:
        """Go on with another step in the place of this one; its intent is durable first."""
        if step != self._step:
            self._batch.writer.write([Intent(self._number, step)])
            self._step = step

    def _why_refused(self, fresh: JSON, error: ApiError) -> StepResult | None:
        """Tell why a guard failed; None where what it tests did move and planning again makes sense."""
        step = self._step
        if fresh["metadata"].get("uid") != step.ref.uid:
            text = f"{step.ref} was deleted and created anew meanwhile; nothing was written"
            return self.result(StepStatus.CONFLICT, text, ops=self.ops)
        if isinstance(step, Order):
            other = operation(fresh)
            is_same = fresh["metadata"].get("resourceVersion") == self.ops[1]["value"]
            if isinstance(error, GuardFailed) and is_same:
                return self.result(StepStatus.FAILED, error.message, ops=self.ops)
            if step.kind in STARTING and other.present and other.own_id != step.id:
                text = f"another operation came first: {other.describe()}"
                return self.result(StepStatus.CONFLICT, text, ops=self.ops)
            return None
        try:
            again = ops_of(fresh, step)
        except patches.Unresolved:
            return None
        if again == self.ops and isinstance(error, GuardFailed):
            # Nothing that we test has moved: an admission webhook, or the like, said no.
            return self.result(StepStatus.FAILED, error.message, ops=self.ops)
        return None

    def _replan(self, fresh: JSON) -> StepResult | None:
        step, batch = self._step, self._batch
        assert isinstance(step, Edit)
        self._replans += 1
        if self._replans > MAX_REPLANS:
            return self._conflict(fresh)
        batch.run.objects[step.ref.key] = fresh
        if batch.replan is None:
            # Only what is around our fields has moved, as where Argo CD drops a `syncPolicy` that is
            # empty (controller/appcontroller.go normalizeApplication): parents are made anew.
            is_foreign = any(merge.standing_of(c, fresh) is merge.Standing.FOREIGN for c in step.changes)
            return self._conflict(fresh) if is_foreign else None
        try:
            plan = batch.replan(self._snapshot())
        except ConflictError as e:
            return self.result(StepStatus.CONFLICT, e.message)
        except RescueError as e:
            return self.result(StepStatus.FAILED, e.message)
        for planned in plan.steps:
            if isinstance(planned, Edit) and planned.ref == step.ref and planned.role is step.role:
                self._take(planned)
                return None
        return self.result(StepStatus.UNCHANGED, "already so")

    def _replan_order(self, fresh: JSON) -> StepResult | None:
        step, batch = self._step, self._batch
        assert isinstance(step, Order)
        if self.tries >= MAX_ORDER_TRIES:
            return self._conflict(fresh)
        if step.kind in STARTING:
            return None
        # How to end an operation depends on how far it is: one picked up meanwhile is
        # terminated, not withdrawn.
        batch.run.objects[step.ref.key] = fresh
        if batch.replan is None:
            return None
        plan = batch.replan(self._snapshot())
        ending = next((s for s in plan.steps if isinstance(s, Order) and s.ref == step.ref), None)
        if ending is None:
            return self.result(StepStatus.UNCHANGED, "it has ended by itself")
        self._take(ending)
        return None

    def _snapshot(self) -> Snapshot:
        return replace(self._batch.snapshot, objects=dict(self._batch.run.objects))

    def _conflict(self, fresh: JSON) -> StepResult:
        step = self._step
        if isinstance(step, Order):
            detail = f"{step.ref} changes too fast to write an operation; try again"
        else:
            details = []
            for change in step.changes:
                c = merge.conflict(change, fresh)
                if merge.standing_of(change, fresh) is not merge.Standing.OURS:
                    details.append(f"{patches.show_path(c.path)} is now {patches.shown(c.ours)}")
            detail = "somebody else keeps changing it" + (f": {'; '.join(details)}" if details else "")
        return self.result(StepStatus.CONFLICT, detail)

    def _settle(self, error: RescueError) -> StepResult | None:
        """Look whether a PATCH without an answer landed; None where it did not and may be sent again."""
        step = self._step
        try:
            fresh = self._read()
        except RescueError as e:
            if isinstance(error, TransportError) and not error.sent:
                return self.result(StepStatus.FAILED, error.message, ops=self.ops)
            return self.result(
                StepStatus.UNKNOWN,
                f"the answer got lost ({error.message}) and the object cannot be read ({e.message}); "
                "whether it was applied shows when the server answers again: kubectl argo-rescue log",
                ops=self.ops,
            )
        if fresh["metadata"].get("uid") != step.ref.uid:
            return self.result(StepStatus.CONFLICT, f"{step.ref} was created anew", ops=self.ops)
        if self._shows(fresh):
            return self.result(StepStatus.APPLIED, ops=self.ops)
        if isinstance(step, Order):
            return None
        if all(merge.standing_of(change, fresh) is merge.Standing.ORIGINAL for change in step.changes):
            return None
        return self._conflict(fresh)

    def _hold(self, step: Edit) -> str:
        """See that an edit stays; where somebody takes it back, write it again a few times.

        An ApplicationSet's controller that was at work with the set as it was before writes once
        more what it had decided. Returns who-did-what where it does not stay, empty where it does.
        """
        ref, again, resource = step.ref, 0, BY_KIND[step.ref.kind]
        objects = self._batch.run.objects
        end = self.cluster.clock() + step.hold
        while (left := end - self.cluster.clock()) > 0:
            try:
                for kind, obj in self.cluster.watch(
                    resource,
                    ref.namespace,
                    name=ref.name,
                    resource_version=objects[ref.key]["metadata"]["resourceVersion"],
                    timeout=left,
                ):
                    if kind != "BOOKMARK":
                        objects[ref.key] = obj
                        break
            except (Expired, TransportError):
                objects[ref.key] = self._read()
            live = objects[ref.key]
            if _stands(step, live):
                continue
            again += 1
            if again > MAX_REPLANS:
                return f"{TAKEN_BACK}: {self._conflict(live).detail}"
            try:
                objects[ref.key] = self.cluster.patch(resource, ref.namespace, ref.name, ops_of(live, step))
            except (GuardFailed, patches.Unresolved):
                objects[ref.key] = self._read()
            end = self.cluster.clock() + step.hold
        return ""

    def _without_enabled(self, error: Invalid) -> Edit | None:
        """Plan the pause without `automated.enabled` where the CRD turns out not to know the field."""
        step, replan = self._step, self._batch.replan
        if not isinstance(step, Edit) or step.role is not Role.PAUSE or replan is None:
            return None
        if not any(patches.show_path(c.path).endswith("/automated/enabled") for c in step.changes):
            return None
        if "enabled" not in " ".join((error.message, *error.causes)):
            return None
        snapshot = self._snapshot()
        old = replace(snapshot, argocd=replace(snapshot.argocd, version=None))
        planned = [s for s in replan(old).steps if isinstance(s, Edit) and s.ref == step.ref]
        return planned[0] if planned and planned[0] != step else None


def _stands(edit: Edit, obj: JSON) -> bool:
    return all(merge.standing_of(change, obj) is merge.Standing.OURS for change in edit.changes)
