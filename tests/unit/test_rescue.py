"""`rescue` and `rollback` on the in-memory API: which version is the good one, and that it stays chosen.

Aspects: Synced and Healthy does not make the running version good; a second rescue does not go back
to the broken one; the version is chosen once, also where the plan is made anew; a plan that touches
more than was named needs a yes.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.model import APPLICATION
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident

from .harness import Run


@pytest.fixture
def incident() -> Incident:
    made = traefik_incident()
    made.api.idle = lambda: made.argocd.tick(0.5)
    return made


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


def test_it_needs_a_yes_for_what_was_not_named(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "rescue", "traefik")
    assert ran.code == 5
    assert "root is paused as well" in ran.err
    assert revision(incident) == "2.5.1"
    assert incident.api.writes() == []
