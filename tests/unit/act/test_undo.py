"""Undo, command line by command line, against the simulated Argo CD.

Aspects: what another open entry relies on stays and goes back with it later; a chain of entries
folded; undo of an undo, and again; a part of an entry (`undo APP`); conflicts shown with three values
and the three ways out; an entry of somebody else; overdue entries are reminded of; nothing to undo; a claim taken
when all was over; what cannot be read is not gone, and no reason to roll out; what git wants of an object
that is undone as well; names that are ids; reasons that draw; a home that lacks the entry; answers that are old.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import (
    APPLICATION,
    APPLICATIONSET,
    APPPROJECT,
    CONFIGMAP,
    DEPLOYMENT,
    EVENT,
    JSON,
)
from kubectl_argo_rescue.simulation.incident import (
    BAD,
    CHARTS,
    GOOD,
    Incident,
    application,
    apps_in_git,
    traefik_chart,
)
from kubectl_argo_rescue.simulation.wire import Request

from ..build import app_in
from ..harness import Ran, Run, lag
from ..played import traefik_incident


def automated(incident: Incident, name: str) -> JSON:
    return (app_in(incident, name)["spec"].get("syncPolicy") or {}).get("automated")


def windows(incident: Incident) -> JSON:
    return incident.api.get(APPPROJECT, "argocd", "cluster")["spec"].get("syncWindows")


def do(run: Run, incident: Incident, *words: str, code: int = 0, user: str = "alice") -> str:
    """Run one command a second after the last, and return the id of the entry it made."""
    incident.clock.advance(1)
    ran = run(incident.api, *words, "-o", "json", user=user)
    assert ran.code == code, ran.err
    entry: str = ran.json["entry"]
    return entry


def test_nothing_to_undo(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "undo")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing to undo" in ran.err


def test_a_pause_that_another_entry_needs_stays_and_goes_back_with_it(run: Run, incident: Incident) -> None:
    root = do(run, incident, "pause", "root")
    unblock = do(run, incident, "unblock", "traefik")
    before = automated(incident, "root")
    ran = run(incident.api, "undo", root)
    assert ran.code == 4
    assert f"entry {unblock} still needs it" in ran.err
    assert automated(incident, "root") == before
    # The first was wanted back already: with the second it goes, though only that one is named.
    incident.clock.advance(1)
    ran = run(incident.api, "undo", unblock, "--yes")
    assert ran.code == 0, ran.err
    assert f"entry {root} was undone but for what this one needed" in ran.err
    assert windows(incident)[0]["applications"][0] == "traefik"
    assert "enabled" not in automated(incident, "root")
    assert run(incident.api, "log", "--open").out.count("\n") <= 1


def test_two_entries_on_one_window(run: Run, incident: Incident) -> None:
    original = windows(incident)
    do(run, incident, "pause", "root")
    first = do(run, incident, "unblock", "traefik")
    second = do(run, incident, "unblock", "web")
    assert windows(incident) == []
    do(run, incident, "undo", first)
    assert [w["applications"] for w in windows(incident)] == [["traefik"], ["traefik"]]
    do(run, incident, "undo", second)
    assert windows(incident) == original


def test_undo_of_an_undo_and_again(run: Run, incident: Incident) -> None:
    original = app_in(incident, "web")["spec"]
    do(run, incident, "pause", "root")
    paused = do(run, incident, "pause", "web")
    written = app_in(incident, "web")["spec"]
    undone = do(run, incident, "undo", paused)
    assert app_in(incident, "web")["spec"] == original
    redone = do(run, incident, "undo", undone)
    assert app_in(incident, "web")["spec"] == written
    assert f"{paused}" in run(incident.api, "log", "--open").out
    do(run, incident, "undo", redone)
    assert app_in(incident, "web")["spec"] == original


def test_a_part_of_an_entry(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    both = do(run, incident, "pause", "web", "traefik")
    do(run, incident, "undo", "web")
    assert automated(incident, "web").get("enabled") is not False
    assert automated(incident, "traefik")["enabled"] is False
    assert "partly undone" in run(incident.api, "show", both).out


def test_by_application_finds_its_windows(run: Run, incident: Incident) -> None:
    original = windows(incident)
    do(run, incident, "pause", "root")
    do(run, incident, "unblock", "traefik")
    do(run, incident, "undo", "traefik")
    assert windows(incident) == original
    assert automated(incident, "root")["enabled"] is False


@pytest.mark.parametrize(
    ("how", "code", "prune"), [("stop", 3, False), ("skip", 4, False), ("overwrite", 0, True)]
)
def test_conflicts(run: Run, incident: Incident, how: str, code: int, prune: bool) -> None:
    old = traefik_incident(version=(3, 0))  # auto-sync off means that the block goes
    old.api.idle = lambda: old.argocd.tick(0.5)
    do(run, old, "pause", "root")
    original = app_in(old, "root")["spec"]
    assert "automated" not in (original.get("syncPolicy") or {})

    def somebody(obj: JSON) -> None:
        obj["spec"]["syncPolicy"] = {"automated": {"prune": False}}

    old.api.edit(APPLICATION, "argocd", "root", somebody)
    incident.clock.advance(1)
    ran = run(old.api, "undo", f"--on-conflict={how}", "--yes")
    assert ran.code == code, ran.err
    assert "somebody else" in ran.err
    assert bool(automated(old, "root").get("prune")) is prune


@pytest.mark.parametrize(("how", "code"), [("stop", 3), ("skip", 4), ("overwrite", 0)])
@pytest.mark.parametrize("form", [[], ["--dry-run=client"]])
def test_conflicts_are_data(run: Run, incident: Incident, how: str, code: int, form: list[str]) -> None:
    entry = do(run, incident, "pause", "root", "web")
    original = app_in(incident, "root")["spec"]["syncPolicy"]["automated"]

    def somebody(obj: JSON) -> None:
        obj["spec"]["syncPolicy"]["automated"]["enabled"] = True

    incident.api.edit(APPLICATION, "argocd", "root", somebody)
    ran = run(incident.api, "undo", f"--on-conflict={how}", "--yes", "-o", "json", *form)
    assert ran.code == (code if how == "stop" or not form else 0), ran.err
    assert "enabled" in original
    assert ran.json["data"]["conflicts"] == [
        {
            "kind": "Application",
            "namespace": "argocd",
            "name": "root",
            "path": "/spec/syncPolicy/automated/enabled",
            "entry": entry,
            "base": False,
            "ours": True,
            "overwritten": how == "overwrite",
        }
    ], "there is no `theirs`: the field was absent"


@pytest.mark.parametrize("part", [b"refresh", b"/spec"])
def test_a_conflict_in_the_middle_of_an_undo_is_data(run: Run, incident: Incident, part: bytes) -> None:
    """Also where the field is written while Argo CD is asked to compare."""
    entry = do(run, incident, "pause", "root", "web")

    def meddle(request: Request) -> Response | None:
        is_ours = request.path.endswith("/applications/web") and part in (request.body or b"")
        if request.method == "PATCH" and is_ours and not met:
            met.append(request)
            incident.api.edit(APPLICATION, "argocd", "web", somebody)
        return None

    def somebody(obj: JSON) -> None:
        obj["spec"]["syncPolicy"]["automated"]["enabled"] = True

    met: list[Request] = []
    incident.api.before.append(meddle)
    ran = run(incident.api, "undo", "--yes", "-o", "json")
    assert ran.code == 3, ran.err
    [conflict] = ran.json["data"]["conflicts"]
    assert (conflict["name"], conflict["entry"], conflict["ours"]) == ("web", entry, True)
    assert automated(incident, "web")["enabled"] is True
    if part == b"/spec":
        assert ran.json["data"]["undoes"] == [entry]
    else:
        assert "nothing was changed; run it again" in ran.err


def test_an_entry_of_somebody_else_needs_a_yes(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root", "--reason", "INC-1")
    incident.clock.advance(60)
    ran = run(incident.api, "undo", user="bob", laptop="bobs")
    assert ran.code == 5
    assert "by alice" in ran.err
    assert "INC-1" in ran.err
    assert automated(incident, "root")["enabled"] is False
    assert run(incident.api, "undo", "--yes", user="bob", laptop="bobs").code == 0
    assert "enabled" not in automated(incident, "root")


def test_every_command_reminds_of_what_is_overdue(run: Run, incident: Incident) -> None:
    begun = incident.clock()
    entry = do(run, incident, "pause", "root", "--expires", "2h", "--reason", "INC-2")
    assert "was to be undone" not in run(incident.api, "watch", "web").err
    incident.clock.advance(3 * 3600)
    for laptop in ("alices", "bobs"):
        late = int((incident.clock() - begun).total_seconds()) // 60 - 120  # the watch took some time as well
        ran = run(incident.api, "windows", "web", laptop=laptop)
        assert f"entry {entry} of alice (INC-2) was to be undone {late}m ago and still stands" in ran.err
    do(run, incident, "undo")
    assert "was to be undone" not in run(incident.api, "windows", "web").err


def test_a_clock_that_jumped_back_between_two_entries(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", "2.4.1")
    incident.clock.advance(-3600)
    do(run, incident, "pin", "traefik", "2.4.0")
    ran = run(incident.api, "undo", "--redeploy", "--yes")
    assert ran.code == 0, ran.err
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.5.1"
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


@pytest.mark.parametrize("is_automatic", [True, False])
def test_a_version_that_went_back_without_auto_sync_is_still_to_be_deployed(
    run: Run, incident: Incident, is_automatic: bool
) -> None:
    incident.api.remove(APPLICATION, "argocd", "root")

    def change(live: JSON) -> None:
        live["metadata"].pop("annotations", None)
        if not is_automatic:
            live["spec"].pop("syncPolicy")

    incident.api.edit(APPLICATION, "argocd", "web", change)
    do(run, incident, "pin", "web", "1.0.1", "--no-sync")
    incident.clock.advance(1)
    ran = run(incident.api, "undo", "--redeploy", "--yes")
    assert ran.code == 0, ran.err
    assert app_in(incident, "web")["spec"]["source"]["targetRevision"] == "1.0.0"
    assert ("go on with: kubectl argo-rescue sync web" in ran.err) is not is_automatic


def _rescued_and_fixed(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "unblock", "traefik")
    do(run, incident, "pin", "traefik", "2.4.1")
    incident.argocd.run(60)


def test_an_owner_that_is_gone_gives_no_evidence(run: Run, incident: Incident) -> None:
    _rescued_and_fixed(run, incident)
    incident.api.remove(APPLICATION, "argocd", "root")
    before = windows(incident)
    incident.clock.advance(1)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 5
    assert "Application argocd/root of the time of the rescue does not exist any more" in ran.err
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.4.1"
    assert windows(incident) != before, "the windows go back all the same"
    incident.clock.advance(1)
    assert run(incident.api, "undo", "--yes", "--redeploy").code == 0
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.5.1"


def test_an_owner_under_a_new_name_is_asked(run: Run, incident: Incident) -> None:
    _rescued_and_fixed(run, incident)
    root = app_in(incident, "root")
    incident.api.remove(APPLICATION, "argocd", "root")
    root["metadata"] = {"name": "root-2", "namespace": "argocd"}
    root["spec"]["syncPolicy"]["automated"] = {"selfHeal": True}
    incident.push("2.4.1")
    incident.api.create(root)
    incident.argocd.run(60)
    incident.clock.advance(1)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 0, ran.err
    assert "its version stays: git equals what is live" in ran.out
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.4.1"


def test_two_at_once_write_once(run: Run, incident: Incident) -> None:
    """The second reads before the first writes, and finds it done when it comes to write."""
    others: list[Ran | None] = []

    def meanwhile(request: Request) -> None:
        if request.method == "PATCH" and request.path.endswith("/applications/root") and not others:
            others.append(None)
            others.append(run(incident.api, "pause", "root", user="bob", laptop="bobs"))

    incident.api.before.append(meanwhile)
    ran = run(incident.api, "pause", "root")
    assert others[1] is not None
    assert (ran.code, others[1].code) == (0, 0)
    assert "already so" in ran.out
    incident.clock.advance(1)
    undone = run(incident.api, "undo", "--yes")
    assert undone.code == 0, undone.err
    assert "enabled" not in automated(incident, "root")


def test_an_undo_that_claims_too_late_is_told(run: Run, incident: Incident) -> None:
    """Bob reads the entry, alice undoes it and is done, bob takes the free claim: nothing of his is sent."""
    entry = do(run, incident, "pause", "root")
    undone: list[Ran | None] = []

    def meanwhile(request: Request) -> None:
        if request.path.endswith(f"/configmaps/argo-rescue-{entry}") and not undone:
            undone.append(None)
            undone.append(run(incident.api, "undo", user="alice"))

    incident.api.before.append(meanwhile)
    ran = run(incident.api, "undo", "--yes", user="bob", laptop="bobs")
    first = undone[1]
    assert first is not None
    assert first.code == 0, first.err
    assert ran.code == 3, ran.err
    assert f"error: entry {entry} was undone just now by entry " in ran.err
    assert f"kubectl argo-rescue show {entry}" in ran.err
    written = [
        r
        for r in incident.api.writes()
        if r.path.endswith("/applications/root") and b"enabled" in (r.body or b"")
    ]
    assert len(written) == 2, "the pause, and one undo of it"
    assert "claim" not in incident.api.get(CONFIGMAP, "argocd", f"argo-rescue-{entry}")["data"]
    again = run(incident.api, "undo", "--yes", user="bob", laptop="bobs")
    assert (again.code, "nothing to undo" in again.err) == (0, True)


def _calm(version: tuple[int, int] = (3, 2)) -> Incident:
    """2.4.1 everywhere, git included, and no windows."""
    made = traefik_incident(version=version)
    made.api.idle = lambda: made.argocd.tick(0.5)
    _commit(made, GOOD)
    made.argocd.run(200)
    assert app_in(made, "traefik")["spec"]["source"]["targetRevision"] == GOOD
    return made


def _commit(incident: Incident, version: str, without: str = "") -> None:
    objects = [o for o in apps_in_git(version) if o["metadata"]["name"] != without]
    objects[0]["spec"].pop("syncWindows")
    incident.git.commit({"apps": objects})

    def open_up(project: JSON) -> None:
        project["spec"].pop("syncWindows", None)

    incident.api.edit(APPPROJECT, "argocd", "cluster", open_up)


@pytest.mark.parametrize(("version", "with_key"), [((3, 2), True), ((3, 0), False)])
def test_what_git_wants_of_an_object_that_is_undone_as_well(
    run: Run, version: tuple[int, int], with_key: bool
) -> None:
    """Somebody merges the bad version during a freeze: its end must not roll it out unasked.

    Its paused owner is asked under a hold, also where a pause takes the block away, which differs anyway.
    """
    incident = _calm(version)
    do(run, incident, "pause", "root", "traefik")
    _commit(incident, BAD)
    incident.argocd.run(200)
    ran = run(incident.api, "undo")
    assert ran.code == 5, ran.err
    assert f"git asks for {BAD}" in ran.err and "which would change Deployment traefik" in ran.err
    assert "everything is as it was before" in ran.err
    paused = {"prune": True, "selfHeal": True, "enabled": False} if with_key else None
    assert automated(incident, "traefik") == paused
    assert "root" in run(incident.api, "log", "--open").out
    incident.argocd.run(200)
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == GOOD
    assert run(incident.api, "undo", "--yes").code == 5, "a yes lets no version roll"
    incident.argocd.run(200)
    live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
    assert live["spec"]["template"]["spec"]["containers"][0]["image"].endswith(GOOD)
    assert run(incident.api, "undo", "--redeploy", "--yes").code == 0
    incident.argocd.run(200)
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == BAD, "that was asked for"


@pytest.mark.parametrize("version", [(3, 2), (3, 0)])
def test_the_end_of_a_freeze_on_which_git_agrees_asks_nothing(run: Run, version: tuple[int, int]) -> None:
    incident = _calm(version)
    do(run, incident, "pause", "root", "traefik")
    ran = run(incident.api, "undo")
    assert ran.code == 0, ran.err
    assert automated(incident, "root") == automated(incident, "traefik") == {"prune": True, "selfHeal": True}


@pytest.mark.parametrize("version", [(3, 2), (3, 0)])
def test_what_a_resumed_owner_would_prune_is_asked(run: Run, version: tuple[int, int]) -> None:
    incident = _calm(version)
    do(run, incident, "pause", "root")
    _commit(incident, GOOD, without="web")
    incident.argocd.run(200)
    ran = run(incident.api, "undo")
    assert ran.code == 5
    assert "auto-sync of root will also prune Application web" in ran.err


@pytest.mark.parametrize("how", ["forbidden", "500", "reset"])
def test_what_cannot_be_read_is_not_gone(run: Run, incident: Incident, how: str) -> None:
    do(run, incident, "pause", "root")
    if how == "forbidden":
        incident.api.deny(verb="get", resource="applications", name="root")

    def fail(request: Request) -> Response | None:
        if request.method != "GET" or not request.path.endswith("/applications/root"):
            return None
        if how == "reset":
            raise TransportError("connection reset by peer")
        return (
            Response(500, {"content-type": "text/plain"}, b"etcd: leader changed") if how == "500" else None
        )

    incident.api.before.append(fail)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 1, ran.err
    assert "error: Application argocd/root cannot be read, so what stands of it is not known" in ran.err
    assert "does not exist any more" not in ran.err
    incident.api.before.remove(fail)
    incident.api.denied.clear()
    assert run(incident.api, "undo", "--yes").out == "application.argoproj.io/root auto-sync restored\n"


def test_an_owner_that_cannot_be_read_is_no_reason_to_roll_out(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", GOOD)
    incident.api.deny(verb="get", resource="applications", name="root")
    incident.api.deny(verb="list", resource="applications")
    entry = run(incident.api, "log", "-o", "name").out.split()[0]
    run(incident.api, "undo", entry, "--yes")
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == GOOD


def test_a_name_that_may_be_an_entry_or_an_application(run: Run, incident: Incident) -> None:
    root = do(run, incident, "pause", "root")
    web = {"repoURL": CHARTS, "chart": "web", "targetRevision": "1.0.0"}
    twin = root[:4]
    for name in (twin, "facade"):
        incident.api.create(application(name, project="default", source=web, namespace="web"))
        incident.argocd.run(30)
        do(run, incident, "pause", name)
    ran = run(incident.api, "undo", twin)
    assert ran.code == 2
    assert f"say argocd/{twin} for the one, entry/{twin} for the other" in ran.err
    assert run(incident.api, "undo", f"argocd/{twin}", "--redeploy").out.startswith(
        f"application.argoproj.io/{twin} "
    )
    assert run(incident.api, "undo", f"entry/{twin}", "--yes").out.startswith("application.argoproj.io/root ")
    assert run(incident.api, "undo", "facade", "--redeploy").out.startswith("application.argoproj.io/facade ")
    ran = run(incident.api, "undo", root[:3])
    assert (ran.code, ran.out) == (1, ""), "too short to be more than a slip"


def test_the_reason_of_somebody_else_cannot_draw_a_plan(run: Run, incident: Incident) -> None:
    drawn = "x\x1b[2J\x1b]0;t\x07\r\n  + Application argocd/harmless"
    for words, screen in ((["--yes"], False), ([], True)):
        do(run, incident, "pause", "root", "--reason", drawn)
        ran = run(incident.api, "undo", *words, user="bob", laptop="bobs", terminal=screen, typed="n\n")
        assert "because: x" in ran.err
        assert not {"\x1b", "\x07", "\r"} & set(ran.err)
        assert not [
            line for line in ran.err.splitlines() if line.startswith("  + Application argocd/harmless")
        ]


def test_an_entry_goes_whole_into_a_home_that_lacks_it(run: Run, incident: Incident) -> None:
    entry = do(run, incident, "pause", "root")
    incident.api.remove(CONFIGMAP, "argocd", f"argo-rescue-{entry}")
    assert run(incident.api, "undo").code == 0
    for laptop in ("laptop", "bobs"):
        ran = run(incident.api, "log", "-o", "name", laptop=laptop)
        assert (entry in ran.out, "lost its first record" in ran.err) == (True, False)


def test_an_owner_does_not_write_over_what_is_skipped(run: Run) -> None:
    """A colleague moved on to 2.4.0 by hand; git still asks for what broke."""
    incident = _calm()
    _commit(incident, BAD)
    incident.argocd.run(200)
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", GOOD)

    def move_on(traefik: JSON) -> None:
        traefik["spec"]["source"]["targetRevision"] = "2.4.0"

    incident.api.edit(APPLICATION, "argocd", "traefik", move_on)
    ran = run(incident.api, "undo", "--on-conflict=skip", "--yes")
    assert ran.code == 4, ran.err
    assert "Application root stays as it is: it would write over what somebody set on traefik" in ran.err
    incident.argocd.run(100)
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.4.0"


@pytest.mark.parametrize("pinned", [False, True])
def test_what_git_dropped_is_not_deleted_unasked(run: Run, pinned: bool) -> None:
    incident = _calm()
    do(run, incident, "pause", "root", "traefik")
    if pinned:
        do(run, incident, "pin", "traefik", "2.4.0", "--yes")
    _commit(incident, GOOD, without="traefik")
    incident.argocd.run(200)
    ran = run(incident.api, "undo", *(["--redeploy"] if pinned else []))
    assert ran.code == 5, ran.err
    assert "auto-sync of root will also prune Application traefik" in ran.err
    incident.argocd.run(100)
    assert app_in(incident, "traefik")


@pytest.mark.parametrize(
    "rule",
    [
        {"jqPathExpressions": ['.spec.source["targetRevision"]']},
        {"jqPathExpressions": [".. | .targetRevision?"]},
        {"jsonPointers": ["/spec/source"]},
        {"managedFieldsManagers": ["kubectl-argo-rescue"]},
        {"group": "argoproj.*", "kind": "App*", "jsonPointers": ["/spec/source/targetRevision"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["owner", "argocd-cm"])
def test_what_a_rule_may_hide_is_no_agreement(
    run: Run, incident: Incident, rule: dict[str, JSON], place: str
) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", GOOD)

    def ignore(root: JSON) -> None:
        root["spec"]["ignoreDifferences"] = [{"group": "argoproj.io", "kind": "Application", **rule}]
        for line in root["status"]["resources"]:
            line["status"] = "Synced"

    def customise(settings: JSON) -> None:
        name = "resource.customizations.ignoreDifferences.argoproj.io_Application"
        settings["data"] = {**(settings.get("data") or {}), name: json.dumps(rule)}

    if place == "owner":
        incident.api.edit(APPLICATION, "argocd", "root", ignore)
    else:
        incident.api.edit(CONFIGMAP, "argocd", "argocd-cm", customise)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 5, ran.err
    assert "may hide the field" in ran.err
    assert "enabled" in automated(incident, "root"), "it stays paused"


def test_a_window_that_names_no_application_is_undone_by_its_entry(run: Run, incident: Incident) -> None:
    entry = _unblocked_by_a_pattern(run, incident)
    ran = run(incident.api, "undo", "traefik")
    assert ran.code == 5, ran.err
    assert f"what entry {entry} did is not about Application argocd/traefik alone" in ran.err
    assert ran.err.endswith(f"undo all of it: kubectl argo-rescue undo {entry}\n")
    assert run(incident.api, "undo", entry).code == 0
    assert (
        run(incident.api, "undo", "traefik").err
        == "nothing of Application argocd/traefik is left to undo\nnothing to undo\n"
    )
    assert run(incident.api, "undo", entry).code == 0, (
        "the words of an undo do not make its id an application"
    )


def test_an_application_that_was_undone_alone_has_nothing_left(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "web", "traefik", "--yes")
    do(run, incident, "undo", "web")
    ran = run(incident.api, "undo", "web")
    assert (ran.code, ran.err) == (0, "nothing of Application argocd/web is left to undo\nnothing to undo\n")


def test_an_undo_and_an_entry_are_not_undone_in_one_call(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "web", "--yes")
    undone = do(run, incident, "undo", "--yes")
    entry = do(run, incident, "pause", "root")
    ran = run(incident.api, "undo", undone, entry)
    assert (ran.code, ran.out) == (2, "")
    assert f"{undone} is an undo itself" in ran.err


def _fleet(version: str, **spec: JSON) -> JSON:
    """An ApplicationSet that makes traefik."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "fleet", "namespace": "argocd"},
        "spec": {
            "goTemplate": True,
            "generators": [{"list": {"elements": [{"app": "traefik"}]}}],
            "template": {
                "metadata": {"name": "{{.app}}"},
                "spec": {
                    "project": "default",
                    "source": {"repoURL": CHARTS, "chart": "traefik", "targetRevision": version},
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": "traefik"},
                    "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
                },
            },
            **spec,
        },
    }


