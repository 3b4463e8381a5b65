"""An Argo Rollout as a workload: how far it is, whom it waits for, the way back, what may be promoted."""

from __future__ import annotations

import json

import pytest

from kubectl_argo_rescue.argocd import progress, rollouts, workloads
from kubectl_argo_rescue.argocd.progress import (
    Expectation,
    Expected,
    State,
    assess,
    assess_workloads,
    rollout,
)
from kubectl_argo_rescue.argocd.workloads import Way, decide
from kubectl_argo_rescue.journal import encoding
from kubectl_argo_rescue.journal.encoding import Untrusted
from kubectl_argo_rescue.model.values import JSON, Key, Ref, Takeback

from .. import build

KEY = Key("Rollout", "edge", "traefik")
REF = Ref("Rollout", "edge", "traefik", "u-1")
STEPS = [{"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {"duration": "1h"}}]


def _template(version: str, **labels: str) -> JSON:
    return {
        "metadata": {"labels": {"app": "traefik", **labels}},
        "spec": {"containers": [{"name": "traefik", "image": f"traefik:{version}"}]},
    }


def _rollout(
    status: JSON = None, *, version: str = "2.4.1", steps: JSON = STEPS, generation: int = 3, **spec: JSON
) -> JSON:
    healthy = {
        "observedGeneration": str(generation),
        "phase": "Healthy",
        "stableRS": "good",
        "currentPodHash": "good",
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "traefik", "namespace": "edge", "uid": "u-1", "generation": generation},
        "spec": {
            "replicas": 2,
            "strategy": {"canary": {"steps": steps}},
            "template": _template(version),
            **spec,
        },
        "status": {**healthy, **(status or {})},
    }


def _canary(step: int, **status: JSON) -> JSON:
    return {
        "currentPodHash": "bad",
        "updatedReplicas": 1,
        "currentStepIndex": step,
        "phase": "Paused",
        **status,
    }


PAUSED = {"pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T10:00:00Z"}]}


def _replica_set(name: str, number: int, version: str, created: str, **annotations: str) -> JSON:
    owner = {"uid": "u-1", "controller": True, "kind": "Rollout", "name": "traefik"}
    labels = {"rollouts-pod-template-hash": name}
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"traefik-{name}",
            "creationTimestamp": created,
            "ownerReferences": [owner],
            "annotations": {rollouts.NUMBER: str(number), **annotations},
        },
        "spec": {"template": _template(version, **labels)},
    }


def _history(live: JSON) -> workloads.History:
    ephemeral = {rollouts.EPHEMERAL: json.dumps({"labels": {"role": "canary"}})}
    bad = _replica_set("bad", 2, "2.5.1", "2026-01-02T10:00:00Z", **ephemeral)
    bad["spec"]["template"]["metadata"]["labels"]["role"] = "canary"
    return workloads.history(live, [bad, _replica_set("good", 1, "2.4.1", "2026-01-01T10:00:00Z")])


# -- how far it is


@pytest.mark.parametrize(
    ("live", "done", "failed", "halted", "text"),
    [
        (_rollout(), True, False, False, "2 of 2 available"),
        (_rollout({"observedGeneration": "2"}), False, False, False, "not been looked at"),
        (_rollout(_canary(0, phase="Progressing")), False, False, False, "step 1 of 4 (setWeight): 1 of 2"),
        (_rollout(_canary(1, **PAUSED)), False, False, True, "waits for somebody to go on (CanaryPauseStep)"),
        (_rollout(_canary(1, promoteFull=True, **PAUSED)), False, False, False, "step 2 of 4 (pause)"),
        (_rollout(_canary(3, **PAUSED)), False, False, False, "step 4 of 4 (pause)"),
        (_rollout({}, paused=True), False, False, True, "spec.paused"),
        (_rollout(_canary(0, phase="Degraded", message="timed out")), False, True, False, "timed out"),
        (_rollout(_canary(0, phase="Degraded", abort=True, **PAUSED)), False, True, False, "Degraded"),
        (_rollout({"phase": "Progressing"}), False, False, False, "2 of 2 available: Progressing"),
        (
            _rollout(
                {"currentPodHash": "bad", "phase": "Paused", "pauseConditions": [{"reason": "BlueGreenPause"}]},
                strategy={"blueGreen": {"autoPromotionEnabled": False}},
            ),
            False, False, True, "BlueGreenPause",
        ),
        (
            _rollout(
                {"currentPodHash": "bad", "phase": "Paused", "pauseConditions": [{"reason": "BlueGreenPause"}]},
                strategy={"blueGreen": {"autoPromotionSeconds": 30}},
            ),
            False, False, False, "rolling out",
        ),
        (
            _rollout(_canary(2, pauseConditions=[{"reason": "InconclusiveAnalysisRun"}])),
            False, False, True, "InconclusiveAnalysisRun",
        ),
    ],
)  # fmt: skip
def test_how_far_it_is(live: JSON, done: bool, failed: bool, halted: bool, text: str) -> None:
    found = rollout(live)
    assert (found.done, found.failed, bool(found.halted)) == (done, failed, halted)
    assert text in found.text


