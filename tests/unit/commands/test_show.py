"""`show`: one entry whole, and how an entry is named.

Covered: id prefixes; head, edits, orders, reliances, witnesses; what stands now, per change, and by
whom it was changed; settled changes and their undo; the fate of an order; text from elsewhere.
Left out: doubt settled by looking (test_log.py).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from kubectl_argo_rescue.journal.entry import Entry, find_entry, overwritten_by
from kubectl_argo_rescue.journal.records import Begin, Intent, Outcome, Settled
from kubectl_argo_rescue.model.errors import NotFound, UsageError
from kubectl_argo_rescue.model.values import ABSENT, APPLICATION, Edit, FieldChange, Role, ref_of
from kubectl_argo_rescue.simulation.incident import Incident

from ..harness import Run

NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)


def newest(run: Run, incident: Incident) -> str:
    return run(incident.api, "log", "-o", "name").out.split()[0]


def show(run: Run, incident: Incident, id: str = "") -> str:
    ran = run(incident.api, "show", id or newest(run, incident))
    assert ran.code == 0
    return ran.out


def entry(id: str) -> Entry:
    return Entry(id, Begin("pause", (), "alice", "", NOON, "", "argocd"), {}, {}, {})


# -- find_entry


def test_an_entry_is_found_by_its_id_and_by_a_prefix_of_one_only() -> None:
    entries = [entry("7f3a1c"), entry("7f0000"), entry("81d0aa")]
    assert find_entry(entries, "81d0aa").id == "81d0aa"
    assert find_entry(entries, "8").id == "81d0aa"
    assert find_entry(entries, "entry/7f3").id == "7f3a1c"
    assert find_entry(entries, "7F0").id == "7f0000"


def test_a_whole_id_wins_over_longer_ones() -> None:
    assert find_entry([entry("7f3a1c00"), entry("7f3a1c")], "7f3a1c").id == "7f3a1c"


def test_a_prefix_of_several_names_them() -> None:
    with pytest.raises(UsageError) as caught:
        find_entry([entry("7f3a1c"), entry("7f0000"), entry("81d0aa")], "7f")
    assert "7f3a1c" in caught.value.hint
    assert "7f0000" in caught.value.hint
    assert "81d0aa" not in caught.value.hint


@pytest.mark.parametrize("text", ["zz", "", "entry/"])
def test_no_such_entry_names_those_that_there_are(text: str) -> None:
    with pytest.raises(NotFound) as caught:
        find_entry([entry("7f3a1c")], text)
    assert "7f3a1c" in caught.value.hint


def test_no_entry_at_all() -> None:
    with pytest.raises(NotFound, match="the log is empty"):
        find_entry([], "7f3a1c")


def test_show_of_what_is_not_there(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "show", "7f3a1c")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: there is no entry '7f3a1c' (AR1301)\n  the log is empty\n"


# -- the whole entry


def test_all_of_an_entry(run: Run, incident: Incident) -> None:
    run(incident.api, "pin", "traefik", "2.4.1", "--yes", "--reason", "INC-4711", user="bob")
    id = newest(run, incident)
    incident.clock.advance(90)
    ran = run(incident.api, "show", id[:4])
    assert ran.code == 0
    assert ran.err == f"undo with: kubectl argo-rescue undo {id}\n"
    head, _, rest = ran.out.partition("\n\n")
    assert head.splitlines() == [
        f"Entry {id}: pin traefik, root",
        "  State:      open",
        f"  Who:        bob on {_host(head)}",
        "  When:       2026-11-27 17:00:00 UTC, 90s ago",
        "  Why:        INC-4711",
        "  Command:    kubectl argo-rescue pin traefik 2.4.1 --yes --reason INC-4711",
        "  Ended:      ok at 2026-11-27 17:00:00 UTC",
        "  Argo CD:    v3.2.11 in argocd",
        "  Kept:       on this machine and in the cluster",
    ]
    assert "  * Application argocd/root  it would revert" in rest
    assert (
        "  + Application argocd/traefik  2.5.1 to 2.4.1\n"
        "      applied at 2026-11-27 17:00:00 UTC\n"
        '      - /spec/source/targetRevision: "2.5.1"\n'
        '      + /spec/source/targetRevision: "2.4.1"\n'
        "        now: stands\n"
    ) in rest
    assert (
        f"  Application argocd/root: https://git.invalid/cluster.git apps at main, {incident.bad_commit}"
        in rest
    )


def _host(head: str) -> str:
    return next(line for line in head.splitlines() if "Who:" in line).rpartition(" on ")[2]


def test_what_it_relies_on(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    incident.clock.advance(1)
    run(incident.api, "unblock", "traefik")
    assert "Found in place and relied on:\n  Application argocd/root\n" in show(run, incident)


def test_the_fate_of_an_order(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root", "traefik")
    run(incident.api, "unblock", "traefik")
    incident.clock.advance(1)
    assert run(incident.api, "sync", "traefik").code == 0
    assert "        now: waiting to be picked up, started by argo-rescue:alice" in show(run, incident)
    incident.argocd.settle()
    assert "        now: Succeeded at 2026-11-27 17:00:01 UTC" in show(run, incident)
    told = run(incident.api, "show", newest(run, incident), "-o", "json").json["data"]["entry"]
    [order] = told["orders"]
    assert (order["name"], order["outcome"], order["order"]) == ("traefik", "applied", "start")
    assert order["fate"].startswith("Succeeded")

    def later(app: Any) -> None:
        app["status"]["operationState"]["operation"]["info"] = []

    incident.api.edit(APPLICATION, "argocd", "traefik", later)
    assert "now: no trace of it; a later operation is there" in show(run, incident)


def test_a_later_entry_of_ours_is_named_as_the_one_that_wrote_over(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    incident.clock.advance(1)
    run(incident.api, "pin", "traefik", "2.4.1")
    first = newest(run, incident)
    incident.clock.advance(1)
    run(incident.api, "pin", "traefik", "2.4.0", "--yes")
    second = newest(run, incident)
    assert f'now: changed by entry {second} to "2.4.0"' in show(run, incident, first)


def test_somebody_else_who_wrote_over_is_told_with_the_value(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    incident.clock.advance(1)
    run(incident.api, "pin", "traefik", "2.4.1")

    def other(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "2.3.0"

    incident.api.edit(APPLICATION, "argocd", "traefik", other)
    assert 'now: changed by somebody to "2.3.0"' in show(run, incident)


def test_only_later_entries_write_over(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    [made] = run.journal(incident.api).read().entries
    [(_, edit)] = made.edits()
    live = {edit.ref.key: incident.api.get(APPLICATION, "argocd", "root")}
    assert overwritten_by(made, edit.ref, edit.changes[0], [made], live) == ""


def test_how_it_was_settled_and_by_which_undo(run: Run, incident: Incident) -> None:
    ref = ref_of(incident.api.get(APPLICATION, "argocd", "web"))
    change = FieldChange(("spec", "syncPolicy", "automated", "enabled"), ABSENT, False)
    edit = Edit(ref, (change,), "auto-sync off", Role.PAUSE)
    begin = Begin("pause", ("pause", "web"), "alice", "", incident.clock(), "", "argocd")
    journal = run.journal(incident.api)
    undone = journal.begin([begin, Intent(0, edit), Outcome({0: "applied"})])
    undo = journal.begin(
        [
            Begin("undo", ("undo",), "bob", "", incident.clock(), "", "argocd", undoes=(undone.entry,)),
            Outcome({}, at=incident.clock()),
        ]
    )
    undone.write([Settled({(0, 0): "restored"}, undo.entry, incident.clock())])
    told = show(run, incident, undone.entry)
    assert "  State:      undone" in told
    assert f"  Undone by:  {undo.entry}" in told
    assert f"        restored by entry {undo.entry} at 2026-11-27 17:00:00 UTC\n" in told
    assert f"  Undoes:     {undone.entry}" in show(run, incident, undo.entry)

    def again(app: Any) -> None:
        app["spec"]["syncPolicy"]["automated"]["enabled"] = False

    incident.api.edit(APPLICATION, "argocd", "web", again)
    assert "17:00:00 UTC; the same stands again\n" in show(run, incident, undone.entry)


def test_name_prints_the_id(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    id = newest(run, incident)
    assert run(incident.api, "show", id[:5], "-o", "name") == (0, f"{id}\n", "")


def test_text_of_others_cannot_add_lines(run: Run, incident: Incident) -> None:
    begin = Begin("pause", ("x\n  State:      undone",), "a\nb", "h", NOON, "why\n\x1b[2J", "argocd")
    id = run.journal(incident.api).begin([begin]).entry
    told = show(run, incident, id)
    assert told.count("State:") == 2
    assert len([line for line in told.splitlines() if line.startswith("  State:")]) == 1
    assert "\x1b" not in told
