"""The play: a prompt at which the plugin's own verbs work against a simulated cluster, and a verdict.

Nothing of it is real, and nothing is left behind: the journal of this machine lies in a temporary
folder, the other one in the simulated cluster.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..cluster.client import Cluster
from ..cluster.connect import Runtime
from ..cluster.transport import Connection
from ..journal.configmaps import ENTRY_LABEL
from ..model import values
from ..model.errors import ExitStatus, RefusedError, RescueError, UsageError
from ..model.text import COMMAND, columns
from ..model.times import human, parse_span
from ..show.printer import wants_colour
from . import reading
from .scenarios import SCENARIOS, Scenario
from .stage import Instant, Line, SimulatedStage, Time, refuse_connection_flags

SIMULATION = "A practice incident, simulated in this process: nothing of it is real."
AFTER_SECONDS = 300.0
"""How much time passes before the verdict: what would be put back is put back by then."""

WIDTH = 100

_OWN = ("task", "hint", "get", "git", "wait", "restart", "scenarios", "play", "done", "help", "quit")
_NOT_HERE = ("drill", "completion", "doctor")
_EDITING = (
    "edit",
    "patch",
    "apply",
    "delete",
    "annotate",
    "label",
    "scale",
    "rollout",
    "set",
    "replace",
    "create",
)
_SHELL = {"|", ">", ">>", "<", "&&", "||", ";", "&"}


class Plugin(NamedTuple):
    """The plugin's own command line, as the prompt has it."""

    run: Callable[[Sequence[str], Runtime], NoReturn]
    """Runs words in a world, and exits with their code."""
    verbs: Sequence[str]


