"""Cron schedules as Argo CD reads them: robfig/cron v3 with five fields and no descriptors.

Argo CD: pkg/apis/application/v1alpha1/types.go, `cron.NewParser(Minute|Hour|Dom|Month|Dow)`.
Every library for Python differs from it somewhere (`5/15`, `?`, weekday 7, `*/2` as a day, `TZ=`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Final

from msgspec import Struct

from ..model.errors import RescueError

UTC: Final = timezone.utc

_IS_CASE_BLIND = sys.platform in {"darwin", "win32"}
_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Go's unicode.IsSpace, for a character class; Python's `str.split` takes \x1c to \x1f as well."""


class CronError(ValueError):
    """No schedule; the text is robfig/cron's own, as Argo CD puts it into its messages."""


def zone(name: str) -> tzinfo | None:
    """Find a time zone as Go's time.LoadLocation does in Argo CD's image; None where it finds none.

    "Local" is the zone of Argo CD's pod, which nobody changes: UTC.

    Raises:
        RescueError: this machine has no time zones at all, so that nothing can be said.
    """
    if name in {"", "UTC", "Local"}:
        return UTC
    if _is_outside(name) or "\\" in name:
        return None
    from zoneinfo import ZoneInfo, available_timezones  # lazy: most windows are in UTC

    try:
        found = ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        # ValueError: malformed; OSError: a folder such as "Europe"; LookupError: not found.
        if not available_timezones():
            raise RescueError(
                f"sync window in time zone {name}: this machine has no time zone database",
                "install the Python package tzdata",
            ) from None
        return None
    # Linux knows no "europe/paris", but a disk of macOS or Windows would find it.
    return found if not _IS_CASE_BLIND or name in available_timezones() else None


def _is_outside(name: str) -> bool:
    return ".." in name or name.startswith(("/", "\\"))


class _Bounds(Struct, frozen=True):
    low: int
    high: int
    names: Mapping[str, int]


def _names(words: str, first: int) -> dict[str, int]:
    return {word: first + place for place, word in enumerate(words.split())}


_MINUTE = _Bounds(0, 59, {})
_HOUR = _Bounds(0, 23, {})
_DOM = _Bounds(1, 31, {})
_MONTH = _Bounds(1, 12, _names("jan feb mar apr may jun jul aug sep oct nov dec", 1))
_DOW = _Bounds(0, 6, _names("sun mon tue wed thu fri sat", 0))
_ALL: Final = (_MINUTE, _HOUR, _DOM, _MONTH, _DOW)


class Field(Struct, frozen=True):
    """The values that one field of a schedule allows; `is_star` where it was written `*`, `?` or `*/1`."""

    values: frozenset[int]
    is_star: bool


class Schedule(Struct, frozen=True):
    """A parsed schedule. `location` is the zone of its `TZ=` prefix, None without one."""

    minute: Field
    hour: Field
    dom: Field
    month: Field
    dow: Field
    location: tzinfo | None = None

    def next(self, after: datetime) -> datetime | None:
        """Find the first time this schedule fires after `after`, whole seconds, searching five years.

        Args:
            after: aware; without a `TZ=` prefix the schedule is read on this clock taken as UTC.

        Returns:
            The time in UTC, or None where robfig/cron answers with the zero time: never.

        robfig/cron: spec.go SpecSchedule.Next
        """
        if not (self.minute.values and self.hour.values and self.month.values):
            return None
        at = _Clock(after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1), self.location)
        limit = at.wall.year + 5
        state = _Search(self, at)
        while state.at.wall.year <= limit:
            if state.settle():
                return state.at.instant
        return None


def is_day(dom: Field, dow: Field, day: date) -> bool:
    """Say whether a day is allowed: one restricted field decides, two are either-or.

    robfig/cron: spec.go dayMatches
    """
    is_dom = day.day in dom.values
    is_dow = day.isoweekday() % 7 in dow.values
    return is_dom and is_dow if dom.is_star or dow.is_star else is_dom or is_dow


class _Clock:
    """An instant with its wall clock in a zone, with Go's arithmetic across daylight saving."""

    __slots__ = ("instant", "location", "wall")

    def __init__(self, instant: datetime, location: tzinfo | None) -> None:
        self.instant = instant
        self.location = location
        # The naive wall time; without a location the clock is UTC.
        self.wall = (instant.astimezone(location) if location else instant).replace(tzinfo=None)

    def plus(self, delta: timedelta) -> _Clock:
        return _Clock(self.instant + delta, self.location)

    def set(self, wall: datetime) -> _Clock:
        """Go: time.Date in a location, for times that a clock change skips or repeats as well."""
        guess = wall.replace(tzinfo=UTC)
        if self.location and (offset := _offset(guess, self.location)):
            guess -= _offset(guess - offset, self.location)
        return _Clock(guess, self.location)


def _offset(instant: datetime, location: tzinfo) -> timedelta:
    return instant.astimezone(location).utcoffset() or timedelta(0)


