"""Watches an application and its workloads until `progress.assess` knows the truth, and shows it live."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO, cast

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application, history, reconciliation
from ..argocd.application import deploys_here
from ..argocd.progress import Assessment, Expectation, State, assess, workload_keys
from ..cluster.client import Cluster
from ..cluster.parallel import Done, Failed
from ..journal.entry import Entry
from ..journal.records import Outcome
from ..model.errors import ExitStatus, Expired, Forbidden, NotFound, Overloaded, RescueError, TransportError
from ..model.text import COMMAND, display_name, plain
from ..model.values import (
    APPLICATION,
    BY_KIND,
    JSON,
    Edit,
    Key,
    Order,
    OrderKind,
    Plan,
    Resource,
    Result,
    Role,
)
from ..show.printer import Printer
from ..show.steps import STATUS_WORDS
from .session import Session

if TYPE_CHECKING:
    from ..argocd.destination import Way

WATCH_SECONDS = 60.0
"""How long one watch request lives: one that is dead without a word is noticed then."""

GIVE_UP_SECONDS = 120.0
"""How long the API server may be out of reach before a watch says so and ends."""

SETTLE_SECONDS = 3.0
"""How long a workload must say that it failed before it is believed."""

MAX_WATCHED_WORKLOADS = 16
"""Beyond this a watch per workload is a burden; the rest is read again at each change of the app."""


class Feed:
    """Streams of several objects poured into one queue, each in a thread that ends with the connection."""

    def __init__(self, cluster: Cluster) -> None:
        """Follow objects of that cluster."""
        self.cluster = cluster
        self.events: queue.SimpleQueue[tuple[Key, JSON | None | RescueError]] = queue.SimpleQueue()
        self._watched: set[Key] = set()
        self._closed = threading.Event()

    def watch(self, resource: Resource, key: Key, cluster: Cluster | None = None) -> None:
        """Follow one object, of another cluster where one is named; its state now comes first, None if gone."""
        if key not in self._watched:
            self._watched.add(key)
            args = (resource, key, cluster or self.cluster)
            threading.Thread(target=self._follow, args=args, daemon=True).start()

    def _follow(self, resource: Resource, key: Key, cluster: Cluster) -> None:
        failures = 0
        well = cluster.clock()
        while not self._closed.is_set():
            began = cluster.clock()
            try:
                version = self._read(resource, key, cluster)
                well = cluster.clock()
                for kind, obj in cluster.watch(
                    resource,
                    key.namespace,
                    name=key.name,
                    resource_version=version,
                    timeout=WATCH_SECONDS,
                ):
                    failures = 0
                    if kind == "BOOKMARK":
                        continue
                    obj.setdefault("kind", resource.kind)
                    self.events.put((key, None if kind == "DELETED" else obj))
                    if self._closed.is_set():
                        return
            except RescueError as e:
                if self._closed.is_set():
                    return
                passes = isinstance(e, Expired | Overloaded | TransportError) and not getattr(
                    e, "lasting", False
                )
                failures += 1
                if (
                    isinstance(e, Forbidden)
                    or not passes
                    and failures > 5
                    or cluster.clock() - well > GIVE_UP_SECONDS
                ):
                    self.events.put((key, e))
                    return
                asked = getattr(e, "retry_after", None) or 0.0
                self._closed.wait(max(asked, cluster.backoff(min(failures, 8))))
            else:
                # Ended by the server: at once, time after time, would be a load of its own.
                failures = failures + 1 if cluster.clock() - began < 1.0 else 0
                if failures > 1:
                    self._closed.wait(cluster.backoff(min(failures, 8)))

    def _read(self, resource: Resource, key: Key, cluster: Cluster) -> str:
        try:
            obj = cluster.get(resource, key.namespace, key.name)
        except NotFound:
            self.events.put((key, None))
            return ""
        obj.setdefault("kind", resource.kind)
        self.events.put((key, obj))
        return str(obj["metadata"]["resourceVersion"])

    def close(self) -> None:
        """Let the threads end; those in a read end when the connection is closed."""
        self._closed.set()


class Ending(Struct, frozen=True):
    """How a watch ended."""

    assessment: Assessment
    status: ExitStatus
    message: str


class Watched(Protocol):
    """What a watch is about: it takes in what comes, and judges it."""

    def take(self, key: Key, obj: JSON | None) -> tuple[ExitStatus, str] | None:
        """Take in the state of an object, None where it is gone; return how the watch ends by it, if it does."""

    def lose(self, key: Key, error: RescueError) -> bool:
        """Whether it goes on without an object that cannot be read any more."""

    def assess(self) -> Assessment | None:
        """Judge what was taken in; None while something was not seen yet."""

    def look_again(self, last: Assessment) -> Ending:
        """End it, since the time is over."""


_ENDS = {
    State.SUCCEEDED: ExitStatus.OK,
    State.REVERTED: ExitStatus.CONFLICT,
    State.FAILED: ExitStatus.ERROR,
    State.HALTED: ExitStatus.PARTIAL,
}


def follow(
    feed: Feed,
    watched: Watched,
    *,
    timeout: float | None,
    show: Callable[[Assessment], None],
    clock: Callable[[], float] = time.monotonic,
) -> Ending:
    """Judge all that the feed brings until a state is final or `timeout` seconds are over (None: for ever)."""
    deadline = None if timeout is None else clock() + timeout
    last = Assessment(State.WAITING, (), "nothing was seen yet")
    settled: float | None = None
    """When a failure that was seen counts, unless something better is seen before."""
    try:
        while True:
            now = clock()
            # What has come already counts, however late it is looked at.
            is_due = settled is not None and settled <= (now if deadline is None else min(now, deadline))
            if is_due and feed.events.empty():
                return Ending(replace(last, state=State.FAILED), ExitStatus.ERROR, last.reason)
            if deadline is not None and now >= deadline:
                return watched.look_again(last)
            end = min(t for t in (settled, deadline, now + 3600.0) if t is not None)
            try:
                key, obj = feed.events.get(timeout=max(0.0, end - now))
            except queue.Empty:
                continue
            if not isinstance(obj, RescueError):
                if ended := watched.take(key, obj):
                    return Ending(last, *ended)
            elif not watched.lose(key, obj):
                return Ending(last, obj.exit_status, f"it cannot be watched any more: {obj.message}")
            assessment = watched.assess()
            if assessment is None:
                continue
            if assessment != last:
                show(assessment)
                last = assessment
            if assessment.state is not State.FAILING:
                settled = None
            elif settled is None:
                settled = clock() + SETTLE_SECONDS
            if assessment.state in _ENDS:
                return Ending(assessment, _ENDS[assessment.state], assessment.reason)
    finally:
        feed.close()


class Place(NamedTuple):
    """Where the workloads of an application are looked at."""

    cluster: Cluster
    whose: Callable[[JSON], str] = lambda workload: ""
    """Says whose a workload is, empty where it is the application's own."""
    unseen: str = ""
    """Why they are not looked at."""
    is_other: bool = False
    """Whether it is another cluster than Argo CD's own."""


