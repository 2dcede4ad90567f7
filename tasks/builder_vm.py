"""The builder VM as tasks: created, stopped."""

from typing import Any

from cos_customizer.customizer.names import BuildNames
from cos_customizer.gcp import instances
from cos_customizer.tasks.operation import clients, operation


@operation("create builder VM in {zone}")
def create_builder_vm(project: str, zone: str, body: dict[str, Any], build: BuildNames) -> None:
    """Create the builder VM; see `gcp.instances.create_builder_vm`."""
    instances.create_builder_vm(clients(), project, zone, body, build)


@operation("stop builder VM")
def stop_builder_vm(project: str, zone: str, build: BuildNames) -> None:
    """Stop the builder VM; see `gcp.instances.stop_builder_vm`."""
    instances.stop_builder_vm(clients(), project, zone, build)
