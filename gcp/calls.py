"""Calling Google's APIs: retries inside a time bound, waiting for operations, errors translated once."""

import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import requests
from google.api_core import exceptions, retry
from google.auth import exceptions as auth_exceptions
from google.cloud import compute_v1

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import (
    AlreadyExistsError,
    ConflictError,
    CredentialsError,
    CustomizerError,
    NotFoundError,
    PermissionDeniedError,
    PolicyError,
    QuotaError,
    StockOutError,
    UnavailableError,
)
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.spec.options import ZONES
from cos_customizer.gcp import in_flight, organization_policies, request_fields
from cos_customizer.gcp.clients import Clients

REQUEST_TIMEOUT = 30.0
"""Seconds that one ordinary request may take."""
_RETRY_BOUND = 120.0
_WAIT_REQUEST_TIMEOUT = 150.0  # the server answers a wait within two minutes
OPERATION_PATIENCE = 900.0
"""Seconds for which an operation is awaited where nothing else limits that: by commands without a time limit."""

_NEVER_SENT = ("Connection refused", "Name or service not known", "NewConnectionError", "ConnectTimeoutError")

_TRANSIENT = (
    exceptions.TooManyRequests,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.ServiceUnavailable,
    exceptions.GatewayTimeout,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    auth_exceptions.TransportError,
)
_OPERATION = re.compile(r"projects/(?P<project>[^/]+)/(zones/(?P<zone>[^/]+)|global)/operations/")
_ZONE_NOT_FOUND = re.compile(r"projects/([^/']+)/zones/[^/']+' was not found")
_OWN_ERRORS = ("INTERNAL_ERROR", "BACKEND_ERROR", "SERVICE_UNAVAILABLE")
"""Codes of operations that Google Cloud itself has failed in."""
_RATE_REASONS = ("rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED")


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later.

    Excess calls get 403 with reason `rateLimitExceeded`: https://cloud.google.com/compute/api-quota#best-practices.
    """
    if isinstance(error, exceptions.Forbidden):
        return is_rate_limited(error)
    if isinstance(error, auth_exceptions.GoogleAuthError) and error.retryable:
        return True
    return isinstance(error, _TRANSIENT)


def is_rate_limited(error: BaseException) -> bool:
    """Whether the project has made more calls of this kind than it may; see `is_transient`."""
    if isinstance(error, exceptions.TooManyRequests):
        return True
    return isinstance(error, exceptions.Forbidden) and any(reason in _RATE_REASONS for reason in _reasons(error))


class RateLimitedError(QuotaError):
    """The project has made more calls of this kind than it may in a minute."""


RETRY = retry.Retry(predicate=is_transient, initial=0.3, maximum=10.0, multiplier=2.0, timeout=_RETRY_BOUND)
"""For calls that may be repeated: reads, and mutations that carry a request id. Jitter is the library's."""


def patience() -> dict[str, Any]:
    """How often a client's method tries, and how long it waits, in the time that is left: its arguments for that."""
    return {"retry": RETRY.with_timeout(deadline.left(_RETRY_BOUND)), "timeout": deadline.left(REQUEST_TIMEOUT)}


def call(method: Callable[..., Any], request: Any, doing: str) -> Any:
    """Make a call that reads, or that repeats without harm.

    Args:
        method: of a Google client.
        request: the method's request message.
        doing: what is being done, for error messages: `read image projects/p/global/images/i`.

    Returns:
        What the method returns.

    Raises:
        CustomizerError: of the kind that fits, once retries are used up.
    """
    deadline.check(doing)
    try:
        return method(request=request, **patience())
    except Exception as error:
        raise translated(error, doing) from error


