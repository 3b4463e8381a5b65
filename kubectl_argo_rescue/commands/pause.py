"""`pause`: auto-sync off, and it stays off."""

from __future__ import annotations

import click

from .. import planning
from ..errors import UsageError
from ..flags import Common, Verb, Writing, common_options, only_option, writing_options
from ..session import Session


@click.command("pause", cls=Verb)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@click.option("--all", "everything", is_flag=True, help="All applications of this Argo CD.")
@click.option("--project", default="", metavar="NAME", help="All applications of an AppProject.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="All applications with these labels.")
@only_option
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    apps: tuple[str, ...],
    everything: bool,
    project: str,
    selector: str,
    only: bool,
) -> int:
    r"""Turn auto-sync of applications off, so that it stays off.

    What would turn it on again, the application that manages this one, is paused as well.

    \b
    Examples:
      kubectl argo-rescue pause root
      kubectl argo-rescue pause traefik --reason INC-4711 --dry-run=client
      kubectl argo-rescue pause -l tier=edge
      kubectl argo-rescue pause --all --reason "cluster upgrade"
    """
    many = everything or bool(project or selector)
    if many == bool(apps):
        raise UsageError("nothing says which applications", "name them, or say --all, --project or -l")
    with Session(common) as session:
        if many:
            keys = session.read_many(label_selector=selector, project=project).targets
        else:
            keys = session.read(apps, to_write=True).targets
        _, result = session.carry_out(lambda s: planning.plan_pause(s, keys, only=only), writing)
        return session.finish(result)
