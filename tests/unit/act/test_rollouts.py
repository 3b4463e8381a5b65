"""A rescue of an Argo Rollout as a whole command line: it halts, goes on with --full, aborts; who may not is told."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, DEPLOYMENT, JSON, ROLLOUT
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import application
from tests.testbed.sources import project

from ..harness import Run

REFRESH = "argocd.argoproj.io/refresh"
NEXT = "Next: kubectl argo-rescue rescue traefik --full"


def _status(health: str) -> JSON:
    source = {"repoURL": "https://charts.example.com", "chart": "traefik", "targetRevision": "2.4.1"}
    here = {"server": "https://kubernetes.default.svc", "namespace": "edge"}
    line = {"group": "argoproj.io", "version": "v1alpha1", "kind": "Rollout", "namespace": "edge"}
    return {
        "health": {"status": health},
        "reconciledAt": "2026-01-02T10:00:00Z",
        "history": [{"id": 1, "revision": "2.4.1", "source": source, "deployedAt": "2026-01-02T10:00:00Z"}],
        "operationState": {
            "phase": "Succeeded", "startedAt": "2026-01-02T10:00:00Z", "finishedAt": "2026-01-02T10:00:01Z",
            "operation": {"sync": {"revision": "2.4.1"}}, "syncResult": {"revision": "2.4.1", "source": source},
        },
        "resources": [{**line, "name": "traefik", "status": "Synced"}],
        "sync": {
            "status": "Synced", "revision": "2.4.1", "comparedTo": {"source": source, "destination": here}
        },
    }  # fmt: skip


def _replica_set(uid: str, pod_hash: str, number: int, version: str) -> JSON:
    labels = {"app": "traefik", "rollouts-pod-template-hash": pod_hash}
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "traefik", "uid": uid}
    meta = {
        "name": f"traefik-{pod_hash}",
        "namespace": "edge",
        "labels": labels,
        "annotations": {"rollout.argoproj.io/revision": str(number)},
        "ownerReferences": [{**owner, "controller": True}],
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "t", "image": f"t:{version}"}]},
    }
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": {"template": template}}


def _canary(version: str, *, stable: str, current: str, number: int) -> tuple[InMemoryApi, JSON]:
    """A Rollout whose new version waits at its pause, in an app of which git asks for it."""
    api = InMemoryApi(SteppedClock())
    meta = {"name": "argocd-cm", "namespace": "argocd"}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    api.create(project("default"))
    source = {"repoURL": "https://charts.example.com", "chart": "traefik", "targetRevision": "2.4.1"}
    app = application("traefik", project="default", source=source, namespace="edge")
    api.create({**app, "status": _status("Suspended")})
    pause = {"reason": "CanaryPauseStep", "startTime": "2026-01-02T10:00:00Z"}
    live = api.create(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {
                "name": "traefik",
                "namespace": "edge",
                "annotations": {
                    "rollout.argoproj.io/revision": str(number),
                    "argocd.argoproj.io/tracking-id": "traefik:argoproj.io/Rollout:edge/traefik",
                },
            },
            "spec": {
                "replicas": 2,
                "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
                "template": {
                    "metadata": {"labels": {"app": "traefik"}},
                    "spec": {"containers": [{"name": "t", "image": f"t:{version}"}]},
                },
            },
        }
    )

    def waits(obj: Any) -> None:
        obj["status"] = {
            "observedGeneration": "1", "phase": "Paused", "currentStepIndex": 1, "pauseConditions": [pause],
            "stableRS": stable, "currentPodHash": current, "replicas": 2, "updatedReplicas": 1,
            "availableReplicas": 2,
        }  # fmt: skip

    api.edit(ROLLOUT, "edge", "traefik", waits)
    before = "good" if stable == current else stable
    for pod_hash, n in ((before, number - 1), (current, number)):
        api.create(_replica_set(live["metadata"]["uid"], pod_hash, n, version if n == number else "old"))
    api.idle = lambda: _controller(api)
    return api, live


def _controller(api: InMemoryApi) -> None:
    """Do what Argo Rollouts does with a promotion or an abort, and Argo CD with a refresh."""
    annotations = api.get(APPLICATION, "argocd", "traefik")["metadata"].get("annotations") or {}
    if REFRESH in annotations:

        def compared(obj: Any) -> None:
            del obj["metadata"]["annotations"][REFRESH]
            obj["status"]["reconciledAt"] = f"{api.clock():%Y-%m-%dT%H:%M:%SZ}"

        api.edit(APPLICATION, "argocd", "traefik", compared)
    status = api.get(ROLLOUT, "edge", "traefik")["status"]
    done: JSON = None
    if status.get("promoteFull"):
        done = {
            "promoteFull": None,
            "phase": "Healthy",
            "stableRS": status["currentPodHash"],
            "updatedReplicas": 2,
        }
    elif status.get("abort") and not status.get("abortedAt"):
        done = {"phase": "Degraded", "abortedAt": "2026-01-02T10:00:00Z", "updatedReplicas": 0}
    if done:
        api.edit(
            ROLLOUT, "edge", "traefik", lambda obj: obj["status"].update({**done, "pauseConditions": []})
        )
        health = "Healthy" if done["phase"] == "Healthy" else "Degraded"
        api.edit(APPLICATION, "argocd", "traefik", lambda obj: obj.update(status=_status(health)))


@pytest.fixture
def promoted() -> InMemoryApi:
    """The good version's canary, while what is fled from is the stable one."""
    return _canary("2.4.1", stable="bad", current="good", number=3)[0]


