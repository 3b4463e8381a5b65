"""What several clusters say, as rows of one table. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from ..model.text import one_line
from ..model.values import JSON, Result

Row: TypeAlias = tuple[str, ...]

_COLUMNS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "status": (("APP", 20), ("SYNC", 10), ("HEALTH", 12), ("AUTO-SYNC", 9), ("WORST", 0)),
    "log": (("ENTRY", 6), ("STATE", 14), ("WHO", 16), ("COMMAND", 0)),
    "windows": (("APP", 20), ("AUTOMATIC", 9), ("MANUAL", 6), ("STOPPED BY", 0)),
}
"""Rows come one by one, so their widths are known before; what is longer pushes the rest."""


def header(verb: str, width: int) -> str:
    """Return the first line."""
    return _line(width, "CONTEXT", [name for name, _ in _COLUMNS[verb]], verb)


def laid_out(verb: str, width: int, context: str, rows: Sequence[Row] | None) -> Iterator[str]:
    """Lay out what one cluster says; None where it did not answer."""
    if rows is None:
        yield _line(width, context, ("(no answer)",), verb)
    elif not rows:
        yield _line(width, context, ("(nothing)",), verb)
    for row in rows or ():
        yield _line(width, context, row, verb)


def _line(width: int, context: str, row: Sequence[str], verb: str) -> str:
    cells = [cell.ljust(size) for cell, (_, size) in zip(row, _COLUMNS[verb], strict=False)]
    return "   ".join([context.ljust(width), *cells]).rstrip()


def status_rows(result: Result) -> list[Row]:
    """Return the trouble of a cluster, worst first, after a line for Argo CD itself."""
    data = result.data
    apps: Mapping[str, JSON] = data["apps"]
    counts = Counter(f"{a['sync']}, {a['health']}" for a in apps.values() if _is_off(a))
    argocd = data["argocd"]
    said = f"{argocd['version'] or 'unknown version'}: {argocd['text']}"
    entries = f"; {len(data['entries'])} open entries" if data["entries"] else ""
    rows: list[Row] = [(f"{len(apps)} in all", f"{sum(counts.values())} off", "", "", f"{said}{entries}")]
    for name, app in apps.items():
        if _is_off(app) or app["findings"] or app["paused"]:
            worst = app["findings"][0]["text"] if app["findings"] else (app["paused"] or {}).get("text", "")
            on = "on" if app["autoSync"] else "off"
            rows.append((name, app["sync"], app["health"], on, one_line(worst)[:100]))
    return rows


def _is_off(app: JSON) -> bool:
    return app["sync"] != "Synced" or app["health"] not in ("Healthy", "Suspended")


def log_rows(result: Result) -> list[Row]:
    """Return the entries of a cluster."""
    return [
        (e["id"], e["state"], one_line(e["actor"]) or "(unknown)", one_line(" ".join(e["argv"])))
        for e in result.data["entries"]
    ]


def window_rows(result: Result) -> list[Row]:
    """Return the verdicts of a cluster."""
    return [
        (name, *_verdict(app), ", ".join(f"{w['project']} #{w['index']}" for w in app["blocking"]))
        for name, app in result.data["apps"].items()
    ]


def _verdict(app: JSON) -> tuple[str, str]:
    words = {True: "yes", False: "NO", None: "?"}
    return words[app["canSync"]["automatic"]], words[app["canSync"]["manual"]]
