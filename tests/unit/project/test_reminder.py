"""What docs/forgotten-rescues.md offers to be copied: manifests and rules that say what they should.

Left to the apiserver lane: that an API server takes them and that the role is enough. To tests/release:
that Prometheus understands the expressions.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from kubectl_argo_rescue import __version__
from kubectl_argo_rescue.argocd.cron import parse
from kubectl_argo_rescue.model.times import parse_span
from tests import docs

PAGE = (docs.CHECKOUT / "docs" / "forgotten-rescues.md").read_text()
MANIFESTS: list[Any] = [
    document
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for document in yaml.safe_load_all(block)
]


def one(kind: str) -> Any:
    (found,) = [m for m in MANIFESTS if m["kind"] == kind]
    return found


def test_the_job_runs_a_command_that_is_one_and_fails_once() -> None:
    spec = one("CronJob")["spec"]
    assert parse(spec["schedule"])
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert not docs.parse(tuple(container["args"]))
    assert "--exit-code" in container["args"]
    assert container["image"].endswith(f":{__version__}")
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert pod["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_role_can_read_and_nothing_else() -> None:
    for kind in ("Role", "ClusterRole"):
        for rule in one(kind)["rules"]:
            assert set(rule["verbs"]) <= {"get", "list"}
            assert "secrets" not in rule["resources"]


def test_the_rules_have_the_fields_of_rules() -> None:
    (group,) = one("PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z]\w+", rule["alert"])
        assert parse_span(rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
        for text in rule["annotations"].values():
            assert re.sub(r"\{\{ \$labels\.\w+ \}\}", "", text).count("{{") == 0
    jobs = re.findall(r'job_name=~"([^"]+)"', group["rules"][0]["expr"])
    assert re.fullmatch(jobs[0], f"{one('CronJob')['metadata']['name']}-29000000")
