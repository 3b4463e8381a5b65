"""Which version an Argo CD is of: by the image's tag, by a label, as its CRDs suggest; else unknown."""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.argocd.application import supports_enabled
from kubectl_argo_rescue.argocd.installation import (
    VERSION_LABEL,
    controller_version,
    describe_installation,
    suggested_version,
)
from kubectl_argo_rescue.argocd.windows import are_terminations_held
from kubectl_argo_rescue.model.values import APPLICATION, DEFINITION, DEPLOYMENT, JSON, STATEFULSET, Tracking

from ..harness import Run
from ..scenes import hide_version, played

DIGEST = f"registry.redhat.io/argocd@sha256:{'0' * 64}"
COMPONENT = {"app.kubernetes.io/component": "application-controller"}


def _controller(image: str, *, label: str = "", pod_label: str = "", replicas: int = 1) -> JSON:
    def labels(version: str) -> JSON:
        return {**COMPONENT, **({VERSION_LABEL: version} if version else {})}

    template = {"metadata": {"labels": labels(pod_label)}, "spec": {"containers": [{"image": image}]}}
    return {"metadata": {"labels": labels(label)}, "spec": {"replicas": replicas, "template": template}}


def _definition(*paths: str) -> JSON:
    schema: JSON = {"properties": {"spec": {}}}
    for path in paths:
        at = schema
        for name in path.split("."):
            at = at.setdefault("properties", {}).setdefault(name, {})
    return {"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}}


FIELDS = (
    "spec.source.kustomize.ignoreMissingComponents",
    "spec.syncPolicy.automated.enabled",
    "spec.syncPolicy.retry.refresh",
    "spec.sourceHydrator.drySource.directory",
    "spec.source.tagPrefix",
    "spec.source.directory.disableExtensionFilter",
)


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        (_controller("quay.io/argoproj/argocd:v3.2.11", label="v9.9.9"), "v3.2.11"),
        (_controller(f"localhost:5000/argocd:v3.2.11@sha256:{'0' * 64}"), "v3.2.11"),
        (_controller(DIGEST, label="v3.4.1"), "v3.4.1"),
        (_controller(DIGEST, pod_label="2.14.21", label="v9.9.9"), "2.14.21"),
        (_controller("argocd:latest", label="v3.4.1"), "v3.4.1"),
    ],
    ids=["tag", "tag and digest", "label", "label of the pods first", "a tag that is none"],
)
def test_signs_of_the_controller(workload: JSON, text: str) -> None:
    found = controller_version([workload])
    assert found is not None and (found.text, found.is_certain) == (text, True)


@pytest.mark.parametrize("image", [DIGEST, "localhost:5000/argocd", "argocd:latest", ""])
def test_no_sign_at_all(image: str) -> None:
    assert controller_version([_controller(image)]) is None
    # Beside one that runs an empty one says nothing; frozen, all of them are empty.
    assert controller_version([_controller("argocd:v3.2.11", replicas=0), _controller(image)]) is None
    frozen = controller_version([_controller("argocd:v3.2.11", replicas=0)])
    assert frozen is not None and frozen.at_least(3, 2)


@pytest.mark.parametrize(
    ("fields", "line", "text"),
    [
        (0, (2, 14), "2.14 or earlier"),
        (1, (3, 0), "3.0"),
        (2, (3, 1), "3.1"),
        (3, (3, 2), "3.2"),
        (4, (3, 3), "3.3 or 3.4"),
        (5, (3, 5), "3.5"),
        (6, (3, 6), "3.6 or later"),
    ],
)
def test_the_crds_suggest_a_version(fields: int, line: tuple[int, int], text: str) -> None:
    found = suggested_version(_definition(*FIELDS[:fields]))
    assert found is not None
    assert ((found.major, found.minor), found.text) == (line, f"{text} (by its CRDs)")
    argocd = describe_installation("argocd", {}, {}, found)
    assert argocd.tracking is (Tracking.LABEL if fields == 0 else Tracking.ANNOTATION)
    # The controller may be an older one than its CRDs: what works with both is done.
    assert not supports_enabled(argocd)
    assert are_terminations_held(found)


def test_a_crd_without_a_schema_suggests_nothing() -> None:
    assert suggested_version({"spec": {"versions": [{"name": "v1alpha1"}]}}) is None
    assert suggested_version({}) is None


def test_by_digest_the_plan_says_what_the_crds_suggest_and_pauses_by_removal(run: Run) -> None:
    api = played("incident", run, (3, 2)).incident.api
    hide_version(api)
    ran = run(api, "pause", "root")
    assert ran.code == 0, ran.err
    assert "Argo CD 3.6 or later (by its CRDs) in argocd" in ran.err
    assert "automated" not in api.get(APPLICATION, "argocd", "root")["spec"].get("syncPolicy", {})


def test_out_of_sight_and_without_a_right_to_the_crds_it_is_of_unknown_version(run: Run) -> None:
    api = played("incident", run, (3, 2)).incident.api
    for resource in (DEPLOYMENT, STATEFULSET):
        for obj in api.objects(resource, "argocd"):
            api.remove(resource, "argocd", obj["metadata"]["name"])
    api.deny("get", DEFINITION.plural)
    ran = run(api, "pause", "root")
    assert ran.code == 0, ran.err
    assert "Argo CD of unknown version in argocd" in ran.err
