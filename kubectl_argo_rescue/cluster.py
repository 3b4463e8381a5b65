"""The API server as this tool uses it: objects, guarded patches, watches and what may go wrong.

The only module above the transports that knows about paths, status codes and retries. No discovery
and no OpenAPI download: the kinds that are addressed are known (model.Resource).
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from .errors import (
    AlreadyExists,
    ApiError,
    Expired,
    Forbidden,
    GuardFailed,
    Invalid,
    NotFound,
    NotServed,
    Overloaded,
    RescueError,
    StaleWrite,
    TransportError,
    Unauthorized,
)
from .model import ACCESSREVIEW, FIELD_MANAGER, GROUP, JSON, SUBJECTREVIEW, Resource
from .patches import encode
from .transports import LogsIn, Response, Target, Transport, one_line

T = TypeVar("T")
# Named here because `list` inside the class is its method.
Objects: TypeAlias = list[JSON]
Results: TypeAlias = list[T]
Query: TypeAlias = list[tuple[str, str]]

DEFAULT_TIMEOUT: Final = 30.0
PAGE: Final = 500
WATCH_GRACE: Final = 5.0
"""How long after its own end a watch may still be silent before it counts as dead."""

MAX_AT_ONCE: Final = 12
"""Requests that are under way together, watches left out."""

_TRIES: Final = 4
_BUSY_TRIES: Final = 10
"""The same where the server says 429, which is a queue and no trouble; kubectl has as many."""

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0
_SPREAD: Final = 0.25
"""By how much a pause that the server asks for is drawn out, so that not all come back at once."""

_QUIET_SECONDS: Final = 2.0
"""A wait that is longer is told."""

_SLOW_SECONDS: Final = 3.0
"""An answer that takes longer is late."""

_TALK_SECONDS: Final = 5.0
"""Waits are told no more often than this, however many there are."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of one list and the resourceVersion from which a watch goes on."""

    items: Objects
    resource_version: str


@dataclass(frozen=True, slots=True)
class Done:
    """One of several thunks went well."""

    value: JSON


@dataclass(frozen=True, slots=True)
class Failed:
    """One of several thunks raised."""

    error: Exception


Outcome: TypeAlias = Done | Failed
Outcomes: TypeAlias = list[Outcome]


