"""Where the parameters and values of a source are kept, of which an undo needs the original.

Covered: on this machine whole, beside Argo CD in a Secret where the user may keep Secrets there anyway,
else as a digest; the plan says where nobody else can put them back; a colleague's undo puts back what it
can have and refuses the rest, without a loss; what was altered is not believed; where neither the disk nor
a Secret takes the original nothing is written; addresses, conflicts and reasons without credentials.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.journal.local import LocalHome
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import APPLICATION, CONFIGMAP, JSON, SECRET
from kubectl_argo_rescue.simulation.incident import Incident
from kubectl_argo_rescue.simulation.wire import Request

from ..harness import Ran, Run

NOW = {"parameters": [{"name": "password", "value": "hunter2-now"}], "values": "token: hunter2-now\nx: 1\n"}
THEN = {"parameters": [{"name": "password", "value": "hunter2-then"}]}


@pytest.fixture
def entry(run: Run, values_incident: Incident) -> str:
    return rescued(run, values_incident).entry


@pytest.fixture
def values_incident(incident: Incident) -> Incident:
    """traefik deployed 2.4.1 with some values, and asks for others since: the rescue takes the whole source."""

    def changed(app: JSON) -> None:
        spec, status = app["spec"], app["status"]
        spec["source"] = {**spec["source"], "helm": NOW}
        status["history"][0]["source"] = {**status["history"][0]["source"], "helm": THEN}

    incident.api.edit(APPLICATION, "argocd", "traefik", changed)
    return incident


class Rescued:
    def __init__(self, ran: Ran) -> None:
        self.ran = ran
        self.entry = ran.err.rpartition("undo ")[2].strip()


def rescued(run: Run, incident: Incident, *words: str) -> Rescued:
    ran = run(incident.api, "rescue", "traefik", "--whole-source", "--yes", "--no-wait", *words, user="alice")
    assert ran.code == 0, ran.err
    assert source(incident)["helm"] == THEN
    return Rescued(ran)


def source(incident: Incident) -> JSON:
    return incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]


def undo_of_bob(run: Run, incident: Incident, *words: str) -> Ran:
    # git says nothing of it any more: what was there goes back.
    return run(incident.api, "undo", "--redeploy", "--yes", *words, user="bob", laptop="bobs")


def orphaned(incident: Incident) -> None:
    """Take root away, so that nobody but us decides what traefik asks for."""
    incident.api.remove(APPLICATION, "argocd", "root")

    def unowned(app: JSON) -> None:
        for kind in ("annotations", "labels"):
            app["metadata"].pop(kind, None)

    incident.api.edit(APPLICATION, "argocd", "traefik", unowned)


def config_maps(incident: Incident) -> str:
    return json.dumps(incident.api.objects(CONFIGMAP, "argocd"))


def test_config_maps_hold_a_digest_and_the_file_all(run: Run, values_incident: Incident, entry: str) -> None:
    assert "hunter2" not in config_maps(values_incident)
    assert "password" in config_maps(values_incident)
    (file,) = run.state_home().rglob(f"{entry}.jsonl")
    assert "hunter2-now" in file.read_text() and file.stat().st_mode & 0o777 == 0o600


def test_a_secret_is_no_secret_of_argo_cd(values_incident: Incident, entry: str) -> None:
    (secret,) = values_incident.api.objects(SECRET, "argocd")
    assert secret["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kubectl-argo-rescue",
        "argo-rescue/entry": entry,
    }
    assert secret["metadata"]["name"].startswith(f"argo-rescue-{entry}-") and secret["immutable"]
    (line,) = secret["data"].values()
    assert b"hunter2-now" in b64decode(line)


def test_with_the_secret_a_colleague_puts_it_back(run: Run, values_incident: Incident, entry: str) -> None:
    orphaned(values_incident)
    ran = undo_of_bob(run, values_incident)
    assert ran.code == 0, ran.err
    assert source(values_incident)["helm"] == NOW
    assert "hunter2" not in config_maps(values_incident) + ran.out + ran.err


@pytest.mark.parametrize("verb", ["create", "get"])
def test_without_both_rights_no_secret_is_written_and_the_plan_says_so(
    run: Run, values_incident: Incident, verb: str
) -> None:
    values_incident.api.deny(verb, "secrets")
    said = rescued(run, values_incident).ran.err
    assert "kept on this machine alone: nobody else can put them back" in said
    assert not values_incident.api.objects(SECRET, "argocd") and "hunter2" not in config_maps(values_incident)


def test_the_plan_says_it_in_a_dry_run_too(run: Run, values_incident: Incident) -> None:
    values_incident.api.deny("create", "secrets")
    ran = run(values_incident.api, "rescue", "traefik", "--whole-source", "--dry-run")
    assert "nobody else can put them back" in ran.err


def test_without_it_a_colleague_is_refused_and_nothing_is_lost(run: Run, values_incident: Incident) -> None:
    values_incident.api.deny("create", "secrets")
    entry = rescued(run, values_incident).entry
    orphaned(values_incident)
    shown = run(values_incident.api, "show", entry, "--values", user="bob", laptop="bobs")
    assert (
        "(2 lines, kept elsewhere)" in shown.out and "stands" in shown.out and "hunter2-then" not in shown.out
    )
    before = len(values_incident.api.writes())
    ran = undo_of_bob(run, values_incident)
    assert ran.code == 5, ran.err
    assert "the original of Application argocd/traefik /spec/source is not known here" in ran.err
    assert "kept by alice on " in ran.err
    assert len(values_incident.api.writes()) == before and source(values_incident)["helm"] == THEN
    ran = run(values_incident.api, "undo", "--redeploy", "--yes", user="alice")
    assert ran.code == 0, ran.err
    assert source(values_incident)["helm"] == NOW


def test_what_was_changed_since_is_a_conflict_and_not_shown(run: Run, values_incident: Incident) -> None:
    values_incident.api.deny("create", "secrets")
    rescued(run, values_incident)
    orphaned(values_incident)

    def changed(app: JSON) -> None:
        app["spec"]["source"]["helm"] = {"values": "token: hunter2-else"}

    values_incident.api.edit(APPLICATION, "argocd", "traefik", changed)
    for who in ("alice", "bob"):
        laptop = "laptop" if who == "alice" else "bobs"
        ran = run(values_incident.api, "undo", "-o", "json", "--yes", user=who, laptop=laptop)
        assert ran.code == 3, ran.err
        assert "hunter2" not in ran.out + ran.err
        assert "(1 line)" in json.dumps(ran.json["data"]["conflicts"])


def test_a_secret_that_says_something_else_is_not_believed(
    run: Run, values_incident: Incident, entry: str
) -> None:
    def forged(secret: JSON) -> None:
        ((key, line),) = secret["data"].items()
        text = b64decode(line).replace(b"hunter2-now", b"hunter2-bad")
        secret["data"][key] = b64encode(text).decode()

    (secret,) = values_incident.api.objects(SECRET, "argocd")
    values_incident.api.edit(SECRET, "argocd", secret["metadata"]["name"], forged)
    orphaned(values_incident)
    assert undo_of_bob(run, values_incident).code == 5
    assert source(values_incident)["helm"] == THEN


def test_an_answer_that_is_lost_makes_no_second_secret(run: Run, values_incident: Incident) -> None:
    lost: list[str] = []

    def lose(asked: Request, response: Response) -> None:
        if asked.method == "POST" and asked.path.endswith("/secrets") and not lost:
            lost.append(asked.path)
            raise TransportError("cut off")

    values_incident.api.after.append(lose)
    rescued(run, values_incident)
    assert lost and len(values_incident.api.objects(SECRET, "argocd")) == 1


@pytest.mark.parametrize("may", [True, False])
def test_a_full_disk_needs_the_secret(
    run: Run, values_incident: Incident, monkeypatch: pytest.MonkeyPatch, may: bool
) -> None:
    def full(home: LocalHome, entry: str, lines: list[str]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalHome, "append", full)
    if may:
        rescued(run, values_incident)
        orphaned(values_incident)
        assert undo_of_bob(run, values_incident).code == 0
        assert source(values_incident)["helm"] == NOW
        return
    values_incident.api.deny("create", "secrets")
    ran = run(values_incident.api, "rescue", "traefik", "--whole-source", "--yes", "--no-wait")
    assert ran.code == 5 and "the original cannot be saved anywhere" in ran.err, ran.err
    assert source(values_incident)["helm"] == NOW and "hunter2" not in config_maps(values_incident)


def test_pruned_with_its_entry(run: Run, values_incident: Incident, entry: str) -> None:
    orphaned(values_incident)
    assert undo_of_bob(run, values_incident).code == 0
    values_incident.clock.advance(90 * 86400)
    ran = run(values_incident.api, "log", "prune", "--older-than", "30d", "--yes", user="alice")
    assert f"entry/{entry} pruned" in ran.out, ran.err
    assert not [s for s in values_incident.api.objects(SECRET, "argocd") if entry in s["metadata"]["name"]]


def test_credentials_in_addresses_and_reasons(run: Run, values_incident: Incident, tmp_path: Path) -> None:
    def with_password(app: JSON) -> None:
        source = app["spec"]["source"]
        source["repoURL"] = source["repoURL"].replace("https://", "https://u:hunter2@")

    values_incident.api.edit(APPLICATION, "argocd", "root", with_password)
    ran = run(values_incident.api, "pause", "web", "--reason", "see https://u:hunter2@wiki/INC-1")
    assert ran.code == 0, ran.err
    kept = config_maps(values_incident) + "".join(p.read_text() for p in tmp_path.rglob("*.jsonl"))
    assert "hunter2" not in kept and "https://…@git.invalid/cluster.git" in kept.encode().decode(
        "unicode_escape"
    )
