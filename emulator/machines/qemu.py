"""Machines as real virtual machines under QEMU, without root."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cos_customizer.emulator import LOG, limits
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines import serial_files
from cos_customizer.emulator.machines.backend import SERIAL_PORTS, MachineSpec, SerialChunk
from cos_customizer.emulator.machines.disk_files import DiskFiles
from cos_customizer.emulator.machines.firmware import boots_by_uefi, disk_options, firmware_options
from cos_customizer.emulator.machines.guest_firewall import GuestFirewall, Rules
from cos_customizer.emulator.machines.host import die_with_parent, last_lines, require_packages
from cos_customizer.emulator.machines.kvm import choose_accelerator
from cos_customizer.emulator.machines.metadata_server import GATEWAY_IP, GUEST_IP, GUEST_MAC, MetadataServer
from cos_customizer.emulator.machines.raw_archive import Imported, Reader
from cos_customizer.emulator.machines.stand_in_image import StandIn

_LEAST_MEMORY_MIB = 1024
_LEAST_EMULATED_CPUS = 2
"""Without KVM a machine boots a quarter faster with two."""
_QUIT_SECONDS = 5.0
_PAUSE = "pause"
_ACCELERATORS = {
    "kvm": ("kvm", "max"),
    # Emulated, the string instructions that ERMS and FSRM make fast in hardware copy byte by byte: five times slower.
    "tcg": ("tcg,thread=multi", "max,-erms,-fsrm"),
}
_RELAY = Path(__file__).with_name("relay.py")
_NETWORK = {
    "net": "169.254.169.0/24",  # holds the metadata server and swallows no public address
    "host": GATEWAY_IP,
    "dns": "169.254.169.3",
    "dhcpstart": GUEST_IP,
    "ipv6": "off",
}
_METADATA_SERVER = "169.254.169.254"


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
            if machine.boots_from(key) and machine.running:
                machine.resize_disk(size_gb)
                return
        self._disks.resize(key, size_gb)

    def create_image(self, key: str, disk: str) -> int:
        """See `Backend.create_image`."""
        for machine in list(self._machines):
            if machine.boots_from(disk) and machine.running:
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

    def machine(self, spec: MachineSpec) -> "QemuMachine":
        """See `Backend.machine`."""
        return QemuMachine(self, spec, self._state / "serial" / spec.boot_disk / spec.instance_id)

    def close(self) -> None:
        """See `Backend.close`."""
        for machine in list(self._machines):
            machine.cut_power()
        self._trimmer.close()
        self._spawner.shutdown()

    def spawn(
        self, machine: "QemuMachine", command: list[str], log: Path, descriptors: Sequence[int]
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

    def boot_disk(self, key: str) -> Path:
        """Return the file of a disk to boot from."""
        return self._disks.path(key)

    def forget(self, machine: "QemuMachine") -> None:
        """Forget a machine that is off."""
        self._machines.discard(machine)


class QemuMachine:
    """A virtual machine; see `backend.Machine`.

    QEMU's control protocol (QMP) runs over its standard input and output: no socket, no path.

    Args:
        backend: it starts QEMU and keeps the disks.
        spec: the instance.
        directory: where the output of its serial ports goes.

    Attributes:
        directory: the same.
    """

    def __init__(self, backend: QemuBackend, spec: MachineSpec, directory: Path) -> None:
        self._backend = backend
        self._spec = spec
        self.directory = directory
        self._attributes = dict(spec.attributes)
        self._power = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._metadata: MetadataServer | None = None
        self._paused = threading.Event()

    def configure(self, spec: MachineSpec) -> None:
        """See `Machine.configure`."""
        self._spec = spec
        self._attributes = dict(spec.attributes)

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
                self._serial(port).touch()
            metadata = MetadataServer(self._spec, self._backend.faults)
            metadata.update(self._attributes)
            firewall = GuestFirewall(_rules(self._spec.host_ports))
            log = self.directory / "qemu.log"
            try:
                ends = (firewall.from_guest.fileno(), firewall.to_network.fileno())
                process = self._backend.spawn(self, self._command(metadata.start(), *ends), log, ends)
                firewall.close_ends()
                firewall.start()
                assert process.stdout
                if not process.stdout.readline():  # QMP's greeting
                    process.wait()
                    self._backend.forget(self)
                    raise EmulatorError(f"QEMU does not start: {last_lines(log.read_text(errors='replace'))}")
            except BaseException:
                metadata.stop()
                firewall.close_ends()
                firewall.close()
                raise
            self._process, self._metadata = process, metadata
            self._watcher = threading.Thread(target=self._watch, args=(process, metadata, firewall), daemon=True)
            self._watcher.start()
            self._send("qmp_capabilities")

    def press_power_button(self) -> None:
        """See `Machine.press_power_button`."""
        self._send("system_powerdown")

    def reset(self) -> None:
        """See `Machine.reset`."""
        self._send("system_reset")

    def freeze(self) -> None:
        """See `Machine.freeze`."""
        self._send("stop")

    def thaw(self) -> None:
        """See `Machine.thaw`."""
        self._send("cont")

    def resize_disk(self, size_gb: int) -> None:
        """Make its disk larger while it runs."""
        self._send("block_resize", arguments={"node-name": "boot", "size": size_gb << 30})

    def cut_power(self) -> None:
        """See `Machine.cut_power`."""
        with self._power:
            process, watcher = self._process, self._watcher
            if process is None or watcher is None:
                return
            self._send("quit")
            try:
                process.wait(_QUIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            watcher.join()

    def boots_from(self, disk: str) -> bool:
        """Return whether this is the key of its boot disk."""
        return self._spec.boot_disk == disk

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the machine's CPUs for a while; all that it has written is in its disk's file then."""
        self._paused.clear()
        self._send("stop", _PAUSE)
        try:
            self._paused.wait(_QUIT_SECONDS)
            yield
        finally:
            self._send("cont")

    @property
    def running(self) -> bool:
        """See `Machine.running`."""
        process = self._process
        return process is not None and process.poll() is None

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """See `Machine.serial_output`."""
        return serial_files.read(self._serial(port), start)

    def update_attributes(self, attributes: Mapping[str, str], project_attributes: Mapping[str, str]) -> None:
        """See `Machine.update_attributes`."""
        self._attributes = dict(attributes)
        if metadata := self._metadata:
            metadata.update(attributes, project_attributes)

    def _send(self, command: str, name: str = "", arguments: Mapping[str, object] | None = None) -> None:
        """Send a command to QEMU, if it still runs; the answer bears the name."""
        process = self._process
        if process is None or process.stdin is None:
            return
        with self._power:
            try:
                order = {"execute": command, "id": name, **({"arguments": arguments} if arguments else {})}
                process.stdin.write(json.dumps(order).encode() + b"\n")
                process.stdin.flush()
            except (OSError, ValueError):
                LOG.debug("%s: %s after its end", self._spec.name, command)

    def _watch(self, process: subprocess.Popen[bytes], metadata: MetadataServer, firewall: GuestFirewall) -> None:
        assert process.stdout
        assert process.stdin
        for line in process.stdout:
            LOG.debug("%s: %s", self._spec.name, line.decode(errors="replace").strip())
            if f'"id": "{_PAUSE}"'.encode() in line:  # the answer, which comes after everything is flushed
                self._paused.set()
        process.wait()
        metadata.stop()
        firewall.close()
        self._backend.forget(self)
        with contextlib.suppress(OSError):  # of a file system that keeps all
            serial_files.trim(self.directory)
        process.stdout.close()
        with contextlib.suppress(OSError):  # a command that QEMU did not live to read
            process.stdin.close()

    def _serial(self, port: int) -> Path:
        return self.directory / f"serial{port}"

    def _firmware(self) -> list[str]:
        """QEMU's options for the firmware that the boot disk asks for; BIOS needs none."""
        if not boots_by_uefi(self._spec.disk_features, self._backend.boot_disk(self._spec.boot_disk)):
            return []
        return firmware_options(self.directory / "uefi-variables")

    def _command(self, metadata_port: int, from_guest: int, to_network: int) -> list[str]:
        spec = self._spec
        accelerator, cpu = _ACCELERATORS[self._backend.accelerator]
        cpus = spec.cpus if self._backend.accelerator == "kvm" else max(spec.cpus, _LEAST_EMULATED_CPUS)
        cpus = min(cpus, limits.most_cpus())
        memory = min(max(spec.memory, _LEAST_MEMORY_MIB), max(limits.most_memory(), _LEAST_MEMORY_MIB))
        relay = shlex.join([sys.executable, "-I", "-S", str(_RELAY), str(metadata_port)])
        network = {**_NETWORK, "guestfwd": f"tcp:{_METADATA_SERVER}:80-cmd:{relay}"}
        # cloud-init knows Compute Engine by these names.
        firmware = {"manufacturer": "Google", "product": "Google Compute Engine"}
        system = {**firmware, "serial": f"GoogleCloud-{spec.instance_id}", "uuid": str(_uuid(spec))}
        drive = {
            "driver": "qcow2",
            "node-name": "boot",
            "discard": "unmap",
            # Nothing here has to survive a crash of the host: no flush reaches its disk.
            "cache": {"no-flush": True},
            "file": {"driver": "file", "filename": str(self._backend.boot_disk(spec.boot_disk)), "discard": "unmap"},
        }
        serial: list[str] = []
        for port in SERIAL_PORTS:
            name = f"serial{port}"
            serial += ["-chardev", _options("file", id=name, path=str(self._serial(port)), append="on")]
            serial += ["-serial", f"chardev:{name}"]
        return [
            *("qemu-system-x86_64", "-name", spec.name, "-machine", "pc,usb=off,vmport=off,graphics=off"),
            *("-accel", accelerator, "-cpu", cpu),
            *("-smp", str(cpus), "-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none"),
            *("-qmp", "stdio"),
            *("-smbios", _options("type=0", vendor="Google", version="Google")),
            *("-smbios", _options("type=1", **system), "-smbios", _options("type=2", **firmware)),
            *self._firmware(),
            *("-blockdev", json.dumps(drive), *disk_options(spec.disk_interface)),
            *("-netdev", _options("user", id="network", **network)),
            # The queue is named as the network sees it: it receives what the guest sends.
            *("-chardev", f"socket,id=from-guest,fd={from_guest}", "-chardev", f"socket,id=to-network,fd={to_network}"),
            *(
                "-object",
                "filter-redirector,id=firewall,netdev=network,queue=rx,outdev=from-guest,indev=to-network",
            ),
            *("-device", f"virtio-net-pci,netdev=network,mac={GUEST_MAC},romfile="),
            *("-object", "rng-builtin,id=random", "-device", "virtio-rng-pci,rng=random"),
            *serial,
        ]


@contextlib.contextmanager
def _usual_umask() -> Iterator[None]:
    """Let files be made with the modes that they have in images, whatever this process hides."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _rules(host_ports: Sequence[int]) -> Rules:
    return Rules(_NETWORK["net"], _NETWORK["host"], _NETWORK["dns"], _METADATA_SERVER, host_ports)


def _options(kind: str, **values: str) -> str:
    """Return the argument of an option with its values; a comma in a value is doubled."""
    return ",".join([kind, *(f"{name}={value.replace(',', ',,')}" for name, value in values.items())])


def _uuid(spec: MachineSpec) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, spec.instance_id)
