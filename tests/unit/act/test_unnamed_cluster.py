"""A cluster of which no uid may be read: what this machine keeps of it is not taken for another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_argo_rescue.cluster.transport import Target
from kubectl_argo_rescue.model.values import APPLICATION
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.incident import Incident

from ..harness import Run
from ..scenes import played


def _unnamed(run: Run, server: str, authority: str = "") -> Incident:
    """An incident on a cluster that gives neither of its uids, and takes no ConfigMaps either."""
    incident = played("incident", run).incident
    api = incident.api
    api.where = Target("prod", server, "")
    api.certificate_authority = authority
    api.deny("get", "namespaces")
    anew = api.find(APPLICATION, "argocd", "root")
    for _ in _folders(run):  # uids of simulated clusters are alike
        api.remove(APPLICATION, "argocd", "root")
        api.create({**anew, "metadata": {"name": "root", "namespace": "argocd"}})
    for verb in ("get", "create", "patch", "list"):
        api.deny(verb, "configmaps")
    return incident


def _spec(api: InMemoryApi, name: str = "root") -> Any:
    return api.find(APPLICATION, "argocd", name)["spec"]


def _folders(run: Run) -> list[Path]:
    return sorted((run.state_home() / "kubectl-argo-rescue").glob("*/"))


ARGOCD = "--argocd-namespace=argocd"
SERVER = "https://127.0.0.1:6443"


@pytest.mark.parametrize("other", [("https://other.example.com", "one"), (SERVER, "two")])
def test_each_has_its_own_record(run: Run, other: tuple[str, str]) -> None:
    first = _unnamed(run, SERVER, "one")
    assert run(first.api, "pause", "root", ARGOCD).code == 0
    second = _unnamed(run, *other)
    paused = _spec(first.api)
    ran = run(second.api, "undo", "--yes", ARGOCD)
    assert ran.code == 0 and "nothing to undo" in ran.err, ran.err
    assert _spec(first.api) == paused
    assert len(_folders(run)) == 1
    ran = run(first.api, "undo", "--yes", ARGOCD)
    assert ran.code == 0, ran.err
    assert _spec(first.api)["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    assert run(first.api, "log", "--open", "-o", "name", ARGOCD).out == ""


@pytest.mark.parametrize("folder", ["unknown-cluster", ""])
def test_what_may_be_of_another_is_not_closed(run: Run, folder: str) -> None:
    # Behind one address are now one, now another cluster; up to 0.1 all had one folder anyway.
    first = _unnamed(run, SERVER)
    assert run(first.api, "pause", "root", ARGOCD).code == 0
    second = _unnamed(run, SERVER)
    (there,) = _folders(run)
    if folder:
        there.rename(there.with_name(folder))
    for _ in range(2):
        ran = run(second.api, "undo", "--yes", ARGOCD)
        assert ran.code == 4, ran.err
        assert "may be of another cluster" in ran.err
        assert not [r for r in second.api.writes() if "refresh" not in str(r.body)]
    ran = run(first.api, "undo", "--yes", ARGOCD)
    assert ran.code == 0, ran.err
    assert _spec(first.api)["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    assert run(first.api, "log", "--open", "-o", "name", ARGOCD).out == ""


def test_an_unnamed_cluster_that_got_a_name_keeps_its_record(run: Run) -> None:
    incident = _unnamed(run, SERVER, "one")
    assert run(incident.api, "pause", "root", ARGOCD).code == 0
    incident.api.denied.clear()
    ran = run(incident.api, "undo", "--yes", ARGOCD)
    assert ran.code == 0 and "nothing to undo" not in ran.err, ran.err
    assert run(incident.api, "log", "--open", "-o", "name", ARGOCD).out == ""


def test_an_object_created_anew_with_what_we_wrote_stays_open(run: Run) -> None:
    incident = played("incident", run).incident
    api = incident.api
    assert run(api, "pause", "root").code == 0
    anew = api.find(APPLICATION, "argocd", "root")
    api.remove(APPLICATION, "argocd", "root")
    api.create({**anew, "metadata": {"name": "root", "namespace": "argocd"}})
    ran = run(api, "undo", "--yes", ARGOCD)
    assert ran.code == 4, ran.err
    assert "was deleted and created anew since" in ran.err
    assert run(api, "log", "--open", "-o", "name", ARGOCD).out
    ran = run(api, "undo", "--yes", "--on-conflict=skip")
    assert ran.code == 0, ran.err
    assert run(api, "log", "--open", "-o", "name", ARGOCD).out == ""
