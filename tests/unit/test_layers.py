"""The layers of style.md §3.1: imports go down only.

Covered: import-linter's contracts of setup.cfg hold; every module of the package stands in the
layers contract, so that a new one is not forgotten; only the transport of the kubernetes package
names it, wherever in a function the import stands.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import kubectl_argo_rescue

PACKAGE = Path(kubectl_argo_rescue.__file__).parent
ROOT = PACKAGE.parent


def test_lint_imports() -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "setup.cfg", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_module_has_its_layer() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = set(re.findall(r"[a-z_]+", config["importlinter:contract:layers"]["layers"]))
    there = {
        p.stem if p.is_file() else p.name
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert there - {"__init__", "__main__"} <= named


def test_only_the_package_transport_names_kubernetes() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            if any(n.partition(".")[0] in ("kubernetes", "urllib3") for n in names):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found <= {"direct.py"}
