"""`status` as a person and as a tool sees it, on the simulated incident.

Covered: the golden screens of the incident (an app, the whole Argo CD), before and after a rescue;
JSON keys; a dead controller; workloads by every kind and what is not managed; missing rights; control
characters; colours; an app in another namespace; nothing is ever written.
"""

from __future__ import annotations

import io
from typing import Any

import pytest

from kubectl_argo_rescue.argocd.ownership import TRACKING_ID
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, CONFIGMAP, DEPLOYMENT, STATEFULSET
from kubectl_argo_rescue.show.printer import Printer, Streams
from kubectl_argo_rescue.simulation.incident import Incident, deployment

from ..harness import Run

JSON = Any


@pytest.fixture
def incident(incident: Incident) -> Incident:
    def broke_at_three(app: JSON) -> None:
        app["status"]["health"]["lastTransitionTime"] = "2026-11-27T15:00:40Z"

    incident.api.edit(APPLICATION, "argocd", "traefik", broke_at_three)
    incident.clock.advance(12)
    return incident


ARGO_CD = """\
Argo CD v3.2.11 in argocd: reconciling (last comparison 12s ago)
  application-controller 1/1, repo-server 1/1, redis 1/1, applicationset-controller 1/1, server 1/1
  Argo CD's UI and API run with 1 endpoint. If you cannot reach https://argocd.invalid (ingress,
  DNS, SSO), go around:
    kubectl port-forward -n argocd svc/argocd-server 8080:443   # then https://localhost:8080
    argocd app list --port-forward --port-forward-namespace argocd
    kubectl config set-context --current --namespace=argocd && argocd app list --core
"""

TRAEFIK = """\
traefik: Synced, Degraded; auto-sync on, self-heal, prune
  helm chart traefik of https://charts.invalid at 2.5.1
  to traefik; AppProject cluster
  ✗ Degraded for 119m
  ✗ sync windows stop every sync of it, automatic or by hand; free it:
    kubectl argo-rescue unblock traefik
  OPERATION
    Succeeded, started by auto-sync, to 2.5.1; ended 120m ago
  WINDOWS
    automatic NO until 2026-11-30 08:00 UTC (2d14h); manual NO until 2026-11-30 08:00 UTC (2d14h)
    ✗ cluster #0: deny 0 16 * * 5 for 64h UTC: stops automatic and manual syncs
    ✗ cluster #1: deny 0 16 * * * for 14h UTC: stops automatic and manual syncs
  MANAGED BY
    traefik
    └─ root (by tracking-id): auto-sync on, self-heal
       ✗ reverts a pin within seconds (auto-sync with self-heal)
       does not revert a pause
    AppProject cluster
    └─ root (by tracking-id): auto-sync on, self-heal
       ✗ reverts an edit of its windows within seconds (auto-sync with self-heal)
  HISTORY
    ID   VERSION   DEPLOYED (UTC)     RAN FOR   BY
    1    2.5.1     2026-11-27 15:00   120m      auto-sync   deployed now
    0    2.4.1     2026-11-27 14:00   60m       auto-sync   last good
    last good: 2.4.1: the newest successful version other than the current target (2.5.1), ran 60m
"""

BRIEF = """\
Argo CD v3.2.11 in argocd: reconciling (last comparison 12s ago)
  UI and API without the ingress: kubectl port-forward -n argocd svc/argocd-server 8080:443
"""


def test_the_incident_on_one_screen(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "status", "traefik")
    assert ran.code == 0
    assert ran.out == TRAEFIK + BRIEF
    assert ran.err == (
        "context in-memory (https://in-memory.invalid) as alice; Argo CD v3.2.11 in argocd\n"
        "Next: kubectl argo-rescue rescue traefik --dry-run\n"
    )
    assert all(len(line) <= 100 for line in ran.out.splitlines())
    assert len(ran.out.splitlines()) <= 50, "one screen"
    assert incident.api.writes() == []


