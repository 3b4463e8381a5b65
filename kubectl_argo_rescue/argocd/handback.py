"""Hand-back: what git says of a version field, so that undo never rolls the broken version out. Pure.

Only version fields are judged; pauses and windows always go back. The evidence is the owner's own
comparison, `status.resources[]`, made after it was asked to look again: Synced means that git
equals what is live, so nothing needs to be written and nothing can move.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

from msgspec import Struct

from ..model import patches
from ..model.values import ABSENT, JSON, Change, FieldChange, Key, Match, Snapshot, Witness
from . import application, ownership


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


class Handback(Struct, frozen=True):
    """The judgement of one object's version fields."""

    key: Key
    evidence: Evidence
    why: str = ""
    owner: Key | None = None
    where: str = ""
    """Where the git change is owed: repository, path, revision."""


def where_owed(owner: JSON) -> str:
    """Say where git is that this owner reads."""
    source = next(iter(application.sources(owner)), None)
    if source is None:
        return ""
    path = source.body.get("path") or source.body.get("chart") or ""
    return f"{source.body.get('repoURL', '')} {path} at {source.revision or 'HEAD'}"


def is_unknown(owner: JSON) -> bool:
    """Whether an Application's last comparison says nothing of what git wants."""
    return application.sync_status(owner) == "Unknown" or bool(
        application.conditions(owner, "ComparisonError")
    )


def git_says(
    snapshot: Snapshot, key: Key, changes: Sequence[Change], witnesses: Sequence[Witness]
) -> Handback:
    """Judge the version changes of one object, with its owners as last compared.

    `changes` are what undo would write (before: live, after: the saved original); `witnesses` are
    what the owners' git said when the rescue began.
    """
    owning = ownership.owning_applications(snapshot, key)
    for hidden in (o for o in ownership.named_owners(snapshot, key) if o not in snapshot.objects):
        why = "cannot be read"
        if ownership.is_elsewhere(snapshot, hidden):
            was_there = any(w.owner == hidden for w in witnesses)
            why = (
                "of the time of the rescue does not exist any more"
                if was_there
                else f"is elsewhere, not in {ownership.where_not(snapshot)}"
            )
        return Handback(key, Evidence.NONE, f"its owner {hidden} {why}")
    if not owning and snapshot.is_unlisted:
        return Handback(key, Evidence.NONE, "its owner is not known: Applications may not be listed")
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
        return _judge_set(snapshot, owner_key, obj, key, changes)
    where = where_owed(owner)
    if ownership.reach(snapshot, owner, obj) is ownership.Reach.UNKNOWN:
        why = f"whether {owner_key} deploys it here is not known: its destination is {ownership.destination(owner)}"
        return Handback(key, Evidence.NONE, why, owner_key, where)
    if any(isinstance(c, FieldChange) and c.after is ABSENT for c in changes):
        return Handback(
            key,
            Evidence.NONE,
            "git never had the field, so its comparison does not show it",
            owner_key,
            where,
        )
    if any(ownership.may_hide(owner, obj, c.path, snapshot.argocd) for c in changes):
        return Handback(
            key,
            Evidence.NONE,
            f"ignoreDifferences of {owner_key} or argocd-cm may hide the field",
            owner_key,
            where,
        )
    if is_unknown(owner):
        return Handback(key, Evidence.NONE, f"{owner_key} cannot be compared with git now", owner_key, where)
    line = application.lists(owner, key)
    if line is None:
        return Handback(key, Evidence.NONE, f"{owner_key} does not list it", owner_key, where)
    if line.get("requiresPruning"):
        return Handback(
            key,
            Evidence.DISAGREES,
            f"git does not have it any more, {owner_key} would delete it",
            owner_key,
            where,
        )
    if line.get("status") == "Synced":
        return Handback(key, Evidence.AGREES, "git equals what is live", owner_key, where)
    now = ",".join(application.synced_revisions(owner))
    then = {w.revision for w in witnesses if w.owner == owner_key}
    if now and then == {now}:
        return Handback(key, Evidence.UNMOVED, f"git is still at {now}", owner_key, where)
    return Handback(key, Evidence.DISAGREES, f"git (now at {now}) asks for something else", owner_key, where)


def _judge_set(
    snapshot: Snapshot, owner_key: Key, obj: JSON, key: Key, changes: Sequence[Change]
) -> Handback:
    """A set's status only mirrors the child's own; its template tells where the value is literal."""
    owner = snapshot.objects[owner_key]
    where = f"the template of {owner_key}"
    for above in ownership.owning_applications(snapshot, owner_key):
        if above.kind == "Application" and owner_key in out_of_sync(snapshot.objects[above]):
            why = (
                f"git asks {above} for another {owner_key} than is there, so its template is about to change"
            )
            return Handback(key, Evidence.NONE, why, owner_key, where_owed(snapshot.objects[above]))
    spec = owner.get("spec") or {}
    if _has_own_template(spec.get("generators")):
        return Handback(
            key, Evidence.NONE, f"a generator of {owner_key} has a template of its own", owner_key, where
        )
    template = spec.get("template") or {}
    for change in changes:
        try:
            by_index = tuple(Match((), s.index) if isinstance(s, Match) else s for s in change.path)
            wanted = patches.read(by_index, template)
            live = patches.read(change.path, obj)
        except patches.Unresolved:
            wanted, live = ABSENT, ABSENT
        if not isinstance(wanted, str) or "{{" in wanted or spec.get("templatePatch"):
            return Handback(key, Evidence.NONE, f"{where} does not say the value literally", owner_key, where)
        if wanted != live:
            return Handback(key, Evidence.DISAGREES, f"{where} says {wanted}", owner_key, where)
    return Handback(key, Evidence.AGREES, f"{where} says the same", owner_key, where)


def _has_own_template(generators: JSON) -> bool:
    """Whether any generator, also of a matrix or merge, overrides the template of the set."""
    if isinstance(generators, list):
        return any(_has_own_template(g) for g in generators)
    if not isinstance(generators, dict):
        return False
    return any(
        isinstance(g, dict) and (bool(g.get("template")) or _has_own_template(g.get("generators")))
        for g in generators.values()
    )


def out_of_sync(app: JSON) -> list[Key]:
    """Return the resources of an Application that differ from git, but for those to be pruned."""
    return [
        Key(r.get("kind", ""), r.get("namespace", ""), r.get("name", ""))
        for r in application.managed_resources(app)
        if r.get("status") == "OutOfSync" and not r.get("requiresPruning")
    ]


def others_to_change(app: JSON, block: JSON, explained: Collection[Key]) -> list[str]:
    """Name what an Application will change or prune once its auto-sync is on again.

    `block` is its `automated` then. `explained` are the resources whose difference is known to be
    our own edit, or is judged by hand-back. Of an Application that cannot be compared this is no
    evidence: all of its resources are marked for pruning then.
    """
    found = []
    for r in application.managed_resources(app):
        key = Key(r.get("kind", ""), r.get("namespace", ""), r.get("name", ""))
        what = f"{r.get('kind')} {r.get('name')}"
        if r.get("requiresPruning"):
            if isinstance(block, dict) and block.get("prune"):
                found.append(f"prune {what}")
        elif r.get("status") == "OutOfSync" and key not in explained:
            found.append(f"change {what}")
    return found
