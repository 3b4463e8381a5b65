"""Argo CD's controllers as workloads: what a freeze scales to 0, and who would scale it back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from ..model.patches import equal, read
from ..model.values import (
    ABSENT,
    JSON,
    OPERATED,
    STATEFULSET,
    FieldChange,
    Key,
    Path,
    Ref,
    Snapshot,
    ref_of,
    whole_kind,
)
from .ownership import TRACKING_ID

APPLICATIONS: Final = "application-controller"
SETS: Final = "applicationset-controller"
PARTS: Final = (APPLICATIONS, SETS)
"""What reconciles: one syncs and deletes what Applications deploy, the other makes and deletes Applications."""

REPLICAS: Final[Path] = ("spec", "replicas")

_SWITCHES: Final[Mapping[str, Path]] = {
    APPLICATIONS: ("spec", "controller", "enabled"),
    SETS: ("spec", "applicationSet", "enabled"),
}
"""argocd-operator: api/v1beta1 ArgoCDApplicationControllerSpec.Enabled, ArgoCDApplicationSet.Enabled."""


class Controller(Struct, frozen=True):
    """One workload of a controller."""

    part: str
    workload: JSON

    @property
    def key(self) -> Key:
        """The workload by name."""
        return ref_of(self.workload).key

    @property
    def scale(self) -> JSON:
        """The workload's scale, as the API server serves it: at 0 the key is absent."""
        meta = self.workload["metadata"]
        kept = {n: meta[n] for n in ("name", "namespace", "uid", "resourceVersion") if n in meta}
        replicas = (self.workload.get("spec") or {}).get("replicas", 1)
        kind = f"{self.workload['kind']}/scale"
        return {"kind": kind, "metadata": kept, "spec": {"replicas": replicas} if replicas else {}}

    @property
    def operated_by(self) -> Ref | None:
        """The ArgoCD resource that an operator makes it of, None where there is none."""
        for owner in self.workload["metadata"].get("ownerReferences") or ():
            if owner.get("kind") == OPERATED.kind:
                namespace = self.workload["metadata"].get("namespace", "")
                return Ref(OPERATED.kind, namespace, str(owner.get("name")), str(owner.get("uid")))
        return None

    @property
    def is_stopped(self) -> bool:
        """Whether nothing of it is wanted."""
        return (self.workload.get("spec") or {}).get("replicas") == 0


def controllers(workloads: Iterable[JSON], namespace: str) -> list[Controller]:
    """Return the workloads of both controllers, by component, or else by the program that they run.

    The dynamic distribution leaves an empty StatefulSet beside the controller's Deployment: both count.
    """
    found = [
        Controller(part, workload)
        for workload in workloads
        if workload["metadata"].get("namespace") == namespace and (part := _part_of(workload))
    ]
    return sorted(found, key=lambda c: (PARTS.index(c.part), c.key))


def _part_of(workload: JSON) -> str:
    component = (workload["metadata"].get("labels") or {}).get("app.kubernetes.io/component")
    if component in PARTS:
        return str(component)
    template = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        for part in PARTS:
            if any(str(word).rpartition("/")[2] == f"argocd-{part}" for word in words):
                return part
    return ""


def with_scales(snapshot: Snapshot) -> dict[Key, JSON]:
    """Return the scale of each controller that was read, by the key under which it is edited."""
    found = controllers(_workloads(snapshot), snapshot.argocd.namespace)
    return {Key(f"{c.key.kind}/scale", c.key.namespace, c.key.name): c.scale for c in found}


def controllers_of(snapshot: Snapshot) -> list[Controller]:
    """Return the controllers that were read."""
    return controllers(_workloads(snapshot), snapshot.argocd.namespace)


def _workloads(snapshot: Snapshot) -> Iterator[JSON]:
    for key, obj in snapshot.objects.items():
        if key.kind in ("Deployment", STATEFULSET.kind):
            yield obj


def is_frozen(snapshot: Snapshot) -> bool:
    """Whether the application-controller is there and none of it is wanted: nothing is synced or deleted."""
    found = [c for c in controllers_of(snapshot) if c.part == APPLICATIONS]
    return bool(found) and all(c.is_stopped for c in found)


def stop_change(controller: Controller) -> FieldChange | None:
    """Return the change of a controller's scale that stops it, None where it is stopped."""
    replicas = controller.scale["spec"].get("replicas", ABSENT)
    return None if replicas is ABSENT else FieldChange(REPLICAS, replicas, ABSENT)


def switch_change(part: str, operated: JSON) -> FieldChange | None:
    """Return the change of an operator's ArgoCD resource that stops a controller, None where it is off."""
    path = _SWITCHES[part]
    before = read(path, operated)
    return None if equal(before, False) else FieldChange(path, before, False)


def last_writer(workload: JSON) -> str:
    """Name who wrote `spec.replicas` last, by the managed fields; empty where nothing tells."""
    entries = [
        e
        for e in workload["metadata"].get("managedFields") or ()
        if "f:replicas" in ((e.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    newest = max(entries, key=lambda e: str(e.get("time") or ""), default=None)
    return str(newest.get("manager") or "") if newest else ""


def who_scales(workload: JSON) -> str:
    """Say who may have scaled a controller back: the last writer, and what manages the workload."""
    found = [f"{last_writer(workload)} wrote it"] if last_writer(workload) else []
    meta = workload["metadata"]
    found += [f"{o.get('kind')} {o.get('name')} owns it" for o in meta.get("ownerReferences") or ()]
    instance = str((meta.get("annotations") or {}).get(TRACKING_ID) or "").partition(":")[0]
    if instance:
        found.append(f"Application {instance.replace('_', '/', 1)} deploys it")
    return ", ".join(found) or "nothing tells who"


def describe(controller: Controller) -> str:
    """Say which one: `application-controller (StatefulSet argocd-application-controller)`."""
    return f"{controller.part} ({whole_kind(controller.key.kind)} {controller.key.name})"
