"""The Compute Engine v1 REST API over HTTP (https://cloud.google.com/compute/docs/reference/rest/v1).

A new method is a route here and an operation of the kind of resource that it is about.
"""

import uuid
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from cos_customizer.emulator.compute import listing
from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.labels import set_labels
from cos_customizer.emulator.compute.schema import check_body
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, not_found
from cos_customizer.emulator.projects import check_writable
from cos_customizer.emulator.web import answer, json_body, service

V1 = "/compute/v1/projects"

compute_api = Blueprint("compute", __name__)


def _engine() -> ComputeEngine:
    return service(ComputeEngine)


def _body(type_name: str) -> dict[str, Any]:
    """Return the request's body, checked against a type of the API."""
    return check_body(type_name, json_body())


@compute_api.before_request
def _name_by_id() -> None:
    """Put a project's id in the place of its number, and a resource's name in that of its id: the API takes both."""
    args: dict[str, Any] = request.view_args or {}
    named = args.get("project", "")
    if named:
        args["project"] = _engine().shared.store.project_id(named)
    if str(args.get("name", "")).isdecimal():
        collection = request.path.removeprefix("/compute/v1/").split(f"/{args['name']}")[0]
        collection = collection.replace(f"projects/{named}/", f"projects/{args['project']}/", 1)
        args["name"] = _engine().named(f"{collection}/{args['name']}").rpartition("/")[2]
    elif "rest" in args:
        args["rest"] = _engine().named(f"projects/{args['project']}/{args['rest']}").split("/", 2)[2]


def _change(project: str, method: str, begin: Callable[[], Resource]) -> Response:
    """Begin a change, or answer with the operation that an earlier request with the same `requestId` began.

    Args:
        project: where the change is made.
        method: the API method, for example `instances.insert`.
        begin: checks the request and begins the operation.

    Raises:
        ApiError: 400, 403, or as `begin` raises it.
    """
    check_writable(project)
    request_id = request.args.get("requestId", "")
    if request_id:
        try:
            uuid.UUID(request_id)
        except ValueError:
            message = f"Invalid value for field 'requestId': '{request_id}'. Must be a UUID."
            raise ApiError(400, "invalid", message) from None
    with _engine().change_lock:
        return answer(_engine().operations.once(project, method, request_id, begin))


def _flag(name: str) -> bool:
    return request.args.get(name, "false").lower() in ("true", "1")


def _number(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "invalid", f"Invalid value for field '{name}': '{text}'. Not a number.") from None


_IMAGES = f"{V1}/<project>/global/images"


@compute_api.get(f"{_IMAGES}/family/<family>")
def _image_from_family(project: str, family: str) -> Response:
    return answer(_engine().images.from_family(project, family))


@compute_api.get(f"{V1}/<project>/zones/<zone>/imageFamilyViews/<family>")
def _image_family_view(project: str, zone: str, family: str) -> Response:  # noqa: ARG001 (the same in all zones)
    return answer({"image": _engine().images.from_family(project, family)})


@compute_api.post(_IMAGES)
def _insert_image(project: str) -> Response:
    body, force = _body("Image"), _flag("forceCreate")
    return _change(project, "images.insert", lambda: _engine().images.insert(project, body, force))


@compute_api.patch(f"{_IMAGES}/<name>")
def _patch_image(project: str, name: str) -> Response:
    body = _body("Image")
    return _change(project, "images.patch", lambda: _engine().images.patch(project, name, body))


@compute_api.delete(f"{_IMAGES}/<name>")
def _delete_image(project: str, name: str) -> Response:
    return _change(project, "images.delete", lambda: _engine().images.delete(project, name))


@compute_api.post(f"{_IMAGES}/<name>/deprecate")
def _deprecate_image(project: str, name: str) -> Response:
    body = _body("DeprecationStatus")
    return _change(project, "images.deprecate", lambda: _engine().images.deprecate(project, name, body))


@compute_api.post(f"{_IMAGES}/<name>/setLabels")
def _label_image(project: str, name: str) -> Response:
    body, path = _body("GlobalSetLabelsRequest"), f"projects/{project}/global/images/{name}"
    return _change(project, "images.setLabels", lambda: set_labels(_engine().shared, path, body))


_DISKS = f"{V1}/<project>/zones/<zone>/disks"


@compute_api.post(_DISKS)
def _insert_disk(project: str, zone: str) -> Response:
    body, image = _body("Disk"), request.args.get("sourceImage", "")
    return _change(project, "disks.insert", lambda: _engine().disks.insert(project, zone, body, image))


@compute_api.delete(f"{_DISKS}/<name>")
def _delete_disk(project: str, zone: str, name: str) -> Response:
    return _change(project, "disks.delete", lambda: _engine().disks.delete(project, zone, name))


