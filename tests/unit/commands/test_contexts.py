"""Several clusters at once: `status`, `log` and `windows` with --contexts.

Covered: each cluster's answer in one table and one document, by names and by `all`; one that cannot be
reached is named and costs no other its answer (4), none that can is an error (1); contexts that are not
there, given twice over, or for what writes; slow ones are named while they are waited for.
"""

from __future__ import annotations

import threading

import pytest

from kubectl_argo_rescue.act import many_contexts
from kubectl_argo_rescue.act.options import Common
from kubectl_argo_rescue.cluster.transport import Target
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import Result
from kubectl_argo_rescue.simulation.incident import GOOD, Incident, traefik_incident

from ..harness import Run


@pytest.fixture
def two(run: Run, incident: Incident) -> Incident:
    """The incident as context prod, and beside it dev, which is rescued."""
    dev = traefik_incident()
    incident.api.where = Target("prod", "https://prod", "")
    dev.api.where = Target("dev", "https://dev", "")
    dev.api.idle = lambda: dev.argocd.tick(0.5)
    assert run(dev.api, "rescue", "traefik", "--yes", laptop="desk").code == 0
    run.contexts.update(prod=incident.api, dev=dev.api)
    return incident


def break_off(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise TransportError("connection refused", sent=False, lasting=True)

    monkeypatch.setattr(run.contexts[name], "request", away)


def test_status_of_all(run: Run, two: Incident) -> None:
    ran = run(two.api, "status", "--contexts", "all")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split() == ["CONTEXT", "APP", "SYNC", "HEALTH", "AUTO-SYNC", "WORST"]
    assert {line.split()[0] for line in lines[1:]} == {"prod", "dev"}
    [broken] = [line for line in lines if "argocd/traefik" in line and line.startswith("prod")]
    assert "Degraded" in broken
    [good] = [line for line in lines if line.startswith("dev") and "in all" in line]
    assert "3 in all" in good and "1 open entries" in good
    data = run(two.api, "status", "--contexts", "dev,prod", "-o", "json").json
    assert (data["status"], sorted(data["data"]["contexts"])) == ("done", ["dev", "prod"])
    assert len(data["data"]["contexts"]["dev"]["data"]["apps"]) == 3


def test_log_and_windows(run: Run, two: Incident) -> None:
    logged = run(two.api, "log", "--contexts", "prod,dev").out.splitlines()
    assert [line.split()[0] for line in logged if "rescue traefik" in line] == ["dev"]
    assert [line for line in logged if line.startswith("prod") and "(nothing)" in line]
    windows = run(two.api, "windows", "traefik", "--contexts", "all").out.splitlines()
    rows = {line.split()[0]: line.split()[1:4] for line in windows[1:]}
    assert rows == {"prod": ["argocd/traefik", "NO", "NO"], "dev": ["argocd/traefik", "yes", "yes"]}


def test_one_that_does_not_answer(run: Run, two: Incident, monkeypatch: pytest.MonkeyPatch) -> None:
    break_off(run, "prod", monkeypatch)
    ran = run(two.api, "windows", "traefik", "--contexts", "all")
    assert ran.code == 4 and "prod: connection refused" in ran.err
    assert [line.split()[:2] for line in ran.out.splitlines()[1:] if line.startswith("dev")]
    assert "(no answer)" in ran.out
    told = run(two.api, "status", "--contexts", "all", "-o", "json").json
    assert told["status"] != "done" and "connection refused" in told["data"]["contexts"]["prod"]["error"]
    assert told["data"]["contexts"]["dev"]["error"] is None
    break_off(run, "dev", monkeypatch)
    assert run(two.api, "status", "--contexts", "all").code == 1


def test_an_application_that_one_of_them_lacks(run: Run, two: Incident) -> None:
    ran = run(two.api, "status", "shop", "--contexts", "prod,dev")
    assert ran.code == 1 and ran.err.count("Application shop does not exist") == 2
    assert GOOD in run(two.api, "status", "traefik", "--contexts", "dev", "-o", "json").out


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--contexts", "nope"),
        ("status", "--contexts", ","),
        ("status", "--contexts", "all", "--context", "prod"),
        ("status", "--contexts", "all", "-o", "name"),
        ("log", "prune", "--older-than", "1d", "--contexts", "all"),
        ("log", "--exit-code", "--contexts", "all"),
        ("pin", "traefik", "2.4.1", "--contexts", "all"),
    ],
)
def test_what_does_not_go(run: Run, two: Incident, words: tuple[str, ...]) -> None:
    assert run(two.api, *words).code == 2


def test_who_is_slow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_contexts, "NAMED_AFTER_SECONDS", 0.01)
    go, said = threading.Event(), []

    def ask(common: Common) -> int:
        assert common.hear is not None
        if common.connection.context == "slow":
            go.wait(60)
        common.hear(Result("status"))
        return 0

    def say(text: str) -> None:
        said.append(text)
        go.set()

    found = [a.context for a in many_contexts.ask_each(Common(), ["slow", "quick"], ask, say)]
    assert found == ["quick", "slow"] and said == ["waiting for slow …"]
