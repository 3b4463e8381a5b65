"""Builds this platform's archive and the Krew manifest of all archives that are there.

python krew/build.py [--dist DIR] [--repository URL] [--manifest-only]

The archive holds a folder made by PyInstaller: no Python is needed to run it. The same commit gives
the same bytes: times come from SOURCE_DATE_EPOCH (by default the commit's), files are sorted and
owned by nobody, and krew/constraints.txt names every version.
"""

from __future__ import annotations

import argparse
import configparser
import gzip
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
NAME = "kubectl-argo_rescue"
REPOSITORY = "https://example.com/kubectl-argo-rescue"
"""Stands in the manifest where nobody says where releases are published: for a local install only."""

_EPOCH = 315532800  # 1980, the first year that every archive format knows

# Nothing of ours imports these where kubectl is the transport; they come along by a library's
# optional imports. Without ssl and _hashlib, libssl and libcrypto stay out as well.
_LEFT_OUT = (
    "aiohttp kubernetes pydantic requests urllib3 yarl certifi cryptography"
    " ssl _ssl _hashlib asyncio multiprocessing"
    " pygments markdown_it mdurl rich.markdown rich.syntax rich.traceback"
    " IPython attr curses ctypes.macholib doctest ensurepip ftplib lib2to3 pdb pip pkg_resources pydoc"
    " setuptools smtplib sqlite3 test tkinter turtle unittest webbrowser xmlrpc"
).split()

# PyInstaller reads Python: tzdata is found by zoneinfo's own search, the others by msgspec's C.
_SEEN_BY_NO_IMPORT = (
    "tzdata",
    "msgspec._utils",
    "datetime",
    "decimal",
    "inspect",
    "typing",
    "uuid",
    "weakref",
)


class BuildFailed(Exception):
    """The archive cannot be made; the text says why."""


def version() -> str:
    """Return the plugin's version, without a leading v."""
    text = (CHECKOUT / "kubectl_argo_rescue" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise BuildFailed("kubectl_argo_rescue/__init__.py names no version")
    return found[1]


def this_platform() -> tuple[str, str]:
    """Return this machine's os and arch in Krew's words."""
    arches = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    system, machine = platform.system().lower(), platform.machine().lower()
    if system not in ("linux", "darwin", "windows") or machine not in arches:
        raise BuildFailed(f"there is no archive for {system} on {machine}")
    return system, arches[machine]


def archive_name(os_name: str, arch: str, release: str) -> str:
    """Return the file name of a platform's archive."""
    return f"{NAME}_{release}_{os_name}_{arch}.tar.gz"


def source_date() -> int:
    """Return the time that goes into the archive."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return _EPOCH
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else _EPOCH


def source_commit() -> str:
    """Return the commit that is built; empty where there is no repository."""
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# -- the bundle


def requirements(os_name: str) -> list[str]:
    """Return what the build needs, from setup.cfg: the plugin's own dependencies and the extra `krew`."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    wanted = config["options"]["install_requires"].split("\n")
    if os_name != "windows":
        wanted = [line for line in wanted if not line.startswith(("kubernetes", "urllib3"))]
    return [line for line in [*wanted, *config["options.extras_require"]["krew"].split("\n")] if line]


def build_environment(os_name: str) -> Path:
    """Return the Python of an environment with the pinned versions and nothing else, made once."""
    constraints = CHECKOUT / "krew" / "constraints.txt"
    wanted = requirements(os_name)
    recipe = "\n".join([sys.version, sys.base_prefix, *wanted, constraints.read_text()])
    folder = CHECKOUT / "build" / "krew" / hashlib.sha256(recipe.encode()).hexdigest()[:12]
    python = folder / ("Scripts/python.exe" if os_name == "windows" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        _say("making the build environment")
        venv.create(folder, with_pip=True, clear=True)
        _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints, *wanted)
        complete.touch()
    return python


def freeze(os_name: str, work: Path, epoch: int) -> Path:
    """Run PyInstaller and return the folder that it made."""
    python = build_environment(os_name)
    launcher = "launcher_windows.py" if os_name == "windows" else "launcher.py"
    options = ["--onedir", "--noconfirm", "--clean", "--log-level=WARN", f"--name={NAME}"]
    options += [f"--paths={CHECKOUT}", f"--distpath={work / 'out'}", f"--workpath={work / 'work'}"]
    options += [f"--specpath={work}", "--collect-submodules=kubectl_argo_rescue", "--collect-data=tzdata"]
    options += ["--collect-data=kubectl_argo_rescue.simulation"]
    commit = work / "commit"
    commit.write_text(f"{source_commit()}\n")
    options += [f"--add-data={commit}{os.pathsep}kubectl_argo_rescue"]
    options += [f"--hidden-import={name}" for name in _SEEN_BY_NO_IMPORT]
    if os_name != "windows":
        options += [f"--exclude-module={name}" for name in _LEFT_OUT]
    else:
        options += ["--collect-submodules=kubernetes.client"]
    if os_name == "linux" and shutil.which("strip"):
        options += ["--strip"]
    _say("freezing")
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "1",
        "PYTHONDONTWRITEBYTECODE": "",
        "PYINSTALLER_CONFIG_DIR": str(work / "config"),
    }
    _run(python, "-m", "PyInstaller", *options, CHECKOUT / "krew" / launcher, env=environment)
    folder = work / "out" / NAME
    shutil.copyfile(CHECKOUT / "LICENSE", folder / "LICENSE")
    folder.joinpath("k9s").mkdir()
    shutil.copyfile(CHECKOUT / "k9s" / "plugins.yaml", folder / "k9s" / "plugins.yaml")
    _copy_licences(python, folder / "licenses")
    return folder