class _Application:
    """An application and its workloads, as a watch sees them."""

    def __init__(
        self,
        cluster: Cluster,
        feed: Feed,
        expectation: Expectation,
        hint: Callable[[JSON], str],
        warn: Callable[[str], None],
        place: Place,
    ) -> None:
        self.cluster = cluster
        self.place = place
        self.feed = feed
        self.expectation = expectation
        self.hint = hint
        self.warn = warn
        self.app: JSON | None = None
        self.workloads: dict[Key, JSON | None] = {}
        self._unseen: set[Key] = set()
        self._hidden: dict[Key, str] = {}
        """Workloads that are not looked at, and why."""
        feed.watch(APPLICATION, expectation.key)

    def take(self, key: Key, obj: JSON | None) -> tuple[ExitStatus, str] | None:
        if key != self.expectation.key:
            if obj is not None and (whose := self.place.whose(obj)):
                self._hide(key, "is not its own", whose)
            elif key not in self._hidden:
                self.workloads[key] = obj
                self._unseen.discard(key)
            return None
        if obj is None:
            return ExitStatus.ERROR, f"{key} does not exist any more"
        self.app = obj
        wanted = () if self.place.unseen else workload_keys(obj, rollback=self.expectation.rollback)
        for gone in set(self.workloads) - set(wanted):
            del self.workloads[gone]
        for workload in wanted:
            if workload in self.workloads or workload in self._hidden:
                continue
            self.workloads[workload] = None
            if len(self.workloads) <= MAX_WATCHED_WORKLOADS:
                self._unseen.add(workload)
                self.feed.watch(BY_KIND[workload.kind], workload, self.place.cluster)
        self._read_the_rest()
        return None

    def lose(self, key: Key, error: RescueError) -> bool:
        # A cluster that is away takes nothing from what Argo CD's own says.
        if key not in self.workloads or not (isinstance(error, Forbidden) or self.place.is_other):
            return False
        why = error.message.removeprefix(f"{key}: ")
        self._hide(key, "may not be read" if isinstance(error, Forbidden) else "cannot be read any more", why)
        return True

    def _hide(self, key: Key, what: str, why: str) -> None:
        """Judge a workload by the Application alone from now on."""
        if key not in self._hidden:
            self.warn(f"{key} {what}, so it is judged by the Application alone: {why}")
        self._hidden[key] = what
        self.workloads.pop(key, None)
        self._unseen.discard(key)

    def assess(self) -> Assessment | None:
        if self.app is None or self._unseen & set(self.workloads):
            return None
        return self._assess(self.app, self.workloads, self.hint(self.app))

    def _assess(self, app: JSON, seen: Mapping[Key, JSON | None], stuck: str) -> Assessment:
        return assess(
            app, seen, self.expectation, stuck_hint=stuck, unseen=self.place.unseen, hidden=self._hidden
        )

    def look_again(self, last: Assessment) -> Ending:
        """Read all once more before it is said that it timed out: a watch may have been dead for long."""
        key = self.expectation.key
        wanted = [key, *self.workloads]
        where = [self.cluster if k == key else self.place.cluster for k in wanted]
        got = self.cluster.gather_outcomes(
            *[
                partial(cluster.get, BY_KIND[k.kind], k.namespace, k.name)
                for k, cluster in zip(wanted, where, strict=True)
            ]
        )
        seen = {k: o.value if isinstance(o, Done) else None for k, o in zip(wanted, got, strict=True)}
        failed = next(
            (o.error for o in got if isinstance(o, Failed) and not isinstance(o.error, NotFound)), None
        )
        if failed is not None:
            return Ending(last, ExitStatus.TIMEOUT, f"timed out; it cannot be read any more: {failed}")
        app = seen.pop(key)
        if app is not None:
            stuck = ""
            with suppress(RescueError):  # what it asks for may be out of reach by now
                stuck = self.hint(app)
            fresh = self._assess(app, seen, stuck)
            if fresh.state is State.SUCCEEDED:
                return Ending(fresh, ExitStatus.OK, fresh.reason)
            last = fresh if fresh.lines != last.lines else last
        return Ending(last, ExitStatus.TIMEOUT, f"timed out; {last.reason}")

    def _read_the_rest(self) -> None:
        cluster = self.place.cluster
        for key in list(self.workloads)[MAX_WATCHED_WORKLOADS:]:
            try:
                live = cluster.get(BY_KIND[key.kind], key.namespace, key.name)
            except NotFound:
                self.workloads[key] = None
            except Forbidden:
                del self.workloads[key]
            else:
                live.setdefault("kind", key.kind)
                self.take(key, live)


