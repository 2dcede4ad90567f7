"""How the boot disk of a Container-Optimized OS image is laid out anew: sizes, and what they ask of the disk.

Pure numbers: the guest moves the partitions (`guest/layout.sh`), the flow grows the disk. Sizes, constants and rounding
are those of the original, so that the same flags give the same partitions:
https://cos.googlesource.com/cos/tools, `src/cmd/cos_customizer/finish_image_build.go` (`validateOEM`).
"""

import re
from dataclasses import dataclass

from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.spec.options import DISK_SIZE, OEM_SIZE

SIZE = re.compile(r"([0-9]{1,15})([GMKB]?)")
"""A size: a number with a unit, powers of 1,024; without one, sectors of 512 bytes."""
BLOCK = 4096
"""Bytes of a block of OEM's file system, and of its hash tree."""
_MIB, _GIB = 1 << 20, 1 << 30
_UNITS = {"G": _GIB, "M": _MIB, "K": 1 << 10, "B": 1, "": 512}
SMALLEST_OEM = 16 * _MIB
"""Bytes of the OEM partition of an image of Google's."""
RECLAIMED = 2046 * _MIB
"""Bytes that the root file system which is not booted gives back: its partition has 2 GiB, of which 2 MiB stay.

They are the partition itself, and the room that moving data in place needs.
"""
SEALED_ONCE = "a sealed partition cannot be written to, and so not be sealed again"
_SEALED_BY_DEFAULT = 32 * _MIB


@dataclass(frozen=True)
class DiskLayout:
    """What becomes of the partitions.

    Attributes:
        oem_size: bytes of the OEM partition; None: it stays as it is.
        oem_blocks: blocks of `BLOCK` bytes of its file system; None: it fills the partition.
        reclaims_root: whether the root file system that is not booted gives its room to OEM and STATE.
        disk_size_gb: GB that the boot disk grows to before the partitions move; None: it has its size from the start.
    """

    oem_size: int | None
    oem_blocks: int | None
    reclaims_root: bool
    disk_size_gb: int | None

    @property
    def disk_size(self) -> int | None:
        """Bytes that the boot disk grows to; None: it does not grow."""
        return self.disk_size_gb << 30 if self.disk_size_gb else None


def size_in_bytes(text: str) -> int:
    """The bytes of a size of the OEM partition.

    Args:
        text: such as `500M`; see `SIZE`.

    Raises:
        ValueError: it is no such size, or smaller than what an image has anyway.
    """
    found = SIZE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no size: write a number with G, M, K or B (500M), or a number of sectors of 512 bytes"
        )
    size = int(found[1]) * _UNITS[found[2]]
    if size < SMALLEST_OEM:
        raise ValueError(f"{text!r} is less than 16M, the size that the partition has")
    return size


def disk_layout(
    oem_size: str | None, *, seals: bool, reclaims_root: bool, disk_size_gb: int, source_size_gb: int
) -> DiskLayout | None:
    """What the builder VM does to its disk, or None: nothing.

    OEM can only grow where there is room: what the other root file system gives back, and what the disk has more than
    the source image. A disk is made as large as the source image then, and grows when the partitions are to move: else
    STATE, which comes last and takes all that there is at each boot, would be in the way.

    Args:
        oem_size: wanted, see `SIZE`; with `seals` that of the file system, and the hash tree gets as much again.
        seals: whether a step seals OEM.
        reclaims_root: whether a step makes updates impossible, so that one root file system suffices.
        disk_size_gb: of the output image; 0: that of the source image.
        source_size_gb: of the source image.

    Raises:
        ValueError: the disk is too small, or the size is none.
    """
    if oem_size is None and not reclaims_root:
        return None
    blocks: int | None = None
    partition: int | None = None
    if oem_size is not None:
        partition = size_in_bytes(oem_size)
        if seals:
            blocks, partition = partition // BLOCK, 2 * partition
        more = max(0, partition - (RECLAIMED if reclaims_root else 0))
        needed = source_size_gb + -(-more // _GIB)
        if (disk_size_gb or source_size_gb) < needed:
            raise ValueError(_too_small(oem_size, needed, seals=seals, reclaims_root=reclaims_root))
        # The end of a disk belongs to the second copy of the partition table: one MiB less, and a disk of exactly the
        # size suffices. Of a sealed OEM it is the hash tree's, which has more than it needs.
        partition = (partition // _MIB - 1) * _MIB
    elif seals:
        blocks, partition = SMALLEST_OEM // BLOCK, _SEALED_BY_DEFAULT
    grows = disk_size_gb > source_size_gb
    return DiskLayout(partition, blocks, reclaims_root, disk_size_gb if grows else None)


def _too_small(oem_size: str, needed: int, *, seals: bool, reclaims_root: bool) -> Message:
    size = f"twice {oem_size} (a sealed partition holds a hash tree too)" if seals else oem_size
    less = ", less the 2046 MiB that the root file system which is not booted gives back" if reclaims_root else ""
    return Message(
        "{} needs {}: the source image's size and {}{}",
        FieldPath(OEM_SIZE.path, oem_size),
        FieldPath(DISK_SIZE.path, needed),
        size,
        less,
    )
