"""Workloads taken back to a revision of their own history, and handed over to Argo CD again.

Covered: which revision is current and previous, as `kubectl rollout undo` counts (by number, owned by
uid, a reused revision under its new number), and where it is not taken: nothing to go back to, paused,
not recorded yet, not changed by the version that fails, made by that version as well, taken back
before; the guarded patch; what stays out of the journal; races, lost answers, webhooks, deletion,
missing rights; the whole command on a simulated Argo CD whose sources are away, on another cluster,
asked twice; undo while git asks for something else, once it agrees, with --redeploy and --when-safe.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from kubectl_argo_rescue.act import workload_writes
from kubectl_argo_rescue.argocd import ownership, progress, workloads
from kubectl_argo_rescue.argocd.ownership import TRACKING_ID
from kubectl_argo_rescue.argocd.progress import State
from kubectl_argo_rescue.argocd.workloads import (
    History,
    Revision,
    Way,
    decide,
    failing_periods,
    maker,
)
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.transport import Response, Target
from kubectl_argo_rescue.journal import encoding
from kubectl_argo_rescue.journal.encoding import Untrusted
from kubectl_argo_rescue.journal.records import Intent, Record
from kubectl_argo_rescue.model.errors import RefusedError, TransportError
from kubectl_argo_rescue.model.text import ROLLED_BACK
from kubectl_argo_rescue.model.values import (
    APPLICATION,
    CONFIGMAP,
    CONTROLLERREVISION,
    DAEMONSET,
    DEPLOYMENT,
    EVENT,
    REPLICASET,
    STATEFULSET,
    ArgoCD,
    Key,
    Ref,
    Snapshot,
    StepStatus,
    Tracking,
    WorkloadRollback,
    ref_of,
)
from kubectl_argo_rescue.plan.workload_rescue import Workloads, plan_workloads
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, Incident, traefik_chart
from kubectl_argo_rescue.simulation.status import StatusError
from kubectl_argo_rescue.simulation.wire import Request, failure

from .. import build
from ..harness import Ran, Run, lag
from ..played import traefik_incident

T0 = datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc)
APP = Key("Application", "argocd", "traefik")
TRAEFIK = Key("Deployment", "traefik", "traefik")

NUMBER = workloads.NUMBERS["Deployment"]


def template(image: str, **labels: str) -> dict[str, Any]:
    """A pod template of one container."""
    return {
        "metadata": {"labels": {"app": "x", **labels}},
        "spec": {"containers": [{"name": "main", "image": image, "env": [{"name": "S", "value": "secret"}]}]},
    }


def deployment(image: str = "x:2", *, generation: int = 2, observed: int | None = None, **spec: Any) -> Any:
    """A Deployment as read."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "x",
            "namespace": "ns",
            "uid": "u",
            "generation": generation,
            "annotations": {TRACKING_ID: "x:apps/Deployment:ns/x"},
        },
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template(image), **spec},
        "status": {"observedGeneration": generation if observed is None else observed},
    }


def replica_set(
    number: object,
    image: str,
    *,
    hours: float = 0,
    uid: str = "u",
    controller: bool = True,
    earlier: str = "",
) -> Any:
    """A ReplicaSet as Kubernetes keeps it."""
    return {
        "metadata": {
            "name": f"x-{image[2:]}",
            "annotations": {NUMBER: number, **({f"{NUMBER}-history": earlier} if earlier else {})},
            "creationTimestamp": f"{T0 + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}",
            "ownerReferences": [{"uid": uid, "controller": controller}],
        },
        "spec": {"template": template(image, **{"pod-template-hash": "abc"})},
    }  # fmt: skip


def past(*sets: Any, live: Any = None) -> History:
    """The history of the Deployment."""
    return workloads.history(live or deployment(), sets)


# -- which revision


@pytest.mark.parametrize(
    ("sets", "current", "target"),
    [
        ([replica_set("1", "x:1"), replica_set("2", "x:2")], 2, 1),
        ([replica_set("2", "x:2"), replica_set("1", "x:1")], 2, 1),
        ([replica_set("9", "x:9"), replica_set("10", "x:2")], 10, 9),  # numbers, not text
        ([replica_set("1", "x:0"), replica_set("3", "x:1", earlier="2"), replica_set("4", "x:2")], 4, 3),
        ([replica_set("1", "x:1"), replica_set("2", "x:2"), replica_set("7", "x:7", uid="other")], 2, 1),
        ([replica_set("1", "x:1"), replica_set("2", "x:2"), replica_set("7", "x:7", controller=False)], 2, 1),
        ([replica_set("what", "x:0"), replica_set("1", "x:1"), replica_set("2", "x:2")], 2, 1),
        ([replica_set(None, "x:1"), replica_set("2", "x:2")], 2, 0),
    ],
)  # fmt: skip
def test_the_previous_revision_is_kubectls(sets: list[Any], current: int, target: int) -> None:
    decision = decide(past(*sets))
    assert decision.way is Way.BACK
    assert decision.current and decision.target
    assert (decision.current.number, decision.target.number) == (current, target)
    assert "pod-template-hash" not in decision.target.template["metadata"]["labels"]
    assert decision.target.template["metadata"]["labels"] == {"app": "x"}


def test_nothing_to_go_back_to() -> None:
    assert decide(past()).way is Way.LEFT
    only = decide(past(replica_set("2", "x:2")))
    assert (only.way, only.why) == (Way.LEFT, "it has no previous revision")


