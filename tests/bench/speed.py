"""One command beside the kubectl command that does the same: time, round trips, requests, memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from tests.testbed.api import JSON
from tests.testbed.control_plane import AuditEntry
from tests.testbed.plugin import PLUGIN
from tests.testbed.proxies import Distance

from .bed import OWNER, Bed, app, owner_of
from .measure import Case, Comparison, Peak, interleaved, told
from .scale import pause_ops

PAIRS = 15
ROUND_TRIP = 0.1
LONG_ROUND_TRIP = 1.0

GOAL_HELP = 1.1
GOAL_NEAR = 3.0
GOAL_FAR = 1.9
GOAL_BY_HAND = 1.0
GOAL_FREEZE = 3.0
GOAL_LOGIN = 1.15
LOGIN_SECONDS = 0.4
"""What an exec plugin takes that asks somebody for a token."""

OLD, NEW = "2.5.1", "2.4.1"
PIN = [{"op": "replace", "path": "/spec/source/targetRevision", "value": NEW}]
"""The patch of a pin, made by hand."""
EDITS: Mapping[str, Sequence[JSON]] = {"pause": pause_ops(), "pin": PIN}
WORDS = {"pause": [], "pin": [NEW]}
BY_HAND = "kubectl get to a file, a ConfigMap of it, kubectl patch"


def helps(bed: Bed, archive: Path | None, pairs: int) -> list[Comparison]:
    """Compare `--help` with kubectl's own fastest command."""
    version = bed.kubectl("version", "--client")
    ways = {"kubectl argo-rescue --help": bed.plugin("--help")}
    if archive:
        shell = bed.shell(bin=archive)
        ways["the same, from the Krew archive"] = bed.plugin("--help", environment=shell)
    # kubectl looks for a plugin before it gives way to it; this is the part that is ours.
    alone = f"{PLUGIN} --help, without kubectl before it"
    ways[alone] = bed.direct("--help")
    compared = []
    for what, case in ways.items():
        ours, theirs = interleaved(partial(_again, case), partial(_again, version), pairs)
        goal = GOAL_HELP if what == alone else None
        compared.append(Comparison(what, "kubectl version --client", ours, theirs, at_most(goal), goal))
    return compared


def _again(case: Case, _turn: int) -> float:
    return case.run()


def edits(bed: Bed, pairs: int, *, archive: Path | None = None) -> list[Comparison]:
    """Compare `pause` and `pin` with `kubectl patch` of the same field, on fresh Applications each time."""
    return [
        *(_edit(bed, verb, ops, pairs, GOAL_NEAR) for verb, ops in EDITS.items()),
        *(_beside_hands(bed, verb, pairs) for verb in EDITS),
        _with_owner(bed, pairs),
        *freezes(bed, pairs),
        *logged_in(bed, pairs),
        *([_edit(bed, "pin", PIN, pairs, bin=archive)] if archive else []),
    ]


def at_most(ratio: float | None) -> str:
    """Say a goal."""
    return f"at most {ratio:g}×" if ratio else ""


_numbers = iter(range(1_000_000))


def _edit(
    bed: Bed, verb: str, ops: Sequence[JSON], pairs: int, goal: float | None = None, *, bin: Path | None = None,
    environment: Mapping[str, str] | None = None, place: str = "",
) -> Comparison:  # fmt: skip
    prefix = f"edit-{next(_numbers)}"
    turns = range(pairs + 2)
    bed.create(*(app(f"{prefix}-{who}-{n}") for who in ("ours", "theirs") for n in turns))
    shell = environment or bed.shell(bin=bin)
    words = WORDS[verb]
    ours, theirs = interleaved(
        lambda n: bed.plugin(verb, f"{prefix}-ours-{n}", *words, environment=shell).run(),
        lambda n: bed.json_patch("application", f"{prefix}-theirs-{n}", list(ops), shell).run(),
        pairs,
    )
    suffix = f"{place}{', from the Krew archive' if bin else ''}"
    return Comparison(f"{verb}{suffix}", f"one kubectl patch{place}", ours, theirs, at_most(goal), goal)


def _beside_hands(
    bed: Bed, verb: str, pairs: int, goal: float | None = GOAL_BY_HAND, *,
    environment: Mapping[str, str] | None = None, place: str = "",
) -> Comparison:  # fmt: skip
    """Compare with those who keep an original as well: in a file, in the cluster, then the patch."""
    prefix = f"kept-{next(_numbers)}"
    turns = range(pairs + 2)
    bed.create(*(app(f"{prefix}-{who}-{n}") for who in ("ours", "theirs") for n in turns))
    ours, theirs = interleaved(
        lambda n: bed.plugin(verb, f"{prefix}-ours-{n}", *WORDS[verb], environment=environment).run(),
        lambda n: bed.by_hand(f"{prefix}-theirs-{n}", list(EDITS[verb]), environment).run(),
        pairs,
    )
    return Comparison(f"{verb}{place}", f"{BY_HAND}{place}", ours, theirs, at_most(goal), goal)


