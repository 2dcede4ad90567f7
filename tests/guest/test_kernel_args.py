"""The step that changes the kernel's command line, run by bash on a boot menu as Container-Optimized OS has it."""

import shlex
from pathlib import Path

import pytest
from support.guest_boot_menu import MENU, Done, MenuVm
from support.guest_gpu import needs_namespaces

from cos_customizer.customizer.spec.steps.kernel_args import KernelArgs

pytestmark = needs_namespaces

BEGINNING = (
    "linux /syslinux/vmlinuz.A init=/usr/lib/systemd/systemd boot=local rootwait ro noresume noswap loglevel=7 "
    "noinitrd console=ttyS0 security=apparmor virtio_net.napi_tx=1 cros_efi root=/dev/sda3"
)
"""The first kernel line."""


class Vm(MenuVm):
    def change(self, before: str = "", **fields: object) -> Done:
        """Run the step."""
        step = KernelArgs.model_validate(fields)
        words = shlex.join(f"{name}={value}" for name, value in step.settings(gpu=False))
        return self.run("kernel-args", f"step_kernel_args {words}", before)


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
    done = vm.change(**fields)
    assert (done.code, done.rebooted) == (0, False)
    assert vm.lines()[0] == line
    assert f"kernel-args: line 14: {line}\n" in done.output
    changed = vm.menu.read_text()
    assert vm.change(**fields).output == "kernel-args: there is nothing to change\n"
    assert vm.menu.read_text() == changed


def test_every_kernel_line_is_changed_all_else_stays_and_the_verity_entry_is_the_last(vm: Vm) -> None:
    vm.change(append='a="b c"', replace="loglevel=4")
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
    assert vm.change(replace="console=ttyS1").code == 0
    assert vm.menu.read_text() == "linux16 /vmlinuz console=ttyS1 'x=a b' ro\n"
    assert vm.change(replace='console=ttyS0 x="a b"').code == 0
    assert vm.menu.read_text() == "linux16 /vmlinuz console=ttyS0 'x=a b' ro\n"


def test_a_root_without_verity_is_on_the_boot_disk_too(vm: Vm) -> None:
    vm.root = "259:3"
    assert vm.change(append="a").code == 0
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
    assert vm.change(**fields, reboot=True).rebooted == rebooted
    assert vm.change(**fields, reboot=True).rebooted == rebooted, "it may have been cut off before"
    assert not vm.change(**fields).rebooted


def test_a_command_line_that_the_kernel_would_cut_off_is_refused_and_nothing_written(vm: Vm) -> None:
    longest = next(line for line in vm.lines() if "dm-mod.create" in line)
    room = 2047 - len("BOOT_IMAGE=" + longest.removeprefix("linux ")) - len(" a=")
    assert vm.change(append=f"a={'x' * room}").code == 0
    before = vm.menu.read_text()
    done = vm.change(append=f"b{'x' * 9}")
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
    done = vm.change(append="a")
    assert (done.code, done.output) == (1, f"kernel-args: {reason}\n")


@pytest.mark.parametrize("program", ["sync", "mv"])
def test_a_menu_that_cannot_be_written_stays_as_it_was(vm: Vm, program: str) -> None:
    done = vm.change(before=f"{program}() {{ return 1; }}", append="a")
    assert (done.code, done.output.splitlines()[-1]) == (1, "kernel-args: cannot write grub.cfg")
    assert vm.menu.read_text() == MENU
