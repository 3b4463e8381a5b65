"""The journal's two homes, merged by union: files on this machine, ConfigMaps beside Argo CD.

Write-ahead: `Writer.intend` returns only when the records are durable in at least one home. Files
are 0600 in 0700 folders, fsynced with their folder; a torn last line is dropped on reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from .errors import (
    AlreadyExists,
    ConflictError,
    GuardFailed,
    NotFound,
    Overloaded,
    RefusedError,
    RescueError,
    TransportError,
    may_have_landed,
)
from .model import CONFIGMAP, JSON, Resource
from .patches import first_missing
from .records import (
    ENTRY_ID,
    Content,
    Entry,
    Record,
    TooNew,
    Untrusted,
    fold,
    from_line,
    next_number,
    record_id,
    to_line,
)

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
    return _user_home(environ) / ".local" / "state" / "kubectl-argo-rescue"


def _user_home(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Return the user's own folder; a HOME that is empty would mean the root of the disk."""
    if sys.platform != "win32" and environ.get("HOME") == "":
        import pwd

        with contextlib.suppress(KeyError):
            return Path(pwd.getpwuid(os.getuid()).pw_dir)
    return Path(os.path.expanduser("~"))


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that cannot be understood."""

    entry: str
    where: str
    """The file or ConfigMap."""
    place: str
    """The line or key in it, empty where it is all of it."""
    why: str
    format: int = 0
    """Of a newer version's record its format."""


def _dropped(entry: str, where: str, place: str, error: Untrusted) -> Dropped:
    format = error.format if isinstance(error, TooNew) and error.entry == entry else 0
    return Dropped(entry, where, place, str(error), format)


class LocalHome:
    """The files of one cluster: a file per entry, append only."""

    name = "local"

    def __init__(self, folders: Sequence[Path]) -> None:
        """Read from all `folders`, write to the first; a cluster may be known by two uids."""
        self.folders = tuple(folders)
        self.dropped: list[Dropped] = []
        self.cut_off: set[str] = set()
        """Entries of which the last write did not come to its end."""

    def append(self, entry: str, lines: Sequence[str]) -> None:
        """Append records to the entry's file and make them durable. Raises OSError."""
        folder = self.folders[0]
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for parent in (folder, folder.parent):
                os.chmod(parent, 0o700)
        _tighten(folder, 0o700)
        path = folder / f"{entry}.jsonl"
        fresh = not path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if not fresh:
                _tighten(path, 0o600)
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
        self.cut_off = set()
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
            self.dropped.append(Dropped(path.stem, path.name, "", str(e.strerror or e)))
            return
        lines = text.split("\n")
        if lines[-1]:
            self.cut_off.add(path.stem)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = from_line(line)
            except Untrusted as e:
                if number < len(lines):  # the last, without its newline, is only torn
                    self.dropped.append(_dropped(path.stem, path.name, f"line {number}", e))
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
                found += [e for lines in records_of.values() if (e := fold(lines, ["local"]))]
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


