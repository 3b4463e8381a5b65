"""What an entry keeps besides its records: whole objects, on this machine and in a Secret of the entry.

A record in a ConfigMap may be read by many; an Application's parameters may be secret. So whole
objects go into a file of this machine, and into a Secret only where the user may create and get
Secrets there already: our Role never grants that. The Secret has none of Argo CD's own labels.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from ..model.errors import AlreadyExists, Code, NotFound, RefusedError, RescueError
from ..model.values import JSON, SECRET, Key, Resource
from .configmaps import ENTRY_LABEL, LABEL, MANAGED_BY, PREFIX
from .local import SAVED_SUFFIX, LocalHome

PART_LIMIT: Final = 500_000
"""Bytes of objects in one Secret, before base64; the server's limit is 1 MiB with everything around."""


class _Cluster(Protocol):
    def get(self, resource: Resource, namespace: str, name: str) -> JSON: ...
    def create(self, resource: Resource, namespace: str, obj: JSON) -> JSON: ...
    def delete(self, resource: Resource, namespace: str, name: str) -> JSON: ...


class Saved:
    """The whole objects of entries, in both homes."""

    def __init__(self, local: LocalHome, cluster: _Cluster | None, namespace: str) -> None:
        """`cluster` is None where this user may not create and get Secrets in `namespace`."""
        self.local = local
        self.cluster = cluster
        self.namespace = namespace
        self.warn: Callable[[str], None] = lambda text: None

    def keep(self, entry: str, objects: Mapping[Key, JSON]) -> None:
        """Make objects durable in at least one home. Raises RefusedError where neither takes them."""
        failures = []
        try:
            self._write(entry, objects)
        except OSError as e:
            failures.append(f"on this machine ({e.strerror or e})")
        if self.cluster is None:
            failures.append("in a Secret (you may not create and get Secrets there)")
        else:
            try:
                for number, part in enumerate(_parts(objects)):
                    self.cluster.create(SECRET, self.namespace, _secret(entry, number, part))
            except AlreadyExists:
                failures.append("in a Secret (one of its name is there)")
            except RescueError as e:
                failures.append(f"in a Secret ({e.message})")
        if len(failures) == 2:
            raise RefusedError(
                "the whole objects cannot be saved anywhere: " + ", ".join(failures),
                "nothing more was changed; make one of the two writable",
                code=Code.JOURNAL,
            )
        for text in failures:
            self.warn(f"the whole objects of entry {entry} are not saved {text}")

    def read(self, entry: str) -> dict[Key, JSON]:
        """Return the objects of an entry that either home has."""
        found: dict[Key, JSON] = {}
        for folder in self.local.folders:
            path = folder / f"{entry}{SAVED_SUFFIX}"
            if path.is_file():
                found.update(_understood(path.read_text("utf-8", "replace").splitlines()))
        if self.cluster is not None and not found:
            found.update(_understood(self._secrets(entry)))
        return found

    def _secrets(self, entry: str) -> Iterator[str]:
        assert self.cluster is not None
        with contextlib.suppress(NotFound):
            for number in itertools.count():
                secret = self.cluster.get(SECRET, self.namespace, _name(entry, number))
                for value in (secret.get("data") or {}).values():
                    yield base64.b64decode(value).decode("utf-8", "replace")

    def remove(self, entry: str) -> None:
        """Delete the Secrets of an entry, where there are some. Raises RescueError."""
        if self.cluster is None:
            return
        with contextlib.suppress(NotFound):
            for number in itertools.count():
                self.cluster.delete(SECRET, self.namespace, _name(entry, number))

    def _write(self, entry: str, objects: Mapping[Key, JSON]) -> None:
        folder = Path(self.local.folders[0])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / f"{entry}{SAVED_SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            data = "".join(f"{_line(key, obj)}\n" for key, obj in objects.items()).encode()
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)


def _line(key: Key, obj: JSON) -> str:
    return json.dumps(
        {"kind": key.kind, "namespace": key.namespace, "name": key.name, "object": obj}, separators=(",", ":")
    )


def _understood(lines: Iterable[str]) -> dict[Key, JSON]:
    found: dict[Key, JSON] = {}
    for line in lines:
        try:
            one = json.loads(line)
            found[Key(str(one["kind"]), str(one["namespace"]), str(one["name"]))] = one["object"]
        except (ValueError, KeyError, TypeError):
            continue  # a torn last line
    return found


def _parts(objects: Mapping[Key, JSON]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    size = 0
    for key, obj in objects.items():
        line = _line(key, obj)
        if parts[-1] and size + len(line) > PART_LIMIT:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line)
    return parts


def _name(entry: str, number: int) -> str:
    return f"{PREFIX}{entry}" + (f"-{number}" if number else "")


def _secret(entry: str, number: int, lines: Sequence[str]) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": _name(entry, number),
            "labels": {LABEL: MANAGED_BY, ENTRY_LABEL: entry},
        },
        "data": {
            f"{i:05d}": base64.b64encode(line.encode("utf-8", "surrogatepass")).decode()
            for i, line in enumerate(lines)
        },
    }
