"""The words of this tool as frozen values: what is addressed, what is wanted, what was done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from .errors import ExitStatus

JSON: TypeAlias = Any
"""A JSON value as `json.loads` gives it."""


class _Absent(Enum):
    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent.ABSENT
"""The field is not there at all, which is not the same as null."""

GROUP = "argoproj.io"


class Resource(Struct, frozen=True):
    """A kind as the API server serves it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresource: str = ""
    """What of the object is read and written in its place; the kind says it then, behind a slash."""

    @property
    def singular(self) -> str:
        """The name that kubectl prints: `application.argoproj.io`."""
        kind = whole_kind(self.kind).lower()
        return f"{kind}.{self.group}" if self.group else kind


def whole_kind(kind: str) -> str:
    """Return the kind of the whole object: of `StatefulSet/scale` it is StatefulSet."""
    return kind.partition("/")[0]


APPLICATION = Resource(GROUP, "v1alpha1", "applications", "Application")
APPPROJECT = Resource(GROUP, "v1alpha1", "appprojects", "AppProject")
APPLICATIONSET = Resource(GROUP, "v1alpha1", "applicationsets", "ApplicationSet")
CONFIGMAP = Resource("", "v1", "configmaps", "ConfigMap")
SECRET = Resource("", "v1", "secrets", "Secret")
DEFINITION = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
POD = Resource("", "v1", "pods", "Pod")
SERVICE = Resource("", "v1", "services", "Service")
EVENT = Resource("", "v1", "events", "Event")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
STATEFULSET = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMONSET = Resource("apps", "v1", "daemonsets", "DaemonSet")
ROLLOUT = Resource(GROUP, "v1alpha1", "rollouts", "Rollout")
ROLLOUT_STATUS = Resource(GROUP, "v1alpha1", "rollouts", "Rollout/status", subresource="status")
REPLICASET = Resource("apps", "v1", "replicasets", "ReplicaSet")
CONTROLLERREVISION = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
STATEFULSET_SCALE = Resource("apps", "v1", "statefulsets", "StatefulSet/scale", subresource="scale")
DEPLOYMENT_SCALE = Resource("apps", "v1", "deployments", "Deployment/scale", subresource="scale")
OPERATED = Resource(GROUP, "v1beta1", "argocds", "ArgoCD")
"""What argocd-operator makes an Argo CD of."""
ACCESSREVIEW = Resource(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)
SUBJECTREVIEW = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)

BY_KIND: Final[Mapping[str, Resource]] = {
    r.kind: r
    for r in (
        *(APPLICATION, APPPROJECT, APPLICATIONSET, DEPLOYMENT, STATEFULSET, DAEMONSET, ROLLOUT),
        *(DEPLOYMENT_SCALE, STATEFULSET_SCALE, OPERATED),
    )
}
"""The kinds that an edit may address, by the name the journal keeps."""

WRITTEN: Final[Mapping[str, Resource]] = {**BY_KIND, **{r.kind: r for r in (POD, ROLLOUT_STATUS)}}
"""The kinds of all that is written: what is only ever deleted, or has a status written, as well."""


WORKLOADS: Final = (DEPLOYMENT, STATEFULSET, DAEMONSET, ROLLOUT)
"""What is followed and taken back pod by pod, in the cluster that an Application deploys into."""

WORKLOAD_KINDS: Final = tuple(r.kind for r in WORKLOADS)


class Confidential(Struct, frozen=True):
    """A record of which no log and no traceback may show more than its name: it holds secrets."""

    def __repr__(self) -> str:
        """Name the kind of record alone."""
        return f"{type(self).__name__}(…)"


class Key(Struct, frozen=True, order=True):
    """An object by name. Two objects of one name one after the other share a Key, not a Ref."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Say it as in messages: `Application argocd/traefik`."""
        kind = whole_kind(self.kind)
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


