"""Plans how Applications go without their workloads, and how they are made anew. Pure."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct, field

from ..argocd import application, applicationset, deletion, ownership
from ..argocd.application import application_of
from ..argocd.components import controller_of_sets
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


class Pruners(Struct):
    """Owners that do not want one that is to be made anew, and would take it away again."""

    certain: list[tuple[str, str]] = field(default_factory=list)
    """What each would do, and what to pause against it."""
    unknown: list[str] = field(default_factory=list)
    """What cannot be said of those that were not read."""


def who_would_prune(snapshot: Snapshot, saved: JSON, made_anew: Collection[Key]) -> Pruners:
    """Find the owners that would delete one that is made anew, by every sign of an owner.

    Those of `made_anew` are held themselves. What tracking names and nobody saw is not taken for gone.
    """
    found = Pruners()
    key, argocd = ref_of(saved).key, snapshot.argocd
    claimed = {c.owner: c.by for c in ownership.claims(saved, argocd) if c.owner != key}
    owners = {**claimed, **dict(ownership.owners_of(snapshot, saved))}
    seen = {owner.name for owner in owners if owner in snapshot.objects}
    for owner_key, by in owners.items():
        if owner_key.kind != "Application" or owner_key in made_anew:
            continue
        owner = snapshot.objects.get(owner_key)
        if owner is None:
            if owner_key.name not in seen:
                found.unknown.append(_why_unknown(snapshot, owner_key, by, display_name(key, argocd)))
            continue
        block = application.automated(owner)
        prunes = isinstance(block, dict) and block.get("prune") is True
        line = application.lists(owner, key)
        if application.is_auto_sync_on(owner) and prunes and (line is None or line.get("requiresPruning")):
            owner_name = display_name(owner_key, argocd)
            found.certain.append((f"{owner_name} does not list it, and prunes", owner_name))
    _add_sets(found, snapshot, saved)
    return found


def _add_sets(found: Pruners, snapshot: Snapshot, saved: JSON) -> None:
    """Add living sets that may delete: what one gives it would have made anew by itself."""
    argocd, workload = snapshot.argocd, controller_of_sets(snapshot)
    for reference in living_references(snapshot, saved):
        if reference.get("kind") != "ApplicationSet":
            continue
        key = Key("ApplicationSet", saved["metadata"].get("namespace", ""), str(reference.get("name")))
        owner, name = snapshot.objects.get(key), display_name(ref_of(saved).key, argocd)
        if owner is None:
            found.unknown.append(_why_unknown(snapshot, key, "ownerReferences", name))
        elif applicationset.may_delete(owner, argocd, workload):
            said = f"ApplicationSet {key.name} has not made it anew, and deletes what it does not give"
            found.certain.append((said, f"appset/{key.name}"))


def _why_unknown(snapshot: Snapshot, owner: Key, by: str, name: str) -> str:
    text = f"whether {owner} would prune {name}, with its workloads, is not known: its {by} names it, and it "
    if ownership.is_elsewhere(snapshot, owner):
        return f"{text}is elsewhere, not in {ownership.where_not(snapshot)}"
    return f"{text}may not be read"


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
