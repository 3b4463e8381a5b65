"""Following one object until it is as wanted.

Aspects: what is so already costs no request; a change that comes while it is watched; time that runs
out gives what was seen last; a deletion ends it; a watch that is cut goes on from a fresh read.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubectl_argo_rescue.cluster import Cluster
from kubectl_argo_rescue.errors import NotFound
from kubectl_argo_rescue.model import APPLICATION, JSON
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident


@pytest.fixture
def incident() -> Incident:
    return traefik_incident()


def followed(
    incident: Incident, wanted: Callable[[JSON], bool], idle: Callable[[], object]
) -> tuple[JSON, bool]:
    incident.api.idle = lambda: (idle(), incident.clock.advance(1))
    cluster = Cluster(incident.api, clock=lambda: incident.clock().timestamp())
    app = incident.api.get(APPLICATION, "argocd", "root")
    del incident.api.requests[:]
    return cluster.follow(APPLICATION, app, wanted, 10)


def is_marked(app: JSON) -> bool:
    return (app["metadata"].get("labels") or {}).get("seen") == "yes"


def mark(incident: Incident) -> None:
    def edit(app: JSON) -> None:
        app["metadata"]["labels"] = {"seen": "yes"}

    incident.api.edit(APPLICATION, "argocd", "root", edit)


def test_what_is_so_already_costs_nothing(incident: Incident) -> None:
    _, came = followed(incident, lambda app: True, lambda: None)
    assert came and incident.api.requests == []


def test_a_change_that_comes(incident: Incident) -> None:
    app, came = followed(incident, is_marked, lambda: mark(incident))
    assert came and is_marked(app)


def test_time_that_runs_out(incident: Incident) -> None:
    app, came = followed(incident, is_marked, lambda: None)
    assert not came and app["metadata"]["name"] == "root"


def test_a_deletion(incident: Incident) -> None:
    with pytest.raises(NotFound):
        followed(incident, is_marked, lambda: incident.api.remove(APPLICATION, "argocd", "root"))


def test_a_watch_that_is_cut(incident: Incident) -> None:
    def cut() -> None:
        mark(incident)
        incident.api.cut_streams()

    app, came = followed(incident, is_marked, cut)
    assert came and is_marked(app)
