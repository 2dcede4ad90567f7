"""The disks of an instance: those of a new one, and one that it is given later."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.compute.disks import KEPT_AS_GIVEN, DiskDraft, Disks, encryption_key
from cos_customizer.emulator.compute.references import last, link, path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.sources import find_named
from cos_customizer.emulator.compute.statuses import DiskStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, already_exists, in_use, invalid, unsupported

MOST_DISKS = 128
"""https://cloud.google.com/compute/docs/disks#disk_limits"""
_UNSUPPORTED = ("replicaZones", "storagePool", "sourceImageEncryptionKey", "sourceSnapshotEncryptionKey")
_INITIAL = ("sourceImage", "sourceSnapshot", "labels", *KEPT_AS_GIVEN)
"""Fields of `initializeParams` that a disk has under the same name."""
_DEVICE = re.compile(r"\w[\w.-]{0,254}", re.ASCII)


@dataclass(frozen=True)
class DiskOfInstance:
    """A disk of an instance.

    Attributes:
        attached: the disk as the instance shows it.
        draft: the disk that is to be made; None if it is there already.
    """

    attached: dict[str, Any]
    draft: DiskDraft | None


class AttachedDisks:
    """Checks the disks in requests for instances, and designs or finds them.

    Args:
        shared: holds the disks that are there.
        disks: designs new ones.
    """

    def __init__(self, shared: SharedParts, disks: Disks) -> None:
        self._shared = shared
        self._disks = disks

    def of_new(self, project: str, zone: str, instance: str, body: dict[str, Any]) -> list[DiskOfInstance]:
        """Return the disks of a new instance, the boot disk first.

        Args:
            project: the instance's project.
            zone: its zone.
            instance: its name, which a new boot disk bears too unless the request names it.
            body: an `Instance`, checked against the schema.

        Raises:
            ApiError: 400, 404, 409 or 501.
        """
        given = body.get("disks", [])
        if not given or not (given[0].get("boot") or len(given) == 1):
            why = "At least one disk is needed, and the first must be the boot disk."
            raise invalid("resource.disks", len(given), why)
        if len(given) > MOST_DISKS:
            raise invalid("resource.disks", len(given), f"At most {MOST_DISKS} disks can be attached.")
        found: list[DiskOfInstance] = []
        for number, disk in enumerate(given):
            field = f"resource.disks[{number}]"
            if number and disk.get("boot"):
                raise invalid(f"{field}.boot", True, "An instance has one boot disk, the first.")
            before = [each.attached for each in found]
            new_name = f"{instance}-{number}" if number else instance
            found.append(self._one(project, zone, {**disk, "boot": not number}, field, before, new_name))
        return found

    def of_present(self, path: str, instance: Resource, body: dict[str, Any]) -> dict[str, Any]:
        """Return a disk that is there already, as an instance shows it that is to have it, too.

        Args:
            path: of the instance.
            instance: it.
            body: an `AttachedDisk`, checked against the schema.

        Raises:
            ApiError: 400, 404 or 501.
        """
        _, project, _, zone, *_ = path.split("/")
        present = instance["disks"]
        if "initializeParams" in body:
            raise invalid("initializeParams", "", "A disk must be there before it is attached: name it by source.")
        if not body.get("source"):
            raise ApiError(400, "required", "Required field 'source' not specified")
        if len(present) >= MOST_DISKS:
            raise invalid("disks", len(present), f"At most {MOST_DISKS} disks can be attached.")
        if body.get("boot") and any(disk["boot"] for disk in present):
            raise invalid("boot", True, f"The instance '{path}' has a boot disk.")
        return self._one(project, zone, body, "resource", present, "").attached

    def _one(
        self,
        project: str,
        zone: str,
        disk: dict[str, Any],
        field: str,
        before: Sequence[dict[str, Any]],
        new_name: str,
    ) -> DiskOfInstance:
        parameters, is_boot = disk.get("initializeParams"), disk.get("boot", False)
        if disk.get("type") == "SCRATCH":
            raise unsupported("local SSDs")
        if (parameters is None) == (not disk.get("source")):
            raise invalid(field, "", "Exactly one of source and initializeParams must be given.")
        mode = disk.get("mode", "READ_WRITE")
        if is_boot and mode != "READ_WRITE":
            raise unsupported(f"boot disks in {mode} mode")
        if parameters is None:
            path, resource = self._existing(project, zone, disk["source"], f"{field}.source", mode, before)
            draft, kind = None, last(resource["type"])
            if mode != "READ_WRITE" and kind.startswith("hyperdisk"):
                raise ApiError(400, "badRequest", f"{kind} disk type cannot be attached in read-only mode.")
        else:
            if mode != "READ_WRITE":
                raise invalid(f"{field}.mode", mode, "A new disk is attached in READ_WRITE mode.")
            draft = self._new(project, zone, new_name, disk, f"{field}.initializeParams")
            path, resource = draft.path, draft.resource
            if link(path) in (each["source"] for each in before):
                raise already_exists(path)
        if is_boot:
            _check_architecture(resource)
        attached: dict[str, Any] = {
            "kind": "compute#attachedDisk",
            "type": "PERSISTENT",
            "mode": mode,
            "source": link(path),
            "deviceName": _device_name(disk, f"{field}.deviceName", before),
            "index": 0 if is_boot else _free_index(before),
            "boot": is_boot,
            "autoDelete": disk.get("autoDelete", False),
            "interface": disk.get("interface", "SCSI"),
            "diskSizeGb": resource["sizeGb"],
            "architecture": resource["architecture"],
        }
        attached.update({key: resource[key] for key in ("licenses", "guestOsFeatures") if key in resource})
        if attached["autoDelete"] and mode != "READ_WRITE":
            raise invalid(f"{field}.autoDelete", True, "Only a disk that is attached in READ_WRITE mode is deleted.")
        if "diskEncryptionKey" in disk:
            attached["diskEncryptionKey"] = encryption_key(disk["diskEncryptionKey"])
        return DiskOfInstance(attached, draft)

    def _existing(
        self, project: str, zone: str, reference: str, field: str, mode: str, before: Sequence[dict[str, Any]]
    ) -> tuple[str, Resource]:
        """Return path and resource of a disk that an instance may have: several may read one, if nobody writes."""
        path, resource = find_named(self._shared, reference, project, field)
        self._shared.busy_disks.check(path)
        if link(path) in (each["source"] for each in before):
            raise in_use(path, "the same instance")
        for user in resource.get("users", []):
            others = self._shared.store.get(path_of_link(user))["disks"]
            is_read = all(other["mode"] == "READ_ONLY" for other in others if other["source"] == link(path))
            if not is_read or mode != "READ_ONLY":
                raise in_use(path, path_of_link(user))
        if not path.startswith(f"projects/{project}/zones/{zone}/disks/") or resource["status"] != DiskStatus.READY:
            raise invalid(field, reference, f"It must be a disk of zone '{zone}' that is ready.")
        return path, resource

    def _new(self, project: str, zone: str, name: str, disk: dict[str, Any], field: str) -> DiskDraft:
        parameters = disk["initializeParams"]
        for unknown in _UNSUPPORTED:
            if unknown in parameters:
                raise unsupported(f"disks of instances with {unknown}")
        if disk.get("boot") and not (parameters.get("sourceImage") or parameters.get("sourceSnapshot")):
            raise invalid(f"{field}.sourceImage", "", "A boot disk needs an image, or a snapshot.")
        body = {
            "name": parameters.get("diskName") or name,
            "sizeGb": parameters.get("diskSizeGb", "0"),
            "type": parameters.get("diskType", "pd-standard"),
            **{key: parameters[key] for key in _INITIAL if parameters.get(key)},
        }
        body.update({key: disk[key] for key in ("diskEncryptionKey", "guestOsFeatures") if key in disk})
        return self._disks.draft(project, zone, body, field)


def _device_name(disk: dict[str, Any], field: str, before: Sequence[dict[str, Any]]) -> str:
    """Return the name of a disk's device, which is the instance's only one of that name."""
    taken = [each["deviceName"] for each in before]
    given = disk.get("deviceName")
    if not given:
        return next(
            name for name in (f"persistent-disk-{n}" for n in range(len(taken), 2 * MOST_DISKS)) if name not in taken
        )
    if not _DEVICE.fullmatch(given):
        raise invalid(field, given, r"Must be a match of regex '^\w[\w.-]{0,254}$'")
    if given in taken:
        raise invalid(field, given, "The instance has a device of this name.")
    return str(given)


def _free_index(before: Sequence[dict[str, Any]]) -> int:
    taken = {each["index"] for each in before}
    return next(number for number in range(1, MOST_DISKS + 1) if number not in taken)


def _check_architecture(disk: Resource) -> None:
    if disk["architecture"] != "X86_64":
        message = (
            f"Requested boot disk architecture ({disk['architecture']}) is not compatible with machine type "
            "architecture (X86_64)."
        )
        raise ApiError(400, "invalid", message)
