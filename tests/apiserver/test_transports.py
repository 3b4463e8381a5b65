"""The transports where things go wrong, and the life of kubectl's proxy.

Covered: connections cut in the middle of an answer, whole and chunked, and of a watch; 429 with
Retry-After; servers that answer late, never or drop by drop; refused connections and untrusted
certificates; a server behind a path prefix; exec plugins that fail, are missing, take long or
prompt on the terminal; wrong flags; what reaches the terminal; the proxy's end with close(), at
exit, by signals and by kill -9, also behind a wrapper and without a parent-death signal.
Left to tests/contract: what a healthy API server answers.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest

from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.direct import PackageTransport
from kubectl_argo_rescue.cluster.kubectl import KubectlTransport
from kubectl_argo_rescue.cluster.kubectl_process import SOCKET_PATH_LIMIT
from kubectl_argo_rescue.cluster.transport import Connection, Transport
from kubectl_argo_rescue.model.errors import Overloaded, TransportError
from kubectl_argo_rescue.model.values import APPLICATION, CONFIGMAP, JSON
from tests.testbed.kubeconfigs import credential, exec_user, kubeconfig, script
from tests.testbed.processes import until
from tests.testbed.tls_server import Seen, TlsServer, Wire

if TYPE_CHECKING:
    from tests.testbed.control_plane import ControlPlane

Open = Callable[[Path], Transport]

PATH = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/traefik"
STATUS_429 = {"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "slow down"}


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> str:
    return str(control_plane.bin / "kubectl")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    with TlsServer(tmp_path) as server:
        yield server


@pytest.fixture
def config(server: TlsServer, tmp_path: Path) -> Path:
    return token_config(server, tmp_path / "config")


def token_config(server: TlsServer, path: Path) -> Path:
    return kubeconfig(path, cluster_of(server), {"token": "t0ken"})


def cluster_of(server: TlsServer) -> dict[str, JSON]:
    return {"server": server.url, "certificate-authority": str(server.authority.certificate)}


@pytest.fixture(params=["kubectl", "package"])
def open_transport(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open the transport under test on a kubeconfig; it is closed with the test."""
    kubectl: str = request.getfixturevalue("kubectl")
    opened: list[Transport] = []

    def open_(config: Path) -> Transport:
        connection = Connection(kubeconfig=str(config))
        opened.append(
            KubectlTransport(connection, kubectl)
            if request.param == "kubectl"
            else PackageTransport(connection)
        )
        return opened[-1]

    yield open_
    for transport in opened:
        transport.close()


def cluster_on(transport: Transport) -> Cluster:
    """A cluster that does not really wait between tries."""
    return Cluster(transport, sleep=lambda _: None)


def cut_whole(_: Seen, wire: Wire) -> None:
    wire.raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"kind":')
    wire.cut()


def cut_chunked(_: Seen, wire: Wire) -> None:
    wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.raw(b'8\r\n{"kind":\r\n')
    wire.cut()


def cut_at_once(_: Seen, wire: Wire) -> None:
    wire.cut()


CUTS = [cut_whole, cut_chunked, cut_at_once]


# -- cut connections


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_answer_is_an_error_that_may_have_arrived(
    open_transport: Open, server: TlsServer, config: Path, cut: Callable[[Seen, Wire], None]
) -> None:
    server.answer = cut
    with pytest.raises(TransportError) as caught:
        open_transport(config).request("PATCH", PATH, body=b"[]")
    assert caught.value.sent and not caught.value.lasting
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("cut", CUTS)
def test_a_patch_whose_answer_was_cut_is_sent_once(
    open_transport: Open, server: TlsServer, config: Path, cut: Callable[[Seen, Wire], None]
) -> None:
    server.answer = cut
    with pytest.raises(TransportError):
        cluster_on(open_transport(config)).patch(APPLICATION, "argocd", "traefik", [])
    assert [seen.method for seen in server.seen] == ["PATCH"]


