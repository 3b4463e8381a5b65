"""What comes before the first write, on plans made by hand.

Aspects: rights are asked for whole namespaces first and for names where those are denied, each
question once; all that is missing is named; a yes by flag, by a person, and by nobody; a dry run
tries each step on what the steps before it make of the object, and writes nothing; what the server
refuses of it is the exit code.
"""

from __future__ import annotations

import io

import pytest

from kubectl_argo_rescue.act.checks import Checks, Right
from kubectl_argo_rescue.act.options import Writing
from kubectl_argo_rescue.act.send import ACTIONS
from kubectl_argo_rescue.argocd import application
from kubectl_argo_rescue.cluster.client import Cluster
from kubectl_argo_rescue.model import patches
from kubectl_argo_rescue.model.errors import ExitStatus, Forbidden, RefusedError
from kubectl_argo_rescue.model.values import (
    APPLICATION,
    JSON,
    ArgoCD,
    Edit,
    Plan,
    Role,
    Snapshot,
    StepStatus,
    ref_of,
)
from kubectl_argo_rescue.show.printer import Printer, Streams
from kubectl_argo_rescue.simulation.incident import Incident

from ..played import traefik_incident

ARGOCD = ArgoCD("argocd")


class Bed:
    """Checks on the incident, with what a person types and sees."""

    def __init__(self, incident: Incident, typed: str | None = None) -> None:
        """`typed` is None where nobody can be asked."""
        self.api = incident.api
        self.err = io.StringIO()
        in_ = io.StringIO(typed or "")
        if typed is not None:
            for stream in (in_, self.err):
                stream.isatty = lambda: True  # type: ignore[method-assign]
        self.access: dict[Right, bool] = {}
        cluster = Cluster(self.api)
        printer = Printer(Streams(io.StringIO(), self.err, in_, {"TERM": "dumb"}))
        self.checks = Checks(cluster, cluster, printer, self.access, "carol")
        self.apps: dict[str, JSON] = {
            name: self.api.get(APPLICATION, "argocd", name) for name in ("root", "traefik")
        }
        self.snapshot = Snapshot(
            ARGOCD, {ref_of(app).key: app for app in self.apps.values()}, self.api.clock()
        )

    def pause(self, name: str) -> Edit:
        app = self.apps[name]
        change = application.pause_change(app, ARGOCD)
        assert change is not None
        return Edit(ref_of(app), (change,), "auto-sync off", Role.PAUSE)


@pytest.fixture
def bed(incident: Incident) -> Bed:
    return Bed(incident)


def test_a_right_for_the_namespace_is_one_question_for_all(bed: Bed) -> None:
    bed.checks.require_rights(Plan("pause", (bed.pause("root"), bed.pause("traefik"))))
    assert bed.access == {("patch", "Application", "argocd", ""): True}
    sent = len(bed.api.requests)
    bed.checks.require_rights(Plan("pause", (bed.pause("root"),)))
    assert len(bed.api.requests) == sent


def test_all_that_is_missing_is_named(bed: Bed) -> None:
    bed.api.deny("patch", "applications")
    with pytest.raises(Forbidden) as refused:
        bed.checks.require_rights(Plan("pause", (bed.pause("root"), bed.pause("traefik"))))
    missing = "patch Application argocd/root, patch Application argocd/traefik"
    assert refused.value.message == f"you may not as carol {missing}"


def test_what_is_hidden_is_asked_together_with_the_plan(bed: Bed) -> None:
    bed.api.deny("watch", "applications")
    plan = Plan("pause", (bed.pause("root"),))
    key = bed.pause("traefik").ref.key
    assert bed.checks.hidden([key], plan) == [key]
    assert bed.access["patch", "Application", "argocd", ""] is True


QUESTION = "it is not yours"


@pytest.mark.parametrize("typed", ["y\n", "yes\n"])
def test_a_person_says_yes(incident: Incident, typed: str) -> None:
    bed = Bed(incident, typed)
    bed.checks.confirm(Plan("pause", (bed.pause("root"),), questions=(QUESTION,)), Writing())
    assert QUESTION in bed.err.getvalue() and bed.err.getvalue().endswith("Go on? [y/N] ")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("n\n", "Cancelled. Nothing was changed."),
        ("", "Cancelled. Nothing was changed."),
        (None, f"confirmation needed: {QUESTION}"),
    ],
)
def test_without_a_yes_it_is_refused(incident: Incident, typed: str | None, message: str) -> None:
    bed = Bed(incident, typed)
    with pytest.raises(RefusedError) as refused:
        bed.checks.confirm(Plan("pause", (bed.pause("root"),), questions=(QUESTION,)), Writing())
    assert refused.value.message == message and "othing was changed" in str(refused.value)


def test_a_flag_says_yes_and_no_question_needs_none(bed: Bed) -> None:
    plan = Plan("pause", (bed.pause("root"),))
    bed.checks.confirm(plan, Writing())
    assert bed.err.getvalue() == ""
    bed.checks.confirm(Plan("pause", plan.steps, questions=(QUESTION,)), Writing(yes=True))
    assert bed.err.getvalue() == f"{QUESTION}\n"


def test_a_dry_run_tries_a_step_on_what_came_before_it(bed: Bed) -> None:
    edit = bed.pause("root")
    back = Edit(edit.ref, tuple(patches.inverse(c) for c in edit.changes), "as it was", Role.PAUSE)
    result = bed.checks.dry_run(Plan("pause", (edit, back)), bed.snapshot, "client", {}, ACTIONS)
    assert [e.status for e in result.edits] == [StepStatus.PLANNED, StepStatus.PLANNED]
    assert (result.exit_status, result.status) == (ExitStatus.OK, "planned")
    assert bed.api.get(APPLICATION, "argocd", "root") == bed.apps["root"]


def test_what_the_server_refuses_of_a_dry_run_is_its_end() -> None:
    bed = Bed(traefik_incident())
    bed.api.deny("patch", "applications", "*", "root")
    plan = Plan("pause", (bed.pause("root"), bed.pause("traefik")))
    result = bed.checks.dry_run(plan, bed.snapshot, "server", {}, ACTIONS)
    assert [e.status for e in result.edits] == [StepStatus.FAILED, StepStatus.PLANNED]
    assert result.exit_status is ExitStatus.ERROR
    assert bed.api.get(APPLICATION, "argocd", "traefik") == bed.apps["traefik"]
