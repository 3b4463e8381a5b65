"""Sync windows exactly as Argo CD decides them, and the least change that lets one app through.

Mirrors Argo CD: pkg/apis/application/v1alpha1/types.go (SyncWindows), util/argo/argo.go (global
projects). Nobody else's cron, glob or duration library agrees with Argo CD's, see cron.py, globs.py
and durations.py. All of it is proven against Argo CD's own code in tests/oracle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from . import cron, durations, globs
from .application import project_name
from .model import ABSENT, APPPROJECT, JSON, ArgoCD, Change, FieldChange, Key, Match, MemberChange, Version

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=cron.UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class WindowError(ValueError):
    """The window's schedule or duration cannot be parsed; the text is Argo CD's."""


@dataclass(frozen=True, slots=True)
class Window:
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
    raw: JSON = field(default=None, compare=False, repr=False)
    """The whole item as the API server gave it."""
    version: Version | None = field(default=None, compare=False, repr=False)
    """The Argo CD whose rules hold; None for the newest."""

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


# -- which windows count


def global_projects_of(
    project: JSON, all_projects: Iterable[JSON], global_projects: Sequence[JSON]
) -> tuple[JSON, ...]:
    """Find the global projects whose windows count for `project` as well, in Argo CD's order.

    Args:
        project: the AppProject.
        all_projects: the AppProjects of Argo CD's namespace.
        global_projects: argocd-cm `globalProjects`, decoded (`ArgoCD.global_projects`).

    Returns:
        The projects; none at all where one entry cannot be decoded, and only those before an entry
        whose selector is invalid or whose project does not exist.

    Argo CD: util/argo/argo.go GetGlobalProjects
    """
    by_name = {other["metadata"]["name"]: other for other in all_projects}
    labels = project["metadata"].get("labels") or {}
    try:
        entries = [_GlobalProject.decode(entry) for entry in global_projects]
    except ValueError:
        return ()
    found: list[JSON] = []
    for entry in entries:
        if entry.name == project["metadata"]["name"]:
            continue
        if not entry.is_valid():
            break
        if not entry.selects(labels):
            continue
        if entry.name not in by_name:
            break
        found.append(by_name[entry.name])
    return tuple(found)


def effective_windows(project: JSON, all_projects: Iterable[JSON], argocd: ArgoCD) -> tuple[Window, ...]:
    """List all windows that count for the apps of a project: its own, then its global projects'.

    Argo CD: util/argo/argo.go mergeVirtualProject
    """
    others = global_projects_of(project, all_projects, argocd.global_projects)
    return tuple(window for owner in (project, *others) for window in windows_of(owner, argocd.version))


_QUALIFIED: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ARITY: Final = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}


@dataclass(frozen=True, slots=True)
class _GlobalProject:
    """One entry of `globalProjects`; `requirements` are (key, operator, values)."""

    name: str
    requirements: tuple[tuple[str, str, tuple[str, ...]], ...]

    @classmethod
    def decode(cls, entry: JSON) -> _GlobalProject:
        """Decode as sigs.k8s.io/yaml does: scalars become strings where strings are wanted."""
        selector = _mapping(_member(entry, "labelSelector"))
        expressions = _member(selector, "matchExpressions") or []
        if not isinstance(expressions, list):
            raise ValueError("matchExpressions is no list")
        requirements: list[tuple[str, str, tuple[str, ...]]] = [
            (_scalar(key), "In", (_scalar(value),))
            for key, value in _mapping(_member(selector, "matchLabels")).items()
        ]
        for expression in expressions:
            values = _member(expression, "values") or []
            if not isinstance(values, list):
                raise ValueError("values is no list")
            key, operator = (_scalar(_member(expression, name)) for name in ("key", "operator"))
            requirements.append((key, operator, tuple(map(_scalar, values))))
        return cls(_scalar(_member(entry, "projectName")), tuple(requirements))

    def is_valid(self) -> bool:
        """Kubernetes: apimachinery pkg/labels/selector.go NewRequirement."""
        return all(
            _is_label_key(key)
            and _ARITY.get(operator) is bool(values)
            and all(len(value) <= 63 and (not value or _QUALIFIED.fullmatch(value)) for value in values)
            for key, operator, values in self.requirements
        )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Kubernetes: apimachinery pkg/labels/selector.go Requirement.Matches; empty selects all."""
        return all(
            {
                "In": labels.get(key) in values,
                "NotIn": labels.get(key) not in values,
                "Exists": key in labels,
                "DoesNotExist": key not in labels,
            }[operator]
            for key, operator, values in self.requirements
        )


def _mapping(value: JSON) -> Mapping[str, JSON]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("no mapping")
    return value


def _member(value: JSON, name: str) -> JSON:
    """Go's encoding/json takes a key in any case, the exact one first."""
    members = _mapping(value)
    if name in members:
        return members[name]
    return next((item for key, item in members.items() if str(key).lower() == name.lower()), None)


def _scalar(value: JSON) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        raise ValueError("no scalar")
    return str(value)


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _QUALIFIED.fullmatch(name) is not None


# -- which windows match an app


@dataclass(frozen=True, slots=True)
class Hit:
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
    try:
        parsed = cron.parse(schedule)
    except cron.CronError as error:
        raise WindowError(f"cannot parse schedule '{schedule}': {error}") from error
    try:
        return parsed, durations.parse(duration)
    except durations.DurationError as error:
        if is_lenient:
            return parsed, 0
        raise WindowError(f"cannot parse duration '{duration}': {error}") from error


def parsed(window: Window) -> tuple[cron.Schedule, int]:
    """Return a window's schedule and its duration in nanoseconds. Raises WindowError."""
    # Up to 2.11 errors were dropped: a bad duration was 0, a bad schedule made the controller panic.
    return _parsed(window.schedule, window.duration, not _is_at_least(window.version, 2, 12))


def _offset(window: Window, at: datetime) -> timedelta:
    """Argo CD: types.go scheduleOffsetByTimeZone; an unknown time zone is UTC."""
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
    after = (local - offset + shift) // durations.SECOND
    starts = schedule.next(_EPOCH + timedelta(seconds=after))
    return starts is None or ((starts - _EPOCH) // _MICROSECOND) * 1000 < local


# -- the decision


@dataclass(frozen=True, slots=True)
class Judgement:
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

    Argo CD: controller/sync.go SyncAppState, until 3.6
    """
    return are_operations_held(version) and (version is None or not _is_at_least(version, 3, 6))


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


# -- letting one app through


@dataclass(frozen=True, slots=True)
class Relaxation:
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


_IDENTITY: Final = ("kind", "schedule", "duration", "namespaces", "clusters", "timeZone", "andOperator")


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
    content = tuple((name, before.raw.get(name, ABSENT)) for name in _IDENTITY)
    path = ("spec", "syncWindows", Match(content, before.index))
    for index in reversed(range(len(before.applications))):
        item = before.applications[index]
        if item not in after.applications:
            yield MemberChange((*path, "applications"), item, index, present=False)
    if before.manual_sync != after.manual_sync:
        yield FieldChange((*path, "manualSync"), before.raw.get("manualSync", ABSENT), True)


@dataclass(frozen=True, slots=True)
class VerdictChange:
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
    for projects in (list(before), list(after)):
        by_name = {project["metadata"]["name"]: project for project in projects}
        states.append({name: effective_windows(p, projects, argocd) for name, p in by_name.items()})
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
