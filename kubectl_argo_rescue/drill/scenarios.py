"""What is practised: each scenario's story, task, hints, solution, and how it is judged at the end.

Data over a `Stage`, so that the same scenario is played on the simulation and, in the e2e lane, on
Argo CD's real controllers. In texts, solutions and hints {app}, {other}, {root}, {project} and {set}
stand for the objects' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from msgspec import Struct

from ..argocd import windows
from ..model.values import JSON, ArgoCD

OLDER = "2.4.0"
GOOD = "2.4.1"
BAD = "2.5.1"
NEVER = "2.6.0"
"""A version that nobody has tested: a colleague's stuck operation asks for it."""


class Names(Struct, frozen=True):
    """How the objects of a scenario are called."""

    app: str = "traefik"
    other: str = "web"
    root: str = "root"
    project: str = "cluster"
    set: str = "ingresses"

    def put_into(self, text: str) -> str:
        """Write the names into a text."""
        return text.format(app=self.app, other=self.other, root=self.root, project=self.project, set=self.set)


class Stage(Protocol):
    """A cluster with Argo CD on which a scenario was set up."""

    names: Names

    @property
    def argocd(self) -> ArgoCD:
        """The installation."""
        ...

    @property
    def versions(self) -> Sequence[str]:
        """What was deployed of the app since the play began, one after the other."""
        ...

    @property
    def asked(self) -> Sequence[str]:
        """What the app's targetRevision was since the play began, one after the other."""
        ...

    def get(self, kind: str, name: str) -> JSON:
        """Read an object of Argo CD's namespace."""
        ...

    def serving(self) -> str:
        """Return the version of which every replica is available, empty where there is none."""
        ...

    def in_git(self) -> Mapping[tuple[str, str], JSON]:
        """Return the spec that git has for each object, by kind and name."""
        ...

    def now(self) -> datetime:
        """Return the time on the stage."""
        ...

    @property
    def was_deleted(self) -> bool:
        """Whether the app's workload was deleted since the play began."""
        ...

    @property
    def is_frozen(self) -> bool:
        """Whether Argo CD's controllers stand still."""
        ...


class Check(Struct, frozen=True):
    """One line of the verdict."""

    text: str
    judge: Callable[[Stage], str]
    """Empty where it holds, else what is there instead."""


class Foreign(Struct, frozen=True):
    """A colleague's edit by hand."""

    kind: str
    name: str
    patch: JSON
    """A merge patch."""


Solution: TypeAlias = tuple[str, ...]


class Scenario(Struct, frozen=True):
    """One practice incident."""

    name: str
    level: str
    title: str
    story: str
    task: tuple[str, ...]
    hints: tuple[str, ...]
    solution: Solution
    """What a player may type; `kubectl argo-rescue` is left out. ENTRY stands for the newest entry's id."""
    checks: tuple[Check, ...]
    names: Names = Names()
    denied: tuple[tuple[str, ...], ...] = ()
    """The sync windows of the freeze: whom each of them names."""
    is_generated: bool = False
    """An ApplicationSet owns the app, in place of an app-of-apps."""
    is_wiped: bool = False
    """A commit has just taken the app out of git; Argo CD looks at git ten minutes later."""
    is_remote: bool = False
    """The app is deployed into another cluster than Argo CD's."""
    stuck_at: str = ""
    """The version that a colleague's operation asks for, and waits in the freeze for ever."""
    done_before: Solution = ()
    """What a colleague has done with this plugin before the play begins."""
    fix: str = GOOD
    """The version to which the pull request sets git."""
    after_fix: Foreign | None = None
    fix_says: str = ""

    def window_objects(self, names: Names) -> list[JSON]:
        """Return the sync windows as the project has them: always in force."""
        return [
            {
                "kind": "deny",
                "schedule": "0 0 * * *",
                "duration": "24h",
                "applications": [names.put_into(name) for name in denied],
                "timeZone": "UTC",
            }
            for denied in self.denied
        ]


# -- how it is judged


def _serves(version: str) -> Check:
    def judge(stage: Stage) -> str:
        if stage.serving() == version:
            return ""
        newest = stage.versions[-1] if stage.versions else "nothing"
        return f"{stage.serving()} serves" if stage.serving() else f"{newest} is deployed and does not serve"

    return Check(f"{{app}} {version} serves", judge)


