"""What this tool writes, against the CustomResourceDefinitions of every release line of Argo CD.

No controller runs: the API server alone judges each patch, strictly, by the fields that the release
has. Every role of an edit in Argo CD's kinds and every kind of order is written, in one story.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.testbed import programs
from tests.testbed.api import JSON
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, project

CHART = {"repoURL": "https://charts.invalid", "chart": "traefik", "helm": {"releaseName": "traefik"}}
GIT = {"repoURL": "https://git.invalid/gitops", "path": "apps", "targetRevision": "main"}
VALUES = {"repoURL": "https://git.invalid/values", "targetRevision": "main", "ref": "values"}
WINDOWS = (
    {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["traefik"]},
    {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["traefik", "web"]},
    {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["*"]},
)
GOOD, BROKEN = "2.4.1", "2.5.1"


@pytest.fixture(params=programs.RELEASES)
def line(request: pytest.FixtureRequest) -> str:
    """A release line."""
    found: str = request.param
    return found


@pytest.fixture
def bare(line: str) -> Iterator[ControlPlane]:
    """A server with the CRDs of that line, and no others."""
    with ControlPlane(line) as running:
        running.namespace("argocd")
        yield running


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


def _status(sources: Sequence[JSON]) -> JSON:
    """What Argo CD would have left: good once, broken now."""
    word = "sources" if len(sources) > 1 else "source"

    def at(version: str, **more: JSON) -> JSON:
        every = [{**source, "targetRevision": version} if "chart" in source else source for source in sources]
        revisions = [version if "chart" in source else "1" * 40 for source in sources]
        if word == "source":
            return {"source": every[0], "revision": revisions[0], **more}
        return {"sources": every, "revisions": revisions, **more}

    times = ("2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z")
    now = at(BROKEN)
    destination = {"server": "https://kubernetes.default.svc", "namespace": "default"}
    revisions = {name: value for name, value in now.items() if name.startswith("revision")}
    return {
        "reconciledAt": times[1],
        "health": {"status": "Degraded"},
        "history": [
            at(version, id=i, deployedAt=times[i], deployStartedAt=times[i])
            for i, version in enumerate((GOOD, BROKEN))
        ],
        "sync": {
            "status": "Synced",
            "comparedTo": {word: now[word], "destination": destination},
            **revisions,
        },
    }


def _of_root(app: JSON) -> JSON:
    name = app["metadata"]["name"]
    mark = {"argocd.argoproj.io/tracking-id": f"root:argoproj.io/Application:argocd/{name}"}
    return {**app, "metadata": {**app["metadata"], "annotations": mark}}


class Story:
    """The writes of one release line, by what they touch."""

    def __init__(self, bare: ControlPlane, line: str, plugin: Plugin) -> None:
        self.bare, self.plugin = bare, plugin
        self.touched: set[tuple[str, str]] = set()
        broken = {**CHART, "targetRevision": BROKEN}
        bare.apply(_controller(line), project("cluster", windows=WINDOWS), application("root", GIT))
        bare.apply(
            _of_root(application("traefik", broken, project="cluster")),
            application("many", [VALUES, broken], automated={}),
        )
        for name, sources in (("traefik", [CHART]), ("many", [VALUES, CHART])):
            self.patch(name, {"status": _status(sources)})

    def patch(self, name: str, body: JSON) -> None:
        """Play the controller."""
        self.bare.api.patch("application", name, "argocd", body)

    def run(self, *arguments: str) -> None:
        """Run a command to its end and note what it wrote."""
        done = self.plugin(*arguments, "--yes", "-o", "json")
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        for edit in json.loads(done.stdout)["edits"]:
            paths = [re.sub(r"/\d+", "/*", op["path"]) for op in edit["patch"] if op["op"] != "test"]
            self.touched |= {(edit["kind"], path) for path in paths}

    def set_with_child(self) -> None:
        """Apply an ApplicationSet and an app that it generates."""
        chart = {**CHART, "targetRevision": BROKEN}
        child = application("child", chart)
        template = {"metadata": {"name": "{{.name}}"}, "spec": child["spec"]}
        generators = [{"list": {"elements": [{"name": "child"}]}}]
        kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet"}
        meta = {"name": "set", "namespace": "argocd"}
        spec = {"goTemplate": True, "generators": generators, "template": template}
        (made,) = self.bare.apply({**kind, "metadata": meta, "spec": spec})
        owner = {**kind, "name": "set", "uid": made["metadata"]["uid"], "controller": True}
        self.bare.apply({**child, "metadata": {**meta, "name": "child", "ownerReferences": [owner]}})
        self.patch("child", {"status": _status([CHART])})


def test_every_kind_of_write_is_one_that_the_release_takes(
    bare: ControlPlane, line: str, tmp_path: Path
) -> None:
    story = Story(bare, line, Plugin(bare, tmp_path))
    story.run("pause", "traefik")
    story.run("unblock", "traefik")
    story.run("pin", "traefik", GOOD)  # auto-sync is off: a sync is ordered with it
    story.run("terminate", "traefik")  # nobody has picked it up: it is withdrawn
    story.run("rollback", "traefik", "--to", GOOD)
    story.patch("traefik", {"status": {"operationState": {**_RUNNING, "operation": {"sync": {}}}}})
    story.run("terminate", "traefik", "--no-wait")
    story.run("terminate", "traefik", "--no-wait", "--force")
    story.run("sync", "traefik")
    story.run("pin", "many", GOOD)
    story.set_with_child()
    for verb in (["pause", "child"], ["pin", "child", GOOD]):
        story.run(*verb, "--dry-run=server")

    pause = "/spec/syncPolicy/automated"
    has_enabled = line not in ("2.14", "3.0")
    assert story.touched >= {
        ("Application", f"{pause}/enabled" if has_enabled else pause),
        ("Application", "/spec/source/targetRevision"),
        ("Application", "/spec/sources/*/targetRevision"),
        ("Application", "/operation"),
        ("Application", "/status/operationState"),
        ("Application", "/status/operationState/phase"),
        ("Application", "/status/operationState/finishedAt"),
        ("AppProject", "/spec/syncWindows/*"),
        ("AppProject", "/spec/syncWindows/*/applications/*"),
        ("AppProject", "/spec/syncWindows/*/manualSync"),
        ("ApplicationSet", "/spec/ignoreApplicationDifferences"),
    }, sorted(story.touched)


_RUNNING = {"phase": "Running", "message": "waiting", "startedAt": "2026-01-02T10:00:00Z"}