def test_it_halts_and_goes_on_with_full(run: Run, promoted: InMemoryApi) -> None:
    halted = run(promoted, "rescue", "traefik", "2.4.1", "--yes")
    assert (halted.code, NEXT in halted.err) == (4, True), halted.err
    assert "starts a new canary, which waits for somebody at step 2" in halted.err
    assert "synced to" not in halted.out

    done = run(promoted, "rescue", "traefik", "2.4.1", "--full", "--yes", "-o", "json")
    assert done.code == 0, done.err
    written = [r for r in promoted.writes() if "/rollouts/" in r.path]
    assert [r.path.rpartition("/rollouts/")[2] for r in written] == ["traefik/status"]
    assert promoted.get(ROLLOUT, "edge", "traefik")["status"]["stableRS"] == "good"
    shown = run(promoted, "show", done.json["entry"])
    assert "/status/promoteFull: true" in shown.out
    handed = run(promoted, "undo", "--yes")
    assert handed.code == 0, handed.err
    assert run(promoted, "log", "--open", "-o", "name").out == ""


def test_a_watch_of_what_is_not_ours_names_the_plugin_of_rollouts(run: Run, promoted: InMemoryApi) -> None:
    watched = run(promoted, "watch", "traefik")
    assert watched.code == 4 and "kubectl argo rollouts promote" in watched.err
    assert NEXT not in watched.err


def test_who_may_not_promote_is_told_before_anything_is_written(run: Run, promoted: InMemoryApi) -> None:
    promoted.deny("patch", "rollouts/status")
    ran = run(promoted, "rescue", "traefik", "2.4.1", "--full", "--yes")
    assert ran.code == 1 and "patch Rollout/status edge/traefik" in ran.err
    assert not promoted.writes()


def test_one_that_is_not_promoted_is_aborted(run: Run) -> None:
    api, live = _canary("2.5.1", stable="good", current="bad", number=2)
    dry = run(api, "rescue", "traefik", "--workloads", "--dry-run")
    assert "rollout.argoproj.io/traefik canary aborted" in dry.out
    done = run(api, "rescue", "traefik", "--workloads", "--yes")
    assert done.code == 0, done.err
    now = api.get(ROLLOUT, "edge", "traefik")
    assert now["status"]["abort"] is True and now["spec"] == live["spec"]
    assert "2 of 2 available, of the stable version" in done.out
    again = run(api, "rescue", "traefik", "--workloads", "--yes")
    assert again.code == 0 and "taken back already" in again.out and "new canary" not in again.err
    undone = run(api, "undo", "--yes")
    assert undone.code == 0, undone.err
    assert api.get(ROLLOUT, "edge", "traefik")["status"]["abort"] is True, "undo lets it be"


def test_full_waits_and_pauses_nothing_alone(run: Run, promoted: InMemoryApi) -> None:
    for flag in ("--no-wait", "--pause-only"):
        assert run(promoted, "rescue", "traefik", "--full", flag).code == 2


def test_one_of_the_same_name_beside_argo_cd_is_left_alone(run: Run, promoted: InMemoryApi) -> None:
    def deploys_elsewhere(app: Any) -> None:
        app["spec"]["destination"] = {"server": "https://edge.example.com", "namespace": "edge"}

    promoted.edit(APPLICATION, "argocd", "traefik", deploys_elsewhere)
    ran = run(promoted, "rescue", "traefik", "2.4.1", "--full", "--yes", "--timeout", "5s")
    assert ran.code == 4 and "Rollout traefik waits for somebody to go on, as Argo CD says" in ran.err
    assert not [r for r in promoted.requests if "/rollouts/" in r.path]


