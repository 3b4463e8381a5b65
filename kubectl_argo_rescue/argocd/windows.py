"""Sync windows exactly as Argo CD reads and decides them. Pure.

Argo CD: pkg/apis/application/v1alpha1/types.go (SyncWindows). No library for Python reads schedules,
globs and durations as Argo CD does: that is done by `cron`, `globs` and `model/times`. All of it is
compared with Argo CD's own code in tests/oracle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ..model import times
from ..model.values import APPPROJECT, JSON, ArgoCD, Key, Version
from . import globs
from .global_projects import global_projects_of

if TYPE_CHECKING:
    from . import cron

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND: Final = timedelta(microseconds=1)


HELD_HOURS: Final = range(24, 64)
"""Durations of a window of ours: argocd-server refuses a project with two of one identity."""


def hold_window(present: Iterable[JSON], of: str) -> dict[str, JSON]:
    """Return the deny window that stops every sync of one Application, or of `*`, beside those that are `present`.

    A project must not have two windows that are alike but for what they name: argocd-server refuses
    it (AppProject.ValidateProject). So its duration is the first that the project does not have.
    """
    taken = {str(window.get("duration")) for window in present}
    return {
        "kind": "deny",
        "schedule": "* * * * *",
        "duration": next(f"{hours}h" for hours in count(HELD_HOURS.start) if f"{hours}h" not in taken),
        "applications": [of],
        "manualSync": False,
    }


def is_hold(window: JSON, of: str) -> bool:
    """Whether a window stops every sync of one Application, or of `*`, at every time, as those do that this tool places."""
    return bool(
        window.get("kind") == "deny"
        and window.get("schedule") == "* * * * *"
        and window.get("applications") == [of]
        and not window.get("manualSync")
        and str(window.get("duration")) in {f"{hours}h" for hours in HELD_HOURS}
    )


class WindowError(ValueError):
    """The window's schedule or duration cannot be parsed; the text is Argo CD's."""


class Window(Struct, frozen=True, eq=False):
    """One window of one project, with Go's zero value for what is absent or null."""

    namespace: str = ""
    project: str = ""
    index: int = 0
    """Its place in the project's `spec.syncWindows`."""
    kind: str = ""
    schedule: str = ""
    duration: str = ""
    applications: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    manual_sync: bool = False
    time_zone: str = ""
    and_operator: bool = False
    description: str = ""
    sync_overrun: bool = False
    raw: JSON = None
    """The whole item as the API server gave it."""
    version: Version | None = None
    """The Argo CD whose rules hold; None for the newest."""

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, however it was written and whoever judges it."""
        return isinstance(other, Window) and self._said() == other._said()

    __ne__ = object.__ne__  # a Struct's own does not ask `==`

    def __hash__(self) -> int:
        """Hash what `==` compares."""
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name not in ("raw", "version"))

    @property
    def key(self) -> Key:
        """The project that holds it."""
        return Key(APPPROJECT.kind, self.namespace, self.project)


def windows_of(project: JSON, version: Version | None = None) -> tuple[Window, ...]:
    """Read the windows of one AppProject, in their order, without those of global projects.

    Args:
        project: the AppProject.
        version: Argo CD's, by whose rules the windows will be judged; None for the newest.
    """
    meta = project["metadata"]
    items = (project.get("spec") or {}).get("syncWindows") or ()
    return tuple(
        replace(
            _window(item),
            namespace=meta.get("namespace", ""),
            project=meta["name"],
            index=at,
            version=version,
        )
        for at, item in enumerate(items)
    )


def _window(item: JSON) -> Window:
    get = (item or {}).get
    return Window(
        kind=get("kind") or "",
        schedule=get("schedule") or "",
        duration=get("duration") or "",
        applications=_strings(get("applications")),
        namespaces=_strings(get("namespaces")),
        clusters=_strings(get("clusters")),
        manual_sync=bool(get("manualSync")),
        time_zone=get("timeZone") or "",
        and_operator=bool(get("andOperator")),
        description=get("description") or "",
        sync_overrun=bool(get("syncOverrun")),
        raw=item,
    )


def _strings(value: JSON) -> tuple[str, ...]:
    return tuple(item or "" for item in value or ())


def effective_windows(project: JSON, all_projects: Iterable[JSON], argocd: ArgoCD) -> tuple[Window, ...]:
    """List all windows that count for the apps of a project: its own, then its global projects'.

    Argo CD: util/argo/argo.go mergeVirtualProject
    """
    others = global_projects_of(project, all_projects, argocd.global_projects)
    return tuple(window for owner in (project, *others) for window in windows_of(owner, argocd.version))


# -- which windows match an app


class Hit(Struct, frozen=True):
    """One entry of a window that matches an app."""

    list: str
    """applications, clusters or namespaces."""
    pattern: str
    literal: bool
    """The entry is the app's own name, so that taking it out concerns no app of another name."""


