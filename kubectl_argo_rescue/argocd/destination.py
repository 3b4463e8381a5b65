"""Which context of a kubeconfig leads to the cluster that an Application deploys into. Pure."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from ..model.values import JSON, Context
from . import application


class Registered(Struct, frozen=True):
    """A cluster as a Secret of Argo CD has it, without its credentials."""

    name: str
    server: str
    authority: str = ""
    """Its certificate authority as PEM, empty where none is named."""


def registered(secret: JSON) -> Registered | None:
    """Read name, address and authority out of a cluster's Secret (Argo CD: util/db/cluster.go); None without an address."""
    name, server, config = (_decoded(secret, field) for field in ("name", "server", "config"))
    if not server:
        return None
    try:
        data = (json.loads(config).get("tlsClientConfig") or {}).get("caData") or ""
        authority = binascii.a2b_base64(data).decode()
    except (ValueError, AttributeError, TypeError):
        authority = ""
    return Registered(name or server, server, authority)


def _decoded(secret: JSON, name: str) -> str:
    text = str((secret.get("data") or {}).get(name) or "")
    try:
        return binascii.a2b_base64(text).decode(errors="replace")
    except ValueError:
        return ""


def words(app: JSON) -> str:
    """Name the cluster that an Application deploys into, empty for the one of Argo CD itself."""
    if application.deploys_here(app):
        return ""
    to = _to(app)
    return str(to.get("server") or to.get("name") or "another cluster")


def _to(app: JSON) -> JSON:
    return (app.get("spec") or {}).get("destination") or {}


def address(server: str) -> str:
    """Return what two addresses of one API server have in common.

    Argo CD tells clusters at one address apart by what follows `?`, which leads to the same server.
    """
    parts = urlsplit(server.strip())
    host = parts.netloc.rpartition("@")[2].lower()
    if parts.scheme.lower() == "https":
        host = host.removesuffix(":443")
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"


class Way(Struct, frozen=True):
    """How the workloads of an Application can be looked at; without words they are in Argo CD's own cluster."""

    there: str = ""
    """Their cluster in words."""
    context: str = ""
    """The context that leads there."""
    why_not: str = ""
    """Why they cannot be looked at, empty where they can."""
    doubt: str = ""
    """Why the context may lead to another cluster."""


HERE = Way()


def way_to(
    app: JSON,
    contexts: Sequence[Context],
    clusters: Sequence[Registered],
    current: Context,
    *,
    chosen: str = "",
    unread: str = "",
) -> Way:
    """Find the context that leads to an Application's destination.

    Args:
        app: the Application.
        contexts: those of the kubeconfig.
        clusters: what Argo CD's Secrets say, as far as they may be read.
        current: the one by which Argo CD itself is reached.
        chosen: the context that the user named for it.
        unread: why the contexts could not be read, empty where they could.
    """
    there = words(app)
    found, by = candidates(app, contexts, clusters)
    if not there or any(application.is_local(c.server) for c in _known(app, clusters)):
        return HERE
    is_known = bool(by) and by != "name"
    if is_known and any(c.name == current.name for c in found) and not chosen:
        return HERE
    if address(str(_to(app).get("server") or "")) == address(current.server) and not chosen:
        return HERE
    way = Way(there)
    if chosen:
        mine = next((c for c in contexts if c.name == chosen), Context(chosen))
        is_sure = is_known and any(c.name == chosen for c in found)
        return replace(way, context=chosen, doubt="" if is_sure else _doubt(app, mine))
    if not found:
        return replace(way, why_not=unread or "no context of the kubeconfig is known to lead there")
    best = _one_of(found, current)
    if best is None:
        names = ", ".join(sorted(c.name for c in found))
        return replace(way, why_not=f"several contexts lead there: {names}")
    return replace(way, context=best.name, doubt="" if is_known else _doubt(app, best))


def _known(app: JSON, clusters: Sequence[Registered]) -> list[Registered]:
    to = _to(app)
    server, name = str(to.get("server") or ""), str(to.get("name") or "")
    if server:
        return [c for c in clusters if address(c.server) == address(server)]
    return [c for c in clusters if c.name == name]


def candidates(
    app: JSON, contexts: Sequence[Context], clusters: Sequence[Registered]
) -> tuple[list[Context], str]:
    """Return the contexts that lead to the destination, and by which sign: the surest one that finds any."""
    to, known = _to(app), _known(app, clusters)
    servers = [s for s in (str(to.get("server") or ""), *(c.server for c in known)) if s]
    addresses = {address(s) for s in servers}
    names = {str(n) for n in (to.get("name"), *(c.name for c in known)) if n} - addresses
    arns = [n for n in (*servers, *names) if n.startswith("arn:")]
    authorities = {"".join(c.authority.split()) for c in known} - {""}
    signs = (
        ("server", [c for c in contexts if c.server and address(c.server) in addresses]),
        ("ARN", [c for c in contexts if any(_is_arn_of(arn, c) for arn in arns)]),
        ("certificate authority", [c for c in contexts if "".join(c.authority.split()) in authorities]),
        ("name", [c for c in contexts if names & {c.name, c.cluster}]),
    )
    return next(((found, by) for by, found in signs if found), ([], ""))


def _is_arn_of(arn: str, context: Context) -> bool:
    """Whether a context is of that EKS cluster, as `aws eks update-kubeconfig` or eksctl name it."""
    if arn in (context.name, context.cluster):
        return True
    parts = re.fullmatch(r"arn:[^:]*:eks:([^:]+):[^:]*:cluster/(.+)", arn)
    return parts is not None and context.cluster == f"{parts[2]}.{parts[1]}.eksctl.io"


def _one_of(found: Sequence[Context], current: Context) -> Context | None:
    """Return the context to use; None where it makes a difference which one."""
    if len({address(c.server) for c in found}) > 1:
        return None
    mine = [c for c in found if c.user == current.user] or found
    return mine[0] if len({c.user for c in mine}) == 1 else None


def _doubt(app: JSON, context: Context) -> str:
    to = _to(app)
    said = str(to.get("server") or "") or f"named {to.get('name')}"
    leads = f" leads to {context.server}" if context.server else " is not in the kubeconfig"
    return f"the destination is the cluster {said}, and context {context.name}{leads}: is it the same?"
