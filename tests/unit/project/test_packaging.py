"""What Krew is given, short of building it, and the wheel.

- the wheel has all that the package needs: a drill runs from it alone;
- the template keeps Krew's rules and what its reviewers ask for;
- the manifest lists the platforms whose archive is there, with its uri and sha256;
- an archive is the same bytes each time, with no symlink, owner or time of its own;
- every version that goes into an archive is pinned, and what is left out is not needed;
- the release workflow builds each platform of the template.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from krew import build
from kubectl_argo_rescue import __version__
from kubectl_argo_rescue.simulation import schemas
from tests.testbed.plugin import clone

TEMPLATE = (build.CHECKOUT / "plugin.yaml").read_text()
CONSTRAINTS = (build.CHECKOUT / "krew" / "constraints.txt").read_text()


def _spec() -> Any:
    return yaml.safe_load(TEMPLATE)["spec"]


def _platforms(spec: Any) -> list[tuple[str, str]]:
    labels = [entry["selector"]["matchLabels"] for entry in spec["platforms"]]
    return [(at["os"], at["arch"]) for at in labels]


def test_the_template_keeps_krews_rules() -> None:
    template = yaml.safe_load(TEMPLATE)
    assert template["metadata"]["name"] == "argo-rescue"
    hub = template["metadata"]["annotations"]
    assert set(hub) == {
        f"artifacthub.io/{name}" for name in ("category", "displayName", "keywords", "license")
    }
    assert "argocd" in yaml.safe_load(hub["artifacthub.io/keywords"])
    spec = _spec()
    short, description = spec["shortDescription"], spec["description"]
    assert len(short) <= 50
    assert not re.search("plugin|kubectl", short, re.IGNORECASE)
    assert max(map(len, description.splitlines())) <= 80
    assert len(set(_platforms(spec))) == len(spec["platforms"]) == 5
    for entry in spec["platforms"]:
        assert entry["bin"].endswith(".exe") == (entry["selector"]["matchLabels"]["os"] == "windows")


def test_the_manifest_lists_the_archives_that_are_there(tmp_path: Path) -> None:
    for os_name, arch in [("linux", "amd64"), ("darwin", "arm64")]:
        (tmp_path / build.archive_name(os_name, arch, "1.2.3")).write_text(os_name)
    (tmp_path / build.archive_name("windows", "amd64", "1.2.2")).write_text("of another release")
    spec = build.manifest(TEMPLATE, tmp_path, "1.2.3", "https://forge.invalid/it")["spec"]
    assert spec["version"] == "v1.2.3"
    assert spec["homepage"] == "https://forge.invalid/it"
    assert _platforms(spec) == [("linux", "amd64"), ("darwin", "arm64")]
    first = spec["platforms"][0]
    assert first["sha256"] == hashlib.sha256(b"linux").hexdigest()
    assert (
        first["uri"]
        == "https://forge.invalid/it/releases/download/v1.2.3/kubectl-argo_rescue_1.2.3_linux_amd64.tar.gz"
    )


def test_without_an_archive_there_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(build.BuildFailed, match=r"no archive of version 1\.2\.3"):
        build.manifest(TEMPLATE, tmp_path, "1.2.3", "https://forge.invalid/it")


def test_the_manifest_is_written_for_a_custom_index_as_well(tmp_path: Path) -> None:
    (tmp_path / build.archive_name("linux", "amd64", "1.2.3")).write_text("it")
    path = build.write_manifest(tmp_path, "1.2.3", "https://forge.invalid/it")
    assert path == tmp_path / "argo-rescue.yaml"
    assert (tmp_path / "index" / "plugins" / "argo-rescue.yaml").read_text() == path.read_text()
    assert yaml.safe_load((tmp_path / "index" / "artifacthub-repo.yml").read_text())["owners"]
    assert "  description: |\n    Works on" in path.read_text()


def _bundle(folder: Path) -> Path:
    (folder / "_internal").mkdir(parents=True)
    (folder / "kubectl-argo_rescue").write_text("program")
    (folder / "LICENSE").write_text("licence")
    (folder / "_internal" / "lib.so.1").write_text("library")
    (folder / "_internal" / "lib.so").symlink_to("lib.so.1")
    return folder


def test_an_archive_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    archives: list[bytes] = []
    for name in ("one", "two"):
        folder = _bundle(tmp_path / name)
        os.utime(folder / "LICENSE", (len(archives), len(archives)))
        build.pack(folder, tmp_path / f"{name}.tar.gz", 1_700_000_000)
        archives.append((tmp_path / f"{name}.tar.gz").read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(tmp_path / "one.tar.gz") as tar:
        members = {member.name: member for member in tar}
        library = tar.extractfile("_internal/lib.so")
        assert library is not None
        assert library.read() == b"library"
    assert list(members) == sorted(members)
    assert all(member.isfile() or member.isdir() for member in members.values())
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 1_700_000_000)}
    assert members["kubectl-argo_rescue"].mode == 0o755
    assert members["LICENSE"].mode == 0o644


def test_the_time_of_the_archive_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    assert build.source_date() == 1234567890


def test_the_version_is_the_programs() -> None:
    assert build.version() == __version__


def test_what_is_needed_is_pinned() -> None:
    pinned = {line.partition("==")[0].lower() for line in CONSTRAINTS.splitlines() if "==" in line}
    for os_name in ("linux", "windows"):
        wanted = build.requirements(os_name)
        names = {re.split(r"[^\w-]", line)[0].lower() for line in wanted}
        assert "click" in names
        assert names <= pinned
        assert ("kubernetes" in names) == (os_name == "windows")
    # What PyInstaller itself needs, here or on another platform.
    assert {
        "altgraph",
        "macholib",
        "pefile",
        "pyinstaller-hooks-contrib",
        "pywin32-ctypes",
        "setuptools",
    } <= pinned


def test_the_glibc_floor_is_read_from_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"\0GLIBC_2.9\0GLIBC_2.17\0")
    (tmp_path / "b.so").write_bytes(b"\0GLIBC_2.2.5\0GLIBC_PRIVATE\0")
    assert build.glibc_floor(tmp_path) == "2.17"


def test_the_release_workflow_builds_every_platform() -> None:
    workflow = yaml.safe_load((build.CHECKOUT / ".github" / "workflows" / "release.yml").read_text())
    rows = workflow["jobs"]["archive"]["strategy"]["matrix"]["include"]
    assert sorted((row["os"], row["arch"]) for row in rows) == sorted(_platforms(_spec()))


def test_the_licence_is_the_apache_licence() -> None:
    text = (build.CHECKOUT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_a_drill_runs_from_the_wheel(tmp_path: Path) -> None:
    make = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    wheels = tmp_path / "wheels"
    _python(clone(tmp_path / "clone"), make, str(wheels))
    (wheel,) = wheels.iterdir()
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(installed)
    drill = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from kubectl_argo_rescue import __main__ as it; "
        "print(it.__file__); it.main()"
    )
    said = _python(tmp_path, drill, str(installed), "drill")
    assert said.startswith(str(installed))
    assert said.rstrip().splitlines()[-1].startswith("Passed")


def _python(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_archive_takes_the_packages_data_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[tuple[object, ...]] = []

    def run(*command: object, env: object = None) -> str:
        commands.append(command)
        raise build.BuildFailed

    monkeypatch.setattr(build, "build_environment", lambda os_name: Path("python"))
    monkeypatch.setattr(build, "_run", run)
    with pytest.raises(build.BuildFailed):
        build.freeze("linux", tmp_path, 0)
    assert f"--collect-data={schemas.__package__}" in commands[0]
