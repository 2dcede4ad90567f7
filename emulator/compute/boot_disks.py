"""The boot disk of a new instance: a disk that is there, or one to be made of an image."""

from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.compute.disks import DiskDraft, Disks, encryption_key
from cos_customizer.emulator.compute.references import link, path_of, path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import DiskStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, in_use, invalid, unsupported

_FIELD = "resource.disks[0]"
_UNSUPPORTED = ("sourceSnapshot", "replicaZones", "storagePool")


@dataclass(frozen=True)
class BootDisk:
    """The boot disk of a new instance.

    Attributes:
        attached: the disk as the instance shows it.
        draft: the disk that is to be made; None if it is there already.
    """

    attached: dict[str, Any]
    draft: DiskDraft | None


def boot_disk(
    shared: SharedParts, disks: Disks, project: str, zone: str, instance: str, body: dict[str, Any]
) -> BootDisk:
    """Check the disks in the request for a new instance, and design or find its boot disk.

    Args:
        shared: holds the disks that are there.
        disks: designs a new one.
        project: the instance's project.
        zone: its zone.
        instance: its name, which a new disk bears too unless the request names it.
        body: an `Instance`, checked against the schema.

    Raises:
        ApiError: 400, 404, 409 or 501.
    """
    given = body.get("disks", [])
    if not given or not (given[0].get("boot") or len(given) == 1):
        raise invalid("resource.disks", len(given), "At least one disk is needed, and the first must be the boot disk.")
    if len(given) > 1:
        raise unsupported("instances with more than one disk")
    disk = given[0]
    parameters = disk.get("initializeParams")
    if (parameters is None) == (not disk.get("source")):
        raise invalid(_FIELD, "", "Exactly one of source and initializeParams must be given.")
    if parameters is None:
        path, resource = _existing_disk(shared, project, zone, disk["source"])
        draft = None
    else:
        draft = _new_disk(disks, project, zone, instance, disk)
        path, resource = draft.path, draft.resource
    _check_architecture(resource)
    attached: dict[str, Any] = {
        "kind": "compute#attachedDisk",
        "type": "PERSISTENT",
        "mode": disk.get("mode", "READ_WRITE"),
        "source": link(path),
        "deviceName": disk.get("deviceName", "persistent-disk-0"),
        "index": 0,
        "boot": True,
        "autoDelete": disk.get("autoDelete", False),
        "interface": disk.get("interface", "SCSI"),
        "diskSizeGb": resource["sizeGb"],
        "architecture": resource["architecture"],
    }
    attached.update({key: resource[key] for key in ("licenses", "guestOsFeatures") if key in resource})
    if "diskEncryptionKey" in disk:
        attached["diskEncryptionKey"] = encryption_key(disk["diskEncryptionKey"])
    return BootDisk(attached, draft)


def _existing_disk(shared: SharedParts, project: str, zone: str, reference: str) -> tuple[str, Resource]:
    """Return path and resource of a disk that an instance may boot from."""
    path = path_of(reference, project, f"{_FIELD}.source")
    resource = shared.store.get(path)
    shared.busy_disks.check(path)
    for user in resource.get("users", []):
        raise in_use(path, path_of_link(user))
    if not path.startswith(f"projects/{project}/zones/{zone}/disks/") or resource["status"] != DiskStatus.READY:
        raise invalid(f"{_FIELD}.source", reference, f"It must be a disk of zone '{zone}' that is ready.")
    return path, resource


def _new_disk(disks: Disks, project: str, zone: str, instance: str, disk: dict[str, Any]) -> DiskDraft:
    parameters = disk["initializeParams"]
    for name in _UNSUPPORTED:
        if name in parameters:
            raise unsupported(f"boot disks with {name}")
    if not parameters.get("sourceImage"):
        raise invalid(f"{_FIELD}.initializeParams.sourceImage", "", "A boot disk needs an image.")
    body = {
        "name": parameters.get("diskName") or instance,
        "sourceImage": parameters["sourceImage"],
        "sizeGb": parameters.get("diskSizeGb", "0"),
        "type": parameters.get("diskType", "pd-standard"),
        "labels": parameters.get("labels", {}),
        "licenses": parameters.get("licenses", []),
    }
    if "description" in parameters:
        body["description"] = parameters["description"]
    if "diskEncryptionKey" in disk:
        body["diskEncryptionKey"] = disk["diskEncryptionKey"]
    return disks.draft(project, zone, body, f"{_FIELD}.initializeParams")


def _check_architecture(disk: Resource) -> None:
    if disk["architecture"] != "X86_64":
        message = (
            f"Requested boot disk architecture ({disk['architecture']}) is not compatible with machine type "
            "architecture (X86_64)."
        )
        raise ApiError(400, "invalid", message)