def test_the_whole_argo_cd(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "status")
    assert ran.out == ARGO_CD + (
        "\n"
        "3 applications: 3 Synced; 2 Healthy, 1 Degraded\n"
        "  ✗ sync windows stop 2 of them, by hand as well\n"
        "  APP       SYNC     HEALTH     AUTO-SYNC   WORST\n"
        "  traefik   Synced   Degraded   on          Degraded for 119m, sync windows stop every sync (cluste…\n"
        "  root      Synced   Healthy    on          -\n"
        "  web       Synced   Healthy    on          -\n"
    )
    assert incident.api.writes() == []


def test_pauses_by_us_and_by_hand_and_open_entries(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pause", "root", "--reason", "INC-4711").code == 0

    def by_hand(app: JSON) -> None:
        del app["spec"]["syncPolicy"]["automated"]

    incident.api.edit(APPLICATION, "argocd", "web", by_hand)
    incident.clock.advance(600)
    ran = run(incident.api, "status")
    [entry] = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    tail = (
        ran.out[ran.out.index("  PAUSED") :].replace(entry["id"], "7f3a1c").replace(entry["host"], "laptop")
    )
    assert tail == (
        "  PAUSED\n"
        "    root: paused by entry 7f3a1c, 10m ago, alice on laptop: INC-4711\n"
        "    web: paused by hand: its last sync was automatic, and auto-sync is off now\n"
        "  OPEN ENTRIES\n"
        "    7f3a1c 10m ago, open: pause root, by alice on laptop: INC-4711\n"
    )
    named = run(incident.api, "status", "traefik").out.replace(entry["id"], "7f3a1c").replace(entry["host"], "laptop")  # fmt: skip
    assert "└─ root (by tracking-id): paused by entry 7f3a1c, 10m ago, alice on laptop: INC-4711\n" in named
    assert "reverts a pin" not in named
    data = run(incident.api, "status", "-o", "json").json["data"]
    assert data["apps"]["argocd/root"]["paused"]["by"] == "ours"
    assert data["apps"]["argocd/web"]["paused"]["by"] == "by-hand"
    assert [e["id"] for e in data["entries"]] == [entry["id"]]


def test_json_has_what_tools_need(run: Run, incident: Incident) -> None:
    document = run(incident.api, "status", "traefik", "-o", "json").json
    assert (document["kind"], document["verb"], document["status"]) == ("Result", "status", "done")
    app = document["data"]["apps"]["argocd/traefik"]
    assert {
        "sync", "health", "autoSync", "selfHeal", "operation", "canSync", "error", "blocking", "owners",
        "lastGood", "history", "conditions", "entries",
    } <= app.keys()  # fmt: skip
    assert app["canSync"] == {"automatic": False, "manual": False}
    assert [(w["project"], w["index"]) for w in app["blocking"]] == [("cluster", 0), ("cluster", 1)]
    assert (app["lastGood"]["version"], app["lastGood"]["id"]) == ("2.4.1", 0)
    assert [(o["name"], [t["edit"] for t in o["reverts"]]) for o in app["owners"]] == [("root", ["a pin"])]
    argocd = document["data"]["argocd"]
    assert (argocd["namespace"], argocd["version"], argocd["reconciling"]) == ("argocd", "v3.2.11", True)
    assert {name: part["state"] for name, part in argocd["parts"].items()} == dict.fromkeys(
        ("application-controller", "repo-server", "redis", "applicationset-controller", "server"), "alive"
    )
    every = run(incident.api, "status", "-o", "json").json["data"]
    assert list(every["apps"]) == ["argocd/traefik", "argocd/root", "argocd/web"], "worst first"
    assert every["apps"]["argocd/traefik"].keys() == app.keys()
    windows = run(incident.api, "windows", "traefik", "-o", "json").json["data"]["apps"]["argocd/traefik"]
    assert {k: app[k] for k in ("canSync", "error", "blocking")} == {
        k: windows[k] for k in ("canSync", "error", "blocking")
    }


def test_names_alone(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "status", "-o", "name")
    assert ran.out == "".join(f"application.argoproj.io/{n}\n" for n in ("traefik", "root", "web"))
    assert run(incident.api, "status", "web", "-o", "name").out == "application.argoproj.io/web\n"


def test_a_dead_controller_comes_first(run: Run, incident: Incident) -> None:
    def die(controller: JSON) -> None:
        controller["status"] = {"replicas": 1}

    incident.api.edit(STATEFULSET, "argocd", "argocd-application-controller", die)
    lines = run(incident.api, "status", "traefik").out.splitlines()
    assert lines[:4] == [
        "Argo CD v3.2.11 in argocd: NOT reconciling: application-controller is dead (last comparison 12s ago)",
        "  ✗ application-controller is DEAD: nothing reconciles: no sync, no operation and no refresh is",
        "    carried out; edits of a spec are possible but change nothing that runs",
        "  repo-server 1/1, redis 1/1, applicationset-controller 1/1, server 1/1",
    ]


def test_a_silent_controller_with_a_ready_pod_is_found_out(run: Run, incident: Incident) -> None:
    incident.clock.advance(3600)
    for words in (["status"], ["status", "traefik"]):
        first = run(incident.api, *words).out.splitlines()[0]
        assert first == (
            "Argo CD v3.2.11 in argocd: NOT reconciling: nothing was compared for 60m, though its pods are ready"
        )


@pytest.mark.parametrize(
    "word", ["deploy/traefik", "deployments.apps/traefik", "Deployment/traefik", "svc/traefik"]
)
def test_a_workload_leads_to_its_application(run: Run, incident: Incident, word: str) -> None:
    ran = run(incident.api, "status", word, "-n", "traefik")
    assert (ran.code, ran.out) == (0, TRAEFIK + BRIEF)
    assert f"{word} in traefik belongs to Application argocd/traefik\n" in ran.err


def test_a_pod_leads_up_to_what_is_tracked(run: Run, incident: Incident) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "traefik", "controller": True, "uid": "u"}
    meta = {"name": "traefik-1", "namespace": "traefik", "ownerReferences": [owner]}
    incident.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}})
    ran = run(incident.api, "status", "po/traefik-1", "-n", "traefik", "-o", "name")
    assert ran.out == "application.argoproj.io/traefik\n", ran.err