def call_at_a_rate(method: Callable[..., Any], request: Any, doing: str) -> Any:
    """Make a call as `call` does, for whoever slows down by himself.

    Raises:
        RateLimitedError: the project has made too many such calls; this one was not tried again.
        CustomizerError: as `call`.
    """
    deadline.check(doing)
    try:
        arguments = patience()
        again = arguments["retry"].with_predicate(lambda error: is_transient(error) and not is_rate_limited(error))
        return method(request=request, **{**arguments, "retry": again})
    except Exception as error:
        if is_rate_limited(error):
            raise RateLimitedError(f"could not {doing}: too many calls a minute in this project") from error
        raise translated(error, doing) from error


def listed(method: Callable[..., Any], request: Any, doing: str) -> list[Any]:
    """Everything that a list call gives, page by page.

    Args:
        method: of a Google client; returns a pager.
        request: the method's request message.
        doing: what is being done, for error messages.

    Raises:
        CustomizerError: as `call`, for any of the pages.
    """
    found: list[Any] = []
    while True:  # not by the library's pager, which keeps for each page the patience that there was for the first
        page = next(call(method, request, doing).pages)
        found += page.items.items() if isinstance(page.items, Mapping) else page.items
        if not page.next_page_token:
            return found
        request = type(request)(request, page_token=page.next_page_token)


def send(method: Callable[..., Any], request: Any, doing: str, thing: object) -> Any:
    """Make a call that creates something and carries a request id.

    Whoever interrupts it does not wait for its answer; `in_flight.take_back` does, before it deletes the thing.

    Args:
        method: of a Google client.
        request: the method's request message, with a request id.
        doing: what is being done, for error messages.
        thing: what is created: a `VmRef` or an `ImageRef`.

    Returns:
        What the method returns.

    Raises:
        CustomizerError: of the kind that fits, once retries are used up.
    """
    deadline.check(doing)
    patience = RETRY.with_timeout(deadline.left(_RETRY_BOUND))

    def work(sent: in_flight.Request[Any]) -> Any:
        def once() -> Any:
            sent.check()
            return method(request=request, retry=None, timeout=REQUEST_TIMEOUT)

        return patience.with_predicate(lambda error: is_transient(error) and not sent.abandoned.is_set())(once)()

    try:
        return in_flight.carry_out(thing, work, is_unanswered)
    except Exception as error:
        raise translated(error, doing) from error


