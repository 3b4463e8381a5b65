"""Asks several clusters the same question side by side, and gives each answer as it comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ..model.errors import Code, ExitStatus, RescueError, UsageError
from ..model.text import plain
from ..model.values import JSON, Result
from ..show.contexts import Row, header, laid_out
from ..show.printer import Printer, standard_streams
from ..show.steps import STATUS_WORDS
from .options import Common

ALL: Final = "all"
AT_ONCE: Final = 8
PATIENCE_SECONDS: Final = 10.0
"""How long one cluster of several may take for a request, where the user has not said."""

NAMED_AFTER_SECONDS: Final = 5.0
"""After this time the ones that are still waited for are named."""


class Answer(NamedTuple):
    """What one cluster said, or why it said nothing."""

    context: str
    result: Result | None
    error: RescueError | None = None


def names_of(common: Common, text: str) -> list[str]:
    """Read `--contexts`: names with commas between, or `all`. Raises UsageError."""
    if common.connection.context:
        raise UsageError("--context and --contexts are both given", "leave one of them out")
    there = [c.name for c in common.world.contexts(common.connection, common.world.environ)]
    if text == ALL:
        if not there:
            raise UsageError("the kubeconfig has no contexts", "see kubectl config get-contexts")
        return there
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    if not names:
        raise UsageError("--contexts names none", "say a,b,c or all")
    if missing := [name for name in names if name not in there]:
        raise UsageError(
            f"the kubeconfig has no context {', '.join(missing)}", f"it has {', '.join(there) or 'none'}"
        )
    return names


def ask_each(
    common: Common, names: Sequence[str], ask: Callable[[Common], int], say: Callable[[str], None]
) -> Iterator[Answer]:
    """Run a verb's reading against each context; yields the answers in the order in which they come."""
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def work() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            answers.put(_asked(common, name, ask))

    for _ in range(min(AT_ONCE, len(names))):
        threading.Thread(target=work, daemon=True).start()
    left = dict.fromkeys(names)
    while left:
        try:
            answer = answers.get(timeout=NAMED_AFTER_SECONDS)
        except queue.Empty:
            say(f"waiting for {', '.join(left)} …")
            answer = answers.get()
        del left[answer.context]
        yield answer


def _asked(common: Common, name: str, ask: Callable[[Common], int]) -> Answer:
    heard: list[Result] = []
    connection = common.connection._replace(context=name)
    if connection.request_timeout is None:
        connection = connection._replace(request_timeout=PATIENCE_SECONDS)
    try:
        ask(common._replace(connection=connection, output="json", hear=heard.append))
    except RescueError as e:
        return Answer(name, None, e)
    except Exception as e:  # one cluster's trouble is not the others'
        return Answer(name, None, RescueError(f"internal error: {type(e).__name__}: {e}", code=Code.INTERNAL))
    return Answer(name, heard[-1])


def answer(
    common: Common, verb: str, text: str, ask: Callable[[Common], int], rows: Callable[[Result], list[Row]]
) -> int:
    """Tell what each context says, as one table or one document; the exit code is 4 where some say nothing."""
    if common.output == "name":
        raise UsageError("-o name has no place for contexts", "use -o json")
    names = names_of(common, text)
    printer = Printer(standard_streams(), common.output)
    width = max(map(len, (*names, "CONTEXT")))
    if printer.form == "human":
        printer.line(header(verb, width))
    data: dict[str, JSON] = {}
    failed: list[str] = []
    for found in ask_each(common, names, ask, printer.say):
        if found.result is None:
            failed.append(f"{found.context}: {plain(str(found.error))}")
            data[found.context] = {"error": str(found.error), "data": None, "warnings": []}
            printer.warn(failed[-1])
        else:
            result = found.result
            data[found.context] = {
                "error": None,
                "data": dict(result.data),
                "warnings": list(result.warnings),
            }
        if printer.form == "human":
            for line in laid_out(verb, width, found.context, rows(found.result) if found.result else None):
                printer.line(line)
    status = ExitStatus.OK
    if failed:
        status = ExitStatus.ERROR if len(failed) == len(names) else ExitStatus.PARTIAL
    printer.result(
        Result(
            verb,
            warnings=tuple(failed),
            data={"contexts": data},
            exit_status=status,
            status=STATUS_WORDS[status],
        )
    )
    return status
