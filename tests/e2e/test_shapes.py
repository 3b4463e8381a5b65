"""Shapes of Applications and of installations, on real controllers.

- several sources with `$values`: the one that fits the version, or as named by name or index, or a
  question; a git branch is pinned to its commit;
- an app in another namespace; without a project; of a project that does not exist;
- a root that manages itself; skip-reconcile; a source hydrator: what cannot be done is said;
- tracking by label and by annotation and label; installationID; two Argo CDs in one cluster: found
  by what the app says, else asked for, never guessed.
"""

from __future__ import annotations

import pytest

from tests.testbed.argocd import ArgoCD, running
from tests.testbed.control_plane import ControlPlane
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, manifest, project

from .scene import Scene, edited, edits, is_auto_sync_on, looked_again, text_of, writes

SKIP = "argocd.argoproj.io/skip-reconcile"


@pytest.mark.core
def test_several_sources(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    folder, second = f"{scene.name}-values", "second"
    argocd.charts.add(second, GOOD, broken=[BROKEN])
    argocd.charts.add(second, "3.0.0", broken=[BROKEN])

    def sources(version: str, *, with_second: bool = False) -> list[dict[str, object]]:
        helm = {"releaseName": "traefik", "valueFiles": [f"$values/{folder}/values.yaml"]}
        chart = {"repoURL": argocd.charts.url, "chart": "traefik", "targetRevision": version}
        git: dict[str, object] = {"repoURL": argocd.repository.url, "targetRevision": "main"}
        values = {**git, "ref": "values"}
        other = {"repoURL": argocd.charts.url, "chart": second, "targetRevision": GOOD, "name": "the-other"}
        made: list[dict[str, object]] = [values, {**chart, "helm": helm}]
        return [*made, {**other, "helm": {"releaseName": second}}] if with_second else made

    scene.source = sources(GOOD)
    scene.start((f"{folder}/values.yaml", "arguments: [old]\n"))
    good = argocd.repository.head()
    scene.commit((f"{folder}/values.yaml", "arguments: [new]\n"), source=sources(BROKEN))
    argocd.follow_git(scene.root)
    argocd.until(lambda: scene.chart_version() == BROKEN, 60, f"{BROKEN} is deployed")
    argocd.until_idle(scene.app)

    # Only the chart fits the version; the values stay on their branch, and nothing else of the list moves.
    plugin("rescue", scene.app, GOOD, "--yes", check=True)
    assert scene.is_serving(GOOD) and scene.live()["spec"]["sources"] == sources(GOOD)
    # The branch by its ref's name, at the commit it had: the old values.
    pinned = plugin("pin", scene.app, good, "--source", "values", "--yes", "--wait", check=True)
    assert pinned.returncode == 0
    assert scene.live()["spec"]["sources"][0]["targetRevision"] == good
    container = scene.deployment()["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["old"]
    refused = plugin("undo")
    assert refused.returncode == 5
    scene.commit(source=sources(GOOD))
    plugin("undo", "--redeploy", "--yes", check=True)
    argocd.until(lambda: scene.live()["spec"]["sources"] == sources(GOOD), 60, "git's sources are back")
    argocd.until_idle(scene.app)

    # Without a version all of them go to what they were when it was good.
    scene.commit((f"{folder}/values.yaml", "arguments: [newer]\n"), source=sources(BROKEN))
    argocd.follow_git(scene.root)
    argocd.until(lambda: scene.chart_version() == BROKEN, 60, f"{BROKEN} is deployed")
    argocd.until_idle(scene.app)
    past = [h["revisions"] for h in scene.live()["status"]["history"]]
    expected = next(r for r in reversed(past) if r[1] == GOOD)
    plugin("rescue", scene.app, "--yes", check=True)
    assert scene.is_serving(GOOD)
    # The values are of before as well: the app may have seen their commit before its chart's.
    pinned_to = [s["targetRevision"] for s in scene.live()["spec"]["sources"]]
    assert pinned_to == expected
    scene.commit(source=sources(GOOD, with_second=True))
    plugin("undo", "--redeploy", "--yes", check=True)
    argocd.until(
        lambda: len(scene.live()["status"]["history"][-1]["sources"]) == 3, 60, "there are two charts now"
    )
    argocd.until_idle(scene.app)

    # Two charts that had this version, or could have it: asked, with what there is.
    mark = argocd.control_plane.audit_mark()
    for version in (GOOD, "3.0.0"):
        asked = plugin("pin", scene.app, version, "--yes")
        assert asked.returncode == 2 and "--source INDEX" in asked.stderr and second in asked.stderr
    assert plugin("pin", scene.app, GOOD, "--source", "7").returncode == 2
    assert not writes(argocd.control_plane, mark)
    plugin("pin", scene.app, "3.0.0", "--source", "the-other", "--yes", check=True)
    plugin("pin", scene.app, "2.4.0", "--source", "1", "--yes", "--wait", check=True)
    revisions = [s["targetRevision"] for s in scene.live()["spec"]["sources"]]
    assert revisions == ["main", "2.4.0", "3.0.0"]
    live = argocd.get("deployment", second, scene.target)
    assert live["metadata"]["labels"]["chart-version"] == "3.0.0"


def test_a_branch_is_pinned_to_its_commit(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    folder = f"{scene.name}-src"
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"page": "good"}}
    argocd.control_plane.namespace(scene.target)
    good = argocd.git((f"{folder}/page.yaml", manifest(page)))
    source = {"repoURL": argocd.repository.url, "path": folder, "targetRevision": "main"}
    argocd.apply(application(scene.app, source, destination=scene.target))  # nobody owns it

    def shown(page: str) -> None:
        argocd.until(
            lambda: argocd.get("configmap", "page", scene.target)["data"]["page"] == page, 60, f"page {page}"
        )
        argocd.until_idle(scene.app)

    shown("good")
    argocd.git((f"{folder}/page.yaml", "page: good", "page: broken"))
    argocd.follow_git(scene.app)
    shown("broken")
    plugin("rescue", scene.app, "--yes", check=True)
    shown("good")
    assert scene.revision() == good
    scene.unrelated_commit()
    looked_again(argocd, scene.app)
    shown("good")
    head = argocd.git((f"{folder}/page.yaml", "page: broken", "page: fixed"))
    plugin("pin", scene.app, "main", "--dry-run=client", check=True)
    plugin("undo", check=True)  # without an owner what was asked for simply goes back
    shown("fixed")
    assert scene.revision() == "main"
    argocd.until(lambda: scene.live()["status"]["sync"]["revision"] == head, 60, "it compared with main")


def test_without_a_project_and_of_a_missing_one(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    argocd.control_plane.namespace(scene.target)
    bare = scene.app_object()
    bare["spec"] = {**bare["spec"], "project": ""}  # type: ignore[dict-item]
    argocd.apply(bare)
    argocd.until(lambda: scene.is_serving(GOOD), 60, f"{GOOD} serves")
    argocd.until_idle(scene.app)
    plugin("pin", scene.app, "2.4.0", "--wait", check=True)
    assert "already free" in plugin("unblock", scene.app, check=True).stdout
    plugin("undo", check=True)
    argocd.until(lambda: scene.is_serving(GOOD), 60, f"{GOOD} serves")
    argocd.until_idle(scene.app)

    argocd.api.patch("application", scene.app, argocd.namespace, {"spec": {"project": "there-is-none"}})
    looked_again(argocd, scene.app)
    # Sooner than a refused spec is believed to be one, which would be another end.
    timed_out = plugin("rescue", scene.app, "2.4.0", "--yes", "--timeout", "1s")
    assert timed_out.returncode == 6
    assert "AppProject argocd/there-is-none does not exist" in timed_out.stderr
    assert scene.is_serving(GOOD)
    plugin("undo", check=True)
    assert scene.revision() == GOOD


def test_a_root_that_manages_itself(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    own = (f"{scene.name}/root.yaml", manifest(scene.root_object()))
    scene.start(own).upgrade(BROKEN).freeze()
    before = scene.specs()
    mark = argocd.control_plane.audit_mark()
    plugin("rescue", scene.app, "--yes", check=True)
    assert edited(argocd.control_plane, mark)[:3] == [scene.root, scene.app, scene.project]
    for _ in range(3):
        looked_again(argocd, scene.root)
    assert scene.is_serving(GOOD)
    scene.commit(own, version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    after = scene.specs()
    assert after["root"] == before["root"] and after["project"] == before["project"]


def test_skip_reconcile_is_said(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    # On the root it is a pause already: nobody reverts anything.
    annotate = {"metadata": {"annotations": {SKIP: "true"}}}
    argocd.api.patch("application", scene.root, argocd.namespace, annotate)
    mark = argocd.control_plane.audit_mark()
    plugin("pin", scene.app, GOOD, "--wait", check=True)
    assert edited(argocd.control_plane, mark) == [scene.app]
    assert scene.is_serving(GOOD)
    # On the app itself nothing will act, which is said and waited for in vain.
    argocd.api.patch("application", scene.app, argocd.namespace, annotate)
    vain = plugin("rescue", scene.app, "2.4.0", "--yes", "--timeout", "3s")
    assert vain.returncode == 6 and "skip-reconcile" in vain.stderr
    assert scene.is_serving(GOOD)
    argocd.api.patch("application", scene.app, argocd.namespace, {"metadata": {"annotations": {SKIP: None}}})
    plugin("watch", scene.app, check=True)
    assert scene.is_serving("2.4.0")


def test_a_source_hydrator_is_recognised(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    # Here a person hydrates: what is synced comes from `wet`.
    wet = f"{scene.name}-wet"
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"page": "good"}}
    argocd.control_plane.namespace(scene.target)
    argocd.git((f"{wet}/page.yaml", manifest(page)))
    hydrator = {
        "drySource": {"repoURL": argocd.repository.url, "path": "dry", "targetRevision": "main"},
        "syncSource": {"targetBranch": "main", "path": wet},
    }
    app = application(scene.app, {}, destination=scene.target, sourceHydrator=hydrator)
    app["spec"] = {k: v for k, v in app["spec"].items() if k != "source"}  # type: ignore[attr-defined]
    argocd.apply(app)

    def shown(page: str) -> bool:
        return bool(argocd.get("configmap", "page", scene.target)["data"]["page"] == page)

    argocd.until(lambda: shown("good"), 60, "it is synced")
    argocd.until_idle(scene.app)
    argocd.git((f"{wet}/page.yaml", "page: good", "page: broken"))
    argocd.follow_git(scene.app)
    argocd.until(lambda: shown("broken"), 60, "the broken one is synced")
    argocd.until_idle(scene.app)

    mark = argocd.control_plane.audit_mark()
    for words in (["pin", scene.app, "2.4.1"], ["rescue", scene.app]):
        said = plugin(*words, "--yes")
        assert said.returncode == 5
        assert "source hydrator" in said.stderr and f"rollback {scene.app}" in said.stderr
    assert not edits(argocd.control_plane, mark)
    plugin("rollback", scene.app, "--wait", check=True)
    for _ in range(2):
        looked_again(argocd, scene.app)
    assert shown("good") and not is_auto_sync_on(scene.live())

    # Where it pushes to another branch, the one that is synced may be pinned to a hydrated commit.
    body = {"spec": {"sourceHydrator": {"hydrateTo": {"targetBranch": "staging"}}}}
    argocd.api.patch("application", scene.app, argocd.namespace, body)
    plugin("undo", "--redeploy", "--yes", check=True)  # git still asks for the broken one
    argocd.until(lambda: shown("broken"), 60, "auto-sync moved it forward")
    argocd.until_idle(scene.app)
    good = scene.live()["status"]["history"][0]["revision"]
    plugin("rescue", scene.app, good, "--yes", check=True)
    assert shown("good") and scene.live()["spec"]["sourceHydrator"]["syncSource"]["targetBranch"] == good


@pytest.mark.parametrize("tracking", ["label", "annotation+label"])
def test_tracking_and_other_namespaces(
    argo_version: str, tracking: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cm = {"installationID": "east"} if tracking != "label" else {}
    with running(
        argo_version, tracking=tracking, cm=cm, params={"application.namespaces": "team-*"}
    ) as argocd:
        plugin = Plugin(argocd.control_plane, tmp_path_factory.mktemp("homes"))
        scene = Scene(argocd, "tracked").start().upgrade(BROKEN).freeze()
        if cm:
            annotations = scene.live()["metadata"]["annotations"]
            assert annotations["argocd.argoproj.io/installation-id"] == "east"
        mark = argocd.control_plane.audit_mark()
        plugin("rescue", scene.app, "--yes", check=True)
        assert edited(argocd.control_plane, mark)[:3] == [scene.root, scene.app, scene.project]
        for _ in range(3):
            looked_again(argocd, scene.root)
        assert scene.is_serving(GOOD)
        scene.commit(version=GOOD)
        with scene.unmoved():
            plugin("undo", check=True)
        assert is_auto_sync_on(scene.live_root())
        _in_another_namespace(argocd, plugin)


def _in_another_namespace(argocd: ArgoCD, plugin: Plugin) -> None:
    team = argocd.control_plane.namespace("team-a")
    argocd.apply(project("team", namespace=argocd.namespace, sourceNamespaces=["team-*"]))
    chart = {"repoURL": argocd.charts.url, "chart": "traefik", "helm": {"releaseName": "traefik"}}
    for version in (GOOD, BROKEN):
        child = application(
            "shop", {**chart, "targetRevision": version}, namespace=team, project="team", destination=team
        )
        argocd.git(("team/shop.yaml", manifest(child)))
        if version == GOOD:
            source = {"repoURL": argocd.repository.url, "path": "team", "targetRevision": "main"}
            argocd.apply(application("shop-root", source, namespace=team, project="team", destination=team))
        else:
            looked_again(argocd, "shop-root", team)

        def deployed(version: str = version) -> bool:
            live = argocd.get("deployment", "traefik", team)
            history = argocd.get("application", "shop", team)["status"]["history"]
            found = live["spec"]["template"]["metadata"]["labels"]["chart-version"]
            is_idle = "operation" not in argocd.get("application", "shop", team)
            return bool(found == version and history[-1]["revision"] == version and is_idle)

        argocd.until(deployed, 60, f"the shop has {version}")
    elsewhere = plugin("rescue", "shop", "--yes")
    assert elsewhere.returncode == 1 and "-n team-a" in elsewhere.stderr
    mark = argocd.control_plane.audit_mark()
    plugin("rescue", "team-a/shop", "--yes", check=True)
    assert edited(argocd.control_plane, mark)[:2] == ["shop-root", "shop"]
    for _ in range(2):
        looked_again(argocd, "shop-root", team)
    live = argocd.get("deployment", "traefik", team)
    assert live["spec"]["template"]["metadata"]["labels"]["chart-version"] == GOOD
    assert live["status"]["availableReplicas"] == 2


def test_two_argo_cds_in_one_cluster(argo_version: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        ControlPlane(argo_version) as plane,
        ArgoCD(plane, argo_version, namespace="argo-east") as east,
        ArgoCD(plane, argo_version, namespace="argo-west") as west,
    ):
        plugin = Plugin(plane, tmp_path_factory.mktemp("homes"))
        scenes = [Scene(argocd, f"app-{argocd.namespace}").start().upgrade(BROKEN) for argocd in (east, west)]
        first, second = scenes
        before = text_of(second.specs())
        # Nothing tells which: it is asked.
        asked = plugin("rescue", first.app, "--yes")
        assert asked.returncode == 2
        assert (
            "argo-east" in asked.stderr
            and "argo-west" in asked.stderr
            and "--argocd-namespace" in asked.stderr
        )
        # The namespace of the app tells, or what is said.
        plugin("rescue", first.app, "-n", "argo-east", "--yes", check=True)
        assert first.is_serving(GOOD) and not is_auto_sync_on(first.live_root())
        assert text_of(second.specs()) == before
        wrong = plugin("rescue", second.app, "--argocd-namespace", "argo-east", "--yes")
        assert wrong.returncode == 1 and "argo-west" in wrong.stderr
        plugin("rescue", f"argo-west/{second.app}", "--yes", check=True)
        assert second.is_serving(GOOD) and not is_auto_sync_on(second.live_root())
        for scene in scenes:
            looked_again(scene.argocd, scene.root)
            assert scene.is_serving(GOOD)
            # Each has its own journal.
            scene.commit(version=GOOD)
            with scene.unmoved():
                plugin("undo", scene.app, "-n", scene.argocd.namespace, check=True)
            assert is_auto_sync_on(scene.live_root())
