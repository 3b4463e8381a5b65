"""A whole rescue and the end of a stuck operation: plan, then part by part in the order that is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from . import applications, outlook, patches, planning, probing, rescue_planning, watching
from .errors import ExitStatus, RescueError
from .flags import Writing
from .model import Edit, FieldChange, Key, Result, Role, Snapshot, Verdict
from .outlook import COMMAND, display_name
from .output import STATUS_WORDS
from .plans import Plan
from .procedure import GRACE_SECONDS, STUCK_SECONDS, Procedure, is_idle
from .progress import Expectation, workload_keys
from .rescue_planning import Rescue
from .session import Session, new_order_id
from .windows import are_terminations_held

PARTING_SECONDS = 2.0
"""How long who interrupts a rescue is kept, for windows that others share to be closed again."""


class Rescuing(Procedure):
    """Carries a rescue out."""

    flags = ""
    """What the command that goes on with it has after the application's name."""

    def __init__(
        self, session: Session, key: Key, planner: Callable[[Snapshot], Rescue], writing: Writing
    ) -> None:
        """`planner` is called again where something moved."""
        super().__init__(session, "rescue", writing)
        self.key = key
        self.planner = planner

    def run(self, *, wait: bool, timeout: float | None) -> Result:
        """Plan, ask, write and watch; stops where stopping is safest and says how to go on."""
        rescue = self.planner(self.snapshot)
        if wait and rescue.plan.steps and rescue.version != "paused only":
            said = (*rescue.plan.warnings, *self._what_is_hidden(rescue.plan))
            rescue = replace(rescue, plan=replace(rescue.plan, warnings=said))
        self.printer.plan_talk(rescue.plan.warnings, rescue.plan.notes)
        if self.writing.dry_run != "none":
            _, result = self.session.carry_out(lambda s: rescue.plan, self.writing)
            return result
        if rescue.plan.steps:
            self.session.header()
            self.session.check_permissions(rescue.plan)
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
            self._tell(done)
            if done and wait and rescue.version != "paused only":
                result = self._watch(rescue, result, timeout)
        except KeyboardInterrupt:
            if done:
                name = display_name(self.key, self.snapshot.argocd)
                self.printer.say(f"not watched any more; go on with: {COMMAND} watch {name}")
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
        return replace(result, edits=tuple(self.results), warnings=(*result.warnings, *left))

    def _what_is_hidden(self, plan: Plan) -> list[str]:
        """Say before anything is written which workloads cannot be watched afterwards."""
        hidden = self.session.hidden(workload_keys(self.snapshot.objects[self.key]), plan)
        if not hidden:
            return []
        more = f" and {len(hidden) - 4} more" if len(hidden) > 4 else ""
        return [
            f"you may not get and watch {', '.join(map(str, hidden[:4]))}{more}: "
            "the verdict will be the Application's own health alone"
        ]

    def _confirm(self, rescue: Rescue) -> None:
        name = display_name(self.key, self.snapshot.argocd)
        question = f"Rescue {name}: {rescue.version}?" if self.session.streams.is_interactive else ""
        if question and not self.writing.yes and not rescue.plan.questions and rescue.plan.steps:
            self.session.confirm(rescue.plan, self.writing, question)
        elif rescue.plan.steps:
            self.session.confirm(rescue.plan, self.writing)
        if rescue.plan.steps and (self.writing.yes or not self.session.streams.is_interactive):
            self.printer.plan(rescue.plan.steps)

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
            probing.wake(self.session.cluster, self.key)
        return True

    def _order(self, rescue: Rescue) -> bool:
        """Order the sync where auto-sync will not do it, judged by what is there now."""
        if rescue.version == "paused only":
            return True
        again = self.planner(self.snapshot)
        order = again.order or rescue.order
        if order is None or applications.operation(self.snapshot.objects[self.key]).in_progress:
            return True
        return self.carry_out(Plan("rescue", (order,)))

    def _tell(self, done: bool) -> None:
        if not self.entry:
            return
        stands = [r for r in self.results if r.status is Verdict.APPLIED]
        if not done and stands:
            name = outlook.display_name(self.key, self.snapshot.argocd)
            self.printer.say(f"what was done stands: {COMMAND} show {self.entry}")
            self.printer.say(f"go on with: {COMMAND} rescue {name}{self.flags}")
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
        order_id = ""
        for r in self.results:
            if r.status is Verdict.APPLIED and r.action == "sync ordered" and rescue.order:
                order_id = rescue.order.id
        changes = tuple(c for e in rescue.pin for c in e.changes)
        assert self.session.reading is not None
        self.session.reading.snapshot = self.snapshot
        ending = watching.run(self.session, Expectation(self.key, order_id, changes), timeout)
        return watching.with_ending(result, ending)

    def _still_open(self, rescue: Rescue) -> list[Edit]:
        """Return what would close the windows again that others share, as far as they are open."""
        live = self.snapshot.objects
        return [e for e in rescue.reopened if patches.guarded_ops(live[e.ref.key], e.ref, e.changes)]

    def _close_windows(self, rescue: Rescue, patience: float) -> list[str]:
        """Close what was opened on windows that other apps share, once our operation is through.

        Returns what is left open, in words; a second ^C leaves it at that.
        """
        closing = self._still_open(rescue)
        if not closing:
            return []
        try:
            if not self.wait_until(self.key, is_idle, patience):
                return self._leave_windows(rescue, "since an operation is in progress")
            self.actions = {**self.actions, Role.WINDOW: "sync windows restored"}
            if not self.carry_out(Plan("rescue", tuple(closing))):
                return self._leave_windows(rescue, "since it could not be closed")
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
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


