"""Cron schedules as robfig/cron reads them.

Covered: every form of a field, complaints word for word, the rule of the two days, the five-year
search, `TZ=` prefixes with clock changes (values from robfig/cron itself), time zones by name.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_argo_rescue.argocd import cron
from kubectl_argo_rescue.model.errors import RescueError


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("spec", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("* * * * *", "2026-01-01T00:00:59.999999", "2026-01-01T00:01:00"),
        ("? ? ? ? ?", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("5/15 * * * *", "2026-01-01T00:06:00", "2026-01-01T00:20:00"),
        ("5/15 * * * *", "2026-01-01T00:50:00", "2026-01-01T01:05:00"),
        ("*/40 * * * *", "2026-01-01T00:40:00", "2026-01-01T01:00:00"),
        ("10-20/5,59 * * * *", "2026-01-01T00:20:00", "2026-01-01T00:59:00"),
        (",5,, * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("+5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("*-5 * * * *", "2026-01-01T00:05:00", "2026-01-01T00:06:00"),
        ("0 9-17 * * Mon-FRI", "2026-01-02T17:30:00", "2026-01-05T09:00:00"),
        ("0 0 1 jan,JUL *", "2026-01-02T00:00:00", "2026-07-01T00:00:00"),
        ("0 0 31 * *", "2026-02-01T00:00:00", "2026-03-31T00:00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 * 12 *", "2026-12-31T00:00:00", "2027-12-01T00:00:00"),
        # One day is restricted: both must fit. Both are: either. A step restricts, except by one.
        ("0 0 * * 1", "2026-03-01T12:00:00", "2026-03-02T00:00:00"),
        ("0 0 13 * 5", "2026-03-01T12:00:00", "2026-03-06T00:00:00"),
        ("0 0 */2 * 1", "2026-03-01T12:00:00", "2026-03-02T00:00:00"),
        ("0 0 */1 * 1", "2026-03-01T12:00:00", "2026-03-02T00:00:00"),
        ("0 0 1-31 * 1", "2026-03-02T12:00:00", "2026-03-03T00:00:00"),
        # Never, within five years.
        ("0 0 30 2 *", "2026-01-01T00:00:00", None),
        (", * * * *", "2026-01-01T00:00:00", None),
        ("0 0 , * ,", "2026-01-01T00:00:00", None),
        # New York's clock skips 02:30 on 8 March and shows 01:30 twice on 1 November.
        ("TZ=America/New_York 30 2 * * *", "2026-03-07T16:13:20", "2026-03-09T06:30:00"),
        ("TZ=America/New_York 30 1 * * *", "2026-11-01T05:30:00", "2026-11-01T06:30:00"),
        ("CRON_TZ=Europe/Paris 0 9 * * *", "2026-07-01T00:00:00", "2026-07-01T07:00:00"),
        ("TZ=UTC 0 9 * * *", "2026-07-01T00:00:00", "2026-07-01T09:00:00"),
        ("TZ= 0 9 * * *", "2026-07-01T00:00:00", "2026-07-01T09:00:00"),
        ("TZ=Asia/Kathmandu 0 0 * * *", "2026-07-01T00:00:00", "2026-07-01T18:15:00"),
        # Midnight of 4 November 2018 does not exist in Sao Paulo.
        ("TZ=America/Sao_Paulo 0 0 5 * *", "2018-11-03T12:00:00", "2018-11-05T02:00:00"),
    ],
)  # fmt: skip
def test_next(spec: str, after: str, expected: str | None) -> None:
    found = cron.parse(spec).next(at(after))
    assert found == (None if expected is None else at(expected))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "empty spec string"),
        ("@daily", "parser does not accept descriptors: @daily"),
        ("TZ=UTC @every 1h", "parser does not accept descriptors: @every 1h"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("0 * * * * *", "expected exactly 5 fields, found 6: [0 * * * * *]"),
        ("* *\x1c* * *", "expected exactly 5 fields, found 4: [* *\x1c* * *]"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * fri-mon", "beginning of range (5) beyond end of range (1): fri-mon"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("5- * * * *", 'failed to parse int from : strconv.Atoi: parsing "": invalid syntax'),
        ("1/-5 * * * *", "negative number (-5) not allowed: -5"),
        ("1_0 * * * *", 'failed to parse int from 1_0: strconv.Atoi: parsing "1_0": invalid syntax'),
        ("* * L * *", 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax'),
        ("* * * * 5#2", 'failed to parse int from 5#2: strconv.Atoi: parsing "5#2": invalid syntax'),
        ("9223372036854775808 * * * *", "failed to parse int from 9223372036854775808: strconv.Atoi: "
         'parsing "9223372036854775808": value out of range'),
        ("TZ=Nowhere/Here * * * * *", "provided bad location Nowhere/Here: unknown time zone Nowhere/Here"),
        ("TZ=../UTC * * * * *", "provided bad location ../UTC: time: invalid location name"),
        ("TZ=UTC", "no schedule after the time zone: TZ=UTC"),
    ],
)  # fmt: skip
def test_complaint(spec: str, message: str) -> None:
    with pytest.raises(cron.CronError) as error:
        cron.parse(spec)
    assert str(error.value) == message


FIELD = st.tuples(
    st.sets(st.integers(0, 59), min_size=1, max_size=4), st.sets(st.integers(0, 23), min_size=1)
)


@given(FIELD, st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)))
def test_next_is_the_first_that_fits(fields: tuple[set[int], set[int]], after: datetime) -> None:
    minutes, hours = fields
    schedule = cron.parse(f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *")
    probe = after.replace(second=0, microsecond=0, tzinfo=timezone.utc) + timedelta(minutes=1)
    while probe.minute not in minutes or probe.hour not in hours:
        probe += timedelta(minutes=1)
    assert schedule.next(after.replace(tzinfo=timezone.utc)) == probe


@pytest.mark.parametrize("name", ["", "UTC", "Local"])
def test_zone_that_is_utc(name: str) -> None:
    assert cron.zone(name) is cron.UTC


@pytest.mark.parametrize("name", ["Nope/Nope", "Europe", "../UTC", "/etc/localtime", "Europe\\Paris", "a\0b"])
def test_zone_that_go_does_not_find(name: str) -> None:
    assert cron.zone(name) is None


def test_zone_in_another_case_is_none_of_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "_IS_CASE_BLIND", True)
    monkeypatch.setattr("zoneinfo.ZoneInfo", lambda name: timezone.utc)
    assert cron.zone("europe/paris") is None
    assert cron.zone("Europe/Paris") is not None


def test_no_zones_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> None:
        raise LookupError(name)

    def nothing() -> Collection[str]:
        return set()

    monkeypatch.setattr("zoneinfo.ZoneInfo", not_found)
    monkeypatch.setattr("zoneinfo.available_timezones", nothing)
    with pytest.raises(RescueError, match="tzdata"):
        cron.zone("Europe/Paris")
