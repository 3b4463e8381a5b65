"""Puts version fields back, or leaves them to git where it owns the object: nothing rolls out twice.

A version field is written only where nobody else will: a plain restore of 2.5.1 after git was fixed
rolls the broken version out again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from . import applications, handback, patches
from .durations import ago
from .errors import ExitStatus, RefusedError, TimedOut
from .handback import Evidence, Handback
from .model import Edit, EditResult, FieldChange, Key, Role, Verdict
from .outlook import COMMAND, display_name
from .patches import shown

if TYPE_CHECKING:
    from .undoing import Undo

MAX_REFRESHED = 20
"""Applications that are compared anew before their auto-sync goes back on."""


SECOND_THOUGHTS = 2
"""How often git is asked again of an object that we have just written: Argo CD may not have seen that yet."""


class Versions:
    """The version fields of one undo, and what git says of each."""

    def __init__(self, undo: Undo) -> None:
        """Work for that undo, in its snapshot and with its options."""
        self.undo = undo
        self.verdicts: dict[Key, Handback] = {}
        self.compared: set[Key] = set()
        """Owners that were compared when windows and the children's auto-sync were back."""
        self.stuck: list[Handback] = []
        """What git still asks something else for: its pin stays."""
        self.blocked: set[Key] = set()
        """Owners that stay paused because of that."""

    def _keys(self) -> list[Key]:
        folds = self.undo.work.folds
        return [key for (key, role), fold in folds.items() if role is Role.VERSION and fold.changes]

    def _judge(self, keys: Sequence[Key]) -> None:
        undo = self.undo
        self.verdicts = {}
        for key in keys:
            fold = undo.work.folds[key, Role.VERSION]
            verdict = handback.git_says(undo.snapshot, key, fold.changes, undo.witnesses)
            gone = self._sets_gone({tag.entry for tag in fold.restored})
            if verdict.evidence is Evidence.FREE and gone:
                why = f"its owner {gone[0]} of the time of the rescue does not exist any more"
                verdict = Handback(key, Evidence.NONE, why)
            self.verdicts[key] = verdict

    def _sets_gone(self, ids: Collection[str]) -> list[Key]:
        """Return the ApplicationSets that these entries gave a rule and that are not there any more."""
        return [
            edit.ref.key
            for entry in self.undo.work.entries
            if entry.id in ids
            for _, edit in entry.edits()
            if edit.role is Role.RULE and edit.ref.key in self.undo.snapshot.missing
        ]

    def first_look(self) -> None:
        """Ask the owners to look at git, judge, and refuse before any write where git has not moved.

        Raises RefusedError, with --when-safe TimedOut.
        """
        undo, keys = self.undo, self._keys()
        if undo.is_redo:
            self.verdicts = {key: Handback(key, Evidence.FREE) for key in keys}
            return
        is_dry = undo.writing.dry_run != "none"
        if not is_dry:
            asked = handback.ancestors(undo.snapshot, [*keys, *undo.skipped_versions()])
            # Before auto-sync goes back on we want to know what it will do; of a freeze of thousands
            # that would be a load of its own.
            resumed = [k for k in undo.resumed() if k not in asked]
            undo.compare_anew([*asked, *(resumed if len(resumed) <= MAX_REFRESHED else ())])
        self._judge(keys)
        if is_dry or undo.options.redeploy:
            return
        if undo.options.when_safe:
            self._wait_until_moved(keys)
            return
        for verdict in self._unlike(Evidence.UNMOVED):
            raise RefusedError(
                self._disagreement(verdict),
                f"merge the change in git ({verdict.where}) and undo then; --when-safe waits for it, "
                "--redeploy rolls it out now; nothing was changed",
            )

    def _unlike(self, *evidence: Evidence) -> list[Handback]:
        return [v for v in self.verdicts.values() if v.evidence in evidence]

    def _wait_until_moved(self, keys: Sequence[Key]) -> None:
        deadline = self.undo.deadline()
        while waiting := [*self._unlike(Evidence.UNMOVED), *self._passing()]:
            text = self._disagreement(waiting[0])
            self.undo.tell_waiting(text, deadline)
            if self.undo.is_over(deadline):
                raise TimedOut(f"git did not change in time: {text}", "nothing was changed")
            self._look_again(keys, deadline)

    def _passing(self) -> list[Handback]:
        """Return what nothing is known of for a while: repo-server or controller may be back soon."""
        undo = self.undo
        return [
            v
            for v in self._unlike(Evidence.NONE)
            if v.owner in undo.silent
            or (
                v.owner is not None
                and v.owner.kind == "Application"
                and handback.is_unknown(undo.snapshot.objects[v.owner])
            )
        ]

    def _look_again(self, keys: Sequence[Key], deadline: float | None) -> None:
        self.undo.pause_between_looks(deadline)
        self.undo.silent.clear()
        self.undo.compare_anew(handback.ancestors(self.undo.snapshot, keys))
        self._judge(keys)

    def second_look(self) -> None:
        """With windows and the children's auto-sync back, what still differs is the version."""
        skipped = self.undo.skipped_versions()
        if not skipped and all(v.evidence is Evidence.FREE for v in self.verdicts.values()):
            return
        keys = list(self.verdicts)
        deadline = self.undo.deadline()
        self.compared.update(handback.ancestors(self.undo.snapshot, [*keys, *skipped]))
        self.undo.compare_anew(sorted(self.compared))
        self._judge(keys)
        for _ in range(SECOND_THOUGHTS):
            if not any(
                self.undo.has_written(v.key) for v in self._unlike(Evidence.DISAGREES, Evidence.UNMOVED)
            ):
                break
            self.undo.compare_settled(sorted(self.compared))
            self._judge(keys)
        while self.undo.options.when_safe:
            waiting = [*self._unlike(Evidence.DISAGREES, Evidence.UNMOVED), *self._passing()]
            if not waiting or self.undo.is_over(deadline):
                return
            self.undo.tell_waiting(self._disagreement(waiting[0]), deadline)
            self._look_again(keys, deadline)

    def let_sets_be_mended(self) -> None:
        """Let a paused owner bring its ApplicationSet what git says, while the set's rule still protects us.

        The template is judged after that: as long as its owner is paused, no fix of git reaches it. Where
        the owner would take the rule along, that is done only where it was agreed to with --redeploy.
        """
        undo, mended = self.undo, False
        for verdict in self._unlike(Evidence.DISAGREES, Evidence.NONE):
            made_by = verdict.owner
            if made_by is None or made_by.kind != "ApplicationSet":
                continue
            for above in handback.owning_applications(undo.snapshot, made_by):
                if above not in undo.resumed() or made_by not in handback.out_of_sync(
                    undo.snapshot.objects[above]
                ):
                    continue
                if undo.options.redeploy or not undo.is_drift(above, made_by):
                    mended = undo.resume_first(above, made_by, verdict.key) or mended
        if mended:
            self._judge(list(self.verdicts))

    def foretell(self) -> tuple[tuple[str, ...], set[Key], bool]:
        """Say what the last comparison lets expect: in words, who stays paused, whether all is refused."""
        undo, said, held, is_refused = self.undo, [], set(), False
        for verdict in self.verdicts.values():
            if verdict.evidence is Evidence.FREE:
                continue
            name = display_name(verdict.key, undo.argocd)
            owner = undo.snapshot.objects.get(verdict.owner) if verdict.owner is not None else None
            at = applications.reconciled_at(owner) if owner is not None else None
            seen = f", as Argo CD saw it {ago(undo.session.now() - at)}" if at is not None else ""
            text = f"the version of {name} is git's to say: {verdict.why}{seen}; a real undo asks Argo CD to compare first"
            if verdict.evidence is not Evidence.AGREES and not undo.options.redeploy:
                held |= set(handback.ancestors(undo.snapshot, [verdict.key]))
                if undo.options.when_safe:
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
        if self.undo.options.redeploy:
            return set()
        # A set's own owner may be let go to mend the set.
        stuck = [
            v.key for v in self._unlike(Evidence.NONE) if v.owner is None or v.owner.kind != "ApplicationSet"
        ]
        return set(handback.ancestors(self.undo.snapshot, stuck))

    def hold_for_skipped(self) -> None:
        """Keep those paused that would write over a version which somebody else set and we leave alone."""
        undo = self.undo
        for key, conflicts in undo.skipped_versions().items():
            changes = [FieldChange(c.path, c.ours, c.theirs) for c in conflicts]
            verdict = handback.git_says(undo.snapshot, key, changes, undo.witnesses)
            if verdict.evidence in (Evidence.FREE, Evidence.AGREES) or undo.options.redeploy:
                continue
            above = handback.ancestors(undo.snapshot, [key])
            self.blocked.update(above)
            for edit in undo.owner_edits():
                if edit.ref.key in above:
                    undo.leave(
                        f"{edit.ref.kind} {display_name(edit.ref.key, undo.argocd)} stays as it is: it would write "
                        f"over what somebody set on {display_name(key, undo.argocd)}: {verdict.why}"
                    )

    def _disagreement(self, verdict: Handback) -> str:
        fold = self.undo.work.folds[verdict.key, Role.VERSION]
        live = self.undo.snapshot.objects.get(verdict.key)
        parts = []
        for change in fold.changes:
            before = patches.read(change.path, live)
            after = patches.read(change.path, fold.target)
            parts.append(
                f"{patches.show_path(change.path)} stays {shown(before)}"
                if self._is_for_the_owner(verdict)
                else f"{patches.show_path(change.path)} is {shown(before)} and would go back to {shown(after)}"
            )
        name = display_name(verdict.key, self.undo.argocd)
        rolls = "" if self._is_for_the_owner(verdict) else ", which rolls it out"
        return f"{name}: {'; '.join(parts)}{rolls}: {verdict.why}"

    def _other_words(self, verdict: Handback) -> str:
        """Say that git may ask for the pinned digest of an OCI artifact by a tag: for Argo CD a difference."""
        live = self.undo.snapshot.objects.get(verdict.key)
        if live is None or not self._is_for_the_owner(verdict):
            return ""
        tags = [
            tag
            for source in applications.sources(live)
            for tag in applications.tags_of(live, source, source.revision)
        ]
        if not tags:
            return ""
        return (
            f" (it was deployed as {', '.join(tags)}: if that is what git says and the tag was not moved, "
            "--redeploy moves nothing)"
        )

    def _is_for_the_owner(self, verdict: Handback) -> bool:
        """Whether git has moved and the owner will act: the saved original would only be a detour."""
        acts = verdict.owner is not None and (
            verdict.owner in self.undo.resumed()
            or applications.is_auto_sync_on(self.undo.snapshot.objects[verdict.owner])
        )
        return verdict.evidence is Evidence.DISAGREES and acts

    def _goes_back(self, verdict: Handback) -> bool:
        """Whether we write this version field ourselves."""
        if verdict.evidence is Evidence.FREE:
            return True
        if not self.undo.options.redeploy or verdict.evidence is Evidence.AGREES:
            return False
        return not self._is_for_the_owner(verdict)

    def will_go_back(self, key: Key) -> bool:
        """Whether we write the version fields of an object ourselves, as far as is known."""
        return key in self.verdicts and self._goes_back(self.verdicts[key])

    def going_back(self) -> list[Edit]:
        """Return the edits that write versions as they were."""
        edits = self.undo.edits([Role.VERSION])
        return [e for e in edits if self._goes_back(self.verdicts[e.ref.key])]

    def leave_the_rest(self) -> None:
        """Settle what git is the master of again, and note what it disagrees about."""
        for edit in self.undo.edits([Role.VERSION]):
            verdict = self.verdicts[edit.ref.key]
            if self._goes_back(verdict):
                continue
            if verdict.evidence is Evidence.AGREES or self.undo.options.redeploy:
                self._keep(edit, verdict)
            else:
                self.stuck.append(verdict)
                self.blocked.update(handback.ancestors(self.undo.snapshot, [verdict.key]))

    def _keep(self, edit: Edit, verdict: Handback) -> None:
        """git is the master again: the field stays as it is, nothing rolls out by our hand."""
        fold = self.undo.work.folds[edit.ref.key, Role.VERSION]
        for tag in fold.restored:
            self.undo.work.settled[tag] = "git"
        detail = (
            f"its version stays: {verdict.why}"
            if verdict.evidence is Evidence.AGREES
            else f"its version is left to its owner: {verdict.why}"
        )
        self.undo.tell(
            EditResult(edit.ref, Verdict.UNCHANGED, self.undo.actions[Role.VERSION], detail=detail)
        )

    def say_what_follows(self, written: Sequence[Edit]) -> None:
        """Name the sync that deploys a version that went back, where auto-sync will not."""
        for edit in written:
            app = self.undo.snapshot.objects[edit.ref.key]
            if app["kind"] == "Application" and not applications.is_auto_sync_on(app):
                name = display_name(edit.ref.key, self.undo.argocd)
                self.undo.printer.say(f"go on with: {COMMAND} sync {name}")

    def say_what_stands(self) -> None:
        """Name each pin that stays, who stays paused for it, and how to go on; the undo is refused then."""
        undo = self.undo
        if not self.stuck:
            return
        for verdict in self.stuck:
            undo.leave(f"{self._disagreement(verdict)}; its pin stays{self._other_words(verdict)}")
            undo.owe(verdict)
        for edit in undo.owner_edits():
            if edit.ref.key in self.blocked:
                stays = "keeps its rule" if edit.role is Role.RULE else "stays paused"
                undo.leave(f"{edit.ref.kind} {display_name(edit.ref.key, undo.argocd)} {stays} until then")
        acting = [v.owner for v in self.stuck if v.owner is not None and self._is_for_the_owner(v)]
        names = ", ".join(dict.fromkeys(display_name(k, undo.argocd) for k in acting))
        ways = [f"--redeploy lets {names} roll out what git says now"] if acting else []
        if len(acting) < len(self.stuck):
            ways.append("--redeploy rolls the originals out now")
        undo.printer.say(
            f"{undo.printer.paint('refused:', 'yellow')} the rest is back; fix git and run {COMMAND} undo again; "
            f"{', '.join(ways)}"
        )
        undo.status = ExitStatus.REFUSED
