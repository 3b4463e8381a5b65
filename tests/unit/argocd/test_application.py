"""One Application read as Argo CD reads it; each case names the fact of argocd-semantics.md.

Covered: which sources are in effect (§1.1) and of what kind; the auto-sync switch (§1.2) and how it
is paused; skip-reconcile (§7.3); history (§4), what is failing and the last good version, also after
a fight; which revisions a source could have, what moves, what a git name was resolved to; whether the
last comparison was with the spec as it is (§9), normalisation included; places and times.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import application, history
from kubectl_argo_rescue.argocd.application import SourceKind
from kubectl_argo_rescue.model.values import ABSENT, ArgoCD, FieldChange, Key, parse_version

from ..build import app

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
SHA = "8a1f0c2d3e4b5a69788796a5b4c3d2e1f0a9b8c7"
OLD = "1111111111222222222233333333334444444444"
GIT = {"repoURL": "https://git/x.git", "path": "apps", "targetRevision": "main"}
CHART = {"repoURL": "https://charts", "chart": "traefik", "targetRevision": "2.5.1"}
REF = {"repoURL": "https://git/values.git", "targetRevision": "main", "ref": "values"}


# -- sources


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"source": CHART}, [(SourceKind.HELM, "2.5.1")], id="T:246 source"),
        pytest.param({"source": CHART, "sources": [GIT, REF]}, [(SourceKind.GIT, "main"), (SourceKind.GIT, "main")], id="T:280 sources win over source"),
        pytest.param({"source": CHART, "sources": []}, [(SourceKind.HELM, "2.5.1")], id="T:246 empty sources do not"),
        pytest.param({"source": CHART, "sources": [GIT], "sourceHydrator": {"drySource": {"repoURL": "https://git/dry.git"}, "syncSource": {"targetBranch": "env/prod", "path": "p"}}}, [(SourceKind.HYDRATOR, "env/prod")], id="T:294 the hydrator wins over all"),
        pytest.param({"source": {"repoURL": "oci://reg/x", "path": ".", "targetRevision": "1.0"}}, [(SourceKind.OCI, "1.0")], id="T IsOCI"),
        pytest.param({"source": {"repoURL": "reg/charts", "chart": "x", "targetRevision": "1.0"}}, [(SourceKind.HELM, "1.0")], id="T IsHelmOci: without scheme"),
        pytest.param({"source": {"repoURL": "https://git", "path": "."}}, [(SourceKind.GIT, "")], id="empty targetRevision is HEAD"),
        pytest.param({}, [], id="none"),
    ],
)  # fmt: skip
def test_sources(spec: Any, expected: Any) -> None:
    got = application.sources(app(**spec))
    assert [(s.kind, s.revision) for s in got] == expected
    assert application.has_multiple_sources(app(**spec)) is (len(got) > 1)


def test_a_hydrator_is_pinned_by_its_branch_and_has_the_dry_repo() -> None:
    (source,) = application.sources(
        app(sourceHydrator={"drySource": {"repoURL": "https://dry"}, "syncSource": {"targetBranch": "b"}})
    )
    assert source.revision_path == ("spec", "sourceHydrator", "syncSource", "targetBranch")
    assert source.body["repoURL"] == "https://dry"


def test_what_a_source_says_of_itself() -> None:
    chart, values, plain = application.sources(
        app(sources=[CHART, REF, {"repoURL": "https://git", "path": "p", "name": "n"}])
    )
    assert [s.name for s in (chart, values, plain)] == ["traefik", "values", "n"]
    assert [s.yields_manifests for s in (chart, values, plain)] == [True, False, True]  # T IsRef
    assert chart.describe() == "helm chart traefik of https://charts"
    assert values.describe() == "git values of https://git/values.git"


# -- auto-sync


@pytest.mark.parametrize(
    ("policy", "on", "heals"),
    [
        pytest.param(None, False, False, id="no policy"),
        pytest.param({}, False, False, id="empty policy"),
        pytest.param({"automated": None}, False, False, id="null"),
        pytest.param({"automated": {}}, True, False, id="T:1537 automated {} is on"),
        pytest.param({"automated": {"enabled": None}}, True, False, id="T:1537 enabled null is on"),
        pytest.param({"automated": {"enabled": True, "selfHeal": True}}, True, True, id="enabled true"),
        pytest.param({"automated": {"enabled": False, "selfHeal": True}}, False, False, id="enabled false"),
        pytest.param({"automated": {"prune": True}}, True, False, id="prune alone"),
    ],
)  # fmt: skip
def test_auto_sync(policy: Any, on: bool, heals: bool) -> None:
    it = app(syncPolicy=policy)
    assert (application.is_auto_sync_on(it), application.is_self_heal_on(it)) == (on, heals)


BLOCK = {"prune": True}
PATH = ("spec", "syncPolicy", "automated")


@pytest.mark.parametrize(
    ("version", "keep", "block", "change"),
    [
        ("v3.1.0", True, BLOCK, FieldChange((*PATH, "enabled"), ABSENT, False)),
        ("v3.6.1", True, {"enabled": True}, FieldChange((*PATH, "enabled"), True, False)),
        ("v3.0.9", True, BLOCK, FieldChange(PATH, BLOCK, ABSENT)),
        ("v2.14.0", True, {}, FieldChange(PATH, {}, ABSENT)),
        ("latest", True, BLOCK, FieldChange(PATH, BLOCK, ABSENT)),
        ("v3.6.1", False, BLOCK, FieldChange(PATH, BLOCK, ABSENT)),
        ("v3.6.1", True, {"enabled": False}, None),
        ("v3.6.1", True, None, None),
    ],
)
def test_pausing(version: str, keep: bool, block: Any, change: FieldChange | None) -> None:
    argocd = ArgoCD("argocd", version=parse_version(version))
    assert application.pause_change(app(syncPolicy={"automated": block}), argocd, keep_block=keep) == change


@pytest.mark.parametrize(
    ("value", "skipped"),
    [("true", True), ("1", True), ("T", True), ("TRUE", True), ("yes", False), ("false", False), ("", False)],
)
def test_skip_reconcile(value: str, skipped: bool) -> None:  # AC:2764 ParseBool
    it = app()
    it["metadata"]["annotations"] = {"argocd.argoproj.io/skip-reconcile": value}
    assert application.is_skipping_reconcile(it) is skipped
    assert not application.is_skipping_reconcile(app())


# -- history


def deployed(id: int, version: str, minute: int, **source: Any) -> Any:
    body = {**CHART, "targetRevision": version, **source}
    return {"id": id, "revision": version, "source": body, "deployedAt": f"2026-11-27T16:{minute:02d}:00Z", "initiatedBy": {"automated": True}}  # fmt: skip


def failing(version: str, *past: Any) -> Any:
    body = {**CHART, "targetRevision": version}
    return app(
        {"sync": {"revision": version, "comparedTo": {"source": body}}, "history": list(past)}, source=body
    )


@pytest.mark.parametrize(
    ("current", "past", "good"),
    [
        pytest.param("2.5.1", [("2.4.1", 0), ("2.5.1", 10)], 0, id="simple"),
        pytest.param(
            "2.5.1", [("2.4.1", 0), ("2.5.1", 10), ("2.4.1", 20), ("2.5.1", 30)], 2, id="after a fight"
        ),
        pytest.param("2.5.1", [("2.4.0", 0), ("2.4.1", 10)], 1, id="the failing one never succeeded"),
        pytest.param("2.5.1", [("2.5.1", 0), ("2.5.1", 10)], None, id="nothing else was ever there"),
        pytest.param("2.5.1", [], None, id="no history"),
    ],
)
def test_last_good(current: str, past: list[tuple[str, int]], good: int | None) -> None:
    it = failing(current, *(deployed(i, v, m) for i, (v, m) in enumerate(past)))
    got = history.last_good(it)
    assert (got.id if got else None) == good


def test_without_a_comparison_the_newest_deployment_is_what_fails() -> None:
    it = failing("2.5.1", deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10))
    it["status"]["sync"] = {"status": "Unknown"}
    got = history.last_good(it)
    assert got is not None and got.version() == "2.4.1"
    it["status"]["history"] = []
    assert history.last_good(it) is None


@pytest.mark.parametrize(
    ("name", "newest", "good"),
    [
        pytest.param("main", "main", OLD, id="git is out of reach: what runs is what fails"),
        pytest.param("", "", OLD, id="HEAD, unsaid"),
        pytest.param("v3", "main", SHA, id="a name that was never deployed fails before it runs"),
    ],
)
def test_a_name_that_could_not_be_resolved(name: str, newest: str, good: str) -> None:
    def at(id: int, revision: str, minute: int, asked: str) -> Any:
        made = deployed(id, revision, minute)
        return {**made, "source": {**GIT, "targetRevision": asked}}

    body = {**GIT, "targetRevision": name}
    sync = {"status": "Unknown", "revision": name or "HEAD", "comparedTo": {"source": body}}
    it = app({"sync": sync, "history": [at(0, OLD, 0, newest), at(1, SHA, 10, newest)]}, source=body)
    got = history.last_good(it)
    assert got is not None
    assert got.revisions == (good,)


@pytest.mark.parametrize(("sync", "good"), [("Synced", OLD), ("OutOfSync", SHA)])
def test_a_commit_that_changed_nothing_of_the_app(sync: str, good: str) -> None:
    """With many apps in a repository its newest commit may be of another one."""
    newest = "f" * 40
    past = [{**deployed(0, OLD, 0), "source": GIT}, {**deployed(1, SHA, 10), "source": GIT}]
    it = app(
        {"sync": {"status": sync, "revision": newest, "comparedTo": {"source": GIT}}, "history": past},
        source=GIT,
    )
    got = history.last_good(it)
    assert got is not None
    assert got.revisions == (good,)


def test_what_a_chart_range_meant_last() -> None:
    body = {**CHART, "targetRevision": "2.x"}
    past = [deployed(0, "2.4.1", 0, targetRevision="2.x"), deployed(1, "2.5.1", 10, targetRevision="2.x")]
    it = app({"sync": {"revision": "2.x", "comparedTo": {"source": body}}, "history": past}, source=body)
    got = history.last_good(it)
    assert got is not None
    assert got.version() == "2.4.1"


@pytest.mark.parametrize(
    ("past", "good"),
    [
        ([("2.4.1", 0), ("2.5.1", 10), ("2.4.1", 20)], None),
        ([("2.4.0", 0), ("2.5.1", 10), ("2.4.1", 20)], 0),
        ([("2.4.0", 0), ("2.4.1", 20), ("2.5.1", 40), ("2.4.1", 50)], 2),
    ],
    ids=["nothing else", "an older one", "deployed again since, and kept"],
)
def test_what_somebody_was_rescued_from_is_not_good(past: list[tuple[str, int]], good: int | None) -> None:
    it = failing("2.4.1", *(deployed(i, v, m) for i, (v, m) in enumerate(past)))
    left = history.Rescued(NOW.replace(hour=16, minute=30), (history.Version(0, "2.5.1"),), (), is_open=False)
    known = history.KnownVersions(rescues=(left,))
    got = history.last_good(it, known)
    assert (got.id if got else None) == good


def test_history_of_several_sources_has_an_empty_source() -> None:  # T:1839
    entry = {"id": 3, "source": {"repoURL": ""}, "sources": [CHART, REF], "revisions": ["2.4.1", SHA], "deployedAt": "2026-11-27T16:00:00.123456789Z"}  # fmt: skip
    (got,) = history.deployments(app({"history": [entry]}))
    assert got.sources == (CHART, REF) and got.revisions == ("2.4.1", SHA)
    assert [got.version(i) for i in range(3)] == ["2.4.1", SHA, ""]
    assert [part[:3] for part in got.identity] == [
        ("https://charts", "traefik", "2.4.1"),
        ("https://git/values.git", "values", SHA),
    ]
    assert got.in_force(NOW) == timedelta(minutes=59, seconds=59, microseconds=876544)
    assert not got.is_automated


def test_how_long_each_was_in_force() -> None:
    first, second = history.deployments(app({"history": [deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10)]}))
    assert first.in_force(NOW) == timedelta(minutes=10)
    assert second.in_force(NOW) == timedelta(minutes=50)
    assert first.is_automated and first.by == ""
    (unknown,) = history.deployments(app({"history": [{"id": 1}]}))
    assert unknown.in_force(NOW) is None and unknown.version() == ""


def test_a_changed_path_is_another_deployment() -> None:
    it = failing("2.5.1", deployed(0, "2.5.1", 0, chart="traefik-old"), deployed(1, "2.5.1", 10))
    got = history.last_good(it)
    assert got is not None and got.id == 0


def test_ever_deployed() -> None:
    it = failing("2.5.1", deployed(0, "2.4.1", 0), deployed(1, "2.5.1", 10, chart="other"))
    (source,) = application.sources(it)
    got = history.ever_deployed(it, source, "2.4.1")
    assert got is not None and got.id == 0
    assert history.ever_deployed(it, source, "2.5.1") is None, "that was another chart"


# -- revisions


@pytest.mark.parametrize(
    ("kind", "text", "valid", "moving"),
    [
        (SourceKind.HELM, "2.4.1", True, False),
        (SourceKind.HELM, "v2.4.1-rc.1+x", True, False),
        (SourceKind.HELM, "2.4", True, True),
        (SourceKind.HELM, ">=2.4 <3", True, True),
        (SourceKind.HELM, "~2.4 || ^3", True, True),
        (SourceKind.HELM, "1.2 - 1.4", True, True),
        (SourceKind.HELM, "2.x", True, True),
        (SourceKind.HELM, "*", True, True),
        (SourceKind.HELM, "2.4,1", True, True),
        (SourceKind.HELM, "latest", False, True),
        (SourceKind.HELM, " 2.4.1", False, True),
        (SourceKind.HELM, "", False, True),
        (SourceKind.OCI, "latest", True, True),
        (SourceKind.OCI, "1.2.3", True, False),
        (SourceKind.OCI, "sha256:" + "0" * 64, True, False),
        (SourceKind.OCI, "a/b", False, True),
        (SourceKind.GIT, "main", True, True),
        (SourceKind.GIT, "v2.4.1", True, False),
        (SourceKind.GIT, "refs/tags/x", True, False),
        (SourceKind.GIT, SHA, True, False),
        (SourceKind.GIT, SHA[:7], True, True),
        (SourceKind.GIT, "1", True, True),
        (SourceKind.GIT, ">=1.0", True, True),
        (SourceKind.GIT, "feature/x", True, True),
        (SourceKind.GIT, "a..b", False, True),
        (SourceKind.GIT, "a b", False, True),
        (SourceKind.GIT, "-x", False, True),
        (SourceKind.GIT, "x.lock", False, True),
        (SourceKind.HYDRATOR, "env/prod", True, True),
    ],
)
def test_revisions(kind: SourceKind, text: str, valid: bool, moving: bool) -> None:
    assert application.is_valid_revision(kind, text) is valid
    assert application.is_moving(kind, text) is moving


def test_small_questions_about_revisions() -> None:
    assert (
        application.is_sha(SHA)
        and application.is_sha(SHA[:7])
        and not application.is_sha("main")
        and not application.is_sha(SHA[:6])
    )
    assert application.is_full_sha(SHA) and not application.is_full_sha(SHA[:7])


@pytest.mark.parametrize(
    ("name", "commit"),
    [("main", SHA), ("old", OLD), (SHA[:7], SHA), (OLD[:8], OLD), ("gone", ""), ("abcdef0", "")],
)
def test_what_a_git_name_was_resolved_to(name: str, commit: str) -> None:
    status = {
        "sync": {"revision": SHA, "comparedTo": {"source": GIT}},
        "history": [{"id": 0, "revision": OLD, "source": {**GIT, "targetRevision": "old"}}],
    }
    it = app(status, source=GIT)
    assert history.resolved_commit(it, application.sources(it)[0], name) == commit


def test_head_is_what_an_empty_revision_meant() -> None:
    body = {"repoURL": "https://git/x.git", "path": "apps"}
    it = app({"sync": {"revisions": [SHA], "comparedTo": {"sources": [body]}}}, sources=[body])
    assert history.resolved_commit(it, application.sources(it)[0], "HEAD") == SHA
    assert history.resolved_commit(app(source=GIT), application.sources(app(source=GIT))[0], "main") == ""


# -- comparison


@pytest.mark.parametrize(
    ("spec", "compared", "same"),
    [
        pytest.param({"source": CHART}, {"source": CHART}, True, id="same"),
        pytest.param({"source": CHART}, {"source": {**CHART, "targetRevision": "2.4.1"}}, False, id="another revision"),
        pytest.param({"source": {**CHART, "helm": {}, "kustomize": {"images": []}}}, {"source": CHART}, True, id="AC:2244 zero blocks are dropped"),
        pytest.param({"source": {**CHART, "helm": {"values": "x"}}}, {"source": CHART}, False, id="values count"),
        pytest.param({"sources": [CHART, REF]}, {"sources": [CHART, REF]}, True, id="several"),
        pytest.param({"sources": [CHART, REF]}, {"sources": [CHART]}, False, id="one less"),
        pytest.param({"source": CHART}, {}, False, id="never"),
        pytest.param({"source": CHART}, {"source": None}, False, id="null"),
        pytest.param({"sourceHydrator": {"drySource": {"repoURL": "https://dry"}, "syncSource": {"targetBranch": "b", "path": "p"}}}, {"source": {"repoURL": "https://dry", "targetRevision": "b", "path": "p"}}, True, id="T:246 hydrator"),
    ],
)  # fmt: skip
def test_is_compared(spec: Any, compared: Any, same: bool) -> None:
    assert application.is_compared(app({"sync": {"comparedTo": compared}}, **spec)) is same


def test_status() -> None:
    it = app({"sync": {"status": "Synced", "revision": "r"}, "health": {"status": "Healthy"}, "reconciledAt": "2026-11-27T17:00:00Z", "conditions": [{"type": "SyncError"}, {"type": "X"}]})  # fmt: skip
    assert (application.sync_status(it), application.health_status(it), application.reconciled_at(it)) == (
        "Synced",
        "Healthy",
        NOW,
    )
    assert application.synced_revisions(it) == ("r",) and len(application.conditions(it)) == 2
    assert application.conditions(it, "SyncError") == [{"type": "SyncError"}]
    bare = app()
    assert (
        application.sync_status(bare),
        application.health_status(bare),
        application.reconciled_at(bare),
    ) == ("Unknown", "Unknown", None)
    assert application.synced_revisions(bare) == () and application.conditions(bare) == []
    assert application.synced_revisions(app({"sync": {"revisions": ["a", "b"]}})) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-27T17:00:00Z", NOW),
        ("2026-11-27T17:00:00.123456789Z", NOW + timedelta(microseconds=123456)),
        ("2026-11-27T18:00:00+01:00", NOW),
        ("2026-11-27T17:00:00", NOW),
        ("yesterday", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_times(text: Any, time: datetime | None) -> None:
    assert application.parse_time(text) == time


def test_places() -> None:
    assert (
        application.project_name(app()) == "default" and application.project_name(app(project="p")) == "p"
    )  # AR:1027
    assert application.key_of(app()) == Key("Application", "argocd", "traefik")
    assert application.deploys_here(app(destination={"server": application.IN_CLUSTER}))
    assert application.deploys_here(app(destination={"name": "in-cluster"}))
    assert not application.deploys_here(
        app(destination={"server": "https://other"})
    ) and not application.deploys_here(app())


def test_what_it_lists() -> None:
    line = {"group": "argoproj.io", "kind": "Application", "namespace": "argocd", "name": "web"}
    it = app({"resources": [{"kind": "Service", "name": "web"}, line]})
    assert application.lists(it, Key("Application", "argocd", "web")) is line
    assert application.lists(it, Key("Application", "other", "web")) is None
    assert application.lists(app(), Key("Application", "argocd", "web")) is None
    no_namespace = {"group": "argoproj.io", "kind": "AppProject", "name": "p"}
    assert (
        application.lists(app({"resources": [no_namespace]}), Key("AppProject", "argocd", "p"))
        is no_namespace
    )
