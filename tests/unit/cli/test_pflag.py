"""Words are read as kubectl's own flag library reads them.

Aspects: a flag that may be bare takes no word; `=` after a shorthand; switches with true and false;
shorthands in one word; `--`; flags before the verb; underscores; what is unknown or lacks its value.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import pytest

from kubectl_argo_rescue.cli import pflag, root

OPTIONS = [
    click.Option(["-n", "--namespace"]),
    click.Option(["-v", "--v", "verbosity"], type=int),
    click.Option(["-A", "--all-namespaces"], is_flag=True),
    click.Option(["-y", "--yes"], is_flag=True),
    click.Option(["--as-group", "groups"], multiple=True),
    click.Option(
        ["--dry-run"], type=click.Choice(["none", "client", "server"]), is_flag=False, flag_value="client"
    ),
]


def canonical(*words: str) -> list[str]:
    return pflag.canonical(click.Context(click.Command("pause")), words, OPTIONS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry-run", "root"], ["--dry-run=client", "root"]),
        (["--dry-run", "server"], ["--dry-run=client", "server"]),
        (["--dry-run=server", "root"], ["--dry-run=server", "root"]),
        (["--dry-run"], ["--dry-run=client"]),
        (["--dry_run"], ["--dry-run=client"]),
        (["-n", "argocd"], ["--namespace=argocd"]),
        (["-nargocd"], ["--namespace=argocd"]),
        (["-n=argocd"], ["--namespace=argocd"]),
        (["--namespace", "argocd"], ["--namespace=argocd"]),
        (["--namespace", "--yes"], ["--namespace=--yes"]),
        (["--namespace="], ["--namespace="]),
        (["--namespace=a=b"], ["--namespace=a=b"]),
        (["-v6"], ["--v=6"]),
        (["-v=6"], ["--v=6"]),
        (["--v", "6"], ["--v=6"]),
        (["-Ay"], ["--all-namespaces", "--yes"]),
        (["-Anx"], ["--all-namespaces", "--namespace=x"]),
        (["-yn=x"], ["--yes", "--namespace=x"]),
        (["-yn", "x"], ["--yes", "--namespace=x"]),
        (["--yes=true"], ["--yes"]),
        (["--yes=0"], []),
        (["-A=false"], []),
        (["--as-group", "a", "--as-group=b"], ["--as-group=a", "--as-group=b"]),
        (["root", "-", "--yes"], ["root", "-", "--yes"]),
        (["--yes", "--", "--dry-run", "-n"], ["--yes", "--", "--dry-run", "-n"]),
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_words_are_read_as_pflag_reads_them(words: Sequence[str], said: list[str]) -> None:
    assert canonical(*words) == said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nmaespace", "x"], "unknown flag: --nmaespace"),
        (["--nothing=x"], "unknown flag: --nothing"),
        (["-x"], "unknown shorthand flag: -x"),
        (["-Ax"], "unknown shorthand flag: -x"),
        (["--namespace"], "flag needs an argument: --namespace"),
        (["-An"], "flag needs an argument: -n"),
        (["--yes=perhaps"], "--yes is true or false, not 'perhaps'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_cannot_be_read_is_said_in_kubectls_words(words: Sequence[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        canonical(*words)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("typed", "near"),
    [("--nmaespace", "--namespace"), ("--dryrun", "--dry-run"), ("--zzz", ""), ("-x", "")],
)
def test_the_flag_that_was_probably_meant(typed: str, near: str) -> None:
    with pytest.raises(pflag.UnknownWord) as caught:
        canonical(typed)
    assert caught.value.near == near


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("pause root", "pause root"),
        ("-n pause pause root", "pause -n pause root"),
        ("-npause pause root", "pause -npause root"),
        ("--context=prod -A pause root", "pause --context=prod -A root"),
        ("--dry-run pause root", "pause --dry-run root"),
        ("--help pause", "pause --help"),
        ("help", "--help"),
        ("help pause root", "pause --help"),
        ("help -n x pause", "pause --help"),
        ("-- pause root", "-- pause root"),
        ("-n", "-n"),
        ("", ""),
    ],
)
def test_the_verb_comes_first_wherever_its_flags_stand(words: str, first: str) -> None:
    options = pflag.options_of(root.root, click.Context(root.root))
    assert root.verb_first(words.split(), options) == first.split()
