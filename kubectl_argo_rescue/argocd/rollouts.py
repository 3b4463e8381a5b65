"""An Argo Rollout: how far it is, whom it waits for, and what may be written to take it on or back. Pure.

Argo Rollouts 1.10: rollout/canary.go, rollout/pause.go, utils/rollout/rolloututil.go.
"""

from __future__ import annotations

from ..model.patches import Op
from ..model.values import JSON, Key, Takeback, ref_of

KIND = "Rollout"
GROUP = "argoproj.io"
NUMBER = "rollout.argoproj.io/revision"
HASH_LABEL = "rollouts-pod-template-hash"
EPHEMERAL = "rollout.argoproj.io/ephemeral-metadata"
"""On a ReplicaSet: the labels and annotations that the strategy, not the template, has put there."""
GENERATION = "rollout.argoproj.io/workload-generation"


def _status(rollout: JSON) -> JSON:
    return rollout.get("status") or {}


def _strategy(rollout: JSON, kind: str) -> JSON | None:
    found = ((rollout.get("spec") or {}).get("strategy") or {}).get(kind)
    return found if isinstance(found, dict) else None


def template_source(rollout: JSON) -> Key | None:
    """Name the workload that the template is taken from (`spec.workloadRef`); None where it has its own."""
    found = (rollout.get("spec") or {}).get("workloadRef")
    if not found:
        return None
    return Key(
        str(found.get("kind", "")), rollout["metadata"].get("namespace", ""), str(found.get("name", ""))
    )


def is_unobserved(rollout: JSON, source: JSON | None) -> bool:
    """Whether the workload that the template is taken from has changed since its controller looked."""
    if template_source(rollout) is None:
        return False
    seen = str(_status(rollout).get("workloadObservedGeneration") or "")
    noted = (rollout["metadata"].get("annotations") or {}).get(GENERATION, seen)
    now = seen if source is None else str(source["metadata"].get("generation", seen))
    return seen != noted or seen != now


def is_under_way(rollout: JSON) -> bool:
    """Whether a new version is there that is not the stable one yet (utils: IsFullyPromoted)."""
    status = _status(rollout)
    stable = status.get("stableRS")
    return bool(stable) and status.get("currentPodHash") != stable


def is_aborted(rollout: JSON) -> bool:
    """Whether it went back to the stable version and stays there until the template changes."""
    return is_under_way(rollout) and bool(_status(rollout).get("abort"))


def steps_of(rollout: JSON) -> list[JSON]:
    """Return the steps of a canary; a blue-green has none."""
    return list((_strategy(rollout, "canary") or {}).get("steps") or ())


def _step(rollout: JSON) -> tuple[int, JSON]:
    """Return the number of the current step, from 1, and the step; 0 where there is none."""
    steps, index = steps_of(rollout), _status(rollout).get("currentStepIndex") or 0
    return (index + 1, steps[index]) if index < len(steps) else (0, {})


def where(rollout: JSON) -> str:
    """Say at which step a new version is, and how many pods run it."""
    spec, status = rollout.get("spec") or {}, _status(rollout)
    number, step = _step(rollout)
    at = f"step {number} of {len(steps_of(rollout))} ({next(iter(step), '')})" if number else "rolling out"
    return f"{at}: {status.get('updatedReplicas', 0)} of {spec.get('replicas', 1)} pods run the new version"


def waits_for_somebody(rollout: JSON) -> str:
    """Say why nothing goes on until a person acts; empty where it goes on by itself.

    Argo Rollouts: rollout/pause.go CompletedCanaryPauseStep, CompletedBlueGreenPause.
    """
    if (rollout.get("spec") or {}).get("paused"):
        return "it is paused (spec.paused)"
    if is_aborted(rollout) or _status(rollout).get("promoteFull"):
        return ""  # a promotion that was ordered ends the pause; its controller has not seen it yet
    _, step = _step(rollout)
    blue_green = _strategy(rollout, "blueGreen") or {}
    for condition in _status(rollout).get("pauseConditions") or ():
        reason = str(condition.get("reason") or "")
        if reason == "CanaryPauseStep" and (step.get("pause") or {}).get("duration") is not None:
            continue
        if reason == "BlueGreenPause" and blue_green.get("autoPromotionSeconds"):
            continue
        return f"it waits for somebody to go on ({reason}), at {where(rollout)}"
    return ""


def may_be_promoted(rollout: JSON) -> bool:
    """Whether the new version's pods are ready as far as its controller has them made.

    A step that scales is left behind only once its pods are available (rollout/canary.go
    completedCurrentCanaryStep); a blue-green pauses once those of the preview are.
    """
    status = _status(rollout)
    if not is_under_way(rollout) or status.get("abort") or status.get("promoteFull"):
        return False
    _, step = _step(rollout)
    is_scaling = any(name in step for name in ("setWeight", "setCanaryScale")) or not step
    return bool(status.get("pauseConditions")) or not is_scaling


def ops(rollout: JSON, how: Takeback) -> list[Op]:
    """Build the guarded patch of the status that aborts what is under way, or promotes it fully.

    `kubectl argo rollouts abort` and `promote --full` write the same fields.
    """
    status = _status(rollout)
    name = "abort" if how is Takeback.ABORT else "promoteFull"
    return [
        {"op": "test", "path": "/metadata/uid", "value": rollout["metadata"]["uid"]},
        *(
            {"op": "test", "path": f"/status/{field}", "value": status.get(field)}
            for field in ("currentPodHash", "stableRS")
        ),
        {"op": "add", "path": f"/status/{name}", "value": True},
    ]


def stands(rollout: JSON, how: Takeback) -> bool:
    """Whether that was done already: aborted, or promoted or on its way there."""
    if how is Takeback.ABORT:
        return is_aborted(rollout)
    return not is_under_way(rollout) or bool(_status(rollout).get("promoteFull"))


def foretell(rollout: JSON, *, is_full: bool) -> str:
    """Say what a new template will meet: the steps and pauses that are taken anew; empty where nothing."""
    key = ref_of(rollout).key
    steps = steps_of(rollout)
    pauses = [
        str(number)
        for number, step in enumerate(steps, 1)
        if "pause" in step and (step["pause"] or {}).get("duration") is None
    ]
    blue_green = _strategy(rollout, "blueGreen")
    waits = f"waits for somebody at step {' and '.join(pauses)}" if pauses else ""
    if blue_green is not None:
        is_manual = blue_green.get("autoPromotionEnabled") is False
        waits = "waits for somebody before it is switched over" if is_manual else ""
    if not steps and not waits:
        return ""
    spec = rollout.get("spec") or {}
    revisions = (spec.get("rollbackWindow") or {}).get("revisions")
    unless = "its stable version goes back at once" + (
        f", and so does one of the last {revisions} (rollbackWindow)" if revisions else ""
    )
    kind = "canary" if blue_green is None else "preview"
    how = f", which {waits}" if waits else f" of {len(steps)} steps"
    promoted = "; it is promoted fully once its pods are ready (--full)" if is_full else ""
    if not promoted and waits:
        promoted = "; --full promotes it fully once its pods are ready"
    return f"{key}: another version starts a new {kind}{how}{promoted}; {unless}"
