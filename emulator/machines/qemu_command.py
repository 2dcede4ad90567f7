"""The command line of QEMU for a machine, and the disks that it is given while it runs."""

import json
import shlex
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cos_customizer.emulator import limits
from cos_customizer.emulator.machines.backend import SERIAL_PORTS, DataDisk, MachineSpec
from cos_customizer.emulator.machines.firmware import boots_by_uefi, disk_options, firmware_options, scsi_disk
from cos_customizer.emulator.machines.guest_firewall import Rules
from cos_customizer.emulator.machines.metadata_server import GATEWAY_IP, GUEST_IP, GUEST_MAC

_LEAST_MEMORY_MIB = 1024
_LEAST_EMULATED_CPUS = 2
"""Without KVM a machine boots a quarter faster with two."""
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
BOOT_NODE = "boot"
"""QEMU's name of the boot disk's content."""


def network_rules(host_ports: Sequence[int]) -> Rules:
    """Return what a guest may reach.

    Args:
        host_ports: ports of this machine's loopback.
    """
    return Rules(_NETWORK["net"], _NETWORK["host"], _NETWORK["dns"], _METADATA_SERVER, host_ports)


def serial_file(directory: Path, port: int) -> Path:
    """Return the file of a machine's serial port, in the machine's directory."""
    return directory / f"serial{port}"


def node_of(spec: MachineSpec, disk: str) -> str:
    """Return QEMU's name of a disk's content.

    Args:
        spec: a machine that has the disk.
        disk: its key.
    """
    return BOOT_NODE if disk == spec.boot_disk else f"data-{disk}"


def content_of(node: str, file: Path, read_only: bool = False) -> dict[str, Any]:
    """Return a disk's content as QEMU's `blockdev-add` takes it.

    Args:
        node: QEMU's name of it.
        file: qcow2.
        read_only: nobody may write to it.
    """
    return {
        "driver": "qcow2",
        "node-name": node,
        "read-only": read_only,
        "discard": "unmap",
        # Nothing here has to survive a crash of the host: no flush reaches its disk.
        "cache": {"no-flush": True},
        "file": {"driver": "file", "filename": str(file), "discard": "unmap", "read-only": read_only},
    }


def device_of(spec: MachineSpec, disk: DataDisk) -> dict[str, Any]:
    """Return a disk's device as QEMU's `device_add` takes it; its id is made of the disk's key."""
    return {
        "driver": "scsi-hd",
        "id": device_id(disk.key),
        "drive": node_of(spec, disk.key),
        **scsi_disk(disk.device),
    }


def device_id(disk: str) -> str:
    """Return QEMU's id of the device of a disk, by the disk's key."""
    return f"device-{disk}"


def command_line(
    spec: MachineSpec,
    directory: Path,
    accelerator: str,
    disk_file: Callable[[str], Path],
    metadata_port: int,
    network: tuple[int, int],
) -> list[str]:
    """Return the command that starts a machine.

    Args:
        spec: the instance.
        directory: the machine's own.
        accelerator: `kvm` or `tcg`.
        disk_file: returns the file of a disk, by its key.
        metadata_port: where its metadata server listens on loopback.
        network: descriptors of what comes from the guest, and of what goes on from there.

    Raises:
        EmulatorError: there is no such disk, or this machine has no UEFI firmware.
    """
    relay = shlex.join([sys.executable, "-I", "-S", str(_RELAY), str(metadata_port)])
    user_network = {**_NETWORK, "guestfwd": f"tcp:{_METADATA_SERVER}:80-cmd:{relay}"}
    from_guest, to_network = network
    return [
        "qemu-system-x86_64",
        *("-name", spec.name, "-machine", "pc,usb=off,vmport=off,graphics=off"),
        *_processor(spec, accelerator),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-qmp", "stdio"),
        *_identity(spec),
        *_firmware(spec, directory, disk_file),
        *_disks(spec, disk_file),
        *("-netdev", _options("user", id="network", **user_network)),
        # The queue is named as the network sees it: it receives what the guest sends.
        *("-chardev", f"socket,id=from-guest,fd={from_guest}", "-chardev", f"socket,id=to-network,fd={to_network}"),
        *("-object", "filter-redirector,id=firewall,netdev=network,queue=rx,outdev=from-guest,indev=to-network"),
        *("-device", f"virtio-net-pci,netdev=network,mac={GUEST_MAC},romfile="),
        *("-object", "rng-builtin,id=random", "-device", "virtio-rng-pci,rng=random"),
        *_serial(directory),
    ]


def _processor(spec: MachineSpec, accelerator: str) -> list[str]:
    options, cpu = _ACCELERATORS[accelerator]
    cpus = spec.cpus if accelerator == "kvm" else max(spec.cpus, _LEAST_EMULATED_CPUS)
    cpus = min(cpus, limits.most_cpus())
    memory = min(max(spec.memory, _LEAST_MEMORY_MIB), max(limits.most_memory(), _LEAST_MEMORY_MIB))
    return ["-accel", options, "-cpu", cpu, "-smp", str(cpus), "-m", str(memory)]


def _identity(spec: MachineSpec) -> list[str]:
    # cloud-init knows Compute Engine by these names.
    firmware = {"manufacturer": "Google", "product": "Google Compute Engine"}
    number = uuid.uuid5(uuid.NAMESPACE_OID, spec.instance_id)
    system = {**firmware, "serial": f"GoogleCloud-{spec.instance_id}", "uuid": str(number)}
    return [
        *("-smbios", _options("type=0", vendor="Google", version="Google")),
        *("-smbios", _options("type=1", **system)),
        *("-smbios", _options("type=2", **firmware)),
        # What stands for a GPU: the stand-in's cos-extensions looks for it.
        *(("-smbios", _options("type=3", manufacturer="Google", asset=f"stand-in-gpu:{spec.gpu}")) if spec.gpu else ()),
    ]


def _firmware(spec: MachineSpec, directory: Path, disk_file: Callable[[str], Path]) -> list[str]:
    """Return the options for the firmware that the boot disk asks for; BIOS needs none."""
    if not boots_by_uefi(spec.disk_features, disk_file(spec.boot_disk)):
        return []
    return firmware_options(directory / "uefi-variables")


def _disks(spec: MachineSpec, disk_file: Callable[[str], Path]) -> list[str]:
    boot = content_of(BOOT_NODE, disk_file(spec.boot_disk))
    options = ["-blockdev", json.dumps(boot), *disk_options(spec.disk_interface, spec.boot_device)]
    for disk in spec.disks:
        content = content_of(node_of(spec, disk.key), disk_file(disk.key), disk.read_only)
        options += ["-blockdev", json.dumps(content), "-device", json.dumps(device_of(spec, disk))]
    return options


def _serial(directory: Path) -> list[str]:
    options: list[str] = []
    for port in SERIAL_PORTS:
        name = f"serial{port}"
        options += ["-chardev", _options("file", id=name, path=str(serial_file(directory, port)), append="on")]
        options += ["-serial", f"chardev:{name}"]
    return options


def _options(kind: str, **values: str) -> str:
    """Return the argument of an option with its values; a comma in a value is doubled."""
    return ",".join([kind, *(f"{name}={value.replace(',', ',,')}" for name, value in values.items())])
