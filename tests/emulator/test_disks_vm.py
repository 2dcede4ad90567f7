"""What real guests have of their disks: by their names, while they run, and of snapshots."""

import pytest
from support.compute_clients import INSTANCES, PROJECT, ZONE, Compute, body, call, disk_path

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.server import Emulator

pytestmark = pytest.mark.vm

VM = f"{INSTANCES}/vm"
HEAD = """#cloud-config
runcmd:
- |
  exec 3> /dev/ttyS2
  cd /dev/disk/by-id
  appears() { until [ -b "$1" ]; do sleep 0.2; done; }
  metadata() { curl -sf -H Metadata-Flavor:Google "http://metadata.google.internal/computeMetadata/v1/instance/$1"; }
"""
WRITER = f"""{HEAD}
  boot=$(readlink -f google-boot)
  echo "boot disk $([ "$(readlink -f google-boot-part3)" = "${{boot}}3" ] && echo by name)" >&3
  appears google-data
  mkfs.ext4 -q google-data && mount google-data /mnt/disks && echo kept > /mnt/disks/file && sync
  echo "written $(($(blockdev --getsize64 google-data) >> 30)) GiB" >&3
  appears google-late
  echo "late $(metadata disks/2/device-name) $(cat /sys/block/$(basename $(readlink -f google-late))/ro)" >&3
  echo lost > google-late 2> /dev/null || echo "late is read-only" >&3
  while [ -b google-late ]; do sleep 0.2; done
  echo "late has gone" >&3
"""
READER = f"""{HEAD}
  appears google-copy
  mount -o ro google-copy /mnt/disks
  echo "read $(cat /mnt/disks/file)" >&3
  echo "boot disk has $(cat /var/lib/docker/mark)" >&3
  said=http://metadata.google.internal/computeMetadata/v1/instance/guest-attributes/test/read
  curl -sf -X PUT --data kept -H Metadata-Flavor:Google $said && echo "said $(metadata guest-attributes/test/read)" >&3
"""


def test_a_guest_has_its_disks_while_they_come_and_go_and_a_snapshot_has_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = default_cache_dir()
    with Emulator(tmp_path_factory.mktemp("emulator"), "qemu", projects=(PROJECT,), cache_dir=cache) as emulator:
        emulator.prepare()
        compute = Compute(emulator)

        done, said = compute.done, compute.said

        def metadata(script: str) -> dict[str, object]:
            return {
                "items": [{"key": "user-data", "value": script}, {"key": "enable-guest-attributes", "value": "TRUE"}]
            }

        boot = {**body()["disks"][0], "deviceName": "boot"}
        data = {"deviceName": "data", "initializeParams": {"diskName": "data", "diskSizeGb": "2"}}
        compute.disk("late", size_gb=1)
        mark = WRITER.replace("  appears google-data\n", "  echo mark > /var/lib/docker/mark\n  appears google-data\n")
        done(INSTANCES, body(disks=[boot, data], metadata=metadata(mark)))
        assert said("boot disk") == "boot disk by name"
        assert said("written") == "written 2 GiB"
        done(f"{VM}/attachDisk", {"source": disk_path("late"), "deviceName": "late", "mode": "READ_ONLY"})
        assert said("late late") == "late late 1"
        said("late is read-only")
        for name in ("data", "vm"):  # while the machine runs
            compute.snapshot(name, name)
        done(f"{VM}/detachDisk?deviceName=late", {})
        said("late has gone")
        compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="late"))
        snapshots = f"projects/{PROJECT}/global/snapshots"
        boot = {"boot": True, "initializeParams": {"sourceSnapshot": f"{snapshots}/vm"}}
        copy = {"deviceName": "copy", "initializeParams": {"diskName": "copy", "sourceSnapshot": f"{snapshots}/data"}}
        done(INSTANCES, body("reader", disks=[boot, copy], metadata=metadata(READER)))
        assert said("read", "reader") == "read kept"
        assert said("boot disk has", "reader") == "boot disk has mark"
        assert said("said", "reader") == "said kept"
        answer = call(emulator, "GET", f"{INSTANCES}/reader/getGuestAttributes?variableKey=test/read")
        assert (answer[0], answer[1]["variableValue"]) == (200, "kept")
