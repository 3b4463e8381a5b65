"""`rollback`: an operation from history, that works with auto-sync on and stays."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import Verb, Version, common_options, only_option, waiting_options, writing_options


@click.command("rollback", cls=Verb)
@click.argument("app", metavar="APP")
@click.option(
    "--to",
    type=Version(),
    default=None,
    metavar="ID_OR_VERSION",
    help="Which deployment of the history; the last good one by default.",
)
@click.option("--prune", is_flag=True, help="Delete what the old version does not have.")
@waiting_options
@only_option
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    app: str,
    to: str | None,
    prune: bool,
    wait: bool,
    timeout: float | None,
    only: bool,
) -> int:
    r"""Deploy a version from the application's history, and keep it there.

    Auto-sync is paused first, and whoever would turn it on again, since it would move forward at
    once. The spec stays as it is: pin changes that. As with Argo CD's own rollback, hooks do not run.

    \b
    Examples:
      kubectl argo-rescue rollback traefik
      kubectl argo-rescue rollback traefik --to 2.4.1 --wait
      kubectl argo-rescue rollback traefik --to 0
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.procedure import carry_out
    from ..act.session import Invocation, new_order_id
    from ..plan import operations
    from ..plan.known_versions import known_of

    order_id = new_order_id()
    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        live = session.reading.snapshot.objects[session.target]
        known = known_of(live, session.journal.read().entries) if to is None else None
        plan, result = carry_out(
            session,
            lambda s: operations.plan_rollback(
                s, session.target, order_id=order_id, actor=session.reading.actor, reason=writing.reason, to=to,
                known=known, only=only, prune=prune,
            ),
            writing,
        )  # fmt: skip
        if wait and not writing.is_dry_run and not result.exit_status:
            from ..act.watch import watch_after

            result = watch_after(session, session.target, plan, result, timeout)
        return call.finish(result)
