"""`freeze` and its thaw where argocd-operator makes the controllers, on the in-memory API.

The operator here does what its source says: a controller that is not wanted is deleted, workload and
all, one that is wanted is made, its replicas put back (controllers/argocd: statefulset.go,
applicationset.go).

Aspects: switched off at its resource, no scale written; frozen without a workload, again as well; a
thaw waits until they are made; an operator that is away, or that knows no such field; somebody who
switches them on again; the resource may not be read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, DEPLOYMENT, JSON, OPERATED, POD, STATEFULSET
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident
from kubectl_argo_rescue.simulation.status import bad_request
from kubectl_argo_rescue.simulation.wire import failure

from ..harness import Run

CONTROLLER = "argocd-application-controller"
SETS = "argocd-applicationset-controller"


class Operated:
    """An installation that an operator made, and the operator."""

    def __init__(self) -> None:
        self.incident: Incident = traefik_incident()
        self.api = self.incident.api
        made = self.api.create(
            {
                "apiVersion": "argoproj.io/v1beta1",
                "kind": "ArgoCD",
                "metadata": {"name": "example", "namespace": "argocd"},
                "spec": {"controller": {"sharding": {}}, "applicationSet": {}},
            }
        )
        owner = {k: made[k] for k in ("apiVersion", "kind")}
        owner |= {"name": "example", "uid": made["metadata"]["uid"], "controller": True}
        self.wanted: dict[str, JSON] = {}
        for resource, name, field in (
            (STATEFULSET, CONTROLLER, "controller"),
            (DEPLOYMENT, SETS, "applicationSet"),
        ):

            def owned(live: Any, field: str = field) -> None:
                live["metadata"]["ownerReferences"] = [owner]
                if field == "applicationSet":  # setAppSetLabels
                    live["metadata"]["labels"]["app.kubernetes.io/component"] = "controller"
                    live["spec"]["template"]["spec"]["containers"][0]["command"] = [SETS]

            self.wanted[field] = self.api.edit(resource, "argocd", name, owned)
        self.is_alive = True
        self.api.after.append(lambda request, response: self.act())
        self.api.idle = self.tick

    def act(self) -> None:
        """What the operator does when something of it changed."""
        if not self.is_alive:
            return
        spec = self.api.get(OPERATED, "argocd", "example")["spec"]
        for field, template in self.wanted.items():
            resource, name = self.api.resource_of(template), template["metadata"]["name"]
            live = self.api.find(resource, "argocd", name)
            if spec.get(field, {}).get("enabled") is False:
                if live:
                    self.api.remove(resource, "argocd", name)
                    for pod in self.api.objects(POD, "argocd"):
                        if pod["metadata"]["labels"].get("app.kubernetes.io/name") == name:
                            self.api.remove(POD, "argocd", pod["metadata"]["name"])
            elif live is None:
                made = copy.deepcopy(template)
                made["metadata"] = {
                    k: v for k, v in made["metadata"].items() if k not in ("uid", "resourceVersion")
                }
                self.api.create(made)
            elif resource is STATEFULSET and live["spec"].get("replicas") != 1:
                self.api.edit(resource, "argocd", name, lambda w: w["spec"].update(replicas=1))

    def tick(self) -> None:
        """Time for Argo CD, where its controller is there."""
        if self.runs(CONTROLLER):
            self.incident.argocd.tick(0.5)

    def runs(self, name: str) -> bool:
        """Whether a controller is there and wanted."""
        resource = STATEFULSET if name == CONTROLLER else DEPLOYMENT
        live = self.api.find(resource, "argocd", name)
        return live is not None and bool(live["spec"].get("replicas"))

    def written(self) -> list[str]:
        """What was patched of controllers and of the operator's resource."""
        paths = [r.path for r in self.api.writes() if r.method == "PATCH"]
        return [p.rpartition("/argocd/")[2] for p in paths if "scale" in p or "argocds" in p]


@pytest.fixture
def operated() -> Operated:
    return Operated()


def entry_of(run: Run, operated: Operated) -> str:
    """The newest entry."""
    return run(operated.api, "log", "-o", "name").out.split()[0].removeprefix("entry/")


def test_it_is_switched_off_and_on_at_the_operators_resource(run: Run, operated: Operated) -> None:
    frozen = run(operated.api, "freeze", "--reason", "INC-1")
    assert frozen.code == 0, frozen.err
    assert operated.written() == ["argocds/example", "argocds/example"]
    assert not operated.runs(CONTROLLER) and not operated.runs(SETS)
    entry = entry_of(run, operated)

    told = run(operated.api, "status")
    assert "FROZEN" in told.out and f"undo {entry}" in told.out
    assert run(operated.api, "status", "-o", "json").json["data"]["frozen"] is True
    again = run(operated.api, "freeze")
    assert again.code == 0 and "is off already" in again.out, again.err
    assert len(operated.written()) == 2
    assert run(operated.api, "undo", "--yes").code == 5

    thawed = run(operated.api, "undo", entry, "--yes")
    assert thawed.code == 0, thawed.err
    assert operated.runs(CONTROLLER) and operated.runs(SETS)
    spec = operated.api.get(OPERATED, "argocd", "example")["spec"]
    assert spec == {"controller": {"sharding": {}}, "applicationSet": {}}
    assert run(operated.api, "log", "--open", "-o", "name").out == ""