class Ref(Struct, frozen=True, order=True):
    """One object with its uid: a re-created object is another object."""

    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> Key:
        """The same object by name."""
        return Key(self.kind, self.namespace, self.name)

    def __str__(self) -> str:
        """Say it as in messages: `Application argocd/traefik`."""
        return str(self.key)


def ref_of(obj: JSON) -> Ref:
    """Name a live object; `obj` is the object as the API server gave it."""
    meta = obj["metadata"]
    return Ref(obj["kind"], meta.get("namespace", ""), meta["name"], meta.get("uid", ""))


class Context(Struct, frozen=True):
    """A context of the kubeconfig, as far as it tells which cluster it leads to."""

    name: str
    cluster: str = ""
    """The name of its cluster's entry."""
    user: str = ""
    server: str = ""
    authority: str = ""
    """The certificate authority of that server as PEM, empty where none is named."""


class Match(Struct, frozen=True):
    """Selects the item of a list by content; `index` is where it was seen, a hint where several fit."""

    content: tuple[tuple[str, JSON], ...]
    """(field, value) pairs that the item must have; ABSENT for a field that it must not have."""
    index: int

    def __hash__(self) -> int:
        """Hash by place, since contents may be lists."""
        return hash((tuple(name for name, _ in self.content), self.index))


PathStep: TypeAlias = str | Match
Path: TypeAlias = tuple[PathStep, ...]
"""Where a value lives: field names, and Match for the item of a list."""


class FieldChange(Struct, frozen=True):
    """One field from `before` to `after`; ABSENT on either side means that the key is not there."""

    path: Path
    before: JSON
    after: JSON


class MemberChange(Struct, frozen=True):
    """One item put into a list or taken out, whatever else the list holds.

    `item` compares by value; `index` is where it was, or goes. `present` says whether the item is
    in the list afterwards. Kept per item so that two journal entries on one list do not undo each
    other.
    """

    path: Path
    item: JSON
    index: int
    present: bool
    sole: bool = False
    """The list itself is there only because of the item."""


Change: TypeAlias = FieldChange | MemberChange


class Role(Enum):
    """What a change is for; undo treats each differently (hand-back judges only VERSION)."""

    PAUSE = "pause"
    WINDOW = "window"
    VERSION = "version"
    RULE = "rule"
    WORKLOAD = "workload"
    SCALE = "scale"
    """Argo CD's own controllers to 0: a freeze."""
    ORPHAN = "orphan"
    """What keeps an Application from taking its workloads along."""


class Edit(Struct, frozen=True):
    """The change wanted of one object, and why in one phrase."""

    ref: Ref
    changes: tuple[Change, ...]
    reason: str
    role: Role
    named: bool = True
    """The user named this object; False where it comes into the plan by itself."""
    hold: float = 0.0
    """Seconds to see that nobody takes it back; written again where somebody does."""


class OrderKind(Enum):
    """What is asked of Argo CD's controller; the value is the past participle that is printed."""

    START = "sync ordered"
    ROLLBACK = "rollback ordered"
    TERMINATE = "terminating"
    WITHDRAW = "operation withdrawn"
    """Take `.operation` back before anybody has picked it up."""
    ABORT = "operation cleared"
    """Write the end into the status by hand, where no controller will."""
    FORGET = "operation forgotten"
    """Take the record of an operation of ours out of the status: auto-sync must not take it for its own."""


class Order(Struct, frozen=True):
    """An Argo CD operation to be started or ended: `.operation` and `status.operationState`.

    For START and ROLLBACK `operation` is the field's whole value; its `info` holds `id` under the
    name argo-rescue, by which the watch knows its own operation. Otherwise it is None.
    """

    ref: Ref
    id: str
    operation: JSON
    reason: str
    named: bool = True
    kind: OrderKind = OrderKind.START


class Takeback(Enum):
    """How a workload is taken to a revision; the value is the past participle that is printed."""

    TEMPLATE = "rolled back"
    ABORT = "canary aborted"
    """A Rollout whose new version is not the stable one yet goes back to that, its template stays."""
    PROMOTION = "fully promoted"
    """A Rollout goes on to the revision that it has begun, without its further steps."""


