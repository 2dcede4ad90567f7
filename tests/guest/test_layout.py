"""Where OEM and STATE go when the boot disk is laid out anew, and how they get there: bash on a disk in a file."""

import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.guest_gpu import FOLDER
from support.waiting import PATIENCE

MIB = 2048
"""Sectors."""
COS = {
    1: (8704000, 12265472, "STATE"),
    2: (20480, 32768, "KERN-A"),
    3: (4509696, 4194304, "ROOT-A"),
    4: (53248, 32768, "KERN-B"),
    5: (315392, 4194304, "ROOT-B"),
    8: (86016, 32768, "OEM"),
    12: (249856, 65536, "EFI-SYSTEM"),
}
"""The disk of an image of 10 GB: first sector, sectors, name."""
RECLAIMED = COS | {3: (4509696, 8, "ROOT-A")}
POINT = 4509696 + 4096
"""Where the room begins that ROOT-A gives back."""
GROWN_OEM = RECLAIMED | {8: (POINT, 500 * MIB, "OEM"), 1: (POINT + 500 * MIB, 12265472, "STATE")}
"""A disk of an image that was made so before."""


STAYS = "warning: OEM has 16 MiB, which is not less than the {} MiB that are wanted: it stays as it is"


@dataclass
class Planned:
    state: int
    oem: int | None = None
    sectors: int | None = None
    problem: str = ""
    remark: str = ""


