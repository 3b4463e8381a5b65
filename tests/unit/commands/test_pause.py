"""Many Applications at once, on the in-memory API.

Aspects: `pause --all` is one entry and one undo; what is already paused stays out of it; one object
that is refused is told and does not stop the others (exit 4); a selection that selects nothing; the
order where an owner is among them; requests stay few.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, JSON
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.incident import Incident, deployment
from kubectl_argo_rescue.simulation.sources import GitRepository

from ..harness import Run
from ..played import traefik_incident

EXTRA = 60
GIT = "https://git.example/x"


def _many() -> Incident:
    incident = traefik_incident()
    names = [f"app-{i:03}" for i in range(EXTRA)]
    incident.argocd.sources.git[GIT] = repository = GitRepository()
    repository.commit({name: [] for name in names})
    for i, name in enumerate(names):
        incident.api.create(_app(name, {"team": "a" if i % 2 else "b"}))
    incident.argocd.run(5)
    incident.api.idle = lambda: incident.argocd.tick(0.5)
    return incident


def _app(name: str, labels: dict[str, str]) -> JSON:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "labels": labels},
        "spec": {
            "project": "default",
            "source": {"repoURL": GIT, "path": name, "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": name},
            "syncPolicy": {"automated": {"selfHeal": True}},
        },
    }


def _on(api: InMemoryApi) -> list[str]:
    found = []
    for app in api.objects(APPLICATION, "argocd"):
        block = (app["spec"].get("syncPolicy") or {}).get("automated")
        if block is not None and block.get("enabled") is not False:
            found.append(app["metadata"]["name"])
    return found


def test_all_is_one_entry_and_one_undo(run: Run) -> None:
    incident = _many()
    before = {a["metadata"]["name"]: a["spec"] for a in incident.api.objects(APPLICATION, "argocd")}
    ran = run(incident.api, "pause", "--all", "--reason", "freeze", "-o", "json")
    assert ran.code == 0, ran.err
    assert _on(incident.api) == []
    assert len(ran.json["edits"]) == EXTRA + 3
    assert len([r for r in incident.api.requests if r.method == "GET"]) < 20

    asked = len(incident.api.requests)
    undone = run(incident.api, "undo", "--yes")
    assert undone.code == 0, undone.err
    patched = [r for r in incident.api.requests[asked:] if r.method == "PATCH" and "/applications/" in r.path]
    assert len(patched) < EXTRA + 3 + 10, "they are not compared one by one"
    assert {a["metadata"]["name"]: a["spec"] for a in incident.api.objects(APPLICATION, "argocd")} == before


def test_what_would_roll_stays_paused_and_the_rest_goes_back(run: Run) -> None:
    incident = _many()
    repository = incident.argocd.sources.git[GIT]
    names = [f"app-{i:03}" for i in range(EXTRA)]
    assert run(incident.api, "pause", "--all", "--yes").code == 0
    repository.commit({name: [deployment(name, "x:1")] if name == "app-007" else [] for name in names})
    incident.argocd.run(200, every=5)
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 5, ran.err
    assert "app-007 stays paused" in ran.err and "would change Deployment app-007" in ran.err
    assert set(names) - set(_on(incident.api)) == {"app-007"}
    repository.commit({name: [] for name in names})
    ran = run(incident.api, "undo", "--yes")
    assert ran.code == 0, ran.err
    assert "app-007" in _on(incident.api)


def test_what_is_paused_already_stays_out(run: Run) -> None:
    incident = _many()
    assert run(incident.api, "pause", "app-001").code == 0
    incident.clock.advance(1)
    assert run(incident.api, "pause", "--all").code == 0
    assert run(incident.api, "undo", run_id(run, incident.api)).code == 0
    assert "app-001" not in _on(incident.api)


def run_id(run: Run, api: InMemoryApi) -> str:
    """Return the newest entry's id."""
    return run(api, "log", "-o", "name").out.split()[0].removeprefix("entry/")


def test_one_that_is_refused_does_not_stop_the_others(run: Run) -> None:
    incident = _many()
    incident.api.deny(verb="patch", resource="applications", name="app-007")
    ran = run(incident.api, "pause", "--all")
    assert ran.code == 4
    assert "Application argocd/app-007" in ran.err
    assert _on(incident.api) == ["app-007"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["-l", "team=a"], EXTRA // 2), (["--project", "cluster"], 2), (["--project", "default"], EXTRA + 1)],
)
def test_a_selection(run: Run, words: list[str], expected: int) -> None:
    incident = _many()
    ran = run(incident.api, "pause", *words, "--dry-run=client", "-o", "json")
    assert ran.code == 0, ran.err
    named = [e for e in ran.json["edits"] if "auto-sync off" in e["reason"]]
    assert len(named) == expected


def test_nothing_selected_and_nothing_said(run: Run) -> None:
    incident = _many()
    assert run(incident.api, "pause", "-l", "team=c").code == 1
    assert run(incident.api, "pause").code == 2
    assert run(incident.api, "pause", "root", "--all").code == 2
