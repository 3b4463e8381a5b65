"""Builds wheel and sdist of the commit that is checked out, the same bytes each time.

python -m krew.wheel [--dist DIR]

From an export of the commit, so that nothing of the folder one stands in goes along; the time is the commit's.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from krew import build

_BUILD = (
    "import sys; from setuptools import build_meta as it; to = sys.argv[1]; "
    "print(it.build_wheel(to)); print(it.build_sdist(to))"
)


def wheel(dist: Path) -> list[Path]:
    """Make both and return them."""
    epoch = build.source_date()
    dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        source, made = Path(place) / "source", Path(place) / "made"
        exported = subprocess.run(
            ["git", "-C", str(build.CHECKOUT), "archive", "HEAD"], capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as tar:
            tar.extractall(source, filter="data")
        (source / "kubectl_argo_rescue" / "commit").write_text(f"{build.source_commit()}\n")
        # setuptools has words of its own for sys.argv, and takes files as they are.
        for path in [source, *source.rglob("*")]:
            os.utime(path, (epoch, epoch))
            path.chmod(0o755 if path.is_dir() else 0o644)
        made.mkdir()
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
        subprocess.run(
            [sys.executable, "-c", _BUILD, str(made)],
            cwd=source,
            env=environment,
            check=True,
            capture_output=True,
        )
        (sdist,) = made.glob("*.tar.gz")
        whole = Path(place) / "whole"
        with tarfile.open(sdist) as tar:
            tar.extractall(whole, filter="data")
        build.pack(whole, sdist, epoch)  # setuptools writes the time of the build into it
        return [Path(shutil.copy(path, dist)) for path in sorted(made.iterdir())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dist", type=Path, default=build.CHECKOUT / "dist", help="where the results go")
    for path in wheel(parser.parse_args(arguments).dist):
        sys.stderr.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
