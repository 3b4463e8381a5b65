"""How bytes reach the API server: one call, several ways to make it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from .. import __version__


def user_agent() -> str:
    """Name this program to the server and its audit log."""
    return f"kubectl-argo-rescue/{__version__} ({sys.platform})"


class Connection(NamedTuple):
    """The user's own connection flags, under kubectl's names; empty means "as the kubeconfig says"."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    as_user: str = ""
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_user_extra: tuple[str, ...] = ()
    tls_server_name: str = ""
    certificate_authority: str = ""
    client_certificate: str = ""
    client_key: str = ""
    insecure_skip_tls_verify: bool = False
    disable_compression: bool = False
    cache_dir: str = ""
    request_timeout: float | None = None
    """Seconds for one request; None waits as long as the bound that `exchange` has built in."""


class Response(NamedTuple):
    """One whole answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Target(NamedTuple):
    """Where the requests go, for the first line of every plan."""

    context: str
    server: str
    namespace: str
    """The context's namespace, empty where it names none."""


class Transport(Protocol):
    """One request to the API server as the user's kubeconfig context says, never as anybody else.

    All methods may be called from several threads at once.
    """

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send one request and read the whole answer, whatever its status.

        `path` is absolute and percent-encoded (`/apis/…`), `timeout` is in seconds for the whole
        exchange. Raises TransportError where no API answer came, with `sent` as far as known.
        """
        ...

    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AbstractContextManager[tuple[Response, Iterator[bytes]]]:
        """GET whose answer is read line by line; the Response's body is empty unless status is not 200.

        `timeout` bounds the wait for each line. Raises TransportError on a cut connection, also
        while iterating.
        """
        ...

    def target(self) -> Target:
        """Name the context and the server; may cost a subprocess, so ask once."""
        ...

    def close(self) -> None:
        """End what was started; safe to call twice."""
        ...


@runtime_checkable
class Proves(Protocol):
    """A transport that knows by which certificate authority the server is recognised."""

    def authority(self) -> str:
        """Return that authority as PEM, empty where none is named; may cost a subprocess."""
        ...


@runtime_checkable
class LogsIn(Protocol):
    """A transport that may have to ask a human before it can send anything."""

    def is_logging_in(self) -> bool:
        """Whether somebody may be typing a password, or be in a browser, just now."""
        ...
