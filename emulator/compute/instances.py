"""Instances: their life from insert to delete, and the machines behind them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cos_customizer.emulator.clock import from_rfc3339
from cos_customizer.emulator.compute.core import Core
from cos_customizer.emulator.compute.disks import Disks
from cos_customizer.emulator.compute.disks import key as disk_key
from cos_customizer.emulator.compute.instance_requests import attributes, design, metadata, run_limit
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.references import last, link, path_of
from cos_customizer.emulator.compute.resources import Resource, check_fingerprint
from cos_customizer.emulator.compute.zones import check_zone
from cos_customizer.emulator.errors import ApiError, OperationError
from cos_customizer.emulator.machines.backend import SERIAL_PORTS, EmulatorError, Machine, MachineSpec

STOP_SECONDS = 20.0
"""How long a guest may take to shut down before its power is cut (Compute Engine gives about 90 s)."""
_CLOSE_SECONDS = 5.0
_TICK = 0.2


@dataclass
class _Life:
    """What the emulator knows of an instance beyond its resource.

    Attributes:
        lock: held during a change of state, so that changes happen one after the other.
        lost: for each serial port, the offset before which output is lost (a fault).
        crash_at: when the machine stops dead, on the emulator's clock (a fault).
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    machine: Machine | None = None
    silent: bool = False
    lost: dict[int, int] = field(default_factory=dict)
    crash_at: float | None = None


