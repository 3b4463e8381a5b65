"""Has ApplicationSets say what they would delete, before an undo lets them: held as long as they are asked."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from ..cluster.probe import not_generated
from ..journal.journal import Writer
from ..journal.records import HOLD, Settled
from ..model import merge
from ..model.errors import RescueError
from ..model.merge import Tag
from ..model.text import COMMAND
from ..model.values import BY_KIND, JSON, Edit, Key, Plan, Snapshot
from ..plan.set_deletions import by_set, generated_by, plan_asking
from .engine import Engine
from .options import Writing
from .session import Session


class Answers(Struct):
    """What sets said."""

    lost: dict[Key, list[Key]] = field(default_factory=dict)
    """The Applications that each would delete."""
    silent: list[Key] = field(default_factory=list)
    """Sets that could not be asked."""


def ask_sets(session: Session, writing: Writing, snapshot: Snapshot, edits: Sequence[Edit]) -> Answers:
    """Ask the sets that may delete Applications again once `edits` are written; all stands as before afterwards.

    Raises RescueError where a set could not be given its policy back: it deletes nothing then.
    """
    asking = plan_asking(snapshot, edits)
    answers = Answers(silent=list(asking.silent))
    apps = session.reader.all_applications(snapshot.argocd) if asking.holds or asking.silent else []
    answers.silent = [e.ref.key for e in edits if e.ref.key in answers.silent and generated_by([e.ref], apps)]
    holds = [edit for edit in asking.holds if generated_by([edit.ref], apps)]
    if not holds:
        return answers
    owned = generated_by([edit.ref for edit in holds], apps)
    session.printer.say(f"seeing which of {len(owned)} generated applications their sets still give")
    engine = Engine(session.cluster, session.journal, now=session.now, is_told=False)
    begin = replace(session.begin(HOLD, writing), total=0)
    run = engine.execute(Plan(HOLD, tuple(holds), independent_from=0), snapshot, begin)
    assert run.writer is not None
    home = session.journal.in_cluster
    try:
        if home is not None:
            home.claim(run.entry, session.reading.actor or "somebody", session.now())
        placed = {r.ref for r in run.results if r.stands}
        answers.silent += [edit.ref.key for edit in holds if edit.ref not in placed]
        if run.interrupted:
            raise KeyboardInterrupt
        asked = generated_by(placed, owned)
        answers.lost = by_set(holds, asked, not_generated(session.cluster, asked))
    finally:
        _take_away(session, writing, engine, run.writer, holds)
        if home is not None:
            home.release(run.entry)
    return answers


def _take_away(
    session: Session, writing: Writing, engine: Engine, writer: Writer, holds: Sequence[Edit]
) -> None:
    """Give sets back what they had before they were asked."""
    objects: dict[Key, JSON] = {}
    back: list[Edit] = []
    for edit in holds:
        key = edit.ref.key
        live = session.cluster.get(BY_KIND[key.kind], key.namespace, key.name)
        fold = merge.fold(live, [(Tag(writer.entry, 0, i), c) for i, c in enumerate(edit.changes)])
        objects[key] = live
        if fold.changes:
            back.append(replace(edit, changes=fold.changes, reason="it was asked"))
    begin = session.begin("undo", writing, undoes=[writer.entry])
    snapshot = replace(session.reading.snapshot, objects=objects, now=session.now())
    run = engine.execute(Plan("undo", tuple(back), independent_from=0), snapshot, begin)
    if bad := [r for r in run.results if not r.stands]:
        raise RescueError(
            f"{bad[0].ref} has not got back what it had before it was asked: {bad[0].detail or bad[0].status.value}",
            f"it deletes nothing; go on with: {COMMAND} undo {writer.entry}",
        )
    changes = {(number, i): "restored" for number, i, _, _ in writer.changes()}
    writer.write([Settled(changes, writer.entry, session.now())])
    if run.interrupted:
        raise KeyboardInterrupt
