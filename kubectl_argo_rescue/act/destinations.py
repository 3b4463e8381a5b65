"""Finds the way to the cluster that an Application deploys into, and looks whether it is the right one.

Only read: what is believed of a workload there is decided by its own tracking.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from ..argocd import ownership, workloads
from ..argocd.destination import HERE, Way, way_to, words
from ..argocd.progress import rollout, workload_keys
from ..cluster.client import Cluster
from ..cluster.parallel import Attempt, Done, Failed
from ..model.errors import Code, Forbidden, NotFound, RefusedError, RescueError
from ..model.values import BY_KIND, JSON, Context, Key
from ..show.diagnosis import Elsewhere
from .session import Session

PATIENCE_SECONDS = 10.0
"""How long a cluster that nobody named may take to answer: no rescue waits for it."""

LOOKED_AT = 16
"""Workloads by which it is judged whether a context leads to the right cluster."""


def find(session: Session, key: Key, chosen: str = "") -> Way:
    """Find the context that leads to an Application's destination; `chosen` is the user's own word.

    Raises RefusedError where a context was named though Argo CD deploys into its own cluster.
    """
    app = session.reader.objects[key]
    if not words(app):
        if chosen:
            raise RefusedError(
                f"{key} deploys into the cluster of Argo CD itself",
                "leave --destination-context out",
                code=Code.OTHER_CLUSTER,
            )
        return HERE
    common = session.common
    clusters = session.reader.clusters(session.reading.snapshot.argocd)
    contexts, unread = [], ""
    try:
        contexts = list(common.world.contexts(common.connection, common.world.environ))
    except RescueError as e:
        unread = f"the contexts of the kubeconfig are not known: {e.message}"
    if chosen and not any(c.name == chosen for c in contexts):
        contexts.append(Context(chosen, server=session.open_destination(chosen).target().server))
    target = session.cluster.target()
    mine = next((c for c in contexts if c.name == target.context), Context(target.context))
    current = replace(mine, server=target.server, user=common.connection.user or mine.user)
    way = way_to(app, contexts, clusters, current, chosen=chosen, unread=unread)
    if chosen and way == HERE:
        raise RefusedError(
            f"{key} deploys into the cluster of Argo CD itself",
            "leave --destination-context out",
            code=Code.OTHER_CLUSTER,
        )
    return way


def enter(session: Session, key: Key, way: Way, *, is_named: bool = False) -> Way:
    """Connect to an Application's destination and see that its workloads there are its own.

    Afterwards `session.destination` is that cluster. Where it is not, the way that comes back says why.
    Raises RefusedError, or what went wrong, where the user named the context himself.
    """
    if not way.context or way.why_not:
        return way
    try:
        there = session.open_destination(way.context, None if is_named else PATIENCE_SECONDS)
        wrong = _what_is_wrong(session, there, key, must_prove=bool(way.doubt) and not is_named)
    except RescueError as e:
        if is_named:
            raise
        wrong = f"context {way.context} does not answer: {e.message}"
    if not wrong:
        return way
    session.destination = session.cluster
    if is_named:
        raise RefusedError(
            f"context {way.context} does not lead to the cluster that {key} deploys into ({way.there}): {wrong}",
            "nothing was changed; name another with --destination-context",
            code=Code.OTHER_CLUSTER,
        )
    return replace(way, why_not=wrong)


def look(session: Session, key: Key, chosen: str = "") -> Elsewhere | None:
    """Look at an Application's workloads where they are, if that is another cluster.

    Raises RefusedError, or what went wrong, where the user named the context himself.
    """
    way = enter(session, key, find(session, key, chosen), is_named=bool(chosen))
    if not way.there:
        return None
    if way.why_not:
        return Elsewhere(way.there, way.context, way.why_not)
    wanted = workload_keys(session.reader.objects[key])[:LOOKED_AT]
    there = session.destination
    got = there.gather_outcomes(*[partial(there.get, BY_KIND[k.kind], k.namespace, k.name) for k in wanted])
    seen = tuple((str(k), *_state(session, key, k, o)) for k, o in zip(wanted, got, strict=True))
    return Elsewhere(way.there, way.context, doubt=way.doubt, workloads=seen)


def _state(session: Session, key: Key, workload: Key, outcome: Attempt) -> tuple[str, bool]:
    if isinstance(outcome, Failed):
        return ("it is not there" if isinstance(outcome.error, NotFound) else str(outcome.error)), False
    live = {"kind": workload.kind, **outcome.value}
    if whose := foreign(session, key, live):
        return f"it is not of this application: {whose}", False
    status = rollout(live)
    return status.text, status.done


def _what_is_wrong(session: Session, there: Cluster, key: Key, *, must_prove: bool) -> str:
    """Say by what a cluster is not the one that an Application deploys into; empty where nothing says so.

    With `must_prove` one of its own workloads must be there. Raises what keeps the cluster from answering;
    that one may not look says nothing.
    """
    app = session.reader.objects[key]
    wanted = workloads.keys_of(app)[:LOOKED_AT]
    got = there.gather_outcomes(*[partial(there.get, BY_KIND[k.kind], k.namespace, k.name) for k in wanted])
    other: list[str] = []
    for workload, outcome in zip(wanted, got, strict=True):
        if isinstance(outcome, Done):
            outcome.value.setdefault("kind", workload.kind)
            whose = foreign(session, key, outcome.value)
            if not whose:
                return ""
            other.append(f"{workload}: {whose}")
        elif not isinstance(outcome.error, (NotFound, Forbidden)):
            raise outcome.error
        elif isinstance(outcome.error, NotFound) and workload in workloads.synced(app):
            other.append(f"{workload} is not there, though Argo CD has it as Synced")
    if must_prove and not other:
        return "none of its workloads is there, and only its name says that it is the same cluster"
    return "; ".join(other[:3]) if wanted and (must_prove or len(other) == len(wanted)) else ""


def foreign(session: Session, key: Key, workload: JSON) -> str:
    """Say whose a workload in another cluster is, empty where it is this Application's own."""
    other = ownership.not_of(workload, key, session.reading.snapshot.argocd)
    if other is None:
        return ""
    return f"its {other.by} names {other.owner}" if other.owner else other.note or "no Argo CD tracks it"
