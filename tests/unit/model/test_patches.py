"""Guarded JSON Patch operations.

Covered: Go's JSON byte for byte (golden), pointers, finding list items by content, reading paths,
the operations of every shape (absent and null, missing parents, members of lists, whole items at
their place, several changes of one object, a list that goes with its only item), `shown`; and laws
over random objects and changes: what the server makes of the operations is what `applied` says,
`inverse` gives the original back, nothing outside the changes is written, the uid is tested first,
any foreign change of a guarded value makes the patch fail; what an answer lacks.
Not here: how the real server answers; the contract lane holds the Go patcher used here to it.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kubectl_argo_rescue.model import patches
from kubectl_argo_rescue.model.patches import applied, encode, guarded_ops, inverse, read
from kubectl_argo_rescue.model.values import ABSENT, Change, FieldChange, Match, MemberChange, Path, Ref
from kubectl_argo_rescue.simulation.jsonpatch_go import PatchNotApplied, apply_patch, go_json

from ..build import app

SIZE = int(os.environ.get("ARGO_RESCUE_PROPERTY_SIZE", "0")) or settings.default.max_examples  # type: ignore[union-attr]

REF = Ref("Application", "argocd", "traefik", "u-traefik")


def sent(live: Any, ops: Sequence[Any]) -> Any:
    """What the API server makes of it."""
    return apply_patch(live, encode(list(ops)))


# -- encoding


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (">=2.4 <3", '"\\u003e=2.4 \\u003c3"'),
        ("A&B", '"A\\u0026B"'),
        ("é", '"é"'),
        ("日本", '"日本"'),
        ("😀", '"😀"'),
        ("a\u2028b\u2029c", '"a\\u2028b\\u2029c"'),
        ('"\\/', '"\\"\\\\/"'),
        ("\n\t\r", '"\\n\\t\\r"'),
        ("\x01\x7f", '"\\u0001\x7f"'),
        ({"<": [True, None, False]}, '{"\\u003c":[true,null,false]}'),
        (3, "3"),
        (2**63, "9223372036854775808"),
        (3.0, "3"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (0.00001, "0.00001"),
        (1.25e-6, "0.00000125"),
        (1e-7, "1e-7"),
        (-2.5e-10, "-2.5e-10"),
        (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        ({"1e-07": "1.0 1e-07"}, '{"1e-07":"1.0 1e-07"}'),
        ('\\"1e-07', '"\\\\\\"1e-07"'),
    ],
)
def test_it_encodes_as_go_does(value: Any, text: str) -> None:
    assert encode(value).decode() == text


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError):
        encode(float("nan"))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
values = st.recursive(
    scalars,
    # No null in a list: a test of one makes the real server panic (evanphx: lazyNode.equal).
    lambda inner: (
        st.lists(inner.filter(lambda v: v is not None), max_size=3)
        | st.dictionaries(st.text("ab<é~/", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
@settings(max_examples=SIZE, deadline=None)
def test_a_test_of_what_was_read_holds_on_the_server(value: Any) -> None:
    # The server shows its own encoding; what we read of it and send back must compare equal.
    seen = json.loads(go_json({"v": value}))
    sent(seen, [{"op": "test", "path": "/v", "value": seen["v"]}])


# -- pointers and paths


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ([], ""),
        (["spec", "sources", 0], "/spec/sources/0"),
        (["a/b", "m~n", "~1", ""], "/a~1b/m~0n/~01/"),
    ],
)
def test_pointers_escape(parts: list[str | int], pointer: str) -> None:
    assert patches.pointer(parts) == pointer


def test_a_path_is_shown_with_the_index_that_was_seen() -> None:
    path: Path = ("spec", "sources", Match((("chart", "x"),), 2), "targetRevision")
    assert patches.show_path(path) == "/spec/sources/2/targetRevision"


ITEMS = [{"k": "a"}, {"k": "b", "x": 1}, {"k": "b"}, "plain", None]


@pytest.mark.parametrize(
    ("match", "index"),
    [
        (Match((("k", "a"),), 0), 0),
        (Match((("k", "b"),), 0), 1),
        (Match((("k", "b"),), 2), 2),
        (Match((("k", "b"),), 99), 1),
        (Match((("k", "b"), ("x", ABSENT)), 0), 2),
        (Match((("k", "a"), ("x", None)), 4), 0),
        (Match((), 3), 3),
        (Match((), 0), 0),
    ],
)
def test_an_item_is_found_by_content_then_by_place(match: Match, index: int) -> None:
    assert patches.find(ITEMS, match) == index
    assert patches.holds(ITEMS[index], match)


@pytest.mark.parametrize(
    ("items", "match"),
    [
        (ITEMS, Match((("k", "c"),), 0)),
        (ITEMS, Match((), 9)),
        ({"0": 1}, Match((), 0)),
        (ABSENT, Match((("k", "a"),), 0)),
    ],
)
def test_an_item_that_is_not_there_is_unresolved(items: Any, match: Match) -> None:
    with pytest.raises(patches.Unresolved):
        patches.find(items, match)


def test_reading() -> None:
    live = app(sources=[{"chart": "a", "targetRevision": "1"}], list=[1])
    first = Match((("chart", "a"),), 5)
    assert read(("spec", "sources", first, "targetRevision"), live) == "1"
    assert read(("spec", "sources", first, "helm", "values"), live) is ABSENT
    assert read(("spec", "nothing", "here"), live) is ABSENT
    assert read(("spec", "list", "x"), live) is ABSENT
    assert patches.resolve(("spec", "sources", first, "x"), live) == ["spec", "sources", 0, "x"]
    with pytest.raises(patches.Unresolved):
        read(("spec", "list", Match((), 3)), live)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (None, ABSENT, True),
        (ABSENT, None, True),
        (None, "", False),
        (True, 1, False),
        (0, False, False),
        (1, 1.0, True),
        ({"a": 1}, {"a": 1}, True),
        ([1], [1, 2], False),
    ],
)
def test_equality(a: Any, b: Any, same: bool) -> None:
    assert patches.equal(a, b) is same


def test_position_prefers_the_place_that_was_seen() -> None:
    assert patches.position(["a", "b", "a"], "a", 2) == 2
    assert patches.position(["a", "b", "a"], "a", 1) == 0
    assert patches.position(["b"], "a", 0) == -1
    assert patches.position(ABSENT, "a", 0) == -1


def test_shown() -> None:
    assert patches.shown(ABSENT) == "(absent)"
    assert patches.shown(None) == "null"
    assert patches.shown("2.4.1") == '"2.4.1"'
    assert patches.shown("x" * 300) == '"' + "x" * 198 + "…"
    assert patches.shown(">=2.4 <3 & a\u2028b") == '">=2.4 <3 & a\\u2028b"', "as it was typed"
    assert patches.shown("\ud800") == '"\ufffd\ufffd\ufffd"'


# -- the shapes, one by one

AUTOMATED: Path = ("spec", "syncPolicy", "automated")
UID = {"op": "test", "path": "/metadata/uid", "value": "u-traefik"}
WINDOWS: Path = ("spec", "syncWindows")


def window(*applications: str, schedule: str = "* * * * *", **more: Any) -> dict[str, Any]:
    return {"kind": "deny", "schedule": schedule, "applications": list(applications), **more}


def place(index: int, schedule: str = "* * * * *") -> Match:
    return Match((("kind", "deny"), ("schedule", schedule), ("namespaces", ABSENT)), index)


@pytest.mark.parametrize(
    ("live", "changes", "ops"),
    [
        pytest.param(
            app(source={"targetRevision": ">=2.5"}),
            [FieldChange(("spec", "source", "targetRevision"), ">=2.5", "2.4.1")],
            [
                {"op": "test", "path": "/spec/source/targetRevision", "value": ">=2.5"},
                {"op": "replace", "path": "/spec/source/targetRevision", "value": "2.4.1"},
            ],
            id="replace",
        ),
        pytest.param(
            app(syncPolicy={"automated": {"prune": True}}),
            [FieldChange(AUTOMATED, {"prune": True}, ABSENT)],
            [
                {"op": "test", "path": "/spec/syncPolicy/automated", "value": {"prune": True}},
                {"op": "remove", "path": "/spec/syncPolicy/automated"},
            ],
            id="remove",
        ),
        pytest.param(
            app(syncPolicy={"automated": {}}),
            [FieldChange((*AUTOMATED, "enabled"), ABSENT, False)],
            [
                {"op": "test", "path": "/spec/syncPolicy/automated/enabled", "value": None},
                {"op": "add", "path": "/spec/syncPolicy/automated/enabled", "value": False},
            ],
            id="add",
        ),
        pytest.param(
            app(),
            [FieldChange(AUTOMATED, ABSENT, {"prune": True})],
            [
                {"op": "test", "path": "/spec/syncPolicy", "value": None},
                {"op": "add", "path": "/spec/syncPolicy", "value": {"automated": {"prune": True}}},
            ],
            id="missing parent",
        ),
        pytest.param(
            {"metadata": {"uid": "u-traefik"}},
            [FieldChange(AUTOMATED, ABSENT, {})],
            [
                {"op": "test", "path": "/spec", "value": None},
                {"op": "add", "path": "/spec", "value": {"syncPolicy": {"automated": {}}}},
            ],
            id="missing grandparents",
        ),
        pytest.param(
            app(syncPolicy={"automated": None}),
            [FieldChange(AUTOMATED, None, {})],
            [
                {"op": "test", "path": "/spec/syncPolicy/automated", "value": None},
                {"op": "add", "path": "/spec/syncPolicy/automated", "value": {}},
            ],
            id="null counts as absent",
        ),
        pytest.param(
            app(sources=[{"chart": "a", "targetRevision": "1"}]),
            [
                FieldChange(
                    ("spec", "sources", Match((("chart", "a"), ("path", ABSENT)), 0), "targetRevision"),
                    "1",
                    "2",
                )
            ],
            [
                {"op": "test", "path": "/spec/sources/0/chart", "value": "a"},
                {"op": "test", "path": "/spec/sources/0/path", "value": None},
                {"op": "test", "path": "/spec/sources/0/targetRevision", "value": "1"},
                {"op": "replace", "path": "/spec/sources/0/targetRevision", "value": "2"},
            ],
            id="a field of a list item, guarded by its content",
        ),
        pytest.param(
            app(syncWindows=[window("traefik", "web")]),
            [MemberChange((*WINDOWS, place(0), "applications"), "traefik", 0, present=False)],
            [
                {"op": "test", "path": "/spec/syncWindows/0/kind", "value": "deny"},
                {"op": "test", "path": "/spec/syncWindows/0/schedule", "value": "* * * * *"},
                {"op": "test", "path": "/spec/syncWindows/0/namespaces", "value": None},
                {"op": "test", "path": "/spec/syncWindows/0/applications/0", "value": "traefik"},
                {"op": "remove", "path": "/spec/syncWindows/0/applications/0"},
            ],
            id="a member taken out",
        ),
        pytest.param(
            app(syncWindows=[window("a"), window("b")]),
            [MemberChange(WINDOWS, window("b"), 1, present=False)],
            [
                {"op": "test", "path": "/spec/syncWindows/1", "value": window("b")},
                {"op": "remove", "path": "/spec/syncWindows/1"},
            ],
            id="a whole item taken out",
        ),
        pytest.param(
            app(syncWindows=[window("a"), window("c")]),
            [MemberChange(WINDOWS, window("b"), 1, present=True)],
            [
                {"op": "test", "path": "/spec/syncWindows", "value": [window("a"), window("c")]},
                {"op": "add", "path": "/spec/syncWindows/1", "value": window("b")},
            ],
            id="a whole item at its place",
        ),
        pytest.param(
            app(syncWindows=[]),
            [MemberChange(WINDOWS, window("b"), 7, present=True)],
            [
                {"op": "test", "path": "/spec/syncWindows", "value": []},
                {"op": "add", "path": "/spec/syncWindows/0", "value": window("b")},
            ],
            id="its place is beyond the end now",
        ),
        pytest.param(
            app(),
            [MemberChange(WINDOWS, window("b"), 1, present=True)],
            [
                {"op": "test", "path": "/spec/syncWindows", "value": None},
                {"op": "add", "path": "/spec/syncWindows", "value": [window("b")]},
            ],
            id="the list itself is gone",
        ),
        pytest.param(
            app(rules=["x"]),
            [MemberChange(("spec", "rules"), "x", 0, present=False, sole=True)],
            [
                {"op": "test", "path": "/spec/rules", "value": ["x"]},
                {"op": "remove", "path": "/spec/rules"},
            ],
            id="sole: the list goes with its only item",
        ),
        pytest.param(
            app(rules=["x", "y"]),
            [MemberChange(("spec", "rules"), "x", 0, present=False, sole=True)],
            [
                {"op": "test", "path": "/spec/rules/0", "value": "x"},
                {"op": "remove", "path": "/spec/rules/0"},
            ],
            id="sole, but another item came since",
        ),
        pytest.param(
            app(l=["a", "b", "c"]),
            [
                MemberChange(("spec", "l"), "a", 0, present=False),
                MemberChange(("spec", "l"), "c", 2, present=False),
            ],
            [
                {"op": "test", "path": "/spec/l/2", "value": "c"},
                {"op": "remove", "path": "/spec/l/2"},
                {"op": "test", "path": "/spec/l/0", "value": "a"},
                {"op": "remove", "path": "/spec/l/0"},
            ],
            id="two members, from the back",
        ),
        pytest.param(
            app(syncWindows=[window("a", "b"), window("a", schedule="1 * * * *")]),
            [
                MemberChange((*WINDOWS, place(0), "applications"), "a", 0, present=False),
                FieldChange((*WINDOWS, place(0), "manualSync"), ABSENT, True),
                MemberChange(WINDOWS, window("a", schedule="1 * * * *"), 1, present=False),
            ],
            [
                {"op": "test", "path": "/spec/syncWindows/0/kind", "value": "deny"},
                {"op": "test", "path": "/spec/syncWindows/0/schedule", "value": "* * * * *"},
                {"op": "test", "path": "/spec/syncWindows/0/namespaces", "value": None},
                {"op": "test", "path": "/spec/syncWindows/0/manualSync", "value": None},
                {"op": "add", "path": "/spec/syncWindows/0/manualSync", "value": True},
                {"op": "test", "path": "/spec/syncWindows/0/kind", "value": "deny"},
                {"op": "test", "path": "/spec/syncWindows/0/schedule", "value": "* * * * *"},
                {"op": "test", "path": "/spec/syncWindows/0/namespaces", "value": None},
                {"op": "test", "path": "/spec/syncWindows/0/applications/0", "value": "a"},
                {"op": "remove", "path": "/spec/syncWindows/0/applications/0"},
                {"op": "test", "path": "/spec/syncWindows/1", "value": window("a", schedule="1 * * * *")},
                {"op": "remove", "path": "/spec/syncWindows/1"},
            ],
            id="several changes of one object",
        ),
    ],
)
def test_shapes(live: Any, changes: list[Change], ops: list[Any]) -> None:
    before = copy.deepcopy(live)
    built = guarded_ops(live, REF, changes)
    assert built == [UID, *ops]
    assert live == before, "the live object is not touched"
    assert sent(live, built) == applied(live, changes)


@pytest.mark.parametrize(
    ("live", "change"),
    [
        (app(a=1), FieldChange(("spec", "a"), 2, 1)),
        (app(), FieldChange(("spec", "a", "b"), 2, ABSENT)),
        (app(a=None), FieldChange(("spec", "a"), 2, ABSENT)),
        (app(l=["x"]), MemberChange(("spec", "l"), "y", 0, present=False)),
        (app(), MemberChange(("spec", "l"), "y", 0, present=False)),
    ],
)
def test_what_stands_already_needs_no_patch(live: Any, change: Change) -> None:
    assert guarded_ops(live, REF, [change]) == []
    assert applied(live, [change]) == live


def test_an_item_that_is_gone_is_no_patch() -> None:
    change = FieldChange((*WINDOWS, place(0), "manualSync"), ABSENT, True)
    with pytest.raises(patches.Unresolved):
        guarded_ops(app(syncWindows=[]), REF, [change])


def test_a_second_copy_is_not_put_in_unseen() -> None:
    live = app(l=["a"])
    ops = guarded_ops(live, REF, [MemberChange(("spec", "l"), "b", 1, present=True)])
    with pytest.raises(PatchNotApplied):
        sent(app(l=["a", "b"]), ops)


def test_preview_leaves_the_guards_out() -> None:
    live = app(a="<", b=1)
    ops = guarded_ops(
        live, REF, [FieldChange(("spec", "c", "d"), ABSENT, 2), FieldChange(("spec", "a"), "<", "x")]
    )
    assert patches.preview(live, ops) == app(a="x", b=1, c={"d": 2})
    lock = [{"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}]
    assert patches.without_guards(lock) == []


# -- laws

names = st.sampled_from(["a", "b", "c<", "d/e"])
leaves: st.SearchStrategy[Any] = st.one_of(
    st.booleans(), st.integers(-5, 5), st.sampled_from(["", "x", ">=1", "é"]), st.builds(dict)
)
members = st.sampled_from(["m", "n", "o<", "p"])


@st.composite
def objects(draw: st.DrawFn) -> Any:
    """Fields some levels deep, a list of strings, a list of items with lists of their own."""
    spec: dict[str, Any] = draw(
        st.dictionaries(names, leaves | st.dictionaries(names, leaves, max_size=3), max_size=4)
    )
    if draw(st.booleans()):
        spec["list"] = draw(st.lists(members, max_size=4))
    if draw(st.booleans()):
        spec["items"] = [
            {"id": i % 3, "apps": draw(st.lists(members, max_size=3, unique=True))}
            for i in range(draw(st.integers(0, 4)))
        ]
    return app(**spec)


@st.composite
def changed(draw: st.DrawFn) -> tuple[Any, list[Change]]:
    """An object with changes of it, each from what it holds, none inside another."""
    obj = draw(objects())
    spec = obj["spec"]
    changes: list[Change] = []
    paths: list[Path] = draw(
        st.lists(st.lists(names, min_size=1, max_size=3).map(lambda p: ("spec", *p)), max_size=3, unique=True)
    )
    for path in paths:
        clear = all(p[: len(path)] != path and path[: len(p)] != p for p in (c.path for c in changes))
        parent = read(path[:-1], obj)
        if clear and (parent is ABSENT or isinstance(parent, dict)) and _objects_above(path, obj):
            before = read(path, obj)
            changes.append(FieldChange(path, before, draw(leaves | st.just(ABSENT))))
    if "list" in spec and draw(st.booleans()):
        chosen = [i for i in sorted(draw(st.sets(st.integers(0, 3), max_size=2))) if i < len(spec["list"])]
        changes += [MemberChange(("spec", "list"), spec["list"][i], i, present=False) for i in chosen]
    elif draw(st.booleans()):
        index = draw(st.integers(0, len(spec.get("list", ()))))
        changes.append(MemberChange(("spec", "list"), draw(members), index, present=True))
    for index, item in enumerate(spec.get("items", ())):
        match = Match((("id", item["id"]),), index)
        what = draw(st.integers(0, 3))
        if what == 1 and item["apps"]:
            changes.append(MemberChange(("spec", "items", match, "apps"), item["apps"][0], 0, present=False))
        elif what == 2:
            changes.append(FieldChange(("spec", "items", match, "flag"), ABSENT, True))
    if spec.get("items") and draw(st.booleans()):
        last = len(spec["items"]) - 1
        touched = any(Match((("id", last % 3),), last) in c.path for c in changes)
        if not touched:
            changes.append(MemberChange(("spec", "items"), spec["items"][last], last, present=False))
    return obj, changes


def _objects_above(path: Path, obj: Any) -> bool:
    return all(
        isinstance(read(path[:i], obj), dict) or read(path[:i], obj) is ABSENT for i in range(1, len(path))
    )


def without_nothing(value: Any) -> Any:
    """Null, empty objects and empty lists left out: what creating a parent may leave behind."""
    if isinstance(value, dict):
        kept = {k: without_nothing(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, {}, [])}
    if isinstance(value, list):
        return [without_nothing(v) for v in value]
    return value


@given(changed())
@settings(max_examples=SIZE, deadline=None)
def test_the_server_does_what_applied_says(case: tuple[Any, list[Change]]) -> None:
    live, changes = case
    ops = guarded_ops(live, REF, changes)
    assert (sent(live, ops) if ops else live) == applied(live, changes)
    if ops:
        assert ops[0] == UID
        assert sum(op["op"] != "test" for op in ops) <= len(changes)


@given(changed())
@settings(max_examples=SIZE, deadline=None)
def test_the_inverse_gives_the_original_back(case: tuple[Any, list[Change]]) -> None:
    live, changes = case
    there = applied(live, changes)
    back = applied(there, [inverse(c) for c in changes])
    assert without_nothing(back) == without_nothing(live)


@given(changed())
@settings(max_examples=SIZE, deadline=None)
def test_no_operation_writes_outside_the_changes(case: tuple[Any, list[Change]]) -> None:
    live, changes = case
    allowed = [patches.show_path(c.path) for c in changes]
    for op in guarded_ops(live, REF, changes):
        if op["op"] == "test":
            continue
        inside = any(op["path"] == a or op["path"].startswith(a + "/") for a in allowed)
        # A parent may be created, but only with the one field in it.
        creates = any(a.startswith(op["path"] + "/") for a in allowed) and op["op"] == "add"
        assert inside or creates
        if creates and not inside:
            value = op["value"]
            while isinstance(value, dict) and len(value) == 1:
                value = next(iter(value.values()))
            assert not isinstance(value, dict) or value == {}


@given(changed(), st.data())
@settings(max_examples=SIZE, deadline=None)
@example((app(), []), None)
def test_a_foreign_change_of_a_guarded_value_makes_the_patch_fail(
    case: tuple[Any, list[Change]], data: st.DataObject | None
) -> None:
    live, changes = case
    ops = guarded_ops(live, REF, changes)
    first_write = next((i for i, op in enumerate(ops) if op["op"] != "test"), 0)
    guards = [op for op in ops[:first_write] if op["op"] == "test"]
    if data is None or not guards:
        return
    guard = data.draw(st.sampled_from(guards))
    foreign = copy.deepcopy(live)
    tokens = [t.replace("~1", "/").replace("~0", "~") for t in guard["path"].split("/")[1:]]
    node = foreign
    for token in tokens[:-1]:
        node = node[int(token)] if isinstance(node, list) else node.get(token)
        assume(isinstance(node, (dict, list)))
    key: Any = int(tokens[-1]) if isinstance(node, list) else tokens[-1]
    node[key] = "somebody else's"
    with pytest.raises(PatchNotApplied):
        sent(foreign, ops)


@given(changed())
@settings(max_examples=SIZE, deadline=None)
def test_once_applied_nothing_is_left_to_do(case: tuple[Any, list[Change]]) -> None:
    live, changes = case
    fields = [c for c in changes if isinstance(c, FieldChange)]
    assert guarded_ops(applied(live, fields), REF, fields) == []


@pytest.mark.parametrize(
    ("wanted", "there", "missing"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": None}, {}, None),
        ({"a": {"b~": [1]}}, {"a": {"b~": [2]}}, ("/a/b~0/0", 1, 2)),
        ([1, 2], [1], ("/1", 2, ABSENT)),
        ([{"name": "y", "v": 1}], [{"name": "x"}, {"name": "y", "v": 1}], None),
        ([{"name": "y"}], [{"name": "x"}], ("/0", {"name": "y"}, ABSENT)),
        ({"a": True}, {"a": 1}, ("/a", True, 1)),
    ],
)
def test_first_missing(wanted: Any, there: Any, missing: Any) -> None:
    assert patches.first_missing(wanted, there) == missing
