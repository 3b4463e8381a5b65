"""How far an application is on its way to what was asked for, and whether that is the truth. Pure.

Success needs all of it: our own change compared, synced, healthy, and the current generation of
each workload available. Argo CD's health alone is early (argo-cd#4669): it may speak of the pods
that were there before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from kubectl_argo_rescue.model.values import Confidential

from ..model import merge
from ..model.patches import show_path, shown
from ..model.text import cause
from ..model.values import BY_KIND, JSON, WORKLOAD_KINDS, Change, Key, Ref, Takeback
from . import application, rollouts
from .operation import Operation, operation, waits_for_hooks
from .workloads import is_workload, observed_generation, same, template_of


class State(Enum):
    """Where it stands."""

    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILING = "failing"
    """A workload says that it failed; for a moment that may still be about the pods before."""
    FAILED = "failed"
    REVERTED = "reverted"
    HALTED = "halted"
    """Nothing goes on until a person acts, as at a canary's pause without a duration."""


class Expectation(Struct, frozen=True):
    """What a watch waits for: an operation of ours by its id, and changes that must still stand."""

    key: Key
    order_id: str = ""
    changes: tuple[Change, ...] = ()
    rollback: bool = False
    """The operation deploys from history: the spec says something else, so being synced is not asked for."""
    is_full: bool = False
    """A Rollout is promoted fully: it halts as soon as the new version's pods are ready."""


class Assessment(Struct, frozen=True):
    """One look: the state, a line for each part, and the reason in one sentence."""

    state: State
    lines: tuple[tuple[str, str, bool], ...]
    """(part, what it says, whether it is as wanted)."""
    reason: str
    unverified: tuple[str, ...] = ()
    """What of a success rests on Argo CD's word alone, and why."""


class RolloutStatus(Struct, frozen=True):
    """How far one workload is."""

    done: bool
    failed: bool
    text: str
    halted: str = ""
    """Why it does not go on by itself, empty where it does."""


