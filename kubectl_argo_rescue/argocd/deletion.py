"""What Argo CD will destroy: Applications with a deletion time, operations that go on, who is gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from msgspec import Struct

from ..model.text import display_name
from ..model.values import JSON, ArgoCD, Key, ref_of
from . import application
from .operation import operation

CASCADE: Final = "resources-finalizer.argocd.argoproj.io"


OWN: Final = (
    CASCADE,
    "post-delete-finalizer.argocd.argoproj.io",
    "pre-delete-finalizer.argocd.argoproj.io",
)
"""Argo CD's finalizers, each also with a suffix (Argo CD: pkg/apis/application/v1alpha1
application_defaults.go, types.go); others are somebody else's."""

SKIP_RECONCILE: Final = "argocd.argoproj.io/skip-reconcile"


def is_dying(obj: JSON) -> bool:
    """Whether an object has a deletion time."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_own(finalizer: str) -> bool:
    """Whether a finalizer is Argo CD's own."""
    return any(finalizer == own or finalizer.startswith(f"{own}/") for own in OWN)


def hooks_left_out(app: JSON) -> list[str]:
    """Return the hooks that do not run where an Application goes without its finalizers."""
    found = app["metadata"].get("finalizers") or ()
    kinds = {"post-delete": "PostDelete", "pre-delete": "PreDelete"}
    return [name for prefix, name in kinds.items() if any(f.startswith(f"{prefix}-finalizer") for f in found)]


def to_save(app: JSON) -> JSON:
    """Return an Application without what the server sets, and of its status the history alone."""
    kept = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
    saved = {
        "apiVersion": app.get("apiVersion", "argoproj.io/v1alpha1"),
        "kind": "Application",
        "metadata": {name: app["metadata"][name] for name in kept if name in app["metadata"]},
        "spec": app.get("spec") or {},
    }
    history = (app.get("status") or {}).get("history")
    return {**saved, "status": {"history": history}} if history else saved


def is_cascading(app: JSON) -> bool:
    """Whether the end of an Application takes its workloads along (types.go CascadedDeletion)."""
    return any(f == CASCADE or f.startswith(f"{CASCADE}/") for f in app["metadata"].get("finalizers") or ())


class Doomed(Struct, frozen=True):
    """An Application with a deletion time, or one whose operation goes on once somebody reconciles."""

    key: Key
    name: str
    since: datetime | None
    cascades: bool
    operation: str = ""
    """What its operation is doing; empty where none is in progress."""
    is_dying: bool = True


def doomed(apps: Iterable[JSON], argocd: ArgoCD) -> list[Doomed]:
    """Return what a running controller would go on with: deletions with their workloads first, then operations."""
    found = [one for app in apps if (one := _doomed(app, argocd))]
    return sorted(found, key=lambda d: (not d.is_dying, not d.cascades, d.key))


def _doomed(app: JSON, argocd: ArgoCD) -> Doomed | None:
    running = operation(app)
    goes_on = running.describe() if running.present else ""
    if not is_dying(app) and not goes_on:
        return None
    since = application.parse_time(app["metadata"].get("deletionTimestamp"))
    key = ref_of(app).key
    return Doomed(key, display_name(key, argocd), since, is_cascading(app), goes_on, is_dying(app))