def _asks_for(version: str) -> Check:
    def judge(stage: Stage) -> str:
        found = stage.get("Application", stage.names.app)["spec"]["source"]["targetRevision"]
        if found == version:
            return ""
        return f"it asks for {found}" + (": the edit was put back" if version in stage.asked else "")

    return Check(f"it stays: {{app}} still asks for {version}", judge)


def _not_again(bad: str) -> Check:
    def judge(stage: Stage) -> str:
        seen = list(stage.versions)
        good = [i for i, version in enumerate(seen) if version != bad]
        if good and bad in seen[good[0] :]:
            return f"a second outage: {' then '.join(seen)}"
        return ""

    return Check(f"{bad} is not deployed again", judge)


def _never(version: str) -> Check:
    def judge(stage: Stage) -> str:
        return f"it was: {' then '.join(stage.versions)}" if version in stage.versions else ""

    return Check(f"{version} is never deployed", judge)


def _is_idle() -> Check:
    def judge(stage: Stage) -> str:
        app = stage.get("Application", stage.names.app)
        state = (app.get("status") or {}).get("operationState") or {}
        if app.get("operation") is None and state.get("phase") not in ("Running", "Terminating"):
            return ""
        return f"it is {state.get('phase', 'waiting')}: {state.get('message', '')}"

    return Check("no operation of {app} is stuck", judge)


def _stays_frozen() -> Check:
    def judge(stage: Stage) -> str:
        project = stage.get("AppProject", stage.names.project)
        other = stage.get("Application", stage.names.other)
        effective = windows.effective_windows(project, [project], stage.argocd)
        for manual, how in ((False, "by itself"), (True, "by hand")):
            if windows.judge_sync(effective, other, stage.now(), manual=manual).can_sync:
                return f"it can sync {how}"
        return ""

    return Check("{other} stays frozen", judge)


def _as_in_git(*kinds: str, but: str = "") -> Check:
    def judge(stage: Stage) -> str:
        left_out = stage.names.put_into(but)
        wrong = [
            f"{kind} {name}"
            for (kind, name), spec in stage.in_git().items()
            if kind in kinds and name != left_out and stage.get(kind, name)["spec"] != spec
        ]
        return f"not so: {', '.join(wrong)}" if wrong else ""

    return Check("everything is back: specs are as in git", judge)


def _keeps(version: str) -> Check:
    def judge(stage: Stage) -> str:
        asked = list(stage.asked)
        since = asked[asked.index(version) :] if version in asked else asked[-1:]
        return "" if since == [version] else f"it asked for {' then '.join(since)}"

    return Check(f"Dana's edit is hers: {{app}} asks for {version}", judge)


def _lives() -> Check:
    def judge(stage: Stage) -> str:
        return f"it was: Argo CD pruned {stage.names.app}" if stage.was_deleted else ""

    return Check("the workload of {app} was never deleted", judge)


def _is_in_git() -> Check:
    def judge(stage: Stage) -> str:
        return "" if ("Application", stage.names.app) in stage.in_git() else "the next sync deletes it"

    return Check("git has {app} again", judge)


def _runs() -> Check:
    def judge(stage: Stage) -> str:
        return "its controllers are at 0" if stage.is_frozen else ""

    return Check("Argo CD runs again", judge)


# -- the scenarios

_BROKEN = f"""\
{{app}} is your ingress. An hour ago git took it from {GOOD} to {BAD}, and its pods never become
ready. Argo CD's UI and API went down with the ingress; its controllers still run, and so does the
cluster's own API."""

_DANA = Foreign("Application", "{app}", {"spec": {"source": {"targetRevision": OLDER}}})

_OWNERS = ("Application", "AppProject")

INGRESS = Scenario(
    name="ingress",
    level="easy",
    title="the ingress is broken, the parent app reverts edits, sync windows stop it",
    story=f"""{_BROKEN}

The app-of-apps {{root}} applies it from git, and reverts whatever differs. A change freeze has begun:
sync windows of project {{project}} name {{app}} and {{other}}.""",
    task=(f"Bring {{app}} back to {GOOD}, so that it stays.", "{other} must stay frozen."),
    hints=(
        "Look first: `status {app}` says what is wrong, who would revert an edit, and which window stops it.",
        "One command does all of it: `rescue {app}`. `--dry-run` shows its plan alone.",
        f"Step by step it is: `pause {{root}}`, `unblock {{app}}`, `pin {{app}} {GOOD}`, `watch {{app}}`.",
    ),
    solution=("status {app}", "rescue {app} --reason INC-4711 --yes"),
    checks=(_serves(GOOD), _asks_for(GOOD), _not_again(BAD), _stays_frozen()),
    denied=(("{app}", "{other}"), ("{app}",)),
)

