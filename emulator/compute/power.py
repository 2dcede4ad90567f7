"""The machines behind instances: on, off, and what they print."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cos_customizer.emulator.compute.faulty_machine import FaultyMachine
from cos_customizer.emulator.compute.instance_requests import attributes
from cos_customizer.emulator.compute.machine_types import machine_type_in
from cos_customizer.emulator.compute.references import last, path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.sources import disk_key
from cos_customizer.emulator.compute.statuses import InstanceStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.machines.backend import DataDisk, Machine, MachineSpec, SerialChunk
from cos_customizer.emulator.machines.guest_attributes import are_enabled

STOP_SECONDS = 20.0
"""How long a guest may take to shut down before its power is cut (Compute Engine gives about 90 s)."""
_CLOSE_SECONDS = 5.0


class Power:
    """The machines of all instances.

    An instance's status follows its machine: the methods here are where it becomes RUNNING or TERMINATED.

    Args:
        shared: the parts that all kinds of resources share.
        given_attributes: returns the metadata that every guest sees besides what the user has set.
        project_attributes: returns the metadata of a project.
        host_ports: returns the ports of this machine's loopback that every guest may reach.
    """

    def __init__(
        self,
        shared: SharedParts,
        given_attributes: Callable[[], dict[str, str]],
        project_attributes: Callable[[str], dict[str, str]],
        host_ports: Callable[[], tuple[int, ...]],
    ) -> None:
        self._shared = shared
        self._host_ports = host_ports
        self._given_attributes = given_attributes
        self._project_attributes = project_attributes
        self._machines: dict[str, FaultyMachine] = {}
        self._locks: dict[str, threading.RLock] = {}

    @contextmanager
    def changing(self, path: str, instance_id: str) -> Iterator[Resource]:
        """Let changes of an instance's state happen one after the other; gives the instance as it is at its turn.

        Args:
            path: of the instance.
            instance_id: its id.

        Raises:
            ApiError: 404, the instance is gone, whether or not another one has its name by now.
        """
        store = self._shared.store
        with store.lock:
            store.get_same(path, instance_id)
            lock = self._locks.setdefault(path, threading.RLock())
        with lock:
            yield store.get_same(path, instance_id)

    def instances(self) -> list[str]:
        """Return the paths of the instances that have run here."""
        return list(self._machines)

    def running(self) -> int:
        """Return how many machines run."""
        return len(self._running())

    def on(self, path: str) -> None:
        """Start an instance's machine when nothing reads its disks; the instance is RUNNING then."""
        sources = [source_of(attached) for attached in self._shared.store.get(path)["disks"]]
        with self._shared.busy_disks.giving(sources):
            self._machine(path).power_on()
        started = self._shared.clock.timestamp()
        change_status(self._shared.store, path, InstanceStatus.RUNNING, lastStartTimestamp=started)

    def shut_down(self, path: str) -> None:
        """Ask an instance's guest to shut down, and cut the power if it takes too long; it is TERMINATED then."""
        change_status(self._shared.store, path, InstanceStatus.STOPPING)
        machine = self._machines.get(path)
        if machine:
            _shut_down([machine.machine], STOP_SECONDS)
        self._stopped(path)

    def reset(self, path: str) -> None:
        """Let an instance's machine boot again at once; the instance stays RUNNING."""
        if machine := self._machines.get(path):
            machine.machine.reset()

    def freeze(self, path: str) -> None:
        """Let an instance's machine stand still; the instance is SUSPENDED then."""
        change_status(self._shared.store, path, InstanceStatus.SUSPENDING)
        try:
            if machine := self._machines.get(path):
                machine.machine.freeze()
        except BaseException:
            change_status(self._shared.store, path, InstanceStatus.RUNNING)
            raise
        suspended = self._shared.clock.timestamp()
        change_status(self._shared.store, path, InstanceStatus.SUSPENDED, lastSuspendedTimestamp=suspended)

    def thaw(self, path: str) -> None:
        """Let an instance's machine go on; the instance is RUNNING then."""
        if machine := self._machines.get(path):
            machine.machine.thaw()
        change_status(self._shared.store, path, InstanceStatus.RUNNING)

    def attach(self, path: str, attached: dict[str, Any]) -> None:
        """Give an instance's machine a disk, if it runs, as soon as nothing reads the disk."""
        if (machine := self._machines.get(path)) and not attached["boot"]:
            with self._shared.busy_disks.giving([source_of(attached)]):
                machine.machine.attach(self._data_disk(attached))

    def detach(self, path: str, device: str) -> None:
        """Take a disk from an instance's machine, if it runs."""
        if machine := self._machines.get(path):
            machine.machine.detach(device)

    def off(self, path: str) -> None:
        """Stop an instance's machine at once; the instance is TERMINATED then."""
        self.cut(path)
        self._stopped(path)

    def cut(self, path: str) -> None:
        """Stop the machine of an instance that is being deleted, whose status stays as it is."""
        machine = self._machines.get(path)
        if machine:
            machine.machine.cut_power()

    def forget(self, path: str) -> None:
        """Forget an instance that is deleted."""
        self._machines.pop(path, None)
        self._locks.pop(path, None)

    def crash_if_due(self, path: str) -> bool:
        """Stop the machine of a running instance dead, if a fault says so; returns whether it did."""
        machine = self._machines.get(path)
        if machine is None or not machine.crash_if_due():
            return False
        self.refresh(path)
        return True

    def refresh(self, path: str) -> None:
        """Notice that a machine has turned itself off."""
        machine = self._machines.get(path)
        if machine is None or machine.machine.running:
            return
        with self._shared.store.lock:
            instance = self._shared.store.find(path)
            if instance and instance["status"] == InstanceStatus.RUNNING and not machine.machine.running:
                self._stopped(path)

    def serial_output(self, path: str, port: int, start: int) -> SerialChunk:
        """Return output of an instance's serial port; nothing if it has never run.

        Args:
            path: of the instance.
            port: 1 to 4.
            start: byte offset; negative counts from the end.
        """
        machine = self._machines.get(path)
        return machine.serial_output(port, start) if machine else SerialChunk(b"", max(start, 0), max(start, 0))

    def printed(self, path: str, port: int, start: int) -> SerialChunk:
        """Return what a machine has printed on a port from an offset on, whatever its faults; none is used up."""
        machine = self._machines.get(path)
        return machine.machine.serial_output(port, max(start, 0)) if machine else SerialChunk(b"", 0, 0)

    def guest_attributes(self, path: str) -> dict[str, dict[str, str]] | None:
        """Return what an instance's guest has said of itself, by namespace and key; None if it may not say anything.

        Args:
            path: of the instance.
        """
        project, _ = project_and_zone(path)
        machine, instance = self._machines.get(path), self._shared.store.get(path)
        if not are_enabled(self._attributes(instance), self._project_attributes(project)):
            return None
        if machine is None:
            return {}
        machine.crash_if_due()
        return machine.machine.guest_attributes.all()

    def update_attributes(self, path: str, instance: Resource) -> None:
        """Show a guest the metadata that its instance has now."""
        machine = self._machines.get(path)
        if machine:
            project, _ = project_and_zone(path)
            machine.machine.update_attributes(self._attributes(instance), self._project_attributes(project))

    def close(self) -> None:
        """Shut all machines down."""
        _shut_down(self._running(), _CLOSE_SECONDS)
        for path in self.instances():
            self.refresh(path)

    def _machine(self, path: str) -> FaultyMachine:
        """Return an instance's machine, as the instance is now."""
        spec, machine = self._spec(path), self._machines.get(path)
        if machine:
            machine.machine.configure(spec)
        else:
            machine = FaultyMachine(self._shared.backend.machine(spec), path, self._shared.faults, self._shared.clock)
            self._machines[path] = machine
        return machine

    def _running(self) -> list[Machine]:
        return [each.machine for each in list(self._machines.values()) if each.machine.running]

    def _stopped(self, path: str) -> None:
        stopped = self._shared.clock.timestamp()
        change_status(self._shared.store, path, InstanceStatus.TERMINATED, lastStopTimestamp=stopped)

    def _attributes(self, instance: Resource) -> dict[str, str]:
        return {**self._given_attributes(), **attributes(instance)}

    def _spec(self, path: str) -> MachineSpec:
        instance = self._shared.store.get(path)
        project, zone = project_and_zone(path)
        machine_type = last(instance["machineType"])
        kind = machine_type_in(zone, machine_type)
        account = (instance.get("serviceAccounts") or [{}])[0]
        boot, *others = instance["disks"]
        gpus = [last(each["acceleratorType"]) for each in instance.get("guestAccelerators", [])]
        return MachineSpec(
            project=project,
            zone=zone,
            name=instance["name"],
            instance_id=instance["id"],
            boot_disk=disk_key(self._shared.store.get(source_of(boot))),
            disk_interface=boot.get("interface", "SCSI"),
            boot_device=boot["deviceName"],
            disks=[self._data_disk(attached) for attached in others],
            disk_features=[feature["type"] for feature in boot.get("guestOsFeatures", [])],
            gpu=next(iter(gpus), ""),
            machine_type=machine_type,
            cpus=kind.cpus if kind else 1,
            memory=kind.memory if kind else 1024,
            attributes=self._attributes(instance),
            project_attributes=self._project_attributes(project),
            tags=instance["tags"].get("items", []),
            labels=instance.get("labels", {}),
            service_account=account.get("email"),
            scopes=account.get("scopes", []),
            host_ports=self._host_ports(),
        )

    def _data_disk(self, attached: dict[str, Any]) -> DataDisk:
        key = disk_key(self._shared.store.get(source_of(attached)))
        return DataDisk(key, attached["deviceName"], attached["mode"] == "READ_ONLY")


def project_and_zone(path: str) -> tuple[str, str]:
    """Return project and zone of an instance's path."""
    _, project, _, zone, *_ = path.split("/")
    return project, zone


def source_of(attached: dict[str, Any]) -> str:
    """Return the path of an attached disk."""
    return path_of_link(attached["source"])


def _shut_down(machines: Sequence[Machine], seconds: float) -> None:
    """Press the power buttons, and cut the power of those that still run after a time."""
    for machine in machines:
        machine.press_power_button()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(machine.running for machine in machines):
        time.sleep(0.02)
    for machine in machines:
        machine.cut_power()
