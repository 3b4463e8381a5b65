"""Reads what `status` needs besides the snapshot: the way to Argo CD's API, all Applications, workloads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Final

from msgspec import Struct

from ..argocd import application, installation
from ..argocd.components import Surroundings
from ..argocd.ownership import tracked_by
from ..cluster.answers import Read
from ..cluster.client import PAGE_OF_APPLICATIONS, Cluster
from ..cluster.parallel import Attempt, Done, Failed
from ..model.errors import Expired, Forbidden, NotFound, RescueError, UsageError
from ..model.text import display_name
from ..model.values import (
    APPLICATION,
    DAEMONSET,
    DEPLOYMENT,
    JSON,
    POD,
    REPLICASET,
    ROLLOUT,
    SERVICE,
    STATEFULSET,
    ArgoCD,
    Key,
    Resource,
    ref_of,
)
from .options import Common

ENDPOINTSLICE: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
SERVER: Final = "app.kubernetes.io/part-of=argocd,app.kubernetes.io/component=server"

_WORKLOADS: Final[dict[str, Resource]] = {
    name: resource
    for resource, names in (
        (DEPLOYMENT, ("deploy", "deployment", "deployments", "deployment.apps", "deployments.apps")),
        (STATEFULSET, ("sts", "statefulset", "statefulsets", "statefulset.apps", "statefulsets.apps")),
        (DAEMONSET, ("ds", "daemonset", "daemonsets", "daemonset.apps", "daemonsets.apps")),
        (ROLLOUT, ("ro", "rollout", "rollouts", "rollout.argoproj.io", "rollouts.argoproj.io")),
        (REPLICASET, ("rs", "replicaset", "replicasets", "replicaset.apps", "replicasets.apps")),
        (POD, ("po", "pod", "pods")),
        (SERVICE, ("svc", "service", "services")),
    )
    for name in names
}


def surroundings(cluster: Cluster, argocd: ArgoCD, settings: dict[str, str], common: Common) -> Surroundings:
    """Read the Service of argocd-server and its endpoints; what may not be read is said, not fatal."""
    got = cluster.gather_outcomes(
        lambda: cluster.list(SERVICE, argocd.namespace, label_selector=SERVER),
        lambda: cluster.list(
            ENDPOINTSLICE, argocd.namespace, label_selector="kubernetes.io/service-name=argocd-server"
        ),
    )
    services, slices = (_listed(outcome) for outcome in got)
    warnings = [
        f"{what} in {argocd.namespace} may not be listed, so {lost}: {outcome.error}"
        for outcome, what, lost in zip(
            got,
            ("services", "endpointslices"),
            ("the Service of Argo CD's API is not known", "whether it has endpoints is not known"),
            strict=True,
        )
        if isinstance(outcome, Failed)
    ]
    # Besides the API there is argocd-server-metrics with the same labels in some installs.
    services = sorted(
        services, key=lambda s: (s["metadata"]["name"] != "argocd-server", "metrics" in s["metadata"]["name"])
    )
    name, port = "", 443
    if services and "metrics" not in services[0]["metadata"]["name"]:
        name = services[0]["metadata"]["name"]
        ports = (services[0].get("spec") or {}).get("ports") or [{"port": 443}]
        chosen = next((p for p in ports if p.get("name") == "https" or p.get("port") == 443), ports[0])
        port = int(chosen.get("port") or 443)
    endpoints: int | None = None
    if name and name != "argocd-server":
        slices = _listed(
            cluster.gather_outcomes(
                lambda: cluster.list(
                    ENDPOINTSLICE, argocd.namespace, label_selector=f"kubernetes.io/service-name={name}"
                )
            )[0]
        )
    if name and isinstance(got[1], Done):
        endpoints = sum(
            (e.get("conditions") or {}).get("ready") is not False
            for s in slices
            for e in s.get("endpoints") or ()
        )
    c = common.connection
    return Surroundings(settings, name, port, endpoints, c.context, c.kubeconfig, tuple(warnings))


def _listed(outcome: Attempt) -> list[JSON]:
    if isinstance(outcome, Done):
        return list(outcome.value)
    if isinstance(outcome.error, (Forbidden, NotFound)):
        return []
    raise outcome.error


def application_pages(
    cluster: Cluster,
    argocd: ArgoCD,
    namespace: str = "",
    *,
    label_selector: str = "",
    read: Read = json.loads,
) -> Iterator[list[JSON]]:
    """Read the Applications that Argo CD serves, page by page; the caller empties each page.

    `namespace` narrows it to one, `read` what is kept of each. Raises Expired where the list grew too
    old: begin again.
    """
    every = partial(
        cluster.pages, APPLICATION, label_selector=label_selector, page=PAGE_OF_APPLICATIONS, read=read
    )
    if namespace or not argocd.application_namespaces:
        yield from every(namespace or argocd.namespace)
        return
    for page in every():
        page[:] = [app for app in page if installation.served(app, argocd)]
        yield page


# -- from a workload to its application


class Wanted(Struct, frozen=True):
    """A workload that was named instead of an Application."""

    resource: Resource
    name: str
    text: str


def workload_of(word: str) -> Wanted | None:
    """Understand `deploy/traefik`; None where the word names an Application."""
    kind, slash, name = word.partition("/")
    resource = _WORKLOADS.get(kind.lower()) if slash else None
    return Wanted(resource, name, word) if resource and name else None


def applications_of(
    cluster: Cluster, argocd: ArgoCD, wanted: Wanted, namespace: str, there: Cluster
) -> tuple[list[Key], list[str]]:
    """Find the Applications that own a workload of the cluster `there`, and what is worth saying about how.

    Up the ownerReferences to what Argo CD tracks; where nothing says so, whoever lists it. Raises
    NotFound where the workload is not there or nobody owns it.
    """
    obj = there.get(wanted.resource, namespace, wanted.name)
    chain = [obj]
    notes: list[str] = []
    for _ in range(10):
        found = tracked_by(chain[-1], argocd)
        if found.owner and is_there(cluster, found.owner):
            return [found.owner], []
        if found.owner:
            notes.append(f"{ref_of(chain[-1]).key} names {found.owner}, {_where_else(cluster, found.owner)}")
        if found.note:
            notes.append(f"{ref_of(chain[-1]).key}: {found.note}")
        above = _controller_of(there, chain[-1], namespace)
        if above is None:
            break
        chain.append(above)
    listing = _listing(cluster, argocd, chain, is_far=there is not cluster)
    if listing:
        if len(listing) > 1:
            names = ", ".join(display_name(k, argocd) for k in listing)
            notes = [f"{wanted.text} is listed by several Applications: {names}"]
        else:
            notes = []
        return listing, notes
    raise NotFound(
        f"{ref_of(obj).key} is managed by no Application of Argo CD in {argocd.namespace}",
        "; ".join(notes) or "it has no tracking id, and no Application lists it",
        status=404,
        reason="NotFound",
    )


def _controller_of(cluster: Cluster, obj: JSON, namespace: str) -> JSON | None:
    for r in obj["metadata"].get("ownerReferences") or ():
        if not r.get("controller"):
            continue
        group, _, version = str(r.get("apiVersion", "")).rpartition("/")
        kind = str(r.get("kind", ""))
        resource = Resource(group, version, f"{kind.lower()}s", kind)
        try:
            return cluster.get(resource, namespace, str(r.get("name", "")))
        except (NotFound, Forbidden):
            # An owner of a kind that we may not read can still be tracked: the lists tell.
            return {
                "kind": kind,
                "apiVersion": r.get("apiVersion", ""),
                "metadata": {"name": r.get("name", ""), "namespace": namespace},
            }
    return None


def _listing(cluster: Cluster, argocd: ArgoCD, chain: list[JSON], *, is_far: bool) -> list[Key]:
    """Search every Application's own list of resources, page by page, those that deploy there first."""
    wanted = [(ref_of(o).key, str(o.get("apiVersion", "")).rpartition("/")[0]) for o in chain]
    here: list[Key] = []
    elsewhere: list[Key] = []
    try:
        for page in application_pages(cluster, argocd):
            for app in page:
                if any(application.lists(app, key, group) for key, group in wanted):
                    place = here if application.deploys_here(app) is not is_far else elsewhere
                    place.append(application.key_of(app))
            page.clear()
    except (Forbidden, Expired):
        return here or elsewhere
    return here or elsewhere


def _where_else(cluster: Cluster, named: Key) -> str:
    """Say of an owner that is named and not there where it is: a tracking id may be of any Argo CD."""
    try:
        found = cluster.list(APPLICATION, field_selector=f"metadata.name={named.name}")
    except Forbidden:
        return "which is not there; other namespaces may not be looked at"
    homes = [app["metadata"]["namespace"] for app in found]
    if not homes:
        return "which is in none of this cluster's namespaces: an Argo CD elsewhere manages it"
    others = " or ".join(f"--argocd-namespace {home}" for home in homes)
    return f"which is not there; one of that name is of another Argo CD: {others}"


def is_there(cluster: Cluster, key: Key) -> bool:
    """Whether an Application exists, as far as one may read it."""
    try:
        cluster.get(APPLICATION, key.namespace, key.name)
    except (NotFound, Forbidden):
        return False
    return True


def own_namespace(cluster: Cluster, common: Common) -> str:
    """Return the namespace in which kubectl would look for a workload."""
    if common.namespace:
        return common.namespace
    try:
        return cluster.target().namespace or "default"
    except RescueError as e:
        raise UsageError("the workload's namespace is not known", "say it: -n NAMESPACE") from e
