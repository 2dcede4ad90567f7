"""What two inventories differ in, and what does not show."""

from dataclasses import replace
from typing import Any

import pytest
from support.inventories import container, directory, file, files, inventory

from cos_customizer.customizer.contents.difference import AREAS, Change, difference
from cos_customizer.customizer.contents.inventory import Container, Package, Partition

OLD = inventory()


def test_an_image_does_not_differ_from_itself() -> None:
    assert not difference(OLD, inventory())


@pytest.mark.parametrize(
    ("area", "other", "change"),
    [
        (
            "system",
            {"ID": "cos", "VERSION": "126"},
            [Change("BUILD_ID", "19216.104.25", None), Change("VERSION", "125", "126")],
        ),
        ("packages", (*OLD.packages, Package("cos", "app-misc/jq", "1.7")), [Change("app-misc/jq", None, "1.7")]),
        ("packages", OLD.packages[:1], [Change("net-misc/curl", "8.9.1", None)]),
        (
            "packages",
            (OLD.packages[0], Package("cos", "net-misc/curl", "8.10")),
            [Change("net-misc/curl", "8.9.1", "8.10")],
        ),
        (
            "packages",
            (*OLD.packages, Package("cos", "net-misc/curl", "8.10")),
            [Change("net-misc/curl", "8.9.1", "8.10, 8.9.1")],
        ),
        (
            "containers",
            (container("docker.io/library/nginx:1.27", "b"),),
            [Change("docker.io/library/nginx:1.27", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}")],
        ),
        (
            "containers",
            (*OLD.containers, Container("containerd", "k8s.io", "sha256:c", (), ("gcr.io/p/app@sha256:d",))),
            [Change("gcr.io/p/app (containerd k8s.io)", None, "sha256:c")],
        ),
        ("containers", (*OLD.containers, Container("docker", "", "sha256:e")), [Change("sha256:e", None, "sha256:e")]),
        (
            "units",
            {"docker.service": "enabled", "update-engine.service": "masked"},
            [Change("update-engine.service", "enabled", "masked")],
        ),
        (
            "kernel_arguments",
            ("cros_efi", "console=ttyS0"),
            [Change("console", "console=ttyS0 console=tty1", "console=ttyS0")],
        ),
        ("kernel_arguments", (*OLD.kernel_arguments, "quiet"), [Change("quiet", None, "quiet")]),
        ("verity", {**OLD.verity, "oemroot": "5" * 64}, [Change("oemroot", None, "sealed")]),
        ("verity", {"vroot": "8" * 64}, [Change("vroot", "9" * 64, "8" * 64)]),
        ("modules", {}, [Change("nvidia", "550.90.07", None)]),
    ],
)
def test_a_change_shows_in_its_area_and_nowhere_else(area: str, other: Any, change: list[Change]) -> None:
    found = difference(OLD, inventory(**{area: other}))

    assert list(getattr(found, area)) == change
    assert [each for each in AREAS if found.area(each)] == [area]
    assert not found.files


def test_a_partition_that_grows_shows_and_one_whose_own_bytes_alone_are_others_does_if_nobody_writes_to_it() -> None:
    state, root = OLD.partitions
    grown = difference(OLD, inventory(partitions=(replace(state, size=8 << 30), root)))
    other_root = difference(OLD, inventory(partitions=(state, replace(root, sha256="4" * 64))))
    other_state = difference(OLD, inventory(partitions=(replace(state, sha256="2" * 64), root)))
    unread = difference(OLD, inventory(partitions=(state, replace(root, sha256=None))))

    assert [(each.name, each.way) for each in grown.partitions] == [("STATE", "changed")]
    assert "8589934592 bytes" in str(grown.partitions[0].after)
    assert [each.name for each in other_root.partitions] == ["ROOT-A"]
    assert not other_state
    assert not unread


def test_partitions_without_a_label_go_by_number() -> None:
    found = difference(
        inventory(partitions=()), inventory(partitions=(Partition(5, "", "", 512), Partition(7, "A", "", 1)))
    )

    assert [(each.name, each.after) for each in found.partitions] == [
        ("partition 5", "number 5, 512 bytes"),
        ("A", "number 7, 1 bytes"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "aspects"),
    [
        (file("/a", "one"), file("/a", "two"), ["content"]),
        (file("/a", "one"), file("/a", "three"), ["content", "size"]),
        (file("/a", "one"), file("/a", "one", mode=0o4755), ["mode"]),
        (file("/a", "one"), file("/a", "one", user=7), ["owner"]),
        (file("/a", "one"), file("/a", "two", mode=0o600, group=7), ["content", "mode", "owner"]),
        (file("/a", kind="link", target="b"), file("/a", kind="link", target="c"), ["target"]),
        (file("/a", kind="link", target="b"), directory("/a"), ["kind", "mode"]),
        (file("/a", "one", sha256=None), file("/a", "three", sha256=None), ["size"]),
    ],
)
def test_of_a_changed_file_it_is_told_what_has_changed(old: Any, new: Any, aspects: list[str]) -> None:
    (change,) = difference(inventory(files=files(old)), inventory(files=files(new))).files

    assert change.way == "changed"
    assert list(change.aspects) == aspects


def test_files_that_have_come_and_gone_show_by_path() -> None:
    old, new = inventory(files=files(file("/b"), file("/c"))), inventory(files=files(file("/a"), file("/b")))

    assert [(each.path, each.way) for each in difference(old, new).files] == [("/a", "added"), ("/c", "removed")]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/machine-id",
        "/etc/ssh/ssh_host_ed25519_key",
        "/var/lib/systemd/random-seed",
        "/usr/lib/python3/dist-packages/a/__pycache__/b.cpython-311.pyc",
        "/boot/initrd.img-6.1.0-18-amd64",
    ],
)
def test_ids_keys_and_what_holds_its_own_time_differ_in_nothing_but_their_bytes(path: str) -> None:
    old = inventory(files=files(file(path, "one")))

    assert not difference(old, inventory(files=files(file(path, "another"))))
    assert difference(old, inventory(files=files(file(path, "another", mode=0o666)))).files[0].aspects == ("mode",)
    assert difference(old, inventory(files={})).files[0].way == "removed"


