"""An undo that holds an application, tries, and lets go or pins again, against the simulated Argo CD.

Aspects: a range that means what runs is handed back; a third version is named and nothing of the hold is left;
--redeploy goes there without a detour, on a terminal once it was typed; without the right to the project it is
said; an undo that dies is put right by any undo and named by status; the end of a hold cannot be done again.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.act import handback
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, DEPLOYMENT, JSON
from kubectl_argo_rescue.simulation.incident import BAD, GOOD, Incident, traefik_chart
from kubectl_argo_rescue.simulation.wire import Request

from ..build import app_in
from ..harness import Run

NEWER = "2.6.0"


@pytest.fixture
def pinned(run: Run, incident: Incident) -> Incident:
    """The incident rescued by hand: root paused, traefik pinned to what is good, a newer chart there."""
    incident.charts.publish("traefik", NEWER, traefik_chart(NEWER))
    for words in (("pause", "root"), ("unblock", "traefik"), ("pin", "traefik", GOOD)):
        assert run(incident.api, *words, "--yes").code == 0
    incident.argocd.run(60)
    assert image(incident) == f"traefik:{GOOD}"
    return incident


def image(incident: Incident) -> str:
    live = incident.api.get(DEPLOYMENT, "traefik", "traefik")
    found: str = live["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def state(incident: Incident) -> JSON:
    return (
        [app_in(incident, name)["spec"] for name in ("root", "traefik")],
        incident.api.get(APPPROJECT, "argocd", "cluster")["spec"],
        incident.api.get(DEPLOYMENT, "traefik", "traefik")["spec"],
    )


def test_a_third_version_is_named_and_no_hold_is_left(run: Run, pinned: Incident) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    before = state(pinned)
    ran = run(pinned.api, "undo", "traefik", "-o", "json")
    assert ran.code == 5, ran.err
    assert f"git asks for {NEWER}" in ran.err and "which would change Deployment traefik" in ran.err
    (held,) = ran.json["data"]["holds"]
    assert held["released"] and not held["agreed"] and held["project"] == "cluster"
    # The windows of the entry went back, nothing else.
    assert (state(pinned)[0], state(pinned)[2]) == (before[0], before[2])
    windows = pinned.api.get(APPPROJECT, "argocd", "cluster")["spec"]["syncWindows"]
    assert "24h" not in [w["duration"] for w in windows if w["applications"] == ["traefik"]]
    assert "operationState" not in app_in(pinned, "root")["status"], (
        "it does not count as a sync of the commit"
    )
    entries = run(pinned.api, "log", "-o", "json").json["data"]["entries"]
    end = next(e["id"] for e in entries if e["undoes"] == [held["entry"]])
    again = run(pinned.api, "undo", end, "--yes")
    assert again.code == 2 and "is the end of a hold" in again.err


def test_redeploy_goes_to_what_git_says(run: Run, pinned: Incident) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    code, screen = run.on_screen(pinned.api, "undo", "--redeploy", typed="y\nnonsense\n")
    assert code == 5 and f"this lets root deploy traefik {NEWER}" in screen and "was not typed" in screen
    assert app_in(pinned)["spec"]["source"]["targetRevision"] == GOOD
    images = {image(pinned)}
    tick = pinned.argocd.tick

    def watched(seconds: float = 0.5) -> None:
        tick(seconds)
        images.add(image(pinned))

    pinned.api.idle = watched
    ran = run(pinned.api, "undo", "--redeploy", "--yes")
    assert ran.code == 0, ran.err
    pinned.argocd.run(100)
    assert app_in(pinned)["spec"]["source"]["targetRevision"] == NEWER
    assert f"traefik:{BAD}" not in {*images, image(pinned)}, "no detour over what broke"


def test_without_the_right_to_the_project_the_owner_is_not_asked(run: Run, pinned: Incident) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    pinned.api.deny(verb="patch", resource="appprojects")
    ran = run(pinned.api, "undo", "--when-safe", "--timeout", "5s", "traefik")
    assert ran.code in (1, 5, 6), ran.err
    assert app_in(pinned)["spec"]["source"]["targetRevision"] == GOOD
    assert image(pinned) == f"traefik:{GOOD}"


class _Killed(BaseException):
    """What ends a process in the middle."""


def test_what_an_undo_that_died_has_left_is_pinned_again(
    run: Run, pinned: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    before = state(pinned)

    def dies(*words: object, **more: object) -> bool:
        raise _Killed

    with monkeypatch.context() as dying:
        dying.setattr(handback.HandBack, "_pin_again", dies)
        dying.setattr(handback.HandBack, "let_go", dies)
        with pytest.raises(_Killed):
            run(pinned.api, "undo")
    assert app_in(pinned)["spec"]["source"]["targetRevision"] == BAD, "the saved original stands, held"
    pinned.argocd.run(60)
    assert image(pinned) == f"traefik:{GOOD}"
    first = run(pinned.api, "status", "traefik").out.splitlines()[0]
    assert "traefik" in first and "held since" in first and "argo-rescue undo" in first
    pinned.api.edit(APPLICATION, "argocd", "traefik", lambda app: app.update(operation={"sync": {}}))
    pinned.argocd.run(5)

    ran = run(pinned.api, "undo", "--dry-run=client")
    assert "is a hold that an undo has left" in ran.err
    pinned.clock.advance(3600)  # its claim has lapsed
    ran = run(pinned.api, "undo")
    assert "is pinned again" in ran.err and "somebody began meanwhile is ended" in ran.err
    pinned.argocd.run(60)
    assert (state(pinned)[0], image(pinned)) == (before[0], f"traefik:{GOOD}")
    assert "held since" not in run(pinned.api, "status", "traefik").out


def held_by_one_that_died(run: Run, pinned: Incident, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an undo die while what git asks for stands in the Application."""

    def dies(*words: object, **more: object) -> bool:
        raise _Killed

    with monkeypatch.context() as dying:
        dying.setattr(handback.HandBack, "_pin_again", dies)
        dying.setattr(handback.HandBack, "let_go", dies)
        with pytest.raises(_Killed):
            run(pinned.api, "undo")


