"""`python -m tests.bench [PART…]`: measure, print the tables, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.testbed import programs

from . import report, rescuing, scale, speed
from .bed import bed, cores, install, python_version, unpack_archive
from .measure import told

PARTS = ("speed", "rescue", "scale")
SIZES = "50,500,5000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all by default")
    parser.add_argument("--argo", choices=tuple(programs.ARGO), default="3.6", help="release line of Argo CD")
    parser.add_argument("--pairs", type=int, default=speed.PAIRS, help="runs of each side of a comparison")
    parser.add_argument("--sizes", default=SIZES, help=f"numbers of Applications (default {SIZES})")
    parser.add_argument("--entries", type=int, default=scale.ENTRIES, help="entries of the log")
    parser.add_argument("--dry", action="store_true", help="print the tables and leave the document alone")
    options = parser.parse_args(arguments)
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody starts a program uncompiled every time
    found = report.Found(
        machine=f"{cores()} cores, Python {python_version()}, Argo CD {options.argo}, load {os.getloadavg()[0]:.1f} at the start",
        date=f"{datetime.date.today():%Y-%m-%d}",
        pairs=options.pairs,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="argo-rescue-bench-") as folder:
        with told("the plugin is installed"):
            bin = install(Path(folder) / "installed")
            archive = unpack_archive(Path(folder) / "archive")
        if "speed" in parts:
            with bed(options.argo, bin) as running:
                measured = speed.run(running, archive, options.pairs)
            found.helps, found.edits = measured.helps, [*measured.edits, *measured.far]
            found.rounds, found.requests = measured.rounds, measured.requests
        if "rescue" in parts:
            found.rescues = rescuing.measure(options.argo, bin)
        if "scale" in parts:
            sizes = [int(size) for size in options.sizes.split(",")]
            with bed(options.argo, bin) as running:
                found.scale = scale.measure(running, sizes, options.entries)
    print(report.show(found))
    if not options.dry:
        report.write(found)
        print(f"\nwritten: {report.DOCUMENT.relative_to(Path.cwd())}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
