"""Takes a workload back to a revision of its history: read, guard, write, and know what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..argocd import rollouts, workloads
from ..argocd.workloads import History
from ..cluster.client import Cluster
from ..model.errors import ApiError, GuardFailed, NotFound, RescueError
from ..model.values import (
    BY_KIND,
    JSON,
    ROLLOUT_STATUS,
    Key,
    Resource,
    StepResult,
    StepStatus,
    Takeback,
    WorkloadRollback,
)
from .send import NOT_DONE, Sender

MAX_TRIES = 8
"""An autoscaler may move the generation in between; each time it is read and judged anew."""

MAX_LOST = 3
"""How often an answer may get lost before it is given up."""


def read_history(cluster: Cluster, key: Key) -> History:
    """Read a workload and its revisions. Raises NotFound where the workload is not there."""
    workload = cluster.get(BY_KIND[key.kind], key.namespace, key.name)
    workload.setdefault("kind", key.kind)
    kept_as = workloads.HISTORY_OF[key.kind]
    kept = cluster.list(kept_as, key.namespace, label_selector=workloads.selector_of(workload))
    return workloads.history(workload, kept)


def read_histories(cluster: Cluster, keys: Sequence[Key]) -> dict[Key, History | None]:
    """Read several at once; None for a workload that is not there. Raises what else goes wrong."""

    def read(key: Key) -> History | None:
        try:
            return read_history(cluster, key)
        except NotFound:
            return None

    thunks: list[Callable[[], History | None]] = [(lambda k=k: read(k)) for k in keys]  # type: ignore[misc]
    return dict(zip(keys, cluster.gather(*thunks), strict=True))


def _result(
    step: WorkloadRollback, status: StepStatus, ops: Sequence[JSON] = (), detail: str = ""
) -> StepResult:
    shown = workloads.shown_ops(ops) if step.how is Takeback.TEMPLATE else tuple(ops)
    return StepResult(step.ref, status, step.how.value, shown, step.reason, detail)


def _judge(step: WorkloadRollback, past: History) -> tuple[JSON, StepResult | None]:
    """Return the template to write, or the result where nothing can or need be written."""
    meta = past.workload["metadata"]
    target = past.named(step.revision)
    if meta.get("uid") != step.ref.uid:
        text = f"{step.ref} was deleted and created anew meanwhile; nothing was written"
        return None, _result(step, StepStatus.CONFLICT, detail=text)
    if target is None:
        text = f"its revision {step.to_revision} is not kept any more"
        return None, _result(step, StepStatus.CONFLICT, detail=text)
    if step.how is not Takeback.TEMPLATE:
        return None, _judge_status(step, past)
    if workloads.same(workloads.template_of(past.workload), target.template):
        return target.template, _result(
            step, StepStatus.UNCHANGED, detail=f"already at revision {step.to_revision}"
        )
    current = past.revisions[-1]
    observed = workloads.observed_generation(past.workload)
    unseen = observed < meta.get("generation", 0) and not workloads.same(
        workloads.template_of(past.workload), current.template
    )
    if current.number != step.from_revision or unseen:
        now = "a new one" if unseen else str(current.number)
        text = f"somebody else deployed meanwhile: its revision is {now}, no more {step.from_revision}"
        return None, _result(step, StepStatus.CONFLICT, detail=text)
    if workloads.is_paused(past.workload):
        text = f"it was paused meanwhile; resume it: {workloads.resume_command(step.ref.key)}"
        return None, _result(step, StepStatus.FAILED, detail=text)
    return target.template, None


def _judge_status(step: WorkloadRollback, past: History) -> StepResult | None:
    """Judge what aborts or promotes a Rollout; None where it is to be written."""
    if rollouts.stands(past.workload, step.how):
        return _result(step, StepStatus.UNCHANGED, detail="done already")
    promoted = step.revision if step.how is Takeback.PROMOTION else None
    current = past.of_hash(str((past.workload.get("status") or {}).get("currentPodHash") or ""))
    if current is None or (promoted or current.name) != current.name or (
        step.how is Takeback.ABORT and current.number != step.from_revision
    ):  # fmt: skip
        now = current.number if current else "a new one"
        text = f"somebody else deployed meanwhile: its revision is {now}"
        return _result(step, StepStatus.CONFLICT, detail=text)
    return None


def roll_back(
    cluster: Cluster,
    step: WorkloadRollback,
    *,
    dry_run: bool = False,
    in_doubt: Callable[[], None] = lambda: None,
) -> StepResult:
    """Write one workload's template, guarded by its uid and generation, until it certainly stands or not.

    The workload and its history are read right before. `in_doubt` is called where an answer got
    lost, so that nobody takes the step for not done.
    """
    return _WorkloadSender(cluster, step, in_doubt, dry_run=dry_run).send()


class _WorkloadSender(Sender):
    """Sends a workload's template; reads and judges anew before each try."""

    def __init__(
        self, cluster: Cluster, step: WorkloadRollback, in_doubt: Callable[[], None], *, dry_run: bool
    ) -> None:
        super().__init__(cluster, dry_run=dry_run)
        self._step = step
        self._in_doubt = in_doubt
        self._is_status = step.how is not Takeback.TEMPLATE
        self._before: JSON = {}
        """The workload as the guards test it."""
        self._lost: RescueError | None = None
        self._losses = 0

    @property
    def resource(self) -> Resource:
        return ROLLOUT_STATUS if self._is_status else super().resource

    @property
    def step(self) -> WorkloadRollback:
        return self._step

    def doubt(self) -> None:
        self._in_doubt()

    def result(self, status: StepStatus, detail: str = "", *, ops: Sequence[JSON] = ()) -> StepResult:
        return _result(self._step, status, ops, detail)

    def prepare(self) -> StepResult | None:
        lost = self._lost
        try:
            past = read_history(self.cluster, self._step.ref.key)
        except NotFound:
            return self.result(StepStatus.CONFLICT, f"{self._step.ref} was deleted meanwhile")
        except RescueError as e:
            if lost is None:
                return self.result(StepStatus.FAILED, e.message)
            text = f"the answer got lost ({lost.message}) and the object cannot be read ({e.message})"
            return self.result(StepStatus.UNKNOWN, text)
        template, settled = _judge(self._step, past)
        if settled is not None:
            if lost is not None and settled.status is StepStatus.UNCHANGED:
                return self.result(StepStatus.APPLIED)
            return settled
        if lost is not None and self._losses >= MAX_LOST:
            return self.result(StepStatus.FAILED, lost.message)
        self._before = past.workload
        if self._is_status:
            self.ops = rollouts.ops(past.workload, self._step.how)
        else:
            self.ops = workloads.ops_back(past.workload, template)
        return None

    def answered(self, answer: JSON) -> StepResult:
        if self._is_status:
            if not rollouts.stands(answer, self._step.how):
                return self.result(StepStatus.FAILED, NOT_DONE, ops=self.ops)
            return self.result(StepStatus.PLANNED if self.dry_run else StepStatus.APPLIED, ops=self.ops)
        wanted, now = self.ops[-1]["value"], workloads.template_of(answer)
        if missing := workloads.not_taken(wanted, now, workloads.template_of(self._before)):
            if not workloads.same(now, workloads.template_of(self._before)):
                self.doubt()  # it is neither what was there nor what was wanted, and it rolls out
            return self.result(StepStatus.FAILED, f"{NOT_DONE}: {missing}", ops=self.ops)
        return self.result(StepStatus.PLANNED if self.dry_run else StepStatus.APPLIED, ops=self.ops)

    def guard_failed(self, error: ApiError) -> StepResult | None:
        if isinstance(error, GuardFailed) and self._is_as_tested():
            # It was something else that said no.
            return self.result(StepStatus.FAILED, error.message)
        if self.tries >= MAX_TRIES:
            return self.result(StepStatus.CONFLICT, "somebody else keeps changing its spec", ops=self.ops)
        return None

    def answer_lost(self, error: RescueError) -> None:
        self._lost, self._losses = error, self._losses + 1  # the next look says what came of it

    def _is_as_tested(self) -> bool:
        ref = self._step.ref
        try:
            fresh = self.cluster.get(BY_KIND[ref.kind], ref.namespace, ref.name)
        except RescueError:
            return False  # the next look says what it is
        if self._is_status:
            return all(op in rollouts.ops(fresh, self._step.how) for op in self.ops)
        return all(fresh["metadata"].get(n) == self._before["metadata"].get(n) for n in ("uid", "generation"))
