"""The report as one HTML file: no network, light and dark, the timeline drawn, to be read on paper too. Pure."""

from __future__ import annotations

import base64
import hashlib
import html as markup
import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ..argocd import history
from ..journal.entry import Entry, deadline, edit_now, name_of, what, who
from ..model.text import COMMAND, one_line, plain, time_json, time_text, with_short_hashes
from ..model.times import ago, human
from ..model.values import Key
from .entry import outcome_text
from .report import Event, Owed, Report, mitigation_text, pinned, subject
from .steps import change_lines

_STYLE: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--quiet:#55606e;--line:#c9d1da;--card:#f5f7f9;
--good:#0a6640;--bad:#b3261e;--note:#7a4b00;--link:#0b5cad;--goodbar:#8fd3ae;--badbar:#f2a39b;--otherbar:#c3ccd6;--owedbar:#f3cf85}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e7ebf0;--quiet:#aab4c0;--line:#3a4450;--card:#1d232a;
--good:#7ddba6;--bad:#ff9d94;--note:#f0c674;--link:#8ec2ff;--goodbar:#1f6f49;--badbar:#8c2f28;--otherbar:#4a5562;--owedbar:#6b4e12}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:0}dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}
figure{margin:0}p,li{overflow-wrap:anywhere}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;min-width:44rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}
td:first-child,th{white-space:nowrap}td:nth-child(2){min-width:9rem}time span{display:block;color:var(--quiet);font-size:.85rem}
details{margin:.5rem 0;border:1px solid var(--line);border-radius:.4rem;background:var(--card)}
summary{padding:.5rem .75rem;cursor:pointer;overflow-wrap:anywhere}details>*:not(summary){margin:.5rem .75rem}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
pre{overflow-x:auto;padding:.6rem;background:var(--paper);border:1px solid var(--line);border-radius:.3rem;font-size:.85rem}
code,pre{font-family:ui-monospace,Menlo,Consolas,monospace}
.add{color:var(--good)}.del{color:var(--bad)}.quiet{color:var(--quiet)}.bad{color:var(--bad)}.good{color:var(--good)}
a{color:var(--link)}.skip{position:absolute;left:-99rem}.skip:focus{position:static}
svg{width:100%;min-width:40rem;height:auto;display:block}svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg .q{fill:var(--quiet)}
.b-good{fill:var(--goodbar)}.b-bad{fill:var(--badbar)}.b-other{fill:var(--otherbar)}.b-owed{fill:var(--owedbar)}
.rule{stroke:var(--quiet);stroke-dasharray:3 3}.axis{stroke:var(--line)}.dot{fill:var(--link)}.out{fill:none;stroke:var(--bad);stroke-width:3}
@media print{table,svg{min-width:0}body{max-width:none;padding:0;font-size:11pt}details{break-inside:avoid}.scroll,pre{overflow:visible;white-space:pre-wrap}}
""".replace("\n", " ")
"""On one line, as it is printed: the page's policy names its digest."""

_SCRIPT: Final = """
for(const t of document.querySelectorAll("time[datetime]")){const d=new Date(t.dateTime);
if(!isNaN(d)){const s=document.createElement("span");
s.textContent=d.toLocaleString(undefined,{dateStyle:"medium",timeStyle:"medium"})+" local";t.append(s)}}
addEventListener("beforeprint",()=>{for(const d of document.querySelectorAll("details"))d.open=true});
""".replace("\n", " ")


def html(report: Report, where: str) -> Iterator[str]:
    """Lay the report out as one page, line by line; `where` names the cluster."""
    title = f"Rescue of {subject(report) or 'nothing'}"
    hashed = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (_STYLE, _SCRIPT)]
    policy = f"default-src 'none'; style-src 'sha256-{hashed[0]}'; script-src 'sha256-{hashed[1]}'"
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield f"<title>{_t(title)}</title><style>{_STYLE}</style></head><body>"
    yield '<a class="skip" href="#timeline">To the timeline</a>'
    yield f"<main><h1>{_t(title)}</h1>"
    yield from _facts(report, where)
    yield '<h2 id="timeline">Timeline</h2>'
    yield from _drawing(report)
    yield from _table(report.timeline)
    yield "<h2>Pending git change</h2>"
    yield from _owed(report)
    yield "<h2>Still open</h2>"
    yield from _open(report)
    yield "<h2>Edits</h2>"
    for entry in report.entries:
        yield from _entry(report, entry)
    yield f"</main><script>{_SCRIPT}</script></body></html>"


def _t(text: str) -> str:
    """Keep text from elsewhere from being markup, and from moving the text around it."""
    return markup.escape(plain(with_short_hashes(one_line(text))))


def _time(at: datetime) -> str:
    return f'<time datetime="{time_json(at)}">{time_text(at)}</time>'


# -- words


def _facts(report: Report, where: str) -> Iterator[str]:
    people = ", ".join(dict.fromkeys(who(e) for e in report.entries))
    first = _time(report.first_write) if report.first_write else "nothing was written"
    rows = [
        ("Cluster", _t(where)),
        ("Who", _t(people)),
        ("Entries", _t(", ".join(e.id for e in report.entries))),
        ("First write", first),
        ("Time to mitigation", _t(mitigation_text(report))),
        ("As of", _time(report.now)),
    ]
    yield "<dl>"
    for name, value in rows:
        yield f"<dt>{name}</dt><dd>{value}</dd>"
    yield "</dl>"


