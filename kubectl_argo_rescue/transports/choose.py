"""Which transport to take: kubectl where there is one, else the `kubernetes` package."""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from typing import Final

from ..errors import RescueError, TransportError, UsageError
from . import Connection, Transport

VARIABLE: Final = "ARGO_RESCUE_TRANSPORT"
"""Environment variable that overrides the choice: `kubectl` or `package`."""

_started: list[tuple[Connection, Transport]] = []


def start(connection: Connection, path: str) -> None:
    """Begin to open the way through kubectl and to read `path`: `open_transport` goes on with it.

    What goes wrong is said there.
    """
    if sys.platform == "win32" or os.environ.get(VARIABLE) == "package":
        return
    from .kubectl import KubectlTransport, find_kubectl

    if find_kubectl(os.environ) is not None:
        with suppress(RescueError):
            transport = KubectlTransport(connection)
            _started.append((connection, transport))
            transport.look_ahead(path)


def open_transport(connection: Connection, *, prefer: str | None = None) -> Transport:
    """Open the way to the API server; kubectl's proxy begins to start here, so call this early."""
    choice = prefer or os.environ.get(VARIABLE) or ""
    if choice not in ("", "kubectl", "package"):
        raise UsageError(f"no such transport: {choice}", f"{VARIABLE} is kubectl or package")
    while _started:
        known, transport = _started.pop()
        if prefer is None and known == connection:
            return transport
        transport.close()
    if choice != "package" and sys.platform != "win32":
        from .kubectl import KubectlTransport, find_kubectl

        if choice == "kubectl" or find_kubectl(os.environ) is not None:
            return KubectlTransport(connection)
    elif choice == "kubectl":
        raise UsageError("the kubectl transport needs Linux or macOS", f"set {VARIABLE}=package")
    if importlib.util.find_spec("kubernetes") is None:
        # Krew's archives for Linux and macOS come without it.
        hint = f"set {VARIABLE}=kubectl, or install with: pipx install kubectl-argo-rescue"
        if choice != "package":
            hint = "put kubectl on PATH, or install with: pipx install kubectl-argo-rescue"
        raise TransportError(
            "the Python package kubernetes is not in this installation", hint, sent=False, lasting=True
        )
    from .package import PackageTransport

    return PackageTransport(connection)