@compute_api.post(f"{_DISKS}/<name>/setLabels")
def _label_disk(project: str, zone: str, name: str) -> Response:
    body, path = _body("ZoneSetLabelsRequest"), f"projects/{project}/zones/{zone}/disks/{name}"
    return _change(project, "disks.setLabels", lambda: set_labels(_engine().shared, path, body))


_INSTANCES = f"{V1}/<project>/zones/<zone>/instances"


def _path(project: str, zone: str, name: str) -> str:
    return f"projects/{project}/zones/{zone}/instances/{name}"


@compute_api.post(_INSTANCES)
def _insert_instance(project: str, zone: str) -> Response:
    if request.args.get("sourceInstanceTemplate") or request.args.get("sourceMachineImage"):
        raise ApiError(501, "notImplemented", "The local Compute Engine makes no instances from templates.")
    body = _body("Instance")
    return _change(project, "instances.insert", lambda: _engine().instances.insert(project, zone, body))


@compute_api.delete(f"{_INSTANCES}/<name>")
def _delete_instance(project: str, zone: str, name: str) -> Response:
    path = _path(project, zone, name)
    return _change(project, "instances.delete", lambda: _engine().instances.delete(path))


@compute_api.post(f"{_INSTANCES}/<name>/start")
def _start_instance(project: str, zone: str, name: str) -> Response:
    path = _path(project, zone, name)
    return _change(project, "instances.start", lambda: _engine().instances.start(path))


@compute_api.post(f"{_INSTANCES}/<name>/stop")
def _stop_instance(project: str, zone: str, name: str) -> Response:
    path = _path(project, zone, name)
    return _change(project, "instances.stop", lambda: _engine().instances.stop(path))


@compute_api.post(f"{_INSTANCES}/<name>/setLabels")
def _label_instance(project: str, zone: str, name: str) -> Response:
    body, path = _body("InstancesSetLabelsRequest"), _path(project, zone, name)
    return _change(project, "instances.setLabels", lambda: set_labels(_engine().shared, path, body))


@compute_api.post(f"{_INSTANCES}/<name>/setMetadata")
def _set_metadata(project: str, zone: str, name: str) -> Response:
    body, path = _body("Metadata"), _path(project, zone, name)
    return _change(project, "instances.setMetadata", lambda: _engine().instances.set_metadata(path, body))


@compute_api.get(f"{_INSTANCES}/<name>/serialPort")
def _serial_port(project: str, zone: str, name: str) -> Response:
    path = _path(project, zone, name)
    return answer(_engine().instances.serial_output(path, _number("port", 1), _number("start", 0)))


_TEMPLATES = f"{V1}/<project>/global/instanceTemplates"


@compute_api.post(_TEMPLATES)
def _insert_template(project: str) -> Response:
    body = _body("InstanceTemplate")
    return _change(project, "instanceTemplates.insert", lambda: _engine().templates.insert(project, body))


@compute_api.delete(f"{_TEMPLATES}/<name>")
def _delete_template(project: str, name: str) -> Response:
    return _change(project, "instanceTemplates.delete", lambda: _engine().templates.delete(project, name))


_REGIONAL_TEMPLATES = f"{V1}/<project>/regions/<region>/instanceTemplates"


@compute_api.post(_REGIONAL_TEMPLATES)
def _insert_regional_template(project: str, region: str) -> Response:
    body = _body("InstanceTemplate")
    return _change(project, "regionInstanceTemplates.insert", lambda: _engine().templates.insert(project, body, region))


@compute_api.delete(f"{_REGIONAL_TEMPLATES}/<name>")
def _delete_regional_template(project: str, region: str, name: str) -> Response:
    return _change(project, "regionInstanceTemplates.delete", lambda: _engine().templates.delete(project, name, region))


@compute_api.get(f"{V1}/<project>")
def _get_project(project: str) -> Response:
    return answer(_engine().get(f"projects/{project}"))


@compute_api.get(f"{V1}/<project>/aggregated/<kind>")
def _aggregated(project: str, kind: str) -> Response:
    return answer(listing.aggregated(_engine(), project, kind, request.args))


@compute_api.post(f"{V1}/<project>/<path:where>/operations/<name>/wait")
def _wait(project: str, where: str, name: str) -> Response:
    return answer(_engine().operations.wait(f"projects/{project}/{where}/operations/{name}"))


@compute_api.get(f"{V1}/<project>/<path:rest>")
def _get_or_list(project: str, rest: str) -> Response:
    path, parts = f"projects/{project}/{rest}", rest.split("/")
    # global/KIND[/NAME], zones[/ZONE[/KIND[/NAME]]] and the same for regions
    if parts[0] == "global" and len(parts) in (2, 3):
        single = len(parts) == 3
    elif parts[0] in ("zones", "regions") and len(parts) <= 4:
        single = len(parts) % 2 == 0
    else:
        raise not_found(path)
    return answer(_engine().get(path) if single else listing.page(_engine(), path, request.args))
