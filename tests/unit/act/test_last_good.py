"""Which version is called good after what history, the spec and our own entries say; on the in-memory API.

Aspects: what runs and fails is not good whoever asked for something else; what a watch saw failing is
not proposed again, also by a rollback and after an undo; where only values or images differ the whole
source goes back; between a write and the next comparison the spec and the entry count; a mistyped pin
on top of a rescue neither stops the next one nor needs git to be undone; the next candidate is named.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.argocd.history import deployments, digest
from kubectl_argo_rescue.journal.encoding import to_line
from kubectl_argo_rescue.journal.records import Outcome, Record
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, CONFIGMAP, JSON
from kubectl_argo_rescue.simulation.incident import CHARTS, Incident, traefik_chart

from ..harness import Run


def spec_source(incident: Incident) -> JSON:
    return incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]


def revision(incident: Incident) -> str:
    asked: str = spec_source(incident)["targetRevision"]
    return asked


def past(incident: Incident) -> list[str]:
    history = incident.api.get(APPLICATION, "argocd", "traefik")["status"]["history"]
    return [h["revision"] for h in history]


def good(run: Run, incident: Incident) -> str:
    shown = " ".join(run(incident.api, "status", "traefik").out.split())
    return shown.partition("last good: ")[2]


def push(incident: Incident, version: str, *, broken: bool = False, **of_source: JSON) -> None:
    """Let root deploy another version or other values; deployed where no window stops it."""
    if broken:
        incident.api.idle = lambda: incident.argocd.tick(1)  # ten minutes until it counts as failed
        incident.argocd.workloads.broken_images.add(f"traefik:{version}")
    incident.charts.publish("traefik", version, traefik_chart(version))
    asked = {"repoURL": CHARTS, "chart": "traefik", "targetRevision": version, **of_source}
    incident.push(version, source=asked)
    incident.clock.advance(60)
    incident.argocd.run(200, every=5)


def thaw(incident: Incident) -> None:
    """Take the windows away that git has."""

    def apps(version: str, **changes: JSON) -> list[JSON]:
        found = before(version, **changes)
        found[0]["spec"]["syncWindows"] = []
        return found

    before = incident.apps
    incident.apps = apps
    push(incident, "2.5.1")
    assert not incident.api.get(APPPROJECT, "argocd", "cluster")["spec"].get("syncWindows")


def deployed(incident: Incident) -> None:
    """Have it that what is asked for was deployed: charts of the simulation render no values."""

    def changed(app: JSON) -> None:
        status, source = app["status"], app["spec"]["source"]
        at = f"{incident.clock():%Y-%m-%dT%H:%M:%SZ}"
        newest = {**status["history"][-1], "source": source, "deployedAt": at}
        status["history"].append({**newest, "id": newest["id"] + 1})
        status["operationState"]["syncResult"]["source"] = source

    incident.api.edit(APPLICATION, "argocd", "traefik", changed)
    incident.clock.advance(60)


def does(run: Run, incident: Incident, *words: str, code: int = 0) -> str:
    ran = run(incident.api, *words)
    assert ran.code == code, ran.out + ran.err
    incident.clock.advance(60)
    incident.argocd.run(60, every=5)
    return ran.out + ran.err


def test_what_runs_is_not_good_though_something_else_is_asked_for(run: Run, incident: Incident) -> None:
    push(incident, "2.5.2")
    assert past(incident) == ["2.4.1", "2.5.1"] and revision(incident) == "2.5.2"
    assert good(run, incident).startswith(
        "2.4.1: the newest successful version other than what runs (2.5.1) and the current target (2.5.2)"
    )
    does(run, incident, "rescue", "traefik", "--yes", "--no-wait")
    assert revision(incident) == "2.4.1"
    incident.push("2.4.1")
    does(run, incident, "undo", "--yes")
    assert "2.5.1" not in good(run, incident).partition(":")[0], "the rescue left what ran as well"


def test_nor_where_argocd_calls_it_healthy(run: Run, incident: Incident) -> None:
    frozen = incident.apps
    thaw(incident)
    push(incident, "2.5.2")
    incident.apps = frozen
    push(incident, "2.5.3")
    assert past(incident) == ["2.4.1", "2.5.1", "2.5.2"] and revision(incident) == "2.5.3"
    assert good(run, incident).startswith("2.5.1: the newest successful version other than what runs (2.5.2)")


def test_but_what_runs_well_while_the_version_asked_for_cannot_be_had(run: Run, incident: Incident) -> None:
    thaw(incident)
    push(incident, "2.5.2")
    incident.push("2.9.9")
    incident.clock.advance(60)
    incident.argocd.run(200, every=5)
    assert good(run, incident).startswith(
        "2.5.2: the newest successful version other than the current target"
    )


def test_what_a_watch_saw_failing_is_not_proposed_again(run: Run, incident: Incident) -> None:
    thaw(incident)
    push(incident, "2.5.2", broken=True)
    assert past(incident) == ["2.4.1", "2.5.1", "2.5.2"]
    said = does(run, incident, "rescue", "traefik", "--yes", code=1)
    assert revision(incident) == "2.5.1" and "next candidate: 2.4.1 (history id 0 of" in said
    entry = said.rpartition("undo ")[2].split()[0]
    seen = "watched traefik: Deployment traefik/traefik: it exceeded its progress deadline"
    shown = run(incident.api, "show", entry).out
    assert seen in shown, shown
    events = run(incident.api, "report", "-o", "json").json["data"]["timeline"]
    assert [e["result"] for e in events if e["what"] == seen] == ["failed"]
    assert good(run, incident).startswith("2.4.1")
    does(run, incident, "rescue", "traefik", "--yes")
    assert revision(incident) == "2.4.1"


def test_nor_what_a_watch_of_its_own_saw(run: Run, incident: Incident) -> None:
    thaw(incident)
    push(incident, "2.5.2", broken=True)
    does(run, incident, "rescue", "traefik", "--yes", "--no-wait")
    does(run, incident, "watch", "traefik", code=1)
    does(run, incident, "rescue", "traefik", "--yes")
    assert revision(incident) == "2.4.1"


@pytest.mark.parametrize("verb", ["rescue", "rollback"])
def test_what_was_seen_failing_is_known_after_an_undo_and_to_a_rollback(
    run: Run, incident: Incident, verb: str
) -> None:
    thaw(incident)
    push(incident, "2.5.2", broken=True)
    does(run, incident, verb, "traefik", "--yes", *(["--wait"] if verb == "rollback" else []), code=1)
    does(run, incident, "undo", "--yes", "--redeploy")
    assert good(run, incident).startswith("2.4.1")
    said = does(run, incident, "rollback", "traefik", "--yes")
    assert past(incident)[-1] == "2.4.1", said


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"parameters": [{"name": "image.tag", "value": "v1"}]}, {"parameters": [{"name": "image.tag", "value": "v2"}]}),
        ({}, {"valuesObject": {"replicas": 0}}),
    ],
    ids=["an image tag", "values"],
)  # fmt: skip
def test_where_only_values_changed_the_whole_source_goes_back(
    run: Run, incident: Incident, was: JSON, now: JSON
) -> None:
    thaw(incident)
    push(incident, "2.5.0", **({"helm": was} if was else {}))
    push(incident, "2.5.0", helm=now)
    deployed(incident)
    assert past(incident) == ["2.4.1", "2.5.1", "2.5.0", "2.5.0"] and spec_source(incident)["helm"] == now
    said = does(run, incident, "rescue", "traefik", "--yes")
    assert revision(incident) == "2.5.0" and spec_source(incident).get("helm", {}) == was
    assert "helm of the source changed since then and goes back with it" in said
    again = does(run, incident, "rescue", "traefik", "--yes")
    assert "already at 2.5.0" in again


def test_before_the_next_comparison_the_spec_and_the_entry_count(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 0, ran.err
    again = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert again.code == 0 and "already at 2.4.1" in again.out, again.out + again.err
    assert revision(incident) == "2.4.1"


def test_one_typo_is_no_dead_end(run: Run, incident: Incident) -> None:
    does(run, incident, "rescue", "traefik", "--yes")
    does(run, incident, "pin", "traefik", "2.4.9", "--yes")
    assert good(run, incident).startswith("2.4.1")
    does(run, incident, "rollback", "traefik", "--yes", "--dry-run")
    does(run, incident, "undo", "--yes", "--dry-run")
    said = does(run, incident, "pin", "traefik", "2.4.8", "--yes")
    entry = said.rpartition("undo ")[2].strip()
    does(run, incident, "undo", entry, "--yes")
    assert revision(incident) == "2.4.9"
    does(run, incident, "rescue", "traefik", "--yes")
    assert revision(incident) == "2.4.1"


def test_a_pin_on_top_of_a_rescue_can_be_undone(run: Run, incident: Incident) -> None:
    does(run, incident, "rescue", "traefik", "--yes")
    said = does(run, incident, "pin", "traefik", "2.4.9", "--yes")
    entry = said.rpartition("undo ")[2].strip()
    does(run, incident, "undo", entry, "--yes")
    assert revision(incident) == "2.4.1"
    refused = does(run, incident, "undo", "--yes", code=5)
    assert "git" in refused, "of the rescue itself git is asked as before"


def test_what_others_say_that_failed_is_said_where_it_decides(run: Run, incident: Incident) -> None:
    thaw(incident)
    push(incident, "2.5.2", broken=True)
    ran = run(incident.api, "rescue", "traefik", "--yes", user="bob", laptop="bobs")
    assert ran.code == 1 and revision(incident) == "2.5.1", ran.err
    entry = ran.err.rpartition("undo ")[2].split()[0]
    said = f"would be 2.5.2 but for what entry {entry} of bob says, of which this machine has no record"
    assert f"it {said}" in good(run, incident)
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait", "-o", "json")
    assert revision(incident) == "2.4.1"
    assert f"last good {said}" in ran.json["warnings"]


def test_what_others_add_to_an_own_entry_decides_nothing(run: Run, incident: Incident) -> None:
    thaw(incident)
    push(incident, "2.5.2", broken=True)
    said = does(run, incident, "rescue", "traefik", "--yes", "--no-wait")
    entry = said.rpartition("undo ")[2].strip()
    what = digest(deployments(incident.api.get(APPLICATION, "argocd", "traefik"))[0].identity)
    forged = Record(entry, "00090-ffffff", Outcome({}, at=incident.clock(), failed=what))
    there = f"argo-rescue-{entry}"
    incident.api.edit(
        CONFIGMAP, "argocd", there, lambda obj: obj["data"].update({forged.id: to_line(forged)})
    )
    said = does(run, incident, "rescue", "traefik", "--yes", "--dry-run")
    assert "next candidate: 2.4.1 (history id 0" in said
