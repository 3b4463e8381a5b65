"""Fixtures of the lanes that need a control plane, and the flags that choose what runs."""

from __future__ import annotations

import gc
import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from .testbed.programs import RELEASES

if TYPE_CHECKING:  # the unit lane pays for none of it
    from .testbed.argocd import ArgoCD
    from .testbed.control_plane import ControlPlane
    from .testbed.plugin import Plugin

UNKNOWN = "unknown"
"""A bed whose Argo CD does not tell its version: its parts are out of sight."""

UNKNOWN_LINE = "3.2"
"""The release line that runs on that bed: one without `Terminating` for what a window holds."""

BEDS: Mapping[str, bool] = {
    **{line: release.runs == "all" for line, release in RELEASES.items() if release.runs},
    UNKNOWN: False,
}
"""What the e2e lane runs on, and whether all of it does, or its core: the tests marked so."""

SIZE = os.environ.get("ARGO_RESCUE_TEST_SIZE", "sample")
"""How much the property and fault tests try: `sample` (the same one every time) or `full`."""

# How fast this machine is says nothing about what is tested.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("sample", unhurried, max_examples=50, derandomize=True, database=None)
settings.register_profile("full", unhurried, max_examples=2000)
settings.load_profile(SIZE)


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A job in the background of a shell is deaf to Ctrl-C, and so would be all that tests start.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bed",
        default=",".join(BEDS),
        metavar="BEDS",
        help="Argo CD release lines for the e2e lane, comma separated (default: %(default)s)",
    )
    parser.addoption(
        "--beyond-the-core",
        action="store_true",
        help="run on each bed what is asked for, also where only the lane's core belongs to it",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "argo_bed" in metafunc.fixturenames:
        chosen = [word.strip() for word in metafunc.config.getoption("--bed").split(",") if word.strip()]
        if not chosen or not set(chosen) <= set(BEDS):
            raise pytest.UsageError(f"--bed takes {', '.join(BEDS)}, not {','.join(chosen) or 'nothing'}")
        metafunc.parametrize("argo_bed", chosen, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--beyond-the-core"):
        config.hook.pytest_deselected(items=[item for item in items if not _belongs_to_its_bed(item)])
        items[:] = [item for item in items if _belongs_to_its_bed(item)]
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "argo_bed" in fixtures:
            item.add_marker("e2e")
        elif "control_plane" in fixtures:
            item.add_marker("apiserver")


def _belongs_to_its_bed(item: pytest.Item) -> bool:
    bed = item.callspec.params.get("argo_bed") if hasattr(item, "callspec") else None
    return bed is None or BEDS[bed] or item.get_closest_marker("core") is not None


def pytest_collection_finish() -> None:
    # What is collected stays to the end, and looking through it again and again takes a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def is_full_size() -> bool:
    """Whether fault tests try every case, or a sample of them."""
    return SIZE == "full"


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real API server with Argo CD's CRDs and namespace `argocd`, shared by the whole run."""
    from .testbed.control_plane import ControlPlane

    with ControlPlane() as running:
        running.namespace("argocd")
        yield running


_numbers = itertools.count(1)


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A fresh namespace of the shared API server."""
    return control_plane.namespace(f"test-{next(_numbers)}")


@pytest.fixture(scope="session")
def argo_version(argo_bed: str) -> str:
    """The release line of Argo CD on the bed."""
    return UNKNOWN_LINE if argo_bed == UNKNOWN else argo_bed


@pytest.fixture(scope="module")
def argocd(argo_bed: str, argo_version: str) -> Iterator[ArgoCD]:
    """Argo CD's real controllers on a control plane of their own, once per file and bed."""
    from .testbed.argocd import running

    with running(argo_version, workloads=argo_bed != UNKNOWN) as argocd:
        yield argocd


@pytest.fixture
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> Plugin:
    """Run `kubectl argo-rescue …` against the bed that the test uses."""
    from .testbed.plugin import Plugin

    if "argocd" in request.fixturenames:
        plane: ControlPlane = request.getfixturevalue("argocd").control_plane
    else:
        plane = request.getfixturevalue("control_plane")
    return Plugin(plane, tmp_path / "homes")
