"""Turns the body of `instances.insert` into an instance, with every check that the API makes before it accepts one."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.clock import from_rfc3339
from cos_customizer.emulator.compute.attached_disks import AttachedDisks
from cos_customizer.emulator.compute.disks import DiskDraft
from cos_customizer.emulator.compute.gpus import GPUS, has_gpu
from cos_customizer.emulator.compute.labels import check_labels, fingerprint
from cos_customizer.emulator.compute.machine_types import machine_type_in
from cos_customizer.emulator.compute.references import check_name, last, link, new_id, path_of
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import InstanceStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import REGIONS, region_of
from cos_customizer.emulator.errors import ApiError, already_exists, invalid, not_found, unsupported
from cos_customizer.emulator.projects import default_service_account

_MAX_VALUE = 256 << 10
_MAX_METADATA = 512 << 10
_MIN_RUN, _MAX_RUN = 30, 120 * 24 * 3600
_UNSUPPORTED = ("sourceMachineImage", "instanceEncryptionKey", "networkPerformanceConfig", "reservationAffinity")
_CONFIDENTIAL = {"SEV": ("n2d", "c2d", "c3d", "c4d"), "SEV_SNP": ("n2d",), "TDX": ("c3",)}
"""Families of machines by the technology of Confidential VMs that they run by."""
_KEPT_AS_GIVEN = (
    "description",
    "hostname",
    "canIpForward",
    "deletionProtection",
    "minCpuPlatform",
    "shieldedInstanceConfig",
    "confidentialInstanceConfig",
    "advancedMachineFeatures",
    "displayDevice",
    "resourcePolicies",
    "params",
    "keyRevocationActionType",
)


@dataclass(frozen=True)
class InstanceDraft:
    """An instance that may be made, not yet stored.

    Attributes:
        path: of the instance.
        resource: the instance, PROVISIONING.
        new_disks: the disks that are to be made for it.
        warnings: of the operation that makes it.
    """

    path: str
    resource: Resource
    new_disks: tuple[DiskDraft, ...]
    warnings: tuple[dict[str, Any], ...]


def draft_instance(
    shared: SharedParts, attached_disks: AttachedDisks, project: str, zone: str, body: dict[str, Any]
) -> InstanceDraft:
    """Check the request for a new instance, and design it.

    Args:
        shared: the parts that all kinds of resources share.
        attached_disks: designs its disks.
        project: the instance's project.
        zone: its zone, which exists.
        body: an `Instance`, checked against the schema.

    Raises:
        ApiError: 400, 404, 409 or 501.
    """
    for field in _UNSUPPORTED:
        if field in body:
            raise unsupported(f"instances with {field}")
    name = check_name(body.get("name", ""))
    path = f"projects/{project}/zones/{zone}/instances/{name}"
    if shared.store.find(path):
        raise already_exists(path)
    machine_type = machine_type_of(project, zone, body)
    disks = attached_disks.of_new(project, zone, name, body)
    accelerators = _accelerators(project, zone, machine_type, body)
    labels = check_labels(body.get("labels", {}))
    instance: Resource = {
        "kind": "compute#instance",
        "id": new_id(),
        "creationTimestamp": shared.clock.timestamp(),
        "name": name,
        "tags": tags_of(body.get("tags", {})),
        "machineType": link(f"projects/{project}/zones/{zone}/machineTypes/{machine_type}"),
        "status": InstanceStatus.PROVISIONING,
        "zone": link(f"projects/{project}/zones/{zone}"),
        "canIpForward": False,
        "networkInterfaces": _networks(project, zone, body),
        "disks": [disk.attached for disk in disks],
        "metadata": metadata(body.get("metadata", {})),
        "selfLink": link(path),
        "scheduling": scheduling_of(body.get("scheduling", {}), immobile=_immobile(machine_type, body, accelerators)),
        "cpuPlatform": "Unknown CPU Platform",
        "labelFingerprint": fingerprint(labels),
        "startRestricted": False,
        "deletionProtection": False,
        "fingerprint": fingerprint(secrets.token_hex(4)),
    }
    instance.update({key: body[key] for key in _KEPT_AS_GIVEN if key in body})
    if labels:
        instance["labels"] = labels
    if accelerators:
        instance["guestAccelerators"] = accelerators
    if accounts := service_accounts_of(project, body.get("serviceAccounts", [])):
        instance["serviceAccounts"] = accounts
    new_disks = tuple(disk.draft for disk in disks if disk.draft)
    warnings = tuple(warning for disk in new_disks for warning in disk.warnings)
    return InstanceDraft(path, instance, new_disks, warnings)


def metadata(body: dict[str, Any]) -> dict[str, Any]:
    """Check metadata, and return it as the resource shows it.

    Limits: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations

    Raises:
        ApiError: 400 for bad keys, or values that are too large.
    """
    items: list[dict[str, str]] = []
    total = 0
    for number, item in enumerate(body.get("items", [])):
        field = f"resource.metadata.items[{number}]"
        key, value = item.get("key", ""), item.get("value", "")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", key):
            raise invalid(f"{field}.key", key, "Must be a match of regex '[a-zA-Z0-9-_]{1,128}'")
        if any(other["key"] == key for other in items):
            raise invalid(f"{field}.key", key, "Duplicate metadata key.")
        size = len(value.encode())
        if size > _MAX_VALUE:
            why = f"Value is too large: maximum size {_MAX_VALUE} character(s); actual size {size}."
            raise invalid(f"{field}.value", value[:20] + "…", why)
        total += size + len(key)
        items.append({"key": key, "value": value})
    if total > _MAX_METADATA:
        raise invalid("resource.metadata", "…", f"Metadata is too large: at most {_MAX_METADATA} bytes in all.")
    shown: dict[str, Any] = {"kind": "compute#metadata", "fingerprint": fingerprint(items)}
    if items:
        shown["items"] = items
    return shown


def tags_of(body: dict[str, Any]) -> dict[str, Any]:
    """Check network tags, and return them as the resource shows them.

    Raises:
        ApiError: 400.
    """
    tags = body.get("items", [])
    for number, tag in enumerate(tags):
        check_name(tag, f"resource.tags.items[{number}]")
    return {"fingerprint": fingerprint(tags)} | ({"items": tags} if tags else {})


def attributes(instance: Resource) -> dict[str, str]:
    """Return an instance's metadata by key."""
    return {item["key"]: item["value"] for item in instance["metadata"].get("items", [])}


