"""`completion`: kubectl's own completion for this plugin, which Krew does not install."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..act.options import Common
from ..cli.flags import Verb, common_options
from ..model.errors import ExitStatus, RefusedError, UsageError
from ..model.values import Result
from ..show.printer import Printer, standard_streams

NAME = "kubectl_complete-argo_rescue"

SHIM = """#!/bin/sh
# kubectl runs this for the completion of `kubectl argo-rescue`; made by: kubectl argo-rescue completion --install
exec kubectl-argo_rescue __complete "$@"
"""


@click.command("completion", cls=Verb)
@click.option("--install", is_flag=True, help="Write the file that kubectl looks for, onto the PATH.")
@click.option("--dir", "folder", default="", metavar="DIR", help="Where to write it.")
@common_options
def command(common: Common, install: bool, folder: str) -> int:
    r"""Print the file that makes kubectl complete this plugin, or install it.

    kubectl looks for an executable named kubectl_complete-argo_rescue on the PATH. With it, and
    with kubectl's own completion set up in the shell, verbs, flags, applications, versions of an
    application's history, entries of the log, namespaces and contexts are completed. A cluster that
    takes longer than half a second is not waited for; set ARGO_RESCUE_COMPLETION_SECONDS to allow more.

    \b
    Examples:
      kubectl argo-rescue completion --install
      kubectl argo-rescue completion --install --dir ~/.local/bin
    """
    printer = Printer(standard_streams(), common.output)
    if not install:
        if folder:
            raise UsageError("--dir goes with --install", "add --install")
        printer.out.write(SHIM)
        return ExitStatus.OK
    path = (Path(folder).expanduser() if folder else place(os.environ.get("PATH", ""))) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SHIM)
        path.chmod(0o755)
    except OSError as e:
        raise RefusedError(f"{path} cannot be written: {e.strerror or e}", "say where: --dir DIR") from e
    printer.line(str(path)) if common.output in ("human", "name") else None
    if str(path.parent) not in os.environ.get("PATH", "").split(os.pathsep):
        printer.warn(f"{path.parent} is not on the PATH, so kubectl will not find it there")
    printer.result(Result("completion", data={"path": str(path)}))
    return ExitStatus.OK


def place(path: str) -> Path:
    """Choose a folder of the PATH that is ours to write: beside the plugin, else in the home."""
    folders = [Path(p) for p in path.split(os.pathsep) if p]
    beside = Path(sys.argv[0]).parent
    home = Path.home()
    candidates = [f for f in folders if f == beside]
    candidates += [f for f in folders if home in f.parents]
    for folder in candidates:
        if os.access(folder, os.W_OK):
            return folder
    return home / ".local" / "bin"
