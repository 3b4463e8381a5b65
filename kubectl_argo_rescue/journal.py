"""The journal's two homes, merged by union: files on this machine, ConfigMaps beside Argo CD.

Write-ahead: `Writer.intend` returns only when the records are durable in at least one home. Files
are 0600 in 0700 folders, fsynced with their folder; a torn last line is dropped on reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from . import records
from .errors import (
    AlreadyExists,
    ConflictError,
    GuardFailed,
    NotFound,
    RefusedError,
    RescueError,
    TransportError,
)
from .model import CONFIGMAP, JSON, Resource
from .records import Content, Entry, Record

LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "kubectl-argo-rescue"
ENTRY_LABEL: Final = "argo-rescue/entry"
PREFIX: Final = "argo-rescue-"

PART_LIMIT: Final = 700_000
"""Bytes of records in one ConfigMap; the server's limit is 1 MiB with everything around."""

EXPIRES_LABEL: Final = "argo-rescue/expires"
"""On entries with a deadline, so that every command can look for just these."""

EXPIRES_MARK: Final = '"expires":"'

CLAIM: Final = "claim"
CLAIM_SECONDS: Final = 15 * 60
"""After this a claim counts as left behind by a command that died."""


def state_home(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Return the folder of all local journals: $XDG_STATE_HOME, else the platform's place."""
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "kubectl-argo-rescue"
    if sys.platform == "win32" and environ.get("LOCALAPPDATA"):
        return Path(environ["LOCALAPPDATA"]) / "kubectl-argo-rescue"
    return Path(os.path.expanduser("~")) / ".local" / "state" / "kubectl-argo-rescue"


class LocalHome:
    """The files of one cluster: a file per entry, append only."""

    name = "local"

    def __init__(self, folders: Sequence[Path]) -> None:
        """Read from all `folders`, write to the first; a cluster may be known by two uids."""
        self.folders = tuple(folders)
        self.dropped: list[str] = []

    def append(self, entry: str, lines: Sequence[str]) -> None:
        """Append records to the entry's file and make them durable. Raises OSError."""
        folder = self.folders[0]
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for parent in (folder, folder.parent):
                os.chmod(parent, 0o700)
        path = folder / f"{entry}.jsonl"
        fresh = not path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            data = "".join(f"{line}\n" for line in lines)
            if not fresh and not _ends_with_newline(path):
                # A torn line of a command that died must not swallow ours.
                data = "\n" + data
            view = memoryview(data.encode())
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        if fresh:
            _sync_folder(folder)

    def read(self) -> dict[str, list[Record]]:
        """Read every entry; malformed lines are left out and counted in `self.dropped`."""
        found: dict[str, list[Record]] = {}
        self.dropped = []
        for folder in self.folders:
            try:
                paths = sorted(folder.glob("*.jsonl"))
            except OSError:
                continue
            for path in paths:
                self._read_file(path, found)
        return found

    def _read_file(self, path: Path, found: dict[str, list[Record]]) -> None:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as e:
            self.dropped.append(f"{path.name}: {e.strerror or e}")
            return
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = records.from_line(line)
            except records.Untrusted as e:
                if number < len(lines):  # the last, without its newline, is only torn
                    self.dropped.append(f"{path.name} line {number}: {e}")
                continue
            found.setdefault(record.entry, []).append(record)

    def has(self, entry: str) -> bool:
        """Whether a file of that entry is here; False as well where the folder cannot be looked into."""
        return any(os.path.exists(folder / f"{entry}.jsonl") for folder in self.folders)

    def expiring(self) -> list[Entry]:
        """Read only the entries that have a deadline, told by their first line."""
        found: list[Entry] = []
        for folder in self.folders:
            for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
                try:
                    with path.open("r", encoding="utf-8", errors="replace") as f:
                        if EXPIRES_MARK not in f.readline(8192):
                            continue
                except OSError:
                    continue
                records_of: dict[str, list[Record]] = {}
                self._read_file(path, records_of)
                found += [e for lines in records_of.values() if (e := records.fold(lines, ["local"]))]
        return found

    def remove(self, entry: str) -> None:
        """Delete an entry's file, where it is here and may be deleted."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                (folder / f"{entry}.jsonl").unlink(missing_ok=True)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as f:
        if f.seek(0, os.SEEK_END) == 0:
            return True
        f.seek(-1, os.SEEK_END)
        return f.read(1) == b"\n"


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Cluster(Protocol):
    def get(self, resource: Resource, namespace: str, name: str) -> JSON: ...
    def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[JSON]: ...
    def create(self, resource: Resource, namespace: str, obj: JSON) -> JSON: ...
    def patch(self, resource: Resource, namespace: str, name: str, ops: Sequence[JSON]) -> JSON: ...
    def delete(self, resource: Resource, namespace: str, name: str) -> None: ...


class ClusterHome:
    """The ConfigMaps of one Argo CD namespace: one per entry, more where it grows large."""

    name = "cluster"

    def __init__(self, cluster: _Cluster, namespace: str) -> None:
        """Keep entries in `namespace`, Argo CD's own."""
        self.cluster = cluster
        self.namespace = namespace
        self.dropped: list[str] = []
        self._claims: dict[str, str] = {}
        """Per entry the claim that we hold."""
        self._parts: dict[str, list[tuple[str, int]]] = {}
        """Per entry: (ConfigMap name, bytes of records in it), as far as known."""

    def append(self, entry: str, named: Sequence[tuple[str, str]]) -> None:
        """Add records, (id, line) each, to the entry's ConfigMaps. Raises RescueError."""
        for chunk in _chunks(named):
            size = sum(len(line) for _, line in chunk)
            if entry not in self._parts:
                self._parts[entry] = self._find_parts(entry)
            parts = self._parts[entry]
            if parts and parts[-1][1] + size <= PART_LIMIT:
                name, held = parts[-1]
                self._add_keys(name, chunk)
                parts[-1] = (name, held + size)
            else:
                name = f"{PREFIX}{entry}" if not parts else f"{PREFIX}{entry}-{len(parts) + 1}"
                self._create(name, entry, chunk)
                parts.append((name, size))

    def begin(self, entry: str, named: Sequence[tuple[str, str]]) -> None:
        """Create a new entry without looking for old parts. Raises AlreadyExists for a taken id."""
        self._parts[entry] = []
        try:
            self.append(entry, named)
        except BaseException:
            del self._parts[entry]
            raise

    def _find_parts(self, entry: str) -> list[tuple[str, int]]:
        found = self.cluster.list(CONFIGMAP, self.namespace, label_selector=f"{ENTRY_LABEL}={entry}")
        parts = [(o["metadata"]["name"], sum(len(v) for v in (o.get("data") or {}).values())) for o in found]
        return sorted(parts, key=lambda p: (len(p[0]), p[0]))

    def _create(self, name: str, entry: str, chunk: Sequence[tuple[str, str]]) -> None:
        obj: dict[str, JSON] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {LABEL: MANAGED_BY, ENTRY_LABEL: entry},
            },
            "data": dict(chunk),
        }
        if any(EXPIRES_MARK in line for _, line in chunk):
            obj["metadata"]["labels"][EXPIRES_LABEL] = "true"
        try:
            self.cluster.create(CONFIGMAP, self.namespace, obj)
        except (TransportError, AlreadyExists):
            # The answer may be lost and the ConfigMap there: it is ours if it holds our records.
            there = self.cluster.get(CONFIGMAP, self.namespace, name)
            if any((there.get("data") or {}).get(key) != value for key, value in chunk):
                raise

    def _add_keys(self, name: str, chunk: Sequence[tuple[str, str]]) -> None:
        ops: list[JSON] = []
        for key, line in chunk:
            ops += [
                {"op": "test", "path": f"/data/{key}", "value": None},
                {"op": "add", "path": f"/data/{key}", "value": line},
            ]
        try:
            self.cluster.patch(CONFIGMAP, self.namespace, name, ops)
        except (TransportError, GuardFailed):
            there = self.cluster.get(CONFIGMAP, self.namespace, name).get("data") or {}
            missing = [(key, line) for key, line in chunk if there.get(key) != line]
            if any(key in there for key, _ in missing):
                raise
            if missing:
                ops = [{"op": "add", "path": f"/data/{key}", "value": line} for key, line in missing]
                self.cluster.patch(CONFIGMAP, self.namespace, name, ops)

    def read(self, entries: Sequence[str] = ()) -> dict[str, list[Record]]:
        """Read every entry of this namespace, or those named.

        What cannot be trusted is left out and counted.
        """
        found: dict[str, list[Record]] = {}
        self.dropped = []
        selector = f"{LABEL}={MANAGED_BY}"
        if entries:
            selector += f",{ENTRY_LABEL} in ({','.join(entries)})"
        for obj in self.cluster.list(CONFIGMAP, self.namespace, label_selector=selector):
            name = obj["metadata"]["name"]
            owner = (obj["metadata"].get("labels") or {}).get(ENTRY_LABEL, "")
            size = 0
            for key, line in sorted((obj.get("data") or {}).items()):
                if key == CLAIM:
                    continue
                size += len(line)
                try:
                    record = records.from_line(line)
                    if record.entry != owner or not name.startswith(PREFIX + owner) or record.id != key:
                        raise records.Untrusted("a record is not of this entry")
                except records.Untrusted as e:
                    self.dropped.append(f"ConfigMap {self.namespace}/{name} key {key}: {e}")
                    continue
                found.setdefault(owner, []).append(record)
            if owner:
                self._parts.setdefault(owner, []).append((name, size))
                self._parts[owner].sort(key=lambda p: (len(p[0]), p[0]))
        for parts in self._parts.values():
            parts[:] = sorted(dict(parts).items(), key=lambda p: (len(p[0]), p[0]))
        return found

    def claim(self, entry: str, who: str, now: datetime) -> None:
        """Take the entry for an undo. Raises ConflictError where somebody else is undoing it."""
        name = f"{PREFIX}{entry}"
        mine = json.dumps({"who": who, "at": now.isoformat(timespec="seconds")})
        there = self.cluster.get(CONFIGMAP, self.namespace, name)
        old = (there.get("data") or {}).get(CLAIM)
        if old is not None and not _is_stale(old, now):
            raise ConflictError(
                f"entry {entry} is being undone by {_claimed_by(old)}",
                f"wait for it, then look: kubectl argo-rescue show {entry}",
            )
        ops = [
            {"op": "test", "path": f"/data/{CLAIM}", "value": old},
            {"op": "add", "path": f"/data/{CLAIM}", "value": mine},
        ]
        try:
            self.cluster.patch(CONFIGMAP, self.namespace, name, ops)
        except (GuardFailed, TransportError) as e:
            now_there = (self.cluster.get(CONFIGMAP, self.namespace, name).get("data") or {}).get(CLAIM)
            if now_there != mine:
                raise ConflictError(
                    f"entry {entry} is being undone by {_claimed_by(now_there or '')}",
                    f"wait for it, then look: kubectl argo-rescue show {entry}",
                ) from e
        self._claims[entry] = mine

    def release(self, entry: str) -> None:
        """Give our claim back; best effort, since a claim left behind only costs a wait.

        Somebody who took over what looked left behind keeps it.
        """
        ops = [
            {"op": "test", "path": f"/data/{CLAIM}", "value": self._claims.pop(entry, None)},
            {"op": "remove", "path": f"/data/{CLAIM}"},
        ]
        with contextlib.suppress(RescueError):
            self.cluster.patch(CONFIGMAP, self.namespace, f"{PREFIX}{entry}", ops)

    def remove(self, entry: str) -> None:
        """Delete the entry's ConfigMaps."""
        for name, _ in self._find_parts(entry):
            try:
                self.cluster.delete(CONFIGMAP, self.namespace, name)
            except NotFound:
                continue


