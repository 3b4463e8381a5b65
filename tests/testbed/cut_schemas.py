"""Cuts what this project keeps of Argo CD's own CustomResourceDefinitions: two tables.

    python -m tests.testbed.cut_schemas    write them anew after a change of version

One has for each release line the first field of an Application that no line before had: it tells
what is served where nothing names a version. The other is the simulation's table of fields; what is
kept of a field is what the simulation looks at: its type, whether it is required, the words
that it may be. Structures that occur more than once stand in the table once.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kubectl_argo_rescue.argocd import release_fields
from kubectl_argo_rescue.simulation import schemas

from . import programs

ARGO = "3.6"
"""The release line whose fields the simulation knows."""

TABLE = Path(schemas.__file__).with_name(schemas.TABLE)

_KEPT = {"type", "format", "properties", "required", "items", "additionalProperties", "enum", "maxLength"}
_NO_RULE = {"description", "x-kubernetes-list-type", "x-kubernetes-map-type"}
_NOT_SIMULATED = {"minLength", "pattern"}  # of the hydrator's paths only
_OPEN = "x-kubernetes-preserve-unknown-fields"

_CUT_SHORT = {("ApplicationSet", "spec", "generators", "items")}
"""Nine in ten of all fields; what is in a generator the simulation takes as it is."""


def cut(definitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the table: a structure by each kind's name, then those with a name of our own."""
    kinds = {d["spec"]["names"]["kind"]: d["spec"]["versions"][0]["schema"] for d in definitions}
    whole = {kind: _notation(kinds[kind]["openAPIV3Schema"], (kind,)) for kind in sorted(kinds)}
    counted: Counter[str] = Counter()
    for notation in whole.values():
        _count(notation, counted)
    names: dict[str, str] = {}
    table: dict[str, Any] = {}

    def shared(notation: Any, field: str) -> Any:
        """The same with a name in place of each structure that occurs more than once."""
        if isinstance(notation, list):
            items = shared(notation[0], field)
            return f"{items}[]" if isinstance(items, str) else [items]
        if not isinstance(notation, dict):
            return notation
        key = json.dumps(notation)
        if counted[key] < 2 or set(notation) == {"*"}:
            return {name: shared(inner, name.rstrip("!")) for name, inner in notation.items()}
        if key not in names:
            taken = sum(name.rstrip("0123456789") == f"#{field}" for name in names.values())
            names[key] = f"#{field}{taken + 1 if taken else ''}"
            table[names[key]] = {name: shared(inner, name.rstrip("!")) for name, inner in notation.items()}
        return names[key]

    return {**{kind: shared(notation, kind) for kind, notation in whole.items()}, **table}


def _notation(schema: dict[str, Any], path: tuple[str, ...]) -> Any:
    """A schema in the notation of `schemas.TABLE`."""
    if path in _CUT_SHORT:
        return "open"
    if schema.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    if schema.get(_OPEN):
        return "open" if schema.get("type") == "object" else "any"
    if unknown := set(schema) - _KEPT - _NO_RULE - _NOT_SIMULATED:
        raise ValueError(
            f"{'.'.join(path)}: {', '.join(sorted(unknown))} is new: does the simulation need it?"
        )
    if schema["type"] == "array":
        return [_notation(schema["items"], (*path, "items"))]
    if "additionalProperties" in schema:
        return {"*": _notation(schema["additionalProperties"], (*path, "*"))}
    if "properties" in schema:
        required = set(schema.get("required", ()))
        fields = sorted(schema["properties"].items())
        return {f"{name}!" if name in required else name: _notation(f, (*path, name)) for name, f in fields}
    if "enum" in schema:
        return "|".join(schema["enum"])
    if "maxLength" in schema:
        return f"string<={schema['maxLength']}"
    return "time" if schema.get("format") == "date-time" else schema["type"]


def _count(notation: Any, counted: Counter[str]) -> None:
    """Count structures, those inside of one that was met before not again."""
    if isinstance(notation, list):
        _count(notation[0], counted)
    elif isinstance(notation, dict):
        counted[key := json.dumps(notation)] += 1
        if counted[key] == 1:
            for inner in notation.values():
                _count(inner, counted)


def text() -> str:
    """Return the table as it is kept, cut from the definitions of the pinned release."""
    files = programs.crds(ARGO)
    table = cut([yaml.load(file.read_text(), _loader()) for file in files])
    return json.dumps(table, indent=1) + "\n"


def _loader() -> Any:
    # Megabytes of YAML: libyaml is ten times as fast, where it is there.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# -- by which fields a release line is known

FIRST_FIELDS = Path(release_fields.__file__)


def first_fields() -> str:
    """Return the module with the first new field of each release line, cut from the CRDs of all of them."""
    lines = list(programs.RELEASES)
    known = _fields(lines[0])
    rows: list[list[str]] = []
    for line in lines[1:]:
        found = _fields(line)
        # The shortest: what is below a new field is new as well.
        new = min(found - known, key=lambda path: (path.count("."), path), default="")
        if new:
            rows.append([line, new])
        elif rows:  # nothing tells it from the line before
            rows[-1][0] = f"{rows[-1][0].partition(' ')[0]} or {line}"
        known |= found
    table = "".join(f'    "{line}": "{path}",\n' for line, path in rows)
    return _MODULE.format(before=lines[0], table=table)


def _fields(line: str) -> set[str]:
    """Return the paths of the fields in the spec of a release line's Applications, lists left out."""
    for file in programs.crds(line):
        definition = yaml.load(file.read_text(), _loader())
        if definition["spec"]["names"]["kind"] == "Application":
            schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            return set(_paths(schema["properties"]["spec"], "spec"))
    raise LookupError(f"no CRD of Applications in {line}")


def _paths(schema: dict[str, Any], path: str) -> Iterator[str]:
    yield path
    for name, inner in schema.get("properties", {}).items():
        yield from _paths(inner, f"{path}.{name}")


_MODULE = '''"""By which field of an Application a release line of Argo CD is known.

Written by `python -m tests.testbed.cut_schemas`, from the CRDs of each line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BEFORE: Final = "{before}"
"""The oldest line that was looked at: what has none of these fields is that or an earlier one."""

FIRST_FIELDS: Final[Mapping[str, str]] = {{
{table}}}
"""The first field of its own, oldest line first; lines that no field tells apart are one."""
'''


if __name__ == "__main__":
    TABLE.write_text(text())
    FIRST_FIELDS.write_text(first_fields())
    print(TABLE, FIRST_FIELDS, sep="\n", file=sys.stderr)
