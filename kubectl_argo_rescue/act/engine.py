"""Carries out a plan: record the intent, patch, record the outcome. Every write goes through here.

No PATCH leaves before its intent is durable in at least one home of the journal. What was applied
is also told in Kubernetes Events: who, why and how to undo, for whoever looks with kubectl.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial

from msgspec.structs import replace

from ..argocd import listed
from ..cluster.client import Cluster
from ..cluster.objects import MANY
from ..cluster.parallel import Done, Failed
from ..journal.journal import Journal, Writer
from ..journal.records import Begin, Content, Context, End, Intent, Outcome
from ..model.errors import RescueError
from ..model.text import CREATED, DELETED
from ..model.values import (
    BY_KIND,
    EVENT,
    JSON,
    WORKLOAD_KINDS,
    Creation,
    Plan,
    PlanStep,
    Removal,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    WorkloadRollback,
    whole_kind,
)
from .send import ACTIONS, Batch, ObjectSender, Run, action_of, result_of

MAX_EVENTS = 20
"""Of a freeze of thousands of apps the log tells; as many Events would only push others out."""

COMPONENT = "kubectl-argo-rescue"


class Engine:
    """Executes plans against one cluster and one journal."""

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        *,
        now: Callable[[], datetime],
        report: Callable[[StepResult], None] = lambda result: None,
        actions: Mapping[Role, str] = ACTIONS,
        destination: Cluster | None = None,
        is_told: bool = True,
    ) -> None:
        """Take the clock, what is told of each result as it comes, and the cluster of the workloads.

        What is gone again in some seconds is not told in Events: `is_told` is False for it.
        """
        self.cluster = cluster
        self.destination = destination or cluster
        self.journal = journal
        self.now = now
        self.report = report
        self.actions = actions
        self.is_told = is_told

    def execute(
        self,
        plan: Plan,
        snapshot: Snapshot,
        begin: Begin,
        *,
        replan: Callable[[Snapshot], Plan] | None = None,
        finish: Callable[[Run], Sequence[Content]] = lambda run: (),
        writer: Writer | None = None,
        before: Callable[[Writer], None] = lambda writer: None,
    ) -> Run:
        """Carry out a plan as one journal entry, or as a further part of the one that `writer` keeps.

        `replan` is the planner again, for a snapshot with the object that moved. `finish` gives
        further records that belong beside the outcomes. `before` is called once the intents are
        durable; what it raises stops all of it. Raises RefusedError where no home of the journal takes
        the originals; nothing was sent then.
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
        # Whole answers of thousands would be as much as whole lists.
        is_many = plan.independent_from is not None and len(plan.steps) >= MANY
        read = listed.read_one if is_many else json.loads
        batch = Batch(snapshot, run, writer, replan, self.actions, read)
        try:
            try:
                before(writer)
            except RescueError:
                run.outcomes.update({n: "not-applied" for n, _ in numbered})
                raise
            self._all(plan, numbered, batch)
        except KeyboardInterrupt:
            run.interrupted = True
        finally:
            self._close(numbered, run, writer, finish, begin, independent=plan.independent_from is not None)
        return run

    def _close(
        self,
        numbered: Sequence[tuple[int, PlanStep]],
        run: Run,
        writer: Writer,
        finish: Callable[[Run], Sequence[Content]],
        begin: Begin,
        *,
        independent: bool,
    ) -> None:
        told = {result.ref for result in run.results}
        for number, step in numbered:
            action = action_of(step, self.actions)
            if number in run.begun - run.noted:
                text = "interrupted while it was sent; whether it was applied says: kubectl argo-rescue log"
                self._tell(run, result_of(step, StepStatus.UNKNOWN, action, detail=text))
            elif step.ref not in told:
                self._tell(run, StepResult(step.ref, StepStatus.SKIPPED, action, reason=step.reason))
        # A step that was never begun is as good as not applied; one in the air stays in doubt.
        at = self.now()
        closing: list[Content] = [Outcome(run.outcomes, at=at)] if run.outcomes else []
        closing += finish(run)
        done = run.exit_status(independent=independent)
        closing.append(End("interrupted" if run.interrupted else done.name.lower(), at))
        told_to = [
            partial(self._home_of(e["involvedObject"]["kind"]).create, EVENT, e["metadata"]["namespace"], e)
            for e in (events_for(run.results, begin, writer.entry, at) if self.is_told else ())
        ]
        # Events are a courtesy: one that is not allowed is no news.
        recorded, *_ = self.cluster.gather_outcomes(partial(writer.write, closing), *told_to)
        if isinstance(recorded, Failed):
            # What happened can be read off the cluster; only the comfort of knowing is lost.
            message = getattr(recorded.error, "message", str(recorded.error))
            run.warnings.append(f"the outcome could not be recorded: {message}")

    def _home_of(self, kind: str) -> Cluster:
        return self.destination if kind in WORKLOAD_KINDS else self.cluster

    def _all(self, plan: Plan, numbered: Sequence[tuple[int, PlanStep]], batch: Batch) -> None:
        run = batch.run
        cut = len(numbered) if plan.independent_from is None else plan.independent_from
        first, rest = numbered[:cut], numbered[cut:]
        for position, (n, step) in enumerate(first):
            try:
                result = self._send(n, step, batch)
            except RescueError as e:
                result = self._failed(step, e)
            run.note(n, result)
            self._tell(run, result)
            if not result.stands:
                run.outcomes.update({m: "not-applied" for m, _ in [*first[position + 1 :], *rest]})
                return
        if rest:
            thunks = [(lambda n=n, s=s: self._send(n, s, batch)) for n, s in rest]
            for (n, step), got in zip(rest, self.cluster.gather_outcomes(*thunks), strict=True):
                if isinstance(got, Done):
                    result = got.value
                elif isinstance(got.error, RescueError):
                    result = self._failed(step, got.error)
                else:
                    raise got.error
                run.note(n, result)
                self._tell(run, result)

    def _send(self, number: int, step: PlanStep, batch: Batch) -> StepResult:
        batch.run.begun.add(number)
        if isinstance(step, WorkloadRollback):
            from . import workload_writes  # lazy: workloads are the last resort

            return workload_writes.roll_back(
                self.destination, step, in_doubt=lambda: batch.run.doubtful.add(number)
            )
        if isinstance(step, Creation):
            from .removals import create  # lazy: hardly anything is made

            return create(
                self.cluster, step, batch.run.objects, in_doubt=lambda: batch.run.doubtful.add(number)
            )
        if isinstance(step, Removal):
            from .removals import remove  # lazy: little is ever deleted

            return remove(self.cluster, step, in_doubt=lambda: batch.run.doubtful.add(number))
        return ObjectSender(self.cluster, batch, number, step).send()

    def _failed(self, step: PlanStep, error: RescueError) -> StepResult:
        return result_of(step, StepStatus.FAILED, action_of(step, self.actions), detail=error.message)

    def _tell(self, run: Run, result: StepResult) -> None:
        run.results.append(result)
        self.report(result)


