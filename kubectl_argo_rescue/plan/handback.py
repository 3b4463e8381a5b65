"""How Argo CD is asked what it would do without anything moving: holds, candidates, what counts as agreement. Pure.

An Application is held twice while another version stands in its spec: its own auto-sync is off, and
a sync window of our own for it alone stops whoever presses Sync as well. What is tried, in order:
the saved original, then what its owner says now.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application, applicationset, ownership
from ..argocd.application import project_key
from ..argocd.components import controller_of_sets
from ..argocd.handback import Evidence, Handback, auto_sync_says, git_says
from ..argocd.operation import INFO_NAME, operation
from ..argocd.reconciliation import windows_allow
from ..argocd.windows import are_operations_held, hold_window
from ..model import patches
from ..model.text import display_name
from ..model.values import (
    ABSENT,
    JSON,
    Change,
    Edit,
    FieldChange,
    Key,
    MemberChange,
    Order,
    OrderKind,
    Path,
    Role,
    Snapshot,
    WorkloadRollback,
    ref_of,
)
from .owners import protect

WINDOWS: Path = ("spec", "syncWindows")
POLICY: Path = ("spec", "syncPolicy")
REFRESH = "argocd.argoproj.io/refresh"
HYDRATOR = application.SourceKind.HYDRATOR
WHY = "held while Argo CD is asked what it would do"


class Candidate(Enum):
    """What is put into a held Application to see whether Argo CD would change anything."""

    ORIGINAL = "the saved original"
    OWNER = "what its owner says now"


class Hold(Struct, frozen=True):
    """What keeps one Application from acting while something is tried, or why nothing can."""

    key: Key
    window: Edit | None = None
    off: Edit | None = None
    rule: Edit | None = None
    """What keeps its ApplicationSet from switching auto-sync on again."""
    why_not: str = ""
    """Why there is no hold; else why there is no window."""

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits, in the order of placing them; taken away the other way round."""
        return tuple(e for e in (self.window, self.rule, self.off) if e is not None)

    def allows(self, candidate: Candidate) -> bool:
        """Whether it is enough for that candidate: without a window only for what no owner writes."""
        return self.window is not None or (self.off is not None and candidate is Candidate.ORIGINAL)


def plan_hold(snapshot: Snapshot, key: Key, *, may_edit_project: bool) -> Hold:
    """Plan the holds of one Application; none where they could not be relied upon.

    Args:
        snapshot: the Application, its owners and its AppProject as read.
        key: the Application.
        may_edit_project: whether the user may patch the AppProject.
    """
    app = snapshot.objects[key]
    window, why = _window(snapshot, app, may_edit_project=may_edit_project)
    cover, off = _off(snapshot, app)
    if window is None and (off is None or (lost := _loses_off(snapshot, app))):
        return Hold(key, why_not=f"{why}, and {lost if off is not None else 'its auto-sync cannot be held'}")
    return Hold(key, window, off, cover, why)


def _off(snapshot: Snapshot, app: JSON) -> tuple[Edit | None, Edit | None]:
    """Turn auto-sync off by an added key, which is no drift for an Application; a set needs a rule for it first.

    None where that is not known to work.
    """
    change = application.pause_change(app, snapshot.argocd)
    if change is None or change.path[-1] != "enabled":
        return None, None
    cover: Edit | None = None
    for owner, _ in ownership.owners_of(snapshot, app):
        live = snapshot.objects.get(owner)
        if owner.kind != "ApplicationSet" or live is None:
            continue
        rule = applicationset.rule_change(live, app, (change,))
        if rule is None:
            continue
        is_lost = not applicationset.has_rules(snapshot.argocd) or applicationset.is_rolling(live)
        if is_lost or protect(snapshot, live, (rule,), only=False).guards:
            return None, None
        # Whichever of our rules is the last takes the list along.
        cover = Edit(ref_of(live), (replace(rule, sole=True),), WHY, Role.RULE, named=False)
    return cover, Edit(ref_of(app), (change,), WHY, Role.PAUSE, named=False)


