"""One call of a verb: connect, read, and what there is to work with once that is done."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Final

from msgspec.structs import replace

from ..argocd.application import project_key
from ..cluster.client import Cluster
from ..cluster.objects import look
from ..cluster.parallel import Done
from ..cluster.server_clock import WORTH_SAYING, ServerClock
from ..cluster.transport import Connection
from ..journal.configmaps import ClusterHome
from ..journal.entry import is_of, who
from ..journal.journal import Journal, JournalReading
from ..journal.local import LocalHome, state_home
from ..journal.records import HOLD, Begin
from ..model.discretion import without_credentials
from ..model.errors import Code, ConflictError, ExitStatus, NotFound, Overloaded, TransportError
from ..model.text import COMMAND, display_name, one_line
from ..model.times import ago, human
from ..model.values import APPLICATIONSET, APPPROJECT, JSON, SECRET, FieldChange, Key, Result, Snapshot
from ..show.printer import Printer, Streams, standard_streams
from .checks import Checks
from .options import Common, Writing
from .reading import Reader, Reading

UNKNOWN: Final = "unknown-cluster"
"""Where up to 0.1 entries of all clusters without a name were kept together."""

CONNECTION: Final = "connection-"


class Invocation(AbstractContextManager["Invocation"]):
    """One call of a verb: its printer and its connection, from which a `Session` is read."""

    def __init__(self, common: Common) -> None:
        """Take the common flags, and with them the world that the command is in."""
        self.common = common
        streams = standard_streams()
        if common.hear is not None:
            streams = Streams(io.StringIO(), io.StringIO(), io.StringIO(), streams.environ)
        self.streams = replace(streams, environ=common.world.environ)
        self.printer = Printer(self.streams, common.output)
        self.printer.is_exact = common.verbosity > 0
        self.clock = ServerClock(common.world.now)
        self.now = self.clock.now
        self._opened: list[Cluster] = []
        self.cluster = self.connect(common.connection)
        self.cluster.tell_dates(self.clock.heard)
        self._is_skew_told = False
        self.reader = Reader(
            self.cluster,
            now=self.now,
            argocd_namespace=common.argocd_namespace,
            namespace=common.namespace,
        )
        self.reader.recall = self._recalled_namespaces
        self._session: Session | None = None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remind of what is overdue, and close the connections."""
        try:
            if self._session is not None and value is None:
                self._session.remind()
        finally:
            for cluster in reversed(self._opened):
                cluster.close()

    def connect(self, connection: Connection) -> Cluster:
        """Open a connection that lasts until the command's end."""
        cluster = self.common.world.open_cluster(
            connection,
            log=self.printer.request_log(self.common.verbosity),
            on_warning=self.printer.server_warning,
        )
        self._opened.append(cluster)
        cluster.tell_waits(self.printer.say)
        return cluster

    def _recalled_namespaces(self, uid: str) -> list[str]:
        """Return where Argo CD was in this cluster, by this machine's journal."""
        from ..journal import known_clusters  # lazy: the namespace is usual, or named

        base, target = state_home(self.streams.environ), self.cluster.target()
        if _is_uid(uid):
            found = Journal(LocalHome([base / uid]), None).read()
        else:
            found = known_clusters.read(base, known_clusters.recall(base, target.server, target.context))
        return sorted({e.begin.argocd_namespace for e in found.entries} - {""})

    # -- reading

    def read(self, names: Sequence[str], *, to_write: bool = False) -> Session:
        """Read the situation around the named Applications."""
        session = self._begin(self.reader.read(names, to_write=to_write))
        if to_write:
            self._refuse_what_is_held(session)
        return session

    def _refuse_what_is_held(self, session: Session) -> None:
        """Raise ConflictError where an undo holds an Application that was named: its window would look like a blocker."""
        snapshot = session.reading.snapshot
        for key in session.reading.targets:
            project = snapshot.objects.get(project_key(snapshot, snapshot.objects[key])) or {}
            if not (placed := (project.get("spec") or {}).get("syncWindows")):
                continue
            from ..argocd.windows import is_hold  # lazy: most projects have no windows
            from ..journal.owed import touches

            if not any(is_hold(window, key.name) for window in placed):
                continue
            for entry in session.journal.read().entries:
                if entry.begin.verb == HOLD and entry.is_open and touches(entry, key):
                    name = display_name(key, snapshot.argocd)
                    raise ConflictError(
                        f"{name} is held by an undo of {who(entry)}, begun {ago(self.now() - entry.begin.started)}",
                        "nothing was changed; wait until that is done, and if it has died, end it first: "
                        f"{COMMAND} undo {entry.id}",
                        code=Code.CLAIMED,
                    )

    def read_many(self, *, label_selector: str = "", project: str = "") -> Session:
        """Read a selection of Applications, or all of them."""
        return self._begin(self.reader.read_many(label_selector=label_selector, project=project))

    def _begin(self, reading: Reading) -> Session:
        self._session = Session(self, reading)
        self._judge_clock(reading)
        for text in reading.warnings:
            self.printer.warn(text)
        return self._session

    def _judge_clock(self, reading: Reading) -> None:
        ahead = self.clock.ahead
        if abs(ahead) > WORTH_SAYING and not self._is_skew_told:
            self._is_skew_told = True
            about = timedelta(minutes=round(abs(ahead) / timedelta(minutes=1)))
            side = "behind" if ahead > timedelta(0) else "ahead of"
            reading.warnings.append(
                f"this machine's clock is {human(about)} {side} the API server's, which is the one that counts"
            )

    def read_journal(self) -> tuple[Session | None, JournalReading]:
        """Read the installation and its journal; of a cluster that does not answer what this machine has.

        Only for verbs that read: without a session, what is shown is named as this machine's record
        alone. Raises TransportError or Overloaded where this machine has none of that server.
        """
        try:
            session = self.read([])
        except (TransportError, Overloaded) as e:
            from ..journal import known_clusters  # lazy: the cluster mostly answers

            target = self.cluster.target()
            home = state_home(self.streams.environ)
            found = known_clusters.recall(home, target.server, target.context)
            if not found:
                raise
            read = known_clusters.read(home, found)
            asked = f"{target.context or '(no context)'} ({without_credentials(target.server)})"
            warning = (
                f"{asked} cannot be asked: {e.message}; this is the record of this machine alone, and nothing "
                "of it is compared with the cluster"
            )
            return None, replace(read, warnings=(warning, *read.warnings))
        return session, session.journal.read()

    def look(self, keys: Iterable[Key]) -> tuple[dict[Key, JSON], list[str]]:
        """Read the objects of entries as they are now; none of a cluster that did not answer."""
        return ({}, []) if self._session is None else look(self.cluster, keys)

    # -- the end

    def finish(self, result: Result) -> ExitStatus:
        """Print the envelope where one was asked for, and return the exit code."""
        if self.common.hear is not None:
            self.common.hear(result)
        else:
            self.printer.result(result)
        return result.exit_status


