"""The common part of the HTTP APIs: which emulator a request is for, JSON in and out, errors, faults on demand.

One Flask application serves all emulators of a process, because building its URL map is slow. Each emulator calls it
with a `Context` of its own.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import ApiError, EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.http_server import DROP_CONNECTION
from cos_customizer.emulator.projects import check_project
from cos_customizer.emulator.request_log import INTERNAL, RequestLog

S = TypeVar("S")

_CONTEXT = "emulator.context"


@dataclass
class Context:
    """The emulator that a request is for.

    Attributes:
        services: the objects behind the APIs, found by their types; others when the state is replaced.
        faults: applied to requests.
        request_log: records requests.
        use_project: called with the project of each request.
    """

    services: tuple[object, ...]
    faults: Faults
    request_log: RequestLog
    use_project: Callable[[str], None]

    def wsgi(self, app: Flask) -> Callable[..., Any]:
        """Return the application, for this emulator."""

        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            return app({**environ, _CONTEXT: self}, start_response)

        return call


def context() -> Context:
    """Return the emulator that the present request is for."""
    found = request.environ[_CONTEXT]
    assert isinstance(found, Context)
    return found


def service(kind: type[S]) -> S:
    """Return the object of this type behind the API that the present request is for."""
    return next(each for each in context().services if isinstance(each, kind))


def application(*blueprints: Blueprint) -> Flask:
    """Make the application that serves some APIs."""
    app = Flask("emulator")
    app.url_map.strict_slashes = False
    app.before_request(_before)
    app.after_request(_after)
    app.register_error_handler(ApiError, _refused)
    app.register_error_handler(EmulatorError, _failed)
    app.register_error_handler(HTTPException, _no_route)
    app.register_error_handler(Exception, _broken)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def answer(body: object, status: int = 200) -> Response:
    """Make a JSON answer."""
    return Response(json.dumps(body), status, mimetype="application/json")


def json_body() -> Any:
    """Return the request's body, decoded; an empty object if it has none.

    Raises:
        ApiError: 400, it is not JSON.
    """
    text = request.get_data()
    try:
        body = json.loads(text) if text else {}
        json.dumps(body, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        why = "A text is not Unicode." if isinstance(error, UnicodeEncodeError) else error
        raise ApiError(400, "parseError", f"Invalid JSON payload received. {why}") from None
    return body


def json_object() -> dict[str, Any]:
    """Return the request's body, decoded; an empty object if it has none.

    Raises:
        ApiError: 400, it is not a JSON object.
    """
    body = json_body()
    if not isinstance(body, dict):
        raise ApiError(400, "parseError", "Invalid JSON payload received. An object is expected.")
    return body


def _before() -> Response | None:
    if request.view_args and "project" in request.view_args:
        check_project(request.view_args["project"])
        context().use_project(request.view_args["project"])
    return _fault()


def _fault() -> Response | None:
    if request.path.startswith(INTERNAL):
        return None
    faults, method, path = context().faults, request.method, request.full_path.rstrip("?")
    delay = faults.take("delay", method=method, path=path)
    if delay:
        time.sleep(delay.seconds)
    fault = faults.take("http", "drop", "hold", method=method, path=path)
    if fault is None:
        return None
    if fault.kind == "hold":
        if fault.when == "before":
            faults.hold(fault)
        else:
            g.hold = fault
        return None
    if fault.kind == "http":
        message = fault.message or f"The request was made to fail with {fault.status}."
        return answer(ApiError(fault.status, fault.reason, message).body(), fault.status)
    g.drop = True
    return answer({}) if fault.when == "before" else None


def _after(response: Response) -> Response:
    if "hold" in g:
        context().faults.hold(g.hold)
    if "drop" in g:
        response.headers[DROP_CONNECTION] = "1"
    return response


def _refused(error: ApiError) -> Response:
    return answer(error.body(), error.code)


def _failed(error: EmulatorError) -> Response:
    return answer(ApiError(500, "internalError", f"{error} {error.hint}".strip()).body(), 500)


def _no_route(error: HTTPException) -> Response:
    code = error.code or 500
    message = f"The local Compute Engine has no {request.method} {request.path}"
    return answer(ApiError(code, "notFound" if code == 404 else "invalid", message).body(), code)


def _broken(error: Exception) -> Response:
    LOG.exception("%s %s", request.method, request.path)
    message = f"The local Compute Engine failed: {type(error).__name__}: {error}"
    return answer(ApiError(500, "backendError", message).body(), 500)