@pytest.mark.parametrize("words", [("rescue",), ("unblock",), ("sync",), ("pin", GOOD), ("rollback",)])
def test_a_colleague_is_told_of_a_hold(
    run: Run, pinned: Incident, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    held_by_one_that_died(run, pinned, monkeypatch)
    windows = pinned.api.get(APPPROJECT, "argocd", "cluster")["spec"]["syncWindows"]
    ran = run(pinned.api, words[0], "traefik", *words[1:], "--yes", user="bob", laptop="another")
    assert ran.code == 3 and "is held by an undo of alice" in ran.err, ran.err
    assert pinned.api.get(APPPROJECT, "argocd", "cluster")["spec"]["syncWindows"] == windows


def test_who_cannot_end_a_hold_leaves_it_to_others(
    run: Run, pinned: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    held_by_one_that_died(run, pinned, monkeypatch)
    pinned.clock.advance(3600)
    pinned.api.deny(verb="patch", resource="applications")
    assert run(pinned.api, "undo", laptop="another").code not in (0, 3)
    pinned.api.denied.clear()
    ran = run(pinned.api, "undo")
    assert ran.code == 5 and "is pinned again" in ran.err, ran.err


def test_no_hold_that_only_this_machine_knows_of(run: Run, pinned: Incident) -> None:
    pinned.push(NEWER)
    pinned.argocd.run(60)
    pinned.api.deny(verb="create", resource="configmaps")
    ran = run(pinned.api, "undo", "traefik", "-o", "json")
    assert ran.code == 5 and ran.json["data"]["holds"] == [], ran.err
    assert "nobody else would know of a hold" in ran.err


def test_several_sources_are_taken_back_whole(run: Run, pinned: Incident) -> None:
    """What git says has another source beside, values, and rules: all of it stands for a moment."""
    before = state(pinned)
    apps = pinned.apps(NEWER)
    spec = apps[1]["spec"]
    source = spec.pop("source")
    spec["sources"] = [
        {**source, "helm": {"parameters": [{"name": "a", "value": "b"}]}},
        {**source, "chart": "web", "targetRevision": "1.0.0"},
    ]
    spec["ignoreDifferences"] = [{"group": "", "kind": "Service", "jsonPointers": ["/spec/type"]}]
    spec["syncPolicy"]["automated"]["prune"] = False
    pinned.git.commit({"apps": apps})
    pinned.argocd.run(60)
    ran = run(pinned.api, "undo", "traefik")
    assert ran.code == 5, ran.err
    after = state(pinned)
    ignored = after[0][1].pop("ignoreDifferences")
    assert ignored and "ignoreDifferences of traefik" in ran.err
    assert (after[0], after[2]) == (before[0], before[2])
    pinned.argocd.run(300, every=5)
    assert image(pinned) == f"traefik:{GOOD}"


def test_git_is_pushed_to_while_its_owner_is_let_go(run: Run, pinned: Incident) -> None:
    """Its owner, on again, brings something else into what is held: it is paused once more, and the pin goes back."""
    pinned.push("2.4.x")
    pinned.argocd.run(60)
    before = state(pinned)[0]
    pushed = False

    def push(request: Request) -> None:
        nonlocal pushed
        block = app_in(pinned, "root")["spec"]["syncPolicy"].get("automated") or {}
        if not pushed and block and block.get("enabled") is not False:
            pushed = True
            pinned.push(BAD)
            pinned.api.edit(APPLICATION, "argocd", "root", ask)
            pinned.argocd.run(10)

    def ask(root: JSON) -> None:
        root["metadata"].setdefault("annotations", {})["argocd.argoproj.io/refresh"] = "normal"

    pinned.api.before.append(push)
    ran = run(pinned.api, "undo", "--yes")
    assert pushed and ran.code == 5, ran.err
    assert state(pinned)[0] == before
    pinned.argocd.run(4000, every=20)
    assert image(pinned) == f"traefik:{GOOD}"
    pinned.push(GOOD)
    pinned.api.before.clear()
    ran = run(pinned.api, "undo", "--yes")
    assert ran.code == 0, ran.err
    assert run(pinned.api, "log", "--open", "-o", "name").out == ""