def test_a_patch_on_a_kept_connection_that_is_cut_is_sent_once(
    open_transport: Open, server: TlsServer, config: Path
) -> None:
    # net/http and urllib3 like to repeat a request on a connection that was idle before.
    cluster = cluster_on(open_transport(config))
    cluster.get(APPLICATION, "argocd", "traefik")
    server.answer = cut_at_once
    with pytest.raises(TransportError):
        cluster.patch(APPLICATION, "argocd", "traefik", [])
    assert [seen.method for seen in server.seen] == ["GET", "PATCH"]


@pytest.mark.parametrize("cut", CUTS)
def test_a_get_survives_a_cut(
    open_transport: Open, server: TlsServer, config: Path, cut: Callable[[Seen, Wire], None]
) -> None:
    def once(seen: Seen, wire: Wire) -> None:
        server.answer = lambda _, wire: wire.reply({"kind": "Application"})
        cut(seen, wire)

    server.answer = once
    found = cluster_on(open_transport(config)).get(APPLICATION, "argocd", "traefik")
    assert found == {"kind": "Application"}


def test_a_cut_watch_gives_its_events_first(open_transport: Open, server: TlsServer, config: Path) -> None:
    event = json.dumps({"type": "ADDED", "object": {"kind": "Application"}}).encode() + b"\n"

    def watch(_: Seen, wire: Wire) -> None:
        wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.raw(b"%x\r\n%b\r\n" % (len(event), event))
        wire.raw(b"%x\r\n%b\r\n" % (len(event) // 2, event[: len(event) // 2]))
        wire.cut()

    server.answer = watch
    events = cluster_on(open_transport(config)).watch(APPLICATION, resource_version="1", timeout=5)
    with closing(events):
        assert next(events) == ("ADDED", {"kind": "Application"})
        with pytest.raises(TransportError, match="cut"):
            next(events)


def test_a_watch_is_read_as_it_comes(open_transport: Open, server: TlsServer, config: Path) -> None:
    event = json.dumps({"type": "ADDED", "object": {}}).encode() + b"\n"

    def watch(_: Seen, wire: Wire) -> None:
        wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.raw(b"%x\r\n%b\r\n" % (len(event), event))
        wire.hang()

    server.answer = watch
    transport = open_transport(config)
    with closing(cluster_on(transport).watch(APPLICATION, resource_version="1", timeout=5)) as events:
        assert next(events) == ("ADDED", {})
    with transport.stream(PATH, timeout=3) as (_, lines):  # its first line has no longer either
        assert json.loads(next(lines))["type"] == "ADDED"
        with pytest.raises(TransportError):
            next(lines)


# -- overload and timeouts


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_429_waits_as_asked(open_transport: Open, server: TlsServer, config: Path, method: str) -> None:
    def busy(_: Seen, wire: Wire) -> None:
        server.answer = lambda _, wire: wire.reply({"kind": "Application"})
        wire.reply(STATUS_429, 429, {"Retry-After": "3"})

    server.answer = busy
    slept: list[float] = []
    cluster = Cluster(open_transport(config), sleep=slept.append)
    if method == "GET":
        cluster.get(APPLICATION, "argocd", "traefik")
    else:
        cluster.patch(APPLICATION, "argocd", "traefik", [])
    (waited,) = slept
    assert 3 <= waited < 4  # a little more, so that not all come back at once
    # Neither kubectl nor urllib3 repeats by itself.
    assert [seen.method for seen in server.seen] == [method, method]


def test_a_server_that_stays_overloaded(open_transport: Open, server: TlsServer, config: Path) -> None:
    server.answer = lambda _, wire: wire.reply(STATUS_429, 429, {"Retry-After": "1"})
    with pytest.raises(Overloaded, match="slow down"):
        cluster_on(open_transport(config)).patch(APPLICATION, "argocd", "traefik", [])
    assert len(server.seen) == 10


def hang(_: Seen, wire: Wire) -> None:
    wire.hang()


def drip(_: Seen, wire: Wire) -> None:
    wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while not wire.hang(0.02):
        wire.raw(b" ")


@pytest.mark.parametrize("answer", [hang, drip])
def test_a_request_has_one_deadline_for_all_of_it(
    open_transport: Open, server: TlsServer, config: Path, answer: Callable[[Seen, Wire], None]
) -> None:
    transport = open_transport(config)
    transport.request("GET", PATH)
    server.answer = answer
    began = time.monotonic()
    with pytest.raises(TransportError, match="within 0.4 s") as caught:
        transport.request("PATCH", PATH, body=b"[]", timeout=0.4)
    assert caught.value.sent
    assert 0.3 < time.monotonic() - began < 20


# -- connections that never come about


def test_nobody_listens(
    open_transport: Open, server: TlsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = server.url
    server.close()
    config = kubeconfig(tmp_path / "refused", {"server": url}, {"token": "t0ken"})
    with pytest.raises(TransportError, match="cannot reach the API server.*refused") as caught:
        open_transport(config).request("PATCH", PATH, body=b"[]")
    assert not caught.value.sent and not caught.value.lasting
    # The proxy's own log of it would only say the same again.
    assert capfd.readouterr().err == ""


def test_an_untrusted_server(open_transport: Open, server: TlsServer, tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", {"server": server.url}, {"token": "t0ken"})
    with pytest.raises(TransportError, match="(?i)certificate") as caught:
        open_transport(config).request("PATCH", PATH, body=b"[]")
    assert not caught.value.sent and caught.value.lasting
    assert server.seen == []


def test_a_500_of_the_server_is_the_servers(open_transport: Open, server: TlsServer, config: Path) -> None:
    server.answer = lambda _, wire: wire.reply({"kind": "Status", "code": 500}, 500)
    assert open_transport(config).request("GET", PATH).status == 500


# -- a server behind a path


def test_a_server_behind_a_path_prefix(
    open_transport: Open, control_plane: ControlPlane, namespace: str, server: TlsServer, tmp_path: Path
) -> None:
    prefix = "/k8s/clusters/c-abc"
    behind = PackageTransport(Connection(kubeconfig=str(control_plane.kubeconfig("admin"))))

    def forward(seen: Seen, wire: Wire) -> None:
        path, _, query = seen.path.partition("?")
        if not path.startswith(f"{prefix}/api"):
            wire.reply({"kind": "Status", "code": 404, "message": f"no route {path}"}, 404)
            return
        kept = {name: seen.headers[name] for name in ("content-type",) if name in seen.headers}
        body = seen.body or None
        answer = behind.request(seen.method, path.removeprefix(prefix), parse_qsl(query), kept, body)
        wire.reply(json.loads(answer.body), answer.status)

    server.answer = forward
    cluster = {**cluster_of(server), "server": f"{server.url}{prefix}"}
    transport = open_transport(kubeconfig(tmp_path / "config", cluster, {"token": "t0ken"}))
    rescue = cluster_on(transport)
    for n in range(3):
        rescue.create(
            CONFIGMAP,
            namespace,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"e{n}"}, "data": {"k": "1"}},
        )
    ops = [{"op": "replace", "path": "/data/k", "value": "2"}]
    assert rescue.patch(CONFIGMAP, namespace, "e1", ops)["data"] == {"k": "2"}
    assert {"e0", "e1", "e2"} <= {c["metadata"]["name"] for c in rescue.list(CONFIGMAP, namespace, page=2)}
    assert transport.target().server == f"{server.url}{prefix}"
    assert all(seen.path.startswith(f"{prefix}/api/v1/") for seen in server.seen)
    behind.close()


# -- exec plugins


def test_an_exec_plugin_logs_in(open_transport: Open, server: TlsServer, tmp_path: Path) -> None:
    plugin = script(tmp_path / "login", f"echo '{credential('from-the-plugin')}'")
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin))
    assert open_transport(config).request("GET", PATH).status == 200
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer from-the-plugin"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo 'token expired, run: cloud login' >&2; exit 7", "exit code 7"),
        ("echo '{}'", ""),
        ("echo not json", ""),
        (f"echo '{credential('')}'", ""),
    ],
)
def test_a_failed_exec_plugin_is_an_error_and_no_anonymous_request(
    open_transport: Open, server: TlsServer, tmp_path: Path, text: str, says: str
) -> None:
    calls = tmp_path / "calls"
    plugin = script(tmp_path / "login", f"echo x >> {calls}\n{text}")
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin))
    with pytest.raises(TransportError) as caught:
        cluster_on(open_transport(config)).get(APPLICATION, "argocd", "traefik")
    assert says in caught.value.message
    assert "plugin" in caught.value.message or "exec" in caught.value.message
    assert not caught.value.sent and caught.value.lasting
    assert server.seen == []
    assert calls.read_text() == "x\n"


