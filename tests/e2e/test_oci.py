"""OCI sources on real controllers, from a registry of our own on loopback.

- a Helm chart in a registry (`chart`, a repoURL without a scheme): history says the chart's version;
- an OCI artifact (`oci://`, `path`): history says its digest, so that is what a rescue pins, and what
  it was deployed as is said with it; a pin by tag, by digest and by the start of one;
- both: what the registry does not have, and what is no version, is said in clear words; a range, from
  more than one page of tags; undo refuses while git asks for what broke, and moves nothing after that;
- a tag that was moved to something broken: the digest that it had is what was good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.registry import Registry
from tests.testbed.sources import CHART_VERSIONS

from .scene import Scene, looked_again

CHART = "charts/traefik"
RANGE = ">=2.4.0 <2.6.0"
"""From the first to the second page of tags; means the broken one."""
NO_DIGEST = f"sha256:{'0' * 64}"


@dataclass
class OciScene(Scene):
    """A scene whose app is from the registry, at the version of the scene."""

    def app_object(self) -> dict[str, object]:
        app = super().app_object()
        spec: JSON = app["spec"]
        return {**app, "spec": {**spec, "source": {**spec["source"], "targetRevision": self.version}}}

    def bring(self, wanted: str, version: str) -> None:
        """Bring a targetRevision by git and wait until the version that it means is deployed."""
        self.commit(version=wanted)
        self.argocd.follow_git(self.root)
        self.argocd.until(lambda: self.chart_version() == version, 120, f"{version} is deployed")
        for app in (self.root, self.app):
            self.argocd.until_idle(app)

    def past(self) -> list[tuple[str, str]]:
        """Return what was asked for and what that meant, by the app's history; a sync that came twice once."""
        history = self.live()["status"]["history"]
        found = [(h["source"]["targetRevision"], h["revision"]) for h in history]
        return [entry for i, entry in enumerate(found) if i == 0 or found[i - 1] != entry]


@pytest.fixture(scope="module")
def registry(argocd: ArgoCD, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with the charts of the bed, which Argo CD knows and trusts."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        host = registry.address.partition(":")[0]
        (argocd.folder / "tls" / host).write_bytes(registry.certificate.read_bytes())
        repositories = {
            "helm": {"type": "helm", "enableOCI": "true", "url": f"{registry.address}/charts"},
            "oci": {"type": "oci", "url": f"oci://{registry.address}/{CHART}"},
        }
        for name, data in repositories.items():
            label = {"argocd.argoproj.io/secret-type": "repository"}
            meta = {"name": f"repository-{name}", "namespace": argocd.namespace, "labels": label}
            argocd.apply(
                {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"name": name, **data}}
            )
        yield registry


@pytest.fixture
def digests(registry: Registry) -> dict[str, str]:
    """Publish the versions of the bed's chart; the digest of each."""
    return {version: registry.push_chart(CHART, version) for version in CHART_VERSIONS}


def _is_refused_until_git_is_fixed(scene: OciScene, plugin: Plugin, *, fix: str) -> None:
    refused = plugin("undo", "--yes")
    assert refused.returncode == 5
    assert "git is still at" in refused.stderr or "git asks for" in refused.stderr
    scene.commit(version=fix)
    with scene.unmoved():
        undone = plugin("undo", check=True)
        assert "git equals what is live" in undone.stdout
    assert scene.revision() == fix and scene.is_serving(GOOD)
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""


@pytest.mark.usefixtures("digests")
def test_a_chart_of_an_oci_registry(argocd: ArgoCD, plugin: Plugin, scene: Scene, registry: Registry) -> None:
    source = {"repoURL": f"{registry.address}/charts", "chart": "traefik", "helm": {"releaseName": "traefik"}}
    scene = OciScene(argocd, scene.name, source=source)
    scene.start().upgrade(BROKEN)
    assert scene.past() == [(GOOD, GOOD), (BROKEN, BROKEN)]
    shown = plugin("status", scene.app, check=True).stdout
    assert f"helm chart traefik of {registry.address}/charts at {BROKEN}" in shown
    assert f"last good: {GOOD}:" in shown

    # In haste: no version, and one that is not there.
    refused = plugin("pin", scene.app, "2.4.l")
    assert refused.returncode == 5 and "is no valid version of a helm chart" in refused.stderr
    missing = plugin("pin", scene.app, "2.4.9", "--wait", "--yes")
    assert missing.returncode == 1
    assert "finds no such thing to deploy" in missing.stderr and "2.4.9: not found" in missing.stderr

    rescued = plugin("rescue", scene.app, "--yes", check=True)
    assert f"last good: {GOOD} (history id " in rescued.stderr
    assert scene.is_serving(GOOD) and scene.revision() == GOOD
    _is_refused_until_git_is_fixed(scene, plugin, fix=GOOD)

    scene.bring(RANGE, BROKEN)
    assert scene.past()[-1] == (RANGE, BROKEN)
    assert any("/tags/list?" in asked and f"last={GOOD}" in asked for asked in registry.asked)
    plugin("pin", scene.app, GOOD, "--wait", "--yes", check=True)
    assert scene.is_serving(GOOD) and scene.revision() == GOOD
    _is_refused_until_git_is_fixed(scene, plugin, fix=GOOD)


