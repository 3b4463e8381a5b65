"""The journal's two homes, merged by union: files on this machine, ConfigMaps beside Argo CD.

Write-ahead: `Writer.write` returns only when the records are durable in at least one home. Files
are 0600 in 0700 folders, fsynced with their folder; a torn last line is dropped on reading.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ..model.errors import AlreadyExists, Code, RefusedError, RescueError
from ..model.values import JSON, Change, Edit
from .claims import CLAIM
from .configmaps import PREFIX, ClusterHome
from .encoding import (
    ENTRY_ID,
    Dropped,
    Untrusted,
    from_line,
    lacks_an_original,
    to_line,
    without_secrets,
)
from .entry import Entry, fold, next_number, record_id
from .local import LocalHome
from .records import Content, Intent, Record

ON_THIS_MACHINE = (
    "the parameters and values that it has now are kept on this machine alone: nobody else can put them back"
)


class JournalReading(Struct, frozen=True):
    """Both homes read and merged."""

    entries: tuple[Entry, ...]
    """Oldest first."""
    warnings: tuple[str, ...]
    unusable: frozenset[str] = frozenset()
    """Ids of what is there and cannot be understood, or not to its end."""
    damaged: frozenset[str] = frozenset()
    """Ids of entries of which any record was left out."""


def _left_out(dropped: Sequence[Dropped]) -> list[str]:
    """Name what cannot be understood, in one line for each file or ConfigMap."""
    found: dict[str, list[Dropped]] = {}
    for d in dropped:
        found.setdefault(d.where, []).append(d)
    return [
        f"journal: left out {where}{f' {all_of_it[0].place}' if all_of_it[0].place else ''}: {all_of_it[0].why}"
        + (f"; and {len(all_of_it) - 1} more there" if len(all_of_it) > 1 else "")
        for where, all_of_it in found.items()
    ]


def _random_id() -> str:
    return os.urandom(3).hex()  # what the module secrets does, without loading OpenSSL


class Journal:
    """Both homes of one cluster as one journal."""

    def __init__(
        self,
        local: LocalHome,
        in_cluster: ClusterHome | None,
        *,
        new_id: Callable[[], str] = _random_id,
        writer: str | None = None,
    ) -> None:
        """Take both homes; `in_cluster` is None where Argo CD's namespace is not known."""
        self.local = local
        self.in_cluster = in_cluster
        self.new_id = new_id
        self.writer = writer or _random_id()
        self.warn: Callable[[str], None] = lambda text: None
        self.may_keep_secrets: Callable[[], bool] = lambda: False
        """Asked where an original is not for everybody's eyes: whether it may lie in a Secret beside Argo CD."""
        self.warned: set[str] = set()
        """Homes whose failure was told already."""

    def read(self) -> JournalReading:
        """Read all entries of both homes. One home failing is a warning."""
        warnings: list[str] = []
        merged: dict[str, list[Record]] = {}
        homes: dict[str, set[str]] = {}
        own: dict[str, set[str]] = {}
        dropped: list[Dropped] = []
        were_read = self.in_cluster is not None
        for home in (self.local, self.in_cluster):
            if home is None:
                continue
            try:
                found = home.read()
            except RescueError as e:
                were_read = False
                warnings.append(
                    f"the journal in the cluster cannot be read, only this machine's is shown: {e.message}"
                )
                continue
            dropped += home.dropped
            for entry, lines in found.items():
                merged.setdefault(entry, []).extend(lines)
                homes.setdefault(entry, set()).add(home.name)
                if home is self.local:
                    own[entry] = {r.id for r in lines}
        newer = {d.entry: d.format for d in dropped if d.format}
        warnings += [
            f"journal: entry {id} was written by a newer version (format {format}): update this tool"
            for id, format in newer.items()
        ]
        entries: list[Entry] = []
        headless = {d.entry: {d.where} for d in dropped if d.place and re.fullmatch(ENTRY_ID, d.entry)}
        # Of one that the other home has, or may have, more can have been written than is here.
        cut_off = self.local.cut_off - {d.entry for d in dropped} if were_read else set()
        for id, lines in merged.items():
            folded = fold(lines, homes[id])
            headless.pop(id, None)
            if folded is not None:
                entries.append(self._as_kept(folded, own.get(id), cut_off))
            else:
                headless[id] = self._where(id, homes[id])
        headless = {id: where for id, where in headless.items() if id not in newer}
        warnings += _left_out([d for d in dropped if d.entry not in newer and d.entry not in headless])
        warnings += [
            f"journal: entry {id} has lost its first record and cannot be used: read what is left of it in "
            f"{' and '.join(sorted(where))}, restore that by hand, then delete it"
            for id, where in headless.items()
        ]
        closed = {d.entry for d in dropped if not d.place and re.fullmatch(ENTRY_ID, d.entry)}
        unusable = {*newer, *headless, *(closed - merged.keys())}
        entries.sort(key=lambda e: (e.begin.started, e.id))
        damaged = frozenset(d.entry for d in dropped)
        return JournalReading(tuple(entries), tuple(warnings), frozenset(unusable), damaged)

    def completed(self, entry: Entry) -> Entry:
        """Return an entry with the originals that are withheld where all may read, as far as this user may."""
        lacking = [r for r in entry.records if lacks_an_original(r)]
        found = self.in_cluster.secrets(lacking) if lacking and self.in_cluster is not None else {}
        whole = fold([found.get(r.id, r) for r in entry.records], entry.homes) if found else None
        return replace(entry, records=whole.records, intents=whole.intents) if whole else entry

    def _as_kept(self, entry: Entry, own: Collection[str] | None, cut_off: Collection[str]) -> Entry:
        """Say of an entry what its homes tell; `own` are the records in this machine's file of it."""
        is_here_alone = entry.homes == {self.local.name}
        return replace(
            entry,
            is_cut_off=is_here_alone and entry.id in cut_off,
            foreign=() if own is None else tuple(r for r in entry.records if r.id not in own),
            is_unproven=is_here_alone and entry.id in self.local.unproven,
        )

    def _where(self, entry: str, homes: Iterable[str]) -> set[str]:
        """Say where the records of an entry are, for those who must read them themselves."""
        place = self.in_cluster.namespace if self.in_cluster is not None else ""
        return {
            f"ConfigMap {place}/{PREFIX}{entry}" if home == "cluster" else f"{entry}.jsonl" for home in homes
        }

    def overdue(self, now: datetime, config_maps: Iterable[JSON]) -> list[Entry]:
        """Return the open entries whose deadline has passed.

        `config_maps` are those labelled EXPIRES_LABEL; what cannot be trusted is left out.
        """
        merged: dict[str, list[Record]] = {}
        for entry in self.local.expiring():
            merged.setdefault(entry.id, []).extend(entry.records)
        for obj in config_maps:
            for key, line in (obj.get("data") or {}).items():
                try:
                    if key != CLAIM:
                        record = from_line(line)
                        merged.setdefault(record.entry, []).append(record)
                except Untrusted:
                    continue
        folded = [e for lines in merged.values() if (e := fold(lines))]
        return [e for e in folded if e.is_open and e.begin.expires is not None and e.begin.expires <= now]

    def begin(self, contents: Sequence[Content]) -> Writer:
        """Open a new entry with its first records, durable in at least one home when this returns.

        Raises RefusedError where no home takes them.
        """
        for _ in range(3):
            entry = self.new_id()
            if self.local.has(entry):
                continue
            writer = Writer(self, entry, ())
            try:
                writer.write(contents, fresh=True)
            except AlreadyExists:
                self.local.remove(entry)  # the id is somebody else's; nothing of ours was sent yet
                continue
            return writer
        raise RefusedError("no free id for a journal entry was found", "try again", code=Code.JOURNAL)

    def reopen(self, entry: Entry) -> Writer:
        """Write further records to an entry that is there; a home that lacks the entry gets all of it."""
        writer = Writer(self, entry.id, entry.records)
        writer.owe({"local", "cluster"} - entry.homes)
        return writer


