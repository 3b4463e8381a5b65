"""A TLS server on loopback that writes down who asks for what, and answers or misbehaves as told."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import cast

from .control_plane import Authority


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    """With the query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    certificate: str
    """The common name of the client's certificate, empty where there was none."""
    server_name: str
    """What the client asked for by SNI."""


class Wire:
    """How a handler answers: properly with `reply`, or byte by byte with `raw`, `hang` and `cut`."""

    def __init__(self, handler: _Handler, closing: threading.Event) -> None:
        self._handler, self._closing = handler, closing

    def reply(self, body: object = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send one whole answer, in JSON where it is not bytes; a HEAD gets the headers alone."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._handler.send_response(status)
        fields = {"Content-Type": "application/json", "Audit-Id": "x", "Content-Length": str(len(content))}
        for name, value in {**fields, **(headers or {})}.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        if self._handler.command != "HEAD":
            self._handler.wfile.write(content)

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def hang(self, seconds: float | None = None) -> bool:
        """Send nothing until the server closes or so many seconds passed; True where it closes."""
        return self._closing.wait(seconds)

    def cut(self) -> None:
        """End the connection in the middle of everything."""
        self._handler.close_connection = True
        with suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)


Answer = Callable[[Seen, Wire], None]


class TlsServer:
    """The server; `answer` may be replaced between requests."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", answer: Answer | None = None) -> None:
        self.authority = Authority(folder / "pki")
        certificate = self.authority.issue("server", "server", server=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._context.load_verify_locations(self.authority.certificate)
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._context.sni_callback = self._note_name
        self._names: dict[ssl.SSLObject, str] = {}
        self.seen: list[Seen] = []
        self.answer: Answer = answer or (lambda _, wire: wire.reply({"kind": "Found"}))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server((host, 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The address as a kubeconfig has it."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"

    def __enter__(self) -> TlsServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end all connections; safe to call twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()

    def _note_name(self, channel: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._names[channel] = name or ""

    def secure(self, plain: socket.socket) -> ssl.SSLSocket:
        """Shake hands on an accepted connection."""
        return self._context.wrap_socket(plain, server_side=True)

    def name_of(self, channel: ssl.SSLSocket) -> str:
        """Give what this connection asked for by SNI."""
        return self._names.get(cast(ssl.SSLObject, channel), "")

    def handle(self, seen: Seen, wire: Wire) -> None:
        """Write a request down and answer it."""
        with self._lock:
            self.seen.append(seen)
        self.answer(seen, wire)

    def wire(self, handler: _Handler) -> Wire:
        """Make the means of answering one request."""
        return Wire(handler, self._closing)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], owner: TlsServer) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        self._open.add(cast(socket.socket, request))
        super().process_request(cast(socket.socket, request), client_address)

    def shutdown_request(self, request: object) -> None:
        self._open.discard(cast(socket.socket, request))
        super().shutdown_request(cast(socket.socket, request))

    def end_connections(self) -> None:
        for channel in list(self._open):
            with suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    connection: ssl.SSLSocket

    def setup(self) -> None:
        self._plain = self.request
        self._plain.settimeout(30)
        # A duplicate, since wrapping takes the descriptor away from the socket that the server closes.
        self.request = self.server.owner.secure(self._plain.dup())
        super().setup()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
        self.request.close()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        peer = self.connection.getpeercert() or {}
        subject = cast("tuple[tuple[tuple[str, str], ...], ...]", peer.get("subject", ()))
        names = [value for part in subject for key, value in part if key == "commonName"]
        seen = Seen(
            self.command,
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            body,
            names[0] if names else "",
            self.server.owner.name_of(self.connection),
        )
        self.server.owner.handle(seen, self.server.owner.wire(self))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, *_: object) -> None:
        """Keep quiet; `seen` is the log."""
