"""The simulation behind the face of the test bed: what is played on real controllers is played on it too.

As much of `tests.testbed.argocd.ArgoCD` as a `Scene` asks for. Waiting lets simulated time pass.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TypeVar

import yaml

from kubectl_argo_rescue.model.values import BY_KIND, Resource
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.argocd import SimulatedArgoCD
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import new_api
from kubectl_argo_rescue.simulation.sources import ChartRepository, GitRepository, Sources
from tests.testbed.api import JSON, MERGE_PATCH, Api, ApiError, Kind, NotFound
from tests.testbed.argocd import ArgoCD
from tests.testbed.sources import BROKEN_VERSION, CHART_VERSIONS, Edit, project

T = TypeVar("T")

GIT = "https://git.invalid/gitops.git"
CHARTS = "https://charts.invalid"


class SimulatedBed(ArgoCD):
    """One simulated Argo CD of a release line."""

    def __init__(self, version: str) -> None:
        major, minor = (int(part) for part in version.split("."))
        clock = SteppedClock(datetime(2026, 11, 27, 14, 0, tzinfo=timezone.utc))
        self.memory = new_api(clock, (major, minor))
        git, charts = GitRepository(), ChartRepository()
        for chart_version in CHART_VERSIONS:
            charts.publish("traefik", chart_version, _rendered(chart_version))
        sources = Sources({GIT: git}, {CHARTS: charts})
        self.simulated = SimulatedArgoCD(self.memory, sources, clock, (major, minor), resync=20)
        self.simulated.workloads.broken_images.add(f"registry.invalid/traefik:v{BROKEN_VERSION}")
        self.version, self.namespace = version, "argocd"
        self.api = _Api(self.memory)
        self.repository = _Repository(git)  # type: ignore[assignment]
        self.charts = SimpleNamespace(url=CHARTS)  # type: ignore[assignment]
        self.control_plane = SimpleNamespace(namespace=lambda name: name)  # type: ignore[assignment]
        self.apply(project("default"))

    def until(self, condition: Callable[[], T | None], timeout: float, what: str) -> T:
        """Let time pass until a value is true."""
        for _ in range(round(timeout * 2)):
            with contextlib.suppress(NotFound, KeyError):
                if found := condition():
                    return found
            self.simulated.tick(0.5)
        raise AssertionError(f"not within {timeout:g} s: {what}")


def _rendered(version: str) -> Callable[[JSON], Sequence[JSON]]:
    """Return what the bed's chart renders to."""

    def render(source: JSON) -> Sequence[JSON]:
        name = source.get("helm", {}).get("releaseName", "traefik")
        labels = {"release": name, "chart-version": version}
        image = f"registry.invalid/traefik:v{version}"
        return [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "labels": {"chart-version": version}},
                "spec": {
                    "replicas": 2,
                    "selector": {"matchLabels": {"release": name}},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "traefik", "image": image}]},
                    },
                },
            }
        ]

    return render


class _Repository:
    """Files of YAML, each folder of which is a path that an Application may name."""

    def __init__(self, git: GitRepository) -> None:
        self.url = GIT
        self._git = git
        self._files: dict[str, str] = {}

    def commit(self, *edits: Edit, message: str = "change") -> str:
        """Commit edits on the branch and return the commit."""
        del message
        for name, *texts in edits:
            old, new = texts if len(texts) == 2 else (self._files.get(name, ""), texts[0])
            self._files[name] = self._files[name].replace(old, new) if len(texts) == 2 else new
        folders = {name.rpartition("/")[0] for name, *_ in edits}
        return self._git.commit({folder: self._objects(folder) for folder in folders})

    def _objects(self, folder: str) -> list[JSON]:
        texts = [t for n, t in self._files.items() if n.rpartition("/")[0] == folder and n.endswith(".yaml")]
        return [obj for text in texts for obj in yaml.safe_load_all(text) if obj]

    def head(self) -> str:
        """Return the commit that the branch is at."""
        return self._git.branches["main"]


class _Api(Api):
    """The administrator's way to the in-memory API."""

    def __init__(self, memory: InMemoryApi) -> None:
        self._memory = memory

    def request(
        self,
        method: str,
        path: str,
        body: JSON = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> JSON:
        """Send one request and return the JSON of the answer."""
        headers = {"Content-Type": content_type, "Accept": accept}
        data = None if body is None else json.dumps(body).encode()
        answer = self._memory.request(method, path, list((query or {}).items()), headers, data)
        found = json.loads(answer.body)
        if answer.status >= 400:
            raise (NotFound if answer.status == 404 else ApiError)(f"{method} {path}", answer.status, found)
        return found

    def apply(self, *objects: JSON) -> Sequence[JSON]:
        """Create objects, or set the fields that are given."""
        answers = []
        for obj in objects:
            meta = obj["metadata"]
            kind, namespace = _resource(obj["kind"]), meta.get("namespace", "")
            if self._memory.find(kind, namespace, meta["name"]) is None:
                answers.append(self._memory.create(obj))
            else:
                answers.append(self.patch(obj["kind"], meta["name"], namespace, obj))
        return answers

    def get(self, kind: str, name: str, namespace: str = "") -> JSON:
        """Read one object."""
        return self.request("GET", _path(kind, namespace, name))

    def list(self, kind: str, namespace: str = "", selector: str = "") -> Sequence[JSON]:
        """Read all objects of a kind."""
        del selector
        return self._memory.objects(_resource(kind), namespace)

    def patch(
        self, kind: str, name: str, namespace: str, body: JSON, content_type: str = MERGE_PATCH
    ) -> JSON:
        """Patch one object."""
        return self.request("PATCH", _path(kind, namespace, name), body, content_type=content_type)

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete one object."""
        self._memory.delete(_resource(kind), namespace, name)


def _resource(kind: str) -> Resource:
    return next(found for name, found in BY_KIND.items() if name.lower() == kind.lower())


def _path(kind: str, namespace: str, name: str) -> str:
    found = _resource(kind)
    version = "/".join(filter(None, [found.group, found.version]))
    return Kind(version, found.kind, found.plural, frozenset(), found.namespaced).path(namespace, name)
