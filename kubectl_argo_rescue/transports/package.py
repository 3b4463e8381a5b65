"""The portable transport, over the `kubernetes` package: client certificates, tokens, exec plugins.

The package's own kubeconfig loader (releases up to 37) drops impersonation, sends requests without
credentials after a failed exec plugin and takes the wrong current-context of several files. So the
kubeconfig is read here, strictly: what this transport cannot do exactly as kubectl does is refused
before the first request, with the reason. Never a request as somebody else, never one as nobody.
"""

from __future__ import annotations

import base64
import binascii
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from ..errors import TransportError
from . import Connection, Response, Target, one_line, user_agent

DEFAULT_TIMEOUT: Final = 30.0
NO_TIMEOUT: Final = 86400.0
CONNECT_TIMEOUT: Final = 10.0

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_USE_KUBECTL: Final = "with kubectl on PATH this works, or name another context"
_CHUNK: Final = 1 << 16


class Refused(TransportError):
    """This kubeconfig needs something that this transport would get wrong."""

    def __init__(self, message: str, hint: str = _USE_KUBECTL) -> None:
        """Take the reason; nothing was sent and asking again will not help."""
        super().__init__(message, hint, sent=False, lasting=True)


@dataclass(frozen=True, slots=True)
class Exec:
    """An exec plugin as the kubeconfig describes it."""

    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    api_version: str
    interactive_mode: str
    install_hint: str
    cluster: Mapping[str, Any] | None
    """`spec.cluster` of what the plugin is told, where it asks for it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that is needed to speak as exactly one user to exactly one server."""

    target: Target
    ca: str = ""
    """PEM; empty means the system's."""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""
    compress: bool = True
    token: str = field(default="", repr=False)
    token_file: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    exec: Exec | None = None


@dataclass(frozen=True, slots=True)
class _Credentials:
    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
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
            return self._see(Response(answer.status, _lower(answer), content))

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
                yield Response(200, _lower(answer), b""), _lines(answer, path, seconds)
            else:
                with _faults("GET", path, seconds):
                    content = b"".join(_chunks(answer, time.monotonic() + seconds))
                yield self._see(Response(answer.status, _lower(answer), content)), iter(())

    def target(self) -> Target:
        """Name context, server and namespace."""
        return self._settings.target

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
            "urllib3 2 or later is needed: 1.x takes a cut answer for a whole one", "pip install -U urllib3"
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


# -- the kubeconfig


def read_settings(connection: Connection, environ: Mapping[str, str]) -> Settings:
    """Decide server and user as kubectl would, or refuse with the reason."""
    for flag, value in (
        ("--as", connection.as_user),
        ("--as-uid", connection.as_uid),
        ("--as-group", connection.as_groups),
        ("--as-user-extra", connection.as_user_extra),
    ):
        if value:
            raise Refused(f"{flag} needs kubectl: without it this would run as the stronger user")
    config = _Kubeconfig.read(connection, environ)
    if config is None:
        inside = _in_cluster(connection, environ)
        if inside is None and not connection.server:
            raise Refused("no kubeconfig found", "see --kubeconfig and KUBECONFIG")
        config = _Kubeconfig()
        if inside is not None:
            return inside
    name = connection.context or config.current
    context: Mapping[str, Any] = {}
    if name:
        context = config.entry("context", name)
    elif not connection.cluster and not connection.server:
        raise Refused("the kubeconfig has no current-context", "see --context")
    cluster_name = connection.cluster or _text(context, "cluster", f"context {name}")
    user_name = connection.user or _text(context, "user", f"context {name}")
    cluster = config.entry("cluster", cluster_name) if cluster_name else {}
    user = config.entry("user", user_name) if user_name else {}
    where = f"cluster {cluster_name}" if cluster_name else "--server"
    settings = _cluster_settings(connection, cluster, where, config.folder("cluster", cluster_name), environ)
    target = Target(name, settings.target.server, _text(context, "namespace", f"context {name}"))
    who = f"user {user_name}" if user_name else (f"context {name} (which names no user)" if name else "this")
    login = _user_settings(
        connection,
        user,
        who,
        config.folder("user", user_name),
        config.place("user", user_name),
        cluster,
        settings,
    )
    return Settings(
        target,
        settings.ca,
        settings.verify,
        settings.tls_server_name,
        settings.proxy,
        settings.compress,
        login.token,
        login.token_file,
        login.certificate,
        login.key,
        login.exec,
    )


