"""The simulated cluster that a scenario is played on, and the time that passes on it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime, timedelta, timezone

from ..cluster.transport import Connection, Response, Target
from ..model.errors import TransportError, UsageError
from ..model.values import (
    APPLICATION,
    APPLICATIONSET,
    APPPROJECT,
    DEPLOYMENT,
    JSON,
    STATEFULSET,
    ArgoCD,
    Context,
    Resource,
)
from ..simulation.api import InMemoryApi
from ..simulation.argocd import FINALIZER, REFRESH, SimulatedArgoCD
from ..simulation.clock import SteppedClock
from ..simulation.incident import CHARTS, GIT, application, deployment, installation, traefik_chart
from ..simulation.jsonpatch_go import apply_merge_patch
from ..simulation.sources import ChartRepository, GitRepository, Sources
from ..simulation.workloads import health_of
from .scenarios import BAD, GOOD, NEVER, OLDER, Scenario

FRIDAY = datetime(2026, 11, 27, 16, 0, tzinfo=timezone.utc)
MONDAY = datetime(2026, 11, 30, 8, 0, tzinfo=timezone.utc)
STEP_SECONDS = 0.5
"""How finely the simulated controllers are stepped."""

FINE_SECONDS = 60.0
COARSE_STEP_SECONDS = 5.0
"""The same after a minute: what was set going has come to rest, and the player may have had lunch."""

EDGE = "https://edge.drill.invalid"
"""The other cluster of a scenario that has one."""

ROLLOUT_SECONDS = 4.0
WAITING_PACE = 3.0
"""How much faster time passes while a command waits for the cluster than on the player's watch."""

LOOK_SECONDS = 0.05
"""How often a waiting command looks, on the player's watch."""

_KINDS: Mapping[str, Resource] = {
    "Application": APPLICATION,
    "ApplicationSet": APPLICATIONSET,
    "AppProject": APPPROJECT,
}


