"""What is about all Applications keeps within 150 MB over thousands of 18 kB each, also for tools.

The API server is a stub that renders one page or object at a time and keeps ConfigMaps on disk, so
that the child's memory is the plugin's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 150
SAMPLE_LIMIT = 100

CHILD = r'''
import json, random, re, resource, sys
from pathlib import Path
from kubectl_argo_rescue.cli import root as cli
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.transport import Response, Target
from kubectl_argo_rescue.cluster.connect import Runtime

TOTAL = int(sys.argv[1])
KEPT = Path(sys.argv[2])
PROJECTS = 400
DYING = json.loads((KEPT / "dying").read_text()) if (KEPT / "dying").exists() else {}
AUTOMATED = {"prune": True, "selfHeal": True}
edited = json.loads((KEPT / "edited").read_text()) if (KEPT / "edited").exists() else {}
"""By the numbers of Applications what their `automated` was changed to."""
compared = []
"""The numbers of those that were compared anew."""
chance = random.Random(20261124)

def window():
    fields = (["0", "30", "*/5", "*"], ["*", "8-17", "22", "*/2"], ["*", "*", "1"], ["*", "*", "11,12"], ["*", "1-5"])
    return {
        "kind": chance.choice(["allow", "deny"]),
        "schedule": " ".join(chance.choice(field) for field in fields),
        "duration": chance.choice(["5m", "30m", "1h", "8h", "24h", "64h"]),
        "timeZone": chance.choice(["", "Europe/Paris", "America/New_York"]),
        "manualSync": chance.random() < 0.3,
        "applications": [chance.choice(["*", "app-0*", "{app-*1,app-*2}", "app-00017"])],
    }

def project(i):
    windows = [window() for _ in range(chance.randint(0, 4))]
    return {"metadata": {"name": f"p{i}", "namespace": "argocd"}, "spec": {"syncWindows": windows}}

# Rendered once: what differs is put into the text.
SOURCE = {"repoURL": "https://git.invalid/x.git", "path": "apps/@I@", "targetRevision": "main"}
APP = json.dumps({
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "app-@NAME@", "namespace": "argocd", "uid": "u@I@", "annotations": "@DYING@"},
    "spec": {"project": "@PROJECT@", "source": SOURCE, "destination": {"name": "in-cluster", "namespace": "ns-@I@"}, "syncPolicy": "@POLICY@"},
    "status": {
        "sync": {"status": "Synced", "revision": "a" * 40, "comparedTo": {"source": SOURCE}},
        "health": {"status": "@HEALTH@"},
        "history": [{"id": n, "revision": f"@NAME@{n:035x}", "source": SOURCE} for n in range(10)],
        "resources": [
            {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "ns-@I@", "name": f"deploy-@I@-{n}", "status": "Synced"}
            for n in range(130)
        ],
    },
})

def app(i):
    block = edited.get(str(i), AUTOMATED)
    policy = json.dumps({} if block is None else {"automated": block})
    parts = {"@I@": str(i), "@NAME@": f"{i:05}", "@PROJECT@": f"p{i % PROJECTS}", '"@POLICY@"': policy}
    # Of those that die the deletion time and the finalizers, of the others nothing.
    parts['"annotations": "@DYING@"'] = json.dumps(DYING)[1:-1] if DYING and i % 10 == 0 else '"annotations": {}'
    parts['"status": {"sync"'] = '"status": {"reconciledAt": "2026-11-27T17:00:00Z", "sync"' if i in compared else '"status": {"sync"'
    parts["@HEALTH@"] = "Healthy" if i % 9 else "Degraded"
    text = APP
    for place, part in parts.items():
        text = text.replace(place, part)
    return text.encode()

def answer(status, body):
    return Response(status, {}, json.dumps(body).encode())

def patched(i, ops):
    for op in ops:
        if "argocd.argoproj.io~1refresh" in op["path"]:
            compared.append(i)
        elif op["op"] != "test":
            assert op["path"] == "/spec/syncPolicy/automated", op
            edited[str(i)] = op.get("value")
    return app(i)

def config_map(method, name, body):
    if method == "POST":
        obj = json.loads(body)
        name = obj["metadata"]["name"]
    else:
        obj = json.loads((KEPT / name).read_text())
        for op in json.loads(body or b"[]"):
            key = op["path"].rpartition("/")[2]
            if op["op"] == "add":
                obj["data"][key] = op["value"]
            elif op["op"] == "remove":
                del obj["data"][key]
    text = json.dumps(obj)
    (KEPT / name).write_text(text)
    return Response(200, {}, text.encode())

class Stub:
    def request(self, method, path, query=(), headers=None, body=None, timeout=None):
        name = path.rpartition("/")[2]
        if method == "POST" and name == "selfsubjectaccessreviews":
            return answer(201, {"status": {"allowed": True}})
        if name.startswith("app-"):
            i = int(name[4:])
            return Response(200, {}, patched(i, json.loads(body)) if method == "PATCH" else app(i))
        if name.startswith("argo-rescue-") or (method, name) == ("POST", "configmaps"):
            return config_map(method, name, body)
        if name == "configmaps" and "managed-by" in str(query):
            texts = [path.read_bytes() for path in sorted(KEPT.glob("argo-rescue-*"))]
            return Response(200, {}, b'{"apiVersion": "v1", "metadata": {}, "items": [' + b",".join(texts) + b"]}")
        if name == "applications":
            asked = dict(query)
            start = int(asked.get("continue") or 0)
            end = min(start + int(asked["limit"]), TOTAL)
            meta = json.dumps({"continue": str(end)} if end < TOTAL else {}).encode()
            items = b",".join(app(i) for i in range(start, end))
            return Response(200, {}, b'{"apiVersion": "argoproj.io/v1alpha1", "metadata": %b, "items": [%b]}' % (meta, items))
        if name == "appprojects":
            items = [project(i) for i in range(PROJECTS)]
            return answer(200, {"apiVersion": "argoproj.io/v1alpha1", "metadata": {}, "items": items})
        if name in ("argocd-cm", "kube-system"):
            return answer(200, {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "argocd", "uid": name}})
        if name == "argocd-cmd-params-cm" or method == "POST":
            return answer(
                404,
                {"kind": "Status", "code": 404, "reason": "NotFound", "message": "no", "details": {"name": path.rpartition("/")[2]}},
            )
        return answer(200, {"apiVersion": "v1", "metadata": {}, "items": []})

    def target(self):
        return Target("context", "server", "")

    def close(self):
        pass

def peak():
    """Megabytes. Linux' ru_maxrss would begin with what the parent had when it forked."""
    try:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) // 1024
    except FileNotFoundError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used // (1024 * 1024 if sys.platform == "darwin" else 1024)

