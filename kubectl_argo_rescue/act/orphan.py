"""Applications let go without their workloads, and made anew: everything is saved before the first write."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..argocd import application, controllers, deletion, workloads
from ..cluster.objects import look
from ..cluster.refresh import refresh
from ..journal.entry import Entry, what_others_wrote, whose
from ..journal.journal import Writer
from ..journal.records import Settled
from ..journal.saved import Saved
from ..model.errors import Code, ExitStatus, NotFound, RefusedError, RescueError
from ..model.text import COMMAND, display_name, some
from ..model.values import (
    ABSENT,
    APPLICATION,
    JSON,
    Creation,
    Edit,
    FieldChange,
    Key,
    Plan,
    Result,
    Role,
    StepStatus,
    ref_of,
)
from ..plan import orphan
from ..plan.undo import RESTORED
from ..show.steps import STATUS_WORDS
from .git_check import SETTLE_SECONDS
from .options import Writing
from .procedure import Procedure
from .session import Session
from .undo import Claims

GONE_SECONDS = 10.0
"""How long an Application may take to go once nothing of Argo CD's holds it."""

MAX_TRIES = 3


def saved_home(session: Session) -> Saved:
    """Return where whole objects are kept: Secrets only where this user may create and get them already."""
    cluster = session.cluster if session.journal.may_keep_secrets() else None
    home = Saved(session.journal.local, cluster, session.reading.snapshot.argocd.namespace)
    home.warn = session.printer.warn
    return home


