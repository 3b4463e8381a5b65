"""How the in-memory API takes writes: in the order and with the refusals of kube-apiserver."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from datetime import datetime

from ..cluster.transport import Response
from ..model import values
from ..model.values import JSON, Resource
from . import schemas
from .jsonpatch_go import (
    MAX_OPERATIONS,
    MalformedPatch,
    PatchNotApplied,
    apply_merge_patch,
    apply_patch,
    go_json,
    operations_of,
    strict_errors,
)
from .kinds import Kind
from .schemas import FieldError
from .status import (
    StatusError,
    already_exists,
    bad_request,
    conflict,
    details_of,
    invalid,
    invalid_patch,
    method_not_allowed,
    not_found,
    patch_not_applied,
    too_large,
    unsupported_media,
)
from .store import Store
from .validation import configmap_errors, metadata_errors
from .wire import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Call,
    Mutating,
    answer,
    copied,
    decoded,
    normal,
    partial,
    pruned,
    texts,
    timestamp,
)


class Writer:
    """Creates, changes and deletes objects of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime], changed: threading.Condition) -> None:
        """`changed` is notified after every write; its lock is held by the caller."""
        self._store = store
        self._clock = clock
        self._changed = changed
        self._created = 0
        self.mutating: list[Mutating] = []

    def existing(self, call: Call) -> JSON:
        """The stored object, or 404."""
        found = self._store.get(call.resource, call.namespace, call.name)
        if found is None:
            raise not_found(call.resource, call.name)
        return found

    def shown(self, call: Call, status: int, obj: JSON) -> Response:
        """The answer with an object, and the warnings."""
        headers = {}
        if call.warnings:
            texts = (json.dumps(text, ensure_ascii=False) for text in call.warnings)
            headers["warning"] = ", ".join(f"299 - {text}" for text in texts)
        return answer(status, partial(call, obj), headers)

    def post(self, call: Call) -> Response:
        """Create."""
        self._check_options(call, "CreateOptions")
        obj = self._given(call)
        self._check_types(call, obj)
        meta = obj.setdefault("metadata", {})
        for name in (
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
            "managedFields",
        ):
            meta.pop(name, None)
        if call.resource.namespaced:
            self._check_namespace(call, meta)
        if meta.pop("resourceVersion", ""):
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        if call.kind.has_status:
            obj.pop("status", None)
        if call.resource == values.NAMESPACE:
            obj |= new_namespace(meta)
        obj = self._admitted(obj)
        self._validate(call, obj)
        if self._store.get(call.resource, call.namespace, meta["name"]) is not None:
            raise already_exists(call.resource, meta["name"])
        born = self.born(call.kind, normal(obj))
        if not call.dry_run:
            born = self.stored(call.resource, born)
        return self.shown(call, 201, born)

    @staticmethod
    def _given(call: Call) -> JSON:
        """The object of the request's body as its schema knows it."""
        obj, duplicates = decoded(call.request.body)
        version = f"{call.resource.group}/{call.resource.version}".lstrip("/")
        given = (obj.get("apiVersion", ""), obj.get("kind", ""))
        if call.kind.custom and not given[1]:
            raise bad_request(f"Object 'Kind' is missing in '{go_json(obj)}'")
        if given[1] not in ("", call.resource.kind):
            raise bad_request(
                f'{given[1]} in version "{given[0].rpartition("/")[2]}" cannot be handled as a '
                f'{call.resource.kind}: no kind "{given[1]}" is registered for version "{given[0]}"'
            )
        if given[0] not in ("", version):
            raise bad_request(
                f"the API version in the data ({given[0]}) does not match "
                f"the expected API version ({version})"
            )
        obj |= {"apiVersion": version, "kind": call.resource.kind}
        unknown = [f'duplicate field "{name}"' for name in duplicates]
        if call.kind.schema is not None:
            obj, paths = pruned(call.kind, obj)
            unknown += [f'unknown field "{path}"' for path in paths]
        if unknown and call.validation == "Strict":
            raise bad_request(
                f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
                f"{call.resource.kind}: strict decoding error: {', '.join(unknown)}"
            )
        if call.validation == "Warn":
            call.warnings += unknown
        return obj

    def _check_namespace(self, call: Call, meta: JSON) -> None:
        if not call.namespace:
            raise method_not_allowed()
        if meta.setdefault("namespace", call.namespace) != call.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if self._store.get(values.NAMESPACE, "", call.namespace) is None:
            raise not_found(values.NAMESPACE, call.namespace)

    @staticmethod
    def _check_types(call: Call, obj: JSON) -> None:
        """What Go's decoder refuses before anything is validated."""
        malformed = list(schemas.check(obj.get("metadata", {}), schemas.METADATA, "metadata"))
        if not call.kind.custom and call.kind.schema is not None:
            malformed += schemas.check(obj, call.kind.schema)
        if malformed:
            raise bad_request(
                f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
                f"{call.resource.kind}: json: cannot unmarshal into Go struct field {malformed[0].field}"
            )

    def born(self, kind: Kind, obj: JSON) -> JSON:
        """Give a new object what the system gives it."""
        self._created += 1
        uid = uuid.uuid5(uuid.NAMESPACE_OID, f"{kind.resource.plural}/{self._created}")
        meta: dict[str, JSON] = {"uid": str(uid), "creationTimestamp": timestamp(self._clock())}
        if kind.counts_generation:
            meta["generation"] = 1
        return {**obj, "metadata": {**meta, **obj["metadata"]}}

    def stored(self, resource: Resource, obj: JSON) -> JSON:
        """Store a state and wake the watches."""
        stored = self._store.put(resource, obj)
        self._changed.notify_all()
        return stored

    def put(self, call: Call) -> Response:
        """Replace."""
        self._check_options(call, "UpdateOptions")
        obj, _ = decoded(call.request.body)
        current = self.existing(call)
        if call.kind.schema is not None:
            obj, paths = pruned(call.kind, obj)
            if paths and call.validation == "Strict":
                unknown = ", ".join(f'unknown field "{path}"' for path in paths)
                raise bad_request(
                    f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
                    f"{call.resource.kind}: strict decoding error: {unknown}"
                )
        return self._updated(call, current, obj)

    def patch(self, call: Call) -> Response:
        """Apply a JSON Patch or a merge patch."""
        media = call.request.headers.get("content-type", "").partition(";")[0].strip()
        accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
        if not call.kind.custom:
            accepted.insert(2, STRATEGIC_PATCH)
        if media not in accepted:
            raise unsupported_media(accepted)
        if media not in (JSON_PATCH, MERGE_PATCH):
            raise NotImplementedError(f"the in-memory API does not do {media}")
        self._check_options(call, "PatchOptions")
        current = self.existing(call)
        body = call.request.body or b""
        unknown: list[str] = []
        try:
            if media == JSON_PATCH:
                if call.validation != "Ignore":
                    unknown += strict_errors(body)
                if len(operations_of(body)) > MAX_OPERATIONS:
                    raise too_large(
                        f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
                        f"got {len(operations_of(body))}"
                    )
                new = apply_patch(current, body)
            else:
                new = apply_merge_patch(current, body)
        except MalformedPatch as error:
            raise bad_request(f"error decoding patch: {error}") from error
        except PatchNotApplied as error:
            raise patch_not_applied() from error
        new = self._read_patched(call, current, normal(new), unknown)
        return self._updated(call, current, new)

    def _read_patched(self, call: Call, current: JSON, new: JSON, unknown: list[str]) -> JSON:
        """Decode the patched document (apiserver: patch.go applyPatchToCurrentObject)."""
        whole = new
        if not isinstance(new, dict) or not isinstance(new.get("metadata", {}), dict):
            raise invalid_patch(whole, "json: cannot unmarshal into Go value")
        if not new.get("kind"):
            raise invalid_patch(whole, f"Object 'Kind' is missing in '{go_json(whole)}'")
        new = {**new, "metadata": texts(new.get("metadata", {}))}
        malformed = list(schemas.check(new["metadata"], schemas.METADATA, "metadata"))
        if malformed:
            raise invalid_patch(whole, f"json: cannot unmarshal into Go struct field {malformed[0].field}")
        if call.kind.schema is not None:
            new, paths = pruned(call.kind, new)
            unknown = unknown + [f'unknown field "{path}"' for path in paths]
            if not call.kind.custom and list(schemas.check(new, call.kind.schema)):
                raise invalid_patch(whole, f"json: cannot unmarshal into Go struct {call.resource.kind}")
        if unknown and call.validation == "Strict":
            raise invalid_patch(whole, f"strict decoding error: {', '.join(sorted(unknown))}")
        if call.validation == "Warn":
            call.warnings += sorted(unknown)
        return new

    def _updated(self, call: Call, current: JSON, new: JSON) -> Response:
        """Checks in the order of apiserver: registry/generic/registry/store.go Update."""
        meta = new.setdefault("metadata", {})
        if not meta.get("name"):
            raise bad_request(
                f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
            )
        if meta["name"] != call.name:
            raise bad_request(
                f"the name of the object ({meta.get('name', '')}) does not match "
                f"the name on the URL ({call.name})"
            )
        version = meta.get("resourceVersion", "")
        if not re.fullmatch(r"[0-9]*", version):
            raise StatusError(500, "", f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if version in ("", "0"):
            if call.kind.custom:
                why = "Invalid value: 0: must be specified for an update"
                error = FieldError("FieldValueInvalid", "metadata.resourceVersion", why)
                raise invalid(call.resource.group, call.resource.plural, call.name, [error])
        elif version != current["metadata"]["resourceVersion"]:
            raise conflict(call.resource, call.name)
        if meta.get("namespace", call.namespace) != call.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        new = self._admitted(self._prepared(call, current, new))
        self._validate(call, new, current)
        if call.dry_run:
            return self.shown(call, 200, self._bumped(call.kind, current, new))
        return self.shown(call, 200, self.written(call.kind, current, new))

    def _admitted(self, obj: JSON) -> JSON:
        """What mutating webhooks make of an object before it is validated."""
        for mutate in self.mutating:
            obj = copied(obj)
            obj = mutate(obj) or obj
        return obj

    @staticmethod
    def _prepared(call: Call, current: JSON, new: JSON) -> JSON:
        """What a client cannot change is put back (apiserver: registry/rest/update.go BeforeUpdate)."""
        old = current["metadata"]
        if call.subresource == "status":
            return {**current, "status": new.get("status", {})}
        new = dict(new)
        if call.kind.has_status:
            new.pop("status", None)
            if "status" in current:
                new["status"] = current["status"]
        meta = dict(new["metadata"])
        for name in ("generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            if name in old:
                meta[name] = old[name]
            elif name == "generation":
                meta.pop(name, None)
        meta["uid"] = meta.get("uid") or old["uid"]
        meta["resourceVersion"] = old["resourceVersion"]
        if call.namespace:
            meta["namespace"] = call.namespace
        for name in ("labels", "annotations", "finalizers", "ownerReferences"):
            if not meta.get(name):
                meta.pop(name, None)
        return {**new, "metadata": meta}

    def _bumped(self, kind: Kind, current: JSON, new: JSON) -> JSON:
        """Count the generation: of custom kinds without /status on any change but metadata."""
        if not kind.counts_generation:
            return new
        ignored = {"metadata", "status"} if kind.has_status else {"metadata"}

        def content(obj: JSON) -> JSON:
            return {key: value for key, value in obj.items() if key not in ignored}

        if content(current) == content(new):
            return new
        generation = current["metadata"].get("generation", 0) + 1
        return {**new, "metadata": {**new["metadata"], "generation": generation}}

    def written(self, kind: Kind, current: JSON, new: JSON) -> JSON:
        """Store the new state; nothing is written where nothing changed."""
        if new == current:
            return current
        new = self._bumped(kind, current, new)
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self._store.remove(kind.resource, meta.get("namespace", ""), meta["name"])
            self._changed.notify_all()
            return new
        return self.stored(kind.resource, new)

    def delete(self, call: Call) -> Response:
        """Delete, or mark as being deleted where finalizers hold it."""
        current = self.existing(call)
        meta = current["metadata"]
        options = decoded(call.request.body)[0] if call.request.body else {}
        # With a body the query is not looked at: handlers/delete.go DeleteResource.
        dry_run = bool(options.get("dryRun")) if call.request.body else call.dry_run
        wanted = options.get("preconditions") or {}
        for name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            if wanted.get(name) and wanted[name] != meta[name]:
                why = (
                    f"the {label} in the precondition ({wanted[name]}) does not match the {label} in record "
                    f"({meta[name]}). The object might have been deleted and then recreated"
                )
                raise conflict(call.resource, call.name, why, by_kind=True)
        if meta.get("finalizers"):
            gone = {"deletionTimestamp": timestamp(self._clock()), "deletionGracePeriodSeconds": 0}
            generation = {"generation": meta["generation"] + 1} if "generation" in meta else {}
            dying = {**current, "metadata": {**gone, **meta, **generation}}
            if not dry_run and "deletionTimestamp" not in meta:
                dying = self.stored(call.resource, dying)
            return self.shown(call, 200, dying)
        if not dry_run:
            self._store.remove(call.resource, call.namespace, call.name)
            self._changed.notify_all()
        details = {**details_of(call.resource, call.name), "uid": meta["uid"]}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return answer(200, done)

    @staticmethod
    def _check_options(call: Call, kind: str) -> None:
        """apimachinery: pkg/apis/meta/v1/validation ValidatePatchOptions and its like."""
        errors = []
        manager = call.request.parameter("fieldManager")
        if len(manager.encode()) > 128:
            body = "Too long: may not be more than 128 bytes"
            errors.append(FieldError("FieldValueTooLong", "fieldManager", body))
        if any(key == "dryRun" and value != "All" for key, value in call.request.query):
            value = json.dumps([value for key, value in call.request.query if key == "dryRun"])
            body = f'Unsupported value: {value}: supported values: "All"'
            errors.append(FieldError("FieldValueNotSupported", "dryRun", body))
        validation = call.request.parameter("fieldValidation")
        if validation not in ("", "Ignore", "Warn", "Strict"):
            body = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
            errors.append(FieldError("FieldValueNotSupported", "fieldValidation", body))
        if kind == "PatchOptions" and call.request.parameter("force"):
            body = "Forbidden: may not be specified for non-apply patch"
            errors.append(FieldError("FieldValueForbidden", "force", body))
        if errors:
            raise invalid("meta.k8s.io", kind, "", errors)

    def _validate(self, call: Call, obj: JSON, current: JSON | None = None) -> None:
        errors = list(metadata_errors(obj["metadata"], current["metadata"] if current else None))
        if current is not None:
            # registry/rest/update.go validates metadata, and each strategy does it once more.
            errors += errors
            for name, wanted in (("kind", current["kind"]), ("apiVersion", current["apiVersion"])):
                if obj[name] != wanted:
                    body = f'Invalid value: "{obj[name]}": must be {wanted}'
                    errors.append(FieldError("FieldValueInvalid", name, body))
        if call.kind.custom and call.kind.schema is not None:
            errors += schemas.check(obj, call.kind.schema)
        if call.resource == values.CONFIGMAP:
            errors += configmap_errors(obj, current)
        if errors:
            name = obj["metadata"].get("name", "")
            raise invalid(call.resource.group, obj["kind"], name, errors)


def new_namespace(meta: JSON) -> dict[str, JSON]:
    """What the API server gives a namespace (kubernetes: pkg/registry/core/namespace/strategy.go)."""
    labels = {**meta.get("labels", {}), "kubernetes.io/metadata.name": meta.get("name", "")}
    return {
        "metadata": {**meta, "labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
