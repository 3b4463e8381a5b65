"""Carries out a plan: record the intent, patch, record the outcome. Every write goes through here.

No PATCH leaves before its intent is durable in at least one home of the journal. A guard that
fails means that somebody else wrote: the object is read again and the planner asked again, at most
three times. An answer that got lost is settled by looking, never by sending again blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from . import applications, merge, patches, rollouts, workloads
from .cluster import Cluster, Done, Failed
from .errors import (
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
from .events import events_for
from .journal import Journal, Writer
from .model import (
    BY_KIND,
    EVENT,
    JSON,
    Edit,
    EditResult,
    Key,
    Order,
    OrderKind,
    PlanStep,
    Ref,
    Resource,
    Role,
    Rollout,
    Snapshot,
    Verdict,
)
from .plans import Plan
from .records import Begin, Content, Context, End, Intent, Outcome

MAX_REPLANS = 3
MAX_ORDER_TRIES = 8
"""For `.operation` the resourceVersion is locked, which the controller's own status writes move."""

Step = Edit | Order
"""What is written to an object of Argo CD; a Rollout has its own way (rollouts.roll_back)."""

STARTING = (OrderKind.START, OrderKind.ROLLBACK)

ACTIONS: Mapping[Role, str] = {
    Role.PAUSE: "paused",
    Role.WINDOW: "unblocked",
    Role.VERSION: "pinned",
    Role.RULE: "ruled",
    Role.WORKLOAD: "rolled back",
}


