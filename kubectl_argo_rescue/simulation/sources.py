"""Where the simulated repo-server takes manifests from: git repositories and chart repositories."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct, field

from ..model.values import JSON
from .wire import copied

Manifests: TypeAlias = Sequence[JSON] | Callable[[JSON], Sequence[JSON]]
"""Objects as they lie in git, or a function of the Application's source (values, parameters)."""


class SourceError(Exception):
    """What the repo-server cannot deliver; the text ends in a ComparisonError."""


class GitRepository(Struct):
    """Commits by SHA, each a whole tree of path → manifests; branches and tags point to them."""

    commits: dict[str, dict[str, Manifests]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    head: str = "main"

    def commit(self, changes: Mapping[str, Manifests], branch: str = "") -> str:
        """Commit onto a branch: these paths are replaced, all others stay; the SHA is returned."""
        branch = branch or self.head
        parent = self.branches.get(branch, "")
        tree = {**self.commits.get(parent, {}), **changes}
        sha = hashlib.sha1(f"{parent}/{branch}/{len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = tree
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str:
        """The SHA of a branch, tag, SHA or beginning of one; empty and HEAD are the default branch."""
        if revision in ("", "HEAD"):
            revision = self.head
        found = self.branches.get(revision) or self.tags.get(revision)
        if found:
            return found
        beginning = [sha for sha in self.commits if len(revision) >= 7 and sha.startswith(revision)]
        if len(beginning) == 1:
            return beginning[0]
        raise SourceError(f"unable to resolve '{revision}' to a commit SHA")

    def manifests(self, sha: str, path: str) -> Manifests:
        """What lies at a path of a commit."""
        tree = self.commits.get(sha)
        if tree is None or path not in tree:
            raise SourceError(f"{path}: app path does not exist")
        return tree[path]


class ChartRepository(Struct):
    """Charts by name, each version with what it renders to; an OCI artifact is the chart "", its versions tags."""

    charts: dict[str, dict[str, Manifests]] = field(default_factory=dict)

    def publish(self, chart: str, version: str, manifests: Manifests) -> None:
        """Make a version available."""
        self.charts.setdefault(chart, {})[version] = manifests

    def resolve(self, chart: str, revision: str) -> str:
        """The newest version that a version or a range asks for; of an OCI artifact its digest."""
        versions = self.charts.get(chart, {})
        if revision in versions:
            return revision if chart else digest_of(revision)
        if not chart and revision in map(digest_of, versions):
            return revision
        fitting = [version for version in versions if _fits(version, revision)]
        if not fitting:
            raise SourceError(f'chart "{chart}" version "{revision}" not found')
        newest = max(fitting, key=_numbers)
        return newest if chart else digest_of(newest)

    def manifests(self, chart: str, version: str) -> Manifests:
        """What one version renders to."""
        there = self.charts[chart]
        return there[version] if chart else {digest_of(tag): there[tag] for tag in there}[version]


def digest_of(tag: str) -> str:
    """The digest of the OCI artifact that a tag means."""
    return f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


class Sources(Struct):
    """All repositories by repoURL, as the repo-server reaches them."""

    git: dict[str, GitRepository] = field(default_factory=dict)
    charts: dict[str, ChartRepository] = field(default_factory=dict)

    def resolve(self, source: JSON, revision: str) -> str:
        """The revision that a source's targetRevision, or the given one, means now."""
        url = source.get("repoURL", "")
        if url in self.charts:
            return self.charts[url].resolve(source.get("chart", ""), revision)
        if url in self.git:
            return self.git[url].resolve(revision)
        raise SourceError(f"repository '{url}' not found")

    def manifests(self, source: JSON, revision: str) -> list[JSON]:
        """What a source renders to at a resolved revision."""
        url = source["repoURL"]
        if source.get("ref") and not source.get("path") and not source.get("chart"):
            return []
        if url in self.charts:
            found = self.charts[url].manifests(source.get("chart", ""), revision)
        else:
            found = self.git[url].manifests(revision, source.get("path", ""))
        return [copied(obj) for obj in (found(source) if callable(found) else found)]


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _fits(version: str, constraint: str) -> bool:
    """Whether a version is in a range: `2.4.*`, `>=2.4 <3`, `~2.4.1`, `^2`, `*` (Masterminds/semver)."""
    number = _numbers(version)
    if not number or "-" in version:
        return False
    return all(_term_fits(number, term) for term in re.split(r"[\s,]+", constraint.strip()) if term)


def _term_fits(number: tuple[int, ...], term: str) -> bool:
    found = re.fullmatch(r"(>=|<=|>|<|=|~|\^)?v?(\d+|[*xX])(?:\.(\d+|[*xX]))?(?:\.(\d+|[*xX]))?", term)
    if found is None:
        return False
    sign = found[1] or ""
    given = [int(part) for part in found.groups()[1:] if part and part.isdigit()]
    low = tuple(given + [0] * (3 - len(given)))
    if sign == ">=":
        return number >= low
    if sign == ">":
        return number > low
    if sign == "<=":
        return number <= low
    if sign == "<":
        return number < low
    kept = {"~": min(len(given), 2), "^": min(len(given), 1)}.get(sign, len(given))
    return number[:kept] == low[:kept] and (number >= low or sign not in ("~", "^"))
