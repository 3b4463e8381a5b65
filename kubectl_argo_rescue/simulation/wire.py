"""Requests and answers of the in-memory API as they go over the wire."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import NamedTuple, TypeAlias

from msgspec import Struct, field

from ..cluster.transport import Response
from ..model.values import JSON, Resource
from . import schemas
from .kinds import Kind
from .status import StatusError, bad_request, internal, too_many_requests
from .store import etcd_key

MAX_BODY = 3 * 1024 * 1024
"""apiserver: server/config.go MaxRequestBodyBytes."""
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Request(NamedTuple):
    """One request as it was sent; `api.requests` keeps them all."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | None = None

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, empty where it is not given."""
        return next((value for key, value in self.query if key == name), "")

    @property
    def json(self) -> JSON:
        """The body as JSON."""
        return json.loads(self.body or b"null")

    @property
    def is_write(self) -> bool:
        """Whether it would change something; access reviews and dry runs do not."""
        if self.method in ("GET", "HEAD"):
            return False
        if self.method == "DELETE" and self.body:
            return not self.json.get("dryRun")
        if self.parameter("dryRun"):
            return False
        return "/selfsubject" not in self.path


Before: TypeAlias = Callable[[Request], "Response | None"]
"""Called before a request is looked at; may raise, edit objects, or return another answer."""
After: TypeAlias = Callable[[Request, Response], "Response | None"]
"""Called when the answer is ready; may raise (the answer is lost), or return another answer."""


Mutating: TypeAlias = Callable[[JSON], "JSON | None"]
"""An admission webhook: may alter the object that a request would store, or give another one."""


class Denied(Struct, frozen=True):
    """What the user may not do; `*` stands for anything."""

    verb: str = "*"
    resource: str = "*"
    """The plural, with `/subresource` where one is meant."""
    namespace: str = "*"
    name: str = "*"

    def covers(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Whether this rule forbids it."""
        asked = (verb, resource, namespace, name)
        rule = (self.verb, self.resource, self.namespace, self.name)
        return all(mine in ("*", theirs) for mine, theirs in zip(rule, asked, strict=True))


class Call(Struct):
    """A request as the server understands it (apiserver: endpoints/request/requestinfo.go)."""

    request: Request
    kind: Kind
    namespace: str
    name: str
    subresource: str
    user: str
    warnings: list[str] = field(default_factory=list)

    @property
    def resource(self) -> Resource:
        """What it is about."""
        return self.kind.resource

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return bool(self.request.parameter("dryRun"))

    @property
    def validation(self) -> str:
        """`fieldValidation`, Warn by default."""
        return self.request.parameter("fieldValidation") or "Warn"


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(timezone.utc)


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it, whole seconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


_GO_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def encode(value: JSON) -> bytes:
    """JSON as the server encodes it, Go's HTML escaping included."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.translate(_GO_HTML).encode() + b"\n"


def _whole(text: str) -> JSON:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def normal(value: JSON) -> JSON:
    """Numbers as they come back out of storage: 1.0 is 1."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def copied(value: JSON) -> JSON:
    """A deep copy of a JSON value, several times as fast as the general one."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def answer(status: int, body: JSON, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as the server sends it, for hooks that replace one."""
    return Response(status, {"content-type": "application/json", **(headers or {})}, encode(body))


def failure(error: StatusError) -> Response:
    """The answer to a failed request, for hooks that replace one."""
    seconds = (error.details or {}).get("retryAfterSeconds")
    return answer(error.code, error.body, {"retry-after": str(seconds)} if seconds else None)


def overloaded(retry_after: int = 1) -> Response:
    """429 with Retry-After."""
    return failure(too_many_requests(retry_after))


def broken(message: str = "etcdserver: request timed out") -> Response:
    """500."""
    return failure(internal(message))


PAGE_NOT_FOUND = Response(404, {"content-type": "text/plain; charset=utf-8"}, b"404 page not found\n")


def wants_metadata(call: Call) -> bool:
    """Whether the client asked for PartialObjectMetadata only."""
    return "as=PartialObjectMetadata" in call.request.headers.get("accept", "").replace(" ", "")


def partial(call: Call, obj: JSON) -> JSON:
    """The object, or its metadata where that was asked for."""
    if not wants_metadata(call):
        return obj
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": obj["metadata"]}


def texts(meta: JSON) -> JSON:
    """In Go's map[string]string null is the empty string."""
    found = dict(meta)
    for name in ("labels", "annotations"):
        if isinstance(found.get(name), dict):
            found[name] = {key: "" if text is None else text for key, text in found[name].items()}
    return found


def key_of(obj: JSON) -> str:
    """The end of the object's key in etcd."""
    return etcd_key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def write_token(revision: int, start: str) -> str:
    """A continue token."""
    body = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Revision and first key of a continue token."""
    try:
        body = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(body["rv"]), str(body["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error


def number_of(text: str) -> int:
    """A number in a query, 0 where it is not given."""
    if not text:
        return 0
    if not re.fullmatch(r"-?[0-9]+", text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def revision_of(text: str, watching: bool = False) -> int:
    """A resourceVersion in a query, 0 where it is not given."""
    if re.fullmatch(r"[0-9]*", text):
        return int(text or 0)
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise StatusError(500, "", why) if watching else bad_request(f"invalid resource version: {why}")


_UNRECOGNIZED = "the object provided is unrecognized: couldn't get version/kind; json parse error"


def decoded(body: bytes | None) -> tuple[dict[str, JSON], list[str]]:
    """A JSON object and the keys that stand in it twice."""
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, JSON]]) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        for key, value in items:
            if key in found:
                duplicates.append(key)
            found[key] = value
        return found

    try:
        obj = json.loads(body or b"", object_pairs_hook=pairs, parse_float=_whole)
    except ValueError as error:
        raise bad_request(f"{_UNRECOGNIZED}: {error}") from error
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata", {}) or {}, dict):
        raise bad_request(f"{_UNRECOGNIZED}: cannot unmarshal into Go value")
    return obj, duplicates


def pruned(kind: Kind, obj: JSON) -> tuple[JSON, list[str]]:
    """Without unknown fields; those of metadata go by metadata's own schema."""
    assert kind.schema is not None
    kept, unknown = schemas.prune(obj, kind.schema)
    if isinstance(kept.get("metadata"), dict):
        kept["metadata"], more = schemas.prune(kept["metadata"], schemas.METADATA, "metadata")
        unknown = more + unknown
    return kept, unknown
