"""Installing GPU drivers on a real machine that has docker, a stand-in for Google's installer, and no GPU.

What a real driver would do is not tried here; how the installers are called, and what becomes of it, is.
"""

import hashlib

import pytest
import yaml
from support.guest_machines import Console, Storage, build_of, power_on
from support.guest_scripts import driver_step, script_step
from support.waiting import wait_for

from cos_customizer.emulator.machines.backend import Backend
from cos_customizer.guest.protocol import BuildFailed, BuildSucceeded, StepStarted, StepSucceeded

pytestmark = pytest.mark.vm

CONTAINER = "gcr.io/cos-cloud/cos-gpu-installer:v20230815"
PULLED = "gcr.io/pulled/installer:1"
"""The same image, as if the first run had pulled it: no registry can be reached."""

DRIVER = b"a driver of ours\n"
MD5 = hashlib.md5(DRIVER).hexdigest()
PUBLISHED_MD5 = hashlib.md5(b"stand-in for NVIDIA-Linux-x86_64-396.26.run\n").hexdigest()

# A script that installs one driver after the other, each as a step would, and says how that went.
CASES = rf"""
directory=/run/cos-customizer state=/var/lib/.cos-customizer kind=install-gpu
. $directory/steps.sh
. $directory/steps/install_gpu.sh
sleep() {{ command sleep "0.$1"; }} # not as patient
systemctl is-active --quiet docker.service || echo "docker was not running"

try() {{ # name, settings that differ
  local name=$1
  shift
  echo "case: $name"
  (step_install_gpu version=396.26 "install_dir=/var/lib/$name" installer=auto container={CONTAINER} verify=1 "$@")
  echo "exit: $?"
  [[ ! -e /var/lib/$name/stand-in-call.txt ]] || sed 's/^/call: /' "/var/lib/$name/stand-in-call.txt"
  rm -f "/var/lib/$name/stand-in-call.txt" "$state/pulled"
}}

# As on images before milestone 85.
mkdir -p /run/bin/{{upper,work}}
mknod /run/bin/upper/cos-extensions c 0 0
mount -t overlay -o lowerdir=/usr/bin,upperdir=/run/bin/upper,workdir=/run/bin/work overlay /usr/bin
try 'spaced dir' md5sum={PUBLISHED_MD5}
try wrong-md5 md5sum={"0" * 32}
try own-file version=NVIDIA-Linux-x86_64-450.51.06.run 'deps_dir=gpu %41' md5sum={MD5}
try own-file-wrong-md5 version=NVIDIA-Linux-x86_64-450.51.06.run 'deps_dir=gpu %41' md5sum={"0" * 32}
try unreachable container=gcr.io/nowhere/none:1
try failing version=0.0.1
try no-gpu verify= target_gpu=NVIDIA_L4
try alias version=latest
try no-such installer=cos-extensions

echo "now with cos-extensions"
umount --lazy /usr/bin
hash -r
try extensions-without-gpu
try prepared version=R535 verify= target_gpu=NVIDIA_L4
echo stand-in-gpu:nvidia-l4 >/run/chassis # as of a VM that was asked for with one
mount --bind /run/chassis /sys/class/dmi/id/chassis_asset_tag
try extensions version=default
try signed installer=cos-extensions md5sum={PUBLISHED_MD5}
try legacy installer=container
umount /sys/class/dmi/id/chassis_asset_tag
docker tag {CONTAINER} {PULLED} && touch "$state/pulled"
"""

# As docs/gpu.md shows it, and once more, with what comes of it on a port that the test reads.
BOOT = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
for time in once again; do
  bash /var/lib/nvidia/setup_gpu.sh
  echo "$time: exit $?"
