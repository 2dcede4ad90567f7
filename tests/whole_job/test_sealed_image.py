"""An image with a sealed OEM partition on real machines, as the example makes it: workflow, verification, boot."""

import pytest
from support.builds import images
from support.emulator_commands import emulator_command
from support.leftovers import leftovers
from support.paths import EXAMPLES

from cos_customizer.emulator.server import Emulator

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("prefect_server")]

LOOK = r"""
number() { read -r sectors < "/sys/block/sda/sda$1/size"; echo "$((sectors >> 11))"; }
echo "OEM $(number 8) MiB, ROOT-A $(number 3) MiB"
(($(stat -f -c '%b * %S' /mnt/stateful_partition) >> 20 > 7168)) && echo 'STATE is larger than 7168 MiB'
echo "root is $(rootdev), on $(rootdev -s)"
systemctl is-enabled update-engine.service usr-share-oem.mount
mountpoint -q /usr/share/oem || echo 'OEM is not mounted'
mkdir -p /tmp/oem && mount -t ext4 -o ro /dev/dm-1 /tmp/oem && cat /tmp/oem/app/app.conf /tmp/oem/app/version
ls -d /var/lib/.cos-customizer 2> /dev/null
ls -A /home
grep -o 'systemd.mask=[^ ]*' /proc/cmdline
"""


def test_the_example_makes_an_image_whose_oem_partition_is_large_and_sealed(real_cloud: Emulator) -> None:
    built = emulator_command("run-cloudbuild", str(EXAMPLES / "sealed-oem" / "cloudbuild.yaml"))
    assert built.returncode == 0, built.stdout + built.stderr
    for told in ("the builder VM waits until it has 11 GB", "OEM has 500 MiB now"):
        assert told in built.stdout
    ((name, image),) = images(real_cloud).items()
    assert (image["diskSizeGb"], image["family"]) == ("11", "sealed")
    assert {each.partition("/projects/")[2] for each in image["licenses"]} == {
        "my-project/global/licenses/sealed",
        "cos-cloud/global/licenses/cos",
    }
    assert leftovers(real_cloud) == []

    seen = emulator_command("boot", "-family=sealed", "--", "bash", "-c", LOOK)
    assert seen.stdout.splitlines() == [
        "OEM 999 MiB, ROOT-A 0 MiB",
        "STATE is larger than 7168 MiB",
        "root is /dev/dm-0, on /dev/sda5",
        "masked-runtime",
        "masked-runtime",
        "OEM is not mounted",
        "listen = 0.0.0.0:8080",
        name.removeprefix("sealed-"),
        "systemd.mask=getty@tty1.service",
        "systemd.mask=usr-share-oem.mount",
        "systemd.mask=update-engine.service",
    ], seen.stderr
