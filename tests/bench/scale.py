"""How the plugin grows with the number of Applications, beside kubectl and beside the API server itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import random
import socket
import ssl
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode

from kubectl_argo_rescue.model.patches import encode
from kubectl_argo_rescue.model.values import FIELD_MANAGER
from tests.testbed.api import JSON, JSON_PATCH
from tests.testbed.proxies import Distance
from tests.testbed.sources import project

from .bed import Bed, app
from .measure import Peak, timed, told

CONNECTIONS = 12
"""As many requests at once as the plugin sends."""

APP_BYTES = 18_000
SAMPLE = 50
"""Objects of the kubectl loop that are really patched; the rest is the same again."""

ENTRIES = 1_000
PROJECTS = 400
AWAY_SIZE = 500
"""At most so many Applications are tried from a distance: the loop is slow."""
ROUND_TRIP = 0.02
"""Seconds to an API server in another building; most are not on the same machine."""

FINALIZER = "resources-finalizer.argocd.argoproj.io"
REFRESH = "argocd.argoproj.io/refresh"
PAUSED = "/spec/syncPolicy/automated/enabled"


class Crowd:
    """Sends many requests to the API server over a few kept connections, and nothing else."""

    def __init__(self, bed: Bed) -> None:
        plane = bed.control_plane
        pki = plane.folder / "pki"
        self._context = ssl.create_default_context(cafile=str(plane.authority.certificate))
        self._context.load_cert_chain(pki / "user-admin.crt", pki / "user-admin.key")
        self._port = plane.port

    def connection(self) -> http.client.HTTPSConnection:
        """Open one connection."""
        return http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=600)

    def send(self, method: str, requests: Sequence[tuple[str, bytes]], content_type: str) -> float:
        """Send them all and return the seconds; an answer that is no success is an error."""
        waiting: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        for request in requests:
            waiting.put(request)
        failures: list[str] = []

        def work() -> None:
            wire = self.connection()
            headers = {"Content-Type": content_type, "User-Agent": "argo-rescue-testbed"}
            while not failures:
                try:
                    path, body = waiting.get_nowait()
                except queue.Empty:
                    break
                wire.request(method, path, body, headers)
                answer = wire.getresponse()
                said = answer.read()
                if answer.status >= 300:
                    failures.append(f"{method} {path}: {answer.status} {said[:300]!r}")
            wire.close()

        def all_of_it() -> None:
            threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        seconds = timed(all_of_it)
        if failures:
            raise AssertionError(failures[0])
        return seconds


@contextlib.contextmanager
def comparing(bed: Bed, crowd: Crowd) -> Iterator[None]:
    """Answer each request to compare at once, as an Argo CD whose git says what runs."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{bed.namespace}/applications"
    kind = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    wire = crowd.connection()
    wire.request("GET", f"{path}?limit=1", headers={"Accept": kind.format("List")})
    at = json.loads(wire.getresponse().read())["metadata"]["resourceVersion"]

    def answer() -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):  # it was closed
            wire.request(
                "GET", f"{path}?watch=true&resourceVersion={at}", headers={"Accept": kind.format("")}
            )
            events = wire.getresponse()
            while line := events.readline():
                meta = json.loads(line)["object"]["metadata"]
                if REFRESH in (meta.get("annotations") or {}):
                    compared = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
                    ops = [
                        {"op": "remove", "path": f"/metadata/annotations/{REFRESH.replace('/', '~1')}"},
                        {"op": "add", "path": "/status/reconciledAt", "value": compared},
                    ]
                    crowd.send("PATCH", _bodies(bed, [meta["name"]], ops), JSON_PATCH)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        if wire.sock is not None:
            wire.sock.shutdown(socket.SHUT_RDWR)
        thread.join(30)
        wire.close()


def path_of(name: str, namespace: str) -> str:
    """Return an Application's path with the query that the plugin's patches have."""
    query = urlencode({"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"})
    return f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/applications/{name}?{query}"


