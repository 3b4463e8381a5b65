"""Plans and results: steps as lines for people, and the one envelope for tools. Pure."""

from __future__ import annotations

from ..model.errors import ExitStatus
from ..model.patches import show_path, shown
from ..model.text import resource_name
from ..model.values import (
    ABSENT,
    JSON,
    Change,
    MemberChange,
    Order,
    OrderKind,
    PlanStep,
    Result,
    StepResult,
    StepStatus,
    WorkloadRollback,
)


def edit_line(result: StepResult) -> str:
    """One line for one outcome."""
    name = resource_name(result.ref)
    if result.status is StepStatus.UNCHANGED:
        return f"{name} unchanged ({result.detail or 'already so'})"
    return f"{name} {result.action}"


def change_lines(change: Change) -> list[str]:
    """Show one change as the lines of a diff."""
    where = show_path(change.path)
    if isinstance(change, MemberChange):
        sign = "+" if change.present else "-"
        return [f"{sign} {where}/{change.index}: {shown(change.item)}"]
    lines = []
    if change.before is not ABSENT:
        lines.append(f"- {where}: {shown(change.before)}")
    if change.after is not ABSENT:
        lines.append(f"+ {where}: {shown(change.after)}")
    return lines


def step_lines(step: PlanStep) -> list[str]:
    """Show a step as the lines of a diff."""
    if isinstance(step, WorkloadRollback):
        return [f"- revision {step.from_revision}", f"+ revision {step.to_revision} ({step.revision})"]
    if isinstance(step, Order):
        return _order_lines(step)
    return [line for change in step.changes for line in change_lines(change)]


def _order_lines(order: Order) -> list[str]:
    if order.kind is OrderKind.TERMINATE:
        return [f"+ /status/operationState/phase: {shown('Terminating')}"]
    if order.kind is OrderKind.WITHDRAW:
        return ["- /operation"]
    if order.kind is OrderKind.ABORT:
        return [f"+ /status/operationState/{name}: {shown(value)}" for name, value in order.operation.items()]
    return [f"+ /operation: {shown(order.operation)}"]


def envelope(result: Result) -> dict[str, JSON]:
    """Return the one envelope of every verb, as plain JSON values."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Result",
        "verb": result.verb,
        "entry": result.entry,
        "status": result.status,
        "edits": [
            {
                "kind": e.ref.kind,
                "namespace": e.ref.namespace,
                "name": e.ref.name,
                "status": e.status.value,
                "patch": list(e.patch),
                "reason": e.detail or e.reason,
            }
            for e in result.edits
        ],
        "warnings": list(result.warnings),
        "data": dict(result.data),
    }


API_VERSION = "argo-rescue/v1"


STATUS_WORDS = {
    ExitStatus.OK: "done",
    ExitStatus.ERROR: "error",
    ExitStatus.USAGE: "usage",
    ExitStatus.CONFLICT: "conflict",
    ExitStatus.PARTIAL: "partial",
    ExitStatus.REFUSED: "refused",
    ExitStatus.TIMEOUT: "timeout",
    ExitStatus.INTERRUPTED: "interrupted",
}
