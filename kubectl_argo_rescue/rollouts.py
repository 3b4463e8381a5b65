"""Takes a workload back to a revision of its history: read, guard, write, and know what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import workloads
from .cluster import Cluster
from .errors import (
    ApiError,
    Forbidden,
    GuardFailed,
    Invalid,
    NotFound,
    Overloaded,
    RescueError,
    StaleWrite,
    TransportError,
)
from .model import BY_KIND, JSON, EditResult, Key, Rollout, Verdict
from .workloads import History

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


def _result(step: Rollout, status: Verdict, ops: Sequence[JSON] = (), detail: str = "") -> EditResult:
    return EditResult(step.ref, status, workloads.ACTION, workloads.shown_ops(ops), step.reason, detail)


def _judge(step: Rollout, past: History) -> tuple[JSON, EditResult | None]:
    """Return the template to write, or the result where nothing can or need be written."""
    meta = past.workload["metadata"]
    target = past.named(step.revision)
    if meta.get("uid") != step.ref.uid:
        text = f"{step.ref} was deleted and created anew meanwhile; nothing was written"
        return None, _result(step, Verdict.CONFLICT, detail=text)
    if target is None:
        text = f"its revision {step.to_revision} is not kept any more"
        return None, _result(step, Verdict.CONFLICT, detail=text)
    if workloads.same(workloads.template_of(past.workload), target.template):
        return target.template, _result(
            step, Verdict.UNCHANGED, detail=f"already at revision {step.to_revision}"
        )
    current = past.revisions[-1]
    observed = (past.workload.get("status") or {}).get("observedGeneration", 0)
    unseen = observed < meta.get("generation", 0) and not workloads.same(
        workloads.template_of(past.workload), current.template
    )
    if current.number != step.from_revision or unseen:
        now = "a new one" if unseen else str(current.number)
        text = f"somebody else deployed meanwhile: its revision is {now}, no more {step.from_revision}"
        return None, _result(step, Verdict.CONFLICT, detail=text)
    if workloads.is_paused(past.workload):
        text = f"it was paused meanwhile; resume it: {workloads.resume_command(step.ref.key)}"
        return None, _result(step, Verdict.FAILED, detail=text)
    return target.template, None


def roll_back(  # noqa: C901
    cluster: Cluster, step: Rollout, *, dry_run: bool = False, in_doubt: Callable[[], None] = lambda: None
) -> EditResult:
    """Write one workload's template, guarded by its uid and generation, until it certainly stands or not.

    The workload and its history are read right before. `in_doubt` is called where an answer got
    lost, so that nobody takes the step for not done.
    """
    lost: RescueError | None = None
    losses = tries = 0
    while True:
        tries += 1
        try:
            past = read_history(cluster, step.ref.key)
        except NotFound:
            return _result(step, Verdict.CONFLICT, detail=f"{step.ref} was deleted meanwhile")
        except RescueError as e:
            if lost is None:
                return _result(step, Verdict.FAILED, detail=e.message)
            text = f"the answer got lost ({lost.message}) and the object cannot be read ({e.message})"
            return _result(step, Verdict.UNKNOWN, detail=text)
        template, settled = _judge(step, past)
        if settled is not None:
            if lost is not None and settled.status is Verdict.UNCHANGED:
                return _result(step, Verdict.APPLIED)
            return settled
        if lost is not None and losses >= MAX_LOST:
            return _result(step, Verdict.FAILED, detail=lost.message)
        ops = workloads.ops_back(past.workload, template)
        resource, ref = BY_KIND[step.ref.kind], step.ref
        try:
            cluster.patch(resource, ref.namespace, ref.name, ops, dry_run=dry_run)
        except (GuardFailed, StaleWrite) as e:
            again = _moved(cluster, step, past, e)
            if again is not None:
                return again
            if tries >= MAX_TRIES:
                text = "somebody else keeps changing its spec"
                return _result(step, Verdict.CONFLICT, ops, text)
        except (TransportError, Overloaded) as e:
            lost, losses = e, losses + 1
            if not (isinstance(e, TransportError) and not e.sent) and getattr(e, "status", 0) != 429:
                in_doubt()
        except Forbidden as e:
            return _result(step, Verdict.DENIED, ops, e.message)
        except (NotFound, Invalid) as e:
            return _result(step, Verdict.FAILED, ops, e.message)
        else:
            return _result(step, Verdict.PLANNED if dry_run else Verdict.APPLIED, ops)


def _moved(cluster: Cluster, step: Rollout, past: History, error: ApiError) -> EditResult | None:
    """Tell whether what the guards test moved; else it was something else that said no."""
    if isinstance(error, StaleWrite):
        return None
    ref = step.ref
    try:
        fresh = cluster.get(BY_KIND[ref.kind], ref.namespace, ref.name)
    except RescueError:
        return None  # the next look says what it is
    tested = ("uid", "generation")
    if all(fresh["metadata"].get(n) == past.workload["metadata"].get(n) for n in tested):
        return _result(step, Verdict.FAILED, detail=error.message)
    return None
