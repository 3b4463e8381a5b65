"""`undo`: every saved original back, without a second outage."""

from __future__ import annotations

import click

from ...act.options import Common, Writing
from ...cli.flags import Verb, common_options, timeout_option, writing_options
from ...model.errors import UsageError
from ...plan.on_conflict import OnConflict


@click.command("undo", cls=Verb)
@click.argument("what", nargs=-1, metavar="[ENTRY|APP]...")
@click.option(
    "--on-conflict",
    type=click.Choice([c.value for c in OnConflict]),
    default="stop",
    show_default=True,
    help="What to do with fields that somebody else changed since.",
)
@click.option("--redeploy", is_flag=True, help="Put versions back though git does not agree: they roll out.")
@click.option(
    "--let-delete",
    multiple=True,
    metavar="APP",
    help="Let these applications go, with their workloads: dying ones at a thaw, those that a set gives no more.",
)
@click.option(
    "--keep-operation", multiple=True, metavar="APP", help="Of a freeze: let the operations of these go on."
)
@click.option("--when-safe", is_flag=True, help="Wait until git agrees with what is deployed.")
@timeout_option(None, "How long --when-safe waits; for ever by default.")
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    what: tuple[str, ...],
    on_conflict: str,
    redeploy: bool,
    when_safe: bool,
    let_delete: tuple[str, ...],
    keep_operation: tuple[str, ...],
    timeout: float | None,
) -> int:
    r"""Put the saved originals back: all open entries, or those named by entry id or application.

    A version that git owns is not written back: git must agree with what is deployed first, and
    then nothing moves at all. While git still asks for what broke, undo refuses.

    A freeze thaws only by its entry's id, in steps that look: what is being deleted is settled
    first, nothing is synced before you have seen what would be.

    \b
    Examples:
      kubectl argo-rescue undo
      kubectl argo-rescue undo 7f3a1c --dry-run=client
      kubectl argo-rescue undo traefik
      kubectl argo-rescue undo --when-safe --timeout 30m
    """
    if redeploy and when_safe:
        raise UsageError("--redeploy and --when-safe contradict each other", "say one of them")
    # lazy: kubectl, started by now, takes as long to get ready
    from ...plan.undo import Options
    from .answer import answer

    options = Options(OnConflict(on_conflict), redeploy, when_safe, timeout, _names(let_delete))
    return answer(common, writing, what, options, _names(keep_operation))


def _names(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for word in words for name in word.split(",") if name)