@dataclass(slots=True)
class Run:
    """What came of carrying out a plan."""

    entry: str = ""
    results: list[EditResult] = field(default_factory=list)
    objects: dict[Key, JSON] = field(default_factory=dict)
    """The objects as the server returned them."""
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    writer: Writer | None = None
    """Keeps the entry: a further part of the same command goes on with it."""
    doubtful: set[int] = field(default_factory=set)
    """Steps that may have landed without our knowing: only the live object tells what became of them."""

    def exit_status(self, *, independent: bool) -> ExitStatus:
        """Derive the exit code: conflicts before errors; partly done where objects are independent."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        verdicts = {r.status for r in self.results}
        bad = verdicts & {Verdict.CONFLICT, Verdict.DENIED, Verdict.FAILED, Verdict.UNKNOWN}
        if not bad:
            return ExitStatus.OK
        if independent and verdicts & {Verdict.APPLIED, Verdict.UNCHANGED}:
            return ExitStatus.PARTIAL
        return ExitStatus.CONFLICT if bad == {Verdict.CONFLICT} else ExitStatus.ERROR


def action_of(step: PlanStep, actions: Mapping[Role, str] = ACTIONS) -> str:
    """Return the past participle that is printed for a step."""
    if isinstance(step, Rollout):
        return workloads.ACTION
    return step.kind.value if isinstance(step, Order) else actions[step.role]


def order_ops(live: JSON, order: Order) -> list[patches.Op]:
    """Build the patch that starts or ends an operation.

    Starting one where there is none mirrors Argo CD: argo.go SetAppOperation: the old
    operationState goes in the same patch, since the controller would resume what it says. Ending
    one mirrors server/application TerminateOperation. All are locked by the resourceVersion, since
    the decision rests on status.
    """
    state = (live.get("status") or {}).get("operationState")
    where = "/status/operationState"
    ops: list[patches.Op] = [
        {"op": "test", "path": "/metadata/uid", "value": order.ref.uid},
        {
            "op": "replace",
            "path": "/metadata/resourceVersion",
            "value": live["metadata"]["resourceVersion"],
        },
    ]
    if order.kind in STARTING:
        ops += [
            {"op": "test", "path": "/operation", "value": None},
            {"op": "add", "path": "/operation", "value": order.operation},
        ]
        if state is not None:
            ops.append({"op": "remove", "path": where})
    elif order.kind is OrderKind.TERMINATE:
        ops += [
            {"op": "test", "path": f"{where}/phase", "value": (state or {}).get("phase")},
            {"op": "replace", "path": f"{where}/phase", "value": "Terminating"},
        ]
    else:
        if live.get("operation") is not None:
            # Never `add null` here: the CRD refuses it (argo-cd#29741).
            ops.append({"op": "remove", "path": "/operation"})
        if order.kind is OrderKind.ABORT and state is not None:
            for name, value in (order.operation or {}).items():
                ops.append({"op": "add", "path": f"{where}/{name}", "value": value})
    return ops


def ops_of(live: JSON, step: Step) -> list[patches.Op]:
    """Build the guarded patch of a step. Raises patches.Unresolved."""
    if isinstance(step, Order):
        return order_ops(live, step)
    return patches.guarded_ops(live, step.ref, step.changes)


class Engine:
    """Executes plans against one cluster and one journal."""

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        *,
        now: Callable[[], datetime],
        report: Callable[[EditResult], None] = lambda result: None,
        actions: Mapping[Role, str] = ACTIONS,
        destination: Cluster | None = None,
    ) -> None:
        """Take the clock, what is told of each result as it comes, and the cluster of the workloads."""
        self.cluster = cluster
        self.destination = destination or cluster
        self.journal = journal
        self.now = now
        self.report = report
        self.actions = actions

    def execute(
        self,
        plan: Plan,
        snapshot: Snapshot,
        begin: Begin,
        *,
        replan: Callable[[Snapshot], Plan] | None = None,
        finish: Callable[[Run], Sequence[Content]] = lambda run: (),
        writer: Writer | None = None,
    ) -> Run:
        """Carry out a plan as one journal entry, or as a further part of the one that `writer` keeps.

        `replan` is the planner again, for a snapshot with the object that moved. `finish` gives
        further records that belong beside the outcomes. Raises RefusedError where no home of the
        journal takes the originals; nothing was sent then.
        """
        run = Run(entry=writer.entry if writer else "", objects=dict(snapshot.objects), writer=writer)
        for result in plan.unchanged:
            self._tell(run, result)
        if not plan.steps:
            return run
        first = 0
        contents: list[Content] = []
        if writer is None:
            contents.append(replace(begin, total=len(plan.steps)))
        else:
            first = 1 + max(
                (r.content.number for r in writer.records if isinstance(r.content, Intent)), default=-1
            )
        if plan.relies or plan.witnesses:
            contents.append(Context(plan.relies, plan.witnesses))
        numbered = list(enumerate(plan.steps, first))
        contents += [Intent(n, step) for n, step in numbered]
        if writer is None:
            writer = self.journal.begin(contents)
        else:
            writer.write(contents)
        run.entry, run.writer = writer.entry, writer
        outcomes: dict[int, str] = {}
        try:
            self._all(plan, numbered, snapshot, run, writer, outcomes, replan)
        except KeyboardInterrupt:
            run.interrupted = True
        finally:
            self._close(plan, run, writer, outcomes, finish, begin)
        return run

    def _close(
        self,
        plan: Plan,
        run: Run,
        writer: Writer,
        outcomes: dict[int, str],
        finish: Callable[[Run], Sequence[Content]],
        begin: Begin,
    ) -> None:
        told = {result.ref for result in run.results}
        for step in plan.steps:
            if step.ref not in told:
                self._tell(
                    run,
                    EditResult(step.ref, Verdict.SKIPPED, action_of(step, self.actions), reason=step.reason),
                )
        # A step that was never begun is as good as not applied; one in the air stays in doubt.
        at = self.now()
        closing: list[Content] = [Outcome(outcomes, at=at)] if outcomes else []
        closing += finish(run)
        done = run.exit_status(independent=plan.independent_from is not None)
        closing.append(End("interrupted" if run.interrupted else done.name.lower(), at))
        told_to = [
            partial(self._home_of(e["involvedObject"]["kind"]).create, EVENT, e["metadata"]["namespace"], e)
            for e in events_for(run.results, begin, writer.entry, at)
        ]
        # Events are a courtesy: one that is not allowed is no news.
        recorded, *_ = self.cluster.gather_outcomes(partial(writer.write, closing), *told_to)
        if isinstance(recorded, Failed):
            # What happened can be read off the cluster; only the comfort of knowing is lost.
            message = getattr(recorded.error, "message", str(recorded.error))
            run.warnings.append(f"the outcome could not be recorded: {message}")

    def _home_of(self, kind: str) -> Cluster:
        return self.destination if kind in workloads.HISTORY_OF else self.cluster

    def _all(
        self,
        plan: Plan,
        numbered: Sequence[tuple[int, PlanStep]],
        snapshot: Snapshot,
        run: Run,
        writer: Writer,
        outcomes: dict[int, str],
        replan: Callable[[Snapshot], Plan] | None,
    ) -> None:
        cut = len(numbered) if plan.independent_from is None else plan.independent_from
        first, rest = numbered[:cut], numbered[cut:]
        for position, (n, step) in enumerate(first):
            try:
                result = self._step(n, step, snapshot, run, writer, replan)
            except RescueError as e:
                result = self._result(step, Verdict.FAILED, detail=e.message)
            _note(outcomes, n, result, run)
            self._tell(run, result)
            if result.status not in (Verdict.APPLIED, Verdict.UNCHANGED):
                for m, _ in [*first[position + 1 :], *rest]:
                    outcomes[m] = "not-applied"
                return
        if rest:
            thunks = [(lambda n=n, s=s: self._step(n, s, snapshot, run, writer, replan)) for n, s in rest]
            for (n, step), got in zip(rest, self.cluster.gather_outcomes(*thunks), strict=True):
                if isinstance(got, Done):
                    result = got.value
                elif isinstance(got.error, RescueError):
                    result = self._result(step, Verdict.FAILED, detail=got.error.message)
                else:
                    raise got.error
                _note(outcomes, n, result, run)
                self._tell(run, result)

    def _tell(self, run: Run, result: EditResult) -> None:
        run.results.append(result)
        self.report(result)

    def _result(
        self, step: PlanStep, status: Verdict, *, ops: Sequence[JSON] = (), detail: str = ""
    ) -> EditResult:
        # Whoever prints it names the object.
        detail = detail.removeprefix(f"{step.ref}: ")
        return EditResult(step.ref, status, action_of(step, self.actions), tuple(ops), step.reason, detail)

    def _step(  # noqa: C901
        self,
        number: int,
        step: PlanStep,
        snapshot: Snapshot,
        run: Run,
        writer: Writer,
        replan: Callable[[Snapshot], Plan] | None,
    ) -> EditResult:
        """Send one step until it stands or certainly does not."""
        if isinstance(step, Rollout):
            return rollouts.roll_back(self.destination, step, in_doubt=lambda: run.doubtful.add(number))
        resource = BY_KIND[step.ref.kind]
        ref = step.ref
        live = run.objects.get(ref.key)
        replans = tries = 0
        while True:
            tries += 1
            if live is None:
                live = self.cluster.get(resource, ref.namespace, ref.name)
            if (
                isinstance(step, Order)
                and step.kind not in STARTING
                and not applications.operation(live).in_progress
            ):
                return self._result(step, Verdict.UNCHANGED, detail="no operation is in progress any more")
            try:
                ops = ops_of(live, step)
            except patches.Unresolved as e:
                return self._result(step, Verdict.CONFLICT, detail=f"what it edits is gone: {e}")
            if not ops:
                if number in run.doubtful:
                    return self._result(step, Verdict.APPLIED)
                if self.cluster.is_current(resource, live):
                    return self._result(step, Verdict.UNCHANGED, detail="already so")
                if tries > MAX_REPLANS:
                    return self._result(
                        step, Verdict.FAILED, detail="the API server gives old answers; run it again"
                    )
                live = None
                continue
            try:
                run.objects[ref.key] = self.cluster.patch(resource, ref.namespace, ref.name, ops)
                if isinstance(step, Edit) and step.hold:
                    run.doubtful.add(number)
                    taken_back = self._hold(resource, step, run)
                    if taken_back:
                        return self._result(step, Verdict.CONFLICT, ops=ops, detail=taken_back)
                return self._result(step, Verdict.APPLIED, ops=ops)
            except (GuardFailed, StaleWrite) as e:
                fresh = self._read_again(resource, ref)
                if isinstance(fresh, EditResult):
                    return fresh
                if number in run.doubtful and _has_landed(step, fresh):
                    # It landed after we had looked.
                    run.objects[ref.key] = fresh
                    return self._result(step, Verdict.APPLIED, ops=ops)
                refused = self._moved(step, ops, live, fresh, e)
                if refused is not None:
                    return refused
                if isinstance(step, Edit):
                    replans += 1
                    if replans > MAX_REPLANS:
                        return self._conflict(step, fresh)
                    planned = self._replan(step, snapshot, run, fresh, replan)
                    if isinstance(planned, EditResult):
                        return planned
                    if planned != step:
                        writer.write([Intent(number, planned)])
                        step = planned
                elif tries >= MAX_ORDER_TRIES:
                    return self._conflict(step, fresh)
                elif step.kind not in STARTING:
                    # How to end an operation depends on how far it is: one picked up meanwhile is
                    # terminated, not withdrawn.
                    ending = self._replan_order(step, snapshot, run, fresh, replan)
                    if ending is None:
                        return self._result(step, Verdict.UNCHANGED, detail="it has ended by itself")
                    if ending != step:
                        writer.write([Intent(number, ending)])
                        step = ending
                live = fresh
            except (TransportError, Overloaded) as e:
                if may_have_landed(e):
                    run.doubtful.add(number)
                settled = self._settle(resource, step, ops, e)
                if settled is not None:
                    return settled
                if tries >= MAX_REPLANS or getattr(e, "status", 0) == 429:
                    next_ = e.hint or "it was not applied: run it again when the API server answers"
                    return self._result(step, Verdict.FAILED, ops=ops, detail=f"{e.message}; {next_}")
                self.cluster.sleep(self.cluster.backoff(tries))
                live = None
            except Forbidden as e:
                return self._result(step, Verdict.DENIED, ops=ops, detail=e.message)
            except NotFound as e:
                return self._result(step, Verdict.FAILED, ops=ops, detail=e.message)
            except Invalid as e:
                plain = self._without_enabled(step, snapshot, run, e, replan)
                if plain is None:
                    return self._result(step, Verdict.FAILED, ops=ops, detail=e.message)
                writer.write([Intent(number, plain)])
                step = plain

    def _read_again(self, resource: Resource, ref: Ref) -> JSON | EditResult:
        try:
            return self.cluster.get(resource, ref.namespace, ref.name)
        except NotFound:
            return EditResult(ref, Verdict.CONFLICT, "changed", detail=f"{ref} was deleted meanwhile")

    def _moved(
        self, step: Step, ops: Sequence[JSON], live: JSON, fresh: JSON, e: ApiError
    ) -> EditResult | None:
        """Tell why a guard failed; None where what it tests did move and planning again makes sense."""
        if fresh["metadata"].get("uid") != step.ref.uid:
            return self._result(
                step,
                Verdict.CONFLICT,
                ops=ops,
                detail=f"{step.ref} was deleted and created anew meanwhile; nothing was written",
            )
        if isinstance(step, Order):
            other = applications.operation(fresh)
            if isinstance(e, GuardFailed) and fresh["metadata"].get("resourceVersion") == ops[1]["value"]:
                return self._result(step, Verdict.FAILED, ops=ops, detail=e.message)
            if step.kind in STARTING and other.present and other.own_id != step.id:
                return self._result(
                    step,
                    Verdict.CONFLICT,
                    ops=ops,
                    detail=f"another operation came first: {other.describe()}",
                )
            return None
        try:
            again = ops_of(fresh, step)
        except patches.Unresolved:
            return None
        if again == list(ops) and isinstance(e, GuardFailed):
            # Nothing that we test has moved: an admission webhook, or the like, said no.
            return self._result(step, Verdict.FAILED, ops=ops, detail=e.message)
        return None

    def _replan(
        self,
        step: Edit,
        snapshot: Snapshot,
        run: Run,
        fresh: JSON,
        replan: Callable[[Snapshot], Plan] | None,
    ) -> Edit | EditResult:
        run.objects[step.ref.key] = fresh
        if replan is None:
            return self._conflict(step, fresh)
        try:
            plan = replan(replace(snapshot, objects=dict(run.objects)))
        except ConflictError as e:
            return self._result(step, Verdict.CONFLICT, detail=e.message)
        except RescueError as e:
            return self._result(step, Verdict.FAILED, detail=e.message)
        for planned in plan.steps:
            if isinstance(planned, Edit) and planned.ref == step.ref and planned.role is step.role:
                return planned
        return self._result(step, Verdict.UNCHANGED, detail="already so")

    def _replan_order(
        self,
        step: Order,
        snapshot: Snapshot,
        run: Run,
        fresh: JSON,
        replan: Callable[[Snapshot], Plan] | None,
    ) -> Order | None:
        run.objects[step.ref.key] = fresh
        if replan is None:
            return step
        plan = replan(replace(snapshot, objects=dict(run.objects)))
        return next((s for s in plan.steps if isinstance(s, Order) and s.ref == step.ref), None)

    def _conflict(self, step: Step, fresh: JSON) -> EditResult:
        if isinstance(step, Order):
            detail = f"{step.ref} changes too fast to write an operation; try again"
        else:
            details = []
            for change in step.changes:
                c = merge.conflict(change, fresh)
                if merge.standing_of(change, fresh) is not merge.Standing.OURS:
                    details.append(f"{patches.show_path(c.path)} is now {patches.shown(c.ours)}")
            detail = "somebody else keeps changing it" + (f": {'; '.join(details)}" if details else "")
        return self._result(step, Verdict.CONFLICT, detail=detail)

    def _settle(
        self, resource: Resource, step: Step, ops: Sequence[JSON], error: RescueError
    ) -> EditResult | None:
        """Look whether a PATCH without an answer landed; None where it did not and may be sent again."""
        try:
            fresh = self.cluster.get(resource, step.ref.namespace, step.ref.name)
        except RescueError as e:
            sent = not isinstance(error, TransportError) or error.sent
            if not sent:
                return self._result(step, Verdict.FAILED, ops=ops, detail=error.message)
            return self._result(
                step,
                Verdict.UNKNOWN,
                ops=ops,
                detail=f"the answer got lost ({error.message}) and the object cannot be read ({e.message}); "
                "whether it was applied shows when the server answers again: kubectl argo-rescue log",
            )
        if fresh["metadata"].get("uid") != step.ref.uid:
            return self._result(step, Verdict.CONFLICT, ops=ops, detail=f"{step.ref} was created anew")
        if _has_landed(step, fresh):
            return self._result(step, Verdict.APPLIED, ops=ops)
        if isinstance(step, Order):
            return None
        if all(merge.standing_of(change, fresh) is merge.Standing.ORIGINAL for change in step.changes):
            return None
        return self._conflict(step, fresh)

    def _hold(self, resource: Resource, step: Edit, run: Run) -> str:
        """See that an edit stays; where somebody takes it back, write it again a few times.

        An ApplicationSet's controller that was at work with the set as it was before writes once
        more what it had decided. Returns who-did-what where it does not stay, empty where it does.
        """
        ref, again = step.ref, 0
        end = self.cluster.clock() + step.hold
        while (left := end - self.cluster.clock()) > 0:
            live = run.objects[ref.key]
            try:
                for kind, obj in self.cluster.watch(
                    resource,
                    ref.namespace,
                    name=ref.name,
                    resource_version=live["metadata"]["resourceVersion"],
                    timeout=left,
                ):
                    if kind != "BOOKMARK":
                        run.objects[ref.key] = obj
                        break
            except (Expired, TransportError):
                run.objects[ref.key] = self.cluster.get(resource, ref.namespace, ref.name)
            live = run.objects[ref.key]
            if all(merge.standing_of(change, live) is merge.Standing.OURS for change in step.changes):
                continue
            again += 1
            if again > MAX_REPLANS:
                return f"somebody keeps taking it back: {self._conflict(step, live).detail}"
            try:
                ops = ops_of(live, step)
                run.objects[ref.key] = self.cluster.patch(resource, ref.namespace, ref.name, ops)
            except (GuardFailed, patches.Unresolved):
                run.objects[ref.key] = self.cluster.get(resource, ref.namespace, ref.name)
            end = self.cluster.clock() + step.hold
        return ""

    def _without_enabled(
        self,
        step: Step,
        snapshot: Snapshot,
        run: Run,
        error: Invalid,
        replan: Callable[[Snapshot], Plan] | None,
    ) -> Edit | None:
        """Plan the pause without `automated.enabled` where the CRD turns out not to know the field."""
        if not isinstance(step, Edit) or step.role is not Role.PAUSE or replan is None:
            return None
        if not any(patches.show_path(c.path).endswith("/automated/enabled") for c in step.changes):
            return None
        if "enabled" not in " ".join((error.message, *error.causes)):
            return None
        old = replace(snapshot, argocd=replace(snapshot.argocd, version=None), objects=dict(run.objects))
        planned = [s for s in replan(old).steps if isinstance(s, Edit) and s.ref == step.ref]
        return planned[0] if planned and planned[0] != step else None


def _has_landed(step: Step, fresh: JSON) -> bool:
    """Whether an object shows what a step writes."""
    if not isinstance(step, Order):
        return all(merge.standing_of(change, fresh) is merge.Standing.OURS for change in step.changes)
    state = (fresh.get("status") or {}).get("operationState") or {}
    if step.kind not in STARTING:
        return state.get("phase") == "Terminating" or not applications.operation(fresh).in_progress
    return step.id in (
        applications.own_id(fresh.get("operation")),
        applications.own_id(state.get("operation")),
    )


def _note(outcomes: dict[int, str], number: int, result: EditResult, run: Run) -> None:
    """Keep what is known; of an UNKNOWN step nothing is, and it stays in doubt."""
    if result.status is Verdict.APPLIED:
        outcomes[number] = "applied"
    elif number in run.doubtful:
        return
    elif result.status is Verdict.CONFLICT:
        outcomes[number] = "conflict"
    elif result.status is not Verdict.UNKNOWN:
        outcomes[number] = "not-applied"
