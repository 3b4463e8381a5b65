"""Which context, server and namespace are named, without asking kubectl where that is certain.

Covered: what is picked of a configuration; kubeconfigs as kubectl and the clouds write them are read;
what YAML allows beside that is left to kubectl; what is read is what a YAML library reads, a text that
is perhaps no string left out; several files; files that change, that are pipes, or have no fixed place.
Left to the apiserver lane: that kubectl says the same.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_argo_rescue.cluster.target import Kubeconfig, plain_yaml, read_target
from kubectl_argo_rescue.cluster.transport import Connection, Target

CONFIG = {
    "current-context": "a",
    "contexts": [
        {"name": "a", "context": {"cluster": "c1", "user": "u1", "namespace": "web"}},
        {"name": "b", "context": {"cluster": "c2", "user": "u2"}},
    ],
    "clusters": [
        {"name": "c1", "cluster": {"server": "https://one"}},
        {"name": "c2", "cluster": {"server": "https://two"}},
    ],
    "users": [{"name": "u1", "user": {"exec": {"command": "login"}}}, {"name": "u2", "user": {}}],
}


@pytest.mark.parametrize(
    ("flags", "target", "has_exec"),
    [
        (Connection(), Target("a", "https://one", "web"), True),
        (Connection(token="t"), Target("a", "https://one", "web"), False),
        (Connection(context="b"), Target("b", "https://two", ""), False),
        (Connection(context="b", user="u1"), Target("b", "https://two", ""), True),
        (Connection(cluster="c2"), Target("a", "https://two", "web"), True),
        (Connection(server="https://flag"), Target("a", "https://flag", "web"), True),
        (Connection(context="gone"), Target("gone", "", ""), False),
    ],
)
def test_target_from_kubectls_configuration(flags: Connection, target: Target, has_exec: bool) -> None:
    assert read_target(CONFIG, flags, {}) == (target, has_exec)


def test_target_inside_a_cluster() -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    empty = {"clusters": None, "contexts": None, "current-context": "", "users": None}
    assert read_target(empty, Connection(), inside)[0] == Target("", "https://10.0.0.1:443", "")
    assert read_target(empty, Connection(), {**inside, "KUBERNETES_SERVICE_HOST": "fd00::1"})[0] == Target(
        "", "https://[fd00::1]:443", ""
    )


CLOUDS = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==
    server: https://203.0.113.7
  name: gke_shop_europe-west1_prod
- cluster:
    certificate-authority: /home/me/.minikube/ca.crt
    extensions:
    - extension:
        last-update: Mon, 13 May 2024 10:00:00 CEST
        version: v1.33.0
      name: cluster_info
    server: https://192.168.49.2:8443
  name: arn:aws:eks:eu-central-1:123456789012:cluster/shop
contexts:
- context:
    cluster: gke_shop_europe-west1_prod
    namespace: "1234"
    user: gke
  name: prod
- context:
    cluster: arn:aws:eks:eu-central-1:123456789012:cluster/shop
    user: azure
  name: other@there
current-context: prod
kind: Config
preferences: {}
users:
# As gcloud writes it
- name: gke
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - --use
      - 'this'
      command: gke-gcloud-auth-plugin
      env: null
      installHint: Install gke-gcloud-auth-plugin for use with kubectl by following
        https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-access#install_plugin
      provideClusterInfo: true
- name: azure
  user:
    exec:
      command: kubelogin
      installHint: |2

        kubelogin is not installed: see
        # https://aka.ms/kubelogin
- name: kind
  user: {}
"""


def written(path: Path, text: str) -> Connection:
    path.write_text(text)
    return Connection(kubeconfig=str(path))


def read(path: Path, text: str) -> Any:
    return Kubeconfig(written(path, text), {}).read()


def test_what_the_clouds_write_is_read(tmp_path: Path) -> None:
    config = read(tmp_path / "config", CLOUDS)
    assert read_target(config, Connection(), {}) == (Target("prod", "https://203.0.113.7", "1234"), True)
    other = Target("other@there", "https://192.168.49.2:8443", "")
    assert read_target(config, Connection(context="other@there"), {}) == (other, True)
    assert not read_target(config, Connection(user="kind"), {})[1]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("current-context: prod", "current-context: 5"),
        ("current-context: prod", "current-context: yes"),
        ("current-context: prod", "current-context: null"),
        ("current-context: prod", "current-context: &a prod"),
        ("current-context: prod", "current-context: !!str prod"),
        ("current-context: prod", "current-context: prod # mine"),
        ("current-context: prod", "current-context: prod\n  uction"),
        ("current-context: prod", "current-context: |\n  prod"),
        ("current-context: prod", 'current-context: "pr\\x6fd"'),
        ("current-context: prod", "current-context: prod\r"),
        ("current-context: prod", "current-context:\tprod"),
        ("current-context: prod", "current-context: pr\u00f6d"),
        ("current-context: prod", "current-context: prod\ncurrent-context: other@there"),
        ("current-context: prod", '"current-context": prod'),
        ("current-context: prod", "? current-context\n: prod"),
        ("apiVersion: v1", "---\napiVersion: v1"),
        ("apiVersion: v1", "apiVersion: v2"),
        ("kind: Config\n", ""),
        ("kind: Config", "kind: List"),
        ("kind: Config", "kind: Config\n---\nkind: Config"),
        ("    user: gke", "    <<: {user: gke}"),
        ("    user: gke", "    user: {gke: 1}"),
        ("    user: gke", "     user: gke"),
        ("  name: prod\n", "  name: 2024-01-01\n"),
        ("  name: prod\n", ""),
        ("name: azure", "name: gke"),
        ("  user: {}", "  user: null"),
        ("preferences: {}", "preferences: {colors: true}"),
    ],
)
def test_the_rest_of_yaml_is_left_to_kubectl(tmp_path: Path, was: str, becomes: str) -> None:
    assert CLOUDS.count(was)
    path = tmp_path / "config"
    path.write_bytes(CLOUDS.replace(was, becomes, 1).encode())
    assert Kubeconfig(Connection(kubeconfig=str(path)), {}).read() is None


