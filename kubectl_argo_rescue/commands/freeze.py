"""`freeze`: Argo CD stands still, however many applications it has."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import Verb, common_options, timeout_option, writing_options


@click.command("freeze", cls=Verb)
@timeout_option("60s", "How long the controllers' pods may take to end.")
@common_options
@writing_options
def command(common: Common, writing: Writing, timeout: float | None) -> int:
    r"""Stop Argo CD's controllers at once: nothing is synced, healed or deleted any more.

    For the worst hour: a bad commit or a lost generator, and Argo CD deletes what it manages. The
    application-controller and the ApplicationSet controller are scaled to 0 and their pods are
    stopped. Nothing is deleted by it, so it does not ask. Only `undo ENTRY` thaws.

    \b
    Examples:
      kubectl argo-rescue freeze --reason INC-4711
      kubectl argo-rescue freeze --dry-run
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.freeze import Freeze
    from ..act.session import Invocation

    with Invocation(common) as call:
        return call.finish(Freeze(call.read([]), writing, timeout or float("inf")).run())
