"""JSON Patch as kube-apiserver applies it.

Covered: each operation, absent keys and null, array indices, pointers, byte-wise comparison with
Go's encoding, malformed documents, strict errors, the copy limit, merge patch, Go's number and
string encoding; random documents against python-jsonpatch where the two agree.
The cases themselves were seen on a real API server; the contract lane repeats them there.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_argo_rescue.simulation.jsonpatch_go import (
    ACCUMULATED_COPY_LIMIT,
    MalformedPatch,
    PatchNotApplied,
    ServerPanic,
    apply_merge_patch,
    apply_patch,
    go_json,
    go_number,
    operations_of,
    read,
    strict_errors,
    value_of,
)

LIVE: dict[str, Any] = {
    "metadata": {"uid": "u1", "annotations": {"a/b": "1", "é": "<&>"}},
    "spec": {
        "source": {"targetRevision": ">=2.4 <3", "n": 3},
        "list": ["a", "b", "c"],
        "holes": ["a", None],
        "none": None,
        "automated": {"prune": True, "selfHeal": False},
    },
}


def run(*operations: dict[str, Any], live: Any = LIVE) -> Any:
    return apply_patch(live, go_json(list(operations)).encode())


def op(kind: str, path: str, *value: Any) -> dict[str, Any]:
    return {"op": kind, "path": path, **({"value": value[0]} if value else {})}


@pytest.mark.parametrize(
    "operation",
    [
        op("test", "/metadata/uid", "u1"),
        op("test", "/spec/absent", None),
        op("test", "/spec/none", None),
        op("test", "/spec/absent"),
        op("test", "/spec/automated", {"selfHeal": False, "prune": True}),
        op("test", "/spec/list", ["a", "b", "c"]),
        op("test", "/spec/list/-1", "c"),
        op("test", "/spec/list/+1", "b"),
        op("test", "/spec/list/01", "b"),
        op("test", "/metadata/annotations/a~1b", "1"),
        op("test", "/metadata/annotations/é", "<&>"),
        op("test", "ignored/metadata/uid", "u1"),
        op("test", "", {}),
    ],
)
def test_what_holds(operation: dict[str, Any]) -> None:
    live = copy.deepcopy(LIVE)
    live["spec"]["holes"] = ["a", "b"]
    if operation["path"] == "":
        operation = operation | {"value": live}
    assert run(operation, live=live) == live


@pytest.mark.parametrize(
    "operation",
    [
        op("test", "/metadata/uid", "u2"),
        op("test", "/metadata/uid", None),
        op("test", "/metadata/uid"),
        op("test", "/spec/absent", "x"),
        op("test", "/spec/absent/deeper", None),
        op("test", "/spec/automated", {"prune": True}),
        op("test", "/spec/list", ["a", "b"]),
        op("test", "/spec/list/3", "d"),
        op("test", "/spec/list/-4", "d"),
        op("test", "/spec/list/x", "d"),
        op("test", "/spec/list/1_0", "d"),
        op("test", "/spec/source/n", "3"),
        op("test", "/spec/source/n/deeper", "3"),
        op("test", "/spec/source/n/deeper/still", "3"),
        op("test", "/spec/automated", {"prune": True, "other": False}),
        op("test", "/spec/automated", {"prune": True, "selfHeal": None}),
        op("test", "/spec/automated", ["prune"]),
        op("test", "uid", "u1"),
        op("remove", "/spec/absent"),
        op("remove", "/spec/absent/deeper"),
        op("remove", "/spec/list/3"),
        op("add", "/spec/absent/deeper", 1),
        op("add", "/spec/list/4", "e"),
        op("add", "/spec/list/-5", "e"),
        op("add", "", {}),
        op("replace", "/spec/absent/deeper", 1),
        op("replace", "/spec/list/3", "d"),
        op("replace", "/spec/list/-", "d"),
        op("replace", "", "scalar"),
        op("move", "/spec/x"),
        {"op": "move", "from": "/spec/absent", "path": "/spec/x"},
        {"op": "copy", "from": "/spec/absent/deeper", "path": "/spec/x"},
        op("bogus", "/spec"),
        {"path": "/spec"},
        {"op": 1, "path": "/spec"},
        {"op": "remove"},
        {"op": "remove", "path": 1},
    ],
)
def test_what_does_not_apply(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchNotApplied):
        run(operation)


def test_replace_adds_a_missing_key() -> None:
    assert run(op("replace", "/spec/new", 1))["spec"]["new"] == 1


def test_copy_of_a_missing_key_is_null() -> None:
    found = run({"op": "copy", "from": "/spec/absent", "path": "/spec/x"})
    assert found["spec"]["x"] is None


def test_indices_count_from_the_end() -> None:
    found = run(
        op("add", "/spec/list/-1", "end"),
        op("replace", "/spec/list/-2", "C"),
        op("remove", "/spec/list/0"),
        op("add", "/spec/list/-", "last"),
        op("add", "/spec/list/0", "first"),
    )
    assert found["spec"]["list"] == ["first", "b", "C", "end", "last"]


def test_move_and_root_replacement() -> None:
    found = run({"op": "move", "from": "/spec/list/0", "path": "/spec/moved"})
    assert (found["spec"]["moved"], found["spec"]["list"]) == ("a", ["b", "c"])
    assert run(op("replace", "", {"a": 1}), op("test", "/a", 1)) == {"a": 1}


def test_null_as_a_value_is_there_afterwards_and_tests_as_null() -> None:
    found = run(op("add", "/spec/x", None), op("test", "/spec/x", None))
    assert found["spec"]["x"] is None and "x" in found["spec"]


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ('">=2.4 <3"', False),
        ('"\\u003e=2.4 \\u003c3"', True),
        ('"\\u003E=2.4 \\u003C3"', False),
    ],
)
def test_strings_compare_byte_for_byte_with_gos_encoding(value: str, holds: bool) -> None:
    patch = f'[{{"op":"test","path":"/spec/source/targetRevision","value":{value}}}]'.encode()
    if holds:
        apply_patch(LIVE, patch)
    else:
        with pytest.raises(PatchNotApplied):
            apply_patch(LIVE, patch)


@pytest.mark.parametrize(("value", "holds"), [("3", True), ("3.0", False), ("3e0", False), (" 3 ", True)])
def test_numbers_compare_byte_for_byte(value: str, holds: bool) -> None:
    patch = f'[{{"op":"test","path":"/spec/source/n","value":{value}}}]'.encode()
    if holds:
        apply_patch(LIVE, patch)
    else:
        with pytest.raises(PatchNotApplied):
            apply_patch(LIVE, patch)


def test_non_ascii_is_kept_as_utf8() -> None:
    live = {"a": "é"}
    apply_patch(live, '[{"op":"test","path":"/a","value":"é"}]'.encode())
    with pytest.raises(PatchNotApplied):
        apply_patch(live, b'[{"op":"test","path":"/a","value":"\\u00e9"}]')


def test_what_a_patch_wrote_is_compared_as_it_wrote_it() -> None:
    patch = '[{"op":"add","path":"/a","value":"<"},{"op":"test","path":"/a","value":"<"}'
    apply_patch({}, (patch + "]").encode())
    copied = patch + ',{"op":"copy","from":"/a","path":"/b"},{"op":"test","path":"/b","value":"<"}]'
    with pytest.raises(PatchNotApplied):
        apply_patch({}, copied.encode())


@pytest.mark.parametrize(
    "operation",
    [op("test", "/spec/holes", ["a", None]), op("replace", ""), op("test", "")],
)
def test_where_evanphx_dereferences_nil(operation: dict[str, Any]) -> None:
    with pytest.raises(ServerPanic):
        run(operation)


@pytest.mark.parametrize(
    "patch",
    [b"", b"nope", b"{}", b"[1]", b"[] x", b"[,]", b"[{]", b'[{"op"}]', b"[01]", b'"', b"[1,", b'[{"a":}]'],
)
def test_malformed_documents(patch: bytes) -> None:
    with pytest.raises(MalformedPatch):
        operations_of(patch)


def test_a_null_patch_does_nothing_and_a_null_operation_does_not_apply() -> None:
    assert apply_patch({"a": 1}, b"null") == {"a": 1}
    with pytest.raises(PatchNotApplied):
        apply_patch({"a": 1}, b"[null]")


def test_strict_errors_name_unknown_and_doubled_members() -> None:
    assert strict_errors(b'[{"op":"test","path":"/a","value":1,"x":2},null]') == [
        'json patch unknown field "[0].x"'
    ]
    assert strict_errors(b'[{"op":"test","op":"add"}]') == ['json patch duplicate field "op"']
    with pytest.raises(MalformedPatch):
        strict_errors(b'[{"op":1}]')


def test_copies_are_limited_together() -> None:
    live = {"a": "x" * (ACCUMULATED_COPY_LIMIT // 3)}
    once = {"op": "copy", "from": "/a", "path": "/b"}
    run(*[once] * 2, live=live)
    with pytest.raises(PatchNotApplied):
        run(*[once] * 3, live=live)


def test_a_copy_counts_as_it_is_encoded() -> None:
    live = {"a": {"k": ["x" * 1_500_000, True, None, {}]}}
    copies = [{"op": "copy", "from": "/a", "path": f"/{name}"} for name in "bcd"]
    assert run(*copies[:2], live=live)["c"] == live["a"]
    with pytest.raises(PatchNotApplied):
        run(*copies, live=live)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e-10, "1e-10"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (2.5e300, "2.5e+300"),
    ],
)
def test_go_numbers(number: float, text: str) -> None:
    assert go_number(number) == text
    assert go_json([number]) == f"[{text}]"


def test_go_strings() -> None:
    assert go_json('"\\\b\f\n\r\t\x1f\x7f<>&\u2028\u2029é😀') == (
        '"\\"\\\\\\b\\f\\n\\r\\t\\u001f\x7f\\u003c\\u003e\\u0026\\u2028\\u2029é😀"'
    )
    assert go_json({"b": [True, False, None], "a": 1}) == '{"a":1,"b":[true,false,null]}'


def test_reading_keeps_values() -> None:
    text = '{"a":["\\ud83d\\ude00\\/\\b","\\ud800",1.5,12345678901234567890,-1,true,null,{}],"a b":[]}'
    assert value_of(read(text.encode())) == {
        "a": ["😀/\b", "�", 1.5, 12345678901234567890.0, -1, True, None, {}],
        "a b": [],
    }


@pytest.mark.parametrize(
    ("live", "patch", "after"),
    [
        (
            {"a": {"b": 1, "c": 2}},
            {"a": {"b": None, "d": {"e": None, "f": 1}}},
            {"a": {"c": 2, "d": {"f": 1}}},
        ),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": 1}, {"x": None}, {"a": 1}),
    ],
)
def test_merge_patch(live: Any, patch: Any, after: Any) -> None:
    assert apply_merge_patch(live, json.dumps(patch).encode()) == after


@pytest.mark.parametrize("patch", [b"[]", b"null", b"nope"])
def test_a_merge_patch_is_an_object(patch: bytes) -> None:
    with pytest.raises(MalformedPatch):
        apply_merge_patch({}, patch)


VALUES = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(alphabet="ab<é/~", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text("ab/~", max_size=2), VALUES, max_size=4)


@settings(deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_agrees_with_python_jsonpatch_where_both_apply(before: Any, after: Any) -> None:
    operations = list(jsonpatch.make_patch(before, after))
    assert run(*operations, live=before) == after


@settings(deadline=None)
@given(DOCUMENTS)
def test_every_value_tests_equal_to_itself(document: Any) -> None:
    run(
        op("test", "", document),
        *(op("test", f"/{_escape(k)}", v) for k, v in document.items()),
        live=document,
    )


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