class _Kubeconfig:
    """The files of KUBECONFIG, merged as kubectl merges them: the first to name something wins."""

    def __init__(self) -> None:
        self.current = ""
        self._entries: dict[tuple[str, str], tuple[Mapping[str, Any], Path]] = {}

    @classmethod
    def read(cls, connection: Connection, environ: Mapping[str, str]) -> _Kubeconfig | None:
        """Read the files that there are; None where there is none."""
        merged = cls()
        found = False
        for path in _kubeconfig_files(connection, environ):
            try:
                text = path.read_text("utf-8")
            except FileNotFoundError:
                if connection.kubeconfig:
                    raise Refused(f"{path}: no such file", "see --kubeconfig") from None
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise Refused(f"{path} cannot be read: {error}", "") from error
            found = merged._add(text, path) or found
        return merged if found else None

    def entry(self, kind: str, name: str) -> Mapping[str, Any]:
        """Give the entry of this name; a name that leads nowhere is never "no credentials"."""
        try:
            return self._entries[kind, name][0]
        except KeyError:
            raise Refused(f"the kubeconfig has no {kind} {name!r}", "see kubectl config view") from None

    def place(self, kind: str, name: str) -> str:
        """Name the file of an entry, for messages."""
        return str(self._entries[kind, name][1]) if (kind, name) in self._entries else "the command line"

    def folder(self, kind: str, name: str) -> Path:
        """Give the folder to which the entry's relative paths are relative."""
        return self._entries[kind, name][1].parent if (kind, name) in self._entries else Path.cwd()

    def _add(self, text: str, path: Path) -> bool:
        import yaml

        try:
            config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise Refused(f"{path} is no YAML: {one_line(str(error), 120)}", "") from error
        if config is None:
            return False
        if not isinstance(config, dict):
            raise Refused(f"{path} is no kubeconfig", "")
        version, kind = _text(config, "apiVersion", str(path)), _text(config, "kind", str(path))
        if (version or "v1", kind or "Config") != ("v1", "Config"):
            raise Refused(
                f"{path} is no kubeconfig: it is a {kind or 'Config'} of version {version or 'v1'}", ""
            )
        self.current = self.current or _text(config, "current-context", str(path))
        for kind in ("cluster", "context", "user"):
            seen = set()
            for item in _items(config, f"{kind}s", str(path)):
                name = _text(item, "name", f"{kind}s in {path}")
                if name in seen:
                    raise Refused(f"{path} has two {kind}s named {name!r}", "")
                seen.add(name)
                content = item.get(kind)
                if content is not None and not isinstance(content, dict):
                    raise Refused(f"{kind} {name!r} in {path} is no mapping", "")
                self._entries.setdefault((kind, name), (content or {}, path.absolute()))
        return True


def _kubeconfig_files(connection: Connection, environ: Mapping[str, str]) -> list[Path]:
    if connection.kubeconfig:
        return [Path(connection.kubeconfig)]
    # An empty KUBECONFIG is as none, also to kubectl.
    listed = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if environ.get("KUBECONFIG"):
        return [Path(part) for part in listed]
    home = environ.get("HOME") or environ.get("USERPROFILE") or str(Path.home())
    return [Path(home, ".kube", "config")]


