"""Runs the pure lane and holds each pure module to its share of lines and branches.

    python -m tests.pure_coverage

Which modules are pure is said once, in the import contract `pure` of setup.cfg.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEAST = 95.0
"""Per cent of a module's lines and branches that the pure lane must run."""
NEXT = "\n    "
"""Between the values of one setting."""


def pure_modules() -> list[str]:
    """Return the paths of the modules that planners may stand on, as the import contract lists them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = config["importlinter:contract:pure"]["source_modules"].split()
    return [f"{name.replace('.', '/')}.py" for name in names]


def measure(modules: list[str]) -> dict[str, float]:
    """Run the pure lane and return per module how much of it ran, in per cent.

    Raises CalledProcessError where the lane itself fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Only these are traced: the rest of the lane runs at nearly full speed.
        settings = Path(folder, "settings")
        settings.write_text(f"[run]\nbranch = true\ninclude =\n    {NEXT.join(modules)}\n")
        common = [f"--rcfile={settings}", f"--data-file={folder}/data"]
        coverage = [sys.executable, "-m", "coverage"]
        lane = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
        subprocess.run([*coverage, "run", *common, *lane], cwd=ROOT, check=True)
        report = Path(folder, "report.json")
        subprocess.run([*coverage, "json", "-q", *common, f"-o{report}"], cwd=ROOT, check=True)
        files = json.loads(report.read_text())["files"]
    return {m: files[m]["summary"]["percent_covered"] if m in files else 0.0 for m in modules}


def main() -> int:
    """Print each module's share; 1 where one has too little."""
    try:
        shares = measure(pure_modules())
    except subprocess.CalledProcessError as e:
        return e.returncode
    for module, share in sorted(shares.items(), key=lambda s: s[1]):
        print(f"{share:6.1f} %  {module}")
    short = [m for m, share in shares.items() if share < LEAST]
    if short:
        print(f"error: below {LEAST:g} % of lines and branches: {', '.join(short)}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
