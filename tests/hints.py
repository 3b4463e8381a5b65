"""The commands that an output proposes, as somebody reads them off the screen."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator

from kubectl_argo_rescue.cli.root import VERBS

MENDED = "merge what runs, then undo"
"""Stands for "merge the change in git and undo then"."""

READS = ("status", "watch", "show", "log", "report", "windows")
"""Verbs that write nothing and ask for no yes."""

_HINT = re.compile(r"kubectl argo-rescue ([^\n]*)")
_MERGE = re.compile(r"merge the change in git|fix git and run")
_ARGUMENT = re.compile(r"--[a-z-]+(=\S+)?|[0-9a-f]{6}|\d+(\.\d+)*")


def proposed(text: str, names: Collection[str]) -> Iterator[str]:
    """Yield each command, without `kubectl argo-rescue`; `MENDED` where git is to be mended first.

    `names` are those of objects: another word after a verb is the rest of a sentence.
    """
    for match in _HINT.finditer(text):
        words = [word.strip("`),;:.") for word in match[1].split()]
        if words and words[0] in VERBS:
            rest = itertools.takewhile(lambda w: w in names or _ARGUMENT.fullmatch(w), words[1:])
            yield " ".join([words[0], *rest])
    if _MERGE.search(text):
        yield MENDED
