"""What a real guest notices of changes while it runs: CPUs and memory of its type, project metadata, a larger disk."""

import pytest
from support.compute_clients import INSTANCES, PROJECT, ZONE, Compute, body, call
from support.waiting import wait_for

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.server import Emulator

pytestmark = pytest.mark.vm

PROJECT_METADATA = f"/compute/v1/projects/{PROJECT}"
USER_DATA = """#cloud-config
runcmd:
- |
  exec 3> /dev/ttyS2
  site=http://metadata.google.internal/computeMetadata/v1/project/attributes/site
  site() { curl -sf -H Metadata-Flavor:Google "$site$1"; }
  known=$(curl -sfI -H Metadata-Flavor:Google "$site" | tr -d '\\r' | sed -n 's/^ETag: //Ip')
  echo "cpus $(nproc) MiB $(($(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) / 1024)) site $(site)" >&3
  echo "site is $(site "?wait_for_change=true&last_etag=$known")" >&3
  until [ $(cat /sys/block/sda/size) -eq $((30 << 21)) ]; do sleep 0.2; done
  echo "disk is larger" >&3
  while :; do echo tick >&3; sleep 0.5; done
"""


def set_site(emulator: Emulator, value: str) -> None:
    present = call(emulator, "GET", PROJECT_METADATA)[1]["commonInstanceMetadata"]["fingerprint"]
    change = {"items": [{"key": "site", "value": value}], "fingerprint": present}
    assert call(emulator, "POST", f"{PROJECT_METADATA}/setCommonInstanceMetadata", change)[0] == 200


def test_a_guest_has_what_its_type_says_and_sees_what_changes_while_it_runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = default_cache_dir()
    with Emulator(tmp_path_factory.mktemp("emulator"), "qemu", projects=(PROJECT,), cache_dir=cache) as emulator:
        emulator.prepare()
        compute = Compute(emulator)

        done, said = compute.done, compute.said

        set_site(emulator, "first")
        data = {"items": [{"key": "user-data", "value": USER_DATA}]}
        machine_type = f"zones/{ZONE}/machineTypes/e2-custom-4-2048"
        done(INSTANCES, body(machineType=machine_type, metadata=data))
        words = said("cpus").split()
        assert (words[1], words[-1]) == ("4", "first")
        assert 1800 < int(words[3]) <= 2048
        set_site(emulator, "second")
        assert said("site is") == "site is second"
        done(f"{PROJECT_METADATA}/zones/{ZONE}/disks/vm/resize", {"sizeGb": "30"})
        said("disk is larger")
        said("tick")
        done(f"{INSTANCES}/vm/suspend", {})
        still = compute.serial().contents
        assert call(emulator, "GET", f"{INSTANCES}/vm")[1]["status"] == "SUSPENDED"
        assert compute.serial().contents == still
        done(f"{INSTANCES}/vm/resume", {})
        wait_for(lambda: len(compute.serial().contents) > len(still))
        done(f"{INSTANCES}/vm/reset", {})
        wait_for(lambda: compute.serial().contents.count("cpus 4") == 2)
