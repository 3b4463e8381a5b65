"""Operations as Argo CD reads them; each case names the fact of argocd-semantics.md.

Covered: operations and their dead states (§3.3, §5); whose one is; the order that we write (§3.5).
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.argocd.operation import operation, own_id, sync_operation, waits_for_hooks


def app(status: Any = None, **spec: Any) -> Any:
    return {"kind": "Application", "spec": spec, **({"status": status} if status is not None else {})}


RUNNING = {"phase": "Running", "startedAt": "2026-11-27T16:00:00Z", "operation": {"sync": {"revision": "2.5.1"}, "initiatedBy": {"automated": True}}}  # fmt: skip
OURS = {"sync": {}, "info": [{"name": "x"}, {"name": "argo-rescue", "value": "id1"}], "initiatedBy": {"username": "argo-rescue:alice"}}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "state", "progress", "orphaned", "retries", "blocked", "says"),
    [
        pytest.param(None, None, False, False, False, False, "waiting to be picked up, started by somebody", id="none"),
        pytest.param({"sync": {}}, None, True, False, False, False, "waiting to be picked up, started by somebody", id="§5 d: waits for a controller"),
        pytest.param({"sync": {}}, RUNNING, True, False, False, False, "Running, started by auto-sync, to 2.5.1", id="runs"),
        pytest.param(None, RUNNING, True, True, False, False, "Running, started by auto-sync, to 2.5.1; orphaned: nothing runs it any more", id="§5 a: orphaned"),
        pytest.param({"sync": {}}, {**RUNNING, "finishedAt": "2026-11-27T16:01:00Z", "retryCount": 1, "message": "boom"}, True, False, True, False, "Running, started by auto-sync, to 2.5.1; failed and waits for retry 1: boom", id="AC:1677 Running with finishedAt"),
        pytest.param({"sync": {}}, {**RUNNING, "message": "Sync operation blocked by sync window"}, True, False, False, True, "Running, started by auto-sync, to 2.5.1; blocked by a sync window", id="SY:191 blocked"),
        pytest.param({"sync": {}}, {**RUNNING, "phase": "Terminating", "message": "Sync operation blocked by sync window: x"}, True, False, False, True, "Terminating, started by auto-sync, to 2.5.1; blocked by a sync window", id="#25361 terminating and blocked"),
        pytest.param(None, {**RUNNING, "phase": "Succeeded"}, False, False, False, False, "Succeeded, started by auto-sync, to 2.5.1", id="done"),
        pytest.param(OURS, {**RUNNING, "phase": "Failed", "message": "old"}, True, False, False, False, "waiting to be picked up, started by argo-rescue:alice", id="a new one over a finished state"),
    ],
)  # fmt: skip
def test_operations(
    wanted: Any, state: Any, progress: bool, orphaned: bool, retries: bool, blocked: bool, says: str
) -> None:
    it = app({"operationState": state} if state else {})
    it["operation"] = wanted
    got = operation(it)
    assert (got.in_progress, got.is_orphaned, got.waits_for_retry, got.is_blocked_by_window) == (
        progress,
        orphaned,
        retries,
        blocked,
    )
    assert got.describe() == says


def test_an_operation_is_known_by_its_id_and_its_result() -> None:
    it = app({"operationState": {**RUNNING, "operation": OURS, "syncResult": {"revisions": ["a", "", "b"]}}})
    got = operation(it)
    assert (got.own_id, got.revision, got.username) == ("id1", "a, b", "argo-rescue:alice")
    assert own_id(None) == "" and own_id({"info": [{"name": "other", "value": "x"}]}) == ""
    it = app({"operationState": {**RUNNING, "syncResult": {"revision": "r"}}})
    assert operation(it).revision == "r"


def test_the_order_copies_what_the_api_server_copies() -> None:  # SV:2120-2130
    policy = {"syncOptions": ["ServerSideApply=true"], "retry": {"limit": 3}, "automated": {"prune": True}}
    built = sync_operation(app(syncPolicy=policy), id="id1", actor="alice", reason="why")
    assert built == {
        "initiatedBy": {"username": "argo-rescue:alice"},
        "info": [{"name": "argo-rescue", "value": "id1"}, {"name": "reason", "value": "why"}],
        "sync": {"syncStrategy": {"hook": {}}, "syncOptions": ["ServerSideApply=true"]},
        "retry": {"limit": 3},
    }
    assert "automated" not in built["initiatedBy"]  # SY:732: it would count as automatic
    plain = sync_operation(app(), id="id1", actor="", prune=True)
    assert plain["initiatedBy"] == {"username": "argo-rescue"}
    assert plain["sync"] == {"syncStrategy": {"hook": {}}, "prune": True} and "retry" not in plain


HOOK = {"kind": "Job", "namespace": "x", "name": "migrate", "hookType": "PreSync", "hookPhase": "Running"}


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ({}, "; waits for the PreSync hook Job x/migrate"),
        ({"hookPhase": "Succeeded"}, ""),
        ({"hookType": ""}, ""),
    ],
    ids=["runs", "is done", "is no hook"],
)
def test_a_hook_that_holds_it_is_named(hook: Any, says: str) -> None:
    it = app({"operationState": {**RUNNING, "syncResult": {"resources": [{**HOOK, **hook}]}}})
    assert waits_for_hooks(it) == says
    it["status"]["operationState"]["message"] = "waiting for completion of hook batch/Job/migrate"
    assert waits_for_hooks(it) == "", "newer versions say it themselves"
    it["status"]["operationState"] |= {"message": "", "phase": "Failed"}
    assert waits_for_hooks(it) == ""