def _table(events: Sequence[Event]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("When", "Who", "What", "Result", "Entry"))
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="Timeline as a table"><table><thead><tr>{heads}</tr></thead><tbody>'
    for e in events:
        cells = "".join(f"<td>{_t(text)}</td>" for text in (e.who, e.what, e.result, e.entry))
        yield f"<tr><td>{_time(e.at)}</td>{cells}</tr>"
    yield "</tbody></table></div>"


def _owed(report: Report) -> Iterator[str]:
    if not report.owed:
        yield "<p>None: no version that was written here differs from git, as far as the cluster tells.</p>"
    for one in report.owed:
        yield f"<p><strong>{_t(str(one.key))}</strong>: {_t(_place(one))}<br><span class=quiet>{_t(one.why)}</span></p>"
        if one.patch:
            yield from _diff(one.patch)
    for key in report.settled_in_git:
        yield f"<p>{_t(str(key))}: git agrees with what is live.</p>"


def _place(one: Owed) -> str:
    if not one.repo_url:
        return "repository not known"
    return f"{one.repo_url}, {one.path or '(root)'} at {one.revision}"


def _open(report: Report) -> Iterator[str]:
    if not report.open:
        yield "<p>Nothing.</p>"
        return
    yield "<ul>"
    for entry in report.open:
        late = deadline(entry, report.now)
        text = f"{what(entry)}, {who(entry)}, {ago(report.now - entry.begin.started)}{f', {late}' if late else ''}"
        yield f"<li>{_t(text)}; undo with <code>{_t(f'{COMMAND} undo {entry.id}')}</code></li>"
    yield "</ul>"


def _entry(report: Report, entry: Entry) -> Iterator[str]:
    yield f"<details><summary><strong>{_t(entry.id)}</strong> {_t(what(entry))}</summary>"
    reason = f": {_t(entry.begin.reason)}" if entry.begin.reason else ""
    yield f"<p>{_t(who(entry))}, {_time(entry.begin.started)}{reason}</p>"
    for number, edit in entry.edits():
        outcome = outcome_text(entry, number, edit_now(edit, report.live).value)
        yield f"<p>{_t(str(edit.ref))}: {_t(edit.reason)} <span class=quiet>({_t(outcome)})</span></p>"
        yield from _diff([line for change in edit.changes for line in change_lines(change)])
    for number, order in entry.orders():
        outcome = outcome_text(entry, number, "not known")
        yield f"<p>{_t(str(order.ref))}: {_t(order.reason)} <span class=quiet>({_t(outcome)})</span></p>"
    yield "</details>"


def _diff(lines: Sequence[str]) -> Iterator[str]:
    yield '<pre tabindex="0" role="region" aria-label="diff">'
    for line in lines:
        kind = {"+": "add", "-": "del"}.get(line[:1], "")
        text = markup.escape(plain(line.rstrip("\n")))
        yield f'<span class="{kind}">{text}</span>' if kind else text
    yield "</pre>"


# -- the drawing


class Bar(Struct, frozen=True):
    """A version that was in force for a time."""

    version: str
    begins: datetime
    ends: datetime
    kind: str
    """good, bad or other: the version that was pinned, the one before it, any else; owed is git's."""


def bars(report: Report, key: Key) -> list[Bar]:
    """Return the versions of one application that were in force from a little before the first write on."""
    app = report.live.get(key)
    if app is None or report.first_write is None:
        return []
    past = [d for d in history.deployments(app) if d.deployed]
    good = next((m.version for m in report.mitigations if m.key == key), "")
    first = report.first_write
    before = [d for d in past if d.deployed and d.deployed < first]
    bad = before[-1].version(0) if before else ""
    found: list[Bar] = []
    for i, d in enumerate(past):
        ends = past[i + 1].deployed if i + 1 < len(past) else report.now
        assert d.deployed is not None
        assert ends is not None
        if ends < first and d not in before[-2:]:
            continue
        version = d.version(0)
        kind = "good" if version == good else "bad" if version == bad else "other"
        found.append(Bar(version, d.deployed, max(ends, d.deployed), kind))
    return found


class _Scale:
    """Places times from left to right; long gaps are drawn short, by their logarithm."""

    def __init__(self, times: Sequence[datetime], left: float, right: float) -> None:
        self._times = sorted(set(times))
        gaps = [(b - a).total_seconds() for a, b in zip(self._times, self._times[1:], strict=False)]
        steps = [1 + math.log1p(gap) for gap in gaps]
        total = sum(steps) or 1.0
        at, self._at = left, [left]
        for step in steps:
            at += (right - left) * step / total
            self._at.append(at)

    def __call__(self, at: datetime) -> float:
        for i, time in enumerate(self._times):
            if at <= time:
                if i == 0 or at == time:
                    return self._at[i]
                share = (at - self._times[i - 1]) / (time - self._times[i - 1])
                return self._at[i - 1] + share * (self._at[i] - self._at[i - 1])
        return self._at[-1]


