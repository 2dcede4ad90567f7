"""Booting an image to look at it: a VM that is there for as long as somebody looks, and then is not."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import (
    BuildFailedError,
    CleanUpError,
    ConflictError,
    CustomizerError,
    NotFoundError,
)
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ImageRef, VmRef
from cos_customizer.customizer.spec import scopes
from cos_customizer.gcp import instances
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.request_bodies import life_of_builder_vm
from cos_customizer.gcp.serial_console import SerialConsole
from cos_customizer.guest.one_command import CommandReader, Ended, Printed
from cos_customizer.guest.protocol import PORT, readable

INTERVAL = 0.3
"""Seconds between two looks at a VM of this machine: the emulator has no quota."""
_CONSOLE = 1
_STATUS_INTERVAL = 3.0
_TAIL_LINES = 15
_TAIL_BYTES = 16 << 10
_LAST_READ = 5.0
_RUNS = ("PROVISIONING", "STAGING", "RUNNING", "REPAIRING")


@dataclass(frozen=True)
class BootedVm:
    """A VM to boot from an image.

    Attributes:
        ref: what names it.
        image: the image.
        machine_type: for example `n1-standard-1`.
        metadata: its attributes.
        seconds: how long it may be looked at.
    """

    ref: VmRef
    image: ImageRef
    machine_type: str
    metadata: Mapping[str, str]
    seconds: float

    def body(self) -> dict[str, Any]:
        """The body of `instances.insert`."""
        zone = self.ref.zone
        return {
            "name": self.ref.name,
            "description": f"Booted from {self.image.project}/{self.image.name}, to look at it",
            "machineType": f"zones/{zone}/machineTypes/{self.machine_type}",
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": {"diskName": self.ref.name, "sourceImage": self.image.path},
                }
            ],
            "networkInterfaces": [{"network": "global/networks/default"}],
            "serviceAccounts": [{"email": "default", "scopes": list(scopes.DEFAULT)}],
            "metadata": {"items": [{"key": key, "value": value} for key, value in self.metadata.items()]},
            # Should this process be killed, the VM deletes itself.
            "scheduling": {
                "maxRunDuration": {"seconds": str(life_of_builder_vm(self.seconds))},
                "instanceTerminationAction": "DELETE",
            },
        }


@contextmanager
def booted(clients: Clients, vm: BootedVm, end: float, warn: Callable[[str], None]) -> Iterator[None]:
    """Let a VM be there for as long as the context lasts; it and its disk are deleted on every way out.

    Args:
        clients: Google's clients.
        vm: the VM.
        end: value of `time.monotonic()` by which it must have been created.
        warn: is told what is left behind where there is another error to raise.

    Raises:
        CustomizerError: it could not be created.
        CleanUpError: it, or its disk, is left behind.
    """
    try:
        with deadline.until(end):
            instances.create_vm(clients, vm.ref, vm.body(), BuildNames.of(vm.ref.name, 1))
        yield
        left = _delete(clients, vm)  # whoever interrupts this, too, finds it done below
    except BaseException:
        if left := _delete(clients, vm):
            warn(left)
        raise
    if left:
        raise CleanUpError(left, "cos-customizer emulator vms lists VMs; each deletes itself when its time is up.")


def _delete(clients: Clients, vm: BootedVm) -> str:
    """Delete it; returns what is left behind, empty if nothing is."""
    left = [each for each in instances.delete_vm(clients, vm.ref) if each.action == "failed"]
    return f"left behind: {', '.join(f'{each.kind} {each.name} ({each.reason})' for each in left)}" if left else ""


class Watch:
    """What a VM prints, read until it has said enough.

    Args:
        clients: Google's clients.
        vm: the VM.
        end: value of `time.monotonic()` until which that may take.

    Attributes:
        lost: whether something of it was lost on the way.
    """

    def __init__(self, clients: Clients, vm: BootedVm, end: float) -> None:
        self._clients = clients
        self._vm = vm
        self._end = end
        self._status_due = 0.0
        self._late = ""  # what has not happened, should the time be up
        self.lost = False

    def console(self) -> Iterator[bytes]:
        """What it prints on its first serial port, until it has stopped.

        Raises:
            BuildFailedError: it has not stopped in time.
        """
        self._late = "the VM has not stopped"
        yield from self._output(_CONSOLE)

    def command(self, nonce: str) -> Iterator[Printed | int]:
        """What the command prints that its user-data runs, and in the end its exit code.

        Args:
            nonce: of the command.

        Raises:
            BuildFailedError: the command has not ended: time is up, or the VM has stopped or restarted before that.
        """
        reader = CommandReader(nonce)
        self._late = "the VM has not begun the command"
        for piece in self._output(PORT):
            events = reader.feed(piece)
            self.lost = self.lost or reader.torn > 0
            for event in events:
                self._late = "the command has not ended"
                if isinstance(event, Printed):
                    yield event
                elif isinstance(event, Ended):
                    if event.code is None:
                        raise self._failure("the VM has restarted before the command had ended")
                    yield event.code
                    return
        raise self._failure("the VM has stopped before the command had ended")

    def _output(self, port: int) -> Iterator[bytes]:
        """What it prints on a serial port, until it has stopped and all is read.

        Args:
            port: the port.

        Raises:
            BuildFailedError: time is up.
        """
        serial, over = SerialConsole(self._clients, self._vm.ref, port), False
        while True:
            if time.monotonic() >= self._end:
                message = f"{self._late} within {human_duration(self._vm.seconds)}"
                hint = Message("{} gives it more time.", FieldPath("timeout"))
                if port == _CONSOLE:  # it is shown already
                    raise BuildFailedError(message, hint)
                raise self._failure(message, hint)
            data = b""
            with suppress(deadline.TimeUpError), deadline.until(self._end):
                over = self._is_over()
                data = self._read(serial)
            if data:
                yield data
            elif over:
                return
            else:
                time.sleep(INTERVAL)

    def _is_over(self) -> bool:
        """Whether it has stopped, or is gone; asked now and then."""
        if time.monotonic() < self._status_due:
            return False
        if instances.vm_status(self._clients, self._vm.ref) not in _RUNS:
            return True
        self._status_due = time.monotonic() + _STATUS_INTERVAL
        return False

    def _read(self, serial: SerialConsole) -> bytes:
        try:
            output = serial.read()
        except (ConflictError, NotFoundError):  # not ready yet, or gone: its status tells
            self._status_due = 0.0
            return b""
        self.lost = self.lost or output.lost > 0
        return output.data

    def _failure(self, message: str, hint: str = "") -> BuildFailedError:
        """An error with the last lines of the VM's console."""
        serial, tail = SerialConsole(self._clients, self._vm.ref, _CONSOLE), b""
        with suppress(CustomizerError), deadline.until(time.monotonic() + _LAST_READ):
            while data := serial.read().data:
                tail = (tail + data)[-_TAIL_BYTES:]
        lines = [line for raw in tail.split(b"\n") if (line := readable(raw.strip(b"\r"))).strip()]
        return BuildFailedError(message, hint, tuple(lines[-_TAIL_LINES:]))
