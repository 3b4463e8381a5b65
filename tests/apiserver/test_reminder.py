"""docs/forgotten-rescues.md on a real API server: it takes the manifests, and the role is enough for the Job."""

from __future__ import annotations

import json

from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.unit.project.test_reminder import MANIFESTS, one

USER = "system:serviceaccount:argocd:argo-rescue-reminder"


def test_the_server_takes_the_manifests_and_the_job_may_do_its_work(
    control_plane: ControlPlane, plugin: Plugin
) -> None:
    known = [m for m in MANIFESTS if m["kind"] != "PrometheusRule"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": known})
    made = control_plane.kubectl("apply", "--validate=strict", "-f", "-", stdin=text)
    assert made.stdout.count("created") == len(known)
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd"},
    }
    control_plane.apply(config)
    try:
        asked = ["auth", "can-i", "list", "configmaps", "-n", "argocd", f"--as={USER}"]
        control_plane.until(
            lambda: control_plane.kubectl(*asked, check=False).stdout == "yes\n", 60, " ".join(asked)
        )
        mark = control_plane.audit_mark()
        done = plugin(*_args(), "--as", USER)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        theirs = [e for e in control_plane.audit(mark) if e.code == 403]
        assert not [f"{e.verb} {e.uri}" for e in theirs]
    finally:
        control_plane.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text)


def _args() -> list[str]:
    (container,) = one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    args: list[str] = container["args"]
    return args
