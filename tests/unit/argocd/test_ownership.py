"""Who owns an object and would put an edit back; each case names the fact of argocd-semantics.md.

Covered: tracking ids (§7.1: namespaced instance names, self reference, installation id), labels,
ownerReferences; what an owner's own list confirms; what is drift, what only the next sync wipes
(§7.2: added keys, list items, ignoreDifferences with and without RespectIgnoreDifferences,
Replace=true, self-heal, skip-reconcile, frozen by a window); an app that manages itself, an owner
that does not exist or belongs to another Argo CD, one that deploys into another cluster; no sign hides
another.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from kubectl_argo_rescue.argocd import ownership
from kubectl_argo_rescue.model.values import (
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
    marks = {**({ownership.TRACKING_ID: tracked} if tracked else {}), **(annotations or {})}
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
    assert ownership.instance_key(value, argocd) == key


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
        pytest.param(obj(tracked=TRACKING_ID), INSTALLED, [(Key("Application", "", "root"), "tracking-id")], id="RT another installation: another Argo CD's"),
        pytest.param(obj(tracked="team_root:argoproj.io/Application:argocd/traefik"), INSTALLED, [(Key("Application", "team", "root"), "tracking-id")], id="RT another installation says its namespace"),
        pytest.param(obj(tracked=TRACKING_ID, annotations={ownership.INSTALLATION_ID: "one"}), INSTALLED, [(ROOT, "tracking-id")], id="RT installation id"),
        pytest.param(obj(labels={"app.kubernetes.io/instance": "root"}), ARGOCD, [], id="§7.1 the label means nothing under annotation tracking"),
        pytest.param(obj(labels={"app.kubernetes.io/instance": "root"}, tracked="x:argoproj.io/Application:argocd/traefik"), LABEL, [(Key("Application", "argocd", "x"), "tracking-id"), (ROOT, "label")], id="label tracking, and another Argo CD's mark"),
        pytest.param(obj(labels={"app.kubernetes.io/instance": "root"}, tracked=TRACKING_ID), LABEL, [(ROOT, "tracking-id")], id="both marks say one owner"),
        pytest.param(obj(labels={"argocd.argoproj.io/instance": "x"}, tracked=TRACKING_ID), ARGOCD, [(ROOT, "tracking-id"), (Key("Application", "argocd", "x"), "label")], id="only an Argo CD sets the other label"),
        pytest.param(obj(labels={"argocd.argoproj.io/instance": "r" * 63}, tracked=f"{'r' * 70}:argoproj.io/Application:argocd/traefik"), ARGOCD, [(Key("Application", "argocd", "r" * 70), "tracking-id")], id="a label is cut"),
        pytest.param(obj(references=SET, labels={"app.kubernetes.io/instance": "root"}), LABEL, [(Key("ApplicationSet", "argocd", "all"), "ownerReference")], id="the label of a set's template"),
        pytest.param(obj(labels={"mine": "ns_root"}), ArgoCD("argocd", tracking=Tracking.LABEL, instance_label="mine"), [(Key("Application", "ns", "root"), "label")], id="another label key"),
        pytest.param(obj(), LABEL, [], id="no label"),
        pytest.param(obj(tracked=TRACKING_ID), ArgoCD("argocd", tracking=Tracking.ANNOTATION_AND_LABEL), [(ROOT, "tracking-id")], id="RT annotation+label reads the annotation"),
        pytest.param(obj(references=SET, tracked=TRACKING_ID), ARGOCD, [(Key("ApplicationSet", "argocd", "all"), "ownerReference"), (ROOT, "tracking-id")], id="AS:657 generated, and marked as well"),
        pytest.param(obj(references=[{**SET[0], "controller": False}]), ARGOCD, [(Key("ApplicationSet", "argocd", "all"), "ownerReference")], id="no controller reference"),
        pytest.param(obj(references=[{**SET[0], "kind": "Application", "name": "root"}]), ARGOCD, [(ROOT, "ownerReference")], id="an app"),
        pytest.param(obj(references=[{**SET[0], "apiVersion": "x/v1"}]), ARGOCD, [(Key("ApplicationSet.x", "argocd", "all"), "ownerReference")], id="another group's controller"),
        pytest.param(obj(references=[{"apiVersion": "v1", "kind": "Pod", "name": "o", "controller": True}]), ARGOCD, [(Key("Pod.core", "argocd", "o"), "ownerReference")], id="the core group's controller"),
        pytest.param(obj(references=[{"kind": "Other", "name": "o"}], tracked=TRACKING_ID), ARGOCD, [(ROOT, "tracking-id")], id="a mere parent hides no mark"),
        pytest.param(obj(), ARGOCD, [], id="nobody"),
    ],
)  # fmt: skip
def test_claims(it: Any, argocd: ArgoCD, claims: list[tuple[Key, str]]) -> None:
    assert [(c.owner, c.by) for c in ownership.claims(it, argocd)] == claims


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
    assert ownership.confirms(owner, CHILD) is says


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
    got = ownership.reverts(owner, obj(), (change,))
    assert ("" if got is None else "now" if got.soon else "later") == speed
    if got:
        assert got.describe().startswith("Application argocd/root would revert it ")


def test_replace_may_be_said_by_the_object_itself() -> None:
    it = obj(annotations={"argocd.argoproj.io/sync-options": "Prune=false,Replace=true"})
    got = ownership.reverts(obj("root", policy=HEALS), it, (ENABLED,))
    assert got is not None and not got.soon


def test_an_owner_frozen_by_a_window_reverts_later() -> None:
    got = ownership.reverts(obj("root", policy=HEALS), obj(), (CHANGE,), frozen_until="Monday")
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
    assert ownership.is_ignored(obj("root", ignoreDifferences=[rule]), obj(), REVISION) is covered


# -- owners of an object


def owner_keys(*objects: Any) -> list[tuple[Key, str]]:
    return ownership.owners_of(snapshot(*objects), objects[0])


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


def test_whoever_lists_a_generated_app_owns_it_as_well() -> None:
    listed = obj("root", lists=(CHILD,))
    assert owner_keys(obj(references=SET), listed) == [(ALL, "ownerReference"), (ROOT, "status.resources")]


ALL = Key("ApplicationSet", "argocd", "all")
PARENT = [{"apiVersion": "x/v1", "kind": "Other", "name": "o", "controller": False}]


def test_a_mere_parent_hides_no_owner() -> None:
    assert owner_keys(obj(references=PARENT), obj("root", lists=(CHILD,))) == [(ROOT, "status.resources")]
    assert owner_keys(obj(references=PARENT, tracked=TRACKING_ID)) == [(ROOT, "tracking-id")]


@pytest.mark.parametrize(
    ("lists", "count", "owns"), [((CHILD,), None, True), ((ROOT,), None, False), ((ROOT,), 9, True), ((), None, True)]
)  # fmt: skip
def test_a_set_that_does_not_control_it_is_asked(lists: Any, count: int | None, owns: bool) -> None:
    it = obj("all", kind="ApplicationSet", lists=lists)
    if count:
        it["status"]["resourcesCount"] = count  # the list is cut
    child = obj(references=[{**SET[0], "controller": False}])
    assert owner_keys(child, it) == ([(ALL, "ownerReference")] if owns else [])


# -- another Argo CD


def elsewhere(name: str, namespace: str, **more: Any) -> Any:
    made = obj(name, **more)
    made["metadata"]["namespace"] = made["status"]["controllerNamespace"] = namespace
    return made


TWO = Key("Application", "argo-two", "root")
NOWHERE = Key("Application", "", "root")


def test_an_owner_of_another_argo_cd_in_this_cluster() -> None:
    found = elsewhere("root", "argo-two", lists=(CHILD,))
    assert owner_keys(obj(tracked=TRACKING_ID), found) == [(TWO, "tracking-id")]
    assert owner_keys(obj(tracked=TRACKING_ID), elsewhere("root", "argo-two")) == [(TWO, "tracking-id")]
    denying = elsewhere("root", "argo-two", lists=(ROOT,))
    assert owner_keys(obj(tracked=TRACKING_ID), denying) == [(ROOT, "tracking-id")]


def test_an_app_of_that_name_in_a_served_namespace_has_another_instance_name() -> None:
    found = elsewhere("root", "team")
    found["status"]["controllerNamespace"] = "argo-two"
    assert owner_keys(obj(tracked=TRACKING_ID), found) == [(ROOT, "tracking-id")]


def test_what_another_installation_marked_is_not_ours() -> None:
    it = obj(tracked=TRACKING_ID)
    assert ownership.owners_of(snapshot(it, argocd=INSTALLED), it) == [(NOWHERE, "tracking-id")]
    assert ownership.is_elsewhere(snapshot(it, argocd=INSTALLED), NOWHERE)
    found = elsewhere("root", "argo-two", lists=(CHILD,))
    assert ownership.owners_of(snapshot(it, found, argocd=INSTALLED), it) == [(TWO, "tracking-id")]


def test_a_mark_that_its_owner_here_denies_is_another_clusters() -> None:
    assert owner_keys(obj(tracked=TRACKING_ID), obj("root", lists=(ROOT,))) == [(NOWHERE, "tracking-id")]
    # Argo CD does not read the marks of what has a parent, so there a denial explains itself.
    assert owner_keys(obj(tracked=TRACKING_ID, references=PARENT), obj("root", lists=(ROOT,))) == []


def test_a_label_with_its_own_name_names_no_owner() -> None:
    it = obj(labels={"argocd.argoproj.io/instance": "traefik"}, lists=(ROOT,))
    assert owner_keys(it) == []


# -- where an owner deploys to


@pytest.mark.parametrize(
    ("destination", "marked", "sync", "reach"),
    [
        ({}, True, "Synced", "here"),
        ({"server": "https://kubernetes.default.svc"}, False, "Synced", "here"),
        ({"server": "https://kubernetes.default.svc/"}, False, "Synced", "here"),
        ({"server": "https://kubernetes.default.svc.cluster.local:443"}, False, "Synced", "here"),
        ({"server": "https://kubernetes.default.evil.example"}, False, "Synced", "away"),
        ({"name": "in-cluster"}, False, "Synced", "here"),
        ({"name": "mgmt"}, False, "Synced", "here"),
        ({"server": "https://HERE.example:6443/"}, False, "Synced", "here"),
        ({"server": "https://spoke.example"}, False, "Synced", "away"),
        ({"name": "spoke"}, False, "Synced", "away"),
        ({"server": "https://spoke.example"}, True, "Synced", "unknown"),
        ({"server": "https://spoke.example"}, False, "OutOfSync", "unknown"),
    ],
)
def test_reach(destination: Any, marked: bool, sync: str, reach: str) -> None:
    it = obj(tracked=TRACKING_ID if marked else "")
    root = obj("root", lists=(CHILD,), destination=destination)
    root["status"]["resources"][0]["status"] = sync
    where = replace(
        snapshot(it, root),
        server="https://here.example:6443",
        clusters={"mgmt": "https://kubernetes.default.svc"},
    )
    assert ownership.reach(where, root, it).value == reach
    assert ownership.owners_of(where, it) == (
        [] if reach == "away" else [(ROOT, "tracking-id" if marked else "status.resources")]
    )


def test_any_label_with_the_owners_name_is_its_mark() -> None:
    root = obj("root", lists=(CHILD,), destination={"name": "spoke"})
    root["status"]["resources"][0]["status"] = "Synced"
    it = obj(labels={"whatever.example/instance": "root"})
    assert ownership.reach(snapshot(it, root), root, it) is ownership.Reach.UNKNOWN
