"""Reads what a planner must know: the installation, the named apps, their projects and owners.

Reads that do not depend on each other go out together: one round for what was named, then one per
level of owners.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from ..argocd import application, installation, listed, ownership
from ..argocd.installation import (
    APPLICATION_DEFINITION,
    DEFAULT_NAMESPACE,
    PART_OF,
    controller_version,
    describe_installation,
    is_controller,
)
from ..cluster.client import PAGE_OF_APPLICATIONS, Cluster
from ..cluster.objects import look
from ..cluster.parallel import Attempt, Done, Failed
from ..journal.configmaps import EXPIRES_LABEL
from ..model.errors import Code, Forbidden, NotFound, NotServed, RefusedError, RescueError, UsageError
from ..model.values import (
    APPLICATION,
    APPPROJECT,
    BY_KIND,
    CONFIGMAP,
    DEFINITION,
    DEPLOYMENT,
    GROUP,
    JSON,
    NAMESPACE,
    OPERATED,
    SECRET,
    STATEFULSET,
    ArgoCD,
    Key,
    Snapshot,
    Tracking,
    Version,
    ref_of,
)

if TYPE_CHECKING:
    from ..argocd.destination import Registered

CLUSTERS = "argocd.argoproj.io/secret-type=cluster"
MAX_LEVELS = 12
"""Levels of owners that are followed; a deeper chain is reported."""


class Reading(Struct):
    """All that was read, and what could not be."""

    snapshot: Snapshot
    targets: tuple[Key, ...]
    cluster_uid: str = ""
    argocd_uid: str = ""
    actor: str = ""
    warnings: list[str] = field(default_factory=list)


_SETS = ("appset", "appsets", "applicationset", "applicationsets")


def set_name(word: str) -> str:
    """Return the ApplicationSet that a word means, by a type as kubectl writes it; empty where it means an app."""
    kind, _, name = word.partition("/")
    return name if kind.lower().removesuffix(f".{GROUP}") in _SETS else ""


def parse_target(text: str, namespace: str) -> Key:
    """Read APP: `name`, or `namespace/name`. Raises UsageError."""
    left, slash, right = text.partition("/")
    key = Key("Application", left, right) if slash else Key("Application", namespace, left)
    for part in (key.name, key.namespace) if slash else (key.name,):
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", part):
            raise UsageError(f"{text!r} names no Application", "APP is NAME or NAMESPACE/NAME")
    return key


class Reader:
    """Reads one situation from one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        now: Callable[[], datetime],
        argocd_namespace: str = "",
        namespace: str = "",
    ) -> None:
        """`argocd_namespace` and `namespace` are the user's own words, empty where not said."""
        self.cluster = cluster
        self.now = now
        self.argocd_namespace = argocd_namespace
        self.namespace = namespace
        self.objects: dict[Key, JSON] = {}
        self.missing: set[Key] = set()
        self.unreadable: set[Key] = set()
        self.recall: Callable[[str], Sequence[str]] = lambda uid: ()
        """Where Argo CD was when this machine's journal was written, for the uid of a cluster."""
        self.access: dict[tuple[str, str, str, str], bool] = {}
        """What the server said the user may: (verb, kind, namespace, name) to yes or no."""
        self.hidden_parts = ""
        """Why workloads in Argo CD's namespace may not be listed, empty where they may."""
        self.expiring: list[JSON] = []
        """The journal's ConfigMaps with a deadline, which every command reminds of."""
        self.warnings: list[str] = []
        self._scanned = False
        self._looked = False
        """Whether owners were looked for in all namespaces, as far as that is allowed."""
        self._others: dict[Key, JSON] = {}
        """Applications of other Argo CDs, of which only owners come into the snapshot."""
        self._is_whole = False
        self._has_settings: bool | None = None
        """Whether argocd-cm is there; None where it may not be read."""
        self._server = ""
        self._clusters: list[Registered] | None = None
        """What clusters are called; None while no destination was in question."""
        self.is_unlisted = False
        """Whether Applications may not be listed, though only the list tells an owner."""

    def read(self, names: Sequence[str], *, to_write: bool = False) -> Reading:
        """Read the installation, the named Applications, their projects and all their owners.

        With `to_write` it is asked in the same round whether the user may patch Applications.
        Raises NotFound for an Application that is not there, Forbidden for one that may not be read,
        UsageError where Argo CD's namespace cannot be told.
        """
        guess = self.argocd_namespace or DEFAULT_NAMESPACE
        home = self.namespace or guess
        targets = [parse_target(n, home) for n in names]
        uid, who, argocd = self._first_round(guess, targets, to_write=to_write)
        if self.argocd_namespace:
            self._require_argocd(argocd.namespace)
        if not self.namespace and argocd.namespace != home:
            targets = [parse_target(n, argocd.namespace) for n in names]
        self.follow(argocd, targets)
        for key in targets:
            if key in self.unreadable:
                raise _denied(key, who)
            if key not in self.objects:
                raise self._not_found(key, argocd)
        return Reading(
            self.snapshot(argocd),
            tuple(dict.fromkeys(targets)),
            uid,
            (self.objects.get(Key("ConfigMap", argocd.namespace, "argocd-cm")) or {})
            .get("metadata", {})
            .get("uid", ""),
            who,
            self.warnings,
        )

    def snapshot(self, argocd: ArgoCD) -> Snapshot:
        """Return what was read so far."""
        kinds = {"ConfigMap"}
        kept = {k: o for k, o in self.objects.items() if k.kind not in kinds}
        return Snapshot(
            argocd, kept, self.now(), frozenset(self.missing), self.is_unlisted,
            self._is_whole, self._server, {c.name: c.server for c in self._clusters or ()},
        )  # fmt: skip

    def _first_round(self, guess: str, targets: Sequence[Key], *, to_write: bool) -> tuple[str, str, ArgoCD]:
        places = list(dict.fromkeys([guess] if self.argocd_namespace else [self.namespace or guess, guess]))
        thunks: list[Callable[[], JSON]] = [
            lambda: self.cluster.get(NAMESPACE, "", "kube-system"),
            self.cluster.whoami,
        ]
        each = len(self._installation_thunks(guess))
        thunks += [partial(self.cluster.get, APPLICATION, k.namespace, k.name) for k in targets]
        for place in places:
            thunks += self._installation_thunks(place)
        asked = list(dict.fromkeys(k.namespace for k in targets)) if to_write else []
        thunks += [partial(self.cluster.review_access, "patch", APPLICATION, n) for n in asked]
        got = self.cluster.gather_outcomes(*thunks)
        for namespace, outcome in zip(asked, got[len(got) - len(asked) :], strict=True):
            if isinstance(outcome, Done):
                self.access["patch", "Application", namespace, ""] = bool(outcome.value)
        for outcome in got[: len(got) - len(asked)]:
            if isinstance(outcome, Failed) and (
                isinstance(outcome.error, NotServed) or not isinstance(outcome.error, (NotFound, Forbidden))
            ):
                raise outcome.error
        uid = got[0].value["metadata"]["uid"] if isinstance(got[0], Done) else ""
        who = str((got[1].value or {}).get("username") or "") if isinstance(got[1], Done) else ""
        for key, outcome in zip(targets, got[2:], strict=False):
            self._keep(key, outcome)
        installations = {place: got[2 + len(targets) + each * i :][:each] for i, place in enumerate(places)}
        place = self._choose(installations, targets, uid, who)
        if place not in installations:
            installations[place] = self.cluster.gather_outcomes(*self._installation_thunks(place))
        return uid, who, self._installation(place, installations[place])

    def _installation_thunks(self, place: str) -> list[Callable[[], JSON]]:
        return [
            lambda: self.cluster.get(CONFIGMAP, place, "argocd-cm"),
            lambda: self.cluster.get(CONFIGMAP, place, "argocd-cmd-params-cm"),
            lambda: self.cluster.list(STATEFULSET, place, label_selector=PART_OF),
            lambda: self.cluster.list(DEPLOYMENT, place, label_selector=PART_OF),
            lambda: self.cluster.list(CONFIGMAP, place, label_selector=f"{EXPIRES_LABEL}=true"),
        ]

    def _choose(
        self, installations: Mapping[str, Sequence[Attempt]], targets: Sequence[Key], uid: str, who: str
    ) -> str:
        """Say where Argo CD lives: as told, as an app's status says, or where its ConfigMap is.

        Where no ConfigMap may be read, this machine's journal knows where it was.
        """
        if self.argocd_namespace:
            return self.argocd_namespace
        said = {
            str((self.objects[k].get("status") or {}).get("controllerNamespace") or "")
            for k in targets
            if k in self.objects
        } - {""}
        if len(said) == 1:
            return said.pop()
        if len(said) > 1:
            raise UsageError(
                f"these Applications belong to several Argo CDs, in {', '.join(sorted(said))}",
                "name those of one at a time",
                code=Code.NO_ARGO_CD,
            )
        for place, got in installations.items():
            if isinstance(got[0], Done):
                return place
        if any(k.namespace == DEFAULT_NAMESPACE and k in self.objects for k in targets):
            return DEFAULT_NAMESPACE
        try:
            found = self.cluster.list(CONFIGMAP, field_selector="metadata.name=argocd-cm")
        except Forbidden as e:
            return self._recalled(installations, targets, uid, who, e)
        places = sorted({o["metadata"]["namespace"] for o in found})
        if len(places) == 1:
            return str(places[0])
        if places:
            raise UsageError(
                f"there are several Argo CDs in this cluster, in {', '.join(places)}",
                "say which: --argocd-namespace NAMESPACE",
                code=Code.NO_ARGO_CD,
            )
        if place := self._of_applications():
            return place
        raise UsageError(
            "no Argo CD was found: there is no ConfigMap argocd-cm in any namespace, and no Application",
            "is this the right context? Else say --argocd-namespace NAMESPACE",
            code=Code.NO_ARGO_CD,
        )

    def _of_applications(self) -> str:
        """Say where Argo CD lives by the Applications alone: a managed one may have nothing else here.

        Empty where none tells. Raises UsageError where they are of several.
        """
        try:
            found = list_applications(self.cluster)
        except (Forbidden, NotFound):
            return ""
        said = {str((app.get("status") or {}).get("controllerNamespace") or "") for app in found} - {""}
        places = sorted(said or {app["metadata"]["namespace"] for app in found})
        if len(places) > 1:
            raise UsageError(
                f"Argo CD's namespace is not known: there is no ConfigMap argocd-cm, and Applications are of "
                f"{', '.join(places)}",
                "say which: --argocd-namespace NAMESPACE",
            )
        return places[0] if places else ""

    def _recalled(
        self,
        installations: Mapping[str, Sequence[Attempt]],
        targets: Sequence[Key],
        uid: str,
        who: str,
        error: Forbidden,
    ) -> str:
        """Say where this machine's journal has Argo CD. Raises what is missing where it does not tell."""
        recalled = list(dict.fromkeys(self.recall(uid)))
        if len(recalled) == 1:
            self.warnings.append(
                f"Argo CD is taken to be in {recalled[0]}, as this machine's journal has it: no ConfigMap "
                "argocd-cm may be read"
            )
            return recalled[0]
        for key in targets:
            if key in self.unreadable:
                raise _denied(key, who) from error
        if not recalled and (place := self._of_applications()):
            return place
        denied = [
            place for place, got in installations.items()
            if isinstance(got[0], Failed) and isinstance(got[0].error, Forbidden)
        ]  # fmt: skip
        say_it = "say it: --argocd-namespace NAMESPACE"
        if denied and not recalled:
            raise Forbidden(
                f"you may not{f' as {who}' if who else ''} get configmaps {denied[-1]}/argocd-cm, so Argo CD's "
                "namespace is not known",
                f"ask for this right, or {say_it}",
                status=403,
                reason="Forbidden",
            ) from error
        raise UsageError(
            f"Argo CD's namespace is not known: there is no ConfigMap argocd-cm in "
            f"{', '.join(installations)} that you may read"
            + (f"; this machine's journal has {' and '.join(recalled)}" if recalled else ""),
            say_it,
            code=Code.NO_ARGO_CD,
        ) from error

    def _installation(self, place: str, got: Sequence[Attempt]) -> ArgoCD:
        data: list[Mapping[str, str] | None] = []
        for name, outcome in zip(("argocd-cm", "argocd-cmd-params-cm"), got, strict=False):
            if isinstance(outcome, Done):
                self.objects[Key("ConfigMap", place, name)] = outcome.value
                data.append(outcome.value.get("data") or {})
                continue
            data.append(None if isinstance(outcome.error, Forbidden) else {})
            if isinstance(outcome.error, Forbidden):
                self.warnings.append(
                    f"ConfigMap {place}/{name} may not be read: Argo CD's defaults are assumed"
                )
            elif not isinstance(outcome.error, NotFound):
                raise outcome.error
        self._has_settings = None if data[0] is None else Key("ConfigMap", place, "argocd-cm") in self.objects
        workloads = [o for outcome in got[2:4] if isinstance(outcome, Done) for o in outcome.value]
        denied = [
            o.error.message for o in got[2:4] if isinstance(o, Failed) and isinstance(o.error, Forbidden)
        ]
        self.hidden_parts = "; ".join(denied)
        self.expiring = got[4].value if isinstance(got[4], Done) else []
        for o in workloads:
            self.objects[ref_of(o).key] = o
        version = controller_version(workloads)
        if version is None:
            version = self._suggested_version(place, has_controller=any(map(is_controller, workloads)))
        return describe_installation(place, data[0], data[1], version)

    def _suggested_version(self, place: str, *, has_controller: bool) -> Version | None:
        """Ask the CRD what the version may be, where no controller in sight tells.

        Where there is none, an operator may have been told to run none: its resource is read as well.
        """
        asked: list[Callable[[], JSON]] = [lambda: self.cluster.get(DEFINITION, "", APPLICATION_DEFINITION)]
        if not has_controller:
            asked.append(lambda: self.cluster.list(OPERATED, place))
        crd, *operated = self.cluster.gather_outcomes(*asked)
        for outcome in operated:
            # Most clusters know no such kind.
            listed_here = outcome.value if isinstance(outcome, Done) else ()
            self.objects.update((ref_of(o).key, o) for o in listed_here)
        if isinstance(crd, Done):
            return installation.suggested_version(crd.value)
        if not isinstance(crd.error, (Forbidden, NotFound)):
            raise crd.error
        return None

    def _require_argocd(self, place: str) -> None:
        """Refuse a namespace that the user named and that no Argo CD is in: a journal there is found by nobody.

        Raises RefusedError where neither its ConfigMap nor its controller nor an Application says so.
        """
        if self._has_settings is not False or any(
            is_controller(o) for k, o in self.objects.items() if k.namespace == place
        ):
            return
        apps = [o for k, o in self.objects.items() if k.kind == "Application"]
        try:
            apps += list_applications(self.cluster, place)
        except Forbidden:
            pass
        if any((app.get("status") or {}).get("controllerNamespace") == place for app in apps):
            return
        raise RefusedError(
            f"there is no Argo CD in namespace {place}: no ConfigMap argocd-cm, no controller, and no "
            "Application that one there acts on",
            "nothing was changed; leave --argocd-namespace out, or name the one that Argo CD runs in",
            code=Code.NO_ARGO_CD,
        )

    def _keep(self, key: Key, outcome: Attempt) -> None:
        if isinstance(outcome, Done):
            self.objects[key] = outcome.value
        elif isinstance(outcome.error, NotFound):
            self.missing.add(key)
        elif isinstance(outcome.error, Forbidden):
            self.unreadable.add(key)
            self.warnings.append(f"{key} may not be read: {outcome.error.message}")
        else:
            raise outcome.error

    def follow(self, argocd: ArgoCD, targets: Sequence[Key]) -> None:
        """Read what the targets lead to, level by level, until nothing is new."""
        if argocd.global_projects:
            self._read_all_projects(argocd)
        for _ in range(MAX_LEVELS):
            known = {*self.objects, *self.missing, *self.unreadable}
            snapshot = self.snapshot(argocd)
            reached = self._reached(snapshot, targets)
            wanted = [k for k in dict.fromkeys(self._wanted(snapshot, targets, reached)) if k not in known]
            wanted = [k for k in wanted if k.kind in BY_KIND and k.namespace]
            if seen := {k: self._others[k] for k in wanted if k in self._others}:
                self.objects.update(seen)
            elif wanted:
                found, unreadable = look(self.cluster, wanted, listed.read_page)
                self.warnings += unreadable
                for key in wanted:
                    if key not in found:
                        self.unreadable.add(key)
                    elif found[key] is None:
                        self.missing.add(key)
                    else:
                        self.objects[key] = found[key]
            elif not self._looked and self._must_look(snapshot, reached):
                self._look_everywhere(argocd)
            elif self._clusters is None and _has_other_destination(snapshot, reached):
                self.clusters(argocd)
            else:
                return
        self.warnings.append(f"more than {MAX_LEVELS} levels of owners: the ones above are not looked at")

    def _reached(self, snapshot: Snapshot, targets: Sequence[Key]) -> list[JSON]:
        """Return the objects whose owners matter: the targets, their projects, owners that would act."""
        argocd = snapshot.argocd
        reached: dict[Key, JSON] = {}
        named = set(targets)
        shared = [k for k in self.objects if k.kind == "AppProject" and argocd.global_projects]
        pending = deque(targets)
        while pending:
            key = pending.popleft()
            obj = self.objects.get(key)
            if obj is None or key in reached:
                continue
            reached[key] = obj
            if key.kind == "Application" and key in named and ownership.serving(obj, argocd) is argocd:
                pending.append(_project_key(argocd, obj))
                pending += shared
            pending += [
                owner
                for owner, _ in ownership.owners_of(snapshot, obj)
                if owner.kind != "Application"
                or owner not in self.objects
                or application.is_auto_sync_on(self.objects[owner])
            ]
        return list(reached.values())

    def _wanted(self, snapshot: Snapshot, targets: Sequence[Key], reached: Sequence[JSON]) -> list[Key]:
        argocd = snapshot.argocd
        wanted: list[Key] = list(targets)
        for obj in reached:
            wanted += [owner for owner, _ in ownership.owners_of(snapshot, obj)]
            wanted += [claim.owner for claim in ownership.claims(obj, argocd)]
            if obj["kind"] == "Application" and ownership.serving(obj, argocd) is argocd:
                wanted.append(_project_key(argocd, obj))
        if self._others:
            wanted += self._owning_others(snapshot, reached)
        return wanted

    def _owning_others(self, snapshot: Snapshot, reached: Sequence[JSON]) -> Iterator[Key]:
        """Yield those of other Argo CDs that own one of the objects, by their list or by its signs."""
        whole = replace(snapshot, objects={**self._others, **snapshot.objects})
        for obj in reached:
            for owner, _ in ownership.owners_of(whole, obj):
                if owner in self._others:
                    yield owner

    def _must_look(self, snapshot: Snapshot, reached: Sequence[JSON]) -> bool:
        """Whether only a look at every Application tells who owns one of the objects."""
        for obj in reached:
            found = ownership.owners_of(snapshot, obj)
            if any(ownership.is_elsewhere(snapshot, owner) for owner, _ in found):
                return True
            # Who has a parent may be without Argo CD's marks, and still be in an owner's git.
            if not found and (ownership.weak_label(obj) or obj["metadata"].get("ownerReferences")):
                return True
            if not self._scanned and _is_owner_open(snapshot, obj):
                return True
        return False

    def _look_everywhere(self, argocd: ArgoCD) -> None:
        """Read the Applications of all namespaces; where that is not allowed, of those that are served."""
        self._looked = True
        try:
            found = self._list_everywhere(argocd)
        except Forbidden:
            if not self._scanned:
                self.scan(argocd)
            return
        self._scanned = True
        for app in found:
            self.objects.setdefault(ref_of(app).key, app)

    def _list_everywhere(self, argocd: ArgoCD) -> list[JSON]:
        """List what this Argo CD serves in any namespace, and keep the rest for those who own something."""
        served = []
        for app in list_applications(self.cluster):
            if installation.served(app, argocd):
                served.append(app)
            else:
                self._others[ref_of(app).key] = app
        self._looked = self._is_whole = True
        return served

    def clusters(self, argocd: ArgoCD) -> Sequence[Registered]:
        """Read what this cluster and others are called, as far as the user may: no credentials are kept."""
        if self._clusters is None:
            from ..argocd.destination import registered  # lazy: most Argo CDs deploy into their own cluster

            target, listed = self.cluster.gather_outcomes(
                self.cluster.target,
                lambda: self.cluster.list(SECRET, argocd.namespace, label_selector=CLUSTERS),
            )
            self._server = target.value.server if isinstance(target, Done) else ""
            secrets = listed.value if isinstance(listed, Done) else ()
            self._clusters = [cluster for cluster in map(registered, secrets) if cluster is not None]
        return self._clusters

    def scan(self, argocd: ArgoCD) -> None:
        """Read every Application that this Argo CD serves, as far as the user may list them."""
        self._scanned = True
        try:
            found = self.all_applications(argocd)
        except Forbidden as e:
            self.is_unlisted = True
            self.warnings.append(f"owners that objects do not name are not known: {e.message}")
            return
        for app in found:
            self.objects.setdefault(ref_of(app).key, app)

    def all_applications(self, argocd: ArgoCD, *, label_selector: str = "") -> list[JSON]:
        """List the Applications of Argo CD's namespace and of those that it serves."""
        if argocd.application_namespaces:
            try:
                if not label_selector:
                    return self._list_everywhere(argocd)
                found = list_applications(self.cluster, label_selector=label_selector)
            except Forbidden as e:
                self.warnings.append(f"Applications of other namespaces may not be listed: {e.message}")
            else:
                return [a for a in found if installation.served(a, argocd)]
        return list_applications(self.cluster, argocd.namespace, label_selector=label_selector)

    def read_many(self, *, label_selector: str = "", project: str = "", names: Sequence[str] = ()) -> Reading:
        """Read the Applications of a selection, or all of them, and what they lead to.

        Raises NotFound where none is selected.
        """
        reading = self.read(names)
        argocd = reading.snapshot.argocd
        selected: list[Key] = []
        for app in self.all_applications(argocd, label_selector=label_selector):
            key = ref_of(app).key
            if not project or application.project_name(app) == project:
                selected.append(key)
            self.objects.setdefault(key, app)
        if self.namespace:
            selected = [k for k in selected if k.namespace == self.namespace]
        if not selected:
            raise NotFound(
                "no Application is selected",
                "see them all: kubectl get applications.argoproj.io -A",
                status=404,
            )
        self._scanned = not label_selector
        self.follow(argocd, selected)
        return replace(
            reading, snapshot=self.snapshot(argocd), targets=tuple(selected), warnings=self.warnings
        )

    def twins(self, argocd: ArgoCD, key: Key) -> None:
        """Read the Applications of the same name elsewhere: a window names apps without a namespace."""
        if not argocd.application_namespaces:
            return
        try:
            found = self.cluster.list(APPLICATION, field_selector=f"metadata.name={key.name}")
        except Forbidden:
            return
        for app in found:
            self.objects.setdefault(ref_of(app).key, app)

    def _read_all_projects(self, argocd: ArgoCD) -> None:
        try:
            for project in self.cluster.list(APPPROJECT, argocd.namespace):
                self.objects[ref_of(project).key] = project
        except Forbidden as e:
            self.warnings.append(
                f"global projects may not be listed, their windows are not seen: {e.message}"
            )

    def _not_found(self, key: Key, argocd: ArgoCD) -> RescueError:
        try:
            found = self.cluster.list(APPLICATION, field_selector=f"metadata.name={key.name}")
        except RescueError:
            found = []
        served = [o for o in found if installation.served(o, argocd)]
        places = sorted(o["metadata"]["namespace"] for o in served or found)
        if places:
            return NotFound(
                f"Application {key.name} is not in namespace {key.namespace}",
                "it is in "
                + ", ".join(places)
                + (f": say -n {places[0]}" if len(places) == 1 else ": say which by -n"),
                status=404,
                reason="NotFound",
            )
        near = self._near(key)
        return NotFound(
            f"Application {key.name} does not exist in namespace {key.namespace}",
            (f"did you mean {near}? " if near else "")
            + f"See them all: kubectl get applications.argoproj.io -n {key.namespace}",
            status=404,
            reason="NotFound",
        )

    def _near(self, key: Key) -> str:
        import difflib  # lazy: only a name that is not there needs it

        try:
            names = [o["metadata"]["name"] for o in list_applications(self.cluster, key.namespace)]
        except RescueError:
            return ""
        return next(iter(difflib.get_close_matches(key.name, names, 1)), "")