class WorkloadRollback(Struct, frozen=True):
    """A workload taken to a revision of its own history in the cluster.

    Only numbers and a name: templates hold secrets and never reach the journal.
    """

    ref: Ref
    """The Deployment, StatefulSet, DaemonSet or Rollout."""
    app: Key
    """The Application that manages it."""
    from_revision: int
    to_revision: int
    revision: str
    """The name of the ReplicaSet or ControllerRevision that keeps `to_revision`."""
    reason: str
    named: bool = True
    destination: str = ""
    """The cluster that it is in, empty for the one of Argo CD itself."""
    deployment: int | None = None
    """The id in the Application's history of what made `to_revision`; None where not known."""
    how: Takeback = Takeback.TEMPLATE


class Removal(Struct, frozen=True):
    """An object that is deleted, and only this very one."""

    ref: Ref
    reason: str
    named: bool = True
    resource_version: str = ""
    """Only as it was then; not of the journal."""


class Creation(Struct, frozen=True):
    """An object that is made anew; the journal keeps its name alone."""

    ref: Ref
    """Without a uid: the server gives it one."""
    reason: str
    named: bool = True
    obj: JSON = None
    """The whole object; None of one that was read from the journal."""


PlanStep: TypeAlias = Edit | Order | WorkloadRollback | Removal | Creation
"""What a plan is made of, and what the journal keeps the intent of."""


class StepStatus(Enum):
    """What became of one edit."""

    APPLIED = "applied"
    PLANNED = "planned"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    DENIED = "denied"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class StepResult(Struct, frozen=True):
    """The outcome of one edit or order as a value; `patch` is the RFC 6902 document that was sent."""

    ref: Ref
    status: StepStatus
    action: str
    """The past participle that kubectl prints: paused, pinned, restored."""
    patch: tuple[JSON, ...] = ()
    reason: str = ""
    detail: str = ""
    role: Role | None = None
    """What the edit was for; None of what is no edit of ours."""

    @property
    def stands(self) -> bool:
        """Whether what was wanted is so now."""
        return self.status in (StepStatus.APPLIED, StepStatus.UNCHANGED)


class Result(Struct, frozen=True):
    """What every command returns: rendered once, as text, names, JSON or YAML."""

    verb: str
    entry: str = ""
    edits: tuple[StepResult, ...] = ()
    warnings: tuple[str, ...] = ()
    data: Mapping[str, JSON] = field(default_factory=dict)
    exit_status: ExitStatus = ExitStatus.OK
    status: str = "done"


class Tracking(Enum):
    """argocd-cm `application.resourceTrackingMethod` (Argo CD: util/argo/resource_tracking.go)."""

    LABEL = "label"
    ANNOTATION = "annotation"
    ANNOTATION_AND_LABEL = "annotation+label"


class Version(Struct, frozen=True):
    """A version of Argo CD's controller, from its image tag or label, else as its CRDs suggest."""

    major: int
    minor: int
    text: str
    is_certain: bool = True
    """False where only the CRDs tell: they may be of another version than the controller."""

    def at_least(self, major: int, minor: int) -> bool:
        """Whether this is that release line or a later one."""
        return (self.major, self.minor) >= (major, minor)


_VERSION = r"v?(\d+)\.(\d+)(?:\.\d+)?\b"


def parse_version(tag: str) -> Version | None:
    """Read an image tag such as `v3.2.11`; None where it is no version (`latest`, a digest)."""
    found = re.match(_VERSION, tag)
    return Version(int(found[1]), int(found[2]), tag) if found else None


FIELD_MANAGER: Final = "kubectl-argo-rescue"
"""The name that the API server keeps with every field that this tool writes."""


