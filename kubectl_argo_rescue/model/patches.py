"""Wanted changes of one object as guarded RFC 6902 operations, and the same changes on a copy.

Operations are built from what is wanted, never by diffing objects: each names one field or one
list item, and is led by a `test` of what was read. Nothing here judges a guard; the server does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeAlias

from .discretion import told, without_values
from .values import ABSENT, JSON, Change, FieldChange, Match, MemberChange, Path, Ref

Op: TypeAlias = dict[str, JSON]

_LINE_ESCAPES = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})
_GO_ESCAPES = {**str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}), **_LINE_ESCAPES}


# A string, or a number that Python may write otherwise than Go: one with a point or an exponent.
_TOKEN = r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)'


class Unresolved(Exception):
    """The path leads to nothing in this object: a list item that it selects is not there."""


def encode(value: JSON) -> bytes:
    """Encode JSON byte for byte as Go's encoding/json does.

    The API server compares the scalars of a `test` with its own encoding of the stored object
    (evanphx/json-patch lazyNode.equal), so `>=2.4` must leave here as `\\u003e=2.4`.
    """
    return _written(value).translate(_GO_ESCAPES).encode("utf-8", "surrogatepass")


def _written(value: JSON) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub(_TOKEN, lambda token: _go_float(token[0]), text)


def _go_float(token: str) -> str:
    """Write a float as Go does (encoding/json floatEncoder): plain from 1e-6 up to 1e21, else `1e-7`."""
    if token.startswith('"'):
        return token
    number = float(token)
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        plain = format(Decimal(token), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa, _, exponent = token.partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"


def shown(value: JSON, before: JSON = ABSENT) -> str:
    """Say a value in a message: JSON without what may be secret, or `(absent)`."""
    text = shown_whole(without_values(value, before))
    return text if len(text) <= 200 else text[:199] + "…"


def shown_whole(value: JSON) -> str:
    """Say a value with all that is in it, for those who ask for that."""
    if value is ABSENT:
        return "(absent)"
    text = _written(told(value)).translate(_LINE_ESCAPES)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def pointer(parts: Iterable[str | int]) -> str:
    """Join reference tokens to an RFC 6901 pointer."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)


def show_path(path: Path) -> str:
    """Say a path as people write pointers; a selected item shows the index at which it was seen."""
    return pointer(s.index if isinstance(s, Match) else s for s in path)


def show_change(change: Change) -> str:
    """Say a change in one string, without what may be secret: the same for changes that do the same."""
    if isinstance(change, FieldChange):
        after = "absent" if change.after is ABSENT else encode(told(without_values(change.after))).decode()
        return f"{show_path(change.path)} to {after}"
    return f"{show_path(change.path)} {'+' if change.present else '-'} {encode(change.item).decode()}"


def equal(a: JSON, b: JSON) -> bool:
    """Compare as the API server does for our purposes: null and absent are one."""
    if a is ABSENT or a is None:
        return b is ABSENT or b is None
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def first_missing(wanted: JSON, there: JSON, where: str = "") -> tuple[str, JSON, JSON] | None:
    """Return the first value of `wanted` that `there` has not: (pointer, wanted, there).

    What is there besides does not matter, also among the items of a list that have names.
    """
    if isinstance(wanted, dict) and isinstance(there, dict):
        pairs = [(name, value, there.get(name, ABSENT)) for name, value in wanted.items()]
    elif isinstance(wanted, list) and isinstance(there, list):
        pairs = [(str(i), item, _counterpart(item, i, there)) for i, item in enumerate(wanted)]
    else:
        return None if equal(there, wanted) else (where, wanted, there)
    found = (first_missing(value, other, where + pointer([name])) for name, value, other in pairs)
    return next((missing for missing in found if missing), None)


def _counterpart(item: JSON, index: int, items: Sequence[JSON]) -> JSON:
    if isinstance(item, dict) and "name" in item:
        return next((o for o in items if isinstance(o, dict) and o.get("name") == item["name"]), ABSENT)
    return items[index] if index < len(items) else ABSENT


