"""`freeze` and its thaw where argocd-operator makes Argo CD, by its own CustomResourceDefinition on a real API server.

No controller of Argo CD runs here, and no pod: what is held to the server are the writes, the
existence of workloads, and what a command knows without them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testbed.api import JSON
from tests.testbed.control_plane import ControlPlane
from tests.testbed.operated import NAME, Operator, resource, serve
from tests.testbed.plugin import Plugin

NAMESPACE = "argocd"
JOURNAL = "app.kubernetes.io/managed-by=kubectl-argo-rescue"


def controller(kind: str, name: str) -> JSON:
    """One of Argo CD's controllers, labelled as the operator does."""
    labels = {
        "app.kubernetes.io/part-of": "argocd",
        "app.kubernetes.io/component": "controller" if kind == "Deployment" else name.removeprefix("argocd-"),
    }
    container = {"name": name, "image": "quay.io/argoproj/argocd@sha256:" + "0" * 64, "command": [name]}
    pod = {"metadata": {"labels": {"x": name}}, "spec": {"containers": [container]}}
    spec: JSON = {"replicas": 1, "selector": {"matchLabels": {"x": name}}, "template": pod}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    meta = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": spec}


@pytest.fixture
def operator(control_plane: ControlPlane) -> Iterator[Operator]:
    """The operator of an Argo CD, which does not act before it is started."""
    serve(control_plane)
    control_plane.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}},
        controller("StatefulSet", "argocd-application-controller"),
        controller("Deployment", "argocd-applicationset-controller"),
    )
    (owner,) = control_plane.apply(resource(NAMESPACE))
    made = Operator(control_plane.api, NAMESPACE, owner)
    yield made
    made.stop()
    for kind, name in (
        ("argocds", NAME),
        ("statefulset", "argocd-application-controller"),
        ("deployment", "argocd-applicationset-controller"),
    ):
        control_plane.api.delete(kind, name, NAMESPACE)
    for entry in control_plane.api.list("configmap", NAMESPACE, JOURNAL):
        control_plane.api.delete("configmap", entry["metadata"]["name"], NAMESPACE)


def _there(control_plane: ControlPlane) -> list[int]:
    """The replicas of the controllers that are there."""
    found = [
        control_plane.api.find(kind, name, NAMESPACE)
        for kind, name in (
            ("statefulset", "argocd-application-controller"),
            ("deployment", "argocd-applicationset-controller"),
        )
    ]
    return [w["spec"]["replicas"] for w in found if w]


def _entry(plugin: Plugin) -> str:
    return plugin("log", "--open", "-o", "name", check=True).stdout.split()[0].removeprefix("entry/")


def test_the_operators_own_resource_is_switched(
    control_plane: ControlPlane, plugin: Plugin, operator: Operator
) -> None:
    operator.start()
    frozen = plugin("freeze")
    assert frozen.returncode == 0, frozen.stderr
    spec = control_plane.api.get("argocds", NAME, NAMESPACE)["spec"]
    assert spec["controller"]["enabled"] is False and spec["applicationSet"]["enabled"] is False
    assert _there(control_plane) == []
    assert "FROZEN" in plugin("status", check=True).stdout
    again = plugin("freeze")
    assert again.returncode == 0 and again.stdout.count("is off already") == 2, again.stderr

    # No pod is ever ready here: the thaw begins, and waits for what the operator has made.
    late = plugin("undo", _entry(plugin), "--yes", "--timeout=5s")
    assert late.returncode == 6 and "has no ready pod yet" in late.stderr, late.stderr
    assert "enabled" not in control_plane.api.get("argocds", NAME, NAMESPACE)["spec"]["controller"]
    assert "created argocd-application-controller" in operator.acts


def test_an_operator_that_is_away(control_plane: ControlPlane, plugin: Plugin, operator: Operator) -> None:
    frozen = plugin("freeze")
    assert frozen.returncode == 0, frozen.stderr
    assert "the operator does not act" in frozen.stderr
    assert _there(control_plane) == [0, 0]
    operator.start()
    control_plane.until(lambda: _there(control_plane) == [], 30, "it is back and takes them away")
    late = plugin("undo", _entry(plugin), "--yes", "--timeout=5s")
    assert late.returncode == 6 and "has no ready pod yet" in late.stderr, late.stderr


def test_an_older_operator_is_passed_by(
    control_plane: ControlPlane, plugin: Plugin, operator: Operator
) -> None:
    """v1alpha1 had no such fields: the same server, with the schema of then."""
    crd = control_plane.api.get("customresourcedefinition", "argocds.argoproj.io")
    (index,) = [i for i, v in enumerate(crd["spec"]["versions"]) if v["name"] == "v1beta1"]
    fields = f"/spec/versions/{index}/schema/openAPIV3Schema/properties/spec/properties"
    forget = [
        {"op": "remove", "path": f"{fields}/{part}/properties/enabled"}
        for part in ("controller", "applicationSet")
    ]
    control_plane.api.patch(
        "customresourcedefinition",
        "argocds.argoproj.io",
        "",
        forget,
        "application/json-patch+json",
    )
    try:
        frozen = plugin("freeze")
        assert frozen.returncode == 0, frozen.stderr
        assert "cannot be switched off" in frozen.stderr
        assert _there(control_plane) == [0, 0]
    finally:
        serve(control_plane)
