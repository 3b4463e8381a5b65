"""What PyInstaller freezes for Linux and macOS: the plugin, bound to kubectl for its connection."""

from __future__ import annotations

import os

from kubectl_argo_rescue.__main__ import main

# Krew's plugins are run by kubectl, so there is one; the `kubernetes` package is left out of the archive.
os.environ["ARGO_RESCUE_TRANSPORT"] = os.environ.get("ARGO_RESCUE_TRANSPORT") or "kubectl"

main()
