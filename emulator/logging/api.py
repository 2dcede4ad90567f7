"""The Cloud Logging v2 REST API over HTTP (https://cloud.google.com/logging/docs/reference/v2/rest).

It is served on Compute Engine's port: their paths do not collide.
"""

from urllib.parse import quote

from flask import Blueprint, Response, request

from cos_customizer.emulator.logging.entries import LogEntries
from cos_customizer.emulator.web import answer, json_object, service

logging_api = Blueprint("logging", __name__, url_prefix="/v2")


def _entries() -> LogEntries:
    return service(LogEntries)


@logging_api.post("/entries:write")
def _write() -> Response:
    _entries().write(json_object(), request.content_length or 0)
    return answer({})


@logging_api.post("/entries:list")
def _list() -> Response:
    return answer(_entries().page(json_object()))


@logging_api.get("/projects/<project>/logs")
def _names(project: str) -> Response:
    names = _entries().names(project)
    return answer({"logNames": names} if names else {})


@logging_api.delete("/projects/<project>/logs/<path:log_id>")
def _delete(project: str, log_id: str) -> Response:
    _entries().delete(f"projects/{project}/logs/{quote(log_id, safe='')}")
    return answer({})
