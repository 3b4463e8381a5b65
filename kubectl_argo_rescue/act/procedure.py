"""Work in one part or several that is one journal entry: carry out, wait for Argo CD, carry on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from ..argocd.operation import operation
from ..cluster.client import Cluster
from ..journal.journal import Writer
from ..journal.records import Intent, Settled
from ..model.errors import ExitStatus
from ..model.text import COMMAND, display_name
from ..model.values import (
    APPLICATION,
    JSON,
    Change,
    Edit,
    Key,
    Order,
    Plan,
    Result,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
)
from ..show.printer import Printer
from ..show.steps import STATUS_WORDS
from .engine import Engine
from .options import Writing
from .send import ACTIONS, Run
from .session import Session, new_order_id

GRACE_SECONDS = 15.0
"""How long an operation may end by itself before it is terminated."""

STUCK_SECONDS = 6.0
"""A terminated operation ends within a pass or two of the controller; later it is stuck."""

TERMINATIONS = 10
"""How often an operation is terminated again whose retries go over it; each loses a rare race."""


class Procedure:
    """One journal entry written in parts; keeps what the cluster looks like after each."""

    def __init__(
        self,
        session: Session,
        verb: str,
        writing: Writing,
        *,
        undoes: Sequence[str] = (),
        actions: Mapping[Role, str] | None = None,
    ) -> None:
        """Begin with what the session has read."""
        self.session = session
        self.printer = session.printer
        self.verb = verb
        self.writing = writing
        self.undoes = tuple(undoes)
        self.actions = {**ACTIONS, **(actions or {})}
        self.snapshot: Snapshot = session.reading.snapshot
        self.results: list[StepResult] = []
        self.warnings: list[str] = []
        self.writer: Writer | None = None
        self.status = ExitStatus.OK

    @property
    def entry(self) -> str:
        """The journal entry's id, empty before the first write."""
        return self.writer.entry if self.writer else ""

    def carry_out(
        self,
        plan: Plan,
        *,
        replan: Callable[[Snapshot], Plan] | None = None,
        before: Callable[[Writer], None] = lambda writer: None,
    ) -> bool:
        """Write a part; False where it went wrong and what follows must not be done."""
        if not plan.steps and not plan.unchanged:
            return True
        status = self.execute(plan, replan, before)
        if status is ExitStatus.INTERRUPTED:
            raise KeyboardInterrupt
        if status is not ExitStatus.OK:
            self.status = status
        return status is ExitStatus.OK

    def execute(
        self,
        plan: Plan,
        replan: Callable[[Snapshot], Plan] | None,
        before: Callable[[Writer], None] = lambda writer: None,
    ) -> ExitStatus:
        """Write a part and keep what came of it; an interruption is one of the ways that it ends."""
        engine = Engine(
            self.session.cluster,
            self.session.journal,
            now=self.session.now,
            report=self.printer.progress,
            actions=self.actions,
            destination=self.session.destination,
        )
        begin = self.session.begin(self.verb, self.writing, undoes=self.undoes)
        run = engine.execute(plan, self.snapshot, begin, replan=replan, writer=self.writer, before=before)
        self.writer = run.writer or self.writer
        self.results += run.results
        self.warnings += run.warnings
        for text in run.warnings:
            self.printer.warn(text)
        self.snapshot = replace(self.snapshot, objects=run.objects, now=self.session.now())
        self.note(plan, run)
        return run.exit_status(independent=plan.independent_from is not None)

    def dry_run(self, plan: Plan, data: dict[str, JSON] | None = None) -> Result:
        """Show the plan of all parts where no more than that is wanted."""
        self.printer.plan_talk(plan.warnings, plan.notes)
        if plan.steps:
            self.session.header()
        return self.session.checks.dry_run(
            plan, self.snapshot, self.writing.dry_run, data or {}, self.actions
        )

    def note(self, plan: Plan, run: Run) -> None:
        """Take note of what came of a part, before what went wrong stops the rest."""

    def settle(self, how: str, owed_no_more: Callable[[Edit, Change], bool]) -> None:
        """Note that changes of this entry were taken back already: undo owes nothing for them."""
        if self.writer is None:
            return
        changes = {
            (r.content.number, i): how
            for r in self.writer.records
            if isinstance(r.content, Intent) and isinstance(r.content.what, Edit)
            for i, change in enumerate(r.content.what.changes)
            if owed_no_more(r.content.what, change)
        }
        if changes:
            self.writer.write([Settled(changes, self.entry, self.session.now())])

    def refresh(self, key: Key) -> JSON:
        """Read an Application again."""
        app = self.session.cluster.get(APPLICATION, key.namespace, key.name)
        self.snapshot = replace(
            self.snapshot, objects={**self.snapshot.objects, key: app}, now=self.session.now()
        )
        return app

    def wait_until(self, key: Key, wanted: Callable[[JSON], bool], timeout: float) -> bool:
        """Follow an Application until `wanted`; False where it did not come in time."""
        app = follow(self.session.cluster, key, wanted, timeout)
        if app is None:
            self.refresh(key)
            return False
        self.snapshot = replace(
            self.snapshot, objects={**self.snapshot.objects, key: app}, now=self.session.now()
        )
        return True

    def end_operation(self, key: Key, *, grace: float = 0.0, force: bool = False) -> bool:
        """Have the operation of an Application ended; False where it still stands after a while.

        `grace` is how long it may end by itself, and how long its termination may take where that is
        longer than usual. Terminating comes first and nothing of the operation is applied any more;
        what keeps it from ending is for the caller to see.
        """
        if grace and self.wait_until(key, is_idle, grace):
            return True
        return self._terminate(key, force=force) and self.wait_for_end(key, max(grace, STUCK_SECONDS))

    def wait_for_end(self, key: Key, timeout: float) -> bool:
        """Follow a terminated operation to its end; False where it does not come in time.

        A controller whose pass fails, or that starts a retry, writes Running over a termination
        that came meanwhile: such a one is given again, within the same `timeout` in seconds.
        Argo CD: controller/appcontroller.go processRequestedAppOperation.
        """
        started = operation(self.snapshot.objects[key]).started

        def was_overwritten(app: JSON) -> bool:
            running = operation(app)
            return running.phase == "Running" and running.started == started

        clock = self.session.cluster.clock
        deadline = clock() + timeout
        for _ in range(TERMINATIONS):
            if not self.wait_until(
                key, lambda app: is_idle(app) or was_overwritten(app), max(0.0, deadline - clock())
            ):
                return False
            if is_idle(self.snapshot.objects[key]):
                return True
            name = display_name(key, self.snapshot.argocd)
            self.printer.say(f"a retry of the operation of {name} went over its termination: once more")
            if not self._terminate(key):
                return False
        return False

    def _terminate(self, key: Key, *, force: bool = False) -> bool:
        from ..plan import operations  # lazy: operations mostly end by themselves

        order_id = new_order_id()

        def replan(snapshot: Snapshot) -> Plan:
            return operations.plan_terminate(snapshot, key, order_id=order_id, force=force)

        plan = replan(self.snapshot)
        return not plan.steps or self.carry_out(plan, replan=replan)


