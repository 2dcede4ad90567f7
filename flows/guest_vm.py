"""A VM of a build, the builder VM or the test VM: made where there is room, followed, gone at the end."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import CustomizerError, StockOutError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.events import Note, Stage
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp import instances, request_bodies, scratch
from cos_customizer.gcp.serial_console import SerialConsole
from cos_customizer.guest.protocol import PORT
from cos_customizer.tasks import builder_vm as vm_tasks
from cos_customizer.tasks import serial_console as console_tasks
from cos_customizer.tasks.operation import clients
from cos_customizer.tasks.reporting import report

_SERIAL_LOG_LIFE = 30 * 24 * 3600


@dataclass(frozen=True)
class GuestVm:
    """A VM that runs a plan and tells of it on its serial port.

    Attributes:
        record: notes on the build.
        undoing: takes back what this VM leaves.
        stage: what the VM is for.
        labels: of the plan's steps, in order.
    """

    record: Record
    undoing: Undoing
    stage: Stage
    labels: list[str]

    @property
    def what(self) -> str:
        """What people call it."""
        return "builder VM" if self.stage == "build" else "test VM"

    @property
    def name(self) -> str:
        """Of the VM and its boot disk."""
        build = self.record.build
        return build.builder_vm if self.stage == "build" else build.test_vm

    def create(self, zones: list[str], body_in: Callable[[str], dict[str, Any]]) -> str:
        """Make the VM in the first zone that has capacity.

        Args:
            zones: to try in turn.
            body_in: makes the body of `instances.insert`, given the zone.

        Returns:
            The zone.

        Raises:
            StockOutError: none has capacity.
            CustomizerError: the VM could not be made.
        """
        project, build = self.record.spec.builder.project, self.record.build
        for zone in zones:
            body = body_in(zone)
            undo = partial(self._delete, zone)
            self.undoing.add(f"{self.what} {self.name} in {zone}", undo)
            try:
                vm_tasks.create_vm(self.what, project, zone, body, build)
            except StockOutError as error:
                if zone == zones[-1]:
                    raise
                report(Note("stock-out", f"{error.message}; trying the next zone", "warning"))
                undo()  # what it may have left, before anything else is made; again at the end, which costs nothing
            else:
                life = human_duration(request_bodies.life_of_builder_vm(self.record.spec.timeout_seconds))
                machine = body["machineType"].rpartition("/")[2]
                report(Note(self.what, f"{self.name} in {zone} ({machine}), at most {life} of life"))
                return zone
        raise AssertionError("a specification has at least one zone")

    def follow(self, zone: str) -> None:
        """Follow the plan to its end, one task run for each step.

        Args:
            zone: of the VM.

        Raises:
            BuildFailedError: a step has failed, or the VM is gone.
        """
        console = self._open_console(zone)
        for number, label in enumerate(self.labels, start=1):
            console_tasks.follow_step(console, number, label)
        console_tasks.follow_end(console, self.what)

    def hear_again(self) -> None:
        """Hear the guest once more: a VM that has restarted by itself after its last word has begun its plan anew."""
        console = self.record.consoles[self.stage]
        with suppress(CustomizerError):
            console.read()
        console.raise_failure()

    def _open_console(self, zone: str) -> console_tasks.GuestConsole:
        project, build = self.record.spec.builder.project, self.record.build
        console = console_tasks.GuestConsole(
            SerialConsole(clients(), project, zone, self.name, PORT),
            lambda: instances.vm_status(clients(), project, zone, self.name),
            self._store_serial_log,
            build.nonce if self.stage == "build" else build.test_nonce,
            self.labels,
            self.stage,
        )
        self.record.consoles[self.stage] = console
        self.undoing.add("serial log", partial(_keep_serial_log, console))
        return console

    def _store_serial_log(self, log: IO[bytes]) -> None:
        """Keep what the console has said: it dies with the VM."""
        spec, build = self.record.spec, self.record.build
        prefix = build.scratch(spec.scratch.workdir)
        bucket, name = spec.scratch.bucket, prefix + ("serial.log" if self.stage == "build" else "verify-serial.log")
        expires = time.time() + _SERIAL_LOG_LIFE
        scratch.upload(clients(), bucket, name, log, build.labels(expires), expires)
        self.record.serial_logs[self.stage] = f"gs://{bucket}/{name}"

    def _delete(self, zone: str) -> "Counter[str]":
        return delete_vm(self.record.spec.builder.project, zone, self.name, self.record.build)


def delete_vm(project: str, zone: str, name: str, build: BuildNames) -> "Counter[str]":
    """Delete a VM of a build, and its disk, as an undoing: says how many of what were there."""
    vms, disks = instances.delete_vm(clients(), project, zone, name, build)
    return Counter({"VM": vms, "disk": disks})


def _keep_serial_log(console: console_tasks.GuestConsole) -> None:
    try:
        console.store()
    except CustomizerError as error:  # nothing is left behind by that
        report(Note("serial log", error.message, "warning"))
