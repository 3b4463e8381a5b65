"""Owners where one does not look at first: another Argo CD, another cluster, behind another sign.

Whole command lines against simulated Argo CDs that really put edits back.

Aspects: an owner of a second Argo CD in the cluster is found and paused, also of another installation
id and by a label; one that is nowhere in sight is asked about (5), and is no evidence for an undo; a foreign
ownerReference hides no owner; an app that deploys an object of that name into another cluster is none,
and says nothing about it; how Argo CD names clusters is read where that is allowed; what looking costs;
a namespace without an Argo CD is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, CONFIGMAP, JSON, SECRET
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.argocd import SimulatedArgoCD
from kubectl_argo_rescue.simulation.incident import BAD, CHARTS, GIT, GOOD, Incident, application
from kubectl_argo_rescue.simulation.sources import GitRepository, Sources

from ..harness import Run

TWO = "argo-two"
PLATFORM = "https://git.invalid/platform.git"
SPOKE = "https://spoke.invalid:6443"


def shop(version: str) -> JSON:
    """An Application in argocd that somebody else's git has."""
    source = {"repoURL": CHARTS, "chart": "traefik", "targetRevision": version}
    return application("shop", project="default", source=source, namespace="shop")


def platform(namespace: str, to: JSON = None, **spec: JSON) -> JSON:
    """The app-of-apps of another Argo CD, or on a hub."""
    source = {"repoURL": PLATFORM, "path": "apps", "targetRevision": "main"}
    made = application("platform", project="default", source=source, namespace="argocd")
    made["metadata"]["namespace"] = namespace
    made["spec"].update(spec)
    if to is not None:
        made["spec"]["destination"] = {**to, "namespace": "argocd"}
    return made


def second(
    incident: Incident,
    api: InMemoryApi,
    namespace: str,
    *,
    settings: JSON = None,
    to: JSON = None,
    clusters: dict[str, InMemoryApi] | None = None,
) -> tuple[SimulatedArgoCD, GitRepository]:
    """Install another Argo CD, which deploys shop, and play it along with the first."""
    git = GitRepository()
    git.commit({"apps": [shop(BAD)]})
    sources = Sources({PLATFORM: git, GIT: incident.git}, {CHARTS: incident.charts})
    other = SimulatedArgoCD(api, sources, incident.clock, namespace=namespace, clusters=clusters)
    other.workloads_alive = other.appset_alive = False
    if namespace != "argocd":
        settings_map = {"name": "argocd-cm", "namespace": namespace}
        api.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": settings_map, "data": settings or {}}
        )
        project = {"name": "default", "namespace": namespace}
        api.create({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": project,
                    "spec": {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}]}})  # fmt: skip
        api.create(platform(namespace, to))
    return other, git


def play(incident: Incident, *others: SimulatedArgoCD, seconds: float = 30) -> None:
    """Let time pass for all of them."""
    for _ in range(int(seconds * 2)):
        incident.argocd.tick(0.5)
        for other in others:
            other.step()


def along(incident: Incident, *others: SimulatedArgoCD) -> None:
    """Have the others act as well while a command waits."""

    def tick() -> None:
        play(incident, *others, seconds=0.5)

    incident.api.idle = tick


def revision(api: InMemoryApi, name: str = "shop") -> str:
    wanted: str = api.get(APPLICATION, "argocd", name)["spec"]["source"]["targetRevision"]
    return wanted


def is_on(app: JSON) -> bool:
    return "automated" in (app["spec"].get("syncPolicy") or {})


@pytest.fixture
def two(incident: Incident) -> tuple[Incident, SimulatedArgoCD, GitRepository]:
    """Beside the incident a second Argo CD in the cluster, whose app deploys `argocd/shop`."""
    other, git = second(incident, incident.api, TWO)
    play(incident, other)
    assert revision(incident.api) == BAD
    along(incident, other)
    return incident, other, git


Two = tuple[Incident, SimulatedArgoCD, GitRepository]


