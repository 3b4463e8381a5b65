"""The journal in the cluster, with real rights and a real server that goes away.

- a colleague reads what was done, by whom and why, from the ConfigMaps alone;
- without the right to create ConfigMaps the entry is kept on this machine, with a warning, and
  undone from there;
- without the right to patch Applications nothing is written, not even to the journal: 1;
- the server gone in the middle, after an edit or before its answer: 1, and when it is back the log
  tells what stands and undo restores all.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.testbed.argocd import ArgoCD
from tests.testbed.incident import BROKEN, GOOD
from tests.testbed.plugin import Plugin

from .scene import JOURNAL, Scene, is_auto_sync_on, text_of, writes

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
    argocd.until(lambda: scene.is_serving(GOOD), 60, f"{GOOD} serves")
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


class _Front:
    """Forwards to the API server as the administrator, and is gone for good at the first edit of an app.

    With `answers` it is gone after that edit's answer, else before it: the edit has landed either way.
    """

    def __init__(self, argocd: ArgoCD, *, answers: bool) -> None:
        plane = argocd.control_plane
        pki = plane.folder / "pki"
        context = ssl.create_default_context(cafile=str(plane.authority.certificate))
        context.load_cert_chain(pki / "user-admin.crt", pki / "user-admin.key")
        gone = self.gone = threading.Event()

        class Forward(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                self.close_connection = True
                if gone.is_set():
                    return
                far = http.client.HTTPSConnection("127.0.0.1", plane.port, context=context, timeout=20)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kept = ("Content-Type", "Accept", "User-Agent")
                far.request(
                    self.command, self.path, body, {n: self.headers[n] for n in kept if self.headers[n]}
                )
                answer = far.getresponse()
                data = answer.read()
                far.close()
                if self.command == "PATCH" and "/applications/" in self.path:
                    gone.set()
                    if not answers:
                        return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = forward

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> _Front:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.parametrize("answers", [True, False], ids=["after-an-edit", "its-answer-lost"])
def test_the_server_goes_in_the_middle(argocd: ArgoCD, plugin: Plugin, scene: Scene, answers: bool) -> None:
    scene.start().upgrade(BROKEN)
    original = text_of(scene.specs())
    with _Front(argocd, answers=answers) as front:
        start = time.monotonic()
        cut = plugin("pin", scene.app, GOOD, "--yes", "--server", front.url, timeout=120)
        print(f"gone in the middle: {time.monotonic() - start:.1f} s\n{cut.stdout}{cut.stderr}")
        assert front.gone.is_set(), cut.stderr
        assert cut.returncode == 1, cut.stdout + cut.stderr
        away = plugin("log", "--server", front.url, check=True)
        assert "pin" in away.stdout, "this machine's own record"
        assert "the record of this machine alone" in away.stderr
    assert not is_auto_sync_on(scene.live_root()), "the first edit landed"
    assert scene.revision() == BROKEN, "the second did not"

    # It is back: the log tells what stands, and undo restores it.
    told = plugin("log", "-o", "json", check=True)
    (entry,) = json.loads(told.stdout)["data"]["entries"]
    assert entry["verb"] == "pin"
    assert entry["id"] in plugin("log", "--open", "-o", "name", check=True).stdout or not answers
    plugin("undo", check=True)
    scene.settle()
    assert text_of(scene.specs()) == original
    assert plugin("log", "--open", "-o", "name", check=True).stdout == ""


def test_no_server_is_one_line(argocd: ArgoCD, plugin: Plugin) -> None:
    start = time.monotonic()
    away = plugin("log", "--server", "https://127.0.0.1:1", timeout=60)
    assert away.returncode == 1
    assert [line[:6] for line in away.stderr.splitlines()][-1:] == ["error:"] or "error:" in away.stderr
    assert time.monotonic() - start < 30
