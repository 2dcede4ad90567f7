"""The Compute Engine v1 REST API over HTTP (https://cloud.google.com/compute/docs/reference/rest/v1)."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy

from cos_customizer.emulator.compute import listing
from cos_customizer.emulator.compute.engine import Compute
from cos_customizer.emulator.compute.resources import Resource, check_writable
from cos_customizer.emulator.compute.schema import check_body
from cos_customizer.emulator.errors import ApiError, not_found
from cos_customizer.emulator.http_server import DROP_CONNECTION, LOG
from cos_customizer.emulator.logging.entries import Logs
from cos_customizer.emulator.machines.backend import EmulatorError
from cos_customizer.emulator.request_log import Calls

V1 = "/compute/v1/projects"
_CONTEXT = "emulator.context"


@dataclass(frozen=True)
class Context:
    """The emulator that a request is for. One application serves all emulators of a process: its routes are dear.

    Attributes:
        compute: what the API is the face of.
        logs: what Cloud Logging's API is the face of.
        calls: the record of calls.
        use_project: told the project of each request.
        status: what the emulator's own API answers to `status`.
        shutdown: called when somebody asks the emulator to end.
    """

    compute: Compute
    logs: Logs
    calls: Calls
    use_project: Callable[[str], None]
    status: Callable[[], dict[str, Any]]
    shutdown: Callable[[], None]

    def wsgi(self, app: Flask) -> Callable[..., Any]:
        """The application, for this emulator."""
        return lambda environ, start_response: app({**environ, _CONTEXT: self}, start_response)


context = cast(Context, LocalProxy(lambda: request.environ[_CONTEXT]))
compute = cast(Compute, LocalProxy(lambda: context.compute))
api = Blueprint("compute", __name__)


@api.before_app_request
def _before() -> Response | None:
    if request.view_args and "project" in request.view_args:
        context.use_project(request.view_args["project"])
        _name_of_id(request.view_args)
    return _fault()


def _name_of_id(args: dict[str, Any]) -> None:
    """Let a resource's id stand where its name does."""
    if str(args.get("name", "")).isdecimal():
        collection = request.path.removeprefix("/compute/v1/").split(f"/{args['name']}")[0]
        args["name"] = compute.named(f"{collection}/{args['name']}").rpartition("/")[2]
    elif "rest" in args:
        args["rest"] = compute.named(f"projects/{args['project']}/{args['rest']}").split("/", 2)[2]


@api.after_app_request
def _after(response: Response) -> Response:
    if getattr(g, "drop", False):
        response.headers[DROP_CONNECTION] = "1"
    return response


