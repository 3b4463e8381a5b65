"""`version`: what this is, and what it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import __version__
from ..act.options import Common
from ..cli.flags import Verb, common_options
from ..model.errors import ExitStatus, RescueError

if TYPE_CHECKING:
    from ..model.values import JSON

PACKAGE = Path(__file__).parents[1]
COMMIT = PACKAGE / "commit"
"""What a release is built from; the scripts that build archive and wheel write it."""


@click.command("version", cls=Verb)
@common_options
def command(common: Common) -> int:
    r"""Print the version.

    With `-o json` or `yaml` also the commit that it was built from, Python, the way that requests take
    (kubectl, or the package kubernetes) and kubectl's own version. No cluster is asked.

    \b
    Examples:
      kubectl argo-rescue version
      kubectl argo-rescue version -o json
    """
    if common.output in ("human", "name"):
        click.echo(f"kubectl-argo-rescue {__version__}")
        return ExitStatus.OK
    from ..model.values import Result  # lazy: not for --help
    from ..show.printer import Printer, standard_streams

    Printer(standard_streams(), common.output).result(Result("version", data=_whole(common.world.environ)))
    return ExitStatus.OK


def _whole(environ: Mapping[str, str]) -> dict[str, JSON]:
    import platform

    from ..cluster.connect import chosen_way
    from ..cluster.kubectl_process import find_kubectl, kubectl_version

    try:
        way = chosen_way(environ)
    except RescueError as e:
        way = e.message
    program = find_kubectl(environ) or ""
    return {
        "version": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine().lower()}",
        "transport": way,
        "kubectl": {"path": program, "version": kubectl_version(program) if program else ""},
    }


def commit() -> str:
    """Return the commit that this was built from, or that a checkout is at; empty where neither is known."""
    if COMMIT.is_file():
        return COMMIT.read_text("ascii").strip()
    if not (PACKAGE.parent / ".git").exists():
        return ""
    import subprocess

    asked = ["git", "-C", str(PACKAGE.parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
