"""`watch`: operation, sync, health and each workload's rollout, to a proven result."""

from __future__ import annotations

import click

from ..act.options import Common
from ..cli.flags import Verb, common_options, destination_option, timeout_option

PROMOTE = "promote it once you have looked at it: kubectl argo rollouts promote NAME"


@click.command("watch", cls=Verb)
@click.argument("app", metavar="APP")
@timeout_option("10m", "How long to wait; 0 is for ever.")
@destination_option
@common_options
def command(common: Common, app: str, timeout: float | None, destination_context: str) -> int:
    r"""Watch an application until it is synced and healthy, or has failed.

    It ends well only when what this tool ordered last was compared and synced, the application is
    healthy and the current generation of each of its workloads is available. Where they are in
    another cluster, the context of the kubeconfig that leads there is used.

    \b
    Examples:
      kubectl argo-rescue watch traefik
      kubectl argo-rescue watch traefik --timeout 2m -o json
    """
    # lazy: not for --help
    from msgspec.structs import replace

    from ..act.session import Invocation
    from ..act.watch import ending_data, expected, place_of, remember, run
    from ..argocd.operation import operation
    from ..model.text import COMMAND, display_name
    from ..model.values import Result
    from ..show.steps import STATUS_WORDS

    with Invocation(common) as call:
        session = call.read([app])
        key = session.target
        session.header()
        expectation = expected(key, session.journal.read().entries)
        last = operation(session.reader.objects[key]).own_id
        if expectation.rollback and last != expectation.order_id:
            # Something came after it already: what the spec asks for is what counts again.
            expectation = replace(expectation, order_id="", rollback=False)
        name = display_name(key, session.reading.snapshot.argocd)
        # What nobody went back to is not for us to go on with: its last good version may be another.
        go_on = f"{COMMAND} rescue {name} --full" if expectation.changes else PROMOTE
        place = place_of(session, key, destination_context)
        ending = run(session, expectation, timeout, place=place, is_only_looking=True, go_on=go_on)
        remember(session, key, ending, rollback=expectation.rollback)
        result = Result(
            "watch", data=ending_data(ending), exit_status=ending.status, status=STATUS_WORDS[ending.status],
            warnings=() if not ending.status else (ending.message,),
        )  # fmt: skip
        return call.finish(result)