def _claimed_by(claim: str) -> str:
    try:
        who = json.loads(claim)
        return f"{who['who']} since {who['at']}"
    except (ValueError, TypeError, KeyError):
        return "somebody"


def _is_stale(claim: str, now: datetime) -> bool:
    try:
        at = datetime.fromisoformat(json.loads(claim)["at"])
        return abs((now - at).total_seconds()) > CLAIM_SECONDS
    except (ValueError, TypeError, KeyError):
        return True


def _chunks(named: Sequence[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    chunk: list[tuple[str, str]] = []
    size = 0
    for key, line in named:
        if chunk and size + len(line) > PART_LIMIT:
            yield chunk
            chunk, size = [], 0
        chunk.append((key, line))
        size += len(line)
    if chunk:
        yield chunk


@dataclass(frozen=True, slots=True)
class Reading:
    """Both homes read and merged."""

    entries: tuple[Entry, ...]
    """Oldest first."""
    warnings: tuple[str, ...]


class Journal:
    """Both homes of one cluster as one journal."""

    def __init__(
        self,
        local: LocalHome,
        in_cluster: ClusterHome | None,
        *,
        new_id: Callable[[], str] = lambda: secrets.token_hex(3),
        writer: str | None = None,
    ) -> None:
        """Take both homes; `in_cluster` is None where Argo CD's namespace is not known."""
        self.local = local
        self.in_cluster = in_cluster
        self.new_id = new_id
        self.writer = writer or secrets.token_hex(3)
        self.warn: Callable[[str], None] = lambda text: None
        self.warned: set[str] = set()
        """Homes whose failure was told already."""

    def read(self) -> Reading:
        """Read all entries of both homes. One home failing is a warning."""
        warnings: list[str] = []
        merged: dict[str, list[Record]] = {}
        homes: dict[str, set[str]] = {}
        for home in (self.local, self.in_cluster):
            if home is None:
                continue
            try:
                found = home.read()
            except RescueError as e:
                warnings.append(
                    f"the journal in the cluster cannot be read, only this machine's is shown: {e.message}"
                )
                continue
            warnings += [f"journal: left out {text}" for text in home.dropped]
            for entry, lines in found.items():
                merged.setdefault(entry, []).extend(lines)
                homes.setdefault(entry, set()).add(home.name)
        entries: list[Entry] = []
        for id, lines in merged.items():
            folded = records.fold(lines, homes[id])
            if folded is None:
                warnings.append(f"journal: entry {id} has lost its first record and cannot be used")
            else:
                entries.append(folded)
        entries.sort(key=lambda e: (e.begin.started, e.id))
        return Reading(tuple(entries), tuple(warnings))

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
                        record = records.from_line(line)
                        merged.setdefault(record.entry, []).append(record)
                except records.Untrusted:
                    continue
        folded = [e for lines in merged.values() if (e := records.fold(lines))]
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
        raise RefusedError("no free id for a journal entry was found", "try again")

    def reopen(self, entry: Entry) -> Writer:
        """Write further records to an entry that is there."""
        return Writer(self, entry.id, entry.records)


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

    def write(self, contents: Sequence[Content], *, fresh: bool = False) -> None:
        """Make records durable in at least one home; the other failing is a warning, once.

        Raises RefusedError where neither home takes them; nothing may be sent then.
        """
        with self._lock:
            self._write(contents, fresh=fresh)

    def _write(self, contents: Sequence[Content], *, fresh: bool) -> None:
        first = records.next_number(self.records)
        made = [
            Record(self.entry, records.record_id(number, self.journal.writer), content)
            for number, content in enumerate(contents, first)
        ]
        lines = [(r.id, records.to_line(r)) for r in made]
        try:
            for _, line in lines:
                records.from_line(line)
        except records.Untrusted as e:
            # What undo would not read again is as good as not saved.
            raise RefusedError(f"the original cannot be saved: {e}", "nothing more was changed") from e
        failures: list[str] = []
        local, in_cluster = self.journal.local, self.journal.in_cluster
        owed = self._owed
        try:
            local.append(self.entry, [line for _, line in (*owed["local"], *lines)])
            owed["local"] = []
        except OSError as e:
            owed["local"] += lines
            failures.append(f"on this machine ({e.strerror or e})")
            self._warn(
                "local",
                f"the journal on this machine cannot be written: {e.strerror or e}; it is kept in the "
                "cluster alone, so undo needs the cluster's ConfigMaps",
            )
        if in_cluster is None:
            failures.append("in the cluster (Argo CD's namespace is not known)")
        else:
            try:
                if fresh:
                    in_cluster.begin(self.entry, lines)
                else:
                    in_cluster.append(self.entry, [*owed["cluster"], *lines])
                owed["cluster"] = []
            except RescueError as e:
                if fresh and isinstance(e, AlreadyExists):
                    raise
                owed["cluster"] += lines
                failures.append(f"in the cluster ({e.message})")
                left = (
                    f"it is kept on this machine alone, so only here can entry {self.entry} be undone"
                    if fresh
                    else "the outcome is kept on this machine alone; the originals are in both places"
                )
                self._warn("cluster", f"the journal in the cluster cannot be written: {e.message}; {left}")
        # Also where both refused: one may hold a part of it, and an id is never used twice.
        self.records += made
        if len(failures) == 2:
            for waiting in owed.values():
                del waiting[len(waiting) - len(lines) :]
            raise RefusedError(
                "the original cannot be saved anywhere: " + ", ".join(failures),
                "nothing more was changed; make one of the two writable",
            )

    def _warn(self, home: str, text: str) -> None:
        if home not in self.journal.warned:
            self.journal.warned.add(home)
            self.journal.warn(text)
