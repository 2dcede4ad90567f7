"""What seal-oem and disable-auto-update make of boot menus in the forms of old and new milestones of COS, by bash."""

from pathlib import Path

import pytest
from support.guest_boot_menu import MENU, Done, MenuVm
from support.guest_gpu import needs_namespaces

pytestmark = needs_namespaces

UUID, HASH, SALT = "0abc-uuid", "5e" * 32, "a7" * 32
BOTH = "systemd.mask=usr-share-oem.mount systemd.mask=update-engine.service"
UPDATES = "systemd.mask=update-engine.service"

ROOT_OLD = (
    "vroot none ro 1,0 4077568 verity payload=PARTUUID=R hashtree=PARTUUID=R hashstart=4077568 alg=sha256 "
    f"root_hexdigest={'9' * 64} salt={'7' * 64}"
)
ROOT_NEW = f"vroot,,,ro,0 4077568 verity 0 PARTUUID=R PARTUUID=R 4096 4096 509696 509696 sha256 {'9' * 64} {'7' * 64}"
OEM_OLD = (
    f"oemroot none ro 1, 0 32768 verity payload=PARTUUID={UUID} hashtree=PARTUUID={UUID} hashstart=32768 alg=sha256 "
    f"root_hexdigest={HASH} salt={SALT}"
)
OEM_NEW = f"oemroot,,,ro,0 32768 verity 0 PARTUUID={UUID} PARTUUID={UUID} 4096 4096 4096 4096 sha256 {HASH} {SALT}"

SEALED: dict[str, tuple[str, str]] = {
    "old": (f'cros_efi dm="1 {ROOT_OLD}"', f'cros_efi {BOTH} dm="2 {ROOT_OLD},{OEM_OLD}"'),
    "new": (f'cros_efi dm-mod.create="{ROOT_NEW}"', f'cros_efi {BOTH} dm-mod.create="{ROOT_NEW};{OEM_NEW}"'),
    "not the last argument": (
        f'cros_efi dm-mod.create="{ROOT_NEW}" root=/dev/dm-0 ro',
        f'cros_efi {BOTH} dm-mod.create="{ROOT_NEW};{OEM_NEW}" root=/dev/dm-0 ro',
    ),
    "old, not the last argument": (f'dm="1 {ROOT_OLD}" cros_efi', f'dm="2 {ROOT_OLD},{OEM_OLD}" cros_efi {BOTH}'),
    "updates disabled before": (
        f'cros_efi {UPDATES} dm="1 {ROOT_OLD}"',
        f'cros_efi systemd.mask=usr-share-oem.mount {UPDATES} dm="2 {ROOT_OLD},{OEM_OLD}"',
    ),
    "masked elsewhere in the line": (
        f'systemd.mask=usr-share-oem.mount cros_efi dm="1 {ROOT_OLD}" {UPDATES}',
        f'systemd.mask=usr-share-oem.mount cros_efi dm="2 {ROOT_OLD},{OEM_OLD}" {UPDATES}',
    ),
    "sealed before, old": (
        f'cros_efi {BOTH} dm="2 {ROOT_OLD},oemroot none ro 1, 0 8 verity payload=PARTUUID=X salt=1"',
        f'cros_efi {BOTH} dm="2 {ROOT_OLD},{OEM_OLD}"',
    ),
    "sealed before, new": (
        f'cros_efi {BOTH} dm-mod.create="{ROOT_NEW};oemroot,,,ro,0 8 verity 0 X X 4096 4096 1 1 sha256 1 2"',
        f'cros_efi {BOTH} dm-mod.create="{ROOT_NEW};{OEM_NEW}"',
    ),
    "sealed before, in front": (
        f'cros_efi dm-mod.create="oemroot,,,ro,0 8 verity 0 X X 4096 4096 1 1 sha256 1 2;{ROOT_NEW}"',
        f'cros_efi {BOTH} dm-mod.create="{ROOT_NEW};{OEM_NEW}"',
    ),
    "a device with two targets": (
        f'cros_efi dm="2 pair none ro 2,0 8 linear /dev/a 0,8 8 linear /dev/b 0,{ROOT_OLD}"',
        f'cros_efi {BOTH} dm="3 pair none ro 2,0 8 linear /dev/a 0,8 8 linear /dev/b 0,{ROOT_OLD},{OEM_OLD}"',
    ),
    "single quotes": (f"cros_efi dm='1 {ROOT_OLD}'", f"cros_efi {BOTH} dm='2 {ROOT_OLD},{OEM_OLD}'"),
    "quotes around it all": (
        f'cros_efi "dm-mod.create={ROOT_NEW}"',
        f'cros_efi {BOTH} "dm-mod.create={ROOT_NEW};{OEM_NEW}"',
    ),
    "a semicolon at the end": (
        f'cros_efi dm-mod.create="{ROOT_NEW};"',
        f'cros_efi {BOTH} dm-mod.create="{ROOT_NEW};{OEM_NEW}"',
    ),
    "an underscore": (f'cros_efi dm_mod.create="{ROOT_NEW}"', f'cros_efi {BOTH} dm_mod.create="{ROOT_NEW};{OEM_NEW}"'),
    "two of cros_efi": (
        f'cros_efi cros_efi dm="1 {ROOT_OLD}"',
        f'cros_efi {BOTH} cros_efi dm="2 {ROOT_OLD},{OEM_OLD}"',
    ),
}


