"""A rescue without sources: pause, take each workload back, and watch the workloads themselves.

Argo CD's own word is not waited for: without its sources it can neither compare nor, with the health
of what it cannot compare, say anything that counts.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from . import workload_writes, workloads
from .client import Cluster
from .errors import ExitStatus, RefusedError, RescueError
from .model import BY_KIND, JSON, Key, Ref, Result, Rollout, Snapshot, Verdict
from .options import Writing
from .outlook import COMMAND, display_name
from .output import resource_name
from .plans import Plan
from .progress import Assessment, State, rollout
from .rescue_planning import Rescue
from .rescuing import RescueRun
from .rolling import (
    Workloads,
    destination_doubt,
    destination_of,
    expected_workloads,
    plan_workloads,
)
from .session import Session
from .watching import Ending, Feed, shower, with_ending


def read_workloads(session: Session, key: Key, context: str) -> Workloads:
    """Read the workloads of an Application and their histories from the cluster that they are in.

    Raises RefusedError where that is another cluster and no context for it was named.
    """
    snapshot = session.reading.snapshot
    app = snapshot.objects[key]
    destination = destination_of(app)
    question = ""
    if destination and not context:
        raise RefusedError(
            f"{key} deploys into another cluster, {destination}",
            f"say a context of your kubeconfig that leads there: {COMMAND} rescue "
            f"{display_name(key, snapshot.argocd)} --workloads --destination-context NAME",
        )
    if context and not destination:
        raise RefusedError(
            f"{key} deploys into the cluster of Argo CD itself", "leave --destination-context out"
        )
    if context:
        session.open_destination(context)
        question = destination_doubt(app, context, session.destination.target().server)
    found = workload_writes.read_histories(session.destination, workloads.keys_of(app))
    return Workloads(found, destination, question)


class WorkloadRescue(RescueRun):
    """Carries it out: what pauses Argo CD goes as in every rescue, then the workloads side by side."""

    def __init__(
        self, session: Session, key: Key, found: Workloads, writing: Writing, *, only: bool = False
    ) -> None:
        """Take the workloads as read; `session` has read the Application and its owners."""
        entries = session.journal.read().entries

        def planner(snapshot: Snapshot) -> Rescue:
            return plan_workloads(snapshot, key, found, entries, only=only)

        super().__init__(session, key, planner, writing)
        self.found = found
        self.flags = " --workloads"

    def _write(self, rescue: Rescue) -> bool:
        if not super()._write(rescue):
            return False
        steps = tuple(s for s in rescue.plan.steps if isinstance(s, Rollout))
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

    def _result(self, rescue: Rescue) -> Result:
        result = super()._result(rescue)
        done = {r.ref: r.status for r in self.results if r.action == workloads.ACTION}
        listed = [
            {
                "kind": s.ref.kind,
                "namespace": s.ref.namespace,
                "name": s.ref.name,
                "from": s.from_revision,
                "to": s.to_revision,
                "status": done.get(s.ref, Verdict.SKIPPED).value,
            }
            for s in rescue.plan.steps
            if isinstance(s, Rollout)
        ]
        return replace(result, data={**result.data, "workloads": listed})

    def _watch(self, rescue: Rescue, result: Result, timeout: float | None) -> Result:
        cluster = self.session.destination
        expected = {ref: self._expected(ref, rescue) for ref in expected_workloads(rescue)}
        with shower(self.printer) as show:
            ending = watch(cluster, expected, timeout=timeout, show=show)
        if self.printer.form == "human":
            if ending.status is ExitStatus.OK:
                for line in self._lines(rescue, ending):
                    self.printer.line(line)
            else:
                self.printer.say(f"{self.printer.paint('error:', 'red')} {self.key}: {ending.message}")
        return with_ending(result, ending)

    def _expected(self, ref: Ref, rescue: Rescue) -> Expected:
        past = self.found.histories[ref.key]
        assert past is not None
        for step in rescue.plan.steps:
            if isinstance(step, Rollout) and step.ref == ref:
                target = past.named(step.revision)
                assert target is not None
                return Expected(target.template, _given_up_at(past.workload))
        return Expected(workloads.template_of(past.workload))

    def _lines(self, rescue: Rescue, ending: Ending) -> list[str]:
        texts = {part: text for part, text, _ in ending.assessment.lines}
        steps = {s.ref: s for s in rescue.plan.steps if isinstance(s, Rollout)}
        lines = []
        for ref in expected_workloads(rescue):
            step = steps.get(ref)
            what = f"at revision {step.to_revision} again, no more {step.from_revision}" if step else "back"
            lines.append(f"{resource_name(ref)} is {what}: {texts.get(_part(ref.key), '')}")
        return lines


def _part(key: Key) -> str:
    return f"{key.kind} {key.namespace}/{key.name}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a workload must run in the end."""

    template: JSON = field(repr=False)
    given_up_at: str = ""
    """When the Deployment gave up on the version before: it says so until the first new pod is there."""


