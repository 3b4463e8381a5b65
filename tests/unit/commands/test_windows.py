"""`windows`: verdict and windows of named apps, the table of all, and its JSON.

Covered: both tables; global projects; AND windows; a window that cannot be parsed; apps that are
not served; projects that are missing or unreadable; one app and all; how many requests it takes;
that apps of the same windows share the work.
Left out: the decision itself (test_windows.py, tests/oracle).
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.argocd import foresight, windows
from kubectl_argo_rescue.argocd.reconciliation import judge_apps
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, CONFIGMAP, ArgoCD
from kubectl_argo_rescue.simulation.incident import Incident, application

from ..harness import Run
from ..played import traefik_incident

WEEKEND = "cluster #0: deny 0 16 * * 5 for 64h"
NIGHT = "cluster #1: deny 0 16 * * * for 14h"


def set_windows(incident: Incident, *items: Any, project: str = "cluster") -> None:
    def change(live: Any) -> None:
        live["spec"]["syncWindows"] = list(items)

    incident.api.edit(APPPROJECT, "argocd", project, change)


def set_config(incident: Incident, name: str, **data: str) -> None:
    def change(live: Any) -> None:
        live["data"] = {**(live.get("data") or {}), **data}

    incident.api.edit(CONFIGMAP, "argocd", name, change)


def test_named_app_with_each_window(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "windows", "web")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "APP   PROJECT   AUTOMATIC   MANUAL   BLOCKED BY                            UNTIL",
        f"web   cluster   no          no       {WEEKEND}   2026-11-30 08:00 UTC (in 2d15h)",
        "",
        "WINDOW       KIND   SCHEDULE     DURATION   TIMEZONE   MANUAL SYNC   MATCHED BY         ACTIVE   BLOCKS",
        "cluster #0   deny   0 16 * * 5   64h        UTC        no            applications web   yes      automatic, manual",
        "cluster #1   deny   0 16 * * *   14h        UTC        no            -                  yes      -",
    ]


def test_all_apps_without_a_name(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "windows")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split("   ") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == ["APP", "root", "traefik", "web"]
    assert f"{WEEKEND}; {NIGHT}" in ran.out
    assert "\n\n" not in ran.out


def test_all_of_the_cluster_takes_two_lists(run: Run, incident: Incident) -> None:
    run(incident.api, "windows", "-A")
    paths = [r.path for r in incident.api.requests if "argoproj.io" in r.path]
    assert sorted(paths) == [
        "/apis/argoproj.io/v1alpha1/applications",
        "/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects",
    ]


def test_json_has_the_agreed_shape(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "windows", "web", "-o", "json")
    assert list(ran.json["data"]["apps"]) == ["argocd/web"]
    told = ran.json["data"]["apps"]["argocd/web"]
    assert told["canSync"] == {"automatic": False, "manual": False}
    assert told["error"] == ""
    [blocking] = told["blocking"]
    assert (blocking["project"], blocking["index"], blocking["schedule"]) == ("cluster", 0, "0 16 * * 5")
    assert blocking["blocks"] == ["automatic", "manual"]
    assert told["until"] == {"automatic": "2026-11-30T08:00:00Z", "manual": "2026-11-30T08:00:00Z"}
    assert [w["matches"] for w in told["windows"]] == [True, False]
    assert told["windows"][0]["matchedBy"] == [{"list": "applications", "pattern": "web", "literal": True}]


def test_name_prints_the_applications(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "windows", "web", "traefik", "-o", "name")
    assert ran.out == "application.argoproj.io/web\napplication.argoproj.io/traefik\n"


def test_manual_sync_may_be_allowed_alone(run: Run, incident: Incident) -> None:
    set_windows(
        incident,
        {
            "kind": "deny",
            "schedule": "0 16 * * 5",
            "duration": "64h",
            "namespaces": ["tr*"],
            "manualSync": True,
        },
    )
    told = run(incident.api, "windows", "traefik", "-o", "json").json["data"]["apps"]["argocd/traefik"]
    assert told["canSync"] == {"automatic": False, "manual": True}
    assert told["blocking"][0]["blocks"] == ["automatic"]
    out = run(incident.api, "windows", "traefik").out
    assert "namespaces tr*" in out
    assert "   allowed   " in out


def test_and_window_that_matches_in_part_says_so(run: Run, incident: Incident) -> None:
    item = {
        "kind": "deny",
        "schedule": "* * * * *",
        "duration": "1h",
        "applications": ["web"],
        "namespaces": ["prod"],
        "andOperator": True,
    }
    set_windows(incident, item)
    ran = run(incident.api, "windows", "web")
    assert "applications web (not all of AND)" in ran.out
    assert "   yes         yes" in ran.out


def test_window_that_cannot_be_parsed_is_the_error(run: Run, incident: Incident) -> None:
    set_windows(incident, {"kind": "deny", "schedule": "nonsense", "duration": "1h", "applications": ["*"]})
    ran = run(incident.api, "windows", "web", "-o", "json")
    told = ran.json["data"]["apps"]["argocd/web"]
    assert told["canSync"] == {"automatic": False, "manual": False}
    assert told["error"].startswith("invalid sync windows: cannot parse schedule 'nonsense'")
    assert "until the window is corrected" not in run(incident.api, "windows", "web").out
    assert "the window is corrected" in run(incident.api, "windows", "web").out


def test_windows_of_global_projects_count(run: Run, incident: Incident) -> None:
    incident.api.create(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "everywhere", "namespace": "argocd"},
            "spec": {
                "syncWindows": [
                    {"kind": "deny", "schedule": "0 0 * * *", "duration": "24h", "applications": ["root"]}
                ]
            },
        }
    )
    set_config(incident, "argocd-cm", globalProjects="- projectName: everywhere\n  labelSelector: {}\n")
    assert "everywhere #0   deny" in run(incident.api, "windows", "root").out
    line = run(incident.api, "windows").out.splitlines()[1]
    assert line.startswith("root      default   no          no       everywhere #0")


def test_an_app_that_is_not_served_is_a_warning(run: Run, incident: Incident) -> None:
    app = application("shop", project="cluster", source={"repoURL": "x", "path": "."}, namespace="shop")
    app["metadata"]["namespace"] = "team-a"
    incident.api.create(app)
    unwanted = (
        "warning: AppProject argocd/cluster does not permit applications of namespace team-a: Argo CD syncs "
        "nothing of team-a/shop\n"
    )
    warning = (
        "warning: Argo CD in argocd does not serve namespace team-a: nothing will act on team-a/shop, "
        "whatever the windows say\n" + unwanted
    )
    named = run(incident.api, "windows", "team-a/shop")
    assert (named.code, named.err) == (0, warning)
    assert named.out.splitlines()[1].startswith("team-a/shop   cluster   yes")
    by_namespace = run(incident.api, "windows", "-n", "team-a", "-o", "json")
    assert by_namespace.err == warning
    assert by_namespace.json["data"]["apps"]["team-a/shop"]["served"] is False
    everywhere = run(incident.api, "windows", "-A")
    assert "shop" not in everywhere.out
    assert (
        everywhere.err == "warning: Argo CD in argocd does not serve namespace team-a: team-a/shop left out\n"
    )
    assert run(incident.api, "windows").err == ""
    set_config(incident, "argocd-cmd-params-cm", **{"application.namespaces": "team-*"})
    served = run(incident.api, "windows", "-A")
    assert "team-a/shop" in served.out
    assert served.err == unwanted
    incident.api.edit(
        APPPROJECT, "argocd", "cluster", lambda p: p["spec"].update(sourceNamespaces=["team-a"])
    )
    assert run(incident.api, "windows", "-A").err == ""


def test_many_of_a_kind_are_one_warning(run: Run, incident: Incident) -> None:
    for n in range(40):
        for namespace, project in ((f"team-{n:02}", "cluster"), ("argocd", f"gone-{n:02}")):
            app = application(
                f"shop-{n:02}", project=project, source={"repoURL": "x", "path": "."}, namespace="x"
            )
            app["metadata"]["namespace"] = namespace
            incident.api.create(app)
    gone = (
        "warning: 40 AppProjects do not exist in argocd (gone-00, gone-01, gone-02, gone-03, gone-04 and 35 more): "
        "Argo CD syncs nothing of 40 applications\n"
    )
    assert run(incident.api, "windows", "-A").err == (
        "warning: Argo CD in argocd does not serve 40 namespaces (team-00, team-01, team-02, team-03, team-04 and 35 "
        "more): 40 applications left out\n" + gone
    )
    set_config(incident, "argocd-cmd-params-cm", **{"application.namespaces": "team-*"})
    pair = "cluster does not permit applications of namespace team-0"
    assert run(incident.api, "windows", "-A").err == gone + (
        f"warning: AppProjects in argocd do not permit the namespaces of their applications ({pair}0, {pair}1, "
        f"{pair}2, {pair}3, {pair}4 and 35 more): Argo CD syncs nothing of 40 applications\n"
    )


def test_no_change_before_is_said_where_it_is_not_known(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresight, "BUDGET", 10)
    hourly = {"schedule": "0 * * * *", "applications": ["*"]}
    set_windows(
        incident,
        {**hourly, "kind": "deny", "duration": "40m"},
        {**hourly, "kind": "allow", "duration": "20m"},
        {**hourly, "kind": "deny", "duration": "1h", "schedule": "0 0 1 * *"},
    )
    told = run(incident.api, "windows", "web", "-o", "json").json["data"]["apps"]["argocd/web"]
    before = told["noChangeBefore"]["automatic"]
    assert told["until"] == {"automatic": None, "manual": None}
    assert told["noChangeBefore"] == {"automatic": before, "manual": before}
    text = f"no change before {before[:10]} {before[11:16]} UTC"
    assert run(incident.api, "windows", "web").out.splitlines()[1].endswith(text)
    status = run(incident.api, "status", "web")
    assert f"automatic NO ({text}); manual NO ({text})" in " ".join(status.out.split())
    assert text in run(incident.api, "pin", "web", "2.0.0", "--dry-run=client").err


def test_up_to_argo_cd_2_10_no_window_holds_a_manual_sync(run: Run) -> None:
    assert "no          yes" in run(traefik_incident(version=(2, 10)).api, "windows", "web").out
    assert "no          no" in run(traefik_incident(version=(2, 11)).api, "windows", "web").out


def test_a_project_that_is_not_there_is_a_warning(run: Run, incident: Incident) -> None:
    def change(live: Any) -> None:
        live["spec"]["project"] = "gone"

    incident.api.edit(APPLICATION, "argocd", "web", change)
    for words in (["web"], []):
        ran = run(incident.api, "windows", *words)
        assert ran.code == 0
        assert "AppProject argocd/gone does not exist: Argo CD syncs nothing of web\n" in ran.err


def test_a_project_that_may_not_be_read_is_no_yes(run: Run, incident: Incident) -> None:
    incident.api.deny("get", "appprojects")
    ran = run(incident.api, "windows", "web", "-o", "json")
    told = ran.json["data"]["apps"]["argocd/web"]
    assert ran.code == 1
    assert told["canSync"] == {"automatic": None, "manual": None}
    assert "may not be read" in told["error"]
    assert "unknown" in run(incident.api, "windows", "web").out
    incident.api.deny("list", "appprojects")
    assert run(incident.api, "windows").code == 1


def test_without_the_right_to_list_all_those_of_argo_cd_are_shown(run: Run, incident: Incident) -> None:
    incident.api.deny("list", "applications", "")
    ran = run(incident.api, "windows", "-A")
    assert ran.code == 0
    assert "web" in ran.out
    assert "warning: Applications of other namespaces may not be listed" in ran.err


def test_names_and_all_contradict_each_other(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "windows", "web", "-A")
    assert (ran.code, ran.out) == (2, "")


def test_an_app_that_is_not_there(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "windows", "wep")
    assert (ran.code, ran.out) == (1, "")
    assert "did you mean web?" in ran.err


def test_text_of_windows_is_neutralised(run: Run, incident: Incident) -> None:
    item = {"kind": "deny", "schedule": "\x1b[2J\n* * * *", "duration": "1h", "applications": ["*"]}
    set_windows(incident, item)
    out = run(incident.api, "windows", "web").out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 5


def test_apps_of_the_same_windows_share_the_work(incident: Incident, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    judge = windows.judge_sync

    def counted(*args: Any, **named: Any) -> Any:
        calls.append(args)
        return judge(*args, **named)

    monkeypatch.setattr(windows, "judge_sync", counted)
    apps = [
        application(f"app-{n}", project="cluster", source={"repoURL": "x"}, namespace="x") for n in range(100)
    ]
    projects = incident.api.objects(APPPROJECT, "argocd")
    found = judge_apps(apps, projects, ArgoCD("argocd"), incident.clock())
    assert len(found) == 100
    assert len(calls) == 2
    assert not judge_apps(apps, projects, ArgoCD("argocd"), incident.clock(), look_ahead=False)[
        0
    ].until_automatic.at
