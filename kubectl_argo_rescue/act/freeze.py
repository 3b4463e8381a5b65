"""A freeze: both controllers to 0, their pods stopped, and seen to stay so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from ..argocd import controllers, listed, workloads
from ..argocd.application import parse_time
from ..argocd.controllers import Controller
from ..argocd.deletion import Doomed, doomed
from ..cluster.client import Cluster
from ..cluster.objects import look
from ..cluster.parallel import Done
from ..model.errors import ExitStatus, Forbidden, NotFound, RescueError
from ..model.text import COMMAND, some
from ..model.values import (
    BY_KIND,
    DEPLOYMENT,
    JSON,
    OPERATED,
    POD,
    STATEFULSET,
    Plan,
    Removal,
    Result,
    Snapshot,
    StepStatus,
    ref_of,
)
from ..plan import freeze
from ..show.steps import STATUS_WORDS
from .options import Writing
from .procedure import Procedure
from .session import Session

STILL_SECONDS = 5.0
"""How long it is watched after the last pod is gone: operators and autoscalers act within seconds."""

OPERATOR_SECONDS = 10.0
"""How long an operator has to stop what it is told not to run; then it is scaled as elsewhere."""

LOOK_SECONDS = 0.5
"""Between two looks at the pods."""


class Freeze(Procedure):
    """One freeze, from the first look to the certainty that nothing runs any more."""

    def __init__(self, session: Session, writing: Writing, timeout: float) -> None:
        """Take how long the pods may take to end, in seconds."""
        super().__init__(session, "freeze", writing)
        self.timeout = timeout
        self.left: list[JSON] = []
        """Pods that have not ended."""
        self.back: list[str] = []
        """Controllers that somebody scaled back, and who."""
        self.may_list = self.may_delete = True
        """Whether the user may list and delete the controllers' pods."""
        self.is_operator_asked = True
        """Whether what an operator makes is switched off at its resource."""
        self.under_way: list[Doomed] | None = None

    def run(self) -> Result:
        """Stop both controllers. Raises RefusedError, Forbidden before anything is written."""
        found = self._find()
        plan = freeze.plan_freeze(self.snapshot)
        if self.writing.is_dry_run:
            return self.dry_run(plan)
        self.printer.plan_talk(plan.warnings, plan.notes)
        self.session.header()
        self._require_rights(plan)
        try:
            self.carry_out(plan, replan=freeze.plan_freeze)
            if any(r.ref.kind == OPERATED.kind and r.status is StepStatus.FAILED for r in self.results):
                self._scale_past_the_operator()
            if any(r.stands for r in self.results):
                self._stop_pods(found)
                self._look()
                self._see_that_it_stays(found)
        except KeyboardInterrupt:
            self.status = ExitStatus.INTERRUPTED
        return self._told(plan)

    # -- before

    def _find(self) -> list[Controller]:
        found = controllers.controllers_of(self.snapshot)
        is_whole = {c.part for c in found} == set(controllers.PARTS)
        self.snapshot, unreadable = find_controllers(self.session, self.snapshot, anew=not is_whole)
        for text in unreadable:
            self.printer.warn(text)
        return controllers.controllers_of(self.snapshot)

    def _require_rights(self, plan: Plan) -> None:
        place = (POD.kind, self.snapshot.argocd.namespace, "")
        missing = [
            verb for verb, *_ in self.session.checks.missing([("list", *place), ("delete", *place)], plan)
        ]
        self.may_list, self.may_delete = ("list" not in missing), ("delete" not in missing)
        try:
            self.session.checks.require_rights(plan)
        except Forbidden as e:
            e.hint = f"nothing was changed; ask for these rights (docs/rbac.md), or {freeze.ELSEWHERE}"
            raise
        if not self.may_list:
            self.printer.warn("you may not list pods: whether the controllers have ended will not be known")
        elif not self.may_delete:
            self.printer.warn(
                "you may not delete pods: the controllers end in their own time, a StatefulSet one pod after "
                "the other"
            )

    # -- until nothing runs

    def _stop_pods(self, found: Sequence[Controller]) -> None:
        """Delete the controllers' pods and wait until none is left: a StatefulSet stops one after the other."""
        cluster = self.session.cluster
        deadline = cluster.clock() + self.timeout
        patience = cluster.clock() + OPERATOR_SECONDS
        while True:
            if self.may_list:
                self.left = pods_of(cluster, found, controllers.operated(self.snapshot))
            is_pending = self._has_operator_to_act(found)
            if is_pending and cluster.clock() >= patience:
                patience = deadline + 1
                self._scale_what_the_operator_left()
            fresh = tuple(
                Removal(ref_of(p), "its process is to end now", named=False)
                for p in self.left
                if not p["metadata"].get("deletionTimestamp")
            )
            if fresh and self.may_delete:
                self.carry_out(Plan("freeze", fresh, independent_from=0))
            if not (self.left or is_pending) or cluster.clock() >= deadline:
                return
            cluster.sleep(min(LOOK_SECONDS, max(0.05, deadline - cluster.clock())))

    def _has_operator_to_act(self, found: Sequence[Controller]) -> bool:
        """Whether an operator keeps a controller that it is told not to run."""
        if not self.is_operator_asked:
            return False
        live, _ = look(self.session.cluster, [c.key for c in found if c.operated_by])
        return any(o and not (o.get("spec") or {}).get("replicas") == 0 for o in live.values())

    def _scale_past_the_operator(self) -> None:
        """Scale what cannot be switched off at the operator's resource: an old one knows no such field."""
        self.printer.warn(
            "the controllers cannot be switched off at the operator's resource: they are scaled to 0"
        )
        self.is_operator_asked = False
        kept = {k: o for k, o in self.snapshot.objects.items() if k.kind != OPERATED.kind}
        self.snapshot = replace(self.snapshot, objects=kept)
        self.status = ExitStatus.OK
        self.carry_out(freeze.plan_freeze(self.snapshot), replan=freeze.plan_freeze)

    def _scale_what_the_operator_left(self) -> None:
        """Scale what an operator was told not to run, and has not stopped."""
        self.snapshot, _ = find_controllers(self.session, self.snapshot, anew=True)
        plan = freeze.plan_freeze(self.snapshot)
        if plan.steps:
            self.printer.say("the operator does not act: what it keeps is stopped once more")
            self.carry_out(plan, replan=freeze.plan_freeze)

    # -- what was under way, and whether it stays

    def _look(self) -> None:
        """Read what was under way when the controllers ended."""
        from .status_reading import application_pages  # lazy: nothing is written after it

        argocd = self.snapshot.argocd
        pages = application_pages(self.session.cluster, argocd, read=listed.read_page)
        try:
            self.under_way = doomed((app for page in pages for app in page), argocd)
        except RescueError as e:
            self.printer.warn(f"what was under way is not known: {e.message}")

    def _see_that_it_stays(self, found: Sequence[Controller]) -> None:
        """Watch for some seconds that nobody scales them back."""
        cluster = self.session.cluster
        deadline = cluster.clock() + STILL_SECONDS
        keys = [c.key for c in found] + [ref_of(o).key for o in controllers.operated(self.snapshot)]
        while not self.back:
            # What an operator took away is None.
            live, _ = look(cluster, keys)
            self.back = list(controllers.wanted_again((o for o in live.values() if o), self.snapshot.argocd))
            if cluster.clock() >= deadline:
                return
            cluster.sleep(min(1.0, max(0.05, deadline - cluster.clock())))

    # -- the end

    def _told(self, plan: Plan) -> Result:
        say, paint = self.printer.say, self.printer.paint
        status = self.status
        warnings = [*plan.warnings, *self.warnings]
        for pod in self.left:
            warnings.append(not_ended(pod))
            status = status or ExitStatus.TIMEOUT
        if not self.may_list:
            status = status or ExitStatus.PARTIAL
        for text in self.back:
            warnings.append(f"{text}; stop that first, then freeze again")
            status = status or ExitStatus.CONFLICT
        for text in warnings:
            self.printer.warn(text)
        if status is ExitStatus.OK:
            say(f"{paint('frozen:', 'green')} {self._what_stands_still()}")
        elif status is ExitStatus.INTERRUPTED:
            say(f"interrupted: whether all of it stands still is not known; see it: {COMMAND} status")
        else:
            say(f"{paint('not known to stand still:', 'red')} see above")
        for text in _under_way_lines(self.under_way or ()):
            say(text)
        if self.entry:
            say(f"thaw with: {COMMAND} undo {self.entry}   (a bare undo never thaws)")
        say(f"what waits to be destroyed: {COMMAND} status")
        data: dict[str, JSON] = {
            "frozen": status is ExitStatus.OK,
            "podsLeft": [p["metadata"]["name"] for p in self.left],
            "scaledBack": list(self.back),
            "underWay": None if self.under_way is None else [_doomed_json(d) for d in self.under_way],
        }
        return Result(
            "freeze", self.entry, tuple(self.results), tuple(warnings), data, status, STATUS_WORDS[status]
        )

    def _what_stands_still(self) -> str:
        parts = dict.fromkeys(c.part for c in controllers.controllers_of(self.snapshot)) or controllers.PARTS
        names = " and ".join(parts)
        return (
            f"{names} {'are' if len(parts) > 1 else 'is'} stopped and no pod is left; nothing is synced, healed or "
            "deleted by Argo CD. Its UI still shows what was last known. Kubernetes' own garbage collector goes on"
        )


