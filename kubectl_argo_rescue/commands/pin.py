"""`pin`: targetRevision to a version, and Argo CD made to act on it."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import (
    Verb,
    Version,
    common_options,
    only_option,
    source_option,
    waiting_options,
    writing_options,
)


@click.command("pin", cls=Verb)
@click.argument("app", metavar="APP")
@click.argument("version", type=Version(), metavar="VERSION")
@source_option
@click.option("--no-sync", is_flag=True, help="Only edit; do not see to it that Argo CD acts.")
@waiting_options
@only_option
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    app: str,
    version: str,
    source: str | None,
    no_sync: bool,
    wait: bool,
    timeout: float | None,
    only: bool,
) -> int:
    r"""Pin an application to a version and see to it that Argo CD deploys it.

    With auto-sync on the controller does it by itself; else a sync is ordered. A git branch is
    pinned to the commit that it last meant.

    \b
    Examples:
      kubectl argo-rescue pin traefik 2.4.1
      kubectl argo-rescue pin traefik 2.4.1 --wait --timeout 10m
      kubectl argo-rescue pin shop 8a1f0c2 --source 1
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.procedure import carry_out
    from ..act.session import Invocation, new_order_id
    from ..plan import pin

    order_id = new_order_id()
    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        plan, result = carry_out(
            session,
            lambda s: pin.plan_pin(
                s, session.target, version, order_id=order_id, actor=session.reading.actor,
                reason=writing.reason, source=source, only=only, sync=not no_sync,
            ),
            writing,
        )  # fmt: skip
        if wait and not writing.is_dry_run and not result.exit_status:
            from ..act.watch import watch_after

            result = watch_after(session, session.target, plan, result, timeout)
        return call.finish(result)
