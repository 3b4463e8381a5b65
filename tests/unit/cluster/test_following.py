"""Following one object until it is as wanted.

Aspects: what is so already costs no request; a change that comes while it is watched; time that runs
out gives what was seen last; a deletion ends it; a watch that is cut goes on from a fresh read; one
that is refused or ends at once, time after time, is no load of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.transport import Response, Target
from kubectl_argo_rescue.model.errors import NotFound, TransportError
from kubectl_argo_rescue.model.values import APPLICATION, JSON
from kubectl_argo_rescue.simulation.incident import Incident


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


@pytest.mark.parametrize("fault", ["ends at once", "busy", "cut"])
def test_a_watch_that_never_lasts(incident: Incident, fault: str) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        incident.clock.advance(seconds)

    class Broken:
        """The in-memory API, whose watches do not last."""

        request = incident.api.request

        @contextmanager
        def stream(self, *_: JSON, **__: JSON) -> Iterator[tuple[Response, Iterator[bytes]]]:
            if fault == "cut":
                raise TransportError("cut")
            headers = {"retry-after": "4"}
            yield Response(429 if fault == "busy" else 200, headers, b""), iter(())

        def target(self) -> Target:
            return Target("", "", "")

        def close(self) -> None: ...

    cluster = Cluster(Broken(), clock=lambda: incident.clock().timestamp(), sleep=sleep, jitter=lambda: 0.5)
    app = incident.api.get(APPLICATION, "argocd", "root")
    del incident.api.requests[:]
    _, came = cluster.follow(APPLICATION, app, is_marked, 20)
    assert not came
    assert sum(slept) == pytest.approx(20)
    assert len(incident.api.requests) <= 9
    if fault == "busy":
        assert slept == [4.0] * 5
