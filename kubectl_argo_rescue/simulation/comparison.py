"""One comparison of an Application with git: what is there, what should be, what is in excess.

Mirrors Argo CD: controller/state.go CompareAppState.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct, field

from ..model.values import JSON, ArgoCD, Resource, Tracking
from .api import InMemoryApi
from .diffing import (
    LAST_APPLIED,
    applied,
    differs,
    dropped,
    last_applied,
    matching_pointers,
    with_pointers_of,
    without_pointers,
)
from .sources import SourceError, Sources
from .wire import copied
from .workloads import health_of

TRACKING_ID = "argocd.argoproj.io/tracking-id"
SYNC_OPTIONS = "argocd.argoproj.io/sync-options"
_WORST = ("Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown")


class Child(Struct):
    """One object of an app: as git wants it (None: in excess), as it is (None: missing)."""

    resource: Resource
    namespace: str
    name: str
    target: JSON | None
    live: JSON | None
    is_synced: bool
    pointers: list[str] = field(default_factory=list)
    """Fields that `ignoreDifferences` takes out of the comparison."""

    @property
    def sort_key(self) -> tuple[str, str, str, str]:
        """The order of `status.resources`."""
        return (self.resource.group, self.resource.kind, self.namespace, self.name)


class Comparison(Struct):
    """What a comparison found."""

    status: str
    revision: str = ""
    revisions: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    error: str = ""
    """Why there are no manifests; the condition ComparisonError."""


def sources_of(app: JSON) -> tuple[list[JSON], bool]:
    """The effective sources and whether they are several (Argo CD: types.go GetSources)."""
    spec = app["spec"]
    hydrator = spec.get("sourceHydrator")
    if hydrator:
        dry, synced = hydrator.get("drySource", {}), hydrator["syncSource"]
        url = synced.get("repoURL") or dry.get("repoURL", "")
        found = {"repoURL": url, "path": synced["path"], "targetRevision": synced["targetBranch"]}
        return [found], False
    if spec.get("sources"):
        return list(spec["sources"]), True
    return [spec.get("source") or {"repoURL": ""}], False


def instance_name(app: JSON, argocd: ArgoCD) -> str:
    """The name under which an app's objects are tracked (Argo CD: types.go InstanceName)."""
    meta = app["metadata"]
    return meta["name"] if meta["namespace"] == argocd.namespace else f"{meta['namespace']}_{meta['name']}"


def tracked_by(obj: JSON, argocd: ArgoCD) -> str:
    """The instance that an object names as its owner, if it is itself that it names.

    Argo CD: util/argo/resource_tracking.go GetAppName; controller/state.go isSelfReferencedObj.
    """
    meta = obj["metadata"]
    if argocd.tracking is Tracking.LABEL:
        return str((meta.get("labels") or {}).get(argocd.instance_label, ""))
    value = str((meta.get("annotations") or {}).get(TRACKING_ID, ""))
    instance, _, identity = value.partition(":")
    return instance if identity == _identity(obj) else ""


def _identity(obj: JSON) -> str:
    group = obj["apiVersion"].rpartition("/")[0]
    meta = obj["metadata"]
    return f"{group}/{obj['kind']}:{meta.get('namespace', '')}/{meta['name']}"


ObjectKey: TypeAlias = tuple[Resource, str, str]
"""Resource, namespace and name of an object."""