@pytest.fixture
def vm(tmp_path: Path) -> MenuVm:
    return MenuVm(tmp_path)


def seal(vm: MenuVm) -> Done:
    return vm.run("seal-oem", "seal_menu", f"oem_blocks=4096 uuid={UUID} hash={HASH} salt={SALT}")


def disable(vm: MenuVm) -> Done:
    return vm.run("disable-auto-update", "step_disable_auto_update")


@pytest.mark.parametrize(("before", "after"), SEALED.values(), ids=SEALED)
def test_a_line_is_sealed_wherever_its_verity_argument_stands_and_a_second_seal_changes_nothing(
    vm: MenuVm, before: str, after: str
) -> None:
    vm.menu.write_text(f"set a=1\nmenuentry x {{\n  linux /syslinux/vmlinuz.A ro {before}\n}}\n")
    done = seal(vm)
    assert (done.code, vm.lines()) == (0, [f"linux /syslinux/vmlinuz.A ro {after}"])
    assert f"seal-oem: line 3: linux /syslinux/vmlinuz.A ro {after}\n" in done.output
    again = vm.menu.read_text()
    assert again == f"set a=1\nmenuentry x {{\n  linux /syslinux/vmlinuz.A ro {after}\n}}\n"
    assert seal(vm).code == 0
    assert vm.menu.read_text() == again


def test_of_a_whole_menu_every_line_with_verity_is_sealed_and_every_line_with_cros_efi_masked(vm: MenuVm) -> None:
    assert seal(vm).code == 0
    for old, new in zip(MENU.splitlines(), vm.menu.read_text().splitlines(), strict=True):
        expected = old.replace(" cros_efi ", f" cros_efi {BOTH} ") if old.startswith("  linux ") else old
        if ' dm="1 ' in old:
            expected = f'{expected[:-1]},{OEM_OLD}"'.replace('dm="1 ', 'dm="2 ')
        if " dm-mod.create=" in old:
            expected = f'{expected.partition(";")[0]};{OEM_NEW}"'
        assert new == expected


def test_a_line_without_cros_efi_is_sealed_all_the_same_where_another_has_it(vm: MenuVm) -> None:
    vm.menu.write_text(f'  linux /a cros_efi x\n  linux /b dm="1 {ROOT_OLD}"\n  linux /c y\n')
    assert seal(vm).code == 0
    assert vm.lines() == [f"linux /a cros_efi {BOTH} x", f'linux /b dm="2 {ROOT_OLD},{OEM_OLD}"', "linux /c y"]


def test_updates_are_disabled_on_every_line_once(vm: MenuVm) -> None:
    assert disable(vm).code == 0
    assert vm.menu.read_text() == MENU.replace(" cros_efi ", f" cros_efi {UPDATES} ")
    assert disable(vm).output == "disable-auto-update: there is nothing to change\n"
    seal(vm)
    assert all(line.count(f"cros_efi {BOTH} ") == 1 for line in vm.lines())
    assert disable(vm).output == "disable-auto-update: there is nothing to change\n"


NO_CROS_EFI = "no kernel line of grub.cfg has the argument cros_efi: it is not that of Container-Optimized OS"
NO_VERITY = "no kernel line of grub.cfg has dm= or dm-mod.create=: the image has no verified root file system"
REFUSED = {
    "no verity": ("linux /a cros_efi root=/dev/sda3\n", NO_VERITY),
    "empty": ('linux /a cros_efi dm-mod.create=""\n', NO_VERITY),
    "no cros_efi": (f'linux /a dm-mod.create="{ROOT_NEW}"\n', NO_CROS_EFI),
    "no count": (
        'linux /a cros_efi dm="vroot none ro,0 8 verity"\n',
        "line 1 of grub.cfg has dm= in an unknown form: vroot none ro,0 8 verity",
    ),
    "fewer targets than it says": (
        'linux /a cros_efi dm="1 vroot none ro 2,0 8 verity"\n',
        "line 1 of grub.cfg has dm= in an unknown form: 1 vroot none ro 2,0 8 verity",
    ),
    "strange quotes": (
        """linux /a cros_efi dm-mod.create="vroot,,,ro,"'0 8'\n""",
        """line 1 of grub.cfg has quotation marks in an unknown way: dm-mod.create="vroot,,,ro,"'0 8'""",
    ),
    "too long": (
        f'linux /a {"x" * 1700} cros_efi dm-mod.create="{ROOT_NEW}"\n',
        "line 1 of grub.cfg is too long: the command line of /a would have",
    ),
}


@pytest.mark.parametrize(("menu", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_menu_that_cannot_be_sealed_stays_as_it_is_and_it_says_why(vm: MenuVm, menu: str, reason: str) -> None:
    vm.menu.write_text(menu)
    done = seal(vm)
    assert (done.code, vm.menu.read_text()) == (1, menu)
    assert f"seal-oem: {reason}" in done.output.splitlines()[-1]


def test_updates_cannot_be_disabled_in_a_menu_that_is_not_of_cos(vm: MenuVm) -> None:
    vm.menu.write_text("linux /a ro\n")
    done = disable(vm)
    assert (done.code, done.output) == (1, f"disable-auto-update: {NO_CROS_EFI}\n")
    assert vm.menu.read_text() == "linux /a ro\n"
