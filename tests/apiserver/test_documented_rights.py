"""The rules of docs/rbac.md are enough: a user who has them and no more is refused nothing.

Every verb that makes sense without controllers is run by that user; the API server's audit log has
no 403 of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests import docs
from tests.testbed.api import JSON
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, project

USER = "carol"
APP = "documented"
PROJECT = "documented"
API = "rbac.authorization.k8s.io"
REVIEWS = "authorization.k8s.io"


@pytest.fixture
def bound(control_plane: ControlPlane) -> Iterator[None]:
    """The documented roles, bound to the user, and an application behind a window."""
    roles = list(yaml.safe_load_all(docs.documented_roles()))
    bindings = [
        {
            "apiVersion": f"{API}/v1",
            "kind": f"{role['kind']}Binding",
            "metadata": role["metadata"],
            "roleRef": {"apiGroup": API, "kind": role["kind"], "name": role["metadata"]["name"]},
            "subjects": [{"kind": "User", "apiGroup": API, "name": USER}],
        }
        for role in roles
    ]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd"},
    }
    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": [APP, "other"]}
    source = {"repoURL": "https://git.invalid/it", "path": "it", "targetRevision": "1.0.0"}
    control_plane.apply(
        *roles,
        *bindings,
        config,
        project(PROJECT, namespace="argocd", windows=[window]),
        application(APP, source, namespace="argocd", project=PROJECT),
    )
    for role in roles:
        here = "argocd" if role["kind"] == "Role" else ""
        rule = role["rules"][-1]
        until_may(control_plane, rule, rule["verbs"][-1], rule["resources"][-1], here, USER)
    yield
    control_plane.api.delete("application", APP, "argocd")
    control_plane.api.delete("appproject", PROJECT, "argocd")


@pytest.mark.usefixtures("bound")
def test_the_documented_rights_are_enough(control_plane: ControlPlane, plugin: Plugin) -> None:
    mark = control_plane.audit_mark()
    for words, status in [
        (("doctor",), 0),
        (("status",), 0),
        (("status", APP), 0),
        (("windows", APP), 0),
        (("pause", APP), 0),
        (("unblock", APP), 0),
        (("pin", APP, "1.1.0", "--no-sync", "--yes"), 0),
        (("sync", APP, "--yes"), 0),
        (("watch", APP, "--timeout=2s"), 6),
        (("log",), 0),
        (("report",), 0),
        (("undo", "--yes"), 0),
        (("log", "prune", "--older-than=1h", "--yes"), 0),
    ]:
        done = plugin(*words, user=USER)
        assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
    asked = [entry for entry in control_plane.audit(mark) if entry.user == USER]
    assert asked
    assert not [f"{entry.verb} {entry.uri}" for entry in asked if entry.code in (401, 403)]


def test_the_documented_bindings_give_the_rights(control_plane: ControlPlane) -> None:
    roles = [*yaml.safe_load_all(docs.documented_roles()), yaml.safe_load(docs.documented_freeze_role())]
    control_plane.apply(*roles)
    _unbind(control_plane)
    created = [
        command
        for block in docs.blocks(docs.CHECKOUT / "docs" / "rbac.md")
        for command in block.commands
        if not command.words
    ]
    for command in created:
        assert command.parts[0][0] == "kubectl"
        control_plane.kubectl(*command.parts[0][1:])
    try:
        for role in roles:
            here = "" if role is roles[0] else "argocd"
            for rule in role["rules"]:
                for verb in rule["verbs"]:
                    for resource in rule["resources"]:
                        until_may(control_plane, rule, verb, resource, here, "someone", "on-call")
        refused = control_plane.kubectl(
            "auth", "can-i", "patch", "applications.argoproj.io", "--as=someone", check=False
        )
        assert refused.stdout == "no\n"
    finally:
        _unbind(control_plane)


def until_may(
    control_plane: ControlPlane,
    rule: JSON,
    verb: str,
    resource: str,
    namespace: str,
    *who: str,
    allowed: bool = True,
) -> None:
    """Wait until the server lets a user, of these groups, do what a rule says, or not: its authorizer watches rules.

    It is asked itself: kubectl auth can-i asks something else where a kind is not served.
    """
    plural, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": rule["apiGroups"][0],
        "resource": plural,
        "subresource": subresource,
        "name": rule.get("resourceNames", [""])[0],
    }
    user, *groups = who
    spec = {"resourceAttributes": attributes, "user": user, "groups": ["system:authenticated", *groups]}
    review = {"apiVersion": f"{REVIEWS}/v1", "kind": "SubjectAccessReview", "spec": spec}
    path = f"/apis/{REVIEWS}/v1/subjectaccessreviews"
    control_plane.until(
        lambda: control_plane.api.request("POST", path, review)["status"]["allowed"] is allowed,
        60,
        f"{user} may {'' if allowed else 'not '}{verb} {resource} in {namespace or 'all namespaces'}",
    )


def _unbind(control_plane: ControlPlane) -> None:
    control_plane.kubectl("delete", "clusterrolebinding", "argo-rescue", "--ignore-not-found")
    for name in ("argo-rescue", "argo-rescue-freeze"):
        control_plane.kubectl("-n", "argocd", "delete", "rolebinding", name, "--ignore-not-found")


@pytest.mark.usefixtures("bound")
def test_without_them_nothing_is_written(control_plane: ControlPlane, plugin: Plugin) -> None:
    mark = control_plane.audit_mark()
    asked = plugin("doctor", "--argocd-namespace=argocd", user="dave")
    assert asked.returncode == 1, asked.stdout
    assert "cannot get applications.argoproj.io in argocd" in " ".join(asked.stdout.split())
    done = plugin("pause", APP, "--argocd-namespace=argocd", user="dave")
    assert done.returncode == 1, done.stderr
    written = [e for e in control_plane.audit(mark) if e.user == "dave" and e.verb in ("create", "patch")]
    assert not [e.uri for e in written if "reviews" not in e.uri and "dryRun=All" not in e.uri]
