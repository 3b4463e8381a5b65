"""Which entries are meant, and what is said beside their undo."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ...act.handback import recover
from ...act.options import Common, Writing
from ...act.reading import parse_target
from ...act.session import Invocation, Session
from ...act.undo import Undo
from ...journal.entry import THAW, Entry, elsewhere, find_entry, is_of, lost
from ...journal.journal import JournalReading
from ...journal.owed import is_about, owes, touches
from ...journal.records import HOLD
from ...model.errors import Code, ExitStatus, NotFound, RefusedError, RescueError, UsageError
from ...model.text import COMMAND
from ...model.values import Key, Result, Role
from ...plan.undo import Options
from ...show.steps import STATUS_WORDS

SHORTEST = 4
"""Characters of an entry's id that undo wants to see."""


def answer(
    common: Common,
    writing: Writing,
    what: tuple[str, ...],
    options: Options,
    keep_operation: tuple[str, ...] = (),
) -> int:
    """Choose the entries, and put back what they saved."""
    with Invocation(common) as call:
        session = call.read([])
        reading = session.journal.read()
        for text in reading.warnings:
            session.printer.warn(text)
        if leftover := [e for e in reading.entries if e.begin.verb == HOLD and e.is_open]:
            reading = _let_go(session, leftover, writing, redeploy=options.redeploy)
        unknown = _not_understood(reading, what)
        chosen, keys = choose(reading.entries, what, session)
        if not chosen:
            if unknown:
                raise RescueError(
                    f"nothing was undone, and what {', '.join(unknown)} did is not known",
                    "see the warnings above for each",
                )
            return call.finish(_nothing(session, reading))
        held = {e.id for e in reading.entries if e.begin.verb == HOLD}
        if ends := [e.id for e in chosen if e.begin.undoes and held.issuperset(e.begin.undoes)]:
            raise UsageError(f"{', '.join(ends)} is the end of a hold", "there is nothing of it to do again")
        chosen = [session.journal.completed(e) for e in chosen]
        again = [e.id for e in chosen if e.begin.undoes]
        if again and len(again) < len(chosen):
            raise UsageError(
                f"{', '.join(again)} is an undo itself: to undo it means to do what it took back once more",
                "name it alone",
            )
        if _is_thaw(chosen, what, reading):
            from ...act.thaw import Thaw, ThawOptions  # lazy: a freeze is rare

            thawing = ThawOptions(options.let_delete, keep_operation, options.on_conflict, options.timeout)
            return call.finish(Thaw(session, chosen, thawing, writing, reading.entries).run())
        if _is_readoption(chosen):
            from ...act.orphan import Readoption  # lazy: an orphan is rare

            return call.finish(Readoption(session, chosen, writing, reading.entries).run())
        ids = {e.id for e in chosen}
        others = [e for e in reading.entries if e.is_open and e.id not in ids and e.begin.verb != HOLD]
        undo = Undo(session, chosen, options, writing, reading.entries)
        try:
            result = undo.run(others, keys)
        except RescueError as e:
            e.data["conflicts"] = undo.work.conflicts_json()
            raise
        return call.finish(_with_lost(session, chosen, result, unknown))


def _is_thaw(chosen: Sequence[Entry], what: Sequence[str], reading: JournalReading) -> bool:
    """Whether freezes are undone, which takes more than to write back. Raises RefusedError, UsageError."""
    frozen = [e for e in chosen if e.is_freeze]
    if frozen and not what:
        e = frozen[0]
        raise RefusedError(
            f"entry {e.id} is a freeze: Argo CD stands still since then, and only its id thaws it",
            f"nothing was changed; thaw: {COMMAND} undo {e.id}; others are undone by their ids: {COMMAND} log --open",
            code=Code.BY_ITS_ID,
        )
    if any(e.begin.undoes for e in frozen):
        raise RefusedError("a thaw is not undone", f"nothing was changed; freeze again: {COMMAND} freeze")
    still = [e for e in reading.entries if e.is_open and e.is_freeze]
    if still and any(e.begin.verb == THAW for e in chosen):
        raise RefusedError(
            f"these windows hold syncs back while entry {still[0].id} thaws",
            f"nothing was changed; go on with the thaw: {COMMAND} undo {still[0].id}",
            code=Code.BY_ITS_ID,
        )
    if frozen and len(frozen) < len(chosen):
        raise UsageError(f"{frozen[0].id} is a freeze, others are not", "thaw it alone, then undo the others")
    return bool(frozen)


def _is_readoption(chosen: Sequence[Entry]) -> bool:
    """Whether Applications are to be made anew. Raises RefusedError where something else is undone as well."""
    ours = [
        e for e in chosen if e.is_orphaning and any(x.role is Role.ORPHAN for _, _, x, _ in e.unsettled())
    ]
    if ours and len(ours) < len(chosen):
        raise RefusedError(
            f"entry {ours[0].id} let applications go, others did not: they are undone one after the other",
            f"nothing was changed; first: {COMMAND} undo {ours[0].id}",
            code=Code.BY_ITS_ID,
        )
    return bool(ours)


