"""The kinds that the in-memory API serves, and how each behaves."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ..model import values
from ..model.values import JSON, Resource
from . import schemas
from .schemas import JSONSchema
from .status import qualified

ENDPOINTSLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")

BUILT_IN_GROUPS = frozenset(
    {"", "apps", "apiextensions.k8s.io", "discovery.k8s.io", "authorization.k8s.io", "authentication.k8s.io"}
)


class Kind(Struct, frozen=True):
    """How one resource is served."""

    resource: Resource
    schema: JSONSchema | None = None
    """Its fields; None takes any."""
    custom: bool = False
    """Defined by a CustomResourceDefinition, so no unconditional update and no strategic merge."""
    has_status: bool = True
    """With a /status of its own, writes to the object leave status alone."""
    counts_generation: bool = True


_ARGO = (values.APPLICATION, values.APPPROJECT, values.APPLICATIONSET)


def kinds(replaced: Mapping[Resource, JSONSchema]) -> dict[Resource, Kind]:
    """All kinds that are served; `replaced` gives a CRD another schema, as of an older release."""
    found = {
        resource: Kind(
            resource,
            replaced.get(resource) or schemas.of(resource),
            custom=True,
            has_status=resource == values.APPLICATIONSET,
        )
        for resource in _ARGO
    }
    built_in = (
        Kind(values.CONFIGMAP, schemas.CONFIGMAP, has_status=False, counts_generation=False),
        Kind(values.SECRET, has_status=False, counts_generation=False),
        Kind(values.NAMESPACE, counts_generation=False),
        Kind(values.POD, counts_generation=False),
        Kind(values.SERVICE, counts_generation=False),
        Kind(values.EVENT, has_status=False, counts_generation=False),
        Kind(ENDPOINTSLICE, has_status=False),
        Kind(values.DEPLOYMENT),
        Kind(values.STATEFULSET),
        Kind(values.DAEMONSET),
        Kind(values.ROLLOUT),
        Kind(values.OPERATED),
        Kind(values.REPLICASET),
        Kind(values.CONTROLLERREVISION, has_status=False, counts_generation=False),
        Kind(values.DEFINITION),
    )
    return found | {kind.resource: kind for kind in built_in}


def definition(kind: Kind, now: str) -> JSON:
    """The CustomResourceDefinition of one of Argo CD's kinds, as far as anybody reads it."""
    resource = kind.resource
    served: dict[str, JSON] = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": kind.schema},
    }
    if kind.has_status:
        served["subresources"] = {"status": {}}
    names = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.kind.lower(),
    }
    condition = {
        "type": "Established",
        "status": "True",
        "reason": "InitialNamesAccepted",
        "lastTransitionTime": now,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": qualified(resource)},
        "spec": {"group": resource.group, "names": names, "scope": "Namespaced", "versions": [served]},
        "status": {"acceptedNames": names, "conditions": [condition], "storedVersions": [resource.version]},
    }
