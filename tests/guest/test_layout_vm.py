"""The boot disk of a real virtual machine is laid out anew, OEM sealed, updates disabled; and the image shows it."""

import re

import pytest
import yaml
from support.guest_machines import Console, Storage, build_of, power_on
from support.guest_scripts import script_step
from support.waiting import wait_for

from cos_customizer.customizer.spec.disk_layout import DiskLayout
from cos_customizer.emulator.machines.backend import Backend, Machine
from cos_customizer.guest.protocol import BuildFailed, BuildSucceeded, DiskPhase, DiskWanted
from cos_customizer.guest.user_data import GuestStep

pytestmark = pytest.mark.vm

MIB = 1 << 20
SEAL = GuestStep("seal-oem", "seal-oem", (), repeatable=True)
DISABLE = GuestStep("disable-auto-update", "disable-auto-update", (), repeatable=True)
SMALL_DISK = 5
"""GB: two root file systems of 2 GiB each, and what is left for the rest."""

FILL_OEM = """
set -e
echo kept >/var/lib/kept
mount -o remount,rw /usr/share/oem
dd if=/dev/urandom of=/usr/share/oem/data bs=1M count=100 status=none
echo 'sealed with this' >/usr/share/oem/hello
sha256sum </usr/share/oem/data | tee /var/lib/sum
sync
"""

LOOK = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
export LC_ALL=C
echo "root: $(rootdev -s)"
echo "update engine: $(systemctl is-enabled update-engine.service), $(systemctl is-active update-engine.service)"
for number in 1 3 8; do
  read -r sectors </sys/block/sda/sda$number/size
  echo "$(sfdisk --part-label /dev/sda $number): $((sectors >> 11)) MiB $(sfdisk --part-attrs /dev/sda $number)"
done
read -r sectors </sys/block/sda/sda1/size
(($(stat -f -c '%b * %S' /mnt/stateful_partition) > sectors * 480)) && echo "all of STATE is its file system's"
sfdisk --verify /dev/sda 2>&1 | grep -o 'No errors detected'
ls -d /var/lib/.cos-customizer* 2>/dev/null
cat /var/lib/kept
if [[ -b /dev/dm-1 ]]; then
  mountpoint -q /usr/share/oem || echo "OEM is not mounted by itself"
  mkdir -p /tmp/oem
  mount -t ext4 -o ro /dev/dm-1 /tmp/oem
  (($(stat -f -c '%b * %S' /tmp/oem) >> 20 > 1150)) && echo "OEM's file system is large"
  sha256sum </tmp/oem/data | cmp - /var/lib/sum && cat /tmp/oem/hello
  umount /tmp/oem
  # One bit of that file, on the partition itself.
  at=$(tr '\0' '\n' </dev/sda8 | grep -abo -m 1 'sealed with this' | cut -d : -f 1)
  printf r | dd of=/dev/sda8 bs=1 seek="$at" conv=notrunc status=none # s is r and one bit
  sync
  echo 3 >/proc/sys/vm/drop_caches
  mount -t ext4 -o ro /dev/dm-1 /tmp/oem
  cat /tmp/oem/hello
else
  mountpoint -q /usr/share/oem && echo "OEM is mounted"
fi
echo 'looked around'
"""


def finish(backend: Backend, machine: Machine, console: Console, name: str) -> None:
    """Wait for a build's end, and make an image of its disk."""
    last = console.until(BuildSucceeded, BuildFailed)
    assert isinstance(last, BuildSucceeded), (last, console.events)
    wait_for(lambda: b"System halted" in machine.serial_output(1, 0).contents)
    machine.cut_power()
    backend.create_image(f"{name}-image", name)


def look(backend: Backend, name: str, image: str, disk_gb: int) -> list[str]:
    """Boot a copy of an image, and see what it has."""
    commands = {"runcmd": [["bash", "-c", LOOK]]}
    user_data = "#cloud-config\n" + yaml.safe_dump(commands)
    copy = power_on(backend, name, image, {"user-data": user_data}, disk_gb)
    console = Console(copy, "n0nce")
    console.until("looked around")
    copy.cut_power()
    return console.text


def phases(console: Console) -> list[str]:
    """What became of the disk, without the numbers."""
    told = [event.text for event in console.events if isinstance(event, DiskPhase)]
    return [
        re.sub(r" \(.*| from .* of the disk", "", text) for text in told if not re.search(r": [0-9,]+ MiB of", text)
    ]


