"""The planners: from a snapshot and a wish to an ordered plan.

Covered: pausing with owners first, grandparents before them, once for two children; an owner that is
paused already is relied on, one that is missing is a warning, one frozen by a window still counts;
`--only`; a self-managing app, a circle; pin: a chart, a git branch to its commit, a short commit, a
typo that is questioned, several sources by name, index, chart, history; whether auto-sync acts or an
order is needed, or windows, an operation, a dead controller, a missing project stop it; unblock with
whom else it frees; sync, rollback, terminate and rescue as plans; the same input, the same plan.
"""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from kubectl_argo_rescue.argocd import application, reconciliation
from kubectl_argo_rescue.argocd.application import bound_to, sources
from kubectl_argo_rescue.argocd.history import KnownVersions
from kubectl_argo_rescue.argocd.operation import order_ops
from kubectl_argo_rescue.model import patches, text
from kubectl_argo_rescue.model.errors import NotFound, RefusedError, RescueError, UsageError
from kubectl_argo_rescue.model.values import (
    ABSENT,
    ArgoCD,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Order,
    OrderKind,
    Plan,
    Role,
    Snapshot,
    parse_version,
    ref_of,
)
from kubectl_argo_rescue.plan.operations import plan_rollback, plan_sync, plan_terminate
from kubectl_argo_rescue.plan.pause import plan_pause
from kubectl_argo_rescue.plan.pin import choose_source, plan_pin
from kubectl_argo_rescue.plan.rescue import Rescue, plan_rescue
from kubectl_argo_rescue.plan.unblock import plan_unblock, window_edits
from kubectl_argo_rescue.show.steps import step_lines

from .. import build

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
SHA = "8a1f0c2d3e4b5a69788796a5b4c3d2e1f0a9b8c7"
ARGOCD = ArgoCD("argocd", version=parse_version("v3.2.11"))
OLD_ARGOCD = ArgoCD("argocd", version=parse_version("v2.13.1"))
HEALS = {"automated": {"prune": True, "selfHeal": True}}
CHART = {"repoURL": "https://charts", "chart": "traefik", "targetRevision": "2.5.1"}
GIT = {"repoURL": "https://git", "path": "apps", "targetRevision": "main"}
VALUES = {"repoURL": "https://values", "targetRevision": "main", "ref": "values"}
REVISION = ("spec", "source", "targetRevision")
ENABLED = ("spec", "syncPolicy", "automated", "enabled")


def key(name: str, namespace: str = "argocd", kind: str = "Application") -> Key:
    return Key(kind, namespace, name)


def app(
    name: str = "traefik",
    *,
    parent: str = "",
    children: tuple[str, ...] = (),
    policy: Any = HEALS,
    source: Any = CHART,
    status: Any = None,
    operation: Any = None,
    **spec: Any,
) -> Any:
    marks = (
        {"argocd.argoproj.io/tracking-id": f"{parent}:argoproj.io/Application:argocd/{name}"}
        if parent
        else {}
    )
    listed = [
        {"group": "argoproj.io", "kind": kind or "Application", "namespace": "argocd", "name": child}
        for kind, _, child in (c.rpartition("/") for c in children)
    ]
    told = {"resources": listed, "sync": {"status": "Synced", "revision": "abc"}, **(status or {})}
    spec = {"project": "default", "source": source, **({"syncPolicy": policy} if policy else {}), **spec}
    meta = {"annotations": marks, "resourceVersion": "7"}
    return build.app(told, name=name, meta=meta, operation=operation, **spec)


def project(name: str = "default", *windows: Any, parent: str = "") -> Any:
    marks = (
        {"argocd.argoproj.io/tracking-id": f"{parent}:argoproj.io/AppProject:argocd/{name}"} if parent else {}
    )
    return {
        "kind": "AppProject",
        "metadata": {"name": name, "namespace": "argocd", "uid": f"p-{name}", "annotations": marks},
        "spec": {"syncWindows": list(windows)} if windows else {},
    }


def deny(*applications: str, **more: Any) -> Any:
    return {
        "kind": "deny",
        "schedule": "0 16 * * *",
        "duration": "8h",
        "applications": list(applications),
        **more,
    }


def snapshot(*objects: Any, argocd: ArgoCD = ARGOCD, missing: tuple[Key, ...] = ()) -> Snapshot:
    there = {ref_of(o).key: o for o in (project(), *objects)}
    return Snapshot(argocd, {k: o for k, o in there.items() if k not in missing}, NOW, frozenset(missing))


def steps(plan: Plan) -> list[tuple[str, str, bool]]:
    return [
        (s.ref.name, s.kind.name if isinstance(s, Order) else s.role.value, s.named)
        for s in plan.steps
        if isinstance(s, (Edit, Order))
    ]


def edit_of(plan: Plan, name: str) -> Edit:
    (found,) = [s for s in plan.steps if isinstance(s, Edit) and s.ref.name == name]
    return found


# -- pause


def test_an_app_without_owner_is_paused_alone() -> None:
    plan = plan_pause(snapshot(app()), [key("traefik")])
    assert steps(plan) == [("traefik", "pause", True)]
    assert edit_of(plan, "traefik").changes == (FieldChange(ENABLED, ABSENT, False),)
    assert not plan.questions and not plan.warnings and plan.independent_from is None


def test_enabled_is_no_drift_so_its_owner_may_go_on() -> None:
    # GE diff.go:731: an added key survives the owner's self-heal.
    it = snapshot(app(parent="root"), app("root", children=("traefik",)))
    plan = plan_pause(it, [key("traefik")])
    assert steps(plan) == [("traefik", "pause", True)]
    assert [w.owner for w in plan.witnesses] == [key("root")]


FAMILY = (
    app("traefik", parent="root"),
    app("web", parent="root"),
    app("root", parent="top", children=("traefik", "web")),
    app("top", children=("root",)),
)


