"""When the decision of sync windows changes next, within a bound of work. Pure.

A decision is a function of which windows are on, and a window is on in runs: the firings of its
schedule that lie within each other's duration. Here runs are computed, not walked through firing by
firing, and only those are looked at that can change the decision: while a deny stands in the way,
no allow matters, and while no allow is open, no deny.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from ..model.values import JSON
from . import cron, windows
from .windows import Window

HORIZON: Final = timedelta(days=366)
"""How far one looks ahead."""

BUDGET: Final = 1500
"""How many steps ahead are made for one answer: as many as two windows of every other minute, which
take turns, need for a day. One takes some microseconds for each window."""
PLENTY: Final = 1_000_000
"""After so many looks at windows, for all answers together, each further answer has LITTLE."""
LITTLE: Final = 50

# All times in here are microseconds since 1970, which Python adds and compares ten times as fast.
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=cron.UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 86_400 * _SECOND
_NEVER: Final = 1 << 62
_CENTURY: Final = 36_525 * _DAY
_LEAP: Final = 3_300
"""More days than between any two 29 February."""


class NextChange(Struct, frozen=True):
    """When a decision changes next."""

    at: datetime | None = None
    """In UTC; None where it does not change within the horizon, or it is not known when."""
    not_before: datetime | None = None
    """Where it is not known when: up to here it certainly does not change."""


class Foresight:
    """Answers from one instant on; windows that are alike share the work."""

    def __init__(self, now: datetime, *, horizon: timedelta = HORIZON) -> None:
        """Look ahead from `now`, which is aware, as far as `horizon`."""
        self._now = now
        self._begin = _micros(now)
        self._stop = _micros(now + horizon)
        self.looks = 0
        """How many stretches were looked at by now."""
        self._timelines: dict[tuple[str, str, str], _Timeline] = {}
        self._answers: dict[tuple[bool, frozenset[tuple[str, bool, _Timeline]], bool], NextChange] = {}

    def next_change(self, found: Iterable[Window], app: JSON, *, manual: bool) -> NextChange:
        """Find the next instant at which the decision about an app changes.

        Gaps of a single instant, as between two windows that touch, are no change.

        Args:
            found: the effective windows of the app's project.
            app: the Application.
            manual: which decision, as in `windows.judge_sync`.
        """
        return self.next_change_of(windows.matched(found, app), manual=manual)

    def next_change_of(self, matching: Sequence[Window], *, manual: bool) -> NextChange:
        """Find it for windows that are known to match the app."""
        if not matching or any(windows.parse_error(window) for window in matching):
            return NextChange()
        # Where none lets manual syncs pass, both kinds have one answer.
        manual = manual and any(window.manual_sync for window in matching)
        is_one_enough = windows.is_one_allow_enough(matching[0].version)
        parts = frozenset((w.kind, w.manual_sync, self._timeline(w)) for w in matching)
        question = (manual, parts, is_one_enough)
        if question not in self._answers:
            decision = _Decision(parts, manual, is_one_enough)
            before = decision.looks
            self._answers[question] = self._search(decision, BUDGET if self.looks < PLENTY else LITTLE)
            self.looks += decision.looks - before
        return self._answers[question]

    def _timeline(self, window: Window) -> _Timeline:
        key = (window.schedule, window.duration, window.time_zone)
        if key not in self._timelines:
            self._timelines[key] = _Timeline(window, self._now, self._begin, self._stop)
        return self._timelines[key]

    def _search(self, decision: _Decision, budget: int) -> NextChange:
        """Go from stretch to stretch until the decision is another one."""
        anchor = self._begin
        today, edge = decision.at(anchor)
        period = decision.period
        steps = 0
        while edge < self._stop:
            if period and edge >= anchor + period:
                # All of it comes again as it was, until a clock is put forward or back.
                anchor = decision.steady_until(anchor)
                edge = max(edge, anchor)
                if edge >= self._stop:
                    break
            elif period and (steady := decision.steady_until(anchor)) <= edge:
                anchor = steady
            if steps == budget:
                return NextChange(None, _time(edge))
            steps += 1
            at = edge
            can_sync, edge = decision.at(at)
            if can_sync != today:
                return NextChange(_time(at))
        return NextChange()


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


class _Decision:
    """The decision as a function of time, as `windows.judge_sync` makes it."""

    def __init__(
        self, parts: Iterable[tuple[str, bool, _Timeline]], manual: bool, is_one_enough: bool
    ) -> None:
        parts = list(parts)
        self._all = list({id(line): line for _, _, line in parts}.values())
        denies = [(is_manual, line) for kind, is_manual, line in parts if kind == "deny"]
        allows = [(is_manual, line) for kind, is_manual, line in parts if kind == "allow"]
        self._bars = [line for is_manual, line in denies if not (manual and is_manual)]
        # A deny that lets manual syncs pass overrules allows that are not open.
        self._openers = [line for is_manual, line in denies if manual and is_manual]
        barred = [line for is_manual, line in allows if not (manual and is_manual)]
        self._needs_opener = bool(barred)
        self._all_of = [] if is_one_enough else barred
        if is_one_enough:
            self._openers += [line for _, line in allows]

    def at(self, at: int) -> tuple[bool, int]:
        """Say whether a sync may start just after an instant, and until when that surely stays so."""
        is_barred, barred_until = _any(self._bars, at)
        if is_barred or not self._needs_opener:
            return not is_barred, barred_until
        is_open, open_until = _any(self._openers, at)
        if not is_open and self._all_of:
            is_open, until = _all(self._all_of, at)
            open_until = min(open_until, until)
        return is_open, min(barred_until, open_until) if is_open else open_until

    @property
    def looks(self) -> int:
        """How many stretches were looked at by now."""
        return sum(line.looks for line in self._all)

    @property
    def period(self) -> int:
        """After how long everything comes again; 0 where it does not."""
        periods = [line.period for line in self._all]
        return max(periods) if all(periods) else 0

    def steady_until(self, at: int) -> int:
        """Return until when no time zone changes its offset."""
        return min(line.steady_until(at) for line in self._all)


def _any(lines: Iterable[_Timeline], at: int) -> tuple[bool, int]:
    """Say whether one of them is on, and until when that surely stays so."""
    on, off = -1, _NEVER
    for line in lines:
        is_on, until = line.at(at)
        if is_on:
            on = max(on, until)
        else:
            off = min(off, until)
    return (True, on) if on >= 0 else (False, off)


def _all(lines: Iterable[_Timeline], at: int) -> tuple[bool, int]:
    """Say whether all of them are on, and until when that surely stays so."""
    on, off = _NEVER, -1
    for line in lines:
        is_on, until = line.at(at)
        if is_on:
            on = min(on, until)
        else:
            off = max(off, until)
    return (False, off) if off >= 0 else (True, on)


# -- one window


class _Stretch(NamedTuple):
    begin: int
    end: int
    is_on: bool


class _Runs(Protocol):
    """When a schedule and a duration are on, on a clock without a time zone."""

    period: int

    def at(self, local: int) -> tuple[bool, int]:
        """Say whether it is on just after an instant, and until when it surely stays as it is."""
        ...


class _Timeline:
    """When one window is on, in UTC, whatever its time zone does."""

    def __init__(self, window: Window, now: datetime, begin: int, stop: int) -> None:
        self.looks = 0
        self._segments = _segments(cron.zone(window.time_zone) or cron.UTC, begin, stop)
        self._ends = [end for _, end, _ in self._segments]
        self._runs = _runs(window, now, begin, stop)
        self.period = self._runs.period
        self._last = _Stretch(0, 0, False)

    def at(self, at: int) -> tuple[bool, int]:
        """Say whether the window is on just after an instant, and until when it surely stays so."""
        last = self._last
        if not last.begin <= at < last.end:
            self.looks += 1
            end, offset = self._segment(at)
            is_on, until = self._runs.at(at + offset)
            last = self._last = _Stretch(at, min(until - offset, end), is_on)
        return last.is_on, last.end

    def steady_until(self, at: int) -> int:
        """Return until when its time zone has the offset of an instant."""
        return self._segment(at)[0]

    def _segment(self, at: int) -> tuple[int, int]:
        _, end, offset = self._segments[min(bisect_right(self._ends, at), len(self._ends) - 1)]
        return end, offset


@lru_cache(maxsize=512)
def _segments(zone: tzinfo, begin: int, stop: int) -> list[tuple[int, int, int]]:
    """Cut a span where the UTC offset of a zone changes: (begin, end, offset); the last has no end."""
    if zone is cron.UTC:
        return [(begin, _NEVER, 0)]

    def offset_at(at: int) -> int:
        return (_time(at).astimezone(zone).utcoffset() or timedelta(0)) // _MICROSECOND

    found = []
    at, offset = begin, offset_at(begin)
    while at < stop:
        ahead = min(at + _DAY, stop)
        if offset_at(ahead) != offset:
            low, high = at, ahead
            while high - low > _SECOND:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_at(middle) == offset else (low, middle)
            change = high // _SECOND * _SECOND
            found.append((begin, change, offset))
            begin, offset = change, offset_at(ahead)
        at = ahead
    return [*found, (begin, _NEVER, offset)]


def _runs(window: Window, now: datetime, begin: int, stop: int) -> _Runs:
    schedule, nanoseconds = windows.parsed(window)
    duration = nanoseconds // 1000
    if not 0 < duration < _CENTURY or schedule.next(now - timedelta(microseconds=duration)) is None:
        # Durations that make Go's numbers run over, and schedules that never fire.
        return _Constant(windows.is_active(window, now))
    back = next((days for days in (3, 40, 400) if duration < (days - 2) * _DAY), _LEAP)
    days = begin // _DAY - back, stop // _DAY + 3
    if schedule.location is None:
        return _Pattern(schedule, duration, *days)
    return _Zoned(schedule, duration, *days)


class _Constant:
    """Always on, or never."""

    period = _DAY

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on

    def at(self, local: int) -> tuple[bool, int]:
        return self._is_on, _NEVER


class _Pattern:
    """A schedule that fires at the same minutes of each of its days."""

    def __init__(self, schedule: cron.Schedule, duration: int, first: int, last: int) -> None:
        self._days = _days(schedule.dom, schedule.month, schedule.dow, first, last)
        self._begins, self._ends = _blocks(schedule.minute, schedule.hour, duration)
        is_weekly = schedule.dom.is_star and len(schedule.month.values) == 12
        self.period = (_DAY if schedule.dow.is_star else 7 * _DAY) if is_weekly else 0
        # Where one block is all of a day, days may follow each other without a gap.
        self._reach = array("q", range(len(self._days) if len(self._begins) == 1 else 0))
        for i in reversed(range(len(self._reach) - 1)):
            if self._begin(i + 1) <= self._end(i):
                self._reach[i] = self._reach[i + 1]

    def _begin(self, i: int, j: int = 0) -> int:
        """The beginning of a day's block; there is no day after the last."""
        return self._days[i] * _DAY + self._begins[j] if i < len(self._days) else _NEVER

    def _end(self, i: int, j: int = 0) -> int:
        return self._days[i] * _DAY + self._ends[j]

    def at(self, local: int) -> tuple[bool, int]:
        day, since = divmod(local, _DAY)
        i = bisect_right(self._days, day) - 1
        newest = len(self._begins) - 1
        j = bisect_right(self._begins, since) - 1 if i >= 0 and self._days[i] == day else newest
        if j < 0:
            i, j = i - 1, newest
        if i < 0:
            return False, self._begin(0)
        if local >= self._end(i, j):
            return False, self._begin(i, j + 1) if j < newest else self._begin(i + 1)
        if not newest:
            i = self._reach[i]
        elif j == newest and self._begin(i + 1) <= self._end(i, j):
            i, j = i + 1, 0
        return True, self._end(i, j)


