"""Which firmware a machine has, and what is said where there is none."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines import firmware

UEFI = ("UEFI_COMPATIBLE", "GVNIC")
SYSTEM = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")
LINUX = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
NAME = b"BOOTX64 EFI"


def disk_of(tmp_path: Path, kind: bytes, start: int, content: bytes) -> Path:
    """A disk with two partitions, the second of this type; the content stands two MiB behind its start."""
    raw, disk = tmp_path / "raw", tmp_path / "disk.qcow2"
    with raw.open("wb") as file:
        file.seek(512)
        file.write(b"EFI PART".ljust(512, b"\0"))
        for one, first in ((LINUX, 34), (kind, start)):
            file.write(struct.pack("<16s16sQQ", one, bytes(16), first, first + 16383).ljust(128, b"\0"))
        file.seek(start * 512 + (2 << 20))
        file.write(content)
        file.truncate(64 << 20)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)], check=True)
    return disk


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-utils is not installed")
@pytest.mark.parametrize(
    ("features", "kind", "start", "content", "by_uefi"),
    [
        (UEFI, SYSTEM, 2048, NAME, True),
        (UEFI, SYSTEM, 2056, NAME, True),
        (UEFI, SYSTEM, 2048, b"GRUB    CFG", False),
        (UEFI, LINUX, 2048, NAME, False),
        (("GVNIC",), SYSTEM, 2048, NAME, False),
    ],
)
def test_a_machine_boots_by_uefi_what_is_made_for_it(
    tmp_path: Path, features: tuple[str, ...], kind: bytes, start: int, content: bytes, by_uefi: bool
) -> None:
    assert firmware.boots_by_uefi(features, disk_of(tmp_path, kind, start, content)) is by_uefi


def test_each_machine_keeps_variables_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UEFI_CODE", "UEFI_VARIABLES"):
        (tmp_path / name).write_text("new")
        monkeypatch.setattr(firmware, name, tmp_path / name)
    own = tmp_path / "a,b"
    assert f"if=pflash,unit=1,format=raw,file={tmp_path}/a,,b" in firmware.firmware_options(own)
    own.write_text("changed by the guest")
    firmware.firmware_options(own)
    assert own.read_text() == "changed by the guest"


def test_a_host_without_uefi_firmware_is_told_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "UEFI_CODE", tmp_path / "none")
    with pytest.raises(EmulatorError) as refused:
        firmware.firmware_options(tmp_path / "variables")
    assert "install --no-install-recommends ovmf" in refused.value.hint


def test_a_disk_is_on_the_controller_that_the_instance_says() -> None:
    assert "virtio-scsi-pci,id=scsi" in firmware.disk_options("SCSI", "boot")
    assert firmware.disk_options("NVME", "boot")[3].startswith("nvme,drive=boot")
