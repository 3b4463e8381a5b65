"""Runs `kubectl argo-rescue …` as a user does: the bed's kubectl finds the installed plugin on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .control_plane import ControlPlane

PLUGIN = "kubectl-argo_rescue"
CHECKOUT = Path(__file__).resolve().parents[2]


def plugin_folder() -> Path:
    """Return the folder of the plugin that is installed beside this Python."""
    folder = Path(sys.executable).parent
    if not (folder / PLUGIN).exists():
        raise FileNotFoundError(f"{folder / PLUGIN} is not there: run `make venv` (pip install -e '.[test]')")
    return folder


def clone(folder: Path) -> Path:
    """Copy what the package is made of: an install from the checkout itself would leave files there."""
    folder.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder / name)
    package = "kubectl_argo_rescue"
    shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Plugin:
    """The plugin against one control plane, with a home and a journal of its own per user."""

    def __init__(self, control_plane: ControlPlane, home: Path) -> None:
        self.control_plane, self.home = control_plane, home
        home.mkdir(parents=True, exist_ok=True)

    def environment(self, user: str = "admin", *, laptop: str = "") -> dict[str, str]:
        """Return the environment of a user's shell; another `laptop` has another local journal."""
        home = self.home / (laptop or user)
        home.mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PATH": f"{self.control_plane.bin}{os.pathsep}{plugin_folder()}{os.pathsep}{os.defpath}",
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "KUBECONFIG": str(self.control_plane.kubeconfig(user)),
        }

    def __call__(
        self,
        *arguments: object,
        user: str = "admin",
        laptop: str = "",
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 180,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; without `stdin` it reads /dev/null."""
        command = ["kubectl", "argo-rescue", *map(str, arguments)]
        environment = {**self.environment(user, laptop=laptop), **(env or {})}
        done = subprocess.run(
            # The whole path, since the lookup of a bare name would use this process's own PATH.
            [str(self.control_plane.bin / "kubectl"), *command[1:]],
            env=environment,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def start(
        self, *arguments: object, user: str = "admin", laptop: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command and leave it running, for tests that interrupt it."""
        return subprocess.Popen(
            [str(self.control_plane.bin / "kubectl"), "argo-rescue", *map(str, arguments)],
            env={**self.environment(user, laptop=laptop), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
