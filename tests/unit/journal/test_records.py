"""Journal records as lines of JSON, and an entry as the fold of its records.

Covered: every kind of record comes back as it was written, ABSENT and null apart; whatever text is
read, nothing but Untrusted comes of it; forged records are refused (fields that this tool never
writes, other kinds, sizes, ids, times, newer formats); what is too long is cut on writing, so that
it can be read again; the fold does not depend on order or repeats, a new intent replaces the old
one, settling and reopening; the states of an entry; what neighbours did to an object.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_argo_rescue.journal import encoding
from kubectl_argo_rescue.journal.encoding import Untrusted, from_line, to_line
from kubectl_argo_rescue.journal.entry import Entry, fold, neighbours, next_number, record_id
from kubectl_argo_rescue.journal.records import (
    Begin,
    Content,
    Context,
    End,
    Intent,
    Outcome,
    Record,
    Reopened,
    Settled,
)
from kubectl_argo_rescue.model.merge import Neighbour
from kubectl_argo_rescue.model.values import (
    ABSENT,
    Change,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Order,
    OrderKind,
    Path,
    Ref,
    Reliance,
    Role,
    Witness,
)

SIZE = int(os.environ.get("ARGO_RESCUE_PROPERTY_SIZE", "0")) or settings.default.max_examples  # type: ignore[union-attr]

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
REF = Ref("Application", "argocd", "traefik", "u1")
REVISION: Path = ("spec", "source", "targetRevision")
AUTOMATED: Path = ("spec", "syncPolicy", "automated")
WINDOWS: Path = ("spec", "syncWindows")

# -- strategies

words = st.text(max_size=20)
names = st.text("abc-.", min_size=1, max_size=10)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
objects = st.dictionaries(words, values, max_size=3)
nothing = st.sampled_from([ABSENT, None])
matches = st.builds(
    Match,
    st.dictionaries(names, values, max_size=3).flatmap(
        lambda there: st.lists(names.filter(lambda n: n not in there), max_size=2, unique=True).map(
            lambda gone: (*there.items(), *((n, ABSENT) for n in gone))
        )
    ),
    st.integers(0, 9),
)


def _fields(paths: st.SearchStrategy[Path], value: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    side = value | nothing
    return st.builds(FieldChange, paths, side, side)


changes = st.one_of(
    _fields(st.just(REVISION) | matches.map(lambda m: ("spec", "sources", m, "targetRevision")), words),
    _fields(st.just(AUTOMATED) | matches.map(lambda m: ("spec", "sources", m)), objects),
    _fields(st.just((*AUTOMATED, "enabled")), st.booleans()),
)
listed = st.lists(words, max_size=2)
windows = st.fixed_dictionaries({"applications": listed}, optional={"schedule": words, "clusters": listed})
numbers = st.integers(0, 9)
window_changes = st.one_of(
    st.builds(MemberChange, st.just(WINDOWS), windows, numbers, st.booleans(), st.booleans()),
    st.builds(
        MemberChange,
        matches.map(lambda m: (*WINDOWS, m, "applications")),
        words,
        numbers,
        st.booleans(),
        st.booleans(),
    ),
    _fields(matches.map(lambda m: (*WINDOWS, m, "manualSync")), st.booleans()),
)
refs = st.builds(Ref, st.just("Application"), names, names, names)
projects = st.builds(Ref, st.just("AppProject"), names, names, names)
keys = st.builds(Key, names, names, names)
pairs = st.tuples(st.integers(0, 9), st.integers(0, 9))


def _edit(ref: Ref, made: list[Change], reason: str, role: Role, named: bool) -> Edit:
    """Make an edit whose role is what its fields are for; fields of two roles are two edits."""
    roles = [encoding.role_of(ref.kind, c.path) for c in made]
    kept = tuple(c for c, r in zip(made, roles, strict=True) if r is roles[0])
    return Edit(ref, kept, reason, roles[0] if roles else role, named)


edits = st.builds(
    _edit, refs, st.lists(changes, max_size=3), words, st.sampled_from(Role), st.booleans()
) | st.builds(
    _edit,
    projects,
    st.lists(window_changes, min_size=1, max_size=3),
    words,
    st.just(Role.WINDOW),
    st.booleans(),
)
orders = st.builds(Order, refs, names, values, words, st.booleans(), st.sampled_from(OrderKind))
contents: st.SearchStrategy[Content] = st.one_of(
    st.builds(
        Begin,
        verb=names,
        argv=st.lists(words, max_size=3).map(tuple),
        actor=words,
        host=words,
        started=times,
        reason=words,
        argocd_namespace=names,
        argocd_version=words,
        undoes=st.lists(names, max_size=2).map(tuple),
        expires=st.none() | times,
        total=st.integers(0, 99),
    ),
    st.builds(Intent, st.integers(0, 99), edits | orders),
    st.builds(
        Outcome,
        st.dictionaries(st.integers(0, 99), names, max_size=3),
        words,
        st.none() | times,
        st.just("0" * 64),
        st.booleans(),
    ),
    st.builds(Settled, st.dictionaries(pairs, names, max_size=3), names, st.none() | times),
    st.builds(Reopened, st.lists(pairs, max_size=3).map(tuple), names),
    st.builds(
        Context,
        st.lists(st.builds(Reliance, keys, changes), max_size=2).map(tuple),
        st.lists(st.builds(Witness, keys, words, words, words, words), max_size=2).map(tuple),
    ),
    st.builds(End, names, st.none() | times),
)
record_ids = st.tuples(st.integers(0, 99999), st.text("0123456789abcdef", min_size=6, max_size=6)).map(
    lambda t: f"{t[0]:05d}-{t[1]}"
)
all_records = st.builds(Record, st.text("0123456789abcdef", min_size=6, max_size=16), record_ids, contents)


# -- round trip


@given(all_records)
@settings(max_examples=SIZE, deadline=None)
def test_every_record_comes_back(record: Record) -> None:
    line = to_line(record)
    assert "\n" not in line and line.isascii()
    assert from_line(line) == record


@pytest.mark.parametrize(
    ("path", "before"),
    [
        (REVISION, ABSENT),
        (REVISION, None),
        (REVISION, ""),
        ((*AUTOMATED, "enabled"), False),
        (AUTOMATED, {}),
        (AUTOMATED, None),
    ],
)
def test_absent_and_null_stay_apart(path: Path, before: Any) -> None:
    edit = Edit(REF, (FieldChange(path, before, ABSENT),), "why", encoding.role_of(REF.kind, path))
    back = from_line(to_line(Record("abcdef", "00001-abcdef", Intent(0, edit)))).content
    assert isinstance(back, Intent) and isinstance(back.what, Edit)
    (change,) = back.what.changes
    assert isinstance(change, FieldChange)
    assert change.before is before or (change.before == before and type(change.before) is type(before))
    assert change.after is ABSENT


def test_what_is_too_long_is_cut_and_still_read() -> None:
    long = "x" * 10_000
    begin = Begin("pin", (long,), long, long, NOW, long, "argocd")
    for content in (
        begin,
        Intent(0, Edit(REF, (), long, Role.PAUSE)),
        Intent(0, Order(REF, "id", {}, long)),
        Outcome({0: "applied"}, long),
    ):
        text = to_line(Record("abcdef", "00001-abcdef", content))
        assert long not in text
        assert from_line(text).content is not None


def test_an_undecodable_argument_does_no_harm() -> None:
    begin = Begin("pin", ("\udc80",), "", "", NOW, "", "argocd")
    line = to_line(Record("abcdef", "00001-abcdef", begin))
    content = from_line(line).content
    assert isinstance(content, Begin)
    assert content.argv == ("?",)


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        (AUTOMATED, {"before": "on"}),
        (AUTOMATED, {"before": {"x": 10**400}}),
        ((*AUTOMATED, "enabled"), {"before": "true"}),
        (REVISION, {"after": ["2.4.1"]}),
        (REVISION, {"before": "\ud800"}),
        (("spec", "source"), {"before": "2.4.1"}),
        (("spec", "source", "targetRevision", "deeper"), {"before": "2.4.1"}),
        (("spec", "sources", "*", "targetRevision"), {"before": "2.4.1"}),
        (AUTOMATED, {"item": {"applications": ["web"]}, "index": 0, "present": True}),
        (AUTOMATED, {"before": float("nan")}),
        (AUTOMATED, {"before": json.loads('{"x":' * 200 + "1" + "}" * 200)}),
    ],
    ids=str,
)
def test_a_value_that_the_field_cannot_have(path: Path, rest: dict[str, Any]) -> None:
    edit = Edit(REF, (FieldChange(REVISION, "2.4.1", "2.5.1"),), "why", Role.VERSION)
    line = json.loads(to_line(Record("abcdef", "00001-abcdef", Intent(0, edit))))
    line["edit"]["role"] = encoding.role_of(REF.kind, path).value
    line["edit"]["changes"] = [{"path": list(path), **rest}]
    with pytest.raises(Untrusted):
        from_line(json.dumps(line))


@pytest.mark.parametrize(
    "item", [{"applications": [{"a": 1}]}, {"applications": 5}, {"clusters": [None]}, "web", 7, None]
)
def test_a_window_that_is_none(item: Any) -> None:
    window = {"kind": "deny", "applications": ["web"]}
    edit = Edit(
        Ref("AppProject", "argocd", "x", "u"), (MemberChange(WINDOWS, window, 0, False),), "", Role.WINDOW
    )
    line = json.loads(to_line(Record("abcdef", "00001-abcdef", Intent(0, edit))))
    assert from_line(json.dumps(line)).content
    line["edit"]["changes"][0]["item"] = item
    with pytest.raises(Untrusted, match="a value that its field cannot have"):
        from_line(json.dumps(line))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_out_of_range(time: str) -> None:
    line = json.loads(to_line(Record("abcdef", "00001-abcdef", End("ok", NOW))))
    line["end"]["at"] = time
    with pytest.raises(Untrusted, match="out of range"):
        from_line(json.dumps(line))


# -- fuzz

LINES = [
    to_line(Record("abcdef", "00001-abcdef", c))
    for c in (
        Begin("pin", ("pin",), "alice", "laptop", NOW, "why", "argocd", expires=NOW),
        Intent(0, Edit(REF, (FieldChange(REVISION, "a", "b"), MemberChange(REVISION, "a", 1, True)), "why", Role.VERSION)),
        Intent(0, Edit(REF, (FieldChange(("spec", "sources", Match((("chart", "x"), ("ref", ABSENT)), 0), "x"), "a", "b"),), "", Role.VERSION)),
        Intent(1, Order(REF, "id", {"sync": {}}, "why")),
        Outcome({0: "applied"}, "", NOW),
        Settled({(0, 0): "restored"}, "abcdef", NOW),
        Reopened(((0, 0),), "abcdef"),
        Context((Reliance(REF.key, FieldChange(REVISION, ABSENT, 1)),), (Witness(REF.key, "r", "p", "t", "v"),)),
        End("ok", NOW),
    )
]  # fmt: skip


def reads(text: str) -> None:
    try:
        from_line(text)
    except Untrusted:
        pass


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "replace")))
@settings(max_examples=SIZE, deadline=None)
def test_any_text_is_a_record_or_untrusted(text: str) -> None:
    reads(text)


weird = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def _places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(p for key, child in children for p in _places(child, (*at, key)))]


@given(st.sampled_from(LINES), st.data())
@settings(max_examples=SIZE * 4, deadline=None)
def test_any_damage_to_a_record_is_a_record_or_untrusted(line: str, data: st.DataObject) -> None:
    document = json.loads(line)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(_places(document)))
        value = data.draw(weird)
        if not place:
            document = value
            break
        node = document
        for key in place[:-1]:
            node = node[key]
        if data.draw(st.booleans()):
            node[place[-1]] = value
        elif isinstance(node, dict):
            del node[place[-1]]
    reads(json.dumps(document))


@pytest.mark.parametrize("line", LINES)
def test_no_part_of_a_line_is_a_record(line: str) -> None:
    for end in range(len(line)):
        with pytest.raises(Untrusted):
            from_line(line[:end])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"v":' * 50_000, '{"v":1e999}', '{"v":' + "9" * 5000 + "}"])
def test_what_breaks_parsers_is_untrusted(text: str) -> None:
    with pytest.raises(Untrusted):
        from_line(text)


# -- forged


def forged(number: int, change: Callable[[Any], None]) -> str:
    document = json.loads(LINES[number])
    change(document)
    return json.dumps(document)


def _path(*steps: Any) -> Callable[[Any], None]:
    return lambda d: d["edit"]["changes"][0].update(path=list(steps))


@pytest.mark.parametrize(
    ("number", "change"),
    [
        pytest.param(1, _path("spec", "project"), id="a field never written"),
        pytest.param(1, _path("metadata", "annotations", "x"), id="metadata"),
        pytest.param(1, _path("status"), id="status"),
        pytest.param(1, _path("spec", "destination", "server"), id="the destination"),
        pytest.param(1, _path(), id="no path"),
        pytest.param(1, _path("spec", "source", *"abcdefghijkl"), id="a path too long"),
        pytest.param(1, lambda d: d["edit"]["ref"].update(kind="Secret"), id="a Secret"),
        pytest.param(1, lambda d: d["edit"]["ref"].update(kind="AppProject"), id="another kind's field"),
        pytest.param(1, lambda d: d["edit"]["ref"].update(name="x" * 254), id="a name too long"),
        pytest.param(1, lambda d: d["edit"].update(role="root"), id="an unknown role"),
        pytest.param(1, lambda d: d["edit"].update(role=[]), id="a role of another type"),
        pytest.param(1, lambda d: d["edit"].update(reason="x" * 5000), id="a reason too long"),
        pytest.param(1, lambda d: d["edit"].update(number=-1), id="a negative number"),
        pytest.param(1, lambda d: d["edit"].update(number=True), id="a number of another type"),
        pytest.param(1, lambda d: d["edit"]["changes"][1].update(present="yes"), id="no direction"),
        pytest.param(3, lambda d: d["order"]["ref"].update(kind="AppProject"), id="an order for a project"),
        pytest.param(3, lambda d: d["order"].update(kind="DELETE"), id="an unknown order"),
        pytest.param(0, lambda d: d.update(v=encoding.FORMAT + 1), id="a newer format"),
        pytest.param(0, lambda d: d.update(v="1"), id="a format of another type"),
        pytest.param(0, lambda d: d.pop("v"), id="no format"),
        pytest.param(0, lambda d: d.update(entry="../../x"), id="an entry that is a path"),
        pytest.param(0, lambda d: d.update(entry="ABCDEF"), id="an entry id malformed"),
        pytest.param(0, lambda d: d.update(id="1"), id="a record id malformed"),
        pytest.param(0, lambda d: d["begin"].update(started="2026-11-27T17:00:00"), id="a time without zone"),
        pytest.param(0, lambda d: d["begin"].update(started="yesterday"), id="a time malformed"),
        pytest.param(0, lambda d: d["begin"].update(started=None), id="no time"),
        pytest.param(0, lambda d: d["begin"].update(argv="pin"), id="argv no list"),
        pytest.param(0, lambda d: d["begin"].update(actor=None), id="no actor"),
        pytest.param(4, lambda d: d["outcome"].update(of={"x": "applied"}), id="an outcome of nothing"),
        pytest.param(5, lambda d: d["settled"].update(changes=[[0, 0]]), id="settled without how"),
        pytest.param(6, lambda d: d["reopened"].update(changes=[[0]]), id="reopened without change"),
        pytest.param(7, lambda d: d["context"].update(relies=[1]), id="a reliance malformed"),
        pytest.param(8, lambda d: d.pop("end"), id="an unknown kind of record"),
        pytest.param(0, lambda d: d["begin"].update(reason="x" * encoding.MAX_RECORD), id="too large"),
    ],
)  # fmt: skip
def test_a_forged_record_is_refused(number: int, change: Callable[[Any], None]) -> None:
    with pytest.raises(Untrusted):
        from_line(forged(number, change))


def test_an_older_reader_of_an_older_order_takes_it_for_a_start() -> None:
    back = from_line(forged(3, lambda d: d["order"].pop("kind"))).content
    assert isinstance(back, Intent) and isinstance(back.what, Order)
    assert back.what.kind is OrderKind.START


# -- folding

BEGIN = Begin("pin", (), "alice", "laptop", NOW, "", "argocd")


def edit(*paths_and_values: tuple[Any, Any], ref: Ref = REF) -> Edit:
    made = tuple(FieldChange(REVISION, b, a) for b, a in paths_and_values)
    return Edit(ref, made, "why", Role.VERSION)


def entry_of(*made: Content, homes: tuple[str, ...] = ()) -> Entry:
    lines = [Record("abcdef", f"{i:05d}-aaaaaa", c) for i, c in enumerate(made, 1)]
    folded = fold(lines, homes)
    assert folded is not None
    return folded


@given(st.lists(contents, max_size=8), st.randoms(use_true_random=False), st.data())
@settings(max_examples=SIZE, deadline=None)
def test_the_fold_does_not_depend_on_order_or_repeats(
    made: list[Content], rng: random.Random, data: st.DataObject
) -> None:
    lines = [Record("abcdef", f"{i:05d}-aaaaaa", c) for i, c in enumerate([BEGIN, *made], 1)]
    shuffled = lines + data.draw(st.lists(st.sampled_from(lines), max_size=5))
    rng.shuffle(shuffled)
    once, again = fold(lines), fold(shuffled)
    assert once == again and once is not None and again is not None
    assert once.records == again.records


def test_without_its_first_record_there_is_no_entry() -> None:
    assert fold([Record("abcdef", "00002-aaaaaa", End("ok"))]) is None
    assert fold([]) is None


def test_a_new_intent_under_the_same_number_is_what_was_sent() -> None:
    folded = entry_of(
        BEGIN, Intent(0, edit(("a", "b"))), Outcome({0: "conflict"}), Intent(0, edit(("x", "b")))
    )
    assert folded.intents == {0: edit(("x", "b"))} and folded.outcomes == {}
    assert folded.is_in_doubt(0) and folded.state == "in-doubt"


@pytest.mark.parametrize(
    ("made", "state", "is_open"),
    [
        ([Intent(0, edit(("a", "b")))], "in-doubt", True),
        ([Intent(0, edit(("a", "b"))), Outcome({0: "applied"})], "open", True),
        ([Intent(0, edit(("a", "b"))), Outcome({0: "not-applied"})], "done", False),
        ([Intent(0, edit(("a", "b"))), Outcome({0: "conflict"})], "done", False),
        ([Intent(0, edit(("a", "b"), ("c", "d"))), Outcome({0: "applied"}), Settled({(0, 0): "restored"}, "fed")], "partly-undone", True),
        ([Intent(0, edit(("a", "b"))), Outcome({0: "applied"}), Settled({(0, 0): "restored"}, "fed", NOW)], "undone", False),
        ([Intent(0, edit(("a", "b"))), Outcome({0: "applied"}), Settled({(0, 0): "restored"}, "fed"), Reopened(((0, 0), (0, 9)), "fee")], "open", True),
        ([Intent(0, Order(REF, "id", {}, "why")), Outcome({0: "applied"})], "done", False),
        ([], "done", False),
    ],
)  # fmt: skip
def test_states(made: list[Content], state: str, is_open: bool) -> None:
    folded = entry_of(BEGIN, *made)
    assert (folded.state, folded.is_open) == (state, is_open)


def test_an_undo_owes_nothing_itself() -> None:
    undo = Begin("undo", (), "", "", NOW, "", "argocd", undoes=("abcdef",))
    assert entry_of(undo, Intent(0, edit(("a", "b")))).state == "in-doubt"
    done = entry_of(undo, Intent(0, edit(("a", "b"))), Outcome({0: "applied"}))
    assert (done.state, done.is_open) == ("done", False)


def test_everything_is_gathered() -> None:
    reliance = Reliance(REF.key, FieldChange(REVISION, ABSENT, 1))
    witness = Witness(REF.key, "r", "p", "t", "v")
    order = Order(REF, "id", {}, "why")
    folded = entry_of(
        BEGIN,
        Context((reliance,), (witness,)),
        Intent(1, order),
        Intent(0, edit(("a", "b"), ("b", "c"))),
        Outcome({0: "applied"}, "slow", NOW),
        Settled({(0, 1): "kept"}, "fed", NOW),
        End("ok", NOW + timedelta(seconds=1)),
        homes=("local",),
    )
    assert folded.begin is BEGIN and folded.id == "abcdef" and folded.homes == {"local"}
    assert (folded.relies, folded.witnesses, folded.details) == ((reliance,), (witness,), ("slow",))
    assert (folded.ended, folded.ended_at, folded.settled_at) == ("ok", NOW + timedelta(seconds=1), NOW)
    assert folded.orders() == [(1, order)] and [n for n, _ in folded.edits()] == [0]
    assert [(n, i) for n, i, _, _ in folded.unsettled()] == [(0, 0)]


def test_the_next_number_comes_after_all_that_were_seen() -> None:
    assert next_number([]) == 1
    seen = [Record("abcdef", f"{i:05d}-ffffff", End("ok")) for i in (3, 1)]
    assert record_id(next_number(seen), "abcdef") == "00004-abcdef"


def test_what_neighbours_did() -> None:
    other = Ref("Application", "argocd", "web", "u2")
    one, two, three = (FieldChange(REVISION, str(i), "x") for i in range(3))

    def entry(id: str, *made: Content) -> Entry:
        folded = fold([Record(id, f"{i:05d}-aaaaaa", c) for i, c in enumerate(made, 1)])
        assert folded is not None
        return folded

    def intent(number: int, *made: Change, ref: Ref = REF) -> Intent:
        return Intent(number, Edit(ref, made, "", Role.VERSION))

    undo = Begin("undo", (), "", "", NOW, "", "argocd", undoes=("aaaaaa",))
    entries = [
        entry("aaaaaa", BEGIN, intent(0, one)),
        entry(
            "bbbbbb",
            BEGIN,
            intent(0, two, three),
            Outcome({0: "applied"}),
            Settled({(0, 1): "restored"}, "x"),
        ),
        entry("cccccc", BEGIN, intent(0, one), Outcome({0: "not-applied"})),
        entry("dddddd", BEGIN, intent(0, one, ref=other)),
        entry("eeeeee", undo, intent(0, one)),
    ]
    assert neighbours(entries, REF, ["aaaaaa"]) == [Neighbour(two, True), Neighbour(three, False)]
    assert neighbours(entries, REF, []) == [
        Neighbour(one, True),
        Neighbour(two, True),
        Neighbour(three, False),
    ]


def test_a_version_that_calls_itself_a_pause_is_refused() -> None:
    forged = Intent(0, Edit(REF, (FieldChange(REVISION, "2.4.1", "2.5.1"),), "why", Role.PAUSE))
    line = to_line(Record("abcdef", "00001-abcdef", forged))
    with pytest.raises(Untrusted, match="calls itself a pause"):
        from_line(line)
