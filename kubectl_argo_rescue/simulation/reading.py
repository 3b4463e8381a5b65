"""Lists and watches of the in-memory API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from msgspec import Struct

from ..cluster.transport import Response
from ..model.errors import TransportError
from ..model.values import JSON
from .selectors import Selector, field_selector, label_selector
from .status import StatusError, expired
from .store import Change, Store
from .wire import (
    Call,
    answer,
    encode,
    key_of,
    number_of,
    partial,
    read_token,
    revision_of,
    wants_metadata,
    write_token,
)


class Watch(Struct):
    """One open watch and how far it has come."""

    call: Call
    at: int
    selected: Selector
    first: list[JSON]
    seconds: int
    bookmarks: bool
    cuts: int


class Reader:
    """Lists and watches one store. `idle` is called while a watch has nothing to say."""

    def __init__(self, store: Store, clock: Callable[[], datetime], changed: threading.Condition) -> None:
        """`changed` is notified after every write and guards the store."""
        self._store = store
        self._clock = clock
        self._changed = changed
        self._idling = threading.RLock()
        self.idle: Callable[[], object] | None = None
        self.cuts = 0
        """How often all watches were cut."""

    def list_(self, call: Call) -> Response:
        """A list, or one page of it."""
        selected = self._selector(call)
        limit = number_of(call.request.parameter("limit"))
        token = call.request.parameter("continue")
        revision, start = self._store.revision, ""
        objects: list[JSON] | None
        if token:
            revision, start = read_token(token)
            if revision < 0:
                revision = self._store.revision
            objects = self._store.objects_at(call.resource, call.namespace, revision)
            if objects is None:
                raise expired(
                    "The provided continue parameter is too old to display a consistent list result. "
                    "You can start a new list without the continue parameter, or use the continue "
                    "token in this response to retrieve the remainder of the results. Continuing with "
                    "the provided token results in an inconsistent list - objects that were created, "
                    "modified, or deleted between the time the first chunk was returned and now may "
                    "show up in the list.",
                    write_token(-1, start),
                )
        else:
            self._not_too_new(call.request.parameter("resourceVersion"))
            objects = self._store.objects(call.resource, call.namespace)
        chosen = [obj for obj in objects if key_of(obj) >= start and selected(obj)]
        meta: dict[str, JSON] = {"resourceVersion": str(revision)}
        if call.kind.custom and not wants_metadata(call):
            meta["continue"] = ""
        if 0 < limit < len(chosen):
            last = key_of(chosen[limit - 1])
            meta["continue"] = write_token(revision, last + "\0")
            if not call.request.parameter("labelSelector") and not call.request.parameter("fieldSelector"):
                meta["remainingItemCount"] = len(chosen) - limit
            chosen = chosen[:limit]
        items = [partial(call, obj) for obj in chosen]
        version = f"{call.resource.group}/{call.resource.version}".lstrip("/")
        found: dict[str, JSON] = {
            "apiVersion": version,
            "kind": f"{call.resource.kind}List",
            "metadata": meta,
            "items": items,
        }
        if wants_metadata(call):
            found |= {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList"}
        elif not call.kind.custom:
            # Items of built-in kinds go without their type (apimachinery: typed lists).
            found["items"] = [
                {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
                for item in items
            ]
        return answer(200, found)

    def _not_too_new(self, version: str) -> None:
        if revision_of(version) > self._store.revision:
            message = f"Timeout: Too large resource version: {version}, current: {self._store.revision}"
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            raise StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})

    def _selector(self, call: Call) -> Selector:
        labels = call.request.parameter("labelSelector")
        fields = call.request.parameter("fieldSelector")
        by_label = label_selector(labels)
        by_field, _ = field_selector(fields, call.resource.kind)
        return lambda obj: by_label(obj) and by_field(obj)

    def watch(self, call: Call) -> Watch:
        """Open a watch."""
        version = call.request.parameter("resourceVersion")
        at = revision_of(version, watching=True)
        selected = self._selector(call)
        first: list[JSON] = []
        if at == 0:
            at = self._store.revision
            first = [o for o in self._store.objects(call.resource, call.namespace) if selected(o)]
        seconds = number_of(call.request.parameter("timeoutSeconds")) or 1800
        bookmarks = call.request.parameter("allowWatchBookmarks") in ("1", "true")
        return Watch(call, at, selected, first, seconds, bookmarks, self.cuts)

    def events(self, watch: Watch, timeout: float | None) -> Iterator[bytes]:
        """The lines of a watch, until its time is over or its history gone."""
        for obj in watch.first:
            yield _event(watch, "ADDED", obj)
        opened = heard = marked = self._clock()
        while True:
            with self._changed:
                if watch.cuts != self.cuts:
                    raise TransportError("the connection was cut while watching")
                lines, lost = self._news(watch)
            yield from lines
            if lost:
                return
            now = self._clock()
            if lines:
                heard = now
                continue
            if (now - opened).total_seconds() >= watch.seconds:
                if watch.bookmarks:
                    yield self._bookmark(watch)
                return
            if timeout is not None and (now - heard).total_seconds() >= timeout:
                raise TransportError(f"no answer within {timeout:g} s while watching")
            if watch.bookmarks and (now - marked).total_seconds() >= 60:
                heard = marked = now
                yield self._bookmark(watch)
                continue
            if not self._waited(watch, timeout):
                if timeout is not None and timeout < watch.seconds:
                    raise TransportError(f"no answer within {timeout:g} s while watching")
                if watch.bookmarks:
                    yield self._bookmark(watch)
                return

    def _waited(self, watch: Watch, timeout: float | None) -> bool:
        """Let the world go on; False where nothing will come in the time that is left."""
        if self.idle is not None:
            before = (self._clock(), self._store.revision)
            with self._idling:
                self.idle()
            time.sleep(0)  # whoever waits for the processor comes first: time must not run away from them
            return (self._clock(), self._store.revision) != before
        with self._changed:
            if self._store.revision > watch.at or watch.cuts != self.cuts:
                return True
            return self._changed.wait(min(watch.seconds, timeout or watch.seconds))

    def _news(self, watch: Watch) -> tuple[list[bytes], bool]:
        if watch.at < self._store.compacted:
            error = expired(f"too old resource version: {watch.at} ({self._store.compacted})")
            return [encode({"type": "ERROR", "object": error.body})], True
        lines = []
        for change in self._store.since(watch.at):
            watch.at = change.revision
            seen = _seen(watch, change)
            if seen:
                lines.append(_event(watch, seen, change.object))
        return lines, False

    def _bookmark(self, watch: Watch) -> bytes:
        resource = watch.call.resource
        meta: dict[str, JSON] = {"resourceVersion": str(max(watch.at, self._store.revision))}
        if not watch.call.kind.custom:
            meta["creationTimestamp"] = None
        version = f"{resource.group}/{resource.version}".lstrip("/")
        obj = {"apiVersion": version, "kind": resource.kind, "metadata": meta}
        return encode({"type": "BOOKMARK", "object": obj})


def _seen(watch: Watch, change: Change) -> str:
    """The type under which this watch sees a change: a label taken away is a deletion to it."""
    call = watch.call
    if change.resource != call.resource or (call.namespace and change.namespace != call.namespace):
        return ""
    was = change.previous is not None and watch.selected(change.previous)
    now = change.type != "DELETED" and watch.selected(change.object)
    if was and now:
        return "MODIFIED"
    return "ADDED" if now else "DELETED" if was else ""


def _event(watch: Watch, change: str, obj: JSON) -> bytes:
    return encode({"type": change, "object": partial(watch.call, obj)})
