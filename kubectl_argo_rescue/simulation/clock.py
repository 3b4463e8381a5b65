"""A clock that moves only when told, for the simulated world and for tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


class SteppedClock:
    """Callable as a clock; `advance` is the only thing that makes time pass."""

    def __init__(self, start: datetime = datetime(2026, 11, 27, 16, 0, tzinfo=timezone.utc)) -> None:
        """Start on a Friday afternoon, when such things happen."""
        self.now = start

    def __call__(self) -> datetime:
        """The time, aware and in UTC."""
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Let time pass; may serve as a `sleep`."""
        self.now += timedelta(seconds=seconds)
        return self.now
