"""Death at every point of a freeze, a thaw and an orphan: what is left is named and gone on with.

- a freeze that died is undone by its entry, and nobody's replicas are lost;
- a thaw that died is gone on with by the same command: replicas back, no window left, nothing open;
- an orphan that died has lost no workload and no Application: undo brings each back.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_argo_rescue.model.values import (
    APPLICATION,
    APPPROJECT,
    DEPLOYMENT,
    JSON,
    NAMESPACE,
    STATEFULSET,
)
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from ..unit.harness import Run
from .conftest import LOST, TRIED
from .test_fault_points import Faults, Killed, chosen, torn

FINALIZER = "resources-finalizer.argocd.argoproj.io"


class Bed:
    """The incident before or after a freeze."""

    def __init__(self, run: Run, before: tuple[str, ...] = ()) -> None:
        self.run = run
        self.incident: Incident = traefik_incident()
        api = self.incident.api
        api.idle = lambda: self.incident.argocd.tick(0.5)

        def with_finalizer(app: JSON) -> None:
            app["metadata"]["finalizers"] = [FINALIZER]

        api.edit(APPLICATION, "argocd", "web", with_finalizer)
        self.windows = self.projects()
        self.uids = self.workloads()
        self.web = api.get(APPLICATION, "argocd", "web")["spec"]
        if before:
            assert run(api, *before).code == 0
            self.incident.clock.advance(1)
        uid = api.get(NAMESPACE, "", "kube-system")["metadata"]["uid"]
        self.folder: Path = run.state_home() / "kubectl-argo-rescue" / str(uid)

    def projects(self) -> JSON:
        """The projects' windows."""
        return {
            p["metadata"]["name"]: p["spec"].get("syncWindows") for p in self.incident.api.objects(APPPROJECT)
        }

    def workloads(self) -> JSON:
        """What lives of the applications."""
        found = self.incident.api.objects(DEPLOYMENT)
        return {
            d["metadata"]["name"]: d["metadata"]["uid"]
            for d in found
            if d["metadata"]["namespace"] != "argocd"
        }

    def replicas(self) -> tuple[int, int]:
        """What is wanted of both controllers."""
        api = self.incident.api
        return (
            api.get(STATEFULSET, "argocd", "argocd-application-controller")["spec"]["replicas"],
            api.get(DEPLOYMENT, "argocd", "argocd-applicationset-controller")["spec"]["replicas"],
        )

    def open(self) -> list[str]:
        """The entries that are open, from another process once a claim that was left behind is old."""
        self.incident.clock.advance(16 * 60)
        listed = self.run(self.incident.api, "log", "--open", "-o", "json")
        assert listed.code == 0, listed.err
        return [e["id"] for e in listed.json["data"]["entries"] if e["verb"] != "thaw"]


def entry(bed: Bed) -> str:
    """The newest entry's id."""
    return bed.run(bed.incident.api, "log", "-o", "name").out.split()[0].removeprefix("entry/")


def undone(bed: Bed, where: str) -> None:
    """Undo what is open until nothing is."""
    for id in reversed(bed.open()):
        ran = bed.run(bed.incident.api, "undo", id, "--yes", "--timeout", "2m")
        assert ran.code == 0, f"{where}: {ran.err}"
    for id in bed.open():  # an orphan's owners are the rest of its entry
        ran = bed.run(bed.incident.api, "undo", id, "--yes", "--redeploy")
        assert ran.code == 0, f"{where}: {ran.err}"


def check(bed: Bed, where: str) -> None:
    """See that all is as it was."""
    assert bed.replicas() == (1, 1), where
    assert bed.projects() == bed.windows, where
    assert bed.workloads() == bed.uids, where
    live = bed.incident.api.find(APPLICATION, "argocd", "web")
    assert live is not None and live["spec"] == bed.web, where
    listed = bed.run(bed.incident.api, "log", "--open", "-o", "name")
    assert listed.out == "", f"{where}: {listed.out}"


COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "freeze": ((), ("freeze",)),
    "thaw": (("freeze",), ("undo", "ENTRY", "--yes")),
    "orphan": (("freeze",), ("orphan", "web", "--yes")),
    "made anew": (("orphan", "web", "--yes"), ("undo", "ENTRY", "--yes")),
}
"""What was done before, and the command that dies."""


@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("scenario", COMMANDS)
def test_death_at_every_point(
    scenario: str, power_cut: bool, run: Run, sample: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, words = COMMANDS[scenario]

    def made() -> tuple[Bed, tuple[str, ...]]:
        bed = Bed(run, before)
        return bed, tuple(entry(bed) if word == "ENTRY" else word for word in words)

    bed, command = made()
    alive = Faults(bed.folder)
    with alive.installed(bed.incident, monkeypatch):
        ran = run(bed.incident.api, *command)
    assert ran.code == 0, ran.err
    names, lost = alive.names, []
    for die_at in sorted({*chosen(len(names), sample, offset=3 if power_cut else 0), *torn(names)}):
        run.homes = tmp_path / f"homes-{die_at}"
        where = f"{scenario} dies at {die_at} ({names[die_at]})"
        bed, command = made()
        faults = Faults(bed.folder, die_at)
        with faults.installed(bed.incident, monkeypatch), pytest.raises(Killed):
            run(bed.incident.api, *command)
        if power_cut:
            faults.cut_the_power()
        TRIED[scenario] = TRIED.get(scenario, 0) + 1
        try:
            assert bed.workloads() == bed.uids, where
            undone(bed, where)
            bed.incident.argocd.run(30)
            check(bed, where)
        except AssertionError as error:
            LOST.append(where)
            lost.append(str(error))
    assert not lost, "\n".join(lost)
