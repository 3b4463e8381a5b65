"""Who writes an object besides Argo CD's own: by its managed fields, its owners, and the marks of known tools. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

from msgspec import Struct

from ..model.text import one_line
from ..model.times import ago
from ..model.values import FIELD_MANAGER, GROUP, JSON, Change
from . import application


class Force(Enum):
    """What a writer does to an edit of ours."""

    AWAY = "away"
    """The object is a copy: whoever keeps it puts the original's content back within seconds."""
    REVERTS = "reverts"
    """It puts its own content back by itself."""
    MAY = "may"
    """It writes when something else makes it: a new image, a promotion, a pipeline."""
    PERSON = "person"
    """Somebody by hand, as far as the manager's name tells."""


class Writer(Struct, frozen=True):
    """One who writes an object, and how that is known."""

    who: str
    sign: str
    force: Force
    at: datetime | None = None
    """When it wrote last, by the server's clock."""
    hold: str = ""
    """How it is told to leave the object alone, empty where that is not known."""

    def describe(self, now: datetime) -> str:
        """Say it in one phrase."""
        when = f", {ago(now - self.at)}" if self.at else ""
        return f"{self.who} ({self.sign}{when})"


# -- managed fields

_PEOPLE: Final = (
    "kubectl", "oc", "k9s", "argocd-server", "argocd", "lens", "openlens", "freelens", "headlamp", "mozilla", "curl",
)  # fmt: skip
"""What a person writes with: by the API, or by Argo CD's (argocd-server)."""

_PARTS: Final = (
    "argocd-controller", "argocd-application-controller", "argocd-applicationset-controller", "argocd-commit-server",
    "argocd-notifications-controller", "application-controller", "applicationset-controller", "argocd-dex",
)  # fmt: skip
"""Argo CD's own parts, whose writes follow from owners and git."""

_TOOLS: Final = (
    ("argocd-image-updater", "Argo CD Image Updater", Force.MAY, "take the application out of its ImageUpdater"),
    ("argocd-agent", "argocd-agent", Force.AWAY, ""),
    ("kustomize-controller", "Flux", Force.REVERTS, "flux suspend kustomization NAME"),
    ("helm-controller", "Flux", Force.MAY, "flux suspend helmrelease NAME"),
    ("kargo", "Kargo", Force.MAY, ""),
    ("terraform", "Terraform", Force.MAY, "apply nothing until its configuration says the same"),
    ("hashicorp", "Terraform", Force.MAY, "apply nothing until its configuration says the same"),
    ("pulumi", "Pulumi", Force.MAY, "bring nothing up until its program says the same"),
    ("helm", "Helm", Force.MAY, "upgrade nothing until its values say the same"),
    ("work-agent", "Open Cluster Management", Force.AWAY, ""),
    ("klusterlet", "Open Cluster Management", Force.AWAY, ""),
    ("fleetagent", "Rancher Fleet", Force.REVERTS, "pause its GitRepo (spec.paused)"),
    ("kapp", "kapp", Force.MAY, ""),
    ("crossplane", "Crossplane", Force.REVERTS, ""),
)  # fmt: skip
"""How managers of known tools begin."""


def is_foreign(manager: str) -> bool:
    """Whether a manager is neither a part of Argo CD nor this tool."""
    return manager != FIELD_MANAGER and manager not in _PARTS


OPERATION: Final = "operation"
"""The field that an order writes: it is beside the spec."""


def _managers(obj: JSON, fields: Collection[str]) -> Iterator[Writer]:
    """Yield who wrote one of these fields, newest first, without Argo CD's own and this tool."""
    newest: dict[str, tuple[datetime | None, list[str]]] = {}
    for entry in obj["metadata"].get("managedFields") or ():
        whole = entry.get("fieldsV1") or {}
        spec = whole.get("f:spec") or {}
        touched = [_place(f) for f in fields if f"f:{f}" in (whole if f == OPERATION else spec)]
        name = str(entry.get("manager") or "")
        if not touched or not is_foreign(name):
            continue
        at, known = application.parse_time(entry.get("time")), newest.get(name)
        if known is None or (at and (known[0] is None or at > known[0])):
            newest[name] = at, touched
    found = sorted(
        newest.items(), key=lambda item: item[1][0].timestamp() if item[1][0] else 0.0, reverse=True
    )
    for name, (at, touched) in found:
        sign = f"{' and '.join(touched)} last written as {one_line(name)}"
        who, force, hold = _tool(name)
        yield Writer(who, sign, force, at, hold)


def _place(field: str) -> str:
    return f"/{field}" if field == OPERATION else f"/spec/{field}"


def _tool(manager: str) -> tuple[str, Force, str]:
    low = manager.lower()
    for begin, who, force, hold in _TOOLS:
        if low.startswith(begin):
            return who, force, hold
    if low in _PEOPLE or low.startswith("kubectl-"):
        return "somebody", Force.PERSON, ""
    return one_line(manager) or "somebody", Force.MAY, ""


# -- marks

