"""The stand-in behaves on a real virtual machine as Container-Optimized OS does where scripts notice.

Three boots that count: one ends by a reboot of the guest, one by the power button, one is of an image of the disk.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cos_customizer.emulator.machines import STAND_IN, MachineSpec
from cos_customizer.emulator.qemu import QemuBackend, QemuMachine
from cos_customizer.emulator.service import default_cache_dir

pytestmark = pytest.mark.vm

BOOT_SECONDS = 240
"""Limit for a boot on a busy machine without KVM."""

STOP_SECONDS = 60
GIB = 1 << 30
SIZE_GB = 6
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
  echo out of port 2 > /dev/ttyS1
  echo out of port 4 > /dev/ttyS3
  echo "<0>an emergency of the kernel" > /dev/kmsg
  say reported yes
  if [ "$(grep -c . /var/lib/boots)" = 1 ]; then systemctl reboot; fi
"""


@dataclass
class Run:
    """What became of the machine that was stopped by its power button."""

    backend: QemuBackend
    machine: QemuMachine
    boots: list[dict[str, str]]
    stop_seconds: float


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


def wait_until(happened: Callable[[], bool], machine: QemuMachine, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"console:\n{text(machine, 1)[-2000:]}\nport 3:\n{text(machine, 3)[-2000:]}"
        time.sleep(0.1)


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
    wait_until(lambda: text(machine, 3).count("reported=yes") == 2, machine, 2 * BOOT_SECONDS)
    assert is_running(machine)
    machine.press_power_button()
    pressed = time.monotonic()
    wait_until(lambda: not machine.running, machine, STOP_SECONDS)
    return Run(backend, machine, reports(machine), time.monotonic() - pressed)


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
        assert 0.9 * SIZE_GB * GIB < int(boot["state"]) < SIZE_GB * GIB
        assert "No errors detected" in boot["gpt"]


def test_var_outlives_a_reboot_of_the_guest(run: Run) -> None:
    assert [boot["boot"] for boot in run.boots] == ["1", "2"]


def test_the_power_button_stops_the_guest_soon_and_its_output_stays(run: Run) -> None:
    assert run.stop_seconds < STOP_SECONDS / 2
    assert "reboot: Power down" in text(run.machine, 1)


def test_four_serial_ports_are_kept_apart(run: Run) -> None:
    assert text(run.machine, 2) == 2 * "out of port 2\r\n"
    assert text(run.machine, 4) == 2 * "out of port 4\r\n"
    assert text(run.machine, 1).count("an emergency of the kernel") == 2


def test_an_image_of_the_disk_boots_with_what_was_left_on_it(run: Run) -> None:
    assert run.backend.create_image("image", "first") > 0
    run.backend.delete_disk("first")
    run.backend.create_disk("second", "image", SIZE_GB + 2)
    run.backend.delete_image("image")  # while a disk stands on it
    machine = run.backend.machine(make_spec("second", "1002"))
    machine.power_on()
    wait_until(lambda: "reported=yes" in text(machine, 3), machine, BOOT_SECONDS)
    (boot,) = reports(machine)
    assert boot["boot"] == "3"
    assert boot["etc:left"] == "no"
    assert boot["hostname"] == "vm-1002"
    assert int(boot["state"]) > (SIZE_GB + 1) * GIB
    machine.cut_power()
    assert not is_running(machine)
    assert "reported=yes" in text(machine, 3)


def test_a_crash_is_seen_and_the_machine_can_be_started_again(backend: QemuBackend) -> None:
    backend.create_disk("crash", STAND_IN, 1)
    machine = backend.machine(make_spec("crash", "1003"))
    machine.power_on()
    before = process_id(machine)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not machine.running, machine, 5)
    machine.power_on()
    assert is_running(machine)
    assert process_id(machine) != before
    machine.cut_power()
    machine.cut_power()
    assert not is_running(machine)
    backend.delete_disk("crash")


OWNER = """
import sys, time
from pathlib import Path
from cos_customizer.emulator.machines import STAND_IN, MachineSpec
from cos_customizer.emulator.qemu import QemuBackend
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
    deadline = time.monotonic() + 5
    while found := processes_that_name(tmp_path):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


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
