"""Deletes one object, only that very one, or makes one anew, and knows what came of it."""

from __future__ import annotations

from collections.abc import Callable

from ..cluster.client import Cluster
from ..model.errors import (
    AlreadyExists,
    Forbidden,
    Invalid,
    NotFound,
    Overloaded,
    RescueError,
    StaleWrite,
    TransportError,
    may_have_landed,
)
from ..model.text import CREATED, DELETED
from ..model.values import JSON, WRITTEN, Creation, Key, Removal, StepResult, StepStatus

MAX_TRIES = 3


def remove(
    cluster: Cluster,
    step: Removal,
    *,
    dry_run: bool = False,
    in_doubt: Callable[[], None] = lambda: None,
) -> StepResult:
    """Delete an object with its uid as the precondition; one that is gone already is no failure.

    `in_doubt` is called where an answer got lost, so that nobody takes the step for not done.
    """
    ref, resource = step.ref, WRITTEN[step.ref.kind]

    def result(status: StepStatus, detail: str = "") -> StepResult:
        return StepResult(ref, status, DELETED, reason=step.reason, detail=detail)

    lost: RescueError | None = None
    for tries in range(1, MAX_TRIES + 1):
        try:
            cluster.delete(
                resource,
                ref.namespace,
                ref.name,
                uid=ref.uid,
                resource_version=step.resource_version,
                dry_run=dry_run,
            )
            return result(StepStatus.PLANNED if dry_run else StepStatus.APPLIED)
        except (NotFound, StaleWrite):
            if not is_going(_read(cluster, step), step):
                return result(StepStatus.CONFLICT, "somebody else changed it just now")
            return result(StepStatus.UNCHANGED if lost is None else StepStatus.APPLIED, "it is gone already")
        except Forbidden as e:
            return result(StepStatus.DENIED, e.message)
        except Invalid as e:
            return result(StepStatus.FAILED, e.message)
        except (TransportError, Overloaded) as e:
            lost = e
            if may_have_landed(e):
                in_doubt()
        if is_going(_read(cluster, step), step):
            return result(StepStatus.APPLIED)
        cluster.sleep(cluster.backoff(tries))
    return result(StepStatus.UNKNOWN, f"the answer got lost: {lost}")


def create(
    cluster: Cluster, step: Creation, objects: dict[Key, JSON], *, in_doubt: Callable[[], None] = lambda: None
) -> StepResult:
    """Make an object; what the server made of it goes into `objects`.

    One of its name that is there is left alone (CONFLICT), unless it is what a lost answer made.
    """
    ref, resource = step.ref, WRITTEN[step.ref.kind]

    def result(status: StepStatus, detail: str = "") -> StepResult:
        return StepResult(ref, status, CREATED, reason=step.reason, detail=detail)

    lost: RescueError | None = None
    for tries in range(1, MAX_TRIES + 1):
        try:
            objects[ref.key] = cluster.create(resource, ref.namespace, step.obj)
            return result(StepStatus.APPLIED)
        except AlreadyExists:
            if lost is None:
                return result(StepStatus.CONFLICT, "somebody made it meanwhile")
            objects[ref.key] = cluster.get(resource, ref.namespace, ref.name)
            return result(StepStatus.APPLIED)
        except Forbidden as e:
            return result(StepStatus.DENIED, e.message)
        except (Invalid, NotFound) as e:
            return result(StepStatus.FAILED, e.message)
        except (TransportError, Overloaded) as e:
            lost = e
            if may_have_landed(e):
                in_doubt()
            cluster.sleep(cluster.backoff(tries))
    return result(StepStatus.UNKNOWN, f"the answer got lost: {lost}")


def _read(cluster: Cluster, step: Removal) -> JSON:
    ref = step.ref
    try:
        return cluster.get(WRITTEN[ref.kind], ref.namespace, ref.name)
    except NotFound:
        return None
    except RescueError:
        return {"metadata": {"uid": ref.uid}}  # the next try tells


def is_going(obj: JSON, step: Removal) -> bool:
    """Whether an object, None where there is none, is deleted or marked as being so."""
    meta = (obj or {}).get("metadata") or {}
    return meta.get("uid") != step.ref.uid or bool(meta.get("deletionTimestamp"))
