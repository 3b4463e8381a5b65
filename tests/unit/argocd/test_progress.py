"""How far an application is, and whether that is the truth.

Covered: the rollout of Deployments, StatefulSets and DaemonSets as kubectl's rollout status sees it
(polymorphichelpers/rollout_status.go); which workloads are looked at; success only with all of it
(own operation, comparison, sync, health, each workload's current generation); operations of others,
blocked, retried, failed for this spec or an earlier one; what only pruning would delete; an edit
that somebody put back; a rollback, whose spec says something else.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.argocd import progress
from kubectl_argo_rescue.argocd.application import IN_CLUSTER
from kubectl_argo_rescue.argocd.progress import Expectation, State, assess, rollout
from kubectl_argo_rescue.model.values import FieldChange, Key

from .. import build

APP = Key("Application", "argocd", "traefik")
DEPLOYMENT = Key("Deployment", "web", "traefik")
CHART = {"repoURL": "https://charts", "chart": "traefik", "targetRevision": "2.4.1"}


def workload(kind: str = "Deployment", spec: Any = None, generation: int = 2, **status: Any) -> Any:
    status = {"observedGeneration": 2, **status}
    meta = {"name": "traefik", "namespace": "web", "generation": generation}
    return {
        "kind": kind,
        "metadata": meta,
        "spec": {"replicas": 2} if spec is None else spec,
        "status": status,
    }


ON_DELETE = {"replicas": 2, "updateStrategy": {"type": "OnDelete"}}
PARTITION = {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 1}}}
DONE: Any = {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}
DEADLINE = [{"type": "Available"}, {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]


@pytest.mark.parametrize(
    ("obj", "done", "failed", "text"),
    [
        pytest.param(workload(generation=3, **DONE), False, False, "its new spec has not been looked at yet", id="observedGeneration"),
        pytest.param(workload(**DONE), True, False, "2 of 2 available", id="done"),
        pytest.param(workload(updatedReplicas=1), False, False, "1 of 2 updated", id="updating"),
        pytest.param(workload(**{**DONE, "replicas": 3}), False, False, "1 old still going away", id="old ones"),
        pytest.param(workload(**{**DONE, "availableReplicas": 1}), False, False, "1 of 2 available", id="not available"),
        pytest.param(workload(conditions=DEADLINE, **DONE), False, True, "it exceeded its progress deadline", id="deadline"),
        pytest.param(workload(spec={"replicas": 2, "paused": True}, **DONE), False, False, "the Deployment itself is paused (spec.paused)", id="paused"),
        pytest.param(workload(spec={"replicas": 0}, replicas=0), True, False, "0 of 0 available", id="scaled to none"),
        pytest.param(workload(spec={}, updatedReplicas=1, availableReplicas=1, replicas=1), True, False, "1 of 1 available", id="replicas default to one"),
        pytest.param(workload("StatefulSet", readyReplicas=1), False, False, "1 of 2 ready", id="sts not ready"),
        pytest.param(workload("StatefulSet", readyReplicas=2, updatedReplicas=1, updateRevision="b", currentRevision="a"), False, False, "1 of 2 updated", id="sts updating"),
        pytest.param(workload("StatefulSet", readyReplicas=2, updatedReplicas=2, updateRevision="b", currentRevision="b"), True, False, "2 of 2 ready", id="sts done"),
        pytest.param(workload("StatefulSet", PARTITION, readyReplicas=3, updatedReplicas=1), False, False, "1 of 2 updated (partition 1)", id="sts partition"),
        pytest.param(workload("StatefulSet", PARTITION, readyReplicas=3, updatedReplicas=2), True, False, "2 of 2 updated (partition 1)", id="sts partition done"),
        pytest.param(workload("StatefulSet", ON_DELETE, readyReplicas=2), True, False, "2 of 2 ready (updates on delete only)", id="sts on delete"),
        pytest.param(workload("DaemonSet", {}, desiredNumberScheduled=3, updatedNumberScheduled=2, numberAvailable=3), False, False, "2 of 3 updated", id="ds updating"),
        pytest.param(workload("DaemonSet", {}, desiredNumberScheduled=3, updatedNumberScheduled=3, numberAvailable=2), False, False, "2 of 3 available", id="ds not available"),
        pytest.param(workload("DaemonSet", {}, desiredNumberScheduled=3, updatedNumberScheduled=3, numberAvailable=3), True, False, "3 of 3 available", id="ds done"),
        pytest.param(workload("DaemonSet", ON_DELETE, desiredNumberScheduled=3, numberAvailable=3), True, False, "3 of 3 available (updates on delete only)", id="ds on delete"),
    ],
)  # fmt: skip
def test_rollout(obj: Any, done: bool, failed: bool, text: str) -> None:
    got = rollout(obj)
    assert (got.done, got.failed, got.text) == (done, failed, text)


def app(
    *,
    status: str = "Synced",
    health: str = "Healthy",
    compared: Any = CHART,
    operation: Any = None,
    state: Any = None,
    resources: Any = (),
    **more: Any,
) -> Any:
    told = {
        "sync": {"status": status, "revision": "2.4.1", "comparedTo": {"source": compared}},
        "health": {"status": health, "message": "why"},
        "operationState": state,
        "resources": list(resources),
        **more,
    }
    return build.app(told, operation=operation, source=CHART, destination={"server": IN_CLUSTER})


def state(phase: str, id: str = "", message: str = "", **more: Any) -> Any:
    info = [{"name": "argo-rescue", "value": id}] if id else []
    return {"phase": phase, "message": message, "operation": {"sync": {}, "info": info}, **more}


RESOURCE = {"group": "apps", "kind": "Deployment", "namespace": "web", "name": "traefik"}
OFF = {"status": "OutOfSync", "kind": "Service", "name": "x"}


def look(it: Any, order: str = "", obj: Any = None, hint: str = "") -> progress.Assessment:
    return assess(it, {DEPLOYMENT: obj} if obj is not None else {}, Expectation(APP, order), stuck_hint=hint)


@pytest.mark.parametrize(
    ("it", "order", "obj", "expected", "reason"),
    [
        pytest.param(app(), "", workload(**DONE), State.SUCCEEDED, "synced to 2.4.1 and healthy", id="all of it"),
        pytest.param(app(health="Suspended"), "", None, State.SUCCEEDED, "synced to 2.4.1 and suspended", id="suspended is on purpose"),
        pytest.param(app(), "", workload(updatedReplicas=1), State.WAITING, "Deployment web/traefik: 1 of 2 updated", id="#4669 health is early"),
        pytest.param(app(health="Progressing"), "", None, State.WAITING, "health: Progressing: why", id="not healthy"),
        pytest.param(app(compared={**CHART, "targetRevision": "2.5.1"}), "", None, State.WAITING, "sync: Synced, but Argo CD has not compared with the new source yet", id="§9 not compared"),
        pytest.param(app(status="OutOfSync"), "", None, State.WAITING, "sync: OutOfSync", id="out of sync"),
        pytest.param(app(status="OutOfSync", resources=[OFF]), "", None, State.WAITING, "sync: OutOfSync: Service x", id="names what is off"),
        pytest.param(app(status="OutOfSync", resources=[{**OFF, "requiresPruning": True}]), "", None, State.SUCCEEDED, "synced to 2.4.1 and healthy", id="only pruning is left"),
        pytest.param(app(status="Unknown", conditions=[{"type": "ComparisonError", "message": "no repo"}]), "", None, State.WAITING, "sync: Unknown (ComparisonError: no repo)", id="unknown says why"),
        pytest.param(app(status="Unknown", compared=None, conditions=[{"type": "InvalidSpecError", "message": "not permitted"}]), "", None, State.FAILING, "Argo CD refuses the spec: not permitted", id="a spec that is refused"),
        pytest.param(app(operation={"sync": {}}, state=state("Running", "id", "applying")), "id", None, State.WAITING, "operation: Running, started by somebody: applying", id="ours runs"),
        pytest.param(app(operation={"sync": {}}, state=state("Running", "other")), "id", None, State.WAITING, "operation: not ours: Running, started by somebody", id="somebody else's runs"),
        pytest.param(app(operation={"sync": {}}, state=state("Running", "id", "Sync operation blocked by sync window")), "id", None, State.WAITING, "operation: Running: Sync operation blocked by sync window", id="blocked"),
        pytest.param(app(state=state("Failed", "id", "boom")), "id", None, State.FAILED, "Failed: boom", id="ours failed"),
        pytest.param(app(state=state("Error", "id")), "id", None, State.FAILED, "Error: no message", id="ours errored"),
        pytest.param(app(state=state("Failed", "other")), "id", None, State.SUCCEEDED, "synced to 2.4.1 and healthy", id="an earlier one failed"),
        pytest.param(app(state=state("Failed", message="boom", syncResult={"source": CHART})), "", None, State.FAILED, "Failed: boom", id="the last one was about this spec"),
        pytest.param(app(state=state("Failed", syncResult={"source": {}})), "", None, State.SUCCEEDED, "synced to 2.4.1 and healthy", id="the last one was about another"),
        pytest.param(app(), "", workload(conditions=DEADLINE), State.FAILING, "Deployment web/traefik: it exceeded its progress deadline", id="a rollout that failed"),
        pytest.param(app(status="OutOfSync"), "", workload(conditions=DEADLINE), State.WAITING, "sync: OutOfSync", id="an old rollout that failed before the sync"),
    ],
)  # fmt: skip
def test_assess(it: Any, order: str, obj: Any, expected: State, reason: str) -> None:
    got = look(it, order, obj)
    assert (got.state, got.reason) == (expected, reason)


def test_a_workload_that_is_not_there_is_waited_for() -> None:
    got = assess(app(), {DEPLOYMENT: None}, Expectation(APP))
    assert (got.state, got.reason) == (State.WAITING, "Deployment web/traefik: not there")


def test_a_hint_is_given_where_nothing_will_sync_it() -> None:
    assert look(app(status="OutOfSync"), hint="order a sync").reason == "sync: OutOfSync; order a sync"
    running = app(status="OutOfSync", operation={"sync": {}}, state=state("Running"))
    assert "order a sync" not in str(look(running, hint="order a sync").lines)
    ours = app(status="OutOfSync", state=state("Succeeded", "id"))
    assert "order a sync" not in str(look(ours, "id", hint="order a sync").lines), "it was just ordered"
    assert "order a sync" in str(look(ours, "other", hint="order a sync").lines)


def test_a_retry_is_told_once() -> None:
    it = app(
        operation={"sync": {}},
        state=state(
            "Running", "id", "boom. Retrying attempt #2", finishedAt="2026-11-27T16:01:00Z", retryCount=2
        ),
    )
    (text,) = [text for part, text, _ in look(it, "id").lines if part == "operation"]
    assert text.endswith("waits for retry 2: boom. Retrying attempt #2")
    assert text.count("boom") == 1


def test_many_resources_are_counted() -> None:
    off = [{**OFF, "name": f"s{i}"} for i in range(7)]
    assert look(app(status="OutOfSync", resources=off)).reason.endswith("Service s4 and 2 more")


def test_several_sources_are_compared_with_the_result() -> None:
    it = app(state=state("Failed", message="boom", syncResult={"sources": [CHART]}), compared=None)
    it["spec"] = {"sources": [CHART]}
    it["status"]["sync"]["comparedTo"] = {"sources": [CHART]}
    assert look(it).state is State.FAILED
    it["status"]["operationState"]["syncResult"] = {"sources": []}
    assert look(it).state is State.SUCCEEDED


def test_an_edit_that_was_put_back_ends_it() -> None:
    change = FieldChange(("spec", "source", "targetRevision"), "2.5.1", "2.4.1")
    it = app()
    assert assess(it, {}, Expectation(APP, changes=(change,))).state is State.SUCCEEDED
    it["spec"]["source"] = {**CHART, "targetRevision": "2.5.1"}
    got = assess(it, {}, Expectation(APP, changes=(change,)))
    assert got.state is State.REVERTED
    assert got.reason == (
        '/spec/source/targetRevision is "2.5.1" again, no more "2.4.1": somebody put it back'
    )


def test_a_rollback_is_not_asked_to_be_synced() -> None:
    expectation = Expectation(APP, "id", rollback=True)
    it = app(status="OutOfSync", state=state("Succeeded", "id", syncResult={"revision": "2.3.0"}))
    got = assess(it, {}, expectation)
    assert (got.state, got.reason) == (State.SUCCEEDED, "rolled back to 2.3.0 and healthy")
    it = app(status="Synced", state=state("Succeeded", "other"))
    got = assess(it, {}, expectation)
    assert got.state is State.REVERTED and got.reason.startswith("another operation came after the rollback")


def test_which_workloads_are_looked_at() -> None:
    resources = [
        RESOURCE,
        {**RESOURCE, "name": "old", "requiresPruning": True},
        {"group": "", "kind": "Service", "name": "x"},
        {**RESOURCE, "kind": "ReplicaSet"},
        {"group": "apps", "kind": "DaemonSet", "name": "d"},
    ]
    assert progress.workload_keys(app(resources=resources)) == (DEPLOYMENT, Key("DaemonSet", "", "d"))
    applied = [{**RESOURCE, "status": "Synced"}, {**RESOURCE, "name": "gone", "status": "Pruned"}]
    it = app(state=state("Succeeded", "id", syncResult={"resources": applied}))
    assert progress.workload_keys(it, rollback=True) == (DEPLOYMENT,)


OTHER = {"group": "argoproj.io", "kind": "Rollout", "namespace": "web", "name": "canary", "status": "Synced"}


@pytest.mark.parametrize(
    ("resources", "watched", "told"),
    [
        ([RESOURCE], True, ()),
        ([RESOURCE, {**OFF, "status": "Synced"}], True, ()),
        ([RESOURCE], False, ("Deployment web/traefik may not be read",)),
        ([RESOURCE, OTHER], True, ("Rollout web/canary may not be read",)),
        ([RESOURCE, {**OTHER, "kind": "CloneSet", "group": "apps.kruise.io"}], True, ("not watched by this tool: CloneSet canary",)),
        ([RESOURCE, {**OTHER, "kind": "Job", "group": "batch"}], True, ("not watched by this tool: Job canary",)),
        ([RESOURCE, {**OTHER, "kind": "Job", "group": "batch", "hook": True}], True, ()),
        ([RESOURCE, {**OTHER, "kind": "StatefulSet", "group": "apps.kruise.io"}], True, ("not watched by this tool: StatefulSet canary",)),
        ([RESOURCE, {**OTHER, "requiresPruning": True, "status": "OutOfSync"}], True, ()),
        ([], False, ("it lists no Deployment, StatefulSet, DaemonSet or Rollout that could be watched",)),
        ([{**OTHER, "kind": "Application"}], False, ("not watched by this tool: Application canary",)),
    ],
)  # fmt: skip
def test_what_a_success_rests_on(resources: Any, watched: bool, told: Any) -> None:
    it = app(resources=resources)
    got = look(it, obj=workload(**DONE) if watched else None)
    assert (got.state, got.unverified) == (State.SUCCEEDED, told)


def test_what_is_not_looked_at_is_said() -> None:
    it = app(resources=[RESOURCE])
    assert progress.unverified(it, (), unseen="it is far away") == ("it is far away",)
    told = progress.unverified(it, (), hidden={DEPLOYMENT: "is not its own"})
    assert told == ("Deployment web/traefik is not its own",)


def test_a_split_repository_is_told_whole() -> None:
    sha = "a" * 40
    why = (
        "Failed to load target state: failed to generate manifest for source 1 of 2: rpc error: code = Unknown desc = "
        f'cannot reference a different revision of the same repository ($values references "main" which resolves to "{sha}" '
        f'while the application references "v1" which resolves to "{sha[::-1]}")'
    )
    it = app(status="Unknown", conditions=[{"type": "ComparisonError", "message": why}])
    got = look(it)
    assert (
        got.state is State.FAILED and got.reason == f"Argo CD takes a repository at one revision only: {why}"
    )
