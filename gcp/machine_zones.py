"""Which zones there are, and which of them have a machine type."""

import re
from collections.abc import Sequence

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError, NotFoundError, PermissionDeniedError, UsageError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.spec.options import ZONES
from cos_customizer.customizer.spelling import did_you_mean
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

_UNKNOWN_ZONE = re.compile(r"zones/[^/']+' was not found|field 'zone'")


def zones_with_machine_type(clients: Clients, project: str, machine_type: str, zones: Sequence[str]) -> list[str]:
    """The zones that have a machine type, of those that a build may use.

    Source: https://cloud.google.com/compute/docs/reference/rest/v1/machineTypes/get, which knows custom types too.

    Args:
        clients: Google's clients.
        project: of the builder VM.
        machine_type: for example `n1-standard-1`.
        zones: that the build may use, in order.

    Returns:
        Those that have it, in the same order; at least one. Where the API may not be asked, the zone is one of them:
        the VM's own request will tell.

    Raises:
        UsageError: one of them is no zone, or none of them has the machine type.
        CustomizerError: the API does not say.
    """
    usable = [zone for zone in zones if _has(clients, project, machine_type, zone)]
    if not usable:
        given = FieldPath("builder.machine_type", machine_type)
        message = Message("{}: there is none in {}", given, ", ".join(zones))
        if near := did_you_mean(machine_type, _of_its_series(clients, project, machine_type, zones[0])):
            raise UsageError(
                message, f"{near} `gcloud compute machine-types list --zones={zones[0]}` lists what the zone has."
            )
        raise UsageError(
            message,
            Message(
                "`gcloud compute machine-types list --project={} --filter=name={}` lists the zones that have it, {} "
                "names them.",
                project,
                machine_type,
                ZONES,
            ),
        )
    return usable


def _has(clients: Clients, project: str, machine_type: str, zone: str) -> bool:
    request = compute_v1.GetMachineTypeRequest(project=project, zone=zone, machine_type=machine_type)
    try:
        calls.call(clients.machine_types.get, request, f"look for machine type {machine_type} in {zone}")
    except PermissionDeniedError:
        return True
    except CustomizerError as error:
        if _UNKNOWN_ZONE.search(error.message):
            raise _no_such_zone(clients, project, zone) from error
        if isinstance(error, NotFoundError):
            return False
        raise
    return True


def _of_its_series(clients: Clients, project: str, machine_type: str, zone: str) -> list[str]:
    """The machine types of a zone whose names begin alike: where there are some, this one may be misspelt."""
    request = compute_v1.ListMachineTypesRequest(project=project, zone=zone, max_results=500)
    try:
        there = [each.name for each in calls.listed(clients.machine_types.list, request, "list the machine types")]
    except CustomizerError:  # the hint has another way
        return []
    return sorted(name for name in there if name.partition("-")[0] == machine_type.partition("-")[0])


def _no_such_zone(clients: Clients, project: str, zone: str) -> UsageError:
    """The error for a zone that is not there: it may be a region, or misspelt."""
    listing = f"`gcloud compute zones list --project={project}` lists the zones."
    request = compute_v1.ListZonesRequest(project=project, max_results=500)
    try:
        there = sorted(each.name for each in calls.listed(clients.zones.list, request, "list the zones"))
    except CustomizerError:  # the hint has another way
        there = []
    if inside := [name for name in there if name.rpartition("-")[0] == zone]:
        return UsageError(Message("{}: {} is a region, not a zone", ZONES, zone), f"zones of it: {', '.join(inside)}.")
    return UsageError(
        Message("{}: there is no zone {}", ZONES, zone), f"{did_you_mean(zone, there)} {listing}".lstrip()
    )
