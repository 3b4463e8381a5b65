"""Argo CD's controllers over the in-memory API: compares, syncs, heals, blocks and reverts like the real ones.

Deterministic: one `step` is one round over all apps by name; time comes from the clock alone. Like
the real one it acts on events (an object changed, a refresh was asked for, the resync is due), so
that a window that opens or a commit that is pushed is noticed only then. Running operations are
looked at in every step, which is sooner than the real controller's thirty seconds.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TypeAlias

from ..argocd import windows
from ..argocd.globs import is_app_namespace_allowed
from ..model import values
from ..model.values import JSON, ArgoCD, Tracking, Version
from . import scale
from .api import InMemoryApi
from .applicationsets import SimulatedApplicationSets
from .clock import SteppedClock
from .comparison import (
    Cached,
    Child,
    Comparer,
    Comparison,
    ObjectKey,
    app_health,
    apply_child,
    resource_statuses,
    sources_of,
    tracked_by,
)
from .sources import Sources
from .store import Change
from .wire import copied, timestamp
from .workloads import Workloads, health_of

REFRESH = "argocd.argoproj.io/refresh"
HYDRATE = "argocd.argoproj.io/hydrate"
SKIP_RECONCILE = "argocd.argoproj.io/skip-reconcile"
FINALIZER = "resources-finalizer.argocd.argoproj.io"
COMPLETED = frozenset({"Succeeded", "Failed", "Error"})
UNREACHABLE = "rpc error: code = Unavailable desc = connection error: connection refused"
BLOCKED = "Sync operation blocked by sync window"

AppKey: TypeAlias = tuple[str, str]
"""Namespace and name of an Application."""


class Level(IntEnum):
    """How far a refresh goes (Argo CD: appcontroller.go CompareWith)."""

    QUEUED = 0
    """Only looked at; compared where the app itself gives a reason."""
    RECENT = 1
    """Compared with the revision that was resolved last."""
    LATEST = 2
    FORCED = 3
    """The newest revision, and errors of the repo-server count at once."""


class Spoke:
    """Another cluster, into which this Argo CD deploys."""

    def __init__(self, api: InMemoryApi, workloads: Workloads) -> None:
        """Take over its workloads."""
        self.api = api
        self.workloads = workloads
        self._seen = 0

    def step(self) -> bool:
        """One round of its own controllers; whether anything was written."""
        before = self.api.revision
        self.workloads.step()
        return self.api.revision != before

    def changes(self) -> list[Change] | None:
        """What was written there since the last look; None where that is not known any more."""
        found = self.api.changes(self._seen)
        self._seen = self.api.revision
        return found


class SimulatedArgoCD:
    """The application-controller, the repo-server, the applicationset-controller and the workloads' own.

    `stuck` names apps ("namespace/name") whose operations wait for a hook for ever, `failing` those
    whose syncs fail, with the message, `slow` those whose comparison is written down a round after it
    began, by what was there then: a refresh that is asked for meanwhile goes with it.
    """

    def __init__(
        self,
        api: InMemoryApi,
        sources: Sources,
        clock: Callable[[], datetime],
        version: tuple[int, int] = (3, 2),
        *,
        namespace: str = "argocd",
        resync: float = 120.0,
        clusters: Mapping[str, InMemoryApi] | None = None,
    ) -> None:
        """Serve the Applications in `namespace` and in those that argocd-cmd-params-cm lists.

        `clusters` are the other clusters that they deploy into, by server or by name. A second Argo CD
        on one API is another one of these in a namespace of its own.
        """
        self.api = api
        self.sources = sources
        self.clock = clock
        self.version = Version(*version, f"v{version[0]}.{version[1]}.0")
        self.namespace = namespace
        self.resync = timedelta(seconds=resync)
        self.controller_alive = True
        self.repo_server_alive = True
        self.appset_alive = True
        self.workloads_alive = True
        self.stuck: set[str] = set()
        self.failing: dict[str, str] = {}
        self.slow: set[str] = set()
        self.workloads = Workloads(api, clock)
        self.application_sets = SimulatedApplicationSets(api, clock, self.version)
        self._clusters = dict(clusters or {})
        self._spokes = [
            Spoke(other, Workloads(other, clock, self.workloads))
            for other in {id(c): c for c in self._clusters.values() if c is not api}.values()
        ]
        self._stepping = threading.RLock()
        self._seen = 0
        self._own = 0
        """The last change that the application-controller knows without its cache: it made it."""
        self._unseen: dict[ObjectKey, JSON] = {}
        """What its cache does not show yet, as it was before."""
        self._under_way: dict[AppKey, Callable[[], None]] = {}
        """The ends of comparisons that have begun."""
        self._requested: dict[AppKey, list[tuple[datetime, Level]]] = {}
        self._was_automated: dict[AppKey, tuple[bool, bool]] = {}
        self._repo_error_since: dict[AppKey, datetime] = {}

    # Time

    def step(self) -> bool:
        """One round of all controllers; whether anything was written."""
        with self._stepping:
            before = self.api.revision
            if self.controller_alive and self._is_wanted("application-controller"):
                self._controller_round()
            if self.appset_alive and self._is_wanted("applicationset-controller"):
                self.application_sets.step()
            moved = [spoke.step() for spoke in self._spokes]
            if self.workloads_alive:
                self.workloads.step()
            return self.api.revision != before or any(moved)

    def roll_in(self, seconds: float) -> None:
        """Let every rollout take so long."""
        for workloads in (self.workloads, *(spoke.workloads for spoke in self._spokes)):
            workloads.rollout_seconds = seconds

    def _is_wanted(self, component: str) -> bool:
        """Whether its workload is not scaled to 0."""
        workloads = [w for kind in scale.SCALED for w in self.api.peek(kind, self.namespace)]
        return scale.is_wanted(workloads, component)

    def settle(self, max_rounds: int = 50) -> int:
        """Step until nothing changes any more at this instant; the rounds it took."""
        for rounds in range(max_rounds):
            if not self.step():
                return rounds
        raise AssertionError(f"Argo CD does not come to rest within {max_rounds} rounds")

    def tick(self, seconds: float = 0.5) -> bool:
        """Let a moment pass, then step; made for `InMemoryApi.idle`."""
        if isinstance(self.clock, SteppedClock):
            self.clock.advance(seconds)
        return self.step()

    def run(self, seconds: float, every: float = 0.5) -> None:
        """Let time pass in small steps, with everything that happens in it."""
        for _ in range(max(1, round(seconds / every))):
            self.tick(every)

    # Settings

    def installation(self) -> ArgoCD:
        """The installation as its ConfigMaps say now."""
        settings = (self.api.look(values.CONFIGMAP, self.namespace, "argocd-cm") or {}).get("data") or {}
        found = self.api.look(values.CONFIGMAP, self.namespace, "argocd-cmd-params-cm") or {}
        parameters = found.get("data") or {}
        default = "annotation" if self.version.at_least(3, 0) else "label"
        method = settings.get("application.resourceTrackingMethod") or default
        entries = parameters.get("application.namespaces", "").split(",")
        return ArgoCD(
            namespace=self.namespace,
            version=self.version,
            tracking=Tracking(method),
            instance_label=settings.get("application.instanceLabelKey") or "app.kubernetes.io/instance",
            installation_id=settings.get("installationID", ""),
            application_namespaces=tuple(entry.strip() for entry in entries if entry.strip()),
            global_projects=_global_projects(settings.get("globalProjects", "")),
            parameters=parameters,
        )

    def _serves(self, app: JSON, argocd: ArgoCD) -> bool:
        """Argo CD: appcontroller.go canProcessApp."""
        namespace = app["metadata"]["namespace"]
        if not is_app_namespace_allowed(
            namespace, self.namespace, argocd.application_namespaces, self.version
        ):
            return False
        skip = (app["metadata"].get("annotations") or {}).get(SKIP_RECONCILE, "")
        return skip not in ("1", "t", "T", "true", "TRUE", "True")

    def _api_of(self, app: JSON) -> InMemoryApi:
        """The cluster that an app deploys into."""
        to = app["spec"]["destination"]
        return self._clusters.get(to.get("server") or to.get("name", ""), self.api)

    def _comparer(self, app: JSON, unseen: Mapping[ObjectKey, JSON] | None = None) -> Comparer:
        api = self._api_of(app)
        return Comparer(Cached(api, unseen) if unseen and api is self.api else api, self.sources)

    def _project(self, app: JSON) -> JSON | None:
        name = app["spec"].get("project") or "default"
        return self.api.look(values.APPPROJECT, self.namespace, name)

    def _window_error(
        self, app: JSON, project: JSON, argocd: ArgoCD, *, manual: bool, start: datetime | None
    ) -> str | None:
        """Why windows stop a sync: None they do not, "" they do, else the windows are malformed."""
        projects = self.api.peek(values.APPPROJECT, self.namespace)
        found = windows.judge_sync(
            windows.effective_windows(project, projects, argocd),
            app,
            self.clock(),
            manual=manual,
            start=start if self.version.at_least(3, 5) else None,
        )
        return None if found.can_sync else found.error

    # Events

    def _controller_round(self) -> None:
        argocd = self.installation()
        wanted = self._events(argocd)
        for app in self.api.peek(values.APPLICATION):
            key = (app["metadata"]["namespace"], app["metadata"]["name"])
            level = self._due(key, wanted.get(key))
            if not self._serves(app, argocd):
                continue
            self._refresh(key, level, argocd)
            self._operate(key, argocd)
        self._own = self.api.revision

    def _events(self, argocd: ArgoCD) -> dict[AppKey, Level]:
        """Which apps the changes since the last round concern (appcontroller.go handleObjectUpdated)."""
        changes = self.api.changes(self._seen)
        self._seen = self.api.revision
        self._unseen = {}
        elsewhere = [spoke.changes() for spoke in self._spokes]
        wanted: dict[AppKey, Level] = {}
        if changes is None or None in elsewhere:
            for app in self.api.peek(values.APPLICATION):
                wanted[(app["metadata"]["namespace"], app["metadata"]["name"])] = Level.RECENT
            return wanted
        found = [(change, True) for change in changes]
        found += [(change, False) for seen in elsewhere for change in seen or ()]
        for change, is_here in found:
            if is_here and change.resource == values.APPLICATION and change.type != "DELETED":
                key = (change.namespace, change.name)
                wanted[key] = max(wanted.get(key, Level.QUEUED), self._toggled(key, change.object))
            if not _concerns_owner(change):
                continue
            if change.revision > self._own:
                self._unseen.setdefault((change.resource, change.namespace, change.name), change.previous)
            instance = tracked_by(change.object, argocd)
            if not instance:
                continue
            namespace, separator, name = instance.partition("_")
            owner = (namespace, name) if separator else (self.namespace, instance)
            is_itself = change.resource == values.APPLICATION and owner == (change.namespace, change.name)
            if not is_itself:
                wanted[owner] = max(wanted.get(owner, Level.QUEUED), Level.RECENT)
        return wanted

    def _toggled(self, key: AppKey, app: JSON) -> Level:
        """Auto-sync or self-heal switched on asks for a comparison (appcontroller.go automatedSyncEnabled)."""
        automated = (app["spec"].get("syncPolicy") or {}).get("automated")
        now = (self._is_automated(app), bool(automated and automated.get("selfHeal")))
        before = self._was_automated.get(key, now)
        self._was_automated[key] = now
        switched = (now[0] and not before[0]) or (now[0] and now[1] and not before[1])
        return Level.LATEST if switched else Level.QUEUED

    def _is_automated(self, app: JSON) -> bool:
        """Argo CD: types.go IsAutomatedSyncEnabled; `enabled` since 3.1."""
        automated = (app["spec"].get("syncPolicy") or {}).get("automated")
        known = self.version.at_least(3, 1)
        return automated is not None and (not known or bool(automated.get("enabled", True)))

    def _request(self, key: AppKey, level: Level, after: float = 0.0) -> None:
        self._requested.setdefault(key, []).append((self.clock() + timedelta(seconds=after), level))

    def _due(self, key: AppKey, level: Level | None) -> Level | None:
        now = self.clock()
        waiting = self._requested.pop(key, [])
        later = [(when, asked) for when, asked in waiting if when > now]
        if later:
            self._requested[key] = later
        due = [asked for when, asked in waiting if when <= now]
        return max([*due, *([level] if level is not None else [])], default=None)

    # Refresh

    def _reason(self, app: JSON, requested: Level | None) -> Level | None:
        """Whether and how far to compare (appcontroller.go needRefreshAppStatus)."""
        status = app.get("status") or {}
        compared = (status.get("sync") or {}).get("comparedTo") or {}
        if (app["metadata"].get("annotations") or {}).get(REFRESH):
            return Level.FORCED
        if requested is not None and not self._is_compared_source(app, compared):
            return Level.FORCED
        reconciled = _time(status.get("reconciledAt"))
        if reconciled is None or reconciled + self.resync < self.clock():
            return Level.LATEST
        if requested is None:
            return None
        if app["spec"]["destination"] != compared.get("destination"):
            return Level.LATEST
        if app["spec"].get("ignoreDifferences", []) != compared.get("ignoreDifferences", []):
            return Level.LATEST
        return requested if requested > Level.QUEUED else None

    @staticmethod
    def _is_compared_source(app: JSON, compared: JSON) -> bool:
        sources, several = sources_of(app)
        if several:
            return bool(compared.get("sources") == sources)
        return bool(compared.get("source") == sources[0])

    def _refresh(self, key: AppKey, requested: Level | None, argocd: ArgoCD) -> None:
        """Argo CD: appcontroller.go processAppRefreshQueueItem."""
        if key in self._under_way:
            self._under_way.pop(key)()
            if requested is not None:
                self._request(key, requested)
            return
        app = self.api.look(values.APPLICATION, *key)
        level = self._reason(app, requested) if app is not None else None
        if level is None:
            return
        project = self._project(app)
        if project is None:
            self._without_project(key, app)
            return
        # Only what an event has asked for is in the cache for certain: the event came out of it.
        unseen = {} if level is Level.RECENT else self._unseen
        if unseen and requested is not None and requested >= Level.RECENT:
            self._request(key, Level.RECENT)
        found = self._compare(key, app, level, argocd, unseen)
        if found is None:
            return
        began = timestamp(self.clock())

        def end() -> None:
            self._compared(key, app, project, found, level, began, argocd)

        if "/".join(key) in self.slow:
            self._under_way[key] = end
        else:
            end()

    def _compared(
        self,
        key: AppKey,
        app: JSON,
        project: JSON,
        found: Comparison,
        level: Level,
        began: str,
        argocd: ArgoCD,
    ) -> None:
        """Act on a comparison and write it down, all by what was read when it began."""
        status = copied(app.get("status") or {})
        conditions = self._kept_conditions(status, "ComparisonError")
        if found.error:
            self._condition(app, conditions, "ComparisonError", found.error)
        self._normalise(key)
        resources = resource_statuses(found, with_health=not self.version.at_least(3, 0))
        blocked = self._window_error(app, project, argocd, manual=False, start=None) is not None
        if not blocked:
            conditions = [c for c in conditions if c["type"] != "SyncError"]
            complaint = self._auto_sync(key, app, found, resources)
            if complaint:
                self._condition(app, conditions, "SyncError", complaint)
        if not status.get("reconciledAt") or level >= Level.LATEST:
            status["reconciledAt"] = began
        status |= {
            "sync": self._sync_status(app, found),
            "resources": resources,
            "conditions": conditions,
            "health": {"status": app_health(found, self.version.at_least(3, 4))},
            "controllerNamespace": self.namespace,
            "summary": {"images": images} if (images := _images(found)) else {},
        }
        sources, several = sources_of(app)
        types = ["Helm" if source.get("chart") else "Directory" for source in sources]
        status |= {"sourceTypes": types} if several else {"sourceType": types[0]}
        if self.version.at_least(2, 14):
            status.setdefault("sourceHydrator", {})
        if self.version.at_least(3, 0):
            status["resourceHealthSource"] = "appTree"
        self._persist(key, status)

    def _without_project(self, key: AppKey, app: JSON) -> None:
        status = copied(app.get("status") or {})
        conditions = self._kept_conditions(status)
        name = app["spec"].get("project") or "default"
        text = f"Application referencing project {name} which does not exist"
        self._condition(app, conditions, "InvalidSpecError", text)
        status |= {"sync": {**(status.get("sync") or {}), "status": "Unknown"}, "conditions": conditions}
        status["health"] = {"status": "Unknown"}
        self._persist(key, status)

    @staticmethod
    def _kept_conditions(status: JSON, *more: str) -> list[JSON]:
        """What stays of the conditions: those that a comparison finds anew go."""
        gone = ("InvalidSpecError", "UnknownError", *more)
        return [c for c in status.get("conditions", []) if c["type"] not in gone]

    @staticmethod
    def _sync_status(app: JSON, found: Comparison) -> dict[str, JSON]:
        sources, several = sources_of(app)
        compared: dict[str, JSON] = {"destination": app["spec"]["destination"]}
        compared["source"] = {"repoURL": ""} if several else sources[0]
        if several:
            compared["sources"] = sources
        if app["spec"].get("ignoreDifferences"):
            compared["ignoreDifferences"] = app["spec"]["ignoreDifferences"]
        sync: dict[str, JSON] = {"status": found.status, "comparedTo": compared}
        if found.revision:
            sync["revision"] = found.revision
        if found.revisions:
            sync["revisions"] = found.revisions
        return sync

    def _compare(
        self, key: AppKey, app: JSON, level: Level, argocd: ArgoCD, unseen: Mapping[ObjectKey, JSON]
    ) -> Comparison | None:
        """Compare; None where an error of the repo-server is still within its grace period."""
        sources, several = sources_of(app)
        revisions = [source.get("targetRevision", "") for source in sources]
        sync = (app.get("status") or {}).get("sync") or {}
        if level is Level.RECENT:
            known = sync.get("revisions", []) if several else [sync.get("revision", "")]
            if len(known) == len(sources) and all(known):
                revisions = known
        comparer = self._comparer(app, unseen)
        if self.repo_server_alive:
            found = comparer.compare(app, sources, revisions, several, argocd)
        else:
            found = comparer.failed(app, sources, several, argocd, UNREACHABLE)
        if not found.error:
            self._repo_error_since.pop(key, None)
            return found
        first = self._repo_error_since.setdefault(key, self.clock())
        grace = self.version.at_least(2, 10) and self.clock() - first <= timedelta(seconds=180)
        return None if grace and level is not Level.FORCED else found

    def _condition(self, app: JSON, conditions: list[JSON], kind: str, message: str) -> None:
        """Set a condition; its time stays while it says the same."""
        now = timestamp(self.clock())
        for old in (app.get("status") or {}).get("conditions", []):
            if (old["type"], old["message"]) == (kind, message):
                now = old["lastTransitionTime"]
        conditions.append({"type": kind, "message": message, "lastTransitionTime": now})

    def _normalise(self, key: AppKey) -> None:
        """Argo CD: util/argo/argo.go NormalizeApplicationSpec."""

        def change(live: JSON) -> None:
            spec = live["spec"]
            spec["project"] = spec.get("project") or "default"
            policy = spec.get("syncPolicy")
            kept = ("automated", "syncOptions", "retry", "managedNamespaceMetadata")
            is_set = policy is not None and (
                any(policy.get(name) is not None for name in kept if name != "syncOptions")
                or policy.get("syncOptions")
            )
            if policy is not None and not is_set:
                del spec["syncPolicy"]
            for source in [spec.get("source") or {}, *spec.get("sources", [])]:
                for name in ("helm", "kustomize", "directory"):
                    if source.get(name) == {}:
                        del source[name]

        self.api.edit(values.APPLICATION, *key, change)

    def _persist(self, key: AppKey, status: JSON) -> None:
        """Write all of status but what belongs to operations (appcontroller.go persistAppStatus)."""

        def change(live: JSON) -> None:
            old = live.get("status") or {}
            new = {name: value for name, value in status.items() if value not in ([], None)}
            for name in ("operationState", "history"):
                new.pop(name, None)
                if name in old:
                    new[name] = old[name]
            health = new.get("health", {})
            before = old.get("health", {})
            moved = before.get("status") != health.get("status")
            since = timestamp(self.clock()) if moved else before.get("lastTransitionTime")
            if health and since:
                new["health"] = {**health, "lastTransitionTime": since}
            live["status"] = new
            annotations = live["metadata"].get("annotations")
            if annotations:
                annotations.pop(REFRESH, None)
                annotations.pop(HYDRATE, None)
                if not annotations:
                    del live["metadata"]["annotations"]

        self.api.edit(values.APPLICATION, *key, change)

    # Auto-sync

    def _auto_sync(self, key: AppKey, app: JSON, found: Comparison, resources: list[JSON]) -> str:
        """Start a sync where one is due; else why it failed before (appcontroller.go autoSync)."""
        policy = app["spec"].get("syncPolicy") or {}
        automated = policy.get("automated") or {}
        if not self._is_automated(app) or app.get("operation") is not None:
            return ""
        if app["metadata"].get("deletionTimestamp") or found.status != "OutOfSync":
            return ""
        others = [r for r in resources if r["status"] != "Synced" and not r.get("requiresPruning")]
        if not automated.get("prune") and not others:
            return ""
        sources, several = sources_of(app)
        sync: dict[str, JSON] = {"prune": bool(automated.get("prune"))}
        if several:
            sync |= {"sources": sources, "revisions": found.revisions}
        else:
            sync |= {"source": sources[0], "revision": found.revision}
        if policy.get("syncOptions"):
            sync["syncOptions"] = policy["syncOptions"]
        desired = found.revisions if several else [found.revision]
        state = (app.get("status") or {}).get("operationState")
        attempted, last = self._already_attempted(state, sources, several, desired)
        if attempted and state is not None:
            if state["phase"] != "Succeeded":
                return f"Failed last sync attempt to [{' '.join(last)}]: {state.get('message', '')}"
            if not automated.get("selfHeal"):
                return ""
            attempts = self._heal_attempts(state)
            remaining = self._heal_backoff(state, attempts)
            if remaining > 0:
                self._request(key, Level.LATEST, remaining)
                return ""
            sync["autoHealAttemptsCount"] = attempts + 1
            sync["resources"] = [
                {name: r[name] for name in ("group", "kind", "name") if name in r}
                for r in resources
                if r["status"] != "Synced"
            ]
        if automated.get("prune") and not automated.get("allowEmpty"):
            if all(r.get("requiresPruning") for r in resources):
                return (
                    f"Skipping sync attempt to [{' '.join(desired)}]: auto-sync will wipe out all resources"
                )
        operation = {
            "initiatedBy": {"automated": True},
            "retry": policy.get("retry") or {"limit": 5},
            "sync": sync,
        }

        def change(live: JSON) -> None:
            if live.get("operation") is None:
                live["operation"] = copied(operation)
                live.get("status", {}).pop("operationState", None)

        self.api.edit(values.APPLICATION, *key, change)
        return ""

    def _already_attempted(
        self, state: JSON | None, sources: list[JSON], several: bool, desired: list[str]
    ) -> tuple[bool, list[str]]:
        """Argo CD: appcontroller.go alreadyAttemptedSync."""
        if state is None:
            return False, []
        result = state.get("syncResult")
        if result is None:
            return self.version.at_least(3, 2) and state["phase"] in COMPLETED, []
        last = result.get("revisions", []) if several else [result.get("revision", "")]
        if last != desired:
            return False, last
        synced = result.get("sources") if several else [result.get("source")]
        return synced == sources, last

    def _heal_attempts(self, state: JSON) -> int:
        """Attempts count on until a success is 330 s old (appcontroller.go selfHealBackoffCooldownElapsed)."""
        finished = _time(state.get("finishedAt"))
        if finished is None:
            return 0
        if self.clock() - finished >= timedelta(seconds=330) and state["phase"] == "Succeeded":
            return 0
        return int((state["operation"].get("sync") or {}).get("autoHealAttemptsCount", 0))

    def _heal_backoff(self, state: JSON, attempts: int) -> float:
        """Argo CD: selfHealRemainingBackoff: 2 s, times 3, at most 300 s; 5 s before 2.13."""
        delay = 0.0
        if not self.version.at_least(2, 13):
            delay = 5.0
        elif attempts:
            delay = min(2.0 * 3 ** (attempts - 1), 300.0)
        finished = _time(state.get("finishedAt"))
        return delay - ((self.clock() - finished).total_seconds() if finished else 0.0)

    # Operations

    def _operate(self, key: AppKey, argocd: ArgoCD) -> None:
        """Pick up or go on with `.operation` (appcontroller.go processRequestedAppOperation)."""
        app = self.api.look(values.APPLICATION, *key)
        if app is None:
            return
        if app.get("operation") is None:
            if app["metadata"].get("deletionTimestamp"):
                self._finalize(app, argocd)
            return
        old = (app.get("status") or {}).get("operationState")
        if old is not None and old["phase"] not in COMPLETED:
            state = copied(old)
            if state["phase"] == "Running" and state.get("finishedAt"):
                if self._retry_at(state) > self.clock():
                    return
                self._start_again(key, state)
        else:
            state = {
                "operation": {"initiatedBy": {}, "retry": {}, **copied(app["operation"])},
                "phase": "Running",
                "startedAt": timestamp(self.clock()),
            }
            self._set_state(key, state)
        terminating = state["phase"] == "Terminating"
        project = self._project(app)
        if project is None:
            state["phase"] = "Error"
            name = app["spec"].get("project") or "default"
            state["message"] = (
                f"Failed to load application project: Application referencing project {name} which does not exist"
            )
        else:
            self._sync(key, app, project, state, argocd)
        if state["phase"] in ("Failed", "Error"):
            self._retry_or_end(state, terminating)
        self._set_state(key, state)
        if state["phase"] in COMPLETED and not (state["operation"].get("sync") or {}).get("dryRun"):
            manual = not (state["operation"].get("initiatedBy") or {}).get("automated")
            self._request(key, Level.FORCED if manual else Level.LATEST)

    def _set_state(self, key: AppKey, state: JSON) -> None:
        if state["phase"] in COMPLETED:
            state["finishedAt"] = timestamp(self.clock())

        def change(live: JSON) -> None:
            live.setdefault("status", {"sync": {"status": "Unknown"}})["operationState"] = copied(state)
            if state["phase"] in COMPLETED:
                live.pop("operation", None)

        self.api.edit(values.APPLICATION, *key, change)

    def _retry_at(self, state: JSON) -> datetime:
        """Argo CD: types.go RetryStrategy.NextRetryAt."""
        backoff = (state["operation"].get("retry") or {}).get("backoff") or {}
        wait = _seconds(backoff.get("duration", "5s")) * backoff.get("factor", 2) ** state.get(
            "retryCount", 0
        )
        finished = _time(state.get("finishedAt")) or self.clock()
        return finished + timedelta(seconds=min(wait, _seconds(backoff.get("maxDuration", "3m"))))

    def _start_again(self, key: AppKey, state: JSON) -> None:
        extra = ""
        if (state["operation"].get("retry") or {}).get("refresh"):
            extra = " with latest revisions"
            for name in ("revision", "revisions"):
                state["operation"]["sync"].pop(name, None)
        state["message"] = f"Retrying operation{extra}. Attempt #{state.get('retryCount', 0)}"
        state.pop("finishedAt", None)
        state.pop("syncResult", None)
        self._set_state(key, state)

    def _retry_or_end(self, state: JSON, terminating: bool) -> None:
        limit = (state["operation"].get("retry") or {}).get("limit", 0)
        count = state.get("retryCount", 0)
        if not terminating and (count < limit or limit < 0):
            when = self._retry_at({**state, "finishedAt": timestamp(self.clock())})
            state["phase"] = "Running"
            state["finishedAt"] = timestamp(self.clock())
            state["retryCount"] = count + 1
            kitchen = when.strftime("%I:%M%p").lstrip("0")
            state["message"] = f"{state['message']}. Retrying attempt #{count + 1} at {kitchen}."
        elif count:
            state["message"] = f"{state['message']} (retried {count} times)."

    def _sync(self, key: AppKey, app: JSON, project: JSON, state: JSON, argocd: ArgoCD) -> None:
        """One pass over the operation (Argo CD: controller/sync.go SyncAppState)."""
        sync = state["operation"].get("sync")
        if sync is None:
            state |= {"phase": "Error", "message": "Invalid operation request: no operation specified"}
            return
        result = state.setdefault("syncResult", self._new_result(app, sync))
        ends_anyway = state["phase"] == "Terminating" and self.version.at_least(3, 6)
        if self.version.at_least(2, 11) and not ends_anyway:
            # The state before this pass decides what counts as manual (sync.go syncWindowPreventsSync).
            before = (app.get("status") or {}).get("operationState")
            manual = before is not None and not (before["operation"].get("initiatedBy") or {}).get(
                "automated"
            )
            start = _time((before or {}).get("startedAt"))
            why = self._window_error(app, project, argocd, manual=manual, start=start)
            if why is not None:
                if state["phase"] == "Running":
                    state["message"] = f"{BLOCKED}: {why}" if why else BLOCKED
                return
        several = bool(result.get("sources"))
        sources = result["sources"] if several else [result["source"]]
        revisions = result.get("revisions", []) if several else [result["revision"]]
        if len(revisions) != len(sources):
            revisions = [""] * len(sources)
        found = self._rendered(app, sources, revisions, several, argocd)
        if not found.error:
            result["revision"] = found.revision
            if found.revisions:
                result["revisions"] = found.revisions
        if found.error:
            state |= {"phase": "Error", "message": f"ComparisonError: {found.error}"}
        elif state["phase"] == "Terminating":
            state |= {"phase": "Failed", "message": "Operation terminated"}
        elif "/".join(key) in self.stuck:
            state["message"] = f"waiting for completion of hook batch/Job/{key[1]}-migrate"
        elif "/".join(key) in self.failing:
            state |= {"phase": "Failed", "message": self.failing["/".join(key)]}
        else:
            self._apply(self._api_of(app), sync, found, state)
            if not sync.get("dryRun") and not sync.get("resources"):
                self._record(key, app, state, sources, several)

    def _rendered(
        self, app: JSON, sources: list[JSON], revisions: list[str], several: bool, argocd: ArgoCD
    ) -> Comparison:
        if not self.repo_server_alive:
            return self._comparer(app).failed(app, sources, several, argocd, UNREACHABLE)
        return self._comparer(app).compare(app, sources, revisions, several, argocd)

    @staticmethod
    def _new_result(app: JSON, sync: JSON) -> JSON:
        """Argo CD: controller/sync.go newSyncOperationResult."""
        result: dict[str, JSON] = {"revision": sync.get("revision", "")}
        if sync.get("revisions"):
            result["revisions"] = sync["revisions"]
        if sync.get("sources") or sync.get("source"):
            result["source"] = sync.get("source") or {"repoURL": ""}
            if sync.get("sources"):
                result["sources"] = sync["sources"]
            return result
        sources, several = sources_of(app)
        result["source"] = {"repoURL": ""} if several else sources[0]
        if several:
            result["sources"] = sources
        return result

    @staticmethod
    def _apply(api: InMemoryApi, sync: JSON, found: Comparison, state: JSON) -> None:
        """Apply what git has, prune what it no longer has where the operation says so."""
        options = set(sync.get("syncOptions", []))
        wanted = sync.get("resources", [])
        results = []
        for child in found.children:
            if wanted and not any(_is_named(child, one) for one in wanted):
                continue
            outcome, text = "Synced", ""
            if child.target is None:
                outcome = "Pruned" if sync.get("prune") else "PruneSkipped"
                text = "pruned" if sync.get("prune") else "ignored (requires pruning)"
                if sync.get("prune") and not sync.get("dryRun"):
                    api.delete(child.resource, child.namespace, child.name)
            elif not sync.get("dryRun"):
                text = apply_child(
                    api,
                    child,
                    respects="RespectIgnoreDifferences=true" in options,
                    replaces="Replace=true" in options,
                )
            images = _images_of(child.live if child.target is None else child.target)
            results.append(
                {
                    **({"images": images} if images else {}),
                    "group": child.resource.group,
                    "version": child.resource.version,
                    "kind": child.resource.kind,
                    "namespace": child.namespace,
                    "name": child.name,
                    "status": outcome,
                    "message": text,
                    "hookPhase": "Succeeded" if outcome.startswith("Prune") else "Running",
                    "syncPhase": "Sync",
                }
            )
        state["syncResult"]["resources"] = results
        text = "successfully synced (all tasks run)" if results else "successfully synced (no more tasks)"
        state |= {"phase": "Succeeded", "message": text}

    def _record(self, key: AppKey, app: JSON, state: JSON, sources: list[JSON], several: bool) -> None:
        """Argo CD: controller/state.go persistRevisionHistory."""
        result = state["syncResult"]
        limit = app["spec"].get("revisionHistoryLimit", 10)

        def change(live: JSON) -> None:
            history = live["status"].get("history", [])
            entry: dict[str, JSON] = {
                "id": history[-1]["id"] + 1 if history else 0,
                "deployStartedAt": state["startedAt"],
                "deployedAt": timestamp(self.clock()),
                "source": {"repoURL": ""} if several else sources[0],
            }
            if several:
                entry |= {"sources": sources, "revisions": result["revisions"]}
            else:
                entry["revision"] = result["revision"]
            if self.version.at_least(2, 11):
                entry["initiatedBy"] = state["operation"].get("initiatedBy") or {}
            live["status"]["history"] = [*history, entry][-limit:] if limit else []

        self.api.edit(values.APPLICATION, *key, change)

    def _finalize(self, app: JSON, argocd: ArgoCD) -> None:
        """Delete what the app owns, then let it go (appcontroller.go finalizeApplicationDeletion)."""
        meta = app["metadata"]
        finalizers = meta.get("finalizers", [])
        if not any(finalizer.startswith(FINALIZER) for finalizer in finalizers):
            return
        sources, several = sources_of(app)
        found = self._comparer(app).compare(app, sources, [""] * len(sources), several, argocd)
        for child in found.children:
            if child.live is not None and tracked_by(child.live, argocd):
                self._api_of(app).delete(child.resource, child.namespace, child.name)

        def change(dying: JSON) -> None:
            dying["metadata"]["finalizers"] = [f for f in finalizers if not f.startswith(FINALIZER)]

        self.api.edit(values.APPLICATION, meta["namespace"], meta["name"], change)


def _is_named(child: Child, named: JSON) -> bool:
    """Argo CD: types.go SyncOperationResource.Compare; no namespace is any."""
    return (named.get("group", ""), named["kind"], named["name"]) == (
        child.resource.group,
        child.resource.kind,
        child.name,
    ) and named.get("namespace", "") in ("", child.namespace)


def _global_projects(text: str) -> tuple[JSON, ...]:
    if not text:
        return ()
    import yaml  # lazy: hardly any installation has global projects

    return tuple(yaml.safe_load(text) or ())


def _concerns_owner(change: Change) -> bool:
    """Status alone does not concern the owner, except where health moves (`ignoreResourceUpdates`)."""
    if change.type != "MODIFIED":
        return True
    if health_of(change.object) != health_of(change.previous):
        return True
    return bool(_content(change.object) != _content(change.previous))


def _content(obj: JSON) -> JSON:
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "generation")}
    return {key: value for key, value in obj.items() if key not in ("status", "metadata")} | {
        "metadata": meta
    }


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration))


def _images(found: Comparison) -> list[str]:
    return sorted({image for child in found.children for image in _images_of(child.live)})


def _images_of(obj: JSON | None) -> list[str]:
    template = ((obj or {}).get("spec") or {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or []
    return [container["image"] for container in containers if container.get("image")]
