"""Whether a rescue would work from here: looks at all that it needs, and writes nothing that stays."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from ..argocd import components
from ..argocd.destination import Way, words
from ..cluster.client import Cluster
from ..cluster.connect import chosen_way
from ..cluster.kubectl_process import find_kubectl, kubectl_version, on_path
from ..cluster.parallel import Done, Failed
from ..cluster.server_clock import WORTH_SAYING
from ..model.discretion import without_credentials
from ..model.errors import RescueError
from ..model.text import COMMAND
from ..model.times import human
from ..model.values import (
    APPLICATION,
    APPLICATIONSET,
    APPPROJECT,
    CONFIGMAP,
    DAEMONSET,
    DEPLOYMENT,
    DEPLOYMENT_SCALE,
    EVENT,
    POD,
    ROLLOUT,
    ROLLOUT_STATUS,
    STATEFULSET,
    STATEFULSET_SCALE,
    Key,
    Resource,
)
from ..show.checkup import Check, Finding
from . import destinations
from .session import Invocation, Session

COMPLETION: Final = "kubectl_complete-argo_rescue"
_MANY: Final = 5


class Right(NamedTuple):
    """One right that a verb needs."""

    verb: str
    resource: Resource
    is_everywhere: bool = False
    """In all namespaces: where the workloads are is not known beforehand."""

    def __str__(self) -> str:
        """Say it as the API server does."""
        group = f".{self.resource.group}" if self.resource.group else ""
        part = f"/{self.resource.subresource}" if self.resource.subresource else ""
        return f"{self.verb} {self.resource.plural}{group}{part}"


def _rights(resource: Resource, verbs: str, *, is_everywhere: bool = False) -> tuple[Right, ...]:
    return tuple(Right(verb, resource, is_everywhere) for verb in verbs.split())


_APPS: Final = _rights(APPLICATION, "get patch")
_PROJECTS: Final = _rights(APPPROJECT, "get patch")
_WORKLOADS: Final = (DEPLOYMENT, STATEFULSET, DAEMONSET)
_WATCHED: Final = "watch of workloads"
_TAKEN_BACK: Final = "rescue --workloads"

NEEDED: Final[Mapping[str, tuple[Right, ...]]] = {
    "status": _rights(APPLICATION, "get list"),
    "rescue": (*_APPS, *_rights(APPLICATION, "list watch"), *_PROJECTS),
    "pause": _APPS,
    "unblock": (*_rights(APPLICATION, "get"), *_PROJECTS),
    "pin": _APPS,
    "sync": _APPS,
    "rollback": _APPS,
    "terminate": _APPS,
    "watch": _rights(APPLICATION, "get watch"),
    "undo": (*_APPS, *_PROJECTS),
    "rescue of generated applications": _rights(APPLICATIONSET, "get patch"),
    _WATCHED: tuple(right for kind in _WORKLOADS for right in _rights(kind, "get watch", is_everywhere=True)),
    _TAKEN_BACK: tuple(
        right for kind in _WORKLOADS for right in _rights(kind, "get patch", is_everywhere=True)
    ),
    "rescue of Argo Rollouts": (
        *_rights(ROLLOUT, "get watch patch", is_everywhere=True),
        *_rights(ROLLOUT_STATUS, "patch", is_everywhere=True),
    ),
    "log prune": _rights(CONFIGMAP, "delete"),
    "Events on what is edited": _rights(EVENT, "create", is_everywhere=True),
    "freeze": (
        *_rights(STATEFULSET_SCALE, "get patch"),
        *_rights(DEPLOYMENT_SCALE, "get patch"),
        *_rights(POD, "list delete"),
    ),
    "orphan": (*_APPS, *_rights(APPLICATION, "create delete")),
}
"""What must be allowed, by verb or by what is lost without. docs/rbac.md has the roles."""

VITAL: Final = ("status", "rescue", "undo")
"""Without these there is no rescue."""

APART: Final = ("freeze", "orphan")
"""These have a Role of their own, which not everybody on call is given."""


class Checkup(NamedTuple):
    """All that was found."""

    checks: list[Check]
    missing: dict[str, list[str]]
    """By verb what it may not do."""


def checks_of_machine(environ: Mapping[str, str]) -> Iterator[Check]:
    """Look at what is needed on this machine, whatever the cluster is: kubectl and its completion."""
    program = find_kubectl(environ)
    try:
        way = chosen_way(environ)
    except RescueError as e:
        yield Check("transport", Finding.BROKEN, e.message, e.hint)
        return
    if program is None:
        lost = "the connection is made without it" if way == "package" else "nothing can be sent without it"
        finding = Finding.WARNING if way == "package" else Finding.BROKEN
        yield Check(
            "kubectl", finding, f"kubectl is not on PATH: {lost}", "install kubectl, or set KUBECTL_PATH"
        )
    else:
        text = kubectl_version(program)
        known = f"{text} ({program})" if text else f"{program} does not say its version"
        is_used = "" if way == "kubectl" else "; the connection is made by the package kubernetes instead"
        yield Check(
            "kubectl", Finding.FINE if text else Finding.WARNING, known + is_used, f"run {program} version"
        )
    if sys.platform != "win32" and on_path(COMPLETION, environ) is None:
        fix = f"{COMMAND} completion --install"
        yield Check("completion", Finding.WARNING, "kubectl does not complete applications and versions", fix)
    else:
        yield Check("completion", Finding.FINE, f"{COMPLETION} is on PATH")


def check_up(call: Invocation, contexts: Sequence[str]) -> Checkup:
    """Look at the cluster, as far as it answers, and at the clusters behind further contexts."""
    try:
        session = call.read([])
    except RescueError as e:
        target = _reached(call.cluster)
        return Checkup([Check("Argo CD", Finding.BROKEN, f"{target}{e.message}", e.hint)], {})
    found = [_server(session), _argocd(session)]
    rights, missing = _check_rights(session)
    found += rights
    found += _journal(session)
    found.append(_clock(call))
    found += _destinations(session, contexts)
    return Checkup(found, missing)


def _reached(cluster: Cluster) -> str:
    try:
        target = cluster.target()
    except RescueError:
        return ""
    return f"context {target.context or '(none)'} ({without_credentials(target.server)}): "


def _server(session: Session) -> Check:
    target = session.cluster.target()
    who = f" as {session.reading.actor}" if session.reading.actor else ", which does not say who you are"
    text = f"context {target.context or '(none)'}, {without_credentials(target.server)} answers{who}"
    return Check("API server", Finding.FINE, text)


def _argocd(session: Session) -> Check:
    argocd = session.reading.snapshot.argocd
    hidden = session.reader.hidden_parts
    parts = components.parts_of(
        session.reading.snapshot.objects.values(), argocd.namespace, are_hidden=bool(hidden)
    )
    dead = [
        p
        for p in parts
        if p.life is components.Life.DEAD and p.name in ("application-controller", "repo-server")
    ]
    text = f"{argocd.version.text if argocd.version else 'of unknown version'} in {argocd.namespace}"
    if dead:
        names = " and ".join(p.name for p in dead)
        hurt = f"{text}: {names} does not run, so nothing is deployed" if len(dead) == 1 else (
            f"{text}: {names} do not run, so nothing is deployed"
        )  # fmt: skip
        fix = f"kubectl get pods -n {argocd.namespace}; until they run: {COMMAND} rescue APP --workloads"
        return Check("Argo CD", Finding.BROKEN, hurt, fix)
    if hidden:
        return Check(
            "Argo CD", Finding.WARNING, f"{text}; whether it runs may not be looked at", "see docs/rbac.md"
        )
    if argocd.version is None:
        fix = "its image has no version: the rules of the newest tested version are taken"
        return Check("Argo CD", Finding.WARNING, text, fix)
    return Check("Argo CD", Finding.FINE, text)


# -- rights


def _check_rights(session: Session) -> tuple[list[Check], dict[str, list[str]]]:
    wanted = list(dict.fromkeys(right for rights in NEEDED.values() for right in rights))
    places = {right: _places(session, right) for right in wanted}
    questions = [(right, place) for right in wanted for place in places[right]]
    cluster = session.cluster
    got = cluster.gather_outcomes(
        *[partial(cluster.review_access, right.verb, right.resource, place) for right, place in questions]
    )
    errors = [outcome.error for outcome in got if isinstance(outcome, Failed)]
    if len(errors) == len(got):
        return [Check("rights", Finding.WARNING, f"the server does not say what you may: {errors[0]}")], {}
    allowed = {
        right
        for (right, _), outcome in zip(questions, got, strict=True)
        if not isinstance(outcome, Done) or outcome.value
    }
    missing = {
        verb: [f"{right} in {_where(places[right])}" for right in rights if right not in allowed]
        for verb, rights in NEEDED.items()
    }
    missing = {verb: lacking for verb, lacking in missing.items() if lacking}
    return list(_rights_told(missing)), missing


def _places(session: Session, right: Right) -> list[str]:
    """Return the namespaces in which a right is asked for; one that has it is enough; empty is all of them."""
    argocd = session.reading.snapshot.argocd
    if right.is_everywhere:
        return [""]
    if right.resource is APPLICATION:
        if session.common.namespace:
            return [session.common.namespace]
        return ["", argocd.namespace] if argocd.application_namespaces else [argocd.namespace]
    return [argocd.namespace]


def _where(places: Sequence[str]) -> str:
    return places[-1] or "all namespaces"


def _rights_told(missing: Mapping[str, Sequence[str]]) -> Iterator[Check]:
    apart = [verb for verb in APART if verb in missing]
    if set(missing) <= set(apart):
        but = f"; {' and '.join(apart)} take more (docs/rbac.md, To freeze)" if apart else ""
        yield Check("rights", Finding.FINE, f"all that a rescue needs{but}")
    for lacking, verbs in _by_lack({v: rights for v, rights in missing.items() if v not in apart}):
        finding = Finding.BROKEN if set(verbs) & set(VITAL) else Finding.WARNING
        text = f"no {', '.join(verbs)}: you cannot {', '.join(lacking)}"
        yield Check(
            "rights", finding, text, "ask for these rights (docs/rbac.md), or use --as or another context"
        )


def _by_lack(missing: Mapping[str, Sequence[str]]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Yield what lacks with all the verbs that lack just this."""
    found: dict[tuple[str, ...], list[str]] = {}
    for verb, lacking in missing.items():
        found.setdefault(tuple(lacking), []).append(verb)
    yield from found.items()


