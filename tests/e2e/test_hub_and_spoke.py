"""An app whose workloads live in another real cluster than Argo CD: the way there is found without a flag.

On both versions:
- `status` shows the workloads by the context that leads there, `rescue` watches them to the end;
- the drill's scenario ends as on the simulation;
- without a context Argo CD's word is taken, and that is said;
On the newest alone:
- by the CA where the context has another address; a context that leads elsewhere is refused before any write;
- a cluster that is away costs `status` nothing but a line;
- `rescue --workloads` goes there by itself while the charts cannot be fetched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.argocd import CHARTS, ArgoCD
from tests.testbed.control_plane import ControlPlane
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.spoke import SPOKE, address, kubeconfig, spoke

from .scene import Scene, edits
from .test_drill import solve, staged

NEWEST = "3.6"


@pytest.fixture(scope="module")
def edge(argocd: ArgoCD) -> Iterator[ControlPlane]:
    with spoke(argocd) as cluster:
        yield cluster


class Laptop:
    """The plugin with a kubeconfig that knows the hub and some other contexts."""

    def __init__(self, plugin: Plugin, folder: Path) -> None:
        self.plugin, self.folder = plugin, folder
        self.others: dict[str, Path] = {}

    def __call__(self, *words: str, check: bool = False, told: bool = True) -> tuple[int, str, str]:
        """Run a command; without being `told` of them, its kubeconfig has the hub alone."""
        hub = self.plugin.control_plane.kubeconfig("admin")
        path = kubeconfig(self.folder / "config", hub, self.others if told else {})
        done = self.plugin(*words, env={"KUBECONFIG": str(path)}, check=check)
        return done.returncode, done.stdout, done.stderr


def test_the_way_to_the_workloads_is_found(
    argocd: ArgoCD, plugin: Plugin, scene: Scene, edge: ControlPlane, tmp_path: Path
) -> None:
    scene.spoke = edge
    scene.start().upgrade()
    run = Laptop(plugin, tmp_path)
    run.others[SPOKE] = edge.kubeconfig("admin")
    argocd.until(lambda: not scene.deployment()["status"].get("availableReplicas"), 60, "its pods crash")

    shown = run("status", scene.app, check=True)[1]
    assert f"WORKLOADS, seen by context {SPOKE}" in shown and "0 of 2 available" in shown, shown
    blind = run("status", scene.app, told=False, check=True)[1]
    assert "not looked at: no context of the kubeconfig is known to lead there" in blind, blind

    code, out, err = run("rescue", scene.app, "--yes", "-o", "json")
    assert code == 0, out + err
    data = json.loads(out)["data"]
    assert scene.is_serving(GOOD), "it ended before the truth"
    assert data["unverified"] == []
    assert [p["text"] for p in data["parts"] if p["part"].startswith("Deployment")] == ["2 of 2 available"]
    assert f"seen by context {SPOKE}" in err

    data = json.loads(run("watch", scene.app, "-o", "json", told=False, check=True)[1])["data"]
    [why] = data["unverified"]
    assert address(edge) in why and "--destination-context NAME" in why
    if argocd.version == NEWEST:
        _wrong_ways(argocd, run, scene, edge)
        _workloads_alone(argocd, run, scene)


def test_the_drill(
    argocd: ArgoCD, plugin: Plugin, edge: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Laptop(plugin, tmp_path)
    run.others[SPOKE] = edge.kubeconfig("admin")
    path = kubeconfig(tmp_path / "config", argocd.kubeconfig(), run.others)
    monkeypatch.setattr(plugin, "environment", partial(_with, plugin.environment, {"KUBECONFIG": str(path)}))
    with staged(argocd, plugin, "hub-and-spoke", edge) as stage:
        solve(stage)
        assert f"seen by context {SPOKE}" in "".join(stage.told)


def _with(
    environment: Callable[..., dict[str, str]], more: dict[str, str], *args: Any, **kwargs: Any
) -> dict[str, str]:
    return {**environment(*args, **kwargs), **more}


def _wrong_ways(argocd: ArgoCD, run: Laptop, scene: Scene, edge: ControlPlane) -> None:
    # By another address, as over a tunnel or a public endpoint: the CA tells.
    other = run.folder / "other-address"
    other.write_text(edge.kubeconfig("admin").read_text().replace("127.0.0.1", "localhost"))
    run.others[SPOKE] = other
    seen = run("watch", scene.app, "-o", "json", check=True)
    assert json.loads(seen[1])["data"]["unverified"] == [], seen

    mark = argocd.control_plane.audit_mark()
    for words in (["rescue", scene.app, "2.4.0"], ["rescue", scene.app, "--workloads"], ["watch", scene.app]):
        code, _, err = run(*words, "--destination-context", "testbed", *(["--yes"] * (words[0] != "watch")))
        assert code == 5 and "context testbed does not lead to the cluster" in err, (words, err)
    assert not edits(argocd.control_plane, mark)

    edge.stop_apiserver()
    try:
        code, out, err = run("status", scene.app)
        assert code == 0 and f"context {SPOKE} does not answer" in out, out + err
    finally:
        edge.start_apiserver()


def _workloads_alone(argocd: ArgoCD, run: Laptop, scene: Scene) -> None:
    run("undo", "--redeploy", "--yes", check=True)
    argocd.until(lambda: scene.chart_version() == BROKEN, 60, "the broken version is back")
    argocd.until_idle(scene.app)
    argocd.stop(CHARTS)
    try:
        code, out, err = run("rescue", scene.app, "--workloads", "--yes")
        assert code == 0, out + err
        assert scene.is_serving(GOOD)
    finally:
        argocd.start(CHARTS)
