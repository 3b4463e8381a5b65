"""Who would put an edit back: an object's owners as Argo CD sees them, and what they revert how soon."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ..model.patches import show_path
from ..model.text import one_line
from ..model.values import (
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
from . import application, globs

TRACKING_ID = "argocd.argoproj.io/tracking-id"
INSTALLATION_ID = "argocd.argoproj.io/installation-id"
DEFAULT_LABEL = "app.kubernetes.io/instance"
"""Helm charts set it as well, so it says something only where tracking is by it."""
OWN_LABEL = "argocd.argoproj.io/instance"
"""The usual other label: only an Argo CD sets it, this one or another."""


class Claim(Struct, frozen=True):
    """An owner as the object itself names it; whether the owner agrees is another question."""

    owner: Key
    """Without a namespace where it belongs to another Argo CD, wherever that is."""
    by: str
    """ownerReference, tracking-id or label."""
    is_certain: bool = False
    """It is the set that controls the object: what its own list says does not matter."""


def instance_key(value: str, argocd: ArgoCD) -> Key:
    """Return the Application of an instance name: `name`, or `namespace_name` elsewhere.

    Argo CD: types.go InstanceName. `_` is legal in no Kubernetes name, so the first one separates.
    """
    namespace, separator, name = value.partition("_")
    if separator:
        return Key("Application", namespace, name)
    return Key("Application", argocd.namespace, value)


class _Mark(NamedTuple):
    """What the tracking id of an object says."""

    text: str
    owner: Key
    """Without a namespace where it is of another Argo CD and does not say it."""
    is_own: bool
    """It is about this very object; what was copied from another one Argo CD ignores as well."""
    is_ours: bool
    """It is of this Argo CD, as far as that is said."""


def _tracking(obj: JSON, argocd: ArgoCD) -> _Mark | None:
    """Argo CD: util/argo/resource_tracking.go getAppInstanceValue, controller/state.go isSelfReferencedObj."""
    me = obj["metadata"]
    annotations = me.get("annotations") or {}
    text = str(annotations.get(TRACKING_ID, ""))
    if not text:
        return None
    instance, _, rest = text.partition(":")
    what, _, place = rest.partition(":")
    namespace, _, name = place.partition("/")
    group = str(obj.get("apiVersion") or f"{GROUP}/").rpartition("/")[0]
    is_own = (what, name) == (f"{group}/{obj['kind']}", me["name"])
    owner = instance_key(instance, argocd)
    is_ours = not argocd.installation_id or annotations.get(INSTALLATION_ID) == argocd.installation_id
    if not is_ours and "_" not in instance:
        owner = Key("Application", "", owner.name)
    return _Mark(text, owner, is_own and namespace in (me.get("namespace", ""), ""), is_ours)


def _reference_claims(me: JSON) -> list[Claim]:
    """Read ownerReferences: a set that generates the object, an app, another controller; no mere parents."""
    found = []
    for r in me.get("ownerReferences") or ():
        group = str(r.get("apiVersion", "")).rpartition("/")[0]
        kind, controls = str(r.get("kind", "")), bool(r.get("controller"))
        if group == GROUP and kind in ("Application", "ApplicationSet"):
            is_certain = controls and kind == "ApplicationSet"
            found.append(Claim(Key(kind, me.get("namespace", ""), r["name"]), "ownerReference", is_certain))
        elif controls:
            whole = f"{kind}.{group}" if group else f"{kind}.core"
            found.append(Claim(Key(whole, me.get("namespace", ""), r["name"]), "ownerReference"))
    return found


def claims(obj: JSON, argocd: ArgoCD) -> tuple[Claim, ...]:
    """Return all owners that an object names, by whatever sign.

    Argo CD tracks only objects without ownerReferences by their marks (controller/cache/cache.go), but
    it compares and applies what is in git whatever references are there; and a mark that is not this
    Argo CD's method may be the method of another.
    """
    me = obj["metadata"]
    found = _reference_claims(me)
    mark = _tracking(obj, argocd)
    tracked = mark.owner if mark and mark.is_own else None
    if tracked:
        found.append(Claim(tracked, "tracking-id"))
    labels = me.get("labels") or {}
    for name in dict.fromkeys((argocd.instance_label, OWN_LABEL)):
        if name == DEFAULT_LABEL and (argocd.tracking is not Tracking.LABEL or is_generated(found)):
            continue
        value = labels.get(name, "")
        owner = instance_key(value, argocd)
        is_said = tracked and (tracked.name == owner.name or _is_cut(value, tracked.name, owner.name))
        if value and not is_said:
            found.append(Claim(owner, "label"))
    return tuple(found)


def _is_cut(label: str, whole: str, part: str) -> bool:
    return len(label) == 63 and whole.startswith(part)


def weak_label(obj: JSON) -> str:
    """Return what a label says that both Helm charts and an Argo CD set; empty where there is none."""
    return str((obj["metadata"].get("labels") or {}).get(DEFAULT_LABEL, ""))


def is_generated(claimed: Iterable[Claim]) -> bool:
    """Whether an ApplicationSet controls the object, whose marks are then its template's own."""
    return any(c.is_certain for c in claimed)


