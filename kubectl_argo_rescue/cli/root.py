"""The root command: a lazy table of verbs, kubectl's connection flags, errors to exit codes.

`--help` and completion load click and nothing else: a verb's module is imported when it is called.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..act.options import Common
from ..cluster.connect import Runtime
from ..model.errors import Cancelled, Code, ExitStatus, RescueError
from ..show.outlet import outlets
from . import pflag
from .flags import CONNECTION, PLACE, combine, write_options

if TYPE_CHECKING:
    from ..show.printer import Printer

PROG = "kubectl argo-rescue"

VERBS: dict[str, tuple[str, str]] = {
    "status": ("status", "Show what is wrong, and what would revert a change"),
    "pause": ("pause", "Turn auto-sync off, so that it stays off"),
    "unblock": ("unblock", "Let one application sync despite sync windows"),
    "pin": ("pin", "Pin an application to a version and have Argo CD deploy it"),
    "rescue": ("rescue", "All of it in one: pause, unblock, pin, sync, watch"),
    "sync": ("sync", "Start a sync without Argo CD's API"),
    "rollback": ("rollback", "Deploy a version from history, and keep it there"),
    "terminate": ("terminate", "End an operation that runs or is stuck"),
    "watch": ("watch", "Watch an application until it is synced and healthy, or has failed"),
    "freeze": ("freeze", "Stop Argo CD's controllers at once: nothing is deleted any more"),
    "orphan": ("orphan", "Let an application go without its workloads"),
    "undo": ("undo", "Put the saved originals back"),
    "log": ("log", "List what was done, by whom and what is still in effect"),
    "show": ("show", "Show one entry of the log, with every edit"),
    "report": ("report", "Report the timeline and the pending git change"),
    "windows": ("windows", "Show which sync windows let an application sync"),
    "doctor": ("doctor", "Say whether a rescue would work from here"),
    "drill": ("drill", "Practise an incident on this machine, without a cluster"),
    "completion": ("completion", "Set up shell completion"),
    "version": ("version", "Print the version"),
}
"""Verb to (module below `commands`, short help). The short help stands here so that no verb loads."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Start here": ("status", "rescue", "undo"),
    "Single steps": ("pause", "pin", "unblock", "sync", "rollback", "terminate", "watch"),
    "Argo CD deletes what it must not": ("freeze", "orphan"),
    "Afterwards": ("log", "show", "report"),
    "Look": ("windows", "doctor"),
    "Learn": ("drill", "completion", "version"),
}
"""The verbs as `--help` lists them."""

EXAMPLES = """\b
Examples:
  # The incident: traefik 2.5.1 broke the ingress, and Argo CD's own API with it
  kubectl argo-rescue rescue traefik
\b
  # The same in single steps
  kubectl argo-rescue pause root
  kubectl argo-rescue pin traefik 2.4.1
  kubectl argo-rescue unblock traefik
  kubectl argo-rescue watch traefik
\b
  # Later, when git is fixed: put every original back
  kubectl argo-rescue undo
"""


class VerbTable(click.Group):
    """Loads a verb when it is called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the verbs in the order of the story."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one verb."""
        if name not in VERBS:
            return None
        module = importlib.import_module(f"kubectl_argo_rescue.commands.{VERBS[name][0]}")
        command: click.Command = module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the verb first: its flags may stand before it. Without one, help is what is wanted."""
        options = pflag.options_of(self, ctx)
        words = verb_first(args, options)
        if not words or words[0].startswith("-"):
            pflag.canonical(ctx, words, options)
            words = ["--help"]
        return super().parse_args(ctx, words)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write kubectl's order: what for, examples, verbs (loading none of them), flags."""
        formatter.write_text(f"{inspect.cleandoc(self.help or '')}\n\n{EXAMPLES}")
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(10), VERBS[name][1]) for name in names])
        write_options(self, ctx, formatter, "VERB", with_connection=True)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say which verb was probably meant where there is none of that name."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            import difflib  # lazy: only a mistyped verb needs it

            near = difflib.get_close_matches(args[0], VERBS, 1)
            raise pflag.UnknownWord(f"unknown verb {args[0]!r}", "".join(near), ctx)
        return super().resolve_command(ctx, args)


HELP = "help"
"""`help VERB` is `VERB --help`."""


def verb_first(words: Sequence[str], options: Sequence[click.Option]) -> list[str]:
    """Put the flags that stand before the verb behind it, where they mean the same."""
    is_value = False
    for i, word in enumerate(words):
        if is_value:
            is_value = False
        elif word == "--":
            break
        elif word.startswith("-"):
            *_, last = pflag.scan([word], options)
            is_value = isinstance(last, pflag.Given) and last.option is not None and last.value is None
        elif word == HELP:
            return [*verb_first(words[i + 1 :], options)[:1], "--help"]
        else:
            return [word, *words[:i], *words[i + 1 :]]
    return list(words)


