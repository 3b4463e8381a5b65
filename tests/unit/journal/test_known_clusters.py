"""`log`, `show` and `report` while the API server is away: this machine's record, named as such.

Covered: which record is shown, and that a server without one is an error as before; nothing is undone
or pruned by it; the index of clusters: its rights, two contexts of one server, what is no index.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from kubectl_argo_rescue.cluster.transport import Response, Target
from kubectl_argo_rescue.journal import known_clusters
from kubectl_argo_rescue.journal.known_clusters import KnownCluster
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.simulation.incident import Incident
from kubectl_argo_rescue.simulation.wire import Request

from ..harness import Run

PROD = Target("prod", "https://prod.example.com:6443", "")
ALONE = (
    "warning: prod (https://prod.example.com:6443) cannot be asked: connection refused; this is the record of "
    "this machine alone, and nothing of it is compared with the cluster\n"
)


@pytest.fixture
def incident(incident: Incident) -> Incident:
    incident.api.where = PROD
    return incident


def cut_off(incident: Incident) -> None:
    def refused(request: Request) -> Response | None:
        raise TransportError("connection refused", sent=False)

    incident.api.before.append(refused)


def paused(run: Run, incident: Incident, *words: str) -> str:
    ran = run(incident.api, "pause", "root", "-o", "json", *words)
    assert ran.code == 0, ran.err
    entry: str = ran.json["entry"]
    return entry


def test_the_log_is_this_machine_s_while_the_cluster_is_away(run: Run, incident: Incident) -> None:
    entry = paused(run, incident, "--reason", "INC-4711")
    cut_off(incident)
    ran = run(incident.api, "log")
    assert ran.code == 0 and ALONE in ran.err
    assert entry in ran.out and "INC-4711" in ran.out
    assert "local only" not in ran.out, "whether the cluster has it as well is not known"
    assert run(incident.api, "log", "-o", "name").out == f"{entry}\n"
    listed = run(incident.api, "log", "-o", "json").json
    assert [e["id"] for e in listed["data"]["entries"]] == [entry]
    assert any("cannot be asked" in w for w in listed["warnings"])


def test_one_entry_and_the_report_too(run: Run, incident: Incident) -> None:
    entry = paused(run, incident)
    cut_off(incident)
    shown = run(incident.api, "show", entry[:3])
    assert shown.code == 0 and "Application argocd/root" in shown.out and "cannot be read" in shown.out
    assert ALONE in shown.err
    report = run(incident.api, "report")
    assert report.code == 0 and entry in report.out and ALONE in report.err
    assert "prod (https://prod.example.com:6443)" in report.out


def test_another_server_is_not_shown_the_record_of_this_one(run: Run, incident: Incident) -> None:
    paused(run, incident)
    cut_off(incident)
    incident.api.where = Target("prod", "https://other.example.com", "")
    ran = run(incident.api, "log")
    assert (ran.code, ran.out) == (1, "") and "connection refused" in ran.err


def test_a_machine_without_a_record_says_why_it_has_none(run: Run, incident: Incident) -> None:
    paused(run, incident)
    cut_off(incident)
    ran = run(incident.api, "log", laptop="another")
    assert (ran.code, ran.out) == (1, "") and "connection refused" in ran.err


@pytest.mark.parametrize("words", [("undo",), ("log", "prune", "--older-than", "1h", "--yes"), ("status",)])
def test_nothing_else_goes_on_with_it(run: Run, incident: Incident, words: tuple[str, ...]) -> None:
    entry = paused(run, incident)
    cut_off(incident)
    assert run(incident.api, *words).code == 1
    incident.api.before.clear()
    assert run(incident.api, "log", "-o", "name").out == f"{entry}\n"


def test_the_index_is_for_its_owner_alone_and_written_once(run: Run, incident: Incident) -> None:
    paused(run, incident)
    index = run.state_home() / "kubectl-argo-rescue" / known_clusters.INDEX
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    written = index.stat()
    run(incident.api, "log")
    assert index.stat().st_ino == written.st_ino
    assert [p.name for p in index.parent.iterdir() if not p.is_dir()] == [known_clusters.INDEX]


def test_two_contexts_of_one_server(tmp_path: Path) -> None:
    one, two = KnownCluster("https://a", "one", ("u1",)), KnownCluster("https://a", "two", ("u1", "u2"))
    for cluster in (one, two, KnownCluster("https://b", "one", ("u3",))):
        known_clusters.remember(tmp_path, cluster)
    assert known_clusters.recall(tmp_path, "https://a", "two") == [two]
    assert known_clusters.recall(tmp_path, "https://a", "gone") == [one, two]
    assert known_clusters.recall(tmp_path, "https://c", "one") == []
    moved = KnownCluster("https://a", "two", ("u4",))
    known_clusters.remember(tmp_path, moved)
    assert known_clusters.recall(tmp_path, "https://a", "two") == [moved], (
        "a cluster built anew has the name now"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"server": "https://a"}',
        json.dumps([{"server": "https://a", "context": "", "folders": ["../elsewhere"]}]),
        json.dumps([{"server": "https://a", "context": "", "folders": [".."]}]),
    ],
)
def test_what_is_no_index_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / known_clusters.INDEX).write_text(text)
    assert known_clusters.recall(tmp_path, "https://a", "") == []
    there = KnownCluster("https://a", "", ("u1",))
    known_clusters.remember(tmp_path, there)
    assert known_clusters.known(tmp_path) == [there]


def test_a_state_home_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    known_clusters.remember(blocked / "home", KnownCluster("https://a", "", ("u1",)))
    assert known_clusters.known(blocked / "home") == []
