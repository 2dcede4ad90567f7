"""What the emulator asks of the machines below it: disks, images of disks, and machines that boot them.

The Compute Engine API (`resources`, `api`) knows only these protocols. Two backends fulfil them: `qemu` runs real
virtual machines, `scripted` plays a given serial transcript in no time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

SERIAL_PORTS = (1, 2, 3, 4)
SERIAL_RING_BYTES = 1 << 20
"""Compute Engine keeps the most recent 1 MiB of each serial port's output."""


@dataclass(frozen=True)
class SerialChunk:
    """A piece of a serial port's output.

    Attributes:
        contents: the bytes from `start` on (not yet decoded).
        start: offset of the first byte; greater than the offset asked for when the ring has lost what stood there.
        next: the offset to ask for next.
    """

    contents: bytes
    start: int
    next: int


@dataclass(frozen=True)
class MachineSpec:
    """All that a backend needs to know of an instance.

    Attributes:
        instance_id: the instance's numeric id, as text; a new instance has a new one.
        boot_disk: key of the disk to boot from, as given to `Backend.create_disk`.
        attributes: instance metadata (`instance/attributes/…` of the metadata server).
        service_account: e-mail of the service account, or None for an instance without one.
        scopes: OAuth scopes of that account.
        machine_type: for example `n1-standard-1`; real machines may be smaller than it says.
    """

    project: str
    zone: str
    name: str
    instance_id: str
    boot_disk: str
    machine_type: str = "n1-standard-1"
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str | None = None
    scopes: Sequence[str] = ()


class Machine(Protocol):
    """One machine. All methods may be called from any thread."""

    def power_on(self) -> None:
        """Start it; returns as soon as it is running. Output of an earlier run stays readable."""
        ...

    def press_power_button(self) -> None:
        """Ask the guest to shut down (ACPI); returns at once."""
        ...

    def cut_power(self) -> None:
        """Stop it at once; returns when it is stopped. Does nothing to a machine that is off."""
        ...

    @property
    def running(self) -> bool:
        """Whether it runs: False before power_on, and once the guest has powered off."""
        ...

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """Output of serial port 1 to 4 from byte offset `start` on, at most what the 1 MiB ring still holds."""
        ...

    def update_attributes(self, attributes: Mapping[str, str]) -> None:
        """Change the instance metadata that the metadata server shows (the API's setMetadata)."""
        ...


class Backend(Protocol):
    """A kind of machine with the disks it boots from. Keys are chosen by the caller, unique and safe as file names."""

    name: str

    def prepare(self) -> None:
        """Make sure that machines can run: programs present, stand-in image built. Slow the first time.

        Raises:
            EmulatorError: with what is missing and the command that installs it.
        """
        ...

    def create_disk(self, key: str, image: str | None, size_gb: int) -> None:
        """Make a disk from an image's key, from the stand-in image (`STAND_IN`), or empty (None)."""
        ...

    def delete_disk(self, key: str) -> None:
        """Remove a disk; nothing happens if there is none."""
        ...

    def create_image(self, key: str, disk: str) -> int:
        """Make an image of a disk; returns its size in bytes. A machine that runs from it stands still meanwhile."""
        ...

    def delete_image(self, key: str) -> None:
        """Remove an image; nothing happens if there is none."""
        ...

    def machine(self, spec: MachineSpec) -> Machine:
        """A machine for this instance, powered off."""
        ...

    def close(self) -> None:
        """Stop every machine and leave no process or port behind."""
        ...


STAND_IN = "stand-in"
"""Key of the image behind the catalogue's COS images."""


class EmulatorError(Exception):
    """The local Compute Engine cannot do what was asked; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