def watch(
    cluster: Cluster,
    expectation: Expectation,
    *,
    timeout: float | None,
    show: Callable[[Assessment], None],
    hint: Callable[[JSON], str] = lambda app: "",
    warn: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
    place: Place | None = None,
) -> Ending:
    """Follow an application until its state is final or `timeout` seconds are over (None: for ever)."""
    feed = Feed(cluster)
    watched = _Application(cluster, feed, expectation, hint, warn, place or Place(cluster))
    return follow(feed, watched, timeout=timeout, show=show, clock=clock)


@contextmanager
def shower(printer: Printer) -> Iterator[Callable[[Assessment], None]]:
    """Give what shows assessments: a table that lives in place on a terminal, else a line per change."""
    if printer.form == "human" and printer.streams.err.isatty() and printer.streams.out.isatty():
        from rich.console import Console  # lazy: only a terminal needs it
        from rich.live import Live
        from rich.table import Table

        console = Console(
            file=cast(TextIO, printer.err),
            highlight=False,
            markup=False,
            no_color="NO_COLOR" in printer.streams.environ,
        )

        def table(assessment: Assessment) -> Table:
            grid = Table.grid(padding=(0, 2))
            for part, text, good in assessment.lines:
                grid.add_row(
                    "✓" if good else "…", plain(part), plain(text), style="green" if good else "yellow"
                )
            return grid

        with Live(console=console, refresh_per_second=8, transient=False) as live:
            yield lambda assessment: live.update(table(assessment))
        return
    said: dict[str, str] = {}

    def lines(assessment: Assessment) -> None:
        for part, text, _ in assessment.lines:
            if said.get(part) != text:
                said[part] = text
                out = f"{part}: {text}"
                printer.line(out) if printer.form == "human" else printer.say(out)

    yield lines


