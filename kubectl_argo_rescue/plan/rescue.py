"""Plans a whole rescue: its parts, in the order in which they are carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application
from ..argocd.application import Source, living_application, require_project
from ..argocd.history import (
    Deployment,
    KnownVersions,
    choose_deployment,
    describe_deployment,
    for_how_long,
    next_candidate,
    values_of,
)
from ..argocd.operation import operation, sync_operation
from ..argocd.reconciliation import blocked_text, source_trouble, will_act, windows_allow
from ..model import patches
from ..model.errors import Code, RefusedError
from ..model.text import COMMAND, display_name
from ..model.values import (
    JSON,
    Edit,
    FieldChange,
    Key,
    Match,
    Order,
    Path,
    Plan,
    Reliance,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from .owners import protect
from .pause import plan_pause
from .pin import choose_source, choose_version, refuse_hydrated, revision_change, version_changes
from .plan import joined
from .unblock import others_freed, window_edits


class Rescue(Struct, frozen=True):
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
    is_pause_only: bool = False
    """Nothing is deployed that could be ordered or watched."""


def plan_rescue(
    snapshot: Snapshot,
    key: Key,
    version: str | None,
    *,
    order_id: str,
    actor: str,
    good: Deployment | None = None,
    known: KnownVersions | None = None,
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
    app = living_application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    if pause_only:
        return _pause_only(snapshot, key, only=only)
    require_project(snapshot, app)
    to = version or good or choose_deployment(app, None, known)
    changes, notes, questions, words = _rescue_changes(snapshot, app, to, source, whole_source, known)
    pin = _pin(app, changes, words)
    opened = window_edits(snapshot, app)
    reopened = tuple(_closed_again(opened))
    total = protect(snapshot, app, changes, only=only)
    for edit in opened:
        total += protect(snapshot, snapshot.objects[edit.ref.key], edit.changes, only=only)
    running = operation(app)
    opening = _after(snapshot, opened)
    idle = _idle(patches.applied(app, changes))
    verdict = windows_allow(opening, idle, manual=True)
    if not verdict.can_sync:
        hint = f"nothing was changed; to hold it as it is meanwhile: {COMMAND} rescue {name} --pause-only"
        raise RefusedError(blocked_text(opening, idle, verdict), hint, code=Code.BLOCKED)
    is_paused = any(g.edit is not None and g.edit.ref == ref_of(app) for g in total.guards.values())
    act = will_act(opening, idle, auto_sync=application.is_auto_sync_on(app) and not is_paused)
    questions += others_freed(snapshot, opened, key) if opened else []
    questions += _source_questions(snapshot, app, words)
    order = None
    if act.needs_order:
        ordered = sync_operation(app, id=order_id, actor=actor, reason=reason)
        order = Order(ref_of(app), order_id, ordered, act.why)
    if running.in_progress:
        notes.append(f"an operation of {name} is in the way and is ended first: {running.describe()}")
    plan = joined(
        "rescue", total, [*pin, *opened, *([order] if order else [])], unchanged=_already(app, pin, words),
        warnings=act.warnings, notes=notes, questions=questions, next_commands=[f"{COMMAND} watch {name}"],
    )  # fmt: skip
    pin = tuple(s for s in plan.steps if isinstance(s, Edit) and s.role is Role.VERSION)
    guards = tuple(s for s in plan.steps if isinstance(s, Edit) and s not in pin and s not in opened)
    watched = owners_to_stop(key, guards, total.relies.values())
    return Rescue(plan, guards, pin, opened, order, watched, running.in_progress, words, reopened)


def _pause_only(snapshot: Snapshot, key: Key, *, only: bool) -> Rescue:
    plan = plan_pause(snapshot, [key], only=only)
    own = tuple(s for s in plan.steps if isinstance(s, Edit))
    return Rescue(
        replace(plan, verb="rescue"), own, (), (), None, (), False, "paused only", is_pause_only=True
    )


def _source_questions(snapshot: Snapshot, app: JSON, words: str) -> list[str]:
    trouble = source_trouble(snapshot, app)
    if not trouble:
        return []
    return [
        f"{trouble}: {words} may not roll out; what the cluster itself remembers needs no source: "
        f"{COMMAND} rescue {display_name(application.key_of(app), snapshot.argocd)} --workloads"
    ]


def _pin(app: JSON, changes: tuple[FieldChange, ...], words: str) -> tuple[Edit, ...]:
    return (Edit(ref_of(app), changes, f"to {words}", Role.VERSION),) if changes else ()


def _already(app: JSON, pin: Sequence[Edit], words: str) -> tuple[StepResult, ...]:
    there = StepResult(ref_of(app), StepStatus.UNCHANGED, "pinned", detail=f"already at {words}")
    return () if pin else (there,)


def _closed_again(opened: Iterable[Edit]) -> Iterator[Edit]:
    """Yield what takes back those openings that other applications would profit from."""
    for edit in opened:
        shared = tuple(patches.inverse(c) for c in edit.changes if isinstance(c, FieldChange))
        if shared:
            yield Edit(edit.ref, shared, "closed again for the others", Role.WINDOW)


def _after(snapshot: Snapshot, edits: Iterable[Edit]) -> Snapshot:
    """Return the snapshot as it is once the edits are written."""
    after = dict(snapshot.objects)
    for edit in edits:
        after[edit.ref.key] = patches.applied(after[edit.ref.key], edit.changes)
    return replace(snapshot, objects=after)


def _idle(app: JSON) -> JSON:
    """Return an application as it is once the operation in its way is ended."""
    idle = {k: v for k, v in app.items() if k != "operation"}
    if operation(app).in_progress:
        idle = {**idle, "status": {**(idle.get("status") or {}), "operationState": None}}
    return idle


def owners_to_stop(key: Key, guards: Iterable[Edit], relies: Iterable[Reliance]) -> tuple[Key, ...]:
    """Return the other Applications whose standing still a rescue counts on."""
    paused = [e.ref.key for e in guards if e.ref.key != key]
    return tuple(dict.fromkeys(k for k in (*paused, *(r.key for r in relies)) if k.kind == "Application"))


def _rescue_changes(
    snapshot: Snapshot,
    app: JSON,
    to: str | Deployment,
    selector: str | None,
    whole_source: bool,
    known: KnownVersions | None,
) -> tuple[tuple[FieldChange, ...], list[str], list[str], str]:
    """Return the changes to the version, what is worth saying, what must be asked, and it in words."""
    refuse_hydrated(app, snapshot.argocd)
    if isinstance(to, str):
        chosen = choose_source(app, to, selector)
        wanted = choose_version(app, chosen, to, snapshot)
        pinned, wanted = version_changes(app, chosen, wanted, selector)
        return pinned, list(wanted.notes), list(wanted.questions), wanted.revision
    good = to
    now_sources = application.sources(app)
    notes = [f"last good: {describe_deployment(good)}" + for_how_long(good, snapshot.now)]
    notes += next_candidate(app, good, known, snapshot.now)
    if len(good.sources) != len(now_sources):
        raise RefusedError(
            f"{application.key_of(app)} had {len(good.sources)} source(s) when it was good and has "
            f"{len(now_sources)} now",
            f"deploy it from history instead: {COMMAND} rollback "
            f"{display_name(application.key_of(app), snapshot.argocd)} --to {good.id}",
        )
    changes: list[FieldChange] = []
    for s, body, revision in zip(now_sources, good.sources, good.revisions, strict=False):
        place = [n for n in ("chart", "path", "repoURL") if (s.body.get(n) or "") != (body.get(n) or "")]
        if place and not whole_source:
            raise RefusedError(
                f"{application.key_of(app)} was of another {', '.join(place)} when it was good: "
                f"{revision or 'its version'} means nothing to the source of now",
                "add --whole-source to take the whole old source back",
            )
        kept, was = values_of(s.body), values_of(body)
        differing = sorted(k for k in {*kept, *was} if kept.get(k) != was.get(k))
        if place or differing:
            # An old version with new values was never deployed: nobody knows whether that is good.
            if differing:
                notes.append(f"{', '.join(differing)} of the source changed since then and goes back with it")
            changes.append(FieldChange(_by_index(s), s.body, {**body, "targetRevision": revision}))
            continue
        if revision and (change := revision_change(s, revision)):
            changes.append(change)
    return tuple(changes), notes, [], ", ".join(r for r in good.revisions if r)


def _by_index(source: Source) -> Path:
    if source.path and isinstance(source.path[-1], Match):
        return (*source.path[:-1], Match((), source.path[-1].index))
    return source.path
