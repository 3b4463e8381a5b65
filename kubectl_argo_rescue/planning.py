"""The planners of single steps: from a snapshot and what the user wants to an ordered plan. Pure.

After a conflict the engine reads again and calls the same function; the same input gives the same
plan. Times and ids come in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import application, applicationsets, history, owners, patches, windows
from .application import Source, SourceKind
from .errors import RefusedError, UsageError
from .model import (
    ABSENT,
    JSON,
    ArgoCD,
    Change,
    Edit,
    FieldChange,
    Key,
    Order,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from .operation import operation, sync_operation
from .outlook import (
    app_windows,
    application_of,
    blocked_text,
    living_application,
    obstacles_of,
    project_key,
    projects,
    require_project,
    will_act,
    windows_allow,
)
from .plans import Plan, joined
from .protection import Protection, _stop_rolling_sync, protect
from .text import COMMAND, display_name


def _whole_sets(snapshot: Snapshot, keys: Sequence[Key]) -> frozenset[Key]:
    """Return the ApplicationSets all of whose Applications, more than one, are among `keys`."""
    named = set(keys)
    members: dict[Key, list[Key]] = {}
    for key, app in snapshot.objects.items():
        for claim in owners.claims(app, snapshot.argocd) if key.kind == "Application" else ():
            if claim.owner.kind == "ApplicationSet":
                members.setdefault(claim.owner, []).append(key)
    return frozenset(
        owner
        for owner, apps in members.items()
        if len(apps) > 1
        and named.issuperset(apps)
        and len(apps) >= len(applicationsets.generated(snapshot.objects.get(owner, {})))
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
            total += _stop_rolling_sync(snapshot, app, only=only)
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


def plan_unblock(snapshot: Snapshot, key: Key, *, only: bool = False) -> Plan:
    """Free one Application of the sync windows that stop it; the others stay frozen."""
    app = living_application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    require_project(snapshot, app)
    project = snapshot.objects.get(project_key(snapshot, app))
    if project is None:
        raise RefusedError(
            f"{key} is in AppProject {application.project_name(app)}, which does not exist",
            "no window is what stops it: Argo CD syncs nothing of a missing project",
        )
    effective = app_windows(snapshot, app)
    relaxation = windows.relax(effective, app, snapshot.now)
    warnings = [f"{windows.describe(w)} still stops {name}: {why}" for w, why in relaxation.remaining]
    steps: list[Edit] = []
    total = Protection()
    for edit in window_edits(snapshot, app):
        total += protect(snapshot, snapshot.objects[edit.ref.key], edit.changes, only=only)
        steps.append(edit)
    if not steps:
        verdict = windows_allow(snapshot, app, manual=False)
        detail = "already free of sync windows"
        if relaxation.needs_manual:
            detail = (
                "manual syncs get through its windows already; auto-sync cannot without freeing other apps"
            )
        elif not verdict.can_sync:
            raise RefusedError(
                f"{key} is stopped by windows that cannot be relaxed for it alone: "
                + "; ".join(
                    [verdict.error] if verdict.error else [windows.describe(w) for w in verdict.blocking]
                ),
                "edit the AppProject by hand",
            )
        return joined(
            "unblock", total, [], warnings=warnings,
            unchanged=[StepResult(ref_of(app), StepStatus.UNCHANGED, "unblocked", detail=detail)],
            next_commands=[f"{COMMAND} sync {name}"] if relaxation.needs_manual else [],
        )  # fmt: skip
    questions = others_freed(snapshot, steps, key)
    following: list[str] = []
    if relaxation.needs_manual:
        warnings.append(
            f"only a manual sync of {name} gets through the windows now, auto-sync does not; order one with the "
            f"command below"
        )
        following.append(f"{COMMAND} sync {display_name(key, snapshot.argocd)}")
    return joined("unblock", total, steps, warnings=warnings, questions=questions, next_commands=following)


def others_freed(snapshot: Snapshot, steps: Sequence[Edit], key: Key) -> list[str]:
    """Name the other Applications whose verdict the window edits change, as far as they were read."""
    if snapshot.is_unlisted and any(isinstance(c, FieldChange) for edit in steps for c in edit.changes):
        return ["which other Applications the window edit frees is not known: they may not be listed"]
    after = {k: o for k, o in snapshot.objects.items() if k.kind == "AppProject"}
    for edit in steps:
        after[edit.ref.key] = patches.applied(snapshot.objects[edit.ref.key], edit.changes)
    others = [o for k, o in snapshot.objects.items() if k.kind == "Application" and k != key]
    changed = windows.changed_verdicts(
        projects(snapshot), list(after.values()), others, snapshot.argocd, snapshot.now
    )
    if not changed:
        return []
    names = ", ".join(sorted(display_name(c.app, snapshot.argocd) for c in changed))
    return [f"the window edit also frees {names}"]


def refuse_hydrated(app: JSON, argocd: ArgoCD) -> None:
    """Refuse to pin what a source hydrator writes itself: it would push to a branch of the pinned name."""
    hydrator = (app.get("spec") or {}).get("sourceHydrator")
    if not hydrator or hydrator.get("hydrateTo"):
        return
    key = application.key_of(app)
    name = display_name(key, argocd)
    raise RefusedError(
        f"{key} has a source hydrator that pushes to the branch it is synced from: pinned to a version, it would "
        "push to a branch of that name",
        f"deploy a hydrated commit from its history, and keep it there: {COMMAND} rollback {name}; or pause it: "
        f"{COMMAND} pause {name}",
    )


def choose_source(app: JSON, version: str, selector: str | None) -> Source:
    """Pick the source to pin: the one named, the only one, or the one that fits the version.

    Raises UsageError where two fit, naming them.
    """
    candidates = application.sources(app)
    key = application.key_of(app)
    if not candidates:
        raise UsageError(f"{key} has no source", "there is nothing to pin")
    listing = "; ".join(f"{s.index} is {s.describe()}" for s in candidates)
    if selector is not None:
        for s in candidates:
            if selector == s.body.get("name"):
                return s
        if selector.isdigit() and int(selector) < len(candidates):
            return candidates[int(selector)]
        by_other_name = [s for s in candidates if selector in (s.body.get("chart"), s.body.get("ref"))]
        if len(by_other_name) == 1:
            return by_other_name[0]
        raise UsageError(f"{key} has no source {selector!r}", listing)
    rendered = [s for s in candidates if s.yields_manifests]
    if len(candidates) == 1:
        return candidates[0]
    known = [s for s in candidates if history.ever_deployed(app, s, version)]
    if len(known) == 1:
        return known[0]
    pool = known or rendered
    charts = [s for s in pool if s.kind is SourceKind.HELM and application.is_valid_revision(s.kind, version)]
    if len(charts) == 1:
        return charts[0]
    if len(pool) == 1:
        return pool[0]
    raise UsageError(
        f"{key} has several sources that {version} could be for", f"say --source INDEX: {listing}"
    )


@dataclass(frozen=True, slots=True)
class _Version:
    """The revision to write, what is worth knowing of it, and what must be asked first."""

    revision: str
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def choose_version(app: JSON, source: Source, version: str, snapshot: Snapshot) -> _Version:
    """Turn what was typed into the revision to write: a git branch becomes its commit."""
    known = history.ever_deployed(app, source, version)
    kind = source.kind
    if kind is SourceKind.GIT and application.is_moving(kind, version):
        commit = history.resolved_commit(app, source, version)
        if commit:
            if application.is_sha(version):
                return _Version(commit)
            return _Version(
                commit, (f"{version} is pinned to the commit that Argo CD last resolved it to, {commit}",)
            )
        if application.is_sha(version):
            return _Version(version, (f"commit {version} is not in the history of this app",))
    if kind is SourceKind.OCI:
        digests = history.deployed_digests(app, source, version)
        if application.is_digest_prefix(version) and len(digests) == 1:
            return _Version(digests[0])
        if digests and not application.is_digest_prefix(version):
            return _Version(
                version,
                (
                    f"{version} was {', '.join(digests)} when this app deployed it; a tag can have been moved "
                    "since then, a digest cannot",
                ),
            )
    if known is not None:
        return _Version(version)
    if not application.is_valid_revision(kind, version):
        past = _known_versions(app, source)
        return _Version(
            version,
            questions=(
                f"{version!r} was never deployed by this app and is no valid version of a{'n' if kind is SourceKind.OCI else ''} {kind.value}"
                + (f" (deployed so far: {', '.join(past)})" if past else ""),
            ),
        )
    past = _known_versions(app, source)
    note = f"{version} was never deployed by this app, so whether it exists is not known here"
    if past:
        note += f" (deployed so far: {', '.join(past)})"
    if application.is_moving(kind, version):
        note += "; it may also move"
    return _Version(version, (note,))


def _known_versions(app: JSON, source: Source) -> list[str]:
    found: dict[str, None] = {}
    for deployment in reversed(history.deployments(app)):
        for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
            if all((body.get(n) or "") == (source.body.get(n) or "") for n in ("repoURL", "chart", "path")):
                asked = str(body.get("targetRevision") or "")
                is_oci = source.kind is SourceKind.OCI
                found[application.name_of(revision, asked) if is_oci else revision] = None
    return list(found)[:5]


def plan_pin(
    snapshot: Snapshot,
    key: Key,
    version: str,
    *,
    order_id: str,
    actor: str,
    reason: str = "",
    source: str | None = None,
    only: bool = False,
    sync: bool = True,
) -> Plan:
    """Set the targetRevision of one source, and see to it that Argo CD will act on it."""
    app = living_application(snapshot, key)
    refuse_hydrated(app, snapshot.argocd)
    chosen = choose_source(app, version, source)
    wanted = choose_version(app, chosen, version, snapshot)
    warnings: list[str] = []
    steps: list[Edit | Order] = []
    unchanged: list[StepResult] = []
    total = Protection()
    pinned = app
    if chosen.revision == wanted.revision:
        unchanged.append(
            StepResult(ref_of(app), StepStatus.UNCHANGED, "pinned", detail=f"already at {wanted.revision}")
        )
        total += protect(snapshot, app, (), only=only)
    else:
        before = chosen.body.get(chosen.revision_field, ABSENT)
        change = FieldChange(chosen.revision_path, before, wanted.revision)
        total += protect(snapshot, app, (change,), only=only)
        from_text = chosen.revision or "HEAD"
        steps.append(Edit(ref_of(app), (change,), f"{from_text} to {wanted.revision}", Role.VERSION))
        pinned = _with(app, change)
    if sync:
        stays_on = application.is_auto_sync_on(app) and ref_of(app) not in {
            g.edit.ref for g in total.guards.values() if g.edit
        }
        act = will_act(snapshot, pinned, auto_sync=stays_on)
        warnings += act.warnings
        if act.needs_order:
            ordered = sync_operation(app, id=order_id, actor=actor, reason=reason)
            steps.append(Order(ref_of(app), order_id, ordered, act.why))
    name = display_name(key, snapshot.argocd)
    return joined(
        "pin", total, steps, unchanged=unchanged, warnings=warnings, notes=wanted.notes,
        questions=wanted.questions,
        next_commands=[f"{COMMAND} watch {name}"],
    )  # fmt: skip


def _with(app: JSON, change: Change) -> JSON:
    return patches.applied(app, (change,))


def plan_sync(
    snapshot: Snapshot, key: Key, *, order_id: str, actor: str, reason: str = "", prune: bool = False
) -> Plan:
    """Order a manual sync to what the spec says. Raises RefusedError where it could not run."""
    app = living_application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    running = operation(app)
    if running.in_progress:
        raise RefusedError(
            f"{key} has an operation in progress: {running.describe()}",
            f"watch it: {COMMAND} watch {name}; or end it: {COMMAND} terminate {name}",
        )
    verdict = windows_allow(snapshot, app, manual=True)
    if not verdict.can_sync:
        raise RefusedError(blocked_text(snapshot, app, verdict))
    ordered = sync_operation(app, id=order_id, actor=actor, reason=reason, prune=prune)
    return joined(
        "sync",
        Protection(),
        [Order(ref_of(app), order_id, ordered, "manual sync")],
        warnings=obstacles_of(snapshot, app),
        next_commands=[f"{COMMAND} watch {name}"],
    )


def window_edits(snapshot: Snapshot, app: JSON) -> tuple[Edit, ...]:
    """Return the edits of AppProjects after which no window stops the app, or at least no manual sync."""
    if project_key(snapshot, app) not in snapshot.objects:
        return ()
    relaxation = windows.relax(app_windows(snapshot, app), app, snapshot.now)
    name = display_name(application.key_of(app), snapshot.argocd)
    return tuple(
        Edit(
            ref_of(snapshot.objects[Key("AppProject", snapshot.argocd.namespace, project)]),
            tuple(changes),
            f"no sync window stops {name}",
            Role.WINDOW,
        )
        for project, changes in relaxation.changes.items()
    )
