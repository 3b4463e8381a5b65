"""Objects by kind and name, with one revision counter and a bounded history of changes, as etcd has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ..model.values import Resource


class Change(Struct, frozen=True):
    """One write: what the object is now, and what it was before."""

    revision: int
    type: str
    """ADDED, MODIFIED or DELETED, as in a watch."""
    resource: Resource
    namespace: str
    name: str
    object: Any
    """The new state; of a deletion the last state with the revision of the deletion."""
    previous: Any
    """The state before, None of a creation."""


class Store:
    """Never changes an object in place: what was handed out stays as it was."""

    def __init__(self, history: int) -> None:
        """Keep so many changes; older ones are compacted."""
        self.revision = 1
        self._objects: dict[Resource, dict[tuple[str, str], Any]] = {}
        self._unsorted: set[Resource] = set()
        self._history = history
        self._changes: deque[Change] = deque()
        self.compacted = 0
        """Changes up to this revision are forgotten."""

    def get(self, resource: Resource, namespace: str, name: str) -> Any:
        """The stored object itself, not to be changed; None where there is none."""
        return self._objects.get(resource, {}).get((namespace, name))

    def put(self, resource: Resource, obj: Any) -> Any:
        """Store this state, stamped with a new revision."""
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        kept = self._objects.setdefault(resource, {})
        previous = kept.get(key)
        if previous is None:
            self._unsorted.add(resource)
        stamped = self._stamped(obj)
        kept[key] = stamped
        self._record("MODIFIED" if previous else "ADDED", resource, key, stamped, previous)
        return stamped

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Take the object out."""
        previous = self._objects[resource].pop((namespace, name))
        self._record("DELETED", resource, (namespace, name), self._stamped(previous), previous)

    def _stamped(self, obj: Any) -> Any:
        self.revision += 1
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}

    def _record(self, change: str, resource: Resource, key: tuple[str, str], obj: Any, previous: Any) -> None:
        self._changes.append(Change(self.revision, change, resource, *key, obj, previous))
        while len(self._changes) > self._history:
            self.compacted = self._changes.popleft().revision

    def compact(self, keep: int = 0) -> None:
        """Forget all but the last changes, so that older revisions are expired."""
        while len(self._changes) > keep:
            self.compacted = self._changes.popleft().revision

    def objects(self, resource: Resource, namespace: str = "") -> list[Any]:
        """All objects in the order in which etcd keeps them."""
        if resource in self._unsorted:
            self._objects[resource] = _in_order(self._objects[resource])
            self._unsorted.remove(resource)
        return _within(self._objects.get(resource, {}), namespace)

    def objects_at(self, resource: Resource, namespace: str, revision: int) -> list[Any] | None:
        """The same as of an older revision; None where that is no longer known."""
        if revision < self.compacted:
            return None
        kept = dict(self._objects.get(resource, {}))
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            if change.resource == resource:
                key = (change.namespace, change.name)
                if change.previous is None:
                    kept.pop(key, None)
                else:
                    kept[key] = change.previous
        return _within(_in_order(kept), namespace)

    def since(self, revision: int) -> Iterator[Change]:
        """What was written after that revision, oldest first."""
        found: list[Change] = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            found.append(change)
        return reversed(found)


def etcd_key(namespace: str, name: str) -> str:
    """The end of an object's key in etcd, by which lists are sorted and continued."""
    return f"{namespace}/{name}" if namespace else name


def _in_order(kept: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    return {key: kept[key] for key in sorted(kept, key=lambda key: etcd_key(*key))}


def _within(kept: dict[tuple[str, str], Any], namespace: str) -> list[Any]:
    return [obj for key, obj in kept.items() if not namespace or key[0] == namespace]
