"""Load and faults between the plugin and a real API server: no hang, nothing lost, nothing doubled.

Each verb is run once undisturbed, which tells its requests. Then it is run again for requests and
faults: late, cut or lost answers, 429, 500, 503, pages of a load balancer, stale reads, watches that
stall, end or lie. The installed entry point runs on the real kubectl; all of the proxy's faults are
in tests/testbed/fault_proxy.py. `make test` tries a sample, `make test-long` each fault at each request.

After each run: it ended in time with a documented exit code; a failure says what and what next;
no edit landed twice; what landed is in the journal, `log` knows it, and `undo` over a healthy
connection gives the specs back byte for byte; what somebody else wrote stays; no more requests were
under way than the documented bound; a Retry-After was waited for.

Beside the matrix: what is said while it waits; that a stalled server costs one --request-timeout;
the package transport; and hundreds of applications while the server is busy.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubectl_argo_rescue.cluster.parallel import MAX_AT_ONCE
from kubectl_argo_rescue.cluster.refresh import REFRESH
from kubectl_argo_rescue.model.values import APPLICATION, APPPROJECT, CONFIGMAP, DEPLOYMENT, JSON, STATEFULSET
from kubectl_argo_rescue.simulation.incident import traefik_incident
from tests.testbed.api import JSON_PATCH, MERGE_PATCH
from tests.testbed.fault_proxy import (
    STALE,
    STALL,
    Fault,
    FaultProxy,
    Passed,
    Point,
    Rule,
    at,
    busy,
    faults_at,
    slow,
)
from tests.testbed.kubeconfigs import kubeconfig
from tests.testbed.plugin import PLUGIN, Plugin, plugin_folder

from .conftest import Figures

if TYPE_CHECKING:
    from tests.testbed.control_plane import ControlPlane

REQUEST_SECONDS = 3.0
"""--request-timeout of the runs: a request that stalls costs so much."""

HEALTHY_SECONDS = 30.0
"""The same where nothing is to go wrong, however busy this machine is."""

WALL_SECONDS = 180.0
"""A command that has not ended by then hangs."""

WATCHED_AT_ONCE = 17
"""An application and as many workloads as are watched beside it."""

ONLY = os.environ.get("ARGO_RESCUE_FAULT_ONLY", "")
"""A pattern that narrows the matrix, to look at one case again: `undo: stale read at GET .*/root`."""

AT_ONCE = 4
"""Runs side by side: they wait more than they work."""

_numbers = itertools.count(1)


# -- what is there


@pytest.fixture(scope="module")
def objects() -> Sequence[JSON]:
    """The story's incident, with windows that are in force at any hour and Argo CD's parts alive."""
    incident = traefik_incident()
    found: list[JSON] = []
    for resource in (CONFIGMAP, STATEFULSET, DEPLOYMENT, APPPROJECT, APPLICATION):
        found += incident.api.objects(resource)
    for obj in found:
        kept = ("name", "annotations", "labels")
        obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k in kept}
        obj["metadata"]["namespace"] = "argocd"
        for window in obj["spec"].get("syncWindows", ()) if "spec" in obj else ():
            window.update(schedule="0 * * * *", duration="2h")
        if obj["metadata"]["name"] == "traefik" and obj["kind"] == "Application":
            obj["status"]["health"]["status"] = "Progressing"
        if obj["metadata"]["name"] == "root":
            # One that heals would be left to write the version, and no controller runs here.
            obj["spec"]["syncPolicy"]["automated"]["selfHeal"] = False
    return found


def placed(value: JSON, namespace: str, name: str = "") -> JSON:
    """Move an object into one namespace, with all that it says about namespaces, and into the past."""
    if isinstance(value, dict):
        return {k: placed(v, namespace, k) for k, v in value.items()}
    if isinstance(value, list):
        return [placed(v, namespace) for v in value]
    if name in ("namespace", "controllerNamespace") and value in ("argocd", "traefik", "web"):
        return namespace
    if not isinstance(value, str):
        return value
    return value.replace(":argocd/", f":{namespace}/").replace("2026-11-27", "2026-11-20")


READY = {
    "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1,
}  # fmt: skip

THEIRS: Mapping[str, tuple[tuple[str, str, JSON], ...]] = {
    "in the way": (
        ("Application", "traefik", {"source": {"targetRevision": "2.5.2"}, "revisionHistoryLimit": 7}),
        ("Application", "root", {"syncPolicy": {"automated": {"prune": None}}}),
        ("AppProject", "cluster", {"description": "theirs", "syncWindows": [
            {"kind": "deny", "schedule": "0 * * * *", "duration": "2h", "applications": ["web", "traefik"]},
            {"kind": "deny", "schedule": "0 * * * *", "duration": "2h", "applications": ["api", "traefik"]},
        ]}),
    ),
    "beside": (
        ("Application", "traefik", {"revisionHistoryLimit": 7}),
        ("AppProject", "cluster", {"description": "theirs"}),
    ),
}  # fmt: skip
"""What somebody else writes between an old answer and the run that gets it."""


@dataclass
class Ran:
    """One command that ended, or was ended."""

    words: tuple[str, ...]
    code: int | None
    """None where it did not end in time."""
    out: str
    err: str
    seconds: float


class Bed:
    """The incident in a namespace of its own, and a home for the plugin."""

    def __init__(self, plane: ControlPlane, objects: Sequence[JSON], folder: Path) -> None:
        number = next(_numbers)
        self.plane = plane
        self.namespace = plane.namespace(f"fault-{number}")
        self.home = folder / f"home-{number}"
        self.home.mkdir()
        for obj in objects:
            plane.api.create(placed(obj, self.namespace))
            if obj["kind"] in ("StatefulSet", "Deployment") and obj["metadata"]["name"] != "traefik":
                self.make_ready(obj["kind"], obj["metadata"]["name"])
        self.wanted = self.specs()
        """How all must be after the undo."""

    def make_ready(self, kind: str, name: str, replicas: int = 1) -> None:
        """Let all pods of a workload be ready."""
        path = self.plane.api.kind(kind).path(self.namespace, name, "status")
        status = {key: 1 if key == "observedGeneration" else replicas for key in READY}
        self.plane.api.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)

    def proxy(self, *rules: Rule) -> FaultProxy:
        """A proxy to run commands through, behind which Argo CD does what it is asked for."""
        return FaultProxy(self.plane, *rules, on_request=self._on_request, on_answer=self._on_answer)

    def _on_request(self, passed: Passed) -> None:
        """Let traefik get well as soon as somebody watches it."""
        if passed.is_watch and "traefik" in passed.path and "/applications?" in passed.path:
            self.make_ready("Deployment", "traefik", 2)
            body = {"status": {"health": {"status": "Healthy"}}}
            self.plane.api.patch("Application", "traefik", self.namespace, body)
            self.plane.api.close()

    def _on_answer(self, passed: Passed, body: bytes) -> None:
        """Compare with git, which has not moved, when it is asked for by the annotation."""
        if passed.method != "PATCH" or "/applications/" not in passed.path or b"refresh" not in body:
            return
        api = self.plane.api
        path = passed.path.partition("?")[0]
        app = api.request("GET", path)
        if REFRESH in (app["metadata"].get("annotations") or {}):
            traefik = api.get("Application", "traefik", self.namespace)
            version = traefik["spec"]["source"]["targetRevision"]
            status = {
                **app["status"],
                "reconciledAt": f"2026-12-01T00:{next(_numbers) % 3600 // 60:02}:{next(_numbers) % 60:02}Z",
            }
            for resource in status["resources"]:
                if (resource["kind"], resource["name"]) == ("Application", "traefik"):
                    resource["status"] = "Synced" if version == "2.5.1" else "OutOfSync"
            ops = [
                {"op": "remove", "path": "/metadata/annotations/argocd.argoproj.io~1refresh"},
                {"op": "add", "path": "/status", "value": status},
            ]
            api.request("PATCH", path, ops, content_type=JSON_PATCH)
        api.close()

    def write_beside(self, what: str) -> None:
        """Let somebody else write."""
        for kind, name, spec in THEIRS[what]:
            self.plane.api.patch(kind, name, self.namespace, {"spec": spec})
            self.plane.api.close()

    def run(
        self,
        proxy: FaultProxy,
        *words: str,
        seconds: float = REQUEST_SECONDS,
        env: Mapping[str, str] | None = None,
        within: float = WALL_SECONDS,
    ) -> Ran:
        """Run one command through a proxy, as the entry point that is installed."""
        config = self.home / f"config-{proxy.url.rpartition(':')[2]}"
        kubeconfig(config, {"server": proxy.url}, {"token": "t0ken"})
        command = [
            str(plugin_folder() / PLUGIN), f"--argocd-namespace={self.namespace}",
            f"--request-timeout={seconds:g}s", *words,
        ]  # fmt: skip
        environment = {**Plugin(self.plane, self.home / "homes").environment(), "KUBECONFIG": str(config)}
        began = time.monotonic()
        with subprocess.Popen(
            command,
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                out, err = child.communicate(timeout=within)
                code: int | None = child.returncode
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                code = None
        return Ran(words, code, out, err, time.monotonic() - began)

    def specs(self) -> dict[str, str]:
        """The spec of each Application and AppProject, as the server writes it."""
        found = {}
        for kind in ("Application", "AppProject"):
            for obj in self.plane.api.list(kind, self.namespace):
                found[f"{kind} {obj['metadata']['name']}"] = json.dumps(obj["spec"])
        return found

    def undisturbed(self, *words: str) -> Ran:
        """Run a command over a healthy connection; it must do."""
        with self.proxy() as proxy:
            ran = self.run(proxy, *words, seconds=HEALTHY_SECONDS)
        assert ran.code == 0, f"{words} over a healthy connection: {ran.code}\n{ran.err}"
        return ran


# -- the matrix


@dataclass(frozen=True)
class Scenario:
    """A verb, and what was done before."""

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    theirs: str = "in the way"
    when_healthy: tuple[str, ...] = ()
    """More words for the run that must do, however slow this machine is."""
    is_steady: bool = True
    """Whether it makes each request equally often in each run; one that watches does as time passes."""


UNDO = ("undo", "--yes", "--redeploy")
RESCUE = ("rescue", "traefik", "--yes", "--no-wait")

SCENARIOS: Mapping[str, Scenario] = {
    "pause": Scenario(("pause", "traefik", "web", "--yes")),
    "unblock": Scenario(("unblock", "traefik", "--yes")),
    "pin": Scenario(("pin", "traefik", "2.4.1", "--yes")),
    "sync": Scenario(("sync", "traefik", "--yes"), (("unblock", "traefik", "--yes"),), "beside"),
    "rescue": Scenario(RESCUE),
    "undo": Scenario(UNDO, (RESCUE,), "beside"),
    "status": Scenario(("status", "traefik")),
    "log": Scenario(("log",), (("pause", "web", "--yes"),), "beside"),
    "watch": Scenario(("watch", "traefik", "--timeout=8s"), when_healthy=("--timeout=60s",), is_steady=False),
}


@dataclass(frozen=True)
class Case:
    """One fault at one request of a verb."""

    verb: str
    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.verb}: {self.fault} at {self.point}"


@dataclass
class Baseline:
    """What a verb does when nothing is wrong."""

    namespace: str
    passed: Sequence[Passed]

    @property
    def cases(self) -> list[tuple[Point, Fault]]:
        """Every fault at every request, in an order that does not depend on who came first."""
        points = sorted({Point(p.key, p.occurrence) for p in self.passed}, key=str)
        return [(point, fault) for point in points for fault in faults_at(point)]

    def path(self, key: str) -> str:
        """A path that was asked for under this key, with the query."""
        return next(p.path for p in self.passed if p.key == key)


def chosen(cases: Sequence[Case], count: int, offset: int) -> list[Case]:
    """Take so many, spread over requests and faults: writes every second time."""
    if not count or count >= len(cases):
        return list(cases)
    writes = [case for case in cases if case.point.is_write]
    reads = [case for case in cases if not case.point.is_write]
    wanted = [(writes, count // 2 if writes else 0), (reads, count - (count // 2 if writes else 0))]
    found = []
    for among, many in wanted:
        step = len(among) / max(1, many)
        found += [among[int(i * step + offset * 7) % len(among)] for i in range(many)]
    return found


def recorded(scenario: Scenario, bed: Bed) -> Baseline:
    """Run a verb undisturbed."""
    for words in scenario.before:
        bed.undisturbed(*words)
    with bed.proxy() as proxy:
        ran = bed.run(proxy, *scenario.words, *scenario.when_healthy, seconds=HEALTHY_SECONDS)
    assert ran.code == 0, f"{ran.words}: {ran.code}\n{ran.err}"
    assert proxy.most_at_once <= MAX_AT_ONCE
    bed.undisturbed(*UNDO)
    assert bed.specs() == bed.wanted
    return Baseline(bed.namespace, proxy.passed)


def tried(case: Case, baseline: Baseline, bed: Bed) -> list[str]:
    """Let one fault befall one request; return what was wrong about what came of it."""
    scenario = SCENARIOS[case.verb]
    with bed.proxy(at(case.point, case.fault)) as proxy:
        proxy.rules, rules = [], proxy.rules
        if case.fault is STALE:
            proxy.remember(baseline.path(case.point.key).replace(baseline.namespace, bed.namespace))
        for words in scenario.before:
            bed.undisturbed(*words)
        if case.fault is STALE:
            bed.write_beside(scenario.theirs)
            bed.wanted = with_theirs(bed.wanted, scenario.theirs)
        proxy.rules = rules
        ran = bed.run(proxy, *scenario.words)
    wrong = [*wrong_end(ran), *wrong_manners(ran, proxy, baseline)]
    if ran.code is None:
        return wrong
    if not any(p.fault for p in proxy.passed):
        wrong.append("the request was never made, so nothing was tried")
    return wrong + wrong_state(bed)


def with_theirs(specs: Mapping[str, str], what: str) -> dict[str, str]:
    """Lay what somebody else wrote over specs."""
    found = dict(specs)
    for kind, name, spec in THEIRS[what]:
        found[f"{kind} {name}"] = json.dumps(
            merged(json.loads(found[f"{kind} {name}"]), spec), sort_keys=True
        )
    return {key: json.dumps(json.loads(text), sort_keys=True) for key, text in found.items()}


def merged(value: JSON, over: JSON) -> JSON:
    """Apply a merge patch."""
    if not isinstance(over, dict):
        return over
    kept = {**value, **{k: merged(value.get(k) or {}, v) for k, v in over.items()}}
    return {k: v for k, v in kept.items() if v is not None}


CODES = (0, 1, 3, 4, 5, 6)

FAILURE = re.compile(r"^(?:error|conflict|forbidden|refused): .+", re.MULTILINE)
HINT = re.compile(r"^(?:error|conflict|forbidden|refused): .+(?:; |\n  \S)", re.MULTILINE)
"""What to do next stands in the same line, or in one of its own below."""

WAITING = re.compile(r"^(?:the API server asks|no answer from the API server).*", re.MULTILINE)


def wrong_end(ran: Ran) -> list[str]:
    """Say what is wrong about how a command ended and what it said."""
    if ran.code is None:
        return [f"it hangs: no end within {WALL_SECONDS:g} s"]
    wrong = []
    if ran.code not in CODES:
        wrong.append(f"exit code {ran.code}")
    if "internal error" in ran.err or "Traceback" in ran.err:
        wrong.append("an internal error")
    if ran.code:
        failures = FAILURE.findall(ran.err)
        if not failures:
            wrong.append("it does not say what failed")
        elif not (HINT.search(ran.err) or "kubectl argo-rescue" in ran.err):
            wrong.append(f"it does not say what to do next: {failures[-1]}")
    if len(WAITING.findall(ran.err)) > 8:
        wrong.append("it talks too much about waiting")
    return [f"{text}\n{ran.err}" for text in wrong]


def wrong_manners(ran: Ran, proxy: FaultProxy, baseline: Baseline) -> list[str]:
    """Say what is wrong about the requests that were made."""
    wrong = []
    if proxy.most_at_once > MAX_AT_ONCE:
        wrong.append(f"{proxy.most_at_once} requests at once")
    if proxy.most_watches > WATCHED_AT_ONCE:
        wrong.append(f"{proxy.most_watches} watches at once")
    for i, passed in enumerate(proxy.passed):
        # Reviews and events go out several together.
        if passed.asked_to_wait and not re.search(r"reviews|/events", passed.key):
            later = next((p for p in proxy.passed[i + 1 :] if p.key == passed.key), None)
            if later is not None and later.arrived - passed.arrived < passed.asked_to_wait - 0.01:
                wrong.append(f"asked to wait, it came back after {later.arrived - passed.arrived:.2f} s")
    if len(proxy.passed) > len(baseline.passed) + 40:
        wrong.append(f"{len(proxy.passed)} requests in place of {len(baseline.passed)}")
    return wrong


def wrong_state(bed: Bed) -> list[str]:
    """Say what is wrong about what was left, and about undoing it."""
    specs = bed.specs()
    entries = json.loads(bed.undisturbed("log", "-o", "json").out)["data"]["entries"]
    held = {
        f"{edit['kind']} {edit['name']}" for e in entries if e["open"] or e["inDoubt"] for edit in e["edits"]
    }
    wrong = []
    for key, spec in specs.items():
        if not same(spec, bed.wanted[key]) and key not in held:
            wrong.append(f"LOST: {key} was changed and the log does not say so")
    for entry in entries:
        for edit in entry["edits"]:
            key = f"{edit['kind']} {edit['name']}"
            stands = [c for c in edit["changes"] if c["now"] == "stands" and not c["settled"]]
            if stands and entry["open"] and same(specs[key], bed.wanted[key]):
                wrong.append(f"the log says that {key} is changed, and it is not")
    with bed.proxy() as proxy:
        ran = bed.run(proxy, *UNDO, seconds=HEALTHY_SECONDS)
    if ran.code:
        wrong.append(f"undo over a healthy connection ends with {ran.code}\n{ran.err}")
    for key, spec in bed.specs().items():
        if not same(spec, bed.wanted[key]):
            wrong.append(f"LOST: undo leaves {key} as {spec}, not {bed.wanted[key]}\n{ran.err}")
    return wrong


def same(one: str, other: str) -> bool:
    """Whether two specs are the same, byte for byte in one order of keys."""
    return json.dumps(json.loads(one), sort_keys=True) == json.dumps(json.loads(other), sort_keys=True)


def is_edit(verb: str, code: int, body: JSON) -> bool:
    """Whether a request of the audit log changed what somebody wants, not only asked for a comparison."""
    return (verb, code) == ("patch", 200) and any(
        op["op"] != "test" and op["path"].startswith(("/spec", "/operation")) for op in body
    )


def doubled(plane: ControlPlane, since: int, namespaces: Mapping[str, str]) -> list[str]:
    """Say which edits landed twice, by the API server's audit log; `namespaces` gives each one's case."""
    landed: dict[tuple[str, str], int] = {}
    for entry in plane.audit(since):
        if entry.verb != "patch" or entry.code != 200 or "dryRun" in entry.uri:
            continue
        if not any(
            op["path"].startswith(("/spec", "/operation")) and op["op"] != "test" for op in entry.body
        ):
            continue
        key = (entry.uri.partition("?")[0], json.dumps(entry.body))
        landed[key] = landed.get(key, 0) + 1
    found = []
    for (uri, body), count in landed.items():
        namespace = uri.split("/")[5]
        if count > 1 and namespace in namespaces:
            found.append(f"DOUBLED in {namespaces[namespace]}: {uri} {count} times {body}")
    return found


@pytest.mark.parametrize("verb", SCENARIOS)
def test_a_fault_at_a_request(
    verb: str,
    control_plane: ControlPlane,
    objects: Sequence[JSON],
    tmp_path: Path,
    sample: int,
    figures: Figures,
) -> None:
    mark = control_plane.audit_mark()
    scenario = SCENARIOS[verb]
    baseline = recorded(scenario, Bed(control_plane, objects, tmp_path))
    everything = [Case(verb, point, fault) for point, fault in baseline.cases]
    everything = [
        case
        for case in everything
        if re.search(ONLY, str(case)) and (scenario.is_steady or not case.point.occurrence)
    ]
    cases = chosen(everything, sample, list(SCENARIOS).index(verb))
    beds = [Bed(control_plane, objects, tmp_path) for _ in cases]

    def try_one(case: Case, bed: Bed) -> list[str]:
        try:
            return [f"{case}: {text}" for text in tried(case, baseline, bed)]
        except AssertionError as error:
            return [f"{case}: {error}"]
        finally:
            control_plane.api.close()  # this thread's

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for texts in pool.map(try_one, cases, beds) for text in texts]
    wrong += doubled(
        control_plane, mark, {bed.namespace: str(case) for case, bed in zip(cases, beds, strict=True)}
    )
    figures.note(len(everything), len(cases), wrong)
    assert not wrong, "\n\n".join(wrong)


# -- what the matrix does not say


@pytest.fixture
def bed(control_plane: ControlPlane, objects: Sequence[JSON], tmp_path: Path) -> Bed:
    return Bed(control_plane, objects, tmp_path)


PATCHES = r"/applications/traefik$"


def test_a_wait_that_the_server_asks_for_is_told_and_kept(bed: Bed) -> None:
    with bed.proxy(Rule(busy(2), "PATCH", PATCHES)) as proxy:
        ran = bed.run(proxy, "pause", "traefik", "--yes", seconds=HEALTHY_SECONDS)
    assert ran.code == 0, ran.err
    what = f"Application {bed.namespace}/traefik"
    told = [text for text in WAITING.findall(ran.err) if "asks to wait" in text]
    assert told == [f"the API server asks to wait 2 s (429 Too Many Requests): {what}"]
    first, second = (p for p in proxy.passed if p.method == "PATCH" and "/applications/" in p.path)
    assert second.arrived - first.arrived >= 2
    assert (first.landed, second.landed) == (0, 200)


def test_a_late_answer_is_told(bed: Bed) -> None:
    with bed.proxy(Rule(slow(5.0), "PATCH", PATCHES)) as proxy:
        ran = bed.run(proxy, "pause", "traefik", "--yes", seconds=HEALTHY_SECONDS)
    assert ran.code == 0, ran.err
    told = WAITING.findall(ran.err)
    what = f"Application {bed.namespace}/traefik; it is waited for up to {HEALTHY_SECONDS:g} s"
    assert [text for text in told if what in text]
    assert len(told) <= ran.seconds / 5


@pytest.mark.parametrize("transport", ["kubectl", "package"])
def test_a_server_that_stalls_costs_one_request_timeout(bed: Bed, transport: str) -> None:
    with bed.proxy(Rule(STALL, "GET", times=None)) as proxy:
        ran = bed.run(proxy, "pause", "traefik", "--yes", env={"ARGO_RESCUE_TRANSPORT": transport})
    assert ran.code == 1
    assert "error: no answer from the API server within 3 s (AR1201)\n  see --request-timeout" in ran.err
    assert REQUEST_SECONDS <= ran.seconds < 4 * REQUEST_SECONDS


def test_a_busy_server_that_stays_so_is_asked_so_often_and_no_more(bed: Bed) -> None:
    with bed.proxy(Rule(busy(1), "PATCH", PATCHES, times=None)) as proxy:
        ran = bed.run(proxy, "pause", "traefik", "--yes")
    assert ran.code == 1
    assert wrong_end(ran) == []
    assert 2 <= sum(p.method == "PATCH" and "/applications/" in p.path for p in proxy.passed) <= 10
    assert bed.specs() == bed.wanted


PACKAGE_FAULTS = ("reset after", "chunks cut", "stalls in the middle", "429 wait 1", "page 504 after")


def test_faults_at_the_edit_over_the_package(
    control_plane: ControlPlane, objects: Sequence[JSON], tmp_path: Path
) -> None:
    mark = control_plane.audit_mark()
    faults = [fault for fault in faults_at(Point("PATCH /", 0)) if fault.name in PACKAGE_FAULTS]
    assert len(faults) == len(PACKAGE_FAULTS)
    beds = [Bed(control_plane, objects, tmp_path) for _ in faults]

    def try_one(fault: Fault, bed: Bed) -> list[str]:
        try:
            with bed.proxy(Rule(fault, "PATCH", PATCHES)) as proxy:
                ran = bed.run(proxy, "pause", "traefik", "--yes", env={"ARGO_RESCUE_TRANSPORT": "package"})
            wrong = [*wrong_end(ran), *wrong_state(bed)]
            return [f"{fault}: {text}" for text in [*wrong, *([ran.err] if ran.code else [])]]
        finally:
            control_plane.api.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for texts in pool.map(try_one, faults, beds) for text in texts]
    named = {bed.namespace: fault.name for fault, bed in zip(faults, beds, strict=True)}
    assert [*wrong, *doubled(control_plane, mark, named)] == []


def test_hundreds_of_applications_while_the_server_is_busy(bed: Bed, control_plane: ControlPlane) -> None:
    names = [f"app-{n}" for n in range(300)]
    template = control_plane.get("Application", "web", bed.namespace)
    for name in names:
        meta = {"name": name, "namespace": bed.namespace}
        control_plane.api.create({**template, "metadata": meta})
    bed.wanted = bed.specs()
    mark = control_plane.audit_mark()
    one_third = (
        Rule(busy(1), "PATCH", "/applications/", times=None, every=9),
        Rule(busy(0), "PATCH", "/applications/", nth=1, times=None, every=3),
    )
    with bed.proxy(*one_third) as proxy:
        ran = bed.run(proxy, "pause", "--all", "--yes", seconds=HEALTHY_SECONDS)
    assert ran.code == 0, ran.err
    assert wrong_end(ran) == []
    refused = sum(bool(p.fault) for p in proxy.passed)
    assert refused > 100
    assert 1 < proxy.most_at_once <= MAX_AT_ONCE
    assert len(WAITING.findall(ran.err)) <= 1 + ran.seconds / 5
    landed = [e.uri.partition("?")[0] for e in control_plane.audit(mark) if is_edit(e.verb, e.code, e.body)]
    assert sorted(landed) == sorted(set(landed))
    assert len(landed) == len(names) + 3
    for key, spec in bed.specs().items():
        if key.startswith("Application"):
            assert not json.loads(spec)["syncPolicy"].get("automated", {}).get("enabled", True), key
    assert ran.seconds < 90
    assert wrong_state(bed) == []
