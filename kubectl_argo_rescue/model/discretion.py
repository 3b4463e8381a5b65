"""What of a value is shown: a source's parameters and values may be secret, credentials in an address are. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

from .values import ABSENT, JSON

_CREDENTIALS: Final = r"(?<=://)[^/\s\"]+@"

_RENDERERS: Final = ("helm", "kustomize", "plugin", "directory")
_VALUES: Final = frozenset({"value", "values", "valuesObject", "string", "map", "array", "patch"})


def without_credentials(text: str) -> str:
    """Take user and password out of every address in a text."""
    return re.sub(_CREDENTIALS, "…@", text) if "://" in text else text


def without_values(value: JSON, before: JSON = ABSENT) -> JSON:
    """Return a value with what goes into manifests said by its length alone: `(changed, 14 lines)`.

    `before` is what was in its place, where it is known.
    """
    return _seen(value, before, is_rendering=False)


def is_value(pointer: str) -> bool:
    """Whether a JSON pointer leads to what goes into manifests."""
    names = pointer.split("/")
    return not _VALUES.isdisjoint(names) and not set(_RENDERERS).isdisjoint(names)


def _seen(value: JSON, before: JSON, *, is_rendering: bool) -> JSON:
    if isinstance(value, dict):
        then = before if isinstance(before, dict) else {}
        return {
            name: _length(item, then.get(name, ABSENT) if before is not ABSENT else ABSENT)
            if is_rendering and name in _VALUES and item not in (None, "")
            else _seen(
                item,
                then.get(name, ABSENT),
                is_rendering=is_rendering or (name in _RENDERERS and "repoURL" in value),
            )
            for name, item in value.items()
        }
    if isinstance(value, list):
        others = before if isinstance(before, list) else []
        return [
            _seen(item, others[i] if i < len(others) else ABSENT, is_rendering=is_rendering)
            for i, item in enumerate(value)
        ]
    return without_credentials(value) if isinstance(value, str) else value


def _length(value: JSON, before: JSON) -> str:
    text = value.rstrip("\n") if isinstance(value, str) else json.dumps(value, indent=1)
    lines = text.count("\n") + 1
    is_changed = before is not ABSENT and before != value
    return f"({'changed, ' if is_changed else ''}{lines} line{'' if lines == 1 else 's'})"
