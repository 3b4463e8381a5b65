"""Failures in the API server's own words: code, reason, message and details of a Status.

Mirrors apimachinery: pkg/api/errors/errors.go and apiserver: handlers/responsewriters/errors.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from ..model.values import Resource
from .jsonpatch_go import go_json
from .schemas import FieldError

STALE = "the object has been modified; please apply your changes to the latest version and try again"


class StatusError(Exception):
    """One failed request; `body` is the Status object that the client reads."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Take the fields of the Status; `details` None leaves the key out."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata or {}

    @property
    def body(self) -> dict[str, Any]:
        """The Status as it goes over the wire."""
        found: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            found["reason"] = self.reason
        if self.details is not None:
            found["details"] = self.details
        return found


def qualified(resource: Resource) -> str:
    """`applications.argoproj.io`, as messages name a resource."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def details_of(resource: Resource, name: str) -> dict[str, Any]:
    """The `details` that name an object; `kind` there is the plural."""
    found = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in found.items() if value}


def not_found(resource: Resource, name: str) -> StatusError:
    """No such object."""
    message = f'{qualified(resource)} "{name}" not found'
    return StatusError(404, "NotFound", message, details_of(resource, name))


def no_such_resource() -> StatusError:
    """No such resource in a group that the server itself has."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """The name is taken."""
    message = f'{qualified(resource)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details_of(resource, name))


def conflict(resource: Resource, name: str, why: str = STALE, *, by_kind: bool = False) -> StatusError:
    """The resourceVersion does not hold; a failed precondition names the kind instead."""
    named = replace(resource, plural=resource.kind) if by_kind else resource
    message = f'Operation cannot be fulfilled on {qualified(named)} "{name}": {why}'
    return StatusError(409, "Conflict", message, details_of(named, name))


def bad_request(message: str) -> StatusError:
    """The request makes no sense to the server."""
    return StatusError(400, "BadRequest", message)


def patch_not_applied() -> StatusError:
    """A JSON Patch that does not apply: the cause is lost (apiserver: patch.go applyJSPatch)."""
    message = "the server rejected our request due to an error in our request"
    return StatusError(422, "Invalid", message, {})


def invalid(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> StatusError:
    """Fields that do not hold, each one a cause (apimachinery: NewInvalid)."""
    found = list(errors)
    causes = [{"reason": e.reason, "message": e.body, "field": e.field} for e in found]
    said = list(dict.fromkeys(f"{e.field}: {e.body}" for e in found))
    listed = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    full = f"{kind}.{group}" if group else kind
    details: dict[str, Any] = {"name": name, "group": group, "kind": kind}
    details = {key: value for key, value in details.items() if value} | {"causes": causes}
    return StatusError(422, "Invalid", f'{full} "{name}" is invalid: {listed}', details)


def invalid_patch(document: Any, why: str) -> StatusError:
    """The patched object cannot be decoded; the message holds all of it (patch.go jsonPatcher)."""
    shown = go_json(go_json(document))
    error = FieldError("FieldValueInvalid", "patch", f"Invalid value: {shown}: {why}")
    return StatusError(
        422,
        "Invalid",
        f' "" is invalid: patch: {error.body}',
        {"causes": [{"reason": error.reason, "message": error.body, "field": error.field}]},
    )


def too_large(message: str) -> StatusError:
    """A body or a patch beyond the limits."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def unsupported_media(accepted: Iterable[str]) -> StatusError:
    """A Content-Type that this resource does not take."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(
        accepted
    )
    return StatusError(415, "UnsupportedMediaType", message)


def method_not_allowed() -> StatusError:
    """A method that this path does not have."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def expired(message: str, next_token: str = "") -> StatusError:
    """History that is no longer kept."""
    return StatusError(410, "Expired", message, None, {"continue": next_token} if next_token else {})


def forbidden(
    resource: Resource, verb: str, user: str, namespace: str, name: str, subresource: str
) -> StatusError:
    """What the authorizer refuses (responsewriters: ForbiddenStatusError)."""
    shown = f"{resource.plural}/{subresource}" if subresource else resource.plural
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    what = f'User "{user}" cannot {verb} resource "{shown}" in API group "{resource.group}" {where}'
    subject = qualified(resource) + (f' "{name}"' if name else "")
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {what}", details_of(resource, name))


def internal(message: str) -> StatusError:
    """The server's own fault."""
    return StatusError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        {"causes": [{"message": message}]},
    )


def too_many_requests(retry_after: int = 1) -> StatusError:
    """The server is overloaded and says when to come back."""
    message = "the server has received too many requests and has asked us to try again later"
    return StatusError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after})