def same(ours: Any, theirs: Any) -> bool:
    """Whether what is read is what a library reads; None says nothing of a scalar."""
    if isinstance(ours, dict):
        return (
            isinstance(theirs, dict)
            and ours.keys() == {str(key) for key in theirs}
            and all(same(ours[str(key)], value) for key, value in theirs.items())
        )
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return not isinstance(theirs, dict | list) if ours is None else bool(ours == theirs)


LINES = st.builds(
    lambda indent, dash, key, value: " " * indent + dash + key + value,
    st.integers(0, 5),
    st.sampled_from(["", "", "- ", "-"]),
    st.sampled_from(["", "a:", "b: ", "name: ", "c-d: "]),
    st.sampled_from(
        [
            "",
            "x",
            "x:y",
            "x: y",
            "x #y",
            "- x",
            "--x",
            "{}",
            "[]",
            "|",
            "|2",
            ">-",
            "'x'",
            '"x"',
            '"',
            "5",
            "yes",
        ]
        + [
            "0x1f",
            "1e3",
            "2024-01-01",
            "~",
            "null",
            "# x",
            "*x",
            "&x y",
            "x,y",
            "[x",
            "x y  ",
            "https://x:1/",
            "/x:",
        ]
    ),
)


@given(st.lists(LINES, max_size=8).map("\n".join))
@example("a:\n- b: x\n  c-d:\n  - x\nb: x\n")
@example("a: x\n  y\nb: x")
@example("a: |2\n\n    x: y\n   # x\nb: x")
def test_what_is_read_is_what_a_library_reads(text: str) -> None:
    try:
        ours = plain_yaml(text)
    except ValueError:
        return
    try:
        theirs = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        return  # kubectl does not start either
    assert same(ours, theirs)


@given(st.text("abcdefxonyYNE0123456789._:/@+=%~- ", max_size=8))
def test_a_text_that_may_be_no_string_is_not_taken_for_one(value: str) -> None:
    try:
        found = plain_yaml(f"a: {value}")
    except ValueError:
        return
    assert isinstance(found, dict)
    if found["a"] is not None:
        assert found["a"] == value.rstrip()
        assert yaml.safe_load(f"a: {value}") == found


def test_several_files(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text("apiVersion: v1\nkind: Config\ncurrent-context: prod\nclusters: null\n")
    there.write_text(CLOUDS.replace("current-context: prod", "current-context: other@there"))
    environ = {"KUBECONFIG": f"/nowhere:{here}::{there}"}
    config = Kubeconfig(Connection(), environ).read()
    assert config is not None
    assert read_target(config, Connection(), {})[0].context == "prod"
    here.write_text(CLOUDS)
    assert Kubeconfig(Connection(), environ).read() is None, "who wins is for kubectl to say"


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(CLOUDS)
    home = {"HOME": str(tmp_path)}
    assert Kubeconfig(Connection(), home).read() is not None
    assert Kubeconfig(Connection(), {**home, "KUBECONFIG": ""}).read() is not None
    assert Kubeconfig(Connection(), {**home, "KUBECONFIG": "/nowhere"}).read() is None
    assert Kubeconfig(Connection(kubeconfig="/nowhere"), home).read() is None
    assert Kubeconfig(Connection(), {}).read() is None
    monkeypatch.chdir(tmp_path)
    assert Kubeconfig(Connection(kubeconfig=".kube/config"), home).read() is None
    assert Kubeconfig(Connection(kubeconfig=str(tmp_path)), home).read() is None


def test_a_pipe_is_left_for_kubectl(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Kubeconfig(Connection(kubeconfig=str(tmp_path / "pipe")), {}).read() is None


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig = Kubeconfig(written(path, CLOUDS), {})
    assert kubeconfig.read() is not None
    assert kubeconfig.is_as_it_was()
    path.write_text(re.sub("prod", "past", CLOUDS))
    assert not kubeconfig.is_as_it_was()
