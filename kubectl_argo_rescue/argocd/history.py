"""What an Application ran before: its deployments, which of them was good, what names meant then. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import Struct

from ..model.errors import Code, NotFound, RefusedError
from ..model.text import COMMAND
from ..model.times import human
from ..model.values import JSON
from . import application
from .application import (
    Source,
    SourceKind,
    is_digest,
    is_digest_prefix,
    is_full_sha,
    is_moving,
    is_sha,
    kind_of,
    parse_time,
    sync_status,
)
from .operation import operation

Identity: TypeAlias = tuple[tuple[str, str, str, str], ...]
"""What makes two deployments the same, for each source: repoURL, chart or path, resolved revision, all the rest."""


class Deployment(Struct, frozen=True):
    """One of `status.history[]`: a full sync that succeeded (Argo CD: state.go persistRevisionHistory)."""

    id: int
    revisions: tuple[str, ...]
    """One for each source; empty where the entry does not say it."""
    sources: tuple[JSON, ...]
    deployed: datetime | None
    until: datetime | None
    """When the next one replaced it; None for the newest."""
    by: str
    is_automated: bool

    @property
    def identity(self) -> Identity:
        """What makes two deployments the same: the whole source, with its parameters, values and images."""
        return _identity(self.sources, self.revisions)

    @property
    def is_whole(self) -> bool:
        """Whether the entry says enough to deploy it again."""
        return all(s.get("repoURL") and r for s, r in zip(self.sources, self.revisions, strict=True))

    def in_force(self, now: datetime) -> timedelta | None:
        """How long it was what ran."""
        return (self.until or now) - self.deployed if self.deployed else None

    def version(self, index: int = 0) -> str:
        """The version as a person would name it: a chart's version, else the revision asked for."""
        if index >= len(self.sources):
            return ""
        return self.revisions[index] or str(self.sources[index].get("targetRevision") or "")


def _identity(sources: Iterable[JSON], revisions: Iterable[str]) -> Identity:
    return tuple(
        (str(s.get("repoURL") or ""), _place(s), r, json.dumps(values_of(s), sort_keys=True))
        for s, r in zip(sources, revisions, strict=False)
    )


def digest(identity: Identity) -> str:
    """Name an identity without telling its values."""
    import hashlib  # lazy: OpenSSL takes as long as half of ours

    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


_NO_VALUES = ("repoURL", "chart", "path", "targetRevision", "targetBranch", "name")


def values_of(source: JSON) -> dict[str, JSON]:
    """Return what of a source is neither its place, its version nor its name: parameters, values, images."""
    return {k: v for k, v in application.plain_source(source).items() if k not in _NO_VALUES}


def deployments(app: JSON) -> tuple[Deployment, ...]:
    """Return the deployments, oldest first. Multi-source entries carry an empty `source`."""
    entries = (app.get("status") or {}).get("history") or []
    found: list[Deployment] = []
    for i, h in enumerate(entries):
        bodies, revisions = _deployed(h)
        later = entries[i + 1] if i + 1 < len(entries) else None
        by = h.get("initiatedBy") or {}
        found.append(
            Deployment(
                int(h.get("id") or 0),
                revisions,
                bodies,
                parse_time(h.get("deployedAt")),
                parse_time(later.get("deployedAt")) if later else None,
                str(by.get("username") or ""),
                bool(by.get("automated")),
            )
        )
    return tuple(found)


def _deployed(h: JSON) -> tuple[tuple[JSON, ...], tuple[str, ...]]:
    """Return sources and revisions of a history entry or a sync's result, one revision for each source.

    One that is not said is that asked for, if it means the same for ever.
    """
    bodies = tuple(s or {} for s in h["sources"]) if h.get("sources") else (h.get("source") or {},)
    said = list(h.get("revisions") or ()) if h.get("sources") else [h.get("revision")]
    said += [""] * (len(bodies) - len(said))
    asked = [str(s.get("targetRevision") or "") for s in bodies]
    revisions = tuple(
        str(r or (name if _is_resolved(s, name) else ""))
        for s, r, name in zip(bodies, said, asked, strict=False)
    )
    return bodies, revisions


