"""What docs/rbac.md says of a user with less rights, row by row, on the in-memory incident."""

from __future__ import annotations

import re

import pytest

from tests import docs

from ..harness import Run
from ..scenes import played

EDITED = "application.argoproj.io/root paused"

Case = tuple[tuple[tuple[str, str], ...], tuple[str, ...], int, tuple[str, ...]]

ROWS: dict[str, Case] = {
    "`configmaps` create, patch": (
        (("create", "configmaps"), ("patch", "configmaps")),
        ("pause", "root"),
        0,
        (EDITED, "warning: the journal in the cluster cannot be written", "it is kept on this machine"),
    ),
    "`configmaps` get": (
        (("get", "configmaps"),),
        ("pause", "root"),
        0,
        (EDITED, "warning: ConfigMap argocd/argocd-cm may not be read: Argo CD's defaults are assumed"),
    ),
    "`configmaps` list": (
        (("list", "configmaps"),),
        ("log",),
        0,
        ("warning: the journal in the cluster cannot be read, only this machine's is shown",),
    ),
    "`namespaces` get of `kube-system`": ((("get", "namespaces"),), ("pause", "root"), 0, (EDITED,)),
    "`apps` get, watch": (
        (("get", "deployments"), ("list", "deployments"), ("watch", "deployments")),
        ("rescue", "traefik"),
        0,
        ("traefik pinned", "cluster unblocked", "may not be read, so it is judged by the Application alone"),
    ),
    "`events` create": ((("create", "events"),), ("pause", "root"), 0, (EDITED,)),
    "`customresourcedefinitions` get": (
        (("get", "customresourcedefinitions"),),
        ("pause", "root"),
        0,
        (EDITED,),
    ),
    "`applications` list": ((("list", "applications"),), ("pause", "root"), 0, (EDITED,)),
    "`applications` get of an owner, and list": (
        (("get", "applications/root"), ("list", "applications")),
        ("pause", "traefik"),
        0,
        ("would revert the edit of Application argocd/traefik is not known", "traefik paused"),
    ),
    "`appprojects` patch": (
        (("patch", "appprojects"),),
        ("unblock", "traefik"),
        1,
        ("you may not as alice patch AppProject argocd/cluster", "nothing was changed; ask"),
    ),
    "`statefulsets/scale`, `deployments/scale` patch": (
        (("patch", "statefulsets/scale"), ("patch", "deployments/scale")),
        ("freeze",),
        1,
        (
            "you may not as alice patch StatefulSet/scale argocd/argocd-application-controller",
            "nothing was changed",
        ),
    ),
    "`pods` delete": (
        (("delete", "pods"),),
        ("freeze",),
        0,
        ("you may not delete pods: the controllers end in their own time", "frozen:"),
    ),
    "`pods` list": (
        (("list", "pods"),),
        ("freeze",),
        4,
        (
            "you may not list pods: whether the controllers have ended will not be known",
            "not known to stand still",
        ),
    ),
    "`applications` delete": (
        (("delete", "applications"),),
        ("orphan", "web"),
        1,
        ("you may not as alice delete Application argocd/web", "nothing was changed"),
    ),
    "`applications` create": (
        (("create", "applications"),),
        ("undo", "--yes"),
        1,
        ("you may not as alice create Application argocd/web", "nothing was changed"),
    ),
}

BEFORE: dict[str, tuple[str, ...]] = {"`applications` create": ("orphan", "web", "--yes", "--only")}
"""What was done while the user had the right."""


@pytest.mark.parametrize("row", ROWS)
def test_what_is_lost(row: str, run: Run) -> None:
    denied, words, status, said = ROWS[row]
    api = played("incident", run).incident.api
    if before := BEFORE.get(row):
        assert run(api, *before).code == 0
    for verb, resource in denied:
        plural, _, name = resource.partition("/")
        if name == "scale":
            plural, name = resource, ""
        api.deny(verb, plural, name=name or "*")
    written = len(api.writes())
    code, screen = run.on_screen(api, *words, typed="y\n" * 9)
    assert code == status, screen
    words_said = " ".join(screen.split())
    assert not [text for text in said if text not in words_said], screen
    if status == 0 and words == ("pause", "root") and "configmaps" not in row:
        assert "warning:" not in screen
    if "nothing was changed" in said[-1]:
        assert len(api.writes()) == written


@pytest.mark.parametrize("verb", ["get", "watch"])
def test_what_cannot_be_watched_is_said_in_the_plan(verb: str, run: Run) -> None:
    api = played("incident", run).incident.api
    before = run(api, "rescue", "traefik", "--dry-run", "-o", "json").json["warnings"]
    assert not any("watch" in warning for warning in before)
    api.deny(verb, "deployments")
    text = (
        "you may not get and watch Deployment kube-system/traefik: the verdict will be the Application's own "
        "health alone"
    )
    ran = run(api, "rescue", "traefik", "--dry-run", "-o", "json")
    assert sorted(ran.json["warnings"]) == sorted([*before, text])
    assert text not in run(api, "rescue", "traefik", "--dry-run", "--no-wait").err
    assert text not in run(api, "rescue", "traefik", "--dry-run", "--pause-only").err
    ran = run(api, "rescue", "traefik")
    assert (ran.code, api.writes()) == (5, []), "it waits for a yes"
    assert ran.err.index(text) < ran.err.index("confirmation needed")


@pytest.mark.parametrize("words", [("status",), ("pause", "--all")])
def test_what_needs_a_list(words: tuple[str, ...], run: Run) -> None:
    api = played("incident", run).incident.api
    api.deny("list", "applications")
    code, screen = run.on_screen(api, *words, typed="y\n")
    assert code == 1, screen
    assert "cannot list resource" in screen
    assert not api.writes()


def test_every_row_is_tried() -> None:
    page = (docs.CHECKOUT / "docs" / "rbac.md").read_text().partition("## With less")[2]
    assert re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) == list(ROWS)