def confirms(owner: JSON, key: Key) -> bool | None:
    """Whether the owner's own list of resources has the object; None where the list says nothing."""
    if application.lists(owner, key):
        return True
    listed = application.managed_resources(owner)
    if owner["kind"] == "ApplicationSet":
        # A long list is cut (`resourcesCount`).
        is_whole = (owner.get("status") or {}).get("resourcesCount", len(listed)) <= len(listed)
        return False if listed and is_whole else None
    if not listed or application.sync_status(owner) == "Unknown":
        return None
    return False


def serving(owner: JSON, argocd: ArgoCD) -> ArgoCD:
    """Return the Argo CD that acts on an Application; of another one than ours no version is known."""
    there = (owner.get("status") or {}).get("controllerNamespace") or argocd.namespace
    return argocd if there == argocd.namespace else ArgoCD(there)


class Reach(Enum):
    """Whether an Application deploys into the cluster that we look at."""

    HERE = "here"
    AWAY = "away"
    """It manages an object of the same name in another cluster."""
    UNKNOWN = "unknown"


def destination(owner: JSON) -> str:
    """Name the cluster that an Application deploys into, as its spec does."""
    found = (owner.get("spec") or {}).get("destination") or {}
    return str(found.get("server") or found.get("name") or "")


def reach(snapshot: Snapshot, owner: JSON, obj: JSON) -> Reach:
    """Say whether an Application that lists `obj` means this object, or one of that name elsewhere.

    A cluster may have many addresses, so another one than ours proves nothing. What does: the owner
    lists the object as Synced, and this one lacks the mark that Argo CD puts on all that it compares.
    """
    to = destination(owner)
    server = snapshot.clusters.get(to, to).rstrip("/")
    if owner["kind"] != "Application" or server in ("", "in-cluster") or application.is_local(server):
        return Reach.HERE
    if server.casefold() == snapshot.server.rstrip("/").casefold():
        return Reach.HERE
    line = application.lists(owner, ref_of(obj).key)
    if line and line.get("status") == "Synced" and not _is_marked(obj, owner):
        return Reach.AWAY
    return Reach.UNKNOWN


def _is_marked(obj: JSON, owner: JSON) -> bool:
    """Whether the object has any mark of the owner, by annotation or by whatever label."""
    me, whose = obj["metadata"], owner["metadata"]
    names = {whose["name"], f"{whose.get('namespace', '')}_{whose['name']}"}
    tracked = (me.get("annotations") or {}).get(TRACKING_ID, "").partition(":")[0]
    return tracked in names or not {n[:63] for n in names}.isdisjoint((me.get("labels") or {}).values())


class Reversion(Struct, frozen=True):
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
    if not application.is_auto_sync_on(owner) or application.is_skipping_reconcile(owner):
        return None
    if owner["metadata"].get("deletionTimestamp"):
        return None  # Argo CD: appcontroller.go autoSync
    speeds = [_speed(owner, obj, change) for change in changes]
    if not any(speeds):
        return None
    key = application.key_of(owner)
    drifts = "drift" in speeds and application.is_self_heal_on(owner)
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


_JQ = r'(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]*"))+'


def plain_jq(expression: str) -> str:
    """Turn a jq path that is a plain path into a JSON pointer; empty where it is more than that."""
    expression = expression.strip()
    return expression.replace('"', "").replace(".", "/") if re.fullmatch(_JQ, expression) else ""