def test_what_a_failed_plugin_says_reaches_the_user(
    open_transport: Open, server: TlsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plugin = script(tmp_path / "login", "echo 'run: cloud login' >&2; exit 7")
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin))
    with pytest.raises(TransportError) as caught:
        open_transport(config).request("GET", PATH)
    assert "run: cloud login" in capfd.readouterr().err + caught.value.message


def test_a_missing_exec_plugin_says_how_to_install_it(
    open_transport: Open, server: TlsServer, tmp_path: Path
) -> None:
    user = exec_user("no-such-plugin", installHint="install it with: cloud components install login")
    config = kubeconfig(tmp_path / "config", cluster_of(server), user)
    with pytest.raises(TransportError, match="no-such-plugin") as caught:
        open_transport(config).request("GET", PATH)
    assert "cloud components install login" in caught.value.hint
    assert server.seen == []


def test_a_login_may_take_longer_than_a_request(
    open_transport: Open, server: TlsServer, tmp_path: Path
) -> None:
    plugin = script(tmp_path / "login", f"sleep 3; echo '{credential('late')}'")
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin))
    assert open_transport(config).request("GET", PATH, timeout=2.5).status == 200


def test_rejected_credentials_are_asked_for_anew(
    open_transport: Open, server: TlsServer, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    plugin = script(
        tmp_path / "login",
        f"echo x >> {calls}\necho '{credential('number-')}' | sed s/number-/number-$(wc -l < {calls})/",
    )
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin))

    def only_the_second(seen: Seen, wire: Wire) -> None:
        if seen.headers["authorization"] == "Bearer number-2":
            wire.reply({"kind": "Application"})
        else:
            wire.reply({"kind": "Status", "code": 401, "reason": "Unauthorized"}, 401)

    server.answer = only_the_second
    assert cluster_on(open_transport(config)).patch(APPLICATION, "argocd", "traefik", [])
    assert calls.read_text() == "x\nx\n"


