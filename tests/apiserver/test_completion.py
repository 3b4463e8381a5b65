"""Completion as the shells have it: kubectl's own mechanism, a real API server, a real bash.

Aspects: the file that is installed is what kubectl looks for, also where the plugin is a link as
with Krew and pipx; verbs, flags, values, applications, versions, entries, namespaces and contexts
come through `kubectl __complete` with the right directive; a shell gets them from kubectl's own
script; a cluster that is away or refuses costs no word and no error; nobody is asked for a password,
and no login is left running.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kubectl_argo_rescue.cli.complete import VARIABLE
from kubectl_argo_rescue.cli.root import VERBS
from kubectl_argo_rescue.commands.completion import NAME
from tests.testbed.control_plane import ControlPlane
from tests.testbed.kubeconfigs import exec_user, kubeconfig, script
from tests.testbed.plugin import PLUGIN, Plugin, plugin_folder
from tests.testbed.processes import until
from tests.testbed.screen import on_screen
from tests.testbed.sources import application

APP = "completed"
SOURCE = {"repoURL": "https://git.invalid/it", "path": "it", "targetRevision": "2.0.0"}
HISTORY = [
    {"id": n, "revision": f"{n}.0.0", "source": SOURCE, "deployedAt": f"2026-11-0{n}T08:00:00Z"}
    for n in (1, 2)
]


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The API server with an application that has a history, and one in another namespace."""
    control_plane.namespace("completion-team")
    meta = {"name": "argocd-cm", "namespace": "argocd"}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta},
        {**application(APP, SOURCE), "status": {"history": HISTORY}},
        application("afar", SOURCE, namespace="completion-team"),
    )
    yield control_plane
    control_plane.api.delete("application", APP, "argocd")
    control_plane.api.delete("application", "afar", "completion-team")


class Shell:
    """A user's shell, in which the plugin is a link on the PATH and completion is installed."""

    def __init__(self, plane: ControlPlane, plugin: Plugin, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / PLUGIN).symlink_to(plugin_folder() / PLUGIN)
        self.kubectl = str(plane.bin / "kubectl")
        self.environ = {**plugin.environment(), VARIABLE: "30"}
        self.environ["PATH"] = f"{self.bin}{os.pathsep}{plane.bin}{os.pathsep}{os.defpath}"

    def run(self, *command: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            env={**self.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )

    def complete(self, *words: str) -> list[str]:
        """Return kubectl's choices for the last word, without their help, and its directive."""
        done = self.run(self.kubectl, "__complete", "argo-rescue", *words)
        assert done.returncode == 0, done.stderr
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]


@pytest.fixture
def shell(plane: ControlPlane, plugin: Plugin, tmp_path: Path) -> Shell:
    made = Shell(plane, plugin, tmp_path)
    done = made.run(made.kubectl, "argo-rescue", "completion", "--install")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{made.bin / NAME}\n", "")
    return made


def test_words_that_need_no_cluster(shell: Shell) -> None:
    shell.environ["KUBECONFIG"] = "/nowhere"
    assert shell.complete("") == [*VERBS, ":4"]
    assert shell.complete("--context=prod", "-n", "x", "un") == ["unblock", "undo", ":4"]
    assert shell.complete("pause", "root", "--dry") == ["--dry-run", ":4"]
    assert shell.complete("pause", "root", "--dry-run=") == ["none", "client", "server", ":4"]
    assert shell.complete("pause", "-o", "y") == ["yaml", ":4"]
    assert shell.complete("pause", "--kubeconfig", "") == [":0"]
    assert shell.complete("completion", "--dir", "") == [":16"]
    assert shell.complete("pause", "--", "-") == [":4"]


def test_words_from_the_cluster(shell: Shell) -> None:
    assert APP in shell.complete("pause", "")
    assert "completion-team/afar" in shell.complete("pause", "")
    assert shell.complete("pause", "compl") == [APP, "completion-team/afar", ":4"]
    assert shell.complete("pause", "--dry-run", "complete") == [APP, ":4"]
    assert shell.complete("pause", "--", "complete") == [APP, ":4"]
    assert shell.complete("-n", "completion-team", "watch", "") == ["afar", ":4"]
    assert shell.complete("watch", "-n=completion-team", "") == ["afar", ":4"]
    assert shell.complete("watch", "completion-team/") == ["completion-team/afar", ":4"]
    assert shell.complete("windows", "-A", "") == [":4"]
    assert shell.complete("watch", "-n", "completion-") == ["completion-team", ":4"]
    assert shell.complete("watch", "--context", "") == ["testbed", ":4"]
    assert shell.complete("watch", "--user", "") == ["admin", ":4"]


