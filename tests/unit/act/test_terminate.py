"""A termination that the controller's pass writes over is given again, for as long as is sensible.

Argo CD: controller/appcontroller.go processRequestedAppOperation writes Running where its pass
failed or starts a retry, whatever came meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kubectl_argo_rescue.act.procedure import TERMINATIONS
from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.incident import Incident
from kubectl_argo_rescue.simulation.wire import Request, timestamp

from ..harness import Run
from ..scenes import hide_version, played


def _retries(incident: Incident, name: str, why: str = "one or more objects failed to apply") -> None:
    """Have an operation fail and wait for its next try."""
    incident.argocd.failing[f"argocd/{name}"] = why
    retry = {"limit": 50, "backoff": {"duration": "2s", "factor": 1, "maxDuration": "2s"}}

    def order(live: Any) -> None:
        live["operation"] = {"retry": retry, "sync": {"revision": live["status"]["sync"]["revision"]}}

    incident.api.edit(APPLICATION, "argocd", name, order)
    incident.argocd.run(3)
    state = _state(incident.api, name)
    assert state["phase"] == "Running" and state["retryCount"] > 0


def _state(api: InMemoryApi, name: str) -> Any:
    return api.find(APPLICATION, "argocd", name)["status"]["operationState"]


def _overwritten(api: InMemoryApi, name: str, times: int) -> Callable[[], int]:
    """Have the pass that runs meanwhile end after our write; the result counts our terminations."""
    given: list[Request] = []

    def fails(asked: Request, response: Response) -> None:
        if asked.method != "PATCH" or b"Terminating" not in (asked.body or b"") or response.status != 200:
            return
        given.append(asked)
        if len(given) > times:
            return

        def retried(live: Any) -> None:
            state = live["status"]["operationState"]
            state |= {
                "phase": "Running",
                "finishedAt": timestamp(api.clock()),
                "retryCount": state["retryCount"] + 1,
            }

        api.edit(APPLICATION, "argocd", name, retried)

    api.after.append(fails)
    return lambda: len(given)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_terminate_is_given_again(run: Run, times: int) -> None:
    incident = played("free", run).incident
    _retries(incident, "traefik")
    given = _overwritten(incident.api, "traefik", times)
    ran = run(incident.api, "terminate", "traefik", "--yes")
    assert ran.code == 0, ran.err
    assert ran.err.count("went over its termination") == times
    assert given() == times + 1
    assert "has ended: Failed: Operation terminated" in ran.err
    assert "operation" not in incident.api.find(APPLICATION, "argocd", "traefik")


def test_terminate_does_not_go_on_for_ever(run: Run) -> None:
    incident = played("free", run).incident
    _retries(incident, "traefik")
    given = _overwritten(incident.api, "traefik", 10_000)
    ran = run(incident.api, "terminate", "traefik", "--yes")
    assert ran.code == 6
    assert "it does not end; clear it by hand" in ran.err
    assert 3 < given() <= 1 + 2 * TERMINATIONS


def test_an_owner_that_retries_is_ended_before_the_pin(run: Run) -> None:
    incident = played("incident", run).incident
    _retries(incident, "root")
    given = _overwritten(incident.api, "root", 1)
    ran = run(incident.api, "rescue", "traefik", "--yes")
    assert ran.code == 0, ran.err
    assert "waiting for the operation of root to end" in ran.err
    assert given() == 2 and _state(incident.api, "root")["phase"] == "Failed"
    written = [json.loads(r.body or b"[]") for r in incident.api.requests if r.method == "PATCH"]
    texts = [json.dumps(body) for body in written]
    ended = max(i for i, text in enumerate(texts) if "Terminating" in text)
    pinned = next(i for i, text in enumerate(texts) if '"/spec/source/targetRevision"' in text)
    assert ended < pinned


def test_a_slow_controller_that_needs_no_open_window_gets_time(run: Run) -> None:
    # Argo CD 3.6: a window does not keep a terminated operation from ending.
    incident = played("stuck", run).incident
    steps = iter(range(100))

    def slow() -> bool:
        incident.clock.advance(0.5)
        return next(steps) > 40 and incident.argocd.step()

    incident.api.idle = slow
    ran = run(incident.api, "terminate", "traefik")
    assert ran.code == 0, ran.err
    assert "has ended: Failed: Operation terminated" in ran.err
    assert next(steps) > 40, "it has waited"
    written = [r.path for r in incident.api.requests if r.method == "PATCH" and "appprojects" in r.path]
    assert not written


def test_an_owner_that_takes_long_to_end_is_waited_for(run: Run) -> None:
    incident = played("incident", run).incident
    _retries(incident, "root")
    slow = iter(range(20))

    def step() -> bool:
        incident.clock.advance(0.5)
        is_held = _state(incident.api, "root")["phase"] == "Terminating" and next(slow, None) is not None
        return not is_held and incident.argocd.step()

    incident.api.idle = step
    ran = run(incident.api, "rescue", "traefik", "--yes")
    assert ran.code == 0, ran.err
    assert "does not end" not in ran.err
    assert next(slow, None) is None and _state(incident.api, "root")["phase"] == "Failed"


@pytest.mark.parametrize("version", [(2, 14), (3, 0), (3, 3)])
@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_opened_is_as_it_was(run: Run, version: tuple[int, int], is_known: bool) -> None:
    # Argo CD drops the empty syncPolicy that the pause leaves (normalizeApplication), so that what
    # was read then is not what is there when the pause is taken back.
    incident = played("stuck", run, version).incident
    if not is_known:
        hide_version(incident.api)
    root = incident.api.find(APPLICATION, "argocd", "root")["spec"]
    project = incident.api.find(APPPROJECT, "argocd", "cluster")["spec"]
    ran = run(incident.api, "terminate", "traefik", "--yes")
    assert ran.code == 0, ran.err
    assert "has ended: Failed: Operation terminated" in ran.err
    assert "root auto-sync restored" in ran.out
    assert incident.api.find(APPLICATION, "argocd", "root")["spec"] == root
    assert incident.api.find(APPPROJECT, "argocd", "cluster")["spec"] == project
    assert run(incident.api, "log", "--open", "-o", "name").out == ""