def test_taking_the_block_away_needs_all_owners_paused_grandparents_first() -> None:
    plan = plan_pause(snapshot(*FAMILY, argocd=OLD_ARGOCD), [key("traefik")])
    assert steps(plan) == [("top", "pause", False), ("root", "pause", False), ("traefik", "pause", True)]
    assert plan.questions == (
        "top is paused as well: Application argocd/top would revert it within seconds (auto-sync with self-heal)",
        "root is paused as well: Application argocd/root would revert it within seconds (auto-sync with self-heal)",
    )
    block = ("spec", "syncPolicy", "automated")
    assert edit_of(plan, "root").changes == (FieldChange(block, HEALS["automated"], ABSENT),)


def test_two_children_pause_their_owner_once_and_are_independent_of_each_other() -> None:
    plan = plan_pause(snapshot(*FAMILY, argocd=OLD_ARGOCD), [key("traefik"), key("web")])
    assert [n for n, _, _ in steps(plan)] == ["top", "root", "traefik", "web"]
    assert plan.independent_from == 2


def test_an_owner_that_is_named_is_paused_at_the_owner_s_place_as_named() -> None:
    plan = plan_pause(snapshot(*FAMILY, argocd=OLD_ARGOCD), [key("traefik"), key("root"), key("top")])
    assert steps(plan) == [("top", "pause", True), ("root", "pause", True), ("traefik", "pause", True)]
    assert plan.questions == ()


def test_only_leaves_the_owners_out_with_a_warning() -> None:
    plan = plan_pause(snapshot(*FAMILY, argocd=OLD_ARGOCD), [key("traefik")], only=True)
    assert steps(plan) == [("traefik", "pause", True)]
    (warning,) = plan.warnings
    assert "root would revert it" in warning and "left out by --only" in warning


def test_a_paused_owner_is_relied_on() -> None:
    it = snapshot(app(parent="root"), app("root", children=("traefik",), policy=None), argocd=OLD_ARGOCD)
    plan = plan_pause(it, [key("traefik")])
    assert steps(plan) == [("traefik", "pause", True)]
    (reliance,) = plan.relies
    assert reliance.key == key("root")


def test_an_owner_that_is_elsewhere_is_a_question() -> None:
    it = snapshot(app(parent="root"), missing=(key("root"),))
    text = (
        "whether Application argocd/root would revert the edit of Application argocd/traefik is not known: it "
        "owns it by its tracking-id and is elsewhere, not in "
    )
    asked = plan_pause(it, [key("traefik")])
    assert asked.questions == (f"{text}namespace argocd, and other namespaces may not be looked at",)
    assert plan_pause(replace(it, is_whole=True), [key("traefik")]).questions == (f"{text}this cluster",)
    alone = plan_pause(it, [key("traefik")], only=True)
    assert (alone.questions, alone.warnings) == ((), asked.questions)


def test_another_controller_that_is_no_part_of_argo_cd_is_a_question() -> None:
    it = app()
    owner = {"apiVersion": "x.io/v1", "kind": "Fleet", "name": "all", "controller": True}
    it["metadata"]["ownerReferences"] = [owner]
    (question,) = plan_pause(snapshot(it), [key("traefik")]).questions
    assert "whether Fleet.x.io argocd/all would revert" in question and "no part of Argo CD" in question


def test_an_owner_of_another_argo_cd_loses_its_block() -> None:
    it = app(parent="root")
    root = app("root", children=("traefik",))
    root["metadata"]["namespace"] = "argo-two"
    root["status"]["controllerNamespace"] = "argo-two"
    plan = plan_pin(
        snapshot(it, root, missing=(key("root"),)), key("traefik"), "2.4.1", order_id="o", actor="a"
    )
    edit = edit_of(plan, "root")
    assert (edit.ref.namespace, edit.changes[0].path[-1]) == ("argo-two", "automated")
    assert plan.questions[0].startswith("argo-two/root is paused as well")


def test_an_owner_that_perhaps_deploys_elsewhere_is_paused_and_said() -> None:
    root = app("root", children=("traefik",))
    root["spec"]["destination"] = {"name": "edge"}
    plan = plan_pin(snapshot(app(parent="root"), root), key("traefik"), "2.4.1", order_id="o", actor="a")
    assert [n for n, _, _ in steps(plan)][:2] == ["root", "traefik"]
    assert any("its destination is edge; it counts as an owner" in w for w in plan.warnings)


def test_an_owner_frozen_by_a_window_is_paused_all_the_same() -> None:
    it = snapshot(
        project("default", deny("root")),
        app(parent="root"),
        app("root", children=("traefik",)),
        argocd=OLD_ARGOCD,
    )
    plan = plan_pause(it, [key("traefik")])
    assert [n for n, _, _ in steps(plan)] == ["root", "traefik"]
    assert "as soon as its sync window lets it (2026-11-28 00:00 UTC)" in plan.questions[0]


def test_a_self_managing_app_is_edited_once() -> None:
    it = snapshot(app("root", parent="root", children=("root",)), argocd=OLD_ARGOCD)
    plan = plan_pause(it, [key("root")])
    assert steps(plan) == [("root", "pause", True)]


def test_a_circle_ends() -> None:
    it = snapshot(
        app("one", parent="two", children=("two",)),
        app("two", parent="one", children=("one",)),
        argocd=OLD_ARGOCD,
    )
    plan = plan_pause(it, [key("one")])
    assert steps(plan) == [("two", "pause", False), ("one", "pause", True)]


def test_what_is_paused_already_is_no_step() -> None:
    plan = plan_pause(snapshot(app(policy=None)), [key("traefik")])
    assert plan.steps == () and plan.unchanged[0].detail == "already paused"


def test_an_operation_that_goes_on_is_said() -> None:
    it = app(operation={"sync": {}, "initiatedBy": {"automated": True}})
    plan = plan_pause(snapshot(it), [key("traefik")])
    assert "which a pause does not stop" in plan.warnings[0]


def test_an_app_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        plan_pause(snapshot(), [key("nope")])


