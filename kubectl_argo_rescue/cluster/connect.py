"""The way to an API server, and what else a command line has around it: a clock, an environment.

A process has the real ones; a drill and the unit lane bring their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ..model.errors import RescueError, TransportError, UsageError

if TYPE_CHECKING:
    from ..model.values import Context
    from .client import Cluster
    from .transport import Connection, Transport

VARIABLE: Final = "ARGO_RESCUE_TRANSPORT"
"""Environment variable that overrides the choice: `kubectl` or `package`."""

FIRST: Final = "/api/v1/namespaces/kube-system"
"""What every command reads in its first round, wherever Argo CD is."""

_started: list[tuple[Connection, Transport]] = []


def start(connection: Connection, path: str) -> None:
    """Begin to open the way through kubectl and to read `path`: `open_transport` goes on with it.

    What goes wrong is said there.
    """
    if sys.platform == "win32" or os.environ.get(VARIABLE) == "package":
        return
    from .kubectl import KubectlTransport
    from .kubectl_process import find_kubectl

    if find_kubectl(os.environ) is not None:
        with suppress(RescueError):
            transport = KubectlTransport(connection)
            _started.append((connection, transport))
            transport.look_ahead(path)


def chosen_way(environ: Mapping[str, str], prefer: str | None = None) -> str:
    """Say which way is taken to the API server: `kubectl` or `package`. Raises UsageError for another word."""
    choice = prefer or environ.get(VARIABLE) or ""
    if choice not in ("", "kubectl", "package"):
        raise UsageError(f"no such transport: {choice}", f"{VARIABLE} is kubectl or package")
    if sys.platform == "win32":
        if choice == "kubectl":
            raise UsageError("the kubectl transport needs Linux or macOS", f"set {VARIABLE}=package")
        return "package"
    from .kubectl_process import find_kubectl

    return choice or ("kubectl" if find_kubectl(environ) is not None else "package")


def open_transport(connection: Connection, *, prefer: str | None = None) -> Transport:
    """Open the way to the API server; kubectl's proxy begins to start here, so call this early."""
    way = chosen_way(os.environ, prefer)
    while _started:
        known, transport = _started.pop()
        if prefer is None and known == connection:
            return transport
        transport.close()
    if way == "kubectl":
        from .kubectl import KubectlTransport

        return KubectlTransport(connection)
    from importlib.util import find_spec  # lazy: kubectl is the usual way

    if find_spec("kubernetes") is None:
        # Krew's archives for Linux and macOS come without it.
        hint = f"set {VARIABLE}=kubectl, or install with: pipx install kubectl-argo-rescue"
        if (prefer or os.environ.get(VARIABLE)) != "package":
            hint = "put kubectl on PATH, or install with: pipx install kubectl-argo-rescue"
        raise TransportError(
            "the Python package kubernetes is not in this installation", hint, sent=False, lasting=True
        )
    from .direct import PackageTransport

    return PackageTransport(connection)


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
    from .client import Cluster  # lazy: not for --help

    transport = open_transport(connection)
    return Cluster(transport, request_timeout=connection.request_timeout, log=log, on_warning=on_warning)


class ListContexts(Protocol):
    """Tells which contexts there are."""

    def __call__(self, connection: Connection, environ: Mapping[str, str]) -> Sequence[Context]:
        """Return those of the kubeconfig that the connection flags name."""
        ...


def list_real_contexts(connection: Connection, environ: Mapping[str, str]) -> Sequence[Context]:
    """Return the contexts of the user's kubeconfig. Raises TransportError where it cannot be read."""
    from .kubeconfig import list_contexts  # lazy: most commands speak with one cluster

    return list_contexts(connection, environ)


def utc_now() -> datetime:
    """Return the time; the one place where this tool looks at a clock of the day."""
    return datetime.now(timezone.utc)


class Runtime(NamedTuple):
    """Everything outside that a command may touch, but for its streams."""

    open_cluster: OpenCluster = open_real_cluster
    now: Callable[[], datetime] = utc_now
    environ: os._Environ[str] | dict[str, str] = os.environ
    argv: Sequence[str] | None = None
    """What was typed, for the journal; None for this process's own words."""
    contexts: ListContexts = list_real_contexts

    def words(self) -> Sequence[str]:
        """Return what was typed."""
        return sys.argv[1:] if self.argv is None else self.argv

    def start(self, connection: Connection) -> None:
        """Begin to open a connection, while the program still loads what it will need it for."""
        if self.open_cluster is open_real_cluster:
            start(connection, FIRST)
