"""Persistent disks."""

from typing import Any

from cos_customizer.emulator.compute.core import Core
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, last, link, new_id, path_of
from cos_customizer.emulator.compute.resources import Resource, check_labels, fingerprint
from cos_customizer.emulator.compute.zones import DISK_TYPES, check_zone
from cos_customizer.emulator.errors import already_exists, in_use, invalid, unsupported

_UNSUPPORTED = ("sourceSnapshot", "sourceInstantSnapshot", "sourceDisk", "sourceStorageObject", "replicaZones")
_MAX_GB = 65536
_EMPTY_GB = 500


class Disks:
    """The disks of all projects."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def insert(self, project: str, zone: str, body: dict[str, Any], source_image: str = "") -> Resource:
        """Create a disk of its own, from an image or empty; returns the operation."""
        check_zone(project, zone)
        for name in _UNSUPPORTED:
            if name in body:
                raise unsupported(f"disks with {name}")
        if source_image:
            body = {**body, "sourceImage": source_image}
        path, disk, warnings = self.design(project, zone, body, "resource")
        self._core.store.put(path, disk)

        def undo(leave: bool) -> None:
            self._core.store.update(path, status="FAILED") if leave else self._core.store.delete(path)

        target = Target(path, disk["id"], "insert")
        return self._core.operations.start(target, lambda: self.make(path), undo=undo, warnings=warnings)

    def design(
        self, project: str, zone: str, body: dict[str, Any], field: str
    ) -> tuple[str, Resource, list[dict[str, Any]]]:
        """Check what is asked of a new disk and make its resource, not yet stored.

        Args:
            project: the disk's project.
            zone: its zone, which exists.
            body: name, sourceImage, sizeGb, type, labels, description, licenses, diskEncryptionKey.
            field: where the body stands in the request, for errors.

        Returns:
            Path, resource (status CREATING), and warnings.

        Raises:
            ApiError: 400, 404 or 409.
        """
        name = check_name(body.get("name", ""), f"{field}.name")
        path = f"projects/{project}/zones/{zone}/disks/{name}"
        if self._core.store.find(path):
            raise already_exists(path)
        kind = last(body.get("type", "pd-standard"))
        if kind not in DISK_TYPES:
            raise invalid(f"{field}.type", kind, f"Disk type with name '{kind}' does not exist in zone '{zone}'.")
        labels = check_labels(body.get("labels", {}), f"{field}.labels")
        disk: Resource = {
            "kind": "compute#disk",
            "id": new_id(),
            "creationTimestamp": self._core.clock.timestamp(),
            "name": name,
            "zone": link(f"projects/{project}/zones/{zone}"),
            "status": "CREATING",
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
        size, warnings = int(body.get("sizeGb", 0)), list[dict[str, Any]]()
        smallest = 1
        if "sourceImage" in body:
            image_path, image, warnings = self._core.resolve_image(body["sourceImage"], project, f"{field}.sourceImage")
            smallest = int(image["diskSizeGb"])
            disk.update({"sourceImage": link(image_path), "sourceImageId": image["id"]})
            disk.update(
                {key: image[key] for key in ("architecture", "guestOsFeatures", "licenseCodes") if key in image}
            )
            licenses = list(dict.fromkeys([*image.get("licenses", []), *body.get("licenses", [])]))
            disk["licenses"] = licenses
        size = size or (smallest if "sourceImage" in body else _EMPTY_GB)
        if size < smallest:
            why = f"Requested disk size cannot be smaller than the image size ({smallest} GB)"
            raise invalid(f"{field}.sizeGb", size, why)
        if size > _MAX_GB:
            raise invalid(f"{field}.sizeGb", size, f"Disk size must be at most {_MAX_GB} GB.")
        disk["sizeGb"] = str(size)
        return path, disk, warnings

    def make(self, path: str) -> None:
        """Make the disk behind a stored resource; a failure removes the resource."""
        store = self._core.store
        disk = store.get(path)
        try:
            image = None
            if "sourceImage" in disk:
                source = path_of(disk["sourceImage"], "", "sourceImage")
                image = self._core.image_key(source, store.get(source))
            self._core.backend.create_disk(key(disk), image, int(disk["sizeGb"]))
        except BaseException:
            store.delete(path)
            raise
        store.update(path, status="READY")

    def delete(self, project: str, zone: str, name: str) -> Resource:
        """Delete a disk that no instance uses; returns the operation."""
        path = f"projects/{project}/zones/{zone}/disks/{name}"
        disk = self._core.store.get(path)
        for user in disk.get("users", []):
            raise in_use(path, path_of(user, project, "users"))
        self._core.busy_disks.check(path)
        self._core.store.update(path, status="DELETING")
        return self._core.operations.start(Target(path, disk["id"], "delete"), lambda: self.remove(path))

    def remove(self, path: str) -> None:
        """Remove a disk, as soon as no image is being made of it."""
        self._core.busy_disks.wait(path)
        disk = self._core.store.find(path)
        if disk:
            self._core.backend.delete_disk(key(disk))
            self._core.store.delete(path)


def key(disk: Resource) -> str:
    """The backend's key of a disk."""
    return f"disk-{disk['id']}"


def encryption_key(given: dict[str, Any]) -> dict[str, Any]:
    """What the API shows of an encryption key: nothing is encrypted here, only the key's name is kept.

    Raises:
        ApiError: 501 for a key that the customer supplies with each request.
    """
    if "rawKey" in given or "rsaEncryptedKey" in given:
        raise unsupported("customer-supplied encryption keys")
    return given
