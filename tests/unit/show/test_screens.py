"""What a person sees on 80 and on 120 columns: no word and no address is broken, no line of ours is too wide.

Covered: plans, questions, refusals, ends of a rescue, status of one and of all, doctor, undo; the exact
patch with -v; a plan where there is no terminal; who is asked about a selection and about a slip of a finger.
Tables (`windows`, `log`, `report`) are as wide as what is in them, as kubectl's are.
"""

from __future__ import annotations

import re

import pytest

from kubectl_argo_rescue.model.text import wrapped
from kubectl_argo_rescue.simulation.incident import GOOD

from ..harness import Run
from ..scenes import played

SCREENS = [
    ("incident", "status", ""),
    ("incident", "status traefik", ""),
    ("incident", "status web", ""),
    ("incident", "doctor", ""),
    ("rescued", "status", ""),
    ("rescued", "status traefik", ""),
    ("stuck", "status traefik", ""),
    ("set", "status shop-prod", ""),
    ("frozen", "status", ""),
    ("spoke", "status traefik", ""),
    ("incident", "rescue traefik", "y\n"),
    ("incident", "rescue traefik", "n\n"),
    ("incident", "rescue traefik --dry-run", ""),
    ("incident", "rescue traefik --pause-only", "y\n"),
    ("incident", "rescue traefik --workloads", "y\n"),
    ("incident", "pin traefik 2.4.1", "y\n"),
    ("incident", "pin traefik 2.4.9", "n\n"),
    ("incident", "pin nobody 1", ""),
    ("incident", "pause --all", "y\n"),
    ("incident", "unblock traefik", "y\n"),
    ("incident", "sync traefik", ""),
    ("incident", "rollback traefik", ""),
    ("incident", "freeze", "y\n"),
    ("incident", "undo", ""),
    ("rescued", "undo", "y\n"),
    ("fixed", "undo", "y\n"),
    ("overruled", "undo", ""),
    ("stuck", "terminate traefik", "y\n"),
    ("set", "pause shop-prod", "y\n"),
]


def columns_of(line: str) -> int:
    return len(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(("scene", "words", "typed"), SCREENS, ids=lambda v: str(v).strip())
def test_nothing_is_broken(
    scene: str, words: str, typed: str, width: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = played(scene, run).incident.api
    monkeypatch.setenv("COLUMNS", str(width))
    _, screen = run.on_screen(api, *words.split(), typed=typed)
    wide = [
        line
        for line in screen.splitlines()
        if columns_of(line) > width and not line.startswith(("application.", "appproject.", "deployment."))
    ]
    # What has no blank cannot be broken: a path, an address.
    assert not [line for line in wide if max(map(len, line.split())) <= width - 12], screen


def test_a_plan_says_what_changes_and_why(run: Run) -> None:
    _, screen = run.on_screen(played("incident", run).incident.api, "rescue", "traefik", typed="n\n")
    at = screen.index("Rescue traefik: 2.4.1\n")
    assert screen[at:] == (
        "Rescue traefik: 2.4.1\n"
        "  ~ Application root *   pause auto-sync: it would revert Application traefik\n"
        "                         within seconds (auto-sync with self-heal)\n"
        "  ~ Application traefik  version 2.5.1 → 2.4.1\n"
        "  ~ AppProject cluster   no sync window stops traefik\n"
        '        deny "* * * * *" 24h: remove traefik from its list\n'
        '        deny "0 0 * * *" 24h: remove (it names only traefik)\n'
        "3 objects change, 1 (*) not named by you. While root is paused, nothing that it\n"
        "    manages follows git.\n"
        "Go on? [y/N] n\n"
        "Cancelled. Nothing was changed.\n"
    )


def test_the_exact_patch_is_there_with_v(run: Run) -> None:
    api = played("incident", run).incident.api
    exact = '      + /spec/source/targetRevision: "2.4.1"'
    assert exact not in run.on_screen(api, "rescue", "traefik", "--dry-run")[1]
    assert exact in run.on_screen(api, "rescue", "traefik", "--dry-run", "-v", "1")[1]


def test_who_has_no_terminal_sees_the_plan_with_the_refusal(run: Run) -> None:
    api = played("incident", run).incident.api
    ran = run(api, "rescue", "traefik")
    assert ran.code == 5
    assert "  ~ Application traefik  version 2.5.1 → 2.4.1\n" in ran.err
    assert "confirmation needed" in ran.err
    assert not api.writes()


def test_the_end_of_a_rescue_says_what_is_left_to_do(run: Run) -> None:
    code, screen = run.on_screen(played("incident", run).incident.api, "rescue", "traefik", typed="y\n")
    assert code == 0
    end = screen.partition("synced to 2.4.1 and healthy\n")[2]
    entry = re.findall(r"undo (\w{6})", end)[0]
    assert end == (
        "Not finished: git still asks for what broke. Until it is changed there\n"
        "  root is paused: nothing that it manages follows git\n"
        "  AppProject cluster: no sync window stops traefik\n"
        "Next  1. change it in git: https://git.invalid/cluster.git, apps at main\n"
        f"         the diff: kubectl argo-rescue report {entry}\n"
        f"      2. kubectl argo-rescue undo {entry}\n"
        "         (--when-safe waits for git)\n"
    )


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 5)])
def test_who_selects_many_is_asked_at_a_terminal(run: Run, typed: str, code: int) -> None:
    api = played("incident", run).incident.api
    ended, screen = run.on_screen(api, "pause", "--all", typed=typed)
    assert ended == code
    assert f"Pause auto-sync of 3 applications? [y/N] {typed}" in screen
    assert bool(api.writes()) is (code == 0)


def test_nobody_else_is_asked_about_many(run: Run) -> None:
    api = played("incident", run).incident.api
    assert "[y/N]" not in run.on_screen(api, "pause", "--all", "--dry-run")[1]
    assert run(api, "pause", "--all").code == 0
    assert "[y/N]" not in run.on_screen(played("incident", run).incident.api, "pause", "web")[1]


@pytest.mark.parametrize(
    ("typed", "asks"),
    [
        ("2.4.9", True),
        ("24.1", False),
        ("2.4.11", True),
        ("4.2.1", False),
        ("3.0.0", False),
        (GOOD, False),
    ],
)
def test_a_slip_of_a_finger_is_asked_about(run: Run, typed: str, asks: bool) -> None:
    api = played("incident", run).incident.api
    code, screen = run.on_screen(api, "pin", "traefik", typed, "--only", typed="n\n")
    said = " ".join(screen.split())
    assert (f"Did you mean {GOOD}? Pin {typed} anyway? [y/N] n" in said) is asks, screen
    assert (code == 5) is asks
    assert run(api, "pin", "traefik", typed, "--only", "--dry-run").code == 0


def test_lines_are_broken_before_words_and_commands_stay_whole() -> None:
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("  a  b " + "x" * 9, 12, 4) == ["  a  b", "    " + "x" * 9]
    text = "do this: kubectl argo-rescue undo 7f3a1c; then that"
    assert wrapped(text, 40, 2) == ["do this:", "  kubectl argo-rescue undo 7f3a1c; then", "  that"]
    assert wrapped("kubectl argo-rescue undo 7f3a1c", 12) == ["kubectl", "argo-rescue", "undo 7f3a1c"]
    assert wrapped("\x1b[31merror:\x1b[0m no", 9) == ["\x1b[31merror:\x1b[0m no"]
    assert wrapped("", 80) == [""]
