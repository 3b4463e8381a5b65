"""The planners: from a snapshot and what the user wants to an ordered plan. Pure, safe to call again.

After a conflict the engine reads again and calls the same function; the same input gives the same
plan. Times and ids come in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import applications, applicationsets, globs, owners, patches, windows
from .applications import Deployment, Source, SourceKind
from .durations import human
from .errors import NotFound, RefusedError, UsageError
from .model import (
    ABSENT,
    JSON,
    ArgoCD,
    Change,
    Edit,
    EditResult,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Order,
    OrderKind,
    Path,
    PlanStep,
    Role,
    Snapshot,
    Verdict,
    ref_of,
)
from .records import Reliance, Witness

AUTOMATED = ("spec", "syncPolicy", "automated")

COMMAND = "kubectl argo-rescue"


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps, nothing sent yet: what `--dry-run` prints and the engine carries out."""

    verb: str
    steps: tuple[PlanStep, ...] = ()
    unchanged: tuple[EditResult, ...] = ()
    """What is already as wanted."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth knowing and no reason to worry."""
    questions: tuple[str, ...] = ()
    """What needs a yes: objects that were not named, values that look wrong."""
    relies: tuple[Reliance, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    independent_from: int | None = None
    """From this step on they do not depend on each other: one failing does not stop the rest."""
    next_commands: tuple[str, ...] = ()


def display_name(key: Key, argocd: ArgoCD) -> str:
    """Name an object as the user would type it: with its namespace only where it is not Argo CD's."""
    return key.name if key.namespace in ("", argocd.namespace) else f"{key.namespace}/{key.name}"


def app_arguments(key: Key, argocd: ArgoCD) -> str:
    """Return the APP argument that names this Application in a command to be typed."""
    return display_name(key, argocd)


def application(snapshot: Snapshot, key: Key) -> JSON:
    """Return an Application of the snapshot. Raises NotFound."""
    app = snapshot.objects.get(key)
    if app is None:
        raise NotFound(
            f"{key} does not exist",
            f"see them all: kubectl get applications.argoproj.io -n {key.namespace}",
            status=404,
            reason="NotFound",
        )
    return app


def served(app: JSON, argocd: ArgoCD) -> bool:
    """Whether this Argo CD's controller looks at the app's namespace (AC:2747 isAppNamespaceAllowed)."""
    namespace = app["metadata"].get("namespace", "")
    return globs.is_app_namespace_allowed(
        namespace, argocd.namespace, argocd.application_namespaces, argocd.version
    )


# -- owners


@dataclass(frozen=True, slots=True)
class _Guard:
    """One edit of an owner, and the question that it raises; without an edit, the question alone."""

    edit: Edit | None
    question: str


class _Protection:
    """What must be edited first so that edits hold, and what is worth knowing about it."""

    def __init__(
        self,
        *,
        guards: Sequence[_Guard] = (),
        warnings: Sequence[str] = (),
        relies: Sequence[Reliance] = (),
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self.guards: dict[object, _Guard] = {}
        self.warnings = dict.fromkeys(warnings)
        self.relies: dict[tuple[Key, str], Reliance] = {
            (r.key, patches.show_path(r.change.path)): r for r in relies
        }
        self.witnesses: dict[Key, Witness] = {w.owner: w for w in witnesses}
        for guard in guards:
            self._add_guard(guard)

    def _add_guard(self, guard: _Guard) -> None:
        # Two children make one owner be paused once, whatever the reasons say.
        edit = guard.edit
        key = (edit.ref, tuple(map(patches.show_change, edit.changes))) if edit else guard.question
        self.guards.setdefault(key, guard)

    def __iadd__(self, other: _Protection) -> _Protection:
        """Take over what the other knows, each edit and line once."""
        for guard in other.guards.values():
            self._add_guard(guard)
        self.warnings.update(other.warnings)
        for place, reliance in other.relies.items():
            self.relies.setdefault(place, reliance)
        for owner, witness in other.witnesses.items():
            self.witnesses.setdefault(owner, witness)
        return self


def frozen_until(snapshot: Snapshot, app: JSON) -> str | None:
    """Say until when windows keep an app from syncing by itself; None where nothing does."""
    question = ("frozen until", applications.key_of(app))
    if question not in snapshot.answers:
        snapshot.answers[question] = _frozen_until(snapshot, app)
    answer: str | None = snapshot.answers[question]
    return answer


def _frozen_until(snapshot: Snapshot, app: JSON) -> str | None:
    verdict = judge(snapshot, app, manual=False)
    if verdict.can_sync:
        return None
    change = windows.until(app_windows(snapshot, app), app, snapshot.now, manual=False)
    return f"{change:%Y-%m-%d %H:%M} UTC" if change else "no end in sight"


def protect(
    snapshot: Snapshot,
    obj: JSON,
    changes: Sequence[Change],
    *,
    only: bool,
    whole_sets: frozenset[Key] = frozenset(),
    _below: frozenset[Key] = frozenset(),
) -> _Protection:
    """Find who would put `changes` of `obj` back, and pause them, grandparents first.

    With `only` nothing is paused; what would be reverted is said instead.
    """
    key = ref_of(obj).key
    total = _Protection()
    for owner_key, by in owners.owners_of(snapshot, obj):
        owner = snapshot.objects.get(owner_key)
        if owner is None:
            if owner_key in snapshot.missing:
                total += _Protection(
                    warnings=(
                        f"{owner_key} owns {key} by its {by} but does not exist; nobody will revert the edit",
                    )
                )
            continue
        if owner_key.kind == "ApplicationSet":
            total += _protect_from_set(
                snapshot, owner, obj, changes, only=only, everyone=owner_key in whole_sets, below=_below
            )
            continue
        total += _Protection(witnesses=(_witness(owner),))
        if owner_key in _below:
            continue
        frozen = frozen_until(snapshot, owner) if applications.is_auto_sync_on(owner) else None
        reversion = owners.reverts(owner, obj, changes, frozen_until=frozen)
        if reversion is None:
            if not applications.is_auto_sync_on(owner):
                total += _Protection(relies=(_reliance(owner),))
            continue
        if only:
            total += _Protection(warnings=(f"{reversion.describe()}; its pause is left out by --only",))
            continue
        pause = applications.pause_change(owner, snapshot.argocd)
        assert pause is not None  # it has auto-sync on, or it would not revert
        name = display_name(owner_key, snapshot.argocd)
        total += protect(snapshot, owner, (pause,), only=only, _below=_below | {key, owner_key})
        total += _Protection(
            guards=(
                _Guard(
                    Edit(
                        ref_of(owner),
                        (pause,),
                        f"it would revert {key.kind} {display_name(key, snapshot.argocd)} {reversion.how_soon}",
                        Role.PAUSE,
                        named=False,
                    ),
                    f"{name} is paused as well: {reversion.describe()}",
                ),
            ),
        )
    return total


def _protect_from_set(
    snapshot: Snapshot,
    owner: JSON,
    obj: JSON,
    changes: Sequence[Change],
    *,
    only: bool,
    everyone: bool,
    below: frozenset[Key],
) -> _Protection:
    """Make an ApplicationSet leave `changes` of its Application alone, by its least invasive means.

    Nothing where its policy writes no existing app; else a rule for just these fields of just this
    app; else, before 2.9 or where a RollingSync would go on ordering syncs, create-only for all of
    its apps. The set's own owner comes first.
    """
    argocd = snapshot.argocd
    key, child = ref_of(owner).key, ref_of(obj).key
    workload = _controller_of_sets(snapshot)
    if not changes or applicationsets.is_idle(owner, argocd, workload):
        return _Protection()
    if only:
        return _Protection(warnings=(f"{key} would revert it within seconds; it is left as it is by --only",))
    pausing = any(patches.show_path(c.path).startswith("/spec/syncPolicy") for c in changes)
    if not applicationsets.has_rules(argocd) or (applicationsets.is_rolling(owner) and pausing):
        return _frozen_set(snapshot, owner, child, only=only, below=below)
    change = applicationsets.rule_change(owner, obj, changes, everyone=everyone)
    if change is None:
        return _Protection(relies=_rule_reliances(owner, key))
    whom = "all its apps" if everyone else child.name
    reason = f"a rule makes it leave these fields of {whom} alone: it would revert them within seconds"
    question = f"{key} gets a rule to leave {whom} alone; it would revert the edit within seconds"
    return _edited_set(snapshot, owner, child, change, reason, question, only=only, below=below)


def _frozen_set(
    snapshot: Snapshot, owner: JSON, child: Key, *, only: bool, below: frozenset[Key] = frozenset()
) -> _Protection:
    """Make an ApplicationSet write none of its Applications, nor order their syncs."""
    argocd, key = snapshot.argocd, ref_of(owner).key
    rolling = applicationsets.is_rolling(owner)
    act = "order its syncs" if rolling else "revert the edit within seconds"
    if not (
        applicationsets.has_policies(argocd)
        and applicationsets.may_override(argocd, _controller_of_sets(snapshot))
    ):
        no_rule = "a RollingSync heeds no rule" if rolling else "this Argo CD knows no rule for it"
        return _Protection(
            warnings=(
                f"{key} would {act}, and nothing of its own stops it here: {no_rule}, and a policy of its own "
                f"is forbidden; scale its controller down: "
                f"kubectl -n {argocd.namespace} scale deployment argocd-applicationset-controller --replicas=0",
            ),
            guards=(_Guard(None, f"{key} would {act} and cannot be stopped by an edit"),),
        )
    change = applicationsets.freeze_change(owner)
    if change is None:
        return _Protection()
    why = "its RollingSync would go on ordering syncs" if rolling else "Argo CD before 2.9 knows no rules"
    names = ", ".join(applicationsets.generated(owner)[:8])
    return _edited_set(
        snapshot, owner, child, change, f"create-only freezes it, since {why}",
        f"{key} is frozen for all its apps ({names}): {why}", only=only, below=below,
    )  # fmt: skip


def _edited_set(
    snapshot: Snapshot,
    owner: JSON,
    child: Key,
    change: Change,
    reason: str,
    question: str,
    *,
    only: bool,
    below: frozenset[Key],
) -> _Protection:
    """Edit an ApplicationSet, after whoever would take that back."""
    above = protect(snapshot, owner, (change,), only=only, _below=below | {child, ref_of(owner).key})
    edit = Edit(ref_of(owner), (change,), reason, Role.RULE, named=False)
    above += _Protection(guards=(_Guard(edit, question),))
    return above


def _stop_rolling_sync(snapshot: Snapshot, app: JSON, *, only: bool) -> _Protection:
    """Freeze the set that orders the syncs of an Application itself: its auto-sync is off, which says nothing."""
    total = _Protection()
    for owner_key, _ in owners.owners_of(snapshot, app):
        owner = snapshot.objects.get(owner_key)
        if owner is None or owner_key.kind != "ApplicationSet" or not applicationsets.is_rolling(owner):
            continue
        if applicationsets.is_idle(owner, snapshot.argocd, _controller_of_sets(snapshot)):
            continue
        if only:
            text = f"{owner_key} orders the syncs of {applications.key_of(app)} itself; it is left as it is by --only"
            total += _Protection(warnings=(text,))
        else:
            total += _frozen_set(snapshot, owner, applications.key_of(app), only=only)
    return total


def _controller_of_sets(snapshot: Snapshot) -> JSON | None:
    return next(
        (
            o
            for k, o in snapshot.objects.items()
            if k.kind == "Deployment"
            and (o["metadata"].get("labels") or {}).get("app.kubernetes.io/component")
            == "applicationset-controller"
        ),
        None,
    )


def _rule_reliances(owner: JSON, key: Key) -> tuple[Reliance, ...]:
    rules = (owner.get("spec") or {}).get("ignoreApplicationDifferences") or ()
    return tuple(
        Reliance(key, MemberChange(applicationsets.RULES, rule, i, present=True))
        for i, rule in enumerate(rules)
    )


def _reliance(owner: JSON) -> Reliance:
    return Reliance(applications.key_of(owner), FieldChange(AUTOMATED, ABSENT, applications.automated(owner)))


def _witness(owner: JSON) -> Witness:
    source = next(iter(applications.sources(owner)), None)
    body = source.body if source else {}
    return Witness(
        applications.key_of(owner),
        str(body.get("repoURL") or ""),
        str(body.get("path") or body.get("chart") or ""),
        source.revision if source else "",
        ",".join(applications.synced_revisions(owner)),
    )


def _plan(
    verb: str,
    protection: _Protection,
    steps: Sequence[Edit | Order],
    *,
    unchanged: Sequence[EditResult] = (),
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    questions: Sequence[str] = (),
    independent: bool = False,
    next_commands: Sequence[str] = (),
) -> Plan:
    """Join what was named and what protects it; an object that is both is edited once, as named."""
    own = {step.ref: step for step in steps if isinstance(step, Edit)}
    before: list[Edit | Order] = []
    asked: list[str] = []
    for guard in protection.guards.values():
        edit = guard.edit
        named = own.get(edit.ref) if edit else None
        if edit is None:
            asked.append(guard.question)
        elif named is None or any(c not in named.changes for c in edit.changes):
            before.append(edit)
            asked.append(guard.question)
        elif named not in before:
            # It is edited anyway: at the owner's place in the order, under the user's own reason.
            before.append(named)
    placed = set(map(id, before))
    rest = [step for step in steps if id(step) not in placed]
    return Plan(
        verb,
        (*before, *rest),
        tuple(unchanged),
        tuple(dict.fromkeys((*warnings, *protection.warnings))),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys((*questions, *asked))),
        tuple(protection.relies.values()),
        tuple(protection.witnesses.values()),
        len(before) if independent else None,
        tuple(next_commands),
    )


# -- windows


def app_windows(snapshot: Snapshot, app: JSON) -> tuple[windows.Window, ...]:
    """Return the windows of the app's project and of the global projects that apply to it."""
    project = snapshot.objects.get(project_key(snapshot, app))
    if project is None:
        return ()
    return tuple(windows.effective_windows(project, projects(snapshot), snapshot.argocd))


def project_key(snapshot: Snapshot, app: JSON) -> Key:
    """Name the app's project: projects are read only from Argo CD's own namespace (AC:241)."""
    return Key("AppProject", snapshot.argocd.namespace, applications.project_name(app))


def projects(snapshot: Snapshot) -> list[JSON]:
    """Return every AppProject that the snapshot has."""
    return [o for k, o in snapshot.objects.items() if k.kind == "AppProject"]


def judge(snapshot: Snapshot, app: JSON, *, manual: bool) -> windows.Judgement:
    """Say whether windows let the app sync now."""
    return windows.judge(app_windows(snapshot, app), app, snapshot.now, manual=manual)


# -- pause


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
    unchanged: list[EditResult] = []
    warnings: list[str] = []
    total = _Protection()
    for key in keys:
        app = application(snapshot, key)
        name = display_name(key, snapshot.argocd)
        change = applications.pause_change(app, snapshot.argocd)
        if change is None:
            total += _stop_rolling_sync(snapshot, app, only=only)
            unchanged.append(EditResult(ref_of(app), Verdict.UNCHANGED, "paused", detail="already paused"))
            continue
        total += protect(snapshot, app, (change,), only=only, whole_sets=whole)
        running = applications.operation(app)
        if running.present and running.is_automated:
            warnings.append(
                f"{name} has an operation in progress ({running.describe()}) which a pause does not stop; "
                f"end it: {COMMAND} terminate {app_arguments(key, snapshot.argocd)}"
            )
        steps.append(Edit(ref_of(app), (change,), "auto-sync off", Role.PAUSE))
    return _plan("pause", total, steps, unchanged=unchanged, warnings=warnings, independent=len(keys) > 1)


# -- unblock


def plan_unblock(snapshot: Snapshot, key: Key, *, only: bool = False) -> Plan:
    """Free one Application of the sync windows that stop it; the others stay frozen."""
    app = application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    project = snapshot.objects.get(project_key(snapshot, app))
    if project is None:
        raise RefusedError(
            f"{key} is in AppProject {applications.project_name(app)}, which does not exist",
            "no window is what stops it: Argo CD syncs nothing of a missing project",
        )
    effective = app_windows(snapshot, app)
    relaxation = windows.relax(effective, app, snapshot.now)
    warnings = [f"{windows.describe(w)} still stops {name}: {why}" for w, why in relaxation.remaining]
    steps: list[Edit] = []
    total = _Protection()
    for edit in window_edits(snapshot, app):
        total += protect(snapshot, snapshot.objects[edit.ref.key], edit.changes, only=only)
        steps.append(edit)
    if not steps:
        verdict = judge(snapshot, app, manual=False)
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
        return _plan(
            "unblock", total, [], warnings=warnings,
            unchanged=[EditResult(ref_of(app), Verdict.UNCHANGED, "unblocked", detail=detail)],
            next_commands=[f"{COMMAND} sync {name}"] if relaxation.needs_manual else [],
        )  # fmt: skip
    questions = _others_freed(snapshot, steps, key)
    following: list[str] = []
    if relaxation.needs_manual:
        warnings.append(
            f"only a manual sync of {name} gets through the windows now, auto-sync does not; order one with the "
            f"command below"
        )
        following.append(f"{COMMAND} sync {app_arguments(key, snapshot.argocd)}")
    return _plan("unblock", total, steps, warnings=warnings, questions=questions, next_commands=following)


def _others_freed(snapshot: Snapshot, steps: Sequence[Edit], key: Key) -> list[str]:
    """Name the other Applications whose verdict the window edits change, as far as they were read."""
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


# -- pin


def refuse_hydrated(app: JSON, argocd: ArgoCD) -> None:
    """Refuse to pin what a source hydrator writes itself: it would push to a branch of the pinned name."""
    hydrator = (app.get("spec") or {}).get("sourceHydrator")
    if not hydrator or hydrator.get("hydrateTo"):
        return
    key = applications.key_of(app)
    name = app_arguments(key, argocd)
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
    candidates = applications.sources(app)
    key = applications.key_of(app)
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
    known = [s for s in candidates if applications.ever_deployed(app, s, version)]
    if len(known) == 1:
        return known[0]
    pool = known or rendered
    charts = [
        s for s in pool if s.kind is SourceKind.HELM and applications.is_valid_revision(s.kind, version)
    ]
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
    known = applications.ever_deployed(app, source, version)
    kind = source.kind
    if kind is SourceKind.GIT and applications.is_moving(kind, version):
        commit = applications.resolved_commit(app, source, version)
        if commit:
            if applications.is_sha(version):
                return _Version(commit)
            return _Version(
                commit, (f"{version} is pinned to the commit that Argo CD last resolved it to, {commit}",)
            )
        if applications.is_sha(version):
            return _Version(version, (f"commit {version} is not in the history of this app",))
    if known is not None:
        return _Version(version)
    if not applications.is_valid_revision(kind, version):
        past = _known_versions(app, source)
        return _Version(
            version,
            questions=(
                f"{version!r} was never deployed by this app and is no valid version of a {kind.value}"
                + (f" (deployed so far: {', '.join(past)})" if past else ""),
            ),
        )
    past = _known_versions(app, source)
    note = f"{version} was never deployed by this app, so whether it exists is not known here"
    if past:
        note += f" (deployed so far: {', '.join(past)})"
    if applications.is_moving(kind, version):
        note += "; it may also move"
    return _Version(version, (note,))


def _known_versions(app: JSON, source: Source) -> list[str]:
    found: dict[str, None] = {}
    for deployment in reversed(applications.history(app)):
        for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
            if all((body.get(n) or "") == (source.body.get(n) or "") for n in ("repoURL", "chart", "path")):
                found[revision] = None
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
    app = application(snapshot, key)
    refuse_hydrated(app, snapshot.argocd)
    chosen = choose_source(app, version, source)
    wanted = choose_version(app, chosen, version, snapshot)
    warnings: list[str] = []
    steps: list[Edit | Order] = []
    unchanged: list[EditResult] = []
    total = _Protection()
    pinned = app
    if chosen.revision == wanted.revision:
        unchanged.append(
            EditResult(ref_of(app), Verdict.UNCHANGED, "pinned", detail=f"already at {wanted.revision}")
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
        stays_on = applications.is_auto_sync_on(app) and ref_of(app) not in {
            g.edit.ref for g in total.guards.values() if g.edit
        }
        act = will_act(snapshot, pinned, auto_sync=stays_on)
        warnings += act.warnings
        if act.needs_order:
            operation = applications.sync_operation(app, id=order_id, actor=actor, reason=reason)
            steps.append(Order(ref_of(app), order_id, operation, act.why))
    name = app_arguments(key, snapshot.argocd)
    return _plan(
        "pin", total, steps, unchanged=unchanged, warnings=warnings, notes=wanted.notes,
        questions=wanted.questions,
        next_commands=[f"{COMMAND} watch {name}"],
    )  # fmt: skip


def _with(app: JSON, change: Change) -> JSON:
    return patches.applied(app, (change,))


@dataclass(frozen=True, slots=True)
class Act:
    """Whether Argo CD will carry out what the spec asks for, and what to do where it will not."""

    needs_order: bool
    why: str = ""
    warnings: tuple[str, ...] = ()


def will_act(snapshot: Snapshot, app: JSON, *, auto_sync: bool) -> Act:
    """Say how the controller comes to sync `app` as it will be: by itself, by an order, or not at all.

    Argo CD: appcontroller.go autoSync and alreadyAttemptedSync; sync.go SyncAppState.
    """
    key = applications.key_of(app)
    name = app_arguments(key, snapshot.argocd)
    obstacles = list(obstacles_of(snapshot, app))
    running = applications.operation(app)
    if running.in_progress:
        if running.is_orphaned or running.is_blocked_by_window or running.waits_for_retry:
            what = f"an operation is in the way ({running.describe()})"
        else:
            what = f"an operation is in progress ({running.describe()}) and must end first"
        obstacles.append(f"{what}; end it: {COMMAND} terminate {name}, then: {COMMAND} sync {name}")
        return Act(False, warnings=tuple(obstacles))
    automatic = judge(snapshot, app, manual=False)
    manual = judge(snapshot, app, manual=True)
    if auto_sync and automatic.can_sync and not _auto_sync_gave_up(app):
        return Act(False, "auto-sync does it", tuple(obstacles))
    if manual.can_sync:
        if not auto_sync:
            why = "auto-sync is off"
        elif not automatic.can_sync:
            why = "a window stops auto-sync, but not a manual sync"
        else:
            why = "auto-sync does not try a failed version again"
        return Act(True, why, tuple(obstacles))
    return Act(False, warnings=(*obstacles, blocked_text(snapshot, app, manual)))


def blocked_text(snapshot: Snapshot, app: JSON, verdict: windows.Judgement) -> str:
    """Say that windows stop an app, which, until when, and what to do."""
    key = applications.key_of(app)
    name = display_name(key, snapshot.argocd)
    what = verdict.error or ", ".join(
        f"{windows.describe(w)} (AppProject {w.project})" for w in verdict.blocking
    )
    end = windows.until(app_windows(snapshot, app), app, snapshot.now, manual=True)
    until = f" until {end:%Y-%m-%d %H:%M} UTC" if end else ""
    return (
        f"{name} will not roll out: sync windows stop it{until}: {what}; "
        f"free it: {COMMAND} unblock {app_arguments(key, snapshot.argocd)}"
    )


def _auto_sync_gave_up(app: JSON) -> bool:
    """Whether auto-sync tried just this source and failed (AC:2676 alreadyAttemptedSync)."""
    state = (app.get("status") or {}).get("operationState") or {}
    if state.get("phase") not in ("Failed", "Error"):
        return False
    result = state.get("syncResult") or {}
    spec = app.get("spec") or {}
    if spec.get("sources"):
        return bool(result.get("sources") == spec["sources"])
    return bool(result.get("source") == spec.get("source"))


def obstacles_of(snapshot: Snapshot, app: JSON) -> list[str]:
    """Say what else keeps Argo CD from acting on an app: not served, skipped, project or parts missing."""
    argocd = snapshot.argocd
    key = applications.key_of(app)
    name = display_name(key, argocd)
    found: list[str] = []
    if not served(app, argocd):
        found.append(
            f"Argo CD in {argocd.namespace} does not serve namespace {key.namespace}: nothing will act on {name}; "
            f"see application.namespaces in ConfigMap {argocd.namespace}/argocd-cmd-params-cm"
        )
    if applications.is_skipping_reconcile(app):
        found.append(
            f"{name} is annotated argocd.argoproj.io/skip-reconcile: nothing will act on it; take the annotation away"
        )
    if app["metadata"].get("deletionTimestamp"):
        found.append(f"{name} is being deleted")
    project = project_key(snapshot, app)
    if project in snapshot.missing:
        found.append(f"{project} does not exist: Argo CD syncs nothing of it; create it, or set spec.project")
    for part, consequence in (
        ("application-controller", "nothing reconciles, so nothing will roll out"),
        ("repo-server", "no version can be rendered, so nothing will roll out"),
    ):
        if is_part_down(snapshot, part):
            found.append(
                f"Argo CD's {part} has no ready pod: {consequence}; "
                f"see: kubectl get pods -n {argocd.namespace}"
            )
    if not found:
        reconciled = applications.reconciled_at(app)
        if reconciled and (snapshot.now - reconciled).total_seconds() > stale_after(argocd):
            age = human(snapshot.now - reconciled)
            found.append(
                f"Argo CD last looked at {name} {age} ago: its controller may be down; "
                f"see: kubectl get pods -n {argocd.namespace}"
            )
        found += [
            f"Argo CD reports {c.get('type')} for {name}: {str(c.get('message', ''))[:300]}"
            for c in applications.conditions(app, "ComparisonError", "InvalidSpecError", "UnknownError")
        ]
    return found


def stale_after(argocd: ArgoCD) -> float:
    """Seconds after which a comparison is too old for a live controller (twice resync and jitter)."""
    return 2 * (120 + 60) + 60.0


def is_part_down(snapshot: Snapshot, part: str) -> bool:
    """Whether a workload of that component is there and none of its kind has a ready pod.

    An install whose parts are not found says nothing: labels differ.
    """
    found = [
        o
        for k, o in snapshot.objects.items()
        if k.kind in ("Deployment", "StatefulSet")
        and k.namespace == snapshot.argocd.namespace
        and (o["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == part
    ]
    return bool(found) and not any((o.get("status") or {}).get("readyReplicas") for o in found)


# -- sync


def plan_sync(
    snapshot: Snapshot, key: Key, *, order_id: str, actor: str, reason: str = "", prune: bool = False
) -> Plan:
    """Order a manual sync to what the spec says. Raises RefusedError where it could not run."""
    app = application(snapshot, key)
    name = app_arguments(key, snapshot.argocd)
    running = applications.operation(app)
    if running.in_progress:
        raise RefusedError(
            f"{key} has an operation in progress: {running.describe()}",
            f"watch it: {COMMAND} watch {name}; or end it: {COMMAND} terminate {name}",
        )
    verdict = judge(snapshot, app, manual=True)
    if not verdict.can_sync:
        raise RefusedError(blocked_text(snapshot, app, verdict))
    operation = applications.sync_operation(app, id=order_id, actor=actor, reason=reason, prune=prune)
    return _plan(
        "sync",
        _Protection(),
        [Order(ref_of(app), order_id, operation, "manual sync")],
        warnings=obstacles_of(snapshot, app),
        next_commands=[f"{COMMAND} watch {name}"],
    )


# -- rollback


def choose_deployment(app: JSON, to: str | None, *, pinned: bool = False) -> Deployment:
    """Pick the deployment to go back to: by history id, by version, else the last good one.

    `pinned` says that an open entry of the journal has pinned what the app asks for now.

    Raises RefusedError where history has none, NotFound where it has not that one.
    """
    key = applications.key_of(app)
    past = applications.history(app)
    if not past:
        raise RefusedError(
            f"{key} has no history: it was never deployed by a full sync, or keeps none",
            f"say a version yourself: {COMMAND} pin {key.name} VERSION",
        )
    if to is None:
        good = applications.last_good(app, pinned=pinned)
        if good is None:
            raise RefusedError(
                f"{key} was never deployed in another version than the one that fails",
                f"say a version yourself: {COMMAND} pin {key.name} VERSION",
            )
        return good
    by_id = [d for d in past if to.isdigit() and d.id == int(to)]
    names = [d for d in past if to in d.revisions or to in (str(s.get("targetRevision")) for s in d.sources)]
    shas = [d for d in past if applications.is_sha(to) and any(r.startswith(to) for r in d.revisions)]
    for found in (by_id, names, shas):
        if found:
            return found[-1]
    known = ", ".join(f"{d.id} ({', '.join(d.revisions)})" for d in reversed(past[-5:]))
    raise NotFound(f"{key} has no deployment {to!r} in its history", f"it has {known}", status=404)


def rollback_operation(
    app: JSON, deployment: Deployment, *, id: str, actor: str, reason: str = "", prune: bool = False
) -> dict[str, JSON]:
    """Build the operation that deploys from history (Argo CD: server/application Rollback).

    Hooks do not run, as with Argo CD's own. Source and revision come from history, so that another
    path or other parameters of then come with it.
    """
    policy = (app.get("spec") or {}).get("syncPolicy") or {}
    sync: dict[str, JSON] = {"prune": prune, "syncStrategy": {"apply": {}}}
    if policy.get("syncOptions"):
        sync["syncOptions"] = list(policy["syncOptions"])
    if applications.has_multiple_sources(app) or len(deployment.sources) > 1:
        sync["sources"], sync["revisions"] = list(deployment.sources), list(deployment.revisions)
    else:
        sync["source"], sync["revision"] = deployment.sources[0], deployment.revisions[0]
    info = [{"name": applications.INFO_NAME, "value": id}]
    if reason:
        info.append({"name": "reason", "value": reason})
    return {
        "initiatedBy": {"username": f"argo-rescue:{actor}" if actor else "argo-rescue"},
        "info": info,
        "sync": sync,
    }


def plan_rollback(
    snapshot: Snapshot,
    key: Key,
    *,
    order_id: str,
    actor: str,
    reason: str = "",
    to: str | None = None,
    pinned: bool = False,
    only: bool = False,
    prune: bool = False,
) -> Plan:
    """Deploy a version from history, with auto-sync paused so that it stays."""
    app = application(snapshot, key)
    name = app_arguments(key, snapshot.argocd)
    deployment = choose_deployment(app, to, pinned=pinned)
    running = applications.operation(app)
    if running.in_progress:
        raise RefusedError(
            f"{key} has an operation in progress: {running.describe()}",
            f"end it first: {COMMAND} terminate {name}",
        )
    verdict = judge(snapshot, app, manual=True)
    if not verdict.can_sync:
        raise RefusedError(blocked_text(snapshot, app, verdict))
    steps: list[Edit | Order] = []
    total = _Protection()
    pause = applications.pause_change(app, snapshot.argocd)
    warnings = obstacles_of(snapshot, app)
    if pause is not None:
        total += protect(snapshot, app, (pause,), only=only)
        steps.append(Edit(ref_of(app), (pause,), "auto-sync would move it forward again at once", Role.PAUSE))
    else:
        total += _stop_rolling_sync(snapshot, app, only=only)
    operation = rollback_operation(app, deployment, id=order_id, actor=actor, reason=reason, prune=prune)
    steps.append(
        Order(
            ref_of(app), order_id, operation, f"to {describe_deployment(deployment)}", kind=OrderKind.ROLLBACK
        )
    )
    return _plan("rollback", total, steps, warnings=warnings, next_commands=[f"{COMMAND} watch {name}"])


def describe_deployment(deployment: Deployment) -> str:
    """Say a deployment in one phrase: its id, versions and time."""
    when = f" of {deployment.deployed:%Y-%m-%d %H:%M} UTC" if deployment.deployed else ""
    return f"{', '.join(deployment.revisions)} (history id {deployment.id}{when})"


# -- terminate


def plan_terminate(snapshot: Snapshot, key: Key, *, order_id: str, force: bool = False) -> Plan:
    """End the operation in progress, by the means that fits how far it is.

    Running: phase Terminating, as Argo CD's API does. Not picked up yet: taken back. Orphaned, or
    with `force`: its end is written by hand, since no controller will.
    """
    app = application(snapshot, key)
    name = app_arguments(key, snapshot.argocd)
    running = applications.operation(app)
    if not running.in_progress:
        return Plan(
            "terminate",
            unchanged=(
                EditResult(
                    ref_of(app), Verdict.UNCHANGED, "terminated", detail="no operation is in progress"
                ),
            ),
        )
    ended = {
        "phase": "Failed",
        "message": "aborted by argo-rescue",
        "finishedAt": f"{snapshot.now:%Y-%m-%dT%H:%M:%SZ}",
    }
    warnings: list[str] = []
    questions: list[str] = []
    if running.is_orphaned or (force and running.phase):
        if not running.is_orphaned:
            questions.append(f"the operation of {name} is cleared by hand: hooks that run are left running")
        order = Order(ref_of(app), order_id, ended, running.describe(), kind=OrderKind.ABORT)
    elif not running.phase:
        order = Order(ref_of(app), order_id, None, "nobody has picked it up yet", kind=OrderKind.WITHDRAW)
    elif running.phase == "Terminating":
        return Plan(
            "terminate",
            unchanged=(
                EditResult(ref_of(app), Verdict.UNCHANGED, "terminated", detail="already terminating"),
            ),
        )
    else:
        order = Order(ref_of(app), order_id, None, running.describe(), kind=OrderKind.TERMINATE)
    if is_part_down(snapshot, "application-controller") and order.kind is OrderKind.TERMINATE:
        warnings.append(
            "Argo CD's application-controller has no ready pod: nobody will end the operation; "
            f"--force clears it by hand: {COMMAND} terminate {name} --force"
        )
    return _plan("terminate", _Protection(), [order], warnings=warnings, questions=questions)


# -- rescue


@dataclass(frozen=True, slots=True)
class Rescue:
    """All of a rescue, before its first write, in the order of doing."""

    plan: Plan
    """Every step, for showing, permissions and questions."""
    owners: tuple[Edit, ...]
    pin: tuple[Edit, ...]
    windows: tuple[Edit, ...]
    order: Order | None
    """Ordered where auto-sync will not do it by itself."""
    owner_keys: tuple[Key, ...]
    """Owners that must stand still before the pin."""
    ends_operation: bool
    """An operation of the app itself is in the way."""
    version: str
    """What it will run, in words."""
    reopened: tuple[Edit, ...] = ()
    """Closes again what was opened on windows that others share."""


def plan_rescue(
    snapshot: Snapshot,
    key: Key,
    version: str | None,
    *,
    order_id: str,
    actor: str,
    good: Deployment | None = None,
    reason: str = "",
    source: str | None = None,
    only: bool = False,
    pause_only: bool = False,
    whole_source: bool = False,
) -> Rescue:
    """Plan everything between a broken app and a good version that stays.

    `good` is the deployment to go back to where no version is named: chosen once, since the last
    good one is another as soon as the pin is compared.
    """
    app = application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    if pause_only:
        plan = plan_pause(snapshot, [key], only=only)
        own = tuple(s for s in plan.steps if isinstance(s, Edit))
        return Rescue(replace(plan, verb="rescue"), own, (), (), None, (), False, "paused only")
    warnings: list[str] = []
    questions: list[str] = []
    changes, notes, asked, words = _rescue_changes(
        snapshot, app, version or good or choose_deployment(app, None), source, whole_source
    )
    questions += asked
    total = _Protection()
    unchanged: list[EditResult] = []
    pin: tuple[Edit, ...] = ()
    pinned = app
    total += protect(snapshot, app, changes, only=only)
    if changes:
        generated = any(o.kind == "ApplicationSet" for o, _ in owners.owners_of(snapshot, app))
        pin = (
            Edit(ref_of(app), changes, f"to {words}", Role.VERSION, hold=HOLD_SECONDS if generated else 0.0),
        )
        pinned = patches.applied(app, changes)
    else:
        unchanged.append(EditResult(ref_of(app), Verdict.UNCHANGED, "pinned", detail=f"already at {words}"))
    opened = window_edits(snapshot, app)
    reopened: list[Edit] = []
    for edit in opened:
        total += protect(snapshot, snapshot.objects[edit.ref.key], edit.changes, only=only)
        shared = tuple(patches.inverse(c) for c in edit.changes if isinstance(c, FieldChange))
        if shared:
            reopened.append(Edit(edit.ref, shared, "closed again for the others", Role.WINDOW))
    questions += _others_freed(snapshot, opened, key) if opened else []
    after = dict(snapshot.objects)
    for edit in opened:
        after[edit.ref.key] = patches.applied(after[edit.ref.key], edit.changes)
    running = applications.operation(app)
    idle = {k: v for k, v in pinned.items() if k != "operation"}
    if running.in_progress:
        idle = {**idle, "status": {**(idle.get("status") or {}), "operationState": None}}
    stays_on = applications.is_auto_sync_on(app) and ref_of(app) not in {
        g.edit.ref for g in total.guards.values() if g.edit
    }
    act = will_act(replace(snapshot, objects=after), idle, auto_sync=stays_on)
    warnings += act.warnings
    if trouble := source_trouble(snapshot, app):
        questions.append(
            f"{trouble}: {words} may not roll out; what the cluster itself remembers needs no source: "
            f"{COMMAND} rescue {app_arguments(key, snapshot.argocd)} --workloads"
        )
    order = None
    if act.needs_order:
        operation = applications.sync_operation(app, id=order_id, actor=actor, reason=reason)
        order = Order(ref_of(app), order_id, operation, act.why)
    if running.in_progress:
        notes.append(f"an operation of {name} is in the way and is ended first: {running.describe()}")
    steps: list[Edit | Order] = [*pin, *opened, *([order] if order else [])]
    plan = _plan(
        "rescue", total, steps, unchanged=unchanged, warnings=warnings, notes=notes, questions=questions,
        next_commands=[f"{COMMAND} watch {app_arguments(key, snapshot.argocd)}"],
    )  # fmt: skip
    guards = tuple(s for s in plan.steps if isinstance(s, Edit) and s not in pin and s not in opened)
    watched = tuple(
        dict.fromkeys(
            [e.ref.key for e in guards if e.ref.kind == "Application" and e.ref.key != key]
            + [r.key for r in total.relies.values() if r.key.kind == "Application"]
        )
    )
    return Rescue(plan, guards, pin, opened, order, watched, running.in_progress, words, tuple(reopened))


def source_trouble(snapshot: Snapshot, app: JSON) -> str:
    """Say why Argo CD may not be able to render any version of an app; empty where nothing says so.

    Git or the chart repository may be behind the very ingress that is broken (argo-cd#21480).
    """
    if is_part_down(snapshot, "repo-server"):
        return "Argo CD's repo-server has no ready pod"
    name = display_name(applications.key_of(app), snapshot.argocd)
    errors = applications.conditions(app, "ComparisonError")
    if errors:
        return f"Argo CD cannot compare {name} with its sources ({str(errors[0].get('message', ''))[:300]})"
    if applications.sync_status(app) == "Unknown":
        return f"Argo CD cannot say whether {name} is synced (status Unknown)"
    return ""


HOLD_SECONDS = 3.0
"""How long an edit of a generated Application must stay before it counts."""


def _rescue_changes(
    snapshot: Snapshot, app: JSON, to: str | Deployment, selector: str | None, whole_source: bool
) -> tuple[tuple[FieldChange, ...], list[str], list[str], str]:
    """Return the changes to the version, what is worth saying, what must be asked, and it in words."""
    refuse_hydrated(app, snapshot.argocd)
    if isinstance(to, str):
        chosen = choose_source(app, to, selector)
        wanted = choose_version(app, chosen, to, snapshot)
        change = _revision_change(chosen, wanted.revision)
        return (change,) if change else (), list(wanted.notes), list(wanted.questions), wanted.revision
    good = to
    now_sources = applications.sources(app)
    notes = [f"last good: {describe_deployment(good)}" + _for_how_long(good, snapshot)]
    if len(good.sources) != len(now_sources):
        raise RefusedError(
            f"{applications.key_of(app)} had {len(good.sources)} source(s) when it was good and has "
            f"{len(now_sources)} now",
            f"deploy it from history instead: {COMMAND} rollback "
            f"{app_arguments(applications.key_of(app), snapshot.argocd)} --to {good.id}",
        )
    changes: list[FieldChange] = []
    for s, body, revision in zip(now_sources, good.sources, good.revisions, strict=False):
        kept = {k: v for k, v in s.body.items() if k != s.revision_field}
        was = {k: v for k, v in body.items() if k != "targetRevision"}
        differing = sorted(
            k for k in {*kept, *was} if kept.get(k) != was.get(k) and s.kind is not SourceKind.HYDRATOR
        )
        if differing and whole_source:
            changes.append(FieldChange(_by_index(s), s.body, {**body, "targetRevision": revision}))
            continue
        if differing:
            notes.append(
                f"{', '.join(differing)} of the source changed as well since then; --whole-source takes "
                "the whole old source back"
            )
        if s.yields_manifests or revision:
            change = _revision_change(s, revision)
            if change:
                changes.append(change)
    return tuple(changes), notes, [], ", ".join(r for r in good.revisions if r)


def _by_index(source: Source) -> Path:
    if source.path and isinstance(source.path[-1], Match):
        return (*source.path[:-1], Match((), source.path[-1].index))
    return source.path


def _revision_change(source: Source, revision: str) -> FieldChange | None:
    if not revision or source.revision == revision:
        return None
    return FieldChange(source.revision_path, source.body.get(source.revision_field, ABSENT), revision)


def _for_how_long(deployment: Deployment, snapshot: Snapshot) -> str:
    span = deployment.in_force(snapshot.now)
    return f", in force for {human(span)}" if span is not None else ""


def window_edits(snapshot: Snapshot, app: JSON) -> tuple[Edit, ...]:
    """Return the edits of AppProjects after which no window stops the app, or at least no manual sync."""
    if project_key(snapshot, app) not in snapshot.objects:
        return ()
    relaxation = windows.relax(app_windows(snapshot, app), app, snapshot.now)
    name = display_name(applications.key_of(app), snapshot.argocd)
    return tuple(
        Edit(
            ref_of(snapshot.objects[Key("AppProject", snapshot.argocd.namespace, project)]),
            tuple(changes),
            f"no sync window stops {name}",
            Role.WINDOW,
        )
        for project, changes in relaxation.changes.items()
    )
