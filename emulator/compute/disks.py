"""Persistent disks."""

from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.compute.image_lookup import image_key, resolve_image
from cos_customizer.emulator.compute.labels import check_labels, fingerprint
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, last, link, new_id, path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import DiskStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import DISK_TYPES, check_zone
from cos_customizer.emulator.errors import already_exists, in_use, invalid, unsupported

_UNSUPPORTED = ("sourceSnapshot", "sourceInstantSnapshot", "sourceDisk", "sourceStorageObject", "replicaZones")
_MAX_GB = 65536
_EMPTY_GB = 500
"""Size of a disk without a source for which no size is given."""


@dataclass(frozen=True)
class DiskDraft:
    """A disk that may be made, not yet stored.

    Attributes:
        path: of the disk.
        resource: the disk, CREATING.
        warnings: of the operation that makes it.
    """

    path: str
    resource: Resource
    warnings: tuple[dict[str, Any], ...]


class Disks:
    """The disks of all projects, as the API has them."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def insert(self, project: str, zone: str, body: dict[str, Any], source_image: str = "") -> Resource:
        """Create a disk of its own, from an image or empty; returns the operation.

        Args:
            project: the disk's project.
            zone: its zone.
            body: a `Disk`, checked against the schema.
            source_image: the request's parameter `sourceImage`, over the body's.

        Raises:
            ApiError: 400, 404 or 409.
        """
        check_zone(project, zone)
        for name in _UNSUPPORTED:
            if name in body:
                raise unsupported(f"disks with {name}")
        if source_image:
            body = {**body, "sourceImage": source_image}
        draft = self.draft(project, zone, body, "resource")
        path, store = draft.path, self._shared.store
        store.put(path, draft.resource)

        def undo(leave: bool) -> None:
            if leave:
                change_status(store, path, DiskStatus.FAILED)
            else:
                store.delete(path)

        target = Target(path, draft.resource["id"], "insert")
        return self._shared.operations.start(target, lambda: self.make(path), undo=undo, warnings=draft.warnings)

    def draft(self, project: str, zone: str, body: dict[str, Any], field: str) -> DiskDraft:
        """Check the request for a new disk, and design it.

        Args:
            project: the disk's project.
            zone: its zone, which exists.
            body: name, sourceImage, sizeGb, type, labels, description, licenses, diskEncryptionKey.
            field: where the body stands in the request, for errors.

        Raises:
            ApiError: 400, 404 or 409.
        """
        name = check_name(body.get("name", ""), f"{field}.name")
        path = f"projects/{project}/zones/{zone}/disks/{name}"
        if self._shared.store.find(path):
            raise already_exists(path)
        kind = last(body.get("type", "pd-standard"))
        if kind not in DISK_TYPES:
            raise invalid(f"{field}.type", kind, f"Disk type with name '{kind}' does not exist in zone '{zone}'.")
        labels = check_labels(body.get("labels", {}), f"{field}.labels")
        disk: Resource = {
            "kind": "compute#disk",
            "id": new_id(),
            "creationTimestamp": self._shared.clock.timestamp(),
            "name": name,
            "zone": link(f"projects/{project}/zones/{zone}"),
            "status": DiskStatus.CREATING,
            "type": link(f"projects/{project}/zones/{zone}/diskTypes/{kind}"),
            "labelFingerprint": fingerprint(labels),
            "physicalBlockSizeBytes": "4096",
            "architecture": "X86_64",
            "selfLink": link(path),
        }
        disk.update({key: body[key] for key in ("description", "licenses") if key in body})
        if labels:
            disk["labels"] = labels
        if "diskEncryptionKey" in body:
            disk["diskEncryptionKey"] = encryption_key(body["diskEncryptionKey"])
        size, smallest = int(body.get("sizeGb", 0)), 1
        warnings: tuple[dict[str, Any], ...] = ()
        if "sourceImage" in body:
            source = resolve_image(self._shared.store, body["sourceImage"], project, f"{field}.sourceImage")
            image, warnings = source.resource, source.warnings
            smallest = int(image["diskSizeGb"])
            disk.update({"sourceImage": link(source.path), "sourceImageId": image["id"]})
            inherited = ("architecture", "guestOsFeatures", "licenseCodes")
            disk.update({key: image[key] for key in inherited if key in image})
            disk["licenses"] = list(dict.fromkeys([*image.get("licenses", []), *body.get("licenses", [])]))
        size = size or (smallest if "sourceImage" in body else _EMPTY_GB)
        if size < smallest:
            why = f"Requested disk size cannot be smaller than the image size ({smallest} GB)"
            raise invalid(f"{field}.sizeGb", size, why)
        if size > _MAX_GB:
            raise invalid(f"{field}.sizeGb", size, f"Disk size must be at most {_MAX_GB} GB.")
        disk["sizeGb"] = str(size)
        return DiskDraft(path, disk, warnings)

    def make(self, path: str) -> None:
        """Make the disk behind a stored resource; a failure removes the resource."""
        store = self._shared.store
        disk = store.get(path)
        try:
            image = None
            if "sourceImage" in disk:
                source = path_of_link(disk["sourceImage"])
                image = image_key(source, store.get(source))
            self._shared.backend.create_disk(disk_key(disk), image, int(disk["sizeGb"]))
        except BaseException:
            store.delete(path)
            raise
        with store.lock:
            if store.get(path)["status"] != DiskStatus.DELETING:  # it may be deleted as soon as its name is known
                change_status(store, path, DiskStatus.READY)

    def delete(self, project: str, zone: str, name: str) -> Resource:
        """Delete a disk that no instance uses; returns the operation.

        Raises:
            ApiError: 404, or 400 for a disk that is in use.
        """
        path = f"projects/{project}/zones/{zone}/disks/{name}"
        disk = self._shared.store.get(path)
        for user in disk.get("users", []):
            raise in_use(path, path_of_link(user))
        self._shared.busy_disks.check(path)
        change_status(self._shared.store, path, DiskStatus.DELETING)
        return self._shared.operations.start(Target(path, disk["id"], "delete"), lambda: self.remove(path))

    def resize(self, project: str, zone: str, name: str, body: dict[str, Any]) -> Resource:
        """Make a disk larger, whether an instance runs from it or not; returns the operation.

        Raises:
            ApiError: 404, or 400 for a size that is smaller, or larger than disks can be.
        """
        path = f"projects/{project}/zones/{zone}/disks/{name}"
        disk = self._shared.store.get(path)
        size, now = int(body.get("sizeGb", 0)), int(disk["sizeGb"])
        if size < now:
            raise invalid("sizeGb", size, f"New disk size '{size}' GiB must be larger than existing size '{now}' GiB.")
        if size > _MAX_GB:
            raise invalid("sizeGb", size, f"Disk size must be at most {_MAX_GB} GB.")
        self._shared.busy_disks.check(path)

        def work() -> None:
            self._shared.backend.resize_disk(disk_key(disk), size)
            self._shared.store.update(path, sizeGb=str(size))

        return self._shared.operations.start(Target(path, disk["id"], "resize"), work)

    def remove(self, path: str) -> None:
        """Remove a disk as soon as no image is being made of it."""
        self._shared.busy_disks.wait(path)
        disk = self._shared.store.find(path)
        if disk:
            self._shared.backend.delete_disk(disk_key(disk))
            self._shared.store.delete(path)


def disk_key(disk: Resource) -> str:
    """Return the backend's key of a disk."""
    return f"disk-{disk['id']}"


def encryption_key(given: dict[str, Any]) -> dict[str, Any]:
    """Return an encryption key as resources show it. Nothing is encrypted here; only the key's name is kept.

    Raises:
        ApiError: 501 for a key that the customer supplies with each request.
    """
    if "rawKey" in given or "rsaEncryptedKey" in given:
        raise unsupported("customer-supplied encryption keys")
    return given