def _given_up_at(workload: JSON) -> str:
    for condition in (workload.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return str(condition.get("lastUpdateTime") or "")
    return ""


def assess(live: Mapping[Ref, JSON | None], expected: Mapping[Ref, Expected]) -> Assessment:
    """Judge one look at workloads that were taken back: their templates stand, their pods are there."""
    lines: list[tuple[str, str, bool]] = []
    failed = ""
    for ref in sorted(expected):
        obj = live.get(ref)
        if obj is None or obj["metadata"].get("uid") != ref.uid:
            text = "it is gone"
            return Assessment(State.REVERTED, ((_part(ref.key), text, False),), f"{ref}: {text}")
        if not workloads.same(workloads.template_of(obj), expected[ref].template):
            text = "somebody deployed another template since"
            return Assessment(State.REVERTED, ((_part(ref.key), text, False),), f"{ref}: {text}")
        r = rollout(obj)
        lines.append((_part(ref.key), r.text, r.done))
        if r.failed and _given_up_at(obj) != expected[ref].given_up_at:
            failed = failed or f"{ref}: {r.text}"
    if failed:
        return Assessment(State.FAILED, tuple(lines), failed)
    waiting = next((f"{part}: {text}" for part, text, good in lines if not good), "")
    if waiting:
        return Assessment(State.WAITING, tuple(lines), waiting)
    return Assessment(State.SUCCEEDED, tuple(lines), "every workload that was taken back is available")


_STATUS = {
    State.SUCCEEDED: ExitStatus.OK,
    State.REVERTED: ExitStatus.CONFLICT,
    State.FAILED: ExitStatus.ERROR,
}


def watch(
    cluster: Cluster,
    expected: Mapping[Ref, Expected],
    *,
    timeout: float | None,
    show: Callable[[Assessment], None],
    clock: Callable[[], float] = time.monotonic,
) -> Ending:
    """Follow the workloads until all are available at the template that each was taken back to."""
    feed = Feed(cluster)
    by_key = {ref.key: ref for ref in expected}
    deadline = None if timeout is None else clock() + timeout
    live: dict[Ref, JSON | None] = {}
    last = Assessment(State.WAITING, (), "nothing was seen yet")
    try:
        for key in by_key:
            feed.watch(BY_KIND[key.kind], key)
        while True:
            left = None if deadline is None else deadline - clock()
            if left is not None and left <= 0:
                return Ending(last, ExitStatus.TIMEOUT, f"timed out; {last.reason}")
            try:
                key, obj = feed.events.get(timeout=left if left is not None else 3600.0)
            except queue.Empty:
                continue
            if isinstance(obj, RescueError):
                return Ending(last, obj.exit_status, f"it cannot be watched any more: {obj.message}")
            live[by_key[key]] = obj
            if len(live) < len(expected):
                continue
            assessment = assess(live, expected)
            if assessment != last:
                show(assessment)
                last = assessment
            if assessment.state is not State.WAITING:
                return Ending(assessment, _STATUS[assessment.state], assessment.reason)
    finally:
        feed.close()