# -- the journal, the clock


def _journal(session: Session) -> Iterator[Check]:
    journal = session.journal
    place = session.reading.snapshot.argocd.namespace
    failures: dict[str, str] = {}
    try:
        journal.local.try_out()
    except OSError as e:
        failures["this machine"] = f"{journal.local.folders[0]}: {e.strerror or e}"
    try:
        assert journal.in_cluster is not None  # a session has one
        journal.in_cluster.try_out()
    except RescueError as e:
        failures[f"namespace {place}"] = e.message
    if not failures:
        kept = f"{journal.local.folders[0].parent} and ConfigMaps in {place} can be written"
        yield Check("journal", Finding.FINE, kept)
        return
    lost = "; ".join(f"not on {where} ({why})" for where, why in failures.items())
    lost = lost.replace("not on namespace", "not in namespace")
    if len(failures) == 2:
        fix = "nothing is written while neither takes the originals: set XDG_STATE_HOME to a folder of yours"
        yield Check("journal", Finding.BROKEN, f"originals cannot be saved: {lost}", fix)
        return
    if "this machine" in failures:
        fix = "set XDG_STATE_HOME to a folder of yours that stays"
    else:
        fix = f"ask for get, list, create and patch of configmaps in {place}: without, only this machine can undo"
    yield Check("journal", Finding.WARNING, f"originals are saved in one place: {lost}", fix)


