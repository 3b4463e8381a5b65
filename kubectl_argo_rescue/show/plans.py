"""A plan as one reads it before one agrees: an object a line, what changes of it, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..model.patches import shown
from ..model.text import COMMAND, with_short_hashes
from ..model.values import (
    JSON,
    Change,
    Creation,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Plan,
    PlanStep,
    Removal,
    Role,
    WorkloadRollback,
    whole_kind,
)
from .steps import change_lines, step_lines

_PAUSES = {"Application": "pause auto-sync", "ApplicationSet": "pause"}


def plan_lines(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield each object of a plan: how its line begins, what changes of it and why, or a detail of that."""
    home = next((s.ref.namespace for s in plan.steps if s.ref.kind in ("AppProject", "Application")), "")
    subjects = [subject(step, home) for step in plan.steps]
    room = min(max(map(len, subjects), default=0), 34)
    for step, name in zip(plan.steps, subjects, strict=True):
        yield f"  {_mark(step)} {name.ljust(room)}  ", _what(step), _mark(step)
        for detail in _details(step):
            yield "        ", detail, ""


def summary(plan: Plan) -> str:
    """Say how much changes, and what stands still meanwhile."""
    own = {step.ref for step in plan.steps if _is_named(step)}
    others = {step.ref for step in plan.steps} - own
    count = len(own) + len(others)
    text = f"{count} object{'' if count == 1 else 's'} change{'s' if count == 1 else ''}"
    text += f", {len(others)} (*) not named by you." if others else "."
    paused = [s.ref.name for s in plan.steps if isinstance(s, Edit) and not s.named and s.role is Role.PAUSE]
    if paused:
        names = " and ".join(dict.fromkeys(paused))
        manage = "manages" if len(set(paused)) == 1 else "manage"
        pronoun = "it" if len(set(paused)) == 1 else "they"
        verb = "is" if len(set(paused)) == 1 else "are"
        text += f" While {names} {verb} paused, nothing that {pronoun} {manage} follows git."
    return text


def subject(step: PlanStep, home: str) -> str:
    """Name the object of a step; a star says that it was not named by the user."""
    key: Key = step.ref.key
    place = key.name if key.namespace in ("", home) else f"{key.namespace}/{key.name}"
    return f"{whole_kind(key.kind)} {place}{'' if _is_named(step) else ' *'}"


def _is_named(step: PlanStep) -> bool:
    return getattr(step, "named", True)


def _mark(step: PlanStep) -> str:
    if isinstance(step, Removal):
        return "-"
    return "+" if isinstance(step, Creation) else "~"


def _what(step: PlanStep) -> str:
    if isinstance(step, WorkloadRollback):
        return f"{step.reason} ({', '.join(line.lstrip('+- ') for line in step_lines(step))})"
    if not isinstance(step, Edit):
        return step.reason
    if step.role is Role.VERSION and (versions := _versions(step.changes)):
        return versions
    if step.role is Role.PAUSE and not step.named:
        return f"{_PAUSES.get(step.ref.kind, 'pause')}: {step.reason}"
    return step.reason


def _versions(changes: Sequence[Change]) -> str:
    """Say from which version to which, where no more than that changes."""
    found = [c for c in changes if isinstance(c, FieldChange) and c.path[-1] == "targetRevision"]
    if len(found) != len(changes) or not all(isinstance(c.before, str) for c in found):
        return ""
    return ", ".join(f"version {with_short_hashes(f'{c.before} → {c.after}')}" for c in found)


def _details(step: PlanStep) -> Iterator[str]:
    """Say what a line does not: of windows which, of a source every field."""
    if not isinstance(step, Edit) or step.role is Role.PAUSE:
        return
    if step.role is Role.VERSION and _versions(step.changes):
        return
    for change in step.changes:
        if step.role is Role.WINDOW and (text := _window(change)):
            yield text
        else:
            yield from change_lines(change)


def _window(change: Change) -> str:
    """Say what happens to a sync window; empty where it is something that has no words here."""
    match = next((part for part in change.path if isinstance(part, Match)), None)
    if isinstance(change, MemberChange) and change.path == ("spec", "syncWindows"):
        names = (change.item or {}).get("applications") or []
        why = f" (it names only {names[0]})" if len(names) == 1 and not change.present else ""
        return f"{_describe(change.item)}: {'put back' if change.present else 'remove'}{why}"
    if match is None:
        return ""
    window = _describe(dict(match.content))
    if isinstance(change, MemberChange) and change.path[-1] == "applications":
        how = f"put {change.item} back on" if change.present else f"remove {change.item} from"
        return f"{window}: {how} its list"
    if isinstance(change, FieldChange) and change.path[-1] == "manualSync":
        return f"{window}: {'let' if change.after is True else 'stop'} manual syncs"
    return ""


def _describe(window: JSON) -> str:
    zone = window.get("timeZone")
    words = f"{window.get('kind')} {shown(window.get('schedule'))} {window.get('duration')}"
    return words + (f" {zone}" if isinstance(zone, str) and zone not in ("", "UTC") else "")


def unfinished(plan: Plan, entry: str) -> Iterator[str]:
    """Say what a rescue that helped leaves to do, and what it holds until then."""
    yield "Not finished: git still asks for what broke. Until it is changed there"
    for step in plan.steps:
        if isinstance(step, Edit) and step.role is Role.PAUSE and not step.named:
            yield f"  {step.ref.name} is paused: nothing that it manages follows git"
        elif isinstance(step, Edit) and step.role is Role.WINDOW:
            yield f"  {step.ref.kind} {step.ref.name}: {step.reason}"
    where = [f"{w.repo_url}, {w.path or '(root)'} at {w.target_revision or 'HEAD'}" for w in plan.witnesses]
    yield f"Next  1. change it in git{': ' if where else ''}{'; '.join(dict.fromkeys(where))}"
    yield f"         the diff: {COMMAND} report {entry}"
    yield f"      2. {COMMAND} undo {entry}"
    yield "         (--when-safe waits for git)"
