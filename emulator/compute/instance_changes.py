"""Changes of an instance's fields that Compute Engine has a method for each of."""

from collections.abc import Callable
from typing import Any

from cos_customizer.emulator.compute.instance_requests import (
    access_config,
    immobile,
    machine_type_of,
    scheduling_of,
    service_accounts_of,
    tags_of,
)
from cos_customizer.emulator.compute.instant_changes import change_at_once
from cos_customizer.emulator.compute.labels import check_fingerprint
from cos_customizer.emulator.compute.power import project_and_zone
from cos_customizer.emulator.compute.references import link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import InstanceStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, invalid, not_found

_RUN_LIMITS = ("maxRunDuration", "terminationTime")


class InstanceChanges:
    """Changes that are done when the API answers. Each method returns the operation.

    Args:
        shared: the parts that all kinds of resources share.
        find: returns an instance by its path, as it is now.
    """

    def __init__(self, shared: SharedParts, find: Callable[[str], Resource]) -> None:
        self._shared = shared
        self._find = find

    def set_tags(self, path: str, body: dict[str, Any]) -> Resource:
        """Replace its network tags.

        Raises:
            ApiError: 404, 412 for an outdated fingerprint, 400.
        """
        instance = self._find(path)
        check_fingerprint(body.get("fingerprint"), instance["tags"].get("items", []), "Tags")
        return self._change(path, "setTags", tags=tags_of(body))

    def set_scheduling(self, path: str, body: dict[str, Any]) -> Resource:
        """Change how it is scheduled: what is not named stays.

        Raises:
            ApiError: 404, 400.
        """
        instance = self._find(path)
        model = instance["scheduling"]["provisioningModel"]
        if body.get("provisioningModel", model) != model:
            self._check_stopped(path, instance, "scheduling.provisioningModel")
        replaced = set(_RUN_LIMITS) if body.keys() & set(_RUN_LIMITS) else set()  # of two limits, one is over
        kept = {key: value for key, value in instance["scheduling"].items() if key not in replaced}
        scheduling = scheduling_of({**kept, **body}, immobile=immobile(instance))
        return self._change(path, "setScheduling", scheduling=scheduling)

    def set_service_account(self, path: str, body: dict[str, Any]) -> Resource:
        """Give it another service account, or none.

        Raises:
            ApiError: 404, 400 if it is not stopped.
        """
        self._check_stopped(path, self._find(path), "serviceAccounts")
        project, _ = project_and_zone(path)
        given = [body] if body.get("email") else []
        return self._change(path, "setServiceAccount", serviceAccounts=service_accounts_of(project, given) or None)

    def set_machine_type(self, path: str, body: dict[str, Any]) -> Resource:
        """Give it another machine type.

        Raises:
            ApiError: 404, 400 if it is not stopped or there is no such type.
        """
        self._check_stopped(path, self._find(path), "machineType")
        project, zone = project_and_zone(path)
        name = machine_type_of(project, zone, body)
        kind = link(f"projects/{project}/zones/{zone}/machineTypes/{name}")
        return self._change(path, "setMachineType", machineType=kind)

    def set_min_cpu_platform(self, path: str, body: dict[str, Any]) -> Resource:
        """Name its oldest CPU, which changes nothing here.

        Raises:
            ApiError: 404, 400 if it is not stopped.
        """
        self._check_stopped(path, self._find(path), "minCpuPlatform")
        return self._change(path, "setMinCpuPlatform", minCpuPlatform=body.get("minCpuPlatform") or None)

    def update_shielded_config(self, path: str, body: dict[str, Any]) -> Resource:
        """Change what shields it, which changes nothing here: what is not named stays.

        Raises:
            ApiError: 404, 400 if it is not stopped.
        """
        instance = self._find(path)
        self._check_stopped(path, instance, "shieldedInstanceConfig")
        config = {**instance.get("shieldedInstanceConfig", {}), **body}
        return self._change(path, "updateShieldedInstanceConfig", shieldedInstanceConfig=config)

    def set_deletion_protection(self, path: str, on: bool) -> Resource:
        """Let it be deleted, or not.

        Raises:
            ApiError: 404.
        """
        return self._change(path, "setDeletionProtection", deletionProtection=on)

    def set_disk_auto_delete(self, path: str, device: str, auto_delete: bool) -> Resource:
        """Let one of its disks be deleted with it, or not.

        Args:
            path: of the instance.
            device: name of the disk's device.
            auto_delete: whether it is deleted.

        Raises:
            ApiError: 404, 400 if it has no such device, or only reads the disk.
        """
        disks = self._find(path)["disks"]
        if all(disk["deviceName"] != device for disk in disks):
            raise invalid("deviceName", device, f"No attached disk found with device name '{device}'.")
        if auto_delete and any(disk["deviceName"] == device and disk["mode"] == "READ_ONLY" for disk in disks):
            raise invalid("autoDelete", True, "Only a disk that is attached in READ_WRITE mode is deleted.")
        changed = [{**disk, "autoDelete": auto_delete} if disk["deviceName"] == device else disk for disk in disks]
        return self._change(path, "setDiskAutoDelete", disks=changed)

    def add_access_config(self, path: str, interface: str, body: dict[str, Any]) -> Resource:
        """Give one of its network interfaces an external address.

        Raises:
            ApiError: 404, 400 if it has one, or there is no such interface.
        """
        if self._interface(path, interface).get("accessConfigs"):
            raise ApiError(400, "invalid", f"At most one access config currently supported ({interface}).")
        return self._set_access(path, interface, "addAccessConfig", [access_config(body)])

    def delete_access_config(self, path: str, interface: str, name: str) -> Resource:
        """Take an external address away.

        Raises:
            ApiError: 404 if there is none of this name, 400 if there is no such interface.
        """
        configs = self._interface(path, interface).get("accessConfigs", [])
        if all(config["name"] != name for config in configs):
            raise not_found(f"{path}/{interface}/accessConfigs/{name}")
        return self._set_access(path, interface, "deleteAccessConfig", None)

    def _interface(self, path: str, name: str) -> dict[str, Any]:
        for interface in self._find(path)["networkInterfaces"]:
            if interface["name"] == name:
                return dict(interface)
        raise invalid("networkInterface", name, "The instance has no such network interface.")

    def _set_access(self, path: str, interface: str, method: str, configs: list[dict[str, Any]] | None) -> Resource:
        changed = []
        for each in self._find(path)["networkInterfaces"]:
            rest = {key: value for key, value in each.items() if key != "accessConfigs"}
            shown = {**rest, **({"accessConfigs": configs} if configs else {})}
            changed.append(shown if each["name"] == interface else each)
        return self._change(path, method, networkInterfaces=changed)

    def _change(self, path: str, method: str, **changes: Any) -> Resource:
        self._find(path)
        return change_at_once(self._shared, path, method, **changes)

    def _check_stopped(self, path: str, instance: Resource, what: str) -> None:
        if instance["status"] != InstanceStatus.TERMINATED:
            message = f"The instance '{path}' must be stopped (TERMINATED) before {what} is changed."
            raise ApiError(400, "resourceNotReady", message)
