"""A virtual machine under QEMU."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines import serial_files
from cos_customizer.emulator.machines.backend import SERIAL_PORTS, DataDisk, MachineSpec, SerialChunk
from cos_customizer.emulator.machines.guest_attributes import GuestAttributes
from cos_customizer.emulator.machines.guest_firewall import GuestFirewall
from cos_customizer.emulator.machines.host import last_lines
from cos_customizer.emulator.machines.metadata_server import MetadataServer
from cos_customizer.emulator.machines.qemu_command import (
    command_line,
    content_of,
    device_id,
    device_of,
    network_rules,
    node_of,
    serial_file,
)
from cos_customizer.emulator.machines.qmp import QemuGoneError, Qmp

_QUIT_SECONDS = 5.0


class Host(Protocol):
    """What a machine needs of those that start it.

    Attributes:
        faults: those of guests' metadata servers.
    """

    faults: Faults

    @property
    def accelerator(self) -> str:
        """`kvm` or `tcg`."""
        ...

    def spawn(
        self, machine: "QemuMachine", command: list[str], log: Path, descriptors: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        """Start QEMU for a machine with these descriptors open, so that it never outlives this process."""
        ...

    def disk_file(self, key: str) -> Path:
        """Return the file of a disk."""
        ...

    def directory_of(self, spec: MachineSpec) -> Path:
        """Return where the output of a machine's serial ports goes."""
        ...

    def forget(self, machine: "QemuMachine") -> None:
        """Forget a machine that is off."""
        ...


