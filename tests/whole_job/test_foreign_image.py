"""An image that nothing here has made: a Debian of Debian's own tools is imported, boots by UEFI, and boots elsewhere.

`make/try_image.sh` customizes it, too, which takes too long for every run of the tests.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from support.command_line import run
from support.paths import ROOT

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.machines.host import UEFI_CODE, UEFI_VARIABLES, die_with_parent

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("real_cloud")]

RECIPE = ROOT / "tests/support/foreign_image.sh"
LOOK = """
test -d /sys/firmware/efi
efibootmgr | grep -o 'UEFI Google PersistentDisk'
curl -sf -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/zone
echo
lsblk -dno MODEL | grep -o PersistentDisk
cloud-init query cloud_name
"""


@pytest.fixture
def disk() -> Path:
    """The Debian, made once for each state of its recipe."""
    made = default_cache_dir() / f"foreign-{hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:16]}.raw"
    if not made.exists():
        partial = made.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["bash", str(RECIPE), str(partial)], check=True)
        partial.rename(made)
    return made


def test_a_foreign_image_boots_by_uefi_here_and_as_an_export_elsewhere(disk: Path, tmp_path: Path) -> None:
    imported = run("emulator", "import-image", str(disk), "foreign", "-guest-os-features=UEFI_COMPATIBLE")
    assert imported.code == 0, imported.err
    looked = run("emulator", "boot", "foreign", "--", "bash", "-e", "-c", LOOK)
    assert looked.code == 0, looked.err
    firmware, zone, disk_model, cloud_name = looked.out.splitlines()
    assert (firmware, disk_model, cloud_name) == ("UEFI Google PersistentDisk", "PersistentDisk", "gce")
    assert zone.endswith("/zones/us-west1-b")
    export = tmp_path / "export.qcow2"
    assert run("emulator", "export-image", "foreign", str(export)).code == 0
    shutil.copyfile(UEFI_VARIABLES, tmp_path / "variables")
    command = [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nodefaults"),
        *("-display", "none", "-drive", f"if=pflash,format=raw,readonly=on,file={UEFI_CODE}"),
        *("-drive", f"if=pflash,format=raw,file={tmp_path / 'variables'}"),
        *("-drive", f"if=virtio,format=qcow2,file={export}", "-serial", "stdio"),
    ]
    with subprocess.Popen(die_with_parent(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert machine.stdout
        # Printed by systemd of the root file system, which the initrd has mounted before.
        seen = next((line for line in machine.stdout if b"Welcome to" in line), b"")
        machine.kill()
    assert b"Debian GNU/Linux 12" in seen