def object_path(resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Give the path under which the API server serves this; without a name, the collection."""
    parts = ["apis", resource.group] if resource.group else ["api"]
    parts.append(resource.version)
    if resource.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    parts += [part for part in (name, subresource) if part]
    return "".join("/" + quote(part, safe="") for part in parts)


class Cluster:
    """One API server as one user. All methods may be called from several threads."""

    def __init__(
        self,
        transport: Transport,
        *,
        request_timeout: float | None = None,
        log: Callable[[str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Speak over `transport`.

        `request_timeout` bounds one request with all its repetitions, in seconds. `log` is told of
        each exchange: method, path, status, duration, and on further lines what was sent and came
        back, never a value, a body or a header of the user's. `on_warning` is told of each distinct
        text in the server's Warning headers.
        """
        self._transport = transport
        self._timeout = request_timeout
        self._log = log
        self._on_warning = on_warning
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._warned: set[str] = set()
        self._warned_lock = threading.Lock()
        self._waits = _Waits(self._is_logging_in)
        self._tell_date: Callable[[str, float], None] | None = None
        self._held: dict[tuple[str, str], tuple[float, ApiError]] = {}
        """What the server asked not to be asked again before a time, for the next call."""

    def tell_waits(self, say: Callable[[str], None]) -> None:
        """Have it said when a wait is long: the server asks for it, or an answer does not come."""
        self._waits.say = say

    def tell_dates(self, hear: Callable[[str, float], None]) -> None:
        """Pass on the Date of each answer, and how many seconds the answer took."""
        self._tell_date = hear

    def _is_logging_in(self) -> bool:
        return isinstance(self._transport, LogsIn) and self._transport.is_logging_in()

    @property
    def clock(self) -> Callable[[], float]:
        """The seconds that waiting is measured in."""
        return self._clock

    def sleep(self, seconds: float) -> None:
        """Wait between two looks."""
        self._sleep(seconds)

    def target(self) -> Target:
        """Name context, server and namespace; costs a subprocess the first time, so gather it."""
        return self._transport.target()

    def close(self) -> None:
        """End the transport."""
        self._transport.close()

    def __enter__(self) -> Cluster:
        """Use the cluster in a `with` block, which closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # -- reading

    def get(self, resource: Resource, namespace: str, name: str) -> JSON:
        """Read one object."""
        return self._call(
            "GET", object_path(resource, namespace, name), what=_what(resource, namespace, name)
        )

    def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
    ) -> Objects:
        """Read all objects of a kind, in one namespace or (where it is empty) in all."""
        return self.listing(
            resource, namespace, label_selector=label_selector, field_selector=field_selector, page=page
        ).items

    def listing(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
    ) -> Listing:
        """List, with the resourceVersion to watch from; begins again once where a page expired."""
        try:
            return self._listing(resource, namespace, label_selector, field_selector, page)
        except Expired:
            return self._listing(resource, namespace, label_selector, field_selector, page)

    def pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
    ) -> Iterator[Objects]:
        """Read page by page; raises Expired where the rest is too old to be read on."""
        for part in self._pages(resource, namespace, label_selector, field_selector, page):
            yield part.items

    def _listing(
        self, resource: Resource, namespace: str, label_selector: str, field_selector: str, page: int
    ) -> Listing:
        items: Objects = []
        version = ""
        for part in self._pages(resource, namespace, label_selector, field_selector, page):
            items += part.items
            version = part.resource_version
        return Listing(items, version)

    def _pages(
        self, resource: Resource, namespace: str, label_selector: str, field_selector: str, page: int
    ) -> Iterator[Listing]:
        query = _selectors(label_selector, field_selector)
        token = ""
        while True:
            where = [*query, ("limit", str(page)), *([("continue", token)] if token else [])]
            answer = self._call(
                "GET", object_path(resource, namespace), where, what=_what(resource, namespace)
            )
            meta = answer.get("metadata") or {}
            items = answer.get("items") or []
            for item in items:
                # A list of a built-in kind names the kind once, not in each item.
                item.setdefault("apiVersion", answer.get("apiVersion", ""))
                item.setdefault("kind", resource.kind)
            yield Listing(items, meta.get("resourceVersion", ""))
            token = meta.get("continue", "")
            if not token:
                return

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        name: str = "",
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout: float,
    ) -> Generator[tuple[str, JSON], None, None]:
        """Follow changes since `resource_version`: (ADDED, MODIFIED, DELETED or BOOKMARK, object).

        Ends by itself when the server closes the watch, at the latest after `timeout` seconds; go
        on from the last resourceVersion then. Raises Expired where it is too old, and
        TransportError where the connection was cut.
        """
        if name:
            field_selector = ",".join(filter(None, (field_selector, f"metadata.name={name}")))
        query = [
            *_selectors(label_selector, field_selector),
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(max(1, round(timeout)))),
        ]
        path = object_path(resource, namespace)
        what = _what(resource, namespace, name)
        began = self._clock()
        with self._transport.stream(path, query, timeout=max(1.0, timeout) + WATCH_GRACE) as (answer, lines):
            self._note("GET", path, query, answer.status, began)
            self._warn(answer)
            if answer.status != 200:
                raise api_error(answer, what, "GET")
            for line in lines:
                try:
                    event = json.loads(line)
                    kind, obj = event["type"], event["object"]
                except (ValueError, KeyError, TypeError) as error:
                    raise TransportError(f"the watch of {what} sent something that is no event") from error
                if kind == "ERROR":
                    raise status_error(obj, what, "GET")
                yield kind, obj

    def follow(
        self, resource: Resource, obj: JSON, wanted: Callable[[JSON], bool], timeout: float
    ) -> tuple[JSON, bool]:
        """Follow an object from how it was read until it is as `wanted`, at most `timeout` seconds.

        Gives it as seen last, and whether it came to that. Raises NotFound where it is deleted.
        """
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        deadline = self._clock() + timeout
        brief = 0
        while not wanted(obj):
            left = deadline - self._clock()
            if left <= 0:
                return obj, False
            began, asked = self._clock(), 0.0
            try:
                version = obj["metadata"]["resourceVersion"]
                for kind, seen in self.watch(
                    resource, namespace, name=name, resource_version=version, timeout=left
                ):
                    if kind == "DELETED":
                        what = _what(resource, namespace, name)
                        raise NotFound(f"{what} was deleted meanwhile", status=404)
                    obj = seen if kind != "BOOKMARK" else obj
                    if wanted(obj):
                        return obj, True
            except (Expired, TransportError, Overloaded) as error:
                asked = getattr(error, "retry_after", None) or 0.0
            # However it ended: what came meanwhile may have been lost on the way.
            fresh = self.get(resource, namespace, name)
            obj = obj if is_older(fresh, obj) else fresh
            # One watch after the other that ends at once would be a load of its own.
            brief = brief + 1 if self._clock() - began < 1.0 else 0
            pause = max(asked, self.backoff(brief) if brief > 1 else 0.0)
            if pause and not wanted(obj):
                self._sleep(max(0.0, min(pause, deadline - self._clock())))
        return obj, True

    def backoff(self, tries: int) -> float:
        """Give the seconds to wait after so many failures in a row."""
        return min(_FIRST_PAUSE * 2.0 ** (tries - 1), _LONGEST_PAUSE) * (0.5 + self._jitter())

    # -- writing

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        ops: Sequence[JSON],
        *,
        dry_run: bool = False,
    ) -> JSON:
        """Apply an RFC 6902 patch, all of it or nothing, and give the object afterwards.

        Never sent a second time unless the first one was certainly not carried out. On
        TransportError and Overloaded only a read tells whether it was.
        """
        return self._call(
            "PATCH",
            object_path(resource, namespace, name),
            _write_query(dry_run),
            body=encode(ops),
            content_type="application/json-patch+json",
            what=_what(resource, namespace, name),
        )

    def is_current(self, resource: Resource, obj: JSON) -> bool:
        """Whether what is stored still has the spec that was read.

        A cache that lags, in the API server or before it, gives old answers; a patch of tests alone
        is judged by what is stored. Where the server does not judge it, what was read is believed.
        """
        meta = obj["metadata"]
        ops: list[JSON] = [{"op": "test", "path": "/metadata/uid", "value": meta["uid"]}]
        if "spec" in obj:
            ops.append({"op": "test", "path": "/spec", "value": obj["spec"]})
        try:
            self.patch(resource, meta.get("namespace", ""), meta["name"], ops, dry_run=True)
        except (GuardFailed, NotFound):
            return False
        except (Forbidden, Invalid):
            return True
        return True

    def create(self, resource: Resource, namespace: str, obj: JSON, *, dry_run: bool = False) -> JSON:
        """Create an object; raises AlreadyExists where there is one of this name."""
        name = (obj.get("metadata") or {}).get("name", "")
        return self._call(
            "POST",
            object_path(resource, namespace),
            _write_query(dry_run),
            body=encode(obj),
            what=_what(resource, namespace, name),
        )

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        dry_run: bool = False,
    ) -> JSON:
        """Delete an object, with `uid` only that very one (StaleWrite where it is another)."""
        preconditions = {
            key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value
        }
        options: dict[str, JSON] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions:
            options["preconditions"] = preconditions
        if dry_run:
            # In the body: the server looks at the query only where there is no body.
            options["dryRun"] = ["All"]
        return self._call(
            "DELETE",
            object_path(resource, namespace, name),
            body=encode(options),
            what=_what(resource, namespace, name),
        )

    # -- who may what

    def review_access(
        self, verb: str, resource: Resource, namespace: str = "", name: str = "", *, subresource: str = ""
    ) -> bool:
        """Ask whether this user may do this, as `kubectl auth can-i` does."""
        attributes = {
            "verb": verb,
            "group": resource.group,
            "version": resource.version,
            "resource": resource.plural,
            "subresource": subresource,
            "namespace": namespace if resource.namespaced else "",
            "name": name,
        }
        review = self._review(
            ACCESSREVIEW, {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        )
        return (review.get("status") or {}).get("allowed") is True

    def whoami(self) -> JSON | None:
        """Give {username, uid, groups, extra} of this user; None where the server cannot say."""
        try:
            review = self._review(SUBJECTREVIEW, {})
        except NotFound:
            return None  # before Kubernetes 1.28
        except Forbidden:
            return None
        return (review.get("status") or {}).get("userInfo")

    def _review(self, resource: Resource, spec: JSON) -> JSON:
        body: dict[str, JSON] = {
            "apiVersion": f"{resource.group}/{resource.version}",
            "kind": resource.kind,
        }
        if spec:
            body["spec"] = spec
        # A review changes nothing, so it may be asked again like any GET.
        return self._call(
            "POST", object_path(resource), body=encode(body), what=_what(resource), repeatable=True
        )

    # -- several at once

    def gather(self, *thunks: Callable[[], T]) -> Results[T]:
        """Run thunks side by side and give their results in order; raises the first error in order."""
        return gather(*thunks)

    def gather_outcomes(self, *thunks: Callable[[], JSON]) -> Outcomes:
        """Run thunks side by side and give each one's value or error, in order."""
        return gather_outcomes(*thunks)

    # -- one exchange

    def _call(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        what: str,
        repeatable: bool = False,
    ) -> JSON:
        headers = {"Content-Type": content_type} if body is not None else None
        repeatable = repeatable or method == "GET"
        budget = DEFAULT_TIMEOUT if self._timeout is None else self._timeout
        began = self._clock()
        reauthenticated = False
        tries = 0
        while True:
            tries += 1
            if tries == 1:
                self._keep_away(method, path, what, began + budget if budget else None)
            left = budget - (self._clock() - began) if budget else None
            sent_at = self._clock()
            error: ApiError | TransportError
            asked: float | None = None
            limit = _TRIES
            try:
                with self._waits.watching(what, budget):
                    answer = self._transport.request(method, path, query, headers, body, left)
            except TransportError as fault:
                self._note(method, path, query, 0, sent_at, (content_type, body))
                error = fault
                again = not fault.lasting and (repeatable or not fault.sent)
            else:
                self._note(method, path, query, answer.status, sent_at, (content_type, body), answer)
                self._warn(answer)
                # A 5xx may come from a proxy on this machine, whose clock is no news.
                if self._tell_date and answer.status < 500 and (date := answer.headers.get("date")):
                    self._tell_date(date, self._clock() - sent_at)
                if 200 <= answer.status < 300:
                    return _parse(answer, what)
                error = api_error(answer, what, method)
                if isinstance(error, NotServed) and path.startswith(f"/apis/{GROUP}/"):
                    error = _without_crds(path)
                # The API server refuses with 429 before it acts; a 5xx may come after it has.
                again = answer.status == 429 or (repeatable and answer.status >= 500)
                asked = error.retry_after
                if asked is not None:
                    self._held[method, path] = self._clock() + asked, error
                limit = _BUSY_TRIES if answer.status == 429 else _TRIES
                if answer.status == 401 and not reauthenticated:
                    # A token that just ran out: the exec plugin is asked anew with the next request.
                    reauthenticated = True
                    continue
            pause = self.backoff(tries)
            if asked is not None:
                pause = max(asked, _FIRST_PAUSE) * (1 + _SPREAD * self._jitter())
            waited = self._clock() - began
            if not again or tries >= limit or (budget and waited + pause >= budget):
                passes = isinstance(error, Overloaded) or not getattr(error, "lasting", True)
                if not error.hint and passes:
                    error.hint = "run it again when the API server answers"
                raise error
            if waited + pause >= _QUIET_SECONDS:
                self._waits.tell_pause(what, error, asked, pause)
            self._sleep(pause)

    def _keep_away(self, method: str, path: str, what: str, deadline: float | None) -> None:
        """Wait as long as the server asked for; raises its answer again where that is too long."""
        until, error = self._held.get((method, path), (0.0, None))
        left = until - self._clock()
        if error is None or left <= 0:
            return
        pause = left + _SPREAD * error.retry_after * self._jitter() if error.retry_after else left
        if deadline is not None and self._clock() + pause >= deadline:
            raise error
        if pause >= _QUIET_SECONDS:
            self._waits.tell_pause(what, error, error.retry_after, pause)
        self._sleep(pause)

    def _note(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        status: int,
        since: float,
        sent: tuple[str, bytes | None] = ("", None),
        answer: Response | None = None,
    ) -> None:
        if self._log is None:
            return
        milliseconds = (self._clock() - since) * 1000
        asked = f"?{urlencode(query, safe='/=,')}" if query else ""
        lines = [f"{method} {path}{asked} {_status_text(status)} in {milliseconds:.0f} ms"]
        said = _sent(*sent)
        lines += [f"    sent: {said}"] if said else []
        lines += [f"    came: {_came(answer)}"] if answer is not None else []
        self._log("\n".join(lines))

    def _warn(self, answer: Response) -> None:
        header = answer.headers.get("warning")
        if not header or self._on_warning is None:
            return
        for text in warnings_in(header):
            with self._warned_lock:
                new = text not in self._warned
                self._warned.add(text)
            if new:
                self._on_warning(text)


class _Waits:
    """Tells of long waits, so that nobody sits before a silent terminal; never twice within seconds."""

    def __init__(self, is_logging_in: Callable[[], bool]) -> None:
        self.say: Callable[[str], None] | None = None
        self._is_logging_in = is_logging_in
        self._lock = threading.Lock()
        self._under_way: dict[int, tuple[float, str, float]] = {}
        self._told = -_TALK_SECONDS
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, what: str, budget: float) -> Iterator[None]:
        """Tell when the answer to a request is late."""
        if self.say is None:
            yield
            return
        mark = threading.get_ident()
        with self._lock:
            self._under_way[mark] = (time.monotonic(), what, budget)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="waits", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[mark]

    def tell_pause(self, what: str, error: RescueError, asked: float | None, pause: float) -> None:
        """Tell that a request is made again later, and why."""
        if asked is None:
            self._tell(f"trying again in {pause:.0f} s: {error.message}")
        else:
            status = _status_text(getattr(error, "status", 0))
            self._tell(f"the API server asks to wait {asked:g} s ({status}): {what}")

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(1.0)
            with self._lock:
                if not self._under_way:
                    self._thread = None  # the next request starts another
                    return
                oldest = min(self._under_way.values())
            if time.monotonic() - oldest[0] < _SLOW_SECONDS or self._is_logging_in():
                continue
            since, what, budget = oldest
            limit = f"; it is waited for up to {budget:g} s, see --request-timeout" if budget else ""
            self._tell(f"no answer from the API server for {time.monotonic() - since:.0f} s: {what}{limit}")

    def _tell(self, text: str) -> None:
        with self._lock:
            now = time.monotonic()
            if self.say is None or now - self._told < _TALK_SECONDS:
                return
            self._told = now
        self.say(text)


