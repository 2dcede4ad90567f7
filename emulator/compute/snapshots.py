"""Snapshots of disks, which may be in use meanwhile."""

from typing import Any

from cos_customizer.emulator.compute.disks import encryption_key
from cos_customizer.emulator.compute.labels import check_labels, fingerprint
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, link, new_id
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.sources import Source, delete_made, find_source, make_image, snapshot_key
from cos_customizer.emulator.compute.statuses import SnapshotStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, already_exists, invalid, unsupported

_UNSUPPORTED = ("sourceInstantSnapshot", "sourceDiskForRecoveryCheckpoint", "guestFlush")
_KEPT_AS_GIVEN = ("description", "chainName", "locationHint")
_LOCATIONS = {"asia": "asia", "australia": "asia", "africa": "eu", "europe": "eu", "me": "eu"}
"""The multi-region next to a region, by the region's first word; `us` for all others."""


class Snapshots:
    """The snapshots of all projects."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def insert(self, project: str, body: dict[str, Any], of_disk: str = "") -> Resource:
        """Make a snapshot of a disk, whether a machine runs from it or not; returns the operation.

        Args:
            project: the snapshot's project.
            body: a `Snapshot`, checked against the schema.
            of_disk: path of the disk, for `disks.createSnapshot`, whose operation is about the disk; empty where the
                body names it.

        Raises:
            ApiError: 400, 404, 409 or 501.
        """
        for field in _UNSUPPORTED:
            if body.get(field):
                raise unsupported(f"snapshots with {field}")
        store, busy = self._shared.store, self._shared.busy_disks
        if of_disk:
            body = {**body, "sourceDisk": link(of_disk)}
        path = f"projects/{project}/global/snapshots/{check_name(body.get('name', ''))}"
        if store.find(path):
            raise already_exists(path)
        source = find_source(self._shared, project, body, "resource")
        if source is None:
            raise ApiError(400, "required", "Required field 'resource.sourceDisk' not specified")
        snapshot = self._draft(path, body, source)
        store.put(path, snapshot)
        reading = busy.take(source.path, refuses=False)

        def undo(leave: bool) -> None:
            busy.release(reading)
            if leave:
                change_status(store, path, SnapshotStatus.FAILED)
            else:
                store.delete(path)

        def work() -> None:
            try:
                change_status(store, path, SnapshotStatus.UPLOADING)
                size = str(make_image(self._shared, snapshot_key(snapshot), source))
            except BaseException:
                change_status(store, path, SnapshotStatus.FAILED)
                raise
            finally:
                busy.release(reading)
            sizes = {"storageBytes": size, "downloadBytes": size, "creationSizeBytes": size}
            change_status(store, path, SnapshotStatus.READY, storageBytesStatus="UP_TO_DATE", **sizes)

        about = Target(path, snapshot["id"], "insert")
        if of_disk:
            about = Target(of_disk, source.resource["id"], "createSnapshot")
        return self._shared.operations.start(about, work, undo=undo)

    def delete(self, project: str, name: str) -> Resource:
        """Delete a snapshot; returns the operation.

        Raises:
            ApiError: 404, or 400 for a snapshot that is being made or deleted.
        """
        return delete_made(self._shared, f"projects/{project}/global/snapshots/{name}", SnapshotStatus, snapshot_key)

    def _draft(self, path: str, body: dict[str, Any], source: Source) -> Resource:
        """Design a snapshot, CREATING and not yet stored."""
        labels = check_labels(body.get("labels", {}))
        region = source.path.split("/")[3]
        locations = body.get("storageLocations") or [_LOCATIONS.get(region.split("-")[0], "us")]
        if len(locations) > 1:
            raise invalid("resource.storageLocations", locations, "At most one location can be given.")
        snapshot: Resource = {
            "kind": "compute#snapshot",
            "id": new_id(),
            "creationTimestamp": self._shared.clock.timestamp(),
            "name": body["name"],
            "status": SnapshotStatus.CREATING,
            "diskSizeGb": source.resource["sizeGb"],
            "snapshotType": body.get("snapshotType", "STANDARD"),
            "storageLocations": locations,
            "storageBytes": "0",
            "storageBytesStatus": "UPDATING",
            "labelFingerprint": fingerprint(labels),
            "selfLink": link(path),
            **source.fields(),
            **source.inherited(),
        }
        snapshot.update({key: body[key] for key in _KEPT_AS_GIVEN if body.get(key)})
        if labels:
            snapshot["labels"] = labels
        if "snapshotEncryptionKey" in body:
            snapshot["snapshotEncryptionKey"] = encryption_key(body["snapshotEncryptionKey"])
        return snapshot
