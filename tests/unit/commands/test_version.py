"""`version`: one line for people; for tools also commit, Python, transport and kubectl, without a cluster."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from kubectl_argo_rescue import __version__
from kubectl_argo_rescue.commands import version
from kubectl_argo_rescue.simulation.api import InMemoryApi
from tests import docs

from ..harness import Run


def test_people_get_one_line(run: Run) -> None:
    assert run(InMemoryApi(), "version").out == f"kubectl-argo-rescue {__version__}\n"


def test_tools_get_what_it_stands_on(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho \'{"clientVersion": {"gitVersion": "v1.36.3"}}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("KUBECTL_PATH", str(program))
    api = InMemoryApi()
    data = run(api, "version", "-o", "json").json["data"]
    assert data["version"] == __version__
    assert data["python"] == platform.python_version()
    assert (data["transport"], data["kubectl"]) == ("kubectl", {"path": str(program), "version": "1.36.3"})
    assert not api.requests
    monkeypatch.setenv("ARGO_RESCUE_TRANSPORT", "package")
    assert run(api, "version", "-o", "json").json["data"]["transport"] == "package"


def test_the_commit_is_the_files_else_the_checkouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = subprocess.run(
        ["git", "-C", str(docs.CHECKOUT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert version.commit() == head.stdout.strip()
    assert re.fullmatch("[0-9a-f]{40}", version.commit())
    file = tmp_path / "commit"
    monkeypatch.setattr(version, "COMMIT", file)
    file.write_text("c0ffee\n")
    assert version.commit() == "c0ffee"
    file.unlink()
    monkeypatch.setattr(version, "PACKAGE", tmp_path / "package")
    assert version.commit() == ""
