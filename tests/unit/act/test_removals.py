"""An object that is deleted or made anew: what came of it, whatever becomes of the answer.

Aspects: only the very object; one that is gone already; an answer that is lost after it landed and
before; a refusal; somebody else's object of the name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubectl_argo_rescue.act.removals import create, remove
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import (
    APPLICATION,
    JSON,
    POD,
    Creation,
    Key,
    Ref,
    Removal,
    StepStatus,
    ref_of,
)
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.incident import application

from ..build import cluster

WEB = application("web", project="default", source={"repoURL": "https://x", "path": "x"}, namespace="web")


@pytest.fixture
def api() -> InMemoryApi:
    return InMemoryApi(SteppedClock())


def made(api: InMemoryApi) -> Ref:
    """A pod that is there."""
    meta = {"name": "it", "namespace": "argocd"}
    return ref_of(api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}}))


def lose(api: InMemoryApi, method: str, *, after: bool, times: int = 1) -> list[int]:
    """Lose the answers of some requests, after they landed or before."""
    left = [times]

    def lost(request: Any, *_: Any) -> None:
        if request.method == method and left[0]:
            left[0] -= 1
            raise TransportError("the connection was cut")

    hooks: list[Callable[..., Any]] = api.after if after else api.before
    hooks.append(lost)
    return left


@pytest.mark.parametrize("after", [True, False], ids=["landed", "not landed"])
def test_an_answer_that_is_lost(api: InMemoryApi, after: bool) -> None:
    ref = made(api)
    lose(api, "DELETE", after=after)
    doubts: list[int] = []
    result = remove(cluster(api), Removal(ref, "why"), in_doubt=lambda: doubts.append(1))
    assert result.status is StepStatus.APPLIED and doubts
    assert api.find(POD, "argocd", "it") is None


def test_never_another_of_the_name(api: InMemoryApi) -> None:
    ref = made(api)
    api.remove(POD, "argocd", "it")
    assert remove(cluster(api), Removal(ref, "why")).status is StepStatus.UNCHANGED
    other = made(api)
    assert remove(cluster(api), Removal(ref, "why")).status is StepStatus.UNCHANGED
    assert api.get(POD, "argocd", "it")["metadata"]["uid"] == other.uid


def test_only_as_it_was(api: InMemoryApi) -> None:
    ref = made(api)
    version = api.get(POD, "argocd", "it")["metadata"]["resourceVersion"]
    api.edit(POD, "argocd", "it", lambda pod: pod["metadata"].update(labels={"a": "b"}))
    result = remove(cluster(api), Removal(ref, "why", resource_version=version))
    assert result.status is StepStatus.CONFLICT
    assert api.find(POD, "argocd", "it")


def test_a_refusal(api: InMemoryApi) -> None:
    ref = made(api)
    api.deny("delete", "pods")
    assert remove(cluster(api), Removal(ref, "why")).status is StepStatus.DENIED


def test_nobody_answers(api: InMemoryApi) -> None:
    ref = made(api)
    lose(api, "DELETE", after=False, times=9)
    assert remove(cluster(api), Removal(ref, "why")).status is StepStatus.UNKNOWN


def creation() -> Creation:
    """One that is to be made."""
    return Creation(Ref("Application", "argocd", "web", ""), "why", obj=WEB)


@pytest.mark.parametrize("after", [True, False], ids=["landed", "not landed"])
def test_made_in_spite_of_a_lost_answer(api: InMemoryApi, after: bool) -> None:
    api.create({**WEB, "metadata": {"name": "other", "namespace": "argocd"}})
    lose(api, "POST", after=after)
    objects: dict[Key, JSON] = {}
    assert create(cluster(api), creation(), objects).status is StepStatus.APPLIED
    assert objects[creation().ref.key]["metadata"]["uid"]
    assert len(api.objects(APPLICATION)) == 2


def test_one_that_is_there_is_left_alone(api: InMemoryApi) -> None:
    api.create(WEB)
    assert create(cluster(api), creation(), {}).status is StepStatus.CONFLICT
