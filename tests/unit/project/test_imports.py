"""What a command line loads before it does anything.

Covered: `--help`, each `VERB --help` and completion load nothing heavy (the budget is 80 ms), in a
process of its own; `--help` and completion of verbs load click alone of all third parties.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kubectl_argo_rescue.__main__ import COMPLETE
from kubectl_argo_rescue.cli.root import VERBS

HEAVY = ("kubernetes", "pydantic", "urllib3", "yaml", "jsonpatch", "jsonpointer", "rich", "ssl")

PROBE = """
import json, os, sys
os._exit = sys.exit
told = os.dup(2)  # completion takes the other one away
sys.argv = ["kubectl-argo_rescue", *sys.argv[1:]]
try:
    from kubectl_argo_rescue.__main__ import main
    main()
except SystemExit as e:
    assert not e.code, e.code
finally:
    os.write(told, json.dumps(sorted(sys.modules)).encode())
"""


def loaded(*argv: str, **environ: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *argv],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    modules: list[str] = json.loads(ran.stderr)
    return modules


def third_parties(modules: list[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    # An editable install brings its finder, a virtual environment its hook, coverage itself.
    own = {
        n
        for n in tops
        if n.startswith(("__editable__", "_virtualenv", "_distutils_hack", "_sysconfigdata", "coverage"))
    }
    return tops - own - set(sys.stdlib_module_names) - {"kubectl_argo_rescue", "__main__", "__mp_main__"}


HELP = [("--help",), ("help",), ("help", "pause"), *[(verb, "--help") for verb in VERBS]]


@pytest.mark.parametrize("argv", [*HELP, ("version",), ("completion",)], ids=" ".join)
def test_help_and_version_load_click_alone_and_nothing_heavy(argv: tuple[str, ...]) -> None:
    modules = loaded(*argv)
    assert third_parties(modules) <= {"click"}
    assert [m for m in HEAVY if m in modules] == []


def test_help_loads_click_alone() -> None:
    modules = loaded("--help")
    assert third_parties(modules) <= {"click"}
    assert not [m for m in modules if m.startswith("kubectl_argo_rescue.commands.")]


FLAGS = [(verb, "--") for verb in VERBS]
VALUES = [("pause", "--dry-run="), ("undo", "--on-conflict", ""), ("--", "pa"), ("pause", "--kubeconfig", "")]


@pytest.mark.parametrize("words", [("",), ("pa",), ("--",), ("help", ""), *FLAGS, *VALUES], ids=" ".join)
def test_completion_of_verbs_and_flags_loads_click_alone(words: tuple[str, ...]) -> None:
    modules = loaded(COMPLETE, *words)
    assert third_parties(modules) <= {"click"}
    assert [m for m in HEAVY if m in modules] == []
