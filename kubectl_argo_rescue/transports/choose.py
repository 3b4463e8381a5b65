"""Which transport to take: kubectl where there is one, else the `kubernetes` package."""

from __future__ import annotations

import os
import sys
from typing import Final

from ..errors import UsageError
from . import Connection, Transport

VARIABLE: Final = "ARGO_RESCUE_TRANSPORT"
"""Environment variable that overrides the choice: `kubectl` or `package`."""


def open_transport(connection: Connection, *, prefer: str | None = None) -> Transport:
    """Open the way to the API server; kubectl's proxy begins to start here, so call this early."""
    choice = prefer or os.environ.get(VARIABLE) or ""
    if choice not in ("", "kubectl", "package"):
        raise UsageError(f"no such transport: {choice}", f"{VARIABLE} is kubectl or package")
    if choice != "package" and sys.platform != "win32":
        from .kubectl import KubectlTransport, find_kubectl

        if choice == "kubectl" or find_kubectl(os.environ) is not None:
            return KubectlTransport(connection)
    elif choice == "kubectl":
        raise UsageError("the kubectl transport needs Linux or macOS", f"set {VARIABLE}=package")
    from .package import PackageTransport

    return PackageTransport(connection)