def failing_identity(app: JSON) -> Identity:
    """Return the identity of what the spec asks for now, resolved by the controller where it has looked at that.

    A comparison with another spec says nothing of this one. Where nothing differs from what is asked
    for, it is the newest deployment of the same wish.
    """
    past = deployments(app)
    compared = application.is_compared(app)
    seen = application.synced_revisions(app) if compared else ()
    # In a repository of many apps the newest commit is another one than what runs, and nothing of it differs.
    is_same = compared and sync_status(app) == "Synced"
    bodies: list[JSON] = []
    revisions: list[str] = []
    for i, source in enumerate(application.sources(app)):
        body = {**source.body, "targetRevision": source.revision}
        revision = seen[i] if i < len(seen) and seen[i] else source.revision
        if is_same or not _is_resolved(body, revision):
            revision = _last_resolved(past, i, body, revision)
        bodies.append(body)
        revisions.append(revision)
    return _identity(bodies, revisions)


def attempted_identity(app: JSON) -> Identity:
    """Return the identity of what the last operation applied or tried to, empty where that is not known."""
    result = ((app.get("status") or {}).get("operationState") or {}).get("syncResult") or {}
    return _identity(*_deployed(result)) if result.get("source") or result.get("sources") else ()


def _place(source: JSON) -> str:
    return str(source.get("chart") or source.get("path") or source.get("ref") or "")


def _is_resolved(source: JSON, revision: str) -> bool:
    """Whether it is what the controller resolved a name to, and not the name itself."""
    kind = kind_of(source)
    if kind is SourceKind.GIT:
        return is_full_sha(revision)
    return is_digest(revision) if kind is SourceKind.OCI else not is_moving(kind, revision)


def _last_resolved(past: Sequence[Deployment], index: int, source: JSON, revision: str) -> str:
    """Return what a name meant when it was last deployed, `revision` where it never was.

    With git or the charts out of reach the controller reports the name: what runs since the last
    deployment of that name is what fails, not something new. A name that does not move means what it
    meant in any deployment, the start of a commit that commit.
    """
    kind = kind_of(source)
    name = source.get("targetRevision") or "HEAD"
    for deployment in reversed(past):
        if index < len(deployment.sources):
            was, meant = deployment.sources[index], deployment.revisions[index]
            same = (was.get("repoURL"), _place(was)) == (source.get("repoURL"), _place(source))
            if same and (
                (was.get("targetRevision") or "HEAD") == name or is_sha(name) and meant.startswith(name)
            ):
                return meant or revision
        if is_moving(kind, name) and not is_sha(name):
            break
    return revision


class Version(Struct, frozen=True):
    """What an edit of ours says of a source: which one, its version, and all the rest where that was edited too."""

    index: int
    name: str
    values: JSON = None

    def is_of(self, deployment: Deployment) -> bool:
        """Whether a deployment is of it."""
        if self.index >= len(deployment.sources):
            return False
        source = deployment.sources[self.index]
        return self.name in (deployment.version(self.index), source.get("targetRevision")) and (
            self.values is None or self.values == values_of(source)
        )


class Rescued(Struct, frozen=True):
    """A rescue of ours: when, what it left and what it wrote."""

    when: datetime
    left: tuple[Version, ...]
    """Of versions that mean the same for ever, and that were not put back."""
    wrote: tuple[Version, ...]
    is_open: bool

    def has_left(self, deployment: Deployment) -> bool:
        """Whether a deployment is what it led away from: what was asked for then, or what ran."""
        d = deployment
        if d.deployed is not None and d.deployed > self.when:
            return False
        ran = d.deployed is not None and (d.until is None or self.when < d.until)
        return any(v.is_of(d) for v in self.left) or bool(self.left and ran and not self.has_written(d))

    def has_written(self, deployment: Deployment) -> bool:
        """Whether a deployment is what it went to."""
        return bool(self.wrote) and all(v.is_of(deployment) for v in self.wrote)


KEPT = timedelta(hours=1)
"""Nobody keeps for so long what does not get well."""


