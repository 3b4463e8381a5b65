"""Hand-back: what git says of a version field, so that undo never rolls the broken version out. Pure.

Only version fields are judged; pauses and windows always go back. The evidence is the owner's own
comparison, `status.resources[]`, made after it was asked to look again: Synced means that git
equals what is live, so nothing needs to be written and nothing can move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum

from msgspec import Struct

from ..model import patches
from ..model.text import cause
from ..model.values import (
    ABSENT,
    JSON,
    Change,
    FieldChange,
    Key,
    Match,
    Snapshot,
    Witness,
    WorkloadRollback,
)
from . import application, globs, ownership


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
    may_ask: bool = False
    """Whether Argo CD would tell more with the original put back, or with what the owner says."""


def where_owed(owner: JSON) -> str:
    """Say where git is that this owner reads."""
    source = next(iter(application.sources(owner)), None)
    return "" if source is None else _place(source)


def is_unknown(owner: JSON) -> bool:
    """Whether an Application's last comparison says nothing of what git wants."""
    return application.sync_status(owner) == "Unknown" or bool(
        application.conditions(owner, "ComparisonError")
    )


def git_says(
    snapshot: Snapshot,
    key: Key,
    changes: Sequence[Change],
    witnesses: Sequence[Witness],
    *,
    is_back: bool = False,
) -> Handback:
    """Judge the version changes of one object, with its owners as last compared.

    `changes` are what undo would write (before: live, after: the saved original); `witnesses` are
    what the owners' git said when the rescue began. With `is_back` they are written already, so that
    a field that git does not have is not there any more.
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
    verdicts = [_judge_owner(snapshot, o, obj, key, changes, witnesses, is_back=is_back) for o in owning]
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
    *,
    is_back: bool,
) -> Handback:
    owner = snapshot.objects[owner_key]
    if owner_key.kind == "ApplicationSet":
        return _judge_set(snapshot, owner_key, obj, key, changes)
    where = where_owed(owner)
    if ownership.reach(snapshot, owner, obj) is ownership.Reach.UNKNOWN:
        why = f"whether {owner_key} deploys it here is not known: its destination is {ownership.destination(owner)}"
        return Handback(key, Evidence.NONE, why, owner_key, where)
    if not is_back and any(isinstance(c, FieldChange) and c.after is ABSENT for c in changes):
        return Handback(
            key,
            Evidence.NONE,
            "git never had the field, so its comparison does not show it",
            owner_key,
            where,
            may_ask=True,
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
    if now and then == {now} and not _renders_its_own(owner):
        return Handback(key, Evidence.UNMOVED, f"git is still at {now}", owner_key, where, may_ask=True)
    why = f"git (now at {now}) asks for something else"
    return Handback(key, Evidence.DISAGREES, why, owner_key, where, may_ask=True)


def _renders_its_own(owner: JSON) -> bool:
    """Whether an owner says itself what it renders: values and parameters change, and no revision moves."""
    told = {"repoURL", "path", "chart", "targetRevision", "ref", "name", "directory"}
    return any(
        value
        for source in application.sources(owner)
        for name, value in source.body.items()
        if name not in told
    )


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
            key,
            Evidence.NONE,
            f"a generator of {owner_key} has a template of its own",
            owner_key,
            where,
            may_ask=True,
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
            why = f"{where} does not say the value literally"
            return Handback(key, Evidence.NONE, why, owner_key, where, may_ask=True)
        if wanted != live:
            return Handback(key, Evidence.DISAGREES, f"{where} says {wanted}", owner_key, where, may_ask=True)
    return Handback(key, Evidence.AGREES, f"{where} says the same", owner_key, where)


_WITH_PODS = {
    "apps": ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"),
    "argoproj.io": ("Rollout",),
    "batch": ("Job", "CronJob"),
    "": ("Pod", "ReplicationController"),
}
"""What rolls pods where it is changed, by group."""

MOST_NAMED = 8
"""Resources that a sentence names before it says how many more there are."""


def runs_pods(line: JSON) -> bool:
    """Whether a line of `status.resources[]` is of a workload."""
    return line.get("kind") in _WITH_PODS.get(line.get("group") or "", ())


def auto_sync_says(
    snapshot: Snapshot,
    key: Key,
    *,
    block: JSON,
    rollouts: Sequence[WorkloadRollback] = (),
    anything: bool = True,
    besides: Collection[Key] = (),
) -> Handback:
    """Say what auto-sync of an Application would do with its spec as it stands, by its last comparison.

    Args:
        snapshot: the Application as compared, with its owners.
        key: the Application.
        block: its `automated` then; None where that is not known, which prunes nothing.
        rollouts: workloads of it that were taken back by this tool.
        anything: every change counts; else only that of a workload.
        besides: further resources of which every change counts.
    """
    app = snapshot.objects[key]
    owner = next((o for o in ownership.owning_applications(snapshot, key)), None)
    where = _where_decided(snapshot, app, owner)
    errors = application.conditions(app, "ComparisonError")
    if errors or application.sync_status(app) == "Unknown":
        said = f": {cause(str(errors[0].get('message', '')))}" if errors else ""
        return Handback(key, Evidence.NONE, f"Argo CD cannot compare it now{said}", owner, where)
    if not application.is_compared(app):
        return Handback(
            key, Evidence.NONE, "Argo CD has not compared it with what it asks for now", owner, where
        )
    if (rollouts or anything) and (hidden := hidden_workload(app, snapshot)):
        why = f"a rule of ignoreDifferences may hide what {hidden} runs, so that its comparison does not tell"
        return Handback(key, Evidence.NONE, why, owner, where)
    taken = {r.ref.key: r.deployment for r in rollouts}
    moving = [
        text
        for line in application.managed_resources(app)
        if (text := _moves(app, line, block, taken, anything=anything or _key_of(line) in besides))
    ]
    if not moving:
        return Handback(key, Evidence.AGREES, "git equals what runs", owner, where)
    asked = ", ".join(dict.fromkeys(s.revision or "HEAD" for s in application.sources(app)))
    at = f" ({where})" if where else ""
    why = f"git asks for {asked}{at}, which would {', '.join(moving[:MOST_NAMED])}"
    more = f" and {len(moving) - MOST_NAMED} more" if len(moving) > MOST_NAMED else ""
    return Handback(key, Evidence.DISAGREES, why + more, owner, where)


def _moves(app: JSON, line: JSON, block: JSON, taken: Mapping[Key, int | None], *, anything: bool) -> str:
    """Say what auto-sync would do with one resource, empty where nothing that counts."""
    what = f"{line.get('kind')} {line.get('name')}"
    if not (anything or runs_pods(line)):
        return ""
    key = _key_of(line)
    if line.get("requiresPruning"):
        prunes = isinstance(block, dict) and block.get("prune")
        return f"prune {what}" if prunes else ""
    if line.get("status") != "OutOfSync":
        return ""  # a hook has no status
    if key in taken and asks_for_the_same(app, taken[key]):
        return ""
    return f"change {what}"


def moves_above(snapshot: Snapshot, key: Key, is_ours: Callable[[Key, Key], bool]) -> tuple[Key, Key] | None:
    """Return an owner above that would change one further down, with that one; None where none would.

    `is_ours` says of both whether that differs because of our own edit, which hides what git says.
    """
    for owner in ownership.ancestors(snapshot, [key]):
        for above in ownership.owning_applications(snapshot, owner):
            line = application.lists(snapshot.objects[above], owner) if above.kind == "Application" else None
            if line is not None and line.get("status") == "OutOfSync" and not is_ours(above, owner):
                return above, owner
    return None


def _key_of(line: JSON) -> Key:
    return Key(str(line.get("kind") or ""), str(line.get("namespace") or ""), str(line.get("name") or ""))


def asks_for_the_same(app: JSON, deployment: int | None) -> bool:
    """Whether Argo CD compared with the very sources and revisions that made what runs again.

    A workload is OutOfSync then only because of what a rollout does not touch: labels of its own,
    its number of replicas, which come back without a new pod. `deployment` is the id in its history.
    """
    status = app.get("status") or {}
    past = next((h for h in status.get("history") or () if h.get("id", 0) == deployment), None)
    if past is None or not application.is_compared(app):
        return False
    compared = (status.get("sync") or {}).get("comparedTo") or {}
    now = compared.get("sources") or [compared.get("source") or {}]
    then = past.get("sources") or [past.get("source") or {}]
    revisions = past.get("revisions") or [past.get("revision")]
    return bool(now == then and list(application.synced_revisions(app)) == list(revisions))


def _where_decided(snapshot: Snapshot, app: JSON, owner: Key | None) -> str:
    """Say where git is that decides the version: the app's own source where that names what moves."""
    own = application.sources(app)
    for source in own:
        if source.yields_manifests and application.is_moving(source.kind, source.revision):
            return _place(source)
    if owner is None:
        return where_owed(app)
    return (
        f"the template of {owner}" if owner.kind == "ApplicationSet" else where_owed(snapshot.objects[owner])
    )


