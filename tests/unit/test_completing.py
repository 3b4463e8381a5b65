"""Completion, word by word.

Aspects: verbs with their help, flags of a verb, values of choices; the value of a flag is no
argument; applications and versions from a cluster, entries from this machine; a cluster that does
not answer costs under a second and no words; installing the file that kubectl looks for.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubectl_argo_rescue import completing
from kubectl_argo_rescue.cli import VERBS
from kubectl_argo_rescue.cluster import Cluster
from kubectl_argo_rescue.commands.completion import NAME, place
from kubectl_argo_rescue.simulation.incident import traefik_incident

from .harness import Run


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    api = traefik_incident().api

    @contextmanager
    def opened(before: Sequence[str]) -> Iterator[tuple[Cluster, str]]:
        yield Cluster(api), "argocd"

    monkeypatch.setattr(completing, "_cluster", opened)


def names(*words: str) -> list[str]:
    return [c.split("\t")[0] for c in completing.complete(words)]


def test_verbs_come_first() -> None:
    assert names("") == list(VERBS)
    assert names("un") == ["unblock", "undo"]
    assert completing.complete(["pau"]) == ["pause\tTurn auto-sync off, so that it stays off"]


def test_flags_of_a_verb() -> None:
    assert "--on-conflict" in names("undo", "--")
    assert names("pin", "traefik", "--sou") == ["--source"]
    assert names("--kubec") == ["--kubeconfig"]


def test_values_of_a_choice() -> None:
    assert names("undo", "--on-conflict", "s") == ["stop", "skip"]
    assert names("pause", "root", "-o", "") == ["human", "name", "json", "yaml"]


@pytest.mark.usefixtures("cluster")
def test_applications_and_versions() -> None:
    assert names("pause", "") == ["root", "traefik", "web"]
    assert names("pause", "root", "") == ["traefik", "web"]
    assert names("watch", "tr") == ["traefik"]
    assert names("-n", "argocd", "pin", "") == ["root", "traefik", "web"]
    assert names("pin", "traefik", "") == ["2.5.1", "2.4.1"]
    assert names("pin", "traefik", "2.4.1", "") == []


def test_entries_of_this_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = traefik_incident()
    run(incident.api, "pause", "root")
    monkeypatch.setenv("XDG_STATE_HOME", str(run.state_home()))
    (choice,) = completing.complete(["show", ""])
    assert choice.endswith("\tpause by alice")


def test_a_cluster_that_is_away_costs_no_second() -> None:
    released = threading.Event()
    assert completing.within(0.05, lambda: [str(released.wait(60))]) == []
    released.set()


def test_installed_beside_the_plugin(run: Run, tmp_path: Path) -> None:
    ran = run(traefik_incident().api, "completion", "--install", "--dir", str(tmp_path))
    path = tmp_path / NAME
    assert (ran.code, ran.out) == (0, f"{path}\n")
    assert path.stat().st_mode & stat.S_IXUSR
    on_path = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shown = subprocess.run([path, "pau"], capture_output=True, text=True, check=True, env=on_path, timeout=60)
    assert shown.stdout == "pause\tTurn auto-sync off, so that it stays off\n:4\n"
    assert shown.stderr == ""


def test_the_place_is_on_the_path_and_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "bin"
    ours.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place(f"/nowhere{os.pathsep}{ours}") == ours
    assert place("/nowhere") == tmp_path / ".local" / "bin"
