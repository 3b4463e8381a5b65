"""Plans and results: steps as lines for people, and the one envelope for tools. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..model.errors import ExitStatus
from ..model.patches import show_path, shown, shown_whole
from ..model.text import resource_name
from ..model.values import (
    ABSENT,
    JSON,
    Change,
    Creation,
    MemberChange,
    Order,
    OrderKind,
    PlanStep,
    Removal,
    Result,
    StepResult,
    StepStatus,
    Takeback,
    WorkloadRollback,
)


def edit_line(result: StepResult) -> str:
    """One line for one outcome."""
    name = resource_name(result.ref)
    if result.status is StepStatus.UNCHANGED:
        return f"{name} unchanged ({result.detail or 'already so'})"
    return f"{name} {result.action}"


def change_lines(change: Change, *, values: bool = False) -> list[str]:
    """Show one change as the lines of a diff; with `values` also what may be secret."""
    say = _whole if values else shown
    where = show_path(change.path)
    if isinstance(change, MemberChange):
        sign = "+" if change.present else "-"
        return [f"{sign} {where}/{change.index}: {say(change.item)}"]
    lines = []
    if change.before is not ABSENT:
        lines.append(f"- {where}: {say(change.before)}")
    if change.after is not ABSENT:
        lines.append(f"+ {where}: {say(change.after, change.before)}")
    return lines


def _whole(value: JSON, before: JSON = ABSENT) -> str:
    del before
    return shown_whole(value)


def step_lines(step: PlanStep, *, values: bool = False) -> list[str]:
    """Show a step as the lines of a diff; with `values` also what may be secret."""
    if isinstance(step, Removal | Creation):
        return ["- all of it" if isinstance(step, Removal) else "+ all of it, as it was saved"]
    if isinstance(step, WorkloadRollback):
        if step.how is not Takeback.TEMPLATE:
            field = "abort" if step.how is Takeback.ABORT else "promoteFull"
            return [f"+ /status/{field}: true (to revision {step.to_revision}, {step.revision})"]
        return [f"- revision {step.from_revision}", f"+ revision {step.to_revision} ({step.revision})"]
    if isinstance(step, Order):
        return _order_lines(step, shown_whole if values else shown)
    return [line for change in step.changes for line in change_lines(change, values=values)]


def _order_lines(order: Order, say: Callable[[JSON], str]) -> list[str]:
    if order.kind is OrderKind.TERMINATE:
        return [f"+ /status/operationState/phase: {shown('Terminating')}"]
    if order.kind is OrderKind.WITHDRAW:
        return ["- /operation"]
    if order.kind is OrderKind.ABORT:
        return [f"+ /status/operationState/{name}: {shown(value)}" for name, value in order.operation.items()]
    return [f"+ /operation: {say(order.operation)}"]


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