def rollout(obj: JSON, *, is_full: bool = False, source: JSON | None = None) -> RolloutStatus:
    """Say how far a workload's current generation is (kubectl: polymorphichelpers/rollout_status.go)."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    generation = obj["metadata"].get("generation", 0)
    kind = obj["kind"]
    if observed_generation(obj) < generation or (
        kind == rollouts.KIND and rollouts.is_unobserved(obj, source)
    ):
        return RolloutStatus(False, False, "its new spec has not been looked at yet")
    if kind == rollouts.KIND:
        return _of_rollout(obj, is_full=is_full)
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
        if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
            return RolloutStatus(True, False, f"{available} of {wanted} available (updates on delete only)")
        return _counts(wanted, updated, available, wanted)
    wanted = spec.get("replicas", 1) if spec.get("replicas") is not None else 1
    updated = status.get("updatedReplicas", 0)
    if kind == "StatefulSet":
        strategy = spec.get("updateStrategy") or {}
        ready = status.get("readyReplicas", 0)
        if strategy.get("type") == "OnDelete":
            return RolloutStatus(True, False, f"{ready} of {wanted} ready (updates on delete only)")
        partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
        if ready < wanted:
            return RolloutStatus(False, False, f"{ready} of {wanted} ready")
        if partition:
            done = updated >= wanted - partition
            return RolloutStatus(
                done, False, f"{updated} of {wanted - partition} updated (partition {partition})"
            )
        if status.get("updateRevision") != status.get("currentRevision") and updated < wanted:
            return RolloutStatus(False, False, f"{updated} of {wanted} updated")
        return RolloutStatus(True, False, f"{ready} of {wanted} ready")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return RolloutStatus(False, True, "it exceeded its progress deadline")
    if spec.get("paused"):
        return RolloutStatus(False, False, "the Deployment itself is paused (spec.paused)")
    return _counts(wanted, updated, status.get("availableReplicas", 0), status.get("replicas", 0))


def _of_rollout(obj: JSON, *, is_full: bool) -> RolloutStatus:
    """Argo Rollouts: utils/rollout/rolloututil.go GetRolloutPhase."""
    status = obj.get("status") or {}
    phase, message = str(status.get("phase") or "not judged yet"), str(status.get("message") or "")
    said = phase + (f": {message}" if message else "")
    if is_full and rollouts.may_be_promoted(obj):
        where = rollouts.where(obj)
        return RolloutStatus(False, False, where, f"its new version may be promoted, at {where}")
    if waits := rollouts.waits_for_somebody(obj):
        return RolloutStatus(False, False, waits, waits)
    if phase == "Degraded":
        return RolloutStatus(False, True, said)
    if rollouts.is_under_way(obj):
        return RolloutStatus(False, False, rollouts.where(obj))
    available = (
        f"{status.get('availableReplicas', 0)} of {(obj.get('spec') or {}).get('replicas', 1)} available"
    )
    return RolloutStatus(
        phase == "Healthy", False, available if phase == "Healthy" else f"{available}: {said}"
    )


def _counts(wanted: int, updated: int, available: int, total: int) -> RolloutStatus:
    if updated < wanted:
        return RolloutStatus(False, False, f"{updated} of {wanted} updated")
    if total > updated:
        return RolloutStatus(False, False, f"{total - updated} old still going away")
    if available < updated:
        return RolloutStatus(False, False, f"{available} of {wanted} available")
    return RolloutStatus(True, False, f"{available} of {wanted} available")


_NONE: Final[Mapping[Key, str]] = {}


def workload_keys(app: JSON, *, rollback: bool = False) -> tuple[Key, ...]:
    """Return the workloads that an app manages, in whatever cluster.

    After a rollback those that the operation applied: the comparison lists what the spec asks for.
    """
    return tuple(
        Key(r["kind"], r.get("namespace", ""), r["name"]) for r in _deployed(app, rollback) if is_workload(r)
    )


def _deployed(app: JSON, rollback: bool) -> list[JSON]:
    if not rollback:
        return [r for r in application.managed_resources(app) if not r.get("requiresPruning")]
    state = (app.get("status") or {}).get("operationState") or {}
    found = (state.get("syncResult") or {}).get("resources") or ()
    return [r for r in found if r.get("status") == "Synced" and not r.get("hookType")]


def _runs_something(resource: JSON) -> bool:
    """Whether a resource is known to run pods, or to be a whole application, by ways not understood here."""
    group, kind = str(resource.get("group") or ""), str(resource.get("kind") or "")
    return (
        (group in ("", "apps", "batch") and kind in _PODS)
        or kind in _CUSTOM_WORKLOADS
        or ("." in group and kind in (*WORKLOAD_KINDS, *_PODS))
    )


_PODS = ("Pod", "ReplicaSet", "ReplicationController", "Job", "CronJob")
_CUSTOM_WORKLOADS = (
    "Application",
    "ApplicationSet",
    "Canary",
    "CloneSet",
    "DeploymentConfig",
    "HelmRelease",
)


def unverified(
    app: JSON,
    watched: Collection[Key],
    *,
    rollback: bool = False,
    unseen: str = "",
    hidden: Mapping[Key, str] = _NONE,
) -> tuple[str, ...]:
    """Say why what an Application deploys is healthy by Argo CD's word alone; empty where all was watched.

    `unseen` is why its whole cluster is not looked at, `hidden` why single workloads are not.
    """
    if unseen:
        return (unseen,)
    found = [r for r in _deployed(app, rollback) if not r.get("hook")]
    said = [
        f"{part_of(key)} {hidden.get(key, 'may not be read')}"
        for key in workload_keys(app, rollback=rollback)
        if key not in watched
    ]
    unknown = [r for r in found if not is_workload(r) and _runs_something(r)]
    if unknown:
        said.append(f"not watched by this tool: {_names(unknown)}")
    if not said and not watched:
        said.append(
            f"it lists no {', '.join(WORKLOAD_KINDS[:-1])} or {WORKLOAD_KINDS[-1]} that could be watched"
        )
    return tuple(said)


def assess(
    app: JSON,
    workloads: Mapping[Key, JSON | None],
    expectation: Expectation,
    *,
    stuck_hint: str = "",
    unseen: str = "",
    hidden: Mapping[Key, str] = _NONE,
) -> Assessment:
    """Judge one look at an application and its workloads.

    `stuck_hint` is what to say where neither auto-sync nor an operation will sync it; `unseen` and
    `hidden` are those of `unverified`.
    """
    running = operation(app)
    if taken_back := _taken_back(app, running, expectation):
        return taken_back
    done, text = _operation(running, expectation, app)
    failed, failing = "" if done is not None else text, ""
    compared = application.is_compared(app)
    status = application.sync_status(app)
    if expectation.rollback:
        compared, synced, what = True, True, f"{status}: a rollback leaves the spec as it is"
    else:
        if expectation.order_id and running.own_id == expectation.order_id:
            stuck_hint = ""  # it was ordered and has run: its comparison is only not there yet
        synced, what = _sync(app, compared=compared, status=status, operation=running, stuck_hint=stuck_hint)
        if status == "Unknown" and not running.in_progress:
            failed = failed or (_what_is_missing(app) if compared else "")
            # Not at once: the comparison with the spec of now may not have taken it away yet.
            failing = _invalid_spec(app)
    lines = [("operation", text, bool(done)), ("sync", what, synced), _health(app)]
    halted = _halted_unseen(app, workloads) if synced and compared else ""
    for key in sorted(workloads):
        r = _rollout_in(workloads, key, is_full=expectation.is_full)
        lines.append((part_of(key), r.text, r.done))
        if r.failed and synced:
            failing = failing or f"{key}: {r.text}"
        # Waves go on once it is healthy, so that an operation may wait for what halts.
        if r.halted and compared and (synced or _is_applied(app, key)):
            halted = halted or f"{key}: {r.halted}"
    if failed or failing:
        return Assessment(State.FAILED if failed else State.FAILING, tuple(lines), failed or failing)
    if halted:
        return Assessment(State.HALTED, tuple(lines), halted)
    waiting = next((f"{part}: {text}" for part, text, good in lines if not good), "")
    if waiting or not compared:
        return Assessment(State.WAITING, tuple(lines), waiting or "not yet")
    if expectation.rollback:
        verb, revisions = "rolled back", running.revision
    else:
        verb, revisions = "synced", ", ".join(application.synced_revisions(app))
    reason = f"{verb} to {revisions or 'its revision'} and {application.health_status(app).lower()}"
    told = unverified(app, workloads, rollback=expectation.rollback, unseen=unseen, hidden=hidden)
    return Assessment(State.SUCCEEDED, tuple(lines), reason, told)


def _rollout_in(workloads: Mapping[Key, JSON | None], key: Key, *, is_full: bool) -> RolloutStatus:
    obj = workloads[key]
    if obj is None:
        return RolloutStatus(False, False, "not there")
    source = rollouts.template_source(obj) if key.kind == rollouts.KIND else None
    return rollout(obj, is_full=is_full, source=workloads.get(source) if source else None)


def _is_applied(app: JSON, key: Key) -> bool:
    line = application.lists(app, key, BY_KIND[key.kind].group)
    return line is not None and line.get("status") == "Synced"


def _halted_unseen(app: JSON, workloads: Mapping[Key, JSON | None]) -> str:
    """Say that a Rollout waits for somebody where Argo CD alone tells; empty where all are in sight."""
    if application.health_status(app) != "Suspended":
        return ""
    unseen = [
        r for r in application.managed_resources(app)
        if r.get("kind") == rollouts.KIND and r.get("group") == rollouts.GROUP
        and Key(r["kind"], r.get("namespace", ""), r["name"]) not in workloads
    ]  # fmt: skip
    return f"{_names(unseen)} waits for somebody to go on, as Argo CD says (Suspended)" if unseen else ""


def part_of(key: Key) -> str:
    """Name a workload as the lines of an assessment do."""
    return f"{key.kind} {key.namespace}/{key.name}"


def _taken_back(app: JSON, running: Operation, expectation: Expectation) -> Assessment | None:
    """Say that somebody undid what is waited for; None where all of it stands."""
    for change in expectation.changes:
        if merge.standing_of(change, app) is not merge.Standing.OURS:
            c = merge.conflict(change, app)
            reason = (
                f"{show_path(c.path)} is {shown(c.ours)} again, no more {shown(c.base)}: somebody put it back"
            )
            return Assessment(State.REVERTED, (("edit", reason, False),), reason)
    if expectation.rollback and running.own_id != expectation.order_id:
        # The order took the state of before away, so what is there now came after it.
        reason = f"another operation came after the rollback: {running.describe()}"
        return Assessment(State.REVERTED, (("operation", reason, False),), reason)
    return None


def _health(app: JSON) -> tuple[str, str, bool]:
    health = application.health_status(app)
    if health == "Suspended":
        return "health", "Suspended (something waits for a person to go on, as a paused canary does)", True
    if health == "Healthy":
        return "health", health, True
    message = str(((app.get("status") or {}).get("health") or {}).get("message") or "")
    return "health", health + (f": {message}" if message else ""), False


def _operation(operation: Operation, expectation: Expectation, app: JSON) -> tuple[bool | None, str]:
    """Say whether operations are done with: True, False while one runs, None where it failed for good."""
    ours = expectation.order_id
    if ours and operation.own_id != ours and operation.in_progress:
        return False, f"not ours: {operation.describe()}"
    if operation.in_progress:
        if operation.is_blocked_by_window:
            return False, f"{operation.phase}: {operation.message}"
        what = operation.describe()
        is_new = operation.message and not what.endswith(operation.message)
        return False, what + waits_for_hooks(app) + (f": {operation.message}" if is_new else "")
    if operation.phase in ("Failed", "Error"):
        mine = operation.own_id == ours if ours else _is_about_spec(app)
        if mine:
            return None, f"{operation.phase}: {operation.message or 'no message'}"
        return True, f"an earlier one {operation.phase.lower()}"
    return True, operation.phase or "none"


def _is_about_spec(app: JSON) -> bool:
    """Whether the last operation's result is about what the spec asks for now."""
    result = ((app.get("status") or {}).get("operationState") or {}).get("syncResult") or {}
    spec = app.get("spec") or {}
    if spec.get("sources"):
        return bool(result.get("sources") == spec["sources"])
    return bool(result) and result.get("source") == spec.get("source")


