"""What Argo CD will do with an Application as things stand: windows, obstacles, whether it acts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from ..model.text import COMMAND, cause, display_name
from ..model.times import human
from ..model.values import JSON, ArgoCD, Key, Snapshot
from . import application, installation, ownership, windows
from .application import project_key, projects
from .components import is_part_down, longest_silence
from .installation import is_permitted, served
from .operation import operation
from .windows import Judgement, Window

if TYPE_CHECKING:
    from .foresight import NextChange


def frozen_until(snapshot: Snapshot, app: JSON) -> str | None:
    """Say until when windows keep an app from syncing by itself; None where nothing does."""
    question = ("frozen until", application.key_of(app))
    if question not in snapshot.answers:
        snapshot.answers[question] = _frozen_until(snapshot, app)
    answer: str | None = snapshot.answers[question]
    return answer


def _frozen_until(snapshot: Snapshot, app: JSON) -> str | None:
    if ownership.serving(app, snapshot.argocd) is not snapshot.argocd:
        return None  # the windows of another Argo CD are not read
    verdict = windows_allow(snapshot, app, manual=False)
    if verdict.can_sync:
        return None
    from .foresight import Foresight  # lazy: most applications have no window

    change = Foresight(snapshot.now).next_change(app_windows(snapshot, app), app, manual=False)
    if change.not_before:
        return f"no change before {change.not_before:%Y-%m-%d %H:%M} UTC"
    return f"{change.at:%Y-%m-%d %H:%M} UTC" if change.at else "no end scheduled"


def app_windows(snapshot: Snapshot, app: JSON) -> tuple[windows.Window, ...]:
    """Return the windows of the app's project and of the global projects that apply to it."""
    project = snapshot.objects.get(project_key(snapshot, app))
    if project is None:
        return ()
    return tuple(windows.effective_windows(project, projects(snapshot), snapshot.argocd))


def windows_allow(snapshot: Snapshot, app: JSON, *, manual: bool) -> windows.Judgement:
    """Say whether windows let the app sync now: by itself, or by an operation that somebody orders."""
    found = app_windows(snapshot, app)
    if manual:
        return windows.judge_operation(found, app, snapshot.now)
    return windows.judge_sync(found, app, snapshot.now, manual=False)


class Act(Struct, frozen=True):
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
    from .foresight import Foresight  # lazy: most applications have no window

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
        if reconciled and (snapshot.now - reconciled).total_seconds() > longest_silence(argocd):
            age = human(snapshot.now - reconciled)
            found.append(
                f"Argo CD last looked at {name} {age} ago: its controller may be down; "
                f"see: kubectl get pods -n {argocd.namespace}"
            )
        found += [
            f"Argo CD reports {c.get('type')} for {name}: {cause(str(c.get('message', '')))}"
            for c in application.conditions(app, "ComparisonError", "InvalidSpecError", "UnknownError")
        ]
    return found


def source_trouble(snapshot: Snapshot, app: JSON) -> str:
    """Say why Argo CD may not be able to render any version of an app; empty where nothing says so.

    Git or the chart repository may be behind the very ingress that is broken (argo-cd#21480).
    """
    if is_part_down(snapshot, "repo-server"):
        return "Argo CD's repo-server has no ready pod"
    name = display_name(application.key_of(app), snapshot.argocd)
    errors = application.conditions(app, "ComparisonError")
    if errors:
        return f"Argo CD cannot compare {name} with its sources ({cause(str(errors[0].get('message', '')))})"
    if application.sync_status(app) == "Unknown":
        return f"Argo CD cannot say whether {name} is synced (status Unknown)"
    return ""


class WindowVerdict(Struct, frozen=True):
    """What the windows say of one Application, both for automatic and for manual syncs."""

    key: Key
    project: str
    windows: tuple[Window, ...]
    """All windows of its project and of the global projects that apply."""
    automatic: Judgement
    manual: Judgement
    until_automatic: NextChange
    """When the verdict changes next."""
    until_manual: NextChange
    is_served: bool
    """Whether this Argo CD looks at its namespace at all."""
    is_project_missing: bool = False
    is_permitted: bool = True
    """Whether its project takes Applications from its namespace."""
    unknown: str = ""
    """Why nothing can be said: the project may not be read."""

    @property
    def error(self) -> str:
        """Argo CD's complaint about a window, or why the windows are not known."""
        return self.unknown or self.automatic.error or self.manual.error

    @property
    def blocking(self) -> tuple[Window, ...]:
        """The windows that stand in the way of either kind of sync, each once."""
        return tuple(dict.fromkeys((*self.automatic.blocking, *self.manual.blocking)))

    def blocks(self, window: Window) -> tuple[str, ...]:
        """Say which kinds of sync a window stands in the way of."""
        kinds = (("automatic", self.automatic), ("manual", self.manual))
        return tuple(name for name, judgement in kinds if window in judgement.blocking)


def judge_apps(
    apps: Iterable[JSON],
    projects: Iterable[JSON],
    argocd: ArgoCD,
    now: datetime,
    *,
    unreadable: frozenset[str] = frozenset(),
    look_ahead: bool = True,
) -> list[WindowVerdict]:
    """Judge Applications by the AppProjects of Argo CD's namespace.

    Apps that the same windows match share the work. An app of a project that does not exist has no
    windows.

    Args:
        apps: the Applications.
        projects: the AppProjects, global ones included.
        argocd: the installation.
        now: the instant, aware.
        unreadable: names of projects that may not be read: nothing can be said of their apps.
        look_ahead: also find out until when, which takes a little per set of windows.
    """
    from .foresight import Foresight, NextChange  # lazy: most verbs ask for no windows

    by_name = {project["metadata"]["name"]: project for project in projects}
    effective = {
        name: windows.effective_windows(project, by_name.values(), argocd)
        for name, project in by_name.items()
    }
    known: dict[tuple[tuple[str, int], ...], tuple[Judgement, Judgement, NextChange, NextChange]] = {}
    ahead = Foresight(now)
    is_held = windows.are_operations_held(argocd.version)
    found: list[WindowVerdict] = []
    for app in apps:
        key = application.key_of(app)
        project = application.project_name(app)
        is_served = installation.served(app, argocd)
        if project in unreadable:
            no = Judgement(False)
            why = f"AppProject {argocd.namespace}/{project} may not be read: its windows are not known"
            found.append(
                WindowVerdict(key, project, (), no, no, NextChange(), NextChange(), is_served, unknown=why)
            )
            continue
        mine = effective.get(project, ())
        matching = windows.matched(mine, app)
        places = tuple((w.project, w.index) for w in matching)
        if places not in known:
            known[places] = (
                windows.judge_sync(matching, app, now, manual=False),
                windows.judge_operation(matching, app, now),
                ahead.next_change_of(matching, manual=False) if look_ahead else NextChange(),
                ahead.next_change_of(matching, manual=True) if look_ahead and is_held else NextChange(),
            )
        home = by_name.get(project)
        is_permitted = home is None or installation.is_permitted(app, home, argocd)
        found.append(WindowVerdict(key, project, mine, *known[places], is_served, home is None, is_permitted))
    return found
