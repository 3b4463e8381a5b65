"""`freeze` and its thaw, on the in-memory API.

Aspects: both controllers to 0 by their scale, journalled first; their pods deleted; what is stopped
already; who scales back; pods that do not end; rights that are missing; controllers elsewhere; an
operator's resource; what was under way; bare undo; thaw, and what it refuses.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.model.values import (
    APPLICATION,
    APPPROJECT,
    DEPLOYMENT,
    JSON,
    POD,
    STATEFULSET,
)
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from ..harness import Run

CONTROLLER = "argocd-application-controller"
SETS = "argocd-applicationset-controller"


@pytest.fixture
def incident() -> Incident:
    played = traefik_incident()
    played.api.idle = lambda: played.argocd.tick(0.5)
    return played


def replicas(incident: Incident) -> tuple[int, int]:
    """What is wanted of both controllers."""
    api = incident.api
    found = (api.get(STATEFULSET, "argocd", CONTROLLER), api.get(DEPLOYMENT, "argocd", SETS))
    return found[0]["spec"]["replicas"], found[1]["spec"]["replicas"]


def entry_of(run: Run, incident: Incident) -> str:
    """The newest entry."""
    return run(incident.api, "log", "-o", "name").out.split()[0].removeprefix("entry/")


def pod(name: str, part: str, **meta: JSON) -> JSON:
    """A pod of a controller."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "argocd", "labels": {"app.kubernetes.io/name": part}, **meta},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running"},
    }


def delete(incident: Incident, name: str) -> None:
    """Delete an Application with its cascade, as `kubectl delete` does."""

    def with_finalizer(app: Any) -> None:
        app["metadata"]["finalizers"] = ["resources-finalizer.argocd.argoproj.io"]

    incident.api.edit(APPLICATION, "argocd", name, with_finalizer)
    incident.api.delete(APPLICATION, "argocd", name)


def test_both_stand_still_and_come_back(run: Run, incident: Incident) -> None:
    incident.api.create(pod("argocd-application-controller-0", CONTROLLER))
    incident.api.create(pod("argocd-applicationset-controller-x", SETS))
    ran = run(incident.api, "freeze", "--reason", "INC-1")
    assert ran.code == 0, ran.err
    assert "statefulset.apps/argocd-application-controller stopped\n" in ran.out
    assert replicas(incident) == (0, 0)
    assert incident.api.objects(POD, "argocd") == []
    # The journal knew before anything was sent.
    writes = [(r.method, r.path.rpartition("/argocd/")[2]) for r in incident.api.writes()]
    assert writes[0] == ("POST", "configmaps")
    assert {w for w in writes if w[0] == "PATCH" and "scale" in w[1]} == {
        ("PATCH", f"statefulsets/{CONTROLLER}/scale"),
        ("PATCH", f"deployments/{SETS}/scale"),
    }
    # Nothing is healed or deleted now.
    delete(incident, "web")
    incident.argocd.run(30)
    assert incident.api.find(APPLICATION, "argocd", "web")
    assert incident.api.find(DEPLOYMENT, "web", "web")

    bare = run(incident.api, "undo", "--yes")
    assert bare.code == 5 and "is a freeze" in bare.err
    assert replicas(incident) == (0, 0)

    entry = entry_of(run, incident)
    refused = run(incident.api, "undo", entry, "--yes")
    assert refused.code == 5 and "web" in refused.err, refused.err
    assert replicas(incident) == (0, 0)
    assert incident.api.find(DEPLOYMENT, "web", "web")

    thawed = run(incident.api, "undo", entry, "--yes", "--let-delete", "web")
    assert thawed.code == 0, thawed.err
    assert replicas(incident) == (1, 1)
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


def test_status_says_frozen_and_what_waits(run: Run, incident: Incident) -> None:
    assert run(incident.api, "freeze", "--reason", "INC-1").code == 0
    delete(incident, "web")
    incident.argocd.run(5)
    told = run(incident.api, "status")
    entry = entry_of(run, incident)
    assert "FROZEN" in told.out and f"undo {entry}" in told.out and "INC-1" in told.out
    assert "1 Application will be deleted with workloads, as soon as Argo CD runs: web" in told.out
    data = run(incident.api, "status", "-o", "json").json["data"]
    assert data["frozen"] is True
    assert [d["name"] for d in data["destruction"]["dying"]] == ["web"]


def test_a_second_freeze_finds_it_stopped(run: Run, incident: Incident) -> None:
    assert run(incident.api, "freeze").code == 0
    before = len(incident.api.writes())
    ran = run(incident.api, "freeze")
    assert ran.code == 0 and "unchanged (already at 0)" in ran.out
    assert len(incident.api.writes()) == before