def find_controllers(session: Session, snapshot: Snapshot, *, anew: bool) -> tuple[Snapshot, list[str]]:
    """Find the controllers, also where they have none of the usual labels, and the operator's resources.

    Returns what was read, and what of it may not be read. `anew` reads the workloads once more.
    """
    cluster, namespace = session.cluster, snapshot.argocd.namespace
    objects = dict(snapshot.objects)
    unreadable: list[str] = []
    kinds = (STATEFULSET, DEPLOYMENT) if anew else ()
    outcomes = cluster.gather_outcomes(*[partial(cluster.list, r, namespace) for r in kinds])
    for resource, outcome in zip(kinds, outcomes, strict=True):
        if isinstance(outcome, Done):
            place = (resource.kind, namespace)
            objects = {k: o for k, o in objects.items() if (k.kind, k.namespace) != place}
            objects.update((ref_of(o).key, o) for o in outcome.value)
        elif isinstance(outcome.error, Forbidden):
            unreadable.append(f"whether there are more controllers is not known: {outcome.error.message}")
        else:
            raise outcome.error
    snapshot = replace(snapshot, objects=objects)
    operated = freeze.operated(snapshot) + [ref_of(o).key for o in controllers.operated(snapshot)]
    for key in dict.fromkeys(operated):
        try:
            objects[key] = cluster.get(BY_KIND[key.kind], key.namespace, key.name)
        except (NotFound, Forbidden) as e:
            unreadable.append(f"{key}, which the operator makes Argo CD of, cannot be read: {e.message}")
    snapshot = replace(snapshot, objects=objects)
    return replace(snapshot, objects={**objects, **controllers.with_scales(snapshot)}), unreadable