def test_an_owner_of_another_argo_cd_is_found_and_paused(run: Run, two: Two) -> None:
    incident, other, git = two
    refused = run(incident.api, "pin", "shop", GOOD)
    assert refused.code == 5
    assert "argo-two/platform is paused as well" in refused.err and revision(incident.api) == BAD
    ran = run(incident.api, "pin", "shop", GOOD, "--yes")
    assert ran.code == 0, ran.err
    play(incident, other)
    assert revision(incident.api) == GOOD
    assert not is_on(incident.api.get(APPLICATION, TWO, "platform"))

    git.commit({"apps": [shop(GOOD)]})
    undone = run(incident.api, "undo", "--yes")
    assert undone.code == 0, undone.err
    play(incident, other)
    assert revision(incident.api) == GOOD
    assert is_on(incident.api.get(APPLICATION, TWO, "platform"))


def test_it_says_so_before(run: Run, two: Two) -> None:
    incident = two[0]
    shown = run(incident.api, "status", "shop").out
    assert "platform (by tracking-id): auto-sync on, self-heal" in shown
    assert "reverts a pin" in shown


@pytest.mark.parametrize("settings", [
    {"installationID": "two"},
    {"application.resourceTrackingMethod": "label"},
    {"application.resourceTrackingMethod": "label", "application.instanceLabelKey": "argocd.argoproj.io/instance"},
])  # fmt: skip
def test_it_is_found_by_whatever_mark(run: Run, incident: Incident, settings: JSON) -> None:
    if "installationID" in settings:
        incident.api.edit(CONFIGMAP, "argocd", "argocd-cm", lambda o: o["data"].update(installationID="one"))
    other, _ = second(incident, incident.api, TWO, settings=settings)
    play(incident, other)
    along(incident, other)
    ran = run(incident.api, "pin", "shop", GOOD, "--yes")
    assert ran.code == 0, ran.err
    play(incident, other)
    assert revision(incident.api) == GOOD


def test_a_label_that_may_be_another_argo_cds_is_said_where_nobody_may_look(
    run: Run, incident: Incident
) -> None:
    other, _ = second(incident, incident.api, TWO, settings={"application.resourceTrackingMethod": "label"})
    play(incident, other)
    incident.api.deny("list", "applications", "")
    ran = run(incident.api, "pin", "shop", GOOD, "--dry-run")
    assert ran.code == 0
    assert "if another Argo CD owns Application argocd/shop, as its label" in ran.err


@pytest.mark.parametrize("namespaces", ["", "team-*"])
def test_many_at_once_are_looked_for_as_well(run: Run, incident: Incident, namespaces: str) -> None:
    other, _ = second(incident, incident.api, TWO, settings={"application.resourceTrackingMethod": "label"})
    play(incident, other)
    along(incident, other)
    settings = {"application.namespaces": namespaces}
    incident.api.edit(CONFIGMAP, "argocd", "argocd-cmd-params-cm", lambda o: o.update(data=settings))
    incident.api.edit(APPLICATION, TWO, "platform", lambda o: o["spec"]["syncPolicy"].update(syncOptions=["Replace=true"]))  # fmt: skip
    ran = run(incident.api, "pause", "--all")
    assert ran.code == 5 and "argo-two/platform is paused as well" in ran.err
    lists = [a.path for a in incident.api.requests if a.path.endswith("v1alpha1/applications")]
    assert len(lists) == 1


def test_one_that_may_not_be_looked_for_is_asked_about(run: Run, two: Two) -> None:
    incident, other, _ = two
    incident.api.deny("list", "applications", "")
    incident.api.deny("list", "applications", TWO)
    _is_asked_about(run, incident, "namespace argocd, and other namespaces may not be looked at")
    play(incident, other)
    assert revision(incident.api) == BAD, "the other one has put it back, as was said"


def _is_asked_about(run: Run, incident: Incident, where: str) -> None:
    said = f"it owns it by its tracking-id and is elsewhere, not in {where}"
    for words in (("pin", "shop", GOOD), ("pause", "shop"), ("rescue", "shop", GOOD)):
        refused = run(incident.api, *words)
        assert refused.code == 5 and said in refused.err, words
    assert revision(incident.api) == BAD and is_on(incident.api.get(APPLICATION, "argocd", "shop"))
    shown = run(incident.api, "status", "shop").out
    assert "platform (by tracking-id): is elsewhere: whether it reverts edits is not known" in shown
    ran = run(incident.api, "pin", "shop", GOOD, "--yes")
    assert (ran.code, revision(incident.api)) == (0, GOOD), ran.err
    incident.clock.advance(1)


