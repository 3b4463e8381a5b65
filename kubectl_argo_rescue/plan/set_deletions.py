"""Plans how ApplicationSets are asked what they would delete, while they may not delete it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct, field

from ..argocd import applicationset, deletion
from ..argocd.components import controller_of_sets
from ..model.patches import applied
from ..model.text import display_name
from ..model.values import JSON, ArgoCD, Edit, Key, MemberChange, Ref, Role, Snapshot, ref_of

WHY = "it is asked what it would delete"


class Asking(Struct):
    """Sets that may delete Applications again once some edits are written."""

    holds: list[Edit] = field(default_factory=list)
    """Meanwhile each writes its Applications but for their spec, and deletes none."""
    silent: list[Key] = field(default_factory=list)
    """Those that cannot be asked."""


def plan_asking(snapshot: Snapshot, edits: Iterable[Edit]) -> Asking:
    """Plan how the sets among `edits` are asked that may delete by them and may not now."""
    found = Asking()
    argocd, workload = snapshot.argocd, controller_of_sets(snapshot)
    for edit in edits:
        live = snapshot.objects.get(edit.ref.key)
        if (
            edit.ref.kind != "ApplicationSet"
            or live is None
            or applicationset.may_delete(live, argocd, workload)
        ):
            continue
        if not applicationset.may_delete(applied(live, edit.changes), argocd, workload):
            continue
        policy = applicationset.policy_change(live, "create-update")
        # A RollingSync would order syncs of what stands in their specs.
        if policy is None or applicationset.is_rolling(live) or not applicationset.has_rules(argocd):
            found.silent.append(edit.ref.key)
            continue
        rules = (live.get("spec") or {}).get("ignoreApplicationDifferences")
        whole = {"jsonPointers": ["/spec"]}
        rule = MemberChange(applicationset.RULES, whole, len(rules or ()), present=True, sole=not rules)
        found.holds.append(Edit(edit.ref, (rule, policy), WHY, Role.RULE, named=False))
    return found


def generated_by(sets: Iterable[Ref], apps: Iterable[JSON]) -> list[JSON]:
    """Return the living Applications that some sets own."""
    uids = {ref.uid for ref in sets}
    return [
        app
        for app in apps
        if not deletion.is_dying(app)
        and any(o.get("uid") in uids for o in app["metadata"].get("ownerReferences") or ())
    ]


def by_set(edits: Sequence[Edit], apps: Iterable[JSON], lost: Iterable[Key]) -> dict[Key, list[Key]]:
    """Sort Applications that are lost by the set that owns them."""
    gone = set(lost)
    found = {
        edit.ref.key: [ref_of(app).key for app in generated_by([edit.ref], apps) if ref_of(app).key in gone]
        for edit in edits
    }
    return {key: names for key, names in found.items() if names}


def not_let_go(keys: Iterable[Key], argocd: ArgoCD, names: Collection[str]) -> list[str]:
    """Name the Applications among `keys` that were not named to be let go."""
    return [
        display_name(key, argocd)
        for key in keys
        if not {display_name(key, argocd), f"{key.namespace}/{key.name}"} & set(names)
    ]
