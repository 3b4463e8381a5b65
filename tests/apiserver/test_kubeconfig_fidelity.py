"""Our requests beside kubectl's own: the same kubeconfig, flags and environment, the same outcome.

Each row of the table is one kubeconfig situation. `kubectl get --raw` is the oracle: what a logging
TLS server saw of it (which server, which path, who by certificate, Authorization or impersonation,
which name by SNI, through which proxy), or else the class of its error. The kubectl transport must
do the same in every row. The `kubernetes` transport must do the same or refuse, and a refusal or an
error must come before anything was sent: never as somebody else, never as nobody. What is read of a
kubeconfig without kubectl, for the line that names the target, must be what kubectl says.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
import yaml

from kubectl_argo_rescue.cluster.direct import PackageTransport
from kubectl_argo_rescue.cluster.kubeconfig import Refused
from kubectl_argo_rescue.cluster.kubectl import KubectlTransport
from kubectl_argo_rescue.cluster.kubectl_process import kubectl_flags
from kubectl_argo_rescue.cluster.target import Kubeconfig, read_target
from kubectl_argo_rescue.cluster.transport import Connection
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import JSON
from tests.testbed.kubeconfigs import credential, exec_user, kubeconfig, script
from tests.testbed.proxies import HttpConnect, Proxy, Socks5
from tests.testbed.tls_server import TlsServer, Wire

if TYPE_CHECKING:
    from tests.testbed.control_plane import ControlPlane

PROBE = "/probe"


class Servers:
    """The machines that all rows share."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.one = stack.enter_context(TlsServer(_made(folder / "one")))
        self.two = stack.enter_context(TlsServer(_made(folder / "two")))
        self.six = stack.enter_context(TlsServer(_made(folder / "six"), host=_sixth()))
        self.http = stack.enter_context(Proxy(HttpConnect))
        self.socks = stack.enter_context(Proxy(Socks5))
        for server in self.all.values():
            server.answer = lambda seen, wire: _answer(wire)
        self.alice = self.one.authority.issue("alice", "alice", ["sre"])
        self.bob = self.one.authority.issue("bob", "bob")

    @property
    def all(self) -> dict[str, TlsServer]:
        return {"one": self.one, "two": self.two, "six": self.six}

    def forget(self) -> None:
        for server in self.all.values():
            server.seen.clear()
        self.http.passed.clear()
        self.socks.passed.clear()


