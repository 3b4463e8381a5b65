"""What a thaw writes, and what it must know first: scales, windows meanwhile, what would be destroyed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct, field

from ..argocd import application, applicationset, deletion, handback
from ..argocd.components import controller_of_sets
from ..argocd.controllers import APPLICATIONS, Controller
from ..argocd.deletion import Doomed
from ..argocd.windows import hold_window, is_hold
from ..journal.entry import Entry, neighbours, older_neighbours
from ..journal.owed import pieces_of
from ..model import merge
from ..model.merge import Conflict, Tag
from ..model.patches import show_path
from ..model.text import display_name
from ..model.values import (
    JSON,
    ArgoCD,
    Edit,
    Key,
    MemberChange,
    Path,
    Ref,
    Role,
    Snapshot,
    ref_of,
)

WINDOWS: Final[Path] = ("spec", "syncWindows")

REASON: Final = "no sync starts while Argo CD compares"


class ScalesBack(Struct):
    """What goes back of some freezes, folded to one write per controller."""

    edits: list[Edit] = field(default_factory=list)
    done: dict[Tag, str] = field(default_factory=dict)
    """What is settled without a write: restored by somebody already, or gone."""
    restores: list[tuple[Ref, tuple[Tag, ...]]] = field(default_factory=list)
    """What each edit settles once it stands."""
    conflicts: list[tuple[Ref, Conflict]] = field(default_factory=list)
    gone: list[Ref] = field(default_factory=list)
    """What was created anew or taken away since."""


def scales_back(snapshot: Snapshot, entries: Sequence[Entry], known: Sequence[Entry]) -> ScalesBack:
    """Fold what freezes wrote to controllers, three-way, newest first."""
    found = ScalesBack()
    undone = [e.id for e in entries]
    pieces = [p for p in pieces_of(entries) if p.role is Role.SCALE]
    # One resource of an operator has both controllers: each goes back in its own time.
    for ref, path in dict.fromkeys((p.ref, show_path(p.change.path)) for p in pieces):
        ours = [(p.tag, p.change) for p in pieces if p.ref == ref and show_path(p.change.path) == path]
        live = snapshot.objects.get(ref.key)
        if live is None or live["metadata"].get("uid") != ref.uid:
            found.gone.append(ref)
            found.done.update((tag, "gone") for tag, _ in ours)
            continue
        fold = merge.fold(
            live,
            ours,
            neighbours=neighbours(known, ref, undone),
            older=older_neighbours(known, ref, undone),
        )
        found.done.update((tag, "already") for tag in fold.already)
        found.conflicts += [(ref, conflict) for _, conflict in fold.conflicts]
        if fold.changes:
            found.edits.append(Edit(ref, fold.changes, "the saved original", Role.SCALE))
            found.restores.append((ref, fold.restored))
    return found


def is_of_part(edit: Edit, part: str, found: Iterable[Controller]) -> bool:
    """Whether an edit gives back a controller of one part, by its scale or by its operator's resource."""
    if edit.ref.kind == "ArgoCD":
        wanted = "controller" if part == APPLICATIONS else "applicationSet"
        return any(change.path[1] == wanted for change in edit.changes)
    return any(c.part == part and ref_of(c.scale).key == edit.ref.key for c in found)


# -- what a controller that starts would destroy


class Waiting(Struct):
    """What stands in the way of a thaw."""

    dying: list[Doomed] = field(default_factory=list)
    """Applications that would be deleted with their workloads."""
    operations: list[Doomed] = field(default_factory=list)
    """Operations that would go on, over every pause and pin."""


def waiting(
    apps: Iterable[JSON], argocd: ArgoCD, *, let_go: Collection[str], keep: Collection[str]
) -> Waiting:
    """Sort what would go on at the thaw, but for what was named to be let go or kept."""
    found = Waiting()
    for one in deletion.doomed(apps, argocd):
        names = {one.name, f"{one.key.namespace}/{one.key.name}"}
        if one.is_dying and one.cascades and not names & set(let_go):
            found.dying.append(one)
        if one.operation and not one.is_dying and not names & set(keep):
            found.operations.append(one)
    return found


# -- no sync while it compares


def window_edits(snapshot: Snapshot, projects: Iterable[JSON]) -> list[Edit]:
    """Return the deny window for all Applications that each AppProject gets, where it has none of ours."""
    edits = []
    for project in projects:
        windows = (project.get("spec") or {}).get("syncWindows")
        if not any(is_hold(w, "*") for w in windows or ()):
            change = MemberChange(
                WINDOWS, hold_window(windows or (), "*"), len(windows or ()), present=True, sole=not windows
            )
            edits.append(Edit(ref_of(project), (change,), REASON, Role.WINDOW, named=False))
    return edits


# -- what would follow


def what_follows(apps: Iterable[JSON], argocd: ArgoCD, ours: Collection[Key]) -> list[str]:
    """Say what auto-sync would deploy and prune once windows let it, by the comparison that was just made.

    `ours` are objects whose difference from git is a window of this thaw.
    """
    found = []
    for app in apps:
        if not application.is_auto_sync_on(app) or deletion.is_dying(app):
            continue
        block = application.automated(app)
        others = handback.others_to_change(app, block, ours)
        if others:
            more = f" and {len(others) - 4} more" if len(others) > 4 else ""
            found.append(f"{display_name(ref_of(app).key, argocd)}: {', '.join(others[:4])}{more}")
    return found


def set_edits(snapshot: Snapshot, sets: Iterable[JSON]) -> list[Edit]:
    """Return what keeps each ApplicationSet from deleting until it is known what it would delete."""
    argocd, workload = snapshot.argocd, controller_of_sets(snapshot)
    edits = []
    for owner in sets:
        is_held = not applicationset.may_override(argocd, workload) or deletion.is_dying(owner)
        if is_held or applicationset.effective_policy(owner, argocd, workload) != "sync":
            continue
        if change := applicationset.policy_change(owner, "create-update"):
            reason = "it deletes nothing until it is known what it would"
            edits.append(Edit(ref_of(owner), (change,), reason, Role.RULE, named=False))
    return edits


def sets_that_delete(snapshot: Snapshot, sets: Iterable[JSON]) -> list[str]:
    """Name the ApplicationSets that may delete Applications, and that cannot be kept from it meanwhile."""
    argocd, workload = snapshot.argocd, controller_of_sets(snapshot)
    return [
        display_name(ref_of(s).key, argocd) for s in sets if applicationset.may_delete(s, argocd, workload)
    ]


def dying_of_sets(apps: Iterable[JSON]) -> list[Key]:
    """Return the dying Applications of sets that would take their workloads along: a set's controller waits for them."""
    return [
        ref_of(app).key
        for app in apps
        if deletion.is_dying(app)
        and deletion.is_cascading(app)
        and any(o.get("kind") == "ApplicationSet" for o in app["metadata"].get("ownerReferences") or ())
    ]
