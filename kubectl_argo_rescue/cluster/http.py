"""One exchange over a Unix socket: bounded in time, and whole or an error."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..model.errors import TransportError
from ..model.text import brief
from .transport import Response

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

DEFAULT_TIMEOUT: Final = 30.0
NO_TIMEOUT: Final = 86400.0
LOGIN_TIMEOUT: Final = 300.0
"""The first answer may wait for somebody who types a password or logs in with a browser."""

_CHUNK: Final = 1 << 16


class Deadline:
    """Bounds one exchange; asks once for more time before it gives up."""

    def __init__(self, seconds: float, extend: Callable[[], float | None] | None) -> None:
        """Begin now; `extend` gives more seconds, or None."""
        self.seconds = seconds
        self._start = time.monotonic()
        self._extend = extend

    def remaining(self) -> float:
        """Give the seconds left; raises TimeoutError where there are none."""
        left = self._start + self.seconds - time.monotonic()
        if left <= 0:
            if not self.extend():
                raise TimeoutError
            left = self._start + self.seconds - time.monotonic()
        return left

    def extend(self) -> bool:
        """Try to get more time, at most once."""
        ask, self._extend = self._extend, None
        more = ask() if ask is not None else None
        if more is None or more <= self.seconds:
            return False
        self.seconds = more
        return True

    def restart(self) -> None:
        """Begin anew: each line of a stream has the whole time."""
        self._start = time.monotonic()


def first_byte(wire: HTTPConnection, deadline: Deadline) -> HTTPResponse:
    """Wait until the answer begins."""
    # A timeout inside getresponse() would lose the connection, and with it a login in progress.
    while not select.select([wire.sock], [], [], deadline.remaining())[0]:
        continue
    wire.sock.settimeout(deadline.remaining())
    return wire.getresponse()


@contextmanager
def faults(method: str, path: str, deadline: Deadline) -> Iterator[None]:
    """Say in one line what went wrong on the way; the request may have arrived."""
    from http.client import HTTPException

    try:
        yield
    except TimeoutError as error:
        raise TransportError(
            f"no answer from the API server within {round(deadline.seconds, 1):g} s", "see --request-timeout"
        ) from error
    except (OSError, HTTPException) as error:
        cause = brief(str(error) or type(error).__name__, 120)
        raise TransportError(
            f"the connection was cut before the answer to {method} {path} was complete ({cause})"
        ) from error


def whole(wire: HTTPConnection, answer: HTTPResponse, deadline: Deadline) -> Response:
    """Read an answer to its end."""
    content = b"".join(_chunks(wire, answer, deadline))
    answer.close()  # read1 leaves it open at the end of the content, which would block the next request
    return Response(
        answer.status, lower(answer.getheaders()), inflate(answer.getheader("Content-Encoding"), content)
    )


def _chunks(wire: HTTPConnection, answer: HTTPResponse, deadline: Deadline) -> Iterator[bytes]:
    from http.client import IncompleteRead

    expected = answer.length
    got = 0
    while not answer.isclosed():
        if wire.sock is not None:
            wire.sock.settimeout(deadline.remaining())
        data = answer.read1(_CHUNK)
        if not data:
            break
        got += len(data)
        yield data
    # read1 ends at EOF without a word, even where the announced length was not reached.
    if expected is not None and got < expected:
        raise IncompleteRead(b"", expected - got)


def lines(wire: HTTPConnection, answer: HTTPResponse, deadline: Deadline) -> Iterator[bytes]:
    """Read an answer line by line, each within the deadline's time."""
    from http.client import HTTPException

    rest = b""
    deadline.restart()
    try:
        for data in _chunks(wire, answer, deadline):
            *complete, rest = (rest + data).split(b"\n")
            for line in complete:
                if line:
                    yield line
                deadline.restart()
    except TimeoutError as error:
        raise TransportError(f"the API server was silent for {round(deadline.seconds, 1):g} s") from error
    except (OSError, HTTPException) as error:
        raise TransportError("the connection was cut in the middle of an answer") from error
    if rest.strip():
        raise TransportError("the connection was cut in the middle of an answer")


def lower(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give header fields by their names in lower case; one that came twice is a list."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def inflate(encoding: str | None, content: bytes) -> bytes:
    """Undo the answer's content encoding; raises OSError where it is damaged."""
    if encoding != "gzip":
        return content
    import gzip
    import zlib

    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise OSError("the compressed answer is damaged") from error