def _let_go(
    session: Session, leftover: Sequence[Entry], writing: Writing, *, redeploy: bool
) -> JournalReading:
    """Pin again what an undo that died has left held, before anything else is done."""
    argocd = session.reading.snapshot.argocd
    for entry in leftover:
        if not is_of(entry, argocd.namespace):
            continue
        if writing.is_dry_run:
            session.printer.warn(
                f"entry {entry.id} is a hold that an undo has left: a real undo pins it again first"
            )
        else:
            recover(session, entry, writing, redeploy=redeploy)
    return session.journal.read()


def _nothing(session: Session, reading: JournalReading) -> Result:
    for entry in reading.entries:
        if entry.is_cut_off and entry.begin.total > len(entry.intents):
            session.printer.note(
                f"entry {entry.id} died before all of it was written down, and did none of it"
            )
    session.printer.say("nothing to undo")
    return Result("undo", data={"undoes": [], "owed": [], "conflicts": []})


def _with_lost(session: Session, chosen: Sequence[Entry], result: Result, unknown: Sequence[str]) -> Result:
    """Say which steps nobody knows any more, and that an undo without them is not all of it."""
    lacking = tuple(
        f"entry {e.id} has lost {lost(e)} of its {e.begin.total} steps, which are not undone; "
        f"what is known of it: {COMMAND} show {e.id}"
        for e in chosen
        if lost(e)
    )
    for text in lacking:
        session.printer.warn(text)
    if (unknown or lacking) and result.exit_status is ExitStatus.OK:
        status = ExitStatus.PARTIAL if result.edits else ExitStatus.ERROR
        result = replace(result, exit_status=status, status=STATUS_WORDS[status])
    return replace(result, warnings=(*result.warnings, *lacking))


def _not_understood(reading: JournalReading, what: Sequence[str]) -> list[str]:
    """Return the ids of entries that may be meant and of which nobody can say what they did."""
    named = {word.removeprefix("entry/").lower() for word in what}
    if unusable := sorted(reading.unusable & named):
        raise RescueError(f"entry {unusable[0]} cannot be understood", "see the warnings above")
    whole = {e.id for e in reading.entries}
    if named and named <= whole:
        return []
    torn = (e.id for e in reading.entries if lost(e) and not (e.is_open or e.settled or e.begin.undoes))
    return sorted({*reading.unusable, *torn})


def choose(
    entries: tuple[Entry, ...], what: tuple[str, ...], session: Session
) -> tuple[list[Entry], list[Key]]:
    """Return the entries that are meant, and the Applications where only those are."""
    argocd = session.reading.snapshot.argocd
    if not what:
        for text in elsewhere(entries, argocd.namespace):
            session.printer.say(text)
        return [e for e in entries if e.is_open and e.begin.verb != HOLD and is_of(e, argocd.namespace)], []
    home = session.common.namespace or argocd.namespace
    chosen: dict[str, Entry] = {}
    keys: list[Key] = []
    for word in what:
        is_entry = _names_entry(entries, word)
        key: Key | None = None
        try:
            key = None if word.startswith("entry/") else parse_target(word, home)
        except UsageError:
            if not is_entry:
                raise
        about = [] if key is None else [e for e in entries if is_about(e, key)]
        if is_entry:
            if key is not None and about:
                raise UsageError(
                    f"{word!r} is an application and the beginning of an entry's id",
                    f"say {key.namespace}/{key.name} for the one, entry/{word} for the other",
                )
            entry = find_entry(entries, word)
            chosen[entry.id] = entry
            continue
        if key is None or not about:
            raise NotFound(
                f"no entry is called {word!r} or is about it",
                "see them all: kubectl argo-rescue log",
                status=404,
            )
        found = [e for e in about if e.is_open and owes(e, key)]
        if not found:
            if whole := [e.id for e in about if e.is_open and not touches(e, key)]:
                raise RefusedError(
                    f"what entry {', '.join(whole)} did is not about {key} alone",
                    f"nothing was changed; undo all of it: {COMMAND} undo {' '.join(whole)}",
                    code=Code.BY_ITS_ID,
                )
            session.printer.say(f"nothing of {key} is left to undo")
            continue
        keys.append(key)
        chosen.update((e.id, e) for e in found)
    if keys and len(keys) < len(what):
        raise UsageError("entries and applications cannot be undone in one call", "name one kind of them")
    return list(chosen.values()), keys


def _names_entry(entries: tuple[Entry, ...], word: str) -> bool:
    """Whether a word is an entry's id, or enough of its beginning not to be a slip."""
    return word.startswith("entry/") or (
        len(word) >= SHORTEST and any(e.id.startswith(word.lower()) for e in entries)
    )
