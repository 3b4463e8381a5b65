"""The portable transport, over the `kubernetes` package: client certificates, tokens, exec plugins.

The package's own kubeconfig loader (releases up to 37) drops impersonation, sends requests without
credentials after a failed exec plugin and takes the wrong current-context of several files. So its
HTTP alone is used, with the settings that `kubeconfig` reads.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from kubectl_argo_rescue.model.values import Confidential

from ..model.errors import TransportError
from ..model.text import brief
from .http import DEFAULT_TIMEOUT, NO_TIMEOUT, lower
from .kubeconfig import Exec, Refused, Settings, check_token, read_file, read_settings, text_of
from .transport import Connection, Response, Target, user_agent

CONNECT_TIMEOUT: Final = 10.0

_CHUNK: Final = 1 << 16


class _Credentials(Confidential, frozen=True):
    token: str = ""
    certificate: str = ""
    key: str = ""
    expires: float | None = None


class PackageTransport:
    """Requests through the connection pool of the `kubernetes` package."""

    def __init__(self, connection: Connection, environ: Mapping[str, str] | None = None) -> None:
        """Read the kubeconfig and refuse it at once where it asks for what cannot be done right."""
        self._environ = os.environ if environ is None else environ
        self._settings = read_settings(connection, self._environ)
        self._timeout = connection.request_timeout
        self._lock = threading.Lock()
        self._credentials: _Credentials | None = None
        self._client: Any = None
        self._stale: list[Any] = []
        self._closed = False

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send one request and read the whole answer."""
        seconds = self._seconds(timeout)
        ready = self._ready()  # a login may take longer than a request
        deadline = time.monotonic() + seconds
        answer = self._open(ready, method, path, query, headers, body, seconds, gzip=method == "GET")
        with _closing(answer), _faults(method, path, seconds):
            content = b"".join(_chunks(answer, deadline))
            return self._see(Response(answer.status, lower(answer.headers.items()), content))

    @contextmanager
    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """GET an answer that goes on, line by line."""
        seconds = self._seconds(timeout)
        answer = self._open(self._ready(), "GET", path, query, headers, None, seconds, gzip=False)
        with _closing(answer):
            if answer.status == 200:
                yield Response(200, lower(answer.headers.items()), b""), _lines(answer, path, seconds)
            else:
                with _faults("GET", path, seconds):
                    content = b"".join(_chunks(answer, time.monotonic() + seconds))
                yield self._see(Response(answer.status, lower(answer.headers.items()), content)), iter(())

    def target(self) -> Target:
        """Name context, server and namespace."""
        return self._settings.target

    def authority(self) -> str:
        """Give the CA that the server must be of."""
        return self._settings.ca

    def is_logging_in(self) -> bool:
        """Whether an exec plugin runs, which may ask a human."""
        return self._settings.exec is not None and self._credentials is None

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._closed = True
            for client in (*self._stale, self._client):
                if client is not None:
                    client.rest_client.pool_manager.clear()
            self._stale, self._client = [], None

    def _seconds(self, timeout: float | None) -> float:
        seconds = timeout if timeout is not None else self._timeout
        return DEFAULT_TIMEOUT if seconds is None else (seconds or NO_TIMEOUT)

    def _open(
        self,
        ready: tuple[Any, _Credentials],
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: bytes | None,
        seconds: float,
        gzip: bool,
    ) -> Any:
        from urllib.parse import urlencode

        import urllib3
        from urllib3.util import Timeout

        client, credentials = ready
        fields = {"User-Agent": user_agent(), "Accept": "application/json"}
        if gzip and self._settings.compress:
            fields["Accept-Encoding"] = "gzip"
        fields.update(headers or {})
        if credentials.token:
            fields["Authorization"] = f"Bearer {credentials.token}"
        url = self._settings.target.server + path + (f"?{urlencode(query)}" if query else "")
        with _faults(method, path, seconds):
            # Neither redirects nor repetitions: urllib3 by itself would send a PATCH again.
            return client.rest_client.pool_manager.request(
                method,
                url,
                body=body,
                headers=fields,
                timeout=Timeout(connect=min(CONNECT_TIMEOUT, seconds), read=seconds),
                retries=urllib3.Retry(0, redirect=False, raise_on_status=False),
                redirect=False,
                preload_content=False,
            )

    def _ready(self) -> tuple[Any, _Credentials]:
        with self._lock:
            if self._closed:
                raise TransportError("the connection is closed", sent=False, lasting=True)
            old = self._credentials
            if old is None or (old.expires is not None and time.time() >= old.expires):
                self._credentials = _log_in(self._settings, self._environ)
            credentials = self._credentials
            assert credentials is not None
            changed = old is None or (old.certificate, old.key) != (credentials.certificate, credentials.key)
            if self._client is None or changed:
                # Others may still be reading from the old one.
                if self._client is not None:
                    self._stale.append(self._client)
                self._client = _client(self._settings, credentials)
            return self._client, credentials

    def _see(self, response: Response) -> Response:
        if response.status == 401:
            with self._lock:
                # The next request reads the token file, or asks the exec plugin, anew.
                if self._settings.exec is not None or self._settings.token_file:
                    self._credentials = None
        return response


