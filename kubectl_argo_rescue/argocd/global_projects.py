"""Global projects: which AppProjects lend their windows to which others, by argocd-cm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from ..model.values import JSON

# -- which windows count


def global_projects_of(
    project: JSON, all_projects: Iterable[JSON], global_projects: Sequence[JSON]
) -> tuple[JSON, ...]:
    """Find the global projects whose windows count for `project` as well, in Argo CD's order.

    Args:
        project: the AppProject.
        all_projects: the AppProjects of Argo CD's namespace.
        global_projects: argocd-cm `globalProjects`, decoded (`ArgoCD.global_projects`).

    Returns:
        The projects; none at all where one entry cannot be decoded, and only those before an entry
        whose selector is invalid or whose project does not exist.

    Argo CD: util/argo/argo.go GetGlobalProjects
    """
    by_name = {other["metadata"]["name"]: other for other in all_projects}
    labels = project["metadata"].get("labels") or {}
    try:
        entries = [_GlobalProject.decode(entry) for entry in global_projects]
    except ValueError:
        return ()
    found: list[JSON] = []
    for entry in entries:
        if entry.name == project["metadata"]["name"]:
            continue
        if not entry.is_valid():
            break
        if not entry.selects(labels):
            continue
        if entry.name not in by_name:
            break
        found.append(by_name[entry.name])
    return tuple(found)


_QUALIFIED: Final = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_ARITY: Final = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}


class _GlobalProject(Struct, frozen=True):
    """One entry of `globalProjects`; `requirements` are (key, operator, values)."""

    name: str
    requirements: tuple[tuple[str, str, tuple[str, ...]], ...]

    @classmethod
    def decode(cls, entry: JSON) -> _GlobalProject:
        """Decode as sigs.k8s.io/yaml does: scalars become strings where strings are wanted."""
        selector = _mapping(_member(entry, "labelSelector"))
        expressions = _member(selector, "matchExpressions") or []
        if not isinstance(expressions, list):
            raise ValueError("matchExpressions is no list")
        requirements: list[tuple[str, str, tuple[str, ...]]] = [
            (_scalar(key), "In", (_scalar(value),))
            for key, value in _mapping(_member(selector, "matchLabels")).items()
        ]
        for expression in expressions:
            values = _member(expression, "values") or []
            if not isinstance(values, list):
                raise ValueError("values is no list")
            key, operator = (_scalar(_member(expression, name)) for name in ("key", "operator"))
            requirements.append((key, operator, tuple(map(_scalar, values))))
        return cls(_scalar(_member(entry, "projectName")), tuple(requirements))

    def is_valid(self) -> bool:
        """Kubernetes: apimachinery pkg/labels/selector.go NewRequirement."""
        return all(
            _is_label_key(key)
            and _ARITY.get(operator) is bool(values)
            and all(len(value) <= 63 and (not value or re.fullmatch(_QUALIFIED, value)) for value in values)
            for key, operator, values in self.requirements
        )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Kubernetes: apimachinery pkg/labels/selector.go Requirement.Matches; empty selects all."""
        return all(
            {
                "In": labels.get(key) in values,
                "NotIn": labels.get(key) not in values,
                "Exists": key in labels,
                "DoesNotExist": key not in labels,
            }[operator]
            for key, operator, values in self.requirements
        )


def _mapping(value: JSON) -> Mapping[str, JSON]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("no mapping")
    return value


def _member(value: JSON, name: str) -> JSON:
    """Go's encoding/json takes a key in any case, the exact one first."""
    members = _mapping(value)
    if name in members:
        return members[name]
    return next((item for key, item in members.items() if str(key).lower() == name.lower()), None)


def _scalar(value: JSON) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        raise ValueError("no scalar")
    return str(value)


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and re.fullmatch(_SUBDOMAIN, prefix)):
        return False
    return len(name) <= 63 and re.fullmatch(_QUALIFIED, name) is not None
