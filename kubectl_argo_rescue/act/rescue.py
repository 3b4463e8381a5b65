"""A whole rescue: plan, then part by part in the order that is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..argocd import rollouts
from ..argocd.application import deploys_here
from ..argocd.destination import words
from ..argocd.operation import operation
from ..argocd.progress import Expectation, State, workload_keys
from ..argocd.workloads import keys_of
from ..cluster import refresh
from ..cluster.parallel import Done
from ..journal.encoding import holds_secrets
from ..journal.journal import ON_THIS_MACHINE
from ..model import patches
from ..model.errors import ExitStatus, RescueError
from ..model.text import COMMAND, display_name
from ..model.values import (
    BY_KIND,
    JSON,
    ROLLOUT,
    Edit,
    FieldChange,
    Key,
    Plan,
    Result,
    Role,
    Snapshot,
    StepStatus,
    Takeback,
    WorkloadRollback,
    ref_of,
)
from ..plan.rescue import Rescue
from ..show.steps import STATUS_WORDS
from . import watch
from .options import Writing
from .procedure import GRACE_SECONDS, Procedure, is_idle
from .session import Session
from .watch import Ending

if TYPE_CHECKING:
    from ..argocd.destination import Way

PARTING_SECONDS = 2.0
"""How long an interrupted rescue goes on, to close the windows that other applications share."""


class RescueRun(Procedure):
    """Carries a rescue out."""

    flags = ""
    """What the command that goes on with it has after the application's name."""

    def __init__(
        self,
        session: Session,
        key: Key,
        planner: Callable[[Snapshot], Rescue],
        writing: Writing,
        destination_context: str = "",
        *,
        is_full: bool = False,
    ) -> None:
        """`planner` is called again where something moved; the context is the one that the user named.

        `is_full` promotes Rollouts fully.
        """
        super().__init__(session, "rescue", writing)
        self.is_full = is_full
        self.key = key
        self.planner = planner
        self.destination_context = destination_context
        self.order_id = ""
        """The sync that was ordered."""
        self._way: Way | None = None
        """To the cluster of the workloads, where it is another one and was looked for."""

    def run(self, *, wait: bool, timeout: float | None) -> Result:
        """Plan, ask, write and watch; stops where stopping is safest and says how to go on."""
        rescue = self.planner(self.snapshot)
        if wait and rescue.plan.steps and not rescue.is_pause_only:
            said = (*rescue.plan.warnings, *self.what_is_hidden(rescue.plan))
            rescue = replace(rescue, plan=replace(rescue.plan, warnings=said))
        if any(map(holds_secrets, rescue.plan.steps)) and not self.session.may_keep_secrets:
            said = (*rescue.plan.warnings, f"{self.key}: {ON_THIS_MACHINE}")
            rescue = replace(rescue, plan=replace(rescue.plan, warnings=said))
        if not rescue.is_pause_only:
            rescue = replace(rescue, plan=replace(rescue.plan, notes=(*rescue.plan.notes, *self._rollouts())))
        self.printer.plan_talk(rescue.plan.warnings, rescue.plan.notes)
        if self.writing.is_dry_run:
            return self.dry_run(rescue.plan)
        if rescue.plan.steps:
            self.session.header()
            self.session.checks.require_rights(rescue.plan)
        self._confirm(rescue)
        done = False
        try:
            done = self._write(rescue)
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        except RescueError as e:
            self.status = e.exit_status
            self.printer.say(f"{self.printer.paint('error:', 'red')} {e}")
        result = self._result(rescue)
        try:
            if done and wait and not rescue.is_pause_only:
                result = self._watch(rescue, result, timeout)
            self._tell(rescue, done, is_over=wait and result.exit_status is ExitStatus.OK)
        except KeyboardInterrupt:
            if done:
                name = display_name(self.key, self.snapshot.argocd)
                self.printer.say(f"not watched any more; go on with: {COMMAND} watch {name}")
                self._tell(rescue, done)
            self.status = ExitStatus.INTERRUPTED
            result = self._result(rescue)
        except RescueError:
            self._leave_windows(rescue, "since it is not known whether the operation is done")
            raise
        if done and not wait:
            left = self._leave_windows(rescue, "since nobody waits for the operation")
        else:
            is_over = self.status is ExitStatus.OK
            left = self._close_windows(rescue, GRACE_SECONDS if is_over else PARTING_SECONDS)
        if self.status is ExitStatus.INTERRUPTED:
            result = replace(result, exit_status=self.status, status=STATUS_WORDS[self.status])
        # A promotion may have been the first write.
        return replace(
            result, entry=self.entry, edits=tuple(self.results), warnings=(*result.warnings, *left)
        )

    def what_is_hidden(self, plan: Plan) -> list[str]:
        """Say before anything is written which workloads cannot be watched afterwards."""
        if not deploys_here(self.snapshot.objects[self.key]) or self.destination_context:
            if unseen := self._find_destination():
                return [f"{unseen}: the verdict will be the Application's own health alone"]
        if self.session.destination is not self.session.cluster or self._way:
            return []  # asked there once it is done: nothing waits for another cluster
        hidden = self.session.checks.hidden(workload_keys(self.snapshot.objects[self.key]), plan)
        if not hidden:
            return []
        more = f" and {len(hidden) - 4} more" if len(hidden) > 4 else ""
        return [
            f"you may not get and watch {', '.join(map(str, hidden[:4]))}{more}: "
            "the verdict will be the Application's own health alone"
        ]

    def _find_destination(self) -> str:
        """Find the way to the workloads' own cluster; say why there is none.

        Only a context that the user named is tried now, and is refused where it is a wrong one: a
        cluster that does not answer must not keep a rescue from its first write.
        """
        from . import destinations  # lazy: most Applications deploy into Argo CD's own cluster

        way = destinations.find(self.session, self.key, self.destination_context)
        if self.destination_context:
            destinations.enter(self.session, self.key, way, is_named=True)
        self._way = way if way.there else None
        return f"it deploys into {way.there}, which is not looked at: {way.why_not}" if way.why_not else ""

    def _confirm(self, rescue: Rescue) -> None:
        name = display_name(self.key, self.snapshot.argocd)
        title = f"Rescue {name}: {rescue.version}"
        if not rescue.plan.steps:
            return
        is_asked = self.session.streams.is_interactive and not self.writing.yes
        if self.writing.yes or not (rescue.plan.questions or is_asked):
            self.printer.say(title)
            self.printer.plan(rescue.plan)
        self.session.checks.confirm(rescue.plan, self.writing, "Go on?" if is_asked else "", title=title)

    def _part(self, rescue: Rescue, edits: Sequence[Edit]) -> bool:
        """Write some edits of the plan, planned anew where they moved meanwhile."""
        plan = Plan(
            "rescue",
            tuple(edits),
            relies=rescue.plan.relies if self.writer is None else (),
            witnesses=rescue.plan.witnesses if self.writer is None else (),
        )
        return self.carry_out(plan, replan=lambda s: self.planner(s).plan) if edits else True

    def _write(self, rescue: Rescue) -> bool:
        if not self._part(rescue, rescue.owners):
            return False
        for owner in rescue.owner_keys:
            if owner in self.snapshot.objects and not is_idle(self.refresh(owner)):
                name = display_name(owner, self.snapshot.argocd)
                self.printer.say(
                    f"waiting for the operation of {name} to end; its retries would put the edit back"
                )
                if not self.end_operation(owner, grace=GRACE_SECONDS):
                    self.printer.warn(f"the operation of {name} does not end; it may still put the edit back")
        ended = True
        if rescue.ends_operation:
            ended = self.end_operation(self.key)
        self.carry_out(Plan("rescue", unchanged=rescue.plan.unchanged))
        if not self._part(rescue, rescue.pin) or not self._part(rescue, rescue.windows):
            return False
        if not ended and not self.wait_for_end(self.key, GRACE_SECONDS):
            self.printer.warn("the old operation still does not end: it is cleared by hand")
            if not self.end_operation(self.key, force=True):
                return False
        if not self._order(rescue):
            return False
        if rescue.windows and rescue.order is None:
            refresh.wake(self.session.cluster, self.key)
        return True

    def _order(self, rescue: Rescue) -> bool:
        """Order the sync where auto-sync will not do it, judged by what is there now."""
        if rescue.is_pause_only:
            return True
        again = self.planner(self.snapshot)
        order = again.order or rescue.order
        if order is None or operation(self.snapshot.objects[self.key]).in_progress:
            return True
        going = self.carry_out(Plan("rescue", (order,)))
        if self.results[-1].status is StepStatus.APPLIED:
            self.order_id = order.id
        return going

    def _tell(self, rescue: Rescue, done: bool, *, is_over: bool = False) -> None:
        """Say what is left to do."""
        if not self.entry:
            return
        if done and is_over and rescue.pin:
            from ..show.plans import unfinished  # lazy: said at the end

            for text in unfinished(rescue.plan, self.entry):
                self.printer.say(text, hang=9)
            return
        stands = [r for r in self.results if r.status is StepStatus.APPLIED]
        if not done and stands:
            name = display_name(self.key, self.snapshot.argocd)
            self.printer.say(f"what was done stands: {COMMAND} show {self.entry}")
            self.printer.say(f"Next: {COMMAND} rescue {name}{self.flags}")
        self.printer.say(f"undo with: {COMMAND} undo {self.entry}")

    def _result(self, rescue: Rescue) -> Result:
        return Result(
            "rescue",
            self.entry,
            tuple(self.results),
            tuple(dict.fromkeys((*rescue.plan.warnings, *rescue.plan.notes, *self.warnings))),
            {"version": rescue.version},
            self.status,
            STATUS_WORDS[self.status],
        )

    def _watch(self, rescue: Rescue, result: Result, timeout: float | None) -> Result:
        changes = tuple(c for e in rescue.pin for c in e.changes)
        self.session.reading.snapshot = self.snapshot
        expectation = Expectation(self.key, self.order_id, changes, is_full=self.is_full)
        if self._way:
            place = watch.seen_by(self.session, self.key, self._way)
        else:
            place = watch.place_of(self.session, self.key, self.destination_context)

        def once(left: float | None) -> Ending:
            return watch.run(self.session, expectation, left, place=place, go_on=self._go_on())

        ending = self.watched_to_the_end(once, timeout)
        if self.writer and (saw := watch.what_failed(self.session, self.key, ending)):
            with suppress(RescueError):  # only the memory of it is lost
                self.writer.write([saw])
        return watch.with_ending(result, ending)

    # -- Argo Rollouts

    def _rollouts(self) -> list[str]:
        """Say before anything is written what each Rollout will do with another version.

        Raises Forbidden where it is to be promoted and the user may not.
        """
        live = self._live_rollouts(workload_keys(self.snapshot.objects[self.key]))
        if self.is_full:
            self.session.checks.require_rights(Plan("rescue", tuple(map(self._promotion, live))))
        return [text for obj in live if (text := rollouts.foretell(obj, is_full=self.is_full))]

    def _live_rollouts(self, workloads: Sequence[Key]) -> list[JSON]:
        """Read those of some workloads that are Rollouts, as far as one may; none where their cluster is out of sight.

        One of the same name in Argo CD's own cluster is somebody else's.
        """
        cluster = self.session.destination
        if cluster is self.session.cluster and not deploys_here(self.snapshot.objects[self.key]):
            return []
        keys = [k for k in workloads if k.kind == rollouts.KIND]
        got = cluster.gather_outcomes(*[partial(cluster.get, ROLLOUT, k.namespace, k.name) for k in keys])
        return [o.value for o in got if isinstance(o, Done)]

    def _promotion(self, rollout: JSON) -> WorkloadRollback:
        pod_hash = (rollout.get("status") or {}).get("currentPodHash") or ""
        number = int((rollout["metadata"].get("annotations") or {}).get(rollouts.NUMBER) or 0)
        return WorkloadRollback(
            replace(ref_of(rollout), kind=rollouts.KIND),
            self.key,
            max(0, number - 1),
            number,
            f"{rollout['metadata']['name']}-{pod_hash}",
            f"promoted fully at {rollouts.where(rollout)}",
            destination=words(self.snapshot.objects[self.key]),
            how=Takeback.PROMOTION,
        )

    def watched_to_the_end(self, once: Callable[[float | None], Ending], timeout: float | None) -> Ending:
        """Watch; where that halts at what may be promoted fully and is to be, do so and go on watching."""
        clock = self.session.cluster.clock
        deadline = None if timeout is None else clock() + timeout
        while True:
            ending = once(None if deadline is None else max(0.0, deadline - clock()))
            if not self.is_full or ending.assessment.state is not State.HALTED:
                return ending
            live = self._live_rollouts(keys_of(self.snapshot.objects[self.key]))
            steps = tuple(self._promotion(obj) for obj in live if rollouts.may_be_promoted(obj))
            if not steps or not self.carry_out(Plan("rescue", steps, independent_from=0)):
                return ending

    def _go_on(self) -> str:
        name = display_name(self.key, self.snapshot.argocd)
        return "" if self.is_full else f"{COMMAND} rescue {name}{self.flags} --full"

    def tell_ending(self, ending: Ending) -> None:
        """Say how a watch ended that did not end well, and what goes on from there."""
        watch.tell_ending(self.printer, self.key, ending, self._go_on())

    def _still_open(self, rescue: Rescue) -> list[Edit]:
        """Return what would close the windows again that others share, as far as they are open."""
        live = self.snapshot.objects
        return [e for e in rescue.reopened if patches.guarded_ops(live[e.ref.key], e.ref, e.changes)]

    def _close_windows(self, rescue: Rescue, patience: float) -> list[str]:
        """Close what was opened on windows that other apps share, once our operation is through.

        Returns what is left open, in words; a second ^C leaves it at that.
        """
        closing: list[Edit] = []
        try:
            self._see_what_landed(rescue)
            closing = self._still_open(rescue)
            if not closing:
                return []
            if not self.wait_until(self.key, is_idle, patience):
                return self._leave_windows(rescue, "since an operation is in progress")
            self.actions = {**self.actions, Role.WINDOW: "sync windows restored"}
            if not self.carry_out(Plan("rescue", tuple(closing))):
                return self._leave_windows(rescue, "since it could not be closed")
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
            with suppress(RescueError):
                self._see_what_landed(rescue)
            if not closing or self._still_open(rescue):
                return self._leave_windows(rescue, "since this was interrupted")
        except RescueError as e:
            return self._leave_windows(rescue, f"since the cluster does not answer ({e.message})")
        shared = {e.ref for e in rescue.windows if any(isinstance(c, FieldChange) for c in e.changes)}
        # The opening and the closing of a field; the names that were taken out stay out.
        self.settle(
            "restored",
            lambda edit, change: (
                edit.role is Role.WINDOW and edit.ref in shared and isinstance(change, FieldChange)
            ),
        )
        return []

    def _see_what_landed(self, rescue: Rescue) -> None:
        """Read again what was in the air when this was interrupted."""
        unknown = {r.ref for r in self.results if r.status is StepStatus.UNKNOWN}
        for ref in {e.ref for e in rescue.reopened} & unknown:
            live = self.session.cluster.get(BY_KIND[ref.kind], ref.namespace, ref.name)
            self.snapshot = replace(self.snapshot, objects={**self.snapshot.objects, ref.key: live})

    def _leave_windows(self, rescue: Rescue, why: str) -> list[str]:
        """Say which windows stay open for manual syncs, and what closes them."""
        left = [
            f"{edit.ref}: {patches.show_path(change.path[:-1])} stays open for manual syncs of all that it "
            f"matches, {why}; it is closed with the rest by: {COMMAND} undo {self.entry}"
            for edit in self._still_open(rescue)
            for change in edit.changes
        ]
        for text in left:
            self.printer.warn(text)
        return left
