"""The engine on an in-memory API server: no PATCH without a durable intent, nothing sent blindly.

Covered: the order of journal and cluster; planning again when a guard fails, at most three times;
who wrote is a conflict and stays; a refusal that moved nothing (a webhook) is told once; deleted,
created anew, forbidden, gone; answers lost before and after landing, also landing late, 5xx after
landing, a server that cannot be read; orders under resourceVersion churn, another operation first,
an order that landed late; a webhook that changes what is written; a CRD without `enabled`; a plan that stops at the first failure and one
whose steps are independent; one home of the journal failing; Ctrl-C; how the exit code comes about.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kubectl_argo_rescue.act.engine import Engine
from kubectl_argo_rescue.act.send import MAX_ORDER_TRIES, MAX_REPLANS, Run, action_of, not_done
from kubectl_argo_rescue.argocd.application import is_auto_sync_on
from kubectl_argo_rescue.argocd.operation import own_id, sync_operation
from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.journal.configmaps import ClusterHome
from kubectl_argo_rescue.journal.entry import Entry
from kubectl_argo_rescue.journal.journal import Journal
from kubectl_argo_rescue.journal.local import LocalHome
from kubectl_argo_rescue.journal.records import Begin, Intent
from kubectl_argo_rescue.model.errors import ConflictError, ExitStatus, NotFound, RefusedError, TransportError
from kubectl_argo_rescue.model.values import (
    ABSENT,
    APPLICATION,
    CONFIGMAP,
    ArgoCD,
    Edit,
    FieldChange,
    Key,
    Match,
    MemberChange,
    Order,
    Plan,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    parse_version,
    ref_of,
)
from kubectl_argo_rescue.plan import operations, pause
from kubectl_argo_rescue.simulation import schemas
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import application
from kubectl_argo_rescue.simulation.schemas import without
from kubectl_argo_rescue.simulation.status import StatusError
from kubectl_argo_rescue.simulation.wire import Request, broken, failure, overloaded

from .. import build

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
BEGIN = Begin("pin", (), "alice", "laptop", NOW, "", "argocd")
REVISION = ("spec", "source", "targetRevision")
TRAEFIK = Key("Application", "argocd", "traefik")
WEB = Key("Application", "argocd", "web")
ROOT = Key("Application", "argocd", "root")


class Bed:
    def __init__(self, folder: Path, api: InMemoryApi | None = None) -> None:
        self.clock = SteppedClock()
        self.api = api or InMemoryApi(self.clock)
        self.folder = folder
        for name in ("root", "traefik", "web"):
            source = {"repoURL": "https://charts.invalid", "chart": name, "targetRevision": "2.5.1"}
            self.api.create(application(name, project="default", source=source, namespace=name))
        self.cluster = build.cluster(self.api)
        self.journal = Journal(LocalHome([folder]), ClusterHome(self.cluster, "argocd"), new_id=iter(["abcdef", "abcde0"]).__next__)  # fmt: skip
        self.told: list[StepResult] = []
        self.plans = 0
        self.api.requests.clear()

    def snapshot(self, version: str = "v3.2.11") -> Snapshot:
        objects = {ref_of(a).key: a for a in self.api.objects(APPLICATION)}
        return Snapshot(ArgoCD("argocd", version=parse_version(version)), objects, NOW)

    def planner(self, *keys: Key, independent_from: int | None = None) -> Callable[[Snapshot], Plan]:
        """Pin these to 2.4.1, unless somebody made it 9.9.9."""

        def plan(snapshot: Snapshot) -> Plan:
            self.plans += 1
            steps = []
            for key in keys or (TRAEFIK,):
                app = snapshot.objects[key]
                now = app["spec"]["source"]["targetRevision"]
                if now == "9.9.9":
                    raise ConflictError("somebody said 9.9.9")
                if now != "2.4.1":
                    steps.append(
                        Edit(ref_of(app), (FieldChange(REVISION, now, "2.4.1"),), "why", Role.VERSION)
                    )
            return Plan("pin", tuple(steps), independent_from=independent_from)

        return plan

    def run(self, planner: Callable[[Snapshot], Plan] | None = None, *, replan: bool = True) -> Run:
        planner = planner or self.planner()
        snapshot = self.snapshot()
        engine = Engine(self.cluster, self.journal, now=self.clock, report=self.told.append)
        return engine.execute(planner(snapshot), snapshot, BEGIN, replan=planner if replan else None)

    def order(self) -> Callable[[Snapshot], Plan]:
        def plan(snapshot: Snapshot) -> Plan:
            app = snapshot.objects[TRAEFIK]
            operation = sync_operation(app, id="ours", actor="alice")
            return Plan("sync", (Order(ref_of(app), "ours", operation, "manual sync"),))

        return plan

    def live(self, key: Key = TRAEFIK) -> Any:
        return self.api.get(APPLICATION, key.namespace, key.name)

    def revision(self, key: Key = TRAEFIK) -> Any:
        return self.live(key)["spec"]["source"]["targetRevision"]

    def edit(self, change: Callable[[Any], Any], key: Key = TRAEFIK) -> None:
        self.api.edit(APPLICATION, key.namespace, key.name, change)

    def says(self, revision: str, key: Key = TRAEFIK) -> None:
        self.edit(lambda app: app["spec"]["source"].update(targetRevision=revision), key)

    def entry(self) -> Entry:
        reading = self.journal.read()
        assert reading.warnings == ()
        (entry,) = reading.entries
        return entry

    def patches(self, name: str = "traefik") -> list[Request]:
        return [
            r for r in self.api.requests if r.method == "PATCH" and r.path.endswith(f"applications/{name}")
        ]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def is_patch(request: Request, name: str = "") -> bool:
    return request.method == "PATCH" and "/applications/" in request.path and request.path.endswith(name)


def webhook(message: str = "no such version") -> Response:
    return failure(StatusError(422, "Invalid", f'admission webhook "x" denied the request: {message}'))


# -- the order of things


def test_the_intent_is_durable_before_the_patch_leaves(bed: Bed) -> None:
    seen: list[tuple[int, int]] = []

    def look(request: Request) -> None:
        if is_patch(request):
            on_disk = (bed.folder / "abcdef.jsonl").read_text()
            in_cluster = json.dumps(bed.api.get(CONFIGMAP, "argocd", "argo-rescue-abcdef")["data"])
            seen.append((on_disk.count('"before":"2.5.1"'), in_cluster.count("before")))

    bed.api.before.append(look)
    run = bed.run()
    assert seen == [(1, 1)]
    assert [r.status for r in run.results] == [StepStatus.APPLIED] and bed.told == run.results
    assert bed.revision() == "2.4.1"
    assert [
        f"{r.method} {r.path.rsplit('/', 1)[1]}" for r in bed.api.writes() if not r.path.endswith("/events")
    ] == [
        "POST configmaps",
        "PATCH traefik",
        "PATCH argo-rescue-abcdef",
    ]
    entry = bed.entry()
    assert (entry.outcomes, entry.ended, entry.begin.total, entry.state) == ({0: "applied"}, "ok", 1, "open")
    assert run.exit_status(independent=False) is ExitStatus.OK
    assert run.results[0].patch[0] == {
        "op": "test",
        "path": "/metadata/uid",
        "value": bed.live()["metadata"]["uid"],
    }


def test_nothing_to_do_makes_no_entry(bed: Bed) -> None:
    bed.says("2.4.1")
    assert bed.run().entry == "" and not bed.api.writes()


def test_without_a_home_for_the_originals_nothing_is_sent(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.api.deny("create", "configmaps")
    monkeypatch.setattr(LocalHome, "append", _no_disk)
    with pytest.raises(RefusedError):
        bed.run()
    assert not bed.patches()


def _no_disk(self: LocalHome, entry: str, lines: Any) -> None:
    raise OSError(28, "No space left on device")


def test_one_home_is_enough(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalHome, "append", _no_disk)
    assert bed.run().results[0].status is StepStatus.APPLIED
    assert bed.entry().homes == {"cluster"}


def test_an_outcome_that_cannot_be_recorded_is_a_warning(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def close(request: Request) -> None:
        if is_patch(request):
            monkeypatch.setattr(LocalHome, "append", _no_disk)
            bed.api.deny("patch", "configmaps")

    bed.api.before.append(close)
    run = bed.run()
    assert run.results[0].status is StepStatus.APPLIED
    assert len(run.warnings) == 1 and "outcome could not be recorded" in run.warnings[0]
    monkeypatch.undo()
    assert bed.entry().state == "in-doubt"


def test_a_second_part_goes_on_with_the_entry(bed: Bed) -> None:
    first = bed.run(bed.planner(ROOT))
    snapshot = bed.snapshot()
    plan = bed.planner(TRAEFIK)(snapshot)
    engine = Engine(bed.cluster, bed.journal, now=bed.clock)
    second = engine.execute(plan, snapshot, BEGIN, writer=first.writer)
    assert second.entry == first.entry
    entry = bed.entry()
    assert sorted(entry.intents) == [0, 1] and entry.outcomes == {0: "applied", 1: "applied"}


# -- somebody else writes


def test_a_status_update_in_between_disturbs_nothing(bed: Bed) -> None:
    bed.api.before.append(lambda r: bed.edit(lambda a: a.setdefault("status", {}).update(reconciledAt=f"2026-11-27T17:00:0{len(bed.api.requests) % 10}Z")) if is_patch(r) else None)  # fmt: skip
    assert bed.run().results[0].status is StepStatus.APPLIED and len(bed.patches()) == 1


def racing(bed: Bed, *revisions: str) -> None:
    """Somebody says these, one before each of our patches."""
    left = list(revisions)

    def race(request: Request) -> None:
        if is_patch(request) and left:
            bed.says(left.pop(0))

    bed.api.before.append(race)


@pytest.mark.parametrize("times", range(1, MAX_REPLANS + 1))
def test_a_guard_that_fails_is_planned_again(bed: Bed, times: int) -> None:
    racing(bed, *(f"2.5.{i + 2}" for i in range(times)))
    run = bed.run()
    assert run.results[0].status is StepStatus.APPLIED and bed.revision() == "2.4.1"
    assert len(bed.patches()) == times + 1
    entry = bed.entry()
    (change,) = entry.edits()[0][1].changes
    assert isinstance(change, FieldChange)
    assert change.before == f"2.5.{times + 1}", "the original is what was there last"
    intents = [r for r in entry.records if isinstance(r.content, Intent)]
    assert len(intents) == times + 1


def test_the_new_intent_is_durable_before_the_second_patch(bed: Bed) -> None:
    racing(bed, "2.5.2")
    seen: list[bool] = []
    bed.api.before.append(lambda r: seen.append("2.5.2" in (bed.folder / "abcdef.jsonl").read_text()) if is_patch(r) else None)  # fmt: skip
    bed.run()
    assert seen == [False, True]


def test_after_three_times_it_is_a_conflict(bed: Bed) -> None:
    racing(bed, *(f"2.5.{i + 2}" for i in range(9)))
    run = bed.run()
    (result,) = run.results
    assert result.status is StepStatus.CONFLICT
    assert result.detail == 'somebody else keeps changing it: /spec/source/targetRevision is now "2.5.5"'
    assert len(bed.patches()) == MAX_REPLANS + 1 and bed.revision() == "2.5.5"
    assert run.exit_status(independent=False) is ExitStatus.CONFLICT
    assert bed.entry().outcomes == {0: "conflict"} and not bed.entry().is_open


def test_a_planner_that_sees_a_conflict_decides(bed: Bed) -> None:
    racing(bed, "9.9.9")
    (result,) = bed.run().results
    assert (result.status, result.detail) == (StepStatus.CONFLICT, "somebody said 9.9.9")
    assert bed.revision() == "9.9.9"


def test_somebody_did_it_already(bed: Bed) -> None:
    racing(bed, "2.4.1")
    (result,) = bed.run().results
    assert result.status is StepStatus.UNCHANGED
    assert bed.entry().outcomes == {0: "not-applied"}, "it is not ours to undo"


def test_without_a_planner_a_failed_guard_is_a_conflict(bed: Bed) -> None:
    racing(bed, "2.5.2")
    (result,) = bed.run(replan=False).results
    assert result.status is StepStatus.CONFLICT and bed.revision() == "2.5.2"


def test_a_planner_that_gives_up_is_a_failure(bed: Bed) -> None:
    racing(bed, "2.5.2")
    planner = bed.planner()

    def once(snapshot: Snapshot) -> Plan:
        if bed.plans:
            raise NotFound("it is gone")
        return planner(snapshot)

    (result,) = bed.run(once).results
    assert (result.status, result.detail) == (StepStatus.FAILED, "it is gone")


def test_a_refusal_that_moved_nothing_is_told_once(bed: Bed) -> None:
    bed.api.before.append(lambda r: webhook() if is_patch(r) else None)
    run = bed.run()
    (result,) = run.results
    assert result.status is StepStatus.FAILED and "no such version" in result.detail
    assert len(bed.patches()) == 1 and bed.plans == 1
    assert run.exit_status(independent=False) is ExitStatus.ERROR


def test_a_conflict_of_the_server_with_itself_is_tried_again(bed: Bed) -> None:
    left = [1]

    def stale(request: Request) -> Response | None:
        if is_patch(request) and left:
            left.pop()
            return failure(StatusError(409, "Conflict", "the object has been modified"))
        return None

    bed.api.before.append(stale)
    assert bed.run().results[0].status is StepStatus.APPLIED and len(bed.patches()) == 2


def test_another_object_of_the_same_name_is_never_patched(bed: Bed) -> None:
    def swap(request: Request) -> None:
        if is_patch(request):
            bed.api.before.clear()
            old = bed.live()
            bed.api.remove(APPLICATION, "argocd", "traefik")
            meta = {k: v for k, v in old["metadata"].items() if k in ("name", "namespace")}
            bed.api.create({**old, "metadata": meta})

    bed.api.before.append(swap)
    (result,) = bed.run().results
    assert result.status is StepStatus.CONFLICT and "created anew" in result.detail
    assert bed.revision() == "2.5.1"


@pytest.mark.parametrize("when", ["before", "between"])
def test_deleted_meanwhile(bed: Bed, when: str) -> None:
    def remove(request: Request) -> None:
        if when == "before" and is_patch(request):
            bed.api.before.clear()
            bed.api.remove(APPLICATION, "argocd", "traefik")
        elif when == "between" and is_patch(request):
            bed.says("2.5.2")
        elif when == "between" and request.method == "GET":
            bed.api.before.clear()
            bed.api.remove(APPLICATION, "argocd", "traefik")

    bed.api.before.append(remove)
    (result,) = bed.run().results
    assert result.status is (StepStatus.FAILED if when == "before" else StepStatus.CONFLICT)


def test_forbidden(bed: Bed) -> None:
    bed.api.deny("patch", "applications")
    run = bed.run()
    assert run.results[0].status is StepStatus.DENIED
    assert run.exit_status(independent=False) is ExitStatus.ERROR
    assert bed.entry().outcomes == {0: "not-applied"}


def test_an_item_that_is_gone_is_a_conflict(bed: Bed) -> None:
    def plan(snapshot: Snapshot) -> Plan:
        app = snapshot.objects[TRAEFIK]
        path = ("spec", "sources", Match((("chart", "x"),), 0), "targetRevision")
        return Plan("pin", (Edit(ref_of(app), (FieldChange(path, "1", "2"),), "", Role.VERSION),))

    (result,) = bed.run(plan).results
    assert result.status is StepStatus.CONFLICT and "is gone" in result.detail


# -- lost answers


def lose(bed: Bed, *, landed: bool, times: int = 1, match: Callable[[Request], bool] = is_patch) -> None:
    left = [None] * times

    def hook(request: Request, *_: Any) -> None:
        if match(request) and left:
            left.pop()
            raise TransportError("connection reset by peer", sent=True)

    (bed.api.after if landed else bed.api.before).append(hook)


def test_an_answer_lost_after_landing_is_found_out(bed: Bed) -> None:
    lose(bed, landed=True)
    assert bed.run().results[0].status is StepStatus.APPLIED
    assert len(bed.patches()) == 1 and bed.entry().outcomes == {0: "applied"}


def test_a_request_lost_before_landing_is_sent_again_after_a_look(bed: Bed) -> None:
    lose(bed, landed=False)
    assert bed.run().results[0].status is StepStatus.APPLIED
    assert len(bed.patches()) == 2
    between = [r.method for r in bed.api.requests if "applications/traefik" in r.path]
    assert between == ["PATCH", "GET", "GET", "PATCH"]


def test_a_request_that_lands_after_the_look_is_ours(bed: Bed) -> None:
    late: list[Request] = []

    def hold(request: Request) -> None:
        if is_patch(request):
            if late:
                bed.says("2.4.1")  # now the first one gets there
            else:
                late.append(request)
                raise TransportError("timeout", sent=True)

    bed.api.before.append(hold)
    (result,) = bed.run().results
    assert result.status is StepStatus.APPLIED
    assert bed.entry().outcomes == {0: "applied"}, "undo must put its original back"


def test_a_request_that_lands_before_the_second_look_is_ours(bed: Bed) -> None:
    gets: list[Request] = []

    def hold(request: Request) -> None:
        if is_patch(request):
            raise TransportError("timeout", sent=True)
        if request.path.endswith("applications/traefik"):
            gets.append(request)
            if len(gets) == 2:
                bed.says("2.4.1")

    bed.api.before.append(hold)
    assert bed.run().results[0].status is StepStatus.APPLIED
    assert bed.entry().outcomes == {0: "applied"}


def test_never_landing_stays_in_doubt(bed: Bed) -> None:
    lose(bed, landed=False, times=99)
    run = bed.run()
    assert run.results[0].status is StepStatus.FAILED
    assert len(bed.patches()) == 3
    assert bed.entry().state == "in-doubt", "it may still land"


def test_never_sent_is_certain(bed: Bed) -> None:
    def refuse(request: Request) -> None:
        if is_patch(request):
            raise TransportError("connection refused", sent=False)

    bed.api.before.append(refuse)
    assert bed.run().results[0].status is StepStatus.FAILED
    assert bed.entry().outcomes == {0: "not-applied"}


@pytest.mark.parametrize("landed", [True, False])
def test_a_5xx_is_looked_at(bed: Bed, landed: bool) -> None:
    left = [None]

    def break_(request: Request, *_: Any) -> Response | None:
        if is_patch(request) and left:
            left.pop()
            return broken()
        return None

    (bed.api.after if landed else bed.api.before).append(break_)
    assert bed.run().results[0].status is StepStatus.APPLIED
    assert len(bed.patches()) == (1 if landed else 2)


def test_an_overloaded_server_refuses_for_certain(bed: Bed) -> None:
    bed.api.before.append(lambda r: overloaded(retry_after=1) if is_patch(r) else None)
    assert bed.run().results[0].status is StepStatus.FAILED
    assert bed.entry().outcomes == {0: "not-applied"}


def test_lost_and_unreadable_is_unknown(bed: Bed) -> None:
    gone: list[int] = []

    def hook(request: Request) -> None:
        if is_patch(request):
            gone.append(1)
        if gone and "/applications/" in request.path:
            raise TransportError("no route to host", sent=True)

    bed.api.before.append(hook)
    run = bed.run()
    (result,) = run.results
    assert result.status is StepStatus.UNKNOWN and "answer got lost" in result.detail
    assert run.exit_status(independent=False) is ExitStatus.ERROR
    assert bed.entry().state == "in-doubt" and bed.entry().is_open


def test_not_sent_and_unreadable_is_certain(bed: Bed) -> None:
    down: list[int] = []

    def hook(request: Request) -> None:
        if is_patch(request):
            down.append(1)
        if down and "/applications/" in request.path:
            raise TransportError("connection refused", sent=False)

    bed.api.before.append(hook)
    assert bed.run().results[0].status is StepStatus.FAILED
    assert bed.entry().outcomes == {0: "not-applied"}


def test_landed_and_then_overwritten_stays_in_doubt(bed: Bed) -> None:
    def hook(request: Request, response: Response) -> None:
        if is_patch(request):
            bed.api.after.clear()
            bed.says("2.6.0")
            raise TransportError("reset", sent=True)

    bed.api.after.append(hook)
    (result,) = bed.run().results
    assert result.status is StepStatus.CONFLICT and bed.revision() == "2.6.0"
    assert bed.entry().is_open, "undo looks at it and tells"


def test_a_read_that_fails_after_a_guard_failed_is_a_failure(bed: Bed) -> None:
    racing(bed, "2.5.2")
    bed.api.before.append(lambda r: broken() if r.method == "GET" and "/applications/" in r.path else None)
    run = bed.run()
    assert run.results[0].status is StepStatus.FAILED
    assert bed.entry().outcomes == {0: "not-applied"}


def test_a_new_intent_that_cannot_be_saved_is_not_sent(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    racing(bed, "2.5.2")

    def close(request: Request) -> None:
        if is_patch(request):
            monkeypatch.setattr(LocalHome, "append", _no_disk)
            bed.api.deny("patch", "configmaps")

    bed.api.before.append(close)
    run = bed.run()
    assert run.results[0].status is StepStatus.FAILED and "cannot be saved anywhere" in run.results[0].detail
    assert len(bed.patches()) == 1 and bed.revision() == "2.5.2"


# -- several steps


def test_a_plan_stops_where_a_step_fails(bed: Bed) -> None:
    bed.api.deny("patch", "applications", name="traefik")
    run = bed.run(bed.planner(ROOT, TRAEFIK, WEB))
    assert [(r.ref.name, r.status) for r in run.results] == [
        ("root", StepStatus.APPLIED),
        ("traefik", StepStatus.DENIED),
        ("web", StepStatus.SKIPPED),
    ]
    assert bed.revision(WEB) == "2.5.1"
    assert bed.entry().outcomes == {0: "applied", 1: "not-applied", 2: "not-applied"}
    assert run.exit_status(independent=False) is ExitStatus.ERROR


def test_independent_edits_go_on_and_partly_done_is_4(bed: Bed) -> None:
    bed.api.deny("patch", "applications", name="traefik")
    run = bed.run(bed.planner(ROOT, TRAEFIK, WEB, independent_from=1))
    assert {r.ref.name: r.status for r in run.results} == {
        "root": StepStatus.APPLIED,
        "traefik": StepStatus.DENIED,
        "web": StepStatus.APPLIED,
    }
    assert run.exit_status(independent=True) is ExitStatus.PARTIAL
    assert bed.entry().ended == "partial"


def test_independent_edits_wait_for_what_protects_them(bed: Bed) -> None:
    bed.api.deny("patch", "applications", name="root")
    run = bed.run(bed.planner(ROOT, TRAEFIK, WEB, independent_from=1))
    assert [r.status for r in run.results] == [StepStatus.DENIED, StepStatus.SKIPPED, StepStatus.SKIPPED]
    assert run.exit_status(independent=True) is ExitStatus.ERROR


def test_an_unexpected_error_in_one_of_several_is_raised_after_the_books_are_closed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(request: Request) -> None:
        if is_patch(request, "traefik"):
            raise ZeroDivisionError

    bed.api.before.append(explode)
    with pytest.raises(ZeroDivisionError):
        bed.run(bed.planner(TRAEFIK, WEB, independent_from=0))
    assert bed.entry().ended


def test_a_failure_in_one_of_several_is_its_own(bed: Bed) -> None:
    racing(bed, "2.5.2")
    bed.api.before.append(lambda r: broken() if r.method == "GET" and r.path.endswith("/traefik") else None)
    run = bed.run(bed.planner(TRAEFIK, independent_from=0))
    assert [r.status for r in run.results] == [StepStatus.FAILED]


def test_interrupted(bed: Bed) -> None:
    def interrupt(request: Request) -> None:
        if is_patch(request, "traefik"):
            raise KeyboardInterrupt

    bed.api.before.append(interrupt)
    run = bed.run(bed.planner(ROOT, TRAEFIK, WEB))
    assert run.interrupted and run.exit_status(independent=False) is ExitStatus.INTERRUPTED
    assert [(r.ref.name, r.status) for r in run.results] == [
        ("root", StepStatus.APPLIED),
        ("traefik", StepStatus.UNKNOWN),
        ("web", StepStatus.SKIPPED),
    ]
    entry = bed.entry()
    assert entry.ended == "interrupted" and entry.outcomes == {0: "applied"}
    assert entry.state == "in-doubt", "one in the air is settled by looking"


# -- orders


def churn(bed: Bed, times: int) -> None:
    left = [None] * times

    def move(request: Request) -> None:
        if is_patch(request) and left:
            left.pop()
            bed.edit(
                lambda a: a.setdefault("status", {}).update(reconciledAt=f"2026-11-27T17:{len(left):02d}:00Z")
            )

    bed.api.before.append(move)


def test_an_order_is_written_under_the_resource_version(bed: Bed) -> None:
    state = {"phase": "Succeeded", "startedAt": "2026-11-27T16:00:00Z", "operation": {"sync": {}}}
    bed.edit(lambda a: a.update(status={"operationState": state}))
    churn(bed, 3)
    run = bed.run(bed.order())
    assert run.results[0].status is StepStatus.APPLIED and run.results[0].action == "sync ordered"
    assert len(bed.patches()) == 4
    live = bed.live()
    assert own_id(live["operation"]) == "ours"
    assert "operationState" not in live["status"], "the controller would resume what it says"


def test_an_object_that_never_rests_is_a_conflict(bed: Bed) -> None:
    churn(bed, 99)
    (result,) = bed.run(bed.order()).results
    assert result.status is StepStatus.CONFLICT and "changes too fast" in result.detail
    assert len(bed.patches()) == MAX_ORDER_TRIES


def test_somebody_else_s_operation_comes_first(bed: Bed) -> None:
    def first(request: Request) -> None:
        if is_patch(request):
            bed.edit(lambda a: a.update(operation={"sync": {}, "initiatedBy": {"username": "bob"}}))

    bed.api.before.append(first)
    (result,) = bed.run(bed.order()).results
    assert result.status is StepStatus.CONFLICT and "started by bob" in result.detail
    assert len(bed.patches()) == 1


@pytest.mark.parametrize("picked_up", [True, False])
def test_an_order_whose_answer_got_lost_is_known_by_its_id(bed: Bed, picked_up: bool) -> None:
    def hook(request: Request, response: Response) -> None:
        if is_patch(request):
            bed.api.after.clear()
            if picked_up:
                bed.edit(_picked_up)
            raise TransportError("reset", sent=True)

    bed.api.after.append(hook)
    assert bed.run(bed.order()).results[0].status is StepStatus.APPLIED
    assert len(bed.patches()) == 1


def _picked_up(app: Any) -> None:
    done = {"phase": "Succeeded", "startedAt": "2026-11-27T17:00:00Z", "operation": app.pop("operation")}
    app.setdefault("status", {})["operationState"] = done


def test_an_order_that_lands_late_is_not_ordered_twice(bed: Bed) -> None:
    held: list[Any] = []

    def hold(request: Request) -> None:
        if is_patch(request):
            if not held:
                held.append(json.loads(request.body or b"")[3]["value"])
                raise TransportError("timeout", sent=True)
            bed.edit(lambda a: a.update(operation=held[0]))

    bed.api.before.append(hold)
    assert bed.run(bed.order()).results[0].status is StepStatus.APPLIED
    assert bed.entry().outcomes == {0: "applied"}


def test_an_order_that_a_webhook_refuses_is_told_once(bed: Bed) -> None:
    bed.api.before.append(lambda r: webhook("frozen") if is_patch(r) else None)
    (result,) = bed.run(bed.order()).results
    assert result.status is StepStatus.FAILED and "frozen" in result.detail
    assert len(bed.patches()) == 1


def test_an_order_after_an_edit_of_the_same_object(bed: Bed) -> None:
    edit, order = bed.planner(), bed.order()

    def plan(snapshot: Snapshot) -> Plan:
        return Plan("pin", (*edit(snapshot).steps, *order(snapshot).steps))

    run = bed.run(plan)
    assert [(r.action, r.status) for r in run.results] == [
        ("pinned", StepStatus.APPLIED),
        ("sync ordered", StepStatus.APPLIED),
    ]
    assert len(bed.patches()) == 2, "the order goes on from what the edit returned"


# -- a CRD that does not know `enabled`


def old_bed(tmp_path: Path) -> Bed:
    crd = without(schemas.of(APPLICATION), "spec", "syncPolicy", "automated", "enabled")
    return Bed(tmp_path, InMemoryApi(SteppedClock(), replaced_schemas={APPLICATION: crd}))


def pausing(snapshot: Snapshot) -> Plan:
    return pause.plan_pause(snapshot, [TRAEFIK])


def test_enabled_unknown_falls_back_to_taking_the_block_away(tmp_path: Path) -> None:
    bed = old_bed(tmp_path)
    bed.says("2.5.1")
    run = bed.run(pausing)
    assert run.results[0].status is StepStatus.APPLIED
    assert not is_auto_sync_on(bed.live())
    (change,) = bed.entry().edits()[0][1].changes
    assert change == FieldChange(
        ("spec", "syncPolicy", "automated"), {"prune": True, "selfHeal": True}, ABSENT
    )


def test_without_a_planner_enabled_unknown_is_a_failure(tmp_path: Path) -> None:
    bed = old_bed(tmp_path)
    run = bed.run(pausing, replan=False)
    assert run.results[0].status is StepStatus.FAILED and "enabled" in run.results[0].detail


def test_another_refusal_of_the_schema_is_a_failure(bed: Bed) -> None:
    def plan(snapshot: Snapshot) -> Plan:
        app = snapshot.objects[TRAEFIK]
        automated = app["spec"]["syncPolicy"]["automated"]
        change = FieldChange(("spec", "syncPolicy", "automated"), automated, {"prune": "no boolean"})
        return Plan("pause", (Edit(ref_of(app), (change,), "", Role.PAUSE),))

    assert bed.run(plan).results[0].status is StepStatus.FAILED


# -- the server does something else


def mutate(bed: Bed, change: Callable[[Any], object], name: str = "traefik") -> None:
    bed.api.mutating.append(lambda o: None if o["metadata"]["name"] != name else (change(o), o)[1])


def test_what_is_not_in_the_answer_was_not_done(bed: Bed) -> None:
    mutate(bed, lambda app: app["spec"]["source"].update(targetRevision="2.5.1"))
    run = bed.run(bed.planner(TRAEFIK, WEB))
    assert [r.status for r in run.results] == [StepStatus.FAILED, StepStatus.SKIPPED]
    assert '/spec/source/targetRevision should be "2.4.1" and is "2.5.1"' in run.results[0].detail
    assert run.exit_status(independent=False) is ExitStatus.ERROR
    assert bed.entry().outcomes == {0: "not-applied", 1: "not-applied"} and not bed.patches("web")


def test_a_part_that_stands_is_what_undo_owes(bed: Bed) -> None:
    def with_sources(app: Any) -> None:
        source = app["spec"].pop("source")
        app["spec"]["sources"] = [source, {**source, "chart": "web"}]

    bed.edit(with_sources)
    first, second = (
        FieldChange(("spec", "sources", Match((("chart", chart),), i), "targetRevision"), "2.5.1", "2.4.1")
        for i, chart in enumerate(("traefik", "web"))
    )
    mutate(bed, lambda app: app["spec"]["sources"][1].update(targetRevision="2.5.1"))
    edit = Edit(ref_of(bed.live()), (first, second), "why", Role.VERSION)
    (result,) = bed.run(lambda snapshot: Plan("pin", (edit,))).results
    assert result.status is StepStatus.FAILED and result.detail.count("should be") == 1
    entry = bed.entry()
    assert entry.outcomes == {0: "applied"} and entry.is_open
    assert entry.edits()[0][1].changes == (first,)


def test_what_came_of_it_is_in_doubt_where_it_cannot_be_recorded(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_journal(app: Any) -> None:
        app["spec"]["source"].update(targetRevision="mirror")
        monkeypatch.setattr(LocalHome, "append", _no_disk)
        bed.api.deny("patch", "configmaps")

    mutate(bed, no_journal)
    assert bed.run().results[0].status is StepStatus.FAILED
    monkeypatch.undo()
    assert bed.entry().state == "in-doubt"


def test_another_value_than_was_wanted_is_what_undo_takes_back(bed: Bed) -> None:
    mutate(bed, lambda app: app["spec"]["source"].update(targetRevision="mirror"))
    assert bed.run().results[0].status is StepStatus.FAILED
    assert bed.entry().edits()[0][1].changes == (FieldChange(REVISION, "2.5.1", "mirror"),)


def test_one_of_two_equal_items_was_taken_out() -> None:
    ref = ref_of({"kind": "AppProject", "metadata": {"name": "x", "uid": "u"}})
    path = ("spec", "syncWindows", Match((("kind", "deny"),), 0), "applications")
    edit = Edit(ref, (MemberChange(path, "web", 1, present=False),), "", Role.WINDOW)

    def project(*apps: str) -> Any:
        return {"spec": {"syncWindows": [{"kind": "deny", "applications": list(apps)}]}}

    assert not_done(edit, project("web", "web"), project("web")) == ""
    lacks = not_done(edit, project("web"), project("web"))
    assert lacks.endswith('/applications should no more have "web" and is ["web"]')


def test_an_operation_that_does_not_end(bed: Bed) -> None:
    state = {"phase": "Running", "startedAt": "2026-11-27T16:00:00Z", "operation": {"sync": {}}}
    bed.edit(lambda a: a.update(operation={"sync": {}}, status={"operationState": state}))
    mutate(bed, lambda app: app["status"]["operationState"].update(phase="Running"))

    def ending(snapshot: Snapshot) -> Plan:
        return operations.plan_terminate(snapshot, TRAEFIK, order_id="ours")

    (result,) = bed.run(ending).results
    assert result.status is StepStatus.FAILED and "the operation goes on: Running" in result.detail
    assert bed.entry().outcomes == {0: "not-applied"}


# -- small


@pytest.mark.parametrize(
    ("verdicts", "independent", "status"),
    [
        ([], False, ExitStatus.OK),
        ([StepStatus.APPLIED, StepStatus.UNCHANGED, StepStatus.SKIPPED], False, ExitStatus.OK),
        ([StepStatus.APPLIED, StepStatus.CONFLICT], False, ExitStatus.CONFLICT),
        ([StepStatus.APPLIED, StepStatus.CONFLICT], True, ExitStatus.PARTIAL),
        ([StepStatus.CONFLICT, StepStatus.DENIED], True, ExitStatus.ERROR),
        ([StepStatus.CONFLICT], True, ExitStatus.CONFLICT),
        ([StepStatus.UNKNOWN], False, ExitStatus.ERROR),
    ],
)
def test_exit_status(verdicts: list[StepStatus], independent: bool, status: ExitStatus) -> None:
    ref = ref_of({"kind": "Application", "metadata": {"name": "x", "uid": "u"}})
    run = Run(results=[StepResult(ref, v, "x") for v in verdicts])
    assert run.exit_status(independent=independent) is status
    assert replace(run, interrupted=True).exit_status(independent=independent) is ExitStatus.INTERRUPTED


def test_actions(bed: Bed) -> None:
    (order,) = bed.order()(bed.snapshot()).steps
    (edit,) = bed.planner()(bed.snapshot()).steps
    assert action_of(order) == "sync ordered" and action_of(edit) == "pinned"
