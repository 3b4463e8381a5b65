"""Prints the section of CHANGELOG.md that a release's tag names.

python krew/release_notes.py vVERSION
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def section(changelog: str, tag: str) -> str:
    """Return what stands under the heading `## [VERSION] - DATE`, empty where there is nothing."""
    parts = re.split(r"^## +", changelog, flags=re.MULTILINE)
    wanted = f"[{tag.removeprefix('v')}]"
    found = [part.partition("\n") for part in parts if part.startswith(wanted)]
    return found[0][2].strip() if found else ""


def main(arguments: Sequence[str]) -> int:
    """Print the notes; a release without any is an error."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python krew/release_notes.py vVERSION\n")
        return 2
    notes = section(CHANGELOG.read_text(encoding="utf-8"), arguments[0])
    if not notes:
        heading = f"## [{arguments[0].removeprefix('v')}] - DATE"
        sys.stderr.write(f"CHANGELOG.md says nothing under {heading}; move the lines there\n")
        return 1
    sys.stdout.write(f"{notes}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
