"""The step that changes the kernel's command line, run by bash on a boot menu as Container-Optimized OS has it."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.guest_gpu import FOLDER, NAMESPACES, needs_namespaces

from cos_customizer.customizer.spec.steps.kernel_args import KernelArgs

pytestmark = needs_namespaces

MENU = (Path(__file__).parent / "data" / "grub.cfg").read_text()
BEGINNING = (
    "linux /syslinux/vmlinuz.A init=/usr/lib/systemd/systemd boot=local rootwait ro noresume noswap loglevel=7 "
    "noinitrd console=ttyS0 security=apparmor virtio_net.napi_tx=1 cros_efi root=/dev/sda3"
)
"""The first kernel line."""


@dataclass
class Done:
    """What came of a step: its exit code, its output, and whether it has rebooted the machine."""

    code: int
    output: str
    rebooted: bool


class Vm:
    """As much of a builder VM as the step sees: a disk in /sys, its partition 12, the kernel's command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.menu = folder / "esp" / "efi" / "boot" / "grub.cfg"
        self.menu.parent.mkdir(parents=True)
        self.menu.write_text(MENU)
        self.cmdline = 'BOOT_IMAGE=/syslinux/vmlinuz.A loglevel=7 cros_efi "dm=1 vroot none"\n'
        self.root = "254:0"
        self.disk = folder / "block" / "disks" / "nvme0n1"
        for number, name in ((1, "STATE"), (3, "ROOT-A"), (12, "EFI-SYSTEM")):
            partition = self.disk / f"nvme0n1p{number}"
            partition.mkdir(parents=True)
            (partition / "partition").write_text(f"{number}\n")
            (partition / "uevent").write_text(f"MAJOR=259\nDEVNAME={partition.name}\nPARTN={number}\nPARTNAME={name}\n")
        (folder / "block" / "259:3").symlink_to("disks/nvme0n1/nvme0n1p3")
        (folder / "block" / "254:0" / "slaves").mkdir(parents=True)
        (folder / "block" / "254:0" / "slaves" / "nvme0n1p3").symlink_to("../../disks/nvme0n1/nvme0n1p3")
        (folder / "run").mkdir()

    def run(self, before: str = "", **fields: object) -> Done:
        """Run the step as steps.sh does."""
        step = KernelArgs.model_validate(fields)
        (self.folder / "cmdline").write_text(self.cmdline)
        words = shlex.join(f"{name}={value}" for name, value in step.settings(gpu=False))
        script = f"""
            /bin/mount --bind {self.folder}/block /sys/dev/block
            /bin/mount --bind {self.folder}/cmdline /proc/cmdline
            set -u; shopt -s nullglob dotglob globstar
            directory={self.folder}/run kind=kernel-args
            . {FOLDER}/steps.sh; . {FOLDER}/steps/kernel_args.sh
            mountpoint() {{ echo {self.root}; }}
            mount() {{
              [[ $* == '-t vfat '*' /dev/nvme0n1p12 '* ]] && /bin/mount --bind {self.folder}/esp "${{@: -1}}"
            }}
            systemctl() {{ echo "systemctl $*"; }}
            {before}
            (step_kernel_args {words})
            code=$?
            grep -c {self.folder}/run/efi /proc/mounts
            exit "$code"
        """
        done = subprocess.run(
            [*NAMESPACES, "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        output, left = re.fullmatch(r"(.*?)(\d+)\n", done.stdout, re.DOTALL).groups()  # type: ignore[union-attr]
        assert left == "0", "nothing is left mounted"
        assert [path.name for path in self.menu.parent.iterdir()] == ["grub.cfg"][: self.menu.exists()]
        return Done(done.returncode, output, "systemctl --no-block reboot\n" in output)

    def lines(self) -> list[str]:
        """The kernel lines."""
        return [line.strip() for line in self.menu.read_text().splitlines() if line.startswith("  linux")]


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


CHANGES = {
    "append": ({"append": "panic=10 quiet"}, f"{BEGINNING} panic=10 quiet"),
    "what is there": ({"append": "panic=10 console=ttyS0 loglevel=7"}, f"{BEGINNING} panic=10"),
    "a second of its name": ({"append": "console=ttyS1,115200"}, f"{BEGINNING} console=ttyS1,115200"),
    "quotes": ({"append": 'a="b c" d="e;f{g}"'}, f'{BEGINNING} a="b c" d="e;f{{g}}"'),
    "needless quotes": ({"append": '"a=b" c="d"'}, f"{BEGINNING} a=b c=d"),
    "remove": ({"remove": "noswap loglevel"}, BEGINNING.replace(" noswap loglevel=7", "")),
    "one value": ({"remove": "console=ttyS0 loglevel=4"}, BEGINNING.replace(" console=ttyS0", "")),
    "hyphens are underscores": ({"remove": "virtio-net.napi-tx"}, BEGINNING.replace(" virtio_net.napi_tx=1", "")),
    "replace": ({"replace": "loglevel=4"}, BEGINNING.replace("loglevel=7", "loglevel=4")),
    "replace what is not there": ({"replace": "panic=10"}, f"{BEGINNING} panic=10"),
    "all at once": (
        {"append": "a=1", "remove": "ro", "replace": "loglevel=4 b=2"},
        BEGINNING.replace(" ro ", " ").replace("loglevel=7", "loglevel=4") + " b=2 a=1",
    ),
}


@pytest.mark.parametrize(("fields", "line"), CHANGES.values(), ids=CHANGES)
def test_a_kernel_line_becomes_this_and_the_same_step_again_changes_nothing(
    vm: Vm, fields: dict[str, str], line: str
) -> None:
    done = vm.run(**fields)
    assert (done.code, done.rebooted) == (0, False)
    assert vm.lines()[0] == line
    assert f"kernel-args: line 14: {line}\n" in done.output
    changed = vm.menu.read_text()
    assert vm.run(**fields).output == "kernel-args: there is nothing to change\n"
    assert vm.menu.read_text() == changed


def test_every_kernel_line_is_changed_all_else_stays_and_the_verity_entry_is_the_last(vm: Vm) -> None:
    vm.run(append='a="b c"', replace="loglevel=4")
    before, after = MENU.splitlines(), vm.menu.read_text().splitlines()
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if not old.startswith("  linux "):
            assert new == old
            continue
        head, mark, verity = old.replace("loglevel=7", "loglevel=4").partition(" dm")
        assert new == f'{head} a="b c"{mark}{verity}'


def test_an_argument_that_is_given_more_than_once_is_replaced_by_one(vm: Vm) -> None:
    vm.menu.write_text("linux16\t/vmlinuz console=ttyS0  console=tty0 'x=a b' console=ttyS0 ro")
    assert vm.run(replace="console=ttyS1").code == 0
    assert vm.menu.read_text() == "linux16 /vmlinuz console=ttyS1 'x=a b' ro\n"
    assert vm.run(replace='console=ttyS0 x="a b"').code == 0
    assert vm.menu.read_text() == "linux16 /vmlinuz console=ttyS0 'x=a b' ro\n"


def test_a_root_without_verity_is_on_the_boot_disk_too(vm: Vm) -> None:
    vm.root = "259:3"
    assert vm.run(append="a").code == 0
    assert vm.lines()[0] == f"{BEGINNING} a"


@pytest.mark.parametrize(
    ("cmdline", "rebooted"),
    [
        ("BOOT_IMAGE=/vmlinuz loglevel=7 cros_efi", True),
        ('BOOT_IMAGE=/vmlinuz loglevel=4 cros_efi "a=b c"', False),
        ('BOOT_IMAGE=/vmlinuz loglevel=4 cros_efi "a=b c" noswap', True),
    ],
)
def test_it_reboots_if_the_kernel_was_not_booted_like_this(vm: Vm, cmdline: str, rebooted: bool) -> None:
    vm.cmdline = cmdline
    fields = {"append": 'a="b c"', "remove": "noswap", "replace": "loglevel=4"}
    assert vm.run(**fields, reboot=True).rebooted == rebooted
    assert vm.run(**fields, reboot=True).rebooted == rebooted, "it may have been cut off before"
    assert not vm.run(**fields).rebooted


def test_a_command_line_that_the_kernel_would_cut_off_is_refused_and_nothing_written(vm: Vm) -> None:
    longest = next(line for line in vm.lines() if "dm-mod.create" in line)
    room = 2047 - len("BOOT_IMAGE=" + longest.removeprefix("linux ")) - len(" a=")
    assert vm.run(append=f"a={'x' * room}").code == 0
    before = vm.menu.read_text()
    done = vm.run(append=f"b{'x' * 9}")
    assert done.code == 1
    assert "the command line of /syslinux/vmlinuz.B would have 2058 characters; the kernel reads 2047" in done.output
    assert vm.menu.read_text() == before


def no_partition(vm: Vm) -> None:
    (vm.disk / "nvme0n1p12" / "partition").write_text("15\n")


def another_name(vm: Vm) -> None:
    (vm.disk / "nvme0n1p12" / "uevent").write_text("DEVNAME=nvme0n1p12\nPARTNAME=data\n")


def another_root(vm: Vm) -> None:
    vm.root = "0:25"  # an overlay


def no_menu(vm: Vm) -> None:
    vm.menu.unlink()


def no_kernel_line(vm: Vm) -> None:
    vm.menu.write_text("# nothing to boot: linux\n")


def open_quote(vm: Vm) -> None:
    vm.menu.write_text('set a=1\nlinux /vmlinuz a="b c\n')


NOT_COS = "the boot disk has no partition 12 named EFI-SYSTEM: this is not Container-Optimized OS"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_partition, NOT_COS),
        (another_name, NOT_COS),
        (another_root, NOT_COS),
        (no_menu, "there is no efi/boot/grub.cfg on /dev/nvme0n1p12: this is not Container-Optimized OS"),
        (no_kernel_line, "grub.cfg has no kernel line"),
        (open_quote, "line 2 of grub.cfg has a quotation mark that is not closed"),
    ],
)
def test_where_there_is_no_such_boot_menu_it_says_so(vm: Vm, spoil: object, reason: str) -> None:
    spoil(vm)  # type: ignore[operator]
    done = vm.run(append="a")
    assert (done.code, done.output) == (1, f"kernel-args: {reason}\n")


@pytest.mark.parametrize("program", ["sync", "mv"])
def test_a_menu_that_cannot_be_written_stays_as_it_was(vm: Vm, program: str) -> None:
    done = vm.run(before=f"{program}() {{ return 1; }}", append="a")
    assert (done.code, done.output.splitlines()[-1]) == (1, "kernel-args: cannot write grub.cfg")
    assert vm.menu.read_text() == MENU
