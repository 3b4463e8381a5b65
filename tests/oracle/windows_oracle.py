"""Argo CD's own answers about sync windows, from a Go program built against its module."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias

from tests.testbed import programs

JSON: TypeAlias = Any

_SOURCE = Path(__file__).parent / "windows" / "main.go"
_TYPES = "pkg/apis/application/v1alpha1"
_CLOCK = 'package v1alpha1\n\nimport "time"\n\n// Clock stands in for time.Now.\nvar Clock = time.Now\n'


@cache
def build(argo: str) -> Path:
    """Build the program against one of the bed's Argo CD versions; nothing to do if it is there.

    Argo CD asks time.Now in the middle of its decision, so its package is copied next to our main
    package with that one call replaced; the copy lives in the build's folder only.
    """
    known = programs.ARGO[argo]
    types = programs.Module(
        "argo-cd-types", known.path, known.version, {}, go=known.go, files={"types": f"{_TYPES}/*.go"}
    )
    with tempfile.TemporaryDirectory(prefix="argo-rescue-oracle-") as temporary:
        source = Path(temporary) / "windows"
        (source / "clocked").mkdir(parents=True)
        # The major version is a part of a Go module's path.
        (source / "main.go").write_text(_SOURCE.read_text().replace(programs.ARGO["3.6"].path, known.path))
        (source / "clocked" / "clock.go").write_text(_CLOCK)
        for file in programs.files(types, "types"):
            if not file.name.endswith("_test.go"):
                text = re.sub(r"\btime\.Now\(\)", "Clock()", file.read_text())
                (source / "clocked" / file.name).write_text(text)
        return programs.go_program("windows", source, argo=argo)


class Oracle:
    """A running program; `ask` many questions at once, since an answer takes microseconds."""

    def __init__(self, argo: str) -> None:
        self.argo = argo
        self._process = subprocess.Popen(
            [build(argo)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TZ": "UTC"},  # as in Argo CD's pod, wherever this machine stands
        )

    def ask(self, questions: Iterable[JSON]) -> Sequence[JSON]:
        """Return the answers in the order of the questions."""
        asked = list(questions)
        sender = threading.Thread(target=self._send, args=(asked,))
        sender.start()
        lines = [self._out.readline() for _ in asked]
        sender.join()
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """End the program."""
        self._in.close()
        self._process.wait()
        self._out.close()

    @property
    def _in(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout
        return self._process.stdout

    def _send(self, questions: Sequence[JSON]) -> None:
        for question in questions:
            self._in.write(json.dumps(question).encode() + b"\n")
        self._in.flush()
