"""The in-memory API as a client sees it.

Covered: reading, lists in pages, selectors, watches (resourceVersion, bookmarks, expiry, cuts, idle);
create, patch and its failures (client-and-packaging.md §3), update, delete and finalizers, dry run,
generation and resourceVersion; rights and reviews; hooks for faults and races; the request log.
The wording of the answers was compared with a real API server; the contract lane repeats that.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from kubectl_argo_rescue.cluster.transport import Response, Transport
from kubectl_argo_rescue.model.errors import TransportError
from kubectl_argo_rescue.model.values import (
    ACCESSREVIEW,
    APPLICATION,
    APPLICATIONSET,
    APPPROJECT,
    CONFIGMAP,
    DEFINITION,
    DEPLOYMENT,
    NAMESPACE,
)
from kubectl_argo_rescue.simulation import schemas
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.store import Change
from kubectl_argo_rescue.simulation.wire import Request, answer, broken, overloaded, timestamp

APPS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
WEB = f"{APPS}/web"
MAPS = "/api/v1/namespaces/argocd/configmaps"
JSON_PATCH = {"Content-Type": "application/json-patch+json; charset=utf-8"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
STRICT = [("fieldValidation", "Strict")]


def web(name: str = "web", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", **meta},
        "spec": {
            "project": "default",
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "web"},
            "source": {"repoURL": "https://git.invalid/web", "path": "web", "targetRevision": ">=1 <2"},
            "syncPolicy": {"automated": {"prune": True}},
        },
    }


def config(name: str = "c", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "argocd", **meta},
        "data": {"a": "1"},
    }


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def api(clock: SteppedClock) -> InMemoryApi:
    found = InMemoryApi(clock)
    found.create(web())
    return found


def call(
    api: InMemoryApi,
    method: str,
    path: str,
    body: Any = None,
    query: Sequence[tuple[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    response = api.request(method, path, query, headers, data)
    kind = response.headers["content-type"]
    return response.status, json.loads(response.body) if kind == "application/json" else response.body


def patch(api: InMemoryApi, *operations: Any, path: str = WEB, query: Any = ()) -> tuple[int, Any]:
    return call(api, "PATCH", path, list(operations), query, JSON_PATCH)


def op(kind: str, path: str, value: Any = None) -> dict[str, Any]:
    return {"op": kind, "path": path, "value": value} if kind != "remove" else {"op": kind, "path": path}


def fields(body: Any) -> list[tuple[str, str]]:
    return [(cause["reason"], cause["field"]) for cause in body["details"].get("causes", [])]


def test_it_is_a_transport(api: InMemoryApi) -> None:
    transport: Transport = api
    assert transport.target().server == "https://in-memory.invalid"
    transport.close()
    transport.close()


class TestReading:
    def test_get(self, api: InMemoryApi, clock: SteppedClock) -> None:
        status, body = call(api, "GET", WEB)
        assert status == 200
        assert body["metadata"]["generation"] == 1
        assert body["metadata"]["creationTimestamp"] == timestamp(clock())
        assert int(body["metadata"]["resourceVersion"]) == api.revision
        assert api.request("GET", WEB).body.count(b"\\u003e=1 \\u003c2") == 1

    @pytest.mark.parametrize(
        ("path", "message", "details"),
        [
            (
                f"{APPS}/none",
                'applications.argoproj.io "none" not found',
                {"name": "none", "group": "argoproj.io", "kind": "applications"},
            ),
            (f"{MAPS}/none", 'configmaps "none" not found', {"name": "none", "kind": "configmaps"}),
            (f"{WEB}/status", 'applications.argoproj.io "web" not found', None),
            ("/api/v1/things", "the server could not find the requested resource", {}),
            ("/api/v1/configmaps/x", "the server could not find the requested resource", {}),
            (
                "/apis/apps/v1/namespaces/argocd/namespaces",
                "the server could not find the requested resource",
                {},
            ),
            (f"{MAPS}/x/status", "the server could not find the requested resource", {}),
        ],
    )
    def test_not_found(self, api: InMemoryApi, path: str, message: str, details: Any) -> None:
        status, body = call(api, "GET", path)
        assert (status, body["reason"], body["message"]) == (404, "NotFound", message)
        if details is not None:
            assert body["details"] == details

    @pytest.mark.parametrize(
        "path",
        [
            "/apis/none.example/v1/things",
            "/apis/argoproj.io/v1alpha1/things",
            "/apis/argoproj.io/v1/applications",
            "/nothing",
        ],
    )
    def test_unknown_pages_are_plain_text(self, api: InMemoryApi, path: str) -> None:
        assert call(api, "GET", path) == (404, b"404 page not found\n")

    def test_server_pages(self, api: InMemoryApi) -> None:
        assert call(api, "GET", "/version")[1]["gitVersion"] == "v1.36.3"
        assert call(api, "GET", "/readyz") == (200, b"ok")

    def test_absent_kinds_and_older_definitions(self) -> None:
        older = schemas.without(schemas.of(APPLICATION), "spec", "syncPolicy", "automated", "enabled")
        api = InMemoryApi(absent=[APPLICATIONSET], replaced_schemas={APPLICATION: older})
        api.create(web())
        assert call(api, "GET", "/apis/argoproj.io/v1alpha1/applicationsets")[0] == 404
        patch(api, op("add", "/spec/syncPolicy/automated/enabled", False))
        assert api.get(APPLICATION, "argocd", "web")["spec"]["syncPolicy"] == {"automated": {"prune": True}}
        names = {crd["metadata"]["name"] for crd in api.objects(DEFINITION)}
        assert names == {"applications.argoproj.io", "appprojects.argoproj.io"}
        schema = api.get(DEFINITION, "", "applications.argoproj.io")["spec"]["versions"][0]["schema"]
        assert "enabled" not in json.dumps(schema)

    def test_schema_without_inside_a_list(self) -> None:
        path = ("spec", "syncWindows", "items", "manualSync")
        assert "manualSync" not in json.dumps(schemas.without(schemas.of(APPPROJECT), *path))

    def test_metadata_only(self, api: InMemoryApi) -> None:
        headers = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
        _, body = call(api, "GET", WEB, headers=headers)
        assert (body["kind"], set(body)) == ("PartialObjectMetadata", {"apiVersion", "kind", "metadata"})
        headers = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
        _, body = call(api, "GET", APPS, headers=headers)
        assert (body["kind"], "spec" in body["items"][0]) == ("PartialObjectMetadataList", False)


class TestLists:
    def test_of_a_namespace_and_of_all(self, api: InMemoryApi) -> None:
        api.create(web("other") | {"metadata": {"name": "other", "namespace": "team"}})
        _, one = call(api, "GET", APPS)
        _, both = call(api, "GET", "/apis/argoproj.io/v1alpha1/applications")
        assert [item["metadata"]["name"] for item in one["items"]] == ["web"]
        assert [item["metadata"]["name"] for item in both["items"]] == ["web", "other"]
        assert (both["kind"], both["apiVersion"]) == ("ApplicationList", "argoproj.io/v1alpha1")
        assert both["metadata"] == {"resourceVersion": str(api.revision), "continue": ""}
        assert both["items"][0]["kind"] == "Application"
        assert call(api, "GET", "/apis/argoproj.io/v1alpha1/namespaces/none/applications")[1]["items"] == []

    def test_items_of_built_in_kinds_go_without_their_type(self, api: InMemoryApi) -> None:
        api.create(config())
        _, body = call(api, "GET", MAPS)
        assert set(body["items"][0]) == {"metadata", "data"}

    def test_pages_show_one_moment(self, api: InMemoryApi) -> None:
        for number in range(5):
            api.create(config(f"c{number}"))
        _, first = call(api, "GET", MAPS, query=[("limit", "2")])
        assert first["metadata"]["remainingItemCount"] == 3
        api.create(config("c11"))
        api.edit(CONFIGMAP, "argocd", "c3", lambda obj: obj["data"].update(a="2"))
        api.remove(CONFIGMAP, "argocd", "c4")
        token = first["metadata"]["continue"]
        _, second = call(api, "GET", MAPS, query=[("limit", "9"), ("continue", token)])
        assert [(i["metadata"]["name"], i["data"]["a"]) for i in second["items"]] == [
            ("c2", "1"),
            ("c3", "1"),
            ("c4", "1"),
        ]
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    def test_an_expired_token_offers_the_inconsistent_rest(self, api: InMemoryApi) -> None:
        for number in range(3):
            api.create(config(f"c{number}"))
        _, first = call(api, "GET", MAPS, query=[("limit", "1")])
        api.create(config("c9"))
        api.compact()
        query = [("continue", first["metadata"]["continue"])]
        status, body = call(api, "GET", MAPS, query=query)
        assert (status, body["reason"]) == (410, "Expired")
        query = [("continue", body["metadata"]["continue"])]
        _, rest = call(api, "GET", MAPS, query=query)
        assert [item["metadata"]["name"] for item in rest["items"]] == ["c1", "c2", "c9"]

    @pytest.mark.parametrize(
        ("selector", "names"),
        [
            ("n=1", ["c1"]),
            ("n==1", ["c1"]),
            ("n!=1", ["c0", "c2", "c3"]),
            ("n in (1, 2)", ["c1", "c2"]),
            ("n notin (1,2),n", ["c0"]),
            ("!n", ["c3"]),
            ("n", ["c0", "c1", "c2"]),
            ("n=", []),
        ],
    )
    def test_label_selectors(self, api: InMemoryApi, selector: str, names: list[str]) -> None:
        for number in range(3):
            api.create(config(f"c{number}", labels={"n": str(number)}))
        api.create(config("c3"))
        _, body = call(api, "GET", MAPS, query=[("labelSelector", selector), ("limit", "-1")])
        assert [item["metadata"]["name"] for item in body["items"]] == names

    @pytest.mark.parametrize(
        ("selector", "names"),
        [
            ("metadata.name=c1", ["c1"]),
            ("metadata.name!=c1,metadata.namespace==argocd", ["c0"]),
            ("metadata.namespace=x", []),
        ],
    )
    def test_field_selectors(self, api: InMemoryApi, selector: str, names: list[str]) -> None:
        for number in range(2):
            api.create(config(f"c{number}"))
        _, body = call(api, "GET", MAPS, query=[("fieldSelector", selector)])
        assert [item["metadata"]["name"] for item in body["items"]] == names

    def test_events_by_their_object(self, api: InMemoryApi) -> None:
        for name in ("a", "b"):
            api.create(
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"name": name, "namespace": "argocd"},
                    "involvedObject": {"kind": "Pod", "name": name},
                }
            )
        query = [("fieldSelector", "involvedObject.name=b")]
        _, body = call(api, "GET", "/api/v1/namespaces/argocd/events", query=query)
        assert [item["metadata"]["name"] for item in body["items"]] == ["b"]

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            (("labelSelector", "a=b=c"), 400),
            (("labelSelector", ","), 400),
            (("fieldSelector", "data.a=1"), 400),
            (("fieldSelector", "nonsense"), 400),
            (("limit", "x"), 400),
            (("continue", "zzz"), 400),
            (("continue", "e30"), 400),
            (("resourceVersion", "abc"), 400),
            (("resourceVersion", "99999"), 504),
        ],
    )
    def test_bad_queries(self, api: InMemoryApi, query: tuple[str, str], status: int) -> None:
        assert call(api, "GET", MAPS, query=[query])[0] == status

    def test_custom_kinds_know_no_fields_of_their_own(self, api: InMemoryApi) -> None:
        _, body = call(api, "GET", APPS, query=[("fieldSelector", "spec.project=x")])
        assert body["message"] == "field label not supported: spec.project"


class TestCreate:
    def test_201_with_system_fields(self, api: InMemoryApi) -> None:
        asked = config("new", uid="mine", generation=7, creationTimestamp="2000-01-01T00:00:00Z")
        status, body = call(api, "POST", MAPS, asked, [("fieldManager", "m")])
        assert status == 201
        assert body["metadata"]["uid"] != "mine"
        assert "generation" not in body["metadata"]
        assert api.get(CONFIGMAP, "argocd", "new") == body

    def test_a_status_is_dropped_where_it_has_a_path_of_its_own(self, api: InMemoryApi) -> None:
        path = "/apis/apps/v1/namespaces/argocd/deployments"
        obj = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "status": {"replicas": 1},
        }
        assert "status" not in call(api, "POST", path, obj)[1]
        _, body = call(api, "POST", APPS, web("b") | {"status": {"sync": {"status": "Synced"}}})
        assert body["status"]["sync"]["status"] == "Synced"

    def test_whole_floats_are_integers_in_storage(self, api: InMemoryApi) -> None:
        body = json.dumps(web("f")).replace('"project"', '"revisionHistoryLimit": 4.0, "project"')
        status, found = call(api, "POST", APPS, body.encode())
        assert (status, repr(found["spec"]["revisionHistoryLimit"])) == (201, "4")

    def test_namespaces_get_what_a_server_gives_them(self, api: InMemoryApi) -> None:
        _, body = call(
            api,
            "POST",
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},
        )
        assert body["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
        assert api.find(NAMESPACE, "", "kube-system")["metadata"]["uid"]

    def test_already_exists(self, api: InMemoryApi) -> None:
        status, body = call(api, "POST", APPS, web())
        assert (status, body["reason"]) == (409, "AlreadyExists")
        assert body["message"] == 'applications.argoproj.io "web" already exists'
        assert body["details"]["kind"] == "applications"

    @pytest.mark.parametrize(
        ("path", "obj", "status", "message"),
        [
            (
                "/api/v1/namespaces/none/configmaps",
                config() | {"metadata": {"name": "c"}},
                404,
                'namespaces "none"',
            ),
            ("/api/v1/namespaces/default/configmaps", config(), 400, "does not match the namespace"),
            ("/api/v1/configmaps", config(), 405, "does not allow this method"),
            (MAPS, web(), 400, "no kind"),
            (APPS, web() | {"apiVersion": "argoproj.io/v1"}, 400, "does not match the expected API version"),
            (APPS, {"metadata": {"name": "x"}}, 400, "Object 'Kind' is missing"),
            (MAPS, b"{nope", 400, "json parse error"),
            (MAPS, b"[]", 400, "json parse error"),
            (MAPS, config(resourceVersion="5"), 500, "resourceVersion should not be set"),
            (MAPS, config("A_b"), 422, "RFC 1123"),
            (MAPS, config(""), 422, "name or generateName is required"),
            (MAPS, config(labels={"a b": "x y"}), 422, "a valid label must be"),
            (MAPS, config(annotations={"a b": "x"}), 422, "name part must consist"),
            (MAPS, config(labels={"a": 1}), 400, "cannot unmarshal"),
            (MAPS, config() | {"data": {"a": 1}}, 400, "cannot unmarshal"),
            (MAPS, config() | {"data": {"a/b": "1"}}, 422, "a valid config key"),
            (MAPS, config() | {"data": {"a": "x" * (1024 * 1024 + 1)}}, 422, "Too long"),
            (MAPS, config() | {"binaryData": {"a": "AA=="}}, 422, "duplicate of key"),
            (MAPS, b" " * (3 * 1024 * 1024 + 1), 413, "limit is 3145728"),
            (APPS, web("x") | {"spec": {"project": "p"}}, 422, "spec.destination: Required value"),
        ],
    )
    def test_refusals(self, api: InMemoryApi, path: str, obj: Any, status: int, message: str) -> None:
        found, body = call(api, "POST", path, obj)
        assert (found, message in body["message"]) == (status, True), body

    def test_unknown_fields(self, api: InMemoryApi) -> None:
        status, body = call(api, "POST", APPS, web("a") | {"bogus": 1}, STRICT)
        assert (status, 'unknown field "bogus"' in body["message"]) == (400, True)
        response = api.request("POST", APPS, (), None, json.dumps(web("b") | {"bogus": 1}).encode())
        assert response.headers["warning"] == '299 - "unknown field \\"bogus\\""'
        assert "bogus" not in json.loads(response.body)
        doubled = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"},"data":{"a":"1","a":"2"}}'
        assert call(api, "POST", MAPS, doubled, STRICT)[0] == 400

    def test_dry_run_stores_nothing(self, api: InMemoryApi) -> None:
        before = api.revision
        assert call(api, "POST", MAPS, config("dry"), [("dryRun", "All")])[0] == 201
        assert (api.find(CONFIGMAP, "argocd", "dry"), api.revision) == (None, before)


class TestPatch:
    def test_a_change_counts_revision_and_generation(self, api: InMemoryApi) -> None:
        _, before = call(api, "GET", WEB)
        status, after = patch(api, op("replace", "/spec/project", "other"))
        assert status == 200
        assert after["metadata"]["generation"] == 2
        assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])

    def test_status_of_an_application_counts_as_well_and_metadata_does_not(self, api: InMemoryApi) -> None:
        _, body = patch(
            api, op("add", "/status", {"sync": {"status": "Synced"}}), op("add", "/operation", {"sync": {}})
        )
        assert body["metadata"]["generation"] == 2
        _, body = patch(api, op("add", "/metadata/annotations", {"a": "1"}))
        assert body["metadata"]["generation"] == 2

    def test_a_no_op_leaves_the_revision(self, api: InMemoryApi) -> None:
        before = api.revision
        status, _ = patch(api, op("replace", "/spec/project", "default"), op("add", "/operation", None))
        assert (status, api.revision) == (200, before)

    def test_dry_run_shows_the_result_only(self, api: InMemoryApi) -> None:
        before = api.revision
        _, body = patch(api, op("replace", "/spec/project", "x"), query=[("dryRun", "All")])
        assert (body["spec"]["project"], body["metadata"]["generation"], api.revision) == ("x", 2, before)

    @pytest.mark.parametrize(
        "operation",
        [
            op("test", "/spec/project", "x"),
            op("test", "/operation/sync"),
            op("test", "/metadata/resourceVersion", "1"),
            op("remove", "/spec/none"),
            op("add", "/spec/none/x", 1),
            op("replace", "/spec/sources/0", 1),
            op("bogus", "/spec", 1),
            # the Python client's own encoding of this value: never equal
            {"op": "test", "path": "/spec/source/targetRevision", "value": ">=1 <2"},
        ],
    )
    def test_what_does_not_apply_is_422_without_causes(self, api: InMemoryApi, operation: Any) -> None:
        status, body = patch(api, operation)
        assert (status, body["reason"], body["details"]) == (422, "Invalid", {})
        assert body["message"] == "the server rejected our request due to an error in our request"

    def test_a_guard_in_gos_encoding_holds(self, api: InMemoryApi) -> None:
        body = b'[{"op":"test","path":"/spec/source/targetRevision","value":"\\u003e=1 \\u003c2"}]'
        assert call(api, "PATCH", WEB, body, (), JSON_PATCH)[0] == 200

    def test_a_stale_resource_version_is_409(self, api: InMemoryApi) -> None:
        stale = op("replace", "/metadata/resourceVersion", "1")
        status, body = patch(api, stale, op("replace", "/spec/project", 1))
        assert (status, body["reason"]) == (409, "Conflict")
        assert body["message"] == (
            'Operation cannot be fulfilled on applications.argoproj.io "web": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        assert patch(api, stale, op("remove", "/spec/none"))[0] == 422
        version = {"metadata": {"resourceVersion": "1"}}
        assert call(api, "PATCH", WEB, version, (), MERGE_PATCH)[0] == 409

    @pytest.mark.parametrize(
        ("operation", "status", "causes"),
        [
            (op("replace", "/metadata/uid", "x"), 422, [("FieldValueInvalid", "metadata.uid")] * 2),
            (op("add", "/metadata/deletionTimestamp", "2020-01-01T00:00:00Z"), 422, None),
            (
                op("remove", "/metadata/resourceVersion"),
                422,
                [("FieldValueInvalid", "metadata.resourceVersion")],
            ),
            (op("replace", "/kind", "AppProject"), 422, [("FieldValueInvalid", "kind")]),
            (op("replace", "/spec/project", 1), 422, [("FieldValueTypeInvalid", "spec.project")]),
            (op("add", "/spec/revisionHistoryLimit", 1.5), 422, None),
            (op("remove", "/spec/destination"), 422, [("FieldValueRequired", "spec.destination")]),
            (op("add", "/status", {"operationState": {"phase": "Failed"}}), 422, None),
            (
                op("add", "/status", {"reconciledAt": "now"}),
                422,
                [("FieldValueTypeInvalid", "status.reconciledAt")],
            ),
            (
                op("add", "/operation", {"sync": {"source": {"path": "x"}}}),
                422,
                [("FieldValueRequired", "operation.sync.source.repoURL")],
            ),
            (op("add", "/metadata/annotations", {"a": "x" * 262144}), 422, None),
            (op("add", "/metadata/labels", {"a": 1}), 422, [("FieldValueInvalid", "patch")]),
            (op("remove", "/kind"), 422, [("FieldValueInvalid", "patch")]),
            (op("replace", "/metadata", 1), 422, [("FieldValueInvalid", "patch")]),
        ],
    )
    def test_what_is_invalid_has_causes(
        self, api: InMemoryApi, operation: Any, status: int, causes: Any
    ) -> None:
        found, body = patch(api, operation)
        assert (found, body["reason"]) == (status, "Invalid")
        assert fields(body) if causes is None else fields(body) == causes

    @pytest.mark.parametrize(
        ("operation", "status"),
        [
            (op("replace", "/metadata/name", "y"), 400),
            (op("replace", "/metadata/namespace", "y"), 400),
            (op("remove", "/metadata"), 400),
            (op("replace", "/metadata/resourceVersion", "abc"), 500),
            (op("replace", "/metadata/generation", 99), 200),
            (op("replace", "/metadata/creationTimestamp", "2020-01-01T00:00:00Z"), 200),
            (op("remove", "/metadata/uid"), 200),
            (op("add", "/metadata/annotations", {"a": None}), 200),
            (op("add", "/spec/revisionHistoryLimit", 4.0), 200),
        ],
    )
    def test_other_answers(self, api: InMemoryApi, operation: Any, status: int) -> None:
        before = api.get(APPLICATION, "argocd", "web")["metadata"]
        found, body = patch(api, operation)
        assert found == status
        if status == 200:
            assert (body["metadata"]["uid"], body["metadata"]["generation"] <= 2) == (before["uid"], True)

    def test_unknown_fields(self, api: InMemoryApi) -> None:
        bogus = op("add", "/spec/bogus", 1)
        status, body = patch(api, bogus, op("add", "/metadata/odd", 1), query=STRICT)
        assert (status, fields(body)) == (422, [("FieldValueInvalid", "patch")])
        assert (
            'strict decoding error: unknown field "metadata.odd", unknown field "spec.bogus"'
            in body["message"]
        )
        assert '\\"project\\":\\"default\\"' in body["message"]
        response = api.request("PATCH", WEB, (), JSON_PATCH, json.dumps([bogus]).encode())
        assert response.headers["warning"] == '299 - "unknown field \\"spec.bogus\\""'
        response = api.request(
            "PATCH", WEB, [("fieldValidation", "Ignore")], JSON_PATCH, json.dumps([bogus]).encode()
        )
        assert "warning" not in response.headers
        assert patch(api, op("test", "/spec/project", "default") | {"x": 1}, query=STRICT)[0] == 422

    @pytest.mark.parametrize(
        ("body", "headers", "status"),
        [
            (b"nope", JSON_PATCH, 400),
            (b"{}", JSON_PATCH, 400),
            (b'[{"op":1}]', JSON_PATCH, 400),
            (b"[]", MERGE_PATCH, 400),
            (b"{}", {"Content-Type": "application/strategic-merge-patch+json"}, 415),
            (b"{}", {"Content-Type": "application/json"}, 415),
            (b"{}", {}, 415),
            (b"[" + b" " * (3 * 1024 * 1024) + b"]", JSON_PATCH, 413),
            (b'[{"op":"replace","path":""}]', JSON_PATCH, 500),
        ],
    )
    def test_documents(self, api: InMemoryApi, body: bytes, headers: dict[str, str], status: int) -> None:
        assert call(api, "PATCH", WEB, body, (), headers)[0] == status

    def test_ten_thousand_operations_are_the_limit(self, api: InMemoryApi) -> None:
        one = op("test", "/spec/project", "default")
        assert patch(api, *[one] * 10_000)[0] == 200
        status, body = patch(api, *[one] * 10_001)
        assert (status, body["reason"]) == (413, "RequestEntityTooLarge")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            (("fieldManager", "x" * 129), "fieldManager"),
            (("dryRun", "Some"), "dryRun"),
            (("fieldValidation", "Odd"), "fieldValidation"),
            (("force", "true"), "force"),
        ],
    )
    def test_options(self, api: InMemoryApi, query: tuple[str, str], field: str) -> None:
        status, body = patch(api, query=[query])
        assert (status, body["details"]["kind"], fields(body)[0][1]) == (422, "PatchOptions", field)

    def test_a_missing_object_is_404_before_its_patch_is_read(self, api: InMemoryApi) -> None:
        assert call(api, "PATCH", f"{APPS}/none", b"nope", (), JSON_PATCH)[0] == 404

    def test_merge_patches_drop_nulls(self, api: InMemoryApi) -> None:
        status, body = call(api, "PATCH", WEB, {"spec": {"syncPolicy": None}}, (), MERGE_PATCH)
        assert (status, "syncPolicy" in body["spec"]) == (200, False)

    def test_built_in_kinds_need_no_resource_version(self, api: InMemoryApi) -> None:
        api.create(config())
        path = f"{MAPS}/c"
        assert patch(api, op("remove", "/metadata/resourceVersion"), path=path)[0] == 200
        assert patch(api, op("add", "/data/b", 1), path=path)[0] == 422
        _, body = patch(api, op("add", "/data/b", None), path=path)
        assert body["data"]["b"] == ""
        with pytest.raises(NotImplementedError):
            call(api, "PATCH", path, {}, (), {"Content-Type": "application/strategic-merge-patch+json"})

    def test_an_immutable_config_map(self, api: InMemoryApi) -> None:
        api.create(config() | {"immutable": True})
        assert patch(api, op("add", "/data/b", "1"), path=f"{MAPS}/c")[0] == 422
        assert patch(api, op("remove", "/immutable"), path=f"{MAPS}/c")[0] == 422

    def test_status_of_its_own(self, api: InMemoryApi) -> None:
        spec = {"generators": [], "template": {"metadata": {}, "spec": web()["spec"]}}
        obj = web("s") | {"kind": "ApplicationSet", "spec": spec}
        api.create(obj)
        path = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applicationsets/s"
        _, body = patch(api, op("add", "/status", {"resourcesCount": 1}), path=path)
        assert "status" not in body
        _, body = patch(
            api,
            op("add", "/status", {"resourcesCount": 1}),
            op("add", "/spec/goTemplate", True),
            path=f"{path}/status",
        )
        assert (body["status"], "goTemplate" in body["spec"]) == ({"resourcesCount": 1}, False)
        assert body["metadata"]["generation"] == 1
        _, body = patch(api, op("add", "/spec/goTemplate", True), path=path)
        assert (body["status"], body["metadata"]["generation"]) == ({"resourcesCount": 1}, 2)
        status, body = patch(api, op("add", "/spec/syncPolicy", {"applicationsSync": "odd"}), path=path)
        assert fields(body) == [("FieldValueNotSupported", "spec.syncPolicy.applicationsSync")]

    def test_lengths(self, api: InMemoryApi) -> None:
        project = web("p") | {"kind": "AppProject", "spec": {}}
        api.create(project)
        path = "/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects/p"
        _, body = patch(api, op("add", "/spec/description", "x" * 256), path=path)
        assert fields(body) == [("FieldValueTooLong", "spec.description")]
        assert api.get(APPPROJECT, "argocd", "p")["spec"] == {}


class TestUpdate:
    def test_put(self, api: InMemoryApi) -> None:
        api.create(config())
        _, body = call(api, "PUT", f"{MAPS}/c", config() | {"data": {"b": "2"}})
        assert body["data"] == {"b": "2"}
        assert call(api, "PUT", f"{MAPS}/c", config(resourceVersion="1"))[0] == 409
        assert call(api, "PUT", f"{MAPS}/c", config("d"))[0] == 400
        assert call(api, "PUT", WEB, web())[0] == 422
        assert call(api, "PUT", WEB, web() | {"bogus": 1}, STRICT)[0] == 400
        assert call(api, "PUT", MAPS, config())[0] == 405


class TestDelete:
    def test_at_once(self, api: InMemoryApi) -> None:
        status, body = call(api, "DELETE", WEB, {"preconditions": {"uid": "x"}})
        assert (status, body["reason"], body["details"]["kind"]) == (409, "Conflict", "Application")
        assert call(api, "DELETE", WEB, query=[("dryRun", "All")])[0] == 200
        assert call(api, "DELETE", WEB, {"dryRun": ["All"]})[0] == 200
        assert [request.is_write for request in api.requests] == [True, False, False]
        status, body = call(api, "DELETE", WEB, {}, [("dryRun", "All")])
        assert (status, body["status"], body["details"]["kind"]) == (200, "Success", "applications")
        assert call(api, "DELETE", WEB)[0] == 404

    def test_finalizers_hold_it(self, api: InMemoryApi) -> None:
        patch(api, op("add", "/metadata/finalizers", ["a.b/c"]))
        assert "deletionTimestamp" in call(api, "DELETE", WEB, query=[("dryRun", "All")])[1]["metadata"]
        _, body = call(api, "DELETE", WEB)
        assert body["metadata"]["deletionTimestamp"]
        assert call(api, "DELETE", WEB)[0] == 200
        status, body = patch(api, op("add", "/metadata/finalizers/-", "d.e/f"))
        assert (status, set(fields(body))) == (422, {("FieldValueForbidden", "metadata.finalizers")})
        assert patch(api, op("replace", "/spec/project", "x"))[0] == 200
        assert patch(api, op("remove", "/metadata/finalizers"))[0] == 200
        assert call(api, "GET", WEB)[0] == 404

    def test_not_whole_collections(self, api: InMemoryApi) -> None:
        assert call(api, "DELETE", APPS)[0] == 405


class TestRights:
    def test_forbidden_is_worded_as_the_server_does(self, api: InMemoryApi) -> None:
        api.deny("patch", "applications", "argocd")
        status, body = patch(api)
        assert (status, body["reason"]) == (403, "Forbidden")
        assert body["message"] == (
            'applications.argoproj.io "web" is forbidden: User "alice" cannot patch resource "applications" '
            'in API group "argoproj.io" in the namespace "argocd"'
        )
        assert body["details"] == {"name": "web", "group": "argoproj.io", "kind": "applications"}
        assert call(api, "GET", WEB)[0] == 200

    @pytest.mark.parametrize(
        ("verb", "resource", "method", "path", "query"),
        [
            ("list", "applications", "GET", "/apis/argoproj.io/v1alpha1/applications", []),
            ("watch", "applications", "GET", APPS, [("watch", "1")]),
            ("create", "configmaps", "POST", MAPS, []),
            ("update", "configmaps", "PUT", f"{MAPS}/c", []),
            ("delete", "configmaps", "DELETE", f"{MAPS}/c", []),
            ("deletecollection", "configmaps", "DELETE", MAPS, []),
            ("get", "namespaces", "GET", "/api/v1/namespaces/kube-system", []),
            ("patch", "applicationsets/status", "PATCH", f"{APPS[:-12]}applicationsets/s/status", []),
            ("get", "things", "GET", "/apis/none.example/v1/things/x", []),
        ],
    )
    def test_verbs(
        self, api: InMemoryApi, verb: str, resource: str, method: str, path: str, query: Any
    ) -> None:
        api.deny(verb, resource)
        status, body = call(api, method, path, None, query)
        assert (status, f'cannot {verb} resource "{resource}"' in body["message"]) == (403, True)

    def test_a_name_in_the_field_selector_counts(self, api: InMemoryApi) -> None:
        api.deny("list", "configmaps", "argocd", "secret")
        assert call(api, "GET", MAPS, query=[("fieldSelector", "metadata.name=secret")])[0] == 403
        assert call(api, "GET", MAPS, query=[("fieldSelector", "metadata.name=other")])[0] == 200

    def test_access_reviews(self, api: InMemoryApi) -> None:
        api.deny("patch", "applications/status", "argocd")
        path = f"/apis/{ACCESSREVIEW.group}/v1/{ACCESSREVIEW.plural}"

        def allowed(**attributes: str) -> bool:
            status, body = call(api, "POST", path, {"spec": {"resourceAttributes": attributes}})
            assert (status, body["kind"]) == (201, "SelfSubjectAccessReview")
            return bool(body["status"]["allowed"])

        asked = {"verb": "patch", "group": "argoproj.io", "resource": "applications", "namespace": "argocd"}
        assert allowed(**asked)
        assert not allowed(**asked, subresource="status")
        assert call(api, "POST", path, {"spec": {}})[0] == 422
        assert call(api, "GET", path)[0] == 405
        assert call(api, "POST", f"/apis/{ACCESSREVIEW.group}/v1/others", {})[0] == 404

    def test_who_am_i(self, api: InMemoryApi) -> None:
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        status, body = call(api, "POST", path, {"kind": "SelfSubjectReview"})
        assert (status, body["status"]["userInfo"]["username"]) == (201, "alice")
        _, body = call(api, "POST", path, {}, headers={"Impersonate-User": "bob"})
        assert body["status"]["userInfo"] == {"username": "bob", "groups": ["system:authenticated"]}
        api.has_subject_reviews = False
        assert call(api, "POST", path, {})[0] == 404
        assert api.writes() == []


class TestWatch:
    def lines(
        self, api: InMemoryApi, path: str = APPS, headers: Any = None, **query: str
    ) -> list[tuple[str, Any]]:
        parameters = [("watch", "true"), *query.items()]
        with api.stream(path, parameters, headers) as (response, lines):
            assert (response.status, response.body) == (200, b"")
            return [(event["type"], event["object"]) for event in map(json.loads, lines)]

    def test_from_a_revision_until_its_time_is_over(self, api: InMemoryApi, clock: SteppedClock) -> None:
        begin = str(api.revision)
        turns = iter(
            [
                lambda: api.create(web("b")),
                lambda: api.edit(APPLICATION, "argocd", "b", lambda obj: obj["spec"].update(project="p")),
                lambda: api.create(config()),
                lambda: api.remove(APPLICATION, "argocd", "b"),
            ]
        )

        def idle() -> None:
            clock.advance(1)
            next(turns, lambda: None)()

        api.idle = idle
        found = self.lines(api, resourceVersion=begin, timeoutSeconds="9")
        assert [kind for kind, _ in found] == ["ADDED", "MODIFIED", "DELETED"]
        versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in found]
        assert versions == sorted(versions) and versions[0] > int(begin)

    def test_without_a_revision_it_begins_with_what_is_there(
        self, api: InMemoryApi, clock: SteppedClock
    ) -> None:
        api.idle = lambda: clock.advance(1)
        assert [kind for kind, _ in self.lines(api, timeoutSeconds="2")] == ["ADDED"]
        metadata = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
        assert self.lines(api, headers=metadata, timeoutSeconds="2")[0][1]["kind"] == "PartialObjectMetadata"
        response = api.request("GET", APPS, [("watch", "1"), ("timeoutSeconds", "1")])
        assert json.loads(response.body)["type"] == "ADDED"

    def test_bookmarks_each_minute_and_at_the_end(self, api: InMemoryApi, clock: SteppedClock) -> None:
        api.idle = lambda: clock.advance(10)
        found = self.lines(
            api, resourceVersion=str(api.revision), timeoutSeconds="130", allowWatchBookmarks="true"
        )
        assert [kind for kind, _ in found] == ["BOOKMARK"] * 3
        assert found[0][1] == {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"resourceVersion": str(api.revision)},
        }
        found = self.lines(api, MAPS, timeoutSeconds="1", allowWatchBookmarks="true")
        assert found[0][1]["metadata"]["creationTimestamp"] is None

    def test_selectors(self, api: InMemoryApi, clock: SteppedClock) -> None:
        begin = str(api.revision)
        api.create(config("a", labels={"k": "1"}))
        api.create(config("b"))
        api.edit(CONFIGMAP, "argocd", "a", lambda obj: obj["metadata"].pop("labels") and None)
        api.edit(CONFIGMAP, "argocd", "b", lambda obj: obj["metadata"].update(labels={"k": "1"}))
        api.create({**config("a"), "metadata": {"name": "a", "namespace": "other", "labels": {"k": "1"}}})
        api.idle = lambda: clock.advance(1)
        found = self.lines(api, MAPS, resourceVersion=begin, timeoutSeconds="1", labelSelector="k=1")
        assert [(kind, obj["metadata"]["name"]) for kind, obj in found] == [
            ("ADDED", "a"),
            ("DELETED", "a"),
            ("ADDED", "b"),
        ]

    def test_a_revision_too_old_is_told_within_the_stream(self, api: InMemoryApi) -> None:
        begin = str(api.revision)
        api.create(web("b"))
        api.compact()
        (found,) = self.lines(api, resourceVersion=begin)
        assert (found[0], found[1]["code"], found[1]["reason"]) == ("ERROR", 410, "Expired")
        assert found[1]["message"].startswith(f"too old resource version: {begin}")

    def test_history_is_bounded(self, clock: SteppedClock) -> None:
        api = InMemoryApi(clock, history=3)
        begin = str(api.revision)
        for number in range(5):
            api.create(config(f"c{number}"))
        assert [kind for kind, _ in self.lines(api, MAPS, resourceVersion=begin)] == ["ERROR"]
        assert api.changes(int(begin)) is None
        assert [type(change) for change in api.changes(api.revision - 1) or []] == [Change]

    def test_silence_for_too_long_is_a_transport_error(self, api: InMemoryApi, clock: SteppedClock) -> None:
        api.idle = lambda: clock.advance(1)
        with api.stream(APPS, [("watch", "1"), ("resourceVersion", str(api.revision))], None, 5) as (
            _,
            lines,
        ):
            with pytest.raises(TransportError, match="no answer within 5 s"):
                next(lines)

    def test_a_world_that_stands_still_ends_the_watch(self, api: InMemoryApi) -> None:
        api.idle = lambda: None
        assert self.lines(api, resourceVersion=str(api.revision)) == []
        assert self.lines(api, resourceVersion=str(api.revision), allowWatchBookmarks="1")[0][0] == "BOOKMARK"
        with api.stream(APPS, [("watch", "1"), ("resourceVersion", str(api.revision))], None, 5) as (
            _,
            lines,
        ):
            with pytest.raises(TransportError):
                next(lines)

    def test_a_cut(self, api: InMemoryApi) -> None:
        with api.stream(APPS, [("watch", "1")]) as (_, lines):
            next(lines)
            api.cut_streams()
            with pytest.raises(TransportError, match="cut"):
                next(lines)

    def test_another_threads_write_wakes_it(self) -> None:
        api = InMemoryApi()
        writer = threading.Thread(target=lambda: api.create(config()))
        with api.stream(MAPS, [("watch", "1")], None, 60) as (_, lines):
            writer.start()
            assert json.loads(next(lines))["type"] == "ADDED"
        writer.join()

    def test_silence_without_a_world_to_move(self) -> None:
        api = InMemoryApi()
        assert api.idle is None
        query = [("watch", "1"), ("resourceVersion", str(api.revision)), ("timeoutSeconds", "1")]
        with api.stream(MAPS, query, None, 0.01) as (_, lines):
            with pytest.raises(TransportError):
                next(lines)

    def test_refused_watches_and_plain_gets(self, api: InMemoryApi) -> None:
        with api.stream(MAPS, [("watch", "1"), ("resourceVersion", "abc")]) as (response, lines):
            assert (response.status, list(lines)) == (500, [])
        with api.stream(WEB) as (response, lines):
            assert (response.status, len(list(lines))) == (200, 1)


class TestFaults:
    def test_hooks_before(self, api: InMemoryApi) -> None:
        def lost(request: Request) -> None:
            raise TransportError("connection refused", sent=False)

        api.before.append(lost)
        with pytest.raises(TransportError) as caught:
            patch(api, op("replace", "/spec/project", "x"))
        assert not caught.value.sent
        assert api.get(APPLICATION, "argocd", "web")["spec"]["project"] == "default"
        api.before[:] = [lambda request: overloaded(7)]
        response = api.request("GET", WEB)
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        with api.stream(APPS, [("watch", "1")]) as (response, lines):
            assert (response.status, list(lines)) == (429, [])
        api.before[:] = [lambda request: broken()]
        assert call(api, "GET", WEB)[1]["reason"] == "InternalError"
        assert len(api.requests) == 4

    def test_a_patch_that_landed_but_whose_answer_is_lost(self, api: InMemoryApi) -> None:
        def lost(request: Request, response: Response) -> Response | None:
            if request.method == "PATCH":
                raise TransportError("connection reset", sent=True)
            return None

        api.after.append(lost)
        with pytest.raises(TransportError):
            patch(api, op("replace", "/spec/project", "x"))
        assert call(api, "GET", WEB)[1]["spec"]["project"] == "x"

    def test_a_delay_beyond_the_timeout(self, api: InMemoryApi, clock: SteppedClock) -> None:
        def slow(request: Request) -> None:
            clock.advance(5)

        api.before.append(slow)
        body = json.dumps([op("replace", "/spec/project", "x")]).encode()
        with pytest.raises(TransportError) as caught:
            api.request("PATCH", WEB, (), JSON_PATCH, body, timeout=3)
        assert caught.value.sent
        assert api.request("GET", WEB, timeout=6).status == 200
        assert api.get(APPLICATION, "argocd", "web")["spec"]["project"] == "x"

    def test_another_answer_after(self, api: InMemoryApi) -> None:
        api.after.append(lambda request, response: answer(503, {"kind": "Status", "code": 503}))
        assert call(api, "GET", WEB)[0] == 503
        with api.stream(APPS, [("watch", "1")]) as (response, lines):
            assert (response.status, list(lines)) == (503, [])

    def test_a_race_between_read_and_patch(self, api: InMemoryApi) -> None:
        def race(request: Request) -> None:
            if request.method == "PATCH":
                api.edit(APPLICATION, "argocd", "web", lambda obj: obj["spec"].update(project="theirs"))

        api.before.append(race)
        guard = op("test", "/spec/project", "default")
        assert patch(api, guard, op("replace", "/spec/project", "mine"))[0] == 422

    def test_the_log(self, api: InMemoryApi) -> None:
        call(api, "GET", WEB)
        patch(api, op("replace", "/spec/project", "x"), query=[("dryRun", "All")])
        patch(api, op("replace", "/spec/project", "x"), query=[("fieldManager", "me")])
        (write,) = api.writes()
        assert (write.method, write.path, write.parameter("fieldManager")) == ("PATCH", WEB, "me")
        assert write.json[0]["value"] == "x"
        assert write.headers["content-type"].startswith("application/json-patch+json")
        assert [request.method for request in api.requests] == ["GET", "PATCH", "PATCH"]


class TestDirectAccess:
    def test_what_the_server_would_not_take_is_a_bug(self, api: InMemoryApi) -> None:
        with pytest.raises(AssertionError):
            api.create(web("bad") | {"bogus": 1})
        with pytest.raises(AssertionError):
            api.edit(APPLICATION, "argocd", "web", lambda obj: obj["spec"].update(project=1))
        with pytest.raises(KeyError):
            api.create(web())
        with pytest.raises(KeyError):
            api.edit(APPLICATION, "argocd", "none", lambda obj: None)
        with pytest.raises(KeyError):
            api.get(DEPLOYMENT, "argocd", "none")
        with pytest.raises(KeyError):
            api.create({"apiVersion": "v1", "kind": "Odd", "metadata": {"name": "x"}})

    def test_copies_do_not_reach_the_store(self, api: InMemoryApi) -> None:
        api.get(APPLICATION, "argocd", "web")["spec"]["project"] = "x"
        api.objects(APPLICATION)[0]["spec"]["project"] = "x"
        assert api.get(APPLICATION, "argocd", "web")["spec"]["project"] == "default"

    def test_threads_do_not_lose_writes(self, api: InMemoryApi) -> None:
        def write(number: int) -> None:
            for turn in range(20):
                patch(api, op("add", f"/metadata/annotations/t{number}-{turn}", "1"))

        patch(api, op("add", "/metadata/annotations", {"first": "1"}))
        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(api.get(APPLICATION, "argocd", "web")["metadata"]["annotations"]) == 81
