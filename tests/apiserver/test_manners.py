"""The plugin behaves as kubectl does, beside kubectl, on a real API server.

Aspects: connection flags mean the same server and user as with kubectl, before the verb and after
it; `-n` in every form, `-A`, `-l`; every form of `--dry-run`, beside kubectl's; the lines on stdout;
the server's warnings, once, on stderr; colours; exit codes; help; what is mistyped; `-v` shows
requests and no secret.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import pytest

from kubectl_argo_rescue.argocd.application import is_auto_sync_on
from kubectl_argo_rescue.cli.root import VERBS
from tests.testbed.control_plane import ControlPlane
from tests.testbed.kubeconfigs import credential, exec_user, kubeconfig, script
from tests.testbed.plugin import Plugin
from tests.testbed.screen import on_screen
from tests.testbed.sources import application

APP, OTHER = "polite", "courteous"
NAME = f"application.argoproj.io/{APP}"
LABELS = {"manners": "good"}
SOURCE = {"repoURL": "https://git.invalid/it", "path": "it", "targetRevision": "1.0.0"}
TOKEN_USER = "system:serviceaccount:manners:robot"


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The API server with two applications, and a robot who has a token."""
    control_plane.namespace("manners")
    meta = {"name": "argocd-cm", "namespace": "argocd"}
    robot = {"name": "robot", "namespace": "manners"}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": robot},
        application(APP, SOURCE, labels=LABELS),
        application(OTHER, SOURCE),
    )
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    control_plane.allow(TOKEN_USER, everything)
    control_plane.allow("carol", everything)
    yield control_plane
    for name in (APP, OTHER):
        control_plane.api.delete("application", name, "argocd")


@pytest.fixture
def paused(plane: ControlPlane) -> Iterator[None]:
    """What a test pauses is as before afterwards; undo would wait for controllers, which are not here."""
    yield
    automated = {"automated": {"prune": True, "selfHeal": True, "enabled": None}}
    patch = json.dumps({"spec": {"syncPolicy": automated}})
    plane.kubectl("patch", "application", APP, "-n=argocd", "--type=merge", "-p", patch)
    plane.kubectl(
        "delete", "configmap", "-n=argocd", "-l", "app.kubernetes.io/managed-by=kubectl-argo-rescue"
    )


def token(plane: ControlPlane) -> str:
    return plane.kubectl("create", "token", "robot", "-n", "manners").stdout.strip()


# -- connection flags


def connections(plane: ControlPlane, folder: Path) -> dict[str, list[str]]:
    """Ways to say who and where, by the name of the user that it makes."""
    pki = plane.folder / "pki"
    server = f"https://127.0.0.1:{plane.port}"
    authority = str(plane.authority.certificate)
    nobody = kubeconfig(folder / "nobody", {"server": "https://127.0.0.1:1"}, {})
    both = kubeconfig(
        folder / "both",
        {"server": "https://127.0.0.1:1"},
        {},
        clusters=[
            {"name": "here", "cluster": {"server": "https://127.0.0.1:1"}},
            {"name": "there", "cluster": {"server": server, "certificate-authority": authority}},
        ],
        users=[
            {"name": "here", "user": {"token": "wrong"}},
            {"name": "me", "user": {"token": token(plane)}},
        ],
        contexts=[
            {"name": "here", "context": {"cluster": "here", "user": "here"}},
            {"name": "other", "context": {"cluster": "there", "user": "me"}},
        ],
    )
    certificate = [f"--client-certificate={pki / 'user-admin.crt'}", f"--client-key={pki / 'user-admin.key'}"]
    where = ["-s", server, f"--certificate-authority={authority}"]
    return {
        "nothing said": [],
        "as": ["--as", "carol"],
        "as with groups": ["--as=carol", "--as-group=one", "--as-group", "two", "--as-uid=u"],
        "as with extras": ["--as=carol", "--as-user-extra=scope=a", "--as-user-extra", "scope=b"],
        "server, authority, token": [f"--kubeconfig={nobody}", *where, "--token", token(plane)],
        "server without check, token": [
            f"--kubeconfig={nobody}", "-s", server, "--insecure-skip-tls-verify", f"--token={token(plane)}"
        ],
        "server, authority, certificate": [f"--kubeconfig={nobody}", *where, *certificate],
        "context": ["--kubeconfig", str(both), "--context", "other"],
        "cluster and user": [f"--kubeconfig={both}", "--cluster=there", "--user=me"],
        "name for TLS": ["--tls-server-name=localhost"],
        "the rest": ["--disable-compression", f"--cache-dir={folder}", "--request-timeout=20s"],
        "bare seconds": ["--request-timeout", "20"],
    }  # fmt: skip


