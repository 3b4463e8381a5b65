"""How Argo CD compares a live object with git, and what its apply makes of it.

Client-side apply, the default: gitops-engine pkg/diff/diff.go ThreeWayDiff, RemoveMapFields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ..model.values import JSON
from .wire import copied

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def last_applied(live: JSON) -> JSON:
    """What was applied before, as the live object's annotation tells it; {} without one."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED, "")
    return json.loads(text) if text else {}


def differs(target: JSON, live: JSON) -> bool:
    """Whether git asks for something else than what is live.

    A map key that git does not have is no drift; list items are compared by index.
    """
    if isinstance(target, dict) and isinstance(live, dict):
        return any(key not in live or differs(value, live[key]) for key, value in target.items())
    if isinstance(target, list) and isinstance(live, list):
        if len(target) != len(live):
            return True
        return any(differs(mine, theirs) for mine, theirs in zip(target, live, strict=True))
    return bool(target != live)


def dropped(before: JSON, target: JSON, live: JSON) -> bool:
    """Whether a key that was applied before is gone from git and still live."""
    if not (isinstance(before, dict) and isinstance(target, dict) and isinstance(live, dict)):
        return False
    for key, value in before.items():
        if key not in live:
            continue
        if key not in target or dropped(value, target[key], live[key]):
            return True
    return False


def applied(before: JSON, target: JSON, live: JSON) -> JSON:
    """The live value after the apply of `target`: a three-way JSON merge, lists replaced whole."""
    if not isinstance(target, dict) or not isinstance(live, dict):
        return copied(target)
    known = before if isinstance(before, dict) else {}
    found = {key: value for key, value in live.items() if key in target or key not in known}
    for key, value in target.items():
        found[key] = applied(known.get(key), value, found[key]) if key in found else copied(value)
    return found


def _steps(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _child(here: JSON, step: str) -> JSON:
    if isinstance(here, dict):
        return here.get(step)
    if isinstance(here, list) and step.isdigit() and int(step) < len(here):
        return here[int(step)]
    return None


def without_pointers(obj: JSON, pointers: Sequence[str]) -> JSON:
    """The object as if these fields were not there (Argo CD: util/argo/normalizers)."""
    if not pointers:
        return obj
    found = copied(obj)
    for pointer in pointers:
        *parents, last = _steps(pointer)
        here = found
        for step in parents:
            here = _child(here, step)
        if isinstance(here, dict):
            here.pop(last, None)
        elif isinstance(here, list) and _child(here, last) is not None:
            del here[int(last)]
    return found


def with_pointers_of(obj: JSON, live: JSON, pointers: Iterable[str]) -> JSON:
    """A copy that has the live object's values in these fields (RespectIgnoreDifferences)."""
    found = copied(obj)
    for pointer in pointers:
        *parents, last = _steps(pointer)
        here, there = found, live
        for step in parents:
            there = _child(there, step)
            if isinstance(here, dict) and isinstance(there, dict):
                here = here.setdefault(step, {})
            else:
                here = _child(here, step)
        value = _child(there, last)
        if isinstance(here, dict):
            if value is None:
                here.pop(last, None)
            else:
                here[last] = copied(value)
        elif isinstance(here, list) and value is not None and last.isdigit() and int(last) < len(here):
            here[int(last)] = copied(value)
    return found


def matching_pointers(rules: Iterable[JSON], obj: JSON) -> list[str]:
    """The jsonPointers of `spec.ignoreDifferences` that are about this object."""
    group = obj["apiVersion"].rpartition("/")[0]
    meta = obj["metadata"]
    found: list[str] = []
    for rule in rules:
        if rule.get("kind") not in (obj["kind"], "*") or rule.get("group", "") not in (group, "*"):
            continue
        if rule.get("name", meta["name"]) != meta["name"]:
            continue
        if rule.get("namespace", meta.get("namespace", "")) != meta.get("namespace", ""):
            continue
        found += rule.get("jsonPointers", [])
    return found