class Terminating(Procedure):
    """Ends the operation of one Application, and waits for the truth."""

    def __init__(self, session: Session, key: Key, writing: Writing) -> None:
        """Begin with what the session has read."""
        super().__init__(session, "terminate", writing)
        self.key = key

    def run(self, *, wait: bool, timeout: float, force: bool, only: bool) -> Result:
        """Terminate; where a window keeps it from ending, relax the window only after that, and put it back."""
        order_id = new_order_id()
        plan = rescue_planning.plan_terminate(self.snapshot, self.key, order_id=order_id, force=force)
        if self.writing.dry_run != "none":
            _, result = self.session.carry_out(lambda s: plan, self.writing)
            return result
        windows = self._windows()
        self.printer.plan_talk(plan.warnings, plan.notes)
        if plan.steps:
            self.session.header()
            whole = replace(plan, steps=(*plan.steps, *windows.steps))
            self.session.check_permissions(whole)
            if not only:
                self.session.confirm(
                    replace(whole, questions=(*plan.questions, *windows.questions)), self.writing
                )
        going = self.carry_out(
            plan,
            replan=lambda s: rescue_planning.plan_terminate(s, self.key, order_id=order_id, force=force),
        )
        if going and wait and not is_idle(self.snapshot.objects[self.key]):
            self._wait(windows, timeout, only=only)
        if self.entry and self.status is ExitStatus.OK and wait:
            name = display_name(self.key, self.snapshot.argocd)
            self.printer.say(f"the operation of {name} has ended: {self._message()}")
        return Result(
            "terminate",
            self.entry,
            tuple(self.results),
            tuple(dict.fromkeys((*plan.warnings, *self.warnings))),
            {},
            self.status,
            STATUS_WORDS[self.status],
        )

    def _message(self) -> str:
        running = applications.operation(self.snapshot.objects[self.key])
        return f"{running.phase}: {running.message}" if running.phase else "it was never picked up"

    def _windows(self) -> Plan:
        """Plan the relaxation that may be needed: with the owner's pause, for permissions and questions."""
        live = self.snapshot.objects[self.key]
        if (
            not are_terminations_held(self.snapshot.argocd.version)
            or outlook.windows_allow(
                self.snapshot, live, manual=not applications.operation(live).is_automated
            ).can_sync
        ):
            return Plan("terminate")
        try:
            return planning.plan_unblock(self.snapshot, self.key)
        except RescueError:
            return Plan("terminate")

    def _wait(self, windows: Plan, timeout: float, *, only: bool) -> None:
        if self.wait_for_end(self.key, min(STUCK_SECONDS, timeout)):
            return
        relaxed: list[Edit] = []
        if windows.steps and not only:
            self.printer.say("a sync window keeps it from ending: it is opened, and closed again afterwards")
            relaxed = [s for s in windows.steps if isinstance(s, Edit)]
            if not self.carry_out(replace(windows, verb="terminate", unchanged=())):
                return
        ended = self.wait_for_end(self.key, timeout)
        if relaxed:
            self._put_back(relaxed)
        if not ended:
            self.status = ExitStatus.TIMEOUT
            name = outlook.display_name(self.key, self.snapshot.argocd)
            self.printer.say(
                f"{self.printer.paint('error:', 'red')} {self.key}: it does not end; clear it by hand: "
                f"{COMMAND} terminate {name} --force"
            )

    def _put_back(self, relaxed: Sequence[Edit]) -> None:
        back = [
            replace(
                edit, changes=tuple(patches.inverse(c) for c in reversed(edit.changes)), reason="as it was"
            )
            for edit in reversed(relaxed)
        ]
        self.actions = {
            **self.actions,
            Role.WINDOW: "sync windows restored",
            Role.PAUSE: "auto-sync restored",
        }
        if self.carry_out(Plan("terminate", tuple(back))):
            self.settle("restored", lambda edit, change: edit in relaxed or edit in back)
