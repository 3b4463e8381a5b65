"""Sync windows.

Covered: reading windows; Argo CD's own test cases about active and the decision (manual, automatic,
overrun, unparsable, time zones); matching by OR and AND; global projects with selectors, order and
faults; the rules of older versions; the least change that lets one app through, with
emptied lists, repeated entries, AND, globs, inactive allows, global projects; nobody else is freed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kubectl_argo_rescue.argocd import global_projects, windows
from kubectl_argo_rescue.argocd.windows import Hit, Window
from kubectl_argo_rescue.model.patches import applied
from kubectl_argo_rescue.model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Version,
)
from kubectl_argo_rescue.plan import unblock

from .. import build

Windows = Sequence[dict[str, Any]]

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
ALWAYS = {"schedule": "* * * * *", "duration": "24h"}
NEVER = {"schedule": "0 0 1 1 *", "duration": "1h"}
NEWEST = Version(3, 6, "v3.6.1")


def at(hour: int, minute: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute)


def project(items: Windows, name: str = "cluster", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "argocd", **metadata},
        "spec": {"syncWindows": list(items)},
    }


def app(name: str = "traefik", /, **destination: str) -> JSON:
    return build.app(name=name, project="cluster", destination=destination or {"namespace": "default"})


def window(kind: str, is_open: bool = True, /, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, **(ALWAYS if is_open else NEVER), "applications": ["*"], **fields}


def read(*items: dict[str, Any], version: Version | None = None) -> tuple[Window, ...]:
    return windows.windows_of(project(items), version)


def decide(*items: dict[str, Any], version: Version | None = None) -> tuple[bool, bool]:
    """The decision about (manual, automatic)."""
    found = read(*items, version=version)
    manual, automatic = (windows.judge_sync(found, app(), NOON, manual=m).can_sync for m in (True, False))
    return manual, automatic


# -- reading


def test_go_defaults() -> None:
    (found,) = read({})
    assert found == Window("argocd", "cluster", 0)
    assert found.key == Key("AppProject", "argocd", "cluster")
    nulls = dict.fromkeys(
        "kind schedule duration applications namespaces clusters manualSync timeZone andOperator".split()
    )
    assert read(nulls) == (found,)
    assert windows.windows_of({"metadata": {"name": "p"}}) == ()
    assert windows.windows_of({"metadata": {"name": "p"}, "spec": {"syncWindows": None}}) == ()
    assert windows.windows_of(project([None])) == (found,)  # type: ignore[list-item]


def test_all_fields() -> None:
    item = {
        "kind": "deny",
        "schedule": "0 9 * * *",
        "duration": "1h",
        "applications": ["a", None],
        "namespaces": ["n"],
        "clusters": ["c"],
        "manualSync": True,
        "timeZone": "Europe/Paris",
        "andOperator": True,
        "description": "freeze",
        "syncOverrun": True,
    }
    (found,) = read(item, version=NEWEST)
    assert found == Window(
        "argocd", "cluster", 0, "deny", "0 9 * * *", "1h", ("a", ""), ("n",), ("c",),
        True, "Europe/Paris", True, "freeze", True,
    )  # fmt: skip
    assert found.raw is item
    assert found.version is NEWEST


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (
            window("deny", applications=["traefik", "web"]),
            "deny * * * * * for 24h UTC on applications traefik, web",
        ),
        (
            window("allow", clusters=["c"], namespaces=["n"], timeZone="Europe/Paris", manualSync=True),
            "allow * * * * * for 24h Europe/Paris on applications * or clusters c or namespaces n, "
            "manual sync allowed",
        ),
        (
            window("deny", namespaces=["n"], andOperator=True),
            "deny * * * * * for 24h UTC on applications * and namespaces n",
        ),
        (window("deny", applications=[]), "deny * * * * * for 24h UTC on nothing"),
    ],
)
def test_describe(item: dict[str, Any], text: str) -> None:
    assert windows.describe(read(item)[0]) == text


# -- active (Argo CD: types_test.go, TestSyncWindows_Active and the others)


@pytest.mark.parametrize(
    ("schedule", "duration", "zone", "now", "is_active"),
    [
        ("* 10 * * *", "2h", "UTC", at(11), True),
        ("* 10 * * *", "2h", "", at(13), False),
        ("* 10 * * *", "2h", "", at(11).astimezone(timezone(timedelta(hours=-4))), True),
        ("* 10 * * *", "2h", "America/New_York", at(16), True),
        ("* 10 * * *", "2h", "America/New_York", at(22), False),
        ("* 8 * * *", "2h", "Asia/Dhaka", at(3), True),
        ("* 8 * * *", "2h", "No/Where", at(9), True),
        ("0 0 * * *", "24h", "", at(0), False),
        ("0 0 * * *", "24h", "", at(0) + timedelta(microseconds=1), True),
        ("0 10 * * *", "1h", "", at(10), False),
        ("0 10 * * *", "1h", "", at(11), False),
        ("0 10 * * *", "1h", "", at(11) - timedelta(microseconds=1), True),
        ("* * * * *", "0", "", at(11, 30), False),
        ("* * * * *", "-1h", "", at(11, 30), False),
        ("* * * * *", "1ns", "", at(11, 30), False),
        ("0 0 30 2 *", "1h", "", at(11), True),
        # The smallest int64 minus an offset wraps around.
        ("* * * * *", "-9223372036854775808ns", "Asia/Tokyo", at(11), True),
        ("TZ=Europe/Paris 0 10 * * *", "1h", "", at(9, 30), True),
    ],
)
def test_is_active(schedule: str, duration: str, zone: str, now: datetime, is_active: bool) -> None:
    (found,) = read({"schedule": schedule, "duration": duration, "timeZone": zone})
    assert windows.is_active(found, now) is is_active


def test_offset_is_todays() -> None:
    """A start in summer is judged with the winter's offset, as Argo CD does."""
    (found,) = read({"schedule": "0 10 * * *", "duration": "1h", "timeZone": "Europe/Paris"})
    summer = datetime(2026, 7, 1, 8, 30, tzinfo=timezone.utc)
    assert windows.is_active(found, summer)
    assert not windows.is_active(found, summer, clock=NOON)


