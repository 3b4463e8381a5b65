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
VERSION_LABEL = "app.kubernetes.io/version"
APPLICATION_DEFINITION = "applications.argoproj.io"


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
    """Yield the ignoreDifferences of argocd-cm (settings.go GetResourceOverrides)."""
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
        if isinstance(rule, dict):
            yield {**rule, "group": group, "kind": kind or "*"}


def controller_version(workloads: Iterable[JSON]) -> Version | None:
    """Read the controller's version from its image tag, else from its label (an image by digest has no tag).

    Of two workloads the one that runs counts: the dynamic distribution leaves an empty StatefulSet
    beside its Deployment. Frozen, all are empty.
    """
    every = [o for o in workloads if is_controller(o)]
    running = [o for o in every if (o.get("spec") or {}).get("replicas") != 0] or every
    signs = [*(tag for o in running for tag in _tags(o)), *(label for o in running for label in _labels(o))]
    return next((v for v in map(parse_version, signs) if v is not None), None)


def _tags(workload: JSON) -> Iterator[str]:
    template = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        name, _, tag = str(container.get("image") or "").partition("@")[0].rpartition(":")
        if name:
            yield tag


def _labels(workload: JSON) -> Iterator[str]:
    template = (workload.get("spec") or {}).get("template") or {}
    for holder in (template, workload):
        yield str(((holder.get("metadata") or {}).get("labels") or {}).get(VERSION_LABEL) or "")


def suggested_version(definition: JSON) -> Version | None:
    """Tell the release line by the newest field that the CRD of Applications has; None where it has no schema.

    It says what the API server takes, and only suggests what the controller does.
    """
    from .release_fields import BEFORE, FIRST_FIELDS  # lazy: nearly every controller tells by itself

    versions = (definition.get("spec") or {}).get("versions") or [{}]
    schema = (versions[0].get("schema") or {}).get("openAPIV3Schema") or {}
    if not schema.get("properties"):
        return None
    lines = list(FIRST_FIELDS)
    found = [line for line in lines if _has(schema, FIRST_FIELDS[line])]
    said = found[-1] if found else f"{BEFORE} or earlier"
    if found and found[-1] == lines[-1]:
        said += " or later"
    line = (found[-1] if found else BEFORE).partition(" ")[0]
    version = parse_version(line)
    assert version is not None
    return Version(version.major, version.minor, f"{said} (by its CRDs)", is_certain=False)


def _has(schema: JSON, path: str) -> bool:
    for name in path.split("."):
        schema = (schema.get("properties") or {}).get(name)
        if schema is None:
            return False
    return True


def is_controller(workload: JSON) -> bool:
    """Whether a workload is an application-controller."""
    labels = workload["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/component") == "application-controller")
