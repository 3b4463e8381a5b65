"""The applicationset-controller: generates Applications and takes back every edit of them.

Generators: `list` alone; for others put the parameters into `generated`.
Mirrors Argo CD: applicationset/controllers/applicationset_controller.go and utils/createOrUpdate.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from ..model import values
from ..model.values import JSON, Version
from .api import InMemoryApi
from .diffing import without_pointers
from .wire import copied, timestamp

PRESERVED = (
    "notified.notifications.argoproj.io",
    "argocd.argoproj.io/refresh",
    "argocd.argoproj.io/hydrate",
)


class SimulatedApplicationSets:
    """Reconciles every ApplicationSet once per step.

    `policy` is the controller's own (`--policy`), `allows_override` whether a set may choose.
    """

    def __init__(self, api: InMemoryApi, clock: Callable[[], datetime], version: Version) -> None:
        """Generate into that API, as that version of Argo CD does."""
        self.api = api
        self.clock = clock
        self.version = version
        self.policy = "sync"
        self.allows_override = True
        self.heeds_rules = True
        """Whether `ignoreApplicationDifferences` counts: not in every version of Argo CD that has it."""
        self.generated: dict[str, list[Mapping[str, str]]] = {}
        """Parameters by "namespace/name" of the set, for generators that are not simulated."""

    def step(self) -> None:
        """One round over all sets, in order."""
        if values.APPLICATIONSET not in self.api.resources():
            return
        for application_set in self.api.peek(values.APPLICATIONSET):
            if not application_set["metadata"].get("deletionTimestamp"):
                self._reconcile(application_set)

    def _policy(self, application_set: JSON) -> str:
        chosen = (application_set["spec"].get("syncPolicy") or {}).get("applicationsSync")
        return chosen if chosen and self.allows_override else self.policy

    def _reconcile(self, application_set: JSON) -> None:
        meta = application_set["metadata"]
        policy = self._policy(application_set)
        wanted = [
            self._render(application_set, parameters) for parameters in self._parameters(application_set)
        ]
        names = {app["metadata"]["name"] for app in wanted}
        for app in wanted:
            live = self.api.look(values.APPLICATION, meta["namespace"], app["metadata"]["name"])
            if (application_set["spec"].get("strategy") or {}).get("type") == "RollingSync":
                self._roll(app, live)
            if live is None:
                self.api.create(app)
            elif policy in ("sync", "create-update"):
                self._update(application_set, app, live)
        if policy in ("sync", "create-delete"):
            for live in self._owned(application_set):
                if live["metadata"]["name"] not in names:
                    self.api.delete(values.APPLICATION, meta["namespace"], live["metadata"]["name"])
        self._report(application_set)

    def _roll(self, app: JSON, live: JSON) -> None:
        """Sync in place of auto-sync, by operations without a source.

        Argo CD: progressivesync/progressive_sync.go SyncDesiredApplications. Its steps are not simulated:
        all Applications are in the first.
        """
        policy = app["spec"].get("syncPolicy") or {}
        automated = policy.get("automated")
        if automated is not None and self.version.at_least(3, 3):
            policy["automated"] = {**automated, "enabled": False}
        elif automated is not None:
            del policy["automated"]
        app["spec"] = _normalised(app["spec"])
        status = (live or {}).get("status") or {}
        sync = status.get("sync") or {}
        if sync.get("status") != "OutOfSync" or live.get("operation") is not None:
            return
        result = (status.get("operationState") or {}).get("syncResult") or {}
        source = (sync.get("comparedTo") or {}).get("source")
        if source == live["spec"].get("source") and (result.get("source"), result.get("revision")) != (
            source,
            sync.get("revision"),
        ):
            app["operation"] = {
                "initiatedBy": {"username": "applicationset-controller", "automated": True},
                "retry": policy.get("retry") or {"limit": 5},
                "sync": {"prune": bool((automated or {}).get("prune"))},
            }

    def _owned(self, application_set: JSON) -> list[JSON]:
        uid = application_set["metadata"]["uid"]
        return [
            app
            for app in self.api.peek(values.APPLICATION, application_set["metadata"]["namespace"])
            if any(owner["uid"] == uid for owner in app["metadata"].get("ownerReferences", []))
        ]

    def _parameters(self, application_set: JSON) -> list[Mapping[str, str]]:
        meta = application_set["metadata"]
        found = list(self.generated.get(f"{meta['namespace']}/{meta['name']}", []))
        for generator in application_set["spec"]["generators"]:
            found += (generator.get("list") or {}).get("elements") or []
        return found

    def _render(self, application_set: JSON, parameters: Mapping[str, str]) -> JSON:
        def rendered(value: JSON) -> JSON:
            if isinstance(value, dict):
                return {rendered(key): rendered(item) for key, item in value.items()}
            if isinstance(value, list):
                return [rendered(item) for item in value]
            if isinstance(value, str):
                return re.sub(r"\{\{\s*\.?([\w.-]+)\s*\}\}", lambda m: str(parameters.get(m[1], m[0])), value)
            return value

        meta = application_set["metadata"]
        template = rendered(application_set["spec"]["template"])
        new_meta = {k: v for k, v in template["metadata"].items() if v and k != "namespace"}
        preserves = (application_set["spec"].get("syncPolicy") or {}).get("preserveResourcesOnDeletion")
        if not preserves:
            new_meta.setdefault("finalizers", ["resources-finalizer.argocd.argoproj.io"])
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                **new_meta,
                "namespace": meta["namespace"],
                "ownerReferences": [
                    {
                        "apiVersion": "argoproj.io/v1alpha1",
                        "kind": "ApplicationSet",
                        "name": meta["name"],
                        "uid": meta["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": _normalised(template["spec"]),
        }

    def _update(self, application_set: JSON, generated: JSON, live: JSON) -> None:
        """Set spec, labels, annotations and finalizers whole, but what is ignored or preserved."""
        spec = application_set["spec"]
        preserved = spec.get("preservedFields") or {}
        old = live["metadata"]
        meta = {
            key: value
            for key, value in old.items()
            if key not in ("labels", "annotations", "finalizers", "ownerReferences")
        }
        meta["ownerReferences"] = generated["metadata"]["ownerReferences"]
        for name, kept in (
            ("annotations", [*preserved.get("annotations", []), *PRESERVED]),
            ("labels", preserved.get("labels", [])),
        ):
            pairs = dict(generated["metadata"].get(name, {}))
            pairs |= {key: value for key, value in (old.get(name) or {}).items() if key in kept}
            if pairs:
                meta[name] = pairs
        finalizers = list(generated["metadata"].get("finalizers", []))
        finalizers += [
            f
            for f in old.get("finalizers", [])
            if f.startswith("post-delete-finalizer.argocd.argoproj.io") and f not in finalizers
        ]
        if finalizers:
            meta["finalizers"] = finalizers
        wanted = {**live, "metadata": meta, "spec": generated["spec"]}
        if "operation" in generated:
            wanted["operation"] = generated["operation"]
        pointers = [
            pointer
            for rule in spec.get("ignoreApplicationDifferences", []) * self.heeds_rules
            if rule.get("name") in (None, "", old["name"])
            for pointer in rule.get("jsonPointers", [])
        ]
        there = without_pointers({**live, "spec": _normalised(live["spec"])}, pointers)
        new = without_pointers(wanted, pointers)
        new = {**new, "spec": _normalised(new.get("spec") or {})}
        there = {**there, "spec": _normalised(there.get("spec") or {})}
        if there == new:
            return
        changes = _merge_diff(there, new)
        self.api.edit(values.APPLICATION, old["namespace"], old["name"], lambda obj: _merged(obj, changes))

    def _report(self, application_set: JSON) -> None:
        """Mirror each app's own sync status; that says nothing about the template."""
        resources = []
        for app in self._owned(application_set):
            status = app.get("status") or {}
            resource: dict[str, JSON] = {
                "group": "argoproj.io",
                "version": "v1alpha1",
                "kind": "Application",
                "namespace": app["metadata"]["namespace"],
                "name": app["metadata"]["name"],
                "status": (status.get("sync") or {}).get("status", ""),
            }
            health = (status.get("health") or {}).get("status")
            if health:
                resource["health"] = {"status": health}
            resources.append({key: value for key, value in resource.items() if value})
        now = timestamp(self.clock())
        old = {c["type"]: c for c in (application_set.get("status") or {}).get("conditions", [])}
        conditions = [
            old.get(kind)
            or {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": text,
                "lastTransitionTime": now,
            }
            for kind, status, reason, text in (
                (
                    "ErrorOccurred",
                    "False",
                    "ApplicationSetUpToDate",
                    "All applications have been generated successfully",
                ),
                (
                    "ParametersGenerated",
                    "True",
                    "ParametersGenerated",
                    "Successfully generated parameters for all Applications",
                ),
                (
                    "ResourcesUpToDate",
                    "True",
                    "ApplicationSetUpToDate",
                    "All applications have been generated successfully",
                ),
            )
        ]

        status = {"conditions": conditions, "resources": resources, "resourcesCount": len(resources)}

        def observe(live: JSON) -> None:
            live["status"] = status

        meta = application_set["metadata"]
        if application_set.get("status") != status:
            self.api.edit(values.APPLICATIONSET, meta["namespace"], meta["name"], observe)


def _normalised(spec: JSON) -> JSON:
    """Argo CD: util/argo/argo.go NormalizeApplicationSpec."""
    found = copied(spec)
    found["project"] = found.get("project") or "default"
    if not any(value not in (None, []) for value in (found.get("syncPolicy") or {}).values()):
        found.pop("syncPolicy", None)
    return found


def _merge_diff(before: JSON, after: JSON) -> JSON:
    """The JSON merge patch from one object to the other; lists go whole."""
    changes: dict[str, JSON] = {key: None for key in before if key not in after}
    for key, value in after.items():
        if key not in before:
            changes[key] = value
        elif before[key] != value:
            both = isinstance(before[key], dict) and isinstance(value, dict)
            changes[key] = _merge_diff(before[key], value) if both else value
    return changes


def _merged(obj: JSON, changes: JSON) -> JSON:
    found = dict(obj)
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merged(found[key], value)
        else:
            found[key] = value
    return found
