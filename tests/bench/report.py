"""Writes what was measured: one table on the terminal, and the figures of docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import plot
from .bed import CHECKOUT
from .measure import Comparison
from .rescuing import Rescues
from .scale import PROJECTS, Scale, Size
from .speed import KINDS, Requests, Rounds

DOCUMENT = CHECKOUT / "docs" / "benchmarks.md"
PLOT = CHECKOUT / "docs" / "benchmarks-scale.svg"

GOAL_MEMORY = 150
GOAL_WINDOWS = 10
GOAL_DYING = 5
GOAL_ROUNDS = 5


@dataclass(slots=True)
class Found:
    """All that one run measured; a part that did not run is None, and its figures stay as they were."""

    machine: str
    date: str
    pairs: int
    helps: list[Comparison] = field(default_factory=list)
    edits: list[Comparison] = field(default_factory=list)
    rounds: list[Rounds] = field(default_factory=list)
    requests: list[Requests] = field(default_factory=list)
    rescues: Rescues | None = None
    scale: Scale | None = None


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns also align as plain text."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def _met(is_met: bool | None) -> str:
    return {None: "", True: "met", False: "**missed**"}[is_met]


def comparisons(found: Sequence[Comparison], unit: str = "ms") -> str:
    """Return the table of comparisons."""
    factor = 1000 if unit == "ms" else 1
    digits = 0 if unit == "ms" else 2
    return table(
        ("ours", "beside", "n", f"ours, {unit}", f"the other, {unit}", "ratio", "goal", ""),
        [
            (
                c.what, c.other, str(len(c.ours)), f"{c.our_time * factor:.{digits}f}",
                f"{c.their_time * factor:.{digits}f}", f"{c.ratio:.2f}×", c.goal, _met(c.is_met),
            )
            for c in found
        ],
    )  # fmt: skip


def rounds(found: Sequence[Rounds]) -> str:
    """Return the table of round trips."""
    return table(
        ("command", "near, ms", "100 ms away, ms", "round trips waited for", "in sequence", "goal", ""),
        [
            (
                r.what, f"{r.near * 1000:.0f}", f"{r.far * 1000:.0f}", f"{r.waited:.1f}", f"{r.in_sequence:.1f}",
                *((f"at most {GOAL_ROUNDS}", _met(r.waited <= GOAL_ROUNDS)) if r.what == "pin" else ("", "")),
            )
            for r in found
        ],
    )  # fmt: skip


def requests(found: Sequence[Requests]) -> str:
    """Return the table of requests and memory."""
    return table(
        ("verb", *KINDS, "discovery", "read twice", "own MB", "with kubectl, MB"),
        [
            (
                r.verb, *(str(r.counts.get(kind) or "") for kind in KINDS), str(r.discovery),
                str(len(r.repeated)), f"{r.peak.own:.0f}", f"{r.peak.all:.0f}",
            )
            for r in found
        ],
    )  # fmt: skip


def scale(found: Scale) -> str:
    """Return the tables of sizes."""
    parts = []
    if found.sizes:
        parts.append(
            table(
                ("Applications", *found.sizes[0].series()),
                [(str(s.count), *(f"{v:.2f} s" for v in s.series().values())) for s in found.sizes],
            )
        )
        parts.append(_scale_ratios(found.sizes[-1]))
    if found.away:
        away = found.away
        parts.append(
            table(
                (f"{away.count} Applications, 20 ms away", "seconds", "a loop of kubectl patch", "ratio"),
                [("pause --all", f"{away.pause:.1f}", f"{away.loop:.1f}", f"{away.loop / away.pause:.1f}× faster")],
            )
        )  # fmt: skip
    if found.windows:
        w = found.windows
        parts.append(
            table(
                ("", "seconds", "goal", "", "`kubectl get app -o json`", "own MB", "with kubectl, MB"),
                [
                    (
                        f"`windows -A`, {w.count} Applications, {PROJECTS} projects of up to 4 random windows",
                        f"{w.seconds:.2f}", f"at most {GOAL_WINDOWS} s", _met(w.seconds <= GOAL_WINDOWS), f"{w.get:.2f}",
                        f"{w.peak.own:.0f}", f"{w.peak.all:.0f}",
                    )
                ],
            )
        )  # fmt: skip
    if found.dying:
        d = found.dying
        parts.append(
            table(
                ("", "seconds", "goal", "", "own MB", "with kubectl, MB", "goal", ""),
                [
                    (
                        f"`status`, {d.count} Applications, {d.dying} of them dying", f"{d.seconds:.2f}",
                        f"at most {GOAL_DYING} s", _met(d.seconds <= GOAL_DYING), f"{d.peak.own:.0f}",
                        f"{d.peak.all:.0f}", f"under {GOAL_MEMORY} MB", _met(d.peak.all < GOAL_MEMORY),
                    )
                ],
            )
        )  # fmt: skip
    if found.log:
        log = found.log
        parts.append(
            table(
                ("", "seconds", "`kubectl get configmap -o json`", "ratio", "own MB", "with kubectl, MB"),
                [
                    (
                        f"`log`, {log.count} entries", f"{log.seconds:.2f}", f"{log.get:.2f}",
                        f"{log.seconds / log.get:.2f}×", f"{log.peak.own:.0f}", f"{log.peak.all:.0f}",
                    )
                ],
            )
        )  # fmt: skip
    return "\n\n".join(parts)


def _scale_ratios(s: Size) -> str:
    faster = s.loop / s.pause
    over = s.pause / s.bare
    look = s.status / s.get
    rows = [
        ("pause --all", "a loop of kubectl patch", f"{faster:.1f}× faster", "at least 10×", _met(faster >= 10)),
        (
            "pause --all", "the same patches and nothing else", f"{over:.2f}×", "within 1.3×", _met(over <= 1.3),
        ),
        ("undo", "the same patches and nothing else", f"{s.undo / s.bare:.2f}×", "", ""),
        ("status", "kubectl get app -o json", f"{look:.2f}×", "faster", _met(look < 1)),
        (
            "status, peak memory", "kubectl get app -o json",
            f"{s.status_peak.own:.0f} MB, with its kubectl {s.status_peak.all:.0f} MB, beside {s.get_peak.all:.0f} MB",
            f"under {GOAL_MEMORY} MB", _met(s.status_peak.all < GOAL_MEMORY),
        ),
        *(
            (
                f"{verb}, peak memory", "", f"{peak.own:.0f} MB, with its kubectl {peak.all:.0f} MB",
                f"under {GOAL_MEMORY} MB of its own", _met(peak.own < GOAL_MEMORY),
            )
            for verb, peak in (("pause --all", s.pause_peak), ("undo", s.undo_peak))
        ),
    ]  # fmt: skip
    return table((f"{s.count} Applications", "beside", "ratio", "goal", ""), rows)


def sections(found: Found) -> dict[str, str]:
    """Return the text of each part that was measured, by the name of its markers."""
    texts: dict[str, str] = {}
    if found.helps:
        texts["help"] = comparisons(found.helps)
    if found.edits:
        texts["edits"] = comparisons(found.edits)
    if found.rounds:
        texts["rounds"] = rounds(found.rounds)
    all_requests = [*found.requests, *(found.rescues.requests if found.rescues else ())]
    if found.requests:
        texts["requests"] = requests(all_requests)
    if found.rescues:
        texts["rescue"] = comparisons([found.rescues.healthy, found.rescues.ended], "s")
    if found.scale:
        texts["scale"] = scale(found.scale)
    if texts:
        texts["run"] = (
            f"Last run: {found.date}, on {found.machine}; parts measured: "
            f"{', '.join(sorted(texts))}; {found.pairs} pairs where no other n is given."
        )
    return texts


def show(found: Found) -> str:
    """Return all of it as text for the terminal."""
    return "\n\n".join(sections(found).values())


def write(found: Found, document: Path = DOCUMENT, picture: Path = PLOT) -> None:
    """Put the figures between the document's markers; the words around them are kept."""
    text = document.read_text()
    for name, body in sections(found).items():
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda m, body=body: f"{m[1]}{body}\n{m[2]}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"{document.name} has no place for {name}: <!-- {name} --> … <!-- end -->")
    document.write_text(text)
    if found.scale and len(found.scale.sizes) > 1:
        sizes = found.scale.sizes
        names = sizes[0].series()
        picture.write_text(
            plot.lines(
                "How it grows",
                "Applications of 18 kB",
                "seconds",
                [s.count for s in sizes],
                {name: [s.series()[name] for s in sizes] for name in names},
            )
        )