def test_active_and_inactive_ones() -> None:
    two = (
        {"kind": "allow", "schedule": f"* {h} * * *", "duration": "2h", "applications": ["*"]}
        for h in (10, 14)
    )
    found = read(*two)
    assert windows.judge_sync(found, app(), at(15), manual=False).active == (found[1],)
    closed = windows.judge_sync(found, app(), at(17), manual=False)
    assert (closed.active, closed.blocking, closed.can_sync) == ((), found, False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"schedule": "* 10 * * 7"},
            "cannot parse schedule '* 10 * * 7': end of range (7) above maximum (6): 7",
        ),
        (
            {"duration": "3a"},
            'cannot parse duration \'3a\': time: unknown unit "a" in duration "3a"',
        ),
    ],
)
def test_unparsable(fields: dict[str, str], message: str) -> None:
    bad = window("allow", **fields)
    found = read(window("allow"), bad)
    for manual in (False, True):
        judgement = windows.judge_sync(found, app(), NOON, manual=manual)
        assert (judgement.can_sync, judgement.error) == (False, f"invalid sync windows: {message}")
        assert judgement.blocking == (found[1],)
    with pytest.raises(windows.WindowError):
        windows.is_active(found[1], NOON)
    # One that is about other apps does no harm.
    assert decide({**bad, "applications": ["other"]}) == (True, True)


# -- the decision (Argo CD: types_test.go TestSyncWindows_CanSync)

DENY, SOFT = window("deny"), window("deny", manualSync=True)
ALLOW, CLOSED = window("allow"), window("allow", False)
CLOSED_SOFT = window("allow", False, manualSync=True)


