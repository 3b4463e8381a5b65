"""What of a value is shown, and kept where: a source's parameters and values may be secret, credentials in an address are. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from .values import ABSENT, JSON

_CREDENTIALS: Final = r"(?<=://)[^/\s\"]+@"

_RENDERERS: Final = ("helm", "kustomize", "plugin", "directory")
_VALUES: Final = frozenset({"value", "values", "valuesObject", "string", "map", "array", "patch"})


def without_credentials(text: str) -> str:
    """Take user and password out of every address in a text."""
    return re.sub(_CREDENTIALS, "…@", text) if "://" in text else text


class Withheld(Struct, frozen=True, eq=False):
    """Stands for a value that is kept elsewhere, and is equal to that value: it can be recognised, but not told."""

    salt: str
    digest: str
    lines: int

    def __eq__(self, other: object) -> bool:
        """Compare with a value, or with what stands for the same one."""
        if isinstance(other, Withheld):
            return (self.salt, self.digest) == (other.salt, other.digest)
        return isinstance(other, str | dict | list | int | float) and self.digest == _digest(self.salt, other)

    __ne__ = object.__ne__

    def __hash__(self) -> int:
        """Hash what it says itself: values of the cluster are in no set."""
        return hash(self.digest)

    def __str__(self) -> str:
        """Say how much it is."""
        return f"({_count(self.lines)}, kept elsewhere)"


def without_values(value: JSON, before: JSON = ABSENT) -> JSON:
    """Return a value with what goes into manifests said by its length alone: `(changed, 14 lines)`.

    `before` is what was in its place, where it is known.
    """
    return _walk(value, before, _length, without_credentials)


def withheld(value: JSON, salt: str) -> JSON:
    """Return a value with what may be secret in it withheld."""

    def stand_in(item: JSON, before: JSON = ABSENT) -> JSON:
        del before
        return item if isinstance(item, Withheld) else Withheld(salt, _digest(salt, item), _lines(item))

    def address(text: str) -> JSON:
        return text if without_credentials(text) == text else stand_in(text)

    return _walk(value, ABSENT, stand_in, address)


def is_whole(value: JSON) -> bool:
    """Whether nothing of a value is withheld."""
    if isinstance(value, dict | list):
        return all(map(is_whole, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, Withheld)


def told(value: JSON) -> JSON:
    """Return a value with words in place of what is withheld."""
    if isinstance(value, dict):
        return {name: told(item) for name, item in value.items()}
    if isinstance(value, list):
        return [told(item) for item in value]
    return str(value) if isinstance(value, Withheld) else value


def is_value(pointer: str) -> bool:
    """Whether a JSON pointer leads to what goes into manifests."""
    names = pointer.split("/")
    return not _VALUES.isdisjoint(names) and not set(_RENDERERS).isdisjoint(names)


def _walk(
    value: JSON,
    before: JSON,
    of_value: Callable[[JSON, JSON], JSON],
    of_text: Callable[[str], JSON],
    *,
    is_rendering: bool = False,
) -> JSON:
    """Copy a value, with each that goes into manifests and each other text replaced."""
    if isinstance(value, dict):
        then = before if isinstance(before, dict) else {}
        return {
            name: of_value(item, then.get(name, ABSENT) if before is not ABSENT else ABSENT)
            if is_rendering and name in _VALUES and item not in (None, "")
            else _walk(
                item,
                then.get(name, ABSENT),
                of_value,
                of_text,
                is_rendering=is_rendering or (name in _RENDERERS and "repoURL" in value),
            )
            for name, item in value.items()
        }
    if isinstance(value, list):
        others = before if isinstance(before, list) else []
        return [
            _walk(
                item, others[i] if i < len(others) else ABSENT, of_value, of_text, is_rendering=is_rendering
            )
            for i, item in enumerate(value)
        ]
    if isinstance(value, Withheld):
        return value
    return of_text(value) if isinstance(value, str) else value


def _length(value: JSON, before: JSON) -> str:
    is_changed = before is not ABSENT and before != value
    return f"({'changed, ' if is_changed else ''}{_count(_lines(value))})"


def _count(lines: int) -> str:
    return f"{lines} line{'' if lines == 1 else 's'}"


def _lines(value: JSON) -> int:
    if isinstance(value, Withheld):
        return value.lines
    text = value.rstrip("\n") if isinstance(value, str) else json.dumps(value, indent=1)
    return text.count("\n") + 1


def _digest(salt: str, value: JSON) -> str:
    from hashlib import sha256  # lazy: OpenSSL is dear to load, and whole sources are rare

    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256(f"{salt}{text}".encode()).hexdigest()[:32]
