"""The incident, played once for all tests of a process: each gets a copy of its own, which takes no time.

from tests.unit.played import traefik_incident
"""

from __future__ import annotations

import copy
import functools
import threading
from typing import Any

from kubectl_argo_rescue.simulation import incident
from kubectl_argo_rescue.simulation.incident import Incident


def traefik_incident(version: tuple[int, int] = (3, 2)) -> Incident:
    """A played incident of one's own, as `simulation.incident` has it."""
    return copied(_played(version))


def copied(made: Incident) -> Incident:
    """An incident once more, as it is now."""
    return copy.deepcopy(made, _shared(made))


@functools.cache
def _played(version: tuple[int, int]) -> Incident:
    return incident.traefik_incident(version=version)


def _shared(made: Incident) -> dict[int, Any]:
    """What a copy has in common with its original: the store never changes in place what it keeps."""
    api = made.api
    kept: list[Any] = [*api._kinds, *api._kinds.values(), *api._store._changes, *api.requests]
    for objects in api._store._objects.values():
        kept += objects.values()
    lock = threading.RLock()
    return {
        **{id(item): item for item in kept},
        id(api._lock): lock,
        id(api._changed): threading.Condition(lock),
        id(api._reader._idling): threading.RLock(),
        id(made.argocd._stepping): threading.RLock(),
    }
