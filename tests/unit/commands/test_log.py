"""`log`: what is listed, how doubt is settled by looking, and what `log prune` may delete.

Covered: columns and order; both homes and one of them; deadlines; in-doubt edits and orders against
the live object; open entries that no longer stand; lost and forged records; text from elsewhere;
many objects read as a list; prune with and without a yes, what it must keep, failures half way.
Left out: how records are written and merged (test_journal.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.journal.configmaps import ENTRY_LABEL
from kubectl_argo_rescue.journal.records import Begin, Content, Intent, Outcome, Settled
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import (
    ABSENT,
    APPLICATION,
    CONFIGMAP,
    Edit,
    FieldChange,
    Order,
    OrderKind,
    Role,
    ref_of,
)
from kubectl_argo_rescue.simulation.incident import Incident, traefik_incident
from kubectl_argo_rescue.simulation.wire import Request

from ..harness import Run

ENABLED = ("spec", "syncPolicy", "automated", "enabled")
TRAEFIK = "/applications/traefik"


def ids(run: Run, incident: Incident) -> list[str]:
    return run(incident.api, "log", "-o", "name").out.split()


def config_maps(incident: Incident) -> list[str]:
    found = incident.api.objects(CONFIGMAP, "argocd")
    return [o["metadata"]["name"] for o in found if ENTRY_LABEL in (o["metadata"].get("labels") or {})]


def files(run: Run) -> list[str]:
    return sorted(path.stem for path in run.state_home().rglob("*.jsonl"))


def begin(incident: Incident, **more: Any) -> Begin:
    given = {"reason": "", "argocd_namespace": "argocd", "started": incident.clock(), **more}
    return Begin("pause", ("pause", "web"), "alice", "laptop", **given)


def write(run: Run, incident: Incident, *contents: Content) -> str:
    return run.journal(incident.api).begin(contents).entry


def edit(incident: Incident, name: str = "web") -> Edit:
    ref = ref_of(incident.api.get(APPLICATION, "argocd", name))
    return Edit(ref, (FieldChange(ENABLED, ABSENT, False),), "auto-sync off", Role.PAUSE)


def closed(run: Run, incident: Incident, **more: Any) -> str:
    """Write an entry all of which is undone."""
    return write(
        run,
        incident,
        begin(incident, **more),
        Intent(0, edit(incident)),
        Outcome({0: "applied"}, at=incident.clock()),
        Settled({(0, 0): "restored"}, "", incident.clock()),
    )


class LostAnswer:
    """Loses the answer to the next PATCH of traefik and keeps it unreadable, until `found`."""

    def __init__(self, incident: Incident, *, lands: bool) -> None:
        self.incident = incident
        self.lands = lands
        self.is_cut = False
        incident.api.before.append(self.before)
        incident.api.after.append(self.after)

    def before(self, request: Request) -> Response | None:
        if TRAEFIK in request.path and (self.is_cut or (request.method == "PATCH" and not self.lands)):
            self.is_cut = True
            raise TransportError("connection reset", sent=True)
        return None

    def after(self, request: Request, response: Response) -> Response | None:
        if TRAEFIK in request.path and request.method == "PATCH":
            self.is_cut = True
            raise TransportError("connection reset", sent=True)
        return None

    def found(self) -> None:
        self.incident.api.before.remove(self.before)
        self.incident.api.after.remove(self.after)


# -- list


def test_a_log_without_entries_says_so_on_stderr(run: Run, incident: Incident) -> None:
    assert run(incident.api, "log") == (0, "", "the log is empty\n")


def test_newest_first_with_who_what_and_why(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root", "--reason", "INC-4711")
    incident.clock.advance(300)
    run(incident.api, "unblock", "traefik", user="bob")
    incident.clock.advance(60)
    newer, older = ids(run, incident)
    ran = run(incident.api, "log")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "ENTRY    AGE   STATE   WHO     WHAT                         REASON",
        f"{newer}   60s   open    bob     unblock AppProject cluster",
        f"{older}   6m    open    alice   pause root                   INC-4711",
    ]


def test_json_tells_each_edit_and_what_stands_of_it(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root", "--reason", "INC-4711")
    ran = run(incident.api, "log", "-o", "json")
    [entry] = ran.json["data"]["entries"]
    assert ran.json["status"] == "done"
    assert (entry["verb"], entry["actor"], entry["reason"]) == ("pause", "alice", "INC-4711")
    assert (entry["open"], entry["state"], entry["homes"]) == (True, "open", ["cluster", "local"])
    [made] = entry["edits"]
    assert (made["kind"], made["name"], made["role"], made["outcome"]) == (
        "Application",
        "root",
        "pause",
        "applied",
    )
    assert made["changes"] == [
        {
            "path": "/spec/syncPolicy/automated/enabled",
            "after": False,
            "now": "stands",
            "overwrittenBy": "",
            "settled": None,
        }
    ]


def test_open_leaves_out_what_is_closed(run: Run, incident: Incident) -> None:
    old = closed(run, incident)
    incident.clock.advance(1)
    run(incident.api, "pause", "root")
    assert len(ids(run, incident)) == 2
    ran = run(incident.api, "log", "--open", "-o", "name")
    assert ran.out.split() == [id for id in ids(run, incident) if id != old]


def test_nothing_open_is_told_from_an_empty_log(run: Run, incident: Incident) -> None:
    closed(run, incident)
    assert run(incident.api, "log", "--open") == (0, "", "nothing is open\n")


def test_an_entry_of_another_machine_is_marked(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    assert "open, cluster only" in run(incident.api, "log", laptop="bobs").out


def test_an_entry_that_the_cluster_did_not_take_is_marked(run: Run, incident: Incident) -> None:
    incident.api.deny("create", "configmaps")
    run(incident.api, "pause", "root")
    assert "open, local only" in run(incident.api, "log").out


def test_a_cluster_home_that_cannot_be_read_is_a_warning(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    incident.api.deny("list", "configmaps")
    ran = run(incident.api, "log", "-o", "json")
    assert ran.code == 0
    assert "only this machine's is shown" in ran.err
    assert any("only this machine's is shown" in text for text in ran.json["warnings"])


def test_deadlines_are_counted_down_and_then_marked(run: Run, incident: Incident) -> None:
    expires = incident.clock() + timedelta(hours=2)
    write(
        run,
        incident,
        begin(incident, expires=expires),
        Intent(0, edit(incident)),
        Outcome({0: "applied"}),
    )
    incident.api.edit(APPLICATION, "argocd", "web", _pause)
    assert "open, expires in 120m" in run(incident.api, "log").out
    incident.clock.advance(2 * 3600 + 600)
    ran = run(incident.api, "log")
    assert "open, EXPIRED 10m ago" in ran.out
    assert run(incident.api, "log", "-o", "json").json["data"]["entries"][0]["expired"] is True


def _pause(app: Any) -> None:
    app["spec"]["syncPolicy"]["automated"]["enabled"] = False


def test_an_open_entry_that_somebody_reverted_says_so(run: Run, incident: Incident) -> None:
    run(incident.api, "pin", "traefik", "2.4.1", "--only")
    incident.argocd.settle()
    assert "open (does not stand)" in run(incident.api, "log").out


def test_an_open_entry_that_somebody_wrote_over_says_so(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    run(incident.api, "pin", "traefik", "2.4.1")

    def other(app: Any) -> None:
        app["spec"]["source"]["targetRevision"] = "2.3.0"

    incident.api.edit(APPLICATION, "argocd", "traefik", other)
    assert "open (changed by somebody)" in run(incident.api, "log").out


def test_the_entries_of_one_application(run: Run, incident: Incident) -> None:
    root = run(incident.api, "pause", "root", "-o", "json").json["entry"]
    incident.clock.advance(1)
    freed = run(incident.api, "unblock", "traefik", "--yes", "-o", "json").json["entry"]
    incident.clock.advance(1)
    pinned = run(incident.api, "pin", "traefik", "2.4.1", "--no-sync", "-o", "json").json["entry"]
    assert run(incident.api, "log", "traefik", "-o", "name").out.split() == [pinned, freed]
    assert run(incident.api, "log", "argocd/traefik", "-o", "name").out.split() == [pinned, freed]
    assert run(incident.api, "log", "root", "-o", "name").out.split() == [root]
    incident.clock.advance(1)
    undo = run(incident.api, "undo", freed, "-o", "json").json["entry"]
    assert run(incident.api, "log", "traefik", "-o", "name").out.split() == [undo, pinned, freed]
    assert run(incident.api, "log", "traefik", "--open", "-o", "name").out.split() == [pinned]
    for words in (["web"], ["traefik", "-n", "team-a"]):
        ran = run(incident.api, "log", *words)
        assert (ran.code, ran.out, ran.err) == (0, "", f"nothing in the log is about {words[0]}\n")
    assert run(incident.api, "log", "No_Name").code == 2


# -- doubt


@pytest.mark.parametrize(("lands", "said"), [(True, "in doubt: stands"), (False, "in doubt: does not stand")])
def test_doubt_is_settled_by_looking(run: Run, incident: Incident, lands: bool, said: str) -> None:
    run(incident.api, "pause", "root")
    incident.clock.advance(1)
    lost = LostAnswer(incident, lands=lands)
    run(incident.api, "pin", "traefik", "2.4.1")
    lost.found()
    writes = len(incident.api.writes())
    ran = run(incident.api, "log")
    assert said in ran.out.splitlines()[1]
    assert len(incident.api.writes()) == writes


def test_doubt_about_what_somebody_else_changed_since(run: Run, incident: Incident) -> None:
    write(run, incident, begin(incident), Intent(0, edit(incident)))

    def other(app: Any) -> None:
        app["spec"]["syncPolicy"]["automated"]["enabled"] = True

    incident.api.edit(APPLICATION, "argocd", "web", other)
    assert "in doubt: changed by somebody" in run(incident.api, "log").out


def test_doubt_about_an_object_that_is_another_one_now(run: Run, incident: Incident) -> None:
    write(run, incident, begin(incident), Intent(0, edit(incident)))
    app = incident.api.get(APPLICATION, "argocd", "web")
    incident.api.remove(APPLICATION, "argocd", "web")
    assert "in doubt: the object is gone" in run(incident.api, "log").out
    del app["metadata"]["uid"]
    incident.api.create(app)
    assert "in doubt: the object was deleted and created anew" in run(incident.api, "log").out


def test_an_object_that_may_not_be_read_is_no_reason_to_fail(run: Run, incident: Incident) -> None:
    write(run, incident, begin(incident), Intent(0, edit(incident)))
    incident.api.deny("get", "applications", name="web")
    ran = run(incident.api, "log")
    assert ran.code == 0
    assert "in doubt: cannot be read" in ran.out
    assert "Application argocd/web cannot be read" in ran.err


def test_many_objects_are_read_as_one_list(run: Run, incident: Incident) -> None:
    web = incident.api.get(APPLICATION, "argocd", "web")
    for number in range(30):
        copy = {**web, "metadata": {"name": f"app-{number}", "namespace": "argocd"}}
        incident.api.create(copy)
    intents = [Intent(n, edit(incident, f"app-{n}")) for n in range(30)]
    write(run, incident, begin(incident), *intents)
    before = len(incident.api.requests)
    assert "in doubt: does not stand" in run(incident.api, "log").out
    paths = [r.path for r in incident.api.requests[before:]]
    assert not [path for path in paths if "/applications/" in path]
    assert len([path for path in paths if path.endswith("/applications")]) == 1


# -- what cannot be trusted


def test_a_corrupt_line_is_told_and_the_rest_is_listed(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    [path] = run.state_home().rglob("*.jsonl")
    path.write_text('{"v":1,"broken\n' + path.read_text())
    ran = run(incident.api, "log")
    assert (ran.code, ran.out.count("pause root")) == (0, 1)
    assert f"warning: journal: left out {path.name} line 1" in ran.err


def test_lost_records_are_told(run: Run, incident: Incident) -> None:
    write(run, incident, begin(incident, total=3), Intent(0, edit(incident)), Outcome({0: "applied"}))
    assert "2 of its records lost" in run(incident.api, "log").out


def test_text_of_others_cannot_add_lines_or_move_the_cursor(run: Run, incident: Incident) -> None:
    write(
        run,
        incident,
        begin(incident, reason="fine\nabcdef   1s   open   \x1b[2Jroot"),
        Intent(0, edit(incident)),
    )
    ran = run(incident.api, "log")
    assert len(ran.out.splitlines()) == 2
    assert "\x1b" not in ran.out


# -- prune


@pytest.fixture
def aged(run: Run, incident: Incident) -> tuple[str, str, str]:
    """One closed, one open and one doubtful entry, all of 100 days ago."""
    old = closed(run, incident)
    still_open = write(run, incident, begin(incident), Intent(0, edit(incident)), Outcome({0: "applied"}))
    in_doubt = write(run, incident, begin(incident, undoes=(old,)), Intent(0, edit(incident)))
    incident.clock.advance(100 * 86400)
    return old, still_open, in_doubt


def test_prune_deletes_closed_entries_from_both_homes(
    run: Run, incident: Incident, aged: tuple[str, str, str]
) -> None:
    old, *kept = aged
    young = closed(run, incident)
    assert run(incident.api, "log", "prune", "--older-than", "90d", "--yes") == (
        0,
        f"entry/{old} pruned\n",
        "",
    )
    assert files(run) == sorted([*kept, young])
    assert config_maps(incident) == sorted(f"argo-rescue-{id}" for id in (*kept, young))


def test_prune_counts_from_the_last_thing_that_happened(run: Run, incident: Incident) -> None:
    old = write(run, incident, begin(incident), Intent(0, edit(incident)), Outcome({0: "applied"}))
    incident.clock.advance(100 * 86400)
    journal = run.journal(incident.api)
    [entry] = journal.read().entries
    journal.reopen(entry).write([Settled({(0, 0): "restored"}, "", incident.clock())])
    ran = run(incident.api, "log", "prune", "--older-than", "90d", "--yes")
    assert (ran.code, ran.out, ran.err) == (0, "", "no closed entry is older than 90d\n")
    assert files(run) == [old]


def test_prune_without_a_yes_is_refused(run: Run, incident: Incident, aged: tuple[str, str, str]) -> None:
    ran = run(incident.api, "log", "prune", "--older-than", "90d", "-o", "json")
    assert ran.code == 5
    assert ran.json["status"] == "refused"
    assert "1 closed entry older than 90d would be deleted" in ran.err
    assert files(run) == sorted(aged)


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 5), ("", 5)])
def test_prune_asks_on_a_terminal(
    run: Run, incident: Incident, aged: tuple[str, str, str], typed: str, code: int
) -> None:
    ran = run(incident.api, "log", "prune", "--older-than", "90d", terminal=True, typed=typed)
    assert ran.code == code
    assert f"  {aged[0]}  2026-11-27" in ran.err
    assert len(files(run)) == (2 if code == 0 else 3)


def test_prune_dry_run_deletes_nothing(run: Run, incident: Incident, aged: tuple[str, str, str]) -> None:
    ran = run(incident.api, "log", "prune", "--older-than", "90d", "--dry-run=client")
    assert (ran.code, ran.out) == (0, f"entry/{aged[0]} pruned (dry run)\n")
    assert files(run) == sorted(aged)
    told = run(incident.api, "log", "prune", "--older-than", "90d", "--dry-run", "-o", "json").json
    assert (told["status"], told["data"]) == ("planned", {"pruned": [], "planned": [aged[0]]})


def test_prune_keeps_what_cannot_be_read_whole(run: Run, incident: Incident) -> None:
    lost = write(
        run,
        incident,
        begin(incident, total=2),
        Intent(0, edit(incident)),
        Outcome({0: "not-applied"}),
    )
    newer = closed(run, incident)
    [path] = run.state_home().rglob(f"{newer}.jsonl")
    path.write_text('{"v":99,"entry":"' + newer + '"}\n' + path.read_text())
    incident.clock.advance(100 * 86400)
    assert run(incident.api, "log", "prune", "--older-than", "90d", "--yes").out == ""
    assert files(run) == sorted([lost, newer])


def test_prune_needs_the_cluster_home(run: Run, incident: Incident, aged: tuple[str, str, str]) -> None:
    incident.api.deny("list", "configmaps")
    ran = run(incident.api, "log", "prune", "--older-than", "90d", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert files(run) == sorted(aged)


def test_what_the_cluster_refuses_to_delete_stays_here_too(
    run: Run, incident: Incident, aged: tuple[str, str, str]
) -> None:
    other = closed(run, incident)
    incident.clock.advance(100 * 86400)
    incident.api.deny("delete", "configmaps", name=f"argo-rescue-{aged[0]}")
    ran = run(incident.api, "log", "prune", "--older-than", "90d", "--yes")
    assert (ran.code, ran.out) == (4, f"entry/{other} pruned\n")
    assert f"error: entry {aged[0]}:" in ran.err
    assert aged[0] in files(run)
    assert other not in files(run)


@pytest.mark.parametrize(
    "words",
    [
        ["prune"],
        ["--older-than", "90d"],
        ["--yes"],
        ["--dry-run"],
        ["prune", "--older-than", "soon"],
        ["prune", "--older-than", "0"],
        ["prune", "--older-than", "-5m"],
        ["purge", "--older-than", "90d"],
    ],
)
def test_prune_that_cannot_be_meant(run: Run, incident: Incident, words: list[str]) -> None:
    ran = run(incident.api, "log", *words)
    assert (ran.code, ran.out) == (2, "")
    assert incident.api.requests == []


def test_an_entry_reads_the_same_from_both_homes(run: Run, incident: Incident) -> None:
    run(incident.api, "pause", "root")
    run(incident.api, "pin", "traefik", "2.4.1")
    here = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    there = run(incident.api, "log", "-o", "json", laptop="bobs").json["data"]["entries"]
    assert [{**e, "homes": None} for e in here] == [{**e, "homes": None} for e in there]


# -- doubt about orders


def order(incident: Incident, kind: OrderKind = OrderKind.START) -> Order:
    ref = ref_of(incident.api.get(APPLICATION, "argocd", "traefik"))
    operation = {"sync": {}, "info": [{"name": "argo-rescue", "value": "0123456789abcdef"}]}
    return Order(ref, "0123456789abcdef", operation, "manual sync", kind=kind)


def test_doubt_about_an_order_that_landed_or_not(run: Run, incident: Incident) -> None:
    write(run, incident, begin(incident), Intent(0, order(incident)))
    assert "in doubt: does not stand" in run(incident.api, "log").out

    def landed(app: Any) -> None:
        app["operation"] = order(incident).operation

    incident.api.edit(APPLICATION, "argocd", "traefik", landed)
    [entry] = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert entry["inDoubt"] == "stands"
    incident.api.remove(APPLICATION, "argocd", "traefik")
    [entry] = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert (entry["inDoubt"], entry["orders"][0]["fate"]) == ("the object is gone", "the object is gone")


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("Running", "does not stand"),
        ("Terminating", "stands"),
        ("Failed", "stands"),
    ],
)
def test_doubt_about_an_order_to_end_an_operation(
    run: Run, incident: Incident, phase: str, said: str
) -> None:
    write(run, incident, begin(incident), Intent(0, order(incident, OrderKind.TERMINATE)))

    def running(app: Any) -> None:
        app["status"]["operationState"]["phase"] = phase

    incident.api.edit(APPLICATION, "argocd", "traefik", running)
    [entry] = run(incident.api, "log", "-o", "json").json["data"]["entries"]
    assert entry["inDoubt"] == said


def test_what_is_past_its_time_is_listed_alone_and_told_by_the_exit_code(
    run: Run, incident: Incident
) -> None:
    assert run(incident.api, "pause", "web", "--expires", "2h", "--yes").code == 0
    assert run(incident.api, "pause", "root", "--yes").code == 0
    late = ("log", "--expired", "--exit-code")
    ran = run(incident.api, *late)
    assert (ran.code, ran.out) == (0, "")
    assert "nothing is past its time" in ran.err
    incident.clock.advance(3 * 3600)
    ran = run(incident.api, *late)
    assert ran.code == 4
    assert "EXPIRED" in ran.out
    assert len(ran.out.splitlines()) == 2
    assert run(incident.api, "log", "--expired").code == 0
    told = run(incident.api, *late, "-o", "json")
    assert (told.code, told.json["status"], len(told.json["data"]["entries"])) == (4, "done", 1)
    assert len(run(incident.api, "log", "--open", "-o", "name").out.split()) == 2
    assert run(incident.api, "undo", "web", "--yes").code == 0
    assert run(incident.api, *late).code == 0


def test_prune_has_no_such_flags(run: Run) -> None:
    incident = traefik_incident()
    assert run(incident.api, "log", "prune", "--older-than", "1d", "--expired").code == 2
