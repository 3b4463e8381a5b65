"""`drill`: a practice incident on this machine."""

from __future__ import annotations

import sys

import click

from ..act.options import Common
from ..cli import root
from ..cli.flags import Verb, common_options
from ..model.errors import ExitStatus, UsageError


def _scenarios(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    from ..drill.scenarios import SCENARIOS  # lazy: not for --help

    return [name for name in SCENARIOS if name.startswith(typed)]


@click.command("drill", cls=Verb)
@click.argument("scenario", metavar="[SCENARIO]", default="ingress", shell_complete=_scenarios)
@click.option("--list", "is_list", is_flag=True, help="List the scenarios.")
@click.option(
    "--play", "is_played", is_flag=True, help="Play a solution through; also what happens without a terminal."
)
@common_options
def command(common: Common, scenario: str, is_list: bool, is_played: bool) -> int:
    r"""Practise an incident: a simulated cluster with Argo CD, in this process.

    No cluster is needed and none is touched. At the prompt the verbs work as ever; `help` there says
    what else does. At the end a verdict: exit code 0 where it was passed, else 1.

    \b
    Examples:
      kubectl argo-rescue drill
      kubectl argo-rescue drill --list
      kubectl argo-rescue drill friday
      kubectl argo-rescue drill hand-back --play
    """
    if common.output != "human":
        raise UsageError("drill is a play for a person, and has no -o", "leave it out")
    from ..drill.game import Plugin, listing, run  # lazy: not for --help
    from ..drill.scenarios import SCENARIOS
    from ..drill.stage import refuse_connection_flags

    refuse_connection_flags(common.connection)
    if is_list:
        sys.stdout.write(f"{listing()}\n")
        return ExitStatus.OK
    if scenario not in SCENARIOS:
        raise UsageError(f"there is no scenario {scenario!r}", f"there are {', '.join(SCENARIOS)}")
    is_passed = run(SCENARIOS[scenario], Plugin(root.run, tuple(root.VERBS)), is_played=is_played)
    return ExitStatus.OK if is_passed else ExitStatus.ERROR
