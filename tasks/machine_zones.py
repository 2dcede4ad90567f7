"""The zones of a build as a task: looked for before a VM is asked for."""

from cos_customizer.gcp import machine_zones
from cos_customizer.gcp.clients import clients
from cos_customizer.tasks.operation import operation


@operation("look for {machine_type}")
def zones_with_machine_type(project: str, machine_type: str, zones: list[str]) -> list[str]:
    """Find out which of a build's zones have its machine type; see `gcp.machine_zones.zones_with_machine_type`."""
    return machine_zones.zones_with_machine_type(clients(), project, machine_type, zones)
