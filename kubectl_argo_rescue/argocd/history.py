"""What an Application ran before: its deployments, which of them was good, what names meant then. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ..model.errors import NotFound, RefusedError
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
    is_oci_tag,
    is_sha,
    kind_of,
    parse_time,
    sync_status,
)


class Deployment(Struct, frozen=True):
    """One of `status.history[]`: a full sync that succeeded (Argo CD: state.go persistRevisionHistory)."""

    id: int
    revisions: tuple[str, ...]
    sources: tuple[JSON, ...]
    deployed: datetime | None
    until: datetime | None
    """When the next one replaced it; None for the newest."""
    by: str
    is_automated: bool

    @property
    def identity(self) -> tuple[tuple[str, str, str], ...]:
        """What makes two deployments the same: repoURL, chart or path, resolved revision."""
        return tuple(
            (str(s.get("repoURL") or ""), str(s.get("chart") or s.get("path") or s.get("ref") or ""), r)
            for s, r in zip(self.sources, self.revisions, strict=False)
        )

    def in_force(self, now: datetime) -> timedelta | None:
        """How long it was what ran."""
        return (self.until or now) - self.deployed if self.deployed else None

    def version(self, index: int = 0) -> str:
        """The version as a person would name it: a chart's version, else the revision asked for."""
        if index >= len(self.sources) or index >= len(self.revisions):
            return ""
        return self.revisions[index] or str(self.sources[index].get("targetRevision") or "")


def deployments(app: JSON) -> tuple[Deployment, ...]:
    """Return the deployments, oldest first. Multi-source entries carry an empty `source`."""
    entries = (app.get("status") or {}).get("history") or []
    found: list[Deployment] = []
    for i, h in enumerate(entries):
        if h.get("sources"):
            bodies, revisions = tuple(h["sources"]), tuple(str(r) for r in h.get("revisions") or ())
        else:
            bodies, revisions = (h.get("source") or {},), (str(h.get("revision") or ""),)
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


def failing_identity(app: JSON) -> tuple[tuple[str, str, str], ...]:
    """Return the identity of what the spec asks for now, as last resolved by the controller.

    Where nothing differs from that, it is the newest deployment of the same wish.
    """
    sync = (app.get("status") or {}).get("sync") or {}
    revisions = sync.get("revisions") or [sync.get("revision") or ""]
    compared = sync.get("comparedTo") or {}
    bodies = compared.get("sources") or [compared.get("source") or {}]
    past = deployments(app)
    if not any(revisions):
        return past[-1].identity if past else ()
    # In a repository of many apps the newest commit is another one than what runs, and nothing of it differs.
    is_same = sync_status(app) == "Synced"
    return tuple(
        (
            str(s.get("repoURL") or ""),
            _place(s),
            str(r) if _is_resolved(s, str(r)) and not is_same else _last_resolved(past, i, s, str(r)),
        )
        for i, (s, r) in enumerate(zip(bodies, revisions, strict=False))
    )


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
    deployment of that name is what fails, not something new.
    """
    newest = past[-1] if past else None
    if newest is None or index >= len(newest.sources) or index >= len(newest.revisions):
        return revision
    was = newest.sources[index]
    same = (was.get("repoURL"), _place(was), was.get("targetRevision") or "HEAD") == (
        source.get("repoURL"),
        _place(source),
        source.get("targetRevision") or "HEAD",
    )
    return newest.revisions[index] if same else revision


class KnownVersions(Struct, frozen=True):
    """What the journal knows of an app's versions."""

    is_pinned: bool = False
    """An open rescue has pinned what is asked for now."""
    left: tuple[tuple[int, str, datetime], ...] = ()
    """Versions that were rescued from and not put back: (index of the source, version, when)."""

    def was_left(self, deployment: Deployment) -> bool:
        """Whether a deployment is of a version that somebody was rescued from afterwards."""
        return any(
            i < len(deployment.sources)
            and version in (deployment.version(i), deployment.sources[i].get("targetRevision"))
            and (deployment.deployed is None or deployment.deployed <= when)
            for i, version, when in self.left
        )


def last_good(app: JSON, known: KnownVersions | None = None) -> Deployment | None:
    """Return the newest deployment that is not what is failing now; None where there is none.

    History after a fight reads 2.4.1, 2.5.1, 2.4.1, 2.5.1, so this is not simply the one before
    the last. Only succeeded syncs are in it. That Argo CD calls what runs Synced and Healthy says
    nothing of whether the ingress works; what an open rescue has pinned is good, what somebody was
    rescued from is not.
    """
    known = known or KnownVersions()
    wanted = failing_identity(app)
    newest_first = deployments(app)[::-1]
    held = [d for d in newest_first if d.identity == wanted] if known.is_pinned else []
    others = [d for d in newest_first if d.identity != wanted and not known.was_left(d)]
    return next(iter([*held, *others]), None)


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


