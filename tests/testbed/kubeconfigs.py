"""Writes kubeconfigs for tests, with as much or as little in them as a test needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from kubectl_argo_rescue.model.values import JSON


def kubeconfig(
    path: Path,
    cluster: Mapping[str, JSON],
    user: Mapping[str, JSON] | None,
    context: Mapping[str, JSON] | None = None,
    **more: JSON,
) -> Path:
    """Write a kubeconfig of one cluster, one user and one context, each called `here`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": dict(cluster)}],
        "users": [{"name": "here", "user": dict(user)}] if user is not None else [],
        "contexts": [{"name": "here", "context": dict(context or {"cluster": "here", "user": "here"})}],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))  # YAML has JSON in it
    path.chmod(0o600)
    return path


def script(path: Path, text: str) -> Path:
    """Write a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def exec_user(command: Path | str, **more: JSON) -> dict[str, JSON]:
    """Describe a user who logs in with an exec plugin."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(command),
        "interactiveMode": "IfAvailable",
        **more,
    }
    return {"exec": plugin}


def credential(token: str, **more: str) -> str:
    """Give what an exec plugin prints."""
    status = {"token": token, **more}
    api_version = "client.authentication.k8s.io/v1"
    return json.dumps({"apiVersion": api_version, "kind": "ExecCredential", "status": status})