class Session:
    """What a verb works with once the situation is read: the reading, the journal, the checks."""

    def __init__(self, invocation: Invocation, reading: Reading) -> None:
        """Go on from what `invocation` has read."""
        self.common = invocation.common
        self.streams = invocation.streams
        self.printer = invocation.printer
        self.now = invocation.now
        self.cluster = invocation.cluster
        self.reader = invocation.reader
        self.reading = reading
        self.destination: Cluster = self.cluster
        """The cluster of the workloads; another one after `open_destination`."""
        self._destinations: dict[str, Cluster] = {}
        self._connect = invocation.connect

    def open_destination(self, context: str, patience: float | None = None) -> Cluster:
        """Speak with the workloads' own cluster through another context of the kubeconfig, once for each.

        Impersonation goes with it; flags that name a server or its credentials are about the first
        cluster alone. `patience` bounds a request where the user has not.
        """
        c = self.common.connection
        if context not in self._destinations:
            self._destinations[context] = self._connect(
                Connection(
                    kubeconfig=c.kubeconfig,
                    context=context,
                    as_user=c.as_user,
                    as_uid=c.as_uid,
                    as_groups=c.as_groups,
                    as_user_extra=c.as_user_extra,
                    cache_dir=c.cache_dir,
                    disable_compression=c.disable_compression,
                    request_timeout=patience if c.request_timeout is None else c.request_timeout,
                )
            )
        self.destination = self._destinations[context]
        return self.destination

    @property
    def target(self) -> Key:
        """The Application that was named, where a verb takes one."""
        return self.reading.targets[0]

    @property
    def checks(self) -> Checks:
        """What must be asked before a write."""
        return Checks(self.cluster, self.destination, self.printer, self.reader.access, self.reading.actor)

    def remind(self) -> None:
        """Say which rescues stand longer than they were meant to."""
        now = self.now()
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

    def read_sets(self, names: Sequence[str]) -> None:
        """Read ApplicationSets that were named, with their owners, and make them targets as well.

        Raises NotFound where one is not there.
        """
        if not names:
            return
        argocd = self.reading.snapshot.argocd
        namespace = self.common.namespace or argocd.namespace
        keys = [Key(APPLICATIONSET.kind, namespace, name) for name in names]
        self.reader.follow(argocd, keys)
        for key in keys:
            if key not in self.reader.objects:
                raise NotFound(
                    f"{key} does not exist, or may not be read", "see: kubectl get appsets -A", status=404
                )
        self.reading.snapshot = self.reader.snapshot(argocd)
        self.reading.targets = tuple(dict.fromkeys((*self.reading.targets, *keys)))

    def read_twins(self, key: Key) -> None:
        """Read the Applications that share a name with this one: windows do not know namespaces."""
        argocd = self.reading.snapshot.argocd
        self.reader.twins(argocd, key)
        self.reading.snapshot = self.reader.snapshot(argocd)

    def read_what_windows_touch(self, key: Key) -> None:
        """Read what a window edit for this app may concern: its twins, and all apps of shared windows."""
        from ..plan import unblock  # lazy: few verbs edit windows

        self.read_twins(key)
        snapshot = self.reading.snapshot
        edits = unblock.window_edits(snapshot, snapshot.objects[key])
        if any(isinstance(c, FieldChange) for e in edits for c in e.changes):
            self.reader.scan(snapshot.argocd)
            self.reading.snapshot = self.reader.snapshot(snapshot.argocd)

    def reread_projects(self) -> Snapshot:
        """Read the AppProjects of the snapshot again."""
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
        target = self.cluster.target()
        argocd = self.reading.snapshot.argocd
        version = argocd.version.text if argocd.version else "of unknown version"
        who = f" as {self.reading.actor}" if self.reading.actor else ""
        context = target.context or "(no context)"
        self.printer.say(
            self.printer.paint(
                f"context {context} ({without_credentials(target.server)}){who}; Argo CD {version} in {argocd.namespace}",
                "dim",
            )
        )

    # -- journal

    @cached_property
    def journal(self) -> Journal:
        """The journal of this cluster, both homes."""
        r = self.reading
        base = state_home(self.streams.environ)
        folders = [base / uid for uid in (r.cluster_uid, r.argocd_uid) if _is_uid(uid)]
        unsure = self._unsure_folders(base, is_named=bool(folders))
        folders += unsure
        local = LocalHome(folders, unsure)
        journal = Journal(local, ClusterHome(self.cluster, r.snapshot.argocd.namespace))
        journal.warn = self.printer.warn
        journal.may_keep_secrets = lambda: self.may_keep_secrets
        if any(folder.is_dir() for folder in folders):
            self._remember(journal)
        return journal

    @cached_property
    def may_keep_secrets(self) -> bool:
        """Whether the user may keep Secrets beside Argo CD anyway: for originals that are not for everybody's eyes."""
        namespace = self.reading.snapshot.argocd.namespace
        verbs = ("create", "get")
        asked = [partial(self.cluster.review_access, verb, SECRET, namespace) for verb in verbs]
        return all(isinstance(o, Done) and o.value for o in self.cluster.gather_outcomes(*asked))

    def _unsure_folders(self, base: Path, *, is_named: bool) -> list[Path]:
        """Return where entries are kept of a cluster that neither uid names, but by how it is reached.

        An address may lead to another cluster the next time, so what is there proves nothing.
        """
        old = base / UNKNOWN
        if is_named and not any(base.glob(f"{CONNECTION}*")):
            return [old] if old.is_dir() else []
        mine = base / f"{CONNECTION}{self.cluster.identity()}"
        return [folder for folder in (mine, old) if folder.is_dir() or (folder == mine and not is_named)]

    def _remember(self, journal: Journal) -> None:
        """Let this machine know later whose its record is, when the cluster cannot be asked."""
        from ..journal import known_clusters  # lazy: not before the cluster has answered

        target, home = self.cluster.target(), state_home(self.streams.environ)
        folders = tuple(folder.name for folder in journal.local.folders)
        known_clusters.remember(home, known_clusters.KnownCluster(target.server, target.context, folders))

    def begin(self, verb: str, writing: Writing, *, undoes: Sequence[str] = ()) -> Begin:
        """Describe who does what, for the first record of an entry."""
        argocd = self.reading.snapshot.argocd
        self._remember(self.journal)
        return Begin(
            verb=verb,
            argv=tuple(_argv(self.common.world.words())),
            actor=self.reading.actor,
            host=_host(),
            started=self.now(),
            reason=without_credentials(writing.reason),
            argocd_namespace=argocd.namespace,
            argocd_version=argocd.version.text if argocd.version else "",
            undoes=tuple(undoes),
            expires=self.now() + timedelta(seconds=writing.expires) if writing.expires else None,
        )


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
            kept.append(without_credentials(word))
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
    return os.urandom(8).hex()  # what the module secrets does, without loading OpenSSL
