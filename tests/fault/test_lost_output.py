"""Output does not steer writes: real processes with a pipe that is closed, a full disk, a lost terminal.

Aspects: a stdout or stderr that cannot be written stops no write, and windows that others share are closed
again; the exit code is that of the work where the reader went away, an error where output was lost; the
outcome is said on stderr; a hangup is an end like ^C at every write of a rescue, and `undo` puts back what
the journal says; nohup is kept; `watch` ends with its reader; a terminal that lacks characters gets others.
Left out: which windows are shared (test_rescue); death without a word (tests/fault).
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHILD = """
import contextlib, io, json, os, signal, sys
from pathlib import Path

from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.connect import Runtime
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT
from kubectl_argo_rescue.simulation.incident import apps_in_git, traefik_incident

told, when, at, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
window = {"kind": "deny", "schedule": "0 16 * * 5", "duration": "64h", "applications": ["*"]}

def apps(version, **changes):
    project, *rest = apps_in_git(version, **changes)
    project["spec"]["syncWindows"] = [window]
    return [project, *rest]

incident = traefik_incident(apps=apps)
api = incident.api
# A root that heals would be left to write the version, in its own time.
api.edit(APPLICATION, "argocd", "root", lambda o: o["spec"]["syncPolicy"]["automated"].update(selfHeal=False))
api.idle = lambda: incident.argocd.tick(0.5)
asked = []

def hang_up(request, response=None):
    if request.method != "PATCH" or "argoproj.io" not in request.path:
        return response
    asked.append(request.path)
    if len(asked) - 1 == at:
        os.kill(os.getpid(), signal.SIGHUP)
    return response

if when in ("before", "after"):
    getattr(api, when).append(hang_up)

def opened(connection, **talk):
    return Cluster(api, clock=lambda: api.clock().timestamp(), sleep=api.clock.advance, jitter=lambda: 0.0, **talk)

def spec():
    objects = [*api.objects(APPLICATION), *api.objects(APPPROJECT)]
    return {o["metadata"]["name"]: o["spec"] for o in objects}

def run(words):
    try:
        root.run(words, Runtime(opened, api.clock, os.environ, words))
    except SystemExit as e:
        return e.code

