"""Which folder of this machine's journal is whose, for reading while a cluster does not answer.

Journals are named by uids, since names of contexts lie; a uid is only known by asking. So each
session that writes leaves a line with the names it went by. Nothing is ever undone by that.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from .journal import Journal, JournalReading
from .local import LocalHome

INDEX = "clusters.json"


class KnownCluster(Struct, frozen=True):
    """A cluster by the names that one session reached it by."""

    server: str
    context: str
    folders: tuple[str, ...]
    """Of its journals: the uids that it goes by."""


def known(home: Path) -> list[KnownCluster]:
    """Read the index of a state home; what is no index is an empty one."""
    try:
        lines: Any = json.loads((home / INDEX).read_text("utf-8"))
        return [
            KnownCluster(str(k["server"]), str(k["context"]), tuple(map(_name, k["folders"]))) for k in lines
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _name(folder: object) -> str:
    name = str(folder)
    if "/" in name or os.sep in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no folder of a journal")
    return name


def remember(home: Path, cluster: KnownCluster) -> None:
    """Keep the names of a cluster; best effort, since it is no more than a convenience later."""
    there = known(home)
    if cluster in there:
        return
    kept = [k for k in there if (k.server, k.context) != (cluster.server, cluster.context)]
    fresh = home / f".{INDEX}.{os.urandom(4).hex()}"
    with contextlib.suppress(OSError):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as f:
                json.dump([asdict(k) for k in (*kept, cluster)], f, indent=1)
            os.replace(fresh, home / INDEX)
        finally:
            fresh.unlink(missing_ok=True)


def recall(home: Path, server: str, context: str) -> list[KnownCluster]:
    """Return what is known of a server, by that context where it was reached by several."""
    by_server = [k for k in known(home) if k.server == server]
    return [k for k in by_server if k.context == context] or by_server


def read(home: Path, clusters: Sequence[KnownCluster]) -> JournalReading:
    """Read this machine's record of what may be one cluster; what else keeps an entry is not known."""
    folders = dict.fromkeys(folder for cluster in clusters for folder in cluster.folders)
    found = Journal(LocalHome([home / folder for folder in folders]), None).read()
    return replace(found, entries=tuple(replace(e, homes=frozenset()) for e in found.entries))
