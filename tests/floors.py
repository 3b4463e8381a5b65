"""What the unit lane needs at the versions where the package's promises begin: `make test-floors`.

Prints requirements for pip: each of setup.cfg's own at the lowest version that it allows with `lowest`,
at whatever is newest with `newest`, and the tests' tools, of which the lane needs these alone.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

SETUP = Path(__file__).parent.parent / "setup.cfg"
TOOLS = ("cryptography", "hypothesis", "pytest", "pytest-xdist", "setuptools")


def requirements(which: str) -> list[str]:
    """Return what to install, as pip reads it."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(SETUP)
    own = setup["options"]["install_requires"].split("\n")
    tools = setup["options.extras_require"]["test"].split("\n")
    wanted = [line.replace(">=", "==") if which == "lowest" else line for line in own if line]
    return wanted + [line for line in tools if re.split("[>=]", line)[0] in TOOLS]


if __name__ == "__main__":
    print(*requirements(sys.argv[1]), sep="\n")
