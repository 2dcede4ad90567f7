"""Files of disks and images in a saved state: qcow2, and none that leads to other files of this machine.

The format's header: https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from cos_customizer.emulator.errors import EmulatorError

SUFFIXES = (".qcow2", ".base")
_HEADER = struct.Struct(">4sIQI")
_MAGIC = b"QFI\xfb"
_FEATURES_AT, _EXTERNAL_DATA = 72, 0x04
_LONGEST_NAME = 1023


def disk_files(machines: Path) -> Iterator[tuple[str, Path]]:
    """Return what is kept of disks and images, by its place below the directory of machines."""
    for path in sorted(machines.glob("*/*")):
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield f"{path.parent.name}/{path.name}", path


def check_disk_file(path: Path) -> None:
    """Refuse a file that is no qcow2, or one that stands on a file that is not beside it.

    QEMU opens whatever a disk's header names, so a foreign header could make it read any file of this machine.

    Args:
        path: of the file; those that it may stand on are beside it.

    Raises:
        EmulatorError: it is refused.
    """
    with path.open("rb") as file:
        head = file.read(_FEATURES_AT + 8)
        if len(head) < _FEATURES_AT + 8 or not head.startswith(_MAGIC):
            raise EmulatorError(f"the saved state is damaged: {path.name} is no qcow2")
        _, version, backing_at, backing_size = _HEADER.unpack_from(head)
        features = int.from_bytes(head[_FEATURES_AT:]) if version > 2 else 0
        name = ""
        if backing_at:
            file.seek(backing_at)
            name = file.read(min(backing_size, _LONGEST_NAME)).decode("utf-8", "replace")
    beside = name == path.with_suffix(".base").name != path.name and (path.parent / name).is_file()
    if features & _EXTERNAL_DATA or (name and not beside) or version not in (2, 3):
        raise EmulatorError(f"the saved state is damaged: {path.name} stands on other files ({name[:100]!r})")
