"""Puts in order what a former emulator left behind, however it ended: nothing runs any more, nothing is half made."""

from cos_customizer.emulator.compute.core import Core
from cos_customizer.emulator.compute.disks import key as disk_key
from cos_customizer.emulator.compute.images import key as image_key
from cos_customizer.emulator.compute.references import path_of


def recover(core: Core) -> None:
    """Finish or undo what was under way, so that every stored resource is at rest.

    Instances that ran are TERMINATED; one whose boot disk was not ready yet is gone, with the disk. Images that were
    being made are FAILED; deletions are carried out.
    """
    store = core.store
    for path, disk in store.stored():
        if _kind(path) == "disks" and disk["status"] != "READY":
            core.backend.delete_disk(disk_key(disk))
            store.delete(path)
    for path, instance in store.stored():
        if _kind(path) != "instances":
            continue
        if not all(store.find(path_of(disk["source"], "", "source")) for disk in instance["disks"]):
            store.delete(path)
        elif instance["status"] != "TERMINATED":
            store.update(path, status="TERMINATED", lastStopTimestamp=core.clock.timestamp())
    for path, disk in store.stored():
        if _kind(path) == "disks":
            users = [user for user in disk.get("users", []) if store.find(path_of(user, "", "users"))]
            store.update(path, users=users or None)
    for path, image in store.stored():
        if _kind(path) == "images" and image["status"] in ("PENDING", "DELETING"):
            core.backend.delete_image(image_key(image))
            if image["status"] == "PENDING":
                store.update(path, status="FAILED")
            else:
                store.delete(path)


def _kind(path: str) -> str:
    return path.split("/")[-2]
