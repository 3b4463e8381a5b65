"""Which context of the kubeconfig leads to an Application's destination.

Covered: by address, however it is written; by ARN, as the AWS CLI and eksctl name contexts; by the CA of
the cluster's Secret; by name alone, which is a doubt; several contexts of one cluster and of several;
the cluster of Argo CD itself under another name or address; a context that the user names; Secrets that
say less or nonsense.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import application, destination
from kubectl_argo_rescue.argocd.destination import HERE, Registered, way_to
from kubectl_argo_rescue.model.values import Context

from .. import build

ARN = "arn:aws:eks:eu-west-1:123456789012:cluster/edge"
EDGE = "https://edge.example.com"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
HUB = Context("hub", "hub", "me", "https://hub.example.com")


def context(name: str, server: str = "", **more: str) -> Context:
    """A context with a cluster and a user of its own."""
    return Context(name, **{"cluster": f"{name}-cluster", "user": f"{name}-user", "server": server, **more})


def app(server: str = "", name: str = "") -> Any:
    """An Application that deploys there."""
    to = {"namespace": "x", **({"server": server} if server else {}), **({"name": name} if name else {})}
    return build.app(destination=to)


@pytest.mark.parametrize(
    ("to", "contexts", "clusters", "name", "is_sure"),
    [
        (app(EDGE), [context("a", EDGE), context("b", "https://b.example.com")], [], "a", True),
        (app(EDGE), [context("a", "HTTPS://Edge.Example.com:443/")], [], "a", True),
        (app(f"{EDGE}?project=x"), [context("a", EDGE)], [], "a", True),
        (app("https://rancher.example.com/k8s/clusters/c-1"), [
            context("a", "https://rancher.example.com/k8s/clusters/c-2"),
            context("b", "https://rancher.example.com/k8s/clusters/c-1"),
        ], [], "b", True),
        (app(ARN), [context(ARN)], [], ARN, True),
        (app(ARN), [context("short", cluster=ARN)], [], "short", True),
        (app(ARN), [context("me@edge", cluster="edge.eu-west-1.eksctl.io")], [], "me@edge", True),
        (app(ARN), [context("me@edge", cluster="edge.us-east-1.eksctl.io")], [], "", True),
        (app(name="edge"), [context("a", EDGE)], [Registered("edge", EDGE)], "a", True),
        (app(name="edge"), [context("a", ARN, cluster=ARN)], [Registered("edge", ARN)], "a", True),
        (app(EDGE), [context("a", "https://10.0.0.1", authority=PEM.replace("\n", "\r\n"))],
         [Registered("edge", EDGE, PEM)], "a", True),
        (app(EDGE), [context("a", "https://10.0.0.1", authority=PEM)], [], "", True),
        (app(EDGE), [context("a", "https://10.0.0.1")], [Registered("edge", EDGE)], "", True),
        (app(name="edge"), [context("edge", "https://10.0.0.1")], [], "edge", False),
        (app(EDGE), [context("edge", "https://10.0.0.1")], [Registered("edge", EDGE)], "edge", False),
        (app(name="edge"), [context("edges", "https://10.0.0.1")], [], "", True),
        (app(EDGE), [], [], "", True),
    ],
)  # fmt: skip
def test_the_surest_sign_counts(
    to: Any, contexts: list[Context], clusters: list[Registered], name: str, is_sure: bool
) -> None:
    way = way_to(to, [HUB, *contexts], clusters, HUB)
    assert (way.context, bool(way.doubt)) == (name, not is_sure)
    assert bool(way.why_not) is not bool(name)
    assert way.there


def test_several() -> None:
    two = [context("a", EDGE), context("b", EDGE)]
    assert "several contexts lead there: a, b" in way_to(app(EDGE), two, [], HUB).why_not
    assert way_to(app(EDGE), two, [], HUB, chosen="b") == way_to(app(EDGE), two[1:], [], HUB)
    same = [context("a", EDGE, user="me"), context("b", EDGE, user="me"), context("c", EDGE)]
    assert way_to(app(EDGE), same, [], HUB).context == "a", "they differ by the namespace alone"
    # One CA for the machines of two clusters proves nothing.
    shared = [
        context("a", "https://10.0.0.1", authority=PEM),
        context("b", "https://10.0.0.2", authority=PEM),
    ]
    assert "several" in way_to(app(EDGE), shared, [Registered("edge", EDGE, PEM)], HUB).why_not


@pytest.mark.parametrize(
    ("to", "clusters"),
    [
        (app(application.IN_CLUSTER), []),
        (app("https://kubernetes.default.svc.cluster.local:443"), []),
        (app(name="in-cluster"), []),
        (app(name="self"), [Registered("self", application.IN_CLUSTER)]),
        (app("https://hub.example.com/"), []),
        (app(name="self"), [Registered("self", "https://hub.example.com")]),
        (app("https://internal"), [Registered("self", "https://internal", PEM)]),
    ],
)
def test_the_cluster_of_argo_cd_itself(to: Any, clusters: list[Registered]) -> None:
    hub = Context(HUB.name, HUB.cluster, HUB.user, HUB.server, PEM)
    assert way_to(to, [hub, context("a", EDGE)], clusters, hub) == HERE


def test_managed_argo_cd_names_its_own_cluster_by_arn() -> None:
    mine = Context("mine", ARN, "me", "https://ABC.gr7.eu-west-1.eks.amazonaws.com")
    assert way_to(app(ARN), [mine], [], mine) == HERE


def test_a_context_that_is_named() -> None:
    contexts = [HUB, context("a", EDGE), context("b", "https://b.example.com")]
    assert way_to(app(EDGE), contexts, [], HUB, chosen="a").doubt == ""
    wrong = way_to(app(EDGE), contexts, [], HUB, chosen="b")
    assert wrong.context == "b" and "leads to https://b.example.com: is it the same?" in wrong.doubt
    assert "is not in the kubeconfig" in way_to(app(EDGE), contexts, [], HUB, chosen="c").doubt
    assert way_to(app(EDGE), [], [], HUB, unread="it is broken").why_not == "it is broken"


def secret(**data: str) -> Any:
    """A cluster's Secret."""
    return {"data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}}


def test_what_a_secret_tells() -> None:
    config = json.dumps({"tlsClientConfig": {"caData": base64.b64encode(PEM.encode()).decode()}})
    assert destination.registered(secret(name="edge", server=EDGE, config=config)) == Registered(
        "edge", EDGE, PEM
    )
    assert destination.registered(secret(server=EDGE, config="{")) == Registered(EDGE, EDGE)
    for odd in ('{"tlsClientConfig": {"caData": "%"}}', "[]", "{}", "null"):
        assert destination.registered(secret(name="edge", server=EDGE, config=odd)) == Registered(
            "edge", EDGE
        )
    assert destination.registered({"data": None}) is None
