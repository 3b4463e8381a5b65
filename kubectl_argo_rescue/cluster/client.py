"""The API server as this tool uses it: objects, guarded patches, watches and what may go wrong.

No discovery and no OpenAPI download: the kinds that are addressed are known (`Resource` in `model/values`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

from ..model.errors import Expired, Forbidden, GuardFailed, Invalid, NotFound, Overloaded, TransportError
from ..model.patches import encode
from ..model.values import ACCESSREVIEW, FIELD_MANAGER, JSON, SUBJECTREVIEW, Resource, whole_kind
from .answers import Read, api_error, status_error
from .exchange import Exchange
from .parallel import Attempts, gather, gather_outcomes
from .transport import Proves, Target, Transport

T = TypeVar("T")

# Named here because `list` inside the class is its method.
Objects: TypeAlias = list[JSON]

Results: TypeAlias = list[T]

Query: TypeAlias = list[tuple[str, str]]

PAGE: Final = 500

PAGE_OF_APPLICATIONS: Final = 250
"""Of 18 kB each they need 35 MB as Python objects."""

WATCH_GRACE: Final = 5.0
"""How long after its own end a watch may still be silent before it counts as dead."""


class Listing(NamedTuple):
    """The objects of one list and the resourceVersion from which a watch goes on."""

    items: Objects
    resource_version: str


def object_path(resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Give the path under which the API server serves this; without a name, the collection."""
    parts = ["apis", resource.group] if resource.group else ["api"]
    parts.append(resource.version)
    if resource.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    parts += [part for part in (name, subresource or (name and resource.subresource)) if part]
    return "".join("/" + quote(part, safe="") for part in parts)


def _random() -> float:
    import random  # lazy: most commands never wait

    return random.random()


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
        jitter: Callable[[], float] = _random,
    ) -> None:
        """Speak over `transport`.

        `request_timeout` bounds one request with all its repetitions, in seconds. `log` is told of
        each exchange: method, path, status, duration, and on further lines what was sent and came
        back, never a value, a body or a header of the user's. `on_warning` is told of each distinct
        text in the server's Warning headers.
        """
        self._transport = transport
        self._sleep = sleep
        self._clock = clock
        self._exchange = Exchange(
            transport,
            timeout=request_timeout,
            log=log,
            on_warning=on_warning,
            sleep=sleep,
            clock=clock,
            jitter=jitter,
        )

    def tell_waits(self, say: Callable[[str], None]) -> None:
        """Have it said when a wait is long: the server asks for it, or an answer does not come."""
        self._exchange.tell_waits(say)

    def tell_dates(self, hear: Callable[[str, float], None]) -> None:
        """Pass on the Date of each answer, and how many seconds the answer took."""
        self._exchange.tell_dates(hear)

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

    def identity(self) -> str:
        """Return what the connection tells of the cluster: digest of its server and certificate authority."""
        authority = self._transport.authority() if isinstance(self._transport, Proves) else ""
        import hashlib  # lazy: OpenSSL takes as long as half of ours

        return hashlib.sha256(f"{self.target().server}\n{authority.strip()}".encode()).hexdigest()[:32]

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
        answer = self._exchange.call(
            "GET", object_path(resource, namespace, name), what=_what(resource, namespace, name)
        )
        return _named_after(resource, answer)

    def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
        read: Read = json.loads,
    ) -> Objects:
        """Read all objects of a kind, in one namespace or (where it is empty) in all."""
        return self.listing(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            page=page,
            read=read,
        ).items

    def listing(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
        read: Read = json.loads,
    ) -> Listing:
        """List, with the resourceVersion to watch from; begins again once where a page expired.

        `read` reads each page: whole, or of each object what the caller asks of it.
        """
        try:
            return self._listing(resource, namespace, label_selector, field_selector, page, read)
        except Expired:
            return self._listing(resource, namespace, label_selector, field_selector, page, read)

    def pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
        read: Read = json.loads,
    ) -> Iterator[Objects]:
        """Read page by page; raises Expired where the rest is too old to be read on."""
        for part in self._pages(resource, namespace, label_selector, field_selector, page, read):
            yield part.items

    def _listing(
        self,
        resource: Resource,
        namespace: str,
        label_selector: str,
        field_selector: str,
        page: int,
        read: Read,
    ) -> Listing:
        items: Objects = []
        version = ""
        for part in self._pages(resource, namespace, label_selector, field_selector, page, read):
            items += part.items
            version = part.resource_version
        return Listing(items, version)

    def _pages(
        self,
        resource: Resource,
        namespace: str,
        label_selector: str,
        field_selector: str,
        page: int,
        read: Read,
    ) -> Iterator[Listing]:
        query = _selectors(label_selector, field_selector)
        token = ""
        while True:
            where = [*query, ("limit", str(page)), *([("continue", token)] if token else [])]
            answer = self._exchange.call(
                "GET", object_path(resource, namespace), where, what=_what(resource, namespace), read=read
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
            self._exchange.note("GET", path, query, answer.status, began)
            self._exchange.warn(answer)
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
        return self._exchange.backoff(tries)

    # -- writing

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        ops: Sequence[JSON],
        *,
        dry_run: bool = False,
        read: Read = json.loads,
    ) -> JSON:
        """Apply an RFC 6902 patch, all of it or nothing, and give the object afterwards, as `read` reads it.

        Never sent a second time unless the first one was certainly not carried out. On
        TransportError and Overloaded only a read tells whether it was.
        """
        answer = self._exchange.call(
            "PATCH",
            object_path(resource, namespace, name),
            _write_query(dry_run),
            body=encode(ops),
            content_type="application/json-patch+json",
            what=_what(resource, namespace, name),
            read=read,
        )
        return _named_after(resource, answer)

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
        return self._exchange.call(
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
        return self._exchange.call(
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
            "subresource": subresource or resource.subresource,
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
        return self._exchange.call(
            "POST", object_path(resource), body=encode(body), what=_what(resource), repeatable=True
        )

    # -- several at once

    def gather(self, *thunks: Callable[[], T]) -> Results[T]:
        """Run thunks side by side and give their results in order; raises the first error in order."""
        return gather(*thunks)

    def gather_outcomes(self, *thunks: Callable[[], JSON]) -> Attempts:
        """Run thunks side by side and give each one's value or error, in order."""
        return gather_outcomes(*thunks)


def is_older(one: JSON, other: JSON) -> bool:
    """Whether an answer about an object is from before another one: what gave it lags."""
    versions = [str(obj["metadata"].get("resourceVersion", "")) for obj in (one, other)]
    if one["metadata"].get("uid") != other["metadata"].get("uid") or not all(map(str.isdigit, versions)):
        return False
    return int(versions[0]) < int(versions[1])


def _named_after(resource: Resource, obj: JSON) -> JSON:
    """Give a subresource the kind by which it was asked for: the server calls the scale of all kinds Scale."""
    if resource.subresource and isinstance(obj, dict):
        obj["kind"] = resource.kind
    return obj


def _what(resource: Resource, namespace: str = "", name: str = "") -> str:
    if not name:
        return f"{resource.plural} in {namespace}" if namespace else resource.plural
    kind = whole_kind(resource.kind)
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _selectors(label_selector: str, field_selector: str) -> Query:
    both = (("labelSelector", label_selector), ("fieldSelector", field_selector))
    return [(key, value) for key, value in both if value]


def _write_query(dry_run: bool) -> Query:
    query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
    return [*query, ("dryRun", "All")] if dry_run else query