class Game:
    """One sitting: a scenario at a time, until `quit`."""

    def __init__(
        self,
        folder: Path,
        plugin: Plugin,
        *,
        is_instant: bool = False,
        version: tuple[int, int] = (3, 2),
        watch: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the journals in `folder`; `is_instant` lets nobody wait; `watch` is the player's clock."""
        self.folder = folder
        self.plugin = plugin
        self.version = version
        self.passed: bool | None = None
        """The last verdict."""
        self._instant = Instant() if is_instant else None
        self._watch = watch
        self._stages = 0
        self.is_over = False
        self._is_interrupted = False

    # -- a scenario

    def start(self, scenario: Scenario) -> None:
        """Set a scenario up from its beginning."""
        self.scenario = scenario
        self.names = scenario.names
        self._stages += 1
        self.passed = None
        self.commands = 0
        self.hints = 0
        self.stage = SimulatedStage(scenario, self._colleague, self.version)
        self.time = self._time(self.stage)
        self._began = self._watch()

    def _time(self, stage: SimulatedStage) -> Time:
        if self._instant is None:
            return Time(stage.pass_time)
        return Time(stage.pass_time, watch=self._instant.watch, sleep=self._instant.sleep)

    def _colleague(self, stage: SimulatedStage, line: str) -> None:
        """Run a command line of this plugin as a colleague on another machine, unseen."""
        instant = Instant()
        unseen = Time(stage.pass_time, watch=instant.watch, sleep=instant.sleep)
        player, stage.api.user = stage.api.user, "bob"
        talk = io.StringIO()
        try:
            with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
                code = self._run(shlex.split(line), stage, unseen, "bob")
        finally:
            stage.api.user = player
        if code:
            raise RuntimeError(f"{line} ended with {code}: {talk.getvalue()}")

    def _run(self, words: Sequence[str], stage: SimulatedStage, clock: Time, user: str) -> int:
        """Run a command line of the plugin against a stage and return its exit code."""

        def open_cluster(
            connection: Connection,
            *,
            log: Callable[[str], None] | None = None,
            on_warning: Callable[[str], None] | None = None,
        ) -> Cluster:
            refuse_connection_flags(connection, tuple(stage.apis) if len(stage.apis) > 1 else ())
            return Cluster(
                Line(stage.apis.get(connection.context, stage.api), clock),
                request_timeout=connection.request_timeout,
                log=log,
                on_warning=on_warning,
                sleep=clock.wait,
                clock=lambda: stage.clock().timestamp(),
            )

        environ = {**os.environ, "XDG_STATE_HOME": str(self.folder / f"{self._stages}-{user}")}
        try:
            here = Runtime(open_cluster, stage.clock, environ, tuple(words), lambda *_: stage.contexts())
            self.plugin.run(words, here)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(ExitStatus.ERROR)
        self._is_interrupted |= code == ExitStatus.INTERRUPTED
        return code

    # -- what is shown

    def introduction(self) -> str:
        """Tell the story and the task."""
        scenario = self.scenario
        head = f"{scenario.name} ({scenario.level}): {self.names.put_into(scenario.title)}"
        return f"{_bold(head)}\n\n{_wrapped(self.names.put_into(scenario.story))}\n\n{self.task()}"

    def task(self) -> str:
        """Say what is to be done."""
        lines = [_wrapped(f"* {self.names.put_into(line)}", "  ") for line in self.scenario.task]
        return "Your task:\n" + "\n".join(lines)

    def hint(self) -> str:
        """Give the next hint."""
        hints = self.scenario.hints
        if self.hints >= len(hints):
            return f"There is no further hint. A solution: {'; '.join(self.solution())}"
        self.hints += 1
        return _wrapped(f"Hint {self.hints} of {len(hints)}: {self.names.put_into(hints[self.hints - 1])}")

    def solution(self) -> list[str]:
        """Return what may be typed, names filled in."""
        return [self.names.put_into(line) for line in self.scenario.solution]

    def verdict(self) -> str:
        """Let time pass, judge, and say it line by line."""
        spent = self._watch() - self._began
        self.time.jump(AFTER_SECONDS)
        lines = [f"{human(timedelta(seconds=AFTER_SECONDS))} later, on the simulated cluster:"]
        failed = 0
        for check in self.scenario.checks:
            why = check.judge(self.stage)
            failed += bool(why)
            text = self.names.put_into(check.text)
            lines.append(_paint("  ✓ ", "32") + text if not why else _paint("  ✗ ", "31") + f"{text}: {why}")
        self.passed = not failed
        word = _paint("Passed", "32") if self.passed else _paint("Not passed", "31")
        counted = [f"{self.commands} command{'s' if self.commands != 1 else ''}"]
        counted[0] += f" (a solution takes {len(self.solution())})"
        counted.append(f"{self.hints} hint{'s' if self.hints != 1 else ''}")
        if self._instant is None:
            counted.append(_minutes(spent))
        lines += ["", f"{word}: {', '.join(counted)}."]
        return "\n".join(lines)

    # -- one line at the prompt

    def enter(self, line: str) -> bool:
        """Carry out what was typed; False where it ends the sitting."""
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            _say(f"{error}")
            return True
        if words[:1] == ["$"]:
            words = words[1:]
        if not words:
            return True
        if _SHELL & set(words):
            _say("This prompt is no shell: one command a line, without pipes.")
            return True
        try:
            return self._enter(words)
        except RescueError as error:
            _say(f"error: {error}")
        except KeyboardInterrupt:
            self._is_interrupted = True
            _say("")
        return True

    def _enter(self, words: list[str]) -> bool:
        is_kubectl = words[0] == "kubectl"
        if is_kubectl:
            words = words[1:]
        if words[:1] in (["argo-rescue"], ["kubectl-argo_rescue"]):
            words = words[1:]
            is_kubectl = False
            if not words:
                words = ["--help"]
        elif is_kubectl and words[:1] != ["get"]:
            self._refuse_kubectl(words)
            return True
        verb, rest = words[0], words[1:]
        if verb in ("quit", "exit"):
            return False
        if verb == "clear":
            _tell(_paint("\x1b[H\x1b[2J", "0"))
        elif verb in ("help", "?"):
            _tell(self._help())
        elif verb in _OWN:
            self._own(verb, rest)
        elif verb in _NOT_HERE:
            _say(f"{verb} has no use inside a drill.")
        else:
            self._verb(words)
        return True

    def _refuse_kubectl(self, words: Sequence[str]) -> None:
        if words[:1] and words[0] in _EDITING:
            raise UsageError(
                f"the drill has no kubectl {words[0]}: it is about this plugin's verbs", "see help"
            )
        raise UsageError(
            "of kubectl, the drill has `get` alone", "such as kubectl get app, or get deploy -o yaml"
        )

    def _verb(self, words: list[str]) -> None:
        self.commands += 1
        self.time.catch_up()
        code = self._run(words, self.stage, self.time, "you")
        if code:
            _say(_paint(f"(exit code {code})", "2"))

    def _own(self, verb: str, rest: Sequence[str]) -> None:
        self.time.catch_up()
        if verb == "task":
            _tell(self.introduction())
        elif verb == "hint":
            _tell(self.hint())
        elif verb == "get":
            self.commands += 1
            _tell(reading.get(self.stage, rest))
        elif verb == "git":
            self._git(rest)
        elif verb == "wait":
            self._wait(rest)
        elif verb == "scenarios":
            _tell(listing())
        elif verb in ("play", "restart"):
            self._play_another(rest)
        else:
            _tell(self.verdict())
            _say(_wrapped(self._what_next()))

    def _what_next(self) -> str:
        names = list(SCENARIOS)
        after = names[names.index(self.scenario.name) + 1 :]
        again = "" if self.passed else f"A solution: {'; '.join(self.solution())}. "
        other = f"`play {after[0]}` goes on, " if after else ""
        return f"{again}{other}`restart` begins this one anew, `quit` ends."

    def _git(self, rest: Sequence[str]) -> None:
        if list(rest) in ([], ["log"]):
            for when, author, message in reversed(self.stage.log):
                _tell(f"{when:%a %H:%M}  {author:10} {message}")
            if not self.stage.is_fixed:
                fix = f"{self.names.app} back to {self.scenario.fix} (#414)"
                _tell(f"open:      {'Dana':10} {fix}: `git fix` merges it")
        elif rest[0] == "fix" and len(rest) <= 2:
            after = _span(rest[1]) if len(rest) == 2 else 0.0
            if self.stage.is_fixed:
                _say("It is merged already.")
                return
            if not self.stage.serving():
                raise RefusedError(
                    f"nothing can be merged: the git server's own pages are behind {self.names.app}",
                    f"{self.names.app} must serve first",
                )
            self.commands += 1
            self.stage.fix(after)
            if after:
                _tell(
                    f"it is merged in {human(timedelta(seconds=after))}: {self.names.app} back to {self.scenario.fix} (#414)"
                )
                return
            _tell(f"merged: {self.names.app} back to {self.scenario.fix} (#414)")
            if self.scenario.fix_says:
                _tell(_wrapped(self.names.put_into(self.scenario.fix_says)))
        else:
            raise UsageError(f"the drill has no git {' '.join(rest)}", "it has git log and git fix")

    def _wait(self, rest: Sequence[str]) -> None:
        seconds = _span(rest[0] if rest else "30s")
        self.time.jump(seconds)
        _tell(f"{human(timedelta(seconds=seconds))} have passed; it is {self.stage.now():%a %H:%M:%S} UTC")

    def _play_another(self, rest: Sequence[str]) -> None:
        name = rest[0] if rest else self.scenario.name
        if name not in SCENARIOS:
            raise UsageError(f"there is no scenario {name!r}", f"there are {', '.join(SCENARIOS)}")
        self.start(SCENARIOS[name])
        _tell(self.introduction())

    def _help(self) -> str:
        rows = [
            ("status, rescue, undo, …", f"the plugin's verbs, with or without `{COMMAND}` before them"),
            ("task", "the story and what is to be done"),
            ("hint", "the next hint"),
            (f"get {'|'.join(KINDS_SHOWN)} …", "look, as with kubectl get; -o yaml"),
            ("git log, git fix [30s]", "what git has; have the pull request merged, now or then"),
            ("wait 30s", "let time pass"),
            ("done", "the verdict"),
            ("restart, scenarios, play NAME", "this one anew, all of them, another one"),
            ("quit", "end; Ctrl-D does too"),
        ]
        return "\n".join(columns(rows))

    # -- without a person

    def play(self) -> bool:
        """Type the solution, print each step, and return whether the verdict is good.

        Raises KeyboardInterrupt where a step was interrupted.
        """
        for line in self.solution():
            line = line.replace("ENTRY", self._newest_entry())
            own = line.split()[0] in _OWN
            _tell(f"\n{_bold(f'$ {line}' if own else f'$ {COMMAND} {line}')}")
            self.enter(line)
            if self._is_interrupted:
                raise KeyboardInterrupt
        _tell(f"\n{_bold('$ done')}\n{self.verdict()}")
        return bool(self.passed)

    def _newest_entry(self) -> str:
        """Return the id of what was done last, empty before anything was."""
        found = [
            o
            for o in self.stage.api.objects(values.CONFIGMAP, "argocd")
            if ENTRY_LABEL in o["metadata"].get("labels", {})
        ]
        newest = max(found, key=lambda o: str(o["metadata"]["creationTimestamp"]), default=None)
        return str(newest["metadata"]["labels"][ENTRY_LABEL]) if newest else ""


KINDS_SHOWN = reading.KINDS[:4]


def listing() -> str:
    """Return all scenarios, easy to hard."""
    rows = [(s.name, s.level, s.names.put_into(s.title)) for s in SCENARIOS.values()]
    return "\n".join(columns(rows, ("SCENARIO", "LEVEL", "WHAT HAPPENS")))


def _prompt(game: Game) -> None:
    """Read lines until the end."""
    with contextlib.suppress(ImportError):
        _complete_lines(game)

    def end(*_: object) -> NoReturn:
        game.is_over = True
        raise KeyboardInterrupt

    while not game.is_over:
        try:
            for polite in ("SIGTERM", "SIGHUP"):
                if hasattr(signal, polite):  # anew: each command takes SIGTERM for itself
                    signal.signal(getattr(signal, polite), end)
            line = input("drill> ")
        except EOFError:
            _say("")
            return
        except KeyboardInterrupt:
            _say("")
            continue
        if not game.enter(line):
            return


def _complete_lines(game: Game) -> None:
    """Complete with tab and remember lines while it runs, where readline is there."""
    import readline  # lazy: not on every platform

    verbs = [verb for verb in game.plugin.verbs if verb not in _NOT_HERE]

    def choices(text: str, state: int) -> str | None:
        words = readline.get_line_buffer()[: readline.get_begidx()].split()
        words = words[2:] if words[:2] == ["kubectl", "argo-rescue"] else words
        names = game.names
        offered: Sequence[str] = (names.app, names.other, names.root, "--yes", "--dry-run", "--help")
        if not words:
            offered = sorted({*verbs, *_OWN, "kubectl"})
        elif words in (["get"], ["kubectl", "get"]):
            offered = reading.KINDS
        elif words == ["git"]:
            offered = ("log", "fix")
        elif words == ["play"]:
            offered = tuple(SCENARIOS)
        found = [word for word in offered if word.startswith(text)]
        return f"{found[state]} " if state < len(found) else None

    readline.set_completer(choices)
    readline.set_completer_delims(" ")
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


def run(scenario: Scenario, plugin: Plugin, *, is_played: bool) -> bool:
    """Play a scenario with the person at the terminal, or through by itself; whether it was passed."""
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
    folder = Path(tempfile.mkdtemp(prefix="argo-rescue-drill-"))
    try:
        game = Game(folder, plugin, is_instant=not is_interactive)
        _tell(f"{_bold(SIMULATION)}\n")
        game.start(scenario)
        _tell(game.introduction())
        if is_played or not is_interactive:
            return game.play()
        _tell("\n`help` says what works here, `hint` helps, `done` gives the verdict.\n")
        _prompt(game)
        return bool(game.passed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _span(text: str) -> float:
    """Read a time to wait. Raises UsageError."""
    try:
        seconds = parse_span(text).total_seconds()
    except ValueError as error:
        raise UsageError(str(error), "say it as in 30s or 2m") from error
    if not 0 < seconds <= 3600:
        raise UsageError(f"{text} is not between 1s and 1h", "say it as in 30s or 2m")
    return seconds


def _wrapped(text: str, indent: str = "") -> str:
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    return "\n".join(
        textwrap.fill(" ".join(part.split("\n")), width, subsequent_indent=indent)
        for part in text.split("\n\n")
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} minutes"


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if wants_colour(sys.stdout, os.environ) else text


def _bold(text: str) -> str:
    return _paint(text, "1")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
