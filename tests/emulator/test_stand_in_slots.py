"""The stand-in's disk is of COS's kind: the root in two slots under dm-verity, and OEM, which can be sealed.

One machine, three boots: as it was made; from the other slot, with OEM sealed; and after a bit of that slot flipped.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support.waiting import wait_for

from cos_customizer.emulator.machines import stand_in_image
from cos_customizer.emulator.machines.backend import STAND_IN, Backend, MachineSpec

pytestmark = pytest.mark.vm

TREE = (Path(stand_in_image.__file__).parent / "stand_in" / "verity_tree.py").read_text()

# What is done to the disk is what the original COS Customizer does to seal OEM, and to boot from the other slot.
SCRIPT = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
say() { printf '%s=%s\n' "$1" "$2"; }
mounted() { grep -c " $1 " /proc/mounts; }
flip() { printf '\1' | dd of="$1" bs=1 seek=100 conv=notrunc status=none && sync; }
oem=/mnt/disks/oem
mkdir -p $oem

say root "$(rootdev) $(rootdev -s) $(rootdev -d) $(rootdev -s -d)"
say priorities "$(cgpt show -i 2 -P /dev/sda) $(cgpt show -i 4 -P /dev/sda) $(cgpt show -i 6 -P /dev/sda)"
say unit:update-engine.service "$(systemctl show --property LoadState --value update-engine.service)"
say unit:usr-share-oem.mount "$(systemctl show --property LoadState --value usr-share-oem.mount)"
say oem "$(mounted /usr/share/oem)"
say failed "$(systemctl --failed --no-legend | tr '\n' ' ')"

if [[ $(rootdev -s) == /dev/sda3 ]]; then
  say sizes "$(cgpt show -i 3 -s /dev/sda) $(cgpt show -i 5 -s /dev/sda)"
  say between $(($(cgpt show -i 1 -b /dev/sda) - $(cgpt show -i 3 -b /dev/sda) - $(cgpt show -i 3 -s /dev/sda)))
  say found "$(cgpt find -l EFI-SYSTEM) $(cgpt find -t kernel /dev/sda | tr '\n' ' ')"
  say no-kernel "$(cgpt prioritize -i 3 /dev/sda 2>&1)"
  say no-table "$(cgpt show /dev/sda3 2>&1)"
  cgpt show -i 2 /dev/sda | sed 's/^/shown=/'
  cgpt add -i 6 -P 3 -T 2 -S 1 /dev/sda
  say added "$(cgpt show -i 6 -A /dev/sda)"
  cgpt add -i 6 -A 0 /dev/sda
  say table "$(sfdisk --verify /dev/sda 2>&1 | tr '\n' ' ')"
  say engine "$(update_engine_client --status | grep CURRENT_OP)"

  systemctl stop usr-share-oem.mount
  say oem:stopped "$(mounted /usr/share/oem)"
  e2fsck -fp /dev/sda8 >/dev/null && resize2fs /dev/sda8 2048 2>/dev/null >&2
  mount /dev/sda8 $oem && echo "what was sealed" >$oem/file && umount $oem
  systemctl start usr-share-oem.mount
  say oem:started "$(cat /usr/share/oem/file)"
  systemctl stop usr-share-oem.mount

  hashes=$(/usr/lib/stand-in/python3 /run/verity_tree.py /dev/sda8 0 2048 sha256)
  partition=PARTUUID=$(blkid --output value --match-tag PARTUUID /dev/sda8)
  entry=";oemroot,,,ro,0 16384 verity 0 $partition $partition 4096 4096 2048 2048 sha256 $hashes"
  efi=/mnt/disks/efi
  mkdir -p $efi && mount /dev/sda12 $efi
  sed -i -e "/dm-mod.create=/s/.\$/$entry\"/" \
    -e 's/cros_efi/& systemd.mask=update-engine.service systemd.mask=usr-share-oem.mount/' $efi/efi/boot/grub.cfg
  say lines "$(grep -c '^  linux.*;oemroot,.*"$' $efi/efi/boot/grub.cfg)"
  umount $efi
  dd if=/dev/sda3 of=/dev/sda5 bs=4M conv=sparse status=none
  cgpt prioritize -P 5 -i 4 /dev/sda
else
  mount -o ro /dev/dm-1 $oem
  say sealed "$(cat $oem/file)"
  umount $oem
  flip /dev/sda8
  mount -o ro /dev/dm-1 $oem && say oem:flipped mounted || say oem:flipped refused
  say engine "$(update_engine_client --status 2>&1)"
  flip /dev/sda5
fi
say over yes
systemctl --no-block reboot
"""
USER_DATA = "#cloud-config\n" + yaml.safe_dump(
    {
        "write_files": [{"path": "/run/verity_tree.py", "content": TREE}],
        "runcmd": [["bash", "-c", SCRIPT]],
    }
)