class Orphan(Procedure):
    """Some Applications let go without their workloads."""

    def __init__(self, session: Session, keys: Sequence[Key], writing: Writing, *, only: bool) -> None:
        """Take which ones."""
        super().__init__(session, "orphan", writing)
        self.keys = tuple(keys)
        self.only = only
        self.remains: dict[str, list[str]] = {}
        self.workloads: dict[str, list[Key]] = {}
        """Of those whose deletion may have begun."""

    def run(self) -> Result:
        """Save, let go, and see that they are gone. Raises RefusedError, Forbidden before any write."""
        self._read_whole()
        plan = orphan.plan_orphan(self.snapshot, self.keys, only=self.only)
        removals = orphan.removals(self._apps())
        home = saved_home(self.session)
        if home.cluster is None:
            plan = replace(
                plan, warnings=(*plan.warnings, f"only this machine will be able to undo this: {SECRETS}")
            )
        if self.writing.is_dry_run:
            return self.dry_run(replace(plan, steps=(*plan.steps, *removals)))
        self.printer.plan_talk(plan.warnings, plan.notes)
        if not plan.steps:
            return self._result(plan)
        self.session.header()
        self.session.checks.require_rights(replace(plan, steps=(*plan.steps, *removals)))
        count = len([s for s in plan.steps if isinstance(s, Edit) and s.role is Role.ORPHAN])
        ask = f"{count} application{'' if count == 1 else 's'} will go, and what they deployed stays"
        asked = replace(plan, questions=(ask, *plan.questions))
        self.session.checks.confirm(asked, self.writing)
        objects = {key: deletion.to_save(self.snapshot.objects[key]) for key in self.keys}

        def keep(writer: Writer) -> None:
            home.keep(writer.entry, objects)

        def replan(snapshot: object) -> Plan:
            return orphan.plan_orphan(snapshot, self.keys, only=self.only)  # type: ignore[arg-type]

        try:
            if self.carry_out(plan, replan=replan, before=keep):
                self._delete_what_lives()
                self._see_that_they_are_gone()
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        return self._result(plan)

    def _apps(self) -> list[JSON]:
        return [self.snapshot.objects[key] for key in self.keys if key in self.snapshot.objects]

    def _read_whole(self) -> None:
        """Read them with all that is in them: of a list only a part is kept."""
        found, unreadable = look(self.session.cluster, self.keys)
        if unreadable:
            raise RescueError(unreadable[0], "nothing was changed")
        gone = [key for key in self.keys if found.get(key) is None]
        for key in gone:
            self.printer.note(f"{key} is gone already")
        self.keys = tuple(key for key in self.keys if key not in gone)
        objects = {**self.snapshot.objects, **{k: found[k] for k in self.keys}}
        self.snapshot = replace(self.snapshot, objects=objects, now=self.session.now())
        for app in self._apps():
            lines = application.managed_resources(app)
            self.remains[display_name(ref_of(app).key, self.snapshot.argocd)] = [
                f"{r.get('kind')} {r.get('name')}" for r in lines if not r.get("hook")
            ]
            if deletion.is_dying(app) and application.deploys_here(app):
                self.workloads[display_name(ref_of(app).key, self.snapshot.argocd)] = [
                    Key(str(r.get("kind")), str(r.get("namespace")), str(r.get("name")))
                    for r in lines
                    if workloads.is_workload(r)
                ]

    def _delete_what_lives(self) -> None:
        """Delete those that have no deletion time, each only as it was left by us."""
        for _ in range(MAX_TRIES):
            steps = orphan.removals(self._apps())
            if not steps:
                return
            if not self.carry_out(Plan("orphan", tuple(steps), independent_from=0)):
                conflicts = [r for r in self.results if r.status is StepStatus.CONFLICT]
                if not conflicts:
                    return
            self._look_again()

    def _look_again(self) -> None:
        found, _ = look(self.session.cluster, self.keys)
        objects = {k: o for k, o in self.snapshot.objects.items() if k not in self.keys}
        objects.update((k, o) for k, o in found.items() if o is not None)
        # One that has its finalizers back has an owner that lives: it is not deleted.
        self.keys = tuple(k for k in self.keys if k in objects and not deletion.is_cascading(objects[k]))
        self.snapshot = replace(self.snapshot, objects=objects)

    def _see_that_they_are_gone(self) -> None:
        cluster = self.session.cluster
        for key in self.keys:
            try:
                app = cluster.get(APPLICATION, key.namespace, key.name)
                cluster.follow(APPLICATION, app, lambda a: False, GONE_SECONDS)
            except NotFound:
                continue
            self.warnings.append(f"{key} is still there: look: {COMMAND} status {key.name}")
            self.printer.warn(self.warnings[-1])
            self.status = self.status or ExitStatus.PARTIAL

    def _what_still_lives(self) -> list[str]:
        """Count the workloads of those whose deletion may have begun: nothing is promised of them."""
        if controllers.is_frozen(self.snapshot):
            return []
        wanted = {app: keys for app, keys in self.workloads.items() if keys}
        live, _ = look(self.session.cluster, [key for keys in wanted.values() for key in keys])
        alive = {key for key, obj in live.items() if obj is not None and not deletion.is_dying(obj)}
        return [
            f"of {name} {len(alive.intersection(keys))} of {len(keys)} workloads live"
            for name, keys in wanted.items()
        ]

    def _result(self, plan: Plan) -> Result:
        well = self.status is ExitStatus.OK
        for name, objects in self.remains.items() if well and self.entry else ():
            if objects:
                self.printer.say(f"{name} is gone; what stays, and is managed by nobody: {some(objects)}")
        for text in self._what_still_lives() if well and self.entry else ():
            self.printer.say(text)
        if self.entry:
            self.printer.say(f"made anew by: {COMMAND} undo {self.entry}")
        data: dict[str, JSON] = {"remains": {name: list(objects) for name, objects in self.remains.items()}}
        return Result(
            "orphan", self.entry, tuple(self.results), (*plan.warnings, *self.warnings), data, self.status,
            STATUS_WORDS[self.status],
        )  # fmt: skip


SECRETS = "you may not create and get Secrets in Argo CD's namespace"


