"""A managed Argo CD, as EKS' Capability: its controllers run outside the cluster, there is no argocd-cm.

Covered: it is found by `status.controllerNamespace`, or by where its Applications are, also where
ConfigMaps may not be listed; several are told apart; what is not seen is said as that, and whether it
reconciles by its comparisons; its own cluster under an ARN; the incident is rescued and undone there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kubectl_argo_rescue.model.values import (
    APPLICATION,
    CONFIGMAP,
    DEPLOYMENT,
    JSON,
    SERVICE,
    STATEFULSET,
    Context,
)
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, Incident, apps_in_git, traefik_incident

from ..harness import Run

ARN = "arn:aws:eks:eu-west-1:123456789012:cluster/shop"


def hide(incident: Incident) -> None:
    """Leave nothing of Argo CD in the cluster but its objects."""
    api = incident.api
    for resource in (STATEFULSET, DEPLOYMENT, SERVICE, CONFIGMAP):
        for obj in api.objects(resource, "argocd"):
            api.delete(resource, "argocd", obj["metadata"]["name"])


@pytest.fixture
def managed(incident: Incident) -> Incident:
    hide(incident)
    return incident


def move(incident: Incident, *, said: str | None) -> None:
    """Say who acts on the Applications; None where nothing tells."""

    def change(live: Any) -> None:
        live["status"].pop("controllerNamespace", None)
        if said:
            live["status"]["controllerNamespace"] = said

    for app in incident.api.objects(APPLICATION):
        incident.api.edit(APPLICATION, "argocd", app["metadata"]["name"], change)


@pytest.mark.parametrize("said", ["argocd", None])
@pytest.mark.parametrize("denied", [False, True])
def test_it_is_found_by_its_applications(run: Run, managed: Incident, said: str | None, denied: bool) -> None:
    managed.argocd.controller_alive = False
    move(managed, said=said)
    if denied:
        managed.api.deny(verb="list", resource="configmaps")
    data = run(managed.api, "status", "-o", "json").json["data"]
    assert data["argocd"]["namespace"] == "argocd" and len(data["apps"]) == 3


def test_several_are_told_apart(run: Run, managed: Incident) -> None:
    managed.argocd.controller_alive = False
    managed.api.edit(APPLICATION, "argocd", "web", lambda o: o["status"].update(controllerNamespace="other"))
    ran = run(managed.api, "status")
    assert ran.code == 2 and "Applications are of argocd, other" in ran.err


def test_without_any_application_there_is_none(run: Run, managed: Incident) -> None:
    for app in managed.api.objects(APPLICATION):
        managed.api.delete(APPLICATION, "argocd", app["metadata"]["name"])
    ran = run(managed.api, "status")
    assert ran.code == 2 and "no Argo CD was found" in ran.err and "and no Application" in ran.err


def test_what_is_not_seen_is_not_dead(run: Run, managed: Incident) -> None:
    shown = run(managed.api, "status", "traefik").out
    assert "reconciling (last comparison" in shown and "NOT reconciling" not in shown
    assert "none of its parts is in sight" in shown
    assert "DEAD" not in shown and "argocd app list --core" not in shown
    told = run(managed.api, "status", "traefik", "-o", "json").json["data"]["argocd"]
    assert told["reconciling"] is True
    assert {p["state"] for p in told["parts"].values()} == {"unknown"}

    managed.argocd.controller_alive = False
    managed.clock.advance(timedelta(hours=1).total_seconds())
    late = " ".join(run(managed.api, "status", "traefik").out.split())
    assert "probably NOT reconciling: nothing was compared for 60m, and its parts are out of sight" in late


def test_the_incident_is_rescued_and_undone(run: Run, managed: Incident) -> None:
    ran = run(managed.api, "rescue", "traefik", "--yes")
    assert ran.code == 0, ran.err
    managed.push(GOOD)
    undone = run(managed.api, "undo", "--yes")
    assert undone.code == 0, undone.err
    live = managed.api.get(APPLICATION, "argocd", "traefik")
    assert live["spec"]["source"]["targetRevision"] == GOOD
    assert live["spec"]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_its_own_cluster_by_arn(run: Run) -> None:
    def apps(version: str, **changes: JSON) -> list[JSON]:
        made = apps_in_git(version, **changes)
        for app in made[1:]:
            app["spec"]["destination"]["server"] = ARN
        return made

    incident = traefik_incident(apps=apps)
    incident.api.idle = lambda: incident.argocd.tick(0.5)
    hide(incident)
    mine = Context("in-memory", ARN, "me", incident.api.where.server)
    run.kubeconfig = lambda: [mine, Context("other", f"{ARN}-2", "me", "https://other")]  # type: ignore[method-assign]
    ran = run(incident.api, "rescue", "traefik", "--yes", "-o", "json")
    assert (ran.code, ran.json["data"]["unverified"]) == (0, []), ran.err
    assert set(run.connected) == {""}, "no other connection was opened"
    live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] != f"traefik:{BAD}"