def list_applications(cluster: Cluster, namespace: str = "", **selectors: str) -> list[JSON]:
    """List Applications of one namespace or all, of each what is decided by."""
    return cluster.list(APPLICATION, namespace, **selectors, page=PAGE_OF_APPLICATIONS, read=listed.read_page)


def _denied(key: Key, who: str) -> Forbidden:
    return Forbidden(
        f"you may not{f' as {who}' if who else ''} get {BY_KIND[key.kind].plural} {key.namespace}/{key.name}",
        "ask for this right, or use --as or another context; an Argo CD elsewhere is named by --argocd-namespace",
        status=403,
        reason="Forbidden",
    )


def _is_owner_open(snapshot: Snapshot, obj: JSON) -> bool:
    """Whether the Applications of this Argo CD have to be listed to know who owns an object."""
    argocd = snapshot.argocd
    claimed = ownership.claims(obj, argocd)
    if ownership.is_generated(claimed) and len(claimed) == 1:
        return False
    if argocd.tracking is Tracking.LABEL and (claimed or argocd.version is None):
        return True
    listers = snapshot.listed_by.get(ref_of(obj).key, ())
    return any(c.owner.kind == "Application" and c.owner not in listers for c in claimed)


def _has_other_destination(snapshot: Snapshot, reached: Sequence[JSON]) -> bool:
    """Whether an Application that owns or lists one of the objects may deploy into another cluster."""
    for obj in reached:
        found = [
            *snapshot.listed_by.get(ref_of(obj).key, ()),
            *(k for k, _ in ownership.owners_of(snapshot, obj)),
        ]
        for owner in (snapshot.objects[k] for k in found if k in snapshot.objects):
            if ownership.reach(snapshot, owner, obj) is not ownership.Reach.HERE:
                return True
    return False


def _project_key(argocd: ArgoCD, app: JSON) -> Key:
    return Key("AppProject", argocd.namespace, application.project_name(app))
