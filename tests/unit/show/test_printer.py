"""The one JSON envelope: the same keys from every verb, whatever went wrong and however early.

Covered: success, usage errors, an API server that is not there, an object that is not there,
refusals, faults of our own, JSON and YAML.
Left out: what is in `data` (each verb's own tests).
"""

from __future__ import annotations

import importlib.util
import json
import signal
from typing import Any

import pytest
import yaml

from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.cluster.transport import Connection, Response
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.show.steps import STATUS_WORDS
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import Incident
from kubectl_argo_rescue.simulation.wire import Request

from ..harness import Ran, Run

KEYS = ["apiVersion", "kind", "verb", "entry", "status", "edits", "warnings", "data"]
EDIT_KEYS = ["kind", "namespace", "name", "status", "patch", "reason"]

VERBS = [
    verb
    for verb, (module, _) in root.VERBS.items()
    if importlib.util.find_spec(f"kubectl_argo_rescue.commands.{module}")
]

SPEAKS_NO_ENVELOPE = {"completion", "drill"}
"""completion prints a script, drill is a play for a person."""

ENVELOPED = [verb for verb in VERBS if verb not in SPEAKS_NO_ENVELOPE]

WORDS = {
    "pause": ["root"],
    "orphan": ["traefik"],
    "unblock": ["traefik"],
    "pin": ["traefik", "2.4.1"],
    "sync": ["traefik"],
    "rollback": ["traefik"],
    "terminate": ["traefik"],
    "rescue": ["traefik"],
    "watch": ["traefik"],
    "show": ["7f3a1c"],
}
"""The arguments that a verb needs."""


@pytest.fixture
def api() -> InMemoryApi:
    """A cluster without Argo CD, for what ends before it is looked at."""
    return InMemoryApi(SteppedClock())


def check(document: Any, verb: str, ran: Ran) -> None:
    assert list(document) == KEYS
    assert (document["apiVersion"], document["kind"]) == ("argo-rescue/v1", "Result")
    assert document["verb"] == verb
    assert document["status"] in {*STATUS_WORDS.values(), "planned"}
    assert isinstance(document["entry"], str)
    assert all(list(edit) == EDIT_KEYS for edit in document["edits"])
    assert all(isinstance(text, str) for text in document["warnings"])
    assert isinstance(document["data"], dict)
    if document["status"] != "planned":
        assert STATUS_WORDS[ran.code] == document["status"]  # type: ignore[index]


@pytest.mark.parametrize(
    "words",
    [
        ["pause", "root"],
        ["pause", "root", "--dry-run=client"],
        ["pause", "root", "--dry-run=server"],
        ["unblock", "traefik", "--yes"],
        ["pin", "traefik", "2.4.1", "--yes"],
        ["log"],
        ["log", "prune", "--older-than", "1d"],
        ["windows"],
        ["windows", "traefik"],
        ["report"],
        ["version"],
    ],
)
def test_success(run: Run, incident: Incident, words: list[str]) -> None:
    ran = run(incident.api, *words, "-o", "json")
    assert ran.code == 0, ran.err
    check(ran.json, words[0], ran)


