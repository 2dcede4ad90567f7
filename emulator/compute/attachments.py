"""Disks that instances get and lose, on the whole life of both."""

from collections.abc import Callable
from typing import Any

from cos_customizer.emulator.compute.attached_disks import AttachedDisks
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.power import Power, source_of
from cos_customizer.emulator.compute.references import link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import InstanceStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, invalid


class Attachments:
    """Attaches disks to instances, and detaches them. Methods named as the API's return the operation.

    Args:
        shared: the parts that all kinds of resources share.
        attached_disks: checks the disks of requests.
        power: has the machines.
        find: returns an instance by its path, as it is now.
    """

    def __init__(
        self, shared: SharedParts, attached_disks: AttachedDisks, power: Power, find: Callable[[str], Resource]
    ) -> None:
        self._shared = shared
        self._attached_disks = attached_disks
        self._power = power
        self._find = find

    def attach_disk(self, path: str, body: dict[str, Any]) -> Resource:
        """Attach a disk that is there to an instance, whether it runs or not.

        Args:
            path: of the instance.
            body: an `AttachedDisk`, checked against the schema.

        Raises:
            ApiError: 400, 404 or 501.
        """
        instance = self._find(path)
        attached = self._attached_disks.of_present(path, instance, body)
        if attached["boot"]:
            self._check_stopped(path, instance, "A boot disk can be attached")
        self._set(path, attached)

        def undo(_: bool = False) -> None:
            self._unset(path, instance["id"], attached)

        def work() -> None:
            try:
                with self._power.changing(path, instance["id"]):
                    self._power.attach(path, attached)
            except BaseException:
                undo()
                raise

        return self._shared.operations.start(Target(path, instance["id"], "attachDisk"), work, undo=undo)

    def detach_disk(self, path: str, device: str) -> Resource:
        """Detach a disk from an instance, whether it runs or not; the boot disk only from one that is stopped.

        Args:
            path: of the instance.
            device: name of the disk's device.

        Raises:
            ApiError: 404, 400 if it has no such device.
        """
        instance = self._find(path)
        source = self._detachable(path, instance, device)["source"]

        def work() -> None:
            with self._power.changing(path, instance["id"]):
                attached = self._detachable(path, self._find(path), device)
                if attached["source"] != source:
                    raise _no_device(device)  # it was detached meanwhile, and another disk has its name
                self._power.detach(path, device)
                self._unset(path, instance["id"], attached)

        return self._shared.operations.start(Target(path, instance["id"], "detachDisk"), work)

    def use(self, path: str, attached: dict[str, Any]) -> None:
        """Note that an instance uses a disk."""
        store, user = self._shared.store, link(path)
        with store.lock:
            users = store.get(source_of(attached)).get("users", [])
            stamp = self._shared.clock.timestamp()
            store.update(source_of(attached), users=[*users, user], lastAttachTimestamp=stamp)

    def free(self, path: str, attached: dict[str, Any]) -> None:
        """Note that an instance uses a disk no more, if the disk is there."""
        store, user = self._shared.store, link(path)
        with store.lock:
            disk = store.find(source_of(attached))
            if disk and user in disk.get("users", []):
                users = [each for each in disk["users"] if each != user]
                stamp = self._shared.clock.timestamp()
                store.update(source_of(attached), users=users or None, lastDetachTimestamp=stamp)

    def _set(self, path: str, attached: dict[str, Any]) -> None:
        with self._shared.store.lock:
            disks = [*self._shared.store.get(path)["disks"], attached]
            self._shared.store.update(path, disks=sorted(disks, key=lambda disk: int(disk["index"])))
            self.use(path, attached)

    def _unset(self, path: str, instance_id: str, attached: dict[str, Any]) -> None:
        with self._shared.store.lock:
            instance = self._shared.store.find(path)
            if instance and instance["id"] == instance_id:  # it may be deleted meanwhile, which frees its disks
                disks = [disk for disk in instance["disks"] if disk["source"] != attached["source"]]
                self._shared.store.update(path, disks=disks)
                self.free(path, attached)

    def _detachable(self, path: str, instance: Resource, device: str) -> dict[str, Any]:
        """Return the attached disk of a device's name.

        Raises:
            ApiError: 400, there is none, or it is the boot disk of an instance that is not stopped.
        """
        attached = next((disk for disk in instance["disks"] if disk["deviceName"] == device), None)
        if attached is None:
            raise _no_device(device)
        if attached["boot"]:
            self._check_stopped(path, instance, "The boot disk can be detached")
        return dict(attached)

    def _check_stopped(self, path: str, instance: Resource, what: str) -> None:
        if instance["status"] != InstanceStatus.TERMINATED:
            raise ApiError(400, "resourceNotReady", f"{what} only while the instance '{path}' is stopped (TERMINATED).")


def _no_device(device: str) -> ApiError:
    return invalid("deviceName", device, f"No attached disk found with device name '{device}'.")
