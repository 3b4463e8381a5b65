"""Death at every point: before, in the middle of and after each write, fsync and request.

Each scenario (pause, unblock, pin, a whole rescue, one that writes a whole source, undo) is run once to count its points and then
once more for each, dying there: in this process by an exception that nothing catches, after which
nothing can be written any more; and a few times for real, by SIGKILL of a process. A power cut is
part of it: what was not synced is gone. Somebody else edits the same objects meanwhile.

Afterwards: no foreign edit is overwritten, the journal reads without an error, every object that
differs from its original has an intent that holds the original, undoing what is left by the rule
restores every original, and so does `undo` itself from another process.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kubectl_argo_rescue.cluster import client, parallel
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.parallel import Attempt, Done, Failed
from kubectl_argo_rescue.journal import entry
from kubectl_argo_rescue.journal.configmaps import ClusterHome
from kubectl_argo_rescue.journal.entry import Entry
from kubectl_argo_rescue.journal.journal import Journal
from kubectl_argo_rescue.journal.local import LocalHome
from kubectl_argo_rescue.journal.owed import pieces_of
from kubectl_argo_rescue.journal.records import HOLD
from kubectl_argo_rescue.model import merge, patches
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, JSON, Key, ref_of
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident
from kubectl_argo_rescue.simulation.wire import Request

from ..unit.harness import Run
from .conftest import LOST, TRIED


class Killed(BaseException):
    """The process is dead."""


class Lived(Exception):
    """The command came to its end."""


@dataclass
class Faults:
    """Counts the points of a run and dies at one of them."""

    folder: Path
    die_at: int = -1
    names: list[str] = field(default_factory=list)
    is_dead: bool = False
    synced: dict[Path, int] = field(default_factory=dict)
    """Bytes of each file that would survive a power cut; a file whose folder was not synced has none."""

    def point(self, name: str) -> bool:
        """Pass a point; True where the caller has to die there."""
        if self.is_dead:
            raise Killed
        self.names.append(name)
        self.is_dead = len(self.names) - 1 == self.die_at
        return self.is_dead

    def at(self, name: str) -> None:
        if self.point(name):
            raise Killed

    @contextmanager
    def installed(self, incident: Incident, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        write, fsync = os.write, os.fsync

        def path_of(fd: int) -> Path:
            return Path(os.readlink(f"/proc/self/fd/{fd}"))

        def writing(fd: int, data: Any) -> int:
            path = path_of(fd)
            if self.folder not in path.parents:
                return write(fd, data)
            self.synced.setdefault(path, 0 if path.stat().st_size == 0 else path.stat().st_size)
            self.at(f"before write {path.name}")
            if self.point(f"torn write {path.name}"):
                write(fd, bytes(data)[: max(1, len(data) // 2)])
                raise Killed
            count = write(fd, data)
            self.at(f"after write {path.name}")
            return count

        def syncing(fd: int) -> None:
            path = path_of(fd)
            if self.folder not in path.parents and self.folder != path:
                fsync(fd)
                return
            self.at(f"before fsync {path.name}")
            fsync(fd)
            if path.is_file():
                self.synced[path] = path.stat().st_size
            self.at(f"after fsync {path.name}")

        def before(request: Request) -> None:
            self.at(f"before {request.method} {request.path}")

        def after(request: Request, response: Any) -> None:
            self.at(f"after {request.method} {request.path}")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", writing)
            patch.setattr(os, "fsync", syncing)
            # One after the other, so that each point has a number.
            for module in (client, parallel):
                patch.setattr(module, "gather_outcomes", _in_turn)
            incident.api.before.append(before)
            incident.api.after.append(after)
            try:
                yield
            finally:
                incident.api.before.remove(before)
                incident.api.after.remove(after)

    def cut_the_power(self) -> None:
        """Take away what no fsync has made durable."""
        for path, size in self.synced.items():
            if path.exists():
                os.truncate(path, size)


def _in_turn(*thunks: Callable[[], JSON]) -> list[Attempt]:
    outcomes: list[Attempt] = []
    for thunk in thunks:
        try:
            outcomes.append(Done(thunk()))
        except Exception as error:
            outcomes.append(Failed(error))
    return outcomes


# -- the scenarios

PAUSE = ("pause", "traefik", "web", "--yes")
UNBLOCK = ("unblock", "traefik", "--yes")
PIN = ("pin", "traefik", "2.4.1", "--yes")
RESCUE = ("rescue", "traefik", "--yes", "--no-wait")
VALUES = ("rescue", "traefik", "--whole-source", "--yes", "--no-wait")
WATCHED = ("rescue", "traefik", "--yes")
UNDO = ("undo", "--yes", "--redeploy")

SCENARIOS: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
    "pause": ((), PAUSE),
    "unblock": ((), UNBLOCK),
    "pin": ((), PIN),
    "rescue": ((), RESCUE),
    "values": ((), VALUES),
    "watched": ((), WATCHED),
    "undo": ((PAUSE, UNBLOCK, PIN), UNDO),
}
"""What was done before, and the command that dies."""


def spec_of(incident: Incident) -> dict[Key, Any]:
    found = {}
    for resource in (APPLICATION, APPPROJECT):
        for obj in incident.api.objects(resource):
            found[ref_of(obj).key] = obj["spec"]
    return found


def without_self_heal(root: JSON) -> None:
    """Have an undo write the version itself: a root that heals would be left to do it, in its own time."""
    root["spec"]["syncPolicy"]["automated"]["selfHeal"] = False


class Bed:
    """The incident with somebody else at work on the same objects."""

    def __init__(self, run: Run, scenario: str) -> None:
        self.run = run
        self.incident = traefik_incident()
        api = self.incident.api
        api.idle = self.incident.argocd.tick
        api.edit(APPLICATION, "argocd", "root", without_self_heal)
        if scenario == "values":
            api.edit(APPLICATION, "argocd", "traefik", _with_values)
        if scenario == "watched":
            freeze_all(self.incident)
        self.originals = spec_of(self.incident)
        before, self.command = SCENARIOS[scenario]
        for words in before:
            assert run(api, *words).code == 0
            self.incident.clock.advance(1)
        self.folder = run.state_home() / "kubectl-argo-rescue" / self.cluster_uid()
        self.foreign = False
        api.before.append(self._somebody_else)

    def cluster_uid(self) -> str:
        from kubectl_argo_rescue.model.values import NAMESPACE

        return str(self.incident.api.get(NAMESPACE, "", "kube-system")["metadata"]["uid"])

    def _somebody_else(self, request: Request) -> None:
        """Edit beside us, just before our first patch."""
        if self.foreign or request.method != "PATCH" or "argoproj.io" not in request.path:
            return
        self.foreign = True
        api = self.incident.api
        api.edit(APPLICATION, "argocd", "traefik", lambda o: o["spec"].update(revisionHistoryLimit=7))
        api.edit(APPPROJECT, "argocd", "cluster", lambda o: o["spec"].update(description="theirs"))

    def journal(self, *, laptop: str = "laptop") -> Journal:
        folder = self.run.state_home(laptop) / "kubectl-argo-rescue" / self.cluster_uid()
        cluster = Cluster(self.incident.api, sleep=_never, clock=lambda: 0.0, jitter=lambda: 0.0)
        return Journal(LocalHome([folder]), ClusterHome(cluster, "argocd"))

    def check(self, where: str) -> None:
        """See that nothing is lost."""
        reading = self.journal().read()
        now = spec_of(self.incident)
        self._foreign_stays(now, where)
        entries = [e for e in reading.entries if e.is_open]
        held = {edit.ref.key for e in reading.entries for _, edit in e.edits() if edit.changes}
        for key, spec in now.items():
            if plain(self.wanted(key)) != plain(spec):
                assert key in held, f"{where}: {key} was changed and no intent holds its original"
        self._undone_by_the_rule(reading.entries, entries, where)

    def wanted(self, key: Key) -> Any:
        spec = copy.deepcopy(self.originals[key])
        if self.foreign and key.name == "traefik":
            spec["revisionHistoryLimit"] = 7
        if self.foreign and key.name == "cluster":
            spec["description"] = "theirs"
        return spec

    def _foreign_stays(self, now: dict[Key, Any], where: str) -> None:
        if self.foreign:
            assert now[Key("Application", "argocd", "traefik")].get("revisionHistoryLimit") == 7, where
            assert now[Key("AppProject", "argocd", "cluster")].get("description") == "theirs", where

    def _undone_by_the_rule(self, entries: tuple[Entry, ...], still_open: list[Entry], where: str) -> None:
        if any(e.begin.verb == HOLD for e in still_open):
            return  # a rule of its own: the version first, whatever stands in its place (test_holds.py)
        pieces = pieces_of(still_open)
        for key, spec in spec_of(self.incident).items():
            live = {"metadata": {"uid": ""}, "spec": spec}
            mine = [(p.tag, p.change) for p in pieces if p.ref.key == key]
            refs = {p.ref for p in pieces if p.ref.key == key}
            around = [n for r in refs for n in entry.neighbours(entries, r, [e.id for e in still_open])]
            fold = merge.fold(live, mine, neighbours=around)
            assert not fold.conflicts, f"{where}: {key} {fold.conflicts}"
            back = patches.applied(live, fold.changes)["spec"]
            assert plain(back) == plain(self.wanted(key)), f"{where}: {key} is not its original again"

    def undo_for_real(self, where: str) -> None:
        """Undo from a new process, once a claim that was left behind is old."""
        self.incident.clock.advance(16 * 60)
        ran = self.run(self.incident.api, *UNDO)
        assert ran.code == 0, f"{where}: {ran.err}"
        for key, spec in spec_of(self.incident).items():
            assert plain(spec) == plain(self.wanted(key)), f"{where}: undo left {key} changed\n{ran.err}"
        assert not [e for e in self.journal().read().entries if e.is_open], where


def _with_values(app: JSON) -> None:
    """What is deployed now has values that 2.4.1 had not: they go to a Secret."""
    app["spec"]["source"]["helm"] = {"values": "token: hunter2\n"}


def freeze_all(incident: Incident) -> None:
    """Have one window for everybody, which a rescue opens for manual syncs and closes again."""
    window = {"kind": "deny", "schedule": "0 16 * * 5", "duration": "64h", "applications": ["*"]}
    incident.api.edit(APPPROJECT, "argocd", "cluster", lambda o: o["spec"].update(syncWindows=[window]))


def _never(seconds: float) -> None:
    raise AssertionError("nothing fails here that would be tried again")


def plain(spec: Any) -> Any:
    """A spec without what Argo CD normalises away."""
    if isinstance(spec, dict):
        kept = {k: plain(v) for k, v in spec.items()}
        return {k: v for k, v in kept.items() if v not in (None, {}, [])}
    return spec


def _count(run: Run, scenario: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    bed = Bed(run, scenario)
    faults = Faults(bed.folder)
    with faults.installed(bed.incident, monkeypatch):
        ran = run(bed.incident.api, *bed.command)
    assert ran.code == 0, ran.err
    bed.check("alive")
    return faults.names


def chosen(count: int, sample: int, offset: int) -> list[int]:
    if not sample or sample >= count:
        return list(range(count))
    return sorted({(i * count // sample + offset) % count for i in range(sample)})


def torn(names: list[str]) -> list[int]:
    """Half a write is the rarest of points, and what comes after it is like no other."""
    return [i for i, name in enumerate(names) if name.startswith("torn")]


@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "watched"])
def test_death_at_every_point(
    scenario: str, power_cut: bool, run: Run, sample: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = _count(run, scenario, monkeypatch)
    lost = []
    for die_at in sorted({*chosen(len(names), sample, offset=3 if power_cut else 0), *torn(names)}):
        run.homes = tmp_path / f"homes-{die_at}"
        where = f"{scenario} dies at {die_at} ({names[die_at]})"
        bed = Bed(run, scenario)
        faults = Faults(bed.folder, die_at)
        with faults.installed(bed.incident, monkeypatch), pytest.raises(Killed):
            run(bed.incident.api, *bed.command)
        if power_cut:
            faults.cut_the_power()
        TRIED[scenario] = TRIED.get(scenario, 0) + 1
        try:
            bed.check(where)
            bed.undo_for_real(where)
        except AssertionError as error:
            LOST.append(where)
            lost.append(str(error))
    assert not lost, "\n".join(lost)


class FromTheClosing(Faults):
    """Counts from where a rescue closes the window again: how long it waits before differs."""

    patches = 0

    def point(self, name: str) -> bool:
        if self.is_dead:
            raise Killed
        self.patches += name.endswith(
            "PATCH /apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects/cluster"
        )
        return self.patches > 2 and super().point(name)


def test_death_around_the_closing_of_a_window_that_others_share(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for die_at in range(-1, 14):
        run.homes = tmp_path / f"homes-{die_at}"
        bed = Bed(run, "watched")
        faults = FromTheClosing(bed.folder, die_at)
        with faults.installed(bed.incident, monkeypatch), pytest.raises(Killed if die_at >= 0 else Lived):
            run(bed.incident.api, *bed.command)
            raise Lived
        where = f"watched dies at {die_at} ({faults.names[die_at]})"
        TRIED["watched"] = TRIED.get("watched", 0) + 1
        bed.check(where)
        bed.undo_for_real(where)


@pytest.mark.parametrize("scenario", ["pause", "unblock", "rescue", "values", "undo"])
def test_a_colleague_can_undo_it_after_a_kill(
    scenario: str, run: Run, sample: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = _count(run, scenario, monkeypatch)
    patching = [i for i, name in enumerate(names) if "PATCH /apis/argoproj.io" in name]
    for die_at in [patching[i] for i in chosen(len(patching), sample and 4, 1)]:
        run.homes = tmp_path / f"homes-{die_at}"
        bed = Bed(run, scenario)
        faults = Faults(bed.folder, die_at)
        with faults.installed(bed.incident, monkeypatch), pytest.raises(Killed):
            run(bed.incident.api, *bed.command)
        TRIED["colleague"] = TRIED.get("colleague", 0) + 1
        bed.incident.clock.advance(16 * 60)
        ran = run(bed.incident.api, *UNDO, laptop="another")
        assert ran.code == 0, ran.err
        for key, spec in spec_of(bed.incident).items():
            assert plain(spec) == plain(bed.wanted(key)), f"{names[die_at]}: {key}\n{ran.err}"


# -- for real

CHILD = textwrap.dedent(
    """
    import base64, json, os, sys, threading
    from datetime import datetime
    from kubectl_argo_rescue.cli import root
    from kubectl_argo_rescue.cluster.client import Cluster
    from kubectl_argo_rescue.cluster.connect import Runtime
    from kubectl_argo_rescue.cluster.transport import Response, Target
    from kubectl_argo_rescue.model.errors import TransportError

    ask, answers = os.fdopen(int(sys.argv[1]), "w"), os.fdopen(int(sys.argv[2]))
    lock = threading.Lock()

    class Pipe:
        def request(self, method, path, query=(), headers=None, body=None, timeout=None):
            with lock:
                text = base64.b64encode(body).decode() if body is not None else None
                print(json.dumps([method, path, list(query), dict(headers or {}), text]), file=ask, flush=True)
                status, headers, body = json.loads(answers.readline())
            return Response(status, headers, base64.b64decode(body))

        def stream(self, *args, **more):
            raise TransportError("no watches here", sent=False, lasting=True)

        def target(self):
            return Target("pipe", "https://pipe.invalid", "")

        def close(self):
            pass

    now = datetime.fromisoformat(sys.argv[3])  # else the windows would be those of today
    root.run(sys.argv[4:], Runtime(lambda connection, **talk: Cluster(Pipe()), lambda: now))
    """
)


def _die_for_real(bed: Bed, kill_at: int, *, answered: bool) -> int:
    """Run the command in a process and SIGKILL it at one of its requests; returns how many it made."""
    ask_read, ask_write = os.pipe()
    answer_read, answer_write = os.pipe()
    environ = {**os.environ, "XDG_STATE_HOME": str(bed.run.state_home())}
    now = bed.incident.clock().isoformat()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(ask_write), str(answer_read), now, *bed.command],
        pass_fds=(ask_write, answer_read),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ask_write)
    os.close(answer_read)
    count = 0
    with os.fdopen(ask_read) as asked, os.fdopen(answer_write, "w") as answers:
        for line in asked:
            method, path, query, headers, body = json.loads(line)
            if count == kill_at and not answered:
                child.kill()
                break
            data = base64.b64decode(body) if body is not None else None
            response = bed.incident.api.request(method, path, [tuple(q) for q in query], headers, data)
            if count == kill_at:
                child.kill()
                break
            count += 1
            reply = [response.status, dict(response.headers), base64.b64encode(response.body).decode()]
            print(json.dumps(reply), file=answers, flush=True)
        child.wait(timeout=60)
    return count


@pytest.mark.parametrize("answered", [False, True], ids=["before it lands", "after it landed"])
@pytest.mark.parametrize("scenario", ["pause", "unblock"])
def test_sigkill(scenario: str, answered: bool, run: Run, sample: int, tmp_path: Path) -> None:
    total = _die_for_real(Bed(run, scenario), -1, answered=False)
    assert total > 3, "the process did not even begin"
    for kill_at in chosen(total, sample and 3, 1 if answered else total - 3):
        run.homes = tmp_path / f"homes-{kill_at}"
        bed = Bed(run, scenario)
        assert _die_for_real(bed, kill_at, answered=answered) == kill_at
        where = f"{scenario} killed at request {kill_at}"
        TRIED["kill -9"] = TRIED.get("kill -9", 0) + 1
        try:
            bed.check(where)
            bed.undo_for_real(where)
        except AssertionError:
            LOST.append(where)
            raise