@pytest.mark.parametrize(
    "path",
    [
        *("/var/cache/ldconfig/aux-cache", "/var/log/journal/1/system.journal", "/tmp/x", "/var/lib/cloud/instance"),
        *("/var/lib/docker/overlay2/1/diff/bin/sh", "/home/chronos/.cache/x", "/var/lib/lost+found"),
    ],
)
def test_caches_and_logs_do_not_show_at_all(path: str) -> None:
    assert not difference(inventory(files=files(file(path, "one"))), inventory(files={}))


@pytest.mark.parametrize(
    "path",
    ["/var/lib/app/cache", "/var/lib/docker/volumes/data/_data/x", "/var/cached", "/home/x/.bashrc", "/var/lib/logs"],
)
def test_what_a_recipe_may_mean_shows(path: str) -> None:
    assert difference(inventory(files={}), inventory(files=files(file(path, "one")))).files


def test_what_a_build_seals_itself_differs_neither_by_its_root_hash_nor_on_the_kernel_line() -> None:
    line = 'dm-mod.create="vroot,,,ro,0 1 verity 0 PARTUUID=a sha256 {} {};oemroot,,,ro,0 1 verity 0 sha256 {} {}"'

    def sealed(root: str, oem: str, salt: str) -> Any:
        argument = line.format(root * 64, "7" * 64, oem * 64, salt * 64)
        return inventory(kernel_arguments=(argument,), verity={"vroot": root * 64, "oemroot": oem * 64})

    assert not difference(sealed("1", "2", "3"), sealed("1", "4", "5"))
    assert [each.name for each in difference(sealed("1", "2", "3"), sealed("6", "2", "3")).kernel_arguments] == [
        "dm-mod.create"
    ]


def test_units_that_a_boot_has_generated_do_not_show() -> None:
    assert not difference(OLD, inventory(units={**OLD.units, "boot.mount": "generated", "run-1.scope": "transient"}))


def test_what_one_side_has_left_out_is_told() -> None:
    found = difference(inventory(left_out=("files below /a",)), inventory(left_out=("files below /a", "packages")))

    assert found.left_out == ("in both images: files below /a", "in the latter: packages")


def test_files_of_which_only_the_size_is_known_are_told_of_and_are_no_difference() -> None:
    unread = file("/var/big", size=7, sha256=None)
    found = difference(inventory(files=files(unread)), inventory(files=files(unread)))

    assert not found
    assert found.left_out == ("bytes of 1 file that only the size is known of",)


def test_a_package_for_a_second_architecture_says_so() -> None:
    packages = tuple(Package("deb", name, "1", "amd64") for name in ("a", "b", "libc6"))
    found = difference(
        inventory(packages=packages), inventory(packages=(*packages, Package("deb", "libc6", "1", "i386")))
    )

    assert found.packages == (Change("libc6", "1", "1, 1 (i386)"),)


def test_sizes_tell_what_files_and_containers_take() -> None:
    old = inventory(files=files(file("/a", "12345"), file("/var/log/x", "1234567890")), containers=())
    new = inventory(files={}, containers=(container("a:1", "a", size=100), container("b:1", "a", size=100)))

    assert [(each.name, each.before, each.after) for each in difference(old, new).sizes] == [
        ("files", 5, 0),
        ("containers", 0, 100),
    ]
