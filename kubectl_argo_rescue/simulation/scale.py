"""The scale of workloads: the subresource that the in-memory API serves, and who obeys it."""

from __future__ import annotations

from ..cluster.transport import Response
from ..model import values
from ..model.values import JSON, Resource
from .jsonpatch_go import PatchNotApplied, apply_patch
from .status import conflict, method_not_allowed, patch_not_applied
from .wire import JSON_PATCH, Call, answer, copied
from .writing import Writer

SCALED = (values.DEPLOYMENT, values.STATEFULSET)
COMPONENT = "app.kubernetes.io/component"


def scale_of(workload: JSON) -> JSON:
    """The autoscaling/v1 Scale of a workload; at 0 the key is absent (registry/apps/statefulset/storage)."""
    meta = workload["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = workload["spec"].get("replicas", 1)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": (workload.get("status") or {}).get("replicas", 0)},
    }


def served(writer: Writer, call: Call) -> Response:
    """Answer a GET or a JSON Patch of a workload's scale."""
    current = writer.existing(call)
    shown = scale_of(current)
    if call.request.method == "GET":
        return answer(200, shown)
    if call.request.method != "PATCH" or call.request.headers.get("content-type") != JSON_PATCH:
        raise method_not_allowed()
    try:
        new = apply_patch(shown, call.request.body or b"")
    except PatchNotApplied as error:
        raise patch_not_applied() from error
    if new["metadata"].get("resourceVersion") != shown["metadata"]["resourceVersion"]:
        raise conflict(call.resource, call.name)
    changed = copied(current)
    changed["spec"]["replicas"] = (new.get("spec") or {}).get("replicas", 0)
    if call.dry_run:
        return answer(200, scale_of(changed))
    return answer(200, scale_of(writer.written(call.kind, current, changed)))


def is_wanted(workloads: list[JSON], component: str) -> bool:
    """Whether a controller runs, by its workloads: one that has none runs elsewhere."""
    found = [w for w in workloads if (w["metadata"].get("labels") or {}).get(COMPONENT) == component]
    return not found or any(w["spec"].get("replicas", 1) for w in found)


def is_scaled(resource: Resource, subresource: str) -> bool:
    """Whether that is a scale."""
    return subresource == "scale" and resource in SCALED
