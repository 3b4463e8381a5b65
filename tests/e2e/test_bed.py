"""The bed with Argo CD: the first rollout and its time, the incident, two at once, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.testbed import programs
from tests.testbed.argocd import CONTROLLER, ArgoCD, running
from tests.testbed.control_plane import ControlPlane
from tests.testbed.incident import APP, BROKEN, FIXED, FREEZE, GOOD, PROJECT, Incident
from tests.testbed.processes import until
from tests.testbed.sources import application, manifest, project


def test_the_incident_happens(argo_version: str) -> None:
    start = time.monotonic()
    with running(argo_version) as argocd:
        up = time.monotonic() - start
        incident = Incident(argocd)
        incident.day0()
        rolled_out = time.monotonic() - start
        # Printed, not judged: a busy machine is no failure.
        print(f"Argo CD {argo_version}: up after {up:.1f} s, first rollout after {rolled_out:.1f} s")

        incident.upgrade()
        incident.freeze()

        assert argocd.get("appproject", PROJECT)["spec"]["syncWindows"] == list(FREEZE)
        assert incident.pods() == {GOOD: 0, BROKEN: 2}
        assert not incident.is_serving(BROKEN)
        assert argocd.app(APP)["status"]["health"]["status"] == "Progressing"
        image = argocd.get("statefulset", "argocd-application-controller")["spec"]["template"]["spec"]
        assert image["containers"][0]["image"] == f"quay.io/argoproj/argocd:{argocd.module.version}"


def test_git_fixed_to_another_version_serves(argocd: ArgoCD) -> None:
    incident = Incident(argocd)
    incident.day0()
    incident.upgrade()
    incident.upgrade(FIXED)
    argocd.until(lambda: incident.is_serving(FIXED), 120, f"{FIXED} serves")
    argocd.until_synced(APP)


def test_a_stopped_controller_does_nothing_until_it_is_back(argocd: ArgoCD) -> None:
    source = {"repoURL": argocd.repository.url, "path": "stopped", "targetRevision": "main"}
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stopped"}, "data": {"page": "1"}}
    argocd.git(("stopped/page.yaml", manifest(page)))
    argocd.stop(CONTROLLER)
    argocd.apply(application("stopped", source))
    assert argocd.api.find("configmap", "stopped", "default") is None
    argocd.start(CONTROLLER)
    argocd.until_synced("stopped")
    assert argocd.api.get("configmap", "stopped", "default")["data"] == {"page": "1"}


def test_an_application_set_makes_its_applications(argocd: ArgoCD) -> None:
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-set"}}
    argocd.git(("from-set/page.yaml", manifest(page)))
    source = {"repoURL": argocd.repository.url, "path": "{{name}}", "targetRevision": "main"}
    template = application("{{name}}", source)
    argocd.apply(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": "set", "namespace": argocd.namespace},
            "spec": {
                "generators": [{"list": {"elements": [{"name": "from-set"}]}}],
                "template": {"metadata": {"name": "{{name}}"}, "spec": template["spec"]},
            },
        }
    )
    argocd.until_synced("from-set")
    assert argocd.app("from-set")["metadata"]["ownerReferences"][0]["kind"] == "ApplicationSet"


def test_settings_reach_the_controllers(argo_version: str) -> None:
    elsewhere = project("team", windows=[], sourceNamespaces=["team-*"])
    with running(
        argo_version, params={"application.namespaces": "team-*"}, tracking="label", workloads=False
    ) as argocd:
        argocd.control_plane.namespace("team-a")
        argocd.apply(elsewhere)
        page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}}
        argocd.git(("page/page.yaml", manifest(page)))
        source = {"repoURL": argocd.repository.url, "path": "page", "targetRevision": "main"}
        argocd.apply(application("page", source, namespace="team-a", project="team"))
        live = argocd.until(lambda: argocd.api.find("configmap", "page", "default"), 120, "the page is there")
    assert live["metadata"]["labels"]["app.kubernetes.io/instance"] == "team-a_page"


def test_two_argo_cds_on_one_control_plane(argo_version: str) -> None:
    with ControlPlane(argo_version) as control_plane:
        with (
            ArgoCD(control_plane, argo_version, namespace="argocd", cm={"installationID": "one"}) as one,
            ArgoCD(control_plane, argo_version, namespace="argo-two", cm={"installationID": "two"}) as two,
        ):
            for number, argocd in enumerate((one, two)):
                name = f"page-{number}"
                page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
                argocd.git((f"{name}/page.yaml", manifest(page)))
                source = {"repoURL": argocd.repository.url, "path": name, "targetRevision": "main"}
                argocd.apply(application(name, source, namespace=argocd.namespace))
            one.until_synced("page-0")
            two.until_synced("page-1")


def test_a_person_is_left_in_front_of_the_incident(argo_version: str, tmp_path: Path) -> None:
    # A cache of its own, filled with what was built, so that nobody's `make cluster` is touched.
    programs.build_all([argo_version])
    for built in programs.cache_folder().iterdir():
        if built.is_dir():
            (tmp_path / built.name).symlink_to(built)

    def testbed(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.testbed", *arguments],
            env={**os.environ, programs.CACHE: str(tmp_path)},
            cwd=_CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert testbed("status").returncode == 1
    up = testbed("up", "--argo", argo_version)
    try:
        assert up.returncode == 0, up.stderr
        assert "kubectl argo-rescue pause root" in up.stdout
        exports = [line.strip() for line in up.stdout.splitlines() if line.strip().startswith("export")]
        look = "kubectl -n argocd get application traefik -o jsonpath={.status.health.status}"
        shell = subprocess.run(
            ["/bin/sh", "-c", "\n".join([*exports, look])], capture_output=True, text=True, check=False
        )
        assert shell.stdout == "Progressing", shell.stderr
        assert testbed("status").stdout == up.stdout == testbed("up").stdout
    finally:
        down = testbed("down")
    assert down.returncode == 0, down.stderr
    assert testbed("status").returncode == 1
    assert not Path(exports[0].partition("=")[2]).exists()


_CHECKOUT = Path(__file__).parents[2]
_OWNER = """
import sys
from tests.testbed import programs
from tests.testbed.argocd import running
with running(sys.argv[1]) as argocd:
    print(argocd.processes.folder, *(p.pid for p in argocd.processes.running().values()), flush=True)
    sys.stdin.read()
"""


def _start_owner(version: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _OWNER, version],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_CHECKOUT,
    )


def test_two_at_once_do_not_disturb_each_other_and_kill_9_leaves_nothing(argo_version: str) -> None:
    with _start_owner(argo_version) as first, _start_owner(argo_version) as second:
        assert first.stdout and second.stdout
        folder, *pids = first.stdout.readline().split()
        other_folder, *other_pids = second.stdout.readline().split()
        assert len(pids) == len(other_pids) == 10

        first.kill()
        until(lambda: not _running(pids), 60, "all of the killed one's programs ended")
        until(lambda: not Path(folder).exists(), 60, "its folder is gone")
        assert _running(other_pids) == other_pids

        assert second.stdin
        second.stdin.close()
        until(lambda: not _running(other_pids), 60, "all of the other one's programs ended")
        until(lambda: not Path(other_folder).exists(), 60, "its folder is gone as well")


def _running(pids: list[str]) -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-p", ",".join(pids)], capture_output=True, text=True, check=False
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    alive = {pid for pid, state in lines if not state.startswith("Z")}
    return [pid for pid in pids if pid in alive]
