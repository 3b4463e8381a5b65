"""`watch`: operation, sync, health and each workload's rollout, to a proven result."""

from __future__ import annotations

import click
from msgspec.structs import replace

from ..act.options import Common
from ..act.session import Invocation
from ..act.watch import ending_data, remember, run
from ..argocd.operation import operation
from ..argocd.progress import Expectation
from ..cli.flags import Verb, common_options, timeout_option
from ..journal.entry import Entry
from ..model.values import Key, OrderKind, Result, Role
from ..show.steps import STATUS_WORDS


@click.command("watch", cls=Verb)
@click.argument("app", metavar="APP")
@timeout_option("10m", "How long to wait; 0 is for ever.")
@common_options
def command(common: Common, app: str, timeout: float | None) -> int:
    r"""Watch an application until the truth is known.

    It ends well only when what this tool ordered last was compared and synced, the application is
    healthy and the current generation of each of its workloads is available.

    \b
    Examples:
      kubectl argo-rescue watch traefik
      kubectl argo-rescue watch traefik --timeout 2m -o json
    """
    with Invocation(common) as call:
        session = call.read([app])
        key = session.target
        session.header()
        expectation = expected(key, session.journal.read().entries)
        last = operation(session.reader.objects[key]).own_id
        if expectation.rollback and last != expectation.order_id:
            # Something came after it already: what the spec asks for is what counts again.
            expectation = replace(expectation, order_id="", rollback=False)
        ending = run(session, expectation, timeout)
        remember(session, key, ending, rollback=expectation.rollback)
        result = Result(
            "watch", data=ending_data(ending), exit_status=ending.status, status=STATUS_WORDS[ending.status],
            warnings=() if not ending.status else (ending.message,),
        )  # fmt: skip
        return call.finish(result)


def expected(key: Key, entries: tuple[Entry, ...]) -> Expectation:
    """Return what the newest open entries say must be seen: versions that stand, the last order."""
    changes = []
    order_id = ""
    rollback = False
    for entry in entries:
        for number, edit in entry.edits():
            if edit.ref.key == key and edit.role is Role.VERSION and entry.is_open:
                if entry.outcomes.get(number) == "applied":
                    changes = [c for i, c in enumerate(edit.changes) if (number, i) not in entry.settled]
                    order_id, rollback = "", False
        for number, order in entry.orders():
            if order.ref.key == key and entry.outcomes.get(number) == "applied":
                order_id, rollback = order.id, order.kind is OrderKind.ROLLBACK
    return Expectation(key, order_id, tuple(changes), rollback)
