"""The journal's home in the cluster: ConfigMaps beside Argo CD, one or more per entry."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Protocol

from ..model.errors import (
    AlreadyExists,
    Code,
    ConflictError,
    Forbidden,
    GuardFailed,
    NotFound,
    Overloaded,
    RescueError,
    TransportError,
    may_have_landed,
)
from ..model.patches import first_missing
from ..model.values import CONFIGMAP, JSON, SECRET, Resource
from .claims import CLAIM, claimed_by, is_stale, own_process
from .encoding import (
    EXPIRES_MARK,
    Dropped,
    Untrusted,
    from_line,
    lacks_an_original,
    not_understood,
    without_secrets,
)
from .records import Record

LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "kubectl-argo-rescue"
ENTRY_LABEL: Final = "argo-rescue/entry"
PREFIX: Final = "argo-rescue-"

PART_LIMIT: Final = 700_000
"""Bytes of records in one ConfigMap; the server's limit is 1 MiB with everything around."""

EXPIRES_LABEL: Final = "argo-rescue/expires"
"""On entries with a deadline, so that every command can look for just these."""


class _Cluster(Protocol):
    def get(self, resource: Resource, namespace: str, name: str) -> JSON: ...
    def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[JSON]: ...
    def create(self, resource: Resource, namespace: str, obj: JSON, *, dry_run: bool = False) -> JSON: ...
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
        self._tried: dict[str, str] = {}
        """Per entry the claim that we wrote last: it may be there though no answer said so."""
        self._lacking: dict[str, list[str]] = {}
        """Per entry the ids of records, as far as read, of which an original may be in a Secret."""
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

    def try_out(self) -> None:
        """Have the server say whether it would take an entry; nothing is kept. Raises RescueError."""
        labels = {LABEL: MANAGED_BY}
        metadata = {"name": f"{PREFIX}{os.urandom(3).hex()}", "namespace": self.namespace, "labels": labels}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}
        self.cluster.create(CONFIGMAP, self.namespace, obj, dry_run=True)

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
        self._send(CONFIGMAP, obj)

    def _send(self, resource: Resource, obj: JSON) -> None:
        try:
            check_kept(obj, self.cluster.create(resource, self.namespace, obj))
        except (TransportError, Overloaded, AlreadyExists) as e:
            if not (may_have_landed(e) or isinstance(e, AlreadyExists)):
                raise
            # The answer may be lost and the object there: it is ours if it holds our records.
            try:
                there = self.cluster.get(resource, self.namespace, obj["metadata"]["name"])
            except NotFound:
                check_kept(obj, self.cluster.create(resource, self.namespace, obj))
                return
            if any((there.get("data") or {}).get(key) != value for key, value in obj["data"].items()):
                raise

    def keep_secret(self, entry: str, named: Sequence[tuple[str, str]]) -> None:
        """Keep records, (id, line) each, that are not for everybody's eyes: a Secret for each. Raises RescueError."""
        from base64 import b64encode  # lazy: whole sources are rare

        for id, line in named:
            self._send(
                SECRET,
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": f"{PREFIX}{entry}-{id}",
                        "namespace": self.namespace,
                        "labels": {LABEL: MANAGED_BY, ENTRY_LABEL: entry},
                    },
                    "immutable": True,
                    "data": {id: b64encode(line.encode()).decode()},
                },
            )

    def secrets(self, records: Iterable[Record]) -> dict[str, Record]:
        """Return what records say with nothing withheld, by id, where that is kept and the user may read it."""
        from base64 import b64decode  # lazy: whole sources are rare

        found: dict[str, Record] = {}
        for record in records:
            with contextlib.suppress(RescueError, ValueError, KeyError):
                there = self.cluster.get(SECRET, self.namespace, f"{PREFIX}{record.entry}-{record.id}")
                whole = from_line(b64decode(there["data"][record.id]).decode())
                # What everybody may read says what it must be.
                if without_secrets(whole) == record:
                    found[record.id] = whole
        return found

    def _add_keys(self, name: str, chunk: Sequence[tuple[str, str]]) -> None:
        ops: list[JSON] = []
        for key, line in chunk:
            ops += [
                {"op": "test", "path": f"/data/{key}", "value": None},
                {"op": "add", "path": f"/data/{key}", "value": line},
            ]
        wanted = {"data": dict(chunk)}
        try:
            check_kept(wanted, self.cluster.patch(CONFIGMAP, self.namespace, name, ops))
        except (TransportError, Overloaded, GuardFailed) as e:
            if not (may_have_landed(e) or isinstance(e, GuardFailed)):
                raise
            there = self.cluster.get(CONFIGMAP, self.namespace, name).get("data") or {}
            missing = [(key, line) for key, line in chunk if there.get(key) != line]
            if any(key in there for key, _ in missing):
                raise
            if missing:
                ops = [{"op": "add", "path": f"/data/{key}", "value": line} for key, line in missing]
                check_kept(wanted, self.cluster.patch(CONFIGMAP, self.namespace, name, ops))

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
                    self.dropped.append(not_understood(owner, where, f"key {key}", e))
                    continue
                found.setdefault(owner, []).append(record)
                if lacks_an_original(record):
                    self._lacking.setdefault(owner, []).append(record.id)
            if owner:
                self._parts.setdefault(owner, []).append((name, size))
                self._parts[owner].sort(key=lambda p: (len(p[0]), p[0]))
        for parts in self._parts.values():
            parts[:] = sorted(dict(parts).items(), key=lambda p: (len(p[0]), p[0]))
        return found

    def left_claim(self, entry: str, now: datetime) -> str | None:
        """Return a claim that was left behind. Raises ConflictError where somebody is undoing the entry."""
        old = self._claim_there(entry)
        if old is not None and not is_stale(old, now):
            raise self._is_undone_by(entry, old)
        return old

    def claim(self, entry: str, who: str, now: datetime) -> None:
        """Take the entry for an undo. Raises ConflictError where somebody else is undoing it."""
        self._write_claim(entry, self.left_claim(entry, now), who, now)

    def renew(self, entry: str, who: str, now: datetime) -> None:
        """Hold on to our claim, so that it does not lapse. Raises ConflictError where somebody else has it."""
        there = self._claim_there(entry)
        if there is None or there not in (self._claims.get(entry), self._tried.get(entry)):
            raise self._is_undone_by(entry, there)
        self._write_claim(entry, there, who, now)

    def _claim_there(self, entry: str) -> str | None:
        there: str | None = (
            self.cluster.get(CONFIGMAP, self.namespace, f"{PREFIX}{entry}").get("data") or {}
        ).get(CLAIM)
        return there

    def _write_claim(self, entry: str, old: str | None, who: str, now: datetime) -> None:
        mine = json.dumps({"who": who, "at": now.isoformat(timespec="seconds"), "by": own_process()})
        self._tried[entry] = mine
        ops = [
            {"op": "test", "path": f"/data/{CLAIM}", "value": old},
            {"op": "add", "path": f"/data/{CLAIM}", "value": mine},
        ]
        try:
            answer = self.cluster.patch(CONFIGMAP, self.namespace, f"{PREFIX}{entry}", ops)
            check_kept({"data": {CLAIM: mine}}, answer)
        except (GuardFailed, TransportError, Overloaded) as e:
            now_there = self._claim_there(entry)
            if now_there == old and not isinstance(e, GuardFailed):
                raise
            if now_there != mine:
                raise self._is_undone_by(entry, now_there) from e
        self._claims[entry] = mine

    @staticmethod
    def _is_undone_by(entry: str, claim: str | None) -> ConflictError:
        return ConflictError(
            f"entry {entry} is being undone by {claimed_by(claim or '')}",
            f"wait for it, then look: kubectl argo-rescue show {entry}",
            code=Code.CLAIMED,
        )

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
        """Delete the entry's ConfigMaps, and what was kept secret for it."""
        for id in self._lacking.pop(entry, ()):
            with contextlib.suppress(NotFound, Forbidden):
                self.cluster.delete(SECRET, self.namespace, f"{PREFIX}{entry}-{id}")
        for name, _ in self._find_parts(entry):
            try:
                self.cluster.delete(CONFIGMAP, self.namespace, name)
            except NotFound:
                continue


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


def check_kept(wanted: JSON, answer: JSON) -> None:
    """See that a ConfigMap holds what was written. Raises RescueError where it does not."""
    missing = first_missing(wanted, answer)
    if missing is not None:
        raise RescueError(
            f"the API server took it but {missing[0]} is not in its answer, as where an admission webhook "
            "or policy changes what is written"
        )
