"""What is wrong with an application, and who would fight an edit of it. Pure.

From what was read and the journal's open entries to a picture as values; `status` shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum

from msgspec import Struct

from ..argocd import application, applicationset, components, ownership, reconciliation
from ..argocd.applicationset import set_errors
from ..argocd.components import PICK_UP, written_at
from ..argocd.history import KnownVersions, LastGood, explain_last_good
from ..argocd.operation import Operation, operation
from ..argocd.reconciliation import WindowVerdict, judge_apps
from ..argocd.writers import FIELDS, Writer, writers_of
from ..journal.entry import Entry, Now, change_now, newest_first
from ..journal.entry import who as who_wrote
from ..model import merge
from ..model.text import COMMAND, cause, display_name, one_line
from ..model.times import ago, human
from ..model.values import ABSENT, JSON, Change, FieldChange, Key, Role, Snapshot

# -- pauses


class Pause(Struct, frozen=True):
    """That auto-sync is off, and whose doing it is."""

    how: str
    """ours, by-hand, rolling-sync, or off: nothing tells that it ever was on."""
    text: str
    entry: str = ""

    @property
    def brief(self) -> str:
        """Say it in a few words, for tables."""
        return f"paused by entry {self.entry}" if self.entry else self.text


class Ours(Struct, frozen=True):
    """A pause that one of our open entries made."""

    entry: Entry
    change: Change


def our_pauses(entries: Iterable[Entry]) -> dict[Key, list[Ours]]:
    """Return the pauses of open entries that nobody has undone, by object, newest first."""
    found: dict[Key, list[Ours]] = {}
    for entry in newest_first([e for e in entries if e.is_open]):
        for _, _, edit, change in entry.unsettled():
            if edit.role is Role.PAUSE:
                found.setdefault(edit.ref.key, []).append(Ours(entry, change))
    return found


def rolling_set_of(app: JSON, rolling: Collection[Key]) -> str:
    """Name the ApplicationSet whose RollingSync turned auto-sync off, empty where none did."""
    for r in app["metadata"].get("ownerReferences") or ():
        key = Key("ApplicationSet", app["metadata"].get("namespace", ""), r.get("name", ""))
        if r.get("kind") == "ApplicationSet" and key in rolling:
            return key.name
    return ""


def pause_of(
    app: JSON, ours: Mapping[Key, Sequence[Ours]], now: datetime, *, rolling: Collection[Key] = ()
) -> Pause | None:
    """Say whose pause it is that keeps an Application from syncing by itself; None where it is on."""
    for mine in ours.get(application.key_of(app), ()):
        if merge.standing_of(mine.change, app) is merge.Standing.OURS:
            b = mine.entry.begin
            why = f": {one_line(b.reason)}" if b.reason else ""
            text = f"paused by entry {mine.entry.id}, {ago(now - b.started)}, {who_wrote(mine.entry)}{why}"
            return Pause("ours", text, mine.entry.id)
    if application.is_skipping_reconcile(app):
        return Pause("by-hand", "annotated skip-reconcile by hand: the controller ignores it altogether")
    if application.is_auto_sync_on(app):
        return None
    if by_set := rolling_set_of(app, rolling):
        return Pause(
            "rolling-sync", f"auto-sync off, as RollingSync of ApplicationSet {by_set} wants it; no pause"
        )
    if application.automated(app) is not ABSENT:
        return Pause("by-hand", "paused by hand (automated.enabled is false)")
    last = ((app.get("status") or {}).get("operationState") or {}).get("operation") or {}
    by = last.get("initiatedBy") or {}
    if by.get("automated") and not by.get("username"):
        return Pause("by-hand", "paused by hand: its last sync was automatic, and auto-sync is off now")
    return Pause("off", "auto-sync off")


# -- owners


class Threat(Struct, frozen=True):
    """What an owner would do to one kind of edit."""

    edit: str
    how_soon: str
    soon: bool


class Owner(Struct, frozen=True):
    """One owner of an object, what it would put back, and its own owners."""

    key: Key
    by: str
    state: str
    """there, missing, unreadable, unread, foreign or circle."""
    auto_sync: bool | None = None
    self_heal: bool = False
    pause: Pause | None = None
    threats: tuple[Threat, ...] = ()
    spared: tuple[str, ...] = ()
    """Edits that it leaves alone though its auto-sync is on."""
    notes: tuple[str, ...] = ()
    owners: tuple[Owner, ...] = ()


class _View(Struct, frozen=True):
    """What every look at an owner needs."""

    snapshot: Snapshot
    ours: Mapping[Key, Sequence[Ours]]
    unreadable: Collection[Key]
    rolling: frozenset[Key]


def _owners(
    view: _View, key: Key, edits: Sequence[tuple[str, Sequence[Change]]], seen: frozenset[Key]
) -> tuple[Owner, ...]:
    snapshot = view.snapshot
    obj = snapshot.objects.get(key)
    if obj is None:
        return ()
    found: list[Owner] = []
    for owner_key, by in ownership.owners_of(snapshot, obj):
        owner = snapshot.objects.get(owner_key)
        if owner is None:
            state = "missing" if ownership.is_elsewhere(snapshot, owner_key) else "unread"
            state = state if owner_key.kind in ("Application", "ApplicationSet") else "foreign"
            found.append(Owner(owner_key, by, "unreadable" if owner_key in view.unreadable else state))
        elif owner_key.kind == "ApplicationSet":
            found.append(_set_owner(view, owner, owner_key, by, obj, edits, seen | {key}))
        else:
            found.append(_app_owner(view, owner, owner_key, by, obj, edits, seen | {key}))
    return tuple(found)


def _app_owner(
    view: _View,
    owner: JSON,
    key: Key,
    by: str,
    obj: JSON,
    edits: Sequence[tuple[str, Sequence[Change]]],
    seen: frozenset[Key],
) -> Owner:
    snapshot = view.snapshot
    is_on = application.is_auto_sync_on(owner)
    frozen = reconciliation.frozen_until(snapshot, owner) if is_on else None
    threats: list[Threat] = []
    for name, changes in edits:
        reversion = ownership.reverts(owner, obj, changes, frozen_until=frozen)
        if reversion is not None:
            threats.append(Threat(name, reversion.how_soon, reversion.soon))
    threatened = {t.edit for t in threats}
    spared = tuple(name for name, _ in edits if name not in threatened) if is_on else ()
    notes: list[str] = []
    if ownership.reach(snapshot, owner, obj) is ownership.Reach.UNKNOWN:
        notes.append(f"whether it deploys into this cluster is not known: to {ownership.destination(owner)}")
    if is_on and frozen is not None:
        notes.append(f"its own auto-sync is stopped by sync windows ({frozen})")
    running = operation(owner)
    if running.present:
        notes.append(f"its operation: {running.describe()}")
    pause = pause_of(owner, view.ours, snapshot.now, rolling=view.rolling)
    if key in seen:
        return Owner(
            key, by, "circle", is_on, application.is_self_heal_on(owner), pause, tuple(threats), spared
        )
    change = application.pause_change(owner, ownership.serving(owner, snapshot.argocd))
    above = _owners(view, key, [("its pause", (change,))] if change else [], seen)
    return Owner(
        key,
        by,
        "there",
        is_on,
        application.is_self_heal_on(owner),
        pause,
        tuple(threats),
        spared,
        tuple(notes),
        above,
    )


def _set_owner(
    view: _View,
    owner: JSON,
    key: Key,
    by: str,
    obj: JSON,
    edits: Sequence[tuple[str, Sequence[Change]]],
    seen: frozenset[Key],
) -> Owner:
    argocd = view.snapshot.argocd
    workload = components.controller_of_sets(view.snapshot)
    is_idle = applicationset.is_idle(owner, argocd, workload)
    policy = applicationset.effective_policy(owner, argocd, workload)
    threats = [
        Threat(name, "within seconds (it rewrites the whole spec)", True)
        for name, changes in edits
        if not is_idle and applicationset.rule_change(owner, obj, changes) is not None
    ]
    threatened = {t.edit for t in threats}
    spared = tuple(name for name, _ in edits if name not in threatened)
    notes: list[str] = []
    if is_idle:
        notes.append(f"it changes no Application that is there (policy {policy}, or its controller runs dry)")
    if applicationset.is_rolling(owner):
        notes.append("RollingSync: it turns auto-sync off and orders the syncs itself")
    notes += [
        f"{condition.get('type')}: {one_line(str(condition.get('message') or ''))[:200]}"
        for condition in set_errors(owner)
    ]
    rules = (owner.get("spec") or {}).get("ignoreApplicationDifferences", ABSENT)
    edit = FieldChange(applicationset.RULES, rules, [])
    above = _owners(view, key, [("a rule in it", (edit,))], seen)
    return Owner(key, by, "there", None, False, None, tuple(threats), spared, tuple(notes), above)


# -- one application


class Weight(Enum):
    """How bad a finding is."""

    BAD = "bad"
    WARNING = "warning"


class Finding(Struct, frozen=True):
    """One thing that is wrong, and what to do about it."""

    weight: Weight
    text: str


class Elsewhere(Struct, frozen=True):
    """The workloads of an Application that deploys into another cluster, seen there."""

    cluster: str
    context: str = ""
    why_not: str = ""
    """Why they are not looked at, empty where they are."""
    doubt: str = ""
    """Why it may be another cluster."""
    workloads: tuple[tuple[str, str, bool], ...] = ()
    """(workload, how far it is, whether all of it is there)."""


class AppDiagnosis(Struct, frozen=True):
    """The whole picture of one Application."""

    key: Key
    name: str
    """As the user would type it."""
    app: JSON
    findings: tuple[Finding, ...]
    """Worst first."""
    operation: Operation
    is_stuck: bool
    pause: Pause | None
    owners: tuple[Owner, ...]
    project: Key
    project_owners: tuple[Owner, ...]
    verdict: WindowVerdict
    last_good: LastGood
    entries: tuple[tuple[Entry, str], ...]
    """Open entries about it, its project or its owners, each with how it is now."""
    writers: tuple[Writer, ...] = ()
    """Who writes it besides Argo CD's own parts and this tool."""
    project_writers: tuple[Writer, ...] = ()
    elsewhere: Elsewhere | None = None
    """None where it deploys into Argo CD's own cluster, or it was not looked at."""


