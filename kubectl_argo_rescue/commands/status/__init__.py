"""`status`: what is wrong and who would fight an edit, before any write."""

from __future__ import annotations

import click

from ...act.options import Common
from ...cli.flags import (
    Verb,
    all_namespaces,
    common_options,
    contexts_option,
    destination_option,
    everywhere_option,
    selector_option,
)
from ...model.errors import UsageError


@click.command("status", cls=Verb)
@click.argument("apps", nargs=-1, metavar="[APP|KIND/NAME]...")
@selector_option
@everywhere_option
@destination_option
@contexts_option
@common_options
def command(
    common: Common,
    apps: tuple[str, ...],
    selector: str,
    everywhere: bool,
    destination_context: str,
    contexts: str,
) -> int:
    r"""Show what is wrong and what would revert a change, before any write.

    For an application: whether Argo CD reconciles at all, what is wrong, the owners and what they
    would put back how soon, sync windows, operation, history with the last good version, and what
    of this tool's own edits is open. KIND/NAME is a workload (deploy, sts, ds, rs, pod, svc) whose
    application is looked up, with --destination-context in another cluster. Without a name, the whole
    Argo CD, worst first.

    \b
    Examples:
      kubectl argo-rescue status
      kubectl argo-rescue status traefik
      kubectl argo-rescue status deploy/traefik -n kube-system
      kubectl argo-rescue status traefik root -o json
      kubectl argo-rescue status -l tier=edge
      kubectl argo-rescue status --contexts all
    """
    if everywhere:
        common = all_namespaces(common, apps)
    if selector and apps:
        raise UsageError("applications are named and selected as well", "do one of the two")
    if destination_context and not apps:
        raise UsageError("--destination-context is about an application", "name it")
    from .answer import answer  # lazy: not for --help

    if contexts:
        from ...act.many_contexts import answer as ask_all  # lazy: as above
        from ...show.contexts import status_rows

        return ask_all(
            common, "status", contexts, lambda c: answer(c, apps, selector, destination_context), status_rows
        )
    return answer(common, apps, selector, destination_context)
