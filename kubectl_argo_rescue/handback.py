"""Hand-back: what git says of a version field, so that undo never rolls the broken version out. Pure.

Only version fields are judged; pauses and windows always go back. The evidence is the owner's own
comparison, `status.resources[]`, made after it was asked to look again: Synced means that git
equals what is live, so nothing needs to be written and nothing can move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from . import applications, owners, patches
from .model import ABSENT, JSON, Change, FieldChange, Key, Match, Snapshot
from .records import Witness


class Evidence(Enum):
    """What is known of git's wish for a version field."""

    FREE = "free"
    """Nobody owns the object: the saved original simply goes back."""
    AGREES = "agrees"
    """git equals what is live."""
    DISAGREES = "disagrees"
    """git has moved and asks for something else."""
    UNMOVED = "unmoved"
    """git is where it was at rescue time: it still asks for what broke."""
    NONE = "none"
    """Nothing tells; `why` says what is missing."""


@dataclass(frozen=True, slots=True)
class Handback:
    """The judgement of one object's version fields."""

    key: Key
    evidence: Evidence
    why: str = ""
    owner: Key | None = None
    where: str = ""
    """Where the git change is owed: repository, path, revision."""


def owning_applications(snapshot: Snapshot, key: Key) -> list[Key]:
    """Return the existing Applications and ApplicationSets that own an object."""
    obj = snapshot.objects.get(key)
    if obj is None:
        return []
    return [owner for owner, _ in owners.owners_of(snapshot, obj) if owner in snapshot.objects]


def ancestors(snapshot: Snapshot, keys: Sequence[Key]) -> list[Key]:
    """Return all owners of the objects and theirs, nearest first."""
    found: list[Key] = []
    pending = list(keys)
    while pending:
        key = pending.pop(0)
        for owner in owning_applications(snapshot, key):
            if owner not in found and owner not in keys:
                found.append(owner)
                pending.append(owner)
    return found


def where_owed(owner: JSON) -> str:
    """Say where git is that this owner reads."""
    source = next(iter(applications.sources(owner)), None)
    if source is None:
        return ""
    path = source.body.get("path") or source.body.get("chart") or ""
    return f"{source.body.get('repoURL', '')} {path} at {source.revision or 'HEAD'}"


def judge(snapshot: Snapshot, key: Key, changes: Sequence[Change], witnesses: Sequence[Witness]) -> Handback:
    """Judge the version changes of one object, with its owners as last compared.

    `changes` are what undo would write (before: live, after: the saved original); `witnesses` are
    what the owners' git said when the rescue began.
    """
    owning = owning_applications(snapshot, key)
    if not owning:
        gone = [w.owner for w in witnesses if w.owner in snapshot.missing]
        if gone:
            return Handback(
                key, Evidence.NONE, f"its owner {gone[0]} of the time of the rescue does not exist any more"
            )
        return Handback(key, Evidence.FREE)
    obj = snapshot.objects[key]
    verdicts = [_judge_owner(snapshot, o, obj, key, changes, witnesses) for o in owning]
    # The least comforting counts: one owner that disagrees is enough for a second outage.
    order = [Evidence.UNMOVED, Evidence.DISAGREES, Evidence.NONE, Evidence.AGREES]
    return min(verdicts, key=lambda v: order.index(v.evidence))


def _judge_owner(
    snapshot: Snapshot,
    owner_key: Key,
    obj: JSON,
    key: Key,
    changes: Sequence[Change],
    witnesses: Sequence[Witness],
) -> Handback:
    owner = snapshot.objects[owner_key]
    if owner_key.kind == "ApplicationSet":
        return _judge_set(owner, owner_key, obj, key, changes)
    where = where_owed(owner)
    if any(isinstance(c, FieldChange) and c.after is ABSENT for c in changes):
        return Handback(
            key,
            Evidence.NONE,
            "git never had the field, so its comparison does not show it",
            owner_key,
            where,
        )
    if any(owners.is_ignored(owner, obj, c.path) for c in changes):
        return Handback(
            key, Evidence.NONE, f"ignoreDifferences of {owner_key} hide the field", owner_key, where
        )
    if applications.sync_status(owner) == "Unknown" or applications.conditions(owner, "ComparisonError"):
        return Handback(key, Evidence.NONE, f"{owner_key} cannot be compared with git now", owner_key, where)
    line = applications.lists(owner, key)
    if line is None:
        return Handback(key, Evidence.NONE, f"{owner_key} does not list it", owner_key, where)
    if line.get("status") == "Synced":
        return Handback(key, Evidence.AGREES, "git equals what is live", owner_key, where)
    now = ",".join(applications.synced_revisions(owner))
    then = {w.revision for w in witnesses if w.owner == owner_key}
    if now and then == {now}:
        return Handback(key, Evidence.UNMOVED, f"git is still at {now}", owner_key, where)
    return Handback(key, Evidence.DISAGREES, f"git (now at {now}) asks for something else", owner_key, where)


def _judge_set(owner: JSON, owner_key: Key, obj: JSON, key: Key, changes: Sequence[Change]) -> Handback:
    """A set's status only mirrors the child's own; its template tells where the value is literal."""
    where = f"the template of {owner_key}"
    template = (owner.get("spec") or {}).get("template") or {}
    for change in changes:
        try:
            by_index = tuple(Match((), s.index) if isinstance(s, Match) else s for s in change.path)
            wanted = patches.read(by_index, template)
            live = patches.read(change.path, obj)
        except patches.Unresolved:
            wanted, live = ABSENT, ABSENT
        if not isinstance(wanted, str) or "{{" in wanted or (owner.get("spec") or {}).get("templatePatch"):
            return Handback(key, Evidence.NONE, f"{where} does not say the value literally", owner_key, where)
        if wanted != live:
            return Handback(key, Evidence.DISAGREES, f"{where} says {wanted}", owner_key, where)
    return Handback(key, Evidence.AGREES, f"{where} says the same", owner_key, where)


def others_to_change(app: JSON, touched: Sequence[Key]) -> list[str]:
    """Name what an Application would change or prune once its auto-sync is on, besides `touched`."""
    mine = set(touched)
    found = []
    for r in applications.managed_resources(app):
        if Key(r.get("kind", ""), r.get("namespace", ""), r.get("name", "")) in mine:
            continue
        what = f"{r.get('kind')} {r.get('name')}"
        if r.get("requiresPruning"):
            block = applications.automated(app)
            if block is not ABSENT and block.get("prune"):
                found.append(f"prune {what}")
        elif r.get("status") == "OutOfSync":
            found.append(f"change {what}")
    return found
