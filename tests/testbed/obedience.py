"""Controllers that run as their pods do: a process ends with the last pod of its workload, and starts with one.

Pods are made by the control plane's own controllers and made ready by kwok, so what scales a workload
or deletes its pods stops Argo CD for real. As with a kubelet, a pod is gone only once its process is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .api import JSON, Api, ApiError
from .argocd import APPLICATIONSETS, CONTROLLER, ArgoCD

PARTS = (CONTROLLER, APPLICATIONSETS)
LOOK_SECONDS = 0.1
WORKLOADS = {CONTROLLER: "statefulset", APPLICATIONSETS: "deployment"}
FINALIZER = "test.invalid/process"
"""Keeps a pod of a controller until its process has ended."""


class Obedience:
    """Starts and stops the controllers of one Argo CD in a thread of its own."""

    def __init__(self, argocd: ArgoCD, api: Api) -> None:
        self._argocd, self._api = argocd, api
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._running = set(PARTS)

    def start(self) -> None:
        """Begin with controllers that run and whose pods do."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the controllers as they are."""
        self._end.set()
        self._thread.join(30)

    def _follow(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            for part in PARTS:
                with contextlib.suppress(ApiError, OSError):
                    self._obey(part)
        self._api.close()  # this thread's connection

    def _obey(self, part: str) -> None:
        label = f"app.kubernetes.io/name=argocd-{part}"
        pods = self._api.list("pod", self._argocd.namespace, selector=label)
        wanted = any(
            "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") == "Running"
            for pod in pods
        )
        if wanted and part not in self._running:
            self._argocd.start(part)
            self._running.add(part)
        elif not wanted and part in self._running:
            self._argocd.stop(part)
            self._running.discard(part)
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"] and (wanted or part not in self._running):
                body: JSON = {"metadata": {"finalizers": None}}
                self._api.patch("pod", pod["metadata"]["name"], self._argocd.namespace, body)


@contextlib.contextmanager
def obeying(argocd: ArgoCD) -> Iterator[Obedience]:
    """Have the controllers obey, once their pods run; all of them run again afterwards."""

    def are_up(finalizers: list[str]) -> bool:
        """Whether each controller has one pod, ready and made of today's template."""
        for part, kind in WORKLOADS.items():
            pods = argocd.api.list("pod", argocd.namespace, selector=f"app.kubernetes.io/name=argocd-{part}")
            if [p["metadata"].get("finalizers", []) for p in pods] != [finalizers]:
                return False
            if not argocd.get(kind, f"argocd-{part}")["status"].get("readyReplicas"):
                return False
        return True

    def have(finalizers: list[str]) -> None:
        for part, kind in WORKLOADS.items():
            template: JSON = {"metadata": {"finalizers": finalizers or None}}
            body: JSON = {"spec": {"replicas": 1, "template": template}}
            argocd.api.patch(kind, f"argocd-{part}", argocd.namespace, body)
        argocd.until(lambda: are_up(finalizers), 120, "the controllers' pods are ready")

    obedience = Obedience(argocd, argocd.api)
    obedience.start()
    try:
        have([FINALIZER])
        yield obedience
        have([])  # whatever a test left: both run
    finally:
        obedience.stop()
