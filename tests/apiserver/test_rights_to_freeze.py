"""The further rights of docs/rbac.md are enough to freeze, orphan, undo and thaw, and none of them is idle.

A user who has them is refused nothing; where one is missing that is said before anything is written.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import yaml

from tests import docs
from tests.testbed.api import JSON
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, project

from .test_documented_rights import API, until_may
from .test_operated import JOURNAL, NAMESPACE, controller

USER = "erin"
APP = "freezable"
FURTHER: JSON = yaml.safe_load(docs.documented_freeze_role())
BASE: list[JSON] = list(yaml.safe_load_all(docs.documented_roles()))
CONTROLLERS = (
    ("StatefulSet", "argocd-application-controller"),
    ("Deployment", "argocd-applicationset-controller"),
)

MISSING = {
    ("statefulsets/scale", "patch"): (("freeze",), 1, "you may not as erin patch StatefulSet/scale"),
    ("deployments/scale", "patch"): (("freeze",), 1, "you may not as erin patch Deployment/scale"),
    ("applications", "delete"): (("orphan", APP, "--yes"), 1, "you may not as erin delete Application"),
    ("pods", "list"): (("freeze",), 4, "you may not list pods"),
    ("pods", "delete"): (("freeze",), 0, "you may not delete pods"),
}
"""What is tried without a right, how that ends, and what is said before the first write."""


@pytest.fixture
def bound(control_plane: ControlPlane) -> Iterator[None]:
    """The documented roles bound to the user, an Argo CD whose controllers are ready, and an application."""
    bindings = [
        {
            "apiVersion": f"{API}/v1",
            "kind": "ClusterRoleBinding" if role is BASE[0] else "RoleBinding",
            "metadata": {"name": f"{role['metadata']['name']}-{USER}"}
            | ({} if role is BASE[0] else {"namespace": NAMESPACE}),
            "roleRef": {"apiGroup": API, "kind": role["kind"], "name": role["metadata"]["name"]},
            "subjects": [{"kind": "User", "apiGroup": API, "name": USER}],
        }
        for role in (*BASE, FURTHER)
    ]
    source = {"repoURL": "https://git.invalid/it", "path": "it", "targetRevision": "1.0.0"}
    control_plane.apply(
        *BASE,
        FURTHER,
        *bindings,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}},
        project(APP, namespace=NAMESPACE),
        application(APP, source, namespace=NAMESPACE, project=APP),
    )
    for kind, name in CONTROLLERS:
        (made,) = control_plane.apply(controller(kind, name))
        path = control_plane.api.kind(kind).path(NAMESPACE, name, "status")
        ready: JSON = {"status": {"replicas": 1, "readyReplicas": 1}}
        control_plane.api.request("PATCH", path, ready, content_type="application/merge-patch+json")
        assert made["spec"]["replicas"] == 1
    for role in (*BASE, FURTHER):
        rule = role["rules"][-1]
        until_may(control_plane, rule, rule["verbs"][-1], rule["resources"][-1], NAMESPACE, USER)
    yield
    control_plane.api.delete("application", APP, NAMESPACE)
    control_plane.api.delete("appproject", APP, NAMESPACE)
    for kind, name in CONTROLLERS:
        control_plane.api.delete(kind, name, NAMESPACE)
    for entry in control_plane.api.list("configmap", NAMESPACE, JOURNAL):
        control_plane.api.delete("configmap", entry["metadata"]["name"], NAMESPACE)


def _newest(plugin: Plugin) -> str:
    return plugin("log", "-o", "name", user=USER, check=True).stdout.split()[0].removeprefix("entry/")


@pytest.mark.usefixtures("bound")
def test_they_are_enough(control_plane: ControlPlane, plugin: Plugin) -> None:
    mark = control_plane.audit_mark()
    frozen = plugin("freeze", user=USER)
    assert frozen.returncode == 0, frozen.stderr
    freeze = _newest(plugin)
    assert "FROZEN" in plugin("status", user=USER, check=True).stdout
    let_go = plugin("orphan", APP, "--yes", user=USER)
    assert let_go.returncode == 0, let_go.stderr
    assert control_plane.api.find("application", APP, NAMESPACE) is None
    anew = plugin("undo", _newest(plugin), "--yes", user=USER)
    assert anew.returncode == 5, anew.stderr  # made anew; nobody compares it here
    assert control_plane.api.find("application", APP, NAMESPACE) is not None
    thawed = plugin("undo", freeze, "--yes", "--timeout=5s", user=USER)
    assert thawed.returncode == 0, thawed.stderr
    for kind, name in CONTROLLERS:
        assert control_plane.api.get(kind, name, NAMESPACE)["spec"]["replicas"] == 1
    asked = [entry for entry in control_plane.audit(mark) if entry.user == USER]
    refused = [f"{entry.verb} {entry.uri}" for entry in asked if entry.code in (401, 403)]
    assert asked
    # It is tried whether Secrets may be kept, by a review alone.
    assert not refused


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("resource, verb", MISSING)
def test_what_is_missing_is_said_first(
    control_plane: ControlPlane, plugin: Plugin, resource: str, verb: str
) -> None:
    less = copy.deepcopy(FURTHER)
    for rule in less["rules"]:
        if resource in rule["resources"]:
            others = [r for r in rule["resources"] if r != resource]
            less["rules"].append(
                {**rule, "resources": [resource], "verbs": [v for v in rule["verbs"] if v != verb]}
            )
            less["rules"] += [{**rule, "resources": others}] if others else []
            less["rules"].remove(rule)
            break
    control_plane.apply(less)
    group = "argoproj.io" if resource == "applications" else "" if resource == "pods" else "apps"
    until_may(control_plane, {"apiGroups": [group]}, verb, resource, NAMESPACE, USER, allowed=False)
    words, status, said = MISSING[resource, verb]
    mark = control_plane.audit_mark()
    done = plugin(*words, user=USER)
    assert done.returncode == status and said in done.stderr, done.stderr
    written = [
        e.uri
        for e in control_plane.audit(mark)
        if e.user == USER and e.verb in ("create", "patch", "delete") and "reviews" not in e.uri
    ]
    assert bool(written) == (resource == "pods")
