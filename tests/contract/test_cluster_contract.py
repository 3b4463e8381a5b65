"""What the cluster module relies on, asked of every transport in the same words.

Run over kubectl and over the `kubernetes` package against a real kube-apiserver, and against the
in-memory API, which the unit lane and the drill stand on.

Covered: get, create, delete and their refusals; lists in pages; guarded patches (landed, failed
guard, stale resourceVersion, schema, strict validation, missing object, no rights, Go's encoding);
dry runs; watches (events, bookmarks, end, expired); access reviews and who we are; several at once.
Left to tests/apiserver/test_transports.py: what a server does when it is broken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.direct import PackageTransport
from kubectl_argo_rescue.cluster.kubectl import KubectlTransport
from kubectl_argo_rescue.cluster.parallel import gather
from kubectl_argo_rescue.cluster.transport import Connection, Transport
from kubectl_argo_rescue.model.errors import (
    AlreadyExists,
    Expired,
    Forbidden,
    GuardFailed,
    Invalid,
    NotFound,
    StaleWrite,
)
from kubectl_argo_rescue.model.patches import guarded_ops
from kubectl_argo_rescue.model.values import (
    ABSENT,
    APPLICATION,
    CONFIGMAP,
    DEPLOYMENT,
    DEPLOYMENT_SCALE,
    JSON,
    NAMESPACE,
    STATEFULSET,
    STATEFULSET_SCALE,
    FieldChange,
    Ref,
    Resource,
)
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock

if TYPE_CHECKING:
    from tests.testbed.control_plane import ControlPlane

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Runtime:
    """One API server over one transport: as somebody who may all, and as somebody who may nothing."""

    cluster: Cluster
    powerless: Cluster
    namespace: str


def over_kubectl(control_plane: ControlPlane, kubeconfig: Path) -> Transport:
    return KubectlTransport(Connection(kubeconfig=str(kubeconfig)), str(control_plane.bin / "kubectl"))


def over_package(control_plane: ControlPlane, kubeconfig: Path) -> Transport:
    return PackageTransport(Connection(kubeconfig=str(kubeconfig)))


REAL: dict[str, Callable[[ControlPlane, Path], Transport]] = {
    "kubectl": over_kubectl,
    "package": over_package,
}


@pytest.fixture(
    scope="module",
    params=["memory", *(pytest.param(name, marks=pytest.mark.apiserver) for name in REAL)],
)
def clusters(request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, Cluster]]:
    with ExitStack() as stack:
        if request.param == "memory":
            clock = SteppedClock()
            api = InMemoryApi(clock, user="admin")
            api.idle = lambda: clock.advance(0.5)
            nobody = InMemoryApi(clock, user="alice")
            nobody.deny()
            yield (
                stack.enter_context(Cluster(api, clock=lambda: clock().timestamp())),
                stack.enter_context(Cluster(nobody)),
            )
        else:
            plane: ControlPlane = request.getfixturevalue("control_plane")
            transport = REAL[request.param]
            yield (
                stack.enter_context(Cluster(transport(plane, plane.kubeconfig("admin")))),
                stack.enter_context(Cluster(transport(plane, plane.kubeconfig("alice")))),
            )


@pytest.fixture
def world(clusters: tuple[Cluster, Cluster]) -> Runtime:
    cluster, powerless = clusters
    namespace = f"contract-{next(_numbers)}"
    cluster.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return Runtime(cluster, powerless, namespace)


def application(name: str = "traefik", **spec: JSON) -> JSON:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "labels": {"team": name[0]}},
        "spec": {
            "project": "default",
            "source": {
                "repoURL": "https://charts.example/traefik",
                "chart": "traefik",
                "targetRevision": "2.5.1",
            },
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "web"},
            **spec,
        },
    }


def config_map(name: str, **data: str) -> JSON:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


REVISION = "/spec/source/targetRevision"


# -- objects


def test_create_get_delete(world: Runtime) -> None:
    made = world.cluster.create(APPLICATION, world.namespace, application())
    read = world.cluster.get(APPLICATION, world.namespace, "traefik")
    assert read == made
    assert read["kind"] == "Application" and read["metadata"]["uid"]
    world.cluster.delete(APPLICATION, world.namespace, "traefik", uid=read["metadata"]["uid"])
    with pytest.raises(NotFound) as caught:
        world.cluster.get(APPLICATION, world.namespace, "traefik")
    assert caught.value.status == 404
    assert "traefik" in caught.value.message


def test_create_what_is_there_already(world: Runtime) -> None:
    world.cluster.create(CONFIGMAP, world.namespace, config_map("entry", a="1"))
    with pytest.raises(AlreadyExists):
        world.cluster.create(CONFIGMAP, world.namespace, config_map("entry", a="2"))
    assert world.cluster.get(CONFIGMAP, world.namespace, "entry")["data"] == {"a": "1"}


def test_delete_another_object_of_that_name(world: Runtime) -> None:
    world.cluster.create(CONFIGMAP, world.namespace, config_map("entry"))
    with pytest.raises(StaleWrite):
        world.cluster.delete(CONFIGMAP, world.namespace, "entry", uid="00000000-0000-0000-0000-000000000000")
    world.cluster.get(CONFIGMAP, world.namespace, "entry")


def test_delete_what_is_gone(world: Runtime) -> None:
    with pytest.raises(NotFound):
        world.cluster.delete(CONFIGMAP, world.namespace, "entry")


def test_create_in_a_namespace_that_is_not_there(world: Runtime) -> None:
    with pytest.raises(NotFound):
        world.cluster.create(CONFIGMAP, "no-such-namespace", config_map("entry"))


def test_create_with_an_unknown_field(world: Runtime) -> None:
    with pytest.raises(Invalid) as caught:
        world.cluster.create(APPLICATION, world.namespace, application(bogus=1))
    assert "spec.bogus" in caught.value.message


def test_dry_run_changes_nothing(world: Runtime) -> None:
    world.cluster.create(CONFIGMAP, world.namespace, config_map("never"), dry_run=True)
    with pytest.raises(NotFound):
        world.cluster.get(CONFIGMAP, world.namespace, "never")
    world.cluster.create(APPLICATION, world.namespace, application())
    ops = [{"op": "replace", "path": REVISION, "value": "2.4.1"}]
    shown = world.cluster.patch(APPLICATION, world.namespace, "traefik", ops, dry_run=True)
    assert shown["spec"]["source"]["targetRevision"] == "2.4.1"
    world.cluster.delete(APPLICATION, world.namespace, "traefik", dry_run=True)
    live = world.cluster.get(APPLICATION, world.namespace, "traefik")
    assert live["spec"]["source"]["targetRevision"] == "2.5.1"


def test_a_kind_that_this_server_does_not_have(world: Runtime) -> None:
    with pytest.raises(NotFound):
        world.cluster.list(Resource("argoproj.io", "v1alpha1", "workflows", "Workflow"), world.namespace)


# -- lists


def test_list_in_pages(world: Runtime) -> None:
    names = [f"entry-{n}" for n in range(7)]
    for name in names:
        world.cluster.create(CONFIGMAP, world.namespace, config_map(name))
    found = world.cluster.list(CONFIGMAP, world.namespace, page=3, field_selector="metadata.name!=x")
    mine = [item for item in found if item["metadata"]["name"].startswith("entry-")]
    assert sorted(item["metadata"]["name"] for item in mine) == names
    assert {(item["apiVersion"], item["kind"]) for item in mine} == {("v1", "ConfigMap")}
    assert max(len(page) for page in world.cluster.pages(CONFIGMAP, world.namespace, page=3)) == 3


def test_list_by_label_and_over_all_namespaces(world: Runtime) -> None:
    for name in ("traefik", "web"):
        world.cluster.create(APPLICATION, world.namespace, application(name))
    (found,) = world.cluster.list(APPLICATION, world.namespace, label_selector="team=t")
    assert found["metadata"]["name"] == "traefik" and found["kind"] == "Application"
    everywhere = world.cluster.list(APPLICATION)
    assert {"traefik", "web"} <= {
        a["metadata"]["name"] for a in everywhere if a["metadata"]["namespace"] == world.namespace
    }


def test_list_of_nothing(world: Runtime) -> None:
    listing = world.cluster.listing(APPLICATION, world.namespace)
    assert listing.items == [] and listing.resource_version


# -- guarded patches


def test_a_patch_whose_guards_hold(world: Runtime) -> None:
    live = world.cluster.create(APPLICATION, world.namespace, application())
    ops = [
        {"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]},
        {"op": "test", "path": "/spec/syncPolicy", "value": None},
        {"op": "test", "path": REVISION, "value": "2.5.1"},
        {"op": "replace", "path": REVISION, "value": "2.4.1"},
    ]
    after = world.cluster.patch(APPLICATION, world.namespace, "traefik", ops)
    assert after["spec"]["source"]["targetRevision"] == "2.4.1"
    assert after["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]
    assert world.cluster.get(APPLICATION, world.namespace, "traefik") == after


@pytest.mark.parametrize(
    "op",
    [
        {"op": "test", "path": REVISION, "value": "2.4.1"},
        {"op": "test", "path": "/spec/project", "value": None},
        {"op": "test", "path": "/metadata/uid", "value": "00000000-0000-0000-0000-000000000000"},
        {"op": "remove", "path": "/spec/syncPolicy"},
        {"op": "add", "path": "/spec/syncPolicy/automated/prune", "value": True},
    ],
    ids=lambda op: f"{op['op']} {op['path']}",
)
def test_a_patch_whose_guard_fails_changes_nothing(world: Runtime, op: JSON) -> None:
    live = world.cluster.create(APPLICATION, world.namespace, application())
    with pytest.raises(GuardFailed) as caught:
        world.cluster.patch(
            APPLICATION,
            world.namespace,
            "traefik",
            [op, {"op": "replace", "path": REVISION, "value": "9.9.9"}],
        )
    assert (caught.value.status, caught.value.causes) == (422, ())
    assert world.cluster.get(APPLICATION, world.namespace, "traefik") == live


@pytest.mark.parametrize("revision", [">=2.4 <3", "A&B", "é", "\u2028", 'say "hi" \\ now'])
def test_guards_compare_as_go_encodes(world: Runtime, revision: str) -> None:
    app = application()
    app["spec"]["source"]["targetRevision"] = revision
    world.cluster.create(APPLICATION, world.namespace, app)
    after = world.cluster.patch(
        APPLICATION,
        world.namespace,
        "traefik",
        [
            {"op": "test", "path": REVISION, "value": revision},
            {"op": "replace", "path": REVISION, "value": "2.4.1"},
        ],
    )
    assert after["spec"]["source"]["targetRevision"] == "2.4.1"


def test_a_stale_resource_version_is_a_conflict(world: Runtime) -> None:
    live = world.cluster.create(APPLICATION, world.namespace, application())
    change = [{"op": "replace", "path": REVISION, "value": "2.4.1"}]
    world.cluster.patch(APPLICATION, world.namespace, "traefik", change)
    lock = {
        "op": "replace",
        "path": "/metadata/resourceVersion",
        "value": live["metadata"]["resourceVersion"],
    }
    with pytest.raises(StaleWrite) as caught:
        world.cluster.patch(
            APPLICATION,
            world.namespace,
            "traefik",
            [lock, {"op": "add", "path": "/operation", "value": {"sync": {"revision": "2.4.1"}}}],
        )
    assert caught.value.reason == "Conflict"
    assert "operation" not in world.cluster.get(APPLICATION, world.namespace, "traefik")


def test_a_patch_against_the_schema_has_causes(world: Runtime) -> None:
    world.cluster.create(APPLICATION, world.namespace, application())
    with pytest.raises(Invalid) as caught:
        world.cluster.patch(
            APPLICATION,
            world.namespace,
            "traefik",
            [{"op": "replace", "path": "/spec/project", "value": 7}],
        )
    assert caught.value.status == 422 and "spec.project" in caught.value.causes


def test_a_patch_with_an_unknown_field_names_it_and_not_the_object(world: Runtime) -> None:
    world.cluster.create(APPLICATION, world.namespace, application())
    with pytest.raises(Invalid) as caught:
        world.cluster.patch(
            APPLICATION, world.namespace, "traefik", [{"op": "add", "path": "/spec/bogus", "value": "x"}]
        )
    assert caught.value.causes
    assert "spec.bogus" in caught.value.message
    assert "charts.example" not in caught.value.message
    assert len(caught.value.message) < 350


def test_a_patch_that_is_none(world: Runtime) -> None:
    world.cluster.create(APPLICATION, world.namespace, application())
    with pytest.raises(Invalid):
        world.cluster.patch(APPLICATION, world.namespace, "traefik", ["what"])


def test_patch_of_an_object_that_is_gone(world: Runtime) -> None:
    with pytest.raises(NotFound):
        world.cluster.patch(APPLICATION, world.namespace, "traefik", [])


def test_without_rights(world: Runtime) -> None:
    for call in (
        lambda: world.powerless.get(APPLICATION, world.namespace, "traefik"),
        lambda: world.powerless.list(APPLICATION, world.namespace),
        lambda: world.powerless.patch(APPLICATION, world.namespace, "traefik", []),
        lambda: world.powerless.create(CONFIGMAP, world.namespace, config_map("entry")),
        lambda: list(world.powerless.watch(APPLICATION, world.namespace, resource_version="", timeout=1)),
    ):
        with pytest.raises(Forbidden) as caught:
            call()
        assert caught.value.status == 403
        assert "alice" in caught.value.message


# -- watches


def test_watch_tells_of_each_change_in_order(world: Runtime) -> None:
    live = world.cluster.create(APPLICATION, world.namespace, application())
    version = live["metadata"]["resourceVersion"]
    for revision in ("2.4.1", "2.4.2"):
        change = [{"op": "replace", "path": REVISION, "value": revision}]
        world.cluster.patch(APPLICATION, world.namespace, "traefik", change)
    world.cluster.create(APPLICATION, world.namespace, application("web"))
    world.cluster.delete(APPLICATION, world.namespace, "traefik")
    seen = []
    with closing(
        world.cluster.watch(
            APPLICATION, world.namespace, name="traefik", resource_version=version, timeout=60
        )
    ) as events:
        for kind, obj in events:
            seen.append((kind, obj["spec"]["source"]["targetRevision"]))
            if kind == "DELETED":
                break
    assert seen == [("MODIFIED", "2.4.1"), ("MODIFIED", "2.4.2"), ("DELETED", "2.4.2")]


def test_watch_ends_by_itself_with_a_bookmark_to_go_on_from(world: Runtime) -> None:
    listing = world.cluster.listing(APPLICATION, world.namespace)
    world.cluster.create(APPLICATION, world.namespace, application("one"))
    seen: list[tuple[str, str]] = []
    for kind, obj in world.cluster.watch(
        APPLICATION, world.namespace, resource_version=listing.resource_version, timeout=8
    ):
        if not seen:
            # The server sends bookmarks only where the kind has moved since the watch began.
            world.cluster.create(APPLICATION, world.namespace, application("two"))
        seen.append((kind, obj["metadata"]["resourceVersion"]))
    assert [kind for kind, _ in seen][:3] == ["ADDED", "ADDED", "BOOKMARK"]
    assert int(seen[-1][1]) >= int(seen[1][1])


def test_watch_from_too_long_ago(world: Runtime) -> None:
    world.cluster.create(APPLICATION, world.namespace, application())
    _forget(world)
    with pytest.raises(Expired):
        list(world.cluster.watch(APPLICATION, world.namespace, resource_version="1", timeout=5))


def _forget(world: Runtime) -> None:
    # The real server began after revision 1; the in-memory one is told to forget.
    api = world.cluster._transport
    if isinstance(api, InMemoryApi):
        api.compact()


# -- scales


@pytest.mark.parametrize("resource", [DEPLOYMENT, STATEFULSET], ids=["deployment", "statefulset"])
def test_the_scale_of_a_workload(world: Runtime, resource: Resource) -> None:
    scale = {DEPLOYMENT: DEPLOYMENT_SCALE, STATEFULSET: STATEFULSET_SCALE}[resource]
    labels = {"app": "it"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "it", "image": "it:1"}]}}
    spec: dict[str, JSON] = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    if resource is STATEFULSET:
        spec["serviceName"] = "it"
    made = world.cluster.create(
        resource,
        world.namespace,
        {"apiVersion": "apps/v1", "kind": resource.kind, "metadata": {"name": "it"}, "spec": spec},
    )
    uid = made["metadata"]["uid"]
    now = world.cluster.get(scale, world.namespace, "it")
    assert (now["kind"], now["metadata"]["uid"], now["spec"]) == (scale.kind, uid, {"replicas": 3})

    ref = Ref(scale.kind, world.namespace, "it", uid)
    path = ("spec", "replicas")
    to_none = guarded_ops(now, ref, [FieldChange(path, 3, ABSENT)])
    stopped = world.cluster.patch(scale, world.namespace, "it", to_none)
    assert stopped["kind"] == scale.kind and "replicas" not in stopped["spec"]
    assert world.cluster.get(resource, world.namespace, "it")["spec"]["replicas"] == 0
    with pytest.raises(GuardFailed):
        world.cluster.patch(scale, world.namespace, "it", to_none)

    assert world.cluster.is_current(scale, stopped)
    back = guarded_ops(stopped, ref, [FieldChange(path, ABSENT, 3)])
    assert world.cluster.patch(scale, world.namespace, "it", back, dry_run=True)["spec"] == {"replicas": 3}
    assert world.cluster.get(resource, world.namespace, "it")["spec"]["replicas"] == 0
    assert world.cluster.patch(scale, world.namespace, "it", back)["spec"] == {"replicas": 3}
    with pytest.raises(Forbidden):
        world.powerless.patch(scale, world.namespace, "it", back)
    assert not world.powerless.review_access("patch", scale, world.namespace, "it")


# -- who may what


def test_access_reviews(world: Runtime) -> None:
    assert world.cluster.review_access("patch", APPLICATION, world.namespace, "traefik")
    assert world.cluster.review_access("get", NAMESPACE, "", "kube-system")
    assert not world.powerless.review_access("patch", APPLICATION, world.namespace, "traefik")


def test_who_we_are(world: Runtime) -> None:
    admin, alice = world.cluster.whoami(), world.powerless.whoami()
    assert admin is not None and admin["username"] == "admin"
    assert alice is not None and alice["username"] == "alice"


# -- several at once


def test_many_requests_side_by_side(world: Runtime) -> None:
    names = [f"entry-{n:02}" for n in range(24)]

    def make_and_read(name: str) -> str:
        world.cluster.create(CONFIGMAP, world.namespace, config_map(name, key=name))
        return str(world.cluster.get(CONFIGMAP, world.namespace, name)["data"]["key"])

    assert gather(*[lambda name=name: make_and_read(name) for name in names]) == names
