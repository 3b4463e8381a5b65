"""The cluster that an application deploys into, found by the contexts of the kubeconfig.

Covered, on a hub and a spoke that are simulated: `status`, `watch`, `rescue` and `rescue --workloads` use
it without a flag, and an app in Argo CD's own cluster asks for none; several contexts, or none, are said
and Argo CD's word is taken; a context that leads elsewhere is not believed, and refused where it was named;
a cluster that does not answer, refuses the look, or goes away later; the CA out of a Secret, and a user who may not
read it; a workload that is another application's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from kubectl_argo_rescue.argocd.ownership import TRACKING_ID
from kubectl_argo_rescue.cluster.transport import Target
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import APPLICATION, DEPLOYMENT, JSON, SECRET, Context
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, Incident, apps_in_git, traefik_incident

from ..harness import Ran, Run

EDGE = "https://edge.example.com"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


class Hub:
    """The incident with traefik in another cluster, and a kubeconfig that knows both."""

    def __init__(self, run: Run, to: JSON) -> None:
        clock = SteppedClock()
        self.run, self.to = run, to
        self.edge = InMemoryApi(clock)
        self.edge.where = Target("edge", EDGE, "")
        self.incident: Incident = traefik_incident(
            InMemoryApi(clock), apps=self._apps, clusters={EDGE: self.edge, "edge": self.edge}
        )
        self.incident.api.idle = self.edge.idle = lambda: self.incident.argocd.tick(0.5)
        run.contexts["edge"] = self.edge

    def _apps(self, version: str, **changes: JSON) -> list[JSON]:
        made = apps_in_git(version, **changes)
        made[1]["spec"]["destination"] = {**self.to, "namespace": "traefik"}
        return made

    def __call__(self, *words: str, user: str = "") -> Ran:
        return self.run(self.incident.api, *words, user=user)

    def image(self) -> str:
        """What runs in the spoke."""
        live = self.edge.get(DEPLOYMENT, "traefik", "traefik")
        found: str = live["spec"]["template"]["spec"]["containers"][0]["image"]
        return found

    def register(self, **more: JSON) -> None:
        """Give Argo CD the Secret of the spoke."""
        tls = {"caData": base64.b64encode(PEM.encode()).decode(), **more}
        data = {"name": "edge", "server": EDGE, "config": json.dumps({"tlsClientConfig": tls})}
        self.incident.api.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": "cluster-edge",
                    "namespace": "argocd",
                    "labels": {"argocd.argoproj.io/secret-type": "cluster"},
                },
                "data": {n: base64.b64encode(t.encode()).decode() for n, t in data.items()},
            }
        )


@pytest.fixture
def hub(run: Run) -> Hub:
    return Hub(run, {"server": EDGE})


def test_it_is_used_without_a_flag(hub: Hub) -> None:
    assert hub.image() == f"traefik:{BAD}"
    shown = hub("status", "traefik")
    assert shown.code == 0 and "WORKLOADS, seen by context edge" in shown.out
    assert "✗ Deployment traefik/traefik: it exceeded its progress deadline" in shown.out
    to = hub("status", "traefik", "-o", "json").json["data"]["apps"]["argocd/traefik"]["destination"]
    assert (to["server"], to["context"], to["unseen"]) == (EDGE, "edge", "")
    assert [(w["workload"], w["done"]) for w in to["workloads"]] == [("Deployment traefik/traefik", False)]

    ran = hub("rescue", "traefik", "--yes", "-o", "json")
    assert (ran.code, ran.json["data"]["unverified"]) == (0, []), ran.err
    assert f"its workloads are in {EDGE}, seen by context edge" in ran.err
    assert hub.image() == f"traefik:{GOOD}"
    assert "2 of 2 available" in hub("status", "traefik").out
    watched = hub("watch", "traefik", "-o", "json").json["data"]
    assert watched["unverified"] == []
    assert ["Deployment traefik/traefik"] == [p["part"] for p in watched["parts"]][3:]
    assert not hub.edge.writes(), "it only looks there"


def test_an_app_in_argo_cds_own_cluster_asks_for_none(hub: Hub) -> None:
    def refuse(*_: object) -> list[Context]:
        raise AssertionError("nobody needs the kubeconfig for this")

    hub.run.kubeconfig = refuse  # type: ignore[method-assign]
    for words in (["status", "web"], ["watch", "web"], ["rescue", "web", "1.0.0", "--yes", "--no-wait"]):
        hub(*words)
    assert set(hub.run.connected) == {""}
    assert hub("watch", "web", "--destination-context", "edge").code == 5


def test_workloads_alone(hub: Hub) -> None:
    hub.incident.argocd.repo_server_alive = False
    ran = hub("rescue", "traefik", "--workloads", "--yes")
    assert ran.code == 0, ran.err
    assert hub.image() == f"traefik:{GOOD}"


def test_several_contexts_need_a_word(hub: Hub) -> None:
    hub.run.contexts["edge-admin"] = hub.edge
    told = "several contexts lead there: edge, edge-admin"
    shown = hub("status", "traefik")
    assert shown.code == 0 and f"not looked at: {told}" in shown.out
    refused = hub("rescue", "traefik", "--workloads", "--yes")
    assert refused.code == 5 and told in refused.err and "--destination-context NAME" in refused.err
    ran = hub("rescue", "traefik", "--yes")
    assert ran.code == 0 and "by Argo CD's word alone" in ran.out and told in ran.err
    chosen = hub("watch", "traefik", "--destination-context", "edge-admin", "-o", "json")
    assert chosen.json["data"]["unverified"] == []


def other_app(hub: Hub) -> None:
    """The workload of that name there is another application's."""

    def change(live: Any) -> None:
        live["metadata"]["annotations"][TRACKING_ID] = "other:apps/Deployment:traefik/traefik"

    hub.edge.edit(DEPLOYMENT, "traefik", "traefik", change)


