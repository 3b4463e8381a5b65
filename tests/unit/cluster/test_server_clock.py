"""Whose clock counts: the API server's, told from the Date of its answers.

Covered: what is heard beside a Date of whole seconds that took its time, a clock that is set in
between, what is no date; windows are judged, and "until" is counted, by the server's clock, and a
machine that is more than a minute off is told so once; errors of proxies say nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest

from kubectl_argo_rescue.cluster.server_clock import ServerClock
from kubectl_argo_rescue.model.values import APPPROJECT
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import Incident
from kubectl_argo_rescue.simulation.wire import answer

from ..harness import Run

OWN = datetime(2026, 11, 27, 6, 0, 0, 400_000, tzinfo=timezone.utc)
HOURS = timedelta(hours=10)


def heard(*answers: tuple[timedelta, float]) -> ServerClock:
    clock = ServerClock(lambda: OWN)
    for ahead, seconds in answers:
        clock.heard(format_datetime(OWN + ahead, usegmt=True), seconds)
    return clock


@pytest.mark.parametrize(
    ("answers", "ahead"),
    [
        ([], 0.0),
        # A Date is cut to its second, and was written at any time since it was asked for.
        ([(timedelta(0), 0.0)], 0.0),
        ([(timedelta(seconds=-9), 9.0)], 0.0),
        ([(HOURS, 0.0)], HOURS.total_seconds() - 0.4),
        ([(-HOURS, 0.0)], -HOURS.total_seconds() + 0.6),
        # The answer that came fastest says most.
        ([(HOURS, 0.1), (HOURS - timedelta(seconds=20), 20.0)], HOURS.total_seconds() - 0.4),
        # The clock was set.
        ([(HOURS, 0.0), (timedelta(0), 0.0)], 0.0),
    ],
)
def test_how_far_the_server_is_ahead(answers: list[tuple[timedelta, float]], ahead: float) -> None:
    clock = heard(*answers)
    assert clock.ahead.total_seconds() == pytest.approx(ahead)
    assert clock.now() == OWN + clock.ahead


@pytest.mark.parametrize("text", ["", "yesterday", "Fri, 99 Nov 2026 16:00:00 GMT"])
def test_what_is_no_date(text: str) -> None:
    clock = ServerClock(lambda: OWN)
    clock.heard(text, 0.0)
    assert clock.now() == OWN


def test_a_date_that_names_no_zone_is_utc() -> None:
    clock = ServerClock(lambda: OWN)
    clock.heard("Fri, 27 Nov 2026 16:00:00 -0000", 0.0)
    assert clock.now() == OWN.replace(hour=16, microsecond=0)


def freeze(incident: Incident) -> None:
    """A full freeze of this day from 15:00 on."""
    window = {"kind": "deny", "schedule": "0 15 * * *", "duration": "8h", "applications": ["*"]}

    def change(project: dict[str, Any]) -> dict[str, Any]:
        return {**project, "spec": {**project["spec"], "syncWindows": [window]}}

    incident.api.edit(APPPROJECT, "argocd", "cluster", change)


@pytest.mark.parametrize(("off", "said"), [(-HOURS, "10h behind"), (HOURS, "10h ahead of")])
def test_a_full_freeze_on_a_machine_that_is_hours_off(
    run: Run, incident: Incident, off: timedelta, said: str
) -> None:
    freeze(incident)
    run.laptop_clock = lambda: incident.clock() + off
    ran = run(incident.api, "windows", "traefik", "-o", "json")
    verdict = ran.json["data"]["apps"]["argocd/traefik"]
    assert verdict["canSync"] == {"automatic": False, "manual": False}
    assert verdict["until"]["automatic"] == "2026-11-27T23:00:00Z"
    warning = f"this machine's clock is {said} the API server's, which is the one that counts"
    assert ran.json["warnings"].count(warning) == 1
    assert ran.err.count(warning) == 1


def test_less_than_a_minute_is_not_worth_a_word(run: Run, incident: Incident) -> None:
    run.laptop_clock = lambda: incident.clock() - timedelta(seconds=50)
    assert "clock" not in run(incident.api, "windows", "traefik").err


def test_the_error_of_a_proxy_on_this_machine_is_no_news(run: Run, incident: Incident) -> None:
    freeze(incident)
    laptop = SteppedClock(incident.clock() - HOURS)
    run.laptop_clock = laptop
    failed: list[str] = []

    def fail_once(asked: Any) -> Any:
        if asked.path.endswith("/appprojects/cluster") and not failed:
            failed.append(asked.path)
            return answer(502, {}, {"date": format_datetime(laptop(), usegmt=True)})
        return None

    incident.api.before.append(fail_once)
    ran = run(incident.api, "windows", "traefik", "-o", "json")
    assert failed
    assert not ran.json["data"]["apps"]["argocd/traefik"]["canSync"]["automatic"]
