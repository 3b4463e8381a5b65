"""How a watch ends, event by event.

Aspects: a workload that says it failed is believed only when it still says so a moment later; what is
better in between counts; a revert and a deletion end it at once; time that runs out says what was
last; a server that is away for a while does not end it; what a dead watch did not say is read in the end.
"""

from __future__ import annotations

import copy
import itertools
import queue
import time
from collections.abc import Callable

import pytest

from kubectl_argo_rescue.act.watch import Ending, Feed, watch
from kubectl_argo_rescue.argocd.progress import Expectation, State, workload_keys
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.model.errors import ExitStatus, Forbidden, Overloaded
from kubectl_argo_rescue.model.values import APPLICATION, DEPLOYMENT, JSON, FieldChange, Key
from kubectl_argo_rescue.simulation.wire import Request

from ..played import traefik_incident

KEY = Key("Application", "argocd", "traefik")


@pytest.fixture
def good() -> tuple[JSON, Key, JSON]:
    """Return the app as it runs well, and its Deployment."""
    incident = traefik_incident()
    incident.argocd.run(30)
    app = incident.api.get(APPLICATION, "argocd", "traefik")
    (workload,) = workload_keys(app)
    live = incident.api.get(DEPLOYMENT, workload.namespace, workload.name)
    live["status"] = {
        "observedGeneration": live["metadata"]["generation"],
        "replicas": live["spec"]["replicas"],
        "updatedReplicas": live["spec"]["replicas"],
        "availableReplicas": live["spec"]["replicas"],
    }
    app["status"]["health"] = {"status": "Healthy"}
    return app, workload, live


def failing(live: JSON) -> JSON:
    """Return the Deployment as it is after its deadline."""
    failed = copy.deepcopy(live)
    failed["status"]["conditions"] = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]
    return failed


def watched(
    monkeypatch: pytest.MonkeyPatch,
    *events: tuple[Key, JSON],
    expectation: Expectation | None = None,
    clock: Callable[[bool], float] = lambda has_more: time.monotonic(),
    cluster: Cluster | None = None,
    hint: Callable[[JSON], str] = lambda app: "",
) -> Ending:
    """Watch what the events say; `clock` tells the time, knowing whether more of them wait."""
    coming: queue.SimpleQueue[tuple[Key, JSON]] = queue.SimpleQueue()
    for event in events:
        coming.put(event)

    class Script:
        def __init__(self, cluster: Cluster) -> None:
            self.events = coming

        def watch(self, *_: object) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr("kubectl_argo_rescue.act.watch.Feed", Script)
    monkeypatch.setattr("kubectl_argo_rescue.act.watch.SETTLE_SECONDS", 0.05)
    return watch(
        cluster or Cluster(traefik_incident().api),
        expectation or Expectation(KEY),
        timeout=60,
        show=lambda assessment: None,
        hint=hint,
        clock=lambda: clock(not coming.empty()),
    )


def is_over(has_more: bool) -> float:
    """The time of a watch whose time is over once it has looked at all that came."""
    return 0.0 if has_more else 60.0


def test_a_failure_that_stays_is_believed(
    monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]
) -> None:
    app, workload, live = good
    ending = watched(monkeypatch, (KEY, app), (workload, failing(live)))
    assert (ending.status, ending.assessment.state) == (ExitStatus.ERROR, State.FAILED)
    assert "progress deadline" in ending.message


def test_a_failure_of_the_pods_before_is_not(
    monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]
) -> None:
    app, workload, live = good
    ending = watched(monkeypatch, (KEY, app), (workload, failing(live)), (workload, live))
    assert (ending.status, ending.assessment.state) == (ExitStatus.OK, State.SUCCEEDED)


def test_what_came_already_counts_however_late_it_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]
) -> None:
    app, workload, live = good
    times = itertools.count()
    ending = watched(
        monkeypatch,
        *((KEY, app), (workload, failing(live)), (workload, live)),
        clock=lambda has_more: float(next(times)),  # each look takes longer than a failure has to stay
    )
    assert (ending.status, ending.assessment.state) == (ExitStatus.OK, State.SUCCEEDED)


