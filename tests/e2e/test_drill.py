"""The scenarios of `drill` on real controllers: the same plays end the same way.

- each scenario's solution, typed into the real plugin, passes the same checks;
- wrong plays fail there for the same reason as on the simulation: a pin without its owner paused, a
  version put back before git is fixed, a window opened before the stuck operation was ended.
Left out: the prompt and the clock (tests/unit/drill/test_game.py). Scenarios that need a bed of their own
are played in test_hub_and_spoke.py and test_wipe_out.py.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone

import pytest

from kubectl_argo_rescue.drill.scenarios import BAD, GOOD, NEVER, SCENARIOS, Names, Scenario
from kubectl_argo_rescue.model import values
from tests.testbed.api import JSON
from tests.testbed.argocd import ArgoCD
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, manifest

from .scene import Scene, Watch, looked_again, settle

FINALIZER = "resources-finalizer.argocd.argoproj.io"

_numbers = itertools.count(1)


class RealStage:
    """A scenario set up on real controllers; implements `scenarios.Stage`."""

    def __init__(
        self, bed: ArgoCD, plugin: Plugin, scenario: Scenario, edge: ControlPlane | None = None
    ) -> None:
        self.bed, self.plugin, self.scenario = bed, plugin, scenario
        name = f"drill{next(_numbers)}"
        self.cluster = edge or bed.control_plane
        """Where the app is deployed."""
        self.scene = Scene(bed, name, spoke=edge, finalizers=(FINALIZER,) if scenario.is_wiped else ())
        self._is_wiped = False
        other = f"{name}-other"
        self.names = Names(self.scene.app, other, self.scene.root, self.scene.project, f"{name}-set")
        self.told: list[str] = []
        """What the plugin said, for the message of a failure."""
        self._watches: list[Watch] = []

    # -- before the play

    def start(self) -> None:
        """Let everything happen that has when the play begins."""
        self.bed.control_plane.namespace(self.names.other)
        if self.scenario.is_generated:
            self._generate()
        else:
            self.scene.start((f"{self.names.app}/other.yaml", manifest(self._other())))
            if not self.scenario.is_wiped:
                self.scene.upgrade(BAD)
            if self.scenario.denied:
                self.scene.freeze(*self.scenario.window_objects(self.names))
        if self.scenario.stuck_at:
            self._order(self.scenario.stuck_at)
        for line in self.scenario.done_before:
            self.plugin(*self._words(line), laptop="bob", check=True)
        place = f"/apis/argoproj.io/v1alpha1/namespaces/{self.bed.namespace}/applications"
        self._deployments = Watch(self.cluster, self._place)
        self._watches.append(self._deployments)
        self._apps = Watch(self.bed.control_plane, self.bed.namespace, place)
        self._watches.append(self._apps)
        if self.scenario.is_wiped:
            self._is_wiped = True
            self.bed.git((f"{self.scene.name}/app.yaml", ""), message="tidy up")

    @property
    def _place(self) -> str:
        """The namespace that the app deploys into."""
        return self.names.app if self.scenario.is_generated else self.scene.target

    def _generate(self) -> None:
        self.bed.control_plane.namespace(self.names.app)
        for version in (GOOD, BAD):
            self.bed.apply(self._set(version))
            for app in (self.names.app, self.names.other):
                self._until_deployed(app, version)
                self.bed.until_idle(app)

    def _until_deployed(self, namespace: str, version: str) -> None:
        self.bed.until(lambda: self._deployed(namespace) == version, 60, f"{namespace} has {version}")

    def _deployed(self, namespace: str) -> str:
        return self._version(self.bed.get("deployment", "traefik", namespace))

    def _version(self, live: JSON) -> str:
        found: str = live["spec"]["template"]["metadata"]["labels"]["chart-version"]
        return found

    def _other(self) -> dict[str, object]:
        return application(
            self.names.other, self._chart(GOOD), namespace=self.bed.namespace,
            project=self.names.project, destination=self.names.other,
        )  # fmt: skip

    def _chart(self, version: str) -> dict[str, object]:
        return {
            "repoURL": self.bed.charts.url,
            "chart": "traefik",
            "targetRevision": version,
            "helm": {"releaseName": "traefik"},
        }

    def _set(self, version: str) -> JSON:
        app = application("{{.app}}", self._chart(version), namespace="", destination="{{.app}}")
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": self.names.set, "namespace": self.bed.namespace},
            "spec": {
                "goTemplate": True,
                "generators": [{"list": {"elements": [{"app": self.names.app}, {"app": self.names.other}]}}],
                "template": {"metadata": {"name": "{{.app}}"}, "spec": app["spec"]},
            },
        }

    def _order(self, version: str) -> None:
        body = {
            "operation": {"initiatedBy": {"username": "carol"}, "sync": {"revision": version}},
            "status": {"operationState": None},
        }
        self.bed.api.patch("application", self.names.app, self.bed.namespace, body)

        def is_held() -> bool:
            state = self.bed.app(self.names.app)["status"].get("operationState") or {}
            return "blocked by sync window" in state.get("message", "")

        self.bed.until(is_held, 60, "the window holds the operation")

    # -- the play

    def type(self, line: str) -> None:
        """Do what the prompt does with a line."""
        if line == "git fix":
            self._fix()
            return
        done = self.plugin(*self._words(line))
        self.told.append(f"$ {line}\n{done.stdout}{done.stderr}({done.returncode})")

    def _words(self, line: str) -> list[str]:
        words = shlex.split(self.names.put_into(line))
        if "ENTRY" in words:
            newest = self.plugin("log", "-o", "name", check=True).stdout.split()[0].removeprefix("entry/")
            words = [newest if word == "ENTRY" else word for word in words]
        return words

    def _fix(self) -> None:
        fixed = self.scenario.fix
        self._is_wiped = False
        if self.scenario.is_generated:
            body = {"spec": {"template": {"spec": {"source": {"targetRevision": fixed}}}}}
            self.bed.api.patch("applicationset", self.names.set, self.bed.namespace, body)
            self._until_deployed(self.names.other, fixed)
        else:
            self.scene.commit(version=fixed)
        foreign = self.scenario.after_fix
        if foreign is not None:
            name = self.names.put_into(foreign.name)
            self.bed.api.patch(foreign.kind.lower(), name, self.bed.namespace, foreign.patch)

    def judge(self) -> dict[str, str]:
        """Let Argo CD do all that it would by itself, and return what each check says."""
        owners = (self.names.other,) if self.scenario.is_generated else (self.names.root,)
        for _ in range(2):
            for app in (*owners, self.names.app):
                looked_again(self.bed, app)
        if not self.scenario.stuck_at or not self._is_held():
            settle(self.bed, *owners, self.names.app)
        for watch in self._watches:
            watch.catch_up()
        return {self.names.put_into(check.text): check.judge(self) for check in self.scenario.checks}

    def _is_held(self) -> bool:
        return "operation" in self.bed.app(self.names.app)

    # -- what the verdict looks at

    @property
    def argocd(self) -> values.ArgoCD:
        """The installation."""
        major, minor = (int(part) for part in self.bed.version.split("."))
        version = values.Version(major, minor, f"v{self.bed.version}")
        return values.ArgoCD(namespace=self.bed.namespace, version=version)

    @property
    def versions(self) -> Sequence[str]:
        """What was deployed of the app since the play began."""
        return self._deployments.versions

    @property
    def asked(self) -> Sequence[str]:
        """What the app asked for since the play began."""
        mine = [s for s in self._apps.states if s["metadata"]["name"] == self.names.app]
        found = [state["spec"]["source"]["targetRevision"] for state in mine]
        return [version for version, _ in itertools.groupby(found)]

    def get(self, kind: str, name: str) -> JSON:
        """Read an object of Argo CD's namespace."""
        return self.bed.get(kind.lower(), name)

    def serving(self) -> str:
        """Return the version of which every replica is available."""
        live = self.cluster.get("deployment", "traefik", self._place)
        status, wanted = live.get("status", {}), live["spec"]["replicas"]
        counts = [status.get(f"{name}Replicas", 0) for name in ("updated", "available")]
        is_seen = status.get("observedGeneration") == live["metadata"]["generation"]
        return self._version(live) if is_seen and counts == [wanted] * 2 else ""

    def in_git(self) -> Mapping[tuple[str, str], JSON]:
        """Return the spec that git has for each object."""
        names, scene = self.names, self.scene
        if not self.scenario.is_generated:
            of_app = {} if self._is_wiped else {("Application", names.app): scene.app_object()["spec"]}
            return {
                ("AppProject", names.project): scene.project_object()["spec"],
                ("Application", names.root): scene.root_object()["spec"],
                ("Application", names.other): self._other()["spec"],
                **of_app,
            }
        made = self._set(self.scenario.fix)["spec"]
        found: dict[tuple[str, str], JSON] = {("ApplicationSet", names.set): made}
        for name in (names.app, names.other):
            destination = {**made["template"]["spec"]["destination"], "namespace": name}
            found["Application", name] = {**made["template"]["spec"], "destination": destination}
        return found

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(timezone.utc)

    @property
    def was_deleted(self) -> bool:
        """Whether the app's workload was deleted since the play began."""
        return any("deletionTimestamp" in state["metadata"] for state in self._deployments.states)

    @property
    def is_frozen(self) -> bool:
        """Whether Argo CD's controllers stand still."""
        return not self.bed.get("statefulset", "argocd-application-controller")["spec"]["replicas"]

    # -- the end

    def close(self) -> None:
        """Take it away."""
        for watch in self._watches:
            watch.close()
        if self.scenario.is_generated:
            self.bed.api.delete("applicationset", self.names.set, self.bed.namespace)
        else:
            self.scene.remove()
            self.bed.api.delete("application", self.names.other, self.bed.namespace)


