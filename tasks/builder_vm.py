"""The VMs of a build as tasks: created, stopped."""

import time
from typing import Any

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.gcp import instances
from cos_customizer.gcp.serial_console import SerialConsole
from cos_customizer.tasks.operation import clients, operation


@operation("create {what} in {zone}")
def create_vm(what: str, project: str, zone: str, body: dict[str, Any], build: BuildNames) -> None:  # noqa: ARG001
    """Create the builder VM or the test VM; see `gcp.instances.create_vm`."""
    instances.create_vm(clients(), project, zone, body, build)


HALTED = b"reboot: System halted"
"""The kernel's last words on the console, after services are stopped and file systems unmounted."""
_CONSOLE = 1
_HALT_PATIENCE = 90.0


@operation("wait until the builder VM has halted")
def await_halt(project: str, zone: str, build: BuildNames) -> bool:
    """Wait until the builder VM stands still with a clean disk.

    A VM that has halted still counts as running. That is what we want: if this process is killed while the image is
    made, Compute Engine deletes the VM when its time is up, which it would not do to a VM that was stopped.

    Args:
        project: of the VM.
        zone: of the VM.
        build: the build's names.

    Returns:
        False if it has not said so in time; it should then be stopped.
    """
    console = SerialConsole(clients(), project, zone, build.builder_vm, _CONSOLE)
    seen = b""
    end = time.monotonic() + _HALT_PATIENCE
    while time.monotonic() < end:
        try:
            seen = seen[-len(HALTED) :] + console.read().data
        except CustomizerError:
            return False
        if HALTED in seen:
            return True
        time.sleep(min(console.pause, 1.0))
    return False


@operation("stop builder VM")
def stop_builder_vm(project: str, zone: str, build: BuildNames) -> None:
    """Stop the builder VM; see `gcp.instances.stop_vm`."""
    instances.stop_vm(clients(), project, zone, build.builder_vm, build)