def _sync(
    app: JSON, *, compared: bool, status: str, operation: Operation, stuck_hint: str
) -> tuple[bool, str]:
    if not compared:
        return False, f"{status}, but Argo CD has not compared with the new source yet"
    if status == "Synced":
        revisions = ", ".join(application.synced_revisions(app))
        return True, f"Synced to {revisions}" if revisions else "Synced"
    if status == "OutOfSync":
        off = [r for r in application.managed_resources(app) if r.get("status") == "OutOfSync"]
        if off and all(r.get("requiresPruning") for r in off) and not operation.in_progress:
            names = _names(off)
            return True, f"Synced but for what only pruning would delete: {names}"
        text = "OutOfSync" + (f": {_names(off)}" if off else "")
        return False, text + (f"; {stuck_hint}" if stuck_hint and not operation.in_progress else "")
    errors = "; ".join(
        f"{c.get('type')}: {_cause(c)}"
        for c in application.conditions(app)
        if str(c.get("type", "")).endswith("Error")
    )
    return False, status + (f" ({errors})" if errors else "")


_SPLIT = re.compile(
    r"cannot reference (?:a different revision of|multiple revisions for) the same repository"
)
"""Argo CD: reposerver/repository, of a source and the values that it refers to in the same repository."""

_MISSING = re.compile(
    r"not found|unable to resolve|does not exist|no (?:chart )?version|no matching|manifest unknown"
    r"|couldn't find remote ref|unknown revision|improper constraint",
    re.IGNORECASE,
)
"""How helm, git and OCI registries say that a version or path is not there; waiting does not bring it."""


