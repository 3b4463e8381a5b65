"""An undo that is refused while another undoes the same is told of that: it saw that undo halfway.

The other is still at it, is done already, or left its claim behind and counts no more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from kubectl_argo_rescue.journal.claims import CLAIM_SECONDS
from kubectl_argo_rescue.journal.configmaps import ClusterHome
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import CONFIGMAP
from kubectl_argo_rescue.simulation.incident import GOOD, Incident
from kubectl_argo_rescue.simulation.wire import Request

from ..harness import Ran, Run


def _pinned(run: Run, incident: Incident) -> str:
    """Pin with the owner paused: git still asks for what broke, so an undo is refused."""
    incident.clock.advance(1)
    ran = run(incident.api, "pin", "traefik", GOOD, "--yes", "-o", "json")
    assert ran.code == 0, ran.err
    incident.argocd.run(100)
    entry: str = ran.json["entry"]
    return entry


def _claimed_at(incident: Incident, entry: str, at: datetime) -> None:
    claim = f'{{"who": "carol", "at": "{at.isoformat(timespec="seconds")}", "by": "elsewhere 1 x"}}'
    name = f"argo-rescue-{entry}"
    incident.api.edit(CONFIGMAP, "argocd", name, lambda o: o["data"].update(claim=claim))


@pytest.mark.parametrize("is_left_behind", [False, True])
def test_while_another_is_at_it(run: Run, incident: Incident, is_left_behind: bool) -> None:
    entry = _pinned(run, incident)
    age = timedelta(seconds=CLAIM_SECONDS + 60 if is_left_behind else 5)
    _claimed_at(incident, entry, incident.clock.now - age)
    ran = run(incident.api, "undo")
    if is_left_behind:
        assert ran.code == 5 and "git is still at" in ran.err, ran.err
    else:
        assert ran.code == 3 and f"entry {entry} is being undone by carol" in ran.err, ran.err


def test_after_another_was_done(run: Run, incident: Incident) -> None:
    """Bob would be asked, since the entry is not his; alice has undone it by then."""
    entry = _pinned(run, incident)
    undone: list[Ran | None] = []

    def meanwhile(request: Request) -> None:
        if request.method == "PATCH" and b"refresh" in (request.body or b"") and not undone:
            undone.append(None)
            undone.append(run(incident.api, "undo", "--redeploy", user="alice"))

    incident.api.before.append(meanwhile)
    ran = run(incident.api, "undo", "--redeploy", user="bob", laptop="bobs")
    first = undone[1]
    assert first is not None
    assert first.code == 0, first.err
    assert ran.code == 3, ran.err
    assert f"entry {entry} was undone just now by entry " in ran.err
    assert "not yours" not in ran.err


def test_a_journal_that_does_not_answer_changes_no_refusal(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pinned(run, incident)
    asked: list[str] = []

    def fails(home: ClusterHome, entry: str, now: datetime) -> None:
        asked.append(entry)
        raise TransportError("cut off")

    monkeypatch.setattr(ClusterHome, "left_claim", fails)
    ran = run(incident.api, "undo")
    assert asked
    assert ran.code == 5 and "git is still at" in ran.err, ran.err


def _waiting(run: Run, incident: Incident, entry: str, after: float, meanwhile: Callable[[], None]) -> Ran:
    """Undo with --when-safe for an hour, in whose second wait, with the entry claimed, something happens."""
    incident.push("2.4.0")
    started = incident.clock()
    pending = [meanwhile]

    def idle() -> None:
        incident.argocd.tick(0.5)
        if pending and (incident.clock() - started).total_seconds() > after:
            pending.pop()()

    incident.api.idle = idle
    ran = run(incident.api, "undo", entry, "--when-safe", "--timeout", "1h", "--yes")
    assert not pending, ran.err
    return ran


def test_a_claim_is_held_for_as_long_as_git_is_waited_for(run: Run, incident: Incident) -> None:
    entry = _pinned(run, incident)
    others: list[Ran] = []

    def also() -> None:
        others.append(run(incident.api, "undo", entry, "--redeploy", "--yes", user="bob", laptop="bobs"))

    ran = _waiting(run, incident, entry, 3 * CLAIM_SECONDS, also)
    (other,) = others
    assert other.code == 3 and f"entry {entry} is being undone by alice" in other.err, other.err
    assert ran.code == 6, ran.err


def test_who_lost_the_claim_writes_no_more(run: Run, incident: Incident) -> None:
    entry = _pinned(run, incident)

    def taken_over() -> None:
        _claimed_at(incident, entry, incident.clock.now)

    ran = _waiting(run, incident, entry, 600, taken_over)
    assert ran.code == 3 and f"entry {entry} is being undone by carol" in ran.err, ran.err
    there = incident.api.find(CONFIGMAP, "argocd", f"argo-rescue-{entry}")
    assert "carol" in there["data"]["claim"], "it is hers"
