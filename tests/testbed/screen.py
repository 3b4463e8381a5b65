"""Runs a command on a terminal of its own and returns what stands on the screen when it has ended."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence

_PIECE = re.compile(r"\x1b\[\?25[hl]|\x1b\[([\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def on_screen(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    typed: str = "",
    columns: int = 200,
    timeout: float = 180,
) -> tuple[int, str]:
    """Return the exit code and the screen with its colours; `typed` is what a person would type."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        command, env={**environment, "TERM": "xterm-256color"}, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    said = b""
    answers = [f"{line}\n".encode() for line in typed.splitlines()]
    try:
        while piece := _read(ours):
            said += piece
            if said.endswith(b"[y/N] ") and answers:
                os.write(ours, answers.pop(0))
    finally:
        os.close(ours)
        code = process.wait()
        killer.cancel()
    return code, final(said.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other side is closed
        return b""


def final(said: str) -> str:
    """Return what is left on the screen; knows just what the plugin and its live table send."""
    lines, row = [""], 0
    at_start = True
    position = 0
    for piece in _PIECE.finditer(said):
        if piece.start() != position:
            break
        position = piece.end()
        number, code, control, text = piece.groups()
        if control == "\n":
            row, at_start = row + 1, True
            lines += [""] * (row - len(lines) + 1)
        elif control == "\r":
            at_start = True
        elif code == "A":
            row = max(row - int(number or 1), 0)
        elif code == "K":
            lines[row] = ""
        elif text or code == "m":
            if at_start and text and without_colours(lines[row]):
                raise ValueError(f"{text!r} would be written over {lines[row]!r}")
            at_start = at_start and not text
            lines[row] += piece[0]
        elif code:
            raise ValueError(f"this screen does not know {piece[0]!r}")
    if position != len(said):
        raise ValueError(f"this screen does not know {said[position : position + 10]!r}")
    return "\n".join(lines).rstrip() + "\n"


def without_colours(screen: str) -> str:
    """Return the text of a screen."""
    return re.sub(r"\x1b\[[\d;]*m", "", screen)
