"""The end of an operation: terminated, and waited for, with a window opened where one keeps it from ending."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..argocd import reconciliation
from ..argocd.operation import operation
from ..argocd.windows import are_terminations_held
from ..model import patches
from ..model.errors import ExitStatus, RescueError
from ..model.text import COMMAND, display_name
from ..model.values import Edit, Key, Plan, Result, Role
from ..plan import operations, unblock
from ..show.steps import STATUS_WORDS
from .options import Writing
from .procedure import STUCK_SECONDS, Procedure, is_idle
from .session import Session, new_order_id


class TerminateRun(Procedure):
    """Ends the operation of one Application, and waits for the truth."""

    def __init__(self, session: Session, key: Key, writing: Writing) -> None:
        """Begin with what the session has read."""
        super().__init__(session, "terminate", writing)
        self.key = key

    def run(self, *, wait: bool, timeout: float, force: bool, only: bool) -> Result:
        """Terminate; where a window keeps it from ending, relax the window only after that, and put it back."""
        order_id = new_order_id()
        plan = operations.plan_terminate(self.snapshot, self.key, order_id=order_id, force=force, only=only)
        if self.writing.is_dry_run:
            return self.dry_run(plan)
        windows = self._windows()
        self.printer.plan_talk(plan.warnings, plan.notes)
        if plan.steps:
            self.session.header()
            whole = replace(plan, steps=(*plan.steps, *windows.steps))
            self.session.checks.require_rights(whole)
            if not only:
                self.session.checks.confirm(
                    replace(whole, questions=(*plan.questions, *windows.questions)), self.writing
                )
        going = self.carry_out(
            plan,
            replan=lambda s: operations.plan_terminate(
                s, self.key, order_id=order_id, force=force, only=only
            ),
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
        running = operation(self.snapshot.objects[self.key])
        return f"{running.phase}: {running.message}" if running.phase else "it was never picked up"

    def _windows(self) -> Plan:
        """Plan the relaxation that may be needed: with the owner's pause, for permissions and questions."""
        live = self.snapshot.objects[self.key]
        if (
            not are_terminations_held(self.snapshot.argocd.version)
            or reconciliation.windows_allow(
                self.snapshot, live, manual=not operation(live).is_automated
            ).can_sync
        ):
            return Plan("terminate")
        try:
            return unblock.plan_unblock(self.snapshot, self.key)
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
            name = display_name(self.key, self.snapshot.argocd)
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