def freezes(bed: Bed, pairs: int) -> list[Comparison]:
    """Compare a freeze, until both scales are written, with the one `kubectl scale` that writes them."""
    workloads = ("statefulset/argocd-application-controller", "deployment/argocd-applicationset-controller")

    def run_again() -> None:
        for word in workloads:
            kind, _, name = word.partition("/")
            bed.api.patch(kind, name, bed.namespace, {"spec": {"replicas": 1}})

    def ours(_turn: int) -> float:
        run_again()
        mark, began = bed.control_plane.audit_mark(), datetime.now(timezone.utc)
        bed.plugin("freeze").run()
        scaled = [e for e in bed.control_plane.audit(mark) if e.verb == "patch" and "/scale?" in e.uri]
        assert len(scaled) == len(workloads)
        return max((e.at - began).total_seconds() for e in scaled)

    def theirs(_turn: int) -> float:
        run_again()
        return bed.kubectl("scale", *workloads, "--replicas=0").run()

    times = interleaved(ours, theirs, max(5, pairs // 3))
    run_again()
    what = "freeze, until both scales are written"
    return [Comparison(what, "one kubectl scale of both", *times, at_most(GOAL_FREEZE), GOAL_FREEZE)]


def logged_in(bed: Bed, pairs: int) -> list[Comparison]:
    """Log in with an exec plugin that takes its time, as most users do; each kubectl runs it anew."""
    shell = {**bed.environment, "KUBECONFIG": str(bed.kubeconfig_with_login(LOGIN_SECONDS))}
    place = f", through an exec plugin that takes {LOGIN_SECONDS} s"
    near = max(5, pairs // 2)
    return [
        *(
            _edit(bed, verb, ops, near, GOAL_LOGIN, environment=shell, place=place)
            for verb, ops in EDITS.items()
        ),
        _beside_hands(bed, "pin", near, None, environment=shell, place=place),
    ]


def _with_owner(bed: Bed, pairs: int) -> Comparison:
    names = [f"{who}-{n}" for who in ("owned", "by-hand") for n in range(pairs + 2)]
    bed.create(owner_of(*names), *(app(name, owner=OWNER) for name in names))
    resume = [{"op": "add", "path": "/spec/syncPolicy/automated/enabled", "value": True}]

    def ours(n: int) -> float:
        bed.api.request("PATCH", _path(bed, OWNER), resume, content_type="application/json-patch+json")
        return bed.plugin("pin", f"owned-{n}", NEW, "--yes").run()

    def theirs(n: int) -> float:
        pause = bed.json_patch("application", OWNER, pause_ops()).run()
        return pause + bed.json_patch("application", f"by-hand-{n}", PIN).run()

    a, b = interleaved(ours, theirs, pairs)
    bed.api.delete("application", OWNER, bed.namespace)
    return Comparison("pin, with its owner paused first", "two kubectl patches", a, b, "", None)


def _path(bed: Bed, name: str) -> str:
    return f"/apis/argoproj.io/v1alpha1/namespaces/{bed.namespace}/applications/{name}"


@dataclass(frozen=True, slots=True)
class Rounds:
    """How many round trips a command waits for: what a distance adds, over the distance."""

    what: str
    near: float
    far: float
    very_far: float

    @property
    def waited(self) -> float:
        """Round trips that 100 ms of distance add; what passes while a program starts is not among them."""
        return (self.far - self.near) / ROUND_TRIP

    @property
    def in_sequence(self) -> float:
        """Round trips one after the other, TCP and TLS among them: at this distance starting is nothing."""
        return (self.very_far - self.near) / LONG_ROUND_TRIP


def distant(bed: Bed, pairs: int) -> tuple[list[Rounds], list[Comparison]]:
    """Put the API server 100 ms away: the round trips of `pin` and `kubectl patch`, and their ratio."""
    near = {verb: _edit(bed, verb, ops, pairs) for verb, ops in EDITS.items()}
    with Distance(bed.control_plane.port, ROUND_TRIP) as proxy:
        shell = {**bed.environment, "KUBECONFIG": str(bed.kubeconfig_through(proxy.port))}
        far = {
            verb: _edit(bed, verb, ops, pairs, GOAL_FAR, environment=shell, place=" 100 ms away")
            for verb, ops in EDITS.items()
        }
    names = [f"very-far-{n}" for n in range(4)]
    bed.create(*map(app, names))
    with Distance(bed.control_plane.port, LONG_ROUND_TRIP) as proxy:
        shell = {**bed.environment, "KUBECONFIG": str(bed.kubeconfig_through(proxy.port))}
        bed.json_patch("application", names[0], PIN, shell).run()  # its discovery cache is by address
        by_hand = bed.json_patch("application", names[1], PIN, shell).run()
        very_far = {
            "pin": bed.plugin("pin", names[2], NEW, environment=shell).run(),
            "pause": bed.plugin("pause", names[3], environment=shell).run(),
        }
    found = [
        Rounds(verb, near[verb].our_time, far[verb].our_time, very_far[verb]) for verb in ("pin", "pause")
    ]
    found.append(Rounds("kubectl patch", near["pin"].their_time, far["pin"].their_time, by_hand))
    return found, list(far.values())


# -- requests and memory


def verbs(bed: Bed) -> list[tuple[str, Case]]:
    """Make an Application for each verb, and the command of it, in the order of a rescue's life."""
    bed.create(
        owner_of("counted"),
        app("counted", owner=OWNER),
        app("alone"),
        app("alone-too"),
        app("idle", automated={}),
    )

    return [
        ("status", bed.direct("status")),
        ("status APP", bed.direct("status", "counted")),
        ("windows APP", bed.direct("windows", "counted")),
        ("pause APP", bed.direct("pause", "alone")),
        ("pin APP VERSION", bed.direct("pin", "alone-too", NEW)),
        ("pin APP VERSION, with an owner", bed.direct("pin", "counted", NEW, "--yes")),
        ("sync APP", bed.direct("sync", "idle")),
        ("log", bed.direct("log")),
        ("report", bed.direct("report")),
    ]


_DISCOVERY = re.compile(r"/apis(/[^/]+){0,2}$|/openapi/")
_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectreviews")
KINDS = ("GET", "LIST", "review", "POST", "PATCH", "WATCH")


@dataclass(frozen=True, slots=True)
class Requests:
    """What one verb asked of the API server, as its audit log says."""

    verb: str
    counts: Mapping[str, int]
    repeated: tuple[str, ...]
    """Reads that were sent more than once."""
    discovery: int
    peak: Peak


def requests(bed: Bed) -> list[Requests]:
    """Run each verb once, count its requests, and look how much memory it takes."""
    found = []
    for verb, case in verbs(bed):
        mark = bed.control_plane.audit_mark()
        peak = case.peak()
        found.append(counted(verb, bed.control_plane.audit(mark), peak))
    bed.api.delete("application", OWNER, bed.namespace)
    return found


def counted(verb: str, entries: Sequence[AuditEntry], peak: Peak) -> Requests:
    """Sort the requests of one command by what they are."""
    ours = [e for e in entries if e.agent.startswith("kubectl-argo-rescue/")]
    kinds: Counter[str] = Counter()
    reads: Counter[str] = Counter()
    discovery = 0
    for e in ours:
        path = e.uri.partition("?")[0]
        if any(path.endswith(review) for review in _REVIEWS):
            kinds["review"] += 1
        elif e.verb in ("get", "list"):
            discovery += path in ("/api", "/api/v1", "/version") or bool(_DISCOVERY.match(path))
            kinds["LIST" if e.verb == "list" else "GET"] += 1
            reads[e.uri] += 1
        else:
            kinds[{"create": "POST", "patch": "PATCH", "watch": "WATCH"}.get(e.verb, e.verb.upper())] += 1
    return Requests(verb, dict(kinds), tuple(u for u, n in reads.items() if n > 1), discovery, peak)


@dataclass(frozen=True, slots=True)
class Speed:
    """All of this module's parts."""

    helps: list[Comparison]
    edits: list[Comparison]
    rounds: list[Rounds]
    far: list[Comparison]
    requests: list[Requests]


def run(bed: Bed, archive: Path | None, pairs: int) -> Speed:
    """Measure all of this module's parts."""
    with told("requests and memory"):  # first: an entry of another part would be looked at as well
        asked = requests(bed)
    with told("--help"):
        compared = helps(bed, archive, pairs)
    with told("pause and pin"):
        edited = edits(bed, pairs, archive=archive)
    with told("100 ms away"):
        trips, far = distant(bed, max(5, pairs // 2))
    return Speed(compared, edited, trips, far, asked)