def test_already_at_the_previous_template() -> None:
    live = deployment("x:1", generation=3, observed=2)
    decision = decide(past(replica_set("1", "x:1"), replica_set("2", "x:2"), live=live))
    assert decision.way is Way.ALREADY


def test_a_spec_that_kubernetes_has_not_recorded_is_refused() -> None:
    live = deployment("x:3", generation=3, observed=2)
    decision = decide(past(replica_set("1", "x:1"), replica_set("2", "x:2"), live=live))
    assert decision.way is Way.REFUSED and "kube-controller-manager" in decision.why


def test_a_paused_deployment_is_refused_with_what_to_do() -> None:
    live = deployment(paused=True)
    decision = decide(past(replica_set("1", "x:1"), replica_set("2", "x:2"), live=live))
    assert decision.way is Way.REFUSED
    assert decision.why.endswith("kubectl -n ns rollout resume deployment/x")


def test_what_an_open_entry_took_back_stays() -> None:
    """`kubectl rollout undo` twice rolls the broken version out again."""
    live = deployment("x:1", generation=3)
    kept = past(replica_set("2", "x:2"), replica_set("3", "x:1", earlier="1"), live=live)
    assert decide(kept).way is Way.BACK
    again = decide(kept, taken_back=["x-1"])
    assert again.way is Way.ALREADY and again.target and again.target.number == 3
    # Argo CD has moved it forward since: then it is taken back once more.
    moved = past(replica_set("3", "x:1"), replica_set("4", "x:2"))
    assert decide(moved, taken_back=["x-1"]).way is Way.BACK


def test_what_the_failing_version_did_not_change_is_left_alone() -> None:
    kept = past(replica_set("1", "x:1"), replica_set("2", "x:2", hours=1))
    assert decide(kept, is_failing=lambda r: False).way is Way.LEFT
    assert decide(kept, is_failing=lambda r: None).way is Way.BACK
    # A revision that was current before keeps its time of creation: then it does not tell.
    for reused in (
        past(replica_set("1", "x:1"), replica_set("4", "x:2", hours=1, earlier="2")),
        past(replica_set("3", "x:1", hours=2), replica_set("4", "x:2", hours=1)),
    ):
        assert decide(reused, is_failing=lambda r: False).way is Way.BACK


def test_revisions_of_the_failing_version_are_passed_over() -> None:
    """Somebody restarted the pods: the previous revision is the broken version as well."""
    kept = past(replica_set("1", "x:1"), replica_set("2", "x:b", hours=3), replica_set("3", "x:2", hours=4))
    failing: Callable[[Revision], bool] = lambda r: r.number > 1  # noqa: E731
    decision = decide(kept, is_failing=failing)
    assert decision.target and decision.target.number == 1
    everything = decide(kept, is_failing=lambda r: True)
    assert everything.target and everything.target.number == 2, "as kubectl, where nothing else is left"


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_controller_revisions(kind: str) -> None:
    live = {**deployment(), "kind": kind}

    def kept(number: int, image: str) -> Any:
        plain = template(image)
        plain["metadata"]["creationTimestamp"] = None
        return {
            "metadata": {"name": f"x-{number}", "ownerReferences": [{"uid": "u", "controller": True}]},
            "revision": number,
            "data": {"spec": {"template": {**plain, "$patch": "replace"}}},
        }

    decision = decide(workloads.history(live, [kept(3, "x:2"), kept(2, "x:1"), kept(1, "x:0")]))
    assert decision.way is Way.BACK and decision.target
    assert decision.target.number == 2
    assert decision.target.template == template("x:1"), "without the patch directive and nulls"


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (template("x:1"), template("x:1", **{"pod-template-hash": "1"}), True),
        (template("x:1"), {**template("x:1"), "$patch": "replace"}, True),
        (template("x:1"), {**template("x:1"), "metadata": {"creationTimestamp": None, "labels": {"app": "x"}}}, True),
        (template("x:1"), template("x:2"), False),
        (template("x:1"), template("x:1", version="1"), False),
    ],
)  # fmt: skip
def test_same(a: Any, b: Any, equal: bool) -> None:
    assert workloads.same(a, b) is equal
    assert workloads.same(b, a) is equal


def test_the_patch_is_guarded_and_shows_no_template() -> None:
    ops = workloads.ops_back(deployment(), template("x:1"))
    assert [(o["op"], o["path"]) for o in ops] == [
        ("test", "/metadata/uid"),
        ("test", "/metadata/generation"),
        ("replace", "/spec/template"),
    ]
    assert "secret" not in json.dumps(workloads.shown_ops(ops))
    revision = Revision(1, "x-1", template("x:1"))
    assert "secret" not in repr(decide(past(replica_set("1", "x:1"), replica_set("2", "x:2"))))
    assert "secret" not in repr(revision)


def test_selector() -> None:
    live = deployment()
    live["spec"]["selector"]["matchExpressions"] = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    assert workloads.selector_of(live) == "app=x,a in (1,2),b notin (3),c,!d"


def test_listed_workloads() -> None:
    def line(kind: str, name: str, **more: Any) -> dict[str, Any]:
        return {"group": "apps", "kind": kind, "namespace": "ns", "name": name, "status": "Synced", **more}

    app = {
        "status": {
            "resources": [
                line("Deployment", "a"),
                line("StatefulSet", "b", requiresPruning=True, status="Unknown"),  # the sources are away
                line("DaemonSet", "c", requiresPruning=True, status="OutOfSync"),  # git has it no more
                line("ReplicaSet", "d"),
                {**line("Deployment", "e"), "group": "extensions"},
                line("Deployment", "f", hook=True),
            ]
        }
    }
    assert [k.name for k in workloads.keys_of(app)] == ["a", "b"]


