"""An Application of a list has what is asked of it, as it came, and plans are the same as from whole ones.

Aspects: unknown fields are skipped; absent, null, numbers and texts stay as they are; what no CRD allows
is read whole; in the scenes every plan, refusal and line is the same, and nothing is asked that is not kept.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from kubectl_argo_rescue.act import engine
from kubectl_argo_rescue.argocd import listed
from kubectl_argo_rescue.cluster import objects

from ..harness import Run
from ..scenes import _MOMENTS, played

LINE = {"group": "apps", "kind": "Deployment", "namespace": "web", "name": "web", "status": "Synced"}
CHILD = {"group": "argoproj.io", "kind": "Application", "name": "web", "status": "Synced", "namespace": None}
CHANGED = {**LINE, "status": "OutOfSync", "requiresPruning": False}

APP = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {
        "name": "web",
        "uid": "u",
        "labels": {"a": "b"},
        "annotations": {"argocd.argoproj.io/tracking-id": "root:x"},
    },
    "spec": {"source": {"helm": {"values": "a: 1\n", "valuesObject": {"big": 2**70, "f": 1.0, "no": None}}}},
    "operation": None,
    "status": {"sync": {"status": "Synced", "comparedTo": None}, "conditions": [{"type": "x"}], "resources": [CHILD]},
}  # fmt: skip


def _read(app: Any) -> Any:
    body = json.dumps(app).encode()
    page = listed.read_page(b'{"metadata": {"continue": "x"}, "items": [' + body + b"]}")
    assert page == {"metadata": {"continue": "x"}, "items": [listed.read_one(body)]}
    return page["items"][0]


def test_what_is_kept_is_as_it_came() -> None:
    read = _read(APP)
    assert read == APP
    assert json.dumps(read, sort_keys=True) == json.dumps(APP, sort_keys=True)  # 1.0 is not 1, nor True


def test_what_nobody_asks_for_is_skipped() -> None:
    more = json.loads(json.dumps(APP))
    more["metadata"].update(managedFields=[{"manager": "x"}], generation=7)
    more["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    more["status"].update(history=[{"id": 1}], summary={"images": ["a"]})
    more["status"]["resources"] = [{**CHILD, "health": {"status": "Healthy"}}]
    assert _read(more) == APP


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([LINE, CHILD, CHANGED], [CHILD, CHANGED]),
        ([LINE, {**LINE, "name": "b"}], [LINE]),
        ([LINE, {**LINE, "requiresPruning": True}], [{**LINE, "requiresPruning": True}]),
        ([LINE, {"kind": "Job", "name": "hook"}], [{"kind": "Job", "name": "hook"}]),
        ([], []),
        (None, None),
    ],
)
def test_resources_that_say_nothing_are_left_out_but_for_one(lines: Any, kept: Any) -> None:
    assert _read({**APP, "status": {"resources": lines}})["status"] == {"resources": kept}


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": {}}])
def test_without_a_status(status: Any) -> None:
    app = {"metadata": {"name": "web"}, **status}
    assert _read(app) == app


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata": {"name": "web"}, "spec": {"a": "\\ud800"}, "more": 1}',
        b'{"metadata": {"name": "web"}, "spec": {"a": 1e400}, "more": 1}',
        b'{"metadata": {"name": "web"}, "status": {"resources": {}}, "more": 1}',
    ],
)
def test_what_no_crd_allows_is_read_whole(body: bytes) -> None:
    assert listed.read_one(body) == json.loads(body)
    page = b'{"items": [' + body + b"]}"
    assert listed.read_page(page) == json.loads(page)


def test_no_json_is_none_either_way() -> None:
    for read in (listed.read_page, listed.read_one):
        with pytest.raises(ValueError, match="Expecting value"):
            read(b"<html>")


# -- the same plans

COMMANDS = (
    "undo",
    "undo --redeploy",
    "windows -A",
    "pause --project default",
    "pin traefik 2.4.1",
    "unblock traefik",
    "sync traefik",
    "pause traefik web",
    "pause --all",
    "rescue traefik",
    "undo --on-conflict=skip",
    "undo --redeploy --on-conflict=overwrite",
)


VARYING = r"\d+s ago|\b[0-9a-f]{16}\b"
"""Ages, and the ids of orders."""


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one object be many: read as a list, and its answers as of a list."""
    monkeypatch.setattr(objects, "MANY", 1)
    monkeypatch.setattr(engine, "MANY", 1)


