"""Hands workloads that were taken back over to Argo CD again: nothing is rolled forward by that.

A rollout is never written back. What an undo decides is whether auto-sync of the Application goes on
again, and for that Argo CD's own comparison counts: a workload that is OutOfSync would be rolled
forward at once, to the very version that was fled from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from ..argocd import application, handback, ownership
from ..argocd.handback import Evidence, Handback
from ..model.errors import Code, RefusedError, TimedOut
from ..model.text import COMMAND, cause
from ..model.values import BY_KIND, JSON, Key, Role, Snapshot, StepResult, StepStatus, WorkloadRollback
from ..plan.undo import RESTORED, Fate, UndoWork
from .git_check import GitCheck
from .procedure import follow, is_idle

OWNER_SECONDS = 60.0
"""How long an owner may take to apply what git says, once its auto-sync is back."""


class Course(Enum):
    """When auto-sync of an Application may go back."""

    NOW = "now"
    AFTER_OWNERS = "after owners"
    """Its owners go first: git has moved, and what it says of this Application comes through them."""
    NOT = "not"


def comparison_says(snapshot: Snapshot, key: Key, rollouts: Sequence[WorkloadRollback]) -> Handback:
    """Say what Argo CD would do with workloads that were taken back, by its last comparison."""
    app = snapshot.objects[key]
    owning = [o for o in ownership.owning_applications(snapshot, key) if o.kind == "Application"]
    owner = owning[0] if owning else None
    where = handback.where_owed(snapshot.objects[owner] if owner else app)
    errors = application.conditions(app, "ComparisonError")
    if errors or application.sync_status(app) == "Unknown":
        said = f": {cause(str(errors[0].get('message', '')))}" if errors else ""
        return Handback(key, Evidence.NONE, f"Argo CD cannot compare it now{said}", owner, where)
    moving = [
        str(r.ref.key)
        for r in rollouts
        if (line := application.lists(app, r.ref.key, BY_KIND[r.ref.kind].group)) is not None
        and (line.get("status") != "Synced" or line.get("requiresPruning"))
        and (line.get("requiresPruning") or not _asks_for_the_same(app, r.deployment))
    ]
    if moving:
        why = f"Argo CD would roll {', '.join(moving)} forward again: it is OutOfSync"
        return Handback(key, Evidence.DISAGREES, why, owner, where)
    return Handback(key, Evidence.AGREES, "git equals what runs", owner, where)


def _asks_for_the_same(app: JSON, deployment: int | None) -> bool:
    """Whether Argo CD compared with the very sources and revisions that made what runs again.

    A workload is OutOfSync then only because of what a rollout does not touch: labels of its own,
    its number of replicas, which come back without a new pod.
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


