"""`rescue --workloads` on real controllers, with sources that cannot be fetched (argo-cd#21480).

- the chart repository or the repo-server stopped: a plain rescue sees it before it starts and names
  `--workloads`, which brings the pods of 2.4.1 back, and it holds over several comparisons; a second
  one does not roll the broken version out again;
- neither journal home holds a template; a dry run writes nothing;
- undo refuses with 5 while the sources are away and while git asks for 2.5.1; once git asks for 2.4.1
  it moves no workload, also where the app-of-apps was paused and brings the version only then;
- a StatefulSet, a DaemonSet and a Deployment of a git app go back together; one that the failing
  commit did not change stays as it is; a paused Deployment is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import CHARTS, REDIS, REFRESH, REPO_SERVER, ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import JOURNAL, Scene, edits, footprint, is_auto_sync_on, looked_again, text_of


@contextmanager
def _stopped(argocd: ArgoCD, part: str) -> Iterator[None]:
    argocd.stop(part)
    try:
        yield
    finally:
        argocd.start(part)


def _next_second(scene: Scene) -> None:
    """Give each deployment a second of its own: times of Argo CD and Kubernetes have no fractions."""
    now = int(time.time())
    scene.argocd.until(lambda: int(time.time()) > now, 5, "the next second")


def _incident(scene: Scene) -> None:
    """Bring it to the broken version."""
    scene.start()
    _next_second(scene)
    scene.upgrade()


def _errors(app: JSON) -> list[str]:
    found: list[str] = [c["type"] for c in app["status"].get("conditions", ())]
    return found


def _until_unfetchable(scene: Scene) -> None:
    """Have the app compared without caches until Argo CD says that it cannot, and goes on saying so.

    A later comparison would find the manifests of before in redis, and all would look well again.
    """
    scene.argocd.stop(REDIS)
    scene.argocd.start(REDIS)
    asked = 0.0

    def says_so() -> bool:
        nonlocal asked
        if time.monotonic() - asked > 3:
            asked = time.monotonic()
            scene.argocd.refresh(scene.app, hard=True)
        return "ComparisonError" in _errors(scene.live())

    scene.argocd.until(says_so, 60, "Argo CD cannot compare")


def _until_fetchable(scene: Scene) -> None:
    scene.argocd.until(
        lambda: "ComparisonError" not in _errors(looked_again(scene.argocd, scene.app)), 60, "it compares"
    )


def _journal(argocd: ArgoCD, plugin: Plugin) -> str:
    """Return both homes as one text."""
    kept = [json.dumps(o.get("data")) for o in argocd.api.list("configmap", argocd.namespace, JOURNAL)]
    files = [p.read_text() for p in Path(plugin.home).rglob("*.jsonl")]
    assert kept and files
    return "\n".join([*kept, *files])


@pytest.mark.core
@pytest.mark.parametrize("part", [CHARTS, REPO_SERVER])
def test_sources_that_cannot_be_fetched(argocd: ArgoCD, plugin: Plugin, scene: Scene, part: str) -> None:
    _incident(scene)
    with _stopped(argocd, part):
        _until_unfetchable(scene)

        # It is seen before anything is written.
        mark = argocd.control_plane.audit_mark()
        refused = plugin("rescue", scene.app)
        assert refused.returncode == 5, refused.stderr
        assert f"kubectl argo-rescue rescue {scene.app} --workloads" in refused.stderr
        for how in ("client", "server"):
            dry = plugin("rescue", scene.app, "--workloads", f"--dry-run={how}", check=True)
            assert "deployment.apps/traefik rolled back" in dry.stdout
        assert "containers" not in dry.stdout + dry.stderr
        assert not [e for e in edits(argocd.control_plane, mark) if "dryRun" not in e.uri]
        before = scene.deployment()["metadata"]["generation"]

        done = plugin("rescue", scene.app, "--workloads", "--yes", "--reason", "charts are gone")
        assert done.returncode == 0, done.stdout + done.stderr
        assert scene.is_serving(GOOD), "it ended before the truth"
        assert "deployment.apps/traefik is at revision 1 again, no more 2: 2 of 2 available" in done.stdout
        live = scene.deployment()
        assert live["metadata"]["generation"] == before + 1
        assert not is_auto_sync_on(scene.live())
        text = _journal(argocd, plugin)
        assert '"rollout"' in text or '\\"rollout\\"' in text
        assert not any(word in text for word in ("containers", "template", "chart-version"))

        # Asked again it does not go back to the broken one, as `kubectl rollout undo` twice does.
        again = plugin("rescue", scene.app, "--workloads", "--yes", check=True)
        assert "taken back already" in again.stdout + again.stderr
        assert scene.deployment()["metadata"]["generation"] == before + 1

        early = plugin("undo")
        assert early.returncode == 5, early.stderr
        assert "Argo CD" in early.stderr
        assert "nothing was changed" in early.stderr or "as it was before" in early.stderr
        assert not is_auto_sync_on(scene.live())

    # The sources are back, git still asks for 2.5.1: it holds, and undo refuses.
    _until_fetchable(scene)
    for _ in range(3):
        looked_again(argocd, scene.app)
        looked_again(argocd, scene.root)
        assert scene.is_serving(GOOD)
    mark = argocd.control_plane.audit_mark()
    unfixed = plugin("undo")
    assert unfixed.returncode == 5, unfixed.stderr
    assert "change Deployment traefik" in unfixed.stderr and argocd.repository.url in unfixed.stderr
    if is_auto_sync_on(scene.live_root()):  # else it had to be paused as well, and is asked under a hold
        assert not edits(argocd.control_plane, mark)
    shown = plugin(
        "show", json.loads(plugin("log", "--open", "-o", "json").stdout)["data"]["entries"][-1]["id"]
    )
    assert "Workloads taken back:" in shown.stdout and "revision 1" in shown.stdout, shown.stdout

    # git is fixed.
    scene.commit(version=GOOD)
    argocd.follow_git(scene.root)
    if is_auto_sync_on(scene.live_root()):
        argocd.until(lambda: scene.revision() == GOOD, 60, "the root brought it")
    with _no_pod_moves(scene):
        undone = plugin("undo")
        assert undone.returncode == 0, undone.stdout + undone.stderr
        assert is_auto_sync_on(scene.live())
    assert "handed back" in undone.stdout + undone.stderr
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""
    assert argocd.until_idle(scene.app)["status"]["sync"]["status"] == "Synced"


def test_the_root_was_paused_too(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    """The version in git reaches the app only when its root is back: root first, then the app."""
    _incident(scene)
    plugin("pause", scene.root, check=True)
    plugin("rescue", scene.app, "--workloads", "--yes", check=True)
    assert scene.is_serving(GOOD)
    unfixed = plugin("undo")
    assert unfixed.returncode == 5 and "nothing was changed" in unfixed.stderr, unfixed.stderr

    # A commit that has nothing to do with it is no fix: the root goes back, the app stays paused.
    scene.unrelated_commit()
    scene.commit(version=GOOD)
    with _no_pod_moves(scene):
        undone = plugin("undo")
        assert undone.returncode == 0, undone.stdout + undone.stderr
    assert scene.revision() == GOOD
    assert is_auto_sync_on(scene.live()) and is_auto_sync_on(scene.live_root())
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""


def test_redeploy_hands_back_whatever_rolls(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _incident(scene)
    plugin("rescue", scene.app, "--workloads", "--yes", check=True)
    assert scene.is_serving(GOOD)
    plugin("undo", "--redeploy", "--yes", check=True)
    argocd.until(lambda: scene.chart_version() == BROKEN, 60, "Argo CD rolled it forward")


@contextmanager
def _no_pod_moves(scene: Scene) -> Iterator[None]:
    """Show that neither pods, ReplicaSets nor any template move.

    Labels of a Deployment itself are Argo CD's to bring; with them comes another last-applied
    annotation, and the generation of a Deployment counts annotations.
    """

    def pods() -> list[str]:
        found = scene.argocd.api.list("pod", scene.target)
        kept = [o["metadata"] for o in found if "deletionTimestamp" not in o["metadata"]]
        return sorted(f"{meta['name']} {meta['uid']}" for meta in kept)

    def sets() -> object:
        return footprint(scene.argocd, scene.target)["replicaset"]

    before = pods(), sets()
    with scene.watched() as watch:
        yield
        scene.settle()
        assert (pods(), sets()) == before
    assert len(watch.versions) == 1, watch.versions


def _workload(kind: str, name: str, version: str) -> dict[str, object]:
    labels = {"app": name}
    spec: dict[str, object] = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": {**labels, "chart-version": version}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": f"registry.invalid/{name}:{version}"}],
            },
        },
    }
    if kind != "DaemonSet":
        spec["replicas"] = 2
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


KINDS = {"deploy": "Deployment", "stateful": "StatefulSet", "daemon": "DaemonSet"}


def _commit(scene: Scene, version: str, *, other: str = "1") -> None:
    _next_second(scene)
    objects = [_workload(kind, name, version) for name, kind in KINDS.items()]
    scene.argocd.git(
        (f"{scene.name}-workloads/all.yaml", manifest(*objects, _workload("Deployment", "other", other))),
        message=f"workloads {version}",
    )


def _versions(scene: Scene) -> dict[str, str]:
    return {
        name: scene.argocd.get(kind, name, scene.target)["spec"]["template"]["metadata"]["labels"][
            "chart-version"
        ]
        for name, kind in {**KINDS, "other": "Deployment"}.items()
    }


def _generations(scene: Scene) -> dict[str, int]:
    kinds = {**KINDS, "other": "Deployment"}
    return {n: scene.argocd.get(k, n, scene.target)["metadata"]["generation"] for n, k in kinds.items()}


def test_every_kind_of_workload(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.source = {
        "repoURL": argocd.repository.url,
        "path": f"{scene.name}-workloads",
        "targetRevision": "main",
    }

    def deployed(version: str, other: str) -> None:
        argocd.follow_git(scene.app)
        want = {**dict.fromkeys(KINDS, version), "other": other}
        argocd.until(lambda: _versions(scene) == want, 60, f"{version} is deployed")
        argocd.until_idle(scene.app)
        argocd.until_synced(scene.app)

    _commit(scene, "1", other="0")
    scene.start(wait=False)
    argocd.until(lambda: _versions(scene)["deploy"] == "1", 60, "1 is deployed")
    argocd.until_synced(scene.app)
    _commit(scene, "1", other="1")
    deployed("1", "1")
    _commit(scene, "2")
    deployed("2", "1")
    before = text_of(argocd.get("deployment", "other", scene.target)["spec"])

    with _stopped(argocd, REPO_SERVER):
        done = plugin("rescue", scene.app, "--workloads", "--yes", "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert _versions(scene) == {**dict.fromkeys(KINDS, "1"), "other": "1"}
        assert text_of(argocd.get("deployment", "other", scene.target)["spec"]) == before
        rolled = {w["name"]: (w["from"], w["to"], w["status"]) for w in told["data"]["workloads"]}
        assert rolled == dict.fromkeys(KINDS, (2, 1, "applied"))
        assert "template" not in done.stdout
        left = next(e for e in told["edits"] if e["name"] == "other")
        assert left["status"] == "unchanged" and "did not change it" in left["reason"]
        for name, kind in KINDS.items():
            status = argocd.get(kind, name, scene.target)["status"]
            assert (
                status["observedGeneration"] == argocd.get(kind, name, scene.target)["metadata"]["generation"]
            )
            updated = status.get("updatedNumberScheduled", status.get("updatedReplicas"))
            assert updated == status.get("numberAvailable", status.get("availableReplicas")) > 0

    _until_fetchable(scene)
    assert _versions(scene) == {**dict.fromkeys(KINDS, "1"), "other": "1"}
    refused = plugin("undo")
    assert refused.returncode == 5, refused.stderr
    assert all(kind in refused.stderr for kind in KINDS.values())
    stood = _generations(scene)
    _commit(scene, "1")
    plugin("undo", check=True)
    assert is_auto_sync_on(scene.live())
    scene.settle()
    assert _generations(scene) == stood


def test_a_paused_deployment_is_refused(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    _incident(scene)
    argocd.api.patch("deployment", "traefik", scene.target, {"spec": {"paused": True}})
    mark = argocd.control_plane.audit_mark()
    refused = plugin("rescue", scene.app, "--workloads", "--yes")
    assert refused.returncode == 5, refused.stderr
    assert f"kubectl -n {scene.target} rollout resume deployment/traefik" in refused.stderr
    assert not edits(argocd.control_plane, mark)


def test_another_cluster_needs_its_context(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    body = {"spec": {"destination": {"server": "https://elsewhere.invalid:6443"}}}
    plugin("pause", scene.root, check=True)
    argocd.api.patch("application", scene.app, argocd.namespace, body)
    refused = plugin("rescue", scene.app, "--workloads", "--yes")
    assert refused.returncode == 5, refused.stderr
    assert (
        "https://elsewhere.invalid:6443" in refused.stderr and "--destination-context NAME" in refused.stderr
    )
    assert REFRESH not in scene.live()["metadata"].get("annotations", {})
