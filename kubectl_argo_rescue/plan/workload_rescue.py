"""Plans a rescue without sources: Argo CD paused, then each workload back to what its cluster remembers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application, ownership, rollouts, workloads
from ..argocd.application import application_of
from ..argocd.operation import operation
from ..argocd.workloads import Decision, History, Way, failing_periods, maker
from ..journal.entry import Entry
from ..journal.owed import taken_back
from ..model.errors import Code, RefusedError
from ..model.text import COMMAND, ROLLED_BACK, display_name
from ..model.values import (
    ABSENT,
    JSON,
    WORKLOAD_KINDS,
    Edit,
    FieldChange,
    Key,
    Ref,
    Reliance,
    Snapshot,
    StepResult,
    StepStatus,
    Takeback,
    WorkloadRollback,
    ref_of,
)
from .owners import AUTOMATED
from .pause import plan_pause
from .rescue import Rescue, owners_to_stop


class Workloads(Struct, frozen=True):
    """The workloads of an Application as read from their own cluster."""

    histories: Mapping[Key, History | None]
    """None for one that is listed but not there."""
    destination: str = ""
    """Their cluster in words, empty where it is the one of Argo CD itself."""
    question: str = ""
    """What makes it doubtful that this is the right cluster."""


def plan_workloads(
    snapshot: Snapshot,
    key: Key,
    found: Workloads,
    entries: Iterable[Entry],
    *,
    only: bool = False,
    is_full: bool = False,
) -> Rescue:
    """Plan the pause of an Application and its owners, and the way back of each of its workloads.

    Raises RefusedError where there is nothing to go back to, or a workload would not follow.
    """
    app = application_of(snapshot, key)
    name = display_name(key, snapshot.argocd)
    pause = plan_pause(snapshot, [key], only=only)
    own = tuple(s for s in pause.steps if isinstance(s, Edit))
    own_histories, foreign = _sorted(snapshot, key, found)
    rollouts, unchanged, warnings = _decided(
        app, name, replace(found, histories=own_histories), tuple(entries), is_full=is_full
    )
    unchanged += foreign
    if not rollouts and not any(_is_already(u) for u in unchanged):
        why = "; ".join(f"{u.ref}: {u.detail}" for u in unchanged) or (
            f"it lists no {', '.join(WORKLOAD_KINDS[:-1])} or {WORKLOAD_KINDS[-1]} that is there"
        )
        raise RefusedError(
            f"nothing of {name} can be taken back to a previous revision: {why}",
            f"stop Argo CD and work with kubectl: {COMMAND} rescue {name} --pause-only",
        )
    relies = pause.relies
    watched = owners_to_stop(key, own, [r for r in relies if r.key != key])
    if not own or all(e.ref.key != key for e in own):
        block = application.automated(app)
        relies = (*relies, Reliance(key, FieldChange(AUTOMATED, ABSENT, block)))
    questions = (*pause.questions, *((found.question,) if found.question and rollouts else ()))
    running = operation(app)
    notes = [*pause.notes]
    if running.in_progress:
        notes.append(f"an operation of {name} would apply it again and is ended first: {running.describe()}")
    plan = replace(
        pause,
        verb="rescue",
        steps=(*pause.steps, *rollouts),
        unchanged=(*pause.unchanged, *unchanged),
        warnings=(*(w for w in pause.warnings if not _is_about_operation(w)), *warnings),
        notes=tuple(notes),
        questions=questions,
        relies=relies,
        independent_from=None,
        next_commands=(),
    )
    return Rescue(plan, own, (), (), None, watched, running.in_progress, _words(rollouts))


def _sorted(
    snapshot: Snapshot, key: Key, found: Workloads
) -> tuple[dict[Key, History | None], list[StepResult]]:
    """Return the histories of the Application's own workloads, and those of that name that are not its own.

    Raises RefusedError where they say that this is another cluster than the one that it deploys into.
    """
    own: dict[Key, History | None] = {}
    foreign: list[StepResult] = []
    is_named = False
    for workload, past in found.histories.items():
        other = None if past is None else ownership.not_of(past.workload, key, snapshot.argocd)
        if past is None or other is None:
            own[workload] = past
            continue
        is_named |= other.owner is not None
        why = f"its {other.by} names {other.owner}" if other.owner else other.note or "no Argo CD tracks it"
        detail = f"left alone: it is not of {display_name(key, snapshot.argocd)}: {why}"
        foreign.append(StepResult(ref_of(past.workload), StepStatus.UNCHANGED, ROLLED_BACK, detail=detail))
    is_wrong = not any(own.values()) or (is_named and found.question)
    if found.destination and foreign and is_wrong:
        said = "; ".join(f"{f.ref}: {f.detail.removeprefix('left alone: ')}" for f in foreign)
        raise RefusedError(
            f"this is not the cluster that {key} deploys into ({found.destination}): {said}",
            "nothing was changed; name the context that leads there with --destination-context",
            code=Code.OTHER_CLUSTER,
        )
    return own, foreign


def _decided(
    app: JSON, name: str, found: Workloads, entries: Iterable[Entry], *, is_full: bool
) -> tuple[list[WorkloadRollback], list[StepResult], list[str]]:
    """Return what to take back, what is left as it is, and what is worth a warning."""
    is_failing = failing_periods(app)
    steps: list[WorkloadRollback] = []
    unchanged: list[StepResult] = []
    warnings: list[str] = []
    refused: list[str] = []
    decisions: dict[Key, Decision] = {}
    # A Rollout may have its template from a Deployment, which comes before it.
    for key, past in sorted(found.histories.items()):
        if past is None:
            warnings.append(f"{key} is listed by {name} but is not there")
            continue
        ref = ref_of(past.workload)
        back_already = taken_back(entries, ref)
        decisions[key] = decision = workloads.decide(past, is_failing=is_failing, taken_back=back_already)
        if (source := _leader(past, decisions)) is not None:
            detail = f"{FOLLOWS} {source}, whose template it has"
            unchanged.append(StepResult(ref, StepStatus.UNCHANGED, ROLLED_BACK, detail=detail))
            if decisions[source].way is Way.BACK and not rollouts.is_under_way(past.workload):
                warnings += filter(None, [rollouts.foretell(past.workload, is_full=is_full)])
        elif decision.way is Way.BACK:
            steps.append(_rollout(decision, ref, app, found.destination))
            warnings += workloads.hindrances(past.workload)
            if decision.how is Takeback.TEMPLATE and past.workload["kind"] == rollouts.KIND:
                warnings += filter(None, [rollouts.foretell(past.workload, is_full=is_full)])
        elif decision.way is Way.REFUSED:
            refused.append(decision.why)
        else:
            detail = _detail(decision, ref, back_already)
            unchanged.append(StepResult(ref, StepStatus.UNCHANGED, ROLLED_BACK, detail=detail))
    if refused:
        raise RefusedError("; ".join(refused), "nothing was changed")
    return steps, unchanged, warnings


def _leader(past: History, decisions: Mapping[Key, Decision]) -> Key | None:
    """Return the workload that is taken back and whose template a Rollout has; None where there is none."""
    source = rollouts.template_source(past.workload) if past.workload["kind"] == rollouts.KIND else None
    led = decisions.get(source) if source else None
    return source if led is not None and led.way in (Way.BACK, Way.ALREADY) else None


def _is_about_operation(warning: str) -> bool:
    """Whether a pause's own warning is moot here: the operation is ended as part of this."""
    return "which a pause does not stop" in warning


