"""The entry point `kubectl-argo_rescue`, which kubectl runs as `kubectl argo-rescue`."""

from __future__ import annotations

import gc
import sys

COMPLETE = "__complete"
"""The hidden word by which `kubectl_complete-argo_rescue` asks for choices."""


def main() -> None:
    """Run the command line of this process."""
    # A command lives for a moment: a search for garbage in what was just loaded finds none.
    gc.set_threshold(50_000, 20, 100)
    if sys.argv[1:2] == [COMPLETE]:
        from .cli.complete import main as complete

        complete(sys.argv[2:])
    from .cli.root import run

    try:
        run(sys.argv[1:])
    finally:
        gc.freeze()  # nor does one at the end


if __name__ == "__main__":
    main()
