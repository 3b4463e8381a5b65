"""What this tool writes, against the CustomResourceDefinitions of every release line of Argo CD.

No controller runs: the API server alone judges each patch, strictly, with the fields that the release
has. Every role of an edit in Argo CD's kinds and every kind of order is written, in one story.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kubectl_argo_rescue.model.values import OrderKind, Role
from tests.testbed import programs
from tests.testbed.api import JSON
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, project

CHART = {"repoURL": "https://charts.invalid", "chart": "traefik", "helm": {"releaseName": "traefik"}}
GIT = {"repoURL": "https://git.invalid/gitops", "path": "apps", "targetRevision": "main"}
WINDOWS = (
    {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["traefik"]},
    {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["traefik", "web"]},
    {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["*"]},
)
GOOD, BROKEN = "2.4.1", "2.5.1"


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlPlane]:
    """A server of its own, since its CRDs are replaced."""
    with ControlPlane(None) as running:
        running.namespace("argocd")
        yield running


@pytest.fixture(params=programs.RELEASES)
def line(request: pytest.FixtureRequest, bare: ControlPlane) -> Iterator[str]:
    """A release line whose CRDs, and no others, are served."""
    found: str = request.param
    bare.apply_crds(found)
    yield found
    names = [f"{kind}.argoproj.io" for kind in ("applications", "appprojects", "applicationsets")]
    for name in names:
        bare.api.delete("crd", name, "")
    bare.until(lambda: all(bare.api.find("crd", name, "") is None for name in names), 60, "they are gone")


def _controller(line: str) -> JSON:
    """The workload by whose image the version is known."""
    labels = {"app.kubernetes.io/part-of": "argocd", "app.kubernetes.io/component": "application-controller"}
    name = "argocd-application-controller"
    container = {"name": name, "image": f"quay.io/argoproj/argocd:v{programs.RELEASES[line].version}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "argocd", "labels": labels},
        "spec": {
            "serviceName": name,
            "selector": {"matchLabels": {"x": name}},
            "template": {"metadata": {"labels": {"x": name}}, "spec": {"containers": [container]}},
        },
    }


def _deployed(bare: ControlPlane, name: str, sources: list[Mapping[str, object]], **more: JSON) -> None:
    """Give an app the status that Argo CD would have left: good once, broken now."""
    key, revision = ("sources", "revisions") if len(sources) > 1 else ("source", "revision")

    def at(version: str) -> JSON:
        every = [{**source, "targetRevision": version} if "chart" in source else source for source in sources]
        versions = [version if "chart" in source else "1" * 40 for source in sources]
        return {key: every, revision: versions} if len(sources) > 1 else {key: every[0], revision: versions[0]}

    times = [f"2026-01-0{day}T10:00:00Z" for day in (1, 2)]
    history = [
        {"id": i, "deployedAt": times[i], "deployStartedAt": times[i], **at(version)}
        for i, version in enumerate((GOOD, BROKEN))
    ]
    destination = {"server": "https://kubernetes.default.svc", "namespace": "default"}
    compared = {k: v for k, v in at(BROKEN).items() if k == key}
    status = {
        "reconciledAt": times[1],
        "health": {"status": "Degraded"},
        "history": history,
        "sync": {
            "status": "Synced",
            revision: at(BROKEN)[revision],
            "comparedTo": {**compared, "destination": destination},
        },
        **more,
    }
    bare.api.patch("application", name, "argocd", {"status": status})


def _owned(app: JSON, root: str) -> JSON:
    mark = {"argocd.argoproj.io/tracking-id": f"{root}:argoproj.io/Application:argocd/{app['metadata']['name']}"}
    return {**app, "metadata": {**app["metadata"], "annotations": mark}}


def test_every_kind_of_write_is_one_that_the_release_takes(
    bare: ControlPlane, line: str, tmp_path: Path
) -> None:
    plugin = Plugin(bare, tmp_path)
    bare.apply(_controller(line), project("cluster", windows=WINDOWS))
    one, several = [CHART], [{**GIT, "ref": "values"}, CHART]
    broken = {"targetRevision": BROKEN}
    bare.apply(
        application("root", GIT),
        _owned(application("traefik", {**CHART, **broken}, project="cluster"), "root"),
        application("many", [several[0], {**CHART, **broken}], automated={}),
    )
    _deployed(bare, "traefik", one)
    _deployed(bare, "many", several)
    results: list[JSON] = []

    def run(*arguments: str, status: int = 0) -> JSON:
        done = plugin(*arguments, "--yes", "-o", "json")
        assert done.returncode == status, f"{arguments}: {done.stdout}{done.stderr}"
        results.append(json.loads(done.stdout))
        return results[-1]

    run("pause", "traefik")
    run("unblock", "traefik")
    run("pin", "traefik", GOOD)
    run("sync", "traefik")
    print(json.dumps(results, indent=1))
    assert 0