def _tighten(path: Path, mode: int) -> None:
    """Keep others from reading what is there already; best effort, since it may be somebody else's."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            if path.stat().st_mode & 0o077:
                path.chmod(mode)


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
        self.dropped: list[Dropped] = []
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
            _check_kept(obj, self.cluster.create(CONFIGMAP, self.namespace, obj))
        except (TransportError, Overloaded, AlreadyExists) as e:
            if not (may_have_landed(e) or isinstance(e, AlreadyExists)):
                raise
            # The answer may be lost and the ConfigMap there: it is ours if it holds our records.
            try:
                there = self.cluster.get(CONFIGMAP, self.namespace, name)
            except NotFound:
                _check_kept(obj, self.cluster.create(CONFIGMAP, self.namespace, obj))
                return
            if any((there.get("data") or {}).get(key) != value for key, value in chunk):
                raise

    def _add_keys(self, name: str, chunk: Sequence[tuple[str, str]]) -> None:
        ops: list[JSON] = []
        for key, line in chunk:
            ops += [
                {"op": "test", "path": f"/data/{key}", "value": None},
                {"op": "add", "path": f"/data/{key}", "value": line},
            ]
        wanted = {"data": dict(chunk)}
        try:
            _check_kept(wanted, self.cluster.patch(CONFIGMAP, self.namespace, name, ops))
        except (TransportError, Overloaded, GuardFailed) as e:
            if not (may_have_landed(e) or isinstance(e, GuardFailed)):
                raise
            there = self.cluster.get(CONFIGMAP, self.namespace, name).get("data") or {}
            missing = [(key, line) for key, line in chunk if there.get(key) != line]
            if any(key in there for key, _ in missing):
                raise
            if missing:
                ops = [{"op": "add", "path": f"/data/{key}", "value": line} for key, line in missing]
                _check_kept(wanted, self.cluster.patch(CONFIGMAP, self.namespace, name, ops))

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
                    record = from_line(line)
                    if record.entry != owner or not name.startswith(PREFIX + owner) or record.id != key:
                        raise Untrusted("a record is not of this entry")
                except Untrusted as e:
                    where = f"ConfigMap {self.namespace}/{name}"
                    self.dropped.append(_dropped(owner, where, f"key {key}", e))
                    continue
                found.setdefault(owner, []).append(record)
            if owner:
                self._parts.setdefault(owner, []).append((name, size))
                self._parts[owner].sort(key=lambda p: (len(p[0]), p[0]))
        for parts in self._parts.values():
            parts[:] = sorted(dict(parts).items(), key=lambda p: (len(p[0]), p[0]))
        return found

    def left_claim(self, entry: str, now: datetime) -> str | None:
        """Return a claim that was left behind. Raises ConflictError where somebody is undoing the entry."""
        there = self.cluster.get(CONFIGMAP, self.namespace, f"{PREFIX}{entry}")
        old: str | None = (there.get("data") or {}).get(CLAIM)
        if old is not None and not _is_stale(old, now):
            raise ConflictError(
                f"entry {entry} is being undone by {_claimed_by(old)}",
                f"wait for it, then look: kubectl argo-rescue show {entry}",
            )
        return old

    def claim(self, entry: str, who: str, now: datetime) -> None:
        """Take the entry for an undo. Raises ConflictError where somebody else is undoing it."""
        name = f"{PREFIX}{entry}"
        mine = json.dumps({"who": who, "at": now.isoformat(timespec="seconds"), "by": _own_process()})
        old = self.left_claim(entry, now)
        ops = [
            {"op": "test", "path": f"/data/{CLAIM}", "value": old},
            {"op": "add", "path": f"/data/{CLAIM}", "value": mine},
        ]
        try:
            _check_kept({"data": {CLAIM: mine}}, self.cluster.patch(CONFIGMAP, self.namespace, name, ops))
        except (GuardFailed, TransportError, Overloaded) as e:
            now_there = (self.cluster.get(CONFIGMAP, self.namespace, name).get("data") or {}).get(CLAIM)
            if now_there == old and not isinstance(e, GuardFailed):
                raise
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
            try:
                self.cluster.patch(CONFIGMAP, self.namespace, f"{PREFIX}{entry}", ops)
            except (TransportError, Overloaded) as e:
                if may_have_landed(e):  # the guard keeps a second time from doing harm
                    self.cluster.patch(CONFIGMAP, self.namespace, f"{PREFIX}{entry}", ops)

    def remove(self, entry: str) -> None:
        """Delete the entry's ConfigMaps."""
        for name, _ in self._find_parts(entry):
            try:
                self.cluster.delete(CONFIGMAP, self.namespace, name)
            except NotFound:
                continue


def _check_kept(wanted: JSON, answer: JSON) -> None:
    """See that a ConfigMap holds what was written. Raises RescueError where it does not."""
    missing = first_missing(wanted, answer)
    if missing is not None:
        raise RescueError(
            f"the API server took it but {missing[0]} is not in its answer, as where an admission webhook "
            "or policy changes what is written"
        )


