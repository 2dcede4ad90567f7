"""The fixed resources: projects, regions, zones, machine, disk and accelerator types, and the default network."""

import re
from dataclasses import dataclass

from cos_customizer.emulator.compute.gpus import GPUS, gpus_in, has_gpu
from cos_customizer.emulator.compute.references import link
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import not_found
from cos_customizer.emulator.projects import default_service_account, project_number

_SINCE = "1969-12-31T16:00:00.000-08:00"

REGIONS = {
    "africa-south1": "abc",
    "asia-east1": "abc",
    "asia-east2": "abc",
    "asia-northeast1": "abc",
    "asia-northeast2": "abc",
    "asia-northeast3": "abc",
    "asia-south1": "abc",
    "asia-south2": "abc",
    "asia-southeast1": "abc",
    "asia-southeast2": "abc",
    "australia-southeast1": "abc",
    "australia-southeast2": "abc",
    "europe-central2": "abc",
    "europe-north1": "abc",
    "europe-southwest1": "abc",
    "europe-west1": "bcd",
    "europe-west2": "abc",
    "europe-west3": "abc",
    "europe-west4": "abc",
    "europe-west6": "abc",
    "europe-west8": "abc",
    "europe-west9": "abc",
    "me-central1": "abc",
    "me-west1": "abc",
    "northamerica-northeast1": "abc",
    "northamerica-northeast2": "abc",
    "southamerica-east1": "abc",
    "southamerica-west1": "abc",
    "us-central1": "abcf",
    "us-east1": "bcd",
    "us-east4": "abc",
    "us-east5": "abc",
    "us-south1": "abc",
    "us-west1": "abc",
    "us-west2": "abc",
    "us-west3": "abc",
    "us-west4": "abc",
}
"""Region and the letters of its zones (https://cloud.google.com/compute/docs/regions-zones)."""


@dataclass(frozen=True)
class MachineType:
    """A machine type; its GPUs, if any, are part of it.

    Attributes:
        memory: in MiB.
        gpu: accelerator type that comes with the machine, or empty.
    """

    cpus: int
    memory: int
    gpu: str = ""
    gpus: int = 0


def _machine_types() -> dict[str, MachineType]:
    types = {
        "e2-micro": MachineType(2, 1024),
        "e2-small": MachineType(2, 2048),
        "e2-medium": MachineType(2, 4096),
        "f1-micro": MachineType(1, 614),
        "g1-small": MachineType(1, 1740),
        "a2-megagpu-16g": MachineType(96, 1360 * 1024, "nvidia-tesla-a100", 16),
        "a3-megagpu-8g": MachineType(208, 1872 * 1024, "nvidia-h100-mega-80gb", 8),
        "a4-highgpu-8g": MachineType(224, 3968 * 1024, "nvidia-b200", 8),
        "a3-ultragpu-8g": MachineType(224, 2952 * 1024, "nvidia-h200-141gb", 8),
    }
    per_cpu = {  # MiB for each CPU, and the sizes (https://cloud.google.com/compute/docs/machine-resource)
        "n1-standard": (3840, (1, 2, 4, 8, 16, 32, 64, 96)),
        "n1-highmem": (6656, (2, 4, 8, 16, 32, 64, 96)),
        "n1-highcpu": (921, (2, 4, 8, 16, 32, 64, 96)),
        "e2-standard": (4096, (2, 4, 8, 16, 32)),
        "e2-highmem": (8192, (2, 4, 8, 16)),
        "e2-highcpu": (1024, (2, 4, 8, 16, 32)),
        "n2-standard": (4096, (2, 4, 8, 16, 32, 48, 64, 80)),
        "n2d-standard": (4096, (2, 4, 8, 16, 32, 48, 64, 80, 96)),
        "c3-standard": (4096, (4, 8, 22, 44, 88, 176)),
    }
    for family, (memory, sizes) in per_cpu.items():
        types.update({f"{family}-{n}": MachineType(n, n * memory) for n in sizes})
    for cpus, gpus in ((4, 1), (8, 1), (12, 1), (16, 1), (24, 2), (32, 1), (48, 4), (96, 8)):
        types[f"g2-standard-{cpus}"] = MachineType(cpus, cpus * 4096, "nvidia-l4", gpus)
    for gpus in (1, 2, 4, 8):
        types[f"a2-highgpu-{gpus}g"] = MachineType(12 * gpus, 85 * gpus * 1024, "nvidia-tesla-a100", gpus)
        types[f"a2-ultragpu-{gpus}g"] = MachineType(12 * gpus, 170 * gpus * 1024, "nvidia-a100-80gb", gpus)
        types[f"a3-highgpu-{gpus}g"] = MachineType(26 * gpus, 234 * gpus * 1024, "nvidia-h100-80gb", gpus)
    return types


MACHINE_TYPES = _machine_types()
"""All x86, as the virtual machines are. Those with GPUs of their own are only in the zones of their GPUs."""

DISK_TYPES = ("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced")


def zone_names() -> list[str]:
    """Return all zones."""
    return [f"{region}-{letter}" for region, letters in REGIONS.items() for letter in letters]


def has_machine_type(zone: str, name: str) -> bool:
    """Return whether a zone has a machine type; False if there is no such type."""
    kind = MACHINE_TYPES.get(name)
    return kind is not None and (not kind.gpu or has_gpu(zone, kind.gpu))


def region_of(zone: str) -> str:
    """Return the region of a zone."""
    return zone.rsplit("-", 1)[0]


def _zone(project: str, name: str) -> Resource:
    return {
        "kind": "compute#zone",
        "id": str(2000 + zone_names().index(name)),
        "creationTimestamp": _SINCE,
        "name": name,
        "description": name,
        "status": "UP",
        "region": link(f"projects/{project}/regions/{region_of(name)}"),
        "selfLink": link(f"projects/{project}/zones/{name}"),
    }


