"""Every command of this plugin in a document, and every example of --help, is run.

On the in-memory incident, on a terminal where the answer to each question is yes; a console block
shows what is printed, but for the names in `docs.PLACEHOLDERS`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests import docs
from tests.testbed.captures import COMMANDS, FOLDER, text_of

from ..harness import Run
from ..scenes import EVENTS, Scene, played, words_of

BLOCKS = [
    block
    for file in docs.documents()
    for block in docs.blocks(file)
    if any(command.words for command in block.commands)
]


@pytest.fixture(autouse=True)
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, for what writes there, and a screen as wide as the documents."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_it_shows(block: docs.Block, run: Run) -> None:
    scene = played(block.scene, run)
    for command in block.commands:
        if not command.words:
            continue
        if command.before in EVENTS:
            EVENTS[command.before](scene)
        code, screen = _ran(run, scene, command)
        assert code == command.exits, f"{command}\n{screen}"
        if command.shown is not None:
            assert docs.normal(screen) == docs.normal(command.shown), command


def _ran(run: Run, scene: Scene, command: docs.Command) -> tuple[int, str]:
    words = words_of(scene, command.words)
    if words[:1] == ["drill"]:  # on a terminal it waits for more than a yes
        ran = run(scene.incident.api, *words)
        return ran.code, ran.err + ran.out
    return run.on_screen(scene.incident.api, *words, typed="y\n" * 9)


def test_the_envelope_that_readme_shows_is_what_is_printed(run: Run) -> None:
    readme = (docs.CHECKOUT / "README.md").read_text()
    shown = json.loads(readme.partition("```json\n")[2].partition("```")[0])
    ran = run(played("incident", run).incident.api, "pause", "root", "--dry-run=client", "-o", "json")
    uid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    assert uid.sub("UID", json.dumps(ran.json)) == uid.sub("UID", json.dumps(shown))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_picture_shows_what_is_printed(name: str, run: Run) -> None:
    title, _, shown = text_of((FOLDER / f"{name}.svg").read_text()).partition("\n")
    words = title.removeprefix("$ kubectl argo-rescue ").split()
    assert tuple(words) == COMMANDS[name]
    _, screen = run.on_screen(played("incident", run).incident.api, *words, typed="y\n")
    assert _unbroken(shown) == _unbroken(screen)


def _unbroken(screen: str) -> str:
    """Return a screen without its line breaks, which its width decides, and the age of a bad health."""
    text = docs.normal(screen)
    text = re.sub(r"[✗!] (Degraded|Progressing) for <age>.*\n", "", text)
    text = re.sub(r"Synced, (Degraded|Progressing)", "Synced, <bad>", text)
    return re.sub(r"\s+", "", text)


SCENES = {
    "watch traefik": "rescued",
    "watch traefik --timeout 2m -o json": "rescued",
    "pin traefik 2.4.1 --wait --timeout 10m": "free",
    "pin shop 8a1f0c2 --source 1": "sources",
    "pause appset/shops": "set",
    "sync traefik": "free",
    "sync traefik --prune --wait": "fixed",
    "rollback traefik": "free",
    "rollback traefik --to 2.4.1 --wait": "free",
    "rollback traefik --to 0": "free",
    "terminate traefik": "stuck",
    "terminate traefik --force": "stuck",
    "undo": "fixed",
    "undo 7f3a1c --dry-run=client": "fixed",
    "undo traefik": "fixed",
    "undo --when-safe --timeout 30m": "fixed",
    "log": "reported",
    "log --open -o name": "reported",
    "show 7f3a1c": "rescued",
    "show 7f -o yaml": "rescued",
    "report > post-mortem.md": "reported",
    "report 7f3a1c 81d0aa": "reported",
    "report -o html > post-mortem.html": "reported",
    "report -o slack": "reported",
    "report -o json": "reported",
}
"""The scene of examples that mean another one than the incident."""


@pytest.mark.parametrize("example", list(docs.examples()), ids=str)
def test_an_example_of_help_does_what_it_says(example: docs.Command, run: Run) -> None:
    scene = played(SCENES.get(_after_plugin(example), "incident"), run)
    code, screen = _ran(run, scene, example)
    assert code == 0, screen


def _after_plugin(example: docs.Command) -> str:
    return example.text.removeprefix(" ".join(docs.PLUGIN)).strip()


def test_no_scene_is_left_over() -> None:
    assert set(SCENES) <= {_after_plugin(example) for example in docs.examples()}


def test_the_comparison_sees_a_changed_message() -> None:
    shown = (
        "context a (https://a:1) as b; Argo CD v3.6.1 in argocd\nundo with: kubectl argo-rescue undo 123456\n"
    )
    other = (
        "context c (https://c) as d; Argo CD v3.6.1 in argocd\nundo with: kubectl argo-rescue undo 7f3a1c\n"
    )
    assert docs.normal(shown) == docs.normal(other)
    assert docs.normal("ran 5s, since 2026-11-24 19:16 UTC") == docs.normal(
        "ran 2d3h, since 2026-11-27 14:00 UTC"
    )
    for text in (
        "synced to 2.4.1",
        "for 24h, * * * * * for 24h",
        '"duration":"24h"',
        "root paused",
        "(history id 0",
    ):
        changed = text.replace("2.4.1", "2.4.0").replace("* for 24h", "* for 23h").replace(':"24h"', ':"23h"')
        changed = changed.replace("paused", "is paused").replace("id 0", "id 1")
        assert docs.normal(text) != docs.normal(changed)


def test_a_block_says_what_it_is_run_in(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: scene=fixed exits=0,5 -->\n```sh\nmake x\n# later\nkubectl argo-rescue log | head > a\n```\n"
        "```console\n$ kubectl argo-rescue undo\nnothing to undo\n```\n```text\n$ not this\n```\n"
    )
    first, second = docs.blocks(page)
    assert (first.scene, [c.exits for c in first.commands], second.scene) == ("fixed", [0, 5], "incident")
    assert [c.words for c in first.commands] == [(), ("log",)]
    assert first.commands[1].parts == [["kubectl", "argo-rescue", "log"], ["head"]]
    assert (first.commands[1].before, first.commands[1].shown) == ("# later", None)
    assert second.commands[0].shown == "nothing to undo\n"
    page.write_text("<!-- run: exits=0,0 -->\n```sh\nmake x\n```\n")
    with pytest.raises(ValueError, match="1 commands, 2 exits"):
        docs.blocks(page)
