"""Makes a plan of edits and orders, with what is worth saying and what must be asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..model.values import Edit, Order, Plan, StepResult
from .owners import Protection

HOLD_SECONDS = 3.0
"""How long an edit of a generated Application must stay before it counts: a set may not heed its own rules."""


def joined(
    verb: str,
    protection: Protection,
    steps: Sequence[Edit | Order],
    *,
    unchanged: Sequence[StepResult] = (),
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    questions: Sequence[str] = (),
    independent: bool = False,
    next_commands: Sequence[str] = (),
    asides: Sequence[str] = (),
) -> Plan:
    """Join what was named and what protects it; an object that is both is edited once, as named."""
    own = {step.ref: step for step in steps if isinstance(step, Edit)}
    before: list[Edit | Order] = []
    asked: list[str] = []
    told: set[str] = set()
    for guard in protection.guards.values():
        edit = guard.edit
        named = own.get(edit.ref) if edit else None
        if edit is None:
            asked.append(guard.question)
        elif named is None or any(c not in named.changes for c in edit.changes):
            before.append(edit)
            asked.append(guard.question)
            told.add(guard.question)
        elif named not in before:
            # It is edited anyway: at the owner's place in the order, under the user's own reason.
            before.append(named)
    placed = set(map(id, before))
    rest = [step for step in steps if id(step) not in placed]
    ordered = [*before, *rest]
    for ref in set(protection.held.values()):
        last = max((i for i, s in enumerate(ordered) if isinstance(s, Edit) and s.ref == ref), default=None)
        if last is not None:
            ordered[last] = replace(ordered[last], hold=HOLD_SECONDS)
    return Plan(
        verb,
        tuple(ordered),
        tuple(unchanged),
        tuple(dict.fromkeys((*warnings, *protection.warnings, *protection.other_writers(asked=False)))),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys((*questions, *asked, *protection.other_writers(asked=True)))),
        tuple(protection.relies.values()),
        tuple(protection.witnesses.values()),
        len(before) if independent else None,
        tuple(next_commands),
        frozenset(told),
        tuple(asides),
    )
