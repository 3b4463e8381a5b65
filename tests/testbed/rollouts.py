"""Runs Argo Rollouts' real controller against the bed's control plane."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import yaml

from . import programs
from .control_plane import MASTERS, ControlPlane

PROCESS = "argo-rollouts"
"""By which its log is found."""


@contextlib.contextmanager
def running(control_plane: ControlPlane) -> Iterator[None]:
    """Serve its CRDs and run it until the end of the block."""
    definitions = [yaml.safe_load(file.read_text()) for file in programs.files(programs.ROLLOUTS, "crds")]
    control_plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argo-rollouts"}},
        *(found for found in definitions if found["kind"] == "CustomResourceDefinition"),
    )
    control_plane.until(lambda: control_plane.api.list("rollout") is not None, 60, "Rollouts are served")
    take = control_plane.processes.ports.take
    control_plane.processes.start(
        PROCESS,
        programs.program("rollouts-controller"),
        f"--kubeconfig={control_plane.kubeconfig('system:argo-rollouts', [MASTERS])}",
        "--leader-elect=false",
        f"--metricsPort={take()}",
        f"--healthzPort={take()}",
    )
    try:
        yield
    finally:
        control_plane.processes.stop(PROCESS)
