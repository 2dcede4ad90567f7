"""The stand-in behaves on a real virtual machine as Container-Optimized OS does where scripts notice.

Three boots that count: one ends by a reboot of the guest, one by the power button, one is of an image of the disk, and
uses docker.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.waiting import wait_for

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.machines.backend import SERIAL_RING_BYTES, STAND_IN, MachineSpec
from cos_customizer.emulator.machines.qemu import QemuBackend
from cos_customizer.emulator.machines.qemu_machine import QemuMachine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("stand-in")]  # which share machines

GIB = 1 << 30
SIZE_GB = 10
SLOTS_GB = 4
"""Of the root; what else there is besides STATE is small."""
PARTITIONS = {
    1: "STATE",
    2: "KERN-A",
    3: "ROOT-A",
    4: "KERN-B",
    5: "ROOT-B",
    6: "KERN-C",
    7: "ROOT-C",
    8: "OEM",
    9: "reserved",
    10: "reserved",
    11: "RWFW",
    12: "EFI-SYSTEM",
}

PROGRAMS = ("bash", "curl", "tar", "gzip", "sed", "grep", "stty", "sha256sum", "systemctl")

REPORT = r"""#cloud-config
write_files:
- path: /etc/written-by-user-data
  content: "yes"
runcmd:
- |
  exec 3> /dev/ttyS2
  say() { echo "$1=$2" >&3; }
  can() { if "$@" > /dev/null 2>&1; then echo yes; else echo no; fi; }
  runs_in() {
    printf '#!/bin/sh\nexit 0\n' > "$1/program" && chmod +x "$1/program" && can "$1/program"
    rm -f "$1/program"
  }
  md() { curl -sf -H Metadata-Flavor:Google "http://metadata.google.internal/computeMetadata/v1/$1"; }
  echo boot >> /var/lib/boots
  say boot $(grep -c . /var/lib/boots)
  for path in / /usr /root; do say write:$path $(can touch $path/file); done
  for path in /home /var /tmp /var/lib/docker /var/lib/google /var/lib/toolbox /var/lib/cloud /etc /mnt/disks; do
    say run:$path $(runs_in $path)
  done
  say etc:left $(can test -e /etc/left-by-script)
  touch /etc/left-by-script
  say user-data $(can test -e /etc/written-by-user-data)
  say state $(df --output=size -B1 /mnt/stateful_partition | tail -n 1)
  say disk $(cat /sys/block/sda/size)
  say gpt "$(sfdisk --verify /dev/sda 2>&1 | tr '\n' ' ')"
  lsblk -nro NAME,PARTLABEL /dev/sda | while read -r name label; do
    [ "$name" = sda ] || say "partition:${name#sda}" "$label"
  done
  for program in bash curl tar gzip sed grep stty sha256sum systemctl python3 perl apt-get; do
    say has:$program $(can command -v $program)
  done
  . /etc/os-release
  say os "$ID $VARIANT_ID"
  say hostname $(hostname)
  say name $(md instance/name)
  say attribute $(md instance/attributes/color)
  say token $(md instance/service-accounts/default/token | grep -c access_token)
  say failed "$(systemctl --failed --no-legend | tr '\n' ' ')"
  say docker "$(systemctl is-active docker.service docker.socket containerd.service | tr '\n' ' ')"
  echo out of port 2 > /dev/ttyS1
  echo out of port 4 > /dev/ttyS3
  echo "<0>an emergency of the kernel" > /dev/kmsg
  say reported yes
  if [ "$(grep -c . /var/lib/boots)" = 1 ]; then systemctl reboot; fi