FROZEN = Scenario(
    name="frozen",
    level="medium",
    title="one sync window on * freezes every application",
    story=f"""{_BROKEN}

One sync window of project {{project}} denies `*`: whoever opens it, opens it for all.""",
    task=(
        f"Bring {{app}} back to {GOOD}, so that it stays.",
        "At the end no other application may sync, neither by itself nor by hand.",
    ),
    hints=(
        "`windows` shows what each window matches, and what it would let through.",
        "A window on * can be opened for manual syncs alone. `rescue {app}` does so, and closes it again.",
        "What you opened step by step goes back with `undo ENTRY`; `log` names the entries.",
    ),
    solution=("windows {app} {other}", "rescue {app} --yes"),
    checks=(_serves(GOOD), _asks_for(GOOD), _not_again(BAD), _stays_frozen()),
    denied=(("*",),),
)

STUCK = Scenario(
    name="stuck",
    level="medium",
    title="an operation is stuck in a sync window",
    story=f"""{_BROKEN}

A colleague tried to help by hand, and ordered a sync to {NEVER}, which nobody has tested. The freeze
holds that operation: it waits, and runs as soon as the window opens.""",
    task=(
        f"Bring {{app}} back to {GOOD}, so that it stays.",
        f"{NEVER} must not be deployed, not even for a moment.",
    ),
    hints=(
        "`status {app}` shows the operation that runs, and for how long it has.",
        "The order matters: end the operation first (`terminate {app}`), open windows after it.",
        "`rescue {app}` keeps that order by itself.",
    ),
    solution=("status {app}", "terminate {app} --yes", "rescue {app} --yes"),
    checks=(_serves(GOOD), _asks_for(GOOD), _never(NEVER), _not_again(BAD), _is_idle(), _stays_frozen()),
    denied=(("{app}", "{other}"),),
    stuck_at=NEVER,
)

GENERATED = Scenario(
    name="generated",
    level="medium",
    title="an ApplicationSet owns the app, and takes back every edit",
    story=f"""{_BROKEN}

{{app}} and {{other}} are generated by ApplicationSet {{set}}, whose template has the version. A pipeline
applies the set from git when a pull request is merged (here: `git fix`).""",
    task=(
        f"Bring {{app}} back to {GOOD}, so that it stays; leave {{other}} to the set.",
        "Then have git fixed (`git fix`) and give {app} back to its set, without moving it.",
    ),
    hints=(
        "Pausing the app does not help: the set writes its spec whole. Look at `rescue {app} --dry-run`.",
        "A rule in the set's ignoreApplicationDifferences, for {app} alone, makes the edit hold.",
        "`git fix`, then `undo`: the template agrees with what is live, so the rule goes and nothing moves.",
    ),
    solution=("rescue {app} --yes", "git fix", "undo --yes"),
    checks=(_serves(GOOD), _asks_for(GOOD), _not_again(BAD), _as_in_git("ApplicationSet", "Application")),
    names=Names(other="traefik-internal"),
    is_generated=True,
)

HUB_AND_SPOKE = Scenario(
    name="hub-and-spoke",
    level="medium",
    title="the app runs in another cluster than Argo CD",
    story=f"""{{app}} is the ingress of cluster edge, which the Argo CD of your hub deploys into. An hour ago git took it
from {GOOD} to {BAD}, and its pods never become ready. Argo CD's UI is behind that ingress too; its
controllers in the hub still run. Your kubeconfig has a context for each: hub, which you are on, and edge.

The app-of-apps {{root}} applies {{app}} from git and reverts whatever differs. A change freeze has begun:
a sync window of project {{project}} names {{app}} and {{other}}.""",
    task=(f"Bring {{app}} back to {GOOD} in cluster edge, so that it stays.", "{other} must stay frozen."),
    hints=(
        "Edits go to the hub, where the Applications are. A rollout in edge would be reverted from there.",
        "`status {app}` shows the workloads as they are in edge, and by which context they are seen.",
        "`rescue {app}` works in the hub and watches the pods in edge; no flag is needed for that.",
    ),
    solution=("status {app}", "rescue {app} --yes"),
    checks=(_serves(GOOD), _asks_for(GOOD), _not_again(BAD), _stays_frozen()),
    denied=(("{app}", "{other}"),),
    is_remote=True,
)

