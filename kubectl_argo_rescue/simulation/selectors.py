"""Label and field selectors, as the API server reads them from a query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .status import StatusError, bad_request

Selector: TypeAlias = Callable[[Any], bool]
"""Whether an object is selected."""

_REQUIREMENT = re.compile(
    r"""\s*(?:
        !\s*(?P<absent>[^\s=!,()]+)
        | (?P<set>[^\s=!,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)
        | (?P<key>[^\s=!,()]+)\s*(?P<sign>==|=|!=)\s*(?P<value>[^\s=!,()]*)
        | (?P<present>[^\s=!,()]+)
    )\s*(?:,|$)""",
    re.VERBOSE,
)

_CUSTOM = frozenset({"Application", "AppProject", "ApplicationSet"})
_FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Pod": {
        "spec.nodeName": ("spec", "nodeName"),
        "status.phase": ("status", "phase"),
    },
    "Event": {
        "involvedObject.kind": ("involvedObject", "kind"),
        "involvedObject.name": ("involvedObject", "name"),
        "involvedObject.namespace": ("involvedObject", "namespace"),
        "involvedObject.uid": ("involvedObject", "uid"),
        "reason": ("reason",),
        "type": ("type",),
    },
}


def label_selector(text: str) -> Selector:
    """Read `a=b,c!=d,e in (f,g),h,!i` (apimachinery: pkg/labels/selector.go Parse)."""
    at = 0
    requirements: list[Callable[[Mapping[str, str]], bool]] = []
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None or found.end() == at:
            raise bad_request(f"unable to parse requirement: found '{text[at:]}'")
        requirements.append(_requirement(found))
        at = found.end()

    def selected(obj: Any) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(holds(labels) for holds in requirements)

    return selected


def _requirement(found: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if found["absent"]:
        return lambda labels: found["absent"] not in labels
    if found["present"]:
        return lambda labels: found["present"] in labels
    if found["set"]:
        values = {value.strip() for value in found["values"].split(",")}
        if found["operator"] == "in":
            return lambda labels: labels.get(found["set"]) in values
        return lambda labels: labels.get(found["set"]) not in values
    if found["sign"] == "!=":
        return lambda labels: labels.get(found["key"]) != found["value"]
    return lambda labels: labels.get(found["key"]) == found["value"]


def field_selector(text: str, kind: str) -> tuple[Selector, str]:
    """Read `metadata.name=x`; also the one name that it asks for, which authorization looks at."""
    tests: list[tuple[tuple[str, ...], bool, str]] = []
    name = ""
    for term in filter(None, text.split(",")):
        parts = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if parts is None:
            raise bad_request(f"invalid field selector: '{term}'; can't understand '{term}'")
        path = _path(parts[1], kind)
        tests.append((path, parts[2] != "!=", parts[3]))
        if path == ("metadata", "name") and parts[2] != "!=":
            name = parts[3]

    def selected(obj: Any) -> bool:
        for path, equal, wanted in tests:
            value = obj
            for step in path:
                value = value.get(step, {}) if isinstance(value, dict) else {}
            if ((value or "") == wanted) != equal:
                return False
        return True

    return selected, name


def _path(label: str, kind: str) -> tuple[str, ...]:
    if label in ("metadata.name", "metadata.namespace"):
        return ("metadata", label.partition(".")[2])
    known = _FIELDS.get(kind, {})
    if label not in known:
        raise _unsupported(label, kind)
    return known[label]


def _unsupported(label: str, kind: str) -> StatusError:
    """Kinds with fields of their own, and custom ones, have another wording than the rest."""
    if kind not in _FIELDS and kind not in _CUSTOM:
        known = '"metadata.name", "metadata.namespace"'
        return bad_request(f'"{label}" is not a known field selector: only {known}')
    return bad_request(f"field label not supported: {label}")
