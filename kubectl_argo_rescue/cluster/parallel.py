"""Several requests side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, TypeVar

from ..model.values import JSON

T = TypeVar("T")

MAX_AT_ONCE: Final = 12
"""Requests that are under way together, watches left out."""


class Done(NamedTuple):
    """One of several thunks went well."""

    value: JSON


class Failed(NamedTuple):
    """One of several thunks raised."""

    error: Exception


Attempt: TypeAlias = Done | Failed

Attempts: TypeAlias = list[Attempt]


def gather(*thunks: Callable[[], T]) -> list[T]:
    """Run thunks side by side and give their results in order; raises the first error in order."""
    results: list[T] = []
    for outcome in gather_outcomes(*thunks):
        if isinstance(outcome, Failed):
            raise outcome.error
        results.append(outcome.value)
    return results


def gather_outcomes(*thunks: Callable[[], JSON]) -> list[Attempt]:
    """Run thunks side by side and give each one's value or error, in order.

    The threads are daemons: after Ctrl-C nothing waits for requests that nobody wants any more.
    """
    outcomes: list[Attempt | None] = [None] * len(thunks)
    waiting = iter(enumerate(thunks))
    lock = threading.Lock()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                index, thunk = next(waiting, (-1, None))
            if thunk is None:
                return
            outcomes[index] = _outcome(thunk)

    if len(thunks) < 2:
        return [_outcome(thunk) for thunk in thunks]
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(MAX_AT_ONCE, len(thunks)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stopped.set()
    return [outcome for outcome in outcomes if outcome is not None]


def _outcome(thunk: Callable[[], JSON]) -> Attempt:
    try:
        return Done(thunk())
    except Exception as error:
        return Failed(error)
