"""Plans a pin: which source of an application gets which version, and what must be asked. Pure.

After a conflict the engine reads again and calls the same function; the same input gives the same
plan. Times and ids come in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..argocd import application, history
from ..argocd.application import Source, SourceKind, living_application
from ..argocd.operation import sync_operation
from ..argocd.reconciliation import will_act
from ..model import patches
from ..model.errors import RefusedError, UsageError
from ..model.text import COMMAND, display_name
from ..model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    Edit,
    FieldChange,
    Key,
    Order,
    Plan,
    Role,
    Snapshot,
    StepResult,
    StepStatus,
    ref_of,
)
from .owners import Protection, protect
from .plan import joined


def refuse_hydrated(app: JSON, argocd: ArgoCD) -> None:
    """Refuse to pin what a source hydrator writes itself: it would push to a branch of the pinned name."""
    hydrator = (app.get("spec") or {}).get("sourceHydrator")
    if not hydrator or hydrator.get("hydrateTo"):
        return
    key = application.key_of(app)
    name = display_name(key, argocd)
    raise RefusedError(
        f"{key} has a source hydrator that pushes to the branch it is synced from: pinned to a version, it would "
        "push to a branch of that name",
        f"deploy a hydrated commit from its history, and keep it there: {COMMAND} rollback {name}; or pause it: "
        f"{COMMAND} pause {name}",
    )


def choose_source(app: JSON, version: str, selector: str | None) -> Source:
    """Pick the source to pin: the one named, the only one, or the one that fits the version.

    Raises UsageError where two fit, naming them.
    """
    candidates = application.sources(app)
    key = application.key_of(app)
    if not candidates:
        raise UsageError(f"{key} has no source", "there is nothing to pin")
    listing = "; ".join(f"{s.index} is {s.describe()}" for s in candidates)
    if selector is not None:
        for s in candidates:
            if selector == s.body.get("name"):
                return s
        if selector.isdigit() and int(selector) < len(candidates):
            return candidates[int(selector)]
        by_other_name = [s for s in candidates if selector in (s.body.get("chart"), s.body.get("ref"))]
        if len(by_other_name) == 1:
            return by_other_name[0]
        raise UsageError(f"{key} has no source {selector!r}", listing)
    rendered = [s for s in candidates if s.yields_manifests]
    if len(candidates) == 1:
        return candidates[0]
    known = [s for s in candidates if history.ever_deployed(app, s, version)]
    if len(known) == 1:
        return known[0]
    pool = known or rendered
    if pool and all(application.bound_to(app, pool[0]).count(s) for s in pool[1:]):
        return next((s for s in pool if s.yields_manifests and s.body.get("path")), pool[0])
    charts = [s for s in pool if s.kind is SourceKind.HELM and application.is_valid_revision(s.kind, version)]
    if len(charts) == 1:
        return charts[0]
    if len(pool) == 1:
        return pool[0]
    raise UsageError(
        f"{key} has several sources that {version} could be for", f"say --source INDEX: {listing}"
    )


class _Version(Struct, frozen=True):
    """The revision to write, what is worth knowing of it, and what must be asked first."""

    revision: str
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()


def choose_version(app: JSON, source: Source, version: str, snapshot: Snapshot) -> _Version:
    """Turn what was typed into the revision to write: a git branch becomes its commit."""
    known = history.ever_deployed(app, source, version)
    kind = source.kind
    is_branch = kind is SourceKind.GIT and (version.startswith(application.BRANCHES) or version == "HEAD")
    if kind is SourceKind.GIT and application.is_moving(kind, version):
        commit = history.resolved_commit(app, source, version)
        if commit:
            if application.is_sha(version):
                return _Version(commit)
            return _Version(
                commit, (f"{version} is pinned to the commit that Argo CD last resolved it to, {commit}",)
            )
        if application.is_sha(version):
            return _Version(version, (f"commit {version} is not in the history of this app",))
        if is_branch:
            return _Version(
                version,
                questions=(
                    f"{version} moves, and which commit it is now is not known here: "
                    "what is deployed will follow it; name a commit or tag to keep it",
                ),
            )
    if kind is SourceKind.OCI:
        digests = history.deployed_digests(app, source, version)
        if application.is_digest_prefix(version) and len(digests) == 1:
            return _Version(digests[0])
        if digests and not application.is_digest_prefix(version):
            return _Version(
                version,
                (
                    f"{version} was {', '.join(digests)} when this app deployed it; a tag can have been moved "
                    "since then, a digest cannot",
                ),
            )
    if known is not None:
        return _Version(version)
    if not application.is_valid_revision(kind, version):
        past = _known_versions(app, source)
        return _Version(
            version,
            questions=(
                f"{version!r} was never deployed by this app and is no valid version of a{'n' if kind is SourceKind.OCI else ''} {kind.value}"
                + (f" (deployed so far: {', '.join(past)})" if past else ""),
            ),
        )
    past = _known_versions(app, source)
    note = f"{version} was never deployed by this app, so whether it exists is not known here"
    if past:
        note += f" (deployed so far: {', '.join(past)})"
    if application.is_moving(kind, version):
        note += "; it may also move"
    return _Version(version, (note,), asides=_meant(kind, version, past))


def _meant(kind: SourceKind, version: str, past: Sequence[str]) -> tuple[str, ...]:
    """Ask where a version is one slip of a finger away from one that was deployed."""
    if kind is SourceKind.OCI or application.is_moving(kind, version) or application.is_full_sha(version):
        return ()
    near = next((p for p in past if _is_one_edit(version, p)), "")
    said = f"{version} was never deployed here; history has {', '.join(past)}. Did you mean {near}?"
    return (f"{said} Pin {version} anyway?",) if near else ()


def _is_one_edit(typed: str, meant: str) -> bool:
    """Whether one character too many, too few or wrong, or two that changed places, is all that differs."""
    while typed and meant and typed[0] == meant[0]:
        typed, meant = typed[1:], meant[1:]
    while typed and meant and typed[-1] == meant[-1]:
        typed, meant = typed[:-1], meant[:-1]
    is_swapped = len(typed) == 2 and typed == meant[::-1]
    return max(len(typed), len(meant)) == 1 or is_swapped


def version_changes(
    app: JSON, chosen: Source, wanted: _Version, selector: str | None
) -> tuple[tuple[FieldChange, ...], _Version]:
    """Return the changes to a source's revision, and to those of its repository that Argo CD takes with it alone.

    A source that was chosen by the user alone is asked about instead.
    """
    apart = [s for s in application.bound_to(app, chosen) if s.revision != wanted.revision]
    changes = [revision_change(chosen, wanted.revision)]
    if apart and chosen.revision != wanted.revision:
        said = "; ".join(f"source {s.index} ({s.describe()}) is at {s.revision or 'HEAD'}" for s in apart)
        rule = "Argo CD takes a repository at one revision only where one source refers to files of another"
        if selector is not None:
            question = f"{rule}: {said}; without --source they are pinned together"
            wanted = replace(wanted, questions=(*wanted.questions, question))
        else:
            wanted = replace(wanted, notes=(*wanted.notes, f"{rule}, so they are pinned together: {said}"))
    if selector is None:
        changes += [revision_change(s, wanted.revision) for s in apart]
    return tuple(c for c in changes if c is not None), wanted


def revision_change(source: Source, revision: str) -> FieldChange | None:
    """Return the change that sets a source's revision; None where it is set."""
    if source.revision == revision:
        return None
    return FieldChange(source.revision_path, source.body.get(source.revision_field, ABSENT), revision)


