"""How an ApplicationSet would take an edit back, and its own means against it.

Aspects: the controller's policy from its command line or its ConfigMap, whether a set may override
it, what each policy leaves alone; rules that cover a field already; the rule that is added, for one
app or for all; the freeze; which releases know what.
"""

from __future__ import annotations

import pytest

from kubectl_argo_rescue.argocd import applicationset as sets
from kubectl_argo_rescue.model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    Change,
    FieldChange,
    Match,
    MemberChange,
    parse_version,
)

PIN = FieldChange(("spec", "source", "targetRevision"), "2.5.1", "2.4.1")
PAUSE = FieldChange(("spec", "syncPolicy", "automated", "enabled"), ABSENT, False)
ONE_OF_MANY = FieldChange(("spec", "sources", Match((("chart", "a"),), 0), "targetRevision"), "1", "2")
APP = {"kind": "Application", "metadata": {"name": "a", "namespace": "argocd"}}


def argocd(version: str = "v3.2.11", **parameters: str) -> ArgoCD:
    named = {f"applicationsetcontroller.{k.replace('_', '.')}": v for k, v in parameters.items()}
    return ArgoCD("argocd", parse_version(version), parameters=named)


def controller(*arguments: str) -> JSON:
    return {"spec": {"template": {"spec": {"containers": [{"args": list(arguments)}]}}}}


def fleet(policy: str = "", rules: JSON = None, **spec: JSON) -> JSON:
    return {
        "kind": "ApplicationSet",
        "metadata": {"name": "fleet", "namespace": "argocd"},
        "spec": {
            **({"syncPolicy": {"applicationsSync": policy}} if policy else {}),
            **({"ignoreApplicationDifferences": rules} if rules is not None else {}),
            **spec,
        },
    }


@pytest.mark.parametrize(
    ("own", "installed", "workload", "policy"),
    [
        ("", argocd(), None, "sync"),
        ("create-only", argocd(), None, "create-only"),
        ("create-only", argocd(policy="sync"), None, "sync"),
        ("create-only", argocd(policy="sync", enable_policy_override="true"), None, "create-only"),
        ("create-only", argocd(enable_policy_override="false"), None, "sync"),
        ("create-only", argocd("v2.7.0"), None, "sync"),
        ("", argocd(policy="sync"), controller("--policy", "create-only"), "create-only"),
        ("", argocd(policy="sync"), controller("--policy=create-delete"), "create-delete"),
    ],
)
def test_the_policy_in_force(own: str, installed: ArgoCD, workload: JSON, policy: str) -> None:
    assert sets.effective_policy(fleet(own), installed, workload) == policy
    assert sets.is_idle(fleet(own), installed, workload) is (policy in sets.NOT_UPDATING)


def test_a_controller_on_a_dry_run_writes_nothing() -> None:
    assert sets.is_idle(fleet(), argocd(dryrun="true"))


@pytest.mark.parametrize(
    ("change", "pointer"),
    [(PIN, "/spec/source/targetRevision"), (PAUSE, "/spec/syncPolicy"), (ONE_OF_MANY, "/spec/sources")],
)
def test_the_rule_for_one_app(change: Change, pointer: str) -> None:
    rule = sets.rule_change(fleet(), APP, [change])
    assert rule == MemberChange(
        sets.RULES, {"name": "a", "jsonPointers": [pointer]}, 0, present=True, sole=True
    )


def test_one_rule_for_all_of_a_set() -> None:
    rule = sets.rule_change(fleet(rules=[{"name": "b", "jsonPointers": ["/x"]}]), APP, [PAUSE], everyone=True)
    assert rule == MemberChange(sets.RULES, {"jsonPointers": ["/spec/syncPolicy"]}, 1, present=True)


@pytest.mark.parametrize(
    ("rule", "covers"),
    [
        ({"jsonPointers": ["/spec/source/targetRevision"]}, True),
        ({"jsonPointers": ["/spec/source"]}, True),
        ({"name": "a", "jsonPointers": ["/spec"]}, True),
        ({"jqPathExpressions": [".spec.source.targetRevision"]}, True),
        ({"name": "b", "jsonPointers": ["/spec/source"]}, False),
        ({"jsonPointers": ["/spec/sour"]}, False),
        ({"jqPathExpressions": [".spec.source | select(.chart)"]}, False),
    ],
)
def test_a_field_that_a_rule_covers_needs_no_other(rule: JSON, covers: bool) -> None:
    assert (sets.rule_change(fleet(rules=[rule]), APP, [PIN]) is None) is covers


def test_the_freeze() -> None:
    assert sets.freeze_change(fleet("create-only")) is None
    frozen = sets.freeze_change(fleet("sync"))
    assert frozen == FieldChange(sets.POLICY, "sync", "create-only")


@pytest.mark.parametrize(
    ("version", "policies", "rules"),
    [("v2.7.9", False, False), ("v2.8.0", True, False), ("v2.9.0", True, True)],
)
def test_what_a_release_knows(version: str, policies: bool, rules: bool) -> None:
    assert (sets.has_policies(argocd(version)), sets.has_rules(argocd(version))) == (policies, rules)


def test_the_names_of_its_apps() -> None:
    listed = {**fleet(), "status": {"resources": [{"kind": "Application", "name": "a"}, {"kind": "Other"}]}}
    assert sets.generated(listed) == ["a"]
    assert sets.generated(fleet()) == ["those of fleet"]
