"""The boot disk of a real virtual machine is laid out anew, OEM sealed, updates disabled; and the image shows it."""

import re

import pytest
import yaml
from support.guest_machines import Console, Storage, build_of, power_on
from support.guest_scripts import script_step
from support.waiting import wait_for

from cos_customizer.customizer.spec.disk_layout import DiskLayout
from cos_customizer.emulator.machines.backend import Backend, Machine
from cos_customizer.guest.protocol import BuildFailed, BuildSucceeded, DiskPhase, DiskWanted, StepStarted
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
df --output=size --block-size=1M /usr/share/oem | tail -1 | sed 's/^/oem: /'
dd if=/dev/urandom of=/usr/share/oem/data bs=1M count=100 status=none
echo sealed >/usr/share/oem/hello
sha256sum </usr/share/oem/data | tee /var/lib/sum
sync
"""

LOOK = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
mountpoint -q /usr/share/oem && echo "oem is mounted" || echo "oem is not mounted"
systemctl is-enabled update-engine.service usr-share-oem.mount
systemctl is-active update-engine.service
mkdir -p /tmp/oem
if [[ -b /dev/dm-1 ]]; then
  mount -t ext4 -o ro /dev/dm-1 /tmp/oem && cat /tmp/oem/hello && sha256sum </tmp/oem/data | cmp - /var/lib/sum && echo "as it was"
fi
lsblk --noheadings --bytes --output PARTLABEL,SIZE,START /dev/sda | grep -E '^(STATE|OEM|ROOT-A)' | tr -s ' '
echo "state: $(($(stat -f -c '%b * %S' /mnt/stateful_partition) >> 20))"
ls -d /var/lib/.cos-customizer* 2>/dev/null
cat /var/lib/kept
rootdev -s
sfdisk --verify /dev/sda 2>&1 | tail -1
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
    return [
        re.sub(r" \(.*| from .*|: [0-9,]+ MiB of .*", "", e.text) for e in console.events if isinstance(e, DiskPhase)
    ]


@pytest.mark.vital
def test_oem_is_grown_filled_and_sealed_on_a_disk_that_grows(backend: Backend, storage: Storage) -> None:
    size = 500 * MIB
    layout = DiskLayout(2 * size - MIB, size // 4096, reclaims_root=True, disk_size_gb=SMALL_DISK + 1)
    steps = [script_step("fill.sh"), SEAL, script_step("after.sh")]
    files = {"fill.sh": FILL_OEM.encode(), "after.sh": b"mountpoint -q /usr/share/oem || echo unmounted\n"}
    machine, console = build_of(backend, storage, "sealed", files, steps, layout, SMALL_DISK)
    wanted = console.until(DiskWanted, BuildFailed)
    assert wanted == DiskWanted((SMALL_DISK + 1) << 30)
    backend.resize_disk("sealed", SMALL_DISK + 1)
    finish(backend, machine, console, "sealed")
    assert "unmounted" in console.text
    seen = look(backend, "sealed-copy", "sealed-image", SMALL_DISK + 1)
    assert seen == []
