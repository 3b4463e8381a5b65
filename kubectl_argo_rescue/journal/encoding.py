"""Records as lines of JSON, and what of a line is believed: its form, and what its role may touch. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ..model.discretion import Withheld, is_whole, withheld
from ..model.values import (
    ABSENT,
    JSON,
    ROLLOUT,
    WORKLOAD_KINDS,
    Change,
    Creation,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Order,
    OrderKind,
    Path,
    PlanStep,
    Ref,
    Reliance,
    Removal,
    Role,
    Takeback,
    Witness,
    WorkloadRollback,
)
from .records import Begin, Content, Context, End, Intent, Outcome, Record, Reopened, Settled

EXPIRES_MARK: Final = '"expires":"'


class Dropped(Struct, frozen=True):
    """A record that cannot be understood."""

    entry: str
    where: str
    """The file or ConfigMap."""
    place: str
    """The line or key in it, empty where it is all of it."""
    why: str
    format: int = 0
    """Of a newer version's record its format."""


def not_understood(entry: str, where: str, place: str, error: Untrusted) -> Dropped:
    """Describe a record that is left out; of a newer version's the format is kept."""
    format = error.format if isinstance(error, TooNew) and error.entry == entry else 0
    return Dropped(entry, where, place, str(error), format)


def role_allows(kind: str, path: Path) -> bool:
    """Whether this tool ever writes that field of that kind; nothing else is taken from a journal."""
    return _written(kind, path) is not None


def value_fits(kind: str, change: Change) -> bool:
    """Whether the values of a change are of the field's own type: others did not come from the object."""
    expected = _written(kind, change.path)
    if isinstance(change, FieldChange):
        return all(
            v is ABSENT or v is None or (expected is not None and isinstance(v, expected))
            for v in (change.before, change.after)
        )
    if expected is not list:
        return False
    if change.path[-1] == "applications":
        return isinstance(change.item, str)
    item = change.item
    lists = [item.get(name) for name in _PATTERNS] if isinstance(item, dict) else [0]
    return all(x is None or (isinstance(x, list) and all(isinstance(y, str) for y in x)) for x in lists)


def _written(kind: str, path: Path) -> type | None:
    """Return the type of a field that this tool writes, None for any other field."""
    for names, expected in _WRITTEN.get(kind, {}).items():
        if len(names) == len(path) and all(
            isinstance(step, Match) if name == "*" else step == name
            for name, step in zip(names, path, strict=True)
        ):
            return expected
    return None


def role_of(kind: str, path: Path) -> Role:
    """Return what an edit of that field is for: a record that says otherwise is not ours."""
    if kind == "AppProject":
        return Role.WINDOW
    if kind == "ApplicationSet":
        return Role.RULE
    if kind in _CONTROLLERS:
        return Role.SCALE
    if path[:1] == ("metadata",):
        return Role.ORPHAN
    return Role.PAUSE if path[:2] == ("spec", "syncPolicy") else Role.VERSION


_CONTROLLERS = ("StatefulSet/scale", "Deployment/scale", "ArgoCD")

_PATTERNS = ("applications", "namespaces", "clusters")
"""The lists of a sync window."""

_WRITTEN: Mapping[str, Mapping[tuple[str, ...], type]] = {
    "Application": {
        ("metadata", "annotations", "argocd.argoproj.io/skip-reconcile"): str,
        ("metadata", "finalizers"): list,
        ("metadata", "ownerReferences"): list,
        ("spec", "syncPolicy"): dict,
        ("spec", "syncPolicy", "automated"): dict,
        ("spec", "syncPolicy", "automated", "enabled"): bool,
        ("spec", "source"): dict,
        ("spec", "source", "targetRevision"): str,
        ("spec", "sources"): list,
        ("spec", "sources", "*"): dict,
        ("spec", "sources", "*", "targetRevision"): str,
        ("spec", "sourceHydrator", "syncSource", "targetBranch"): str,
    },
    "AppProject": {
        ("spec", "syncWindows"): list,
        ("spec", "syncWindows", "*", "applications"): list,
        ("spec", "syncWindows", "*", "manualSync"): bool,
    },
    "ApplicationSet": {
        ("spec", "ignoreApplicationDifferences"): list,
        ("spec", "syncPolicy"): dict,
        ("spec", "syncPolicy", "applicationsSync"): str,
    },
    "StatefulSet/scale": {("spec", "replicas"): int},
    "Deployment/scale": {("spec", "replicas"): int},
    "ArgoCD": {
        ("spec", "controller", "enabled"): bool,
        ("spec", "applicationSet", "enabled"): bool,
    },
}
"""What this tool writes; `*` is an item of a list."""


