"""`status` and `windows -A` over thousands of Applications of 18 kB each keep within 150 MB, also for tools.

The API server is a stub that renders one page at a time, so that the child's memory is the plugin's.
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
import json, random, resource, sys
from kubectl_argo_rescue.cli import root as cli
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.cluster.transport import Response, Target
from kubectl_argo_rescue.cluster.connect import Runtime

TOTAL = int(sys.argv[1])
PROJECTS = 400
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

def app(i):
    source = {"repoURL": "https://git.invalid/x.git", "path": f"apps/{i}", "targetRevision": "main"}
    return {
        "metadata": {"name": f"app-{i:05}", "namespace": "argocd", "uid": f"u{i}"},
        "spec": {"project": f"p{i % PROJECTS}", "source": source, "destination": {"name": "in-cluster", "namespace": f"ns-{i}"}},
        "status": {
            "sync": {"status": "Synced", "revision": "a" * 40, "comparedTo": {"source": source}},
            "health": {"status": "Healthy" if i % 9 else "Degraded"},
            "history": [{"id": n, "revision": f"{i * n:040x}", "source": source} for n in range(10)],
            "resources": [
                {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": f"ns-{i}", "name": f"deploy-{i}-{n}", "status": "Synced"}
                for n in range(130)
            ],
        },
    }

def answer(status, body):
    return Response(status, {}, json.dumps(body).encode())

class Stub:
    def request(self, method, path, query=(), headers=None, body=None, timeout=None):
        name = path.rpartition("/")[2]
        if name == "applications":
            asked = dict(query)
            start = int(asked.get("continue") or 0)
            end = min(start + int(asked["limit"]), TOTAL)
            meta = {"continue": str(end)} if end < TOTAL else {}
            items = [app(i) for i in range(start, end)]
            return answer(200, {"apiVersion": "argoproj.io/v1alpha1", "metadata": meta, "items": items})
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
    cli.run(sys.argv[2:], Runtime(lambda connection, **talk: Cluster(Stub())))
except SystemExit:
    print(peak(), file=sys.stderr)
'''  # fmt: skip


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("verb", ["status", "windows -A"])
def test_memory_stays_small(is_full_size: bool, tmp_path: Path, verb: str, form: str) -> None:
    # Kept as Python objects, the raw Applications of the sample alone would need twice the limit.
    total = 5000 if is_full_size else 1500
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(total), *verb.split(), "-o", form],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    if form == "json":
        assert len(json.loads(ran.stdout)["data"]["apps"]) == total
    elif verb == "status":
        assert f"{total} applications: " in ran.stdout
    else:
        assert len(ran.stdout.splitlines()) == total + 1
    peak = int(ran.stderr.split()[-1])
    assert 20 < peak < (LIMIT if is_full_size else SAMPLE_LIMIT), f"{peak} MB"
