"""A plan: ordered steps, nothing sent yet, with what is worth saying and what must be asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .model import Edit, Order, PlanStep, StepResult
from .protection import Protection
from .records import Reliance, Witness


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps, nothing sent yet: what `--dry-run` prints and the engine carries out."""

    verb: str
    steps: tuple[PlanStep, ...] = ()
    unchanged: tuple[StepResult, ...] = ()
    """What is already as wanted."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth knowing and no reason to worry."""
    questions: tuple[str, ...] = ()
    """What needs a yes: objects that were not named, values that look wrong."""
    relies: tuple[Reliance, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    independent_from: int | None = None
    """From this step on they do not depend on each other: one failing does not stop the rest."""
    next_commands: tuple[str, ...] = ()


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
) -> Plan:
    """Join what was named and what protects it; an object that is both is edited once, as named."""
    own = {step.ref: step for step in steps if isinstance(step, Edit)}
    before: list[Edit | Order] = []
    asked: list[str] = []
    for guard in protection.guards.values():
        edit = guard.edit
        named = own.get(edit.ref) if edit else None
        if edit is None:
            asked.append(guard.question)
        elif named is None or any(c not in named.changes for c in edit.changes):
            before.append(edit)
            asked.append(guard.question)
        elif named not in before:
            # It is edited anyway: at the owner's place in the order, under the user's own reason.
            before.append(named)
    placed = set(map(id, before))
    rest = [step for step in steps if id(step) not in placed]
    return Plan(
        verb,
        (*before, *rest),
        tuple(unchanged),
        tuple(dict.fromkeys((*warnings, *protection.warnings))),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys((*questions, *asked))),
        tuple(protection.relies.values()),
        tuple(protection.witnesses.values()),
        len(before) if independent else None,
        tuple(next_commands),
    )
