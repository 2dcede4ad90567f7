"""What is in an image: in its blocks nothing that was deleted on the builder VM, nor written after the clean-up."""

import subprocess
from pathlib import Path

import pytest
import yaml
from support.guest_machines import Console, Storage, build_of, power_on
from support.guest_scripts import script_step
from support.raw_blocks import words_in_blocks
from support.waiting import wait_for

from cos_customizer.emulator.machines.qemu import QemuBackend
from cos_customizer.guest.protocol import BuildFailed, BuildSucceeded

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("clean-image")]  # which share a build

SCRIPT_TEXT, ENV_VALUE, FILE_NAME = "tExt-oF-a-ScRipt-71c5", "vAlue-of-a-vAriable-88d1", "nAme-of-a-fIle-4410"
FILE_TEXT, DELETED, LOGGED = "tExt-of-a-fIle-a77b", "dEleted-by-a-ScRipt-20ce", "lOgged-by-a-ScRipt-52a0"
HOST = "unmistakable-host-9e41"
KEPT = "kEpt-by-a-ScRipt-6d0f"
VISITOR = "lEft-by-a-vIsitor-93aa"

LITTER = f"""
# {SCRIPT_TEXT}
for place in /var/tmp /var/lib /home /mnt/stateful_partition /var/lib/docker; do
  for n in {{1..50}}; do yes "{DELETED} $n" | head -c 20000 >"$place/{FILE_NAME}-$n"; done
  sync
  rm "$place/{FILE_NAME}"-*
done
mount -o remount,rw /usr/share/oem
yes {DELETED} | head -c 100000 >/usr/share/oem/{FILE_NAME}; sync; rm /usr/share/oem/{FILE_NAME}
mkdir -p /var/log/app
yes "{LOGGED} on $(hostname)" | head -c 300000 >/var/log/app/app.log
cp {FILE_NAME}.txt /var/cache/copy
echo {KEPT} >/var/lib/kept
# What Google's guest agent makes for somebody who then logs in to a registry; and a script's own.
mkdir -p /home/someone/.ssh /home/someone/.docker /home/app/.docker
echo '# Added by Google' >/home/someone/.ssh/authorized_keys
echo '{{"auths": {{"registry.example": {{"auth": "{VISITOR}"}}}}}}' >/home/someone/.docker/config.json
echo '{{"auths": {{"registry.example": {{"auth": "dTpw"}}}}}}' >/home/app/.docker/config.json
sync
"""

# In every way that outlives a script. Each writes where all is removed, again and again.
LEFTOVERS = r"""
write() { printf 'while :; do echo x >>/var/log/%s.log; echo y >/var/tmp/%s; sleep 0.3; done' "$1" "$1"; }
docker run --detach --restart=always --volume /var:/var --entrypoint sh gcr.io/cos-cloud/cos-gpu-installer:v20200921 \
  -c "$(write container)" >/dev/null || exit
systemd-run --quiet --unit=by-systemd-run bash -c "$(write service)"
systemd-run --quiet --unit=restarting -p Restart=always -p RestartSec=0 bash -c "$(write restarting)"
systemd-run --quiet --scope --unit=in-a-scope bash -c "$(write scope)" &
systemd-run --quiet --unit=by-timer --on-active=0.1 --timer-property=AccuracySec=10ms bash -c "$(write timer)"
systemd-run --quiet --unit=later --on-active=3600 touch /var/tmp/later
setsid -f setsid -f bash -c "$(write daemon)" >/dev/null 2>&1
printf '[Service]\nExecStart=/bin/bash -c "%s"\n[Install]\nWantedBy=multi-user.target\n' "$(write enabled)" \
  >/etc/systemd/system/enabled.service
systemctl daemon-reload
systemctl enable --quiet --now enabled.service
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
  mkdir -p $hierarchy/of-its-own 2>/dev/null || continue
  bash -c 'echo $$ >"$0/of-its-own/cgroup.procs"; eval "$1"' $hierarchy "$(write group)" >/dev/null 2>&1 &
  break
done
for name in service restarting scope timer daemon enabled group container; do
  for n in {1..600}; do [[ ! -e /var/tmp/$name ]] || continue 2; sleep 0.1; done
  echo "$name does not write"; exit 1
done
"""

