"""What `watch` says in the end.

Covered: a success that rests on Argo CD's word alone says so, as text and as JSON; one that was seen does not.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.model.values import APPLICATION, JSON
from kubectl_argo_rescue.simulation.incident import Incident

from ..harness import Run


@pytest.mark.parametrize("far", [True, False])
def test_success_by_argo_cds_word_alone_is_said(run: Run, incident: Incident, far: bool) -> None:
    incident.argocd.controller_alive = False
    there = {"server": "https://far.invalid", "namespace": "web"}

    def move(app: JSON) -> None:
        app["spec"]["destination"] = there
        app["status"]["sync"]["comparedTo"]["destination"] = there

    if far:
        incident.api.edit(APPLICATION, "argocd", "web", move)
    why = "no context of the kubeconfig is known to lead there (--destination-context NAME)"
    told = [f"it deploys into https://far.invalid, which is not looked at: {why}"] if far else []
    ran = run(incident.api, "watch", "web", "--timeout", "10s", "-o", "json")
    assert (ran.code, ran.json["data"]["unverified"]) == (0, told)
    ran = run(incident.api, "watch", "web", "--timeout", "10s")
    assert ("by Argo CD's word alone: it deploys into https://far.invalid" in ran.out) is far
