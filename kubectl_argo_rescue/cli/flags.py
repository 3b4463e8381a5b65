"""The flags of every verb: kubectl's own for the connection, and what all writing verbs share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ..act.options import Common, Writing
from ..cluster.transport import Connection
from ..model.errors import UsageError
from . import pflag

if TYPE_CHECKING:
    _Seconds = click.ParamType[float | None]
    _Text = click.ParamType[str]
else:  # older ones than click 8.4 are not generic when they run
    _Seconds = _Text = click.ParamType


def parse_duration(text: str) -> float | None:
    """Read kubectl's --request-timeout: a Go duration, or a bare number of seconds; 0 is none."""
    from ..model.times import parse_span

    return parse_span(text).total_seconds() or None


class Duration(_Seconds):
    """A Go duration such as 1m30s; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Turn the text into seconds, None for 0."""
        if not isinstance(value, str):
            return value if value is None else float(value)
        try:
            return parse_duration(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


class RequestTimeout(Duration):
    """The same, where 0 is no limit and not as if nothing was said."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Turn the text into seconds."""
        return super().convert(value, param, ctx) or 0.0


class Version(_Text):
    """A version as typed; an empty one is a shell variable that was not set."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        text = str(value)
        if not text.strip() or text != text.strip():
            self.fail(f"{text!r} is no version", param, ctx)
        return text


F = TypeVar("F", bound=Callable[..., Any])

CONNECTION: tuple[Callable[[F], F], ...] = (
    click.option("--kubeconfig", default=None, metavar="FILE", help="Path to the kubeconfig file."),
    click.option("--context", default=None, metavar="NAME", help="The kubeconfig context to use."),
    click.option("--cluster", default=None, metavar="NAME", help="The kubeconfig cluster to use."),
    click.option("--user", default=None, metavar="NAME", help="The kubeconfig user to use."),
    click.option("-s", "--server", default=None, metavar="URL", help="Address of the API server."),
    click.option("--token", default=None, help="Bearer token for the API server."),
    click.option("--username", default=None, metavar="NAME", help="User name, where the API server takes passwords."),
    click.option("--password", default=None, help="Password, where the API server takes one."),
    click.option("--as", "as_user", default=None, metavar="USER", help="User to impersonate."),
    click.option("--as-uid", default=None, metavar="UID", help="UID to impersonate."),
    click.option("--as-group", "as_groups", multiple=True, metavar="GROUP", help="Group to impersonate."),
    click.option("--as-user-extra", multiple=True, metavar="KEY=VALUE", help="User extra to impersonate."),
    click.option("--tls-server-name", default=None, metavar="NAME", help="Server name to check the certificate for."),
    click.option("--certificate-authority", default=None, metavar="FILE", help="CA certificate file."),
    click.option("--client-certificate", default=None, metavar="FILE", help="Client certificate file."),
    click.option("--client-key", default=None, metavar="FILE", help="Client key file."),
    click.option("--insecure-skip-tls-verify", is_flag=True, default=None, help="Do not check the server's certificate."),
    click.option("--disable-compression", is_flag=True, default=None, help="Ask for no compression of answers."),
    click.option("--cache-dir", default=None, metavar="DIR", help="kubectl's cache directory."),
    click.option("--request-timeout", type=RequestTimeout(), default=None, metavar="DURATION", help="How long to wait for one request, such as 10s; 0 is no limit."),
    click.option("-v", "--v", "verbosity", type=int, default=None, metavar="LEVEL", help="Show plans field by field from level 1 on, requests from 6 on; never tokens."),
)  # fmt: skip

FORMS: Final = ("human", "name", "json", "yaml")


def _output(forms: Sequence[str]) -> Callable[[F], F]:
    return click.option("-o", "--output", type=click.Choice(forms), default=None, help="Output format.")


PLACE: tuple[Callable[[F], F], ...] = (
    click.option("-n", "--namespace", default=None, metavar="NAME", help="Namespace of the application; Argo CD's own by default."),
    click.option("--argocd-namespace", default=None, metavar="NAME", help="Namespace that Argo CD runs in; found by default."),
    _output(FORMS),
)  # fmt: skip


def combine(base: Common, given: dict[str, Any]) -> Common:
    """Lay the flags of a verb over those given before it."""
    connection = {n: given.pop(n, None) for n in Connection._fields}
    said = {n: v for n, v in connection.items() if v not in (None, ())}
    place = {n: given.pop(n, None) for n in ("namespace", "argocd_namespace", "output", "verbosity")}
    return base._replace(
        connection=base.connection._replace(**said),
        **{n: v for n, v in place.items() if v is not None},
    )


def common_options(f: Callable[..., int], forms: Sequence[str] = FORMS) -> Callable[..., None]:
    """Give a verb kubectl's connection flags, and its callback one `common` in their place."""

    @click.pass_context
    def wrapped(ctx: click.Context, /, **given: Any) -> None:
        common = combine(ctx.obj if isinstance(ctx.obj, Common) else Common(), given)
        ctx.exit(int(f(common=common, **given)))

    wrapped.__doc__ = f.__doc__
    wrapped.__name__ = f.__name__
    # click keeps a function's own parameters here; they go over to the wrapper.
    wrapped.__click_params__ = getattr(f, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed((*PLACE[:-1], _output(forms), *CONNECTION)):
        wrapped = option(wrapped)
    return wrapped


def common_options_and(*forms: str) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Do the same for a verb that has outputs of its own as well."""
    return lambda f: common_options(f, (*FORMS, *forms))


class Verb(click.Command):
    """A verb that reads flags and shows help as kubectl does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words as pflag would."""
        return super().parse_args(ctx, pflag.canonical(ctx, args, pflag.options_of(self, ctx)))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        r"""Write kubectl's order: what for, examples, flags, usage; `\b` stands before what is not wrapped."""
        formatter.write_text(inspect.cleandoc(self.help or "").replace("\\b\n", "\b\n"))
        write_options(self, ctx, formatter, " ".join(self.collect_usage_pieces(ctx)[1:]))


def write_options(
    command: click.Command,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    arguments: str,
    *,
    with_connection: bool = False,
) -> None:
    """Write what a command takes, its usage, and where it is wanted how to reach the cluster."""
    connection = {o for option in CONNECTION for o in _names(option)} - {"verbosity"}
    own: list[tuple[str, str]] = []
    kubectls: list[tuple[str, str]] = []
    for param in pflag.options_of(command, ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            (kubectls if param.name in connection else own).append(record)
    with formatter.section("Options"):
        formatter.write_dl(own)
    formatter.write_paragraph()
    formatter.write_usage(ctx.command_path, f"{arguments} [options]".lstrip())
    if with_connection:
        with formatter.section("Connection, as kubectl's"):
            formatter.write_dl(kubectls)
    else:
        formatter.write_paragraph()
        formatter.write_text('Use "kubectl options" for kubectl\'s connection flags: they all work here.')


def _names(option: Callable[[Any], Any]) -> list[str]:
    def probe() -> None: ...

    return [p.name for p in getattr(option(probe), "__click_params__", []) if p.name]


def writing_options(f: Callable[..., int]) -> Callable[..., int]:
    """Give a verb --dry-run, --reason and --yes, and its callback one `writing` in their place."""

    def wrapped(
        common: Common, dry_run: str, reason: str, yes: bool, expires: float | None, **given: Any
    ) -> int:
        common.world.start(common.connection)
        writing = Writing(dry_run=dry_run, reason=reason, yes=yes, expires=expires)
        return f(common=common, writing=writing, **given)

    wrapped.__doc__ = f.__doc__
    wrapped.__name__ = f.__name__
    wrapped.__click_params__ = getattr(f, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Callable[..., int] = wrapped
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--reason", default="", metavar="TEXT", help="Why; kept in the log."),
        click.option(
            "--expires",
            type=Duration(),
            default=None,
            metavar="DURATION",
            help="Mark as expired after this time, such as 2h, so that status and log remind you.",
        ),
        click.option(
            "--dry-run",
            type=click.Choice(["none", "client", "server"]),
            default="none",
            is_flag=False,
            flag_value="client",
            help="Show the plan; with server, let the server judge it too.",
        ),
    ):
        decorated = option(decorated)
    return decorated


everywhere_option = click.option(
    "-A", "--all-namespaces", "everywhere", is_flag=True, help="All namespaces, whatever -n says."
)
selector_option = click.option(
    "-l", "--selector", default="", metavar="LABELS", help="All applications with these labels."
)


def all_namespaces(common: Common, named: Sequence[str]) -> Common:
    """Do what -A says; as with kubectl, nothing has a name across all namespaces."""
    if named:
        raise UsageError(
            "applications are named, and all namespaces are asked for", "leave out the names, or -A"
        )
    return common._replace(namespace="")


project_option = click.option(
    "--project", default="", metavar="NAME", help="All applications of an AppProject."
)


def are_selected(named: Sequence[str], *selections: object, hint: str) -> bool:
    """Whether applications are selected, not named. Raises UsageError where it is both, or neither (`hint`)."""
    selected = any(selections)
    if selected and named:
        raise UsageError("applications are named and selected as well", "do one of the two")
    if not selected and not named:
        raise UsageError("nothing says which applications", hint)
    return selected


only_option = click.option("--only", is_flag=True, help="Edit this alone, though an owner would revert it.")


contexts_option = click.option(
    "--contexts",
    default="",
    metavar="NAMES",
    help="Ask the clusters of these contexts, as a,b,c, or of all, side by side; one that is called all needs --context.",
)

destination_option = click.option(
    "--destination-context",
    default="",
    metavar="NAME",
    help="The context of the cluster that the app deploys into, where it is another one; found by default.",
)


source_option = click.option(
    "--source", default=None, metavar="NAME_OR_INDEX", help="Which of several sources; the first is 0."
)


def timeout_option(default: str | None, text: str) -> Callable[[F], F]:
    """Give a verb --timeout, of which `text` says what for."""
    return click.option(
        "--timeout",
        type=Duration(),
        default=default,
        show_default=bool(default),
        metavar="DURATION",
        help=text,
    )


def waiting_options(f: F) -> F:
    """Give a verb --wait and --timeout."""
    f = timeout_option("5m", "How long to wait; 0 is for ever.")(f)
    return click.option("--wait", is_flag=True, help="Watch until it is synced and healthy, or has failed.")(
        f
    )
