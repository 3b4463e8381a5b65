"""The control plane as the apiserver lane uses it: who may do what, what the audit log keeps, a restart."""

from __future__ import annotations

from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin


def test_a_user_may_do_what_was_allowed_and_the_audit_log_says_so(
    control_plane: ControlPlane, namespace: str
) -> None:
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": namespace},
    }
    control_plane.apply({**config_map, "data": {"text": "hello"}})
    user = f"reader-of-{namespace}"
    control_plane.kubeconfig(user)
    mark = control_plane.audit_mark()

    denied = control_plane.kubectl("get", "configmaps", "-n", namespace, user=user, check=False)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    control_plane.allow(user, rules, namespace=namespace)
    control_plane.until(
        lambda: (
            control_plane.kubectl("get", "configmaps", "-n", namespace, user=user, check=False).returncode
            == 0
        ),
        60,
        "the grant is in force",
    )

    assert "Forbidden" in denied.stderr
    mine = [entry for entry in control_plane.audit(mark) if entry.user == user and "configmaps" in entry.uri]
    assert (mine[0].verb, mine[0].code) == ("list", 403)
    assert (mine[-1].verb, mine[-1].code) == ("list", 200)


def test_objects_outlive_a_restart_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    before = control_plane.get("namespace", namespace)["metadata"]["uid"]
    control_plane.stop_apiserver()
    control_plane.start_apiserver()
    assert control_plane.get("namespace", namespace)["metadata"]["uid"] == before


def test_kubectl_finds_the_plugin(plugin: Plugin) -> None:
    done = plugin("--help")
    assert done.returncode == 0, done.stderr
    assert "kubectl argo-rescue" in done.stdout
