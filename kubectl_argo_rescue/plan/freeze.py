"""Plans a freeze: both controllers to 0, and what of them is stopped already. Pure."""

from __future__ import annotations

from ..argocd import controllers
from ..argocd.controllers import APPLICATIONS, SETS, Controller
from ..model.errors import Code, RefusedError
from ..model.text import COMMAND
from ..model.values import Edit, Key, Plan, Role, Snapshot, StepResult, StepStatus, ref_of

WHY = {
    APPLICATIONS: "nothing is synced, healed or deleted",
    SETS: "no Application is made, changed or deleted by a set",
}

ELSEWHERE = f"turn auto-sync off instead, one by one: {COMMAND} pause --all"
"""What to do where Argo CD's controllers cannot be stopped. A deletion that has begun goes on."""


def plan_freeze(snapshot: Snapshot) -> Plan:
    """Stop both controllers, each by its scale or by the operator's resource that makes it.

    Raises RefusedError where the application-controller is not in this cluster.
    """
    found = controllers.controllers_of(snapshot)
    argocd = snapshot.argocd
    off = {part: controllers.switched_off(snapshot, part) for part in controllers.PARTS}
    operated_here = controllers.operated(snapshot)
    if not any(c.part == APPLICATIONS for c in found) and not operated_here:
        raise RefusedError(
            f"no application-controller is in namespace {argocd.namespace}: it may run elsewhere, or under "
            "another name",
            f"nothing was changed; {ELSEWHERE}",
            code=Code.NO_ARGO_CD,
        )
    warnings = []
    if not any(c.part == SETS for c in found) and not operated_here:
        warnings.append(
            f"no applicationset-controller is in namespace {argocd.namespace}: where there is one elsewhere, "
            "it goes on"
        )
    steps: list[Edit] = []
    seen = {c.part for c in found}
    unchanged = [
        StepResult(ref_of(made), StepStatus.UNCHANGED, "stopped", detail=f"{part} is off already")
        for part, resources in off.items()
        if part not in seen
        for made in resources
    ]
    steps += [
        Edit(ref_of(made), (change,), f"no {part} is made: {WHY[part]}", Role.SCALE)
        for part in controllers.PARTS
        if part not in seen
        for made in controllers.switched_on(snapshot, part)
        if (change := controllers.switch_change(part, made))
    ]
    for controller in found:
        edit = _stopped(snapshot, controller)
        if edit is None:
            ref = ref_of(controller.scale)
            unchanged.append(StepResult(ref, StepStatus.UNCHANGED, "stopped", detail="already at 0"))
        else:
            steps.append(edit)
    return Plan("freeze", tuple(steps), tuple(unchanged), tuple(warnings), independent_from=0)


def _stopped(snapshot: Snapshot, controller: Controller) -> Edit | None:
    operated = controller.operated_by
    ref, reason = ref_of(controller.scale), f"{controller.part} to 0: {WHY[controller.part]}"
    change = controllers.stop_change(controller)
    if operated is not None and (made := snapshot.objects.get(operated.key)):
        # The operator puts a scale back at once; its own resource says whether there is a controller.
        # Where that says no already and the controller is still wanted, the operator does not act.
        if switch := controllers.switch_change(controller.part, made):
            ref, change = ref_of(made), switch
    return Edit(ref, (change,), reason, Role.SCALE) if change else None


def operated(snapshot: Snapshot) -> list[Key]:
    """Return the operator's resources that controllers are made of."""
    found = (c.operated_by for c in controllers.controllers_of(snapshot))
    return list(dict.fromkeys(ref.key for ref in found if ref))
