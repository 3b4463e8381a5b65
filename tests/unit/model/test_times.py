"""Durations.

Covered: Go's syntax and its complaints word for word, overflow at both ends, fractions, round trip;
a user's spans with days; kubectl's way to print an age, at each border.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_argo_rescue.model.times import MAX, SECOND, DurationError, human, parse, parse_span

HOUR = 3600 * SECOND


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("1h", HOUR),
        ("+1h", HOUR),
        ("-1.5h", -HOUR * 3 // 2),
        ("1h30m", HOUR * 3 // 2),
        ("1m1m", 120 * SECOND),
        ("90s", 90 * SECOND),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("300ms", 300_000_000),
        ("1us1µs1μs", 3_000),
        ("1ns", 1),
        ("0.3333333333333333333h", 1_200_000_000_000),
        ("0.9223372036854775807s", 922337203),
        ("0.99999999999999999999s", SECOND),
        ("9223372036854775807ns", MAX),
        ("-9223372036854775808ns", -MAX - 1),
        ("2562047h47m16.854775807s", MAX),
        # Two halves of an uint64: Go's sum wraps to nothing.
        ("-9223372036854775808ns9223372036854775808ns", 0),
    ],
)
def test_go_duration(text: str, nanoseconds: int) -> None:
    assert parse(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("3", 'time: missing unit in duration "3"'),
        ("1.", 'time: missing unit in duration "1."'),
        ("3a", 'time: unknown unit "a" in duration "3a"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1h 30m", 'time: unknown unit "h " in duration "1h 30m"'),
        ("1H", 'time: unknown unit "H" in duration "1H"'),
        ("h", 'time: invalid duration "h"'),
        (".h", 'time: invalid duration ".h"'),
        (" 1h", 'time: invalid duration " 1h"'),
        ("--1h", 'time: invalid duration "--1h"'),
        ("٣h", r'time: invalid duration "\xd9\xa3h"'),
        ('1"', r'time: unknown unit "\"" in duration "1\""'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("9223372036854775809ns", 'time: invalid duration "9223372036854775809ns"'),
        ("-9223372036854775809", 'time: invalid duration "-9223372036854775809"'),
        ("2562048h", 'time: invalid duration "2562048h"'),
        ("2562047h1h", 'time: invalid duration "2562047h1h"'),
    ],
)
def test_go_complaint(text: str, message: str) -> None:
    with pytest.raises(DurationError) as error:
        parse(text)
    assert str(error.value) == message


@given(st.integers(0, MAX // HOUR), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999_999))
def test_parts_add_up(hours: int, minutes: int, seconds: int, nanoseconds: int) -> None:
    total = hours * HOUR + minutes * 60 * SECOND + seconds * SECOND + nanoseconds
    text = f"{hours}h{minutes}m{seconds}s{nanoseconds}ns"
    if total <= MAX:
        assert parse(text) == total
    assert parse(f"-{text}") == -total if total <= MAX + 1 else True


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90", timedelta(seconds=90)),
        ("0", timedelta(0)),
        ("5m", timedelta(minutes=5)),
        ("2d", timedelta(days=2)),
        ("1d12h", timedelta(hours=36)),
        ("-1m", timedelta(minutes=-1)),
        ("1.5s", timedelta(milliseconds=1500)),
    ],
)
def test_span_of_a_flag(text: str, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "soon", "d", "1d-1h", "1d 1h", "1h1d", "1.5d", "1w"])
def test_no_span(text: str) -> None:
    with pytest.raises(DurationError):
        parse_span(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1.9, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (123, "2m3s"),
        (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11100, "3h5m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (5 * 86400 + 3 * 3600, "5d3h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (740 * 86400, "2y10d"),
        (8 * 365 * 86400, "8y"),
        (20 * 365 * 86400 + 86400, "20y"),
    ],
)
def test_human(seconds: float, text: str) -> None:
    assert human(timedelta(seconds=seconds)) == text
