"""The connection that is opened while the program still loads.

Covered: what was asked ahead is sent once and answers the first who asks; what went wrong with it is
told there; closing ends it; what it speaks for is known without a second kubectl, where that is certain; it is taken for the same flags only, and never where the `kubernetes`
package is asked for.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from kubectl_argo_rescue.cluster import connect
from kubectl_argo_rescue.cluster.connect import FIRST
from kubectl_argo_rescue.cluster.direct import PackageTransport
from kubectl_argo_rescue.cluster.kubectl import KubectlTransport
from kubectl_argo_rescue.cluster.transport import Connection, Target
from kubectl_argo_rescue.model.errors import TransportError
from tests.testbed.control_plane import ControlPlane
from tests.testbed.kubeconfigs import script


@pytest.fixture
def connection(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("KUBECTL_PATH", str(control_plane.bin / "kubectl"))
    return Connection(kubeconfig=str(control_plane.kubeconfig()))


def _asked(control_plane: ControlPlane, since: int) -> list[str]:
    return [e.uri for e in control_plane.audit(since) if e.agent.startswith("kubectl-argo-rescue/")]


def test_it_is_sent_once(control_plane: ControlPlane, connection: Connection) -> None:
    since = control_plane.audit_mark()
    connect.start(connection, FIRST)
    with closing(connect.open_transport(connection)) as transport:
        first = transport.request("GET", FIRST)
        assert (first.status, _asked(control_plane, since)) == (200, [FIRST])
        assert transport.request("GET", FIRST).body == first.body
        assert _asked(control_plane, since) == [FIRST, FIRST]
        assert transport.target().server == f"https://127.0.0.1:{control_plane.port}"


def test_another_request_does_not_wait_for_it(control_plane: ControlPlane, connection: Connection) -> None:
    connect.start(connection, FIRST)
    with closing(connect.open_transport(connection)) as transport:
        assert transport.request("GET", "/api/v1/namespaces/default").status == 200
        assert transport.request("GET", FIRST, (("limit", "1"),)).status == 200


def test_the_target_costs_no_second_kubectl(
    control_plane: ControlPlane, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> NoReturn:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(KubectlTransport, "_start_view", never)
        connect.start(connection, FIRST)
        with closing(connect.open_transport(connection)) as transport:
            assert transport.request("GET", FIRST).status == 200
            assert transport.target() == Target("testbed", f"https://127.0.0.1:{control_plane.port}", "")


@pytest.mark.parametrize("why", ["wrapper", "changed", "in JSON", "not asked yet"])
def test_kubectl_is_asked_where_the_target_is_not_certain(
    why: str, control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[KubectlTransport] = []
    start_view = KubectlTransport._start_view

    def counted(transport: KubectlTransport) -> subprocess.Popen[bytes]:
        asked.append(transport)
        return start_view(transport)

    monkeypatch.setattr(KubectlTransport, "_start_view", counted)
    kubectl = control_plane.bin / "kubectl"
    text = control_plane.kubeconfig().read_text()
    config = tmp_path / "config"
    config.write_text(json.dumps(yaml.safe_load(text)) if why == "in JSON" else text)
    program = script(tmp_path / "wrapper", f'exec {kubectl} "$@"') if why == "wrapper" else kubectl
    with closing(KubectlTransport(Connection(kubeconfig=str(config)), str(program))) as transport:
        if why != "not asked yet":
            assert transport.request("GET", FIRST).status == 200
        if why == "changed":
            config.write_text(text.replace("testbed", "another"))
        expected = "another" if why == "changed" else "testbed"
        assert transport.target().context == expected
        assert asked == [transport]


def test_what_went_wrong_is_told_to_who_asks(tmp_path: Path, connection: Connection) -> None:
    nowhere = tmp_path / "config"
    nowhere.write_text("{apiVersion: v1, kind: Config")
    broken = Connection(kubeconfig=str(nowhere))
    connect.start(broken, FIRST)
    with closing(connect.open_transport(broken)) as transport:
        with pytest.raises(TransportError) as failed:
            transport.request("GET", FIRST)
        assert failed.value.lasting
        with pytest.raises(TransportError):
            transport.target()


def test_only_the_same_flags_take_it(connection: Connection) -> None:
    connect.start(connection, FIRST)
    ((_, waiting),) = connect._started
    assert isinstance(waiting, KubectlTransport)
    other = Connection(kubeconfig=connection.kubeconfig, as_user="carol")
    with closing(connect.open_transport(other)) as transport:
        assert transport is not waiting
    assert connect._started == []
    with pytest.raises(TransportError, match="closed"):
        waiting.request("GET", "/version")


def test_the_package_is_not_started(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(connect.VARIABLE, "package")
    connect.start(connection, FIRST)
    assert connect._started == []
    with closing(connect.open_transport(connection)) as transport:
        assert isinstance(transport, PackageTransport)
