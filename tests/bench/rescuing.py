"""The whole rescue beside the same by hand, on Argo CD's real controllers, until the workload is healthy."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.scene import Scene, deny
from tests.testbed.argocd import ArgoCD, running
from tests.testbed.incident import GOOD

from .bed import Bed
from .measure import Case, Comparison, told
from .speed import Requests, counted

PAIRS = 3


@dataclass(frozen=True, slots=True)
class Rescues:
    """The comparison, and the requests of the verbs that need a controller."""

    healthy: Comparison
    """Until every replica of the good version serves."""
    ended: Comparison
    """Until the command ends and has said so."""
    requests: Sequence[Requests]


def measure(version: str, bin: Path, pairs: int = PAIRS) -> Rescues:
    """Break as many applications as there are runs, and rescue them in turns."""
    with running(version) as argocd:
        bed = Bed(argocd.control_plane, argocd.namespace, bin)
        scenes = [Scene(argocd, f"bench{n}") for n in range(2 * pairs + 2)]
        with told(f"{len(scenes)} applications are broken"):
            for scene in scenes:
                scene.start()
                scene.upgrade()
                scene.freeze(deny(scene.app))
        warm, *others = scenes
        last = others.pop()
        _rescue(bed, warm)()
        healthy: tuple[list[float], list[float]] = ([], [])
        ended: tuple[list[float], list[float]] = ([], [])
        with told(f"{pairs} rescues and {pairs} by hand"):
            for turn in range(pairs):
                ways = [(0, _rescue(bed, others[2 * turn])), (1, _by_hand(bed, others[2 * turn + 1]))]
                scene_of = {0: others[2 * turn], 1: others[2 * turn + 1]}
                for who, way in ways if turn % 2 == 0 else reversed(ways):
                    served, done = _until_healthy(argocd, scene_of[who], way)
                    healthy[who].append(served)
                    ended[who].append(done)
        with told("requests of rescue, watch and undo"):
            found = _requests(bed, argocd, last)
    return Rescues(
        _comparison("until the workload is healthy", healthy, "at most 1.1×", 1.1),
        _comparison("until the command has said so", ended),
        found,
    )


def _comparison(
    what: str, times: tuple[list[float], list[float]], goal: str = "", ratio: float | None = None
) -> Comparison:
    ours, theirs = map(tuple, times)
    by_hand = "three kubectl patch and kubectl rollout status"
    return Comparison(f"rescue, {what}", by_hand, ours, theirs, goal, ratio)


def _rescue(bed: Bed, scene: Scene) -> Callable[[], object]:
    return bed.plugin("rescue", scene.app, GOOD, "--yes").run


def _by_hand(bed: Bed, scene: Scene) -> Callable[[], object]:
    """What a runbook says, typed without a pause to think."""
    kubectl = [str(bed.control_plane.bin / "kubectl"), "-n", bed.namespace]

    def patch(kind: str, name: str, op: dict[str, object]) -> str:
        return shlex.join([*kubectl, "patch", kind, name, "--type=json", "-p", json.dumps([op])])

    steps = [
        patch("application", scene.root, {"op": "remove", "path": "/spec/syncPolicy/automated"}),
        patch("appproject", scene.project, {"op": "remove", "path": "/spec/syncWindows"}),
        patch(
            "application", scene.app, {"op": "replace", "path": "/spec/source/targetRevision", "value": GOOD}
        ),
        shlex.join(
            [kubectl[0], "-n", scene.target, "rollout", "status", "deployment/traefik", "--timeout=120s"]
        ),
    ]
    return Case(["/bin/sh", "-ec", "\n".join(steps)], bed.environment).run


def _until_healthy(argocd: ArgoCD, scene: Scene, way: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds until the good version serves, and until the command ended."""
    served: list[float] = []
    stop = threading.Event()
    began = time.perf_counter()

    def look() -> None:
        while not stop.wait(0.02):
            if scene.is_serving(GOOD):
                served.append(time.perf_counter() - began)
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    way()
    ended = time.perf_counter() - began
    looking.join(60)
    stop.set()
    if not served:
        raise AssertionError(f"{scene.app} {GOOD} does not serve after the rescue")
    return served[0], ended


def _requests(bed: Bed, argocd: ArgoCD, scene: Scene) -> list[Requests]:
    found = []
    for verb, case in (
        ("rescue APP VERSION", bed.direct("rescue", scene.app, GOOD, "--yes")),
        ("watch APP", bed.direct("watch", scene.app)),
        ("undo, git fixed", bed.direct("undo", scene.app, "--yes")),
    ):
        if verb.startswith("undo"):
            scene.commit(version=GOOD)
        mark = argocd.control_plane.audit_mark()
        peak = case.peak()
        found.append(counted(verb, argocd.control_plane.audit(mark), peak))
    return found