def _loses_off(snapshot: Snapshot, app: JSON) -> str:
    """Say who could take `enabled: false` away, empty where nobody."""
    annotations = app["metadata"].get("annotations") or {}
    if "Replace=true" in annotations.get("argocd.argoproj.io/sync-options", ""):
        return "it is replaced as a whole by each sync of its owner (Replace=true)"
    for owner, _ in ownership.owners_of(snapshot, app):
        live = snapshot.objects.get(owner)
        if live is None or application.is_auto_sync_on(live):
            return f"{owner} is not known to be paused"
    return ""


def _window(snapshot: Snapshot, app: JSON, *, may_edit_project: bool) -> tuple[Edit | None, str]:
    place = project_key(snapshot, app)
    project = snapshot.objects.get(place)
    if project is None:
        return None, f"{place} cannot be read"
    if not may_edit_project:
        return None, f"you may not patch {place}"
    change = window_change(snapshot, app, project)
    if change is None:
        return None, f"another Application of this name is in {place}, and Argo CD before 3.0 cannot spare it"
    owners = [snapshot.objects.get(owner) for owner, _ in ownership.owners_of(snapshot, project)]
    if protect(snapshot, project, (change,), only=False).guards or any(
        o is None or application.is_auto_sync_on(o) for o in owners
    ):
        return None, f"{place} would be put back by what manages it"
    if not are_operations_held(snapshot.argocd.version):
        return None, "windows of this Argo CD hold no operations"
    return Edit(ref_of(project), (change,), WHY, Role.WINDOW, named=False), ""


def window_change(snapshot: Snapshot, app: JSON, project: JSON) -> MemberChange | None:
    """Return the deny window for this one Application; None where it would stop another one as well."""
    present = (project.get("spec") or {}).get("syncWindows") or []
    item = hold_window(present, app["metadata"]["name"])
    twins = [
        k
        for k in snapshot.named.get(app["metadata"]["name"], ())
        if k != application.key_of(app)
        and application.project_name(snapshot.objects[k]) == project["metadata"]["name"]
    ]
    if twins:
        version = snapshot.argocd.version
        if version is None or not version.at_least(3, 0):
            return None
        destination = (app.get("spec") or {}).get("destination") or {}
        item["andOperator"] = True
        item["namespaces"] = [str(destination.get("namespace") or "")]
        where = str(destination.get("name") or destination.get("server") or "")
        item["clusters"] = [re.sub(r"([\\\[\]{}*?!])", r"\\\1", where)]
    return MemberChange(WINDOWS, item, len(present), present=True, sole=not present)


def is_held(snapshot: Snapshot, hold: Hold) -> bool:
    """Whether the holds still stand by what was read last."""
    app = snapshot.objects[hold.key]
    if hold.window is not None:
        return not windows_allow(snapshot, app, manual=True).can_sync
    return not application.is_auto_sync_on(app)


# -- what is tried


def selective_sync(snapshot: Snapshot, owner: JSON, key: Key, *, id: str, actor: str) -> Order:
    """Order a paused owner to write one Application as it says now, and nothing else.

    Nothing is pruned or replaced, no hook runs, and the source is said: without it every retry would
    take the spec's of that moment. Argo CD: controller/sync.go SyncAppState.
    """
    spec = owner.get("spec") or {}
    policy = spec.get("syncPolicy") or {}
    options = [o for o in policy.get("syncOptions") or () if not str(o).startswith(("Replace=", "Force="))]
    revisions = list(application.synced_revisions(owner))
    sync: dict[str, JSON] = {
        "prune": False,
        "syncStrategy": {"apply": {}},
        "resources": [
            {"group": "argoproj.io", "kind": key.kind, "name": key.name, "namespace": key.namespace}
        ],
    }
    if options:
        sync["syncOptions"] = options
    if application.has_multiple_sources(owner):
        sync["sources"], sync["revisions"] = list(spec["sources"]), revisions
    else:
        sync["source"] = spec.get("source")
        sync["revision"] = revisions[0] if revisions else ""
    ordered = {
        "initiatedBy": {"username": f"argo-rescue:{actor}" if actor else "argo-rescue"},
        "info": [{"name": INFO_NAME, "value": id}],
        "sync": sync,
    }
    return Order(ref_of(owner), id, ordered, f"writes {key.name} alone", named=False, kind=OrderKind.START)


