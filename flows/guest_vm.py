"""A VM of a build, the builder VM or the test VM: created where there is capacity, followed, deleted at the end."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import CustomizerError, StockOutError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ObjectRef, VmRef
from cos_customizer.customizer.reporting.events import Note, Stage, publish
from cos_customizer.customizer.reporting.failure import Phase
from cos_customizer.customizer.reporting.result import KeptVm
from cos_customizer.customizer.spec.disk_layout import DiskLayout
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp import instances, request_bodies, scratch
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.guest_console import GuestConsole
from cos_customizer.gcp.serial_console import SerialConsole
from cos_customizer.guest.protocol import PORT
from cos_customizer.tasks import vm as vm_tasks

_LAST_READ = 5.0
"""Seconds for reading what a VM has said last, of a third of what there are: what costs money does not wait for what
informs."""
_SERIAL_LOG_LIFE = 30 * 24 * 3600
_PHASES: dict[Stage, tuple[Phase, Phase, Phase]] = {
    "build": ("builder VM", "boot", "steps"),
    "verify": ("test VM", "test boot", "verify"),
}
"""What is told apart of a VM's time: its creation, its boot, its work."""


@dataclass(frozen=True)
class GuestVm:
    """A VM that runs a plan and reports on it on its serial port.

    Attributes:
        record: Notes on the build.
        undoing: Takes back what this VM leaves.
        stage: What the VM is for.
        labels: Of the plan's steps, in order.
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
    def nonce(self) -> str:
        """Marks its lines on the serial port."""
        build = self.record.build
        return build.nonce if self.stage == "build" else build.test_nonce

    def ref(self, zone: str) -> VmRef:
        """What names it, were it in a zone."""
        build = self.record.build
        name = build.builder_vm if self.stage == "build" else build.test_vm
        return VmRef(self.record.spec.builder.project, zone, name)

    def create(self, zones: list[str], body_in: Callable[[str], dict[str, Any]]) -> VmRef:
        """Create the VM in the first zone that has capacity.

        Args:
            zones: To try in turn.
            body_in: Makes the body of `instances.insert`, given the zone.

        Returns:
            The VM.

        Raises:
            StockOutError: None has capacity.
            CustomizerError: The VM could not be created.
        """
        with self.record.phase(_PHASES[self.stage][0]):
            return self._create_in_turn(zones, body_in)

    def _create_in_turn(self, zones: list[str], body_in: Callable[[str], dict[str, Any]]) -> VmRef:
        for zone in zones:
            vm, body = self.ref(zone), body_in(zone)
            seconds = request_bodies.life_in(body)
            what, undo = f"{self.what} {vm.name} in {zone}", partial(self._delete, vm, time.time() + seconds)
            life = human_duration(seconds)
            taker = f"Compute Engine deletes it {life} after its creation"
            self.undoing.add(what, undo, taker)
            try:
                vm_tasks.create_vm(self.what, vm, body, self.record.build)
            except StockOutError as error:
                if zone == zones[-1]:
                    raise
                publish(Note("stock-out", f"{error.message}; trying the next zone", "warning"))
                # What it may have left, before anything else is made; again at the end, which costs nothing.
                self.undoing.note(what, undo(), taker)
            else:
                self.record.zones[self.stage] = zone
                machine = body["machineType"].rpartition("/")[2]
                publish(Note(self.what, f"{vm.name} in {zone} ({machine})", aside=f", at most {life} of life"))
                return vm
        raise AssertionError("a specification has at least one zone")

    def follow(self, vm: VmRef, layout: DiskLayout | None = None) -> GuestConsole:
        """Follow the boot and the plan to its end, one task run for each step.

        Args:
            vm: From `create`.
            layout: Of its boot disk, if the plan makes a new one.

        Returns:
            Where the VM reports.

        Raises:
            BuildFailedError: It does not boot, a step has failed, or the VM is gone.
        """
        console = self._open_console(vm)
        _, boot, work = _PHASES[self.stage]
        with self.record.phase(boot):
            vm_tasks.follow_boot(console, self.what)
        publish(Note(self.what, f"booted in {human_duration(self.record.durations[boot])}"))
        if layout is not None:
            with self.record.phase("disk"):
                self._follow_disk(console, vm, layout)
        with self.record.phase(work):
            for number, label in enumerate(self.labels, start=1):
                vm_tasks.follow_step(console, number, label)
            vm_tasks.follow_end(console, self.what)
        return console

    def _follow_disk(self, console: GuestConsole, vm: VmRef, layout: DiskLayout) -> None:
        if layout.disk_size_gb is not None:
            vm_tasks.follow_disk(console, self.what, layout.disk_size)
            vm_tasks.grow_disk(self.what, vm, layout.disk_size_gb, self.record.build)
        vm_tasks.follow_disk(console, self.what, None)

    def _open_console(self, vm: VmRef) -> GuestConsole:
        console = GuestConsole(
            SerialConsole(clients(), vm, PORT),
            lambda: instances.vm_status(clients(), vm),
            self._store_serial_log,
            self.nonce,
            self.labels,
            self.stage,
            lambda: self.record.spec.builder.spot and instances.was_preempted(clients(), vm),
        )
        self.record.consoles[self.stage] = console
        self.undoing.add_last(partial(_keep_serial_log, self.what, console))
        return console

    def _delete(self, vm: VmRef, end: float) -> list[Removal]:
        """Delete the VM, once what it has said is read: its serial console dies with it. Or keep it to be looked at.

        Args:
            vm: It.
            end: Unix time at which Compute Engine deletes it by itself.
        """
        if console := self.record.consoles.get(self.stage):
            with suppress(CustomizerError), deadline.until(time.monotonic() + min(_LAST_READ, deadline.left() / 3)):
                console.read()
        if self._is_to_stay(vm):
            self.record.kept = KeptVm.of(vm, end, tunnel=not self.record.spec.builder.external_ip)
            return []
        return vm_tasks.delete_vm(self.what, vm)

    def _is_to_stay(self, vm: VmRef) -> bool:
        """Whether it is left: a builder VM on which something has gone wrong, and which its own clock ends: it runs."""
        record, console = self.record, self.record.consoles.get(self.stage)
        if self.stage != "build" or not (record.may_keep_builder and record.spec.builder.keep_on_failure):
            return False
        if console is None or console.progress.succeeded:
            return False
        try:
            status = instances.vm_status(clients(), vm)
        except CustomizerError:
            return False
        if status not in ("", "RUNNING"):
            publish(Note("kept", f"nothing: the {self.what} does not run (its status is {status})", "warning"))
        return status == "RUNNING"

    def _store_serial_log(self, log: IO[bytes]) -> None:
        """Keep what the console has said: it dies with the VM."""
        spec, build = self.record.spec, self.record.build
        workdir = spec.scratch.workdir
        name = build.serial_log(workdir) if self.stage == "build" else build.scratch(workdir) + "verify-serial.log"
        target = ObjectRef(spec.scratch.bucket, name)
        expires = time.time() + _SERIAL_LOG_LIFE
        scratch.upload(clients(), target, log, build.labels(expires), expires)
        self.record.serial_logs[self.stage] = target.url


def _keep_serial_log(what: str, console: GuestConsole) -> None:
    try:
        vm_tasks.store_serial_log(what, console)
    except CustomizerError as error:  # nothing is left behind by that
        publish(Note("serial log", error.message, "warning"))
