"""What can stop a command: each error says what happened, what to do next, and has its exit status."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitStatus(IntEnum):
    """The documented exit codes; 0 also covers "already so" and "nothing to undo"."""

    OK = 0
    ERROR = 1
    USAGE = 2
    CONFLICT = 3
    PARTIAL = 4
    REFUSED = 5
    TIMEOUT = 6
    INTERRUPTED = 130


class RescueError(Exception):
    """Ends the command. `message` says what and which object, `hint` what to do next."""

    exit_status = ExitStatus.ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        """Take one line each; the two are joined for `str()`."""
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.data: dict[str, Any] = {}
        """What a program is told beside the words, in `data` of the envelope."""

    def __str__(self) -> str:
        """Join the two."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(RescueError):
    """The command line asks for something that cannot be meant."""

    exit_status = ExitStatus.USAGE


class ConflictError(RescueError):
    """Somebody else changed what this command was about to change."""

    exit_status = ExitStatus.CONFLICT


class RefusedError(RescueError):
    """This tool will not do it, or waits for a yes."""

    exit_status = ExitStatus.REFUSED


class TimedOut(RescueError):
    """What was waited for did not come in time."""

    exit_status = ExitStatus.TIMEOUT


class TransportError(RescueError):
    """The API server could not be spoken to: connection, TLS, credentials, kubectl itself.

    `sent` is False only where the request certainly never left this machine; a PATCH may be sent
    again only then, or after a read has shown that it did not land. `lasting` says that asking
    again will not help (wrong context, failed login, untrusted certificate), so nobody is asked
    for a password twice.
    """

    def __init__(self, message: str, hint: str = "", *, sent: bool = True, lasting: bool = False) -> None:
        """Take the cause in one line and whether the server may have seen the request."""
        super().__init__(message, hint)
        self.sent = sent
        self.lasting = lasting


class ApiError(RescueError):
    """The API server answered with a Status that is not success."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int = 0,
        reason: str = "",
        causes: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        """Take the server's HTTP status, its `reason`, the field paths of `details.causes`, Retry-After."""
        super().__init__(message, hint)
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after


def may_have_landed(error: RescueError) -> bool:
    """Whether a write that ended with this may have been carried out: only a read tells then.

    The API server refuses with 429 before it acts; a 5xx may come after it has, also from what
    stands in between.
    """
    if isinstance(error, TransportError):
        return error.sent
    return isinstance(error, Overloaded) and error.status != 429


class NotFound(ApiError):
    """404: no such object."""


class NotServed(NotFound):
    """404 for a whole resource: the server does not know the kind, so it says nothing of an object."""


class Unauthorized(ApiError):
    """401: the server does not know who asks. No other answer of it means anything then."""


class Forbidden(ApiError):
    """403: the user may not."""


class StaleWrite(ApiError):
    """409 Conflict: the resourceVersion moved since it was read."""


class AlreadyExists(ApiError):
    """409 AlreadyExists."""


class GuardFailed(ApiError):
    """422 without causes: a `test` of the patch does not hold, or its path is gone."""


class Invalid(ApiError):
    """422 with causes, 400 and 413: the server will never take this request."""


class Expired(ApiError):
    """410: the continue token or the watch's resourceVersion is too old; list again."""


class Overloaded(ApiError):
    """429, or 5xx: the server asks to come back later."""
