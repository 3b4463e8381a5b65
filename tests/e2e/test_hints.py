"""What the plugin proposes can be followed blindly: each command, in the state in which it is proposed.

One story on each version: a rescue, a rollback and an undo that is refused; whatever is proposed is typed next,
with a yes to every question. The workload never comes to the broken version, and in the end all is as git has it.
Left out: every scene and every line (tests/unit/commands/test_hints.py); `--redeploy`.
"""

from __future__ import annotations

import shlex
import subprocess

from tests.hints import MENDED, READS, proposed
from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin

from .scene import Scene, deny

EXPECTED = (0, 4, 5, 6)


def test_what_is_proposed_can_be_followed(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN).freeze(deny(scene.app))
    told: list[str] = []

    def typed(line: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(line)
        if words[0] == "watch":
            words += ["--timeout", "20s"]
        if words[0] not in READS:
            words.append("--yes")
        done = plugin(*words)
        told.append(f"$ {line}\n{done.stdout}{done.stderr}({done.returncode})")
        return done

    def follow(line: str) -> None:
        """Type a line, then what it proposes, then what that proposes."""
        typed(line)
        known = {scene.app, scene.root}
        hints = [h for h in dict.fromkeys(proposed(told[-1], known)) if h != MENDED]
        while hints:
            hint = hints.pop(0)
            done = typed(hint)
            assert done.returncode in EXPECTED, "\n".join(told)
            if len(hints) < 3:
                new = dict.fromkeys(proposed(told[-1], known))
                hints += [h for h in new if h != MENDED and f"$ {h}\n" not in "".join(told)]

    with scene.watched() as seen:
        plugin("rescue", scene.app, "--yes", check=True)
        follow("undo")
        follow("undo --when-safe --timeout 5s")
        assert scene.is_serving(GOOD), "\n".join(told)
        follow(f"rollback {scene.app} --to {GOOD}")
        follow(f"status {scene.app}")
        scene.commit(version=GOOD, windows=())
        for _ in range(2):
            done = typed("undo")
        scene.settle()
        assert done.returncode == 0, "\n".join(told)
    assert seen.versions == [BROKEN, GOOD], "\n".join(told)
    assert plugin("log", "--open", "-o", "name").stdout == ""
    assert scene.revision() == GOOD and not scene.live_windows()