def who_may_write(snapshot: Snapshot, key: Key) -> tuple[Key | None, str]:
    """Return the paused owner that can be asked to write an Application, or why none can."""
    owning = ownership.owning_applications(snapshot, key)
    if len(owning) != 1:
        return None, "it has no owner that could be asked to write it alone"
    if owning[0].kind == "ApplicationSet":
        return _which_set_may_write(snapshot, key, owning[0])
    owner = snapshot.objects[owning[0]]
    name = display_name(owning[0], snapshot.argocd)
    line = application.lists(owner, key)
    if line is None or line.get("requiresPruning"):
        return None, f"{name} does not have it any more"
    if application.is_auto_sync_on(owner):
        return None, f"{name} is not paused"
    annotations = snapshot.objects[key]["metadata"].get("annotations") or {}
    if "Force=true" in annotations.get("argocd.argoproj.io/sync-options", ""):
        return None, "each sync of its owner deletes it and makes it anew (Force=true)"
    if operation(owner).in_progress:
        return None, f"{name} has an operation in progress: {operation(owner).describe()}"
    if not windows_allow(snapshot, owner, manual=True).can_sync:
        return None, f"sync windows stop {name}"
    for above in ownership.owning_applications(snapshot, owning[0]):
        line = application.lists(snapshot.objects[above], owning[0]) if above.kind == "Application" else None
        if line is None or line.get("status") != "Synced":
            return None, f"{above} would change {name} first"
    return owning[0], ""


def _which_set_may_write(snapshot: Snapshot, key: Key, owner: Key) -> tuple[Key | None, str]:
    """Return the ApplicationSet that writes an Application once our rule for its version is away, or why it does not."""
    live, app = snapshot.objects[owner], snapshot.objects[key]
    if applicationset.is_rolling(live):
        return None, f"{owner} orders the syncs of {key.name} itself"
    if applicationset.is_idle(live, snapshot.argocd, controller_of_sets(snapshot)):
        return None, f"{owner} writes no Application that is there"
    lifted = rule_lifted(live, app)
    if not lifted:
        return None, f"{owner} has no rule of ours for the version of {key.name}"
    after = patches.applied(live, lifted)
    if any(
        applicationset.is_covered(after, app, f"/spec/{name}")
        for name in ("source/targetRevision", "sources")
    ):
        return None, f"{owner} has a rule of its own for the version"
    for above in ownership.owning_applications(snapshot, owner):
        line = application.lists(snapshot.objects[above], owner) if above.kind == "Application" else None
        if line is None or line.get("status") != "Synced":
            return None, f"{above} would change {owner.name} first"
    return owner, ""


def rule_lifted(owner: JSON, app: JSON) -> tuple[MemberChange, ...]:
    """Return what lets a set write the version of one Application, and nothing else that a rule keeps from it."""
    rules = (owner.get("spec") or {}).get("ignoreApplicationDifferences") or ()
    changes: list[MemberChange] = []
    for index, item in enumerate(rules):
        pointers = item.get("jsonPointers") or ()
        kept = [p for p in pointers if not str(p).startswith("/spec/source")]
        if item.get("name") != app["metadata"]["name"] or len(kept) == len(pointers):
            continue
        if kept:
            rest = {**item, "jsonPointers": kept}
            changes.append(MemberChange(applicationset.RULES, rest, len(rules), present=True, sole=True))
        changes.append(MemberChange(applicationset.RULES, item, index, present=False, sole=True))
    return tuple(changes)


