"""Who writes an object besides Argo CD.

Covered: managers of the very fields, by their newest write, and not those of other fields; Argo CD's own
parts and this tool are none; people told from tools; the marks of argocd-agent, Kargo, Image Updater,
Flux, Terraform, Helm, Open Cluster Management, Fleet, kapp; owners that are no part of Argo CD; one tool
by its mark and its fields; marks that mean nothing for what is edited, or are switched off.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import writers
from kubectl_argo_rescue.argocd.writers import FIELDS, Force, writers_of
from kubectl_argo_rescue.model.values import FIELD_MANAGER, FieldChange

from .. import build

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)


def wrote(manager: str, *fields: str, minutes: float = 3) -> Any:
    """An entry of managedFields."""
    at = f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    return {"manager": manager, "time": at, "fieldsV1": {"f:spec": {f"f:{f}": {"f:x": {}} for f in fields}}}


def app(**meta: Any) -> Any:
    return build.app(meta=meta)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([wrote("Terraform", "source")], ["Terraform (/spec/source last written as Terraform, 3m ago)"]),
        ([wrote("HashiCorp", "syncPolicy")], ["Terraform (/spec/syncPolicy last written as HashiCorp, 3m ago)"]),
        ([wrote("release-bot", "source", "syncPolicy")],
         ["release-bot (/spec/source and /spec/syncPolicy last written as release-bot, 3m ago)"]),
        ([wrote("bot", "source", minutes=9), wrote("bot", "syncPolicy")],
         ["bot (/spec/syncPolicy last written as bot, 3m ago)"]),
        ([wrote("old", "sources", minutes=90), wrote("new", "sources")],
         ["new (/spec/sources last written as new, 3m ago)", "old (/spec/sources last written as old, 90m ago)"]),
        ([wrote("bot", "destination"), {"manager": "bot", "fieldsV1": {"f:status": {"f:sync": {}}}}], []),
        ([wrote("argocd-controller", "source"), wrote("argocd-application-controller", "source"),
          wrote("argocd-applicationset-controller", "source"), wrote(FIELD_MANAGER, "source")], []),
        ([{"manager": "bot", "fieldsV1": {"f:spec": {"f:source": {}}}}], ["bot (/spec/source last written as bot)"]),
        ([{"fieldsV1": None}, {}], []),
    ],
)  # fmt: skip
def test_managers(entries: list[Any], said: list[str]) -> None:
    assert [w.describe(NOW) for w in writers_of(app(managedFields=entries), FIELDS)] == said


@pytest.mark.parametrize(
    "manager",
    ["kubectl-edit", "kubectl-client-side-apply", "kubectl", "k9s", "argocd-server", "Mozilla", "oc"],
)
def test_people(manager: str) -> None:
    [writer] = found = writers_of(app(managedFields=[wrote(manager, "source")]), FIELDS)
    assert writer.force is Force.PERSON and writers.is_free(found)
    assert not writers.is_free(writers_of(app(managedFields=[wrote(f"x{manager}", "source")]), FIELDS))


FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
HELM = {
    "annotations": {"meta.helm.sh/release-name": "apps"},
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
}
WORK = {"apiVersion": "work.open-cluster-management.io/v1", "kind": "AppliedManifestWork", "name": "w"}


@pytest.mark.parametrize(
    ("meta", "who", "force", "hold"),
    [
        ({"annotations": {writers.SOURCE_UID: "u"}}, "argocd-agent", Force.AWAY, ""),
        ({"ownerReferences": [WORK]}, "Open Cluster Management", Force.AWAY, ""),
        ({"annotations": {writers.KARGO: "shop:prod"}}, "Kargo", Force.MAY, "stage prod of project shop"),
        ({"annotations": {"argocd-image-updater.argoproj.io/image-list": "a=shop"}}, "Argo CD Image Updater", Force.MAY,
         "kubectl -n argocd annotate application traefik argocd-image-updater.argoproj.io/image-list- (afterwards again: a=shop)"),
        ({"labels": FLUX}, "Flux", Force.REVERTS, "flux suspend kustomization apps -n flux-system"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "apps"}}, "Flux", Force.MAY, "flux suspend helmrelease apps"),
        ({"labels": {"app.kubernetes.io/managed-by": "terraform"}}, "Terraform", Force.MAY, "apply nothing"),
        (HELM, "Helm", Force.MAY, "upgrade nothing"),
        ({"labels": {"apps.open-cluster-management.io/pull-to-ocm-managed-cluster": "true"}}, "Open Cluster Management", Force.MAY, ""),
        ({"annotations": {"objectset.rio.cattle.io/id": "x"}}, "Rancher Fleet", Force.REVERTS, ""),
        ({"labels": {"kapp.k14s.io/app": "1"}}, "kapp", Force.MAY, ""),
        ({"ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Team", "name": "a"}]}, "Team.example.com", Force.MAY, ""),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}]}, "ConfigMap", Force.MAY, ""),
    ],
)  # fmt: skip
def test_marks(meta: Any, who: str, force: Force, hold: str) -> None:
    [writer] = writers_of(app(**meta), FIELDS)
    assert (writer.who, writer.force) == (who, force)
    assert hold in writer.hold


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"labels": {**FLUX, "kustomize.toolkit.fluxcd.io/reconcile": "disabled"}},
        {"labels": FLUX, "annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}},
        {"annotations": {"meta.helm.sh/release-name": "apps"}},
        {"ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "s"}]},
        {
            "ownerReferences": [
                {"apiVersion": "example.com/v1", "kind": "Team", "name": "a", "controller": True}
            ]
        },
    ],
)
def test_what_is_no_writer(meta: Any) -> None:
    assert not writers_of(app(**meta), FIELDS)


def test_versions_are_not_written_by_pauses() -> None:
    marked = app(annotations={writers.KARGO: "a:b", "argocd-image-updater.argoproj.io/image-list": "a"})
    pause = FieldChange(("spec", "syncPolicy", "automated"), {}, None)
    assert not writers_of(marked, writers.fields_of([pause]))
    assert len(writers_of(marked, FIELDS)) == 2


def test_one_tool_by_mark_and_fields() -> None:
    [writer] = writers_of(app(labels=FLUX, managedFields=[wrote("kustomize-controller", "source")]), FIELDS)
    assert writer.describe(NOW) == "Flux (kustomization flux-system/apps, 3m ago)"
