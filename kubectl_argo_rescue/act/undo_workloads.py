"""Gives Applications their auto-sync back where it would roll nothing: after a rollback, a pause, a rollout.

None of these wrote the version that the spec asks for, so that nothing of it goes back. What an undo
decides is whether auto-sync of the Application goes on again, and for that Argo CD's own comparison
counts: what is OutOfSync would be rolled forward at once, to the very version that was fled from.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ..argocd import application, ownership
from ..argocd.handback import MOST_NAMED, Evidence, Handback, auto_sync_says
from ..model.errors import Code, RefusedError, TimedOut
from ..model.text import COMMAND
from ..model.values import Key, Role, StepResult, StepStatus
from ..plan.undo import RESTORED, Fate, UndoWork
from .git_check import MAX_REFRESHED, GitCheck
from .handback import HandBack


class Course(Enum):
    """When auto-sync of an Application may go back."""

    NOW = "now"
    AFTER_OWNERS = "after owners"
    """It is held until its owners are back: with what they say of it nothing would move."""
    NOT = "not"


class Resumed:
    """The Applications that act by themselves again after one undo, and what they would do."""

    def __init__(self, work: UndoWork, check: GitCheck, handback: HandBack) -> None:
        """Judge what that work is about, by what the check has Argo CD say, holding what must not move."""
        self.work = work
        self.check = check
        self.handback = handback
        self.doubtful: set[Key] = set()
        """Applications that go back at once, whose owners may say something else yet."""
        self.blocked: set[Key] = set()
        """Owners that stay paused because of them."""
        self.stuck: dict[Key, Handback] = {}
        self._rescued: set[Key] = set()
        self._besides: set[Key] = set()

    def _begin(self) -> list[Key]:
        """Return the Applications to judge, having found out once what counts for all of them."""
        self._rescued, self._besides = self.work.rescued(), self.work.given_back()
        return self.work.at_stake()

    def _judge(self, key: Key) -> Handback:
        work = self.work
        fold = work.folds.get((key, Role.PAUSE))
        return auto_sync_says(
            work.snapshot,
            key,
            block=application.automated(fold.target) if fold is not None else None,
            rollouts=[r for _, r in work.rollouts.get(key, ())],
            anything=key in self._rescued,
            besides=self._besides,
        )

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

    def _course(self, key: Key) -> tuple[Course, Handback]:
        """Say when it may go back, having asked Argo CD what it would do with what a paused owner says of it."""
        verdict = self._judge(key)
        if self.work.options.redeploy or key in self.handback.held:
            return Course.NOW, verdict
        moving = () if (key, Role.VERSION) in self.work.folds else self._moving_owners(key)
        if moving and not self._is_one_of_many(key, moving) and self.handback.is_worth_asking(verdict):
            said = self.handback.ask(key)
            if said is not None and said.evidence is Evidence.AGREES:
                return Course.AFTER_OWNERS, said
            if said is not None and said.evidence is Evidence.DISAGREES:
                return Course.NOT, said
        if verdict.evidence is not Evidence.AGREES:
            return Course.NOT, verdict
        if moving:
            self.doubtful.add(key)
        return Course.NOW, verdict

    def _is_one_of_many(self, key: Key, moving: Sequence[Key]) -> bool:
        """Whether its pause differs, as before 3.1, among too many to hold each: the second look tells if that was all."""
        is_ours = key not in self._rescued and all(self.work.is_drift(owner, key) for owner in moving)
        return is_ours and len(self.work.resumed()) > MAX_REFRESHED

    def _to_compare(self, keys: Sequence[Key]) -> Sequence[Key]:
        """Return those of which the last comparison is not enough.

        Of what was merely paused nothing was written that Argo CD compares. Of thousands it is asked
        for those that differ, and for the one that it looked at longest ago: a controller that is dead
        has nothing to say of any.
        """
        if len(keys) <= MAX_REFRESHED:
            return keys
        objects = self.work.snapshot.objects
        differing = [
            key for key in keys if key in self._rescued or self._judge(key).evidence is not Evidence.AGREES
        ]
        since = {key: at for key in keys if (at := application.reconciled_at(objects[key])) is not None}
        oldest = min(since, key=lambda key: since[key], default=keys[0])
        return list(dict.fromkeys((oldest, *differing)))

    def _refresh(self, keys: Sequence[Key]) -> None:
        keys = self._to_compare(keys)
        every = [*keys, *ownership.ancestors(self.work.snapshot, keys)]
        self.check.compare_anew([key for key in every if key not in self.check.fresh])
        if recent := [key for key in keys if self.work.moved_lately(key)]:
            self.check.compare_settled(recent)

    def foretell(self) -> list[str]:
        """Say what a dry run cannot know."""
        work, said = self.work, []
        for key in self._begin():
            verdict = self._judge(key)
            if key in work.rollouts:
                said.append(
                    f"the workloads of {work.name(key)} are handed back only where Argo CD would not roll "
                    "them forward; a real undo asks it to compare first"
                )
            elif verdict.evidence is not Evidence.AGREES and not work.options.redeploy:
                said.append(
                    f"{self._text(verdict)}; a real undo asks Argo CD to compare first and, if that says the "
                    f"same, {'waits for git' if work.options.when_safe else 'changes nothing (5)'}"
                )
        return said

    def first_look(self) -> None:
        """Ask Argo CD, and refuse before any write where handing back would roll something forward.

        Raises RefusedError, with --when-safe TimedOut.
        """
        keys = self._begin()
        if not keys:
            return
        deadline = self.check.deadline()
        while True:
            self._refresh(keys)
            self.doubtful.clear()
            courses = {key: self._course(key) for key in keys}
            refused = [verdict for course, verdict in courses.values() if course is Course.NOT]
            if not refused:
                return
            if self.check.let_act([verdict.key for verdict in refused]):
                continue
            if not self.work.options.when_safe and self._may_stay(refused):
                return
            if not self.work.options.when_safe:
                self.handback.give_up()
                texts = [self._text(verdict) for verdict in refused]
                more = f"; and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
                raise RefusedError(
                    "; ".join(texts[:MOST_NAMED]) + more,
                    f"{self._advice(refused[0])}; --when-safe waits for it, --redeploy hands it back now, "
                    f"whatever rolls out then; {self.handback.as_before()}",
                    code=Code.GIT_DIFFERS,
                )
            self.check.tell_waiting(self._text(refused[0]), deadline)
            if self.check.is_over(deadline):
                self.handback.give_up()
                raise TimedOut(
                    f"git did not change in time: {self._text(refused[0])}", self.handback.as_before()
                )
            self.check.pause_between_looks(deadline)

    def _may_stay(self, refused: Sequence[Handback]) -> bool:
        """Leave out of this undo what would move, where that was pinned or merely paused and something else goes back."""
        work = self.work
        keys = {verdict.key for verdict in refused}
        merely = {key for key in keys if (key, Role.VERSION) not in work.folds}
        owners = set(ownership.ancestors(work.snapshot, list(merely)))
        rest = [e for e in work.edits([Role.WINDOW, Role.PAUSE]) if e.ref.key not in keys | owners]
        if merely & self._rescued or (merely and not rest):
            return False
        self.stuck.update({verdict.key: verdict for verdict in refused})
        self.blocked |= merely | owners
        return True

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
            is_on = key in self.doubtful  # its owner alone stays paused
            text = f"{self.work.name(key)}: {verdict.why}" if is_on else self._text(verdict)
            how = f"{self._advice(verdict)} ({COMMAND} undo), or hand it back now with --redeploy"
            said.append((text, how))
        return said

    def who_waits(self) -> list[str]:
        """Name the owners that stay paused because of them."""
        waiting = self.blocked - set(self.stuck)
        return [f"{key.kind} {self.work.name(key)} stays paused until then" for key in sorted(waiting)]
