"""Mutating admission: what the server's answer lacks was not done, whatever its status code.

Covered: a pause, a pin, a window, an undo, an order, the end of an operation, a workload taken back, a
server dry run; nothing further is written; what was done otherwise or in part is owed and goes back;
what a webhook puts in besides is no matter; a journal whose ConfigMap or claim was not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubectl_argo_rescue.journal.local import LocalHome
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, DEPLOYMENT, JSON
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, Incident

from ..harness import Run


def webhook(incident: Incident, kind: str, name: str, change: Callable[[Any], object]) -> None:
    """Install one that changes an object whenever it is written by a request."""

    def mutate(obj: JSON) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name):
            change(obj)

    incident.api.mutating.append(mutate)


def app(incident: Incident, name: str) -> JSON:
    return incident.api.get(APPLICATION, "argocd", name)


def no_pause(obj: JSON) -> None:
    obj["spec"]["syncPolicy"]["automated"].pop("enabled", None)


def written(incident: Incident) -> list[str]:
    """The objects that requests wrote, without the journal and Events."""
    return [
        f"{r.path.rsplit('/', 1)[1]}"
        for r in incident.api.writes()
        if "/configmaps" not in r.path and "/events" not in r.path
    ]


def left_open(run: Run, incident: Incident) -> list[str]:
    return [entry["id"] for entry in run(incident.api, "log", "--open", "-o", "json").json["data"]["entries"]]


def test_a_pause_that_a_webhook_takes_out_stops_the_rest(run: Run, incident: Incident) -> None:
    webhook(incident, "Application", "root", no_pause)
    ran = run(incident.api, "pin", "traefik", GOOD, "--yes")
    assert ran.code == 1
    assert "/spec/syncPolicy/automated/enabled should be false and is (absent)" in ran.err
    assert written(incident) == ["root"]
    assert app(incident, "traefik")["spec"]["source"]["targetRevision"] == BAD
    assert left_open(run, incident) == [], "nothing was done"


def test_a_rescue_stops_there_as_well(run: Run, incident: Incident) -> None:
    webhook(incident, "Application", "root", no_pause)
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 1 and "should be false and is (absent)" in ran.err
    assert written(incident) == ["root"]


def test_a_dry_run_on_the_server_knows(run: Run, incident: Incident) -> None:
    webhook(incident, "Application", "root", no_pause)
    ran = run(incident.api, "pause", "root", "--dry-run=server")
    assert ran.code == 1 and "should be false and is (absent)" in ran.err
    assert written(incident) == []


def test_what_was_done_otherwise_is_owed(run: Run, incident: Incident) -> None:
    def turn(obj: JSON) -> None:
        automated = obj["spec"]["syncPolicy"]["automated"]
        if automated.get("enabled") is False:
            automated["enabled"] = True

    webhook(incident, "Application", "root", turn)
    ran = run(incident.api, "pause", "root")
    assert ran.code == 1
    assert "/spec/syncPolicy/automated/enabled should be false and is true" in ran.err
    assert "what is there now goes back with undo" in ran.err
    (entry,) = left_open(run, incident)
    undone = run(incident.api, "undo", entry, "--yes")
    assert undone.code == 0, undone.err
    assert "enabled" not in app(incident, "root")["spec"]["syncPolicy"]["automated"]
    assert left_open(run, incident) == []


def test_what_a_webhook_adds_besides_is_no_matter(run: Run, incident: Incident) -> None:
    webhook(
        incident, "Application", "root", lambda o: o["metadata"].setdefault("labels", {}).update(seen="1")
    )
    assert run(incident.api, "pause", "root").code == 0


def test_a_restore_that_a_webhook_keeps_back_stays_owed(run: Run, incident: Incident) -> None:
    entry = run(incident.api, "pause", "root", "-o", "json").json["entry"]
    webhook(
        incident, "Application", "root", lambda o: o["spec"]["syncPolicy"]["automated"].update(enabled=False)
    )
    ran = run(incident.api, "undo", entry, "--yes")
    assert ran.code == 1 and "should be (absent) and is false" in ran.err
    assert left_open(run, incident) == [entry]
    incident.api.mutating.clear()
    assert run(incident.api, "undo", entry, "--yes").code == 0
    assert left_open(run, incident) == []


def test_a_window_that_a_webhook_puts_back(run: Run, incident: Incident) -> None:
    windows = incident.api.get(APPPROJECT, "argocd", "cluster")["spec"]["syncWindows"]
    webhook(incident, "AppProject", "cluster", lambda o: o["spec"].update(syncWindows=windows))
    ran = run(incident.api, "unblock", "traefik", "--yes")
    assert ran.code == 1, ran.err
    assert "/spec/syncWindows" in ran.err
    (entry,) = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert [e["outcome"] for e in entry["edits"] if e["kind"] == "AppProject"] == ["not-applied"]


@pytest.mark.parametrize("taken", ["all of it", "our id"])
def test_an_order_that_does_not_arrive(run: Run, incident: Incident, taken: str) -> None:
    def drop(obj: JSON) -> None:
        if "operation" in obj:
            if taken == "our id":
                del obj["operation"]["info"]
            else:
                del obj["operation"]

    webhook(incident, "Application", "web", drop)
    incident.api.edit(APPPROJECT, "argocd", "cluster", lambda obj: obj["spec"].update(syncWindows=[]))
    ran = run(incident.api, "sync", "web")
    assert ran.code == 1
    assert "/operation" in ran.err and "(absent)" in ran.err
    (entry,) = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert [o["outcome"] for o in entry["orders"]] == ["not-applied" if taken == "all of it" else "in-doubt"]


def test_a_workload_that_stays_as_it_was(run: Run, incident: Incident) -> None:
    def keep(obj: JSON) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"traefik:{BAD}"

    webhook(incident, "Deployment", "traefik", keep)
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--yes", "--no-wait")
    assert ran.code == 1
    assert f'/image should be "traefik:{GOOD}" and is "traefik:{BAD}"' in ran.err
    (entry,) = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert [r["outcome"] for r in entry["rollouts"]] == ["not-applied"]


def test_a_workload_that_becomes_something_else_is_in_doubt(run: Run, incident: Incident) -> None:
    def other(obj: JSON) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "traefik:latest"

    webhook(incident, "Deployment", "traefik", other)
    assert run(incident.api, "rescue", "traefik", "--workloads", "--yes", "--no-wait").code == 1
    (entry,) = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert [r["outcome"] for r in entry["rollouts"]] == ["in-doubt"]


def test_a_sidecar_is_no_matter(run: Run, incident: Incident) -> None:
    def inject(obj: JSON) -> None:
        pod = obj["spec"]["template"]["spec"]
        if len(pod["containers"]) == 1:
            pod["containers"].append({"name": "mesh", "image": "mesh:1"})

    webhook(incident, "Deployment", "traefik", inject)
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--yes", "--no-wait")
    assert ran.code == 0, ran.err
    images = [c["image"] for c in incident.api.get(DEPLOYMENT, "traefik", "traefik")["spec"]["template"]["spec"]["containers"]]  # fmt: skip
    assert images == [f"traefik:{GOOD}", "mesh:1"]


def no_records(obj: JSON) -> None:
    if obj["kind"] == "ConfigMap" and obj["metadata"]["name"].startswith("argo-rescue-"):
        obj.pop("data", None)


def test_a_journal_without_its_records_is_kept_on_this_machine_alone(run: Run, incident: Incident) -> None:
    incident.api.mutating.append(no_records)
    ran = run(incident.api, "pause", "root")
    assert ran.code == 0, ran.err
    assert "the journal in the cluster cannot be written" in ran.err and "is not in its answer" in ran.err
    assert "it is kept on this machine alone" in ran.err
    entry = left_open(run, incident)[0]
    assert run(incident.api, "undo", entry, "--yes").code == 0


def test_without_any_home_that_keeps_the_originals_nothing_is_written(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(self: LocalHome, entry: str, lines: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalHome, "append", no_disk)
    incident.api.mutating.append(no_records)
    assert run(incident.api, "pause", "root").code == 5
    assert written(incident) == []


def test_a_claim_that_is_not_kept_is_said(run: Run, incident: Incident) -> None:
    entry = run(incident.api, "pause", "root", "-o", "json").json["entry"]

    def no_claim(obj: JSON) -> None:
        if obj["kind"] == "ConfigMap":
            (obj.get("data") or {}).pop("claim", None)

    incident.api.mutating.append(no_claim)
    ran = run(incident.api, "undo", entry, "--yes")
    assert ran.code == 0, ran.err
    assert "cannot be claimed" in ran.err
