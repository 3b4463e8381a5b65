"""Two people, git and time, in any order: no second outage and no lost original.

Each seed is one story in the incident, in one of several shapes (what git says of the version, how the owner
syncs): rescues, pins, rollbacks, pauses, workloads taken back, undos (plain and
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
from kubectl_argo_rescue.model.values import (
    APPLICATION,
    APPLICATIONSET,
    APPPROJECT,
    BY_KIND,
    DEPLOYMENT,
    JSON,
)
from kubectl_argo_rescue.simulation.incident import (
    BAD,
    GOOD,
    Incident,
    apps_in_git,
    root_application,
    traefik_chart,
)
from kubectl_argo_rescue.simulation.sources import GitRepository
from kubectl_argo_rescue.simulation.wire import Request

from ...conftest import SIZE
from ..build import app_in
from ..harness import Run
from ..played import traefik_incident

OTHERS = ("2.3.4", "2.6.0")
"""Versions that work as well."""

OWN = "https://git.invalid/ingress.git"
"""Where the application's own manifests are, in the shape `branch`."""

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
        self.shape = self.random.choice(["chart", "chart", "range", "branch"])
        self.owner = self.random.choice(["", "", "Replace=true", "no self-heal"])
        self.told.append(f"Argo CD {self.version}, {self.shape}, {self.owner or 'a plain owner'}")
        self.commits: dict[str, str] = {}
        """In the shape `branch`, the newest commit of each version."""
        self.git_says = BAD
        self.excuse = ""
        """Why the broken version may be deployed now."""
        self.incident = self._begin()
        self.seen = self.image()

    def _begin(self) -> Incident:
        incident = traefik_incident(version=self.version)
        for version in OTHERS:
            incident.charts.publish("traefik", version, traefik_chart(version))
        incident.api.edit(APPLICATION, "argocd", "root", self._as_owned)
        if self.shape == "set":
            incident.api.remove(APPLICATION, "argocd", "traefik")
            incident.api.create(self._set(GOOD))
        incident.argocd.sources.git[OWN] = self.own = GitRepository()
        self.frozen = self.random.random() < 0.5
        self.incident = incident
        if self.shape != "chart" or not self.frozen:
            for version in (GOOD, BAD):  # the same incident in this shape
                self.bring(version)
                incident.clock.advance(150)
                incident.argocd.run(150, every=5)
        incident.argocd.run(2)
        incident.api.idle = lambda: self.time(0.5)
        return incident

    def _as_owned(self, root: JSON) -> None:
        policy = root["spec"]["syncPolicy"]
        if self.owner == "no self-heal":
            policy["automated"]["selfHeal"] = False
        elif self.owner:
            policy["syncOptions"] = [self.owner]

    def in_git(self, version: str) -> list[JSON]:
        """What root deploys where git says this version."""
        found = apps_in_git(version)
        source = found[1]["spec"]["source"]
        if self.shape == "range":
            source["targetRevision"] = f"{version.rpartition('.')[0]}.x"
        elif self.shape == "branch":
            found[1]["spec"]["source"] = {"repoURL": OWN, "path": "ingress", "targetRevision": "main"}
        if not self.frozen:
            del found[0]["spec"]["syncWindows"]
        return found

    def _set(self, version: str) -> JSON:
        """What generates the application, in the shape `set`."""
        spec = apps_in_git("{{version}}")[1]["spec"]
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": "ingress", "namespace": "argocd"},
            "spec": {
                "generators": [{"list": {"elements": [{"name": "traefik", "version": version}]}}],
                "template": {"metadata": {"name": "{{name}}"}, "spec": spec},
            },
        }

    def _generated(self, version: str) -> None:
        def generate(live: Any) -> None:
            live["spec"]["generators"] = self._set(version)["spec"]["generators"]

        self.incident.api.edit(APPLICATIONSET, "argocd", "ingress", generate)

    def bring(self, version: str) -> None:
        """Have git say a version."""
        if self.shape == "branch":
            self.commits[version] = self.own.commit({"ingress": traefik_chart(version)})
        apps = self.in_git(version)
        if self.shape == "set":
            self._generated(version)
            del apps[1]
        self.incident.git.commit({"apps": apps})

    def is_led(self) -> bool:
        """Whether its owner writes what git says by itself."""
        if self.shape != "set":
            return self.is_on("root")
        rules = self.incident.api.get(APPLICATIONSET, "argocd", "ingress")["spec"]
        return not rules.get("ignoreApplicationDifferences")

    def called(self, version: str) -> str:
        """What a person types for a version."""
        return self.commits.get(version, "") if self.shape == "branch" else version

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
        """The version that the application's spec means now."""
        source, sources = self.app()["spec"]["source"], self.incident.argocd.sources
        revision = sources.resolve(source, source["targetRevision"])
        made: str = sources.manifests(source, revision)[0]["spec"]["template"]["spec"]["containers"][0][
            "image"
        ]
        return made.partition(":")[2]

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
        self.bring(version)
        if version != BAD:
            self.excuse = ""
        elif self.is_led() or (self.shape == "branch" and self.asks_for() == BAD):
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
        is_under_way = self.excuse == "pressed" and "operation" in self.app()
        self.excuse = self.excuse if self.excuse == "pushed" or is_under_way else ""
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
            (0.12, self.pin),
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
        is_ordered = "operation" in self.app()
        held = self.types(*words) == 0 and not (self.is_led() and self.is_on("traefik"))
        if held and not is_ordered:  # a pin of what is there already pauses nobody
            self.excuse = ""

    def back(self, verb: str, *words: str) -> None:
        """Go back to what was good; to a version that is named where what runs is good itself."""
        past = [entry["revision"] for entry in self.app()["status"].get("history", [])]
        bad = {BAD, *(c for c, tree in self.own.commits.items() if tree["ingress"] == traefik_chart(BAD))}
        here = self.own.commits if self.shape == "branch" else past  # before the shape it was a chart
        good = [version for version in past if version in here and version not in bad]
        if self.image() != BAD and not good:
            return
        named = () if self.image() == BAD else (*words[1:], self.random.choice(good))
        self.holds(verb, words[0], *named, "--yes")

    def pin(self) -> None:
        if version := self.called(self.random.choice([GOOD, *OTHERS])):
            self.holds("pin", "traefik", version, "--yes")

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
        root = root_application()
        self._as_owned(root)
        generated = [self._set(self.git_says)] if self.shape == "set" else []
        for obj in (*self.in_git(self.git_says), root, *generated):
            live = self.incident.api.get(BY_KIND[obj["kind"]], "argocd", obj["metadata"]["name"])
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
