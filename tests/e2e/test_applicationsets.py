"""Applications that an ApplicationSet generates, on the set's real controller.

- pause, pin and rescue put a rule for that one app on its set first; the edit holds over several
  reconciliations of the set, which goes on managing its other apps, and this one's other fields;
- undo: the template's literal decides the hand-back, the rule goes, the set manages again;
- a set from git: its owner is paused only where git has a list of rules already;
- several sources; policies that write nothing anyway; a RollingSync, which is frozen whole; and
  where nothing of its own may be edited, that is said with what to do, and needs a yes.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.testbed.api import JSON
from tests.testbed.argocd import APPLICATIONSETS, ArgoCD, running
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin
from tests.testbed.sources import application, manifest

from .scene import automated, dead, edited, is_auto_sync_on, looked_again, text_of, unmoved, watched

_AUTOMATED = {"prune": True, "selfHeal": True}

_numbers = itertools.count(1)


class Fleet:
    """A set of two apps with a list generator, `NAME-a` and `NAME-b`, each in a namespace of its own."""

    def __init__(self, argocd: ArgoCD, name: str) -> None:
        self.argocd, self.name = argocd, name
        self.a, self.b = f"{name}-a", f"{name}-b"
        for namespace in (self.a, self.b):
            argocd.control_plane.namespace(namespace)

    def chart(self, version: str) -> JSON:
        """Return the chart as the template's source."""
        return {
            "repoURL": self.argocd.charts.url,
            "chart": "traefik",
            "targetRevision": version,
            "helm": {"releaseName": "traefik"},
        }

    def manifest(self, source: JSON, template: JSON | None = None, **spec: object) -> JSON:
        """Return the set; `source` is one, or several."""
        sources = {"sources": source} if isinstance(source, list) else {"source": source}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": self.name, "namespace": self.argocd.namespace},
            "spec": {
                "goTemplate": True,
                "generators": [{"list": {"elements": [{"app": self.a}, {"app": self.b}]}}],
                "template": {
                    "metadata": {"name": "{{.app}}"},
                    "spec": {
                        "project": "default",
                        **sources,
                        "destination": {"server": "https://kubernetes.default.svc", "namespace": "{{.app}}"},
                        "syncPolicy": {"automated": _AUTOMATED},
                        **(template or {}),
                    },
                },
                **spec,
            },
        }

    def start(self, source: JSON, *broken: JSON, **spec: object) -> Fleet:
        """Apply it, wait until both apps serve, then bring further versions one after the other."""
        for state in (source, *broken):
            self.argocd.apply(self.manifest(state, **spec))
            first = state[0] if isinstance(state, list) else state
            for app in (self.a, self.b):
                self.until_deployed(app, first["targetRevision"])
                self.argocd.until_idle(app)
        return self

    def until_deployed(self, app: str, version: str) -> None:
        """Wait until an app's Deployment is of a version."""
        self.argocd.until(lambda: self.version(app) == version, 60, f"{app} has {version}")

    def version(self, app: str) -> str:
        """Return the chart version of an app's Deployment."""
        live = self.argocd.get("deployment", "traefik", app)
        found: str = live["spec"]["template"]["metadata"]["labels"]["chart-version"]
        return found

    def live(self) -> JSON:
        """Read the set."""
        return self.argocd.get("applicationset", self.name)

    def rules(self) -> Sequence[JSON]:
        """Read the set's rules."""
        found: Sequence[JSON] = self.live()["spec"].get("ignoreApplicationDifferences", [])
        return found

    def reconcile(self) -> None:
        """Have the set's controller write its apps, several times: a label that it takes away again."""
        for _ in range(3):
            for app in (self.a, self.b):
                self._stir(app)
            for app in (self.a, self.b):
                self._until_written(app)

    def _stir(self, app: str) -> None:
        label = {"metadata": {"labels": {"stray": f"s{next(_numbers)}"}}}
        self.argocd.api.patch("application", app, self.argocd.namespace, label)

    def _until_written(self, app: str) -> None:
        asked = time.monotonic()

        def is_clean() -> bool:
            nonlocal asked
            if "stray" not in self.argocd.app(app)["metadata"].get("labels", {}):
                return True
            if time.monotonic() - asked > 15:  # a change that came and went while it listed is lost to it
                asked = time.monotonic()
                self._stir(app)
            return False

        self.argocd.until(is_clean, 60, f"the set has written {app}")

    def remove(self) -> None:
        """Take it away with its apps."""
        self.argocd.api.delete("applicationset", self.name, self.argocd.namespace)