class KnownVersions(Struct, frozen=True):
    """What the journal knows of an app's versions."""

    is_pinned: bool = False
    """An open entry has pinned what is asked for now."""
    rescues: tuple[Rescued, ...] = ()
    failed: tuple[tuple[str, datetime, bool], ...] = ()
    """What a watch of ours saw failing: (digest of the identity, when, whether it was only not well in time)."""
    rollbacks: frozenset[str] = frozenset()
    """The ids of the rollbacks that were ordered."""
    alone: KnownVersions | None = None
    """What this machine's own record says, where others say more."""
    others: str = ""
    """Who says more."""

    @property
    def left(self) -> str:
        """Name the versions that were rescued from, empty where there are none."""
        return ", ".join(sorted({v.name for r in self.rescues for v in r.left}))

    def has_failed(self, deployment: Deployment, *, is_well: bool = False) -> bool:
        """Whether a watch saw it failing and it was not deployed again since.

        What was only not well in time counts unless it `is_well` now, or was kept afterwards.
        """
        what, until = digest(deployment.identity), deployment.until
        return any(
            what == seen
            and (deployment.deployed is None or deployment.deployed <= when)
            and not (is_late and (is_well if until is None else until - when > KEPT))
            for seen, when, is_late in self.failed
        )

    def is_rescue(self, deployment: Deployment) -> bool:
        """Whether an open rescue has put it there."""
        return any(r.is_open and r.has_written(deployment) for r in self.rescues)


def running_and_failing(app: JSON, known: KnownVersions) -> Deployment | None:
    """Return what was deployed last, where that is what fails though something else is asked for.

    It is, where nothing of what is asked for was applied since: a rescue is about what runs, and that
    Argo CD calls it healthy is no proof. It is not where somebody just put it there in place of what
    is asked for, or where all that is known to fail is that the version asked for is not to be had.
    """
    past, wanted = deployments(app), failing_identity(app)
    if not past or past[-1].identity == wanted or known.is_rescue(past[-1]):
        return None
    newest = past[-1]
    is_compared = application.is_compared(app)
    state = (app.get("status") or {}).get("operationState") or {}
    running = operation(app)
    never_compared = not ((app.get("status") or {}).get("sync") or {}).get("comparedTo")
    if running.own_id in known.rollbacks or (not state and (is_compared or never_compared)):
        return None
    if known.is_pinned:
        return newest  # a pin of ours has already left it, whatever became of that pin
    attempted = attempted_identity(app)
    is_other = bool(attempted) and attempted != newest.identity
    resources = (state.get("syncResult") or {}).get("resources") or ()
    if is_other and any(r.get("status") == "Synced" for r in resources):
        return None
    nothing_differs = is_compared and sync_status(app) == "Synced"
    if nothing_differs or application.health_status(app) in ("Degraded", "Missing"):
        return newest
    before = {d.identity for d in past[:-1]}
    was_put_back = not newest.is_automated and {newest.identity, wanted} <= before
    if is_other or was_put_back:
        return None
    if not is_compared:
        return newest
    return newest if sync_status(app) == "OutOfSync" and (attempted or running.in_progress) else None


def candidates(app: JSON, known: KnownVersions | None = None) -> tuple[Deployment, ...]:
    """Return the deployments that may be called good, the likeliest first, each of them once.

    History after a fight reads 2.4.1, 2.5.1, 2.4.1, 2.5.1, so the first is not simply the one before
    the last. Only succeeded syncs are in it. That Argo CD calls what runs Synced and Healthy says
    nothing of whether the ingress works; what an open entry of ours has pinned is good, unless a watch
    saw it failing; what somebody was rescued from is not.
    """
    known = known or KnownVersions()
    wanted = failing_identity(app)
    failing = running_and_failing(app, known)
    bad = {wanted} if failing is None else {wanted, failing.identity}
    is_well = application.health_status(app) == "Healthy"
    newest_first = [
        d for d in deployments(app)[::-1] if d.is_whole and not known.has_failed(d, is_well=is_well)
    ]
    held = [d for d in newest_first if d.identity == wanted] if known.is_pinned else []
    left = {d.identity for d in newest_first for r in known.rescues if r.has_left(d)}
    others = [d for d in newest_first if d.identity not in bad | left]
    found: dict[Identity, Deployment] = {}
    for deployment in (*held, *others):
        found.setdefault(deployment.identity, deployment)
    return tuple(found.values())


def last_good(app: JSON, known: KnownVersions | None = None) -> Deployment | None:
    """Return the newest deployment that is not what is failing now; None where there is none."""
    return next(iter(candidates(app, known)), None)


