"""Every command that a message proposes can be followed blindly, in the state in which it is proposed.

In each scene each line is typed; whatever its output proposes is typed next, with a yes where one is asked for,
and what that proposes after it. So is "merge the change in git": git then asks for what runs, and undo follows.

- No workload comes to the broken version by it, at once or later.
- It is a command that works: no usage error, no conflict, nothing unexpected.
- Once git is mended and all is undone, each object is as git has it.
Left out: `--redeploy`, which is proposed together with what it does.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from pathlib import Path

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, DEPLOYMENT, JSON
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, root_application

from ...conftest import SIZE
from ...hints import MENDED, READS, proposed
from ..harness import Ran, Run
from ..scenes import Scene, played

LINES = (
    "status traefik",
    "status",
    "rescue traefik --yes",
    "rescue traefik --yes --no-wait",
    "rescue traefik --pause-only --yes",
    "rescue traefik --workloads --yes",
    "rollback traefik --yes",
    "pin traefik 2.4.1",
    "pin traefik 2.4.1 --yes",
    "unblock traefik --yes",
    "pause root --yes",
    "sync traefik --yes",
    "terminate traefik --yes",
    "watch traefik --timeout 20s",
    "undo",
    "undo --yes",
    "undo --when-safe --timeout 20s --yes",
    "report",
    "windows traefik",
)
SCENES = ("incident", "rescued", "reported", "fixed", "stuck", "free", "set")
WHOLE = ("incident", "rescued", "reported", "fixed")
"""Scenes in which all that differs from git is undone by undo."""

IS_FULL = SIZE == "full"
CHOSEN = LINES if IS_FULL else ("rescue traefik --yes --no-wait", "undo --yes")

NAMES = ("traefik", "web", "root", "shops", "shop-prod", "shop-test", "argocd/traefik")
WAITS = ("watch", "rescue", "terminate", "undo", "rollback", "pin", "sync")
EXPECTED = {0, 4, 5, 6}


class World:
    """A scene, and the lines that were typed in it."""

    def __init__(self, name: str, run: Run, homes: Path) -> None:
        run.homes = homes
        self.run, self.name = run, name
        self.scene: Scene = played(name, run)
        self.incident = self.scene.incident
        self.seen = self.images()
        self.broken: list[str] = []
        self.incident.api.idle = lambda: self.time(0.5)

    def images(self) -> dict[str, str]:
        return {
            d["metadata"]["name"]: d["spec"]["template"]["spec"]["containers"][0]["image"]
            for d in self.incident.api.objects(DEPLOYMENT)
            if d["metadata"]["namespace"] != "argocd"
        }

    def look(self, line: str = "") -> None:
        now = self.images()
        for name, image in now.items():
            if image in self.incident.argocd.workloads.broken_images and self.seen.get(name) != image:
                self.broken.append(f"{image} is deployed {line}")
        self.seen = now

    def time(self, seconds: float) -> None:
        every = max(0.5, seconds / 100)
        for _ in range(round(seconds / every)):
            self.incident.argocd.tick(every)
            self.look()

    def mend(self) -> None:
        """Have git ask for what runs; what is broken is mended by the version before."""
        version = self.images()["traefik"].partition(":")[2]
        self.incident.push(GOOD if version == BAD else version)
        self.time(1)

    def type(self, line: str) -> Ran:
        """Type a line as somebody who says yes to everything and waits a minute at most."""
        if line == MENDED:
            self.mend()
            line = "undo --yes"
        words = shlex.split(line)
        if words[0] in WAITS and "--timeout" not in line:
            words += ["--timeout", "60s"]
        if words[0] not in READS and "--dry-run" not in words and "--yes" not in words:
            words.append("--yes")
        ran = self.run(self.incident.api, *words)
        self.look(line)
        return ran

    def undone(self) -> str:
        """Mend git, undo all; empty, or what is not as git has it."""
        self.time(60)
        self.mend()
        self.time(130)  # an owner that is on has looked at git by then
        ran = self.type("undo --yes")
        self.time(60)
        if ran.code == 5 and self.images()["traefik"] == f"traefik:{BAD}":
            ran = self.type("undo --yes --redeploy")
            self.time(60)
        if ran.code:
            return f"undo ends with {ran.code}: {ran.err}"
        mine = {obj["metadata"]["name"]: obj for obj in self.incident.apps(self._in_git())}
        mine["root"] = root_application()
        for name, obj in mine.items():
            kind = APPPROJECT if obj["kind"] == "AppProject" else APPLICATION
            live = self.incident.api.get(kind, "argocd", name)["spec"]
            if _plain(live) != _plain(obj["spec"]):
                return f"{name} is {live}"
        return ""

    def _in_git(self) -> str:
        head = self.incident.git.branches["main"]
        apps = self.incident.git.manifests(head, "apps")
        assert not callable(apps)
        return str(apps[1]["spec"]["source"]["targetRevision"])


def _plain(value: JSON) -> JSON:
    """A value without what Argo CD normalises away."""
    if isinstance(value, dict):
        kept = {k: _plain(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, {}, [])}
    return value


@pytest.mark.parametrize("scene", SCENES if IS_FULL else ("incident", "rescued", "fixed"))
@pytest.mark.parametrize("line", CHOSEN)
def test_what_is_proposed_can_be_followed(
    scene: str, line: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = itertools.count()

    def world(*lines: str) -> tuple[World, Ran]:
        ids = itertools.count(0xABC000)  # the same in each replay
        monkeypatch.setattr(os, "urandom", lambda size: next(ids).to_bytes(size, "big"))
        made = World(scene, run, tmp_path / f"homes-{next(number)}")
        ran = [made.type(one) for one in lines]
        return made, ran[-1]

    _, ran = world(line)
    waiting: list[tuple[str, ...]] = [(line, hint) for hint in proposed(ran.out + ran.err, NAMES)]
    followed: set[str] = set()
    wrong: list[str] = []
    while waiting:
        *before, hint = waiting.pop(0)
        shape = re.sub(r"\b[0-9a-f]{6}\b", "ID", hint)
        if shape in followed:
            continue
        followed.add(shape)
        made, _ = world(*before)
        made.time(1)
        made.broken.clear()
        ran = made.type(hint)
        if len(before) == 1:
            waiting += [(*before, hint, more) for more in proposed(ran.out + ran.err, NAMES)]
        made.time(300)
        wrong += [f"{' · '.join([*before, hint])}: {why}" for why in made.broken]
        if ran.code not in EXPECTED and not (ran.code == 1 and hint.startswith("watch")):  # it saw it fail
            wrong.append(f"{' · '.join([*before, hint])} → {ran.code}: {ran.err}")
        if scene in WHOLE and (lost := made.undone()):
            wrong.append(f"{' · '.join([*before, hint])}, then mended and undone: {lost}")
    assert not wrong, "\n".join(wrong)
