"""Whether Argo CD reconciles at all: its parts, what Applications tell, the way to its API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from msgspec import Struct, field

from ..model.text import display_name, one_line
from ..model.times import DurationError, human, parse_span
from ..model.values import JSON, ArgoCD, Path, Snapshot
from . import application, installation
from .operation import operation

REFRESH: Final = "argocd.argoproj.io/refresh"
PICK_UP: Final = timedelta(seconds=60)
"""How long a live controller may leave an operation or a refresh annotation untouched."""


# -- Argo CD's own parts


class Life(Enum):
    """How a part of Argo CD is."""

    ALIVE = "alive"
    PARTLY = "partly"
    DEAD = "dead"
    UNKNOWN = "unknown"


_MEANS: Final[Mapping[str, str]] = {
    "application-controller": "nothing reconciles: no sync, no operation and no refresh is carried out; "
    "edits of a spec are possible but change nothing that runs",
    "repo-server": "nothing can be rendered or compared: sync becomes Unknown, auto-sync stands still and "
    "operations end in Error",
    "redis": "it is slower, and the resource trees of the UI and of --core are missing; syncing goes on",
    "applicationset-controller": "ApplicationSets generate nothing and put nothing back",
    "server": "UI, API, CLI and webhooks do not answer; syncing goes on",
    "dex-server": "nobody can log in by SSO; syncing goes on",
    "notifications-controller": "no notifications are sent; syncing goes on",
    "commit-server": "nothing is hydrated; syncing goes on",
}
_ALWAYS: Final = ("application-controller", "repo-server", "redis", "applicationset-controller", "server")


HIDDEN: Final = "may not be looked at"
"""What is said of a part whose workloads may not be listed."""


class Part(Struct, frozen=True):
    """One part of Argo CD: alive or dead, and what follows from it."""

    name: str
    life: Life
    ready: int = 0
    wanted: int = 0
    means: str = ""
    """What its death means; empty while it lives. Of an unknown one why nothing is known, empty if not found."""
    label: str = ""
    """Its `app.kubernetes.io/name`, which the argocd CLI looks for."""


def parts_of(workloads: Iterable[JSON], namespace: str, *, are_hidden: bool = False) -> tuple[Part, ...]:
    """Judge Argo CD's parts by their workloads. One that is not found is unknown, never dead.

    `are_hidden` says that some of the workloads may not be listed: one that is not found may be there.
    """
    found: dict[str, list[JSON]] = {}
    for o in workloads:
        if o["metadata"].get("namespace") == namespace and (component := component_of(o)):
            found.setdefault(component, []).append(o)
    names = [*_ALWAYS, *(n for n in _MEANS if n in found and n not in _ALWAYS)]
    return tuple(_part(name, found.get(name, []), are_hidden=are_hidden) for name in names)


def component_of(workload: JSON) -> str:
    """Return which part of Argo CD a workload is, by its label, or else by the program that it runs; empty if none.

    argocd-operator labels the ApplicationSet controller `controller` (controllers/argocd: setAppSetLabels).
    """
    component = str((workload["metadata"].get("labels") or {}).get("app.kubernetes.io/component") or "")
    if component in _MEANS or workload.get("kind") not in ("Deployment", "StatefulSet"):
        return component if component in _MEANS else ""
    template = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        for word in (*(container.get("command") or ()), *(container.get("args") or ())):
            program = str(word).rpartition("/")[2].removeprefix("argocd-")
            if program in _MEANS and str(word).endswith(f"argocd-{program}"):
                return program
    return ""


def _part(name: str, workloads: Sequence[JSON], *, are_hidden: bool) -> Part:
    if not workloads:
        return Part(name, Life.UNKNOWN, means=HIDDEN if are_hidden else "")
    # The dynamic distribution leaves an empty StatefulSet beside the controller's Deployment.
    used = [o for o in workloads if (o.get("spec") or {}).get("replicas", 1) != 0]
    ready = sum((o.get("status") or {}).get("readyReplicas") or 0 for o in used)
    wanted = sum((o.get("spec") or {}).get("replicas", 1) for o in used)
    label = (workloads[0]["metadata"].get("labels") or {}).get("app.kubernetes.io/name", "")
    means = _MEANS[name]
    if not used:
        return Part(name, Life.DEAD, 0, 0, f"scaled to 0: {means}", label)
    if any(not (o.get("status") or {}).get("readyReplicas") for o in used):
        # With redis-ha one of two workloads without a pod is enough to break it.
        return Part(name, Life.DEAD, ready, wanted, means, label)
    if ready < wanted:
        some = "the clusters of its missing shards may be frozen" if name == _ALWAYS[0] else "it may be slow"
        return Part(name, Life.PARTLY, ready, wanted, some, label)
    return Part(name, Life.ALIVE, ready, wanted, "", label)


class Surroundings(Struct, frozen=True):
    """What stands around Argo CD: its settings, the Service of its API, who may not be asked."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """The data of argocd-cm."""
    service: str = ""
    """Name of the Service of argocd-server; empty where there is none, or it may not be read."""
    port: int = 443
    endpoints: int | None = None
    """Ready endpoints of that Service; None where that is not known."""
    context: str = ""
    """The user's --context, for commands that are printed."""
    kubeconfig: str = ""
    warnings: tuple[str, ...] = ()


