"""Carries an undo out: reads, asks, claims the entries, writes in order, and settles them.

What goes back and in which order is said by `plan/undo`. Versions have rules of their own
(`undo_versions`), and so have workloads (`undo_workloads`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from ..argocd import handback, ownership
from ..argocd.handback import Evidence
from ..journal.claims import RENEW_SECONDS
from ..journal.entry import Entry, described, lost, same_place, settlements, what_others_wrote, whose
from ..journal.journal import Writer
from ..journal.owed import rest_of
from ..journal.records import Content, Record, Reopened, Settled
from ..model import patches
from ..model.errors import Cancelled, Code, ConflictError, ExitStatus, NotFound, RefusedError, RescueError
from ..model.merge import Tag
from ..model.text import COMMAND, some
from ..model.values import APPLICATION, BY_KIND, JSON, Edit, Key, Plan, Result, Role, Snapshot, StepResult
from ..plan.on_conflict import OnConflict
from ..plan.undo import RESTORED, Fate, Options, UndoWork, three_values
from ..show.steps import STATUS_WORDS
from .git_check import GitCheck
from .handback import HandBack
from .options import Writing
from .procedure import GRACE_SECONDS, Procedure, is_idle
from .send import Run
from .session import Session
from .undo_versions import Versions
from .undo_workloads import Resumed

MENDING_SECONDS = 60.0
"""How long an owner may take to bring an ApplicationSet what git says."""

MAX_LOOKS = 4
"""How often what is said to stand already is read before the API server's answers are not believed."""


class Claims:
    """The entries of one undo, taken in the cluster: the loser of two undoing at once is told."""

    def __init__(self, session: Session, entries: Sequence[Entry]) -> None:
        """Take nothing yet."""
        self.session = session
        self.entries = [e for e in entries if "cluster" in e.homes]
        self.home = session.journal.in_cluster
        self._taken: list[str] = []
        self._is_taken = False
        self._taken_at = session.now()

    def take(self) -> None:
        """Take the entries, once. Raises ConflictError where somebody else has one or has changed it."""
        if self.home is None or self._is_taken:
            return
        self._is_taken = True
        self._taken_at = self.session.now()
        try:
            for entry in self.entries:
                try:
                    self.home.claim(entry.id, self._who, self.session.now())
                    self._taken.append(entry.id)
                except NotFound:
                    continue
                except ConflictError:
                    raise
                except RescueError as e:
                    self.session.printer.warn(
                        f"entry {entry.id} cannot be claimed ({e.message}): make sure that nobody else is undoing it"
                    )
            if self._taken:
                self._refuse_what_moved(self.home.read(self._taken))
        except RescueError:
            self.release()
            raise

    @property
    def _who(self) -> str:
        return self.session.reading.actor or "somebody"

    def renew(self) -> None:
        """Hold on to what was taken, where that may lapse. Raises ConflictError where somebody else has it."""
        now = self.session.now()
        if self.home is None or (now - self._taken_at).total_seconds() < RENEW_SECONDS:
            return
        self._taken_at = now
        for id in list(self._taken):
            try:
                self.home.renew(id, self._who, now)
            except ConflictError:
                self._taken.remove(id)
                raise
            except RescueError as e:
                self.session.printer.warn(f"the claim on entry {id} cannot be renewed: {e.message}")

    def release(self) -> None:
        """Give back what was taken."""
        for id in self._taken:
            assert self.home is not None
            self.home.release(id)
        self._taken.clear()

    def refuse_what_others_undo(self) -> None:
        """Raise ConflictError where somebody else undoes the same: what we saw was their undo, halfway."""
        if self.home is None or not self.entries or self._is_taken:
            return
        try:
            for entry in self.entries:
                self.home.left_claim(entry.id, self.session.now())
            self._refuse_what_moved(self.home.read([e.id for e in self.entries]))
        except ConflictError:
            raise
        except RescueError:
            return  # the refusal stands, whatever the journal says

    def _refuse_what_moved(self, found: Mapping[str, Sequence[Record]]) -> None:
        """Raise ConflictError where an entry got new records after it was read and before it was claimed.

        Somebody else came first then and is done; what we planned is about a state that is gone.
        """
        for entry in self.entries:
            known = {r.id for r in entry.records}
            news = [r.content for r in found.get(entry.id, ()) if r.id not in known]
            if news:
                by = next((c.by for c in news if isinstance(c, Settled) and c.by), "")
                raise ConflictError(
                    f"entry {entry.id} was undone just now{f' by entry {by}' if by else ''}"
                    if any(isinstance(c, Settled) for c in news)
                    else f"entry {entry.id} was written to by somebody else just now",
                    f"nothing was changed; look: {COMMAND} show {entry.id}",
                )