@pytest.fixture
def fleet(argocd: ArgoCD) -> Iterator[Fleet]:
    """A set that is not applied yet."""
    made = Fleet(argocd, f"set{next(_numbers)}")
    yield made
    made.remove()


@pytest.mark.core
def test_step_by_step_and_back(argocd: ArgoCD, plugin: Plugin, fleet: Fleet) -> None:
    fleet.start(fleet.chart(GOOD))
    app, other = fleet.a, fleet.b
    before = text_of(fleet.live()["spec"])
    original = text_of(argocd.app(app)["spec"])

    refused = plugin("pause", app)
    assert refused.returncode == 5 and fleet.name in refused.stderr and app in refused.stderr
    alone = plugin("pause", app, "--only", check=True)
    assert "would revert it within seconds" in alone.stderr
    argocd.until(lambda: is_auto_sync_on(argocd.app(app)), 60, "the set turned it on again")
    assert fleet.rules() == []

    mark = argocd.control_plane.audit_mark()
    plugin("pause", app, "--yes", check=True)
    assert edited(argocd.control_plane, mark)[:2] == [fleet.name, app]
    assert fleet.rules() == [{"name": app, "jsonPointers": ["/spec/syncPolicy"]}]
    fleet.reconcile()
    assert not is_auto_sync_on(argocd.app(app)) and is_auto_sync_on(argocd.app(other))

    plugin("pin", app, "2.4.0", "--yes", "--wait", check=True)
    assert [r["name"] for r in fleet.rules()] == [app, app]
    fleet.reconcile()
    assert argocd.app(app)["spec"]["source"]["targetRevision"] == "2.4.0"
    assert fleet.version(app) == "2.4.0" and fleet.version(other) == GOOD

    # The set still manages the other app, and of this one what no rule is about.
    template = {"revisionHistoryLimit": 7}
    argocd.apply(
        {
            **fleet.manifest(fleet.chart("2.6.0"), template),
            "spec": {
                **fleet.manifest(fleet.chart("2.6.0"), template)["spec"],
                "ignoreApplicationDifferences": fleet.rules(),
            },
        }
    )
    fleet.until_deployed(other, "2.6.0")
    argocd.until(lambda: argocd.app(app)["spec"].get("revisionHistoryLimit") == 7, 60, "it manages the rest")
    assert fleet.version(app) == "2.4.0" and not is_auto_sync_on(argocd.app(app))
    argocd.apply(
        {
            **fleet.manifest(fleet.chart(GOOD)),
            "spec": {
                **fleet.manifest(fleet.chart(GOOD))["spec"],
                "ignoreApplicationDifferences": fleet.rules(),
            },
        }
    )
    fleet.until_deployed(other, GOOD)

    # The template says another version, literally: the version is not handed back without a word.
    refused = plugin("undo")
    assert refused.returncode == 5 and "2.4.1" in refused.stderr and fleet.name in refused.stderr
    plugin("undo", "--redeploy", "--yes", check=True)
    fleet.until_deployed(app, GOOD)
    argocd.until(lambda: text_of(argocd.app(app)["spec"]) == original, 60, "the app is the set's again")
    assert text_of(fleet.live()["spec"]) == before
    fleet.reconcile()
    assert text_of(argocd.app(app)["spec"]) == original


@pytest.mark.core
def test_rescue_and_hand_back(argocd: ArgoCD, plugin: Plugin, fleet: Fleet) -> None:
    fleet.start(fleet.chart(GOOD), fleet.chart(BROKEN))
    app = fleet.a
    mark = argocd.control_plane.audit_mark()
    done = plugin("rescue", app, "--yes", check=True)
    assert edited(argocd.control_plane, mark)[0] == fleet.name
    assert f"synced to {GOOD} and healthy" in done.stdout
    assert fleet.rules() == [{"name": app, "jsonPointers": ["/spec/source/targetRevision"]}]
    fleet.reconcile()
    assert fleet.version(app) == GOOD and fleet.version(fleet.b) == BROKEN

    # The template is fixed: nothing moves, the rule goes, the set writes the app again.
    rules = {"ignoreApplicationDifferences": fleet.rules()}
    argocd.apply(fleet.manifest(fleet.chart(GOOD), **rules))
    fleet.until_deployed(fleet.b, GOOD)
    with unmoved(argocd, app, lambda: looked_again(argocd, app)):
        plugin("undo", check=True)
        fleet.reconcile()
    assert fleet.rules() == []
    argocd.api.patch("application", app, argocd.namespace, {"spec": {"source": {"targetRevision": "2.6.0"}}})
    argocd.until(
        lambda: argocd.app(app)["spec"]["source"]["targetRevision"] == GOOD, 60, "the set manages it again"
    )


