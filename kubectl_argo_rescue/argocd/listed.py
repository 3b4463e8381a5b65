"""An Application as it is read where there are thousands: what is decided by, of 18 kB each some hundred bytes.

Plain JSON as it came, absent and null told apart, but for what nobody asks of an Application that
was not named: its history, managed fields, other annotations, and lines of resources that are Synced.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypedDict

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..model.values import GROUP, JSON
from .writers import is_foreign

_Annotations = TypedDict(
    "_Annotations",
    {
        "argocd.argoproj.io/tracking-id": Any,
        "argocd.argoproj.io/installation-id": Any,
        "argocd.argoproj.io/skip-reconcile": Any,
        "argocd.argoproj.io/sync-options": Any,
        "argocd.argoproj.io/source-uid": Any,
        "meta.helm.sh/release-name": Any,
        "kustomize.toolkit.fluxcd.io/reconcile": Any,
        "helm.toolkit.fluxcd.io/reconcile": Any,
    },
    total=False,
)


class _Nothing(TypedDict, total=False):
    pass


_FieldsOfSpec = TypedDict(
    "_FieldsOfSpec", {"f:source": _Nothing, "f:sources": _Nothing, "f:syncPolicy": _Nothing}, total=False
)
_Fields = TypedDict("_Fields", {"f:spec": _FieldsOfSpec}, total=False)


class _Manager(TypedDict, total=False):
    manager: Any
    time: Any
    fieldsV1: _Fields


class _Metadata(TypedDict, total=False):
    name: Any
    namespace: Any
    uid: Any
    resourceVersion: Any
    deletionTimestamp: Any
    finalizers: Any
    ownerReferences: Any
    labels: Any
    annotations: _Annotations | None
    managedFields: list[_Manager] | None


class _Compared(TypedDict, total=False):
    source: Any
    sources: Any


class _Sync(TypedDict, total=False):
    status: Any
    revision: Any
    revisions: Any
    comparedTo: _Compared | None


class _SyncResult(TypedDict, total=False):
    revision: Any
    revisions: Any
    source: Any
    sources: Any


class _OperationState(TypedDict, total=False):
    phase: Any
    message: Any
    startedAt: Any
    finishedAt: Any
    retryCount: Any
    operation: Any
    syncResult: _SyncResult | None


class _Line(Struct, gc=False):
    """A line of `status.resources[]`: a record, since most are thrown away at once."""

    group: str | None | UnsetType = UNSET
    kind: str | None | UnsetType = UNSET
    namespace: str | None | UnsetType = UNSET
    name: str | None | UnsetType = UNSET
    status: str | None | UnsetType = UNSET
    requiresPruning: bool | None | UnsetType = UNSET


class _Status(TypedDict, total=False):
    sync: _Sync | None
    health: Any
    reconciledAt: Any
    conditions: Any
    operationState: _OperationState | None
    controllerNamespace: Any
    resources: list[_Line] | None


class ListedApplication(TypedDict, total=False):
    """What is kept. The spec is whole: a guard tests it, and an undo puts back what was there."""

    apiVersion: Any
    kind: Any
    metadata: _Metadata
    spec: Any
    operation: Any
    status: _Status | None


class _Page(TypedDict, total=False):
    apiVersion: Any
    metadata: Any
    items: list[ListedApplication] | None


@cache
def _page() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_Page)


@cache
def _one() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(ListedApplication)


def read_page(body: bytes) -> JSON:
    """Read a list of Applications."""
    try:
        page = _page().decode(body)
    except msgspec.MsgspecError:
        return json.loads(body)  # nothing that the CRD allows; more than asked for is never wrong
    for app in page.get("items") or ():
        _cut(app)
    return page


def read_one(body: bytes) -> JSON:
    """Read an Application as one of a list."""
    try:
        app = _one().decode(body)
    except msgspec.MsgspecError:
        return json.loads(body)
    _cut(app)
    return app


def _cut(app: JSON) -> None:
    """Leave of the resources what differs from git and what is Argo CD's own, or one: that there are any counts.

    Of the managed fields those who wrote what this tool edits.
    """
    meta = app.get("metadata") or {}
    if managers := meta.pop("managedFields", None):
        told = [
            m
            for m in managers
            if is_foreign(m.get("manager", "")) and (m.get("fieldsV1") or {}).get("f:spec")
        ]
        if told:
            meta["managedFields"] = told
    status = app.get("status")
    lines = status.get("resources") if status else None
    if lines:
        changed = [r for r in lines if r.group == GROUP or r.status != "Synced" or r.requiresPruning is True]
        status["resources"] = [msgspec.to_builtins(r) for r in changed or lines[:1]]
