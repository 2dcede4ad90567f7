"""The Cloud Logging v2 REST API over HTTP (https://cloud.google.com/logging/docs/reference/v2/rest).

It is served on Compute Engine's port: nothing of its paths is in that one's way.
"""

from urllib.parse import quote

from flask import Blueprint, Response, request

from cos_customizer.emulator.compute.api import answer, context, json_body

log_api = Blueprint("logging", __name__, url_prefix="/v2")


@log_api.post("/entries:write")
def _write() -> Response:
    context.logs.write(json_body(), request.content_length or 0)
    return answer({})


@log_api.post("/entries:list")
def _list() -> Response:
    return answer(context.logs.page(json_body()))


@log_api.get("/projects/<project>/logs")
def _names(project: str) -> Response:
    names = context.logs.names(project)
    return answer({"logNames": names} if names else {})


@log_api.delete("/projects/<project>/logs/<path:log_id>")
def _delete(project: str, log_id: str) -> Response:
    context.logs.delete(f"projects/{project}/logs/{quote(log_id, safe='')}")
    return answer({})
