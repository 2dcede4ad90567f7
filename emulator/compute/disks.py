"""Persistent disks."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.compute.labels import check_labels, fingerprint
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import (
    check_name,
    last,
    link,
    name_in_zone,
    new_id,
    path_of_link,
)
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.sources import Source, disk_key, find_source, make_disk
from cos_customizer.emulator.compute.statuses import DiskStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import DISK_TYPES, check_zone
from cos_customizer.emulator.errors import already_exists, in_use, invalid, not_ready, unsupported

_UNSUPPORTED = ("sourceInstantSnapshot", "sourceStorageObject", "replicaZones", "asyncPrimaryDisk", "storagePool")
KEPT_AS_GIVEN = (
    "description",
    "licenses",
    "architecture",
    "physicalBlockSizeBytes",
    "provisionedIops",
    "provisionedThroughput",
    "enableConfidentialCompute",
    "resourcePolicies",
    "locationHint",
)
"""Fields of a request that a disk shows, without more ado."""
_MAX_GB = 65536
_EMPTY_GB = 500
"""Size of a disk without a source for which no size is given."""


@dataclass(frozen=True)
class DiskDraft:
    """A disk that may be made, not yet stored.

    Attributes:
        path: of the disk.
        resource: the disk, CREATING.
        source: that it is to be made of; None for an empty disk.
    """

    path: str
    resource: Resource
    source: Source | None

    @property
    def warnings(self) -> tuple[dict[str, Any], ...]:
        """Those of the operation that makes it."""
        return self.source.warnings if self.source else ()


class Disks:
    """The disks of all projects, as the API has them."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared
        self._resizing = threading.Lock()

    def insert(self, project: str, zone: str, body: dict[str, Any], source_image: str = "") -> Resource:
        """Create a disk of its own, from an image, a snapshot or another disk, or empty; returns the operation.

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
        if body.get("accessMode", "READ_WRITE_SINGLE") != "READ_WRITE_SINGLE":
            raise unsupported(f"disks with accessMode {body['accessMode']}")
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
        return self._shared.operations.start(target, lambda: self.make([draft]), undo=undo, warnings=draft.warnings)

    def draft(self, project: str, zone: str, body: dict[str, Any], field: str) -> DiskDraft:
        """Check the request for a new disk, and design it.

        Args:
            project: the disk's project.
            zone: its zone, which exists.
            body: name, sourceImage, sourceSnapshot, sourceDisk, sizeGb, type, labels, guestOsFeatures,
                diskEncryptionKey, and `KEPT_AS_GIVEN`.
            field: where the body stands in the request, for errors.

        Raises:
            ApiError: 400, 404 or 409.
        """
        name = check_name(body.get("name", ""), f"{field}.name")
        path = f"projects/{project}/zones/{zone}/disks/{name}"
        if self._shared.store.find(path):
            raise already_exists(path)
        source = find_source(self._shared, project, body, field)
        kind = last(source.resource["type"] if source and source.is_disk else "pd-standard")
        if body.get("type"):
            kind = name_in_zone(body["type"], project, (zone, "diskTypes"), f"{field}.type")
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
            **(source.inherited() if source else {}),
        }
        disk.update({key: body[key] for key in KEPT_AS_GIVEN if body.get(key)})
        features = {each["type"]: each for each in [*disk.get("guestOsFeatures", []), *body.get("guestOsFeatures", [])]}
        if features:
            disk["guestOsFeatures"] = list(features.values())
        if labels:
            disk["labels"] = labels
        if "diskEncryptionKey" in body:
            disk["diskEncryptionKey"] = encryption_key(body["diskEncryptionKey"])
        size, smallest = int(body.get("sizeGb", 0)), source.size_gb if source else 1
        if source:
            _check_place(source, path, f"{field}.{source.field}")
            licenses = [*source.resource.get("licenses", []), *body.get("licenses", [])]
            disk.update(source.fields())
            disk["licenses"] = list(dict.fromkeys(licenses))
        size = size or (smallest if source else _EMPTY_GB)
        if size < smallest:
            least = f"the {source.kind} size ({smallest} GB)" if source else f"{smallest} GB"
            why = f"Requested disk size cannot be smaller than {least}"
            raise invalid(f"{field}.sizeGb", size, why)
        if size > _MAX_GB:
            raise invalid(f"{field}.sizeGb", size, f"Disk size must be at most {_MAX_GB} GB.")
        disk["sizeGb"] = str(size)
        return DiskDraft(path, disk, source)

    def make(self, drafts: Sequence[DiskDraft]) -> None:
        """Make the disks behind stored resources; a failure removes the resource. They are READY all at once."""
        store = self._shared.store
        for draft in drafts:
            self._make(draft)
        with store.lock:
            for draft in drafts:
                change_status(store, draft.path, DiskStatus.READY)

    def _make(self, draft: DiskDraft) -> None:
        busy, source = self._shared.busy_disks, draft.source
        reading = busy.take(source.path, refuses=False) if source and source.is_disk else None
        try:
            make_disk(self._shared, disk_key(draft.resource), source, int(draft.resource["sizeGb"]))
        except BaseException:
            self.remove(draft.path, draft.resource["id"])
            raise
        finally:
            if reading:
                busy.release(reading)

    def delete(self, project: str, zone: str, name: str) -> Resource:
        """Delete a disk that no instance uses; returns the operation.

        Raises:
            ApiError: 404, or 400 for a disk that is in use, being made or being deleted.
        """
        path, store = f"projects/{project}/zones/{zone}/disks/{name}", self._shared.store
        disk = store.get(path)
        for user in disk.get("users", []):
            raise in_use(path, path_of_link(user))
        self._shared.busy_disks.check(path)
        before = DiskStatus(disk["status"])
        if before not in (DiskStatus.READY, DiskStatus.FAILED):
            raise not_ready(path)
        change_status(store, path, DiskStatus.DELETING)

        def undo(_: bool) -> None:
            change_status(store, path, before)

        target = Target(path, disk["id"], "delete")
        return self._shared.operations.start(target, lambda: self.remove(path, disk["id"]), undo=undo)

    def resize(self, project: str, zone: str, name: str, body: dict[str, Any]) -> Resource:
        """Make a disk larger, whether an instance runs from it or not; returns the operation.

        Raises:
            ApiError: 404, or 400 for a size that is smaller, or larger than disks can be, and a disk that is not ready.
        """
        path, store = f"projects/{project}/zones/{zone}/disks/{name}", self._shared.store
        disk, size = store.get(path), int(body.get("sizeGb", 0))
        if disk["status"] != DiskStatus.READY:
            raise not_ready(path)
        _check_growth(disk, size)
        if size > _MAX_GB:
            raise invalid("sizeGb", size, f"Disk size must be at most {_MAX_GB} GB.")
        self._shared.busy_disks.check(path)

        def work() -> None:
            with self._resizing:
                _check_growth(store.get_same(path, disk["id"]), size)
                self._shared.backend.resize_disk(disk_key(disk), size)
                store.update(path, sizeGb=str(size))
                self._show_size(path, str(size))

        return self._shared.operations.start(Target(path, disk["id"], "resize"), work)

    def _show_size(self, path: str, size: str) -> None:
        """Show a disk's new size in the instances that use it."""
        store = self._shared.store
        with store.lock:
            for user in store.get(path).get("users", []):
                instance, source = store.get(path_of_link(user)), link(path)
                disks = [{**one, "diskSizeGb": size} if one["source"] == source else one for one in instance["disks"]]
                store.update(path_of_link(user), disks=disks)

    def remove(self, path: str, disk_id: str) -> None:
        """Remove a disk as soon as nothing is being made of it, and whatever there is of its content.

        Args:
            path: of the disk; another disk may have it by now, and stays.
            disk_id: its id.
        """
        self._shared.busy_disks.wait(path)
        self._shared.backend.delete_disk(disk_key({"id": disk_id}))
        self._shared.store.delete_same(path, disk_id)


def _check_growth(disk: Resource, size: int) -> None:
    """Refuse a size that is smaller than the disk's.

    Raises:
        ApiError: 400.
    """
    now = int(disk["sizeGb"])
    if size < now:
        raise invalid("sizeGb", size, f"New disk size '{size}' GiB must be larger than existing size '{now}' GiB.")


def _check_place(source: Source, path: str, field: str) -> None:
    """Refuse a disk of another zone as a source.

    Raises:
        ApiError: 400.
    """
    zone = path.split("/")[3]
    if source.is_disk and source.path.split("/")[2:4] != ["zones", zone]:
        raise invalid(field, source.path, f"The source disk must be in zone '{zone}'.")


def encryption_key(given: dict[str, Any]) -> dict[str, Any]:
    """Return an encryption key as resources show it. Nothing is encrypted here; only the key's name is kept.

    Raises:
        ApiError: 501 for a key that the customer supplies with each request.
    """
    if "rawKey" in given or "rsaEncryptedKey" in given:
        raise unsupported("customer-supplied encryption keys")
    return given