@pytest.mark.parametrize("moment", sorted(_MOMENTS))
@pytest.mark.usefixtures("lists")
def test_plans_are_those_of_whole_objects(run: Run, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    api = played(moment, run).incident.api
    read_page, read_one = listed.read_page, listed.read_one
    for words in COMMANDS:
        how = () if words.startswith("windows") else ("--dry-run=client", "-o", "json")
        said = []
        for page, one in ((read_page, read_one), (json.loads, json.loads)):
            monkeypatch.setattr(listed, "read_page", page)
            monkeypatch.setattr(listed, "read_one", one)
            ran = run(api, *words.split(), *how)
            said.append([ran.code, *(re.sub(VARYING, "", text) for text in (ran.out, ran.err))])
        assert said[0] == said[1]


# -- nothing is asked that is not kept


class _Seen(dict[str, Any]):
    """An object that notes which of its fields are asked for."""

    def __init__(self, content: dict[str, Any], path: str, seen: set[str]) -> None:
        super().__init__({k: _seen(v, f"{path}.{k}", seen) for k, v in content.items()})
        self._note: Callable[[str], None] = lambda key: seen.add(f"{path}.{key}")

    def get(self, key: str, default: Any = None, /) -> Any:
        self._note(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return super().__contains__(key)


def _seen(value: Any, path: str, seen: set[str]) -> Any:
    if isinstance(value, dict):
        return _Seen(value, path, seen)
    return [_seen(v, path, seen) for v in value] if isinstance(value, list) else value


def _is_kept(path: list[str], kind: Any) -> bool:
    """Whether a field is in the type, or below one that is kept whole."""
    kinds = [k for k in get_args(kind) if k is not type(None)] if _is_union(kind) else [kind]
    kind = next((k for k in kinds if k is not msgspec.UnsetType), Any)
    if get_origin(kind) is list:
        return _is_kept(path, get_args(kind)[0])
    if not path or kind is Any:
        return True
    hints = get_type_hints(kind) if isinstance(kind, type) and kind.__module__ == listed.__name__ else {}
    return path[0] in hints and _is_kept(path[1:], hints[path[0]])


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


@pytest.mark.parametrize("moment", sorted(_MOMENTS))
@pytest.mark.usefixtures("lists")
def test_nothing_is_asked_that_is_not_kept(run: Run, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    api = played(moment, run).incident.api
    seen: set[str] = set()

    def read_one(body: bytes) -> Any:
        return _seen(json.loads(body), "", seen)

    def read_page(body: bytes) -> Any:
        page = json.loads(body)
        return {**page, "items": [_seen(app, "", seen) for app in page["items"]]}

    monkeypatch.setattr(listed, "read_one", read_one)
    monkeypatch.setattr(listed, "read_page", read_page)
    for words in COMMANDS:
        more = [] if words.startswith("windows") else ["--yes"]
        if moment == "frozen" and words.startswith("rescue"):
            more.append("--no-wait")  # nothing would come
        run(api, *words.split(), *more)
    assert ".spec.syncPolicy" in seen
    assert not [p for p in seen if not _is_kept(_split(p), listed.ListedApplication)]


def _split(path: str) -> list[str]:
    """Take a path apart; an annotation's name has dots of its own."""
    _, *steps = path.split(".")
    return (
        [*steps[:2], ".".join(steps[2:])] if steps[:2] == ["metadata", "annotations"] and steps[2:] else steps
    )