HAND_BACK = Scenario(
    name="hand-back",
    level="medium",
    title="the morning after: hand everything back to git without a second outage",
    story=f"""On Friday {{app}} {BAD} broke the ingress. Your colleague Bob rescued it with this plugin: {GOOD} serves,
{{root}} is paused, {{app}} is pinned. It is Monday, the freeze is over, and you are on call. Whether git
was fixed since, nobody has told you.""",
    task=(
        "Hand everything back to git: {root} and {app} as git has them, auto-sync on.",
        "The workload must not move.",
    ),
    hints=(
        "`log` shows what stands, `report` the change that git still owes.",
        "`undo` asks Argo CD to compare with git first. While git asks for what broke, it refuses.",
        "`git log` shows git, `git fix` has the pull request merged. Then `undo` again.",
    ),
    solution=("log", "undo --yes", "git fix", "undo --yes"),
    checks=(_serves(GOOD), _not_again(BAD), _as_in_git(*_OWNERS)),
    done_before=("rescue {app} --yes --reason INC-4711",),
)

FRIDAY = Scenario(
    name="friday",
    level="hard",
    title="all at once: * window, stuck operation, and a colleague who edits the same fields",
    story=f"""{_BROKEN}

One sync window of project {{project}} denies `*`; the project itself is applied from git by {{root}}. A
colleague's sync to {NEVER}, which nobody has tested, waits in the freeze. And Dana works on the same
incident: her pull request is the one that `git fix` merges.""",
    task=(
        f"Bring {{app}} back to {GOOD}, so that it stays; {NEVER} must not be deployed.",
        "Then have git fixed (`git fix`) and hand everything back, without moving the workload.",
        "What somebody else decided meanwhile is not yours to overwrite.",
    ),
    hints=(
        "`rescue {app}` ends the operation before it opens anything, and closes the window again.",
        "Read what `git fix` says, and what `undo` shows as a conflict: now, what you wrote, the original.",
        "`undo --on-conflict=skip` leaves her field as it is, and puts back all that is yours.",
    ),
    solution=("status {app}", "rescue {app} --yes", "git fix", "undo --on-conflict=skip --yes"),
    checks=(
        _serves(GOOD),
        _never(NEVER),
        _not_again(BAD),
        _is_idle(),
        _stays_frozen(),
        _keeps(OLDER),
        _as_in_git(*_OWNERS),
    ),
    denied=(("*",),),
    stuck_at=NEVER,
    fix=OLDER,
    after_fix=_DANA,
    fix_says=f"""Dana: "Merged, but to {OLDER}: {GOOD} has a CVE, it only has to last until Monday. I have set {{app}} to
{OLDER} with kubectl as well, so it comes when the freeze ends.\"""",
)

WIPE_OUT = Scenario(
    name="wipe-out",
    level="medium",
    title="a merged commit deletes half the fleet, and Argo CD is about to follow it",
    story="""A minute ago somebody merged "tidy up" (#412): it takes {app}, your ingress, out of git. {root} prunes what
git does not have, and {app} has the finalizer that takes its workloads along. Argo CD looks at git
every ten minutes. Everything still runs.""",
    task=(
        "The workload of {app} must not be deleted, not even for a moment.",
        "Then have git fixed (`git fix`) and let Argo CD run again.",
    ),
    hints=(
        "Pausing {root} would do here. With hundreds of applications it takes too long: stop Argo CD itself.",
        "`freeze` stops its controllers. `status` says what waits to be destroyed. Then `git fix`.",
        "Only the entry's id thaws: `log` names it, `undo ENTRY`. It shows what would be synced, and asks.",
    ),
    solution=("freeze --reason INC-4711", "status", "git fix", "undo ENTRY --yes"),
    checks=(_lives(), _is_in_git(), _runs(), _as_in_git(*_OWNERS)),
    is_wiped=True,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (INGRESS, FROZEN, STUCK, GENERATED, HUB_AND_SPOKE, WIPE_OUT, HAND_BACK, FRIDAY)
}