def names_app(window: Window, app: JSON) -> tuple[Hit, ...]:
    """Tell by which entries a window matches an app, in the order of Argo CD's search.

    Args:
        window: the window; its `andOperator` is not looked at, see `matches`.
        app: the Application; its metadata.name and spec.destination count.
    """
    name = app["metadata"]["name"]
    destination = (app.get("spec") or {}).get("destination") or {}
    # A name is never resolved to its server, nor the other way round.
    clusters = [value for value in (destination.get("name"), destination.get("server")) if value]
    candidates = (
        ("applications", window.applications, [name]),
        ("clusters", window.clusters, clusters),
        ("namespaces", window.namespaces, [destination.get("namespace") or ""]),
    )
    return tuple(
        Hit(where, pattern, where == "applications" and pattern == name and globs.is_literal(pattern))
        for where, patterns, texts in candidates
        for pattern in patterns
        if any(globs.match(pattern, text, window.version) for text in texts)
    )


def matches(window: Window, app: JSON) -> bool:
    """Say whether a window is about an app: any entry of any list, or with AND one of each list.

    Argo CD: types.go SyncWindows.Matches (andOperator since 3.0)
    """
    hit = {hit.list for hit in names_app(window, app)}
    if not (window.and_operator and _is_at_least(window.version, 3, 0)):
        return bool(hit)
    lists = {
        "applications": window.applications,
        "clusters": window.clusters,
        "namespaces": window.namespaces,
    }
    used = {name for name, entries in lists.items() if entries}
    return bool(used) and hit == used


def matched(windows: Iterable[Window], app: JSON) -> tuple[Window, ...]:
    """Choose the windows that are about an app. Argo CD: types.go SyncWindows.Matches."""
    return tuple(window for window in windows if matches(window, app))


def _is_at_least(version: Version | None, major: int, minor: int) -> bool:
    return version is None or version.at_least(major, minor)


# -- which of them are active


@lru_cache(maxsize=8192)
def _parsed(schedule: str, duration: str, is_lenient: bool) -> tuple[cron.Schedule, int]:
    from . import cron  # lazy: most applications have no window

    try:
        parsed = cron.parse(schedule)
    except cron.CronError as error:
        raise WindowError(f"cannot parse schedule '{schedule}': {error}") from error
    try:
        return parsed, times.parse(duration)
    except times.DurationError as error:
        if is_lenient:
            return parsed, 0
        raise WindowError(f"cannot parse duration '{duration}': {error}") from error


def parsed(window: Window) -> tuple[cron.Schedule, int]:
    """Return a window's schedule and its duration in nanoseconds. Raises WindowError."""
    # Up to 2.11 errors were dropped: a bad duration was 0, a bad schedule made the controller panic.
    return _parsed(window.schedule, window.duration, not _is_at_least(window.version, 2, 12))


def _offset(window: Window, at: datetime) -> timedelta:
    """Argo CD: types.go scheduleOffsetByTimeZone; an unknown time zone is UTC."""
    from . import cron  # lazy: most applications have no window

    zone = cron.zone(window.time_zone) or cron.UTC
    return at.astimezone(zone).utcoffset() or timedelta(0)


