"""Has Argo CD compare with git what an undo is about, and waits for git with `--when-safe`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from ..argocd import application, components, handback, listed, ownership
from ..cluster import refresh
from ..cluster.client import Cluster
from ..cluster.objects import look
from ..model.text import some
from ..model.times import human
from ..model.values import APPLICATION, JSON, Key
from ..plan.undo import UndoWork
from ..show.printer import Printer

SETTLE_SECONDS = 1.0
"""How long a write of ours may be on its way into Argo CD's own picture of the cluster."""

POLL_SECONDS = 10.0
"""How often `--when-safe` asks Argo CD to look at git."""

ACTING_SECONDS = 10.0
"""How long an owner that acts may take to bring what git says."""

MAX_REFRESHED = 20
"""Applications that are all compared anew before their auto-sync goes back on: of thousands that is a load of its own."""

FIRST_WORD_SECONDS, MOST_SILENT_SECONDS = 60.0, 600.0
"""How soon and how rarely `--when-safe` says that it still waits."""


class GitCheck:
    """Keeps the objects of one undo as Argo CD has compared them last."""

    def __init__(
        self, work: UndoWork, cluster: Cluster, printer: Printer, now: Callable[[], datetime]
    ) -> None:
        """Ask that cluster; what it answers goes into the work."""
        self.work = work
        self.cluster = cluster
        self.printer = printer
        self.now = now
        self._waiting: dict[str, tuple[float, float]] = {}
        """What was waited for: since when, and when to say so again."""
        self._is_asked_again = False
        self.meanwhile: Callable[[], None] = lambda: None
        """What must not wait as long as git does."""
        self.fresh: set[Key] = set()
        """What was compared since anything was written or waited for."""
        self._have_acted: set[Key] = set()
        self.has_run_out = False
        """Whether `--when-safe` has waited as long as it may, in vain."""

    def deadline(self) -> float | None:
        """Return until when `--when-safe` waits from now on; None is for ever."""
        timeout = self.work.options.timeout
        return None if timeout is None else self.cluster.clock() + timeout

    def is_over(self, deadline: float | None) -> bool:
        """Whether that time has come."""
        is_over = deadline is not None and self.cluster.clock() >= deadline
        self.has_run_out = self.has_run_out or is_over
        return is_over

    def tell_waiting(self, text: str, deadline: float | None) -> None:
        """Say what `--when-safe` waits for and until when: at once, then ever more rarely."""
        clock = self.cluster.clock()
        until = ""
        if deadline is not None:
            until = f"; until {self.now() + timedelta(seconds=deadline - clock):%H:%M:%S} UTC"
        if text not in self._waiting:
            began, _ = next(iter(self._waiting.values()), (clock, 0.0))
            self._waiting[text] = (began, clock + FIRST_WORD_SECONDS)
            self.printer.warn(f"waiting for git: {text}{until}")
            return
        began, due = self._waiting[text]
        if clock >= due:
            waited = clock - began
            self._waiting[text] = (began, clock + min(waited, MOST_SILENT_SECONDS))
            age = human(timedelta(seconds=waited))
            self.printer.say(self.printer.paint(f"waiting for git for {age} now{until} …", "dim"))

    def pause_between_looks(self, deadline: float | None) -> None:
        """Wait before Argo CD is asked again, no longer than until `deadline`."""
        self._is_asked_again = True
        self.fresh.clear()
        self.meanwhile()
        left = POLL_SECONDS if deadline is None else max(0.0, deadline - self.cluster.clock())
        self.cluster.sleep(min(POLL_SECONDS, left))

    def compare_anew(self, keys: Sequence[Key]) -> None:
        """Have paused owners compared anew; one that does not answer has nothing to say."""
        work, cluster = self.work, self.cluster
        asked = [
            k
            for k in keys
            if k.kind == "Application" and not application.is_auto_sync_on(work.snapshot.objects[k])
        ]
        if not asked:
            return
        objects = dict(work.snapshot.objects)
        objects.update({k: _without_evidence(objects[k]) for k in asked if k in work.silent})
        asked = [k for k in asked if k not in work.silent]
        is_down = components.is_part_down(work.snapshot, "application-controller")
        timeout = refresh.DOWN_SECONDS if is_down else refresh.REFRESH_SECONDS
        if asked and not self._is_asked_again:
            names = some([work.name(key) for key in asked])
            text = f"asking Argo CD to compare {names} with git (up to {timeout:.0f} s) …"
            self.printer.say(self.printer.paint(text, "dim"))
        self._is_asked_again = False
        answers = cluster.gather(*[lambda k=k: refresh.refresh(cluster, k, timeout=timeout) for k in asked])
        for key, app in zip(asked, answers, strict=True):
            if app is None:
                self.printer.warn(
                    f"Argo CD did not compare {work.name(key)} in time: is its controller alive?"
                )
                work.silent.add(key)
                objects[key] = _without_evidence(objects[key])
            else:
                objects[key] = app
                self.fresh.add(key)
        work.snapshot = replace(work.snapshot, objects=objects, now=self.now())

    def let_act(self, keys: Sequence[Key]) -> bool:
        """Have owners that act look at git once, and wait until they have brought what it says; whether any did.

        They would do so within minutes, and until then an Application asks for what git said before.
        """
        work, cluster = self.work, self.cluster
        owners = [
            k
            for k in ownership.ancestors(work.snapshot, list(keys))
            if k.kind == "Application"
            and k not in self._have_acted
            and application.is_auto_sync_on(work.snapshot.objects[k])
        ]
        self._have_acted.update(owners)

        def has_brought(owner: JSON) -> bool:
            return not set(keys).intersection(handback.out_of_sync(owner))

        asked = [refresh.refresh(cluster, k, timeout=refresh.REFRESH_SECONDS) for k in owners]
        acting = [app for app in asked if app is not None]
        for app in acting:
            cluster.follow(APPLICATION, app, has_brought, ACTING_SECONDS)
        if acting:
            self.reread([*keys, *owners])
            self.fresh.difference_update(keys)
        return bool(acting)

    def compare_settled(self, keys: Sequence[Key]) -> None:
        """Have owners compared once more, a little later.

        Argo CD compares with what its own watch has told it: our last write may not be in it yet.
        """
        self.cluster.sleep(SETTLE_SECONDS)
        self._is_asked_again = True
        self.compare_anew(keys)

    def reread(self, keys: Sequence[Key]) -> None:
        """Read objects again that somebody else has written meanwhile."""
        found, _ = look(self.cluster, keys, listed.read_page)
        fresh = {k: o for k, o in found.items() if o is not None}
        old = self.work.snapshot
        self.work.snapshot = replace(old, objects={**old.objects, **fresh}, now=self.now())


def _without_evidence(app: JSON) -> JSON:
    """Forget what a controller that does not answer said before: it may be long untrue."""
    status = dict(app.get("status") or {})
    status["sync"] = {**(status.get("sync") or {}), "status": "Unknown"}
    return {**app, "status": status}