@lru_cache(maxsize=1024)
def _days(dom: cron.Field, month: cron.Field, dow: cron.Field, first: int, last: int) -> Sequence[int]:
    """List the days since 1970 that a schedule allows."""
    if dom.is_star and dow.is_star and len(month.values) == 12:
        return range(first, last + 1)
    epoch = date(1970, 1, 1).toordinal()
    return tuple(
        day
        for day in range(first, last + 1)
        if (at := date.fromordinal(epoch + day)).month in month.values and cron.is_day(dom, dow, at)
    )


@lru_cache(maxsize=1024)
def _blocks(minute: cron.Field, hour: cron.Field, duration: int) -> tuple[array[int], array[int]]:
    """Return beginnings and ends, within one day, of the firings that lie within each other's duration."""
    begins, ends = array("q"), array("q")
    for at in sorted((60 * h + m) * _MINUTE for h in hour.values for m in minute.values):
        if ends and at <= ends[-1]:
            ends[-1] = at + duration
        else:
            begins.append(at)
            ends.append(at + duration)
    return begins, ends


class _Zoned:
    """A schedule with a `TZ=` of its own: a pattern, but for the days around each change of its offset.

    There Go's arithmetic decides what fires, so the schedule itself is asked.
    """

    period = 0
    _MARGIN: Final = 2 * _DAY

    def __init__(self, schedule: cron.Schedule, duration: int, first: int, last: int) -> None:
        assert schedule.location is not None
        self._schedule = schedule
        self._duration = duration
        self._pattern = _Pattern(schedule, duration, first, last)
        self._segments = _segments(schedule.location, first * _DAY, last * _DAY)
        self._ends = [end for _, end, _ in self._segments]

    def at(self, local: int) -> tuple[bool, int]:
        begin, end, offset = self._segments[bisect_right(self._ends, local)]
        end -= self._MARGIN
        if begin + self._MARGIN <= local - self._duration and local < end:
            is_on, until = self._pattern.at(local + offset)
            return is_on, min(until - offset, end)
        for leap in (2 * _MINUTE, 61 * _MINUTE, _DAY + _MINUTE, self._duration):
            if leap > self._duration:
                continue
            starts = self._schedule.next(_time(local - leap))
            if starts is not None and (fires := _micros(starts)) <= local:
                return True, fires + self._duration  # the later it fired, the longer it lasts
        return (False, _micros(starts)) if starts is not None else (True, _NEVER)
