"""Calls: what is repeated, what an answer means, and that none outlives the time that is left.

The answers come from a real HTTP server through Google's real clients.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

from cos_customizer.customizer import deadline, errors
from cos_customizer.customizer.references import ImageRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.endpoints import Endpoints

Answer = tuple[int, Any]
DROP: Answer = (0, None)
"""The connection is closed without a word."""
STALL: Answer = (-1, None)
"""It is closed after longer than the bound of retries."""


class Clock:
    """Time that passes when somebody sleeps, and at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Api:
    """An API that gives the answers it is told to, one a request, the last one again and again."""

    clock = Clock()

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                api.requests.append(f"{self.command} {self.path}")
                status, body = api.answers.pop(0) if len(api.answers) > 1 else api.answers[0]
                if status <= 0:
                    api.clock.sleep(calls._RETRY_BOUND * 1.2 if status else 0)
                    self.close_connection = True
                    return
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.clients = Clients(
            Endpoints(f"http://127.0.0.1:{self._server.server_port}", "http://127.0.0.1:1"),
            AnonymousCredentials(),  # type: ignore[no-untyped-call]
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def get_image(self) -> Any:
        request = compute_v1.GetImageRequest(project="p", image="i")
        return calls.call(self.clients.images.get, request, "read image p/i")

    def insert_image(self) -> Any:
        request = compute_v1.InsertImageRequest(project="p", image_resource=compute_v1.Image(name="i"), request_id="r")
        return calls.send(self.clients.images.insert_unary, request, "create image p/i", ImageRef("p", "i"))


@pytest.fixture(scope="module")
def running_api() -> Iterator[Api]:
    api = Api()
    yield api
    api.stop()


@pytest.fixture
def api(running_api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The rules of retrying as they are, by a clock that is turned."""
    running_api.answers, running_api.requests, running_api.clock = [], [], Clock()
    modules = ("cos_customizer.customizer.deadline", "cos_customizer.gcp.calls")
    for module in (*modules, "google.api_core.retry.retry_unary", "google.api_core.retry.retry_base"):
        monkeypatch.setattr(f"{module}.time", running_api.clock)
    return running_api


def fault(status: int, message: str, reason: str = "") -> Answer:
    """An error in the form that Google's APIs give it."""
    details = [{"message": message, "domain": "global", "reason": reason}] if reason else []
    return status, {"error": {"code": status, "message": message, "errors": details}}


IMAGE: Answer = (200, {"name": "i", "status": "READY"})
OPERATION: Answer = (200, {"name": "o", "status": "RUNNING"})
DONE: Answer = (200, {"name": "o", "status": "DONE"})

TRANSIENT: dict[str, Answer] = {
    "429": fault(429, "Too many requests"),
    "500": fault(500, "Internal error"),
    "502 with a proxy's page": (502, "<html><body>Bad gateway</body></html>"),
    "503": fault(503, "Backend error", "backendError"),
    "504": fault(504, "Deadline exceeded"),
    "403 for excess calls": fault(403, "Rate Limit Exceeded", "rateLimitExceeded"),
    "dropped connection": DROP,
}


@pytest.mark.parametrize("answer", TRANSIENT.values(), ids=TRANSIENT)
@pytest.mark.parametrize("call", [Api.get_image, Api.insert_image], ids=["read", "create"])
def test_what_passes_is_tried_again(api: Api, call: Callable[[Api], Any], answer: Answer) -> None:
    api.answers = [answer, answer, IMAGE]
    assert call(api).name == "i"
    assert len(api.requests) == 3
    assert len(set(api.requests)) == 1  # with the same request id


def test_retrying_ends_and_the_last_answer_is_told(api: Api) -> None:
    api.answers = [fault(503, "Backend error", "backendError")]
    with pytest.raises(errors.CustomizerError, match=r"^could not read image p/i: Backend error$"):
        api.get_image()
    assert len(api.requests) > 3
    assert api.clock.now <= calls._RETRY_BOUND


NOT_FOUND = "The resource 'projects/p/global/images/i' was not found"
POLICY = "Constraint constraints/compute.vmExternalIpAccess violated for project p."
ROLES = "IAM roles"

ANSWERS: dict[str, tuple[Answer, type[errors.CustomizerError], str, str]] = {
    "not found": (fault(404, NOT_FOUND, "notFound"), errors.NotFoundError, NOT_FOUND, ""),
    "no such zone": (
        fault(404, "The resource 'projects/p/zones/z' was not found", "notFound"),
        errors.NotFoundError,
        "projects/p/zones/z",
        "gcloud compute zones list --project=p",
    ),
    "exists": (
        fault(409, "The resource 'i' already exists", "alreadyExists"),
        errors.AlreadyExistsError,
        "The resource 'i' already exists",
        "",
    ),
    "conflict of another kind": (
        fault(409, "The resource 'i' is being deleted", "resourceNotReady"),
        errors.ConflictError,
        "is being deleted",
        "",
    ),
    "in use": (
        fault(400, "The disk resource 'd' is already being used by 'v'", "resourceInUseByAnotherResource"),
        errors.ConflictError,
        "is already being used",
        "",
    ),
    "changed since": (
        fault(412, "Labels fingerprint either invalid or outdated", "conditionNotMet"),
        errors.ConflictError,
        "fingerprint",
        "try again",
    ),
    "organization policy": (
        fault(412, POLICY, "conditionNotMet"),
        errors.PolicyError,
        POLICY.rstrip("."),
        "builder.external_ip: false",
    ),
    "no permission": (
        fault(403, "Required 'compute.images.get' permission for 'projects/p'", "forbidden"),
        errors.PermissionDeniedError,
        "'compute.images.get'",
        ROLES,
    ),
    "API not enabled": (
        fault(
            403, "Compute Engine API has not been used in project 1 before or it is disabled.", "accessNotConfigured"
        ),
        errors.PermissionDeniedError,
        "has not been used",
        "gcloud services enable compute.googleapis.com",
    ),
    "quota": (
        fault(403, "Quota 'IMAGES' exceeded", "quotaExceeded"),
        errors.QuotaError,
        "Quota 'IMAGES'",
        "more quota",
    ),
    "rate": (fault(403, "Rate Limit Exceeded", "rateLimitExceeded"), errors.QuotaError, "Rate Limit", "later"),
    "bad request whose message has URLs": (
        fault(400, "Invalid value for field 'x': 'https://h/compute/v1/projects/p'. Why: it is so.", "invalid"),
        errors.CustomizerError,
        "Invalid value for field 'x': 'https://h/compute/v1/projects/p'. Why: it is so",
        "",
    ),
    "a value that is none": (
        fault(400, "Invalid value for field 'resource.disks[0].initializeParams.diskType': 'x'. It is so.", "invalid"),
        errors.CustomizerError,
        "initializeParams.diskType",
        "builder.disk_type sets it",
    ),
    "an unknown zone": (
        fault(400, "Invalid value for field 'zone': 'us-west1'. Unknown zone.", "invalid"),
        errors.CustomizerError,
        "Unknown zone",
        "builder.zones sets it",
    ),
    "no such network": (
        fault(404, "The resource 'projects/p/global/networks/n' was not found", "notFound"),
        errors.NotFoundError,
        "networks/n",
        "builder.network sets it",
    ),
    "a proxy's page": ((400, "<!DOCTYPE html><html>…</html>"), errors.CustomizerError, "HTTP status 400", ""),
    "a status that nobody knows": (fault(499, ""), errors.CustomizerError, "HTTP status 499", ""),
}


@pytest.mark.parametrize(("answer", "kind", "message", "hint"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_told_in_the_api_s_own_words_with_a_hint(
    api: Api, answer: Answer, kind: type[errors.CustomizerError], message: str, hint: str
) -> None:
    api.answers = [answer]
    with pytest.raises(errors.CustomizerError) as caught:
        api.get_image()
    assert type(caught.value) is kind
    assert caught.value.message.startswith("could not read image p/i: ")
    assert message in caught.value.message
    assert "http://127.0.0.1" not in caught.value.message
    assert caught.value.message[-1] != "."
    assert hint in caught.value.hint
    assert len(api.requests) == 1 or "Rate" in message


def test_no_connection_at_all_is_told_shortly(api: Api) -> None:
    nowhere = Clients(Endpoints("http://127.0.0.1:1", "http://127.0.0.1:1"), api.clients.credentials)
    request = compute_v1.GetImageRequest(project="p", image="i")
    with pytest.raises(errors.CustomizerError) as caught:
        calls.call(nowhere.images.get, request, "read image p/i")
    assert caught.value.message == "could not read image p/i: no answer from the API (connection refused)"
    assert "emulator status" in caught.value.hint


RAISED: list[tuple[Exception, bool, type[errors.CustomizerError]]] = [
    (requests.exceptions.ReadTimeout("timed out"), True, errors.UnavailableError),
    (requests.exceptions.ChunkedEncodingError("cut"), True, errors.UnavailableError),
    (auth_exceptions.TransportError("metadata server"), True, errors.CredentialsError),  # type: ignore[no-untyped-call]
    (auth_exceptions.RefreshError("once more", retryable=True), True, errors.CredentialsError),  # type: ignore[no-untyped-call]
    (auth_exceptions.RefreshError("invalid_grant"), False, errors.CredentialsError),  # type: ignore[no-untyped-call]
    (exceptions.Forbidden("no"), False, errors.PermissionDeniedError),  # type: ignore[no-untyped-call]
    (exceptions.Unauthorized("no"), False, errors.PermissionDeniedError),  # type: ignore[no-untyped-call]
    (exceptions.ServiceUnavailable("no"), True, errors.UnavailableError),  # type: ignore[no-untyped-call]
    (exceptions.NotFound("no"), False, errors.NotFoundError),  # type: ignore[no-untyped-call]
    (errors.StockOutError("full", "hint"), False, errors.StockOutError),
    (ValueError("odd"), False, errors.CustomizerError),
]


@pytest.mark.parametrize(("error", "transient", "kind"), RAISED, ids=[repr(error)[:40] for error, *_ in RAISED])
def test_whatever_google_s_libraries_raise_is_understood(
    error: Exception, transient: bool, kind: type[errors.CustomizerError]
) -> None:
    assert calls.is_transient(error) is transient
    told = calls.translated(error, "do it")
    assert type(told) is kind
    assert told is error or told.message.startswith("could not do it: ")
    retried = exceptions.RetryError("Timeout of 120.0s exceeded", cause=error)  # type: ignore[no-untyped-call]
    assert calls.translated(retried, "do it").message == told.message


CODES = [
    ("ZONE_RESOURCE_POOL_EXHAUSTED", errors.StockOutError, "builder.zones takes a list"),
    ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", errors.StockOutError, "builder.zones takes a list"),
    ("STOCKOUT", errors.StockOutError, "builder.zones takes a list"),
    ("QUOTA_EXCEEDED", errors.QuotaError, "more quota"),
    ("RESOURCE_NOT_FOUND", errors.NotFoundError, ""),
    ("RESOURCE_ALREADY_EXISTS", errors.AlreadyExistsError, ""),
    ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", errors.ConflictError, ""),
    ("RESOURCE_NOT_READY", errors.ConflictError, ""),
    ("PERMISSIONS_ERROR", errors.PermissionDeniedError, ROLES),
    ("CONDITION_NOT_MET", errors.PolicyError, "organization policy"),
    ("INTERNAL_ERROR", errors.UnavailableError, ""),
    ("", errors.CustomizerError, ""),
]


@pytest.mark.parametrize(("code", "kind", "hint"), CODES)
def test_an_operation_that_ends_in_an_error_raises_what_its_code_means(
    api: Api, code: str, kind: type[errors.CustomizerError], hint: str
) -> None:
    api.answers = [
        (200, {"name": "o", "status": "DONE", "error": {"errors": [{"code": code, "message": "It is so."}]}})
    ]
    with pytest.raises(errors.CustomizerError) as caught:
        wait(api)
    assert type(caught.value) is kind
    assert caught.value.message == f"could not create image p/i: It is so ({code})"
    assert hint in caught.value.hint


def wait(api: Api, where: str = "https://www.googleapis.com/compute/v1/projects/p/global") -> compute_v1.Operation:
    running = compute_v1.Operation.Status.RUNNING
    operation = compute_v1.Operation(name="o", status=running, self_link=f"{where}/operations/o")
    return calls.wait(api.clients, operation, "create image p/i")


@pytest.mark.parametrize("where", ["projects/p/global", "projects/example.com:p/zones/us-west1-b"])
def test_an_operation_s_address_says_where_to_wait_for_it(api: Api, where: str) -> None:
    api.answers = [DONE]
    wait(api, f"https://compute.example/compute/v1/{where}")
    (request,) = api.requests
    assert unquote(request).partition("?")[0] == f"POST /compute/v1/{where}/operations/o/wait"


def test_an_operation_is_waited_for_through_early_answers_and_lost_connections(api: Api) -> None:
    api.answers = [DROP, OPERATION, fault(503, "Backend error"), DONE]
    assert wait(api).status == compute_v1.Operation.Status.DONE
    assert api.clock.now >= 1  # an early answer is no reason for a busy loop
    assert {request.partition("?")[0] for request in api.requests} == {
        "POST /compute/v1/projects/p/global/operations/o/wait"
    }


def test_a_wait_that_is_cut_off_after_a_long_time_is_begun_again(api: Api) -> None:
    api.answers = [STALL, DONE]
    assert wait(api).status == compute_v1.Operation.Status.DONE


def test_an_operation_that_is_done_is_not_asked_for(api: Api) -> None:
    done = compute_v1.Operation(name="o", status=compute_v1.Operation.Status.DONE)
    assert calls.wait(api.clients, done, "do it") is done
    assert api.requests == []


def test_an_operation_that_failed_without_a_code_is_an_error(api: Api) -> None:
    body = {"name": "o", "status": "DONE", "httpErrorStatusCode": 500, "httpErrorMessage": "INTERNAL"}
    api.answers = [(200, body)]
    with pytest.raises(errors.CustomizerError, match="could not create image p/i: INTERNAL"):
        wait(api)


def test_no_call_is_begun_when_the_time_is_up(api: Api) -> None:
    with deadline.until(api.clock.now):
        for doing in (api.get_image, api.insert_image):
            with pytest.raises(deadline.TimeUpError, match="the time was up"):
                doing()
    assert api.requests == []


def test_no_wait_outlives_the_time_that_is_left(running_api: Api) -> None:
    """By the real clock: the operation never ends."""
    running_api.answers = [(200, {"name": "o", "status": "RUNNING"})] * 1000
    with deadline.until(time.monotonic() + 0.2), pytest.raises(deadline.TimeUpError, match="see it end"):
        wait(running_api)


def test_an_operation_that_never_ends_is_given_up_though_nothing_limits_the_time(api: Api) -> None:
    api.answers = [OPERATION]
    with pytest.raises(deadline.TimeUpError, match="see it end"):
        wait(api)
    assert api.clock.now == pytest.approx(calls.OPERATION_PATIENCE)


def test_every_page_of_a_list_keeps_to_the_time_that_is_left(api: Api) -> None:
    first = (200, {"items": [{"name": "a"}], "nextPageToken": "t"})
    request = compute_v1.ListImagesRequest(project="p")
    api.answers = [(503, {}), (503, {}), (503, {}), first, (200, {"items": [{"name": "b"}]})]
    assert [image.name for image in calls.listed(api.clients.images.list, request, "list")] == ["a", "b"]
    assert api.requests[-1].endswith("pageToken=t")
    api.answers = [(503, {}), (503, {}), (503, {}), (503, {}), first, (503, {})]
    api.clock.now = 0.0
    with deadline.until(20), pytest.raises(errors.CustomizerError):
        calls.listed(api.clients.images.list, request, "list")
    assert api.clock.now < 20


def test_retries_end_with_the_time_that_is_left(api: Api) -> None:
    api.answers = [(503, {})] * 1000
    with deadline.until(api.clock.now + 20), pytest.raises(errors.CustomizerError):
        api.get_image()
    assert api.clock.now < 20