class Cached:
    """Live objects as the controller's cache has them: what was written a moment ago is not in it yet.

    Argo CD: controller/cache/cache.go takes events in batches of 100 ms.
    """

    def __init__(self, api: InMemoryApi, before: Mapping[ObjectKey, JSON]) -> None:
        """Look through that API, but for objects that it is to show as they were: None where they were not."""
        self._api = api
        self._before = before

    def resources(self) -> tuple[Resource, ...]:
        """All resources that are served."""
        return self._api.resources()

    def resource_of(self, obj: JSON) -> Resource:
        """The resource that serves an object of this apiVersion and kind."""
        return self._api.resource_of(obj)

    def look(self, resource: Resource, namespace: str, name: str) -> JSON:
        """One object as the cache has it."""
        key = (resource, namespace, name)
        return self._before[key] if key in self._before else self._api.look(*key)

    def peek(self, resource: Resource) -> list[JSON]:
        """All objects of a kind as the cache has them."""
        found = {
            (o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in self._api.peek(resource)
        }
        for (kind, namespace, name), before in self._before.items():
            if kind == resource:
                found.pop((namespace, name), None)
                if before is not None:
                    found[namespace, name] = before
        return list(found.values())


class Comparer:
    """Compares Applications with git on one API."""

    def __init__(self, api: InMemoryApi | Cached, sources: Sources) -> None:
        """Look at live objects through `api`, at manifests through `sources`."""
        self.api = api
        self.sources = sources

    def compare(
        self, app: JSON, sources: list[JSON], revisions: list[str], several: bool, argocd: ArgoCD
    ) -> Comparison:
        """Resolve, render and compare; `revisions` may be names or what they resolved to."""
        try:
            resolved = [
                self.sources.resolve(source, revision or source.get("targetRevision", ""))
                for source, revision in zip(sources, revisions, strict=True)
            ]
            targets = [
                target
                for source, revision in zip(sources, resolved, strict=True)
                for target in self.sources.manifests(source, revision)
            ]
        except SourceError as error:
            return self.failed(app, sources, several, argocd, str(error))
        children = self._children(app, targets, argocd)
        synced = all(child.is_synced for child in children)
        found = Comparison("Synced" if synced else "OutOfSync", children=children)
        if several:
            found.revisions = resolved
        else:
            found.revision = resolved[0]
        return found

    def failed(self, app: JSON, sources: list[JSON], several: bool, argocd: ArgoCD, error: str) -> Comparison:
        """What is left of a comparison without manifests: the live objects, all of them in excess."""
        children = self._children(app, [], argocd)
        found = Comparison("Unknown", children=children, error=f"Failed to load target state: {error}")
        names = [source.get("targetRevision", "") if source.get("chart") else "" for source in sources]
        if several:
            found.revisions = names
        else:
            found.revision = names[0]
        return found

    def _children(self, app: JSON, targets: list[JSON], argocd: ArgoCD) -> list[Child]:
        rules = app["spec"].get("ignoreDifferences", [])
        children: dict[tuple[str, str, str, str], Child] = {}
        for target in targets:
            child = self._wanted(app, target, rules, argocd)
            children[child.sort_key] = child
        instance = instance_name(app, argocd)
        for resource in self.api.resources():
            for live in self.api.peek(resource):
                if live["metadata"].get("ownerReferences") or tracked_by(live, argocd) != instance:
                    continue
                meta = live["metadata"]
                extra = Child(resource, meta.get("namespace", ""), meta["name"], None, live, False)
                children.setdefault(extra.sort_key, extra)
        return [children[key] for key in sorted(children)]

    def _wanted(self, app: JSON, target: JSON, rules: list[JSON], argocd: ArgoCD) -> Child:
        resource = self.api.resource_of(target)
        target = copied(target)
        target.pop("status", None)
        meta = target["metadata"]
        if resource.namespaced:
            meta.setdefault("namespace", app["spec"]["destination"].get("namespace", "default"))
        if argocd.tracking is not Tracking.LABEL:
            tracking = f"{instance_name(app, argocd)}:{_identity(target)}"
            meta.setdefault("annotations", {})[TRACKING_ID] = tracking
        if argocd.tracking is not Tracking.ANNOTATION:
            meta.setdefault("labels", {})[argocd.instance_label] = instance_name(app, argocd)[:63]
        namespace = meta.get("namespace", "")
        live = self.api.look(resource, namespace, meta["name"])
        pointers = matching_pointers(rules, target)
        synced = live is not None and not self._drifted(target, live, pointers)
        return Child(resource, namespace, meta["name"], target, live, synced, pointers)

    @staticmethod
    def _drifted(target: JSON, live: JSON, pointers: list[str]) -> bool:
        wanted = without_pointers(target, pointers)
        there = without_pointers(live, pointers)
        before = without_pointers(last_applied(live), pointers)
        return differs(wanted, there) or dropped(before, wanted, there)


def resource_statuses(found: Comparison, with_health: bool) -> list[JSON]:
    """What goes into `status.resources`."""
    statuses = []
    for child in found.children:
        status: dict[str, JSON] = {
            "group": child.resource.group,
            "version": child.resource.version,
            "kind": child.resource.kind,
            "namespace": child.namespace,
            "name": child.name,
            "status": "Unknown" if found.error else "Synced" if child.is_synced else "OutOfSync",
        }
        if child.target is None:
            status["requiresPruning"] = True
        health = "Missing" if child.live is None else health_of(child.live)
        if with_health and health:
            status["health"] = {"status": health}
        statuses.append({key: value for key, value in status.items() if value != ""})
    return statuses


def app_health(found: Comparison, missing_needs_all: bool) -> str:
    """The worst health of the wanted objects (Argo CD: controller/health.go setApplicationHealth)."""
    wanted = [child for child in found.children if found.error or child.target is not None]
    healths = [health_of(child.live) or "Healthy" for child in wanted if child.live is not None]
    missing = len(wanted) - len(healths)
    if missing and (not missing_needs_all or not healths):
        healths.append("Missing")
    return max(healths, key=_WORST.index, default="Healthy")


def apply_child(api: InMemoryApi, child: Child, *, respects: bool, replaces: bool) -> str:
    """Apply one object as `kubectl apply` does and say what happened to it.

    `respects` is RespectIgnoreDifferences, `replaces` is Replace; git may ask for that in the object too.
    """
    assert child.target is not None
    target = child.target
    options = (target["metadata"].get("annotations") or {}).get(SYNC_OPTIONS, "")
    replaces = replaces or "Replace=true" in [option.strip() for option in options.split(",")]
    if respects and child.live is not None:
        target = with_pointers_of(target, child.live, child.pointers)
    name = f"{child.resource.singular}/{child.name}"
    if child.resource.group == "apps":
        name = f"{child.resource.kind.lower()}.apps/{child.name}"
    noted = copied(target)
    note = json.dumps(noted, separators=(",", ":"), sort_keys=True)
    target = copied(target)
    target["metadata"].setdefault("annotations", {})[LAST_APPLIED] = note
    if child.live is None:
        api.create(target)
        return f"{name} created"
    before = child.live["metadata"]["resourceVersion"]

    def change(live: JSON) -> JSON:
        old = last_applied(live)
        if not replaces:
            return applied(old, target, live)
        kept = {
            key: live["metadata"][key] for key in live["metadata"] if key not in ("labels", "annotations")
        }
        new = {**target, "metadata": {**kept, **target["metadata"]}}
        return {**new, "status": live["status"]} if "status" in live else new

    after = api.edit(child.resource, child.namespace, child.name, change)
    changed = after["metadata"]["resourceVersion"] != before
    return f"{name} {'configured' if changed else 'unchanged'}"
