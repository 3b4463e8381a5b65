"""The incident of the story on real controllers, one command for each step by hand.

On every bed: where the version is known and has it, a pause is `enabled: false`; elsewhere it takes
the block away. Shown:

- a pin alone is reverted by `root`, and undoing what was reverted writes nothing;
- `pause root`, `unblock traefik`, `pin traefik 2.4.1`, `watch traefik` need no yes, and when the
  watch ends 2.4.1 really serves; the other app stays frozen;
- `undo` before git is fixed ends with 5, and no write but the refresh annotation left the plugin;
- `undo` after git is fixed puts back every spec byte for byte, and the Deployment never moves: no
  state of it, in a watch over the whole undo, is of 2.5.1;
- a second undo has nothing to do and writes nothing.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import APP, BROKEN, FREEZE, GOOD, OTHER, PROJECT, ROOT, TARGET, Incident
from tests.testbed.plugin import Plugin

from .scene import automated, edits, settle, text_of, unmoved, watched, writes


def _specs(argocd: ArgoCD) -> dict[str, str]:
    found = {name: text_of(argocd.app(name)["spec"]) for name in (ROOT, APP, OTHER)}
    return {**found, PROJECT: text_of(argocd.get("appproject", PROJECT)["spec"])}


@pytest.mark.core
def test_the_story(argocd: ArgoCD, plugin: Plugin) -> None:
    incident = Incident(argocd)
    has_enabled = argocd.workloads and argocd.version != "2.14"
    incident.happen()
    original = _specs(argocd)

    # A pin alone is put back by the controller.
    plugin("pin", APP, GOOD, "--only", check=True)
    argocd.until(lambda: incident.revision() == BROKEN, 120, "root reverted the pin")
    argocd.until_idle(ROOT)
    mark = argocd.control_plane.audit_mark()
    plugin("undo", APP, check=True)
    assert not edits(argocd.control_plane, mark)
    assert _specs(argocd) == original

    # The four commands.
    paused = plugin("pause", "root", check=True)
    assert paused.stdout == "application.argoproj.io/root paused\n"
    block = {"prune": True, "selfHeal": True}
    assert automated(argocd.app(ROOT)) == ({**block, "enabled": False} if has_enabled else None)
    plugin("unblock", "traefik", check=True)
    windows = argocd.get("appproject", PROJECT)["spec"]["syncWindows"]
    assert windows == [{**FREEZE[0], "applications": [OTHER]}]
    with watched(argocd, TARGET) as seen:
        start = time.monotonic()
        plugin("pin", "traefik", "2.4.1", check=True)
        ordered = time.monotonic() - start
        watching = plugin("watch", "traefik", check=True)
        rolled_back = time.monotonic() - start
        assert incident.is_serving(GOOD), "watch ended before the truth"
    assert seen.versions == [BROKEN, GOOD]
    assert "application.argoproj.io/traefik synced to 2.4.1 and healthy" in watching.stdout

    # Too early.
    mark = argocd.control_plane.audit_mark()
    stood = _specs(argocd)
    start = time.monotonic()
    refused = plugin("undo")
    refusal = time.monotonic() - start
    assert refused.returncode == 5, refused.stderr
    assert all(word in refused.stderr for word in (BROKEN, GOOD, argocd.repository.url, "apps", "--redeploy"))
    assert [e.uri.partition("?")[0] for e in writes(argocd.control_plane, mark)] == [
        f"/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/{ROOT}"
    ] * len(writes(argocd.control_plane, mark))
    assert not edits(argocd.control_plane, mark)
    assert _specs(argocd) == stood

    # git is fixed, as people do it: nobody tells Argo CD.
    argocd.git(
        ("apps/traefik.yaml", f"targetRevision: {BROKEN}", f"targetRevision: {GOOD}"), message="revert"
    )
    with unmoved(argocd, TARGET, lambda: settle(argocd, ROOT, APP)):
        start = time.monotonic()
        undone = plugin("undo")
        took = time.monotonic() - start
        assert undone.returncode == 0, undone.stdout + undone.stderr
        original[APP] = original[APP].replace(f'"{BROKEN}"', f'"{GOOD}"')  # git's, and live already
        assert _specs(argocd) == original
    assert _specs(argocd) == original
    assert incident.is_serving(GOOD)
    assert argocd.until_idle(ROOT)["status"]["sync"]["status"] == "Synced"

    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""
    mark = argocd.control_plane.audit_mark()
    again = plugin("undo", "-o", "json", check=True)
    assert json.loads(again.stdout)["edits"] == []
    assert not writes(argocd.control_plane, mark)
    print(
        f"Argo CD {argocd.version}, version {'known' if argocd.workloads else 'unknown'}: pin {ordered:.1f} s, "
        f"serving {GOOD} {rolled_back:.1f} s, refusal {refusal:.1f} s, undo {took:.1f} s"
    )