PROMPTED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from kubectl_argo_rescue.cluster.transport import Connection
from kubectl_argo_rescue.cluster.connect import open_transport
transport = open_transport(Connection(kubeconfig=sys.argv[1]), prefer=sys.argv[2])
print("answered", transport.request("GET", "/api").status)
transport.close()
"""


@pytest.mark.parametrize("transport", ["kubectl", "package"])
@pytest.mark.parametrize("source", ["/dev/stdin", "/dev/tty"])
def test_an_exec_plugin_prompts_on_the_terminal(
    server: TlsServer, tmp_path: Path, kubectl: str, transport: str, source: str
) -> None:
    plugin = script(
        tmp_path / "login",
        f"[ -t 0 ] && [ -t 2 ] || {{ echo 'no terminal' >&2; exit 9; }}\n"
        f"printf 'Password: ' >&2; read -r word < {source}; echo >&2\n"
        f"echo '{credential('WORD')}' | sed s/WORD/$word/",
    )
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin, interactiveMode="Always"))
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", PROMPTED, str(config), transport]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "KUBECTL_PATH": kubectl},
    ) as child:
        os.close(theirs)
        shown = b""
        try:
            while b"Password: " not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, b"s3cret\n")
            while b"answered 200" not in shown:
                shown += os.read(ours, 1000)
            assert child.wait(60) == 0
        except OSError as error:  # the child ended, and nobody holds the terminal any more
            raise AssertionError(shown.decode()) from error
        finally:
            child.kill()
            os.close(ours)
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer s3cret"]


# -- kubectl's words


def test_what_kubectl_rejects_is_said_once_and_at_once(
    kubectl: str, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = Connection(kubeconfig=str(config), context="nowhere")
    with closing(KubectlTransport(connection, kubectl)) as transport:
        with pytest.raises(TransportError) as caught:
            cluster_on(transport).get(APPLICATION, "argocd", "traefik")
    assert caught.value.message == 'context "nowhere" does not exist'
    assert not caught.value.sent and caught.value.lasting
    assert capfd.readouterr().err == ""


def test_what_a_plugin_says_beside_its_work_is_passed_on(
    server: TlsServer, kubectl: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plugin = script(
        tmp_path / "login",
        "printf 'E' >&2; printf 'nter the code 1234: ' >&2; echo 'E0000 is no log' >&2\n"
        f"echo '{credential('x')}'",
    )
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user(plugin))
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)) as opened:
        opened.request("GET", PATH)
        opened._proxy.settle()
    assert capfd.readouterr().err == "Enter the code 1234: E0000 is no log\n"


def test_a_missing_plugin_is_reported_once(
    server: TlsServer, kubectl: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = kubeconfig(tmp_path / "config", cluster_of(server), exec_user("no-such-plugin"))
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)) as opened:
        with pytest.raises(TransportError) as caught:
            opened.request("GET", PATH)
    assert "no-such-plugin not found" in caught.value.message
    assert caught.value.hint == ""
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("user", [{}, None])
def test_a_context_without_credentials(server: TlsServer, kubectl: str, tmp_path: Path, user: JSON) -> None:
    config = kubeconfig(tmp_path / "config", cluster_of(server), user)
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)) as opened:
        with pytest.raises(TransportError, match="no credentials for this context"):
            opened.request("GET", PATH)
    assert server.seen == []


def test_a_kubectl_that_cannot_be_run(config: Path, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="cannot run"):
        KubectlTransport(Connection(kubeconfig=str(config)), str(tmp_path / "kubectl"))


def test_target_follows_the_flags(kubectl: str, server: TlsServer, tmp_path: Path) -> None:
    config = kubeconfig(
        tmp_path / "config",
        cluster_of(server),
        {"token": "t0ken"},
        {"cluster": "here", "user": "here", "namespace": "web"},
    )
    for connection, server_url in (
        (Connection(kubeconfig=str(config)), server.url),
        (Connection(kubeconfig=str(config), server="https://elsewhere:6443"), "https://elsewhere:6443"),
    ):
        for transport in (KubectlTransport(connection, kubectl), PackageTransport(connection)):
            with closing(transport):
                target = transport.target()
                assert (target.context, target.server, target.namespace) == ("here", server_url, "web")


# -- the life of the proxy

VICTIM = """
import signal, sys, threading, time
# Whoever runs the tests below nohup has it ignored, and children inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from kubectl_argo_rescue.cluster.transport import Connection
from kubectl_argo_rescue.cluster.kubectl import KubectlTransport
how, kubeconfig, kubectl = sys.argv[1:]
if how == "thread":
    # No parent-death signal then: it comes when a thread ends, and fork needs to be alone.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
