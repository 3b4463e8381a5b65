"""A rescue without sources: pause, take each workload back, and watch the workloads themselves.

Argo CD's own word is not waited for: without its sources it can neither compare nor, with the health
of what it cannot compare, say anything that counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from ..argocd import rollouts, workloads
from ..argocd.progress import Assessment, Expected, assess_workloads, given_up_at, part_of
from ..model.errors import Code, ExitStatus, RefusedError, RescueError
from ..model.text import COMMAND, display_name, resource_name
from ..model.values import (
    BY_KIND,
    JSON,
    WORKLOAD_KINDS,
    Key,
    Plan,
    Ref,
    Result,
    Snapshot,
    StepStatus,
    Takeback,
    WorkloadRollback,
)
from ..plan.rescue import Rescue
from ..plan.workload_rescue import Workloads, expected_workloads, plan_workloads
from . import destinations, workload_writes
from .options import Writing
from .rescue import RescueRun
from .session import Session
from .watch import Ending, Feed, follow, shower, with_ending


def read_workloads(session: Session, key: Key, context: str) -> Workloads:
    """Read the workloads of an Application and their histories from the cluster that they are in.

    Raises RefusedError where that is another cluster and it is not known which context leads there.
    """
    app = session.reading.snapshot.objects[key]
    way = destinations.find(session, key, context)
    if way.why_not:
        name = display_name(key, session.reading.snapshot.argocd)
        raise RefusedError(
            f"{key} deploys into another cluster, {way.there}: {way.why_not}",
            f"say a context of your kubeconfig that leads there: {COMMAND} rescue "
            f"{name} --workloads --destination-context NAME",
            code=Code.OTHER_CLUSTER,
        )
    if way.context:
        session.open_destination(way.context)
    found = workload_writes.read_histories(session.destination, workloads.keys_of(app))
    if way.context and found and not any(found.values()):
        raise RefusedError(
            f"context {way.context} does not lead to the cluster that {key} deploys into ({way.there}): none of its "
            "workloads is there",
            "nothing was changed; name another with --destination-context",
            code=Code.OTHER_CLUSTER,
        )
    return Workloads(found, way.there, way.doubt)


class WorkloadRescue(RescueRun):
    """Carries it out: what pauses Argo CD goes as in every rescue, then the workloads side by side."""

    def __init__(
        self,
        session: Session,
        key: Key,
        found: Workloads,
        writing: Writing,
        destination_context: str = "",
        *,
        only: bool = False,
        is_full: bool = False,
    ) -> None:
        """Take the workloads as read; `session` has read the Application and its owners."""
        entries = session.journal.read().entries

        def planner(snapshot: Snapshot) -> Rescue:
            return plan_workloads(snapshot, key, found, entries, only=only, is_full=is_full)

        super().__init__(session, key, planner, writing, destination_context, is_full=is_full)
        self.found = found
        self.flags = " --workloads"
        if destination_context:
            self.flags += f" --destination-context {destination_context}"

    def what_is_hidden(self, plan: Plan) -> list[str]:
        """Nothing: what could not be read of them is known already."""
        return []

    def _write(self, rescue: Rescue) -> bool:
        if not super()._write(rescue):
            return False
        steps = tuple(s for s in rescue.plan.steps if isinstance(s, WorkloadRollback))
        first = self.writer is None
        plan = Plan(
            "rescue",
            steps,
            relies=rescue.plan.relies if first else (),
            witnesses=rescue.plan.witnesses if first else (),
            independent_from=0,
        )
        return self.carry_out(plan)

    def _order(self, rescue: Rescue) -> bool:
        """Nothing is ordered: Argo CD has nothing to sync from."""
        return True

    def _rollouts(self) -> list[str]:
        """The plan itself says of each what it will do: one that is aborted makes no new canary."""
        super()._rollouts()
        return []

    def _result(self, rescue: Rescue) -> Result:
        result = super()._result(rescue)
        done = {r.ref: r.status for r in self.results if r.ref.kind in WORKLOAD_KINDS}
        listed = [
            {
                "kind": s.ref.kind,
                "namespace": s.ref.namespace,
                "name": s.ref.name,
                "from": s.from_revision,
                "to": s.to_revision,
                "status": done.get(s.ref, StepStatus.SKIPPED).value,
            }
            for s in rescue.plan.steps
            if isinstance(s, WorkloadRollback)
        ]
        return replace(result, data={**result.data, "workloads": listed})

    def _watch(self, rescue: Rescue, result: Result, timeout: float | None) -> Result:
        expected = {ref: self._expected(ref, rescue) for ref in expected_workloads(rescue)}

        def once(left: float | None) -> Ending:
            with shower(self.printer) as show:
                feed = Feed(self.session.destination)
                watched = _Workloads(feed, expected, is_full=self.is_full)
                ending = follow(feed, watched, timeout=left, show=show)
            if self.printer.form == "human":
                if ending.status is ExitStatus.OK:
                    for line in self._lines(rescue, ending):
                        self.printer.line(line)
                else:
                    self.tell_ending(ending)
            return ending

        return with_ending(result, self.watched_to_the_end(once, timeout))

    def _expected(self, ref: Ref, rescue: Rescue) -> Expected:
        past = self.found.histories[ref.key]
        assert past is not None
        how = Takeback.TEMPLATE
        if ref.kind == rollouts.KIND and rollouts.is_aborted(past.workload):
            how = Takeback.ABORT
        for step in rescue.plan.steps:
            if not isinstance(step, WorkloadRollback) or step.ref != ref:
                continue
            if step.how is Takeback.TEMPLATE:
                target = past.named(step.revision)
                assert target is not None
                return Expected(target.template, given_up_at(past.workload))
            how = step.how
        return Expected(workloads.template_of(past.workload), how=how)

    def _lines(self, rescue: Rescue, ending: Ending) -> list[str]:
        texts = {part: text for part, text, _ in ending.assessment.lines}
        steps = {s.ref: s for s in rescue.plan.steps if isinstance(s, WorkloadRollback)}
        lines = []
        for ref in expected_workloads(rescue):
            step = steps.get(ref)
            what = f"at revision {step.to_revision} again, no more {step.from_revision}" if step else "back"
            lines.append(f"{resource_name(ref)} is {what}: {texts.get(part_of(ref.key), '')}")
        return lines


class _Workloads:
    """The workloads that were taken back, as a watch sees them."""

    def __init__(self, feed: Feed, expected: Mapping[Ref, Expected], *, is_full: bool) -> None:
        self.expected = expected
        self.is_full = is_full
        self.live: dict[Ref, JSON | None] = {}
        self._by_key = {ref.key: ref for ref in expected}
        for key in self._by_key:
            feed.watch(BY_KIND[key.kind], key)

    def take(self, key: Key, obj: JSON | None) -> tuple[ExitStatus, str] | None:
        self.live[self._by_key[key]] = obj
        return None

    def lose(self, key: Key, error: RescueError) -> bool:
        return False

    def assess(self) -> Assessment | None:
        if len(self.live) < len(self.expected):
            return None
        return assess_workloads(self.live, self.expected, is_full=self.is_full)

    def look_again(self, last: Assessment) -> Ending:
        return Ending(last, ExitStatus.TIMEOUT, f"timed out; {last.reason}")
