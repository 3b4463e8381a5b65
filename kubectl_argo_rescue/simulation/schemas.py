"""What the API server knows of the fields of each kind: names, types, what is required.

Written down by name from the kinds' own documentation; deep enough for what an incident touches.
From it come the answers to unknown fields, missing fields and wrong types, and the schema in the
simulated CustomResourceDefinitions.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

JSONSchema = dict[str, Any]
"""A structural schema as in a CustomResourceDefinition."""

TEXT: Final[JSONSchema] = {"type": "string"}
TIME: Final[JSONSchema] = {"type": "string", "format": "date-time"}
FLAG: Final[JSONSchema] = {"type": "boolean"}
WHOLE: Final[JSONSchema] = {"type": "integer", "format": "int64"}
INT_OR_TEXT: Final[JSONSchema] = {"x-kubernetes-int-or-string": True}
OPEN: Final[JSONSchema] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
ANYTHING: Final[JSONSchema] = {"x-kubernetes-preserve-unknown-fields": True}


def fields(*required: str, **properties: JSONSchema) -> JSONSchema:
    """An object with these fields and no others."""
    found: JSONSchema = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    return found


def array(items: JSONSchema) -> JSONSchema:
    """A list of such items."""
    return {"type": "array", "items": items}


def mapping(values: JSONSchema) -> JSONSchema:
    """An object with any keys and such values."""
    return {"type": "object", "additionalProperties": values}


def one_of(*values: str) -> JSONSchema:
    """A string out of a list."""
    return {"type": "string", "enum": list(values)}


def limited(length: int) -> JSONSchema:
    """A string of at most so many characters."""
    return {"type": "string", "maxLength": length}


_TEXTS = array(TEXT)
_NAME_VALUE = fields("name", "value", name=TEXT, value=TEXT)
_JSONNET_VARIABLE = fields("name", "value", code=FLAG, name=TEXT, value=TEXT)

SOURCE = fields(
    "repoURL",
    repoURL=TEXT,
    path=TEXT,
    chart=TEXT,
    targetRevision=TEXT,
    ref=TEXT,
    name=TEXT,
    directory=fields(
        exclude=TEXT,
        include=TEXT,
        recurse=FLAG,
        jsonnet=fields(extVars=array(_JSONNET_VARIABLE), tlas=array(_JSONNET_VARIABLE), libs=_TEXTS),
    ),
    helm=fields(
        apiVersions=_TEXTS,
        fileParameters=array(fields(name=TEXT, path=TEXT)),
        ignoreMissingValueFiles=FLAG,
        kubeVersion=TEXT,
        namespace=TEXT,
        parameters=array(fields(forceString=FLAG, name=TEXT, value=TEXT)),
        passCredentials=FLAG,
        releaseName=TEXT,
        skipCrds=FLAG,
        skipSchemaValidation=FLAG,
        skipTests=FLAG,
        valueFiles=_TEXTS,
        values=TEXT,
        valuesObject=OPEN,
        version=TEXT,
    ),
    kustomize=fields(
        apiVersions=_TEXTS,
        commonAnnotations=mapping(TEXT),
        commonAnnotationsEnvsubst=FLAG,
        commonLabels=mapping(TEXT),
        components=_TEXTS,
        forceCommonAnnotations=FLAG,
        forceCommonLabels=FLAG,
        ignoreMissingComponents=FLAG,
        images=_TEXTS,
        kubeVersion=TEXT,
        labelIncludeTemplates=FLAG,
        labelWithoutSelector=FLAG,
        namePrefix=TEXT,
        nameSuffix=TEXT,
        namespace=TEXT,
        patches=array(
            fields(
                options=mapping(FLAG),
                patch=TEXT,
                path=TEXT,
                target=fields(
                    annotationSelector=TEXT,
                    group=TEXT,
                    kind=TEXT,
                    labelSelector=TEXT,
                    name=TEXT,
                    namespace=TEXT,
                    version=TEXT,
                ),
            )
        ),
        replicas=array(fields("count", "name", count=INT_OR_TEXT, name=TEXT)),
        version=TEXT,
    ),
    plugin=fields(
        env=array(_NAME_VALUE),
        name=TEXT,
        parameters=array(fields(array=_TEXTS, map=mapping(TEXT), name=TEXT, string=TEXT)),
    ),
)

_DESTINATION = fields(name=TEXT, namespace=TEXT, server=TEXT)
_IGNORE_DIFFERENCES = array(
    fields(
        "kind",
        group=TEXT,
        kind=TEXT,
        name=TEXT,
        namespace=TEXT,
        jsonPointers=_TEXTS,
        jqPathExpressions=_TEXTS,
        managedFieldsManagers=_TEXTS,
    )
)
_RETRY = fields(backoff=fields(duration=TEXT, factor=WHOLE, maxDuration=TEXT), limit=WHOLE, refresh=FLAG)
_HYDRATOR = fields(
    "drySource",
    "syncSource",
    drySource=fields("path", "repoURL", "targetRevision", path=TEXT, repoURL=TEXT, targetRevision=TEXT),
    hydrateTo=fields("targetBranch", targetBranch=TEXT),
    syncSource=fields("path", "targetBranch", path=TEXT, targetBranch=TEXT),
)

APPLICATION_SPEC = fields(
    "destination",
    "project",
    destination=_DESTINATION,
    project=TEXT,
    source=SOURCE,
    sources=array(SOURCE),
    sourceHydrator=_HYDRATOR,
    syncPolicy=fields(
        automated=fields(allowEmpty=FLAG, enabled=FLAG, prune=FLAG, selfHeal=FLAG),
        managedNamespaceMetadata=fields(annotations=mapping(TEXT), labels=mapping(TEXT)),
        retry=_RETRY,
        syncOptions=_TEXTS,
    ),
    ignoreDifferences=_IGNORE_DIFFERENCES,
    info=array(_NAME_VALUE),
    revisionHistoryLimit=WHOLE,
)

_INITIATOR = fields(automated=FLAG, username=TEXT)

OPERATION = fields(
    info=array(_NAME_VALUE),
    initiatedBy=_INITIATOR,
    retry=_RETRY,
    sync=fields(
        autoHealAttemptsCount=WHOLE,
        dryRun=FLAG,
        manifests=_TEXTS,
        prune=FLAG,
        resources=array(fields("kind", "name", group=TEXT, kind=TEXT, name=TEXT, namespace=TEXT)),
        revision=TEXT,
        revisions=_TEXTS,
        source=SOURCE,
        sources=array(SOURCE),
        syncOptions=_TEXTS,
        syncStrategy=fields(apply=fields(force=FLAG), hook=fields(force=FLAG)),
    ),
)

_HEALTH = fields(lastTransitionTime=TIME, message=TEXT, status=TEXT)
_RESOURCE_STATUSES = array(
    fields(
        group=TEXT,
        version=TEXT,
        kind=TEXT,
        namespace=TEXT,
        name=TEXT,
        status=TEXT,
        health=_HEALTH,
        hook=FLAG,
        requiresDeletionConfirmation=FLAG,
        requiresPruning=FLAG,
        syncWave=WHOLE,
    )
)

APPLICATION = fields(
    "metadata",
    "spec",
    apiVersion=TEXT,
    kind=TEXT,
    metadata={"type": "object"},
    operation=OPERATION,
    spec=APPLICATION_SPEC,
    status=fields(
        conditions=array(fields("message", "type", lastTransitionTime=TIME, message=TEXT, type=TEXT)),
        controllerNamespace=TEXT,
        health=_HEALTH,
        history=array(
            fields(
                "deployedAt",
                "id",
                deployStartedAt=TIME,
                deployedAt=TIME,
                id=WHOLE,
                initiatedBy=_INITIATOR,
                revision=TEXT,
                revisions=_TEXTS,
                source=SOURCE,
                sources=array(SOURCE),
            )
        ),
        observedAt=TIME,
        operationState=fields(
            "operation",
            "phase",
            "startedAt",
            finishedAt=TIME,
            message=TEXT,
            operation=OPERATION,
            phase=TEXT,
            retryCount=WHOLE,
            startedAt=TIME,
            syncResult=fields(
                "revision",
                managedNamespaceMetadata=fields(annotations=mapping(TEXT), labels=mapping(TEXT)),
                resources=array(
                    fields(
                        "group",
                        "kind",
                        "name",
                        "namespace",
                        "version",
                        group=TEXT,
                        hookPhase=TEXT,
                        hookType=TEXT,
                        images=_TEXTS,
                        kind=TEXT,
                        message=TEXT,
                        name=TEXT,
                        namespace=TEXT,
                        status=TEXT,
                        syncPhase=TEXT,
                        version=TEXT,
                    )
                ),
                revision=TEXT,
                revisions=_TEXTS,
                source=SOURCE,
                sources=array(SOURCE),
            ),
        ),
        reconciledAt=TIME,
        resourceHealthSource=TEXT,
        resources=_RESOURCE_STATUSES,
        sourceHydrator=OPEN,
        sourceType=TEXT,
        sourceTypes=_TEXTS,
        summary=fields(externalURLs=_TEXTS, images=_TEXTS),
        sync=fields(
            "status",
            comparedTo=fields(
                "destination",
                destination=_DESTINATION,
                ignoreDifferences=_IGNORE_DIFFERENCES,
                source=SOURCE,
                sources=array(SOURCE),
            ),
            revision=TEXT,
            revisions=_TEXTS,
            status=TEXT,
        ),
    ),
)

_GROUP_KINDS = array(fields("group", "kind", group=TEXT, kind=TEXT))
_TOKENS = array(fields("iat", exp=WHOLE, iat=WHOLE, id=TEXT))

APPPROJECT = fields(
    "metadata",
    "spec",
    apiVersion=TEXT,
    kind=TEXT,
    metadata={"type": "object"},
    spec=fields(
        clusterResourceBlacklist=_GROUP_KINDS,
        clusterResourceWhitelist=_GROUP_KINDS,
        description=limited(255),
        destinationServiceAccounts=array(
            fields("defaultServiceAccount", "server", defaultServiceAccount=TEXT, namespace=TEXT, server=TEXT)
        ),
        destinations=array(_DESTINATION),
        namespaceResourceBlacklist=_GROUP_KINDS,
        namespaceResourceWhitelist=_GROUP_KINDS,
        orphanedResources=fields(ignore=array(fields(group=TEXT, kind=TEXT, name=TEXT)), warn=FLAG),
        permitOnlyProjectScopedClusters=FLAG,
        roles=array(
            fields("name", description=TEXT, groups=_TEXTS, jwtTokens=_TOKENS, name=TEXT, policies=_TEXTS)
        ),
        signatureKeys=array(fields("keyID", keyID=TEXT)),
        sourceNamespaces=_TEXTS,
        sourceRepos=_TEXTS,
        syncWindows=array(
            fields(
                andOperator=FLAG,
                applications=_TEXTS,
                clusters=_TEXTS,
                description=TEXT,
                duration=TEXT,
                kind=TEXT,
                manualSync=FLAG,
                namespaces=_TEXTS,
                schedule=TEXT,
                timeZone=TEXT,
            )
        ),
    ),
    status=fields(jwtTokensByRole=mapping(fields(items=_TOKENS))),
)

_TEMPLATE = fields(
    "metadata",
    "spec",
    metadata=fields(
        annotations=mapping(TEXT), finalizers=_TEXTS, labels=mapping(TEXT), name=TEXT, namespace=TEXT
    ),
    spec=APPLICATION_SPEC,
)

APPLICATIONSET = fields(
    "metadata",
    "spec",
    apiVersion=TEXT,
    kind=TEXT,
    metadata={"type": "object"},
    spec=fields(
        "generators",
        "template",
        applyNestedSelectors=FLAG,
        generators=array(OPEN),
        goTemplate=FLAG,
        goTemplateOptions=_TEXTS,
        ignoreApplicationDifferences=array(fields(jqPathExpressions=_TEXTS, jsonPointers=_TEXTS, name=TEXT)),
        preservedFields=fields(annotations=_TEXTS, labels=_TEXTS),
        strategy=fields(
            deletionOrder=TEXT,
            rollingSync=fields(
                steps=array(
                    fields(
                        matchExpressions=array(fields(key=TEXT, operator=TEXT, values=_TEXTS)),
                        maxUpdate=INT_OR_TEXT,
                    )
                )
            ),
            type=TEXT,
        ),
        syncPolicy=fields(
            applicationsSync=one_of("create-only", "create-update", "create-delete", "sync"),
            preserveResourcesOnDeletion=FLAG,
        ),
        template=_TEMPLATE,
        templatePatch=TEXT,
    ),
    status=fields(
        applicationStatus=array(
            fields(
                "application",
                "message",
                "status",
                "step",
                "targetRevisions",
                application=TEXT,
                lastTransitionTime=TIME,
                message=TEXT,
                status=TEXT,
                step=TEXT,
                targetRevisions=_TEXTS,
            )
        ),
        conditions=array(
            fields(
                "message",
                "reason",
                "status",
                "type",
                lastTransitionTime=TIME,
                message=TEXT,
                reason=TEXT,
                status=TEXT,
                type=TEXT,
            )
        ),
        resources=_RESOURCE_STATUSES,
        resourcesCount=WHOLE,
    ),
)

CONFIGMAP = fields(
    apiVersion=TEXT,
    kind=TEXT,
    metadata={"type": "object"},
    data=mapping(TEXT),
    binaryData=mapping(TEXT),
    immutable=FLAG,
)

METADATA = fields(
    annotations=mapping(TEXT),
    creationTimestamp=TIME,
    deletionGracePeriodSeconds=WHOLE,
    deletionTimestamp=TIME,
    finalizers=_TEXTS,
    generateName=TEXT,
    generation=WHOLE,
    labels=mapping(TEXT),
    managedFields=array(ANYTHING),
    name=TEXT,
    namespace=TEXT,
    ownerReferences=array(
        fields(
            apiVersion=TEXT,
            blockOwnerDeletion=FLAG,
            controller=FLAG,
            kind=TEXT,
            name=TEXT,
            uid=TEXT,
        )
    ),
    resourceVersion=TEXT,
    selfLink=TEXT,
    uid=TEXT,
)


def without(schema: JSONSchema, *path: str) -> JSONSchema:
    """The schema as an older release had it: that field not there."""
    found = copy.deepcopy(schema)
    here = found
    for name in path[:-1]:
        here = here["items"] if name == "items" else here["properties"][name]
    del here["properties"][path[-1]]
    return found


@dataclass(frozen=True, slots=True)
class FieldError:
    """One entry of `details.causes` (apimachinery: util/validation/field/errors.go)."""

    reason: str
    field: str
    body: str


_TYPE_WORDS: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d([.,]\d+)?([Zz]|[+-]\d\d:?\d\d)?")
_FITS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}


def _fits(value: Any, expected: str) -> bool:
    if isinstance(value, bool):
        return expected == "boolean"
    if expected == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _FITS[expected])


def _inside(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


_GO_TEXTS = frozenset({"data", "metadata.annotations", "metadata.labels"})
"""Decoded into Go's map[string]string, where null is the empty string."""