def test_the_same_input_gives_the_same_plan_and_changes_nothing() -> None:
    it = snapshot(*FAMILY, argocd=OLD_ARGOCD)
    before = copy.deepcopy(dict(it.objects))
    assert plan_pause(it, [key("traefik")]) == plan_pause(it, [key("traefik")])
    assert it.objects == before


def test_names_are_said_as_they_are_typed() -> None:
    assert text.display_name(key("x"), ARGOCD) == "x"
    assert text.display_name(key("x", "team"), ARGOCD) == "team/x"


# -- pin


def pin(it: Snapshot, version: str, **more: Any) -> Plan:
    return plan_pin(it, key("traefik"), version, order_id="id1", actor="alice", **more)


def history(*versions: str, source: Any = CHART) -> Any:
    return [
        {"id": i, "revision": v, "source": {**source, "targetRevision": v if v != SHA else "main"}, "deployedAt": f"2026-11-27T1{i}:00:00Z"}
        for i, v in enumerate(versions)
    ]  # fmt: skip


def test_pinning_pauses_who_would_revert_it() -> None:
    plan = pin(snapshot(*FAMILY), "2.4.1")
    # `enabled: false` on root is an added key: top need not be paused.
    assert steps(plan) == [("root", "pause", False), ("traefik", "version", True)]
    assert edit_of(plan, "traefik").changes == (FieldChange(REVISION, "2.5.1", "2.4.1"),)
    assert plan.next_commands == ("kubectl argo-rescue watch traefik",)


def test_a_version_that_was_deployed_is_not_commented_on() -> None:
    plan = pin(snapshot(app(status={"history": history("2.4.1", "2.5.1")})), "2.4.1")
    assert not plan.notes and not plan.questions


@pytest.mark.parametrize(
    ("version", "note", "question"),
    [
        ("2.4.9", "2.4.9 was never deployed by this app, so whether it exists is not known here (deployed so far: 2.5.1, 2.4.1)", ""),
        ("2.4", "2.4 was never deployed by this app, so whether it exists is not known here (deployed so far: 2.5.1, 2.4.1); it may also move", ""),
        ("2.4,l", "", "'2.4,l' was never deployed by this app and is no valid version of a helm chart (deployed so far: 2.5.1, 2.4.1)"),
    ],
)  # fmt: skip
def test_a_version_that_was_never_deployed(version: str, note: str, question: str) -> None:
    plan = pin(snapshot(app(status={"history": history("2.4.1", "2.5.1")})), version)
    assert "".join(plan.notes) == note and "".join(plan.questions) == question


def test_a_git_branch_is_pinned_to_its_commit() -> None:
    status = {"sync": {"status": "Synced", "revision": SHA, "comparedTo": {"source": GIT}}}
    it = snapshot(
        app(
            source={**GIT, "targetRevision": "broken"}, status={**status, "history": history(SHA, source=GIT)}
        )
    )
    plan = pin(it, "main")
    assert edit_of(plan, "traefik").changes == (FieldChange(REVISION, "broken", SHA),)
    assert plan.notes == (f"main is pinned to the commit that Argo CD last resolved it to, {SHA}",)


def test_a_short_commit_becomes_whole_or_is_said_to_be_unknown() -> None:
    it = snapshot(app(source=GIT, status={"history": history(SHA, source=GIT)}))
    assert edit_of(pin(it, SHA[:8]), "traefik").changes[0] == FieldChange(REVISION, "main", SHA)
    plan = pin(it, "abcdef0")
    assert plan.notes == ("commit abcdef0 is not in the history of this app",)


def test_an_absent_revision_is_head() -> None:
    plan = pin(snapshot(app(source={"repoURL": "https://git", "path": "p"})), "v1.0.0")
    edit = edit_of(plan, "traefik")
    assert edit.changes == (FieldChange(REVISION, ABSENT, "v1.0.0"),) and edit.reason == "HEAD to v1.0.0"


def test_already_pinned() -> None:
    plan = pin(snapshot(app(status={"history": history("2.5.1")})), "2.5.1")
    assert plan.steps == () and plan.unchanged[0].detail == "already at 2.5.1"


SEVERAL: Any = {"sources": [CHART, VALUES, {**GIT, "name": "config"}]}


@pytest.mark.parametrize(
    ("version", "selector", "index"),
    [
        ("2.4.1", None, 0),
        ("2.4.1", "0", 0),
        ("main", "config", 2),
        ("main", "values", 1),
        ("2.4.1", "traefik", 0),
    ],
)
def test_one_of_several_sources(version: str, selector: str | None, index: int) -> None:
    assert choose_source(app(**SEVERAL), version, selector).index == index


def test_history_tells_which_source_is_meant() -> None:
    past = [{"id": 0, "sources": [CHART, {**GIT, "targetRevision": "v1"}], "revisions": ["2.4.1", SHA]}]
    it = app(sources=[CHART, GIT], status={"history": past})
    assert choose_source(it, "v1", None).index == 1
    assert choose_source(it, "2.4.1", None).index == 0


@pytest.mark.parametrize("selector", ["9", "nope", "-1"])
def test_a_source_that_is_not_there(selector: str) -> None:
    with pytest.raises(UsageError, match="0 is helm chart traefik"):
        choose_source(app(**SEVERAL), "1.0.0", selector)


def test_sources_that_cannot_be_told_apart() -> None:
    with pytest.raises(UsageError, match="several sources"):
        choose_source(app(sources=[GIT, {**GIT, "path": "other"}]), "v1", None)
    with pytest.raises(UsageError, match="no source"):
        choose_source(app(source=None), "v1", None)
    only = choose_source(app(sources=[VALUES, GIT]), "v1", None)
    assert only.index == 1, "a ref-only source renders nothing"


ONE: Any = {"repoURL": "https://git.example/Mono.git", "path": "chart", "targetRevision": "main", "helm": {"valueFiles": ["$values/prod.yaml"]}}  # fmt: skip
ITS_VALUES: Any = {"repoURL": "https://git.example/mono", "ref": "values", "targetRevision": "main"}