def test_dry_run_writes_nothing(run: Run, incident: Incident) -> None:
    before = len(incident.api.writes())
    for how in ("client", "server"):
        ran = run(incident.api, "freeze", f"--dry-run={how}")
        assert ran.code == 0, ran.err
        assert "statefulset.apps/argocd-application-controller stopped" in ran.out
    assert replicas(incident) == (1, 1)
    assert len(incident.api.writes()) == before


def test_without_the_right_nothing_is_written(run: Run, incident: Incident) -> None:
    incident.api.deny("patch", "statefulsets/scale")
    ran = run(incident.api, "freeze")
    assert ran.code == 1
    assert "patch StatefulSet" in ran.err and "pause --all" in ran.err
    assert replicas(incident) == (1, 1)


def test_without_the_right_to_delete_pods_they_end_in_their_own_time(run: Run, incident: Incident) -> None:
    incident.api.deny("delete", "pods")
    incident.api.create(pod("argocd-application-controller-0", CONTROLLER))
    ran = run(incident.api, "freeze", "--timeout", "3s")
    assert ran.code == 6
    assert "you may not delete pods" in ran.err
    assert "node-1" in ran.err and "not known to stand still" in ran.err


def test_a_pod_that_does_not_end_is_not_known_to_stand_still(run: Run, incident: Incident) -> None:
    held = pod("argocd-application-controller-0", CONTROLLER, finalizers=["test.invalid/hold"])
    incident.api.create(held)
    ran = run(incident.api, "freeze", "--timeout", "3s", "-o", "json")
    assert ran.code == 6
    assert ran.json["data"] | {"underWay": None} == {
        "frozen": False,
        "podsLeft": ["argocd-application-controller-0"],
        "scaledBack": [],
        "underWay": None,
    }


def test_who_scales_back_is_named(run: Run, incident: Incident) -> None:
    api = incident.api

    def back(request: Any, response: Any) -> None:
        if request.method == "PATCH" and request.path.endswith(f"{CONTROLLER}/scale"):
            api.after.clear()

            def scaled(live: Any) -> None:
                live["spec"]["replicas"] = 2
                live["metadata"]["annotations"] = {
                    "argocd.argoproj.io/tracking-id": f"platform:apps/StatefulSet:argocd/{CONTROLLER}"
                }

            api.edit(STATEFULSET, "argocd", CONTROLLER, scaled)

    api.after.append(back)
    ran = run(api, "freeze")
    assert ran.code == 3
    assert "was scaled back to 2: Application platform deploys it" in ran.err


def test_controllers_without_the_usual_labels_are_known_by_their_program(
    run: Run, incident: Incident
) -> None:
    def renamed(live: Any) -> None:
        live["metadata"]["labels"] = {}
        live["spec"]["template"]["spec"]["containers"][0]["args"] = [
            "/usr/local/bin/argocd-application-controller"
        ]

    incident.api.edit(STATEFULSET, "argocd", CONTROLLER, renamed)
    ran = run(incident.api, "freeze")
    assert ran.code == 0, ran.err
    assert replicas(incident) == (0, 0)
    thawed = run(incident.api, "undo", entry_of(run, incident), "--yes")
    assert thawed.code == 0, thawed.err
    assert replicas(incident) == (1, 1)


def test_controllers_that_are_elsewhere(run: Run, incident: Incident) -> None:
    incident.api.remove(STATEFULSET, "argocd", CONTROLLER)
    ran = run(incident.api, "freeze")
    assert ran.code == 5
    assert "no application-controller is in namespace argocd" in ran.err and "pause --all" in ran.err
    assert replicas_of_sets(incident) == 1


def test_controllers_that_may_not_be_listed(run: Run, incident: Incident) -> None:
    incident.api.deny("list", "statefulsets")
    before = len(incident.api.writes())
    ran = run(incident.api, "freeze")
    assert ran.code == 5 and len(incident.api.writes()) == before
    assert "whether there are more controllers is not known" in ran.err, ran.err


def test_pods_of_the_generation_before_are_no_ready_ones(run: Run, incident: Incident) -> None:
    assert run(incident.api, "freeze").code == 0

    def old_counts(live: Any) -> None:
        live["status"] = {
            "readyReplicas": 1,
            "replicas": 1,
            "observedGeneration": live["metadata"]["generation"] - 1,
        }

    incident.api.edit(STATEFULSET, "argocd", CONTROLLER, old_counts)
    incident.api.idle = lambda: incident.clock.advance(0.5)  # its controller looks at nothing
    late = run(incident.api, "undo", entry_of(run, incident), "--yes", "--timeout", "5s")
    assert late.code == 6 and "has no ready pod yet" in late.err, late.err


def replicas_of_sets(incident: Incident) -> int:
    """What is wanted of the sets' controller."""
    found: int = incident.api.get(DEPLOYMENT, "argocd", SETS)["spec"]["replicas"]
    return found