def test_hindrances() -> None:
    sts = {**deployment(), "kind": "StatefulSet"}
    sts["spec"] = {**sts["spec"], "replicas": 2, "updateStrategy": {"type": "RollingUpdate"}}
    sts["status"] = {"readyReplicas": 1, "updateRevision": "x-b"}
    (text,) = workloads.hindrances(sts)
    assert "kubectl -n ns delete pod -l controller-revision-hash=x-b" in text
    sts["spec"]["podManagementPolicy"] = "Parallel"
    assert workloads.hindrances(sts) == []
    sts["spec"]["updateStrategy"]["type"] = "OnDelete"
    assert "on delete only" in workloads.hindrances(sts)[0]
    assert workloads.hindrances(deployment()) == []


# -- what made a revision


def history_app(*entries: tuple[int, str, float], status: str = "Synced", revision: str = "") -> Any:
    """An Application whose history is (id, revision, start in hours)."""
    source = {"repoURL": "https://charts.invalid", "chart": "x"}
    return {
        "kind": "Application",
        "metadata": {"name": "x", "namespace": "argocd"},
        "status": {
            "sync": {
                "status": status,
                "revision": revision or entries[-1][1],
                "comparedTo": {"source": source},
            },
            "history": [
                {
                    "id": id,
                    "revision": r,
                    "source": {**source, "targetRevision": r},
                    "deployStartedAt": f"{T0 + timedelta(hours=at):%Y-%m-%dT%H:%M:%SZ}",
                    "deployedAt": f"{T0 + timedelta(hours=at, seconds=9):%Y-%m-%dT%H:%M:%SZ}",
                }
                for id, r, at in entries
            ],
        },
    }


def made(hours: float) -> Revision:
    """A revision created so many hours after T0."""
    return Revision(1, "x", {}, T0 + timedelta(hours=hours))


def test_what_made_a_revision() -> None:
    app = history_app((4, "1", 0), (5, "2", 2))
    made_by = maker(app)
    found = [made_by(made(at)) for at in (-1, 0, 1, 2, 3)]
    assert [d.id if d else None for d in found] == [None, 4, 4, 5, 5]
    # Two deployments within the second: either may have made it.
    tight = history_app((4, "1", 0), (5, "2", 9 / 3600))
    assert maker(tight)(made(9 / 3600)) is None
    assert made_by(Revision(1, "x", {})) is None
    del app["status"]["history"][0]["deployStartedAt"]
    assert maker(app)(made(3)) is None


def test_failing_periods() -> None:
    fight = history_app((0, "1", 0), (1, "2", 1), (2, "1", 2), (3, "2", 3))
    assert [failing_periods(fight)(made(at)) for at in (-1, 0.5, 1.5, 2.5, 3.5)] == [
        None,
        False,
        True,
        False,
        True,
    ]
    # The version that fails was never deployed whole: history cannot tell what it made.
    never = history_app((0, "1", 0), status="OutOfSync", revision="3")
    assert failing_periods(never)(made(0.5)) is None
    # Unrelated commits since: what runs is still of the last deployment.
    moved_on = history_app((0, "1", 0), (1, "2", 1), revision="3")
    assert failing_periods(moved_on)(made(1.5)) is True


# -- the journal


def a_rollout(**fields: Any) -> WorkloadRollback:
    """A rollout as the journal keeps it."""
    return replace(
        WorkloadRollback(Ref("Deployment", "ns", "x", "u"), APP, 2, 1, "x-1", "because", deployment=0),
        **fields,
    )


def line_of(rollout: WorkloadRollback) -> str:
    """Its line."""
    return encoding.to_line(Record("abcdef", "00001-abcdef", Intent(3, rollout)))


@pytest.mark.parametrize(
    "rollout", [a_rollout(), a_rollout(destination="https://far", named=False, deployment=None)]
)
def test_a_rollout_is_kept_as_numbers(rollout: WorkloadRollback) -> None:
    line = line_of(rollout)
    assert encoding.from_line(line).content == Intent(3, rollout)
    assert set(json.loads(line)["rollout"]) == {
        "number", "ref", "app", "from", "to", "revision", "reason", "named", "destination", "deployment",
    }  # fmt: skip


@pytest.mark.parametrize(
    "forged",
    [
        {"ref": {"kind": "Secret", "namespace": "ns", "name": "x", "uid": "u"}},
        {"ref": {"kind": "Application", "namespace": "ns", "name": "x", "uid": "u"}},
        {"app": {"kind": "Deployment", "namespace": "ns", "name": "x"}},
        {"from": -1},
        {"to": "1"},
        {"revision": None},
        {"deployment": True},
    ],
)
def test_a_forged_rollout_is_not_trusted(forged: dict[str, Any]) -> None:
    line = json.loads(line_of(a_rollout()))
    line["rollout"].update(forged)
    with pytest.raises(Untrusted):
        encoding.from_line(json.dumps(line))


# -- writing one


