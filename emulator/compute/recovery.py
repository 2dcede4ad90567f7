"""Puts in order what an earlier emulator has left, however it ended: nothing runs any more, nothing is half made."""

from cos_customizer.emulator.compute.image_lookup import image_key
from cos_customizer.emulator.compute.references import link, path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.sources import disk_key, snapshot_key
from cos_customizer.emulator.compute.statuses import (
    DiskStatus,
    ImageStatus,
    InstanceStatus,
    SnapshotStatus,
    change_status,
)
from cos_customizer.emulator.compute.store import Resource


def recover(shared: SharedParts) -> None:
    """Finish or undo what was under way, so that every stored resource is at rest.

    Instances that ran are TERMINATED; one that has a disk that was not ready yet is gone, with the disk. Images and
    snapshots that were being made are FAILED, and have no file; deletions are finished. A disk is used by the instances
    that have it. Files that no resource has are gone.
    """
    store = shared.store
    for path, disk in _stored(shared, "disks"):
        if disk["status"] not in (DiskStatus.READY, DiskStatus.FAILED):
            shared.backend.delete_disk(disk_key(disk))
            store.delete(path)
    for path, instance in _stored(shared, "instances"):
        if not all(store.find(path_of_link(disk["source"])) for disk in instance["disks"]):
            store.delete(path)
            if instance["status"] == InstanceStatus.STOPPING:  # it was being deleted
                for attached in instance["disks"]:
                    if attached["autoDelete"]:
                        store.delete(path_of_link(attached["source"]))  # its file goes with all that no resource has
        elif instance["status"] != InstanceStatus.TERMINATED:
            stopped = shared.clock.timestamp()
            change_status(store, path, InstanceStatus.TERMINATED, lastStopTimestamp=stopped)
    users: dict[str, list[str]] = {}
    for path, instance in _stored(shared, "instances"):
        for attached in instance["disks"]:
            users.setdefault(path_of_link(attached["source"]), []).append(link(path))
    for path, _ in _stored(shared, "disks"):
        store.update(path, users=users.get(path))
    for path, image in _stored(shared, "images"):
        if image["status"] in (ImageStatus.PENDING, ImageStatus.DELETING):
            shared.backend.delete_image(image_key(path, image))
        if image["status"] == ImageStatus.PENDING:
            change_status(store, path, ImageStatus.FAILED)
        elif image["status"] == ImageStatus.DELETING:
            store.delete(path)
    for path, snapshot in _stored(shared, "snapshots"):
        if snapshot["status"] != SnapshotStatus.READY:
            shared.backend.delete_image(snapshot_key(snapshot))
        if snapshot["status"] == SnapshotStatus.DELETING:
            store.delete(path)
        elif snapshot["status"] != SnapshotStatus.READY:
            change_status(store, path, SnapshotStatus.FAILED)
    disks = [disk_key(disk) for _, disk in _stored(shared, "disks")]
    images = [image_key(path, image) for path, image in _stored(shared, "images")]
    images += [snapshot_key(snapshot) for _, snapshot in _stored(shared, "snapshots")]
    shared.backend.keep_only(disks, images)


def _stored(shared: SharedParts, kind: str) -> list[tuple[str, Resource]]:
    return [(path, resource) for path, resource in shared.store.stored() if path.split("/")[-2] == kind]
