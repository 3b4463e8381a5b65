"""What sync windows decide for Applications, many at a time: verdict, who blocks, until when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from . import application, outlook, windows
from .foresight import Foresight, NextChange
from .model import JSON, ArgoCD, Key
from .text import time_json
from .windows import Judgement, Window


@dataclass(frozen=True, slots=True)
class WindowVerdict:
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
        is_served = outlook.served(app, argocd)
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
        is_permitted = home is None or outlook.is_permitted(app, home, argocd)
        found.append(WindowVerdict(key, project, mine, *known[places], is_served, home is None, is_permitted))
    return found


def short(window: Window) -> str:
    """Name a window in a table: `cluster #0: deny 0 16 * * 5 for 64h`."""
    return f"{window.project} #{window.index}: {window.kind} {window.schedule} for {window.duration}"


def window_json(window: Window) -> dict[str, JSON]:
    """Return a window as plain JSON values, with where it is."""
    return {
        "project": window.project,
        "index": window.index,
        "kind": window.kind,
        "schedule": window.schedule,
        "duration": window.duration,
        "timeZone": window.time_zone or "UTC",
        "applications": list(window.applications),
        "namespaces": list(window.namespaces),
        "clusters": list(window.clusters),
        "manualSync": window.manual_sync,
        "andOperator": window.and_operator,
        "syncOverrun": window.sync_overrun,
        "description": window.description,
    }


def verdict_json(verdict: WindowVerdict) -> dict[str, JSON]:
    """Return the verdict as plain JSON values; `canSync` is null where nothing can be said.

    Where `until` is null, `noChangeBefore` is the time up to which one looked in vain, if it is not
    as far as one ever looks.
    """
    yes_or_no = {"automatic": verdict.automatic.can_sync, "manual": verdict.manual.can_sync}
    return {
        "canSync": dict.fromkeys(yes_or_no) if verdict.unknown else yes_or_no,
        "error": verdict.error,
        "blocking": [{**window_json(w), "blocks": list(verdict.blocks(w))} for w in verdict.blocking],
        "until": {
            "automatic": time_json(verdict.until_automatic.at),
            "manual": time_json(verdict.until_manual.at),
        },
        "noChangeBefore": {
            "automatic": time_json(verdict.until_automatic.not_before),
            "manual": time_json(verdict.until_manual.not_before),
        },
        "project": verdict.project,
        "served": verdict.is_served,
    }


@dataclass(frozen=True, slots=True)
class WindowLine:
    """One window as one Application sees it."""

    window: Window
    hits: tuple[windows.Hit, ...]
    matches: bool
    active: bool
    """Whether it is open (allow) or shut (deny) now."""
    error: str
    blocks: tuple[str, ...]
    """automatic, manual."""


def lines_of(verdict: WindowVerdict, app: JSON, now: datetime) -> list[WindowLine]:
    """Tell every window of the app's project and of the global projects, in order."""
    found: list[WindowLine] = []
    for window in verdict.windows:
        error = windows.parse_error(window)
        is_active = not error and windows.is_active(window, now)
        hits = windows.names_app(window, app)
        found.append(
            WindowLine(window, hits, windows.matches(window, app), is_active, error, verdict.blocks(window))
        )
    return found


def line_json(line: WindowLine) -> dict[str, JSON]:
    """Return one window as one app sees it, as plain JSON values."""
    return {
        **window_json(line.window),
        "matches": line.matches,
        "matchedBy": [{"list": h.list, "pattern": h.pattern, "literal": h.literal} for h in line.hits],
        "active": line.active,
        "error": line.error,
        "blocks": list(line.blocks),
    }
