"""Two people, git and time, in any order: no second outage and no lost original.

Each seed is one story in the incident: rescues, pins, rollbacks, pauses, workloads taken back, undos (plain and
`--when-safe`, never `--redeploy`), pushes to git, a Sync pressed in the UI, also in the middle of an undo, and
time that passes. Every state of the Deployment is looked at.

- The broken version is deployed only where somebody asked for it: a push that nobody holds off, a pressed Sync of
  an Application that asks for it, a window opened before it. Never by an undo, nor later because of one.
- Where git is mended in the end and everything is undone, each object is as git has it, and the log is empty.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import windows
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, DEPLOYMENT, JSON
from kubectl_argo_rescue.simulation.incident import (
    BAD,
    GOOD,
    Incident,
    apps_in_git,
    deployment,
    root_application,
    traefik_chart,
)
from kubectl_argo_rescue.simulation.wire import Request

from ...conftest import SIZE
from ..build import app_in
from ..harness import Run
from ..played import traefik_incident

OTHERS = ("2.4.0", "2.6.0")
"""Versions that work as well."""

PEOPLE = (("alice", "laptop"), ("bob", "another"))
VERSIONS = ((3, 0), (3, 2), (3, 6))
SEEDS = 600 if SIZE == "full" else 8
STEPS = 7


def plain(value: JSON) -> JSON:
    """A value without what Argo CD normalises away."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if plain(v) not in (None, {}, [])}
    return value


