"""Argo CD's real controllers, run as plain processes against the bed's control plane.

The objects of an installation (ConfigMaps, workloads) are the release's own manifests, read from its
Go module. kwok makes the workloads ready, while the processes here do the work in their place.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import yaml

from . import programs
from .api import JSON
from .control_plane import MASTERS, ControlPlane
from .sources import CHART_VERSIONS, Charts, Edit, GitRepository, project

T = TypeVar("T")

CONTROLLER = "application-controller"
APPLICATIONSETS = "applicationset-controller"
REPO_SERVER = "repo-server"
CHARTS = "charts"
REDIS = "redis"
PARTS = (REDIS, CHARTS, REPO_SERVER, CONTROLLER, APPLICATIONSETS)
"""What runs, by the names that `start` and `stop` take."""

_WORKLOAD_KINDS = {"Deployment", "StatefulSet", "Service"}
REFRESH = "argocd.argoproj.io/refresh"


class ArgoCD:
    """One Argo CD of a release line ("3.2", "3.6") on a control plane, with sources of its own.

    `cm` and `params` add keys to argocd-cm and argocd-cmd-params-cm; a parameter reaches its process
    by the environment variable that the release's manifests map it to.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        version: str,
        *,
        namespace: str = "argocd",
        cm: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        tracking: str = "",
        app_resync: int = 20,
        workloads: bool = True,
    ) -> None:
        self.control_plane, self.version, self.namespace = control_plane, version, namespace
        self.module = programs.ARGO[version]
        self.cm = {**(cm or {}), **({"application.resourceTrackingMethod": tracking} if tracking else {})}
        self.params = dict(params or {})
        self.app_resync, self.workloads = app_resync, workloads
        self.processes, self.api = control_plane.processes, control_plane.api
        self.folder = control_plane.folder / namespace
        take = self.processes.ports.take
        self._ports = {part: take() for part in (REDIS, CHARTS, REPO_SERVER)}
        self._other_ports = {part: [take() for _ in range(3)] for part in PARTS}

    def __enter__(self) -> ArgoCD:
        self.start_all()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.stop(*PARTS)

    # -- life

    def start_all(self) -> None:
        """Install its objects, lay out the sources, start all parts."""
        self._lay_out()
        for part in (REDIS, CHARTS, REPO_SERVER):
            self.start(part)
        self.control_plane.start_workloads()
        self._install()
        for part in (CONTROLLER, APPLICATIONSETS):
            self.start(part)

    def install(self) -> None:
        """Install its objects alone: none of its parts runs."""
        self._lay_out()
        self._install()

    def _lay_out(self) -> None:
        for name in ("tls", "ssh", "gpg", "plugins", "config", "tmp", "home", "bin"):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        (self.folder / "bin" / "helm").symlink_to(programs.program("helm"))
        verify = self.folder / "bin" / "git-verify-wrapper.sh"  # 3.6 asks it about every commit
        verify.write_text("#!/bin/sh\nexit 0\n")
        verify.chmod(0o755)
        self.charts = Charts(self.folder / "charts", f"http://127.0.0.1:{self._ports[CHARTS]}")
        for version in CHART_VERSIONS:
            self.charts.add("traefik", version)
        self.repository = GitRepository(self.folder / "gitops")

    def _install(self) -> None:
        objects: list[JSON] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            *self._configuration(),
            project("default", namespace=self.namespace),
        ]
        if self.workloads:
            objects += self._workload_objects()
        self.api.apply(*objects)

    def _manifests(self, part: str) -> Sequence[JSON]:
        found = []
        for file in programs.files(self.module, part):
            found += [obj for obj in yaml.safe_load_all(file.read_text()) if obj]
        for obj in found:
            obj["metadata"]["namespace"] = self.namespace
        return found

    def _configuration(self) -> Sequence[JSON]:
        found = self._manifests("config")
        added = {
            "argocd-cm": {"timeout.reconciliation": f"{self.app_resync}s", **self.cm},
            "argocd-cmd-params-cm": self.params,
        }
        for obj in found:
            name = obj["metadata"]["name"]
            if name in added:
                obj["data"] = {**obj.get("data", {}), **added[name]}
            if name == "argocd-secret":
                obj["stringData"] = {"server.secretkey": "not-a-secret", "admin.password": "not-a-hash"}
        return found

    def _workload_objects(self) -> Sequence[JSON]:
        parts = (CONTROLLER, APPLICATIONSETS, REPO_SERVER, REDIS, "server")
        found = [obj for part in parts for obj in self._manifests(part) if obj["kind"] in _WORKLOAD_KINDS]
        for obj in found:
            if obj["kind"] == "Service":
                continue
            pod = obj["spec"]["template"]["spec"]
            for container in [*pod["containers"], *pod.get("initContainers", [])]:
                name, _, _ = container["image"].partition(":latest")
                if name != container["image"]:  # the release's kustomization does the same
                    container["image"] = f"{name}:{self.module.version}"
        return found

    def _parameters(self, part: str) -> dict[str, str]:
        """Return the parameters of argocd-cmd-params-cm as this part's manifest maps them."""
        found: dict[str, str] = {}
        for obj in self._manifests(part):
            if obj["kind"] not in _WORKLOAD_KINDS - {"Service"}:
                continue
            for variable in obj["spec"]["template"]["spec"]["containers"][0].get("env", []):
                reference = variable.get("valueFrom", {}).get("configMapKeyRef", {})
                if reference.get("name") == "argocd-cmd-params-cm" and reference["key"] in self.params:
                    found[variable["name"]] = self.params[reference["key"]]
        return found

    # -- parts

    def process_name(self, part: str) -> str:
        """Return the name of a part's process, by which its log is found."""
        return f"{self.namespace}-{part}"

    def start(self, *parts: str) -> None:
        """Start parts, on the same ports after a stop."""
        for part in parts:
            self._start(part)

    def stop(self, *parts: str) -> None:
        """Kill parts; they are started again with `start`."""
        self.processes.stop(*(self.process_name(part) for part in parts))

    def _start(self, part: str) -> None:
        port, (first, second, third) = self._ports.get(part, 0), self._other_ports[part]
        redis, repo_server = (f"127.0.0.1:{self._ports[name]}" for name in (REDIS, REPO_SERVER))
        if part == REDIS:
            memory_only = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", port]
            self.processes.start(self.process_name(part), programs.program("redis-server"), *memory_only)
            return
        if part == CHARTS:
            serve = [sys.executable, "-I", "-m", "http.server", "--bind", "127.0.0.1", port]
            self.processes.start(self.process_name(part), *serve, cwd=self.charts.folder)
            return
        options = {
            REPO_SERVER: [
                *("--address=127.0.0.1", f"--port={port}", f"--redis={redis}"),
                *("--metrics-address=127.0.0.1", f"--metrics-port={first}"),
            ],
            CONTROLLER: [
                *(f"--namespace={self.namespace}", f"--redis={redis}", f"--repo-server={repo_server}"),
                *(f"--metrics-port={first}", f"--app-resync={self.app_resync}", "--app-resync-jitter=0"),
            ],
            APPLICATIONSETS: [
                *(f"--namespace={self.namespace}", f"--argocd-repo-server={repo_server}"),
                *(f"--metrics-addr=127.0.0.1:{first}", f"--probe-addr=127.0.0.1:{second}"),
                f"--webhook-addr=127.0.0.1:{third}",
            ],
        }[part]
        self.processes.start(
            self.process_name(part),
            programs.program("argocd", argo=self.version),
            *options,
            "--logformat=text",
            env=self._environment(part),
        )

    def _environment(self, part: str) -> dict[str, str]:
        account = f"system:serviceaccount:{self.namespace}:argocd-{part}"
        kubeconfig = self.control_plane.kubeconfig(account, [MASTERS])
        return {
            "ARGOCD_BINARY_NAME": f"argocd-{part}",
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "KUBECONFIG": str(kubeconfig),
            "ARGOCD_TLS_DATA_PATH": str(self.folder / "tls"),
            "ARGOCD_SSH_DATA_PATH": str(self.folder / "ssh"),
            "ARGOCD_GNUPGHOME": str(self.folder / "gpg"),
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_PLUGINSOCKFILEPATH": str(self.folder / "plugins"),
            "HOSTNAME": f"argocd-{part}-0",
            "HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "HELM_CACHE_HOME": str(self.folder / "home" / "helm"),
            "TMPDIR": str(self.folder / "tmp"),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{self.control_plane.path}",
            **self._parameters(part),
        }

    # -- what tests do with it

    def git(self, *edits: Edit, message: str = "change") -> str:
        """Commit edits of the repository; Argo CD sees them at the next `refresh` or resync."""
        return self.repository.commit(*edits, message=message)

    def apply(self, *objects: JSON) -> Sequence[JSON]:
        """Apply objects as the administrator, not through git."""
        return self.api.apply(*objects)

    def get(self, kind: str, name: str, namespace: str = "") -> JSON:
        """Read one object, of Argo CD's namespace if no other is named."""
        return self.api.get(kind, name, namespace or self.namespace)

    def app(self, name: str) -> JSON:
        """Read an Application."""
        return self.get("application", name)

    def refresh(self, *apps: str, hard: bool = False) -> None:
        """Ask for a fresh comparison, as the refresh button does."""
        for app in apps:
            annotations = {REFRESH: "hard" if hard else "normal"}
            self.api.patch("application", app, self.namespace, {"metadata": {"annotations": annotations}})

    def follow_git(self, app: str, timeout: float = 120) -> None:
        """Refresh an app of the repository and wait until it compared with the branch's head."""
        head = self.repository.head()
        asked = 0.0

        def compared() -> bool:
            nonlocal asked
            if time.monotonic() - asked > 3:  # a request that falls into a running comparison is lost
                asked = time.monotonic()
                annotations = {REFRESH: f"normal{asked}"}
                self.api.patch("application", app, self.namespace, {"metadata": {"annotations": annotations}})
            live = self.app(app)
            return (
                REFRESH not in live["metadata"].get("annotations", {})
                and live["status"]["sync"]["revision"] == head
            )

        self.until(compared, timeout, f"{app} has seen commit {head[:8]}")

    def until(self, condition: Callable[[], T | None], timeout: float, what: str) -> T:
        """Wait for a true value; a timeout shows the controllers' logs."""
        logs = [self.process_name(part) for part in (CONTROLLER, REPO_SERVER, APPLICATIONSETS)]
        return self.control_plane.until(condition, timeout, what, logs=logs)

    def until_synced(self, app: str, timeout: float = 120) -> JSON:
        """Wait until an app is Synced and Healthy, and return it."""

        def settled() -> JSON | None:
            live = self.app(app)
            status = live["status"]
            ok = status["sync"]["status"] == "Synced" and status["health"]["status"] == "Healthy"
            return live if ok else None

        return self.until(settled, timeout, f"{app} is Synced and Healthy")

    def until_idle(self, app: str, timeout: float = 120) -> JSON:
        """Wait until an app is Synced as its spec is now, with no operation ordered or running; return it."""

        def idle() -> JSON | None:
            live = self.app(app)
            status, sync = live["status"], live["status"]["sync"]
            state = status.get("operationState", {})
            done = state.get("phase") in ("Succeeded", None) and "operation" not in live
            # The status may still be of the comparison before the last change of the spec, or of one
            # before the operation: that begins before the comparison which ordered it is written.
            is_new = _places(live["spec"]) in ([], _places(sync["comparedTo"]))
            is_new = is_new and status.get("reconciledAt", "") >= state.get("finishedAt", "")
            ok = sync["status"] == "Synced" and is_new and done
            return live if ok else None

        return self.until(idle, timeout, f"{app} is Synced and idle")

    def kubectl(self, *arguments: object, user: str = "admin") -> str:
        """Run the bed's kubectl in Argo CD's namespace and return its output."""
        return self.control_plane.kubectl("-n", self.namespace, *arguments, user=user).stdout

    def kubeconfig(self, user: str = "admin", groups: Sequence[str] = ()) -> Path:
        """Return the kubeconfig of a user."""
        return self.control_plane.kubeconfig(user, groups)


def _places(holder: JSON) -> list[list[str]]:
    """Return what each source of a spec, or of what was compared, names; nothing for a hydrated one."""
    sources = holder.get("sources") or ([holder["source"]] if "source" in holder else [])
    return [[s.get(n, "") for n in ("repoURL", "chart", "path", "targetRevision")] for s in sources]


@contextlib.contextmanager
def running(
    version: str,
    *,
    namespace: str = "argocd",
    cm: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    tracking: str = "",
    app_resync: int = 20,
    workloads: bool = True,
) -> Iterator[ArgoCD]:
    """Run one Argo CD on a control plane of its own; the options are those of `ArgoCD`."""
    with ControlPlane(version) as control_plane:
        argocd = ArgoCD(
            control_plane,
            version,
            namespace=namespace,
            cm=cm,
            params=params,
            tracking=tracking,
            app_resync=app_resync,
            workloads=workloads,
        )
        with argocd:
            yield argocd
