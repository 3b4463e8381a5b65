"""Who would put an edit back: an object's owners as Argo CD sees them, and what they revert how soon."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from . import applications, globs
from .model import (
    ABSENT,
    FIELD_MANAGER,
    GROUP,
    JSON,
    ArgoCD,
    Change,
    Key,
    MemberChange,
    Path,
    Snapshot,
    Tracking,
    ref_of,
)
from .patches import show_path

TRACKING_ID = "argocd.argoproj.io/tracking-id"
INSTALLATION_ID = "argocd.argoproj.io/installation-id"


@dataclass(frozen=True, slots=True)
class Claim:
    """An owner as the object itself names it; whether the owner agrees is another question."""

    owner: Key
    by: str
    """ownerReference, tracking-id or label."""


def instance_key(value: str, argocd: ArgoCD) -> Key:
    """Return the Application of an instance name: `name`, or `namespace_name` elsewhere.

    Argo CD: types.go InstanceName. `_` is legal in no Kubernetes name, so the first one separates.
    """
    namespace, separator, name = value.partition("_")
    if separator:
        return Key("Application", namespace, name)
    return Key("Application", argocd.namespace, value)


def _tracking_claim(obj: JSON, argocd: ArgoCD) -> Key | None:
    """Argo CD: util/argo/resource_tracking.go getAppInstanceValue, and the self-reference of state.go."""
    annotations = obj["metadata"].get("annotations") or {}
    value = annotations.get(TRACKING_ID, "")
    if not value or (argocd.installation_id and annotations.get(INSTALLATION_ID) != argocd.installation_id):
        return None
    parts = value.split(":", 2)
    if len(parts) != 3:
        return None
    group, _, kind = parts[1].partition("/")
    namespace, _, name = parts[2].partition("/")
    me = obj["metadata"]
    if (group, kind, name) != ("argoproj.io", obj["kind"], me["name"]) or namespace not in (
        me.get("namespace", ""),
        "",
    ):
        return None  # copied from another object: Argo CD ignores it as well
    return instance_key(parts[0], argocd)


def claims(obj: JSON, argocd: ArgoCD) -> tuple[Claim, ...]:
    """Return the owners that an object names: its ApplicationSet, or the Application that tracks it.

    Only an object without ownerReferences is tracked directly (Argo CD: controller/cache/cache.go).
    """
    me = obj["metadata"]
    references = me.get("ownerReferences") or []
    for r in references:
        if (
            r.get("controller")
            and r.get("kind") == "ApplicationSet"
            and str(r.get("apiVersion", "")).startswith("argoproj.io/")
        ):
            return (Claim(Key("ApplicationSet", me.get("namespace", ""), r["name"]), "ownerReference"),)
    if references:
        return ()
    if argocd.tracking is Tracking.LABEL:
        label = (me.get("labels") or {}).get(argocd.instance_label, "")
        return (Claim(instance_key(label, argocd), "label"),) if label else ()
    tracked = _tracking_claim(obj, argocd)
    return (Claim(tracked, "tracking-id"),) if tracked else ()


def confirms(owner: JSON, key: Key) -> bool | None:
    """Whether the owner's own list of resources has the object; None where the list says nothing."""
    if applications.lists(owner, key):
        return True
    if not applications.managed_resources(owner) or applications.sync_status(owner) == "Unknown":
        return None
    return False


@dataclass(frozen=True, slots=True)
class Reversion:
    """That an owner would put an edit back, and how soon."""

    owner: Key
    how_soon: str
    soon: bool
    """By itself within seconds; False where a commit, a sync or a window must come first."""

    def describe(self) -> str:
        """Say it in one phrase."""
        return f"{self.owner} would revert it {self.how_soon}"


def reverts(
    owner: JSON, obj: JSON, changes: Sequence[Change], *, frozen_until: str | None = None
) -> Reversion | None:
    """Say whether an Application would put `changes` of its child `obj` back, and how soon.

    `frozen_until` says until when a sync window keeps the owner from acting by itself, None where
    nothing does. Argo CD: appcontroller.go autoSync, alreadyAttemptedSync; gitops-engine diff.go.
    """
    if not applications.is_auto_sync_on(owner) or applications.is_skipping_reconcile(owner):
        return None
    if owner["metadata"].get("deletionTimestamp"):
        return None  # Argo CD: appcontroller.go autoSync
    speeds = [_speed(owner, obj, change) for change in changes]
    if not any(speeds):
        return None
    key = applications.key_of(owner)
    drifts = "drift" in speeds and applications.is_self_heal_on(owner)
    if drifts and frozen_until is None:
        return Reversion(key, "within seconds (auto-sync with self-heal)", True)
    if drifts:
        return Reversion(key, f"as soon as its sync window lets it ({frozen_until})", False)
    return Reversion(key, "with its next sync (auto-sync is on: the next commit is enough)", False)


