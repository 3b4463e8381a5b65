"""Plans an operation: a sync, a rollback, the end of one in progress. Pure."""

from __future__ import annotations

from ..argocd import application, history
from ..argocd.application import application_of, living_application
from ..argocd.components import is_part_down
from ..argocd.history import Deployment, choose_deployment, describe_deployment, next_candidate
from ..argocd.operation import INFO_NAME, operation, sync_operation
from ..argocd.reconciliation import blocked_text, obstacles_of, windows_allow
from ..model.errors import Code, RefusedError
from ..model.text import COMMAND, display_name
from ..model.values import (
    JSON,
    Edit,
    Key,
    Order,
    OrderKind,
    Plan,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from .owners import Protection, protect, protect_order, stop_rolling_sync
from .plan import joined


def plan_sync(
    snapshot: Snapshot, key: Key, *, order_id: str, actor: str, reason: str = "", prune: bool = False
) -> Plan:
    """Order a manual sync to what the spec says. Raises RefusedError where it could not run."""
    app = living_application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    protection = protect_order(snapshot, app, only=False)
    running = operation(app)
    if running.in_progress:
        raise RefusedError(
            f"{key} has an operation in progress: {running.describe()}",
            f"watch it: {COMMAND} watch {name}; or end it: {COMMAND} terminate {name}",
            code=Code.OPERATION_RUNS,
        )
    verdict = windows_allow(snapshot, app, manual=True)
    if not verdict.can_sync:
        raise RefusedError(blocked_text(snapshot, app, verdict), code=Code.BLOCKED)
    ordered = sync_operation(app, id=order_id, actor=actor, reason=reason, prune=prune)
    return joined(
        "sync",
        protection,
        [Order(ref_of(app), order_id, ordered, "manual sync")],
        warnings=obstacles_of(snapshot, app),
        next_commands=[f"{COMMAND} watch {name}"],
    )


def rollback_operation(
    app: JSON, deployment: Deployment, *, id: str, actor: str, reason: str = "", prune: bool = False
) -> dict[str, JSON]:
    """Build the operation that deploys from history (Argo CD: server/application Rollback).

    Hooks do not run, as with Argo CD's own. Source and revision come from history, so that another
    path or other parameters of then come with it.
    """
    policy = (app.get("spec") or {}).get("syncPolicy") or {}
    sync: dict[str, JSON] = {"prune": prune, "syncStrategy": {"apply": {}}}
    if policy.get("syncOptions"):
        sync["syncOptions"] = list(policy["syncOptions"])
    if application.has_multiple_sources(app) or len(deployment.sources) > 1:
        sync["sources"], sync["revisions"] = list(deployment.sources), list(deployment.revisions)
    else:
        sync["source"], sync["revision"] = deployment.sources[0], deployment.revisions[0]
    info = [{"name": INFO_NAME, "value": id}]
    if reason:
        info.append({"name": "reason", "value": reason})
    return {
        "initiatedBy": {"username": f"argo-rescue:{actor}" if actor else "argo-rescue"},
        "info": info,
        "sync": sync,
    }


def plan_rollback(
    snapshot: Snapshot,
    key: Key,
    *,
    order_id: str,
    actor: str,
    reason: str = "",
    to: str | None = None,
    known: history.KnownVersions | None = None,
    only: bool = False,
    prune: bool = False,
) -> Plan:
    """Deploy a version from history, with auto-sync paused so that it stays."""
    app = living_application(snapshot, key)
    name = display_name(key, snapshot.argocd)
    deployment = choose_deployment(app, to, known)
    running = operation(app)
    if running.in_progress:
        raise RefusedError(
            f"{key} has an operation in progress: {running.describe()}",
            f"end it first: {COMMAND} terminate {name}",
            code=Code.OPERATION_RUNS,
        )
    verdict = windows_allow(snapshot, app, manual=True)
    if not verdict.can_sync:
        raise RefusedError(blocked_text(snapshot, app, verdict), code=Code.BLOCKED)
    steps: list[Edit | Order] = []
    total = Protection()
    pause = application.pause_change(app, snapshot.argocd)
    warnings = obstacles_of(snapshot, app)
    if pause is not None:
        total += protect(snapshot, app, (pause,), only=only)
        steps.append(Edit(ref_of(app), (pause,), "auto-sync would move it forward again at once", Role.PAUSE))
    else:
        total += stop_rolling_sync(snapshot, app, only=only)
    ordered = rollback_operation(app, deployment, id=order_id, actor=actor, reason=reason, prune=prune)
    steps.append(
        Order(
            ref_of(app), order_id, ordered, f"to {describe_deployment(deployment)}", kind=OrderKind.ROLLBACK
        )
    )
    notes = next_candidate(app, deployment, known, snapshot.now) if to is None else []
    return joined(
        "rollback", total, steps, warnings=warnings, notes=notes, next_commands=[f"{COMMAND} watch {name}"]
    )


def plan_terminate(
    snapshot: Snapshot, key: Key, *, order_id: str, force: bool = False, only: bool = True
) -> Plan:
    """End the operation in progress, by the means that fits how far it is.

    Running: phase Terminating, as Argo CD's API does. Not picked up yet: taken back. Orphaned, or
    with `force`: its end is written by hand, since no controller will. A copy of an Application
    elsewhere is refused, unless `only`.
    """
    app = application_of(snapshot, key)
    name = display_name(key, snapshot.argocd)
    running = operation(app)
    if not running.in_progress:
        return Plan(
            "terminate",
            unchanged=(
                StepResult(
                    ref_of(app), StepStatus.UNCHANGED, "terminated", detail="no operation is in progress"
                ),
            ),
        )
    ended = {
        "phase": "Failed",
        "message": "aborted by argo-rescue",
        "finishedAt": f"{snapshot.now:%Y-%m-%dT%H:%M:%SZ}",
    }
    warnings: list[str] = []
    questions: list[str] = []
    if running.is_orphaned or (force and running.phase):
        if not running.is_orphaned:
            questions.append(f"the operation of {name} is cleared by hand: hooks that run are left running")
        order = Order(ref_of(app), order_id, ended, running.describe(), kind=OrderKind.ABORT)
    elif not running.phase:
        order = Order(ref_of(app), order_id, None, "nobody has picked it up yet", kind=OrderKind.WITHDRAW)
    elif running.phase == "Terminating":
        return Plan(
            "terminate",
            unchanged=(
                StepResult(ref_of(app), StepStatus.UNCHANGED, "terminated", detail="already terminating"),
            ),
        )
    else:
        order = Order(ref_of(app), order_id, None, running.describe(), kind=OrderKind.TERMINATE)
    if is_part_down(snapshot, "application-controller") and order.kind is OrderKind.TERMINATE:
        warnings.append(
            "Argo CD's application-controller has no ready pod: nobody will end the operation; "
            f"--force clears it by hand: {COMMAND} terminate {name} --force"
        )
    return joined(
        "terminate", protect_order(snapshot, app, only=only), [order], warnings=warnings, questions=questions
    )
