"""Sizes of the OEM partition: what is refused, and what the partition, its file system and the disk get."""

import pytest

from cos_customizer.customizer.spec.disk_layout import DiskLayout, disk_layout, size_in_bytes

MIB, GIB = 1 << 20, 1 << 30
SIZES = [
    ("16M", 16 * MIB),
    ("16384K", 16 * MIB),
    ("16777216B", 16 * MIB),
    ("32768", 16 * MIB),  # sectors
    ("500M", 500 * MIB),
    ("1G", GIB),
    ("0064M", 64 * MIB),
]
NO_SIZES = ["", "M", "-1G", " 1G", "1G ", "1 G", "1.5G", "1g", "1T", "1GB", "0x10M", "٣G", "1G\n", "9" * 16 + "G"]
TOO_SMALL = ["0", "0G", "15M", "16383K", "16777215B", "32767", "1G"[:1]]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_a_size_has_a_unit_or_counts_sectors(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", NO_SIZES, ids=repr)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write a number with G, M, K or B"):
        size_in_bytes(text)


@pytest.mark.parametrize("text", TOO_SMALL)
def test_the_partition_does_not_shrink(text: str) -> None:
    with pytest.raises(ValueError, match="is less than 16M"):
        size_in_bytes(text)


# oem_size, seals, reclaims root, disk_size_gb: what the partitions are then, of a source image of 10 GB.
LAYOUTS = [
    (None, False, False, 0, None),
    (None, False, False, 50, None),
    # OEM grows by what the disk has more: a whole GB for each that is begun. It is one MiB less than asked for.
    ("16M", False, False, 11, (15, None, False, 11)),
    ("1G", False, False, 11, (1023, None, False, 11)),
    ("1G", False, False, 50, (1023, None, False, 50)),
    ("1025M", False, False, 12, (1024, None, False, 12)),
    ("1048577K", False, False, 12, (1023, None, False, 12)),
    # The other root file system gives 2046 MiB.
    (None, False, True, 0, (None, None, True, None)),
    (None, False, True, 10, (None, None, True, None)),
    (None, False, True, 11, (None, None, True, 11)),
    ("16M", False, True, 0, (15, None, True, None)),
    ("2046M", False, True, 0, (2045, None, True, None)),
    ("2047M", False, True, 11, (2046, None, True, 11)),
    ("3070M", False, True, 11, (3069, None, True, 11)),
    ("3071M", False, True, 12, (3070, None, True, 12)),
    # A sealed OEM has the file system that was asked for, and as much again for its hash tree.
    (None, True, True, 0, (32, 4096, True, None)),
    (None, True, True, 50, (32, 4096, True, 50)),
    ("16M", True, True, 0, (31, 4096, True, None)),
    ("500M", True, True, 11, (999, 128_000, True, 11)),
    ("1023M", True, True, 0, (2045, 261_888, True, None)),
    ("1024M", True, True, 11, (2047, 262_144, True, 11)),
    ("1535M", True, True, 11, (3069, 392_960, True, 11)),
    ("1536M", True, True, 12, (3071, 393_216, True, 12)),
    ("40001", True, True, 0, (38, 5_000, True, None)),
]


@pytest.mark.parametrize(("oem_size", "seals", "reclaims", "disk", "expected"), LAYOUTS)
def test_the_partitions_are_those_that_the_original_makes(
    oem_size: str | None, seals: bool, reclaims: bool, disk: int, expected: tuple[int | None, ...] | None
) -> None:
    made = disk_layout(oem_size, seals=seals, reclaims_root=reclaims, disk_size_gb=disk, source_size_gb=10)
    if expected is None:
        assert made is None
        return
    mib, blocks, reclaims_root, grows_to = expected
    assert made == DiskLayout(mib * MIB if mib else None, blocks, bool(reclaims_root), grows_to)


# oem_size, seals, reclaims root, size of the source image, disk_size_gb that just does not suffice.
TOO_LITTLE = [
    ("16M", False, False, 10, 10),
    ("16M", False, False, 10, 0),
    ("1G", False, False, 10, 10),
    ("1025M", False, False, 10, 11),
    ("2047M", False, True, 10, 10),
    ("3071M", False, True, 10, 11),
    ("1024M", True, True, 10, 10),
    ("1536M", True, True, 10, 11),
    ("1G", False, False, 20, 20),
    ("999999G", True, True, 10, 65536),
]


@pytest.mark.parametrize(("oem_size", "seals", "reclaims", "source", "disk"), TOO_LITTLE)
def test_a_disk_that_is_too_small_is_refused_with_the_size_that_suffices(
    oem_size: str, seals: bool, reclaims: bool, source: int, disk: int
) -> None:
    with pytest.raises(ValueError, match=rf"builder.oem_size: {oem_size} needs builder.disk_size_gb: \d+") as refused:
        disk_layout(oem_size, seals=seals, reclaims_root=reclaims, disk_size_gb=disk, source_size_gb=source)
    needed = int(str(refused.value).partition("disk_size_gb: ")[2].partition(":")[0])
    assert needed > disk
    assert disk_layout(oem_size, seals=seals, reclaims_root=reclaims, disk_size_gb=needed, source_size_gb=source)