@pytest.mark.parametrize(
    ("items", "manual", "automatic"),
    [
        ([], True, True),
        ([window("deny", False)], True, True),
        ([window("deny", False, manualSync=True)], True, True),
        ([CLOSED_SOFT, CLOSED], False, False),
        ([ALLOW], True, True),
        ([CLOSED], False, False),
        ([CLOSED_SOFT], True, False),
        ([ALLOW, CLOSED], True, True),
        ([DENY], False, False),
        ([SOFT], True, False),
        ([SOFT, SOFT, SOFT, DENY], False, False),
        ([DENY, SOFT], False, False),
        ([ALLOW, DENY], False, False),
        ([ALLOW, SOFT], True, False),
        ([CLOSED, window("deny", False)], False, False),
        ([CLOSED, SOFT], True, False),
        ([window("deny", schedule="0 0 30 2 *", duration="1h")], False, False),
        ([window("Deny")], True, True),
        ([window("")], True, True),
    ],
)
def test_decision(items: list[dict[str, Any]], manual: bool, automatic: bool) -> None:
    assert decide(*items) == (manual, automatic)


def test_blocking_windows() -> None:
    found = read(DENY, SOFT, CLOSED, window("deny", False))
    assert windows.judge_sync(found, app(), NOON, manual=False).blocking == found[:2]
    assert windows.judge_sync(found, app(), NOON, manual=True).blocking == found[:1]
    closed = read(CLOSED, CLOSED_SOFT)
    assert windows.judge_sync(closed, app(), NOON, manual=False).blocking == closed
    assert windows.judge_sync(closed, app(), NOON, manual=True).blocking == closed[:1]


def minutes_of(start: timedelta, minutes: int) -> dict[str, str]:
    """A window that began so long ago."""
    begin = NOON - start
    return {"schedule": f"{begin.minute} {begin.hour} * * *", "duration": f"{minutes}m"}


LATE = timedelta(minutes=5)
OVERRUN = {"syncOverrun": True}


@pytest.mark.parametrize(
    ("items", "started", "can_sync"),
    [
        ([window("deny", **OVERRUN)], None, False),
        ([window("deny", **OVERRUN)], 5, False),
        ([ALLOW, window("deny", **minutes_of(LATE, 15), **OVERRUN)], 25, True),
        ([ALLOW, window("deny", **minutes_of(LATE, 15))], 25, False),
        ([ALLOW, DENY, window("deny", **minutes_of(LATE, 15), **OVERRUN)], 25, False),
        ([window("allow", **minutes_of(timedelta(minutes=60), 30), **OVERRUN)], 45, True),
        ([window("allow", **minutes_of(timedelta(minutes=60), 30))], 45, False),
        ([window("allow", **minutes_of(timedelta(minutes=60), 30), **OVERRUN), CLOSED], 45, False),
        ([CLOSED, window("deny", **minutes_of(LATE, 15), **OVERRUN)], 25, False),
    ],
)
def test_overrun(items: list[dict[str, Any]], started: int | None, can_sync: bool) -> None:
    start = None if started is None else NOON - timedelta(minutes=started)
    found = read(*items)
    assert windows.judge_sync(found, app(), NOON, manual=False, start=start).can_sync is can_sync
    before = Version(3, 4, "v3.4.0")
    assert not windows.judge_sync(
        read(*items, version=before), app(), NOON, manual=False, start=start
    ).can_sync


def test_overrun_ignores_manual_sync_of_the_windows_in_force() -> None:
    """All denies in force must carry syncOverrun, those with manualSync too."""
    late = window("deny", **minutes_of(LATE, 15), **OVERRUN)
    soft = window("deny", **minutes_of(LATE, 15), manualSync=True)
    found = read(late, soft)
    assert not windows.judge_sync(
        found, app(), NOON, manual=True, start=NOON - timedelta(minutes=25)
    ).can_sync


def test_older_versions() -> None:
    assert decide(ALLOW, CLOSED, version=Version(2, 7, "v2.7.0")) == (False, False)
    narrow = window("deny", applications=["*"], namespaces=["other"], andOperator=True)
    assert decide(narrow, version=NEWEST) == (True, True)
    assert decide(narrow, version=Version(2, 14, "v2.14.0")) == (False, False)
    bad = window("deny", duration="1d")
    assert decide(bad, version=Version(2, 11, "v2.11.0")) == (True, True)
    assert decide(window("deny", schedule="x"), version=Version(2, 11, "v2.11.0")) == (False, False)
    assert windows.are_operations_held(None)
    assert windows.are_operations_held(Version(2, 11, "v2.11.0"))
    assert not windows.are_operations_held(Version(2, 10, "v2.10.9"))