transport = KubectlTransport(Connection(kubeconfig=kubeconfig), kubectl)
if how != "early":
    assert transport.request("GET", "/api").status == 200
print("ready", flush=True)
sys.stdin.read()
if how == "close":
    transport.close()
"""


def processes_with(text: str) -> list[int]:
    """The processes whose command line has this text in it, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(folder.name))
    return found


@pytest.fixture
def victim(kubectl: str, config: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(how: str, program: str = kubectl) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-c", VICTIM, how, str(config), program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("how", ["main", "thread", "early"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_proxy_never_outlives_us(
    victim: Callable[..., subprocess.Popen[bytes]], config: Path, how: str, number: signal.Signals
) -> None:
    child = victim(how)
    assert len(processes_with(f"--kubeconfig={config}")) == 1
    child.send_signal(number)
    child.wait(timeout=60)
    until(lambda: not processes_with(str(config)), 60, "the proxy's end")


@linux
@pytest.mark.parametrize("how", ["main", "thread", "early"])
def test_the_proxy_of_a_wrapper_never_outlives_us(
    victim: Callable[..., subprocess.Popen[bytes]], config: Path, tmp_path: Path, kubectl: str, how: str
) -> None:
    wrapper = script(tmp_path / "kubectl", f'"{kubectl}" "$@"\nexit $?')
    child = victim(how, str(wrapper))
    until(lambda: len(processes_with(f"--kubeconfig={config}")) == 2, 60, "wrapper and kubectl")
    assert len(processes_with(f"--kubeconfig={config}")) == 2
    child.kill()
    child.wait(timeout=60)
    until(lambda: not processes_with(str(config)), 60, "the proxy's end")


