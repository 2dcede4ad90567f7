"""The Compute Engine v1 REST API over HTTP (https://cloud.google.com/compute/docs/reference/rest/v1)."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from . import listing
from .compute import Compute
from .errors import ApiError, not_found
from .http_server import DROP_CONNECTION, LOG
from .machines import EmulatorError
from .resources import Resource, check_writable
from .schema import check_body

V1 = "/compute/v1/projects"


def create_app(compute: Compute, use_project: Callable[[str], None]) -> Flask:
    """The application.

    Args:
        compute: what it is the face of.
        use_project: told the project of each request.
    """
    app = Flask("compute")
    app.url_map.strict_slashes = False

    @app.before_request
    def before() -> Response | None:
        return _fault(compute)

    @app.before_request
    def note_project() -> None:
        if request.view_args and "project" in request.view_args:
            use_project(request.view_args["project"])

    @app.after_request
    def after(response: Response) -> Response:
        if getattr(g, "drop", False):
            response.headers[DROP_CONNECTION] = "1"
        return response

    _errors(app)
    _images(app, compute)
    _disks(app, compute)
    _instances(app, compute)
    _rest(app, compute)
    return app


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


def _fault(compute: Compute) -> Response | None:
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


def _errors(app: Flask) -> None:
    @app.errorhandler(ApiError)
    def refused(error: ApiError) -> Response:
        return answer(error.body(), error.code)

    @app.errorhandler(EmulatorError)
    def failed(error: EmulatorError) -> Response:
        return answer(ApiError(500, "internalError", f"{error} {error.hint}".strip()).body(), 500)

    @app.errorhandler(HTTPException)
    def no_route(error: HTTPException) -> Response:
        code = error.code or 500
        message = f"The local Compute Engine has no {request.method} {request.path}"
        return answer(ApiError(code, "notFound" if code == 404 else "invalid", message).body(), code)

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Response:
        LOG.exception("%s %s", request.method, request.path)
        message = f"The local Compute Engine failed: {type(error).__name__}: {error}"
        return answer(ApiError(500, "backendError", message).body(), 500)


def _change(compute: Compute, project: str, method: str, begin: Callable[[], Resource]) -> Response:
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


def _images(app: Flask, compute: Compute) -> None:
    collection = f"{V1}/<project>/global/images"
    images = compute.images

    @app.get(f"{collection}/family/<family>")
    def image_from_family(project: str, family: str) -> Response:
        return answer(images.from_family(project, family))

    @app.get(f"{V1}/<project>/zones/<zone>/imageFamilyViews/<family>")
    def image_family_view(project: str, zone: str, family: str) -> Response:  # noqa: ARG001 (the same in all zones)
        return answer({"image": images.from_family(project, family)})

    @app.post(collection)
    def insert_image(project: str) -> Response:
        body, force = json_body("Image"), _flag("forceCreate")
        return _change(compute, project, "images.insert", lambda: images.insert(project, body, force))

    @app.patch(f"{collection}/<name>")
    def patch_image(project: str, name: str) -> Response:
        body = json_body("Image")
        return _change(compute, project, "images.patch", lambda: images.patch(project, name, body))

    @app.delete(f"{collection}/<name>")
    def delete_image(project: str, name: str) -> Response:
        return _change(compute, project, "images.delete", lambda: images.delete(project, name))

    @app.post(f"{collection}/<name>/deprecate")
    def deprecate_image(project: str, name: str) -> Response:
        body = json_body("DeprecationStatus")
        return _change(compute, project, "images.deprecate", lambda: images.deprecate(project, name, body))

    @app.post(f"{collection}/<name>/setLabels")
    def label_image(project: str, name: str) -> Response:
        body, path = json_body("GlobalSetLabelsRequest"), f"projects/{project}/global/images/{name}"
        return _change(compute, project, "images.setLabels", lambda: compute.core.set_labels(path, body))


def _disks(app: Flask, compute: Compute) -> None:
    collection = f"{V1}/<project>/zones/<zone>/disks"
    disks = compute.disks

    @app.post(collection)
    def insert_disk(project: str, zone: str) -> Response:
        body, image = json_body("Disk"), request.args.get("sourceImage", "")
        return _change(compute, project, "disks.insert", lambda: disks.insert(project, zone, body, image))

    @app.delete(f"{collection}/<name>")
    def delete_disk(project: str, zone: str, name: str) -> Response:
        return _change(compute, project, "disks.delete", lambda: disks.delete(project, zone, name))

    @app.post(f"{collection}/<name>/setLabels")
    def label_disk(project: str, zone: str, name: str) -> Response:
        body, path = json_body("ZoneSetLabelsRequest"), f"projects/{project}/zones/{zone}/disks/{name}"
        return _change(compute, project, "disks.setLabels", lambda: compute.core.set_labels(path, body))


def _instances(app: Flask, compute: Compute) -> None:
    collection = f"{V1}/<project>/zones/<zone>/instances"
    instances = compute.instances

    def path_of(project: str, zone: str, name: str) -> str:
        return f"projects/{project}/zones/{zone}/instances/{name}"

    @app.post(collection)
    def insert_instance(project: str, zone: str) -> Response:
        if request.args.get("sourceInstanceTemplate") or request.args.get("sourceMachineImage"):
            raise ApiError(501, "notImplemented", "The local Compute Engine has no templates.")
        body = json_body("Instance")
        return _change(compute, project, "instances.insert", lambda: instances.insert(project, zone, body))

    @app.delete(f"{collection}/<name>")
    def delete_instance(project: str, zone: str, name: str) -> Response:
        path = path_of(project, zone, name)
        return _change(compute, project, "instances.delete", lambda: instances.delete(path))

    @app.post(f"{collection}/<name>/<any(start, stop):action>")
    def switch_instance(project: str, zone: str, name: str, action: str) -> Response:
        path = path_of(project, zone, name)
        begin = instances.start if action == "start" else instances.stop
        return _change(compute, project, f"instances.{action}", lambda: begin(path))

    @app.post(f"{collection}/<name>/setLabels")
    def label_instance(project: str, zone: str, name: str) -> Response:
        body, path = json_body("InstancesSetLabelsRequest"), path_of(project, zone, name)
        return _change(compute, project, "instances.setLabels", lambda: compute.core.set_labels(path, body))

    @app.post(f"{collection}/<name>/setMetadata")
    def set_metadata(project: str, zone: str, name: str) -> Response:
        body, path = json_body("Metadata"), path_of(project, zone, name)
        return _change(compute, project, "instances.setMetadata", lambda: instances.set_metadata(path, body))

    @app.get(f"{collection}/<name>/serialPort")
    def serial_port(project: str, zone: str, name: str) -> Response:
        path = path_of(project, zone, name)
        return answer(instances.serial_output(path, _number("port", 1), _number("start", 0)))


def _rest(app: Flask, compute: Compute) -> None:
    @app.get(f"{V1}/<project>")
    def get_project(project: str) -> Response:
        return answer(compute.get(f"projects/{project}"))

    @app.get(f"{V1}/<project>/aggregated/<kind>")
    def aggregated(project: str, kind: str) -> Response:
        return answer(listing.aggregated(compute, project, kind, request.args))

    @app.post(f"{V1}/<project>/<path:where>/operations/<name>/wait")
    def wait(project: str, where: str, name: str) -> Response:
        return answer(compute.operations.wait(f"projects/{project}/{where}/operations/{name}"))

    @app.get(f"{V1}/<project>/<path:rest>")
    def get_or_list(project: str, rest: str) -> Response:
        path, parts = f"projects/{project}/{rest}", rest.split("/")
        # global/KIND[/NAME], zones[/ZONE[/KIND[/NAME]]] and the same for regions
        if parts[0] == "global" and len(parts) in (2, 3):
            single = len(parts) == 3
        elif parts[0] in ("zones", "regions") and len(parts) <= 4:
            single = len(parts) % 2 == 0
        else:
            raise not_found(path)
        return answer(compute.get(path) if single else listing.page(compute, path, request.args))
