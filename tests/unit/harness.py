"""Runs whole command lines against the in-memory API, in this process.

    def test_it(run: Run) -> None:
        incident = traefik_incident()
        ran = run(incident.api, "pause", "root")
        assert (ran.code, ran.out, ran.err) == (0, "application.argoproj.io/root paused\n", …)

Everything above the transport is the real thing: `root.run` with its error handling, the Session, the
journal's files below tmp_path. Time is the API's own clock, also for what sleeps.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.cluster import refresh
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.connect import Runtime
from kubectl_argo_rescue.cluster.transport import Connection
from kubectl_argo_rescue.journal.configmaps import ClusterHome
from kubectl_argo_rescue.journal.journal import Journal
from kubectl_argo_rescue.journal.local import LocalHome
from kubectl_argo_rescue.model.values import NAMESPACE, Context, Key
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock


class Ran(NamedTuple):
    """What one command line came to."""

    code: int
    out: str
    """stdout."""
    err: str
    """stderr."""

    @property
    def json(self) -> Any:
        """stdout as the one JSON document that it must be."""
        return json.loads(self.out)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Keyboard(_Terminal):
    """What a person types, shown on the screen as a terminal does."""

    def __init__(self, typed: str, screen: io.StringIO) -> None:
        super().__init__(typed)
        self._screen = screen

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        line = super().readline(-1 if size is None else size)
        self._screen.write(line)
        return line


class Run:
    """Call it with an API and words: `run(api, "pause", "root")`.

    `laptop` names the machine whose local journal is used: another laptop sees the ConfigMaps
    alone. `user` is who the API server says we are. `terminal` makes stdin and stderr a terminal,
    on which `typed` is what a person types.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, homes: Path) -> None:
        self.homes = homes
        self.apis: list[InMemoryApi] = []
        self.contexts: dict[str, InMemoryApi] = {}
        """Other clusters, by the name under which --context and its like find them."""
        self.laptop_clock: Callable[[], datetime] | None = None
        """The clock of the machine, where it is not the API server's."""
        self.connected: list[str] = []
        """The contexts that were asked for, one by one."""
        self._monkeypatch = monkeypatch
        for name in ("NO_COLOR", "KUBECONFIG", "KUBECTL_PATH"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "dumb")

    def state_home(self, laptop: str = "laptop") -> Path:
        """The XDG_STATE_HOME of a laptop."""
        return self.homes / laptop

    def __call__(
        self,
        api: InMemoryApi,
        *argv: str,
        user: str = "",
        laptop: str = "laptop",
        terminal: bool = False,
        typed: str = "",
    ) -> Ran:
        """Run one command line to its end."""
        out, err, in_ = io.StringIO(), io.StringIO(), io.StringIO(typed)
        if terminal:
            err, in_ = _Terminal(), _Terminal(typed)
        code = self._end(api, argv, out, err, in_, user, laptop)
        return Ran(code, out.getvalue(), err.getvalue())

    def on_screen(self, api: InMemoryApi, *argv: str, typed: str = "", user: str = "") -> tuple[int, str]:
        """Run one command line on a terminal; return its exit code and what stands on the screen."""
        screen = _Terminal()
        code = self._end(api, argv, screen, screen, _Keyboard(typed, screen), user, "laptop")
        return code, screen.getvalue()

    def _end(
        self,
        api: InMemoryApi,
        argv: tuple[str, ...],
        out: io.StringIO,
        err: io.StringIO,
        in_: io.StringIO,
        user: str,
        laptop: str,
    ) -> int:
        before = api.user
        api.user = user or before
        self.apis.append(api)
        environ = {**os.environ, "XDG_STATE_HOME": str(self.state_home(laptop))}
        world = Runtime(
            self.open_cluster, self.laptop_clock or api.clock, environ, argv, lambda *_: self.kubeconfig()
        )
        try:
            with self._monkeypatch.context() as patch, contextlib.redirect_stdout(out):
                patch.setattr(sys, "stdin", in_)
                with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
                    root.run(argv, world)
        finally:
            self.apis.pop()
            api.user = before
        code = ended.value.code
        assert isinstance(code, int), code
        return code

    def kubeconfig(self) -> list[Context]:
        """The contexts that a command finds, its own first: each with a cluster and a user of its own."""
        mine = self.apis[-1]
        there = {mine.where.context: mine, **self.contexts}
        return [
            Context(name, f"{name}-cluster", f"{name}-user", api.where.server) for name, api in there.items()
        ]

    def open_cluster(
        self,
        connection: Connection,
        *,
        log: Callable[[str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> Cluster:
        """Connect to the API of this command, or to the one that a context names."""
        self.connected.append(connection.context)
        api = self.contexts.get(connection.context, self.apis[-1])
        return Cluster(
            api,
            request_timeout=connection.request_timeout,
            log=log,
            on_warning=on_warning,
            sleep=self._sleep,
            clock=lambda: api.clock().timestamp(),
            jitter=lambda: 0.0,
        )

    def _sleep(self, seconds: float) -> None:
        clock = self.apis[-1].clock
        assert isinstance(clock, SteppedClock), f"this would sleep for {seconds} s: use a SteppedClock"
        clock.advance(seconds)

    def journal(self, api: InMemoryApi, laptop: str = "laptop", namespace: str = "argocd") -> Journal:
        """The journal of a laptop, to write what no command line writes, and to read it."""
        uid = api.get(NAMESPACE, "", "kube-system")["metadata"]["uid"]
        folder = self.state_home(laptop) / "kubectl-argo-rescue" / uid
        return Journal(LocalHome([folder]), ClusterHome(Cluster(api), namespace))


def lag(monkeypatch: pytest.MonkeyPatch, has_written: Callable[[], bool], times: int) -> list[int]:
    """Have Argo CD's cache not know our last write of traefik for some comparisons of root; what is left of them."""
    real, late = refresh.refresh, [times]

    def refresh_late(cluster: Cluster, key: Key, *, timeout: float) -> Any:
        root = real(cluster, key, timeout=timeout)
        if root is not None and key.name == "root" and has_written() and late[0]:
            late[0] -= 1
            for line in root["status"]["resources"]:
                if line["name"] == "traefik":
                    line["status"] = "OutOfSync"
        return root

    monkeypatch.setattr(refresh, "refresh", refresh_late)
    return late
