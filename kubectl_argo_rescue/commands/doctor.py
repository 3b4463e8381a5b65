"""`doctor`: whether a rescue would work from here, asked before it is needed."""

from __future__ import annotations

import click

from ..act.options import Common
from ..cli.flags import Verb, common_options
from ..model.errors import ExitStatus, RescueError


@click.command("doctor", cls=Verb)
@click.option(
    "--destination-context", "contexts", multiple=True, metavar="NAME",
    help="Try the cluster behind this context as well; may be given several times.",
)  # fmt: skip
@common_options
def command(common: Common, contexts: tuple[str, ...]) -> int:
    r"""Say whether a rescue would work from here, and what to fix.

    Looks at kubectl, the context, Argo CD, your rights for each verb, the journal, the clock, the
    contexts for other clusters of Argo CD and at completion. Nothing is changed: rights are asked for
    by SelfSubjectAccessReview, the journal by a dry run. Ends with 0 where a rescue would work, else
    with 1.

    \b
    Examples:
      kubectl argo-rescue doctor
      kubectl argo-rescue doctor --as=alice --as-group=on-call
      kubectl argo-rescue doctor -o json
    """
    # lazy: not for --help
    from ..act.doctor import Checkup, check_up, checks_of_machine
    from ..act.session import Invocation
    from ..model.text import Paragraph
    from ..model.values import Result
    from ..show.checkup import Check, Finding, checks_json, is_able, lines, verdict
    from ..show.printer import Printer, standard_streams
    from ..show.steps import STATUS_WORDS

    printer = Printer(standard_streams(), common.output)
    checks = list(checks_of_machine(common.world.environ))
    try:
        with Invocation(common) as call:
            found = check_up(call, contexts)
    except RescueError as e:
        found = Checkup([Check("connection", Finding.BROKEN, e.message, e.hint)], {})
    checks = [*found.checks, *checks]
    status = ExitStatus.OK if is_able(checks) else ExitStatus.ERROR
    if printer.form == "human":
        for line in lines(checks, printer.width):
            printer.spans(line)
        printer.line()
        printer.spans(Paragraph((verdict(checks),)))
    elif printer.form == "name":
        for check in checks:
            if check.finding is not Finding.FINE:
                printer.line(check.name)
    data = checks_json(checks, found.missing)
    printer.result(Result("doctor", data=data, exit_status=status, status=STATUS_WORDS[status]))
    return status