def test_an_owner_on_a_hub_is_asked_about_and_is_no_evidence(run: Run, incident: Incident) -> None:
    hub = InMemoryApi(incident.clock)
    other, git = second(incident, hub, "hub", to={"server": SPOKE}, clusters={SPOKE: incident.api})
    play(incident, other)
    assert revision(incident.api) == BAD

    def pause(app: JSON) -> None:
        del app["spec"]["syncPolicy"]["automated"]

    hub.edit(APPLICATION, "hub", "platform", pause)  # a colleague on the hub
    _is_asked_about(run, incident, "this cluster")
    git.commit({"apps": [shop(GOOD)]})
    play(incident, other, seconds=130)

    undone = run(incident.api, "undo", "--yes")
    assert undone.code == 5
    assert "its owner Application argocd/platform is elsewhere, not in this cluster" in undone.err
    play(incident, other)
    assert revision(incident.api) == GOOD, "what broke was not rolled out unasked"
    assert run(incident.api, "undo", "--yes", "--redeploy").code == 0
    assert revision(incident.api) == BAD


@pytest.mark.parametrize("reference", [
    {"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": "u", "controller": False},
    {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "gone", "uid": "u"},
])  # fmt: skip
def test_a_foreign_owner_reference_hides_no_owner(run: Run, incident: Incident, reference: JSON) -> None:
    def refer(app: JSON) -> None:
        app["metadata"]["ownerReferences"] = [reference]

    incident.api.edit(APPLICATION, "argocd", "traefik", refer)
    incident.argocd.run(10)
    shown = run(incident.api, "status", "traefik").out
    assert "nobody owns" not in shown and "root (by tracking-id): auto-sync on" in shown
    refused = run(incident.api, "pin", "traefik", GOOD)
    assert refused.code == 5 and "root is paused as well" in refused.err
    assert run(incident.api, "pin", "traefik", GOOD, "--yes").code == 0
    incident.argocd.run(30)
    assert revision(incident.api, "traefik") == GOOD


def test_with_a_foreign_reference_alone_the_lists_tell(run: Run, incident: Incident) -> None:
    incident.argocd.controller_alive = False  # or it would put its mark back

    def refer(app: JSON) -> None:
        del app["metadata"]["annotations"]
        app["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "p", "uid": "u"}
        ]

    incident.api.edit(APPLICATION, "argocd", "traefik", refer)
    refused = run(incident.api, "pin", "traefik", GOOD)
    assert refused.code == 5 and "root is paused as well" in refused.err


@pytest.fixture
def hub(incident: Incident) -> tuple[Incident, InMemoryApi]:
    """`argocd/shop` of the hub itself, which nobody deploys, and one of that name on a spoke."""
    spoke = InMemoryApi(incident.clock)
    other, _ = second(incident, incident.api, "argocd", clusters={SPOKE: spoke, "edge": spoke})
    incident.argocd.controller_alive = False  # the one that knows the spoke plays its part
    incident.api.create(shop(BAD))
    incident.api.create(platform("argocd", {"server": SPOKE}))
    play(incident, other)
    assert revision(spoke) == BAD
    along(incident, other)
    return incident, spoke


def test_an_app_that_deploys_it_to_a_spoke_is_no_owner(run: Run, hub: tuple[Incident, InMemoryApi]) -> None:
    incident, _ = hub

    # A label that charts set as well has all Applications looked at.
    def label(app: JSON) -> None:
        app["metadata"]["labels"] = {"app.kubernetes.io/instance": "shop"}

    incident.api.edit(APPLICATION, "argocd", "shop", label)
    play(incident)
    assert "nobody owns shop" in run(incident.api, "status", "shop").out
    ran = run(incident.api, "pin", "shop", GOOD)  # needs no yes
    assert ran.code == 0, ran.err
    assert is_on(incident.api.get(APPLICATION, "argocd", "platform")), "paused for nothing"
    undone = run(incident.api, "undo", "--yes")
    assert undone.code == 0, undone.err
    assert revision(incident.api) == BAD, "the saved original, whatever the app says of its spoke"


