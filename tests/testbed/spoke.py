"""A second cluster, into which an Argo CD deploys: API server, controllers, node, all real."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from .argocd import ArgoCD
from .control_plane import MASTERS, ControlPlane

SPOKE = "edge"
"""The name of the cluster in Argo CD, and of its context."""


@contextlib.contextmanager
def spoke(argocd: ArgoCD, name: str = SPOKE) -> Iterator[ControlPlane]:
    """Run a cluster and register it with an Argo CD, as `argocd cluster add` does."""
    with ControlPlane(None, workloads=True) as cluster:
        argocd.apply(secret(cluster, argocd.namespace, name))
        yield cluster


def address(cluster: ControlPlane) -> str:
    """Return the address of a cluster's API server."""
    return f"https://127.0.0.1:{cluster.port}"


def secret(cluster: ControlPlane, namespace: str, name: str) -> dict[str, object]:
    """Return the Secret by which an Argo CD knows a cluster."""
    cluster.kubeconfig("argocd-manager", [MASTERS])
    pki = cluster.folder / "pki"
    files = {
        "caData": cluster.authority.certificate,
        "certData": pki / "user-argocd-manager.crt",
        "keyData": pki / "user-argocd-manager.key",
    }
    tls = {field: base64.b64encode(file.read_bytes()).decode() for field, file in files.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"cluster-{name}",
            "namespace": namespace,
            "labels": {"argocd.argoproj.io/secret-type": "cluster"},
        },
        "stringData": {
            "name": name,
            "server": address(cluster),
            "config": json.dumps({"tlsClientConfig": tls}),
        },
    }


def kubeconfig(path: Path, hub: Path, others: Mapping[str, Path]) -> Path:
    """Write a kubeconfig with the hub's context, and one for each other cluster under its name."""
    config = yaml.safe_load(hub.read_text())
    for name, file in others.items():
        other = yaml.safe_load(file.read_text())
        for kind in ("cluster", "user"):
            config[f"{kind}s"].append({**other[f"{kind}s"][0], "name": f"{kind}-of-{name}"})
        context = {"cluster": f"cluster-of-{name}", "user": f"user-of-{name}"}
        config["contexts"].append({"name": name, "context": context})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path