def test_a_template_of_another_workload_is_followed() -> None:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "traefik"}
    live = _rollout({"workloadObservedGeneration": "4"}, workloadRef=ref)
    source = {"metadata": {"generation": 5}}
    assert rollouts.template_source(live) == Key("Deployment", "edge", "traefik")
    assert rollout(live).done
    assert not rollout(live, source=source).done, "its controller has not seen the new template"
    live["metadata"]["annotations"] = {rollouts.GENERATION: "5"}
    assert not rollout(live).done
    live["status"]["workloadObservedGeneration"] = "5"
    assert rollout(live, source=source).done


# -- what a watch makes of it


def _app(health: str = "Suspended", sync: str = "Synced", line: str = "Synced") -> JSON:
    spec: JSON = {
        "source": {"repoURL": "r", "targetRevision": "2.4.1"},
        "destination": {"server": build_server()},
    }
    status = {
        "health": {"status": health},
        "sync": {"status": sync, "revision": "2.4.1", "comparedTo": spec},
        "operationState": {"phase": "Succeeded"},
        "resources": [
            {
                "group": "argoproj.io",
                "kind": "Rollout",
                "namespace": "edge",
                "name": "traefik",
                "status": line,
            }
        ],
    }
    return build.app(status, **spec)


def build_server() -> str:
    return "https://kubernetes.default.svc"


def test_a_pause_without_a_duration_halts_a_watch() -> None:
    expectation = Expectation(Key("Application", "argocd", "traefik"))
    live = _rollout(_canary(1, **PAUSED))
    found = assess(_app(), {KEY: live}, expectation)
    assert found.state is State.HALTED and "Rollout edge/traefik" in found.reason
    # One that goes on by itself does not, and neither does what was there before the sync.
    assert assess(_app(), {KEY: _rollout(_canary(3, **PAUSED))}, expectation).state is State.WAITING
    before = _app(sync="OutOfSync", line="OutOfSync")
    assert assess(before, {KEY: live}, expectation).state is State.WAITING
    # An operation of several waves waits for it to be healthy: it waits for ever.
    waves = _app(sync="OutOfSync", line="Synced")
    waves["status"]["operationState"]["phase"] = "Running"
    assert assess(waves, {KEY: live}, expectation).state is State.HALTED
    assert assess(_app("Healthy"), {KEY: _rollout()}, expectation).state is State.SUCCEEDED


def test_one_out_of_sight_is_believed_to_wait() -> None:
    expectation = Expectation(Key("Application", "argocd", "traefik"))
    found = assess(_app(), {}, expectation)
    assert found.state is State.HALTED and "as Argo CD says" in found.reason
    assert assess(_app("Healthy"), {}, expectation).state is State.SUCCEEDED


def test_full_halts_where_it_may_be_promoted() -> None:
    expectation = Expectation(Key("Application", "argocd", "traefik"), is_full=True)
    for step, status, state in (
        (0, {}, State.WAITING),  # it scales: its pods may not be there
        (1, PAUSED, State.HALTED),
        (3, PAUSED, State.HALTED),
        (1, {**PAUSED, "promoteFull": True}, State.WAITING),  # ordered, and not seen yet
    ):
        live = _rollout(_canary(step, **status))
        assert assess(_app(), {KEY: live}, expectation).state is state, (step, status)
    promoting = _rollout(_canary(4, promoteFull=True, phase="Progressing"))
    assert assess(_app("Progressing"), {KEY: promoting}, expectation).state is State.WAITING
    assert not rollouts.may_be_promoted(promoting)
    assert not rollouts.may_be_promoted(_rollout())


def test_an_aborted_one_is_back_with_the_pods_of_the_stable_version() -> None:
    expected = {REF: Expected(_template("2.5.1"), how=Takeback.ABORT)}

    def state(**status: JSON) -> State:
        live = _rollout(_canary(0, phase="Degraded", **status), version="2.5.1")
        return assess_workloads({REF: live}, expected).state

    assert state() is State.WAITING
    assert state(abort=True) is State.WAITING
    assert state(abort=True, abortedAt="t") is State.WAITING
    assert state(abort=True, abortedAt="t", updatedReplicas=0, availableReplicas=1) is State.WAITING
    assert state(abort=True, abortedAt="t", updatedReplicas=0) is State.SUCCEEDED


def test_one_that_was_taken_back_halts_too() -> None:
    expected = {REF: Expected(_template("2.4.1"))}
    live = _rollout(_canary(1, **PAUSED))
    assert assess_workloads({REF: live}, expected).state is State.HALTED


# -- the way back