def run_limit(instance: Resource) -> float | None:
    """Return how long an instance may run, in seconds from its last start; None: for ever."""
    duration = instance["scheduling"].get("maxRunDuration")
    return float(duration["seconds"]) + duration.get("nanos", 0) / 1e9 if duration else None


def machine_type_of(project: str, zone: str, body: dict[str, Any]) -> str:
    """Return the name of the machine type in a request, which the zone has.

    Raises:
        ApiError: 400.
    """
    reference = body.get("machineType", "")
    if not reference:
        raise ApiError(400, "required", "Required field 'resource.machineType' not specified")
    path = path_of(reference, project, "resource.machineType")
    name = last(path)
    if path != f"projects/{project}/zones/{zone}/machineTypes/{name}":
        raise invalid("resource.machineType", reference, f"The machine type must be in zone '{zone}'.")
    if not machine_type_in(zone, name):
        why = f"Machine type with name '{name}' does not exist in zone '{zone}'."
        raise invalid("resource.machineType", reference, why)
    return name


def _accelerators(project: str, zone: str, machine_type: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    kind = machine_type_in(zone, machine_type)
    included = kind.gpu if kind else ""
    for number, given in enumerate(body.get("guestAccelerators", [])):
        name, count = last(given.get("acceleratorType", "")), given.get("acceleratorCount", 1)
        path = f"projects/{project}/zones/{zone}/acceleratorTypes/{name}"
        if not has_gpu(zone, name):
            raise not_found(path)
        gpu = GPUS[name]
        if _family(machine_type) != gpu.family or (included and included != name):
            message = f"[{machine_type}, {name}] features are not compatible for creating instance."
            raise ApiError(400, "badRequest", message)
        if count not in gpu.counts:
            why = f"Must be one of {', '.join(map(str, gpu.counts))}."
            raise invalid(f"resource.guestAccelerators[{number}].acceleratorCount", count, why)
        shown.append({"acceleratorType": link(path), "acceleratorCount": count})
    if kind and included and not shown:
        path = f"projects/{project}/zones/{zone}/acceleratorTypes/{included}"
        shown.append({"acceleratorType": link(path), "acceleratorCount": kind.gpus})
    return shown


def _family(machine_type: str) -> str:
    """Return a machine type's family; that of `custom-4-8192` is n1."""
    family = machine_type.split("-")[0]
    return "n1" if family == "custom" else family


def _immobile(machine_type: str, body: dict[str, Any], accelerators: Sequence[dict[str, Any]]) -> str:
    """Return what keeps an instance from being migrated; see `immobile`.

    Which machines can be confidential:
    https://cloud.google.com/confidential-computing/confidential-vm/docs/supported-configurations.

    Raises:
        ApiError: 400 for a machine type that does not run as the Confidential VM that is asked for.
    """
    technology = _confidential_technology(body)
    if technology and _family(machine_type) not in _CONFIDENTIAL.get(technology, ()):
        message = f"[{machine_type}, {technology}] features are not compatible for creating instance."
        raise ApiError(400, "badRequest", message)
    return immobile({**body, "machineType": machine_type, "guestAccelerators": accelerators})


def _confidential_technology(instance: dict[str, Any]) -> str:
    """Return the technology by which an instance is a Confidential VM; empty if it is none."""
    config = instance.get("confidentialInstanceConfig", {})
    return str(config.get("confidentialInstanceType") or ("SEV" if config.get("enableConfidentialCompute") else ""))


def immobile(instance: dict[str, Any]) -> str:
    """Return what keeps an instance from being migrated, as a part of a sentence; empty if nothing does.

    Source: https://cloud.google.com/confidential-computing/confidential-vm/docs/troubleshoot-live-migration.

    Args:
        instance: an `Instance`, its machine type by name or as a link.
    """
    if instance.get("guestAccelerators"):
        return "guest accelerators"
    milan = _family(last(instance["machineType"])) == "n2d" and instance.get("minCpuPlatform") == "AMD Milan"
    technology = _confidential_technology(instance)
    return "Confidential Computing" if technology and not (technology == "SEV" and milan) else ""


def scheduling_of(given: dict[str, Any], *, immobile: str) -> dict[str, Any]:
    """Check a scheduling, and return it with what Compute Engine fills in.

    Args:
        given: a `Scheduling`.
        immobile: what keeps the instance from being migrated; empty if nothing does.

    Raises:
        ApiError: 400.
    """
    spot = given.get("provisioningModel") == "SPOT" or given.get("preemptible", False)
    scheduling = {
        "onHostMaintenance": "TERMINATE" if spot else "MIGRATE",
        "automaticRestart": not spot,
        "preemptible": spot,
        "provisioningModel": "SPOT" if spot else "STANDARD",
        **given,
    }
    if immobile and scheduling["onHostMaintenance"] != "TERMINATE":
        why = f"Instances with {immobile} do not support live migration."
        raise invalid("resource.scheduling.onHostMaintenance", scheduling["onHostMaintenance"], why)
    if "maxRunDuration" in given:
        seconds = int(given["maxRunDuration"].get("seconds", "0"))
        if not _MIN_RUN <= seconds <= _MAX_RUN:
            why = f"Must be between {_MIN_RUN} seconds and 120 days."
            raise invalid("resource.scheduling.maxRunDuration.seconds", seconds, why)
        if "terminationTime" in given:
            message = "At most one of maxRunDuration and terminationTime can be given."
            raise ApiError(400, "invalid", message)
    if "terminationTime" in given:
        try:
            from_rfc3339(given["terminationTime"])
        except ValueError:
            why = "Not an RFC 3339 time."
            raise invalid("resource.scheduling.terminationTime", given["terminationTime"], why) from None
    limited = spot or "maxRunDuration" in given or "terminationTime" in given
    if "instanceTerminationAction" in given and not limited:
        why = "It needs a spot VM, maxRunDuration or terminationTime."
        raise invalid("resource.scheduling.instanceTerminationAction", given["instanceTerminationAction"], why)
    if limited:
        scheduling.setdefault("instanceTerminationAction", "STOP")
    return scheduling


def _networks(project: str, zone: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    given = body.get("networkInterfaces", [])
    if not given:
        raise invalid("resource.networkInterfaces", "", "At least one network interface is required.")
    region = region_of(zone)
    shown = []
    for number, one in enumerate(given):
        field = f"resource.networkInterfaces[{number}]"
        network = path_of(one.get("network") or "global/networks/default", project, f"{field}.network")
        subnet = f"regions/{region}/subnetworks/{last(network)}"
        subnetwork = path_of(one.get("subnetwork") or subnet, project, f"{field}.subnetwork")
        if subnetwork.split("/")[2:4] != ["regions", region]:
            raise invalid(f"{field}.subnetwork", subnetwork, f"The subnetwork must be in region '{region}'.")
        address = f"10.{128 + 2 * list(REGIONS).index(region) % 128}.0.{2 + secrets.randbelow(250)}"
        interface: dict[str, Any] = {
            "kind": "compute#networkInterface",
            "network": link(network),
            "subnetwork": link(subnetwork),
            "networkIP": one.get("networkIP", address),
            "name": f"nic{number}",
            "stackType": "IPV4_ONLY",
            "fingerprint": fingerprint(address),
        }
        if one.get("accessConfigs"):
            interface["accessConfigs"] = [access_config(one["accessConfigs"][0])]
        shown.append(interface)
    return shown


def access_config(given: dict[str, Any]) -> dict[str, Any]:
    """Return an external address as an instance shows it. Nobody answers there: it is one of documentation."""
    return {
        "kind": "compute#accessConfig",
        "type": "ONE_TO_ONE_NAT",
        "name": given.get("name", "External NAT"),
        "natIP": given.get("natIP") or f"203.0.113.{1 + secrets.randbelow(254)}",
        "networkTier": given.get("networkTier", "PREMIUM"),
    }


def service_accounts_of(project: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check service accounts, and return them with their e-mail addresses.

    Raises:
        ApiError: 400.
    """
    if not given:
        return []
    if len(given) > 1:
        raise invalid("resource.serviceAccounts", len(given), "At most one service account.")
    email = given[0].get("email", "default")
    if email != "default" and "@" not in email:
        raise invalid("resource.serviceAccounts[0].email", email, "It must be an e-mail address or 'default'.")
    resolved = default_service_account(project) if email == "default" else email
    return [{"email": resolved, "scopes": given[0].get("scopes", [])}]
