"""Which modules each verb loads: `python -m tests.unit.project.loading` writes modules.txt anew.

The incident is played, all of the package is forgotten, and a fork for each verb runs it on the in-memory
API as if nothing had been loaded before. What is loaded when the first request goes out is what a person
waits for; what comes later is loaded because an answer asks for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("modules.txt")

VERBS: Mapping[str, tuple[str, ...]] = {
    "status": ("status",),
    "status APP": ("status", "web"),
    "windows APP": ("windows", "web"),
    "pause APP": ("pause", "root"),
    "unblock APP": ("unblock", "traefik", "--only"),
    "pin APP VERSION": ("pin", "web", "1.0.1", "--only"),
    "rescue APP VERSION": ("rescue", "traefik", "2.4.1", "--yes"),
    "sync APP": ("sync", "web"),
    "rollback APP": ("rollback", "traefik", "--yes"),
    "terminate APP": ("terminate", "web"),
    "watch APP": ("watch", "web"),
    "undo": ("undo",),
    "log": ("log",),
    "report": ("report",),
}

PROBE = """
import json, os, sys

from kubectl_argo_rescue.simulation.incident import traefik_incident

incident = traefik_incident()
incident.api.idle = lambda: incident.argocd.tick(0.5)
for name in [n for n in sys.modules if n.partition(".")[0] == "kubectl_argo_rescue"]:
    del sys.modules[name]
known = set(sys.modules)

from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.cluster.connect import Runtime
from kubectl_argo_rescue.cluster.transport import Response

moments = []


class Api:
    def __getattr__(self, name):
        return getattr(incident.api, name)

    def request(self, *args, **kwargs):
        if not moments:
            moments.append(set(sys.modules) - known)
        return Response(*incident.api.request(*args, **kwargs))  # of the class that is loaded now


def open_cluster(connection, *, log=None, on_warning=None):
    from kubectl_argo_rescue.cluster.client import Cluster

    clock = incident.api.clock
    return Cluster(
        Api(), log=log, on_warning=on_warning, sleep=clock.advance, clock=lambda: clock().timestamp(),
        jitter=lambda: 0.0,
    )


def tell(argv, told):
    try:
        root.run(argv, Runtime(open_cluster, incident.api.clock, os.environ, argv))
    except SystemExit:
        pass
    moments.append(set(sys.modules) - known - moments[0])
    os.write(told, json.dumps([sorted(m) for m in moments]).encode())


for argv in json.loads(sys.argv[1]):
    reads, told = os.pipe()
    if not os.fork():
        os.environ["XDG_STATE_HOME"] += "/" + argv[0] + str(len(argv))
        tell(argv, told)
        os._exit(0)
    os.close(told)
    with open(reads) as answer:
        print(answer.read(), flush=True)
    os.wait()
"""


BARE = """
import json, sys

from kubectl_argo_rescue.cli import root
from kubectl_argo_rescue.cluster.connect import Runtime


class Api:
    def request(self, *_args, **_kwargs):
        raise SystemExit

    def target(self):
        raise SystemExit


def open_cluster(connection, *, log=None, on_warning=None):
    from kubectl_argo_rescue.cluster.client import Cluster

    return Cluster(Api())


argv = sys.argv[1:]
try:
    root.run(argv, Runtime(open_cluster, argv=argv))
except SystemExit:
    print(json.dumps(list(sys.modules)))
"""


def before_the_first_request(argv: Iterable[str]) -> set[str]:
    """Return all modules, of whomever, that a verb has loaded by then."""
    ran = subprocess.run(
        [sys.executable, "-c", BARE, *argv], capture_output=True, text=True, timeout=180, check=True
    )
    return set(json.loads(ran.stdout))


class Loaded(NamedTuple):
    """The package's own modules of one verb."""

    first: frozenset[str]
    """Loaded when the first request is sent."""
    later: frozenset[str]
    """Loaded from then on."""


def loaded(home: Path) -> dict[str, Loaded]:
    """Run each verb and say what it loads."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps([*VERBS.values()])],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(home), "NO_COLOR": "", "TERM": "dumb"},
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0 and "internal error" not in ran.stderr, ran.stderr
    answers = [line for line in ran.stdout.splitlines() if line.startswith("[[")]
    return dict(zip(VERBS, map(_loaded, answers), strict=True))


def _loaded(answer: str) -> Loaded:
    first, later = (
        frozenset(m.removeprefix("kubectl_argo_rescue.") for m in moment if m.count(".") > 1)
        for moment in json.loads(answer)
    )
    return Loaded(first, later)


def text(found: Mapping[str, Loaded]) -> str:
    """Write it down: what all have in common once, then the rest of each verb."""
    common = frozenset.intersection(*(loaded.first for loaded in found.values()))
    parts = [
        "Modules of the package that each verb loads: before its first request; then, for what is answered."
    ]
    parts.append(_paragraph("every verb", common))
    for verb, loaded in found.items():
        parts.append(_paragraph(verb, loaded.first - common))
        parts.append(_paragraph(f"{verb}, then", loaded.later))
    return "\n\n".join(part for part in parts if part) + "\n"


def _paragraph(head: str, modules: frozenset[str]) -> str:
    words = f"{head}: {' '.join(sorted(modules))}"
    return textwrap.fill(words, 110, subsequent_indent="  ", break_on_hyphens=False) if modules else ""


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        FILE.write_text(text(loaded(Path(folder))))
