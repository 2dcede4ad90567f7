"""The VMs of a build as tasks: create, boot, follow, stop, delete."""

from typing import Any

from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import VmRef
from cos_customizer.gcp import instances, serial_console
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.guest_console import GuestConsole
from cos_customizer.tasks.operation import operation


@operation("create {what} in {vm.zone}")
def create_vm(what: str, vm: VmRef, body: dict[str, Any], build: BuildNames) -> None:  # noqa: ARG001
    """Create the builder VM or the test VM; see `gcp.instances.create_vm`."""
    instances.create_vm(clients(), vm, body, build)


@operation("boot {what}")
def follow_boot(console: GuestConsole, what: str) -> None:  # noqa: ARG001
    """Follow the VM until it begins its first step; see `gcp.guest_console.GuestConsole.follow_boot`."""
    console.follow_boot()


@operation("lay out the disk of the {what}")
def follow_disk(console: GuestConsole, what: str, size: int | None) -> None:  # noqa: ARG001
    """Follow the VM while it lays out its disk; see `gcp.guest_console.GuestConsole.follow_disk`."""
    console.follow_disk(size)


@operation("grow the disk of the {what} to {size_gb} GB")
def grow_disk(what: str, vm: VmRef, size_gb: int, build: BuildNames) -> None:  # noqa: ARG001
    """Grow the VM's disk; see `gcp.instances.grow_disk`."""
    instances.grow_disk(clients(), vm, size_gb, build)


@operation("{label}")
def follow_step(console: GuestConsole, number: int, label: str) -> None:  # noqa: ARG001
    """Follow a step on the VM to its end; see `gcp.guest_console.GuestConsole.follow_step`."""
    console.follow_step(number)


@operation("finish on the {what}")
def follow_end(console: GuestConsole, what: str) -> None:  # noqa: ARG001
    """Follow the VM until it has cleaned up; see `gcp.guest_console.GuestConsole.follow_end`."""
    console.follow_end()


@operation("wait until the {what} has halted")
def await_halt(what: str, vm: VmRef) -> bool:  # noqa: ARG001
    """Wait until the VM stands still with a clean disk; see `gcp.serial_console.await_halt`."""
    return serial_console.await_halt(clients(), vm)


@operation("stop the {what}")
def stop_vm(what: str, vm: VmRef, build: BuildNames) -> None:  # noqa: ARG001
    """Stop the VM; see `gcp.instances.stop_vm`."""
    instances.stop_vm(clients(), vm, build)


@operation("store the serial log of the {what}", always=True)
def store_serial_log(what: str, console: GuestConsole) -> None:  # noqa: ARG001
    """Store what the VM has said; see `gcp.guest_console.GuestConsole.store`."""
    console.store()


@operation("delete the {what} in {vm.zone}", always=True)
def delete_vm(what: str, vm: VmRef) -> list[Removal]:  # noqa: ARG001
    """Delete the VM and its disk; see `gcp.instances.delete_vm`."""
    return instances.delete_vm(clients(), vm)
