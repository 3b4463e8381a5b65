"""The API server of the few kinds that an incident involves, in memory.

The unit lane and `drill` speak to it through the same Transport as to a real one. What it answers
(status, reason, causes, wording) is kube-apiserver's; the contract lane holds it to that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import unquote

from ..cluster.transport import Response, Target
from ..model import values
from ..model.errors import TransportError
from ..model.values import DEFINITION, JSON, Resource
from . import scale, schemas
from .jsonpatch_go import ServerPanic
from .kinds import BUILT_IN_GROUPS, Kind, definition, kinds
from .reading import Reader, Watch
from .schemas import FieldError, JSONSchema
from .selectors import field_selector
from .status import (
    StatusError,
    forbidden,
    invalid,
    method_not_allowed,
    no_such_resource,
    not_found,
    too_large,
)
from .store import Change, Store
from .wire import (
    MAX_BODY,
    PAGE_NOT_FOUND,
    After,
    Before,
    Call,
    Denied,
    Mutating,
    Request,
    answer,
    broken,
    copied,
    decoded,
    failure,
    normal,
    overloaded,
    pruned,
    timestamp,
    utc_now,
)
from .writing import Writer, new_namespace

__all__ = [
    "Denied",
    "InMemoryApi",
    "Request",
    "answer",
    "broken",
    "failure",
    "overloaded",
    "timestamp",
]


class InMemoryApi:
    """A Transport whose server is this object.

    `before` and `after` are hooks for faults and races. `idle` is called while a watch has nothing
    to say: it may let time pass and the world move, so that no thread is needed. All methods may
    be called from several threads.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = utc_now,
        *,
        user: str = "alice",
        groups: Sequence[str] = ("system:masters", "system:authenticated"),
        history: int = 10_000,
        absent: Collection[Resource] = (),
        replaced_schemas: Mapping[Resource, JSONSchema] | None = None,
        version: str = "v1.36.3",
    ) -> None:
        """Start with the namespaces of a new cluster and Argo CD's CRDs; `absent` leaves kinds out."""
        self.clock = clock
        self.user = user
        self.groups = tuple(groups)
        self.version = version
        self.before: list[Before] = []
        self.after: list[After] = []
        self.denied: list[Denied] = []
        self.requests: list[Request] = []
        self.has_subject_reviews = True
        """False as on servers before 1.28."""
        self.certificate_authority = ""
        self.where = Target("in-memory", "https://in-memory.invalid", "")
        self._kinds = {k: v for k, v in kinds(replaced_schemas or {}).items() if k not in absent}
        self._store = Store(history)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._reader = Reader(self._store, clock, self._changed)
        self._writer = Writer(self._store, clock, self._changed)
        for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
            self._namespace(name)
        with self._lock:
            for kind in self._kinds.values():
                if kind.custom:  # the schemas in them are large and shared: stored without a copy
                    crd = definition(kind, timestamp(clock()))
                    self._writer.stored(DEFINITION, self._writer.born(self._kinds[DEFINITION], crd))

    @property
    def mutating(self) -> list[Mutating]:
        """Hooks that change what requests store, as mutating admission webhooks do."""
        return self._writer.mutating

    @property
    def idle(self) -> Callable[[], object] | None:
        """Called while a watch has nothing to say; None waits for another thread's write."""
        return self._reader.idle

    @idle.setter
    def idle(self, idle: Callable[[], object] | None) -> None:
        self._reader.idle = idle

    # Transport

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Answer one request; raises TransportError where a hook does, or lets too much time pass."""
        asked = self._logged(method, path, query, headers, body)
        began = self.clock()
        response = self._hooked(asked) or self._answered(asked)
        if isinstance(response, Watch):
            lines = b"".join(self._reader.events(response, timeout))
            response = Response(200, {"content-type": "application/json"}, lines)
            return self._after(asked, response)
        response = self._after(asked, response)
        if timeout is not None and (self.clock() - began).total_seconds() >= timeout:
            raise TransportError(f"no answer within {timeout:g} s")
        return response

    @contextmanager
    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Answer a GET line by line; a watch waits by calling `idle`, else for another thread."""
        asked = self._logged("GET", path, query, headers, None)
        response = self._hooked(asked) or self._answered(asked)
        if isinstance(response, Watch):
            head = self._after(asked, Response(200, {"content-type": "application/json"}, b""))
            yield head, self._reader.events(response, timeout) if head.status == 200 else iter(())
            return
        response = self._after(asked, response)
        if response.status == 200:
            yield Response(200, response.headers, b""), iter(response.body.splitlines(keepends=True))
        else:
            yield response, iter(())

    def target(self) -> Target:
        """Name the simulated cluster."""
        return self.where

    def authority(self) -> str:
        """Give what `certificate_authority` was set to."""
        return self.certificate_authority

    def close(self) -> None:
        """Nothing was started."""

    def _logged(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> Request:
        lowered = {key.lower(): value for key, value in (headers or {}).items()}
        asked = Request(method, path, tuple(query), lowered, body)
        with self._lock:
            self.requests.append(asked)
        return asked

    def _hooked(self, asked: Request) -> Response | None:
        for hook in tuple(self.before):
            response = hook(asked)
            if response is not None:
                return response
        return None

    def _after(self, asked: Request, response: Response) -> Response:
        for hook in tuple(self.after):
            response = hook(asked, response) or response
        date = format_datetime(self.clock(), usegmt=True)
        return response._replace(headers={"date": date, **response.headers})

    def _answered(self, asked: Request) -> Response | Watch:
        try:
            with self._lock:
                return self._dispatch(asked)
        except StatusError as error:
            return failure(error)
        except ServerPanic:
            message = "This request caused apiserver to panic. Look in the logs for details.\n"
            return Response(500, {"content-type": "text/plain; charset=utf-8"}, message.encode())

    # For tests and for the simulated controllers

    def deny(self, verb: str = "*", resource: str = "*", namespace: str = "*", name: str = "*") -> None:
        """Take a right away from the user; simulated controllers are not bound by it."""
        self.denied.append(Denied(verb, resource, namespace, name))

    def find(self, resource: Resource, namespace: str, name: str) -> JSON:
        """A copy of the live object, None where there is none."""
        with self._lock:
            return copied(self._store.get(resource, namespace, name))

    def look(self, resource: Resource, namespace: str, name: str) -> JSON:
        """The live object itself, without the cost of a copy: not to be changed; None where there is none."""
        with self._lock:
            return self._store.get(resource, namespace, name)

    def get(self, resource: Resource, namespace: str, name: str) -> JSON:
        """A copy of the live object, which must be there."""
        found = self.find(resource, namespace, name)
        if found is None:
            raise KeyError(f"{resource.kind} {namespace}/{name}")
        return found

    def objects(self, resource: Resource, namespace: str = "") -> list[JSON]:
        """Copies of all live objects of a kind, in order."""
        with self._lock:
            return [copied(obj) for obj in self._store.objects(resource, namespace)]

    def peek(self, resource: Resource, namespace: str = "") -> list[JSON]:
        """The live objects themselves, in order, without the cost of a copy: not to be changed."""
        with self._lock:
            return self._store.objects(resource, namespace)

    def resources(self) -> tuple[Resource, ...]:
        """All resources that are served."""
        return tuple(self._kinds)

    def resource_of(self, obj: JSON) -> Resource:
        """The resource that serves an object of this apiVersion and kind."""
        group, _, _ = obj["apiVersion"].rpartition("/")
        for resource in self._kinds:
            if (resource.group, resource.kind) == (group, obj["kind"]):
                return resource
        raise KeyError(f"{obj['apiVersion']} {obj['kind']} is not served")

    def create(self, obj: JSON) -> JSON:
        """Put an object in as a controller would; makes its namespace, keeps a given status."""
        with self._lock:
            resource = self.resource_of(obj)
            new = copied(obj)
            namespace = new["metadata"].get("namespace", "")
            if namespace:
                self._namespace(namespace)
            if self._store.get(resource, namespace, new["metadata"]["name"]) is not None:
                raise KeyError(f"{resource.kind} {namespace}/{new['metadata']['name']} is there already")
            kind = self._kinds[resource]
            if kind.schema is not None:
                _, unknown = pruned(kind, new)
                self._checked(kind, new, unknown)
            return copied(self._writer.stored(resource, self._writer.born(kind, new)))

    def edit(
        self, resource: Resource, namespace: str, name: str, change: Callable[[JSON], JSON | None]
    ) -> JSON:
        """Change an object as a controller would, status included; what does not change is no write.

        `change` may alter the copy that it gets, or return another object.
        """
        with self._lock:
            current = self._store.get(resource, namespace, name)
            if current is None:
                raise KeyError(f"{resource.kind} {namespace}/{name}")
            new = copied(current)
            new = change(new) or new
            if new == current:
                return new
            kind = self._kinds[resource]
            if kind.schema is not None:
                new, _ = pruned(kind, new)
                self._checked(kind, new)
            return copied(self._writer.written(kind, current, normal(new)))

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Take an object away at once, whatever its finalizers."""
        with self._lock:
            self._store.remove(resource, namespace, name)
            self._changed.notify_all()

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete as a controller would: what has finalizers is marked and waits for them."""
        live = self.find(resource, namespace, name)
        if live is None or live["metadata"].get("deletionTimestamp"):
            return
        if not live["metadata"].get("finalizers"):
            self.remove(resource, namespace, name)
            return

        def mark(dying: JSON) -> None:
            dying["metadata"]["deletionTimestamp"] = timestamp(self.clock())
            dying["metadata"]["deletionGracePeriodSeconds"] = 0

        self.edit(resource, namespace, name, mark)

    def compact(self, keep: int = 0) -> None:
        """Forget history, so that watches and continue tokens of before are expired."""
        with self._lock:
            self._store.compact(keep)
            self._changed.notify_all()

    def cut_streams(self) -> None:
        """Cut every watch that is open now, as a lost connection does."""
        with self._lock:
            self._reader.cuts += 1
            self._changed.notify_all()

    def changes(self, after: int) -> list[Change] | None:
        """What was written after that revision; None where history no longer reaches so far."""
        with self._lock:
            if after < self._store.compacted:
                return None
            return list(self._store.since(after))

    @property
    def revision(self) -> int:
        """The newest resourceVersion; a no-op leaves it."""
        with self._lock:
            return self._store.revision

    def writes(self) -> list[Request]:
        """The logged requests that would have changed something."""
        with self._lock:
            return [request for request in self.requests if request.is_write]

    def _namespace(self, name: str) -> None:
        if self._store.get(values.NAMESPACE, "", name) is None:
            self.create({"apiVersion": "v1", "kind": "Namespace", **new_namespace({"name": name})})

    @staticmethod
    def _checked(kind: Kind, obj: JSON, unknown: Sequence[str] = ()) -> None:
        """A controller that writes what the server would not take is a bug of the simulation."""
        errors = list(schemas.check(obj, kind.schema or {}))
        if unknown or errors:
            raise AssertionError(f"{kind.resource.kind} is invalid: unknown {unknown}, {errors}")

    # Requests

    def _dispatch(self, asked: Request) -> Response | Watch:
        path = [unquote(part) for part in asked.path.strip("/").split("/")]
        if path == ["version"]:
            major, minor = self.version.lstrip("v").split(".")[:2]
            return answer(200, {"major": major, "minor": minor, "gitVersion": self.version})
        if path in (["readyz"], ["livez"], ["healthz"]):
            return Response(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")
        if path[:1] == ["api"] and len(path) >= 3:
            group, version, rest = "", path[1], path[2:]
        elif path[:1] == ["apis"] and len(path) >= 4:
            group, version, rest = path[1], path[2], path[3:]
        else:
            return PAGE_NOT_FOUND
        user = asked.headers.get("impersonate-user", self.user)
        if group in ("authorization.k8s.io", "authentication.k8s.io"):
            return self._review(asked, group, rest, user)
        return self._resourceful(asked, group, version, rest, user)

    def _resourceful(
        self, asked: Request, group: str, version: str, rest: list[str], user: str
    ) -> Response | Watch:
        namespace = ""
        if (
            rest[0] == "namespaces"
            and len(rest) > 2
            and not (len(rest) == 3 and rest[2] in ("status", "finalize"))
        ):
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (rest + ["", ""])[:3]
        found = next(
            (r for r in self._kinds if (r.group, r.version, r.plural) == (group, version, plural)), None
        )
        resource = found or Resource(group, version, plural, "", namespaced=bool(namespace))
        kind = self._kinds.get(resource, Kind(resource))
        watching = asked.parameter("watch") in ("1", "true")
        wanted = name
        if not name and asked.method == "GET":
            _, wanted = field_selector(asked.parameter("fieldSelector"), kind.resource.kind)
        verb = self._verb(asked.method, name, watching)
        # Of a namespace the name counts as its namespace too (requestinfo.go).
        within = name if resource == values.NAMESPACE else namespace
        self._authorize(resource, verb, user, within, wanted, subresource)
        misplaced = bool(namespace) != resource.namespaced and bool(namespace or name)
        if found is None or len(rest) > 3 or misplaced:
            if group in BUILT_IN_GROUPS:
                raise no_such_resource()
            return PAGE_NOT_FOUND
        if scale.is_scaled(resource, subresource):
            return scale.served(self._writer, Call(asked, kind, namespace, name, subresource, user))
        if subresource and not (subresource == "status" and kind.has_status):
            raise not_found(resource, name) if kind.custom else no_such_resource()
        call = Call(asked, kind, namespace, name, subresource, user)
        return self._perform(call, watching)

    @staticmethod
    def _verb(method: str, name: str, watching: bool) -> str:
        if method in ("GET", "HEAD"):
            return "get" if name else "watch" if watching else "list"
        verbs = {"POST": "create", "PUT": "update", "PATCH": "patch"}
        if method == "DELETE":
            return "delete" if name else "deletecollection"
        return verbs.get(method, "")

    def _perform(self, call: Call, watching: bool) -> Response | Watch:
        method = call.request.method
        if method == "GET":
            if call.name:
                return self._writer.shown(call, 200, self._writer.existing(call))
            return self._reader.watch(call) if watching else self._reader.list_(call)
        if call.request.body is not None and len(call.request.body) > MAX_BODY:
            raise too_large(f"limit is {MAX_BODY}")
        if method == "POST" and not call.name:
            return self._writer.post(call)
        if method == "PATCH" and call.name:
            return self._writer.patch(call)
        if method == "PUT" and call.name:
            return self._writer.put(call)
        if method == "DELETE" and call.name and not call.subresource:
            return self._writer.delete(call)
        raise method_not_allowed()

    def _authorize(
        self, resource: Resource, verb: str, user: str, namespace: str, name: str, subresource: str
    ) -> None:
        shown = f"{resource.plural}/{subresource}" if subresource else resource.plural
        if self._is_denied(verb, shown, namespace, name):
            raise forbidden(resource, verb, user, namespace, name, subresource)

    def _is_denied(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        return any(rule.covers(verb, resource, namespace, name) for rule in self.denied)

    def _review(self, asked: Request, group: str, rest: list[str], user: str) -> Response:
        """SelfSubjectAccessReview and SelfSubjectReview: questions, nothing is stored."""
        known = {"authorization.k8s.io": "selfsubjectaccessreviews"}
        if self.has_subject_reviews:
            known["authentication.k8s.io"] = "selfsubjectreviews"
        if rest != [known.get(group, "")]:
            raise no_such_resource()
        if asked.method != "POST":
            raise method_not_allowed()
        kind = "SelfSubjectAccessReview" if group == "authorization.k8s.io" else "SelfSubjectReview"
        body = {"apiVersion": f"{group}/v1", "kind": kind, **decoded(asked.body)[0]}
        if group == "authentication.k8s.io":
            groups = self.groups if user == self.user else ("system:authenticated",)
            info = {"username": user, "groups": list(groups)}
            body = {**body, "status": {"userInfo": info}}
            return answer(201, {"metadata": {"creationTimestamp": timestamp(self.clock())}, **body})
        spec = body.get("spec") or {}
        wanted = spec.get("resourceAttributes")
        if not isinstance(wanted, dict):
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            errors = [
                FieldError("FieldValueInvalid", "spec.resourceAttributes", f"Invalid value: null: {why}")
            ]
            raise invalid(group, "", "", errors)
        plural = wanted.get("resource", "")
        if wanted.get("subresource"):
            plural += f"/{wanted['subresource']}"
        denied = self._is_denied(
            wanted.get("verb", ""), plural, wanted.get("namespace", ""), wanted.get("name", "")
        )
        return answer(201, {"metadata": {}, **body, "status": {"allowed": not denied}})