class Time:
    """The player's time and the stage's: the one follows the other whenever somebody looks."""

    def __init__(
        self,
        pass_time: Callable[[float], None],
        *,
        watch: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`pass_time` lets seconds pass on the stage; the other two are the player's."""
        self._pass_time = pass_time
        self._watch = watch
        self._sleep = sleep
        self._last = watch()
        self._lock = threading.RLock()

    def catch_up(self, faster: float = 1.0) -> None:
        """Let as much time pass on the stage as has for the player."""
        with self._lock:
            now = self._watch()
            elapsed, self._last = now - self._last, now
            self._pass_time(elapsed * faster)

    def wait(self, seconds: float) -> None:
        """Sleep until these seconds have passed on the stage."""
        while seconds > 0:
            part = min(seconds, LOOK_SECONDS * WAITING_PACE)
            self.catch_up()
            self._sleep(part / WAITING_PACE)
            self.catch_up(WAITING_PACE)
            seconds -= part

    def jump(self, seconds: float) -> None:
        """Let time pass on the stage at once."""
        self.catch_up()
        with self._lock:
            self._pass_time(seconds)


class Instant:
    """The watch of a player who sleeps through all waiting, for a play that nobody watches."""

    def __init__(self) -> None:
        """Begin at nought."""
        self._slept = 0.0

    def watch(self) -> float:
        """Return the seconds that were slept."""
        return self._slept

    def sleep(self, seconds: float) -> None:
        """Let them pass at once, but for a moment in which other threads get their turn."""
        self._slept += seconds
        time.sleep(0.001)


class Line:
    """One command's connection to the simulated API server."""

    def __init__(self, api: InMemoryApi, clock: Time) -> None:
        """Speak with `api`, whose time goes on with every request."""
        self._api, self._time = api, clock
        self._is_closed = False
        api.idle = self._idle

    def _idle(self) -> None:
        self._check()
        self._time.wait(LOOK_SECONDS * WAITING_PACE)

    def _check(self) -> None:
        if self._is_closed:
            raise TransportError("the command has ended", sent=False, lasting=True)

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Let the time pass that has passed, then ask."""
        self._check()
        self._time.catch_up()
        return self._api.request(method, path, query, headers, body, timeout)

    @contextmanager
    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Follow; time passes while nothing comes."""
        self._check()
        self._time.catch_up()
        with self._api.stream(path, query, headers, timeout) as answer:
            yield answer

    def target(self) -> Target:
        """Say that it is not real."""
        return self._api.target()

    def close(self) -> None:
        """End the command's watches."""
        self._is_closed = True
        self._api.cut_streams()


class SimulatedStage:
    """A scenario set up on a simulated cluster; implements `scenarios.Stage`."""

    def __init__(
        self,
        scenario: Scenario,
        colleague: Callable[[SimulatedStage, str], None],
        version: tuple[int, int] = (3, 2),
    ) -> None:
        """Play all that has happened before the player comes.

        `colleague` runs a command line of this plugin as somebody else. `version` is Argo CD's.
        """
        self.scenario = scenario
        self.names = scenario.names
        self.clock = SteppedClock(FRIDAY - timedelta(days=3))
        self.api = InMemoryApi(self.clock, user="you")
        self.api.where = Target("drill", "simulated, nothing here is real", "")
        self.apis = {"drill": self.api}
        """The clusters by their contexts; the first is the one that Argo CD is in."""
        if scenario.is_remote:
            edge = InMemoryApi(self.clock, user="you")
            self.api.where = Target("hub", "https://hub.drill.invalid", "")
            edge.where = Target("edge", EDGE, "")
            self.apis = {"hub": self.api, "edge": edge}
        self.git = GitRepository()
        self.log: list[tuple[datetime, str, str]] = []
        """What was committed: when, by whom, what."""
        charts = ChartRepository()
        for chart_version in (OLDER, GOOD, BAD, NEVER):
            charts.publish("traefik", chart_version, traefik_chart(chart_version))
        charts.publish("web", "1.0.0", [deployment("web", "web:1.0.0")])
        self.controller = SimulatedArgoCD(
            self.api, Sources({GIT: self.git}, {CHARTS: charts}), self.clock, version,
            clusters={EDGE: self.place},
        )  # fmt: skip
        self.controller.workloads.broken_images.add(f"traefik:{BAD}")
        self.controller.roll_in(ROLLOUT_SECONDS)
        self.is_fixed = False
        self._merge_at: datetime | None = None
        self._version = GOOD
        self._windows: list[JSON] = []
        self._versions: list[str] = []
        self._asked: list[str] = []
        self._noted: dict[str, int] = {}
        self.was_deleted = False
        self._is_wiped = False
        for obj in installation(f"v{version[0]}.{version[1]}.{11 if version == (3, 2) else 1}"):
            self.api.create(obj)
        self._happen(colleague)
        self._note()
        self._versions, self._asked = self._versions[-1:], self._asked[-1:]
        self.api.requests.clear()

    @property
    def place(self) -> InMemoryApi:
        """The cluster that the app is deployed into."""
        return [*self.apis.values()][-1]

    def contexts(self) -> list[Context]:
        """Return what the player's kubeconfig has."""
        return [Context(name, name, "you", api.where.server) for name, api in self.apis.items()]

    def _happen(self, colleague: Callable[[SimulatedStage, str], None]) -> None:
        names = self.names
        self.commit(GOOD, f"{names.app} {GOOD}", "Alice")
        if self.scenario.is_generated:
            self.api.create(self._set(GOOD))
        else:
            root = application(
                names.root, project="default", namespace="argocd",
                source={"repoURL": GIT, "path": "apps", "targetRevision": "main"},
            )  # fmt: skip
            self.api.create(root)
        self.pass_time(10)
        self.clock.now = FRIDAY
        if self.scenario.is_wiped:
            self._wipe()
            return
        self.commit(BAD, f"{names.app} {BAD} (#412)", "renovate")
        self._apply_set(BAD)
        self.refresh()
        self.pass_time(10)
        if self.scenario.denied:
            self.clock.advance(1800)
            self._windows = self.scenario.window_objects(names)
            self.commit(BAD, "change freeze for the weekend (#413)", "Alice")
            self.refresh()
            self.pass_time(5)
        self.clock.advance(1800)
        if self.scenario.stuck_at:
            self._order(self.scenario.stuck_at)
            self.pass_time(5)
        for line in self.scenario.done_before:
            colleague(self, names.put_into(line))
            self.pass_time(5)
            self.clock.now = MONDAY
        self.controller.settle()

    def _wipe(self) -> None:
        """Have a commit take the app out of git just after Argo CD has looked."""
        self.refresh()
        self.pass_time(10)
        self.controller.resync = timedelta(minutes=10)
        self._is_wiped = True
        self.commit(GOOD, "tidy up (#412)", "Alice")
        self.controller.settle()
        self._note()
        self.was_deleted = False

    # -- time

    def pass_time(self, seconds: float) -> None:
        """Let time pass with everything that happens in it; the end of a long time in larger steps."""
        passed = 0.0
        while seconds > 0:
            part = min(seconds, STEP_SECONDS if passed < FINE_SECONDS else COARSE_STEP_SECONDS)
            passed += part
            self.clock.advance(part)
            self._merge_if_due()
            self.controller.step()
            self._note()
            seconds -= part

    def now(self) -> datetime:
        """Return the time on the stage."""
        return self.clock.now

    def _note(self) -> None:
        """Note what was written since, by whomever."""
        for name, api in self.apis.items():
            for change in api.changes(self._noted.get(name, 0)) or ():
                meta = change.object["metadata"]
                is_app = change.namespace == self.names.app and change.resource == DEPLOYMENT
                self.was_deleted |= is_app and change.type == "DELETED"
                if is_app and meta["name"] == "traefik":
                    _append_new(self._versions, _version_of(change.object))
                elif change.resource == APPLICATION and meta["name"] == self.names.app:
                    _append_new(self._asked, change.object["spec"]["source"]["targetRevision"])
            self._noted[name] = api.revision

    # -- git and people

    def commit(self, version: str, message: str, author: str) -> None:
        """Set the version in git; Argo CD sees it when it looks."""
        self._version = version
        self.git.commit({"apps": self._manifests(version)})
        self.log.append((self.clock.now, author, message))

    def fix(self, after: float = 0.0) -> None:
        """Have the pull request merged, after some seconds, and what a colleague does with it."""
        self.is_fixed = True
        self._merge_at = self.clock.now + timedelta(seconds=after)
        self._merge_if_due()

    def _merge_if_due(self) -> None:
        if self._merge_at is None or self._merge_at > self.clock.now:
            return
        self._merge_at = None
        self._is_wiped = False
        self.commit(self.scenario.fix, f"{self.names.app} back to {self.scenario.fix} (#414)", "Dana")
        self._apply_set(self.scenario.fix)
        foreign = self.scenario.after_fix
        if foreign is not None:
            name = self.names.put_into(foreign.name)
            patch = foreign.patch
            self.api.edit(_KINDS[foreign.kind], "argocd", name, lambda live: _merged(live, patch))

    def refresh(self) -> None:
        """Have the app-of-apps look at git."""
        if self.api.find(APPLICATION, "argocd", self.names.root) is not None:

            def ask(live: JSON) -> None:
                live["metadata"].setdefault("annotations", {})[REFRESH] = "normal"

            self.api.edit(APPLICATION, "argocd", self.names.root, ask)

    def _order(self, version: str) -> None:
        """Write an operation as a person does with kubectl."""
        operation = {"initiatedBy": {"username": "carol"}, "sync": {"revision": version}}

        def order(live: JSON) -> None:
            live["operation"] = operation
            live.get("status", {}).pop("operationState", None)

        self.api.edit(APPLICATION, "argocd", self.names.app, order)

    # -- objects

    def _manifests(self, version: str) -> list[JSON]:
        names = self.names
        project: JSON = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": names.project, "namespace": "argocd"},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"server": "*", "namespace": "*"}],
                **({"syncWindows": self._windows} if self._windows else {}),
            },
        }
        traefik = {"repoURL": CHARTS, "chart": "traefik", "targetRevision": version}
        web = {"repoURL": CHARTS, "chart": "web", "targetRevision": "1.0.0"}
        app = application(names.app, project=names.project, source=traefik, namespace=names.app)
        if self.scenario.is_wiped:
            app["metadata"]["finalizers"] = [FINALIZER]
        if self.scenario.is_remote:
            app["spec"]["destination"]["server"] = EDGE
        other = application(names.other, project=names.project, source=web, namespace=names.other)
        return [project, other] if self._is_wiped else [project, app, other]

    def _set(self, version: str) -> JSON:
        source = {"repoURL": CHARTS, "chart": "traefik", "targetRevision": version}
        template = application("{{.app}}", project="default", source=source, namespace="{{.app}}")
        elements = [{"app": self.names.app}, {"app": self.names.other}]
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": self.names.set, "namespace": "argocd"},
            "spec": {
                "goTemplate": True,
                "generators": [{"list": {"elements": elements}}],
                "template": {"metadata": {"name": "{{.app}}"}, "spec": template["spec"]},
            },
        }

    def _apply_set(self, version: str) -> None:
        """Apply the set as a pipeline does: what it does not mention stays."""
        if self.scenario.is_generated:
            spec = self._set(version)["spec"]
            self.api.edit(
                APPLICATIONSET, "argocd", self.names.set, lambda live: _merged(live, {"spec": spec})
            )

    # -- what the verdict looks at

    @property
    def argocd(self) -> ArgoCD:
        """The installation."""
        return self.controller.installation()

    @property
    def is_frozen(self) -> bool:
        """Whether Argo CD's application-controller is scaled to 0."""
        workload = self.api.get(STATEFULSET, "argocd", "argocd-application-controller")
        return not workload["spec"]["replicas"]

    @property
    def versions(self) -> Sequence[str]:
        """What was deployed of the app since the play began."""
        self._note()
        return tuple(self._versions)

    @property
    def asked(self) -> Sequence[str]:
        """What the app asked for since the play began."""
        self._note()
        return tuple(self._asked)

    def get(self, kind: str, name: str) -> JSON:
        """Read an object of Argo CD's namespace."""
        return self.api.get(_KINDS[kind], "argocd", name)

    def serving(self) -> str:
        """Return the version of which every replica is available."""
        live = self.place.find(DEPLOYMENT, self.names.app, "traefik")
        return _version_of(live) if live is not None and health_of(live) == "Healthy" else ""

    def in_git(self) -> Mapping[tuple[str, str], JSON]:
        """Return the spec that git has for each object."""
        if not self.scenario.is_generated:
            found = {(o["kind"], o["metadata"]["name"]): o["spec"] for o in self._manifests(self._version)}
            root = application(
                self.names.root, project="default", namespace="argocd",
                source={"repoURL": GIT, "path": "apps", "targetRevision": "main"},
            )  # fmt: skip
            return {**found, ("Application", self.names.root): root["spec"]}
        made = self._set(self._version)
        found = {("ApplicationSet", self.names.set): made["spec"]}
        for name in (self.names.app, self.names.other):
            spec = deepcopy(made["spec"]["template"]["spec"])
            spec["destination"]["namespace"] = name
            found["Application", name] = spec
        return found


def _append_new(seen: list[str], version: str) -> None:
    if seen[-1:] != [version]:
        seen.append(version)


def _version_of(deployed: JSON) -> str:
    image: str = deployed["spec"]["template"]["spec"]["containers"][0]["image"]
    return image.rpartition(":")[2]


def refuse_connection_flags(connection: Connection, contexts: Sequence[str] = ()) -> None:
    """Refuse flags that lead to another cluster than those of the scenario. Raises UsageError."""
    plain = connection._replace(
        request_timeout=None,
        cache_dir="",
        disable_compression=False,
        context="" if connection.context in contexts else connection.context,
    )
    if plain != Connection():
        if contexts:
            raise UsageError("the drill has its own clusters", f"--context takes {' or '.join(contexts)}")
        raise UsageError(
            "the drill has one cluster, and you are its administrator", "leave the connection flags out"
        )


def _merged(live: JSON, patch: JSON) -> JSON:
    return apply_merge_patch(live, json.dumps(patch).encode())
