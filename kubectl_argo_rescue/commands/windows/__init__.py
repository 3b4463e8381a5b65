"""`windows`: every sync window, what it matches, whether it is active, and what may sync now."""

from __future__ import annotations

import click

from ...act.options import Common
from ...cli.flags import Verb, common_options, contexts_option
from ...model.errors import UsageError


@click.command("windows", cls=Verb)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@click.option("-A", "--all-namespaces", is_flag=True, help="The verdict for every application served.")
@contexts_option
@common_options
def command(common: Common, apps: tuple[str, ...], all_namespaces: bool, contexts: str) -> int:
    r"""Show which sync windows let an application sync, and which stop it until when.

    For applications that are named, each window of their project and of the global projects that
    apply is shown with what it matches. Without a name, the verdict for every application. Windows
    alone are judged: whether auto-sync is on, or the application healthy, is not.

    \b
    Examples:
      kubectl argo-rescue windows traefik
      kubectl argo-rescue windows
      kubectl argo-rescue windows -A -o json
      kubectl argo-rescue windows traefik --contexts all
    """
    if apps and all_namespaces:
        raise UsageError("applications are named, and all are asked for", "leave out the names, or -A")
    from .answer import answer  # lazy: not for --help

    if contexts:
        from ...act.many_contexts import answer as ask_all  # lazy: as above
        from ...show.contexts import window_rows

        return ask_all(
            common, "windows", contexts, lambda c: answer(c, apps, all_namespaces=all_namespaces), window_rows
        )
    return answer(common, apps, all_namespaces=all_namespaces)
