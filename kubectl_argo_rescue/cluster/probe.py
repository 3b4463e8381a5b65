"""Finds out which Applications an ApplicationSet still generates, while it may not delete any.

A set takes every annotation that its template does not give off the Applications that it generates
(Argo CD: applicationset/utils/createOrUpdate.go). One that keeps ours is generated no more. As with
a refresh it is no edit: nothing of the user's is changed, and what is left of it we take away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..model.errors import RescueError
from ..model.patches import pointer
from ..model.values import APPLICATION, JSON, Key, ref_of
from .client import Cluster
from .parallel import Done

PROBE = "argo-rescue/generated"

FIRST_SECONDS = 60.0
"""How long the sets' controller may take to begin: it reads everything first, and may elect a leader."""

QUIET_SECONDS = 15.0
"""How long nothing more may happen before what is left counts as generated no more."""

LOOK_SECONDS = 1.0


def not_generated(cluster: Cluster, apps: Sequence[JSON], patience: float = FIRST_SECONDS) -> list[Key]:
    """Return those of some generated Applications that their sets do not give any more.

    `patience` is how long the sets' controller may take to begin.
    """
    cluster.gather_outcomes(*[partial(_mark, cluster, app) for app in apps])
    left = [ref_of(app).key for app in apps]
    deadline = cluster.clock() + patience
    while left and cluster.clock() < deadline:
        before, left = left, _still_marked(cluster, left)
        if len(left) < len(before):
            deadline = cluster.clock() + QUIET_SECONDS
        if left:
            _wait(cluster, left[0])
    cluster.gather_outcomes(*[partial(_unmark, cluster, key) for key in left])
    return left


def _wait(cluster: Cluster, key: Key) -> None:
    """Wait for a change of one of them, at most a moment."""
    try:
        app = cluster.get(APPLICATION, key.namespace, key.name)
        cluster.follow(APPLICATION, app, lambda a: not _is_marked(a), LOOK_SECONDS)
    except RescueError:
        cluster.sleep(LOOK_SECONDS)


def _is_marked(app: JSON) -> bool:
    return PROBE in (app["metadata"].get("annotations") or {})


def _still_marked(cluster: Cluster, keys: Sequence[Key]) -> list[Key]:
    thunks: list[Callable[[], JSON]] = [partial(cluster.get, APPLICATION, k.namespace, k.name) for k in keys]
    got = cluster.gather_outcomes(*thunks)
    return [
        key
        for key, outcome in zip(keys, got, strict=True)
        if isinstance(outcome, Done) and _is_marked(outcome.value)
    ]


def _mark(cluster: Cluster, app: JSON) -> None:
    key, meta = ref_of(app).key, app["metadata"]
    fresh = cluster.get(APPLICATION, key.namespace, key.name)
    ops: list[JSON] = [{"op": "test", "path": "/metadata/uid", "value": meta["uid"]}]
    if fresh["metadata"].get("annotations") is None:
        ops += [
            {"op": "test", "path": "/metadata/annotations", "value": None},
            {"op": "add", "path": "/metadata/annotations", "value": {PROBE: "asked"}},
        ]
    else:
        ops.append({"op": "add", "path": pointer(["metadata", "annotations", PROBE]), "value": "asked"})
    cluster.patch(APPLICATION, key.namespace, key.name, ops)


def _unmark(cluster: Cluster, key: Key) -> None:
    path = pointer(["metadata", "annotations", PROBE])
    try:
        cluster.patch(APPLICATION, key.namespace, key.name, [{"op": "remove", "path": path}])
    except RescueError:
        return  # the set was quicker