class Bed:
    """A Deployment with two revisions on the in-memory API."""

    def __init__(self) -> None:
        self.incident = traefik_incident()
        self.api = self.incident.api
        self.cluster = build.cluster(self.api)
        self.past = workload_writes.read_history(self.cluster, TRAEFIK)
        decision = decide(self.past)
        assert decision.current and decision.target
        self.step = WorkloadRollback(
            ref_of(self.past.workload), APP, decision.current.number, decision.target.number,
            decision.target.name, "back",
        )  # fmt: skip
        self.doubts = 0

    def go(self, **options: Any) -> Any:
        """Take it back."""
        return workload_writes.roll_back(self.cluster, self.step, in_doubt=self._doubt, **options)

    def _doubt(self) -> None:
        self.doubts += 1

    @property
    def image(self) -> str:
        """What the Deployment asks for."""
        live = self.api.get(DEPLOYMENT, "traefik", "traefik")
        return str(live["spec"]["template"]["spec"]["containers"][0]["image"])

    def on_patch(self, act: Callable[[int], Response | None], *, after: bool = False) -> None:
        """Do something at each PATCH of a Deployment; `act` is told its number."""
        seen = 0

        def hook(request: Request, *_: Any) -> Response | None:
            nonlocal seen
            if request.method == "PATCH" and "/deployments/" in request.path:
                seen += 1
                return act(seen)
            return None

        (self.api.after if after else self.api.before).append(hook)

    def edit(self, change: Callable[[Any], Any]) -> None:
        """Write to the Deployment as somebody else."""
        self.api.edit(DEPLOYMENT, "traefik", "traefik", change)


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_one_is_taken_back(bed: Bed) -> None:
    assert bed.go(dry_run=True).status is StepStatus.PLANNED
    assert bed.image == f"traefik:{BAD}"
    result = bed.go()
    assert result.status is StepStatus.APPLIED
    assert bed.image == f"traefik:{GOOD}"
    assert {op["op"] for op in result.patch} == {"test"}
    again = bed.go()
    assert (again.status, again.detail) == (StepStatus.UNCHANGED, "already at revision 1")
    assert bed.doubts == 0


def test_an_autoscaler_in_between_is_no_conflict(bed: Bed) -> None:
    def scale(seen: int) -> None:
        if seen <= 2:
            bed.edit(lambda o: o["spec"].update(replicas=5 + seen))

    bed.on_patch(scale)
    assert bed.go().status is StepStatus.APPLIED
    assert bed.image == f"traefik:{GOOD}"
    assert bed.api.get(DEPLOYMENT, "traefik", "traefik")["spec"]["replicas"] == 7


def test_somebody_else_deploys_in_between(bed: Bed) -> None:
    def deploy(seen: int) -> None:
        if seen == 1:
            bed.edit(lambda o: o["spec"]["template"]["spec"]["containers"][0].update(image="traefik:3"))

    bed.on_patch(deploy)
    result = bed.go()
    assert result.status is StepStatus.CONFLICT and "somebody else deployed meanwhile" in result.detail
    assert bed.image == "traefik:3"


def test_it_never_comes_to_rest(bed: Bed) -> None:
    bed.on_patch(lambda seen: bed.edit(lambda o: o["spec"].update(replicas=seen + 2)))
    result = bed.go()
    assert result.status is StepStatus.CONFLICT and "keeps changing" in result.detail


def test_a_webhook_that_says_no_is_told_once(bed: Bed) -> None:
    patches: list[int] = []

    def refuse(seen: int) -> Response:
        patches.append(seen)
        return failure(StatusError(422, "Invalid", "admission webhook said no"))

    bed.on_patch(refuse)
    result = bed.go()
    assert result.status is StepStatus.FAILED and "admission webhook said no" in result.detail
    assert patches == [1]


@pytest.mark.parametrize("landed", [True, False])
def test_a_lost_answer_is_settled_by_looking(bed: Bed, landed: bool) -> None:
    def lose(seen: int) -> None:
        if seen == 1:
            raise TransportError("gone", sent=True)

    bed.on_patch(lose, after=landed)
    result = bed.go()
    assert result.status is StepStatus.APPLIED and bed.doubts == 1
    assert bed.image == f"traefik:{GOOD}"
    sent = [r for r in bed.api.writes() if "/deployments/" in r.path]
    assert len(sent) == (1 if landed else 2)


def test_lost_again_and_again_stays_in_doubt(bed: Bed) -> None:
    def lose(seen: int) -> None:
        raise TransportError("gone", sent=True)

    bed.on_patch(lose)
    assert bed.go().status is StepStatus.FAILED
    assert bed.doubts == workload_writes.MAX_LOST


def test_lost_and_unreadable_is_unknown(bed: Bed) -> None:
    down = False

    def lose(seen: int) -> None:
        nonlocal down
        down = True
        raise TransportError("gone", sent=True)

    def dead(request: Request) -> None:
        if down and request.method == "GET":
            raise TransportError("refused", sent=False, lasting=True)

    bed.on_patch(lose)
    bed.api.before.append(dead)
    assert bed.go().status is StepStatus.UNKNOWN


def test_what_cannot_be_written(bed: Bed) -> None:
    bed.api.deny(verb="patch", resource="deployments")
    assert bed.go().status is StepStatus.DENIED
    bed.api.denied.clear()
    bed.edit(lambda o: o["spec"].update(paused=True))
    paused = bed.go()
    assert paused.status is StepStatus.FAILED and "rollout resume" in paused.detail
    bed.edit(lambda o: o["spec"].update(paused=False))
    bed.api.remove(REPLICASET, "traefik", bed.step.revision)
    pruned = bed.go()
    assert pruned.status is StepStatus.CONFLICT and "not kept any more" in pruned.detail
    anew = bed.api.get(DEPLOYMENT, "traefik", "traefik")
    bed.api.remove(DEPLOYMENT, "traefik", "traefik")
    assert bed.go().status is StepStatus.CONFLICT
    for name in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        anew["metadata"].pop(name, None)
    bed.api.create(anew)
    assert "created anew" in bed.go().detail
    sent = [r for r in bed.api.writes() if "/deployments/" in r.path]
    assert len(sent) == 1, "the one that was denied"


