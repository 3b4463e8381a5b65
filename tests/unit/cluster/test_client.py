"""The cluster module on a scripted transport.

Covered: paths and parameters of each call; the body of a patch; which answer becomes which error,
and how its message is cut; what is sent again, when, and what never; pages and their expiry; the
events and the end of a watch; reviews; warnings; the log; thunks side by side.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from kubectl_argo_rescue.act.options import Common
from kubectl_argo_rescue.cli.flags import RequestTimeout, combine
from kubectl_argo_rescue.cluster import exchange
from kubectl_argo_rescue.cluster.answers import shorten, warnings_in
from kubectl_argo_rescue.cluster.client import Cluster, is_older, object_path
from kubectl_argo_rescue.cluster.parallel import Done, Failed, gather, gather_outcomes
from kubectl_argo_rescue.cluster.transport import Response, Target
from kubectl_argo_rescue.model.errors import (
    AlreadyExists,
    ApiError,
    Expired,
    Forbidden,
    GuardFailed,
    Invalid,
    NotFound,
    NotServed,
    Overloaded,
    StaleWrite,
    TransportError,
    Unauthorized,
)
from kubectl_argo_rescue.model.values import APPLICATION, CONFIGMAP, JSON, NAMESPACE


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | None
    timeout: float | None


class Script:
    """A transport that gives prepared answers and remembers what it was asked."""

    def __init__(self, *answers: Response | TransportError, lines: Sequence[bytes] = ()) -> None:
        self.answers = list(answers)
        self.lines = lines
        self.cut = False
        self.sent: list[Sent] = []
        self.closed = False

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Response:
        self.sent.append(Sent(method, path, dict(query), headers or {}, body, timeout))
        answer = self.answers.pop(0)
        if isinstance(answer, TransportError):
            raise answer
        return answer

    @contextmanager
    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        self.sent.append(Sent("GET", path, dict(query), headers or {}, None, timeout))
        answer = self.answers.pop(0)
        assert isinstance(answer, Response)
        yield answer, self._lines()

    def _lines(self) -> Iterator[bytes]:
        yield from self.lines
        if self.cut:
            raise TransportError("cut")

    def target(self) -> Target:
        return Target("here", "https://there", "")

    def close(self) -> None:
        self.closed = True


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def ok(body: JSON, **headers: str) -> Response:
    return Response(200, headers, json.dumps(body).encode())


def status(code: int, reason: str = "", message: str = "no", **more: JSON) -> Response:
    headers = more.pop("headers", {})
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, **more}
    return Response(code, headers, json.dumps(body).encode())


def cluster_on(
    script: Script, clock: Clock | None = None, log: Callable[[str], None] | None = None
) -> Cluster:
    clock = clock or Clock()
    return Cluster(script, sleep=clock.sleep, clock=clock, jitter=lambda: 0.5, log=log)


APP = {"kind": "Application", "metadata": {"name": "traefik", "namespace": "argocd"}}


# -- what is sent


def test_paths() -> None:
    assert object_path(APPLICATION, "argocd", "a") == (
        "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/a"
    )
    assert object_path(APPLICATION) == "/apis/argoproj.io/v1alpha1/applications"
    assert object_path(CONFIGMAP, "argocd") == "/api/v1/namespaces/argocd/configmaps"
    assert object_path(NAMESPACE, "ignored", "kube-system") == "/api/v1/namespaces/kube-system"
    assert object_path(CONFIGMAP, "a/../b", "c?d") == "/api/v1/namespaces/a%2F..%2Fb/configmaps/c%3Fd"


def test_patch_is_a_json_patch_in_go_encoding_with_our_name() -> None:
    script = Script(ok(APP))
    ops = [{"op": "test", "path": "/spec/source/targetRevision", "value": ">=2.4 & é"}]
    assert cluster_on(script).patch(APPLICATION, "argocd", "traefik", ops) == APP
    (sent,) = script.sent
    assert sent.method == "PATCH"
    assert sent.headers["Content-Type"] == "application/json-patch+json"
    assert sent.query == {"fieldManager": "kubectl-argo-rescue", "fieldValidation": "Strict"}
    assert sent.body is not None and ">=2.4 \\u0026 é".replace(">", "\\u003e").encode() in sent.body


def test_dry_run_is_the_servers() -> None:
    script = Script(ok(APP), ok(APP), ok({}))
    cluster = cluster_on(script)
    cluster.patch(APPLICATION, "argocd", "traefik", [], dry_run=True)
    cluster.create(APPLICATION, "argocd", APP, dry_run=True)
    cluster.delete(APPLICATION, "argocd", "traefik", dry_run=True)
    assert [sent.query.get("dryRun") for sent in script.sent] == ["All", "All", None]
    # The server ignores the query of a DELETE that has a body.
    assert json.loads(script.sent[2].body or b"")["dryRun"] == ["All"]


def test_what_was_read_is_current_if_a_patch_of_tests_holds() -> None:
    obj = {"metadata": {"name": "traefik", "namespace": "argocd", "uid": "u"}, "spec": {"a": 1}}
    script = Script(ok(APP), status(422, "Invalid"), status(404, "NotFound"), status(403, "Forbidden"))
    found = [cluster_on(script).is_current(APPLICATION, obj) for _ in range(4)]
    assert found == [True, False, False, True]
    assert {sent.query["dryRun"] for sent in script.sent} == {"All"}
    assert {op["op"] for op in json.loads(script.sent[0].body or b"")} == {"test"}


@pytest.mark.parametrize(
    ("one", "other", "older"), [("9", "10", True), ("10", "9", False), ("a", "b", False), ("", "1", False)]
)
def test_which_answer_is_older(one: str, other: str, older: bool) -> None:
    first, second = ({"metadata": {"uid": "u", "resourceVersion": version}} for version in (one, other))
    assert is_older(first, second) is older
    assert not is_older(first, {"metadata": {**second["metadata"], "uid": "another"}})


def test_delete_with_preconditions() -> None:
    script = Script(ok({}))
    cluster_on(script).delete(CONFIGMAP, "argocd", "entry", uid="u1", resource_version="7")
    assert json.loads(script.sent[0].body or b"")["preconditions"] == {"uid": "u1", "resourceVersion": "7"}


# -- errors


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(404, "NotFound", details={"name": "traefik"}), NotFound),
        (status(401, "Unauthorized"), Unauthorized),
        (status(403, "Forbidden"), Forbidden),
        (status(409, "Conflict"), StaleWrite),
        (status(409, "AlreadyExists"), AlreadyExists),
        (status(410, "Expired"), Expired),
        (status(422, "Invalid", details={}), GuardFailed),
        (status(422, "Invalid", details={"causes": [{"field": "spec", "message": "bad"}]}), Invalid),
        (status(400, "BadRequest"), Invalid),
        (status(413, "RequestEntityTooLarge"), Invalid),
        (status(415, "UnsupportedMediaType"), Invalid),
        (status(500, "InternalError"), Overloaded),
        (status(504, "Timeout"), Overloaded),
        (status(418, "Teapot"), ApiError),
    ],
)
def test_status_becomes_error(answer: Response, expected: type[ApiError]) -> None:
    script = Script(answer, answer)
    with pytest.raises(ApiError) as caught:
        cluster_on(script).patch(APPLICATION, "argocd", "traefik", [])
    assert type(caught.value) is expected
    assert caught.value.status == answer.status
    assert caught.value.message.startswith("Application argocd/traefik: ")


@pytest.mark.parametrize(
    "answer", [Response(404, {}, b"404 page not found\n"), status(404, "NotFound", details={})]
)
def test_a_resource_that_is_not_served_says_nothing_of_an_object(answer: Response) -> None:
    with pytest.raises(NotServed, match="Argo CD's CRDs are not installed: applications.argoproj.io"):
        cluster_on(Script(answer)).get(APPLICATION, "argocd", "traefik")
    with pytest.raises(NotServed, match="applications.argoproj.io"):
        cluster_on(Script(answer)).list(APPLICATION)
    with pytest.raises(NotServed, match="^ConfigMap argocd/argocd-cm: "):
        cluster_on(Script(answer)).get(CONFIGMAP, "argocd", "argocd-cm")


def test_post_without_causes_is_no_failed_guard() -> None:
    with pytest.raises(Invalid):
        cluster_on(Script(status(422, "Invalid"))).create(CONFIGMAP, "argocd", {"metadata": {"name": "x"}})


def test_causes_are_kept() -> None:
    causes = [{"field": "spec.project", "message": "bad"}, {"field": "spec.source", "message": "worse"}]
    with pytest.raises(Invalid) as caught:
        cluster_on(Script(status(422, "Invalid", details={"causes": causes}))).get(APPLICATION, "a", "b")
    assert caught.value.causes == ("spec.project", "spec.source")
    assert caught.value.reason == "Invalid"


def test_message_is_one_short_line_without_the_object() -> None:
    whole = '{\\"apiVersion\\":\\"argoproj.io/v1alpha1\\",' + "x" * 5000 + '\\"}'
    said = (
        f' "" is invalid: patch: Invalid value: "{whole}": strict decoding error: unknown field "spec.bogus"'
    )
    assert shorten(said) == '"" is invalid: patch: strict decoding error: unknown field "spec.bogus"'
    causes = [{"field": "patch", "message": f'Invalid value: "{whole}": strict decoding error'}]
    assert shorten(said, causes) == "patch: strict decoding error"
    assert len(shorten("x" * 1000)) == 300
    assert shorten("a\x1b[31mb\x1b]0;title\x07c\nd\u202ee") == "a b c d e"


def test_html_of_a_load_balancer_is_no_wall_of_tags() -> None:
    page = b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>"
    script = Script(*[Response(502, {}, page)] * 4)
    with pytest.raises(Overloaded) as caught:
        cluster_on(script).get(APPLICATION, "argocd", "traefik")
    assert caught.value.message == "Application argocd/traefik: 502 Bad Gateway"


def test_an_answer_that_is_no_json_is_no_api() -> None:
    with pytest.raises(TransportError, match="no JSON"):
        cluster_on(Script(Response(200, {}, b"<html>login</html>"))).get(APPLICATION, "argocd", "traefik")


# -- what is sent again


@pytest.mark.parametrize(
    "fault",
    [
        status(429, "TooManyRequests", headers={"retry-after": "2"}),
        status(503, "ServiceUnavailable", headers={"retry-after": "2"}),
    ],
)
def test_get_waits_as_the_server_asks(fault: Response) -> None:
    clock = Clock()
    script = Script(fault, ok(APP))
    assert cluster_on(script, clock).get(APPLICATION, "argocd", "traefik") == APP
    assert clock.slept == [2.25]  # and a little more, so that not all come back at once


@pytest.mark.parametrize("fault", [status(500, "InternalError"), TransportError("cut")])
def test_get_is_tried_four_times_with_growing_pauses(fault: Response | TransportError) -> None:
    clock = Clock()
    script = Script(*[fault] * 4)
    with pytest.raises((Overloaded, TransportError)):
        cluster_on(script, clock).get(APPLICATION, "argocd", "traefik")
    assert len(script.sent) == 4
    assert clock.slept == [0.25, 0.5, 1.0]


def test_a_busy_server_is_asked_ten_times_and_the_waits_are_told() -> None:
    clock = Clock()
    told: list[str] = []
    script = Script(*[status(429, "TooManyRequests", headers={"retry-after": "2"})] * 10)
    cluster = cluster_on(script, clock)
    cluster.tell_waits(told.append)
    with pytest.raises(Overloaded):
        cluster.patch(APPLICATION, "argocd", "traefik", [])
    assert len(script.sent) == 10
    # Ten waits within a moment are told once.
    assert told == ["the API server asks to wait 2 s (429 Too Many Requests): Application argocd/traefik"]


def test_an_error_after_many_tries_says_what_next() -> None:
    script = Script(*[TransportError("cut")] * 4)
    with pytest.raises(TransportError) as caught:
        cluster_on(script).get(APPLICATION, "argocd", "traefik")
    assert str(caught.value) == "cut; run it again when the API server answers"


def test_another_call_waits_as_well_as_the_server_asked() -> None:
    clock = Clock()
    script = Script(status(503, headers={"retry-after": "4"}), ok(APP), ok(APP))
    cluster = cluster_on(script, clock)
    with pytest.raises(Overloaded):
        cluster.patch(APPLICATION, "argocd", "traefik", [])
    cluster.get(APPLICATION, "argocd", "traefik")
    assert clock.slept == []
    cluster.patch(APPLICATION, "argocd", "traefik", [])
    assert clock.slept == [4.5]


def test_what_is_asked_to_wait_too_long_is_not_sent() -> None:
    clock = Clock()
    script = Script(status(503, headers={"retry-after": "60"}))
    cluster = cluster_on(script, clock)
    for _ in range(2):
        with pytest.raises(Overloaded, match="asks to wait 60 s"):
            cluster.patch(APPLICATION, "argocd", "traefik", [])
    assert len(script.sent) == 1


def test_a_retry_after_of_nothing_is_no_licence_to_hammer() -> None:
    clock = Clock()
    script = Script(status(429, headers={"retry-after": "0"}), ok(APP))
    cluster_on(script, clock).get(APPLICATION, "argocd", "traefik")
    assert clock.slept == [0.25 * 1.125]


class Login(Script):
    """A transport on which somebody logs in until the answer comes."""

    waiting = True

    def is_logging_in(self) -> bool:
        return self.waiting


@pytest.mark.parametrize("somebody_types", [True, False])
def test_a_late_answer_is_told_but_not_over_a_prompt(
    somebody_types: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_SLOW_SECONDS", 0.0)
    script = Login(ok(APP))
    script.waiting = somebody_types
    looked = threading.Event()
    told: list[str] = []

    def request(*args: JSON, **more: JSON) -> Response:
        assert looked.wait(30)
        return script.answers.pop(0)  # type: ignore[return-value]

    def is_logging_in() -> bool:
        # Asked once more after it was told, or left untold.
        if somebody_types or told:
            looked.set()
        return script.waiting

    monkeypatch.setattr(script, "request", request)
    monkeypatch.setattr(script, "is_logging_in", is_logging_in)
    cluster = cluster_on(script)
    cluster.tell_waits(told.append)
    cluster.get(APPLICATION, "argocd", "traefik")
    assert bool(told) is not somebody_types
    assert all("no answer from the API server" in text and "argocd/traefik" in text for text in told)


def test_lasting_trouble_is_not_asked_about_twice() -> None:
    script = Script(TransportError("wrong password", sent=False, lasting=True))
    with pytest.raises(TransportError, match="wrong password"):
        cluster_on(script).get(APPLICATION, "argocd", "traefik")
    assert len(script.sent) == 1


def test_a_request_timeout_of_0_is_no_limit() -> None:
    seconds = combine(Common(), {"request_timeout": RequestTimeout().convert("0", None, None)})
    script = Script(ok(APP))
    Cluster(script, request_timeout=seconds.connection.request_timeout).get(APPLICATION, "argocd", "traefik")
    assert (seconds.connection.request_timeout, script.sent[0].timeout) == (0.0, None)


def test_repetitions_stay_within_the_request_timeout() -> None:
    clock = Clock()
    script = Script(status(429, headers={"retry-after": "2"}), status(429, headers={"retry-after": "9"}))
    cluster = Cluster(script, request_timeout=10, sleep=clock.sleep, clock=clock, jitter=lambda: 0.0)
    with pytest.raises(Overloaded) as caught:
        cluster.get(APPLICATION, "argocd", "traefik")
    assert clock.slept == [2.0]
    assert [sent.timeout for sent in script.sent] == [10, 8]
    assert caught.value.hint == "the server asks to wait 9 s"


@pytest.mark.parametrize(
    "fault",
    [
        TransportError("cut in the middle", sent=True),
        status(500, "InternalError"),
        status(503, "ServiceUnavailable", headers={"retry-after": "1"}),
        status(504, "Timeout"),
        status(409, "Conflict"),
        status(422, "Invalid"),
    ],
)
@pytest.mark.parametrize("verb", ["patch", "create", "delete"])
def test_a_write_that_may_have_landed_is_never_sent_again(
    fault: Response | TransportError, verb: str
) -> None:
    script = Script(fault)
    with pytest.raises((ApiError, TransportError)):
        write(cluster_on(script), verb)
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    "fault",
    [
        TransportError("connection refused", sent=False),
        status(429, "TooManyRequests", headers={"retry-after": "1"}),
        status(401, "Unauthorized"),
    ],
)
@pytest.mark.parametrize("verb", ["patch", "create", "delete"])
def test_a_write_that_was_not_carried_out_is_sent_again(fault: Response | TransportError, verb: str) -> None:
    script = Script(fault, ok(APP))
    write(cluster_on(script), verb)
    assert script.sent[0].body == script.sent[1].body


def write(cluster: Cluster, verb: str) -> None:
    if verb == "patch":
        cluster.patch(APPLICATION, "argocd", "traefik", [{"op": "remove", "path": "/spec/syncPolicy"}])
    elif verb == "create":
        cluster.create(APPLICATION, "argocd", APP)
    else:
        cluster.delete(APPLICATION, "argocd", "traefik")


def test_rejected_credentials_are_renewed_once() -> None:
    clock = Clock()
    script = Script(status(401, "Unauthorized"), status(401, "Unauthorized"))
    with pytest.raises(Unauthorized, match="log in again"):
        cluster_on(script, clock).get(APPLICATION, "argocd", "traefik")
    assert len(script.sent) == 2
    assert clock.slept == []


# -- lists


def page(names: str, token: str = "", version: str = "10") -> Response:
    items = [{"metadata": {"name": name}} for name in names]
    meta = {"resourceVersion": version, **({"continue": token} if token else {})}
    return ok({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": meta, "items": items})


def test_list_reads_all_pages_and_names_the_kind() -> None:
    script = Script(page("ab", "t1"), page("c"))
    found = cluster_on(script).list(CONFIGMAP, "argocd", page=2, label_selector="a=b", field_selector="x=y")
    assert [item["metadata"]["name"] for item in found] == ["a", "b", "c"]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "ConfigMap")}
    assert script.sent[0].query == {"labelSelector": "a=b", "fieldSelector": "x=y", "limit": "2"}
    assert script.sent[1].query["continue"] == "t1"


def test_list_begins_again_once_where_a_page_expired() -> None:
    script = Script(page("ab", "t1"), status(410, "Expired"), page("abc", version="20"))
    listing = cluster_on(script).listing(CONFIGMAP)
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b", "c"]
    assert listing.resource_version == "20"
    assert "continue" not in script.sent[2].query


def test_list_gives_up_where_pages_keep_expiring() -> None:
    expired = status(410, "Expired")
    with pytest.raises(Expired):
        cluster_on(Script(page("a", "t"), expired, page("a", "t"), expired)).list(CONFIGMAP)


def test_pages_tell_of_expiry() -> None:
    pages = cluster_on(Script(page("ab", "t1"), status(410, "Expired"))).pages(CONFIGMAP)
    assert len(next(pages)) == 2
    with pytest.raises(Expired):
        next(pages)


def test_empty_list_of_null_items() -> None:
    assert cluster_on(Script(ok({"kind": "List", "items": None}))).list(APPLICATION) == []


# -- watches


def event(kind: str, obj: JSON) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode()


def test_watch_gives_events_and_bookmarks_and_ends_with_the_stream() -> None:
    script = Script(
        Response(200, {}, b""), lines=[event("MODIFIED", APP), event("BOOKMARK", {"metadata": {}})]
    )
    events = cluster_on(script).watch(
        APPLICATION, "argocd", name="traefik", resource_version="5", field_selector="a=b", timeout=7.2
    )
    assert [kind for kind, _ in events] == ["MODIFIED", "BOOKMARK"]
    assert script.sent[0].query == {
        "fieldSelector": "a=b,metadata.name=traefik",
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "7",
    }


def test_watch_expires_by_status_and_by_event() -> None:
    too_old = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1"}
    for script in (
        Script(Response(410, {}, json.dumps(too_old).encode())),
        Script(Response(200, {}, b""), lines=[event("ERROR", too_old)]),
        Script(Response(200, {}, b""), lines=[event("ERROR", {**too_old, "reason": "Gone"})]),
    ):
        with pytest.raises(Expired):
            list(cluster_on(script).watch(APPLICATION, resource_version="1", timeout=5))


def test_watch_that_is_cut_says_so_after_its_events() -> None:
    script = Script(Response(200, {}, b""), lines=[event("ADDED", APP)])
    script.cut = True
    events = cluster_on(script).watch(APPLICATION, resource_version="1", timeout=5)
    assert next(events)[0] == "ADDED"
    with pytest.raises(TransportError):
        next(events)


def test_watch_with_a_torn_line_is_no_event() -> None:
    script = Script(Response(200, {}, b""), lines=[b'{"type":"ADD'])
    with pytest.raises(TransportError, match="no event"):
        list(cluster_on(script).watch(APPLICATION, resource_version="1", timeout=5))


def test_watch_that_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        list(cluster_on(Script(status(403, "Forbidden"))).watch(APPLICATION, resource_version="", timeout=5))


# -- reviews


def test_review_access() -> None:
    script = Script(ok({"status": {"allowed": True}}), ok({"status": {"allowed": False}}), ok({}))
    cluster = cluster_on(script)
    assert cluster.review_access("patch", APPLICATION, "argocd", "traefik", subresource="status")
    assert not cluster.review_access("get", NAMESPACE, "ignored", "kube-system")
    assert not cluster.review_access("list", APPLICATION)
    assert json.loads(script.sent[0].body or b"")["spec"]["resourceAttributes"] == {
        "verb": "patch",
        "group": "argoproj.io",
        "version": "v1alpha1",
        "resource": "applications",
        "subresource": "status",
        "namespace": "argocd",
        "name": "traefik",
    }
    assert "namespace" not in json.loads(script.sent[1].body or b"")["spec"]["resourceAttributes"]


def test_reviews_may_be_repeated() -> None:
    script = Script(TransportError("cut", sent=True), ok({"status": {"allowed": True}}))
    assert cluster_on(script).review_access("get", APPLICATION)


def test_whoami_on_servers_that_cannot_say() -> None:
    user = {"username": "alice", "groups": ["sre"]}
    assert cluster_on(Script(ok({"status": {"userInfo": user}}))).whoami() == user
    assert cluster_on(Script(status(404, "NotFound"))).whoami() is None
    assert cluster_on(Script(status(403, "Forbidden"))).whoami() is None
    with pytest.raises(Unauthorized):
        cluster_on(Script(status(401, "Unauthorized"), status(401, "Unauthorized"))).whoami()


# -- warnings and log


def test_each_warning_is_said_once() -> None:
    said: list[str] = []
    header = '299 - "old \\"API\\"", 299 - "unknown field \\"spec.x\\", really"'
    script = Script(ok(APP, warning=header), ok(APP, warning=header))
    cluster = Cluster(script, on_warning=said.append)
    cluster.get(APPLICATION, "argocd", "traefik")
    cluster.get(APPLICATION, "argocd", "traefik")
    assert said == ['old "API"', 'unknown field "spec.x", really']


def test_a_broken_warning_header_is_no_warning() -> None:
    assert warnings_in("what is this") == []


def test_log_has_method_path_status_and_time() -> None:
    said: list[str] = []
    script = Script(TransportError("cut"), ok(APP))
    cluster_on(script, log=said.append).get(APPLICATION, "argocd", "traefik")
    path = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/traefik"
    first = [text.split("\n")[0] for text in said]
    assert first == [f"GET {path} no answer in 0 ms", f"GET {path} 200 OK in 0 ms"]


def test_the_log_tells_what_is_sent_but_no_value() -> None:
    said: list[str] = []
    script = Script(ok(APP, **{"audit-id": "a-1", "set-cookie": "hunter2"}))
    ops = [{"op": "replace", "path": "/spec/source/helm/values", "value": "password: hunter2"}]
    cluster_on(script, log=said.append).patch(APPLICATION, "argocd", "traefik", ops, dry_run=True)
    line, sent, came = said[0].split("\n")
    assert "&dryRun=All 200 OK" in line
    assert sent.endswith("bytes: replace /spec/source/helm/values")
    assert came.endswith("audit-id: a-1")
    assert "hunter2" not in said[0]


def test_the_context_manager_closes_the_transport() -> None:
    script = Script()
    with cluster_on(script) as cluster:
        assert cluster.target().context == "here"
    assert script.closed


# -- several at once


def test_gather_keeps_the_order_and_runs_side_by_side() -> None:
    both = threading.Barrier(2, timeout=60)

    def meet(value: int) -> Callable[[], int]:
        def thunk() -> int:
            both.wait()
            return value

        return thunk

    assert gather(meet(1), meet(2)) == [1, 2]
    assert gather(*[lambda n=n: n for n in range(50)]) == list(range(50))
    assert gather() == []


def test_gather_raises_the_first_error_and_outcomes_keep_all() -> None:
    def fail(text: str) -> Callable[[], int]:
        def thunk() -> int:
            raise NotFound(text)

        return thunk

    with pytest.raises(NotFound, match="first"):
        gather(lambda: 1, fail("first"), fail("second"))
    one, two, three = gather_outcomes(lambda: 1, fail("x"), lambda: None)
    assert (one, three) == (Done(1), Done(None))
    assert isinstance(two, Failed) and isinstance(two.error, NotFound)
    with pytest.raises(NotFound):
        gather(fail("alone"))