def test_versions_from_history_newest_first(shell: Shell) -> None:
    assert shell.complete("pin", APP, "") == ["2.0.0", "1.0.0", ":36"]
    assert shell.complete("rescue", f"argocd/{APP}", "1") == ["1.0.0", ":36"]
    assert shell.complete("rollback", APP, "--to", "") == ["2.0.0", "1.0.0", ":36"]
    assert shell.complete("rollback", APP, "--to=2") == ["2.0.0", ":36"]


def test_entries_of_a_colleague(shell: Shell, plane: ControlPlane, plugin: Plugin) -> None:
    paused = plugin("pause", APP, "--reason=INC-1", laptop="another", check=True)
    entry = paused.stderr.split()[-1]
    done = shell.run(shell.kubectl, "__complete", "argo-rescue", "undo", entry[:3])
    assert done.stdout == f"{entry}\tpause {APP}, by admin\n:36\n"
    assert shell.complete("show", entry) == [entry, ":36"]
    assert shell.complete("undo", APP) == [APP, ":36"]
    plane.kubectl("delete", "configmap", "-n=argocd", f"argo-rescue-{entry}")


# -- a shell

# What the package bash-completion gives, as far as kubectl's script needs it, and a TAB.
_BASH = """
_get_comp_words_by_ref() {
  words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
  cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
}
compopt() { :; }
source <(kubectl completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
__start_kubectl
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("pau", ["pause"]),
        ("pause --dry", ["--dry-run"]),
        ("pause complete", [APP]),
        (f"pin {APP} ''", ["2.0.0", "1.0.0"]),
        (f"-n argocd rollback {APP} --to 1", ["1.0.0"]),
        ("watch completion-team/", ["completion-team/afar"]),
    ],
)
def test_bash_completes(line: str, choices: list[str], shell: Shell) -> None:
    done = shell.run("bash", "--norc", "-c", _BASH, "bash", "kubectl", "argo-rescue", *shlex.split(line))
    assert (done.stdout.splitlines(), done.stderr) == (choices, "")


# -- a cluster that is away


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"https://127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.parametrize(
    "words", [["pause"], ["pin", APP], ["undo"], ["watch", "-n"], ["rollback", APP, "--to"]], ids=" ".join
)
def test_a_cluster_that_is_away_costs_no_word(words: list[str], shell: Shell, black_hole: str) -> None:
    del shell.environ[VARIABLE]
    for server in (black_hole, "https://127.0.0.1:1"):
        done = shell.run(shell.bin / NAME, "--server", server, *words, "")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() in ([":4"], [":36"])


def test_a_kubeconfig_that_is_wrong_costs_no_word(shell: Shell, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("{")
    for file in (broken, tmp_path / "missing"):
        done = shell.run(shell.bin / NAME, f"--kubeconfig={file}", "pause", "")
        assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")


def test_who_may_not_list_gets_no_word(shell: Shell, plane: ControlPlane) -> None:
    done = shell.run(shell.bin / NAME, "--as=mallory", "pause", "")
    assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")


def test_nobody_is_asked_for_a_password_and_no_login_is_left_running(shell: Shell, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    login = script(
        tmp_path / "login",
        f"[ -t 0 ] && echo stdin >> {mark}\n"
        f"(exec 3<> /dev/tty) 2> /dev/null && echo terminal >> {mark}\n"
        f"echo $$ >> {mark}\n"
        'if [ -n "$QUICK" ]; then exit 1; fi\n'
        "exec sleep 300",
    )
    cluster: dict[str, str | bool] = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    file = kubeconfig(tmp_path / "config", cluster, exec_user(login))
    on_a_terminal = ["setsid", "--ctty", "--wait", shell.kubectl]

    on_screen([*on_a_terminal, f"--kubeconfig={file}", "get", "--raw", "/"], {**shell.environ, "QUICK": "1"})
    assert {"stdin", "terminal"} <= {*mark.read_text().split()}, "this plugin does not ask"
    mark.unlink()

    shell.environ[VARIABLE] = "10"
    words = ["__complete", "argo-rescue", f"--kubeconfig={file}", "pause", ""]
    code, screen = on_screen([*on_a_terminal, *words], shell.environ)
    assert code == 0
    assert [line for line in screen.splitlines() if not line.startswith(("[Debug]", "Completion ended"))] == [
        ":4"
    ]
    (pid,) = mark.read_text().split()
    until(lambda: not Path(f"/proc/{pid}").exists(), 60, "the login is ended")
