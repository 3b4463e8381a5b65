"""The default transport: the user's own kubectl as a proxy on a private Unix socket.

Credentials, exec plugins, proxies, impersonation and merged kubeconfigs are kubectl's own, so a
request is by the same user to the same server as any other kubectl command. Linux and macOS only:
elsewhere the proxy would need a TCP port, which is an open door.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..model.errors import TransportError
from .http import (
    DEFAULT_TIMEOUT,
    LOGIN_TIMEOUT,
    NO_TIMEOUT,
    Deadline,
    faults,
    first_byte,
    lines,
    lower,
    whole,
)
from .kubectl_process import Proxy, find_kubectl, kubectl_flags, proxy_fault, said_by_kubectl
from .target import Kubeconfig, read_target
from .transport import Connection, Response, Target, user_agent

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

_RESTARTS: Final = 3

_AUTHORITY: Final = "jsonpath={.clusters[*].cluster.certificate-authority-data}{'\\n'}{.clusters[*].cluster.certificate-authority}"


class KubectlTransport:
    """Requests through `kubectl proxy`, whose process is started at once and awaited on first use."""

    def __init__(self, connection: Connection, kubectl: str | None = None) -> None:
        """Start the proxy; from the main thread where possible, since the parent-death signal is the thread's."""
        program = kubectl or find_kubectl(os.environ)
        if program is None:
            raise TransportError(
                "kubectl is not on PATH", "install it, or set KUBECTL_PATH", sent=False, lasting=True
            )
        self._connection = connection
        self._command = [program, *kubectl_flags(connection)]
        self._lock = threading.Lock()
        self._closed = False
        self._restarts = 0
        self._answered = False
        self._kubeconfig = Kubeconfig(connection, os.environ)
        self._proxy = Proxy(self._command)
        self._view_lock = threading.Lock()
        self._view: tuple[Target, bool] | None = None
        self._viewing: subprocess.Popen[bytes] | None = None
        self._ahead: _Ahead | None = None

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send one request and read the whole answer."""
        with self._lock:
            ahead = self._ahead
            if ahead is not None and (method, path, query) == ("GET", ahead.path, ()):
                self._ahead = None
            else:
                ahead = None
        if ahead is not None:
            return ahead.answer(self._deadline(timeout))
        return self._exchange(method, path, query, headers, body, timeout)

    def look_ahead(self, path: str) -> None:
        """Begin to read `path` before anybody asks for it.

        The way to the API server is made meanwhile: kubectl started, TCP, TLS, a login. So is what
        kubectl's configuration says, where it will have to be asked for that.
        """
        # For as long as it takes: who asks says how long that may be.
        self._ahead = _Ahead(path, lambda: self._exchange("GET", path, timeout=0))
        if not self._proxy.may_be_known() or self._kubeconfig.read() is None:
            with suppress(OSError):
                self._viewing = self._start_view()

    def _exchange(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        deadline = self._deadline(timeout)
        proxy, wire = self._acquire(deadline)
        is_whole = False
        try:
            with faults(method, path, deadline):
                answer = self._send(wire, method, path, query, headers, body, deadline, gzip=method == "GET")
                response = whole(wire, answer, deadline)
            is_whole = not answer.will_close
        finally:
            if is_whole:
                proxy.release(wire)
            else:
                wire.close()
        self._check(response, proxy)
        return response

    @contextmanager
    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """GET an answer that goes on, line by line."""
        deadline = self._deadline(timeout)
        proxy, wire = self._acquire(deadline)
        try:
            with faults("GET", path, deadline):
                answer = self._send(wire, "GET", path, query, headers, None, deadline, gzip=False)
                response = (
                    Response(200, lower(answer.getheaders()), b"")
                    if answer.status == 200
                    else whole(wire, answer, deadline)
                )
            self._check(response, proxy)
            yield (
                response,
                lines(wire, answer, Deadline(deadline.seconds, None)) if answer.status == 200 else iter(()),
            )
        finally:
            wire.close()

    def target(self) -> Target:
        """Name context, server and namespace as kubectl's merged configuration has them."""
        return self._read_view()[0]

    def authority(self) -> str:
        """Give the CA that kubectl asks of the server, as its configuration has it; empty where not known."""
        c = self._connection
        if c.insecure_skip_tls_verify or (c.cluster and not c.certificate_authority):
            return ""
        data, file = "", c.certificate_authority
        if not file:
            flags = [f"--{n}={v}" for n, v in (("kubeconfig", c.kubeconfig), ("context", c.context)) if v]
            # Of the raw configuration the CA alone, which is no secret.
            asked = subprocess.run(
                [self._command[0], *flags, "config", "view", "--raw", "--minify", "-o", _AUTHORITY],
                stdin=subprocess.DEVNULL, capture_output=True, check=False,
            )  # fmt: skip
            data, _, file = asked.stdout.decode("utf-8", "replace").partition("\n")
        with suppress(OSError, ValueError):
            folder = Path(c.kubeconfig).parent if c.kubeconfig else Path()
            return base64.b64decode(data).decode() if data else (folder / file).read_text("utf-8")
        return data or file

    def is_logging_in(self) -> bool:
        """Whether an exec plugin may be waiting for a human: before the first answer."""
        if self._answered:
            return False
        try:
            return self._read_view()[1]
        except TransportError:
            return False

    def close(self) -> None:
        """End the proxy and take its socket away."""
        with self._lock:
            self._closed = True
        self._proxy.stop()
        viewing, self._viewing = self._viewing, None
        if viewing is not None:
            with viewing:
                viewing.kill()
                viewing.communicate()

    def _start_view(self) -> subprocess.Popen[bytes]:
        flags = [f"--kubeconfig={self._connection.kubeconfig}"] if self._connection.kubeconfig else []
        return subprocess.Popen(
            [self._command[0], *flags, "config", "view", "--output=json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _read_view(self) -> tuple[Target, bool]:
        with self._view_lock:
            if self._view is None:
                config = self._known() or self._asked()
                self._view = read_target(config, self._connection, os.environ)
            return self._view

    def _known(self) -> Mapping[str, Any] | None:
        """Return what the proxy's configuration says, where that is certain without asking."""
        with self._lock:
            proxy, kubeconfig = self._proxy, self._kubeconfig
        config = kubeconfig.read() if proxy.is_known() else None
        return config if config and kubeconfig.is_as_it_was() else None

    def _asked(self) -> Mapping[str, Any]:
        process, self._viewing = self._viewing or self._start_view(), None
        with process:
            config, said = process.communicate()
        if process.returncode:
            raise TransportError(
                said_by_kubectl(said) or f"kubectl config view exited {process.returncode}",
                sent=False,
                lasting=True,
            )
        found: Mapping[str, Any] = json.loads(config)
        return found

    def _deadline(self, timeout: float | None) -> Deadline:
        explicit = self._connection.request_timeout is not None
        seconds = timeout if timeout is not None else self._connection.request_timeout
        if seconds is None:
            seconds = DEFAULT_TIMEOUT
        # kubectl reads 0 as "wait for ever".
        return Deadline(seconds or NO_TIMEOUT, None if explicit else self._extend)

    def _extend(self) -> float | None:
        """Grant the first answer more time where an exec plugin may be waiting for a human."""
        return LOGIN_TIMEOUT if self.is_logging_in() else None

    def _running(self) -> Proxy:
        """Give the proxy, started again where it ended after it had served.

        Ctrl-C reaches the proxy too, since it shares our terminal; what has to be put in order
        afterwards still needs the API.
        """
        with self._lock:
            if self._closed:
                raise TransportError("the connection is closed", sent=False, lasting=True)
            if self._proxy.served and self._proxy.has_ended() and self._restarts < _RESTARTS:
                self._restarts += 1
                self._proxy.stop()
                self._kubeconfig = Kubeconfig(self._connection, os.environ)
                self._proxy = Proxy(self._command)
            return self._proxy

    def _acquire(self, deadline: Deadline) -> tuple[Proxy, HTTPConnection]:
        proxy = self._running()
        try:
            return proxy, proxy.acquire(deadline)
        except TransportError:
            if not proxy.is_ending():
                raise
        proxy = self._running()
        return proxy, proxy.acquire(deadline)

    def _send(
        self,
        wire: HTTPConnection,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: bytes | None,
        deadline: Deadline,
        gzip: bool,
    ) -> HTTPResponse:
        from urllib.parse import urlencode

        # The proxy answers 403 to any Host but localhost.
        fields = {"Host": "localhost", "User-Agent": user_agent(), "Accept": "application/json"}
        if gzip and not self._connection.disable_compression:
            fields["Accept-Encoding"] = "gzip"
        fields.update(headers or {})
        wire.sock.settimeout(deadline.remaining())
        wire.request(method, f"{path}?{urlencode(query)}" if query else path, body=body, headers=fields)
        return first_byte(wire, deadline)

    def _check(self, response: Response, proxy: Proxy) -> None:
        """Tell what the proxy itself says from what the API server says.

        The server marks each of its answers with an Audit-Id; the proxy reports its own trouble
        (connection, TLS, credentials) as a bare 500 in plain text.
        """
        if (
            response.status == 500
            and response.headers.get("content-type", "").startswith("text/plain")
            and "audit-id" not in response.headers
        ):
            proxy.settle()
            raise proxy_fault(response.body.decode("utf-8", "replace"))
        self._answered = True


class _Ahead:
    """One GET that is on its way before anybody asks for it."""

    def __init__(self, path: str, send: Callable[[], Response]) -> None:
        self.path = path
        self._send = send
        self._outcome: Response | Exception | None = None
        self._thread = threading.Thread(target=self._work, name="look-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._outcome = self._send()
        except Exception as error:  # also what a proxy that is closed meanwhile brings about
            self._outcome = error

    def answer(self, deadline: Deadline) -> Response:
        """Wait for the answer; raises what came instead."""
        with faults("GET", self.path, deadline):
            while self._thread.is_alive():
                self._thread.join(deadline.remaining())
        if isinstance(self._outcome, Response):
            return self._outcome
        raise self._outcome or TransportError("the first request ended without an answer", sent=False)
