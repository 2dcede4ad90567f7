"""The fixed resources: projects, regions, zones, machine, disk and accelerator types, and the default network."""

import re
from collections.abc import Mapping

from cos_customizer.emulator.compute.gpus import GPUS, gpus_in
from cos_customizer.emulator.compute.machine_types import MACHINE_TYPES, MachineType, machine_type_in
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

NONE: Mapping[str, tuple[str, ...]] = {
    "addresses": ("global", "regions"),
    "autoscalers": ("regions", "zones"),
    "backendBuckets": ("global",),
    "backendServices": ("global", "regions"),
    "commitments": ("regions",),
    "externalVpnGateways": ("global",),
    "firewallPolicies": ("global", "regions"),
    "firewalls": ("global",),
    "forwardingRules": ("global", "regions"),
    "futureReservations": ("zones",),
    "healthChecks": ("global", "regions"),
    "httpHealthChecks": ("global",),
    "httpsHealthChecks": ("global",),
    "instanceGroupManagers": ("regions", "zones"),
    "instanceGroups": ("regions", "zones"),
    "instantSnapshots": ("regions", "zones"),
    "interconnectAttachments": ("regions",),
    "interconnects": ("global",),
    "machineImages": ("global",),
    "networkAttachments": ("regions",),
    "networkEndpointGroups": ("global", "regions", "zones"),
    "nodeGroups": ("zones",),
    "nodeTemplates": ("regions",),
    "packetMirrorings": ("regions",),
    "publicDelegatedPrefixes": ("global", "regions"),
    "reservations": ("zones",),
    "resourcePolicies": ("regions",),
    "routers": ("regions",),
    "routes": ("global",),
    "securityPolicies": ("global", "regions"),
    "sslCertificates": ("global", "regions"),
    "sslPolicies": ("global", "regions"),
    "storagePools": ("zones",),
    "targetGrpcProxies": ("global",),
    "targetHttpProxies": ("global", "regions"),
    "targetHttpsProxies": ("global", "regions"),
    "targetInstances": ("zones",),
    "targetPools": ("regions",),
    "targetSslProxies": ("global",),
    "targetTcpProxies": ("global", "regions"),
    "targetVpnGateways": ("regions",),
    "urlMaps": ("global", "regions"),
    "vpnGateways": ("regions",),
    "vpnTunnels": ("regions",),
}
"""Kinds of resources that there are none of here, and where they would be: clients list them all the same."""


_LACKING: Mapping[str, str] = {
    "networks": "networks besides `default`",
    "subnetworks": "subnetworks besides `default`",
    "machineTypes": "types that are newer than 2025, and arm64",
    "diskTypes": "the limits and speeds of each type",
    "regions": "quotas besides those of GPUs",
    "regions/disks": "any: the list is empty",
    "regions/snapshots": "any: the list is empty",
    **dict.fromkeys(NONE, "any: the list is empty"),
}
"""What the lists of a kind of resource lack, everywhere or in regions."""


def what_lists_lack(collection: str) -> str:
    """Return what a list lacks, as a part of a sentence; nothing if it lacks nothing.

    Args:
        collection: its path, for example `projects/p/regions/r/disks`.
    """
    parts = collection.split("/")
    return _LACKING.get(f"{parts[2]}/{parts[-1]}") or _LACKING.get(parts[-1], "")


DISK_TYPES = ("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced")


def zone_names() -> list[str]:
    """Return all zones."""
    return [f"{region}-{letter}" for region, letters in REGIONS.items() for letter in letters]


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
        case [place, *name, kind] if place in NONE.get(kind, ()) and len(name) == (place != "global"):
            if name:
                fixed(f"projects/{project}/{place}/{name[0]}")
            return []
        case ["zones", zone, kind]:
            check_zone(project, zone)
            return _zone_listing(project, zone, kind, collection)
    raise not_found(collection)


def _zone_listing(project: str, zone: str, kind: str, collection: str) -> list[Resource]:
    if kind == "machineTypes":
        offered = [name for name in MACHINE_TYPES if machine_type_in(zone, name)]
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
    _, project, *rest = path.split("/")
    match rest:
        case ["zones", zone, "machineTypes", name] if kind := machine_type_in(zone, name):  # one of a size of its own
            return _in_zone(project, zone, "machineTypes", name, _machine_type(kind))
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
        "selfLink": link(f"projects/{project}"),
    }
