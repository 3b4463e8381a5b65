"""Completion, word by word.

Aspects: verbs with their help, flags of a verb, values of flags; the value of a flag is no argument;
applications, versions, entries, namespaces and AppProjects from a cluster, contexts from the
kubeconfig, entries from this machine where no cluster answers; a cluster that does not answer costs
no second and no words; nothing may ask for a password; installing the file that kubectl looks for.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_argo_rescue.cli import complete
from kubectl_argo_rescue.cli.complete import FILES, FOLDERS, IN_ORDER, NO_FILES, Offer
from kubectl_argo_rescue.cli.root import VERBS
from kubectl_argo_rescue.cluster import connect
from kubectl_argo_rescue.cluster.transport import Connection
from kubectl_argo_rescue.commands.completion import NAME, place
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import APPLICATION
from kubectl_argo_rescue.simulation.incident import Incident
from tests.testbed.kubeconfigs import script

from ..harness import Run
from ..played import traefik_incident


@pytest.fixture
def asked() -> list[Connection]:
    """The connections that completion opened."""
    return []


@pytest.fixture
def incident(incident: Incident, monkeypatch: pytest.MonkeyPatch, asked: list[Connection]) -> Incident:
    def open_transport(connection: Connection) -> object:
        asked.append(connection)
        return incident.api

    monkeypatch.setattr(connect, "open_transport", open_transport)
    return incident


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_transport(connection: Connection) -> object:
        raise TransportError("nobody is there", sent=False)

    monkeypatch.setattr(connect, "open_transport", open_transport)


def names(*words: str) -> list[str]:
    return [c.split("\t")[0] for c in complete.complete(words).choices]


def test_verbs_come_first() -> None:
    assert names("") == list(VERBS)
    assert names("un") == ["unblock", "undo"]
    assert complete.complete(["pau"]) == Offer(["pause\tTurn auto-sync off, so that it stays off"])
    assert names("--context", "prod", "pau") == ["pause"]
    assert names("-nargocd", "pau") == ["pause"]
    assert names("help", "pau") == ["pause"]
    assert names("nonsense", "") == []


def test_flags_of_a_verb() -> None:
    assert "--on-conflict" in names("undo", "--")
    assert names("pin", "traefik", "--sou") == ["--source"]
    assert names("--kubec") == ["--kubeconfig"]
    assert names("pause", "-") >= ["--all"]
    assert "-n" in names("pause", "-")
    assert "-n" not in names("pause", "--")


def test_a_flag_is_offered_once_unless_it_may_be_repeated() -> None:
    assert names("pause", "--dry-run", "--dry") == []
    assert names("pause", "--as-group=a", "--as-g") == ["--as-group"]
    assert names("--dry-run", "pause", "--dry") == []


def test_after_two_dashes_nothing_is_a_flag(incident: Incident) -> None:
    assert names("pause", "--", "-") == []
    assert names("pause", "--", "tr") == ["traefik"]


def test_values_of_a_choice() -> None:
    assert names("undo", "--on-conflict", "s") == ["stop", "skip"]
    assert names("pause", "root", "-o", "") == ["human", "name", "json", "yaml"]
    assert names("pause", "root", "--output=j") == ["json"]
    assert names("pause", "root", "-o=j") == ["json"]
    assert names("pause", "root", "--dry-run=") == ["none", "client", "server"]
    assert names("pause", "root", "--yes=") == ["true", "false"]
    assert names("log", "") == ["prune"]
    assert "ingress" in names("drill", "")


@pytest.mark.parametrize(
    ("words", "directive"),
    [
        (("pause", "--kubeconfig", ""), FILES),
        (("pause", "--kubeconfig="), FILES),
        (("completion", "--dir", ""), FOLDERS),
        (("pause", "--as", ""), NO_FILES),
        (("version", ""), NO_FILES),
    ],
)
def test_the_shell_is_told_where_files_go(words: tuple[str, ...], directive: int) -> None:
    assert complete.complete(words) == Offer([], directive)


def test_a_flag_that_may_be_bare_takes_no_word(incident: Incident) -> None:
    assert names("pause", "--dry-run", "") == ["root", "traefik", "web"]


def test_applications(incident: Incident) -> None:
    assert names("pause", "") == ["root", "traefik", "web"]
    assert names("pause", "root", "") == ["traefik", "web"]
    assert names("watch", "tr") == ["traefik"]
    assert names("watch", "traefik", "") == []
    assert names("-n", "argocd", "pin", "") == ["root", "traefik", "web"]
    assert names("pause", "-n=elsewhere", "") == []
    assert names("pause", "argocd/t") == ["argocd/traefik"]
    assert names("windows", "-A", "") == []
    (choice,) = complete.complete(["watch", "web"]).choices
    assert choice == "web\tSynced, Healthy"


def test_applications_of_other_namespaces_are_named_with_theirs(incident: Incident) -> None:
    app = incident.api.get(APPLICATION, "argocd", "web")
    incident.api.create({**app, "metadata": {"name": "shop", "namespace": "team"}})
    assert names("pause", "") == ["root", "traefik", "web", "team/shop"]
    assert names("pause", "team/") == ["team/shop"]
    assert names("pause", "-n", "team", "") == ["shop"]


def test_versions_of_the_history_newest_first(incident: Incident) -> None:
    offer = complete.complete(["pin", "traefik", ""])
    assert [c.split("\t")[0] for c in offer.choices] == ["2.5.1", "2.4.1"]
    assert offer.choices[1].split("\t")[1].startswith("history id 0, ")
    assert offer.directive == NO_FILES | IN_ORDER
    assert names("rescue", "argocd/traefik", "2.4") == ["2.4.1"]
    assert names("rollback", "traefik", "--to", "") == ["2.5.1", "2.4.1"]
    assert names("rollback", "traefik", "--to=2.5") == ["2.5.1"]
    assert names("pin", "traefik", "2.4.1", "") == []
    assert names("pin", "no-such-app", "") == []


def test_a_digest_is_offered_with_its_tag(incident: Incident) -> None:
    digest = f"sha256:{'0' * 64}"
    incident.api.edit(
        APPLICATION, "argocd", "traefik", lambda app: app["status"]["history"][0].update(revision=digest)
    )
    choice = complete.complete(["pin", "traefik", ""]).choices[1]
    assert choice.startswith(f"{digest}\t2.4.1, history id 0, ")


def test_namespaces_and_projects(incident: Incident) -> None:
    assert "argocd" in names("pause", "-n", "")
    assert names("pause", "--argocd-namespace", "argo") == ["argocd"]
    assert "cluster" in names("pause", "--project", "")


def test_the_cluster_that_is_asked_is_that_of_the_flags(incident: Incident, asked: list[Connection]) -> None:
    names(
        "--context=prod",
        "pause",
        "--as-group",
        "a",
        "--as-group=b",
        "--as=carol",
        "--request-timeout",
        "5",
        "",
    )
    assert asked == [Connection(context="prod", as_user="carol", as_groups=("a", "b"))]


def test_contexts_clusters_and_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = json.dumps(
        {"contexts": [{"name": "one"}, {"name": "two"}], "users": [{"name": "me"}], "clusters": None}
    )
    kubectl = script(tmp_path / "kubectl", f"echo \"$@\" > {tmp_path / 'said'}\ncat <<'END'\n{view}\nEND")
    monkeypatch.setenv("KUBECTL_PATH", str(kubectl))
    assert names("pause", "--context", "") == ["one", "two"]
    assert names("pause", "--user", "") == ["me"]
    assert names("pause", "--cluster", "") == []
    assert names("rescue", "--destination-context", "t") == ["two"]
    assert names("pause", "--kubeconfig", "other", "--context=o") == ["one"]
    assert (tmp_path / "said").read_text() == "--kubeconfig=other config view --output=json\n"


# -- entries


def test_entries_of_both_homes_newest_first(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(incident.api, "pause", "web", user="bob", laptop="another")
    incident.clock.advance(1)
    run(incident.api, "pause", "root", user="alice")
    monkeypatch.setenv("XDG_STATE_HOME", str(run.state_home()))
    mine, bobs = complete.complete(["show", ""]).choices
    assert mine.endswith("\tpause root, by alice")
    assert "by bob" in bobs
    assert names("undo", "") == [mine.split("\t")[0], bobs.split("\t")[0], "root", "web"]
    assert names("undo", "we") == ["web"]


def test_what_is_undone_is_shown_and_not_undone_again(
    run: Run, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(incident.api, "pause", "web")
    run(incident.api, "undo", "--yes")
    monkeypatch.setenv("XDG_STATE_HOME", str(run.state_home()))
    assert len(names("show", "")) == 2
    assert names("undo", "") == []


@pytest.mark.usefixtures("no_cluster")
def test_without_a_cluster_this_machine_knows_entries(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api = traefik_incident().api
    run(api, "pause", "web")
    monkeypatch.setenv("XDG_STATE_HOME", str(run.state_home()))
    assert names("undo", "")[1:] == ["web"]
    assert names("show", "")


@pytest.mark.usefixtures("no_cluster")
def test_without_a_cluster_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nothing"))
    assert names("undo", "") == []
    assert names("pause", "") == []


# -- patience


def test_a_cluster_that_is_away_costs_no_second() -> None:
    assert complete.patience() == complete.PATIENCE_SECONDS < 0.75
    released = threading.Event()

    def find() -> Iterator[str]:
        yield "in time"
        yield str(released.wait(60))

    assert complete.within(find, 1.0) == ["in time"]
    released.set()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("3", 3.0), ("0.2", 0.2), ("0", 0.6), ("-1", 0.6), ("nan", 0.6), ("inf", 0.6), ("x", 0.6)],
)
def test_another_patience(said: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(complete.VARIABLE, said)
    assert complete.patience() == seconds


# -- the file


def test_installed_beside_the_plugin(run: Run, tmp_path: Path) -> None:
    ran = run(traefik_incident().api, "completion", "--install", "--dir", str(tmp_path))
    path = tmp_path / NAME
    assert (ran.code, ran.out) == (0, f"{path}\n")
    assert path.stat().st_mode & stat.S_IXUSR
    on_path = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shown = subprocess.run(
        [path, "pau"], capture_output=True, text=True, check=True, env=on_path, timeout=180
    )
    assert shown.stdout == "pause\tTurn auto-sync off, so that it stays off\n:4\n"
    assert shown.stderr == ""


def test_the_place_is_on_the_path_and_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "bin"
    ours.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place(f"/nowhere{os.pathsep}{ours}") == ours
    assert place("/nowhere") == tmp_path / ".local" / "bin"


@pytest.mark.parametrize("store", ["krew/store/argo-rescue/v1/kubectl-argo_rescue", "pipx/venvs/it/bin/it"])
def test_the_place_is_beside_the_link_by_which_kubectl_found_the_plugin(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both Krew and pipx put a link on the PATH; what it leads to may be gone after an upgrade.
    program = script(tmp_path / store, "true")
    link = tmp_path / "bin" / "kubectl-argo_rescue"
    link.parent.mkdir()
    link.symlink_to(program)
    monkeypatch.setattr(sys, "argv", [str(link)])
    assert place(f"/usr/bin{os.pathsep}{link.parent}") == link.parent