def _generating(fleet: Fleet, version: str, **spec: object) -> JSON:
    """Return the set with the version as a parameter of its generator, and the rules that it has."""
    made = fleet.manifest(fleet.chart("{{.version}}"), **spec)
    elements = [{"app": app, "version": version} for app in (fleet.a, fleet.b)]
    made["spec"]["generators"] = [{"list": {"elements": elements}}]
    return made


@pytest.mark.core
def test_a_version_that_is_generated(argocd: ArgoCD, plugin: Plugin, fleet: Fleet) -> None:
    """The template does not say it: the set is let write this one application, held, and that is compared."""
    app = fleet.a
    for version in (GOOD, BROKEN):
        argocd.apply(_generating(fleet, version))
        for name in (app, fleet.b):
            fleet.until_deployed(name, version)
            argocd.until_idle(name)
    plugin("rescue", app, "--yes", check=True)
    before = text_of([argocd.app(app)["spec"], fleet.rules()])
    with unmoved(argocd, app, lambda: looked_again(argocd, app)):
        refused = plugin("undo")
        assert refused.returncode == 5, refused.stderr
        assert f"git asks for {BROKEN}" in refused.stderr, refused.stderr
        assert "change Deployment traefik" in refused.stderr
        assert text_of([argocd.app(app)["spec"], fleet.rules()]) == before
        fleet.reconcile()
        argocd.apply(_generating(fleet, GOOD, ignoreApplicationDifferences=fleet.rules()))
        fleet.until_deployed(fleet.b, GOOD)
        plugin("undo", check=True)
        fleet.reconcile()
    assert fleet.rules() == []
    spec = argocd.app(app)["spec"]
    assert spec["source"]["targetRevision"] == GOOD and spec["syncPolicy"] == {"automated": _AUTOMATED}
    assert plugin("log", "--open", "-o", "name").stdout == ""


@pytest.mark.core
@pytest.mark.parametrize("listed", [False, True], ids=["an added key", "a list in git"])
def test_a_set_from_git(argocd: ArgoCD, plugin: Plugin, fleet: Fleet, listed: bool) -> None:
    own = {"name": fleet.b, "jsonPointers": ["/spec/info"]}
    spec = {"ignoreApplicationDifferences": [own]} if listed else {}
    with _from_git(argocd, fleet, **spec) as root:
        mark = argocd.control_plane.audit_mark()
        plugin("rescue", fleet.a, "--yes", check=True)
        owners = [root, fleet.name] if listed else [fleet.name]
        assert edited(argocd.control_plane, mark)[: len(owners) + 1] == [*owners, fleet.a]
        assert is_auto_sync_on(argocd.app(root)) == (not listed)
        for _ in range(3):
            looked_again(argocd, root)
        fleet.reconcile()
        assert fleet.version(fleet.a) == GOOD
        ours = {"name": fleet.a, "jsonPointers": ["/spec/source/targetRevision"]}
        assert fleet.rules() == ([own, ours] if listed else [ours])

        argocd.git((f"{fleet.name}/set.yaml", manifest(fleet.manifest(fleet.chart(GOOD), **spec))))
        if not listed:
            argocd.follow_git(root)
            fleet.until_deployed(fleet.b, GOOD)
            argocd.until_idle(root)  # until then git asks for another set than there is
            plugin("undo", check=True)
        else:
            # The set's template is git's as well, and the root is paused: it must be brought first.
            refused = plugin("undo")
            assert refused.returncode == 5
            with watched(argocd, fleet.a) as seen:
                plugin("undo", "--redeploy", "--yes", check=True)
                fleet.reconcile()
            assert seen.versions == [GOOD], "what broke was never there again"
            assert is_auto_sync_on(argocd.app(root))
        argocd.until(lambda: fleet.rules() == ([own] if listed else []), 60, "the rule is gone")
        argocd.follow_git(root)
        argocd.until(
            lambda: argocd.app(fleet.a)["spec"]["source"]["targetRevision"] == GOOD, 60, "the set has it"
        )


