"""`unblock`: no sync window stops this application; others stay frozen."""

from __future__ import annotations

import click

from .. import planning, probing
from ..entries import is_pinned
from ..flags import Common, Verb, Writing, common_options, only_option, writing_options
from ..session import Session


@click.command("unblock", cls=Verb)
@click.argument("app", metavar="APP")
@only_option
@common_options
@writing_options
def command(common: Common, writing: Writing, app: str, only: bool) -> int:
    r"""Let no sync window stop an application; all others stay frozen.

    A window that names the application loses that name. Where it is matched by a pattern, a
    namespace or a cluster, manual syncs are allowed instead. The project's owner is paused as well
    where it would put the window back.

    \b
    Examples:
      kubectl argo-rescue unblock traefik
    """
    with Session(common) as session:
        reading = session.read([app], to_write=True)
        key = reading.targets[0]
        session.read_what_windows_touch(key)
        _, result = session.carry_out(lambda s: planning.plan_unblock(s, key, only=only), writing)
        if result.entry and not result.exit_status and is_pinned(key, session.journal.read().entries):
            # Its version is ours already: let Argo CD notice at once that nothing stops it now.
            probing.wake(session.cluster, key)
        return session.finish(result)