def ever_deployed(app: JSON, source: Source, version: str) -> Deployment | None:
    """Return the newest deployment of this source at that version (its revision, or the name asked for)."""
    for deployment in reversed(deployments(app)):
        for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
            same = all(
                (body.get(n) or "") == (source.body.get(n) or "") for n in ("repoURL", "chart", "path")
            )
            if same and version in (revision, body.get("targetRevision")):
                return deployment
    return None


def deployed_digests(app: JSON, source: Source, version: str) -> tuple[str, ...]:
    """Return what a tag of an OCI artifact, or the start of a digest, meant in history; newest first."""
    found = [
        digest
        for asked, digest in _past_of(app, source)
        if is_digest(digest)
        if version == asked or (is_digest_prefix(version) and digest.startswith(version))
    ]
    return tuple(dict.fromkeys(found))


def _past_of(app: JSON, source: Source) -> Iterator[tuple[str, str]]:
    """Yield what was asked for of a source's repository and which revision it was; newest first."""
    for deployment in reversed(deployments(app)):
        for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
            if body.get("repoURL") == source.body.get("repoURL"):
                yield str(body.get("targetRevision") or ""), revision


def resolved_commit(app: JSON, source: Source, name: str) -> str:
    """Return the commit that Argo CD last resolved a git name to, empty where it is not known."""
    name = name.removeprefix(application.BRANCHES)
    status = app.get("status") or {}
    sync = status.get("sync") or {}
    compared = sync.get("comparedTo") or {}
    bodies: Sequence[JSON] = compared.get("sources") or [compared.get("source") or {}]
    revisions: Sequence[str] = sync.get("revisions") or [sync.get("revision") or ""]
    candidates: list[tuple[JSON, str]] = [*zip(bodies, revisions, strict=False)]
    for deployment in reversed(deployments(app)):
        candidates += zip(deployment.sources, deployment.revisions, strict=False)
    for body, revision in candidates:
        if body.get("repoURL") == source.body.get("repoURL") and is_full_sha(revision or ""):
            asked = str(body.get("targetRevision") or "").removeprefix(application.BRANCHES)
            if asked == name or (name == "HEAD" and not body.get("targetRevision")):
                return revision
            if is_sha(name) and revision.startswith(name):
                return revision
    return ""


# -- the one to go back to


class LastGood(Struct, frozen=True):
    """The deployment that this tool calls last good, and why."""

    deployment: Deployment | None
    why: str


def versions(deployment: Deployment) -> str:
    """Name a deployment as a person would: chart versions, and short hashes with what they were asked as."""
    found = []
    for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
        text = application.name_of(revision, str(body.get("targetRevision") or ""))
        if text and (
            body.get("path") or body.get("chart") or not body.get("ref") or len(deployment.sources) == 1
        ):
            found.append(text)
    return ", ".join(found) or "(unknown)"


def explain_last_good(app: JSON, now: datetime, known: KnownVersions | None = None) -> LastGood:
    """Choose the last good version: what an open rescue has pinned, else the newest other one.

    That what runs is Synced and Healthy does not make it good: the broken ingress is, too.
    """
    past = deployments(app)
    if not past:
        return LastGood(None, "the history is empty")
    known = known or KnownVersions()
    asked_for = failing_identity(app)
    found = last_good(app, known)
    if found is None:
        text = _by_hearsay(app, None, known)
        more = f"; it {text}" if text else ""
        return LastGood(None, f"the history knows only what is asked for now{_but(known)}{more}")
    if found.identity == asked_for:
        return LastGood(found, f"an open rescue has pinned it{for_how_long(found, now)}")
    wanted = ", ".join(application.name_of(r, "") for _, _, r, _ in asked_for if r)
    asked = f"the current target{f' ({wanted})' if wanted else ''}"
    failing = running_and_failing(app, known)
    which = f"what runs ({versions(failing)}) and {asked}" if failing else asked
    if [r for _, _, r, _ in found.identity] == [r for _, _, r, _ in asked_for]:
        which += ", but the same version with other values"
    if text := _by_hearsay(app, found, known):
        which += f"; it {text}"
    return LastGood(found, f"the newest successful version other than {which}{for_how_long(found, now)}")


def _but(known: KnownVersions) -> str:
    """Name what history has besides and nobody should go back to, as the end of a phrase."""
    return f", and {known.left}, abandoned in an earlier rescue" if known.left else ""


