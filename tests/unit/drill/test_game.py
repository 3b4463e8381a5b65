"""`drill`: scenarios, verdicts and the prompt, on the simulation alone.

Covered: each scenario's solution passes on both release lines of Argo CD; wrong plays fail with the
reason that fits; what the prompt takes and refuses; hints, clock, quit; a sitting at a real terminal
(pseudo-terminal) to its verdict; without a terminal it plays by itself; nothing is left on disk, and
this machine's own journal is not looked at.
Left out: that the same plays end the same way on the real controllers (tests/e2e/test_drill.py).
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.cluster.transport import Connection
from kubectl_argo_rescue.drill import game as drill
from kubectl_argo_rescue.drill.game import Game, Plugin
from kubectl_argo_rescue.drill.scenarios import SCENARIOS
from kubectl_argo_rescue.drill.stage import Time, refuse_connection_flags
from kubectl_argo_rescue.model.errors import UsageError
from kubectl_argo_rescue.model.values import APPLICATION
from kubectl_argo_rescue.simulation.clock import SteppedClock

from ..harness import Run

PLUGIN = Path(sys.executable).parent / "kubectl-argo_rescue"
PLUGIN_LINE = Plugin(root.run, tuple(root.VERBS))
VERSIONS = ((3, 2), (3, 6))


@pytest.fixture
def spent() -> list[float]:
    """The player's clock, in seconds."""
    return [0.0]


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spent: list[float]) -> Game:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "100")  # whatever the terminal of the tests is like
    return Game(tmp_path / "homes", PLUGIN_LINE, is_instant=True, watch=lambda: spent[0])


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Game:
    """The first scenario, set up once, for what changes nothing of it."""
    game = Game(tmp_path_factory.mktemp("homes"), PLUGIN_LINE, is_instant=True)
    game.start(SCENARIOS["ingress"])
    return game


def verdict(game: Game) -> str:
    text = game.verdict()
    assert game.passed is ("✗" not in text)
    return text


