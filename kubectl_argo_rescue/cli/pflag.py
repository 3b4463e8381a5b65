"""How kubectl reads flags (spf13/pflag), where click reads them otherwise.

`--dry-run root` is a bare flag and a name; `-n=argocd` is `-n argocd`; `--wait=false` is no `--wait`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click


class UnknownWord(click.UsageError):
    """A flag or a verb that there is not."""

    def __init__(self, message: str, near: str, ctx: click.Context | None) -> None:
        """`near` is what was probably meant, empty where none is near."""
        super().__init__(message, ctx)
        self.near = near


class Given(NamedTuple):
    """One flag of a command line."""

    name: str
    """As typed, with its dashes."""
    option: click.Option | None
    """None where the command has no such flag."""
    value: str | None
    """None where the flag lacks the value that it needs; a bare switch has an empty one."""
    is_bare: bool = False
    """No value was said, and none is needed."""


def takes_word(option: click.Option) -> bool:
    """Whether the next word is the flag's value; else only what follows an = is."""
    # One that is no switch and has a value of its own where none is said: pflag's NoOptDefVal.
    return not option.is_flag and not isinstance(option.flag_value, str)


def scan(words: Sequence[str], options: Sequence[click.Option]) -> Iterator[Given | str]:
    """Yield flags and positional words in order, as pflag tells them apart; `--` is yielded as it is."""
    known = {opt: o for o in options for opt in (*o.opts, *o.secondary_opts)}
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield word
            yield from rest
        elif word.startswith("--"):
            typed, equals, value = word.partition("=")
            # kubectl takes --dry_run as well.
            yield _given(typed, known.get(typed.replace("_", "-")), value if equals else None, rest)
        elif word.startswith("-") and word != "-":
            yield from _shorthands(word[1:], known, rest)
        else:
            yield word


def _shorthands(letters: str, known: dict[str, click.Option], rest: Iterator[str]) -> Iterator[Given]:
    while letters:
        typed, letters = f"-{letters[0]}", letters[1:]
        option = known.get(typed)
        if option is None:
            yield Given(typed, None, None)
            return
        if len(letters) > 1 and letters[0] == "=":
            yield _given(typed, option, letters[1:], rest)
            return
        if letters and takes_word(option):
            yield _given(typed, option, letters, rest)
            return
        yield _given(typed, option, None, rest)


def _given(typed: str, option: click.Option | None, value: str | None, rest: Iterator[str]) -> Given:
    if option is None or value is not None:
        return Given(typed, option, value)
    if takes_word(option):
        return Given(typed, option, next(rest, None))
    return Given(typed, option, "" if option.is_flag else str(option.flag_value), is_bare=True)


_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
"""What Go's strconv.ParseBool takes."""


def options_of(command: click.Command, ctx: click.Context) -> list[click.Option]:
    """Return the flags that a command takes, --help with them."""
    return [p for p in command.get_params(ctx) if isinstance(p, click.Option)]


def canonical(ctx: click.Context, words: Sequence[str], options: Sequence[click.Option]) -> list[str]:
    """Say a command line so that click reads it as pflag would; raises click.UsageError."""
    said: list[str] = []
    for part in scan(words, options):
        said += [part] if isinstance(part, str) else _said(ctx, part, options)
    return said


def _said(ctx: click.Context, given: Given, options: Sequence[click.Option]) -> list[str]:
    option = given.option
    if option is None:
        what = "flag: " if given.name.startswith("--") else "shorthand flag: "
        raise UnknownWord(f"unknown {what}{given.name}", _near(given.name, options), ctx)
    if given.value is None:
        raise click.UsageError(f"flag needs an argument: {given.name}", ctx)
    name = next((opt for opt in option.opts if opt.startswith("--")), option.opts[0])
    if not option.is_flag:
        return [f"{name}={given.value}"]
    if given.is_bare or given.value in _TRUE:
        return [name]
    if given.value in _FALSE:
        return []
    raise click.UsageError(f"{given.name} is true or false, not {given.value!r}", ctx)


def _near(name: str, options: Sequence[click.Option]) -> str:
    import difflib  # lazy: only a mistyped flag needs it

    long = [opt for o in options if not o.hidden for opt in o.opts if opt.startswith("--")]
    return next(iter(difflib.get_close_matches(name, long, 1)), "") if name.startswith("--") else ""