WAYS = (
    "nothing said", "as", "as with groups", "as with extras", "server, authority, token",
    "server without check, token", "server, authority, certificate", "context", "cluster and user",
    "name for TLS", "the rest", "bare seconds",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_connection_flags_mean_what_they_mean_to_kubectl(
    way: str, plane: ControlPlane, plugin: Plugin, tmp_path: Path
) -> None:
    ways = connections(plane, tmp_path)
    assert tuple(ways) == WAYS
    flags = ways[way]
    who = plane.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", *flags).stdout
    for words in (["pause", APP, "--dry-run=server", *flags], [*flags, "pause", APP, "--dry-run=server"]):
        done = plugin(*words)
        assert done.returncode == 0, done.stderr
        assert f" as {who};" in done.stderr.splitlines()[0]
        assert f"(https://127.0.0.1:{plane.port})" in done.stderr.splitlines()[0]


@pytest.mark.parametrize(
    "form",
    [
        "-n argocd", "-nargocd", "-n=argocd", "--namespace argocd", "--namespace=argocd",
    ],
)  # fmt: skip
def test_the_namespace_in_every_form(form: str, plane: ControlPlane, plugin: Plugin) -> None:
    for words in (
        [*form.split(), "pause", APP],
        ["pause", *form.split(), APP],
        ["pause", APP, *form.split()],
    ):
        assert plugin(*words, "--dry-run").stdout == f"{NAME} paused (dry run)\n"
    elsewhere = form.replace("argocd", "manners").split()
    done = plugin("pause", APP, *elsewhere, "--dry-run")
    assert (done.returncode, done.stdout) == (1, "")
    assert "say -n argocd" in done.stderr


def test_many_by_labels_and_in_all_namespaces(plane: ControlPlane, plugin: Plugin) -> None:
    assert plugin("pause", "-l", "manners=good", "--dry-run", "-o", "name").stdout == f"{NAME}\n"
    assert plugin("status", "-l", "manners=good", "-o", "name").stdout == f"{NAME}\n"
    both = {NAME, f"application.argoproj.io/{OTHER}"}
    assert both <= {*plugin("status", "-A", "-n", "manners", "-o", "name").stdout.splitlines()}
    assert both <= {
        *plugin("pause", "--all", "-A", "-n", "manners", "--dry-run", "-o", "name").stdout.splitlines()
    }
    assert plugin("pause", "--all", "-n", "manners", "--dry-run").returncode == 1
    assert plugin("pause", "-A", APP, "--dry-run").returncode == 2
    assert plugin("pause", "-A", "--dry-run").returncode == 2


# -- dry run


def ended(done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
    """Whether it went well, and how the first line of data ends."""
    first = done.stdout.partition("\n")[0]
    return done.returncode == 0, re.sub(r"^\S+ \S+", "", first)


@pytest.mark.parametrize(
    ("form", "ending"),
    [
        ("--dry-run X", " (dry run)"),
        ("X --dry-run", " (dry run)"),
        ("--dry-run=client X", " (dry run)"),
        ("--dry-run=server X", " (server dry run)"),
        ("X --dry-run=bogus", None),
        ("X --dry-run=", None),
        ("--dry-run -- X", " (dry run)"),
    ],
)
def test_dry_run_in_every_form_is_kubectls(
    form: str, ending: str | None, plane: ControlPlane, plugin: Plugin
) -> None:
    before = plane.get("application", APP)
    theirs = (
        plane.kubectl(
            "label", "application", *form.replace("X", APP).split(), "-n=argocd", "x=y", check=False
        )
        if "--" not in form.split()
        else None
    )
    ours = plugin("pause", *form.replace("X", APP).split())
    assert ended(ours) == (ending is not None, ending or "")
    if theirs is not None:
        assert ended(theirs) == ended(ours)
    assert (
        plane.get("application", APP)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    )


def test_a_dry_run_of_none_is_none(plane: ControlPlane, plugin: Plugin, paused: None) -> None:
    assert plugin("pause", APP, "--dry-run=none").stdout == f"{NAME} paused\n"
    assert not is_auto_sync_on(plane.get("application", APP))


# -- what is said on stdout


def test_lines_are_kubectls(plane: ControlPlane, plugin: Plugin, paused: None) -> None:
    theirs = plane.kubectl("label", "application", APP, "-n=argocd", "x=y", "--dry-run=client").stdout
    assert theirs == f"{NAME} labeled (dry run)\n"
    assert plugin("pause", APP, "--dry-run=client").stdout == f"{NAME} paused (dry run)\n"
    assert plugin("pause", APP, "--dry-run=server").stdout == f"{NAME} paused (server dry run)\n"
    assert plugin("pause", APP, "--dry-run=server", "-o", "name").stdout == f"{NAME}\n"
    assert plugin("pause", APP).stdout == f"{NAME} paused\n"
    again = plugin("pause", APP)
    assert (again.returncode, again.stdout.split(" (")[0]) == (0, f"{NAME} unchanged")
    assert plugin("pause", APP, "-oname").stdout == f"{NAME}\n"


@pytest.mark.parametrize("form", ["-o json", "-ojson", "-o=json", "--output json", "--output=json"])
def test_output_in_every_form(form: str, plane: ControlPlane, plugin: Plugin) -> None:
    done = plugin("pause", APP, "--dry-run", *form.split())
    assert done.stdout.startswith('{\n  "apiVersion": "argo-rescue/v1",\n')


# -- the server's warnings

FROZEN = "nobody should edit this while the freeze lasts"


@pytest.fixture(scope="module")
def warned(plane: ControlPlane) -> Iterator[str]:
    """The text with which the server warns of every write to the first application."""
    api = "admissionregistration.k8s.io"
    meta = {"name": "manners"}
    rule = {
        "apiGroups": ["argoproj.io"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["applications"],
    }  # fmt: skip
    plane.apply(
        {
            "apiVersion": f"{api}/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": meta,
            "spec": {
                "failurePolicy": "Ignore",
                "matchConstraints": {"resourceRules": [rule]},
                "matchConditions": [{"name": "polite", "expression": f"object.metadata.name == '{APP}'"}],
                "validations": [{"expression": "false", "message": FROZEN}],
            },
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": meta,
            "spec": {"policyName": "manners", "validationActions": ["Warn"]},
        },
    )
    write = ("label", "application", APP, "-n=argocd", "x=y", "--dry-run=server")
    said = plane.until(
        lambda: next((line for line in plane.kubectl(*write).stderr.splitlines() if FROZEN in line), None),
        60,
        "the policy warns",
    )
    yield said
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        plane.kubectl("delete", kind, "manners")


def test_a_warning_of_the_server_is_kubectls_line_once_on_stderr(warned: str, plugin: Plugin) -> None:
    assert warned.startswith("Warning: ")
    done = plugin("pause", APP, "--dry-run=server")
    assert done.stdout == f"{NAME} paused (server dry run)\n"
    assert done.stderr.splitlines().count(warned) == 1
    assert done.stderr.count(FROZEN) == 1


def test_a_warning_stays_off_stdout_in_json(warned: str, plugin: Plugin) -> None:
    done = plugin("pause", APP, "--dry-run=server", "-o", "json")
    assert FROZEN not in done.stdout.partition('"data"')[2]
    assert done.stderr.splitlines().count(warned) == 1


def _screen(plane: ControlPlane, plugin: Plugin, setting: str, *words: str) -> str:
    command = ["/usr/bin/env", setting, str(plane.bin / "kubectl"), *words]
    code, screen = on_screen(command, plugin.environment())
    assert code == 0, screen
    return screen


@pytest.mark.parametrize(
    ("setting", "is_coloured"),
    [("X=1", True), ("NO_COLOR=1", False), ("NO_COLOR=", False), ("TERM=dumb", False), ("TERM=", True)],
)
def test_colours_are_where_kubectl_has_them(
    setting: str, is_coloured: bool, warned: str, plane: ControlPlane, plugin: Plugin
) -> None:
    theirs = _screen(plane, plugin, setting, "label", "app", APP, "-n=argocd", "x=y", "--dry-run=server")
    ours = _screen(plane, plugin, setting, "argo-rescue", "pause", APP, "--dry-run=server")
    (warning,) = [line for line in theirs.splitlines() if FROZEN in line]
    assert ("\x1b[" in theirs, "\x1b[" in ours) == (is_coloured, is_coloured)
    assert warning in ours.splitlines()


def test_no_colour_in_a_pipe(warned: str, plugin: Plugin) -> None:
    done = plugin("pause", APP, "--dry-run=server", env={"TERM": "xterm-256color"})
    assert "\x1b" not in done.stdout + done.stderr


# -- mistakes, exit codes


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["pasue", APP], 2, "unknown verb 'pasue'; did you mean pause? See kubectl argo-rescue --help"),
        (["pause", APP, "--nmaespace=x"], 2, "unknown flag: --nmaespace; did you mean --namespace? See kubectl argo-rescue pause --help"),
        (["--contxt=x", "pause", APP], 2, "unknown flag: --contxt; did you mean --context? See kubectl argo-rescue pause --help"),
        (["pause", APP, "-x"], 2, "unknown shorthand flag: -x; see kubectl argo-rescue pause --help"),
        (["pause", APP, "-n"], 2, "flag needs an argument: -n; see kubectl argo-rescue pause --help"),
        (["pause", APP[:-1]], 1, f"Application {APP[:-1]} does not exist in namespace argocd; did you mean {APP}? See them all: kubectl get applications.argoproj.io -n argocd"),
        (["pause", APP, "--request-timeout=5x"], 2, ""),
        (["pause", APP, "--context=nowhere"], 1, ""),
        (["pause", APP, "--as=mallory"], 1, ""),
        (["pause"], 2, "nothing says which applications; name them, or say --all, --project or -l"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_mistakes_are_said_in_one_line_with_their_code(
    words: Sequence[str], code: int, said: str, plane: ControlPlane, plugin: Plugin
) -> None:
    done = plugin(*words)
    assert (done.returncode, done.stdout) == (code, "")
    said_lines = done.stderr.splitlines()
    (at,) = [i for i, line in enumerate(said_lines) if line.startswith("error: ")]
    line = re.sub(r" \(AR\d{4}\)$", "", said_lines[at])
    assert "; ".join([line, *(hint.strip() for hint in said_lines[at + 1 :])]) == f"error: {said}" or not said


# -- help


def test_help_is_kubectls_in_order_and_name(plugin: Plugin) -> None:
    every = plugin("--help").stdout
    for words in ([], ["-h"], ["help"], ["help", "help"], ["-n", "argocd"]):
        done = plugin(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, every, "")
    order = [
        "Examples:",
        "\nStart here:",
        "\nOptions:",
        "\nUsage: kubectl argo-rescue VERB",
        "\nConnection, ",
    ]
    places = [every.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_starts_with_its_examples(verb: str, plugin: Plugin) -> None:
    text = plugin("help", verb, check=True).stdout
    assert text == plugin(verb, "-h").stdout == plugin(verb, "--help").stdout
    before, _, after = text.partition("\nExamples:\n")
    assert "\nOptions:" not in before
    assert after.startswith(f"  kubectl argo-rescue {verb}")
    assert f"\nUsage: kubectl argo-rescue {verb}" in after


# -- requests


def test_requests_are_shown_from_level_6_on_as_the_audit_log_has_them(
    plane: ControlPlane, plugin: Plugin
) -> None:
    mark = plane.audit_mark()
    done = plugin("pause", APP, "--dry-run=server", "-v=6")
    line = r"^(GET|POST|PATCH) (/\S+) (\d+) [A-Za-z ]+ in \d+ ms$"
    shown = sorted((m[2], int(m[3])) for m in re.finditer(line, done.stderr, re.MULTILINE))
    seen = sorted((unquote(e.uri), e.code) for e in plane.audit(mark) if "argo-rescue" in e.agent)
    assert shown == seen
    assert ("dryRun=All", 200) in [(uri.rpartition("&")[2], code) for uri, code in shown]
    assert "    sent:" not in done.stderr
    assert not re.search(line, plugin("pause", APP, "--dry-run=server", "-v5").stderr, re.MULTILINE)


def test_level_8_shows_more_and_no_secret_ever(plane: ControlPlane, plugin: Plugin, tmp_path: Path) -> None:
    secret = token(plane)
    plane.kubectl(
        "patch",
        "app",
        APP,
        "-n=argocd",
        "--type=merge",
        "-p",
        '{"spec":{"source":{"helm":{"values":"password: hunter2"}}}}',
    )
    plugin_text = f"echo '{credential(secret)}'"
    file = kubeconfig(
        tmp_path / "with-plugin",
        {
            "server": f"https://127.0.0.1:{plane.port}",
            "certificate-authority": str(plane.authority.certificate),
        },
        exec_user(script(tmp_path / "login", plugin_text)),
    )
    for words in ([f"--kubeconfig={file}"], ["--token", secret, f"--kubeconfig={file}"]):
        for level, verb in itertools.product(("-v6", "-v=8"), ("pause", "status")):
            done = plugin(verb, APP, *(["--dry-run=server"] if verb == "pause" else []), *words, level)
            assert done.returncode == 0, done.stderr
            assert f"as {TOKEN_USER};" in done.stderr
            assert ("    came: " in done.stderr) == (level != "-v6")
            for word in (secret, secret[:40], "Bearer", "hunter2"):
                assert word not in done.stderr, level


def test_a_token_on_the_command_line_is_not_kept(plane: ControlPlane, plugin: Plugin, paused: None) -> None:
    secret = token(plane)
    plugin("pause", APP, "--token", secret, check=True)
    kept = plane.kubectl("get", "configmap,event", "-n", "argocd", "-o", "yaml").stdout
    files = [f.read_text() for f in plugin.home.rglob("*.jsonl")]
    assert files
    assert not [text for text in (kept, *files) if secret[:40] in text]