def test_whoever_lists_an_untracked_workload_owns_it(run: Run, incident: Incident) -> None:
    def untrack(deployment: JSON) -> None:
        deployment["metadata"]["annotations"] = {}

    incident.api.edit(DEPLOYMENT, "traefik", "traefik", untrack)
    ran = run(incident.api, "status", "deploy/traefik", "-n", "traefik", "-o", "name")
    assert ran.out == "application.argoproj.io/traefik\n", ran.err


@pytest.mark.parametrize("other", ["", "platform"], ids=["in no namespace", "of another Argo CD"])
def test_a_workload_of_an_argo_cd_elsewhere(run: Run, incident: Incident, other: str) -> None:
    def elsewhere(live: JSON) -> None:
        live["metadata"]["annotations"] = {TRACKING_ID: "hub:apps/Deployment:traefik/other"}

    incident.api.create(deployment("other", "x:1", namespace="traefik"))
    incident.api.edit(DEPLOYMENT, "traefik", "other", elsewhere)
    if other:
        hub = incident.api.get(APPLICATION, "argocd", "web")
        incident.api.create({**hub, "metadata": {"name": "hub", "namespace": other}})
    ran = run(incident.api, "status", "deploy/other", "-n", "traefik")
    assert ran.code == 1 and "Deployment traefik/other names Application argocd/hub, which is " in ran.err
    assert (f"--argocd-namespace {other}" if other else "an Argo CD elsewhere manages it") in ran.err


def test_a_workload_of_nobody_and_one_that_is_not_there(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "status", "sts/argocd-application-controller", "-n", "argocd")
    assert ran.code == 1
    assert ran.err == (
        "error: StatefulSet argocd/argocd-application-controller is managed by no Application of Argo CD in "
        "argocd (AR1301)\n  it has no tracking id, and no Application lists it\n"
    )
    gone = run(incident.api, "status", "deploy/nope", "-n", "traefik")
    assert gone.code == 1
    assert 'deployments.apps "nope" not found' in gone.err