def is_unanswered(error: Exception) -> bool:
    """Whether an error leaves open if the server has carried out what it was asked for, or will."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return is_unanswered(error.cause)
    if isinstance(error, requests.exceptions.ConnectionError):
        return not any(words in str(error) for words in _NEVER_SENT)
    return isinstance(
        error, requests.exceptions.RequestException | exceptions.GatewayTimeout | in_flight.AbandonedError
    )


def wait(clients: Clients, operation: compute_v1.Operation, doing: str) -> compute_v1.Operation:
    """Wait until an operation is done, on a zonal resource or on an image: its own address says which it is.

    Args:
        clients: Google's clients.
        operation: As the mutating call returned it.
        doing: What is being done, for error messages.

    Returns:
        The operation in its last state.

    Raises:
        TimeUpError: There was no time left to see it end; where there is no time limit, it has not ended in a quarter
            of an hour.
        CustomizerError: The operation ended in an error, of the kind that fits.
    """
    with at_most(OPERATION_PATIENCE):
        return _await(clients, operation, doing)


def at_most(seconds: float) -> AbstractContextManager[None]:
    """Bound what is done in this context where nothing else does.

    Args:
        seconds: That it may take then.
    """
    return deadline.until(time.monotonic() + seconds) if math.isinf(deadline.left()) else nullcontext()


def _await(clients: Clients, operation: compute_v1.Operation, doing: str) -> compute_v1.Operation:
    if operation.status != compute_v1.Operation.Status.DONE:
        method, request = _waiting(clients, operation)
    while operation.status != compute_v1.Operation.Status.DONE:
        if deadline.left() == 0:
            raise deadline.TimeUpError(f"could not {doing}: it was begun, and there was no time left to see it end")
        asked = time.monotonic()
        try:
            # The bound is for what comes after a wait that was cut off, however long that lasted.
            patient = RETRY.with_timeout(deadline.left(_WAIT_REQUEST_TIMEOUT + _RETRY_BOUND))
            operation = method(request=request, retry=patient, timeout=deadline.left(_WAIT_REQUEST_TIMEOUT))
        except Exception as error:
            if deadline.left() > 0:
                raise translated(error, doing) from error
        if operation.status != compute_v1.Operation.Status.DONE and time.monotonic() - asked < 1:
            deadline.pause(1)  # wait() may return early; do not turn it into a busy loop
    if operation.error.errors:
        first = operation.error.errors[0]
        raise operation_error(first.code, first.message, doing)
    if operation.http_error_status_code >= 400:
        raise CustomizerError(f"could not {doing}: {operation.http_error_message}")
    return operation


def _waiting(clients: Clients, operation: compute_v1.Operation) -> tuple[Callable[..., compute_v1.Operation], Any]:
    """The method that waits for an operation, and its request."""
    address = _OPERATION.search(operation.self_link)
    assert address, f"no address of an operation: {operation.self_link!r}"
    project, zone, name = address["project"], address["zone"], operation.name
    if zone:
        return clients.zone_operations.wait, compute_v1.WaitZoneOperationRequest(
            project=project, zone=zone, operation=name
        )
    return clients.global_operations.wait, compute_v1.WaitGlobalOperationRequest(project=project, operation=name)


def operation_error(code: str, message: str, doing: str) -> CustomizerError:
    """What an operation's error code means.

    Source: https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation.

    Args:
        code: for example `ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS`.
        message: Google's.
        doing: what was being done.
    """
    text = f"could not {doing}: {message.rstrip('.') or code} ({code})"
    if code.startswith(("ZONE_RESOURCE_POOL_EXHAUSTED", "STOCKOUT")) or code == "RESOURCE_POOL_EXHAUSTED":
        return StockOutError(
            text, Message("the zone has no capacity now; {} takes a list of zones to try in turn.", ZONES)
        )
    if "QUOTA" in code:
        return QuotaError(text, _quota_hint(message))
    if code in ("RESOURCE_NOT_FOUND", "NOT_FOUND"):
        return NotFoundError(text, request_fields.hint_for(text))
    if code in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
        return AlreadyExistsError(text)
    if code.startswith("RESOURCE_IN_USE") or code == "RESOURCE_NOT_READY":
        return ConflictError(text)
    if code in ("PERMISSIONS_ERROR", "SERVICE_ACCOUNT_ACCESS_DENIED"):
        return PermissionDeniedError(text, "docs/google-cloud.md lists the IAM roles that a build needs.")
    if code == "CONDITION_NOT_MET":
        return PolicyError(text, organization_policies.hint_for(text))
    if code in _OWN_ERRORS:
        return UnavailableError(text, request_fields.hint_for(text))
    return CustomizerError(text, request_fields.hint_for(text))


def _quota_hint(message: str) -> str:
    hint = Message("ask for more quota, or build in another region with {}", ZONES)
    return Message("{}; {} builds without a GPU.", hint, _NO_GPU) if "GPUS" in message else Message("{}.", hint)


_NO_GPU = FieldPath("steps.install-gpu.attach_gpu", False)


def _answer(error: exceptions.GoogleAPICallError) -> dict[str, Any]:
    """The API's own account of an error: of a transfer's, Cloud Storage's library keeps the response alone."""
    try:
        answer = error.response.json()["error"]
    except Exception:  # there is no response, or one of somebody else's
        return {}
    return answer if isinstance(answer, dict) else {}


def _reasons(error: exceptions.GoogleAPICallError) -> list[str]:
    found = [
        str(item.get("reason", ""))
        for item in error.errors or _answer(error).get("errors") or ()
        if isinstance(item, dict)
    ]
    return [*found, str(getattr(error, "reason", "") or "")]