def test_yaml_is_the_same_document(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    as_json = run(incident.api, "log", "-o", "json")
    as_yaml = run(incident.api, "log", "-o", "yaml")
    assert yaml.safe_load(as_yaml.out) == as_json.json


@pytest.mark.parametrize("verb", ENVELOPED)
@pytest.mark.parametrize("form", ["-ojson", "-o=json", "--output=json"])
def test_a_flag_that_is_not_there(run: Run, api: InMemoryApi, verb: str, form: str) -> None:
    ran = run(api, verb, form, "--no-such-flag")
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    check(ran.json, verb, ran)
    assert api.requests == []


@pytest.mark.parametrize("verb", [verb for verb in ENVELOPED if verb in WORDS])
def test_an_argument_that_is_missing(run: Run, api: InMemoryApi, verb: str) -> None:
    ran = run(api, verb, "-o", "json")
    assert ran.code == 2
    check(ran.json, verb, ran)


# `doctor` says on stdout what does not answer: that is what it was asked for (test_doctor.py).
@pytest.mark.parametrize("verb", [verb for verb in ENVELOPED if verb not in ("version", "doctor")])
def test_an_api_server_that_is_not_there(run: Run, api: InMemoryApi, verb: str) -> None:
    def cut(request: Request) -> Response | None:
        raise TransportError("connection refused", "is the VPN up?", sent=False)

    api.before.append(cut)
    ran = run(api, verb, *WORDS.get(verb, []), "-o", "json")
    assert ran.code == 1
    assert "connection refused" in ran.err
    check(ran.json, verb, ran)


@pytest.mark.parametrize("verb", [verb for verb in ENVELOPED if verb not in ("version", "doctor")])
def test_a_connection_that_cannot_be_opened(
    run: Run, api: InMemoryApi, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: Connection, **talk: Any) -> Any:
        raise TransportError("context nowhere does not exist", sent=False, lasting=True)

    monkeypatch.setattr(run, "open_cluster", refuse)
    ran = run(api, verb, *WORDS.get(verb, []), "-o", "yaml")
    assert ran.code == 1
    assert ran.err == "error: context nowhere does not exist (AR1201)\n"
    check(yaml.safe_load(ran.out), verb, ran)


@pytest.mark.parametrize("verb", [verb for verb in ENVELOPED if verb in WORDS])
def test_an_object_that_is_not_there(run: Run, incident: Incident, verb: str) -> None:
    words = [{"traefik": "trafik", "root": "rot"}.get(word, word) for word in WORDS[verb]]
    ran = run(incident.api, verb, *words, "-o", "json")
    assert ran.code == 1
    check(ran.json, verb, ran)
    assert ran.json["data"]["error"] in ran.err


def test_a_refusal(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "pin", "traefik", "2.4.1", "-o", "json")
    assert (ran.code, ran.json["status"]) == (5, "refused")
    check(ran.json, "pin", ran)


def test_a_verb_that_is_not_there(run: Run, api: InMemoryApi) -> None:
    ran = run(api, "puase", "root", "-o", "json")
    assert ran.code == 2
    check(ran.json, "", ran)
    assert "did you mean pause?" in ran.err


def test_a_fault_of_our_own(run: Run, api: InMemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: Connection, **talk: Any) -> Any:
        raise ZeroDivisionError("never mind")

    monkeypatch.setattr(run, "open_cluster", broken)
    ran = run(api, "log", "-o", "json")
    assert ran.code == 1
    assert ran.err.startswith("error: internal error: ZeroDivisionError: never mind")
    assert "Traceback" not in ran.err
    check(ran.json, "log", ran)


def test_stdout_is_one_document(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "pin", "traefik", "2.4.1", "--yes", "-o", "json")
    assert json.loads(ran.out) == ran.json
    assert [edit["status"] for edit in ran.json["edits"]] == ["applied", "applied"]


@pytest.mark.parametrize("verb", [verb for verb in ENVELOPED if verb != "version"])
def test_a_cluster_without_argo_cd(run: Run, api: InMemoryApi, verb: str) -> None:
    ran = run(api, verb, *WORDS.get(verb, []), "-o", "json")
    assert ran.code in (1, 2)
    check(ran.json, verb, ran)


@pytest.mark.parametrize("place", [[], ["--argocd-namespace", "argocd"]])
@pytest.mark.parametrize(
    "verb", [v for v in ENVELOPED if v not in ("version", "log", "show", "report", "doctor")]
)
def test_credentials_that_are_not_accepted(run: Run, incident: Incident, verb: str, place: list[str]) -> None:
    """Nothing of such an answer means that something is missing, empty or done."""
    run(incident.api, "pause", "root")
    refusal = {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"}

    def refuse(request: Request) -> Response:
        return Response(401, {"content-type": "application/json"}, json.dumps(refusal).encode())

    incident.api.before.append(refuse)
    before = len(incident.api.writes())
    ran = run(incident.api, verb, *WORDS.get(verb, []), *place)
    assert (ran.code, ran.out) == (1, ""), ran
    assert "log in again: the server does not accept these credentials" in ran.err
    assert not [r for r in incident.api.writes()[before:] if "reviews" not in r.path]


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("verb", ["pause", "rescue", "status", "undo"])
def test_interrupted_before_the_first_write(run: Run, incident: Incident, verb: str, form: str) -> None:
    def interrupt(request: Request) -> None:
        incident.api.before.clear()
        signal.raise_signal(signal.SIGINT)

    incident.api.before.append(interrupt)
    ran = run(incident.api, verb, *WORDS.get(verb, []), "-o", form)
    assert ran.code == 130, ran.err
    document = yaml.safe_load(ran.out)
    check(document, verb, ran)
    assert document["status"] == "interrupted"
