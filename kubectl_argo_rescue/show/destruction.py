"""What waits to be destroyed, worst first: the lines of `status` while Argo CD is frozen or things die. Pure.

Owners that are gone or dying stand first, since they take the most along; then Applications with a
deletion time, operations that go on, and what the last comparison wanted pruned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct, field

from ..argocd import application, deletion
from ..argocd.deletion import Doomed
from ..journal.entry import Entry, newest_first
from ..model.text import COMMAND, display_name, one_line, some, time_json
from ..model.times import ago
from ..model.values import JSON, ArgoCD, ref_of


class Destruction(Struct):
    """Takes Applications page by page, and keeps what would be destroyed."""

    argocd: ArgoCD
    sets: Sequence[JSON] | None = ()
    """None where they may not be listed: which of them is gone is not known then."""
    doomed: list[Doomed] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    """Dying Applications that skip-reconcile keeps from their end."""
    of_lost_sets: Counter[str] = field(default_factory=Counter)
    """Applications by the ApplicationSet that is gone and owned them."""
    pruning: list[tuple[str, int]] = field(default_factory=list)
    """Applications whose last comparison wanted something pruned, with prune on."""

    def add(self, apps: Iterable[JSON]) -> None:
        """Reduce one page."""
        known = {s["metadata"].get("uid") for s in self.sets or ()}
        for app in apps:
            name = display_name(ref_of(app).key, self.argocd)
            self.doomed += deletion.doomed([app], self.argocd)
            if deletion.is_dying(app) and application.is_skipping_reconcile(app):
                self.held.add(name)
            for owner in app["metadata"].get("ownerReferences") or ():
                is_set = owner.get("kind") == "ApplicationSet" and self.sets is not None
                if is_set and owner.get("uid") not in known:
                    self.of_lost_sets[str(owner.get("name"))] += 1
            block = application.automated(app)
            if application.is_auto_sync_on(app) and isinstance(block, dict) and block.get("prune") is True:
                lines = sum(1 for r in application.managed_resources(app) if r.get("requiresPruning"))
                if lines:
                    self.pruning.append((name, lines))

    @property
    def dying_sets(self) -> list[str]:
        """ApplicationSets that are being deleted."""
        return [display_name(ref_of(s).key, self.argocd) for s in self.sets or () if deletion.is_dying(s)]

    @property
    def dying(self) -> list[Doomed]:
        """Applications with a deletion time, those that take their workloads along first."""
        return sorted((d for d in self.doomed if d.is_dying), key=lambda d: (not d.cascades, d.key))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is dying."""
        return not (self.dying or self.dying_sets or self.of_lost_sets)

    def lines(self, *, is_frozen: bool) -> Iterator[str]:
        """Say it, worst first."""
        for name in self.dying_sets:
            yield f"ApplicationSet {name} is being deleted: its Applications follow, by Kubernetes' own garbage collector"
        for name, count in self.of_lost_sets.most_common(8):
            yield f"ApplicationSet {name} is gone: {_applications(count)} of it {'is' if count == 1 else 'are'} collected as garbage"
        cascading = [d.name for d in self.dying if d.cascades and d.name not in self.held]
        if cascading:
            when = "as soon as Argo CD runs" if is_frozen else "now"
            yield f"{_applications(len(cascading))} will be deleted with workloads, {when}: {some(cascading)}"
        if held := sorted(self.held):
            yield f"{_applications(len(held))} being deleted, held by skip-reconcile: {some(held)}"
        alone = [d.name for d in self.dying if not d.cascades and d.name not in self.held]
        if alone:
            yield f"{_applications(len(alone))} being deleted, the workloads stay: {some(alone)}"
        if not is_frozen and self.is_quiet:
            return  # syncs and prunes are everyday life
        if running := [d.name for d in self.doomed if d.operation and not d.is_dying]:
            yield f"{len(running)} operation{'' if len(running) == 1 else 's'} will go on: {some(running)}"
        if self.pruning:
            total = sum(count for _, count in self.pruning)
            named = [f"{name} ({count})" for name, count in self.pruning]
            yield f"{total} object{'' if total == 1 else 's'} to be pruned by the last comparison: {some(named)}"

    def as_json(self) -> dict[str, JSON]:
        """Return the same for tools."""
        return {
            "dyingSets": self.dying_sets,
            "lostSets": dict(self.of_lost_sets),
            "dying": [
                {
                    "namespace": d.key.namespace,
                    "name": d.key.name,
                    "since": time_json(d.since),
                    "cascading": d.cascades,
                    "held": d.name in self.held,
                }
                for d in self.dying
            ],
            "operations": [
                {"namespace": d.key.namespace, "name": d.key.name, "operation": d.operation}
                for d in self.doomed
                if d.operation
            ],
            "pruning": dict(self.pruning),
        }


def frozen_by(entries: Iterable[Entry]) -> Entry | None:
    """Return the freeze that is open, the newest of several."""
    return next(iter(newest_first([e for e in entries if e.is_open and e.is_freeze])), None)


def frozen_line(entry: Entry | None, now: datetime) -> str:
    """Say that Argo CD stands still, since when and how it is thawed."""
    if entry is None:
        return "FROZEN: its controllers are scaled to 0, by no entry of this journal"
    b = entry.begin
    why = f" ({one_line(b.reason)})" if b.reason else ""
    who = one_line(b.actor) or "somebody"
    return f"FROZEN {ago(now - b.started)} by {who}{why}; thaw: {COMMAND} undo {entry.id}"


def _applications(count: int) -> str:
    return f"{count} Application{'' if count == 1 else 's'}"
