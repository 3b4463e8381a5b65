"""Globs as Argo CD matches names with them, by the version of its gobwas/glob and without separators."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ..model.values import Version

if TYPE_CHECKING:
    from .gobwas import Node


def match(pattern: str, text: str, version: Version | None = None) -> bool:
    """Say whether `pattern` matches the whole of `text`; a pattern that does not compile never does.

    Args:
        pattern: `*` and `**` (any text, `/` as well), `?`, `[abc]`, `[a-z]`, `[!a]`, `{a,b}`, and
            a backslash before a character that shall stand for itself.
        text: a name, a namespace, a server's URL.
        version: Argo CD's, since 3.6 has another gobwas/glob; None for the newest.

    Argo CD: util/glob/glob.go Match, app_project_types.go globMatch (without negation)
    """
    if pattern == "*":
        return True
    if is_literal(pattern) and pattern.isascii():
        return pattern == text
    from .gobwas import GlobError, GlobPanic  # lazy: most patterns are literal

    try:
        return compile(pattern, _is_newer_than_3_5(version))(text)
    except (GlobError, GlobPanic):
        return False


def _is_newer_than_3_5(version: Version | None) -> bool:
    return version is None or version.at_least(3, 6)


@lru_cache(maxsize=4096)
def compile(pattern: str, is_strict: bool = True) -> Callable[[str], bool]:
    """Compile a pattern into a test of one text.

    Args:
        pattern: the glob.
        is_strict: as gobwas/glob v1.0.0 (Argo CD 3.6), else as v0.2.3, whose test may raise GlobPanic.

    Raises:
        GlobError: gobwas refuses the pattern.

    gobwas/glob: glob.go Compile
    """
    from . import gobwas  # lazy: most patterns are literal

    tree = gobwas.parse(pattern, is_strict=is_strict)
    if is_strict:
        return lambda text: len(text) in _ends(tree, text, {0})
    matcher = gobwas.compile_faulty(tree)
    return lambda text: matcher.match(text.encode(errors="replace"))


def _ends(node: Node, text: str, starts: set[int]) -> set[int]:
    """Tell where a piece of a pattern may end if it may begin at `starts`.

    What gobwas v1.0.0 matches is what its documentation says, so no port is needed; and not `re`,
    which takes ages over nested stars.
    """
    from .gobwas import Kind  # lazy: loaded by now

    if node.kind is Kind.PATTERN:
        for child in node.children:
            starts = _ends(child, text, starts)
        return starts
    if node.kind is Kind.ANY_OF:
        return {end for child in node.children for end in _ends(child, text, starts)}
    if node.kind in {Kind.ANY, Kind.SUPER}:
        return set(range(min(starts), len(text) + 1)) if starts else starts
    if node.kind is Kind.TEXT:
        return {at + len(node.text) for at in starts if text.startswith(node.text, at)}
    return {at + 1 for at in starts if at < len(text) and _is_allowed(node, text[at])}


def _is_allowed(node: Node, char: str) -> bool:
    from .gobwas import Kind  # lazy: loaded by now

    if node.kind is Kind.RANGE:
        return (node.text[0] <= char <= node.text[1]) is not node.is_not
    return node.kind is Kind.SINGLE or (char in node.text) is not node.is_not


def is_literal(pattern: str) -> bool:
    """Say whether `pattern` can match itself only: it has none of a glob's special characters."""
    return not set(pattern) & set("*?\\[]{}")


def match_list(patterns: Iterable[str], text: str, version: Version | None = None) -> bool:
    """Say whether any entry matches: a glob, or since 2.12 `/a regular expression/`.

    Argo CD: util/glob/list.go MatchStringInList with REGEXP
    """
    has_regex = version is None or version.at_least(2, 12)
    return any(
        match(entry, text, version) or (has_regex and _match_regex(entry, text, version))
        for entry in patterns
    )


def is_app_namespace_allowed(
    namespace: str, argocd_namespace: str, patterns: Iterable[str], version: Version | None = None
) -> bool:
    """Say whether Argo CD serves Applications in `namespace` at all.

    Args:
        namespace: the Application's.
        argocd_namespace: the controller's own, which needs no entry.
        patterns: the entries of `application.namespaces`.
        version: Argo CD's.

    Argo CD: controller/appcontroller.go isAppNamespaceAllowed
    """
    return namespace == argocd_namespace or match_list(patterns, namespace, version)


def is_app_namespace_permitted(
    namespace: str, argocd_namespace: str, patterns: Iterable[str], version: Version | None = None
) -> bool:
    """Say whether a project takes Applications from `namespace`.

    Args:
        namespace: the Application's; empty means that it will be Argo CD's.
        argocd_namespace: Argo CD's own, which is always permitted.
        patterns: the project's `spec.sourceNamespaces`.
        version: Argo CD's.

    Argo CD: pkg/apis/application/v1alpha1/app_project_types.go IsAppNamespacePermitted
    """
    return namespace in {"", argocd_namespace} or match_list(patterns, namespace, version)


# .NET's spelling, which regexp2 reads, to Python's. What Python has not (\p{L}, balancing groups) does
# not compile and is then no match, which for the name of a namespace costs nothing.
_DOTNET: Final = ((r"\(\?<(?![=!])", "(?P<"), (r"\\Z", r"(?=\\n?\\Z)"), (r"\\z", r"\\Z"))


def _match_regex(entry: str, text: str, version: Version | None) -> bool:
    """Argo CD: util/regex/regex.go Match, not anchored."""
    # Before 3.6 "//" matches everything, and a lone "/" makes Argo CD panic.
    if len(entry) < (3 if _is_newer_than_3_5(version) else 2):
        return False
    if not (entry.startswith("/") and entry.endswith("/")):
        return False
    expression = entry[1:-1]
    for dotnet, python in _DOTNET:
        expression = re.sub(dotnet, python, expression)
    try:
        return re.search(expression, text) is not None
    except re.error:
        return False