def agreement(
    snapshot: Snapshot,
    key: Key,
    changes: Sequence[Change],
    *,
    block: JSON,
    rollouts: Sequence[WorkloadRollback] = (),
) -> Handback:
    """Say whether owners and auto-sync would both do nothing with what stands in a held Application.

    `changes` are what was tried; `block` is its `automated` once it is let go.
    """
    child = auto_sync_says(snapshot, key, block=block, rollouts=rollouts, anything=True)
    if child.evidence is not Evidence.AGREES:
        return child
    owner = git_says(snapshot, key, changes, (), is_back=True)
    if owner.evidence is Evidence.FREE:
        return child
    return owner


_SOURCES: tuple[Path, ...] = (("spec", "source"), ("spec", "sources"))


def noted(app: JSON) -> tuple[FieldChange, ...]:
    """Return the sources of an Application as a note of what they are: what its owner will write is not known yet."""
    found = [(path, patches.read(path, app)) for path in _SOURCES]
    found += [
        ((*s.path, s.revision_field), s.revision) for s in application.sources(app) if s.kind is HYDRATOR
    ]
    return tuple(FieldChange(path, value, value) for path, value in found)


def taken_back(before: JSON, live: JSON) -> tuple[FieldChange, ...]:
    """Return what gives an Application the sources that it had: of each its revision, or all where more differs."""
    then, now = application.sources(before), application.sources(live)
    if len(then) == len(now) and all(
        _but_revision(a.body, a.revision_field) == _but_revision(b.body, b.revision_field)
        for a, b in zip(then, now, strict=True)
    ):
        return tuple(
            FieldChange(
                b.revision_path,
                b.body.get(b.revision_field, ABSENT),
                a.body.get(a.revision_field, ABSENT),
            )
            for a, b in zip(then, now, strict=True)
            if not patches.equal(a.body.get(a.revision_field), b.body.get(b.revision_field))
        )
    values = [(path, patches.read(path, live), patches.read(path, before)) for path in _SOURCES]
    return tuple(FieldChange(path, is_, was) for path, is_, was in values if not patches.equal(is_, was))


def held_again(held: JSON, live: JSON) -> tuple[FieldChange, ...]:
    """Return what gives an Application the sync policy that it was held with, where its owner has brought its own."""
    then, now = (patches.read(POLICY, app) for app in (held, live))
    return () if patches.equal(then, now) else (FieldChange(POLICY, now, then),)


def is_as_before(before: JSON, live: JSON) -> bool:
    """Whether it has the sources that it had, in the project and the place that our window is about."""
    then, now = before.get("spec") or {}, live.get("spec") or {}
    return (
        then.get("destination") == now.get("destination")
        and application.project_name(before) == application.project_name(live)
        and [s.body for s in application.sources(before)] == [s.body for s in application.sources(live)]
    )


def brought(before: JSON, live: JSON) -> list[str]:
    """Name what an owner has written beside version and sync policy: that is git's, and stays."""
    own = {"source", "sources", "syncPolicy", "sourceHydrator"}
    then, now = before.get("spec") or {}, live.get("spec") or {}
    found = [name for name in sorted({*then, *now} - own) if not patches.equal(then.get(name), now.get(name))]
    meta, meta_now = before["metadata"], live["metadata"]
    marks = ("labels", "annotations", "finalizers")
    return [*found, *(name for name in marks if _lasting(meta.get(name)) != _lasting(meta_now.get(name)))]


def _lasting(value: JSON) -> JSON:
    if not isinstance(value, dict):
        return value or {}
    passing = (REFRESH, "kubectl.kubernetes.io/last-applied-configuration")
    return {k: v for k, v in value.items() if k not in passing}


def _but_revision(body: JSON, field: str) -> JSON:
    return {k: v for k, v in body.items() if k != field}
