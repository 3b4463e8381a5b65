"""What the user may not do, or the server does not serve, is said as that: never "does not exist".

Aspects: an Application that may not be read; Argo CD's namespace where its ConfigMaps may not be
read: named as a missing right, or taken from this machine's journal, so that the undo that was
printed works; an owner that may not be read or listed is a question, no end; workloads that may not
be read; CRDs that are not installed; namespaces that are served or not, where that may not be read.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.act import watch
from kubectl_argo_rescue.argocd.progress import Expectation, workload_keys
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.model.errors import ExitStatus
from kubectl_argo_rescue.model.values import APPLICATION, APPLICATIONSET, APPPROJECT, CONFIGMAP, JSON, Key
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.incident import Incident
from kubectl_argo_rescue.simulation.wire import PAGE_NOT_FOUND, Request

from ..harness import Run
from ..played import traefik_incident


@pytest.mark.parametrize("verb", ["status", "pause", "unblock", "windows", "watch", "terminate"])
def test_an_application_that_may_not_be_read_is_not_missing(run: Run, incident: Incident, verb: str) -> None:
    incident.api.deny("*", "applications")
    ran = run(incident.api, verb, "traefik", user="carol")
    assert ran.code == 1
    assert "you may not as carol get applications argocd/traefik" in ran.err
    assert "does not exist" not in ran.err


@pytest.mark.parametrize("words", [("status",), ("undo",), ("log",)])
def test_without_any_right_the_missing_one_is_named(
    run: Run, incident: Incident, words: tuple[str, ...]
) -> None:
    incident.api.deny()
    ran = run(incident.api, *words, user="carol")
    assert ran.code == 1
    assert "you may not as carol get configmaps argocd/argocd-cm" in ran.err
    assert "--argocd-namespace" in ran.err


def test_without_any_right_the_named_application_is_what_may_not_be_read(
    run: Run, incident: Incident
) -> None:
    incident.api.deny()
    ran = run(incident.api, "rescue", "traefik", user="carol")
    assert ran.code == 1
    assert "get applications argocd/traefik" in ran.err


@pytest.mark.parametrize("cluster_is_known", [True, False])
def test_the_printed_undo_works_without_rights_on_configmaps(
    run: Run, incident: Incident, cluster_is_known: bool
) -> None:
    incident.api.deny("*", "configmaps")
    if not cluster_is_known:
        incident.api.deny("*", "namespaces")
    before = incident.api.get(APPLICATION, "argocd", "root")["spec"]
    made = run(incident.api, "pause", "root", "-o", "json")
    assert made.code == 0, made.err
    entry = made.json["entry"]
    for words in (("log",), ("show", entry), ("report",)):
        ran = run(incident.api, *words)
        assert (ran.code, entry in ran.out) == (0, True), ran.err
    undone = run(incident.api, "undo", entry)
    assert undone.code == 0, undone.err
    assert "Argo CD is taken to be in argocd, as this machine's journal has it" in undone.err
    assert incident.api.get(APPLICATION, "argocd", "root")["spec"] == before


def test_a_journal_of_two_argo_cds_decides_nothing(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pause", "root").code == 0
    other = incident.api.get(APPLICATION, "argocd", "web")
    other["metadata"] = {"name": "shop", "namespace": "default"}
    incident.api.create(other)
    incident.api.deny("*", "configmaps")
    assert run(incident.api, "pause", "default/shop", "--argocd-namespace", "default").code == 0
    ran = run(incident.api, "undo")
    assert ran.code == 2
    assert "this machine's journal has argocd and default" in ran.err


def test_an_owner_that_may_not_be_read_is_a_question(run: Run, incident: Incident) -> None:
    incident.api.deny("get", "applications", "*", "root")
    incident.api.deny("list", "applications")
    for words in (("status", "traefik"), ("windows", "traefik"), ("pause", "traefik", "--dry-run")):
        ran = run(incident.api, *words)
        assert ran.code == 0, ran.err
    assert (
        "may not be read: whether it reverts edits is not known" in run(incident.api, "status", "traefik").out
    )
    unknown = (
        "whether Application argocd/root would revert the edit of Application argocd/traefik is not known"
    )
    refused = run(incident.api, "pause", "traefik")
    assert refused.code == 5 and unknown in refused.err
    assert not incident.api.writes()
    done = run(incident.api, "pause", "traefik", "--only")
    assert done.code == 0 and f"warning: {unknown}" in done.err


def test_an_owner_that_only_a_list_tells_is_a_question(run: Run, incident: Incident) -> None:
    def label(obj: JSON) -> None:
        obj["metadata"].pop("annotations", None)
        obj["metadata"]["labels"] = {"app.kubernetes.io/instance": "root"}

    incident.api.edit(APPLICATION, "argocd", "traefik", label)
    incident.api.edit(APPPROJECT, "argocd", "cluster", label)
    incident.api.deny("list", "applications")
    refused = run(incident.api, "pause", "traefik")
    assert refused.code == 5, refused.err
    assert "who would revert the edit of Application argocd/traefik is not known" in refused.err
    assert run(incident.api, "pause", "traefik", "--only").code == 0


def test_an_owner_that_only_a_list_tells_keeps_a_version_from_going_back(
    run: Run, incident: Incident
) -> None:
    def label(obj: JSON) -> None:
        obj["metadata"].pop("annotations", None)
        obj["metadata"]["labels"] = {"app.kubernetes.io/instance": "root"}

    def pause(obj: JSON) -> None:
        del obj["spec"]["syncPolicy"]

    incident.api.edit(APPLICATION, "argocd", "root", pause)
    incident.api.edit(APPLICATION, "argocd", "traefik", label)
    incident.api.edit(APPPROJECT, "argocd", "cluster", label)
    incident.api.deny("list", "applications")
    assert run(incident.api, "pin", "traefik", "2.4.1", "--no-sync", "--yes").code == 0
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 5
    assert "its owner is not known: Applications may not be listed" in ran.err
    spec = incident.api.get(APPLICATION, "argocd", "traefik")["spec"]
    assert spec["source"]["targetRevision"] == "2.4.1"


@pytest.mark.parametrize("verb", ["unblock", "rescue"])
def test_whom_a_shared_window_frees_is_a_question_where_nobody_may_list_them(
    run: Run, incident: Incident, verb: str
) -> None:
    window = {"kind": "deny", "schedule": "0 16 * * 5", "duration": "64h", "applications": ["*"]}
    incident.api.edit(APPPROJECT, "argocd", "cluster", lambda p: p["spec"].update(syncWindows=[window]))
    incident.api.deny("list", "applications")
    refused = run(incident.api, verb, "traefik")
    assert refused.code == 5, refused.err
    assert "which other Applications the window edit frees is not known" in refused.err
    assert not incident.api.writes()


def test_an_application_of_another_namespace_is_named_with_those_that_are_served(
    run: Run, incident: Incident
) -> None:
    serve = {"application.namespaces": "team-*"}
    incident.api.edit(CONFIGMAP, "argocd", "argocd-cmd-params-cm", lambda cm: cm.update(data=serve))
    for namespace in ("other", "team-b", "team-a"):
        app = incident.api.get(APPLICATION, "argocd", "web")
        app["metadata"] = {"name": "shop", "namespace": namespace}
        incident.api.create(app)
    ran = run(incident.api, "pause", "shop")
    assert (ran.code, ran.err) == (
        1,
        "error: Application shop is not in namespace argocd (AR1301)\n  it is in team-a, team-b: say which by -n\n",
    )


def test_workloads_that_may_not_be_read_are_left_out_of_a_watch(incident: Incident) -> None:
    (workload,) = workload_keys(incident.api.get(APPLICATION, "argocd", "web"))
    incident.api.deny("*", "deployments")
    warnings: list[str] = []
    key = Key("Application", "argocd", "web")
    ending = watch.watch(
        Cluster(incident.api), Expectation(key), timeout=60, show=lambda _: None, warn=warnings.append
    )
    assert ending.status is ExitStatus.OK, ending
    assert [w for w in warnings if f"{workload} may not be read" in w]


def without_crds(*absent: str) -> InMemoryApi:
    """Return an API whose group argoproj.io lacks some resources."""
    api = traefik_incident().api

    def gone(request: Request) -> Response | None:
        words = request.path.partition("?")[0].split("/")
        return PAGE_NOT_FOUND if "argoproj.io" in words and set(absent) & set(words) else None

    api.before.append(gone)
    return api


@pytest.mark.parametrize("words", [("status",), ("windows",), ("pause", "--all"), ("rescue", "traefik")])
def test_a_cluster_without_the_crds_is_another_cluster(run: Run, words: tuple[str, ...]) -> None:
    ran = run(without_crds("applications", "appprojects", "applicationsets"), *words)
    assert ran.code == 1
    assert "Argo CD's CRDs are not installed: app" in ran.err
    assert "is this the right context?" in ran.err
    assert "does not exist" not in ran.err


def test_a_core_install_has_no_applicationsets(run: Run) -> None:
    ran = run(without_crds("applicationsets"), "status")
    assert ran.code == 0
    assert "ApplicationSets" not in ran.err


def test_an_object_of_a_kind_that_is_not_served_is_not_said_to_be_gone(run: Run, incident: Incident) -> None:
    entry = run(incident.api, "pause", "root", "-o", "json").json["entry"]

    def gone(request: Request) -> Response | None:
        return PAGE_NOT_FOUND if "argoproj.io" in request.path else None

    incident.api.before.append(gone)
    shown = run(incident.api, "show", entry)
    assert shown.code == 0
    assert "does not exist" not in shown.out
    assert "cannot be read" in shown.err


def test_which_namespaces_are_served_is_not_known_where_it_may_not_be_read(
    run: Run, incident: Incident
) -> None:
    app = incident.api.get(APPLICATION, "argocd", "web")
    app["metadata"] = {"name": "shop", "namespace": "default"}
    incident.api.create(app)
    allowed = {"sourceNamespaces": ["*"]}
    incident.api.edit(APPPROJECT, "argocd", "cluster", lambda p: p["spec"].update(allowed))
    assert "does not serve namespace default" in run(incident.api, "windows", "default/shop").err
    incident.api.deny("get", CONFIGMAP.plural, "*", "argocd-cmd-params-cm")
    for words in (("windows", "default/shop"), ("status", "default/shop")):
        ran = run(incident.api, *words)
        assert ran.code == 0
        assert "does not serve" not in ran.err + ran.out
    assert "argocd-cmd-params-cm may not be read" in ran.err


def test_a_kind_of_the_group_is_named(incident: Incident) -> None:
    del incident
    from kubectl_argo_rescue.model.errors import NotServed

    cluster = Cluster(without_crds("applicationsets"))
    with pytest.raises(NotServed, match=r"applicationsets\.argoproj\.io is not served"):
        cluster.list(APPLICATIONSET, "argocd")
    with pytest.raises(NotServed, match=r"applicationsets\.argoproj\.io is not served"):
        cluster.get(APPLICATIONSET, "argocd", "shop")
