"""Routes of instances, from insert to delete."""

from flask import Response, request

from cos_customizer.emulator.compute.labels import set_labels
from cos_customizer.emulator.compute.routes.blueprint import (
    V1,
    change,
    checked_body,
    compute_api,
    engine,
    number,
    partly,
)
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import unsupported
from cos_customizer.emulator.web import answer

INSTANCES = f"{V1}/<project>/zones/<zone>/instances"


def path_of_instance(project: str, zone: str, name: str) -> str:
    """Return the path of an instance."""
    return f"projects/{project}/zones/{zone}/instances/{name}"


@compute_api.post(INSTANCES)
@partly("machine images, local SSDs, boot disks that are only read, reservations, encryption with keys of customers")
def _insert_instance(project: str, zone: str) -> Response:
    if request.args.get("sourceMachineImage"):
        raise unsupported("instances with sourceMachineImage")
    body, template = checked_body("Instance"), request.args.get("sourceInstanceTemplate", "")

    def begin() -> Resource:
        filled = engine().templates.filled_in(project, zone, template, body) if template else body
        return engine().instances.insert(project, zone, filled)

    return change(project, "instances.insert", begin)


@compute_api.delete(f"{INSTANCES}/<name>")
def _delete_instance(project: str, zone: str, name: str) -> Response:
    path = path_of_instance(project, zone, name)
    return change(project, "instances.delete", lambda: engine().instances.delete(path))


@compute_api.post(f"{INSTANCES}/<name>/start")
def _start_instance(project: str, zone: str, name: str) -> Response:
    path = path_of_instance(project, zone, name)
    return change(project, "instances.start", lambda: engine().instances.start(path))


@compute_api.post(f"{INSTANCES}/<name>/stop")
def _stop_instance(project: str, zone: str, name: str) -> Response:
    path = path_of_instance(project, zone, name)
    return change(project, "instances.stop", lambda: engine().instances.stop(path))


@compute_api.post(f"{INSTANCES}/<name>/simulateMaintenanceEvent")
@partly("what maintenance does to instances that are not spot VMs")
def _simulate_maintenance(project: str, zone: str, name: str) -> Response:
    path = path_of_instance(project, zone, name)
    return change(project, "instances.simulateMaintenanceEvent", lambda: engine().instances.simulate_maintenance(path))


@compute_api.post(f"{INSTANCES}/<name>/setLabels")
def _label_instance(project: str, zone: str, name: str) -> Response:
    body, path = checked_body("InstancesSetLabelsRequest"), path_of_instance(project, zone, name)
    return change(project, "instances.setLabels", lambda: set_labels(engine().shared, path, body))


@compute_api.post(f"{INSTANCES}/<name>/setMetadata")
def _set_metadata(project: str, zone: str, name: str) -> Response:
    body, path = checked_body("Metadata"), path_of_instance(project, zone, name)
    return change(project, "instances.setMetadata", lambda: engine().instances.set_metadata(path, body))


@compute_api.get(f"{INSTANCES}/<name>/serialPort")
@partly("output of runs before the emulator was started")
def _serial_port(project: str, zone: str, name: str) -> Response:
    path = path_of_instance(project, zone, name)
    return answer(engine().instances.serial_output(path, number("port", 1), number("start", 0)))


@compute_api.get(f"{INSTANCES}/<name>/getGuestAttributes")
@partly("what guests wrote before the emulator was started")
def _guest_attributes(project: str, zone: str, name: str) -> Response:
    path, query_path = path_of_instance(project, zone, name), request.args.get("queryPath", "")
    return answer(engine().instances.guest_attributes(path, query_path, request.args.get("variableKey", "")))
