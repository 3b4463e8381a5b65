"""Plays the incident with the real plugin and prints each command, its output, and what the cluster says.

python -m tests.testbed.story [--argo 3.2|3.6]
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from . import programs
from .argocd import ArgoCD, running
from .incident import APP, BROKEN, FIXED, GOOD, OTHER, PROJECT, ROOT, Incident
from .plugin import Plugin
from .processes import TestbedError

_REFUSED = 5


class StoryFailed(Exception):
    """A command of the story ended otherwise than the story says."""


class Story:
    """Tells the incident on one Argo CD, step by step."""

    def __init__(self, argocd: ArgoCD) -> None:
        self.argocd, self.incident = argocd, Incident(argocd)
        self.plugin = Plugin(argocd.control_plane, argocd.folder / "homes")

    def tell(self) -> None:
        """Play every step; raise StoryFailed where the plugin or the cluster departs from the story."""
        self._chapter(f"Day 0: {APP} {GOOD} runs")
        self.incident.day0()
        self._look()
        self._chapter(f"Friday: git brings {BROKEN}, the ingress breaks, and a change freeze follows")
        self.incident.upgrade()
        self.incident.freeze()
        self._look()
        self._command("status", APP)

        self._chapter("The rescue, step by step")
        self._command("pause", ROOT)
        self._command("unblock", APP)
        self._command("pin", APP, GOOD)
        self._command("watch", APP)
        self._expect(lambda: self.incident.is_serving(GOOD), f"{APP} {GOOD} serves again")
        self._look()
        self._command("log")
        print("# Too early: git still asks for the broken version, so this is refused")
        self._command("undo", "--yes", ends_with=_REFUSED)
        self._expect(lambda: self.incident.is_serving(GOOD), f"{APP} {GOOD} still serves")

        self._chapter(f"Monday: git is fixed by a revert to {GOOD}, and everything goes back")
        self._commit(GOOD)
        before = self.incident.deployment()["metadata"]["generation"]
        self._command("undo", "--yes")
        self.argocd.until_idle(ROOT)
        after = self.incident.deployment()["metadata"]["generation"]
        if before != after:
            raise StoryFailed(f"undo moved the workload: generation {before} became {after}")
        print(f"# the Deployment's generation is still {after}: undo moved no workload")
        self._look()
        self._command("log")

        self._chapter(f"Next week: the freeze ends, git brings {FIXED}, and Argo CD follows as ever")
        self.incident.freeze([])
        self._commit(FIXED)
        self.argocd.follow_git(ROOT)  # Argo CD keeps what a branch means for three minutes
        self._expect(lambda: self.incident.is_serving(FIXED), f"{APP} {FIXED} serves")
        self._look()

    def _chapter(self, title: str) -> None:
        print(f"\n=== {title}\n", flush=True)

    def _command(self, *arguments: str, ends_with: int = 0) -> None:
        print(f"$ kubectl argo-rescue {shlex.join(arguments)}", flush=True)
        try:
            done = self.plugin(*arguments)
        except subprocess.TimeoutExpired as error:
            raise StoryFailed(str(error)) from error
        print(done.stdout + done.stderr, flush=True)
        if done.returncode != ends_with:
            raise StoryFailed(f"kubectl argo-rescue {shlex.join(arguments)} ended with {done.returncode}")

    def _commit(self, version: str) -> None:
        """Commit a version as people do; the paused `root` is not refreshed for the plugin."""
        file = "apps/traefik.yaml"
        old = self.argocd.repository.read(file)
        current = next(line for line in old.splitlines() if "targetRevision" in line)
        self.argocd.git((file, current, f"    targetRevision: {version}"), message=f"{APP} {version}")
        print(f"# git: {file} has {current.strip()} → targetRevision: {version}", flush=True)

    def _expect(self, condition: Callable[[], bool], what: str) -> None:
        self.argocd.until(condition, 90, what)
        print(f"# {what}", flush=True)

    def _look(self) -> None:
        apps = {name: self.argocd.app(name) for name in (ROOT, APP, OTHER)}
        for name, app in apps.items():
            status, automated = app["status"], app["spec"].get("syncPolicy", {}).get("automated")
            is_on = automated is not None and automated.get("enabled", True)
            source = app["spec"]["source"]
            print(
                f"  {name:8} {source['targetRevision']:6} {status['sync']['status']:10}"
                f" {status['health']['status']:12} auto-sync {'on' if is_on else 'off'}"
            )
        windows = self.argocd.get("appproject", PROJECT)["spec"].get("syncWindows", [])
        print(f"  windows of project {PROJECT}: {[window['applications'] for window in windows]}")
        print(f"  Deployment {self.incident.chart_version()}; pods wanted: {dict(self.incident.pods())}")
        live = self.incident.deployment()["status"]
        print(f"  available: {live.get('availableReplicas', 0)} of {live.get('replicas', 0)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the story; a failure says which step failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.story")
    parser.add_argument("--argo", choices=tuple(programs.ARGO), default="3.6", help="release line of Argo CD")
    options = parser.parse_args(arguments)
    try:
        programs.build_all([options.argo])
        print(
            f"Starting an API server and Argo CD {options.argo}: half a minute", file=sys.stderr, flush=True
        )
        with running(options.argo) as argocd:
            Story(argocd).tell()
    except (StoryFailed, TestbedError, programs.BuildError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
