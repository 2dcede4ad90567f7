"""How a machine's firmware finds its disk: UEFI or BIOS, on a SCSI or an NVMe controller."""

import math
import shutil
import struct
import tempfile
from collections.abc import Collection
from pathlib import Path

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.host import UEFI_CODE, UEFI_VARIABLES, run

_SECTOR = 512
_TABLE_BYTES = 34 * _SECTOR
_SYSTEM_PARTITION = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")
_LOADER = b"BOOTX64 EFI"
"""Entry of a FAT directory for BOOTX64.EFI, which UEFI starts from a disk that it has not seen before."""
_MOST_BYTES = 64 << 20
_BLOCK = 1 << 20
_NVME_SERIAL = 20
"""Characters that the serial number of an NVMe controller may have."""


def boots_by_uefi(features: Collection[str], disk: Path) -> bool:
    """Return whether a machine boots by UEFI.

    As on Compute Engine, it does from a disk with the feature `UEFI_COMPATIBLE`; but the stand-in of COS has COS's
    features and no UEFI boot loader, so that a disk without one boots by BIOS.

    Args:
        features: types of the disk's `guestOsFeatures`.
        disk: its file, qcow2.
    """
    return "UEFI_COMPATIBLE" in features and _has_loader(disk)


def firmware_options(variables: Path) -> list[str]:
    """Return QEMU's options for UEFI firmware.

    Args:
        variables: the machine's own variables, which persist: made if they are not there.

    Raises:
        EmulatorError: this machine has no UEFI firmware.
    """
    if not UEFI_CODE.exists():
        raise EmulatorError(
            "a disk with the feature UEFI_COMPATIBLE needs UEFI firmware on this machine",
            "apt-get install --no-install-recommends ovmf  (package name of Debian 12 and 13)",
        )
    if not variables.exists():
        shutil.copyfile(UEFI_VARIABLES, variables)
    code, own = (str(path).replace(",", ",,") for path in (UEFI_CODE, variables))
    return [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={own}"),
    ]


def disk_options(interface: str, device: str) -> list[str]:
    """Return QEMU's options for the SCSI controller `scsi`, and for the device of the disk `boot`.

    Args:
        interface: `SCSI` or `NVME`, as the attached disk has it.
        device: its name.
    """
    controller = ("-device", "virtio-scsi-pci,id=scsi")
    if interface == "NVME":
        return [*controller, "-device", f"nvme,drive=boot,serial={device[:_NVME_SERIAL]},bootindex=0"]
    scsi = ",".join(f"{name}={value}" for name, value in scsi_disk(device).items())
    return [*controller, "-device", f"scsi-hd,drive=boot,scsi-id=0,{scsi},bootindex=0"]


def scsi_disk(device: str) -> dict[str, str]:
    """Return the properties of a persistent disk on the SCSI controller: guests know it by them.

    Args:
        device: its name.
    """
    serial = {"serial": device, "device_id": device}
    return {"bus": "scsi.0", "vendor": "Google", "product": "PersistentDisk", **serial}


def _has_loader(disk: Path) -> bool:
    """Return whether the EFI system partition of a disk names a boot loader."""
    table = _read(disk, 0, _TABLE_BYTES)
    if table[_SECTOR : _SECTOR + 8] != b"EFI PART":
        return False
    for at in range(2 * _SECTOR, len(table) - 127, 128):
        if table[at : at + 16] == _SYSTEM_PARTITION:
            first, last = struct.unpack_from("<QQ", table, at + 32)
            size = min((last - first + 1) * _SECTOR, _MOST_BYTES)
            return _LOADER in _read(disk, first * _SECTOR, size)
    return False


def _read(disk: Path, start: int, size: int) -> bytes:
    """Return bytes of a disk, fewer where it ends."""
    block = math.gcd(start, _BLOCK) if start else _SECTOR  # qemu-img counts in blocks; small ones are slow
    with tempfile.TemporaryDirectory() as directory:  # qemu-img writes to no pipe
        part = Path(directory) / "part"
        places = (f"bs={block}", f"skip={start // block}", f"count={-(-(start + size) // block)}")
        run("qemu-img", "dd", "-U", "-f", "qcow2", "-O", "raw", *places, f"if={disk}", f"of={part}")
        return part.read_bytes()[:size]