class QemuMachine:
    """A virtual machine; see `backend.Machine`.

    Args:
        host: starts QEMU and keeps the disks.
        spec: the instance.

    Attributes:
        directory: where the output of its serial ports goes.
    """

    def __init__(self, host: Host, spec: MachineSpec) -> None:
        self._host = host
        self._spec = spec
        self.directory = host.directory_of(spec)
        self._guest_attributes = GuestAttributes()
        self._power = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._watcher: threading.Thread | None = None
        self._metadata: MetadataServer | None = None
        self._is_frozen = False
        self._pauses = 0
        self._standing = threading.Lock()

    def configure(self, spec: MachineSpec) -> None:
        """See `Machine.configure`; its output goes with it to the directory of another boot disk."""
        self._spec = spec
        before, self.directory = self.directory, self._host.directory_of(spec)
        if before != self.directory and before.exists():
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            before.rename(self.directory)

    def power_on(self) -> None:
        """See `Machine.power_on`.

        Raises:
            EmulatorError: QEMU does not start; the message has its reason.
        """
        with self._power:
            if self.running:
                return
            if self._watcher:
                self._watcher.join()  # of an earlier run, which is just ending
            self.directory.mkdir(parents=True, exist_ok=True)
            for port in SERIAL_PORTS:
                serial_file(self.directory, port).touch()
            metadata = MetadataServer(self._spec, self._host.faults, self._guest_attributes)
            firewall = GuestFirewall(network_rules(self._spec.host_ports))
            log = self.directory / "qemu.log"
            try:
                ends = (firewall.from_guest.fileno(), firewall.to_network.fileno())
                command = command_line(
                    self._spec,
                    self.directory,
                    self._host.accelerator,
                    self._host.disk_file,
                    metadata.start(),
                    ends,
                )
                process = self._host.spawn(self, command, log, ends)
                firewall.close_ends()
                firewall.start()
                assert process.stdout
                if not process.stdout.readline():  # QMP's greeting
                    process.wait()
                    self._host.forget(self)
                    raise EmulatorError(f"QEMU does not start: {last_lines(log.read_text(errors='replace'))}")
            except BaseException:
                metadata.stop()
                firewall.close_ends()
                firewall.close()
                raise
            qmp = Qmp(process, self._spec.name)
            self._process, self._metadata, self._qmp, self._is_frozen = process, metadata, qmp, False
            self._watcher = threading.Thread(target=self._watch, args=(process, qmp, metadata, firewall), daemon=True)
            self._watcher.start()
            qmp.tell("qmp_capabilities")

    def press_power_button(self) -> None:
        """See `Machine.press_power_button`."""
        self._tell("system_powerdown")

    def reset(self) -> None:
        """See `Machine.reset`."""
        self._tell("system_reset")

    def freeze(self) -> None:
        """See `Machine.freeze`."""
        with self._standing:
            self._is_frozen = True
            self._tell("stop")

    def thaw(self) -> None:
        """See `Machine.thaw`; the CPUs go on when nobody reads its disks any more."""
        with self._standing:
            self._is_frozen = False
            self._go_on()

    def attach(self, disk: DataDisk) -> None:
        """See `Machine.attach`."""
        with self._power:
            if not self.running or self._qmp is None or disk.device in (each.device for each in self._spec.disks):
                return
            with contextlib.suppress(QemuGoneError):  # the next one has it from the beginning
                self._add(self._qmp, disk)
            self._have([*self._spec.disks, disk])

    def detach(self, device: str) -> None:
        """See `Machine.detach`."""
        with self._power:
            disk = next((each for each in self._spec.disks if each.device == device), None)
            if not self.running or self._qmp is None or disk is None:
                return
            with contextlib.suppress(QemuGoneError):  # whose disks are free
                with self._qmp.awaiting("DEVICE_DELETED", device_id(disk.key)):
                    self._qmp.ask("device_del", {"id": device_id(disk.key)})
                self._qmp.ask("blockdev-del", {"node-name": node_of(self._spec, disk.key)})
            self._have([each for each in self._spec.disks if each != disk])

    def resize_disk(self, disk: str, size_gb: int) -> None:
        """Make one of its disks larger while it runs.

        Args:
            disk: its key.
            size_gb: its new size in GiB.

        Raises:
            EmulatorError: it cannot be.
        """
        if self._qmp:
            self._qmp.ask("block_resize", {"node-name": node_of(self._spec, disk), "size": size_gb << 30})

    def cut_power(self) -> None:
        """See `Machine.cut_power`."""
        with self._power:
            process, watcher = self._process, self._watcher
            if process is None or watcher is None:
                return
            self._tell("quit")
            try:
                process.wait(_QUIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            watcher.join()

    def has(self, disk: str) -> bool:
        """Return whether this is the key of one of its disks."""
        return disk == self._spec.boot_disk or disk in (each.key for each in self._spec.disks)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the machine's CPUs for a while; all that it has written is in its disks' files then.

        Several pauses may overlap: the CPUs go on after the last one.

        Raises:
            EmulatorError: it does not stop.
        """
        with self._standing:
            self._pauses += 1
        try:
            with contextlib.suppress(QemuGoneError):  # which has written all
                if self._qmp:
                    self._qmp.ask("stop")  # the answer comes after everything is flushed
            yield
        finally:
            with self._standing:
                self._pauses -= 1
                self._go_on()

    @property
    def running(self) -> bool:
        """See `Machine.running`."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def guest_attributes(self) -> GuestAttributes:
        """See `Machine.guest_attributes`."""
        return self._guest_attributes

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """See `Machine.serial_output`."""
        return serial_files.read(serial_file(self.directory, port), start)

    def update_attributes(self, attributes: Mapping[str, str], project_attributes: Mapping[str, str]) -> None:
        """See `Machine.update_attributes`."""
        self._spec = replace(self._spec, attributes=attributes, project_attributes=project_attributes)
        if self._metadata:
            self._metadata.update(self._spec)

    def _add(self, qmp: Qmp, disk: DataDisk) -> None:
        node = node_of(self._spec, disk.key)
        qmp.ask("blockdev-add", content_of(node, self._host.disk_file(disk.key), disk.read_only))
        try:
            qmp.ask("device_add", device_of(self._spec, disk))
        except BaseException:
            qmp.tell("blockdev-del", {"node-name": node})
            raise

    def _go_on(self) -> None:
        """Let the CPUs go on, unless something keeps them still."""
        if not self._pauses and not self._is_frozen:
            self._tell("cont")

    def _have(self, disks: Sequence[DataDisk]) -> None:
        self._spec = replace(self._spec, disks=disks)
        if self._metadata:
            self._metadata.update(self._spec)

    def _tell(self, command: str) -> None:
        if self._qmp:
            self._qmp.tell(command)

    def _watch(
        self, process: subprocess.Popen[bytes], qmp: Qmp, metadata: MetadataServer, firewall: GuestFirewall
    ) -> None:
        qmp.listen()
        process.wait()
        metadata.stop()
        firewall.close()
        self._host.forget(self)
        with contextlib.suppress(OSError):  # of a file system that keeps all
            serial_files.trim(self.directory)
        qmp.close()
