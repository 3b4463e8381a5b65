"""`get` at the drill's prompt: the few reads that one does with kubectl, from the simulated cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ..argocd.application import parse_time
from ..model import values
from ..model.errors import NotFound, UsageError
from ..model.text import columns
from ..model.times import human
from ..model.values import JSON, Resource
from .stage import SimulatedStage

_NAMES: dict[str, Resource] = {
    **dict.fromkeys(("app", "apps", "application", "applications", "applications.argoproj.io"), values.APPLICATION),
    **dict.fromkeys(("appproj", "appprojs", "appproject", "appprojects", "appprojects.argoproj.io"), values.APPPROJECT),
    **dict.fromkeys(
        ("appset", "appsets", "applicationset", "applicationsets", "applicationsets.argoproj.io"), values.APPLICATIONSET
    ),
    **dict.fromkeys(("deploy", "deployment", "deployments", "deployments.apps"), values.DEPLOYMENT),
    **dict.fromkeys(("rs", "replicaset", "replicasets", "replicasets.apps"), values.REPLICASET),
    **dict.fromkeys(("cm", "configmap", "configmaps"), values.CONFIGMAP),
    **dict.fromkeys(("ev", "event", "events"), values.EVENT),
}  # fmt: skip

KINDS = ("app", "appproj", "appset", "deploy", "rs", "cm", "events")


def get(stage: SimulatedStage, words: Sequence[str]) -> str:
    """Return what `kubectl get …` would print. Raises UsageError and NotFound."""
    form, namespace, asked, api = "", "", [], stage.api
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-o", "--output", "-n", "--namespace"):
            if not rest:
                raise UsageError(f"{word} needs a value")
            value = rest.pop(0)
            form, namespace = (value, namespace) if word in ("-o", "--output") else (form, value)
        elif word.startswith(("-o", "--output=")):
            form = word.removeprefix("--output=").removeprefix("-o").removeprefix("=")
        elif word.startswith(("-n", "--namespace=")):
            namespace = word.removeprefix("--namespace=").removeprefix("-n").removeprefix("=")
        elif word.partition("=")[0] == "--context":
            name = word.partition("=")[2] or (rest.pop(0) if rest else "")
            if name not in stage.apis:
                raise UsageError(f"there is no context {name}", f"there is {' and '.join(stage.apis)}")
            api = stage.apis[name]
        elif word in ("-A", "--all-namespaces"):
            namespace = ""
        elif word.startswith("-"):
            raise UsageError(
                f"get does not know {word} here", "it knows -o yaml|json|name|wide, -n and --context"
            )
        else:
            asked.append(word)
    if form not in ("", "wide", "yaml", "json", "name"):
        raise UsageError(f"get does not know -o {form} here", "it knows yaml, json, name and wide")
    if asked and "/" in asked[0]:
        asked[:1] = asked[0].split("/", 1)
    if not asked or asked[0].lower() not in _NAMES:
        what = f"the drill has no {asked[0]}" if asked else "get what?"
        raise UsageError(what, f"it has {', '.join(KINDS)}")
    resource, names = _NAMES[asked[0].lower()], asked[1:]
    found = [obj for obj in api.objects(resource, namespace) if not names or obj["metadata"]["name"] in names]
    missing = [name for name in names if name not in {obj["metadata"]["name"] for obj in found}]
    if missing:
        raise NotFound(
            f"{resource.plural}.{resource.group} {missing[0]!r} not found".replace(". ", " "), status=404
        )
    return _shown(stage, resource, found, form, single=len(names) == 1 and len(found) == 1)


def _shown(stage: SimulatedStage, resource: Resource, found: list[JSON], form: str, *, single: bool) -> str:
    if form == "name":
        return "\n".join(f"{resource.singular}/{obj['metadata']['name']}" for obj in found)
    if form in ("yaml", "json"):
        document = found[0] if single else {"apiVersion": "v1", "items": found, "kind": "List"}
        if form == "json":
            return json.dumps(document, indent=2)
        import yaml  # lazy: only -o yaml needs it

        text: str = yaml.safe_dump(document, sort_keys=False)
        return text.rstrip()
    if not found:
        return "No resources found."
    header, row = _TABLES.get(resource.kind, ((), lambda obj: ()))
    rows = [
        (
            obj["metadata"].get("namespace", ""),
            obj["metadata"]["name"],
            *row(obj),
            _age(stage, obj),
        )
        for obj in found
    ]
    return "\n".join(columns(rows, ("NAMESPACE", "NAME", *header, "AGE")))


def _age(stage: SimulatedStage, obj: JSON) -> str:
    created = parse_time(obj["metadata"].get("creationTimestamp"))
    return human(stage.now() - created) if created else ""


def _application(obj: JSON) -> tuple[str, ...]:
    status = obj.get("status") or {}
    source = obj["spec"].get("source") or {}
    return (
        (status.get("sync") or {}).get("status", ""),
        (status.get("health") or {}).get("status", ""),
        str(source.get("targetRevision", "")),
    )


def _deployment(obj: JSON) -> tuple[str, ...]:
    status = obj.get("status") or {}
    images = [container["image"] for container in obj["spec"]["template"]["spec"]["containers"]]
    return (
        f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}",
        str(status.get("updatedReplicas", 0)),
        str(status.get("availableReplicas", 0)),
        ",".join(images),
    )


def _replica_set(obj: JSON) -> tuple[str, ...]:
    status = obj.get("status") or {}
    images = [container["image"] for container in obj["spec"]["template"]["spec"]["containers"]]
    counts = (obj["spec"].get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0))
    return (*map(str, counts), ",".join(images))


def _event(obj: JSON) -> tuple[str, ...]:
    about = obj.get("involvedObject") or {}
    name = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    return (obj.get("reason", ""), name, obj.get("message", ""))


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[JSON], tuple[str, ...]]]] = {
    "Application": (("SYNC STATUS", "HEALTH STATUS", "TARGET REVISION"), _application),
    "Deployment": (("READY", "UP-TO-DATE", "AVAILABLE", "IMAGES"), _deployment),
    "ReplicaSet": (("DESIRED", "CURRENT", "READY", "IMAGES"), _replica_set),
    "Event": (("REASON", "OBJECT", "MESSAGE"), _event),
}
