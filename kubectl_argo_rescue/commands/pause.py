"""`pause`: auto-sync off, and it stays off."""

from __future__ import annotations

import click

from .. import planning
from ..flags import Common, Verb, Writing, common_options, only_option, writing_options
from ..session import Session


@click.command("pause", cls=Verb)
@click.argument("apps", nargs=-1, required=True, metavar="APP...")
@only_option
@common_options
@writing_options
def command(common: Common, writing: Writing, apps: tuple[str, ...], only: bool) -> int:
    r"""Turn auto-sync of applications off, so that it stays off.

    What would turn it on again, the application that manages this one, is paused as well.

    \b
    Examples:
      kubectl argo-rescue pause root
      kubectl argo-rescue pause traefik --reason INC-4711 --dry-run=client
    """
    with Session(common) as session:
        keys = session.read(apps).targets
        _, result = session.carry_out(lambda s: planning.plan_pause(s, keys, only=only), writing)
        return session.finish(result)
