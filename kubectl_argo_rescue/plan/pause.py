"""Plans pauses: of named Applications, of many, of whole sets. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..argocd import application, applicationset, ownership
from ..argocd.application import application_of, living_application
from ..argocd.components import controller_of_sets
from ..argocd.operation import operation
from ..model.text import COMMAND, display_name
from ..model.values import Edit, Key, Plan, Role, Snapshot, StepResult, StepStatus, ref_of
from .owners import Protection, protect, stop_rolling_sync
from .plan import joined


def _whole_sets(snapshot: Snapshot, keys: Sequence[Key]) -> frozenset[Key]:
    """Return the ApplicationSets all of whose Applications, more than one, are among `keys`."""
    named = set(keys)
    members: dict[Key, list[Key]] = {}
    for key, app in snapshot.objects.items():
        for claim in ownership.claims(app, snapshot.argocd) if key.kind == "Application" else ():
            if claim.owner.kind == "ApplicationSet":
                members.setdefault(claim.owner, []).append(key)
    return frozenset(
        owner
        for owner, apps in members.items()
        if len(apps) > 1
        and named.issuperset(apps)
        and len(apps) >= len(applicationset.generated(snapshot.objects.get(owner, {})))
    )


def _pause_set(
    snapshot: Snapshot, key: Key, steps: list[Edit], unchanged: list[StepResult], *, only: bool
) -> Protection:
    """Have a set make new Applications alone: it writes and deletes none that is there."""
    owner, argocd = snapshot.objects[key], snapshot.argocd
    name, workload = display_name(key, argocd), controller_of_sets(snapshot)
    warnings = [f"whoever deletes ApplicationSet {name} itself still deletes its Applications"]
    if not (applicationset.has_policies(argocd) and applicationset.may_override(argocd, workload)):
        policy = applicationset.effective_policy(owner, argocd, workload)
        warnings.append(
            f"the controller does not let ApplicationSet {name} choose its policy: {policy} counts, whatever is "
            f"written; stop the controller: {COMMAND} freeze"
        )
    change = applicationset.create_only_change(owner)
    if change is None:
        unchanged.append(
            StepResult(ref_of(owner), StepStatus.UNCHANGED, "paused", detail="already create-only")
        )
        return Protection(warnings=warnings)
    steps.append(
        Edit(ref_of(owner), (change,), "create-only: no updates, no deletions by the set", Role.RULE)
    )
    total = Protection(warnings=warnings)
    total += protect(snapshot, owner, (change,), only=only)
    return total


def plan_pause(
    snapshot: Snapshot, keys: Sequence[Key], *, only: bool = False, is_selection: bool = False
) -> Plan:
    """Turn auto-sync of Applications off so that it stays off; have ApplicationSets write none of theirs.

    `is_selection` says that nobody named them one by one: at a terminal their number is asked about.
    """
    whole = _whole_sets(snapshot, keys) if len(keys) > 1 else frozenset()
    steps: list[Edit] = []
    unchanged: list[StepResult] = []
    warnings: list[str] = []
    total = Protection()
    for key in keys:
        if key.kind == "ApplicationSet":
            total += _pause_set(snapshot, key, steps, unchanged, only=only)
            continue
        app = (application_of if len(keys) > 1 else living_application)(snapshot, key)
        name = display_name(key, snapshot.argocd)
        if app["metadata"].get("deletionTimestamp"):
            unchanged.append(
                StepResult(ref_of(app), StepStatus.UNCHANGED, "paused", detail="it is being deleted")
            )
            continue
        change = application.pause_change(app, snapshot.argocd)
        if change is None:
            total += stop_rolling_sync(snapshot, app, only=only)
            unchanged.append(StepResult(ref_of(app), StepStatus.UNCHANGED, "paused", detail="already paused"))
            continue
        total += protect(snapshot, app, (change,), only=only, whole_sets=whole)
        running = operation(app)
        if running.present and running.is_automated:
            warnings.append(
                f"{name} has an operation in progress ({running.describe()}) which a pause does not stop; "
                f"end it: {COMMAND} terminate {display_name(key, snapshot.argocd)}"
            )
        steps.append(Edit(ref_of(app), (change,), "auto-sync off", Role.PAUSE))
    asides = [f"Pause auto-sync of {len(steps)} applications?"] if is_selection and len(steps) > 1 else []
    return joined(
        "pause",
        total,
        steps,
        unchanged=unchanged,
        warnings=warnings,
        independent=len(keys) > 1,
        asides=asides,
    )
