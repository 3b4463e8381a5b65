"""The default transport: the user's own kubectl as a proxy on a private Unix socket.

Credentials, exec plugins, proxies, impersonation and merged kubeconfigs are kubectl's own, so a
request is by the same user to the same server as any other kubectl command. Linux and macOS only:
elsewhere the proxy would need a TCP port, which is an open door.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from ..errors import TransportError
from . import Connection, Response, Target, one_line, user_agent

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

SOCKET_PATH_LIMIT: Final = 104
"""`sun_path` of macOS, the shorter of the two, with its closing NUL."""

DEFAULT_TIMEOUT: Final = 30.0
NO_TIMEOUT: Final = 86400.0
LOGIN_TIMEOUT: Final = 300.0
"""The first answer may wait for somebody who types a password or logs in with a browser."""

_FOLDER: Final = "argo-rescue-proxy-"
_RESTARTS: Final = 3
_SERVING: Final = b"Starting to serve on "
_CHUNK: Final = 1 << 16

# The API of pods that opens a shell or a tunnel is never asked for; kubectl's default pattern is
# wider and would also reject a ConfigMap in a namespace that is called "pods".
_REJECT_PATHS: Final = "^/api/[^/]+/namespaces/[^/]+/(pods|services)/[^/]+/(exec|attach|portforward|proxy)"
_REJECT_METHODS: Final = "^(PUT|CONNECT|OPTIONS|TRACE)$"


def find_kubectl(environ: Mapping[str, str]) -> str | None:
    """Find the kubectl that called us (KUBECTL_PATH), else the one on PATH."""
    named = environ.get("KUBECTL_PATH", "")
    if named:
        return named
    return shutil.which("kubectl", path=environ.get("PATH"))


def kubectl_flags(connection: Connection) -> list[str]:
    """Say the user's connection flags in kubectl's own words.

    `--request-timeout` is missing on purpose: it is kept by us, since the proxy would cut every
    watch with it.
    """
    named = (
        ("kubeconfig", connection.kubeconfig),
        ("context", connection.context),
        ("cluster", connection.cluster),
        ("user", connection.user),
        ("server", connection.server),
        ("token", connection.token),
        ("username", connection.username),
        ("password", connection.password),
        ("as", connection.as_user),
        ("as-uid", connection.as_uid),
        ("tls-server-name", connection.tls_server_name),
        ("certificate-authority", connection.certificate_authority),
        ("client-certificate", connection.client_certificate),
        ("client-key", connection.client_key),
        ("cache-dir", connection.cache_dir),
    )
    flags = [f"--{name}={value}" for name, value in named if value]
    flags += [f"--as-group={group}" for group in connection.as_groups]
    flags += [f"--as-user-extra={extra}" for extra in connection.as_user_extra]
    if connection.insecure_skip_tls_verify:
        flags.append("--insecure-skip-tls-verify")
    if connection.disable_compression:
        flags.append("--disable-compression")
    return flags


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
        self._proxy = _Proxy(self._command)
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
        """Begin to read `path`, and kubectl's configuration, before anybody asks for them.

        The way to the API server is made meanwhile: kubectl started, TCP, TLS, a login.
        """
        # For as long as it takes: who asks says how long that may be.
        self._ahead = _Ahead(path, lambda: self._exchange("GET", path, timeout=0))
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
        whole = False
        try:
            with _faults(method, path, deadline):
                answer = self._send(wire, method, path, query, headers, body, deadline, gzip=method == "GET")
                response = _whole(wire, answer, deadline)
            whole = not answer.will_close
        finally:
            if whole:
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
            with _faults("GET", path, deadline):
                answer = self._send(wire, "GET", path, query, headers, None, deadline, gzip=False)
                response = (
                    Response(200, _lower(answer), b"")
                    if answer.status == 200
                    else _whole(wire, answer, deadline)
                )
            self._check(response, proxy)
            yield (
                response,
                _lines(wire, answer, _Deadline(deadline.seconds, None)) if answer.status == 200 else iter(()),
            )
        finally:
            wire.close()

    def target(self) -> Target:
        """Name context, server and namespace as kubectl's merged configuration has them."""
        return self._read_view()[0]

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
                process, self._viewing = self._viewing or self._start_view(), None
                with process:
                    config, said = process.communicate()
                if process.returncode:
                    raise TransportError(
                        _said(said) or f"kubectl config view exited {process.returncode}",
                        sent=False,
                        lasting=True,
                    )
                self._view = read_target(json.loads(config), self._connection, os.environ)
            return self._view

    def _deadline(self, timeout: float | None) -> _Deadline:
        explicit = self._connection.request_timeout is not None
        seconds = timeout if timeout is not None else self._connection.request_timeout
        if seconds is None:
            seconds = DEFAULT_TIMEOUT
        # kubectl reads 0 as "wait for ever".
        return _Deadline(seconds or NO_TIMEOUT, None if explicit else self._extend)

    def _extend(self) -> float | None:
        """Grant the first answer more time where an exec plugin may be waiting for a human."""
        return LOGIN_TIMEOUT if self.is_logging_in() else None

    def _running(self) -> _Proxy:
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
                self._proxy = _Proxy(self._command)
            return self._proxy

    def _acquire(self, deadline: _Deadline) -> tuple[_Proxy, HTTPConnection]:
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
        deadline: _Deadline,
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
        return _first_byte(wire, deadline)

    def _check(self, response: Response, proxy: _Proxy) -> None:
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


