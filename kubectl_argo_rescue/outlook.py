"""What Argo CD will do with an Application as things stand: windows, obstacles, whether it acts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from . import application, globs, owners, windows
from .durations import human
from .errors import Forbidden, NotFound, RefusedError
from .foresight import Foresight
from .model import JSON, ArgoCD, Key, Snapshot
from .operation import operation
from .text import COMMAND, display_name


def application_of(snapshot: Snapshot, key: Key) -> JSON:
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


def living_application(snapshot: Snapshot, key: Key) -> JSON:
    """Return an Application that an edit may help. Raises NotFound, and RefusedError where it is going.

    Argo CD: appcontroller.go autoSync, processAppOperationQueueItem: neither acts on one being deleted.
    """
    app = application_of(snapshot, key)
    if app["metadata"].get("deletionTimestamp"):
        held = ", ".join(app["metadata"].get("finalizers") or ())
        raise RefusedError(
            f"{key} is being deleted: Argo CD will not deploy anything of it",
            "wait until it is gone and create it anew"
            + (f"; its finalizers hold it: {held}" if held else ""),
        )
    return app


def served(app: JSON, argocd: ArgoCD) -> bool:
    """Whether this Argo CD's controller looks at the app's namespace (AC:2747 isAppNamespaceAllowed).

    Where its parameters may not be read that is not known, which is no reason to say no.
    """
    namespace = app["metadata"].get("namespace", "")
    return not argocd.parameters_are_known or globs.is_app_namespace_allowed(
        namespace, argocd.namespace, argocd.application_namespaces, argocd.version
    )


def is_permitted(app: JSON, project: JSON, argocd: ArgoCD) -> bool:
    """Whether a project takes Applications from the app's namespace."""
    namespace = app["metadata"].get("namespace", "")
    patterns = (project.get("spec") or {}).get("sourceNamespaces") or ()
    return globs.is_app_namespace_permitted(namespace, argocd.namespace, patterns, argocd.version)


def frozen_until(snapshot: Snapshot, app: JSON) -> str | None:
    """Say until when windows keep an app from syncing by itself; None where nothing does."""
    question = ("frozen until", application.key_of(app))
    if question not in snapshot.answers:
        snapshot.answers[question] = _frozen_until(snapshot, app)
    answer: str | None = snapshot.answers[question]
    return answer


def _frozen_until(snapshot: Snapshot, app: JSON) -> str | None:
    if owners.serving(app, snapshot.argocd) is not snapshot.argocd:
        return None  # the windows of another Argo CD are not read
    verdict = windows_allow(snapshot, app, manual=False)
    if verdict.can_sync:
        return None
    change = Foresight(snapshot.now).next_change(app_windows(snapshot, app), app, manual=False)
    if change.not_before:
        return f"no change before {change.not_before:%Y-%m-%d %H:%M} UTC"
    return f"{change.at:%Y-%m-%d %H:%M} UTC" if change.at else "no end in sight"


def app_windows(snapshot: Snapshot, app: JSON) -> tuple[windows.Window, ...]:
    """Return the windows of the app's project and of the global projects that apply to it."""
    project = snapshot.objects.get(project_key(snapshot, app))
    if project is None:
        return ()
    return tuple(windows.effective_windows(project, projects(snapshot), snapshot.argocd))


def project_key(snapshot: Snapshot, app: JSON) -> Key:
    """Name the app's project: projects are read only from Argo CD's own namespace (AC:241)."""
    return Key("AppProject", snapshot.argocd.namespace, application.project_name(app))


def require_project(snapshot: Snapshot, app: JSON) -> None:
    """Raise Forbidden where the AppProject may not be read: what its windows say is not known then."""
    key = project_key(snapshot, app)
    if key not in snapshot.objects and key not in snapshot.missing:
        raise Forbidden(
            f"{key} cannot be read, so whether its sync windows stop "
            f"{display_name(application.key_of(app), snapshot.argocd)} is not known",
            f"nothing was changed; ask for the right to get appprojects in {key.namespace}",
            status=403,
            reason="Forbidden",
        )


def projects(snapshot: Snapshot) -> list[JSON]:
    """Return every AppProject that the snapshot has."""
    return [o for k, o in snapshot.objects.items() if k.kind == "AppProject"]


