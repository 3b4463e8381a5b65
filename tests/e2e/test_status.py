"""`status` on real controllers: the incident, the way round the ingress, parts that die, nothing written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.testbed.argocd import CONTROLLER, ArgoCD
from tests.testbed.incident import APP, BROKEN, GOOD, PROJECT, ROOT, TARGET, Incident
from tests.testbed.plugin import Plugin

JSON = Any
PARTS = ("application-controller", "repo-server", "redis", "applicationset-controller", "server")


@pytest.fixture(scope="module")
def incident(argocd: ArgoCD) -> Incident:
    incident = Incident(argocd)
    incident.happen()
    for part in PARTS:
        kind = "statefulset" if part == CONTROLLER else "deployment"
        argocd.until(
            lambda kind=kind, part=part: argocd.get(kind, f"argocd-{part}")["status"].get("readyReplicas"),  # type: ignore[misc]
            60,
            f"{part} has a ready pod",
        )
    return incident


def status(plugin: Plugin, *words: str) -> JSON:
    return json.loads(plugin("status", *words, "-o", "json", check=True).stdout)["data"]


def test_the_incident_before_any_write(incident: Incident, plugin: Plugin) -> None:
    argocd = incident.argocd
    mark = argocd.control_plane.audit_mark()

    data = status(plugin, APP)

    app = data["apps"][f"{argocd.namespace}/{APP}"]
    assert (app["autoSync"], app["selfHeal"], app["operation"]["stuck"]) == (True, True, False)
    assert app["canSync"] == {"automatic": False, "manual": False}
    assert [(w["project"], w["index"]) for w in app["blocking"]] == [(PROJECT, 0), (PROJECT, 1)]
    assert [h["version"] for h in app["history"]][-2:] == [GOOD, BROKEN]
    assert app["lastGood"]["version"] == GOOD
    [root] = app["owners"]
    assert (root["name"], root["by"], root["state"]) == (ROOT, "tracking-id", "there")
    assert [(t["edit"], t["soon"]) for t in root["reverts"]] == [("a pin", True)]
    assert root["leaves"] == ["a pause"]
    [owner] = app["projectOwners"]
    assert (owner["name"], owner["reverts"][0]["soon"]) == (ROOT, True)
    assert data["argocd"]["version"] == argocd.module.version
    assert data["argocd"]["reconciling"] is True
    assert {name: p["state"] for name, p in data["argocd"]["parts"].items()} == dict.fromkeys(PARTS, "alive")
    assert data["entries"] == []

    screen = plugin("status", APP, check=True).stdout
    assert (
        f"last good: {GOOD}: the newest successful version other than the current target ({BROKEN})" in screen
    )
    assert max(map(len, screen.splitlines())) <= 100
    everything = plugin("status", check=True).stdout
    assert "3 applications: " in everything
    writes = [e for e in argocd.control_plane.audit(mark) if e.user == "admin" and e.verb not in ("get", "list", "watch")]  # fmt: skip
    assert [e.uri for e in writes if "selfsubject" not in e.uri] == []


def test_the_ingress_is_gone_and_the_api_is_not(incident: Incident, plugin: Plugin) -> None:
    namespace = incident.namespace
    named = plugin("status", APP, check=True).stdout
    assert f"UI and API without the ingress: kubectl port-forward -n {namespace} svc/argocd-server " in named
    screen = plugin("status", check=True).stdout
    assert "Argo CD's UI and API run with 1 endpoint" in screen
    assert f"    kubectl port-forward -n {namespace} svc/argocd-server 8080:443 " in screen
    assert f"    argocd app list --port-forward --port-forward-namespace {namespace}\n" in screen
    assert (
        f"    kubectl config set-context --current --namespace={namespace} && argocd app list --core\n"
        in screen
    )


def test_a_workload_leads_to_its_application(incident: Incident, plugin: Plugin) -> None:
    pod = incident.argocd.api.list("pod", TARGET, "release=traefik")[0]["metadata"]["name"]
    for word in (f"deploy/{APP}", f"po/{pod}"):
        assert list(status(plugin, word, "-n", TARGET)["apps"]) == [f"{incident.namespace}/{APP}"], word
    nobody = plugin("status", "sts/argocd-application-controller", "-n", incident.namespace)
    assert (nobody.returncode, "is managed by no Application" in nobody.stderr) == (1, True)


def test_a_server_without_pods_leaves_core(incident: Incident, plugin: Plugin) -> None:
    scale(incident.argocd, "argocd-server", 0)
    try:
        data = status(plugin)["argocd"]
        assert data["parts"]["server"]["state"] == "dead"
        assert data["reconciling"] is True, "syncing goes on without it"
        assert [c for c in data["api"]["commands"] if "port-forward" in c] == []
    finally:
        scale(incident.argocd, "argocd-server", 1)


def scale(argocd: ArgoCD, name: str, replicas: int) -> None:
    argocd.api.patch("deployment", name, argocd.namespace, {"spec": {"replicas": replicas}})
    argocd.until(
        lambda: argocd.get("deployment", name).get("status", {}).get("readyReplicas", 0) == replicas,
        60,
        f"{name} has {replicas} ready pods",
    )


def test_a_controller_that_does_nothing_behind_a_ready_pod(incident: Incident, plugin: Plugin) -> None:
    argocd = incident.argocd
    argocd.stop(CONTROLLER)
    try:
        for app in argocd.api.list("application", argocd.namespace):
            # As if it were an hour ago: nobody is there to write a newer time.
            long_ago = {"status": {"reconciledAt": "2020-01-01T00:00:00Z"}}
            argocd.api.patch("application", app["metadata"]["name"], argocd.namespace, long_ago)
        for words in ((), (APP,)):
            data = status(plugin, *words)["argocd"]
            assert data["parts"][CONTROLLER]["state"] == "alive", "kwok keeps its pod ready"
            assert data["reconciling"] is False
            assert "nothing was compared for" in data["text"]
    finally:
        argocd.start(CONTROLLER)
    argocd.until(lambda: status(plugin)["argocd"]["reconciling"] or None, 60, "it reconciles again")
