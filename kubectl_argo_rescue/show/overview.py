"""A whole Argo CD in a few facts per Application, worst first. Pure.

Each page of a list is reduced at once, so that thousands of Applications of 18 kB need no memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field

from ..argocd import application, applicationset
from ..argocd.applicationset import set_errors
from ..argocd.components import Trace, stale_after, trace_of
from ..argocd.operation import operation
from ..argocd.reconciliation import WindowVerdict, judge_apps
from ..journal.entry import Entry, newest_first
from ..model.text import display_name, one_line
from ..model.times import human
from ..model.values import JSON, ArgoCD, Key, ref_of
from .destruction import Destruction
from .diagnosis import Ours, Pause, our_pauses, pause_of, stuck_text

STUCK, BROKEN, MISSING, ROLLING, BLOCKED, DRIFTED, PAUSED, FINE = range(8)
"""Ranks, worst first: an operation that stands still, a failure or error, nothing there, on its way,
stopped by windows, out of sync, paused, nothing wrong."""


class Fact(Struct, frozen=True):
    """All that the overview keeps of one Application."""

    key: Key
    name: str
    rank: int
    sync: str
    health: str
    auto_sync: bool
    why: str
    pause: Pause | None
    is_blocked: bool
    """Sync windows stop it, by hand as well."""
    view: JSON = None
    """The same Application for tools, where JSON was asked for."""


class Overview(Struct, frozen=True):
    """The whole Argo CD."""

    facts: tuple[Fact, ...]
    """Worst first."""
    sync: Counter[str]
    health: Counter[str]
    blocked: int
    """Applications that sync windows stop even by hand."""
    sets: tuple[tuple[str, str], ...]
    """ApplicationSets that do not work, and what they say."""
    frozen: tuple[str, ...]
    """Destinations none of whose Applications were compared lately, while others were."""
    entries: tuple[Entry, ...]
    """Open journal entries, newest first."""
    traces: tuple[Trace, ...]
    destruction: Destruction
    """What waits to be destroyed."""


class Collector(Struct):
    """Takes Applications page by page and gives the overview."""

    argocd: ArgoCD
    projects: Sequence[JSON] | None
    """None where they may not be listed."""
    sets: Sequence[JSON] | None
    """The same of ApplicationSets."""
    entries: Sequence[Entry]
    now: datetime
    view: Callable[[JSON, WindowVerdict], JSON] | None = None
    """Makes the JSON view of an Application; None where nobody wants it."""
    facts: list[Fact] = field(default_factory=list)
    destruction: Destruction | None = None
    _unanswered: list[Trace] = field(default_factory=list)
    _newest: dict[str, Trace] = field(default_factory=dict)

    def add(self, apps: Sequence[JSON]) -> None:
        """Reduce one page of Applications that this Argo CD serves."""
        self._destruction.add(apps)
        ours = our_pauses(self.entries)
        rolling = {ref_of(s).key for s in self.sets or () if applicationset.is_rolling(s)}
        # Where projects may not be listed, nothing can be said of windows.
        unread = frozenset() if self.projects is not None else frozenset(map(application.project_name, apps))
        verdicts = judge_apps(
            apps, self.projects or (), self.argocd, self.now, unreadable=unread, look_ahead=False
        )
        for app, verdict in zip(apps, verdicts, strict=True):
            trace = trace_of(app, self.argocd, self.now)
            if trace.unanswered and len(self._unanswered) < 3:
                self._unanswered.append(trace)
            self._remember(app, trace)
            self.facts.append(self._fact(app, verdict, ours, rolling))

    @property
    def _destruction(self) -> Destruction:
        if self.destruction is None:
            self.destruction = Destruction(self.argocd, self.sets)
        return self.destruction

    def _remember(self, app: JSON, trace: Trace) -> None:
        destination = (app.get("spec") or {}).get("destination") or {}
        where = str(destination.get("name") or destination.get("server") or "")
        known = self._newest.get(where)
        if trace.reconciled and (
            known is None or not known.reconciled or known.reconciled < trace.reconciled
        ):
            self._newest[where] = trace

    def _fact(
        self,
        app: JSON,
        verdict: WindowVerdict,
        ours: dict[Key, list[Ours]],
        rolling: set[Key],
    ) -> Fact:
        pause = pause_of(app, ours, self.now, rolling=rolling)
        rank, why = _rank(app, verdict, pause, self.now)
        key = application.key_of(app)
        return Fact(
            key=key,
            name=display_name(key, self.argocd),
            rank=rank,
            sync=application.sync_status(app),
            health=application.health_status(app),
            auto_sync=application.is_auto_sync_on(app),
            why=why,
            pause=pause,
            is_blocked=not verdict.manual.can_sync and not verdict.unknown,
            view=self.view(app, verdict) if self.view else None,
        )

    def result(self, settings: dict[str, str] | None = None) -> Overview:
        """Return the overview of all that was added; `settings` is the data of argocd-cm."""
        return Overview(
            facts=tuple(sorted(self.facts, key=lambda f: (f.rank, f.key.namespace, f.key.name))),
            sync=Counter(f.sync for f in self.facts),
            health=Counter(f.health for f in self.facts),
            blocked=sum(f.is_blocked for f in self.facts),
            sets=tuple(_set_lines(self.sets or (), self.argocd)),
            frozen=tuple(_frozen(self._newest, stale_after(settings or {}, self.argocd), self.now)),
            entries=tuple(newest_first([e for e in self.entries if e.is_open])),
            traces=(*self._newest.values(), *self._unanswered),
            destruction=self._destruction,
        )


def _set_lines(sets: Iterable[JSON], argocd: ArgoCD) -> list[tuple[str, str]]:
    found = []
    for s in sets:
        errors = [one_line(str(c.get("message") or c.get("type")))[:300] for c in set_errors(s)]
        if errors:
            found.append((display_name(ref_of(s).key, argocd), "; ".join(errors)))
    return found


def _frozen(newest: dict[str, Trace], limit: timedelta | None, now: datetime) -> list[str]:
    """Sharding: a dead shard freezes the Applications of its clusters alone."""
    ages = {where: now - t.reconciled for where, t in newest.items() if t.reconciled}
    if limit is None or not any(age <= limit for age in ages.values()):
        return []
    return [
        f"no Application of {one_line(where) or '(no destination)'} was compared for {human(age)}, others were: "
        "the controller's shard for it may be dead"
        for where, age in ages.items()
        if age > limit
    ]


def _rank(app: JSON, verdict: WindowVerdict, pause: Pause | None, now: datetime) -> tuple[int, str]:
    """Say how bad it is, and the worst thing in one phrase."""
    running = operation(app)
    if why := _no_place(verdict):
        return BROKEN, why
    if stuck := stuck_text(app, running, now):
        return STUCK, f"operation {stuck}"
    if why := _no_sync(app, verdict):
        return BROKEN, why
    health = application.health_status(app)
    since = application.parse_time(((app.get("status") or {}).get("health") or {}).get("lastTransitionTime"))
    age = f" for {human(now - since)}" if since else ""
    sync = application.sync_status(app)
    windows = "" if verdict.manual.can_sync or verdict.unknown else "sync windows stop every sync"
    if windows and verdict.blocking:
        windows += f" ({verdict.blocking[0].project} #{verdict.blocking[0].index})"
    unwell = ", ".join(filter(None, (f"{health}{age}", windows)))
    if health == "Degraded":
        return BROKEN, unwell
    if running.phase in ("Failed", "Error") and not running.in_progress:
        return BROKEN, f"last operation {running.phase}: {one_line(running.message)[:160]}"
    if health in ("Missing", "Progressing"):
        return MISSING if health == "Missing" else ROLLING, unwell
    if running.in_progress:
        return ROLLING, running.describe()
    if sync != "Synced":
        if windows:
            return BLOCKED, f"{sync}, {windows}"
        return DRIFTED, sync + (f"; {pause.brief}" if pause else "")
    if pause and pause.how in ("ours", "by-hand"):
        return PAUSED, pause.brief
    return (FINE, "") if health in ("Healthy", "Suspended") else (DRIFTED, f"health {health}")


def _no_place(verdict: WindowVerdict) -> str:
    """Say that Argo CD does not look at it at all, empty where it does."""
    if not verdict.is_served:
        return "this Argo CD does not serve its namespace"
    return f"AppProject {verdict.project} does not exist" if verdict.is_project_missing else ""


def _no_sync(app: JSON, verdict: WindowVerdict) -> str:
    """Say what keeps every sync from working, empty where nothing does."""
    if app["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    for c in application.conditions(app):
        if str(c.get("type", "")).endswith("Error"):
            return f"{c.get('type')}: {one_line(str(c.get('message') or ''))[:160]}"
    return one_line(verdict.automatic.error)[:160] if verdict.automatic.error else ""
