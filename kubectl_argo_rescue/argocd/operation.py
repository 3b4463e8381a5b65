"""One Application's operation as Argo CD reads it, and the patch that starts or ends one. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ..model.patches import Op
from ..model.text import one_line
from ..model.values import JSON, Order, OrderKind
from .application import parse_time

INFO_NAME = "argo-rescue"
"""The name under which an operation's `info` carries our id."""

TERMINAL = frozenset({"Succeeded", "Failed", "Error"})
"""Phases after which nothing more happens (Argo CD: gitops-engine sync/common/types.go)."""

STARTING = (OrderKind.START, OrderKind.ROLLBACK)


class Operation(Struct, frozen=True):
    """What `.operation` and `status.operationState` say together."""

    present: bool
    """`.operation` is there and not null."""
    phase: str
    message: str
    started: datetime | None
    finished: datetime | None
    retries: int
    own_id: str
    username: str
    is_automated: bool
    revision: str

    @property
    def in_progress(self) -> bool:
        """Argo CD: appcontroller.go isOperationInProgress, and one that waits to be picked up."""
        return self.present or (bool(self.phase) and self.phase not in TERMINAL)

    @property
    def is_orphaned(self) -> bool:
        """The state says running, but nobody will ever touch it: `.operation` is gone."""
        return not self.present and bool(self.phase) and self.phase not in TERMINAL

    @property
    def waits_for_retry(self) -> bool:
        """Failed once and will try again (Argo CD: appcontroller.go processRequestedAppOperation)."""
        return self.present and self.phase == "Running" and self.finished is not None

    @property
    def is_blocked_by_window(self) -> bool:
        """Stands still until a sync window lets it (Argo CD: sync.go SyncAppState)."""
        return self.phase in ("Running", "Terminating") and "blocked by sync window" in self.message

    def describe(self) -> str:
        """Say in one phrase what it is and why it stands where it does."""
        who = "auto-sync" if self.is_automated else self.username or "somebody"
        what = f"{self.phase or 'waiting to be picked up'}, started by {who}"
        if self.revision:
            what += f", to {self.revision}"
        if self.is_orphaned:
            return what + "; orphaned: nothing runs it any more"
        if self.is_blocked_by_window:
            return what + "; blocked by a sync window"
        if self.waits_for_retry:
            return what + f"; failed and waits for retry {self.retries}: {self.message}"
        return what


def operation(app: JSON) -> Operation:
    """Read the operation in progress, or the last one."""
    wanted = app.get("operation")
    state = (app.get("status") or {}).get("operationState") or {}
    # A fresh `.operation` over a finished state is the new one; the state still speaks of the old.
    fresh = bool(wanted) and (not state or (state.get("phase") in TERMINAL))
    described = wanted if fresh else state.get("operation") or wanted or {}
    by = described.get("initiatedBy") or {}
    sync = described.get("sync") or {}
    result = {} if fresh else state.get("syncResult") or {}
    revisions = result.get("revisions") or [result.get("revision")] if result else sync.get("revisions") or []
    revision = ", ".join(r for r in revisions if r) or str(sync.get("revision") or "")
    return Operation(
        present=bool(wanted),
        phase="" if fresh else str(state.get("phase") or ""),
        message="" if fresh else str(state.get("message") or ""),
        started=None if fresh else parse_time(state.get("startedAt")),
        finished=None if fresh else parse_time(state.get("finishedAt")),
        retries=0 if fresh else int(state.get("retryCount") or 0),
        own_id=own_id(described),
        username=str(by.get("username") or ""),
        is_automated=bool(by.get("automated")),
        revision=revision,
    )


def waits_for_hooks(app: JSON) -> str:
    """Say which hooks an operation in progress waits for, as the end of a phrase; empty where none runs.

    Newer versions say it in the message as well; 3.2 does not.
    """
    state = (app.get("status") or {}).get("operationState") or {}
    if state.get("phase") in TERMINAL or "hook" in str(state.get("message") or ""):
        return ""
    hooks = [
        f"the {r['hookType']} hook {r.get('kind')} {r.get('namespace')}/{r.get('name')}"
        for r in (state.get("syncResult") or {}).get("resources") or ()
        # Of what is no hook the phase says Running as well, for as long as the operation lasts.
        if r.get("hookType") and r.get("hookPhase") == "Running"
    ]
    return one_line(f"; waits for {', '.join(hooks)}") if hooks else ""