def _native(scene: Scene, registry: Registry) -> OciScene:
    source = {"repoURL": f"oci://{registry.address}/{CHART}", "path": ".", "helm": {"releaseName": "traefik"}}
    return OciScene(scene.argocd, scene.name, source=source)


def test_an_oci_artifact(
    argocd: ArgoCD, plugin: Plugin, scene: Scene, registry: Registry, digests: dict[str, str]
) -> None:
    scene = _native(scene, registry)
    good, broken = digests[GOOD], digests[BROKEN]
    scene.start().upgrade(BROKEN)
    assert scene.past() == [(GOOD, good), (BROKEN, broken)]
    shown = plugin("status", scene.app, check=True).stdout
    assert f"OCI artifact . of oci://{registry.address}/{CHART} at {BROKEN}" in shown
    assert f"last good: {good[:15]} ({GOOD}):" in shown

    refused = plugin("pin", scene.app, good[:12])
    assert refused.returncode == 5 and "confirmation needed" in refused.stderr  # not enough of it
    for absent in ("2.4.9", NO_DIGEST):
        missing = plugin("pin", scene.app, absent, "--wait", "--yes")
        assert missing.returncode == 1
        assert "finds no such thing to deploy" in missing.stderr and f"{absent}: not found" in missing.stderr

    rescued = plugin("rescue", scene.app, "--yes", check=True)
    assert f"last good: {good} as {GOOD} (history id " in rescued.stderr
    assert scene.is_serving(GOOD) and scene.revision() == good
    _is_refused_until_git_is_fixed(scene, plugin, fix=good)

    # By tag.
    scene.upgrade(BROKEN)
    pinned = plugin("pin", scene.app, GOOD, "--wait", "--yes", check=True)
    assert f"{GOOD} was {good} when this app deployed it" in pinned.stderr
    assert scene.is_serving(GOOD) and scene.revision() == GOOD
    _is_refused_until_git_is_fixed(scene, plugin, fix=GOOD)

    # By the start of the digest, as status shows it; git is fixed in other words.
    scene.bring(RANGE, BROKEN)
    assert scene.past()[-1] == (RANGE, broken)
    plugin("pin", scene.app, good[:15], "--wait", "--yes", check=True)
    assert scene.is_serving(GOOD) and scene.revision() == good
    assert plugin("undo", "--yes").returncode == 5
    scene.commit(version=GOOD)
    with scene.unmoved():
        plugin("undo", "--yes", check=True)
        assert scene.revision() == GOOD, "git's tag is back"


def test_a_moved_tag(argocd: ArgoCD, plugin: Plugin, scene: Scene, registry: Registry) -> None:
    scene = _native(scene, registry)
    good = registry.push_chart(CHART, GOOD, tag="stable")
    scene.commit(version="stable")
    argocd.control_plane.namespace(scene.target)
    argocd.apply(scene.project_object(), scene.root_object())
    argocd.until(lambda: scene.is_serving(GOOD), 120, f"{GOOD} serves")
    for app in (scene.root, scene.app):
        argocd.until_idle(app)
    broken = registry.push_chart(CHART, BROKEN, tag="stable")
    looked_again(argocd, scene.app)
    argocd.until(lambda: scene.chart_version() == BROKEN, 120, f"{BROKEN} is deployed")
    argocd.until_idle(scene.app)
    assert scene.past() == [("stable", good), ("stable", broken)]

    asked = plugin("pin", scene.app, "stable", "--dry-run=client", check=True)
    assert f"stable was {broken}, {good} when this app deployed it" in asked.stderr
    plugin("rescue", scene.app, "--yes", check=True)
    assert scene.is_serving(GOOD) and scene.revision() == good
    looked_again(argocd, scene.root)
    looked_again(argocd, scene.app)
    assert scene.is_serving(GOOD) and scene.revision() == good
    assert plugin("undo", "--yes").returncode == 5, "what git says is still the broken one"
