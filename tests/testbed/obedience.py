"""Controllers that run as their pods do: a process ends with the last pod of its workload, and starts with one.

Pods are made by the control plane's own controllers and made ready by kwok, so what scales a workload
or deletes its pods stops Argo CD for real.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .api import Api, ApiError
from .argocd import APPLICATIONSETS, CONTROLLER, ArgoCD

PARTS = (CONTROLLER, APPLICATIONSETS)
LOOK_SECONDS = 0.1


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


@contextlib.contextmanager
def obeying(argocd: ArgoCD) -> Iterator[Obedience]:
    """Have the controllers obey, once their pods run; all of them run again afterwards."""

    def are_up() -> bool:
        return all(
            argocd.get(kind, f"argocd-{part}")["status"].get("readyReplicas")
            for kind, part in (("statefulset", CONTROLLER), ("deployment", APPLICATIONSETS))
        )

    argocd.until(are_up, 120, "the controllers' pods are ready")
    obedience = Obedience(argocd, argocd.api)
    obedience.start()
    try:
        yield obedience
    finally:
        obedience.stop()
