"""The scripts that the workflow runs, run as it runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import docs

RELEASE = docs.CHECKOUT / "release"


def ran(*words: object, code: int = 0, **more: Any) -> str:
    """Run a command to its end with this environment's Python, see its exit code, return its stdout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **more.pop("env", {})}
    done = subprocess.run(
        [str(w) for w in words],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env=environment,
        **more,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return str(done.stdout)


def make(dist: Path, repository: str) -> None:
    """Make all of a release that this machine can make, before it is signed."""
    ran(RELEASE / "archive.sh", dist, repository)
    ran(RELEASE / "assemble.sh", dist, repository)


def key_pair(folder: Path) -> tuple[Path, Path]:
    """Make a private and a public key."""
    private, public = folder / "release.pem", folder / "release.pub"
    ran("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
    ran("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    return private, public
