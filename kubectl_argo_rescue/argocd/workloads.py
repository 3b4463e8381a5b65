"""A workload's own history in its cluster: what it runs, what came before, and the way back. Pure.

The previous revision is the one that `kubectl rollout undo` takes (kubectl: polymorphichelpers/
rollback.go): the second newest by number. Where the Application's history tells that this one was
deployed by the version that fails as well (somebody restarted the pods since), the newest that was
not is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

from msgspec import Struct

from ..model import patches
from ..model.patches import Op
from ..model.values import (
    BY_KIND,
    CONTROLLERREVISION,
    JSON,
    REPLICASET,
    WORKLOAD_KINDS,
    Confidential,
    Key,
    Ref,
    Resource,
    Takeback,
    WorkloadRollback,
    ref_of,
)
from . import application, rollouts
from .history import Deployment, deployments, failing_identity

HISTORY_OF: Final[Mapping[str, Resource]] = {
    "Deployment": REPLICASET,
    "StatefulSet": CONTROLLERREVISION,
    "DaemonSet": CONTROLLERREVISION,
    "Rollout": REPLICASET,
}
"""Where each kind of workload keeps its revisions."""

_DEPLOYMENT_NUMBER = "deployment.kubernetes.io/revision"
NUMBERS: Final[Mapping[str, str]] = {"Deployment": _DEPLOYMENT_NUMBER, "Rollout": rollouts.NUMBER}
"""The annotation with the revision's number, on a workload and on its ReplicaSets."""

HASH_LABELS: Final = ("pod-template-hash", rollouts.HASH_LABEL)


class Revision(Confidential, frozen=True):
    """One revision: a ReplicaSet or a ControllerRevision."""

    number: int
    name: str
    template: JSON
    """As it goes into the workload. Never shown or kept: it holds secrets."""
    created: datetime | None = None
    was_reused: bool = False
    """It was current before, so when it was created does not tell since when it is current."""


class History(Confidential, frozen=True):
    """A workload as read and its revisions, oldest first."""

    workload: JSON
    revisions: tuple[Revision, ...]

    @property
    def key(self) -> Key:
        """The workload's name."""
        return ref_of(self.workload).key

    def named(self, name: str) -> Revision | None:
        """Return the revision that the object of that name keeps."""
        return next((r for r in self.revisions if r.name == name), None)

    def of_hash(self, pod_hash: str) -> Revision | None:
        """Return the revision of a Rollout whose pods carry that hash."""
        name = f"{self.workload['metadata']['name']}-{pod_hash}"
        return self.named(name) if pod_hash else None


def keys_of(app: JSON) -> tuple[Key, ...]:
    """Return the workloads that an Application lists, whatever cluster they are in.

    While the sources cannot be fetched every resource is said to require pruning, at status
    Unknown (Argo CD: controller/state.go CompareAppState, failedToLoadObjs).
    """
    return tuple(
        dict.fromkeys(
            Key(r["kind"], r.get("namespace", ""), r["name"])
            for r in application.managed_resources(app)
            if is_workload(r)
            and not r.get("hook")
            and (not r.get("requiresPruning") or r.get("status") in (None, "", "Unknown"))
        )
    )


def is_workload(resource: JSON) -> bool:
    """Whether a line of an Application's resources is a workload that is understood here."""
    known = BY_KIND.get(str(resource.get("kind"))) if resource.get("kind") in WORKLOAD_KINDS else None
    return known is not None and resource.get("group") == known.group


def observed_generation(workload: JSON) -> int:
    """Return the generation that the workload's controller has seen; a Rollout keeps it as text."""
    seen = (workload.get("status") or {}).get("observedGeneration") or 0
    return int(seen) if str(seen).isdigit() else 0


def synced(app: JSON) -> frozenset[Key]:
    """Return the workloads that Argo CD has found to be there as git wants them."""
    return frozenset(
        Key(r["kind"], r.get("namespace", ""), r["name"])
        for r in application.managed_resources(app)
        if is_workload(r) and r.get("status") == "Synced"
    )


