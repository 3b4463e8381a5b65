"""The test bed's pure parts: wrapper modules, versions, cache keys, waiting, ports, charts, git, stages."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.testbed import programs
from tests.testbed.control_plane import BROKEN, pod_stages
from tests.testbed.processes import Died, Ports, Processes, TestbedError, TimedOut, until
from tests.testbed.sources import Charts, GitRepository, application, manifest, project

# -- programs


def test_a_staging_folder_of_kubernetes_becomes_its_published_version() -> None:
    go_mod = "module x\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
    assert (
        programs.replacements(programs.KUBERNETES, go_mod)
        == "replace (\n\tk8s.io/api => k8s.io/api v0.36.3\n)\n"
    )


def test_other_folders_are_dropped_and_other_lines_kept() -> None:
    go_mod = (
        "replace (\n\t// why => not\n\tgithub.com/argoproj/argo-cd/gitops-engine => ./gitops-engine\n"
        "\tk8s.io/api => k8s.io/api v0.34.0\n)\n"
    )
    found = programs.replacements(programs.ARGO["3.6"], go_mod)
    assert found == "replace (\n\tk8s.io/api => k8s.io/api v0.34.0\n)\n"


def test_no_replacements_need_no_block() -> None:
    assert programs.replacements(programs.ETCD, "module x\n") == ""


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.27rc1 darwin/arm64", (1, 27)),
        ("no go at all", None),
    ],
)
def test_the_version_of_go_is_read(text: str, version: tuple[int, int] | None) -> None:
    assert programs.go_version(text) == version


def test_every_module_has_a_cache_folder_of_its_own() -> None:
    keys = [module.key for module in programs.MODULES]
    assert len(set(keys)) == len(keys)
    assert all(module.version in module.key for module in programs.MODULES)


def test_the_cache_is_where_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(programs.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert programs.cache_folder() == Path("/somewhere/kubectl-argo-rescue/testbed")
    monkeypatch.setenv(programs.CACHE, "/elsewhere")
    assert programs.cache_folder() == Path("/elsewhere")


def test_kubebuilder_assets_are_honoured_and_a_missing_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(programs.KUBEBUILDER_ASSETS, str(tmp_path))
    (tmp_path / "etcd").touch()
    assert programs.program("etcd") == tmp_path / "etcd"
    with pytest.raises(programs.BuildError, match="kube-apiserver is not there"):
        programs.program("kube-apiserver")


def test_a_failed_build_shows_what_go_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text(
        "#!/bin/sh\ncase $1 in version) echo go version go9.9;; *) echo no such module; exit 1;; esac\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv(programs.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(programs.KUBEBUILDER_ASSETS, raising=False)
    programs._go.cache_clear()
    try:
        with pytest.raises(programs.BuildError, match="no such module"):
            programs.program("etcd")
    finally:
        programs._go.cache_clear()
    assert not list((tmp_path / "cache").glob("*/etcd"))


# -- waiting


def test_a_timeout_says_what_was_waited_for_and_what_was_last_seen() -> None:
    def condition() -> bool:
        raise KeyError("status")

    with pytest.raises(TimedOut, match=r"not within 0.05 s: the app is there; last error: 'status'\nthe log"):
        until(condition, 0.05, "the app is there", ignoring=(KeyError,), explain=lambda: "the log")


def test_an_unexpected_error_ends_the_wait_at_once() -> None:
    def condition() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        until(condition, 60, "never", ignoring=(KeyError,))


# -- processes


def test_a_wait_ends_when_a_program_dies_and_shows_its_log() -> None:
    with Processes() as processes:
        processes.start("weak", "/bin/sh", "-c", "echo out of memory; exit 3")
        with pytest.raises(Died, match=r"weak ended with 3\n(.*\n)*out of memory"):
            processes.until(lambda: False, 60, "never")


def test_a_program_that_is_not_there_is_reported() -> None:
    with Processes() as processes:
        processes.start("ghost", "/nowhere/ghost")
        with pytest.raises(Died, match="ghost ended with 127"):
            processes.until(lambda: False, 60, "never")


def test_close_ends_grandchildren_and_removes_the_folder() -> None:
    with Processes() as processes:
        folder = processes.folder
        script = f"sleep 1000 & echo $! > {folder}/grandchild; wait"
        processes.start("parent", "/bin/sh", "-c", script)
        pid = until(lambda: _read(folder / "grandchild"), 60, "the grandchild started")
    assert not folder.exists()
    until(lambda: not _is_alive(int(pid)), 60, "the grandchild ended")


_OWNER = """
import sys
from tests.testbed.processes import Processes
p = Processes()
a = p.start("a", "/bin/sleep", "1000")
print(p.folder, a.pid, flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("then", "kill"),
    [
        ("sys.stdin.read()", subprocess.Popen.kill),
        ("sys.stdin.read()", subprocess.Popen.terminate),
        ("raise SystemExit(1)", subprocess.Popen.wait),
    ],
    ids=["kill -9", "kill", "exit without close"],
)
def test_nothing_outlives_the_owner(then: str, kill: Callable[[subprocess.Popen[str]], object]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER.format(then=then)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as owner:
        assert owner.stdout
        folder, pid = owner.stdout.readline().split()
        kill(owner)
    until(lambda: not _is_alive(int(pid)), 60, "the program ended")
    until(lambda: not Path(folder).exists(), 60, "the folder is gone")


def test_two_beds_never_get_the_same_port() -> None:
    first, second = Ports(), Ports()
    try:
        taken = [ports.take() for ports in (first, second) for _ in range(20)]
        assert len(set(taken)) == 40
    finally:
        first.close()
        second.close()


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _is_alive(pid: int) -> bool:
    # A zombie that nobody collected yet is as dead as it gets.
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.strip().startswith("Z")


# -- sources


def test_the_chart_index_lists_what_was_added_with_the_newest_first(tmp_path: Path) -> None:
    charts = Charts(tmp_path / "charts", "http://charts.invalid")
    charts.add("traefik", "2.4.1")
    charts.add("traefik", "2.5.1")
    index = yaml.safe_load((charts.folder / "index.yaml").read_text())
    assert [entry["version"] for entry in index["entries"]["traefik"]] == ["2.5.1", "2.4.1"]
    archive = io.BytesIO((charts.folder / "traefik-2.4.1.tgz").read_bytes())
    with tarfile.open(fileobj=archive) as tar:
        assert "traefik/Chart.yaml" in tar.getnames()


def test_git_edits_replace_add_and_remove(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "gitops")
    first = repository.commit(("apps/a.yaml", "version: 1\n"), ("b", "x"), message="one")
    second = repository.commit(("apps/a.yaml", "version: 1", "version: 2"), ("b", ""), message="two")
    assert first != second == repository.head()
    assert repository.read("apps/a.yaml") == "version: 2\n"
    assert not (repository.folder / "b").exists()


def test_an_edit_that_would_change_nothing_is_an_error(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "gitops")
    repository.commit(("a", "version: 1\n"))
    with pytest.raises(TestbedError, match="a has no 'version: 7'"):
        repository.commit(("a", "version: 7", "version: 8"))


def test_an_application_has_one_source_or_several() -> None:
    one = application("a", {"repoURL": "u"})
    several = application("a", [{"repoURL": "u"}], automated={})
    assert yaml.safe_load(manifest(one))["spec"]["source"] == {"repoURL": "u"}
    spec = yaml.safe_load(manifest(several))["spec"]
    assert spec["sources"] == [{"repoURL": "u"}]
    assert "syncPolicy" not in spec


def test_a_project_without_windows_has_no_such_field() -> None:
    assert "syncWindows" not in yaml.safe_load(manifest(project("p")))["spec"]


def test_broken_pods_have_a_stage_of_their_own() -> None:
    ready = {
        "metadata": {"name": "pod-ready"},
        "spec": {"selector": {"matchExpressions": []}, "next": {"statusTemplate": "ready"}},
    }
    stages = {stage["metadata"]["name"]: stage["spec"] for stage in pod_stages([ready])}
    rules = {name: spec["selector"]["matchExpressions"][0] for name, spec in stages.items()}
    assert {name: rule["operator"] for name, rule in rules.items()} == {
        "pod-ready": "DoesNotExist",
        "pod-crash": "Exists",
    }
    assert all(BROKEN in rule["key"] for rule in rules.values())
    assert "CrashLoopBackOff" in stages["pod-crash"]["next"]["statusTemplate"]
