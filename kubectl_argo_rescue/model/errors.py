"""What can stop a command: each error says what happened, what to do next, and has its exit status."""

from __future__ import annotations

from enum import Enum, IntEnum
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


class Code(Enum):
    """What there is to do about an error, as one looks it up; docs/troubleshooting.md has a section for each.

    A code is never given to another thing to do, nor its number used again.
    """

    OTHER = "AR1000"
    COMMAND_LINE = "AR1101"
    UNREACHABLE = "AR1201"
    UNAUTHORIZED = "AR1202"
    FORBIDDEN = "AR1203"
    BUSY_SERVER = "AR1204"
    REJECTED = "AR1205"
    NOT_FOUND = "AR1301"
    NO_ARGO_CD = "AR1302"
    CONFLICT = "AR1401"
    CLAIMED = "AR1402"
    REFUSED = "AR1501"
    NEEDS_YES = "AR1502"
    BLOCKED = "AR1503"
    NO_GOOD_VERSION = "AR1504"
    OPERATION_RUNS = "AR1505"
    GIT_DIFFERS = "AR1506"
    OTHER_CLUSTER = "AR1507"
    MANAGED_COPY = "AR1508"
    DELETION = "AR1509"
    BY_ITS_ID = "AR1510"
    TIMED_OUT = "AR1601"
    JOURNAL = "AR1701"
    SAVED_ELSEWHERE = "AR1702"
    INTERNAL = "AR1901"


class RescueError(Exception):
    """Ends the command. `message` says what and which object, `hint` what to do next."""

    exit_status = ExitStatus.ERROR
    code = Code.OTHER

    def __init__(self, message: str, hint: str = "", *, code: Code | None = None) -> None:
        """Take one line each; the two are joined for `str()`. `code` is its class's where none is given."""
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code
        self.data: dict[str, Any] = {}
        """What a program is told beside the words, in `data` of the envelope."""

    def __str__(self) -> str:
        """Join the two."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(RescueError):
    """The command line asks for something that cannot be meant."""

    exit_status = ExitStatus.USAGE
    code = Code.COMMAND_LINE


class ConflictError(RescueError):
    """Somebody else changed what this command was about to change."""

    exit_status = ExitStatus.CONFLICT
    code = Code.CONFLICT


class RefusedError(RescueError):
    """This tool will not do it, or waits for a yes."""

    exit_status = ExitStatus.REFUSED
    code = Code.REFUSED


class Cancelled(RefusedError):
    """The user was asked and did not say yes: no error, and nothing to look up."""


class TimedOut(RescueError):
    """What was waited for did not come in time."""

    exit_status = ExitStatus.TIMEOUT
    code = Code.TIMED_OUT


class TransportError(RescueError):
    """The API server could not be spoken to: connection, TLS, credentials, kubectl itself.

    `sent` is False only where the request certainly never left this machine; a PATCH may be sent
    again only then, or after a read has shown that it did not land. `lasting` says that asking
    again will not help (wrong context, failed login, untrusted certificate), so nobody is asked
    for a password twice.
    """

    code = Code.UNREACHABLE

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

    code = Code.NOT_FOUND


class NotServed(NotFound):
    """404 for a whole resource: the server does not know the kind, so it says nothing of an object."""

    code = Code.NO_ARGO_CD


class Unauthorized(ApiError):
    """401: the server does not know who asks. No other answer of it means anything then."""

    code = Code.UNAUTHORIZED


class Forbidden(ApiError):
    """403: the user may not."""

    code = Code.FORBIDDEN


class StaleWrite(ApiError):
    """409 Conflict: the resourceVersion moved since it was read."""

    code = Code.CONFLICT


class AlreadyExists(ApiError):
    """409 AlreadyExists."""

    code = Code.CONFLICT


class GuardFailed(ApiError):
    """422 without causes: a `test` of the patch does not hold, or its path is gone."""

    code = Code.CONFLICT


class Invalid(ApiError):
    """422 with causes, 400 and 413: the server will never take this request."""

    code = Code.REJECTED


class Expired(ApiError):
    """410: the continue token or the watch's resourceVersion is too old; list again."""

    code = Code.BUSY_SERVER


class Overloaded(ApiError):
    """429, or 5xx: the server asks to come back later."""

    code = Code.BUSY_SERVER
