"""`orphan` and its undo, on the in-memory API.

Aspects: a dying application of a frozen Argo CD goes and its workload stays; one that lives is deleted
as it was read; owners that would bring it back are paused; dead owners are taken off; it is saved
first, in a Secret only where that is allowed; undo makes it anew without finalizers and auto-sync,
compares, and only then gives both; who would prune it, also from elsewhere; what the owner made again already.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, CONFIGMAP, DEPLOYMENT, SECRET
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from ..harness import Run
from .test_freeze import delete, entry_of

FINALIZER = "resources-finalizer.argocd.argoproj.io"


@pytest.fixture
def incident() -> Incident:
    played = traefik_incident()
    played.api.idle = lambda: played.argocd.tick(0.5)
    return played


def uid(incident: Incident, name: str = "web") -> str:
    """The uid of a workload."""
    found: str = incident.api.get(DEPLOYMENT, name, name)["metadata"]["uid"]
    return found


def test_a_dying_one_goes_and_its_workload_stays(run: Run, incident: Incident) -> None:
    api = incident.api
    before, was = uid(incident), api.get(APPLICATION, "argocd", "web")
    assert run(api, "freeze").code == 0
    freeze = entry_of(run, incident)
    delete(incident, "web")
    incident.clock.advance(1)

    refused = run(api, "orphan", "web")
    assert refused.code == 5 and api.find(APPLICATION, "argocd", "web")
    done = run(api, "orphan", "--all-dying", "--yes")
    assert done.code == 0, done.err
    assert api.find(APPLICATION, "argocd", "web") is None
    assert "Deployment web" in done.err
    orphan = entry_of(run, incident)
    secret = api.get(SECRET, "argocd", f"argo-rescue-{orphan}")
    assert not any("argocd" in label for label in secret["metadata"]["labels"])
    saved = json.loads(base64.b64decode(secret["data"]["00000"]))["object"]
    assert saved["spec"] == was["spec"] and saved["metadata"]["finalizers"] == [FINALIZER]

    # git still has it: at the thaw root makes it anew, and adopts.
    thawed = run(api, "undo", freeze, "--yes")
    assert thawed.code == 0, thawed.err
    incident.argocd.run(200, every=2)
    assert api.find(APPLICATION, "argocd", "web")
    assert uid(incident) == before
    undone = run(api, "undo", orphan, "--yes")
    assert undone.code == 0, undone.err
    assert "is there again" in undone.err
    assert run(api, "log", "--open", "-o", "name").out == ""


def test_one_that_lives_is_deleted_and_made_anew(run: Run, incident: Incident) -> None:
    api = incident.api

    def alone(app: Any) -> None:
        app["metadata"]["finalizers"] = [FINALIZER]

    api.edit(APPLICATION, "argocd", "web", alone)
    before, was = uid(incident), api.get(APPLICATION, "argocd", "web")
    done = run(api, "orphan", "web", "--yes")
    assert done.code == 0, done.err
    assert api.find(APPLICATION, "argocd", "web") is None
    # root, which would make it anew at once, is paused for it.
    assert "root paused" in done.out
    incident.argocd.run(30)
    assert api.find(APPLICATION, "argocd", "web") is None
    assert uid(incident) == before

    undone = run(api, "undo", entry_of(run, incident), "--yes")
    assert undone.code == 0, undone.err
    now = api.get(APPLICATION, "argocd", "web")
    assert now["spec"] == was["spec"]
    assert now["metadata"]["finalizers"] == [FINALIZER]
    assert now["status"]["history"][0]["deployedAt"] == was["status"]["history"][0]["deployedAt"]
    assert "argocd.argoproj.io/skip-reconcile" not in now["metadata"].get("annotations", {})
    incident.argocd.run(30)
    assert uid(incident) == before
    # The owner's pause is the rest of the same entry.
    assert "still paused" in undone.err
    rest = run(api, "undo", "--yes")
    assert rest.code == 0, rest.err
    assert run(api, "log", "--open", "-o", "name").out == ""


def test_made_anew_it_stays_without_auto_sync_where_git_differs(run: Run, incident: Incident) -> None:
    api = incident.api
    before = uid(incident)
    assert run(api, "orphan", "web", "--yes").code == 0
    incident.charts.publish("web", "1.0.0", [])
    orphan = entry_of(run, incident)
    undone = run(api, "undo", orphan, "--yes")
    assert undone.code == 5, undone.err
    assert "without auto-sync and finalizers: git differs" in undone.err
    incident.argocd.run(30)
    assert uid(incident) == before


def test_without_secrets_only_this_machine_undoes_it(run: Run, incident: Incident) -> None:
    api = incident.api
    api.deny("create", "secrets")
    done = run(api, "orphan", "web", "--yes")
    assert done.code == 0, done.err
    assert "only this machine will be able to undo this" in done.err
    assert api.objects(SECRET, "argocd") == []
    orphan = entry_of(run, incident)
    elsewhere = run(api, "undo", orphan, "--yes", laptop="other")
    assert elsewhere.code == 5 and "neither on this machine" in elsewhere.err
    assert run(api, "undo", orphan, "--yes").code == 0


def test_a_colleague_undoes_it_from_the_secret(run: Run, incident: Incident) -> None:
    api = incident.api
    assert run(api, "orphan", "web", "--yes").code == 0
    undone = run(api, "undo", entry_of(run, incident), "--yes", laptop="other")
    assert undone.code == 0, undone.err
    assert api.find(APPLICATION, "argocd", "web")


def test_hooks_and_what_others_hold_are_named(run: Run, incident: Incident) -> None:
    api = incident.api

    def held(app: Any) -> None:
        app["metadata"]["finalizers"] = [
            FINALIZER,
            "post-delete-finalizer.argocd.argoproj.io/cleanup",
            "test.invalid/hold",
        ]

    api.edit(APPLICATION, "argocd", "web", held)
    done = run(api, "orphan", "web", "--yes")
    assert "PostDelete hooks of web do not run" in done.err
    assert "stays until others let it go: test.invalid/hold" in done.err
    assert done.code == 4, done.err
    assert api.get(APPLICATION, "argocd", "web")["metadata"]["finalizers"] == ["test.invalid/hold"]


def test_a_running_argo_cd_may_have_begun(run: Run, incident: Incident) -> None:
    api = incident.api
    incident.argocd.controller_alive = False
    delete(incident, "web")
    done = run(api, "orphan", "web", "--dry-run")
    assert "nothing is promised" in done.err


def test_prune_takes_what_was_saved_along(run: Run, incident: Incident) -> None:
    api = incident.api
    assert run(api, "orphan", "web", "--yes").code == 0
    orphan = entry_of(run, incident)
    assert run(api, "undo", orphan, "--yes").code == 0
    assert run(api, "undo", orphan, "--yes").code == 0  # root's pause
    assert [s["metadata"]["name"] for s in api.objects(SECRET, "argocd")] == [f"argo-rescue-{orphan}"]
    assert list(run.homes.rglob("*.saved"))
    incident.clock.advance(3 * 86400)
    pruned = run(api, "log", "prune", "--older-than", "1h", "--yes")
    assert pruned.code == 0, pruned.err
    assert api.objects(SECRET, "argocd") == []
    assert not list(run.homes.rglob("*.saved"))


def _tracked_by_label(incident: Incident) -> None:
    """Have the owner of web be told by a label alone, as Argo CD before 3.0 does."""

    def by_label(obj: Any) -> None:
        obj["metadata"].get("annotations", {}).pop("argocd.argoproj.io/tracking-id", None)
        obj["metadata"].setdefault("labels", {})["app.kubernetes.io/instance"] = "root"

    settings = {"application.resourceTrackingMethod": "label"}
    incident.api.edit(
        CONFIGMAP, "argocd", "argocd-cm", lambda obj: obj.setdefault("data", {}).update(settings)
    )
    incident.api.edit(APPLICATION, "argocd", "web", by_label)


@pytest.mark.parametrize("is_by_label", [False, True], ids=["by annotation", "by label"])
def test_who_would_prune_it_is_refused(run: Run, incident: Incident, is_by_label: bool) -> None:
    api = incident.api
    if is_by_label:
        _tracked_by_label(incident)
    assert run(api, "freeze").code == 0
    freeze = entry_of(run, incident)
    delete(incident, "web")
    incident.clock.advance(1)
    assert run(api, "orphan", "web", "--yes").code == 0
    orphan = entry_of(run, incident)
    # git has lost it: root does not list it any more once it has looked.
    project, traefik, _ = incident.apps("2.5.1")
    incident.git.commit({"apps": [project, traefik]})
    assert run(api, "undo", freeze, "--yes").code == 0
    incident.argocd.run(200, every=2)
    refused = run(api, "undo", orphan, "--yes")
    assert refused.code == 5, refused.err
    assert "root does not list it, and prunes" in refused.err and "pause root" in refused.err
    assert api.find(APPLICATION, "argocd", "web") is None
    assert uid(incident)


@pytest.mark.parametrize("where", ["elsewhere", "another Argo CD", "may not be read"])
def test_an_owner_that_was_not_seen_is_not_taken_for_gone(run: Run, incident: Incident, where: str) -> None:
    api = incident.api
    assert run(api, "freeze").code == 0
    delete(incident, "web")
    incident.clock.advance(1)
    assert run(api, "orphan", "web", "--yes").code == 0
    orphan = entry_of(run, incident)
    root = api.get(APPLICATION, "argocd", "root")
    if where == "may not be read":
        api.deny("get", "applications", "argocd", "root")
        api.deny("list", "applications")
    else:
        api.remove(APPLICATION, "argocd", "root")
        incident.argocd.run(2)
    if where == "another Argo CD":
        moved = {
            k: v for k, v in root["metadata"].items() if k not in ("uid", "resourceVersion", "finalizers")
        }
        api.create({**root, "metadata": {**moved, "namespace": "other"}, "status": {}})
    refused = run(api, "undo", orphan)
    assert refused.code == 5, refused.err
    assert api.find(APPLICATION, "argocd", "web") is None
    if where == "another Argo CD":
        assert "other/root does not list it, and prunes" in refused.err
        return
    assert "would prune web, with its workloads, is not known" in refused.err
    assert ("elsewhere" if where == "elsewhere" else "may not be read") in refused.err
    agreed = run(api, "undo", orphan, "--yes")
    assert api.find(APPLICATION, "argocd", "web"), agreed.err
