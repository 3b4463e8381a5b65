"""Applies RFC 6902 as kube-apiserver does: gopkg.in/evanphx/json-patch.v4 v4.13.0 on Go-encoded JSON.

It differs from python-jsonpatch where it matters to us: scalars of a `test` are compared byte for
byte with Go's encoding, `test null` passes on an absent key, `replace` adds a missing key.
Mirrors patch.go and merge.go of that module; nothing here is shared with the code that builds
patches, so that the two can be held against each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias, Union

from msgspec import Struct

ACCUMULATED_COPY_LIMIT = 3 * 1024 * 1024
"""apiserver: server/config.go sets jsonpatch.AccumulatedCopySizeLimit to the request body limit."""
MAX_OPERATIONS = 10_000
"""apiserver: endpoints/handlers/patch.go maxJSONPatchOperations."""


class MalformedPatch(ValueError):
    """The document is no JSON Patch at all: 400."""


class PatchNotApplied(ValueError):
    """One operation does not apply; the message is evanphx's own, which the server does not show."""


class ServerPanic(Exception):
    """evanphx dereferences nil here; the API server answers 500."""


class Scalar(Struct):
    """A string, number or boolean as the bytes that stand in the document."""

    text: str


class Null(Struct):
    """evanphx's lazyNode whose raw is nil: a null that came in as the value of an operation."""


Node: TypeAlias = Union[Scalar, Null, "dict[str, Node | None]", "list[Node | None]", None]
"""None is Go's nil *lazyNode: null inside a document."""


_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"true|false|null")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_INT64 = range(-(2**63), 2**63)


def _unescape(text: str) -> str:
    body = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED[m[2]], text[1:-1])
    if any("\ud800" <= c <= "\udfff" for c in body):
        body = body.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return body


class _Reader:
    """Reads JSON and keeps every scalar as it is written, which Python's own json module drops."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.duplicates: list[str] = []

    def document(self) -> Node:
        node = self._value()
        self._space()
        if self.at != len(self.text):
            raise MalformedPatch(f"invalid character {self.text[self.at]!r} after top-level value")
        return node

    def _space(self) -> str:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def _token(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self._unexpected()
        self.at = found.end()
        return found[0]

    def _unexpected(self) -> MalformedPatch:
        here = self.text[self.at : self.at + 1]
        return MalformedPatch(f"invalid character '{here}'" if here else "unexpected end of JSON input")

    def _value(self) -> Node:
        first = self._space()
        if first == "{":
            return self._object()
        if first == "[":
            return self._array()
        if first == '"':
            return Scalar(self._token(_STRING))
        if first in "-0123456789" and first:
            return Scalar(self._token(_NUMBER))
        word = self._token(_WORD)
        return None if word == "null" else Scalar(word)

    def _object(self) -> dict[str, Node]:
        self.at += 1
        found: dict[str, Node] = {}
        if self._space() == "}":
            self.at += 1
            return found
        while True:
            self._space()
            key = _unescape(self._token(_STRING))
            if self._space() != ":":
                raise self._unexpected()
            self.at += 1
            if key in found:
                self.duplicates.append(key)
            found[key] = self._value()
            if not self._more("}"):
                return found

    def _array(self) -> list[Node]:
        self.at += 1
        found: list[Node] = []
        if self._space() == "]":
            self.at += 1
            return found
        while True:
            found.append(self._value())
            if not self._more("]"):
                return found

    def _more(self, end: str) -> bool:
        here = self._space()
        if here not in (",", end) or not here:
            raise self._unexpected()
        self.at += 1
        return here == ","


def read(document: bytes) -> Node:
    """Parse JSON bytes and keep its scalars as they stand."""
    return _Reader(document.decode("utf-8", "replace")).document()


_GO_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}
_GO_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')


def go_string(text: str) -> str:
    """Encode a string as Go's encoding/json does with HTML escaping on."""
    return '"' + _GO_ESCAPED.sub(lambda m: _GO_ESCAPES.get(m[0], f"\\u{ord(m[0]):04x}"), text) + '"'


def go_number(number: float) -> str:
    """Encode a float64 as Go's encoding/json does (encode.go floatEncoder)."""
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        if number.is_integer():
            return ("-0" if math.copysign(1, number) < 0 else "0") if number == 0 else str(int(number))
        text = repr(number)
        return format(Decimal(text), "f") if "e" in text else text
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].lstrip('0')}"


def go_json(value: Any) -> str:
    """Encode a Python value as kube-apiserver encodes a stored object, keys sorted."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return go_string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return go_number(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{go_string(k)}:{go_json(value[k])}" for k in sorted(value)) + "}"
    return "[" + ",".join(go_json(item) for item in value) + "]"


def node_of(value: Any) -> Node:
    """The document node of a Python value, scalars in Go's encoding."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: node_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [node_of(item) for item in value]
    return Scalar(go_json(value))