def events_for(
    results: Sequence[StepResult], begin: Begin, entry: str, now: datetime
) -> list[dict[str, JSON]]:
    """Describe what was applied as core/v1 Events, none where it is too much.

    `entry` is the journal entry's id; it also makes the names unique.
    """
    applied = [r for r in results if r.status is StepStatus.APPLIED and r.action not in (DELETED, CREATED)]
    if len(applied) > MAX_EVENTS:
        return []
    at = now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    who = begin.actor or "somebody"
    why = f" ({begin.reason})" if begin.reason else ""
    how = "" if begin.undoes else f"; undo: kubectl argo-rescue undo {entry}"
    events: list[dict[str, JSON]] = []
    for number, result in enumerate(applied):
        ref = result.ref
        resource = BY_KIND[ref.kind]
        group = f"{resource.group}/" if resource.group else ""
        events.append(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{ref.name[:200]}.{entry}.{now.timestamp():.0f}.{number}",
                    "namespace": ref.namespace or "default",
                },
                "involvedObject": {
                    "apiVersion": f"{group}{resource.version}",
                    "kind": whole_kind(ref.kind),
                    "namespace": ref.namespace,
                    "name": ref.name,
                    "uid": ref.uid,
                },
                "type": "Normal",
                "reason": "ArgoRescue",
                "message": f"{result.action} by {who} with kubectl argo-rescue {begin.verb}{why}{how}"[:1000],
                "source": {"component": COMPONENT},
                "reportingComponent": COMPONENT,
                "reportingInstance": "",
                "firstTimestamp": at,
                "lastTimestamp": at,
                "count": 1,
            }
        )
    return events
