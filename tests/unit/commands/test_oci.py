"""OCI artifacts, whose history speaks of digests: `status`, `pin`, `rescue`, `rollback`, `undo` in words of both.

On the simulated Argo CD, which resolves tags to digests as the real one does (the e2e lane shows that).
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.argocd import application
from kubectl_argo_rescue.model.values import JSON
from kubectl_argo_rescue.simulation.incident import (
    BAD,
    GOOD,
    Incident,
    apps_in_git,
    traefik_chart,
    traefik_incident,
)
from kubectl_argo_rescue.simulation.sources import ChartRepository, Manifests, digest_of

from ..build import app_in
from ..harness import Run

URL = "oci://registry.example.com/charts/traefik"
ABSENT_DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def incident() -> Incident:
    """The incident once more, with the chart as an OCI artifact."""
    is_moved: list[bool] = []

    def apps(version: str, **changes: JSON) -> list[JSON]:
        project, traefik, web = apps_in_git(version, **changes)
        project["spec"]["syncWindows"] = []
        if is_moved:
            traefik["spec"]["source"] = {"repoURL": URL, "path": ".", "targetRevision": version}
        return [project, traefik, web]

    made = traefik_incident(apps=apps)
    artifact: dict[str, Manifests] = {tag: traefik_chart(tag) for tag in (GOOD, BAD, "2.6.0")}
    made.argocd.sources.charts[URL] = ChartRepository({"": artifact})
    is_moved.append(True)
    for version in (GOOD, BAD):
        made.push(version)
        made.argocd.run(600, every=5)
    past = app_in(made)["status"]["history"][-2:]
    assert [h["revision"] for h in past] == [digest_of(GOOD), digest_of(BAD)]
    made.api.idle = lambda: made.argocd.tick(0.5)
    return made


def _asked_for(incident: Incident) -> str:
    revision: str = app_in(incident)["spec"]["source"]["targetRevision"]
    return revision


def test_digests_are_named_by_what_they_were_deployed_as(run: Run, incident: Incident) -> None:
    shown = run(incident.api, "status", "traefik").out
    assert f"{digest_of(GOOD)[:15]} ({GOOD})" in shown and f"{digest_of(BAD)[:15]} ({BAD})" in shown
    assert f"last good: {digest_of(GOOD)[:15]} ({GOOD}):" in shown
    planned = run(incident.api, "rescue", "traefik", "--dry-run=client")
    assert f"last good: {digest_of(GOOD)} as {GOOD} (history id" in planned.err


@pytest.mark.parametrize(
    ("said", "pinned", "words"),
    [
        (GOOD, GOOD, f"{GOOD} was {digest_of(GOOD)} when this app deployed it; a tag can have been moved"),
        (digest_of(GOOD), digest_of(GOOD), ""),
        (digest_of(GOOD)[:15], digest_of(GOOD), ""),
        ("2.6.0", "2.6.0", f"deployed so far: {digest_of(BAD)[:15]} ({BAD}), {digest_of(GOOD)[:15]} ({GOOD})"),
        (ABSENT_DIGEST, ABSENT_DIGEST, f"{ABSENT_DIGEST} was never deployed by this app"),
    ],
    ids=["tag", "digest", "its start", "another tag", "another digest"],
)  # fmt: skip
def test_what_is_pinned(run: Run, incident: Incident, said: str, pinned: str, words: str) -> None:
    ran = run(incident.api, "pin", "traefik", said, "--yes")
    assert ran.code == 0 and _asked_for(incident) == pinned
    assert words in ran.err and ("note:" in ran.err) == bool(words)


def test_the_start_of_no_digest_is_no_version(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "pin", "traefik", "sha256:0000000")
    assert ran.code == 5 and "is no valid version of an OCI artifact (deployed so far:" in ran.err
    assert _asked_for(incident) == BAD


def test_the_start_of_a_digest_rolls_back(run: Run, incident: Incident) -> None:
    ran = run(incident.api, "rollback", "traefik", "--to", digest_of(GOOD)[:15], "--dry-run=client")
    assert ran.code == 0 and f"{digest_of(GOOD)} as {GOOD}" in ran.out + ran.err


def test_a_tag_that_means_the_pinned_digest_is_git_agreeing(run: Run, incident: Incident) -> None:
    assert run(incident.api, "rescue", "traefik", "--yes").code == 0
    assert _asked_for(incident) == digest_of(GOOD)
    refused = run(incident.api, "undo")
    assert refused.code == 5 and "git is still at " in refused.err
    incident.push(GOOD)
    ran = run(incident.api, "undo")
    assert ran.code == 0, ran.err
    assert _asked_for(incident) == GOOD


@pytest.mark.parametrize(
    ("revision", "asked", "name"),
    [
        ("2.4.1", "~2.4", "2.4.1"),
        ("", "2.4.1", "2.4.1"),
        ("8a1f0c2d3e4b5a69788796a5b4c3d2e1f0a9b8c7", "main", "8a1f0c2d (main)"),
        (digest_of(GOOD), GOOD, f"{digest_of(GOOD)[:15]} ({GOOD})"),
        (digest_of(GOOD), digest_of(GOOD), digest_of(GOOD)[:15]),
        (digest_of(GOOD), "", digest_of(GOOD)[:15]),
    ],
)
def test_names_of_revisions(revision: str, asked: str, name: str) -> None:
    assert application.name_of(revision, asked) == name
