"""`version`: what this is."""

from __future__ import annotations

import click

from .. import __version__
from ..errors import ExitStatus
from ..flags import Verb, common_options
from ..model import Result
from ..options import Common
from ..output import Printer, standard_streams


@click.command("version", cls=Verb)
@common_options
def command(common: Common) -> int:
    r"""Print the version.

    \b
    Examples:
      kubectl argo-rescue version
    """
    printer = Printer(standard_streams(), common.output)
    if common.output in ("human", "name"):
        printer.line(f"kubectl-argo-rescue {__version__}")
    printer.result(Result("version", data={"version": __version__}))
    return ExitStatus.OK
