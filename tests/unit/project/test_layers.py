"""The house: imports go down only.

Covered: import-linter's contracts of setup.cfg hold, every room and every module of `act` stands in
one; what comes from other people's packages is imported in the one module that is named for it.
"""

from __future__ import annotations

import ast
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


NAMED_FOR = {
    "kubernetes": "cluster/direct.py",
    "urllib3": "cluster/direct.py",
    "jsonpatch": "model/patches.py",
}
"""Third parties that one module each may import, wherever in it the import stands."""


def test_third_parties_have_one_module_each() -> None:
    found: dict[str, set[str]] = {name: set() for name in NAMED_FOR}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            for top in {n.partition(".")[0] for n in names} & set(NAMED_FOR):
                found[top].add(path.relative_to(PACKAGE).as_posix())
    assert found == {name: {module} for name, module in NAMED_FOR.items()}
