"""The journal in the cluster, with real rights and a real server that goes away.

- a colleague reads what was done, by whom and why, from the ConfigMaps alone;
- without the right to create ConfigMaps the entry is kept on this machine, with a warning, and
  undone from there;
- without the right to patch Applications nothing is written, not even to the journal: 1;
- the server gone in the middle: the entry is on this machine, the log says so when it is back, and
  undo restores all; the colleague's reading is right again after that.
"""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin

from .scene import JOURNAL, Scene, edits, is_auto_sync_on, text_of, writes

READ = {"apiGroups": ["argoproj.io", "apps", ""], "resources": ["*"], "verbs": ["get", "list", "watch"]}
PATCH = {"apiGroups": ["argoproj.io"], "resources": ["*"], "verbs": ["patch"]}
JOURNALS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}


@pytest.fixture(scope="module")
def people(argocd: ArgoCD) -> None:
    """Give each person some rights: reader reads, lone patches, scribe keeps the journal, sre both."""
    allow = argocd.control_plane.allow
    for user, rules in {
        "reader": [READ],
        "lone": [READ, PATCH],
        "scribe": [READ, JOURNALS],
        "sre": [READ, PATCH, JOURNALS],
    }.items():
        allow(user, rules, namespace=argocd.namespace)


@pytest.mark.usefixtures("people")
def test_a_colleague_reads_the_journal(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    plugin("pause", scene.root, "--reason", "INC-4711", user="sre", check=True)
    read = plugin("log", "-o", "json", user="reader", check=True)
    (entry,) = json.loads(read.stdout)["data"]["entries"]
    shown = plugin("show", entry["id"], user="reader", check=True)
    for words in ("sre", "INC-4711", scene.root):
        assert words in read.stdout and words in shown.stdout
    refused = plugin("undo", "--yes", user="reader")
    assert refused.returncode == 1 and "patch" in refused.stderr
    assert not is_auto_sync_on(scene.live_root())


@pytest.mark.usefixtures("people")
def test_without_configmaps_the_entry_is_kept_here(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    original = text_of(scene.specs())
    pinned = plugin("pin", scene.app, GOOD, "--yes", user="lone", check=True)
    assert pinned.stderr.count("the journal in the cluster cannot be written") == 1
    assert not argocd.api.list("configmap", argocd.namespace, JOURNAL)
    argocd.until(lambda: scene.is_serving(GOOD), 30, f"{GOOD} serves")
    undone = plugin("undo", "--redeploy", user="lone")
    assert undone.returncode == 0, undone.stderr
    scene.settle()
    assert text_of(scene.specs()) == original
    assert plugin("log", "--open", "-o", "name", user="lone", check=True).stdout == ""


@pytest.mark.usefixtures("people")
def test_without_the_right_to_patch_nothing_is_written(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start()
    mark = argocd.control_plane.audit_mark()
    for command in (("pause", scene.root), ("pin", scene.app, "2.4.0", "--only"), ("sync", scene.app)):
        refused = plugin(*command, user="scribe")
        assert refused.returncode == 1
        assert "you may not as scribe patch Application" in refused.stderr
    assert not writes(argocd.control_plane, mark, "scribe")
    assert plugin("log", "-o", "name", user="scribe", check=True).stdout == ""


def test_the_server_goes_in_the_middle(argocd: ArgoCD, plugin: Plugin, scene: Scene) -> None:
    scene.start().upgrade(BROKEN)
    original = text_of(scene.specs())
    mark = argocd.control_plane.audit_mark()
    running = plugin.start("pin", scene.app, GOOD, "--yes", "--request-timeout", "5s")
    # As soon as its first edit has landed.
    argocd.until(lambda: edits(argocd.control_plane, mark), 20, "the owner is paused")
    argocd.control_plane.stop_apiserver()
    try:
        out, err = running.communicate(timeout=60)
        code = running.returncode
        start = time.monotonic()
        cut = plugin("log", timeout=60)
        assert cut.returncode == 1 and cut.stderr.startswith("error:"), cut.stderr
        assert time.monotonic() - start < 30
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    finally:
        argocd.control_plane.start_apiserver()
    assert code in (0, 1), (out, err)  # it may have been quicker than the end of the server
    told = plugin("log", "--open", "-o", "json", check=True)
    entries = json.loads(told.stdout)["data"]["entries"]
    assert [e["verb"] for e in entries] == ["pin"], told.stderr
    argocd.until(lambda: scene.live()["status"], 30, "the server answers")
    undone = plugin("undo", "--redeploy", check=True)
    argocd.until(lambda: scene.revision() == BROKEN, 30, "the original is back")
    scene.settle()
    assert text_of(scene.specs()) == original, undone.stderr
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""
    plugin("log", "--open", "-o", "name", laptop="another", check=True)