# What Go's net, crypto/tls and client-go say where no request can have been processed: the name
# was not found, nothing listens, the handshake failed or the credentials never came.
_BAD_TLS: Final = r"tls: .*(?:certificate|handshake|protocol version|unrecognized name|verify|first record)"
_BAD_LOGIN: Final = r"private key|invalid header field|valid JWT|oauth2: "
_NOT_SENT: Final = re.compile(
    r"dial (?:tcp|unix|udp)|no such host|getting credentials|x509: |TLS handshake|" + _BAD_TLS + r"|"
    r"proxyconnect |socks connect|server gave HTTP response to HTTPS client|"
    r"unsupported protocol|failed to refresh token|" + _BAD_LOGIN
)


_LASTING: Final = re.compile(
    r"no such host|getting credentials|x509: |server gave HTTP response|unsupported protocol|refresh token|"
    + _BAD_TLS
    + "|"
    + _BAD_LOGIN
)


def proxy_fault(said: str) -> TransportError:
    """Make an error of what `kubectl proxy` says about a request that got no answer."""
    paragraphs = [one_line(p) for p in re.split(r"\n\s*\n", said.strip()) if p.strip()]
    first = paragraphs[0] if paragraphs else "kubectl proxy gave no reason"
    sent = not _NOT_SENT.search(first)
    lasting = bool(_LASTING.search(first))
    hint = ""
    if "getting credentials" in first:
        # client-go puts the plugin's installHint last, after words of its own.
        hint = paragraphs[-1] if len(paragraphs) > 1 and not _ADVICE.match(paragraphs[-1].encode()) else ""
        cause = first.removeprefix("getting credentials: ")
        if cause.startswith("decoding stdout"):
            cause = "the exec plugin gave no ExecCredential"
        message = f"no credentials for the API server: {cause}"
    elif "dial tcp [::1]:8080" in first or "dial tcp 127.0.0.1:8080" in first:
        message = f"cannot reach the API server: {first}"
        hint = (
            "kubectl uses localhost:8080 where no kubeconfig names a server; see --kubeconfig and --context"
        )
    else:
        message = f"{'the request failed' if sent else 'cannot reach the API server'}: {first}"
    return TransportError(message, hint, sent=sent, lasting=lasting)


def read_target(
    config: Mapping[str, Any], flags: Connection, environ: Mapping[str, str]
) -> tuple[Target, bool]:
    """Pick context, server and namespace from `kubectl config view`, and whether an exec plugin logs in."""

    def entry(kind: str, name: str) -> Mapping[str, Any]:
        found = [e for e in config.get(f"{kind}s") or () if e.get("name") == name]
        return (found[0].get(kind) if found else None) or {}

    name = flags.context or config.get("current-context") or ""
    context = entry("context", name)
    server = flags.server or entry("cluster", flags.cluster or context.get("cluster", "")).get("server", "")
    namespace = context.get("namespace", "")
    if not server and not name and environ.get("KUBERNETES_SERVICE_HOST"):
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    user = entry("user", flags.user or context.get("user", ""))
    return Target(name, server, namespace), bool(user.get("exec")) and not flags.token


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

    def answer(self, deadline: _Deadline) -> Response:
        """Wait for the answer; raises what came instead."""
        with _faults("GET", self.path, deadline):
            while self._thread.is_alive():
                self._thread.join(deadline.remaining())
        if isinstance(self._outcome, Response):
            return self._outcome
        raise self._outcome or TransportError("the first request ended without an answer", sent=False)