FORMAT = 2
"""The newest record format that this version reads; it writes 1 where nothing of a record is withheld."""

MAX_RECORD = 900_000
"""Bytes of one record; a ConfigMap holds 1 MiB in all."""

ENTRY_ID = r"[0-9a-f]{6,16}"
RECORD_ID = r"[0-9]{5}-[0-9a-f]{6}"


class Untrusted(ValueError):
    """A record that this tool did not write, or not like this."""


class TooNew(Untrusted):
    """A record of a format that only a newer version of this tool reads."""

    def __init__(self, entry: str, format: int) -> None:
        """Say of which entry it claims to be."""
        super().__init__(f"a record has format {format}; this version reads up to {FORMAT}")
        self.entry = entry
        self.format = format


# -- writing


MAX_TEXT = 4096
"""Characters of a reason, an argument, a name; what is longer is cut on writing and refused on reading."""


def _clip(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # an argument may be no text at all
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _step(step: str | Match) -> JSON:
    if isinstance(step, str):
        return step
    return {
        "match": {name: value for name, value in step.content if value is not ABSENT},
        "without": [name for name, value in step.content if value is ABSENT],
        "index": step.index,
    }


def without_secrets(record: Record) -> Record:
    """Return a record as it may be kept where others read it: what may be secret is withheld."""
    salt, content = f"{record.entry}/{record.id}", record.content
    if not isinstance(content, Intent):
        return record
    what = content.what
    if isinstance(what, Order):
        what = replace(what, operation=withheld(what.operation, salt))
    elif isinstance(what, Edit):
        what = replace(what, changes=tuple(_without_secrets(change, salt) for change in what.changes))
    return replace(record, content=replace(content, what=what))


def _without_secrets(change: Change, salt: str) -> Change:
    if not isinstance(change, FieldChange):
        return change
    path = tuple(
        Match(tuple((name, withheld(value, salt)) for name, value in step.content), step.index)
        if isinstance(step, Match)
        else step
        for step in change.path
    )
    return FieldChange(path, withheld(change.before, salt), withheld(change.after, salt))


def holds_secrets(step: PlanStep) -> bool:
    """Whether an undo of a step would put back what may be secret."""
    return isinstance(step, Edit) and any(
        isinstance(c, FieldChange) and not is_whole(withheld(c.before, "")) for c in step.changes
    )


def lacks_an_original(record: Record) -> bool:
    """Whether what an undo would put back is withheld in a record."""
    content = record.content
    return (
        isinstance(content, Intent)
        and isinstance(content.what, Edit)
        and any(isinstance(c, FieldChange) and not is_whole(c.before) for c in content.what.changes)
    )


_MARK = "withheld"


def _as_written(value: JSON) -> JSON:
    """Return fields with what is withheld as plain JSON."""
    if isinstance(value, dict):
        return {name: _as_written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_written(item) for item in value]
    return {_MARK: [value.salt, value.digest, value.lines]} if isinstance(value, Withheld) else value


def _as_read(value: JSON) -> JSON:
    if isinstance(value, dict):
        if list(value) == [_MARK] and isinstance(value[_MARK], list) and len(value[_MARK]) == 3:
            salt, digest, lines = value[_MARK]
            return Withheld(_text(salt, 64), _text(digest, 64), _number(lines))
        return {name: _as_read(item) for name, item in value.items()}
    return [_as_read(item) for item in value] if isinstance(value, list) else value


def side(name: str, value: JSON) -> dict[str, JSON]:
    """Write a value that may be absent: a key that is not there then."""
    return {} if value is ABSENT else {name: value}


def change_json(change: Change) -> JSON:
    """Write a change; an ABSENT side is a key that is not there."""
    path = [_step(s) for s in change.path]
    if isinstance(change, FieldChange):
        return {"path": path, **side("before", change.before), **side("after", change.after)}
    out = {"path": path, "item": change.item, "index": change.index, "present": change.present}
    return {**out, "sole": True} if change.sole else out


def _ref(ref: Ref) -> JSON:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "uid": ref.uid}


def _key(key: Key) -> JSON:
    return {"kind": key.kind, "namespace": key.namespace, "name": key.name}


def _time(at: datetime | None) -> JSON:
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds") if at else None