# -- the watch


def test_the_watch_knows_an_old_giving_up() -> None:
    live = deployment("x:1", replicas=1)
    stale = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": "t1"}
    live["status"] |= {"updatedReplicas": 1, "replicas": 1, "conditions": [stale]}
    ref = ref_of(live)
    expected = {ref: progress.Expected(template("x:1"), "t1")}
    assert progress.assess_workloads({ref: live}, expected).state is State.WAITING
    live["status"]["conditions"] = [{**stale, "lastUpdateTime": "t2"}]
    assert progress.assess_workloads({ref: live}, expected).state is State.FAILED
    live["status"] |= {"conditions": [], "availableReplicas": 1}
    assert progress.assess_workloads({ref: live}, expected).state is State.SUCCEEDED
    live["spec"]["template"] = template("x:2")
    assert progress.assess_workloads({ref: live}, expected).state is State.REVERTED
    assert progress.assess_workloads({ref: None}, expected).state is State.REVERTED


# -- the command


@pytest.fixture
def incident(incident: Incident) -> Incident:
    """2.5.1 is deployed, the repo-server is dead."""
    incident.argocd.repo_server_alive = False
    return incident


def image(incident: Incident) -> str:
    """What the Deployment asks for."""
    live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
    return str(live["spec"]["template"]["spec"]["containers"][0]["image"])


def rescued(run: Run, incident: Incident, *more: str) -> Ran:
    """Take the workloads back."""
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--yes", *more)
    assert ran.code == 0, ran
    assert image(incident) == f"traefik:{GOOD}"
    return ran


def test_a_plain_rescue_sees_it_before_it_starts(run: Run, incident: Incident) -> None:
    for obj in incident.api.objects(DEPLOYMENT, "argocd"):
        if obj["metadata"]["name"] == "argocd-repo-server":
            incident.api.edit(DEPLOYMENT, "argocd", "argocd-repo-server", lambda o: o.update(status={}))
    writes = len(incident.api.writes())
    ran = run(incident.api, "rescue", "traefik")
    assert ran.code == 5
    assert "repo-server has no ready pod" in ran.err
    assert "kubectl argo-rescue rescue traefik --workloads" in ran.err
    assert len(incident.api.writes()) == writes


def test_the_whole_way(run: Run, incident: Incident) -> None:
    ran = rescued(run, incident)
    assert "deployment.apps/traefik is at revision 1 again, no more 2: 2 of 2 available" in ran.out
    incident.argocd.run(600, every=5)
    assert image(incident) == f"traefik:{GOOD}"
    kept = "".join(p.read_text() for p in run.state_home().rglob("*.jsonl"))
    kept += json.dumps([o.get("data") for o in incident.api.objects(CONFIGMAP, "argocd")])
    assert '"rollout"' in kept and "containers" not in kept and "template" not in kept

    generation = incident.api.get(DEPLOYMENT, "traefik", "traefik")["metadata"]["generation"]
    again = run(incident.api, "rescue", "traefik", "--workloads", "--yes", "-o", "json")
    assert again.code == 0 and "taken back already by entry" in again.out
    assert again.json["data"]["workloads"] == []
    assert incident.api.get(DEPLOYMENT, "traefik", "traefik")["metadata"]["generation"] == generation
    for verb in ("log", "report"):
        assert "Deployment traefik/traefik" in run(incident.api, verb).out
    entry = run(incident.api, "log", "-o", "name").out.split()[0]
    assert "Workloads taken back:" in run(incident.api, "show", entry).out


def test_an_operation_would_apply_it_again(run: Run, incident: Incident) -> None:
    """Its retries know nothing of a pause: it is ended first."""
    running = {"sync": {"revision": BAD}, "initiatedBy": {"automated": True}, "retry": {"limit": 5}}
    state = {
        "phase": "Running",
        "operation": running,
        "startedAt": "2026-11-27T16:59:00Z",
        "message": "waiting for hooks",
    }
    incident.argocd.stuck.add("argocd/traefik")
    incident.api.edit(
        APPLICATION, "argocd", "traefik",
        lambda o: (o.update(operation=running), o["status"].update(operationState=state), None)[-1],
    )  # fmt: skip
    ran = rescued(run, incident)
    assert "is ended first" in ran.err
    actions = [line.split()[-1] for line in ran.out.splitlines() if "argoproj.io/traefik" in line]
    assert actions == ["paused", "terminating", "cleared"], "a window keeps 3.2 from ending it"
    live = incident.api.get(APPLICATION, "argocd", "traefik")
    assert live.get("operation") is None
    assert ran.out.index("cleared") < ran.out.index("deployment.apps/traefik rolled back")


def test_part_of_it_fails(run: Run, incident: Incident) -> None:
    """What stands is said, and the command that goes on has the flag."""

    def refuse(request: Request) -> Response | None:
        if request.method == "PATCH" and "/deployments/" in request.path:
            return failure(StatusError(422, "Invalid", "admission webhook said no"))
        return None

    incident.api.before.append(refuse)
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--yes")
    assert ran.code == 1, ran
    assert "admission webhook said no" in ran.err
    assert "Next: kubectl argo-rescue rescue traefik --workloads" in ran.err
    assert image(incident) == f"traefik:{BAD}"
    incident.api.before.clear()
    rescued(run, incident)


