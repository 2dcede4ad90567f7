"""`emulator console`: what a VM has printed on its serial port."""

import time

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._found import named_in, the_one
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, LocalCloud
from cos_customizer.cli.console_text import ConsoleText
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import IntegerFlag, SwitchFlag
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.customizer.errors import CustomizerError, NotFoundError, UsageError

INTERVAL = 0.3
"""Seconds between two reads: the emulator has no quota."""
_RUNS = ("PROVISIONING", "STAGING", "RUNNING", "REPAIRING", "STOPPING")

FLAGS = (
    SwitchFlag("follow", "Go on until the VM stops or is gone, or Ctrl-C is pressed."),
    IntegerFlag(
        "port",
        "Serial port, 1 to 4: on 1 kernel and systemd print, on 3 the guest of a build.",
        default=1,
        example="-port=3",
    ),
    Flag("project", "Project of the VM. By default the one that has such a VM.", value="PROJECT", example="-project=p"),
    Flag("zone", "Zone of the VM. By default the one that has such a VM.", value="ZONE", example="-zone=us-west1-b"),
    USED_STATE_DIR,
)


@command(
    "console", [*FLAGS, click.Argument(["vm"], type=named_in("aggregated/instances"))], rank=11, kind=ArgumentFirst
)
def console(vm: str, follow: bool, port: int, project: str | None, zone: str | None, state_dir: str | None) -> None:
    """Print what a VM has printed on its serial port.

    The last 1 MiB of it. On a terminal without control characters, elsewhere as it is.
    """
    if not 1 <= port <= 4:
        raise UsageError(f"-port: there is no serial port {port}", "a VM has the ports 1 to 4.")
    cloud = LocalCloud.of(state_dir)
    from cos_customizer.gcp import instances, inventory
    from cos_customizer.gcp.serial_console import SerialConsole

    found = inventory.vms(cloud.clients, [project] if project else cloud.projects())
    there = [each for each in found if zone in (None, each.ref.zone)]
    ref = the_one(
        vm, there, lambda each: (each.ref.name, f"-project={each.ref.project} -zone={each.ref.zone}"), "VM", "vms"
    ).ref
    serial = SerialConsole(cloud.clients, ref, port)
    with ConsoleText() as text:
        while True:
            try:
                status = instances.vm_status(cloud.clients, ref) if follow else ""
                output = serial.read()
            except NotFoundError:
                return
            except CustomizerError as error:  # also a VM that was deleted between two reads
                if follow and not instances.vm_status(cloud.clients, ref):
                    return
                raise error
            text.write(output.data)
            if not output.data and status not in _RUNS:
                return
            if not output.data:
                time.sleep(INTERVAL)