@dataclass
class Boots:
    """What the first two boots said, by key, and the console at the end of the third."""

    said: list[dict[str, str]]
    console: str


@pytest.fixture(scope="module")
def boots(backend: Backend) -> Boots:
    backend.create_disk("slots", STAND_IN, 10)
    machine = backend.machine(
        MachineSpec("my-project", "us-west1-b", "slots", "1010", "slots", attributes={"user-data": USER_DATA})
    )

    def printed(port: int) -> str:
        return machine.serial_output(port, 0).contents.decode(errors="replace")

    machine.power_on()
    for number in (1, 2):
        wait_for(lambda: printed(3).count("over=yes") == number, lambda: printed(1)[-2000:] + printed(3))  # noqa: B023
    wait_for(lambda: "end Kernel panic" in printed(1), lambda: printed(1)[-3000:])
    machine.cut_power()
    said: list[dict[str, str]] = []
    for line in printed(3).splitlines():
        key, _, value = line.partition("=")
        if key == "root":
            said.append({})
        said[-1][key] = f"{said[-1][key]}\n{value}" if key in said[-1] else value
    return Boots(said, printed(1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("root", "/dev/dm-0 /dev/sda3 /dev/dm-0 /dev/sda"),
        ("priorities", "1 0 0"),
        ("unit:update-engine.service", "loaded"),
        ("unit:usr-share-oem.mount", "loaded"),
        ("oem", "1"),
        ("failed", ""),
        ("sizes", "4194304 4194304"),
        ("between", "0"),
        ("found", "/dev/sda12 /dev/sda2 /dev/sda4 /dev/sda6 "),
        ("no-kernel", "ERROR: partition 3 is not a ChromeOS kernel"),
        ("no-table", "ERROR: cannot read a partition table from /dev/sda3"),
        ("added", "0x123"),
        ("engine", "CURRENT_OP=UPDATE_STATUS_IDLE"),
        ("oem:stopped", "0"),
        ("oem:started", "what was sealed"),
        ("lines", "2"),
    ],
)
def test_the_image_boots_from_its_first_slot_as_on_cos(boots: Boots, key: str, value: str) -> None:
    assert boots.said[0][key] == value


def test_a_partition_is_shown_as_cgpt_shows_it(boots: Boots) -> None:
    title, entry, kind, uuid, attributes = boots.said[0]["shown"].splitlines()
    assert title == "       start        size    part  contents"
    assert entry.split() == [entry.split()[0], "32768", "2", "Label:", '"KERN-A"']
    assert len(entry) == len('       start        size    part  Label: "KERN-A"')
    assert kind == 34 * " " + "Type: ChromeOS kernel"
    assert uuid.startswith(34 * " " + "UUID: ")
    assert attributes == 34 * " " + "Attr: priority=1 tries=0 successful=1"


def test_changes_leave_a_table_without_errors(boots: Boots) -> None:
    assert "No errors detected" in boots.said[0]["table"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("root", "/dev/dm-0 /dev/sda5 /dev/dm-0 /dev/sda"),
        ("priorities", "4 5 0"),
        ("unit:update-engine.service", "masked"),
        ("unit:usr-share-oem.mount", "masked"),
        ("oem", "0"),
        ("failed", ""),
        ("sealed", "what was sealed"),
        ("oem:flipped", "refused"),
        ("engine", "Failed to contact the update engine: update-engine.service does not run"),
    ],
)
def test_the_slot_of_the_highest_priority_boots_with_what_was_sealed(boots: Boots, key: str, value: str) -> None:
    assert boots.said[1][key] == value


def test_a_root_with_a_flipped_bit_does_not_boot(boots: Boots) -> None:
    last = boots.console[boots.console.rindex("device-mapper: verity:") :]
    assert ":5: data block 0 is corrupted" in last or "dm-verity device corrupted" in last
    assert boots.console.count("stand-in: starting systemd") == 2