def prune(value: Any, schema: JSONSchema, path: str = "") -> tuple[Any, list[str]]:
    """Drop unknown fields and nulls, and name the unknown ones.

    apiextensions: pruning.PruneWithOptions, defaulting.PruneNonNullableNullsWithoutDefaults.
    """
    unknown: list[str] = []
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value, unknown
    if isinstance(value, list) and "items" in schema:
        items = []
        for index, item in enumerate(value):
            kept, found = prune(item, schema["items"], f"{path}[{index}]")
            items.append(kept)
            unknown += found
        return items, unknown
    if isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
        properties: Mapping[str, JSONSchema] = schema.get("properties", {})
        values: JSONSchema | None = schema.get("additionalProperties")
        fields_kept = {}
        for key, item in value.items():
            inner = properties.get(key, values)
            if inner is None:
                unknown.append(_inside(path, key))
            elif item is None and inner is TEXT and values is TEXT and path in _GO_TEXTS:
                fields_kept[key] = ""
            elif item is not None:
                fields_kept[key], found = prune(item, inner, _inside(path, key))
                unknown += found
        return fields_kept, unknown
    return value, unknown


def check(value: Any, schema: JSONSchema, path: str = "") -> Iterator[FieldError]:
    """What kube-openapi's validation says of the value (apiextensions: validation.ValidateCustomResource)."""
    expected = schema.get("type")
    if expected == "integer" and isinstance(value, float) and not value.is_integer():
        said = f'{path} in body must be of type int64: "float64"'
        yield FieldError("FieldValueTypeInvalid", path, f'Invalid value: "float64": {said}')
        said = f"Checked value must be of type integer with format int64 in {path}"
        yield FieldError("FieldValueInvalid", "<nil>", f'Invalid value: "": {said}')
        return
    if expected is not None and not _fits(value, expected):
        word = _TYPE_WORDS[type(value)]
        said = f'{path or "<nil>"} in body must be of type {expected}: "{word}"'
        yield FieldError("FieldValueTypeInvalid", path or "<nil>", f'Invalid value: "{word}": {said}')
        return
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                yield FieldError("FieldValueRequired", _inside(path, name), "Required value")
        properties = schema.get("properties", {})
        for key in sorted(value):
            inner = properties.get(key, schema.get("additionalProperties"))
            if inner is not None:
                yield from check(value[key], inner, _inside(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from check(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, str):
        if schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value):
            body = f'Invalid value: "{value}": {path} in body must be of type date-time: "{value}"'
            yield FieldError("FieldValueTypeInvalid", path, body)
        if "enum" in schema and value not in schema["enum"]:
            listed = ", ".join(f'"{word}"' for word in schema["enum"])
            body = f'Unsupported value: "{value}": supported values: {listed}'
            yield FieldError("FieldValueNotSupported", path, body)
        if len(value) > schema.get("maxLength", len(value)):
            body = f"Too long: may not be more than {schema['maxLength']} bytes"
            yield FieldError("FieldValueTooLong", path, body)
