"""Machines as real virtual machines under QEMU, without root."""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cos_customizer.emulator import LOG
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines import serial_files
from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.disk_files import DiskFiles
from cos_customizer.emulator.machines.host import die_with_parent, require_packages
from cos_customizer.emulator.machines.kvm import choose_accelerator
from cos_customizer.emulator.machines.qemu_machine import QemuMachine
from cos_customizer.emulator.machines.raw_archive import Imported, Reader
from cos_customizer.emulator.machines.stand_in_image import StandIn


class QemuBackend:
    """Machines under QEMU, with KVM where it works.

    Args:
        state_dir: disks, images and serial output of machines.
        cache_dir: the stand-in image and the answer of the KVM probe.
        report: called with a sentence before something slow.
    """

    name = "qemu"
    most_machines = 24  # of 1 GiB each

    def __init__(self, state_dir: Path, cache_dir: Path, report: Callable[[str], None] = LOG.info) -> None:
        self._state = Path(state_dir).absolute()
        self._cache = Path(cache_dir).absolute()
        self._report = report
        self.stand_in = StandIn(self._cache)
        self._disks = DiskFiles(self._state, self.stand_in)
        self.faults = Faults()
        self._accelerator: str | None = None
        self._preparing = threading.Lock()
        self._machines: set[QemuMachine] = set()
        self._trimmer = serial_files.Trimmer(lambda: [machine.directory for machine in list(self._machines)])
        # The kernel kills QEMU when the thread that started it ends: one that ends with the emulator starts all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="qemu-spawner")

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        with self._preparing:
            require_packages(build=not self.stand_in.is_built())
            with _usual_umask():
                self.stand_in.ensure(self._report)
            self._accelerator = self._accelerator or choose_accelerator(self.stand_in, self._cache, self._report)

    @property
    def accelerator(self) -> str:
        """`kvm` or `tcg`.

        Raises:
            EmulatorError: see `prepare`.
        """
        if not self._accelerator:
            self.prepare()
        assert self._accelerator
        return self._accelerator

    def create_disk(self, key: str, image: str | None, size_gb: int) -> None:
        """See `Backend.create_disk`."""
        self._disks.create(key, image, size_gb)

    def delete_disk(self, key: str) -> None:
        """See `Backend.delete_disk`; the serial output of machines that booted from the disk goes with it."""
        self._disks.delete(key)
        shutil.rmtree(self._state / "serial" / key, ignore_errors=True)

    def resize_disk(self, key: str, size_gb: int) -> None:
        """See `Backend.resize_disk`."""
        for machine in list(self._machines):
            if machine.has(key) and machine.running:
                machine.resize_disk(key, size_gb)
                return
        self._disks.resize(key, size_gb)

    def create_image(self, key: str, disk: str) -> int:
        """See `Backend.create_image`."""
        for machine in list(self._machines):
            if machine.has(disk) and machine.running:
                with machine.paused():
                    return self._disks.create_image(key, disk, in_use=True)
        return self._disks.create_image(key, disk)

    def import_image(self, key: str, archive: Reader) -> Imported:
        """See `Backend.import_image`."""
        return self._disks.import_image(key, archive)

    def export_image(self, key: str, file: Path) -> None:
        """See `Backend.export_image`."""
        self._disks.export_image(key, file)

    def delete_image(self, key: str) -> None:
        """See `Backend.delete_image`."""
        self._disks.delete_image(key)

    def keep_only(self, disks: Collection[str], images: Collection[str]) -> None:
        """See `Backend.keep_only`; the output of machines of those disks stays."""
        self._disks.keep_only(disks, images)
        for path in (self._state / "serial").glob("*"):
            if path.name not in disks:
                shutil.rmtree(path, ignore_errors=True)

    def machine(self, spec: MachineSpec) -> QemuMachine:
        """See `Backend.machine`."""
        return QemuMachine(self, spec)

    def close(self) -> None:
        """See `Backend.close`."""
        for machine in list(self._machines):
            machine.cut_power()
        self._trimmer.close()
        self._spawner.shutdown()

    def spawn(
        self, machine: QemuMachine, command: list[str], log: Path, descriptors: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        """Start QEMU for a machine with these descriptors open, so that it never outlives this process."""

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as errors:
                return subprocess.Popen(
                    die_with_parent(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    pass_fds=descriptors,
                    start_new_session=True,  # a Ctrl-C on the emulator's terminal is not for QEMU
                )

        process = self._spawner.submit(start).result()
        self._machines.add(machine)
        self._trimmer.start()
        return process

    def disk_file(self, key: str) -> Path:
        """Return the file of a disk."""
        return self._disks.path(key)

    def directory_of(self, spec: MachineSpec) -> Path:
        """Return where the output of a machine's serial ports goes: it lasts as long as the boot disk."""
        return self._state / "serial" / spec.boot_disk / spec.instance_id

    def forget(self, machine: QemuMachine) -> None:
        """Forget a machine that is off."""
        self._machines.discard(machine)


@contextlib.contextmanager
def _usual_umask() -> Iterator[None]:
    """Let files be made with the modes that they have in images, whatever this process hides."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)