def _client(settings: Settings, credentials: _Credentials) -> Any:
    """Build the package's client, with nothing left to its own ideas."""
    import urllib3
    from kubernetes.client import ApiClient, Configuration

    if not hasattr(urllib3.HTTPResponse, "read1"):
        raise Refused(
            "urllib3 2.2 or later is needed: 1.x takes a cut answer for a whole one",
            "pip install -U urllib3",
        )
    configuration = Configuration()
    configuration.host = settings.target.server
    # The package lets HTTPS_PROXY, ALL_PROXY and NO_PROXY decide, each differently from kubectl.
    configuration.proxy = settings.proxy or None
    configuration.no_proxy = None
    configuration.verify_ssl = settings.verify
    configuration.tls_server_name = settings.tls_server_name or None
    client = ApiClient(configuration)
    pool = client.rest_client.pool_manager.connection_pool_kw
    for name in ("ca_certs", "ca_cert_data", "cert_file", "key_file", "cert_reqs"):
        pool.pop(name, None)
    pool["ssl_context"] = _tls(settings, credentials)
    if not settings.verify:
        # The user asked for it; once per request is no help.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return client


def _tls(settings: Settings, credentials: _Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca:
        # Go takes any certificate of the file as a root, also an intermediate or the server's own.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=settings.ca)
        except ssl.SSLError as error:
            raise Refused("the certificate authority holds no certificate in PEM form", "") from error
    else:
        context.load_default_certs()
    if credentials.certificate:
        _load_key_pair(context, credentials)
    return context


def _load_key_pair(context: ssl.SSLContext, credentials: _Credentials) -> None:
    # OpenSSL's Python interface reads files only. The folder is gone before the first request.
    with tempfile.TemporaryDirectory(prefix="argo-rescue-pair-") as folder:
        pair = Path(folder, "pair.pem")
        with open(os.open(pair, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{credentials.certificate}\n{credentials.key}\n")

        def no_password() -> str:
            raise Refused("the client key is encrypted", "decrypt it; kubectl cannot use it either")

        try:
            context.load_cert_chain(pair, password=no_password)
        except ssl.SSLError as error:
            raise Refused("client certificate and client key are no pair in PEM form", "") from error


def _log_in(settings: Settings, environ: Mapping[str, str]) -> _Credentials:
    """Get the credentials for the next requests; raises rather than give none."""
    if settings.exec is not None:
        return run_plugin(settings.exec, environ)
    token = settings.token
    expires = None
    if settings.token_file:
        token = read_file(Path(settings.token_file), "tokenFile").strip()
        if not token:
            raise Refused(f"the token file {settings.token_file} is empty", "")
        check_token(token, f"the token in {settings.token_file}")
        expires = time.time() + 60  # client-go reads the file again each minute
    return _Credentials(token, settings.certificate, settings.key, expires)


def run_plugin(plugin: Exec, environ: Mapping[str, str]) -> _Credentials:
    """Run the exec plugin on our terminal and take its credentials; raises with its own words."""
    name = os.path.basename(plugin.command)
    at_terminal = sys.stdin is not None and os.isatty(0)
    if plugin.interactive_mode == "Always" and not at_terminal:
        raise TransportError(
            f"exec plugin {name} must ask on a terminal, and stdin is none", sent=False, lasting=True
        )
    interactive = at_terminal and plugin.interactive_mode != "Never"
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.cluster is not None:
        spec["cluster"] = plugin.cluster
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    # On a terminal the plugin's words go straight there, prompts included.
    shown = os.isatty(2)
    try:
        done = subprocess.run(
            [plugin.command, *plugin.args],
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            env={**environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)},
        )
    except OSError as error:
        raise TransportError(
            f"exec plugin {plugin.command} cannot be run: {error.strerror or error}",
            brief(plugin.install_hint),
            sent=False,
            lasting=True,
        ) from error
    said = brief((done.stderr or b"").decode("utf-8", "replace"), 160)
    if done.returncode:
        raise TransportError(
            f"exec plugin {name} failed with exit code {done.returncode}" + (f": {said}" if said else ""),
            brief(plugin.install_hint),
            sent=False,
            lasting=True,
        )
    return _read_credentials(plugin, name, done.stdout)


def _read_credentials(plugin: Exec, name: str, output: bytes) -> _Credentials:
    def bad(why: str) -> TransportError:
        return TransportError(f"exec plugin {name} {why}", sent=False, lasting=True)

    try:
        answer = json.loads(output)
    except ValueError as error:
        raise bad("gave no JSON") from error
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise bad("gave no ExecCredential")
    if answer.get("apiVersion") != plugin.api_version:
        raise bad(f"gave another apiVersion than {plugin.api_version}")
    status = answer.get("status")
    if not isinstance(status, dict):
        raise bad("gave no status")
    try:
        token, certificate, key, expiry = (
            text_of(status, key, f"the answer of exec plugin {name}")
            for key in ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        )
        if token:
            check_token(token, f"the token of exec plugin {name}")
        expires = datetime.fromisoformat(expiry.replace("Z", "+00:00")) if expiry else None
    except ValueError as error:
        raise bad("gave an expirationTimestamp that is no time") from error
    if bool(certificate) != bool(key):
        raise bad("gave a certificate or a key, but not both")
    if not token and not certificate:
        raise bad("gave neither a token nor a certificate")
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=timezone.utc)
    return _Credentials(token, certificate, key, expires.timestamp() if expires else None)


@contextmanager
def _closing(answer: Any) -> Iterator[None]:
    whole = False
    try:
        yield
        whole = True
    finally:
        # Only a connection whose answer was read to its end may serve the next request.
        if whole and _at_end(answer):
            answer.release_conn()
        else:
            answer.close()
            answer.release_conn()


def _at_end(answer: Any) -> bool:
    raw = getattr(answer, "_original_response", None)
    return raw is None or bool(raw.isclosed())


@contextmanager
def _faults(method: str, path: str, seconds: float) -> Iterator[None]:
    """Make one error of urllib3's many, with what is known about the request having left."""
    from urllib3 import exceptions

    try:
        yield
    except (exceptions.HTTPError, OSError, ssl.SSLError) as error:
        cause: BaseException = error
        if isinstance(error, exceptions.MaxRetryError) and error.reason is not None:
            cause = error.reason
        raise _fault(cause, method, path, seconds) from error


def _fault(error: BaseException, method: str, path: str, seconds: float) -> TransportError:
    from urllib3 import exceptions

    # urllib3 begins with the connection object's own name.
    text = re.sub(r"^HTTPS?Connection(?:Pool)?\([^)]*\): ", "", brief(str(error), 200))
    if isinstance(error, exceptions.ProxyError):
        return TransportError(f"the proxy does not let us through: {text}", sent=False)
    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        unknown = "Failed to resolve" in text
        return TransportError(f"cannot reach the API server: {text}", sent=False, lasting=unknown)
    if isinstance(error, exceptions.SSLError | ssl.SSLError):
        untrusted = "CERTIFICATE" in text.upper()
        return TransportError(
            f"cannot reach the API server: TLS: {text}", sent=not untrusted, lasting=untrusted
        )
    if isinstance(error, exceptions.ReadTimeoutError | TimeoutError):
        return TransportError(
            f"no answer from the API server within {round(seconds, 1):g} s", "see --request-timeout"
        )
    return TransportError(
        f"the connection was cut before the answer to {method} {path} was complete ({brief(text, 120)})"
    )


def _chunks(answer: Any, deadline: float | None) -> Iterator[bytes]:
    while True:
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError
        data = answer.read1(_CHUNK)
        if not data:
            return
        yield data


def _lines(answer: Any, path: str, seconds: float) -> Iterator[bytes]:
    rest = b""
    with _faults("GET", path, seconds):
        chunks = _chunks(answer, None)
    while True:
        with _faults("GET", path, seconds):
            data = next(chunks, b"")
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        yield from (line for line in whole if line)
    if rest.strip():
        raise TransportError("the connection was cut in the middle of an answer")
