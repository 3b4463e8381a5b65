"""The connection that is opened while the program still loads.

Covered: what was asked ahead is sent once and answers the first who asks; what went wrong with it is
told there; closing ends it; it is taken for the same flags only, and never where the `kubernetes`
package is asked for.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from kubectl_argo_rescue.errors import TransportError
from kubectl_argo_rescue.transports import Connection, choose
from kubectl_argo_rescue.transports.kubectl import KubectlTransport
from kubectl_argo_rescue.transports.package import PackageTransport
from kubectl_argo_rescue.world import FIRST
from tests.testbed.control_plane import ControlPlane


@pytest.fixture
def connection(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("KUBECTL_PATH", str(control_plane.bin / "kubectl"))
    return Connection(kubeconfig=str(control_plane.kubeconfig()))


def _asked(control_plane: ControlPlane, since: int) -> list[str]:
    return [e.uri for e in control_plane.audit(since) if e.agent.startswith("kubectl-argo-rescue/")]


def test_it_is_sent_once(control_plane: ControlPlane, connection: Connection) -> None:
    since = control_plane.audit_mark()
    choose.start(connection, FIRST)
    with closing(choose.open_transport(connection)) as transport:
        first = transport.request("GET", FIRST)
        assert (first.status, _asked(control_plane, since)) == (200, [FIRST])
        assert transport.request("GET", FIRST).body == first.body
        assert _asked(control_plane, since) == [FIRST, FIRST]
        assert transport.target().server == f"https://127.0.0.1:{control_plane.port}"


def test_another_request_does_not_wait_for_it(control_plane: ControlPlane, connection: Connection) -> None:
    choose.start(connection, FIRST)
    with closing(choose.open_transport(connection)) as transport:
        assert transport.request("GET", "/api/v1/namespaces/default").status == 200
        assert transport.request("GET", FIRST, (("limit", "1"),)).status == 200


def test_what_went_wrong_is_told_to_who_asks(tmp_path: Path, connection: Connection) -> None:
    nowhere = tmp_path / "config"
    nowhere.write_text("{apiVersion: v1, kind: Config")
    broken = Connection(kubeconfig=str(nowhere))
    choose.start(broken, FIRST)
    with closing(choose.open_transport(broken)) as transport:
        with pytest.raises(TransportError) as failed:
            transport.request("GET", FIRST)
        assert failed.value.lasting
        with pytest.raises(TransportError):
            transport.target()


def test_only_the_same_flags_take_it(connection: Connection) -> None:
    choose.start(connection, FIRST)
    ((_, waiting),) = choose._started
    assert isinstance(waiting, KubectlTransport)
    other = Connection(kubeconfig=connection.kubeconfig, as_user="carol")
    with closing(choose.open_transport(other)) as transport:
        assert transport is not waiting
    assert choose._started == []
    with pytest.raises(TransportError, match="closed"):
        waiting.request("GET", "/version")


def test_the_package_is_not_started(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choose.VARIABLE, "package")
    choose.start(connection, FIRST)
    assert choose._started == []
    with closing(choose.open_transport(connection)) as transport:
        assert isinstance(transport, PackageTransport)
