"""`pause`: auto-sync off, and it stays off."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import (
    Verb,
    all_namespaces,
    are_selected,
    common_options,
    everywhere_option,
    only_option,
    project_option,
    selector_option,
    writing_options,
)


@click.command("pause", cls=Verb)
@click.argument("apps", nargs=-1, metavar="[APP|appset/NAME]...")
@click.option("--all", "everything", is_flag=True, help="All applications of this Argo CD.")
@project_option
@selector_option
@everywhere_option
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
    everywhere: bool,
    only: bool,
) -> int:
    r"""Turn auto-sync of applications off, so that it stays off.

    What would turn it on again, the application that manages this one, is paused as well. An
    ApplicationSet that is named as appset/NAME makes new applications only: it updates and deletes
    none.

    \b
    Examples:
      kubectl argo-rescue pause root
      kubectl argo-rescue pause traefik --reason INC-4711 --dry-run=client
      kubectl argo-rescue pause -l tier=edge
      kubectl argo-rescue pause appset/shops
      kubectl argo-rescue pause --all --reason "cluster upgrade"
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.procedure import carry_out
    from ..act.reading import set_name
    from ..act.session import Invocation
    from ..plan import pause

    if everywhere:
        common = all_namespaces(common, apps)
    many = are_selected(apps, everything, project, selector, hint="name them, or say --all, --project or -l")
    with Invocation(common) as call:
        if many:
            session = call.read_many(label_selector=selector, project=project)
        else:
            sets = [word for word in apps if set_name(word)]
            session = call.read([word for word in apps if word not in sets], to_write=True)
            session.read_sets([set_name(word) for word in sets])
        keys = session.reading.targets
        _, result = carry_out(
            session, lambda s: pause.plan_pause(s, keys, only=only, is_selection=many), writing
        )
        return call.finish(result)
