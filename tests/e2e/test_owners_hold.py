"""What is edited holds, against the real controllers that would put it back.

- without a terminal and without `--yes`, pin and unblock are refused (5) where an owner would
  revert them, saying who and how soon, and nothing is written;
- with `--yes` the owner is paused first and the edit stands over several comparisons of it;
- `--only` edits alone, and the controller reverts it: the claim was true;
- a pause with the version known is an added key, which self-heal leaves; with it unknown the block
  goes, so the owner is paused as well;
- owners over two levels, an app that manages itself, tracking by label and by annotation and label,
  an app in another namespace;
- an owner of another Argo CD in the cluster is found and paused; one that is nowhere in it is asked
  about, and is no evidence for an undo;
- a foreign ownerReference hides no owner; an app that deploys an object of that name into another
  cluster is none: it is not paused, and undo does not believe it;
- a project that does not exist: said, and no obstacle.
"""

from __future__ import annotations

import base64
import json

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import ArgoCD, running
from tests.testbed.control_plane import MASTERS, ControlPlane
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, manifest, project

from .scene import (
    Scene,
    automated,
    deny,
    edited,
    edits,
    is_auto_sync_on,
    looked_again,
    settle,
    text_of,
    unmoved,
)

LOOKS = 3
"""Comparisons of an owner over which an edit must stand."""


def _holds(scene: Scene, *owners: str) -> None:
    """Have the owners look several times, with a commit between, and let them finish."""
    before = text_of(scene.specs())
    for look in range(LOOKS):
        if look == 1:
            scene.unrelated_commit()
        for owner in owners or (scene.root,):
            looked_again(scene.argocd, owner)
    scene.settle()
    assert text_of(scene.specs()) == before