class _Deadline:
    """Bounds one exchange; asks once for more time before it gives up."""

    def __init__(self, seconds: float, extend: Callable[[], float | None] | None) -> None:
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


def _first_byte(wire: HTTPConnection, deadline: _Deadline) -> HTTPResponse:
    # A timeout inside getresponse() would lose the connection, and with it a login in progress.
    while not select.select([wire.sock], [], [], deadline.remaining())[0]:
        continue
    wire.sock.settimeout(deadline.remaining())
    return wire.getresponse()


@contextmanager
def _faults(method: str, path: str, deadline: _Deadline) -> Iterator[None]:
    """Say in one line what went wrong on the way; the request may have arrived."""
    from http.client import HTTPException

    try:
        yield
    except TimeoutError as error:
        raise TransportError(
            f"no answer from the API server within {round(deadline.seconds, 1):g} s", "see --request-timeout"
        ) from error
    except (OSError, HTTPException) as error:
        cause = one_line(str(error) or type(error).__name__, 120)
        raise TransportError(
            f"the connection was cut before the answer to {method} {path} was complete ({cause})"
        ) from error


def _whole(wire: HTTPConnection, answer: HTTPResponse, deadline: _Deadline) -> Response:
    content = b"".join(_chunks(wire, answer, deadline))
    answer.close()  # read1 leaves it open at the end of the content, which would block the next request
    return Response(answer.status, _lower(answer), inflate(answer.getheader("Content-Encoding"), content))


def _chunks(wire: HTTPConnection, answer: HTTPResponse, deadline: _Deadline) -> Iterator[bytes]:
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


def _lines(wire: HTTPConnection, answer: HTTPResponse, deadline: _Deadline) -> Iterator[bytes]:
    from http.client import HTTPException

    rest = b""
    deadline.restart()
    try:
        for data in _chunks(wire, answer, deadline):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if line:
                    yield line
                deadline.restart()
    except TimeoutError as error:
        raise TransportError(f"the API server was silent for {round(deadline.seconds, 1):g} s") from error
    except (OSError, HTTPException) as error:
        raise TransportError("the connection was cut in the middle of an answer") from error
    if rest.strip():
        raise TransportError("the connection was cut in the middle of an answer")


