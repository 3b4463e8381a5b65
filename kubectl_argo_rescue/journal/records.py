"""Journal records as values: one for each thing that happens to an entry. Pure.

`encoding` makes lines of JSON of them and back, `entry` folds them to what an entry is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from ..model.values import PlanStep, Reliance, Witness

HOLD = "hold"
"""The verb of an entry that holds an Application while Argo CD is asked what it would do with another version."""


class Begin(Struct, frozen=True):
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


class Intent(Struct, frozen=True):
    """What is about to be sent: an edit, an order for Argo CD, a rollout. Durable before its PATCH leaves."""

    number: int
    what: PlanStep


class Outcome(Struct, frozen=True):
    """What became of intents, by their number: applied, not-applied, or conflict."""

    of: Mapping[int, str]
    detail: str = ""
    at: datetime | None = None
    failed: str = ""
    """What a watch of this entry saw failing: a digest of the whole source. Versions before read past it."""
    is_late: bool = False
    """It was deployed and not well in time, which is less than to fail."""


class Settled(Struct, frozen=True):
    """Changes that need no undo any more, with how: restored, already, git, kept.

    A rollout counts as one change, number 0: handed-back, or gone.
    """

    changes: Mapping[tuple[int, int], str]
    by: str
    """The undo's entry."""
    at: datetime | None = None


class Reopened(Struct, frozen=True):
    """Changes that an undo of an undo made ours again."""

    changes: tuple[tuple[int, int], ...]
    by: str


class Context(Struct, frozen=True):
    """What the entry relies on, and what the owners' git said."""

    relies: tuple[Reliance, ...] = ()
    witnesses: tuple[Witness, ...] = ()


class End(Struct, frozen=True):
    """The command ended by itself, with this status."""

    status: str
    at: datetime | None = None


Content: TypeAlias = Begin | Intent | Outcome | Settled | Reopened | Context | End


class Record(Struct, frozen=True):
    """One immutable line; `id` orders the records of an entry and makes merging two homes a union."""

    entry: str
    id: str
    content: Content
