"""Others that write what is edited, in the plans and in `status`.

Covered: whoever may put an edit back is a warning with the way to hold it, whoever would is asked about;
a copy that an agent keeps is refused, also as an owner or a project, and with --only a warning; people are
no reason; many objects of one writer are one line; "nobody owns it, an edit stays" is not said.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.argocd import writers
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT
from kubectl_argo_rescue.simulation.incident import Incident

from ..harness import Run

FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}


def mark(incident: Incident, name: str, resource: Any = APPLICATION, **meta: Any) -> None:
    """Give an object marks of somebody else, for good: nobody compares it."""
    incident.argocd.controller_alive = False

    def change(live: Any) -> None:
        for field, value in meta.items():
            live["metadata"][field] = (
                {**(live["metadata"].get(field) or {}), **value} if isinstance(value, dict) else value
            )

    incident.api.edit(resource, "argocd", name, change)


def test_who_may_put_it_back_is_a_warning(run: Run, incident: Incident) -> None:
    mark(incident, "web", annotations={writers.KARGO: "shop:prod"})
    ran = run(incident.api, "pin", "web", "1.0.1", "--only", "--dry-run")
    assert (
        ran.code == 0
        and "Kargo (stage prod of project shop may write it) writes Application argocd/web too" in ran.err
    )
    assert "to hold it: promote the good freight in stage prod" in ran.err
    assert "Kargo" not in run(incident.api, "pause", "web", "--only", "--dry-run").err


def test_who_would_put_it_back_is_asked_about(run: Run, incident: Incident) -> None:
    mark(incident, "root", labels=FLUX)
    refused = run(incident.api, "pause", "root")
    assert refused.code == 5 and "would put the edit back" in refused.err
    assert "flux suspend kustomization apps -n flux-system" in refused.err
    assert run(incident.api, "rescue", "traefik").code == 5, "its owner is edited as well"
    assert run(incident.api, "pause", "root", "--only").code == 0
    shown = run(incident.api, "status", "root").out
    assert "nobody owns root" not in shown and "✗ Flux (kustomization flux-system/apps)" in shown


@pytest.mark.parametrize(
    "words",
    [["pin", "traefik", "2.4.1"], ["pause", "traefik"], ["rescue", "traefik"], ["unblock", "traefik"]],
)
def test_a_copy_is_refused(run: Run, incident: Incident, words: list[str]) -> None:
    resource, name = (APPPROJECT, "cluster") if words[0] == "unblock" else (APPLICATION, "traefik")
    mark(incident, name, resource, annotations={writers.SOURCE_UID: "u-1"})
    before = len(incident.api.writes())
    refused = run(incident.api, *words, "--yes")
    assert (
        refused.code == 5
        and "is a copy that argocd-agent" in refused.err
        and "do it on the hub" in refused.err
    )
    assert len(incident.api.writes()) == before


def test_an_order_to_a_copy_is_refused(run: Run, incident: Incident) -> None:
    mark(incident, "web", annotations={writers.SOURCE_UID: "u-1"})
    before = len(incident.api.writes())
    for words in (["sync", "web"], ["sync", "web", "--dry-run"]):
        refused = run(incident.api, *words)
        assert refused.code == 5 and "do it on the hub" in refused.err
    incident.api.edit(APPLICATION, "argocd", "web", lambda app: app.update(operation={"sync": {}}))
    refused = run(incident.api, "terminate", "web", "--yes")
    assert refused.code == 5 and "is a copy that argocd-agent" in refused.err
    assert len(incident.api.writes()) == before
    ran = run(incident.api, "terminate", "web", "--only")
    assert ran.code == 0 and "keeps Application argocd/web as a copy" in ran.err


def test_who_orders_operations_too_is_named(run: Run, incident: Incident) -> None:
    incident.argocd.controller_alive = False

    def order(app: Any) -> None:
        app["operation"] = {"sync": {}}
        app["metadata"]["managedFields"] = [
            {"manager": "kargo-controller", "fieldsV1": {"f:operation": {"f:sync": {}}}},
            {"manager": "kubectl-edit", "fieldsV1": {"f:operation": {"f:info": {}}}},
        ]

    incident.api.edit(APPLICATION, "argocd", "web", order)
    ran = run(incident.api, "terminate", "web", "--yes")
    assert ran.code == 0, ran.err
    assert "Kargo (/operation last written as kargo-controller) orders operations of Application" in ran.err
    assert "kubectl-edit" not in ran.err


def test_only_edits_a_copy_with_a_warning(run: Run, incident: Incident) -> None:
    mark(incident, "web", annotations={writers.SOURCE_UID: "u-1"})
    ran = run(incident.api, "pause", "web", "--only")
    assert ran.code == 0 and "would put the edit back" in ran.err
    assert "keeps it as a copy" in run(incident.api, "status", "web").out


def test_many_of_one_writer_are_one_line(run: Run, incident: Incident) -> None:
    for name in ("root", "traefik", "web"):
        mark(incident, name, labels={"app.kubernetes.io/managed-by": "terraform"})
    few = run(incident.api, "pause", "root", "traefik", "web", "--only", "--dry-run").err
    assert few.count("Terraform") == 3
    for i in range(3):
        live = incident.api.get(APPLICATION, "argocd", "web")
        live["metadata"] = {"name": f"web{i}", "namespace": "argocd", "labels": live["metadata"]["labels"]}
        incident.api.create(live)
    many = run(incident.api, "pause", "--all", "--dry-run").err
    assert many.count("Terraform") == 1 and "writes 6 of these objects too" in many


def test_people_are_named_by_status_alone(run: Run, incident: Incident) -> None:
    entry = {
        "manager": "kubectl-edit",
        "time": "2026-11-27T16:57:00Z",
        "fieldsV1": {"f:spec": {"f:syncPolicy": {}}},
    }
    mark(incident, "root", managedFields=[entry])
    assert "kubectl-edit" not in run(incident.api, "pause", "root", "--dry-run").err
    shown = run(incident.api, "status", "root")
    assert "nobody owns root: an edit of it stays" in shown.out
    assert "somebody (/spec/syncPolicy last written as kubectl-edit, 3m ago) wrote it" in shown.out
    [writer] = run(incident.api, "status", "root", "-o", "json").json["data"]["apps"]["argocd/root"][
        "writers"
    ]
    assert (writer["effect"], writer["last"]) == ("person", "2026-11-27T16:57:00Z")