def _known_versions(app: JSON, source: Source) -> list[str]:
    found: dict[str, None] = {}
    for deployment in reversed(history.deployments(app)):
        for body, revision in zip(deployment.sources, deployment.revisions, strict=False):
            if all((body.get(n) or "") == (source.body.get(n) or "") for n in ("repoURL", "chart", "path")):
                asked = str(body.get("targetRevision") or "")
                is_oci = source.kind is SourceKind.OCI
                found[application.name_of(revision, asked) if is_oci else revision] = None
    return list(found)[:5]


def plan_pin(
    snapshot: Snapshot,
    key: Key,
    version: str,
    *,
    order_id: str,
    actor: str,
    reason: str = "",
    source: str | None = None,
    only: bool = False,
    sync: bool = True,
) -> Plan:
    """Set the targetRevision of one source, and see to it that Argo CD will act on it."""
    app = living_application(snapshot, key)
    refuse_hydrated(app, snapshot.argocd)
    chosen = choose_source(app, version, source)
    wanted = choose_version(app, chosen, version, snapshot)
    warnings: list[str] = []
    steps: list[Edit | Order] = []
    unchanged: list[StepResult] = []
    total = Protection()
    pinned = app
    changes, wanted = version_changes(app, chosen, wanted, source)
    if not changes:
        unchanged.append(
            StepResult(ref_of(app), StepStatus.UNCHANGED, "pinned", detail=f"already at {wanted.revision}")
        )
        total += protect(snapshot, app, (), only=only)
    else:
        total += protect(snapshot, app, changes, only=only)
        from_text = chosen.revision or "HEAD"
        steps.append(Edit(ref_of(app), changes, f"{from_text} to {wanted.revision}", Role.VERSION))
        pinned = patches.applied(app, changes)
    if sync:
        stays_on = application.is_auto_sync_on(app) and ref_of(app) not in {
            g.edit.ref for g in total.guards.values() if g.edit
        }
        act = will_act(snapshot, pinned, auto_sync=stays_on)
        warnings += act.warnings
        if act.needs_order:
            ordered = sync_operation(app, id=order_id, actor=actor, reason=reason)
            steps.append(Order(ref_of(app), order_id, ordered, act.why))
    name = display_name(key, snapshot.argocd)
    return joined(
        "pin", total, steps, unchanged=unchanged, warnings=warnings, notes=wanted.notes,
        questions=wanted.questions, asides=wanted.asides,
        next_commands=[f"{COMMAND} watch {name}"],
    )  # fmt: skip
