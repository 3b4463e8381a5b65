"""What an undo puts back, from entries and objects alone.

Aspects: the order, with grandparents last, and the way in again for what an undo took back; what is gone,
created anew or needed by another entry; the three ways with what somebody else wrote, before we write
and while we do; only what was written well is settled, each role of an object for itself; what an
interrupted undo still owes. Merging is test_merge.py's, what git says test_handback.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import pytest
from msgspec.structs import replace

from kubectl_argo_rescue.argocd.handback import Evidence, Handback
from kubectl_argo_rescue.journal.entry import LEFT, Entry
from kubectl_argo_rescue.journal.records import Begin
from kubectl_argo_rescue.model.errors import ConflictError
from kubectl_argo_rescue.model.merge import Tag
from kubectl_argo_rescue.model.patches import applied
from kubectl_argo_rescue.model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    Change,
    Edit,
    FieldChange,
    Key,
    Reliance,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from kubectl_argo_rescue.plan.on_conflict import OnConflict
from kubectl_argo_rescue.plan.undo import Fate, Options, UndoWork

NOW = datetime(2026, 11, 27, 17, tzinfo=timezone.utc)
PAUSED = FieldChange(("spec", "syncPolicy", "automated", "enabled"), ABSENT, False)
PINNED = FieldChange(("spec", "source", "targetRevision"), "2.5.1", "2.4.1")
TOP, ROOT, CHILD = (Key("Application", "argocd", name) for name in ("top", "root", "traefik"))


def app(name: str, owner: str = "", *changes: Change) -> JSON:
    tracking = {"argocd.argoproj.io/tracking-id": f"{owner}:argoproj.io/Application:argocd/{name}"}
    found = {
        "kind": "Application",
        "metadata": {
            "name": name,
            "namespace": "argocd",
            "uid": f"uid-{name}",
            "annotations": tracking if owner else {},
        },
        "spec": {"source": {"targetRevision": "2.5.1"}, "syncPolicy": {"automated": {}}},
    }
    return applied(found, changes)


FAMILY = (app("top", "", PAUSED), app("root", "top", PAUSED), app("traefik", "root", PAUSED, PINNED))


def entry(id: str, *edits: tuple[JSON, Change, Role], undoes: Sequence[str] = (), **more: JSON) -> Entry:
    begin = Begin("pin", ("pin",), "alice", "laptop", NOW, "", "argocd", undoes=tuple(undoes))
    intents = {n: Edit(ref_of(obj), (change,), "", role) for n, (obj, change, role) in enumerate(edits)}
    return Entry(id, begin, intents, dict.fromkeys(intents, "applied"), {}, **more)


def family_entry(**more: JSON) -> Entry:
    top, root, child = FAMILY
    pauses = [(obj, PAUSED, Role.PAUSE) for obj in (top, root, child)]
    return entry("aaaa", *pauses, (child, PINNED, Role.VERSION), **more)


def work_on(
    *entries: Entry,
    objects: Sequence[JSON] = FAMILY,
    on_conflict: OnConflict = OnConflict.STOP,
    others: Sequence[Entry] = (),
) -> UndoWork:
    snapshot = Snapshot(ArgoCD("argocd"), {ref_of(o).key: o for o in objects}, NOW)
    work = UndoWork(entries, (*entries, *others), Options(on_conflict), snapshot)
    work.take(others, [])
    work.leave(work.leave_what_others_need(others))
    work.find_owners(work.keys())
    work.fold()
    return work


def places(edits: Sequence[Edit]) -> list[tuple[str, Role]]:
    return [(e.ref.name, e.role) for e in edits]


def foreign(version: str) -> tuple[JSON, ...]:
    """The family with a version that somebody else has set."""
    return (*FAMILY[:2], app("traefik", "root", PAUSED, replace(PINNED, after=version)))


def test_owners_go_back_last_and_grandparents_after_them() -> None:
    work = work_on(family_entry())
    assert places(work.opening_edits()) == [("traefik", Role.PAUSE)]
    assert places(work.opening_edits(held=[CHILD])) == []
    assert places(work.owner_edits()) == [("root", Role.PAUSE), ("top", Role.PAUSE)]
    work.resumed_already.add(ROOT)
    assert places(work.owner_edits()) == [("top", Role.PAUSE)]


def test_what_an_undo_took_back_is_done_again_in_the_order_of_the_way_in() -> None:
    originals = (app("top"), app("root", "top"), app("traefik", "root"))
    back = [(obj, replace(PAUSED, before=False, after=ABSENT), Role.PAUSE) for obj in originals]
    version = (originals[2], replace(PINNED, before="2.4.1", after="2.5.1"), Role.VERSION)
    work = work_on(entry("bbbb", version, *reversed(back), undoes=["aaaa"]), objects=originals)
    assert work.is_redo
    assert [name for name, _ in places(work.redo_edits())] == ["top", "root", "traefik", "traefik"]
    assert places(work.redo_edits())[-1] == ("traefik", Role.VERSION)


def test_what_is_gone_or_created_anew_is_left_alone() -> None:
    anew = app("root", "top")
    anew["metadata"]["uid"] = "another"
    work = work_on(family_entry(), objects=(anew, FAMILY[2]))
    said = work.fold_again()
    assert [text for text in said if "top does not exist any more" in text]
    assert [text for text in said if "root was deleted and created anew since" in text]
    assert [work.settled[Tag("aaaa", n, 0)] for n in (0, 1)] == [Fate.GONE, Fate.GONE]
    assert {key for key, _ in work.folds} == {CHILD}


def test_what_is_created_anew_with_what_we_wrote_stays_open() -> None:
    anew = app("root", "top", PAUSED)
    anew["metadata"]["uid"] = "another"
    work = work_on(family_entry(), objects=(FAMILY[0], anew, FAMILY[2]))
    assert Tag("aaaa", 1, 0) not in work.settled
    assert [text for text in work.left if "root was deleted and created anew since" in text]
    assert (ROOT, Role.PAUSE) not in work.folds


def test_what_another_entry_needs_stays_and_is_said_once() -> None:
    needs = entry("cccc", relies=(Reliance(ROOT, PAUSED),))
    work = work_on(family_entry(), others=[needs])
    assert work.left == ["Application root stays paused: entry cccc still needs it"]
    assert work.leave(work.left) == []
    assert (ROOT, Role.PAUSE) not in work.folds
    assert work.fates(work.entries[0]) == {(1, 0): LEFT}
    work.fold_again()
    assert work.settled == {Tag("aaaa", 1, 0): Fate.LEFT}, "a second look does not forget it"


@pytest.mark.parametrize("on_conflict", OnConflict)
def test_what_somebody_else_wrote(on_conflict: OnConflict) -> None:
    work = work_on(family_entry(), objects=foreign("2.6.0"), on_conflict=on_conflict)
    assert bool(work.skipped_versions()) is (on_conflict is OnConflict.SKIP)
    assert bool(work.conflicts) is (on_conflict is not OnConflict.OVERWRITE)
    assert work.taken_over() == [], "git is asked first"
    if on_conflict is OnConflict.OVERWRITE:
        work.verdicts = {CHILD: Handback(CHILD, Evidence.FREE)}
        assert work.whose_version_goes_back() == {"aaaa"}
    (told,) = work.conflicts_json()
    assert (told["path"], told["ours"], told["overwritten"]) == (
        "/spec/source/targetRevision",
        "2.6.0",
        on_conflict is OnConflict.OVERWRITE,
    )


def test_what_somebody_writes_while_we_do_is_met() -> None:
    work = work_on(family_entry())
    edits = work.edits([Role.VERSION])
    assert work.meet(edits) == []
    objects = {ref_of(o).key: o for o in foreign("2.6.0")}
    moved = replace(work.snapshot, objects=objects)
    with pytest.raises(ConflictError, match='changed by somebody else just now: "2.6.0"'):
        work.replan(moved)
    assert [c.ours for _, c in work.meet(edits)] == ["2.6.0"]
    assert [c["ours"] for c in work.conflicts_json()] == ["2.6.0", "2.6.0"]


def test_each_role_of_an_object_is_settled_by_its_own_write() -> None:
    work = work_on(family_entry())
    steps = work.edits(list(Role))
    child = steps[0].ref
    both = ["the version of Application traefik", "auto-sync of Application traefik"]
    assert work.not_back()[:2] == both
    failed = StepResult(child, StepStatus.FAILED, "", role=Role.PAUSE)
    work.note(steps, [failed, StepResult(child, StepStatus.APPLIED, "", role=Role.VERSION)])
    assert work.settled == {Tag("aaaa", 3, 0): Fate.RESTORED}
    assert work.written == {CHILD}
    assert work.fates(work.entries[0]) == {(3, 0): "restored"}
    assert work.not_back()[:1] == both[1:]


def test_what_stands_already_is_not_written() -> None:
    work = work_on(family_entry(), objects=(app("top"), *FAMILY[1:]))
    assert work.already_back() == [TOP]
    assert TOP not in {e.ref.key for e in work.edits(list(Role))}
    assert work.resumed() == [CHILD, ROOT]
