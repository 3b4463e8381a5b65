"""Reads a kubeconfig strictly, for the transport that goes without kubectl.

What it cannot do exactly as kubectl does is refused before the first request, with the reason. Never
a request as somebody else, never one as nobody.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from kubectl_argo_rescue.model.values import Confidential, Context

from ..model.errors import TransportError
from ..model.text import brief
from .transport import Connection, Target

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_USE_KUBECTL: Final = "with kubectl on PATH this works, or name another context"


class Refused(TransportError):
    """This kubeconfig needs something that this transport would get wrong."""

    def __init__(self, message: str, hint: str = _USE_KUBECTL) -> None:
        """Take the reason; nothing was sent and asking again will not help."""
        super().__init__(message, hint, sent=False, lasting=True)


class Exec(Struct, frozen=True):
    """An exec plugin as the kubeconfig describes it."""

    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    api_version: str
    interactive_mode: str
    install_hint: str
    cluster: Mapping[str, Any] | None
    """`spec.cluster` of what the plugin is told, where it asks for it."""


class Settings(Confidential, frozen=True):
    """All that is needed to speak as exactly one user to exactly one server."""

    target: Target
    ca: str = ""
    """PEM; empty means the system's."""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""
    compress: bool = True
    token: str = ""
    token_file: str = ""
    certificate: str = ""
    key: str = ""
    exec: Exec | None = None


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
    cluster_name = connection.cluster or text_of(context, "cluster", f"context {name}")
    user_name = connection.user or text_of(context, "user", f"context {name}")
    cluster = config.entry("cluster", cluster_name) if cluster_name else {}
    user = config.entry("user", user_name) if user_name else {}
    where = f"cluster {cluster_name}" if cluster_name else "--server"
    settings = _cluster_settings(connection, cluster, where, config.folder("cluster", cluster_name), environ)
    target = Target(name, settings.target.server, text_of(context, "namespace", f"context {name}"))
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


def list_contexts(connection: Connection, environ: Mapping[str, str]) -> list[Context]:
    """Return the contexts of the kubeconfig, of each what tells which cluster it leads to.

    Raises Refused where the files cannot be read as kubectl reads them.
    """
    config = _Kubeconfig.read(connection, environ)
    return config.contexts() if config is not None else []


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

    def contexts(self) -> list[Context]:
        """Return every context, whether its cluster is there or not."""
        found = []
        for kind, name in self._entries:
            if kind == "context":
                context = self._entries[kind, name][0]
                cluster, user = (str(context.get(field) or "") for field in ("cluster", "user"))
                entry = self._entries.get(("cluster", cluster), ({}, Path()))[0]
                server, authority = str(entry.get("server") or ""), self._authority(cluster, entry)
                found.append(Context(name, cluster, user, server, authority))
        return found

    def _authority(self, name: str, cluster: Mapping[str, Any]) -> str:
        """Return a cluster's authority as PEM; empty where there is none, or it cannot be read."""
        data, file = cluster.get("certificate-authority-data"), cluster.get("certificate-authority")
        where = f"certificate authority of cluster {name}"
        with suppress(Refused):
            if data:
                return _decode(str(data), where)
            if file:
                return read_file(self.folder("cluster", name) / str(file), where)
        return ""

    def _add(self, text: str, path: Path) -> bool:
        import yaml

        try:
            config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise Refused(f"{path} is no YAML: {brief(str(error), 120)}", "") from error
        if config is None:
            return False
        if not isinstance(config, dict):
            raise Refused(f"{path} is no kubeconfig", "")
        version, kind = text_of(config, "apiVersion", str(path)), text_of(config, "kind", str(path))
        if (version or "v1", kind or "Config") != ("v1", "Config"):
            raise Refused(
                f"{path} is no kubeconfig: it is a {kind or 'Config'} of version {version or 'v1'}", ""
            )
        self.current = self.current or text_of(config, "current-context", str(path))
        for kind in ("cluster", "context", "user"):
            seen = set()
            for item in _items(config, f"{kind}s", str(path)):
                name = text_of(item, "name", f"{kind}s in {path}")
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
    ca = read_file(_SERVICE_ACCOUNT / "ca.crt", "the service account's CA")
    return Settings(Target("", server, namespace), ca, token_file=str(token))