class Undo(Procedure):
    """One undo of some entries, from reading to the last record."""

    def __init__(
        self,
        session: Session,
        entries: Sequence[Entry],
        options: Options,
        writing: Writing,
        known: Sequence[Entry] = (),
    ) -> None:
        """Take the entries to undo, and all that are known; `session` has read the installation."""
        self.work = UndoWork(entries, known, options, session.reading.snapshot)
        super().__init__(
            session,
            "undo",
            writing,
            undoes=[e.id for e in entries],
            actions={} if self.work.is_redo else RESTORED,  # what an undo took back is done again
        )
        self.options = options
        self.check = GitCheck(self.work, session.cluster, session.printer, session.now)
        self.handback = HandBack(session, self.work, self.check, writing)
        self.versions = Versions(self.work, self.check, self.handback)
        self.resumed = Resumed(self.work, self.check, self.handback)
        self.questions: tuple[str, ...] = ()
        self._reopened: dict[str, Writer] = {}
        """Entries that something was added to, by id: each is written on by one hand."""

    # Parts are planned and written over the same objects.
    @property
    def snapshot(self) -> Snapshot:
        """What the cluster looks like."""
        return self.work.snapshot

    @snapshot.setter
    def snapshot(self, snapshot: Snapshot) -> None:
        self.work.snapshot = snapshot

    # -- the whole way

    def run(self, others: Sequence[Entry], only: Sequence[Key]) -> Result:
        """Undo, or refuse before any write. `others` are the open entries that stay."""
        self._take(others, only)
        self._read_objects()
        self._warn(self.work.fold())
        self._prove_what_stands()
        self._say_what_was_taken_away()
        self._judge_conflicts()
        claims = Claims(self.session, self.work.entries)
        self.handback.before_holding = claims.take
        self.check.meanwhile = claims.renew
        try:
            self._look_and_ask()
            if self._is_dry:
                return self._dry_run()
            claims.take()
            self._carry_out()
        except (RefusedError, ConflictError) as e:
            self._give_up(e)
            claims.refuse_what_others_undo()
            raise
        finally:
            self._give_up()
            claims.release()
        return self._result()

    def _give_up(self, error: RescueError | None = None) -> None:
        """Let go of what is held still; what cannot be is said, and counts as partly done."""
        self.handback.give_up()
        for text in self.handback.left:
            self.printer.say(f"{self.printer.paint('error:', 'red')} {text}")
            self.status = ExitStatus.PARTIAL if self.status is ExitStatus.OK else self.status
        if error is not None and self.handback.left:
            error.exit_status = ExitStatus.PARTIAL
        self.warnings += self.handback.left
        self.handback.left.clear()

    def _carry_out(self) -> None:
        try:
            self._write()
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        finally:
            self._settle()

    @property
    def _is_dry(self) -> bool:
        return self.writing.dry_run != "none"

    def _warn(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.printer.warn(text)

    def _leave(self, texts: Iterable[str]) -> None:
        """Say once what stays on purpose."""
        self._warn(self.work.leave(texts))

    def _refuse(self, how_to_go_on: str, status: ExitStatus = ExitStatus.REFUSED) -> None:
        """Say that the rest is back and this is not."""
        self.status = status
        word = "timed out:" if status is ExitStatus.TIMEOUT else "refused:"
        self.printer.say(f"{self.printer.paint(word, 'yellow')} the rest is back; {how_to_go_on}")

    def _leave_to_git(self, how_to_go_on: str) -> None:
        """Say what is for git to say, and whether that was waited for."""
        self._refuse(how_to_go_on, ExitStatus.TIMEOUT if self.check.has_run_out else ExitStatus.REFUSED)

    def _tell(self, results: Iterable[StepResult]) -> None:
        """Show and keep what became of something that is not written."""
        for result in results:
            self.results.append(result)
            self.printer.progress(result)

    # -- finding out

    def _take(self, others: Sequence[Entry], only: Sequence[Key]) -> None:
        for entry in self.work.take(others, only):
            self.printer.note(f"entry {entry.id} was undone but for what this one needed: that goes back now")
        self.undoes = tuple(e.id for e in self.work.entries)
        for piece in rest_of(self.work.entries, only) if only else ():
            what = f"{piece.ref} {patches.show_path(piece.change.path)}"
            why = f"entry {piece.tag.entry} did more than was named: {COMMAND} undo {piece.tag.entry}"
            if piece.role is Role.WINDOW:
                self._leave([f"{what} stays open to all that the window matches; {why}"])
            else:
                self.printer.note(f"{what} stays as it is; {why}")
        self._leave(self.work.leave_what_others_need(others))

    def _read_objects(self) -> None:
        keys = self.work.keys()
        reader = self.session.reader
        reader.follow(self.work.argocd, keys)
        self.snapshot = reader.snapshot(self.work.argocd)
        for key in keys:
            if key not in self.snapshot.objects and key not in self.snapshot.missing:
                why = next((text for text in reader.warnings if text.startswith(str(key))), "")
                raise RescueError(
                    why or f"{key} cannot be read, so what stands of it is not known",
                    "nothing was changed; try again, ask for the right to read it, or name the entries "
                    f"of other objects: {COMMAND} log --open",
                )
        self._warn(self.work.leave_what_may_be_elsewhere())
        self._warn(self.work.drop_missing_rollouts())
        self.work.find_owners(keys)
        self._warn(reader.warnings)

    def _prove_what_stands(self) -> None:
        """See that what was read as restored already is so: an entry is closed by it, and no guard follows.

        Raises RescueError where the API server keeps giving old answers.
        """
        cluster = self.session.cluster
        moved: list[Key] = []
        for _ in range(MAX_LOOKS):
            keys = self.work.already_back()
            if not keys or self._is_dry:
                return
            current = cluster.gather(
                *[partial(cluster.is_current, BY_KIND[k.kind], self.snapshot.objects[k]) for k in keys]
            )
            moved = [key for key, so in zip(keys, current, strict=True) if not so]
            if not moved:
                return
            self.check.reread(moved)
            self._warn(self.work.fold_again())
        raise RescueError(
            f"the API server gives old answers about {', '.join(map(str, moved))}",
            "nothing was changed; run it again",
        )

    def _say_what_was_taken_away(self) -> None:
        said = self.work.taken_away()
        self.warnings += said
        self._warn(said)

    def _judge_conflicts(self) -> None:
        """Say each. Raises ConflictError where they are to stop us."""
        self.work.find_out_of_reach()
        for piece, c in self.work.conflicts:
            self.printer.say(f"{self.printer.paint('conflict:', 'red')} {three_values(piece, c)}")
            if self.options.on_conflict is OnConflict.OVERWRITE:
                self._leave(
                    [
                        f"{piece.ref} {patches.show_path(c.path)} cannot be overwritten, what it was in is gone: "
                        "put that back by hand and undo again, or close it as it is with --on-conflict=skip"
                    ]
                )
        if self.work.conflicts and self.options.on_conflict is OnConflict.STOP:
            closes = ", which closes what has no place any more" if self.work.out_of_reach else ""
            raise ConflictError(
                f"{len(self.work.conflicts)} field(s) were changed by somebody else since; nothing was written",
                f"say --on-conflict=skip to leave them as they are{closes}, or --on-conflict=overwrite",
            )

    # -- checking and asking

    def _look_and_ask(self) -> None:
        """Find out what git says, and get the yes that is needed. Raises RefusedError, ConflictError."""
        try:
            self.versions.first_look(is_dry=self._is_dry)
            if self._is_dry:
                self._leave(self.resumed.foretell())
            else:
                self.resumed.first_look()
            self._refuse_what_was_met()
            self._refuse_what_is_lacking(self.work.versions_going_back())
        except KeyboardInterrupt:
            self.handback.give_up()
            self.printer.say(f"interrupted: {self.handback.as_before()}; {self._how_to_go_on()}")
            raise
        self._check_permissions()
        self._confirm()

    def _refuse_what_was_met(self) -> None:
        """Raise ConflictError where somebody wrote a field while Argo CD was asked."""
        if met := self.work.meet(self.work.edits(list(Role))):
            raise ConflictError(three_values(*met[0]), "nothing was changed; run it again")

    def _refuse_what_is_lacking(self, edits: Sequence[Edit]) -> None:
        """Raise RefusedError where an original is not to be had from here: nothing is made up in its place."""
        lacking = self.work.lacking(edits)
        if not lacking:
            return
        by = dict.fromkeys(f"{e.begin.actor or 'somebody'} on {e.begin.host}" for e in self.work.entries)
        raise RefusedError(
            f"the original of {', '.join(lacking)} is not known here: its parameters and values are kept by "
            f"{', '.join(by)} alone",
            f"the entry stays open; undo it there, or once git says it: {COMMAND} undo --when-safe",
            code=Code.SAVED_ELSEWHERE,
        )

    def _check_permissions(self) -> None:
        steps = self.work.edits(list(Role))
        if steps:
            if not self._is_dry:
                self.session.header()
            self.session.checks.require_rights(Plan("undo", tuple(steps)))

    def _confirm(self) -> None:
        """Show whose entries these are and what will happen, and get a yes where one is needed."""
        work = self.work
        self._warn(three_values(piece, c, " and is overwritten") for piece, c in work.taken_over())
        questions = [text for entry in work.entries if (text := self._whose(entry))]
        questions += [text for entry in work.entries if (text := what_others_wrote(entry))]
        questions += work.what_follows(self.versions.will_hold())
        steps = work.edits([r for r in Role if r is not Role.VERSION])
        steps += work.versions_going_back()
        rolls = [work.name(k) for k, v in work.verdicts.items() if v.evidence is Evidence.FREE]
        if self.session.streams.is_interactive and rolls and not work.is_redo:
            questions.append(f"the saved version of {', '.join(rolls)} goes back and rolls out")
        self.questions = tuple(questions)
        self._let_roll()
        if not self._is_dry:
            self.session.checks.confirm(Plan("undo", tuple(steps), questions=self.questions), self.writing)

    def _let_roll(self) -> None:
        """Say what --redeploy rolls out; on a terminal that version is to be typed. Raises RefusedError."""
        for text, version in self.handback.what_rolls():
            self.printer.say(text)
            if self.session.streams.is_interactive and not self.writing.yes:
                if self.printer.typed(f"type {version} to let it roll out:") != version:
                    raise Cancelled(f"Cancelled: {version} was not typed; {self.handback.as_before()}.")

    def _whose(self, entry: Entry) -> str:
        """Return what must be asked about an entry that is not known to be ours; say it where that is nothing."""
        now = self.session.now()
        if text := whose(entry, self.session.reading.actor, now):
            return text
        if "local" in entry.homes:
            return ""
        if entry.id in self.work.whose_version_goes_back():
            # That it is ours is what the ConfigMap says of itself.
            return f"{described(entry, now)}; this machine has no record of it, and a version changes"
        self.printer.say(described(entry, now))
        return ""

    def _dry_run(self) -> Result:
        """Say what an undo would do, by what Argo CD said of git last: to have it look again is a write."""
        work = self.work
        said, held, is_refused = self.versions.foretell()
        steps: list[Edit] = []
        if work.is_redo:
            steps = work.redo_edits()
        elif not is_refused:
            owned = [e for e in work.owner_edits() if e.ref.key not in held]
            steps = [*work.opening_edits(), *work.versions_going_back(), *owned]
        plan = Plan("undo", tuple(steps), warnings=said, questions=self.questions)
        result = self.dry_run(plan, self._data())
        return replace(result, warnings=(*result.warnings, *work.left))

    # -- writing

    def _write(self) -> None:
        work = self.work
        if work.is_redo:
            self._restore(work.redo_edits())
            return
        if not self._restore(work.opening_edits({*self.handback.held, *self.resumed.stuck})):
            return
        self.versions.second_look()
        self._let_sets_be_mended()
        versions = work.versions_going_back()
        self._tell(self.versions.leave_the_rest())
        self._leave(self.versions.hold_for_skipped())
        self._leave(work.close_what_has_no_place(self.versions.blocked))
        if not self._restore(versions):
            return
        kept = {*self.versions.blocked, *self.resumed.second_look()}
        kept |= self._ask_what_drift_hid([e for e in work.owner_edits() if e.ref.key not in kept])
        self._pin_what_stays_owned(kept)
        kept |= self.handback.held.keys()
        kept |= self._ask_what_sets_lost([e for e in work.owner_edits() if e.ref.key not in kept])
        owners = [e for e in work.owner_edits() if e.ref.key not in kept]
        if owners:
            self._leave_held_to_git()
        if self._restore(owners):
            self._let_go(owners)
            self._hand_workloads_back()
        if self.versions.stuck:
            self._leave(self.versions.what_stands())
            self._leave_to_git(self.versions.how_to_go_on())
        if self.handback.brought:
            self._leave([self.handback.what_was_brought()])
        for name in self.versions.to_sync(versions):
            self.printer.say(f"go on with: {COMMAND} sync {name}")

    def _let_sets_be_mended(self) -> None:
        """Let owners go that must bring an ApplicationSet what git says, and wait until they have."""
        is_mended = False
        for owner, made, child in self.versions.sets_to_mend():
            is_mended = self._resume_first(owner, made, child) or is_mended
        if is_mended:
            self.versions.judge_again()

    def _resume_first(self, owner: Key, made: Key, child: Key) -> bool:
        """Give an owner its auto-sync back and wait until it has brought `made` what git says."""
        edits = self._pause_of(owner)
        if self._ask_what_drift_hid(edits) or not self._restore(edits):
            return False
        self.work.resumed_already.add(owner)
        app = self.work.live(owner)
        assert app is not None
        self.session.cluster.follow(
            APPLICATION, app, lambda a: made not in handback.out_of_sync(a), MENDING_SECONDS
        )
        self.check.reread([owner, made, child])
        return True

    def _pause_of(self, key: Key) -> list[Edit]:
        """Return what gives one Application its auto-sync back."""
        return self.work.edits([Role.PAUSE], lambda k: k == key)

    def _pin_what_stays_owned(self, kept: Iterable[Key]) -> None:
        """Pin again what git agrees to, where an owner stays paused for another: git leads it only with that."""
        staying = set(kept)
        for key in list(self.handback.held):
            if met := staying.intersection(ownership.ancestors(self.snapshot, [key])):
                self.handback.give_up([key])
                names = ", ".join(self.work.name(k) for k in sorted(met))
                self._leave(
                    [
                        f"{self.work.name(key)}: git agrees, and its pin stays as long as {names} does not go back"
                    ]
                )
                self._refuse("undo again once that is settled")

    def _leave_held_to_git(self) -> None:
        """Settle what is agreed to before owners are let go: after a death nobody pins against them."""
        given = self.handback.leave_to_git()
        for entry in self.work.entries:
            changes = {(p.tag.edit, p.tag.change): Fate.GIT.value for p in given if p.tag.entry == entry.id}
            if changes:
                self._append(entry, Settled(changes, self.entry, self.session.now()))

    def _let_go(self, owners: Sequence[Edit]) -> None:
        """With the owners back, have what is held compared once more, and take the holds away."""
        for key in list(self.handback.held):
            held = self.handback.held[key]
            if not self.handback.still_agrees(key):
                self._pause_again(key, owners)
                continue
            if not self._restore(self._pause_of(key)):
                continue
            if self.handback.let_go(held):
                self._tell(self.handback.given_back(key, held))

    def _pause_again(self, key: Key, owners: Sequence[Edit]) -> None:
        """Take the lead again from owners that brought something else to a held Application: git was pushed to."""
        above = ownership.ancestors(self.snapshot, [key])
        again = [
            Edit(e.ref, tuple(patches.inverse(c) for c in reversed(e.changes)), "git moved meanwhile", e.role)
            for e in reversed(owners)
            if e.ref.key in above
        ]
        self.check.reread(above)
        name = self.work.name(key)
        if not self.carry_out(Plan("undo", tuple(again))):
            self._leave([f"{name} stays held: git moved meanwhile, and its owner cannot be paused again"])
            self.handback.held.pop(key)
            return
        for owner in above:
            if owner.kind == "Application":
                self.wait_until(owner, is_idle, GRACE_SECONDS)
        owed = self.handback.lead_again(key)
        for entry in self.work.entries:
            if tags := tuple((p.tag.edit, p.tag.change) for p in owed if p.tag.entry == entry.id):
                self._append(entry, Reopened(tags, self.entry))
        why = self.handback.tried[key].why if key in self.handback.tried else "git moved meanwhile"
        self._leave([f"{name} is as it was before, and its owners stay paused: {why}"])
        self._refuse(f"undo again once git says what runs: {COMMAND} undo")

    def _hand_workloads_back(self) -> None:
        self._tell(self.resumed.handed_back())
        for text, how_to_go_on in self.resumed.what_stands():
            self._leave([text])
            self._leave_to_git(how_to_go_on)
        self._leave(self.resumed.who_waits())

    def _ask_what_drift_hid(self, edits: Sequence[Edit]) -> set[Key]:
        """Return the owners that stay paused for want of a yes to what git wants of the objects put back.

        While our own edits stood, nobody could tell; now that they are gone, what still differs is
        git's wish. The owners of such an owner stay paused with it.
        """
        work = self.work
        asking = [e.ref.key for e in edits if e.role is Role.PAUSE and e.ref.key in work.hiding]
        self.check.compare_anew([key for key in asking if key not in self.versions.compared])
        held: set[Key] = set()
        for key in asking:
            what = work.will_change(key)
            for _ in range(MAX_LOOKS):
                if not what or key in work.silent:
                    break
                self.check.compare_settled([key])
                what = work.will_change(key)
            if not what or self.writing.yes:
                if what:
                    self.printer.warn(what)
                continue
            if self.session.streams.is_interactive and self.printer.ask(f"{what}. Go on?"):
                continue
            held |= {key, *ownership.ancestors(self.snapshot, [key])}
            self._leave([f"Application {work.name(key)} stays paused: {what}"])
            self._refuse(f"look at git, then agree: {COMMAND} undo --yes")
        return held

    def _ask_what_sets_lost(self, edits: Sequence[Edit]) -> set[Key]:
        """Return the sets, and their owners, that do not go back: each would delete what nobody let go by name."""
        if not any(e.ref.kind == "ApplicationSet" for e in edits):
            return set()
        # lazy: most owners are Applications
        from ..plan.set_deletions import not_let_go
        from .set_deletions import ask_sets

        work, argocd = self.work, self.work.argocd
        answers = ask_sets(self.session, self.writing, self.snapshot, edits)
        held: set[Key] = set()
        for key, apps in answers.lost.items():
            if not (lost := not_let_go(apps, argocd, self.options.let_delete)):
                continue
            text = f"{key} stays as it is: it does not give {some(lost)} any more, and would delete"
            self._leave([f"{text} {'it' if len(lost) == 1 else 'them'} with what was deployed"])
            self._refuse(
                "bring that back to its generators, or let it go by name: "
                f"{COMMAND} undo {' '.join(self.undoes)} --let-delete {','.join(lost[:8])}"
            )
            held |= {key, *ownership.ancestors(self.snapshot, [key])}
        for key in answers.silent:
            text = f"what {key} would delete once it may again is not known: it cannot be asked"
            if self.writing.yes:
                self.printer.warn(text)
            elif not (self.session.streams.is_interactive and self.printer.ask(f"{text}. Go on?")):
                held |= {key, *ownership.ancestors(self.snapshot, [key])}
                self._leave([f"{work.name(key)} stays as it is: {text}"])
                self._refuse(f"look at its generators, then agree: {COMMAND} undo --yes")
        self.check.reread([e.ref.key for e in edits if e.ref.kind == "ApplicationSet"])
        return held

    def _restore(self, edits: Sequence[Edit]) -> bool:
        """Write some edits as a part of this undo's entry; False where it went wrong and must stop."""
        self._refuse_what_is_lacking(edits)
        self.check.meanwhile()
        if met := self.work.meet(edits):
            self.printer.say(f"{self.printer.paint('conflict:', 'red')} {three_values(*met[0])}")
            self.status = ExitStatus.CONFLICT
            return False
        # One in the way of another are only an owner and what it owns.
        apart = not any(e.ref.key in self.work.owners for e in edits) and len(edits) > 1
        plan = Plan("undo", tuple(edits), independent_from=0 if apart else None)
        return self.carry_out(plan, replan=self.work.replan)

    def note(self, plan: Plan, run: Run) -> None:
        """Settle what is restored, also where the part was interrupted after it."""
        self.check.fresh.clear()
        self.work.note(plan.steps, run.results)

    # -- the end

    def _settle(self) -> None:
        """Write into the undone entries what became of them."""
        by = self.entry
        now = self.session.now()
        for entry in self.work.entries:
            if changes := self.work.fates(entry):
                self._append(entry, Settled(changes, by, now))
        if self.work.is_redo and self.work.settled:
            self._reopen_what_was_undone(by)

    def _append(self, entry: Entry, content: Content) -> None:
        try:
            if entry.id not in self._reopened:
                self._reopened[entry.id] = self.session.journal.reopen(entry)
            self._reopened[entry.id].write([content])
        except RescueError as e:
            self.printer.warn(f"entry {entry.id} could not be closed: {e.message}")

    def _reopen_what_was_undone(self, by: str) -> None:
        undone = {e.id for e in self.work.entries}
        back = (Fate.RESTORED.value, Fate.HANDED_BACK.value)
        skipped = [
            (edit.ref, change)
            for e in self.work.entries
            for n, i, edit, change in e.unsettled()
            if self.work.settled.get(Tag(e.id, n, i)) not in (Fate.RESTORED, Fate.ALREADY)
        ]

        def is_skipped(entry: Entry, number: int, index: int) -> bool:
            step = entry.intents[number]
            return isinstance(step, Edit) and any(
                ref == step.ref and same_place(change, step.changes[index]) for ref, change in skipped
            )

        for entry in self.session.journal.read().entries:
            again = tuple(
                change
                for change, settlement in settlements(entry).items()
                if settlement.by in undone and settlement.how in back
                if not is_skipped(entry, *change)
            )
            if again:
                self._append(entry, Reopened(again, by))

    def _say_what_was_interrupted(self) -> None:
        """Say what is not back yet, and how to go on."""
        left = self.work.not_back()
        for verdict in self.work.verdicts.values():
            if verdict.evidence not in (Evidence.FREE, Evidence.AGREES):
                self.work.owe(verdict)
        done = "what is listed as restored is back" if self.results else "nothing is back yet"
        self._leave(
            [f"interrupted: {done}; not back: {', '.join(left) or 'nothing'}; {self._how_to_go_on()}"]
        )

    def _how_to_go_on(self) -> str:
        return f"go on with: {COMMAND} undo {' '.join(self.undoes)}"

    def _data(self) -> dict[str, JSON]:
        return {
            "undoes": list(self.undoes),
            "owed": self.work.owed,
            "conflicts": self.work.conflicts_json(),
            "holds": self.handback.holds,
        }

    def _result(self) -> Result:
        status = self.status
        if status is ExitStatus.INTERRUPTED:
            self._say_what_was_interrupted()
        if status is ExitStatus.OK and (
            self.work.conflicts  # skipped, or beyond what can be overwritten
            or (self.work.left and not self.work.owed)
        ):
            status = ExitStatus.PARTIAL
        if not self.results and status is ExitStatus.OK and not any(map(lost, self.work.entries)):
            self.printer.say("all of it stands as it was already: nothing was written")
        if self.work.is_redo and self.entry:
            self.printer.say(f"undo with: {COMMAND} undo {self.entry}")
        return Result(
            "undo",
            self.entry,
            tuple(self.results),
            (*self.warnings, *self.work.left),
            self._data(),
            status,
            STATUS_WORDS[status],
        )
