"""What the cloud tells of the reading of serial consoles: how many builds there are, and the project's quota."""

import time
from contextlib import suppress

from google.cloud import compute_v1

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.names import BUILD_LABEL
from cos_customizer.customizer.references import VmRef
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.console_pace import Region
from cos_customizer.gcp.image_users import aggregated
from cos_customizer.gcp.rate_quotas import CONSOLE_READS, calls_a_minute

_PATIENCE = 5.0
"""Seconds that a look may take: the consoles are read without it as well."""


def look(clients: Clients, region: Region, vm: VmRef) -> None:
    """Count the builds of a VM's region, and read the project's quota once there are several.

    What cannot be learned stays as it is: nobody's build fails for it.

    Args:
        clients: Google's clients.
        region: Gets what was learned.
        vm: A VM of it.
    """
    place = vm.zone.rpartition("-")[0]
    with suppress(CustomizerError), deadline.until(time.monotonic() + _PATIENCE):
        region.builds = _builds(clients, vm.project, place)
        if region.builds > 1 and not region.quota_asked:
            region.quota_asked = True
            region.quota = calls_a_minute(clients, vm.project, CONSOLE_READS, place)


def _builds(clients: Clients, project: str, region: str) -> int:
    """Builds that have a VM: by its disk, since a VM's resource is large with the user-data in it."""
    request = compute_v1.AggregatedListDisksRequest(project=project, filter=f"labels.{BUILD_LABEL}:*", max_results=500)
    found = aggregated(clients.disks.aggregated_list, request, "disks", project)
    return sum(1 for zone, disk in found if disk.users and zone.rpartition("-")[0] == region)
