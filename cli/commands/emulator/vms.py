"""`emulator vms`: list the VMs that there are."""

import click

from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._found import PROJECTS, in_projects, moment
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, LocalCloud, report


@command("vms", [PROJECTS, USED_STATE_DIR], rank=10)
def vms(project: list[str], state_dir: str | None) -> None:
    """List the VMs that there are.

    Builder VMs and test VMs of running builds, those of emulator boot, and all others, with what they are for.
    """
    from cos_customizer.cli.tables import table
    from cos_customizer.customizer import names

    chosen = checked("project", project, names.check_project)
    cloud = LocalCloud.of(state_dir)
    from cos_customizer.gcp import inventory

    found = inventory.vms(cloud.clients, chosen or cloud.projects())
    if not found:
        report(f"no VMs{in_projects(chosen)}")
        return
    headings = ("project", "zone", "name", "status", "machine type", "created", "for")
    rows = [
        (vm.ref.project, vm.ref.zone, vm.ref.name, vm.status, vm.machine_type, moment(vm.created), vm.about)
        for vm in found
    ]
    click.echo(table(headings, rows))
