"""What the API server knows of the fields of each kind: names, types, what is required.

Argo CD's kinds stand in a table that tests/testbed/cut_schemas.py cuts from its own
CustomResourceDefinitions. From it come the answers to unknown fields, missing fields and wrong
types, and the schema in the simulated CustomResourceDefinitions.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from msgspec import Struct

from ..model.values import JSON, Resource

JSONSchema = dict[str, Any]
"""A structural schema as in a CustomResourceDefinition."""

TABLE: Final = "argocd_fields.json"
"""By kind and, after a #, by a name for what occurs more than once.

An object is written as its fields, `!` after those that are required, or as `{"*": …}` where keys
are free; an array as its items in brackets, or with [] after their name; an enumeration as a|b.
"""

_TEXT: Final[JSONSchema] = {"type": "string"}
_WORDS: Final[Mapping[str, JSONSchema]] = {
    "string": _TEXT,
    "time": {"type": "string", "format": "date-time"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int64"},
    "int-or-string": {"x-kubernetes-int-or-string": True},
    "object": {"type": "object"},
    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "any": {"x-kubernetes-preserve-unknown-fields": True},
}


def of(resource: Resource) -> JSONSchema:
    """The fields of one of Argo CD's kinds."""
    return _named(resource.kind)


@cache
def _table() -> JSON:
    return json.loads(resources.files(__name__.rpartition(".")[0]).joinpath(TABLE).read_text("utf-8"))


@cache
def _named(name: str) -> JSONSchema:
    return _read(_table()[name])


def _read(notation: JSON) -> JSONSchema:
    """A schema from the table's notation."""
    if isinstance(notation, list):
        return {"type": "array", "items": _read(notation[0])}
    if isinstance(notation, dict):
        if "*" in notation:
            return {"type": "object", "additionalProperties": _read(notation["*"])}
        found: JSONSchema = {"type": "object"}
        found["properties"] = {name.rstrip("!"): _read(inner) for name, inner in notation.items()}
        if required := [name[:-1] for name in notation if name.endswith("!")]:
            found["required"] = required
        return found
    if notation.endswith("[]"):
        return {"type": "array", "items": _read(notation[:-2])}
    if notation.startswith("#"):
        return _named(notation)
    if "|" in notation:
        return {**_TEXT, "enum": notation.split("|")}
    word, _, limit = notation.partition("<=")
    return {**_TEXT, "maxLength": int(limit)} if limit else _WORDS[word]


CONFIGMAP = _read(
    {
        "apiVersion": "string",
        "kind": "string",
        "metadata": "object",
        "data": {"*": "string"},
        "binaryData": {"*": "string"},
        "immutable": "boolean",
    }
)

METADATA = _read(
    {
        "annotations": {"*": "string"},
        "creationTimestamp": "time",
        "deletionGracePeriodSeconds": "integer",
        "deletionTimestamp": "time",
        "finalizers": "string[]",
        "generateName": "string",
        "generation": "integer",
        "labels": {"*": "string"},
        "managedFields": "any[]",
        "name": "string",
        "namespace": "string",
        "ownerReferences": [
            {
                "apiVersion": "string",
                "blockOwnerDeletion": "boolean",
                "controller": "boolean",
                "kind": "string",
                "name": "string",
                "uid": "string",
            }
        ],
        "resourceVersion": "string",
        "selfLink": "string",
        "uid": "string",
    }
)


def without(schema: JSONSchema, *path: str) -> JSONSchema:
    """The schema as an older release had it: that field not there."""
    found = copy.deepcopy(schema)
    here = found
    for name in path[:-1]:
        here = here["items"] if name == "items" else here["properties"][name]
    del here["properties"][path[-1]]
    return found


class FieldError(Struct, frozen=True):
    """One entry of `details.causes` (apimachinery: util/validation/field/errors.go)."""

    reason: str
    field: str
    body: str


_TYPE_WORDS: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d([.,]\d+)?([Zz]|[+-]\d\d:?\d\d)?")
_FITS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}


def _fits(value: Any, expected: str) -> bool:
    if isinstance(value, bool):
        return expected == "boolean"
    if expected == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _FITS[expected])


def _inside(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


_GO_TEXTS = frozenset({"data", "metadata.annotations", "metadata.labels"})
"""Decoded into Go's map[string]string, where null is the empty string."""


def prune(value: Any, schema: JSONSchema, path: str = "") -> tuple[Any, list[str]]:
    """Drop unknown fields and nulls, and name the unknown ones.

    apiextensions: pruning.PruneWithOptions, defaulting.PruneNonNullableNullsWithoutDefaults.
    """
    unknown: list[str] = []
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value, unknown
    if isinstance(value, list) and "items" in schema:
        items = []
        for index, item in enumerate(value):
            kept, found = prune(item, schema["items"], f"{path}[{index}]")
            items.append(kept)
            unknown += found
        return items, unknown
    if isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
        properties: Mapping[str, JSONSchema] = schema.get("properties", {})
        values: JSONSchema | None = schema.get("additionalProperties")
        fields_kept = {}
        for key, item in value.items():
            inner = properties.get(key, values)
            if inner is None:
                unknown.append(_inside(path, key))
            elif item is None and inner is _TEXT and values is _TEXT and path in _GO_TEXTS:
                fields_kept[key] = ""
            elif item is not None:
                fields_kept[key], found = prune(item, inner, _inside(path, key))
                unknown += found
        return fields_kept, unknown
    return value, unknown


def check(value: Any, schema: JSONSchema, path: str = "") -> Iterator[FieldError]:
    """What kube-openapi's validation says of the value (apiextensions: validation.ValidateCustomResource)."""
    expected = schema.get("type")
    if expected == "integer" and isinstance(value, float) and not value.is_integer():
        said = f'{path} in body must be of type int64: "float64"'
        yield FieldError("FieldValueTypeInvalid", path, f'Invalid value: "float64": {said}')
        said = f"Checked value must be of type integer with format int64 in {path}"
        yield FieldError("FieldValueInvalid", "<nil>", f'Invalid value: "": {said}')
        return
    if expected is not None and not _fits(value, expected):
        word = _TYPE_WORDS[type(value)]
        said = f'{path or "<nil>"} in body must be of type {expected}: "{word}"'
        yield FieldError("FieldValueTypeInvalid", path or "<nil>", f'Invalid value: "{word}": {said}')
        return
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                yield FieldError("FieldValueRequired", _inside(path, name), "Required value")
        properties = schema.get("properties", {})
        for key in sorted(value):
            inner = properties.get(key, schema.get("additionalProperties"))
            if inner is not None:
                yield from check(value[key], inner, _inside(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from check(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, str):
        if schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value):
            body = f'Invalid value: "{value}": {path} in body must be of type date-time: "{value}"'
            yield FieldError("FieldValueTypeInvalid", path, body)
        if "enum" in schema and value not in schema["enum"]:
            listed = ", ".join(f'"{word}"' for word in schema["enum"])
            body = f'Unsupported value: "{value}": supported values: {listed}'
            yield FieldError("FieldValueNotSupported", path, body)
        if len(value) > schema.get("maxLength", len(value)):
            body = f"Too long: may not be more than {schema['maxLength']} bytes"
            yield FieldError("FieldValueTooLong", path, body)