def diagnose(
    snapshot: Snapshot,
    key: Key,
    entries: Sequence[Entry],
    known: KnownVersions,
    *,
    unreadable: Collection[Key] = (),
    verdict: WindowVerdict | None = None,
) -> AppDiagnosis:
    """Judge one Application of the snapshot; `verdict` where its windows were judged before.

    `known` is what those entries know of its versions.

    Raises NotFound where the snapshot has no such Application.
    """
    app = application.application_of(snapshot, key)
    sets = [(k, o) for k, o in snapshot.objects.items() if k.kind == "ApplicationSet"]
    view = _View(
        snapshot,
        our_pauses(entries),
        unreadable,
        frozenset(k for k, o in sets if applicationset.is_rolling(o)),
    )
    project = application.project_key(snapshot, app)
    verdict = verdict or verdict_of(snapshot, app, unreadable)
    own, project_owners = (
        _owners(view, key, _edits_of(snapshot, app), frozenset()),
        _owners(view, project, _window_edits(snapshot, project), frozenset()),
    )
    running = operation(app)
    findings, is_stuck = _findings(snapshot, app, running, verdict)
    about = {key, project, *_keys(own), *_keys(project_owners)}
    open_entries = [e for e in newest_first(list(entries)) if e.is_open and about & _objects(e)]
    return AppDiagnosis(
        key=key,
        name=display_name(key, snapshot.argocd),
        app=app,
        findings=findings,
        operation=running,
        is_stuck=is_stuck,
        pause=pause_of(app, view.ours, snapshot.now, rolling=view.rolling),
        owners=own,
        project=project,
        project_owners=project_owners,
        verdict=verdict,
        last_good=explain_last_good(app, snapshot.now, known),
        entries=tuple((e, state_of(e, snapshot.objects)) for e in open_entries),
        writers=writers_of(app, FIELDS),
        project_writers=writers_of(snapshot.objects[project], ("syncWindows",))
        if project in snapshot.objects
        else (),
    )