def revisions_set(plan: Plan) -> dict[int, Any]:
    """The revisions that a plan writes, by the index of their source."""
    found = {}
    for change in edit_of(plan, "traefik").changes:
        assert isinstance(change, FieldChange) and isinstance(change.path[2], Match)
        found[change.path[2].index] = change.after
    return found


@pytest.mark.parametrize(
    ("of", "together"),
    [
        pytest.param([ONE, ITS_VALUES], {0: SHA, 1: SHA}, id="one repository"),
        pytest.param([ITS_VALUES, ONE], {1: SHA, 0: SHA}, id="in another order"),
        pytest.param([{**ONE, "repoURL": "git@git.example:mono.git"}, {**ITS_VALUES, "repoURL": "ssh://git@git.example/mono"}], {0: SHA, 1: SHA}, id="two spellings"),
        pytest.param([ONE, {**ITS_VALUES, "repoURL": "https://git.example/other"}], {0: SHA}, id="another repository"),
        pytest.param([ONE, {**ITS_VALUES, "ref": "unused"}], {0: SHA}, id="not referred to"),
        pytest.param([{**ONE, "helm": {"fileParameters": [{"name": "a", "path": "$values/a"}]}}, ITS_VALUES], {0: SHA, 1: SHA}, id="by a file parameter"),
    ],
)  # fmt: skip
def test_chart_and_values_of_one_repository_are_pinned_together(of: Any, together: Any) -> None:
    """Argo CD refuses one repository at two revisions where one source refers to files of another."""
    it = snapshot(app(source=None, sources=of, status={"history": []}))
    plan = pin(it, SHA)
    assert revisions_set(plan) == together
    assert any("pinned together" in note for note in plan.notes) is (len(together) > 1)
    rescue = plan_rescue(it, key("traefik"), SHA, order_id="id1", actor="alice").plan
    assert revisions_set(rescue) == together


def test_one_of_a_repository_alone_is_asked_about() -> None:
    it = snapshot(app(source=None, sources=[ONE, ITS_VALUES], status={"history": []}))
    plan = pin(it, SHA, source="0")
    assert revisions_set(plan) == {0: SHA}
    assert any("source 1 (git values of" in q and "without --source" in q for q in plan.questions)
    back = pin(
        snapshot(app(source=None, sources=[ONE, {**ITS_VALUES, "targetRevision": SHA}])), SHA, source="0"
    )
    assert not back.questions, "it brings them together again"
    past = [{"id": 0, "sources": [ONE, ITS_VALUES], "revisions": [SHA, SHA]}]
    assert (
        choose_source(app(source=None, sources=[ITS_VALUES, ONE], status={"history": past}), SHA, None).index
        == 1
    )


def test_two_references_into_one_repository_go_together() -> None:
    chart = {**CHART, "helm": {"valueFiles": ["$values/a", "$more/b"]}}
    it = app(source=None, sources=[chart, ITS_VALUES, {**ITS_VALUES, "ref": "more"}])
    assert [s.index for s in bound_to(it, sources(it)[1])] == [2]
    assert bound_to(it, sources(it)[0]) == ()


# -- does Argo CD act


def test_auto_sync_does_it_by_itself() -> None:
    assert steps(pin(snapshot(app()), "2.4.1")) == [("traefik", "version", True)]


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        pytest.param([app(policy=None)], "auto-sync is off", id="auto-sync off"),
        pytest.param([app(policy={"automated": {"enabled": False}})], "auto-sync is off", id="enabled false"),
        pytest.param([project("default", deny("traefik", manualSync=True)), app()], "a window stops auto-sync, but not a manual sync", id="a window for auto-sync"),
        pytest.param([app(status={"operationState": {"phase": "Failed", "startedAt": "x", "operation": {"sync": {}}, "syncResult": {"source": {**CHART, "targetRevision": "2.4.1"}}}})], "auto-sync does not try a failed version again", id="AC:2676 attempted"),
    ],
)  # fmt: skip
def test_an_order_is_needed(objects: list[Any], why: str) -> None:
    plan = pin(snapshot(*objects), "2.4.1")
    assert steps(plan) == [("traefik", "version", True), ("traefik", "START", True)]
    order = plan.steps[-1]
    assert isinstance(order, Order) and order.reason == why and order.id == "id1"
    assert not plan.warnings


def test_no_sync_orders_nothing() -> None:
    assert steps(pin(snapshot(app(policy=None)), "2.4.1", sync=False)) == [("traefik", "version", True)]


def state(phase: str, message: str = "", **more: Any) -> Any:
    return {"operationState": {"phase": phase, "message": message, "startedAt": "2026-11-27T16:00:00Z", "operation": {"sync": {}, "initiatedBy": {"automated": True}}, **more}}  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "missing", "warning"),
    [
        pytest.param([project("default", deny("traefik")), app()], (), "traefik will not roll out: sync windows stop it until 2026-11-28 00:00 UTC", id="a window"),
        pytest.param([app(operation={"sync": {}}, status=state("Running"))], (), "must end first; end it: kubectl argo-rescue terminate traefik", id="an operation"),
        pytest.param([app(operation={"sync": {}}, status=state("Running", "Sync operation blocked by sync window"))], (), "an operation is in the way", id="a blocked operation"),
        pytest.param([app(status=state("Running"))], (), "orphaned", id="an orphaned operation"),
        pytest.param([app(operation={"sync": {}}, status=state("Running", finishedAt="2026-11-27T16:10:00Z", retryCount=2))], (), "waits for retry 2", id="a retry"),
    ],
)  # fmt: skip
def test_nothing_will_act(objects: list[Any], missing: tuple[Key, ...], warning: str) -> None:
    plan = pin(snapshot(*objects, missing=missing), "2.4.1")
    assert steps(plan) == [("traefik", "version", True)]
    assert any(warning in w for w in plan.warnings), plan.warnings


def part(component: str, ready: int, kind: str = "Deployment") -> Any:
    labels = {"app.kubernetes.io/component": component}
    return {"kind": kind, "metadata": {"name": component, "namespace": "argocd", "uid": component, "labels": labels}, "status": {"readyReplicas": ready}}  # fmt: skip


