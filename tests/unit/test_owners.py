"""Who owns an object and would put an edit back; each case names the fact of argocd-semantics.md.

Covered: tracking ids (§7.1: namespaced instance names, self reference, installation id), labels,
ownerReferences; what an owner's own list confirms; what is drift, what only the next sync wipes
(§7.2: added keys, list items, ignoreDifferences with and without RespectIgnoreDifferences,
Replace=true, self-heal, skip-reconcile, frozen by a window); an app that manages itself, an owner
that does not exist.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from kubectl_argo_rescue import owners
from kubectl_argo_rescue.model import (
    ABSENT,
    ArgoCD,
    Change,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Path,
    Snapshot,
    Tracking,
    ref_of,
)

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
ARGOCD = ArgoCD("argocd")
ROOT = Key("Application", "argocd", "root")
CHILD = Key("Application", "argocd", "traefik")
REVISION: Path = ("spec", "source", "targetRevision")
TRACKING_ID = "root:argoproj.io/Application:argocd/traefik"


def obj(
    name: str = "traefik",
    *,
    kind: str = "Application",
    tracked: str = "",
    lists: tuple[Key, ...] = (),
    policy: Any = None,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    references: Any = (),
    sync: str = "Synced",
    **spec: Any,
) -> Any:
    marks = {**({owners.TRACKING_ID: tracked} if tracked else {}), **(annotations or {})}
    meta = {
        "name": name,
        "namespace": "argocd",
        "uid": f"u-{name}",
        "annotations": marks,
        "labels": labels or {},
    }
    if references:
        meta["ownerReferences"] = references
    resources = [
        {"group": "argoproj.io", "kind": k.kind, "namespace": k.namespace, "name": k.name} for k in lists
    ]
    return {
        "kind": kind,
        "metadata": meta,
        "spec": {**spec, **({"syncPolicy": policy} if policy is not None else {})},
        "status": {"resources": resources, "sync": {"status": sync}},
    }


def snapshot(*objects: Any, argocd: ArgoCD = ARGOCD) -> Snapshot:
    return Snapshot(argocd, {ref_of(o).key: o for o in objects}, NOW)


# -- claims


@pytest.mark.parametrize(
    ("value", "argocd", "key"),
    [
        pytest.param("root", ARGOCD, ROOT, id="in Argo CD's namespace"),
        pytest.param("team-a_root", ARGOCD, Key("Application", "team-a", "root"), id="T:4137 ns_name"),
        pytest.param("root", ArgoCD("gitops"), Key("Application", "gitops", "root"), id="another home"),
    ],
)
def test_instance_names(value: str, argocd: ArgoCD, key: Key) -> None:
    assert owners.instance_key(value, argocd) == key


SET = [{"kind": "ApplicationSet", "apiVersion": "argoproj.io/v1alpha1", "name": "all", "controller": True}]
LABEL = ArgoCD("argocd", tracking=Tracking.LABEL)
INSTALLED = ArgoCD("argocd", installation_id="one")


@pytest.mark.parametrize(
    ("it", "argocd", "claims"),
    [
        pytest.param(obj(tracked=TRACKING_ID), ARGOCD, [(ROOT, "tracking-id")], id="RT tracking id"),
        pytest.param(obj(tracked="team_root:argoproj.io/Application:argocd/traefik"), ARGOCD, [(Key("Application", "team", "root"), "tracking-id")], id="T:4137 namespaced"),
        pytest.param(obj(tracked="root:argoproj.io/Application:/traefik"), ARGOCD, [(ROOT, "tracking-id")], id="RT empty namespace"),
        pytest.param(obj(tracked="root:argoproj.io/Application:argocd/other"), ARGOCD, [], id="ST:1348 copied from another object"),
        pytest.param(obj(tracked="root:argoproj.io/AppProject:argocd/traefik"), ARGOCD, [], id="ST:1348 copied from another kind"),
        pytest.param(obj(tracked="root:apps/Application:argocd/traefik"), ARGOCD, [], id="ST:1348 another group"),
        pytest.param(obj(tracked="root"), ARGOCD, [], id="malformed"),
        pytest.param(obj(tracked=TRACKING_ID), INSTALLED, [], id="RT another installation"),
        pytest.param(obj(tracked=TRACKING_ID, annotations={owners.INSTALLATION_ID: "one"}), INSTALLED, [(ROOT, "tracking-id")], id="RT installation id"),
        pytest.param(obj(labels={"app.kubernetes.io/instance": "root"}), ARGOCD, [], id="§7.1 the label means nothing under annotation tracking"),
        pytest.param(obj(labels={"app.kubernetes.io/instance": "root"}, tracked="x:argoproj.io/Application:argocd/traefik"), LABEL, [(ROOT, "label")], id="label tracking"),
        pytest.param(obj(labels={"mine": "ns_root"}), ArgoCD("argocd", tracking=Tracking.LABEL, instance_label="mine"), [(Key("Application", "ns", "root"), "label")], id="another label key"),
        pytest.param(obj(), LABEL, [], id="no label"),
        pytest.param(obj(tracked=TRACKING_ID), ArgoCD("argocd", tracking=Tracking.ANNOTATION_AND_LABEL), [(ROOT, "tracking-id")], id="RT annotation+label reads the annotation"),
        pytest.param(obj(references=SET, tracked=TRACKING_ID), ARGOCD, [(Key("ApplicationSet", "argocd", "all"), "ownerReference")], id="AS:657 generated"),
        pytest.param(obj(references=[{**SET[0], "controller": False}]), ARGOCD, [], id="no controller reference"),
        pytest.param(obj(references=[{**SET[0], "apiVersion": "x/v1"}]), ARGOCD, [], id="another group's set"),
        pytest.param(obj(references=[{"kind": "Other", "name": "o"}], tracked=TRACKING_ID), ARGOCD, [], id="cache.go:339 owned ones are not tracked"),
        pytest.param(obj(), ARGOCD, [], id="nobody"),
    ],
)  # fmt: skip
def test_claims(it: Any, argocd: ArgoCD, claims: list[tuple[Key, str]]) -> None:
    assert [(c.owner, c.by) for c in owners.claims(it, argocd)] == claims


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        (obj("root", lists=(CHILD,)), True),
        (obj("root", lists=(ROOT,)), False),
        (obj("root"), None),
        (obj("root", lists=(ROOT,), sync="Unknown"), None),
    ],
)
def test_an_owner_confirms(owner: Any, says: bool | None) -> None:
    assert owners.confirms(owner, CHILD) is says


# -- reverting

HEALS = {"automated": {"selfHeal": True}}
RULE = {"group": "argoproj.io", "kind": "Application", "jsonPointers": ["/spec/source"]}
CHANGE = FieldChange(REVISION, "2.5.1", "2.4.1")
ENABLED = FieldChange(("spec", "syncPolicy", "automated", "enabled"), ABSENT, False)
BLOCK = FieldChange(("spec", "syncPolicy", "automated"), {}, ABSENT)
MANUAL = FieldChange(("spec", "syncWindows", Match((), 0), "manualSync"), ABSENT, True)
TAKEN = MemberChange(("spec", "syncWindows", Match((), 0), "applications"), "a", 0, present=False)
ADDED_LIST = MemberChange(("spec", "ignoreApplicationDifferences"), {}, 0, present=True, sole=True)
RESPECT = {**HEALS, "syncOptions": ["RespectIgnoreDifferences=true"]}
REPLACE = {**HEALS, "syncOptions": ["Replace=true"]}


@pytest.mark.parametrize(
    ("owner", "change", "speed"),
    [
        pytest.param(obj("root", policy=HEALS), CHANGE, "now", id="changing a key of git is drift"),
        pytest.param(obj("root", policy=HEALS), BLOCK, "now", id="removing a key of git is drift"),
        pytest.param(obj("root", policy=HEALS), TAKEN, "now", id="a list change is drift"),
        pytest.param(obj("root", policy=HEALS), ENABLED, "", id="GE diff.go:731 an added key is no drift"),
        pytest.param(obj("root", policy=HEALS), ADDED_LIST, "", id="an added list is an added key"),
        pytest.param(obj("root", policy=HEALS), MANUAL, "later", id="§7.2 a key added in a list item is lost at the next apply"),
        pytest.param(obj("root", policy=REPLACE), ENABLED, "later", id="Replace=true wipes extras"),
        pytest.param(obj("root", policy={"automated": {}}), CHANGE, "later", id="without self-heal with the next sync"),
        pytest.param(obj("root", policy={"automated": {"enabled": False, "selfHeal": True}}), CHANGE, "", id="paused"),
        pytest.param(obj("root"), CHANGE, "", id="no auto-sync"),
        pytest.param(obj("root", policy=HEALS, annotations={"argocd.argoproj.io/skip-reconcile": "true"}), CHANGE, "", id="AC:2764 skip-reconcile"),
        pytest.param(obj("root", policy=HEALS, ignoreDifferences=[RULE]), CHANGE, "later", id="SY:307 ignored, but the next sync wipes it"),
        pytest.param(obj("root", policy=RESPECT, ignoreDifferences=[RULE]), CHANGE, "", id="RespectIgnoreDifferences"),
        pytest.param(obj("root", policy=RESPECT), CHANGE, "now", id="RespectIgnoreDifferences without a rule"),
    ],
)  # fmt: skip
def test_reverts(owner: Any, change: Change, speed: str) -> None:
    got = owners.reverts(owner, obj(), (change,))
    assert ("" if got is None else "now" if got.soon else "later") == speed
    if got:
        assert got.describe().startswith("Application argocd/root would revert it ")


def test_replace_may_be_said_by_the_object_itself() -> None:
    it = obj(annotations={"argocd.argoproj.io/sync-options": "Prune=false,Replace=true"})
    got = owners.reverts(obj("root", policy=HEALS), it, (ENABLED,))
    assert got is not None and not got.soon


def test_an_owner_frozen_by_a_window_reverts_later() -> None:
    got = owners.reverts(obj("root", policy=HEALS), obj(), (CHANGE,), frozen_until="Monday")
    assert got is not None and not got.soon
    assert got.how_soon == "as soon as its sync window lets it (Monday)"


@pytest.mark.parametrize(
    ("rule", "covered"),
    [
        (RULE, True),
        ({**RULE, "kind": "*", "group": "*"}, True),
        ({**RULE, "kind": "AppProject"}, False),
        ({**RULE, "group": "apps"}, False),
        ({**RULE, "name": "traefik", "namespace": "argocd"}, True),
        ({**RULE, "name": "web"}, False),
        ({**RULE, "namespace": "web"}, False),
        ({**RULE, "jsonPointers": ["/spec/sourc"]}, False),
        ({**RULE, "jsonPointers": ["/spec/source/targetRevision"]}, True),
        ({**RULE, "jsonPointers": [], "jqPathExpressions": [".spec.source"]}, True),
        ({**RULE, "jsonPointers": [], "jqPathExpressions": ['.spec."source" ']}, True),
        ({**RULE, "jsonPointers": [], "jqPathExpressions": [".spec.sources[0]"]}, False),
        ({}, False),
    ],
)
def test_is_ignored(rule: Any, covered: bool) -> None:
    assert owners.is_ignored(obj("root", ignoreDifferences=[rule]), obj(), REVISION) is covered


# -- owners of an object


def owner_keys(*objects: Any) -> list[tuple[Key, str]]:
    return owners.owners_of(snapshot(*objects), objects[0])


def test_whoever_lists_it_owns_it() -> None:
    assert owner_keys(obj(), obj("root", lists=(CHILD,))) == [(ROOT, "status.resources")]


def test_a_claim_that_the_owner_denies_does_not_count() -> None:
    other = obj("other", lists=(CHILD,))
    denied = obj("root", lists=(ROOT,))
    assert owner_keys(obj(tracked=TRACKING_ID), denied, other) == [
        (Key("Application", "argocd", "other"), "status.resources")
    ]


def test_a_claim_of_an_owner_that_does_not_exist_counts() -> None:
    assert owner_keys(obj(tracked=TRACKING_ID)) == [(ROOT, "tracking-id")]


def test_an_app_that_manages_itself_is_its_own_owner() -> None:
    root = obj("root", tracked="root:argoproj.io/Application:argocd/root", lists=(ROOT,))
    assert owner_keys(root) == [(ROOT, "tracking-id")]


def test_a_claim_that_nobody_can_check_counts() -> None:
    assert owner_keys(obj(tracked=TRACKING_ID), obj("root")) == [(ROOT, "tracking-id")]


def test_a_confirmed_claim_is_listed_once() -> None:
    assert owner_keys(obj(tracked=TRACKING_ID), obj("root", lists=(CHILD,))) == [(ROOT, "tracking-id")]


def test_a_generated_app_belongs_to_its_set_alone() -> None:
    listed = obj("root", lists=(CHILD,))
    assert owner_keys(obj(references=SET), listed) == [
        (Key("ApplicationSet", "argocd", "all"), "ownerReference")
    ]
