"""`report -o html` in a real browser: rendered, light and dark, on paper, by the keyboard, and readable.

Covered: nothing on the console and no request; the drawing has its size and its bars; times get the local
one; every diff opens by the keyboard, and closed it is folded; the contrast of every text is 4.5 to 1 at
least, in both tastes; nothing is wider than the screen; printing opens what is folded.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.harness import Run
from tests.unit.scenes import played

from . import browser

CONTRAST = r"""
(() => {
  const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = parse(c).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 }); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const paper = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (parse(c)[3] !== 0) return c } return "rgb(255,255,255)" };
  const found = [];
  for (const e of document.querySelectorAll("main *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || e.closest("svg") || e.tagName === "TITLE") continue;
    const a = light(getComputedStyle(e).color), b = light(paper(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(e.tagName + " " + e.textContent.slice(0, 40) + " " + ratio.toFixed(2));
  }
  for (const e of document.querySelectorAll("svg text")) {
    const box = e.getBBox(), style = getComputedStyle(e);
    const under = [...document.querySelectorAll("svg rect")].reverse().find(r => { const o = r.getBBox();
      return o.x <= box.x + 1 && box.x + 1 <= o.x + o.width && o.y <= box.y + 3 && box.y + 3 <= o.y + o.height });
    const a = light(style.fill), b = light(under ? getComputedStyle(under).fill : getComputedStyle(document.body).backgroundColor);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push("svg " + e.textContent + " " + ratio.toFixed(2));
  }
  return found;
})()
"""


@pytest.fixture
def page(run: Run, tmp_path: Path) -> Path:
    """The report of a rescue and of somebody's pause beside it."""
    ran = run(played("reported", run).incident.api, "report", "-o", "html")
    assert ran.code == 0, ran.err
    file = tmp_path / "report.html"
    file.write_text(ran.out, "utf-8")
    return file


@pytest.fixture
def tab(page: Path, tmp_path: Path) -> Iterator[browser.Browser]:
    """A browser that has loaded it."""
    program = browser.find()
    assert program, "no headless browser: make release-check says how to get one"
    with browser.Browser(program, tmp_path / "profile") as opened:
        opened.look()
        opened.open(page)
        yield opened


def test_it_renders_without_a_word_on_the_console(tab: browser.Browser) -> None:
    assert tab.complaints == []
    box: Any = tab.evaluate(
        "(() => { const b = document.querySelector('svg').getBoundingClientRect(); return [b.width, b.height] })()"
    )
    assert box[0] > 600
    assert box[1] > 80
    bars = tab.evaluate(
        "[...document.querySelectorAll('svg rect[class]')].map(r => r.getBoundingClientRect().width)"
    )
    assert len(bars) >= 2
    assert min(bars) > 2
    assert tab.evaluate("document.querySelectorAll('time span').length > 3")
    assert "local" in tab.evaluate("document.querySelector('time span').textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(tab: browser.Browser, dark: bool) -> None:
    tab.look(dark=dark)
    papers = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (papers == "rgb(255, 255, 255)") is not dark
    assert tab.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [360, 1000])
def test_nothing_is_wider_than_the_screen(tab: browser.Browser, width: int) -> None:
    tab.look(width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_and_opens_each_diff(tab: browser.Browser) -> None:
    wanted = tab.evaluate("document.querySelectorAll('summary').length")
    assert wanted >= 2
    assert tab.evaluate("document.querySelectorAll('details[open]').length") == 0
    opened = 0
    for _ in range(60):
        tab.press("Tab")
        if tab.evaluate("document.activeElement.tagName") == "SUMMARY":
            tab.press("Enter")
            opened += 1
            assert tab.evaluate("document.activeElement.parentElement.open")
        if opened == wanted:
            break
    assert opened == wanted
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_on_paper_the_diffs_are_open(tab: browser.Browser) -> None:
    paper = tab.paper()
    assert paper.startswith(b"%PDF")
    assert tab.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", paper, re.DOTALL)
    assert sum(len(_inflated(s)) for s in streams) > 5000


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""
