"""Kubernetes Events on edited objects: who, why and how to undo, for whoever looks with kubectl. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from .model import BY_KIND, JSON, EditResult, Verdict
from .records import Begin

MAX_EVENTS = 20
"""Of a freeze of thousands of apps the log tells; as many Events would only push others out."""

COMPONENT = "kubectl-argo-rescue"


def events_for(
    results: Sequence[EditResult], begin: Begin, entry: str, now: datetime
) -> list[dict[str, JSON]]:
    """Describe what was applied as core/v1 Events, none where it is too much.

    `entry` is the journal entry's id; it also makes the names unique.
    """
    applied = [r for r in results if r.status is Verdict.APPLIED]
    if len(applied) > MAX_EVENTS:
        return []
    at = now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    who = begin.actor or "somebody"
    why = f" ({begin.reason})" if begin.reason else ""
    how = "" if begin.undoes else f"; undo: kubectl argo-rescue undo {entry}"
    events: list[dict[str, JSON]] = []
    for number, result in enumerate(applied):
        ref = result.ref
        resource = BY_KIND[ref.kind]
        group = f"{resource.group}/" if resource.group else ""
        events.append(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{ref.name[:200]}.{entry}.{now.timestamp():.0f}.{number}",
                    "namespace": ref.namespace or "default",
                },
                "involvedObject": {
                    "apiVersion": f"{group}{resource.version}",
                    "kind": ref.kind,
                    "namespace": ref.namespace,
                    "name": ref.name,
                    "uid": ref.uid,
                },
                "type": "Normal",
                "reason": "ArgoRescue",
                "message": f"{result.action} by {who} with kubectl argo-rescue {begin.verb}{why}{how}"[:1000],
                "source": {"component": COMPONENT},
                "reportingComponent": COMPONENT,
                "reportingInstance": "",
                "firstTimestamp": at,
                "lastTimestamp": at,
                "count": 1,
            }
        )
    return events