try:
    cli.run(sys.argv[3:], Runtime(lambda connection, **talk: Cluster(Stub())))
except SystemExit as end:
    (KEPT / "edited").write_text(json.dumps(edited))
    print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), peak(), file=sys.stderr)
    raise
'''  # fmt: skip


def _run(total: int, kept: Path, *words: str) -> tuple[str, int]:
    """Run a command line over so many Applications; give its stdout, and the megabytes that it took at most."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(total), str(kept), *words],
        env={**os.environ, "XDG_STATE_HOME": str(kept)},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout, int(ran.stderr.split()[-1])


# Kept as Python objects, the raw Applications of the sample alone would need twice the limit.
@pytest.fixture
def total(is_full_size: bool) -> int:
    """How many Applications there are."""
    return 5000 if is_full_size else 1500


@pytest.fixture
def limit(is_full_size: bool) -> int:
    """How many megabytes may be taken."""
    return LIMIT if is_full_size else SAMPLE_LIMIT


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("verb", ["status", "windows -A"])
def test_memory_stays_small(total: int, limit: int, tmp_path: Path, verb: str, form: str) -> None:
    out, peak = _run(total, tmp_path, *verb.split(), "-o", form)
    if form == "json":
        assert len(json.loads(out)["data"]["apps"]) == total
    elif verb == "status":
        assert f"{total} applications: " in out
    else:
        assert len(out.splitlines()) == total + 1
    assert 20 < peak < limit, f"{peak} MB"


def test_a_tenth_that_dies_is_told_on_one_screen(total: int, limit: int, tmp_path: Path) -> None:
    dying = {
        "deletionTimestamp": "2026-11-27T17:00:00Z",
        "finalizers": ["resources-finalizer.argocd.argoproj.io"],
    }
    (tmp_path / "dying").write_text(json.dumps(dying))
    out, peak = _run(total, tmp_path, "status")
    (line,) = [line for line in out.splitlines() if "will be deleted with workloads" in line]
    assert f"{total // 10} Applications" in line
    assert 20 < peak < limit, f"{peak} MB"


def test_a_freeze_and_its_end_stay_small(total: int, limit: int, tmp_path: Path) -> None:
    for verb, done in (("pause --all", "paused"), ("undo", "restored")):
        out, peak = _run(total, tmp_path, *verb.split(), "--yes")
        assert out.count(done) == total
        assert 20 < peak < limit, f"{verb}: {peak} MB"
    out, _ = _run(total, tmp_path, "log", "--open", "-o", "name")
    assert not out
