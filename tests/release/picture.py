"""Takes docs/captures/report.png anew: what `report -o html` says of the practice incident, in a browser.

python -m tests.release.picture
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from tests.testbed.captures import FOLDER
from tests.unit.harness import Run
from tests.unit.scenes import played

from . import browser

PICTURE = FOLDER / "report.png"
WIDTH = 1000


def main() -> None:
    """Play the incident, report it, look at the page."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        run = Run(patch, folder / "homes")
        page = folder / "report.html"
        page.write_text(run(played("reported", run).incident.api, "report", "-o", "html").out, "utf-8")
        with browser.Browser(browser.find(), folder / "profile") as tab:
            tab.look(width=WIDTH)
            tab.open(page)
            PICTURE.write_bytes(tab.picture())
    sys.stderr.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