def verdict_of(snapshot: Snapshot, app: JSON, unreadable: Collection[Key] = ()) -> WindowVerdict:
    """Judge the windows of one Application."""
    names = frozenset(k.name for k in unreadable if k.kind == "AppProject")
    return judge_apps([app], application.projects(snapshot), snapshot.argocd, snapshot.now, unreadable=names)[
        0
    ]


def _keys(nodes: Iterable[Owner]) -> list[Key]:
    return [key for node in nodes for key in (node.key, *_keys(node.owners))]


def _objects(entry: Entry) -> set[Key]:
    return {step.ref.key for step in entry.intents.values()}


def state_of(entry: Entry, live: Mapping[Key, JSON]) -> str:
    """Say how an open entry is, by those of its objects that were read."""
    state = entry.state.replace("-", " ")
    for _, _, edit, change in entry.unsettled():
        now = change_now(edit.ref, change, live)
        if now not in (Now.STANDS, Now.UNREADABLE):
            return f"{state}, but {edit.ref.key}: {now.value}"
    return state


def _edits_of(snapshot: Snapshot, app: JSON) -> list[tuple[str, Sequence[Change]]]:
    """Name the edits that a rescue would make of an Application, as changes to be judged."""
    found: list[tuple[str, Sequence[Change]]] = []
    for source in application.sources(app):
        if source.yields_manifests:
            before = source.body.get(source.revision_field, ABSENT)
            found.append(("a pin", (FieldChange(source.revision_path, before, "another"),)))
            break
    pause = application.pause_change(app, snapshot.argocd)
    if pause is not None:
        found.append(("a pause", (pause,)))
    return found