def holds(item: JSON, match: Match) -> bool:
    """Whether a list item has the content that `match` selects by."""
    if not isinstance(item, dict):
        return not match.content
    return all(equal(item.get(name, ABSENT), value) for name, value in match.content)


def find(items: JSON, match: Match) -> int:
    """Return the index of the list item that `match` selects.

    Where several items have the content, the one at the index where it was seen is meant, else
    the first. Raises Unresolved where none has it.
    """
    if isinstance(items, list):
        if 0 <= match.index < len(items) and holds(items[match.index], match):
            return match.index
        if match.content:
            for index, item in enumerate(items):
                if holds(item, match):
                    return index
    raise Unresolved(f"no item with {dict(match.content)!r}" if match.content else "no such item")


def resolve(path: Path, obj: JSON) -> list[str | int]:
    """Turn a path into the tokens of a pointer into `obj`, as far as its list items exist.

    Missing field names are kept as they are; Raises Unresolved for a list item that is not there.
    """
    tokens: list[str | int] = []
    node: JSON = obj
    for step in path:
        token: str | int = step if isinstance(step, str) else find(node, step)
        tokens.append(token)
        node = _child(node, token)
    return tokens


def _child(node: JSON, token: str | int) -> JSON:
    if isinstance(node, dict):
        return node.get(token, ABSENT)
    if isinstance(node, list) and isinstance(token, int) and 0 <= token < len(node):
        return node[token]
    return ABSENT


def read(path: Path, obj: JSON) -> JSON:
    """Return the value at `path`, ABSENT where there is none. Raises Unresolved as `resolve`."""
    node = obj
    for token in resolve(path, obj):
        node = _child(node, token)
    return node


def position(items: JSON, item: JSON, index: int) -> int:
    """Return where `item` is in a list, looking at `index` first; -1 where it is not."""
    if not isinstance(items, list):
        return -1
    if 0 <= index < len(items) and equal(items[index], item):
        return index
    return next((i for i, other in enumerate(items) if equal(other, item)), -1)


def in_order(changes: Sequence[Change]) -> list[Change]:
    """Order the changes of one object so that none moves the place of a later one.

    Items are put in from the front, then fields are set, then items are taken out from the back.
    """

    def rank(change: Change) -> tuple[int, int, int]:
        if isinstance(change, FieldChange):
            return (1, 0, 0)
        if change.present:
            return (0, len(change.path), change.index)
        return (2, -len(change.path), -change.index)

    return sorted(changes, key=rank)


def inverse(change: Change) -> Change:
    """Return the change that takes this one back."""
    if isinstance(change, FieldChange):
        return FieldChange(change.path, change.after, change.before)
    return MemberChange(change.path, change.item, change.index, not change.present, change.sole)