class Readoption(Procedure):
    """The undo of some orphans: made anew, compared, and only then given finalizers and auto-sync."""

    def __init__(
        self, session: Session, entries: Sequence[Entry], writing: Writing, known: Sequence[Entry]
    ) -> None:
        """Take the entries, and all that are known."""
        super().__init__(session, "undo", writing, undoes=[e.id for e in entries], actions=RESTORED)
        self.entries = tuple(entries)
        self.known = tuple(known)
        self.saved: dict[Key, JSON] = {}
        self.settled: dict[Key, str] = {}
        self.made: set[Key] = set()
        """What an earlier try made anew already."""

    def run(self) -> Result:
        """Make them anew, or refuse before any write."""
        self._read()
        keys = [k for k in self._keys() if k not in self.settled]
        creations = [self._anew(k) for k in keys if k not in self.made]
        questions = [*self._whose(), *self._who_would_prune(keys)]
        plan = Plan("undo", tuple(creations), questions=tuple(questions))
        if self.writing.is_dry_run:
            return self.dry_run(plan)
        self.session.header()
        self.session.checks.require_rights(plan)
        self.session.checks.confirm(plan, self.writing)
        claims = Claims(self.session, self.entries)
        claims.take()
        try:
            if self.carry_out(plan):
                for key in keys:
                    self._release(key)
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        finally:
            self._settle()
            claims.release()
        if self.status is ExitStatus.OK and not self.results:
            self.printer.say("all of them are there already: nothing was written")
        status = self.status
        return Result(
            "undo", self.entry, tuple(self.results), tuple(self.warnings),
            {"undoes": list(self.undoes), "owed": [], "conflicts": []}, status, STATUS_WORDS[status],
        )  # fmt: skip

    def _who_would_prune(self, keys: Sequence[Key]) -> list[str]:
        """Ask about owners that nobody saw. Raises RefusedError where one would prune."""
        snapshot, reader = self.snapshot, self.session.reader
        gone = [k for k in keys if k in self.saved and k not in snapshot.objects]
        # Their owners are looked for as those of what lives, wherever they are.
        reader.objects.update((k, self.saved[k]) for k in gone)
        reader.follow(snapshot.argocd, gone)
        around = reader.snapshot(snapshot.argocd)
        for key in gone:
            del reader.objects[key]
        unknown: list[str] = []
        for key in (k for k in keys if k in self.saved):
            found = orphan.who_would_prune(around, self.saved[key], keys)
            unknown += found.unknown
            if found.certain:
                why, who = found.certain[0]
                raise RefusedError(
                    f"{display_name(key, snapshot.argocd)} would go again at once, with its workloads: {why}",
                    f"nothing was changed; bring it back to git, or first: {COMMAND} pause {who}",
                    code=Code.DELETION,
                )
        return unknown

    def _keys(self) -> list[Key]:
        return list(
            dict.fromkeys(
                edit.ref.key
                for e in self.entries
                for _, _, edit, _ in e.unsettled()
                if edit.role is Role.ORPHAN
            )
        )

    def _whose(self) -> list[str]:
        """Ask about entries that are somebody else's, or that somebody else wrote to."""
        me, now = self.session.reading.actor, self.session.now()
        asked = (text for e in self.entries for text in (whose(e, me, now), what_others_wrote(e)))
        return list(filter(None, asked))

    def _read(self) -> None:
        """See which are there, whose they are, and what was saved of the others. Raises RefusedError."""
        keys = self._keys()
        reader = self.session.reader
        reader.follow(self.snapshot.argocd, keys)
        home = saved_home(self.session)
        for entry in self.entries:
            self.saved.update({k: o for k, o in home.read(entry.id).items() if k in keys})
        self.snapshot = reader.snapshot(self.snapshot.argocd)
        ours = {
            step.ref.key
            for e in self.known
            if set(e.begin.undoes) & set(self.undoes)
            for step in e.intents.values()
            if isinstance(step, Creation)
        }
        for key in keys:
            live = self.snapshot.objects.get(key)
            if live is None and key not in self.saved:
                raise RefusedError(
                    f"what {key} was is saved neither on this machine nor in a Secret that you may read",
                    "nothing was changed; undo it where it was orphaned",
                    code=Code.SAVED_ELSEWHERE,
                )
            if live is not None and key in ours and key in self.saved:
                self.made.add(key)
            elif live is not None and not self._is_the_same(key, live):
                self.printer.note(f"{key} is there again: somebody has made it, and it is left as it is")
                self.settled[key] = "already"
            elif live is not None:
                self._put_back(key, live)

    def _is_the_same(self, key: Key, live: JSON) -> bool:
        uids = {edit.ref.uid for e in self.entries for _, edit in e.edits() if edit.ref.key == key}
        return live["metadata"].get("uid") in uids

    def _put_back(self, key: Key, live: JSON) -> None:
        """Of one that never went: what was taken off it is what goes back. Raises RefusedError of a dying one."""
        if deletion.is_dying(live):
            raise RefusedError(
                f"{key} is still being deleted: nothing can be put back into it",
                "nothing was changed; undo again once it is gone",
                code=Code.DELETION,
            )
        self.made.add(key)
        self.saved.setdefault(key, live)

    def _anew(self, key: Key) -> Creation:
        return orphan.anew(self.snapshot, self.saved[key])

    def _release(self, key: Key) -> None:
        """Compare one with git, and give it finalizers and auto-sync where nothing would roll by that."""
        cluster, name = self.session.cluster, display_name(key, self.snapshot.argocd)
        live = cluster.get(APPLICATION, key.namespace, key.name)
        held = FieldChange(orphan.SKIP, "true", ABSENT)
        if application.is_skipping_reconcile(live) and not (
            self.saved[key]["metadata"].get("annotations") or {}
        ).get(deletion.SKIP_RECONCILE):
            self._edit(key, live, Edit(ref_of(live), (held,), "Argo CD may look at it", Role.ORPHAN))
        self.printer.say(f"refreshing {name}")
        compared = refresh(cluster, key)
        if compared is not None and application.sync_status(compared) != "Synced":
            # Argo CD's own watch may not have told it yet what was just made anew.
            cluster.sleep(SETTLE_SECONDS)
            compared = refresh(cluster, key)
        if compared is None:
            self._stays(name, "Argo CD does not answer")
            return
        if application.sync_status(compared) != "Synced" and application.is_auto_sync_on(self.saved[key]):
            self._stays(name, f"git differs from what runs ({application.sync_status(compared)})")
            return
        for edit in orphan.release(self.saved[key], compared):
            fresh = cluster.get(APPLICATION, key.namespace, key.name)
            if not self._edit(key, fresh, edit):
                return
        self.settled[key] = "restored"

    def _edit(self, key: Key, live: JSON, edit: Edit) -> bool:
        self.snapshot = replace(self.snapshot, objects={**self.snapshot.objects, key: live})
        return self.carry_out(Plan("undo", (edit,)))

    def _stays(self, name: str, why: str) -> None:
        text = (
            f"{name} is there again, without auto-sync and finalizers: {why}; go on once that is mended: "
            f"{COMMAND} undo {' '.join(self.undoes)}"
        )
        self.warnings.append(text)
        self.printer.warn(text)
        self.status = self.status or ExitStatus.REFUSED

    def _settle(self) -> None:
        for entry in self.entries:
            changes = {
                (n, i): self.settled[edit.ref.key]
                for n, i, edit, _ in entry.unsettled()
                if edit.ref.key in self.settled
            }
            left = [edit for n, i, edit, _ in entry.unsettled() if (n, i) not in changes]
            if changes:
                try:
                    record = Settled(changes, self.entry, self.session.now())
                    self.session.journal.reopen(entry).write([record])
                except RescueError as e:
                    self.printer.warn(f"entry {entry.id} could not be closed: {e.message}")
            if owners := {str(edit.ref) for edit in left if edit.role is not Role.ORPHAN}:
                self.printer.say(
                    f"{some(sorted(owners))} {'is' if len(owners) == 1 else 'are'} still paused for it; undo again: "
                    f"{COMMAND} undo {entry.id}"
                )