class ArgoCD(Struct, frozen=True):
    """One Argo CD installation as its own ConfigMaps and workloads describe it."""

    namespace: str
    version: Version | None = None
    tracking: Tracking = Tracking.ANNOTATION
    instance_label: str = "app.kubernetes.io/instance"
    installation_id: str = ""
    application_namespaces: tuple[str, ...] = ()
    """Patterns of `application.namespaces` in argocd-cmd-params-cm, besides its own namespace."""
    global_projects: tuple[JSON, ...] = ()
    """argocd-cm `globalProjects`: [{projectName, labelSelector}]."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The data of argocd-cmd-params-cm."""
    ignored: tuple[JSON, ...] = ()
    """argocd-cm `resource.customizations` of ignoreDifferences, as an Application's rules are."""
    settings_are_known: bool = True
    """False where argocd-cm may not be read: which mark tracks objects is not known then."""
    parameters_are_known: bool = True
    """False where argocd-cmd-params-cm may not be read: which namespaces are served is not known then."""


class Snapshot(Struct, frozen=True, dict=True):
    """All that a planner may know: objects as read, the installation, the time of reading.

    No slots, since two questions that are asked of every one of thousands of objects keep their
    answers here.
    """

    argocd: ArgoCD
    objects: Mapping[Key, JSON]
    now: datetime
    """Aware, in UTC."""
    missing: frozenset[Key] = frozenset()
    """Objects that were looked for and are not there."""
    is_unlisted: bool = False
    """Whether Applications may not be listed, though only the list tells an owner."""
    is_whole: bool = False
    """Whether owners were looked for in all namespaces of this cluster."""
    server: str = ""
    """The address by which we reach this cluster's API server."""
    clusters: Mapping[str, str] = field(default_factory=dict)
    """Servers by the names that this Argo CD gives to clusters, as far as that was read."""

    @cached_property
    def named(self) -> Mapping[str, tuple[Key, ...]]:
        """The Applications of each name, in whatever namespace."""
        found: dict[str, list[Key]] = {}
        for key in self.objects:
            if key.kind == "Application":
                found.setdefault(key.name, []).append(key)
        return {name: tuple(keys) for name, keys in found.items()}

    @cached_property
    def listed_by(self) -> Mapping[Key, tuple[Key, ...]]:
        """For each argoproj.io object the Applications whose `status.resources[]` have it."""
        found: dict[Key, list[Key]] = {}
        for key, obj in self.objects.items():
            if key.kind != "Application":
                continue
            for r in (obj.get("status") or {}).get("resources") or ():
                if r.get("group") == GROUP:
                    namespace = r.get("namespace", "")
                    found.setdefault(Key(r.get("kind", ""), namespace, r.get("name", "")), []).append(key)
        return {key: tuple(by) for key, by in found.items()}

    @cached_property
    def answers(self) -> dict[tuple[str, Key], JSON]:
        """Answers that planners keep for this snapshot, by question and object."""
        return {}


class Plan(Struct, frozen=True):
    """Ordered steps, nothing sent yet: what `--dry-run` prints and the engine carries out."""

    verb: str
    steps: tuple[PlanStep, ...] = ()
    unchanged: tuple[StepResult, ...] = ()
    """What is already as wanted."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth knowing and no reason to worry."""
    questions: tuple[str, ...] = ()
    """What needs a yes: objects that were not named, values that look wrong."""
    relies: tuple[Reliance, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    independent_from: int | None = None
    """From this step on they do not depend on each other: one failing does not stop the rest."""
    next_commands: tuple[str, ...] = ()
    told: frozenset[str] = frozenset()
    """Those of the questions that the steps say themselves: the object stands among them, with its reason."""
    asides: tuple[str, ...] = ()
    """Questions to whoever sits at a terminal: they stop nobody else."""


class Witness(Struct, frozen=True):
    """What an owner's git said when we acted: the measure of whether git has moved since."""

    owner: Key
    repo_url: str
    path: str
    target_revision: str
    revision: str


class Reliance(Struct, frozen=True):
    """A pause or window exemption that an entry found in place and needs: `path` of `key` as it is."""

    key: Key
    change: Change