@pytest.mark.parametrize(("names", "code"), [({"edge": SPOKE}, 5), ({}, 5), ({"edge": "https://kubernetes.default.svc"}, 0)])  # fmt: skip
def test_one_of_which_it_cannot_be_told_is_paused_and_no_evidence(
    run: Run, incident: Incident, names: dict[str, str], code: int
) -> None:
    other, git = second(incident, incident.api, "argocd")
    incident.argocd.controller_alive = False
    incident.api.create(platform("argocd", {"name": "edge"}))
    for name, server in names.items():
        incident.api.create(_cluster(name, server))
    play(incident, other)
    along(incident, other)
    ran = run(incident.api, "pin", "shop", GOOD, "--yes")
    assert ran.code == 0, ran.err
    assert ("its destination is edge; it counts as an owner" in ran.err) == (code == 5)
    app = incident.api.get(APPLICATION, "argocd", "platform")
    assert not is_on(app) or app["spec"]["syncPolicy"]["automated"].get("enabled") is False
    play(incident, other)
    assert revision(incident.api) == GOOD
    git.commit({"apps": [shop(GOOD)]})
    undone = run(incident.api, "undo", "--yes")
    assert undone.code == code, undone.err
    assert revision(incident.api) == GOOD
    assert ("its destination is edge" in undone.err) == (code == 5)


def _cluster(name: str, server: str) -> JSON:
    """How Argo CD keeps a cluster."""
    data = {k: base64.b64encode(v.encode()).decode() for k, v in (("name", name), ("server", server))}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"cluster-{name}",
            "namespace": "argocd",
            "labels": {"argocd.argoproj.io/secret-type": "cluster"},
        },
        "data": data,
    }


def test_secrets_are_asked_for_only_where_a_destination_is_in_question(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pin", "traefik", GOOD, "--yes").code == 0
    assert not any("/secrets" in asked.path for asked in incident.api.requests)


def test_the_address_by_which_we_come_is_this_cluster(run: Run, incident: Incident) -> None:
    here = {"server": incident.api.where.server, "namespace": "argocd"}
    incident.api.edit(APPLICATION, "argocd", "root", lambda o: o["spec"].update(destination=here))
    incident.argocd.run(10)
    ran = run(incident.api, "pin", "traefik", GOOD, "--yes")
    assert ran.code == 0 and "counts as an owner" not in ran.err
    incident.push(GOOD)
    undone = run(incident.api, "undo", "--yes")
    assert undone.code == 0, undone.err
    assert revision(incident.api, "traefik") == GOOD


def test_a_destination_that_may_not_be_looked_up_is_no_error(run: Run, incident: Incident) -> None:
    incident.api.deny("list", "secrets")
    incident.api.edit(APPLICATION, "argocd", "root", lambda o: o["spec"].update(destination={"name": "mgmt"}))
    ran = run(incident.api, "pin", "traefik", GOOD, "--yes")
    assert ran.code == 0 and "its destination is mgmt" in ran.err
    assert SECRET.plural in {a.path.rpartition("/")[2] for a in incident.api.requests}


# -- a namespace without an Argo CD


@pytest.mark.parametrize("words", [("pause", "shop"), ("status",), ("undo",), ("log",), ("rescue", "shop")])
def test_a_namespace_without_an_argo_cd_is_refused(
    run: Run, incident: Incident, words: tuple[str, ...]
) -> None:
    it = shop(BAD)
    it["metadata"]["namespace"] = "default"
    incident.api.create(it)
    before = len(incident.api.requests)
    ran = run(incident.api, *words, "-n", "default", "--argocd-namespace", "default")
    assert ran.code == 5
    assert "there is no Argo CD in namespace default" in ran.err
    asked = incident.api.requests[before:]
    assert {a.method for a in asked if "review" not in a.path} == {"GET"}


def _forget_settings(api: InMemoryApi) -> None:
    api.remove(CONFIGMAP, "argocd", "argocd-cm")


def _deny_all_but_apps(api: InMemoryApi) -> None:
    for what in ("configmaps", "statefulsets", "deployments"):
        api.deny("*", what)


def _deny_apps(api: InMemoryApi) -> None:
    api.deny("list", "statefulsets")
    _forget_settings(api)


@pytest.mark.parametrize("change", [_forget_settings, _deny_all_but_apps, _deny_apps])
def test_any_sign_of_an_argo_cd_suffices(
    run: Run, incident: Incident, change: Callable[[InMemoryApi], None]
) -> None:
    change(incident.api)
    ran = run(incident.api, "pause", "root", "--argocd-namespace", "argocd")
    assert ran.code == 0, ran.err
