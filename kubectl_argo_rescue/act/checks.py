"""What comes before the first write: the user's rights, a yes where one is needed, or a dry run instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from ..cluster.client import Cluster
from ..cluster.parallel import Failed
from ..model import patches
from ..model.errors import Cancelled, Code, ExitStatus, Forbidden, RefusedError, RescueError
from ..model.values import (
    BY_KIND,
    JSON,
    ROLLOUT_STATUS,
    WRITTEN,
    Creation,
    Key,
    Order,
    Plan,
    PlanStep,
    Removal,
    Result,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    Takeback,
    WorkloadRollback,
)
from ..show.printer import Printer
from ..show.steps import STATUS_WORDS
from .options import Writing
from .send import Step, action_of, not_done, ops_of

Right = tuple[str, str, str, str]
"""What a review asks for: verb, kind, namespace, and name; no name is all of the namespace."""


class Checks:
    """Asks the server and the user about plans; tries them where no more than that is wanted."""

    def __init__(
        self, cluster: Cluster, destination: Cluster, printer: Printer, access: dict[Right, bool], actor: str
    ) -> None:
        """Take the cluster of Argo CD, that of the workloads, and who is asking.

        `access` is what the first server has said the user may, and gets what it says now.
        """
        self.cluster = cluster
        self.destination = destination
        self.printer = printer
        self.access = access
        self.actor = actor

    # -- rights

    def require_rights(self, plan: Plan) -> None:
        """Ask the server whether the user may do all of the plan, before its first write.

        Raises Forbidden naming all that is missing.
        """
        if self.destination is not self.cluster:
            there = tuple(s for s in plan.steps if isinstance(s, WorkloadRollback))
            self._require(there, self.destination)
            self._require([s for s in plan.steps if s not in there], self.cluster)
        else:
            self._require(plan.steps, self.cluster)

    def _require(self, steps: Sequence[PlanStep], cluster: Cluster) -> None:
        denied = self._denied(_rights_to_patch(steps), cluster)
        if denied:
            who = f" as {self.actor}" if self.actor else ""
            what = ", ".join(f"{verb} {kind} {ns}/{name}" for verb, kind, ns, name in denied)
            raise Forbidden(
                f"you may not{who} {what}",
                "nothing was changed; ask for these rights, or use --as or another context",
                status=403,
                reason="Forbidden",
            )

    def missing(self, wanted: Sequence[Right], plan: Plan) -> list[Right]:
        """Return those of some rights that the user lacks, which is not worth a refusal.

        What `require_rights` will ask for a plan is asked in the same round.
        """
        if self.destination is self.cluster:
            self._may(_whole_places([*wanted, *_rights_to_patch(plan.steps)]), self.cluster)
        return self._denied(wanted, self.cluster)

    def hidden(self, keys: Iterable[Key], plan: Plan) -> list[Key]:
        """Return those of some objects that the user may not read or watch."""
        wanted = [(verb, k.kind, k.namespace, k.name) for k in keys for verb in ("get", "watch")]
        return list(dict.fromkeys(Key(*place) for _, *place in self.missing(wanted, plan)))

    def _denied(self, wanted: Sequence[Right], cluster: Cluster) -> list[Right]:
        answers = self._may(_whole_places(wanted), cluster)
        open_questions = [w for w in wanted if not answers[(*w[:3], "")]]
        named = self._may(open_questions, cluster)
        return [w for w in open_questions if not named[w]]

    def _may(self, questions: Sequence[Right], cluster: Cluster) -> dict[Right, bool]:
        known = self.access if cluster is self.cluster else {}
        answers = {q: known[q] for q in questions if q in known}
        questions = [q for q in questions if q not in answers]
        thunks = [partial(cluster.review_access, q[0], WRITTEN[q[1]], q[2], q[3]) for q in questions]
        for question, got in zip(questions, cluster.gather_outcomes(*thunks), strict=True):
            # A server that does not answer the question decides at the write itself.
            answers[question] = known[question] = True if isinstance(got, Failed) else bool(got.value)
        return answers

    # -- a yes

    def confirm(self, plan: Plan, writing: Writing, always_ask: str = "", *, title: str = "") -> None:
        """Show a plan that needs a yes, and get that. Raises RefusedError where there is none."""
        if not plan.questions and not always_ask:
            if self.printer.streams.is_interactive and not writing.yes:
                for text in plan.asides:
                    self._ask(text)
            return
        if writing.yes:
            for text in plan.questions:
                self.printer.say(text)
            return
        if plan.steps:
            self.printer.say(title or "The plan:")
            self.printer.plan(plan)
        if not self.printer.streams.is_interactive:
            asked = "; ".join(plan.questions) or always_ask
            only = ", or --only to leave the owners out" if any(not s.named for s in plan.steps) else ""
            raise RefusedError(
                f"confirmation needed: {asked}",
                f"add --yes to agree{only}; nothing was changed",
                code=Code.NEEDS_YES,
            )
        for text in (t for t in plan.questions if t not in plan.told):
            self.printer.say(f"  {self.printer.paint('?', 'yellow')} {text}")
        for text in plan.asides:
            self.printer.say(f"  {self.printer.paint('?', 'yellow')} {text}")
        self._ask(always_ask or "Go on?")

    def _ask(self, question: str) -> None:
        if not self.printer.ask(question):
            raise Cancelled("Cancelled. Nothing was changed.")

    # -- a dry run

    def dry_run(
        self, plan: Plan, snapshot: Snapshot, how: str, data: dict[str, JSON], actions: Mapping[Role, str]
    ) -> Result:
        """Show what a plan would do; with `server`, let the server judge each step of it."""
        if plan.questions:
            untold = [t for t in plan.questions if t not in plan.told or self.printer.form != "human"]
            self.printer.warn(f"a real run asks first{': ' if untold else ''}{'; '.join(untold)}")
        if self.printer.form == "human":
            self.printer.plan(plan)
        on_server = how == "server"
        objects = dict(snapshot.objects)
        results: list[StepResult] = list(plan.unchanged)
        status = ExitStatus.OK
        for step in plan.steps:
            if isinstance(step, WorkloadRollback):
                result, came_to = self._try_rollout(step, on_server=on_server)
            elif isinstance(step, Removal | Creation):
                result, came_to = self._try_removal(step, on_server=on_server)
            else:
                result, came_to = self._try(step, objects, actions, on_server=on_server)
            results.append(result)
            status = came_to or status
        for result in results:
            self.printer.progress(result, suffix=" (server dry run)" if on_server else " (dry run)")
        return Result(
            plan.verb, "", tuple(results), (*plan.warnings, *plan.notes, *plan.questions), data, status,
            "planned" if status is ExitStatus.OK else STATUS_WORDS[status],
        )  # fmt: skip

    def _try_rollout(self, step: WorkloadRollback, *, on_server: bool) -> tuple[StepResult, ExitStatus]:
        if not on_server:
            planned = StepResult(step.ref, StepStatus.PLANNED, step.how.value, reason=step.reason)
            return planned, ExitStatus.OK
        from . import workload_writes  # lazy: workloads are the last resort

        result = workload_writes.roll_back(self.destination, step, dry_run=True)
        is_good = result.status in (StepStatus.PLANNED, StepStatus.UNCHANGED)
        return result, ExitStatus.OK if is_good else ExitStatus.ERROR

    def _try_removal(self, step: Removal | Creation, *, on_server: bool) -> tuple[StepResult, ExitStatus]:
        planned = StepResult(step.ref, StepStatus.PLANNED, action_of(step), reason=step.reason)
        if not on_server or isinstance(step, Creation):
            return planned, ExitStatus.OK
        from .removals import remove  # lazy: little is ever deleted

        result = remove(self.cluster, step, dry_run=True)
        is_good = result.status in (StepStatus.PLANNED, StepStatus.UNCHANGED)
        return result, ExitStatus.OK if is_good else ExitStatus.ERROR

    def _try(
        self, step: Step, objects: dict[Key, JSON], actions: Mapping[Role, str], *, on_server: bool
    ) -> tuple[StepResult, ExitStatus]:
        """Try a step on `objects`, which get what it would make of them, or on the server."""
        ref = step.ref
        live = objects[ref.key]
        ops = ops_of(live, step)
        verdict, detail, status = StepStatus.PLANNED, "", ExitStatus.OK
        if on_server:
            # A server keeps nothing of a dry run: an order after an edit is tried on what is there.
            try:
                answer = self.cluster.patch(BY_KIND[ref.kind], ref.namespace, ref.name, ops, dry_run=True)
                if detail := not_done(step, live, answer):
                    verdict, status = StepStatus.FAILED, ExitStatus.ERROR
            except RescueError as e:
                verdict, detail, status = StepStatus.FAILED, e.message, e.exit_status
        elif not isinstance(step, Order):
            objects[ref.key] = patches.preview(live, ops)
        action = action_of(step, actions)
        return StepResult(ref, verdict, action, tuple(ops), step.reason, detail), status


_VERBS: Mapping[type, str] = {Removal: "delete", Creation: "create"}
"""What a step takes the right to, where that is not to patch."""


def _rights_to_patch(steps: Iterable[PlanStep]) -> list[Right]:
    return list(
        dict.fromkeys((_VERBS.get(type(s), "patch"), _patched(s), s.ref.namespace, s.ref.name) for s in steps)
    )


def _patched(step: PlanStep) -> str:
    """Name what a step patches: the kind, or its status."""
    is_status = isinstance(step, WorkloadRollback) and step.how is not Takeback.TEMPLATE
    return ROLLOUT_STATUS.kind if is_status else step.ref.kind


def _whole_places(rights: Iterable[Right]) -> list[Right]:
    """Return the same rights for whole namespaces, which most users have: few questions for many objects."""
    return list(dict.fromkeys((verb, kind, namespace, "") for verb, kind, namespace, _ in rights))