def pods_of(cluster: Cluster, found: Sequence[Controller], operated: Sequence[JSON] = ()) -> list[JSON]:
    """Return the pods of some controllers that have not ended, also of those that an operator took away.

    A Deployment's `status.replicas` leaves out those that are being stopped, and their processes still act
    (Kubernetes: pkg/controller/replicaset/replica_set.go syncReplicaSet, FilterActivePods).
    """
    selectors = dict.fromkeys((c.key.namespace, workloads.selector_of(c.workload)) for c in found)
    selectors |= {(o["metadata"]["namespace"], controllers.pods_of_operated(o)): None for o in operated}
    lists = cluster.gather(
        *[partial(cluster.list, POD, namespace, label_selector=labels) for namespace, labels in selectors]
    )
    pods = {ref_of(p): p for pods in lists for p in pods}
    return [p for p in pods.values() if (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def not_ended(pod: JSON) -> str:
    """Say of a pod that was to end that it has not, and how to look."""
    node = (pod.get("spec") or {}).get("nodeName") or "no node"
    asked = parse_time(pod["metadata"].get("deletionTimestamp"))
    why = "was told to end and has not" if asked else "has not ended"
    return (
        f"Pod {pod['metadata']['name']} on {node} {why}: a node that does not answer may still run it, so Argo CD "
        f"is not known to stand still. Look: kubectl get pod -n {pod['metadata'].get('namespace', '')} "
        f"{pod['metadata']['name']} -o wide"
    )


def _under_way_lines(found: Sequence[Doomed]) -> list[str]:
    dying = [d for d in found if d.is_dying]
    running = [d for d in found if d.operation]
    lines = []
    if dying:
        lines.append(f"being deleted when it stopped: {some([d.name for d in dying])}")
    if running:
        lines.append(f"operations that go on at the thaw: {some([d.name for d in running])}")
    return lines


def _doomed_json(d: Doomed) -> dict[str, JSON]:
    return {
        "namespace": d.key.namespace,
        "name": d.key.name,
        "deleting": d.is_dying,
        "cascading": d.cascades,
        "operation": d.operation or None,
    }
