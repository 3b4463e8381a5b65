"""The entry point `kubectl-argo_rescue`, which kubectl runs as `kubectl argo-rescue`."""

from __future__ import annotations

import sys

COMPLETE = "__complete"
"""The hidden word by which `kubectl_complete-argo_rescue` asks for choices."""


def main() -> None:
    """Run the command line of this process."""
    if sys.argv[1:2] == [COMPLETE]:
        from .completing import main as complete

        complete(sys.argv[2:])
    from .cli import run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
