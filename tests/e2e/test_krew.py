"""The archive as people get it: built, installed by the real krew, run through kubectl without Python.

- Krew's own check takes the manifest;
- installed from manifest and archive, offline: `version`, every verb's help, `status`, `pause`
  (with and without a dry run), `undo`, JSON, YAML and a table on a terminal against a real API server;
- from a custom index: install, upgrade to a newer release, uninstall; the journal outlives both;
- the incident on Argo CD's real controllers is rescued through it and handed back to git;
- the archive has its licences, no symlink, and needs no newer glibc than it says; made twice it is the
  same bytes.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from krew import build
from kubectl_argo_rescue import __version__
from kubectl_argo_rescue.cli import root
from tests.testbed import programs
from tests.testbed.argocd import ArgoCD
from tests.testbed.control_plane import ControlPlane
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.krew import git_repository, serving
from tests.testbed.sources import application

from .scene import Scene, deny, is_auto_sync_on

APP = "krewed"
NEXT = "99.0.0"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the archive and the manifest, as `make archive` leaves them."""
    folder = tmp_path_factory.mktemp("dist")
    start = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        # Whoever commits meanwhile changes no date.
        patch.setenv("SOURCE_DATE_EPOCH", str(build.source_date()))
        archive = build.build(folder)
        print(f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB in {time.monotonic() - start:.0f} s")
        yield folder


@pytest.fixture(scope="module")
def krew_programs() -> Path:
    """The folder of the real krew and validate-krew-manifest."""
    return programs.programs(programs.KREW)


def _archive(dist: Path) -> Path:
    return dist / build.archive_name(*build.this_platform(), build.version())


class Krew:
    """One user's krew: a root, a home and a default index of its own, and no network."""

    def __init__(self, program: Path, folder: Path, plane: ControlPlane) -> None:
        self.program, self.folder, self.plane = program, folder, plane
        self.root, self.home = folder / "root", folder / "home"
        self.home.mkdir(parents=True)
        self.default = git_repository(folder / "default-index", {"plugins/README.md": "none"})
        self.krew("update")

    def environment(self, path: str) -> dict[str, str]:
        return {
            "PATH": path,
            "HOME": str(self.home),
            "KREW_ROOT": str(self.root),
            "KREW_NO_UPGRADE_CHECK": "1",
            "KREW_DEFAULT_INDEX_URI": str(self.default),
            "KUBECONFIG": str(self.plane.kubeconfig()),
            "TERM": "xterm",
        }

    def krew(self, *words: object, code: int = 0) -> str:
        done = subprocess.run(
            [str(self.program), *map(str, words)],
            env=self.environment(os.environ["PATH"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def path(self) -> str:
        """A PATH that has kubectl and the plugin and nothing else, Python least of all."""
        return f"{self.root / 'bin'}{os.pathsep}{self.plane.bin}"

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.plane.bin / "kubectl"), "argo-rescue", *words],
            env=self.environment(self.path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def on_a_terminal(self, *words: str) -> tuple[int, str]:
        ours, its = pty.openpty()
        process = subprocess.Popen(
            [str(self.plane.bin / "kubectl"), "argo-rescue", *words],
            env=self.environment(self.path),
            stdin=its,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        said = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not piece:
                break
            said += piece
        os.close(ours)
        return process.wait(timeout=60), said.decode()


@pytest.fixture
def krew(krew_programs: Path, control_plane: ControlPlane, tmp_path: Path) -> Krew:
    made = Krew(krew_programs / "krew", tmp_path / "krew", control_plane)
    assert not [name for name in ("python", "python3", "sh", "git") if shutil.which(name, path=made.path)]
    return made


@pytest.fixture
def app(control_plane: ControlPlane) -> Iterator[str]:
    """An Application with auto-sync on, on an API server where no controller runs."""
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd"},
    }
    source = {"repoURL": "https://git.invalid/it", "path": "it", "targetRevision": "v1"}
    control_plane.apply(config, application(APP, source, namespace="argocd"))
    yield APP
    control_plane.api.delete("application", APP, "argocd")


@pytest.fixture
def server(dist: Path) -> Iterator[str]:
    """What serves the archives of the releases on loopback."""

    with serving(dist) as address:
        yield address


def test_krews_own_check_takes_the_manifest(dist: Path, krew_programs: Path) -> None:
    done = subprocess.run(
        [krew_programs / "validate-krew-manifest", "-manifest", dist / "argo-rescue.yaml", "-skip-install"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_archive_is_one_that_krew_can_unpack(dist: Path) -> None:
    with tarfile.open(_archive(dist)) as tar:
        members = tar.getmembers()
    names = {member.name for member in members}
    assert all(member.isfile() or member.isdir() for member in members)
    assert {"LICENSE", "kubectl-argo_rescue"} <= names
    for library in ("click", "pyyaml", "rich", "jsonpatch", "msgspec"):
        assert [name for name in names if name.lower().startswith(f"licenses/{library}-")], library
    assert not [name for name in names if "kubernetes/" in name or "libcrypto" in name]
    assert _archive(dist).stat().st_size < 10e6


def test_made_again_it_is_the_same(dist: Path, tmp_path: Path) -> None:
    assert build.build(tmp_path).read_bytes() == _archive(dist).read_bytes()


def test_the_incident_is_rescued_through_it(
    dist: Path, krew_programs: Path, argocd: ArgoCD, scene: Scene, tmp_path: Path
) -> None:
    krew = Krew(krew_programs / "krew", tmp_path / "krew", argocd.control_plane)
    krew.krew("install", f"--manifest={dist / 'argo-rescue.yaml'}", f"--archive={_archive(dist)}")
    scene.start().upgrade(BROKEN).freeze(deny(scene.app, "other"))
    assert BROKEN in krew("status", scene.app).stdout
    rescued = krew("rescue", scene.app, "--yes", "--reason", "INC-4711")
    assert f"application.argoproj.io/{scene.app} synced to {GOOD} and healthy" in rescued.stdout
    assert scene.is_serving(GOOD)
    assert krew("undo", check=False).returncode == 5, "git still asks for what broke"
    scene.commit(version=GOOD)
    with scene.unmoved():
        krew("undo")
    assert is_auto_sync_on(scene.live_root())
    assert krew("log", "--open", "-o", "name").stdout == ""


def test_installed_from_the_archive_and_used(dist: Path, krew: Krew, app: str) -> None:
    krew.krew("install", f"--manifest={dist / 'argo-rescue.yaml'}", f"--archive={_archive(dist)}")
    assert (krew.root / "store" / "argo-rescue" / f"v{__version__}" / "LICENSE").exists()
    assert (krew.root / "bin" / "kubectl-argo_rescue").is_symlink()
    assert krew("version").stdout == f"kubectl-argo-rescue {__version__}\n"
    assert "Usage: kubectl argo-rescue" in krew("--help").stdout
    for verb in root.VERBS:
        assert f"Usage: kubectl argo-rescue {verb}" in krew(verb, "--help").stdout
    assert krew("drill").stdout.rstrip().splitlines()[-1].startswith("Passed")

    assert app in krew("status", app).stdout
    planned = krew("pause", app, "--dry-run=client")
    assert planned.stdout == f"application.argoproj.io/{app} paused (dry run)\n"
    assert "automated" in krew.plane.get("application", app)["spec"]["syncPolicy"]
    krew("windows", app)

    assert krew("pause", app, "-o", "json").returncode == 0
    assert krew("log", "-o", "yaml").stdout.startswith("apiVersion: argo-rescue/v1\n")
    status, said = krew.on_a_terminal("watch", app, "--timeout=2s")
    assert status == 6, said
    assert "operation" in said
    assert json.loads(krew("undo", app, "--yes", "--redeploy", "-o", "json").stdout)["status"] == "done"
    assert krew("paus", app, check=False).returncode == 2


def test_another_archive_is_refused(dist: Path, krew: Krew, tmp_path: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    other = tmp_path / archive.name
    other.write_bytes(archive.read_bytes() + b"\0")
    said = krew.krew("install", f"--manifest={dist / 'argo-rescue.yaml'}", f"--archive={other}", code=1)
    assert "checksum does not match" in said


def test_without_kubectl_it_says_so(dist: Path, krew: Krew) -> None:
    krew.krew("install", f"--manifest={dist / 'argo-rescue.yaml'}", f"--archive={_archive(dist)}")
    done = subprocess.run(
        [str(krew.root / "bin" / "kubectl-argo_rescue"), "log"],
        env=krew.environment(str(krew.root / "bin")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "kubectl" in done.stderr
    assert "internal error" not in done.stderr


def test_a_custom_index_installs_upgrades_and_uninstalls(
    dist: Path, krew: Krew, app: str, server: str, tmp_path: Path
) -> None:
    manifest = (dist / "index" / "plugins" / "argo-rescue.yaml").read_text()
    here = f"{server}/{_archive(dist).name}"
    uri = next(line for line in manifest.splitlines() if "uri:" in line)
    first = manifest.replace(uri, uri.partition("uri:")[0] + f"uri: {here}")
    index = git_repository(tmp_path / "index", {"plugins/argo-rescue.yaml": first})

    krew.krew("index", "add", "rescue", index)
    assert "argo-rescue" in krew.krew("search", "argo")
    krew.krew("install", "rescue/argo-rescue")
    krew("pause", app)
    entry = krew("log", "--open", "-o", "name").stdout

    git_repository(index, {"plugins/argo-rescue.yaml": first.replace(f"v{__version__}", f"v{NEXT}", 1)})
    krew.krew("update")
    krew.krew("upgrade", "argo-rescue")
    assert os.listdir(krew.root / "store" / "argo-rescue") == [f"v{NEXT}"]
    assert entry
    assert krew("log", "--open", "-o", "name").stdout == entry
    krew("undo", app, "--yes", "--redeploy")

    krew.krew("uninstall", "argo-rescue")
    assert not (krew.root / "bin" / "kubectl-argo_rescue").exists()
    gone = krew("version", check=False)
    assert gone.returncode != 0
