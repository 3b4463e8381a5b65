"""Words that every part of the program says alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import NamedTuple, TypeAlias

from .values import JSON, WRITTEN, ArgoCD, Key, Ref

# Compiled when first used: most commands need the first alone.
_CONTROL = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_ESCAPE_SEQUENCE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)"
_COLOUR = "(\x1b\\[(?:0|1|2|31|32|33|36|33;1)m)"
"""The colours that we have; nobody else's may hide a text."""


def brief(text: str, limit: int = 300) -> str:
    """Make what a server or a program said fit for a message: one line, no control characters."""
    text = " ".join(re.sub(_CONTROL, " ", re.sub(_ESCAPE_SEQUENCE, " ", text)).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cause(text: str, limit: int = 1000) -> str:
    """Put an error of Argo CD's on one line: what was tried stands at its start, the cause at its end."""
    text = one_line(text)
    return text if len(text) <= limit else f"{text[: limit // 3]} … {text[-limit * 2 // 3 :]}"


def plain(text: str) -> str:
    """Neutralise what a terminal would obey: control characters, also the invisible ones of Unicode.

    It stays one line with the columns that it has: a newline or tab becomes a space.
    """
    return re.sub(_CONTROL, "\N{REPLACEMENT CHARACTER}", re.sub("\r?\n|\t", " ", text))


def plain_but_colours(text: str) -> str:
    """Neutralise a text of ours but for its colours."""
    return "".join(piece if i % 2 else plain(piece) for i, piece in enumerate(re.split(_COLOUR, text)))


def escaped(json: str) -> str:
    """Write the same characters of a JSON text as JSON escapes them."""
    return re.sub(_CONTROL, _escape, json)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def with_short_hashes(text: str) -> str:
    """Name commits by their first seven digits, as people and git's own log do."""
    return re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", text)


_COMMAND = r"kubectl (?:argo-rescue|get|port-forward|describe) [^;,()]+"


Span: TypeAlias = tuple[str, str]
"""Text and its colour, empty for none."""


class Paragraph(NamedTuple):
    """Pieces of one text that is broken where the screen ends; further lines begin at `hang`."""

    spans: Sequence[Span]
    hang: int = 0


def folded(paragraph: Paragraph, width: int) -> list[list[Span]]:
    """Break a paragraph before the words that do not fit; a command stays whole where it can be."""
    lines: list[list[Span]] = [[]]
    used, lead = 0, " " * paragraph.hang
    for text, colour in paragraph.spans:
        for word in re.findall(" *[^ ]+| +", re.sub(_COMMAND, _kept_whole, text)):
            is_short = used + _seen(word) <= width or _seen(word.strip()) <= width - len(lead)
            for piece in [word] if is_short else re.findall("[ \xa0]*[^ \xa0]+", word):
                if used + _seen(piece) > width and any(told.strip() for told, _ in lines[-1]):
                    lines.append([(lead, "")])
                    used, piece = len(lead), piece.lstrip(" \xa0")
                if lines[-1] and lines[-1][-1][1] == colour:
                    piece = lines[-1].pop()[0] + piece
                lines[-1].append((piece, colour))
                used = sum(_seen(told) for told, _ in lines[-1])
    return [[(text.replace("\xa0", " "), colour) for text, colour in line] for line in lines]


def _kept_whole(command: re.Match[str]) -> str:
    text = command[0].rstrip()
    return text.replace(" ", "\xa0") + command[0][len(text) :]


def wrapped(text: str, width: int, hang: int = 0) -> list[str]:
    """Break a line as a paragraph is broken; its colours take no room."""
    return ["".join(told for told, _ in line) for line in folded(Paragraph(((text, ""),), hang), width)]


def _seen(text: str) -> int:
    return len(re.sub(_COLOUR, "", text))


def one_line(text: str) -> str:
    """Keep a text from other people on the line where it belongs."""
    return " ".join(text.split())


def time_text(at: datetime) -> str:
    """Write a time for people, in UTC."""
    return f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def time_json(at: datetime | None) -> JSON:
    """Write a time for tools; null where there is none."""
    return at.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z") if at else None


ROLLED_BACK = "rolled back"
"""What is printed for a workload that was taken back."""

CREATED = "created"
"""What is printed for an object that was made anew, as kubectl does."""

DELETED = "deleted"
"""What is printed for an object that was deleted, as kubectl does."""

COMMAND = "kubectl argo-rescue"


def display_name(key: Key, argocd: ArgoCD) -> str:
    """Name an object as the user would type it: with its namespace only where it is not Argo CD's."""
    return key.name if key.namespace in ("", argocd.namespace) else f"{key.namespace}/{key.name}"


def resource_name(ref: Ref) -> str:
    """`application.argoproj.io/traefik`, as `kubectl -o name` says it."""
    resource = WRITTEN.get(ref.kind)
    return f"{resource.singular if resource else ref.kind.lower()}/{ref.name}"


def some(names: Sequence[str], most: int = 8) -> str:
    """Name some of many, and say how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def columns(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> list[str]:
    """Lay rows out as kubectl does: upper-case header, three spaces between columns."""
    table = (
        [list(header), *[[plain(c) for c in r] for r in rows]]
        if header
        else [[plain(c) for c in r] for r in rows]
    )
    if not table:
        return []
    widths = [max(len(r[i]) for r in table if i < len(r)) for i in range(max(len(r) for r in table))]
    return ["   ".join(c.ljust(widths[i]) for i, c in enumerate(r)).rstrip() for r in table]
