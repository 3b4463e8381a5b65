"""`log`: what was done, by whom, and what of it still stands; `log prune` for what is long closed."""

from __future__ import annotations

import click

from ...act.options import Common
from ...cli.flags import Duration, Verb, common_options, contexts_option
from ...model.errors import UsageError

PRUNE = "prune"


@click.command("log", cls=Verb)
@click.argument("word", required=False, default="", metavar="[APP|prune]", shell_complete=lambda *_: [PRUNE])
@click.option("--open", "only_open", is_flag=True, help="Only what still stands or may stand.")
@click.option(
    "--expired", "only_expired", is_flag=True, help="Only what is past its --expires and still in effect."
)
@click.option(
    "--exit-code",
    "tell_by_code",
    is_flag=True,
    help="End with 4 where any entry is listed, for cron and scripts.",
)
@click.option(
    "--older-than", type=Duration(), default=None, metavar="DURATION",
    help="With prune: delete closed entries in which nothing happened for so long, such as 90d.",
)  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="With prune: do not ask.")
@click.option(
    "--dry-run", type=click.Choice(["none", "client"]), default="none", is_flag=False, flag_value="client",
    help="With prune: only say what would be deleted.",
)  # fmt: skip
@contexts_option
@common_options
def command(
    common: Common,
    word: str,
    only_open: bool,
    only_expired: bool,
    tell_by_code: bool,
    older_than: float | None,
    yes: bool,
    dry_run: str,
    contexts: str,
) -> int:
    r"""List what was done, by whom and what still stands, newest first.

    With APP only what was done about that application. Both homes of the journal are read, the files on this machine and the ConfigMaps beside Argo CD,
    so entries of colleagues are here as well. What a command left in doubt is settled by looking at
    the cluster. `log prune` deletes closed entries from both homes, never open or doubtful ones.

    \b
    Examples:
      kubectl argo-rescue log
      kubectl argo-rescue log traefik
      kubectl argo-rescue log --open -o name
      kubectl argo-rescue log --open --contexts all
      kubectl argo-rescue log --open --expired --exit-code
      kubectl argo-rescue log prune --older-than 90d
    """
    prune = word == PRUNE
    if prune and not (older_than and older_than > 0):
        raise UsageError("log prune needs an age", "say it: kubectl argo-rescue log prune --older-than 90d")
    if not prune and (older_than is not None or yes or dry_run != "none"):
        raise UsageError(
            "--older-than, --yes and --dry-run go with prune", "see kubectl argo-rescue log --help"
        )
    if prune and contexts:
        raise UsageError("log prune writes, and takes one context", "name it with --context")
    if prune and (only_open or only_expired or tell_by_code):
        raise UsageError("--open, --expired and --exit-code do not go with prune", "leave them out")
    if contexts and tell_by_code:
        raise UsageError("--exit-code tells of one context", "name it with --context")
    from . import answer  # lazy: not for --help

    which = answer.Which(word, is_open=only_open, is_expired=only_expired)
    if contexts:
        from ...act.many_contexts import answer as ask_all  # lazy: as above
        from ...show.contexts import log_rows

        return ask_all(common, "log", contexts, lambda c: answer.answer(c, which), log_rows)
    if older_than is not None:
        return answer.prune(common, older_than, yes=yes, dry_run=dry_run != "none")
    return answer.answer(common, which, tell_by_code=tell_by_code)
