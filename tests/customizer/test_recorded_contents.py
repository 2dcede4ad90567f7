"""What a builder VM has recorded is read as data: whole where it is well-formed, refused in words where it is not."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable

import pytest
from support.packed_contents import packed

from cos_customizer.customizer.contents import kernel_line, reading, texts
from cos_customizer.customizer.contents.inventory import Container, File, Inventory, Package, Partition
from cos_customizer.customizer.contents.reading import empty_contents, read_contents
from cos_customizer.customizer.errors import CustomizerError

ID = "sha256:" + "a" * 64
DOCKER = f'{{"Id":"{ID}","RepoTags":["b:1","a:1"],"RepoDigests":null,"Layers":["sha256:1","sha256:2"],"Size":5}}'
LAYERS = '["sha256:1","sha256:2"]'
VERITY = (
    f"vroot,,,ro,0 8 verity 0 PARTUUID=1 PARTUUID=1 4096 4096 1 1 sha256 {'ab' * 32} salt;"
    f"oemroot,,,ro,0 8 verity 0 PARTUUID=2 PARTUUID=2 4096 4096 1 1 sha256 {'CD' * 32} salt"
)
MENU = f"""set timeout=0
menuentry "local image A" {{
  linux /syslinux/vmlinuz.A console=ttyS0 root=/dev/sda3
}}
menuentry "verified image A" {{
  linux /syslinux/vmlinuz.A console=ttyS0 cros_efi systemd.mask=a.service root=/dev/dm-0 dm-mod.create="{VERITY}"
}}
"""
RUNNING = "BOOT_IMAGE=/syslinux/vmlinuz.A console=ttyS0 cros_efi root=/dev/dm-0"


def inventory(**members: bytes) -> Inventory:
    """The inventory of a machine whose programs say this."""
    return read_contents(io.BytesIO(packed(**{f"after__{name}": said for name, said in members.items()}))).after


def record(fields: str, path: str, target: str = "") -> bytes:
    return b"".join(each.encode(errors="surrogateescape") + b"\0" for each in (fields, path, target))


def test_a_whole_machine_is_read() -> None:
    odd = "/var/odd \udcff\n\tname"
    digest = "b" * 64
    found = inventory(
        **{
            "os-release": b'NAME="Container-Optimized OS"\nID=cos\n# no\nVERSION_ID=125\n',
            "packages.json": b'{"installedPackages":[{"category":"app-admin","name":"sudo","version":"1.9",'
            b'"ebuild_version":"1.9-r1"}],"buildTimePackages":[{"name":"gcc","version":"1"}]}',
            "dpkg": b"ii \tbash\t5.2-1\tamd64\tbash\nrc \tgone\t1\tall\tgone\nii \tlibc6\t2.36\tamd64\tglibc\n",
            "rpm": b"bash\t(none):5.1-6\tx86_64\tbash-5.1-6.src.rpm\ngpg-pubkey\t(none):1-1\t(none)\t(none)\n",
            "docker": DOCKER.encode(),
            "files": record("d 755 0 0 4096", "/var")
            + record("f 4644 1000 5 3", odd)
            + record("f 600 0 0 0", "/var/empty")
            + record("f 600 0 0 7", "/var/unread")
            + record("l 777 0 0 4", "/var/link", "odd \t"),
            "digests": f"{digest}  {odd}\0".encode(errors="surrogateescape"),
            "units": b"docker.service enabled enabled\nx@.service static -\na.service enabled enabled\n",
            "boot-menu": MENU.encode(),
            "cmdline": RUNNING.encode(),
            "partitions": b"label: gpt\nsector-size: 512\n\n/dev/sda1 : start=2048, size=8, "
            b'type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=1, name="STATE"\n'
            b"/dev/sda12 : start= 9, size= 16, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n",
            "file-systems": b"/dev/sda1 ext4\n/dev/sda12 vfat\n",
            "modules": b"filename:       /var/lib/nvidia/nvidia-uvm.ko\nversion:        535.1\nlicense: x\n"
            b"filename:       /var/x.ko.xz\nsrcversion:     ABC\n",
            "nvidia": b"535.1\n",
            "left-out": b"files: more than the first 5\n",
        }
    )
    assert found.system == {"NAME": "Container-Optimized OS", "ID": "cos", "VERSION_ID": "125"}
    assert found.packages == (
        Package("cos", "app-admin/sudo", "1.9-r1"),
        Package("deb", "bash", "5.2-1", "amd64"),
        Package("deb", "libc6", "2.36", "amd64", "glibc"),
        Package("rpm", "bash", "5.1-6", "x86_64"),
    )
    assert found.containers == (Container("docker", "", ID, ("a:1", "b:1"), (), ("sha256:1", "sha256:2"), 5),)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert found.files == {
        "/var": File("/var", "directory", 0o755, 0, 0),
        odd: File(odd, "file", 0o4644, 1000, 5, 3, digest),
        "/var/empty": File("/var/empty", "file", 0o600, 0, 0, 0, empty),
        "/var/unread": File("/var/unread", "file", 0o600, 0, 0, 7, None),
        "/var/link": File("/var/link", "link", 0o777, 0, 0, target="odd \t"),
    }
    assert found.units == {
        "docker.service": "enabled",
        "x@.service": "static",
        "a.service": "masked",
    }
    assert found.kernel_arguments[:3] == ("console=ttyS0", "cros_efi", "systemd.mask=a.service")
    assert found.verity == {"vroot": "ab" * 32, "oemroot": "cd" * 32}
    assert found.partitions == (
        Partition(1, "STATE", "0fc63daf-8483-4772-8e79-3d69d8477de4", 4096, "ext4"),
        Partition(12, "", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 8192, "vfat"),
    )
    assert found.modules == {"nvidia": "535.1", "nvidia_uvm": "535.1", "x": "ABC"}
    assert found.left_out == ("files: more than the first 5", "digests of 1 files")


def test_images_of_a_docker_that_does_not_run_are_told_by_what_it_has_left() -> None:
    repositories = f'{{"Repositories":{{"a":{{"a:1":"{ID}","a@sha256:9":"{ID}"}}}}}}'
    untagged = "sha256:" + "c" * 64
    lines = f"{ID}\t{LAYERS}\n{untagged}\t[]\n"
    assert list(texts.stored_docker_images(repositories, lines)) == [
        Container("docker", "", ID, ("a:1",), ("a@sha256:9",), ("sha256:1", "sha256:2")),
        Container("docker", "", untagged),
    ]


def test_images_of_containerd_are_told_by_digest_with_all_their_names() -> None:
    manifest = '{"layers":[{"size":3},{"size":4}]}'
    lines = "".join(f"k8s.io\t{name}\t{ID}\t{manifest}\t{LAYERS}\n" for name in ("r/a:1", f"r/a@{ID}", ID, "r:5/b"))
    assert list(texts.containerd_images(lines)) == [
        Container(
            "containerd", "k8s.io", ID, ("r/a:1", "r:5/b"), (f"r/a@{ID}", f"r:5/b@{ID}"), ("sha256:1", "sha256:2"), 7
        )
    ]


def test_verified_devices_of_old_kernels_are_found_too() -> None:
    (argument,) = kernel_line.split_words(
        'dm="2 vroot none ro 1,0 8 verity payload=1 hashtree=1 root_hexdigest=ab12 salt=1,'
        ' oemroot none ro 1, 0 8 verity payload=2 root_hexdigest=cd34 salt=2"'
    )
    assert kernel_line.verity_of([argument]) == {"vroot": "ab12", "oemroot": "cd34"}


def test_without_a_boot_menu_the_running_kernel_s_arguments_count() -> None:
    assert kernel_line.arguments_of("", "BOOT_IMAGE=/vmlinuz a=1 'b=2 3'") == ("a=1", "b=2 3")


def test_nothing_is_an_inventory_too() -> None:
    assert read_contents(io.BytesIO(empty_contents())).after == Inventory()
    assert empty_contents() == empty_contents()


BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    "a list of files that is cut off": ({"files": b"f 1 0 0 0\0/x\0"}, "after/files: the list of files is cut off"),
    "a file without its end": ({"files": b"f 1 0 0 0\0/x\0\0f 1"}, "cut off"),
    "a file that is none": ({"files": b"hello\0/x\0\0"}, "not a file: 'hello'"),
    "a path that is relative": ({"files": b"f 1 0 0 0\0x\0\0"}, "not a file"),
    "a size beyond reason": ({"files": b"f 1 0 0 " + b"9" * 40 + b"\0/x\0\0"}, "not a file"),
    "a digest that is none": ({"digests": b"xyz  /x\0"}, "not a digest"),
    "packages that are no JSON": ({"packages.json": b"{"}, "after/packages.json: "),
    "packages that are no list": ({"packages.json": b'{"installedPackages":5}'}, "not a JSON list: '5'"),
    "JSON that is nested too deep": ({"packages.json": b"[" * 100_000}, "after/packages.json: "),
    "a package without a name": ({"packages.json": b'{"installedPackages":[{}]}'}, "a package has no name"),
    "columns that are missing": ({"dpkg": b"ii\tbash\n"}, "not 5 columns"),
    "an image that is a number": ({"docker": b"5\n"}, "not a JSON object: '5'"),
    "an image of containerd without a digest": ({"containerd": b"ns\ta\tb\t\t\n"}, "not a digest: 'b'"),
    "a partition without a size": ({"partitions": b"/dev/sda1 : start=1\n"}, "not a partition"),
    "an os-release with an open quotation mark": ({"os-release": b'NAME="x\n'}, "after/os-release: "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_what_its_program_writes_is_refused(case: str) -> None:
    members, message = BROKEN[case]
    with pytest.raises(CustomizerError) as error:
        inventory(**members)
    assert message in error.value.message


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue())


def link_in_place_of_the_files() -> bytes:
    link = tarfile.TarInfo("after/files")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
    return tar_of((tarfile.TarInfo("version"), b"1"), (link, b""))


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "it is empty"),
    "noise": (lambda: random.Random(0).randbytes(5000), "cannot be read"),
    "noise that is compressed": (lambda: gzip.compress(random.Random(0).randbytes(5000)), "cannot be read"),
    "an archive that is cut off": (lambda: packed(after__files=random.Random(0).randbytes(9000))[:-4000], "be read"),
    "one flipped byte": (lambda: flipped(packed(after__units=b"a enabled\n" * 99)), "cannot be read"),
    "another form": (lambda: tar_of((tarfile.TarInfo("version"), b"2")), "of the form '2', and this program reads '1'"),
    "no form at all": (lambda: tar_of((tarfile.TarInfo("x"), b"2")), "of the form ''"),
    "a link": (link_in_place_of_the_files, "after/files is a symbolic link"),
    "a member twice": (
        lambda: tar_of(*[(tarfile.TarInfo("version"), b"1")] * 2),
        "version is there twice",
    ),
    "too many members": (
        lambda: tar_of(*[(tarfile.TarInfo(str(n)), b"") for n in range(200)]),
        "more than 100 members",
    ),
    "a bomb": (lambda: tar_of((tarfile.TarInfo("x"), bytes(70 << 20))), "times its own size"),
}


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_that_is_none_or_too_much_is_refused(case: str) -> None:
    make, message = ARCHIVES[case]
    with pytest.raises(CustomizerError) as error:
        read_contents(io.BytesIO(make()))
    assert message in error.value.message


def test_members_that_lead_elsewhere_are_passed_over() -> None:
    archive = tar_of(
        (tarfile.TarInfo("version"), b"1"),
        *((tarfile.TarInfo(name), b"x") for name in ("/etc/x", "../x", "after/../../x")),
    )
    assert read_contents(io.BytesIO(archive)).after == Inventory()


def test_a_member_that_claims_more_than_it_may_have_is_not_read() -> None:
    info = tarfile.TarInfo("after/files")
    info.size = reading._LONGEST_MEMBER + 1
    archive = gzip.compress(tarfile.TarInfo("version").tobuf() + info.tobuf() + bytes(1 << 20))
    with pytest.raises(CustomizerError, match="cannot be read"):
        read_contents(io.BytesIO(archive))
