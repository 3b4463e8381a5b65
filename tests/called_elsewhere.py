"""Names of the product that no line of it calls: `make lint` takes what stands here as used.

Who calls them is said beside each. A name that is gone from the product is an error of mypy here.
"""

from __future__ import annotations

from http.client import HTTPConnection
from tarfile import TarInfo

from kubernetes.client import Configuration

from kubectl_argo_rescue.cli import flags, root
from kubectl_argo_rescue.model.values import Tracking
from kubectl_argo_rescue.show.outlet import Outlet
from kubectl_argo_rescue.simulation import incident, schemas
from kubectl_argo_rescue.simulation.api import InMemoryApi


def _(wire: HTTPConnection, configuration: Configuration, member: TarInfo) -> None:
    click = (
        root.VerbTable.list_commands,
        root.VerbTable.format_help,
        flags.Verb.format_help,
        flags.Duration.convert,
    )
    libraries = (
        wire.auto_open,
        configuration.no_proxy,
        configuration.verify_ssl,
        member.mtime,
        Outlet.writable,
    )
    argocd_cm = (Tracking.ANNOTATION_AND_LABEL,)
    tests = (
        InMemoryApi.deny,
        InMemoryApi.writes,
        incident.traefik_incident,
        incident.Incident.push,
        schemas.without,
    )
    _ = (click, libraries, argocd_cm, tests)