_WIDE: Final = 960
_LEFT: Final = 120
_RIGHT: Final = 940


def _drawing(report: Report) -> Iterator[str]:
    """Draw versions as bars, what people and Argo CD did as marks, and the outage as far as it is known."""
    home = report.entries[0].begin.argocd_namespace if report.entries else ""
    rows = [(name_of(key, home), bars(report, key)) for key in pinned(report.entries)]
    if begins := report.first_write:
        pending = {one.key: Bar("change pending", begins, report.now, "owed") for one in report.owed}
        rows += [(f"git: {name_of(key, home)}", [bar]) for key, bar in pending.items()]
    rows = [(name, found) for name, found in rows if found]
    times = [e.at for e in report.timeline] + [report.now]
    times += [t for _, found in rows for bar in found for t in (bar.begins, bar.ends)]
    times += [t for t in (report.first_write, report.mitigated) if t]
    scale = _Scale(times, _LEFT, _RIGHT)
    lanes = list(dict.fromkeys(e.who for e in report.timeline))
    top = 56 + 34 * len(rows)
    height = top + 24 * len(lanes) + 44
    spoken = f"Versions in force and {len(report.timeline)} events, from {time_text(min(times))} to {time_text(max(times))}"
    yield f'<figure><div class="scroll" tabindex="0" role="region" aria-label="Timeline, drawn"><svg viewBox="0 0 {_WIDE} {height}" role="img" aria-label="{_t(spoken)}">'
    yield f"<title>{_t(spoken)}</title>"
    yield from _outage(report, rows, scale)
    for i, (name, found) in enumerate(rows):
        y = 46 + 34 * i
        yield f'<text x="0" y="{y + 15}">{_t(_short(name, 17))}</text>'
        for bar in found:
            yield from _bar(bar, scale, y)
    for i, lane in enumerate(lanes):
        y = top + 24 * i
        yield f'<text x="0" y="{y + 4}">{_t(_short(lane.partition(" on ")[0], 17))}</text>'
        yield f'<line class="axis" x1="{_LEFT}" y1="{y}" x2="{_RIGHT}" y2="{y}"/>'
        for e in report.timeline:
            if e.who == lane:
                tip = f"{time_text(e.at)}: {e.what} ({e.result})"
                yield f'<circle class="dot" cx="{scale(e.at):.1f}" cy="{y}" r="5"><title>{_t(tip)}</title></circle>'
    yield from _axis(times, scale, height)
    yield "</svg></div><figcaption class=quiet>Bars are versions as Argo CD deployed them. Long gaps are drawn short.</figcaption></figure>"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _bar(bar: Bar, scale: _Scale, y: int) -> Iterator[str]:
    left, right = scale(bar.begins), scale(bar.ends)
    wide = max(right - left, 2.0)
    took = human(bar.ends - bar.begins)
    tip = f"{bar.version}, from {time_text(bar.begins)}, {took}"
    yield f'<rect class="b-{bar.kind}" x="{left:.1f}" y="{y}" width="{wide:.1f}" height="22" rx="3"><title>{_t(tip)}</title></rect>'
    room = int(wide / 7)
    if room >= 4:
        yield f'<text x="{left + 4:.1f}" y="{y + 15}">{_t(_short(bar.version, room))}</text>'


def _outage(report: Report, rows: Sequence[tuple[str, Sequence[Bar]]], scale: _Scale) -> Iterator[str]:
    """Draw from when the bad version was deployed until the good one was healthy: that long at most."""
    begins = min((b.begins for _, found in rows for b in found if b.kind == "bad"), default=None)
    if begins is not None:
        ends = report.mitigated or report.now
        left, right = scale(begins), scale(max(ends, begins))
        took = human(max(ends - begins, timedelta(0)))
        said = f"outage, at most {took}" if report.mitigated else f"outage, not known to be over ({took})"
        yield f'<path class="out" d="M{left:.1f} 30 V24 H{right:.1f} V30"/>'
        x = min(left, _RIGHT - 7.0 * len(said))
        yield f'<text class="q" x="{x:.1f}" y="16">{_t(said)}</text>'
    for at, name in ((report.first_write, "first write"), (report.mitigated, "healthy")):
        if at:
            x = scale(at)
            yield f'<line class="rule" x1="{x:.1f}" y1="30" x2="{x:.1f}" y2="999"><title>{name}: {time_text(at)}</title></line>'


def _axis(times: Sequence[datetime], scale: _Scale, height: int) -> Iterator[str]:
    yield f'<rect x="0" y="{height - 26}" width="{_WIDE}" height="26" fill="var(--paper)"/>'
    free = 0.0
    last = max(times)
    for at in sorted(set(times)):
        x = scale(at)
        if x < free or (at != last and x > scale(last) - 76):
            continue
        anchor = "end" if at == last else "start"
        yield f'<text class="q" x="{x:.1f}" y="{height - 8}" text-anchor="{anchor}">{at:%m-%d %H:%M:%S}</text>'
        free = x + 100