def tags_of(app: JSON, source: Source, digest: str) -> tuple[str, ...]:
    """Return the tags by which history knows a digest of an OCI artifact; newest first."""
    found = [asked for asked, there in _past_of(app, source) if there == digest and is_oci_tag(asked)]
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
    failing = failing_identity(app)
    known = known or KnownVersions()
    found = last_good(app, known)
    if found is None:
        left = ", ".join(sorted({version for _, version, _ in known.left}))
        but = f", and {left}, which somebody was rescued from" if left else ""
        return LastGood(None, f"the history knows only what is asked for now{but}")
    if found.identity == failing:
        return LastGood(found, f"an open rescue has pinned it{for_how_long(found, now)}")
    wanted = ", ".join(application.name_of(r, "") for _, _, r in failing if r)
    return LastGood(
        found,
        f"the newest that succeeded and is not what is asked for now{f' ({wanted})' if wanted else ''}"
        f"{for_how_long(found, now)}",
    )


def for_how_long(deployment: Deployment, now: datetime) -> str:
    """Say how long it was what ran, as the end of a phrase; empty where that is not known."""
    span = deployment.in_force(now)
    return f", in force for {human(span)}" if span is not None else ""


def choose_deployment(app: JSON, to: str | None, known: KnownVersions | None = None) -> Deployment:
    """Pick the deployment to go back to: by history id, by version, else the last good one.

    Raises RefusedError where history has none, NotFound where it has not that one.
    """
    key = application.key_of(app)
    past = deployments(app)
    say_one = f"say a version yourself: {COMMAND} pin {key.namespace}/{key.name} VERSION"
    if not past:
        raise RefusedError(
            f"{key} has no history: it was never deployed by a full sync, or keeps none", say_one
        )
    if to is None:
        good = last_good(app, known)
        if good is None:
            other = _of_other_values(app, past)
            if other is not None:
                raise RefusedError(
                    f"{key} was never deployed in another version than the one that fails, but with other values: "
                    f"{describe_deployment(other)}",
                    f"deploy that: {COMMAND} rollback {key.namespace}/{key.name} --to {other.id}",
                )
            left = ", ".join(sorted({version for _, version, _ in known.left})) if known else ""
            raise RefusedError(
                f"{key} was never deployed in another version than the one that fails"
                + (f", but for {left}, which somebody was rescued from" if left else ""),
                say_one,
            )
        return good
    by_id = [d for d in past if to.isdigit() and d.id == int(to)]
    names = [d for d in past if to in d.revisions or to in (str(s.get("targetRevision")) for s in d.sources)]
    is_hash = application.is_sha(to) or application.is_digest_prefix(to)
    hashes = [d for d in past if is_hash and any(r.startswith(to) for r in d.revisions)]
    for found in (by_id, names, hashes):
        if found:
            return found[-1]
    there = ", ".join(f"{d.id} ({', '.join(d.revisions)})" for d in reversed(past[-5:]))
    raise NotFound(f"{key} has no deployment {to!r} in its history", f"it has {there}", status=404)


def _of_other_values(app: JSON, past: tuple[Deployment, ...]) -> Deployment | None:
    """Return the newest deployment of what the spec asks for now, but with other values or parameters."""

    def without_revision(sources: Iterable[JSON]) -> list[JSON]:
        return [{k: v for k, v in body.items() if k != "targetRevision"} for body in sources]

    now = without_revision(s.body for s in application.sources(app))
    failing = failing_identity(app)
    same = [d for d in past if d.identity == failing and without_revision(d.sources) != now]
    return same[-1] if same else None


def describe_deployment(deployment: Deployment) -> str:
    """Say a deployment in one phrase: its id, versions and time."""
    when = f" of {deployment.deployed:%Y-%m-%d %H:%M} UTC" if deployment.deployed else ""
    asked = [str(body.get("targetRevision") or "") for body in deployment.sources]
    names = [
        revision + (f" as {name}" if revision.startswith("sha256:") and name != revision else "")
        for name, revision in zip(asked, deployment.revisions, strict=False)
    ]
    return f"{', '.join(names)} (history id {deployment.id}{when})"
