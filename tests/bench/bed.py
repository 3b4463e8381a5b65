"""What the benchmarks run on: an API server that looks as beside Argo CD, and the installed plugin."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shlex
import shutil
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

import kubectl_argo_rescue
from tests.testbed import kubeconfigs
from tests.testbed.api import JSON, MERGE_PATCH
from tests.testbed.argocd import ArgoCD
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import PLUGIN
from tests.testbed.sources import application, project

from .measure import Case, shell_environment

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = "cluster"
OWNER = "root"

_SCRIPT = """\
#!{python}
import sys
from kubectl_argo_rescue.__main__ import main
sys.exit(main())
"""


def install(folder: Path) -> Path:
    """Install the plugin as pip does, byte-compiled in a virtual environment; return its bin folder.

    Not the checkout's editable install: its import hook alone costs a fifth of `--help`.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    scheme = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    package = Path(kubectl_argo_rescue.__file__).parent
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    # Its dependencies are those of this environment.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    compileall.compile_dir(site, quiet=2)
    script = folder / "bin" / PLUGIN
    script.write_text(_SCRIPT.format(python=folder / "bin" / "python"))
    script.chmod(0o755)
    return script.parent


def unpack_archive(folder: Path) -> Path | None:
    """Unpack this platform's Krew archive, where `make archive` has made one; return its folder."""
    from krew import build

    archive = CHECKOUT / "dist" / build.archive_name(*build.this_platform(), build.version())
    if not archive.exists():
        return None
    folder.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    found = next(folder.rglob(PLUGIN), None)
    return found.parent if found else None


