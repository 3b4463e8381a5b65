"""Who would put an edit back, and what must be edited first so that it holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..argocd import application, applicationset, ownership, writers
from ..argocd.components import controller_of_sets
from ..argocd.reconciliation import frozen_until
from ..argocd.writers import Force
from ..model import patches
from ..model.discretion import without_credentials
from ..model.errors import Code, RefusedError
from ..model.text import COMMAND, display_name
from ..model.values import (
    ABSENT,
    JSON,
    Change,
    Edit,
    FieldChange,
    Key,
    MemberChange,
    Ref,
    Reliance,
    Role,
    Snapshot,
    Witness,
    ref_of,
)

AUTOMATED = ("spec", "syncPolicy", "automated")


class Guard(Struct, frozen=True):
    """One edit of an owner, and the question that it raises; without an edit, the question alone."""

    edit: Edit | None
    question: str


class Protection:
    """What must be edited first so that edits hold, and what is worth knowing about it."""

    def __init__(
        self,
        *,
        guards: Sequence[Guard] = (),
        warnings: Sequence[str] = (),
        relies: Sequence[Reliance] = (),
        witnesses: Sequence[Witness] = (),
    ) -> None:
        """Begin with what is known already."""
        self.guards: dict[object, Guard] = {}
        self.warnings = dict.fromkeys(warnings)
        self.relies: dict[tuple[Key, str], Reliance] = {
            (r.key, patches.show_path(r.change.path)): r for r in relies
        }
        self.witnesses: dict[Key, Witness] = {w.owner: w for w in witnesses}
        self.others: dict[tuple[str, bool], dict[Key, str]] = {}
        """By who writes objects too, and whether that must be asked, what is said of each object."""
        self.held: dict[Key, Ref] = {}
        """By ApplicationSet the last object that is edited against it: the edit is seen to stay."""
        for guard in guards:
            self._add_guard(guard)

    def _add_guard(self, guard: Guard) -> None:
        # Two children make one owner be paused once, whatever the reasons say.
        edit = guard.edit
        key = (edit.ref, tuple(map(patches.show_change, edit.changes))) if edit else guard.question
        self.guards.setdefault(key, guard)

    def __iadd__(self, other: Protection) -> Protection:
        """Take over what the other knows, each edit and line once."""
        for guard in other.guards.values():
            self._add_guard(guard)
        self.warnings.update(other.warnings)
        self.held.update(other.held)
        for who, said in other.others.items():
            self.others.setdefault(who, {}).update(said)
        for place, reliance in other.relies.items():
            self.relies.setdefault(place, reliance)
        for owner, witness in other.witnesses.items():
            self.witnesses.setdefault(owner, witness)
        return self

    def other_writers(self, *, asked: bool) -> list[str]:
        """Say who else writes what is edited: each object where they are few, else one line for each writer."""
        lines: list[str] = []
        for (who, is_asked), said in self.others.items():
            if is_asked is not asked:
                continue
            if len(said) <= 3:
                lines += said.values()
                continue
            does = "would" if asked else "may"
            names = ", ".join(key.name for key in list(said)[:3])
            lines.append(
                f"{who} writes {len(said)} of these objects too ({names} …) and {does} put the edits back"
            )
        return lines


def protect(
    snapshot: Snapshot,
    obj: JSON,
    changes: Sequence[Change],
    *,
    only: bool,
    whole_sets: frozenset[Key] = frozenset(),
    _below: frozenset[Key] = frozenset(),
) -> Protection:
    """Find who would put `changes` of `obj` back, and pause them, grandparents first.

    With `only` nothing is paused; what would be reverted is said instead. Raises RefusedError where
    the object is a copy of one in another cluster, which no edit here changes for long.
    """
    key = ref_of(obj).key
    total = protect_from_writers(snapshot, obj, changes, only=only)
    found = ownership.owners_of(snapshot, obj)
    if changes and not found and snapshot.is_unlisted:
        total += _unknown(
            f"who would revert the edit of {key} is not known: Applications may not be listed", only
        )
    elif changes and not found and not snapshot.is_whole and (label := ownership.weak_label(obj)):
        text = f"if another Argo CD owns {key}, as its label {ownership.DEFAULT_LABEL}={label} may mean, is not known"
        total += Protection(warnings=(f"{text}: Applications of other namespaces may not be listed",))
    for owner_key, by in found:
        owner = snapshot.objects.get(owner_key)
        if owner_key.kind == "ApplicationSet" and changes and not only:
            total.held[owner_key] = ref_of(obj)
        if owner is None:
            if changes:
                total += _unknown(_why_unknown(snapshot, owner_key, by, key), only)
            continue
        if owner_key.kind == "ApplicationSet":
            total += _protect_from_set(
                snapshot, owner, obj, changes, only=only, everyone=owner_key in whole_sets, below=_below
            )
        else:
            total += _protect_from_app(snapshot, owner, obj, changes, only=only, below=_below)
    return total


def protect_from_writers(
    snapshot: Snapshot, obj: JSON, changes: Sequence[Change], *, only: bool
) -> Protection:
    """Name who else writes what is edited, and how it is held; nothing of this tool stops them."""
    total = Protection()
    key, fields = ref_of(obj).key, writers.fields_of(changes)
    for writer in writers.writers_of(obj, fields) if changes else ():
        said = writer.describe(snapshot.now)
        hold = f"; to hold it: {writer.hold}" if writer.hold else ""
        if writer.force is Force.AWAY and not only:
            raise _is_a_copy(key, said)
        if writer.force is Force.PERSON:
            continue
        does = "may" if writer.force is Force.MAY else "would"
        text = f"{said} writes {key} too and {does} put the edit back{hold}"
        total.others.setdefault((writer.who, does == "would" and not only), {})[key] = text
    return total


def protect_order(snapshot: Snapshot, app: JSON, *, only: bool) -> Protection:
    """Name who else orders operations of an Application. Raises RefusedError where it is a copy, unless `only`."""
    total = Protection()
    key = ref_of(app).key
    for writer in writers.writers_of(app, (writers.OPERATION,)):
        said = writer.describe(snapshot.now)
        if writer.force is Force.AWAY and not only:
            raise _is_a_copy(key, said)
        if writer.force is Force.AWAY:
            total += Protection(warnings=(f"{said} keeps {key} as a copy and would take the order back",))
        elif writers.OPERATION in writer.sign and writer.force is not Force.PERSON:
            total += Protection(warnings=(f"{said} orders operations of {key} too, and may do so again",))
    return total


def _is_a_copy(key: Key, said: str) -> RefusedError:
    return RefusedError(
        f"{key} is a copy that {said} keeps: an edit here would be taken back within seconds",
        "nothing was changed; do it on the hub, where the original is "
        f"({COMMAND} … --context HUB; with an autonomous agent it is in the agent's own cluster)",
        code=Code.MANAGED_COPY,
    )


def _protect_from_app(
    snapshot: Snapshot,
    owner: JSON,
    obj: JSON,
    changes: Sequence[Change],
    *,
    only: bool,
    below: frozenset[Key],
) -> Protection:
    """Pause an Application that would put `changes` of its child back, after its own owners."""
    owner_key, key = ref_of(owner).key, ref_of(obj).key
    total = Protection(witnesses=(_witness(owner),))
    if ownership.reach(snapshot, owner, obj) is ownership.Reach.UNKNOWN:
        text = f"whether {owner_key} deploys {key} here is not known: its destination is "
        total += Protection(warnings=(f"{text}{ownership.destination(owner)}; it counts as an owner",))
    if owner_key in below:
        return total
    frozen = frozen_until(snapshot, owner) if application.is_auto_sync_on(owner) else None
    reversion = ownership.reverts(owner, obj, changes, frozen_until=frozen)
    if reversion is None:
        if not application.is_auto_sync_on(owner):
            total += Protection(relies=(_reliance(owner),))
        return total
    if only:
        total += Protection(warnings=(f"{reversion.describe()}; its pause is left out by --only",))
        return total
    pause = application.pause_change(owner, ownership.serving(owner, snapshot.argocd))
    assert pause is not None  # it has auto-sync on, or it would not revert
    name = display_name(owner_key, snapshot.argocd)
    total += protect(snapshot, owner, (pause,), only=only, _below=below | {key, owner_key})
    child = f"{key.kind} {display_name(key, snapshot.argocd)}"
    why = f"it would revert {child} {reversion.how_soon}"
    edit = Edit(ref_of(owner), (pause,), why, Role.PAUSE, named=False)
    total += Protection(guards=(Guard(edit, f"{name} is paused as well: {reversion.describe()}"),))
    return total


def _why_unknown(snapshot: Snapshot, owner: Key, by: str, key: Key) -> str:
    text = f"whether {owner} would revert the edit of {key} is not known"
    if ownership.is_elsewhere(snapshot, owner):
        return f"{text}: it owns it by its {by} and is elsewhere, not in {ownership.where_not(snapshot)}"
    if owner.kind not in ("Application", "ApplicationSet"):
        return f"{text}: it controls it by its {by} and is no part of Argo CD"
    return f"{text}: it may not be read"


def _unknown(text: str, only: bool) -> Protection:
    return Protection(warnings=(text,)) if only else Protection(guards=(Guard(None, text),))


def _protect_from_set(
    snapshot: Snapshot,
    owner: JSON,
    obj: JSON,
    changes: Sequence[Change],
    *,
    only: bool,
    everyone: bool,
    below: frozenset[Key],
) -> Protection:
    """Make an ApplicationSet leave `changes` of its Application alone, by its least invasive means.

    Nothing where its policy writes no existing app; else a rule for just these fields of just this
    app; else, before 2.9 or where a RollingSync would go on ordering syncs, create-only for all of
    its apps. The set's own owner comes first.
    """
    argocd = snapshot.argocd
    key, child = ref_of(owner).key, ref_of(obj).key
    workload = controller_of_sets(snapshot)
    is_dying = bool(owner["metadata"].get("deletionTimestamp"))
    if not changes or is_dying or applicationset.is_idle(owner, argocd, workload):
        return Protection()
    if only:
        return Protection(warnings=(f"{key} would revert it within seconds; it is left as it is by --only",))
    pausing = any(patches.show_path(c.path).startswith("/spec/syncPolicy") for c in changes)
    whole = any(c.path[0] == "metadata" for c in changes)  # no rule covers that
    if whole or not applicationset.has_rules(argocd) or (applicationset.is_rolling(owner) and pausing):
        return _frozen_set(snapshot, owner, child, only=only, below=below)
    change = applicationset.rule_change(owner, obj, changes, everyone=everyone)
    if change is None:
        return Protection(relies=_rule_reliances(owner, key))
    whom = "all its apps" if everyone else child.name
    reason = f"a rule makes it leave these fields of {whom} alone: it would revert them within seconds"
    question = f"{key} gets a rule to leave {whom} alone; it would revert the edit within seconds"
    return _edited_set(snapshot, owner, child, change, reason, question, only=only, below=below)


def _frozen_set(
    snapshot: Snapshot, owner: JSON, child: Key, *, only: bool, below: frozenset[Key] = frozenset()
) -> Protection:
    """Make an ApplicationSet write none of its Applications, nor order their syncs."""
    argocd, key = snapshot.argocd, ref_of(owner).key
    rolling = applicationset.is_rolling(owner)
    act = "order its syncs" if rolling else "revert the edit within seconds"
    workload = controller_of_sets(snapshot)
    if not (applicationset.has_policies(argocd) and applicationset.may_override(argocd, workload)):
        if workload is not None and (workload.get("spec") or {}).get("replicas") == 0:
            return Protection(
                warnings=(f"{key} would {act} once its controller is scaled up again: undo this before",)
            )
        no_rule = "a RollingSync heeds no rule" if rolling else "this Argo CD knows no rule for it"
        from ..argocd.controllers import command_to_stop  # lazy: nearly every set heeds a rule

        down = f"kubectl -n {argocd.namespace} scale deployment argocd-applicationset-controller --replicas=0"
        return Protection(
            warnings=(
                f"{key} would {act}, and nothing of its own stops it here: {no_rule}, and a policy of its own "
                f"is forbidden; stop its controller: {command_to_stop(workload) if workload else down}",
            ),
            guards=(Guard(None, f"{key} would {act} and cannot be stopped by an edit"),),
        )
    change = applicationset.freeze_change(owner)
    if change is None:
        return Protection()
    why = "its RollingSync would go on ordering syncs" if rolling else "Argo CD before 2.9 knows no rules"
    names = ", ".join(applicationset.generated(owner)[:8])
    return _edited_set(
        snapshot, owner, child, change, f"create-only freezes it, since {why}",
        f"{key} is frozen for all its apps ({names}): {why}", only=only, below=below,
    )  # fmt: skip


def _edited_set(
    snapshot: Snapshot,
    owner: JSON,
    child: Key,
    change: Change,
    reason: str,
    question: str,
    *,
    only: bool,
    below: frozenset[Key],
) -> Protection:
    """Edit an ApplicationSet, after whoever would take that back."""
    above = protect(snapshot, owner, (change,), only=only, _below=below | {child, ref_of(owner).key})
    edit = Edit(ref_of(owner), (change,), reason, Role.RULE, named=False)
    above += Protection(guards=(Guard(edit, question),))
    return above


def stop_rolling_sync(snapshot: Snapshot, app: JSON, *, only: bool) -> Protection:
    """Freeze the set that orders the syncs of an Application itself: its auto-sync is off, which says nothing."""
    total = Protection()
    for owner_key, _ in ownership.owners_of(snapshot, app):
        owner = snapshot.objects.get(owner_key)
        if owner is None or owner_key.kind != "ApplicationSet" or not applicationset.is_rolling(owner):
            continue
        if applicationset.is_idle(owner, snapshot.argocd, controller_of_sets(snapshot)):
            continue
        if only:
            text = f"{owner_key} orders the syncs of {application.key_of(app)} itself; it is left as it is by --only"
            total += Protection(warnings=(text,))
        else:
            total += _frozen_set(snapshot, owner, application.key_of(app), only=only)
    return total


def _rule_reliances(owner: JSON, key: Key) -> tuple[Reliance, ...]:
    rules = (owner.get("spec") or {}).get("ignoreApplicationDifferences") or ()
    return tuple(
        Reliance(key, MemberChange(applicationset.RULES, rule, i, present=True))
        for i, rule in enumerate(rules)
    )


def _reliance(owner: JSON) -> Reliance:
    return Reliance(application.key_of(owner), FieldChange(AUTOMATED, ABSENT, application.automated(owner)))


def _witness(owner: JSON) -> Witness:
    source = next(iter(application.sources(owner)), None)
    body = source.body if source else {}
    return Witness(
        application.key_of(owner),
        without_credentials(str(body.get("repoURL") or "")),
        str(body.get("path") or body.get("chart") or ""),
        source.revision if source else "",
        ",".join(application.synced_revisions(owner)),
    )