def _lower(answer: HTTPResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in answer.getheaders():
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


def _said(stderr: bytes) -> str:
    """Give what kubectl said as one line, without its `error:` and its log header."""
    text = stderr.decode("utf-8", "replace").strip()
    return one_line(re.sub(r"^(?:error|Error): ", "", text))


class _Proxy:
    """One `kubectl proxy` process with its socket, its idle connections and what it says."""

    def __init__(self, command: Sequence[str]) -> None:
        self.served = False
        self._folder = _private_folder()
        self._lock = _locked(self._folder)
        self._path = os.path.join(self._folder, "s")
        self._idle: deque[HTTPConnection] = deque()
        self._ready = threading.Lock()
        self._stderr = _Stderr()
        bound = _can_die_with_us() and not _is_script(command[0])
        try:
            self._process = _start(
                [
                    *command,
                    "proxy",
                    f"--unix-socket={self._path}",
                    "--append-server-path",
                    f"--reject-paths={_REJECT_PATHS}",
                    f"--reject-methods={_REJECT_METHODS}",
                ],
                self._stderr.child_end,
                bound,
            )
        except OSError as error:
            self._stderr.close()
            os.close(self._lock)
            shutil.rmtree(self._folder, ignore_errors=True)
            raise TransportError(
                f"cannot run {command[0]}: {error.strerror or error}", sent=False, lasting=True
            ) from error
        self._guards = _Guards(self._process, self._folder)
        # Also at exit, where nobody called close().
        self._finalizer = weakref.finalize(self, _end, self._guards, self._stderr, self._idle, self._lock)
        if not bound:
            self._guards.post(self._process.pid)
        self._stderr.start()

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def is_ending(self) -> bool:
        """Whether the process, having served, ends just now: its socket goes before it does."""
        if not self.served:
            return False
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def acquire(self, deadline: _Deadline) -> HTTPConnection:
        """Give a connection to the proxy, once it serves."""
        self._wait(deadline)
        with suppress(IndexError):
            while True:
                wire = self._idle.pop()
                if not select.select([wire.sock], [], [], 0)[0]:
                    return wire
                wire.close()  # the other end closed it
        return self._connect(deadline)

    def settle(self) -> None:
        """Let what was said come before the error that we raise about it."""
        self._stderr.settle()

    def release(self, wire: HTTPConnection) -> None:
        """Keep a connection for the next request."""
        self._idle.append(wire)
        if not self._finalizer.alive:
            # stop() came first, and nobody else will close it.
            wire.close()

    def stop(self) -> None:
        """End the process and take away its folder."""
        self._finalizer()

    def _connect(self, deadline: _Deadline) -> HTTPConnection:
        import http.client

        wire = http.client.HTTPConnection("localhost")
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(deadline.remaining())
            channel.connect(self._path)
            self._guards.see_listener(channel)
        except TimeoutError as error:
            channel.close()
            raise TransportError("kubectl proxy does not take connections", sent=False) from error
        except OSError as error:
            channel.close()
            raise TransportError(f"kubectl proxy is gone: {error.strerror or error}", sent=False) from error
        wire.sock = channel
        wire.auto_open = 0
        return wire

    def _wait(self, deadline: _Deadline) -> None:
        """Wait until the proxy says that it serves, and pass on what it asks meanwhile."""
        if self.served:
            return
        try:
            locked = self._ready.acquire(timeout=deadline.remaining())
        except TimeoutError:
            locked = False
        if not locked:
            raise TransportError("kubectl proxy did not start in time", sent=False)
        try:
            if not self.served:
                self._read_until_serving(deadline)
                self.served = True
                self._stderr.serving = True
        finally:
            self._ready.release()

    def _read_until_serving(self, deadline: _Deadline) -> None:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        text = b""
        while True:
            try:
                readable = select.select([out], [], [], deadline.remaining())[0]
            except TimeoutError as error:
                raise TransportError("kubectl proxy did not start in time", sent=False) from error
            data = os.read(out, 4096) if readable else b""
            if readable and not data:
                break
            text += data
            if _SERVING in text and text.endswith(b"\n"):
                return
            if text and not _SERVING.startswith(text[: len(_SERVING)]):
                # kubectl asks for user name and password here, where the kubeconfig has none.
                _write_all(2, text)
                text = b""
        self._process.wait()
        self._stderr.finish()
        said = _said(self._stderr.tail)
        if said == "EOF":
            # kubectl asked for a user name, and our stdin is at its end.
            raise TransportError(
                "the kubeconfig has no credentials for this context",
                "see --user, --token and kubectl config view",
                sent=False,
                lasting=True,
            )
        raise TransportError(
            said or f"kubectl proxy exited with status {self._process.returncode}",
            sent=False,
            lasting=True,
        )


def _locked(folder: str) -> int:
    """Hold a folder: the kernel lets it go when we end, however that comes about."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def _is_held(folder: str) -> bool:
    """Whether somebody holds a folder; a proxy that just starts does not take connections yet."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _sweep(parent: str) -> None:
    """Remove the folders of proxies that are gone: after kill -9 nobody else does."""
    with os.scandir(parent) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(_FOLDER)]
    for folder in left:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            found = os.stat(folder, follow_symlinks=False)
            if found.st_uid != os.getuid() or _is_held(folder):
                continue
            channel.settimeout(0.1)
            try:
                channel.connect(os.path.join(folder, "s"))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:  # not yet, or never
                if time.time() - found.st_mtime > 3600:
                    shutil.rmtree(folder, ignore_errors=True)


