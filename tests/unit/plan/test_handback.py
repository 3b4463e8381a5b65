"""What holds an Application, and what is tried on it, from objects alone.

Aspects: the window names this application alone and is like no other of its project; none where the user may
not write the project or what manages it acts; what is left then; the operation of a paused owner prunes and
replaces nothing and says its source; what takes an application back to what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

import pytest

from kubectl_argo_rescue.model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    FieldChange,
    Key,
    MemberChange,
    Snapshot,
    parse_version,
    ref_of,
)
from kubectl_argo_rescue.plan.handback import (
    Candidate,
    held_again,
    is_as_before,
    plan_hold,
    selective_sync,
    taken_back,
    who_may_write,
)

from ..build import app

NOW = datetime(2026, 11, 27, 17, tzinfo=timezone.utc)
KEY, ROOT = Key("Application", "argocd", "traefik"), Key("Application", "argocd", "root")
PROJECT = Key("AppProject", "argocd", "cluster")
DESTINATION = {"server": "https://kubernetes.default.svc", "namespace": "traefik"}
PAUSED: JSON = {"automated": {"enabled": False, "selfHeal": True}}
ON: JSON = {"automated": {"selfHeal": True}}
SOURCE = {"repoURL": "https://charts.invalid", "chart": "traefik", "targetRevision": "2.4.1"}
GIT = {"repoURL": "https://git.invalid/r.git", "path": "apps", "targetRevision": "main"}


def child(name: str = "traefik", **spec: JSON) -> JSON:
    fields = {"project": "cluster", "source": SOURCE, "destination": DESTINATION, "syncPolicy": ON, **spec}
    tracking = {"argocd.argoproj.io/tracking-id": f"root:argoproj.io/Application:argocd/{name}"}
    return app(name=name, meta={"annotations": tracking}, **fields)


def root(policy: JSON = None, **more: JSON) -> JSON:
    lines = [
        {
            "group": "argoproj.io",
            "kind": k.kind,
            "namespace": k.namespace,
            "name": k.name,
            "status": "OutOfSync",
        }
        for k in (KEY, PROJECT)
    ]
    status = {"resources": lines, "sync": {"status": "OutOfSync", "revision": "abc"}}
    return app(status, name="root", source=GIT, syncPolicy=PAUSED if policy is None else policy, **more)


def project(*windows: JSON) -> JSON:
    spec: JSON = {"syncWindows": list(windows)} if windows else {}
    return {
        "kind": "AppProject",
        "metadata": {"name": "cluster", "namespace": "argocd", "uid": "u-cluster"},
        "spec": spec,
    }


def bed(*objects: JSON, version: str = "v3.2.11", **more: JSON) -> Snapshot:
    found: Mapping[Key, JSON] = {ref_of(o).key: o for o in objects}
    return Snapshot(ArgoCD("argocd", parse_version(version), **more), found, NOW)


def test_two_holds_the_window_first() -> None:
    hold = plan_hold(bed(child(), root(), project()), KEY, may_edit_project=True)
    assert [e.ref.kind for e in hold.edits] == ["AppProject", "Application"]
    (window,), (off,) = (e.changes for e in hold.edits)
    assert isinstance(window, MemberChange) and window.sole
    assert window.item == {
        "kind": "deny",
        "schedule": "* * * * *",
        "duration": "24h",
        "applications": ["traefik"],
        "manualSync": False,
    }
    assert off == FieldChange(("spec", "syncPolicy", "automated", "enabled"), ABSENT, False)
    assert all(hold.allows(c) for c in Candidate)


def test_its_window_is_like_no_other() -> None:
    windows = [{"kind": "deny", "schedule": "* * * * *", "duration": f"{n}h"} for n in (24, 25)]
    hold = plan_hold(bed(child(), root(), project(*windows)), KEY, may_edit_project=True)
    assert hold.window is not None
    (change,) = hold.window.changes
    assert isinstance(change, MemberChange) and not change.sole
    assert (change.item["duration"], change.index) == ("26h", 2)


@pytest.mark.parametrize(("version", "is_spared"), [("v3.0.1", True), ("v2.14.21", False)])
def test_a_namesake_is_spared(version: str, is_spared: bool) -> None:
    twin = {**child(destination={"name": "[edge]", "namespace": "web"})}
    twin["metadata"] = {**twin["metadata"], "namespace": "team", "uid": "u-twin"}
    snapshot = bed(child(), twin, root(), project(), version=version)
    hold = plan_hold(snapshot, KEY, may_edit_project=True)
    assert (hold.window is not None) is is_spared
    if hold.window is not None:
        (change,) = hold.window.changes
        assert isinstance(change, MemberChange)
        item = change.item
        assert item["andOperator"] and item["namespaces"] == ["traefik"]
        assert item["clusters"] == ["https://kubernetes.default.svc"]
        other = plan_hold(snapshot, Key("Application", "team", "traefik"), may_edit_project=True)
        assert other.window is not None
        (change,) = other.window.changes
        assert isinstance(change, MemberChange) and change.item["clusters"] == ["\\[edge\\]"]


@pytest.mark.parametrize(
    ("objects", "may", "version", "why", "is_off"),
    [
        ([root(), project()], False, "v3.2.11", "you may not patch", True),
        ([root()], True, "v3.2.11", "cannot be read", True),
        ([root(ON), project()], True, "v3.2.11", "would be put back", False),
        ([root(), project()], True, "v2.10.0", "hold no operations", False),
        ([root(), project()], False, "v3.0.1", "its auto-sync cannot be held", False),
    ],
    ids=["no right", "no project", "its owner acts", "before 2.11", "no enabled"],
)
def test_without_a_window(objects: list[JSON], may: bool, version: str, why: str, is_off: bool) -> None:
    hold = plan_hold(bed(child(), *objects, version=version), KEY, may_edit_project=may)
    assert hold.window is None and why in hold.why_not
    assert (hold.off is not None) is is_off
    assert hold.allows(Candidate.ORIGINAL) is is_off
    assert not hold.allows(Candidate.OWNER), "what an owner writes may take `enabled` away"


def test_what_is_replaced_as_a_whole_is_held_by_a_window_alone() -> None:
    live = child()
    live["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] = "Replace=true"
    assert plan_hold(bed(live, root(), project()), KEY, may_edit_project=True).window is not None
    hold = plan_hold(bed(live, root(), project()), KEY, may_edit_project=False)
    assert not hold.edits and "Replace=true" in hold.why_not


def test_a_paused_owner_writes_one_application_and_nothing_else() -> None:
    policy = {**PAUSED, "syncOptions": ["Replace=true", "Force=true", "ServerSideApply=true"]}
    snapshot = bed(child(), root(policy), project())
    assert who_may_write(snapshot, KEY) == (ROOT, "")
    order = selective_sync(snapshot, snapshot.objects[ROOT], KEY, id="x", actor="alice")
    sync = order.operation["sync"]
    assert sync["resources"] == [
        {"group": "argoproj.io", "kind": "Application", "name": "traefik", "namespace": "argocd"}
    ]
    assert (sync["prune"], sync["source"], sync["revision"]) == (False, GIT, "abc")
    assert sync["syncOptions"] == ["ServerSideApply=true"]
    assert "retry" not in order.operation


@pytest.mark.parametrize(
    ("owner", "why"),
    [
        (root(ON), "is not paused"),
        ({**root(), "operation": {"sync": {}}}, "has an operation in progress"),
    ],
)
def test_who_cannot_be_asked(owner: JSON, why: str) -> None:
    found, said = who_may_write(bed(child(), owner, project()), KEY)
    assert found is None and why in said


def test_what_is_made_anew_by_each_sync_is_not_written() -> None:
    live = child()
    live["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] = "Force=true,Replace=true"
    found, said = who_may_write(bed(live, root(), project()), KEY)
    assert found is None and "Force=true" in said


def test_back_to_what_it_was() -> None:
    before = child(syncPolicy=PAUSED)
    mended = child(source={**SOURCE, "targetRevision": "2.6.0"})
    assert taken_back(before, mended) == (
        FieldChange(("spec", "source", "targetRevision"), "2.6.0", "2.4.1"),
    )
    whole = {**SOURCE, "helm": {"values": "a: 1"}}
    assert taken_back(before, child(source=whole)) == (FieldChange(("spec", "source"), whole, SOURCE),)
    assert taken_back(before, before) == ()
    assert held_again(before, mended) == (
        FieldChange(("spec", "syncPolicy"), mended["spec"]["syncPolicy"], before["spec"]["syncPolicy"]),
    )
    assert held_again(before, before) == ()
    assert not is_as_before(before, mended)
    assert not is_as_before(before, child(project="other"))
    assert not is_as_before(before, child(destination={"name": "edge", "namespace": "traefik"}))
    assert is_as_before(before, before)
