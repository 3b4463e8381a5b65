"""Plans how Applications go without their workloads, and how they are made anew. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Final

from ..argocd import application, deletion, ownership
from ..argocd.application import application_of
from ..argocd.controllers import is_frozen
from ..model.patches import applied
from ..model.text import display_name, some
from ..model.values import (
    ABSENT,
    JSON,
    Change,
    Creation,
    Edit,
    FieldChange,
    Key,
    Path,
    Plan,
    Ref,
    Removal,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from .owners import Protection, protect
from .plan import joined

FINALIZERS: Final[Path] = ("metadata", "finalizers")
OWNERS: Final[Path] = ("metadata", "ownerReferences")
SKIP: Final[Path] = ("metadata", "annotations", deletion.SKIP_RECONCILE)
AUTOMATED: Final[Path] = ("spec", "syncPolicy", "automated")

REASON: Final = "its workloads stay"


def plan_orphan(snapshot: Snapshot, keys: Sequence[Key], *, only: bool = False) -> Plan:
    """Let Applications go without their workloads: held, Argo CD's finalizers off, dead owners off.

    What lives is deleted afterwards (`removals`), as it is then.
    """
    steps: list[Edit] = []
    unchanged: list[StepResult] = []
    warnings: list[str] = []
    total = Protection()
    for key in keys:
        app = application_of(snapshot, key)
        name = display_name(key, snapshot.argocd)
        changes = _changes(snapshot, app)
        if deletion.is_dying(app) and not any(c.path == FINALIZERS for c in changes):
            unchanged.append(
                StepResult(
                    ref_of(app), StepStatus.UNCHANGED, "let go", detail="nothing of Argo CD's holds it"
                )
            )
            continue
        is_watched = _is_owner_alive(snapshot, app) and not is_frozen(snapshot)
        if not deletion.is_dying(app) or is_watched:
            # Without finalizers as well, an owner that lives would make it anew at once. A dying one of a
            # frozen Argo CD goes before anybody looks; its owner may make it anew at the thaw, and adopts.
            held = changes if any(c.path == FINALIZERS for c in changes) else (*changes, _MARK)
            total += protect(snapshot, app, held, only=only)
        steps.append(Edit(ref_of(app), tuple(changes), REASON, Role.ORPHAN))
        warnings += _warnings(snapshot, app, name)
    return joined("orphan", total, steps, unchanged=unchanged, warnings=warnings, independent=len(keys) > 1)


_MARK: Final = FieldChange(FINALIZERS, [deletion.CASCADE], ABSENT)
"""Stands for the end of an Application that has no finalizers."""


def _changes(snapshot: Snapshot, app: JSON) -> list[FieldChange]:
    meta = app["metadata"]
    changes = []
    if not application.is_skipping_reconcile(app):
        before = (meta.get("annotations") or {}).get(deletion.SKIP_RECONCILE, ABSENT)
        changes.append(FieldChange(SKIP, before, "true"))
    finalizers = meta.get("finalizers") or []
    rest = [f for f in finalizers if not deletion.is_own(f)]
    if rest != finalizers:
        changes.append(FieldChange(FINALIZERS, list(finalizers), rest or ABSENT))
    owners = meta.get("ownerReferences") or []
    alive = living_references(snapshot, app)
    if alive != owners:
        changes.append(FieldChange(OWNERS, list(owners), alive or ABSENT))
    return changes


def living_references(snapshot: Snapshot, app: JSON) -> list[JSON]:
    """Return the ownerReferences of an Application but for ApplicationSets that are gone or dying.

    The garbage collector deletes what all of its owners left.
    """
    namespace = app["metadata"].get("namespace", "")

    def lives(owner: JSON) -> bool:
        if owner.get("kind") != "ApplicationSet":
            return True
        key = Key("ApplicationSet", namespace, str(owner.get("name")))
        live = snapshot.objects.get(key)
        if live is None:
            return key not in snapshot.missing
        return live["metadata"].get("uid") == owner.get("uid") and not deletion.is_dying(live)

    return [owner for owner in app["metadata"].get("ownerReferences") or () if lives(owner)]


def _is_owner_alive(snapshot: Snapshot, app: JSON) -> bool:
    owners = (snapshot.objects.get(key) for key, _ in ownership.owners_of(snapshot, app))
    return any(owner is not None and not deletion.is_dying(owner) for owner in owners)


def _warnings(snapshot: Snapshot, app: JSON, name: str) -> Iterable[str]:
    if hooks := deletion.hooks_left_out(app):
        yield f"{' and '.join(hooks)} hooks of {name} do not run"
    foreign = [f for f in app["metadata"].get("finalizers") or () if not deletion.is_own(f)]
    if foreign:
        yield f"{name} stays until others let it go: {some(foreign)}"
    if deletion.is_dying(app) and deletion.is_cascading(app):
        if not is_frozen(snapshot) and not application.is_skipping_reconcile(app):
            yield (
                f"Argo CD runs and may have taken the deletion of {name} up already: nothing is promised of its "
                "workloads; freeze first where more is to be deleted"
            )


def removals(apps: Iterable[JSON]) -> list[Removal]:
    """Return the deletion of each Application that lives, only as it is now."""
    return [
        Removal(ref_of(a), REASON, resource_version=a["metadata"]["resourceVersion"])
        for a in apps
        if not deletion.is_dying(a)
    ]


# -- made anew


def anew(snapshot: Snapshot, saved: JSON) -> Creation:
    """Return the Application as it was saved, without finalizers, dead owners and auto-sync."""
    obj = copy.deepcopy(saved)
    meta = obj["metadata"]
    meta.pop("finalizers", None)
    owners = living_references(snapshot, obj)
    meta.pop("ownerReferences", None)
    if owners:
        meta["ownerReferences"] = owners
    annotations = meta.get("annotations") or {}
    annotations.pop(deletion.SKIP_RECONCILE, None)
    annotations.pop("argocd.argoproj.io/refresh", None)
    pause = application.pause_change(obj, snapshot.argocd)
    if pause is not None:
        obj = applied(obj, (pause,))
    if "status" in obj:
        obj["status"] = {"sync": {"status": "Unknown"}, **obj["status"]}
    ref = Ref("Application", meta.get("namespace", ""), meta["name"], "")
    return Creation(ref, "made anew as it was saved, without auto-sync and finalizers", obj=obj)


def who_would_prune(snapshot: Snapshot, saved: JSON) -> list[str]:
    """Name the Applications that would prune one that is made anew: they are its owners and do not list it."""
    key = Key("Application", saved["metadata"].get("namespace", ""), saved["metadata"]["name"])
    found = []
    for claim in ownership.claims(saved, snapshot.argocd):
        owner = snapshot.objects.get(claim.owner)
        if claim.owner.kind != "Application" or owner is None or claim.owner == key:
            continue
        block = application.automated(owner)
        prunes = isinstance(block, dict) and block.get("prune") is True
        line = application.lists(owner, key)
        if application.is_auto_sync_on(owner) and prunes and (line is None or line.get("requiresPruning")):
            found.append(display_name(claim.owner, snapshot.argocd))
    return found


def release(saved: JSON, live: JSON) -> list[Edit]:
    """Return what one that was made anew gets once it agrees with git: finalizers, then auto-sync."""
    ref = ref_of(live)
    meta = saved["metadata"]
    changes: list[Change] = []
    if meta.get("finalizers") and meta["finalizers"] != live["metadata"].get("finalizers"):
        before = live["metadata"].get("finalizers") or ABSENT
        changes.append(FieldChange(FINALIZERS, before, meta["finalizers"]))
    edits = [Edit(ref, tuple(changes), "as it was saved", Role.ORPHAN)] if changes else []
    wanted, now = application.automated(saved), application.automated(live)
    if wanted != now and wanted is not ABSENT:
        change = FieldChange(AUTOMATED, now, wanted)
        edits.append(Edit(ref, (change,), "as it was saved", Role.PAUSE))
    return edits