def test_a_revert_ends_it(monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]) -> None:
    app, workload, live = good
    pin = FieldChange(("spec", "source", "targetRevision"), "2.5.1", "1.0.0")
    ending = watched(monkeypatch, (KEY, app), (workload, live), expectation=Expectation(KEY, "", (pin,)))
    assert ending.status is ExitStatus.CONFLICT
    assert "somebody put it back" in ending.message


def test_a_deletion_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = watched(monkeypatch, (KEY, None))
    assert ending.status is ExitStatus.ERROR
    assert "does not exist any more" in ending.message


def fed(monkeypatch: pytest.MonkeyPatch, answer: Response, times: int) -> JSON:
    """Return what a feed gives first where the server answers badly so many times before."""
    monkeypatch.setattr(Cluster, "backoff", lambda self, tries: 0.0)
    incident = traefik_incident()
    left = [times]

    def bad(request: Request) -> Response | None:
        left[0] -= 1
        return answer if left[0] >= 0 else None

    incident.api.before.append(bad)
    feed = Feed(Cluster(incident.api, sleep=lambda seconds: None))
    try:
        feed.watch(APPLICATION, KEY)
        return feed.events.get(timeout=30)[1]
    finally:
        feed.close()
        incident.api.cut_streams()


def test_a_server_that_is_away_for_a_while_does_not_end_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fed(monkeypatch, Response(503, {}, b""), 100)["metadata"]["name"] == "traefik"


def test_a_server_that_is_away_for_long_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubectl_argo_rescue.act.watch.GIVE_UP_SECONDS", 0.0)
    assert isinstance(fed(monkeypatch, Response(503, {}, b""), 10**6), Overloaded)


def test_a_right_that_was_taken_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(fed(monkeypatch, Response(403, {}, b""), 10**6), Forbidden)


def test_what_a_dead_watch_did_not_say_is_seen_before_it_times_out(
    monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]
) -> None:
    app, _, _ = good
    app["status"]["health"] = {"status": "Progressing"}
    incident = traefik_incident()
    incident.argocd.workloads.broken_images.clear()
    incident.argocd.run(60)
    ending = watched(monkeypatch, (KEY, app), clock=is_over, cluster=Cluster(incident.api))
    assert ending.status is ExitStatus.OK, ending


def test_a_server_that_is_gone_in_the_end_is_named(
    monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]
) -> None:
    app, _, _ = good
    app["status"]["health"] = {"status": "Progressing"}
    incident = traefik_incident()
    incident.api.before.append(lambda request: Response(403, {}, b"{}"))
    ending = watched(monkeypatch, (KEY, app), clock=is_over, cluster=Cluster(incident.api))
    assert ending.status is ExitStatus.TIMEOUT
    assert "cannot be read any more" in ending.message


def test_time_runs_out(monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON]) -> None:
    app, _, _ = good
    app["status"]["health"] = {"status": "Progressing"}
    ending = watched(monkeypatch, (KEY, app), clock=is_over)
    assert ending.status is ExitStatus.TIMEOUT


@pytest.mark.parametrize("is_known", [True, False])
def test_time_runs_out_before_the_first_look(
    monkeypatch: pytest.MonkeyPatch, good: tuple[JSON, Key, JSON], is_known: bool
) -> None:
    incident = traefik_incident()
    live = incident.api.get(APPLICATION, "argocd", "traefik")
    incident.api.edit(
        APPLICATION, "argocd", "traefik", lambda app: app["status"]["sync"].update(status="OutOfSync")
    )

    def hint(app: JSON) -> str:
        assert app["metadata"]["uid"] == live["metadata"]["uid"]
        if not is_known:
            raise Overloaded("the projects cannot be read", status=503)
        return "free it"

    times = itertools.count(step=60)
    ending = watched(monkeypatch, clock=lambda _: next(times), cluster=Cluster(incident.api), hint=hint)
    assert ending.status is ExitStatus.TIMEOUT
    assert ending.message.startswith("timed out; sync: OutOfSync"), ending.message
    assert ("free it" in ending.message) == is_known