def _private_folder() -> str:
    """Make a folder that only this user may enter, with room for a socket's name."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    for parent in candidates:
        # mkdtemp adds eight characters, the end a dash; the socket is called "s".
        if not parent or len(os.fsencode(parent)) + len(f"/{_FOLDER}") + 8 + 3 >= SOCKET_PATH_LIMIT:
            continue
        with suppress(OSError):
            _sweep(parent)
            return tempfile.mkdtemp(prefix=_FOLDER, dir=parent)
    raise TransportError(
        "no folder for the socket of kubectl proxy can be made",
        "set TMPDIR to a short path that you may write to",
        sent=False,
    )


def _can_die_with_us() -> bool:
    """Whether `_start` can make the kernel end the child when we die.

    The parent-death signal comes when the *thread* that forked ends, hence the main thread only;
    and code may run between fork and exec only while there are no other threads.
    """
    return (
        sys.platform == "linux"
        and threading.current_thread() is threading.main_thread()
        and threading.active_count() == 1
    )


def _is_script(program: str) -> bool:
    """Whether the program may be a wrapper, which would die of the signal and leave kubectl behind."""
    try:
        with open(shutil.which(program) or program, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _start(command: Sequence[str], stderr: int, bound: bool) -> subprocess.Popen[bytes]:
    """Start kubectl on our stdin and in our process group.

    Exec plugins prompt on the terminal, which only the foreground group may read; Ctrl-C then
    ends them and the proxy with us.
    """
    before_exec = None
    if bound:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        parent = os.getpid()

        def before_exec() -> None:
            prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:  # we died before the call above
                os._exit(1)

    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=before_exec)


# Kills the process and its children, as far as there is a ps.
_KILL: Final = """
read -r _
children=$(ps -A -o pid= -o ppid= 2>/dev/null | while read -r pid parent; do
  [ "$parent" = "$1" ] && echo "$pid"
done)
kill -9 "$1" $children
"""


class _Guards:
    """Sees to it that the proxy dies with us: by close(), at exit, and after kill -9."""

    def __init__(self, process: subprocess.Popen[bytes], folder: str) -> None:
        self._process = process
        self._folder = folder
        self._wardens: list[subprocess.Popen[bytes]] = []
        self._listener = process.pid

    def post(self, pid: int) -> None:
        """Start a shell that kills `pid` as soon as our end of its stdin closes, for whatever cause."""
        self._wardens.append(
            subprocess.Popen(
                ["/bin/sh", "-c", _KILL, "sh", str(pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that no signal of the terminal ends it before us
            )
        )

    def see_listener(self, channel: socket.socket) -> None:
        """Guard the process which really listens.

        KUBECTL_PATH or PATH may name a wrapper that runs kubectl as its child: then the process
        that we started is not the one that serves.
        """
        if sys.platform == "linux":
            pid = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        elif sys.platform == "darwin":
            pid = struct.unpack("i", channel.getsockopt(0, 2, 4))[0]  # SOL_LOCAL, LOCAL_PEERPID
        else:
            return
        if pid > 0 and pid != self._listener:
            self._listener = pid
            self.post(pid)

    def end(self) -> None:
        """End the proxy, then the wardens: each must outlive what it guards."""
        # From here on nothing can begin to listen where we would not find it.
        moved = f"{self._folder}-"
        with suppress(OSError):
            os.rename(self._folder, moved)
        if self._listener == self._process.pid:
            with suppress(OSError):
                self._find_listener(os.path.join(moved, "s"))
        if self._listener != self._process.pid and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self._listener, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        for warden in self._wardens:
            warden.kill()
            warden.wait()
            if warden.stdin is not None:
                warden.stdin.close()
        shutil.rmtree(moved, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _find_listener(self, path: str) -> None:
        """Connect once more, to a proxy that never took a request; raises OSError where none listens."""
        end = time.monotonic() + 1.0
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                channel.settimeout(1.0)
                try:
                    channel.connect(path)
                except ConnectionRefusedError:
                    # Bound, and it does not listen yet: the child of a wrapper would stay for ever.
                    if self._process.poll() is not None or time.monotonic() > end:
                        raise
                else:
                    self.see_listener(channel)
                    return
            time.sleep(0.005)


def _end(guards: _Guards, stderr: _Stderr, idle: deque[HTTPConnection], lock: int) -> None:
    guards.end()
    os.close(lock)
    while idle:
        idle.pop().close()
    stderr.close()


def _write_all(fd: int, data: bytes) -> None:
    with suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]


# Go's log and klog write these for every request that fails; the same text reaches us as the
# answer, and our message says it once.
_NOISE: Final = re.compile(
    rb"proxy_server\.go:|cert_rotation\.go:|upgradeaware\.go:|httputil: ReverseProxy|"
    rb"Error while proxying request"
)
# What client-go adds, below the log line, about a plugin that is not installed.
_ADVICE: Final = re.compile(
    rb"\s*(?:It looks like you are trying to use a client-go credential plugin|"
    rb"To learn more about this feature, consult|https://kubernetes\.io/docs/reference/access-authn)"
)
# With these kubectl gives up before it serves.
_GIVES_UP: Final = (b"error: ", b"Error in configuration")
_TAIL: Final = 8192
_SETTLE_SECONDS: Final = 5.0


class _Stderr:
    """Passes the proxy's stderr on to ours as it comes, prompts included, but not its request log.

    Where our stderr is a terminal, so is the child's: exec plugins look.
    """

    def __init__(self) -> None:
        self.tail = b""
        self.serving = False
        self._quiet = False
        self._passing_on = threading.Lock()
        self._stop_r, self._stop_w = os.pipe()
        self._reader, self.child_end = _terminal_pair() if os.isatty(2) else os.pipe()
        self._thread = threading.Thread(target=self._forward, name="kubectl-stderr", daemon=True)

    def start(self) -> None:
        """Begin to pass on; the child has its end by now."""
        os.close(self.child_end)
        self.child_end = -1
        self._thread.start()

    def settle(self) -> None:
        """Wait until all that the child has said so far was passed on; not for ever, if it goes on and on."""
        end = time.monotonic() + _SETTLE_SECONDS
        while self._thread.is_alive() and time.monotonic() < end:
            with self._passing_on, suppress(ValueError):  # closed meanwhile: -1 is no descriptor
                if not select.select([self._reader], [], [], 0)[0]:
                    return
            self._thread.join(0.001)  # who passes on needs the lock, and a busy machine gives it late

    def finish(self) -> None:
        """Wait for what the child said before it ended, also where something else holds the other end."""
        self._thread.join(1.0)
        self.settle()

    def close(self) -> None:
        """Stop passing on, even if a plugin left something running that holds the other end."""
        os.close(self._stop_w)
        if self._thread.is_alive():
            self._thread.join(_SETTLE_SECONDS)
        reader, self._reader = self._reader, -1
        for fd in (self._stop_r, reader, self.child_end):
            if fd >= 0:
                os.close(fd)

    def _forward(self) -> None:
        held = b""
        while True:
            # What might be the start of a log line is held back for a moment, not for ever.
            ready = select.select([self._reader, self._stop_r], [], [], 0.1 if held else None)[0]
            if self._reader in ready:
                with self._passing_on:
                    try:
                        data = os.read(self._reader, 4096)
                    except OSError:  # EIO: the last holder of a terminal closed it
                        data = b""
                    if not data:
                        break
                    self.tail = (self.tail + data)[-_TAIL:]
                    held = self._pass_on(held + data)
            elif self._stop_r in ready:
                break
            else:
                _write_all(2, held)
                held = b""
        self._pass_on(held + b"\n" if held else b"")

    def _pass_on(self, text: bytes) -> bytes:
        *lines, rest = text.split(b"\n")
        _write_all(2, b"".join(line + b"\n" for line in lines if not self._is_said_by_us(line)))
        if _may_be_log(rest) or (rest and not self.serving and self._may_give_up(rest)):
            return rest
        _write_all(2, rest)
        return b""

    def _is_said_by_us(self, line: bytes) -> bool:
        """Whether our own error message will say this line."""
        if not self.serving:
            self._quiet = self._quiet or line.startswith(_GIVES_UP)
            return self._quiet or bool(_NOISE.search(line))
        # The log of a failed request may go on over several lines.
        self._quiet = bool(_NOISE.search(line)) or (
            self._quiet and (not line.strip() or bool(_ADVICE.match(line)))
        )
        return self._quiet

    def _may_give_up(self, text: bytes) -> bool:
        return self._quiet or any(start.startswith(text[: len(start)]) for start in _GIVES_UP)


_LOG_START: Final = re.compile(rb"(?:[EWIF]\d{4} |\d{4}/\d\d/\d\d )")


def _may_be_log(text: bytes) -> bool:
    if not text:
        return False
    if _LOG_START.match(text):
        return len(text) < 4096
    return any(
        len(text) < len(shape) and _LOG_START.match(text + shape[len(text) :]) is not None
        for shape in (b"E0000 ", b"0000/00/00 ")
    )


def _terminal_pair() -> tuple[int, int]:
    """Make a terminal for the child's stderr that looks like ours."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    with suppress(OSError, termios.error):
        mode = termios.tcgetattr(2)
        mode[1] &= ~termios.OPOST  # our own terminal turns \n into \r\n
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, fcntl.ioctl(2, termios.TIOCGWINSZ, b"\0" * 8))
    return ours, theirs