def pause_ops(uid: str = "") -> list[JSON]:
    """Return the patch of a pause, guarded as the plugin's where the uid is given."""
    guards: list[JSON] = [{"op": "test", "path": "/metadata/uid", "value": uid}] if uid else []
    absent: list[JSON] = [{"op": "test", "path": PAUSED, "value": None}] if uid else []
    return [*guards, *absent, {"op": "add", "path": PAUSED, "value": False}]


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured with one number of Applications, in seconds and megabytes."""

    count: int
    pause: float
    undo: float
    loop: float
    """`kubectl patch` for each, extrapolated from SAMPLE where there are more."""
    bare: float
    """The same patches, concurrent, by a program that does nothing else."""
    status: float
    get: float
    """`kubectl get app -o json`."""
    status_peak: Peak
    get_peak: Peak
    pause_peak: Peak
    undo_peak: Peak

    def series(self) -> Mapping[str, float]:
        """Return the lines of the plot."""
        return {
            "pause --all": self.pause,
            "undo": self.undo,
            "loop of kubectl patch": self.loop,
            "bare concurrent patches": self.bare,
            "status": self.status,
            "kubectl get -o json": self.get,
        }


@dataclass(frozen=True, slots=True)
class Log:
    """`log` with ENTRIES entries in both homes."""

    count: int
    seconds: float
    peak: Peak
    get: float
    """`kubectl get configmap -o json` of the same."""


@dataclass(frozen=True, slots=True)
class Away:
    """`pause --all` and the loop with the API server a round trip away, in seconds."""

    count: int
    pause: float
    loop: float


@dataclass(frozen=True, slots=True)
class Windows:
    """`windows -A` with PROJECTS projects of up to four random windows."""

    count: int
    seconds: float
    peak: Peak
    get: float
    """`kubectl get app -o json`."""


@dataclass(frozen=True, slots=True)
class Dying:
    """`status` while every tenth of the Applications is being deleted with its workloads."""

    count: int
    dying: int
    seconds: float
    peak: Peak


@dataclass(slots=True)
class Scale:
    """All sizes, the windows and the log."""

    sizes: list[Size] = field(default_factory=list)
    away: Away | None = None
    dying: Dying | None = None
    windows: Windows | None = None
    log: Log | None = None


def measure(bed: Bed, sizes: Sequence[int], entries: int = ENTRIES) -> Scale:
    """Fill the API server up to each size in turn, and measure there."""
    found = Scale()
    crowd = Crowd(bed)
    if entries:
        with told(f"log with {entries} entries"):
            found.log = _log(bed, crowd, entries)
    away_at = max((size for size in sizes if size <= AWAY_SIZE), default=0)
    filled = 0
    for size in sizes:
        with told(f"{size} Applications of {APP_BYTES // 1000} kB are created"):
            _fill(bed, crowd, filled, size)
        filled = size
        with told(f"{size} Applications"):
            found.sizes.append(_at(bed, crowd, size))
        if size == away_at:
            with told(f"{size} Applications, {ROUND_TRIP * 1000:.0f} ms away"):
                found.away = _away(bed, crowd, size)
    if filled:
        with told(f"{filled} Applications in {PROJECTS} projects with windows"):
            found.windows = _windows(bed, crowd, filled, found.sizes[-1].get)
        with told(f"{filled} Applications, of which {filled // 10} are dying"):
            found.dying = _dying(bed, crowd, filled)
    return found


def _dying(bed: Bed, crowd: Crowd, size: int) -> Dying:
    """Last of all: they stay dying, as no controller takes their finalizer away."""
    names = sorted(_uids(bed))[::10]
    finalizers = [{"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}]
    crowd.send("PATCH", _bodies(bed, names, finalizers), JSON_PATCH)
    place = f"/apis/argoproj.io/v1alpha1/namespaces/{bed.namespace}/applications"
    crowd.send("DELETE", [(f"{place}/{name}", b"") for name in names], "application/json")
    status = bed.plugin("status")
    seconds = statistics.median(status.run() for _ in range(3))
    return Dying(size, len(names), seconds, bed.direct("status").peak())


def _away(bed: Bed, crowd: Crowd, size: int) -> Away:
    with Distance(bed.control_plane.port, ROUND_TRIP) as proxy:
        shell = {**bed.environment, "KUBECONFIG": str(bed.kubeconfig_through(proxy.port))}
        sample = sorted(_uids(bed))[:SAMPLE]
        bed.json_patch(
            "application", sample[0], pause_ops(), shell
        ).run()  # its discovery cache is by address
        loop = sum(bed.json_patch("application", name, pause_ops(), shell).run() for name in sample)
        crowd.send("PATCH", _bodies(bed, sample, [{"op": "remove", "path": PAUSED}]), JSON_PATCH)
        pause = bed.plugin("pause", "--all", "--yes", environment=shell).run()
    with comparing(bed, crowd):
        bed.plugin("undo", "--yes").run()
    return Away(size, pause, loop * size / len(sample))


def _windows(bed: Bed, crowd: Crowd, size: int, get: float) -> Windows:
    chance = random.Random(PROJECTS)
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{bed.namespace}/appprojects"
    made = [
        project(
            f"team-{n}",
            namespace=bed.namespace,
            windows=[_window(chance) for _ in range(chance.randint(0, 4))],
        )
        for n in range(PROJECTS)
    ]
    crowd.send("POST", [(path, encode(p)) for p in made], "application/json")
    moves = [
        (
            path_of(name, bed.namespace),
            encode([{"op": "add", "path": "/spec/project", "value": f"team-{n % PROJECTS}"}]),
        )
        for n, name in enumerate(sorted(_uids(bed)))
    ]
    crowd.send("PATCH", moves, JSON_PATCH)
    seconds = statistics.median(bed.plugin("windows", "-A").run() for _ in range(3))
    return Windows(size, seconds, bed.direct("windows", "-A").peak(), get)


def _window(chance: random.Random) -> JSON:
    fields = (
        ("0", "30", "*/5", "*"), ("*", "8-17", "22", "*/2"), ("*", "*", "1"), ("*", "*", "11,12"), ("*", "1-5"),
    )  # fmt: skip
    return {
        "kind": chance.choice(["allow", "deny"]),
        "schedule": " ".join(chance.choice(field) for field in fields),
        "duration": chance.choice(["5m", "30m", "1h", "8h", "24h", "64h"]),
        "timeZone": chance.choice(["UTC", "Europe/Paris", "America/New_York"]),
        "manualSync": chance.random() < 0.3,
        "applications": [chance.choice(["*", "app-0*", "{app-*1,app-*2}", "app-00017"])],
    }


def _name(number: int) -> str:
    return f"app-{number:05}"


def _fill(bed: Bed, crowd: Crowd, first: int, end: int) -> None:
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{bed.namespace}/applications"
    template = json.dumps(app("@NAME@", size=APP_BYTES))
    bodies = [template.replace("@NAME@", _name(n)).encode() for n in range(first, end)]
    crowd.send("POST", [(path, body) for body in bodies], "application/json")


def _at(bed: Bed, crowd: Crowd, size: int) -> Size:
    looks = 5 if size <= 500 else 3
    statuses, gets = [], []
    status = bed.plugin("status")
    get = bed.kubectl("get", "applications.argoproj.io", "-o", "json")
    status.run()
    for _ in range(looks):
        statuses.append(status.run())
        gets.append(get.run())
    status_peak = bed.direct("status").peak()
    get_peak = get.peak()
    uids = _uids(bed)
    names = sorted(uids)
    resume = _bodies(bed, names, [{"op": "remove", "path": PAUSED}])
    sample = names[: min(SAMPLE, len(names))]

    loop = sum(bed.json_patch("application", name, pause_ops()).run() for name in sample)
    crowd.send("PATCH", _bodies(bed, sample, [{"op": "remove", "path": PAUSED}]), JSON_PATCH)
    loop *= size / len(sample)

    guarded = [(path_of(n, bed.namespace), encode(pause_ops(uids[n]))) for n in names]
    bares, pauses, undos = [], [], []
    turns = 3 if size <= 500 else 1
    for _ in range(turns):
        bares.append(crowd.send("PATCH", guarded, JSON_PATCH))
        crowd.send("PATCH", resume, JSON_PATCH)
        pauses.append(bed.plugin("pause", "--all", "--yes").run())
        with comparing(bed, crowd):
            undos.append(bed.plugin("undo", "--yes").run())
    pause_peak = bed.direct("pause", "--all", "--yes").peak()
    with comparing(bed, crowd):
        undo_peak = bed.direct("undo", "--yes").peak()
    return Size(
        count=size,
        pause=statistics.median(pauses),
        undo=statistics.median(undos),
        loop=loop,
        bare=statistics.median(bares),
        status=statistics.median(statuses),
        get=statistics.median(gets),
        status_peak=status_peak,
        get_peak=get_peak,
        pause_peak=pause_peak,
        undo_peak=undo_peak,
    )


def _bodies(bed: Bed, names: Sequence[str], ops: Sequence[JSON]) -> list[tuple[str, bytes]]:
    body = encode(ops)
    return [(path_of(name, bed.namespace), body) for name in names]


def _uids(bed: Bed) -> dict[str, str]:
    """Return the uid of each Application of this benchmark."""
    found: dict[str, str] = {}
    token = ""
    while True:
        query = {"limit": "500", **({"continue": token} if token else {})}
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{bed.namespace}/applications"
        page = bed.api.request("GET", path, query=query)
        for item in page["items"]:
            found[item["metadata"]["name"]] = item["metadata"]["uid"]
        token = page["metadata"].get("continue", "")
        if not token:
            return found


def _log(bed: Bed, crowd: Crowd, entries: int) -> Log:
    """Make many entries of one that the plugin wrote, in both homes, and measure there."""
    name = "log-me"
    bed.create(app(name))
    shell = bed.shell(home="log-home")
    bed.plugin("pause", name, environment=shell).run()
    (made,) = bed.api.list("configmap", bed.namespace, "app.kubernetes.io/managed-by=kubectl-argo-rescue")
    entry = made["metadata"]["labels"]["argo-rescue/entry"]
    (file,) = Path(shell["XDG_STATE_HOME"]).rglob(f"{entry}.jsonl")
    text = file.read_text()
    made["metadata"] = {k: made["metadata"][k] for k in ("name", "namespace", "labels")}
    template = json.dumps(made)
    ids = [f"{n:06x}" for n in range(0xA00000, 0xA00000 + entries - 1)]
    path = f"/api/v1/namespaces/{bed.namespace}/configmaps"
    crowd.send("POST", [(path, template.replace(entry, i).encode()) for i in ids], "application/json")
    for i in ids:
        copy = file.with_name(f"{i}.jsonl")
        copy.touch(mode=0o600)
        copy.write_text(text.replace(entry, i))
    log = bed.plugin("log", environment=shell)
    get = bed.kubectl(
        "get", "configmap", "-l", "app.kubernetes.io/managed-by=kubectl-argo-rescue", "-o", "json"
    )
    log.run(), get.run()
    times = [(log.run(), get.run()) for _ in range(5)]
    peak = bed.direct("log", environment=shell).peak()
    bed.api.delete("application", name, bed.namespace)
    for i in [entry, *ids]:
        bed.api.delete("configmap", f"argo-rescue-{i}", bed.namespace)
    ours, theirs = zip(*times, strict=True)
    return Log(entries, statistics.median(ours), peak, statistics.median(theirs))