def owners_of(snapshot: Snapshot, obj: JSON) -> list[tuple[Key, str]]:
    """Return all owners of an object and how they are known: by its own signs, or as they list it.

    An owner that is named and not in the snapshot is among them: it is elsewhere, or may not be read.
    One that deploys an object of the same name into another cluster is not.
    """
    key = ref_of(obj).key
    question = ("owners", key)
    if snapshot.objects.get(key) is not obj:
        return _owners_of(snapshot, obj, key)
    if question not in snapshot.answers:
        snapshot.answers[question] = _owners_of(snapshot, obj, key)
    answer: list[tuple[Key, str]] = snapshot.answers[question]
    return answer


def _owners_of(snapshot: Snapshot, obj: JSON, key: Key) -> list[tuple[Key, str]]:
    objects = snapshot.objects
    listers = snapshot.listed_by.get(key, ())
    found: dict[Key, str] = {}
    denied: dict[Key, str] = {}
    for claim in claims(obj, snapshot.argocd):
        owner = objects.get(claim.owner)
        is_agreed = claim.is_certain or claim.owner in listers
        if owner is not None and not is_agreed and confirms(owner, key) is False:
            if claim.owner != key:  # else a label with the app's own name
                denied[Key("Application", "", claim.owner.name)] = claim.by
            continue
        namesakes = [] if owner is not None else _namesakes(snapshot, claim.owner, key)
        for named in namesakes or [claim.owner]:
            found.setdefault(named, claim.by)
    for lister in listers:
        found.setdefault(lister, "status.resources")
    if not found and not obj["metadata"].get("ownerReferences"):
        # Argo CD lists whatever has its mark: this is the mark of another one, with an app of that name.
        found.update(denied)
    return [
        (k, by)
        for k, by in found.items()
        if k not in objects or reach(snapshot, objects[k], obj) is not Reach.AWAY
    ]


def _namesakes(snapshot: Snapshot, owner: Key, key: Key) -> list[Key]:
    """Return the Applications of that name in the own namespaces of other Argo CDs which may own `key`."""
    if owner.kind != "Application" or owner.namespace not in ("", snapshot.argocd.namespace):
        return []
    found = []
    for other in snapshot.named.get(owner.name, ()):
        app = snapshot.objects[other]
        if (
            other != key
            and serving(app, ArgoCD(other.namespace)).namespace == other.namespace
            and confirms(app, key) is not False
        ):
            found.append(other)
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


def is_elsewhere(snapshot: Snapshot, owner: Key) -> bool:
    """Whether an owner that was named was looked for and not found."""
    return owner not in snapshot.objects and (owner in snapshot.missing or not owner.namespace)


def where_not(snapshot: Snapshot) -> str:
    """Say where an owner is not that is elsewhere."""
    if snapshot.is_whole:
        return "this cluster"
    return f"namespace {snapshot.argocd.namespace}, and other namespaces may not be looked at"


# -- the application that owns a workload


class Tracked(Struct, frozen=True):
    """The Application that an object says it belongs to, or what it says instead."""

    owner: Key | None
    by: str = ""
    note: str = ""


def tracked_by(obj: JSON, argocd: ArgoCD) -> Tracked:
    """Read which Application tracks any object (Argo CD: util/argo/resource_tracking.go getAppInstanceValue)."""
    label = (obj["metadata"].get("labels") or {}).get(argocd.instance_label, "")
    if argocd.tracking.value == "label":
        return Tracked(instance_key(label, argocd), "label") if label else Tracked(None)
    note = ""
    if label:
        note = f"its label {argocd.instance_label}={one_line(label)} means nothing where tracking is by annotation"
    mark = _tracking(obj, argocd)
    if mark is None:
        return Tracked(None, note=note)
    if not mark.is_ours:
        return Tracked(None, note="its tracking id is of another Argo CD (installation-id)")
    if not mark.is_own:
        return Tracked(None, note=f"its tracking id {one_line(mark.text)} was copied from another object")
    return Tracked(mark.owner, "tracking id")


def not_of(obj: JSON, key: Key, argocd: ArgoCD) -> Tracked | None:
    """Return what an object is instead of an Application's own; None where its tracking names that one.

    What an Application lists it means by name: in another cluster, or of two Applications with one
    object, the object itself tells whose it is.
    """
    methods = (argocd.tracking,) if argocd.settings_are_known else (Tracking.ANNOTATION, Tracking.LABEL)
    found = [tracked_by(obj, replace(argocd, tracking=method)) for method in methods]
    tracked = next((t for t in found if t.owner), found[0])
    return None if tracked.owner == key else tracked
