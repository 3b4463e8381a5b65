"""Proxies on loopback: HTTP CONNECT and SOCKS5 for the tests of proxy-url, and a distance for the benchmark."""

from __future__ import annotations

import queue
import selectors
import socket
import socketserver
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType


class Proxy:
    """A proxy that forwards every name and address to the same port on loopback."""

    def __init__(self, handler: type[_Tunnel]) -> None:
        self.passed: list[str] = []
        """What was asked for, `host:port`, with the login before an @ where one was given."""
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    owner: Proxy

    def __init__(self, address: tuple[str, int], handler: type[_Tunnel]) -> None:
        self.closing = threading.Event()
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go away."""


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Server

    def tunnel(self, port: int, ready: bytes) -> None:
        """Copy both ways until one side or the test ends."""
        with socket.create_connection(("127.0.0.1", port)) as far, selectors.DefaultSelector() as both:
            self.connection.sendall(ready)
            both.register(far, selectors.EVENT_READ, self.connection)
            both.register(self.connection, selectors.EVENT_READ, far)
            while not self.server.closing.is_set():
                for key, _ in both.select(0.05):
                    with suppress(OSError):
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if data:
                            key.data.sendall(data)
                            continue
                    return


class HttpConnect(_Tunnel):
    """HTTP CONNECT."""

    def handle(self) -> None:
        """Read the request and open the tunnel."""
        _, target, _ = self.rfile.readline().decode().split(" ", 2)
        login = ""
        while (line := self.rfile.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            if name.lower() == "proxy-authorization":
                login = f"{value.strip()}@"
        self.server.owner.passed.append(login + target)
        self.tunnel(int(target.rpartition(":")[2]), b"HTTP/1.1 200 OK\r\n\r\n")


class Socks5(_Tunnel):
    """SOCKS5 without login."""

    def handle(self) -> None:
        """Negotiate and open the tunnel."""
        _, count = self.rfile.read(2)
        self.rfile.read(count)
        self.connection.sendall(b"\x05\x00")
        _, _, _, kind = self.rfile.read(4)
        if kind == 3:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            host = socket.inet_ntop(
                *(
                    (socket.AF_INET, self.rfile.read(4))
                    if kind == 1
                    else (socket.AF_INET6, self.rfile.read(16))
                )
            )
        (port,) = struct.unpack("!H", self.rfile.read(2))
        self.server.owner.passed.append(f"{host}:{port}")
        self.tunnel(port, b"\x05\x00\x00\x01" + b"\0" * 6)


class Distance:
    """A TCP forwarder that puts the API server a round trip away.

    What is sent waits half a round trip on its way; the first bytes of a connection wait a whole one
    more, which is TCP's own handshake.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        self.round_trip = round_trip
        self._far_port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        """The port to connect to."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Distance:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._far_port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(one)
            opened = time.monotonic() + self.round_trip
            for source, sink, not_before in ((near, far, opened), (far, near, 0.0)):
                self._carry(source, sink, not_before)

    def _carry(self, source: socket.socket, sink: socket.socket, not_before: float) -> None:
        """Copy one way, each piece half a round trip after it came: later ones wait beside it, not behind."""
        pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(65536)
                except OSError:
                    data = b""
                pieces.put((max(time.monotonic(), not_before) + self.round_trip / 2, data))

        def write() -> None:
            while True:
                due, data = pieces.get()
                self._closing.wait(max(0.0, due - time.monotonic()))
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return

        for work in (read, write):
            threading.Thread(target=work, daemon=True).start()