def test_an_unknown_application(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "status", "treafik", "-o", "json")
    assert ran.code == 1
    assert "did you mean traefik?" in ran.json["data"]["hint"]


def test_missing_rights_are_said_and_not_fatal(run: Run, incident: Incident) -> None:
    for resource in ("deployments", "statefulsets", "services", "endpointslices", "appprojects"):
        incident.api.deny(resource=resource)
    ran = run(incident.api, "status", "-o", "json")
    assert ran.code == 0
    argocd = ran.json["data"]["argocd"]
    assert {part["state"] for part in argocd["parts"].values()} == {"unknown"}
    assert argocd["reconciling"] is True
    assert ran.json["data"]["apps"]["argocd/traefik"]["canSync"] == {"automatic": None, "manual": None}
    for what in (
        "whether Argo CD's parts live is not known",
        "services in argocd",
        "AppProjects may not be listed",
    ):
        assert any(what in text for text in ran.json["warnings"]), what
    named = run(incident.api, "status", "traefik")
    assert named.code == 0
    assert "AppProject argocd/cluster may not be read" in named.out
    assert "application-controller may not be looked at" in named.out
    assert "not found" not in named.out
    assert (
        "argocd-server may not be looked at; the argocd CLI works without it"
        in run(incident.api, "status").out
    )


def test_a_part_of_a_kind_that_may_not_be_listed(run: Run, incident: Incident) -> None:
    incident.api.deny(resource="statefulsets")
    ran = run(incident.api, "status")
    assert ran.code == 0
    assert "application-controller may not be looked at" in ran.out
    assert "repo-server 1/1" in ran.out
    assert ran.err.count("whether Argo CD's parts live is not known") == 1


def test_a_hostile_name_moves_no_cursor(run: Run, incident: Incident) -> None:
    def shout(app: JSON) -> None:
        app["status"]["conditions"] = [{"type": "SyncError", "message": "\x1b[2J\x1b]0;gone\x07 all is well"}]

    incident.api.edit(APPLICATION, "argocd", "traefik", shout)
    for words in (["status"], ["status", "traefik"]):
        out = run(incident.api, *words).out
        assert "\x1b" not in out and "\x07" not in out
        assert "SyncError" in out


def test_an_application_of_another_namespace(run: Run, incident: Incident) -> None:
    def serve(cm: JSON) -> None:
        cm["data"] = {"application.namespaces": "team-*"}

    incident.api.edit(CONFIGMAP, "argocd", "argocd-cmd-params-cm", serve)
    for namespace in ("team-a", "other"):
        app = incident.api.get(APPLICATION, "argocd", "web")
        app["metadata"] = {"name": "shop", "namespace": namespace}
        incident.api.create(app)
    assert run(incident.api, "status", "team-a/shop").code == 0
    names = run(incident.api, "status", "-o", "json").json["data"]["apps"]
    assert "team-a/shop" in names and "other/shop" not in names
    assert list(run(incident.api, "status", "-n", "team-a", "-o", "json").json["data"]["apps"]) == [
        "team-a/shop"
    ]
    assert "does not serve namespace other" in run(incident.api, "status", "other/shop").out


def test_pages_are_reduced_one_by_one(run: Run, incident: Incident) -> None:
    template = incident.api.get(APPLICATION, "argocd", "web")
    for number in range(600):
        template["metadata"] = {"name": f"app-{number:03}", "namespace": "argocd"}
        incident.api.create(template)
    del incident.api.requests[:]
    ran = run(incident.api, "status")
    assert "603 applications: 603 Synced; 602 Healthy, 1 Degraded\n" in ran.out
    assert "  nothing is wrong with the other 602\n" in ran.out
    lists = [r for r in incident.api.requests if r.path.endswith("/applications")]
    assert [r.parameter("limit") for r in lists] == ["250"] * 3