def _in_cluster(connection: Connection, environ: Mapping[str, str]) -> Settings | None:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    token = _SERVICE_ACCOUNT / "token"
    if not host or not port or not token.is_file() or connection.context or connection.server:
        return None
    namespace = ""
    with suppress(OSError):
        namespace = (_SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip()
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    ca = _read_file(_SERVICE_ACCOUNT / "ca.crt", "the service account's CA")
    return Settings(Target("", server, namespace), ca, token_file=str(token))


def _cluster_settings(
    connection: Connection, cluster: Mapping[str, Any], where: str, folder: Path, environ: Mapping[str, str]
) -> Settings:
    server = _server(connection.server or _text(cluster, "server", where), where)
    verify = not _flag(cluster, "insecure-skip-tls-verify", where)
    ca_file = _text(cluster, "certificate-authority", where)
    ca_data = _text(cluster, "certificate-authority-data", where)
    if connection.insecure_skip_tls_verify:
        # As in kubectl, the flag takes the file's CA away.
        verify, ca_file, ca_data = False, "", ""
    if connection.certificate_authority:
        folder, ca_file, ca_data = Path.cwd(), connection.certificate_authority, ""
    if not verify and (ca_file or ca_data):
        raise Refused(f"{where} has both a certificate authority and insecure-skip-tls-verify", "remove one")
    if ca_file and ca_data:
        raise Refused(f"{where} has both certificate-authority and certificate-authority-data", "remove one")
    ca = ""
    if ca_data:
        ca = _decode(ca_data, f"certificate-authority-data of {where}")
    elif ca_file:
        ca = _read_file(folder / ca_file, f"certificate-authority of {where}")
    proxy = _text(cluster, "proxy-url", where)
    _check_proxy(proxy, server, where, environ)
    return Settings(
        Target("", server, ""),
        ca,
        verify,
        connection.tls_server_name or _text(cluster, "tls-server-name", where),
        proxy,
        not (connection.disable_compression or _flag(cluster, "disable-compression", where)),
    )


def _server(server: str, where: str) -> str:
    from urllib.parse import urlsplit

    if not server:
        raise Refused(f"{where} names no server", "")
    parts = urlsplit(server)
    if parts.scheme.lower() not in ("https", "http") or not parts.hostname:
        raise Refused(f"the server of {where} is no http or https URL: {one_line(server, 80)}")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise Refused(f"the server of {where} has more than host and path")
    return f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/')}"


def _check_proxy(proxy: str, server: str, where: str, environ: Mapping[str, str]) -> None:
    from urllib.parse import urlsplit

    if proxy:
        parts = urlsplit(proxy)
        if parts.scheme != "http" or not parts.hostname:
            raise Refused(f"{where}: only http:// proxies without login are possible without kubectl")
        if parts.username or parts.password:
            raise Refused(f"{where}: the proxy's login would be lost without kubectl")
        return
    address = urlsplit(server)
    variable = f"{address.scheme}_proxy"
    if not (environ.get(variable) or environ.get(variable.upper())):
        return
    host = address.hostname or ""
    # Go never uses a proxy for this machine itself.
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return
    if (environ.get("no_proxy") or environ.get("NO_PROXY") or "").strip() == "*":
        return
    raise Refused(
        f"{variable.upper()} is set, and its rules are followed exactly by kubectl only",
        "install kubectl, or set proxy-url in the kubeconfig's cluster",
    )


_IMPERSONATION: Final = ("as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True)
class _Login:
    token: str = field(default="", repr=False)
    token_file: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    exec: Exec | None = None


def _user_settings(
    connection: Connection,
    user: Mapping[str, Any],
    who: str,
    folder: Path,
    place: str,
    cluster: Mapping[str, Any],
    settings: Settings,
) -> _Login:
    for name in _IMPERSONATION:
        if user.get(name):
            raise Refused(f"{who} impersonates ({name}); without kubectl this would run as the stronger user")
    if user.get("auth-provider"):
        raise Refused(f"{who} uses an auth-provider", "use an exec plugin, or install kubectl")
    if any((user.get("username"), user.get("password"), connection.username, connection.password)):
        raise Refused(f"{who} logs in with a password")
    token = _text(user, "token", who)
    token_file = _text(user, "tokenFile", who)
    certificate, key = _key_pair(connection, user, who, folder)
    plugin = _exec(user, who, folder, place, cluster, settings)
    if connection.token:
        # Over an exec plugin, but not over a token file: that is what kubectl does.
        token, plugin = connection.token, None
    if plugin is not None and (token or token_file or certificate):
        raise Refused(f"{who} has an exec plugin and other credentials too", "remove one")
    if token_file:
        token = ""  # the file wins, as in kubectl
        token_file = str(folder / token_file)
    if not (token or token_file or certificate or plugin):
        raise Refused(
            f"{who} has no credentials; nothing is sent as nobody",
            "see --user, --token and kubectl config view",
        )
    if token:
        _check_token(token, f"the token of {who}")
    return _Login(token, token_file, certificate, key, plugin)


def _key_pair(connection: Connection, user: Mapping[str, Any], who: str, folder: Path) -> tuple[str, str]:
    pair = []
    for name, flag in (
        ("client-certificate", connection.client_certificate),
        ("client-key", connection.client_key),
    ):
        data, path = _text(user, f"{name}-data", who), _text(user, name, who)
        if flag:
            pair.append(_read_file(Path(flag), f"--{name}"))
        elif data and path:
            raise Refused(f"{who} has both {name} and {name}-data", "remove one")
        elif data:
            pair.append(_decode(data, f"{name}-data of {who}"))
        else:
            pair.append(_read_file(folder / path, f"{name} of {who}") if path else "")
    certificate, key = pair
    if bool(certificate) != bool(key):
        raise Refused(f"{who} has a client certificate or a client key, but not both", "")
    if "ENCRYPTED" in key:
        raise Refused(f"the client key of {who} is encrypted", "decrypt it; kubectl cannot use it either")
    return certificate, key


def _check_token(token: str, what: str) -> None:
    if not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
        raise Refused(f"{what} has characters that no token has", "")


# -- exec plugins

_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def _exec(
    user: Mapping[str, Any],
    who: str,
    folder: Path,
    place: str,
    cluster: Mapping[str, Any],
    settings: Settings,
) -> Exec | None:
    plugin = user.get("exec")
    if plugin is None:
        return None
    what = f"exec of {who}"
    if not isinstance(plugin, dict):
        raise Refused(f"{what} is no mapping", "")
    version = _text(plugin, "apiVersion", what)
    if version not in _EXEC_VERSIONS:
        raise Refused(f"{what}: apiVersion {version!r} is not supported", "")
    command = _text(plugin, "command", what)
    if not command:
        raise Refused(f"{what} names no command", "")
    if os.path.basename(command) != command:
        # Relative to the kubeconfig, and run in the user's own folder.
        command = str(folder / command)
    mode = _text(plugin, "interactiveMode", what)
    if not mode and version.endswith("/v1"):
        raise Refused(f"{what} must say interactiveMode", "")
    if mode not in ("", "Never", "IfAvailable", "Always"):
        raise Refused(f"{what}: unknown interactiveMode {mode!r}", "")
    args = plugin.get("args") or []
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise Refused(f"{what}: args must be strings", "")
    env = [
        (_text(item, "name", f"env in {what}"), _text(item, "value", f"env in {what}"))
        for item in _items(plugin, "env", what)
    ]
    told = _exec_cluster(cluster, settings) if _flag(plugin, "provideClusterInfo", what) else None
    return Exec(
        command,
        tuple(args),
        tuple(env),
        version,
        mode or "IfAvailable",
        _text(plugin, "installHint", what),
        told,
    )


def _exec_cluster(cluster: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    told: dict[str, Any] = {"server": settings.target.server}
    if settings.tls_server_name:
        told["tls-server-name"] = settings.tls_server_name
    if not settings.verify:
        told["insecure-skip-tls-verify"] = True
    if settings.ca:
        told["certificate-authority-data"] = base64.b64encode(settings.ca.encode()).decode()
    if settings.proxy:
        told["proxy-url"] = settings.proxy
    if not settings.compress:
        told["disable-compression"] = True
    told["config"] = None
    for item in _items(cluster, "extensions", "the cluster"):
        if item.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = item.get("extension")
    return told


def _log_in(settings: Settings, environ: Mapping[str, str]) -> _Credentials:
    """Get the credentials for the next requests; raises rather than give none."""
    if settings.exec is not None:
        return run_plugin(settings.exec, environ)
    token = settings.token
    expires = None
    if settings.token_file:
        token = _read_file(Path(settings.token_file), "tokenFile").strip()
        if not token:
            raise Refused(f"the token file {settings.token_file} is empty", "")
        _check_token(token, f"the token in {settings.token_file}")
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
            one_line(plugin.install_hint),
            sent=False,
            lasting=True,
        ) from error
    said = one_line((done.stderr or b"").decode("utf-8", "replace"), 160)
    if done.returncode:
        raise TransportError(
            f"exec plugin {name} failed with exit code {done.returncode}" + (f": {said}" if said else ""),
            one_line(plugin.install_hint),
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
            _text(status, key, f"the answer of exec plugin {name}")
            for key in ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        )
        if token:
            _check_token(token, f"the token of exec plugin {name}")
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


# -- strict reading: Go's decoder takes no string for a bool and no number for a string


def _text(mapping: Mapping[str, Any], name: str, where: str) -> str:
    value = mapping.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(f"{name} of {where} must be a string", "quote it")
    return value


def _flag(mapping: Mapping[str, Any], name: str, where: str) -> bool:
    value = mapping.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Refused(f"{name} of {where} must be true or false", "take the quotes away")
    return value


def _items(mapping: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = mapping.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refused(f"{name} in {where} must be a list of mappings", "")
    return value


def _decode(data: str, what: str) -> str:
    try:
        return base64.b64decode("".join(data.split()), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Refused(f"{what} is no base64 of a PEM text", "") from error


def _read_file(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise Refused(f"{what}: cannot read {path}: {reason}", "") from error


# -- answers


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
    text = re.sub(r"^HTTPS?Connection(?:Pool)?\([^)]*\): ", "", one_line(str(error), 200))
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
        f"the connection was cut before the answer to {method} {path} was complete ({one_line(text, 120)})"
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


def _lower(answer: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
