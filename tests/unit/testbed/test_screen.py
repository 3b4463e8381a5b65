"""What stands on a screen at the end: lines that a live table wrote anew, colours, nothing guessed."""

from __future__ import annotations

import io
import os
import sys

import pytest

from tests.testbed.captures import svg, text_of
from tests.testbed.screen import final, on_screen, without_colours


def test_a_live_table_leaves_its_last_state() -> None:
    from rich.console import Console
    from rich.live import Live

    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=40, color_system="standard", highlight=False)
    said.write("before\n")
    with Live(console=console, auto_refresh=False) as live:
        for text in ("one", "[green]one[/]\ntwo", "[red]1[/]\n2\n3"):
            live.update(text, refresh=True)
    said.write("\x1b[1mafter\x1b[0m\n")
    screen = final(said.getvalue())
    assert without_colours(screen) == "before\n1\n2\n3\nafter\n"
    assert "\x1b[31m1" in screen
    assert screen.endswith("\x1b[1mafter\x1b[0m\n")


@pytest.mark.parametrize("said", ["\x1b[5;5Hx", "\x1b]0;title\x07", "abc\rx"])
def test_what_it_does_not_know_is_an_error(said: str) -> None:
    with pytest.raises(ValueError):
        final(said)


def test_a_command_is_asked_on_its_own_terminal() -> None:
    program = (
        "import sys; print(sys.stdout.isatty(), flush=True);"
        " print('Go on? [y/N] ', end='', flush=True, file=sys.stderr); sys.exit(input() == 'y' and 4)"
    )
    code, screen = on_screen([sys.executable, "-c", program], os.environ, typed="y")
    assert (code, screen) == (4, "True\nGo on? [y/N] y\n")


def test_a_picture_has_the_text_of_the_screen() -> None:
    picture = svg("kubectl argo-rescue status", "a  \x1b[31mb\x1b[0m & c\n\n" + "x" * 130)
    assert text_of(picture) == f"$ kubectl argo-rescue status\na  b & c\n\n{'x' * 112}\n{'x' * 18}"