def _claimed_by(claim: str) -> str:
    try:
        who = json.loads(claim)
        lapses = datetime.fromisoformat(who["at"]) + timedelta(seconds=CLAIM_SECONDS)
        name = " ".join(str(who["who"]).split())
        return f"{name} since {who['at']}, a claim that lapses at {lapses:%H:%M:%S %Z}"
    except (ValueError, TypeError, KeyError, OverflowError):
        return "somebody"


def _own_process() -> str:
    """Name this process among all machines, empty where that cannot be done.

    Its id alone would mean another one in a container, the host's name is often that of many machines.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        where = os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return ""
    return f"{socket.gethostname()} {boot} {where} {os.getpid()}" if boot else ""


def _has_ended(process: str) -> bool:
    """Whether a process of this very machine is gone: one elsewhere may live."""
    where, _, pid = process.rpartition(" ")
    if not where or where != _own_process().rpartition(" ")[0] or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _is_stale(claim: str, now: datetime) -> bool:
    """Whether a claim was left behind: it is old, or whoever held it on this machine has ended."""
    try:
        held = json.loads(claim)
        at = datetime.fromisoformat(held["at"])
        return abs((now - at).total_seconds()) > CLAIM_SECONDS or _has_ended(str(held.get("by", "")))
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
class JournalReading:
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

    def read(self) -> JournalReading:
        """Read all entries of both homes. One home failing is a warning."""
        warnings: list[str] = []
        merged: dict[str, list[Record]] = {}
        homes: dict[str, set[str]] = {}
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
        newer = {d.entry: d.format for d in dropped if d.format}
        warnings += [
            f"journal: entry {id} was written by a newer version (format {format}): update this tool"
            for id, format in newer.items()
        ]
        entries: list[Entry] = []
        headless = {d.entry: {d.where} for d in dropped if d.place and ENTRY_ID.fullmatch(d.entry)}
        # Of one that the other home has, or may have, more can have been written than is here.
        cut_off = self.local.cut_off - {d.entry for d in dropped} if were_read else set()
        for id, lines in merged.items():
            folded = fold(lines, homes[id])
            headless.pop(id, None)
            if folded is not None:
                is_here_alone = homes[id] == {self.local.name}
                entries.append(replace(folded, is_cut_off=is_here_alone and id in cut_off))
            else:
                headless[id] = self._where(id, homes[id])
        headless = {id: where for id, where in headless.items() if id not in newer}
        warnings += _left_out([d for d in dropped if d.entry not in newer and d.entry not in headless])
        warnings += [
            f"journal: entry {id} has lost its first record and cannot be used: read what is left of it in "
            f"{' and '.join(sorted(where))}, restore that by hand, then delete it"
            for id, where in headless.items()
        ]
        closed = {d.entry for d in dropped if not d.place and ENTRY_ID.fullmatch(d.entry)}
        unusable = {*newer, *headless, *(closed - merged.keys())}
        entries.sort(key=lambda e: (e.begin.started, e.id))
        damaged = frozenset(d.entry for d in dropped)
        return JournalReading(tuple(entries), tuple(warnings), frozenset(unusable), damaged)

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
        raise RefusedError("no free id for a journal entry was found", "try again")

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
            self._owed[home] = [(r.id, to_line(r)) for r in self.records]

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
        try:
            for _, line in lines:
                from_line(line)
        except Untrusted as e:
            # What undo would not read again is as good as not saved.
            raise RefusedError(f"the original cannot be saved: {e}", "nothing more was changed") from e
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
            text = (
                f"the journal on this machine cannot be written: {e.strerror or e}; it is kept in the "
                "cluster alone, so undo needs the cluster's ConfigMaps"
            )
            warnings.append(("local", text))
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
            )
        for home, text in warnings:
            self._warn(home, text)

    def _warn(self, home: str, text: str) -> None:
        if home not in self.journal.warned:
            self.journal.warned.add(home)
            self.journal.warn(text)