class Story:
    """One sequence, the world it is played in, and what went wrong."""

    def __init__(self, seed: int, run: Run) -> None:
        self.random = random.Random(seed)
        self.run = run
        self.told: list[str] = [f"seed {seed}"]
        self.wrong: list[str] = []
        self.version = self.random.choice(VERSIONS)
        self.git_says = BAD
        self.excuse = ""
        """Why the broken version may be deployed now."""
        self.incident = self._begin()
        self.seen = self.image()

    def _begin(self) -> Incident:
        incident = traefik_incident(version=self.version)
        for version in OTHERS:
            incident.charts.publish("traefik", version, traefik_chart(version))
        incident.charts.publish("web", "1.0.1", [deployment("web", "web:1.0.1")])
        if self.random.random() < 0.5:
            incident.git.commit({"apps": self.in_git(BAD, frozen=False)})
            incident.argocd.run(130, every=5)
        self.frozen = bool(incident.api.get(APPPROJECT, "argocd", "cluster")["spec"].get("syncWindows"))
        incident.argocd.run(2)
        incident.api.idle = lambda: self.time(0.5)
        return incident

    def in_git(self, version: str, *, frozen: bool) -> list[JSON]:
        found = apps_in_git(version)
        if not frozen:
            del found[0]["spec"]["syncWindows"]
        return found

    # -- what is looked at

    def image(self) -> str:
        live = self.incident.api.get(DEPLOYMENT, "traefik", "traefik")
        return str(live["spec"]["template"]["spec"]["containers"][0]["image"]).partition(":")[2]

    def look(self) -> None:
        now = self.image()
        if now == BAD != self.seen and not self.excuse:
            self.wrong.append(f"{BAD} is deployed after: {self.told[-1]}")
        self.seen = now

    def time(self, seconds: float) -> None:
        every = max(0.5, seconds / 100)
        for _ in range(round(seconds / every)):
            self.incident.argocd.tick(every)
            self.look()

    def app(self, name: str = "traefik") -> JSON:
        return app_in(self.incident, name)

    def asks_for(self) -> str:
        return str(self.app()["spec"]["source"]["targetRevision"])

    def is_on(self, name: str) -> bool:
        block = (self.app(name)["spec"].get("syncPolicy") or {}).get("automated")
        return block is not None and block.get("enabled", True) is not False

    # -- what is done

    def say(self, text: str) -> None:
        self.told.append(f"{self.incident.clock():%a %H:%M:%S} {text}")

    def types(self, *words: str, person: int | None = None) -> int:
        who, laptop = PEOPLE[self.random.randrange(2) if person is None else person]
        self.say(f"{who}: {' '.join(words)}")
        ran = self.run(self.incident.api, *words, user=who, laptop=laptop)
        self.look()
        self.told[-1] += f" → {ran.code}"
        for line in ran.err.splitlines():
            if "nternal error" in line or "Traceback" in line:
                self.wrong.append(f"{self.told[-1]}: {ran.err}")
        self.last = ran
        return ran.code

    def push(self, version: str) -> None:
        self.say(f"git: {version}")
        self.git_says = version
        self.incident.git.commit({"apps": self.in_git(version, frozen=self.frozen)})
        if version != BAD:
            self.excuse = ""
        elif self.is_on("root"):
            self.excuse = "pushed"

    def press(self) -> None:
        """Press Sync in the UI: argocd-server asks the windows, and keeps the source of the moment."""
        app = self.app()
        project = self.incident.api.get(APPPROJECT, "argocd", app["spec"]["project"])
        found = windows.judge_sync(
            windows.effective_windows(project, [project], self.incident.argocd.installation()),
            app,
            self.incident.clock(),
            manual=True,
            start=None,
        )
        if app.get("operation") is not None or not found.can_sync:
            self.say("UI: Sync is refused")
            return
        if self.before_undo in ("", BAD) and self.asks_for() == BAD:
            self.excuse = "pressed"
        self.say(f"UI: Sync of {self.asks_for()}")
        source = app["spec"]["source"]

        def order(live: Any) -> None:
            live["operation"] = {"initiatedBy": {"username": "carol"}, "sync": {"source": source}}
            live["status"].pop("operationState", None)

        self.incident.api.edit(APPLICATION, "argocd", "traefik", order)

    before_undo = ""
    """What the application asked for when an undo began; empty where none is under way."""

    def undo(self, *words: str) -> int:
        """Undo, and perhaps press Sync at one of its requests."""
        self.excuse = self.excuse if self.excuse == "pushed" else ""
        self.before_undo = self.asks_for()
        press_at = self.random.randrange(80) if self.random.random() < 0.3 else -1
        count = 0

        def press(request: Request) -> None:
            nonlocal count
            count += 1
            if count == press_at:
                self.press()

        self.incident.api.before.append(press)
        try:
            return self.types("undo", *words)
        finally:
            self.incident.api.before.remove(press)
            self.before_undo = ""

    def step(self) -> None:
        """Do one thing, and let some time pass."""
        verbs: list[tuple[float, Callable[[], object]]] = [
            (0.10, lambda: self.back("rescue", "traefik")),
            (0.03, self.by_workloads),
            (0.03, lambda: self.holds("rescue", "traefik", "--pause-only", "--yes")),
            (0.12, lambda: self.holds("pin", "traefik", self.random.choice([GOOD, *OTHERS]), "--yes")),
            (0.12, lambda: self.back("rollback", "traefik", "--to")),
            (0.06, lambda: self.holds("pause", self.random.choice(["root", "traefik", "web"]), "--yes")),
            (0.06, self.unblock),
            (0.10, lambda: self.push(GOOD)),
            (0.08, lambda: self.push(BAD)),
            (0.06, lambda: self.push(self.random.choice(OTHERS))),
            (0.06, self.press),
            (0.08, lambda: self.undo("--yes")),
            (0.04, lambda: self.undo("traefik", "--yes")),
            (0.06, lambda: self.undo("--when-safe", "--timeout", "20s", "--yes")),
        ]
        shares, acts = zip(*verbs, strict=True)
        self.random.choices(acts, shares)[0]()
        self.look()
        self.time(self.random.choice([0, 1, 5, 150, 150, 4 * 3600]))

    def holds(self, *words: str) -> None:
        if self.types(*words) == 0:
            self.excuse = ""

    def back(self, verb: str, *words: str) -> None:
        """Go back to what was good; to a version that is named where what runs is good itself."""
        past = [entry["revision"] for entry in self.app()["status"]["history"]]
        good = [version for version in past if version != BAD]
        named = () if self.image() == BAD else (*words[1:], self.random.choice(good))
        self.holds(verb, words[0], *named, "--yes")

    def by_workloads(self) -> None:
        """Take the workload back to what it ran before: that is the broken version where it runs a good one."""
        if self.image() == BAD:
            self.holds("rescue", "traefik", "--workloads", "--yes")

    def unblock(self) -> None:
        if self.asks_for() == BAD and self.is_on("traefik"):
            self.excuse = "unblocked"
        self.types("unblock", "traefik", "--yes")

    def end(self) -> None:
        """Mend git, undo all, and see that nothing is lost."""
        self.time(150)
        self.push(self.image() if self.image() != BAD else GOOD)
        self.time(5)
        for _ in range(3):
            code = self.undo("--yes")
            self.time(150)
            if code == 0:
                break
        if code == 5 and self.image() != self.git_says:
            code = self.types("undo", "--redeploy", "--yes")
        self.time(70 * 3600)
        if code:
            self.wrong.append(f"the last undo ends with {code}: {self.last.err}")
        if entries := self.run(self.incident.api, "log", "--open", "-o", "name", user="alice").out:
            self.wrong.append(f"open: {entries}")
        project, traefik, web = self.in_git(self.git_says, frozen=self.frozen)
        for obj in (project, traefik, web, root_application()):
            live = self.incident.api.get(
                APPPROJECT if obj is project else APPLICATION, "argocd", obj["metadata"]["name"]
            )
            if plain(live["spec"]) != plain(obj["spec"]):
                self.wrong.append(f"{obj['metadata']['name']} is {plain(live['spec'])}")


def play(seed: int, run: Run) -> Story:
    """Play a seed to its end, or to the first thing that goes wrong."""
    story = Story(seed, run)
    for _ in range(STEPS):
        story.step()
        if story.wrong:
            return story
    story.end()
    return story


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_sequence(seed: int, run: Run, tmp_path: Path) -> None:
    run.homes = tmp_path / "homes"
    story = play(seed, run)
    assert not story.wrong, "\n".join([*story.wrong, *story.told])