def _clock(call: Invocation) -> Check:
    ahead = call.clock.ahead
    if abs(ahead) <= WORTH_SAYING:
        return Check("clock", Finding.FINE, "within a minute of the API server's")
    side = "behind" if ahead.total_seconds() > 0 else "ahead of"
    text = f"this machine's is {human(abs(ahead))} {side} the API server's, which is the one that counts"
    return Check(
        "clock",
        Finding.WARNING,
        text,
        "set it by NTP: times in the log of this machine are else hard to read",
    )


# -- clusters of workloads


def _destinations(session: Session, contexts: Sequence[str]) -> Iterator[Check]:
    """Try the contexts that were named; without any, those that lead to where applications are deployed."""
    if contexts:
        yield from (_spoke(session, context) for context in contexts)
        return
    session.reader.scan(session.reading.snapshot.argocd)
    first: dict[str, Key] = {}
    for key, app in session.reader.objects.items():
        if key.kind == APPLICATION.kind and (there := words(app)):
            first.setdefault(there, key)
    ways = [destinations.find(session, first[there]) for there in sorted(first)]
    ways = [way for way in ways if way.there]
    for way in ways[:_MANY]:
        yield _spoke(session, way.context, way) if way.context and not way.why_not else _lost(way)
    if len(ways) > _MANY:
        more = ", ".join(way.context or way.there for way in ways[_MANY:])
        fix = f"{COMMAND} doctor --destination-context NAME"
        yield Check(
            "other clusters", Finding.WARNING, f"{len(ways) - _MANY} more were not tried: {more}", fix
        )


def _lost(way: Way) -> Check:
    text = f"the workloads in {without_credentials(way.there)} will not be seen: {way.why_not}"
    fix = f"add a context that leads there, or name it: {COMMAND} doctor --destination-context NAME"
    return Check("other cluster", Finding.WARNING, text, fix)


def _spoke(session: Session, context: str, way: Way | None = None) -> Check:
    name = f"context {context}"
    wanted = {verb: NEEDED[verb] for verb in (_WATCHED, _TAKEN_BACK)}
    rights = list(dict.fromkeys(right for verb in wanted.values() for right in verb))
    try:
        there = session.open_destination(context, destinations.PATIENCE_SECONDS if way else None)
        target = there.target()
        got = there.gather(*[partial(there.review_access, r.verb, r.resource, "") for r in rights])
    except RescueError as e:
        return Check(name, Finding.WARNING, e.message, e.hint or "see kubectl config get-contexts")
    where = without_credentials(target.server)
    refused = {right for right, may in zip(rights, got, strict=True) if not may}
    missing = {verb: [str(r) for r in asked if r in refused] for verb, asked in wanted.items()}
    lost = [
        f"no {' and '.join(verbs)}: you cannot {', '.join(lacking)} in all namespaces"
        for lacking, verbs in _by_lack({verb: lacking for verb, lacking in missing.items() if lacking})
    ]
    if lost:
        fix = "ask for these rights there (docs/rbac.md)"
        return Check(name, Finding.WARNING, f"{where} answers; {'; '.join(lost)}", fix)
    if way and way.doubt:
        return Check(name, Finding.WARNING, way.doubt, "rescue looks whether its workloads are there")
    return Check(name, Finding.FINE, f"{where} answers; workloads there can be watched and taken back")