def test_a_thaw_waits_for_an_operator(run: Run, operated: Operated) -> None:
    assert run(operated.api, "freeze").code == 0
    entry = entry_of(run, operated)
    operated.is_alive = False
    late = run(operated.api, "undo", entry, "--yes", "--timeout", "20s")
    assert late.code == 6 and "makes no application-controller yet" in late.err, late.err
    operated.is_alive = True
    thawed = run(operated.api, "undo", entry, "--yes")
    assert thawed.code == 0, thawed.err
    assert operated.runs(CONTROLLER) and operated.runs(SETS)
    assert not [
        p["metadata"]["name"]
        for p in operated.api.objects(operated.api.resource_of(_PROJECT), "argocd")
        if "24h" in str(p["spec"].get("syncWindows"))
        and p["spec"]["syncWindows"][-1]["applications"] == ["*"]
    ]


_PROJECT: JSON = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject"}


def pod(name: str) -> JSON:
    """A pod of a controller."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-0", "namespace": "argocd", "labels": {"app.kubernetes.io/name": name}},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running"},
    }


def respawning(operated: Operated) -> Callable[[Any, Any], None]:
    """The StatefulSet's own controller: a pod that is deleted comes back as long as it is wanted."""

    def respawn(request: Any, response: Any) -> None:
        if operated.runs(CONTROLLER) and not operated.api.find(POD, "argocd", f"{CONTROLLER}-0"):
            operated.api.create(pod(CONTROLLER))

    return respawn


def test_an_operator_that_is_away_is_done_without(run: Run, operated: Operated) -> None:
    operated.is_alive = False
    operated.api.create(pod(CONTROLLER))
    operated.api.after.append(respawning(operated))
    frozen = run(operated.api, "freeze")
    assert frozen.code == 0, frozen.err
    assert "the operator does not act" in frozen.err
    assert operated.written()[-1].endswith("/scale")
    assert not operated.runs(CONTROLLER)


def test_an_operator_that_knows_no_such_switch_is_passed_by(run: Run, operated: Operated) -> None:
    def unknown(request: Any) -> Any:
        if request.method == "PATCH" and "/argocds/" in request.path:
            return failure(bad_request('strict decoding error: unknown field "spec.controller.enabled"'))
        return None

    operated.api.before.append(unknown)
    reverted = run(operated.api, "freeze")
    assert reverted.code == 3, reverted.err
    assert "cannot be switched off" in reverted.err and "was scaled back to 1" in reverted.err
    operated.is_alive = False  # as who reads this scales the operator down
    frozen = run(operated.api, "freeze")
    assert frozen.code == 0, frozen.err
    assert not operated.runs(CONTROLLER) and not operated.runs(SETS)
    thawed = run(operated.api, "undo", entry_of(run, operated), "--yes")
    assert thawed.code == 0, thawed.err
    assert operated.runs(CONTROLLER)


def test_an_operator_without_such_a_switch_is_named(run: Run, operated: Operated) -> None:
    def forget(request: Any, response: Any) -> None:
        def pruned(made: Any) -> None:
            for field in made["spec"].values():
                field.pop("enabled", None)

        operated.api.edit(OPERATED, "argocd", "example", pruned)

    operated.api.after.insert(0, forget)
    frozen = run(operated.api, "freeze")
    assert frozen.code == 3, frozen.err
    assert "ArgoCD example" in frozen.err and "wants its application-controller again" in frozen.err
    assert "frozen:" not in frozen.err


def test_who_may_not_read_the_resource_is_told_that_it_does_not_stay(run: Run, operated: Operated) -> None:
    operated.api.deny("get", "argocds")
    operated.api.deny("list", "argocds")
    frozen = run(operated.api, "freeze")
    assert frozen.code == 3, frozen.err
    assert "cannot be read" in frozen.err
    assert "was scaled back to 1" in frozen.err and "ArgoCD example owns it" in frozen.err


def test_what_it_makes_of_applications_is_not_the_operators(run: Run, operated: Operated) -> None:
    pinned = run(operated.api, "pin", "web", "1.0.0", "--only")
    assert pinned.code == 0, pinned.err
    source = operated.api.get(APPLICATION, "argocd", "web")["spec"]["source"]
    assert source["targetRevision"] == "1.0.0"
