"""Starts programs, waits for conditions, and ends every program however its owner ends.

A reaper (this file run as a script) reads the process groups of one folder from a pipe. The kernel
closes that pipe when the owner dies, be it by kill -9: then the reaper kills the groups and removes
the folder. It needs no Linux-only call, does not depend on the thread that started a program, and
takes the grandchildren along, all of which PR_SET_PDEATHSIG would not.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")

KEEP = "ARGO_RESCUE_TESTBED_KEEP"
"""Environment variable: set, the folders with all logs stay behind."""

_PORTS = range(12000, 30000)
"""Below every system's ephemeral range, so no outgoing connection takes a port between two starts."""

_ANNOUNCE_AND_EXEC = 'echo "+$$"; log=$1; shift; exec "$@" >>"$log" 2>&1'


class TestbedError(Exception):
    """The bed cannot do what was asked; the text says why, with the end of the log."""

    __test__ = False  # pytest collects what is called Test...


class TimedOut(TestbedError):
    """A condition did not come true in time."""


class Died(TestbedError):
    """A program that should run has ended."""


def tail(log: Path, lines: int = 25) -> str:
    """Return the end of a log for an error message."""
    if not log.exists():
        return f"(no {log.name})"
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return f"--- end of {log.name} ---\n" + "\n".join(line[:400] for line in text)


def until(
    condition: Callable[[], T | None],
    timeout: float,
    what: str,
    *,
    ignoring: tuple[type[Exception], ...] = (),
    explain: Callable[[], str] = str,
) -> T:
    """Return the first true value of `condition`.

    Exceptions named in `ignoring` mean "not yet"; `explain` adds to the message of a timeout.
    """
    end = time.monotonic() + timeout
    pause, last = 0.02, ""
    while True:
        try:
            if value := condition():
                return value
            last = f"last value: {value!r:.300}"
        except ignoring as error:
            last = f"last error: {error!s:.300}"
        if time.monotonic() > end:
            raise TimedOut(f"not within {timeout:g} s: {what}; {last}\n{explain()}".rstrip())
        time.sleep(pause)
        pause = min(pause * 1.3, 0.25)


class Ports:
    """Free ports that no other bed on this machine takes, for as long as this object lives."""

    def __init__(self) -> None:
        self._locks: list[IO[bytes]] = []
        self._folder = Path(tempfile.gettempdir()) / f"argo-rescue-testbed-ports-{os.getuid()}"
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def take(self) -> int:
        """Reserve one port."""
        for port in random.sample(_PORTS, len(_PORTS)):
            lock = open(self._folder / str(port), "wb")  # held until close()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                lock.close()
                continue
            self._locks.append(lock)
            return port
        raise TestbedError(f"no free port in {_PORTS}")

    def close(self) -> None:
        """Give all ports back."""
        while self._locks:
            self._locks.pop().close()


class Process:
    """One started program with its log."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.popen, self.log = name, popen, log

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""
        return self.popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """End its whole group at once: nothing it holds is worth a drain of a minute."""
        _kill_group(self.pid)
        self.popen.wait()


class Processes:
    """The programs of one bed in one temporary folder, ended together."""

    def __init__(self, prefix: str = "argo-rescue-testbed-") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self.ports = Ports()
        self._running: dict[str, Process] = {}
        reader, self._pipe = os.pipe()
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(self.folder)],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal must not reach it
            cwd="/",
        )
        os.close(reader)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.folder / "logs" / f"{name}.log"

    def start(
        self,
        name: str,
        *command: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start a program in a group of its own, with its output in a log."""
        if name in self._running:
            raise TestbedError(f"{name} runs already")
        log = self.log(name)
        log.parent.mkdir(exist_ok=True)
        # The child announces itself to the reaper before it becomes the program, so not even a
        # kill -9 of this process in between leaves it behind.
        popen = subprocess.Popen(
            ["/bin/sh", "-c", _ANNOUNCE_AND_EXEC, name, str(log), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=self._pipe,
            env=None if env is None else dict(env),
            cwd=cwd or self.folder,
            start_new_session=True,
        )
        process = self._running[name] = Process(name, popen, log)
        return process

    def stop(self, *names: str) -> None:
        """End these programs; one that does not run is no error."""
        for name in names:
            if process := self._running.pop(name, None):
                process.kill()
                os.write(self._pipe, b"-%d\n" % process.pid)

    def running(self) -> Mapping[str, Process]:
        """All that was started and not stopped, by name."""
        return dict(self._running)

    def check(self) -> None:
        """Raise if a program ended that nobody stopped."""
        for process in list(self._running.values()):
            if not process.is_running:
                code = process.popen.returncode
                raise Died(f"{process.name} ended with {code}\n{tail(process.log)}")

    def until(
        self,
        condition: Callable[[], T | None],
        timeout: float,
        what: str,
        *,
        ignoring: tuple[type[Exception], ...] = (),
        logs: Sequence[str] = (),
    ) -> T:
        """Wait as `until` does; a program's death ends the wait, a timeout shows the `logs` named."""

        def checked() -> T | None:
            self.check()
            return condition()

        return until(
            checked,
            timeout,
            what,
            ignoring=ignoring,
            explain=lambda: "\n".join(tail(self.log(name)) for name in logs),
        )

    def close(self) -> None:
        """End every program, the last started first, and remove the folder."""
        for process in reversed(self._running.values()):
            _kill_group(process.pid)
        self.stop(*self._running)
        if self._pipe >= 0:
            os.close(self._pipe)  # the reaper removes the folder
            self._pipe = -1
            self._reaper.wait()
        self.ports.close()
        if os.environ.get(KEEP):
            print(f"kept: {self.folder}", file=sys.stderr)


def _reap(folder: str) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    # The dead stay visible until the system collects them, which may take seconds: wait a moment for
    # their last writes, no longer.
    for _ in range(6):
        groups = {group for group in groups if _kill_group(group)}
        if not groups:
            break
        time.sleep(0.05)
    if os.environ.get(KEEP):
        return
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            break
        time.sleep(0.05)


def _kill_group(group: int) -> bool:
    """Send SIGKILL; whether anything was there to get it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    _reap(sys.argv[1])