def test_a_termination_is_held_until_3_6() -> None:
    held = [None, Version(2, 11, "v2.11.0"), Version(3, 5, "v3.5.1")]
    assert all(windows.are_terminations_held(version) for version in held)
    assert not windows.are_terminations_held(Version(2, 10, "v2.10.9"))
    assert not windows.are_terminations_held(Version(3, 6, "v3.6.0"))


# -- matching (Argo CD: types_test.go TestSyncWindows_Matches)


@pytest.mark.parametrize(
    ("fields", "is_match"),
    [
        ({"namespaces": ["default"]}, True),
        ({"clusters": ["cluster1"]}, True),
        ({"clusters": ["clusterName"]}, True),
        ({"applications": ["test-*"]}, True),
        ({"applications": ["{a,test}-app"]}, True),
        ({"applications": ["argocd/test-app"]}, False),
        ({"applications": ["other"], "namespaces": ["default"]}, True),
        ({"applications": ["other"], "namespaces": ["other"]}, False),
        ({}, False),
        ({"andOperator": True}, False),
        ({"andOperator": True, "applications": ["test-*"], "clusters": ["clusterN*"]}, True),
        ({"andOperator": True, "applications": ["other"]}, False),
        ({"andOperator": True, "applications": ["*"], "namespaces": ["other"]}, False),
        ({"andOperator": True, "clusters": ["*"], "namespaces": ["default"]}, True),
        ({"andOperator": True, "namespaces": ["default"]}, True),
        ({"andOperator": True, "applications": ["*"], "clusters": ["x"], "namespaces": ["*"]}, False),
    ],
)
def test_matches(fields: dict[str, Any], is_match: bool) -> None:
    target = app("test-app", name="clusterName", server="cluster1", namespace="default")
    found = read(fields)
    assert windows.matches(found[0], target) is is_match
    assert windows.matched(found, target) == (found if is_match else ())


def test_no_destination_matches_no_cluster() -> None:
    bare = {"metadata": {"name": "a"}}
    assert not windows.matches(read({"clusters": ["*"]})[0], bare)
    assert windows.matches(read({"namespaces": ["*"]})[0], bare)


def test_how_it_matches() -> None:
    (found,) = read({"applications": ["web", "traefik", "tr*", "traefik"], "namespaces": ["traefik"]})
    assert windows.names_app(found, app(namespace="traefik")) == (
        Hit("applications", "traefik", True),
        Hit("applications", "tr*", False),
        Hit("applications", "traefik", True),
        Hit("namespaces", "traefik", False),
    )


# -- global projects


def entry(name: str, **selector: Any) -> dict[str, Any]:
    return {"projectName": name, "labelSelector": selector}


PROD = {"matchLabels": {"env": "prod"}}


