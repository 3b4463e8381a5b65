"""`rescue` and `rollback` on the in-memory API: which version is the good one, and that it stays chosen.

Aspects: Synced and Healthy does not make the running version good; a second rescue does not go back
to the broken one, nor does one after a pin that was put back; the version is chosen once, also
where the plan is made anew; a plan that touches more than was named needs a yes; what was opened on
a window of others is closed again, also when the rescue is interrupted, or said to be open; what is
known not to help is refused before any write: another place of the source, windows that cannot be
parsed or read, an Application that is being deleted, an empty version.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.act import rescue, watch
from kubectl_argo_rescue.act.watch import Ending
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, JSON
from kubectl_argo_rescue.simulation.incident import CHARTS, Incident

from ..harness import Run


def revision(incident: Incident) -> str:
    wanted: str = incident.api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]["targetRevision"]
    return wanted


def test_what_runs_well_for_argocd_may_be_what_broke(run: Run, incident: Incident) -> None:
    app = incident.api.get(APPLICATION, "argocd", "traefik")
    app["status"]["health"] = {"status": "Healthy"}
    incident.api.edit(APPLICATION, "argocd", "traefik", lambda obj: app)
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 0, ran.err
    assert revision(incident) == "2.4.1"


def test_a_second_rescue_does_not_bring_the_broken_one_back(run: Run, incident: Incident) -> None:
    assert run(incident.api, "rescue", "traefik", "--yes", "--no-wait").code == 0
    incident.argocd.run(60)
    incident.clock.advance(1)
    again = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert again.code == 0, again.err
    assert revision(incident) == "2.4.1"
    assert "application.argoproj.io/traefik unchanged (already at 2.4.1)" in again.out


def test_a_pin_that_was_put_back_does_not_make_the_broken_version_good(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pin", "traefik", "2.4.1", "--only").code == 0
    incident.argocd.run(5)
    assert revision(incident) == "2.5.1", "root has put it back"
    assert "last good: 2.4.1" in run(incident.api, "status", "traefik").out
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 0, ran.err
    assert revision(incident) == "2.4.1"


def test_it_needs_a_yes_for_what_was_not_named(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "rescue", "traefik")
    assert ran.code == 5
    assert "root is paused as well" in ran.err
    assert revision(incident) == "2.5.1"
    assert incident.api.writes() == []


def freeze_all(incident: Incident) -> None:
    window = {"kind": "deny", "schedule": "0 16 * * 5", "duration": "64h", "applications": ["*"]}
    incident.api.edit(APPPROJECT, "argocd", "cluster", lambda p: p["spec"].update(syncWindows=[window]))


def is_open(incident: Incident) -> bool:
    (window,) = incident.api.get(APPPROJECT, "argocd", "cluster")["spec"]["syncWindows"]
    return bool(window.get("manualSync"))


@pytest.mark.parametrize("is_done", [True, False], ids=["operation done", "operation running"])
def test_interrupted_while_watching_it_closes_the_window_of_others_or_says_that_it_is_open(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    freeze_all(incident)
    seen: list[bool] = []

    def interrupted(*args: object, **kwargs: object) -> Ending:
        seen.append(is_open(incident))
        if is_done:
            incident.argocd.run(60)
        else:
            incident.api.idle = None
            monkeypatch.setattr(rescue, "PARTING_SECONDS", 0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "run", interrupted)
    ran = run(incident.api, "rescue", "traefik", "--yes", "-o", "json")
    assert (ran.code, seen) == (130, [True]), ran.err
    entry = ran.json["entry"]
    text = (
        "AppProject argocd/cluster: /spec/syncWindows/0 stays open for manual syncs of all that it matches, "
        "since an operation is in progress; it is closed with the rest by: kubectl argo-rescue undo " + entry
    )
    assert is_open(incident) is not is_done
    assert [w for w in ran.json["warnings"] if "stays open" in w] == ([] if is_done else [text])
    assert ("stays open" in ran.err) is not is_done
    assert "go on with: kubectl argo-rescue watch traefik" in ran.err


def test_nobody_waits_so_the_window_of_others_is_said_to_be_open(run: Run, incident: Incident) -> None:
    freeze_all(incident)
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 0 and is_open(incident)
    assert "/spec/syncWindows/0 stays open for manual syncs" in ran.err
    assert run(incident.api, "undo", "--yes", "--redeploy").code == 0
    assert not is_open(incident)


def test_a_rescue_that_is_watched_to_its_end_closes_the_window_of_others(
    run: Run, incident: Incident
) -> None:
    freeze_all(incident)
    ran = run(incident.api, "rescue", "traefik", "--yes")
    assert ran.code == 0, ran.err
    assert not is_open(incident) and "stays open" not in ran.err


def _refused(run: Run, incident: Incident, *words: str) -> str:
    """Run what must be refused, and return why; nothing may be written."""
    before = len(incident.api.writes())
    ran = run(incident.api, *words)
    assert (ran.code, ran.out) == (5, ""), ran
    assert not [r for r in incident.api.writes()[before:] if "reviews" not in r.path]
    return ran.err


def test_after_a_pin_that_never_was_deployed_the_good_one_is_found(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pin", "traefik", "9.9.9", "--yes").code == 0
    incident.argocd.run(60)
    ran = run(incident.api, "rescue", "traefik", "--yes", "--no-wait")
    assert ran.code == 0, ran.err
    assert revision(incident) == "2.4.1"


def test_what_somebody_was_rescued_from_is_not_offered_again(run: Run, incident: Incident) -> None:
    assert run(incident.api, "rescue", "traefik", "--yes", "--no-wait").code == 0
    incident.argocd.run(60)
    incident.push("2.4.1")
    incident.clock.advance(1)
    assert run(incident.api, "undo").code == 0
    incident.argocd.run(60)
    said = " ".join(run(incident.api, "status", "traefik").out.split())
    assert "and 2.5.1, abandoned in an earlier rescue" in said
    for verb in ("rescue", "rollback"):
        assert "but for 2.5.1, abandoned in an earlier rescue" in _refused(run, incident, verb, "traefik")


@pytest.mark.parametrize("field", ["repoURL", "chart"])
def test_a_version_of_another_place_means_nothing_here(run: Run, incident: Incident, field: str) -> None:
    incident.push(
        "2.5.1", source={"repoURL": CHARTS, "chart": "traefik", "targetRevision": "2.5.1", field: "elsewhere"}
    )
    incident.argocd.run(200)
    why = _refused(run, incident, "rescue", "traefik", "--yes")
    assert f"was of another {field} when it was good: 2.4.1 means nothing" in why
    assert "--whole-source" in why
    ran = run(incident.api, "rescue", "traefik", "--whole-source", "--yes", "--no-wait")
    assert ran.code == 0, ran.err


def test_a_window_that_cannot_be_parsed_is_known_before_the_first_write(run: Run, incident: Incident) -> None:
    def spoil(project: JSON) -> None:
        project["spec"]["syncWindows"] = [
            {"kind": "deny", "schedule": "99 * * * *", "duration": "1h", "applications": ["*"]}
        ]

    incident.api.edit(APPPROJECT, "argocd", "cluster", spoil)
    why = _refused(run, incident, "rescue", "traefik", "--yes")
    assert "kubectl edit appprojects.argoproj.io -n argocd cluster" in why
    assert "--pause-only" in why


@pytest.mark.parametrize("verb", ["unblock", "rescue"])
def test_windows_that_may_not_be_read(run: Run, incident: Incident, verb: str) -> None:
    incident.api.deny(verb="get", resource="appprojects")
    before = len(incident.api.writes())
    ran = run(incident.api, verb, "traefik", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert "AppProject argocd/cluster cannot be read" in ran.err
    assert "does not exist" not in ran.err
    assert not [r for r in incident.api.writes()[before:] if "reviews" not in r.path]


@pytest.mark.parametrize(
    "words", [["rescue"], ["pin", "2.4.1"], ["pause"], ["unblock"], ["sync"], ["rollback"]]
)
def test_an_application_that_is_being_deleted(run: Run, incident: Incident, words: list[str]) -> None:
    def die(app: JSON) -> None:
        app["metadata"]["finalizers"] = ["resources-finalizer.argocd.argoproj.io"]

    incident.api.edit(APPLICATION, "argocd", "traefik", die)
    incident.api.delete(APPLICATION, "argocd", "traefik")
    verb, *rest = words
    why = _refused(run, incident, verb, "traefik", *rest, "--yes")
    assert "Application argocd/traefik is being deleted" in why
    assert "resources-finalizer.argocd.argoproj.io" in why


@pytest.mark.parametrize("version", ["", " ", " 2.4.1", "2.4.1\n"])
@pytest.mark.parametrize("verb", ["pin", "rescue"])
def test_a_version_that_is_none(run: Run, incident: Incident, verb: str, version: str) -> None:
    before = len(incident.api.writes())
    ran = run(incident.api, verb, "traefik", version, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert f"{version!r} is no version" in ran.err
    assert len(incident.api.writes()) == before
