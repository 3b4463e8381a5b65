"""Fixtures of the release lane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kubectl_argo_rescue import __version__
from tests.testbed.krew import serving
from tests.unit.harness import Run

from . import scripts


class Released(NamedTuple):
    """A release of this commit, as far as this machine makes one."""

    dist: Path
    """All of its files, behind the addresses that its manifest names."""
    repository: str
    public_key: Path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Whole command lines on the in-memory API."""
    return Run(monkeypatch, tmp_path / "homes")


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    """What the workflow's scripts make, signed by a test key and served on loopback."""
    forge = tmp_path_factory.mktemp("forge")
    private, public = scripts.key_pair(tmp_path_factory.mktemp("keys"))
    dist = forge / "it" / "releases" / "download" / f"v{__version__}"
    with serving(forge) as address:
        scripts.make(dist, f"{address}/it")
        scripts.ran(scripts.RELEASE / "sign.sh", dist, env={"SIGNING_KEY": str(private)})
        yield Released(dist, f"{address}/it", public)
