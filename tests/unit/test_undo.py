"""Undo, command line by command line, against the simulated Argo CD.

Aspects: what another open entry relies on stays and goes back with it later; a chain of entries
folded; undo of an undo, and again; a part of an entry (`undo APP`); conflicts shown with three values
and the three ways out; an entry of somebody else; overdue entries are reminded of; nothing to undo; a claim taken
when all was over.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.model import APPLICATION, APPPROJECT, CONFIGMAP, EVENT, JSON
from kubectl_argo_rescue.simulation.api import Request
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from .harness import Ran, Run


@pytest.fixture
def incident() -> Incident:
    made = traefik_incident()
    made.api.idle = lambda: made.argocd.tick(0.5)
    return made


def app(incident: Incident, name: str) -> JSON:
    return incident.api.get(APPLICATION, "argocd", name)


def automated(incident: Incident, name: str) -> JSON:
    return (app(incident, name)["spec"].get("syncPolicy") or {}).get("automated")


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
    original = app(incident, "web")["spec"]
    do(run, incident, "pause", "root")
    paused = do(run, incident, "pause", "web")
    written = app(incident, "web")["spec"]
    undone = do(run, incident, "undo", paused)
    assert app(incident, "web")["spec"] == original
    redone = do(run, incident, "undo", undone)
    assert app(incident, "web")["spec"] == written
    assert f"{paused}" in run(incident.api, "log", "--open").out
    do(run, incident, "undo", redone)
    assert app(incident, "web")["spec"] == original


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
    original = app(old, "root")["spec"]
    assert "automated" not in (original.get("syncPolicy") or {})

    def somebody(obj: JSON) -> None:
        obj["spec"]["syncPolicy"] = {"automated": {"prune": False}}

    old.api.edit(APPLICATION, "argocd", "root", somebody)
    incident.clock.advance(1)
    ran = run(old.api, "undo", f"--on-conflict={how}", "--yes")
    assert ran.code == code, ran.err
    assert "somebody else" in ran.err
    assert bool(automated(old, "root").get("prune")) is prune


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
    entry = do(run, incident, "pause", "root", "--expires", "2h", "--reason", "INC-2")
    assert "was to be undone" not in run(incident.api, "watch", "web").err
    incident.clock.advance(3 * 3600)
    for laptop in ("alices", "bobs"):
        ran = run(incident.api, "windows", "web", laptop=laptop)
        assert f"entry {entry} of alice (INC-2) was to be undone 60m ago and still stands" in ran.err
    do(run, incident, "undo")
    assert "was to be undone" not in run(incident.api, "windows", "web").err


def test_a_clock_that_jumped_back_between_two_entries(run: Run, incident: Incident) -> None:
    do(run, incident, "pause", "root")
    do(run, incident, "pin", "traefik", "2.4.1")
    incident.clock.advance(-3600)
    do(run, incident, "pin", "traefik", "2.4.0")
    ran = run(incident.api, "undo", "--redeploy", "--yes")
    assert ran.code == 0, ran.err
    assert app(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.5.1"
    assert run(incident.api, "log", "--open", "-o", "name").out == ""


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
    assert app(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.4.1"
    assert windows(incident) != before, "the windows go back all the same"
    incident.clock.advance(1)
    assert run(incident.api, "undo", "--yes", "--redeploy").code == 0
    assert app(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.5.1"


def test_an_owner_under_a_new_name_is_asked(run: Run, incident: Incident) -> None:
    _rescued_and_fixed(run, incident)
    root = app(incident, "root")
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
    assert app(incident, "traefik")["spec"]["source"]["targetRevision"] == "2.4.1"


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


def test_events_say_who_why_and_how_to_undo(run: Run, incident: Incident) -> None:
    entry = do(run, incident, "pause", "root", "--reason", "INC-3")
    (event,) = incident.api.objects(EVENT, "argocd")
    assert event["involvedObject"]["name"] == "root"
    assert event["message"] == (
        f"paused by alice with kubectl argo-rescue pause (INC-3); undo: kubectl argo-rescue undo {entry}"
    )
    incident.api.deny(verb="create", resource="events")
    assert run(incident.api, "undo").code == 0, "an Event that is forbidden is in nobody's way"


def test_a_token_on_the_command_line_is_not_kept(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["kubectl-argo_rescue", "pause", "root", "--token", "s3cret", "--token=s3cret"]
    )
    do(run, incident, "pause", "root")
    kept = "".join(p.read_text() for p in run.state_home().rglob("*.jsonl"))
    kept += "".join(str(o.get("data")) for o in incident.api.objects(CONFIGMAP, "argocd"))
    assert "pause" in kept
    assert "s3cret" not in kept