facts = {"original": spec()}
code = run(after)
facts |= {"asked": list(asked), "specs": spec()}
api.before.clear(), api.after.clear()
for words in (["log", "-o", "json"], ["undo", "--yes", "--redeploy"]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        facts[words[0] + " code"] = run(words)
    facts[words[0]] = out.getvalue()
facts["undone"] = spec()
told.write_text(json.dumps(facts))
sys.exit(code)
"""

RESCUE = ("rescue", "traefik", "--yes")


class Told(NamedTuple):
    """What a process came to: its code, what arrived on stderr, and what it did to the cluster."""

    code: int
    err: str
    facts: dict[str, Any]

    @property
    def window(self) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["specs"]["cluster"]["syncWindows"][0]
        return found


def closed_pipe() -> int:
    """Open what `| head` leaves behind."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def lost_terminal() -> int:
    """Open a terminal whose other side is gone."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


LOST = {"closed pipe": closed_pipe, "full disk": full_disk, "lost terminal": lost_terminal}


def process(
    folder: Path,
    *words: str,
    out: int = subprocess.DEVNULL,
    err: int = subprocess.PIPE,
    when: str = "",
    at: int = -1,
    shell: str = "",
    **environ: str,
) -> Told:
    """Run a command line in a process of its own, hung up at a write where one is named."""
    told = folder / "told.json"
    environment = {"XDG_STATE_HOME": str(folder / "state"), "TERM": "dumb", **environ}
    command = [sys.executable, "-c", CHILD, str(told), when, str(at), *words]
    if shell:
        command = ["/bin/sh", "-c", shell, "sh", *command]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        timeout=60,
        # Where the tests themselves run under nohup it is ignored, and would be in the child.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    for fd in {out, err} - {subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT}:
        os.close(fd)
    said = (done.stderr or b"").decode()
    assert told.exists(), said
    return Told(done.returncode, said, json.loads(told.read_text()))


def is_rescued(told: Told) -> bool:
    pinned: bool = told.facts["specs"]["traefik"]["source"]["targetRevision"] == "2.4.1"
    return pinned and "manualSync" not in told.window


@pytest.mark.parametrize(
    ("lost", "form"),
    [*[(lost, "human") for lost in LOST], *[("closed pipe", form) for form in ("name", "json", "yaml")]],
)
def test_a_stdout_that_is_lost_stops_no_write(lost: str, form: str, tmp_path: Path) -> None:
    told = process(tmp_path, *RESCUE, "-o", form, out=LOST[lost]())
    assert is_rescued(told), told.err
    assert told.code == (0 if lost == "closed pipe" else 1), told.err
    assert "stdout cannot be written" in told.err and "Exception" not in told.err
    if form in ("human", "name"):
        assert "application.argoproj.io/traefik pinned\n" in told.err
    else:
        assert f"-o {form}\n" in told.err


@pytest.mark.parametrize("lost", LOST)
def test_nor_does_a_stderr(lost: str, tmp_path: Path) -> None:
    told = process(tmp_path, *RESCUE, out=LOST[lost](), err=LOST[lost]())
    assert is_rescued(told)
    assert told.code == (0 if lost == "closed pipe" else 1)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_nor_does_one_that_was_never_open(closed: str, tmp_path: Path) -> None:
    told = process(tmp_path, *RESCUE, shell=f'exec "$@" {closed}')
    assert is_rescued(told) and told.code == 0, told.err


def test_reading_ends_in_silence_with_its_reader(tmp_path: Path) -> None:
    told = process(tmp_path, "status", "traefik", out=closed_pipe())
    assert told.code == 0 and "stdout" not in told.err
    assert told.facts["specs"] == told.facts["original"]


def test_watch_ends_with_its_reader(tmp_path: Path) -> None:
    told = process(tmp_path, "watch", "traefik", out=closed_pipe())
    assert told.code == 1
    assert "nobody reads stdout any more" in told.err


def check_hung_up(told: Told) -> None:
    """See that what was written is known, that nobody's window is open unsaid, and that undo puts it back."""
    assert told.code == 130, told.err
    (entry,) = json.loads(told.facts["log"])["data"]["entries"] or [None]
    changed = [name for name, spec in told.facts["specs"].items() if spec != told.facts["original"][name]]
    if entry is None:
        assert not changed
        return
    assert entry["state"] in ("open", "in-doubt", "partly-undone") or not changed
    assert "manualSync" not in told.window or "stays open for manual syncs" in told.err, told.err
    assert told.facts["undo code"] == 0, told.facts["undo"]
    assert told.facts["undone"] == told.facts["original"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hangup_is_an_end_like_an_interrupt(when: str, tmp_path: Path) -> None:
    whole = process(tmp_path, *RESCUE, when=when)
    assert whole.code == 0 and is_rescued(whole), whole.err
    wrote = range(len(whole.facts["asked"]) - (when == "after"))  # the last has a test of its own
    assert len(wrote) >= 4, whole.facts["asked"]
    for at in wrote:
        folder = tmp_path / str(at)
        told = process(folder_made(folder), *RESCUE, when=when, at=at)
        try:
            check_hung_up(told)
        except AssertionError as e:
            raise AssertionError(f"hung up {when} {whole.facts['asked'][at]} ({at}): {e}") from e


def test_a_hangup_when_the_closing_of_the_window_has_landed(tmp_path: Path) -> None:
    check_hung_up(process(tmp_path, *RESCUE, when="after", at=4))


def folder_made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_hangup_that_takes_the_terminal_along(tmp_path: Path) -> None:
    """The kernel ends the terminal as well: nothing can be said, and all is put in order."""
    told = process(tmp_path, *RESCUE, out=lost_terminal(), err=lost_terminal(), when="after", at=2)
    assert told.code == 130
    assert "manualSync" not in told.window
    assert json.loads(told.facts["log"])["data"]["entries"]


def test_nohup_is_kept(tmp_path: Path) -> None:
    told = process(tmp_path, *RESCUE, when="after", at=1, shell='trap "" HUP; exec "$@"')
    assert told.code == 0 and is_rescued(told), told.err


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437", "utf-8"])
@pytest.mark.parametrize(
    "words", [("status", "traefik"), ("status", "traefik", "-o", "json"), ("log",)], ids=" ".join
)
def test_a_terminal_that_lacks_characters(encoding: str, words: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = process(
        tmp_path,
        *words,
        out=os.open(out, os.O_WRONLY | os.O_CREAT),
        PYTHONIOENCODING=encoding,
        PYTHONUTF8="0",
    )
    text = out.read_bytes().decode(encoding)
    assert told.code == 0, told.err
    if words[-1] == "json":
        assert json.loads(text)["verb"] == "status"
    elif words[0] == "status":
        assert ("\n  ✗ " if encoding == "utf-8" else "\n  x ") in text
        assert "?" not in text
