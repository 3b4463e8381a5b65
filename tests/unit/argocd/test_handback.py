"""What git says of a version field, from the owner's own comparison.

Aspects: no owner, an owner that is gone; Synced, unmoved, moved elsewhere; what counts as no evidence
(a field that git never had, ignoreDifferences, a failed comparison, an owner that does not list the
object); an ApplicationSet's template where it is literal; of several owners the least comforting
counts; what a resumed owner would change or prune besides.
"""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from kubectl_argo_rescue.argocd import handback
from kubectl_argo_rescue.argocd.handback import Evidence
from kubectl_argo_rescue.model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    Change,
    FieldChange,
    Key,
    Snapshot,
    Witness,
    ref_of,
)

NOW = datetime(2026, 11, 27, 17, tzinfo=timezone.utc)
CHILD = Key("Application", "argocd", "traefik")
ROOT = Key("Application", "argocd", "root")
BACK = FieldChange(("spec", "source", "targetRevision"), "2.4.1", "2.5.1")


def child(**metadata: JSON) -> JSON:
    tracking = {"argocd.argoproj.io/tracking-id": "root:argoproj.io/Application:argocd/traefik"}
    return {
        "kind": "Application",
        "metadata": {"name": "traefik", "namespace": "argocd", "annotations": tracking, **metadata},
        "spec": {
            "source": {"repoURL": "https://charts.invalid", "chart": "traefik", "targetRevision": "2.4.1"}
        },
    }


def root(status: str = "OutOfSync", *, sync: str = "OutOfSync", revision: str = "new", **spec: JSON) -> JSON:
    line = {"group": "argoproj.io", "kind": "Application", "namespace": "argocd", "name": "traefik"}
    return {
        "kind": "Application",
        "metadata": {"name": "root", "namespace": "argocd"},
        "spec": {
            "source": {"repoURL": "https://git.invalid", "path": "apps", "targetRevision": "main"},
            **spec,
        },
        "status": {
            "sync": {"status": sync, "revision": revision},
            "resources": [{**line, "status": status}],
        },
    }


def fleet(template: JSON, **spec: JSON) -> JSON:
    return {
        "kind": "ApplicationSet",
        "metadata": {"name": "fleet", "namespace": "argocd"},
        "spec": {"template": {"spec": {"source": {"targetRevision": template}}}, **spec},
    }


def generated() -> JSON:
    owner = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "name": "fleet",
        "controller": True,
    }
    return child(annotations={}, ownerReferences=[owner])


def judged(
    *objects: JSON, change: Change = BACK, then: str = "old", missing: frozenset[Key] = frozenset()
) -> handback.Handback:
    snapshot = Snapshot(ArgoCD("argocd"), {ref_of(o).key: o for o in objects}, NOW, missing)
    witnesses = [Witness(ROOT, "https://git.invalid", "apps", "main", then)] if then else []
    return handback.git_says(snapshot, CHILD, [change], witnesses)


SPOKE = {"server": "https://spoke.invalid"}
IGNORING = [{"group": "argoproj.io", "kind": "Application", "jsonPointers": ["/spec/source"]}]
RENDERING = {
    "repoURL": "https://git.invalid",
    "path": "apps",
    "helm": {"parameters": [{"name": "traefik", "value": "2.6.0"}]},
}
LOST = {"type": "ComparisonError", "message": "no route to git"}


@pytest.mark.parametrize(
    ("found", "evidence", "why"),
    [
        (judged(child(annotations={})), Evidence.FREE, ""),
        (judged(child(), missing=frozenset({ROOT})), Evidence.NONE, "does not exist any more"),
        (judged(child(), missing=frozenset({ROOT}), then=""), Evidence.NONE, "is elsewhere, not in namespace argocd, and other"),
        (judged(child(), root("Synced", destination=SPOKE)), Evidence.NONE, "its destination is https://spoke.invalid"),
        (judged(child(annotations={}), root("Synced", destination=SPOKE)), Evidence.FREE, ""),
        (judged(child(), root("Synced")), Evidence.AGREES, "git equals what is live"),
        (judged(child(), root(revision="old")), Evidence.UNMOVED, "git is still at old"),
        (judged(child(), root(revision="old", source=RENDERING)), Evidence.DISAGREES, "git (now at old) asks for something else"),
        (judged(child(), root()), Evidence.DISAGREES, "git (now at new) asks for something else"),
        (judged(child(), root("Synced"), change=FieldChange(BACK.path, "2.4.1", ABSENT)), Evidence.NONE, "git never had the field"),
        (judged(child(), root("Synced", ignoreDifferences=IGNORING)), Evidence.NONE, "hide the field"),
        (judged(child(), root("Synced", sync="Unknown")), Evidence.NONE, "cannot be compared"),
        (judged(generated(), fleet("2.4.1")), Evidence.AGREES, "says the same"),
        (judged(generated(), fleet("2.5.1")), Evidence.DISAGREES, "says 2.5.1"),
        (judged(generated(), fleet("{{version}}")), Evidence.NONE, "does not say the value literally"),
        (judged(generated(), fleet("2.4.1", templatePatch="spec: {}")), Evidence.NONE, "literally"),
    ],
)  # fmt: skip
def test_evidence(found: handback.Handback, evidence: Evidence, why: str) -> None:
    assert found.evidence is evidence
    assert why in found.why


def test_a_failed_comparison_is_no_evidence() -> None:
    failed = root("Synced")
    failed["status"]["conditions"] = [LOST]
    assert judged(child(), failed).evidence is Evidence.NONE


def test_an_owner_that_does_not_list_it_yet() -> None:
    empty = root("Synced")
    empty["status"]["resources"] = []
    found = judged(child(), empty)
    assert (found.evidence, found.why) == (Evidence.NONE, "Application argocd/root does not list it")


def test_of_two_owners_the_least_comforting_counts() -> None:
    other = root("OutOfSync", revision="old")
    other["metadata"]["name"] = "root-2"
    assert judged(child(), root("Synced"), other).evidence is Evidence.DISAGREES


def test_where_the_change_is_owed() -> None:
    assert judged(child(), root()).where == "https://git.invalid apps at main"
    assert handback.where_owed({"spec": {}}) == ""


def test_what_else_a_resumed_owner_would_do() -> None:
    app = root(syncPolicy={"automated": {"prune": True}})
    app["status"]["resources"] += [
        {"kind": "ConfigMap", "namespace": "argocd", "name": "web", "status": "OutOfSync"},
        {"kind": "ConfigMap", "namespace": "argocd", "name": "old", "requiresPruning": True},
        {"kind": "ConfigMap", "namespace": "argocd", "name": "same", "status": "Synced"},
    ]
    block = {"prune": True}
    assert handback.others_to_change(app, block, [CHILD]) == ["change ConfigMap web", "prune ConfigMap old"]
    app["spec"]["syncPolicy"] = {"automated": {}}
    assert handback.others_to_change(app, {}, [CHILD]) == ["change ConfigMap web"]
    assert handback.others_to_change(app, block, []) == [
        "change Application traefik", "change ConfigMap web", "prune ConfigMap old",
    ]  # fmt: skip
    key = Key("ConfigMap", "argocd", "old")
    assert "prune ConfigMap old" in handback.others_to_change(app, block, [key]), "nothing explains that"