def _rollout(decision: Decision, ref: Ref, app: JSON, destination: str) -> WorkloadRollback:
    current, target = decision.current, decision.target
    assert current is not None and target is not None
    reason = f"back from {workloads.describe(current, target)}"
    if decision.how is Takeback.ABORT:
        reason += "; the template stays as it is, the stable version serves again at once"
    made_by = maker(app)(target)
    return workloads.rollback(
        ref, application.key_of(app), decision, reason,
        destination=destination, deployment=made_by.id if made_by else None,
    )  # fmt: skip


ALREADY = "taken back already"
FOLLOWS = "follows"


def _detail(decision: Decision, ref: Ref, back_already: Mapping[str, str]) -> str:
    if decision.way is Way.LEFT:
        return f"left alone: {decision.why}"
    assert decision.target is not None
    entry = back_already.get(decision.target.name)
    if entry is None:
        return f"{ALREADY}: {decision.why}"
    further = f"kubectl -n {ref.namespace} rollout history {ref.kind.lower()}/{ref.name}"
    if ref.kind == rollouts.KIND:
        further = f"kubectl argo rollouts -n {ref.namespace} undo {ref.name}"
    return f"{ALREADY} by entry {entry}; to go further back: {further}"


def _is_already(result: StepResult) -> bool:
    return result.detail.startswith(ALREADY)


def expected_workloads(rescue: Rescue) -> list[Ref]:
    """Return the workloads that must be well in the end: those taken back now or before, or that follow one."""
    moved = [s.ref for s in rescue.plan.steps if isinstance(s, WorkloadRollback)]
    before = [u.ref for u in rescue.plan.unchanged if _is_already(u) or u.detail.startswith(FOLLOWS)]
    return [*moved, *before]


def _words(rollouts: list[WorkloadRollback]) -> str:
    if not rollouts:
        return "its workloads are back already"
    return ", ".join(f"{r.ref.kind} {r.ref.name} to revision {r.to_revision}" for r in rollouts)