def bash(script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    prelude = f"""
        set -u; shopt -s nullglob
        . {FOLDER}/layout_table.sh; . {FOLDER}/layout_plan.sh
        mark_disk() {{ echo "mark: $*"; }}
        fail() {{ echo "fail: $*"; exit 1; }}
    """
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
    return subprocess.run(
        ["bash", "-c", prelude + script, "bash", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )


def plan(
    table: dict[int, tuple[int, int, str]], oem_mib: float | None, *, reclaim: bool, disk_gb: int = 10
) -> tuple[Planned, list[int]]:
    arrays = "\n".join(
        f"starts[{number}]={begin} sizes[{number}]={size} names[{number}]='{name}'"
        for number, (begin, size, name) in table.items()
    )
    oem = "" if oem_mib is None else int(oem_mib * (1 << 20))
    done = bash(
        f"""
        {arrays}
        oem_size={oem} reclaim={"1" if reclaim else ""} disk_end={disk_gb * 1024 * MIB - 34}
        plan_layout
        find_moves
        printf '%s|' "$state_start" "$oem_start" "$oem_sectors" "$problem" "$remark" "${{moves[*]}}"
        """
    )
    assert not done.stderr
    state, start, sectors, problem, remark, moves, _ = done.stdout.split("|")
    planned = Planned(int(state), int(start) if start else None, int(sectors) if sectors else None, problem, remark)
    return planned, [int(number) for number in moves.split()]


CASES: dict[str, tuple[dict[int, tuple[int, int, str]], float | None, bool, int, Planned, list[int]]] = {
    "nothing is wanted": (COS, None, False, 10, Planned(8704000), []),
    "STATE alone gets the room of ROOT-A": (RECLAIMED, None, True, 10, Planned(POINT), [1]),
    "sealed, nothing said of its size": (RECLAIMED, 31, True, 10, Planned(POINT + 31 * MIB, POINT, 31 * MIB), [8, 1]),
    "half a gigabyte": (RECLAIMED, 500, True, 10, Planned(POINT + 500 * MIB, POINT, 500 * MIB), [8, 1]),
    "all of what ROOT-A gives": (RECLAIMED, 2046, True, 10, Planned(8704000, POINT, 2046 * MIB), [8]),
    "more than what ROOT-A gives": (
        RECLAIMED, 3000, True, 11, Planned(POINT + 3000 * MIB, POINT, 3000 * MIB), [1, 8],
    ),
    "without the room of ROOT-A": (COS, 499, False, 11, Planned(8704000 + 499 * MIB, 8704000, 499 * MIB), [1, 8]),
    "no multiple of 4 KiB": (COS, 100.005, False, 11, Planned(8704000 + 204808, 8704000, 204808), [1, 8]),
    "as it is": (
        COS, 16, False, 10,
        Planned(8704000, remark=STAYS.format(16)),
        [],
    ),
    "less than it has, reclaimed": (
        RECLAIMED, 15, True, 10,
        Planned(POINT, remark=STAYS.format(15)),
        [1],
    ),
    "the disk has not grown": (
        COS, 499, False, 10,
        Planned(
            8704000 + 499 * MIB, 8704000, 499 * MIB,
            problem="the boot disk is too small: with 499 MiB for OEM, STATE would end at 10,738 MiB of 10,239 MiB",
        ),
        [1, 8],
    ),
    "something lies behind STATE": (
        COS | {13: (8704000 + 12265472, 2048, "data")}, 499, False, 11,
        Planned(
            8704000 + 499 * MIB, 8704000, 499 * MIB,
            problem="partition 13 (data) lies where OEM and STATE are to be",
        ),
        [1, 8],
    ),
    "made so before": (GROWN_OEM, None, True, 10, Planned(POINT + 500 * MIB), []),
    "made so before, and larger now": (
        GROWN_OEM, 600, True, 11, Planned(POINT + 600 * MIB, POINT, 600 * MIB), [1, 8],
    ),
    "made so before, and larger now without reclaiming": (
        GROWN_OEM, 600, False, 11, Planned(POINT + 600 * MIB, POINT, 600 * MIB), [1, 8],
    ),
    "grown without reclaiming, and reclaimed now": (
        RECLAIMED | {8: (8704000, 500 * MIB, "OEM"), 1: (8704000 + 500 * MIB, 11241472, "STATE")}, 600, True, 10,
        Planned(POINT + 600 * MIB, POINT, 600 * MIB), [8, 1],
    ),
    "grown without reclaiming, reclaimed now, and OEM stays": (
        RECLAIMED | {8: (8704000, 500 * MIB, "OEM"), 1: (8704000 + 500 * MIB, 11241472, "STATE")}, None, True, 10,
        Planned(8704000 + 500 * MIB), [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("table", "oem", "reclaim", "gigabytes", "expected", "moves"), CASES.values(), ids=CASES)
def test_this_is_where_they_go_and_in_which_order(
    table: dict[int, tuple[int, int, str]],
    oem: float | None,
    reclaim: bool,
    gigabytes: int,
    expected: Planned,
    moves: list[int],
) -> None:
    assert plan(table, oem, reclaim=reclaim, disk_gb=gigabytes) == (expected, moves)


needs_sfdisk = pytest.mark.skipif(
    not shutil.which("sfdisk", path="/usr/bin:/usr/sbin:/sbin"), reason="there is no sfdisk"
)


class Disk:
    """A small disk of Container-Optimized OS in a file; every sector of STATE and OEM knows what it is."""

    def __init__(self, folder: Path, mib: int = 96) -> None:
        self.folder = folder
        self.path = folder / "disk.raw"
        self.sectors = mib * MIB
        with self.path.open("wb") as file:
            file.truncate(self.sectors * 512)
        self.table = {
            12: (1 * MIB, 2 * MIB, "EFI-SYSTEM"),
            8: (3 * MIB, 1 * MIB + 8, "OEM"),
            3: (8 * MIB, 12 * MIB, "ROOT-A"),
            1: (20 * MIB, 40 * MIB + 13, "STATE"),
        }
        lines = [
            f'{self.path}{number} : start={begin}, size={size}, name="{name}"'
            for number, (begin, size, name) in self.table.items()
        ]
        subprocess.run(
            ["sfdisk", "--quiet", self.path],
            input="label: gpt\n" + "\n".join(lines) + "\n",
            text=True,
            check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        self.content = {number: self._pattern(number) for number in (1, 8)}
        for number, content in self.content.items():
            self.write(self.table[number][0], content)

    def _pattern(self, number: int) -> bytes:
        return random.Random(number).randbytes(self.table[number][1] * 512)

    def write(self, sector: int, content: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(sector * 512)
            file.write(content)

    def read(self, sector: int, sectors: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(sector * 512)
            return file.read(sectors * 512)

    def bash(self, script: str) -> "subprocess.CompletedProcess[str]":
        return bash(
            f"""
            disk={self.path} directory={self.folder}
            disk_sectors() {{ echo {self.sectors}; }}
            read_table || fail "no table"
            {script}
            """
        )

    def partitions(self) -> dict[int, tuple[int, int, str, str]]:
        done = self.bash(
            r"""
            for number in "${!starts[@]}"; do
              echo "$number|${starts[number]}|${sizes[number]}|${names[number]}|${attributes[number]}"
            done
            """
        )
        rows = [line.split("|") for line in done.stdout.splitlines()]
        return {int(number): (int(begin), int(size), name, attrs) for number, begin, size, name, attrs in rows}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@needs_sfdisk
@pytest.mark.parametrize("to", [20 * MIB - 8, 20 * MIB + 8, 10 * MIB, 30 * MIB, 50 * MIB + 24])
def test_data_moves_to_where_it_overlaps_itself_and_all_else_stays(disk: Disk, to: int) -> None:
    done = disk.bash(f"change_table 3 size=8; move 1 {to} ${{sizes[1]}}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mark: moving STATE (40 MiB) from 20 MiB to ")
    after = {number: (begin, size, name, "") for number, (begin, size, name) in disk.table.items()}
    assert disk.partitions() == after | {1: (to, 40 * MIB + 13, "STATE", ""), 3: (8 * MIB, 8, "ROOT-A", "")}
    assert disk.read(to, 40 * MIB + 13) == disk.content[1]
    assert disk.read(3 * MIB, MIB + 8) == disk.content[8]


@needs_sfdisk
def test_a_partition_that_moves_can_become_larger_and_keeps_its_attributes_and_uuid(disk: Disk) -> None:
    def identity() -> str:
        return disk.bash("sfdisk --part-uuid $disk 8; sfdisk --part-type $disk 8").stdout

    before = identity()
    disk.bash("sfdisk --part-attrs $disk 8 'RequiredPartition GUID:48'")
    disk.bash("move 1 $((50 * 2048)) ${sizes[1]}")
    assert disk.bash("move 8 $((20 * 2048)) $((30 * 2048))").returncode == 0
    begin, size, name, attributes = disk.partitions()[8]
    assert (begin, size, name) == (20 * MIB, 30 * MIB, "OEM")
    assert set(attributes.split()) == {"RequiredPartition", "GUID:48"}
    assert disk.read(20 * MIB, MIB + 8) == disk.content[8]
    assert identity() == before


@needs_sfdisk
def test_a_move_that_is_cut_off_leaves_a_partition_that_is_known_to_be_lost(disk: Disk) -> None:
    # Killed as if the machine were: between two pieces of the copy.
    done = disk.bash('dd() { command dd "$@"; kill -KILL $$ $BASHPID; }; move 1 $((21 * 2048)) ${sizes[1]}')
    assert done.returncode == -9
    begin, size, _, attributes = disk.partitions()[1]
    assert (begin, size, attributes) == (20 * MIB, 40 * MIB + 13, "GUID:62")
    assert disk.bash("is_moving 1 && ! is_moving 8").returncode == 0


@needs_sfdisk
@pytest.mark.parametrize(("broken", "begun"), [("sfdisk", False), ("dd", True)])
def test_a_move_that_fails_says_so(disk: Disk, broken: str, begun: bool) -> None:
    done = disk.bash(f'{broken}() {{ echo "{broken}: no"; return 1; }}; move 1 $((21 * 2048)) ${{sizes[1]}}')
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("fail: cannot ")
    assert done.stdout.splitlines()[-1].endswith(f": {broken}: no")
    assert bool(disk.partitions()[1][3]) == begun


@needs_sfdisk
def test_a_partition_shrinks_and_a_disk_that_has_grown_takes_more(disk: Disk) -> None:
    assert disk.bash('change_table 3 "size=8"').returncode == 0
    disk.sectors += 64 * MIB
    os.truncate(disk.path, disk.sectors * 512)
    assert disk.bash("((disk_end == $(disk_sectors) - 34)) && move 1 $((100 * 2048)) ${sizes[1]}").returncode == 0
    assert disk.partitions()[3][:2] == (8 * MIB, 8)
    assert disk.read(100 * MIB, 40 * MIB + 13) == disk.content[1]
    verified = disk.bash("sfdisk --verify $disk")
    assert "No errors detected" in verified.stdout + verified.stderr


def test_sizes_are_told_with_commas() -> None:
    told = bash("for mib in 0 999 1000 2046 1234567; do mib $((mib * 2048 + 5)); echo; done").stdout.splitlines()
    assert told == ["0 MiB", "999 MiB", "1,000 MiB", "2,046 MiB", "1,234,567 MiB"]


def test_partitions_are_named_as_the_kernel_does() -> None:
    assert bash("for disk in /dev/sda /dev/nvme0n1; do device_of 8; echo; done").stdout.split() == [
        "/dev/sda8",
        "/dev/nvme0n1p8",
    ]
