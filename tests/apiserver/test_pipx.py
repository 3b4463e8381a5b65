"""Installed with pipx from a clone, as README says, and run through kubectl against a real API server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kubectl_argo_rescue import __version__
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import clone
from tests.testbed.sources import application


def test_pipx_installs_it_and_kubectl_finds_it(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    bin_folder = tmp_path / "bin"
    environment = {
        "PATH": os.pathsep.join([str(control_plane.bin), str(bin_folder), os.defpath]),
        "HOME": str(tmp_path / "home"),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(bin_folder),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        "KUBECONFIG": str(control_plane.kubeconfig()),
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pipx = (sys.executable, "-m", "pipx")
    assert "kubectl-argo_rescue" in run(*pipx, "install", clone(tmp_path / "clone"))
    kubectl = control_plane.bin / "kubectl"
    said = f"kubectl-argo-rescue {__version__}\n"
    assert run(kubectl, "argo-rescue", "version") == run(kubectl, "argo", "rescue", "version") == said
    assert run(bin_folder / "kubectl-argo-rescue", "version") == said  # as `uvx kubectl-argo-rescue` calls it

    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": namespace},
    }
    source = {"repoURL": "https://git.invalid/it", "path": "it", "targetRevision": "v1"}
    control_plane.apply(config, application("piped", source, namespace=namespace))
    place = ("--argocd-namespace", namespace)
    assert run(kubectl, "argo-rescue", "pause", "piped", *place) == "application.argoproj.io/piped paused\n"
    # No controller runs that could say what auto-sync would do.
    undone = run(kubectl, "argo-rescue", "undo", "--yes", "--redeploy", *place)
    assert undone.startswith("application.argoproj.io/piped ")
    assert "automated" in control_plane.get("application", "piped", namespace)["spec"]["syncPolicy"]

    run(*pipx, "uninstall", "kubectl-argo-rescue")
    assert not (bin_folder / "kubectl-argo_rescue").exists()
