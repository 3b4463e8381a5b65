"""The API server's time, told from the Date of its answers.

Sync windows open and shut by the clock of Argo CD, and a laptop may be hours wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final

WORTH_SAYING: Final = timedelta(minutes=1)
_SECOND: Final = timedelta(seconds=1)
_ZERO: Final = timedelta(0)


class ServerClock:
    """This machine's clock, put right by what the server says; until it says something, as it is."""

    def __init__(self, own: Callable[[], datetime]) -> None:
        """Start from this machine's own clock."""
        self._own = own
        # How far the server is ahead: at least, at most. Threads may overwrite each other's; the next answer mends it.
        self._bounds: tuple[timedelta, timedelta] | None = None

    def now(self) -> datetime:
        """Return the time, by the server's clock where it is known."""
        return self._own() + self.ahead

    def heard(self, date: str, seconds: float) -> None:
        """Take note of the Date of an answer that took some seconds to come."""
        from email.utils import parsedate_to_datetime  # lazy: not for --help

        try:
            said = parsedate_to_datetime(date)
        except ValueError:
            return
        if said.tzinfo is None:
            said = said.replace(tzinfo=timezone.utc)
        # It was written in whole seconds, at some time between our asking and its coming.
        own = self._own()
        low, high = said - own, said + _SECOND - own + timedelta(seconds=seconds)
        if self._bounds is not None:
            tighter = max(low, self._bounds[0]), min(high, self._bounds[1])
            # They exclude each other where a clock was set meanwhile: the newest counts.
            low, high = tighter if tighter[0] <= tighter[1] else (low, high)
        self._bounds = low, high

    @property
    def ahead(self) -> timedelta:
        """How far the server's clock is ahead of this machine's at least; below zero where it is behind."""
        low, high = self._bounds or (_ZERO, _ZERO)
        return max(low, _ZERO) + min(high, _ZERO)