def _what_is_missing(app: JSON) -> str:
    """Say that what the spec asks for is not in its repository; empty where the failure may pass."""
    for condition in application.conditions(app, "ComparisonError"):
        if _SPLIT.search(str(condition.get("message") or "")):
            return f"Argo CD takes a repository at one revision only: {_cause(condition)}"
        if _MISSING.search(str(condition.get("message") or "")):
            return f"Argo CD finds no such thing to deploy: {_cause(condition)}"
    return ""


def _invalid_spec(app: JSON) -> str:
    """Say that Argo CD refuses the spec as it is, which it does without comparing anything."""
    for condition in application.conditions(app, "InvalidSpecError"):
        return f"Argo CD refuses the spec: {_cause(condition)}"
    return ""


def _cause(condition: JSON) -> str:
    return cause(str(condition.get("message") or ""))


def _names(resources: Sequence[JSON]) -> str:
    names = [f"{r.get('kind')} {r.get('name')}" for r in resources]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# -- workloads that were taken back


class Expected(Confidential, frozen=True):
    """What a workload must run in the end."""

    template: JSON
    given_up_at: str = ""
    """When the Deployment gave up on the version before: it says so until the first new pod is there."""
    how: Takeback = Takeback.TEMPLATE


def given_up_at(workload: JSON) -> str:
    """Say when a Deployment last exceeded its progress deadline, empty where it has not."""
    for condition in (workload.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return str(condition.get("lastUpdateTime") or "")
    return ""


def _aborted(obj: JSON) -> RolloutStatus:
    """Say how far a Rollout is back at its stable version, whose pods alone are to be there."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    if rollouts.is_under_way(obj) and not status.get("abort"):
        return RolloutStatus(False, False, rollouts.where(obj))
    if rollouts.is_aborted(obj) and not status.get("abortedAt"):
        return RolloutStatus(False, False, "its abort has not been looked at yet")
    if rollouts.is_under_way(obj) and updated:
        return RolloutStatus(False, False, f"{updated} pods of the aborted version still going away")
    text = f"{available} of {wanted} available, of the stable version"
    return RolloutStatus(available >= wanted, False, text)


def assess_workloads(
    live: Mapping[Ref, JSON | None], expected: Mapping[Ref, Expected], *, is_full: bool = False
) -> Assessment:
    """Judge one look at workloads that were taken back: their templates stand, their pods are there."""
    lines: list[tuple[str, str, bool]] = []
    failed = halted = ""
    by_key = {ref.key: obj for ref, obj in live.items()}
    for ref in sorted(expected):
        obj = live.get(ref)
        if obj is None or obj["metadata"].get("uid") != ref.uid:
            text = "it is gone"
            return Assessment(State.REVERTED, ((part_of(ref.key), text, False),), f"{ref}: {text}")
        if not same(template_of(obj), expected[ref].template):
            text = "somebody deployed another template since"
            return Assessment(State.REVERTED, ((part_of(ref.key), text, False),), f"{ref}: {text}")
        if expected[ref].how is Takeback.ABORT:
            r = _aborted(obj)
        else:
            r = _rollout_in(by_key, ref.key, is_full=is_full)
        halted = halted or (f"{ref}: {r.halted}" if r.halted else "")
        lines.append((part_of(ref.key), r.text, r.done))
        if r.failed and given_up_at(obj) != expected[ref].given_up_at:
            failed = failed or f"{ref}: {r.text}"
    if failed or halted:
        return Assessment(State.FAILED if failed else State.HALTED, tuple(lines), failed or halted)
    waiting = next((f"{part}: {text}" for part, text, good in lines if not good), "")
    if waiting:
        return Assessment(State.WAITING, tuple(lines), waiting)
    return Assessment(State.SUCCEEDED, tuple(lines), "every workload that was taken back is available")
