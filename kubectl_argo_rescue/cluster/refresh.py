"""Asks Argo CD's controller to look at an Application again, and waits until it has.

The annotation is Argo CD's own and erases itself, so it is no edit: nothing of the user's is
changed and there is nothing to undo. On a timeout we take it away.
"""

from __future__ import annotations

from ..model.errors import GuardFailed, Overloaded, RescueError, TransportError
from ..model.patches import pointer
from ..model.values import APPLICATION, JSON, Key
from .client import Cluster, is_older

REFRESH = "argocd.argoproj.io/refresh"
REFRESH_SECONDS = 45.0
"""How long a live controller may take: one that is busy needs some, one that is dead never answers."""

DOWN_SECONDS = 5.0
"""The same where the cluster says that the controller has no ready pod."""

MAX_BROKEN = 4
"""From here on a request whose answer is lost, or that the server breaks at, is an error."""

RETRY_SECONDS = 1.0
"""After this the request is made again, later each time."""


def refresh(
    cluster: Cluster,
    key: Key,
    *,
    timeout: float = REFRESH_SECONDS,
) -> JSON | None:
    """Return the Application as compared just now, None where the controller did not answer in time.

    Done when the annotation is gone and `reconciledAt` has moved. It has only whole seconds: where
    it did not move, the request fell into the second of the comparison before, and is made again.
    A request that falls into a comparison under way is not answered by it; it is made again too.
    """
    clock = cluster.clock
    deadline = clock() + timeout
    app = cluster.get(APPLICATION, key.namespace, key.name)
    before = (app.get("status") or {}).get("reconciledAt")
    tries = 0
    while clock() < deadline:
        tries += 1
        value = f"normal{tries if tries > 1 else ''}"
        app = _request(cluster, key, app, value, may_fail=tries < MAX_BROKEN)
        if tries == 1 and not _is_answered(app):
            # What was read may be old; what a patch gives is not.
            before = (app.get("status") or {}).get("reconciledAt")
        patience = min(deadline - clock(), RETRY_SECONDS * min(tries, 5))
        app, answered = cluster.follow(APPLICATION, app, _is_answered, patience)
        if answered and (app.get("status") or {}).get("reconciledAt") != before:
            return app
        if answered:
            cluster.sleep(max(0.0, min(cluster.backoff(min(tries, 4)), deadline - clock())))
    _withdraw(cluster, key)
    return None


def wake(cluster: Cluster, key: Key) -> None:
    """Ask for a comparison without waiting: Argo CD does not notice by itself that a window opened.

    Best effort: without it the next periodic comparison does the same, minutes later
    (argo-cd#21692).
    """
    try:
        _request(cluster, key, cluster.get(APPLICATION, key.namespace, key.name), "normal")
    except RescueError:
        return


def _request(cluster: Cluster, key: Key, app: JSON, value: str, *, may_fail: bool = False) -> JSON:
    """Annotate it; every value but `hard` means a normal refresh, and a new one wakes the controller."""
    annotations = app["metadata"].get("annotations")
    ops: list[JSON] = [{"op": "test", "path": "/metadata/uid", "value": app["metadata"]["uid"]}]
    if annotations is None:
        ops += [
            {"op": "test", "path": "/metadata/annotations", "value": None},
            {"op": "add", "path": "/metadata/annotations", "value": {REFRESH: value}},
        ]
    else:
        ops.append({"op": "add", "path": pointer(["metadata", "annotations", REFRESH]), "value": value})
    try:
        return cluster.patch(APPLICATION, key.namespace, key.name, ops)
    except (GuardFailed, TransportError, Overloaded) as error:
        if not (may_fail or isinstance(error, GuardFailed)) or getattr(error, "lasting", False):
            raise
        # Whether it landed does not matter: a request that is not answered is made again.
        fresh = cluster.get(APPLICATION, key.namespace, key.name)
        return app if is_older(fresh, app) else fresh


def _is_answered(app: JSON) -> bool:
    return REFRESH not in (app["metadata"].get("annotations") or {})


def _withdraw(cluster: Cluster, key: Key) -> None:
    path = pointer(["metadata", "annotations", REFRESH])
    try:
        cluster.patch(APPLICATION, key.namespace, key.name, [{"op": "remove", "path": path}])
    except RescueError:
        return  # gone by itself at the last moment, or nobody is there to see it
