"""Journal records: immutable JSON lines, and a journal entry as the fold of its records.

Pure: reading and writing them is the journal's work. What comes from the cluster is validated
here before it is trusted: a forged record cannot name a field that this tool never writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from ..model.values import PlanStep, Reliance, Witness


@dataclass(frozen=True, slots=True)
class Begin:
    """The first record: who did what, when, from where and why."""

    verb: str
    argv: tuple[str, ...]
    actor: str
    host: str
    started: datetime
    reason: str
    argocd_namespace: str
    argocd_version: str = ""
    undoes: tuple[str, ...] = ()
    expires: datetime | None = None
    total: int = 0
    """How many intents belong to the entry: fewer read means that some are lost."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be sent: an edit, an order for Argo CD, a rollout. Durable before its PATCH leaves."""

    number: int
    what: PlanStep


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of intents, by their number: applied, not-applied, or conflict."""

    of: Mapping[int, str]
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """Changes that need no undo any more, with how: restored, already, git, kept.

    A rollout counts as one change, number 0: handed-back, or gone.
    """

    changes: Mapping[tuple[int, int], str]
    by: str
    """The undo's entry."""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reopened:
    """Changes that an undo of an undo made ours again."""

    changes: tuple[tuple[int, int], ...]
    by: str


@dataclass(frozen=True, slots=True)
class Context:
    """What the entry relies on, and what the owners' git said."""

    relies: tuple[Reliance, ...] = ()
    witnesses: tuple[Witness, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The command ended by itself, with this status."""

    status: str
    at: datetime | None = None


Content: TypeAlias = Begin | Intent | Outcome | Settled | Reopened | Context | End


@dataclass(frozen=True, slots=True)
class Record:
    """One immutable line; `id` orders the records of an entry and makes merging two homes a union."""

    entry: str
    id: str
    content: Content