def selector_of(workload: JSON) -> str:
    """Write a workload's selector as the API's `labelSelector`."""
    selector = (workload.get("spec") or {}).get("selector") or {}
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for e in selector.get("matchExpressions") or ():
        name, values = e["key"], ",".join(e.get("values") or ())
        parts.append(
            {
                "In": f"{name} in ({values})",
                "NotIn": f"{name} notin ({values})",
                "Exists": name,
                "DoesNotExist": f"!{name}",
            }[e["operator"]]
        )
    return ",".join(parts)


def history(workload: JSON, objects: Iterable[JSON]) -> History:
    """Return the revisions among `objects` that the workload controls, ordered by number."""
    uid = workload["metadata"]["uid"]
    found: list[Revision] = []
    for obj in objects:
        owners = obj["metadata"].get("ownerReferences") or ()
        if any(o.get("uid") == uid and o.get("controller") for o in owners):
            revision = _revision(workload["kind"], obj)
            if revision is not None:
                found.append(revision)
    # kubectl: history.go byRevision.
    found.sort(key=lambda r: (r.number, r.created.timestamp() if r.created else 0.0, r.name))
    return History(workload, tuple(found))


def _revision(kind: str, obj: JSON) -> Revision | None:
    meta = obj["metadata"]
    created = application.parse_time(meta.get("creationTimestamp"))
    if kind not in NUMBERS:
        template = ((obj.get("data") or {}).get("spec") or {}).get("template")
        if not isinstance(template, dict):
            return None
        return Revision(int(obj.get("revision") or 0), meta["name"], _plain(template), created)
    annotations = meta.get("annotations") or {}
    try:
        number = int(annotations.get(NUMBERS[kind]) or 0)
    except ValueError:
        return None
    reused = bool(annotations.get(f"{NUMBERS[kind]}-history"))
    template = _as_written(_plain(obj["spec"]["template"]), annotations.get(rollouts.EPHEMERAL))
    return Revision(number, meta["name"], template, created, reused)


def _as_written(template: JSON, ephemeral: str | None) -> JSON:
    """Take away what the strategy of a Rollout has put into the template of its ReplicaSet."""
    try:
        added = json.loads(ephemeral) if ephemeral else {}
    except ValueError:
        added = {}
    meta = dict(template.get("metadata") or {})
    for name in ("labels", "annotations"):
        gone = added.get(name) or () if isinstance(added, dict) else ()
        if meta.get(name) and gone:
            meta[name] = {k: v for k, v in meta[name].items() if k not in gone}
    return {**template, "metadata": meta}


def _plain(template: JSON) -> JSON:
    """Take away what a revision adds to the template: the hash label, the patch directive, nulls."""
    plain = {k: v for k, v in template.items() if k != "$patch"}
    meta = {k: v for k, v in (plain.get("metadata") or {}).items() if v is not None}
    if any(label in (meta.get("labels") or {}) for label in HASH_LABELS):
        meta["labels"] = {k: v for k, v in meta["labels"].items() if k not in HASH_LABELS}
    return {**plain, "metadata": meta}


def same(a: JSON, b: JSON) -> bool:
    """Whether two templates make the same pods (kubectl: rollback.go equalIgnoreHash)."""
    if a is None or b is None:  # of a Rollout whose template is another's
        return a is b
    return bool(_without_nulls(_plain(a)) == _without_nulls(_plain(b)))