def own_id(operation: JSON) -> str:
    """Return the id that we wrote into an operation's info, empty where it is not ours."""
    for info in (operation or {}).get("info") or ():
        if info.get("name") == INFO_NAME:
            return str(info.get("value") or "")
    return ""


def sync_operation(
    app: JSON, *, id: str, actor: str, reason: str = "", prune: bool = False
) -> dict[str, JSON]:
    """Build the operation that syncs to what the spec says (Argo CD: server/application Sync).

    The spec's syncOptions and retry are copied, as the API server does: an operation without them
    behaves otherwise (CreateNamespace, ServerSideApply …). The source is left to the spec.
    """
    policy = (app.get("spec") or {}).get("syncPolicy") or {}
    sync: dict[str, JSON] = {"syncStrategy": {"hook": {}}}
    if prune:
        sync["prune"] = True
    if policy.get("syncOptions"):
        sync["syncOptions"] = list(policy["syncOptions"])
    info = [{"name": INFO_NAME, "value": id}]
    if reason:
        info.append({"name": "reason", "value": reason})
    built: dict[str, JSON] = {
        "initiatedBy": {"username": f"argo-rescue:{actor}" if actor else "argo-rescue"},
        "info": info,
        "sync": sync,
    }
    if policy.get("retry"):
        built["retry"] = policy["retry"]
    return built


def order_ops(live: JSON, order: Order) -> list[Op]:
    """Build the patch that starts or ends an operation.

    Starting one where there is none mirrors Argo CD: argo.go SetAppOperation: the old
    operationState goes in the same patch, since the controller would resume what it says. Ending
    one mirrors server/application TerminateOperation. All are locked by the resourceVersion, since
    the decision rests on status.
    """
    state = (live.get("status") or {}).get("operationState")
    where = "/status/operationState"
    ops: list[Op] = [
        {"op": "test", "path": "/metadata/uid", "value": order.ref.uid},
        {
            "op": "replace",
            "path": "/metadata/resourceVersion",
            "value": live["metadata"]["resourceVersion"],
        },
    ]
    if order.kind in STARTING:
        ops += [
            {"op": "test", "path": "/operation", "value": None},
            {"op": "add", "path": "/operation", "value": order.operation},
        ]
        if state is not None:
            ops.append({"op": "remove", "path": where})
    elif order.kind is OrderKind.TERMINATE:
        ops += [
            {"op": "test", "path": f"{where}/phase", "value": (state or {}).get("phase")},
            {"op": "replace", "path": f"{where}/phase", "value": "Terminating"},
        ]
    elif order.kind is OrderKind.FORGET:
        ops += [{"op": "test", "path": "/operation", "value": None}, {"op": "remove", "path": where}]
        if own_id((state or {}).get("operation")) != order.id:
            return []
    else:
        if live.get("operation") is not None:
            # Never `add null` here: the CRD refuses it (argo-cd#29741).
            ops.append({"op": "remove", "path": "/operation"})
        if order.kind is OrderKind.ABORT and state is not None:
            for name, value in (order.operation or {}).items():
                ops.append({"op": "add", "path": f"{where}/{name}", "value": value})
    return ops


def has_landed(order: Order, app: JSON) -> bool:
    """Whether an Application shows that an operation was started, or ended, as ordered."""
    state = (app.get("status") or {}).get("operationState") or {}
    if order.kind is OrderKind.FORGET:
        return own_id(state.get("operation")) != order.id
    if order.kind not in STARTING:
        return state.get("phase") == "Terminating" or not operation(app).in_progress
    return order.id in (own_id(app.get("operation")), own_id(state.get("operation")))
