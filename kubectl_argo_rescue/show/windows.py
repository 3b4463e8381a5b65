"""Sync windows in words and JSON: verdicts, who blocks, until when. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ..argocd import windows
from ..argocd.reconciliation import WindowVerdict
from ..argocd.windows import Window
from ..model.text import time_json
from ..model.values import JSON


def short(window: Window) -> str:
    """Name a window in a table: `cluster #0: deny 0 16 * * 5 for 64h`."""
    return f"{window.project} #{window.index}: {window.kind} {window.schedule} for {window.duration}"


def window_json(window: Window) -> dict[str, JSON]:
    """Return a window as plain JSON values, with where it is."""
    return {
        "project": window.project,
        "index": window.index,
        "kind": window.kind,
        "schedule": window.schedule,
        "duration": window.duration,
        "timeZone": window.time_zone or "UTC",
        "applications": list(window.applications),
        "namespaces": list(window.namespaces),
        "clusters": list(window.clusters),
        "manualSync": window.manual_sync,
        "andOperator": window.and_operator,
        "syncOverrun": window.sync_overrun,
        "description": window.description,
    }


def verdict_json(verdict: WindowVerdict) -> dict[str, JSON]:
    """Return the verdict as plain JSON values; `canSync` is null where nothing can be said.

    Where `until` is null, `noChangeBefore` is the time up to which one looked in vain, if it is not
    as far as one ever looks.
    """
    yes_or_no = {"automatic": verdict.automatic.can_sync, "manual": verdict.manual.can_sync}
    return {
        "canSync": dict.fromkeys(yes_or_no) if verdict.unknown else yes_or_no,
        "error": verdict.error,
        "blocking": [{**window_json(w), "blocks": list(verdict.blocks(w))} for w in verdict.blocking],
        "until": {
            "automatic": time_json(verdict.until_automatic.at),
            "manual": time_json(verdict.until_manual.at),
        },
        "noChangeBefore": {
            "automatic": time_json(verdict.until_automatic.not_before),
            "manual": time_json(verdict.until_manual.not_before),
        },
        "project": verdict.project,
        "served": verdict.is_served,
    }


class WindowLine(Struct, frozen=True):
    """One window as one Application sees it."""

    window: Window
    hits: tuple[windows.Hit, ...]
    matches: bool
    active: bool
    """Whether it is open (allow) or shut (deny) now."""
    error: str
    blocks: tuple[str, ...]
    """automatic, manual."""


def lines_of(verdict: WindowVerdict, app: JSON, now: datetime) -> list[WindowLine]:
    """Tell every window of the app's project and of the global projects, in order."""
    found: list[WindowLine] = []
    for window in verdict.windows:
        error = windows.parse_error(window)
        is_active = not error and windows.is_active(window, now)
        hits = windows.names_app(window, app)
        found.append(
            WindowLine(window, hits, windows.matches(window, app), is_active, error, verdict.blocks(window))
        )
    return found


def line_json(line: WindowLine) -> dict[str, JSON]:
    """Return one window as one app sees it, as plain JSON values."""
    return {
        **window_json(line.window),
        "matches": line.matches,
        "matchedBy": [{"list": h.list, "pattern": h.pattern, "literal": h.literal} for h in line.hits],
        "active": line.active,
        "error": line.error,
        "blocks": list(line.blocks),
    }
