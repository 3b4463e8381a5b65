"""What is read of a server itself where much of Argo CD is elsewhere: who else writes, a managed Argo CD, several clusters.

- managed fields as a real API server keeps them name the writers of what is edited, and a copy is refused;
- without controllers, `argocd-cm` or a namespace to guess, Argo CD is found by its Applications, edited and undone;
- `status`, `log` and `windows` ask two clusters and name a third one that does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import spoke
from tests.testbed.api import JSON
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, project

NAMESPACE = "gitops-of-the-provider"
SOURCE = {"repoURL": "https://charts.invalid", "chart": "traefik", "targetRevision": "2.5.1"}


@pytest.fixture(scope="module")
def managed() -> Iterator[ControlPlane]:
    """A cluster in which nothing of Argo CD runs, with Applications that one outside acts on."""
    with ControlPlane("3.6") as running:
        running.namespace(NAMESPACE)
        running.apply(project("default", namespace=NAMESPACE))
        yield running


@pytest.fixture
def plugin(managed: ControlPlane, tmp_path: Path) -> Plugin:
    return Plugin(managed, tmp_path / "homes")


@pytest.fixture
def app(managed: ControlPlane) -> Iterator[str]:
    """An application, as an Argo CD elsewhere leaves it."""
    made: JSON = application("traefik", SOURCE, namespace=NAMESPACE)
    compared = {"source": SOURCE, "destination": made["spec"]["destination"]}
    made["status"] = {
        "controllerNamespace": NAMESPACE,
        "health": {"status": "Healthy"},
        "sync": {"status": "Synced", "revision": "2.5.1", "comparedTo": compared},
    }
    managed.api.create(made)
    yield "traefik"
    managed.api.delete("application", "traefik", NAMESPACE)


def _write_as(plane: ControlPlane, manager: str, body: JSON) -> None:
    path = plane.api.kind("application").path(NAMESPACE, "traefik")
    query = {"fieldManager": manager}
    plane.api.request("PATCH", path, body, content_type="application/merge-patch+json", query=query)


def test_a_managed_argo_cd_is_found_and_edited(managed: ControlPlane, plugin: Plugin, app: str) -> None:
    told = plugin("status", "-o", "json", check=True)
    assert json.loads(told.stdout)["data"]["argocd"]["namespace"] == NAMESPACE
    pinned = plugin("pin", app, "2.4.1", "--no-sync", "--yes", "-n", NAMESPACE)
    assert pinned.returncode == 0, pinned.stderr
    assert managed.api.get("application", app, NAMESPACE)["spec"]["source"]["targetRevision"] == "2.4.1"
    frozen = plugin("freeze")
    assert frozen.returncode == 5 and "pause --all" in frozen.stderr, frozen.stderr
    undone = plugin("undo", "--yes", "--redeploy")
    assert undone.returncode in (0, 5), undone.stderr  # nobody compares here


def test_who_else_writes_is_read_from_real_managed_fields(
    managed: ControlPlane, plugin: Plugin, app: str
) -> None:
    _write_as(managed, "Terraform", {"spec": {"source": {"targetRevision": "2.5.2"}}})
    _write_as(managed, "some-pipeline", {"spec": {"destination": {"namespace": "other"}}})
    planned = plugin("pin", app, "2.4.1", "--dry-run", "-n", NAMESPACE, check=True)
    assert "Terraform (/spec/source last written as Terraform" in planned.stderr
    assert "some-pipeline" not in planned.stderr
    shown = plugin("status", app, "-n", NAMESPACE, check=True).stdout
    assert "Terraform" in shown and "nobody owns" not in shown
    _write_as(managed, "kargo", {"operation": {"sync": {}}})
    ended = plugin("terminate", app, "--no-wait", "--yes", "-n", NAMESPACE)
    assert ended.returncode == 0, ended.stderr
    assert "Kargo (/operation last written as kargo" in ended.stderr


@pytest.mark.parametrize("words", [("pin", "traefik", "2.4.1"), ("pause", "traefik"), ("sync", "traefik")])
def test_a_copy_is_refused(managed: ControlPlane, plugin: Plugin, app: str, words: tuple[str, ...]) -> None:
    _write_as(managed, "agent", {"metadata": {"annotations": {"argocd.argoproj.io/source-uid": "u-1"}}})
    mark = managed.audit_mark()
    refused = plugin(*words, "--yes", "-n", NAMESPACE)
    assert refused.returncode == 5 and "do it on the hub" in refused.stderr, refused.stderr
    assert not [e.uri for e in managed.audit(mark) if e.verb == "patch"]
    assert managed.api.get("application", app, NAMESPACE)["spec"]["source"]["targetRevision"] == "2.5.1"


@pytest.mark.usefixtures("app")
def test_several_clusters_answer_side_by_side(
    managed: ControlPlane, control_plane: ControlPlane, plugin: Plugin, tmp_path: Path
) -> None:
    control_plane.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}}
    )
    both = {"other": control_plane.kubeconfig(), "away": control_plane.kubeconfig()}
    kubeconfig = spoke.kubeconfig(tmp_path / "config", managed.kubeconfig(), both)
    port = control_plane.processes.ports.take()
    text = kubeconfig.read_text()
    before, cluster, after = text.rpartition(f"https://127.0.0.1:{control_plane.port}")
    assert cluster
    kubeconfig.write_text(f"{before}https://127.0.0.1:{port}{after}")
    env = {"KUBECONFIG": str(kubeconfig)}
    for verb in ("status", "log", "windows"):
        asked = plugin(verb, "--contexts=all", "-o", "json", "--request-timeout=10s", env=env)
        assert asked.returncode == 4, asked.stderr
        found = json.loads(asked.stdout)["data"]["contexts"]
        assert set(found) == {"testbed", "other", "away"}
        assert [name for name, answer in found.items() if answer.get("error")] == ["away"], found
    table = plugin("status", "--contexts=testbed,other", env=env)
    assert table.returncode == 0 and "testbed   1 in all" in table.stdout, table.stdout + table.stderr