def carry_out(session: Session, planner: Callable[[Snapshot], Plan], writing: Writing) -> tuple[Plan, Result]:
    """Do what is done in one part: plan, show, check rights, ask, write, and tell what came of it.

    Raises RefusedError where a yes is missing, Forbidden where the user may not do all of it.
    """
    plan = planner(session.reading.snapshot)
    part = Procedure(session, plan.verb, writing)
    if writing.is_dry_run:
        return plan, part.dry_run(plan)
    session.printer.plan_talk(plan.warnings, plan.notes)
    if plan.steps:
        session.header()
        session.checks.require_rights(plan)
        session.checks.confirm(plan, writing)
    status = part.execute(plan, planner)
    _tell_how_to_go_on(session.printer, plan, part, status)
    warnings = (*plan.warnings, *plan.notes, *part.warnings)
    return plan, Result(
        plan.verb, part.entry, tuple(part.results), warnings, {}, status, STATUS_WORDS[status]
    )


def _tell_how_to_go_on(printer: Printer, plan: Plan, part: Procedure, status: ExitStatus) -> None:
    may_stand = any(r.status in (StepStatus.APPLIED, StepStatus.UNKNOWN) for r in part.results)
    if status is not ExitStatus.OK and part.entry and may_stand:
        printer.say(f"what was done stands; see it: {COMMAND} show {part.entry}")
    if status is ExitStatus.OK:
        for command in plan.next_commands:
            printer.say(f"Next: {command}")
    if may_stand and any(not isinstance(step, Order) for step in plan.steps):
        printer.say(f"undo with: {COMMAND} undo {part.entry}")


def is_idle(app: JSON) -> bool:
    """Whether no operation is in progress."""
    return not operation(app).in_progress


def follow(
    cluster: Cluster,
    key: Key,
    wanted: Callable[[JSON], bool],
    timeout: float,
) -> JSON | None:
    """Return the Application once it is as `wanted`, None where it was not in time."""
    app = cluster.get(APPLICATION, key.namespace, key.name)
    app, came = cluster.follow(APPLICATION, app, wanted, timeout)
    return app if came else None
