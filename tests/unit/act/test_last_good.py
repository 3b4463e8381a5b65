"""Which version is called good after what history, the spec and our own entries say; on the in-memory API.

Aspects: what runs and fails is not good whoever asked for something else; what a watch saw failing is
not proposed again, also by a rollback and after an undo; where only values or images differ the whole
source goes back; between a write and the next comparison the spec and the entry count; a mistyped pin
on top of a rescue neither stops the next one nor needs git to be undone; the next candidate is named.
"""

from __future__ import annotations

import json

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, JSON
from kubectl_argo_rescue.simulation.incident import CHARTS, Incident, deployment, traefik_chart

from ..harness import Run


def source(incident: Incident) -> JSON:
    return incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]


def good(run: Run, incident: Incident) -> JSON:
    shown = run(incident.api, "status", "traefik", "-o", "json")
    return json.loads(shown.out)["data"]["apps"][0]["lastGood"]


def push(incident: Incident, version: str, *, broken: bool = False, **of_source: JSON) -> None:
    """Let root deploy another version or other values; deployed where no window stops it."""
    if broken:
        incident.argocd.workloads.broken_images.add(f"traefik:{version}")
    incident.charts.publish("traefik", version, traefik_chart(version))
    asked = {"repoURL": CHARTS, "chart": "traefik", "targetRevision": version, **of_source}
    incident.push(version, source=asked)
    incident.clock.advance(60)
    incident.argocd.run(200)


def thaw(incident: Incident) -> None:
    def changed(project: JSON) -> JSON:
        project["spec"]["syncWindows"] = []
        return project

    from kubectl_argo_rescue.model.values import APPPROJECT

    incident.api.edit(APPPROJECT, "argocd", "cluster", changed)


def test_what_runs_is_not_good_though_something_else_is_asked_for(run: Run, incident: Incident) -> None:
    push(incident, "2.5.2")
    past = incident.api.get(APPLICATION, "argocd", "traefik")["status"]["history"]
    assert [h["revision"] for h in past] == ["2.4.1", "2.5.1"] and source(incident)["targetRevision"] == "2.5.2"
    assert good(run, incident)["version"] == "2.4.1"
    shown = run(incident.api, "status", "traefik").out
    assert "neither what runs (2.5.1) nor what is asked for now (2.5.2)" in " ".join(shown.split())
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 0 and source(incident)["targetRevision"] == "2.4.1"


def test_what_a_watch_saw_failing_is_not_proposed_again(run: Run, incident: Incident) -> None:
    assert source(incident)["targetRevision"] == "2.5.1"
