"""The report as one HTML file and as a Slack message, of what was played on the in-memory incident.

Covered: HTML that is well formed, loads nothing and lets nothing of the cluster's be markup; times in UTC
for scripts; bars of versions, the outage and its end; diffs; what git owes and what is open. Slack's limits,
its escapes, and few lines where there are many. Left to tests/release: how a browser renders it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ..harness import Run
from ..scenes import Scene, played

VOID = {"meta", "br", "link", "path", "circle", "line", "rect"}
EVIL = "</script><img src=x onerror=alert(1)> & \x1b[31m<!channel> `rm`"


class Page(HTMLParser):
    """Notes elements, attributes and text; raises where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def scene(run: Run) -> Scene:
    return played("reported", run)


def html(run: Run, scene: Scene) -> str:
    ran = run(scene.incident.api, "report", "-o", "html")
    assert ran.code == 0, ran.err
    return ran.out


def test_the_page_loads_nothing_and_says_so(run: Run, scene: Scene) -> None:
    text = html(run, scene)
    page = Page(text)
    assert not [a for _, a in page.elements if "src" in a or a.get("href", "#")[0] != "#"]
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none';")
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        body = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not [a for _, a in page.elements if any(n.startswith("on") or n == "style" for n in a)]


def test_the_page_tells_the_story(run: Run, scene: Scene) -> None:
    page = Page(html(run, scene))
    words = " ".join(" ".join(page.words).split())
    assert "Rescue of traefik" in words
    assert "INC-4711" in words
    assert "outage, at most" in words
    assert "targetRevision: 2.4.1" in words
    assert all(f"kubectl argo-rescue undo {entry}" in words for entry in scene.entries)
    kinds = {a["class"] for a in page.all("rect") if "class" in a}
    assert kinds == {"b-good", "b-bad", "b-owed"}
    assert "change pending" in words
    assert len(page.all("circle")) == len(
        run(scene.incident.api, "report", "-o", "json").json["data"]["timeline"]
    )
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", t["datetime"]) for t in page.all("time"))


def test_text_from_the_cluster_is_no_markup(run: Run, scene: Scene) -> None:
    ran = run(scene.incident.api, "pause", "traefik", "--reason", EVIL, "--yes", user="<b>mallory")
    assert ran.code == 0
    text = html(run, scene)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not page.all("b")
    assert "\x1b" not in text
    assert "<b>mallory" in "".join(page.words)


def test_without_a_rescue_the_page_has_no_outage(run: Run) -> None:
    scene = played("incident", run)
    assert run(scene.incident.api, "pause", "web", "--yes").code == 0
    words = " ".join(Page(html(run, scene)).words)
    assert "outage" not in words
    assert "not known: no version was pinned" in words


def test_nothing_to_report_is_no_page(run: Run) -> None:
    ran = run(played("incident", run).incident.api, "report", "-o", "html")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing to report" in ran.err


# -- Slack


def message(run: Run, scene: Scene) -> Any:
    ran = run(scene.incident.api, "report", "-o", "slack")
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 1
    return json.loads(ran.out)


def test_a_message_keeps_slacks_limits(run: Run, scene: Scene) -> None:
    for _ in range(8):
        run(scene.incident.api, "pause", "web", "--reason", "x" * 400, "--yes")
        run(scene.incident.api, "undo", "web", "--yes")
    found = message(run, scene)
    assert set(found) == {"text", "blocks"}
    assert len(found["blocks"]) <= 50
    for block in found["blocks"]:
        if block["type"] == "header":
            assert len(block["text"]["text"]) <= 150
            continue
        assert block["type"] == "section"
        assert len(block.get("fields", ())) <= 10
        for text in [block["text"]] if "text" in block else block["fields"]:
            assert text["type"] == "mrkdwn"
            assert 0 < len(text["text"]) <= (3000 if "text" in block else 2000)
    (timeline,) = [b["text"]["text"] for b in found["blocks"] if "Timeline" in str(b)]
    assert "more: kubectl argo-rescue report" in timeline or timeline.endswith("…")


def test_a_message_pings_nobody(run: Run, scene: Scene) -> None:
    run(scene.incident.api, "pause", "traefik", "--reason", EVIL, "--yes")
    texts = json.dumps(message(run, scene), ensure_ascii=False)
    assert "<" not in texts
    assert "&lt;!channel&gt;" in texts


def test_a_message_says_what_git_must_change_and_what_is_open(run: Run, scene: Scene) -> None:
    texts = json.dumps(message(run, scene))
    assert "Pending git change" in texts
    assert "targetRevision: 2.4.1" in texts
    assert f"kubectl argo-rescue undo {scene.entries[0]}" in texts