class Instances:
    """The instances of all projects.

    Args:
        core: the emulator's parts.
        disks: for boot disks.
        quotas: what may run.
        given_attributes: metadata that every guest sees besides what the user set.
    """

    def __init__(
        self, core: Core, disks: Disks, quotas: Quotas, given_attributes: Callable[[], dict[str, str]]
    ) -> None:
        self._core = core
        self._disks = disks
        self._quotas = quotas
        self._given_attributes = given_attributes
        self._lives: dict[str, _Life] = {}
        self._stocked_out: set[str] = set()
        self._closing = threading.Event()
        core.clock.on_advance(self.enforce)
        self._ticker = threading.Thread(target=self._tick, name="instances", daemon=True)
        self._ticker.start()

    def stock_out(self, zone: str, on: bool = True) -> None:
        """Let a zone have no machines left to offer, or again some."""
        (self._stocked_out.add if on else self._stocked_out.discard)(zone)

    def stocked_out(self) -> list[str]:
        """The zones that have nothing to offer."""
        return sorted(self._stocked_out)

    def running(self) -> int:
        """How many machines run."""
        return sum(1 for life in list(self._lives.values()) if life.machine and life.machine.running)

    def get(self, path: str) -> Resource:
        """The instance as it is at this moment.

        Raises:
            ApiError: 404.
        """
        self._refresh(path)
        return self._core.store.get(path)

    def under(self, collection: str) -> list[tuple[str, Resource]]:
        """The instances of a zone (or of all, `-`), as they are at this moment."""
        for path, _ in self._core.store.under(collection):
            self._refresh(path)
        return self._core.store.under(collection)

    def insert(self, project: str, zone: str, body: dict[str, Any]) -> Resource:
        """Create and start an instance; returns the operation."""
        check_zone(project, zone)
        path, instance, new_disks, warnings = design(self._core, self._disks, project, zone, body)
        target = Target(path, instance["id"], "insert")
        if excess := self._quotas.excess(project, zone, instance):
            return self._fail(target, excess)
        store = self._core.store
        life = _Life()
        self._lives[path] = life
        for disk_path, disk in new_disks:
            store.put(disk_path, disk)
        store.put(path, instance)
        for attached in instance["disks"]:
            store.update(_source(attached), users=[link(path)])

        def forget(_: bool = False) -> None:
            store.delete(path)
            self._lives.pop(path, None)
            for attached in instance["disks"]:
                if store.find(_source(attached)):
                    store.update(_source(attached), users=None)
            for disk_path, _disk in new_disks:
                self._disks.remove(disk_path)

        def work() -> None:
            with life.lock:
                try:
                    self._check_stock(project, zone)
                    for disk_path, _ in new_disks:
                        self._disks.make(disk_path)
                    store.update(path, status="STAGING")
                    self._power_on(path, life)
                except BaseException:
                    forget()
                    raise

        return self._core.operations.start(target, work, undo=forget, warnings=warnings)

    def delete(self, path: str) -> Resource:
        """Stop and delete an instance, with the disks that are to go with it; returns the operation."""
        instance = self.get(path)
        if instance.get("deletionProtection"):
            raise ApiError(400, "resourceInUseByAnotherResource", f"'{path}' is protected against deletion")
        target = Target(path, instance["id"], "delete")
        return self._core.operations.start(target, lambda: self._remove(path))

    def stop(self, path: str) -> Resource:
        """Shut an instance down, by force if it does not follow; returns the operation."""
        instance = self.get(path)

        def work() -> None:
            life = self._life(path)
            with life.lock:
                if self.get(path)["status"] == "RUNNING":
                    self._core.store.update(path, status="STOPPING")
                    _shut_down([life.machine] if life.machine else [], STOP_SECONDS)
                    self._stopped(path)

        return self._core.operations.start(Target(path, instance["id"], "stop"), work)

    def start(self, path: str) -> Resource:
        """Start a stopped instance; returns the operation.

        Raises:
            ApiError: 400 while an image is being made of its disk.
        """
        instance = self.get(path)
        for attached in instance["disks"]:
            self._core.busy_disks.check(_source(attached))
        stopped = instance["status"] == "TERMINATED"
        if stopped and (excess := self._quotas.excess(*_place(path), instance)):
            return self._fail(Target(path, instance["id"], "start"), excess)
        if stopped:  # from now on nobody may begin an image of its disk
            self._core.store.update(path, status="STAGING")

        def undo(_: bool = False) -> None:
            if stopped:
                self._core.store.update(path, status="TERMINATED")

        def work() -> None:
            life = self._life(path)
            with life.lock:
                if not stopped or self._core.store.get(path)["status"] != "STAGING":
                    return
                try:
                    self._check_stock(*_place(path))
                    self._power_on(path, life)
                except BaseException:
                    undo()
                    raise

        return self._core.operations.start(Target(path, instance["id"], "start"), work, undo=undo)

    def set_metadata(self, path: str, body: dict[str, Any]) -> Resource:
        """Replace an instance's metadata; returns the operation.

        Raises:
            ApiError: 412 for an outdated fingerprint.
        """
        instance = self.get(path)
        check_fingerprint(body.get("fingerprint"), instance["metadata"].get("items", []), "Metadata")
        changed = self._core.store.update(path, metadata=metadata(body))
        machine = self._life(path).machine
        if machine:
            machine.update_attributes(self._attributes(changed))
        return self._core.operations.start(Target(path, instance["id"], "setMetadata"), lambda: None)

    def serial_output(self, path: str, port: int, start: int) -> dict[str, Any]:
        """The answer of `getSerialPortOutput`.

        Args:
            path: the instance.
            port: 1 to 4.
            start: byte offset; negative counts from the end.

        Raises:
            ApiError: 404, or 400 for a port that does not exist.
        """
        self._core.store.get(path)
        if port not in SERIAL_PORTS:
            raise ApiError(400, "invalid", f"Invalid value for field 'port': '{port}'. Must be between 1 and 4.")
        life = self._life(path)
        contents, first, after = b"", max(start, 0), max(start, 0)
        if life.machine and not life.silent:
            if start < 0:
                start = max(0, life.machine.serial_output(port, 1 << 62).next + start)
            chunk = life.machine.serial_output(port, max(start, life.lost.get(port, 0)))
            fault = chunk.contents and self._core.faults.take("serial-loss", name=last(path), path=path, port=port)
            if fault:
                life.lost[port] = chunk.start + min(fault.bytes or len(chunk.contents), len(chunk.contents))
                chunk = life.machine.serial_output(port, life.lost[port])
            contents, first, after = chunk.contents, chunk.start, chunk.next
        return {
            "kind": "compute#serialPortOutput",
            "selfLink": link(f"{path}/serialPort"),
            "contents": contents.decode("utf-8", "replace"),
            "start": str(first),
            "next": str(after),
        }

    def enforce(self) -> None:
        """Do what is due: machines that turned themselves off, crashes, the end of `maxRunDuration`."""
        now = self._core.clock.now()
        for path, life in list(self._lives.items()):
            self._refresh(path)
            instance = self._core.store.find(path)
            if instance is None or instance["status"] != "RUNNING" or life.machine is None:
                continue
            if life.crash_at is not None and life.crash_at <= now:
                life.machine.cut_power()
                self._refresh(path)
            elif _ends_at(instance) <= now:
                self._end(path, life)

    def close(self) -> None:
        """Stop all machines."""
        self._closing.set()
        self._ticker.join()
        lives = list(self._lives.items())
        _shut_down([life.machine for _, life in lives if life.machine and life.machine.running], _CLOSE_SECONDS)
        for path, _ in lives:
            if self._core.store.find(path):
                self._refresh(path)

    def _fail(self, target: Target, why: OperationError) -> Resource:
        def work() -> None:
            raise why

        return self._core.operations.start(target, work)

    def _life(self, path: str) -> _Life:
        return self._lives.setdefault(path, _Life())

    def _attributes(self, instance: Resource) -> dict[str, str]:
        return {**self._given_attributes(), **attributes(instance)}

    def _check_stock(self, project: str, zone: str) -> None:
        if zone in self._stocked_out:
            message = (
                f"The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the "
                "request.  Try a different zone, or try again later."
            )
            raise OperationError("ZONE_RESOURCE_POOL_EXHAUSTED", message, 503)

    def _power_on(self, path: str, life: _Life) -> None:
        if life.machine is None:
            life.machine = self._core.backend.machine(self._spec(path))
        faults, name = self._core.faults, last(path)
        life.silent = faults.take("silent", name=name, path=path) is not None
        crash = faults.take("crash", name=name, path=path)
        life.crash_at = self._core.clock.now() + crash.seconds if crash else None
        life.machine.power_on()
        self._core.store.update(path, status="RUNNING", lastStartTimestamp=self._core.clock.timestamp())

    def _spec(self, path: str) -> MachineSpec:
        instance = self._core.store.get(path)
        project, zone = _place(path)
        account = (instance.get("serviceAccounts") or [{}])[0]
        return MachineSpec(
            project=project,
            zone=zone,
            name=instance["name"],
            instance_id=instance["id"],
            boot_disk=disk_key(self._core.store.get(_source(instance["disks"][0]))),
            machine_type=last(instance["machineType"]),
            attributes=self._attributes(instance),
            tags=instance["tags"].get("items", []),
            labels=instance.get("labels", {}),
            service_account=account.get("email"),
            scopes=account.get("scopes", []),
        )

    def _refresh(self, path: str) -> None:
        life = self._lives.get(path)
        if life is None or life.machine is None or life.machine.running:
            return
        with self._core.store.lock:
            instance = self._core.store.find(path)
            if instance and instance["status"] == "RUNNING" and not life.machine.running:
                self._stopped(path)

    def _stopped(self, path: str) -> None:
        self._core.store.update(path, status="TERMINATED", lastStopTimestamp=self._core.clock.timestamp())

    def _end(self, path: str, life: _Life) -> None:
        """The instance has run as long as it may."""
        with life.lock:
            instance = self._core.store.find(path)
            if instance is None or instance["status"] != "RUNNING" or life.machine is None:
                return
            if instance["scheduling"]["instanceTerminationAction"] == "DELETE":
                self._remove(path)
            else:
                life.machine.cut_power()
                self._stopped(path)

    def _remove(self, path: str) -> None:
        life = self._life(path)
        with life.lock:
            instance = self._core.store.find(path)
            if instance is None:
                return
            self._core.store.update(path, status="STOPPING")
            if life.machine:
                life.machine.cut_power()
            for attached in instance["disks"]:
                source = _source(attached)
                if attached["autoDelete"]:
                    self._disks.remove(source)
                elif self._core.store.find(source):
                    self._core.store.update(source, users=None)
            self._core.store.delete(path)
            self._lives.pop(path, None)

    def _tick(self) -> None:
        while not self._closing.wait(_TICK):
            try:
                self.enforce()
            except (ApiError, EmulatorError):
                continue  # deleted meanwhile, or a machine that would not stop: the next tick tries again


def _source(attached: dict[str, Any]) -> str:
    return path_of(attached["source"], "", "source")


def _place(path: str) -> tuple[str, str]:
    _, project, _, zone, *_ = path.split("/")
    return project, zone


def _ends_at(instance: Resource) -> float:
    """When the instance's time is over, in seconds since the epoch."""
    limit = run_limit(instance)
    if limit is not None:
        return from_rfc3339(instance["lastStartTimestamp"]) + limit
    at = instance["scheduling"].get("terminationTime")
    return from_rfc3339(at) if at else float("inf")


def _shut_down(machines: list[Machine], seconds: float) -> None:
    """Press the power buttons, and cut the power of those that still run after a time."""
    for machine in machines:
        machine.press_power_button()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(machine.running for machine in machines):
        time.sleep(0.02)
    for machine in machines:
        machine.cut_power()
