"""One Application read as Argo CD reads it: sources, auto-sync, operation, comparison."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from enum import Enum

from msgspec import Struct

from ..model.errors import Code, Forbidden, NotFound, RefusedError
from ..model.text import display_name
from ..model.values import ABSENT, JSON, ArgoCD, FieldChange, Key, Match, Path, Snapshot, ref_of


class SourceKind(Enum):
    """How a source's targetRevision is understood."""

    HELM = "helm chart"
    OCI = "OCI artifact"
    GIT = "git"
    HYDRATOR = "hydrated git"


class Source(Struct, frozen=True):
    """One effective source and where its revision is written."""

    index: int
    kind: SourceKind
    path: Path
    """Of the source object; for a hydrator, of syncSource."""
    body: JSON
    revision_field: str = "targetRevision"

    @property
    def revision_path(self) -> Path:
        """Where the revision is written."""
        return (*self.path, self.revision_field)

    @property
    def revision(self) -> str:
        """The revision asked for; empty means HEAD for git."""
        return str(self.body.get(self.revision_field) or "")

    @property
    def name(self) -> str:
        """The source's own name, else its chart, else its ref."""
        return str(self.body.get("name") or self.body.get("chart") or self.body.get("ref") or "")

    @property
    def yields_manifests(self) -> bool:
        """Whether it renders anything: a ref-only source does not (Argo CD: types.go IsRef)."""
        return bool(self.body.get("path") or self.body.get("chart") or not self.body.get("ref"))

    def describe(self) -> str:
        """Say it in one phrase: `helm chart traefik of https://…`."""
        what = self.body.get("chart") or self.body.get("path") or self.body.get("ref") or ""
        return f"{self.kind.value} {what} of {self.body.get('repoURL', '')}".replace("  ", " ")


def kind_of(source: JSON) -> SourceKind:
    """Say how a source's targetRevision is understood."""
    if source.get("chart"):
        return SourceKind.HELM
    if str(source.get("repoURL") or "").startswith("oci://"):
        return SourceKind.OCI
    return SourceKind.GIT


_IDENTITY = ("repoURL", "chart", "path", "ref", "name")


def sources(app: JSON) -> tuple[Source, ...]:
    """Return the effective sources (Argo CD: types.go GetSources, GetSource, HasMultipleSources)."""
    spec = app.get("spec") or {}
    hydrator = spec.get("sourceHydrator")
    if hydrator:
        body = dict(hydrator.get("syncSource") or {})
        body.setdefault("repoURL", (hydrator.get("drySource") or {}).get("repoURL", ""))
        path: Path = ("spec", "sourceHydrator", "syncSource")
        return (Source(0, SourceKind.HYDRATOR, path, body, "targetBranch"),)
    if spec.get("sources"):
        return tuple(
            Source(
                i,
                kind_of(s),
                ("spec", "sources", Match(tuple((n, s.get(n, ABSENT)) for n in _IDENTITY), i)),
                s,
            )
            for i, s in enumerate(spec["sources"])
        )
    source = spec.get("source")
    return (Source(0, kind_of(source), ("spec", "source"), source),) if source else ()


def bound_to(app: JSON, source: Source) -> tuple[Source, ...]:
    """Return the other sources that must be of the very commit that `source` is of.

    Argo CD refuses a source whose value files come through `$ref` from the same repository at another
    revision, or from one repository at two of them (reposerver/repository).
    """
    every = sources(app)
    groups = [
        {s.index for s in (rendering, *_referred(every, rendering)) if repository(s) == repository(source)}
        for rendering in every
    ]
    found, grown = {source.index}, True
    while grown:
        joined = found.union(*(g for g in groups if g & found))
        found, grown = joined, joined != found
    return tuple(s for s in every if s.index in found and s.index != source.index)


def repository(source: Source) -> str:
    """Name a git repository as Argo CD compares them (util/git NormalizeGitURL); empty for what is none."""
    if source.kind is not SourceKind.GIT:
        return ""
    url = str(source.body.get("repoURL") or "").strip().lower()
    if re.match(r"[^/:]+@[^/:]+:", url):
        url = url.replace(":", "/", 1)
    return url.removeprefix("ssh://").removesuffix(".git")


