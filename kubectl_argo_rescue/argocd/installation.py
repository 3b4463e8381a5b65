"""One Argo CD as its own objects describe it: version, settings, namespaces that it serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..model.values import JSON, ArgoCD, Tracking, Version, parse_version
from . import globs


def served(app: JSON, argocd: ArgoCD) -> bool:
    """Whether this Argo CD's controller looks at the app's namespace (AC:2747 isAppNamespaceAllowed).

    Where its parameters may not be read that is not known, which is no reason to say no.
    """
    namespace = app["metadata"].get("namespace", "")
    return not argocd.parameters_are_known or globs.is_app_namespace_allowed(
        namespace, argocd.namespace, argocd.application_namespaces, argocd.version
    )


def is_permitted(app: JSON, project: JSON, argocd: ArgoCD) -> bool:
    """Whether a project takes Applications from the app's namespace."""
    namespace = app["metadata"].get("namespace", "")
    patterns = (project.get("spec") or {}).get("sourceNamespaces") or ()
    return globs.is_app_namespace_permitted(namespace, argocd.namespace, patterns, argocd.version)


DEFAULT_NAMESPACE = "argocd"
PART_OF = "app.kubernetes.io/part-of=argocd"


def describe_installation(
    namespace: str,
    settings: Mapping[str, str] | None,
    parameters: Mapping[str, str] | None,
    version: Version | None,
) -> ArgoCD:
    """Read argocd-cm and argocd-cmd-params-cm (Argo CD: util/settings/settings.go).

    Without a method, tracking is by label up to 2.14 and by annotation since 3.0. Both are None
    where they may not be read.
    """
    is_set = settings is not None
    settings, known = settings or {}, parameters or {}
    method = str(settings.get("application.resourceTrackingMethod") or "")
    if method in {t.value for t in Tracking}:
        tracking = Tracking(method)
    else:
        old = version is not None and not version.at_least(3, 0)
        tracking = Tracking.LABEL if old else Tracking.ANNOTATION
    return ArgoCD(
        namespace,
        version,
        tracking,
        str(settings.get("application.instanceLabelKey") or "app.kubernetes.io/instance"),
        str(settings.get("installationID") or ""),
        tuple(p.strip() for p in str(known.get("application.namespaces") or "").split(",") if p.strip()),
        _global_projects(str(settings.get("globalProjects") or "")),
        known,
        tuple(_ignored(settings)),
        is_set,
        parameters is not None,
    )


def _yaml(text: str) -> JSON:
    """Read a setting; None where it cannot be, as Argo CD logs it and goes on without."""
    if not text.strip():
        return None
    import yaml  # lazy: few installations have such settings

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _global_projects(text: str) -> tuple[JSON, ...]:
    parsed = _yaml(text)
    return tuple(p for p in parsed if isinstance(p, dict)) if isinstance(parsed, list) else ()


_IGNORE = "resource.customizations.ignoreDifferences."


def _ignored(settings: Mapping[str, str]) -> Iterator[JSON]:
    """Yield the ignoreDifferences of argocd-cm that concern argoproj.io (settings.go GetResourceOverrides)."""
    found = {
        name[len(_IGNORE) :].replace("_", "/", 1): _yaml(str(text))
        for name, text in settings.items()
        if name.startswith(_IGNORE)
    }
    old = _yaml(str(settings.get("resource.customizations") or ""))
    for name, override in old.items() if isinstance(old, dict) else ():
        if isinstance(override, dict) and override.get("ignoreDifferences"):
            found[str(name)] = _yaml(str(override["ignoreDifferences"]))
    for name, rule in found.items():
        group, _, kind = ("*", "", "*") if name == "all" else name.partition("/")
        if group in ("argoproj.io", "*") and isinstance(rule, dict):
            yield {**rule, "group": group, "kind": kind or "*"}


def controller_version(workloads: Iterable[JSON]) -> Version | None:
    """Read the controller's version from its image tag; of two workloads the one that runs counts."""
    found: Version | None = None
    for o in workloads:
        if not is_controller(o):
            continue
        if (o.get("spec") or {}).get("replicas") == 0:
            continue  # the dynamic distribution leaves an empty StatefulSet beside its Deployment
        template = ((o.get("spec") or {}).get("template") or {}).get("spec") or {}
        for container in template.get("containers") or ():
            image = str(container.get("image") or "").partition("@")[0]
            found = found or parse_version(image.rpartition(":")[2])
    return found


def is_controller(workload: JSON) -> bool:
    """Whether a workload is an application-controller."""
    labels = workload["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/component") == "application-controller")
