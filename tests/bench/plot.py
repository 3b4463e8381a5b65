"""Draws lines over logarithmic axes as SVG: few figures, so no library for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 230, 40, 50
_COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#999999", "#009e73", "#cc79a7", "#e69f00")
"""Okabe and Ito's, which colour-blind people can tell apart."""


def lines(
    title: str, across: str, up: str, xs: Sequence[float], series: Mapping[str, Sequence[float]]
) -> str:
    """Return the SVG text of a plot; every value must be positive."""
    ys = [y for values in series.values() for y in values]
    left, right = min(xs), max(xs)
    bottom, top = 10.0 ** math.floor(math.log10(min(ys))), 10.0 ** math.ceil(math.log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        part = math.log(x / left) / math.log(right / left) if right > left else 0.5
        return _LEFT + width * part, _TOP + height * (1 - math.log(y / bottom) / math.log(top / bottom))

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    tick = bottom
    while tick <= top * 1.001:
        _, y = place(left, tick)
        out.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        tick *= 10
    for x in xs:
        at, _ = place(x, bottom)
        out.append(
            f'<line x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{HEIGHT - _BOTTOM}" stroke="#dddddd"/>'
        )
        out.append(f'<text x="{at:.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>')
    out.append(
        f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 18 {HEIGHT / 2})">{escape(up)}</text>'
    )
    for number, (name, values) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [place(x, y) for x, y in zip(xs, values, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        at = _TOP + 10 + number * 20
        legend = WIDTH - _RIGHT + 16
        out.append(
            f'<line x1="{legend}" y1="{at}" x2="{legend + 22}" y2="{at}" stroke="{colour}" stroke-width="3"/>'
        )
        out.append(f'<text x="{legend + 28}" y="{at + 4}">{escape(name)}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