class RolledBack:
    """The workloads that the entries of one undo took back, by Application."""

    def __init__(self, work: UndoWork, check: GitCheck) -> None:
        """Judge what that work is about, by what the check has Argo CD say."""
        self.work = work
        self.check = check
        self.held: set[Key] = set()
        """Applications whose auto-sync goes back after their owners."""
        self.doubtful: set[Key] = set()
        """Applications that go back at once, whose owners may say something else yet."""
        self.blocked: set[Key] = set()
        """Owners that stay paused because of them."""
        self.stuck: dict[Key, Handback] = {}

    def _at_stake(self) -> list[Key]:
        """Return the Applications of which a later sync by itself is possible through an undo."""
        work = self.work
        resumed = {edit.ref.key for edit in work.edits([Role.PAUSE])}
        return [
            key
            for key in work.rollouts
            if not application.is_auto_sync_on(work.snapshot.objects[key])
            and (key in resumed or key in work.needed)
        ]

    def _judge(self, key: Key) -> Handback:
        return comparison_says(self.work.snapshot, key, [r for _, r in self.work.rollouts[key]])

    def _moving_owners(self, key: Key) -> list[Key]:
        """Return the owners that this undo resumes and that would change the Application then."""
        folds = self.work.folds
        found = []
        for owner in ownership.owning_applications(self.work.snapshot, key):
            fold = folds.get((owner, Role.PAUSE))
            if owner.kind == "Application" and fold is not None and fold.changes:
                line = application.lists(self.work.snapshot.objects[owner], key)
                if line is not None and line.get("status") != "Synced":
                    found.append(owner)
        return found

    def _has_moved(self, owner: Key) -> bool:
        """Whether git is elsewhere than when the rescue began."""
        now = ",".join(application.synced_revisions(self.work.snapshot.objects[owner]))
        then = {w.revision for w in self.work.witnesses if w.owner == owner}
        return bool(now) and now not in then

    def _course(self, key: Key, verdict: Handback) -> Course:
        block = application.automated(self.work.snapshot.objects[key])
        # An added `enabled: false` survives what an owner applies; a block that is gone comes back with it.
        survives = isinstance(block, dict) and block.get("enabled") is False
        moving = self._moving_owners(key)
        if self.work.options.redeploy:
            return Course.AFTER_OWNERS if moving else Course.NOW
        agrees = verdict.evidence is Evidence.AGREES
        if survives and moving and (agrees or all(self._has_moved(o) for o in moving)):
            return Course.AFTER_OWNERS
        if agrees:
            if moving:
                self.doubtful.add(key)
            return Course.NOW
        return Course.NOT

    def _refresh(self, keys: Sequence[Key]) -> None:
        self.check.compare_anew([*keys, *ownership.ancestors(self.work.snapshot, keys)])

    def foretell(self) -> list[str]:
        """Say what a dry run cannot know."""
        return [
            f"the workloads of {self.work.name(key)} are handed back only where Argo CD would not roll "
            "them forward; a real undo asks it to compare first"
            for key in self._at_stake()
        ]

    def first_look(self) -> None:
        """Ask Argo CD, and refuse before any write where handing back would roll something forward.

        Raises RefusedError, with --when-safe TimedOut.
        """
        keys = self._at_stake()
        if not keys:
            return
        deadline = self.check.deadline()
        while True:
            self._refresh(keys)
            self.doubtful.clear()
            verdicts = {key: self._judge(key) for key in keys}
            courses = {key: self._course(key, verdicts[key]) for key in keys}
            self.held = {key for key, course in courses.items() if course is Course.AFTER_OWNERS}
            refused = [verdicts[key] for key in keys if courses[key] is Course.NOT]
            if not refused:
                return
            if not self.work.options.when_safe:
                raise RefusedError(
                    "; ".join(map(self._text, refused)),
                    f"{self._advice(refused[0])}; --when-safe waits for it, --redeploy hands it back now, "
                    "whatever rolls out then; nothing was changed",
                    code=Code.GIT_DIFFERS,
                )
            self.check.tell_waiting(self._text(refused[0]), deadline)
            if self.check.is_over(deadline):
                raise TimedOut(f"git did not change in time: {self._text(refused[0])}", "nothing was changed")
            self.check.pause_between_looks(deadline)

    def _advice(self, verdict: Handback) -> str:
        where = f" ({verdict.where})" if verdict.where else ""
        if verdict.evidence is Evidence.NONE:
            return f"undo once Argo CD can compare again and git{where} asks for what runs"
        return f"merge the change in git{where} and undo then"

    def _text(self, verdict: Handback) -> str:
        return f"{self.work.name(verdict.key)} stays paused: {verdict.why}"

    def second_look(self) -> set[Key]:
        """Return owners that must stay paused after all: git says something else of an Application.

        Asked once the Application's own auto-sync is back, so that only this can still differ.
        """
        if self.doubtful:
            self._refresh(sorted(self.doubtful))
        for key in sorted(self.doubtful):
            moving = self._moving_owners(key)
            if moving and key in self.work.written:
                self.check.compare_settled([key, *ownership.ancestors(self.work.snapshot, [key])])
                moving = self._moving_owners(key)
            if moving:
                names = ", ".join(map(self.work.name, moving))
                why = f"{names} would bring what git asks for by now, and that is not what runs"
                self.stuck[key] = Handback(key, Evidence.DISAGREES, why, moving[0], self._judge(key).where)
                self.blocked.update(ownership.ancestors(self.work.snapshot, [key]))
        return self.blocked

    def after_owners(self) -> Iterator[Key]:
        """Yield what waited for its owners and may have its auto-sync back, as Argo CD agrees by then."""
        for key in sorted(self.held):
            if not self._wait_for_owners(key):
                continue
            if not self.work.options.redeploy and not self._agrees_in_time(key):
                self.stuck[key] = self._judge(key)
                continue
            yield key

    def _wait_for_owners(self, key: Key) -> bool:
        for owner in ownership.owning_applications(self.work.snapshot, key):
            fold = self.work.folds.get((owner, Role.PAUSE))
            if owner.kind != "Application" or fold is None or not application.is_auto_sync_on(fold.target):
                continue

            def applied(live: object) -> bool:
                line = application.lists(live, key)
                return is_idle(live) and line is not None and line.get("status") == "Synced"

            self.check.printer.say(f"waiting for {self.work.name(owner)} to apply what git says …")
            if follow(self.check.cluster, owner, applied, OWNER_SECONDS) is None:
                why = f"{owner} has not applied what git says of it in time"
                self.stuck[key] = Handback(key, Evidence.NONE, why, owner, self._judge(key).where)
                return False
        self.check.reread([key, *ownership.ancestors(self.work.snapshot, [key])])
        return True

    def _agrees_in_time(self, key: Key) -> bool:
        deadline = self.check.deadline()
        while True:
            self.check.compare_anew([key])
            verdict = self._judge(key)
            if verdict.evidence is Evidence.AGREES:
                return True
            if not self.work.options.when_safe or self.check.is_over(deadline):
                return False
            self.check.tell_waiting(self._text(verdict), deadline)
            self.check.pause_between_looks(deadline)

    def handed_back(self) -> list[StepResult]:
        """Settle what is handed back, and return it."""
        results = []
        for key, rollouts in self.work.rollouts.items():
            if key in self.stuck:
                continue
            action = RESTORED[Role.WORKLOAD]
            is_on = application.is_auto_sync_on(self.work.snapshot.objects[key])
            detail = action + (" to Argo CD" if is_on else ": auto-sync is off, so nothing moves it")
            for tag, rollout in rollouts:
                self.work.settled[tag] = Fate.HANDED_BACK
                results.append(StepResult(rollout.ref, StepStatus.UNCHANGED, action, detail=detail))
        return results

    def what_stands(self) -> list[tuple[str, str]]:
        """Say of each Application that stays paused why, and how to go on; git owes what they wait for."""
        said = []
        for key, verdict in self.stuck.items():
            self.work.owe(verdict)
            text = f"{self.work.name(key)}: {verdict.why}" if self.blocked else self._text(verdict)
            how = f"{self._advice(verdict)} ({COMMAND} undo), or hand it back now with --redeploy"
            said.append((text, how))
        return said

    def who_waits(self) -> list[str]:
        """Name the owners that stay paused because of them."""
        return [f"{key.kind} {self.work.name(key)} stays paused until then" for key in sorted(self.blocked)]
