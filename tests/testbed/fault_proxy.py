"""A proxy before the API server that goes wrong as told: at which request, and how.

It is a plain HTTP server on loopback that forwards to the bed's API server as its administrator
and writes down each request that passes. A rule names a request by method, path and how often it
was seen before, and the fault that befalls it. Nothing here sleeps: what is late or stalls waits for
the proxy's end, at most so long.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from .control_plane import ControlPlane

_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "host", "te"})

_ENTRY = re.compile(r"(?<=/argo-rescue-)[0-9a-f]{6}|(?<=/namespaces/)[a-z]+-\d+(?=/)")
_ENTRIES = re.compile(r"(argo-rescue/entry)( in |=)[^&]*")


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer of the API server, or one made up."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Passed:
    """One request that came to the proxy."""

    method: str
    path: str
    """With the query."""
    key: str
    """Method and path without what differs from run to run: names a request across runs."""
    occurrence: int
    """How many with this key came before."""
    arrived: float
    is_watch: bool
    fault: str = ""
    """The name of the fault that befell it."""
    landed: int = 0
    """The API server's status, 0 where it never saw the request."""
    asked_to_wait: float = 0.0
    """The Retry-After that was sent."""


@dataclass(frozen=True, slots=True)
class Point:
    """A request of a run, by what it is and how often it was seen before."""

    key: str
    occurrence: int

    @property
    def is_write(self) -> bool:
        """Whether it may change an object."""
        return not self.key.startswith("GET ") and "reviews" not in self.key

    @property
    def is_watch(self) -> bool:
        """Whether its answer goes on."""
        return self.key.startswith("GET ") and "watch=" in self.key

    def __str__(self) -> str:
        return f"{self.key} #{self.occurrence}"


def key_of(method: str, path: str) -> str:
    """Name a request so that the same one has the same name in another run."""
    parts = urlsplit(path)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query)
        if name in ("watch", "labelSelector", "fieldSelector", "dryRun")
    ]
    query = _ENTRIES.sub(r"\1=*", "&".join(f"{name}={value}" for name, value in kept))
    return f"{method} {_ENTRY.sub('*', parts.path)}" + (f"?{query}" if query else "")


