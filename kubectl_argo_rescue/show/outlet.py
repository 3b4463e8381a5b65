"""stdout and stderr as the rest of the program has them: a write to them never fails.

A reader that went away, a full disk and a lost terminal must not stop a command between two writes to
the cluster. Nor may a terminal that lacks a character: it gets another one that can be read.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast

_READABLE = {"✓": "+", "✗": "x", "→": "->", "…": "...", "─": "-", "└": "`", "–": "-", "—": "-", "\ufffd": "?"}


def _read_otherwise(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_READABLE.get(c, "?") for c in lacking), error.end


codecs.register_error("argo-rescue", _read_otherwise)


class Outlet(io.TextIOBase):
    """A stream that notes why it cannot be written, and takes no more from then on."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`; None is one that was closed before we started."""
        self._stream = stream
        self.failure: Exception | None = None if stream else OSError(errno.EPIPE, "it is closed")
        self.is_used = False
        """Whether something was written."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What characters it takes; in memory all of them."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What it does about others; `input` asks."""
        return "strict"

    @property
    def takes_all(self) -> bool:
        """Whether every character can be written."""
        return self.encoding.lower().replace("_", "-").startswith("utf-")

    @property
    def is_left(self) -> bool:
        """Whether its reader went away, as `| head` does: nobody wants more, and nothing is wrong."""
        return isinstance(self.failure, BrokenPipeError)

    @property
    def why(self) -> str:
        """Say in a few words why it cannot be written."""
        return str(getattr(self.failure, "strerror", None) or self.failure)

    def write(self, text: str) -> int:
        """Write, or note why not."""
        self.is_used = self.is_used or bool(text)
        fit = text.encode(self.encoding, "argo-rescue").decode(self.encoding)
        if self._stream is not None and self.failure is None:
            try:
                self._stream.write(fit)
            except (OSError, ValueError) as e:  # ValueError: closed
                self._fail(e)
        return len(text)

    def flush(self) -> None:
        """Bring what was written on its way, or note why not."""
        if self._stream is not None and self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as e:
                self._fail(e)

    def _fail(self, error: Exception) -> None:
        self.failure = error
        # What is still held back would make Python fail once more at its end.
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)

    def writable(self) -> bool:
        """It is, whatever becomes of it."""
        return True

    def isatty(self) -> bool:
        """Whether a person sees it; nobody does where it failed."""
        return self.failure is None and self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor, where there is one."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()


def outlet(stream: TextIO | None) -> Outlet:
    """Make an outlet of a stream that may be one already."""
    return stream if isinstance(stream, Outlet) else Outlet(stream)


@contextlib.contextmanager
def outlets() -> Iterator[Outlet]:
    """Have all of the program write through outlets, whichever way it prints; give that of stdout."""
    before = sys.stdout, sys.stderr
    out, err = outlet(sys.stdout), outlet(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