def marked(**annotations: str) -> Any:
    it = app()
    it["metadata"]["annotations"] = {k.replace("__", "/"): v for k, v in annotations.items()}
    return it


def deleting() -> Any:
    it = app()
    it["metadata"]["deletionTimestamp"] = "2026-11-27T17:00:00Z"
    return it


def elsewhere() -> Any:
    it = app()
    it["metadata"]["namespace"] = "team"
    return it


def permitting(*namespaces: str) -> Any:
    it = project()
    it["spec"]["sourceNamespaces"] = list(namespaces)
    return it


@pytest.mark.parametrize(
    ("it", "others", "missing", "obstacle"),
    [
        pytest.param(app(), [], (), "", id="none"),
        pytest.param(elsewhere(), [], (), "does not serve namespace team", id="AC:2747 not served"),
        pytest.param(marked(**{"argocd.argoproj.io/skip-reconcile": "true"}), [], (), "skip-reconcile", id="AC:2764"),
        pytest.param(deleting(), [], (), "is being deleted", id="deleting"),
        pytest.param(app(), [], (key("default", kind="AppProject"),), "AppProject argocd/default does not exist", id="AC:2971 no project"),
        pytest.param(app(), [part("application-controller", 0, "StatefulSet")], (), "application-controller has no ready pod", id="§10 controller down"),
        pytest.param(app(), [part("application-controller", 0, "StatefulSet"), {**part("application-controller", 1), "metadata": {**part("application-controller", 1)["metadata"], "name": "x"}}], (), "", id="§10 the 0-replica StatefulSet beside a Deployment"),
        pytest.param(app(), [part("repo-server", 0)], (), "repo-server has no ready pod", id="§10 repo-server down"),
        pytest.param(app(status={"reconciledAt": "2026-11-27T16:00:00Z"}), [], (), "last looked at traefik 60m ago", id="§9 stale"),
        pytest.param(app(status={"reconciledAt": "2026-11-27T16:58:00Z"}), [], (), "", id="fresh"),
        pytest.param(app(status={"conditions": [{"type": "ComparisonError", "message": "no repo"}]}), [], (), "Argo CD reports ComparisonError for traefik: no repo", id="condition"),
    ],
)  # fmt: skip
def test_obstacles(it: Any, others: list[Any], missing: tuple[Key, ...], obstacle: str) -> None:
    found = reconciliation.obstacles_of(snapshot(it, *others, missing=missing), it)
    assert (obstacle in "".join(found)) and bool(found) is bool(obstacle)


@pytest.mark.parametrize(
    ("permitted", "is_obstacle"), [(["team"], False), (["te*", "x"], False), (["other"], True), ([], True)]
)
def test_a_project_takes_applications_of_the_namespaces_that_it_permits(
    permitted: list[str], is_obstacle: bool
) -> None:
    """PT:625 IsAppNamespacePermitted."""
    serving = ArgoCD("argocd", version=ARGOCD.version, application_namespaces=("team",))
    it = elsewhere()
    found = reconciliation.obstacles_of(snapshot(it, permitting(*permitted), argocd=serving), it)
    text = "AppProject argocd/default does not permit applications of namespace team"
    assert [text in line for line in found] == ([True] if is_obstacle else [])


# -- unblock


def unblock(*objects: Any, **more: Any) -> Plan:
    return plan_unblock(snapshot(*objects), key("traefik"), **more)


def test_the_app_is_taken_out_of_the_windows_that_name_it() -> None:
    plan = unblock(project("default", deny("traefik", "web"), deny("traefik")), app(), app("web"))
    assert steps(plan) == [("default", "window", True)]
    member, whole = edit_of(plan, "default").changes
    assert isinstance(member, MemberChange) and member.item == "traefik" and not member.present
    assert isinstance(whole, MemberChange) and whole.item == deny("traefik")
    assert not plan.questions and not plan.warnings


def test_a_git_managed_project_has_its_owner_paused() -> None:
    plan = unblock(
        project("default", deny("traefik", "web"), parent="root"),
        app(),
        app("root", children=("AppProject/default",)),
    )
    assert steps(plan) == [("root", "pause", False), ("default", "window", True)]


def test_a_window_of_others_is_opened_for_manual_syncs_and_says_whom_it_frees() -> None:
    plan = unblock(project("default", deny("*")), app(), app("web"))
    assert isinstance(edit_of(plan, "default").changes[0], FieldChange)
    assert plan.questions == ("the window edit also frees web",)
    assert plan.next_commands == ("kubectl argo-rescue sync traefik",)
    assert any("only a manual sync" in w for w in plan.warnings)


def test_nothing_blocks_it() -> None:
    plan = unblock(app())
    assert plan.steps == () and plan.unchanged[0].detail == "already free of sync windows"
    plan = unblock(project("default", deny("*", manualSync=True)), app())
    assert plan.steps == () and "manual syncs get through" in plan.unchanged[0].detail
    assert plan.next_commands == ("kubectl argo-rescue sync traefik",)


ARGOCD_2_10 = ArgoCD("argocd", version=parse_version("v2.10.9"))
ARGOCD_2_11 = ArgoCD("argocd", version=parse_version("v2.11.0"))


def test_up_to_2_10_a_window_of_others_needs_no_opening() -> None:
    """SY:191: only from 2.11 on does the controller hold an operation because of a window."""
    frozen = (project("default", deny("*")), app(), app("web"))
    plan = plan_unblock(snapshot(*frozen, argocd=ARGOCD_2_10), key("traefik"))
    assert plan.steps == () and plan.next_commands == ("kubectl argo-rescue sync traefik",)
    plan = plan_unblock(snapshot(*frozen, argocd=ARGOCD_2_11), key("traefik"))
    assert steps(plan) == [("default", "window", True)]


