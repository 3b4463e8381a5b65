"""The picture of a situation, from values to values.

Covered: Argo CD's parts by their workloads; whether it reconciles, by parts and by what Applications
tell; the way round a broken ingress; whose pause it is; who puts which edit back (chains, circles,
sets, missing owners); why an operation stands; the last good version; who tracks a workload; ranks,
shards and sets of the overview. Left out: windows (test_windows), rendering (test_status).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import application, components, history, ownership
from kubectl_argo_rescue.argocd.components import Health, Life, Part, Surroundings, Trace
from kubectl_argo_rescue.argocd.history import KnownVersions
from kubectl_argo_rescue.argocd.operation import operation
from kubectl_argo_rescue.journal.entry import Entry
from kubectl_argo_rescue.journal.records import Begin
from kubectl_argo_rescue.model.values import (
    ABSENT,
    ArgoCD,
    Edit,
    FieldChange,
    Key,
    Role,
    Snapshot,
    Tracking,
    Version,
    ref_of,
)
from kubectl_argo_rescue.show import diagnosis, overview
from kubectl_argo_rescue.show.diagnosis import Owner

from .. import build

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
ARGOCD = ArgoCD("argocd", Version(3, 2, "v3.2.11"))
NOTHING = Surroundings()
JSON = Any


def ago(**span: float) -> str:
    return f"{NOW - timedelta(**span):%Y-%m-%dT%H:%M:%SZ}"


def app(name: str = "traefik", *, automated: JSON = ABSENT, status: JSON = None, **meta: JSON) -> JSON:
    policy = {} if automated is ABSENT else {"syncPolicy": {"automated": automated}}
    source = {"repoURL": "https://charts.invalid", "chart": "traefik", "targetRevision": "2.5.1"}
    destination = {"server": application.IN_CLUSTER, "namespace": "x"}
    return build.app(status or {}, name=name, meta=meta, source=source, destination=destination, **policy)


def workload(
    component: str, ready: int, wanted: int = 1, *, name: str = "", kind: str = "Deployment"
) -> JSON:
    labels = {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/name": name or f"argocd-{component}",
    }
    return {
        "kind": kind,
        "metadata": {"name": name or component, "namespace": "argocd", "labels": labels},
        "spec": {"replicas": wanted},
        "status": {"readyReplicas": ready} if ready else {},
    }


def tracked(by: str, kind: str = "Application", name: str = "traefik") -> Mapping[str, str]:
    return {"argocd.argoproj.io/tracking-id": f"{by}:argoproj.io/{kind}:argocd/{name}"}


# -- parts


@pytest.mark.parametrize(
    ("workloads", "life"),
    [
        ([], Life.UNKNOWN),
        ([workload("redis", 1)], Life.ALIVE),
        ([workload("redis", 0)], Life.DEAD),
        ([workload("redis", 0, 0)], Life.DEAD),
        ([workload("redis", 2, 3)], Life.PARTLY),
        # redis-ha: without its proxy it is dead, whatever its pods say
        ([workload("redis", 3, 3, kind="StatefulSet"), workload("redis", 0, 3, name="haproxy")], Life.DEAD),
        # another Argo CD's
        ([{**workload("redis", 0), "metadata": {**workload("redis", 0)["metadata"], "namespace": "other"}}], Life.UNKNOWN),
    ],
)  # fmt: skip
def test_a_part_lives_as_its_workloads_do(workloads: list[JSON], life: Life) -> None:
    parts = {p.name: p for p in components.parts_of(workloads, "argocd")}
    assert parts["redis"].life is life
    assert bool(parts["redis"].means) is (life in (Life.DEAD, Life.PARTLY))


def test_the_empty_statefulset_of_the_dynamic_distribution_is_no_death() -> None:
    found = components.parts_of(
        [
            workload("application-controller", 0, 0, kind="StatefulSet"),
            workload("application-controller", 2, 2),
        ],
        "argocd",
    )
    assert (found[0].name, found[0].life, found[0].ready) == ("application-controller", Life.ALIVE, 2)


def test_parts_that_few_installs_have_are_named_only_where_they_are() -> None:
    names = [p.name for p in components.parts_of([workload("dex-server", 0)], "argocd")]
    assert names == ["application-controller", "repo-server", "redis", "applicationset-controller", "server", "dex-server"]  # fmt: skip


# -- does it reconcile


def health(*traces: Trace, around: Surroundings = NOTHING, argocd: ArgoCD = ARGOCD, **lives: Life) -> Health:
    names = {"application-controller": Life.ALIVE, "repo-server": Life.ALIVE, "server": Life.ALIVE}
    names |= {name.replace("_", "-"): life for name, life in lives.items()}
    parts = tuple(Part(name, life, label=f"argocd-{name}") for name, life in names.items())
    return components.health_of(argocd, parts, traces, around, NOW)


def seen(minutes: float) -> Trace:
    return Trace("traefik", NOW - timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("found", "reconciling", "text"),
    [
        (health(seen(1)), True, "reconciling (last comparison 60s ago)"),
        (health(seen(90), seen(1)), True, "reconciling (last comparison 60s ago)"),
        (health(seen(60)), False, "NOT reconciling: nothing was compared for 60m, though its pods are ready"),
        (
            health(seen(60), application_controller=Life.UNKNOWN),
            False,
            "NOT reconciling: nothing was compared for 60m, though its parts are not known to be dead",
        ),
        (
            health(seen(1), application_controller=Life.DEAD),
            False,
            "NOT reconciling: application-controller is dead (last comparison 60s ago)",
        ),
        (
            health(seen(1), repo_server=Life.DEAD),
            False,
            "NOT reconciling: repo-server is dead (last comparison 60s ago)",
        ),
        (health(), None, "not known to be reconciling (no comparison was seen)"),
        (health(seen(3), Trace("web", None, "the operation of web …")), False, "probably NOT reconciling (last comparison 3m ago)"),
        # a controller that just compared is busy, not dead
        (health(seen(0.1), Trace("web", None, "the operation of web …")), True, "reconciling (last comparison 6s ago)"),
        # without a timer an old comparison says nothing
        (health(seen(600), around=Surroundings({"timeout.reconciliation": "0"})), None, "not known to be reconciling (last comparison 10h ago)"),
        (health(seen(60), around=Surroundings({"timeout.reconciliation": "1h"})), True, "reconciling (last comparison 60m ago)"),
    ],
)  # fmt: skip
def test_reconciling(found: Health, reconciling: bool | None, text: str) -> None:
    assert (found.reconciling, found.text) == (reconciling, text)


def test_the_age_that_is_too_old_follows_settings_and_version() -> None:
    old = ArgoCD("argocd", Version(2, 14, "v2.14.1"))
    assert components.stale_after({}, ARGOCD) == timedelta(seconds=420)
    assert components.stale_after({}, old) == timedelta(seconds=420)
    assert components.stale_after({"timeout.reconciliation": "1d"}, old) == timedelta(days=2, seconds=60)
    assert components.stale_after({"timeout.reconciliation": "nonsense"}, ARGOCD) == timedelta(seconds=420)


def managed(seconds: int, *path: str) -> list[JSON]:
    fields: JSON = {}
    for step in reversed(path):
        fields = {f"f:{step}": fields}
    return [{"manager": "kubectl-edit", "time": ago(seconds=seconds), "fieldsV1": fields}]


def test_what_nobody_took_up_is_evidence() -> None:
    wanted = {**app(managedFields=managed(90, "operation")), "operation": {"sync": {}}}
    assert components.trace_of(wanted, ARGOCD, NOW).unanswered == (
        "the operation of traefik has not been picked up for 90s"
    )
    fresh = {**app(managedFields=managed(5, "operation")), "operation": {"sync": {}}}
    assert components.trace_of(fresh, ARGOCD, NOW).unanswered == ""
    refresh = {"argocd.argoproj.io/refresh": "normal"}
    asked = app(annotations=refresh, managedFields=managed(300, "metadata", "annotations", *refresh))
    assert (
        components.trace_of(asked, ARGOCD, NOW).unanswered
        == "the refresh of traefik has not been answered for 5m"
    )
    assert components.trace_of(app(annotations=refresh), ARGOCD, NOW).unanswered == ""
    skipped = app(annotations={**refresh, "argocd.argoproj.io/skip-reconcile": "true"}, managedFields=asked["metadata"]["managedFields"])  # fmt: skip
    assert components.trace_of(skipped, ARGOCD, NOW) == Trace("traefik", None)


# -- the way round a broken ingress


def test_a_living_server_without_its_ingress_is_reached_in_three_ways() -> None:
    around = Surroundings({"url": "https://argo.example"}, "argocd-server", 443, 2)
    found = health(seen(1), around=around).detour
    assert found.why == (
        "Argo CD's UI and API run with 2 endpoints. If you cannot reach https://argo.example (ingress, DNS, SSO), "
        "go around:"
    )
    assert found.commands == (
        "kubectl port-forward -n argocd svc/argocd-server 8080:443   # then https://localhost:8080",
        "argocd app list --port-forward --port-forward-namespace argocd",
        "kubectl config set-context --current --namespace=argocd && argocd app list --core",
    )


def test_the_commands_go_where_the_user_went() -> None:
    around = Surroundings({}, "argo-cd-argocd-server", 8443, 1, context="prod", kubeconfig="/tmp/k")
    found = health(seen(1), around=around, argocd=ArgoCD("gitops")).detour
    assert found.commands == (
        "kubectl --kubeconfig /tmp/k port-forward --context prod -n gitops svc/argo-cd-argocd-server 8080:8443"
        "   # then https://localhost:8080",
        "KUBECONFIG=/tmp/k argocd app list --port-forward --port-forward-namespace gitops --kube-context prod",
        "kubectl --kubeconfig /tmp/k config set-context prod --namespace=gitops && "
        "KUBECONFIG=/tmp/k argocd app list --core --kube-context prod",
    )


@pytest.mark.parametrize(
    ("around", "life", "why"),
    [
        (Surroundings(service="argocd-server", endpoints=1), Life.DEAD, "argocd-server is dead"),
        (Surroundings(service="argocd-server", endpoints=0), Life.ALIVE, "Service argocd-server has no ready endpoint"),
        (Surroundings(), Life.UNKNOWN, "no argocd-server was found, as in a core install"),
    ],
)  # fmt: skip
def test_without_a_server_only_core_works(around: Surroundings, life: Life, why: str) -> None:
    found = health(seen(1), around=around, server=life).detour
    assert found.why == f"{why}; the argocd CLI works without it"
    assert [c for c in found.commands if "port-forward" in c] == []


# -- pauses


def entry(change: FieldChange, on: JSON, *, role: Role = Role.PAUSE, id: str = "7f3a1c") -> Entry:
    begin = Begin("pause", (), "alice", "laptop", NOW - timedelta(hours=2), "INC-4711", "argocd")
    return Entry(id, begin, {0: Edit(ref_of(on), (change,), "auto-sync off", role)}, {0: "applied"}, {})


def test_our_own_pause_is_told_with_entry_age_and_who() -> None:
    live = app(automated={"enabled": False})
    change = FieldChange(("spec", "syncPolicy", "automated", "enabled"), ABSENT, False)
    found = diagnosis.pause_of(live, diagnosis.our_pauses([entry(change, live)]), NOW)
    assert found is not None
    assert (found.how, found.entry) == ("ours", "7f3a1c")
    assert found.text == "paused by entry 7f3a1c, 120m ago, alice on laptop: INC-4711"


@pytest.mark.parametrize(
    ("live", "how"),
    [
        (app(automated={}), None),
        (app(automated={"enabled": True}), None),
        (app(automated={"enabled": False}), "by-hand"),
        (app(automated={}, annotations={"argocd.argoproj.io/skip-reconcile": "true"}), "by-hand"),
        (app(), "off"),
        (app(status={"operationState": {"operation": {"initiatedBy": {"automated": True}}}}), "by-hand"),
        # RollingSync signs its operations with a name
        (app(status={"operationState": {"operation": {"initiatedBy": {"automated": True, "username": "applicationset-controller"}}}}), "off"),
        (app(automated={"enabled": False}, ownerReferences=[{"kind": "ApplicationSet", "name": "set"}]), "rolling-sync"),
        (app(automated={"enabled": False}, ownerReferences=[{"kind": "ApplicationSet", "name": "other"}]), "by-hand"),
    ],
)  # fmt: skip
def test_whose_pause_it_is(live: JSON, how: str | None) -> None:
    found = diagnosis.pause_of(live, {}, NOW, rolling={Key("ApplicationSet", "argocd", "set")})
    assert (found.how if found else None) == how


# -- owners


def diagnose(
    *objects: JSON, missing: tuple[Key, ...] = (), argocd: ArgoCD = ARGOCD
) -> diagnosis.AppDiagnosis:
    snapshot = Snapshot(argocd, {ref_of(o).key: o for o in objects}, NOW, frozenset(missing))
    return diagnosis.diagnose(snapshot, ref_of(objects[0]).key, [], KnownVersions())


def threats(owner: Owner) -> list[tuple[str, bool]]:
    return [(t.edit, t.soon) for t in owner.threats]


def test_a_chain_of_owners_tells_what_each_puts_back() -> None:
    child = app(automated={"selfHeal": True}, annotations=tracked("root"))
    root = app("root", automated={"selfHeal": True}, annotations=tracked("top", name="root"))
    top = app("top", automated={})
    [owner] = diagnose(child, root, top).owners
    assert (owner.key.name, owner.auto_sync, owner.self_heal) == ("root", True, True)
    assert threats(owner) == [("a pin", True)]
    assert owner.spared == ("a pause",), "an added `enabled: false` is no drift"
    [above] = owner.owners
    assert (above.key.name, above.self_heal, above.spared) == ("top", False, ("its pause",))


def test_an_old_controller_reverts_the_pause_as_well() -> None:
    child = app(automated={"selfHeal": True}, annotations=tracked("root"))
    root = app("root", automated={"selfHeal": True})
    [owner] = diagnose(child, root, argocd=ArgoCD("argocd", Version(3, 0, "v3.0.0"))).owners
    assert threats(owner) == [("a pin", True), ("a pause", True)]


def test_without_self_heal_it_is_the_next_sync() -> None:
    [owner] = diagnose(app(annotations=tracked("root")), app("root", automated={})).owners
    assert threats(owner) == [("a pin", False)]


def test_a_paused_owner_threatens_nothing() -> None:
    [owner] = diagnose(app(annotations=tracked("root")), app("root", automated={"enabled": False})).owners
    assert (owner.threats, owner.spared) == ((), ())
    assert owner.pause is not None and owner.pause.how == "by-hand"


def test_an_app_that_manages_itself_ends_the_chain() -> None:
    itself = app("argocd", automated={"selfHeal": True}, annotations=tracked("argocd", name="argocd"))
    [owner] = diagnose(itself).owners
    assert (owner.state, owner.owners) == ("circle", ())


@pytest.mark.parametrize(("missing", "state"), [(True, "missing"), (False, "unread")])
def test_an_owner_that_is_not_there(missing: bool, state: str) -> None:
    key = Key("Application", "argocd", "root")
    [owner] = diagnose(app(annotations=tracked("root")), missing=(key,) if missing else ()).owners
    assert (owner.key, owner.state) == (key, state)


@pytest.mark.parametrize(
    ("spec", "parameters", "expected"),
    [
        ({}, {}, [("a pin", True), ("a pause", True)]),
        ({"syncPolicy": {"applicationsSync": "create-only"}}, {}, []),
        # a policy of the controller's own forbids the override
        ({"syncPolicy": {"applicationsSync": "create-only"}}, {"applicationsetcontroller.policy": "sync"}, [("a pin", True), ("a pause", True)]),
        ({}, {"applicationsetcontroller.policy": "create-delete"}, []),
        ({"ignoreApplicationDifferences": [{"jsonPointers": ["/spec/source/targetRevision"]}]}, {}, [("a pause", True)]),
        ({"ignoreApplicationDifferences": [{"name": "other", "jsonPointers": ["/spec"]}]}, {}, [("a pin", True), ("a pause", True)]),
    ],
)  # fmt: skip
def test_what_an_application_set_puts_back(spec: JSON, parameters: Mapping[str, str], expected: JSON) -> None:
    reference = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "name": "set",
        "controller": True,
    }
    child = app(automated={}, ownerReferences=[reference])
    owner = {"kind": "ApplicationSet", "metadata": {"name": "set", "namespace": "argocd"}, "spec": spec}
    [found] = diagnose(child, owner, argocd=ArgoCD("argocd", Version(3, 2, ""), parameters=parameters)).owners
    assert threats(found) == expected


@pytest.mark.parametrize(("frozen", "soon"), [("traefik", True), ("*", False)])
def test_the_owner_of_the_project_puts_its_windows_back(frozen: str, soon: bool) -> None:
    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": [frozen]}
    project = {
        "kind": "AppProject",
        "metadata": {
            "name": "default",
            "namespace": "argocd",
            "annotations": tracked("root", "AppProject", "default"),
        },
        "spec": {"syncWindows": [window]},
    }
    found = diagnose(app(), app("root", automated={"selfHeal": True}), project)
    [owner] = found.project_owners
    assert threats(owner) == [("an edit of its windows", soon)]
    assert bool(owner.notes) is not soon, "a window that stops the owner as well keeps it from acting"
    assert not found.verdict.manual.can_sync


# -- operations


def running(phase: str, message: str = "", *, present: bool = True, **state: JSON) -> JSON:
    live = app(status={"operationState": {"phase": phase, "message": message, "startedAt": ago(minutes=5), "operation": {"sync": {}}, **state}})  # fmt: skip
    return {**live, "operation": {"sync": {}}} if present else live


@pytest.mark.parametrize(
    ("live", "text"),
    [
        (app(), ""),
        (running("Succeeded", present=False), ""),
        (running("Running", "waiting for healthy state"), ""),
        (running("Running", present=False), "Running but orphaned, for 5m: `.operation` is gone, nothing runs it any more"),
        (running("Running", "Sync operation blocked by sync window"), "Running but blocked by a sync window, for 5m"),
        (running("Running", "one\ntwo", finishedAt=ago(minutes=1), retryCount=1), "failed and waits for retry 1, for 5m"),
        (running("Terminating", "operation is terminating"), "Terminating, for 5m"),
        ({**app(), "operation": {"sync": {}}}, "not picked up"),
        ({**app(managedFields=managed(180, "operation")), "operation": {"sync": {}}}, "not picked up for 3m"),
        ({**app(managedFields=managed(3, "operation")), "operation": {"sync": {}}}, ""),
    ],
)  # fmt: skip
def test_why_an_operation_stands(live: JSON, text: str) -> None:
    assert diagnosis.stuck_text(live, operation(live), NOW) == text


# -- last good


def with_history(*versions: str, sync: str = "Synced", health: str = "Degraded", now: str = "") -> JSON:
    source = {"repoURL": "https://charts.invalid", "chart": "traefik"}
    live = app()
    wanted = now or versions[-1]
    live["spec"]["source"] = {**source, "targetRevision": wanted}
    live["status"] = {
        "health": {"status": health},
        "sync": {"status": sync, "revision": wanted, "comparedTo": {"source": live["spec"]["source"]}},
        "history": [
            {
                "id": i,
                "revision": v,
                "source": {**source, "targetRevision": v},
                "deployedAt": ago(hours=10 - i),
            }
            for i, v in enumerate(versions)
        ],
    }
    return live


@pytest.mark.parametrize(
    ("live", "id", "why"),
    [
        (with_history("2.4.1", "2.5.1"), 0, "the newest successful version other than the current target (2.5.1), ran 60m"),
        (with_history("2.4.1", "2.5.1", "2.4.1", "2.5.1"), 2, "the newest successful version other than the current target (2.5.1), ran 60m"),
        # Synced and Healthy is what the broken ingress is as well
        (with_history("2.4.1", "2.5.1", health="Healthy"), 0, "the newest successful version other than the current target (2.5.1), ran 60m"),
        (with_history("2.4.1", sync="OutOfSync", now="2.5.1"), 0, "the newest successful version other than the current target (2.5.1), ran 10h"),
        (with_history("2.5.1"), None, "the history knows only what is asked for now"),
        (app(), None, "the history is empty"),
    ],
)  # fmt: skip
def test_last_good_and_why(live: JSON, id: int | None, why: str) -> None:
    found = history.explain_last_good(live, NOW)
    assert (found.deployment.id if found.deployment else None, found.why) == (id, why)


def test_after_a_rescue_what_it_pinned_is_the_last_good() -> None:
    live = with_history("2.4.1", "2.5.1", "2.4.1", health="Healthy")
    found = history.explain_last_good(live, NOW, history.KnownVersions(is_pinned=True))
    assert found.deployment is not None
    assert (found.deployment.id, found.why) == (2, "an open rescue has pinned it, ran 8h")


def test_versions_as_a_person_says_them() -> None:
    commit = "8a1f0c2" + "0" * 33
    live = app(
        status={
            "history": [
                {
                    "id": 3,
                    "sources": [
                        {"repoURL": "https://charts.invalid", "chart": "shop", "targetRevision": "1.2.*"},
                        {"repoURL": "https://git.invalid", "ref": "values", "targetRevision": "main"},
                        {"repoURL": "https://git.invalid", "path": "extra", "targetRevision": "main"},
                    ],
                    "revisions": ["1.2.9", commit, commit],
                }
            ]
        }
    )
    assert history.versions(history.deployments(live)[0]) == "1.2.9, 8a1f0c20 (main)"


# -- who tracks a workload


def deployment(annotations: JSON = None, labels: JSON = None) -> JSON:
    meta = {"name": "web", "namespace": "shop", "annotations": annotations or {}, "labels": labels or {}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta}


ID = "argocd.argoproj.io/tracking-id"
INSTANCE = "app.kubernetes.io/instance"


@pytest.mark.parametrize(
    ("obj", "argocd", "owner", "note"),
    [
        (deployment({ID: "shop:apps/Deployment:shop/web"}), ARGOCD, Key("Application", "argocd", "shop"), ""),
        (deployment({ID: "team_shop:apps/Deployment:shop/web"}), ARGOCD, Key("Application", "team", "shop"), ""),
        (deployment({ID: "shop:apps/Deployment:shop/other"}), ARGOCD, None, "was copied from another object"),
        (deployment(labels={INSTANCE: "shop"}), ARGOCD, None, "means nothing where tracking is by annotation"),
        (deployment(labels={INSTANCE: "shop"}), ArgoCD("argocd", tracking=Tracking.LABEL), Key("Application", "argocd", "shop"), ""),
        (deployment({ID: "shop:apps/Deployment:shop/web"}), ArgoCD("argocd", installation_id="two"), None, "is of another Argo CD"),
        (deployment(), ARGOCD, None, ""),
    ],
)  # fmt: skip
def test_who_tracks_a_workload(obj: JSON, argocd: ArgoCD, owner: Key | None, note: str) -> None:
    found = ownership.tracked_by(obj, argocd)
    assert found.owner == owner
    assert note in found.note


# -- the overview


def collect(*apps: JSON, projects: JSON = (), sets: JSON = ()) -> overview.Overview:
    default = {"kind": "AppProject", "metadata": {"name": "default", "namespace": "argocd"}, "spec": {}}
    collector = overview.Collector(ARGOCD, [default, *projects], sets, [], NOW)
    collector.add(apps)
    return collector.result()


def state(name: str, sync: str = "Synced", health: str = "Healthy", **more: JSON) -> JSON:
    return app(name, automated={}, status={"sync": {"status": sync}, "health": {"status": health}, **more})


def test_the_worst_comes_first() -> None:
    found = collect(
        state("a-fine"),
        state("b-drifted", "OutOfSync"),
        state("c-degraded", health="Degraded"),
        state("d-missing", health="Missing"),
        {**state("e-stuck"), "operation": {"sync": {}}},
        state("f-broken", "Unknown", conditions=[{"type": "ComparisonError", "message": "no git\nat all"}]),
        {**state("g-projectless"), "spec": {"project": "gone"}},
        {**state("h-paused"), "spec": {"syncPolicy": {"automated": {"enabled": False}}}},
        state("i-rolling", health="Progressing"),
    )
    assert [(f.name, f.why) for f in found.facts] == [
        ("e-stuck", "operation not picked up"),
        ("c-degraded", "Degraded"),
        ("f-broken", "ComparisonError: no git at all"),
        ("g-projectless", "AppProject gone does not exist"),
        ("d-missing", "Missing"),
        ("i-rolling", "Progressing"),
        ("b-drifted", "OutOfSync"),
        ("h-paused", "paused by hand (automated.enabled is false)"),
        ("a-fine", ""),
    ]


def test_a_freeze_alone_is_no_trouble_of_an_app_that_wants_nothing() -> None:
    freeze = {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["*"]}
    project = {"kind": "AppProject", "metadata": {"name": "p", "namespace": "argocd"}, "spec": {"syncWindows": [freeze]}}  # fmt: skip
    inside = [
        {**state(n, s), "spec": {"project": "p"}} for n, s in (("calm", "Synced"), ("waiting", "OutOfSync"))
    ]
    found = collect(*inside, projects=[project])
    assert [(f.name, f.rank) for f in found.facts] == [("waiting", overview.BLOCKED), ("calm", overview.FINE)]
    assert found.blocked == 2


def test_one_cluster_that_is_left_behind_is_a_dead_shard() -> None:
    def on(name: str, cluster: str, minutes: int) -> JSON:
        live = state(name, reconciledAt=ago(minutes=minutes))
        return {**live, "spec": {"destination": {"name": cluster}}}

    found = collect(on("a", "near", 1), on("b", "far", 60), on("c", "far", 90))
    assert found.frozen == (
        "no Application of far was compared for 60m, others were: the controller's shard for it may be dead",
    )
    assert collect(on("a", "near", 60), on("b", "far", 60)).frozen == ()


def test_sets_that_do_not_work_are_named() -> None:
    broken = {
        "kind": "ApplicationSet",
        "metadata": {"name": "set", "namespace": "argocd"},
        "status": {"conditions": [{"type": "ErrorOccurred", "status": "True", "message": "no\ngit"}]},
    }
    assert collect(sets=[broken]).sets == (("set", "no git"),)