class Writer:
    """Appends records to one entry, in both homes."""

    def __init__(self, journal: Journal, entry: str, seen: Sequence[Record]) -> None:
        """Continue after the records `seen`."""
        self.journal = journal
        self.entry = entry
        self.records: list[Record] = list(seen)
        self._owed: dict[str, list[tuple[str, str]]] = {"local": [], "cluster": []}
        """Per home what it failed to take so far: it gets that first when it works again."""
        self._lock = threading.Lock()
        """Edits of one entry may be sent from several threads."""

    def owe(self, homes: Iterable[str]) -> None:
        """Give these homes all earlier records first: without its first an entry is of no use there."""
        for home in homes:
            is_here = home == "local"
            self._owed[home] = (
                [(r.id, to_line(r)) for r in self.records] if is_here else _for_all(self.records)
            )

    def changes(self) -> Iterator[tuple[int, int, Edit, Change]]:
        """Yield all that the entry meant to change: the edit's number, the change's index, and both."""
        for content in (record.content for record in self.records):
            if isinstance(content, Intent) and isinstance(content.what, Edit):
                for index, change in enumerate(content.what.changes):
                    yield content.number, index, content.what, change

    def write(self, contents: Sequence[Content], *, fresh: bool = False) -> None:
        """Make records durable in at least one home; the other failing is a warning, once.

        Raises RefusedError where neither home takes them; nothing may be sent then.
        """
        with self._lock:
            self._write(contents, fresh=fresh)

    def _write(self, contents: Sequence[Content], *, fresh: bool) -> None:
        first = next_number(self.records)
        made = [
            Record(self.entry, record_id(number, self.journal.writer), content)
            for number, content in enumerate(contents, first)
        ]
        lines = [(r.id, to_line(r)) for r in made]
        _require_readable([line for _, line in lines])
        failures: list[str] = []
        warnings: list[tuple[str, str]] = []
        local, in_cluster = self.journal.local, self.journal.in_cluster
        owed = self._owed
        try:
            local.append(self.entry, [line for _, line in (*owed["local"], *lines)])
            owed["local"] = []
        except OSError as e:
            owed["local"] += lines
            failures.append(f"on this machine ({e.strerror or e})")
            alone = "it is kept in the cluster alone, so undo needs the cluster's ConfigMaps"
            left = alone if fresh else f"the outcome is kept in the cluster alone{self._originals('local')}"
            text = f"the journal on this machine cannot be written: {e.strerror or e}; {left}"
            warnings.append(("local", text))
        if in_cluster is None:
            failures.append("in the cluster (Argo CD's namespace is not known)")
        else:
            try:
                self._write_there(in_cluster, made, fresh=fresh, is_here=not failures)
            except RescueError as e:
                if fresh and isinstance(e, AlreadyExists):
                    raise
                owed["cluster"] += _for_all(made)
                failures.append(f"in the cluster ({e.message})")
                alone = f"it is kept on this machine alone, so only here can entry {self.entry} be undone"
                left = (
                    alone
                    if fresh
                    else f"the outcome is kept on this machine alone{self._originals('cluster')}"
                )
                text = f"the journal in the cluster cannot be written: {e.message}; {left}"
                warnings.append(("cluster", text))
        # Also where both refused: one may hold a part of it, and an id is never used twice.
        self.records += made
        if len(failures) == 2:
            for waiting in owed.values():
                del waiting[len(waiting) - len(lines) :]
            raise RefusedError(
                "the original cannot be saved anywhere: " + ", ".join(failures),
                "nothing more was changed; make one of the two writable",
                code=Code.JOURNAL,
            )
        for home, text in warnings:
            self._warn(home, text)

    def _write_there(
        self, in_cluster: ClusterHome, made: Sequence[Record], *, fresh: bool, is_here: bool
    ) -> None:
        """Write records where others read them. Raises RescueError, also where an original would be nowhere."""
        secret = [(r.id, to_line(r)) for r in made if lacks_an_original(without_secrets(r))]
        if secret and not self._keep_secret(in_cluster, secret) and not is_here:
            raise RescueError("parameters and values would have to lie in a Secret")
        if fresh:
            in_cluster.begin(self.entry, _for_all(made))
        else:
            in_cluster.append(self.entry, [*self._owed["cluster"], *_for_all(made)])
        self._owed["cluster"] = []

    def _keep_secret(self, in_cluster: ClusterHome, secret: Sequence[tuple[str, str]]) -> bool:
        if not self.journal.may_keep_secrets():
            return False
        try:
            in_cluster.keep_secret(self.entry, secret)
        except RescueError as e:
            self._warn("secret", f"the original cannot be kept in a Secret: {e.message}; {ON_THIS_MACHINE}")
            return False
        return True

    def _originals(self, home: str) -> str:
        """Say where the originals are, unless `home` is not known to have the beginning of the entry."""
        first = {r.id for r in self.records[:1]}
        is_owed = any(id in first for id, _ in self._owed[home])
        return "" if is_owed else "; the originals are in both places"

    def _warn(self, home: str, text: str) -> None:
        if home not in self.journal.warned:
            self.journal.warned.add(home)
            self.journal.warn(text)


def _for_all(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Return records as lines, with their ids, as they may lie where others read them."""
    return [(r.id, to_line(without_secrets(r))) for r in records]


def _require_readable(lines: Iterable[str]) -> None:
    """Raise RefusedError for what undo would not read again: that is as good as not saved."""
    try:
        for line in lines:
            from_line(line)
    except Untrusted as e:
        raise RefusedError(
            f"the original cannot be saved: {e}", "nothing more was changed", code=Code.JOURNAL
        ) from e
