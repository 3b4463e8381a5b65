"""What is printed stays on its line, whoever wrote it, and whatever the terminal can show.

Aspects: a newline, a tab, a control or an invisible character in a text forges no line, column or colour,
through every way that a printer has, and through whole commands on objects that are full of them; JSON
keeps the characters, escaped; what a stream lacks is replaced by what can be read.
Left out: real terminals (tests/unit/act/test_lost_output.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import cast

import pytest

from kubectl_argo_rescue.cli import complete
from kubectl_argo_rescue.model.text import columns, plain
from kubectl_argo_rescue.model.values import (
    APPLICATION,
    APPPROJECT,
    JSON,
    Ref,
    Result,
    StepResult,
    StepStatus,
)
from kubectl_argo_rescue.show.outlet import Outlet
from kubectl_argo_rescue.show.printer import Printer, Streams
from kubectl_argo_rescue.simulation.incident import Incident

from ..harness import Run

EVIL = "a\nFORGED b\r\nFORGED\tc\x1b[8md\u202ee\u2028FORGED\x85FORGED\x0bFORGED\udc80"
REF = Ref("Application", "argocd", EVIL, "uid")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(status: StepStatus) -> StepResult:
    return StepResult(REF, status, EVIL, (), EVIL, EVIL)


WAYS: dict[str, Callable[[Printer], object]] = {
    "say": lambda p: p.say(EVIL),
    "painted": lambda p: p.say(f"{p.paint('error:', 'red')} {EVIL}"),
    "warn": lambda p: p.warn(EVIL),
    "note": lambda p: p.note(EVIL),
    "server": lambda p: p.server_warning(EVIL),
    "line": lambda p: p.line(EVIL),
    "spans": lambda p: p.spans([(EVIL, "red"), (EVIL, "")]),
    "log": lambda p: cast("Callable[[str], None]", p.request_log(6))(EVIL),
    **{status.value: lambda p, s=status: p.progress(result(s)) for status in StepStatus},  # type: ignore[misc]
}


def printed(way: Callable[[Printer], object], form: str, *, terminal: bool) -> str:
    out, err = (Screen(), Screen()) if terminal else (io.StringIO(), io.StringIO())
    way(Printer(Streams(out, err, io.StringIO(), {"TERM": "xterm"}), form))
    return out.getvalue() + err.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("form", ["human", "name"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_prints_one_line(way: str, form: str, terminal: bool) -> None:
    text = printed(WAYS[way], form, terminal=terminal)
    first, *more = text.split("\n")[:-1] or [""]
    assert not [line for line in more if not terminal or not line.startswith("    ")], text
    assert len((first + "".join(more)).splitlines()) <= 1, text
    assert not set(text) & set("\t\r\u202e\udc80") and "\x1b[8m" not in text


def test_a_question_is_one_line() -> None:
    assert printed(lambda p: p.ask(EVIL), "human", terminal=True).count("\n") == 0


def test_a_cell_is_one_cell() -> None:
    assert columns([["x\ty\nz", "w"]], ["A", "B"]) == ["A       B", "x y z   w"]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_documents_keep_the_text_escaped(form: str) -> None:
    text = printed(lambda p: p.result(Result("log", warnings=(EVIL,))), form, terminal=True)
    assert not [line for line in text.splitlines() if line.startswith("FORGED")]
    if form == "json":
        assert json.loads(text)["warnings"] == [EVIL]


def test_beyond_the_first_plane_json_is_escaped_as_well() -> None:
    text = printed(lambda p: p.result(Result("log", warnings=("\U000e0041",))), "json", terminal=True)
    assert "\\udb40\\udc41" in text and json.loads(text)["warnings"] == ["\U000e0041"]


def test_a_choice_is_one_line() -> None:
    choices = complete._one_line_each(["good\tabout", "bad\nFORGED\tabout", "fine\tabout\nFORGED", "plain"])
    assert list(choices) == ["good\tabout", "fine", "plain"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_what_a_stream_lacks_is_replaced(encoding: str) -> None:
    raw = io.BytesIO()
    out = Outlet(io.TextIOWrapper(raw, encoding=encoding))
    out.write("✗ 2.4.1 → 2.5.1 \udc80 雨\n")
    out.flush()
    wanted = "✗ 2.4.1 → 2.5.1 ? 雨\n" if encoding == "utf-8" else "x 2.4.1 -> 2.5.1 ? ?\n"
    assert raw.getvalue().decode(encoding) == wanted and out.failure is None


def poison(incident: Incident) -> None:
    """Write what a hostile author could into every text that the commands show."""
    word = EVIL.replace("\udc80", "")

    def app(obj: JSON) -> None:
        obj["metadata"].setdefault("annotations", {})["note"] = word
        obj["spec"]["info"] = [{"name": word, "value": word}]
        status = obj.setdefault("status", {})
        status["conditions"] = [{"type": f"ComparisonError{word}", "message": word}]
        status["health"] = {"status": "Degraded", "message": word}
        status["summary"] = {"images": [word]}
        state = status.setdefault("operationState", {"operation": {}, "startedAt": "2026-11-27T16:00:00Z"})
        state |= {"phase": "Failed", "message": word, "retryCount": 1}
        for line in status.get("resources") or ():
            line["health"] = {"status": "Degraded", "message": word}

    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": [word, "*"]}
    for name in ("traefik", "root", "web"):
        incident.api.edit(APPLICATION, "argocd", name, app)
    incident.api.edit(
        APPPROJECT, "argocd", "cluster", lambda p: p["spec"].update(description=word, syncWindows=[window])
    )


@pytest.mark.parametrize("form", ["human", "name"])
def test_whole_commands(run: Run, incident: Incident, form: str) -> None:
    incident.argocd.controller_alive = False  # it would write its own words
    poison(incident)
    api, user = incident.api, "alice\nFORGED"
    for words in (
        ["rescue", "traefik", "2.4.1", "--yes", "--no-wait", "--reason", EVIL.replace("\udc80", "")],
        ["status"],
        ["status", "traefik"],
        ["windows", "traefik"],
        ["windows", "-A"],
        ["log"],
        ["show", "@"],
        ["report"],
        ["watch", "traefik", "--timeout", "1s"],
        ["pin", EVIL, "2.4.1"],
        ["undo", "--dry-run"],
    ):
        if words[-1] == "@":
            words = ["show", run(api, "log", "-o", "name").out.split()[0]]
        ran = run(api, *words, "-o", form, user=user)
        forged = [line for line in (ran.out + ran.err).split("\n") if line.startswith("FORGED")]
        assert not forged, (words, ran)
        assert not set(ran.out + ran.err) & set("\r\t\x1b\x85\u2028\u202e\x0b"), words


def test_a_newline_is_a_space() -> None:
    assert plain("one\r\ntwo\nthree\tfour") == "one two three four"