def test_a_thaw_that_is_refused_freezes_again(run: Run, incident: Incident) -> None:
    api = incident.api
    assert run(api, "freeze").code == 0
    incident.push("2.4.1")
    before = {p["metadata"]["name"]: p["spec"] for p in api.objects(APPPROJECT, "argocd")}
    entry = entry_of(run, incident)
    refused = run(api, "undo", entry)
    assert refused.code == 5, refused.err
    assert "auto-sync will act on root: change Application traefik" in refused.err
    assert replicas(incident) == (0, 0)
    assert {p["metadata"]["name"]: p["spec"] for p in api.objects(APPPROJECT, "argocd")} == before
    assert api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]["targetRevision"] == "2.5.1"
    assert run(api, "undo").code == 5  # still a freeze

    agreed = run(api, "undo", entry, "--yes")
    assert agreed.code == 0, agreed.err
    assert replicas(incident) == (1, 1)
    incident.argocd.run(30)
    assert api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]["targetRevision"] == "2.4.1"
    assert {p["metadata"]["name"]: p["spec"] for p in api.objects(APPPROJECT, "argocd")} == before


def test_an_operation_that_would_go_on_is_ended(run: Run, incident: Incident) -> None:
    api = incident.api
    incident.argocd.stuck.add("argocd/web")
    api.edit(APPLICATION, "argocd", "web", lambda app: app.update(operation={"sync": {"revision": "1.0.0"}}))
    incident.argocd.run(3)
    frozen = run(api, "freeze")
    assert "operations that go on at the thaw: web" in frozen.err
    thawed = run(api, "undo", entry_of(run, incident), "--yes")
    assert thawed.code == 0, thawed.err
    state = api.get(APPLICATION, "argocd", "web")
    assert "operation" not in state and state["status"]["operationState"]["phase"] == "Failed"


def test_a_pause_made_while_frozen_is_looked_at_again(run: Run, incident: Incident) -> None:
    api = incident.api
    assert run(api, "freeze").code == 0
    frozen = entry_of(run, incident)
    incident.clock.advance(1)
    paused = run(api, "pause", "web", "--only")  # root will take it back
    assert paused.code == 0, paused.err
    thawed = run(api, "undo", frozen, "--yes")
    held = api.get(APPLICATION, "argocd", "web")["spec"]["syncPolicy"]["automated"].get("enabled") is False
    assert thawed.code == (0 if held else 4), thawed.err


def test_an_undo_of_a_thaw_is_a_freeze(run: Run, incident: Incident) -> None:
    assert run(incident.api, "freeze").code == 0
    frozen = entry_of(run, incident)
    incident.clock.advance(1)
    assert run(incident.api, "undo", frozen, "--yes").code == 0
    undone = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    thaw = next(e["id"] for e in undone if e["undoes"])
    again = run(incident.api, "undo", thaw, "--yes")
    assert again.code == 5 and "freeze again" in again.err


def test_a_scale_that_somebody_changed_is_a_conflict(run: Run, incident: Incident) -> None:
    assert run(incident.api, "freeze").code == 0
    incident.api.edit(STATEFULSET, "argocd", CONTROLLER, lambda live: live["spec"].update(replicas=3))
    ran = run(incident.api, "undo", entry_of(run, incident), "--yes")
    assert ran.code == 3 and "scaled to 3 by somebody else" in ran.err


def test_the_version_is_known_while_it_is_frozen(run: Run, incident: Incident) -> None:
    assert run(incident.api, "freeze").code == 0
    assert run(incident.api, "status", "-o", "json").json["data"]["argocd"]["version"] == "v3.2.11"


def until_the_scales(run: Run, incident: Incident) -> list[tuple[str, str]]:
    """What is asked of the API server until both scales are written."""
    before = len(incident.api.requests)
    assert run(incident.api, "freeze").code == 0
    asked = [(r.method, r.path.partition("/argo-rescue-")[0]) for r in incident.api.requests[before:]]
    last = max(i for i, (method, path) in enumerate(asked) if method == "PATCH" and path.endswith("/scale"))
    return asked[: last + 1]


def test_how_many_applications_there_are_makes_no_difference(run: Run, incident: Incident) -> None:
    few = until_the_scales(run, incident)
    fleet = traefik_incident()
    fleet.api.idle = lambda: fleet.argocd.tick(0.5)
    app = fleet.api.get(APPLICATION, "argocd", "web")
    for number in range(300):
        app["metadata"] = {"name": f"web-{number}", "namespace": "argocd"}
        fleet.api.create(app)
    many = until_the_scales(run, fleet)
    assert sorted(few) == sorted(many)
    assert not [path for _, path in many if "/applications" in path]
