"""The three-way rule of undo, and the fold of several entries.

Covered: standing_of and conflict for fields, members and items that are gone; fold over several entries
of one object: one write per field straight to the oldest original, fields inside fields, duplicates,
foreign edits in between are left alone and reported, overwrite; two entries on one sync window in
every order and one at a time, also where the second took the window as a whole; laws over random
histories; which fields of which kinds a journal may name.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_argo_rescue.journal import encoding
from kubectl_argo_rescue.model import merge, patches
from kubectl_argo_rescue.model.merge import Neighbour, Standing, Tag, fold, standing_of
from kubectl_argo_rescue.model.values import ABSENT, Change, FieldChange, Match, MemberChange, Path

from ..build import app

SIZE = int(os.environ.get("ARGO_RESCUE_PROPERTY_SIZE", "0")) or settings.default.max_examples  # type: ignore[union-attr]

REVISION: Path = ("spec", "source", "targetRevision")
AUTOMATED: Path = ("spec", "syncPolicy", "automated")
WINDOWS: Path = ("spec", "syncWindows")


def tagged(*entries: Sequence[Change]) -> list[tuple[Tag, Change]]:
    """Entries given oldest first, as fold takes them."""
    return [
        (Tag(f"e{n}", 0, i), change)
        for n, changes in reversed(list(enumerate(entries)))
        for i, change in reversed(list(enumerate(changes)))
    ]


# -- standing_of and conflict


@pytest.mark.parametrize(
    ("change", "live", "standing"),
    [
        (FieldChange(REVISION, "2.5.1", "2.4.1"), app(source={"targetRevision": "2.4.1"}), Standing.OURS),
        (FieldChange(REVISION, "2.5.1", "2.4.1"), app(source={"targetRevision": "2.5.1"}), Standing.ORIGINAL),
        (FieldChange(REVISION, "2.5.1", "2.4.1"), app(source={"targetRevision": "2.6.0"}), Standing.FOREIGN),
        (FieldChange(REVISION, "2.5.1", "2.4.1"), app(), Standing.FOREIGN),
        (FieldChange(AUTOMATED, {"prune": True}, ABSENT), app(), Standing.OURS),  # the policy went with it
        (FieldChange(AUTOMATED, {"prune": True}, ABSENT), app(syncPolicy={"automated": None}), Standing.OURS),
        (FieldChange((*AUTOMATED, "enabled"), ABSENT, False), app(syncPolicy={"automated": {}}), Standing.ORIGINAL),
        (FieldChange((*AUTOMATED, "enabled"), ABSENT, False), app(syncPolicy={"automated": {"enabled": True}}), Standing.FOREIGN),
        (FieldChange(("spec", "x"), 1, True), app(x=1), Standing.ORIGINAL),
        (MemberChange(("spec", "l"), "a", 0, present=False), app(l=["b"]), Standing.OURS),
        (MemberChange(("spec", "l"), "a", 0, present=False), app(l=["b", "a"]), Standing.ORIGINAL),
        (MemberChange(("spec", "l"), "a", 0, present=False), app(), Standing.OURS),
        (MemberChange(("spec", "l"), "a", 0, present=True), app(l=["a"]), Standing.OURS),
        (MemberChange(("spec", "l"), "a", 0, present=True), app(l=[]), Standing.ORIGINAL),
        (MemberChange((*WINDOWS, Match((("schedule", "x"),), 0), "applications"), "a", 0, present=False), app(syncWindows=[]), Standing.FOREIGN),
    ],
)  # fmt: skip
def test_judge(change: Change, live: Any, standing: Standing) -> None:
    assert standing_of(change, live) is standing


def test_a_conflict_has_all_three_values() -> None:
    c = merge.conflict(FieldChange(REVISION, "2.5.1", "2.4.1"), app(source={"targetRevision": "2.6.0"}))
    assert (c.path, c.base, c.ours, c.theirs) == (REVISION, "2.4.1", "2.6.0", "2.5.1")
    taken = MemberChange((*WINDOWS, Match((("schedule", "x"),), 0), "applications"), "a", 0, present=False)
    c = merge.conflict(taken, app(syncWindows=[]))
    assert (c.base, c.ours, c.theirs) == (
        {"schedule": "x"},
        ABSENT,
        {"schedule": "x", "applications": ["a"]},
    )
    assert c.what == ": the window it was in was removed"
    c = merge.conflict(MemberChange(("spec", "l"), "a", 0, present=True), app(l=["b"]))
    assert (c.base, c.ours, c.theirs) == ("a", ["b"], ABSENT)


# -- fold


def test_one_write_straight_to_the_oldest_original() -> None:
    entries = [
        [FieldChange(REVISION, "2.5.1", "2.4.1")],
        [FieldChange(REVISION, "2.4.1", "2.4.0")],
        [FieldChange(REVISION, "2.4.0", "2.3.9")],
    ]
    got = fold(app(source={"targetRevision": "2.3.9"}), tagged(*entries))
    assert got.changes == (FieldChange(REVISION, "2.3.9", "2.5.1"),)
    assert len(got.restored) == 3 and not got.already and not got.conflicts
    assert got.target == app(source={"targetRevision": "2.5.1"})


def test_a_field_inside_a_field_is_one_write() -> None:
    # The first entry says enabled: false, the second (an older controller) takes the whole block.
    entries = [
        [FieldChange((*AUTOMATED, "enabled"), ABSENT, False)],
        [FieldChange(AUTOMATED, {"prune": True, "enabled": False}, ABSENT)],
    ]
    live = app(syncPolicy={})
    got = fold(live, tagged(*entries))
    assert got.changes == (FieldChange(AUTOMATED, ABSENT, {"prune": True}),)
    assert patches.applied(live, got.changes) == got.target


def test_there_and_back_is_nothing_to_write() -> None:
    entries = [[FieldChange(REVISION, "a", "b")], [FieldChange(REVISION, "b", "a")]]
    live = app(source={"targetRevision": "a"})
    got = fold(live, tagged(*entries))
    assert got.changes == () and len(got.restored) == 2 and got.target == live
    member = MemberChange(("spec", "l"), "a", 0, present=False)
    got = fold(app(l=["a"]), tagged([member], [patches.inverse(member)]))
    assert got.changes == () and len(got.restored) == 2


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_entries_of_one_second_in_any_order(order: tuple[int, ...]) -> None:
    """There and back within a second: only as a chain do they lead from the first original to what is there."""
    chain = [("2.5.1", "2.4.1"), ("2.4.1", "2.6.0"), ("2.6.0", "2.4.1")]
    undone: list[tuple[Tag, Change]] = [(Tag(f"e{n}", 0, 0), FieldChange(REVISION, *chain[n])) for n in order]
    got = fold(app(source={"targetRevision": "2.4.1"}), undone)
    assert not got.conflicts
    assert got.target["spec"]["source"]["targetRevision"] == "2.5.1"


def test_somebody_restored_it_already() -> None:
    got = fold(app(source={"targetRevision": "a"}), tagged([FieldChange(REVISION, "a", "b")]))
    assert (got.changes, got.restored, got.already) == ((), (), (Tag("e0", 0, 0),))


def test_a_foreign_edit_is_left_alone() -> None:
    entries = [[FieldChange(REVISION, "a", "b"), FieldChange(("spec", "x"), 1, 2)]]
    live = app(source={"targetRevision": "theirs"}, x=2)
    got = fold(live, tagged(*entries))
    assert got.changes == (FieldChange(("spec", "x"), 2, 1),)
    assert [tag for tag, _ in got.conflicts] == [Tag("e0", 0, 0)]
    assert got.target["spec"]["source"] == {"targetRevision": "theirs"}


def test_overwrite_takes_the_original_from_anything() -> None:
    got = fold(
        app(source={"targetRevision": "theirs"}), tagged([FieldChange(REVISION, "a", "b")]), overwrite=True
    )
    assert got.changes == (FieldChange(REVISION, "theirs", "a"),) and not got.conflicts


def test_overwrite_cannot_reach_into_an_item_that_is_gone() -> None:
    change = FieldChange((*WINDOWS, Match((("schedule", "x"),), 0), "manualSync"), ABSENT, True)
    got = fold(app(syncWindows=[]), tagged([change]), overwrite=True)
    assert len(got.conflicts) == 1 and not got.changes


def test_a_member_of_a_window_that_somebody_edited() -> None:
    raw = window("web", "traefik", "web")
    taken = [out_of(raw, 1, "web"), out_of(raw, 1, "traefik")]
    longer = {**window("other"), "duration": "65h"}
    unlike = {**window("other"), "schedule": "1 1 * * *"}
    got = fold(app(syncWindows=[unlike, longer]), tagged(taken))
    assert [c.what for _, c in got.conflicts] == [": the window it was in was changed"] * 2
    assert got.conflicts[0][1].ours == longer
    got = fold(app(syncWindows=[unlike, longer]), tagged(taken), overwrite=True)
    assert not got.conflicts and len(got.restored) == 2
    assert got.target["spec"]["syncWindows"][0] == unlike
    assert sorted(got.target["spec"]["syncWindows"][1]["applications"]) == ["other", "traefik", "web"]
    assert patches.applied(app(syncWindows=[unlike, longer]), got.changes) == got.target


@pytest.mark.parametrize("live", [app(), app(syncWindows=[{"kind": "deny", "schedule": "1 1 * * *"}])])
def test_members_of_a_window_that_somebody_removed(live: Any) -> None:
    raw = window("web", "traefik", "api", manualSync=False)
    taken = [[out_of(raw, 0, "traefik"), out_of(raw, 0, "web")], [out_of(raw, 0, "api")]]
    got = fold(live, tagged(*taken), overwrite=True)
    assert not got.conflicts and len(got.restored) == 3
    assert patches.applied(live, got.changes) == got.target
    [again] = [w for w in got.target["spec"]["syncWindows"] if w["schedule"] == raw["schedule"]]
    assert sorted(again["applications"]) == ["api", "traefik", "web"]
    assert {k: again[k] for k in ("kind", "duration")} == {"kind": "deny", "duration": "64h"}


def test_of_two_items_alike_the_one_with_our_value_is_ours() -> None:
    alike = Match((("repoURL", "r"), ("chart", "c")), 0)
    change = FieldChange(("spec", "sources", alike, "targetRevision"), "2.5.1", "2.4.1")

    def sources(*versions: str) -> Any:
        return app(sources=[{"repoURL": "r", "chart": "c", "targetRevision": v} for v in versions])

    assert standing_of(change, sources("2.4.1", "2.5.1")) is Standing.OURS
    assert standing_of(change, sources("2.5.1", "2.5.1")) is Standing.ORIGINAL
    got = fold(sources("2.5.1", "2.4.1"), tagged([change]))
    assert not got.changes and not got.already
    assert "another has what we wrote" in got.conflicts[0][1].what
    got = fold(app(sources=[{"repoURL": "x"}]), tagged([change]), overwrite=True)
    assert [c.what for _, c in got.conflicts] == [": the source it was in was removed or made another"]
    assert not got.changes
    got = fold(sources("2.5.1", "2.4.1"), tagged([change]), overwrite=True)
    assert not got.conflicts and got.target == sources("2.5.1", "2.5.1")
    assert patches.applied(sources("2.5.1", "2.4.1"), got.changes) == got.target


def test_two_equal_items_of_one_entry_both_go_back() -> None:
    taken = [MemberChange(("spec", "l"), "a", i, present=False) for i in (2, 0)]
    got = fold(app(l=["b"]), tagged(taken))
    assert got.target == app(l=["a", "b", "a"])
    assert patches.applied(app(l=["b"]), got.changes) == got.target


# -- two entries on one sync window


def window(*applications: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "deny",
        "schedule": "0 16 * * 5",
        "duration": "64h",
        **more,
        "applications": list(applications),
    }


OTHER = {**window("web"), "schedule": "1 1 * * *"}
IDENTITY = ("kind", "schedule", "duration", "namespaces", "clusters", "timeZone", "andOperator")


def out_of(raw: Any, index: int, name: str) -> MemberChange:
    match = Match(tuple((n, raw.get(n, ABSENT)) for n in IDENTITY), index)
    return MemberChange(
        (*WINDOWS, match, "applications"), name, raw["applications"].index(name), present=False
    )


def whole(raw: Any, index: int) -> MemberChange:
    return MemberChange(WINDOWS, raw, index, present=False)


class Project:
    """A project with entries that were made on it, undone one at a time or together."""

    def __init__(self, *windows: Any) -> None:
        self.original = app(syncWindows=list(windows))
        self.live = copy.deepcopy(self.original)
        self.entries: dict[str, list[Change]] = {}
        self.settled: set[str] = set()

    def does(self, entry: str, *changes: Change) -> None:
        self.entries[entry] = list(changes)
        self.live = patches.applied(self.live, changes)

    def undo(self, *names: str) -> list[Any]:
        """Undo these entries, as `undo` does; returns the windows afterwards."""
        undone = [
            (Tag(e, 0, i), c)
            for e in reversed(self.entries)
            if e in names
            for i, c in reversed(list(enumerate(self.entries[e])))
        ]
        neighbours = [
            Neighbour(c, stands=e not in self.settled)
            for e, changes in self.entries.items()
            if e not in names
            for c in changes
        ]
        others = [e for e in self.entries if e not in names]
        before = list(self.entries)
        older = {e: sum(before.index(o) < before.index(e) for o in others) for e in names}
        older = {e: sum(len(self.entries[o]) for o in others[:n]) for e, n in older.items()}
        got = fold(self.live, undone, neighbours=neighbours, older=older)
        assert not got.conflicts and not got.already
        ref_uid = self.live["metadata"]["uid"]
        assert ref_uid == "u-traefik"
        self.live = patches.applied(self.live, got.changes)
        assert self.live == got.target
        self.settled |= set(names)
        windows: list[Any] = self.live["spec"]["syncWindows"]
        return windows


def nasty(*, before: Sequence[Any] = (), after: Sequence[Any] = ()) -> Project:
    """Entry one takes traefik out of [traefik, web], entry two the whole window [web]."""
    at = len(before)
    project = Project(*before, window("traefik", "web"), *after)
    project.does("one", out_of(window("traefik", "web"), at, "traefik"))
    project.does("two", whole(window("web"), at))
    return project


@pytest.mark.parametrize(("before", "after"), [([], []), ([OTHER], []), ([], [OTHER]), ([OTHER], [OTHER])])
class TestAWindowThatWentAsAWhole:
    def test_the_first_alone_then_the_second(self, before: list[Any], after: list[Any]) -> None:
        project = nasty(before=before, after=after)
        assert project.undo("one") == [*before, window("traefik"), *after]
        assert project.undo("two") == [*before, window("traefik", "web"), *after]

    def test_the_second_alone_then_the_first(self, before: list[Any], after: list[Any]) -> None:
        project = nasty(before=before, after=after)
        assert project.undo("two") == [*before, window("web"), *after]
        assert project.undo("one") == [*before, window("traefik", "web"), *after]

    def test_both_at_once(self, before: list[Any], after: list[Any]) -> None:
        project = nasty(before=before, after=after)
        project.undo("one", "two")
        assert project.live == project.original

    def test_the_names_the_other_way_round(self, before: list[Any], after: list[Any]) -> None:
        at = len(before)
        project = Project(*before, window("traefik", "web"), *after)
        project.does("one", out_of(window("traefik", "web"), at, "web"))
        project.does("two", whole(window("traefik"), at))
        assert project.undo("one") == [*before, window("web"), *after]
        (*_, again) = [w for w in project.undo("two") if w["schedule"] == window()["schedule"]]
        assert sorted(again["applications"]) == ["traefik", "web"]
        assert len(project.live["spec"]["syncWindows"]) == len(before) + 1 + len(after)


def test_three_entries_one_at_a_time_in_every_order() -> None:
    for order in itertools.permutations(["one", "two", "three"]):
        project = Project(window("traefik", "web", "api"))
        project.does("one", out_of(window("traefik", "web", "api"), 0, "traefik"))
        project.does("two", out_of(window("web", "api"), 0, "web"))
        project.does("three", whole(window("api"), 0))
        for i, entry in enumerate(order):
            names = {"one": "traefik", "two": "web", "three": "api"}
            (only,) = project.undo(entry)
            assert sorted(only["applications"]) == sorted(names[e] for e in order[: i + 1]), order


def test_a_list_made_for_a_rule_goes_with_the_last_of_them() -> None:
    path, rules = ("spec", "ignoreApplicationDifferences"), [{"name": "traefik"}, {"name": "web"}]
    original = app()
    first = MemberChange(path, rules[0], 0, present=True, sole=True)
    second = MemberChange(path, rules[1], 1, present=True)
    live = patches.applied(patches.applied(original, [first]), [second])
    got = fold(live, [(Tag("one", 0, 0), first)], neighbours=[Neighbour(second, stands=True)])
    live = patches.applied(live, got.changes)
    assert live["spec"]["ignoreApplicationDifferences"] == [rules[1]]
    got = fold(live, [(Tag("two", 0, 0), second)], neighbours=[Neighbour(first, stands=False)])
    assert patches.applied(live, got.changes) == original == got.target


@pytest.mark.parametrize("taken", list(itertools.permutations(["traefik", "web", "api"])))
def test_names_come_back_to_their_places_in_whichever_order(taken: tuple[str, ...]) -> None:
    listed = ["first", "traefik", "web", "api", "last"]
    for order in itertools.permutations(taken):
        project, left = Project(window(*listed)), list(listed)
        for name in taken:
            project.does(name, out_of(window(*left), 0, name))
            left.remove(name)
        for number, name in enumerate(order, 1):
            (only,) = project.undo(name)
            assert only["applications"] == [n for n in listed if n not in order[number:]], (taken, order)
        assert project.live == project.original


def test_a_name_that_was_twice_in_the_window() -> None:
    project = Project(window("traefik", "web", "traefik"))
    raw = window("traefik", "web", "traefik")
    match = out_of(raw, 0, "traefik").path
    project.does(
        "one",
        MemberChange(match, "traefik", 2, present=False),
        MemberChange(match, "traefik", 0, present=False),
    )
    project.does("two", whole(window("web"), 0))
    assert project.undo("one") == [window("traefik", "traefik")]
    assert [sorted(w["applications"]) for w in project.undo("two")] == [["traefik", "traefik", "web"]]


def test_a_window_taken_whole_twice() -> None:
    project = nasty()
    assert project.undo("one") == [window("traefik")]
    project.does("three", whole(window("traefik"), 0))
    assert project.undo("three") == [window("traefik")]
    assert project.undo("two") == [window("traefik", "web")]


def test_windows_that_differ_in_nothing_but_their_applications_stay_two() -> None:
    project = Project(window("web"), window("traefik"))
    project.does("one", whole(window("web"), 0))
    project.does("two", whole(window("traefik"), 0))
    assert project.undo("one") == [window("web")]
    assert sorted(w["applications"] for w in project.undo("two")) == [["traefik"], ["web"]]


def test_a_separate_window_with_names_of_its_own_takes_nothing_in() -> None:
    project = Project(window("web"), window("traefik", "api"))
    project.does("one", whole(window("web"), 0))
    project.does("two", out_of(window("traefik", "api"), 0, "traefik"))
    assert project.undo("two") == [window("traefik", "api")]
    assert project.undo("one") == [window("web"), window("traefik", "api")]


def test_a_window_that_somebody_else_took_away_is_a_conflict() -> None:
    project = Project(window("traefik", "web"))
    project.does("one", out_of(window("traefik", "web"), 0, "traefik"))
    got = fold(app(syncWindows=[]), [(Tag("one", 0, 0), project.entries["one"][0])])
    assert len(got.conflicts) == 1 and not got.changes
    # The second took it as a whole and was undone; then somebody removed the window.
    gone = [Neighbour(whole(window("web"), 0), stands=False)]
    got = fold(app(syncWindows=[]), [(Tag("one", 0, 0), project.entries["one"][0])], neighbours=gone)
    assert len(got.conflicts) == 1 and not got.changes


def test_a_window_remade_and_edited_by_somebody_is_no_home_for_ours() -> None:
    project = nasty()
    project.undo("one")
    project.live["spec"]["syncWindows"][0]["applications"].append("theirs")
    assert project.undo("two") == [window("web"), window("traefik", "theirs")]


# -- laws

fields = st.sampled_from(["a", "b", "c"])
field_values = st.sampled_from([ABSENT, 0, 1, "x", {"k": 1}])
operations = st.lists(
    st.lists(st.tuples(fields, field_values), min_size=1, max_size=3, unique_by=lambda t: t[0]),
    min_size=1,
    max_size=4,
)


def play(live: Any, entries: Sequence[Sequence[tuple[str, Any]]]) -> tuple[Any, list[list[Change]]]:
    done: list[list[Change]] = []
    for entry in entries:
        changes: list[Change] = []
        for name, value in entry:
            before = patches.read(("spec", name), live)
            if not patches.equal(before, value):
                changes.append(FieldChange(("spec", name), before, value))
        live = patches.applied(live, changes)
        done.append(changes)
    return live, done


@given(st.dictionaries(fields, st.sampled_from([0, 1, "x"])), operations)
@settings(max_examples=SIZE, deadline=None)
def test_undoing_everything_gives_the_original(spec: dict[str, Any], entries: Any) -> None:
    original = app(**spec)
    live, done = play(original, entries)
    got = fold(live, tagged(*done))
    assert got.target == original
    assert patches.applied(live, got.changes) == original
    assert not got.conflicts
    paths = [c.path for c in got.changes]
    assert len(paths) == len(set(paths)), "one write per field"


@given(
    st.dictionaries(fields, st.sampled_from([0, 1, "x"])),
    operations,
    st.dictionaries(fields, st.sampled_from(["theirs", "theirs too"]), min_size=1),
)
@settings(max_examples=SIZE, deadline=None)
def test_a_foreign_edit_is_never_overwritten(
    spec: dict[str, Any], entries: Any, foreign: dict[str, str]
) -> None:
    live, done = play(app(**spec), entries)
    live["spec"].update(foreign)
    got = fold(live, tagged(*done))
    for name, value in foreign.items():
        assert got.target["spec"][name] == value
    assert patches.applied(live, got.changes) == got.target
    everything = {tag for tag, _ in tagged(*done)}
    assert {*got.restored, *got.already, *(t for t, _ in got.conflicts)} == everything


@given(
    st.permutations(["a", "b", "c", "d"]),
    st.permutations(["a", "b", "c", "d"]),
    st.integers(1, 4),
    st.data(),
)
@settings(max_examples=SIZE, deadline=None)
def test_names_of_one_window_come_back_in_any_order(
    listed: list[str], freed: list[str], count: int, data: st.DataObject
) -> None:
    # Each entry frees one app, the last one may take the window as a whole; undone in any groups.
    project = Project(window(*listed))
    left = list(listed)
    for name in freed[:count]:
        now = window(*left)
        project.does(name, whole(now, 0) if left == [name] else out_of(now, 0, name))
        left.remove(name)
    pending = data.draw(st.permutations(freed[:count]))
    while pending:
        size = data.draw(st.integers(1, len(pending)))
        group, pending = pending[:size], pending[size:]
        windows = project.undo(*group)
        assert len(windows) == 1
        frozen = sorted(windows[0]["applications"])
        assert frozen == sorted(n for n in listed if n not in pending), "exactly these are frozen again"
    if len(set(freed[:count])) == size:
        assert project.live == project.original


# -- what a journal may name


@pytest.mark.parametrize(
    ("kind", "path", "allowed"),
    [
        ("Application", AUTOMATED, True),
        ("Application", (*AUTOMATED, "enabled"), True),
        ("Application", (*AUTOMATED, "prune"), False),
        ("Application", REVISION, True),
        ("Application", ("spec", "sources", Match((), 0), "targetRevision"), True),
        ("Application", ("spec", "sources"), True),
        ("Application", ("spec", "sourceHydrator"), False),
        ("Application", ("spec", "sourceHydrator", "syncSource", "targetBranch"), True),
        ("Application", ("spec", "destination", "server"), False),
        ("Application", ("spec", "project"), False),
        ("Application", ("metadata", "annotations"), False),
        ("Application", ("status", "operationState"), False),
        ("AppProject", WINDOWS, True),
        ("AppProject", (*WINDOWS, Match((), 0), "applications"), True),
        ("AppProject", (*WINDOWS, Match((), 0), "schedule"), False),
        ("AppProject", ("spec", "sourceRepos"), False),
        ("ApplicationSet", ("spec", "ignoreApplicationDifferences"), True),
        ("ApplicationSet", ("spec", "template"), False),
        ("Secret", ("data", "x"), False),
        ("ConfigMap", ("data", "x"), False),
    ],
)
def test_role_allows(kind: str, path: Path, allowed: bool) -> None:
    assert encoding.role_allows(kind, path) is allowed
