"""kubectl as a process: how it is found and told what to do, how it is watched, and that it dies with us."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..model.errors import TransportError
from ..model.text import brief
from .http import Deadline
from .transport import Connection

if TYPE_CHECKING:
    from http.client import HTTPConnection

SOCKET_PATH_LIMIT: Final = 104
"""`sun_path` of macOS, the shorter of the two, with its closing NUL."""

_DECIDES: Final = (b"HOME", b"KUBECONFIG", b"KUBERNETES_SERVICE_HOST", b"KUBERNETES_SERVICE_PORT")
"""What of the environment decides where requests go."""

_FOLDER: Final = "argo-rescue-proxy-"

_SERVING: Final = b"Starting to serve on "

# The API of pods that opens a shell or a tunnel is never asked for; kubectl's default pattern is
# wider and would also reject a ConfigMap in a namespace that is called "pods".
_REJECT_PATHS: Final = "^/api/[^/]+/namespaces/[^/]+/(pods|services)/[^/]+/(exec|attach|portforward|proxy)"

_REJECT_METHODS: Final = "^(PUT|CONNECT|OPTIONS|TRACE)$"


def find_kubectl(environ: Mapping[str, str]) -> str | None:
    """Find the kubectl that called us (KUBECTL_PATH), else the one on PATH."""
    named = environ.get("KUBECTL_PATH", "")
    if named:
        return named
    return on_path("kubectl", environ)


def kubectl_version(program: str) -> str:
    """Ask a kubectl for its own version; empty where it does not say."""
    command = [program, "version", "--client", "--output=json"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        said = json.loads(done.stdout)["clientVersion"]["gitVersion"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return ""
    return str(said).removeprefix("v")


def on_path(program: str, environ: Mapping[str, str]) -> str | None:
    """Find a program as a shell does."""
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


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


# What Go's net, crypto/tls and client-go say where no request can have been processed: the name
# was not found, nothing listens, the handshake failed or the credentials never came.
_BAD_TLS: Final = r"tls: .*(?:certificate|handshake|protocol version|unrecognized name|verify|first record)"

_BAD_LOGIN: Final = r"private key|invalid header field|valid JWT|oauth2: "

_NOT_SENT: Final = (
    r"dial (?:tcp|unix|udp)|no such host|getting credentials|x509: |TLS handshake|" + _BAD_TLS + r"|"
    r"proxyconnect |socks connect|server gave HTTP response to HTTPS client|"
    r"unsupported protocol|failed to refresh token|" + _BAD_LOGIN
)

_LASTING: Final = (
    r"no such host|getting credentials|x509: |server gave HTTP response|unsupported protocol|refresh token|"
    + _BAD_TLS
    + "|"
    + _BAD_LOGIN
)


def proxy_fault(said: str) -> TransportError:
    """Make an error of what `kubectl proxy` says about a request that got no answer."""
    paragraphs = [brief(p) for p in re.split(r"\n\s*\n", said.strip()) if p.strip()]
    first = paragraphs[0] if paragraphs else "kubectl proxy gave no reason"
    sent = not re.search(_NOT_SENT, first)
    lasting = bool(re.search(_LASTING, first))
    hint = ""
    if "getting credentials" in first:
        # client-go puts the plugin's installHint last, after words of its own.
        hint = (
            paragraphs[-1] if len(paragraphs) > 1 and not re.match(_ADVICE, paragraphs[-1].encode()) else ""
        )
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


def said_by_kubectl(stderr: bytes) -> str:
    """Give what kubectl said as one line, without its `error:` and its log header."""
    text = stderr.decode("utf-8", "replace").strip()
    return brief(re.sub(r"^(?:error|Error): ", "", text))


class Proxy:
    """One `kubectl proxy` process with its socket, its idle connections and what it says."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`, kubectl with its connection flags, as a proxy."""
        self.served = False
        self._folder = _private_folder()
        self._lock = _locked(self._folder)
        self._path = os.path.join(self._folder, "s")
        self._idle: deque[HTTPConnection] = deque()
        self._ready = threading.Lock()
        self._stderr = _Stderr()
        self._is_script = _is_script(command[0])
        bound = _can_die_with_us() and not self._is_script
        self._command = [
            *command,
            "proxy",
            f"--unix-socket={self._path}",
            "--append-server-path",
            f"--reject-paths={_REJECT_PATHS}",
            f"--reject-methods={_REJECT_METHODS}",
        ]
        try:
            self._process = _start(self._command, self._stderr.child_end, bound)
        except OSError as error:
            self._stderr.close()
            os.close(self._lock)
            _remove(self._folder)
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

    def may_be_known(self) -> bool:
        """Whether `is_known` may come true, once it serves."""
        return sys.platform == "linux" and not self._is_script

    def is_known(self) -> bool:
        """Whether what serves is kubectl itself, told just what we say, in our environment.

        Then it reads the kubeconfig that we would read. A wrapper might have named another.
        """
        if not self.may_be_known() or not self._guards.is_seen:
            return False
        place = f"/proc/{self._guards.listener}"
        try:
            with open(f"{place}/cmdline", "rb") as file:
                words = file.read().split(b"\0")[1:-1]
            with open(f"{place}/environ", "rb") as file:
                pairs = [pair.partition(b"=") for pair in file.read().split(b"\0")]
            program = os.path.basename(os.readlink(f"{place}/exe"))
            is_near = os.readlink(f"{place}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        except OSError:
            return False
        theirs = {name: value for name, _, value in pairs if name in _DECIDES}
        ours = {name: value for name, value in os.environb.items() if name in _DECIDES}
        return (
            is_near
            and program.startswith("kubectl")
            and words == [os.fsencode(word) for word in self._command[1:]]
            and theirs == ours
        )

    def acquire(self, deadline: Deadline) -> HTTPConnection:
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

    def _connect(self, deadline: Deadline) -> HTTPConnection:
        # The class itself: while another thread imports the module, the package may lack its name for a moment.
        from http.client import HTTPConnection

        wire = HTTPConnection("localhost")
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

    def _wait(self, deadline: Deadline) -> None:
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

    def _read_until_serving(self, deadline: Deadline) -> None:
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
        said = said_by_kubectl(self._stderr.tail)
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
                _remove(folder)
            except FileNotFoundError:  # not yet, or never
                if time.time() - found.st_mtime > 3600:
                    _remove(folder)


def _private_folder() -> str:
    """Make a folder that only this user may enter, with room for a socket's name."""
    named = [os.environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP")]
    for parent in (*named, "/tmp", "/var/tmp"):
        folder = os.path.join(os.path.abspath(parent), f"{_FOLDER}{os.urandom(4).hex()}")
        # The end adds a dash; the socket is called "s".
        if not parent or len(os.fsencode(folder)) + len("-/s") >= SOCKET_PATH_LIMIT:
            continue
        with suppress(OSError):
            _sweep(parent)
            os.mkdir(folder, 0o700)
            return folder
    raise TransportError(
        "no folder for the socket of kubectl proxy can be made",
        "set TMPDIR to a short path that you may write to",
        sent=False,
    )


def _remove(folder: str) -> None:
    """Remove such a folder, which has nothing but the socket in it."""
    with suppress(OSError):
        os.unlink(os.path.join(folder, "s"))
    with suppress(OSError):
        os.rmdir(folder)


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
        named = program if os.path.dirname(program) else on_path(program, os.environ) or program
        with open(named, "rb") as file:
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
        self.listener = process.pid
        self.is_seen = False
        """Whether the kernel has told who listens."""

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
        if pid > 0 and pid != self.listener:
            self.listener = pid
            self.post(pid)
        self.is_seen = pid > 0

    def end(self) -> None:
        """End the proxy, then the wardens: each must outlive what it guards."""
        # From here on nothing can begin to listen where we would not find it.
        moved = f"{self._folder}-"
        with suppress(OSError):
            os.rename(self._folder, moved)
        if self.listener == self._process.pid:
            with suppress(OSError):
                self._find_listener(os.path.join(moved, "s"))
        if self.listener != self._process.pid and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.listener, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        for warden in self._wardens:
            warden.kill()
            warden.wait()
            if warden.stdin is not None:
                warden.stdin.close()
        _remove(moved)
        _remove(self._folder)

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
_NOISE: Final = (
    rb"proxy_server\.go:|cert_rotation\.go:|upgradeaware\.go:|httputil: ReverseProxy|"
    rb"Error while proxying request"
)

# What client-go adds, below the log line, about a plugin that is not installed.
_ADVICE: Final = (
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
            return self._quiet or bool(re.search(_NOISE, line))
        # The log of a failed request may go on over several lines.
        self._quiet = bool(re.search(_NOISE, line)) or (
            self._quiet and (not line.strip() or bool(re.match(_ADVICE, line)))
        )
        return self._quiet

    def _may_give_up(self, text: bytes) -> bool:
        return self._quiet or any(start.startswith(text[: len(start)]) for start in _GIVES_UP)


_LOG_START: Final = rb"(?:[EWIF]\d{4} |\d{4}/\d\d/\d\d )"


def _may_be_log(text: bytes) -> bool:
    if not text:
        return False
    if re.match(_LOG_START, text):
        return len(text) < 4096
    return any(
        len(text) < len(shape) and re.match(_LOG_START, text + shape[len(text) :]) is not None
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