@linux
def test_the_next_run_sweeps_up_after_a_kill(
    victim: Callable[..., subprocess.Popen[bytes]],
    kubectl: str,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = Path(f"/tmp/ar-{os.getpid()}")
    short.symlink_to(tmp_path)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
        living = victim("main")
        (theirs,) = tmp_path.glob("argo-rescue-proxy-*")
        killed = victim("main")
        # A folder without a socket may be of a command that is starting: it is left for an hour.
        until(lambda: len(list(tmp_path.glob("argo-rescue-proxy-*/s"))) == 2, 60, "both sockets")
        killed.kill()
        killed.wait(timeout=60)
        until(lambda: len(processes_with(f"--kubeconfig={config}")) == 1, 60, "the proxy's end")

        def is_swept() -> bool:
            with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)):
                folders = set(tmp_path.glob("argo-rescue-proxy-*"))
            return theirs in folders and len(folders) == 2

        until(is_swept, 60, "the folder of the killed one is gone")
        living.communicate()
    finally:
        short.unlink()


@linux
@pytest.mark.parametrize("how", ["close", "main", "thread", "early"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_nothing_is_left_in_the_end(
    victim: Callable[..., subprocess.Popen[bytes]],
    config: Path,
    tmp_path: Path,
    kubectl: str,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    wrapped: bool,
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    # pytest's folders are deep; the socket's path has to fit.
    short = Path(f"/tmp/ar-{os.getpid()}")
    short.symlink_to(runtime)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
        program = str(script(tmp_path / "kubectl", f'"{kubectl}" "$@"\nexit $?')) if wrapped else kubectl
        child = victim(how, program)
        (folder,) = runtime.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        child.communicate()
        assert child.returncode == 0
        assert list(runtime.iterdir()) == []
        until(lambda: not processes_with(str(config)), 60, "the proxy's end")
    finally:
        short.unlink()


@linux
def test_ctrl_c_ends_the_proxy_and_what_has_to_be_put_in_order_still_can(
    kubectl: str, server: TlsServer, config: Path
) -> None:
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)) as transport:
        assert transport.request("GET", PATH).status == 200
        (proxy,) = processes_with(f"--kubeconfig={config}")
        os.kill(proxy, signal.SIGINT)
        # What it still takes while it dies may arrive, without an answer: that would be asked again.
        until(lambda: not processes_with(f"--kubeconfig={config}"), 60, "the proxy's end")
        cluster = cluster_on(transport)
        cluster.get(APPLICATION, "argocd", "traefik")
        cluster.patch(APPLICATION, "argocd", "traefik", [])
    assert [seen.method for seen in server.seen] == ["GET", "GET", "PATCH"]


@linux
def test_close_is_safe_at_any_time(kubectl: str, config: Path) -> None:
    transport = KubectlTransport(Connection(kubeconfig=str(config)), kubectl)
    transport.close()
    transport.close()
    with pytest.raises(TransportError, match="closed"):
        transport.request("GET", PATH)
    assert processes_with(f"--kubeconfig={config}") == []


def test_the_socket_finds_room(
    kubectl: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * SOCKET_PATH_LIMIT)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setenv("TMPDIR", str(deep))
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)) as transport:
        assert transport.request("GET", PATH).status == 200


def test_nobody_else_may_enter_by_another_host_name(kubectl: str, config: Path) -> None:
    # A page in a browser cannot reach a Unix socket, but the proxy's own guard is left on as well.
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), kubectl)) as transport:
        assert transport.request("GET", PATH, headers={"Host": "evil.example"}).status == 403
        assert transport.request("PUT", PATH, body=b"{}").status == 403
        pod = "/api/v1/namespaces/argocd/pods/x"
        assert transport.request("POST", f"{pod}/exec", body=b"").status == 403
        assert transport.request("GET", "/api/v1/namespaces/pods/configmaps/exec-me").status == 200