def _window_edits(snapshot: Snapshot, project: Key) -> list[tuple[str, Sequence[Change]]]:
    items = ((snapshot.objects.get(project) or {}).get("spec") or {}).get("syncWindows")
    if not items:
        return []
    return [("an edit of its windows", (FieldChange(("spec", "syncWindows"), items, []),))]


def _findings(
    snapshot: Snapshot, app: JSON, operation: Operation, verdict: WindowVerdict
) -> tuple[tuple[Finding, ...], bool]:
    name = display_name(application.key_of(app), snapshot.argocd)
    bad = [Finding(Weight.BAD, one_line(text)) for text in reconciliation.obstacles_of(snapshot, app)]
    stuck = stuck_text(app, operation, snapshot.now)
    if stuck:
        bad.append(
            Finding(Weight.BAD, f"its operation is stuck: {stuck}; end it: {COMMAND} terminate {name}")
        )
    status = app.get("status") or {}
    health = application.health_status(app)
    message = one_line(str((status.get("health") or {}).get("message") or ""))
    since = application.parse_time((status.get("health") or {}).get("lastTransitionTime"))
    if health not in ("Healthy", "Suspended"):
        text = "health Unknown" if health == "Unknown" else health
        text += f" for {human(snapshot.now - since)}" if since else ""
        text += f": {message}" if message else ""
        bad.append(Finding(Weight.WARNING if health == "Progressing" else Weight.BAD, text))
    if not operation.in_progress and operation.phase in ("Failed", "Error"):
        when = f" {ago(snapshot.now - operation.finished)}" if operation.finished else ""
        bad.append(
            Finding(
                Weight.BAD,
                f"its last operation ended {operation.phase}{when}: {cause(operation.message)}",
            )
        )
    sync = application.sync_status(app)
    if not application.is_compared(app) and status.get("sync"):
        bad.append(Finding(Weight.WARNING, "Argo CD has not compared it with its present source yet"))
    elif sync != "Synced":
        text = "sync Unknown" if sync == "Unknown" else sync
        bad.append(Finding(Weight.WARNING, text + _out_of_sync(app)))
    if verdict.unknown:
        bad.append(Finding(Weight.WARNING, one_line(verdict.unknown)))
    elif verdict.error:
        bad.append(Finding(Weight.BAD, f"no sync at all: {one_line(verdict.error)}"))
    elif not verdict.manual.can_sync:
        wants = sync != "Synced" or health not in ("Healthy", "Suspended") or bool(stuck)
        bad.append(
            Finding(
                Weight.BAD if wants else Weight.WARNING,
                f"sync windows stop every sync of it, automatic or by hand; free it: {COMMAND} unblock {name}",
            )
        )
    elif not verdict.automatic.can_sync and application.is_auto_sync_on(app):
        bad.append(
            Finding(
                Weight.WARNING,
                f"sync windows stop its auto-sync, but not a sync by hand: {COMMAND} sync {name}",
            )
        )
    ordered = sorted(bad, key=lambda f: f.weight is not Weight.BAD)
    return tuple({f.text: f for f in ordered}.values()), bool(stuck)


def _out_of_sync(app: JSON) -> str:
    off = [r for r in application.managed_resources(app) if r.get("status") == "OutOfSync"]
    names = [f"{r.get('kind')} {r.get('name')}" for r in off]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f": {', '.join(names[:3])}{more}" if names else ""


def stuck_text(app: JSON, operation: Operation, now: datetime) -> str:
    """Say why an operation stands still; empty where it does not, or there is none."""
    if not operation.in_progress:
        return ""
    age = f", for {human(now - operation.started)}" if operation.started else ""
    if operation.is_orphaned:
        return f"{operation.phase} but orphaned{age}: `.operation` is gone, nothing runs it any more"
    if operation.is_blocked_by_window:
        return f"{operation.phase} but blocked by a sync window{age}"
    if operation.waits_for_retry:
        return f"failed and waits for retry {operation.retries}{age}"
    if not operation.phase:
        at = written_at(app, "operation")
        since = f" for {human(now - at)}" if at else ""
        return f"not picked up{since}" if at is None or now - at > PICK_UP else ""
    if operation.phase == "Terminating" and operation.started and now - operation.started > PICK_UP:
        return f"Terminating{age}"
    return ""
