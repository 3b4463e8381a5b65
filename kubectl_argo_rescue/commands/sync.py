"""`sync`: a manual sync without Argo CD's API."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import Verb, common_options, waiting_options, writing_options


@click.command("sync", cls=Verb)
@click.argument("app", metavar="APP")
@click.option("--prune", is_flag=True, help="Delete what git does not have any more.")
@waiting_options
@common_options
@writing_options
def command(
    common: Common, writing: Writing, app: str, prune: bool, wait: bool, timeout: float | None
) -> int:
    r"""Order a manual sync to what the application's spec says.

    \b
    Examples:
      kubectl argo-rescue sync traefik
      kubectl argo-rescue sync traefik --prune --wait
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.procedure import carry_out
    from ..act.session import Invocation, new_order_id
    from ..plan import operations

    order_id = new_order_id()
    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        plan, result = carry_out(
            session,
            lambda s: operations.plan_sync(
                s,
                session.target,
                order_id=order_id,
                actor=session.reading.actor,
                reason=writing.reason,
                prune=prune,
            ),
            writing,
        )
        if wait and not writing.is_dry_run and not result.exit_status:
            from ..act.watch import watch_after

            result = watch_after(session, session.target, plan, result, timeout)
        return call.finish(result)
