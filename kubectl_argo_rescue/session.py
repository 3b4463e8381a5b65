"""One command's way through: connect, read, plan, check, confirm, carry out, report."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType

from . import offline, patches, planning, rollouts, workloads
from .cluster import Cluster, Done, Failed
from .durations import human
from .engine import ACTIONS, Engine, Run, action_of, ops_of
from .entries import is_of, one_line
from .errors import ExitStatus, Forbidden, Overloaded, RefusedError, RescueError, TransportError
from .flags import Common, Writing
from .journal import ClusterHome, Journal, LocalHome, state_home
from .journal import Reading as JournalReading
from .looking import look
from .model import (
    APPPROJECT,
    BY_KIND,
    JSON,
    EditResult,
    FieldChange,
    Key,
    Order,
    PlanStep,
    Result,
    Role,
    Rollout,
    Snapshot,
    Verdict,
)
from .outlook import COMMAND
from .output import STATUS_WORDS, Printer, standard_streams
from .plans import Plan
from .records import Begin, Content
from .server_clock import WORTH_SAYING, ServerClock
from .situation import Reader, Reading
from .transports import Connection

Right = tuple[str, str, str, str]
"""What a review asks for: verb, kind, namespace, and name; no name is all of the namespace."""


class Session(AbstractContextManager["Session"]):
    """Everything a command needs, opened when it is first needed and closed at the end."""

    def __init__(self, common: Common) -> None:
        """Take the common flags, and with them the world that the command is in."""
        self.common = common
        self.streams = replace(standard_streams(), environ=common.world.environ)
        self.printer = Printer(self.streams, common.output)
        self.clock = ServerClock(common.world.now)
        self.now = self.clock.now
        self.cluster = self._connect(common.connection)
        self.cluster.tell_dates(self.clock.heard)
        self._is_skew_told = False
        self.reader = Reader(
            self.cluster,
            now=self.now,
            argocd_namespace=common.argocd_namespace,
            namespace=common.namespace,
        )
        self.reader.recall = self._recalled_namespaces
        self.reading: Reading | None = None
        self.destination: Cluster = self.cluster
        """The cluster of the workloads; another one after `open_destination`."""
        self._journal: Journal | None = None
        self.is_away = False
        """The cluster does not answer, and a verb that reads goes on with this machine's record."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remind of what is overdue, and close the connection."""
        try:
            if self.reading is not None and value is None:
                self.remind()
        finally:
            if self.destination is not self.cluster:
                self.destination.close()
            self.cluster.close()

    def open_destination(self, context: str) -> None:
        """Speak with the workloads' own cluster through another context of the kubeconfig.

        Impersonation goes with it; flags that name a server or its credentials are about the first
        cluster alone.
        """
        c = self.common.connection
        self.destination = self._connect(
            Connection(
                kubeconfig=c.kubeconfig,
                context=context,
                as_user=c.as_user,
                as_uid=c.as_uid,
                as_groups=c.as_groups,
                as_user_extra=c.as_user_extra,
                cache_dir=c.cache_dir,
                disable_compression=c.disable_compression,
                request_timeout=c.request_timeout,
            )
        )

    def _connect(self, connection: Connection) -> Cluster:
        log = self.printer.request_log(self.common.verbosity)
        world = self.common.world
        cluster = world.open_cluster(connection, log=log, on_warning=self.printer.server_warning)
        cluster.tell_waits(self.printer.say)
        return cluster

    def remind(self) -> None:
        """Say which rescues stand longer than they were meant to."""
        now = self.now()
        assert self.reading is not None
        for entry in self.journal.overdue(now, self.reader.expiring):
            b = entry.begin
            if not is_of(entry, self.reading.snapshot.argocd.namespace):
                continue
            assert b.expires is not None
            why = f" ({b.reason})" if b.reason else ""
            self.printer.warn(
                one_line(
                    f"entry {entry.id} of {b.actor or 'somebody'}{why} was to be undone {human(now - b.expires)} ago "
                    f"and still stands: {COMMAND} undo {entry.id}"
                )
            )

    # -- reading

    def read(self, names: Sequence[str], *, to_write: bool = False) -> Reading:
        """Read the situation around the named Applications."""
        return self._taken(self.reader.read(names, to_write=to_write))

    def _taken(self, reading: Reading) -> Reading:
        self.reading = reading
        ahead = self.clock.ahead
        if abs(ahead) > WORTH_SAYING and not self._is_skew_told:
            self._is_skew_told = True
            about = timedelta(minutes=round(abs(ahead) / timedelta(minutes=1)))
            side = "behind" if ahead > timedelta(0) else "ahead of"
            reading.warnings.append(
                f"this machine's clock is {human(about)} {side} the API server's, which is the one that counts"
            )
        for text in reading.warnings:
            self.printer.warn(text)
        return reading

    def read_journal(self) -> JournalReading:
        """Read the installation and its journal; of a cluster that does not answer what this machine has.

        Only for verbs that read: what is shown then is named as this machine's record alone. Raises
        TransportError or Overloaded where this machine has none of that server.
        """
        try:
            self.read([])
        except (TransportError, Overloaded) as e:
            target = self.cluster.target()
            home = state_home(self.streams.environ)
            found = offline.recall(home, target.server, target.context)
            if not found:
                raise
            self.is_away = True
            read = offline.read(home, found)
            asked = f"{target.context or '(no context)'} ({target.server})"
            warning = (
                f"{asked} cannot be asked: {e.message}; this is the record of this machine alone, and nothing "
                "of it is compared with the cluster"
            )
            return replace(read, warnings=(warning, *read.warnings))
        return self.journal.read()

    def look(self, keys: Iterable[Key]) -> tuple[dict[Key, JSON], list[str]]:
        """Read the objects of entries as they are now; none of a cluster that does not answer."""
        return ({}, []) if self.is_away else look(self.cluster, keys)

    def read_many(self, *, label_selector: str = "", project: str = "") -> Reading:
        """Read a selection of Applications, or all of them."""
        return self._taken(self.reader.read_many(label_selector=label_selector, project=project))

    def read_twins(self, key: Key) -> None:
        """Read the Applications that share a name with this one: windows do not know namespaces."""
        assert self.reading is not None
        argocd = self.reading.snapshot.argocd
        self.reader.twins(argocd, key)
        self.reading.snapshot = self.reader.snapshot(argocd)

    def read_what_windows_touch(self, key: Key) -> None:
        """Read what a window edit for this app may concern: its twins, and all apps of shared windows."""
        assert self.reading is not None
        self.read_twins(key)
        snapshot = self.reading.snapshot
        edits = planning.window_edits(snapshot, snapshot.objects[key])
        if any(isinstance(c, FieldChange) for e in edits for c in e.changes):
            self.reader.scan(snapshot.argocd)
            self.reading.snapshot = self.reader.snapshot(snapshot.argocd)

    def reread_projects(self) -> Snapshot:
        """Read the AppProjects of the snapshot again."""
        assert self.reading is not None
        old = self.reading.snapshot
        keys = [k for k in old.objects if k.kind == "AppProject"]
        got = self.cluster.gather_outcomes(
            *[partial(self.cluster.get, APPPROJECT, k.namespace, k.name) for k in keys]
        )
        fresh = {k: o.value for k, o in zip(keys, got, strict=True) if isinstance(o, Done)}
        self.reading.snapshot = replace(old, objects={**old.objects, **fresh}, now=self.now())
        return self.reading.snapshot

    def header(self) -> None:
        """Say in one line where every write will go: context, server, user, Argo CD."""
        assert self.reading is not None
        target = self.cluster.target()
        argocd = self.reading.snapshot.argocd
        version = argocd.version.text if argocd.version else "of unknown version"
        who = f" as {self.reading.actor}" if self.reading.actor else ""
        context = target.context or "(no context)"
        self.printer.say(
            self.printer.paint(
                f"context {context} ({target.server}){who}; Argo CD {version} in {argocd.namespace}", "dim"
            )
        )

    # -- journal

    @property
    def journal(self) -> Journal:
        """The journal of this cluster, both homes."""
        if self._journal is None:
            assert self.reading is not None
            r = self.reading
            base = state_home(self.streams.environ)
            folders = [base / uid for uid in (r.cluster_uid, r.argocd_uid) if _is_uid(uid)]
            local = LocalHome(folders or [base / "unknown-cluster"])
            self._journal = Journal(local, ClusterHome(self.cluster, r.snapshot.argocd.namespace))
            self._journal.warn = self.printer.warn
            if any(folder.is_dir() for folder in folders):
                self._remember()
        return self._journal

    def _recalled_namespaces(self, uid: str) -> list[str]:
        """Return where Argo CD was in this cluster, by this machine's journal."""
        base, target = state_home(self.streams.environ), self.cluster.target()
        if _is_uid(uid):
            found = Journal(LocalHome([base / uid]), None).read()
        else:
            found = offline.read(base, offline.recall(base, target.server, target.context))
        return sorted({e.begin.argocd_namespace for e in found.entries} - {""})

    def _remember(self) -> None:
        """Let this machine know later whose its record is, when the cluster cannot be asked."""
        target, home = self.cluster.target(), state_home(self.streams.environ)
        folders = tuple(folder.name for folder in self.journal.local.folders)
        offline.remember(home, offline.Known(target.server, target.context, folders))

    def begin(self, verb: str, writing: Writing, *, undoes: Sequence[str] = ()) -> Begin:
        """Describe who does what, for the first record of an entry."""
        assert self.reading is not None
        argocd = self.reading.snapshot.argocd
        self._remember()
        return Begin(
            verb=verb,
            argv=tuple(_argv(self.common.world.argv)),
            actor=self.reading.actor,
            host=_host(),
            started=self.now(),
            reason=writing.reason,
            argocd_namespace=argocd.namespace,
            argocd_version=argocd.version.text if argocd.version else "",
            undoes=tuple(undoes),
            expires=self.now() + timedelta(seconds=writing.expires) if writing.expires else None,
        )

    # -- carrying out

    def carry_out(
        self,
        planner: Callable[[Snapshot], Plan],
        writing: Writing,
        *,
        data: dict[str, JSON] | None = None,
        undoes: Sequence[str] = (),
        finish: Callable[[Run], Sequence[Content]] = lambda run: (),
        begin: Begin | None = None,
        actions: dict[Role, str] | None = None,
        always_ask: str = "",
        confirmed: bool = False,
    ) -> tuple[Plan, Result]:
        """Plan, show, check permissions, ask where it must be asked, write, and tell what came of it.

        Raises RefusedError where a yes is missing, Forbidden where the user may not do all of it.
        """
        assert self.reading is not None
        snapshot = self.reading.snapshot
        plan = planner(snapshot)
        self.printer.plan_talk(plan.warnings, plan.notes)
        used = {**ACTIONS, **(actions or {})}
        if plan.steps:
            self.header()
        if writing.dry_run != "none":
            return plan, self._dry_run(plan, snapshot, writing.dry_run, data or {}, used)
        if plan.steps:
            self.check_permissions(plan)
            if not confirmed:
                self.confirm(plan, writing, always_ask)
        engine = Engine(
            self.cluster,
            self.journal,
            now=self.now,
            report=self.printer.progress,
            actions=used,
            destination=self.destination,
        )
        run = engine.execute(
            plan,
            snapshot,
            begin or self.begin(plan.verb, writing, undoes=undoes),
            replan=planner,
            finish=finish,
        )
        for text in run.warnings:
            self.printer.warn(text)
        status = run.exit_status(independent=plan.independent_from is not None)
        self._tell_how_to_go_on(plan, run, status, is_undo=bool(undoes))
        result = Result(
            plan.verb,
            run.entry,
            tuple(run.results),
            (*plan.warnings, *plan.notes, *run.warnings),
            data or {},
            status,
            STATUS_WORDS[status],
        )
        return plan, result

    def _tell_how_to_go_on(self, plan: Plan, run: Run, status: ExitStatus, *, is_undo: bool) -> None:
        applied = [r for r in run.results if r.status is Verdict.APPLIED]
        unknown = any(r.status is Verdict.UNKNOWN for r in run.results)
        if status is not ExitStatus.OK and run.entry and (applied or unknown):
            self.printer.say(f"what was done stands; see it: {COMMAND} show {run.entry}")
        if status is ExitStatus.OK:
            for command in plan.next_commands:
                self.printer.say(f"go on with: {command}")
        if (applied or unknown) and not is_undo and _has_edits(plan):
            self.printer.say(f"undo with: {COMMAND} undo {run.entry}")

    def _dry_run(
        self, plan: Plan, snapshot: Snapshot, how: str, data: dict[str, JSON], actions: dict[Role, str]
    ) -> Result:
        for text in plan.questions:
            self.printer.warn(f"this would need a yes: {text}")
        if self.printer.form == "human":
            self.printer.plan(plan.steps)
        suffix = " (server dry run)" if how == "server" else " (dry run)"
        results: list[EditResult] = list(plan.unchanged)
        objects = dict(snapshot.objects)
        status = ExitStatus.OK
        for step in plan.steps:
            if isinstance(step, Rollout):
                result = EditResult(step.ref, Verdict.PLANNED, workloads.ACTION, reason=step.reason)
                if how == "server":
                    result = rollouts.roll_back(self.destination, step, dry_run=True)
                    if result.status not in (Verdict.PLANNED, Verdict.UNCHANGED):
                        status = ExitStatus.ERROR
                results.append(result)
                continue
            live = objects[step.ref.key]
            ops = ops_of(live, step)
            verdict, detail = Verdict.PLANNED, ""
            if how == "server":
                # A server keeps nothing of a dry run: an order after an edit is tried on what is there.
                try:
                    resource = BY_KIND[step.ref.kind]
                    self.cluster.patch(resource, step.ref.namespace, step.ref.name, ops, dry_run=True)
                except RescueError as e:
                    verdict, detail, status = Verdict.FAILED, e.message, e.exit_status
            elif not isinstance(step, Order):
                objects[step.ref.key] = patches.preview(live, ops)
            results.append(
                EditResult(step.ref, verdict, action_of(step, actions), tuple(ops), step.reason, detail)
            )
        for result in results:
            self.printer.progress(result, suffix=suffix)
        return Result(
            plan.verb, "", tuple(results), (*plan.warnings, *plan.notes, *plan.questions), data, status,
            "planned" if status is ExitStatus.OK else STATUS_WORDS[status],
        )  # fmt: skip

    def check_permissions(self, plan: Plan) -> None:
        """Ask the server whether the user may do all of the plan, before its first write.

        Raises Forbidden naming all that is missing.
        """
        if self.destination is not self.cluster:
            there = tuple(s for s in plan.steps if isinstance(s, Rollout))
            self._check_permissions(there, self.destination)
            self._check_permissions([s for s in plan.steps if s not in there], self.cluster)
        else:
            self._check_permissions(plan.steps, self.cluster)

    def _check_permissions(self, steps: Sequence[PlanStep], cluster: Cluster) -> None:
        denied = self._denied(_rights_to_patch(steps), cluster)
        if denied:
            assert self.reading is not None
            who = f" as {self.reading.actor}" if self.reading.actor else ""
            what = ", ".join(f"{verb} {kind} {ns}/{name}" for verb, kind, ns, name in denied)
            raise Forbidden(
                f"you may not{who} {what}",
                "nothing was changed; ask for these rights, or use --as or another context",
                status=403,
                reason="Forbidden",
            )

    def hidden(self, keys: Iterable[Key], plan: Plan) -> list[Key]:
        """Return those of some objects that the user may not read or watch.

        What `check_permissions` will ask for a plan is asked in the same round.
        """
        wanted = [(verb, k.kind, k.namespace, k.name) for k in keys for verb in ("get", "watch")]
        if self.destination is self.cluster:
            self._may(_whole_places([*wanted, *_rights_to_patch(plan.steps)]), self.cluster)
        return list(dict.fromkeys(Key(*place) for _, *place in self._denied(wanted, self.cluster)))

    def _denied(self, wanted: Sequence[Right], cluster: Cluster) -> list[Right]:
        answers = self._may(_whole_places(wanted), cluster)
        open_questions = [w for w in wanted if not answers[(*w[:3], "")]]
        named = self._may(open_questions, cluster)
        return [w for w in open_questions if not named[w]]

    def _may(self, questions: Sequence[Right], cluster: Cluster) -> dict[Right, bool]:
        known = self.reader.access if cluster is self.cluster else {}
        answers = {q: known[q] for q in questions if q in known}
        questions = [q for q in questions if q not in answers]
        thunks = [lambda q=q: cluster.review_access(q[0], BY_KIND[q[1]], q[2], q[3]) for q in questions]
        for question, got in zip(questions, cluster.gather_outcomes(*thunks), strict=True):
            # A server that does not answer the question decides at the write itself.
            answers[question] = known[question] = True if isinstance(got, Failed) else bool(got.value)
        return answers

    def confirm(self, plan: Plan, writing: Writing, always_ask: str = "") -> None:
        """Get the yes that a plan needs. Raises RefusedError where there is none."""
        if not plan.questions and not always_ask:
            return
        if writing.yes:
            for text in plan.questions:
                self.printer.say(text)
            return
        if not self.streams.is_interactive:
            asked = "; ".join(plan.questions) or always_ask
            only = ", or --only to leave the owners out" if any(not s.named for s in plan.steps) else ""
            raise RefusedError(
                f"not done without a yes: {asked}", f"add --yes to agree{only}; nothing was changed"
            )
        self.printer.say("This is the plan (* was not named by you):")
        self.printer.plan(plan.steps)
        for text in plan.questions:
            self.printer.say(f"  {self.printer.paint('?', 'yellow')} {text}")
        if not self.printer.ask(always_ask or "Go on?"):
            raise RefusedError("you did not say yes", "nothing was changed")

    def finish(self, result: Result) -> ExitStatus:
        """Print the envelope where one was asked for, and return the exit code."""
        self.printer.result(result)
        return result.exit_status