def test_what_cannot_be_relaxed_is_refused() -> None:
    with pytest.raises(RefusedError, match="cannot be relaxed for it alone"):
        unblock(project("default", deny("trae*", schedule="no")), app())
    with pytest.raises(RefusedError, match="does not exist"):
        plan_unblock(snapshot(app(), missing=(key("default", kind="AppProject"),)), key("traefik"))


# -- sync, rollback, terminate


def sync(*objects: Any) -> Plan:
    return plan_sync(snapshot(*objects), key("traefik"), order_id="id1", actor="alice", prune=True)


def test_sync() -> None:
    (order,) = sync(app()).steps
    assert isinstance(order, Order) and order.operation["sync"]["prune"] is True
    with pytest.raises(RefusedError, match="operation in progress"):
        sync(app(operation={"sync": {}}))
    with pytest.raises(RefusedError, match="sync windows stop it"):
        sync(app(), project("default", deny("traefik")))
    with pytest.raises(RefusedError, match="cannot be parsed|invalid|schedule"):
        sync(app(), project("default", deny("traefik", schedule="no")))


def test_up_to_2_10_no_window_holds_an_ordered_sync() -> None:
    frozen = (project("default", deny("traefik")), app())
    plan = plan_sync(snapshot(*frozen, argocd=ARGOCD_2_10), key("traefik"), order_id="id1", actor="alice")
    assert steps(plan) == [("traefik", "START", True)]
    pinned = plan_pin(
        snapshot(*frozen, argocd=ARGOCD_2_10), key("traefik"), "2.4.1", order_id="id1", actor="alice"
    )
    assert steps(pinned) == [("traefik", "version", True), ("traefik", "START", True)]
    with pytest.raises(RefusedError, match="sync windows stop it"):
        plan_sync(snapshot(*frozen, argocd=ARGOCD_2_11), key("traefik"), order_id="id1", actor="alice")


PAST = {"history": history("2.3.0", "2.4.1", "2.5.1"), "sync": {"status": "OutOfSync", "revision": "2.5.1", "comparedTo": {"source": CHART}}}  # fmt: skip


def rollback(*objects: Any, **more: Any) -> Plan:
    return plan_rollback(snapshot(*objects), key("traefik"), order_id="id1", actor="alice", **more)


@pytest.mark.parametrize(("to", "version"), [(None, "2.4.1"), ("0", "2.3.0"), ("2.3.0", "2.3.0")])
def test_rollback(to: str | None, version: str) -> None:
    plan = rollback(app(status=PAST), to=to, reason="why")
    assert steps(plan) == [("traefik", "pause", True), ("traefik", "ROLLBACK", True)]
    order = plan.steps[-1]
    assert isinstance(order, Order)
    sync = order.operation["sync"]
    assert (sync["revision"], sync["source"]["targetRevision"]) == (version, version)
    assert sync["syncStrategy"] == {"apply": {}} and sync["prune"] is False  # SV:2264
    assert order.operation["info"][1] == {"name": "reason", "value": "why"}


def test_rollback_of_several_sources() -> None:
    past = [{"id": 0, "source": {"repoURL": ""}, "sources": [CHART, GIT], "revisions": ["2.4.1", SHA]}]
    it = app(sources=[CHART, GIT], status={"history": past}, policy={"syncOptions": ["X=true"]})
    (order,) = rollback(it, to=SHA[:9]).steps
    assert isinstance(order, Order) and order.operation["sync"]["revisions"] == ["2.4.1", SHA]
    assert "source" not in order.operation["sync"] and order.operation["sync"]["syncOptions"] == ["X=true"]


@pytest.mark.parametrize(
    ("it", "to", "error"),
    [
        (app(), None, "has no history"),
        (app(status={**PAST, "history": history("2.5.1")}), None, "never deployed in another version"),
        (app(status=PAST), "9.9.9", "has no deployment '9.9.9'"),
        (app(status=PAST, operation={"sync": {}}), None, "operation in progress"),
    ],
)
def test_rollback_is_refused(it: Any, to: str | None, error: str) -> None:
    with pytest.raises(RescueError, match=error):
        rollback(it, to=to)


def test_rollback_is_stopped_by_windows() -> None:
    with pytest.raises(RefusedError, match="sync windows stop it"):
        rollback(app(status=PAST), project("default", deny("traefik")))


@pytest.mark.parametrize(
    ("it", "force", "kind"),
    [
        (app(), False, None),
        (app(operation={"sync": {}}), False, OrderKind.WITHDRAW),
        (app(operation={"sync": {}}, status=state("Running")), False, OrderKind.TERMINATE),
        (app(operation={"sync": {}}, status=state("Running")), True, OrderKind.ABORT),
        (app(operation={"sync": {}}, status=state("Terminating")), False, None),
        (app(status=state("Running")), False, OrderKind.ABORT),
    ],
)
def test_terminate(it: Any, force: bool, kind: OrderKind | None) -> None:
    plan = plan_terminate(snapshot(it), key("traefik"), order_id="id1", force=force)
    assert [s.kind for s in plan.steps if isinstance(s, Order)] == ([kind] if kind else [])
    assert bool(plan.unchanged) is (kind is None)
    assert bool(plan.questions) is force


@pytest.mark.parametrize(
    ("it", "shown"),
    [
        (app(operation={"sync": {}}), ["- /operation"]),
        (
            app(operation={"sync": {}}, status=state("Running")),
            ['+ /status/operationState/phase: "Terminating"'],
        ),
        (
            app(status=state("Running")),
            [
                '+ /status/operationState/phase: "Failed"',
                '+ /status/operationState/message: "aborted by argo-rescue"',
                f'+ /status/operationState/finishedAt: "{NOW:%Y-%m-%dT%H:%M:%SZ}"',
            ],
        ),
    ],
)
def test_the_end_of_an_operation_is_shown_as_it_is_written(it: Any, shown: list[str]) -> None:
    (order,) = plan_terminate(snapshot(it), key("traefik"), order_id="id1").steps
    assert step_lines(order) == shown
    assert isinstance(order, Order)
    it["metadata"]["resourceVersion"] = "1"
    written = {op["path"] for op in order_ops(it, order) if op["op"] != "test"}
    assert {line.split()[1].rstrip(":") for line in shown} == written - {"/metadata/resourceVersion"}