def place_of(session: Session, key: Key, chosen: str = "") -> Place:
    """Go to the cluster that an Application deploys into; `chosen` is the context that the user named.

    Raises RefusedError, or what went wrong, where that context is not its own.
    """
    if deploys_here(session.reader.objects[key]) and not chosen:
        return Place(session.cluster)
    from . import destinations  # lazy: most Applications deploy into Argo CD's own cluster

    return seen_by(session, key, destinations.find(session, key, chosen), is_named=bool(chosen))


def seen_by(session: Session, key: Key, way: Way, *, is_named: bool = False) -> Place:
    """Follow a way that was found, and say where it leads."""
    from . import destinations  # lazy: as above

    if not way.there:
        return Place(session.cluster)
    way = destinations.enter(session, key, way, is_named=is_named)
    if not way.why_not:
        session.printer.say(
            session.printer.paint(f"its workloads are in {way.there}, seen by context {way.context}", "dim")
        )
        return Place(session.destination, partial(destinations.foreign, session, key), is_other=True)
    unseen = f"it deploys into {way.there}, which is not looked at: {way.why_not}"
    if not is_named:
        unseen += " (--destination-context NAME)"
    return Place(session.cluster, unseen=unseen)


def run(
    session: Session,
    expectation: Expectation,
    timeout: float | None,
    *,
    place: Place | None = None,
    is_only_looking: bool = False,
    go_on: str = "",
) -> Ending:
    """Watch and show, and say the end in one line, with what goes on where it halts; without a place it is found.

    Who only looks does so no longer than somebody reads it; raises RescueError then.
    """
    reading = session.reading
    argocd = reading.snapshot.argocd
    name = display_name(expectation.key, argocd)
    place = place or place_of(session, expectation.key)

    def hint(app: JSON) -> str:
        snapshot = replace(reading.snapshot, now=session.now())
        automatic = application.is_auto_sync_on(app)
        if not reconciliation.windows_allow(snapshot, app, manual=not automatic).can_sync:
            # Somebody may have opened it since: look again before saying so.
            snapshot = session.reread_projects()
            verdict = reconciliation.windows_allow(snapshot, app, manual=not automatic)
            if not verdict.can_sync:
                return reconciliation.blocked_text(snapshot, app, verdict)
        if automatic:
            return ""
        return f"auto-sync is off and nothing is ordered: {COMMAND} sync {name}"

    with shower(session.printer) as show:

        def shown(assessment: Assessment) -> None:
            show(assessment)
            if is_only_looking and session.printer.out.is_left:
                raise RescueError("nobody reads stdout any more", "it is not watched any more")

        ending = watch(
            session.cluster, expectation, timeout=timeout, show=shown, hint=hint, warn=session.printer.warn,
            place=place,
        )  # fmt: skip
    if session.printer.form == "human":
        if ending.status is ExitStatus.OK:
            app_name = f"application.argoproj.io/{expectation.key.name}"
            told = ending.assessment.unverified
            by = f", by Argo CD's word alone: {'; '.join(told)}" if told else ""
            session.printer.line(f"{app_name} {ending.message}{by}")
        else:
            tell_ending(session.printer, expectation.key, ending, go_on)
    return ending