class _Fleet:
    """root makes the set, the set makes traefik, which went from 2.4.1 to 2.5.1."""

    def __init__(self, **spec: JSON) -> None:
        self.spec = spec
        self.incident = traefik_incident()
        self.incident.api.idle = lambda: self.incident.argocd.tick(0.5)
        self.incident.api.remove(APPLICATION, "argocd", "traefik")
        for version in (GOOD, BAD):
            self.commit(version)
            self.run(300)
        self.seen = [self.image()]
        self.incident.api.after.append(lambda asked, answer: self.look())

    def commit(self, version: str) -> None:
        self.incident.git.commit({"apps": [_fleet(version, **self.spec)]})
        self.incident.clock.advance(200)

    def run(self, seconds: int) -> None:
        self.incident.argocd.run(seconds)

    def image(self) -> str:
        pod = self.incident.api.get(DEPLOYMENT, "traefik", "traefik")["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    def look(self) -> None:
        if self.seen[-1] != self.image():
            self.seen.append(self.image())

    def rules(self) -> JSON:
        return self.incident.api.get(APPLICATIONSET, "argocd", "fleet")["spec"].get(
            "ignoreApplicationDifferences"
        )


@pytest.mark.parametrize("words", [["--yes"], ["--yes", "--redeploy"]])
def test_a_fix_of_git_reaches_the_set_before_its_rule_goes(run: Run, words: list[str]) -> None:
    fleet = _Fleet()
    do(run, fleet.incident, "pause", "root")
    do(run, fleet.incident, "pin", "traefik", GOOD, "--yes")
    fleet.run(100)
    fleet.commit(GOOD)
    ran = run(fleet.incident.api, "undo", *words)
    assert ran.code == 0, ran.err
    fleet.run(100)
    fleet.look()
    assert fleet.seen == [f"traefik:{BAD}", f"traefik:{GOOD}"], "no second outage"
    assert (fleet.rules(), automated(fleet.incident, "root")) == (None, {"prune": True, "selfHeal": True})


def test_a_set_whose_rules_are_in_git_as_well(run: Run) -> None:
    """root would take our rule along with the fix, so that is left to a human."""
    fleet = _Fleet(ignoreApplicationDifferences=[{"name": "x", "jsonPointers": ["/spec/a"]}])
    do(run, fleet.incident, "pin", "traefik", GOOD, "--yes")
    fleet.run(100)
    fleet.commit(GOOD)
    ran = run(fleet.incident.api, "undo", "--yes")
    assert ran.code == 5, ran.err
    assert "its template is about to change" in ran.err
    assert "ApplicationSet fleet keeps its rule until then" in ran.err
    ran = run(fleet.incident.api, "undo", "--yes", "--redeploy")
    assert ran.code == 0, ran.err
    fleet.run(100)
    fleet.look()
    assert fleet.seen == [f"traefik:{BAD}", f"traefik:{GOOD}"], "no second outage"
    assert fleet.rules() == [{"name": "x", "jsonPointers": ["/spec/a"]}]


def test_a_set_that_is_gone_is_no_reason_to_roll_out(run: Run) -> None:
    fleet = _Fleet()
    do(run, fleet.incident, "pin", "traefik", GOOD, "--yes")
    fleet.run(100)

    def orphan(traefik: JSON) -> None:
        traefik["metadata"].pop("ownerReferences", None)

    fleet.incident.api.edit(APPLICATION, "argocd", "traefik", orphan)
    fleet.incident.git.commit({"apps": []})
    fleet.incident.api.remove(APPLICATIONSET, "argocd", "fleet")
    ran = run(fleet.incident.api, "undo", "--yes")
    assert ran.code == 5, ran.err
    assert "does not exist any more" in ran.err
    assert app_in(fleet.incident, "traefik")["spec"]["source"]["targetRevision"] == GOOD


def test_a_set_whose_template_is_not_all_of_it_is_asked(run: Run) -> None:
    own = {"metadata": {}, "spec": {"source": {"targetRevision": BAD}}}
    fleet = _Fleet()
    do(run, fleet.incident, "pin", "traefik", GOOD, "--yes")
    fleet.run(100)

    def override(fleet_set: JSON) -> None:
        fleet_set["spec"]["template"]["spec"]["source"]["targetRevision"] = GOOD
        fleet_set["spec"]["generators"][0]["list"]["template"] = own

    fleet.incident.api.edit(APPLICATIONSET, "argocd", "fleet", override)
    ran = run(fleet.incident.api, "undo", "--yes")
    assert ran.code == 5, ran.err
    assert f"git asks for {BAD} (the template of ApplicationSet argocd/fleet)" in ran.err
    assert "which would change Deployment traefik; its pin stays" in ran.err


def test_a_set_is_not_mended_unasked(run: Run) -> None:
    """A colleague mended the template by hand; root would write what broke into it again."""
    fleet = _Fleet()
    do(run, fleet.incident, "pause", "root")
    do(run, fleet.incident, "pin", "traefik", GOOD, "--yes")
    fleet.run(100)

    def mend(fleet_set: JSON) -> None:
        fleet_set["spec"]["template"]["spec"]["source"]["targetRevision"] = GOOD

    fleet.incident.api.edit(APPLICATIONSET, "argocd", "fleet", mend)
    fleet.run(1)
    ran = run(fleet.incident.api, "undo")
    assert (ran.code, ran.out) == (5, ""), ran.err
    assert "auto-sync of root will also change ApplicationSet fleet" in ran.err
    fleet.run(100)
    template = fleet.incident.api.get(APPLICATIONSET, "argocd", "fleet")["spec"]["template"]["spec"]
    assert template["source"]["targetRevision"] == GOOD


def test_one_application_after_the_other(run: Run, incident: Incident) -> None:
    """What the first undo left for the second goes back with it."""
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    do(run, incident, "pin", "web", "1.0.1", "--yes")
    assert run(incident.api, "undo", "traefik", "--redeploy", "--yes").code == 4
    ran = run(incident.api, "undo", "web", "--redeploy", "--yes")
    assert ran.code == 0, ran.err
    assert "application.argoproj.io/root auto-sync restored" in ran.out
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


def test_all_that_was_opened_for_an_application_is_closed(run: Run, incident: Incident) -> None:
    def also_all(project: JSON) -> None:
        window = {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["*"]}
        project["spec"]["syncWindows"].append(window)

    incident.api.edit(APPPROJECT, "argocd", "cluster", also_all)
    do(run, incident, "pause", "root", "--yes")
    original = windows(incident)
    do(run, incident, "unblock", "traefik", "--yes")
    assert {w.get("manualSync") for w in windows(incident)} != {w.get("manualSync") for w in original}
    ran = run(incident.api, "undo", "traefik", "--yes")
    assert ran.code == 0, ran.err
    assert windows(incident) == original


def test_the_owner_that_was_paused_for_a_window_goes_back_with_it(run: Run, incident: Incident) -> None:
    do(run, incident, "unblock", "traefik", "--yes")
    assert automated(incident, "root")["enabled"] is False
    do(run, incident, "undo", "traefik", "--yes")
    assert "enabled" not in automated(incident, "root")
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


def test_the_last_of_an_entry_takes_the_owner_along(run: Run) -> None:
    incident = traefik_incident(version=(3, 0))  # auto-sync off is drift to the owner
    incident.api.idle = lambda: incident.argocd.tick(0.5)
    do(run, incident, "pause", "web", "traefik", "--yes")
    ran = run(incident.api, "undo", "web", "--yes")
    assert ran.code == 0 and "Application argocd/root /spec/syncPolicy" in ran.err, ran.err
    do(run, incident, "undo", "traefik", "--yes")
    assert automated(incident, "root") == {"prune": True, "selfHeal": True}
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


def test_the_windows_of_a_namesake_stay(run: Run, incident: Incident) -> None:
    do(run, incident, "unblock", "traefik", "--yes")
    before = windows(incident)
    ran = run(incident.api, "undo", "team/traefik", "--yes")
    assert (ran.code, windows(incident)) == (1, before), ran.err
    assert run(incident.api, "undo", "traefik", "--yes").code == 0


def test_a_rule_that_a_colleague_extended_is_a_conflict(run: Run) -> None:
    fleet = _Fleet()
    do(run, fleet.incident, "pin", "traefik", GOOD, "--yes")
    fleet.run(100)

    def extend(fleet_set: JSON) -> None:
        fleet_set["spec"]["ignoreApplicationDifferences"][0]["jsonPointers"].append("/spec/foo")

    fleet.incident.api.edit(APPLICATIONSET, "argocd", "fleet", extend)
    fleet.commit(GOOD)
    fleet.run(300)
    ran = run(fleet.incident.api, "undo", "--yes")
    assert ran.code == 3, ran.err
    assert run(fleet.incident.api, "undo", "--yes", "--on-conflict=overwrite").code == 0
    assert fleet.rules() is None


def test_events_say_who_why_and_how_to_undo(run: Run, incident: Incident) -> None:
    entry = do(run, incident, "pause", "root", "--reason", "INC-3")
    (event,) = incident.api.objects(EVENT, "argocd")
    assert event["involvedObject"]["name"] == "root"
    assert event["message"] == (
        f"paused by alice with kubectl argo-rescue pause (INC-3); undo: kubectl argo-rescue undo {entry}"
    )
    incident.api.deny(verb="create", resource="events")
    assert run(incident.api, "undo").code == 0, "an Event that is forbidden is in nobody's way"


@pytest.mark.parametrize("flag", ["--token", "--password"])
def test_a_secret_on_the_command_line_is_not_kept(flag: str, run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root", flag, "s3cret", f"{flag}=s3cret")
    kept = "".join(p.read_text() for p in run.state_home().rglob("*.jsonl"))
    kept += "".join(str(o.get("data")) for o in incident.api.objects(CONFIGMAP, "argocd"))
    assert flag in kept
    assert "s3cret" not in kept


@pytest.mark.parametrize("words", [("--server", "https://me:s3cret@api"), ("-s=https://me:s3cret@api",)])
def test_a_password_in_an_address_is_not_kept(words: tuple[str, ...], run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root", *words)
    kept = "".join(p.read_text() for p in run.state_home().rglob("*.jsonl"))
    kept += "".join(str(o.get("data")) for o in incident.api.objects(CONFIGMAP, "argocd"))
    assert "https://" in kept and "s3cret" not in kept


def test_values_are_shown_only_to_who_asks(run: Run, incident: Incident) -> None:
    """A source that changes as a whole has parameters: plan, show and report say their length."""
    incident.api.edit(
        APPLICATION, "argocd", "traefik",
        lambda o: o["spec"]["source"].update(helm={"parameters": [{"name": "p", "value": "s3cret"}]}),
    )  # fmt: skip
    incident.argocd.controller_alive = False
    words = ("rescue", "traefik", "--whole-source", "--no-wait", "--yes")
    planned = run(incident.api, *words, "--dry-run=client")
    assert planned.code == 0 and "s3cret" not in planned.out + planned.err and "(1 line)" in planned.err, (
        planned
    )
    assert "s3cret" in run(incident.api, *words, "--dry-run=client", "-o", "json").out, "a patch is exact"
    run(incident.api, *words)
    entry = run(incident.api, "log", "-o", "name").out.split()[0]
    for read in (("show", entry), ("report", entry), ("log",)):
        for form in ((), ("-o", "json")):
            ran = run(incident.api, *read, *form)
            assert ran.code == 0 and "s3cret" not in ran.out + ran.err, read
    for form in ((), ("-o", "json")):
        assert "s3cret" in run(incident.api, "show", entry, "--values", *form).out
    assert not [e for e in incident.api.objects(EVENT, "argocd") if "s3cret" in str(e)]


def old_answer(incident: Incident, name: str, times: int) -> Callable[[Request], Response | None]:
    """Answer reads of an Application as it is now, whatever becomes of it: as a cache that lags."""
    old = Response(200, {"content-type": "application/json"}, json.dumps(app_in(incident, name)).encode())
    left = [times]

    def answer(request: Request) -> Response | None:
        if request.method == "GET" and request.path.endswith(f"/applications/{name}") and left[0]:
            left[0] -= 1
            return old
        return None

    return answer


@pytest.mark.parametrize("times", [1, 2])
def test_an_old_answer_closes_no_entry(run: Run, incident: Incident, times: int) -> None:
    original = automated(incident, "web")
    lagging = old_answer(incident, "web", times)
    do(run, incident, "pause", "web", "--yes")
    incident.api.before.append(lagging)
    do(run, incident, "undo", "--yes")
    assert automated(incident, "web") == original
    assert run(incident.api, "undo").err.startswith("nothing to undo")


def test_a_server_that_only_gives_old_answers_is_named(run: Run, incident: Incident) -> None:
    lagging = old_answer(incident, "web", 99)
    entry = do(run, incident, "pause", "web", "--yes")
    paused = automated(incident, "web")
    incident.api.before.append(lagging)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 1
    assert (
        "the API server gives old answers about Application argocd/web (AR1000)\n  nothing was changed"
        in ran.err
    )
    incident.api.before.clear()
    assert automated(incident, "web") == paused
    assert entry in run(incident.api, "log", "--open", "-o", "name").out


def test_a_server_that_breaks_at_the_request_to_compare(run: Run, incident: Incident) -> None:
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    broken: list[Request] = []

    def once(request: Request) -> Response | None:
        if request.method == "PATCH" and b"refresh" in (request.body or b"") and not broken:
            broken.append(request)
            return Response(500, {}, b"")
        return None

    incident.api.before.append(once)
    ran = run(incident.api, "undo", "--yes")
    assert broken and ran.code == 5, ran.err  # git has not moved: it was compared all the same


def _lose(run: Run, incident: Incident, entry: str, kept: Callable[[str], str]) -> None:
    """Rewrite the records of an entry in both homes, those that become empty go."""
    [path] = run.state_home().rglob(f"{entry}.jsonl")
    path.write_text("".join(kept(line) for line in path.read_text().splitlines(keepends=True)))

    def rewrite(obj: JSON) -> None:
        lines = {key: kept(line) for key, line in obj["data"].items()}
        obj["data"] = {key: line for key, line in lines.items() if line}

    incident.api.edit(CONFIGMAP, "argocd", f"argo-rescue-{entry}", rewrite)


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (
            lambda line: line.replace('"v":1', '"v":3'),
            "entry {} was written by a newer version (format 3): update this tool",
        ),
        (lambda line: "" if '"begin"' in line else line, "entry {} has lost its first record"),
        (lambda line: "" if '"edit"' in line else line, "what {} did is not known"),
    ],
    ids=["newer", "no first record", "no intent"],
)
def test_what_cannot_be_understood_is_not_nothing(
    run: Run, incident: Incident, kept: Callable[[str], str], why: str
) -> None:
    entry = do(run, incident, "pause", "web", "--yes")
    _lose(run, incident, entry, kept)
    for words in ([], ["web"]) if "begin" in why else ([],):
        ran = run(incident.api, "undo", *words)
        assert ran.code == 1, ran.err
        assert ran.err.count(why.format(entry)) == 1
        assert "nothing to undo" not in ran.err
        assert f"what {entry} did is not known" in ran.err
    assert run(incident.api, "undo", entry).code == 1
    for form in ([], ["--open"]):
        assert "empty" not in (log := run(incident.api, "log", *form)).err, log.err
    other = do(run, incident, "pause", "root")
    ran = run(incident.api, "undo", other)
    assert ran.code == 0, "that one is known"
    do(run, incident, "pause", "root")
    ran = run(incident.api, "undo")
    assert ran.code == 4, ran.err
    assert "enabled" not in automated(incident, "root")


def test_steps_that_are_lost_are_told_once(run: Run, incident: Incident) -> None:
    entry = do(run, incident, "pause", "web", "traefik", "--yes")
    _lose(run, incident, entry, lambda line: "" if '"edit"' in line and '"web"' in line else line)
    ran = run(incident.api, "undo", entry)
    assert ran.code == 4, ran.err
    assert f"entry {entry} has lost 1 of its 2 steps, which are not undone" in ran.err
    assert "enabled" not in automated(incident, "traefik")
    again = run(incident.api, "undo")
    assert (again.code, "nothing to undo" in again.err) == (0, True)


def test_entries_of_another_argo_cd_are_only_named(run: Run, incident: Incident) -> None:
    """This machine's record is of all of a cluster, the ConfigMaps are of one Argo CD each."""
    entry = do(run, incident, "pause", "web", "--yes", "--expires", "1h")
    incident.clock.advance(2 * 3600)
    incident.api.remove(CONFIGMAP, "argocd", f"argo-rescue-{entry}")
    [path] = run.state_home().rglob(f"{entry}.jsonl")
    path.write_text(path.read_text().replace('"argocdNamespace":"argocd"', '"argocdNamespace":"argocd-2"'))
    line = "1 open entry of Argo CD in argocd-2: --argocd-namespace argocd-2"
    paused = automated(incident, "web")
    for words in (["undo"], ["log", "--open"]):
        ran = run(incident.api, *words)
        assert (ran.code, ran.out) == (0, "")
        assert line in ran.err
        assert "was to be undone" not in ran.err
    assert automated(incident, "web") == paused
    assert entry in run(incident.api, "log").out


def test_a_redo_reopens_only_what_it_did_again(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    both = do(run, incident, "pause", "web", "traefik")
    undone = do(run, incident, "undo", both)

    def set_on(web: JSON) -> None:
        web["spec"]["syncPolicy"]["automated"]["enabled"] = True

    incident.api.edit(APPLICATION, "argocd", "web", set_on)
    do(run, incident, "undo", undone, "--on-conflict=skip", code=4)
    assert automated(incident, "traefik")["enabled"] is False
    ran = run(incident.api, "undo", both)
    assert ran.code == 0, ran.err
    assert automated(incident, "web")["enabled"] is True
    assert "enabled" not in automated(incident, "traefik")


def test_a_reminder_is_one_line(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root", "--expires", "1h", "--reason", "a\nwarning: b")
    incident.clock.advance(2 * 3600)
    assert "(a warning: b) was to be undone" in run(incident.api, "windows", "web").err


def _unblocked(run: Run, incident: Incident) -> str:
    """Take traefik out of a window that others are in as well."""

    def share(project: JSON) -> None:
        del project["spec"]["syncWindows"][1:]
        project["spec"]["syncWindows"][0]["applications"] = ["traefik", "web"]

    do(run, incident, "pause", "root")
    incident.api.edit(APPPROJECT, "argocd", "cluster", share)
    return do(run, incident, "unblock", "traefik")


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_window_that_somebody_edited_takes_its_member_back(run: Run, incident: Incident, how: str) -> None:
    entry = _unblocked(run, incident)

    def edit(project: JSON) -> None:
        if how == "removed":
            del project["spec"]["syncWindows"]
        else:
            project["spec"]["syncWindows"][0]["duration"] = "9h"

    incident.api.edit(APPPROJECT, "argocd", "cluster", edit)
    before = windows(incident)
    ran = run(incident.api, "undo", entry)
    assert ran.code == 3, ran.err
    assert f"applications: the window it was in was {how} by somebody else: now " in ran.err
    assert 'originally {"kind":"deny"' in ran.err and '"applications":["traefik"]' in ran.err
    assert windows(incident) == before
    ran = run(incident.api, "undo", entry, "--on-conflict=overwrite")
    assert ran.code == 0, ran.err
    assert f"was {how} by somebody else and is overwritten: now " in ran.err
    assert "conflict:" not in ran.err
    assert [sorted(w["applications"]) for w in windows(incident)] == (
        [["traefik"]] if how == "removed" else [["traefik", "web"]]
    )
    assert entry not in run(incident.api, "log", "--open", "-o", "name").out


def _unblocked_by_a_pattern(run: Run, incident: Incident) -> str:
    """Free traefik from a window that names no application; return the entry."""

    def manual(project: JSON) -> None:
        project["spec"]["syncWindows"] = [
            {"kind": "deny", "schedule": "* * * * *", "duration": "24h", "applications": ["trae*"]}
        ]

    do(run, incident, "pause", "root")
    incident.api.edit(APPPROJECT, "argocd", "cluster", manual)
    return do(run, incident, "unblock", "traefik", "--yes")


def test_what_cannot_be_overwritten_is_not_said_to_be(run: Run, incident: Incident) -> None:
    entry = _unblocked_by_a_pattern(run, incident)
    assert windows(incident)[0]["manualSync"] is True

    def remove(project: JSON) -> None:
        del project["spec"]["syncWindows"]

    incident.api.edit(APPPROJECT, "argocd", "cluster", remove)
    ran = run(incident.api, "undo", entry, "--on-conflict=overwrite")
    assert ran.code == 4, ran.err
    assert "is overwritten" not in ran.err
    assert "cannot be overwritten, what it was in is gone: put that back by hand and undo again" in ran.err
    assert "or close it as it is with --on-conflict=skip" in ran.err
    assert entry in run(incident.api, "log", "--open", "-o", "name").out
    assert run(incident.api, "undo", entry, "--on-conflict=skip").code == 4
    assert entry not in run(incident.api, "log", "--open", "-o", "name").out


def _two_sources(run: Run, incident: Incident, *, owned: bool = False) -> tuple[str, JSON]:
    """Pin the second source of an Application, and have a colleague take that source away."""
    sources = [
        {"repoURL": CHARTS, "chart": "web", "targetRevision": "1.0.0"},
        {"repoURL": CHARTS, "chart": "traefik", "targetRevision": BAD},
    ]

    def split(web: JSON) -> None:
        web["spec"]["sources"] = sources
        web["spec"].pop("source")
        web["spec"].pop("syncPolicy")
        if not owned:
            web["metadata"].pop("annotations", None)

    if not owned:
        incident.api.remove(APPLICATION, "argocd", "root")
    else:
        do(run, incident, "pause", "root")
    incident.api.edit(APPLICATION, "argocd", "web", split)
    entry = do(run, incident, "pin", "web", GOOD, "--source=1", "--no-sync", "--yes")
    pinned: JSON = app_in(incident, "web")["spec"]["sources"]
    assert pinned[1]["targetRevision"] == GOOD
    incident.api.edit(APPLICATION, "argocd", "web", lambda web: web["spec"].update(sources=pinned[:1]))
    incident.clock.advance(1)
    return entry, pinned


def test_what_has_no_place_any_more_is_closed_where_it_is_skipped(run: Run, incident: Incident) -> None:
    entry, _ = _two_sources(run, incident)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 3
    assert "the source it was in was removed or made another by somebody else" in ran.err
    assert "--on-conflict=skip to leave them as they are, which closes what has no place any more" in ran.err
    assert run(incident.api, "undo", "--yes", "--on-conflict=overwrite").code == 4
    assert entry in run(incident.api, "log", "--open", "-o", "name").out
    ran = run(incident.api, "undo", "--yes", "--on-conflict=skip", "-o", "json")
    assert ran.code == 4, ran.err
    assert any("is left as it is and closed: what it was in is gone" in w for w in ran.json["warnings"])
    assert (ran.json["data"]["conflicts"][0]["base"], "ours" in ran.json["data"]["conflicts"][0]) == (
        GOOD,
        False,
    )
    assert run(incident.api, "undo").err.startswith("nothing to undo")
    assert "closed, as it is gone" in run(incident.api, "show", entry).out


def test_what_is_put_back_by_hand_is_undone(run: Run, incident: Incident) -> None:
    entry, pinned = _two_sources(run, incident)
    assert run(incident.api, "undo", "--yes", "--on-conflict=overwrite").code == 4
    incident.api.edit(APPLICATION, "argocd", "web", lambda web: web["spec"].update(sources=pinned))
    ran = run(incident.api, "undo", "--yes", "--redeploy")
    assert ran.code == 0, ran.err
    assert app_in(incident, "web")["spec"]["sources"][1]["targetRevision"] == BAD
    assert entry not in run(incident.api, "log", "--open", "-o", "name").out


def test_what_has_no_place_stays_open_while_its_owner_is_held(run: Run, incident: Incident) -> None:
    entry, _ = _two_sources(run, incident, owned=True)
    for _ in range(2):
        ran = run(incident.api, "undo", "--yes", "--on-conflict=skip")
        assert ran.code == 4, ran.err
        assert "Application root stays as it is: it would write over what somebody set on web" in ran.err
        incident.clock.advance(1)
    assert entry in run(incident.api, "log", "--open", "-o", "name").out
    assert len(app_in(incident, "web")["spec"]["sources"]) == 1


@pytest.mark.parametrize("taken", ["syncPolicy", "automated"])
def test_auto_sync_that_somebody_took_away_altogether_is_told(
    run: Run, incident: Incident, taken: str
) -> None:
    entry = do(run, incident, "pause", "root")

    def take(root: JSON) -> None:
        (root["spec"] if taken == "syncPolicy" else root["spec"]["syncPolicy"]).pop(taken)

    incident.api.edit(APPLICATION, "argocd", "root", take)
    ran = run(incident.api, "undo", "-o", "json")
    assert ran.code == 0, ran.err
    text = (
        "Application argocd/root /spec/syncPolicy/automated was taken away by somebody else since: nothing of it "
        "is put back, and auto-sync stays off"
    )
    assert ran.json["warnings"] == [text]
    assert ran.err.count(text) == 1
    assert entry not in run(incident.api, "log", "--open", "-o", "name").out
    assert not automated(incident, "root")


def test_a_redo_says_what_it_does(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    undone = do(run, incident, "undo", do(run, incident, "pause", "web"))
    assert run(incident.api, "undo", undone, "--dry-run").out.startswith(
        "application.argoproj.io/web paused ("
    )
    ran = run(incident.api, "undo", undone)
    assert (ran.code, ran.out) == (0, "application.argoproj.io/web paused\n")
    assert "undo with: kubectl argo-rescue undo " in ran.err
    assert {e["message"].split(" by ")[0] for e in incident.api.objects(EVENT, "argocd")} >= {"paused"}


def test_a_dry_run_tells_what_would_be_refused(run: Run, incident: Incident) -> None:
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.argocd.run(100)
    ran = run(incident.api, "undo", "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    assert (
        ", as Argo CD saw it " in ran.err
        and "git is still at" in ran.err
        and "changes nothing (5)" in ran.err
    )
    told = run(incident.api, "undo", "--dry-run", "-o", "json")
    assert told.json["edits"] == []
    assert any("changes nothing (5)" in text for text in told.json["warnings"])
    assert run(incident.api, "undo").code == 5


def test_a_dry_run_keeps_those_paused_that_would_stay_so(run: Run, incident: Incident) -> None:
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.push("2.4.0")
    incident.argocd.run(400)
    assert run(incident.api, "undo", "--dry-run").out == ""
    ran = run(incident.api, "undo", "--dry-run", "--redeploy")
    assert "root auto-sync restored (dry run)" in ran.out


def test_a_dry_run_asks_what_would_be_asked(run: Run) -> None:
    incident = _calm()
    do(run, incident, "pause", "root")
    _commit(incident, GOOD, without="web")
    incident.argocd.run(400)
    ran = run(incident.api, "undo", "--dry-run", user="bob", laptop="bobs")
    assert ran.code == 0, ran.err
    assert ran.err.count("context in-memory") == 1
    told = run(incident.api, "undo", "--dry-run", "-o", "json", user="bob", laptop="bobs")
    for text in ("it is not yours", "auto-sync of root will also prune Application web"):
        assert text in ran.err
        assert any(text in warning for warning in told.json["warnings"])


@pytest.mark.parametrize("moved", [False, True])
def test_an_undo_that_is_interrupted_says_where_it_is(run: Run, incident: Incident, moved: bool) -> None:
    """In the first wait nothing was written; in the second, windows and the app's own pause are back."""
    do(run, incident, "unblock", "traefik", "--yes")
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.argocd.run(1)
    if moved:
        incident.push("2.4.0")
    started = incident.clock()

    def idle() -> None:
        incident.argocd.tick(0.5)
        if (incident.clock() - started).total_seconds() > 100:
            raise KeyboardInterrupt

    incident.api.idle = idle
    ran = run(incident.api, "undo", "--when-safe", "--timeout", "1h")
    assert ran.code == 130, ran.err
    assert "interrupted" in ran.err
    if moved:
        assert "interrupted: what is listed as restored is back; not back: " in ran.err
        assert "auto-sync of Application root" in ran.err and "the version of Application traefik" in ran.err
        assert "go on with: kubectl argo-rescue undo " in ran.err
    else:
        assert ran.out == ""
        assert "interrupted: nothing was changed; go on with: kubectl argo-rescue undo " in ran.err


def test_a_long_wait_is_told_rarely(run: Run, incident: Incident) -> None:
    incident.api.idle = lambda: incident.argocd.tick(5)
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.argocd.run(1)
    ran = run(incident.api, "undo", "--when-safe", "--timeout", "2h")
    assert ran.code == 6
    assert f"{incident.clock():%H:%M}" in ran.err, "until when"
    told = [line for line in ran.err.splitlines() if line.startswith("waiting for git for ")]
    assert 8 < len(told) < 20
    assert "waiting for git for 2m" in told[1]
    assert ran.err.count("asking Argo CD") == 1


def test_git_fixed_to_a_third_version_is_not_said_to_roll_the_original_out(
    run: Run, incident: Incident
) -> None:
    incident.charts.publish("traefik", "2.4.0", traefik_chart("2.4.0"))
    do(run, incident, "unblock", "traefik", "--yes")
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.push("2.4.0")
    incident.argocd.run(60)
    ran = run(incident.api, "undo")
    assert ran.code == 5, ran.err
    assert 'traefik: /spec/source/targetRevision stays "2.4.1": git asks for 2.4.0 (' in ran.err
    assert "--redeploy lets root roll out what git says now" in ran.err
    assert "2.5.1" not in ran.err
    assert run(incident.api, "undo", "--redeploy").code == 0
    incident.argocd.run(100)
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.4.0"


def test_a_clock_that_is_behind(run: Run, incident: Incident) -> None:
    entry = do(run, incident, "pause", "root")
    incident.clock.advance(-7200)
    for words in (["undo"], ["status", "root"], ["log"], ["show", entry], ["report"]):
        ran = run(incident.api, *words, user="bob", laptop="bobs")
        assert "<invalid> ago" not in ran.out + ran.err
    assert "119m in the future" in run(incident.api, "show", entry).out


def test_an_entry_that_only_says_that_it_is_mine(run: Run, incident: Incident) -> None:
    """A ConfigMap can name any author; only this machine's file tells that it was me."""
    incident.api.remove(APPLICATION, "argocd", "root")
    for name in ("traefik", "web"):

        def free(obj: JSON) -> None:
            obj["metadata"].pop("annotations", None)
            obj["metadata"].pop("labels", None)

        incident.api.edit(APPLICATION, "argocd", name, free)
    paused = do(run, incident, "pause", "web", "--yes")
    pinned = do(run, incident, "pin", "traefik", GOOD, "--yes")
    ran = run(incident.api, "undo", pinned, user="alice", laptop="new")
    assert ran.code == 5, ran.err
    assert "this machine has no record of it, and a version changes" in ran.err
    assert app_in(incident, "traefik")["spec"]["source"]["targetRevision"] == GOOD
    assert run(incident.api, "undo", paused, user="alice", laptop="new").code == 0, "no version changes"
    assert run(incident.api, "undo", f"entry/{pinned.upper()}").code == 0


def test_an_id_in_capitals(run: Run, incident: Incident) -> None:
    entry = do(run, incident, "pause", "root")
    assert run(incident.api, "undo", entry.upper()).code == 0
    assert "enabled" not in automated(incident, "root")


def test_nothing_is_said_to_be_kept_where_no_home_takes_it(run: Run, incident: Incident) -> None:
    folder = run.state_home()
    folder.mkdir(parents=True)
    (folder / "kubectl-argo-rescue").write_text("in the way")
    incident.api.deny(verb="create", resource="configmaps")
    ran = run(incident.api, "pause", "root")
    assert ran.code == 5, ran.err
    assert "cannot be saved anywhere" in ran.err
    assert "is kept" not in ran.err


@pytest.mark.parametrize("lags", [1, 2])
def test_a_comparison_that_lags_behind_our_own_write_is_no_refusal(
    run: Run, monkeypatch: pytest.MonkeyPatch, lags: int
) -> None:
    """With Argo CD 3.0 a pause takes the block away: until it is back the child differs from git."""
    old = traefik_incident(version=(3, 0))
    old.api.idle = lambda: old.argocd.tick(0.5)
    do(run, old, "pause", "root", "traefik")
    do(run, old, "pin", "traefik", GOOD)
    do(run, old, "unblock", "traefik")
    do(run, old, "sync", "traefik")
    old.push(GOOD)
    old.argocd.run(60)
    late = lag(monkeypatch, lambda: bool(automated(old, "traefik")), lags)
    ran = run(old.api, "undo", "--yes")
    assert (ran.code, late) == (0, [0]), ran.err
    assert automated(old, "root") and automated(old, "traefik")
    assert app_in(old, "traefik")["spec"]["source"]["targetRevision"] == GOOD
    assert run(old.api, "log", "--open", "-o", "name").out == ""


def test_a_second_look_that_runs_out_of_time_is_a_timeout(run: Run, incident: Incident) -> None:
    """git moved, but not to what runs: what may go back is back by then, and the rest was waited for."""
    do(run, incident, "unblock", "traefik", "--yes")
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.push("2.4.0")
    ran = run(incident.api, "undo", "--when-safe", "--timeout", "60s", "-o", "json")
    assert (ran.code, ran.json["status"]) == (6, "timeout"), ran.err
    assert "timed out: the rest is back; " in ran.err and "its pin stays" in ran.err
    assert run(incident.api, "undo").code == 5, "without --when-safe nothing was waited for"


def test_how_long_argo_cd_is_waited_for_is_said(run: Run, incident: Incident) -> None:
    do(run, incident, "pin", "traefik", GOOD, "--yes")
    incident.argocd.controller_alive = False
    ran = run(incident.api, "undo")
    assert "asking Argo CD to compare root with git (up to " in ran.err