def test_terminating_without_a_controller_says_so() -> None:
    it = app(operation={"sync": {}}, status=state("Running"))
    plan = plan_terminate(snapshot(it, part("application-controller", 0)), key("traefik"), order_id="id1")
    assert "nobody will end the operation" in plan.warnings[0]


# -- rescue


def rescue(*objects: Any, version: str | None = None, **more: Any) -> Rescue:
    return plan_rescue(snapshot(*objects), key("traefik"), version, order_id="id1", actor="alice", **more)


def test_a_whole_rescue() -> None:
    got = rescue(
        project("default", deny("traefik", "web"), deny("*"), parent="root"),
        app(parent="root", status=PAST),
        app("root", children=("traefik", "AppProject/default")),
        app("web"),
    )
    assert steps(got.plan)[:3] == [
        ("root", "pause", False),
        ("traefik", "version", True),
        ("default", "window", True),
    ]
    assert [e.ref.name for e in got.owners] == ["root"] and got.owner_keys == (key("root"),)
    assert got.version == "2.4.1" and not got.ends_operation
    assert got.order is not None and got.order.reason == "a window stops auto-sync, but not a manual sync"
    (reopened,) = got.reopened
    (change,) = reopened.changes
    assert isinstance(change, FieldChange) and (change.before, change.after) == (True, ABSENT)
    assert got.plan.notes[0].startswith("last good: 2.4.1 (history id 1 of 2026-11-27 11:00 UTC), ran ")


def test_a_rescue_to_a_version_that_was_said() -> None:
    got = rescue(app(status=PAST), version="2.3.0")
    assert edit_of(got.plan, "traefik").changes == (FieldChange(REVISION, "2.5.1", "2.3.0"),)
    assert got.order is None


def test_a_rescue_that_only_pauses() -> None:
    got = rescue(app(status=PAST), pause_only=True)
    assert steps(got.plan) == [("traefik", "pause", True)] and got.plan.verb == "rescue"


def test_only_the_values_changed() -> None:
    now = {**CHART, "helm": {"values": "new"}}
    sync = {"status": "Synced", "revision": "2.5.1", "comparedTo": {"source": now}}
    past = [
        {"id": 3, "source": {**CHART, "helm": {"values": "old"}}, "revision": "2.5.1"},
        {"id": 4, "source": now, "revision": "2.5.1"},
    ]
    got = rescue(app(source=now, status={"sync": sync, "history": past}))
    (change,) = edit_of(got.plan, "traefik").changes
    assert change == FieldChange(("spec", "source"), now, {**now, "helm": {"values": "old"}})
    assert "helm of the source changed since then and goes back with it" in got.plan.notes
    with pytest.raises(RefusedError, match="say a version yourself"):
        rescue(app(source=now, status={"sync": sync, "history": past[1:]}))


def test_a_rescue_ends_the_operation_in_the_way() -> None:
    got = rescue(app(operation={"sync": {}}, status={**PAST, **state("Running")}))
    assert got.ends_operation and any("ended first" in n for n in got.plan.notes)
    assert got.order is None and got.plan.warnings == ()


def test_an_old_version_is_not_taken_with_new_values() -> None:
    now = {**CHART, "helm": {"values": "new"}}
    it = app(source=now, status=PAST)
    got = rescue(it)
    (change,) = edit_of(got.plan, "traefik").changes
    assert isinstance(change, FieldChange) and change.path == ("spec", "source")
    assert change.after == {**CHART, "targetRevision": "2.4.1"}
    several = app(sources=[now], status={"history": [{"id": 0, "sources": [CHART], "revisions": ["2.4.1"]}]})
    got = rescue(several)
    live = patches.applied(several, edit_of(got.plan, "traefik").changes)
    assert live["spec"]["sources"] == [{**CHART, "targetRevision": "2.4.1"}]


def test_a_rescue_where_the_number_of_sources_changed_is_refused() -> None:
    with pytest.raises(RefusedError, match="had 1 source"):
        rescue(app(sources=[CHART, VALUES], status={**PAST, "sync": {}}))


def test_a_rescue_to_where_it_is_already() -> None:
    it = app(source={**CHART, "targetRevision": "2.4.1"}, status=PAST)
    got = rescue(it, known=KnownVersions(is_pinned=True))
    assert got.pin == () and got.plan.unchanged[0].detail == "already at 2.4.1"


# -- small


def test_frozen_until() -> None:
    it = app()
    assert reconciliation.frozen_until(snapshot(it), it) is None
    always = deny("traefik", schedule="* * * * *", duration="1h")
    assert reconciliation.frozen_until(snapshot(it, project("default", always)), it) == "no end scheduled"


def test_a_snapshot_that_moved_is_judged_anew() -> None:
    from msgspec.structs import replace

    it = app()
    first = snapshot(it)
    assert reconciliation.frozen_until(first, it) is None
    after = {**first.objects, key("default", kind="AppProject"): project("default", deny("traefik"))}
    assert reconciliation.frozen_until(replace(first, objects=after), it) is not None
    assert (
        reconciliation.frozen_until(replace(first, objects=after, now=NOW + timedelta(hours=12)), it) is None
    )


def test_a_missing_project_has_no_windows() -> None:
    it = app(project="gone")
    assert reconciliation.app_windows(snapshot(it), it) == () and window_edits(snapshot(it), it) == ()


def test_roles_are_what_they_say() -> None:
    plan = pin(snapshot(*FAMILY), "2.4.1")
    assert [s.role for s in plan.steps if isinstance(s, Edit)] == [Role.PAUSE, Role.VERSION]
    assert application.is_auto_sync_on(FAMILY[0])


# -- what is planned can be saved


