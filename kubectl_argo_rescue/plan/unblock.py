"""Plans the least change of sync windows that lets one application through. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application, globs, windows
from ..argocd.application import living_application, project_key, project_name, projects, require_project
from ..argocd.reconciliation import app_windows, windows_allow
from ..argocd.windows import (
    IDENTITY,
    Judgement,
    Window,
    describe,
    effective_windows,
    judge_operation,
    judge_sync,
    matched,
    matches,
    names_app,
    parse_error,
    parsed,
)
from ..model import patches
from ..model.errors import Code, RefusedError
from ..model.text import COMMAND, display_name
from ..model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    Change,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Plan,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from .owners import Protection, protect
from .plan import joined


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
    relaxation = relax(effective, app, snapshot.now)
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
                code=Code.BLOCKED,
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
    changed = changed_verdicts(
        projects(snapshot), list(after.values()), others, snapshot.argocd, snapshot.now
    )
    if not changed:
        return []
    names = ", ".join(sorted(display_name(c.app, snapshot.argocd) for c in changed))
    return [f"the window edit also frees {names}"]


def window_edits(snapshot: Snapshot, app: JSON) -> tuple[Edit, ...]:
    """Return the edits of AppProjects after which no window stops the app, or at least no manual sync."""
    if project_key(snapshot, app) not in snapshot.objects:
        return ()
    relaxation = relax(app_windows(snapshot, app), app, snapshot.now)
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


# -- letting one app through


class Relaxation(Struct, frozen=True):
    """The changes that let one app sync, and what the windows then say about it."""

    changes: Mapping[str, tuple[Change, ...]]
    """By the AppProject's name (all are in Argo CD's namespace), in an order in which each index still holds; undo goes backwards."""
    blocked: tuple[Window, ...]
    """What blocked the app before, automatically or by hand."""
    remaining: tuple[tuple[Window, str], ...]
    """What still blocks afterwards, and in one sentence why it was left so."""
    automatic: Judgement
    """The decision after the changes."""
    manual: Judgement
    """The decision about manual operations after the changes."""
    windows: tuple[Window, ...]
    """The effective windows after the changes, `raw` included."""

    @property
    def needs_manual(self) -> bool:
        """Only a manual operation gets through; the app's own auto-sync stays blocked."""
        return self.manual.can_sync and not self.automatic.can_sync

    @property
    def notes(self) -> tuple[str, ...]:
        """What still blocks afterwards, one sentence each for the user."""
        return tuple(
            f"AppProject {window.project}, window {window.index}, {describe(window)}: {why}"
            for window, why in self.remaining
        )


def relax(windows: Iterable[Window], app: JSON, now: datetime) -> Relaxation:
    """Compute the least change to the windows of all projects concerned that lets an app sync.

    The app is taken out of every deny window that names it and can ever be active, now or later, and
    of every window that names it and cannot be parsed; of the allow windows that name it only where
    none of its allows is open. A window whose `applications` would become empty goes as a whole if
    it uses AND (an emptied list would widen it) or lists nothing else. What matches by a glob,
    namespace or cluster and blocks manual operations now gets `manualSync: true`, since taking it
    away would free other apps too.

    Args:
        windows: the effective windows of the app's project, global projects' included.
        app: the Application.
        now: the instant, aware.
    """
    before = tuple(windows)
    draft = _Draft(before, app)
    for window in matched(before, app):
        if parse_error(window) or (window.kind == "deny" and parsed(window)[1] > 0):
            draft.take_out(window)
    automatic = draft.judge(now, manual=False)
    if not automatic.error and any(window.kind == "allow" for window in automatic.blocking):
        for window in automatic.blocking:
            draft.take_out(window)
    manual = draft.judge_operation(now)
    if not manual.error:
        for window in manual.blocking:
            draft.allow_manual(window)
    blocked = {
        (window.project, window.index): window
        for is_manual in (False, True)
        for window in judge_sync(before, app, now, manual=is_manual).blocking
    }
    automatic = draft.judge(now, manual=False)
    return Relaxation(
        changes=draft.changes(),
        blocked=tuple(blocked.values()),
        remaining=tuple((window, draft.why(window)) for window in automatic.blocking),
        automatic=automatic,
        manual=draft.judge_operation(now),
        windows=draft.windows(),
    )


