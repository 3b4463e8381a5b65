"""Leaves a person in front of the running incident: `python -m tests.testbed up|status|down`.

`up` starts a keeper in the background, which owns the bed; its state file says where. `down` ends the
keeper, and with it, however it ends, everything it started.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from . import programs
from .argocd import running
from .incident import APP, BROKEN, GOOD, ROOT, TARGET, Incident
from .plugin import plugin_folder
from .processes import TestbedError, TimedOut, tail, until

_CHECKOUT = Path(__file__).resolve().parents[2]

_STORY = f"""\
It is Friday. Application {APP} went from {GOOD} to {BROKEN} and crashes; a change freeze is in force.
In this shell:

    export KUBECONFIG={{kubeconfig}}
    export PATH={{path}}:$PATH

Look at it:

    kubectl -n {{namespace}} get applications
    kubectl -n {TARGET} get deployment,replicaset,pod
    kubectl argo-rescue status {APP}

Rescue it, step by step (or all at once: kubectl argo-rescue rescue {APP}):

    kubectl argo-rescue pause {ROOT}
    kubectl argo-rescue unblock {APP}
    kubectl argo-rescue pin {APP} {GOOD}
    kubectl argo-rescue watch {APP}

git, as Argo CD reads it, is {{git}}: set targetRevision
in apps/traefik.yaml and commit. Then put everything back:

    kubectl argo-rescue log
    kubectl argo-rescue undo

Logs of all parts are in {{logs}}.
End it with: make cluster-down
"""


def _state_file() -> Path:
    return programs.cache_folder() / "cluster.json"


def _lock() -> IO[str] | None:
    """Take the keeper's lock; None where a keeper holds it. A lock cannot go stale as a pid can."""
    path = _state_file().with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _state() -> dict[str, str] | None:
    """Return what the running keeper wrote, or None where none runs or it is not that far."""
    if lock := _lock():
        lock.close()
        return None
    try:
        state: dict[str, str] = json.loads(_state_file().read_text())
    except FileNotFoundError:
        return None
    return state


def _write_state(state: dict[str, str]) -> None:
    new = _state_file().with_suffix(".new")
    new.write_text(json.dumps(state, indent=1))
    os.replace(new, _state_file())


def up(version: str) -> int:
    """Start the keeper and wait until the incident has happened."""
    if state := _state():
        print("It runs already.\n", file=sys.stderr)
        print(state["story"])
        return 0
    programs.build_all([version])  # here, where the progress is seen
    folder = Path(tempfile.mkdtemp(prefix="argo-rescue-keeper-"))
    log = folder / "keeper.log"
    with open(log, "wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.testbed", "keep", "--argo", version],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=_CHECKOUT,
            start_new_session=True,  # it outlives this shell, and its Ctrl-C
        )

    def ready() -> dict[str, str] | None:
        if keeper.poll() is not None:
            raise TestbedError(f"the bed ended with {keeper.returncode}\n{tail(log, 60)}")
        return _state()

    try:
        until(ready, 180, "the incident has happened", explain=lambda: tail(log))
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise
    log.unlink()
    folder.rmdir()
    return status()


class _ToldToEnd(Exception):
    """A signal asked the keeper to end."""


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into an end of this block that closes everything."""

    def end(*_signal: object) -> None:
        raise _ToldToEnd

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    with contextlib.suppress(_ToldToEnd):
        yield


def keep(version: str) -> int:
    """Own the bed until told to end."""
    # Whoever asks whether a keeper runs holds the lock for a moment, so one failure says nothing.
    lock = until(_lock, 5, "no other one runs or is being started")
    with lock, _ended_by_signal(), running(version) as argocd:
        incident = Incident(argocd)
        incident.happen()
        story = _STORY.format(
            kubeconfig=argocd.kubeconfig(),
            path=f"{argocd.control_plane.bin}{os.pathsep}{plugin_folder()}",
            namespace=argocd.namespace,
            git=argocd.repository.folder,
            logs=argocd.processes.folder / "logs",
        )
        _write_state({"pid": str(os.getpid()), "folder": str(argocd.processes.folder), "story": story})
        try:
            _wait_for_signal()
        finally:
            _state_file().unlink(missing_ok=True)
    return 0


def _wait_for_signal() -> None:
    while True:
        signal.pause()


def down() -> int:
    """End the keeper and wait until nothing of the bed is left."""
    if not (state := _state()):
        print("Nothing runs.", file=sys.stderr)
        return 0
    pid, folder = int(state["pid"]), Path(state["folder"])
    os.kill(pid, signal.SIGTERM)
    until(lambda: _state() is None and not folder.exists(), 30, f"the bed of process {pid} has ended")
    print("Ended.", file=sys.stderr)
    return 0


def status() -> int:
    """Say whether a bed runs, and how to reach it."""
    if state := _state():
        print(state["story"])
        return 0
    print("Nothing runs. Start it with: make cluster", file=sys.stderr)
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a failure says its reason in words."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed")
    parser.add_argument("command", choices=("up", "status", "down", "keep"))
    parser.add_argument("--argo", choices=tuple(programs.ARGO), default="3.6", help="release line of Argo CD")
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            return up(options.argo)
        if options.command == "keep":
            return keep(options.argo)
        return down() if options.command == "down" else status()
    except (TestbedError, TimedOut, programs.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
