"""The guest on a real virtual machine: scripts that reboot or fill the disk, and what of it all stays on the disk.

A boot takes 15 to 25 s without hardware acceleration, so each build tries many things at once.
"""

from dataclasses import replace

import pytest
import yaml
from support.guest_machines import Console, Storage, build_of, power_on, stop
from support.guest_scripts import script_step
from support.waiting import wait_for

from cos_customizer.emulator.machines.backend import Backend, Machine
from cos_customizer.guest.protocol import BuildFailed, BuildSucceeded, StepFailed, StepPlace, StepStarted, StepSucceeded

pytestmark = pytest.mark.vm

SECRET = 's3cret it\'s $(reboot) "of"\nthe builder'


def build(backend: Backend, storage: Storage, name: str, *scripts: str) -> tuple[Machine, Console]:
    """Start a build of these scripts."""
    steps = [script_step(f"{number}.sh", {"SECRET": SECRET}) for number in range(1, len(scripts) + 1)]
    return build_of(backend, storage, name, {f"{n}.sh": s.encode() for n, s in enumerate(scripts, start=1)}, steps)


FILL_THE_DISK = """
fallocate -l $(($(stat -f -c '%a * %S' /var))) /var/filler 2>/dev/null
cat /dev/zero >/var/filler2 2>/dev/null
for i in {1..5000}; do : >"/var/lib/filler-$i" || break; done 2>/dev/null
"""

# Something in every place that is cleaned, and something that is kept.
LITTER = r"""
for place in /var/cache /var/lib/systemd /var/tmp /tmp /var/lib/crash_reporter /var/lib/metrics /var/lib/update_engine \
    /var/lib/whitelist /var/lib/cloud /var/log/journal /var/log/audit /etc/netplan /mnt/stateful_partition/etc/ssh \
    /etc/docker /root; do
  mkdir -p "$place/litter with space/$RANDOM"
  echo litter >"$place/.litter"
done
mkdir -p /var/cache/{apt,debconf} /var/lib/systemd/deb-systemd-helper-enabled /var/log/app
echo kept | tee /var/cache/{apt,debconf}/kept /var/lib/systemd/deb-systemd-helper-enabled/kept /var/lib/kept >/dev/null
echo litter | tee /etc/docker/key.json /etc/ssh/ssh_host_rsa_key /var/lib/systemd/random-seed >/dev/null
echo litter >/var/log/app/app.log
mkdir -p /var/tmp/mounted && mount -t tmpfs none /var/tmp/mounted && touch /var/tmp/mounted/file
mkdir -p /var/lib/elsewhere && touch /var/lib/elsewhere/file && mkdir -p /var/tmp/bound
mount --bind /var/lib/elsewhere /var/tmp/bound
"""

# /var and /home are on the stateful partition. (The patterns do not match themselves, in this boot's own user-data.)
LOOK_AROUND = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
{
  find / /mnt/stateful_partition -xdev -regex '.*\(lit[t]er\|cos-customize[r]\|fille[r]\).*'
  find /mnt/stateful_partition -name mounted -o -name bound -o -name random-seed
  grep -rls -e s3cre[t] -e lit[t]er -e n0nc[e] /mnt/stateful_partition /root /usr/share/oem
  systemctl list-unit-files 'cos-customize[r]*' --no-legend
} | sed 's/^/left: /'
for file in /etc/docker/key.json /etc/ssh/ssh_host_rsa_key /mnt/stateful_partition/etc; do
  [[ ! -e $file ]] || echo "left: $file"
done
for file in /var/cache/apt/kept /var/cache/debconf/kept /var/lib/systemd/deb-systemd-helper-enabled/kept /var/lib/kept \
    /var/lib/elsewhere/file /var/lib/hello; do
  [[ -e $file ]] && echo "kept: $file"
