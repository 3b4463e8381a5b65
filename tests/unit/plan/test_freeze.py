"""What a freeze writes where an operator makes Argo CD, and in which order that goes back."""

from __future__ import annotations

from datetime import datetime, timezone

from kubectl_argo_rescue.argocd import controllers
from kubectl_argo_rescue.argocd.controllers import APPLICATIONS, SETS
from kubectl_argo_rescue.journal.entry import fold
from kubectl_argo_rescue.journal.records import Begin, Content, Intent, Outcome, Record
from kubectl_argo_rescue.model.patches import applied
from kubectl_argo_rescue.model.values import ABSENT, JSON, ArgoCD, Edit, Key, Snapshot, ref_of
from kubectl_argo_rescue.plan import freeze, thaw
from kubectl_argo_rescue.simulation.incident import installation

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
OPERATED: JSON = {
    "apiVersion": "argoproj.io/v1beta1",
    "kind": "ArgoCD",
    "metadata": {"name": "example", "namespace": "argocd", "uid": "u-example"},
    "spec": {"controller": {"sharding": {}}, "applicationSet": {"enabled": True}},
}


def snapshot(operated: JSON = OPERATED) -> Snapshot:
    """An installation whose controllers an operator makes."""
    objects: dict[Key, JSON] = {}
    for number, obj in enumerate(installation("v3.6.1")):
        if obj["kind"] not in ("StatefulSet", "Deployment"):
            continue
        owner = {"apiVersion": "argoproj.io/v1beta1", "kind": "ArgoCD", "name": "example", "uid": "u-example"}
        obj["metadata"] |= {"uid": f"u-{number}", "resourceVersion": "1", "ownerReferences": [owner]}
        objects[ref_of(obj).key] = obj
    objects[ref_of(operated).key] = operated
    made = Snapshot(ArgoCD("argocd"), objects, NOW)
    return Snapshot(made.argocd, {**objects, **controllers.with_scales(made)}, NOW)


def test_the_operators_resource_is_written_in_place_of_the_scales() -> None:
    plan = freeze.plan_freeze(snapshot())
    edits = [step for step in plan.steps if isinstance(step, Edit)]
    assert [edit.ref.kind for edit in edits] == ["ArgoCD", "ArgoCD"]
    assert [(c.path, getattr(c, "before", None)) for e in edits for c in e.changes] == [
        (("spec", "controller", "enabled"), ABSENT),
        (("spec", "applicationSet", "enabled"), True),
    ]


OFF: JSON = {**OPERATED, "spec": {"controller": {"enabled": False}, "applicationSet": {"enabled": False}}}


def without_workloads(whole: Snapshot) -> Snapshot:
    """What an operator leaves that was told to run none."""
    return Snapshot(whole.argocd, {k: o for k, o in whole.objects.items() if k.kind == "ArgoCD"}, NOW)


def test_what_is_off_already_stays_out() -> None:
    gone = without_workloads(snapshot(OFF))
    plan = freeze.plan_freeze(gone)
    assert not plan.steps and len(plan.unchanged) == 2
    assert controllers.is_frozen(gone)


def test_an_operator_that_does_not_act_is_done_without() -> None:
    plan = freeze.plan_freeze(snapshot(OFF))
    assert {step.ref.kind for step in plan.steps} == {"StatefulSet/scale", "Deployment/scale"}


def test_what_an_operator_has_yet_to_make_is_switched_off() -> None:
    plan = freeze.plan_freeze(without_workloads(snapshot()))
    assert [step.ref.kind for step in plan.steps] == ["ArgoCD", "ArgoCD"]
    assert not controllers.is_frozen(without_workloads(snapshot()))


def test_the_command_that_stops_one_by_hand_lasts() -> None:
    whole = snapshot()
    (sets,) = [c for c in controllers.controllers_of(whole) if c.part == SETS]
    assert controllers.command_to_stop(sets.workload) == (
        "kubectl -n argocd patch argocds.argoproj.io example --type=merge "
        """-p '{"spec":{"applicationSet":{"enabled":false}}}'"""
    )
    del sets.workload["metadata"]["ownerReferences"]
    assert controllers.command_to_stop(sets.workload) == (
        "kubectl -n argocd scale deployment argocd-applicationset-controller --replicas=0"
    )


def test_each_goes_back_in_its_own_time() -> None:
    plan = freeze.plan_freeze(snapshot())
    edits = [step for step in plan.steps if isinstance(step, Edit)]
    stopped = OPERATED
    for edit in edits:
        stopped = applied(stopped, edit.changes)
    begin = Begin("freeze", (), "alice", "vm", NOW, "", "argocd")
    contents: list[Content] = [begin, *(Intent(n, e) for n, e in enumerate(edits))]
    contents.append(Outcome({0: "applied", 1: "applied"}))
    entry = fold([Record("abc123", f"{n:05d}-aaaaaa", c) for n, c in enumerate(contents, 1)])
    assert entry is not None and entry.is_freeze and entry.is_open
    back = thaw.scales_back(snapshot(stopped), [entry], [entry])
    assert len(back.edits) == 2 and not back.conflicts
    for part in (APPLICATIONS, SETS):
        (edit,) = [e for e in back.edits if thaw.is_of_part(e, part, [])]
        stopped = applied(stopped, edit.changes)
    assert stopped["spec"] == OPERATED["spec"]