def test_undo_waits_for_argo_cd_to_agree(run: Run, incident: Incident) -> None:
    rescued(run, incident)
    away = run(incident.api, "undo")
    assert away.code == 5 and "nothing was changed" in away.err
    incident.argocd.repo_server_alive = True
    incident.argocd.run(200, every=5)
    unfixed = run(incident.api, "undo")
    assert unfixed.code == 5 and "which would change Deployment traefik" in unfixed.err
    waited = run(incident.api, "undo", "--when-safe", "--timeout", "20s")
    assert waited.code == 6 and "git did not change in time" in waited.err
    assert image(incident) == f"traefik:{GOOD}"
    assert "enabled" in incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["syncPolicy"]["automated"]

    incident.push(GOOD)
    incident.argocd.run(200, every=5)
    sets = {o["metadata"]["name"]: o["spec"]["replicas"] for o in incident.api.objects(REPLICASET, "traefik")}
    undone = run(incident.api, "undo")
    assert undone.code == 0, undone
    assert "handed back" in undone.out
    incident.argocd.run(200, every=5)
    assert image(incident) == f"traefik:{GOOD}"
    now = {o["metadata"]["name"]: o["spec"]["replicas"] for o in incident.api.objects(REPLICASET, "traefik")}
    assert now == sets
    assert run(incident.api, "log", "--open", "-o", "name").out == ""
    assert run(incident.api, "undo").out == ""


def test_an_owner_that_acts_is_asked_to_look_at_git_first(run: Run, incident: Incident) -> None:
    """Merged a moment ago, and root has not looked yet: no word of git's old version."""
    rescued(run, incident)
    incident.argocd.repo_server_alive = True
    incident.argocd.run(200, every=5)
    incident.push(GOOD)
    undone = run(incident.api, "undo")
    assert undone.code == 0, undone
    incident.argocd.run(200, every=5)
    assert image(incident) == f"traefik:{GOOD}"


def test_undo_by_force(run: Run, incident: Incident) -> None:
    rescued(run, incident)
    undone = run(incident.api, "undo", "--redeploy", "--yes")
    assert undone.code == 0, undone
    automated = incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["syncPolicy"]["automated"]
    assert automated == {"prune": True, "selfHeal": True}
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


def old_incident() -> Incident:
    """The same on Argo CD 3.0: a pause takes the block away, so that the root must be paused as well."""
    made = traefik_incident(version=(3, 0))
    made.argocd.repo_server_alive = False
    made.api.idle = made.argocd.tick
    return made


