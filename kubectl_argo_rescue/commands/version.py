"""`version`: what this is."""

from __future__ import annotations

import click

from .. import __version__
from ..act.options import Common
from ..cli.flags import Verb, common_options
from ..model.errors import ExitStatus


@click.command("version", cls=Verb)
@common_options
def command(common: Common) -> int:
    r"""Print the version.

    \b
    Examples:
      kubectl argo-rescue version
    """
    if common.output in ("human", "name"):
        click.echo(f"kubectl-argo-rescue {__version__}")
        return ExitStatus.OK
    from ..model.values import Result  # lazy: not for --help
    from ..show.printer import Printer, standard_streams

    Printer(standard_streams(), common.output).result(Result("version", data={"version": __version__}))
    return ExitStatus.OK