def test_a_pin_that_would_be_reverted_needs_a_yes(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    mark = argocd.control_plane.audit_mark()
    before = text_of(scene.specs())

    refused = plugin("pin", scene.app, GOOD)
    assert refused.returncode == 5
    for words in (scene.root, "would revert it within seconds", "--yes", "--only"):
        assert words in refused.stderr
    assert not edits(argocd.control_plane, mark)
    assert text_of(scene.specs()) == before

    alone = plugin("pin", scene.app, GOOD, "--only", check=True)
    assert "would revert it within seconds" in alone.stderr
    argocd.until(lambda: scene.revision() == BROKEN, 120, "the owner reverted it")
    argocd.until_idle(scene.root)
    argocd.until_idle(scene.app)

    mark = argocd.control_plane.audit_mark()
    plugin("pin", scene.app, GOOD, "--yes", check=True)
    written = edited(argocd.control_plane, mark)
    assert written == [scene.root, scene.app], "the owner first"
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    _holds(scene)
    assert scene.is_serving(GOOD)
    assert not is_auto_sync_on(scene.live_root())


def test_a_window_edit_that_would_be_reverted_needs_a_yes(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start().freeze(deny(scene.app, "other"), deny(scene.app))
    mark = argocd.control_plane.audit_mark()

    refused = plugin("unblock", scene.app)
    assert refused.returncode == 5
    assert scene.root in refused.stderr and "within seconds" in refused.stderr
    assert not edits(argocd.control_plane, mark)

    plugin("unblock", scene.app, "--only", check=True)
    argocd.until(lambda: scene.live_windows() == list(scene.windows), 120, "the owner put the windows back")
    argocd.until_idle(scene.root)

    mark = argocd.control_plane.audit_mark()
    plugin("unblock", scene.app, "--yes", check=True)
    written = edited(argocd.control_plane, mark)
    assert written == [scene.root, scene.project]
    assert scene.live_windows() == [deny("other")]
    _holds(scene)


def test_a_pause_with_the_version_known_is_no_drift(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    plugin("pause", scene.app, check=True)  # asks for nothing: nobody would revert it
    assert automated(scene.live()) == {"prune": True, "selfHeal": True, "enabled": False}
    _holds(scene)
    assert is_auto_sync_on(scene.live_root())
    # It really is paused: a version that git brings lands in the spec, and stays there undeployed.
    scene.commit(version="2.6.0")
    argocd.follow_git(scene.root)
    argocd.until(lambda: scene.revision() == "2.6.0", 120, "the root applied it")
    scene.settle()
    assert scene.chart_version() == GOOD
    assert automated(scene.live())["enabled"] is False, "the root's own sync left the added key"


def test_the_whole_chain_is_paused_grandparents_first(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    # top deploys the root from git, the root deploys the app: with a block that git has, a pause of
    # the root itself is no drift; a self-heal that removes the root's `enabled` is tried below.
    top = f"{scene.name}-top"
    folder = f"{scene.name}-top/root.yaml"
    argocd.git(
        (folder, manifest(scene.root_object(automated={"prune": True, "selfHeal": True, "enabled": True})))
    )
    argocd.apply(
        application(
            top,
            {"repoURL": argocd.repository.url, "path": f"{scene.name}-top", "targetRevision": "main"},
            destination=argocd.namespace,
        )
    )
    argocd.control_plane.namespace(scene.target)
    scene.commit()
    argocd.apply(scene.project_object())  # an app that is seen before its project waits for the next resync
    argocd.follow_git(top)
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    argocd.until_idle(top)
    scene.upgrade(BROKEN)
    try:
        refused = plugin("pin", scene.app, GOOD)
        assert refused.returncode == 5
        assert scene.root in refused.stderr and top in refused.stderr
        mark = argocd.control_plane.audit_mark()
        plugin("pin", scene.app, GOOD, "--yes", check=True)
        written = edited(argocd.control_plane, mark)
        assert written == [top, scene.root, scene.app]
        argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
        _holds(scene, top, scene.root)

        scene.commit(version=GOOD)
        with scene.unmoved():
            plugin("undo", check=True)
        assert is_auto_sync_on(argocd.app(top)) and is_auto_sync_on(scene.live_root())
        assert automated(scene.live_root())["enabled"] is True
    finally:
        argocd.api.delete("application", top, argocd.namespace)


def test_an_app_that_manages_itself_is_paused_once(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    # The root is in its own folder: it is its own owner.
    own = manifest(scene.root_object())
    scene.start((f"{scene.name}/root.yaml", own)).upgrade(BROKEN)
    mark = argocd.control_plane.audit_mark()
    plugin("pin", scene.app, GOOD, "--yes", check=True)
    written = edited(argocd.control_plane, mark)
    assert written == [scene.root, scene.app]
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    _holds(scene)
    scene.commit((f"{scene.name}/root.yaml", own), version=GOOD)
    with scene.unmoved():
        plugin("undo", check=True)
    assert is_auto_sync_on(scene.live_root())
    argocd.until_idle(scene.root)


def test_an_owner_that_is_nowhere_is_asked_about_and_no_evidence(
    argocd: ArgoCD, plugin: Plugin, scene: Scene
) -> None:
    scene.start().upgrade(BROKEN)
    argocd.api.delete("application", scene.root, argocd.namespace)  # without a finalizer the app stays
    refused = plugin("pin", scene.app, GOOD)
    assert refused.returncode == 5
    assert scene.root in refused.stderr and "is elsewhere, not in this cluster" in refused.stderr
    plugin("pin", scene.app, GOOD, "--yes", check=True)
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    with unmoved(argocd, scene.target, lambda: settle(argocd, scene.app)):
        undone = plugin("undo", "--yes")
    assert undone.returncode == 5
    assert scene.root in undone.stderr and "is elsewhere, not in this cluster" in undone.stderr
    assert scene.revision() == GOOD


def test_an_owner_of_another_argo_cd_is_found(
    argocd: ArgoCD, plugin: Plugin, scene: Scene, argo_version: str
) -> None:
    scene.commit()
    argocd.control_plane.namespace(scene.target)
    argocd.apply(scene.project_object())
    root = {**scene.root_object(), "metadata": {"name": scene.root, "namespace": "argo-two"}}
    with ArgoCD(argocd.control_plane, argo_version, namespace="argo-two", workloads=False) as two:
        two.apply(root)
        argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
        scene.commit(version=BROKEN)
        looked_again(two, scene.root)
        argocd.until(lambda: scene.revision() == BROKEN, 120, f"{BROKEN} is asked for")
        argocd.until(lambda: scene.chart_version() == BROKEN, 120, f"{BROKEN} is deployed")
        argocd.until_idle(scene.app)
        refused = plugin("pin", scene.app, GOOD)
        assert refused.returncode == 5
        assert f"argo-two/{scene.root}" in refused.stderr and "within seconds" in refused.stderr
        plugin("pin", scene.app, GOOD, "--yes", check=True)
        argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
        for _ in range(LOOKS):
            looked_again(two, scene.root)
        assert scene.revision() == GOOD and not is_auto_sync_on(two.app(scene.root))
        scene.commit(version=GOOD)
        with unmoved(argocd, scene.target, lambda: settle(argocd, scene.app)):
            plugin("undo", "--yes", check=True)
        assert is_auto_sync_on(two.app(scene.root)) and scene.revision() == GOOD
        argocd.api.delete("application", scene.root, "argo-two")


def test_a_foreign_owner_reference_hides_no_owner(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    parent = argocd.get("configmap", "argocd-cm")["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "argocd-cm", "uid": parent["uid"]}
    body = {"metadata": {"ownerReferences": [{**reference, "controller": False}]}}
    argocd.api.patch("application", scene.app, argocd.namespace, body)
    scene.settle()
    refused = plugin("pin", scene.app, GOOD)
    assert refused.returncode == 5
    assert scene.root in refused.stderr and "within seconds" in refused.stderr
    assert f"nobody owns {scene.app}" not in plugin("status", scene.app, check=True).stdout
    plugin("pin", scene.app, GOOD, "--yes", check=True)
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    _holds(scene)
    assert scene.revision() == GOOD and not is_auto_sync_on(scene.live_root())


def test_an_app_that_deploys_it_into_another_cluster_is_no_owner(
    argocd: ArgoCD, plugin: Plugin, scene: Scene, argo_version: str
) -> None:
    with ControlPlane(argo_version) as spoke:
        spoke.namespace(argocd.namespace)
        server = f"https://127.0.0.1:{spoke.port}"
        secret = _cluster(spoke, f"{scene.name}-spoke", server, argocd.namespace)
        argocd.apply(secret)
        argocd.control_plane.namespace(scene.target)
        scene.commit()
        argocd.apply(scene.project_object())
        root = scene.root_object()
        root["spec"]["destination"] = {"server": server, "namespace": argocd.namespace}  # type: ignore[index]
        argocd.apply(root, scene.app_object())
        argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
        argocd.until_synced(scene.root)
        assert spoke.api.find("application", scene.app, argocd.namespace) is not None
        try:
            # A label that charts set as well has all Applications looked at.
            body = {"metadata": {"labels": {"app.kubernetes.io/instance": scene.app}}}
            argocd.api.patch("application", scene.app, argocd.namespace, body)
            assert f"nobody owns {scene.app}" in plugin("status", scene.app, check=True).stdout
            plugin("pin", scene.app, "2.4.0", check=True)
            assert is_auto_sync_on(scene.live_root()), "paused for nothing"
            argocd.until(lambda: scene.is_serving("2.4.0"), 120, "2.4.0 serves")
            plugin("undo", "--yes", check=True)
            assert scene.revision() == GOOD, "the saved original, whatever is Synced on the spoke"
        finally:
            scene.remove()
            argocd.api.delete("secret", secret["metadata"]["name"], argocd.namespace)


def _cluster(plane: ControlPlane, name: str, server: str, namespace: str) -> JSON:
    """Return the Secret by which an Argo CD knows another cluster."""
    plane.kubeconfig("admin", [MASTERS])
    pki = plane.folder / "pki"
    files = {
        "caData": plane.authority.certificate,
        "certData": pki / "user-admin.crt",
        "keyData": pki / "user-admin.key",
    }
    tls = {k: base64.b64encode(f.read_bytes()).decode() for k, f in files.items()}
    labels = {"argocd.argoproj.io/secret-type": "cluster"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "stringData": {"name": name, "server": server, "config": json.dumps({"tlsClientConfig": tls})},
    }


def test_a_missing_project_is_said(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    argocd.api.delete("application", scene.root, argocd.namespace)
    argocd.api.delete("appproject", scene.project, argocd.namespace)
    _until_invalid(argocd, scene.app)
    done = plugin("pin", scene.app, "2.4.0", "--yes", check=True)
    assert f"AppProject argocd/{scene.project} does not exist" in done.stderr
    blocked = plugin("unblock", scene.app)
    assert blocked.returncode == 5 and "does not exist" in blocked.stderr
    _until_invalid(argocd, scene.app)
    assert scene.chart_version() == GOOD, "nothing of a missing project is synced, as was said"


def _until_invalid(argocd: ArgoCD, app: str) -> None:
    def is_invalid() -> bool:
        # Asked each time: the first comparison may come before the controller has heard of it.
        argocd.refresh(app)
        found = argocd.app(app)["status"].get("conditions", [])
        return any(c["type"] == "InvalidSpecError" for c in found)

    argocd.until(is_invalid, 120, "Argo CD says that the project is missing")


@pytest.mark.parametrize("tracking", ["label", "annotation+label"])
def test_owners_are_found_by_every_tracking_method(
    argo_version: str, tracking: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Beside it on the same bed: an unknown version, and apps in a namespace of their own."""
    with running(
        argo_version, tracking=tracking, workloads=False, params={"application.namespaces": "team-*"}
    ) as argocd:
        plugin = Plugin(argocd.control_plane, tmp_path_factory.mktemp("homes"))
        # Early: an app that is seen before its project waits for the next resync.
        argocd.apply(project("team", sourceNamespaces=["team-*"]))
        scene = Scene(argocd, "tracked").start().upgrade(BROKEN)
        tracked_by = scene.live()["metadata"]
        assert (tracking == "label") == (
            "argocd.argoproj.io/tracking-id" not in tracked_by.get("annotations", {})
        )
        assert plugin("pin", scene.app, GOOD).returncode == 5
        plugin("pin", scene.app, GOOD, "--yes", check=True)
        argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
        assert automated(scene.live_root()) is None, "the version is not known: the block goes"
        _holds(scene)
        scene.commit(version=GOOD)
        with scene.unmoved():
            plugin("undo", check=True)
        assert automated(scene.live_root()) == {"prune": True, "selfHeal": True}

        # A pause takes the app's block away: that is drift, so the root is paused with it.
        refused = plugin("pause", scene.app)
        assert refused.returncode == 5 and scene.root in refused.stderr
        plugin("pause", scene.app, "--yes", check=True)
        assert automated(scene.live()) is None and automated(scene.live_root()) is None
        _holds(scene)
        plugin("undo", check=True)
        scene.settle()
        assert is_auto_sync_on(scene.live()) and is_auto_sync_on(scene.live_root())

        if tracking == "label":
            _team(argocd, plugin)


def _team(argocd: ArgoCD, plugin: Plugin) -> None:
    """A root in Argo CD's namespace with its child in another, and a root that lives there as well."""
    team = argocd.control_plane.namespace("team-a")
    chart = {
        "repoURL": argocd.charts.url,
        "chart": "traefik",
        "targetRevision": GOOD,
        "helm": {"releaseName": "traefik"},
    }
    child = application("shop", chart, namespace=team, project="team", destination=team)
    argocd.git(("team/shop.yaml", manifest(child)))
    source = {"repoURL": argocd.repository.url, "path": "team", "targetRevision": "main"}
    argocd.apply(application("shop-root", source, namespace=team, project="team", destination=team))

    def serving(version: str) -> bool:
        live = argocd.get("deployment", "traefik", team)
        labels = live["spec"]["template"]["metadata"]["labels"]
        return bool(labels["chart-version"] == version and live["status"].get("availableReplicas") == 2)

    argocd.until(lambda: serving(GOOD), 120, "the shop serves")
    argocd.until(
        lambda: argocd.get("application", "shop-root", team)["status"]["sync"]["status"] == "Synced",
        120,
        "its root is synced",
    )
    assert plugin("pin", "shop", "2.4.0").returncode == 1, "it is not in Argo CD's namespace"
    refused = plugin("pin", "team-a/shop", "2.4.0")
    assert refused.returncode == 5 and "team-a/shop-root" in refused.stderr
    plugin("pin", "shop", "2.4.0", "-n", team, "--yes", "--wait", check=True)
    assert serving("2.4.0")
    looked_again(argocd, "shop-root", team)
    assert argocd.get("application", "shop", team)["spec"]["source"]["targetRevision"] == "2.4.0"
    plugin("undo", "--redeploy", check=True)
    argocd.until(lambda: serving(GOOD), 120, "the original serves")