SWITCH = ["copying the root file system to its other partition", "rebooting from the other root file system"]


@pytest.mark.vital
def test_oem_is_grown_filled_and_sealed_on_a_disk_that_grows(backend: Backend, storage: Storage) -> None:
    size = 1200 * MIB  # twice that is more than the other root file system gives back
    layout = DiskLayout(2 * size - MIB, size // 4096, reclaims_root=True, disk_size_gb=SMALL_DISK + 1)
    steps = [script_step("fill.sh"), SEAL, script_step("after.sh")]
    files = {"fill.sh": FILL_OEM.encode(), "after.sh": b"mountpoint -q /usr/share/oem || echo unmounted\n"}
    machine, console = build_of(backend, storage, "sealed", files, steps, layout, SMALL_DISK)
    wanted = console.until(DiskWanted, BuildFailed)
    assert wanted == DiskWanted((SMALL_DISK + 1) << 30)
    backend.resize_disk("sealed", SMALL_DISK + 1)
    finish(backend, machine, console, "sealed")
    assert phases(console) == [
        *SWITCH,
        "ROOT-A has given back 2,047 MiB",
        "the disk has 6,144 MiB now",
        "moving STATE and OEM while the machine shuts down",
        "moving STATE",
        "moving OEM",
        "STATE and OEM moved",
        "the file system of OEM has 1,200 MiB now",
    ]
    assert "unmounted" in console.text
    assert look(backend, "sealed-copy", "sealed-image", SMALL_DISK + 1) == [
        "root: /dev/sda5",
        "update engine: masked-runtime, inactive",
        "STATE: 1576 MiB ",
        "ROOT-A: 0 MiB ",
        "OEM: 2399 MiB ",
        "all of STATE is its file system's",
        "No errors detected",
        "kept",
        "OEM is not mounted by itself",
        "OEM's file system is large",
        "sealed with this",
        "cat: /tmp/oem/hello: Input/output error",
        "looked around",
    ]


def test_without_updates_STATE_gets_the_room_of_the_other_root_also_if_the_machine_was_cut_off(  # noqa: N802
    backend: Backend, storage: Storage
) -> None:
    layout = DiskLayout(None, None, reclaims_root=True, disk_size_gb=None)
    files = {"keep.sh": b"echo kept >/var/lib/kept\n"}
    steps = [script_step("keep.sh"), DISABLE]
    machine, console = build_of(backend, storage, "disabled", files, steps, layout, SMALL_DISK)
    console.until(DiskPhase, BuildFailed)
    machine.cut_power()
    machine.power_on()
    finish(backend, machine, console, "disabled")
    assert phases(console) == [
        SWITCH[0],
        *SWITCH,
        "ROOT-A has given back 2,047 MiB",
        "moving STATE while the machine shuts down",
        "moving STATE",
        "STATE moved",
    ]
    assert look(backend, "disabled-copy", "disabled-image", SMALL_DISK) == [
        "root: /dev/sda5",
        "update engine: masked-runtime, inactive",
        "STATE: 2951 MiB ",
        "ROOT-A: 0 MiB ",
        "OEM: 16 MiB ",
        "all of STATE is its file system's",
        "No errors detected",
        "kept",
        "OEM is mounted",
        "looked around",
    ]


def test_a_machine_that_is_cut_off_while_a_partition_moves_says_that_it_is_lost(
    backend: Backend, storage: Storage
) -> None:
    layout = DiskLayout(500 * MIB, None, reclaims_root=False, disk_size_gb=SMALL_DISK + 1)
    machine, console = build_of(backend, storage, "cut-off", {}, [script_step("none.sh")], layout, SMALL_DISK)
    console.until(DiskWanted, BuildFailed)
    backend.resize_disk("cut-off", SMALL_DISK + 1)
    while True:
        phase = console.until(DiskPhase, BuildFailed)
        assert isinstance(phase, DiskPhase), phase
        if phase.text.startswith("moving STATE ("):
            break
    machine.cut_power()
    machine.power_on()
    failed = console.until(BuildFailed, BuildSucceeded)
    machine.cut_power()
    assert failed == BuildFailed(
        None,
        None,
        "the machine was cut off while it moved STATE: what is on that partition is lost, and so is this disk",
    )
