"""Until when: the next change of a decision, found without walking from firing to firing.

Covered: the answer is that of a reference that counts every minute, also around changes of clocks,
schedules with a zone of their own, older versions; work has a bound, also for sets that once took
minutes; what is not known within it is said; windows that are alike are looked at once.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kubectl_argo_rescue.argocd import cron, foresight, windows
from kubectl_argo_rescue.argocd.foresight import BUDGET, LITTLE, Foresight, NextChange
from kubectl_argo_rescue.model.values import Version
from tests.unit.argocd.test_windows import DENY, NOON, app, at, items, read, window

SIZE = int(os.environ.get("ARGO_RESCUE_PROPERTY_SIZE", "0")) or settings.default.max_examples  # type: ignore[union-attr]

MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def until(
    found: Sequence[windows.Window], now: datetime, *, manual: bool = False, **limits: Any
) -> datetime | None:
    change = Foresight(now, **limits).next_change(found, app(), manual=manual)
    assert change.not_before is None
    return change.at


@pytest.mark.parametrize(
    ("items", "now", "expected"),
    [
        ([window("deny", schedule="0 10 * * *", duration="1h")], at(10, 30), at(11)),
        ([window("deny", schedule="0 10 * * *", duration="1h")], at(11, 30), at(10) + timedelta(days=1)),
        ([window("deny", schedule="0 10 * * *", duration="1h")], at(10), at(11)),
        # Touching and overlapping runs are one.
        ([window("deny", schedule="0 9-17 * * *", duration="1h")], at(10, 30), at(18)),
        ([window("deny", schedule="*/5 9-17 * * *", duration="1h")], at(10, 30), at(18, 55)),
        ([window("deny", schedule="0 0 * * *", duration="24h")], at(10), None),
        ([DENY], NOON, None),
        ([], NOON, None),
        ([window("deny", schedule="0 0 30 2 *")], NOON, None),
        ([window("deny", schedule=", * * * *")], NOON, None),
        ([window("deny", schedule="* * * * *", duration="0")], NOON, None),
        ([window("deny", schedule="* * * * *", duration="900000h")], NOON, None),
        ([window("deny", schedule="* * * 11 *", duration="1m")], NOON, datetime(2026, 12, 1, tzinfo=timezone.utc)),
        # Two windows that take turns.
        ([window("deny", schedule="0 10 * * *", duration="2h"),
          window("deny", schedule="30 11 * * *", duration="2h")], at(11), at(13, 30)),
        ([window("allow", schedule="0 10 * * *", duration="1h")], at(11, 30), at(10) + timedelta(days=1)),
        ([window("deny", schedule="0 10 * * *", duration="1h", manualSync=True)], at(9), at(10)),
        ([window("deny", schedule="0 0 1 12 *", duration="720h")], NOON, NOON.replace(month=12, day=1, hour=0)),
        # Days that lie within each other's duration.
        ([window("deny", schedule="0 22 * * 1-5", duration="30h")], NOON, datetime(2026, 11, 29, 4, tzinfo=timezone.utc)),
        ([window("deny", schedule="0 0 29 2 *", duration="24000h")], NOON, datetime(2026, 11, 25, tzinfo=timezone.utc)),
        # The clock of Paris goes back on 25 October 2026.
        ([window("deny", schedule="0 10 * * *", duration="1h", timeZone="Europe/Paris")],
         datetime(2026, 10, 24, 12, tzinfo=timezone.utc), datetime(2026, 10, 25, 9, tzinfo=timezone.utc)),
    ],
)  # fmt: skip
def test_until(items: list[dict[str, Any]], now: datetime, expected: datetime | None) -> None:
    assert until(read(*items), now) == expected


def test_until_for_manual_operations() -> None:
    found = read(window("deny", schedule="0 10 * * *", duration="1h", manualSync=True))
    assert until(found, at(9), manual=True) is None
    assert until(found, at(9), horizon=timedelta(minutes=30)) is None


def test_a_window_that_cannot_be_parsed() -> None:
    bad = read(window("deny", schedule="nonsense"), window("allow", schedule="0 10 * * *"))
    assert until(bad, NOON) is None


# -- the work has a bound


@pytest.fixture
def firings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that a schedule was asked when it fires next."""
    asked: list[str] = []
    real = cron.Schedule.next

    def next_of(schedule: cron.Schedule, after: datetime) -> datetime | None:
        asked.append("")
        return real(schedule, after)

    monkeypatch.setattr(cron.Schedule, "next", next_of)
    return asked