def windows_allow(snapshot: Snapshot, app: JSON, *, manual: bool) -> windows.Judgement:
    """Say whether windows let the app sync now: by itself, or by an operation that somebody orders."""
    found = app_windows(snapshot, app)
    if manual:
        return windows.judge_operation(found, app, snapshot.now)
    return windows.judge_sync(found, app, snapshot.now, manual=False)


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
    key = application.key_of(app)
    name = display_name(key, snapshot.argocd)
    obstacles = list(obstacles_of(snapshot, app))
    running = operation(app)
    if running.in_progress:
        if running.is_orphaned or running.is_blocked_by_window or running.waits_for_retry:
            what = f"an operation is in the way ({running.describe()})"
        else:
            what = f"an operation is in progress ({running.describe()}) and must end first"
        obstacles.append(f"{what}; end it: {COMMAND} terminate {name}, then: {COMMAND} sync {name}")
        return Act(False, warnings=tuple(obstacles))
    automatic = windows_allow(snapshot, app, manual=False)
    manual = windows_allow(snapshot, app, manual=True)
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
    key = application.key_of(app)
    name = display_name(key, snapshot.argocd)
    what = verdict.error or ", ".join(
        f"{windows.describe(w)} (AppProject {w.project})" for w in verdict.blocking
    )
    end = Foresight(snapshot.now).next_change(app_windows(snapshot, app), app, manual=True)
    until = f" until {end.at:%Y-%m-%d %H:%M} UTC" if end.at else ""
    until = f", no change before {end.not_before:%Y-%m-%d %H:%M} UTC" if end.not_before else until
    if verdict.error:
        way = (
            "mend the AppProject by hand: kubectl edit appprojects.argoproj.io -n "
            f"{snapshot.argocd.namespace} {application.project_name(app)}"
        )
    elif windows_allow(snapshot, app, manual=True).can_sync:
        way = f"a manual sync gets through: {COMMAND} sync {name}"
    else:
        way = f"free it: {COMMAND} unblock {name}"
    return f"{name} will not roll out: sync windows stop it{until}: {what}; {way}"


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
    """Say what else keeps Argo CD from acting on an app: not served or permitted, skipped, parts missing."""
    argocd = snapshot.argocd
    key = application.key_of(app)
    name = display_name(key, argocd)
    found: list[str] = []
    if not served(app, argocd):
        found.append(
            f"Argo CD in {argocd.namespace} does not serve namespace {key.namespace}: nothing will act on {name}; "
            f"see application.namespaces in ConfigMap {argocd.namespace}/argocd-cmd-params-cm"
        )
    if application.is_skipping_reconcile(app):
        found.append(
            f"{name} is annotated argocd.argoproj.io/skip-reconcile: nothing will act on it; take the annotation away"
        )
    if app["metadata"].get("deletionTimestamp"):
        found.append(f"{name} is being deleted")
    project = project_key(snapshot, app)
    if project in snapshot.missing:
        found.append(f"{project} does not exist: Argo CD syncs nothing of it; create it, or set spec.project")
    elif project in snapshot.objects and not is_permitted(app, snapshot.objects[project], argocd):
        found.append(
            f"{project} does not permit applications of namespace {key.namespace}: Argo CD syncs nothing of "
            f"{name}; add the namespace to its spec.sourceNamespaces, or set spec.project"
        )
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
        reconciled = application.reconciled_at(app)
        if reconciled and (snapshot.now - reconciled).total_seconds() > stale_after(argocd):
            age = human(snapshot.now - reconciled)
            found.append(
                f"Argo CD last looked at {name} {age} ago: its controller may be down; "
                f"see: kubectl get pods -n {argocd.namespace}"
            )
        found += [
            f"Argo CD reports {c.get('type')} for {name}: {str(c.get('message', ''))[:300]}"
            for c in application.conditions(app, "ComparisonError", "InvalidSpecError", "UnknownError")
        ]
    return found


def stale_after(argocd: ArgoCD) -> float:
    """Seconds after which a comparison is too old for a live controller (twice resync and jitter)."""
    return 2 * (120 + 60) + 60.0


def is_part_down(snapshot: Snapshot, part: str) -> bool:
    """Whether a workload of that component is there and none of its kind has a ready pod.

    An install whose parts are not found says nothing: labels differ.
    """
    found = _workloads_of(snapshot, part)
    return bool(found) and not any((o.get("status") or {}).get("readyReplicas") for o in found)


def _workloads_of(snapshot: Snapshot, part: str) -> list[JSON]:
    return [
        o
        for k, o in snapshot.objects.items()
        if k.kind in ("Deployment", "StatefulSet")
        and k.namespace == snapshot.argocd.namespace
        and (o["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == part
    ]


def controller_of_sets(snapshot: Snapshot) -> JSON | None:
    """Return the workload of Argo CD's ApplicationSet controller, whose flags decide what it may write."""
    return next(iter(_workloads_of(snapshot, "applicationset-controller")), None)


def source_trouble(snapshot: Snapshot, app: JSON) -> str:
    """Say why Argo CD may not be able to render any version of an app; empty where nothing says so.

    Git or the chart repository may be behind the very ingress that is broken (argo-cd#21480).
    """
    if is_part_down(snapshot, "repo-server"):
        return "Argo CD's repo-server has no ready pod"
    name = display_name(application.key_of(app), snapshot.argocd)
    errors = application.conditions(app, "ComparisonError")
    if errors:
        return f"Argo CD cannot compare {name} with its sources ({str(errors[0].get('message', ''))[:300]})"
    if application.sync_status(app) == "Unknown":
        return f"Argo CD cannot say whether {name} is synced (status Unknown)"
    return ""