def _referring(*, stable: str, current: str) -> InMemoryApi:
    """A Rollout whose template is that of a Deployment beside it, which asks for what is fled from."""
    api, live = _canary("2.5.1", stable=stable, current=current, number=2)
    tracking = {"argocd.argoproj.io/tracking-id": "traefik:apps/Deployment:edge/traefik"}
    revision = "deployment.kubernetes.io/revision"
    made = api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "traefik", "namespace": "edge", "annotations": {**tracking, revision: "2"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "traefik"}},
                "template": live["spec"]["template"],
            },
        }
    )
    for number, version in ((1, "old"), (2, "2.5.1")):
        replica_set = _replica_set(made["metadata"]["uid"], f"d{number}", number, version)
        replica_set["metadata"]["annotations"] = {revision: str(number)}
        replica_set["metadata"]["ownerReferences"][0]["kind"] = "Deployment"
        api.create(replica_set)

    def refers(obj: Any) -> None:
        del obj["spec"]["template"]
        obj["spec"]["workloadRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "traefik"}
        obj["status"] |= {"observedGeneration": "2", "workloadObservedGeneration": "1"}
        if stable == current:
            obj["status"] |= {"phase": "Healthy", "pauseConditions": [], "updatedReplicas": 2}

    api.edit(ROLLOUT, "edge", "traefik", refers)
    api.edit(
        APPLICATION,
        "argocd",
        "traefik",
        lambda app: app["status"]["resources"].append(
            {
                "group": "apps",
                "kind": "Deployment",
                "namespace": "edge",
                "name": "traefik",
                "status": "Synced",
            }
        ),
    )
    api.idle = lambda: _follows(api)
    return api


def _follows(api: InMemoryApi) -> None:
    """Do what both controllers do with another template of the Deployment; a canary halts at its pause."""
    deployment = api.get(DEPLOYMENT, "edge", "traefik")
    generation = deployment["metadata"]["generation"]
    api.edit(DEPLOYMENT, "edge", "traefik", lambda obj: obj.update(status={"observedGeneration": generation}))
    status = api.get(ROLLOUT, "edge", "traefik")["status"]
    if status.get("promoteFull"):
        _controller(api)
    elif status["workloadObservedGeneration"] != str(generation):

        def looked(obj: Any) -> None:
            now = obj["status"]
            now["workloadObservedGeneration"] = str(generation)
            if now["stableRS"] == "good":
                now |= {"currentPodHash": "good", "phase": "Healthy", "pauseConditions": []}
            else:
                pause = {"reason": "CanaryPauseStep", "startTime": "2026-01-02T10:00:00Z"}
                now |= {"currentPodHash": "good", "phase": "Paused", "pauseConditions": [pause]}
                now["updatedReplicas"] = 1

        api.edit(ROLLOUT, "edge", "traefik", looked)


def test_one_that_has_its_template_elsewhere_follows_and_is_waited_for(run: Run) -> None:
    api = _referring(stable="good", current="bad")
    done = run(api, "rescue", "traefik", "--workloads", "--yes")
    assert done.code == 0, done.err
    assert "follows Deployment edge/traefik, whose template it has" in done.out
    written = [
        r.path.rpartition("/edge/")[2] for r in api.writes() if "/edge/" in r.path and r.method == "PATCH"
    ]
    assert written == ["deployments/traefik"]
    assert api.get(ROLLOUT, "edge", "traefik")["status"]["currentPodHash"] == "good"


def test_one_that_follows_to_an_older_version_halts_and_is_never_aborted_on_the_way(run: Run) -> None:
    api = _referring(stable="bad", current="bad")
    halted = run(api, "rescue", "traefik", "--workloads", "--yes")
    assert halted.code == 4 and "starts a new canary" in halted.err, halted.err
    assert "--workloads --full" in halted.err
    done = run(api, "rescue", "traefik", "--workloads", "--full", "--yes")
    assert done.code == 0, done.err
    status = api.get(ROLLOUT, "edge", "traefik")["status"]
    assert status["stableRS"] == "good" and "abort" not in status


def test_one_whose_template_was_taken_back_is_promoted_fully(run: Run) -> None:
    api, _ = _canary("2.5.1", stable="bad", current="bad", number=2)

    def is_promoted(obj: Any) -> None:
        obj["status"] |= {"phase": "Healthy", "pauseConditions": [], "updatedReplicas": 2}

    api.edit(ROLLOUT, "edge", "traefik", is_promoted)

    def follows() -> None:
        live = api.get(ROLLOUT, "edge", "traefik")
        if live["status"].get("promoteFull"):
            _controller(api)
        elif live["status"]["observedGeneration"] != str(live["metadata"]["generation"]):

            def looked(obj: Any) -> None:
                pause = {"reason": "CanaryPauseStep", "startTime": "2026-01-02T10:00:00Z"}
                obj["status"] |= {
                    "observedGeneration": str(obj["metadata"]["generation"]),
                    "updatedReplicas": 1,
                }
                obj["status"] |= {"currentPodHash": "good", "phase": "Paused", "pauseConditions": [pause]}
                obj["metadata"]["annotations"]["rollout.argoproj.io/revision"] = "3"

            api.edit(ROLLOUT, "edge", "traefik", looked)

    api.idle = follows
    halted = run(api, "rescue", "traefik", "--workloads", "--yes")
    assert halted.code == 4, halted.err
    done = run(api, "rescue", "traefik", "--workloads", "--full", "--yes")
    assert done.code == 0, done.err
    assert "kubectl argo rollouts -n edge undo traefik" in done.out
    assert api.get(ROLLOUT, "edge", "traefik")["status"]["stableRS"] == "good"