def tell_ending(printer: Printer, key: Key, ending: Ending, go_on: str) -> None:
    """Say how a watch ended that did not end well; `go_on` is the command for one that halts."""
    if ending.assessment.state is not State.HALTED:
        printer.say(f"{printer.paint('error:', 'red')} {key}: {plain(ending.message)}")
        return
    printer.warn(f"not done yet: {plain(ending.message)}")
    if go_on:
        printer.say(f"Next: {go_on}")


def watch_after(session: Session, key: Key, plan: Plan, result: Result, timeout: float | None) -> Result:
    """Watch what a plan has set going, and fold the end into the command's result."""
    changes: list[Any] = []
    order_id = ""
    rollback = False
    for step in plan.steps:
        if step.ref.key == key:
            if isinstance(step, Order):
                order_id, rollback = step.id, step.kind is OrderKind.ROLLBACK
            elif isinstance(step, Edit) and step.role is Role.VERSION:
                changes += step.changes
    ending = run(session, Expectation(key, order_id, tuple(changes), rollback), timeout)
    remember(session, key, ending, rollback=rollback)
    return with_ending(result, ending)


def remember(session: Session, key: Key, ending: Ending, *, rollback: bool) -> None:
    """Keep a version that was seen failing in the newest entry of this machine that deployed the application."""
    saw = what_failed(session, key, ending, rollback=rollback)
    if saw is None:
        return
    for entry in reversed(session.journal.read().entries):
        deploys = [o for _, o in entry.orders()] + [e for _, e in entry.edits() if e.role is Role.VERSION]
        if "local" in entry.homes and not entry.begin.undoes and any(s.ref.key == key for s in deploys):
            with suppress(RescueError):  # only the memory of it is lost
                session.journal.reopen(entry).write([saw])
            return


def what_failed(session: Session, key: Key, ending: Ending, *, rollback: bool = False) -> Outcome | None:
    """Return the record of a version that was seen failing, so that it is not called good again."""
    parts = {part: good for part, _, good in ending.assessment.lines}
    is_late = ending.status is ExitStatus.TIMEOUT and bool(parts.get("operation") and parts.get("sync"))
    if ending.assessment.state not in (State.FAILED, State.FAILING) and not is_late:
        return None
    try:
        app = session.cluster.get(APPLICATION, key.namespace, key.name)
    except RescueError:
        return None  # as above
    what = history.attempted_identity(app) if rollback else history.failing_identity(app)
    said = f"watched {display_name(key, session.reading.snapshot.argocd)}: {ending.message}"
    return Outcome({}, said, session.now(), history.digest(what), is_late)


def with_ending(result: Result, ending: Ending) -> Result:
    """Add how a watch ended to a result."""
    return replace(
        result,
        exit_status=ending.status,
        status=STATUS_WORDS[ending.status],
        data={**result.data, **ending_data(ending)},
        warnings=result.warnings if ending.status is ExitStatus.OK else (*result.warnings, ending.message),
    )


def ending_data(ending: Ending) -> dict[str, JSON]:
    """Return a watch's end as data."""
    return {
        "state": ending.assessment.state.value,
        "message": ending.message,
        "unverified": list(ending.assessment.unverified),
        "parts": [{"part": p, "text": t, "done": d} for p, t, d in ending.assessment.lines],
    }


def expected(key: Key, entries: tuple[Entry, ...]) -> Expectation:
    """Return what the newest open entries say must be seen: versions that stand, the last order."""
    changes = []
    order_id = ""
    rollback = False
    for entry in entries:
        for number, edit in entry.edits():
            if edit.ref.key == key and edit.role is Role.VERSION and entry.is_open:
                if entry.outcomes.get(number) == "applied":
                    changes = [c for i, c in enumerate(edit.changes) if (number, i) not in entry.settled]
                    order_id, rollback = "", False
        for number, order in entry.orders():
            if order.ref.key == key and entry.outcomes.get(number) == "applied":
                order_id, rollback = order.id, order.kind is OrderKind.ROLLBACK
    return Expectation(key, order_id, tuple(changes), rollback)
