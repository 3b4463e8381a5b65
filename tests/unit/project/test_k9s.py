"""The k9s plugin file: commands that are ours, always of the context and namespace on the screen.

A selected application's name goes to the shell as a word of its own, never as a part of a script. Left to
tests/release: that the file is what k9s's own schema takes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import docs

PLUGINS: dict[str, Any] = yaml.safe_load((docs.CHECKOUT / "k9s" / "plugins.yaml").read_text())["plugins"]
WRITING = {"rescue", "pause", "undo"}


def verb(plugin: Any) -> str:
    return str(plugin["args"][3])


def test_it_has_the_verbs_and_each_its_own_key() -> None:
    assert {verb(p) for p in PLUGINS.values()} == {"status", "rescue", "pause", "undo", "watch"}
    assert len({p["shortCut"] for p in PLUGINS.values()}) == len(PLUGINS)
    taken = {"Shift-N", "Shift-A", "Shift-J", "Shift-P"}  # k9s's own on a table
    assert not taken & {p["shortCut"] for p in PLUGINS.values()}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_names_context_and_namespace(name: str) -> None:
    plugin = PLUGINS[name]
    assert set(plugin["scopes"]) == {"applications", "application"}
    script, _, *words = plugin["args"][1:]
    places = dict(zip(words, words[1:], strict=False))
    assert (places["--context"], places["-n"]) == ("$CONTEXT", "$NAMESPACE")
    assert not docs.parse(tuple(re.sub(r"\$(\w+)", lambda v: v[1].lower(), word) for word in words))
    # k9s replaces $NAME in scripts as well, without quoting it.
    assert not re.search(r"\$!?\{?\w", script)
    is_writing = verb(plugin) in WRITING
    assert plugin.get("confirm", False) is is_writing
    assert plugin.get("dangerous", False) is is_writing


@pytest.mark.parametrize("name", PLUGINS)
def test_a_script_runs_what_it_says(name: str, tmp_path: Path) -> None:
    if shutil.which("sh") is None:
        pytest.fail("there is no sh")
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\nprintf "[%s]" "$@"\necho\n')
    kubectl.chmod(0o755)
    words = [w.replace("$NAME", "it; rm -r x") if w == "$NAME" else w for w in PLUGINS[name]["args"]]
    done = subprocess.run(
        ["sh", *words], input="\n\n", capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    ran = re.findall(r"\[argo-rescue\].*", done.stdout)
    chosen = verb(PLUGINS[name])
    assert len(ran) == (2 if chosen == "rescue" else 1)
    assert all(line.startswith(f"[argo-rescue][{chosen}][it; rm -r x]") for line in ran)
    if chosen == "rescue":
        assert ran[0].endswith("[--dry-run=server]")
        assert "--dry-run" not in ran[1]
        refused = subprocess.run(
            ["sh", *words], input="", capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert refused.stdout.count("[argo-rescue]") == 1
