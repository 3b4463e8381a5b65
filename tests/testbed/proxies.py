"""Proxies on loopback for the tests of proxy-url: HTTP CONNECT and SOCKS5, which note what passes."""

from __future__ import annotations

import selectors
import socket
import socketserver
import struct
import threading
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