# -- scenarios


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_solution_passes(
    game: Game, name: str, version: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    game.version = version
    game.start(SCENARIOS[name])
    assert game.play(), capsys.readouterr().out


@pytest.mark.parametrize("name", SCENARIOS)
def test_doing_nothing_does_not_pass(game: Game, name: str) -> None:
    game.start(SCENARIOS[name])
    verdict(game)
    assert game.passed is False


PAUSED_NOBODY = ["unblock traefik --only", "pin traefik 2.4.1 --only", "wait 10s"]


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize(
    ("name", "lines", "why"),
    [
        ("ingress", PAUSED_NOBODY, "it asks for 2.5.1: the edit was put back"),
        ("ingress", ["pin traefik 2.4.1 --yes"], "2.5.1 is deployed and does not serve"),
        ("frozen", ["rescue traefik --yes --no-wait"], "web stays frozen: it can sync by hand"),
        (
            "stuck",
            ["unblock traefik --yes", "wait 20s", "rescue traefik 2.4.1 --yes"],
            "2.6.0 is never deployed: it was: 2.5.1 then 2.6.0",
        ),
        ("generated", ["pin traefik 2.4.1 --only"], "a second outage: 2.5.1 then 2.4.1 then 2.5.1"),
        ("generated", ["rescue traefik --yes", "git fix"], "not so: ApplicationSet ingresses"),
        (
            "hub-and-spoke",
            ["pin traefik 2.4.1 --yes", "status traefik --context edge"],
            "2.5.1 is deployed and does not serve",
        ),
        ("hand-back", ["undo --yes"], "not so: Application traefik, Application root"),
        ("hand-back", ["undo --yes --redeploy"], "a second outage: 2.4.1 then 2.5.1"),
        ("hand-back", ["undo --yes --redeploy", "wait 5s", "git fix"], "a second outage"),
        ("friday", ["rescue traefik --yes", "git fix", "undo --yes"], "not so: Application root"),
        (
            "friday",
            ["rescue traefik --yes", "git fix", "pin traefik 2.4.1 --yes"],
            "Dana's edit is hers: traefik asks for 2.4.0: it asked for 2.4.0 then 2.4.1",
        ),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else str(value),
)
def test_a_wrong_play_fails_with_its_reason(
    game: Game, name: str, lines: list[str], why: str, version: tuple[int, int]
) -> None:
    game.version = version
    game.start(SCENARIOS[name])
    for line in lines:
        game.enter(line)
    assert why in verdict(game)
    assert game.passed is False


def test_git_is_behind_the_ingress(game: Game, capsys: pytest.CaptureFixture[str]) -> None:
    game.start(SCENARIOS["generated"])
    game.enter("git fix")
    assert "nothing can be merged" in capsys.readouterr().err
    assert not game.stage.is_fixed


def test_unblock_says_what_it_would_let_go(game: Game, capsys: pytest.CaptureFixture[str]) -> None:
    game.start(SCENARIOS["stuck"])
    game.enter("unblock traefik --only")
    told = capsys.readouterr().err
    assert "an operation of traefik runs as soon as no window stops it" in told
    assert "to 2.6.0" in told and "terminate traefik" in told and "(exit code 5)" in told
    game.enter("terminate traefik --yes")
    assert "runs as soon as" not in capsys.readouterr().err


# -- the prompt


def test_verbs_with_and_without_their_prefix(ingress: Game, capsys: pytest.CaptureFixture[str]) -> None:
    before = ingress.commands
    for line in (
        "version",
        "kubectl argo-rescue version",
        "$ kubectl argo-rescue version # as in a document",
    ):
        assert ingress.enter(line)
        assert capsys.readouterr().out.startswith("kubectl-argo-rescue ")
    assert ingress.commands == before + 3


def test_an_exit_code_is_shown(ingress: Game, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingress.enter("pin traefik 2.4.1")
    told = capsys.readouterr().err
    assert "confirmation needed" in told and told.endswith("(exit code 5)\n")
    assert ingress.enter("puase root")
    assert "did you mean pause?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("get app", r"argocd +traefik +Synced +Degraded +2\.5\.1"),
        ("kubectl get applications.argoproj.io traefik", r"argocd +traefik"),
        ("get deploy -n traefik", r"traefik +traefik +0/2 +2 +0 +traefik:2\.5\.1"),
        ("get rs -n traefik", r"traefik-\w+ +2 +2 +0 +traefik:2\.5\.1"),
        ("get appproj cluster -o yaml", r"syncWindows:\n"),
        ("get app/traefik -ojson", r'"targetRevision": "2\.5\.1"'),
        ("get app -o name", r"application\.argoproj\.io/root\n"),
        ("get appset", "No resources found"),
    ],
)
def test_get(ingress: Game, capsys: pytest.CaptureFixture[str], line: str, shown: str) -> None:
    assert ingress.enter(line)
    assert re.search(shown, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("get pods", "the drill has no pods"),
        ("get app nobody", "'nobody' not found"),
        ("get app --watch", "get does not know --watch"),
        ("get app -o", "-o needs a value"),
        ("get app -o jsonpath=x", "get does not know -o jsonpath=x"),
        ("get", "get what?"),
        ("kubectl edit app traefik", "the drill has no kubectl edit"),
        ("kubectl logs traefik", "the drill has `get` alone"),
        ("kubectl", "the drill has `get` alone"),
        ("status | less", "no shell"),
        ("status 'traefik", "No closing quotation"),
        ("git push", "the drill has no git push"),
        ("wait long", "say it as in 30s"),
        ("wait 9h", "9h is not between 1s and 1h"),
        ("git fix soon", "say it as in 30s"),
        ("play nothing", "there is no scenario 'nothing'"),
        ("drill", "no use inside a drill"),
        ("status --context prod", "the drill has one cluster"),
    ],
)
def test_what_the_prompt_refuses(
    ingress: Game, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    before = ingress.stage.api.revision
    assert ingress.enter(line)
    assert told in capsys.readouterr().err
    assert (
        ingress.stage.api.get(APPLICATION, "argocd", "traefik")["spec"]["source"]["targetRevision"] == "2.5.1"
    )
    assert ingress.stage.api.revision == before


def test_hints_come_one_by_one_and_are_counted(game: Game, capsys: pytest.CaptureFixture[str]) -> None:
    game.start(SCENARIOS["ingress"])
    hints = SCENARIOS["ingress"].hints
    for number in range(1, len(hints) + 1):
        game.enter("hint")
        assert f"Hint {number} of {len(hints)}" in capsys.readouterr().out
    game.enter("hint")
    assert "rescue traefik" in capsys.readouterr().out
    assert f"{len(hints)} hints" in verdict(game)


def test_the_clock_is_the_players(tmp_path: Path, spent: list[float]) -> None:
    game = Game(tmp_path, PLUGIN_LINE, watch=lambda: spent[0])
    game.start(SCENARIOS["ingress"])
    spent[0] = 65.0
    assert "1:05 minutes" in game.verdict()


def test_time_goes_on_while_the_player_thinks() -> None:
    passed: list[float] = []
    mine = [0.0]
    passing = Time(passed.append, watch=lambda: mine[0], sleep=lambda s: None)
    mine[0] = 7.0
    passing.catch_up()
    passing.catch_up()
    assert passed == [7.0, 0.0]


def test_waiting_for_the_cluster_is_quicker_than_the_clock() -> None:
    passed: list[float] = []
    mine = [0.0]

    def sleep(seconds: float) -> None:
        mine[0] += seconds

    passing = Time(passed.append, watch=lambda: mine[0], sleep=sleep)
    passing.wait(6.0)
    assert sum(passed) == pytest.approx(6.0)
    assert mine[0] == pytest.approx(2.0)


def test_a_new_scenario_begins_anew(game: Game, capsys: pytest.CaptureFixture[str]) -> None:
    game.start(SCENARIOS["ingress"])
    game.enter("rescue traefik --yes")
    game.enter("done")
    assert game.passed and "`play frozen` goes on" in capsys.readouterr().err
    game.enter("restart")
    assert game.commands == 0
    capsys.readouterr()
    game.enter("log")
    assert "rescue" not in capsys.readouterr().out
    game.enter("play friday")
    assert game.scenario is SCENARIOS["friday"] and "Dana" in capsys.readouterr().out
    for line in ("task", "help", "scenarios", "git log"):
        game.enter(line)
        assert capsys.readouterr().out
    assert not game.enter("quit")


def test_flags_that_lead_elsewhere_are_refused() -> None:
    refuse_connection_flags(Connection(request_timeout=5.0))
    for elsewhere in (Connection(context="prod"), Connection(as_user="root"), Connection(token="x")):
        with pytest.raises(UsageError):
            refuse_connection_flags(elsewhere)


def test_the_words_of_scenarios() -> None:
    for scenario in SCENARIOS.values():
        texts = (scenario.story, scenario.title, *scenario.task, *scenario.hints, scenario.fix_says)
        for text in (*texts, *scenario.solution, *[check.text for check in scenario.checks]):
            assert "{" not in scenario.names.put_into(text)
        assert set(scenario.names.put_into(scenario.story).split()) >= {scenario.names.app}


# -- as a command


def test_list_and_what_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from kubectl_argo_rescue.simulation.api import InMemoryApi

    api = InMemoryApi(SteppedClock())
    listed = run(api, "drill", "--list")
    assert listed.code == 0 and all(name in listed.out for name in SCENARIOS)
    assert run(api, "drill", "nothing").code == 2
    assert "has no -o" in run(api, "drill", "-o", "json").err
    assert "one cluster" in run(api, "drill", "--context", "prod").err


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "XDG_STATE_HOME": str(home / "state"),
        "TERM": "xterm",
        "COLUMNS": "100",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home in which a drill must leave nothing."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    yield home
    assert [path.name for path in home.rglob("*")] == ["tmp"]


def test_without_a_terminal_it_plays_by_itself_and_runs_no_kubectl(home: Path, tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\ntouch {home}/called\n")
    kubectl.chmod(0o755)
    done = subprocess.run(
        [str(PLUGIN), "drill"],
        stdin=subprocess.DEVNULL,
        env={**environment(home), "KUBECTL_PATH": str(kubectl), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert drill.SIMULATION in done.stdout and "\x1b" not in done.stdout
    steps = re.findall(r"^\$ (.*)$", done.stdout, re.MULTILINE)
    assert steps == ["kubectl argo-rescue status traefik", steps[1], "done"]
    assert "application.argoproj.io/traefik synced to 2.4.1 and healthy" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("Passed: 2 commands")


class Screen:
    """The plugin at a pseudo-terminal, or kubectl that runs it."""

    def __init__(
        self, home: Path, *words: str, program: Path = PLUGIN, environ: dict[str, str] | None = None
    ) -> None:
        self.text = ""
        self._seen = 0
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execve(str(program), [str(program), *words], environ or environment(home))

    def until(self, text: str, timeout: float = 300.0) -> str:
        """Read until the screen shows a text after what was read before; return what came up to it."""
        start = self._seen
        if not self._shows(text, timeout):
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"no {text!r} on the screen:\n{self.text}")
        return self.text[start : self._seen]

    def _shows(self, text: str, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while (at := self.text.find(text, self._seen)) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._terminal], [], [], left)[0]:
                return False
            self.text += os.read(self._terminal, 65536).decode(errors="replace")
        self._seen = at + len(text)
        return True

    def interrupt_prompt(self, text: str) -> None:
        """Press Ctrl-C until a text shows.

        Python's readline sees a signal only while it waits for a key: one that comes between the
        prompt and that is kept until the next.
        """
        for _ in range(30):
            self.type("\x03")
            if self._shows(text, 2.0):
                return
        self.until(text)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def end(self, pressing: str = "") -> int:
        """Wait for its end and return the exit code; keys that are pressed until it has ended."""
        deadline = time.monotonic() + 300.0
        try:
            while time.monotonic() < deadline:
                if select.select([self._terminal], [], [], 0.5)[0]:
                    shown = os.read(self._terminal, 65536)
                    if not shown:
                        break
                    self.text += shown.decode(errors="replace")
                elif pressing:
                    self.type(pressing)
            else:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"it does not end:\n{self.text}")
        except OSError:
            pass  # Linux' end of a terminal
        finally:
            os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_sitting_at_a_terminal(home: Path) -> None:
    screen = Screen(home, "drill")
    assert drill.SIMULATION in screen.until("drill> ")
    screen.type("rescue traefik\n")
    screen.until("[y/N] ")
    screen.type("y\n")
    screen.until("synced to 2.4.1 and healthy")
    screen.until("drill> ")
    screen.interrupt_prompt("drill> ")
    screen.type("watch web --timeout 0\n")  # web is frozen, and is what it should be
    screen.until("drill> ")
    screen.type("done\n")
    screen.until("Passed")  # on a slow machine Ctrl-C was pressed more than once: more prompts
    screen.until("drill> ")
    screen.type("\x04")
    assert screen.end() == 0


def test_an_interrupted_command_gives_the_prompt_back(home: Path) -> None:
    screen = Screen(home, "drill", "hand-back")
    screen.until("drill> ")
    screen.type("undo --when-safe --yes\n")
    screen.until("waiting for git")
    screen.type("\x03")
    screen.until("exit code 130")
    screen.until("drill> ")
    screen.type("quit\n")
    assert screen.end() == 1, "no verdict is not passed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_killed_politely_it_leaves_nothing(home: Path, number: signal.Signals) -> None:
    screen = Screen(home, "drill")
    screen.until("drill> ")
    screen.type("version\n")
    screen.until("drill> ")
    os.kill(screen.pid, number)
    # Python's readline may have begun to wait just after the signal: then it is kept until Enter.
    assert screen.end(pressing="\n") == 1


def test_an_interrupted_play_ends(home: Path) -> None:
    screen = Screen(home, "drill", "--play")
    screen.until("rescue traefik")
    screen.type("\x03")
    assert screen.end() == 130


def test_undo_waits_for_a_pull_request_that_is_merged_later(
    game: Game, capsys: pytest.CaptureFixture[str]
) -> None:
    game.start(SCENARIOS["hand-back"])
    game.enter("git fix 30s")
    assert "it is merged in 30s" in capsys.readouterr().out
    game.enter("undo --when-safe --yes")
    assert "waiting for git" in capsys.readouterr().err
    assert "Passed" in verdict(game)
