"""A kube-controller-manager of a few lines: Deployments roll, StatefulSets and DaemonSets are ready."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta

from ..model import values
from ..model.values import JSON
from .api import InMemoryApi
from .wire import timestamp

REVISION = "deployment.kubernetes.io/revision"
_OWNERS = (
    values.DEPLOYMENT,
    values.REPLICASET,
    values.STATEFULSET,
    values.DAEMONSET,
    values.APPLICATIONSET,
)
_OWNED = (values.REPLICASET, values.CONTROLLERREVISION, values.POD, values.APPLICATION)
BROKEN_DEADLINE = 600
"""apps/v1: the default of progressDeadlineSeconds."""


class Workloads:
    """Moves every workload on by one step; time comes from the clock alone.

    A Deployment whose image is in `broken_images` never becomes available.
    """

    def __init__(
        self, api: InMemoryApi, clock: Callable[[], datetime], like: Workloads | None = None
    ) -> None:
        """Take over the workloads of that API; images break as in the cluster of `like`."""
        self.api = api
        self.clock = clock
        self.broken_images: set[str] = set() if like is None else like.broken_images
        self.rollout_seconds = 1.0
        self._at_rest: object = None
        """What everything followed from when a round found nothing to do and nothing that waits for time."""
        self._digests: dict[tuple[str, int], str] = {}

    def step(self) -> None:
        """One round over all workloads, in order."""
        state = (self.api.revision, frozenset(self.broken_images), self.rollout_seconds)
        if state == self._at_rest:
            return
        self._collect_garbage()
        has_ended = [self._deployment(deployment) for deployment in self.api.peek(values.DEPLOYMENT)]
        for resource in (values.STATEFULSET, values.DAEMONSET):
            for workload in self.api.peek(resource):
                self._replica_counts(resource, workload)
        if all(has_ended) and self.api.revision == state[0]:
            self._at_rest = state

    def _collect_garbage(self) -> None:
        """Delete what nobody owns any more, as the garbage collector does."""
        known = set(self.api.resources())
        owners = {
            owner["metadata"]["uid"]
            for resource in _OWNERS
            if resource in known
            for owner in self.api.peek(resource)
        }
        for resource in _OWNED:
            for obj in self.api.peek(resource):
                meta = obj["metadata"]
                references = meta.get("ownerReferences", [])
                if references and not any(owner["uid"] in owners for owner in references):
                    self.api.delete(resource, meta.get("namespace", ""), meta["name"])

    def _deployment(self, deployment: JSON) -> bool:
        """Move one on; whether its rollout has ended, so that time alone changes nothing any more."""
        meta = deployment["metadata"]
        current = self._replica_set(deployment)
        revision = current["metadata"]["annotations"][REVISION]
        started = datetime.fromisoformat(current["metadata"]["annotations"]["argo-rescue.simulation/started"])
        wanted = deployment["spec"].get("replicas", 1)
        waited = self.clock() - started
        images = {c.get("image", "") for c in deployment["spec"]["template"]["spec"]["containers"]}
        broken = bool(images & self.broken_images)
        rolled = not broken and waited >= timedelta(seconds=self.rollout_seconds)
        available = wanted if rolled else 0
        late = broken and waited >= timedelta(
            seconds=deployment["spec"].get("progressDeadlineSeconds", BROKEN_DEADLINE)
        )
        progress = ("ReplicaSetUpdated", "is progressing.")
        if rolled:
            progress = ("NewReplicaSetAvailable", "has successfully progressed.")
        elif late:
            progress = ("ProgressDeadlineExceeded", "has timed out progressing.")
        enough = "has" if rolled else "does not have"
        conditions = [
            self._condition(
                deployment,
                "Available",
                "True" if rolled else "False",
                "MinimumReplicasAvailable" if rolled else "MinimumReplicasUnavailable",
                f"Deployment {enough} minimum availability.",
            ),
            self._condition(
                deployment,
                "Progressing",
                "False" if late else "True",
                progress[0],
                f'ReplicaSet "{current["metadata"]["name"]}" {progress[1]}',
            ),
        ]
        status = {
            "observedGeneration": meta["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": available,
            "availableReplicas": available,
            "unavailableReplicas": wanted - available,
            "conditions": conditions,
        }
        status = {key: value for key, value in status.items() if value != 0}

        def observe(live: JSON) -> None:
            live["status"] = status
            live["metadata"].setdefault("annotations", {})[REVISION] = revision

        known = (meta.get("annotations") or {}).get(REVISION)
        if (known, deployment.get("status")) != (revision, status):
            self.api.edit(values.DEPLOYMENT, meta["namespace"], meta["name"], observe)
        self._scale(deployment, current, wanted, available)
        return rolled or late

    def _condition(self, deployment: JSON, kind: str, status: str, reason: str, message: str) -> JSON:
        """A condition that keeps its times while it stays as it is."""
        for old in deployment.get("status", {}).get("conditions", []):
            if (old["type"], old["status"], old["message"]) == (kind, status, message):
                return old
        now = timestamp(self.clock())
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
            "lastUpdateTime": now,
        }

    def _replica_sets(self, deployment: JSON) -> list[JSON]:
        uid = deployment["metadata"]["uid"]
        return [
            replica_set
            for replica_set in self.api.peek(values.REPLICASET, deployment["metadata"]["namespace"])
            if any(o["uid"] == uid for o in replica_set["metadata"].get("ownerReferences", []))
        ]

    def _replica_set(self, deployment: JSON) -> JSON:
        """The ReplicaSet of the present template; it takes the highest revision again when reused."""
        template = deployment["spec"]["template"]
        meta = deployment["metadata"]
        digest = self._digest(meta, template)
        name = f"{meta['name']}-{digest}"
        owned = self._replica_sets(deployment)
        newest = max((int(r["metadata"]["annotations"][REVISION]) for r in owned), default=0)
        found = next((r for r in owned if r["metadata"]["name"] == name), None)
        if found is not None and int(found["metadata"]["annotations"][REVISION]) == newest:
            return found
        marks = {
            REVISION: str(newest + 1),
            "argo-rescue.simulation/started": self.clock().isoformat(),
        }
        if found is not None:

            def again(live: JSON) -> None:
                live["metadata"]["annotations"].update(marks)

            return self.api.edit(values.REPLICASET, meta["namespace"], name, again)
        labels = {**template["metadata"].get("labels", {}), "pod-template-hash": digest}
        return self.api.create(
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "namespace": meta["namespace"],
                    "labels": labels,
                    "annotations": marks,
                    "ownerReferences": [_owner("apps/v1", "Deployment", meta)],
                },
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
                },
            }
        )

    def _scale(self, deployment: JSON, current: JSON, wanted: int, available: int) -> None:
        for replica_set in self._replica_sets(deployment):
            is_current = replica_set["metadata"]["name"] == current["metadata"]["name"]
            replicas = wanted if is_current else 0
            ready = available if is_current else 0

            counts = {"replicas": replicas, "readyReplicas": ready, "availableReplicas": ready}
            status = {key: value for key, value in counts.items() if value or key == "replicas"}
            if (replica_set["spec"].get("replicas"), replica_set.get("status")) == (replicas, status):
                continue

            def observe(live: JSON, replicas: int = replicas, status: JSON = status) -> None:
                live["spec"]["replicas"] = replicas
                live["status"] = status

            meta = replica_set["metadata"]
            self.api.edit(values.REPLICASET, meta["namespace"], meta["name"], observe)

    def _replica_counts(self, resource: values.Resource, workload: JSON) -> None:
        meta = workload["metadata"]
        template = workload["spec"].get("template", {})
        revision = f"{meta['name']}-{self._digest(meta, template)}"
        if self.api.look(values.CONTROLLERREVISION, meta["namespace"], revision) is None:
            older = [
                r["revision"]
                for r in self.api.peek(values.CONTROLLERREVISION, meta["namespace"])
                if any(o["uid"] == meta["uid"] for o in r["metadata"]["ownerReferences"])
            ]
            self.api.create(
                {
                    "apiVersion": "apps/v1",
                    "kind": "ControllerRevision",
                    "metadata": {
                        "name": revision,
                        "namespace": meta["namespace"],
                        "labels": template.get("metadata", {}).get("labels", {}),
                        "ownerReferences": [_owner("apps/v1", resource.kind, meta)],
                    },
                    "data": {"spec": {"template": {**template, "$patch": "replace"}}},
                    "revision": max(older, default=0) + 1,
                }
            )
        wanted = workload["spec"].get("replicas", 1)
        if resource is values.STATEFULSET:
            counts = {"replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"}
            revisions = {"currentRevision": revision, "updateRevision": revision}
        else:
            counts = {"desiredNumberScheduled", "currentNumberScheduled", "numberReady"}
            counts |= {"numberAvailable", "updatedNumberScheduled"}
            revisions = {}

        status = {
            "observedGeneration": meta["generation"],
            **dict.fromkeys(sorted(counts), wanted),
            **revisions,
        }

        def observe(live: JSON) -> None:
            live["status"] = status

        if workload.get("status") != status:
            self.api.edit(resource, meta["namespace"], meta["name"], observe)

    def _digest(self, meta: JSON, template: JSON) -> str:
        """What tells templates apart; worked out once for each generation of a workload."""
        key = (meta["uid"], meta["generation"])
        if key not in self._digests:
            text = json.dumps(template, sort_keys=True)
            self._digests[key] = hashlib.sha1(text.encode()).hexdigest()[:10]
        return self._digests[key]


def _owner(version: str, kind: str, meta: JSON) -> JSON:
    return {
        "apiVersion": version,
        "kind": kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def health_of(obj: JSON) -> str:
    """Argo CD's health of one object, empty for kinds without one (gitops-engine: pkg/health)."""
    status = obj.get("status", {})
    if obj["kind"] == "Deployment":
        reasons = {c["type"]: c for c in status.get("conditions", [])}
        if reasons.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
            return "Degraded"
        wanted = obj["spec"].get("replicas", 1)
        seen = status.get("observedGeneration") == obj["metadata"].get("generation")
        ready = status.get("updatedReplicas", 0) >= wanted and status.get("availableReplicas", 0) >= wanted
        return "Healthy" if seen and ready else "Progressing"
    if obj["kind"] in ("StatefulSet", "DaemonSet"):
        seen = status.get("observedGeneration") == obj["metadata"].get("generation")
        return "Healthy" if seen else "Progressing"
    return ""