class Bed:
    """An API server with an installed Argo CD whose controllers do not run, and the shell of a user."""

    def __init__(self, control_plane: ControlPlane, namespace: str, bin: Path) -> None:
        self.control_plane, self.namespace, self.bin = control_plane, namespace, bin
        self.api = control_plane.api
        self.environment = self.shell()

    def shell(
        self, *, kubeconfig: Path | None = None, home: str = "home", bin: Path | None = None
    ) -> dict[str, str]:
        """Return the environment of a shell; another `home` has another journal."""
        path = (self.control_plane.bin, bin or self.bin)
        return shell_environment(
            path, self.control_plane.folder / home, kubeconfig or self.control_plane.kubeconfig()
        )

    def kubectl(self, *words: object, environment: Mapping[str, str] | None = None) -> Case:
        """Return a kubectl command, in Argo CD's namespace."""
        program = str(self.control_plane.bin / "kubectl")
        return Case([program, "-n", self.namespace, *map(str, words)], environment or self.environment)

    def plugin(self, *words: object, environment: Mapping[str, str] | None = None) -> Case:
        """Return a command of the plugin, run through kubectl as people do."""
        program = str(self.control_plane.bin / "kubectl")
        return Case([program, "argo-rescue", *map(str, words)], environment or self.environment)

    def direct(self, *words: object, environment: Mapping[str, str] | None = None) -> Case:
        """Return a command of the plugin without kubectl before it, whose memory would be taken for its."""
        return Case([str(self.bin / PLUGIN), *map(str, words)], environment or self.environment)

    def json_patch(
        self, kind: str, name: str, ops: JSON, environment: Mapping[str, str] | None = None
    ) -> Case:
        """Return the `kubectl patch` that writes these operations."""
        return self.kubectl(
            "patch", kind, name, "--type=json", "-p", json.dumps(ops), environment=environment
        )

    def by_hand(self, name: str, ops: JSON, environment: Mapping[str, str] | None = None) -> Case:
        """Return the script of somebody who keeps an Application in a file and the cluster, then patches it."""
        kubectl = shlex.join([str(self.control_plane.bin / "kubectl"), "-n", self.namespace])
        saved = shlex.quote(str(self.control_plane.folder / f"{name}.yaml"))
        steps = [
            f"{kubectl} get application {name} -o yaml > {saved}",
            f"{kubectl} create configmap saved-{name} --from-file=application={saved}",
            f"{kubectl} patch application {name} --type=json -p {shlex.quote(json.dumps(ops))}",
        ]
        return Case(["/bin/sh", "-ec", "\n".join(steps)], environment or self.environment)

    def kubeconfig_with_login(self, seconds: float) -> Path:
        """Return the administrator's kubeconfig, where an exec plugin gives the certificate after a while."""
        config = yaml.safe_load(self.control_plane.kubeconfig().read_text())
        user = config["users"][0]["user"]
        certificate, key = (Path(user[name]).read_text() for name in ("client-certificate", "client-key"))
        said = kubeconfigs.credential("", clientCertificateData=certificate, clientKeyData=key)
        path = self.control_plane.folder / "login.kubeconfig"
        program = kubeconfigs.script(path.with_suffix(".sh"), f"sleep {seconds}\ncat <<'END'\n{said}\nEND")
        config["users"][0]["user"] = kubeconfigs.exec_user(program)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def kubeconfig_through(self, port: int) -> Path:
        """Return the administrator's kubeconfig with another port of the same server."""
        config = yaml.safe_load(self.control_plane.kubeconfig().read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        path = self.control_plane.folder / f"through-{port}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def create(self, *objects: JSON) -> None:
        """Create Applications with their status: it is no subresource of theirs."""
        for obj in objects:
            self.api.create(obj)


@contextlib.contextmanager
def bed(version: str, bin: Path) -> Iterator[Bed]:
    """Run an API server with Argo CD's objects; its parts count as alive, so that nothing is warned of."""
    with ControlPlane(version) as control_plane:
        argocd = ArgoCD(control_plane, version)
        argocd.install()
        for kind in ("deployment", "statefulset"):
            for obj in control_plane.api.list(kind, argocd.namespace):
                path = control_plane.api.kind(kind).path(argocd.namespace, obj["metadata"]["name"], "status")
                alive = {"status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}}
                control_plane.api.request("PATCH", path, alive, content_type=MERGE_PATCH)
        control_plane.apply(project(PROJECT, namespace=argocd.namespace))
        yield Bed(control_plane, argocd.namespace, bin)


def app(name: str, *, owner: str = "", size: int = 0, automated: Mapping[str, object] | None = None) -> JSON:
    """Return an Application as its controller leaves it: deployed twice, healthy.

    `size` is how many bytes of JSON it should have: the rest is a list of resources.
    """
    source = {"repoURL": "https://charts.invalid", "chart": "traefik", "targetRevision": "2.5.1"}
    made = application(name, source, project=PROJECT, destination=name, automated=automated)
    spec = json.loads(json.dumps(made["spec"]))
    destination = spec["destination"]
    old = {**source, "targetRevision": "2.4.1"}
    at = "2026-11-20T08:00:00Z"
    made["metadata"]["finalizers"] = []  # type: ignore[index]
    if owner:
        made["metadata"]["annotations"] = {  # type: ignore[index]
            "argocd.argoproj.io/tracking-id": f"{owner}:argoproj.io/Application:argocd/{name}"
        }
    status: JSON = {
        "controllerNamespace": "argocd",
        "reconciledAt": at,
        "sync": {
            "status": "Synced",
            "revision": "2.5.1",
            "comparedTo": {"source": source, "destination": destination},
        },
        "health": {"status": "Healthy"},
        "history": [
            {"id": i, "revision": s["targetRevision"], "source": s, "deployedAt": at, "deployStartedAt": at}
            for i, s in enumerate((old, source))
        ],
        "operationState": {
            "phase": "Succeeded",
            "startedAt": at,
            "finishedAt": at,
            "message": "successfully synced",
            "operation": {"sync": {"revision": "2.5.1"}},
            "syncResult": {"revision": "2.5.1", "source": source},
        },
        "resources": [],
    }
    made["status"] = status
    number = 0
    while len(json.dumps(made)) < size:
        status["resources"].append(
            {
                "group": "apps",
                "version": "v1",
                "kind": "Deployment",
                "namespace": name,
                "name": f"workload-{number}",
                "status": "Synced",
                "health": {"status": "Healthy"},
            }
        )
        number += 1
    return made


def owner_of(*names: str, namespace: str = "argocd") -> JSON:
    """Return the app-of-apps that lists these Applications."""
    made = app(OWNER)
    made["status"]["resources"] = [
        {
            "group": "argoproj.io",
            "version": "v1alpha1",
            "kind": "Application",
            "namespace": namespace,
            "name": name,
            "status": "Synced",
        }
        for name in names
    ]
    return made


def python_version() -> str:
    """Name the Python that runs the plugin."""
    return ".".join(map(str, sys.version_info[:3]))


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