def _speed(owner: JSON, obj: JSON, change: Change) -> str:
    """`drift` where live and git differ by it, `sync` where only an apply would wipe it, else empty."""
    options = ((owner.get("spec") or {}).get("syncPolicy") or {}).get("syncOptions") or []
    annotations = obj["metadata"].get("annotations") or {}
    replaces = "Replace=true" in options or "Replace=true" in annotations.get(
        "argocd.argoproj.io/sync-options", ""
    )
    ignored = is_ignored(owner, obj, change.path)
    if ignored and "RespectIgnoreDifferences=true" in options:
        return ""
    if isinstance(change, MemberChange):
        added_key = change.sole and change.present
    else:
        added_key = change.before is ABSENT
    if added_key and all(isinstance(step, str) for step in change.path):
        return "sync" if replaces else ""
    # A key added inside a list item is no drift, but the next apply replaces the list.
    return "sync" if added_key or ignored else "drift"


def is_drift(owner: JSON, obj: JSON, change: Change) -> bool:
    """Whether an Application's comparison shows its child as OutOfSync because of `change` alone."""
    return _speed(owner, obj, change) == "drift"


def is_ignored(owner: JSON, obj: JSON, path: Path) -> bool:
    """Whether a rule of the owner's `ignoreDifferences` covers the field.

    jqPathExpressions are understood where they are plain paths; others count as not covering,
    which at worst pauses an owner that need not be.
    """
    where = show_path(path)
    for rule in _rules((owner.get("spec") or {}).get("ignoreDifferences") or (), obj):
        pointers = [*(rule.get("jsonPointers") or ())]
        pointers += [plain_jq(e) for e in rule.get("jqPathExpressions") or ()]
        if any(p and (where == p or where.startswith(p + "/")) for p in pointers):
            return True
    return False


def may_hide(owner: JSON, obj: JSON, path: Path, argocd: ArgoCD) -> bool:
    """Whether a rule may keep the field out of the owner's comparison, so that Synced says nothing of it.

    The opposite caution of `is_ignored`: a jq expression that is not understood counts as covering,
    and so does a rule for what this tool manages. Argo CD: util/argo/normalizers/diff_normalizer.go.
    """
    where = show_path(path)
    rules = [*((owner.get("spec") or {}).get("ignoreDifferences") or ()), *argocd.ignored]
    for rule in _rules(rules, obj):
        if FIELD_MANAGER in (rule.get("managedFieldsManagers") or ()):
            return True
        pointers = [*(rule.get("jsonPointers") or ())]
        pointers += [plain_jq(e) for e in rule.get("jqPathExpressions") or ()]
        if any(not p or f"{where}/".startswith(f"{p}/") or f"{p}/".startswith(f"{where}/") for p in pointers):
            return True
    return False


def _rules(rules: Iterable[JSON], obj: JSON) -> Iterator[JSON]:
    """Yield those of `ignoreDifferences` that are for this argoproj.io object."""
    me = obj["metadata"]
    for rule in rules:
        if not globs.match(str(rule.get("group") or ""), GROUP) or not globs.match(
            str(rule.get("kind") or ""), obj["kind"]
        ):
            continue
        if rule.get("name") and rule["name"] != me["name"]:
            continue
        if rule.get("namespace") and rule["namespace"] != me.get("namespace", ""):
            continue
        yield rule


_JQ = re.compile(r'(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]*"))+')


def plain_jq(expression: str) -> str:
    """Turn a jq path that is a plain path into a JSON pointer; empty where it is more than that."""
    expression = expression.strip()
    return expression.replace('"', "").replace(".", "/") if _JQ.fullmatch(expression) else ""


def owners_of(snapshot: Snapshot, obj: JSON) -> list[tuple[Key, str]]:
    """Return an object's owners and how they are known: its own claim, else whoever lists it.

    A claim counts unless the owner exists and its own list says otherwise.
    """
    key = ref_of(obj).key
    found: list[tuple[Key, str]] = []
    for claim in claims(obj, snapshot.argocd):
        owner = snapshot.objects.get(claim.owner)
        if owner is None or claim.owner.kind == "ApplicationSet" or confirms(owner, key) is not False:
            found.append((claim.owner, claim.by))
    known = {owner for owner, _ in found}
    if not (obj["metadata"].get("ownerReferences") or ()):
        found += [(k, "status.resources") for k in snapshot.listed_by.get(key, ()) if k not in known]
    return found


def named_owners(snapshot: Snapshot, key: Key) -> list[Key]:
    """Return all that are said to own an object, there or not."""
    obj = snapshot.objects.get(key)
    return [] if obj is None else [owner for owner, _ in owners_of(snapshot, obj)]


def owning_applications(snapshot: Snapshot, key: Key) -> list[Key]:
    """Return the existing Applications and ApplicationSets that own an object."""
    return [owner for owner in named_owners(snapshot, key) if owner in snapshot.objects]


def ancestors(snapshot: Snapshot, keys: Sequence[Key]) -> list[Key]:
    """Return all owners of the objects and theirs, nearest first."""
    found: list[Key] = []
    pending = list(keys)
    while pending:
        key = pending.pop(0)
        for owner in owning_applications(snapshot, key):
            if owner not in found and owner not in keys:
                found.append(owner)
                pending.append(owner)
    return found
