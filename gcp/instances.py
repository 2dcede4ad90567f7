"""The VMs of a build, the builder VM and the test VM: create, look at, stop, delete."""

from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import VmRef
from cos_customizer.gcp import calls, deletion, in_flight
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import message


def create_vm(clients: Clients, vm: VmRef, body: dict[str, Any], build: BuildNames) -> None:
    """Create a VM and wait until Compute Engine has started it.

    Args:
        clients: Google's clients.
        vm: The VM.
        body: Of `instances.insert`.
        build: The build's names.

    Raises:
        StockOutError: The zone has no capacity.
        CustomizerError: The VM could not be created.
    """
    doing = f"create VM {vm.name} in {vm.zone}"
    request = compute_v1.InsertInstanceRequest(
        project=vm.project,
        zone=vm.zone,
        instance_resource=message(compute_v1.Instance, body),
        request_id=build.request_id("instances.insert", vm.zone, vm.name),
    )
    calls.wait(clients, calls.send(clients.instances.insert_unary, request, doing, vm), doing)


def vm_status(clients: Clients, vm: VmRef) -> str:
    """Status of a VM: `RUNNING`, `STOPPING`, `TERMINATED`, …, or empty if there is none.

    Args:
        clients: Google's clients.
        vm: The VM.
    """
    request = compute_v1.GetInstanceRequest(project=vm.project, zone=vm.zone, instance=vm.name)
    try:
        return str(calls.call(clients.instances.get, request, f"read VM {vm.name}").status)
    except NotFoundError:
        return ""


def was_preempted(clients: Clients, vm: VmRef) -> bool:
    """Whether Compute Engine has taken a spot VM back; False if it does not say.

    Source: https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption.

    Args:
        clients: Google's clients.
        vm: The VM.
    """
    request = compute_v1.ListZoneOperationsRequest(
        project=vm.project, zone=vm.zone, filter='operationType = "compute.instances.preempted"'
    )
    try:
        found = calls.listed(clients.zone_operations.list, request, f"list the operations of {vm.zone}")
        return any(operation.target_link.endswith(f"/instances/{vm.name}") for operation in found)
    except CustomizerError:
        return False


def stop_vm(clients: Clients, vm: VmRef, build: BuildNames) -> None:
    """Stop a VM, so that an image can be made of its disk; returns when it is stopped.

    Args:
        clients: Google's clients.
        vm: The VM.
        build: The build's names.

    Raises:
        CustomizerError: It could not be stopped.
    """
    doing = f"stop VM {vm.name}"
    request = compute_v1.StopInstanceRequest(
        project=vm.project,
        zone=vm.zone,
        instance=vm.name,
        request_id=build.request_id("instances.stop", vm.zone, vm.name),
    )
    calls.wait(clients, calls.call(clients.instances.stop_unary, request, doing), doing)


def grow_disk(clients: Clients, vm: VmRef, size_gb: int, build: BuildNames) -> None:
    """Make a running VM's boot disk larger; returns when it is.

    Args:
        clients: Google's clients.
        vm: The VM; its disk has its name.
        size_gb: GB that the disk gets.
        build: The build's names.

    Raises:
        CustomizerError: It could not be made larger.
    """
    doing = f"grow disk {vm.name} to {size_gb} GB"
    request = compute_v1.ResizeDiskRequest(
        project=vm.project,
        zone=vm.zone,
        disk=vm.name,
        disks_resize_request_resource=compute_v1.DisksResizeRequest(size_gb=size_gb),
        request_id=build.request_id("disks.resize", vm.zone, vm.name),
    )
    calls.wait(clients, calls.call(clients.disks.resize_unary, request, doing), doing)


def delete_vm(clients: Clients, vm: VmRef) -> list[Removal]:
    """Delete a VM of a build, and its boot disk should it be left.

    Args:
        clients: Google's clients.
        vm: The VM.

    Returns:
        What came of the VM, and of its disk.
    """
    removal = Removal("VM", vm.zone, vm.name, "delete", "left of a build")
    deletions = [deletion.vm(clients, vm, removal)]
    removed = in_flight.take_back(vm, removal, lambda: deletion.delete_all(clients, deletions, deletion.BUSY_PATIENCE))
    if removed[0].action == "failed":  # its disk is in use
        return removed
    removal = Removal("disk", vm.zone, vm.name, "delete", "left of a build")
    disks = deletion.delete_all(clients, [deletion.disk(clients, vm, removal)], deletion.BUSY_PATIENCE)
    if removed[0].action == "deleted" and disks[0].action == "gone":  # it went with its VM
        disks = [removal.ended("deleted")]
    return removed + disks
