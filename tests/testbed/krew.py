"""What krew is pointed at: an index, which is a git repository, and archives behind an address on loopback."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def git_repository(folder: Path, files: Mapping[str, str]) -> Path:
    """Make or change a repository: write files, commit them."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    commands = [["init", "-q", "-b", "main"]] if is_new else []
    commands += [["add", "-A"], [*identity, "commit", "-q", "-m", "index"]]
    for words in commands:
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder; yields the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
