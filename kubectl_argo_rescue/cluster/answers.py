"""What the API server's answers mean: objects, errors, warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..model.errors import (
    AlreadyExists,
    ApiError,
    Expired,
    Forbidden,
    GuardFailed,
    Invalid,
    NotFound,
    NotServed,
    Overloaded,
    StaleWrite,
    TransportError,
    Unauthorized,
)
from ..model.text import brief
from ..model.values import GROUP, JSON
from .transport import Response

Read: TypeAlias = Callable[[bytes], JSON]
"""How a body is read: whole, or as much of it as its caller will ask for. Raises ValueError where it is no JSON."""


def parse(answer: Response, what: str, read: Read = json.loads) -> JSON:
    """Read the object that an answer is."""
    try:
        parsed = read(answer.body)
    except ValueError as error:
        raise TransportError(
            f"the answer about {what} is no JSON", "is this a Kubernetes API server?"
        ) from error
    if not isinstance(parsed, dict):
        raise TransportError(f"the answer about {what} is no object", "is this a Kubernetes API server?")
    return parsed


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


def without_crds(path: str) -> NotServed:
    """Say that a path of Argo CD's own API is served by nobody."""
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
_VALUE = r'(?s)Invalid value: (?:"(?:[^"\\]|\\.){40,}"|(?:[\w.*/\[\]]+)?\{.{40,}\}): '


def shorten(message: str, causes: Sequence[Mapping[str, JSON]] = ()) -> str:
    """Cut what the server said to one line without the object that it quotes."""
    if causes and len(message) > 200:
        parts = [f"{cause.get('field', '')}: {cause.get('message', '')}".strip(": ") for cause in causes]
        message = "; ".join(dict.fromkeys(parts)) or message
    return brief(re.sub(_VALUE, "", message))


def _retry_after(answer: Response) -> float | None:
    value = answer.headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None


_WARNING = r'\d{3} [^ "]+ "((?:[^"\\]|\\.)*)"'


def warnings_in(header: str) -> list[str]:
    """Give the texts of a Warning header (RFC 7234 section 5.5)."""
    return [brief(re.sub(r"\\(.)", r"\1", text)) for text in re.findall(_WARNING, header)]


def status_text(status: int) -> str:
    """Name a status as HTTP does: `404 Not Found`."""
    from http import HTTPStatus  # lazy: the transports bring it, --help does not

    if not status:
        return "no answer"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def sent_text(content_type: str, body: bytes | None) -> str:
    """Describe a request's body without its values: there may be secrets in them."""
    if body is None:
        return ""
    text = f"{content_type}, {len(body)} bytes"
    ops = json.loads(body)
    if not isinstance(ops, list) or not all(isinstance(op, dict) for op in ops):
        return text
    return f"{text}: " + ", ".join(f"{op.get('op')} {op.get('path')}" for op in ops)


def came_text(answer: Response) -> str:
    """Describe an answer without its content."""
    kept = ("content-type", "audit-id", "retry-after", "x-kubernetes-pf-flowschema-uid")
    said = [f"{name}: {answer.headers[name]}" for name in kept if name in answer.headers]
    return ", ".join([f"{len(answer.body)} bytes", *said])
