"""The parts of the transports that need no server.

Covered: which transport is taken; the flags that kubectl is given; what the proxy's own errors mean
and whether the request left; deadlines;
text made fit for one line.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
from pathlib import Path

import pytest

from kubectl_argo_rescue.cluster.connect import open_transport
from kubectl_argo_rescue.cluster.direct import PackageTransport
from kubectl_argo_rescue.cluster.http import Deadline
from kubectl_argo_rescue.cluster.kubeconfig import Refused
from kubectl_argo_rescue.cluster.kubectl import KubectlTransport, _Ahead
from kubectl_argo_rescue.cluster.kubectl_process import (
    _locked,
    _may_be_log,
    _sweep,
    find_kubectl,
    kubectl_flags,
    proxy_fault,
)
from kubectl_argo_rescue.cluster.transport import Connection, Response, Target
from kubectl_argo_rescue.model.errors import TransportError, UsageError
from kubectl_argo_rescue.model.text import brief


def test_flags_are_kubectls() -> None:
    connection = Connection(
        kubeconfig="/k",
        context="c",
        as_user="carol",
        as_groups=("a", "b"),
        insecure_skip_tls_verify=True,
        request_timeout=5,
    )
    assert kubectl_flags(connection) == [
        "--kubeconfig=/k",
        "--context=c",
        "--as=carol",
        "--as-group=a",
        "--as-group=b",
        "--insecure-skip-tls-verify",
    ]
    assert kubectl_flags(Connection()) == []


def test_the_kubectl_that_called_us_comes_first(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_kubectl({"KUBECTL_PATH": "/opt/kubectl", "PATH": str(tmp_path)}) == "/opt/kubectl"
    assert find_kubectl({"PATH": str(tmp_path)}) == str(program)
    assert find_kubectl({"PATH": "/nowhere"}) is None


def test_without_kubectl_the_package_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a, namespace: web}}],"
        " clusters: [{name: a, cluster: {server: 'https://there'}}], users: [{name: a, user: {token: t}}]}"
    )
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("KUBECTL_PATH", "ARGO_RESCUE_TRANSPORT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    transport = open_transport(Connection(kubeconfig=str(config)))
    assert isinstance(transport, PackageTransport)
    assert transport.target() == Target("a", "https://there", "web")
    transport.close()
    with pytest.raises(TransportError, match="not on PATH"):
        open_transport(Connection(kubeconfig=str(config)), prefer="kubectl")
    monkeypatch.setenv("ARGO_RESCUE_TRANSPORT", "pigeon")
    with pytest.raises(UsageError, match="pigeon"):
        open_transport(Connection(kubeconfig=str(config)))


def test_an_installation_without_the_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TransportError) as caught:
        open_transport(Connection(), prefer="package")
    assert str(caught.value) == (
        "the Python package kubernetes is not in this installation; "
        "set ARGO_RESCUE_TRANSPORT=kubectl, or install with: pipx install kubectl-argo-rescue"
    )
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("KUBECTL_PATH", raising=False)
    monkeypatch.delenv("ARGO_RESCUE_TRANSPORT", raising=False)
    with pytest.raises(TransportError, match="put kubectl on PATH"):
        open_transport(Connection())


def test_the_folder_of_a_proxy_that_just_starts_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    folder = Path("argo-rescue-proxy-x")
    folder.mkdir()
    lock = _locked(str(folder))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s"))  # and does not listen yet
        _sweep(".")
        assert folder.exists()
        os.close(lock)  # as the kernel does when its owner is killed
        _sweep(".")
        assert not folder.exists()


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGO_RESCUE_TRANSPORT", "package")
    with pytest.raises(Refused, match="--as needs kubectl"):
        open_transport(Connection(as_user="carol"))


@pytest.mark.parametrize(
    ("said", "sent", "lasting"),
    [
        ("dial tcp 10.0.0.1:6443: connect: connection refused", False, False),
        ("dial tcp 10.0.0.1:6443: i/o timeout", False, False),
        ("dial tcp: lookup gone.example: no such host", False, True),
        ("proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused", False, False),
        ("net/http: TLS handshake timeout", False, False),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", False, True),
        ("remote error: tls: bad certificate", False, True),
        ("getting credentials: exec: executable login failed with exit code 1", False, True),
        ("http: server gave HTTP response to HTTPS client", False, True),
        ("read tcp 10.0.0.2:5->10.0.0.1:6443: read: connection reset by peer", True, False),
        ("unexpected EOF", True, False),
        ("http2: client connection lost", True, False),
        ("context deadline exceeded", True, False),
        ("local error: tls: bad record MAC", True, False),
        ("", True, False),
    ],
)
def test_what_the_proxy_says_of_itself(said: str, sent: bool, lasting: bool) -> None:
    error = proxy_fault(said)
    assert (error.sent, error.lasting) == (sent, lasting)
    assert "\n" not in error.message


def test_the_install_hint_of_a_plugin_is_the_hint() -> None:
    advice = "It looks like you are trying to use a client-go credential plugin that is not installed."
    more = "To learn more about this feature, consult the documentation available at:\n  https://x"
    said = f"getting credentials: exec: executable login not found\n\n{advice}\n\n{more}"
    assert proxy_fault(said).hint == ""
    error = proxy_fault(f"{said}\n\nrun: cloud components install login")
    assert error.hint == "run: cloud components install login"
    assert error.message == "no credentials for the API server: exec: executable login not found"


def test_localhost_8080_is_explained() -> None:
    error = proxy_fault("dial tcp 127.0.0.1:8080: connect: connection refused")
    assert "no kubeconfig names a server" in error.hint


def test_a_deadline_is_extended_at_most_once() -> None:
    asked = []

    def more() -> float:
        asked.append(1)
        return 60

    deadline = Deadline(0, more)
    assert 0 < deadline.remaining() <= 60
    assert not deadline.extend()
    assert asked == [1]
    with pytest.raises(TimeoutError):
        Deadline(0, None).remaining()
    with pytest.raises(TimeoutError):
        Deadline(0, lambda: None).remaining()


def test_what_was_asked_ahead_is_waited_for_as_long_as_who_asks_says() -> None:
    comes = threading.Event()

    def send() -> Response:
        assert comes.wait(60)
        return Response(200, {}, b"it")

    late, in_time = _Ahead("/version", send), _Ahead("/version", send)
    with pytest.raises(TransportError, match="no answer from the API server within 0.1 s"):
        late.answer(Deadline(0.1, None))
    comes.set()
    assert in_time.answer(Deadline(60, None)).body == b"it"


def test_a_prompt_is_no_log() -> None:
    for text in (b"E", b"E1", b"E1124 18:06", b"2026/11/2"):
        assert _may_be_log(text), text
    for text in (b"", b"En", b"Enter", b"Password: ", b"2026-11", b"E11a"):
        assert not _may_be_log(text), text


def test_text_from_elsewhere_becomes_one_harmless_line() -> None:
    assert brief("  a\r\n\tb\x00c\x1b[2Jd\x9b31me\u202ef ") == "a b c d 31me f"
    assert brief("x" * 20, 10) == "xxxxxxxxx…"


def test_nothing_is_started_without_kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("KUBECTL_PATH", raising=False)
    with pytest.raises(TransportError) as caught:
        KubectlTransport(Connection())
    assert caught.value.lasting and not caught.value.sent


def test_the_authority_is_that_of_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "said"
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$*" >> {said}.args\ncat {said}\n')
    program.chmod(0o755)
    (tmp_path / "ca.crt").write_text("PEM")
    monkeypatch.setattr("kubectl_argo_rescue.cluster.kubectl.Proxy", lambda command: None)

    def authority(**flags: str) -> str:
        config = str(tmp_path / "config")
        return KubectlTransport(Connection(kubeconfig=config, **flags), str(program)).authority()  # type: ignore[arg-type]

    for answer, expected in (("UEVN\n", "PEM"), ("\nca.crt", "PEM"), ("\nnone.crt", "none.crt"), ("\n", "")):
        said.write_text(answer)
        assert authority(context="b") == expected
    assert "--context=b" in Path(f"{said}.args").read_text()
    assert authority(cluster="other") == ""
    assert authority(certificate_authority=str(tmp_path / "ca.crt")) == "PEM"
