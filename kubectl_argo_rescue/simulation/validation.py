"""What the API server checks of every object beyond its kind's own schema."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model.values import JSON
from .schemas import FieldError

MAX_ANNOTATIONS = 256 * 1024
"""apimachinery: api/validation/objectmeta.go TotalAnnotationSizeLimitB."""
MAX_CONFIGMAP = 1024 * 1024
"""kubernetes: pkg/apis/core MaxSecretSize, which ConfigMaps share."""


_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY = re.compile(r"([^/]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation "
    r"is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_CONFIGMAP_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_CONFIGMAP_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def _wrong(field: str, value: str, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, f'Invalid value: "{value}": {why}')


def metadata_errors(meta: JSON, old: JSON | None) -> Iterator[FieldError]:
    """apimachinery: api/validation/objectmeta.go."""
    name = meta.get("name", "")
    if old is None:
        if not name:
            body = "Required value: name or generateName is required"
            yield FieldError("FieldValueRequired", "metadata.name", body)
        elif not _NAME.fullmatch(name) or len(name) > 253:
            yield _wrong("metadata.name", name, _NAME_RULE)
    else:
        yield from _update_errors(meta, old)
    for key, value in meta.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key):
            yield _wrong("metadata.labels", key, _LABEL_KEY_RULE)
        if not _LABEL_VALUE.fullmatch(value):
            yield _wrong("metadata.labels", value, _LABEL_VALUE_RULE)
    annotations = meta.get("annotations", {})
    for key in annotations:
        if not _LABEL_KEY.fullmatch(key):
            yield _wrong("metadata.annotations", key, _LABEL_KEY_RULE)
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > MAX_ANNOTATIONS:
        body = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        yield FieldError("FieldValueTooLong", "metadata.annotations", body)


def _update_errors(meta: JSON, old: JSON) -> Iterator[FieldError]:
    """apimachinery: ValidateObjectMetaAccessorUpdate."""
    if old.get("deletionTimestamp"):
        added = [f for f in meta.get("finalizers", []) if f not in old.get("finalizers", [])]
        if added:
            listed = ", ".join(f'"{finalizer}"' for finalizer in added)
            body = (
                "Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}"
            )
            yield FieldError("FieldValueForbidden", "metadata.finalizers", body)
    for name in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if meta.get(name) != old.get(name):
            yield _wrong(f"metadata.{name}", meta.get(name), "field is immutable")


def configmap_errors(obj: JSON, current: JSON | None) -> Iterator[FieldError]:
    """kubernetes: pkg/apis/core/validation ValidateConfigMap and ValidateConfigMapUpdate."""
    if current is not None and current.get("immutable"):
        if not obj.get("immutable"):
            body = "Forbidden: field is immutable when `immutable` is set"
            yield FieldError("FieldValueForbidden", "immutable", body)
        for name in ("data", "binaryData"):
            if obj.get(name) != current.get(name):
                body = "Forbidden: field is immutable when `immutable` is set"
                yield FieldError("FieldValueForbidden", name, body)
    for key in sorted(set(obj.get("data") or ()) & set(obj.get("binaryData") or ())):
        yield _wrong(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = 0
    for name in ("data", "binaryData"):
        for key, value in (obj.get(name) or {}).items():
            size += len(value.encode())
            if not _CONFIGMAP_KEY.fullmatch(key):
                yield _wrong(f"{name}[{key}]", key, _CONFIGMAP_KEY_RULE)
    if size > MAX_CONFIGMAP:
        body = f"Too long: may not be more than {MAX_CONFIGMAP} bytes"
        yield FieldError("FieldValueTooLong", "[]", body)