def app_set(name: str = "all", **spec: Any) -> Any:
    return {
        "kind": "ApplicationSet",
        "metadata": {"name": name, "namespace": "argocd", "uid": f"s-{name}"},
        "spec": spec,
    }


def generated() -> Any:
    it = app()
    it["metadata"]["ownerReferences"] = [
        {"kind": "ApplicationSet", "apiVersion": "argoproj.io/v1alpha1", "name": "all", "controller": True}
    ]
    return it


@pytest.mark.parametrize(
    ("owner", "argocd", "steps_"),
    [
        pytest.param(app_set(), ARGOCD, ["all", "traefik"], id="§8 a rule, since 2.9"),
        pytest.param(app_set(), ArgoCD("argocd", version=parse_version("v2.8.0")), ["all", "traefik"], id="§8 create-only, since 2.8"),
        pytest.param(app_set(syncPolicy={}), ArgoCD("argocd", version=parse_version("v2.8.0")), ["all", "traefik"], id="§8 create-only in a policy"),
        pytest.param(app_set(), ArgoCD("argocd", version=parse_version("v2.7.0")), ["traefik"], id="§8 nothing before 2.8"),
        pytest.param(app_set(syncPolicy={"applicationsSync": "create-only"}), ARGOCD, ["traefik"], id="§8 it writes nothing"),
        pytest.param(app_set(ignoreApplicationDifferences=[{"jsonPointers": ["/spec/source"]}]), ARGOCD, ["traefik"], id="§8 a rule is there"),
    ],
)  # fmt: skip
def test_a_set_leaves_the_edit_alone_and_its_undo_can_be_read(
    owner: Any, argocd: ArgoCD, steps_: list[str]
) -> None:
    from kubectl_argo_rescue.journal.encoding import from_line, to_line
    from kubectl_argo_rescue.journal.records import Intent, Record

    plan = pin(snapshot(owner, generated(), argocd=argocd), "2.4.1")
    assert [n for n, _, _ in steps(plan)] == steps_
    for step in plan.steps:
        line = to_line(Record("abcdef", "00001-abcdef", Intent(0, step)))
        kept = replace(step, hold=0.0) if isinstance(step, Edit) else step
        assert from_line(line).content == Intent(0, kept)


def test_a_set_is_left_as_it_is_by_only() -> None:
    plan = pin(snapshot(app_set(), generated()), "2.4.1", only=True)
    assert [n for n, _, _ in steps(plan)] == ["traefik"]
    assert "it is left as it is by --only" in plan.warnings[0]


FORBIDDEN = ArgoCD(
    "argocd", version=ARGOCD.version, parameters={"applicationsetcontroller.enable.policy.override": "false"}
)


def rolling_set(**spec: Any) -> Any:
    made = app_set(strategy={"type": "RollingSync"}, **spec)
    return {**made, "status": {"applicationStatus": [{"application": "traefik"}]}}


def controller_at(replicas: int) -> Any:
    return {**part("applicationset-controller", replicas), "spec": {"replicas": replicas}}


def unsynced() -> Any:
    """An Application whose set turns auto-sync off and orders the syncs."""
    it = generated()
    it["spec"].pop("syncPolicy")
    it["status"] = PAST
    return it


def test_a_rolling_set_is_frozen_whole_where_a_rule_would_not_stop_it() -> None:
    plan = plan_pause(snapshot(rolling_set(), generated()), [key("traefik")])
    assert steps(plan) == [("all", "rule", False), ("traefik", "pause", True)]
    assert "is frozen for all its apps" in plan.questions[0]
    assert steps(rollback(unsynced(), rolling_set())) == [
        ("all", "rule", False),
        ("traefik", "ROLLBACK", True),
    ]


def test_a_rolling_set_that_is_idle_or_left_by_only_is_not_frozen() -> None:
    idle = rolling_set(syncPolicy={"applicationsSync": "create-only"})
    assert steps(rollback(unsynced(), idle)) == [("traefik", "ROLLBACK", True)]
    alone = rollback(unsynced(), rolling_set(), only=True)
    assert steps(alone) == [("traefik", "ROLLBACK", True)]
    assert "orders the syncs of Application argocd/traefik itself" in alone.warnings[0]


def test_a_rolling_set_that_may_have_no_policy_needs_its_controller_down() -> None:
    def planned(*others: Any) -> Plan:
        it = snapshot(rolling_set(), unsynced(), *others, argocd=FORBIDDEN)
        return plan_rollback(it, key("traefik"), order_id="id1", actor="alice")

    plan = planned(controller_at(1))
    assert steps(plan) == [("traefik", "ROLLBACK", True)]
    assert plan.questions == (
        "ApplicationSet argocd/all would order its syncs and cannot be stopped by an edit",
    )
    assert "kubectl -n argocd scale deployment applicationset-controller --replicas=0" in plan.warnings[0]
    assert "deployment argocd-applicationset-controller --replicas=0" in planned().warnings[0]
    down = planned(controller_at(0))
    assert not down.questions and "once its controller is scaled up again" in down.warnings[0]


@pytest.mark.parametrize("asked", ["main", "refs/heads/main"])
@pytest.mark.parametrize("typed", ["main", "refs/heads/main"])
def test_a_branch_by_its_whole_name_is_pinned_to_its_commit_as_well(typed: str, asked: str) -> None:
    compared = {**GIT, "targetRevision": asked}
    status = {"sync": {"status": "Synced", "revision": SHA, "comparedTo": {"source": compared}}}
    plan = pin(snapshot(app(source={**GIT, "targetRevision": "broken"}, status=status)), typed)
    assert edit_of(plan, "traefik").changes == (FieldChange(REVISION, "broken", SHA),)
    assert not plan.questions


@pytest.mark.parametrize("typed", ["refs/heads/other", "HEAD"])
def test_a_branch_whose_commit_is_not_known_is_asked_about(typed: str) -> None:
    plan = pin(snapshot(app(source={**GIT, "targetRevision": "broken"})), typed)
    (question,) = plan.questions
    assert question.startswith(f"{typed} moves, and which commit it is now is not known here")
