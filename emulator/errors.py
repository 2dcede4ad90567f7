"""Errors: of the emulator itself, and as the APIs report them (a refused request, a failed operation)."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

_CANONICAL = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CANONICAL_BY_REASON = {"failedPrecondition": "FAILED_PRECONDITION"}
"""Reasons that have a status of their own, whatever the HTTP status."""


class EmulatorError(Exception):
    """The emulator cannot do what it was asked to.

    Attributes:
        hint: what the user can do about it; empty if there is nothing to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ApiError(Exception):
    """A request that the API refuses.

    Attributes:
        code: HTTP status.
        reason: the machine-readable reason, for example `notFound`.
        message: the text for people.
    """

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer (https://cloud.google.com/apis/design/errors)."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
        }
        if status := _CANONICAL_BY_REASON.get(self.reason) or _CANONICAL.get(self.code):
            error["status"] = status
        return {"error": error}


class OperationError(Exception):
    """An accepted operation that ends in an error.

    Attributes:
        code: the operation's error code, for example `ZONE_RESOURCE_POOL_EXHAUSTED`.
        message: the text for people.
        http_status: the operation's `httpErrorStatusCode`.
        details: the error's `errorDetails`, if it has any.
    """

    def __init__(self, code: str, message: str, http_status: int = 400, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
        self.details = list(details)

    def fields(self) -> dict[str, Any]:
        """The fields that the failure adds to the operation resource."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            error["errorDetails"] = self.details
        return {
            "error": {"errors": [error]},
            "httpErrorStatusCode": self.http_status,
            "httpErrorMessage": status_phrase(self.http_status),
        }


def status_phrase(status: int) -> str:
    """The phrase of an HTTP status as operations give it, for example `SERVICE UNAVAILABLE`."""
    try:
        return HTTPStatus(status).phrase.upper()
    except ValueError:
        return "ERROR"


def invalid(field: str, value: object, why: str) -> ApiError:
    """A field of a request body holds a value that cannot be used."""
    return ApiError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def not_found(path: str) -> ApiError:
    """The resource does not exist; `path` is like `projects/p/global/images/i`."""
    return ApiError(404, "notFound", f"The resource '{path}' was not found")


def already_exists(path: str) -> ApiError:
    """The name is taken."""
    return ApiError(409, "alreadyExists", f"The resource '{path}' already exists")


def not_in_state(path: str, state: str) -> ApiError:
    """An instance has another status than a change of it needs."""
    return ApiError(400, "resourceNotReady", f"The resource '{path}' is not in state {state}.")


def in_use(path: str, user: str, kind: str = "disk") -> ApiError:
    """A resource is used by another one."""
    return ApiError(
        400, "resourceInUseByAnotherResource", f"The {kind} resource '{path}' is already being used by '{user}'"
    )


def not_ready(path: str) -> ApiError:
    """The resource is in the middle of something else."""
    return ApiError(400, "resourceNotReady", f"The resource '{path}' is not ready")


def unsupported(feature: str) -> ApiError:
    """Compute Engine has this feature, the local one has not."""
    return ApiError(501, "notImplemented", f"The local Compute Engine does not support {feature}.")
