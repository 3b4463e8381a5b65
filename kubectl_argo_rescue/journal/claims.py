"""Who is undoing an entry: the claim in its ConfigMap, and when a claim has lapsed."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

CLAIM: Final = "claim"
CLAIM_SECONDS: Final = 15 * 60
"""After this a claim counts as left behind by a command that died."""
RENEW_SECONDS: Final = 5 * 60
"""How old a claim gets before the undo that holds it, and waits for git, writes it anew."""


def claimed_by(claim: str) -> str:
    """Say who holds a claim, and until when."""
    try:
        who = json.loads(claim)
        lapses = datetime.fromisoformat(who["at"]) + timedelta(seconds=CLAIM_SECONDS)
        name = " ".join(str(who["who"]).split())
        return f"{name} since {who['at']}, a claim that lapses at {lapses:%H:%M:%S %Z}"
    except (ValueError, TypeError, KeyError, OverflowError):
        return "somebody"


def own_process() -> str:
    """Name this process among all machines, empty where that cannot be done.

    Its id alone would mean another one in a container, the host's name is often that of many machines.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        where = os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return ""
    return f"{socket.gethostname()} {boot} {where} {os.getpid()}" if boot else ""


def _has_ended(process: str) -> bool:
    """Whether a process of this very machine is gone: one elsewhere may live."""
    where, _, pid = process.rpartition(" ")
    if not where or where != own_process().rpartition(" ")[0] or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def is_stale(claim: str, now: datetime) -> bool:
    """Whether a claim was left behind: it is old, or whoever held it on this machine has ended."""
    try:
        held = json.loads(claim)
        at = datetime.fromisoformat(held["at"])
        return abs((now - at).total_seconds()) > CLAIM_SECONDS or _has_ended(str(held.get("by", "")))
    except (ValueError, TypeError, KeyError):
        return True