HOURLY = window("allow", schedule="0 * * * *", duration="30m")
PATHOLOGICAL = {
    "an hourly allow": [DENY, HOURLY],
    "a deny every five minutes": [DENY, window("deny", schedule="*/5 * * * *", duration="1m"), HOURLY],
    "a deny that fires before it ends": [window("deny", schedule="*/5 * * * *", duration="5m"), HOURLY],
    "working days": [window("deny", schedule="* * * * 1-5", duration="96h"), HOURLY],
    "months": [window("deny", schedule="*/7 */2 * */2 *", duration="1000h"), HOURLY],
    "a zone": [window("deny", timeZone="Europe/Paris"), HOURLY],
    "never open at once": [window("deny", schedule="0 * * * *", duration="40m"), HOURLY],
    "every other minute": [
        window("deny", schedule="*/2 * * * *", duration="61s"),
        window("allow", schedule="*/2 * * * *", duration="31s"),
    ],
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_no_change_is_found_without_walking(name: str, firings: list[str]) -> None:
    ahead = Foresight(NOON)
    found = read(*PATHOLOGICAL[name])
    assert ahead.next_change(found, app(), manual=False) == NextChange()
    # One question a window, whether it fires at all.
    assert len(firings) == len(found)
    assert ahead.looks <= (3000 if name == "every other minute" else 250)


def test_edges_that_cannot_change_the_decision_are_not_looked_at() -> None:
    ahead = Foresight(NOON)
    ahead.next_change(
        read(DENY, HOURLY, window("deny", schedule="*/5 * * * *", duration="1m")), app(), manual=False
    )
    assert ahead.looks == 2


def test_a_schedule_with_a_zone_is_walked_only_where_its_clock_changes(firings: list[str]) -> None:
    zoned = window("deny", schedule="TZ=Europe/Paris * * * * *")
    ahead = Foresight(NOON)
    assert ahead.next_change(read(zoned, HOURLY), app(), manual=False) == NextChange()
    assert len(firings) < 60


def test_what_is_not_known_within_the_budget_is_said() -> None:
    ever_so_often = [*PATHOLOGICAL["every other minute"], window("deny", schedule="0 0 1 * *", duration="1h")]
    ahead = Foresight(NOON)
    change = ahead.next_change(read(*ever_so_often), app(), manual=False)
    assert change.at is None
    assert change.not_before is not None
    assert change.not_before > NOON + timedelta(hours=12)
    assert ahead.looks <= len(ever_so_often) * (BUDGET + 1)


def test_all_answers_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresight, "PLENTY", 2 * BUDGET)
    ahead = Foresight(NOON)
    for n in range(100):
        found = read(
            window("deny", schedule="*/2 * * * *", duration=f"{60 + n}ms"),
            window("allow", schedule="1-59/2 * * * *", duration=f"{30 + n}ms"),
            window("deny", schedule=f"{n % 60} 0 1 * *", duration="1ms"),
        )
        ahead.next_change(found, app(), manual=False)
    assert ahead.looks <= 3 * (2 * BUDGET + 100 * (LITTLE + 1))


def test_windows_that_are_alike_are_looked_at_once() -> None:
    ahead = Foresight(NOON)
    first, again = (
        read(HOURLY, window("deny", schedule="0 22 * * *", duration="8h", description=text)) for text in "ab"
    )
    answer = ahead.next_change(first, app(), manual=False)
    looks = ahead.looks
    assert ahead.next_change(again, app("web"), manual=False) == answer
    assert ahead.looks == looks


# -- beside references that know no short cut

TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(timezone.utc))
FIELDS = (
    st.sampled_from(["*", "0", "30", "*/5", "*/2", "1-59/2", "7,8,50", "15-45"]),
    st.sampled_from(["*", "*", "9", "22", "8-17", "*/3", "0,23", "2"]),
    st.sampled_from(["*", "*", "*", "1", "28-31", "*/2", "13"]),
    st.sampled_from(["*", "*", "*", "nov", "*/2", "3,10"]),
    st.sampled_from(["*", "*", "*", "mon-fri", "6", "0,3", "*/2"]),
)
DURATIONS = st.sampled_from(
    ["1m", "30s", "2m", "90s", "30m", "1h", "8h", "23h59m", "24h", "49h", "740h", "0"]
)
ZONES = st.sampled_from(["", "", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
PREFIXES = st.sampled_from(
    ["", "", "", "", "TZ=Europe/Berlin ", "CRON_TZ=America/Sao_Paulo ", "TZ=America/Havana "]
)


@st.composite
def random_windows(draw: st.DrawFn, prefixes: st.SearchStrategy[str] = PREFIXES) -> dict[str, Any]:
    return window(
        draw(st.sampled_from(["deny", "allow"])),
        schedule=draw(prefixes) + " ".join(draw(field) for field in FIELDS),
        duration=draw(DURATIONS),
        timeZone=draw(ZONES),
        manualSync=draw(st.booleans()),
    )


@given(st.lists(items(), min_size=1, max_size=3), TIMES, st.booleans())
@settings(max_examples=SIZE // 2 or 1, deadline=None)
def test_until_is_the_first_change(found: list[dict[str, Any]], now: datetime, manual: bool) -> None:
    now = now.replace(microsecond=500)
    parsed = windows.matched(read(*found), app())
    assume(parsed)

    def can_sync(when: datetime) -> bool:
        return windows.judge_sync(parsed, app(), when, manual=manual).can_sync

    change = until(parsed, now, manual=manual, horizon=timedelta(days=2))
    for step in range(1, 2 * 24 * 12):
        probe = now + timedelta(minutes=5 * step)
        if change is not None and probe > change:
            break
        assert can_sync(probe) == can_sync(now)
    if change is not None:
        assert can_sync(change + TICK) != can_sync(now)


@given(
    st.lists(random_windows(), min_size=1, max_size=4),
    TIMES,
    st.booleans(),
    st.sampled_from([None, Version(2, 7, "v2.7.0")]),
)
@settings(max_examples=SIZE // 4 or 1, deadline=None)
def test_every_minute_is_as_argo_cd_judges_it(
    found: list[dict[str, Any]], now: datetime, manual: bool, version: Version | None
) -> None:
    parsed = read(*found, version=version)
    span = timedelta(hours=6)

    def can_sync(when: datetime) -> bool:
        return windows.judge_sync(parsed, app(), when + TICK, manual=manual).can_sync

    change = Foresight(now, horizon=span).next_change(parsed, app(), manual=manual)
    end = change.at or change.not_before or now + span
    # Whatever opens or shuts does so at a half of a minute, each of which is looked at.
    probe = now.replace(second=0, microsecond=0) + MINUTE / 2
    while probe < end:
        if probe > now:
            assert can_sync(probe) == can_sync(now), probe
        probe += MINUTE / 2
    if change.at:
        assert can_sync(change.at) != can_sync(now)


class Reference:
    """One window as the runs that all minutes at which it fires make, on a clock with its zone's offset."""

    def __init__(self, item: windows.Window, now: datetime, stop: datetime) -> None:
        self.item = item
        schedule, nanoseconds = windows.parsed(item)
        duration = timedelta(microseconds=nanoseconds // 1000)
        self.zone = cron.zone(item.time_zone) or timezone.utc
        self.begins: list[datetime] = []
        self.ends: list[datetime] = []
        for fire in minutes(schedule, now - duration - timedelta(days=1), stop + timedelta(days=1)):
            if self.ends and fire <= self.ends[-1]:
                self.ends[-1] = fire + duration
            else:
                self.begins.append(fire)
                self.ends.append(fire + duration)

    def is_on(self, at: datetime) -> bool:
        local = at + self.offset(at)
        i = bisect_right(self.begins, local) - 1
        return i >= 0 and local < self.ends[i]

    def offset(self, at: datetime) -> timedelta:
        return at.astimezone(self.zone).utcoffset() or timedelta(0)

    def edges(self, now: datetime, stop: datetime) -> Iterator[datetime]:
        offsets = {now: self.offset(now)}
        hour = now.replace(minute=0, second=0, microsecond=0)
        while hour < stop:
            offsets.setdefault(hour, self.offset(hour))
            hour += timedelta(minutes=30)
        for edge in (*self.begins, *self.ends):
            for offset in set(offsets.values()):
                yield edge - offset
        last = None
        for when, offset in sorted(offsets.items()):
            if offset != last:
                yield when
            last = offset


def minutes(schedule: cron.Schedule, begin: datetime, end: datetime) -> Iterator[datetime]:
    day = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    while day < end:
        if day.month in schedule.month.values and cron.is_day(schedule.dom, schedule.dow, day):
            for hour in sorted(schedule.hour.values):
                for minute in sorted(schedule.minute.values):
                    yield day.replace(hour=hour, minute=minute)
        day += timedelta(days=1)


def first_change(
    found: Sequence[windows.Window], now: datetime, stop: datetime, manual: bool
) -> datetime | None:
    references = [Reference(item, now, stop) for item in found]

    def can_sync(at: datetime) -> bool:
        active = [r.item for r in references if r.is_on(at)]
        denies = [w for w in active if w.kind == "deny"]
        if denies:
            return manual and all(w.manual_sync for w in denies)
        allows = [w for w in found if w.kind == "allow"]
        if any(w.kind == "allow" for w in active) or not allows:
            return True
        return manual and all(w.manual_sync for w in allows)

    today = can_sync(now)
    edges = sorted({edge for r in references for edge in r.edges(now, stop) if now < edge < stop})
    return next((edge for edge in edges if can_sync(edge) != today), None)


@given(st.lists(random_windows(st.just("")), min_size=1, max_size=4), TIMES, st.booleans())
@settings(max_examples=SIZE // 4 or 1, deadline=None)
def test_weeks_ahead_it_is_what_counting_gives(
    found: list[dict[str, Any]], now: datetime, manual: bool
) -> None:
    parsed = list(read(*found))
    # A day that never comes makes a window that is always on; the other references have those.
    assume(all(windows.parsed(w)[0].next(now) for w in parsed))
    span = timedelta(days=20)
    change = Foresight(now, horizon=span).next_change(parsed, app(), manual=manual)
    expected = first_change(parsed, now, now + span, manual)
    if change.not_before:
        assert expected is None or expected >= change.not_before
    else:
        assert change.at == expected