def test_what_is_under_way_is_aborted() -> None:
    live = _rollout(_canary(1, **PAUSED), version="2.5.1")
    decision = decide(_history(live))
    assert (decision.way, decision.how) == (Way.BACK, Takeback.ABORT)
    assert decision.target is not None and decision.target.name == "traefik-good"
    assert decision.current is not None and decision.current.number == 2
    step = workloads.rollback(REF, Key("Application", "argocd", "traefik"), decision, "back")
    assert (step.from_revision, step.to_revision, step.how) == (2, 1, Takeback.ABORT)
    assert rollouts.ops(live, Takeback.ABORT) == [
        {"op": "test", "path": "/metadata/uid", "value": "u-1"},
        {"op": "test", "path": "/status/currentPodHash", "value": "bad"},
        {"op": "test", "path": "/status/stableRS", "value": "good"},
        {"op": "add", "path": "/status/abort", "value": True},
    ]
    live["status"]["abort"] = True
    assert decide(_history(live)).way is Way.ALREADY
    assert rollouts.stands(live, Takeback.ABORT)


def test_what_was_promoted_goes_back_by_its_template() -> None:
    live = _rollout({"stableRS": "bad", "currentPodHash": "bad"}, version="2.5.1")
    decision = decide(_history(live))
    assert (decision.way, decision.how) == (Way.BACK, Takeback.TEMPLATE)
    assert decision.target is not None and decision.target.template == _template("2.4.1")
    assert decision.current is not None and decision.current.template == _template("2.5.1"), (
        "no ephemeral labels"
    )


def test_what_an_open_entry_took_back_is_not_aborted() -> None:
    # The template of the good version is written, and a new canary of it is under way.
    live = _rollout({"stableRS": "bad", "currentPodHash": "good", "updatedReplicas": 1})
    assert decide(_history(live), taken_back=["traefik-good"]).way is Way.ALREADY


def test_a_template_of_another_workload_is_left_to_it() -> None:
    live = _rollout(
        {"stableRS": "bad", "currentPodHash": "bad"}, workloadRef={"kind": "Deployment", "name": "x"}
    )
    del live["spec"]["template"]
    decision = decide(_history(live))
    assert decision.way is Way.LEFT and "Deployment edge/x" in decision.why
    live["status"].update(_canary(0), stableRS="good")
    assert decide(_history(live)).how is Takeback.ABORT


def test_a_new_version_is_the_way_out_of_a_stable_one_that_fails() -> None:
    live = _rollout(_canary(1, **PAUSED, stableRS="bad", currentPodHash="good"))

    def is_failing(revision: workloads.Revision) -> bool:
        return revision.name == "traefik-bad"

    decision = decide(_history(live), is_failing=is_failing)
    assert decision.how is Takeback.TEMPLATE and decision.way is not Way.BACK


def test_no_template_is_like_no_other() -> None:
    assert workloads.same(None, None)
    assert not workloads.same(None, _template("2.4.1"))


def test_it_is_listed_with_the_others() -> None:
    assert workloads.keys_of(_app()) == (KEY,)
    assert progress.workload_keys(_app()) == (KEY,)
    assert progress.unverified(_app(), [KEY]) == ()
    assert not workloads.is_workload({"group": "other.io", "kind": "Rollout"})


@pytest.mark.parametrize(
    ("live", "is_full", "words", "absent"),
    [
        (_rollout(), False, ("starts a new canary", "at step 2", "--full promotes", "at once"), "rollbackWindow"),
        (_rollout(), True, ("promoted fully once its pods are ready",), "--full promotes"),
        (_rollout({}, rollbackWindow={"revisions": 3}), False, ("one of the last 3 (rollbackWindow)",), "!"),
        (_rollout(steps=[{"setWeight": 50}, {"pause": {"duration": 60}}]), False, ("of 2 steps",), "--full promotes"),
        (
            _rollout({}, strategy={"blueGreen": {"autoPromotionEnabled": False}}),
            False, ("starts a new preview", "before it is switched over"), "step",
        ),
    ],
)  # fmt: skip
def test_the_plan_says_what_another_version_meets(
    live: JSON, is_full: bool, words: tuple[str, ...], absent: str
) -> None:
    text = rollouts.foretell(live, is_full=is_full)
    assert all(word in text for word in words), text
    assert absent not in text


def test_without_steps_there_is_nothing_to_say() -> None:
    assert rollouts.foretell(_rollout(steps=[]), is_full=False) == ""
    assert rollouts.foretell(_rollout({}, strategy={"blueGreen": {}}), is_full=True) == ""


# -- what is kept of it


@pytest.mark.parametrize("how", list(Takeback))
def test_the_record_of_it(how: Takeback) -> None:
    fields: JSON = {
        "ref": {"kind": "Rollout", "namespace": "edge", "name": "traefik", "uid": "u-1"},
        "app": {"kind": "Application", "namespace": "argocd", "name": "traefik"},
        "from": 2, "to": 1, "revision": "traefik-good", "reason": "", "how": how.name,
    }  # fmt: skip
    assert encoding._read_rollout(fields).how is how
    if how is not Takeback.TEMPLATE:
        fields["ref"] = {**fields["ref"], "kind": "Deployment"}
        with pytest.raises(Untrusted):
            encoding._read_rollout(fields)
    with pytest.raises(Untrusted):
        encoding._read_rollout({**fields, "how": "RETRY"})