def _sixth() -> str:
    """The loopback of IPv6; where the machine has none, its rows compare over IPv4."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return "::1"
    except OSError:
        return "127.0.0.1"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _answer(wire: Wire) -> None:
    wire.reply({"kind": "Probe"})


@dataclass
class Row:
    """What one row is made of; its function fills it in."""

    folder: Path
    servers: Servers
    connection: Connection = field(default_factory=Connection)
    environ: dict[str, str] = field(default_factory=dict)
    leaves: bool = False
    """The request leaves this machine although no answer comes."""

    def write(
        self,
        user: JSON = None,
        cluster: JSON = None,
        context: JSON = None,
        file: str = "config",
        **more: JSON,
    ) -> Path:
        """Write a kubeconfig and point KUBECONFIG to it; a certificate of alice unless said otherwise."""
        path = kubeconfig(
            self.folder / file,
            self.cluster() if cluster is None else cluster,
            self.alice() if user is None else user,
            context,
            **more,
        )
        self.environ["KUBECONFIG"] = str(path)
        return path

    def cluster(self, at: str = "one", /, **more: JSON) -> dict[str, JSON]:
        found = self.servers.all[at]
        return {
            "server": found.url,
            "certificate-authority": str(found.authority.certificate),
            **more,
        }

    def alice(self) -> dict[str, JSON]:
        return _pair(self.servers.alice)

    def plugin(self, text: str, name: str = "login") -> Path:
        return script(self.folder / name, text)


def _pair(certificate: Path) -> dict[str, JSON]:
    return {"client-certificate": str(certificate), "client-key": str(certificate.with_suffix(".key"))}


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


Make: TypeAlias = Callable[[Row], None]
ROWS: dict[str, Make] = {}
REFUSED: set[str] = set()
"""What the `kubernetes` transport refuses although kubectl does it."""


def row(name: str, *, package: str = "agrees") -> Callable[[Make], Make]:
    """Enter a row into the table; `package` says what the other transport does: agrees or refuses."""

    def enter(make: Make) -> Make:
        assert name not in ROWS
        ROWS[name] = make
        if package == "refuses":
            REFUSED.add(name)
        return make

    return enter


def simple(name: str, make: Callable[[Row], object], *, package: str = "agrees") -> None:
    """Enter a row that is one expression."""

    def lay_out(r: Row) -> None:
        make(r)

    row(name, package=package)(lay_out)


# -- who: certificates and tokens

simple("client certificate in files", lambda r: r.write())
simple(
    "client certificate as data",
    lambda r: r.write(
        {
            "client-certificate-data": _data(r.servers.alice),
            "client-key-data": _data(r.servers.alice.with_suffix(".key")),
        }
    ),
)
simple(
    "data and files",
    lambda r: r.write(
        {
            **_pair(r.servers.bob),
            "client-certificate-data": _data(r.servers.alice),
            "client-key-data": _data(r.servers.alice.with_suffix(".key")),
        }
    ),
)
simple(
    "empty data and files",
    lambda r: r.write({**r.alice(), "client-certificate-data": "", "client-key-data": ""}),
)
simple("certificate without key", lambda r: r.write({"client-certificate": str(r.servers.alice)}))
simple(
    "key without certificate",
    lambda r: r.write({"client-key": str(r.servers.alice.with_suffix(".key"))}),
)
simple("certificate file missing", lambda r: r.write({**r.alice(), "client-certificate": "/nowhere"}))
simple(
    "data that is no base64", lambda r: r.write({"client-certificate-data": "%%%", "client-key-data": "%%%"})
)
simple(
    "certificate and key of two users",
    lambda r: r.write({**r.alice(), "client-key": str(r.servers.bob.with_suffix(".key"))}),
)
simple("token", lambda r: r.write({"token": "t0ken"}))
simple("certificate and token", lambda r: r.write({**r.alice(), "token": "t0ken"}))
simple("token that is a number", lambda r: r.write({"token": 12345}))
simple("basic login", lambda r: r.write({"username": "u", "password": "p"}), package="refuses")


@row("relative paths")
def _(r: Row) -> None:
    below = _made(r.folder / "kube" / "pki")
    for path in (r.servers.alice, r.servers.alice.with_suffix(".key"), r.servers.one.authority.certificate):
        shutil.copy(path, below)
    r.write(
        {"client-certificate": "pki/alice.crt", "client-key": "./pki/alice.key"},
        {"server": r.servers.one.url, "certificate-authority": "pki/ca.crt"},
        file="kube/config",
    )


@row("encrypted key")
def _(r: Row) -> None:
    key = r.folder / "key"
    plain = r.servers.alice.with_suffix(".key")
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", plain, "-out", key],
        check=True,
        capture_output=True,
    )
    r.write({"client-certificate": str(r.servers.alice), "client-key": str(key)})


@row("token file with a newline")
def _(r: Row) -> None:
    (r.folder / "token").write_text("from-file\n")
    r.write({"tokenFile": str(r.folder / "token")})


@row("relative token file")
def _(r: Row) -> None:
    _made(r.folder / "kube")
    (r.folder / "kube" / "token").write_text("from-file")
    r.write({"tokenFile": "token"}, file="kube/config")


@row("token and token file")
def _(r: Row) -> None:
    (r.folder / "token").write_text("from-file")
    r.write({"token": "inline", "tokenFile": str(r.folder / "token")})


@row("token file missing")
def _(r: Row) -> None:
    r.write({"tokenFile": str(r.folder / "token")})


@row("token file empty")
def _(r: Row) -> None:
    (r.folder / "token").write_text("\n")
    r.write({"tokenFile": str(r.folder / "token")})


# -- who: nobody

simple("user without credentials", lambda r: r.write({}))
simple("context without user", lambda r: r.write(context={"cluster": "here"}))
simple(
    "user entry missing",
    lambda r: r.write(context={"cluster": "here", "user": "gone"}),
)
simple("users missing", lambda r: r.write(users=None))
simple("user entry null", lambda r: r.write(users=[{"name": "here", "user": None}]))
simple(
    "two users of one name",
    lambda r: r.write(
        users=[{"name": "here", "user": {"token": "one"}}, {"name": "here", "user": {"token": "two"}}]
    ),
)
simple(
    "auth-provider azure",
    lambda r: r.write({"auth-provider": {"name": "azure", "config": {"access-token": "t"}}}),
)
simple(
    "auth-provider oidc",
    lambda r: r.write(
        {
            "auth-provider": {
                "name": "oidc",
                "config": {"id-token": "x", "client-id": "c", "idp-issuer-url": "u"},
            }
        }
    ),
)

# -- where: clusters

simple(
    "server with a path", lambda r: r.write(None, {**r.cluster(), "server": f"{r.servers.one.url}/k8s/c-1"})
)
simple(
    "server with a path and a slash",
    lambda r: r.write(None, {**r.cluster(), "server": f"{r.servers.one.url}/k8s/c-1/"}),
)
simple("server with a slash", lambda r: r.write(None, {**r.cluster(), "server": f"{r.servers.one.url}/"}))
simple(
    "server in upper case",
    lambda r: r.write(None, {**r.cluster(), "server": r.servers.one.url.replace("https", "HTTPS")}),
)
simple(
    "IPv6 with tls-server-name",
    lambda r: r.write({"token": "t"}, r.cluster("six", **{"tls-server-name": "localhost"})),
)
simple("IPv6 that the certificate does not name", lambda r: r.write({"token": "t"}, r.cluster("six")))
simple("tls-server-name", lambda r: r.write(None, r.cluster(**{"tls-server-name": "localhost"})))
simple(
    "tls-server-name that is wrong",
    lambda r: r.write(None, r.cluster(**{"tls-server-name": "elsewhere.example"})),
)
simple("untrusted server", lambda r: r.write(None, {"server": r.servers.one.url}))
simple(
    "another authority",
    lambda r: r.write(
        None, {**r.cluster(), "certificate-authority": str(r.servers.two.authority.certificate)}
    ),
)
simple(
    "authority as data",
    lambda r: r.write(
        None,
        {
            "server": r.servers.one.url,
            "certificate-authority-data": _data(r.servers.one.authority.certificate),
        },
    ),
)
simple(
    "authority as data and in a file",
    lambda r: r.write(
        None, r.cluster(**{"certificate-authority-data": _data(r.servers.one.authority.certificate)})
    ),
)
simple("authority missing", lambda r: r.write(None, {**r.cluster(), "certificate-authority": "/nowhere"}))
simple(
    "authority that is none",
    lambda r: r.write(None, {"server": r.servers.one.url, "certificate-authority-data": "bm90aGluZw=="}),
)
simple("unverified", lambda r: r.write(None, {"server": r.servers.one.url, "insecure-skip-tls-verify": True}))
simple(
    "unverified with an authority", lambda r: r.write(None, r.cluster(**{"insecure-skip-tls-verify": True}))
)
simple(
    "unverified as text",
    lambda r: r.write(None, {"server": r.servers.one.url, "insecure-skip-tls-verify": "false"}),
)
simple(
    "cluster entry missing", lambda r: r.write(context={"cluster": "gone", "user": "here"}), package="refuses"
)
simple("context entry missing", lambda r: r.write(**{"current-context": "gone"}))
simple("nobody listens", lambda r: r.write(None, {**r.cluster(), "server": "https://127.0.0.1:1"}))
simple("no such host", lambda r: r.write(None, {**r.cluster(), "server": "https://no-such-host.invalid"}))


@row("plain HTTP to a TLS port")
def _(r: Row) -> None:
    r.write({"token": "t"}, {"server": r.servers.one.url.replace("https", "http")})
    r.leaves = True


simple("server without a scheme", lambda r: r.write(None, {**r.cluster(), "server": _bare(r)}))
simple(
    "server with a query",
    lambda r: r.write(None, {**r.cluster(), "server": f"{r.servers.one.url}/k8s?x=y"}),
    package="refuses",
)
simple("server empty", lambda r: r.write(None, {**r.cluster(), "server": ""}), package="refuses")
simple(
    "IPv6 with a path",
    lambda r: r.write(
        {"token": "t"},
        r.cluster("six", **{"server": f"{r.servers.six.url}/k8s/c-1", "tls-server-name": "localhost"}),
    ),
)


def _bare(r: Row) -> str:
    return r.servers.one.url.removeprefix("https://")


@row("--server with a path over one with another")
def _(r: Row) -> None:
    r.write(None, {**r.cluster(), "server": f"{r.servers.one.url}/k8s/c-1"})
    r.connection = Connection(server=f"{r.servers.one.url}/k8s/c-2/")


# -- wrong types: kubectl reads strictly

for _name, _user in {
    "as that is a switch": {"as": True},
    "as-groups that are one": {"as": "carol", "as-groups": "one"},
    "as-user-extra with a text": {"as": "carol", "as-user-extra": {"scope": "a"}},
    "token that is a list": {"token": ["t"]},
    "token file that is a number": {"tokenFile": 5},
    "exec that is a text": {"exec": "login"},
    "exec arguments that are a text": exec_user("login", args="one"),
    "exec environment that is a map": exec_user("login", env={"WORD": "two"}),
    "data that is a number": {"client-certificate-data": 5, "client-key-data": 5},
}.items():
    simple(_name, lambda r, user=_user: r.write({**r.alice(), **user}))  # type: ignore[misc]

simple("user with a field that nobody knows", lambda r: r.write({**r.alice(), "colour": "red"}))
simple("server that is a number", lambda r: r.write(None, {**r.cluster(), "server": 5}))
simple("tls-server-name that is a number", lambda r: r.write(None, r.cluster(**{"tls-server-name": 5})))
simple("authority that is a number", lambda r: r.write(None, {**r.cluster(), "certificate-authority": 5}))
simple("current-context that is a number", lambda r: r.write(**{"current-context": 5}))  # type: ignore[arg-type]
simple(
    "namespace that is a number",
    lambda r: r.write(context={"cluster": "here", "user": "here", "namespace": 5}),
)
simple("users that are a map", lambda r: r.write(users={"here": {"token": "t"}}))
simple("users that are texts", lambda r: r.write(users=["here"]))
simple("contexts missing", lambda r: r.write(contexts=None))
simple("kind of something else", lambda r: r.write(kind="Secret"))
simple("version of the future", lambda r: r.write(apiVersion="v2"))


@row("two clusters of one name")
def _(r: Row) -> None:
    r.write(clusters=[{"name": "here", "cluster": r.cluster(at)} for at in ("one", "two")])


@row("two contexts of one name")
def _(r: Row) -> None:
    context = {"cluster": "here", "user": "here"}
    r.write(contexts=[{"name": "here", "context": context}, {"name": "here", "context": {"user": "gone"}}])


# -- proxies


def _by_name(r: Row) -> dict[str, JSON]:
    # Loopback never goes through a proxy of the environment; a proxy-url is always used.
    return {**r.cluster(**{"tls-server-name": "localhost"}), "proxy-url": f"http://{r.servers.http.address}"}


simple("proxy-url", lambda r: r.write(None, _by_name(r)))
simple(
    "proxy-url with login",
    lambda r: r.write(None, {**_by_name(r), "proxy-url": f"http://me:secret@{r.servers.http.address}"}),
    package="refuses",
)
simple(
    "proxy-url socks5",
    lambda r: r.write(
        None,
        {
            **_by_name(r),
            "server": r.servers.one.url.replace("127.0.0.1", "far.example"),
            "proxy-url": f"socks5://{r.servers.socks.address}",
        },
    ),
    package="refuses",
)
simple(
    "proxy-url that nobody serves",
    lambda r: r.write(None, {**_by_name(r), "proxy-url": "http://127.0.0.1:1"}),
)


@row("proxy-url and NO_PROXY")
def _(r: Row) -> None:
    r.write(None, _by_name(r))
    r.environ.update(NO_PROXY="*", no_proxy="127.0.0.1")


@row("HTTPS_PROXY and a server on loopback")
def _(r: Row) -> None:
    r.write()
    r.environ.update(HTTPS_PROXY=f"http://{r.servers.http.address}")


@row("ALL_PROXY")
def _(r: Row) -> None:
    r.write()
    r.environ.update(ALL_PROXY=f"http://{r.servers.http.address}")


@row("HTTPS_PROXY and a server elsewhere", package="refuses")
def _(r: Row) -> None:
    url = r.servers.one.url.replace("127.0.0.1", "far.example")
    r.write(None, r.cluster(**{"server": url, "tls-server-name": "localhost"}))
    r.environ.update(HTTPS_PROXY=f"http://{r.servers.http.address}")


# -- impersonation

simple("as", lambda r: r.write({**r.alice(), "as": "carol"}), package="refuses")
simple(
    "as with everything",
    lambda r: r.write(
        {
            **r.alice(),
            "as": "carol",
            "as-uid": "u-1",
            "as-groups": ["one", "two"],
            "as-user-extra": {"Scopes/x%": ["a", "b"]},
        }
    ),
    package="refuses",
)
simple("as-groups without as", lambda r: r.write({**r.alice(), "as-groups": ["one"]}))


@row("--as and --as-group", package="refuses")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(as_user="carol", as_groups=("one", "two"), as_uid="u-1")


@row("--as over as", package="refuses")
def _(r: Row) -> None:
    r.write({**r.alice(), "as": "dave"})
    r.connection = Connection(as_user="carol")


@row("--as-group beside as", package="refuses")
def _(r: Row) -> None:
    r.write({**r.alice(), "as": "dave", "as-groups": ["one"], "as-uid": "u-1"})
    r.connection = Connection(as_groups=("two",))


@row("--as-uid without --as")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(as_uid="u-1")


@row("--as with a token of an exec plugin", package="refuses")
def _(r: Row) -> None:
    r.write(exec_user(r.plugin(f"echo '{credential('plugin')}'")))
    r.connection = Connection(as_user="carol")


@row("--as-group without --as")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(as_groups=("one",))


@row("--as-user-extra", package="refuses")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(as_user="carol", as_user_extra=("scope=a",))


# -- several files


def _two_files(r: Row, first: dict[str, JSON], second: dict[str, JSON]) -> None:
    def config(name: str, server: str, token: str, more: dict[str, JSON]) -> Path:
        return kubeconfig(
            r.folder / name,
            {},
            None,
            clusters=[{"name": f"c-{name}", "cluster": r.cluster(server)}],
            users=[{"name": f"u-{name}", "user": {"token": token}}],
            contexts=[{"name": name, "context": {"cluster": f"c-{name}", "user": f"u-{name}"}}],
            **more,
        )

    paths = [config("first", "one", "1", first), config("second", "two", "2", second)]
    r.environ["KUBECONFIG"] = ":".join(map(str, paths))


@row("several files, the first current-context wins")
def _(r: Row) -> None:
    _two_files(r, {"current-context": "first"}, {"current-context": "second"})


@row("several files, an empty current-context is none")
def _(r: Row) -> None:
    _two_files(r, {"current-context": ""}, {"current-context": "second"})


@row("several files, the last one empties nothing")
def _(r: Row) -> None:
    _two_files(r, {"current-context": "first"}, {"current-context": ""})


@row("several files, one missing, one name empty")
def _(r: Row) -> None:
    _two_files(r, {"current-context": "second"}, {"current-context": "first"})
    r.environ["KUBECONFIG"] = f"/nowhere::{r.environ['KUBECONFIG']}:"


@row("several files, one of them empty")
def _(r: Row) -> None:
    _two_files(r, {"current-context": "first"}, {"current-context": "second"})
    (r.folder / "empty").write_text("")
    r.environ["KUBECONFIG"] = f"{r.folder / 'empty'}:{r.environ['KUBECONFIG']}"


@row("several files, one name in both")
def _(r: Row) -> None:
    first = r.write({"token": "1"}, file="a/config")
    second = r.write({"token": "2"}, r.cluster("two"), file="b/config")
    r.environ["KUBECONFIG"] = f"{first}:{second}"


@row("several files, context here and user there")
def _(r: Row) -> None:
    first = r.write(file="a/config", users=[])
    second = r.write({"token": "2"}, r.cluster("two"), file="b/config", contexts=[])
    r.environ["KUBECONFIG"] = f"{first}:{second}"


@row("several files, paths relative to each")
def _(r: Row) -> None:
    for name, token in (("a", "1"), ("b", "2")):
        _made(r.folder / name)
        (r.folder / name / "token").write_text(token)
    first = r.write(file="a/config", users=[], clusters=[])
    second = r.write({"tokenFile": "token"}, file="b/config", contexts=[])
    r.environ["KUBECONFIG"] = f"{first}:{second}"


@row("KUBECONFIG empty")
def _(r: Row) -> None:
    r.write(file="home/.kube/config")
    r.environ.update(KUBECONFIG="", HOME=str(r.folder / "home"))


@row("KUBECONFIG unset")
def _(r: Row) -> None:
    r.write(file="home/.kube/config")
    del r.environ["KUBECONFIG"]
    r.environ["HOME"] = str(r.folder / "home")


@row("no kubeconfig at all", package="refuses")
def _(r: Row) -> None:
    r.environ["KUBECONFIG"] = "/nowhere"


@row("no YAML")
def _(r: Row) -> None:
    r.write().write_text("{")


@row("no kubeconfig in the YAML")
def _(r: Row) -> None:
    r.write().write_text("[1, 2]")


# -- flags


@row("--kubeconfig")
def _(r: Row) -> None:
    other = r.write({"token": "other"}, r.cluster("two"), file="other")
    r.write()
    r.connection = Connection(kubeconfig=str(other))


@row("--kubeconfig that is missing")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(kubeconfig="/nowhere")


@row("--context")
def _(r: Row) -> None:
    _two_files(r, {"current-context": "first"}, {})
    r.connection = Connection(context="second")


@row("--context that is missing")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(context="gone")


@row("--cluster and --user")
def _(r: Row) -> None:
    _two_files(r, {"current-context": "first"}, {})
    r.connection = Connection(cluster="c-second", user="u-second")


@row("--user that is missing")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(user="gone")


@row("--cluster that is missing")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(cluster="gone")


@row("--server")
def _(r: Row) -> None:
    r.write(None, {**r.cluster(), "server": "https://127.0.0.1:1"})
    r.connection = Connection(server=r.servers.one.url)


@row("--server and --token without a kubeconfig")
def _(r: Row) -> None:
    r.environ["KUBECONFIG"] = "/nowhere"
    r.connection = Connection(
        server=r.servers.one.url,
        token="t0ken",
        certificate_authority=str(r.servers.one.authority.certificate),
    )


@row("--token over a token")
def _(r: Row) -> None:
    r.write({"token": "file"})
    r.connection = Connection(token="flag")


@row("--token over a token file")
def _(r: Row) -> None:
    (r.folder / "token").write_text("from-file")
    r.write({"tokenFile": str(r.folder / "token")})
    r.connection = Connection(token="flag")


@row("--token over an exec plugin")
def _(r: Row) -> None:
    r.write(exec_user(r.plugin(f"echo '{credential('plugin')}'")))
    r.connection = Connection(token="flag")


@row("--token beside a certificate")
def _(r: Row) -> None:
    r.write()
    r.connection = Connection(token="flag")


@row("--username and --password", package="refuses")
def _(r: Row) -> None:
    r.write({})
    r.connection = Connection(username="u", password="p")


@row("--username over a token")
def _(r: Row) -> None:
    r.write({"token": "file"})
    r.connection = Connection(username="u", password="p")


@row("--token for a context without user")
def _(r: Row) -> None:
    r.write(context={"cluster": "here"})
    r.connection = Connection(token="flag")


@row("--client-certificate and --client-key")
def _(r: Row) -> None:
    r.write()
    pair = _pair(r.servers.bob)
    r.connection = Connection(client_certificate=pair["client-certificate"], client_key=pair["client-key"])


@row("--client-certificate over data")
def _(r: Row) -> None:
    r.write(
        {
            "client-certificate-data": _data(r.servers.alice),
            "client-key-data": _data(r.servers.alice.with_suffix(".key")),
        }
    )
    pair = _pair(r.servers.bob)
    r.connection = Connection(client_certificate=pair["client-certificate"], client_key=pair["client-key"])


@row("--certificate-authority")
def _(r: Row) -> None:
    r.write(None, {**r.cluster(), "certificate-authority": str(r.servers.two.authority.certificate)})
    r.connection = Connection(certificate_authority=str(r.servers.one.authority.certificate))


@row("--certificate-authority over data")
def _(r: Row) -> None:
    data = _data(r.servers.two.authority.certificate)
    r.write(None, {"server": r.servers.one.url, "certificate-authority-data": data})
    r.connection = Connection(certificate_authority=str(r.servers.one.authority.certificate))


@row("--insecure-skip-tls-verify over an authority")
def _(r: Row) -> None:
    r.write(None, {**r.cluster(), "certificate-authority": str(r.servers.two.authority.certificate)})
    r.connection = Connection(insecure_skip_tls_verify=True)


@row("--tls-server-name")
def _(r: Row) -> None:
    r.write({"token": "t"}, r.cluster("six"))
    r.connection = Connection(tls_server_name="localhost")


# -- exec plugins

V1 = "client.authentication.k8s.io/v1"


def _exec(r: Row, text: str, **more: JSON) -> None:
    r.write(exec_user(r.plugin(text), **more))


simple("exec", lambda r: _exec(r, f"echo '{credential('plugin')}'"))
simple(
    "exec with arguments and environment",
    lambda r: _exec(
        r,
        f"echo '{credential('ARG-ENV')}' | sed s/ARG/$1/ | sed s/ENV/$WORD/",
        args=["one"],
        env=[{"name": "WORD", "value": "two"}],
    ),
)
simple("exec with nulls", lambda r: _exec(r, f"echo '{credential('plugin')}'", args=None, env=None))
simple(
    "exec v1beta1",
    lambda r: _exec(
        r,
        f"echo '{credential('plugin')}' | sed s,io/v1,io/v1beta1,",
        apiVersion=f"{V1}beta1",
        interactiveMode=None,
    ),
)
simple(
    "exec v1alpha1",
    lambda r: _exec(r, f"echo '{credential('plugin')}' | sed s,io/v1,io/v1alpha1,", apiVersion=f"{V1}alpha1"),
)
simple(
    "exec that answers in another version",
    lambda r: _exec(r, f"echo '{credential('x')}' | sed s,io/v1,io/v2,"),
)
simple("exec without interactiveMode", lambda r: _exec(r, f"echo '{credential('x')}'", interactiveMode=None))
for _mode in ("Never", "IfAvailable"):
    simple(
        f"exec that asks, {_mode}",
        lambda r, mode=_mode: _exec(  # type: ignore[misc]
            r, f"read -r word\necho '{credential('got-WORD')}' | sed \"s/WORD/$word/\"", interactiveMode=mode
        ),
    )
simple("exec that asks and gives up", lambda r: _exec(r, "read -r word || exit 1\necho no"))
simple("exec with an unknown mode", lambda r: _exec(r, f"echo '{credential('x')}'", interactiveMode="Often"))
simple(
    "exec that needs a terminal", lambda r: _exec(r, f"echo '{credential('x')}'", interactiveMode="Always")
)
simple("exec that fails", lambda r: _exec(r, "exit 3"))
simple("exec that is missing", lambda r: r.write(exec_user("no-such-plugin")))
simple("exec without command", lambda r: r.write(exec_user("")))
simple("exec without status", lambda r: _exec(r, f'echo \'{{"apiVersion":"{V1}","kind":"ExecCredential"}}\''))
simple("exec with an empty status", lambda r: _exec(r, f"echo '{credential('')}'"))
simple(
    "exec with another kind", lambda r: _exec(r, f"echo '{credential('x')}' | sed s/ExecCredential/Secret/")
)
simple("exec that says nothing", lambda r: _exec(r, "true"))
simple(
    "exec whose token has run out",
    lambda r: _exec(r, f"echo '{credential('old', expirationTimestamp='2020-01-01T00:00:00Z')}'"),
)
simple(
    "exec whose token runs out later",
    lambda r: _exec(r, f"echo '{credential('new', expirationTimestamp='2099-01-01T00:00:00Z')}'"),
)
simple(
    "exec whose time is no time",
    lambda r: _exec(r, f"echo '{credential('x', expirationTimestamp='tomorrow')}'"),
)
simple(
    "exec and token",
    lambda r: r.write({"token": "inline", **exec_user(r.plugin(f"echo '{credential('plugin')}'"))}),
    package="refuses",
)
simple(
    "exec and certificate",
    lambda r: r.write({**r.alice(), **exec_user(r.plugin(f"echo '{credential('plugin')}'"))}),
    package="refuses",
)


def _certificate_answer(r: Row, token: str, key: bool = True) -> str:
    more = {"clientCertificateData": r.servers.alice.read_text()}
    if key:
        more["clientKeyData"] = r.servers.alice.with_suffix(".key").read_text()
    answer = r.folder / "answer"
    answer.write_text(credential(token, **more))
    return f"cat {answer}"


simple("exec with a certificate", lambda r: _exec(r, _certificate_answer(r, "")))
simple("exec with a certificate and a token", lambda r: _exec(r, _certificate_answer(r, "both")))
simple("exec with a certificate without key", lambda r: _exec(r, _certificate_answer(r, "", key=False)))


def _telling(words: str) -> str:
    """A plugin whose token is a digest of what it was told."""
    return f"digest=$({words} | cksum | tr -d \" \")\necho '{credential('DIGEST')}' | sed s/DIGEST/t$digest/"


# Order and spaces of the JSON are Go's; the values are what counts.
_TOLD = (
    'python3 -c "import json, os;'
    " print(json.dumps(json.loads(os.environ['KUBERNETES_EXEC_INFO']), sort_keys=True))\""
)
simple("exec is told about itself", lambda r: _exec(r, _telling(_TOLD)))
simple("exec runs in the user's folder", lambda r: _exec(r, _telling("pwd")))


@row("exec by a relative path")
def _(r: Row) -> None:
    r.plugin(_telling("pwd"), "kube/bin/login")
    r.write(exec_user("./bin/login"), file="kube/config")


@row("exec found on PATH")
def _(r: Row) -> None:
    r.plugin(f"echo '{credential('plugin')}'", "bin/login-tool")
    r.environ["PATH"] = f"{r.folder / 'bin'}:/usr/bin:/bin"
    r.write(exec_user("login-tool"))


@row("exec is told about the cluster")
def _(r: Row) -> None:
    told: dict[str, JSON] = {
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}]
    }
    r.write(
        exec_user(r.plugin(_telling(_TOLD)), provideClusterInfo=True),
        r.cluster(**{"tls-server-name": "localhost", **told}),
    )


# -- the comparison


@dataclass(frozen=True)
class Outcome:
    """What a request came to: what the servers saw, or the class of the error."""

    seen: tuple[tuple[str, ...], ...]
    proxied: tuple[str, ...]
    error: str


_CLASSES = (
    ("other", r"private key"),
    ("tls", r"x509|certificate signed|tls: |TLS: |certificate verify"),
    ("connection", r"refused|no such host|dial tcp: lookup|Name or service|resolve|proxyconnect"),
)


def error_class(text: str) -> str:
    """Sort an error: did the network or TLS fail, or something before them."""
    for name, pattern in _CLASSES:
        if re.search(pattern, text):
            return name
    return "other"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture
def at(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Row:
    """The row under test, laid out and in force."""
    made = Row(tmp_path, servers)
    made.environ["HOME"] = str(_made(tmp_path / "nobodys-home"))
    ROWS[request.param](made)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    monkeypatch.chdir(elsewhere)
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    servers.forget()
    return made


def observed(servers: Servers, error: str) -> Outcome:
    """Take down what the servers saw, and forget it."""
    seen = tuple(
        (
            name,
            request.path,
            request.certificate,
            request.headers.get("authorization", ""),
            request.server_name,
            json.dumps(sorted((k, v) for k, v in request.headers.items() if k.startswith("impersonate"))),
        )
        for name, server in servers.all.items()
        for request in server.seen
        if request.path.endswith(PROBE)
    )
    proxied = tuple(dict.fromkeys(servers.http.passed + servers.socks.passed))
    servers.forget()
    return Outcome(seen, proxied, error)


def by_kubectl(kubectl: str, at: Row) -> Outcome:
    """The oracle."""
    command = [kubectl, *kubectl_flags(at.connection), "get", "--raw", PROBE]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180)
    return observed(at.servers, error_class(done.stderr) if done.returncode else "")


def by_us(kubectl: str, at: Row, transport: str) -> tuple[Outcome, TransportError | None]:
    error = None
    try:
        with closing(
            KubectlTransport(at.connection, kubectl)
            if transport == "kubectl"
            else PackageTransport(at.connection)
        ) as opened:
            opened.request("GET", PROBE, timeout=120)
    except TransportError as caught:
        error = caught
    return observed(at.servers, error_class(error.message) if error else ""), error


@pytest.mark.parametrize("at", ROWS, indirect=True)
def test_the_kubectl_transport_agrees(control_plane: ControlPlane, at: Row) -> None:
    kubectl = str(control_plane.bin / "kubectl")
    oracle = by_kubectl(kubectl, at)
    ours, error = by_us(kubectl, at, "kubectl")
    assert ours == oracle, error
    assert error is None or not error.sent or at.leaves


@pytest.mark.parametrize("at", ROWS, indirect=True)
def test_the_package_transport_agrees_or_refuses(
    control_plane: ControlPlane, at: Row, request: pytest.FixtureRequest
) -> None:
    kubectl = str(control_plane.bin / "kubectl")
    oracle = by_kubectl(kubectl, at)
    ours, error = by_us(kubectl, at, "package")
    if request.node.callspec.params["at"] in REFUSED:
        assert isinstance(error, Refused)
        assert (ours.seen, ours.proxied) == ((), ())
        assert oracle != ours, "kubectl does not do this either: take the row out of the refused ones"
    else:
        assert ours == oracle, error
    assert error is None or not error.sent or at.leaves
    assert all(who or token for _, _, who, token, _, _ in ours.seen), "a request as nobody"


@pytest.mark.parametrize("at", ROWS, indirect=True)
def test_a_kubeconfig_read_without_kubectl_says_the_same(control_plane: ControlPlane, at: Row) -> None:
    for path in at.folder.rglob("*"):
        if path.is_file() and '"apiVersion": "v1"' in (text := path.read_text()):
            # As kubectl writes it; JSON is not read.
            path.write_text(yaml.safe_dump(json.loads(text)))
    read = Kubeconfig(at.connection, os.environ).read()
    if read is None:
        return
    flags = [f"--kubeconfig={at.connection.kubeconfig}"] if at.connection.kubeconfig else []
    said = subprocess.run(
        [control_plane.bin / "kubectl", *flags, "config", "view", "--output=json"],
        stdout=subprocess.PIPE,
    )
    if said.returncode:
        return  # nor does the proxy start then
    for connection in (at.connection, *(Connection(context=name) for name in ("here", "first", "second"))):
        assert read_target(read, connection, os.environ) == read_target(
            json.loads(said.stdout), connection, os.environ
        )


@pytest.mark.parametrize("at", ["token"], indirect=True)
@pytest.mark.parametrize("transport", ["kubectl", "package"])
def test_a_token_that_runs_out_between_requests_is_asked_for_anew(
    control_plane: ControlPlane, at: Row, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = at.folder / "count"
    answer = credential("token-NUMBER", expirationTimestamp="2020-01-01T00:00:00Z")
    _exec(at, f"echo again >> {count}\necho '{answer}' | sed s/NUMBER/$(grep -c again {count})/")
    monkeypatch.setenv("KUBECONFIG", at.environ["KUBECONFIG"])
    kubectl = str(control_plane.bin / "kubectl")
    opened = (
        KubectlTransport(at.connection, kubectl)
        if transport == "kubectl"
        else PackageTransport(at.connection)
    )
    with closing(opened):
        for _ in range(3):
            opened.request("GET", PROBE, timeout=120)
    tokens = [seen.headers["authorization"] for seen in at.servers.one.seen if seen.path == PROBE]
    assert len(tokens) == len({*tokens}) == 3
