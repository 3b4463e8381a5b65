"""What others add to one's own entry is shown and asked about: a ConfigMap may be written by many."""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.journal.configmaps import ENTRY_LABEL, LABEL, MANAGED_BY, PREFIX
from kubectl_argo_rescue.journal.encoding import to_line
from kubectl_argo_rescue.journal.records import Intent, Record
from kubectl_argo_rescue.model.values import APPLICATION, CONFIGMAP, Edit, FieldChange, Role, ref_of
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.incident import Incident

from ..harness import Run
from ..scenes import played


@pytest.fixture
def incident(run: Run) -> Incident:
    return played("incident", run).incident


def _forge(api: InMemoryApi, entry: str, *, into: str = "") -> str:
    """Add an intent that sets another repository: in a part of its own, or into a ConfigMap that is there."""
    root = api.find(APPLICATION, "argocd", "root")
    source = root["spec"]["source"]
    change = FieldChange(("spec", "source"), {**source, "repoURL": "https://evil.example.com"}, source)
    record = Record(entry, "00090-ffffff", Intent(1, Edit(ref_of(root), (change,), "", Role.VERSION)))
    data = {record.id: to_line(record)}
    if into:
        api.edit(CONFIGMAP, "argocd", into, lambda obj: obj["data"].update(data))
    else:
        labels = {LABEL: MANAGED_BY, ENTRY_LABEL: entry}
        meta = {"name": f"{PREFIX}{entry}-2", "namespace": "argocd", "labels": labels}
        api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
    return str(source["repoURL"])


def _paused(run: Run, incident: Incident) -> str:
    assert run(incident.api, "pause", "root").code == 0
    return run(incident.api, "log", "-o", "name").out.split()[0].removeprefix("entry/")


@pytest.mark.parametrize("own", [False, True], ids=["a part", "the same ConfigMap"])
def test_one_more_intent_is_asked_about(run: Run, incident: Incident, own: bool) -> None:
    entry = _paused(run, incident)
    repo = _forge(incident.api, entry, into=f"{PREFIX}{entry}" if own else "")
    ran = run(incident.api, "undo")
    assert ran.code == 5, ran.err
    assert "Application argocd/root /spec/source is not in this machine's own file" in ran.err
    assert incident.api.find(APPLICATION, "argocd", "root")["spec"]["source"]["repoURL"] == repo
    assert "somebody else wrote it" in run(incident.api, "show", entry).out
    code, screen = run.on_screen(incident.api, "undo", typed="n\n")
    assert code == 5 and "/spec/source" in screen and "somebody else wrote it" in screen


def test_what_a_colleague_undid_of_it_is_asked_about(run: Run, incident: Incident) -> None:
    assert run(incident.api, "pause", "root", "traefik").code == 0
    assert run(incident.api, "undo", "traefik", "--yes", user="bob", laptop="bobs").code in (0, 4)
    ran = run(incident.api, "undo")
    assert ran.code == 5 and "this machine's own file" in ran.err
    assert run(incident.api, "undo", "--yes").code == 0


def test_ones_own_needs_no_yes(run: Run, incident: Incident) -> None:
    entry = _paused(run, incident)
    ran = run(incident.api, "undo", entry)
    assert ran.code == 0, ran.err
    assert "own file" not in ran.err


def test_nobody_owns_an_entry_where_the_server_does_not_say_who_asks(run: Run, incident: Incident) -> None:
    incident.api.has_subject_reviews = False
    _paused(run, incident)
    ran = run(incident.api, "undo")
    assert ran.code == 5, ran.err
    assert "does not say who you are" in ran.err
    assert run(incident.api, "undo", "--yes").code == 0
