"""The journal's home on this machine: a file per entry, append only, durable when written."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..model.errors import Code, RescueError
from .encoding import EXPIRES_MARK, Dropped, Untrusted, from_line, not_understood
from .entry import Entry, fold
from .records import Record


def state_home(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Return the folder of all local journals: $XDG_STATE_HOME, else the platform's place.

    A relative XDG_STATE_HOME is ignored, as its specification says. Raises RescueError without any.
    """
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "kubectl-argo-rescue"
    if sys.platform == "win32" and environ.get("LOCALAPPDATA"):
        return Path(environ["LOCALAPPDATA"]) / "kubectl-argo-rescue"
    return _user_home(environ) / ".local" / "state" / "kubectl-argo-rescue"


def _user_home(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Return the user's own folder; a HOME that is empty would mean the root of the disk.

    Raises RescueError where there is none: what is relative would be another place for each command.
    """
    home = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME", "")
    if not home and sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):
            home = pwd.getpwuid(os.getuid()).pw_dir
    if not os.path.isabs(home):
        is_set = f"HOME is {home!r}, no absolute path" if home else "there is no HOME"
        raise RescueError(
            f"the journal has no place on this machine: {is_set}",
            "set XDG_STATE_HOME to a folder of yours that stays, such as one in /var/tmp; nothing was changed",
            code=Code.JOURNAL,
        )
    return Path(home)


SAVED_SUFFIX = ".saved"
"""Of the file beside an entry's own, with the whole objects that it saved."""


class LocalHome:
    """The files of one cluster: a file per entry, append only."""

    name = "local"

    def __init__(self, folders: Sequence[Path], unsure: Sequence[Path] = ()) -> None:
        """Read from all `folders`, write to the first; a cluster may be known by two uids.

        `unsure` are those of them that another cluster may share.
        """
        self.folders = tuple(folders)
        self._unsure = tuple(unsure)
        self.unproven: set[str] = set()
        """Entries that may be of another cluster."""
        self.dropped: list[Dropped] = []
        self.cut_off: set[str] = set()
        """Entries of which the last write did not come to its end."""

    def append(self, entry: str, lines: Sequence[str]) -> None:
        """Append records to the entry's file and make them durable. Raises OSError."""
        folder = self.folders[0]
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for parent in (folder, folder.parent):
                os.chmod(parent, 0o700)
        _tighten(folder, 0o700)
        path = folder / f"{entry}.jsonl"
        fresh = not path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if not fresh:
                _tighten(path, 0o600)
            data = "".join(f"{line}\n" for line in lines)
            if not fresh and not _ends_with_newline(path):
                # A torn line of a command that died must not swallow ours.
                data = "\n" + data
            view = memoryview(data.encode())
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        if fresh:
            _sync_folder(folder)

    def try_out(self) -> None:
        """Write a file where entries go, and take it away again. Raises OSError."""
        folder = self.folders[0]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f".{os.urandom(6).hex()}"
        fd = os.open(path, os.O_WRONLY | os.O_EXCL | os.O_CREAT, 0o600)
        try:
            os.write(fd, b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
            path.unlink()

    def read(self) -> dict[str, list[Record]]:
        """Read every entry; malformed lines are left out and counted in `self.dropped`."""
        found: dict[str, list[Record]] = {}
        self.dropped = []
        self.cut_off = set()
        self.unproven = set()
        for folder in self.folders:
            try:
                paths = sorted(folder.glob("*.jsonl"))
            except OSError:
                continue
            for path in paths:
                self._read_file(path, found)
            if folder in self._unsure:
                self.unproven |= {path.stem for path in paths}
        return found

    def _read_file(self, path: Path, found: dict[str, list[Record]]) -> None:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as e:
            self.dropped.append(Dropped(path.stem, path.name, "", str(e.strerror or e)))
            return
        lines = text.split("\n")
        if lines[-1]:
            self.cut_off.add(path.stem)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = from_line(line)
            except Untrusted as e:
                if number < len(lines):  # the last, without its newline, is only torn
                    self.dropped.append(not_understood(path.stem, path.name, f"line {number}", e))
                continue
            found.setdefault(record.entry, []).append(record)

    def has(self, entry: str) -> bool:
        """Whether a file of that entry is here; False as well where the folder cannot be looked into."""
        return any(os.path.exists(folder / f"{entry}.jsonl") for folder in self.folders)

    def expiring(self) -> list[Entry]:
        """Read only the entries that have a deadline, told by their first line."""
        found: list[Entry] = []
        for folder in self.folders:
            for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
                try:
                    with path.open("r", encoding="utf-8", errors="replace") as f:
                        if EXPIRES_MARK not in f.readline(8192):
                            continue
                except OSError:
                    continue
                records_of: dict[str, list[Record]] = {}
                self._read_file(path, records_of)
                found += [e for lines in records_of.values() if (e := fold(lines, ["local"]))]
        return found

    def remove(self, entry: str) -> None:
        """Delete an entry's file, where it is here and may be deleted."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                for suffix in (".jsonl", SAVED_SUFFIX):
                    (folder / f"{entry}{suffix}").unlink(missing_ok=True)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as f:
        if f.seek(0, os.SEEK_END) == 0:
            return True
        f.seek(-1, os.SEEK_END)
        return f.read(1) == b"\n"


def _tighten(path: Path, mode: int) -> None:
    """Keep others from reading what is there already; best effort, since it may be somebody else's."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            if path.stat().st_mode & 0o077:
                path.chmod(mode)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