def _region(project: str, name: str) -> Resource:
    return {
        "kind": "compute#region",
        "id": str(1000 + list(REGIONS).index(name)),
        "creationTimestamp": _SINCE,
        "name": name,
        "description": name,
        "status": "UP",
        "zones": [link(f"projects/{project}/zones/{name}-{letter}") for letter in REGIONS[name]],
        "selfLink": link(f"projects/{project}/regions/{name}"),
    }


def _in_zone(project: str, zone: str, collection: str, name: str, fields: Resource) -> Resource:
    return {
        "kind": f"compute#{collection.removesuffix('s')}",
        "id": str(3000 + len(name)),
        "creationTimestamp": _SINCE,
        "name": name,
        "zone": zone if collection == "machineTypes" else link(f"projects/{project}/zones/{zone}"),
        "selfLink": link(f"projects/{project}/zones/{zone}/{collection}/{name}"),
        **fields,
    }


def _machine_type(kind: MachineType) -> Resource:
    fields: Resource = {
        "description": f"{kind.cpus} vCPU, {kind.memory / 1024:g} GB RAM",
        "guestCpus": kind.cpus,
        "memoryMb": kind.memory,
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "isSharedCpu": False,
        "architecture": "X86_64",
    }
    if kind.gpu:
        fields["accelerators"] = [{"guestAcceleratorType": kind.gpu, "guestAcceleratorCount": kind.gpus}]
    return fields


def _accelerator_type(name: str) -> Resource:
    gpu = GPUS[name]
    return {
        "id": str(10010 + list(GPUS).index(name)),
        "description": gpu.description,
        "maximumCardsPerInstance": max(gpu.counts),
    }


def _network(project: str) -> Resource:
    return {
        "kind": "compute#network",
        "id": "4000",
        "creationTimestamp": _SINCE,
        "name": "default",
        "description": "Default network for the project",
        "autoCreateSubnetworks": True,
        "subnetworks": [link(f"projects/{project}/regions/{r}/subnetworks/default") for r in REGIONS],
        "routingConfig": {"routingMode": "REGIONAL"},
        "selfLink": link(f"projects/{project}/global/networks/default"),
    }


def _subnetwork(project: str, region: str) -> Resource:
    return {
        "kind": "compute#subnetwork",
        "id": str(5000 + list(REGIONS).index(region)),
        "creationTimestamp": _SINCE,
        "name": "default",
        "network": link(f"projects/{project}/global/networks/default"),
        "ipCidrRange": f"10.{128 + 2 * list(REGIONS).index(region) % 128}.0.0/20",
        "gatewayAddress": "10.128.0.1",
        "region": link(f"projects/{project}/regions/{region}"),
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
        "privateIpGoogleAccess": True,
        "selfLink": link(f"projects/{project}/regions/{region}/subnetworks/default"),
    }


def listing(collection: str) -> list[Resource]:
    """Return the fixed resources of a collection such as `projects/p/zones` or `projects/p/zones/z/machineTypes`.

    Raises:
        ApiError: 404, there is no such zone, region or collection.
    """
    _, project, *rest = collection.split("/")
    match rest:
        case ["zones"]:
            return [_zone(project, name) for name in zone_names()]
        case ["regions"]:
            return [_region(project, name) for name in REGIONS]
        case ["global", "networks"]:
            return [_network(project)]
        case ["regions", region, "subnetworks"] if region in REGIONS:
            return [_subnetwork(project, region)]
        case ["zones", zone, kind]:
            check_zone(project, zone)
            return _zone_listing(project, zone, kind, collection)
    raise not_found(collection)


def _zone_listing(project: str, zone: str, kind: str, collection: str) -> list[Resource]:
    if kind == "machineTypes":
        offered = [name for name in MACHINE_TYPES if has_machine_type(zone, name)]
        return [_in_zone(project, zone, kind, name, _machine_type(MACHINE_TYPES[name])) for name in offered]
    if kind == "diskTypes":
        fields = {"validDiskSize": "10GB-65536GB", "defaultDiskSizeGb": "100"}
        return [_in_zone(project, zone, kind, name, {**fields, "description": name}) for name in DISK_TYPES]
    if kind == "acceleratorTypes":
        return [_in_zone(project, zone, kind, name, _accelerator_type(name)) for name in gpus_in(zone)]
    raise not_found(collection)


def fixed(path: str) -> Resource:
    """Return a fixed resource.

    Raises:
        ApiError: 404.
    """
    for resource in listing(path.rsplit("/", 1)[0]):
        if resource["selfLink"] == link(path):
            return resource
    raise not_found(path)


def check_zone(project: str, zone: str) -> None:
    """Refuse a zone that does not exist.

    Raises:
        ApiError: 404.
    """
    if zone not in zone_names():
        raise not_found(f"projects/{project}/zones/{zone}")


_PROJECT_ID = re.compile(r"(?:[a-z0-9.-]+:)?[a-zA-Z][a-zA-Z0-9_-]{0,62}")


def project_resource(project: str) -> Resource:
    """Return a project; every well-formed id is one.

    Raises:
        ApiError: 404, it is not a project id.
    """
    if not _PROJECT_ID.fullmatch(project):
        raise not_found(f"projects/{project}")
    return {
        "kind": "compute#project",
        "id": str(project_number(project)),
        "creationTimestamp": _SINCE,
        "name": project,
        "defaultServiceAccount": default_service_account(project),
        "defaultNetworkTier": "PREMIUM",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
        "vmDnsSetting": "ZONAL_ONLY",
        "commonInstanceMetadata": {"kind": "compute#metadata"},
        "selfLink": link(f"projects/{project}"),
    }
