"""The simulated Argo CD against what was measured with the real controllers.

Covered: every row of design.md §1's table (`TestMeasured`); auto-sync, self-heal and retry rules;
operations, windows, termination by version; refresh and reconciledAt; drift and ignored
differences; tracking methods; ApplicationSet policies; dead controllers; the workloads.
Left out: hooks, waves, hydrator, RollingSync, project permissions; they are not simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubectl_argo_rescue.model.values import (
    APPLICATION,
    APPLICATIONSET,
    APPPROJECT,
    CONFIGMAP,
    CONTROLLERREVISION,
    DEPLOYMENT,
    REPLICASET,
    SERVICE,
    STATEFULSET,
)
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.argocd import SimulatedArgoCD
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.diffing import (
    applied,
    differs,
    dropped,
    matching_pointers,
    with_pointers_of,
    without_pointers,
)
from kubectl_argo_rescue.simulation.incident import (
    BAD,
    CHARTS,
    GIT,
    GOOD,
    Incident,
    application,
    apps_in_git,
    deployment,
    installation,
    traefik_incident,
)
from kubectl_argo_rescue.simulation.sources import ChartRepository, GitRepository, SourceError, Sources
from kubectl_argo_rescue.simulation.wire import timestamp

from ..build import app_in

AUTOMATED = {"prune": True, "selfHeal": True}


def edit(incident: Incident, name: str, change: Callable[[Any], Any]) -> None:
    incident.api.edit(APPLICATION, "argocd", name, change)


def pause(incident: Incident, name: str) -> None:
    def change(live: Any) -> None:
        del live["spec"]["syncPolicy"]["automated"]

    edit(incident, name, change)


def resume(incident: Incident, name: str) -> None:
    def change(live: Any) -> None:
        live["spec"]["syncPolicy"] = {"automated": dict(AUTOMATED)}

    edit(incident, name, change)


def pin(incident: Incident, version: str, name: str = "traefik") -> None:
    def change(live: Any) -> None:
        live["spec"]["source"]["targetRevision"] = version

    edit(incident, name, change)


def set_windows(incident: Incident, windows: list[Any]) -> None:
    def change(live: Any) -> None:
        live["spec"]["syncWindows"] = windows

    incident.api.edit(APPPROJECT, "argocd", "cluster", change)


def windows(incident: Incident) -> Any:
    return incident.api.get(APPPROJECT, "argocd", "cluster")["spec"]["syncWindows"]


def unblock(incident: Incident) -> None:
    set_windows(incident, [{**windows(incident)[0], "applications": ["web"]}])


def operate(incident: Incident, name: str = "traefik", **operation: Any) -> None:
    def change(live: Any) -> None:
        live["operation"] = {"sync": {}, "initiatedBy": {"username": "alice"}, **operation}
        live["status"].pop("operationState", None)

    edit(incident, name, change)


def terminate(incident: Incident, name: str = "traefik") -> None:
    def change(live: Any) -> None:
        live["status"]["operationState"]["phase"] = "Terminating"

    edit(incident, name, change)


def refresh(incident: Incident, name: str) -> None:
    def change(live: Any) -> None:
        live["metadata"].setdefault("annotations", {})["argocd.argoproj.io/refresh"] = "normal"

    edit(incident, name, change)


def state(incident: Incident, name: str = "traefik") -> Any:
    return app_in(incident, name)["status"]["operationState"]


def image(incident: Incident, name: str = "traefik") -> str:
    live = incident.api.get(DEPLOYMENT, name, name)
    return str(live["spec"]["template"]["spec"]["containers"][0]["image"])


def outside_windows(incident: Incident) -> None:
    incident.clock.now = incident.clock().replace(day=30, hour=10)


def listed(incident: Incident, parent: str, name: str) -> str:
    resources = app_in(incident, parent)["status"]["resources"]
    return str(next(r["status"] for r in resources if r["name"] == name))


def target_revision(incident: Incident, name: str = "traefik") -> str:
    return str(app_in(incident, name)["spec"]["source"]["targetRevision"])


def deployed(incident: Incident, name: str = "traefik") -> list[str]:
    return [entry["revision"] for entry in app_in(incident, name)["status"]["history"]]


class TestMeasured:
    def test_pin_without_pausing_root_is_reverted_within_a_second(self, incident: Incident) -> None:
        pin(incident, GOOD)
        incident.argocd.run(1)
        assert target_revision(incident) == BAD
        assert image(incident) == f"traefik:{BAD}"

    def test_a_window_edited_without_pausing_root_is_reverted_within_seconds(
        self, incident: Incident
    ) -> None:
        before = windows(incident)
        unblock(incident)
        incident.argocd.run(3)
        assert windows(incident) == before

    def test_an_operation_inside_a_deny_window_is_blocked_for_ever(self, incident: Incident) -> None:
        operate(incident)
        incident.argocd.run(900, every=5)
        assert (state(incident)["phase"], state(incident)["message"]) == (
            "Running",
            "Sync operation blocked by sync window",
        )
        assert app_in(incident, "traefik")["operation"]

    @pytest.mark.parametrize(("version", "phase"), [((3, 2), "Terminating"), ((3, 6), "Failed")])
    def test_terminating_a_blocked_operation_hangs_on_3_2(self, version: tuple[int, int], phase: str) -> None:
        incident = traefik_incident(version=version)
        operate(incident)
        incident.argocd.run(2)
        terminate(incident)
        incident.argocd.run(60)
        assert state(incident)["phase"] == phase
        assert ("operation" in app_in(incident, "traefik")) == (phase == "Terminating")

    def test_enabled_false_added_to_a_child_stays(self, incident: Incident) -> None:
        def change(live: Any) -> None:
            live["spec"]["syncPolicy"]["automated"]["enabled"] = False

        edit(incident, "traefik", change)
        incident.argocd.run(200, every=2)
        assert app_in(incident, "traefik")["spec"]["syncPolicy"]["automated"] == {
            **AUTOMATED,
            "enabled": False,
        }
        assert listed(incident, "root", "traefik") == "Synced"

    def test_pause_unblock_pin_rolls_back_about_a_second_after_the_last_edit(
        self, incident: Incident
    ) -> None:
        pause(incident, "root")
        incident.argocd.tick()
        unblock(incident)
        incident.argocd.tick()
        assert image(incident) == f"traefik:{BAD}"
        pin(incident, GOOD)
        incident.argocd.run(1)
        assert image(incident) == f"traefik:{GOOD}"
        incident.argocd.run(5)
        status = incident.api.get(DEPLOYMENT, "traefik", "traefik")["status"]
        assert (status["availableReplicas"], status["observedGeneration"]) == (2, 3)
        assert app_in(incident, "traefik")["status"]["health"]["status"] == "Healthy"
        incident.argocd.run(600, every=10)
        assert image(incident) == f"traefik:{GOOD}"

    def test_naive_undo_after_git_was_fixed_deploys_the_bad_version_again(self, incident: Incident) -> None:
        before = windows(incident)
        pause(incident, "root")
        unblock(incident)
        pin(incident, GOOD)
        incident.argocd.run(5)
        incident.push(GOOD)
        seen = []
        pin(incident, BAD)
        incident.argocd.tick()
        seen.append(image(incident))
        set_windows(incident, before)
        incident.argocd.tick()
        seen.append(image(incident))
        resume(incident, "root")
        assert f"traefik:{BAD}" in seen

    def test_the_paused_root_says_per_child_whether_live_equals_git(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)
        pin(incident, GOOD)
        incident.argocd.run(2)
        assert [listed(incident, "root", name) for name in ("traefik", "cluster", "web")] == [
            "OutOfSync",
            "OutOfSync",
            "Synced",
        ]
        commit = incident.push(GOOD)
        incident.argocd.run(2)
        assert listed(incident, "root", "traefik") == "OutOfSync"
        refresh(incident, "root")
        incident.argocd.run(1)
        assert listed(incident, "root", "traefik") == "Synced"
        assert app_in(incident, "root")["status"]["sync"]["revision"] == commit

    def test_a_child_of_an_application_set_is_reverted_after_a_short_rollout(self) -> None:
        incident = in_a_set()
        pin(incident, GOOD)
        incident.argocd.tick()
        assert image(incident) == f"traefik:{GOOD}"
        incident.argocd.run(3)
        assert (target_revision(incident), image(incident)) == (BAD, f"traefik:{BAD}")

    def test_a_refresh_that_falls_into_a_comparison_under_way_is_lost(self, incident: Incident) -> None:
        """The round that is done first began before it; what it says is of then."""
        pause(incident, "root")
        pin(incident, GOOD)
        incident.argocd.run(2)
        assert listed(incident, "root", "traefik") == "OutOfSync"
        incident.argocd.slow.add("argocd/root")
        refresh(incident, "root")
        incident.argocd.tick()
        began = incident.clock()
        pin(incident, BAD)
        refresh(incident, "root")
        incident.clock.advance(2)
        incident.argocd.step()
        root = app_in(incident, "root")
        assert "annotations" not in root["metadata"], "taken away, and not answered"
        assert root["status"]["reconciledAt"] == timestamp(began)
        assert listed(incident, "root", "traefik") == "OutOfSync"
        incident.argocd.run(3)
        assert listed(incident, "root", "traefik") == "Synced", "an event brought the next"

    def test_auto_sync_acts_on_what_its_comparison_began_with(self, incident: Incident) -> None:
        """A hold that is placed meanwhile does not stop it."""
        unblock(incident)
        pause(incident, "root")
        incident.argocd.settle()
        incident.argocd.slow.add("argocd/traefik")
        pin(incident, GOOD)
        incident.argocd.tick()
        pause(incident, "traefik")
        incident.argocd.run(2)
        assert image(incident) == f"traefik:{GOOD}"

    def test_a_set_writes_its_version_once_only_the_rule_for_that_is_gone(self) -> None:
        incident = in_a_set()
        both = {"name": "traefik", "jsonPointers": ["/spec/source/targetRevision", "/spec/syncPolicy"]}
        set_rules(incident, [both])
        incident.argocd.run(3)
        pin(incident, GOOD)
        incident.argocd.run(3)
        pause(incident, "traefik")
        generation = incident.api.get(DEPLOYMENT, "traefik", "traefik")["metadata"]["generation"]
        set_rules(incident, [{**both, "jsonPointers": ["/spec/syncPolicy"]}])
        incident.argocd.run(10)
        app = app_in(incident, "traefik")
        assert (target_revision(incident), app["status"]["sync"]["status"]) == (BAD, "OutOfSync")
        now = incident.api.get(DEPLOYMENT, "traefik", "traefik")["metadata"]["generation"]
        assert (image(incident), now) == (f"traefik:{GOOD}", generation)

    @pytest.mark.parametrize("version", [(3, 2), (3, 6)])
    def test_rolling_sync_starts_syncs_of_apps_that_are_held(self, version: tuple[int, int]) -> None:
        """Of the version that its set writes, unless a window holds or the set may only create."""
        incident = in_a_set(version)
        both = {"name": "traefik", "jsonPointers": ["/spec/source/targetRevision", "/spec/syncPolicy"]}

        def rolling(live: Any) -> None:
            live["spec"]["strategy"] = {"type": "RollingSync", "rollingSync": {"steps": []}}
            live["spec"]["ignoreApplicationDifferences"] = [both]

        edit_set(incident, rolling)
        pin(incident, GOOD)
        incident.argocd.run(5)
        assert image(incident) == f"traefik:{GOOD}"
        pause(incident, "traefik")
        window = {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["traefik"]}
        held: list[list[Any]] = [[window], []]
        for windows_now in held:

            def freeze(live: Any, now: list[Any] = windows_now) -> None:
                live["spec"]["syncWindows"] = now

            incident.api.edit(APPPROJECT, "argocd", "default", freeze)
            set_rules(incident, [{**both, "jsonPointers": ["/spec/syncPolicy"]}])
            incident.argocd.run(10)
            assert target_revision(incident) == BAD
            assert image(incident) == (f"traefik:{GOOD}" if windows_now else f"traefik:{BAD}")
        started = state(incident)["operation"]["initiatedBy"]
        assert started == {"username": "applicationset-controller", "automated": True}

    def test_an_ignore_rule_of_the_set_holds_the_pin_until_it_goes(self) -> None:
        incident = in_a_set()
        rule = {"name": "traefik", "jsonPointers": ["/spec/source/targetRevision", "/spec/syncPolicy"]}
        set_rules(incident, [rule])
        incident.argocd.run(3)
        pin(incident, GOOD)
        pause(incident, "traefik")
        incident.argocd.run(60)
        assert target_revision(incident) == GOOD
        assert "syncPolicy" not in app_in(incident, "traefik")["spec"]
        set_rules(incident, [])
        incident.argocd.run(3)
        assert (target_revision(incident), image(incident)) == (BAD, f"traefik:{BAD}")

    def test_terminating_first_then_the_window_applies_nothing(self, incident: Incident) -> None:
        pause(incident, "root")
        pin(incident, GOOD)
        pause(incident, "traefik")
        operate(incident)
        incident.argocd.run(2)
        terminate(incident)
        incident.argocd.run(2)
        unblock(incident)
        incident.argocd.run(4)
        assert (state(incident)["phase"], state(incident)["message"]) == ("Failed", "Operation terminated")
        assert image(incident) == f"traefik:{BAD}"

    def test_the_first_pass_of_a_manual_operation_counts_as_automatic(self, incident: Incident) -> None:
        pause(incident, "root")
        pause(incident, "traefik")
        set_windows(
            incident,
            [
                {
                    "kind": "deny",
                    "schedule": "* * * * *",
                    "duration": "1h",
                    "applications": ["*"],
                    "manualSync": True,
                }
            ],
        )
        operate(incident)
        incident.argocd.tick()
        assert state(incident)["message"] == "Sync operation blocked by sync window"
        incident.argocd.tick()
        assert state(incident)["phase"] == "Succeeded"

    def test_history_after_such_a_fight(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)
        for version in (GOOD, BAD):
            pin(incident, version)
            incident.argocd.run(5)
        assert deployed(incident) == [GOOD, BAD, GOOD, BAD]

    def test_the_empty_sync_policy_goes_so_that_a_plain_inverse_fails(self, incident: Incident) -> None:
        pause(incident, "root")
        assert app_in(incident, "root")["spec"]["syncPolicy"] == {}
        refresh(incident, "root")
        incident.argocd.tick()
        assert "syncPolicy" not in app_in(incident, "root")["spec"]
        response = incident.api.request(
            "PATCH",
            "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/root",
            headers={"Content-Type": "application/json-patch+json"},
            body=b'[{"op":"add","path":"/spec/syncPolicy/automated","value":{}}]',
        )
        assert response.status == 422


def in_a_set(version: tuple[int, int] = (3, 2)) -> Incident:
    """traefik generated by an ApplicationSet, windows open, root without it."""
    incident = traefik_incident(version=version)
    incident.git.commit({"apps": [apps_in_git(BAD)[2]]})
    pause(incident, "root")
    incident.api.remove(APPLICATION, "argocd", "traefik")
    spec = apps_in_git(BAD)[1]["spec"]
    spec["project"] = "default"
    spec["source"]["targetRevision"] = "{{version}}"
    incident.api.create(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": "ingress", "namespace": "argocd"},
            "spec": {
                "generators": [{"list": {"elements": [{"name": "traefik", "version": BAD}]}}],
                "template": {"metadata": {"name": "{{ .name }}"}, "spec": spec},
            },
        }
    )
    incident.argocd.run(5)
    assert app_in(incident, "traefik")["status"]["sync"]["status"] == "Synced"
    return incident


def edit_set(incident: Incident, change: Callable[[Any], Any]) -> None:
    incident.api.edit(APPLICATIONSET, "argocd", "ingress", change)


def set_rules(incident: Incident, rules: list[Any]) -> None:
    def change(live: Any) -> None:
        live["spec"]["ignoreApplicationDifferences"] = rules

    edit_set(incident, change)


class TestApplicationSets:
    @pytest.mark.parametrize("policy", ["create-only", "create-delete"])
    def test_policies_that_do_not_update_leave_a_pin_alone(self, policy: str) -> None:
        incident = in_a_set()

        def change(live: Any) -> None:
            live["spec"]["syncPolicy"] = {"applicationsSync": policy}

        edit_set(incident, change)
        incident.argocd.tick()
        pin(incident, GOOD)
        incident.argocd.run(5)
        assert target_revision(incident) == GOOD
        incident.argocd.application_sets.allows_override = False
        incident.argocd.run(5)
        assert target_revision(incident) == BAD

    def test_even_an_added_key_is_drift(self) -> None:
        incident = in_a_set()

        def change(live: Any) -> None:
            live["spec"]["syncPolicy"]["automated"]["enabled"] = False

        edit(incident, "traefik", change)
        incident.argocd.run(2)
        assert "enabled" not in app_in(incident, "traefik")["spec"]["syncPolicy"]["automated"]

    def test_annotations_are_wiped_but_the_preserved_ones(self) -> None:
        incident = in_a_set()

        def preserve(live: Any) -> None:
            live["spec"]["preservedFields"] = {"annotations": ["keep"], "labels": ["stay"]}

        def annotate(live: Any) -> None:
            live["metadata"]["annotations"] = {"keep": "1", "mine": "1"}
            live["metadata"]["labels"] = {"stay": "1", "other": "1"}
            live["metadata"]["finalizers"] = ["post-delete-finalizer.argocd.argoproj.io"]

        edit_set(incident, preserve)
        edit(incident, "traefik", annotate)
        incident.argocd.tick()
        meta = app_in(incident, "traefik")["metadata"]
        assert (meta["annotations"], meta["labels"]) == ({"keep": "1"}, {"stay": "1"})
        assert meta["finalizers"] == [
            "resources-finalizer.argocd.argoproj.io",
            "post-delete-finalizer.argocd.argoproj.io",
        ]

    def test_a_removed_element_deletes_its_app_unless_the_policy_keeps_it(self) -> None:
        incident = in_a_set()

        def empty(live: Any) -> None:
            live["spec"]["generators"] = [{"list": {"elements": []}}]
            live["spec"]["syncPolicy"] = {"applicationsSync": "create-update"}

        edit_set(incident, empty)
        incident.argocd.tick()
        assert app_in(incident, "traefik")

        def allow(live: Any) -> None:
            del live["spec"]["syncPolicy"]

        edit_set(incident, allow)
        incident.argocd.run(3)
        assert incident.api.find(APPLICATION, "argocd", "traefik") is None
        assert incident.api.find(DEPLOYMENT, "traefik", "traefik") is None

    def test_status_mirrors_each_app_and_a_dead_controller_reverts_nothing(self) -> None:
        incident = in_a_set()
        resources = incident.api.get(APPLICATIONSET, "argocd", "ingress")["status"]["resources"]
        assert [(r["name"], r["status"]) for r in resources] == [("traefik", "Synced")]
        incident.argocd.appset_alive = False
        pin(incident, GOOD)
        incident.argocd.run(5)
        assert image(incident) == f"traefik:{GOOD}"

    def test_apps_go_with_their_set(self) -> None:
        incident = in_a_set()
        incident.api.delete(APPLICATIONSET, "argocd", "ingress")
        incident.argocd.run(2)
        assert incident.api.find(APPLICATION, "argocd", "traefik") is None
        assert incident.api.objects(REPLICASET, "traefik") == []

    def test_other_generators_take_their_parameters_from_the_test(self) -> None:
        incident = in_a_set()

        def clusters(live: Any) -> None:
            live["spec"]["generators"] = [{"clusters": {}}]

        edit_set(incident, clusters)
        incident.argocd.application_sets.generated["argocd/ingress"] = [{"name": "edge", "version": GOOD}]
        incident.argocd.run(2)
        assert target_revision(incident, "edge") == GOOD

    def test_a_list_is_replaced_whole_where_anything_else_in_it_differs(self) -> None:
        incident = in_a_set()

        def several(live: Any) -> None:
            spec = live["spec"]["template"]["spec"]
            spec["sources"] = [spec.pop("source")]

        edit_set(incident, several)
        set_rules(incident, [{"jsonPointers": ["/spec/sources/0/targetRevision"]}])
        incident.argocd.run(2)

        def pinned(live: Any) -> None:
            live["spec"]["sources"][0]["targetRevision"] = GOOD

        edit(incident, "traefik", pinned)
        incident.argocd.run(2)
        assert app_in(incident, "traefik")["spec"]["sources"][0]["targetRevision"] == GOOD

        def other(live: Any) -> None:
            live["spec"]["sources"][0]["helm"] = {"values": "a: b"}

        edit(incident, "traefik", other)
        incident.argocd.tick()
        assert app_in(incident, "traefik")["spec"]["sources"][0].get("targetRevision") != GOOD


class TestAutoSync:
    def test_without_self_heal_only_another_revision_syncs(self, incident: Incident) -> None:
        def no_heal(live: Any) -> None:
            live["spec"]["syncPolicy"]["automated"]["selfHeal"] = False

        edit(incident, "root", no_heal)
        pin(incident, GOOD)
        incident.argocd.run(300, every=5)
        assert target_revision(incident) == GOOD
        assert listed(incident, "root", "traefik") == "OutOfSync"
        incident.push(BAD)
        incident.argocd.run(130, every=5)
        assert target_revision(incident) == BAD

    def test_self_heal_backs_off(self, incident: Incident) -> None:
        reverted = []
        for _ in range(4):
            pin(incident, GOOD)
            began = incident.clock()
            while target_revision(incident) == GOOD:
                incident.argocd.tick()
            reverted.append((incident.clock() - began).total_seconds())
        assert reverted[0] <= 1 < reverted[1] < reverted[2] < reverted[3]
        assert reverted[3] >= 15

    def test_self_heal_waited_five_seconds_before_2_13(self) -> None:
        incident = traefik_incident(version=(2, 12))
        pin(incident, GOOD)
        incident.argocd.run(2)
        assert target_revision(incident) == BAD
        pin(incident, GOOD)
        incident.argocd.run(2)
        assert target_revision(incident) == GOOD
        incident.argocd.run(5)
        assert target_revision(incident) == BAD

    def test_an_attempt_without_a_result_counts_since_3_2(self) -> None:
        for version, synced in (((3, 1), GOOD), ((3, 2), BAD)):
            incident = traefik_incident(version=version)
            pause(incident, "root")
            unblock(incident)

            def failed(live: Any) -> None:
                live["spec"]["source"]["targetRevision"] = GOOD
                state = live["status"]["operationState"]
                del state["syncResult"]
                state |= {"phase": "Error", "message": "no"}

            edit(incident, "traefik", failed)
            incident.argocd.run(1)
            assert image(incident) == f"traefik:{synced}"

    def test_a_failed_sync_is_retried_within_its_operation_and_then_never(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)
        incident.argocd.failing["argocd/traefik"] = "one or more objects failed to apply"
        pin(incident, GOOD)
        incident.argocd.run(2)
        assert (state(incident)["phase"], state(incident)["retryCount"]) == ("Running", 1)
        assert state(incident)["finishedAt"]
        assert "Retrying attempt #1 at" in state(incident)["message"]
        incident.argocd.run(1200, every=5)
        assert (state(incident)["phase"], state(incident)["retryCount"]) == ("Failed", 5)
        assert state(incident)["message"].endswith("(retried 5 times).")
        condition = app_in(incident, "traefik")["status"]["conditions"][0]
        assert condition["type"] == "SyncError"
        assert condition["message"].startswith("Failed last sync attempt to [2.4.1]")
        incident.argocd.failing.clear()
        incident.argocd.run(600, every=5)
        assert image(incident) == f"traefik:{BAD}"
        operate(incident)
        incident.argocd.run(2)
        assert image(incident) == f"traefik:{GOOD}"

    def test_an_operation_may_forget_its_revision_when_it_retries(self, incident: Incident) -> None:
        pause(incident, "root")
        incident.argocd.failing["argocd/root"] = "no"
        operate(incident, "root", retry={"limit": 1, "refresh": True, "backoff": {"duration": "1s"}})
        incident.argocd.tick()
        commit = incident.push(GOOD)
        incident.argocd.failing.clear()
        incident.argocd.run(5)
        assert state(incident, "root")["syncResult"]["revision"] == commit

    def test_auto_sync_that_would_prune_everything_refuses(self, incident: Incident) -> None:
        incident.git.commit({"apps": []})
        incident.argocd.run(130, every=5)
        assert len(incident.api.objects(APPLICATION)) == 3
        condition = app_in(incident, "root")["status"]["conditions"][0]
        assert "auto-sync will wipe out all resources" in condition["message"]

    @pytest.mark.parametrize("prune", [True, False])
    def test_what_git_no_longer_has(self, incident: Incident, prune: bool) -> None:
        def change(live: Any) -> None:
            live["spec"]["syncPolicy"]["automated"]["prune"] = prune

        edit(incident, "root", change)
        incident.git.commit({"apps": apps_in_git(BAD)[:2]})
        incident.argocd.run(130, every=5)
        assert (incident.api.find(APPLICATION, "argocd", "web") is None) == prune
        if not prune:
            extra = [r for r in app_in(incident, "root")["status"]["resources"] if r.get("requiresPruning")]
            assert [(r["name"], r["status"]) for r in extra] == [("web", "OutOfSync")]
            operate(incident, "root")
            incident.argocd.run(2)
            results = state(incident, "root")["syncResult"]["resources"]
            assert [r["status"] for r in results if r["name"] == "web"] == ["PruneSkipped"]

    def test_a_window_that_opens_is_noticed_at_the_next_refresh(self, incident: Incident) -> None:
        pause(incident, "root")
        pin(incident, GOOD)
        incident.argocd.run(2)
        assert app_in(incident, "traefik")["status"]["sync"]["status"] == "OutOfSync"
        assert "conditions" not in app_in(incident, "traefik")["status"]
        unblock(incident)
        incident.argocd.run(2)
        assert image(incident) == f"traefik:{BAD}"
        refresh(incident, "traefik")
        incident.argocd.run(1)
        assert image(incident) == f"traefik:{GOOD}"

    def test_a_window_that_cannot_be_parsed_stops_both_kinds(self, incident: Incident) -> None:
        pause(incident, "root")
        set_windows(incident, [{"kind": "deny", "schedule": "bad", "duration": "1h", "applications": ["*"]}])
        pin(incident, GOOD)
        operate(incident)
        incident.argocd.run(2)
        assert state(incident)["message"].startswith("Sync operation blocked by sync window: ")

    def test_before_2_11_operations_ignore_windows(self) -> None:
        incident = traefik_incident(version=(2, 10))
        operate(incident)
        incident.argocd.run(2)
        assert state(incident)["phase"] == "Succeeded"

    def test_a_global_projects_window_counts(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)

        def globally(live: Any) -> None:
            live["data"]["globalProjects"] = (
                '[{"projectName": "freeze", "labelSelector": {"matchLabels": {"g": "1"}}}]'
            )

        def label(live: Any) -> None:
            live["metadata"]["labels"] = {"g": "1"}

        incident.api.edit(CONFIGMAP, "argocd", "argocd-cm", globally)
        incident.api.edit(APPPROJECT, "argocd", "cluster", label)
        deny = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["*"]}
        incident.api.create(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AppProject",
                "metadata": {"name": "freeze", "namespace": "argocd"},
                "spec": {"syncWindows": [deny]},
            }
        )
        operate(incident)
        incident.argocd.run(2)
        assert state(incident)["message"] == "Sync operation blocked by sync window"


class TestOperations:
    def test_life_cycle(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)
        pause(incident, "traefik")
        seen = []

        def watch() -> None:
            live = app_in(incident, "traefik")
            seen.append(
                ((live.get("status") or {}).get("operationState", {}).get("phase"), "operation" in live)
            )

        operate(incident, info=[{"name": "argo-rescue", "value": "u"}])
        watch()
        before = incident.api.revision
        incident.argocd.step()
        phases = [
            change.object["status"]["operationState"]["phase"]
            for change in incident.api.changes(before) or []
            if change.name == "traefik" and change.resource == APPLICATION
        ]
        watch()
        assert seen == [(None, True), ("Succeeded", False)]
        assert phases[0] == "Running"
        assert state(incident)["operation"]["info"] == [{"name": "argo-rescue", "value": "u"}]

    def test_an_operation_written_over_a_stale_state_is_swallowed(self, incident: Incident) -> None:
        incident.argocd.stuck.add("argocd/web")
        outside_windows(incident)
        operate(incident, "web", info=[{"name": "argo-rescue", "value": "old"}])
        incident.argocd.run(1)

        def overwrite(live: Any) -> None:
            live["operation"] = {"sync": {}, "info": [{"name": "argo-rescue", "value": "new"}]}

        edit(incident, "web", overwrite)
        incident.argocd.stuck.clear()
        incident.argocd.run(1)
        assert state(incident, "web")["operation"]["info"][0]["value"] == "old"
        assert "operation" not in app_in(incident, "web")

    def test_a_stuck_operation_runs_until_it_is_terminated(self, incident: Incident) -> None:
        outside_windows(incident)
        incident.argocd.stuck.add("argocd/traefik")
        operate(incident)
        incident.argocd.run(60)
        assert state(incident)["message"].startswith("waiting for completion of hook")
        terminate(incident)
        incident.argocd.run(1)
        assert state(incident)["message"] == "Operation terminated"

    def test_without_sync_and_without_project(self, incident: Incident) -> None:
        def empty(live: Any) -> None:
            live["operation"] = {"initiatedBy": {"username": "alice"}}

        def elsewhere(live: Any) -> None:
            live["spec"]["project"] = "none"

        edit(incident, "web", empty)
        incident.argocd.step()
        assert state(incident, "web")["message"] == "Invalid operation request: no operation specified"
        pause(incident, "root")
        edit(incident, "web", elsewhere)
        operate(incident, "web")
        refresh(incident, "web")
        incident.argocd.step()
        assert state(incident, "web")["message"].startswith("Failed to load application project")
        status = app_in(incident, "web")["status"]
        assert (status["sync"]["status"], status["conditions"][0]["type"]) == ("Unknown", "InvalidSpecError")

    def test_partial_and_dry_runs_write_no_history(self, incident: Incident) -> None:
        before = len(app_in(incident, "root")["status"]["history"])
        operate(incident, "root", sync={"resources": [{"kind": "AppProject", "name": "cluster"}]})
        incident.argocd.run(1)
        operate(incident, "root", sync={"dryRun": True})
        incident.argocd.run(1)
        assert len(app_in(incident, "root")["status"]["history"]) == before

    def test_history_is_trimmed_and_counts_on(self, incident: Incident) -> None:
        def limit(live: Any) -> None:
            live["spec"]["revisionHistoryLimit"] = 2

        edit(incident, "root", limit)
        for _ in range(3):
            operate(incident, "root")
            incident.argocd.run(1)
        ids = [entry["id"] for entry in app_in(incident, "root")["status"]["history"]]
        assert len(ids) == 2 and ids[1] == ids[0] + 1 and ids[1] >= 4

    def test_rollback_to_an_old_source_leaves_spec_alone(self, incident: Incident) -> None:
        pause(incident, "root")
        pause(incident, "traefik")
        unblock(incident)
        entry = app_in(incident, "traefik")["status"]["history"][0]
        operate(incident, sync={"revision": entry["revision"], "source": entry["source"]})
        incident.argocd.run(3)
        assert (image(incident), target_revision(incident)) == (f"traefik:{GOOD}", BAD)
        assert app_in(incident, "traefik")["status"]["sync"]["status"] == "OutOfSync"


class TestComparison:
    def test_a_refresh_takes_its_annotation_and_moves_reconciled_at(self, incident: Incident) -> None:
        before = app_in(incident, "root")["status"]["reconciledAt"]
        incident.clock.advance(5)
        pin(incident, GOOD)
        incident.argocd.step()
        assert app_in(incident, "root")["status"]["reconciledAt"] == before
        refresh(incident, "root")
        incident.argocd.step()
        live = app_in(incident, "root")
        assert live["status"]["reconciledAt"] > before
        assert "argocd.argoproj.io/refresh" not in live["metadata"].get("annotations", {})

    def test_skip_reconcile_freezes(self, incident: Incident) -> None:
        def skip(live: Any) -> None:
            live["metadata"].setdefault("annotations", {})["argocd.argoproj.io/skip-reconcile"] = "true"

        edit(incident, "root", skip)
        refresh(incident, "root")
        operate(incident, "root")
        pin(incident, GOOD)
        incident.argocd.run(5)
        live = app_in(incident, "root")
        assert live["metadata"]["annotations"]["argocd.argoproj.io/refresh"] == "normal"
        assert "operationState" not in live["status"]
        assert target_revision(incident) == GOOD

    def test_ignored_differences_are_no_drift_and_kept_only_on_request(self, incident: Incident) -> None:
        def ignore(live: Any) -> None:
            live["spec"]["ignoreDifferences"] = [
                {
                    "group": "argoproj.io",
                    "kind": "Application",
                    "name": "traefik",
                    "jsonPointers": ["/spec/source/targetRevision"],
                }
            ]

        edit(incident, "root", ignore)
        incident.argocd.run(1)
        pin(incident, GOOD)
        incident.argocd.run(5)
        assert (target_revision(incident), listed(incident, "root", "traefik")) == (GOOD, "Synced")
        operate(incident, "root", sync={"syncOptions": ["RespectIgnoreDifferences=true"]})
        incident.argocd.run(1)
        assert target_revision(incident) == GOOD
        operate(incident, "root")
        incident.argocd.run(1)
        assert target_revision(incident) == BAD

    def test_an_added_key_is_lost_to_replace(self, incident: Incident) -> None:
        def add(live: Any) -> None:
            live["spec"]["syncPolicy"]["automated"]["enabled"] = False

        edit(incident, "traefik", add)
        operate(incident, "root")
        incident.argocd.run(1)
        assert "enabled" in app_in(incident, "traefik")["spec"]["syncPolicy"]["automated"]
        operate(incident, "root", sync={"syncOptions": ["Replace=true"]})
        incident.argocd.run(1)
        assert "enabled" not in app_in(incident, "traefik")["spec"]["syncPolicy"]["automated"]
        assert app_in(incident, "traefik")["status"]["history"]

    def test_manual_sync_added_to_a_window_is_no_drift_but_lost_at_the_next_apply(
        self, incident: Incident
    ) -> None:
        set_windows(incident, [{**window, "manualSync": True} for window in windows(incident)])
        incident.argocd.run(5)
        assert all(window["manualSync"] for window in windows(incident))
        assert listed(incident, "root", "cluster") == "Synced"
        operate(incident, "root")
        incident.argocd.run(1)
        assert not any("manualSync" in window for window in windows(incident))

    def test_a_key_that_git_dropped_goes(self, incident: Incident) -> None:
        incident.push(BAD, info=[{"name": "a", "value": "b"}])
        incident.argocd.run(130, every=5)
        assert app_in(incident, "traefik")["spec"]["info"]
        incident.push(BAD)
        incident.argocd.run(130, every=5)
        assert "info" not in app_in(incident, "traefik")["spec"]

    def test_the_repo_server_is_forgiven_for_three_minutes_unless_asked(self, incident: Incident) -> None:
        incident.argocd.repo_server_alive = False
        incident.argocd.run(130, every=5)
        assert app_in(incident, "root")["status"]["sync"]["status"] == "Synced"
        incident.argocd.run(240, every=5)
        status = app_in(incident, "root")["status"]
        assert (status["sync"]["status"], status["conditions"][0]["type"]) == ("Unknown", "ComparisonError")
        operate(incident, "web")
        outside_windows(incident)
        incident.argocd.run(1)
        assert state(incident, "web")["phase"] == "Error"
        incident.argocd.repo_server_alive = True
        refresh(incident, "root")
        incident.argocd.run(1)
        assert app_in(incident, "root")["status"]["sync"]["status"] == "Synced"

    def test_a_version_that_is_not_there(self, incident: Incident) -> None:
        pause(incident, "root")
        pin(incident, "9.9.9")
        incident.argocd.run(1)
        status = app_in(incident, "traefik")["status"]
        assert status["sync"]["status"] == "Unknown"
        assert "9.9.9" in status["conditions"][0]["message"]

    def test_a_dead_controller_leaves_everything(self, incident: Incident) -> None:
        incident.argocd.controller_alive = False
        pin(incident, GOOD)
        refresh(incident, "root")
        incident.argocd.run(300, every=10)
        assert target_revision(incident) == GOOD
        assert "argocd.argoproj.io/refresh" in app_in(incident, "root")["metadata"]["annotations"]

    def test_other_namespaces_are_served_only_where_listed(self, incident: Incident) -> None:
        def allow(live: Any) -> None:
            live["data"] = {"application.namespaces": "team-*, other"}

        incident.api.edit(CONFIGMAP, "argocd", "argocd-cmd-params-cm", allow)
        for namespace in ("team-a", "nowhere"):
            obj = application(
                "web",
                project="default",
                source={"repoURL": CHARTS, "chart": "web", "targetRevision": "1.0.0"},
                namespace=namespace,
            )
            obj["metadata"]["namespace"] = namespace
            incident.api.create(obj)
        incident.argocd.run(2)
        live = incident.api.get(DEPLOYMENT, "team-a", "web")
        tracking = live["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"]
        assert tracking == "team-a_web:apps/Deployment:team-a/web"
        assert "status" not in incident.api.get(APPLICATION, "nowhere", "web")

    @pytest.mark.parametrize(
        ("version", "method", "label", "annotation"),
        [((2, 14), "", True, False), ((3, 2), "", False, True), ((3, 2), "annotation+label", True, True)],
    )
    def test_tracking(self, version: tuple[int, int], method: str, label: bool, annotation: bool) -> None:
        clock = SteppedClock()
        api = InMemoryApi(clock)
        charts = ChartRepository({"web": {"1.0.0": [deployment("web", "web:1")]}})
        argocd = SimulatedArgoCD(api, Sources(charts={CHARTS: charts}), clock, version)
        for obj in installation("v9.9.9"):
            api.create(obj)
        if method:
            api.edit(
                CONFIGMAP,
                "argocd",
                "argocd-cm",
                lambda live: live["data"].update({"application.resourceTrackingMethod": method}),
            )
        source = {"repoURL": CHARTS, "chart": "web", "targetRevision": "1.0.0"}
        api.create(application("web", project="default", source=source, namespace="web"))
        argocd.run(5)
        meta = api.get(DEPLOYMENT, "web", "web")["metadata"]
        assert (meta["labels"].get("app.kubernetes.io/instance") == "web") == label
        assert ("argocd.argoproj.io/tracking-id" in meta["annotations"]) == annotation
        resources = api.get(APPLICATION, "argocd", "web")["status"]["resources"]
        assert ("health" in resources[0]) == (version < (3, 0))
        api.edit(APPLICATION, "argocd", "web", lambda live: live["spec"]["source"].update(chart="gone"))
        argocd.run(5)
        assert api.get(APPLICATION, "argocd", "web")["status"]["sync"]["status"] == "Unknown"

    def test_several_sources(self, incident: Incident) -> None:
        incident.git.commit({"values": []})
        source = {"repoURL": CHARTS, "chart": "web", "targetRevision": "1.*"}
        obj = application("many", project="default", source=source, namespace="many")
        del obj["spec"]["source"]
        obj["spec"]["sources"] = [source, {"repoURL": GIT, "ref": "values", "targetRevision": "HEAD"}]
        incident.api.create(obj)
        incident.argocd.run(5)
        status = app_in(incident, "many")["status"]
        assert status["sync"]["revisions"] == ["1.0.0", incident.git.branches["main"]]
        assert status["history"][0]["source"] == {"repoURL": ""}
        assert status["sourceTypes"] == ["Helm", "Directory"]
        assert status["history"][0]["sources"] == obj["spec"]["sources"]
        operate(incident, "many", sync={"revisions": ["1.0.0"]})
        incident.argocd.run(1)
        assert state(incident, "many")["phase"] == "Succeeded"

    def test_a_hydrated_app_deploys_its_sync_branch(self, incident: Incident) -> None:
        incident.git.commit({"env": [deployment("hydrated", "h:1")]}, branch="env/prod")
        obj = application("hydrated", project="default", source={}, namespace="hydrated")
        del obj["spec"]["source"]
        obj["spec"]["sourceHydrator"] = {
            "drySource": {"repoURL": GIT, "path": "dry", "targetRevision": "HEAD"},
            "syncSource": {"targetBranch": "env/prod", "path": "env"},
        }
        incident.api.create(obj)
        incident.argocd.run(3)
        assert image(incident, "hydrated") == "h:1"

    def test_forgotten_history_makes_all_apps_be_looked_at(self, incident: Incident) -> None:
        pin(incident, GOOD)
        incident.api.compact()
        incident.argocd.run(1)
        assert target_revision(incident) == BAD

    def test_manifests_may_depend_on_the_source(self) -> None:
        charts = ChartRepository()
        charts.publish("a", "1", lambda source: [deployment("a", source["helm"]["values"])])
        source = {"repoURL": CHARTS, "chart": "a", "helm": {"values": "x"}}
        found = Sources(charts={CHARTS: charts}).manifests(source, "1")
        assert found[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "x"

    def test_edits_that_are_compared_at_once(self, incident: Incident) -> None:
        pause(incident, "root")
        before = app_in(incident, "web")["status"]["reconciledAt"]
        incident.clock.advance(5)

        def elsewhere(live: Any) -> None:
            live["spec"]["destination"]["namespace"] = "other"
            live["spec"]["syncPolicy"]["syncOptions"] = ["CreateNamespace=true"]
            live["spec"]["source"]["helm"] = {}

        outside_windows(incident)
        edit(incident, "web", elsewhere)
        incident.argocd.run(1)
        live = app_in(incident, "web")
        assert live["status"]["reconciledAt"] > before
        assert incident.api.get(DEPLOYMENT, "other", "web")
        assert live["status"]["operationState"]["operation"]["sync"]["syncOptions"] == [
            "CreateNamespace=true"
        ]
        assert "helm" not in live["spec"]["source"]

    def test_an_app_with_argo_cds_finalizer_takes_its_objects_along(self, incident: Incident) -> None:
        pause(incident, "root")

        def dying(live: Any) -> None:
            live["metadata"]["finalizers"] = ["resources-finalizer.argocd.argoproj.io"]
            live["metadata"]["deletionTimestamp"] = timestamp(incident.clock())

        def held(live: Any) -> None:
            live["metadata"]["finalizers"] = ["example.com/hold"]

        incident.api.edit(SERVICE, "traefik", "traefik", held)
        edit(incident, "traefik", dying)
        incident.argocd.run(1)
        assert incident.api.find(APPLICATION, "argocd", "traefik") is None
        assert incident.api.find(DEPLOYMENT, "traefik", "traefik") is None
        assert incident.api.get(SERVICE, "traefik", "traefik")["metadata"]["deletionTimestamp"]

    def test_an_app_without_it_waits_for_whoever_holds_it(self, incident: Incident) -> None:
        def dying(live: Any) -> None:
            live["metadata"]["finalizers"] = ["example.com/hold"]
            live["metadata"]["deletionTimestamp"] = timestamp(incident.clock())

        edit(incident, "web", dying)
        incident.argocd.run(1)
        assert app_in(incident, "web")


class TestDiffing:
    def test_lists_by_index_and_keys_of_git_only(self) -> None:
        assert not differs({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3})
        assert differs({"a": [1]}, {"a": [1, 2]})
        assert differs({"a": 1}, {})
        assert differs({"a": {"b": 1}}, {"a": None})

    def test_what_was_applied_before_and_is_gone_from_git(self) -> None:
        assert dropped({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}})
        assert not dropped({"a": 1}, {}, {})
        assert applied({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "x": 9}}) == {"a": {"x": 9, "c": 2}}

    def test_pointers_into_lists(self) -> None:
        obj = {"a": [{"b": 1, "c": 2}, {"b": 3}], "k/y": 1}
        assert without_pointers(obj, ["/a/0/b", "/a/1", "/k~1y", "/none/x", "/a/9"]) == {"a": [{"c": 2}]}
        live = {"a": [{"b": 7}, 5], "k/y": 8, "new": {"x": 1}}
        kept = with_pointers_of(obj, live, ["/a/0/b", "/a/0/c", "/a/1", "/k~1y", "/new/x", "/a/9"])
        assert kept == {"a": [{"b": 7}, 5], "k/y": 8, "new": {"x": 1}}

    def test_rules_are_about_some_objects(self) -> None:
        obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}}
        rules = [
            {"kind": "Deployment", "jsonPointers": ["/core"]},
            {"group": "*", "kind": "*", "jsonPointers": ["/any"]},
            {"group": "apps", "kind": "Deployment", "name": "d", "namespace": "n", "jsonPointers": ["/this"]},
            {"group": "apps", "kind": "Deployment", "name": "e", "jsonPointers": ["/other"]},
            {"group": "apps", "kind": "Deployment", "namespace": "m", "jsonPointers": ["/elsewhere"]},
        ]
        assert matching_pointers(rules, obj) == ["/any", "/this"]


class TestSources:
    @pytest.mark.parametrize(
        ("constraint", "version"),
        [
            ("2.4.1", "2.4.1"),
            ("2.4.*", "2.4.9"),
            ("2.x", "2.5.1"),
            ("*", "3.0.0"),
            (">=2.4 <2.5", "2.4.9"),
            (">2.4.1, <=2.4.9", "2.4.9"),
            ("~2.4.1", "2.4.9"),
            ("^2.4", "2.5.1"),
            ("=2.4.1", "2.4.1"),
        ],
    )
    def test_ranges_take_the_newest(self, constraint: str, version: str) -> None:
        versions = ("2.4.1", "2.4.9", "2.5.1", "3.0.0", "4.0.0-rc1")
        repository = ChartRepository({"c": {v: [] for v in versions}})
        assert repository.resolve("c", constraint) == version

    @pytest.mark.parametrize("constraint", ["9.9.9", "nonsense", "latest"])
    def test_what_no_version_fits(self, constraint: str) -> None:
        with pytest.raises(SourceError):
            ChartRepository({"c": {"1.0.0": [], "odd": []}}).resolve("c", constraint)

    def test_git_revisions(self) -> None:
        git = GitRepository()
        first = git.commit({"a": []})
        second = git.commit({"b": []})
        git.tags["v1"] = first
        assert [git.resolve(r) for r in ("", "HEAD", "main", "v1", first, first[:7])] == [
            second,
            second,
            second,
            first,
            first,
            first,
        ]
        assert git.manifests(second, "a") == []
        with pytest.raises(SourceError):
            git.resolve("nope")
        with pytest.raises(SourceError):
            git.manifests(first, "b")
        with pytest.raises(SourceError):
            Sources().resolve({"repoURL": "https://none.invalid"}, "")


class TestWorkloads:
    def test_a_rollout_is_seen_then_available(self, incident: Incident) -> None:
        incident.argocd.workloads.rollout_seconds = 30
        pause(incident, "root")
        unblock(incident)
        pin(incident, GOOD)
        incident.argocd.run(2)
        live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
        assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
        assert "availableReplicas" not in live["status"]
        assert app_in(incident, "traefik")["status"]["health"]["status"] == "Progressing"
        incident.argocd.run(40)
        live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
        assert live["status"]["availableReplicas"] == 2
        assert app_in(incident, "traefik")["status"]["health"]["status"] == "Healthy"

    def test_an_old_template_takes_the_newest_revision(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)
        pin(incident, GOOD)
        incident.argocd.run(5)
        revisions = sorted(
            (r["metadata"]["annotations"]["deployment.kubernetes.io/revision"], r["status"]["replicas"])
            for r in incident.api.objects(REPLICASET, "traefik")
        )
        assert revisions == [("2", 0), ("3", 2)]

    def test_a_broken_version_misses_its_deadline(self, incident: Incident) -> None:
        live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
        reasons = [c["reason"] for c in live["status"]["conditions"] if c["type"] == "Progressing"]
        assert reasons == ["ProgressDeadlineExceeded"]
        assert app_in(incident, "traefik")["status"]["health"]["status"] == "Degraded"

    def test_stateful_sets_are_ready_and_keep_revisions(self, incident: Incident) -> None:
        def change(live: Any) -> None:
            live["spec"]["template"]["spec"]["containers"][0]["image"] = "other"

        incident.api.edit(STATEFULSET, "argocd", "argocd-application-controller", change)
        incident.argocd.step()
        live = incident.api.get(STATEFULSET, "argocd", "argocd-application-controller")
        assert live["status"]["readyReplicas"] == 1
        revisions = [r["revision"] for r in incident.api.objects(CONTROLLERREVISION, "argocd")]
        assert sorted(revisions) == [1, 2]

    def test_daemon_sets_are_ready(self, incident: Incident) -> None:
        obj = deployment("agent", "agent:1", namespace="argocd")
        obj["kind"] = "DaemonSet"
        del obj["spec"]["replicas"]
        incident.api.create(obj)
        incident.argocd.step()
        found = [
            o for o in incident.api.objects(CONTROLLERREVISION, "argocd") if "agent" in o["metadata"]["name"]
        ]
        assert len(found) == 1

    def test_a_missing_object_is_missing_and_healed(self, incident: Incident) -> None:
        pause(incident, "root")
        unblock(incident)
        pause(incident, "traefik")
        incident.api.remove(SERVICE, "traefik", "traefik")
        incident.argocd.run(1)
        assert listed(incident, "traefik", "traefik") == "OutOfSync"
        resume(incident, "traefik")
        incident.argocd.run(1)
        assert incident.api.get(SERVICE, "traefik", "traefik")


class TestIncident:
    def test_its_state(self, incident: Incident) -> None:
        assert deployed(incident) == [GOOD, BAD]
        assert app_in(incident, "root")["status"]["sync"]["revision"] == incident.bad_commit
        assert len(windows(incident)) == 2
        assert not incident.argocd.step()
        controller = incident.api.get(STATEFULSET, "argocd", "argocd-application-controller")
        assert controller["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":v3.2.11")

    def test_it_needs_a_clock_that_it_can_set(self) -> None:
        with pytest.raises(TypeError):
            traefik_incident(InMemoryApi())

    def test_nothing_settles_in_a_fight_without_end(self, incident: Incident) -> None:
        assert incident.argocd.settle() == 0
        turns = iter(range(1000))

        def restless() -> None:
            incident.api.edit(
                CONFIGMAP, "argocd", "argocd-cm", lambda live: live["data"].update(n=str(next(turns)))
            )

        incident.argocd.workloads.step = restless  # type: ignore[method-assign]
        with pytest.raises(AssertionError):
            incident.argocd.settle(5)
