"""What a command line has around it: API servers, a clock, an environment.

A process has the real ones; a drill and the unit lane bring their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, Protocol

FIRST: Final = "/api/v1/namespaces/kube-system"
"""What every command reads in its first round, wherever Argo CD is."""

if TYPE_CHECKING:
    from .cluster import Cluster
    from .transports import Connection


class OpenCluster(Protocol):
    """Opens the connection to one API server."""

    def __call__(
        self,
        connection: Connection,
        *,
        log: Callable[[str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> Cluster:
        """Open it as the connection flags say; the other two are `Cluster`'s own."""
        ...


def open_real_cluster(
    connection: Connection,
    *,
    log: Callable[[str], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Cluster:
    """Open the cluster of the user's kubeconfig."""
    from .cluster import Cluster  # lazy: not for --help
    from .transports.choose import open_transport

    transport = open_transport(connection)
    return Cluster(transport, request_timeout=connection.request_timeout, log=log, on_warning=on_warning)


def utc_now() -> datetime:
    """Return the time; the one place where this tool looks at a clock of the day."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that a command may touch, but for its streams."""

    open_cluster: OpenCluster = open_real_cluster
    now: Callable[[], datetime] = utc_now
    environ: os._Environ[str] | dict[str, str] = field(default_factory=lambda: os.environ)
    argv: Sequence[str] = field(default_factory=lambda: tuple(sys.argv[1:]))
    """What was typed, for the journal."""

    def start(self, connection: Connection) -> None:
        """Begin to open a connection, while the program still loads what it will need it for."""
        if self.open_cluster is open_real_cluster:
            from .transports import choose  # lazy: not for --help

            choose.start(connection, FIRST)
