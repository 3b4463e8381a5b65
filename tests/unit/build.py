"""What tests of the pure lane are made of: an Application of one's own, what lives in the incident, a cluster."""

from __future__ import annotations

from collections.abc import Mapping

from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.model.values import APPLICATION, JSON
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import Incident


def app(
    status: JSON = None,
    *,
    name: str = "traefik",
    meta: Mapping[str, JSON] | None = None,
    operation: JSON = None,
    **spec: JSON,
) -> JSON:
    """An Application in `argocd` with the uid u-NAME; its spec is what is given, and nothing else."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "uid": f"u-{name}", **(meta or {})},
        "spec": spec,
        **({"status": status} if status is not None else {}),
        **({"operation": operation} if operation else {}),
    }


def app_in(incident: Incident, name: str = "traefik") -> JSON:
    """A copy of one of the incident's Applications as it is now."""
    return incident.api.get(APPLICATION, "argocd", name)


def cluster(api: InMemoryApi) -> Cluster:
    """A cluster whose time is that of the API: what waits moves its clock on."""
    clock = api.clock
    assert isinstance(clock, SteppedClock)

    def sleep(seconds: float) -> None:
        clock.advance(seconds)

    return Cluster(api, sleep=sleep, clock=lambda: clock().timestamp(), jitter=lambda: 0.0)
