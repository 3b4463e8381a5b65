"""`terminate`: the end of an operation, and the truth about it."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import Verb, common_options, only_option, timeout_option, writing_options


@click.command("terminate", cls=Verb)
@click.argument("app", metavar="APP")
@click.option("--force", is_flag=True, help="Clear it by hand, where no controller ends it.")
@click.option("--no-wait", is_flag=True, help="Do not wait for its end.")
@timeout_option("1m", "How long to wait for its end.")
@only_option
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    app: str,
    force: bool,
    no_wait: bool,
    timeout: float | None,
    only: bool,
) -> int:
    r"""End the operation in progress, and wait until it has ended.

    Nothing of it is applied any more. Where a sync window keeps it from ending, as in Argo CD up
    to 3.5, the window is opened after that, and put back. An operation that nobody runs any more is
    cleared.

    \b
    Examples:
      kubectl argo-rescue terminate traefik
      kubectl argo-rescue terminate traefik --force
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.session import Invocation
    from ..act.terminate import TerminateRun

    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        key = session.target
        session.read_what_windows_touch(key)
        terminating = TerminateRun(session, key, writing)
        result = terminating.run(wait=not no_wait, timeout=timeout or 3600.0, force=force, only=only)
        return call.finish(result)
