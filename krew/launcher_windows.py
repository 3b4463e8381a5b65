"""What PyInstaller freezes for Windows, where kubectl's proxy has no safe socket: all of the plugin."""

from __future__ import annotations

from kubectl_argo_rescue.__main__ import main

main()