def test_where_a_pause_does_not_survive_the_root(run: Run) -> None:
    """The root brings auto-sync back together with the version: under a window of ours it is asked what that does."""
    old = old_incident()
    rescued(run, old)
    assert "automated" not in (old.api.get(APPLICATION, "argocd", "root")["spec"].get("syncPolicy") or {})
    old.argocd.repo_server_alive = True
    old.argocd.run(200, every=5)
    ran = run(old.api, "undo", "--yes")
    assert ran.code == 5 and f"git asks for {BAD}" in ran.err, ran
    assert "automated" not in (old.api.get(APPLICATION, "argocd", "traefik")["spec"].get("syncPolicy") or {})
    old.push(GOOD)
    old.argocd.run(200, every=5)
    images: list[str] = []
    tick = old.argocd.tick

    def watched(seconds: float = 0.5) -> None:
        tick(seconds)
        images.append(image(old))

    old.api.idle = watched
    agreed = run(old.api, "undo", "--yes")
    assert agreed.code == 0, agreed
    old.argocd.run(200, every=5)
    assert {*images, image(old)} == {f"traefik:{GOOD}"}, "2.5.1 was never deployed again"
    for name in ("root", "traefik"):
        live = old.api.get(APPLICATION, "argocd", name)
        assert live["spec"]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_a_comparison_that_lags_behind_our_own_write_blocks_no_owner(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the pause of the Application is back, its root sees it as OutOfSync."""
    old = old_incident()
    rescued(run, old)
    old.argocd.repo_server_alive = True
    old.push(GOOD)
    old.api.edit(
        APPLICATION, "argocd", "traefik", lambda app: app["spec"]["source"].update(targetRevision=GOOD)
    )
    old.argocd.run(200, every=5)

    def is_back() -> bool:
        spec = old.api.get(APPLICATION, "argocd", "traefik")["spec"]
        return bool(spec.get("syncPolicy", {}).get("automated"))

    late = lag(monkeypatch, is_back, 1)
    ran = run(old.api, "undo", "--yes")
    assert (ran.code, late) == (0, [0]), ran.err
    assert old.api.get(APPLICATION, "argocd", "root")["spec"]["syncPolicy"]["automated"]
    assert image(old) == f"traefik:{GOOD}"


def test_the_paused_root_brings_something_else(run: Run, incident: Incident) -> None:
    """Asked under a hold, what the root would bring is not what runs: all stays as it was."""
    assert run(incident.api, "pause", "root", "--yes").code == 0
    rescued(run, incident)
    incident.argocd.repo_server_alive = True
    incident.charts.publish("traefik", "2.6.0", traefik_chart("2.6.0"))
    incident.push("2.6.0")
    incident.argocd.run(200, every=5)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 5, ran
    assert (
        "traefik stays paused: git asks for 2.6.0" in ran.err and "everything is as it was before" in ran.err
    )
    root = incident.api.get(APPLICATION, "argocd", "root")
    assert root["spec"]["syncPolicy"]["automated"]["enabled"] is False
    assert incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]["targetRevision"] == BAD
    assert image(incident) == f"traefik:{GOOD}"
    incident.push(GOOD)
    incident.argocd.run(200, every=5)
    assert run(incident.api, "undo").code == 0
    assert image(incident) == f"traefik:{GOOD}"


def test_an_undo_of_the_undo_watches_over_them_again(run: Run, incident: Incident) -> None:
    rescued(run, incident)
    incident.argocd.repo_server_alive = True
    incident.push(GOOD)
    incident.argocd.run(200, every=5)
    assert run(incident.api, "undo").code == 0
    entry = next(
        e["id"] for e in run(incident.api, "log", "-o", "json").json["data"]["entries"] if e["undoes"]
    )
    assert run(incident.api, "undo", entry, "--yes").code == 0
    incident.push(BAD)
    incident.argocd.run(200, every=5)
    assert run(incident.api, "undo", "traefik").code == 5


def test_undoing_somebody_elses_pause_alone_leaves_it_paused(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pause", "traefik", "--yes").code == 0
    pause = run(incident.api, "log", "-o", "name").out.split()[0]
    rescued(run, incident)
    left = run(incident.api, "undo", pause)
    assert "still needs it" in left.err
    incident.argocd.repo_server_alive = True
    incident.argocd.run(200, every=5)
    assert image(incident) == f"traefik:{GOOD}"
    assert run(incident.api, "undo").code == 5


def test_a_dead_controller_is_no_evidence(run: Run, incident: Incident) -> None:
    rescued(run, incident)
    incident.argocd.controller_alive = False
    ran = run(incident.api, "undo")
    assert ran.code == 5 and "did not compare traefik in time" in ran.err
    assert "cannot compare it now" in ran.err


def test_a_dry_run_writes_nothing(run: Run, incident: Incident) -> None:
    for how in ("client", "server"):
        ran = run(incident.api, "rescue", "traefik", "--workloads", f"--dry-run={how}", "-o", "json")
        assert ran.code == 0, ran
        assert [(e["name"], e["status"]) for e in ran.json["edits"]] == [("traefik", "planned")] * 2
        assert "template" not in ran.out
    assert image(incident) == f"traefik:{BAD}"
    assert not [w for w in incident.api.writes() if w.path.endswith("/configmaps")]


def test_rights_are_asked_for_first(run: Run, incident: Incident) -> None:
    incident.api.deny(verb="patch", resource="deployments")
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--yes")
    assert ran.code == 1 and "you may not as alice patch Deployment traefik/traefik" in ran.err
    assert "nothing was changed" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("2.4.1", "--workloads"),
        ("--workloads", "--pause-only"),
        ("--workloads", "--source", "0"),
        ("--workloads", "--whole-source"),
    ],
)
def test_what_does_not_go_together(run: Run, incident: Incident, words: tuple[str, ...]) -> None:
    assert run(incident.api, "rescue", "traefik", *words).code == 2


def test_nothing_to_take_back(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "rescue", "web", "--workloads", "--yes")
    assert ran.code == 5
    assert "no previous revision" in ran.err and "--pause-only" in ran.err


def test_another_cluster(run: Run, incident: Incident) -> None:
    server = "https://far.invalid"
    incident.api.edit(
        APPLICATION, "argocd", "traefik",
        lambda o: o["spec"].update(destination={"server": server, "namespace": "traefik"}),
    )  # fmt: skip
    without = run(incident.api, "rescue", "traefik", "--workloads", "--yes")
    assert without.code == 5 and "--destination-context NAME" in without.err and server in without.err

    far = traefik_incident()
    far.api.idle = far.argocd.tick
    far.argocd.controller_alive = False
    far.api.where = Target("far", server, "default")
    run.contexts["far"] = far.api
    run.connected.clear()
    near = image(incident)
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--destination-context", "far", "--yes")
    assert ran.code == 0, ran
    assert run.connected == ["", "far"]
    assert image(far) == f"traefik:{GOOD}" and image(incident) == near
    assert "is it the same?" not in ran.err
    entry = run(incident.api, "log", "-o", "name").out.split()[0]
    assert f"it is on {server}" in run(incident.api, "show", entry).out
    assert not [w for w in far.api.writes() if "configmaps" in w.path], "the journal stays with Argo CD"
    told = [e["involvedObject"]["kind"] for e in far.api.objects(EVENT, "traefik")]
    assert told == ["Deployment"]


def test_a_context_that_leads_elsewhere_is_asked_about(run: Run, incident: Incident) -> None:
    incident.api.edit(
        APPLICATION, "argocd", "traefik",
        lambda o: o["spec"].update(destination={"server": "https://far.invalid", "namespace": "traefik"}),
    )  # fmt: skip
    far = traefik_incident()
    run.contexts["far"] = far.api
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--destination-context", "far")
    assert ran.code == 5 and "is it the same?" in ran.err
    assert image(far) == f"traefik:{BAD}"


@pytest.mark.parametrize(
    ("marks", "why"),
    [
        ({"annotations": {TRACKING_ID: "other:apps/Deployment:traefik/traefik"}}, "names Application argocd/other"),
        ({"annotations": {TRACKING_ID: "traefik:apps/Deployment:else/where"}}, "copied from another object"),
        ({"annotations": {}, "labels": {"app.kubernetes.io/instance": "traefik"}}, "means nothing where tracking is"),
        ({"annotations": {}, "labels": {}}, "no Argo CD tracks it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("address", ["https://far.invalid", "https://elsewhere.invalid"])
def test_a_wrong_context_is_noticed(
    run: Run, incident: Incident, marks: dict[str, Any], why: str, address: str
) -> None:
    """A workload of the name is there, of another application: nothing is written, with --yes as well."""
    incident.api.edit(
        APPLICATION, "argocd", "traefik",
        lambda o: o["spec"].update(destination={"server": "https://far.invalid", "namespace": "traefik"}),
    )  # fmt: skip
    far = traefik_incident()
    far.api.where = Target("far", address, "default")
    far.api.edit(DEPLOYMENT, "traefik", "traefik", lambda o: o["metadata"].update(marks))
    run.contexts["far"] = far.api
    before = len(incident.api.writes()), len(far.api.writes())
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--destination-context", "far", "--yes")
    assert ran.code == 5 and why in ran.err and "is not the cluster that" in ran.err, ran
    assert (len(incident.api.writes()), len(far.api.writes())) == before


def test_a_context_for_the_same_cluster_is_refused(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "rescue", "traefik", "--workloads", "--destination-context", "far", "--yes")
    assert ran.code == 5 and "leave --destination-context out" in ran.err


@pytest.mark.parametrize("resource", [STATEFULSET, DAEMONSET])
def test_stateful_and_daemon_sets(resource: Any) -> None:
    api = InMemoryApi(SteppedClock())
    made = deployment("x:2")
    live = api.create({**made, "kind": resource.kind, "metadata": {"name": "x", "namespace": "ns"}})
    owner = {
        "apiVersion": "apps/v1", "kind": resource.kind, "name": "x", "uid": live["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    for number in (1, 2):
        api.create(
            {
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": f"x-{number}",
                    "namespace": "ns",
                    "labels": {"app": "x"},
                    "ownerReferences": [owner],
                },
                "revision": number,
                "data": {"spec": {"template": {**template(f"x:{number}"), "$patch": "replace"}}},
            }
        )
    assert len(api.objects(CONTROLLERREVISION)) == 2
    cluster = Cluster(api)
    decision = decide(workload_writes.read_history(cluster, Key(resource.kind, "ns", "x")))
    assert decision.current and decision.target
    step = WorkloadRollback(
        ref_of(live), APP, decision.current.number, decision.target.number, decision.target.name, "back"
    )
    assert workload_writes.roll_back(cluster, step).status is StepStatus.APPLIED
    assert workloads.same(api.get(resource, "ns", "x")["spec"]["template"], template("x:1"))


# -- the plan


def planned(*histories: History | None) -> Any:
    it = history_app((1, "2.4.1", 0), status="OutOfSync", revision="2.5.1")
    it["metadata"]["uid"] = "u"
    key = ref_of(it).key
    named = {Key("Deployment", "ns", f"x{i}"): history for i, history in enumerate(histories)}
    snapshot = Snapshot(ArgoCD("argocd"), {key: it}, T0 + timedelta(hours=9))
    return plan_workloads(snapshot, key, Workloads(named), ()).plan


def test_a_workload_that_is_listed_and_not_there_is_said() -> None:
    plan = planned(past(replica_set("1", "x:1"), replica_set("2", "x:2")), None)
    assert "Deployment ns/x1 is listed by x but is not there" in plan.warnings
    assert [s.to_revision for s in plan.steps if isinstance(s, WorkloadRollback)] == [1]


def named_by(app: str) -> History:
    """A Deployment that this application tracks, with something to go back to."""
    live = deployment()
    live["metadata"]["annotations"] = {TRACKING_ID: f"{app}:apps/Deployment:ns/x"}
    return past(replica_set("1", "x:1"), replica_set("2", "x:2"), live=live)


def test_of_two_applications_with_one_workload_it_is_the_one_that_it_names() -> None:
    plan = planned(named_by("x"), named_by("other"))
    assert len([s for s in plan.steps if isinstance(s, WorkloadRollback)]) == 1
    left = [u.detail for u in plan.unchanged if u.action == ROLLED_BACK]
    assert len(left) == 1 and "names Application argocd/other" in left[0]
    with pytest.raises(RefusedError, match="names Application argocd/other"):
        planned(named_by("other"))


@pytest.mark.parametrize("own", [True, False])
def test_whose_a_workload_is(own: bool) -> None:
    """By the method that is set; where that may not be read the tracking id counts before the label."""
    it = deployment()
    it["metadata"]["labels"] = {"app.kubernetes.io/instance": "x" if own else "other"}
    key = Key("Application", "argocd", "x")
    unknown = ArgoCD("argocd", settings_are_known=False)
    assert ownership.not_of(it, key, unknown) is None
    assert (ownership.not_of(it, key, ArgoCD("argocd", tracking=Tracking.LABEL)) is None) is own
    del it["metadata"]["annotations"]
    assert (ownership.not_of(it, key, unknown) is None) is own
    assert ownership.not_of(it, key, ArgoCD("argocd")) is not None


def test_a_workload_that_would_not_follow_refuses_all() -> None:
    paused = past(replica_set("1", "x:1"), replica_set("2", "x:2"), live=deployment(paused=True))
    with pytest.raises(RefusedError, match="rollout resume"):
        planned(past(replica_set("1", "x:1"), replica_set("2", "x:2")), paused)


@pytest.mark.parametrize(
    ("histories", "why"),
    [
        ((), "it lists no Deployment, StatefulSet, DaemonSet or Rollout"),
        ((None,), "it lists no Deployment, StatefulSet, DaemonSet or Rollout"),
        ((past(replica_set("2", "x:2")),), "it has no previous revision"),
    ],
)
def test_nothing_to_take_back_is_refused(histories: tuple[History | None, ...], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        planned(*histories)