def answer(body: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(json.dumps(body), status, mimetype="application/json")


def json_body(type_name: str = "") -> dict[str, Any]:
    """The request's JSON body, checked against a type of the API if one is named.

    Raises:
        ApiError: 400.
    """
    text = request.get_data()
    try:
        body = json.loads(text) if text else {}
    except ValueError as error:
        raise ApiError(400, "parseError", f"Invalid JSON payload received. {error}") from None
    if type_name:
        return check_body(type_name, body)
    if not isinstance(body, dict):
        raise ApiError(400, "parseError", "Invalid JSON payload received. An object is expected.")
    return body


def _fault() -> Response | None:
    if request.path.startswith(("/emulator/", "/batch/")):
        return None
    method, path = request.method, request.full_path.rstrip("?")
    delay = compute.faults.take("delay", method=method, path=path)
    if delay:
        time.sleep(delay.seconds)
    fault = compute.faults.take("http", "drop", method=method, path=path)
    if fault is None:
        return None
    if fault.kind == "http":
        message = fault.message or f"The request was made to fail with {fault.status}."
        return answer(ApiError(fault.status, fault.reason, message).body(), fault.status)
    g.drop = True
    return answer({}) if fault.when == "before" else None


@api.app_errorhandler(ApiError)
def _refused(error: ApiError) -> Response:
    return answer(error.body(), error.code)


@api.app_errorhandler(EmulatorError)
def _failed(error: EmulatorError) -> Response:
    return answer(ApiError(500, "internalError", f"{error} {error.hint}".strip()).body(), 500)


@api.app_errorhandler(HTTPException)
def _no_route(error: HTTPException) -> Response:
    code = error.code or 500
    message = f"The local Compute Engine has no {request.method} {request.path}"
    return answer(ApiError(code, "notFound" if code == 404 else "invalid", message).body(), code)


@api.app_errorhandler(Exception)
def _broken(error: Exception) -> Response:
    LOG.exception("%s %s", request.method, request.path)
    message = f"The local Compute Engine failed: {type(error).__name__}: {error}"
    return answer(ApiError(500, "backendError", message).body(), 500)


def _change(project: str, method: str, begin: Callable[[], Resource]) -> Response:
    """Carry out a change once, however often it is asked for with the same `requestId`."""
    check_writable(project)
    request_id = request.args.get("requestId", "")
    if request_id:
        try:
            uuid.UUID(request_id)
        except ValueError:
            message = f"Invalid value for field 'requestId': '{request_id}'. Must be a UUID."
            raise ApiError(400, "invalid", message) from None
    with compute.store.lock:
        return answer(compute.operations.once(project, method, request_id, begin))


def _flag(name: str) -> bool:
    return request.args.get(name, "false").lower() in ("true", "1")


def _number(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "invalid", f"Invalid value for field '{name}': '{text}'. Not a number.") from None


_IMAGES = f"{V1}/<project>/global/images"


@api.get(f"{_IMAGES}/family/<family>")
def _image_from_family(project: str, family: str) -> Response:
    return answer(compute.images.from_family(project, family))


@api.get(f"{V1}/<project>/zones/<zone>/imageFamilyViews/<family>")
def _image_family_view(project: str, zone: str, family: str) -> Response:  # noqa: ARG001 (the same in all zones)
    return answer({"image": compute.images.from_family(project, family)})


@api.post(_IMAGES)
def _insert_image(project: str) -> Response:
    body, force = json_body("Image"), _flag("forceCreate")
    return _change(project, "images.insert", lambda: compute.images.insert(project, body, force))


@api.patch(f"{_IMAGES}/<name>")
def _patch_image(project: str, name: str) -> Response:
    body = json_body("Image")
    return _change(project, "images.patch", lambda: compute.images.patch(project, name, body))


@api.delete(f"{_IMAGES}/<name>")
def _delete_image(project: str, name: str) -> Response:
    return _change(project, "images.delete", lambda: compute.images.delete(project, name))


@api.post(f"{_IMAGES}/<name>/deprecate")
def _deprecate_image(project: str, name: str) -> Response:
    body = json_body("DeprecationStatus")
    return _change(project, "images.deprecate", lambda: compute.images.deprecate(project, name, body))


@api.post(f"{_IMAGES}/<name>/setLabels")
def _label_image(project: str, name: str) -> Response:
    body, path = json_body("GlobalSetLabelsRequest"), f"projects/{project}/global/images/{name}"
    return _change(project, "images.setLabels", lambda: compute.core.set_labels(path, body))


_DISKS = f"{V1}/<project>/zones/<zone>/disks"


@api.post(_DISKS)
def _insert_disk(project: str, zone: str) -> Response:
    body, image = json_body("Disk"), request.args.get("sourceImage", "")
    return _change(project, "disks.insert", lambda: compute.disks.insert(project, zone, body, image))


@api.delete(f"{_DISKS}/<name>")
def _delete_disk(project: str, zone: str, name: str) -> Response:
    return _change(project, "disks.delete", lambda: compute.disks.delete(project, zone, name))


@api.post(f"{_DISKS}/<name>/setLabels")
def _label_disk(project: str, zone: str, name: str) -> Response:
    body, path = json_body("ZoneSetLabelsRequest"), f"projects/{project}/zones/{zone}/disks/{name}"
    return _change(project, "disks.setLabels", lambda: compute.core.set_labels(path, body))


_INSTANCES = f"{V1}/<project>/zones/<zone>/instances"


def _path(project: str, zone: str, name: str) -> str:
    return f"projects/{project}/zones/{zone}/instances/{name}"


@api.post(_INSTANCES)
def _insert_instance(project: str, zone: str) -> Response:
    if request.args.get("sourceInstanceTemplate") or request.args.get("sourceMachineImage"):
        raise ApiError(501, "notImplemented", "The local Compute Engine makes no instances from templates.")
    body = json_body("Instance")
    return _change(project, "instances.insert", lambda: compute.instances.insert(project, zone, body))


@api.delete(f"{_INSTANCES}/<name>")
def _delete_instance(project: str, zone: str, name: str) -> Response:
    path = _path(project, zone, name)
    return _change(project, "instances.delete", lambda: compute.instances.delete(path))


@api.post(f"{_INSTANCES}/<name>/<any(start, stop):action>")
def _switch_instance(project: str, zone: str, name: str, action: str) -> Response:
    path = _path(project, zone, name)
    begin = compute.instances.start if action == "start" else compute.instances.stop
    return _change(project, f"instances.{action}", lambda: begin(path))


@api.post(f"{_INSTANCES}/<name>/setLabels")
def _label_instance(project: str, zone: str, name: str) -> Response:
    body, path = json_body("InstancesSetLabelsRequest"), _path(project, zone, name)
    return _change(project, "instances.setLabels", lambda: compute.core.set_labels(path, body))


@api.post(f"{_INSTANCES}/<name>/setMetadata")
def _set_metadata(project: str, zone: str, name: str) -> Response:
    body, path = json_body("Metadata"), _path(project, zone, name)
    return _change(project, "instances.setMetadata", lambda: compute.instances.set_metadata(path, body))


@api.get(f"{_INSTANCES}/<name>/serialPort")
def _serial_port(project: str, zone: str, name: str) -> Response:
    path = _path(project, zone, name)
    return answer(compute.instances.serial_output(path, _number("port", 1), _number("start", 0)))


_TEMPLATES = f"{V1}/<project>/global/instanceTemplates"


@api.post(_TEMPLATES)
def _insert_template(project: str) -> Response:
    body = json_body("InstanceTemplate")
    return _change(project, "instanceTemplates.insert", lambda: compute.templates.insert(project, body))


@api.delete(f"{_TEMPLATES}/<name>")
def _delete_template(project: str, name: str) -> Response:
    return _change(project, "instanceTemplates.delete", lambda: compute.templates.delete(project, name))


@api.get(f"{V1}/<project>")
def _get_project(project: str) -> Response:
    return answer(compute.get(f"projects/{project}"))


@api.get(f"{V1}/<project>/aggregated/<kind>")
def _aggregated(project: str, kind: str) -> Response:
    return answer(listing.aggregated(compute, project, kind, request.args))


@api.post(f"{V1}/<project>/<path:where>/operations/<name>/wait")
def _wait(project: str, where: str, name: str) -> Response:
    return answer(compute.operations.wait(f"projects/{project}/{where}/operations/{name}"))


@api.get(f"{V1}/<project>/<path:rest>")
def _get_or_list(project: str, rest: str) -> Response:
    path, parts = f"projects/{project}/{rest}", rest.split("/")
    # global/KIND[/NAME], zones[/ZONE[/KIND[/NAME]]] and the same for regions
    if parts[0] == "global" and len(parts) in (2, 3):
        single = len(parts) == 3
    elif parts[0] in ("zones", "regions") and len(parts) <= 4:
        single = len(parts) % 2 == 0
    else:
        raise not_found(path)
    return answer(compute.get(path) if single else listing.page(compute, path, request.args))