@contextlib.contextmanager
def _from_git(argocd: ArgoCD, fleet: Fleet, **spec: object) -> Iterator[str]:
    """Have an app-of-apps that makes the set, whose apps went from the good to the broken version."""
    root = f"{fleet.name}-root"
    for version in (GOOD, BROKEN):
        argocd.git((f"{fleet.name}/set.yaml", manifest(fleet.manifest(fleet.chart(version), **spec))))
        if version == GOOD:
            source = {"repoURL": argocd.repository.url, "path": fleet.name, "targetRevision": "main"}
            argocd.apply(application(root, source, destination=argocd.namespace))
        argocd.follow_git(root)
        for app in (fleet.a, fleet.b):
            fleet.until_deployed(app, version)
            argocd.until_idle(app)
    argocd.until_idle(root)
    try:
        yield root
    finally:
        argocd.api.delete("application", root, argocd.namespace)


def test_a_paused_owner_brings_the_fix_to_the_set_before_its_rule_goes(
    argocd: ArgoCD, plugin: Plugin, fleet: Fleet
) -> None:
    with _from_git(argocd, fleet) as root:
        plugin("pause", root, check=True)
        plugin("pin", fleet.a, GOOD, "--wait", "--yes", check=True)
        argocd.git((f"{fleet.name}/set.yaml", manifest(fleet.manifest(fleet.chart(GOOD)))))
        asked = plugin("undo")
        assert asked.returncode == 5, asked.stderr
        assert f"auto-sync of {root} will also change ApplicationSet {fleet.name}" in asked.stderr
        with watched(argocd, fleet.a) as seen:
            plugin("undo", "--yes", check=True)
            fleet.reconcile()
        assert seen.versions == [GOOD], "what broke was never there again"
        assert fleet.rules() == []
        assert is_auto_sync_on(argocd.app(root))
        fleet.until_deployed(fleet.b, GOOD)


def test_several_sources(argocd: ArgoCD, plugin: Plugin, fleet: Fleet) -> None:
    argocd.git((f"{fleet.name}/values.yaml", "arguments: [fleet]\n"))

    def sources(version: str) -> list[JSON]:
        values = {"repoURL": argocd.repository.url, "targetRevision": "main", "ref": "values"}
        helm = {"releaseName": "traefik", "valueFiles": [f"$values/{fleet.name}/values.yaml"]}
        return [{**fleet.chart(version), "helm": helm}, values]

    fleet.start(sources(GOOD), sources(BROKEN))
    plugin("rescue", fleet.a, GOOD, "--yes", check=True)
    assert fleet.rules() == [{"name": fleet.a, "jsonPointers": ["/spec/sources"]}]
    fleet.reconcile()
    assert fleet.version(fleet.a) == GOOD and fleet.version(fleet.b) == BROKEN
    argocd.apply(fleet.manifest(sources(GOOD), ignoreApplicationDifferences=fleet.rules()))
    fleet.until_deployed(fleet.b, GOOD)
    with unmoved(argocd, fleet.a, lambda: looked_again(argocd, fleet.a)):
        plugin("undo", check=True)
        fleet.reconcile()
    assert fleet.rules() == []


def test_a_policy_that_writes_nothing_anyway(argocd: ArgoCD, plugin: Plugin, fleet: Fleet) -> None:
    policy = {"syncPolicy": {"applicationsSync": "create-only"}}
    fleet.start(fleet.chart(GOOD), **policy)
    mark = argocd.control_plane.audit_mark()
    plugin("pin", fleet.a, "2.4.0", "--wait", check=True)
    assert set(edited(argocd.control_plane, mark)) == {fleet.a}, "the set is left as it is"
    argocd.api.patch("applicationset", fleet.name, argocd.namespace, {"metadata": {"labels": {"x": "y"}}})
    looked_again(argocd, fleet.a)
    assert fleet.version(fleet.a) == "2.4.0"


