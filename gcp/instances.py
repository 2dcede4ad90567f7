"""The VMs of a build, the builder VM and the test VM: made, looked at, stopped, deleted."""

from functools import partial
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.errors import NotFoundError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import message


def create_vm(clients: Clients, project: str, zone: str, body: dict[str, Any], build: BuildNames) -> None:
    """Create a VM and wait until Compute Engine has started it.

    Args:
        clients: Google's clients.
        project: to build in.
        zone: to build in.
        body: of `instances.insert`.
        build: the build's names.

    Raises:
        StockOutError: the zone has no capacity.
        CustomizerError: the VM could not be created.
    """
    doing = f"create VM {body['name']} in {zone}"
    request = compute_v1.InsertInstanceRequest(
        project=project,
        zone=zone,
        instance_resource=message(compute_v1.Instance, body),
        request_id=build.request_id("instances.insert", zone, body["name"]),
    )
    operation = calls.send(clients.instances.insert_unary, request, doing)
    calls.wait_for_zone_operation(clients, project, zone, operation, doing)


def vm_status(clients: Clients, project: str, zone: str, name: str) -> str:
    """Status of an instance: `RUNNING`, `STOPPING`, `TERMINATED`, …, or empty if there is none.

    Args:
        clients: Google's clients.
        project: of the instance.
        zone: of the instance.
        name: of the instance.
    """
    request = compute_v1.GetInstanceRequest(project=project, zone=zone, instance=name)
    try:
        return str(calls.call(clients.instances.get, request, f"read VM {name}").status)
    except NotFoundError:
        return ""


def stop_vm(clients: Clients, project: str, zone: str, name: str, build: BuildNames) -> None:
    """Stop a VM, so that an image can be made of its disk; returns when it is stopped.

    Args:
        clients: Google's clients.
        project: of the VM.
        zone: of the VM.
        name: of the VM.
        build: the build's names.

    Raises:
        CustomizerError: it could not be stopped.
    """
    doing = f"stop VM {name}"
    request = compute_v1.StopInstanceRequest(
        project=project, zone=zone, instance=name, request_id=build.request_id("instances.stop", zone, name)
    )
    operation = calls.call(clients.instances.stop_unary, request, doing)
    calls.wait_for_zone_operation(clients, project, zone, operation, doing)


def delete_vm(clients: Clients, project: str, zone: str, name: str, build: BuildNames) -> tuple[int, int]:
    """Delete a VM of this build in a zone, and its boot disk should it be left.

    Args:
        clients: Google's clients.
        project: of the VM.
        zone: of the VM.
        name: of the VM and its boot disk.
        build: the build's names.

    Returns:
        How many VMs and disks were there.

    Raises:
        CustomizerError: something is there and could not be deleted.
    """
    wait = partial(calls.wait_for_zone_operation, clients, project, zone)
    vm = calls.delete(
        clients.instances.delete_unary,
        lambda attempt: compute_v1.DeleteInstanceRequest(
            project=project,
            zone=zone,
            instance=name,
            request_id=build.request_id("instances.delete", zone, name, attempt),
        ),
        wait,
        f"delete VM {name}",
    )
    disk = calls.delete(
        clients.disks.delete_unary,
        lambda attempt: compute_v1.DeleteDiskRequest(
            project=project, zone=zone, disk=name, request_id=build.request_id("disks.delete", zone, name, attempt)
        ),
        wait,
        f"delete boot disk {name}",
    )
    return int(vm), int(vm or disk)
