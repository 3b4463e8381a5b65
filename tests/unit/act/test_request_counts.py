"""How many requests each verb sends, on the in-memory API: a number that grows must be wanted.

Aspects: reads, reviews, writes and watches of each verb in the incident; no object is read twice by a
command that only reads or only edits; nothing asks for discovery; the read that the connection is
opened with is one that every verb makes.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from kubectl_argo_rescue.cluster import connect
from kubectl_argo_rescue.simulation.wire import Request

from ..harness import Run
from ..played import traefik_incident

REVIEWS = ("/selfsubjectaccessreviews", "/selfsubjectreviews")


def _kind(asked: Request) -> str:
    if asked.path.endswith(REVIEWS):
        return "review"
    if asked.method == "GET":
        if "watch" in dict(asked.query):
            return "watch"
        return "read"
    return asked.method


def _read_twice(requests: list[Request]) -> list[str]:
    reads = Counter(f"{a.path} {json.dumps(sorted(a.query))}" for a in requests if _kind(a) == "read")
    return [read for read, times in reads.items() if times > 1]


READ = {"review": 1}
WRITE = {"review": 2}
"""Who we are, and whether we may patch Applications."""

CASES = {
    "status": {"read": 12, **READ},
    "status traefik": {"read": 13, **READ},
    "windows traefik": {"read": 10, **READ},
    "log": {"read": 7, **READ},
    "report": {"read": 7, **READ},
    "pause root": {"read": 8, **WRITE, "POST": 2, "PATCH": 2},
    "pause traefik --yes": {"read": 10, **WRITE, "POST": 2, "PATCH": 2},
    # The AppProject is another kind, and the owner another object.
    "unblock traefik --yes": {"read": 11, "review": 3, "POST": 3, "PATCH": 3},
    "pin traefik 2.4.1 --only": {"read": 10, **WRITE, "POST": 2, "PATCH": 2},
    "pin traefik 2.4.1 --yes": {"read": 10, **WRITE, "POST": 3, "PATCH": 3},
    "pin traefik 2.4.1 --dry-run": {"read": 10, **WRITE},
    "sync root": {"read": 8, **WRITE, "POST": 2, "PATCH": 2},
}
"""POST: the journal's entry and an Event for each edit. PATCH: each edit, and the journal's outcome."""


@pytest.mark.parametrize("line", CASES)
def test_requests(run: Run, line: str) -> None:
    api = traefik_incident().api
    before = len(api.requests)
    assert run(api, *line.split()).code == 0
    asked = api.requests[before:]
    assert dict(Counter(map(_kind, asked))) == CASES[line]
    assert _read_twice(asked) == []
    assert {"/api", "/apis", "/version", "/openapi/v3"}.isdisjoint(a.path for a in asked)
    assert connect.FIRST in [a.path for a in asked]


@pytest.mark.parametrize("line", ["log", "report", "status", "status traefik", "undo --yes --dry-run"])
def test_nothing_is_read_twice_with_an_open_entry(run: Run, line: str) -> None:
    api = traefik_incident().api
    assert run(api, "pause", "traefik", "--yes").code == 0
    before = len(api.requests)
    assert run(api, *line.split()).code == 0
    assert _read_twice(api.requests[before:]) == []


def test_all_rights_of_a_rescue_are_asked_before_anything_else_is(run: Run) -> None:
    incident = traefik_incident()
    incident.push("2.5.1")
    incident.argocd.run(60, every=5)
    api = incident.api
    api.idle = lambda: incident.argocd.tick(0.5)
    before = len(api.requests)
    ran = run(api, "rescue", "traefik", "2.4.1", "--yes")
    assert ran.code == 0, ran.err
    asked = [a for a in api.requests[before:] if not a.path.endswith("/selfsubjectreviews")]
    places = [i for i, a in enumerate(asked) if _kind(a) == "review"]
    rights = [json.loads(asked[i].body or b"")["spec"]["resourceAttributes"] for i in places]
    verbs = Counter(f"{r['verb']} {r['resource']}" for r in rights)
    assert verbs == Counter(
        ["patch applications", "patch appprojects", "get deployments", "watch deployments"]
    )
    # The right to patch Applications is asked with the first reads, which say what else to ask.
    after_reads = places[1:]
    assert after_reads == list(range(after_reads[0], after_reads[0] + len(after_reads)))
