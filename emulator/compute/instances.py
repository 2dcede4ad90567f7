"""Instances: their life from insert to delete, and the limits of their time."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from cos_customizer.emulator.clock import from_rfc3339
from cos_customizer.emulator.compute.attached_disks import AttachedDisks
from cos_customizer.emulator.compute.attachments import Attachments
from cos_customizer.emulator.compute.disks import Disks
from cos_customizer.emulator.compute.guest_attributes import guest_attributes_answer
from cos_customizer.emulator.compute.instance_changes import InstanceChanges
from cos_customizer.emulator.compute.instance_requests import draft_instance, metadata, run_limit
from cos_customizer.emulator.compute.instant_changes import change_at_once
from cos_customizer.emulator.compute.labels import check_fingerprint
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.power import Power, project_and_zone, source_of
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.references import last, link
from cos_customizer.emulator.compute.running_instances import RunningInstances
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import InstanceStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import check_zone
from cos_customizer.emulator.errors import ApiError, EmulatorError, OperationError, not_in_state, unsupported
from cos_customizer.emulator.machines.backend import SERIAL_PORTS, SerialChunk

_TICK_SECONDS = 0.2
_STANDING = (InstanceStatus.SUSPENDED, InstanceStatus.STOPPING)
"""Statuses in which no guest is asked to shut down: it stands still, or an earlier stop has failed."""


class Instances:
    """The instances of all projects.

    Args:
        shared: the parts that all kinds of resources share.
        disks: makes new disks.
        quotas: limits what may run.
        given_attributes: returns the metadata that every guest sees besides what the user has set.
        project_attributes: returns the metadata of a project.
        host_ports: returns the ports of this machine's loopback that every guest may reach.

    Attributes:
        changes: of single fields.
        attachments: attaches and detaches disks.
        runs: resets, suspends and resumes.
    """

    def __init__(
        self,
        shared: SharedParts,
        disks: Disks,
        quotas: Quotas,
        given_attributes: Callable[[], dict[str, str]],
        project_attributes: Callable[[str], dict[str, str]],
        host_ports: Callable[[], tuple[int, ...]],
    ) -> None:
        self._shared = shared
        self._disks = disks
        self._quotas = quotas
        self.changes = InstanceChanges(shared, self.get)
        self._power = Power(shared, given_attributes, project_attributes, host_ports)
        self._attached_disks = AttachedDisks(shared, disks)
        self.attachments = Attachments(shared, self._attached_disks, self._power, self.get)
        self.runs = RunningInstances(shared, self._power, quotas, self._check_stock, self.get)
        self._stocked_out: set[str] = set()
        self._closing = threading.Event()
        shared.clock.on_advance(self.enforce)
        self._ticker = threading.Thread(target=self._tick, name="instances", daemon=True)
        self._ticker.start()

    def stock_out(self, zone: str, on: bool = True) -> None:
        """Let a zone run out of machines, or have some again."""
        if on:
            self._stocked_out.add(zone)
        else:
            self._stocked_out.discard(zone)

    def stocked_out(self) -> list[str]:
        """Return the zones that have run out of machines."""
        return sorted(self._stocked_out)

    def running(self) -> int:
        """Return how many machines run."""
        return self._power.running()

    def get(self, path: str) -> Resource:
        """Return an instance as it is now.

        Raises:
            ApiError: 404.
        """
        self._power.refresh(path)
        return self._shared.store.get(path)

    def under(self, collection: str) -> list[tuple[str, Resource]]:
        """Return the instances of a zone (or of all, `-`) as they are now."""
        for path, _ in self._shared.store.under(collection):
            self._power.refresh(path)
        return self._shared.store.under(collection)

    def running_with_id(self, instance_id: str) -> Resource | None:
        """Return the running instance of any project that has a numeric id; None if there is none."""
        for path, instance in self._shared.store.stored():
            if instance.get("id") == instance_id and path.split("/")[-2] == "instances":
                self._power.refresh(path)
                found = self._shared.store.find(path)
                return found if found and found["status"] == InstanceStatus.RUNNING else None
        return None

    def insert(self, project: str, zone: str, body: dict[str, Any]) -> Resource:
        """Create and start an instance; returns the operation.

        Args:
            project: the instance's project.
            zone: its zone.
            body: an `Instance`, checked against the schema.

        Raises:
            ApiError: 400, 404, 409 or 501.
        """
        check_zone(project, zone)
        draft = draft_instance(self._shared, self._attached_disks, project, zone, body)
        path, instance, store = draft.path, draft.resource, self._shared.store
        target = Target(path, instance["id"], "insert")
        if excess := self._quotas.excess(project, zone, instance):
            return self._shared.operations.fail(target, excess)
        for disk in draft.new_disks:
            store.put(disk.path, disk.resource)
        store.put(path, instance)
        for attached in instance["disks"]:
            self.attachments.use(path, attached)

        def undo(_: bool = False) -> None:
            with store.lock:
                if self._is_there(path, instance):
                    self._forget(path)
                    for attached in instance["disks"]:
                        self.attachments.free(path, attached)
            for disk in draft.new_disks:
                self._disks.remove(disk.path, disk.resource["id"])

        def work() -> None:
            try:
                with self._power.changing(path, instance["id"]):
                    self._check_stock(project, zone)
                    self._disks.make(draft.new_disks)
                    change_status(store, path, InstanceStatus.STAGING)
                    self._power.on(path)
            except BaseException:
                undo()
                raise

        return self._shared.operations.start(target, work, undo=undo, warnings=draft.warnings)

    def delete(self, path: str) -> Resource:
        """Delete an instance, running or not, with its disks that are auto-deleted; returns the operation.

        Raises:
            ApiError: 404, or 400 for a protected instance.
        """
        instance = self.get(path)
        if instance.get("deletionProtection"):
            raise ApiError(400, "resourceInUseByAnotherResource", f"'{path}' is protected against deletion")

        def work() -> None:
            try:
                self._remove(path, instance["id"])
            except ApiError:
                if self._is_there(path, instance):  # otherwise another request has deleted it meanwhile
                    raise

        return self._shared.operations.start(Target(path, instance["id"], "delete"), work)

    def stop(self, path: str) -> Resource:
        """Shut an instance down, by force if it takes too long; returns the operation.

        Raises:
            ApiError: 404.
        """
        instance = self.get(path)

        def work() -> None:
            with self._power.changing(path, instance["id"]):
                status = self.get(path)["status"]
                if status == InstanceStatus.RUNNING:
                    self._power.shut_down(path)
                elif status in _STANDING:
                    self._power.off(path)

        return self._shared.operations.start(Target(path, instance["id"], "stop"), work)

    def start(self, path: str) -> Resource:
        """Start a stopped instance; returns the operation.

        Raises:
            ApiError: 404, or 400 while an image is being made of its disk, and for one without a boot disk.
        """
        instance, store = self.get(path), self._shared.store
        if not any(attached["boot"] for attached in instance["disks"]):
            raise ApiError(400, "badRequest", f"The instance '{path}' has no boot disk: attach one before it starts.")
        for attached in instance["disks"]:
            self._shared.busy_disks.check(source_of(attached))
        target = Target(path, instance["id"], "start")
        if instance["status"] == InstanceStatus.SUSPENDED:
            raise not_in_state(path, "TERMINATED")
        if instance["status"] != InstanceStatus.TERMINATED:
            return self._shared.operations.start(target)
        project, zone = project_and_zone(path)
        if excess := self._quotas.excess(project, zone, instance):
            return self._shared.operations.fail(target, excess)
        change_status(store, path, InstanceStatus.STAGING)  # from now on nobody may begin an image of its disk

        def undo(_: bool = False) -> None:
            with store.lock:
                if self._is_there(path, instance):
                    change_status(store, path, InstanceStatus.TERMINATED)

        def work() -> None:
            with self._power.changing(path, instance["id"]) as now:
                if now["status"] != InstanceStatus.STAGING:
                    return
                try:
                    self._check_stock(project, zone)
                    self._power.on(path)
                except BaseException:
                    undo()
                    raise

        return self._shared.operations.start(target, work, undo=undo)

    def simulate_maintenance(self, path: str) -> Resource:
        """Preempt a spot VM, as host maintenance does to it; returns the operation, which does not wait for that.

        Source: https://cloud.google.com/compute/docs/instances/create-use-spot#test-preemption.

        Raises:
            ApiError: 404, 400 for an instance that does not run, 501 for one that is not a spot VM.
        """
        instance = self.get(path)
        if instance["status"] != InstanceStatus.RUNNING:
            raise not_in_state(path, InstanceStatus.RUNNING)
        if instance["scheduling"]["provisioningModel"] != "SPOT":
            raise unsupported("maintenance events of instances that are not spot VMs")
        operations = self._shared.operations
        preemption = Target(path, instance["id"], "compute.instances.preempted")

        def work() -> None:
            operations.start(preemption, lambda: self._end(path, instance["id"]))

        return operations.start(Target(path, instance["id"], "simulateMaintenanceEvent"), work)

    def show_project_metadata(self, project: str) -> None:
        """Show a project's instances the metadata that it has now."""
        for path in self._power.instances():
            instance = self._shared.store.find(path)
            if instance and path.split("/")[1] == project:
                self._power.update_attributes(path, instance)

    def set_metadata(self, path: str, body: dict[str, Any]) -> Resource:
        """Replace an instance's metadata; returns the operation.

        Raises:
            ApiError: 404, 412 for an outdated fingerprint, 400 for bad metadata.
        """
        instance = self.get(path)
        check_fingerprint(body.get("fingerprint"), instance["metadata"].get("items", []), "Metadata")

        def show() -> None:
            if now := self._shared.store.find(path):
                self._power.update_attributes(path, now)

        return change_at_once(self._shared, path, "setMetadata", show, metadata=metadata(body))

    def serial_output(self, path: str, port: int, start: int) -> dict[str, Any]:
        """Return the answer to `getSerialPortOutput`.

        Args:
            path: the instance.
            port: 1 to 4.
            start: byte offset; negative counts from the end.

        Raises:
            ApiError: 404, or 400 for a port that does not exist.
        """
        self._shared.store.get(path)
        _check_port(port)
        chunk = self._power.serial_output(path, port, start)
        return {
            "kind": "compute#serialPortOutput",
            "selfLink": link(f"{path}/serialPort"),
            "contents": chunk.contents.decode("utf-8", "replace"),
            "start": str(chunk.start),
            "next": str(chunk.next),
        }

    def printed(self, path: str, port: int, start: int) -> SerialChunk:
        """Return what an instance's machine has printed, as whoever stands before it sees it; see `Power.printed`.

        Raises:
            ApiError: 404, or 400 for a port that does not exist.
        """
        self._shared.store.get(path)
        _check_port(port)
        return self._power.printed(path, port, start)

    def guest_attributes(self, path: str, query_path: str, variable_key: str) -> dict[str, Any]:
        """Return the answer to `getGuestAttributes`; see `guest_attributes_answer`.

        Raises:
            ApiError: 400, 404 or 412.
        """
        return guest_attributes_answer(path, self._power.guest_attributes(path), query_path, variable_key)

    def enforce(self) -> None:
        """Do what is due: notice machines that turned themselves off, let machines crash, end runs that are over."""
        for path in self._power.instances():
            self._power.refresh(path)
            instance = self._shared.store.find(path)
            if instance is None or instance["status"] != InstanceStatus.RUNNING:
                continue
            if not self._power.crash_if_due(path) and _ends_at(instance) <= self._shared.clock.now():
                try:
                    self._end(path, instance["id"])
                except ApiError as error:  # who turns the clock, and whom it ticks for, may both be at it
                    if error.code != HTTPStatus.NOT_FOUND:
                        raise

    def close(self) -> None:
        """Stop all machines."""
        self._closing.set()
        self._ticker.join()
        self._power.close()

    def _check_stock(self, project: str, zone: str) -> None:
        if zone in self._stocked_out:
            message = (
                f"The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the "
                "request.  Try a different zone, or try again later."
            )
            raise OperationError("ZONE_RESOURCE_POOL_EXHAUSTED", message, 503)

    def _end(self, path: str, instance_id: str) -> None:
        """Stop or delete an instance that has run as long as it may, or is preempted."""
        with self._power.changing(path, instance_id) as instance:
            if instance["status"] != InstanceStatus.RUNNING:
                return
            if instance["scheduling"]["instanceTerminationAction"] == "DELETE":
                self._remove(path, instance_id)
            else:
                self._power.off(path)

    def _remove(self, path: str, instance_id: str) -> None:
        store = self._shared.store
        with self._power.changing(path, instance_id) as instance:
            change_status(store, path, InstanceStatus.STOPPING)
            self._power.cut(path)
            stays = self._shared.faults.take("disk-stays", path=path, name=last(path)) is not None
            for attached in instance["disks"]:
                source = source_of(attached)
                self.attachments.free(path, attached)
                disk = store.find(source)
                if disk and attached["autoDelete"] and not stays:
                    self._disks.remove(source, disk["id"])
            self._forget(path)

    def _is_there(self, path: str, instance: Resource) -> bool:
        """Return whether it is still this instance that has the path."""
        return bool((self._shared.store.find(path) or {}).get("id") == instance["id"])

    def _forget(self, path: str) -> None:
        """Remove an instance; its name is free then."""
        with self._shared.store.lock:
            self._shared.store.delete(path)
            self._power.forget(path)

    def _tick(self) -> None:
        while not self._closing.wait(_TICK_SECONDS):
            try:
                self.enforce()
            except (ApiError, EmulatorError):
                continue  # deleted meanwhile, or a machine that would not stop: the next tick tries again


def _check_port(port: int) -> None:
    if port not in SERIAL_PORTS:
        raise ApiError(400, "invalid", f"Invalid value for field 'port': '{port}'. Must be between 1 and 4.")


def _ends_at(instance: Resource) -> float:
    """Return when the instance's time is over, in seconds since the epoch; infinity if it may run for ever."""
    limit = run_limit(instance)
    if limit is not None:
        return from_rfc3339(instance["lastStartTimestamp"]) + limit
    at = instance["scheduling"].get("terminationTime")
    return from_rfc3339(at) if at else float("inf")