def for_how_long(deployment: Deployment, now: datetime) -> str:
    """Say how long it was what ran, as the end of a phrase; empty where that is not known."""
    span = deployment.in_force(now)
    return f", ran {human(span)}" if span is not None else ""


def choose_deployment(app: JSON, to: str | None, known: KnownVersions | None = None) -> Deployment:
    """Pick the deployment to go back to: by history id, by version, else the last good one.

    Raises RefusedError where history has none, NotFound where it has not that one.
    """
    key = application.key_of(app)
    past = deployments(app)
    say_one = f"say a version yourself: {COMMAND} pin {key.namespace}/{key.name} VERSION"
    if not past:
        raise RefusedError(
            f"{key} has no history: it was never deployed by a full sync, or keeps none",
            say_one,
            code=Code.NO_GOOD_VERSION,
        )
    if to is None:
        good = last_good(app, known)
        if good is None:
            known = known or KnownVersions()
            but = f", but for {known.left}, abandoned in an earlier rescue" if known.left else ""
            if any(known.has_failed(d) for d in past):
                but += ", but for what a watch saw failing"
            if text := _by_hearsay(app, None, known):
                but += f"; it {text}"
            failing = running_and_failing(app, known)
            fails = (
                f"what fails ({versions(failing)}) and what is asked for" if failing else "the one that fails"
            )
            raise RefusedError(
                f"{key} was never deployed in another version than {fails}{but}",
                say_one,
                code=Code.NO_GOOD_VERSION,
            )
        return good
    named = _named(app, past, to)
    if named is None:
        there = ", ".join(f"{d.id} ({', '.join(d.revisions)})" for d in reversed(past[-5:]))
        raise NotFound(f"{key} has no deployment {to!r} in its history", f"it has {there}", status=404)
    if not named.is_whole:
        raise RefusedError(
            f"history does not say what deployment {named.id} of {key} was: source or revision is missing",
            say_one,
            code=Code.NO_GOOD_VERSION,
        )
    return named


def _named(app: JSON, past: Sequence[Deployment], to: str) -> Deployment | None:
    """Return the deployment that is meant: the newest of that version, but for what fails."""
    by_id = [d for d in past if to.isdigit() and d.id == int(to)]
    names = [d for d in past if to in d.revisions or to in (str(s.get("targetRevision")) for s in d.sources)]
    is_hash = application.is_sha(to) or application.is_digest_prefix(to)
    hashes = [d for d in past if is_hash and any(r.startswith(to) for r in d.revisions)]
    failing = running_and_failing(app, KnownVersions())
    bad = {failing_identity(app)} | ({failing.identity} if failing else set())
    for found in (by_id, names, hashes):
        if found:
            # The same version was perhaps deployed with other values: what fails is not meant.
            return ([d for d in found if d.is_whole and d.identity not in bad] or found)[-1]
    return None


def next_candidate(app: JSON, chosen: Deployment, known: KnownVersions | None, now: datetime) -> list[str]:
    """Say in one note what would be gone back to if the chosen one is not good either; none where nothing is."""
    others = [d for d in candidates(app, known) if d.identity != chosen.identity]
    notes = [f"next candidate: {describe_deployment(d)}{for_how_long(d, now)}" for d in others[:1]]
    return notes + [f"last good {text}" for text in (_by_hearsay(app, chosen, known),) if text]


def _by_hearsay(app: JSON, chosen: Deployment | None, known: KnownVersions | None) -> str:
    """Say which version is not called good for nothing but what others wrote; empty where that changes nothing."""
    if known is None or known.alone is None:
        return ""
    own = last_good(app, known.alone)
    if own is None or (chosen is not None and chosen.identity == own.identity):
        return ""
    return f"would be {versions(own)} but for what {known.others} says, of which this machine has no record"


def describe_deployment(deployment: Deployment) -> str:
    """Say a deployment in one phrase: its id, versions and time."""
    when = f" of {deployment.deployed:%Y-%m-%d %H:%M} UTC" if deployment.deployed else ""
    asked = [str(body.get("targetRevision") or "") for body in deployment.sources]
    names = [
        revision + (f" as {name}" if revision.startswith("sha256:") and name != revision else "")
        for name, revision in zip(asked, deployment.revisions, strict=False)
    ]
    return f"{', '.join(names)} (history id {deployment.id}{when})"
