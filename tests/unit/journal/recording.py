"""Records what commands leave in a cluster and on a machine, and goes on from a recording.

    .venv/bin/python -m tests.unit.journal.recording tests/unit/journal/recorded.json

records what the package beside it does. The recording that is kept is of the version before: the file
went with this module into its tree (where the package had no rooms yet, and the same harness).
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.incident import GOOD
from tests.unit.harness import Run
from tests.unit.scenes import RESYNC, Scene, played

KINDS = ("Application", "AppProject", "ApplicationSet", "ConfigMap", "Deployment", "ReplicaSet")


class Told(NamedTuple):
    """What led to the entries of a recording."""

    moment: str
    """The scene that it begins with."""
    commands: tuple[str, ...]
    dies_at: int = 0
    """The patch of the last command after which its process was dead; 0 for none."""


TOLD = {
    "rescue": Told("incident", ("rescue traefik --reason INC-4711",)),
    "pause of all": Told("incident", ("pause --all",)),
    "pin of a source": Told("sources", ("pin shop 1.4.1 --source 0",)),
    "unblock": Told("incident", ("unblock traefik",)),
    "rollback": Told("free", ("rollback traefik",)),
    "rescue of workloads": Told("incident", ("rescue traefik --workloads",)),
    "undo": Told("incident", ("pause web", "undo")),
    "cut off": Told("incident", ("rescue traefik",), 2),
    "rule on a set": Told("set", ("pin shop-prod 1.4.2",)),
}


class Killed(BaseException):
    """The process is dead."""


def begun(name: str, run: Run) -> Scene:
    """The scene that a recording begins with."""
    scene = played(TOLD[name].moment, run)
    shop = scene.incident.charts.charts.get("shop", {})
    if TOLD[name].moment == "sources":
        scene.incident.charts.publish("shop", "1.4.1", shop["1.4.2"])
    return scene


def objects(scene: Scene) -> dict[str, Any]:
    """All live objects that an incident is about, by kind, namespace and name."""
    api = scene.incident.api
    return {
        f"{resource.kind} {obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}": obj
        for resource in api.resources()
        if resource.kind in KINDS
        for obj in api.objects(resource)
    }


def record(name: str, run: Run) -> dict[str, Any]:
    """Run the commands; what they left in the cluster and on this machine, and how it goes on."""
    scene = begun(name, run)
    at_first = objects(scene)
    for command in TOLD[name].commands[:-1]:
        ran = run(scene.incident.api, *command.split(), "--yes")
        assert ran.code == 0, ran
        scene.incident.clock.advance(1)
    files = _last(name, scene, run)
    left = objects(scene)
    recording = {
        "now": scene.incident.clock.now.isoformat(),
        "objects": {key: obj for key, obj in left.items() if obj != at_first.get(key)},
        "gone": sorted(at_first.keys() - left.keys()),
        "files": files,
    }
    later = Run(pytest.MonkeyPatch(), run.homes / "later")
    return {**recording, "then": then(name, recording, later)}


def _last(name: str, scene: Scene, run: Run) -> dict[str, str]:
    """Run the last command, to its end or to its death; the files of its machine."""
    api, patches = scene.incident.api, 0
    files: dict[str, str] = {}

    def die(asked: Any, answer: Any = None) -> None:
        nonlocal patches
        patches += asked.method == "PATCH" and "/configmaps/" not in asked.path and answer is not None
        if patches == TOLD[name].dies_at:
            files.update(files or _files(run))
            raise Killed

    words = TOLD[name].commands[-1].split()
    if not TOLD[name].dies_at:
        ran = run(api, *words, "--yes")
        assert ran.code == 0, ran
        return _files(run)
    api.before.append(die)
    api.after.append(die)
    with pytest.raises(Killed):
        run(api, *words, "--yes")
    api.before.remove(die)
    api.after.remove(die)
    return files


def _files(run: Run) -> dict[str, str]:
    home = run.state_home()
    return {
        str(path.relative_to(home)): path.read_text() for path in sorted(home.rglob("*")) if path.is_file()
    }


def put_back(name: str, recording: dict[str, Any], run: Run) -> Scene:
    """A cluster and a machine as a recording left them."""
    scene = begun(name, run)
    api = scene.incident.api
    resources = {resource.kind: resource for resource in api.resources()}
    scene.incident.clock.now = datetime.fromisoformat(recording["now"])
    for key in recording["gone"]:
        api.remove(*_place(resources, key))
    for key, obj in recording["objects"].items():
        resource, namespace, object_name = _place(resources, key)
        if api.find(resource, namespace, object_name) is None:
            api.create(obj)
        else:
            api.edit(resource, namespace, object_name, partial(_instead, obj))
    for path, text in recording["files"].items():
        file = run.state_home() / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600)
    scene.incident.argocd.step()  # its controllers have seen long ago what is put back here at once
    return scene


def _instead(recorded: Any, _live: Any) -> Any:
    return recorded


def _place(resources: dict[str, Any], key: str) -> tuple[Any, str, str]:
    kind, _, where = key.partition(" ")
    namespace, _, name = where.partition("/")
    return resources[kind], namespace, name


def then(name: str, recording: dict[str, Any], run: Run) -> dict[str, Any]:
    """What the entries say and owe, and what undoing the newest comes to: at once, and with git fixed."""
    scene = put_back(name, recording, run)
    api = scene.incident.api
    newest, *older = (word.rpartition("/")[2] for word in run(api, "log", "-o", "name").out.split())
    told: dict[str, Any] = {"entries": {entry: _said(api, run, entry) for entry in (newest, *older)}}
    told["undo"] = run(api, "undo", newest, "--yes").code
    told["after it"] = _said(api, run, newest)
    scene.incident.push(GOOD)
    scene.incident.argocd.run(RESYNC, every=5)
    told["undo with git fixed"] = run(api, "undo", newest, "--yes", "--redeploy").code
    told["after that"] = _said(api, run, newest)
    live = objects(scene)
    told["live"] = {key: live[key]["spec"] for key in recording["objects"] if "spec" in live[key]}
    return told


def _said(api: InMemoryApi, run: Run, entry: str) -> dict[str, Any]:
    """What `show` says of an entry, without what a later version may say more."""
    ran = run(api, "show", entry, "-o", "json")
    assert (ran.code, run(api, "show", entry).code) == (0, 0), ran
    said = ran.json["data"]["entry"]
    edits = [
        [edit["kind"], edit["name"], edit["role"], edit["outcome"], *(_told(c) for c in edit["changes"])]
        for edit in said["edits"]
    ]
    return {"state": said["state"], "result": said["result"], "edits": edits}


def _told(change: dict[str, Any]) -> dict[str, Any]:
    settled = change.get("settled")
    return {"path": change["path"], "now": change["now"], "settled": settled and settled["how"]}


def recorded(homes: Path) -> dict[str, Any]:
    """Every recording."""
    return {name: record(name, Run(pytest.MonkeyPatch(), homes / name)) for name in TOLD}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{json.dumps(n)}: {json.dumps(r)}" for n, r in recorded(Path(folder)).items()]
        Path(sys.argv[1]).write_text("{" + ",\n".join(lines) + "}\n")
