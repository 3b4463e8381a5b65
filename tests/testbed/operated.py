"""An Argo CD that an operator makes: its own CustomResourceDefinition, and a loop of ours in the operator's place.

It is not argocd-operator itself. It does to both controllers what that does, by its source (v0.15.0,
controllers/argocd: statefulset.go, applicationset.go): one that its ArgoCD resource does not want is
deleted, workload and all; one that it wants is made anew; a StatefulSet's replicas are put back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import yaml

from . import programs
from .api import JSON, Api, ApiError
from .argocd import APPLICATIONSETS, CONTROLLER, ArgoCD
from .control_plane import ControlPlane

NAME = "example"
LOOK_SECONDS = 0.1
FIELDS = {CONTROLLER: ("statefulset", "controller"), APPLICATIONSETS: ("deployment", "applicationSet")}


def serve(control_plane: ControlPlane) -> None:
    """Serve the operator's own ArgoCD resources."""
    (file,) = programs.files(programs.OPERATOR, "crds")
    control_plane.apply(yaml.safe_load(file.read_text()))
    control_plane.until(lambda: control_plane.api.list("argocds") is not None, 60, "ArgoCDs are served")


def resource(namespace: str) -> JSON:
    """Return an ArgoCD as people write it."""
    return {
        "apiVersion": "argoproj.io/v1beta1",
        "kind": "ArgoCD",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"controller": {}, "applicationSet": {}},
    }


class Operator:
    """Keeps both controllers as their ArgoCD says, in a thread of its own."""

    def __init__(self, api: Api, namespace: str, owner: JSON) -> None:
        self._namespace, self._api = namespace, api
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.acts: list[str] = []
        """What it did, in order."""
        self._made = {part: _adopt(self._api, part, self._namespace, owner) for part in FIELDS}

    def start(self) -> None:
        """Begin with both controllers as they are."""
        self._thread.start()

    def stop(self) -> None:
        """Leave them as they are."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _follow(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            with contextlib.suppress(ApiError, OSError):
                spec = self._api.get("argocds", NAME, self._namespace)["spec"]
                for part in FIELDS:
                    self._reconcile(part, spec)
        self._api.close()  # this thread's connection

    def _reconcile(self, part: str, spec: JSON) -> None:
        kind, field = FIELDS[part]
        made = self._made[part]
        name = made["metadata"]["name"]
        live = self._api.find(kind, name, self._namespace)
        if field not in spec or spec[field].get("enabled") is False:
            if live and "deletionTimestamp" not in live["metadata"]:
                self._api.delete(kind, name, self._namespace)
                self.acts.append(f"deleted {name}")
        elif live is None:
            self._api.create(made)
            self.acts.append(f"created {name}")
        elif kind == "statefulset" and live["spec"]["replicas"] != 1:
            self._api.patch(kind, name, self._namespace, {"spec": {"replicas": 1}})
            self.acts.append(f"scaled {name}")


def _adopt(api: Api, part: str, namespace: str, owner: JSON) -> JSON:
    """Have a controller belong to an ArgoCD; return it as the operator makes it."""
    kind, _ = FIELDS[part]
    reference = {k: owner[k] for k in ("apiVersion", "kind")}
    reference |= {k: owner["metadata"][k] for k in ("name", "uid")}
    body: JSON = {"metadata": {"ownerReferences": [{**reference, "controller": True}]}}
    live = api.patch(kind, f"argocd-{part}", namespace, body)
    kept = ("name", "namespace", "labels", "ownerReferences")
    meta = {k: live["metadata"][k] for k in kept}
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": meta, "spec": live["spec"]}


@contextlib.contextmanager
def operated(argocd: ArgoCD) -> Iterator[Operator]:
    """Have an operator keep both controllers; afterwards they belong to nobody again."""
    serve(argocd.control_plane)
    (owner,) = argocd.apply(resource(argocd.namespace))
    operator = Operator(argocd.api, argocd.namespace, owner)
    operator.start()

    def are_there() -> bool:
        found = [argocd.api.find(k, f"argocd-{p}", argocd.namespace) for p, (k, _) in FIELDS.items()]
        return all(w and w["status"].get("readyReplicas") for w in found)

    try:
        yield operator
        argocd.apply(resource(argocd.namespace))
        argocd.until(are_there, 60, "both controllers are made")
    finally:
        operator.stop()
        for part, (kind, _) in FIELDS.items():
            with contextlib.suppress(ApiError):
                body: JSON = {"metadata": {"ownerReferences": None}}
                argocd.api.patch(kind, f"argocd-{part}", argocd.namespace, body)
        argocd.api.delete("argocds", NAME, argocd.namespace)