def _message(error: exceptions.GoogleAPICallError) -> str:
    # google-api-core puts method and URL before the API's own words, Cloud Storage's library a tuple in their place.
    words = str(_answer(error).get("message") or re.sub(r"^[A-Z]+ https?://\S+: ", "", str(error.message)))
    words = words.strip().rstrip(".")
    if words and not words.startswith("<"):
        return words
    return f"HTTP status {int(error.code)}" if error.code else type(error).__name__  # a proxy's page, or nothing


def translated(error: Exception, doing: str) -> CustomizerError:
    """Say what an exception of Google's libraries means.

    Args:
        error: as it was raised.
        doing: what was being done: `create builder VM x in zone y`.

    Returns:
        The exception to raise from it; a CustomizerError is returned as it is.
    """
    if isinstance(error, CustomizerError):
        return error
    if deadline.left() == 0 and (isinstance(error, exceptions.RetryError) or is_transient(error)):
        return deadline.TimeUpError(f"could not {doing}: the time was up before there was an answer")
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return translated(error.cause, doing)
    if isinstance(error, exceptions.GoogleAPICallError):
        return _translated_answer(error, doing)
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return CredentialsError(
            f"could not {doing}: the Google credentials do not work ({error})",
            "run `gcloud auth application-default login`, or check the service account.",
        )
    if isinstance(error, requests.exceptions.RequestException):
        return UnavailableError(
            f"could not {doing}: no answer from the API ({_shortly(error)})",
            "is the network up? For a local Compute Engine: `cos-customizer emulator status`.",
        )
    return CustomizerError(f"could not {doing}: {type(error).__name__}: {error}")


def _shortly(error: Exception) -> str:
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "timed out", "Connection reset"):
        if known in text:
            return known.lower()
    return type(error).__name__


def _translated_answer(error: exceptions.GoogleAPICallError, doing: str) -> CustomizerError:
    text = f"could not {doing}: {_message(error)}"
    reasons = _reasons(error)
    if isinstance(error, exceptions.NotFound):
        zone = _ZONE_NOT_FOUND.search(text)
        if zone:
            return NotFoundError(text, f"`gcloud compute zones list --project={zone[1]}` lists the zones.")
        return NotFoundError(text, request_fields.hint_for(text))
    if isinstance(error, exceptions.Conflict) and set(reasons) <= {"", "alreadyExists", "conflict", "duplicate"}:
        return AlreadyExistsError(text)
    if isinstance(error, exceptions.Conflict) or set(reasons) & {"resourceInUseByAnotherResource", "resourceNotReady"}:
        return ConflictError(text)
    if isinstance(error, exceptions.PreconditionFailed):
        if "conditionNotMet" in reasons and "onstraint" in text:
            return PolicyError(text, organization_policies.hint_for(text))
        return ConflictError(text, "someone else changed it at the same time; try again.")
    if isinstance(error, exceptions.Unauthorized):
        return PermissionDeniedError(text, "run `gcloud auth application-default login`, or check the service account.")
    if isinstance(error, exceptions.Forbidden):
        if {"accessNotConfigured", "SERVICE_DISABLED"} & set(reasons) or "has not been used in project" in text:
            return PermissionDeniedError(
                text, "enable the APIs: `gcloud services enable compute.googleapis.com storage.googleapis.com`."
            )
        if "quotaExceeded" in reasons:
            return QuotaError(text, _quota_hint(text))
        if any(reason in _RATE_REASONS for reason in reasons):
            return QuotaError(text, "too many calls a minute in this project; try again later.")
        return PermissionDeniedError(text, "docs/google-cloud.md lists the IAM roles that a build needs.")
    if isinstance(error, exceptions.ServerError):
        return UnavailableError(text, request_fields.hint_for(text))
    return CustomizerError(text, request_fields.hint_for(text))