_SECOND, _MINUTES, _HOURS = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class _Search:
    """The walk of SpecSchedule.Next: from the month down, back to the month when one runs over."""

    __slots__ = ("at", "is_moved", "schedule")

    def __init__(self, schedule: Schedule, at: _Clock) -> None:
        self.schedule = schedule
        self.at = at
        self.is_moved = False

    def settle(self) -> bool:
        """Move on to the next fit; False where a field ran over and the walk starts again."""
        month, hour, minute = self.schedule.month, self.schedule.hour, self.schedule.minute
        while self.at.wall.month not in month.values:
            if not self.is_moved:
                self._start_of(lambda w: w.replace(day=1, hour=0, minute=0, second=0))
            self.at = self.at.set(_next_month(self.at.wall))
            if self.at.wall.month == 1:
                return False
        while not is_day(self.schedule.dom, self.schedule.dow, self.at.wall):
            if not self.is_moved:
                self._start_of(lambda w: w.replace(hour=0, minute=0, second=0))
            self.at = self.at.set(self.at.wall + timedelta(days=1))
            # Where midnight does not exist on that day the clock shows 23 or 1.
            if (shown := self.at.wall.hour) != 0:
                self.at = self.at.plus(timedelta(hours=24 - shown if shown > 12 else -shown))
            if self.at.wall.day == 1:
                return False
        while self.at.wall.hour not in hour.values:
            if not self.is_moved:
                self._start_of(lambda w: w.replace(minute=0, second=0))
            self.at = self.at.plus(_HOURS)
            if self.at.wall.hour == 0:
                return False
        while self.at.wall.minute not in minute.values:
            if not self.is_moved:
                self.is_moved = True
                self.at = _Clock(self.at.instant.replace(second=0), self.at.location)
            self.at = self.at.plus(_MINUTES)
            if self.at.wall.minute == 0:
                return False
        if self.at.wall.second != 0:
            self.is_moved = True
            self.at = self.at.plus(timedelta(seconds=60 - self.at.wall.second))
            return False
        return True

    def _start_of(self, cut: Callable[[datetime], datetime]) -> None:
        self.is_moved = True
        self.at = self.at.set(cut(self.at.wall))


def _next_month(wall: datetime) -> datetime:
    """Go: Time.AddDate(0, 1, 0), by which January 31 becomes March 3."""
    first = wall.replace(year=wall.year + wall.month // 12, month=wall.month % 12 + 1, day=1)
    return first + timedelta(days=wall.day - 1)


def parse(spec: str) -> Schedule:
    """Read a schedule exactly as Argo CD does.

    Args:
        spec: five fields, with or without a `TZ=Zone/Name ` or `CRON_TZ=Zone/Name ` in front.

    Raises:
        CronError: robfig/cron would refuse it; `@daily`, six fields, weekday 7 and `L` are refused.

    robfig/cron: parser.go Parser.Parse
    """
    if not spec:
        raise CronError("empty spec string")
    location: tzinfo | None = None
    if spec.startswith(("TZ=", "CRON_TZ=")):
        head, space, rest = spec.partition(" ")
        name = head.partition("=")[2]
        if not space:
            # robfig/cron panics here; Argo CD's controller recovers and the app is never reconciled.
            raise CronError(f"no schedule after the time zone: {spec}")
        found = zone(name)
        if found is None:
            why = "time: invalid location name" if _is_outside(name) else f"unknown time zone {name}"
            raise CronError(f"provided bad location {name}: {why}")
        location = None if found is UTC else found
        spec = rest.lstrip()
    if spec.startswith("@"):
        raise CronError(f"parser does not accept descriptors: {spec}")
    fields = [word for word in re.split(f"[{_SPACES}]+", spec) if word]
    if len(fields) != 5:
        raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minute, hour, dom, month, dow = (_field(text, bounds) for text, bounds in zip(fields, _ALL, strict=True))
    return Schedule(minute, hour, dom, month, dow, location)


def _field(text: str, bounds: _Bounds) -> Field:
    """Read a comma list; empty items are dropped, so that `,` is a field that never fits."""
    ranges = [_range(item, bounds) for item in text.split(",") if item]
    return Field(frozenset().union(*(values for values, _ in ranges)), any(is_star for _, is_star in ranges))


def _range(text: str, bounds: _Bounds) -> tuple[frozenset[int], bool]:
    """Read `5`, `1-5`, `*/2`, `5/15`. robfig/cron: parser.go getRange, in its order of complaints."""
    span, *steps = text.split("/")
    low, *highs = span.split("-")
    is_star = low in {"*", "?"}  # and whatever follows a hyphen is not looked at
    if is_star:
        start, end = bounds.low, bounds.high
    else:
        start = _number(low, bounds.names)
        if len(highs) > 1:
            raise CronError(f"too many hyphens: {text}")
        end = _number(highs[0], bounds.names) if highs else start
    if len(steps) > 1:
        raise CronError(f"too many slashes: {text}")
    step = _number(steps[0], {}) if steps else 1
    if steps and not highs:
        end = bounds.high
    if start < bounds.low:
        raise CronError(f"beginning of range ({start}) below minimum ({bounds.low}): {text}")
    if end > bounds.high:
        raise CronError(f"end of range ({end}) above maximum ({bounds.high}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return frozenset(range(start, end + 1, step)), is_star and step == 1


def _number(text: str, names: Mapping[str, int]) -> int:
    """Read a number or a name. robfig/cron: parser.go parseIntOrName, mustParseInt."""
    if (named := names.get(text.lower())) is not None:
        return named
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise CronError(
            f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": value out of range'
        )
    if number < 0:
        raise CronError(f"negative number ({number}) not allowed: {text}")
    return number