class Detour(Struct, frozen=True):
    """How to reach Argo CD's API although its address does not answer."""

    why: str
    commands: tuple[str, ...]


class Health(Struct, frozen=True):
    """Whether Argo CD reconciles at all, part by part."""

    reconciling: bool | None
    """None where nothing tells."""
    text: str
    parts: tuple[Part, ...]
    detour: Detour
    newest: datetime | None = None
    """The newest comparison of any Application that was read."""
    evidence: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to say about it: it reconciles, and every part of it lives."""
        are_alive = all(part.life is Life.ALIVE for part in self.parts)
        return self.reconciling is True and are_alive and not self.evidence


class Trace(Struct, frozen=True):
    """What one Application tells about the controller that serves it."""

    name: str
    reconciled: datetime | None
    unanswered: str = ""
    """An operation or a refresh request that nobody took up, in one phrase."""


def written_at(obj: JSON, *path: str) -> datetime | None:
    """Say when a field was last written, as its manager's entry tells; None where nothing does."""
    return max((at for at, _ in writings(obj, path)), default=None)


def writings(obj: JSON, path: Path) -> Iterator[tuple[datetime, str]]:
    """Yield when and as which manager a field was written."""
    for entry in obj["metadata"].get("managedFields") or ():
        node = entry.get("fieldsV1")
        for step in path:
            node = node.get(f"f:{step}") if isinstance(node, dict) else None
        at = application.parse_time(entry.get("time"))
        if node is not None and at is not None:
            yield at, one_line(str(entry.get("manager") or "somebody"))


def trace_of(app: JSON, argocd: ArgoCD, now: datetime) -> Trace:
    """Read what an Application tells about its controller; one that is not served tells nothing."""
    name = display_name(application.key_of(app), argocd)
    if not installation.served(app, argocd) or application.is_skipping_reconcile(app):
        return Trace(name, None)
    unanswered = ""
    running = operation(app)
    if running.present and not running.phase:
        at = written_at(app, "operation")
        if at is not None and now - at > PICK_UP:
            unanswered = f"the operation of {name} has not been picked up for {human(now - at)}"
    if not unanswered and REFRESH in (app["metadata"].get("annotations") or {}):
        at = written_at(app, "metadata", "annotations", REFRESH)
        if at is not None and now - at > PICK_UP:
            unanswered = f"the refresh of {name} has not been answered for {human(now - at)}"
    return Trace(name, application.reconciled_at(app), unanswered)


def stale_after(settings: Mapping[str, str], argocd: ArgoCD) -> timedelta | None:
    """Say how old the newest comparison may be; None where the timer is off.

    Argo CD: cmd/argocd-application-controller; 120 s and 60 s of jitter, up to 2.14 180 s.
    """
    old = argocd.version is not None and not argocd.version.at_least(3, 0)
    resync = _setting(settings, "timeout.reconciliation", 180 if old else 120)
    jitter = _setting(settings, "timeout.reconciliation.jitter", 0 if old else 60)
    return 2 * (resync + jitter) + timedelta(seconds=60) if resync else None


def _setting(settings: Mapping[str, str], name: str, default: int) -> timedelta:
    try:
        return parse_span(settings[name])
    except (KeyError, DurationError):
        return timedelta(seconds=default)


def health_of(
    argocd: ArgoCD, parts: tuple[Part, ...], traces: Iterable[Trace], around: Surroundings, now: datetime
) -> Health:
    """Say whether Argo CD reconciles at all: by its parts, and by what the Applications tell."""
    newest: datetime | None = None
    unanswered: list[str] = []
    for trace in traces:
        if trace.reconciled and (newest is None or trace.reconciled > newest):
            newest = trace.reconciled
        if trace.unanswered and len(unanswered) < 3:
            unanswered.append(trace.unanswered)
    lives = {p.name: p.life for p in parts}
    age = now - newest if newest else None
    limit = stale_after(around.settings, argocd)
    seen = f"last comparison {human(age)} ago" if age is not None else "no comparison was seen"
    reconciling: bool | None
    if lives.get("application-controller") is Life.DEAD:
        reconciling, text = False, f"NOT reconciling: application-controller is dead ({seen})"
    elif lives.get("repo-server") is Life.DEAD:
        reconciling, text = False, f"NOT reconciling: repo-server is dead ({seen})"
    elif age is not None and limit is not None and age > limit and is_out_of_sight(parts):
        reconciling = False
        text = (
            f"probably NOT reconciling: nothing was compared for {human(age)}, and its parts are out of sight"
        )
    elif age is not None and limit is not None and age > limit:
        reconciling = False
        text = f"NOT reconciling: nothing was compared for {human(age)}, though {_pods_say(lives)}"
    elif unanswered and (age is None or age > PICK_UP):
        reconciling, text = False, f"probably NOT reconciling ({seen})"
    elif age is not None and (limit is not None or age <= PICK_UP):
        reconciling, text = True, f"reconciling ({seen})"
    else:
        reconciling, text = None, f"not known to be reconciling ({seen})"
    return Health(reconciling, text, parts, _detour(argocd, parts, around), newest, tuple(unanswered))