def test_after_the_rescue_what_runs_is_the_good_one(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pause", "root").code == 0
    assert run(incident.api, "unblock", "traefik", "--yes").code == 0
    assert run(incident.api, "pin", "traefik", "2.4.1").code == 0
    incident.argocd.run(30)
    ran = run(incident.api, "status", "traefik")
    assert "traefik: Synced, Healthy; auto-sync on, self-heal, prune\n" in ran.out
    assert "  ✓ nothing is wrong with it\n" in ran.out
    assert "    last good: 2.4.1: an open rescue has pinned it, ran " in ran.out
    assert "Next: kubectl argo-rescue watch traefik\n" in ran.err
    assert len(run(incident.api, "status", "traefik", "-o", "json").json["data"]["entries"]) == 3


def test_an_edit_that_somebody_took_back_is_told(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pause", "root").code == 0

    def resume(app: JSON) -> None:
        app["spec"]["syncPolicy"]["automated"]["enabled"] = True

    incident.api.edit(APPLICATION, "argocd", "root", resume)
    ran = run(incident.api, "status", "root")
    assert "root: Synced, Healthy; auto-sync on, self-heal, prune\n" in ran.out
    assert "open, but Application argocd/root: changed by somebody: pause root" in ran.out


def test_a_missing_project_and_a_stuck_operation(run: Run, incident: Incident) -> None:
    incident.api.remove(APPPROJECT, "argocd", "cluster")

    def order(app: JSON) -> None:
        app["operation"] = {"sync": {}}
        app["status"]["operationState"] = {
            "phase": "Running", "message": "Sync operation blocked by sync window",
            "startedAt": "2026-11-27T16:30:12Z", "operation": {"initiatedBy": {"username": "bob"}, "sync": {}},
        }  # fmt: skip

    incident.api.edit(APPLICATION, "argocd", "traefik", order)
    out = run(incident.api, "status", "traefik").out
    assert "  ✗ AppProject argocd/cluster does not exist: Argo CD syncs nothing of it" in out
    assert "  ✗ its operation is stuck: Running but blocked by a sync window, for 30m; end it:\n" in out
    assert "    kubectl argo-rescue terminate traefik\n" in out
    assert "    Running, started by bob; blocked by a sync window; for 30m" in out


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal() -> None:
    def printed(out: io.StringIO, environ: dict[str, str]) -> str:
        printer = Printer(Streams(out, io.StringIO(), io.StringIO(), environ))
        printer.spans((("a\x1b[2Jb ", ""), ("bad", "red"), (" ", "")))
        return out.getvalue()

    assert printed(_Terminal(), {}) == "a\N{REPLACEMENT CHARACTER}[2Jb \x1b[31mbad\x1b[0m\n"
    assert printed(_Terminal(), {"NO_COLOR": ""}) == "a\N{REPLACEMENT CHARACTER}[2Jb bad\n"
    assert printed(io.StringIO(), {}) == "a\N{REPLACEMENT CHARACTER}[2Jb bad\n"


def test_deployments_of_one_version_are_told_apart(run: Run, incident: Incident) -> None:
    def deploy(app: JSON) -> None:
        first = app["status"]["history"][-1]
        values = {**first["source"], "helm": {"parameters": [{"name": "image.tag", "value": "bad"}]}}
        later = {"deployedAt": "2026-11-27T15:30:00Z", "deployStartedAt": "2026-11-27T15:29:00Z"}
        app["status"]["history"] += [
            {**first, **later, "id": 2, "source": values},
            {**first, **later, "id": 3, "source": values},
        ]
        app["spec"]["source"] = values

    incident.api.edit(APPLICATION, "argocd", "traefik", deploy)
    lines = run(incident.api, "status", "traefik").out.splitlines()
    (second,) = [line for line in lines if line.startswith("    2    2.5.1")]
    (third,) = [line for line in lines if line.startswith("    3    2.5.1")]
    assert second.endswith("other helm than 1")
    assert third.endswith("deployed now, the same as 2")