def _place(source: application.Source) -> str:
    path = source.body.get("path") or source.body.get("chart") or ""
    return f"{source.body.get('repoURL', '')} {path} at {source.revision or 'HEAD'}"


def hidden_workload(app: JSON, snapshot: Snapshot) -> str:
    """Return the kind of a workload of which a rule may hide the pods' template, empty where none does.

    Argo CD: util/argo/normalizers/diff_normalizer.go. Rules for replicas and the like hide no version.
    """
    for rule in (*((app.get("spec") or {}).get("ignoreDifferences") or ()), *snapshot.argocd.ignored):
        for line in application.managed_resources(app):
            if not runs_pods(line) or not _is_for(rule, line):
                continue
            pointers = [*(rule.get("jsonPointers") or ())]
            pointers += [ownership.plain_jq(e) for e in rule.get("jqPathExpressions") or ()]
            if rule.get("managedFieldsManagers") or any(not p or _within_template(p) for p in pointers):
                return str(line.get("kind"))
    return ""


def _within_template(pointer: str) -> bool:
    return any(
        f"{a}/".startswith(f"{b}/") for a, b in ((pointer, "/spec/template"), ("/spec/template", pointer))
    )


def _is_for(rule: JSON, line: JSON) -> bool:
    return (
        globs.match(str(rule.get("group") or ""), str(line.get("group") or ""))
        and globs.match(str(rule.get("kind") or ""), str(line.get("kind")))
        and rule.get("name") in (None, "", line.get("name"))
        and rule.get("namespace") in (None, "", line.get("namespace"))
    )


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
        _key_of(r)
        for r in application.managed_resources(app)
        if r.get("status") == "OutOfSync" and not r.get("requiresPruning")
    ]


def others_to_change(
    app: JSON,
    block: JSON,
    explained: Collection[Key],
    *,
    is_agreed: Callable[[JSON], bool] = lambda line: False,
) -> list[str]:
    """Name what an Application will change or prune once its auto-sync is on again.

    `block` is its `automated` then. `explained` are the resources whose difference is known to be
    our own edit, or is judged by hand-back; `is_agreed` says of a line that its change was asked for. Of an Application that cannot be compared this is no
    evidence: all of its resources are marked for pruning then.
    """
    found = []
    for r in application.managed_resources(app):
        key = _key_of(r)
        what = f"{r.get('kind')} {r.get('name')}"
        if is_agreed(r):
            continue
        if r.get("requiresPruning"):
            if isinstance(block, dict) and block.get("prune"):
                found.append(f"prune {what}")
        elif r.get("status") == "OutOfSync" and key not in explained:
            found.append(f"change {what}")
    return found