class Exchange:
    """One request in the hands of a fault: forward it, answer it, or do neither."""

    def __init__(self, proxy: FaultProxy, handler: _Handler, passed: Passed, body: bytes) -> None:
        self.proxy, self.passed, self.body = proxy, passed, body
        self._handler = handler

    def forward(self) -> Answer:
        """Let the API server carry it out, and take its answer."""
        with self._handler.upstream(self) as response:
            answer = Answer(response.status, dict(response.getheaders()), response.read())
        return answer

    @contextmanager
    def stream(self) -> Iterator[http.client.HTTPResponse]:
        """Let the API server begin an answer that goes on."""
        with self._handler.upstream(self) as response:
            yield response

    def send(self, answer: Answer) -> None:
        """Give an answer, whole."""
        self.head(answer, [("Content-Length", str(len(answer.body)))])
        self.raw(answer.body)

    def reply(self, status: int, body: object, **headers: str) -> None:
        """Answer with an object in JSON, in the API server's stead."""
        fields = {"Content-Type": "application/json", "Audit-Id": "made-up", **_headers(headers)}
        self.passed.asked_to_wait = float(fields.get("Retry-After", 0))
        self.send(Answer(status, fields, json.dumps(body).encode()))

    def page(self, status: int, **headers: str) -> None:
        """Answer with the page of a load balancer."""
        text = f"<html><head><title>{status}</title></head><body><h1>{status} from the balancer</h1></body></html>"
        fields = {"Content-Type": "text/html", "Server": "balancer", **_headers(headers)}
        self.passed.asked_to_wait = float(fields.get("Retry-After", 0))
        self.send(Answer(status, fields, text.encode()))

    def head(self, answer: Answer, more: Sequence[tuple[str, str]]) -> None:
        """Send status and headers."""
        self._handler.send_response(answer.status)
        for name, value in (*answer.headers.items(), *more):
            if name.lower() not in _HOP_BY_HOP or (name, value) in more:
                self._handler.send_header(name, value)
        self._handler.end_headers()

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def chunk(self, data: bytes) -> None:
        """Send one chunk; an empty one ends the answer."""
        self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    def hold(self, seconds: float | None = None) -> bool:
        """Do nothing for so long, or until the proxy closes; True where it closes."""
        return self.proxy.closing.wait(seconds)

    def reset(self) -> None:
        """Cut the connection with a reset."""
        self._handler.close_connection = True
        channel = self._handler.connection
        with suppress(OSError):
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.drop()

    def cut(self) -> None:
        """End the connection properly, in the middle of everything."""
        self._handler.close_connection = True
        with suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def pass_on(self) -> None:
        """Forward and answer as if there were no proxy."""
        if not self.passed.is_watch:
            self.send(self.forward())
            return
        with self.stream() as response:
            if response.status != 200:
                self.send(Answer(response.status, dict(response.getheaders()), response.read()))
                return
            self.head(Answer(200, dict(response.getheaders()), b""), [("Transfer-Encoding", "chunked")])
            for line in self.lines(response):
                self.chunk(line)
            self.chunk(b"")

    def lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Read the events of a watch until it ends, or the proxy does."""
        with suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            while not self.proxy.closing.is_set() and (line := response.readline()):
                yield line


Apply: TypeAlias = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """What may go wrong with a request."""

    name: str
    apply: Apply
    always: bool = False
    """Whether it befalls the request each time it is made from then on, not once."""
    watches: bool | None = None
    """For watches alone, for all else alone, or (None) for both."""
    reads_only: bool = False

    def suits(self, point: Point) -> bool:
        """Whether it can befall this request."""
        if self.watches is not None and self.watches != point.is_watch:
            return False
        return not (self.reads_only and not point.key.startswith("GET "))

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class Rule:
    """Which requests a fault befalls: patterns that must match whole, and from which one on."""

    fault: Fault
    method: str = ".*"
    path: str = ".*"
    nth: int = 0
    """How many matching ones pass first."""
    times: int | None = 1
    """How many it befalls then; None for all."""
    every: int = 1
    """Of those, each so-manieth alone."""
    key: str = ""
    """The exact key, in place of the patterns."""
    seen: int = 0

    def takes(self, passed: Passed) -> bool:
        """Count a request, and say whether the fault befalls it."""
        if self.key:
            matches = passed.key == self.key
        else:
            matches = bool(
                re.fullmatch(self.method, passed.method) and re.search(self.path, urlsplit(passed.path).path)
            )
        if not matches:
            return False
        self.seen += 1
        left = self.seen - 1 - self.nth
        return left >= 0 and left % self.every == 0 and (self.times is None or left < self.times)


def at(point: Point, fault: Fault) -> Rule:
    """Let a fault befall one request of a run."""
    return Rule(fault, key=point.key, nth=point.occurrence, times=None if fault.always else 1)


class FaultProxy:
    """The proxy, as a context manager; `rules` may change while it runs."""

    def __init__(
        self,
        plane: ControlPlane,
        *rules: Rule,
        on_request: Callable[[Passed], None] = lambda passed: None,
        on_answer: Callable[[Passed, bytes], None] = lambda passed, body: None,
    ) -> None:
        """`on_request` is told of each request, `on_answer` of each that was carried out, with its body."""
        self.plane = plane
        self.rules = list(rules)
        self.on_request, self.on_answer = on_request, on_answer
        self.closing = threading.Event()
        self.passed: list[Passed] = []
        self.most_at_once = 0
        """The most requests that were under way together, watches left out."""
        self.most_watches = 0
        self._under_way = {True: 0, False: 0}
        self._memory: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """The address as a kubeconfig has it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()

    def points(self) -> list[Point]:
        """Return what passed so far, to let a fault befall it in another run."""
        return [Point(p.key, p.occurrence) for p in self.passed]

    def remember(self, path: str) -> None:
        """Keep the answer to a GET as it is now: `stale` gives it when things have moved on."""
        with self._lock:
            channel = self._server.connect()
        with suppress(OSError):
            channel.request("GET", path, headers={"Accept": "application/json"})
            response = channel.getresponse()
            self._memory[key_of("GET", path)] = Answer(
                response.status, dict(response.getheaders()), response.read()
            )
        channel.close()

    def remembered(self, key: str) -> Answer | None:
        """Return what was kept."""
        return self._memory.get(key)

    @contextmanager
    def noting(self, method: str, path: str) -> Iterator[tuple[Passed, Fault | None]]:
        """Write a request down and choose what befalls it."""
        is_watch = "watch" in dict(parse_qsl(urlsplit(path).query))
        key = key_of(method, path)
        with self._lock:
            before = sum(p.key == key for p in self.passed)
            passed = Passed(method, path, key, before, time.monotonic(), is_watch)
            self.passed.append(passed)
            fault = next((rule.fault for rule in [r for r in self.rules if r.takes(passed)]), None)
            passed.fault = fault.name if fault else ""
            self._under_way[is_watch] += 1
            self.most_at_once = max(self.most_at_once, self._under_way[False])
            self.most_watches = max(self.most_watches, self._under_way[True])
        try:
            yield passed, fault
        finally:
            with self._lock:
                self._under_way[is_watch] -= 1


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: FaultProxy) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def connect(self) -> http.client.HTTPSConnection:
        """Open a connection to the API server, as the administrator."""
        plane = self.owner.plane
        return http.client.HTTPSConnection("127.0.0.1", plane.port, context=plane.api.context, timeout=60)

    def track(self, channel: socket.socket) -> None:
        """End this connection with the proxy."""
        self._open.add(channel)

    def end_connections(self) -> None:
        for channel in list(self._open):
            with suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    connection: socket.socket
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def setup(self) -> None:
        super().setup()
        self.server.track(self.connection)
        self._upstream: http.client.HTTPSConnection | None = None

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
        if self._upstream is not None:
            self._upstream.close()

    def drop(self) -> None:
        """Close at once, without what is still buffered."""
        with suppress(OSError):
            self.wfile.detach()
        self.connection.close()

    @contextmanager
    def upstream(self, exchange: Exchange) -> Iterator[http.client.HTTPResponse]:
        """Send the request on, and note what the API server made of it."""
        headers = {n: v for n, v in self.headers.items() if n.lower() not in _HOP_BY_HOP}
        headers.pop("Authorization", None)
        if self._upstream is None:
            self._upstream = self.server.connect()
        far = self._upstream
        self.server.track(far.sock) if far.sock else None
        far.request(self.command, self.path, exchange.body or None, headers)
        self.server.track(far.sock)
        response = far.getresponse()
        exchange.passed.landed = response.status
        try:
            yield response
        finally:
            if not response.isclosed():
                far.close()
                self._upstream = None
        self.server.owner.on_answer(exchange.passed, exchange.body)

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        owner = self.server.owner
        with owner.noting(self.command, self.path) as (passed, fault):
            exchange = Exchange(owner, self, passed, body)
            owner.on_request(passed)
            if fault is None:
                exchange.pass_on()
            else:
                fault.apply(exchange)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Keep quiet; `passed` is the log."""


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-").title(): value for name, value in given.items()}


# -- the faults


def _status(code: int, reason: str, message: str) -> dict[str, object]:
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    }  # fmt: skip


BUSY = _status(429, "TooManyRequests", "Too many requests, please try again later.")
BROKEN = _status(500, "InternalError", "an error on the server has prevented the request from succeeding")
AWAY = _status(503, "ServiceUnavailable", "the server is currently unable to handle the request")
TOO_OLD = _status(410, "Expired", "too old resource version: 1 (2)")


def _half(exchange: Exchange) -> tuple[Answer, bytes]:
    answer = exchange.forward()
    return answer, answer.body[: len(answer.body) // 2]


def _truncate(exchange: Exchange) -> None:
    answer, half = _half(exchange)
    exchange.head(answer, [("Content-Length", str(len(answer.body)))])
    exchange.raw(half)
    exchange.cut()


def _cut_chunks(exchange: Exchange) -> None:
    answer, half = _half(exchange)
    exchange.head(answer, [("Transfer-Encoding", "chunked")])
    exchange.chunk(half)
    exchange.cut()


def _stall_in_the_middle(exchange: Exchange) -> None:
    answer, half = _half(exchange)
    exchange.head(answer, [("Content-Length", str(len(answer.body)))])
    exchange.raw(half)
    exchange.hold()


def _hold(exchange: Exchange) -> None:
    exchange.hold()


def _lose_the_answer(then: Apply) -> Apply:
    def apply(exchange: Exchange) -> None:
        exchange.forward()
        then(exchange)

    return apply


def _delay_request(seconds: float) -> Apply:
    def apply(exchange: Exchange) -> None:
        if not exchange.hold(seconds):
            exchange.pass_on()

    return apply


def _delay_answer(seconds: float) -> Apply:
    def apply(exchange: Exchange) -> None:
        answer = exchange.forward()
        if not exchange.hold(seconds):
            exchange.send(answer)

    return apply


def _stale(exchange: Exchange) -> None:
    old = exchange.proxy.remembered(exchange.passed.key)
    if old is None:
        exchange.pass_on()
    else:
        exchange.passed.fault = "stale read, served"
        exchange.send(old)


def busy(wait: int) -> Fault:
    """429 with Retry-After, before anything was carried out."""
    return Fault(f"429 wait {wait}", lambda e: e.reply(429, BUSY, retry_after=str(wait)))


def slow(seconds: float) -> Fault:
    """The request reaches the API server late."""
    return Fault(f"request {seconds:g} s late", _delay_request(seconds))


STALL = Fault("never an answer", _hold, always=True)
STALE = Fault("stale read", _stale, watches=False, reads_only=True)

FAULTS: tuple[Fault, ...] = (
    slow(0.7),
    Fault("answer 0.7 s late", _delay_answer(0.7), watches=False),
    Fault("reset before", Exchange.reset),
    Fault("reset after", _lose_the_answer(Exchange.reset), watches=False),
    Fault("reset always", Exchange.reset, always=True),
    Fault("body truncated", _truncate, watches=False),
    Fault("chunks cut", _cut_chunks, watches=False),
    Fault("stalls in the middle", _stall_in_the_middle, watches=False),
    Fault("stalls after it landed", _lose_the_answer(_hold), watches=False),
    STALL,
    busy(1),
    Fault("429", lambda e: e.reply(429, BUSY)),
    Fault("429 always", lambda e: e.reply(429, BUSY, retry_after="1"), always=True),
    Fault("500", lambda e: e.reply(500, BROKEN)),
    Fault("500 after", _lose_the_answer(lambda e: e.reply(500, BROKEN)), watches=False),
    Fault("503", lambda e: e.reply(503, AWAY)),
    Fault("503 wait 1", lambda e: e.reply(503, AWAY, retry_after="1")),
    Fault("503 always", lambda e: e.reply(503, AWAY), always=True),
    Fault("page 502", lambda e: e.page(502)),
    Fault("page 504 after", _lose_the_answer(lambda e: e.page(504)), watches=False),
    Fault("page 200", lambda e: e.page(200)),
    STALE,
)


# -- the faults of watches


def _watch(each: Callable[[bytes], Sequence[bytes]], *, before: float = 0.0) -> Apply:
    """Pass a watch on with each event made into others."""

    def apply(exchange: Exchange) -> None:
        if before and exchange.hold(before):
            return
        with exchange.stream() as response:
            if response.status != 200:
                exchange.send(Answer(response.status, dict(response.getheaders()), response.read()))
                return
            exchange.head(Answer(200, dict(response.getheaders()), b""), [("Transfer-Encoding", "chunked")])
            for line in exchange.lines(response):
                for event in each(line):
                    exchange.chunk(event)
            exchange.chunk(b"")

    return apply


_OPEN = Answer(200, {"Content-Type": "application/json", "Audit-Id": "made-up"}, b"")


def _begin(exchange: Exchange) -> None:
    exchange.head(_OPEN, [("Transfer-Encoding", "chunked")])


def _end_early(exchange: Exchange) -> None:
    _begin(exchange)
    exchange.chunk(b"")


def _too_old(exchange: Exchange) -> None:
    _begin(exchange)
    exchange.chunk(json.dumps({"type": "ERROR", "object": TOO_OLD}).encode() + b"\n")
    exchange.chunk(b"")


def _silent(exchange: Exchange) -> None:
    _begin(exchange)
    exchange.raw(b"")
    exchange.hold()


def _cut_in_an_event(exchange: Exchange) -> None:
    with exchange.stream() as response:
        exchange.head(Answer(200, dict(response.getheaders()), b""), [("Transfer-Encoding", "chunked")])
        line = next(exchange.lines(response), b"")
        exchange.chunk(line[: len(line) // 2] or b"{")
        exchange.cut()


def _bookmark(line: bytes) -> bytes:
    event = json.loads(line)
    if not isinstance(event.get("object"), dict):
        return line
    meta = {
        "resourceVersion": event["object"].get("metadata", {}).get("resourceVersion", ""),
        "creationTimestamp": None,
    }
    obj = {
        "kind": event["object"].get("kind"),
        "apiVersion": event["object"].get("apiVersion"),
        "metadata": meta,
    }
    return json.dumps({"type": "BOOKMARK", "object": obj}).encode() + b"\n"


def _doubled(line: bytes) -> Sequence[bytes]:
    return [line, _bookmark(line), _bookmark(line), line]


def _no_bookmarks(line: bytes) -> Sequence[bytes]:
    return [] if json.loads(line).get("type") == "BOOKMARK" else [line]


WATCH_FAULTS: tuple[Fault, ...] = (
    Fault("watch begins 1.5 s late", _watch(lambda line: [line], before=1.5), watches=True),
    Fault("watch ends early", _end_early, watches=True),
    Fault("watch always ends early", _end_early, watches=True, always=True),
    Fault("watch is silent", _silent, watches=True),
    Fault("watch is cut in an event", _cut_in_an_event, watches=True),
    Fault("watch says 410", _too_old, watches=True),
    Fault("watch always says 410", _too_old, watches=True, always=True),
    Fault("events and bookmarks doubled", _watch(_doubled), watches=True, always=True),
    Fault("bookmarks dropped", _watch(_no_bookmarks), watches=True, always=True),
)


def faults_at(point: Point) -> list[Fault]:
    """Return all that can go wrong with a request."""
    return [fault for fault in (*FAULTS, *WATCH_FAULTS) if fault.suits(point)]