done
echo "modules: $(ls -d /sys/module/nvidia*)"
echo "persistenced: $(cat /run/stand-in-nvidia-persistenced | sort -u)"
echo "modprobe: $(cat /run/stand-in-nvidia-modprobe | sort -u)"
echo "softlockup_panic: $(cat /proc/sys/kernel/softlockup_panic)"
echo "loader: $(grep nvidia /etc/ld.so.conf)"
find /mnt/stateful_partition -name '*cos-customize[r]*' | sed 's/^/left: /'
echo "images: $(docker image ls --format '{{.Repository}}' | sort -u)"
echo "containers: $(docker container ls --all --quiet | wc -l)"
echo 'looked around'
"""


def part(text: list[str], case: str) -> list[str]:
    """What was printed of a case."""
    begin = text.index(f"case: {case}") + 1
    rest = text[begin:]
    return rest[: next((at for at, line in enumerate(rest) if line.startswith(("case: ", "now with"))), len(rest))]


def call(lines: list[str], kind: str) -> set[str]:
    """How the installer was called."""
    beginning = f"call: {kind} "
    return {line.removeprefix(beginning) for line in lines if line.startswith(beginning)}


def test_drivers_are_installed_and_set_up_at_the_next_boot(backend: Backend, storage: Storage) -> None:
    files = {
        "cases.sh": CASES.encode(),
        "last.sh": b"ls -l /var/lib/nvidia/setup_gpu.sh\n",
        "gpu %41/NVIDIA-Linux-x86_64-450.51.06.run": DRIVER,
    }
    steps = [
        script_step("cases.sh"),
        # Resets the machine in the middle, as the real one does when it has to change the kernel's command line.
        driver_step("0.0.2", installer="container", installer_container=PULLED),
        script_step("last.sh"),
    ]
    machine, console = build_of(backend, storage, "gpu", files, steps)
    console.until(BuildSucceeded, BuildFailed)
    text = console.text

    good = part(text, "spaced dir")
    assert "install-gpu: driver 396.26, installed by container (the image has no cos-extensions)" in good
    assert "exit: 0" in good
    assert any("NVIDIA-SMI 396.26" in line for line in good)
    assert {
        "NVIDIA_DRIVER_VERSION=396.26",
        f"NVIDIA_DRIVER_MD5SUM={PUBLISHED_MD5}",
        "NVIDIA_INSTALL_DIR_HOST=/var/lib/spaced dir",
        "NVIDIA_INSTALL_DIR_CONTAINER=/usr/local/nvidia",
        f"COS_NVIDIA_INSTALLER_CONTAINER={CONTAINER}",
        "ROOT_MOUNT_DIR=/root",
    } <= call(good, "environment")
    assert not any(line.startswith(("COS_DOWNLOAD_GCS", "GPU_INST")) for line in call(good, "environment"))
    assert {line.partition(" ")[0] for line in call(good, "mount")} >= {"/usr/local/nvidia", "/dev", "/root"}
    assert call(good, "process-1") == {"systemd"}, "it sees the machine's processes"
    assert call(good, "argument") == set()

    wrong = part(text, "wrong-md5")
    assert any("did NOT match" in line for line in wrong)
    assert wrong.index("install-gpu: container could not install driver 396.26") < wrong.index("exit: 1")

    own = part(text, "own-file")
    assert "exit: 0" in own
    why = "installed by container (for the sake of deps_dir)"
    assert f"install-gpu: driver NVIDIA-Linux-x86_64-450.51.06.run, {why}" in own
    deps = "file:///root/var/lib/.cos-customizer/context/gpu%20%2541"
    assert {
        "NVIDIA_DRIVER_VERSION=450.51.06",
        f"NVIDIA_DRIVER_MD5SUM={MD5}",
        f"COS_DOWNLOAD_GCS={deps}",
        f"GPU_INSTALLER_DOWNLOAD_URL={deps}/NVIDIA-Linux-x86_64-450.51.06.run",
    } <= call(own, "environment")
    changed = part(text, "own-file-wrong-md5")
    assert f"install-gpu: NVIDIA-Linux-x86_64-450.51.06.run has the MD5 sum {MD5}, not {'0' * 32}" in changed
    assert not call(changed, "environment"), "found out before the installer runs"

    unreachable = part(text, "unreachable")
    assert unreachable.count("install-gpu: pulling gcr.io/nowhere/none:1") == 7
    assert any("dockerd" in line for line in unreachable[unreachable.index("install-gpu: docker's journal:") :])
    assert unreachable[-2:] == ["install-gpu: cannot pull gcr.io/nowhere/none:1", "exit: 1"]

    failing = part(text, "failing")
    log = failing[failing.index("install-gpu: the end of nvidia-installer.log:") :]
    assert "ERROR: Unable to build the kernel module." in log
    assert "exit: 1" in log

    for case, message in (
        ("no-gpu", "install-gpu: without a GPU it takes cos-extensions"),
        ("alias", "install-gpu: version latest needs cos-extensions"),
        ("no-such", "install-gpu: the image has no cos-extensions, which comes with"),
    ):
        lines = part(text, case)
        assert any(line.startswith(message) for line in lines), lines
        assert "exit: 1" in lines
        assert not call(lines, "environment")

    without = part(text, "extensions-without-gpu")
    assert "Please have GPU device configured" in without
    assert "535.104.05 [default]" in without[without.index("install-gpu: what this image supports:") :]
    assert "exit: 1" in without
    prepared = part(text, "prepared")
    assert call(prepared, "argument") == {
        *("-version=R535", "-host-dir=/var/lib/prepared", "-no-verify", "-target-gpu=NVIDIA_L4")
    }
    assert "install-gpu: not verified: no GPU is attached; the driver is for NVIDIA_L4" in prepared
    assert not any("NVIDIA-SMI" in line for line in prepared)
    extensions = part(text, "extensions")
    assert call(extensions, "argument") == {"-host-dir=/var/lib/extensions"}, "no version means COS's own choice"
    assert any("NVIDIA-SMI 535.104.05" in line for line in extensions)
    signed = part(text, "signed")
    assert "install-gpu: cos-extensions verifies the signature of the driver, not its MD5 sum" in signed
    assert "exit: 0" in signed
    assert call(part(text, "legacy"), "environment")

    started = [marker.step for marker in console.markers if isinstance(marker, StepStarted)]
    assert started == [1, 2, 2, 3], "the step that the reset has interrupted is run again"
    assert "step 2 was interrupted by a reboot, and is run again" in text
    assert [marker.step for marker in console.markers if isinstance(marker, StepSucceeded)] == [1, 2, 3]
    assert console.markers[-1] == BuildSucceeded()
    assert any("-rwxr-xr-x" in line and "setup_gpu.sh" in line for line in text)

    wait_for(lambda: b"System halted" in machine.serial_output(1, 0).contents, lambda: "does not halt")
    machine.cut_power()
    backend.create_image("gpu-image", "gpu")
    user_data = yaml.safe_dump({"runcmd": [["bash", "-c", BOOT]]})
    booted = Console(power_on(backend, "gpu-copy", "gpu-image", {"user-data": f"#cloud-config\n{user_data}"}), "n0nce")
    booted.until("looked around")
    said = booted.text
    assert said.count("once: exit 0") == said.count("again: exit 0") == 1
    assert sum("NVIDIA-SMI 0.0.2" in line for line in said) == 2
    assert "modules: /sys/module/nvidia" in said
    assert "/sys/module/nvidia_uvm" in said
    assert "persistenced: nvidia-persistenced --verbose" in said
    assert "modprobe: nvidia-modprobe -c0 -u -m" in said
    assert "softlockup_panic: 1" in said
    assert "loader: /var/lib/nvidia/lib64" in said
    assert not [line for line in said if line.startswith("left: ")]
    assert said[said.index("images: gcr.io/cos-cloud/cos-gpu-installer") + 1] == "containers: 0", "as it was before"
