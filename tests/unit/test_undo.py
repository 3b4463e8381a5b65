"""Undo, command line by command line, against the simulated Argo CD.

Aspects: what another open entry relies on stays and goes back with it later; a chain of entries
folded; undo of an undo, and again; a part of an entry (`undo APP`); conflicts shown with three values
and the three ways out; an entry of somebody else; overdue entries are reminded of; nothing to undo.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.model import APPLICATION, APPPROJECT, JSON
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from .harness import Run


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
