"""The protocols of machines: disks, images of disks, and machines that boot them.

Compute Engine uses machines through these protocols alone. There are two backends: `qemu` runs real virtual machines,
`scripted` plays a given serial transcript in no time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.guest_attributes import GuestAttributes
from cos_customizer.emulator.machines.raw_archive import Imported, Reader

MachineKind = Literal["qemu", "scripted"]
SERIAL_PORTS = (1, 2, 3, 4)
SERIAL_RING_BYTES = 1 << 20
"""Compute Engine keeps the most recent 1 MiB of each serial port's output."""


@dataclass(frozen=True)
class SerialChunk:
    """A piece of a serial port's output.

    Attributes:
        contents: the bytes from `start` on (not yet decoded).
        start: offset of the first byte; greater than the offset asked for where the ring has lost older output.
        next: the offset to ask for next.
    """

    contents: bytes
    start: int
    next: int


@dataclass(frozen=True)
class DataDisk:
    """A disk of a machine besides the one that it boots from; to the guest it is a SCSI disk.

    Attributes:
        key: of the disk, as given to `Backend.create_disk`.
        device: its device's name; the guest has `/dev/disk/by-id/google-DEVICE`.
        read_only: the guest cannot write to it.
    """

    key: str
    device: str
    read_only: bool = False


@dataclass(frozen=True)
class MachineSpec:
    """What a backend needs to know of an instance.

    Attributes:
        instance_id: the instance's numeric id, as text; a new instance has a new one.
        boot_disk: key of the disk to boot from, as given to `Backend.create_disk`.
        attributes: instance metadata (`instance/attributes/…` of the metadata server).
        project_attributes: metadata of the project (`project/attributes/…`).
        service_account: e-mail of the service account, or None for an instance without one.
        scopes: OAuth scopes of that account.
        host_ports: ports of this machine's loopback that the guest may reach.
        machine_type: for example `n1-standard-1`.
        cpus: that it says.
        memory: that it says, in MiB; a real machine has it as far as the host does.
        disk_interface: `SCSI` or `NVME`.
        disk_features: types of the boot disk's `guestOsFeatures`.
        boot_device: name of the boot disk's device.
        disks: those besides the boot disk.
        gpu: the accelerator type that it has, or empty. No machine has a GPU; a stand-in's guest is told.
    """

    project: str
    zone: str
    name: str
    instance_id: str
    boot_disk: str
    machine_type: str = "n1-standard-1"
    cpus: int = 1
    memory: int = 1024
    disk_interface: str = "SCSI"
    disk_features: Sequence[str] = ()
    boot_device: str = "boot"
    disks: Sequence[DataDisk] = ()
    gpu: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    project_attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str | None = None
    scopes: Sequence[str] = ()
    host_ports: Sequence[int] = ()


class Machine(Protocol):
    """One machine. All methods may be called from any thread."""

    @property
    def guest_attributes(self) -> GuestAttributes:
        """What its guest has said of itself; they last longer than a run."""
        ...

    def configure(self, spec: MachineSpec) -> None:
        """Change what the machine is, which is off: as another machine type, or another service account."""
        ...

    def power_on(self) -> None:
        """Start it; returns as soon as it is running. Output of an earlier run stays readable."""
        ...

    def press_power_button(self) -> None:
        """Ask the guest to shut down (ACPI); returns at once."""
        ...

    def cut_power(self) -> None:
        """Stop it at once; returns when it is stopped. Does nothing to a machine that is off."""
        ...

    def reset(self) -> None:
        """Let a running machine boot again at once, as its reset button does."""
        ...

    def freeze(self) -> None:
        """Let a running machine stand still until `thaw`: it is running all the same."""
        ...

    def thaw(self) -> None:
        """Let a machine go on that stands still."""
        ...

    def attach(self, disk: DataDisk) -> None:
        """Give a running machine one more disk, at once. Does nothing if it has it, or is off.

        Raises:
            EmulatorError: it cannot take it.
        """
        ...

    def detach(self, device: str) -> None:
        """Take a disk from a running machine, at once, by its device's name. Does nothing if it has none, or is off.

        Raises:
            EmulatorError: it cannot be taken.
        """
        ...

    @property
    def running(self) -> bool:
        """False before `power_on`, and as soon as the guest has powered off."""
        ...

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """Return output of serial port 1 to 4 from byte offset `start` on, as far as the 1 MiB ring still holds it."""
        ...

    def update_attributes(self, attributes: Mapping[str, str], project_attributes: Mapping[str, str]) -> None:
        """Change the metadata that the metadata server shows, of the instance and of its project."""
        ...


class Backend(Protocol):
    """A kind of machine with the disks it boots from. Keys are chosen by the caller, unique and safe as file names."""

    name: str
    most_machines: int
    """How many machines may run at once unless the user sets another limit."""
    faults: Faults
    """Those of guests' metadata servers."""

    def prepare(self) -> None:
        """Make sure that machines can run: programs installed, stand-in image built. Slow the first time.

        Raises:
            EmulatorError: something is missing; the hint is the command that installs it.
        """
        ...

    def create_disk(self, key: str, image: str | None, size_gb: int) -> None:
        """Make a disk from an image's key, from the stand-in image (`STAND_IN`), or empty (None)."""
        ...

    def delete_disk(self, key: str) -> None:
        """Remove a disk, if there is one."""
        ...

    def resize_disk(self, key: str, size_gb: int) -> None:
        """Make a disk larger; a running machine that has it sees that at once."""
        ...

    def create_image(self, key: str, disk: str) -> int:
        """Make an image of a disk; returns its size in bytes. A running machine that has it is paused meanwhile."""
        ...

    def import_image(self, key: str, archive: Reader) -> Imported:
        """Make an image of an archive of `disk.raw`.

        Raises:
            NoImageError: it is not what Compute Engine takes.
        """
        ...

    def export_image(self, key: str, file: Path) -> None:
        """Write an image (or the stand-in) as an archive of `disk.raw`.

        Raises:
            EmulatorError: there is no such image, or its content is not kept.
        """
        ...

    def delete_image(self, key: str) -> None:
        """Remove an image, if there is one."""
        ...

    def keep_only(self, disks: Collection[str], images: Collection[str]) -> None:
        """Remove all that an earlier emulator has left and that belongs to none of these disks and images."""
        ...

    def machine(self, spec: MachineSpec) -> Machine:
        """Return a machine for this instance, powered off."""
        ...

    def close(self) -> None:
        """Stop all machines; leaves no process and no port behind."""
        ...


STAND_IN = "stand-in"
"""Key of the image behind the catalogue's COS images."""