class _Draft:
    """A working copy of the object beside the operations that make it so."""

    def __init__(self, live: JSON, changes: Sequence[Change], *, guards: bool) -> None:
        # Of an object that is mostly status only what is changed is copied.
        touched = {change.path[0] for change in changes}
        self.obj = {name: copy.deepcopy(value) if name in touched else value for name, value in live.items()}
        self.ops: list[Op] = []
        self.guards = guards

    def test(self, tokens: Sequence[str | int], value: JSON) -> None:
        if self.guards:
            op = {
                "op": "test",
                "path": pointer(tokens),
                "value": None if value is ABSENT else copy.deepcopy(value),
            }
            # One guard is enough, until an operation has moved what its index means.
            if op not in self.ops or any(o["op"] != "test" for o in self.ops):
                self.ops.append(op)

    def guard_items(self, path: Path) -> None:
        """Test the content of every list item that the path goes through."""
        tokens: list[str | int] = []
        node: JSON = self.obj
        for step in path:
            if isinstance(step, Match):
                tokens.append(find(node, step))
                node = _child(node, tokens[-1])
                for name, _ in step.content:
                    self.test([*tokens, name], _child(node, name))
            else:
                tokens.append(step)
                node = _child(node, step)

    def add(self, tokens: list[str | int], value: JSON) -> None:
        """Add a field, with the parents that are missing, each guarded by its own absence."""
        depth = 1
        while depth < len(tokens) and _node(self.obj, tokens[:depth]) not in (ABSENT, None):
            depth += 1
        for name in reversed(tokens[depth:]):
            value = {name: value}
        self.test(tokens[:depth], ABSENT)
        self._put("add", tokens[:depth], value)

    def replace(self, tokens: list[str | int], before: JSON, value: JSON) -> None:
        self.test(tokens, before)
        self._put("replace", tokens, value)

    def insert(self, tokens: list[str | int], index: int, item: JSON) -> None:
        """Put an item into a list that is there; the list as read is the guard against a second copy."""
        items = _node(self.obj, tokens)
        self.test(tokens, items)
        index = min(index, len(items))
        items.insert(index, copy.deepcopy(item))
        self.ops.append({"op": "add", "path": pointer([*tokens, index]), "value": copy.deepcopy(item)})

    def remove(self, tokens: list[str | int], before: JSON) -> None:
        self.test(tokens, before)
        parent = _node(self.obj, tokens[:-1])
        del parent[tokens[-1]]
        self.ops.append({"op": "remove", "path": pointer(tokens)})

    def _put(self, op: str, tokens: list[str | int], value: JSON) -> None:
        parent = _node(self.obj, tokens[:-1])
        parent[tokens[-1]] = copy.deepcopy(value)
        self.ops.append({"op": op, "path": pointer(tokens), "value": copy.deepcopy(value)})


def _node(obj: JSON, tokens: Sequence[str | int]) -> JSON:
    for token in tokens:
        obj = _child(obj, token)
    return obj


def _draft(live: JSON, changes: Sequence[Change], *, guards: bool) -> _Draft:
    draft = _Draft(live, changes, guards=guards)
    for change in in_order(changes):
        tokens = resolve(change.path, draft.obj)
        now = _node(draft.obj, tokens)
        draft.guard_items(change.path)
        if isinstance(change, FieldChange):
            if equal(now, change.after):
                continue
            if change.after is ABSENT:
                draft.remove(tokens, now)
            elif now is ABSENT or now is None:
                draft.add(tokens, change.after)
            else:
                draft.replace(tokens, now, change.after)
        elif change.present:
            if isinstance(now, list):
                draft.insert(tokens, change.index, change.item)
            else:
                draft.add(tokens, [change.item])
        else:
            index = position(now, change.item, change.index)
            if index < 0:
                continue
            if change.sole and len(now) == 1:
                draft.remove(tokens, now)
            else:
                draft.remove([*tokens, index], now[index])
    return draft


def guarded_ops(live: JSON, ref: Ref, changes: Sequence[Change]) -> list[Op]:
    """Build the patch that makes `changes` of the object `live`, guarded by what `live` holds.

    The uid comes first, so that a re-created object is never patched. Returns an empty list where
    every change stands already. Raises Unresolved where a list item is not there.
    """
    draft = _draft(live, changes, guards=True)
    if all(op["op"] == "test" for op in draft.ops):
        return []
    return [{"op": "test", "path": "/metadata/uid", "value": ref.uid}, *draft.ops]


def applied(live: JSON, changes: Sequence[Change]) -> JSON:
    """Return `live` with the changes made, which itself stays as it is. Raises Unresolved as `guarded_ops`."""
    return _draft(live, changes, guards=False).obj


def without_guards(ops: Sequence[Op]) -> list[Op]:
    """Drop the tests of a patch: what is left can be simulated by the jsonpatch package."""
    return [op for op in ops if op["op"] != "test" and op["path"] != "/metadata/resourceVersion"]


def preview(live: JSON, ops: Sequence[Op]) -> JSON:
    """Compute what a patch makes of an object, for `--dry-run=client`; guards are not judged."""
    import jsonpatch  # lazy: only a preview needs it

    return jsonpatch.apply_patch(live, without_guards(ops))
