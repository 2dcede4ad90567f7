"""Images from archives in Cloud Storage: what Compute Engine takes, and how it refuses the rest."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import compute_v1
from support.archives import GIB, archive_of, put
from support.compute_clients import PROJECT, Compute
from support.memory import peak_memory

from cos_customizer.emulator.machines.raw_archive import NoImageError, pack, unpack
from cos_customizer.emulator.server import Emulator

BUCKET = f"{PROJECT}_cloudbuild"
OBJECT = "images/image.tar.gz"
SOURCE = f"https://storage.googleapis.com/{BUCKET}/{OBJECT}"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def same(one: Path, other: Path) -> bool:
    """Whether two disks have the same bytes."""
    return not subprocess.run(["cmp", str(one), str(other)], check=False).returncode


def ask(compute: Compute, source: str = SOURCE, sha1: str = "", **fields: object) -> compute_v1.Operation:
    """Ask for an image of an archive."""
    raw = compute_v1.RawDisk(source=source, sha1_checksum=sha1 or None)
    image = compute_v1.Image({"name": "brought", "raw_disk": raw, **fields})
    return compute.wait(compute.images.insert_unary(project=PROJECT, image_resource=image))


@pytest.mark.parametrize(
    "source",
    [
        SOURCE,
        f"gs://{BUCKET}/images/image.tar.gz",
        f"https://storage.cloud.google.com/{BUCKET}/images/image.tar.gz",
        f"https://www.googleapis.com/storage/v1/b/{BUCKET}/o/images%2Fimage.tar.gz",
    ],
)
def test_an_image_is_made_of_an_archive_in_a_bucket(compute: Compute, tmp_path: Path, source: str) -> None:
    archive = archive_of(tmp_path)
    put(archive, BUCKET, OBJECT)
    done = ask(
        compute,
        source,
        hashlib.sha1(archive.read_bytes()).hexdigest(),
        family="f",
        architecture="X86_64",
        guest_os_features=[compute_v1.GuestOsFeature(type_="UEFI_COMPATIBLE")],
    )
    assert not done.error.errors
    image = compute.images.get(project=PROJECT, image="brought")
    assert (image.status, image.disk_size_gb, image.family, image.architecture) == ("READY", 1, "f", "X86_64")
    assert image.archive_size_bytes == archive.stat().st_size
    assert [feature.type_ for feature in image.guest_os_features] == ["UEFI_COMPATIBLE"]
    assert (image.source_type, image.source_disk, image.source_image) == ("RAW", "", "")


def test_an_image_may_be_larger_than_its_disk_and_not_smaller(compute: Compute, tmp_path: Path) -> None:
    put(archive_of(tmp_path, size=2 * GIB), BUCKET, OBJECT)
    assert "smaller" in ask(compute, disk_size_gb=1).error.errors[0].message
    assert compute.images.get(project=PROJECT, image="brought").status == "FAILED"
    compute.ok(compute.images.delete_unary(project=PROJECT, image="brought"))
    assert not ask(compute, disk_size_gb=5).error.errors
    assert compute.images.get(project=PROJECT, image="brought").disk_size_gb == 5


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            {"name": "other.img"},
            "The file inside the tar archive was named ''other.img''. It should be named ''disk.raw''.",
        ),
        ({"form": "ustar"}, "The tar archive format is not supported. Supported formats are: GNU and OLDGNU."),
        ({"form": "posix"}, "The tar archive format is not supported. Supported formats are: GNU and OLDGNU."),
        ({"size": 0}, "is not a valid image"),
        ({"more": "readme"}, "must hold disk.raw alone"),
    ],
)
def test_an_archive_that_compute_engine_does_not_take_is_refused(
    tmp_path: Path, made: dict[str, str], message: str
) -> None:
    archived = archive_of(tmp_path, **{"size": 1 << 20, **made})  # type: ignore[arg-type]
    with archived.open("rb") as archive, pytest.raises(NoImageError) as refused:
        unpack(archive, None)
    assert message in str(refused.value)


@pytest.mark.parametrize(("size", "size_gb"), [(64 << 20, 1), (GIB + 512, 2)])
def test_a_disk_has_whole_gigabytes(tmp_path: Path, size: int, size_gb: int) -> None:
    with archive_of(tmp_path, size=size, form="gnu").open("rb") as archive:
        assert unpack(archive, tmp_path / "unpacked.raw").size_gb == size_gb
    assert (tmp_path / "unpacked.raw").stat().st_size == size_gb * GIB


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00cut off"])
def test_what_is_no_archive_is_no_image(compute: Compute, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    put(tmp_path / "image", BUCKET, OBJECT)
    failure = ask(compute).error.errors[0]
    assert (failure.code, failure.message) == ("INVALID_IMAGE", "The tar archive is not a valid image.")


def test_a_wrong_checksum_is_refused(compute: Compute, tmp_path: Path) -> None:
    put(archive_of(tmp_path), BUCKET, OBJECT)
    assert "SHA1" in ask(compute, sha1="0" * 40).error.errors[0].message


def test_an_object_that_is_not_there_is_refused_at_once(compute: Compute) -> None:
    with pytest.raises(NotFound, match=r"image\.tar\.gz' was not found"):
        ask(compute)
    for source in ("", "gs://bucket", "https://example.com/a/b"):
        with pytest.raises(BadRequest, match=r"resource\.rawDisk\.source"):
            ask(compute, source)


def test_a_disk_is_the_same_after_export_and_import_and_takes_no_room_for_zeros(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = archive_of(tmp_path / "in", size=GIB)
    with archive.open("rb") as opened:
        found = unpack(opened, tmp_path / "disk.raw")
    assert (found.size_gb, found.archive_bytes) == (1, archive.stat().st_size)
    assert found.sha1 == hashlib.sha1(archive.read_bytes()).hexdigest()
    disk = (tmp_path / "disk.raw").stat()
    assert (disk.st_size, disk.st_blocks * 512 < 1 << 20) == (GIB, True)
    assert same(tmp_path / "disk.raw", tmp_path / "in" / "disk.raw")
    pack(tmp_path, tmp_path / "out.tar.gz")
    with (tmp_path / "out.tar.gz").open("rb") as opened:
        assert unpack(opened, tmp_path / "again.raw").size_gb == 1
    assert same(tmp_path / "disk.raw", tmp_path / "again.raw")


def test_reading_an_archive_takes_no_more_memory_than_a_few_pieces(tmp_path: Path) -> None:
    noise = os.urandom(32 << 20)
    with (tmp_path / "disk.raw").open("wb") as disk:
        disk.write(noise)
        disk.truncate(128 << 20)
    pack(tmp_path, tmp_path / "image.tar.gz")

    def read() -> None:
        with (tmp_path / "image.tar.gz").open("rb") as archive:
            unpack(archive, tmp_path / "read.raw")

    assert peak_memory(read) < 16 << 20
