"""What a release has beside its archives, as far as a machine without a forge can make it.

Covered: wheel and sdist have their commit; checksums, signed and verified by a test
key, and tampering that is noticed; an SBOM; the image's steps in an empty folder; the formula; the workflow,
the scripts and the Containerfile by their linters; actions pinned by commit; the k9s file by k9s's own schema;
the alert's expressions by Prometheus' grammar. Has not run here: keyless signing, attestations, publishing,
pulling a base image, `brew audit`, archives of other platforms than this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from krew import build, formula, wheel
from kubectl_argo_rescue import __version__
from tests import docs
from tests.unit.project.test_reminder import one

from .scripts import RELEASE, key_pair, ran

WORKFLOW = docs.CHECKOUT / ".github" / "workflows" / "release.yml"
K9S = "github.com/derailed/k9s@v0.50.16"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.9"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, and an archive of each platform that is made up."""
    folder = tmp_path_factory.mktemp("dist")
    wheel.wheel(folder)
    for entry in yaml.safe_load((docs.CHECKOUT / "plugin.yaml").read_text())["spec"]["platforms"]:
        labels = entry["selector"]["matchLabels"]
        (folder / build.archive_name(labels["os"], labels["arch"], __version__)).write_text(str(labels))
    return folder


def test_wheel_and_sdist_are_of_their_commit(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as packed:
        assert packed.read("kubectl_argo_rescue/commit").decode().strip() == build.source_commit()
    with tarfile.open(next(dist.glob("kubectl_argo_rescue-*.tar.gz"))) as packed_source:
        names = packed_source.getnames()
    assert f"kubectl_argo_rescue-{__version__}/setup.cfg" in names


def test_what_makes_a_release_is_pinned() -> None:
    files = [RELEASE / "constraints.txt", docs.CHECKOUT / "krew" / "constraints.txt"]
    pinned = dict(
        line.split("==") for file in files for line in file.read_text().splitlines() if "==" in line
    )
    for script in ("archive.sh", "assemble.sh"):
        (installed,) = re.findall(r"pip install .*", (RELEASE / script).read_text())
        wanted = [w for w in re.split(r"\s+", installed.partition("release/constraints.txt")[2]) if w]
        assert wanted
        assert set(wanted) <= set(pinned)
    assert f"cyclonedx-bom=={pinned['cyclonedx-bom']}" in (docs.CHECKOUT / "setup.cfg").read_text()


def test_checksums_and_signature_hold_and_notice_what_was_changed(dist: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dist, tmp_path / "dist"))
    key, public = key_pair(tmp_path)
    ran(RELEASE / "checksums.sh", folder)
    lines = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    listed = {name: digest for digest, name in lines}
    files = {p.name: p for p in folder.iterdir() if not p.name.startswith("SHA256SUMS")}
    assert listed == {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()}
    ran(RELEASE / "sign.sh", folder, env={"SIGNING_KEY": str(key)})
    ran(RELEASE / "verify.sh", folder, public)
    archive = next(p for name, p in files.items() if "linux" in name)
    archive.write_text("something else")
    ran(RELEASE / "verify.sh", folder, public, code=1)
    ran(RELEASE / "checksums.sh", folder)
    ran(RELEASE / "verify.sh", folder, public, code=1)


def test_a_tag_must_be_the_programs_version() -> None:
    ran(RELEASE / "tag.sh", "v99.0.0", code=1)
    said = subprocess.run(
        [RELEASE / "tag.sh", f"v{__version__}"], capture_output=True, text=True, check=False
    )
    has_notes = f"## [{__version__}]" in (docs.CHECKOUT / "CHANGELOG.md").read_text()
    assert (said.returncode == 0) is has_notes, said.stderr


def test_an_sbom_names_what_is_in_it(tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        ran(RELEASE / "sbom.sh", sys.executable, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    said = json.loads(files[0].read_text())
    assert said["bomFormat"] == "CycloneDX"
    assert {"click", "msgspec", "PyYAML"} <= {c["name"] for c in said["components"]}


def test_the_images_steps_in_an_empty_folder(dist: Path, tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\n")
    root = tmp_path / "root"
    ran(RELEASE / "image.sh", root, next(dist.glob("*.whl")), kubectl)
    program = root / "usr" / "local" / "bin" / "kubectl-argo_rescue"
    assert ran(program, "version", env={"HOME": "/nowhere"}) == f"kubectl-argo-rescue {__version__}\n"
    assert json.loads(ran(program, "version", "-o", "json"))["data"]["commit"] == build.source_commit()
    assert os.access(root / "usr" / "local" / "bin" / "kubectl", os.X_OK)
    assert (root / "state").stat().st_mode & 0o777 == 0o777
    text = (docs.CHECKOUT / "Containerfile").read_text()
    assert "USER 65532" in text
    ran("hadolint", docs.CHECKOUT / "Containerfile")


def test_the_formula_has_what_homebrew_asks_for(dist: Path) -> None:
    text = formula.formula(dist, __version__, "https://forge.invalid/it")
    assert text.count("url ") == text.count("sha256 ") == 4
    for digest, url in zip(re.findall('sha256 "(.*)"', text), re.findall('url "(.*)"', text), strict=True):
        assert digest == hashlib.sha256((dist / url.rpartition("/")[2]).read_bytes()).hexdigest()
    assert len(re.findall(r"\b(?:do|def|class)\b.*$", text, re.MULTILINE)) == len(
        re.findall(r"^ *end$", text, re.MULTILINE)
    )
    if shutil.which("ruby"):
        ran("ruby", "-c", input=text)


def test_the_workflow_is_pinned_and_clean(tmp_path: Path) -> None:
    text = WORKFLOW.read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert not [u for u in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", u)]
    scripts = set(re.findall(r"release/[\w.]+\.sh", text))
    assert all(os.access(docs.CHECKOUT / s, os.X_OK) for s in scripts)
    ran("go", "install", ACTIONLINT, env={"GOBIN": str(tmp_path)})
    ran(tmp_path / "actionlint", "-no-color", WORKFLOW)
    ran("zizmor", "--offline", "--no-progress", WORKFLOW)


def test_the_scripts_are_clean() -> None:
    ran("shellcheck", *sorted(RELEASE.glob("*.sh")))


def test_k9s_takes_the_plugin_file() -> None:
    from jsonschema import Draft7Validator  # of this lane alone

    place = json.loads(ran("go", "mod", "download", "-json", K9S))["Dir"]
    schema = json.loads((Path(place) / "internal/config/json/schemas/plugins.json").read_text())
    validator = Draft7Validator(schema)
    plugins = yaml.safe_load((docs.CHECKOUT / "k9s" / "plugins.yaml").read_text())
    assert not [e.message for e in validator.iter_errors(plugins)]
    del plugins["plugins"]["argo-rescue-undo"]["command"]
    assert [e.message for e in validator.iter_errors(plugins)]


def test_prometheus_understands_the_alerts() -> None:
    from promql_parser import parse  # of this lane alone

    for rule in one("PrometheusRule")["spec"]["groups"][0]["rules"]:
        parse(rule["expr"])
    with pytest.raises(ValueError, match="unclosed"):
        parse("max by (namespace (x)")