def test_rolling_sync_and_a_policy_from_above(
    argo_version: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = "applicationsetcontroller"
    params = {f"{key}.enable.progressive.syncs": "true"}
    with running(argo_version, params=params) as argocd:
        plugin = Plugin(argocd.control_plane, tmp_path_factory.mktemp("homes"))
        fleet = Fleet(argocd, "rolling")
        steps = [{"matchExpressions": [{"key": "fleet", "operator": "In", "values": ["x"]}]}]
        strategy = {"type": "RollingSync", "rollingSync": {"steps": steps}}

        def rolling(fleet: Fleet, version: str, **spec: object) -> JSON:
            made = fleet.manifest(fleet.chart(version), strategy=strategy, **spec)
            made["spec"]["template"]["metadata"]["labels"] = {"fleet": "x"}
            return made

        def at_rest(fleet: Fleet, status: str) -> None:
            """Wait until the set orders nothing more of either app."""

            def said() -> bool:
                steps = fleet.live()["status"]["applicationStatus"]
                apps = [argocd.app(app) for app in (fleet.a, fleet.b)]
                return [s["status"] for s in steps] == [status] * 2 and not any(
                    "operation" in a for a in apps
                )

            argocd.until(said, 60, f"both are {status} and idle")

        def broken(fleet: Fleet) -> None:
            for version in (GOOD, BROKEN):
                argocd.apply(rolling(fleet, version))
                for app in (fleet.a, fleet.b):
                    fleet.until_deployed(app, version)
                at_rest(fleet, "Healthy" if version == GOOD else "Progressing")

        def restarted(policy: str) -> None:
            """Give the installation a policy of its own, which a set may not override."""
            argocd.stop(APPLICATIONSETS)
            policies = {f"{key}.policy": policy, f"{key}.enable.policy.override": "false"}
            argocd.api.patch("configmap", "argocd-cmd-params-cm", argocd.namespace, {"data": policies})
            argocd.params.update(policies)
            argocd.start(APPLICATIONSETS)

        broken(fleet)
        assert not is_auto_sync_on(argocd.app(fleet.a)), "the set keeps it off and orders the syncs itself"
        # The set orders the syncs of an app whose auto-sync is off: to stay, a rollback freezes the set.
        before = text_of(fleet.live()["spec"])
        refused = plugin("rollback", fleet.a)
        assert refused.returncode == 5 and "RollingSync would go on ordering syncs" in refused.stderr
        alone = plugin("rollback", fleet.a, "--only", "--dry-run=client", check=True)
        assert "orders the syncs" in alone.stderr
        plugin("rollback", fleet.a, "--yes", "--wait", check=True)
        assert fleet.live()["spec"]["syncPolicy"] == {"applicationsSync": "create-only"}
        argocd.apply(rolling(fleet, "2.6.0"))
        for _ in range(3):
            looked_again(argocd, fleet.a)
        assert fleet.version(fleet.a) == GOOD
        plugin("undo", "--yes", check=True)
        assert text_of(fleet.live()["spec"]) == before.replace(BROKEN, "2.6.0")
        fleet.until_deployed(fleet.a, "2.6.0")  # the set orders syncs again
        at_rest(fleet, "Healthy")

        # For a pin a rule is enough: what the set would order is a sync to what is pinned.
        plugin("rescue", fleet.a, GOOD, "--yes", check=True)
        assert [r["name"] for r in fleet.rules()] == [fleet.a]
        for _ in range(3):
            looked_again(argocd, fleet.a)
        assert fleet.version(fleet.a) == GOOD and fleet.version(fleet.b) == "2.6.0"
        fleet.remove()

        # Where no set may have a policy of its own, no edit keeps a RollingSync from ordering syncs.
        restarted("sync")
        forced = Fleet(argocd, "forced")
        broken(forced)
        refused = plugin("rollback", forced.a)
        assert refused.returncode == 5 and "cannot be stopped by an edit" in refused.stderr
        scaled = (
            f"kubectl -n {argocd.namespace} scale deployment argocd-applicationset-controller --replicas=0"
        )
        assert scaled in refused.stderr
        argocd.apply(rolling(forced, "2.6.0", syncPolicy={"applicationsSync": "create-only"}))
        forced.until_deployed(forced.a, "2.6.0")  # and so it is
        at_rest(forced, "Healthy")
        with dead(argocd, APPLICATIONSETS):
            done = plugin("rollback", forced.a, "--to", GOOD, "--wait", check=True)
            assert "once its controller is scaled up again" in done.stderr
            for _ in range(3):
                looked_again(argocd, forced.a)
            assert forced.version(forced.a) == GOOD
            plugin("undo", "--yes", check=True)
        forced.remove()

        restarted("create-only")
        above = Fleet(argocd, "above").start(fleet.chart(GOOD), syncPolicy={"applicationsSync": "sync"})
        mark = argocd.control_plane.audit_mark()
        plugin("pin", above.a, "2.4.0", "--wait", check=True)
        assert set(edited(argocd.control_plane, mark)) == {above.a}
        assert automated(argocd.app(above.a)) == _AUTOMATED
