"""Routes of instances that change one thing of them."""

from flask import Response, request

from cos_customizer.emulator.compute.routes.blueprint import change, checked_body, compute_api, engine, flag, partly
from cos_customizer.emulator.compute.routes.instances import INSTANCES, path_of_instance
from cos_customizer.emulator.errors import unsupported

_CHANGES: dict[str, tuple[str, str]] = {
    "setTags": ("Tags", "set_tags"),
    "setScheduling": ("Scheduling", "set_scheduling"),
    "setServiceAccount": ("InstancesSetServiceAccountRequest", "set_service_account"),
    "setMachineType": ("InstancesSetMachineTypeRequest", "set_machine_type"),
    "setMinCpuPlatform": ("InstancesSetMinCpuPlatformRequest", "set_min_cpu_platform"),
}
"""Methods of instances that replace one field: the type of their body, and what does it."""


@compute_api.post(f"{INSTANCES}/<name>/<any({','.join(_CHANGES)}):method>")
@partly(
    setTags="effect: there are no firewalls",
    setScheduling="restarts and migration",
    setMinCpuPlatform="effect: VMs have this machine's CPU",
)
def _change_instance(project: str, zone: str, name: str, method: str) -> Response:
    kind, how = _CHANGES[method]
    body, path, changes = checked_body(kind), path_of_instance(project, zone, name), engine().instances.changes
    return change(project, f"instances.{method}", lambda: getattr(changes, how)(path, body))


@compute_api.post(f"{INSTANCES}/<name>/<any(reset,suspend,resume):method>")
@partly(suspend="memory of a suspended VM when the emulator stops")
def _power_instance(project: str, zone: str, name: str, method: str) -> Response:
    path = path_of_instance(project, zone, name)
    return change(project, f"instances.{method}", lambda: getattr(engine().instances.runs, method)(path))


@compute_api.patch(f"{INSTANCES}/<name>/updateShieldedInstanceConfig")
@partly("effect: no VM is shielded")
def _update_shielded_config(project: str, zone: str, name: str) -> Response:
    body, path, changes = (
        checked_body("ShieldedInstanceConfig"),
        path_of_instance(project, zone, name),
        engine().instances.changes,
    )
    method = "instances.updateShieldedInstanceConfig"
    return change(project, method, lambda: changes.update_shielded_config(path, body))


@compute_api.post(f"{INSTANCES}/<name>/setDeletionProtection")
def _set_deletion_protection(project: str, zone: str, name: str) -> Response:
    path, on, changes = (
        path_of_instance(project, zone, name),
        flag("deletionProtection", "true"),
        engine().instances.changes,
    )
    return change(project, "instances.setDeletionProtection", lambda: changes.set_deletion_protection(path, on))


@compute_api.post(f"{INSTANCES}/<name>/setDiskAutoDelete")
def _set_disk_auto_delete(project: str, zone: str, name: str) -> Response:
    path, changes = path_of_instance(project, zone, name), engine().instances.changes
    device, auto_delete = request.args.get("deviceName", ""), flag("autoDelete")
    method = "instances.setDiskAutoDelete"
    return change(project, method, lambda: changes.set_disk_auto_delete(path, device, auto_delete))


@compute_api.post(f"{INSTANCES}/<name>/addAccessConfig")
@partly("a way to the VM: nobody answers at its address")
def _add_access_config(project: str, zone: str, name: str) -> Response:
    body, path, changes = (
        checked_body("AccessConfig"),
        path_of_instance(project, zone, name),
        engine().instances.changes,
    )
    interface = request.args.get("networkInterface", "")
    return change(project, "instances.addAccessConfig", lambda: changes.add_access_config(path, interface, body))


@compute_api.post(f"{INSTANCES}/<name>/deleteAccessConfig")
def _delete_access_config(project: str, zone: str, name: str) -> Response:
    path, changes = path_of_instance(project, zone, name), engine().instances.changes
    interface, config = request.args.get("networkInterface", ""), request.args.get("accessConfig", "")
    return change(
        project, "instances.deleteAccessConfig", lambda: changes.delete_access_config(path, interface, config)
    )


@compute_api.post(f"{INSTANCES}/<name>/attachDisk")
@partly("regional disks, local SSDs")
def _attach_disk(project: str, zone: str, name: str) -> Response:
    body, path = checked_body("AttachedDisk"), path_of_instance(project, zone, name)
    if flag("forceAttach") or body.get("forceAttach"):
        raise unsupported("forced attachment, which only regional disks have")
    return change(project, "instances.attachDisk", lambda: engine().instances.attachments.attach_disk(path, body))


@compute_api.post(f"{INSTANCES}/<name>/detachDisk")
def _detach_disk(project: str, zone: str, name: str) -> Response:
    path, device = path_of_instance(project, zone, name), request.args.get("deviceName", "")
    return change(project, "instances.detachDisk", lambda: engine().instances.attachments.detach_disk(path, device))