def to_line(record: Record) -> str:
    """Write a record as one line of JSON, without the newline."""
    c = record.content
    kind, fields = _intent_fields(c) if isinstance(c, Intent) else _other_fields(c)
    is_plain = is_whole(fields)
    line = {"v": 1 if is_plain else FORMAT, "entry": record.entry, "id": record.id}
    return json.dumps({**line, kind: fields if is_plain else _as_written(fields)}, separators=(",", ":"))


# -- reading


def _text(value: JSON, limit: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise Untrusted("a text is missing or too long")
    return value


def _number(value: JSON) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Untrusted("a number is missing or negative")
    return value


def _read_time(value: JSON) -> datetime | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(_text(value, 64))
    except ValueError as e:
        raise Untrusted("a time is malformed") from e
    if at.tzinfo is None:
        raise Untrusted("a time has no zone")
    try:
        return at.astimezone(timezone.utc)
    except OverflowError as e:
        raise Untrusted("a time is out of range") from e


def _map(value: JSON) -> dict[str, JSON]:
    if not isinstance(value, dict):
        raise Untrusted("an object is missing")
    return value


def _list(value: JSON) -> list[JSON]:
    if not isinstance(value, list):
        raise Untrusted("a list is missing")
    return value


def _read_step(step: JSON) -> str | Match:
    if isinstance(step, str):
        return step
    fields = _map(step)
    content = [*_map(fields.get("match")).items()]
    content += [(_text(name), ABSENT) for name in _list(fields.get("without", []))]
    return Match(tuple(content), _number(fields.get("index")))


def read_change(value: JSON) -> Change:
    """Read a change. Raises Untrusted."""
    fields = _map(value)
    path: Path = tuple(_read_step(s) for s in _list(fields.get("path")))
    if not path or len(path) > 12:
        raise Untrusted("a path is empty or too long")
    if "item" in fields:
        if not isinstance(fields.get("present"), bool):
            raise Untrusted("a list change does not say its direction")
        sole = fields.get("sole", False) is True
        return MemberChange(path, fields["item"], _number(fields.get("index")), fields["present"], sole)
    return FieldChange(path, fields.get("before", ABSENT), fields.get("after", ABSENT))


def _read_key(value: JSON) -> Key:
    fields = _map(value)
    return Key(*(_text(fields.get(n), 253) for n in ("kind", "namespace", "name")))


def _read_ref(value: JSON) -> Ref:
    fields = _map(value)
    return Ref(*(_text(fields.get(n), 253) for n in ("kind", "namespace", "name", "uid")))


def _read_edit(fields: dict[str, JSON]) -> Edit:
    ref = _read_ref(fields.get("ref"))
    changes = tuple(read_change(c) for c in _list(fields.get("changes")))
    for change in changes:
        if not role_allows(ref.kind, change.path):
            raise Untrusted(f"a change names a field of {ref.kind} that this tool never writes")
        if not value_fits(ref.kind, change):
            raise Untrusted(f"a change of {ref.kind} has a value that its field cannot have")
    try:
        role = Role(fields.get("role"))
    except ValueError as e:
        raise Untrusted("an edit has an unknown role") from e
    if any(role_of(ref.kind, c.path) is not role for c in changes):
        # Hand-back judges versions only: a version that calls itself a pause would pass it by.
        raise Untrusted(f"an edit of {ref.kind} calls itself a {role.value}, which it is not")
    return Edit(ref, changes, _text(fields.get("reason")), role, fields.get("named") is not False)


def _read_removal(fields: dict[str, JSON]) -> Removal:
    ref = _read_ref(fields.get("ref"))
    if ref.kind not in ("Pod", "Application"):
        raise Untrusted("a removal is not of a pod or an Application")
    return Removal(ref, _text(fields.get("reason")), fields.get("named") is not False)


def _read_creation(fields: dict[str, JSON]) -> Creation:
    ref = _read_ref(fields.get("ref"))
    if ref.kind != "Application":
        raise Untrusted("a creation is not of an Application")
    return Creation(ref, _text(fields.get("reason")), fields.get("named") is not False)


def _read_rollout(fields: dict[str, JSON]) -> WorkloadRollback:
    ref, app = _read_ref(fields.get("ref")), _read_key(fields.get("app"))
    if ref.kind not in WORKLOAD_KINDS:
        raise Untrusted("a rollout is of no workload that this tool knows")
    if app.kind != "Application":
        raise Untrusted("a rollout is not of an Application's workload")
    return WorkloadRollback(
        ref,
        app,
        _number(fields.get("from")),
        _number(fields.get("to")),
        _text(fields.get("revision"), 253),
        _text(fields.get("reason")),
        fields.get("named") is not False,
        _text(fields.get("destination", "")),
        None if fields.get("deployment") is None else _number(fields["deployment"]),
        _read_takeback(ref, fields.get("how", Takeback.TEMPLATE.name)),
    )


def _read_takeback(ref: Ref, name: JSON) -> Takeback:
    try:
        how = Takeback[str(name)]
    except KeyError as e:
        raise Untrusted("a rollout is done in an unknown way") from e
    if how is not Takeback.TEMPLATE and ref.kind != ROLLOUT.kind:
        raise Untrusted(f"a {ref.kind} cannot be {how.value}")
    return how


def _read_content(line: dict[str, JSON]) -> Content:
    for kind, read in _READERS.items():
        if kind in line:
            return read(_map(line[kind]))
    raise Untrusted("a record of an unknown kind")


MAX_DEPTH = 64
"""Levels of lists and objects in a record."""


def _is_sound(value: JSON, depth: int = 0) -> bool:
    """Whether a value could come from the API server: text is UTF-8, numbers fit, nothing is too deep."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return depth < MAX_DEPTH and all(_is_sound(part, depth + 1) for part in parts)
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 10**21  # Go writes floats below it as integers


def from_line(text: str) -> Record:
    """Read one line. Raises Untrusted where it is not a record of a known format."""
    if len(text) > MAX_RECORD:
        raise Untrusted("a record is too large")
    try:
        line = _map(json.loads(text))
    except (ValueError, RecursionError) as e:
        raise Untrusted("a record is no JSON") from e
    if not _is_sound(line):
        raise Untrusted("a record holds what no API server sends")
    entry, id = _text(line.get("entry"), 16), _text(line.get("id"), 16)
    if not re.fullmatch(ENTRY_ID, entry) or not re.fullmatch(RECORD_ID, id):
        raise Untrusted("a record's id is malformed")
    if not isinstance(line.get("v"), int):
        raise Untrusted("a record does not say its format")
    if line["v"] > FORMAT:
        raise TooNew(entry, line["v"])
    try:
        return Record(entry, id, _read_content(line if line["v"] == 1 else _as_read(line)))
    except Untrusted:
        raise
    except (TypeError, ValueError, KeyError) as e:
        raise Untrusted("a record is malformed") from e


def _intent_fields(intent: Intent) -> tuple[str, dict[str, JSON]]:
    """Return the kind of a step that is about to be taken, and all that its undo needs."""
    what = intent.what
    fields: dict[str, JSON] = {"number": intent.number, "ref": _ref(what.ref)}
    if isinstance(what, Edit):
        return "edit", fields | {
            "role": what.role.value,
            "reason": _clip(what.reason),
            "named": what.named,
            "changes": [change_json(x) for x in what.changes],
        }
    if isinstance(what, Order):
        return "order", fields | {
            "id": what.id,
            "operation": what.operation,
            "kind": what.kind.name,
            "reason": _clip(what.reason),
            "named": what.named,
        }
    if isinstance(what, Removal):
        return "removal", fields | {"reason": _clip(what.reason), "named": what.named}
    if isinstance(what, Creation):
        return "creation", fields | {"reason": _clip(what.reason), "named": what.named}
    return "rollout", fields | {
        "app": _key(what.app),
        "from": what.from_revision,
        "to": what.to_revision,
        "revision": what.revision,
        "reason": _clip(what.reason),
        "named": what.named,
        "destination": _clip(what.destination),
        "deployment": what.deployment,
        **({} if what.how is Takeback.TEMPLATE else {"how": what.how.name}),
    }


def _other_fields(c: Begin | Context | Outcome | Settled | Reopened | End) -> tuple[str, dict[str, JSON]]:
    if isinstance(c, Begin):
        return "begin", {
            "verb": c.verb,
            "argv": [_clip(word) for word in c.argv],
            "actor": _clip(c.actor),
            "host": _clip(c.host),
            "started": _time(c.started),
            "reason": _clip(c.reason),
            "argocdNamespace": c.argocd_namespace,
            "argocdVersion": c.argocd_version,
            "undoes": list(c.undoes),
            "expires": _time(c.expires),
            "total": c.total,
        }
    if isinstance(c, Context):
        return "context", {
            "relies": [{"key": _key(r.key), "change": change_json(r.change)} for r in c.relies],
            "witnesses": [
                {
                    "owner": _key(w.owner),
                    "repoURL": w.repo_url,
                    "path": w.path,
                    "targetRevision": w.target_revision,
                    "revision": w.revision,
                }
                for w in c.witnesses
            ],
        }
    if isinstance(c, Outcome):
        of = {str(k): v for k, v in c.of.items()}
        fields: dict[str, JSON] = {"of": of, "detail": _clip(c.detail), "at": _time(c.at)}
        failed: dict[str, JSON] = {"failed": c.failed, "late": c.is_late}
        return "outcome", fields | (failed if c.failed else {})
    if isinstance(c, Settled):
        changes = [[edit, change, how] for (edit, change), how in c.changes.items()]
        return "settled", {"changes": changes, "by": c.by, "at": _time(c.at)}
    if isinstance(c, Reopened):
        return "reopened", {"changes": [list(x) for x in c.changes], "by": c.by}
    return "end", {"status": c.status, "at": _time(c.at)}


def _read_begin(b: dict[str, JSON]) -> Begin:
    started = _read_time(b.get("started"))
    if started is None:
        raise Untrusted("an entry has no time")
    return Begin(
        verb=_text(b.get("verb"), 64),
        argv=tuple(_text(a) for a in _list(b.get("argv"))),
        actor=_text(b.get("actor")),
        host=_text(b.get("host")),
        started=started,
        reason=_text(b.get("reason")),
        argocd_namespace=_text(b.get("argocdNamespace"), 253),
        argocd_version=_text(b.get("argocdVersion", ""), 128),
        undoes=tuple(_text(u, 16) for u in _list(b.get("undoes", []))),
        expires=_read_time(b.get("expires")),
        total=_number(b.get("total", 0)),
    )


def _read_order(o: dict[str, JSON]) -> Order:
    ref = _read_ref(o.get("ref"))
    if ref.kind != "Application":
        raise Untrusted("an order is not for an Application")
    kind = OrderKind.__members__.get(str(o.get("kind", "START")))
    if kind is None:
        raise Untrusted("an order is of an unknown kind")
    return Order(
        ref,
        _text(o.get("id"), 64),
        o.get("operation"),
        _text(o.get("reason")),
        o.get("named") is not False,
        kind,
    )


def _read_outcome(o: dict[str, JSON]) -> Outcome:
    of = {_number(int(k)): _text(v, 32) for k, v in _map(o.get("of")).items()}
    failed = _text(o.get("failed", ""), 64)
    is_late = bool(failed) and o.get("late") is True
    return Outcome(of, _text(o.get("detail", "")), _read_time(o.get("at")), failed, is_late)


def _read_settled(s: dict[str, JSON]) -> Settled:
    changes = {(_number(e), _number(c)): _text(how, 32) for e, c, how in _list(s.get("changes"))}
    return Settled(changes, _text(s.get("by"), 16), _read_time(s.get("at")))


def _read_reopened(r: dict[str, JSON]) -> Reopened:
    pairs = tuple((_number(e), _number(c)) for e, c in _list(r.get("changes")))
    return Reopened(pairs, _text(r.get("by"), 16))


def _read_context(c: dict[str, JSON]) -> Context:
    return Context(
        tuple(
            Reliance(_read_key(_map(r).get("key")), read_change(_map(r).get("change")))
            for r in _list(c.get("relies", []))
        ),
        tuple(
            Witness(
                _read_key(_map(w).get("owner")),
                *(_text(_map(w).get(n, "")) for n in ("repoURL", "path", "targetRevision", "revision")),
            )
            for w in _list(c.get("witnesses", []))
        ),
    )


_READERS: dict[str, Callable[[dict[str, JSON]], Content]] = {
    "begin": _read_begin,
    "edit": lambda e: Intent(_number(e.get("number")), _read_edit(e)),
    "order": lambda o: Intent(_number(o.get("number")), _read_order(o)),
    "rollout": lambda w: Intent(_number(w.get("number")), _read_rollout(w)),
    "creation": lambda c: Intent(_number(c.get("number")), _read_creation(c)),
    "removal": lambda r: Intent(_number(r.get("number")), _read_removal(r)),
    "outcome": _read_outcome,
    "settled": _read_settled,
    "reopened": _read_reopened,
    "context": _read_context,
    "end": lambda e: End(_text(e.get("status"), 64), _read_time(e.get("at"))),
}
