"""Puts version fields back, or leaves them to git where it owns the object: nothing rolls out twice.

A version field is written only where nobody else will: a plain restore of 2.5.1 after git was fixed
rolls the broken version out again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from msgspec.structs import replace

from ..argocd import application, handback, ownership
from ..argocd.handback import Evidence, Handback
from ..model import patches
from ..model.errors import Code, RefusedError, TimedOut
from ..model.patches import shown
from ..model.text import COMMAND
from ..model.times import ago
from ..model.values import Edit, FieldChange, Key, Role, StepResult, StepStatus
from ..plan.undo import RESTORED, Fate, UndoWork
from .git_check import MAX_REFRESHED, GitCheck
from .handback import HandBack

SECOND_THOUGHTS = 2
"""How often git is asked again of an object that we have just written: Argo CD may not have seen that yet."""


class Versions:
    """The version fields of one undo, and what git says of each."""

    def __init__(self, work: UndoWork, check: GitCheck, handback: HandBack) -> None:
        """Judge what that work is about, by what the check has Argo CD say, holding what must not move."""
        self.work = work
        self.check = check
        self.handback = handback
        self.compared: set[Key] = set()
        """Owners that were compared when windows and the children's auto-sync were back."""
        self.stuck: list[Handback] = []
        """What git still asks something else for: its pin stays."""
        self.blocked: set[Key] = set()
        """Owners that stay paused because of that."""

    def _keys(self) -> list[Key]:
        return [e.ref.key for e in self.work.edits([Role.VERSION])]

    def _judge(self, keys: Sequence[Key]) -> None:
        work = self.work
        work.verdicts = {}
        for key in keys:
            fold = work.folds[key, Role.VERSION]
            verdict = (
                Handback(key, Evidence.FREE)
                if work.is_on_top(key)
                else handback.git_says(work.snapshot, key, fold.changes, work.witnesses)
            )
            above = handback.moves_above(work.snapshot, key, work.is_drift)
            if verdict.evidence is Evidence.AGREES and above is not None and above[0] in work.resumed():
                why = f"git asks {above[0]} for another {above[1]} than is there"
                verdict = Handback(
                    key,
                    Evidence.DISAGREES,
                    why,
                    above[1],
                    handback.where_owed(work.snapshot.objects[above[0]]),
                )
            gone = self._sets_gone({tag.entry for tag in fold.restored})
            if verdict.evidence is Evidence.FREE and gone:
                why = f"its owner {gone[0]} of the time of the rescue does not exist any more"
                verdict = Handback(key, Evidence.NONE, why)
            work.verdicts[key] = self._in_its_own_words(verdict)

    def _in_its_own_words(self, verdict: Handback) -> Handback:
        """Say of what was tried what Argo CD said, which is more than what differs."""
        said = self.handback.tried.get(verdict.key)
        if said is None or not verdict.may_ask or said.evidence is Evidence.AGREES:
            return verdict
        return _told(verdict, said)

    def judge_again(self) -> None:
        """Judge the same once more, of owners that have done something meanwhile."""
        self._judge(list(self.work.verdicts))

    def _sets_gone(self, ids: Collection[str]) -> list[Key]:
        """Return the ApplicationSets that these entries gave a rule and that are not there any more."""
        return [
            edit.ref.key
            for entry in self.work.entries
            if entry.id in ids
            for _, edit in entry.edits()
            if edit.role is Role.RULE and edit.ref.key in self.work.snapshot.missing
        ]

    def first_look(self, *, is_dry: bool) -> None:
        """Ask the owners to look at git, judge, and refuse before any write where git has not moved.

        Raises RefusedError, with --when-safe TimedOut.
        """
        work, keys = self.work, self._keys()
        if work.is_redo:
            work.verdicts = {key: Handback(key, Evidence.FREE) for key in keys}
            return
        if not is_dry:
            asked = ownership.ancestors(work.snapshot, [*keys, *work.skipped_versions()])
            # Before auto-sync goes back on we want to know what it will do.
            resumed = [k for k in work.resumed() if k not in asked]
            self.check.compare_anew([*asked, *(resumed if len(resumed) <= MAX_REFRESHED else ())])
            self._compare_until_seen(keys)
        self._judge(keys)
        if is_dry:
            return
        self._ask_argo_cd()
        if work.options.redeploy:
            return
        if work.options.when_safe:
            self._wait_until_moved()
            return
        for verdict in self._unlike(Evidence.UNMOVED):
            self.handback.give_up()
            raise RefusedError(
                self._disagreement(verdict),
                f"merge the change in git ({verdict.where}) and undo then; --when-safe waits for it, "
                f"--redeploy rolls it out now; {self.handback.as_before()}",
                code=Code.GIT_DIFFERS,
            )

    def _ask_argo_cd(self) -> None:
        """Where that may tell more, have it compare with the original put back, or with what the owner says."""
        work = self.work
        for verdict in list(work.verdicts.values()):
            if not verdict.may_ask or not self.handback.is_worth_asking(verdict):
                continue
            said = self.handback.ask(verdict.key, whatever_rolls=work.options.redeploy)
            if said is None:
                continue
            if verdict.key in self.handback.held:
                del work.verdicts[verdict.key]
            else:
                work.verdicts[verdict.key] = _told(verdict, said)

    def _compare_until_seen(self, keys: Sequence[Key]) -> None:
        """Have the owners of what was written lately compared once more.

        Argo CD compares with what its watch has told it: after one round an owner still listed the
        child as it was in 11 of 15 tries, after two in none of 8.
        """
        if lately := [key for key in keys if self.work.was_pinned_lately(key)]:
            self.check.compare_settled(ownership.ancestors(self.work.snapshot, lately))

    def _unlike(self, *evidence: Evidence) -> list[Handback]:
        return [v for v in self.work.verdicts.values() if v.evidence in evidence]

    def _wait_until_moved(self) -> None:
        deadline = self.check.deadline()
        while waiting := [*self._unlike(Evidence.UNMOVED), *self._passing()]:
            text = self._disagreement(waiting[0])
            self.check.tell_waiting(text, deadline)
            if self.check.is_over(deadline):
                self.handback.give_up()
                raise TimedOut(f"git did not change in time: {text}", self.handback.as_before())
            self._look_again(list(self.work.verdicts), deadline)
            self._ask_argo_cd()

    def _passing(self) -> list[Handback]:
        """Return what nothing is known of for a while: repo-server or controller may be back soon."""
        work = self.work
        return [
            v
            for v in self._unlike(Evidence.NONE)
            if v.owner in work.silent
            or (
                v.owner is not None
                and v.owner.kind == "Application"
                and handback.is_unknown(work.snapshot.objects[v.owner])
            )
        ]

    def _look_again(self, keys: Sequence[Key], deadline: float | None) -> None:
        self.check.pause_between_looks(deadline)
        self.work.silent.clear()
        self.check.compare_anew(ownership.ancestors(self.work.snapshot, keys))
        self._judge(keys)

    def second_look(self) -> None:
        """With windows and the children's auto-sync back, what still differs is the version."""
        work, check = self.work, self.check
        skipped = work.skipped_versions()
        if not skipped and all(v.evidence is Evidence.FREE for v in work.verdicts.values()):
            return
        keys = list(work.verdicts)
        deadline = check.deadline()
        self.compared.update(ownership.ancestors(work.snapshot, [*keys, *skipped]))
        check.compare_anew(sorted(self.compared))
        self._compare_until_seen(keys)
        self._judge(keys)
        for _ in range(SECOND_THOUGHTS):
            if all(v.key not in work.written for v in self._unlike(Evidence.DISAGREES, Evidence.UNMOVED)):
                break
            check.compare_settled(sorted(self.compared))
            self._judge(keys)
        while work.options.when_safe:
            waiting = [*self._unlike(Evidence.DISAGREES, Evidence.UNMOVED), *self._passing()]
            if not waiting or check.is_over(deadline):
                return
            check.tell_waiting(self._disagreement(waiting[0]), deadline)
            self._look_again(keys, deadline)
            self._ask_argo_cd()
            keys = list(work.verdicts)

    def sets_to_mend(self) -> Iterator[tuple[Key, Key, Key]]:
        """Yield paused owners to let go now, each with the ApplicationSet that it must bring what git says.

        The third is the Application that the set made. The set's rule still protects that, and its
        template is judged after: as long as its owner is paused, no fix of git reaches it. Where the
        owner would take the rule along, that is done only where it was agreed to with --redeploy.
        """
        work = self.work
        for verdict in self._unlike(Evidence.DISAGREES, Evidence.NONE):
            made_by = verdict.owner
            if made_by is None or made_by.kind != "ApplicationSet":
                continue
            for above in ownership.owning_applications(work.snapshot, made_by):
                if above not in work.resumed() or made_by not in handback.out_of_sync(
                    work.snapshot.objects[above]
                ):
                    continue
                if work.options.redeploy or not work.is_drift(above, made_by):
                    yield above, made_by, verdict.key

    def foretell(self) -> tuple[tuple[str, ...], set[Key], bool]:
        """Say what the last comparison lets expect: in words, who stays paused, whether all is refused."""
        work, said, held, is_refused = self.work, [], set(), False
        for verdict in work.verdicts.values():
            if verdict.evidence is Evidence.FREE:
                continue
            name = work.name(verdict.key)
            owner = work.snapshot.objects.get(verdict.owner) if verdict.owner is not None else None
            at = application.reconciled_at(owner) if owner is not None else None
            seen = f", as Argo CD saw it {ago(self.check.now() - at)}" if at is not None else ""
            text = f"the version of {name} is git's to say: {verdict.why}{seen}; a real undo asks Argo CD to compare first"
            if verdict.evidence is not Evidence.AGREES and not work.options.redeploy:
                held |= set(ownership.ancestors(work.snapshot, [verdict.key]))
                if work.options.when_safe:
                    text += " and waits for git"
                elif verdict.evidence is Evidence.UNMOVED:
                    is_refused = True
                    text += " and, if that says the same, changes nothing (5)"
                else:
                    text += (
                        " and, if that says the same, leaves the pin and its paused owners as they are (5)"
                    )
            said.append(text)
        return tuple(said), held, is_refused

    def will_hold(self) -> set[Key]:
        """Return the owners that stay paused by what the first look says already."""
        if self.work.options.redeploy:
            return set()
        # A set's own owner may be let go to mend the set.
        stuck = [
            v.key for v in self._unlike(Evidence.NONE) if v.owner is None or v.owner.kind != "ApplicationSet"
        ]
        return set(ownership.ancestors(self.work.snapshot, stuck))

    def hold_for_skipped(self) -> list[str]:
        """Keep those paused that would write over a version which somebody else set and we leave alone."""
        work = self.work
        said: list[str] = []
        for key, conflicts in work.skipped_versions().items():
            changes = [FieldChange(c.path, c.ours, c.theirs) for c in conflicts]
            verdict = handback.git_says(work.snapshot, key, changes, work.witnesses)
            if verdict.evidence in (Evidence.FREE, Evidence.AGREES) or work.options.redeploy:
                continue
            above = ownership.ancestors(work.snapshot, [key])
            self.blocked.update(above)
            said += [
                f"{edit.ref.kind} {work.name(edit.ref.key)} stays as it is: it would write "
                f"over what somebody set on {work.name(key)}: {verdict.why}"
                for edit in work.owner_edits()
                if edit.ref.key in above
            ]
        return said

    def _disagreement(self, verdict: Handback) -> str:
        fold = self.work.folds[verdict.key, Role.VERSION]
        live = self.work.snapshot.objects.get(verdict.key)
        # Where git has not moved, what it asks for is the saved original.
        stays = verdict.evidence is Evidence.DISAGREES and self.work.is_for_the_owner(verdict)
        parts = []
        for change in fold.changes:
            before = patches.read(change.path, live)
            after = patches.read(change.path, fold.target)
            parts.append(
                f"{patches.show_path(change.path)} stays {shown(before)}"
                if stays
                else f"{patches.show_path(change.path)} is {shown(before)} and would go back to {shown(after)}"
            )
        name = self.work.name(verdict.key)
        rolls = "" if stays else ", which rolls it out"
        return f"{name}: {'; '.join(parts)}{rolls}: {verdict.why}"

    def leave_the_rest(self) -> list[StepResult]:
        """Settle what git is the master of again, and note what it disagrees about; return what was settled."""
        work, kept = self.work, []
        for edit in work.edits([Role.VERSION]):
            verdict = work.verdicts[edit.ref.key]
            if edit.ref.key in self.handback.held or work.goes_back(verdict):
                continue
            if verdict.evidence is Evidence.AGREES or work.options.redeploy:
                kept.append(self._keep(edit, verdict))
            else:
                self.stuck.append(verdict)
                self.blocked.update(ownership.ancestors(work.snapshot, [verdict.key]))
        return kept

    def _keep(self, edit: Edit, verdict: Handback) -> StepResult:
        """git is the master again: the field stays as it is, nothing rolls out by our hand."""
        restored = self.work.folds[edit.ref.key, Role.VERSION].restored
        self.work.settled.update(dict.fromkeys(restored, Fate.GIT))
        detail = (
            f"its version stays: {verdict.why}"
            if verdict.evidence is Evidence.AGREES
            else f"its version is left to its owner: {verdict.why}"
        )
        return StepResult(edit.ref, StepStatus.UNCHANGED, RESTORED[Role.VERSION], detail=detail)

    def to_sync(self, written: Sequence[Edit]) -> list[str]:
        """Name the Applications whose version went back and that auto-sync will not deploy."""
        apps = [self.work.snapshot.objects[edit.ref.key] for edit in written]
        return [
            self.work.name(application.key_of(app))
            for app in apps
            if app["kind"] == "Application" and not application.is_auto_sync_on(app)
        ]

    def what_stands(self) -> list[str]:
        """Name each pin that stays, and who stays paused for it; git owes what they wait for."""
        work, said = self.work, []
        for verdict in self.stuck:
            said.append(f"{self._disagreement(verdict)}; its pin stays")
            work.owe(verdict)
        for edit in work.owner_edits():
            if edit.ref.key in self.blocked:
                stays = "keeps its rule" if edit.role is Role.RULE else "stays paused"
                said.append(f"{edit.ref.kind} {work.name(edit.ref.key)} {stays} until then")
        return said

    def how_to_go_on(self) -> str:
        """Say what ends that."""
        work = self.work
        acting = [v.owner for v in self.stuck if v.owner is not None and work.is_for_the_owner(v)]
        names = ", ".join(dict.fromkeys(map(work.name, acting)))
        ways = [f"--redeploy lets {names} roll out what git says now"] if acting else []
        if len(acting) < len(self.stuck):
            ways.append("--redeploy rolls the originals out now")
        return f"fix git and run {COMMAND} undo again; {', '.join(ways)}"


def _told(verdict: Handback, said: Handback) -> Handback:
    """Say what Argo CD said of what was tried, or why nothing could be."""
    is_known = said.evidence is not Evidence.NONE
    return replace(verdict, why=said.why if is_known else f"{verdict.why}; {said.why}")
