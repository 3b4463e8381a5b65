"""Durations as Go reads them and as kubectl prints them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

SECOND: Final = 1_000_000_000
"""Nanoseconds; Go counts a duration in these, as an int64."""

MAX: Final = (1 << 63) - 1
"""The longest duration that Go can hold, about 292 years."""

_LIMIT: Final = MAX + 1  # of the absolute value, which Go keeps in an uint64: -1 << 63 is a duration

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = r"([0-9]*)(?:(\.)([0-9]*))?([^.0-9]*)"


class DurationError(ValueError):
    """No duration; the text is Go's own, as Argo CD puts it into its messages."""


def parse(text: str) -> int:
    """Read a duration exactly as Go does, for a sync window's `duration`.

    Args:
        text: such as `1h30m`, `-1.5h`, `300ms`; days are no unit of Go's.

    Returns:
        Nanoseconds, which may be negative.

    Raises:
        DurationError: Go would refuse it, on overflow as well.

    Go: time/format.go ParseDuration
    """
    rest = text[1:] if text[:1] in ("-", "+") else text
    sign = -1 if text[:1] == "-" else 1
    if rest == "0":
        return 0
    if not rest:
        raise DurationError(f"time: invalid duration {_quote(text)}")
    total = 0
    while rest:
        part = re.match(_PART, rest)
        assert part  # every piece of the pattern may be empty
        whole, point, fraction, unit = part[1], part[2], part[3] or "", part[4]
        if not whole and not (point and fraction):
            raise DurationError(f"time: invalid duration {_quote(text)}")
        if int(whole or "0") > _LIMIT:
            raise DurationError(f"time: invalid duration {_quote(text)}")
        if not unit:
            raise DurationError(f"time: missing unit in duration {_quote(text)}")
        if unit not in _UNITS:
            raise DurationError(f"time: unknown unit {_quote(unit)} in duration {_quote(text)}")
        value = int(whole or "0") * _UNITS[unit] + _fraction(fraction, _UNITS[unit])
        total = (total + value) % (1 << 64)
        if value > _LIMIT or total > _LIMIT:
            raise DurationError(f"time: invalid duration {_quote(text)}")
        rest = rest[part.end() :]
    if sign > 0 and total > MAX:
        raise DurationError(f"time: invalid duration {_quote(text)}")
    return sign * total


def _fraction(digits: str, unit: int) -> int:
    """Give the nanoseconds of `.digits` units; digits beyond an int64 are dropped, then float64 rounds."""
    value, scale = 0, 1.0
    for digit in digits:
        if value > MAX // 10 or value * 10 + int(digit) > _LIMIT:
            break
        value = value * 10 + int(digit)
        scale *= 10
    return int(float(value) * (unit / scale))


def _quote(text: str) -> str:
    """Quote as Go's package time does (time/format.go quote): bytes outside of ASCII as `\\xNN`."""
    out = []
    for char in text:
        if char < " " or char > "\x7f":
            out += [f"\\x{byte:02x}" for byte in char.encode(errors="replace")]
        else:
            out.append(f"\\{char}" if char in '"\\' else char)
    return '"' + "".join(out) + '"'


def parse_span(text: str) -> timedelta:
    """Read a span that a user gives to a flag, such as `--timeout`: Go's units, and `d` for 24 h.

    Args:
        text: such as `90s`, `5m`, `1h30m`, `2d`; a bare number is seconds, as in kubectl's
            `--request-timeout`.

    Returns:
        The span; negative ones are for the caller to refuse.

    Raises:
        DurationError: it is no span.
    """
    if re.fullmatch(r"[0-9]{1,9}", text):
        return timedelta(seconds=int(text))
    days = re.match(r"([0-9]{1,6})d(?=[0-9]|$)", text)
    nanoseconds = parse(text[days.end() :] or "0") if days else parse(text)
    return timedelta(days=int(days[1]) if days else 0, microseconds=nanoseconds // 1000)


def human(span: timedelta) -> str:
    """Print an age or a span as kubectl does: two units where they tell something, `5d3h`.

    Args:
        span: less than two seconds below zero counts as now, since clocks differ.

    Returns:
        Such as `90s`, `7m30s`, `3h5m`, `47h`, `5d3h`, `2y10d`; `<invalid>` for the future.

    Kubernetes: apimachinery pkg/util/duration/duration.go HumanDuration
    """
    seconds = int(span.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def ago(span: timedelta) -> str:
    """Say how long ago something was, also where the clock that noted it is ahead of the one that tells now."""
    text = human(span)
    return f"{human(-span)} in the future" if text == "<invalid>" else f"{text} ago"


def _two(high: int, high_unit: str, low: int, low_unit: str) -> str:
    return f"{high}{high_unit}{low}{low_unit}" if low else f"{high}{high_unit}"