done
echo "app.log: $(stat -c %s /var/log/app/app.log) bytes"
cat /var/lib/hello
echo 'looked around'
"""


@pytest.mark.vital
def test_a_build_from_its_first_step_to_the_image(backend: Backend, storage: Storage) -> None:
    scripts = [
        # 1: what a script gets to see; it reads its input, and prints bytes that are no text and no line.
        r"""
        echo "in $PWD as $(id -un) at home in $HOME with $SECRET"
        cat; read -r line || echo "no input"
        [[ ! -t 1 ]] && echo "no terminal"
        printf 'binary \x00\xff\x1b[31m\n'
        (touch /usr/no || true) 2>&1 | grep -o 'Read-only file system'
        [[ $(mount) == *'tmpfs on /root '* ]] && echo "/root in memory"
        yes | head -1
        echo BuildSucceeded[n0nce]:
        printf 'no end'
        """,
        # 2: leaves a process that holds its output open, for much longer than the build has to wait for it.
        "(sleep 600; echo late) & echo left running; echo boot $(cat /proc/sys/kernel/random/boot_id)",
        # 3: reboots at its end.
        LITTER + "\necho Hello >/var/lib/hello\nreboot",
        # 4: runs after the reboot, fills the disk, and is content with that.
        FILL_THE_DISK
        + "echo x >/var/more || echo full\nls -A -I .docker /root | wc -l\n"
        + "echo boot $(cat /proc/sys/kernel/random/boot_id)\nexit 0",
        # 5: still has its turn, with the disk full.
        "rm -rf /var/filler* /var/lib/filler-*\n"
        + LITTER
        + "\n(trap '' TERM; while :; do sleep 1; done) >/dev/null 2>&1 &",
    ]
    machine, console = build(backend, storage, "good", *scripts)
    console.until(BuildSucceeded, BuildFailed)

    labels = [f"run-script {number}.sh" for number in range(1, 6)]
    assert console.markers == [
        marker
        for number, label in enumerate(labels, start=1)
        for marker in (StepStarted(number, label), _succeeded(console, number))
    ] + [BuildSucceeded()]
    text = console.text
    first = text.index('in /var/lib/.cos-customizer/context as root at home in /root with s3cret it\'s $(reboot) "of"')
    assert text[first + 1 : first + 10] == [
        "the builder",
        "no input",
        "no terminal",
        "binary ␀�",
        "Read-only file system",
        "/root in memory",
        "y",
        "BuildSucceeded[n0nce]:",
        "no end",
    ]
    assert "fetched the build context" in text[0]
    assert sum("fetched the build context" in line for line in text) == 1, "once, not again after the reboot"
    assert "late" not in text, "it was not waited for"
    assert "full" in text
    assert text[text.index("full") + 1] == "0", "/root is empty after a reboot, but for docker's credentials"
    assert len({line for line in text if line.startswith("boot ")}) == 2, "it did reboot"
    unkept = [line for line in text if "will not be in the image" in line or "will be in the image again" in line]
    assert unkept == ["warning: /etc/docker/.litter will not be in the image (COS keeps no /etc)"]

    # The last marker is repeated, lest the console lose it, and told once; then the machine halts, and stays on.
    def halted() -> bool:
        console.read()
        return b"System halted" in machine.serial_output(1, 0).contents

    wait_for(halted, lambda: "does not halt")
    console.read()
    assert console.raw.count(b"\nBuildSucceeded[n0nce]:") >= 3
    assert console.markers[-1] == BuildSucceeded()
    assert console.markers.count(BuildSucceeded()) == 1
    assert machine.running, "halted, not powered off"
    machine.cut_power()

    backend.create_image("good-image", "good")
    commands = {"runcmd": [["bash", "-c", LOOK_AROUND]]}
    copy = power_on(backend, "copy", "good-image", {"user-data": "#cloud-config\n" + yaml.safe_dump(commands)})
    console = Console(copy, "n0nce")
    console.until("looked around")
    copy.cut_power()
    assert console.text == [
        "kept: /var/cache/apt/kept",
        "kept: /var/cache/debconf/kept",
        "kept: /var/lib/systemd/deb-systemd-helper-enabled/kept",
        "kept: /var/lib/kept",
        "kept: /var/lib/elsewhere/file",
        "kept: /var/lib/hello",
        "app.log: 0 bytes",
        "Hello",
        "looked around",
    ]


def _succeeded(console: Console, number: int) -> StepSucceeded:
    return next(event for event in console.events if isinstance(event, StepSucceeded) and event.step == number)


def test_a_script_that_fails_after_it_filled_the_disk(backend: Backend, storage: Storage) -> None:
    machine, console = build(
        backend, storage, "full", "echo one", FILL_THE_DISK + "echo full >&2; exit 3", "echo never"
    )
    console.until(BuildFailed, BuildSucceeded)
    assert console.markers[2:] == [
        StepStarted(2, "run-script 2.sh"),
        StepPlace(2, "2.sh", 5, "exit 3"),
        StepFailed(2, 3, "exited with 3"),
        BuildFailed(2, 3, "exited with 3"),
    ]
    assert "full" in console.text
    assert "never" not in console.text
    machine.cut_power()


def test_a_reboot_in_the_middle_of_a_script(backend: Backend, storage: Storage) -> None:
    machine, console = build(backend, storage, "cut", "echo once >>/var/lib/once\nreboot\nsleep 600", "echo never")
    console.until(StepStarted)
    failed = console.until(BuildFailed, BuildSucceeded)
    assert isinstance(failed, BuildFailed)
    assert (failed.step, failed.exit_code) == (1, None)
    assert failed.reason == "was interrupted by a reboot before it finished"
    assert [type(marker) for marker in console.markers] == [StepStarted, StepFailed, BuildFailed], "it ran once"
    stop(machine)


BOOT_ID = "echo boot $(cat /proc/sys/kernel/random/boot_id)\n"
CUT_ONCE = "echo run >>/var/lib/runs; [[ $(wc -l </var/lib/runs) == 2 ]] || { reboot; sleep 600; }\n"


@pytest.mark.parametrize("makes_image", [True, False], ids=["builder VM", "test VM"])
def test_scripts_that_ask_for_reboots_and_one_that_is_repeated(
    makes_image: bool, backend: Backend, storage: Storage
) -> None:
    scripts = [BOOT_ID + "exit 3010", BOOT_ID + CUT_ONCE + "echo whole", BOOT_ID + "exit 3010"]
    files = {f"{number}.sh": script.encode() for number, script in enumerate(scripts, start=1)}
    first, repeated, last = map(script_step, files)
    steps = [first, replace(repeated, repeatable=True), last]
    name = f"reboots-{str(makes_image).lower()}"
    machine, console = build_of(backend, storage, name, files, steps, makes_image=makes_image)
    end = console.until(BuildSucceeded, BuildFailed)
    assert end == BuildSucceeded()
    assert [type(marker) for marker in console.markers] == [
        *(StepStarted, StepSucceeded),
        *(StepStarted, StepStarted, StepSucceeded),
        *(StepStarted, StepSucceeded),
        BuildSucceeded,
    ]
    text = [line for line in console.text if not line.startswith(("boot ", "fetched", "warning: "))]
    assert text[:4] == [
        "step 1 asks for a reboot",
        "step 2 was interrupted by a reboot, and is run again",
        "whole",
        "step 3 asks for a reboot",
    ]
    boots = [line for line in console.text if line.startswith("boot ")]
    assert [boots.index(boot) for boot in boots] == [0, 1, 2, 2], "each in the boot that it belongs to"
    machine.cut_power()