def global_names(*entries: Any, labels: Any = None) -> list[str]:
    me = project([], "me", labels={"env": "prod", "tier": "1"} if labels is None else labels)
    others = [project([], name) for name in ("g1", "g2", "g3")]
    return [p["metadata"]["name"] for p in global_projects.global_projects_of(me, [me, *others], entries)]


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([entry("g2", **PROD), entry("g1", **PROD)], ["g2", "g1"]),
        ([entry("g1", **PROD), entry("g1", **PROD)], ["g1", "g1"]),
        ([entry("g1", matchLabels={"env": "dev"}), entry("g2")], ["g2"]),
        ([entry("me", **PROD), entry("g1", **PROD)], ["g1"]),
        ([entry("g1", matchLabels={"tier": 1})], ["g1"]),
        ([entry("g1", matchLabels={"env": None})], []),
        ([{"projectname": "g1", "LABELSELECTOR": PROD}], ["g1"]),
        ([entry("g1", matchExpressions=[{"key": "env", "operator": "In", "values": ["prod", "x"]}])], ["g1"]),
        ([entry("g1", matchExpressions=[{"key": "env", "operator": "NotIn", "values": ["prod"]}])], []),
        ([entry("g1", matchExpressions=[{"key": "no", "operator": "NotIn", "values": ["x"]}])], ["g1"]),
        ([entry("g1", matchExpressions=[{"key": "env", "operator": "Exists"}])], ["g1"]),
        ([entry("g1", matchExpressions=[{"key": "env", "operator": "DoesNotExist"}])], []),
        ([entry("g1", matchExpressions=[{"key": "no", "operator": "DoesNotExist"}])], ["g1"]),
        # An invalid selector, or a project that does not exist, ends the list there.
        ([entry("g1"), entry("nope"), entry("g2")], ["g1"]),
        ([entry("g1"), entry("g3", matchLabels={"a b": "x"}), entry("g2")], ["g1"]),
        ([entry("g1"), entry("g3", matchLabels={"a": "b c"}), entry("g2")], ["g1"]),
        ([entry("g1"), entry("g3", matchLabels={"-/a": "b"}), entry("g2")], ["g1"]),
        ([entry("g1"), entry("g3", matchExpressions=[{"key": "a", "operator": "in"}])], ["g1"]),
        ([entry("g1"), entry("g3", matchExpressions=[{"key": "a", "operator": "In"}])], ["g1"]),
        ([entry("g1"), entry("g3", matchExpressions=[{"key": "a", "operator": "Exists", "values": ["x"]}])], ["g1"]),
        ([entry("g1"), None], ["g1"]),
        # What cannot be decoded makes all of it void.
        ([entry("g1"), "text"], []),
        ([entry("g1"), entry("g2", matchLabels=["env"])], []),
        ([entry("g1"), entry("g2", matchLabels={"env": ["prod"]})], []),
        ([entry("g1"), entry("g2", matchExpressions="x")], []),
        ([entry("g1"), entry("g2", matchExpressions=[{"key": "a", "operator": "In", "values": "x"}])], []),
    ],
)  # fmt: skip
def test_global_projects(entries: list[Any], names: list[str]) -> None:
    assert global_names(*entries) == names


def test_labels_that_are_no_text() -> None:
    assert global_names(entry("g1", matchLabels={"a.b/on": True}), labels={"a.b/on": "true"}) == ["g1"]


def test_effective_windows() -> None:
    own = project([window("deny"), window("allow")], "me", labels={"env": "prod"})
    other = project([window("deny")], "g1")
    argocd = ArgoCD("argocd", NEWEST, global_projects=(entry("g1", **PROD),))
    found = windows.effective_windows(own, [other, own], argocd)
    assert [(w.project, w.index) for w in found] == [("me", 0), ("me", 1), ("g1", 0)]
    assert {w.version for w in found} == {NEWEST}


# -- letting one app through


SCHEDULES = st.sampled_from(
    ["* * * * *", "0 * * * *", "*/20 * * * *", "0 9 * * *", "30 8-17 * * mon-fri", "0 22 * * *", "0 0 * * 6"]
)
DURATIONS = st.sampled_from(["30m", "1h", "1h30m", "8h", "24h", "20m"])
ZONES = st.sampled_from(["", "Europe/Paris", "America/New_York", "Asia/Kathmandu"])
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(timezone.utc))
NAMES = ["traefik", "web", "api"]


def items(named: Sequence[str] = (*NAMES, "*", "tr*", "{web,api}")) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"kind": st.sampled_from(["deny", "allow"]), "schedule": SCHEDULES, "duration": DURATIONS},
        optional={
            "applications": st.lists(st.sampled_from(named), max_size=3),
            "namespaces": st.lists(st.sampled_from(["default", "other", "*"]), max_size=2),
            "clusters": st.lists(st.sampled_from(["in-cluster", "*"]), max_size=1),
            "manualSync": st.booleans(),
            "andOperator": st.booleans(),
            "timeZone": ZONES,
        },
    )