def _copy_licences(python: Path, folder: Path) -> None:
    """Put the licences of all that is in the bundle beside it."""
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    ours = {"pip", "setuptools", "pyinstaller", "pyinstaller_hooks_contrib", "altgraph", "macholib", "pefile"}
    for info in sorted(site.glob("*.dist-info")):
        name = info.name.removesuffix(".dist-info")
        if name.partition("-")[0].lower().replace("-", "_") in ours:
            continue
        for file in sorted(info.rglob("*")):
            if file.is_file() and file.name.upper().startswith(("LICEN", "COPYING", "NOTICE", "AUTHORS")):
                folder.joinpath(name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / name / file.name)
    ask = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    own = Path(_run(python, "-c", ask).strip()) / "LICENSE.txt"
    if own.exists():
        folder.joinpath("python").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(own, folder / "python" / "LICENSE.txt")


def pack(folder: Path, archive: Path, epoch: int) -> None:
    """Write a folder's content as tar.gz: files and folders only, since Krew takes no symlinks."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.mtime = epoch
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:  # what a symlink points to is packed in its place
                data = path.read_bytes()
                info.size = len(data)
                info.mode = 0o755 if path.name in (NAME, f"{NAME}.exe") else 0o644
                tar.addfile(info, io.BytesIO(data))
    with open(archive, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed:
        packed.write(plain.getvalue())


def glibc_floor(folder: Path) -> str:
    """Return the newest glibc that a file of the bundle asks for, empty where none does."""
    found: set[tuple[int, ...]] = set()
    for path in folder.rglob("*"):
        if path.is_file():
            for match in re.findall(rb"GLIBC_(\d+(?:\.\d+)+)\0", path.read_bytes()):
                found.add(tuple(int(part) for part in match.split(b".")))
    return ".".join(str(part) for part in max(found)) if found else ""


# -- the manifest


def manifest(template: str, dist: Path, release: str, repository: str) -> dict[str, Any]:
    """Fill in the template for the archives that are in `dist`. Raises BuildFailed where none is."""
    import yaml

    made: dict[str, Any] = yaml.safe_load(template)
    made["spec"]["version"] = f"v{release}"
    made["spec"]["homepage"] = repository
    platforms = []
    for entry in made["spec"]["platforms"]:
        labels = entry["selector"]["matchLabels"]
        archive = dist / archive_name(labels["os"], labels["arch"], release)
        if archive.exists():
            entry["uri"] = f"{repository}/releases/download/v{release}/{archive.name}"
            entry["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
            platforms.append(entry)
    if not platforms:
        raise BuildFailed(f"no archive of version {release} in {dist}")
    made["spec"]["platforms"] = platforms
    return made


def write_manifest(dist: Path, release: str, repository: str) -> Path:
    """Write the manifest, and once more where a custom index has it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    made = manifest((CHECKOUT / "plugin.yaml").read_text(), dist, release, repository)
    out = yaml.dump(made, Dumper=Dumper, sort_keys=False, width=1000)
    path = dist / "argo-rescue.yaml"
    index = dist / "index" / "plugins" / path.name
    index.parent.mkdir(parents=True, exist_ok=True)
    for place in (path, index):
        place.write_text(out)
    shutil.copyfile(CHECKOUT / "artifacthub-repo.yml", dist / "index" / "artifacthub-repo.yml")
    return path


# -- the command


def build(dist: Path, repository: str = REPOSITORY) -> Path:
    """Make this platform's archive and the manifest; return the archive."""
    os_name, arch = this_platform()
    release, epoch = version(), source_date()
    archive = dist / archive_name(os_name, arch, release)
    work = CHECKOUT / "build" / "krew" / f"work-{os.getpid()}"
    dist.mkdir(parents=True, exist_ok=True)
    try:
        work.mkdir(parents=True)
        folder = freeze(os_name, work, epoch)
        pack(folder, archive, epoch)
        unpacked = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        floor = glibc_floor(folder) if os_name == "linux" else ""
    finally:
        shutil.rmtree(work, ignore_errors=True)
    path = write_manifest(dist, release, repository)
    _say(
        f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, unpacked {unpacked / 1e6:.1f} MB"
        + (f", needs glibc {floor}" if floor else "")
    )
    _say(f"{path}" + (" (for a local install: no --repository)" if repository == REPOSITORY else ""))
    return archive


def _run(*command: object, env: Mapping[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise BuildFailed(f"{' '.join(words[:4])} … ended with {done.returncode}:\n{end}")
    return done.stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dist", type=Path, default=CHECKOUT / "dist", help="where the results go")
    parser.add_argument("--repository", default=REPOSITORY, help="where releases are published")
    parser.add_argument("--manifest-only", action="store_true", help="for archives that are in --dist")
    options = parser.parse_args(arguments)
    repository = options.repository.rstrip("/")
    try:
        if options.manifest_only:
            _say(str(write_manifest(options.dist, version(), repository)))
        else:
            build(options.dist, repository)
    except BuildFailed as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
