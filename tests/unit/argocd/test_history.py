"""History as it really is, and what of it may be called good. Pure.

Aspects: entries without revisions, with an empty source, with another number of sources; a comparison
that is older than the spec; kustomize images, plugin environments, directories and values as part of
what was deployed, Go's omitted empty fields as none; a value that changes nothing; a version that
somebody put back by hand; what a rescue led away from; the next candidate.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import history
from kubectl_argo_rescue.argocd.history import KnownVersions, Rescued, Version
from kubectl_argo_rescue.argocd.operation import INFO_NAME
from kubectl_argo_rescue.model.errors import RefusedError

from ..build import app
from .test_application import CHART, GIT, NOW, OLD, REF, SHA, deployed, failing

TAG = "sha256:" + "a" * 64


def with_values(id: int, version: str, minute: int, **values: Any) -> Any:
    return deployed(id, version, minute, **values)


def ids(it: Any, known: KnownVersions | None = None) -> list[int]:
    return [d.id for d in history.candidates(it, known)]


def running(it: Any, *, phase: str = "Succeeded", applied: bool = True, **result: Any) -> Any:
    """Add the state of the last operation, by default of what was deployed last."""
    newest = it["status"]["history"][-1]
    result = result or {n: newest[n] for n in ("revision", "source", "revisions", "sources") if n in newest}
    resources = [{"kind": "Service", "name": "x", "status": "Synced"}] if applied else []
    it["status"]["operationState"] = {"phase": phase, "syncResult": {**result, "resources": resources}}
    return it


def frozen(it: Any) -> Any:
    it["status"]["sync"]["status"] = "OutOfSync"
    return it


def test_entries_that_say_too_little_are_no_candidates() -> None:
    chart = {k: v for k, v in CHART.items() if k != "targetRevision"}
    past = [
        {"id": 0, "source": {}, "revision": "2.4.0"},
        {"id": 1, "source": {**chart, "targetRevision": "2.x"}},
        {"id": 2, "source": {**chart, "targetRevision": "2.4.2"}},
        {"id": 3},
        {"id": 4, "sources": [chart, REF]},
        {"id": 5, "sources": [{**chart, "targetRevision": "2.4.3"}, REF], "revisions": ["2.4.3"]},
    ]
    it = failing("2.5.1", *past)
    assert ids(it) == [2], "its version is that asked for, which means the same for ever"
    (got,) = history.candidates(it)
    assert got.revisions == ("2.4.2",)
    for to in ("0", "1", "3", "4", "5"):
        with pytest.raises(RefusedError, match="source or revision is missing"):
            history.choose_deployment(it, to)
    with pytest.raises(RefusedError, match="was never deployed in another version"):
        history.choose_deployment(failing("2.5.1", past[3]), None)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        pytest.param({"kustomize": {"images": ["x=y:1"]}}, {"kustomize": {"images": ["x=y:2"]}}, id="kustomize images"),
        pytest.param({"plugin": {"env": [{"name": "A", "value": "1"}]}}, {"plugin": {"env": [{"name": "A", "value": "2"}]}}, id="plugin env"),
        pytest.param({}, {"directory": {"recurse": True}}, id="directory"),
        pytest.param({"helm": {"valueFiles": ["a"]}}, {"helm": {"valueFiles": ["b"]}}, id="value files"),
        pytest.param({"helm": {"valuesObject": {}}}, {"helm": {"valuesObject": {"a": False}}}, id="an empty value counts in values"),
    ],
)  # fmt: skip
def test_what_else_a_source_says_is_part_of_it(was: Any, now: Any) -> None:
    it = failing("2.5.1", with_values(0, "2.5.1", 0, **was), with_values(1, "2.5.1", 10, **now))
    it["spec"]["source"].update(now)
    it["status"]["sync"]["comparedTo"]["source"] = {**it["spec"]["source"]}
    assert ids(it) == [0]
    assert "the same version with other values" in history.explain_last_good(it, NOW).why


def test_what_go_leaves_out_and_a_sources_name_are_no_difference() -> None:
    spec = {
        "name": "main",
        "helm": {"skipCrds": False, "parameters": [{"name": "a", "value": "", "forceString": False}]},
    }
    it = failing("2.5.1", with_values(0, "2.5.1", 0, helm={"parameters": [{"name": "a"}]}))
    it["spec"]["source"].update(spec)
    assert ids(it) == []


def test_a_value_that_changed_nothing_does_not_make_what_runs_good() -> None:
    it = running(failing("2.5.1", deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10)))
    it["spec"]["source"]["helm"] = {"releaseName": "traefik"}
    it["status"]["sync"]["comparedTo"]["source"] = {**it["spec"]["source"]}
    it["status"]["sync"]["status"] = "Synced"
    assert ids(it) == [0]


def test_several_sources_where_only_the_values_of_one_repository_moved() -> None:
    def entry(id: int, commit: str) -> Any:
        return {"id": id, "sources": [CHART, REF], "revisions": ["2.5.1", commit]}

    body = [{**CHART, "targetRevision": "2.5.1"}, REF]
    sync = {"status": "Synced", "revisions": ["2.5.1", SHA], "comparedTo": {"sources": body}}
    it = app({"sync": sync, "history": [entry(0, OLD), entry(1, SHA)]}, sources=body)
    assert ids(it) == [0]


def test_oci_digests() -> None:
    oci = {"repoURL": "oci://registry/traefik", "targetRevision": "stable", "path": "."}
    newer = TAG.replace("a", "b")
    past = [{"id": 0, "source": oci, "revision": TAG}, {"id": 1, "source": oci, "revision": newer}]
    it = app({"sync": {"revision": newer, "comparedTo": {"source": oci}}, "history": past}, source=oci)
    assert ids(it) == [0]
    pinned = {**oci, "targetRevision": TAG}
    it["spec"]["source"] = pinned
    assert ids(it, KnownVersions(is_pinned=True))[0] == 0, "not compared yet: the spec says what is pinned"


def test_a_hydrated_one() -> None:
    sync_source = {"repoURL": "https://git", "path": "p", "targetRevision": "env/prod"}
    hydrator = {
        "drySource": {"repoURL": "https://git"},
        "syncSource": {"targetBranch": "env/prod", "path": "p"},
    }
    past = [
        {"id": 0, "source": sync_source, "revision": OLD},
        {"id": 1, "source": sync_source, "revision": SHA},
    ]
    sync = {"status": "Synced", "revision": SHA, "comparedTo": {"source": sync_source}}
    it = app({"sync": sync, "history": past}, sourceHydrator=hydrator)
    assert ids(it) == [0]


@pytest.mark.parametrize("pinned", [True, False])
def test_a_comparison_older_than_the_spec_is_not_believed(pinned: bool) -> None:
    it = running(failing("2.5.1", deployed(0, "2.4.0", 0), deployed(1, "2.4.1", 5), deployed(2, "2.5.1", 10)))
    it["spec"]["source"] = {**CHART, "targetRevision": "2.4.1"}
    assert ids(it, KnownVersions(is_pinned=pinned)) == ([1, 0] if pinned else [0])


def test_a_tag_and_the_start_of_a_commit_mean_what_they_meant() -> None:
    past = [
        {**deployed(0, OLD, 0), "source": {**GIT, "targetRevision": "v1.0.0"}},
        {**deployed(1, SHA, 10), "source": {**GIT, "targetRevision": "v1.1.0"}},
    ]
    for name in ("v1.0.0", OLD[:8]):
        it = app({"sync": {}, "history": past}, source={**GIT, "targetRevision": name})
        assert history.failing_identity(it)[0][2] == OLD


@pytest.mark.parametrize(
    ("health", "phase", "of", "applied", "good"),
    [
        pytest.param("Healthy", "Succeeded", "2.5.1", True, [0], id="nothing of the next was tried"),
        pytest.param("Healthy", "Failed", "2.5.2", True, [1, 0], id="the next was applied in part and failed"),
        pytest.param("Degraded", "Failed", "2.5.2", True, [1, 0], id="and that is why it is degraded"),
        pytest.param("Degraded", "Error", "2.5.2", False, [0], id="tried, but nothing of it was applied"),
        pytest.param("Healthy", "Error", "2.5.2", False, [1, 0], id="tried in vain, what runs is well"),
    ],
)  # fmt: skip
def test_what_runs_while_the_next_is_asked_for(
    health: str, phase: str, of: str, applied: bool, good: list[int]
) -> None:
    it = frozen(failing("2.5.2", deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10)))
    it["status"]["health"] = {"status": health}
    running(it, phase=phase, applied=applied, revision=of, source={**CHART, "targetRevision": of})
    assert ids(it) == good


def test_what_somebody_put_back_by_hand_is_not_blamed() -> None:
    by_hand = {**deployed(2, "2.4.1", 20), "initiatedBy": {"username": "alice"}}
    it = running(frozen(failing("2.5.1", deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10), by_hand)))
    assert ids(it) == [2]
    first = it["status"]["history"].pop(0)
    assert ids(it) == [], "of a first deployment, by whomever, that is not said"
    it["status"]["history"].insert(0, first)
    it["status"]["history"][-1]["initiatedBy"] = {"automated": True}
    assert ids(it) == [], "what is asked for and what runs"
    with pytest.raises(RefusedError, match=r"what fails \(2.4.1\) and what is asked for"):
        history.choose_deployment(it, None)


def rescued(left: str, wrote: str, *, values: Any = None, minute: int = 30) -> KnownVersions:
    at = NOW.replace(hour=16, minute=minute)
    return KnownVersions(
        rescues=(Rescued(at, (Version(0, left, values),), (Version(0, wrote),), is_open=True),)
    )


def test_a_rescue_led_away_from_what_ran_and_from_what_was_asked_for() -> None:
    past = [deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10), deployed(2, "2.4.1", 40)]
    it = running(failing("2.4.1", *past))
    assert ids(it, rescued("2.5.2", "2.4.1")) == []
    assert ids(it) == [1], "without the rescue nobody knows"


def test_of_a_whole_source_that_was_left_the_values_count() -> None:
    bad = {"helm": {"values": "bad"}}
    past = [deployed(0, "2.4.1", 0), with_values(1, "2.4.1", 10, **bad), deployed(2, "2.5.1", 40)]
    it = running(failing("2.5.1", *past))
    assert ids(it, rescued("2.4.1", "2.4.1", values=bad)) == [0]


def test_what_was_seen_failing_counts_until_it_is_deployed_again() -> None:
    it = failing("2.5.1", deployed(0, "2.4.0", 0), deployed(1, "2.4.1", 10), deployed(2, "2.5.1", 20))
    seen = history.digest(history.deployments(it)[1].identity)
    at = NOW.replace(hour=16, minute=30)
    assert ids(it, KnownVersions(failed=((seen, at, False),))) == [0]
    assert ids(it, KnownVersions(failed=((seen, at - timedelta(minutes=25), False),))) == [1, 0]


def test_what_was_only_not_well_in_time_may_have_got_well() -> None:
    it = failing("2.4.1", deployed(0, "2.4.0", 0), deployed(1, "2.4.1", 10))
    seen = history.digest(history.deployments(it)[1].identity)
    late = KnownVersions(is_pinned=True, failed=((seen, NOW.replace(hour=16, minute=30), True),))
    assert ids(it, late) == [0]
    it["status"]["health"] = {"status": "Healthy"}
    assert ids(it, late) == [1, 0]
    later = {**deployed(2, "2.5.1", 0), "deployedAt": "2026-11-27T20:00:00Z"}
    it["status"]["history"].append(later)
    assert 1 in ids(it, late), "it was kept for hours"
    later["deployedAt"] = "2026-11-27T16:45:00Z"
    assert 1 not in ids(it, late)


def test_a_version_that_is_named_is_not_what_fails_where_it_was_deployed_otherwise() -> None:
    bad = {"helm": {"values": "bad"}}
    it = failing("2.4.1", deployed(0, "2.4.1", 0), with_values(1, "2.4.1", 10, **bad))
    it["spec"]["source"].update(bad)
    it["status"]["sync"]["comparedTo"]["source"] = {**it["spec"]["source"]}
    assert history.choose_deployment(it, "2.4.1").id == 0
    assert history.choose_deployment(it, "1").id == 1, "an id is an id"


def test_the_next_candidate_is_another_one() -> None:
    past = [deployed(i, v, 10 * i) for i, v in enumerate(["2.4.0", "2.4.1", "2.5.1"])]
    it = failing("2.5.1", *past)
    chosen = history.choose_deployment(it, None)
    (note,) = history.next_candidate(it, chosen, None, NOW)
    assert note == "next candidate: 2.4.0 (history id 0 of 2026-11-27 16:00 UTC), ran 10m"
    assert history.next_candidate(it, history.deployments(it)[0], None, NOW)[0].startswith(
        "next candidate: 2.4.1"
    )


@pytest.mark.parametrize("is_ours", [True, False])
def test_what_our_own_rollback_deployed_is_not_what_fails_though_a_pin_holds_something_else(
    is_ours: bool,
) -> None:
    it = running(failing("2.5.1", deployed(0, "2.5.0", 0), deployed(1, "2.4.1", 10)))
    info = [{"name": INFO_NAME, "value": "ours" if is_ours else "theirs"}]
    it["status"]["operationState"]["operation"] = {"info": info}
    known = KnownVersions(is_pinned=True, rollbacks=frozenset({"ours"}))
    failed = history.running_and_failing(it, known)
    assert (failed.id if failed else None) == (None if is_ours else 1)
    assert (1 in ids(it, known)) is is_ours
