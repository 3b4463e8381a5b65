"""What the documents say of kubectl itself is what this kubectl does."""

from __future__ import annotations

from tests import docs
from tests.testbed.control_plane import ControlPlane
from tests.testbed.plugin import Plugin


def test_flags_go_after_the_plugins_name(control_plane: ControlPlane, plugin: Plugin) -> None:
    page = (docs.CHECKOUT / "docs" / "troubleshooting.md").read_text()
    said = "flags cannot be placed before plugin name"
    assert f'## kubectl says "{said}"' in page
    refused = control_plane.kubectl("--context=testbed", "argo-rescue", "version", check=False)
    assert said in refused.stderr
    assert plugin("--context=testbed", "version").returncode == 0
