"""GPU drivers as tasks: looked up, checked; and the zones that have the GPU to try them with."""

import os

from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.gpu_drivers import Drivers
from cos_customizer.gcp import gpu_zones
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.endpoints import Endpoints
from cos_customizer.gcp.gpu_drivers import published_drivers
from cos_customizer.tasks.operation import operation


@operation("look up GPU drivers")
def look_up_drivers() -> Drivers:
    """List the drivers that there are; see `gcp.gpu_drivers.published_drivers`."""
    return published_drivers(Endpoints.from_environment(os.environ))


@operation("check GPU driver {version}")
def check_driver(version: str, md5sum: str, drivers: Drivers) -> None:
    """Check that a driver is there to be installed; see `customizer.spec.gpu_drivers.check_published`."""
    gpu_drivers.check_published(version, md5sum, drivers)


@operation("look for {gpu_type}")
def zones_with_gpu(project: str, gpu_type: str, zones: list[str]) -> list[str]:
    """Find out which of a build's zones have its GPU; see `gcp.gpu_zones.zones_with_gpu`."""
    return gpu_zones.zones_with_gpu(clients(), project, gpu_type, zones)
