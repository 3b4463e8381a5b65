"""What Argo CD deploys from: a git repository in a folder, and a chart repository over HTTP."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml

from .control_plane import BROKEN
from .processes import TestbedError

Edit: TypeAlias = tuple[str, str] | tuple[str, str, str]
"""(file, new text), or (file, old part, new part); an empty new text removes the file."""

BROKEN_VERSION = "2.5.1"
CHART_VERSIONS = ("2.4.0", "2.4.1", BROKEN_VERSION, "2.6.0")

# An ingress on the node's own ports has no room for a surge: it is replaced at once, and a broken
# version is an outage, not a half-finished rollout. Pods of the broken version crash (BROKEN).
_DEPLOYMENT = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{{{ .Release.Name }}}}
  labels:
    app.kubernetes.io/name: {{{{ .Chart.Name }}}}
    chart-version: "{{{{ .Chart.Version }}}}"
spec:
  replicas: {{{{ .Values.replicas }}}}
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxUnavailable: 100%, maxSurge: 0}}}}
  selector:
    matchLabels: {{release: "{{{{ .Release.Name }}}}"}}
  template:
    metadata:
      labels:
        release: "{{{{ .Release.Name }}}}"
        chart-version: "{{{{ .Chart.Version }}}}"
        {{{{- if has .Chart.Version .Values.brokenVersions }}}}
        {BROKEN}: "true"
        {{{{- end }}}}
    spec:
      containers:
      - name: {{{{ .Chart.Name }}}}
        image: "registry.invalid/{{{{ .Chart.Name }}}}:{{{{ .Chart.AppVersion }}}}"
        {{{{- with .Values.arguments }}}}
        args: {{{{ toJson . }}}}
        {{{{- end }}}}
"""


def chart_meta(name: str, version: str) -> dict[str, object]:
    """Return what Chart.yaml says."""
    return {"apiVersion": "v2", "name": name, "version": version, "appVersion": f"v{version}"}


def chart_archive(name: str, version: str, broken: Sequence[str] = (BROKEN_VERSION,)) -> bytes:
    """Return a chart of one Deployment as a .tgz; the versions in `broken` crash."""
    values = {"replicas": 2, "arguments": [], "brokenVersions": list(broken)}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file, text in {
            "Chart.yaml": yaml.safe_dump(chart_meta(name, version)),
            "values.yaml": yaml.safe_dump(values),
            "templates/deployment.yaml": _DEPLOYMENT,
        }.items():
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()


class Charts:
    """A chart repository as static files; `serve` it with any HTTP server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._entries: dict[str, list[dict[str, object]]] = {}
        folder.mkdir(parents=True)

    def add(self, name: str, version: str, *, broken: Sequence[str] = (BROKEN_VERSION,)) -> None:
        """Publish a chart of one Deployment; the versions in `broken` crash."""
        meta = chart_meta(name, version)
        archive = chart_archive(name, version, broken)
        file_name = f"{name}-{version}.tgz"
        (self.folder / file_name).write_bytes(archive)
        digest = hashlib.sha256(archive).hexdigest()
        entry_of_index: dict[str, object] = {**meta, "urls": [f"{self.url}/{file_name}"], "digest": digest}
        self._entries.setdefault(name, []).insert(0, entry_of_index)
        index = {"apiVersion": "v1", "entries": self._entries}
        (self.folder / "index.yaml").write_text(yaml.safe_dump(index))


class GitRepository:
    """A git repository with one branch, `main`, that Argo CD reads as `file://`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._git_dir = folder.with_suffix(".git")
        self.url = f"file://{self._git_dir}"
        # Nobody's own git configuration (signing, hooks, default branch) may change the outcome.
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{role}_NAME": "testbed" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "testbed@invalid" for role in ("AUTHOR", "COMMITTER")},
        }
        folder.mkdir(parents=True)
        self._git("init", "-q", "-b", "main", f"--separate-git-dir={self._git_dir}", ".")
        # For a person who commits here by hand, in front of `make cluster`.
        self._git("config", "user.name", "testbed")
        self._git("config", "user.email", "testbed@invalid")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise TestbedError(f"git {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def read(self, file: str) -> str:
        """Return a file as it is on the branch."""
        return (self.folder / file).read_text()

    def commit(self, *edits: Edit, message: str = "change") -> str:
        """Commit edits on the branch and return the commit."""
        for edit in edits:
            file = self.folder / edit[0]
            if len(edit) == 3:
                old = file.read_text()
                if edit[1] not in old:
                    raise TestbedError(f"{edit[0]} has no {edit[1]!r}:\n{old}")
                file.write_text(old.replace(edit[1], edit[2]))
            elif edit[1]:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(edit[1])
            else:
                file.unlink()
        self._git("add", "-A")
        self._git("commit", "-q", "-m", message)
        return self.head()

    def head(self) -> str:
        """Return the commit that the branch is at."""
        return self._git("rev-parse", "HEAD")

    def tag(self, name: str) -> None:
        """Tag the branch's head."""
        self._git("tag", name)


def application(
    name: str,
    source: Mapping[str, object] | Sequence[Mapping[str, object]],
    *,
    namespace: str = "argocd",
    project: str = "default",
    destination: str = "default",
    automated: Mapping[str, object] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: object,
) -> dict[str, object]:
    """Return an Application; auto-synced with prune and self-heal unless `automated` says otherwise.

    An empty `automated` leaves `syncPolicy` out; a list of sources makes a multi-source app.
    """
    policy = {"prune": True, "selfHeal": True} if automated is None else automated
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": namespace, **({"labels": dict(labels)} if labels else {})},
        "spec": {
            "project": project,
            **({"source": source} if isinstance(source, Mapping) else {"sources": list(source)}),
            "destination": {"server": "https://kubernetes.default.svc", "namespace": destination},
            **({"syncPolicy": {"automated": dict(policy)}} if policy else {}),
            **spec,
        },
    }


def project(
    name: str,
    *,
    namespace: str = "argocd",
    windows: Sequence[Mapping[str, object]] = (),
    description: str = "",
    **spec: object,
) -> dict[str, object]:
    """Return an AppProject that allows everything, with these sync windows."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            **({"description": description} if description else {}),
            "sourceRepos": ["*"],
            "destinations": [{"namespace": "*", "server": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
            **({"syncWindows": list(windows)} if windows else {}),
            **spec,
        },
    }


def manifest(*objects: Mapping[str, object]) -> str:
    """Return objects as the text of one YAML file for git."""
    return yaml.safe_dump_all(objects, sort_keys=False)