def is_out_of_sight(parts: Sequence[Part]) -> bool:
    """Whether nothing of Argo CD is seen to run here: it is managed from outside, or labelled otherwise."""
    return all(p.life is Life.UNKNOWN for p in parts)


def _pods_say(lives: Mapping[str, Life]) -> str:
    alive = lives.get("application-controller") in (Life.ALIVE, Life.PARTLY)
    return "its pods are ready" if alive else "its parts are not known to be dead"


def _detour(argocd: ArgoCD, parts: Sequence[Part], around: Surroundings) -> Detour:
    by_name = {p.name: p for p in parts}
    server = by_name.get("server", Part("server", Life.UNKNOWN))
    ns = argocd.namespace
    kubectl = "kubectl"
    kubectl += f" --kubeconfig {around.kubeconfig}" if around.kubeconfig else ""
    which = f"set-context {around.context}" if around.context else "set-context --current"
    kube_context = f" --kube-context {around.context}" if around.context else ""
    environment = f"KUBECONFIG={around.kubeconfig} " if around.kubeconfig else ""
    renamed = ""
    for part, flag in (("redis", "--redis-name"), ("repo-server", "--repo-server-name")):
        label = by_name[part].label if part in by_name else ""
        if label and label not in (f"argocd-{part}", "argocd-redis-ha", "argocd-redis-ha-haproxy"):
            renamed += f" {flag} {label}"
    core = f"{kubectl} config {which} --namespace={ns} && {environment}argocd app list --core{kube_context}{renamed}"
    if server.life is Life.DEAD:
        return Detour("argocd-server is dead; the argocd CLI works without it", (core,))
    if is_out_of_sight(parts) and not around.service and not server.means:
        # --core would look for redis and the repo-server in this cluster.
        url = one_line(around.settings.get("url", ""))
        return Detour(f"its API is {url or 'not in sight either'}; this tool needs none", ())
    if server.life is Life.UNKNOWN and not around.service:
        why = (
            f"argocd-server {server.means}"
            if server.means
            else "no argocd-server was found, as in a core install"
        )
        return Detour(f"{why}; the argocd CLI works without it", (core,))
    if around.endpoints == 0:
        return Detour(
            f"Service {around.service or 'argocd-server'} has no ready endpoint; the argocd CLI works without it",
            (core,),
        )
    forward = f"{kubectl} port-forward{f' --context {around.context}' if around.context else ''}"
    forward += f" -n {ns} svc/{around.service or 'argocd-server'} 8080:{around.port}"
    named = f" --server-name {server.label}" if server.label not in ("", "argocd-server") else ""
    cli = f"{environment}argocd app list --port-forward --port-forward-namespace {ns}{kube_context}{named}"
    url = around.settings.get("url", "")
    counted = f" with {_count(around.endpoints, 'endpoint')}" if around.endpoints is not None else ""
    return Detour(
        f"Argo CD's UI and API run{counted}. If you cannot reach {one_line(url) or 'them'} (ingress, DNS, SSO), go around:",
        (f"{forward}   # then https://localhost:8080", cli, core),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def longest_silence(argocd: ArgoCD) -> float:
    """Seconds after which a comparison is too old for a live controller (twice resync and jitter)."""
    return 2 * (120 + 60) + 60.0


def is_part_down(snapshot: Snapshot, part: str) -> bool:
    """Whether a workload of that component is there and none of its kind has a ready pod.

    An install whose parts are not found says nothing: labels differ.
    """
    found = _workloads_of(snapshot, part)
    return bool(found) and not any((o.get("status") or {}).get("readyReplicas") for o in found)


def _workloads_of(snapshot: Snapshot, part: str) -> list[JSON]:
    return [
        o
        for k, o in snapshot.objects.items()
        if k.kind in ("Deployment", "StatefulSet")
        and k.namespace == snapshot.argocd.namespace
        and component_of(o) == part
    ]


def controller_of_sets(snapshot: Snapshot) -> JSON | None:
    """Return the workload of Argo CD's ApplicationSet controller, whose flags decide what it may write."""
    return next(iter(_workloads_of(snapshot, "applicationset-controller")), None)
