"""A release made by the workflow's scripts, on a machine that has kubectl and nothing of ours.

Covered: made twice it is the same bytes; the documents' own lines install it, with krew from the built index
and by hand with checksum and signature, from a clone, as the wheel by pipx and uvx; what was changed on the way is refused;
HOME holds what was installed and nothing else; the drill is rescued at a terminal, with kubectl alone on PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from krew import build
from kubectl_argo_rescue import __version__
from tests import docs
from tests.testbed import programs
from tests.testbed.krew import git_repository
from tests.testbed.plugin import clone
from tests.unit.drill.test_game import Screen

from . import scripts
from .conftest import Released

NEEDED_TO_INSTALL = ("git", "openssl", "sha256sum", "sh", "mkdir", "tar", "gzip", "ln")
VERSION = f"kubectl-argo-rescue {__version__}\n"


class Machine:
    """A user's: an empty home, kubectl on PATH, and while something is installed what that needs."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin, self.tools = folder / "home", folder / "bin", folder / "tools"
        for place in (self.home, self.bin, self.tools):
            place.mkdir()
        (self.bin / "kubectl").symlink_to(programs.program("kubectl"))
        (self.tools / "kubectl-krew").symlink_to(programs.program("krew"))
        for name in NEEDED_TO_INSTALL:
            (self.tools / name).symlink_to(str(shutil.which(name)))
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        self.default_index = git_repository(folder / "default-index", {"plugins/README.md": "none"})

    def environment(self, *path: Path) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": os.pathsep.join(map(str, (self.bin, *path))),
            "KREW_DEFAULT_INDEX_URI": str(self.default_index),
            "KREW_NO_UPGRADE_CHECK": "1",
            "TERM": "xterm",
            "COLUMNS": "100",
        }

    def shell(self, lines: str, *, code: int = 0) -> str:
        """Type lines, each of which must succeed."""
        done = subprocess.run(
            ["sh", "-eu", "-c", lines], cwd=self.downloads, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=300, check=False,
            env=self.environment(self.tools, self.home / ".local" / "bin"),
        )  # fmt: skip
        assert (done.returncode == 0) is (code == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def kubectl(self, plugins: Path, *words: str) -> str:
        """Run kubectl where it and the plugins of a folder are all that there is."""
        done = subprocess.run(
            [self.bin / "kubectl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False, env=self.environment(plugins),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    plugins = made.home / ".krew" / "bin"
    path = made.environment(plugins)["PATH"]
    assert [n for n in ("kubectl", "python3", "sh", "git") if shutil.which(n, path=path)] == ["kubectl"]
    return made


@pytest.fixture
def downloads(machine: Machine, released: Released) -> Path:
    """What a user downloads by hand."""
    archive = build.archive_name(*build.this_platform(), __version__)
    for name in (archive, "SHA256SUMS", "SHA256SUMS.sig"):
        address = f"{released.repository}/releases/download/v{__version__}/{name}"
        urllib.request.urlretrieve(address, machine.downloads / name)
    shutil.copy(released.public_key, machine.downloads / "release.pub")
    return machine.downloads


def lines_of(document: str, heading: str) -> str:
    """Return the shell lines that stand under a heading."""
    text = (docs.CHECKOUT / document).read_text()
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return "".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


def test_the_same_commit_gives_the_same_bytes(released: Released, tmp_path: Path) -> None:
    scripts.make(tmp_path, released.repository)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert len(made) >= 8, sorted(made)
    for name, content in made.items():
        assert (released.dist / name).read_bytes() == content, name
    there = {p.relative_to(released.dist) for p in released.dist.rglob("*") if p.is_file()}
    assert there - set(made) == {Path("SHA256SUMS.sig")}


def test_krew_installs_it_from_the_built_index_and_the_drill_is_rescued(
    machine: Machine, released: Released, tmp_path: Path
) -> None:
    index = released.dist / "index"
    files = {str(p.relative_to(index)): p.read_text() for p in index.rglob("*") if p.is_file()}
    assert set(files) == {"artifacthub-repo.yml", "plugins/argo-rescue.yaml"}
    repository = git_repository(tmp_path / "index", files)
    said = lines_of("krew/README.md", "A custom index").splitlines()
    typed = [
        re.sub(r"https://\S+", str(repository), line) for line in said if line.startswith("kubectl krew")
    ]
    assert len(typed) == 2
    machine.shell("\n".join(typed))
    plugins = machine.home / ".krew" / "bin"
    assert machine.kubectl(plugins, "argo-rescue", "version") == VERSION
    rescue_the_drill(machine, plugins)
    assert os.listdir(machine.home) == [".krew"]

    machine.shell("kubectl krew uninstall argo-rescue")
    archive = released.dist / build.archive_name(*build.this_platform(), __version__)
    good = archive.read_bytes()
    archive.write_bytes(good + b"\0")
    try:
        assert "checksum does not match" in machine.shell("kubectl krew install rescue/argo-rescue", code=1)
    finally:
        archive.write_bytes(good)


def test_by_hand_with_checksum_and_signature(machine: Machine, downloads: Path) -> None:
    lines = lines_of("docs/install.md", "By hand")
    assert "Verified OK" in machine.shell(lines)
    plugins = machine.home / ".local" / "bin"
    rescue_the_drill(machine, plugins)
    assert os.listdir(machine.home) == [".local"]
    assert (machine.home / ".local/share/argo-rescue/k9s/plugins.yaml").is_file()


@pytest.mark.parametrize("name", ["SHA256SUMS", "kubectl-argo_rescue_*.tar.gz", "SHA256SUMS.sig"])
def test_what_was_changed_is_not_installed_by_hand(machine: Machine, downloads: Path, name: str) -> None:
    (changed,) = downloads.glob(name)
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    machine.shell(lines_of("docs/install.md", "By hand"), code=1)
    assert os.listdir(machine.home) == []


def rescue_the_drill(machine: Machine, plugins: Path) -> None:
    """Play the first scenario at a terminal."""
    screen = Screen(
        machine.home, "argo-rescue", "drill",
        program=machine.bin / "kubectl", environ=machine.environment(plugins),
    )  # fmt: skip
    screen.until("drill> ")
    screen.type("status traefik\n")
    screen.until("2.5.1")
    screen.until("drill> ")
    screen.type("rescue traefik\n")
    screen.until("[y/N] ")
    screen.type("y\n")
    screen.until("2.4.1")
    screen.until("drill> ")
    screen.type("done\n")
    screen.until("Passed")
    screen.until("drill> ")
    screen.type("quit\n")
    assert screen.end() == 0


@pytest.fixture
def wheel(released: Released) -> Path:
    (found,) = released.dist.glob("*.whl")
    return found


@pytest.fixture
def python_home(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Runs a command in an empty home, where packages come from as on this machine."""
    places = {
        "HOME": str(tmp_path),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
    }
    env = {**places, "PIPX_MAN_DIR": str(tmp_path / "man")}
    yield lambda *words, **more: scripts.ran(*words, env=env, **more)


def test_pipx_installs_the_wheel(wheel: Path, python_home: Callable[..., str], tmp_path: Path) -> None:
    python_home(sys.executable, "-m", "pipx", "install", wheel)
    for name in ("kubectl-argo_rescue", "kubectl-argo-rescue"):
        assert python_home(tmp_path / "bin" / name, "version") == VERSION


def test_uvx_runs_the_wheel(wheel: Path, python_home: Callable[..., str]) -> None:
    uvx = docs.CHECKOUT / "build" / "assembling" / "bin" / "uvx"
    assert python_home(uvx, "--system-certs", "--from", wheel, "kubectl-argo-rescue", "version") == VERSION


def test_from_a_clone_without_pipx(python_home: Callable[..., str], tmp_path: Path) -> None:
    said = lines_of("docs/install.md", "From a clone")
    lines = said[said.index("python3 -m venv") :]
    python_home("sh", "-eu", "-c", lines, cwd=clone(tmp_path / "clone"))
    assert python_home(tmp_path / ".local" / "bin" / "kubectl-argo_rescue", "version") == VERSION
