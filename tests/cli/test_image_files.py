"""`emulator import-image` and `export-image`: disks in files become images, and wrong files are told."""

import os
import subprocess
from pathlib import Path

import pytest
from support.archives import GIB, archive_of
from support.command_line import run
from support.compute_clients import PROJECT, Compute, call
from support.storage_clients import anonymous_bucket

from cos_customizer.emulator.machines.raw_archive import unpack
from cos_customizer.emulator.server import Emulator

IMAGE = f"projects/{PROJECT}/global/images/brought"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def test_an_archive_becomes_an_image_and_leaves_no_object(compute: Compute, tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    flags = ("-family=f", "-guest-os-features=UEFI_COMPATIBLE,GVNIC", "-labels=a=b", "-disk-size-gb=12")
    ran = run("emulator", "import-image", str(archive), "brought", *flags)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"emulator: image projects/{PROJECT}/global/images/brought is ready\n"
    image = compute.images.get(project=PROJECT, image="brought")
    assert (image.status, image.family, image.disk_size_gb, dict(image.labels)) == ("READY", "f", 12, {"a": "b"})
    assert [feature.type_ for feature in image.guest_os_features] == ["UEFI_COMPATIBLE", "GVNIC"]
    assert list(anonymous_bucket().list_blobs()) == []


@pytest.mark.parametrize("suffix", ["raw", "img"])
def test_a_raw_disk_is_packed_with_its_size_rounded_up(compute: Compute, tmp_path: Path, suffix: str) -> None:
    with (tmp_path / f"My-Disk.{suffix}").open("wb") as disk:
        disk.truncate(GIB + 512)
    assert run("emulator", "import-image", str(tmp_path / f"My-Disk.{suffix}")).code == 0
    assert compute.images.get(project=PROJECT, image="my-disk").disk_size_gb == 2


def test_a_refused_archive_leaves_neither_image_nor_object(compute: Compute, tmp_path: Path) -> None:
    ran = run("emulator", "import-image", str(archive_of(tmp_path, "other.img")), "brought")
    assert ran.code == 1
    assert "It should be named ''disk.raw''" in ran.err
    assert compute.names("images") == []
    assert list(anonymous_bucket().list_blobs()) == []


def test_an_image_that_is_there_stays_when_its_name_is_given_again(compute: Compute, tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    compute.image("brought", family="mine")
    ran = run("emulator", "import-image", str(archive), "brought")
    assert ran.code == 1
    assert "already exists" in ran.err
    assert compute.images.get(project=PROJECT, image="brought").family == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("import-image", "nowhere.raw"), 1, "there is no file 'nowhere.raw'"),
        (("import-image", "disk.vmdk"), 2, "is none of the files that hold a disk"),
        (("import-image", "disk.raw", "A_B"), 2, "NAME: "),
        (("import-image",), 2, "Missing argument"),
        (("export-image", "i", "disk.iso"), 2, "is none of the files that hold a disk"),
        (("export-image", "i", "nowhere/disk.raw"), 1, "there is no directory"),
        (("export-image", "i", "disk.raw"), 1, "there is no image 'i'"),
    ],
)
def test_what_cannot_be_done_is_said(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("disk.vmdk", "disk.raw"):
        Path(name).write_bytes(b"")
    ran = run("emulator", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_a_scripted_image_has_nothing_to_export(compute: Compute, tmp_path: Path) -> None:
    compute.image("i")
    ran = run("emulator", "export-image", "i", str(tmp_path / "i.tar.gz"))
    assert ran.code == 1
    assert "images of scripted machines have no content" in ran.err
    assert list(tmp_path.glob("*.tar.gz")) == []


@pytest.mark.vm  # for it needs QEMU's tools, though no VM
@pytest.mark.parametrize("suffix", ["raw", "qcow2", "tar.gz"])
def test_a_disk_comes_out_as_it_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    disk, out = tmp_path / "disk.raw", tmp_path / f"out.{suffix}"
    with disk.open("wb") as file:
        file.write(b"begin")
        file.seek(300 << 20)
        file.write(os.urandom(20 << 20))
        file.truncate(GIB)
    with Emulator(tmp_path / "cloud", "qemu", cache_dir=tmp_path / "cache") as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        assert run("emulator", "import-image", str(disk), "brought").code == 0
        exported = run("emulator", "export-image", "brought", str(out))
        assert exported.code == 0, exported.err
        assert list(anonymous_bucket().list_blobs()) == []
        missing = call(cloud, "POST", "/emulator/exports", {"image": IMAGE, "destination": "gs://no-such-bucket/i"})
        assert (missing[0], "cannot be written" in missing[1]["error"]["message"]) == (500, True)
        assert call(cloud, "POST", "/emulator/exports", {"image": f"{IMAGE}-not", "destination": "gs://b/i"})[0] == 404
        assert call(cloud, "POST", "/emulator/exports", {"image": IMAGE})[0] == 400
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "cloud", "disk.raw", out.name}
    again = tmp_path / "again.raw"
    if suffix == "tar.gz":
        with out.open("rb") as archive:
            unpack(archive, again)
    else:
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(out), str(again)], check=True)
    assert not subprocess.run(["cmp", str(disk), str(again)], check=False).returncode