def _referred(every: tuple[Source, ...], source: Source) -> list[Source]:
    """Return the sources whose files the value files of this one name by `$ref/`."""
    helm = source.body.get("helm") or {}
    files = [*(helm.get("valueFiles") or ()), *(f.get("path") for f in helm.get("fileParameters") or ())]
    names = {str(f).split("/")[0] for f in files}
    return [s for s in every if s.body.get("ref") and f"${s.body['ref']}" in names]


def has_multiple_sources(app: JSON) -> bool:
    """Whether `.operation` must speak of `sources` (Argo CD: types.go HasMultipleSources)."""
    spec = app.get("spec") or {}
    return not spec.get("sourceHydrator") and bool(spec.get("sources"))


# -- auto-sync


def automated(app: JSON) -> JSON:
    """Return `spec.syncPolicy.automated`, ABSENT where there is none."""
    policy = (app.get("spec") or {}).get("syncPolicy") or {}
    value = policy.get("automated", ABSENT)
    return ABSENT if value is None else value


def is_auto_sync_on(app: JSON) -> bool:
    """Argo CD: types.go IsAutomatedSyncEnabled. `automated: {}` is on."""
    block = automated(app)
    return block is not ABSENT and block.get("enabled") is not False


def is_self_heal_on(app: JSON) -> bool:
    """Whether live drift alone makes it sync."""
    return is_auto_sync_on(app) and automated(app).get("selfHeal") is True


def is_skipping_reconcile(app: JSON) -> bool:
    """The controller ignores it altogether (Argo CD: appcontroller.go canProcessApp, ParseBool)."""
    value = (app["metadata"].get("annotations") or {}).get("argocd.argoproj.io/skip-reconcile", "")
    return value in ("1", "t", "T", "true", "TRUE", "True")


def supports_enabled(argocd: ArgoCD) -> bool:
    """Whether `automated.enabled: false` is known to pause: the controller is certainly 3.1 or later."""
    version = argocd.version
    return version is not None and version.is_certain and version.at_least(3, 1)


def pause_change(app: JSON, argocd: ArgoCD, *, keep_block: bool = True) -> FieldChange | None:
    """Return the change that turns auto-sync off; None where it is off.

    `enabled: false` keeps the block and is, being an added key, no drift for an owner; where the
    controller may not know it, or with `keep_block` False, the block goes.
    """
    if not is_auto_sync_on(app):
        return None
    path: Path = ("spec", "syncPolicy", "automated")
    block = automated(app)
    if keep_block and supports_enabled(argocd):
        return FieldChange((*path, "enabled"), block.get("enabled", ABSENT), False)
    return FieldChange(path, block, ABSENT)


# -- identity and place


def key_of(app: JSON) -> Key:
    """Name an object without its uid."""
    return ref_of(app).key


def project_name(app: JSON) -> str:
    """An empty project is `default` (Argo CD: util/argo/argo.go NormalizeApplicationSpec)."""
    return str((app.get("spec") or {}).get("project") or "default")


IN_CLUSTER = "https://kubernetes.default.svc"

_LOCAL = r"(?i:https://kubernetes(\.default(\.svc(\.[a-z0-9.-]+)?)?)?(:443)?/?)"


def is_local(server: str) -> bool:
    """Whether an address is one by which a pod reaches the API server of its own cluster."""
    return server == IN_CLUSTER or bool(re.fullmatch(_LOCAL, server))


def deploys_here(app: JSON) -> bool:
    """Whether the destination names the cluster that Argo CD itself runs in."""
    destination = (app.get("spec") or {}).get("destination") or {}
    return is_local(str(destination.get("server") or "")) or destination.get("name") == "in-cluster"


def managed_resources(app: JSON) -> list[JSON]:
    """Return `status.resources[]`."""
    return list((app.get("status") or {}).get("resources") or ())


def lists(app: JSON, key: Key, group: str = "argoproj.io") -> JSON | None:
    """Return the line of `status.resources[]` that is about that object, None where there is none."""
    for r in managed_resources(app):
        if (r.get("group", ""), r.get("kind"), r.get("name")) == (group, key.kind, key.name) and (
            r.get("namespace") or key.namespace
        ) == key.namespace:
            return r
    return None