def identity(item: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    names = ("kind", "schedule", "duration", "namespaces", "clusters", "timeZone", "andOperator")
    return tuple((name, item.get(name, ABSENT)) for name in names)


def relaxed(*found: dict[str, Any], target: dict[str, Any] | None = None) -> unblock.Relaxation:
    return unblock.relax(read(*found), target or app(), NOON)


def test_nothing_to_do() -> None:
    relaxation = relaxed(ALLOW)
    assert (relaxation.changes, relaxation.blocked, relaxation.remaining, relaxation.notes) == (
        {},
        (),
        (),
        (),
    )
    assert relaxation.manual.can_sync
    assert not relaxation.needs_manual


def test_incident() -> None:
    """The story's two windows: an entry goes out of one, the other goes away."""
    shared = {"kind": "deny", **ALWAYS, "applications": ["traefik", "web"], "timeZone": "UTC"}
    own = {"kind": "deny", "schedule": "0 0 * * *", "duration": "24h", "applications": ["traefik"]}
    relaxation = relaxed(shared, own)
    place = ("spec", "syncWindows")
    assert relaxation.changes == {
        "cluster": (
            MemberChange((*place, Match(identity(shared), 0), "applications"), "traefik", 0, False),
            MemberChange(place, own, 1, False),
        )
    }
    assert relaxation.automatic.can_sync
    assert not relaxation.needs_manual
    assert [w.index for w in relaxation.blocked] == [0, 1]
    assert [w.applications for w in relaxation.windows] == [("web",)]


def test_windows_that_are_not_in_force_yet_too() -> None:
    later = window("deny", False, applications=["web", "traefik"])
    (change,) = relaxed(later).changes["cluster"]
    assert isinstance(change, MemberChange)
    assert (change.item, change.index) == ("traefik", 1)


def test_a_window_that_is_never_active_is_left_alone() -> None:
    assert relaxed(window("deny", duration="0s", applications=["traefik", "web"])).changes == {}


def test_repeated_entries_go_from_the_end() -> None:
    repeated = window("deny", applications=["traefik", "web", "traefik"])
    changes = relaxed(repeated).changes["cluster"]
    assert [(c.item, c.index) for c in changes if isinstance(c, MemberChange)] == [
        ("traefik", 2),
        ("traefik", 0),
    ]


@pytest.mark.parametrize(
    ("fields", "is_whole"),
    [
        ({"namespaces": ["default"], "andOperator": True}, True),
        ({"andOperator": True}, True),
        ({}, True),
        ({"namespaces": ["other"]}, False),
        ({"clusters": ["other"]}, False),
    ],
)
def test_emptied_list(fields: dict[str, Any], is_whole: bool) -> None:
    item = window("deny", applications=["traefik"], **fields)
    (change,) = relaxed(item).changes["cluster"]
    assert isinstance(change, MemberChange)
    assert (change.item == item) is is_whole


def test_whole_windows_go_from_the_end_after_all_else() -> None:
    own = window("deny", applications=["traefik"])
    shared = window("deny", applications=["traefik", "web"])
    changes = relaxed(own, shared, own).changes["cluster"]
    assert [(len(c.path), c.index) for c in changes if isinstance(c, MemberChange)] == [
        (4, 0),
        (2, 2),
        (2, 0),
    ]


@pytest.mark.parametrize("before", [{}, {"manualSync": False}])
@pytest.mark.parametrize("fields", [{}, {"applications": ["traefik", "tr*"]},
                                    {"applications": ["traefik"], "namespaces": ["def*"]}])  # fmt: skip
def test_manual_sync_where_others_match_as_well(before: dict[str, Any], fields: dict[str, Any]) -> None:
    item = window("deny", **fields, **before)
    relaxation = relaxed(item)
    path = ("spec", "syncWindows", Match(identity(item), 0), "manualSync")
    assert relaxation.changes == {"cluster": (FieldChange(path, before.get("manualSync", ABSENT), True),)}
    assert relaxation.needs_manual
    assert relaxation.manual.can_sync
    assert "manual operations get through" in relaxation.notes[0]
    assert relaxation.windows[0].raw["manualSync"] is True


def test_manual_sync_is_left_alone_where_it_does_not_matter() -> None:
    relaxation = relaxed(SOFT, window("deny", False))
    assert relaxation.changes == {}
    assert relaxation.needs_manual


def test_allows_that_are_over() -> None:
    named = window("allow", False, applications=["traefik", "web"])
    assert relaxed(named).automatic.can_sync
    assert relaxed(ALLOW, named).changes == {}
    both = relaxed(named, CLOSED)
    assert both.needs_manual
    assert [type(c) for c in both.changes["cluster"]] == [MemberChange, FieldChange]


def test_allows_are_left_alone_where_denies_need_a_manual_sync_anyway() -> None:
    named = window("allow", False, applications=["traefik", "web"])
    (change,) = relaxed(DENY, named).changes["cluster"]
    assert isinstance(change, FieldChange)


def test_unparsable_that_names_the_app() -> None:
    for kind in ("deny", "allow", "Deny"):
        bad = window(kind, schedule="@daily", applications=["traefik", "web"])
        assert relaxed(bad).automatic.can_sync


def test_unparsable_for_all() -> None:
    relaxation = relaxed(window("deny", schedule="@daily"), DENY)
    assert relaxation.changes == {}
    assert not relaxation.manual.can_sync
    assert not relaxation.needs_manual
    (note,) = relaxation.notes
    assert "cannot parse schedule '@daily'" in note
    assert "has to be corrected" in note


def test_global_project_that_counts_twice() -> None:
    argocd = ArgoCD("argocd", global_projects=(entry("g1"), entry("g1")))
    other = project([window("deny", applications=["traefik", "web"])], "g1")
    own = project([window("deny", applications=["traefik"])])
    found = windows.effective_windows(own, [own, other], argocd)
    relaxation = unblock.relax(found, app(), NOON)
    assert {name: len(changes) for name, changes in relaxation.changes.items()} == {"g1": 1, "cluster": 1}
    assert relaxation.automatic.can_sync


def test_changed_verdicts() -> None:
    before = project([window("deny", applications=["traefik"]), SOFT])
    after = copy.deepcopy(before)
    del after["spec"]["syncWindows"][0]
    lost = app("lost")
    lost["spec"]["project"] = "gone"
    changed = unblock.changed_verdicts([before], [after], [app(), app("web"), lost], ArgoCD("argocd"), NOON)
    key = Key("Application", "argocd", "traefik")
    assert changed == (unblock.VerdictChange(key, (False, False), (False, True)),)
    after["spec"]["syncWindows"] = []
    assert len(unblock.changed_verdicts([before], [after], [app("web")], ArgoCD("argocd"), NOON)) == 1


APPS = [
    app(name, namespace=ns, name=c)
    for name in NAMES
    for ns in ("default", "other")
    for c in ("in-cluster", "x")
]


@given(st.lists(items(), max_size=4), TIMES)
def test_relaxing_frees_this_app_and_no_other(found: list[dict[str, Any]], now: datetime) -> None:
    before = project(found)
    target = app(namespace="default", name="in-cluster")
    relaxation = unblock.relax(windows.windows_of(before), target, now)
    after = applied(before, relaxation.changes.get("cluster", ()))
    assert windows.windows_of(after) == tuple(replace(w, index=i) for i, w in enumerate(relaxation.windows))
    assert relaxation.manual.can_sync
    opened = any(isinstance(c, FieldChange) for c in relaxation.changes.get("cluster", ()))
    for change in unblock.changed_verdicts([before], [after], APPS, ArgoCD("argocd"), now):
        twin = change.app.name == "traefik"
        assert twin or (change.automatic[0] == change.automatic[1] and opened)
    # What was relaxed needs nothing more.
    assert unblock.relax(relaxation.windows, target, now).changes == {}


@given(st.lists(items(NAMES), max_size=4), TIMES)
def test_where_all_are_named_automatic_sync_is_enough(found: list[dict[str, Any]], now: datetime) -> None:
    parsed = read(*({**item, "namespaces": [], "clusters": []} for item in found))
    relaxation = unblock.relax(parsed, app(), now)
    assert relaxation.automatic.can_sync
    assert not any(isinstance(c, FieldChange) for c in relaxation.changes.get("cluster", ()))
