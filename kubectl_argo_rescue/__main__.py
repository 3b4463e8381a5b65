"""The entry point `kubectl-argo_rescue`, which kubectl runs as `kubectl argo-rescue`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process."""
    from .cli import run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
