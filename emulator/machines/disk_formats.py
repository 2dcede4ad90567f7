"""Disks in files, and the archives that Compute Engine takes them in."""

import os
import subprocess
from pathlib import Path

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.raw_archive import MEMBER, pack, unpack

_ARCHIVES = (".tar.gz", ".tgz")
_FORMATS = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw"}
_GIB = 1 << 30


def is_archive(file: Path) -> bool:
    """Whether a name is that of an archive of `disk.raw`."""
    return file.name.lower().endswith(_ARCHIVES)


def disk_format(file: Path) -> str:
    """The format of a disk's file, as its name says it: `raw` or `qcow2`.

    Raises:
        EmulatorError: it says nothing of the kind.
    """
    if file.suffix.lower() in _FORMATS:
        return _FORMATS[file.suffix.lower()]
    known = ", ".join([*_ARCHIVES, *_FORMATS])
    raise EmulatorError(f"{file} is none of the files that hold a disk", f"the name has to end in one of {known}.")


def stem(file: Path) -> str:
    """A file's name without what says its format."""
    name = file.name
    for suffix in (*_ARCHIVES, *_FORMATS):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def to_archive(disk: Path, directory: Path) -> Path:
    """Make an archive of a disk, whose size is rounded up to whole GiB.

    Args:
        disk: its file, raw or qcow2.
        directory: an empty one, for the archive and what comes before it.

    Raises:
        EmulatorError: the file is no disk.
    """
    raw = directory / MEMBER
    _qemu_img("convert", "-f", disk_format(disk), "-O", "raw", str(disk), str(raw))
    os.truncate(raw, max(-(-raw.stat().st_size // _GIB), 1) * _GIB)
    archive = directory / "disk.tar.gz"
    pack(directory, archive)
    raw.unlink()
    return archive


def from_archive(archive: Path, disk: Path) -> None:
    """Make a disk of an archive.

    Args:
        archive: of `disk.raw`.
        disk: the file to be made, raw or qcow2.

    Raises:
        EmulatorError: it cannot be made.
    """
    raw = archive.with_name(MEMBER)
    with archive.open("rb") as opened:
        unpack(opened, raw)
    _qemu_img("convert", "-f", "raw", "-O", disk_format(disk), str(raw), str(disk))


def _qemu_img(*arguments: str) -> str:
    try:
        done = subprocess.run(("qemu-img", *arguments), capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        message = "qemu-img is not installed"
        raise EmulatorError(message, "Debian's package qemu-utils has it; archives (.tar.gz) do without.") from None
    if done.returncode:
        raise EmulatorError(f"qemu-img failed: {done.stderr.strip()}")
    return done.stdout