LOOK_AROUND = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
find /var/log -type f -size +0 -not -name 'cloud-init*' -not -path '*/journal/*' | sed 's/^/left: /'
for name in service restarting scope timer later daemon enabled group container; do
  [[ ! -e /var/tmp/$name ]] || echo "left: $name"
done
[[ ! -e /home/someone ]] || echo 'left: /home/someone'
[[ -e /home/app/.docker/config.json ]] || echo 'gone: /home/app'
cat /var/lib/kept
echo 'looked around'
"""


@pytest.fixture(scope="module")
def image(backend: QemuBackend, storage: Storage) -> Console:
    """Builds `clean-image`; gives what its guest said."""
    files = {
        "litter.sh": LITTER,
        "leftovers.sh": LEFTOVERS,
        # The build's files are gone, and it goes on.
        "sabotage.sh": "rm -rf /run/cos-customizer; rm -rf /tmp/* /var/tmp/*",
        f"{FILE_NAME}.txt": "".join(f"{FILE_TEXT} {number}\n" for number in range(20_000)),
    }
    steps = [script_step(name, {"VALUE": ENV_VALUE}) for name in files if name.endswith(".sh")]
    contents = {name: text.encode() for name, text in files.items()}
    machine, console = build_of(backend, storage, HOST, contents, steps)
    end = console.until(BuildSucceeded, BuildFailed)
    assert isinstance(end, BuildSucceeded), console.text
    wait_for(lambda: b"System halted" in machine.serial_output(1, 0).contents, lambda: "does not halt")
    machine.cut_power()
    backend.create_image("clean-image", HOST)
    return console


def test_nothing_that_was_deleted_is_in_the_blocks(image: Console, backend: QemuBackend, tmp_path: Path) -> None:
    disk = tmp_path / "image.qcow2"
    backend.create_disk("blocks", "clean-image", 10)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", backend.disk_file("blocks"), disk], check=True)
    words = [SCRIPT_TEXT, ENV_VALUE, FILE_NAME, FILE_TEXT, DELETED, LOGGED, VISITOR, HOST, "n0nce"]
    assert words_in_blocks(disk, [*words, KEPT]) == {**dict.fromkeys(words, 0), KEPT: 1}


def test_nothing_that_a_step_started_has_written_after_the_clean_up(image: Console, backend: QemuBackend) -> None:
    commands = {"runcmd": [["bash", "-c", LOOK_AROUND]]}
    copy = power_on(backend, "looker", "clean-image", {"user-data": "#cloud-config\n" + yaml.safe_dump(commands)})
    console = Console(copy, "n0nce")
    console.until("looked around")
    copy.cut_power()
    assert console.text == [KEPT, "looked around"]
    (told,) = [line for line in image.text if line.startswith("stopped what has been started")]
    for unit in ("by-systemd-run", "restarting", "enabled", "docker"):
        assert f" {unit}.service" in told
    for unit in ("in-a-scope.scope", "by-timer.timer", "later.timer"):
        assert f" {unit}" in told
    assert [line for line in image.text if line.startswith("warning")] == [
        "warning: a script has removed files of the build from /run/cos-customizer; they are put back",
        "warning: /home/app/.docker/config.json has credentials in it, and will be in the image",
    ]


@pytest.mark.parametrize(
    ("accident", "reason"),
    [
        ("systemctl stop cos-customizer.service", "a script has stopped the build"),
        ("systemctl halt; sleep 60", "a script has halted the machine"),
        ("rm -rf /run/cos-customizer; kill -9 $PPID", "a script has removed /run/cos-customizer and killed"),
        ("umount -l /var", "cannot record a step in /var/lib/.cos-customizer: has a script removed it?"),
    ],
)
def test_a_script_that_takes_the_build_its_means_fails_it(
    backend: QemuBackend, storage: Storage, accident: str, reason: str
) -> None:
    files = {"accident.sh": accident.encode(), "after.sh": b"echo after"}
    name = f"accident-{abs(hash(accident))}"
    machine, console = build_of(backend, storage, name, files, [script_step(each) for each in files])
    failed = console.until(BuildFailed, BuildSucceeded)
    machine.cut_power()
    assert isinstance(failed, BuildFailed)
    assert failed.reason.startswith(reason)
