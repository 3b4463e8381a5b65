"""Death between any two writes of an undo that holds an Application while Argo CD is asked what it would do.

Each story is run once to count its writes and then once more for each of them, dying before it lands or after.
Afterwards, by then and for hours to come: the broken version is not deployed and nothing has moved; `status`
names what is held; the next undo, also a colleague's, ends as the one that died would have.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, APPPROJECT, DEPLOYMENT, JSON
from kubectl_argo_rescue.simulation.incident import (
    BAD,
    GOOD,
    Incident,
    apps_in_git,
    root_application,
    traefik_incident,
)

from ..unit.harness import Run
from ..unit.played import copied
from .conftest import LOST, TRIED
from .test_fault_points import Faults, Killed, plain

UNDO = ("undo", "--yes")
PAUSED = ("pause", "root", "--yes")
ROLLED = ("rollback", "traefik", "--yes")
PINNED = ("pin", "traefik", GOOD, "--yes")
CLAIM_SECONDS = 16 * 60


def say(version: str) -> Callable[[Incident], object]:
    return lambda incident: incident.push(version)


def yank(incident: Incident) -> None:
    """The broken chart is not there any more: a range means the version before again."""
    del incident.charts.charts["traefik"][BAD]


class Story(NamedTuple):
    """What was done, what git asks for by then, and how the undo ends."""

    asked: str
    """In git when the incident began."""
    done: Sequence[Sequence[str]]
    mended: Callable[[Incident], object]
    code: int
    in_git: str = GOOD
    version: tuple[int, int] = (3, 6)
    may_edit_project: bool = True
    is_generated: bool = False
    """By an ApplicationSet, with the version as a parameter."""


def generate(version: str) -> Callable[[Incident], object]:
    """Have the set generate another version."""

    def write(owner: JSON) -> None:
        owner["spec"]["generators"] = generating(version)["spec"]["generators"]

    return lambda incident: incident.api.edit(APPLICATIONSET, "argocd", "ingress", write)


def generating(version: str) -> JSON:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "ingress", "namespace": "argocd"},
        "spec": {
            "generators": [{"list": {"elements": [{"name": "traefik", "version": version}]}}],
            "template": {"metadata": {"name": "{{name}}"}, "spec": apps_in_git("{{version}}")[1]["spec"]},
        },
    }


STORIES = {
    "rolled back, mended": Story(BAD, [PAUSED, ROLLED], say(GOOD), 0),
    "rolled back, not mended": Story(BAD, [PAUSED, ROLLED], say(BAD), 5, BAD),
    "the original means it": Story("2.x", [PINNED], yank, 0, "2.x"),
    "the original does not": Story("2.x", [PINNED], say("2.x"), 5, "2.x"),
    "other words in git": Story(BAD, [PINNED], say("2.4.x"), 0, "2.4.x"),
    "another version in git": Story(BAD, [PINNED], say("2.x"), 5, "2.x"),
    "without a window": Story("2.x", [PINNED], yank, 0, "2.x", may_edit_project=False),
    "generated, not mended": Story(BAD, [PAUSED, PINNED], generate("2.x"), 5, "2.x", is_generated=True),
    "with a window alone": Story(BAD, [PINNED], say("2.4.x"), 0, "2.4.x", version=(3, 0)),
}


class Bed:
    """The incident up to the undo, with every state of the workload looked at."""

    folder: Path
    """Its local journal."""

    def __init__(self, run: Run, story: Story) -> None:
        self.run, self.story = run, story
        self.incident = traefik_incident(version=story.version, apps=self._apps)
        if story.is_generated:
            project, _, web = self._apps(BAD)
            self.incident.git.commit({"apps": [project, web]})
            self.incident.argocd.run(130, every=5)
            self.incident.api.create(generating(story.asked))
        elif story.asked != BAD:
            self.incident.push(story.asked)
        self.incident.argocd.run(130, every=5)
        self.incident.api.idle = lambda: self.incident.argocd.tick(0.5)
        for words in story.done:
            ran = run(self.incident.api, *words)
            assert ran.code == 0, ran.err
        self.incident.argocd.run(130, every=5)
        story.mended(self.incident)
        if not story.may_edit_project:
            self.incident.api.deny("patch", "appprojects")
        self.generation = self._generation()
        self.before = self.spec("traefik")

    def again(self, homes: Path) -> Bed:
        """The same once more, with a journal of its own."""
        made = object.__new__(Bed)
        made.__dict__.update(self.__dict__)
        made.incident = copied(self.incident)
        made.incident.api.idle = made._idle
        shutil.copytree(self.run.homes, homes)
        made.folder = homes / "laptop" / "kubectl-argo-rescue"
        return made

    @staticmethod
    def _apps(version: str, **changes: JSON) -> list[JSON]:
        """What git says: no window but ours."""
        found = apps_in_git(version, **changes)
        del found[0]["spec"]["syncWindows"]
        return found

    def _generation(self) -> int:
        live = self.incident.api.get(DEPLOYMENT, "traefik", "traefik")
        return int(live["metadata"]["generation"])

    def _idle(self) -> None:
        self.incident.argocd.tick(0.5)
        self.look("meanwhile")

    def look(self, where: str) -> None:
        assert self._generation() == self.generation, f"{where}: the workload has moved"

    def pass_time(self, seconds: float, where: str) -> None:
        for _ in range(100):
            self.incident.argocd.tick(seconds / 100)
            self.look(where)

    def spec(self, name: str) -> JSON:
        kind = APPPROJECT if name == "cluster" else APPLICATION
        return plain(self.incident.api.get(kind, "argocd", name)["spec"])

    def is_held(self) -> bool:
        """Whether a window that an undo has placed is there."""
        return "syncWindows" in self.spec("cluster")

    def check(self, where: str, laptop: str) -> None:
        """See that nothing moves, that it is told, and that the next undo ends well."""
        self.pass_time(CLAIM_SECONDS, where)
        told = self.run(self.incident.api, "status", "traefik")
        if self.is_held():
            first = told.out.splitlines()[0]
            assert "traefik" in first and "held since" in first, f"{where}:\n{told.out}"
        ran = self.run(self.incident.api, *UNDO, laptop=laptop)
        assert ran.code == self.story.code, f"{where}: {ran.code} {ran.err}"
        self.pass_time(4 * 3600, where)
        self.compare(where)

    def compare(self, where: str) -> None:
        """See that all is as git has it where the undo is done, else as it was before."""
        project, traefik, web = self._apps(self.story.in_git)
        if self.story.code == 0:
            for obj in (project, traefik, web, root_application()):
                assert self.spec(obj["metadata"]["name"]) == plain(obj["spec"]), where
        else:
            assert not self.is_held(), where
            assert self.spec("traefik") == self.before, where
        entries = self.run(self.incident.api, "log", "--open", "-o", "name").out.split()
        assert bool(entries) is bool(self.story.code), f"{where}: {entries}"


@pytest.mark.parametrize("name", STORIES)
def test_death_while_something_is_held(
    name: str, run: Run, sample: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    story = STORIES[name]
    first = Bed(run, story)
    alive = first.again(tmp_path / "alive")
    begun, run.homes = run.homes, tmp_path / "alive"
    faults = Faults(alive.folder)
    with faults.installed(alive.incident, monkeypatch):
        ran = run(alive.incident.api, *UNDO)
    assert ran.code == story.code, ran.err
    alive.pass_time(4 * 3600, "alive")
    alive.compare("alive")
    writes = [i for i, point in enumerate(faults.names) if " PATCH " in point or " POST " in point]
    lost = []
    for die_at in writes[:: max(1, 3 * len(writes) // sample)] if sample else writes:
        where = f"{name} dies at {die_at} ({faults.names[die_at]})"
        run.homes = begun
        bed = first.again(tmp_path / f"homes-{die_at}")
        run.homes = tmp_path / f"homes-{die_at}"
        dying = Faults(bed.folder, die_at)
        with dying.installed(bed.incident, monkeypatch), pytest.raises(Killed):
            run(bed.incident.api, *UNDO)
        TRIED["holds"] = TRIED.get("holds", 0) + 1
        try:
            bed.check(where, "laptop" if die_at % 2 else "another")
        except AssertionError as error:
            LOST.append(where)
            lost.append(f"{where}: {error}")
    assert not lost, "\n".join(lost)
