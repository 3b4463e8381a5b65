"""How an ApplicationSet would take an edit of one of its Applications back, and its own means against it.

Argo CD: applicationset/controllers/applicationset_controller.go, applicationset/utils/policy.go and
createOrUpdate.go. A set writes the whole generated spec, so even an added key is drift here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model.patches import show_path
from ..model.values import ABSENT, JSON, ArgoCD, Change, FieldChange, MemberChange, Path, ref_of
from . import ownership

RULES: Path = ("spec", "ignoreApplicationDifferences")
POLICY: Path = ("spec", "syncPolicy", "applicationsSync")

NOT_UPDATING = ("create-only", "create-delete")
"""Policies under which an existing Application is never written (createInCluster)."""


def _flag(argocd: ArgoCD, workload: JSON | None, name: str, parameter: str) -> str:
    """Return a controller setting: its command line, its environment's ConfigMap, else empty."""
    template = (((workload or {}).get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        for i, word in enumerate(words):
            if word == name and i + 1 < len(words):
                return str(words[i + 1])
            if str(word).startswith(f"{name}="):
                return str(word).partition("=")[2]
    return str(argocd.parameters.get(parameter) or "")


def controller_policy(argocd: ArgoCD, workload: JSON | None = None) -> str:
    """Return the controller-wide policy, empty where none is set (which means sync)."""
    return _flag(argocd, workload, "--policy", "applicationsetcontroller.policy")


def may_override(argocd: ArgoCD, workload: JSON | None = None) -> bool:
    """Whether a set's own `applicationsSync` counts: by default exactly where no policy is set."""
    said = _flag(
        argocd,
        workload,
        "--enable-policy-override",
        "applicationsetcontroller.enable.policy.override",
    )
    return said == "true" if said else not controller_policy(argocd, workload)


def effective_policy(owner: JSON, argocd: ArgoCD, workload: JSON | None = None) -> str:
    """Return the policy under which this set's Applications are written."""
    own = ((owner.get("spec") or {}).get("syncPolicy") or {}).get("applicationsSync") or ""
    if own and may_override(argocd, workload) and has_policies(argocd):
        return str(own)
    return controller_policy(argocd, workload) or "sync"


def may_delete(owner: JSON, argocd: ArgoCD, workload: JSON | None = None) -> bool:
    """Whether this set deletes Applications that its generators do not give."""
    return effective_policy(owner, argocd, workload) in ("sync", "create-delete")


def has_policies(argocd: ArgoCD) -> bool:
    """`applicationsSync` is there since 2.8."""
    return argocd.version is None or argocd.version.at_least(2, 8)


def has_rules(argocd: ArgoCD) -> bool:
    """`ignoreApplicationDifferences` is there since 2.9."""
    return argocd.version is None or argocd.version.at_least(2, 9)


def is_rolling(owner: JSON) -> bool:
    """Whether the set itself orders the syncs of its Applications (RollingSync).

    Only a controller that has progressive syncs enabled keeps `applicationStatus`; elsewhere the
    strategy means nothing.
    """
    strategy = ((owner.get("spec") or {}).get("strategy") or {}).get("type")
    return strategy == "RollingSync" and bool((owner.get("status") or {}).get("applicationStatus"))


def is_idle(owner: JSON, argocd: ArgoCD, workload: JSON | None = None) -> bool:
    """Whether the controller writes no existing Application of this set at all."""
    dry = _flag(argocd, workload, "--dry-run", "applicationsetcontroller.dryrun") == "true"
    return dry or effective_policy(owner, argocd, workload) in NOT_UPDATING


def wanted_pointers(app: JSON, changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the fields that the set must leave alone for `changes` of one of its apps to stay.

    Of a list the whole list, since the set's merge patch replaces it; of the sync policy the whole
    block, since a controller up to 3.4 sees a difference between an empty one and none.
    """
    pointers: dict[str, None] = {}
    for change in changes:
        names = [s for s in change.path if isinstance(s, str)]
        if names[:2] == ["spec", "syncPolicy"]:
            pointers["/spec/syncPolicy"] = None
        elif names[:2] in (["spec", "sources"], ["spec", "sourceHydrator"]):
            pointers[f"/spec/{names[1]}"] = None
        else:
            pointers[show_path(change.path)] = None
    return tuple(pointers)


def is_covered(owner: JSON, app: JSON, wanted: str) -> bool:
    """Whether a rule of the set has the field already."""
    for rule in (owner.get("spec") or {}).get("ignoreApplicationDifferences") or ():
        if rule.get("name") and rule["name"] != app["metadata"]["name"]:
            continue
        pointers = [*(rule.get("jsonPointers") or ())]
        pointers += [ownership.plain_jq(e) for e in rule.get("jqPathExpressions") or ()]
        if any(p and (wanted == p or wanted.startswith(p + "/")) for p in pointers):
            return True
    return False


def rule_change(
    owner: JSON, app: JSON, changes: Sequence[Change], *, everyone: bool = False
) -> MemberChange | None:
    """Return the rule to add so that `changes` of `app` stay; None where rules cover them.

    With `everyone` one rule for all apps of the set, where all of them are edited.
    """
    missing = [p for p in wanted_pointers(app, changes) if not is_covered(owner, app, p)]
    if not missing:
        return None
    rules = (owner.get("spec") or {}).get("ignoreApplicationDifferences")
    item: dict[str, JSON] = {} if everyone else {"name": app["metadata"]["name"]}
    item["jsonPointers"] = missing
    return MemberChange(RULES, item, len(rules or ()), present=True, sole=not rules)


def freeze_change(owner: JSON) -> FieldChange | None:
    """Return the change that stops the set from writing any of its Applications."""
    return None if _own_policy(owner) in NOT_UPDATING else create_only_change(owner)


def create_only_change(owner: JSON) -> FieldChange | None:
    """Return the change that stops the set from writing or deleting any of its Applications; None where it is so."""
    return policy_change(owner, "create-only")


def policy_change(owner: JSON, policy: str) -> FieldChange | None:
    """Return the change that gives a set a policy of its own; None where it has it."""
    if (owner.get("spec") or {}).get("syncPolicy", ABSENT) is ABSENT:
        # The block comes and goes with it: an undo leaves no empty one behind.
        return FieldChange(POLICY[:-1], ABSENT, {POLICY[-1]: policy})
    own = _own_policy(owner)
    return None if own == policy else FieldChange(POLICY, own, policy)


def _own_policy(owner: JSON) -> JSON:
    return ((owner.get("spec") or {}).get("syncPolicy") or {}).get("applicationsSync", ABSENT)


def generated(owner: JSON) -> list[str]:
    """Name the Applications that the set says it has."""
    found = [
        str(r.get("name"))
        for r in (owner.get("status") or {}).get("resources") or ()
        if r.get("kind") == "Application"
    ]
    return found or ([f"those of {ref_of(owner).name}"] if owner else [])


def set_errors(owner: JSON) -> list[JSON]:
    """Return the conditions of an ApplicationSet that say that it does not work."""
    conditions = (owner.get("status") or {}).get("conditions") or ()
    return [
        c
        for c in conditions
        if c.get("type") in ("ErrorOccurred", "InvalidRolloutConfig") and c.get("status") == "True"
    ]
