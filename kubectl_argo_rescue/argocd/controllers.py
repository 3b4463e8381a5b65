"""Argo CD's controllers as workloads: what a freeze scales to 0, and who would scale it back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from ..model.patches import equal, read
from ..model.text import display_name, one_line
from ..model.values import (
    ABSENT,
    JSON,
    OPERATED,
    STATEFULSET,
    ArgoCD,
    FieldChange,
    Key,
    Path,
    Ref,
    Snapshot,
    ref_of,
    whole_kind,
)
from . import ownership
from .components import component_of, writings

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
        if workload["metadata"].get("namespace") == namespace and (part := component_of(workload)) in PARTS
    ]
    return sorted(found, key=lambda c: (PARTS.index(c.part), c.key))


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
    """Whether the application-controller is known and none of it is wanted: nothing is synced or deleted.

    What an operator is told not to run it takes away, workload and all.
    """
    found = [c for c in controllers_of(snapshot) if c.part == APPLICATIONS]
    return all(c.is_stopped for c in found) if found else bool(switched_off(snapshot, APPLICATIONS))


def operated(snapshot: Snapshot) -> list[JSON]:
    """Return the operator's ArgoCD resources that were read in Argo CD's namespace."""
    place = snapshot.argocd.namespace
    return [o for k, o in snapshot.objects.items() if k.kind == OPERATED.kind and k.namespace == place]


def switched_off(snapshot: Snapshot, part: str) -> list[JSON]:
    """Return the operator's resources that want no such controller."""
    return [o for o in operated(snapshot) if equal(read(_SWITCHES[part], o), False)]


def switched_on(snapshot: Snapshot, part: str) -> list[JSON]:
    """Return the operator's resources of which such a controller is made; a set's only where it is spoken of."""
    return [
        o
        for o in operated(snapshot)
        if not equal(read(_SWITCHES[part], o), False)
        and (part == APPLICATIONS or read(_SWITCHES[part][:-1], o) is not ABSENT)
    ]


def pods_of_operated(operated_by: JSON) -> str:
    """Select the pods of both controllers that an operator makes of a resource (argocd-operator: nameWithSuffix)."""
    names = ",".join(f"{operated_by['metadata']['name']}-{part}" for part in PARTS)
    return f"app.kubernetes.io/name in ({names})"


def command_to_stop(workload: JSON) -> str:
    """Return what stops a controller by hand, so that it stays so where an operator makes it."""
    [found] = [Controller(component_of(workload), workload)]
    operator = found.operated_by
    if operator is not None and found.part in PARTS:
        _, field, switch = _SWITCHES[found.part]
        patch = f'{{"spec":{{"{field}":{{"{switch}":false}}}}}}'
        return f"kubectl -n {operator.namespace} patch argocds.argoproj.io {operator.name} --type=merge -p '{patch}'"
    key = found.key
    return f"kubectl -n {key.namespace} scale {key.kind.lower()} {key.name} --replicas=0"


def stop_change(controller: Controller) -> FieldChange | None:
    """Return the change of a controller's scale that stops it, None where it is stopped."""
    replicas = controller.scale["spec"].get("replicas", ABSENT)
    return None if replicas is ABSENT else FieldChange(REPLICAS, replicas, ABSENT)


def switch_change(part: str, operated: JSON) -> FieldChange | None:
    """Return the change of an operator's ArgoCD resource that stops a controller, None where it is off."""
    path = _SWITCHES[part]
    before = read(path, operated)
    return None if equal(before, False) else FieldChange(path, before, False)


def wanted_again(live: Iterable[JSON], argocd: ArgoCD) -> Iterator[str]:
    """Say which controllers, or operator's resources of them, want one again after they were stopped, and who did that."""
    for obj in live:
        name = f"{obj.get('kind')} {obj['metadata']['name']}"
        if obj.get("kind") != OPERATED.kind:
            if replicas := (obj.get("spec") or {}).get("replicas", 1):
                yield f"{name} was scaled back to {replicas}: {who_wants(obj, REPLICAS, argocd)}"
            continue
        for part, path in _SWITCHES.items():
            if not equal(read(path, obj), False) and (
                part == APPLICATIONS or read(path[:-1], obj) is not ABSENT
            ):
                yield f"{name} wants its {part} again: {who_wants(obj, path, argocd)}"


def who_wants(obj: JSON, path: Path, argocd: ArgoCD) -> str:
    """Say who may have put a field back: its last writer by the managed fields, and what manages the object."""
    written = list(writings(obj, path))
    found = [f"{max(written)[1]} wrote it"] if written else []
    found += [
        f"{o.get('kind')} {one_line(str(o.get('name')))} owns it"
        for o in obj["metadata"].get("ownerReferences") or ()
    ]
    found += [
        f"{claim.owner.kind} {display_name(claim.owner, argocd)} deploys it"
        for claim in ownership.claims(obj, argocd)
        if claim.by != "ownerReference"
    ]
    return ", ".join(found) or "nothing tells who"


def describe(controller: Controller) -> str:
    """Say which one: `application-controller (StatefulSet argocd-application-controller)`."""
    return f"{controller.part} ({whole_kind(controller.key.kind)} {controller.key.name})"