def _rights_to_patch(steps: Iterable[PlanStep]) -> list[Right]:
    return list(dict.fromkeys(("patch", s.ref.kind, s.ref.namespace, s.ref.name) for s in steps))


def _whole_places(rights: Iterable[Right]) -> list[Right]:
    """Return the same rights for whole namespaces, which most users have: few questions for many objects."""
    return list(dict.fromkeys((verb, kind, namespace, "") for verb, kind, namespace, _ in rights))


def _has_edits(plan: Plan) -> bool:
    return any(not isinstance(step, Order) for step in plan.steps)


def _is_uid(uid: str) -> bool:
    return bool(uid) and "/" not in uid and uid not in (".", "..")


def _argv(words: Sequence[str]) -> list[str]:
    """Return what was typed, without what must not be kept: a token or password on the command line."""
    kept: list[str] = []
    hide = False
    for word in words:
        if hide:
            kept.append("…")
            hide = False
        elif word in ("--token", "--password"):
            kept.append(word)
            hide = True
        elif word.startswith(("--token=", "--password=")):
            kept.append(f"{word.partition('=')[0]}=…")
        else:
            kept.append(word)
    return kept


def _host() -> str:
    try:
        if name := socket.gethostname():
            return name
        import platform  # lazy: every machine has a name

        return platform.node()
    except OSError:
        return ""


def new_order_id() -> str:
    """Return an id for an operation of ours."""
    return secrets.token_hex(8)