class _Draft:
    """The windows as they will be; places are (project, index), as they were."""

    def __init__(self, windows: Sequence[Window], app: JSON) -> None:
        self.before = windows
        self.app = app
        self.after: dict[tuple[str, int], Window | None] = {(w.project, w.index): w for w in windows}

    def windows(self) -> tuple[Window, ...]:
        # A global project may count twice; each of its windows then does as well.
        return tuple(after for w in self.before if (after := self.after[w.project, w.index]) is not None)

    def judge(self, now: datetime, *, manual: bool) -> Judgement:
        return judge_sync(self.windows(), self.app, now, manual=manual)

    def judge_operation(self, now: datetime) -> Judgement:
        return judge_operation(self.windows(), self.app, now)

    def take_out(self, window: Window) -> None:
        """Take the app's name out, if the window then no longer matches."""
        name = self.app["metadata"]["name"]
        kept = tuple(entry for entry in window.applications if entry != name)
        if kept == window.applications or not globs.is_literal(name):
            return
        if not kept and (window.and_operator or not (window.namespaces or window.clusters)):
            self.after[window.project, window.index] = None
            return
        narrowed = replace(window, applications=kept, raw={**window.raw, "applications": list(kept)})
        if not matches(narrowed, self.app):
            self.after[window.project, window.index] = narrowed

    def allow_manual(self, window: Window) -> None:
        raw = {**window.raw, "manualSync": True}
        self.after[window.project, window.index] = replace(window, manual_sync=True, raw=raw)

    def why(self, window: Window) -> str:
        """Say why a window was left as it is."""
        hits = [f"{hit.list} {hit.pattern}" for hit in names_app(window, self.app)]
        reason = f"it matches by {' and '.join(hits)}, so a change to it concerns other apps as well"
        if text := parse_error(window):
            return f"{text}, and {reason}; its schedule or duration has to be corrected"
        return f"{reason}; manual operations get through"

    def changes(self) -> dict[str, tuple[Change, ...]]:
        found: dict[str, list[Change]] = {}
        removals: dict[str, list[Change]] = {}
        seen: set[tuple[str, int]] = set()
        for window in sorted(self.before, key=lambda w: w.index):
            place = window.project, window.index
            after = self.after[place]
            if after == window or place in seen:
                continue
            seen.add(place)
            if after is None:
                # Last, and from the end, so that no other place moves.
                removal = MemberChange(("spec", "syncWindows"), window.raw, window.index, present=False)
                removals.setdefault(window.project, []).insert(0, removal)
            else:
                found.setdefault(window.project, []).extend(_steps(window, after))
        projects = dict.fromkeys((*found, *removals))
        return {name: (*found.get(name, ()), *removals.get(name, ())) for name in projects}


def _steps(before: Window, after: Window) -> Iterator[Change]:
    content = tuple((name, before.raw.get(name, ABSENT)) for name in IDENTITY)
    path = ("spec", "syncWindows", Match(content, before.index))
    for index in reversed(range(len(before.applications))):
        item = before.applications[index]
        if item not in after.applications:
            yield MemberChange((*path, "applications"), item, index, present=False)
    if before.manual_sync != after.manual_sync:
        yield FieldChange((*path, "manualSync"), before.raw.get("manualSync", ABSENT), True)


class VerdictChange(Struct, frozen=True):
    """What one app may do before and after a change of projects; each pair is (before, after)."""

    app: Key
    automatic: tuple[bool, bool]
    manual: tuple[bool, bool]


def changed_verdicts(
    before: Iterable[JSON], after: Iterable[JSON], apps: Iterable[JSON], argocd: ArgoCD, now: datetime
) -> tuple[VerdictChange, ...]:
    """List the apps whose decision differs between two states of the projects.

    Args:
        before: the AppProjects of Argo CD's namespace as they are.
        after: the same as they will be.
        apps: the Applications to look at; those of unknown projects are left out.
        argocd: the installation, for its version and its global projects.
        now: the instant, aware.
    """
    states = []
    for found in (list(before), list(after)):
        by_name = {project["metadata"]["name"]: project for project in found}
        states.append({name: effective_windows(p, found, argocd) for name, p in by_name.items()})
    found = []
    for app in apps:
        project = project_name(app)
        if any(project not in state for state in states):
            continue
        automatic, manual = (
            tuple(judge_sync(state[project], app, now, manual=is_manual).can_sync for state in states)
            for is_manual in (False, True)
        )
        if len(set(automatic)) > 1 or len(set(manual)) > 1:
            meta = app["metadata"]
            key = Key("Application", meta.get("namespace", ""), meta["name"])
            found.append(VerdictChange(key, (automatic[0], automatic[1]), (manual[0], manual[1])))
    return tuple(found)