def gather(*thunks: Callable[[], T]) -> list[T]:
    """Run thunks side by side and give their results in order; raises the first error in order."""
    results: list[T] = []
    for outcome in gather_outcomes(*thunks):
        if isinstance(outcome, Failed):
            raise outcome.error
        results.append(outcome.value)
    return results


def gather_outcomes(*thunks: Callable[[], JSON]) -> list[Outcome]:
    """Run thunks side by side and give each one's value or error, in order.

    The threads are daemons: after Ctrl-C nothing waits for requests that nobody wants any more.
    """
    outcomes: list[Outcome | None] = [None] * len(thunks)
    waiting = iter(enumerate(thunks))
    lock = threading.Lock()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                index, thunk = next(waiting, (-1, None))
            if thunk is None:
                return
            outcomes[index] = _outcome(thunk)

    if len(thunks) < 2:
        return [_outcome(thunk) for thunk in thunks]
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(MAX_AT_ONCE, len(thunks)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stopped.set()
    return [outcome for outcome in outcomes if outcome is not None]


def is_older(one: JSON, other: JSON) -> bool:
    """Whether an answer about an object is from before another one: what gave it lags."""
    versions = [str(obj["metadata"].get("resourceVersion", "")) for obj in (one, other)]
    if one["metadata"].get("uid") != other["metadata"].get("uid") or not all(map(str.isdigit, versions)):
        return False
    return int(versions[0]) < int(versions[1])


def _outcome(thunk: Callable[[], JSON]) -> Outcome:
    try:
        return Done(thunk())
    except Exception as error:
        return Failed(error)


def _what(resource: Resource, namespace: str = "", name: str = "") -> str:
    if not name:
        return f"{resource.plural} in {namespace}" if namespace else resource.plural
    return f"{resource.kind} {namespace}/{name}" if namespace else f"{resource.kind} {name}"


def _selectors(label_selector: str, field_selector: str) -> Query:
    both = (("labelSelector", label_selector), ("fieldSelector", field_selector))
    return [(key, value) for key, value in both if value]


def _write_query(dry_run: bool) -> Query:
    query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
    return [*query, ("dryRun", "All")] if dry_run else query


def _status_text(status: int) -> str:
    from http import HTTPStatus  # lazy: the transports bring it, --help does not

    if not status:
        return "no answer"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _sent(content_type: str, body: bytes | None) -> str:
    """Describe a request's body without its values: there may be secrets in them."""
    if body is None:
        return ""
    text = f"{content_type}, {len(body)} bytes"
    ops = json.loads(body)
    if not isinstance(ops, list) or not all(isinstance(op, dict) for op in ops):
        return text
    return f"{text}: " + ", ".join(f"{op.get('op')} {op.get('path')}" for op in ops)


def _came(answer: Response) -> str:
    kept = ("content-type", "audit-id", "retry-after", "x-kubernetes-pf-flowschema-uid")
    said = [f"{name}: {answer.headers[name]}" for name in kept if name in answer.headers]
    return ", ".join([f"{len(answer.body)} bytes", *said])


def _parse(answer: Response, what: str) -> JSON:
    try:
        parsed = json.loads(answer.body)
    except ValueError as error:
        raise TransportError(
            f"the answer about {what} is no JSON", "is this a Kubernetes API server?"
        ) from error
    if not isinstance(parsed, dict):
        raise TransportError(f"the answer about {what} is no object", "is this a Kubernetes API server?")
    return parsed


def _retry_after(answer: Response) -> float | None:
    value = answer.headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None


_WARNING = re.compile(r'\d{3} [^ "]+ "((?:[^"\\]|\\.)*)"')


def warnings_in(header: str) -> list[str]:
    """Give the texts of a Warning header (RFC 7234 section 5.5)."""
    return [one_line(re.sub(r"\\(.)", r"\1", text)) for text in _WARNING.findall(header)]


def api_error(answer: Response, what: str, method: str) -> ApiError:
    """Make the right error of an answer that is not success."""
    try:
        status = json.loads(answer.body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        # A load balancer or a panic: no Status, often a page of HTML.
        text = re.sub(r"<[^>]*>", " ", answer.body[:2000].decode("utf-8", "replace"))
        status = {"message": text}
    return status_error({**status, "code": answer.status}, what, method, _retry_after(answer))


def _without_crds(path: str) -> NotServed:
    words = path.split("/")[4:]
    plural = words[2] if words[0] == "namespaces" and len(words) > 2 else words[0]
    return NotServed(
        f"Argo CD's CRDs are not installed: {plural}.{GROUP} is not served by this cluster",
        "is this the right context?",
        status=404,
    )


def status_error(
    status: Mapping[str, JSON], what: str, method: str, retry_after: float | None = None
) -> ApiError:
    """Make the right error of a Kubernetes Status object, as an answer or in an ERROR event."""
    code = status.get("code") or 0
    reason = status.get("reason") or ""
    causes = tuple(c for c in (status.get("details") or {}).get("causes") or () if isinstance(c, dict))
    fields = tuple(str(cause.get("field", "")) for cause in causes)
    said = shorten(status.get("message") or "", causes)
    kind: type[ApiError] = ApiError
    hint = ""
    if code == 404:
        kind = NotFound if (status.get("details") or {}).get("name") else NotServed
    elif code == 401:
        kind = Unauthorized
        hint = "log in again: the server does not accept these credentials"
    elif code == 403:
        kind = Forbidden
    elif code == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else StaleWrite
    elif code == 410 or reason == "Expired":
        kind = Expired
    elif code == 422 and not causes and method == "PATCH":
        kind = GuardFailed
    elif code in (400, 405, 406, 413, 415, 422):
        kind = Invalid
    elif code == 429 or code >= 500:
        kind = Overloaded
        hint = f"the server asks to wait {retry_after:g} s" if retry_after else ""
    return kind(
        f"{what}: {said}" if said else f"{what}: the server answered {code} {reason}".rstrip(),
        hint,
        status=code,
        reason=reason,
        causes=fields,
        retry_after=retry_after,
    )


# The server quotes the rejected value, which for strict validation is the whole object.
_VALUE = re.compile(r'Invalid value: (?:"(?:[^"\\]|\\.){40,}"|(?:[\w.*/\[\]]+)?\{.{40,}\}): ', re.DOTALL)


def shorten(message: str, causes: Sequence[Mapping[str, JSON]] = ()) -> str:
    """Cut what the server said to one line without the object that it quotes."""
    if causes and len(message) > 200:
        parts = [f"{cause.get('field', '')}: {cause.get('message', '')}".strip(": ") for cause in causes]
        message = "; ".join(dict.fromkeys(parts)) or message
    return one_line(_VALUE.sub("", message))
