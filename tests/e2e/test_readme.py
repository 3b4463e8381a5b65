"""What README shows is what happens on Argo CD's real controllers.

Its blocks are run in their order, each in the scene that it names: Friday's incident, or with git
set to 2.4.1 since; a console block shows what stands on the terminal afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import docs
from tests.testbed.argocd import ArgoCD, running
from tests.testbed.captures import anonymous
from tests.testbed.incident import BROKEN, FREEZE, GOOD, PROJECT, ROOT, Incident
from tests.testbed.plugin import Plugin
from tests.testbed.screen import on_screen, without_colours

README = docs.CHECKOUT / "README.md"
BLOCKS = [
    block
    for block in docs.blocks(README)
    if block.scene != "frozen"
    and any("traefik" in command.words or "undo" in command.words for command in block.commands)
]
"""The first incident; the second needs controllers that obey a freeze: test_freeze.py."""


@pytest.fixture(scope="module")
def argocd(argo_version: str) -> Iterator[ArgoCD]:
    with running(argo_version, cm={"url": "https://argocd.example.com"}) as argocd:
        Incident(argocd).day0()
        yield argocd


@pytest.fixture(scope="module")
def shell(argocd: ArgoCD, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """One user's shell for all blocks."""
    return Plugin(argocd.control_plane, tmp_path_factory.mktemp("homes"))


def _break(incident: Incident) -> None:
    if incident.revision() != BROKEN:
        if incident.argocd.get("appproject", PROJECT)["spec"].get("syncWindows"):
            incident.freeze([])
        incident.upgrade()
        incident.freeze(FREEZE)


def _fix(incident: Incident) -> None:
    """Merge the pull request; nobody tells Argo CD."""
    incident.argocd.git(
        ("apps/traefik.yaml", f"targetRevision: {BROKEN}", f"targetRevision: {GOOD}"), message="revert"
    )


def test_readme_tells_the_whole_story() -> None:
    assert {block.scene for block in BLOCKS} == {"incident", "fixed"}
    verbs = {command.words[0] for block in BLOCKS for command in block.commands}
    assert verbs >= {"status", "rescue", "pause", "unblock", "pin", "watch", "undo"}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_on_real_controllers(block: docs.Block, argocd: ArgoCD, shell: Plugin) -> None:
    incident = Incident(argocd)
    _break(incident) if block.scene == "incident" else _fix(incident)
    for command in block.commands:
        if command.before:
            assert command.before == "# a pull request sets git to 2.4.1"
            _fix(incident)
        kubectl = str(argocd.control_plane.bin / Path(docs.PLUGIN[0]))
        code, screen = on_screen(
            [kubectl, docs.PLUGIN[1], *command.words], shell.environment(), typed="y\n" * 3
        )
        screen = anonymous(without_colours(screen), argocd)
        assert code == command.exits, f"{command}\n{screen}"
        if command.shown is not None:
            shown = command.shown.replace("v3.6.1", argocd.module.version)
            assert docs.normal(screen) == docs.normal(shown), command
    if "undo" in {command.words[0] for command in block.commands}:
        assert incident.is_serving(GOOD)
        assert argocd.until_idle(ROOT)["spec"]["syncPolicy"]["automated"].get("enabled", True)
