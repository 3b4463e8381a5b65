"""Takes the pictures of the documents: real commands on a terminal, on Argo CD's real controllers.

python -m tests.testbed.captures [--argo 3.2|3.6]    (or: make captures)
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from . import programs
from .argocd import ArgoCD, running
from .incident import APP, Incident
from .plugin import Plugin
from .processes import TestbedError
from .screen import on_screen

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "captures"

COMMANDS = {
    "status": ("status", APP),
    "rescue": ("rescue", APP, "--reason", "INC-4711"),
}
"""The pictures, in the order in which the incident needs them."""

WIDTH = 112

# Nothing is loaded when somebody looks at it: no font from elsewhere.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px; \
line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">\
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def anonymous(screen: str, argocd: ArgoCD) -> str:
    """Put names in place of the bed's own addresses, which are ports and folders of one machine."""
    for own, name in (
        (f"https://127.0.0.1:{argocd.control_plane.port}", "https://k8s.example.com:6443"),
        (argocd.repository.url, "https://git.example.com/gitops.git"),
        (argocd.charts.url, "https://charts.example.com"),
        ("context testbed ", "context prod "),
    ):
        screen = screen.replace(own, name)
    return screen


def svg(title: str, screen: str) -> str:
    """Draw a screen."""
    from rich.console import Console  # lazy: the tests read captures without drawing any
    from rich.text import Text

    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    for line in Text.from_ansi(f"$ {title}\n{screen}".rstrip()).split("\n"):
        for start in range(0, max(len(line), 1), WIDTH):  # as a terminal breaks it, in mid-word
            console.print(line[start : start + WIDTH])
    return console.export_svg(title=title, code_format=_SVG, unique_id=f"capture-{title.split()[2]}")


def text_of(picture: str) -> str:
    """Return the text that a picture shows."""
    import html

    lines: dict[int, str] = {}
    cell = 12.2
    for x, line, text in re.findall(
        r'<text class="[\w-]*-r\d+" x="([\d.]+)"[^>]*line-(\d+)\)">([^<]*)</text>', picture
    ):
        row = lines.get(int(line), "").ljust(round(float(x) / cell))
        lines[int(line)] = row + html.unescape(text).replace("\xa0", " ").rstrip("\n")
    return "\n".join(lines.get(i, "").rstrip() for i in range(max(lines) + 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the incident and take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.captures")
    parser.add_argument("--argo", choices=tuple(programs.ARGO), default="3.6", help="release line of Argo CD")
    options = parser.parse_args(arguments)
    try:
        programs.build_all([options.argo])
        with running(options.argo, cm={"url": "https://argocd.example.com"}) as argocd:
            Incident(argocd).happen()
            plugin = Plugin(argocd.control_plane, argocd.folder / "homes")
            FOLDER.mkdir(exist_ok=True)
            for name, words in COMMANDS.items():
                code, screen = on_screen(
                    [str(argocd.control_plane.bin / "kubectl"), "argo-rescue", *words],
                    plugin.environment(),
                    typed="y",
                    columns=WIDTH,
                )
                if code:
                    print(f"{' '.join(words)} ended with {code}\n{screen}", file=sys.stderr)
                    return 1
                title = " ".join(("kubectl argo-rescue", *words))
                (FOLDER / f"{name}.svg").write_text(svg(title, anonymous(screen, argocd)))
                print(f"docs/captures/{name}.svg", file=sys.stderr)
    except (TestbedError, programs.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