def _cluster_settings(
    connection: Connection, cluster: Mapping[str, Any], where: str, folder: Path, environ: Mapping[str, str]
) -> Settings:
    server = _server(connection.server or text_of(cluster, "server", where), where)
    verify = not _flag(cluster, "insecure-skip-tls-verify", where)
    ca_file = text_of(cluster, "certificate-authority", where)
    ca_data = text_of(cluster, "certificate-authority-data", where)
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
        ca = read_file(folder / ca_file, f"certificate-authority of {where}")
    proxy = text_of(cluster, "proxy-url", where)
    _check_proxy(proxy, server, where, environ)
    return Settings(
        Target("", server, ""),
        ca,
        verify,
        connection.tls_server_name or text_of(cluster, "tls-server-name", where),
        proxy,
        not (connection.disable_compression or _flag(cluster, "disable-compression", where)),
    )


def _server(server: str, where: str) -> str:
    from urllib.parse import urlsplit

    if not server:
        raise Refused(f"{where} names no server", "")
    parts = urlsplit(server)
    if parts.scheme.lower() not in ("https", "http") or not parts.hostname:
        raise Refused(f"the server of {where} is no http or https URL: {brief(server, 80)}")
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


class _Login(Confidential, frozen=True):
    token: str = ""
    token_file: str = ""
    certificate: str = ""
    key: str = ""
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
    token = text_of(user, "token", who)
    token_file = text_of(user, "tokenFile", who)
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
        check_token(token, f"the token of {who}")
    return _Login(token, token_file, certificate, key, plugin)


def _key_pair(connection: Connection, user: Mapping[str, Any], who: str, folder: Path) -> tuple[str, str]:
    pair = []
    for name, flag in (
        ("client-certificate", connection.client_certificate),
        ("client-key", connection.client_key),
    ):
        data, path = text_of(user, f"{name}-data", who), text_of(user, name, who)
        if flag:
            pair.append(read_file(Path(flag), f"--{name}"))
        elif data and path:
            raise Refused(f"{who} has both {name} and {name}-data", "remove one")
        elif data:
            pair.append(_decode(data, f"{name}-data of {who}"))
        else:
            pair.append(read_file(folder / path, f"{name} of {who}") if path else "")
    certificate, key = pair
    if bool(certificate) != bool(key):
        raise Refused(f"{who} has a client certificate or a client key, but not both", "")
    if "ENCRYPTED" in key:
        raise Refused(f"the client key of {who} is encrypted", "decrypt it; kubectl cannot use it either")
    return certificate, key


def check_token(token: str, what: str) -> None:
    """Refuse what no header could carry."""
    if not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
        raise Refused(f"{what} has characters that no token has", "")


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
    version = text_of(plugin, "apiVersion", what)
    if version not in _EXEC_VERSIONS:
        raise Refused(f"{what}: apiVersion {version!r} is not supported", "")
    command = text_of(plugin, "command", what)
    if not command:
        raise Refused(f"{what} names no command", "")
    if os.path.basename(command) != command:
        # Relative to the kubeconfig, and run in the user's own folder.
        command = str(folder / command)
    mode = text_of(plugin, "interactiveMode", what)
    if not mode and version.endswith("/v1"):
        raise Refused(f"{what} must say interactiveMode", "")
    if mode not in ("", "Never", "IfAvailable", "Always"):
        raise Refused(f"{what}: unknown interactiveMode {mode!r}", "")
    args = plugin.get("args") or []
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise Refused(f"{what}: args must be strings", "")
    env = [
        (text_of(item, "name", f"env in {what}"), text_of(item, "value", f"env in {what}"))
        for item in _items(plugin, "env", what)
    ]
    told = _exec_cluster(cluster, settings) if _flag(plugin, "provideClusterInfo", what) else None
    return Exec(
        command,
        tuple(args),
        tuple(env),
        version,
        mode or "IfAvailable",
        text_of(plugin, "installHint", what),
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


def text_of(mapping: Mapping[str, Any], name: str, where: str) -> str:
    """Read a string, empty where there is none."""
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


def read_file(path: Path, what: str) -> str:
    """Read a file that a kubeconfig names."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise Refused(f"{what}: cannot read {path}: {reason}", "") from error