"""


DOCKER = r"""
  installer=gcr.io/cos-cloud/cos-gpu-installer
  install() { # arguments of docker run
    docker run --rm --privileged --net=host --pid=host --volume /var/lib/nvidia:/usr/local/nvidia --volume /dev:/dev \
      --volume /:/root -e NVIDIA_INSTALL_DIR_CONTAINER=/usr/local/nvidia -e ROOT_MOUNT_DIR=/root "$@" > /run/said 2>&1
  }
  if [ ! -e /var/lib/nvidia/stand-in-was-here ]; then
    say images "$(docker image ls --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')"
    mkdir -p "/var/lib/nvidia/with space"
    say driver $(can install -e NVIDIA_DRIVER_VERSION=396.26 -e NVIDIA_DRIVER_MD5SUM=$(echo stand-in for \
      NVIDIA-Linux-x86_64-396.26.run | md5sum | cut -c -32) $installer:v20200921 --argument)
    sed -e 's/ /:/' -e '/=/!s/\( \|$\)/=/' /var/lib/nvidia/stand-in-call.txt >&3
    for file in bin/nvidia-smi bin/nvidia-persistenced bin/nvidia-modprobe lib64/libnvidia-ml.so.1 drivers/nvidia.ko \
        drivers/nvidia-uvm.ko nvidia-installer.log .cache; do
      say file:$file $(can test -s /var/lib/nvidia/$file)
    done
    mount --bind /var/lib/nvidia /var/lib/nvidia && mount -o remount,exec /var/lib/nvidia
    say smi "$(/var/lib/nvidia/bin/nvidia-smi | sed -n 2p)"
    for module in nvidia nvidia-uvm; do say module:$module $(can insmod /var/lib/nvidia/drivers/$module.ko); done
    say modules "$(cd /sys/module && ls -d nvidia* | tr '\n' ' ')"
    /var/lib/nvidia/bin/nvidia-persistenced --verbose
    say persistenced "$(cat /run/stand-in-nvidia-persistenced)"
    say damaged $(can install -e NVIDIA_DRIVER_VERSION=396.26 -e NVIDIA_DRIVER_MD5SUM=$(echo | md5sum | cut -c -32) \
      $installer)
    say damaged:said "$(grep -e FAILED -e 'NOT match' /run/said | LC_ALL=C sort | tr '\n' ' ')" # in any order
    echo its own file > "/var/lib/nvidia/with space/driver.run"
    say own $(can install -e NVIDIA_DRIVER_VERSION=396.26 \
      -e NVIDIA_DRIVER_MD5SUM=$(echo its own file | md5sum | cut -c -32) \
      -e GPU_INSTALLER_DOWNLOAD_URL=file:///root/var/lib/nvidia/with%20space/driver.run $installer)
    say unbuildable $(can install -e NVIDIA_DRIVER_VERSION=0.0.1 $installer)
    say unbuildable:log "$(grep -c 'ERROR: Unable to build the kernel module.' /var/lib/nvidia/nvidia-installer.log)"
    say bridge $(can docker run --rm --entrypoint ip $installer addr show eth0)
    timeout 600 docker pull no.registry.invalid/image:1 > /dev/null 2>&1
    say pull "$?"
    say journal $(journalctl --unit docker.service --no-pager | grep -c 'no.registry.invalid')
    say docker:failed "$(systemctl --failed --no-legend | tr '\n' ' ')"
    sync
    install -e NVIDIA_DRIVER_VERSION=0.0.2 $installer
    say reset no
  else
    say reset yes
    say driver $(can install -e NVIDIA_DRIVER_VERSION=0.0.2 $installer)
  fi
"""


@dataclass
class Run:
    """What became of the machine that was stopped by its power button."""

    backend: QemuBackend
    machine: QemuMachine
    boots: list[dict[str, str]]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuBackend]:
    backend = QemuBackend(tmp_path_factory.mktemp("qemu"), default_cache_dir())
    backend.prepare()
    yield backend
    backend.close()


def make_spec(disk: str, instance_id: str, user_data: str = REPORT) -> MachineSpec:
    return MachineSpec(
        project="my-project",
        zone="us-west1-b",
        name=f"vm-{instance_id}",
        instance_id=instance_id,
        boot_disk=disk,
        attributes={"user-data": user_data, "color": "blue"},
        service_account="builder@my-project.iam.gserviceaccount.com",
        scopes=["https://www.googleapis.com/auth/cloud-platform"],
    )


def is_running(machine: QemuMachine) -> bool:
    return machine.running  # asked anew: the type checker takes a property for a constant


def text(machine: QemuMachine, port: int) -> str:
    return machine.serial_output(port, 0).contents.decode(errors="replace")


def wait_until(happened: Callable[[], bool], machine: QemuMachine) -> None:
    wait_for(happened, lambda: f"console:\n{text(machine, 1)[-2000:]}\nport 3:\n{text(machine, 3)[-2000:]}")


def reports(machine: QemuMachine) -> list[dict[str, str]]:
    """What each boot reported; all that port 3 holds must be reports."""
    boots: list[dict[str, str]] = []
    for line in text(machine, 3).splitlines():
        key, separator, value = line.partition("=")
        assert separator, f"not ours: {line!r}"
        if key == "boot":
            boots.append({})
        boots[-1][key] = value
    return boots


@pytest.fixture(scope="module")
def run(backend: QemuBackend) -> Run:
    backend.create_disk("first", STAND_IN, SIZE_GB)
    machine = backend.machine(make_spec("first", "1001"))
    assert not is_running(machine)
    machine.power_on()
    assert is_running(machine)
    wait_until(lambda: text(machine, 3).count("reported=yes") == 2, machine)
    assert is_running(machine)
    machine.press_power_button()
    wait_until(lambda: not machine.running, machine)
    return Run(backend, machine, reports(machine))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("write:/", "no"),
        ("write:/usr", "no"),
        ("write:/root", "no"),
        ("run:/home", "no"),
        ("run:/var", "no"),
        ("run:/tmp", "no"),
        ("run:/var/lib/docker", "yes"),
        ("run:/var/lib/google", "yes"),
        ("run:/var/lib/toolbox", "yes"),
        ("run:/var/lib/cloud", "yes"),
        ("run:/etc", "yes"),
        ("run:/mnt/disks", "yes"),
        ("etc:left", "no"),
        ("user-data", "yes"),
        ("os", "cos stand-in"),
        ("hostname", "vm-1001"),
        ("name", "vm-1001"),
        ("attribute", "blue"),
        ("token", "1"),
        ("failed", ""),
        ("disk", str(SIZE_GB * GIB // 512)),
        *((f"has:{name}", "yes") for name in PROGRAMS),
        *((f"has:{name}", "no") for name in ("python3", "perl", "apt-get")),
        *((f"partition:{number}", name) for number, name in PARTITIONS.items()),
    ],
)
def test_each_boot_is_as_on_cos(run: Run, key: str, value: str) -> None:
    assert [boot[key] for boot in run.boots] == [value, value]


def test_state_takes_what_the_disk_has_more_than_the_image(run: Run) -> None:
    for boot in run.boots:
        assert (SIZE_GB - SLOTS_GB - 1) * GIB < int(boot["state"]) < (SIZE_GB - SLOTS_GB) * GIB
        assert "No errors detected" in boot["gpt"]


def test_var_outlives_a_reboot_of_the_guest(run: Run) -> None:
    assert [boot["boot"] for boot in run.boots] == ["1", "2"]


def test_the_power_button_stops_the_guest_and_its_output_stays(run: Run) -> None:
    assert "reboot: Power down" in text(run.machine, 1)


def test_four_serial_ports_are_kept_apart(run: Run) -> None:
    assert text(run.machine, 2) == 2 * "out of port 2\r\n"
    assert text(run.machine, 4) == 2 * "out of port 4\r\n"
    assert text(run.machine, 1).count("an emergency of the kernel") == 2


@pytest.fixture(scope="module")
def second_run(run: Run) -> Iterator[list[dict[str, str]]]:
    """What a machine on an image of the disk reports, before the reset by the installer and after it."""
    assert run.backend.create_image("image", "first") > 0
    run.backend.delete_disk("first")
    run.backend.create_disk("second", "image", SIZE_GB + 2)
    run.backend.delete_image("image")  # while a disk stands on it
    end = "  say reported yes\n"
    machine = run.backend.machine(make_spec("second", "1002", REPORT.replace(end, DOCKER + end)))
    machine.power_on()
    wait_until(lambda: "reported=yes" in text(machine, 3), machine)
    yield reports(machine)
    machine.cut_power()
    assert not is_running(machine)
    assert "reported=yes" in text(machine, 3)


def test_an_image_of_the_disk_boots_with_what_was_left_on_it(second_run: list[dict[str, str]]) -> None:
    boot = second_run[0]
    assert boot["boot"] == "3"
    assert boot["etc:left"] == "no"
    assert boot["hostname"] == "vm-1002"
    assert int(boot["state"]) > (SIZE_GB - SLOTS_GB + 1) * GIB


def test_docker_starts_only_when_somebody_wants_it(run: Run, second_run: list[dict[str, str]]) -> None:
    assert [boot["docker"] for boot in run.boots + second_run] == 4 * ["inactive active inactive "]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (
            "images",
            "".join(f"gcr.io/cos-cloud/cos-gpu-installer:{tag} " for tag in ("latest", "v20200921", "v20230815")),
        ),
        ("bridge", "yes"),
        ("pull", "1"),  # of docker itself, not of its time limit
        ("docker:failed", ""),
    ],
)
def test_docker_works_as_far_as_that_goes_without_a_registry(
    second_run: list[dict[str, str]], key: str, value: str
) -> None:
    assert second_run[0][key] == value


def test_a_pull_without_a_way_to_the_registry_is_in_the_journal(second_run: list[dict[str, str]]) -> None:
    assert int(second_run[0]["journal"]) > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("driver", "yes"),
        ("argument:--argument", ""),
        ("environment:NVIDIA_DRIVER_VERSION", "396.26"),
        ("environment:ROOT_MOUNT_DIR", "/root"),
        ("mount:/usr/local/nvidia", "/var/lib/nvidia"),
        ("mount:/root", "/"),
        ("mount:/dev", "/"),
        ("process-1:systemd", ""),
        ("hostname:vm-1002", ""),
        *(
            (f"file:{name}", "yes")
            for name in (
                *("bin/nvidia-smi", "bin/nvidia-persistenced", "bin/nvidia-modprobe", "lib64/libnvidia-ml.so.1"),
                *("drivers/nvidia.ko", "drivers/nvidia-uvm.ko", "nvidia-installer.log", ".cache"),
            )
        ),
        (
            "smi",
            "| NVIDIA-SMI 396.26   Driver Version: 396.26   (stand-in: there is no GPU)    |",
        ),
        ("module:nvidia", "yes"),
        ("module:nvidia-uvm", "yes"),
        ("modules", "nvidia nvidia_uvm "),
        ("persistenced", "nvidia-persistenced --verbose"),
        ("damaged", "no"),
        (
            "damaged:said",
            "NVIDIA-Linux-x86_64-396.26.run: FAILED md5sum: WARNING: 1 computed checksum did NOT match ",
        ),
        ("own", "yes"),
        ("unbuildable", "no"),
        ("unbuildable:log", "1"),
    ],
)
def test_the_stand_in_of_the_installer_does_as_the_real_one(
    second_run: list[dict[str, str]], key: str, value: str
) -> None:
    assert second_run[0][key] == value


def test_a_driver_that_needs_another_command_line_resets_the_machine_once(second_run: list[dict[str, str]]) -> None:
    assert len(second_run) == 2
    assert "reset" not in second_run[0]
    assert (second_run[1]["reset"], second_run[1]["driver"]) == ("yes", "yes")


def test_a_crash_is_seen_and_the_machine_can_be_started_again(backend: QemuBackend) -> None:
    backend.create_disk("crash", STAND_IN, 1)
    machine = backend.machine(make_spec("crash", "1003"))
    machine.power_on()
    before = process_id(machine)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not machine.running, machine)
    machine.power_on()
    assert is_running(machine)
    assert process_id(machine) != before
    machine.cut_power()
    machine.cut_power()
    assert not is_running(machine)
    backend.delete_disk("crash")


FLOOD = """#cloud-config
runcmd:
- stty raw </dev/ttyS3
- head -c 5000000 /dev/zero | tr '\\0' x >/dev/ttyS3
- echo over >/dev/ttyS3
"""


def test_a_flood_of_output_takes_no_more_room_than_two_rings(backend: QemuBackend) -> None:
    backend.create_disk("flood", STAND_IN, SIZE_GB)
    machine = backend.machine(make_spec("flood", "1005", FLOOD))
    machine.power_on()
    port, most = machine.directory / "serial4", 0

    def is_over() -> bool:
        nonlocal most
        most = max(most, port.stat().st_blocks * 512)
        return machine.serial_output(4, 5_000_000).contents.strip() == b"over"

    wait_until(is_over, machine)
    output = machine.serial_output(4, 0)
    assert output.start == output.next - SERIAL_RING_BYTES > 3_900_000
    assert output.contents.startswith(b"xxx")
    machine.cut_power()
    assert 1 << 20 < most < 3 << 20
    assert port.stat().st_blocks * 512 <= 2 * SERIAL_RING_BYTES
    backend.delete_disk("flood")


OWNER = """
import sys, time
from pathlib import Path
from cos_customizer.emulator.machines.backend import STAND_IN, MachineSpec
from cos_customizer.emulator.machines.qemu import QemuBackend
backend = QemuBackend(Path(sys.argv[1]), Path(sys.argv[2]))
backend.prepare()
backend.create_disk("disk", STAND_IN, 1)
machine = backend.machine(MachineSpec("my-project", "us-west1-b", "vm", "1004", "disk"))
machine.power_on()
print("running", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_machine_outlives_the_emulator(tmp_path: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(default_cache_dir())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "running\n"
        assert processes_that_name(tmp_path)
        owner.send_signal(end)
    wait_for(lambda: not processes_that_name(tmp_path), lambda: processes_that_name(tmp_path))


def process_id(machine: QemuMachine) -> int:
    assert machine._process
    return machine._process.pid


def processes_that_name(path: Path) -> list[str]:
    """The command lines that hold a path, of QEMU and what it starts."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(path) in words and "qemu" in words.split(" ", 1)[0]:
            found.append(words)
    return found