@click.group(
    cls=VerbTable,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=False,
)
@click.pass_context
def root(ctx: click.Context, /, **given: Any) -> None:
    """Rescue Argo CD applications through the Kubernetes API when Argo CD's own is out of reach.

    Every write saves the original first; `undo` puts it all back.
    """
    ctx.obj = combine(Common(world=ctx.obj) if isinstance(ctx.obj, Runtime) else Common(), given)


for _option in (*PLACE, *CONNECTION):
    root = _option(root)


def _envelope(argv: Sequence[str], status: ExitStatus, warning: str, data: dict[str, Any]) -> Printer:
    """Print the envelope of a command that has none of its own, where one was asked for."""
    from ..model.values import Result
    from ..show.printer import Printer, standard_streams
    from ..show.steps import STATUS_WORDS

    printer = Printer(standard_streams(), _asked_form(argv))
    verb = next((a for a in argv if a in VERBS), "")
    if not printer.out.is_used:  # else it has spoken already
        printer.result(Result(verb, status=STATUS_WORDS[status], warnings=(warning,), data=data))
    return printer


def _interrupted(argv: Sequence[str]) -> int:
    _envelope(argv, ExitStatus.INTERRUPTED, "interrupted", {"error": "interrupted", "hint": ""})
    sys.stderr.write("\ninterrupted\n")
    return int(ExitStatus.INTERRUPTED)


def _fail(error: RescueError, argv: Sequence[str]) -> int:
    from ..model.text import plain

    data = {"error": error.message, "hint": error.hint, "code": error.code.value, **error.data}
    printer = _envelope(argv, error.exit_status, str(error), data)
    if isinstance(error, Cancelled):
        printer.say(plain(error.message))
    else:
        printer.say(f"{printer.paint('error:', 'red')} {plain(error.message)} ({error.code.value})")
    if error.hint:
        printer.say(f"  {plain(error.hint)}")
    return int(error.exit_status)


def _asked_form(argv: Sequence[str]) -> str:
    """Tell from the raw words whether JSON or YAML was asked for: usage errors speak it as well."""
    for i, word in enumerate(argv):
        value = ""
        if word in ("-o", "--output") and i + 1 < len(argv):
            value = argv[i + 1]
        elif word.startswith("--output="):
            value = word.partition("=")[2]
        elif word.startswith("-o") and not word.startswith("--"):
            value = word[2:].lstrip("=")
        if value in ("json", "yaml"):
            return value
    return "human"


def _on_terminate(number: int, _frame: object) -> NoReturn:
    if number != signal.SIGTERM:
        # The kernel and the shell both send it when a terminal goes; what is put in order by then goes on.
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_politely() -> None:
    """Have a polite end be one like ^C: what was done is recorded, nothing is left behind."""
    with contextlib.suppress(ValueError):  # not in the main thread, as some tests are not
        signal.signal(signal.SIGTERM, _on_terminate)
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as under nohup
            signal.signal(hangup, _on_terminate)


def run(argv: Sequence[str], world: Runtime | None = None) -> NoReturn:
    """Run one command line with a runtime, by default the real one, and exit with its code.

    A stdout whose reader went away changes nothing about the code; one that failed otherwise makes it
    an error, since its reader would take half for the whole.
    """
    _end_politely()
    with outlets() as out:
        code = _run(argv, world)
        out.flush()
        if out.failure is not None and not out.is_left:
            sys.stderr.write(f"error: stdout cannot be written: {out.why}\n")
            code = code or int(ExitStatus.ERROR)
    sys.exit(code)


def _run(argv: Sequence[str], world: Runtime | None) -> int:
    from ..model.errors import UsageError

    try:
        status = root.main(list(argv), prog_name=PROG, standalone_mode=False, obj=world)
        return int(status or 0)
    except click.UsageError as e:
        where = e.ctx.command_path if e.ctx else PROG
        near = e.near if isinstance(e, pflag.UnknownWord) else ""
        hint = f"did you mean {near}? See {where} --help" if near else f"see {where} --help"
        return _fail(UsageError(e.format_message().rstrip("."), hint), argv)
    except click.ClickException as e:
        return _fail(RescueError(e.format_message()), argv)
    except RescueError as e:
        return _fail(e, argv)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(argv)
    except Exception as e:
        # A fault of ours must not drown what matters in a traceback; -v 8 shows it.
        if any(word in ("-v8", "-v=8", "--v=8", "8") for word in argv):
            raise
        return _fail(
            RescueError(
                f"internal error: {type(e).__name__}: {e}",
                "nothing is lost: see kubectl argo-rescue log; run again with -v 8 for the traceback",
                code=Code.INTERNAL,
            ),
            argv,
        )
