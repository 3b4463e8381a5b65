"""A whole Argo CD frozen and thawed, on real controllers.

Shown: one command pauses every Application, of app-of-apps and of an ApplicationSet, and it holds
against self-heal, a new commit and the set's controller; another freeze changes nothing; one undo
brings every spec back as it was, and git is followed again. A selection by label and by project.
"""

from __future__ import annotations

from functools import partial

from tests.testbed.api import JSON
from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import APP, BROKEN, GOOD, OTHER, PROJECT, ROOT, Incident
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application

from .scene import is_auto_sync_on

SET = "fleet"


def _apps(argocd: ArgoCD) -> dict[str, JSON]:
    return {a["metadata"]["name"]: a for a in argocd.api.list("application", argocd.namespace)}


def _set(argocd: ArgoCD) -> JSON:
    """Return an ApplicationSet of two small git apps."""
    one: JSON = application(
        "{{name}}",
        {"repoURL": argocd.repository.url, "path": "web", "targetRevision": "main"},
        namespace=argocd.namespace,
        destination="fleet",
        automated={"prune": True, "selfHeal": True},
    )
    template: JSON = {"metadata": {"name": "{{name}}", "labels": {"tier": "fleet"}}, "spec": one["spec"]}
    template["spec"]["syncPolicy"]["syncOptions"] = ["CreateNamespace=true"]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": SET, "namespace": argocd.namespace},
        "spec": {
            "generators": [{"list": {"elements": [{"name": "fleet-a"}, {"name": "fleet-b"}]}}],
            "template": template,
        },
    }


def _is_clean(argocd: ArgoCD, name: str) -> bool:
    return "touched" not in _apps(argocd)[name]["metadata"].get("labels", {})


def test_a_freeze_is_one_command_and_one_undo(argocd: ArgoCD, plugin: Plugin) -> None:
    incident = Incident(argocd)
    incident.day0()
    argocd.apply(_set(argocd))
    argocd.until(lambda: {"fleet-a", "fleet-b"} <= set(_apps(argocd)), 120, "the set has generated its apps")
    for name in ("fleet-a", "fleet-b"):
        argocd.until_synced(name)
    before = {name: a["spec"] for name, a in _apps(argocd).items()}
    assert all(is_auto_sync_on(a) for a in _apps(argocd).values())

    refused = plugin("pause", "--all")
    assert refused.returncode == 5, refused.stderr
    assert f"ApplicationSet {argocd.namespace}/{SET}" in refused.stderr
    assert {name: a["spec"] for name, a in _apps(argocd).items()} == before

    frozen = plugin("pause", "--all", "--yes", "--reason", "cluster upgrade")
    assert frozen.returncode == 0, frozen.stderr
    assert set(_apps(argocd)) == {ROOT, APP, OTHER, "fleet-a", "fleet-b"}
    rules = argocd.get("applicationset", SET)["spec"]["ignoreApplicationDifferences"]
    assert rules == [{"jsonPointers": ["/spec/syncPolicy"]}], "one rule for all apps of the set"

    # It holds against a new commit, against drift and against the set's own controller.
    file = "apps/traefik.yaml"
    old = argocd.repository.read(file)
    argocd.git((file, old.replace(GOOD, BROKEN)), message="a commit in the freeze")
    argocd.follow_git(ROOT)
    for name in ("fleet-a", "fleet-b"):
        argocd.api.patch("application", name, argocd.namespace, {"metadata": {"labels": {"touched": "yes"}}})
        argocd.until(partial(_is_clean, argocd, name), 120, f"the set has written {name} again")
    assert not [name for name, a in _apps(argocd).items() if is_auto_sync_on(a)]
    assert incident.revision() == GOOD

    again = plugin("pause", "--all")
    assert again.returncode == 0
    assert again.stdout.count("already paused") == 5

    argocd.git((file, old), message="taken back")
    argocd.follow_git(ROOT)
    thawed = plugin("undo", "--yes")
    assert thawed.returncode == 0, thawed.stderr
    argocd.until(
        lambda: {name: a["spec"] for name, a in _apps(argocd).items()} == before,
        120,
        "every spec is as it was",
    )
    assert "ignoreApplicationDifferences" not in argocd.get("applicationset", SET)["spec"]

    by_label = plugin("pause", "-l", "tier=fleet", "--dry-run=client", "-o", "name")
    assert by_label.stdout.splitlines() == [
        f"applicationset.argoproj.io/{SET}",
        "application.argoproj.io/fleet-a",
        "application.argoproj.io/fleet-b",
    ]
    by_project = plugin("pause", "--project", PROJECT, "--dry-run=client", "-o", "name")
    assert "application.argoproj.io/traefik" in by_project.stdout.splitlines()
    assert "fleet" not in by_project.stdout