def other_cluster(hub: Hub) -> None:
    """The workload is not there, though Argo CD has it as Synced."""
    hub.run.contexts["edge"] = InMemoryApi(SteppedClock())
    hub.run.contexts["edge"].where = hub.edge.where


@pytest.mark.parametrize(
    ("wrong", "why"),
    [(other_app, "names Application argocd/other"), (other_cluster, "is not there, though Argo CD has it")],
)
def test_a_context_that_leads_elsewhere_is_noticed(hub: Hub, wrong: Callable[[Hub], None], why: str) -> None:
    hub.incident.argocd.controller_alive = False
    wrong(hub)
    shown = hub("status", "traefik")
    assert shown.code == 0 and "not looked at: Deployment traefik/traefik" in shown.out
    assert why.split()[0] in shown.out
    before = len(hub.incident.api.writes()), len(hub.edge.writes())
    for words in (["watch", "traefik"], ["rescue", "traefik", "--yes"]):
        named = hub(*words, "--destination-context", "edge")
        assert named.code == 5 and why in named.err and "does not lead to the cluster" in named.err
    assert (len(hub.incident.api.writes()), len(hub.edge.writes())) == before


def test_a_cluster_that_does_not_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise TransportError("connection refused", sent=False, lasting=True)

    monkeypatch.setattr(hub.edge, "request", away)
    shown = hub("status", "traefik")
    assert shown.code == 0 and "context edge does not answer: connection refused" in shown.out
    ran = hub("rescue", "traefik", "--yes")
    assert ran.code == 0 and "context edge does not answer" in ran.out, ran.err
    assert hub.image() == f"traefik:{GOOD}", "Argo CD reaches it by another way"
    assert hub("rescue", "traefik", "--yes", "--destination-context", "edge").code == 1


def test_workloads_that_may_not_be_read_there(hub: Hub) -> None:
    hub.incident.argocd.run(200, every=5)
    hub.edge.deny(verb="get", resource="deployments")
    ran = hub("rescue", "traefik", "--yes", "-o", "json")
    assert (ran.code, ran.json["data"]["unverified"]) == (0, ["Deployment traefik/traefik may not be read"])


def test_a_name_alone_must_be_proven(run: Run) -> None:
    hub = Hub(run, {"name": "edge"})
    assert "seen by context edge" in hub("status", "traefik").out
    assert "is it the same?" in hub("status", "traefik").out
    refused = hub("rescue", "traefik", "--workloads")
    assert refused.code == 5 and "is it the same?" in refused.err

    def is_new(live: Any) -> None:
        live["status"]["resources"] = [{**r, "status": "OutOfSync"} for r in live["status"]["resources"]]

    hub.incident.argocd.controller_alive = False
    hub.incident.api.edit(APPLICATION, "argocd", "traefik", is_new)
    hub.edge.delete(DEPLOYMENT, "traefik", "traefik")
    assert "only its name says" in hub("status", "traefik").out


def test_the_authority_of_a_secret(hub: Hub) -> None:
    hub.register()
    hub.run.contexts.clear()
    hub.run.contexts["tunnel"] = hub.edge
    hub.run.kubeconfig = lambda: [Context("tunnel", "t", "me", "https://127.0.0.1:6443", PEM)]  # type: ignore[method-assign]
    assert "seen by context tunnel" in hub("status", "traefik").out
    hub.incident.api.deny(verb="list", resource=SECRET.plural)
    assert "not looked at: no context of the kubeconfig" in hub("status", "traefik").out


def test_a_workload_there_says_whose_it_is(hub: Hub) -> None:
    shown = hub("status", "deploy/traefik", "-n", "traefik", "--destination-context", "edge")
    assert shown.code == 0 and "deploy/traefik in traefik belongs to Application argocd/traefik" in shown.err
    assert hub("status", "--destination-context", "edge").code == 2
