"""Argo Rollouts' real controller: a canary under way, one that was promoted, and the way back of each.

- a canary that is not promoted yet is back at once, by a pin or, without sources, by an abort;
- a version that was promoted leaves by a new canary: `rescue` says so before, stops at its first
  pause without a duration with 4 and says what goes on, and so does `watch`;
- `--full` promotes it once its pods are ready; both writes are in the journal and handed back;
- blue-green, traffic routing by a second Ingress, and a template that is a Deployment's do the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.testbed import rollouts
from tests.testbed.api import JSON
from tests.testbed.argocd import ArgoCD, running
from tests.testbed.control_plane import BROKEN as CRASHES
from tests.testbed.incident import BROKEN, FIXED, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import manifest

from .scene import Scene, edits, is_auto_sync_on, settle

STEPS = [{"setWeight": 50}, {"pause": {}}]
BLUE_GREEN: JSON = {
    "blueGreen": {
        "activeService": "traefik",
        "previewService": "traefik-next",
        "autoPromotionEnabled": False,
        "scaleDownDelaySeconds": 1,
    }
}
ROUTED: JSON = {
    "canary": {
        "steps": STEPS,
        "stableService": "traefik",
        "canaryService": "traefik-next",
        "trafficRouting": {"nginx": {"stableIngress": "traefik"}},
    }
}
"""Traffic is routed by a second Ingress that the controller makes; nobody needs to serve it."""

INGRESS: JSON = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "traefik"},
    "spec": {
        "ingressClassName": "nginx",
        "rules": [
            {
                "host": "traefik.invalid",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "traefik", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def argocd(argo_version: str) -> Iterator[ArgoCD]:
    with running(argo_version) as argocd, rollouts.running(argocd.control_plane):
        yield argocd


class Canary:
    """An app of one Rollout in git, with its root app."""

    def __init__(self, scene: Scene, strategy: JSON | None = None, *, is_referring: bool = False) -> None:
        """Take its strategy, and whether its template is that of a Deployment beside it."""
        self.scene, self.argocd = scene, scene.argocd
        self.strategy = strategy or {"canary": {"steps": STEPS}}
        self.is_referring = is_referring
        self.file = f"{scene.name}-src/rollout.yaml"
        scene.source = {
            "repoURL": self.argocd.repository.url,
            "path": f"{scene.name}-src",
            "targetRevision": "main",
        }

    def manifest(self, version: str, *, crashes: bool) -> str:
        """The Rollout in git."""
        labels = {"app": "traefik", "chart-version": version, **({CRASHES: "true"} if crashes else {})}
        container = {"name": "traefik", "image": f"registry.invalid/traefik:{version}"}
        template: JSON = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        selector: JSON = {"matchLabels": {"app": "traefik"}}
        spec: JSON = {"replicas": 2, "selector": selector, "strategy": self.strategy, "template": template}
        found: list[JSON] = []
        if self.is_referring:
            del spec["template"]
            del spec["selector"]
            spec["workloadRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "traefik"}
            deployed = {"replicas": 0, "selector": selector, "template": template}
            meta: JSON = {"name": "traefik"}
            found.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployed})
        for name in ("traefik", "traefik-next"):
            service = {"selector": {"app": "traefik"}, "ports": [{"port": 80}]}
            found.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service})
        rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "traefik"}}
        found += [INGRESS] if self.strategy is ROUTED else []
        return manifest(*found, {**rollout, "spec": spec})

    def start(self) -> None:
        """Bring the good version, which the first deployment promotes by itself."""
        self.scene.start((self.file, self.manifest(GOOD, crashes=False)), wait=False)
        if self.strategy is ROUTED:
            self.argocd.until(self._serve, 60, "the Ingress has an address")
        self.until_stable(GOOD)

    def _serve(self) -> bool:
        """Give the Ingress an address, as whoever serves it does: Argo CD waits for it."""
        if self.argocd.api.find("ingress", "traefik", self.scene.target) is None:
            return False
        path = self.argocd.api.kind("ingress").path(self.scene.target, "traefik", "status")
        body: JSON = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
        self.argocd.api.request("PATCH", path, body, content_type="application/merge-patch+json")
        return True

    def push(self, version: str, *, crashes: bool = False) -> None:
        """Bring another version by git."""
        self.argocd.git((self.file, self.manifest(version, crashes=crashes)))
        self.argocd.follow_git(self.scene.app)
        self.argocd.until_idle(self.scene.app)

    def mend(self) -> None:
        """Bring the good version to git, which the pinned Application does not follow."""
        self.argocd.git((self.file, self.manifest(GOOD, crashes=False)))

    def live(self) -> JSON:
        """Read the Rollout."""
        return self.argocd.get("rollout", "traefik", self.scene.target)

    def pods(self) -> dict[str, int]:
        """Count the pods by version."""
        found: dict[str, int] = {}
        for pod in self.argocd.api.list("pod", self.scene.target):
            if "deletionTimestamp" not in pod["metadata"]:
                version = pod["metadata"]["labels"]["chart-version"]
                found[version] = found.get(version, 0) + 1
        return found

    def until_stable(self, version: str) -> None:
        """Wait until nothing but that version runs, promoted."""

        def is_stable() -> bool:
            status = self.live()["status"]
            return bool(status.get("phase") == "Healthy" and self.pods() == {version: 2})

        self.argocd.until(is_stable, 120, f"{version} is the stable version")
        self.argocd.until_idle(self.scene.app)

    def until_half(self, version: str) -> None:
        """Wait until the canary has its pod."""
        self.argocd.until(lambda: self.pods().get(version) == 1, 120, f"a canary of {version} is there")

    def until_paused(self) -> None:
        """Wait until the new version waits for somebody, its pods there."""
        self.argocd.until(lambda: self.live()["status"].get("pauseConditions"), 120, "it is paused")

    def served(self) -> set[str]:
        """Say which versions the stable or active Service leads to; without one, all that run."""
        selector = self.argocd.get("service", "traefik", self.scene.target)["spec"]["selector"]
        return {
            pod["metadata"]["labels"]["chart-version"]
            for pod in self.argocd.api.list("pod", self.scene.target)
            if selector.items() <= pod["metadata"]["labels"].items()
            and "deletionTimestamp" not in pod["metadata"]
        }

    def promote(self, version: str) -> None:
        """Promote it as a person does with the Rollouts plugin."""
        self.argocd.until(lambda: self.pods().get(version), 120, f"pods of {version} are there")
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{self.scene.target}/rollouts/traefik/status"
        body = {"status": {"promoteFull": True}}
        self.argocd.api.request("PATCH", path, body, content_type="application/merge-patch+json")
        self.until_stable(version)


@pytest.fixture
def canary(scene: Scene) -> Iterator[Canary]:
    found = Canary(scene)
    found.start()
    yield found


def test_a_canary_under_way_is_back_at_once(argocd: ArgoCD, plugin: Plugin, canary: Canary) -> None:
    app = canary.scene.app
    canary.push(BROKEN, crashes=True)
    canary.until_half(BROKEN)
    done = plugin("rescue", app, "--yes", check=True)
    assert canary.pods() == {GOOD: 2} and canary.live()["status"]["phase"] == "Healthy"
    assert "and healthy" in done.stdout and "Next:" not in done.stderr
    canary.mend()
    plugin("undo", "--redeploy", "--yes", check=True)

    # Without sources: aborted, its template stays.
    canary.push(BROKEN, crashes=True)
    canary.until_half(BROKEN)
    template = canary.live()["spec"]["template"]
    mark = argocd.control_plane.audit_mark()
    dry = plugin("rescue", app, "--workloads", "--dry-run=server", check=True)
    assert "rollout.argoproj.io/traefik canary aborted" in dry.stdout
    done = plugin("rescue", app, "--workloads", "--yes", check=True)
    assert canary.pods() == {GOOD: 2} and canary.live()["spec"]["template"] == template
    assert "2 of 2 available, of the stable version" in done.stdout
    written = [e.uri.partition("?")[0] for e in edits(argocd.control_plane, mark) if "rollouts" in e.uri]
    assert written and all(uri.endswith("/rollouts/traefik/status") for uri in written)
    again = plugin("rescue", app, "--workloads", "--yes", check=True)
    assert "taken back already" in again.stdout + again.stderr
    canary.mend()
    plugin("undo", "--redeploy", "--yes", check=True)
    settle(argocd, app)
    assert is_auto_sync_on(argocd.app(app)) and canary.pods() == {GOOD: 2}
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""


def test_a_promoted_version_leaves_by_a_new_canary(argocd: ArgoCD, plugin: Plugin, canary: Canary) -> None:
    app = canary.scene.app
    canary.push(FIXED)
    canary.until_half(FIXED)
    waiting = plugin("watch", app)
    assert waiting.returncode == 4, waiting.stdout + waiting.stderr
    assert "waits for somebody" in waiting.stderr and "rescue" not in waiting.stderr, "it is not ours"
    canary.promote(FIXED)

    planned = plugin("rescue", app, "--dry-run", check=True)
    assert "starts a new canary, which waits for somebody at step 2" in planned.stdout + planned.stderr
    halted = plugin("rescue", app, "--yes")
    assert halted.returncode == 4, halted.stdout + halted.stderr
    assert canary.pods() == {GOOD: 1, FIXED: 1}, "half of it still runs what is fled from"
    assert "synced to" not in halted.stdout
    go_on = f"Next: kubectl argo-rescue rescue {app} --full"
    assert go_on in halted.stderr
    looked = plugin("watch", app)
    assert looked.returncode == 4 and go_on in looked.stderr

    mark = argocd.control_plane.audit_mark()
    done = plugin("rescue", app, "--full", "--yes", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert canary.pods() == {GOOD: 2} and canary.live()["status"]["phase"] == "Healthy"
    (promoted,) = [e for e in edits(argocd.control_plane, mark) if "rollouts" in e.uri]
    assert promoted.uri.partition("?")[0].endswith("/rollouts/traefik/status")
    entry = json.loads(done.stdout)["entry"]
    assert "/status/promoteFull" in plugin("show", entry, check=True).stdout

    canary.mend()
    plugin("undo", "--redeploy", "--yes", check=True)
    settle(argocd, app)
    assert canary.pods() == {GOOD: 2}
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""


SHAPES: dict[str, JSON] = {"blue-green": BLUE_GREEN, "traffic routing": ROUTED, "workloadRef": None}


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes_go_back_as_canaries_do(
    argocd: ArgoCD, plugin: Plugin, scene: Scene, shape: str
) -> None:
    rolled = Canary(scene, SHAPES[shape], is_referring=shape == "workloadRef")
    rolled.start()
    app = scene.app

    # Under way: back at once. A template that is a Deployment's is taken back there.
    rolled.push(FIXED)
    rolled.until_paused()
    waiting = plugin("watch", app)
    assert waiting.returncode == 4 and "waits for somebody" in waiting.stderr
    mark = argocd.control_plane.audit_mark()
    plugin("rescue", app, "--workloads", "--yes", check=True)
    assert rolled.pods() == {GOOD: 2} and rolled.served() == {GOOD}
    written = [e.uri.partition("?")[0] for e in edits(argocd.control_plane, mark)]
    end = "/deployments/traefik" if shape == "workloadRef" else "/rollouts/traefik/status"
    assert (
        [uri for uri in written if "/traefik" in uri] == [uri for uri in written if uri.endswith(end)] != []
    )
    rolled.mend()
    plugin("undo", "--redeploy", "--yes", check=True)
    rolled.until_stable(GOOD)

    # Promoted: a new one, which halts, is never aborted on its way, and goes on with --full.
    rolled.push(FIXED)
    rolled.until_paused()
    rolled.promote(FIXED)
    planned = plugin("rescue", app, "--workloads", "--dry-run", check=True)
    assert "another version starts a new" in planned.stderr
    halted = plugin("rescue", app, "--workloads", "--yes")
    assert halted.returncode == 4, halted.stdout + halted.stderr
    assert f"Next: kubectl argo-rescue rescue {app} --workloads --full" in halted.stderr
    assert FIXED in rolled.served(), "what is fled from still serves"
    done = plugin("rescue", app, "--workloads", "--full", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert rolled.live()["status"]["phase"] == "Healthy" and "abort" not in rolled.live()["status"]
    argocd.until(lambda: rolled.pods() == {GOOD: 2}, 60, "nothing else runs")
    assert rolled.served() == {GOOD}
    rolled.mend()
    plugin("undo", "--redeploy", "--yes", check=True)
    settle(argocd, app)
    assert rolled.pods() == {GOOD: 2}
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""
