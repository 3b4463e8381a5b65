"""`rollback` on real controllers: an operation from history that works with auto-sync on, and stays.

- the last good version, an id, a version; `--wait` and `watch` end well though the app is OutOfSync
  with its spec, and say so where another operation came after it;
- auto-sync is paused, so it stays over several comparisons and commits; undo asks before what it
  rolls out, and asks nothing once git agrees;
- several sources go back together, with their values;
- in a sync window, with an operation in progress, for what history has not: refused, with what to do.
"""

from __future__ import annotations

import json

import pytest

from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin

from .scene import Scene, edited, edits, is_auto_sync_on, looked_again, settle, text_of, without_repeats

NEWER = "2.6.0"


def _stays(scene: Scene, version: str) -> None:
    for look in range(3):
        if look == 1:
            scene.unrelated_commit()
        for app in (scene.root, scene.app):
            looked_again(scene.argocd, app)
        assert scene.is_serving(version), f"look {look}"
    assert scene.live()["status"]["sync"]["status"] == "OutOfSync"


@pytest.mark.core
def test_it_stays_with_auto_sync_on(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(NEWER).upgrade(BROKEN)
    past = scene.live()["status"]["history"]
    # Argo CD may sync the same twice where its own cache lags behind.
    assert without_repeats([h["revision"] for h in past]) == [GOOD, NEWER, BROKEN]
    ids = {h["revision"]: h["id"] for h in past}
    before = text_of(scene.specs())

    # What history has not is named with what it has.
    unknown = plugin("rollback", scene.app, "--to", "9.9.9")
    assert unknown.returncode == 1
    assert all(f"{ids[version]} ({version})" in unknown.stderr for version in (NEWER, GOOD))

    mark = argocd.control_plane.audit_mark()
    done = plugin("rollback", scene.app, "--wait", "--yes", check=True)
    assert f"rolled back to {NEWER} and healthy" in done.stdout
    assert "a rollback leaves the spec as it is" in done.stdout
    assert scene.is_serving(NEWER), "it ended before the truth"
    written = edited(argocd.control_plane, mark)
    paused = [] if is_auto_sync_on(scene.live_root()) else [scene.root]
    assert written == [*paused, scene.app, scene.app], (
        "where the pause is an added key, the root need not be paused"
    )
    assert scene.revision() == BROKEN and not is_auto_sync_on(scene.live())
    _stays(scene, NEWER)
    watched = plugin("watch", scene.app, "-o", "json", check=True)
    assert json.loads(watched.stdout)["data"]["state"] == "succeeded"

    # By version and by id, with auto-sync off already.
    plugin("rollback", scene.app, "--to", GOOD, "--wait", "--yes", check=True)
    assert scene.is_serving(GOOD)
    plugin("rollback", scene.app, "--to", ids[NEWER], "--yes", check=True)
    plugin("watch", scene.app, check=True)
    assert scene.is_serving(NEWER)
    last = scene.live()["status"]["history"][-1]
    assert last["source"]["targetRevision"] == NEWER

    # Another operation after it: the watch is about the spec again.
    plugin("sync", scene.app, check=True)
    argocd.until(lambda: scene.chart_version() == BROKEN, 120, "the sync moved it forward")
    settle(argocd, scene.app)
    assert plugin("watch", scene.app, "--timeout", "2s").returncode == 6
    plugin("rollback", scene.app, "--to", GOOD, "--wait", "--yes", check=True)

    # Auto-sync would roll the broken version out: that needs a yes, until git agrees.
    refused = plugin("undo")
    assert refused.returncode == 5 and "change Deployment traefik" in refused.stderr
    scene.commit(version=GOOD)
    argocd.follow_git(scene.root)
    if not paused:
        argocd.until(lambda: scene.revision() == GOOD, 120, "the root brought it")
    looked_again(argocd, scene.app)
    with scene.unmoved():
        plugin("undo", check=True)
    assert text_of(scene.specs()) == before.replace(BROKEN, GOOD)


@pytest.mark.core
def test_several_sources_go_back_together(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    folder = f"{scene.name}-values"

    def sources(version: str) -> list[dict[str, object]]:
        chart = {"repoURL": argocd.charts.url, "chart": "traefik", "targetRevision": version}
        helm = {"releaseName": "traefik", "valueFiles": [f"$values/{folder}/values.yaml"]}
        values: dict[str, object] = {
            "repoURL": argocd.repository.url,
            "targetRevision": "main",
            "ref": "values",
        }
        return [{**chart, "helm": helm}, values]

    scene.source = sources(GOOD)
    scene.start((f"{folder}/values.yaml", "arguments: [old]\n"))
    good = scene.live()["status"]["history"][-1]["revisions"]
    scene.commit((f"{folder}/values.yaml", "arguments: [new]\n"), source=sources(BROKEN))
    argocd.follow_git(scene.root)
    argocd.until(lambda: scene.chart_version() == BROKEN, 120, f"{BROKEN} is deployed")
    argocd.until_idle(scene.app)

    def arguments() -> list[str]:
        found: list[str] = scene.deployment()["spec"]["template"]["spec"]["containers"][0]["args"]
        return found

    assert arguments() == ["new"]
    plugin("rollback", scene.app, "--to", GOOD, "--wait", "--yes", check=True)
    assert scene.is_serving(GOOD) and arguments() == ["old"]
    last = scene.live()["status"]["history"][-1]
    assert last["revisions"] == good and last["sources"] == sources(GOOD)
    assert scene.live()["spec"]["sources"] == sources(BROKEN)
    _stays(scene, GOOD)
    assert arguments() == ["old"]


def test_what_could_not_run_is_refused(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).freeze()
    mark = argocd.control_plane.audit_mark()
    refused = plugin("rollback", scene.app)
    assert refused.returncode == 5
    assert f"unblock {scene.app}" in refused.stderr and "sync windows stop it" in refused.stderr
    assert not edits(argocd.control_plane, mark)

    # One that waits in the window is in the way as well.
    argocd.api.patch("application", scene.app, argocd.namespace, {"operation": {"sync": {}}})
    argocd.until(
        lambda: "blocked" in scene.live()["status"]["operationState"]["message"], 120, "the window holds it"
    )
    refused = plugin("rollback", scene.app)
    assert refused.returncode == 5 and f"terminate {scene.app}" in refused.stderr
    plugin("terminate", scene.app, "--yes", check=True)

    plugin("unblock", scene.app, "--yes", check=True)
    plugin("rollback", scene.app, "--wait", "--yes", check=True)
    _stays(scene, GOOD)
