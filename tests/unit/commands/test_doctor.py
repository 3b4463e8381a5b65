"""`doctor`: what it looks at, what it says to fix, and that it changes nothing.

Covered: all is well; rights that are missing, by verb; a journal that one home or none takes; clocks;
Argo CD that is not there, or whose controller is dead; other clusters and the contexts that lead to
them; kubectl and completion on this machine; a server that does not answer; 80 columns; JSON.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kubectl_argo_rescue.act.doctor import NEEDED
from kubectl_argo_rescue.cluster import kubectl_process
from kubectl_argo_rescue.cluster.transport import Target
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import APPLICATION, BY_KIND, CONFIGMAP
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock

from ..harness import Run
from ..scenes import played

EU = "https://eu.example.com:6443"


@pytest.fixture
def api(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InMemoryApi:
    """Friday, on a machine with a kubectl that says its version, and with completion."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("kubectl", "kubectl_complete-argo_rescue"):
        (programs / name).write_text('#!/bin/sh\necho \'{"clientVersion": {"gitVersion": "v1.36.3"}}\'\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return played("incident", run).incident.api


def found(run: Run, api: InMemoryApi, *words: str, code: int) -> dict[str, Any]:
    ran = run(api, "doctor", *words, "-o", "json")
    assert ran.code == code, ran.out + ran.err
    data = ran.json["data"]
    assert data["canRescue"] is (code == 0)
    return {check["name"]: check for check in data["checks"]}


def test_all_is_well(run: Run, api: InMemoryApi) -> None:
    ran = run(api, "doctor")
    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[-1] == "A rescue would work from here."
    assert "✓ kubectl" in ran.out
    assert "1.36.3" in ran.out
    assert "3.6.1 in argocd" in ran.out
    assert "as alice" in ran.out
    assert not api.writes() or all("dryRun" in dict(w.query) for w in api.writes())


def test_it_writes_nothing_that_stays(run: Run, api: InMemoryApi) -> None:
    before = len(api.objects(CONFIGMAP))
    run(api, "doctor")
    assert len(api.objects(CONFIGMAP)) == before
    assert not [path for path in run.state_home().rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("verb", "resource", "lost", "code"),
    [
        ("patch", "appprojects", ("rescue", "unblock", "undo"), 1),
        ("patch", "applications", ("rescue", "pause", "pin", "undo"), 1),
        ("list", "applications", ("status", "rescue"), 1),
        ("patch", "statefulsets", ("rescue --workloads",), 0),
        ("patch", "applicationsets", ("rescue of generated applications",), 0),
        ("delete", "configmaps", ("log prune",), 0),
    ],
)
def test_a_right_that_is_missing_is_said_by_verb(
    run: Run, api: InMemoryApi, verb: str, resource: str, lost: tuple[str, ...], code: int
) -> None:
    api.deny(verb, resource)
    ran = run(api, "doctor", "-o", "json")
    missing = ran.json["data"]["missingRights"]
    assert ran.code == code
    assert set(lost) <= set(missing)
    assert all(right.startswith(f"{verb} {resource}") for rights in missing.values() for right in rights)
    told = run(api, "doctor").out
    assert "docs/rbac.md" in told
    assert f"cannot {verb}" in " ".join(told.split())


def test_every_verb_that_is_judged_is_a_verb() -> None:
    from kubectl_argo_rescue.cli import root

    alone = [name for name in NEEDED if " " not in name]
    assert set(alone) <= set(root.VERBS)


def test_the_journal_in_the_cluster_may_not_be_written(run: Run, api: InMemoryApi) -> None:
    api.deny("create", "configmaps")
    check = found(run, api, code=0)["journal"]
    assert check["finding"] == "warning"
    assert "one place" in check["text"]


def test_no_journal_takes_the_originals(run: Run, api: InMemoryApi) -> None:
    api.deny("create", "configmaps")
    run.state_home().parent.mkdir(parents=True, exist_ok=True)
    run.state_home().write_text("a file where a folder should be")
    check = found(run, api, code=1)["journal"]
    assert check["finding"] == "broken"
    assert "XDG_STATE_HOME" in check["fix"]


def test_a_clock_that_is_wrong(run: Run, api: InMemoryApi) -> None:
    clock = api.clock
    assert isinstance(clock, SteppedClock)
    run.laptop_clock = lambda: clock() - timedelta(hours=2)
    check = found(run, api, code=0)["clock"]
    assert check["finding"] == "warning"
    assert "behind" in check["text"]


def test_a_controller_that_is_dead(run: Run, api: InMemoryApi) -> None:
    kind = BY_KIND["StatefulSet"]
    api.edit(kind, "argocd", "argocd-application-controller", lambda o: o["status"].update(readyReplicas=0))
    check = found(run, api, code=1)["Argo CD"]
    assert "application-controller does not run" in check["text"]
    assert "--workloads" in check["fix"]


def test_argo_cd_is_not_there(run: Run) -> None:
    check = found(run, InMemoryApi(), code=1)["Argo CD"]
    assert "no Argo CD was found" in check["text"]
    assert "--argocd-namespace" in check["fix"]


def spoke(api: InMemoryApi, app: str, server: str) -> None:
    """Have an application deploy into another cluster."""
    api.edit(APPLICATION, "argocd", app, lambda o: o["spec"].update(destination={"server": server}))


def test_other_clusters_and_the_contexts_that_lead_there(run: Run, api: InMemoryApi) -> None:
    eu = InMemoryApi()
    eu.where = Target("eu", f"{EU}/", "")
    run.contexts["prod-eu"] = eu
    spoke(api, "traefik", EU)
    spoke(api, "web", "https://us.example.com")
    ran = run(api, "doctor", "-o", "json")
    told = {c["name"]: c for c in ran.json["data"]["checks"]}
    assert told["context prod-eu"]["finding"] == "fine"
    assert "https://us.example.com will not be seen: no context" in told["other cluster"]["text"]
    assert ran.code == 0


def test_contexts_that_may_lead_elsewhere_or_do_not_answer(run: Run, api: InMemoryApi) -> None:
    eu = InMemoryApi()
    eu.where = Target("eu", EU, "")
    run.contexts["eu"] = eu
    api.edit(APPLICATION, "argocd", "web", lambda o: o["spec"].update(destination={"name": "eu"}))
    check = found(run, api, code=0)["context eu"]
    assert check["finding"] == "warning"
    assert "is it the same?" in check["text"]

    def cut(asked: object) -> None:
        raise TransportError("no route", "is the VPN up?", lasting=True)

    eu.before.append(cut)
    assert found(run, api, code=0)["context eu"]["fix"] == "is the VPN up?"


def test_of_many_clusters_some_are_tried(run: Run, api: InMemoryApi) -> None:
    app = api.find(APPLICATION, "argocd", "web")
    for i in range(7):
        new = {**app, "metadata": {"name": f"web-{i}", "namespace": "argocd"}}
        new["spec"] = {**app["spec"], "destination": {"server": f"https://{i}.example.com"}}
        api.create(new)
    checks = run(api, "doctor", "-o", "json").json["data"]["checks"]
    assert [c["name"] for c in checks].count("other cluster") == 5
    assert found(run, api, code=0)["other clusters"]["text"].startswith("2 more were not tried")


def test_a_context_that_is_tried(run: Run, api: InMemoryApi) -> None:
    eu = InMemoryApi()
    eu.where = Target("eu", EU, "")
    eu.deny("patch", "daemonsets")
    run.contexts["eu"] = eu
    check = found(run, api, "--destination-context", "eu", code=0)["context eu"]
    assert check["finding"] == "warning"
    assert "no rescue --workloads: you cannot patch daemonsets.apps" in check["text"]


def test_who_may_not_freeze_can_rescue(run: Run, api: InMemoryApi) -> None:
    api.deny("patch", "statefulsets/scale")
    api.deny("delete", "applications")
    ran = run(api, "doctor", "-o", "json")
    assert set(ran.json["data"]["missingRights"]) == {"freeze", "orphan"}
    check = found(run, api, code=0)["rights"]
    assert check["finding"] == "fine"
    assert "freeze and orphan take more" in check["text"]


def test_a_server_that_does_not_answer(run: Run, api: InMemoryApi) -> None:
    def cut(asked: object) -> None:
        raise TransportError("cannot reach the API server: no route", "is the VPN up?", lasting=True)

    api.before.append(cut)
    ran = run(api, "doctor")
    assert ran.code == 1
    assert "fix: is the VPN up?" in ran.out
    assert "✓ kubectl" in ran.out


def test_a_machine_without_kubectl_and_completion(
    run: Run, api: InMemoryApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    checks = found(run, api, code=0)
    assert checks["kubectl"]["finding"] == "warning"  # the package makes the connection
    assert checks["completion"]["fix"] == "kubectl argo-rescue completion --install"
    monkeypatch.setenv("ARGO_RESCUE_TRANSPORT", "kubectl")
    assert found(run, api, code=1)["kubectl"]["finding"] == "broken"
    monkeypatch.setenv("ARGO_RESCUE_TRANSPORT", "pigeon")
    assert "kubectl or package" in found(run, api, code=1)["transport"]["fix"]


def test_a_kubectl_that_says_no_version(tmp_path: Path) -> None:
    odd = tmp_path / "kubectl"
    odd.write_text("#!/bin/sh\necho no\n")
    odd.chmod(0o755)
    assert kubectl_process.kubectl_version(str(odd)) == ""


def test_it_fits_on_80_columns(
    run: Run, api: InMemoryApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    spoke(api, "web", EU)
    api.deny("patch", "appprojects")
    lines = run.on_screen(api, "doctor")[1].splitlines()
    assert not [line for line in lines if len(line) > 80 and str(tmp_path) not in line]
    assert EU in " ".join(lines)


def test_name_output_lists_what_is_not_fine(run: Run, api: InMemoryApi) -> None:
    assert run(api, "doctor", "-o", "name").out == ""
    api.deny("create", "configmaps")
    assert run(api, "doctor", "-o", "name").out == "journal\n"