def parse_time(value: JSON) -> datetime | None:
    """Read a Kubernetes timestamp; None where there is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", value.replace("Z", "+00:00")))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


# -- revisions: patterns as text, compiled (and kept, by re) when one is asked for

_SHA = r"[0-9a-f]{7,40}"
_FULL_SHA = r"[0-9a-f]{40}|[0-9a-f]{64}"
_PRE = r"(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_SEMVER = rf"v?\d+(?:\.\d+){{0,2}}{_PRE}"
_COMPARATOR = rf"(?:=|==|!=|<|>|<=|>=|=<|=>|~|~>|\^)?\s*v?(?:\d+|[xX*])(?:\.(?:\d+|[xX*])){{0,2}}{_PRE}"
_CONSTRAINT = (
    rf"\s*{_COMPARATOR}(?:\s+-\s+{_COMPARATOR})?"
    rf"(?:(?:\s*,\s*|\s+|\s*\|\|\s*){_COMPARATOR}(?:\s+-\s+{_COMPARATOR})?)*\s*"
)
_OCI_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_DIGEST_PREFIX = r"sha256:[0-9a-f]{7,64}"
_BAD_IN_REF = r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.lock(/|$)|(^|/)\.|\.$|^@$|^-"


def is_sha(revision: str) -> bool:
    """Whether git would take it for a commit (Argo CD: util/git IsTruncatedCommitSHA)."""
    return bool(re.fullmatch(_SHA, revision))


def is_full_sha(revision: str) -> bool:
    """Whether it is a whole commit id."""
    return bool(re.fullmatch(_FULL_SHA, revision))


def is_digest(revision: str) -> bool:
    """Whether it is a whole digest of an OCI artifact."""
    return bool(re.fullmatch(_DIGEST, revision))


def is_digest_prefix(revision: str) -> bool:
    """Whether it is the digest of an OCI artifact, or so much of it that it means one."""
    return bool(re.fullmatch(_DIGEST_PREFIX, revision))


def name_of(revision: str, asked: str) -> str:
    """Name a revision as a person would: a hash in short, with what it was asked for as."""
    text = revision or asked
    if is_full_sha(text):
        short = text[:8]
    elif re.fullmatch(_DIGEST, text):
        short = text[: len("sha256:") + 8]
    else:
        return text
    return short + (f" ({asked})" if asked and asked != revision else "")


def is_valid_revision(kind: SourceKind, version: str) -> bool:
    """Whether a source of that kind could have a revision of that form; says nothing of its existence."""
    if not version or version != version.strip():
        return False
    if kind is SourceKind.HELM:
        return bool(re.fullmatch(_SEMVER, version) or re.fullmatch(_CONSTRAINT, version))
    if kind is SourceKind.OCI:
        return bool(
            re.fullmatch(_OCI_TAG, version)
            or re.fullmatch(_DIGEST, version)
            or re.fullmatch(_CONSTRAINT, version)
        )
    return bool(not re.search(_BAD_IN_REF, version) or re.fullmatch(_CONSTRAINT, version))


BRANCHES = "refs/heads/"
"""Before the name of a branch, where it is said in full."""


def is_moving(kind: SourceKind, version: str) -> bool:
    """Whether the name may mean something else tomorrow: a range, or a git name that is no tag or commit."""
    if kind in (SourceKind.HELM, SourceKind.OCI):
        return not (re.fullmatch(_SEMVER, version) and version.count(".") >= 2) and not re.fullmatch(
            _DIGEST, version
        )
    if version.startswith("refs/tags/") or is_full_sha(version):
        return False
    return not (re.fullmatch(_SEMVER, version) and "." in version)


# -- comparison


def plain_source(source: JSON) -> JSON:
    """Drop what normalisation drops, and what Go's omitempty never writes.

    Argo CD: appcontroller.go normalizeApplication, types.go ApplicationSource.
    """
    if not isinstance(source, Mapping):
        return {}
    return {k: plain for k, v in source.items() if (plain := _without_empty(v, k)) not in _EMPTY}


_EMPTY: tuple[JSON, ...] = (None, "", {}, [], False)


def _without_empty(value: JSON, name: str = "") -> JSON:
    if name == "valuesObject":
        return value  # is passed on as it was written
    if isinstance(value, Mapping):
        return {k: plain for k, v in value.items() if (plain := _without_empty(v, k)) not in _EMPTY}
    return [_without_empty(v) for v in value] if isinstance(value, list) else value


def is_compared(app: JSON) -> bool:
    """Whether the controller's last comparison was with the spec's source as it is now."""
    status = app.get("status") or {}
    compared = (status.get("sync") or {}).get("comparedTo") or {}
    spec = app.get("spec") or {}
    if spec.get("sourceHydrator"):
        wanted = [{k: v for k, v in sources(app)[0].body.items() if k != "targetBranch"}]
        wanted[0]["targetRevision"] = sources(app)[0].revision
        seen: list[JSON] = [compared.get("source") or {}]
    elif spec.get("sources"):
        wanted, seen = list(spec["sources"]), list(compared.get("sources") or ())
    else:
        wanted, seen = [spec.get("source") or {}], [compared.get("source") or {}]
    return [plain_source(s) for s in wanted] == [plain_source(s) for s in seen]


def sync_status(app: JSON) -> str:
    """`status.sync.status`: Synced, OutOfSync, Unknown."""
    return str(((app.get("status") or {}).get("sync") or {}).get("status") or "Unknown")


def health_status(app: JSON) -> str:
    """`status.health.status`."""
    return str(((app.get("status") or {}).get("health") or {}).get("status") or "Unknown")


def reconciled_at(app: JSON) -> datetime | None:
    """When the controller last compared it."""
    return parse_time((app.get("status") or {}).get("reconciledAt"))


def synced_revisions(app: JSON) -> tuple[str, ...]:
    """`status.sync.revision`, or `revisions`: what the controller resolved last."""
    sync = (app.get("status") or {}).get("sync") or {}
    return tuple(sync.get("revisions") or ([sync["revision"]] if sync.get("revision") else []))


def conditions(app: JSON, *types: str) -> list[JSON]:
    """`status.conditions[]` of those types; all of them without any."""
    found: Iterable[JSON] = (app.get("status") or {}).get("conditions") or ()
    return [c for c in found if not types or c.get("type") in types]


def application_of(snapshot: Snapshot, key: Key) -> JSON:
    """Return an Application of the snapshot. Raises NotFound."""
    app = snapshot.objects.get(key)
    if app is None:
        raise NotFound(
            f"{key} does not exist",
            f"see them all: kubectl get applications.argoproj.io -n {key.namespace}",
            status=404,
            reason="NotFound",
        )
    return app


def living_application(snapshot: Snapshot, key: Key) -> JSON:
    """Return an Application that an edit may help. Raises NotFound, and RefusedError where it is going.

    Argo CD: appcontroller.go autoSync, processAppOperationQueueItem: neither acts on one being deleted.
    """
    app = application_of(snapshot, key)
    if app["metadata"].get("deletionTimestamp"):
        held = ", ".join(app["metadata"].get("finalizers") or ())
        raise RefusedError(
            f"{key} is being deleted: Argo CD will not deploy anything of it",
            "wait until it is gone and create it anew"
            + (f"; its finalizers hold it: {held}" if held else ""),
            code=Code.DELETION,
        )
    return app


def project_key(snapshot: Snapshot, app: JSON) -> Key:
    """Name the app's project: projects are read only from Argo CD's own namespace (AC:241)."""
    return Key("AppProject", snapshot.argocd.namespace, project_name(app))


def require_project(snapshot: Snapshot, app: JSON) -> None:
    """Raise Forbidden where the AppProject may not be read: what its windows say is not known then."""
    key = project_key(snapshot, app)
    if key not in snapshot.objects and key not in snapshot.missing:
        raise Forbidden(
            f"{key} cannot be read, so whether its sync windows stop "
            f"{display_name(key_of(app), snapshot.argocd)} is not known",
            f"nothing was changed; ask for the right to get appprojects in {key.namespace}",
            status=403,
            reason="Forbidden",
        )


def projects(snapshot: Snapshot) -> list[JSON]:
    """Return every AppProject that the snapshot has."""
    return [o for k, o in snapshot.objects.items() if k.kind == "AppProject"]
