"""Which zones have which GPUs."""

from collections.abc import Sequence

from google.cloud import compute_v1

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.spec.options import GPU_TYPE, ZONES
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

_MOST_SHOWN = 12


def zones_with_gpu(clients: Clients, project: str, gpu_type: str, zones: Sequence[str]) -> list[str]:
    """The zones that have GPUs of a type, of those that a build may use.

    Source: https://cloud.google.com/compute/docs/reference/rest/v1/acceleratorTypes/aggregatedList.

    Args:
        clients: Google's clients.
        project: of the builder VM.
        gpu_type: accelerator type, for example `nvidia-tesla-t4`.
        zones: that the build may use, in order.

    Returns:
        Those that have it, in the same order; at least one.

    Raises:
        UsageError: none of them has it, or no zone at all; the hint names zones that have it.
        CustomizerError: the API does not say.
    """
    request = compute_v1.AggregatedListAcceleratorTypesRequest(
        project=project, filter=f"name = {gpu_type}", max_results=500
    )
    doing = f"look for zones with {gpu_type}"
    # The server's filter is not trusted: what it returns is looked at again.
    having = [
        place.removeprefix("zones/")
        for place, scoped in calls.listed(clients.accelerator_types.aggregated_list, request, doing)
        if any(kind.name == gpu_type for kind in scoped.accelerator_types)
    ]
    usable = [zone for zone in zones if zone in having]
    if usable:
        return usable
    if not having:
        raise UsageError(
            Message("{}: no zone has {}", GPU_TYPE, gpu_type),
            f"`gcloud compute accelerator-types list --project={project}` lists what there is.",
        )
    regions = {zone.rpartition("-")[0] for zone in zones}
    near = sorted(having, key=lambda zone: (zone.rpartition("-")[0] not in regions, zone))
    more = f" and {len(near) - _MOST_SHOWN} more" if len(near) > _MOST_SHOWN else ""
    raise UsageError(
        Message("{}: {} {} no {}", ZONES, ", ".join(zones), "has" if len(zones) == 1 else "have", gpu_type),
        f"zones that have it: {', '.join(near[:_MOST_SHOWN])}{more}.",
    )
