"""What Argo CD does that hand-back rests on: the cases of `controllers`, on real controllers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.testbed.argocd import ArgoCD

from .controllers import CASES, WITH_ENABLED, has_enabled
from .scene import Scene


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_controllers_do_so(argocd: ArgoCD, scene: Scene, case: Callable[[Scene], None]) -> None:
    del argocd
    if case not in WITH_ENABLED or has_enabled(scene):
        case(scene)
