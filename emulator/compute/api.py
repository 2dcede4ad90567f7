"""The Compute Engine v1 REST API over HTTP (https://cloud.google.com/compute/docs/reference/rest/v1).

A new method is a route here and an operation of the kind of resource that it is about.
"""

import uuid
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, request

from cos_customizer.emulator.compute import listing
from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.labels import set_labels
from cos_customizer.emulator.compute.schema import check_body
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.partial_answers import selected
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


@compute_api.after_request
def _only_what_is_wanted(response: Response) -> Response:
    """Answer a part of the answer, if a request asks for one (`fields`)."""
    fields = request.args.get("fields", "")
    if not fields or response.status_code != 200:
        return response
    try:
        return answer(selected(response.get_json(), fields))
    except ApiError as error:
        return answer(error.body(), error.code)


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


def _flag(name: str, default: str = "false") -> bool:
    return request.args.get(name, default).lower() in ("true", "1")


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


@compute_api.get(f"{_IMAGES}/<name>/getIamPolicy")
def _get_image_policy(project: str, name: str) -> Response:
    return answer(_engine().policies.get(f"projects/{project}/global/images/{name}"))


@compute_api.post(f"{_IMAGES}/<name>/setIamPolicy")
def _set_image_policy(project: str, name: str) -> Response:
    check_writable(project)
    body = _body("GlobalSetPolicyRequest")
    with _engine().change_lock:
        return answer(_engine().policies.set(f"projects/{project}/global/images/{name}", body))


@compute_api.post(f"{_IMAGES}/<name>/testIamPermissions")
def _test_image_permissions(project: str, name: str) -> Response:
    body = _body("TestPermissionsRequest")
    return answer(_engine().policies.test(f"projects/{project}/global/images/{name}", body))


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


@compute_api.post(f"{_DISKS}/<name>/resize")
def _resize_disk(project: str, zone: str, name: str) -> Response:
    body = _body("DisksResizeRequest")
    return _change(project, "disks.resize", lambda: _engine().disks.resize(project, zone, name, body))


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


_CHANGES: dict[str, tuple[str, str]] = {
    "setTags": ("Tags", "set_tags"),
    "setScheduling": ("Scheduling", "set_scheduling"),
    "setServiceAccount": ("InstancesSetServiceAccountRequest", "set_service_account"),
    "setMachineType": ("InstancesSetMachineTypeRequest", "set_machine_type"),
    "setMinCpuPlatform": ("InstancesSetMinCpuPlatformRequest", "set_min_cpu_platform"),
}
"""Methods of instances that replace one field: the type of their body, and what does it."""


@compute_api.post(f"{_INSTANCES}/<name>/<any({','.join(_CHANGES)}):method>")
def _change_instance(project: str, zone: str, name: str, method: str) -> Response:
    kind, change = _CHANGES[method]
    body, path, changes = _body(kind), _path(project, zone, name), _engine().instances.changes
    return _change(project, f"instances.{method}", lambda: getattr(changes, change)(path, body))


@compute_api.post(f"{_INSTANCES}/<name>/<any(reset,suspend,resume):method>")
def _power_instance(project: str, zone: str, name: str, method: str) -> Response:
    path = _path(project, zone, name)
    return _change(project, f"instances.{method}", lambda: getattr(_engine().instances, method)(path))


@compute_api.patch(f"{_INSTANCES}/<name>/updateShieldedInstanceConfig")
def _update_shielded_config(project: str, zone: str, name: str) -> Response:
    body, path, changes = _body("ShieldedInstanceConfig"), _path(project, zone, name), _engine().instances.changes
    method = "instances.updateShieldedInstanceConfig"
    return _change(project, method, lambda: changes.update_shielded_config(path, body))


@compute_api.post(f"{_INSTANCES}/<name>/setDeletionProtection")
def _set_deletion_protection(project: str, zone: str, name: str) -> Response:
    path, on, changes = _path(project, zone, name), _flag("deletionProtection", "true"), _engine().instances.changes
    return _change(project, "instances.setDeletionProtection", lambda: changes.set_deletion_protection(path, on))


@compute_api.post(f"{_INSTANCES}/<name>/setDiskAutoDelete")
def _set_disk_auto_delete(project: str, zone: str, name: str) -> Response:
    path, changes = _path(project, zone, name), _engine().instances.changes
    device, auto_delete = request.args.get("deviceName", ""), _flag("autoDelete")
    method = "instances.setDiskAutoDelete"
    return _change(project, method, lambda: changes.set_disk_auto_delete(path, device, auto_delete))


@compute_api.post(f"{_INSTANCES}/<name>/addAccessConfig")
def _add_access_config(project: str, zone: str, name: str) -> Response:
    body, path, changes = _body("AccessConfig"), _path(project, zone, name), _engine().instances.changes
    interface = request.args.get("networkInterface", "")
    return _change(project, "instances.addAccessConfig", lambda: changes.add_access_config(path, interface, body))


@compute_api.post(f"{_INSTANCES}/<name>/deleteAccessConfig")
def _delete_access_config(project: str, zone: str, name: str) -> Response:
    path, changes = _path(project, zone, name), _engine().instances.changes
    interface, config = request.args.get("networkInterface", ""), request.args.get("accessConfig", "")
    return _change(
        project, "instances.deleteAccessConfig", lambda: changes.delete_access_config(path, interface, config)
    )


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


@compute_api.post(f"{V1}/<project>/setCommonInstanceMetadata")
def _set_project_metadata(project: str) -> Response:
    body = _body("Metadata")

    def begin() -> Resource:
        operation = _engine().project_metadata.set(project, body)
        _engine().instances.show_project_metadata(project)
        return operation

    return _change(project, "projects.setCommonInstanceMetadata", begin)


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
    else:  # a method of a resource, which the local Compute Engine does not have
        abort(404)
    return answer(_engine().get(path) if single else listing.page(_engine(), path, request.args))
