"""`report`: what is chosen, the facts, the text for the pull request, both forms.

Covered: time to mitigation and when it is not known; timeline of journal and cluster; edits as
diffs; what git owes, folded over entries, and when it owes nothing; several sources, whole sources,
generated apps; what is still open; escaping; JSON.
Left out: how git's word is judged (test_handback.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kubectl_argo_rescue.journal.records import Begin, Intent, Outcome, Settled
from kubectl_argo_rescue.model.values import ABSENT, APPLICATION, Edit, FieldChange, Match, Role, ref_of
from kubectl_argo_rescue.show.report import manifest_patch
from kubectl_argo_rescue.simulation.incident import GIT, Incident

from ..build import app
from ..harness import Ran, Run


def do(run: Run, incident: Incident, *words: str, seconds: float = 30, **more: Any) -> str:
    """Run a writing verb, let the world go on, and return the entry."""
    ran = run(incident.api, *words, "-o", "json", **more)
    assert ran.code == 0, ran.err
    incident.argocd.run(seconds)
    entry: str = ran.json["entry"]
    return entry


def rescue(run: Run, incident: Incident) -> tuple[str, str, str]:
    return (
        do(run, incident, "pause", "root", "--reason", "INC-4711"),
        do(run, incident, "unblock", "traefik"),
        do(run, incident, "pin", "traefik", "2.4.1", user="bob", laptop="bobs"),
    )


def report(run: Run, incident: Incident, *words: str) -> Any:
    ran = run(incident.api, "report", *words, "-o", "json")
    assert ran.code == 0, ran.err
    return ran.json["data"]


def markdown(run: Run, incident: Incident, *words: str) -> Ran:
    ran = run(incident.api, "report", *words)
    assert ran.code == 0, ran.err
    return ran


def section(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    start = lines.index(f"## {title}") + 2
    end = next((i for i in range(start, len(lines)) if lines[i].startswith("## ")), len(lines) + 1)
    return lines[start : end - 1]


def refresh(incident: Incident, name: str) -> None:
    def change(app: Any) -> None:
        app["metadata"].setdefault("annotations", {})["argocd.argoproj.io/refresh"] = "normal"

    incident.api.edit(APPLICATION, "argocd", name, change)
    incident.argocd.settle()


# -- what is reported


def test_nothing_to_report(run: Run, incident: Incident) -> None:
    assert run(incident.api, "report") == (
        0,
        "",
        "nothing to report: nothing is open, and nothing was done in the last 24 hours\n",
    )
    assert report(run, incident)["entries"] == []


def test_what_is_open_and_the_last_day(run: Run, incident: Incident) -> None:
    paused, unblocked, pinned = rescue(run, incident)
    journal = run.journal(incident.api, "bobs")
    entry = next(e for e in journal.read().entries if e.id == unblocked)
    settled = Settled({(0, 0): "restored", (0, 1): "restored"}, "", incident.clock())
    journal.reopen(entry).write([settled])
    assert run(incident.api, "report", "-o", "name").out.split() == [paused, unblocked, pinned]
    incident.clock.advance(25 * 3600)
    assert run(incident.api, "report", "-o", "name").out.split() == [paused, pinned]


def test_named_entries_by_prefix_with_what_undid_them(run: Run, incident: Incident) -> None:
    paused, unblocked, _ = rescue(run, incident)
    journal = run.journal(incident.api)
    entry = next(e for e in journal.read().entries if e.id == paused)
    journal.reopen(entry).write([Settled({(0, 0): "restored"}, unblocked, incident.clock())])
    assert run(incident.api, "report", paused[:5], "-o", "name").out.split() == [paused, unblocked]


def test_an_entry_that_is_not_there(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "report", "zz")
    assert (ran.code, ran.out, ran.err) == (
        1,
        "",
        "error: there is no entry 'zz' (AR1301)\n  the log is empty\n",
    )


# -- facts


def test_the_whole_story(run: Run, incident: Incident) -> None:
    paused, unblocked, pinned = rescue(run, incident)
    ran = markdown(run, incident)
    assert ran.err == ""
    head = ran.out.splitlines()[:10]
    assert head[0] == "# Rescue of traefik"
    assert "- Cluster: in-memory (https://in-memory.invalid), Argo CD v3.2.11 in argocd" in head
    assert f"- Entries: {paused}, {unblocked}, {pinned}" in head
    assert "- First write: 2026-11-27 17:00:00 UTC" in head
    assert "- Time to mitigation: 62s (healthy since 2026-11-27 17:01:02 UTC)" in head
    rows = [line.strip("| ").split(" | ") for line in section(ran.out, "Timeline")[2:]]
    assert [row[2:4] for row in rows] == [
        ["deployed root " + incident.bad_commit[:7], "Succeeded"],
        ["deployed traefik 2.5.1", "Succeeded"],
        ["pause root (auto-sync off), because: INC-4711", "applied"],
        ["unblock AppProject cluster (no sync window stops traefik)", "applied"],
        ["pin traefik (2.5.1 to 2.4.1)", "applied"],
        ["deployed traefik 2.4.1", "Succeeded"],
        ["health of traefik", "Healthy"],
    ]
    edits = section(ran.out, "Edits")
    assert f"### {pinned}: pin traefik" in edits
    assert '- /spec/source/targetRevision: "2.5.1"' in edits
    assert section(ran.out, "Pending git change") == [
        f"Repository {GIT}, path apps, revision main:",
        "",
        f"- Application argocd/traefik, through Application argocd/root: git is still at {incident.bad_commit[:7]}, "
        f"as compared at {_compared(incident)} (pinned by {pinned})",
        "",
        "```diff",
        " kind: Application",
        " metadata:",
        "   name: traefik",
        "   namespace: argocd",
        " spec:",
        "   source:",
        "     repoURL: https://charts.invalid",
        "     chart: traefik",
        "-    targetRevision: 2.5.1",
        "+    targetRevision: 2.4.1",
        "```",
    ]
    still = section(ran.out, "Still open")
    assert [line[2:8] for line in still if line.startswith("- ")] == [pinned, unblocked, paused]
    assert still[-1] == ("  - Application argocd/root: `+ /spec/syncPolicy/automated/enabled: false` stands")


def _compared(incident: Incident) -> str:
    at: str = incident.api.get(APPLICATION, "argocd", "root")["status"]["reconciledAt"]
    return at.replace("T", " ").replace("Z", " UTC")


def test_json_has_the_same_facts(run: Run, incident: Incident) -> None:
    *_, pinned = rescue(run, incident)
    told = report(run, incident)
    assert told["firstWrite"] == "2026-11-27T17:00:00Z"
    assert (told["mitigated"], told["secondsToMitigation"]) == ("2026-11-27T17:01:02Z", 62)
    [owed] = told["owed"]
    assert (owed["repoURL"], owed["path"], owed["revision"]) == (GIT, "apps", "main")
    assert owed["owner"] == {"kind": "Application", "namespace": "argocd", "name": "root"}
    assert owed["patch"].endswith("-    targetRevision: 2.5.1\n+    targetRevision: 2.4.1\n")
    assert owed["entries"] == [pinned]
    assert len(told["open"]) == 3
    assert told["timeline"][-1] == {
        "at": "2026-11-27T17:01:02Z",
        "who": "Argo CD",
        "what": "health of traefik",
        "result": "Healthy",
        "entry": "",
    }


def test_time_to_mitigation_is_not_made_up(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", "2.4.1", seconds=0)
    told = report(run, incident)
    assert (told["mitigated"], told["secondsToMitigation"]) == (None, None)
    assert "has not been synced to 2.4.1" in markdown(run, incident).out


def test_a_pin_that_somebody_wrote_over_was_synced_at_least(run: Run, incident: Incident) -> None:
    rescue(run, incident)

    def other(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "2.5.1"

    incident.api.edit(APPLICATION, "argocd", "traefik", other)
    [mitigation] = report(run, incident)["mitigations"]
    assert mitigation["synced"] == "2026-11-27T17:01:00Z"
    assert mitigation["healthy"] is None


def test_the_time_is_that_of_the_last_rescue(run: Run, incident: Incident) -> None:
    *_, pinned = rescue(run, incident)

    def back(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "2.5.1"

    incident.api.edit(APPLICATION, "argocd", "traefik", back)
    journal = run.journal(incident.api, "bobs")
    for entry in journal.read().entries:
        settled = {(n, i): "restored" for n, i, _, _ in entry.unsettled()}
        journal.reopen(entry).write([Settled(settled, "", incident.clock())])
    incident.argocd.run(600)
    do(run, incident, "pin", "traefik", "2.4.1")
    told = report(run, incident)
    assert told["firstWrite"] == "2026-11-27T17:11:30Z"
    assert told["secondsToMitigation"] == 2
    assert len(told["entries"]) == 4


def test_a_version_that_ran_already_needed_no_sync(run: Run, incident: Incident) -> None:
    rescue(run, incident)

    def hold(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "2.5.1"
        app["spec"]["syncPolicy"]["automated"]["enabled"] = False

    incident.api.edit(APPLICATION, "argocd", "traefik", hold)
    incident.argocd.run(30)
    do(run, incident, "pin", "traefik", "2.4.1", "--no-sync")
    [mitigation] = report(run, incident)["mitigations"]
    assert mitigation["synced"] == mitigation["healthy"] == mitigation["started"]


def test_a_rollback_mitigates_as_well(run: Run, incident: Incident) -> None:
    do(run, incident, "unblock", "traefik", "--yes")
    do(run, incident, "rollback", "traefik", "--yes")
    told = report(run, incident)
    [mitigation] = told["mitigations"]
    assert mitigation["version"].startswith("2.4.1 (")
    assert mitigation["synced"] == "2026-11-27T17:00:30Z"
    assert told["mitigated"] == mitigation["healthy"] == "2026-11-27T17:00:32Z"
    # The spec still asks for what broke: git owes that.
    refresh(incident, "traefik")
    owed = "\n".join(section(markdown(run, incident).out, "Pending git change"))
    assert "git asks for 2.5.1" in owed and "would change Deployment traefik" in owed and "held by" in owed


def test_without_a_pin_nothing_is_said_of_mitigation(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    assert "- Time to mitigation: not known: no version was pinned" in markdown(run, incident).out


def test_a_failed_sync_is_in_the_timeline(run: Run, incident: Incident) -> None:
    rescue(run, incident)

    def fail(app: Any) -> None:
        state = app["status"]["operationState"]
        state["phase"], state["message"] = "Failed", "chart | not found"

    incident.api.edit(APPLICATION, "argocd", "traefik", fail)
    assert "| sync of traefik | Failed: chart \\| not found |" in markdown(run, incident).out


# -- what git owes


def test_git_that_agrees_owes_nothing(run: Run, incident: Incident) -> None:
    rescue(run, incident)
    incident.push("2.4.1")
    refresh(incident, "root")
    told = report(run, incident)
    assert told["owed"] == []
    assert told["inGit"] == [{"kind": "Application", "namespace": "argocd", "name": "traefik"}]
    assert "- Application argocd/traefik: git agrees with what is live." in markdown(run, incident).out


def test_git_that_went_elsewhere_still_owes(run: Run, incident: Incident) -> None:
    rescue(run, incident)
    commit = incident.push("2.6.0")
    refresh(incident, "root")
    [owed] = report(run, incident)["owed"]
    assert f"git (now at {commit}) asks for something else" in owed["why"]


def test_an_agreement_from_before_the_pin_does_not_count(run: Run, incident: Incident) -> None:
    rescue(run, incident)

    def stale(app: Any) -> None:
        app["status"]["reconciledAt"] = "2026-11-27T16:00:00Z"
        for line in app["status"]["resources"]:
            line["status"] = "Synced"

    incident.api.edit(APPLICATION, "argocd", "root", stale)
    [owed] = report(run, incident)["owed"]
    assert "has not been compared with git since" in owed["why"]


def test_pins_on_pins_are_one_change_for_git(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    first = do(run, incident, "pin", "traefik", "2.4.1")
    second = do(run, incident, "pin", "traefik", "2.4.0", "--yes")
    [owed] = report(run, incident)["owed"]
    assert owed["patch"].endswith("-    targetRevision: 2.5.1\n+    targetRevision: 2.4.0\n")
    assert owed["entries"] == [first, second]


def test_an_undone_pin_owes_nothing(run: Run, incident: Incident) -> None:
    *_, pinned = rescue(run, incident)

    def back(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "2.5.1"

    incident.api.edit(APPLICATION, "argocd", "traefik", back)
    journal = run.journal(incident.api, "bobs")
    entry = next(e for e in journal.read().entries if e.id == pinned)
    journal.reopen(entry).write([Settled({(0, 0): "restored"}, "", incident.clock())])
    assert report(run, incident)["owed"] == []
    owed = section(markdown(run, incident).out, "Pending git change")
    assert owed[0].startswith("Nothing: ")


def test_an_app_that_no_git_owns_owes_nothing(run: Run, incident: Incident) -> None:
    def orphan(app: Any) -> None:
        del app["metadata"]["annotations"]

    incident.api.remove(APPLICATION, "argocd", "root")
    incident.api.edit(APPLICATION, "argocd", "traefik", orphan)
    do(run, incident, "pin", "traefik", "2.4.1")
    assert report(run, incident)["owed"] == []


def test_an_app_that_is_gone_is_no_reason_to_fail(run: Run, incident: Incident) -> None:
    rescue(run, incident)
    incident.api.remove(APPLICATION, "argocd", "traefik")
    told = report(run, incident)
    assert told["owed"] == []
    assert told["mitigated"] is None
    assert "the object is gone" in markdown(run, incident).out


def test_an_unreadable_owner_is_no_reason_to_fail(run: Run, incident: Incident) -> None:
    rescue(run, incident)
    incident.api.deny("get", "applications", name="root")
    ran = run(incident.api, "report")
    assert ran.code == 0
    assert "Application argocd/root" in ran.err


def test_a_generated_app_owes_through_its_set(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    template: Any = {
        "metadata": {"name": "shop"},
        "spec": {
            "project": "cluster",
            "source": {"repoURL": "https://charts", "chart": "shop", "targetRevision": "2.0.0"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
        },
    }
    made = incident.api.create(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {
                "name": "shops",
                "namespace": "argocd",
                "annotations": {
                    "argocd.argoproj.io/tracking-id": "root:argoproj.io/ApplicationSet:argocd/shops"
                },
            },
            "spec": {"generators": [{"list": {"elements": [{}]}}], "template": template},
        }
    )
    incident.api.create(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                "name": "shop",
                "namespace": "argocd",
                "ownerReferences": [
                    {
                        "apiVersion": "argoproj.io/v1alpha1",
                        "kind": "ApplicationSet",
                        "name": "shops",
                        "uid": made["metadata"]["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": {**template["spec"], "source": {**template["spec"]["source"], "targetRevision": "1.0.0"}},
        }
    )

    def own(root: Any) -> None:
        line = {"group": "argoproj.io", "version": "v1alpha1", "kind": "ApplicationSet"}
        root["status"]["resources"].append({**line, "namespace": "argocd", "name": "shops"})

    incident.api.edit(APPLICATION, "argocd", "root", own)
    ref = ref_of(incident.api.get(APPLICATION, "argocd", "shop"))
    change = FieldChange(("spec", "source", "targetRevision"), "2.0.0", "1.0.0")
    run.journal(incident.api).begin(
        [
            Begin("pin", ("pin", "shop", "1.0.0"), "alice", "", incident.clock(), "", "argocd"),
            Intent(0, Edit(ref, (change,), "2.0.0 to 1.0.0", Role.VERSION)),
            Outcome({0: "applied"}),
        ]
    )
    [owed] = report(run, incident)["owed"]
    assert owed["owner"]["kind"] == "ApplicationSet"
    assert (owed["repoURL"], owed["path"]) == (GIT, "apps")
    assert "the template of ApplicationSet argocd/shops says 2.0.0" in owed["why"]
    out = markdown(run, incident).out
    assert "the change belongs into the template or the parameters of ApplicationSet argocd/shops." in out


# -- the patch text


def test_one_of_several_sources_is_named_by_what_tells_it_apart() -> None:
    match = Match((("repoURL", "https://charts"), ("chart", "shop"), ("path", ABSENT)), 1)
    change = FieldChange(("spec", "sources", match, "targetRevision"), "2.0.0", "1.0.0")
    assert manifest_patch(app(name="shop", sources=[]), [change]) == [
        " kind: Application",
        " metadata:",
        "   name: shop",
        "   namespace: argocd",
        " spec:",
        "   sources:",
        "   - repoURL: https://charts",
        "     chart: shop",
        "-    targetRevision: 2.0.0",
        "+    targetRevision: 1.0.0",
    ]


def test_a_revision_that_was_absent_is_added() -> None:
    change = FieldChange(("spec", "source", "targetRevision"), ABSENT, "abc")
    patch = manifest_patch(app(name="shop", source={"repoURL": "https://git", "path": "."}), [change])
    assert patch[-3:] == ["     repoURL: https://git", "     path: .", "+    targetRevision: abc"]


def test_a_whole_source_shows_only_what_differs() -> None:
    before = {"repoURL": "https://git", "helm": {"values": "a: 1\n"}, "targetRevision": "2"}
    after = {"repoURL": "https://git", "helm": {"values": "a: 2\n"}, "targetRevision": "1"}
    patch = manifest_patch(app(name="shop", source=after), [FieldChange(("spec", "source"), before, after)])
    assert [line for line in patch if line[0] in "+-"] == [
        "-      values: (1 line)",
        "-    targetRevision: '2'",
        "+      values: (changed, 1 line)",
        "+    targetRevision: '1'",
    ]


# -- text from elsewhere


def test_text_of_others_is_no_markup(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root", "--reason", "a | b\n## Owed <b>`x`\x1b[2J")
    out = markdown(run, incident).out
    assert "a \\| b ## Owed \\<b>\\`x\\`" in out
    assert out.count("\n## ") == 4
    assert "\x1b" not in out


def test_a_fence_is_longer_than_what_it_holds(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", "2.4.1")

    def nasty(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "```\n# x"

    incident.api.edit(APPLICATION, "argocd", "traefik", nasty)
    edits = section(markdown(run, incident).out, "Edits")
    assert "````diff" in edits
    assert "# x" not in edits


def test_a_deadline_is_in_what_is_still_open(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    [path] = run.state_home().rglob("*.jsonl")
    expires = (incident.clock() + timedelta(hours=1)).isoformat()
    path.write_text(path.read_text().replace('"expires":null', f'"expires":"{expires}"'))
    assert "expires in 60m; undo with" in markdown(run, incident).out