def value_of(node: Node) -> Any:
    """The Python value of a node; numbers as the API server reads them (int64, else float64)."""
    if node is None or isinstance(node, Null):
        return None
    if isinstance(node, dict):
        return {key: value_of(item) for key, item in node.items()}
    if isinstance(node, list):
        return [value_of(item) for item in node]
    text = node.text
    if text[0] == '"':
        return _unescape(text)
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?[0-9]+", text) and int(text) in _INT64:
        return int(text)
    return float(text)


_HTML = re.compile("[<>&\u2028\u2029]")


def _marshalled(node: Node) -> Node:
    """evanphx: deepCopy goes through json.Marshal, which escapes HTML in raw text as well."""
    if isinstance(node, dict):
        return {key: _marshalled(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_marshalled(item) for item in node]
    if isinstance(node, Scalar):
        return Scalar(_HTML.sub(lambda m: _GO_ESCAPES[m[0]], node.text))
    return None


def _copy(node: Node) -> Node:
    if isinstance(node, dict):
        return {key: _copy(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_copy(item) for item in node]
    return node


def _size(node: Node) -> int:
    if isinstance(node, Scalar):
        return len(node.text.encode())
    if isinstance(node, dict):
        inner = sum(len(go_string(k).encode()) + 1 + _size(v) for k, v in node.items())
        return inner + max(len(node) - 1, 0) + 2
    if isinstance(node, list):
        return sum(_size(v) for v in node) + max(len(node) - 1, 0) + 2
    return len("null")


def _equal(node: Node, other: Node) -> bool:
    """evanphx: lazyNode.equal, its nil dereferences included."""
    if node is None or other is None:
        raise ServerPanic("invalid memory address or nil pointer dereference")
    if isinstance(node, Null) or isinstance(other, Null):
        return isinstance(node, Null) and isinstance(other, Null)
    if isinstance(node, dict):
        if not isinstance(other, dict) or len(node) != len(other):
            return False
        for key, value in node.items():
            if key not in other or (value is None) != (other[key] is None):
                return False
            if value is not None and not _equal(value, other[key]):
                return False
        return True
    if isinstance(node, list):
        if not isinstance(other, list) or len(node) != len(other):
            return False
        return all(_equal(mine, theirs) for mine, theirs in zip(node, other, strict=True))
    return isinstance(other, Scalar) and node.text == other.text


_INDEX = re.compile(r"[+-]?[0-9]+")


def _index(key: str) -> int:
    if not _INDEX.fullmatch(key) or int(key) not in _INT64:
        raise PatchNotApplied(f'strconv.Atoi: parsing "{key}": invalid syntax')
    return int(key)


def _bad_index(index: int) -> PatchNotApplied:
    return PatchNotApplied(f"Unable to access invalid index: {index}: invalid index referenced")


Container: TypeAlias = Union["dict[str, Node]", "list[Node]"]


def _get(container: Container, key: str) -> Node:
    if isinstance(container, dict):
        return container.get(key)
    index = _index(key)
    if not -len(container) <= index < len(container):
        raise _bad_index(index)
    return container[index]


def _set(container: Container, key: str, value: Node) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container[_index(key)] = value


def _add(container: Container, key: str, value: Node) -> None:
    if isinstance(container, dict):
        container[key] = value
        return
    if key == "-":
        container.append(value)
        return
    index = _index(key)
    size = len(container) + 1
    if not -size <= index < size:
        raise _bad_index(index)
    container.insert(index if index >= 0 else index + size, value)


def _remove(container: Container, key: str) -> None:
    if isinstance(container, dict):
        if key not in container:
            raise PatchNotApplied(f"Unable to remove nonexistent key: {key}: missing value")
        del container[key]
        return
    index = _index(key)
    if not -len(container) <= index < len(container):
        raise _bad_index(index)
    del container[index]


class _Application:
    """One run of a patch over one document."""

    def __init__(self, document: Container) -> None:
        self.root = document
        self.copied = 0

    def run(self, operation: Node) -> None:
        fields = operation if isinstance(operation, dict) else {}
        kind = self._text(fields, "op") or "unknown"
        steps: dict[str, Callable[[dict[str, Node]], None]] = {
            "add": self._op_add,
            "remove": self._op_remove,
            "replace": self._op_replace,
            "move": self._op_move,
            "test": self._op_test,
            "copy": self._op_copy,
        }
        if kind not in steps:
            raise PatchNotApplied(f"Unexpected kind: {kind}")
        steps[kind](fields)

    @staticmethod
    def _text(fields: dict[str, Node], name: str) -> str | None:
        value = fields.get(name)
        if isinstance(value, Scalar) and value.text.startswith('"'):
            return _unescape(value.text)
        return None

    def _pointer(self, fields: dict[str, Node], name: str) -> str:
        found = self._text(fields, name)
        if found is None:
            raise PatchNotApplied(f"operation failed to decode {name}: missing value")
        return found

    def _find(self, pointer: str) -> tuple[Container, str]:
        """evanphx: findObject; what stands before the first slash is ignored there."""
        parts = pointer.split("/")
        here: Node = self.root
        if len(parts) < 2:
            raise PatchNotApplied(f'doc is missing path: "{pointer}": missing value')
        for part in parts[1:-1]:
            if not isinstance(here, (dict, list)):
                raise PatchNotApplied(f'doc is missing path: "{pointer}": missing value')
            here = _get(here, _decode_key(part))
        if not isinstance(here, (dict, list)):
            raise PatchNotApplied(f'doc is missing path: "{pointer}": missing value')
        return here, _decode_key(parts[-1])

    @staticmethod
    def _value(fields: dict[str, Node]) -> Node:
        """evanphx: Operation.value; null as value is a node, no value at all is none."""
        if "value" not in fields:
            return None
        value = fields["value"]
        return Null() if value is None else _copy(value)

    def _op_add(self, fields: dict[str, Node]) -> None:
        container, key = self._find(self._pointer(fields, "path"))
        _add(container, key, self._value(fields))

    def _op_remove(self, fields: dict[str, Node]) -> None:
        container, key = self._find(self._pointer(fields, "path"))
        _remove(container, key)

    def _op_replace(self, fields: dict[str, Node]) -> None:
        pointer = self._pointer(fields, "path")
        if pointer == "":
            value = self._value(fields)
            if value is None:
                raise ServerPanic("invalid memory address or nil pointer dereference")
            if not isinstance(value, (dict, list)):
                raise PatchNotApplied("replace operation value must be object or array")
            self.root = value
            return
        container, key = self._find(pointer)
        _get(container, key)
        _set(container, key, self._value(fields))

    def _op_move(self, fields: dict[str, Node]) -> None:
        container, key = self._find(self._pointer(fields, "from"))
        value = _get(container, key)
        _remove(container, key)
        container, key = self._find(self._pointer(fields, "path"))
        _add(container, key, value)

    def _op_copy(self, fields: dict[str, Node]) -> None:
        container, key = self._find(self._pointer(fields, "from"))
        value = _marshalled(_get(container, key))
        container, key = self._find(self._pointer(fields, "path"))
        self.copied += _size(value) if value is not None else 0
        if self.copied > ACCUMULATED_COPY_LIMIT:
            raise PatchNotApplied("Unable to complete the copy, the accumulated size increase is too large")
        _add(container, key, value)

    def _op_test(self, fields: dict[str, Node]) -> None:
        pointer = self._pointer(fields, "path")
        expected = self._value(fields)
        if pointer == "":
            holds = _equal(self.root, expected)
        else:
            container, key = self._find(pointer)
            value = _get(container, key)
            if value is None:
                holds = expected is None or isinstance(expected, Null)
            else:
                holds = expected is not None and _equal(value, expected)
        if not holds:
            raise PatchNotApplied(f"testing value {pointer} failed: test failed")


def _decode_key(part: str) -> str:
    """evanphx: decodePatchKey, one pass over both escapes."""
    return re.sub("~[01]", lambda m: "/" if m[0] == "~1" else "~", part)


def operations_of(patch: bytes) -> list[Node]:
    """Read the patch document; its operations are judged when they run (evanphx: DecodePatch)."""
    document = read(patch)
    if document is None:
        return []
    if not isinstance(document, list):
        raise MalformedPatch("json: cannot unmarshal into Go value of type jsonpatch.Patch")
    for operation in document:
        if operation is not None and not isinstance(operation, dict):
            raise MalformedPatch("json: cannot unmarshal into Go value of type jsonpatch.Operation")
    return document


def strict_errors(patch: bytes) -> list[str]:
    """What `fieldValidation` Warn and Strict find in a patch document (apiserver: applyJSPatch).

    Raises MalformedPatch where a member has the wrong type, which Ignore lets pass.
    """
    reader = _Reader(patch.decode("utf-8", "replace"))
    document = reader.document()
    found = [f'json patch duplicate field "{name}"' for name in reader.duplicates]
    for index, operation in enumerate(document if isinstance(document, list) else []):
        if not isinstance(operation, dict):
            continue
        for name, value in operation.items():
            if name in ("op", "path", "from"):
                if value is not None and not (isinstance(value, Scalar) and value.text.startswith('"')):
                    raise MalformedPatch(
                        f"json: cannot unmarshal into Go struct field jsonPatchOp.{name} of type string"
                    )
            elif name != "value":
                found.append(f'json patch unknown field "[{index}].{name}"')
    return found


def apply_patch(document: Any, patch: bytes) -> Any:
    """The document after the patch; raises MalformedPatch, PatchNotApplied or ServerPanic."""
    run = _Application(node_of(document))  # type: ignore[arg-type]  # the document is an object
    for operation in operations_of(patch):
        run.run(operation)
    return value_of(run.root)


def apply_merge_patch(document: Any, patch: bytes) -> Any:
    """The document after an RFC 7386 merge patch; MalformedPatch where it is no object."""
    changes = value_of(read(patch))
    if not isinstance(changes, dict):
        raise MalformedPatch("json: cannot unmarshal into Go value of type map[string]interface {}")
    return _merge(document, changes)


def _merge(document: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
