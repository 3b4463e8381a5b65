"""Writes the Homebrew formula of a release from the archives that are in a folder.

python -m krew.formula [--dist DIR] --repository URL
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from krew import build

_OF = {"darwin": "on_macos", "linux": "on_linux"}
_ARCH = {"amd64": "on_intel", "arm64": "on_arm"}


def formula(dist: Path, release: str, repository: str) -> str:
    """Return the formula for the archives that are there. Raises BuildFailed where none is."""
    blocks = []
    for system, on_system in _OF.items():
        inner = []
        for arch, on_arch in _ARCH.items():
            archive = dist / build.archive_name(system, arch, release)
            if archive.exists():
                digest = hashlib.sha256(archive.read_bytes()).hexdigest()
                url = f"{repository}/releases/download/v{release}/{archive.name}"
                inner.append(f'    {on_arch} do\n      url "{url}"\n      sha256 "{digest}"\n    end\n')
        if inner:
            blocks.append(f"  {on_system} do\n{chr(10).join(inner)}  end\n")
    if not blocks:
        raise build.BuildFailed(f"no archive of version {release} in {dist}")
    middle = "\n".join(blocks)
    return f'''class KubectlArgoRescue < Formula
  desc "Rescue Argo CD applications when Argo CD's own API is down"
  homepage "{repository}"
  version "{release}"
  license "Apache-2.0"

{middle}
  depends_on "kubernetes-cli"

  def install
    libexec.install Dir["*"]
    bin.install_symlink libexec/"{build.NAME}"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/{build.NAME} version")
  end
end
'''


def main(arguments: Sequence[str] | None = None) -> int:
    """Write it beside the archives."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dist", type=Path, default=build.CHECKOUT / "dist", help="where the archives are")
    parser.add_argument("--repository", required=True, help="where releases are published")
    options = parser.parse_args(arguments)
    path: Path = options.dist / "kubectl-argo-rescue.rb"
    try:
        path.write_text(formula(options.dist, build.version(), options.repository.rstrip("/")))
    except build.BuildFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