def is_active(window: Window, now: datetime, *, clock: datetime | None = None) -> bool:
    """Say whether a window is open (allow) or shut (deny) at an instant.

    Args:
        window: the window.
        now: the instant asked about, aware.
        clock: the instant whose UTC offset the time zone has, where it is another one: Argo CD
            always takes today's.

    Returns:
        True strictly between a start and its end. A schedule that never fires (`0 0 30 2 *`) is
        always active, because robfig/cron then answers with the year 1.

    Raises:
        WindowError: schedule or duration cannot be parsed.

    Argo CD: types.go SyncWindow.active
    """
    schedule, duration = parsed(window)
    offset = (_offset(window, clock or now) // _MICROSECOND) * 1000
    local = ((now - _EPOCH) // _MICROSECOND) * 1000 + offset
    # Go adds `offset - duration`, an int64 that wraps.
    shift = (offset - duration + (1 << 63)) % (1 << 64) - (1 << 63)
    after = (local - offset + shift) // times.SECOND
    starts = schedule.next(_EPOCH + timedelta(seconds=after))
    return starts is None or ((starts - _EPOCH) // _MICROSECOND) * 1000 < local


# -- the decision


class Judgement(Struct, frozen=True):
    """Argo CD's decision about one kind of sync of one app at one instant, and what decided it."""

    can_sync: bool
    error: str = ""
    """Argo CD's message where a matched window cannot be parsed; then nothing may sync."""
    blocking: tuple[Window, ...] = ()
    """The windows to change for it to become yes; none where it is yes."""
    matched: tuple[Window, ...] = ()
    active: tuple[Window, ...] = ()


def judge_sync(
    windows: Iterable[Window],
    app: JSON,
    now: datetime,
    *,
    manual: bool,
    start: datetime | None = None,
) -> Judgement:
    """Decide whether an app may sync.

    Args:
        windows: the effective windows of its project.
        app: the Application.
        now: the instant, aware.
        manual: for an operation that is not `initiatedBy.automated`.
        start: `status.operationState.startedAt` of a running operation, which syncOverrun lets go
            on (since 3.5).

    Argo CD: types.go SyncWindows.Matches, CanSync
    """
    found = matched(windows, app)
    bad = [(window, text) for window in found if (text := parse_error(window))]
    if bad:
        text = f"invalid sync windows: {bad[0][1]}"
        return Judgement(False, text, tuple(window for window, _ in bad), found)
    active = tuple(window for window in found if is_active(window, now))
    blocking = _blocking(found, active, manual)
    if blocking and start is not None and _is_at_least(blocking[0].version, 3, 5):
        # All denies in force, or all allows that are over, must carry it, whatever their manualSync.
        if all(window.sync_overrun for window in _blocking(found, active, False)):
            then = tuple(w for w in found if is_active(w, start, clock=now))
            if not _blocking(found, then, manual):
                blocking = ()
    return Judgement(not blocking, "", blocking, found, active)


def parse_error(window: Window) -> str:
    """Return Argo CD's complaint about a window that it cannot parse; empty where it can."""
    try:
        parsed(window)
    except WindowError as error:
        return str(error)
    return ""


def _blocking(found: Sequence[Window], active: Sequence[Window], manual: bool) -> tuple[Window, ...]:
    """Choose what stands in the way: the denies in force, else the allows if none of them is open."""
    block = [window for window in active if window.kind == "deny"]
    if not block:
        if any(window.kind == "allow" and is_one_allow_enough(window.version) for window in active):
            return ()
        block = [window for window in found if window.kind == "allow" and window not in active]
    return tuple(window for window in block if not (manual and window.manual_sync))


def is_one_allow_enough(version: Version | None) -> bool:
    """Say whether one open allow outweighs those that are not open: since 2.8."""
    return _is_at_least(version, 2, 8)


def are_operations_held(version: Version | None) -> bool:
    """Say whether windows hold back an operation written into `.operation`, or automatic syncs only.

    Argo CD: controller/sync.go syncWindowPreventsSync, since 2.11
    """
    return _is_at_least(version, 2, 11)


def are_terminations_held(version: Version | None) -> bool:
    """Say whether windows keep an operation from ending that was terminated.

    Argo CD: controller/sync.go SyncAppState, until 3.6. Where that is not certain they may be held.
    """
    are_free = version is not None and version.is_certain and version.at_least(3, 6)
    return are_operations_held(version) and not are_free


def judge_operation(windows: Iterable[Window], app: JSON, now: datetime) -> Judgement:
    """Decide whether a manual operation written into `.operation` runs: up to 2.10 no window holds it."""
    found = judge_sync(windows, app, now, manual=True)
    if found.blocking and not found.error and not are_operations_held(found.blocking[0].version):
        return replace(found, can_sync=True, blocking=())
    return found


def describe(window: Window) -> str:
    """Say what a window is in one line: `deny * * * * * for 24h UTC on applications traefik, web`."""
    lists = (
        ("applications", window.applications),
        ("clusters", window.clusters),
        ("namespaces", window.namespaces),
    )
    about = [f"{name} {', '.join(entries)}" for name, entries in lists if entries]
    text = f"{window.kind} {window.schedule} for {window.duration} {window.time_zone or 'UTC'} on "
    text += (" and " if window.and_operator else " or ").join(about) or "nothing"
    return f"{text}, manual sync allowed" if window.manual_sync else text


IDENTITY: Final = ("kind", "schedule", "duration", "namespaces", "clusters", "timeZone", "andOperator")