@contextlib.contextmanager
def staged(bed: ArgoCD, plugin: Plugin, name: str, edge: ControlPlane | None = None) -> Iterator[RealStage]:
    """Set a scenario up, and take it away; `edge` is the other cluster of one that has one."""
    stage = RealStage(bed, plugin, SCENARIOS[name], edge)
    try:
        stage.start()
        yield stage
    finally:
        stage.close()


PLAYED_ELSEWHERE = ("ingress", "hub-and-spoke", "wipe-out")
"""Below; in test_hub_and_spoke.py, whose bed has a second cluster; in test_wipe_out.py."""


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in PLAYED_ELSEWHERE])
def test_a_solution_passes(argocd: ArgoCD, plugin: Plugin, name: str) -> None:
    with staged(argocd, plugin, name) as stage:
        solve(stage)


def solve(stage: RealStage) -> None:
    for line in stage.scenario.solution:
        stage.type(line)
    found = stage.judge()
    assert not [why for why in found.values() if why], (found, *stage.told)


@pytest.mark.parametrize(
    ("name", "line", "then", "failed"),
    [
        ("stuck", "unblock {app} --yes", NEVER, "2.6.0 is never deployed"),
        ("hand-back", "undo --yes --redeploy", BAD, "2.5.1 is not deployed again"),
    ],
)
def test_a_wrong_play_fails(
    argocd: ArgoCD, plugin: Plugin, name: str, line: str, then: str, failed: str
) -> None:
    with staged(argocd, plugin, name) as stage:
        stage.type(line)
        argocd.until(lambda: then in stage.versions, 60, f"{then} is deployed")
        found = stage.judge()
        assert [why for text, why in found.items() if failed in text and why], (found, *stage.told)


def test_a_pin_alone_is_put_back_and_the_solution_still_passes(argocd: ArgoCD, plugin: Plugin) -> None:
    with staged(argocd, plugin, "ingress") as stage:
        stage.type("pin {app} 2.4.1 --only")
        argocd.until(lambda: list(stage.asked[-2:]) == [GOOD, BAD], 60, "the root app has put it back")
        assert [why for why in stage.judge().values() if "the edit was put back" in why]
        solve(stage)
