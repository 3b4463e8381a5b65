"""Plans pauses: of named Applications, of many, of whole sets. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..argocd import application, applicationset, ownership
from ..argocd.application import application_of, living_application
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


def plan_pause(snapshot: Snapshot, keys: Sequence[Key], *, only: bool = False) -> Plan:
    """Turn auto-sync of Applications off so that it stays off."""
    whole = _whole_sets(snapshot, keys) if len(keys) > 1 else frozenset()
    steps: list[Edit] = []
    unchanged: list[StepResult] = []
    warnings: list[str] = []
    total = Protection()
    for key in keys:
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
    return joined("pause", total, steps, unchanged=unchanged, warnings=warnings, independent=len(keys) > 1)