def _without_nulls(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {
            k: _without_nulls(v)
            for k, v in value.items()
            if v is not None and not (k in ("labels", "annotations") and not v)
        }
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def template_of(workload: JSON) -> JSON:
    """Return the template that a workload asks for now; None where it is another's (`spec.workloadRef`)."""
    return workload["spec"].get("template")


def is_paused(workload: JSON) -> bool:
    """Whether a Deployment or Rollout itself is paused: a new template would not roll out."""
    return workload["kind"] in NUMBERS and bool(workload["spec"].get("paused"))


def resume_command(key: Key) -> str:
    """Return the command that lets a paused Deployment or Rollout roll."""
    if key.kind == rollouts.KIND:
        patch = '{"spec":{"paused":false}}'
        return f"kubectl -n {key.namespace} patch rollout {key.name} --type=merge -p '{patch}'"
    return f"kubectl -n {key.namespace} rollout resume deployment/{key.name}"


class Way(Enum):
    """What is to be done with a workload."""

    BACK = "back"
    ALREADY = "already"
    """It runs the previous revision already."""
    LEFT = "left alone"
    """There is nothing to go back to, or no reason."""
    REFUSED = "refused"
    """It cannot be done as it stands; `why` says what to do."""


class Decision(Struct, frozen=True):
    """What is to be done with one workload, and why."""

    way: Way
    why: str
    current: Revision | None = None
    target: Revision | None = None
    how: Takeback = Takeback.TEMPLATE


def decide(
    past: History,
    *,
    is_failing: Callable[[Revision], bool | None] = lambda revision: None,
    taken_back: Collection[str] = (),
) -> Decision:
    """Pick the revision to go back to.

    Args:
        past: the workload and its revisions.
        is_failing: whether a revision was deployed by the version that fails; None where not known.
        taken_back: names of revisions that open journal entries took this workload back to. Going
            back once more would roll the broken one out again, as `kubectl rollout undo` twice does.
    """
    workload, revisions, key = past.workload, past.revisions, past.key
    if not revisions:
        return Decision(Way.LEFT, "the cluster keeps no revision of it")
    if workload["kind"] == rollouts.KIND and (found := _of_rollout(past, is_failing, taken_back)):
        return found
    live = template_of(workload)
    current, older = revisions[-1], revisions[:-1]
    matches = same(current.template, live)
    for name in taken_back:
        revision = past.named(name)
        if revision is not None and same(revision.template, live):
            return Decision(Way.ALREADY, "an open entry took it back already", current, revision)
    if not older:
        return Decision(Way.LEFT, "it has no previous revision", current)
    if older[-1] and same(older[-1].template, live):
        return Decision(Way.ALREADY, f"already at revision {older[-1].number}", current, older[-1])
    if not matches and observed_generation(workload) < workload["metadata"].get("generation", 0):
        return Decision(
            Way.REFUSED,
            f"Kubernetes has not recorded the present spec of {key} as a revision yet; wait for "
            "kube-controller-manager and try again",
            current,
        )
    if is_failing(current) is False and not _may_be_reused(past):
        return Decision(Way.LEFT, "the version that fails did not change it", current)
    if is_paused(workload):
        return Decision(
            Way.REFUSED,
            f"{key} itself is paused (spec.paused), so nothing of it would roll out; resume it first: "
            f"{resume_command(key)}",
            current,
        )
    fit = [r for r in older if is_failing(r) is not True and not same(r.template, live)]
    return Decision(Way.BACK, "", current, (fit or older)[-1])


def _of_rollout(
    past: History, is_failing: Callable[[Revision], bool | None], taken_back: Collection[str]
) -> Decision | None:
    """Decide where a Rollout knows its way back itself; None where it is taken back like a Deployment.

    What is not the stable version yet is aborted: the stable one serves at once, and the template,
    which is Argo CD's or another workload's, stays as it is. Not so where the stable one is what fails:
    then the new version is the way out.
    """
    workload = past.workload
    status = workload.get("status") or {}
    stable, current = (past.of_hash(str(status.get(n) or "")) for n in ("stableRS", "currentPodHash"))
    if rollouts.is_aborted(workload):
        return Decision(Way.ALREADY, "it was aborted already", current, stable)
    if rollouts.is_under_way(workload) and stable is not None and current is not None:
        if current.name in taken_back:
            return Decision(Way.ALREADY, "an open entry took it back already", current, current)
        if is_failing(stable) is not True:
            return Decision(Way.BACK, "", current, stable, Takeback.ABORT)
    source = rollouts.template_source(workload)
    if source is not None:
        return Decision(Way.LEFT, f"its template is that of {source}", current)
    return None


def _may_be_reused(past: History) -> bool:
    """Whether the current revision may be one that was current before, under its old time of creation."""
    current = past.revisions[-1]
    if current.was_reused or current.created is None:
        return True
    return any(r.created is None or r.created > current.created for r in past.revisions[:-1])


def rollback(
    ref: Ref,
    app: Key,
    decision: Decision,
    reason: str,
    *,
    destination: str = "",
    deployment: int | None = None,
) -> WorkloadRollback:
    """Write a decision to go somewhere as the step that does it."""
    current, target = decision.current, decision.target
    assert current is not None and target is not None
    return WorkloadRollback(
        ref, app, current.number, target.number, target.name, reason,
        destination=destination, deployment=deployment, how=decision.how,
    )  # fmt: skip


def ops_back(workload: JSON, template: JSON) -> list[Op]:
    """Build the guarded patch: this very object, its spec as read, the whole template replaced."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": workload["metadata"]["uid"]},
        {"op": "test", "path": "/metadata/generation", "value": workload["metadata"].get("generation")},
        {"op": "replace", "path": "/spec/template", "value": template},
    ]


def not_taken(wanted: JSON, now: JSON, before: JSON) -> str:
    """Say what of a template that was written is not there; empty where all of it is.

    What webhooks put in besides is no loss. Values are said of images alone: others may be secret.
    """
    if same(wanted, now):
        return ""
    where = "/spec/template"
    missing = patches.first_missing(_without_nulls(_plain(wanted)), now, where)
    if missing is None:
        return f"{where} is as it was" if same(now, before) else ""
    at, value, there = missing
    if not at.endswith("/image"):
        return f"{at} is not as in the revision"
    return f"{at} should be {patches.shown(value)} and is {patches.shown(there)}"


def shown_ops(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Return the part of a patch that may be shown and kept: its guards, not the template."""
    return tuple(op for op in ops if op["op"] == "test")


def images(template: JSON) -> dict[str, str]:
    """Return the image of each container, by the container's name."""
    pod = template.get("spec") or {}
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    return {str(c.get("name", "")): str(c.get("image", "")) for c in containers}


def describe(current: Revision, target: Revision) -> str:
    """Say a way back in one phrase, with the images that change: what people know versions by."""
    now, then = images(current.template), images(target.template)
    changed = [f"{now.get(n, 'none')} to {image}" for n, image in then.items() if now.get(n) != image]
    text = f"revision {current.number} to {target.number}"
    if not changed:
        return text
    more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
    return f"{text}: {', '.join(changed[:2])}{more}"


def hindrances(workload: JSON) -> list[str]:
    """Say what may keep the pods from following the template by themselves."""
    key = ref_of(workload).key
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    strategy = (spec.get("updateStrategy") or {}).get("type")
    if strategy == "OnDelete":
        return [
            f"{key} updates on delete only: delete its pods yourself once it is taken back "
            f"(kubectl -n {key.namespace} delete pod -l '{selector_of(workload)}')"
        ]
    if workload["kind"] != "StatefulSet" or spec.get("podManagementPolicy") == "Parallel":
        return []
    wanted = spec.get("replicas", 1)
    if status.get("readyReplicas", 0) >= wanted:
        return []
    # Kubernetes' docs, StatefulSets, "Forced rollback".
    return [
        f"{key} has pods that are not ready, and a StatefulSet waits for such a pod before it replaces it; "
        f"if it hangs, delete the broken pods: kubectl -n {key.namespace} delete pod -l "
        f"controller-revision-hash={status.get('updateRevision', '')}"
    ]


def maker(app: JSON) -> Callable[[Revision], Deployment | None]:
    """Return what tells which deployment of history made a revision.

    Judged by when it was created: that deployment had started, and the next one had not. None where
    history does not say, because it does not go back so far, has no times of starting, or two of them
    fall into the very second: Kubernetes' times have no fractions.
    """
    deployed = deployments(app)
    past = (app.get("status") or {}).get("history") or []
    starts = [application.parse_time(h.get("deployStartedAt")) for h in past]

    def made_by(revision: Revision) -> Deployment | None:
        if revision.created is None:
            return None
        before: Deployment | None = None
        found: Deployment | None = None
        for deployment, start in zip(deployed, starts, strict=True):
            if start is None:
                return None
            if start > revision.created:
                break
            before, found = found, deployment
        is_shared = before is not None and before.deployed is not None and before.deployed >= revision.created
        return None if is_shared else found

    return made_by


def failing_periods(app: JSON) -> Callable[[Revision], bool | None]:
    """Return what tells whether the version that fails made a revision; None where history does not say."""
    deployed = deployments(app)
    failing = failing_identity(app)
    if deployed and application.sync_status(app) in ("Synced", "Unknown"):
        failing = deployed[-1].identity  # commits since then changed nothing of it
    if not any(d.identity == failing for d in deployed):
        return lambda revision: None
    made_by = maker(app)

    def is_failing(revision: Revision) -> bool | None:
        deployment = made_by(revision)
        return None if deployment is None else deployment.identity == failing

    return is_failing
