"""One call to the API server with its retries, within the time that it may take."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple
from urllib.parse import urlencode

from ..model.errors import ApiError, NotServed, Overloaded, RescueError, TransportError, Unauthorized
from ..model.values import GROUP, JSON
from .answers import Read, api_error, came_text, parse, sent_text, status_text, warnings_in, without_crds
from .transport import LogsIn, Response, Transport

DEFAULT_TIMEOUT: Final = 30.0

_TRIES: Final = 4

_BUSY_TRIES: Final = 10
"""The same where the server says 429, which is a queue and no trouble; kubectl has as many."""

_FIRST_PAUSE: Final = 0.25

_LONGEST_PAUSE: Final = 5.0

_SPREAD: Final = 0.25
"""By how much a pause that the server asks for is drawn out, so that not all come back at once."""

_QUIET_SECONDS: Final = 2.0
"""A wait that is longer is told."""

_SLOW_SECONDS: Final = 3.0
"""An answer that takes longer is late."""

_TALK_SECONDS: Final = 5.0
"""Waits are told no more often than this, however many there are."""


class Exchange:
    """Makes calls over one transport, as often as they may be made. From several threads at once."""

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float | None,
        log: Callable[[str], None] | None,
        on_warning: Callable[[str], None] | None,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """Take what `Cluster` was given."""
        self._transport = transport
        self._budget = DEFAULT_TIMEOUT if timeout is None else timeout
        self._log = log
        self._on_warning = on_warning
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._warned: set[str] = set()
        self._warned_lock = threading.Lock()
        self._waits = _Waits(self._is_logging_in)
        self._tell_date: Callable[[str, float], None] | None = None
        self._held: dict[tuple[str, str], tuple[float, ApiError]] = {}
        """What the server asked not to be asked again before a time, for the next call."""

    def tell_waits(self, say: Callable[[str], None]) -> None:
        """Have it said when a wait is long: the server asks for it, or an answer does not come."""
        self._waits.say = say

    def tell_dates(self, hear: Callable[[str, float], None]) -> None:
        """Pass on the Date of each answer, and how many seconds the answer took."""
        self._tell_date = hear

    def _is_logging_in(self) -> bool:
        return isinstance(self._transport, LogsIn) and self._transport.is_logging_in()

    def backoff(self, tries: int) -> float:
        """Give the seconds to wait after so many failures in a row."""
        return min(_FIRST_PAUSE * 2.0 ** (tries - 1), _LONGEST_PAUSE) * (0.5 + self._jitter())

    def call(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        what: str,
        repeatable: bool = False,
        read: Read = json.loads,
    ) -> JSON:
        """Send a request until it is answered, it may not be sent again, or its time is over."""
        request = _Request(method, path, query, body, content_type, what, repeatable or method == "GET")
        budget = self._budget
        began = self._clock()
        self._keep_away(request, began + budget if budget else None)
        reauthenticated = False
        tries = 0
        while True:
            tries += 1
            came = self._send(request, budget - (self._clock() - began) if budget else None)
            if isinstance(came, Response):
                return parse(came, what, read)
            if isinstance(came.error, Unauthorized) and not reauthenticated:
                # A token that just ran out: the exec plugin is asked anew with the next request.
                reauthenticated = True
                continue
            pause = self._pause(came, tries)
            waited = self._clock() - began
            if not came.again or tries >= came.limit or (budget and waited + pause >= budget):
                passes = isinstance(came.error, Overloaded) or not getattr(came.error, "lasting", True)
                if not came.error.hint and passes:
                    came.error.hint = "run it again when the API server answers"
                raise came.error
            if waited + pause >= _QUIET_SECONDS:
                self._waits.tell_pause(what, came.error, came.asked, pause)
            self._sleep(pause)

    def _send(self, request: _Request, left: float | None) -> Response | _Trouble:
        """Send a request once."""
        method, path, query, body, content_type, what, repeatable = request
        headers = {"Content-Type": content_type} if body is not None else None
        sent_at = self._clock()
        try:
            with self._waits.watching(what, self._budget):
                answer = self._transport.request(method, path, query, headers, body, left)
        except TransportError as fault:
            self.note(method, path, query, 0, sent_at, (content_type, body))
            return _Trouble(fault, not fault.lasting and (repeatable or not fault.sent))
        self.note(method, path, query, answer.status, sent_at, (content_type, body), answer)
        # A 5xx may come from a proxy on this machine, whose clock is no news.
        if self._tell_date and answer.status < 500 and (date := answer.headers.get("date")):
            self._tell_date(date, self._clock() - sent_at)
        self.warn(answer)
        if 200 <= answer.status < 300:
            return answer
        error = api_error(answer, what, method)
        if isinstance(error, NotServed) and path.startswith(f"/apis/{GROUP}/"):
            error = without_crds(path)
        asked = error.retry_after
        if asked is not None:
            self._held[method, path] = self._clock() + asked, error
        # The API server refuses with 429 before it acts; a 5xx may come after it has.
        is_queue = answer.status == 429
        again = is_queue or (repeatable and answer.status >= 500)
        return _Trouble(error, again, asked, _BUSY_TRIES if is_queue else _TRIES)

    def _pause(self, trouble: _Trouble, tries: int) -> float:
        if trouble.asked is None:
            return self.backoff(tries)
        return max(trouble.asked, _FIRST_PAUSE) * (1 + _SPREAD * self._jitter())

    def _keep_away(self, request: _Request, deadline: float | None) -> None:
        """Wait as long as the server asked for; raises its answer again where that is too long."""
        until, error = self._held.get((request.method, request.path), (0.0, None))
        left = until - self._clock()
        if error is None or left <= 0:
            return
        pause = left + _SPREAD * error.retry_after * self._jitter() if error.retry_after else left
        if deadline is not None and self._clock() + pause >= deadline:
            raise error
        if pause >= _QUIET_SECONDS:
            self._waits.tell_pause(request.what, error, error.retry_after, pause)
        self._sleep(pause)

    def note(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        status: int,
        since: float,
        sent: tuple[str, bytes | None] = ("", None),
        answer: Response | None = None,
    ) -> None:
        """Log one exchange."""
        if self._log is None:
            return
        milliseconds = (self._clock() - since) * 1000
        asked = f"?{urlencode(query, safe='/=,')}" if query else ""
        text = [f"{method} {path}{asked} {status_text(status)} in {milliseconds:.0f} ms"]
        said = sent_text(*sent)
        text += [f"    sent: {said}"] if said else []
        text += [f"    came: {came_text(answer)}"] if answer is not None else []
        self._log("\n".join(text))

    def warn(self, answer: Response) -> None:
        """Pass on what an answer warns of, each text once."""
        header = answer.headers.get("warning")
        if not header or self._on_warning is None:
            return
        for text in warnings_in(header):
            with self._warned_lock:
                new = text not in self._warned
                self._warned.add(text)
            if new:
                self._on_warning(text)


class _Request(NamedTuple):
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    body: bytes | None
    content_type: str
    what: str
    repeatable: bool


class _Trouble(NamedTuple):
    """What came instead of success, and what follows from it."""

    error: ApiError | TransportError
    again: bool
    asked: float | None = None
    """The seconds that the server asks to wait."""
    limit: int = _TRIES


class _Waits:
    """Tells of long waits, so that nobody sits before a silent terminal; never twice within seconds."""

    def __init__(self, is_logging_in: Callable[[], bool]) -> None:
        self.say: Callable[[str], None] | None = None
        self._is_logging_in = is_logging_in
        self._lock = threading.Lock()
        self._under_way: dict[int, tuple[float, str, float]] = {}
        self._told = -_TALK_SECONDS
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, what: str, budget: float) -> Iterator[None]:
        """Tell when the answer to a request is late."""
        if self.say is None:
            yield
            return
        mark = threading.get_ident()
        with self._lock:
            self._under_way[mark] = (time.monotonic(), what, budget)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="waits", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[mark]

    def tell_pause(self, what: str, error: RescueError, asked: float | None, pause: float) -> None:
        """Tell that a request is made again later, and why."""
        if asked is None:
            self._tell(f"trying again in {pause:.0f} s: {error.message}")
        else:
            status = status_text(getattr(error, "status", 0))
            self._tell(f"the API server asks to wait {asked:g} s ({status}): {what}")

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(1.0)
            with self._lock:
                if not self._under_way:
                    self._thread = None  # the next request starts another
                    return
                oldest = min(self._under_way.values())
            if time.monotonic() - oldest[0] < _SLOW_SECONDS or self._is_logging_in():
                continue
            since, what, budget = oldest
            limit = f"; it is waited for up to {budget:g} s, see --request-timeout" if budget else ""
            self._tell(f"no answer from the API server for {time.monotonic() - since:.0f} s: {what}{limit}")

    def _tell(self, text: str) -> None:
        with self._lock:
            now = time.monotonic()
            if self.say is None or now - self._told < _TALK_SECONDS:
                return
            self._told = now
        self.say(text)
