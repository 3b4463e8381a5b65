"""Runs whole command lines against the in-memory API, in this process.

    def test_it(run: Run) -> None:
        incident = traefik_incident()
        ran = run(incident.api, "pause", "root")
        assert (ran.code, ran.out, ran.err) == (0, "application.argoproj.io/root paused\n", …)

Everything above the transport is the real thing: `cli.run` with its error handling, the Session, the
journal's files below tmp_path. Time is the API's own clock, also for what sleeps.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kubectl_argo_rescue import cli, session
from kubectl_argo_rescue.cluster import Cluster
from kubectl_argo_rescue.journal import ClusterHome, Journal, LocalHome
from kubectl_argo_rescue.model import NAMESPACE
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


class Run:
    """Call it with an API and words: `run(api, "pause", "root")`.

    `laptop` names the machine whose local journal is used: another laptop sees the ConfigMaps
    alone. `user` is who the API server says we are. `terminal` makes stdin and stderr a terminal,
    on which `typed` is what a person types.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, homes: Path) -> None:
        self.homes = homes
        self.apis: list[InMemoryApi] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(session, "_connect", self._connect)
        defaults = session.Session.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "now", lambda: self._clock()())
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
        before = api.user
        api.user = user or before
        self.apis.append(api)
        try:
            with self._monkeypatch.context() as patch, contextlib.redirect_stdout(out):
                patch.setattr(sys, "argv", ["kubectl-argo_rescue", *argv])
                patch.setattr(sys, "stdin", in_)
                patch.setenv("XDG_STATE_HOME", str(self.state_home(laptop)))
                with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
                    cli.run(argv)
        finally:
            self.apis.pop()
            api.user = before
        code = ended.value.code
        assert isinstance(code, int), code
        return Ran(code, out.getvalue(), err.getvalue())

    def _connect(self, opened: session.Session) -> Cluster:
        clock = self._clock()
        log = opened.printer.say if opened.common.verbosity >= 6 else None
        return Cluster(
            self.apis[-1],
            request_timeout=opened.common.connection.request_timeout,
            log=log,
            on_warning=opened.printer.warn,
            sleep=self._sleep,
            clock=lambda: clock().timestamp(),
            jitter=lambda: 0.0,
        )

    def _clock(self) -> Callable[[], datetime]:
        return self.apis[-1].clock

    def _sleep(self, seconds: float) -> None:
        clock = self._clock()
        assert isinstance(clock, SteppedClock), f"this would sleep for {seconds} s: use a SteppedClock"
        clock.advance(seconds)

    def journal(self, api: InMemoryApi, laptop: str = "laptop", namespace: str = "argocd") -> Journal:
        """The journal of a laptop, to write what no command line writes, and to read it."""
        uid = api.get(NAMESPACE, "", "kube-system")["metadata"]["uid"]
        folder = self.state_home(laptop) / "kubectl-argo-rescue" / uid
        return Journal(LocalHome([folder]), ClusterHome(Cluster(api), namespace))