IMAGE_UPDATER: Final = "argocd-image-updater.argoproj.io/"
SOURCE_UID: Final = "argocd.argoproj.io/source-uid"
"""argocd-agent: internal/manager SourceUIDAnnotation, on what is kept as a copy of another cluster's object."""
KARGO: Final = "kargo.akuity.io/authorized-stage"
FLUX: Final = "toolkit.fluxcd.io"
OCM: Final = "apps.open-cluster-management.io/"


def _marks(obj: JSON, fields: Collection[str]) -> Iterator[Writer]:
    meta = obj["metadata"]
    annotations, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    if SOURCE_UID in annotations:
        yield Writer("argocd-agent", f"annotation {SOURCE_UID}", Force.AWAY)
    is_version = bool({"source", "sources"} & set(fields))
    if is_version and annotations.get(KARGO):
        project, _, stage = one_line(str(annotations[KARGO])).partition(":")
        hold = f"promote the good freight in stage {stage} of project {project}: since 1.11 Kargo then holds it there"
        yield Writer("Kargo", f"stage {stage} of project {project} may write it", Force.MAY, hold=hold)
    images = str(annotations.get(f"{IMAGE_UPDATER}image-list") or "")
    if is_version and images:
        name = f"{IMAGE_UPDATER}image-list"
        command = (
            f"kubectl -n {meta.get('namespace', '')} annotate {obj['kind'].lower()} {meta['name']} {name}-"
        )
        hold = f"{command} (afterwards again: {one_line(images)[:120]})"
        yield Writer("Argo CD Image Updater", f"annotation {name}", Force.MAY, hold=hold)
    yield from _deployers(meta, annotations, labels)


def _deployers(meta: JSON, annotations: JSON, labels: JSON) -> Iterator[Writer]:
    """Yield the tools that apply the whole object from elsewhere."""
    for kind, resource in (("kustomize", "kustomization"), ("helm", "helmrelease")):
        name, place = (one_line(str(labels.get(f"{kind}.{FLUX}/{n}") or "")) for n in ("name", "namespace"))
        held = "disabled" in (
            annotations.get(f"{kind}.{FLUX}/reconcile"),
            labels.get(f"{kind}.{FLUX}/reconcile"),
        )
        if name and not held:
            force = Force.REVERTS if kind == "kustomize" else Force.MAY
            hold = f"flux suspend {resource} {name}{f' -n {place}' if place else ''}"
            yield Writer("Flux", f"{resource} {place}/{name}", force, hold=hold)
    release = one_line(str(annotations.get("meta.helm.sh/release-name") or ""))
    by = str(labels.get("app.kubernetes.io/managed-by") or "")
    if by.lower() == "terraform":
        hold = "apply nothing until its configuration says the same"
        yield Writer("Terraform", "label app.kubernetes.io/managed-by", Force.MAY, hold=hold)
    elif release and by.lower() == "helm":
        hold = "upgrade nothing until its values say the same"
        yield Writer("Helm", f"release {release}", Force.MAY, hold=hold)
    if any(str(name).startswith(OCM) for name in (*annotations, *labels)):
        yield Writer("Open Cluster Management", f"marks of {OCM.rstrip('/')}", Force.MAY)
    for name, who in (("objectset.rio.cattle.io/id", "Rancher Fleet"), ("kapp.k14s.io/app", "kapp")):
        if name in annotations or name in labels:
            yield Writer(who, name, Force.REVERTS if who == "Rancher Fleet" else Force.MAY)


def _references(meta: JSON) -> Iterator[Writer]:
    """Yield owners that are no part of Argo CD; one that controls the object is among its owners besides."""
    for r in meta.get("ownerReferences") or ():
        group = str(r.get("apiVersion") or "").rpartition("/")[0]
        kind, name = str(r.get("kind") or ""), str(r.get("name") or "")
        if group == GROUP and kind in ("Application", "ApplicationSet"):
            continue
        sign = f"ownerReference {kind} {one_line(name)}"
        if group == "work.open-cluster-management.io":
            yield Writer("Open Cluster Management", sign, Force.AWAY)
        elif not r.get("controller"):
            yield Writer(f"{kind}.{group}" if group else kind, sign, Force.MAY)


def writers_of(obj: JSON, fields: Collection[str]) -> tuple[Writer, ...]:
    """Return all that write an object, or these fields of it, besides Argo CD's own parts and this tool."""
    marks = [*_marks(obj, fields), *_references(obj["metadata"])]
    named = {w.who: w for w in marks}
    managers = []
    for writer in _managers(obj, fields):
        mark = named.get(writer.who)
        if mark is None:
            managers.append(writer)
        elif mark.at is None:  # one tool, known by both: its mark says more, its field when
            marks[marks.index(mark)] = named[writer.who] = Writer(
                mark.who, mark.sign, mark.force, writer.at, mark.hold
            )
    return (*marks, *managers)


FIELDS: Final = ("source", "sources", "syncPolicy")
"""What this tool edits of an Application's spec."""


def fields_of(changes: Sequence[Change]) -> list[str]:
    """Return the fields of the spec that changes are about."""
    return list(dict.fromkeys(str(c.path[1]) for c in changes if len(c.path) > 1 and c.path[0] == "spec"))


def is_free(writers: Collection[Writer]) -> bool:
    """Whether nobody but people is among them."""
    return all(w.force is Force.PERSON for w in writers)
