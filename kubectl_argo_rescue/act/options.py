"""What a verb was asked for besides its own flags: which cluster, which output, how to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..cluster.connect import Runtime
from ..cluster.transport import Connection

if TYPE_CHECKING:  # --help knows no results
    from ..model.values import Result


class Common(NamedTuple):
    """What every verb takes."""

    connection: Connection = Connection()
    namespace: str = ""
    argocd_namespace: str = ""
    output: str = "human"
    verbosity: int = 0
    world: Runtime = Runtime()
    hear: Callable[[Result], None] | None = None
    """Takes the result; nothing is printed then, since others are asked at the same time."""


class Writing(NamedTuple):
    """What every writing verb takes."""

    dry_run: str = "none"
    reason: str = ""
    yes: bool = False
    expires: float | None = None
    """Seconds after which every command reminds of it."""

    @property
    def is_dry_run(self) -> bool:
        """Whether the plan is shown and nothing is written."""
        return self.dry_run != "none"
