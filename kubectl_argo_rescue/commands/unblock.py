"""`unblock`: no sync window stops this application; others stay frozen."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import Verb, common_options, only_option, writing_options


@click.command("unblock", cls=Verb)
@click.argument("app", metavar="APP")
@only_option
@common_options
@writing_options
def command(common: Common, writing: Writing, app: str, only: bool) -> int:
    r"""Let one application sync despite sync windows; all others stay frozen.

    A window that names the application loses that name. Where it is matched by a pattern, a
    namespace or a cluster, manual syncs are allowed instead. The project's owner is paused as well
    where it would put the window back.

    \b
    Examples:
      kubectl argo-rescue unblock traefik
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from msgspec.structs import replace

    from ..act.procedure import carry_out
    from ..act.session import Invocation
    from ..argocd.operation import operation
    from ..cluster import refresh
    from ..model.text import COMMAND
    from ..model.values import Plan, Snapshot
    from ..plan import unblock
    from ..plan.known_versions import is_pinned

    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        key = session.target
        session.read_what_windows_touch(key)

        def plan(snapshot: Snapshot) -> Plan:
            made = unblock.plan_unblock(snapshot, key, only=only)
            waiting = operation(snapshot.objects[key])
            if not made.steps or not waiting.is_blocked_by_window or waiting.phase == "Terminating":
                return made
            question = (
                f"an operation of {app} runs as soon as no window stops it: {waiting.describe()}; "
                f"to end it first: {COMMAND} terminate {app}"
            )
            return replace(made, questions=(*made.questions, question))

        _, result = carry_out(session, plan, writing)
        live = session.reading.snapshot.objects[key]
        if result.entry and not result.exit_status and is_pinned(live, session.journal.read().entries):
            # Its version is ours already: let Argo CD notice at once that nothing stops it now.
            refresh.wake(session.cluster, key)
        return call.finish(result)
